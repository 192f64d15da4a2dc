//! What was written since the last flush: the active memtable, and sealed ones on their way to disk.
//!
//! Point look-ups never come here: the hot-key table holds every entry of every memtable. A memtable is
//! what is needed beside it: the list of what to flush, and the order for range reads. The order is a
//! BTreeMap that is brought up to date when a range read asks for it; a shard that only sees point reads
//! and writes pays for it once, by sorting, on the flush thread.
//!
//! Invariants:
//! 1. One slot per key; an overwrite replaces the slot's entry.
//! 2. Sealing ends all change: entries of a sealed memtable are read without the shard's lock.

use crate::entry::EntryRef;
use crate::schema::Mark;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;

/// Entries are asked from memory so many steps before they are looked at.
const AHEAD: usize = 12;

/// The memtable that takes a shard's writes. What every write changes stands first (see `shard::State`).
#[repr(C)]
pub(crate) struct Memtable {
    first_lsn: u64,
    last_lsn: u64,
    last_seq: u64,
    bytes: usize,
    id: u32,
    slots: Vec<EntryRef>,
    unsettled: Vec<u32>,
    order: BTreeMap<Box<[u8]>, u32>,
    /// Tombstones below which something may lie.
    hiding: u64,
}

/// Exact counts of a shard, by group; under a group with one of these bits, what [`Mark`]s add up to.
///
/// [`Mark`]: crate::schema::Mark
pub(crate) type Counts = Vec<(u32, i64)>;

/// With this bit a group counts its marked values,
pub(crate) const MARKED: u32 = 1 << 30;
/// and with this one it adds up their weights, modulo 2^64.
pub(crate) const WEIGHT: u32 = 1 << 31;

/// Adds to one group's count.
pub(crate) fn add(counts: &mut Counts, group: u32, delta: i64) {
    match counts.iter_mut().find(|(g, _)| *g == group) {
        Some((_, count)) => *count = count.wrapping_add(delta),
        None => counts.push((group, delta)),
    }
}

/// One of a group's counts.
pub(crate) fn of(counts: &Counts, group: u32) -> i64 {
    counts.iter().find(|(g, _)| *g == group).map_or(0, |(_, count)| *count)
}

/// Counts a marked value, or takes it away.
pub(crate) fn add_mark(counts: &mut Counts, group: u32, mark: Option<Mark>, times: i64) {
    if let Some(Mark(weight)) = mark {
        add(counts, group | MARKED, times);
        add(counts, group | WEIGHT, weight.wrapping_mul(times));
    }
}

impl Memtable {
    /// The bytes at its start in which all that an overwrite changes lies.
    #[cfg(test)]
    pub(crate) const CHANGED_BY_OVERWRITES: usize = std::mem::offset_of!(Memtable, id);

