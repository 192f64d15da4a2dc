//! The tables of one shard at one moment.
//!
//! A [`Version`] never changes: flushes and compactions make a new one, and whoever still reads an old one
//! holds it by its `Arc`. Level 0 is what flushes wrote, newest first, overlapping; every other level is
//! one sorted run of disjoint tables. What is in a lower-numbered level is newer.
//!
//! Looking a key up costs few cache misses: each level keeps the first sixteen bytes of its tables'
//! smallest and largest keys side by side, and goes to the keys themselves only on a tie.

use crate::disk::Disk;
use crate::error::Result;
use crate::manifest::{State, list, remove};
use crate::table::{Table, TableMeta, table_id, tables_dir};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;

/// How many levels there are. Data settles in the last one; upper ones come into use as it grows.
pub const LEVELS: usize = 7;

/// The tables of one shard at one moment.
#[derive(Debug, Clone)]
pub struct Version {
    levels: [Arc<Level>; LEVELS],
}

/// What the picker has to know of a level before it looks at tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelSize {
    /// How many tables there are.
    pub tables: usize,
    /// The length of their files.
    pub bytes: u64,
    /// Whether a table of the level is mostly tombstones.
    pub dense: bool,
}

impl LevelSize {
    /// The size of these tables.
    pub fn of<'a>(tables: impl Iterator<Item = &'a TableMeta>) -> LevelSize {
        tables.fold(LevelSize::default(), |sum, meta| LevelSize {
            tables: sum.tables + 1,
            bytes: sum.bytes + meta.bytes,
            dense: sum.dense || is_dense(meta),
        })
    }
}

/// Whether a table is worth a compaction for its tombstones alone: at least a third of its entries.
pub(crate) fn is_dense(meta: &TableMeta) -> bool {
    meta.tombstones > 0 && meta.tombstones * 3 >= meta.entries
}

#[derive(Debug, Default)]
struct Level {
    tables: Vec<Arc<Table>>,
    fences: Vec<Fence>,
    size: LevelSize,
    resident_bytes: u64,
}

/// The beginnings of a table's smallest and largest key.
#[derive(Debug, Clone, Copy)]
struct Fence {
    first: u128,
    last: u128,
}

/// The first sixteen bytes of a key as a number: smaller numbers mean smaller keys, equal ones nothing.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let len = key.len().min(16);
    if let (Some(to), Some(from)) = (bytes.get_mut(..len), key.get(..len)) {
        to.copy_from_slice(from);
    }
    u128::from_be_bytes(bytes)
}

fn compare(a: u128, a_key: &[u8], b: u128, b_key: &[u8]) -> Ordering {
    a.cmp(&b).then_with(|| a_key.cmp(b_key))
}

impl Level {
    fn new(tables: Vec<Arc<Table>>) -> Level {
        let fence = |t: &Arc<Table>| Fence {
            first: beginning(&t.meta().smallest),
            last: beginning(&t.meta().largest),
        };
        Level {
            fences: tables.iter().map(fence).collect(),
            size: LevelSize::of(tables.iter().map(|t| t.meta())),
            resident_bytes: tables.iter().map(|t| t.resident_bytes() as u64).sum(),
            tables,
        }
    }

    /// Whether table `at` spans the key.
    fn spans(&self, at: usize, start: u128, key: &[u8]) -> bool {
        let (Some(fence), Some(table)) = (self.fences.get(at), self.tables.get(at)) else {
            return false;
        };
        let meta = table.meta();
        compare(fence.first, &meta.smallest, start, key).is_le()
            && compare(fence.last, &meta.largest, start, key).is_ge()
    }

    /// The table of a sorted level that spans the key.
    fn find(&self, start: u128, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.fences.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let (fence, table) = (self.fences.get(middle)?, self.tables.get(middle)?);
            if compare(fence.last, &table.meta().largest, start, key).is_lt() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.spans(low, start, key).then_some(low)
    }
}

impl Version {
    /// A version of these levels: the first newest first, the others in key order and disjoint.
    pub fn new(levels: Vec<Vec<Arc<Table>>>) -> Version {
        debug_assert!(levels.len() <= LEVELS);
        let mut levels = levels.into_iter();
        Version {
            levels: std::array::from_fn(|_| {
                Arc::new(levels.next().map(Level::new).unwrap_or_default())
            }),
        }
    }

