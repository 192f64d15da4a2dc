//! The hot-key table: every record of a shard that is in memory, found with one look-up.
//!
//! It holds the newest version of every key that is in a memtable (those entries may not be evicted) and
//! clean copies of what was read from tables lately (those may). So a miss here means: look in the
//! tables, and only there.
//!
//! A bucket is one cache line: seven tags of one byte, an overflow count, seven references. An entry
//! that finds its line full moves on to the next and is counted in the overflow of every line that it
//! passed, so a search ends at the first line whose overflow is zero. A look-up costs one miss for the
//! line and one for the entry; [`HotTable::prefetch`] takes both out of the critical path for commands
//! that arrived together.
//!
//! The table grows by doubling when five eighths are taken, a few lines per insert: no insert ever waits for
//! a whole rehash. Fuller than that, the entries that came and went leave chains that a search follows.

use crate::entry::{EntryRef, prefetch};

const WAYS: usize = 7;
const FIRST_LINES: usize = 16;
/// How many lines the eviction clock's hand moves on at a time. Odd, so that it visits each line once a round;
/// near the golden section of 2^64, so that at any time it has been everywhere about as often: a hand that
/// went from line to line would leave the lines behind it empty and those ahead of it overfull.
const STRIDE: usize = 0x9E37_79B9_7F4A_7C15;

#[derive(Default)]
#[repr(align(64))]
struct Line {
    tags: [u8; WAYS],
    /// How many entries passed this line because it was full; 255 means "many, for ever".
    overflow: u8,
    entries: [Option<EntryRef>; WAYS],
}

const _: () = assert!(size_of::<Line>() == 64);

/// Where an entry is. Valid until the table is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    lines: Half,
    line: usize,
    way: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Half {
    Now,
    Old,
}

/// See the head of this file.
#[repr(C)]
pub(crate) struct HotTable {
    now: Vec<Line>,
    /// The smaller table that is being emptied into `now`; the lines below `moved` are empty.
    old: Vec<Line>,
    moved: usize,
    len: usize,
    bytes: usize,
    hand: usize,
}

fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

fn lines(n: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.resize_with(n, Line::default);
    lines
}

fn find(lines: &[Line], hash: u64, key: &[u8]) -> Option<(usize, usize)> {
    let mask = lines.len().wrapping_sub(1);
    let tag = tag(hash);
    let mut at = hash as u32 as usize & mask;
    for _ in 0..lines.len() {
        let line = lines.get(at)?;
        for way in 0..WAYS {
            if line.tags[way] == tag
                && let Some(entry) = &line.entries[way]
                && entry.hash() == hash as u32
                && entry.key() == key
            {
                return Some((at, way));
            }
        }
        if line.overflow == 0 {
            return None;
        }
        at = (at + 1) & mask;
    }
    None
}

fn insert(lines: &mut [Line], tag: u8, entry: EntryRef) {
    let mask = lines.len() - 1;
    let mut at = entry.hash() as usize & mask;
    loop {
        let line = &mut lines[at];
        if let Some(way) = line.entries.iter().position(Option::is_none) {
            line.tags[way] = tag;
            line.entries[way] = Some(entry);
            return;
        }
        line.overflow = line.overflow.saturating_add(1);
        at = (at + 1) & mask;
    }
}

fn take(lines: &mut [Line], at: usize, way: usize) -> Option<EntryRef> {
    let mask = lines.len() - 1;
    let entry = lines[at].entries[way].take()?;
    let mut passed = entry.hash() as usize & mask;
    while passed != at {
        let overflow = &mut lines[passed].overflow;
        if *overflow != u8::MAX {
            *overflow -= 1;
        }
        passed = (passed + 1) & mask;
    }
    Some(entry)
}

impl HotTable {
    pub(crate) fn new() -> HotTable {
        HotTable { now: lines(FIRST_LINES), old: Vec::new(), moved: 0, len: 0, bytes: 0, hand: 0 }
    }

