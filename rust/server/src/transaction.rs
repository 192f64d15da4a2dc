//! MULTI: the commands that a client has queued.

use crate::commands::Flags;
use crate::table::Entry;
use forgekv_engine::ShardSet;

/// What a client has queued since MULTI.
#[derive(Debug, Default)]
pub(crate) struct Multi {
    queued: Vec<Queued>,
    /// A command was refused when it was to be queued: EXEC will not run.
    pub(crate) is_doomed: bool,
    bytes: usize,
}

/// A command that waits for EXEC.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) words: Vec<Vec<u8>>,
    /// Its number in the table.
    pub(crate) command: usize,
    shards: ShardSet,
    flags: Flags,
}

impl Queued {
    pub(crate) fn new(entry: &Entry, words: &[&[u8]], shards: ShardSet) -> Queued {
        let words = words.iter().map(|word| word.to_vec()).collect();
        Queued { words, command: entry.id, shards, flags: entry.flags }
    }
}

impl Multi {
    pub(crate) fn push(&mut self, queued: Queued) {
        let words: usize =
            queued.words.iter().map(|word| word.capacity() + size_of::<Vec<u8>>()).sum();
        self.bytes += size_of::<Queued>() + words;
        self.queued.push(queued);
    }

    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The commands, in order.
    pub(crate) fn commands(&self) -> &[Queued] {
        &self.queued
    }

    /// The shards of all of them.
    pub(crate) fn shards(&self) -> ShardSet {
        ShardSet(self.queued.iter().fold(0, |shards, queued| shards | queued.shards.0))
    }

    /// Whether one of them makes the data larger.
    pub(crate) fn grows(&self) -> bool {
        self.queued.iter().any(|queued| queued.flags.has(Flags::GROWS))
    }

    /// Whether one of them belongs on a thread that may wait.
    pub(crate) fn is_long(&self) -> bool {
        self.queued.iter().any(|queued| queued.flags.has(Flags::LONG))
    }
}
