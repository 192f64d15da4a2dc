//! Which tables to compact next. Pure: sizes and key ranges in, a choice out.

use super::{Plan, Reason};
use crate::options::Options;
use crate::table::{Compression, TableMeta};
use crate::version::{LEVELS, LevelSize, Version, is_dense};
use std::ops::Range;

/// The level in which data settles.
pub(super) const LAST: usize = LEVELS - 1;
/// So many tables of level 0 are worth merging.
pub(super) const LEVEL0_TABLES: usize = 4;
/// A level may be this many times as large as the one above.
const FANOUT: u64 = 10;
/// Level 0 is merged in pieces of at most this many tables; a backlog is not one endless job.
const LEVEL0_MOST: usize = 32;
/// For tombstones alone, at most so many times the bytes of their tables are rewritten beside them. In level 0
/// less, where more tables to share the work are likely to come.
const TOMBSTONE_COST: u64 = 20;
const TOMBSTONE_COST_LEVEL0: u64 = 4;

/// A choice of tables, as places in their levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) inputs: Vec<(usize, Range<usize>)>,
    pub(super) output: usize,
    pub(super) moves: bool,
    pub(super) reason: Reason,
}

/// The tables of a level, looked at only when they are needed.
pub(super) type Tables<'a> = &'a dyn Fn(usize) -> Vec<&'a TableMeta>;

/// How large each level may be.
pub(super) struct Targets([u64; LEVELS]);

impl Targets {
    pub(super) fn new(sizes: &[LevelSize; LEVELS], options: &Options) -> Targets {
        let bottom = sizes.iter().skip(1).map(|s| s.bytes).max().unwrap_or_default();
        let least = (options.table_bytes / 16).max(1);
        let mut targets = [0; LEVELS];
        let mut target = bottom;
        for slot in targets.iter_mut().take(LAST).skip(1).rev() {
            target /= FANOUT;
            // Too small a share is none: the level is emptied and skipped.
            *slot = if target < least { 0 } else { target };
        }
        targets[LAST] = u64::MAX;
        Targets(targets)
    }

    /// What level `level`, from 1 on, may hold.
    pub(super) fn of(&self, level: usize) -> u64 {
        self.0.get(level).copied().unwrap_or(u64::MAX)
    }

    /// Where level 0 is merged into: the first level that has something or is large enough to take it.
    pub(super) fn below_level0(&self, sizes: &[LevelSize; LEVELS]) -> usize {
        let level0 = sizes[0].bytes;
        let takes = |&level: &usize| {
            sizes.get(level).is_some_and(|s| s.tables > 0) || self.of(level) >= level0.max(1)
        };
        (1..LAST).find(takes).unwrap_or(LAST)
    }
}

/// Decides what a shard should compact next: the level that is most over its limit or, when none is, tables that
/// are mostly tombstones. `None`: the shard is in good shape.
pub fn pick(version: &Version, options: &Options) -> Option<Plan> {
    let sizes = version.sizes();
    let tables = |level| version.level(level).iter().map(|t| t.meta()).collect();
    Some(plan(version, options, choose(&sizes, &tables, options)?))
}

/// Everything a shard has, to be merged into one sorted run. `None` when it has nothing.
pub fn everything(version: &Version, options: &Options) -> Option<Plan> {
    let inputs: Vec<_> = version
        .sizes()
        .iter()
        .enumerate()
        .filter(|(_, size)| size.tables > 0)
        .map(|(level, size)| (level, 0..size.tables))
        .collect();
    if inputs.is_empty() {
        return None;
    }
    let choice = Choice { inputs, output: LAST, moves: false, reason: Reason::Asked };
    Some(plan(version, options, choice))
}

/// Table `id`, to be rewritten where it is, without what nothing claims any more; a table of level 0 together
/// with those below it. `None` when there is no such table.
pub fn rewrite(version: &Version, options: &Options, id: u64) -> Option<Plan> {
    let place = |level: usize| version.level(level).iter().position(|t| t.id() == id);
    let (level, at) = (0..LEVELS).find_map(|level| Some((level, place(level)?)))?;
    let reason = Reason::Garbage;
    if level == 0 {
        let sizes = version.sizes();
        let tables = |level: usize| version.level(level).iter().map(|t| t.meta()).collect();
        let targets = Targets::new(&sizes, options);
        let choice = from_level0(&sizes, &tables, &targets, options, reason);
        // What moves is not read, and nothing of it dropped.
        return Some(plan(version, options, Choice { moves: false, ..choice }));
    }
    let inputs = vec![(level, at..at + 1)];
    Some(plan(version, options, Choice { inputs, output: level, moves: false, reason }))
}

