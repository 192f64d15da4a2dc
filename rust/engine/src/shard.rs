//! One shard: a lock around plain single-threaded structures.
//!
//! The lock is held for memory work only. Whoever has to hold a shard for longer (a command that
//! finishes on a pool thread) reserves it first, and event loops that meet a reserved shard go and wait
//! elsewhere instead of blocking.

use crate::demand::Demand;
use crate::entry::EntryRef;
use crate::fill::{self, Fill};
use crate::hot::HotTable;
use crate::idle::Idle;
use crate::memtable::{Counts, Memtable, Sealed, add, add_mark};
use crate::schema::{Mark, Schema};
use crate::table::Block;
use crate::version::Version;
use parking_lot::{Mutex, MutexGuard};
use quick_cache::{Weighter, unsync::Cache};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

/// A record larger than this is served from its block and never copied into the hot-key table.
const HOT_RECORD_MAX: usize = 16 << 10;
/// Lines that the eviction clock passes at most per insert.
pub(crate) const EVICTION_STEPS: usize = 16;

#[derive(Clone)]
pub(crate) struct BlockWeight;

impl Weighter<(u64, u32), Block> for BlockWeight {
    fn weight(&self, _: &(u64, u32), block: &Block) -> u64 {
        block.bytes() as u64 + 64
    }
}

pub(crate) type BlockCache = Cache<(u64, u32), Block, BlockWeight>;

/// Whether a value is one that the schema has to be asked about.
#[inline]
fn has_mark_bit(value: Option<&[u8]>) -> bool {
    value.is_some_and(|v| v.first().is_some_and(|&b| b & 0x80 != 0))
}

/// A marked value of a counted key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Marked {
    group: u32,
    mark: Mark,
}

impl Marked {
    fn new(schema: &dyn Schema, key: &[u8], value: Option<&[u8]>) -> Option<Marked> {
        let value = value.filter(|_| has_mark_bit(value))?;
        let group = schema.group(key)?;
        Some(Marked { group, mark: schema.mark(value)? })
    }
}

/// What is told of a shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShardFigures {
    pub(crate) dirty_bytes: u64,
    pub(crate) hot_bytes: u64,
    pub(crate) hot_records: u64,
    pub(crate) block_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) unsettled: u64,
    pub(crate) tables: u64,
    pub(crate) table_bytes: u64,
    pub(crate) level0_tables: u64,
    pub(crate) reads: Reads,
}

impl ShardFigures {
    /// What records and blocks in memory wanted then, at least.
    pub(crate) fn demands(&self) -> (Demand, Demand) {
        let clean = self.hot_bytes.saturating_sub(self.dirty_bytes);
        let unpressed = |used| Demand { used, pressed: false };
        (unpressed(clean), unpressed(self.block_bytes))
    }
}

/// What the lock protects. What every overwrite changes stands together at the start, in one line of cache
/// with the lock itself: it has to come over from the core that wrote last. What is only read stays in
/// the caches of both.
#[repr(C)]
pub(crate) struct State {
    /// The lsn of the last batch that touched this shard.
    pub(crate) last_lsn: u64,
    /// Bytes of the active memtable's entries that were overwritten in place of late.
    overwritten: u64,
    /// Reads answered from the hot-key table.
    pub(crate) hot_reads: u64,
    pub(crate) active: Memtable,
    pub(crate) table: HotTable,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// The bytes of all shards' memtables: the sealed ones exactly, the active ones in steps.
    dirty_bytes: Arc<AtomicU64>,
    /// What of the active memtable is in there.
    counted: usize,
    pub(crate) version: Arc<Version>,
    pub(crate) blocks: BlockCache,
    /// Live keys by group; unsettled ones count as new until they are settled.
    pub(crate) counts: Counts,
    /// How often a command has settled keys itself.
    pub(crate) settled_rounds: u64,
    /// Every batch with a sequence number up to this one is in this shard's tables.
    pub(crate) flushed_seq: u64,
    /// Bytes that clean records may take.
    pub(crate) clean_max: usize,
    /// Whether records had to make room for others since memory was shared out last.
    pressed: bool,
    /// `reads.cold` at that time.
    cold_before: u64,
    /// Reads answered in other ways.
    pub(crate) reads: Reads,
}

