//! A durable, sharded, ordered map of bytes.
//!
//! 64 shards, each an LSM tree of its own, behind one physical log; see `FORMAT.md` for every byte on
//! disk and `../ARCHITECTURE.md` for how the pieces work together. This room knows no word of Redis.

pub mod disk;
mod error;
#[doc(hidden)]
pub mod merge;
mod options;
mod schema;
#[doc(hidden)]
pub mod table;

pub use error::{Error, Result};
pub use options::{Options, SyncMode};
pub use schema::{Durable, Judge, Schema, Verdict};

/// The number of shards. Fixed: it is part of where keys live on disk.
pub const SHARDS: usize = 64;
