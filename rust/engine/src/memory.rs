//! One number of memory: what memtables may take before writers wait, and what is left for the caches.
//!
//! A shard's memtable is sealed when it is full by itself, or when all together have too much; while flushes do
//! not keep up commits are not let through. Twice a second the housekeeper shares the rest between the shards'
//! records and blocks, by what they ask for and by what the allocator says is resident.

use crate::batch::Batch;
use crate::demand::divide;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::fill::{self, Fill};
use crate::shard::{Shard, State};
use crate::{SHARDS, STALLED};
use std::sync::atomic::Ordering;
use std::task::Waker;

/// An active memtable is counted each time it has grown by this part of what memtables may take.
const COUNT_STEPS: usize = 2048;
/// Lines that the eviction clock of a shard passes at most each time the budget is shared anew.
const SHARE_STEPS: usize = 4096;
/// The caches never get less, in bytes.
const CACHES_MIN: u64 = 4 << 20;

/// What is left for clean records and for blocks, of all shards.
pub(crate) fn shares(memory: u64, memtables: u64, index_bytes: u64) -> (u64, u64) {
    // Before a writer waits, memtables are fuller than they should be (`overfull`, and what `look_closer`
    // lets through): a load that comes in a second must not have to wait for caches to make room.
    let memtables = memtables * 8 / 5;
    let rest = (memory - memory / 10).saturating_sub(memtables + index_bytes);
    let rest = rest.max(CACHES_MIN);
    (rest * 7 / 10, rest * 3 / 10)
}

impl Inner {
    /// Bytes of one shard's active memtable at which it is sealed at once, whatever the others hold.
    fn seal_at(&self) -> usize {
        (self.memtable_bytes.load(Ordering::Relaxed) / self.options.shard_share.max(1)) as usize
    }

    /// Seals active memtables while all of them together take more than their half of the budget: which
    /// ones, see `fill`.
    pub(crate) fn seal_largest(&self) {
        let budget = self.memtable_bytes.load(Ordering::Relaxed);
        let look =
            |shard: &Shard| shard.try_lock().map(|mut state| state.fill()).unwrap_or_default();
        let fills: Vec<Fill> = self.shards.iter().map(look).collect();
        if fills.iter().map(|fill| fill.bytes).sum::<u64>() < budget * 3 / 5 {
            return;
        }
        for n in fill::to_seal(&fills, budget / 2) {
            if let Some(mut state) = self.shards.get(n).and_then(Shard::try_lock) {
                state.seal();
            }
        }
        self.set_gate();
        self.background.wake();
    }

    /// After a commit on a held shard: seals its memtable when it is full.
    pub(crate) fn after_commit(&self, state: &mut State) {
        let step = self.memtable_bytes.load(Ordering::Relaxed) as usize / COUNT_STEPS;
        if state.count_dirty(step) && self.overfull() > 0 {
            self.set_gate();
        }
        if state.active.bytes() >= self.seal_at() {
            state.seal();
            self.set_gate();
            self.background.wake();
        }
    }

    /// A flush has succeeded, or failed.
    pub(crate) fn set_flush_failure(&self, failure: Option<Error>) {
        *self.flush_failure.lock() = failure;
        self.set_gate();
    }

    /// How far memtables are beyond what they may take and the active ones' usual part, in bytes.
    fn overfull(&self) -> u64 {
        let limit = self.memtable_bytes.load(Ordering::Relaxed);
        self.dirty_bytes.load(Ordering::Relaxed).saturating_sub(limit * 7 / 5)
    }

    /// Notes whether commits are to be looked at, and wakes those who need not wait any more.
    pub(crate) fn set_gate(&self) {
        let (low, overfull) = (self.is_low_on_space(), self.overfull() > 0);
        self.gated.store(low || overfull, Ordering::Relaxed);
        if !overfull || self.flush_failure.lock().is_some() {
            for waker in self.stalled.lock().drain(..) {
                waker.wake();
            }
        }
    }

    /// Lets a commit through, or says why not: memory and disk are bounded. One load in good times.
    #[inline]
    pub(crate) fn admit(&self, batch: &Batch, may_wait: bool) -> Result<()> {
        if self.gated.load(Ordering::Relaxed) { self.look_closer(batch, may_wait) } else { Ok(()) }
    }

    #[cold]
    fn look_closer(&self, batch: &Batch, may_wait: bool) -> Result<()> {
        if self.is_low_on_space() && batch.can_wait() {
            return Err(Error::NoSpace);
        }
        // What frees space, and what has its shards reserved already, may go a little further.
        let slack = if may_wait || !batch.can_wait() {
            self.memtable_bytes.load(Ordering::Relaxed) / 4
        } else {
            0
        };
        if self.overfull() <= slack {
            return Ok(());
        }
        Err(self.flush_failure.lock().clone().unwrap_or(Error::Busy(STALLED)))
    }

    /// Whether commits may go on; if not, `waker` is called when that may have changed.
    pub(crate) fn poll_unstalled(&self, waker: &Waker) -> bool {
        let free = || self.overfull() == 0 || self.flush_failure.lock().is_some();
        if free() {
            return true;
        }
        self.stalled.lock().push(waker.clone());
        free()
    }

    /// Shares what the budget leaves between the caches. What the allocator says is resident beyond the
    /// budget (fragmentation, connections, blocks on their way) is taken from the caches, step by step; what
    /// it leaves is given back as slowly.
    pub(crate) fn share_memory(&self) {
        let index: u64 = self.shards.iter().map(|s| s.figures().index_bytes).sum();
        let memory = self.memory_bytes.load(Ordering::Relaxed);
        let memtables = self.memtable_bytes.load(Ordering::Relaxed);
        let mut excess = self.excess.load(Ordering::Relaxed);
        if let Some(resident) = self.options.resident.and_then(|resident| resident()) {
            let step = memory / 64;
            // What comes and goes between two looks fits between the goal and the budget.
            let goal = memory - 4 * step;
            if resident > goal {
                excess = (excess + (resident - goal).max(step)).min(memory);
            } else if resident + 2 * step < goal {
                excess = excess.saturating_sub(step / 2);
            }
            self.excess.store(excess, Ordering::Relaxed);
        }
        let (clean, blocks) = shares(memory, memtables, index + excess);
        let mut records = Vec::with_capacity(SHARDS);
        let mut read = Vec::with_capacity(SHARDS);
        // An event loop may be asking (CONFIG SET): of a shard that is held for long what it had is taken
        // for what it wants, and it gets its share next time.
        for shard in &self.shards {
            let demands =
                shard.try_lock().map(|mut state| (state.record_demand(), state.block_demand()));
            let (of_records, of_blocks) = demands.unwrap_or_else(|| shard.figures().demands());
            records.push(of_records);
            read.push(of_blocks);
        }
        let shares = divide(clean, &records).into_iter().zip(divide(blocks, &read));
        for (shard, (clean, blocks)) in self.shards.iter().zip(shares) {
            let Some(mut state) = shard.try_lock() else { continue };
            state.clean_max = clean as usize;
            if state.blocks.capacity() != blocks {
                state.blocks.set_capacity(blocks);
            }
            state.evict(SHARE_STEPS);
        }
    }

    /// Dirty bytes of all shards over what memtables may take: 1.0 is full.
    pub(crate) fn memtable_fill(&self) -> f64 {
        let dirty: u64 = self.shards.iter().map(|s| s.figures().dirty_bytes).sum();
        self.set_gate();
        dirty as f64 / self.memtable_bytes.load(Ordering::Relaxed).max(1) as f64
    }
}
