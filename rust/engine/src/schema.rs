//! What the engine must know of the bytes it stores, told by the room above through [`Schema`].
//!
//! The engine knows no key space, no type and no expiry: it asks.

use crate::error::Result;

/// Knowledge of the keys and values, supplied by the room above. Every answer is a pure function of its
/// arguments (and of what is durable, in [`Judge`]): answers reach the disk inside filters and counts.
pub trait Schema: Send + Sync + 'static {
    /// The hash of a key: position in the hot-key table and in the filters of tables.
    fn hash(&self, key: &[u8]) -> u64;

    /// The group in which this key is counted (`Engine::count`), if keys like it are counted at all.
    /// Groups are below 2^30.
    fn group(&self, key: &[u8]) -> Option<u32>;

    /// Whether a value of a counted key is marked: marked ones are counted, too, and their weights added
    /// up (`Guard::settled_marks`). Asked only of values whose first byte has its top bit set.
    fn mark(&self, _value: &[u8]) -> Option<Mark> {
        None
    }

    /// Says of which groups nobody can reach the keys any more, now or after a crash, when the log is synced
    /// up to `synced_seq`: their counts need not be exact.
    fn gone(&self, _synced_seq: u64) -> Box<dyn Fn(u32) -> bool> {
        Box::new(|_| false)
    }

    /// A judge for one compaction of `shard`. Called off the event loops.
    fn judge(&self, shard: u8) -> Box<dyn Judge>;
}

/// A marked value's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub i64);

/// Decides in one compaction, key by key in ascending order, what may be dropped.
pub trait Judge: Send {
    /// Whether `value` of `key`, the newest version there is in the tables, is still wanted. `tables` answers from what
    /// is durable in this shard's tables. A record dropped here vanishes as if it had been deleted, with no tombstone
    /// left: so say `Drop` only for what no reader can reach any more in any older or newer state.
    fn verdict(&mut self, key: &[u8], value: &[u8], tables: &dyn Durable) -> Result<Verdict>;
}

/// What a [`Judge`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The record stays.
    Keep,
    /// Nothing claims the record any more.
    Drop,
}

/// What is durable in a shard's tables, and how far the log is synced.
pub trait Durable {
    /// The newest durable value of `key`; `None` when absent or deleted.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Every sequence number up to this one is flushed in this shard's tables.
    fn flushed_seq(&self) -> u64;
    /// Every sequence number up to this one is synced in the log.
    fn synced_seq(&self) -> u64;
}