/// Where reads were answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct Reads {
    /// From the hot-key table.
    pub hot: u64,
    /// By filters alone: no table has the key.
    pub filtered: u64,
    /// From a block in memory.
    pub block: u64,
    /// Not in memory.
    pub cold: u64,
}

#[repr(C, align(128))]
pub(crate) struct Shard {
    state: Mutex<State>,
    /// How many long operations hold this shard or wait for it.
    reserved: AtomicU32,
    waiting: Mutex<Vec<Waker>>,
    /// As they were when somebody looked last.
    figures: Mutex<ShardFigures>,
    /// One at a time settles, flushes or compacts.
    pub(crate) settling: Mutex<()>,
    pub(crate) compacting: AtomicBool,
    pub(crate) flushing: AtomicBool,
    pub(crate) idle: Idle,
}

impl Shard {
    pub(crate) fn new(
        version: Version,
        counts: Counts,
        flushed_seq: u64,
        clean_max: u64,
        block_max: u64,
        dirty_bytes: Arc<AtomicU64>,
    ) -> Shard {
        Shard {
            state: Mutex::new(State {
                last_lsn: 0,
                overwritten: 0,
                hot_reads: 0,
                table: HotTable::new(),
                active: Memtable::new(1),
                sealed: Vec::new(),
                dirty_bytes,
                counted: 0,
                version: Arc::new(version),
                blocks: Cache::with_weighter(
                    (block_max / 4096) as usize + 8,
                    block_max,
                    BlockWeight,
                ),
                counts,
                settled_rounds: 0,
                flushed_seq,
                clean_max: clean_max as usize,
                pressed: false,
                cold_before: 0,
                reads: Reads::default(),
            }),
            reserved: AtomicU32::new(0),
            waiting: Mutex::new(Vec::new()),
            figures: Mutex::default(),
            settling: Mutex::new(()),
            compacting: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            idle: Idle::new(),
        }
    }

