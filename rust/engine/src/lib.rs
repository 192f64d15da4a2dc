//! A durable, sharded, ordered map of bytes.
//!
//! 64 shards, each an LSM tree of its own, behind one physical log; see `FORMAT.md` for every byte on
//! disk and `../ARCHITECTURE.md` for how the pieces work together. This room knows no word of Redis.

mod background;
mod batch;
mod check;
#[doc(hidden)]
pub mod compaction;
#[cfg(test)]
mod corruption_tests;
#[cfg(test)]
mod crash_tests;
mod demand;
pub mod disk;
mod engine;
mod entry;
mod error;
mod fill;
mod guard;
mod hot;
mod idle;
mod loader;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod manifest;
mod memory;
mod memtable;
#[doc(hidden)]
pub mod merge;
mod options;
#[cfg(test)]
mod pressure_tests;
mod scan;
mod schema;
mod shard;
mod snapshot;
#[doc(hidden)]
pub mod table;
#[doc(hidden)]
pub mod version;

pub use batch::Batch;
pub use check::{Finding, check};
pub use engine::{Engine, Stats};
pub use error::{Error, Result, STALLED, UNSETTLED};
pub use guard::{Guard, Loads, ShardSet};
pub use loader::Loading;
pub use options::{Options, SyncMode};
pub use schema::{Durable, Judge, Mark, Schema, Verdict};
pub use shard::Reads;
pub use snapshot::{Records, Snapshot};

/// The number of shards. Fixed: it is part of where keys live on disk.
pub const SHARDS: usize = 64;
