//! One point in the log, kept: for backups, exports and checkpoints, without a pause.
//!
//! Taking one locks all shards for as long as it takes to seal 64 memtables and copy 64 references.
//! Nothing that happens afterwards is seen through it, and nothing waits for it: the tables that it needs
//! stay on disk until it is dropped.

use crate::engine::{Engine, Inner};
use crate::entry::EntryRef;
use crate::error::{Error, Result};
use crate::manifest::{Edit, Manifest};
use crate::memtable::Sealed;
use crate::merge::{MergeCursor, Walk};
use crate::table::{Table, TableCursor, table_path, tables_dir};
use crate::version::{LEVELS, Version};
use std::path::Path;
use std::sync::Arc;

/// A shard at the snapshot's moment.
struct ShardAt {
    /// Newest first.
    sealed: Vec<Arc<Sealed>>,
    version: Arc<Version>,
    counts: crate::memtable::Counts,
}

/// All shards at one point in the log.
pub struct Snapshot {
    engine: Arc<Inner>,
    shards: Vec<ShardAt>,
    lsn: u64,
    seq: u64,
}

/// Sealed entries, walked in order.
struct SealedWalk {
    sealed: Arc<Sealed>,
    at: usize,
}

impl SealedWalk {
    fn entry(&self) -> Option<&EntryRef> {
        self.sealed.sorted().get(self.at)
    }
}

impl Walk for SealedWalk {
    fn valid(&self) -> bool {
        self.entry().is_some()
    }

    fn key(&self) -> &[u8] {
        self.entry().map(EntryRef::key).unwrap_or_default()
    }

    fn value(&self) -> Option<&[u8]> {
        self.entry().and_then(EntryRef::value)
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }
}

/// The records of one shard in order. Reads the disk: not for event loops.
pub struct Records(MergeCursor<Box<dyn Walk + Send>>);

impl Records {
    /// The current record; `None` at the end.
    pub fn current(&self) -> Option<(&[u8], &[u8])> {
        self.0.valid().then(|| (self.0.key(), self.0.value().unwrap_or_default()))
    }

    /// Goes to the next record.
    ///
    /// # Errors
    /// Damage, or a failed read.
    pub fn advance(&mut self) -> Result<()> {
        self.0.next()?;
        self.skip_deleted()
    }

    fn skip_deleted(&mut self) -> Result<()> {
        while self.0.valid() && self.0.value().is_none() {
            self.0.next()?;
        }
        Ok(())
    }
}

impl Engine {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// Damage found while counts were settled.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let inner = self.inner();
        let mut held: Vec<_> = inner.shards.iter().map(|shard| shard.lock()).collect();
        let (lsn, seq) = (inner.log.appended(), inner.log.last_seq());
        let mut shards = Vec::with_capacity(held.len());
        for state in &mut held {
            state.seal();
            shards.push(ShardAt {
                sealed: state.sealed.iter().rev().cloned().collect(),
                version: state.version.clone(),
                counts: state.counts.clone(),
            });
        }
        drop(held);
        inner.background.wake();
        Ok(Snapshot { engine: inner.clone(), shards, lsn, seq })
    }
}

impl Snapshot {
    /// The point in the log that this snapshot shows.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// The records of a shard, from the first key at or after `from`.
    ///
    /// # Errors
    /// Damage, or a failed read.
    pub fn records(&self, shard: u8, from: &[u8]) -> Result<Records> {
        let at = self.shards.get(usize::from(shard)).ok_or(Error::Closed)?;
        let mut sources: Vec<Box<dyn Walk + Send>> = Vec::new();
        for sealed in &at.sealed {
            let start = sealed.sorted().partition_point(|e| e.key() < from);
            sources.push(Box::new(SealedWalk { sealed: sealed.clone(), at: start }));
        }
        for run in at.version.runs() {
            let mut cursor = TableCursor::new(run.to_vec());
            cursor.seek(from)?;
            sources.push(Box::new(cursor));
        }
        let mut records = Records(MergeCursor::new(sources));
        records.skip_deleted()?;
        Ok(records)
    }

    /// Makes a copy of the snapshot in the empty directory `dir`, on the same file system: an engine can
    /// open it. Tables are hard links; only what was in memory is written.
    ///
    /// # Errors
    /// Refuses a directory that already holds an engine; damage; failed reads or writes.
    pub fn checkpoint(&self, dir: &Path) -> Result<()> {
        let disk = &self.engine.disk;
        let io = |what: &str, e: &std::io::Error| Error::io(format!("{what} {}", dir.display()), e);
        disk.create_dir_all(&tables_dir(dir)).map_err(|e| io("creating", &e))?;
        disk.create_dir_all(&crate::log::dir_in(dir)).map_err(|e| io("creating", &e))?;
        let occupied = !disk.list(&tables_dir(dir)).map_err(|e| io("listing", &e))?.is_empty();
        if occupied {
            return Err(Error::Incompatible(format!("{} is not empty", dir.display())));
        }
        // The copy has a log of its own, which begins at position 0.
        let mut edits = vec![Edit::SeqHighWater(self.seq)];
        let mut next = self.engine.next_file.load(std::sync::atomic::Ordering::Relaxed);
        for (n, at) in (0u8..).zip(&self.shards) {
            let mut counts = at.counts.clone();
            self.settle(usize::from(n), at, &mut counts)?;
            for level in 0..LEVELS {
                for table in at.version.level(level).iter().rev() {
                    disk.link(table.path(), &table_path(dir, table.id()))
                        .map_err(|e| io("linking a table into", &e))?;
                    edits.push(Edit::AddTable {
                        shard: n,
                        level: level as u8,
                        meta: table.meta().clone(),
                    });
                }
            }
            for sealed in at.sealed.iter().rev() {
                let kept = |e: &&EntryRef| e.value().is_some() || !e.nothing_below();
                if sealed.sorted().iter().any(|e| kept(&e)) {
                    let entries = sealed.stream().filter(kept);
                    let table: Arc<Table> = self.engine.build(dir, next, entries)?;
                    edits.push(Edit::AddTable { shard: n, level: 0, meta: table.meta().clone() });
                    next += 1;
                }
            }
            edits.push(Edit::Flushed { shard: n, lsn: 0, seq: self.seq, counts });
        }
        edits.push(Edit::NextFile(next));
        for (name, value) in &self.engine.fixed {
            edits.push(Edit::Fixed { name: name.clone(), value: value.clone() });
        }
        disk.sync_dir(&tables_dir(dir)).map_err(|e| io("syncing", &e))?;
        // Last: without a manifest the directory is nobody's.
        Manifest::create(&**disk, dir, &edits)
    }

    /// Corrects `counts` for keys that were unsettled at the snapshot's moment.
    fn settle(&self, n: usize, at: &ShardAt, counts: &mut crate::memtable::Counts) -> Result<()> {
        let Some(newest) = at.sealed.first() else { return Ok(()) };
        // Whoever settles a memtable's keys corrects what it noted at sealing under this lock.
        let unsettled: Vec<EntryRef> = {
            let _still = self.engine.shards.get(n).map(|shard| shard.lock());
            let mut all = Vec::new();
            for sealed in &at.sealed {
                all.extend(sealed.unsettled.lock().iter().cloned());
            }
            counts.clone_from(&newest.counts.lock());
            all
        };
        for entry in unsettled {
            let hash = self.engine.schema.hash(entry.key());
            if let Some(value) = at.version.get(entry.key(), hash)? {
                let mark = self.engine.mark(&value);
                self.engine.settled(counts, &(entry, mark));
            }
        }
        Ok(())
    }
}