fn plan(version: &Version, options: &Options, choice: Choice) -> Plan {
    let inputs: Vec<_> = choice
        .inputs
        .into_iter()
        .filter(|(_, places)| !places.is_empty())
        .map(|(level, places)| {
            (level, version.level(level).get(places).unwrap_or_default().to_vec())
        })
        .collect();
    let metas: Vec<&TableMeta> =
        inputs.iter().flat_map(|(_, tables)| tables.iter().map(|t| t.meta())).collect();
    let below = (choice.output + 1..LEVELS)
        .filter_map(|level| {
            let tables = version.level(level);
            let metas_there: Vec<&TableMeta> = tables.iter().map(|t| t.meta()).collect();
            let places = overlap(&metas_there, span(&metas)?);
            (!places.is_empty()).then(|| tables.get(places).unwrap_or_default().to_vec())
        })
        .collect();
    // Small data is rewritten often and fits the page cache: speed. Large data rests: space.
    let settled = version.level(LAST).iter().map(|t| t.meta().bytes).sum::<u64>();
    let compression = match choice.output {
        LAST if settled >= 4 * options.table_bytes => Compression::Zstd(1),
        _ => Compression::Lz4,
    };
    let Choice { output, moves, reason, .. } = choice;
    Plan { inputs, output, below, moves, compression, reason }
}

pub(super) fn choose(
    sizes: &[LevelSize; LEVELS],
    tables: Tables<'_>,
    options: &Options,
) -> Option<Choice> {
    let targets = Targets::new(sizes, options);
    match most_urgent(sizes, &targets, options) {
        Some(0) => Some(from_level0(sizes, tables, &targets, options, Reason::Level0)),
        Some(level) => from_level(level, tables, options),
        None => from_tombstones(sizes, tables, &targets, options),
    }
}

/// The level most over its limit, if one is.
fn most_urgent(sizes: &[LevelSize; LEVELS], targets: &Targets, options: &Options) -> Option<usize> {
    let score = |level: usize, size: &LevelSize| match (level, targets.of(level)) {
        (0, _) => size.tables as f64 / LEVEL0_TABLES as f64,
        (_, 0) if size.tables == 0 => 0.0,
        (_, 0) => 1.0 + size.bytes as f64 / options.table_bytes.max(1) as f64,
        // At its limit is not over it.
        (_, target) if size.bytes <= target => 0.0,
        (_, target) => size.bytes as f64 / target as f64,
    };
    let mut best = None;
    for (level, size) in sizes.iter().enumerate() {
        let score = score(level, size);
        if score >= 1.0 && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, level));
        }
    }
    best.map(|(_, level)| level)
}

/// The oldest tables of level 0 (all, unless there is a backlog) and what they overlap.
fn from_level0(
    sizes: &[LevelSize; LEVELS],
    tables: Tables<'_>,
    targets: &Targets,
    options: &Options,
    reason: Reason,
) -> Choice {
    let level0 = tables(0);
    let output = targets.below_level0(sizes);
    let below = tables(output);
    let oldest = level0.len().saturating_sub(1);
    if let Some((&last, newer)) = level0.split_last()
        && last.bytes >= options.table_bytes / 4
        && !newer.iter().any(|t| t.overlaps(&last.smallest, &last.largest))
        && overlap(&below, (&last.smallest, &last.largest)).is_empty()
        && may_move(&[last], output, tables)
    {
        let inputs = vec![(0, oldest..oldest + 1)];
        return Choice { inputs, output, moves: true, reason };
    }
    let places = level0.len().saturating_sub(LEVEL0_MOST)..level0.len();
    let metas = level0.get(places.clone()).unwrap_or_default();
    let overlapped = span(metas).map_or(0..0, |span| overlap(&below, span));
    Choice { inputs: vec![(0, places), (output, overlapped)], output, moves: false, reason }
}

/// Some neighbours of a level, about a table's size together, and what they overlap in the next level: those
/// that move the most bytes down for the bytes rewritten, tombstones counting more.
fn from_level(level: usize, tables: Tables<'_>, options: &Options) -> Option<Choice> {
    let here = tables(level);
    let below = tables(level + 1);
    let mut best: Option<(f64, Range<usize>)> = None;
    for start in 0..here.len() {
        let window = window(&here, start, options.table_bytes);
        let cost = cost(here.get(window.clone())?, &below);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, window));
        }
    }
    let (_, places) = best?;
    Some(down(level, places, &here, &below, tables, options, Reason::Size))
}

/// From `start` on, as many tables as stay within `bytes`, at least one.
fn window(tables: &[&TableMeta], start: usize, bytes: u64) -> Range<usize> {
    let mut sum = 0;
    let more = tables.iter().skip(start).take_while(|t| {
        sum += t.bytes;
        sum <= bytes
    });
    start..start + more.count().max(1)
}

fn cost(window: &[&TableMeta], below: &[&TableMeta]) -> f64 {
    let places = span(window).map_or(0..0, |span| overlap(below, span));
    let rewritten = bytes(below.get(places).unwrap_or_default());
    let entries = window.iter().map(|t| t.entries).sum::<u64>().max(1);
    let tombstones = window.iter().map(|t| t.tombstones).sum::<u64>();
    let weight = 1.0 + 2.0 * tombstones as f64 / entries as f64;
    rewritten as f64 / (bytes(window).max(1) as f64 * weight)
}

