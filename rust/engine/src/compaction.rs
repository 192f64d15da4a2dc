//! Compaction: merging tables so that reads stay cheap and the space of old versions comes back.
//!
//! Three parts: [`pick`] looks at a [`Version`] and decides (pure), [`run`] carries the decision out, and
//! [`debt`] and [`write_delay`] say how far behind a shard is.
//!
//! The shape of a shard. Data settles in the last level. The level above may hold a tenth of it, the one
//! above that a hundredth; so old versions take about 11 % more than the data, whatever its size. A level
//! whose share would be too small to be worth a step stays unused, and level 0 is merged into the first
//! level whose share is at least as large as level 0 itself.
//!
//! ```text
//!  level 0   flushes, overlapping, up to four
//!  ...       unused while the data is small
//!  level 5   a tenth of level 6      one table at a time moves down, merged with what it overlaps
//!  level 6   the data
//! ```
//!
//! What always holds:
//! 1. A plan takes all of level 0 from some table on to its oldest, and every table that overlaps its range
//!    down to the level it writes to. So nothing that stays lies between what was merged.
//! 2. A tombstone vanishes only when no deeper table may hold its key.
//! 3. Until its edits are committed, a compaction has changed nothing.
//! 4. A shard that nobody writes to comes to rest: after finitely many plans there is none.

mod pace;
mod pick;
mod run;

#[cfg(test)]
mod pick_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod simulation;

pub use pace::{debt, share, write_delay};
pub use pick::{everything, pick, rewrite};
pub use run::{Context, Outcome, run};

use crate::table::{Compression, Table};
use crate::version::Version;
use std::sync::Arc;

/// Why a compaction is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Level 0 has too many tables.
    Level0,
    /// A level has outgrown its share.
    Size,
    /// Tables that are mostly tombstones. This can wait until there is nothing else to do.
    Tombstones,
    /// A table that holds much that nothing claims any more. This can wait, too.
    Garbage,
    /// Somebody asked.
    Asked,
}

/// What to compact, decided on one version and good for as long as nobody else compacts that shard.
/// Flushes may go on.
#[derive(Debug)]
pub struct Plan {
    /// The tables to merge, by level; level 0 newest first.
    pub(crate) inputs: Vec<(usize, Vec<Arc<Table>>)>,
    /// The level to write to.
    pub(crate) output: usize,
    /// The levels below the output, what of them overlaps the inputs.
    pub(crate) below: Vec<Vec<Arc<Table>>>,
    /// Whether the inputs move to the output level as they are.
    pub(crate) moves: bool,
    pub(crate) compression: Compression,
    pub(crate) reason: Reason,
}

impl Plan {
    /// Why this is to be done.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether this should not wait until the shard is quiet.
    pub fn is_urgent(&self) -> bool {
        !matches!(self.reason, Reason::Tombstones | Reason::Garbage)
    }

    /// The length of the files to be read.
    pub fn bytes(&self) -> u64 {
        self.inputs().map(|t| t.meta().bytes).sum()
    }

    fn inputs(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.inputs.iter().flat_map(|(_, tables)| tables)
    }
}

impl Version {
    /// This version after a plan was carried out and gave `tables`.
    #[must_use]
    pub fn with_compacted(&self, plan: &Plan, tables: &[Arc<Table>]) -> Version {
        let removed = plan.inputs().map(|t| t.id()).collect();
        self.replace(&removed, plan.output, tables)
    }
}
