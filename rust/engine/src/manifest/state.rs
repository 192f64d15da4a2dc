//! What the manifest says, and how edits change it.

use super::Edit;
use crate::SHARDS;
use crate::table::TableMeta;
use std::collections::{BTreeMap, BTreeSet};

/// One shard on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardState {
    /// The tables. Level 0 newest first; the others in key order, disjoint.
    pub levels: Vec<Vec<TableMeta>>,
    /// Every batch of the log up to this position is in the tables.
    pub flushed_lsn: u64,
    /// Every sequence number up to this one is in the tables.
    pub flushed_seq: u64,
    /// The number of live keys by group, at `flushed_lsn`.
    pub counts: Vec<(u32, i64)>,
}

/// The whole directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// One for each shard.
    pub shards: Vec<ShardState>,
    /// The id for the next file.
    pub next_file: u64,
    /// The highest sequence number known to be used.
    pub seq_high_water: u64,
    /// Every batch of the log up to this position is in tables.
    pub log_start: u64,
    /// Properties that were set once.
    pub fixed: BTreeMap<String, Vec<u8>>,
}

impl Default for State {
    fn default() -> State {
        State {
            shards: vec![ShardState::default(); SHARDS],
            next_file: 1,
            seq_high_water: 0,
            log_start: 0,
            fixed: BTreeMap::new(),
        }
    }
}

/// The parts of a state that some edits touch, as they were before.
pub(super) struct Part {
    shards: Vec<(u8, ShardState)>,
    next_file: u64,
    seq_high_water: u64,
    log_start: u64,
    fixed: BTreeMap<String, Vec<u8>>,
}

impl State {
    /// Every table with its shard and level; level 0 oldest first, so that adding them in this order gives the
    /// same state.
    pub fn tables(&self) -> impl Iterator<Item = (u8, u8, &TableMeta)> {
        self.shards.iter().zip(0u8..).flat_map(|(shard, no)| {
            shard.levels.iter().zip(0u8..).flat_map(move |(tables, level)| {
                tables.iter().rev().map(move |meta| (no, level, meta))
            })
        })
    }

    /// The edits that make this state out of nothing.
    pub(super) fn as_edits(&self) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self
            .tables()
            .map(|(shard, level, meta)| Edit::AddTable { shard, level, meta: meta.clone() })
            .collect();
        for (shard, no) in self.shards.iter().zip(0u8..) {
            if shard.flushed_lsn > 0 || shard.flushed_seq > 0 || !shard.counts.is_empty() {
                edits.push(Edit::Flushed {
                    shard: no,
                    lsn: shard.flushed_lsn,
                    seq: shard.flushed_seq,
                    counts: shard.counts.clone(),
                });
            }
        }
        edits.push(Edit::NextFile(self.next_file));
        edits.push(Edit::LogStart(self.log_start));
        edits.push(Edit::SeqHighWater(self.seq_high_water));
        for (name, value) in &self.fixed {
            edits.push(Edit::Fixed { name: name.clone(), value: value.clone() });
        }
        edits
    }

    /// What [`restore`](State::restore) needs to take the edits back.
    pub(super) fn part(&self, edits: &[Edit]) -> Part {
        let touched: BTreeSet<u8> = edits
            .iter()
            .filter_map(|edit| match edit {
                Edit::AddTable { shard, .. }
                | Edit::RemoveTable { shard, .. }
                | Edit::Flushed { shard, .. } => Some(*shard),
                Edit::NextFile(_)
                | Edit::SeqHighWater(_)
                | Edit::LogStart(_)
                | Edit::Fixed { .. } => None,
            })
            .collect();
        let shards = touched
            .into_iter()
            .filter_map(|no| Some((no, self.shards.get(usize::from(no))?.clone())))
            .collect();
        Part {
            shards,
            next_file: self.next_file,
            log_start: self.log_start,
            seq_high_water: self.seq_high_water,
            fixed: self.fixed.clone(),
        }
    }

    pub(super) fn restore(&mut self, part: Part) {
        for (no, before) in part.shards {
            if let Some(shard) = self.shards.get_mut(usize::from(no)) {
                *shard = before;
            }
        }
        self.next_file = part.next_file;
        self.log_start = part.log_start;
        self.seq_high_water = part.seq_high_water;
        self.fixed = part.fixed;
    }

    /// Applies the edits of one record: the removals, then the rest. After an error the state is half
    /// changed.
    pub(super) fn apply(&mut self, edits: &[Edit]) -> Result<(), String> {
        for edit in edits {
            if let Edit::RemoveTable { shard, level, id } = edit {
                self.remove(*shard, *level, *id)?;
            }
        }
        for edit in edits {
            match edit {
                Edit::RemoveTable { .. } => {}
                Edit::AddTable { shard, level, meta } => self.add(*shard, *level, meta)?,
                Edit::Flushed { shard, lsn, seq, counts } => {
                    let shard = self.shard(*shard)?;
                    if *lsn < shard.flushed_lsn || *seq < shard.flushed_seq {
                        return Err(format!(
                            "flushed up to lsn {lsn}, seq {seq}, but already {}, {}",
                            shard.flushed_lsn, shard.flushed_seq
                        ));
                    }
                    shard.flushed_lsn = *lsn;
                    shard.flushed_seq = *seq;
                    shard.counts.clone_from(counts);
                }
                Edit::NextFile(id) => self.next_file = self.next_file.max(*id),
                Edit::LogStart(lsn) => self.log_start = self.log_start.max(*lsn),
                Edit::SeqHighWater(seq) => self.seq_high_water = self.seq_high_water.max(*seq),
                Edit::Fixed { name, value } => {
                    let set = self.fixed.entry(name.clone()).or_insert_with(|| value.clone());
                    if set != value {
                        return Err(format!("{name} is fixed and was set to another value"));
                    }
                }
            }
        }
        Ok(())
    }

    fn shard(&mut self, no: u8) -> Result<&mut ShardState, String> {
        self.shards.get_mut(usize::from(no)).ok_or_else(|| format!("there is no shard {no}"))
    }

    fn remove(&mut self, shard: u8, level: u8, id: u64) -> Result<(), String> {
        let missing = || format!("table {id} is not in level {level} of shard {shard}");
        let levels = &mut self.shard(shard)?.levels;
        let tables = levels.get_mut(usize::from(level)).ok_or_else(missing)?;
        let at = tables.iter().position(|t| t.id == id).ok_or_else(missing)?;
        tables.remove(at);
        // No empty levels at the end, so that equal states compare equal.
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        Ok(())
    }

    fn add(&mut self, shard: u8, level: u8, meta: &TableMeta) -> Result<(), String> {
        self.next_file = self.next_file.max(meta.id.saturating_add(1));
        let levels = &mut self.shard(shard)?.levels;
        if meta.smallest > meta.largest {
            return Err(format!("table {} ends before it begins", meta.id));
        }
        if levels.len() <= usize::from(level) {
            levels.resize(usize::from(level) + 1, Vec::new());
        }
        let Some(tables) = levels.get_mut(usize::from(level)) else { return Ok(()) };
        let at = match level {
            0 => 0,
            _ => tables.partition_point(|t| t.largest < meta.smallest),
        };
        if level > 0
            && let Some(next) = tables.get(at)
            && next.smallest <= meta.largest
        {
            return Err(format!("tables {} and {} overlap in level {level}", meta.id, next.id));
        }
        tables.insert(at, meta.clone());
        Ok(())
    }
}