    /// An empty memtable. Ids start at 1: 0 marks clean entries.
    pub(crate) fn new(id: u32) -> Memtable {
        Memtable {
            id,
            slots: Vec::new(),
            order: BTreeMap::new(),
            bytes: 0,
            first_lsn: 0,
            last_lsn: 0,
            last_seq: 0,
            unsettled: Vec::new(),
            hiding: 0,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of the entries and of what this memtable keeps beside them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lsn of the oldest batch in here; 0 when there is none.
    pub(crate) fn first_lsn(&self) -> u64 {
        self.first_lsn
    }

    /// The slot that the next new key gets.
    pub(crate) fn next_slot(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Notes that a batch has reached this shard.
    pub(crate) fn note(&mut self, lsn: u64, seq: u64) {
        if self.first_lsn == 0 {
            self.first_lsn = lsn;
        }
        self.last_lsn = lsn;
        self.last_seq = seq;
    }

    /// Tombstones below which something may lie. Counted as they come: who asks, asks often, and holds the
    /// shard meanwhile.
    pub(crate) fn hiding(&self) -> u64 {
        self.hiding
    }

    /// An entry has come, or changed: whether it hid something below, and does so now.
    #[inline]
    pub(crate) fn count_hiding(&mut self, did: bool, does: bool) {
        if did != does {
            self.hiding = if does { self.hiding + 1 } else { self.hiding.saturating_sub(1) };
        }
    }

    /// Adds the entry of a key that is not in this memtable.
    pub(crate) fn push(&mut self, entry: EntryRef) {
        self.bytes += entry.size() + size_of::<EntryRef>();
        self.slots.push(entry);
    }

    /// Puts a newer entry of the same key into its slot.
    pub(crate) fn replace(&mut self, entry: EntryRef) {
        if let Some(slot) = self.slots.get_mut(entry.slot() as usize) {
            self.bytes += entry.size();
            self.bytes -= slot.size().min(self.bytes);
            *slot = entry;
        }
    }

    /// Notes that nobody knows yet whether tables hold an older version of the key in `slot`.
    pub(crate) fn unsettled(&mut self, slot: u32) {
        self.unsettled.push(slot);
    }

    /// How many keys are unsettled.
    pub(crate) fn unsettled_len(&self) -> usize {
        self.unsettled.len()
    }

    /// The unsettled keys, oldest first.
    pub(crate) fn unsettled_entries(&self) -> Vec<EntryRef> {
        self.unsettled.iter().filter_map(|&s| self.slots.get(s as usize).cloned()).collect()
    }

    /// The first `n` unsettled keys are settled.
    pub(crate) fn settled(&mut self, n: usize) {
        self.unsettled.drain(..n.min(self.unsettled.len()));
    }

    /// Only these are unsettled still.
    pub(crate) fn set_unsettled(&mut self, entries: &[EntryRef]) {
        self.unsettled.clear();
        self.unsettled.extend(entries.iter().map(EntryRef::slot));
    }

    /// Brings the order up to date.
    fn sort(&mut self) {
        for i in self.order.len()..self.slots.len() {
            if let Some(entry) = self.slots.get(i) {
                let key = Box::from(entry.key());
                self.bytes += entry.key().len() + 24;
                self.order.insert(key, i as u32);
            }
        }
    }

    /// The entries between two keys, in order.
    pub(crate) fn range(
        &mut self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = &EntryRef> {
        self.sort();
        self.order
            .range::<[u8], _>((from, to))
            .filter_map(|(_, &slot)| self.slots.get(slot as usize))
    }

    /// Ends all change.
    pub(crate) fn seal(self, counts: Counts) -> Sealed {
        debug_assert_eq!(
            self.hiding,
            self.slots.iter().filter(|e| e.value().is_none() && !e.nothing_below()).count() as u64
        );
        let entry = |&slot: &u32| self.slots.get(slot as usize).cloned();
        let unsettled = self.unsettled.iter().filter_map(entry).collect();
        Sealed {
            id: self.id,
            bytes: self.bytes,
            first_lsn: self.first_lsn,
            last_lsn: self.last_lsn,
            last_seq: self.last_seq,
            unsettled: Mutex::new(unsettled),
            counts: Mutex::new(counts),
            unsorted: Mutex::new(Unsorted { slots: self.slots, order: self.order }),
            sorted: OnceLock::new(),
        }
    }
}

/// A memtable that takes no more writes and waits for its flush.
pub(crate) struct Sealed {
    pub(crate) id: u32,
    pub(crate) bytes: usize,
    pub(crate) first_lsn: u64,
    pub(crate) last_lsn: u64,
    pub(crate) last_seq: u64,
    /// Keys of which it is not known whether tables hold an older version.
    pub(crate) unsettled: Mutex<Vec<EntryRef>>,
    /// The shard's counts at the moment of sealing; unsettled keys count as new until settled.
    pub(crate) counts: Mutex<Counts>,
    /// As the memtable left it, until somebody wants it in order: an event loop seals in no time.
    unsorted: Mutex<Unsorted>,
    sorted: OnceLock<Vec<EntryRef>>,
}

#[derive(Default)]
struct Unsorted {
    slots: Vec<EntryRef>,
    order: BTreeMap<Box<[u8]>, u32>,
}

impl Unsorted {
    fn sort(self) -> Vec<EntryRef> {
        if self.order.len() == self.slots.len() {
            let entry = |&slot: &u32| self.slots.get(slot as usize).cloned();
            return self.order.values().filter_map(entry).collect();
        }
        // Compared by what lies beside the reference: going to the entries is what sorting would wait for.
        let mut by_start: Vec<(u128, EntryRef)> = Vec::with_capacity(self.slots.len());
        each_ahead(self.slots, |entry| by_start.push((start(entry.key()), entry)));
        by_start.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.key().cmp(y.key())));
        by_start.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Hands over entries that are all over memory, each asked for ahead of time.
fn each_ahead(entries: Vec<EntryRef>, mut each: impl FnMut(EntryRef)) {
    let mut rest = entries.into_iter();
    while let Some(entry) = rest.next() {
        if let Some(later) = rest.as_slice().get(AHEAD) {
            later.prefetch();
        }
        each(entry);
    }
}

/// The first bytes of a key as a number that sorts as they do.
fn start(key: &[u8]) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    let len = key.len().min(bytes.len());
    if let (Some(to), Some(from)) = (bytes.get_mut(..len), key.get(..len)) {
        to.copy_from_slice(from);
    }
    u128::from_be_bytes(bytes)
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // Each reference that is given back is counted in its entry.
        if let Some(entries) = self.sorted.take() {
            each_ahead(entries, drop);
        }
    }
}

impl Sealed {
    /// The entries in order of their keys. Sorts on first use.
    pub(crate) fn sorted(&self) -> &[EntryRef] {
        self.sorted.get_or_init(|| std::mem::take(&mut *self.unsorted.lock()).sort())
    }

    /// The entries in order, for who reads them all: the processor is asked for them ahead of time.
    pub(crate) fn stream(&self) -> impl Iterator<Item = &EntryRef> {
        let sorted = self.sorted();
        sorted.iter().enumerate().map(move |(i, entry)| {
            if let Some(later) = sorted.get(i + AHEAD) {
                later.prefetch();
            }
            entry
        })
    }

    /// The entries between two keys, in order.
    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> &[EntryRef] {
        let sorted = self.sorted();
        let start = match from {
            Bound::Included(k) => sorted.partition_point(|e| e.key() < k),
            Bound::Excluded(k) => sorted.partition_point(|e| e.key() <= k),
            Bound::Unbounded => 0,
        };
        let end = match to {
            Bound::Included(k) => sorted.partition_point(|e| e.key() <= k),
            Bound::Excluded(k) => sorted.partition_point(|e| e.key() < k),
            Bound::Unbounded => sorted.len(),
        };
        sorted.get(start..end.max(start)).unwrap_or_default()
    }
}
