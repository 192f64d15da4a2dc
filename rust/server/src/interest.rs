//! In which shards somebody wants to know when a key changes: because it is watched, kept by a client, or
//! waited for.
//!
//! A command looks here once it holds its shards, and whoever registers holds the shard of its key: so a
//! change is either over before the registration, or told.

use forgekv_engine::{SHARDS, ShardSet};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of registrations by shard.
#[derive(Debug)]
pub(crate) struct Interest {
    /// Bit n is set while shard n has a registration. Changed under the lock of `counts`.
    shards: AtomicU64,
    counts: Mutex<[u32; SHARDS]>,
}

impl Default for Interest {
    fn default() -> Interest {
        Interest { shards: AtomicU64::new(0), counts: Mutex::new([0; SHARDS]) }
    }
}

impl Interest {
    /// The shards with a registration.
    #[inline]
    pub(crate) fn shards(&self) -> ShardSet {
        ShardSet(self.shards.load(Ordering::Acquire))
    }

    /// One more, for a key of a shard that the caller holds.
    pub(crate) fn add(&self, shard: u8) {
        self.change(shard, |count| count.saturating_add(1));
    }

    /// One less.
    pub(crate) fn remove(&self, shard: u8) {
        self.change(shard, |count| count.saturating_sub(1));
    }

    fn change(&self, shard: u8, change: impl FnOnce(u32) -> u32) {
        let mut counts = self.counts.lock();
        let Some(count) = counts.get_mut(usize::from(shard)) else { return };
        *count = change(*count);
        let bit = ShardSet::one(shard).0;
        let shards = self.shards.load(Ordering::Relaxed);
        let now = if *count > 0 { shards | bit } else { shards & !bit };
        self.shards.store(now, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_counts_while_anybody_is_interested() {
        let interest = Interest::default();
        interest.add(63);
        interest.add(63);
        interest.add(0);
        interest.remove(63);
        assert_eq!(interest.shards(), ShardSet(1 << 63 | 1));
        interest.remove(63);
        interest.remove(0);
        assert_eq!(interest.shards(), ShardSet::default());
    }
}
