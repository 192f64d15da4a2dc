//! How far behind a shard's compactions are, and how much that should slow its writers. Pure.
//!
//! Writers are slowed long before anything has to stall: the delay begins at nothing, grows with the square of
//! the backlog, and has no cliff.

use super::pick::{LAST, LEVEL0_TABLES, Targets};
use super::{Plan, Reason};
use crate::options::Options;
use crate::version::{LEVELS, LevelSize, Version};

/// Up to so many tables in level 0 nobody is slowed: two rounds of work.
const HEALTHY_TABLES: f64 = 2.0 * LEVEL0_TABLES as f64;
/// With so many more, the delay is [`STEP`].
const TABLES: f64 = 4.0 * LEVEL0_TABLES as f64;
/// Microseconds a KiB that bring a writer down to 5 MB a second.
const STEP: f64 = 200.0;
/// The longest delay: a writer is never stopped.
const MOST: f64 = 2000.0;
/// The share of a compaction that nothing presses, and of one that nobody would miss.
const LEAST_SHARE: f64 = 0.4;
const IDLE_SHARE: f64 = 0.25;

/// A quarter of the data, and some jobs in any case, may wait to be rewritten.
fn healthy_debt(sizes: &[LevelSize; LEVELS], options: &Options) -> f64 {
    let data: u64 = sizes.iter().map(|s| s.bytes).sum();
    (data / 4).max(16 * options.table_bytes).max(1) as f64
}

/// About how many bytes have to be rewritten until every level is within its limit.
pub fn debt(version: &Version, options: &Options) -> u64 {
    debt_of(&version.sizes(), options)
}

pub(super) fn debt_of(sizes: &[LevelSize; LEVELS], options: &Options) -> u64 {
    let targets = Targets::new(sizes, options);
    let bytes = |level: usize| sizes.get(level).map_or(0, |s| s.bytes);
    let mut debt = 0;
    // What comes down from above.
    let mut carried = 0;
    let first = targets.below_level0(sizes);
    if sizes[0].tables >= LEVEL0_TABLES {
        carried = bytes(0);
        debt += carried + bytes(first);
    }
    for level in first..LAST {
        let held = bytes(level) + carried;
        carried = held.saturating_sub(targets.of(level));
        // Each byte that goes on meets as many of the next level as that is larger.
        let ratio = bytes(level + 1) as f64 / held.max(1) as f64;
        debt += (carried as f64 * (1.0 + ratio)) as u64;
    }
    debt
}

/// The share of a core and of the disk that a compaction should take: little while it can wait, all of it long
/// before writers have to be slowed.
pub fn share(plan: &Plan, version: &Version, options: &Options) -> f64 {
    match plan.reason() {
        Reason::Asked => 1.0,
        Reason::Tombstones | Reason::Garbage => IDLE_SHARE,
        Reason::Level0 | Reason::Size => share_of(&version.sizes(), options),
    }
}

pub(super) fn share_of(sizes: &[LevelSize; LEVELS], options: &Options) -> f64 {
    let tables = sizes[0].tables as f64 / HEALTHY_TABLES;
    let debt = debt_of(sizes, options) as f64 / healthy_debt(sizes, options);
    (LEAST_SHARE + (1.0 - LEAST_SHARE) * tables.max(debt)).min(1.0)
}

/// How long a writer should be delayed for each KiB it writes to this shard, in microseconds; 0 while
/// compactions keep up.
pub fn write_delay(version: &Version, options: &Options) -> u64 {
    delay_of(&version.sizes(), options)
}

pub(super) fn delay_of(sizes: &[LevelSize; LEVELS], options: &Options) -> u64 {
    let tables = (sizes[0].tables as f64 - HEALTHY_TABLES) / TABLES;
    let debt = debt_of(sizes, options) as f64 / healthy_debt(sizes, options) - 1.0;
    let backlog = tables.max(debt).max(0.0);
    (STEP * backlog * backlog).min(MOST) as u64
}
