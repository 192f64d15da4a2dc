//! ACL LOG: what was refused, the newest first.

use super::{Context, Reason, Refusal};
use std::collections::VecDeque;

/// Refusals of the same thing within this time are counted in one entry.
const GROUPING_MS: u64 = 60_000;
/// How many entries are looked at for one of the same thing.
const LOOKED_AT: usize = 10;

/// One entry.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) id: u64,
    /// How often it happened.
    pub(crate) count: u64,
    pub(crate) reason: Reason,
    pub(crate) context: Context,
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
    /// The client as CLIENT LIST tells it, when it happened last.
    pub(crate) client: Vec<u8>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

impl Context {
    /// The word in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Refused>,
    next_id: u64,
}

impl Log {
    /// Adds a refusal, or counts it in the entry of an equal one. No more than `most` entries are kept.
    pub(super) fn add(&mut self, refusal: &Refusal<'_>, client: Vec<u8>, most: usize) {
        let is_same = |old: &Refused| {
            old.reason == refusal.reason
                && old.context == refusal.context
                && old.object == refusal.object
                && old.user == refusal.user
                && refusal.now_ms.abs_diff(old.updated_ms) <= GROUPING_MS
        };
        let at = self.entries.iter().take(LOOKED_AT).position(is_same);
        let entry = match at.and_then(|at| self.entries.remove(at)) {
            Some(old) => {
                Refused { count: old.count + 1, client, updated_ms: refusal.now_ms, ..old }
            }
            None => {
                self.next_id += 1;
                Refused {
                    id: self.next_id - 1,
                    count: 1,
                    reason: refusal.reason,
                    context: refusal.context,
                    object: refusal.object.to_vec(),
                    user: refusal.user.to_vec(),
                    client,
                    created_ms: refusal.now_ms,
                    updated_ms: refusal.now_ms,
                }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(most);
    }

    pub(crate) fn newest(&self, most: usize) -> impl ExactSizeIterator<Item = &Refused> {
        self.entries.iter().take(most)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