    /// Entries and the bytes that they take, the table's own lines included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + (self.now.len() + self.old.len()) * size_of::<Line>()
    }

    /// Bytes of the entries alone.
    pub(crate) fn entry_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Position> {
        if let Some((line, way)) = find(&self.now, hash, key) {
            return Some(Position { lines: Half::Now, line, way });
        }
        if self.old.is_empty() {
            return None;
        }
        find(&self.old, hash, key).map(|(line, way)| Position { lines: Half::Old, line, way })
    }

    fn half(&self, half: Half) -> &[Line] {
        if half == Half::Now { &self.now } else { &self.old }
    }

    fn half_mut(&mut self, half: Half) -> &mut [Line] {
        if half == Half::Now { &mut self.now } else { &mut self.old }
    }

    /// The entry at a position that [`find`](Self::find) has just given.
    pub(crate) fn at(&self, at: Position) -> Option<&EntryRef> {
        self.half(at.lines).get(at.line)?.entries.get(at.way)?.as_ref()
    }

    /// Like [`at`](Self::at), to change the entry in place: the caller keeps its size.
    pub(crate) fn at_mut(&mut self, at: Position) -> Option<&mut EntryRef> {
        self.half_mut(at.lines).get_mut(at.line)?.entries.get_mut(at.way)?.as_mut()
    }

    /// Puts another entry of the same key at a position.
    pub(crate) fn replace(&mut self, at: Position, entry: EntryRef) {
        let size = entry.size();
        if let Some(place) = self.at_mut(at) {
            let before = std::mem::replace(place, entry).size();
            self.bytes = self.bytes + size - before;
        }
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, entry: EntryRef) {
        self.len += 1;
        self.bytes += entry.size();
        if !self.old.is_empty() {
            self.move_lines(2);
        } else if self.len * 8 > self.now.len() * WAYS * 5 {
            let bigger = lines(self.now.len() * 2);
            self.old = std::mem::replace(&mut self.now, bigger);
            self.moved = 0;
            self.hand = 0;
        }
        insert(&mut self.now, tag(hash), entry);
    }

    fn move_lines(&mut self, n: usize) {
        for _ in 0..n {
            let Some(line) = self.old.get_mut(self.moved) else { break };
            // The overflow counts of the old lines stay: entries that passed them are still to be found.
            for way in 0..WAYS {
                if let Some(entry) = line.entries[way].take() {
                    insert(&mut self.now, line.tags[way], entry);
                }
            }
            self.moved += 1;
        }
        if self.moved >= self.old.len() {
            self.old = Vec::new();
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, at: Position) -> Option<EntryRef> {
        let entry = take(self.half_mut(at.lines), at.line, at.way)?;
        self.len -= 1;
        self.bytes -= entry.size();
        Some(entry)
    }

    /// The eviction clock: passes lines until `want` bytes of clean, unused entries are gone or it has
    /// passed `steps` lines. `clean` says whether an entry of this memtable may go. Returns bytes freed.
    pub(crate) fn evict(
        &mut self,
        want: usize,
        steps: usize,
        clean: impl Fn(u32) -> bool,
    ) -> usize {
        let mut freed = 0;
        for _ in 0..steps {
            if freed >= want {
                break;
            }
            self.hand = self.hand.wrapping_add(STRIDE);
            let (line, odd) = (self.hand & (self.now.len() - 1), self.hand & self.now.len() != 0);
            // The other ways have their turn in the next round: lines that were emptied whole would be
            // overfull by the time the hand comes back.
            for way in (usize::from(odd)..WAYS).step_by(2) {
                let Some(entry) = &self.now[line].entries[way] else { continue };
                if clean(entry.memtable()) && entry.cool() {
                    freed += entry.size();
                    let at = Position { lines: Half::Now, line, way };
                    drop(self.remove(at));
                }
            }
        }
        freed
    }

    /// First step of a batched look-up: loads the line.
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.now.get(hash as u32 as usize & (self.now.len() - 1)) {
            prefetch(std::ptr::from_ref(line).cast());
        }
    }

    /// Second step: the line is here, loads the entry.
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        let Some(line) = self.now.get(hash as u32 as usize & (self.now.len() - 1)) else { return };
        for way in 0..WAYS {
            if line.tags[way] == tag(hash)
                && let Some(entry) = &line.entries[way]
            {
                entry.prefetch();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgekv_base::rng::Rng;
    use std::collections::HashMap;

    fn hash(key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key)
    }

    /// How many lines a look-up of a key that is not there reads on average.
    fn lines_of_a_miss(table: &HotTable) -> f64 {
        let n = table.now.len();
        let follow = |home: usize| {
            (0..n).take_while(|i| table.now[(home + i) & (n - 1)].overflow > 0).count() + 1
        };
        (0..n).map(follow).sum::<usize>() as f64 / n as f64
    }

    #[test]
    fn look_ups_stay_short_however_many_entries_come_and_are_evicted() {
        let mut rng = Rng::seeded(5);
        for most in [10_000, 11_000, 13_000, 15_000, 17_000, 19_000] {
            let (mut table, mut looked) = (HotTable::new(), 0);
            for round in 0..10 * most {
                let key = rng.next_u64().to_le_bytes();
                let entry = EntryRef::new(&key, hash(&key), Some(b"value"), 1, 0);
                let size = entry.size();
                table.insert(hash(&key), entry);
                if table.len() > most {
                    table.evict(size, 16, |_| true);
                }
                if round % most == most - 1 && table.old.is_empty() {
                    let mean = lines_of_a_miss(&table);
                    assert!(
                        mean < 3.0,
                        "{mean} lines, {} entries in {}",
                        table.len(),
                        table.now.len()
                    );
                    looked += 1;
                }
            }
            assert!(looked >= 8 && table.len() <= most + 16, "{looked}, {}", table.len());
        }
    }

    #[test]
    fn behaves_like_a_map_while_it_grows_and_evicts() {
        let mut rng = Rng::seeded(5);
        let mut table = HotTable::new();
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        for round in 0..60_000u32 {
            let key = rng.below(9_000).to_string().into_bytes();
            let h = hash(&key);
            match rng.below(4) {
                0 => {
                    let gone = table.find(h, &key).and_then(|at| table.remove(at));
                    assert_eq!(gone.is_some(), model.remove(&key).is_some());
                }
                _ => {
                    let value = round.to_string().into_bytes();
                    let entry = EntryRef::new(&key, h, Some(&value), 1, 0);
                    match table.find(h, &key) {
                        Some(at) => table.replace(at, entry),
                        None => table.insert(h, entry),
                    }
                    model.insert(key, value);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        for (key, value) in &model {
            let at = table.find(hash(key), key).expect("present");
            assert_eq!(table.at(at).and_then(|e| e.value()), Some(value.as_slice()));
        }
        let bytes: usize =
            model.iter().map(|(k, v)| EntryRef::new(k, 0, Some(v), 0, 0).size()).sum();
        assert_eq!(table.entry_bytes(), bytes);
        assert_eq!(table.evict(usize::MAX, 100_000, |_| false), 0, "dirty entries stay");
        while !table.old.is_empty() {
            table.move_lines(100);
        }
        assert_eq!(table.evict(usize::MAX, 100_000, |_| true), bytes);
        assert_eq!(table.len(), 0);
    }
}