/// The choice that takes `places` of `level` one level down.
fn down(
    level: usize,
    places: Range<usize>,
    here: &[&TableMeta],
    below: &[&TableMeta],
    tables: Tables<'_>,
    options: &Options,
    reason: Reason,
) -> Choice {
    let window = here.get(places.clone()).unwrap_or_default();
    let overlapped = span(window).map_or(0..0, |span| overlap(below, span));
    // Several small tables become one instead of moving on as they are.
    let worth_keeping =
        window.len() == 1 || bytes(window) / window.len() as u64 >= options.table_bytes / 4;
    let moves = overlapped.is_empty() && worth_keeping && may_move(window, level + 1, tables);
    let inputs = vec![(level, places), (level + 1, overlapped)];
    Choice { inputs, output: level + 1, moves, reason }
}

/// Whether tables may go to `output` unread: not when they carry tombstones that reading would drop.
fn may_move(window: &[&TableMeta], output: usize, tables: Tables<'_>) -> bool {
    window.iter().all(|t| t.tombstones == 0)
        || (output + 1..LEVELS)
            .any(|level| span(window).is_some_and(|span| !overlap(&tables(level), span).is_empty()))
}

/// Tables that are mostly tombstones, the worst of the uppermost level that has one.
fn from_tombstones(
    sizes: &[LevelSize; LEVELS],
    tables: Tables<'_>,
    targets: &Targets,
    options: &Options,
) -> Option<Choice> {
    for (level, _) in sizes.iter().enumerate().filter(|(_, size)| size.dense) {
        let here = tables(level);
        if level == 0 {
            let entries: u64 = here.iter().map(|t| t.entries).sum();
            let tombstones: u64 = here.iter().map(|t| t.tombstones).sum();
            let choice = from_level0(sizes, tables, targets, options, Reason::Tombstones);
            let worth = affordable(&choice, tables, TOMBSTONE_COST_LEVEL0);
            if tombstones * 3 >= entries && (worth || hides_much(&choice, tables)) {
                return Some(choice);
            }
            continue;
        }
        let density = |t: &TableMeta| t.tombstones as f64 / t.entries.max(1) as f64;
        let mut dense: Vec<usize> =
            (0..here.len()).filter(|&at| here.get(at).is_some_and(|t| is_dense(t))).collect();
        dense.sort_by(|&a, &b| {
            let of = |at: usize| here.get(at).map_or(0.0, |t| density(t));
            of(b).total_cmp(&of(a))
        });
        for at in dense {
            let places = at..at + 1;
            if level == LAST {
                // There is nothing below: rewritten in place, the tombstones are gone.
                let inputs = vec![(LAST, places)];
                let reason = Reason::Tombstones;
                return Some(Choice { inputs, output: LAST, moves: false, reason });
            }
            let below = tables(level + 1);
            let choice = down(level, places, &here, &below, tables, options, Reason::Tombstones);
            if affordable(&choice, tables, TOMBSTONE_COST) || hides_much(&choice, tables) {
                return Some(choice);
            }
        }
    }
    None
}

/// Whether what is rewritten beside the first input is at most `times` as long.
fn affordable(choice: &Choice, tables: Tables<'_>, times: u64) -> bool {
    let mut lengths = choice
        .inputs
        .iter()
        .map(|(level, places)| bytes(tables(*level).get(places.clone()).unwrap_or_default()));
    let own = lengths.next().unwrap_or_default();
    lengths.sum::<u64>() <= own.saturating_mul(times)
}

/// Whether the tombstones of the first input may hide a quarter of the entries of the others.
fn hides_much(choice: &Choice, tables: Tables<'_>) -> bool {
    let sum = |(level, places): &(usize, Range<usize>), of: fn(&TableMeta) -> u64| {
        let here = tables(*level);
        here.get(places.clone()).unwrap_or_default().iter().map(|t| of(t)).sum::<u64>()
    };
    let Some((first, others)) = choice.inputs.split_first() else { return false };
    let hidden = others.iter().map(|input| sum(input, |t| t.entries)).sum::<u64>();
    sum(first, |t| t.tombstones) * 4 >= hidden
}

fn bytes(tables: &[&TableMeta]) -> u64 {
    tables.iter().map(|t| t.bytes).sum()
}

/// The smallest and the largest key of some tables.
fn span<'a>(tables: &[&'a TableMeta]) -> Option<(&'a [u8], &'a [u8])> {
    let smallest = tables.iter().map(|t| t.smallest.as_slice()).min()?;
    let largest = tables.iter().map(|t| t.largest.as_slice()).max()?;
    Some((smallest, largest))
}

/// Which tables of a sorted level overlap a range of keys.
fn overlap(tables: &[&TableMeta], (smallest, largest): (&[u8], &[u8])) -> Range<usize> {
    let start = tables.partition_point(|t| t.largest.as_slice() < smallest);
    let end = tables.partition_point(|t| t.smallest.as_slice() <= largest);
    start..end.max(start)
}
