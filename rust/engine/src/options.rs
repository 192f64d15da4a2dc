//! What an engine is opened with.

use std::path::PathBuf;

/// When a commit is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// Before it is acknowledged.
    Always,
    /// At most about one second later.
    #[default]
    EverySecond,
    /// When the operating system pleases; it survives the process, not the machine.
    Never,
}

/// How an engine is opened. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that holds everything; created if it is not there.
    pub dir: PathBuf,
    /// When commits are synced.
    pub sync_mode: SyncMode,
    /// Memtables of all shards together, sealed ones included.
    pub memtable_bytes: u64,
    /// One shard's active memtable takes at most this part of `memtable_bytes` (2: a half).
    pub shard_share: u64,
    /// Everything the engine keeps in memory: memtables, caches, filters, indexes.
    pub memory_bytes: u64,
    /// The size of one log segment.
    pub segment_bytes: u64,
    /// The log is kept under this size by flushing the shards with the oldest unflushed data.
    pub log_bytes: u64,
    /// The uncompressed size of a block.
    pub block_bytes: usize,
    /// The size at which a table that a compaction writes is closed.
    pub table_bytes: u64,
    /// Threads for flushes and compactions.
    pub background_threads: usize,
    /// Free disk that only deletes and compactions may use.
    pub reserve_bytes: u64,
    /// A shard to which nobody has written for so many milliseconds has its quiet: garbage in its tables is
    /// looked for and dropped.
    pub quiet_ms: u64,
    /// Whether io_uring is tried for cold reads; the thread pool serves where it is not to be had.
    pub io_uring: bool,
    /// Asked for what the process has resident, if the embedder can tell: the caches then make room for
    /// what they can't see (fragmentation, connections).
    pub resident: Option<fn() -> Option<u64>>,
    /// Values fixed when the directory is created; what the directory says wins afterwards.
    pub fixed: Vec<(String, Vec<u8>)>,
}

impl Options {
    /// The defaults, for `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        const MIB: u64 = 1 << 20;
        Options {
            dir: dir.into(),
            sync_mode: SyncMode::default(),
            memtable_bytes: 256 * MIB,
            shard_share: 2,
            memory_bytes: 1024 * MIB,
            segment_bytes: 64 * MIB,
            log_bytes: 1024 * MIB,
            block_bytes: 4096,
            table_bytes: 16 * MIB,
            background_threads: 2,
            reserve_bytes: 64 * MIB,
            quiet_ms: 3000,
            io_uring: true,
            resident: None,
            fixed: Vec::new(),
        }
    }
}
