//! What can go wrong in the engine, and what the caller is told.
//!
//! Three kinds are not failures but answers: [`Error::Miss`] (the data is on disk and this caller may
//! not wait for it), [`Error::Busy`] (a long operation holds the shard) and [`Error::NoSpace`] (writes
//! resume by themselves). All others are the world's failures and carry file and offset.

use std::io;
use std::path::{Path, PathBuf};

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Stands for the shard in [`Error::Busy`] when memtables are full and a commit has to wait for a flush.
pub const STALLED: u8 = u8::MAX;
/// Stands for the shard in [`Error::Busy`] when so many keys are not counted exactly yet that they are better
/// looked up with no shard held.
pub const UNSETTLED: u8 = u8::MAX - 1;

/// What can go wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The data is not in memory; the blocks to load are listed in the guard's misses.
    Miss,
    /// A long operation holds this shard, or, with [`STALLED`] for the shard, the memtables are full, or, with
    /// [`UNSETTLED`], counts are being settled: wait for it with `Engine::wait_free`.
    Busy(u8),
    /// The guard does not hold this shard; take it with all shards and run again.
    NotHeld(u8),
    /// The disk is full, or the write would eat into the reserve. Reads go on.
    NoSpace,
    /// The log could not be written or synced: writes are refused until it has moved to a new file.
    LogFailed(String),
    /// Bytes on disk are not what was written: file, offset, and what is wrong there.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found, and what to do.
        what: String,
    },
    /// An operating-system call failed.
    Io {
        /// What was being done, with the file's name.
        doing: String,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's own text.
        text: String,
    },
    /// Another process, or another opener in this one, owns the directory.
    Locked(PathBuf),
    /// The directory was written by a newer format, or with other fixed options.
    Incompatible(String),
    /// The engine is closing.
    Closed,
}

impl Error {
    /// An I/O failure with what was being done.
    pub fn io(doing: impl Into<String>, e: &io::Error) -> Error {
        if matches!(e.raw_os_error(), Some(libc::ENOSPC) | Some(libc::EDQUOT)) {
            return Error::NoSpace;
        }
        Error::Io { doing: doing.into(), kind: e.kind(), text: e.to_string() }
    }

    /// Damage found in `file` at `offset`.
    pub fn corrupt(file: &Path, offset: u64, what: impl Into<String>) -> Error {
        Error::Corrupt { file: file.to_path_buf(), offset, what: what.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Miss => f.write_str("the data is on disk and has to be loaded first"),
            Error::Busy(STALLED) => f.write_str("writes have to wait until memtables are flushed"),
            Error::Busy(shard) => write!(f, "shard {shard} is held by a long operation"),
            Error::NotHeld(shard) => write!(f, "shard {shard} is not held by this command"),
            Error::NoSpace => f.write_str("no space left on the data disk"),
            Error::LogFailed(why) => write!(f, "the write-ahead log failed: {why}"),
            Error::Corrupt { file, offset, what } => {
                write!(f, "{} is damaged at offset {offset}: {what}", file.display())
            }
            Error::Io { doing, text, .. } => write!(f, "{doing}: {text}"),
            Error::Locked(dir) => {
                write!(f, "the data directory {} is in use by another process", dir.display())
            }
            Error::Incompatible(why) => f.write_str(why),
            Error::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl std::error::Error for Error {}