    /// This version with one more table from a flush, newer than all others.
    #[must_use]
    pub fn with_flushed(&self, table: Arc<Table>) -> Version {
        let tables = std::iter::once(table).chain(self.level(0).iter().cloned()).collect();
        let mut new = self.clone();
        if let Some(level) = new.levels.first_mut() {
            *level = Arc::new(Level::new(tables));
        }
        new
    }

    /// This version with some tables replaced by others in a level below the first.
    #[must_use]
    pub(crate) fn replace(
        &self,
        removed: &HashSet<u64>,
        level: usize,
        added: &[Arc<Table>],
    ) -> Version {
        debug_assert!(level > 0);
        let mut new = self.clone();
        for (no, slot) in new.levels.iter_mut().enumerate() {
            let gone = |t: &Arc<Table>| removed.contains(&t.id());
            let here = if no == level { added } else { &[] };
            if here.is_empty() && !slot.tables.iter().any(gone) {
                continue;
            }
            let kept = slot.tables.iter().filter(|t| !gone(t));
            let mut tables: Vec<Arc<Table>> = kept.chain(here).cloned().collect();
            if no > 0 {
                tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
                debug_assert!(
                    tables.array_windows().all(|[a, b]| a.meta().largest < b.meta().smallest),
                    "the tables of a level are disjoint"
                );
            }
            *slot = Arc::new(Level::new(tables));
        }
        new
    }

    /// The tables of a level; none when there is no such level.
    pub fn level(&self, level: usize) -> &[Arc<Table>] {
        self.levels.get(level).map_or(&[], |l| &l.tables)
    }

    /// The sizes of the levels.
    pub fn sizes(&self) -> [LevelSize; LEVELS] {
        std::array::from_fn(|no| self.levels.get(no).map(|l| l.size).unwrap_or_default())
    }

    /// All tables, level by level.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.levels.iter().flat_map(|level| &level.tables)
    }

    /// The sorted runs, newest first: each table of level 0, then each other level that has tables.
    pub fn runs(&self) -> impl Iterator<Item = &[Arc<Table>]> {
        let rest = self.levels.iter().skip(1).map(|level| level.tables.as_slice());
        self.level(0).chunks(1).chain(rest.filter(|run| !run.is_empty()))
    }

    /// The tables that may hold `key`, newest first. `hash` is the schema's hash of the key. From memory.
    pub fn candidates(&self, key: &[u8], hash: u64) -> impl Iterator<Item = &Arc<Table>> {
        let start = beginning(key);
        let [first, sorted @ ..] = &self.levels;
        let flushed = (0..first.tables.len())
            .filter(move |&at| first.spans(at, start, key))
            .filter_map(|at| first.tables.get(at));
        let settled =
            sorted.iter().filter_map(move |level| level.tables.get(level.find(start, key)?));
        flushed.chain(settled).filter(move |table| table.may_contain(hash))
    }

    /// The newest value of `key`; `None` when it is absent or deleted. This may wait for the device: never on
    /// an event loop.
    ///
    /// # Errors
    /// `Corrupt` when a block is damaged.
    pub fn get(&self, key: &[u8], hash: u64) -> Result<Option<Vec<u8>>> {
        for table in self.candidates(key, hash) {
            let Some(block) = table.block_for(key) else { continue };
            if let Some(value) = table.load_block(block)?.get(key) {
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }

    /// Memory that filters, indexes and the version itself take.
    pub fn resident_bytes(&self) -> u64 {
        let level =
            |l: &Arc<Level>| l.resident_bytes + (l.tables.len() * (8 + size_of::<Fence>())) as u64;
        self.levels.iter().map(level).sum()
    }
}

/// Deletes the table files that `state` does not name, and says how many: what flushes and compactions left
/// behind that a crash ended. Call it when every table of `state` is open and the log is recovered: a
/// directory in need of repair is better left as it is.
///
/// # Errors
/// Those of the disk.
pub fn remove_orphans(disk: &dyn Disk, dir: &Path, state: &State) -> Result<usize> {
    let named: HashSet<u64> = state.tables().map(|(_, _, meta)| meta.id).collect();
    let tables = tables_dir(dir);
    let mut removed = 0;
    for name in list(disk, &tables)? {
        if table_id(&name).is_some_and(|id| !named.contains(&id)) {
            remove(disk, &tables.join(&name))?;
            removed += 1;
        }
    }
    Ok(removed)
}