    /// The lock, for an event loop: `None` when a long operation holds the shard.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        let mut spins = 0u32;
        loop {
            if let Some(state) = self.state.try_lock() {
                return Some(state);
            }
            if self.reserved.load(Ordering::Acquire) > 0 {
                return None;
            }
            spins += 1;
            if spins.is_multiple_of(64) {
                // The holder may have lost its core.
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// The lock, for a thread that may wait.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The shard's figures: as they are, or, while a long operation holds the shard, as they were last seen.
    pub(crate) fn figures(&self) -> ShardFigures {
        let mut figures = self.figures.lock();
        if let Some(state) = self.try_lock() {
            *figures = state.figures();
        }
        *figures
    }

    /// Announces that the lock will be held for long.
    pub(crate) fn reserve(&self) {
        self.reserved.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends a reservation; the caller has given up the lock.
    pub(crate) fn release(&self) {
        self.reserved.fetch_sub(1, Ordering::AcqRel);
        for waker in self.waiting.lock().drain(..) {
            waker.wake();
        }
    }

    /// Whether the shard can be had; if not, `waker` is called when that may have changed.
    pub(crate) fn poll_free(&self, waker: &Waker) -> bool {
        if self.reserved.load(Ordering::Acquire) == 0 {
            return true;
        }
        self.waiting.lock().push(waker.clone());
        self.reserved.load(Ordering::Acquire) == 0
    }
}

impl State {
    /// The oldest memtable that is not flushed: entries of older ones are clean.
    fn oldest_dirty(&self) -> u32 {
        self.sealed.first().map_or(self.active.id(), |s| s.id)
    }

    /// Bytes in memtables.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.active.bytes() + self.sealed.iter().map(|s| s.bytes).sum::<usize>()
    }

    pub(crate) fn figures(&self) -> ShardFigures {
        ShardFigures {
            dirty_bytes: self.dirty_bytes() as u64,
            hot_bytes: self.table.bytes() as u64,
            hot_records: self.table.len() as u64,
            block_bytes: self.blocks.weight(),
            index_bytes: self.version.resident_bytes(),
            unsettled: self.unsettled() as u64,
            tables: self.version.tables().count() as u64,
            table_bytes: self.version.tables().map(|table| table.meta().bytes).sum(),
            level0_tables: self.version.level(0).len() as u64,
            reads: Reads { hot: self.hot_reads, ..self.reads },
        }
    }

    /// Whether tables may hold the key. Filters only; never wrong when it says no.
    fn tables_may_hold(&self, hash: u64, key: &[u8]) -> bool {
        self.version.candidates(key, hash).next().is_some()
    }

    /// Applies one logged effect.
    pub(crate) fn apply(
        &mut self,
        schema: &dyn Schema,
        hash: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) {
        let active = self.active.id();
        let Some(at) = self.table.find(hash, key) else {
            return self.apply_new(schema, hash, key, value);
        };
        let Some(entry) = self.table.at_mut(at) else { return };
        let was_live = entry.value().is_some();
        let may_be_marked = has_mark_bit(entry.value()) || has_mark_bit(value);
        let was = may_be_marked.then(|| Marked::new(schema, key, entry.value())).flatten();
        if entry.memtable() == active {
            self.overwritten += entry.size() as u64;
            if !was_live || value.is_none() {
                let below = !entry.nothing_below();
                self.active.count_hiding(below && !was_live, below && value.is_none());
            }
            if !entry.overwrite(value, active, None) {
                let mut new = EntryRef::new(key, hash, value, active, entry.slot());
                new.set_nothing_below(entry.nothing_below());
                self.active.replace(new.clone());
                self.table.replace(at, new);
            }
        } else {
            // What is below is this very entry, flushed or on its way: a tombstone has to hide it, unless
            // it is a clean note that nothing is there.
            let slot = self.active.next_slot();
            self.active.count_hiding(false, value.is_none());
            if entry.overwrite(value, active, Some((active, slot))) {
                entry.set_nothing_below(false);
                self.active.push(entry.clone());
            } else {
                let new = EntryRef::new(key, hash, value, active, slot);
                self.active.push(new.clone());
                self.table.replace(at, new);
            }
        }
        let delta = i64::from(value.is_some()) - i64::from(was_live);
        if delta != 0
            && let Some(group) = schema.group(key)
        {
            add(&mut self.counts, group, delta);
        }
        if may_be_marked {
            self.count_marks(was, Marked::new(schema, key, value));
        }
    }

    /// A value has taken another's place.
    fn count_marks(&mut self, was: Option<Marked>, is: Option<Marked>) {
        if was == is {
            return;
        }
        for (marked, times) in [(was, -1), (is, 1)] {
            if let Some(Marked { group, mark }) = marked {
                add_mark(&mut self.counts, group, Some(mark), times);
            }
        }
    }

    /// Applies an effect on a key of which nothing is in memory.
    fn apply_new(&mut self, schema: &dyn Schema, hash: u64, key: &[u8], value: Option<&[u8]>) {
        let below = self.tables_may_hold(hash, key);
        if !below && value.is_none() {
            return;
        }
        let slot = self.active.next_slot();
        let mut entry = EntryRef::new(key, hash, value, self.active.id(), slot);
        entry.set_nothing_below(!below);
        self.active.count_hiding(false, below && value.is_none());
        self.active.push(entry.clone());
        self.table.insert(hash, entry);
        if let Some(group) = schema.group(key) {
            add(&mut self.counts, group, i64::from(value.is_some()));
            if has_mark_bit(value) {
                self.count_marks(None, Marked::new(schema, key, value));
            }
            if below {
                // Counted as new; settling takes one away if a table has it after all.
                self.active.unsettled(slot);
            }
        }
        self.make_room();
    }

    /// Keeps a clean copy of a record that a table holds.
    pub(crate) fn keep_clean(&mut self, hash: u64, key: &[u8], value: &[u8]) -> bool {
        if value.len() > HOT_RECORD_MAX.min(self.clean_max / 4) {
            return false;
        }
        self.make_room();
        self.table.insert(hash, EntryRef::new(key, hash, Some(value), 0, 0));
        true
    }

    /// Makes room for a record that is about to come, or has just come.
    fn make_room(&mut self) {
        self.pressed |= self.evict(EVICTION_STEPS);
    }

    /// While clean records take more than their share, lets the clock pass up to `steps` lines. True when
    /// they did.
    pub(crate) fn evict(&mut self, steps: usize) -> bool {
        let clean = self.clean_bytes();
        if clean <= self.clean_max {
            return false;
        }
        let oldest = self.oldest_dirty();
        self.table.evict(clean - self.clean_max, steps, |memtable| memtable < oldest);
        true
    }

    /// Forgets a clean copy of a record that nobody will ask for again. One that is dirty is newer than
    /// what was dropped, and stays.
    pub(crate) fn forget_copy(&mut self, hash: u64, key: &[u8]) {
        let oldest = self.oldest_dirty();
        if let Some(at) = self.table.find(hash, key)
            && self.table.at(at).is_some_and(|entry| entry.memtable() < oldest)
        {
            drop(self.table.remove(at));
        }
    }

    /// Bytes of records that are in tables, too.
    fn clean_bytes(&self) -> usize {
        self.table.entry_bytes().saturating_sub(self.dirty_bytes())
    }

    /// How much memory clean records want.
    pub(crate) fn record_demand(&mut self) -> Demand {
        let used = self.clean_bytes() as u64;
        Demand { used, pressed: std::mem::take(&mut self.pressed) }
    }

    /// How much memory cached blocks want.
    pub(crate) fn block_demand(&mut self) -> Demand {
        let (used, share) = (self.blocks.weight(), self.blocks.capacity());
        let cold = std::mem::replace(&mut self.cold_before, self.reads.cold);
        // Blocks are of a few KiB: a cache that is full to this part takes in no more of them.
        let is_full = used >= share - share / 8;
        Demand { used, pressed: is_full && self.reads.cold > cold }
    }

    /// How full the active memtable is, and how busy; what was overwritten fades with each look.
    pub(crate) fn fill(&mut self) -> Fill {
        let fill = Fill { bytes: self.active.bytes() as u64, overwritten: self.overwritten };
        self.overwritten = fill::faded(self.overwritten);
        fill
    }

    /// Seals the active memtable, if there is something in it.
    pub(crate) fn seal(&mut self) {
        if self.active.is_empty() {
            return;
        }
        let next = Memtable::new(self.active.id() + 1);
        let full = std::mem::replace(&mut self.active, next);
        // An overwrite by less may have made it smaller since: the sum wraps around as the counter does.
        let rest = (full.bytes() as u64).wrapping_sub(self.counted as u64);
        self.dirty_bytes.fetch_add(rest, Ordering::Relaxed);
        self.counted = 0;
        self.overwritten = 0;
        self.sealed.push(Arc::new(full.seal(self.counts.clone())));
    }

    /// Counts what the active memtable has grown by, if it is `step` or more. True when it was.
    #[inline]
    pub(crate) fn count_dirty(&mut self, step: usize) -> bool {
        let bytes = self.active.bytes();
        if bytes < self.counted + step {
            return false;
        }
        self.dirty_bytes.fetch_add((bytes - self.counted) as u64, Ordering::Relaxed);
        self.counted = bytes;
        true
    }

    /// A sealed memtable is in a table now.
    pub(crate) fn unseal(&mut self, id: u32) {
        let before = self.sealed.len();
        self.sealed.retain(|s| {
            if s.id == id {
                self.dirty_bytes.fetch_sub(s.bytes as u64, Ordering::Relaxed);
            }
            s.id != id
        });
        debug_assert_eq!(before, self.sealed.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_overwrite_changes_is_one_line_with_the_lock() {
        let end = std::mem::offset_of!(State, active) + Memtable::CHANGED_BY_OVERWRITES;
        // The lock is one byte before the state, padded to eight.
        assert_eq!(size_of::<Mutex<State>>(), 8 + size_of::<State>());
        assert!(8 + end <= 64 && std::mem::offset_of!(Shard, state) == 0);
    }
}
