//! The configuration: read at start, looked at by everybody, changed while the server runs.
//!
//! [`Config`] is one immutable value. [`Handle`] holds the current one and replaces it whole, so
//! nobody ever sees half a change; a worker keeps a [`Reader`], whose look costs one atomic load a
//! loop turn while nothing changes. Which directives there are is said once, in [`table`].
//!
//! CONFIG SET is all or nothing: every value is checked on a copy, then every part of the server
//! that a change concerns is told ([`Apply`]), and only when all of them agreed is the copy
//! published. A part that refuses makes those before it go back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forgekv_base::glob;
use parking_lot::Mutex;

mod advice;
mod choice;
mod directive;
mod file;
mod flags;
pub mod machine;
mod rewrite;
mod share;
mod table;
mod tls;
mod value;

pub use choice::{
    ChannelsByDefault, ClientCertificates, LogLevel, OomScoreAdj, Policy, Protection, Supervised,
    WalSyncMode,
};
pub use directive::{Inert, Part};
pub use file::{ConfigError, Loaded};
pub use flags::{Invocation, Startup, help};
pub(crate) use rewrite::replace as replace_file;
pub use share::Share;
pub use table::Config;
pub use tls::{CipherSuites, TlsProtocols};
pub use value::{Events, OomScores, OutputLimit, OutputLimits, Percentiles};

use directive::{Change, Directive, Role};

/// Whether the value of the directive `name` must not be shown.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    table::find(name).is_some_and(Directive::is_secret)
}

/// A part of memory that is found by asking the machine when `maxmemory` is 0.
const AUTOMATIC_PERCENT: u64 = 60;

/// What the server needs to work at all, in bytes.
const MEMORY_FLOOR: u64 = 16 << 20;

impl Config {
    /// `maxmemory`, or what it means when it is 0: a share of what the machine or the container
    /// has, leaving room for the page cache and for others. Never less than the server needs.
    pub fn memory_budget(&self) -> u64 {
        let bytes = match self.maxmemory {
            0 => machine::memory_bytes() / 100 * AUTOMATIC_PERCENT,
            bytes => bytes,
        };
        bytes.max(MEMORY_FLOOR)
    }

    /// Whether `maxmemory` is less than the server needs: then commands that may make the data
    /// larger are refused, as Redis does when memory is short.
    pub fn is_below_floor(&self) -> bool {
        (1..MEMORY_FLOOR).contains(&self.maxmemory)
    }

    /// What all clients may take together, in bytes; `None`: there is no bound.
    #[inline]
    pub fn client_memory(&self) -> Option<u64> {
        if self.maxmemory_clients == Share::Bytes(0) {
            return None;
        }
        let whole = if self.maxmemory == 0 { self.memory_budget() } else { self.maxmemory };
        Some(self.maxmemory_clients.of(whole)).filter(|bytes| *bytes > 0)
    }

    /// Memtables of all shards together. They are a part of the budget and never more than a
    /// quarter of it, or nothing would be left for caches, filters and clients.
    pub fn memtable_bytes(&self) -> u64 {
        (self.memtable_size_mb << 20).min(self.memory_budget() / 4)
    }

    /// How long freed memory is kept, in milliseconds: getting a page from the system costs more than using one
    /// again, but a small budget has no room for what a load frees in a second.
    pub fn keep_freed_ms(&self) -> u64 {
        let budget_mib = self.memory_budget() >> 20;
        if budget_mib >= 1024 { 10_000 } else { (2 * budget_mib).clamp(100, 1000) }
    }

    /// How many workers serve clients.
    pub fn workers(&self) -> usize {
        match self.threads {
            0 => machine::cores(),
            threads => threads,
        }
    }

    /// What the storage is opened with.
    pub fn engine_options(&self) -> forgekv_engine::Options {
        forgekv_engine::Options {
            sync_mode: self.sync_mode(),
            memtable_bytes: self.memtable_bytes(),
            memory_bytes: self.memory_budget(),
            segment_bytes: self.wal_segment_size_mb << 20,
            log_bytes: self.wal_size_mb << 20,
            block_bytes: self.block_size as usize,
            background_threads: self.background_threads,
            reserve_bytes: self.disk_reserve_mb << 20,
            io_uring: self.io_uring,
            ..forgekv_engine::Options::new(&self.dir)
        }
    }

    /// When a commit is on stable storage, in the engine's words.
    pub fn sync_mode(&self) -> forgekv_engine::SyncMode {
        match self.wal_sync_mode {
            WalSyncMode::Always => forgekv_engine::SyncMode::Always,
            WalSyncMode::EverySecond => forgekv_engine::SyncMode::EverySecond,
            WalSyncMode::Never => forgekv_engine::SyncMode::Never,
        }
    }

    /// Up to which sizes collections are packed.
    pub fn limits(&self) -> forgekv_data::Limits {
        forgekv_data::Limits {
            hash_max_listpack_entries: self.hash_max_listpack_entries,
            hash_max_listpack_value: self.hash_max_listpack_value,
            list_max_listpack_size: self.list_max_listpack_size,
            set_max_intset_entries: self.set_max_intset_entries,
            set_max_listpack_entries: self.set_max_listpack_entries,
            set_max_listpack_value: self.set_max_listpack_value,
            zset_max_listpack_entries: self.zset_max_listpack_entries,
            zset_max_listpack_value: self.zset_max_listpack_value,
            stream_node_max_bytes: self.stream_node_max_bytes,
            stream_node_max_entries: self.stream_node_max_entries,
            hll_sparse_max_bytes: self.hll_sparse_max_bytes,
            proto_max_bulk_len: self.proto_max_bulk_len,
            lfu: self.maxmemory_policy.is_lfu().then_some(forgekv_data::Lfu {
                log_factor: self.lfu_log_factor,
                decay_minutes: self.lfu_decay_time,
            }),
        }
    }

    /// A path of the configuration: what is not absolute is in `dir`, as in Redis.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(&self.dir).join(name)
    }

    /// What the administrator should know about the values as a whole: one sentence each.
    pub fn advice(&self) -> Vec<String> {
        advice::advice(self)
    }
}

/// The running server, as far as a change of the configuration concerns it.
pub trait Apply {
    /// Makes `part` work by `new` instead of `old`. An error leaves the part as it was; its text
    /// is for the client, after "CONFIG SET failed (…) - ".
    fn apply(&self, part: Part, old: &Config, new: &Config) -> Result<(), String>;
}

/// The current configuration of a running server.
#[derive(Debug)]
pub struct Handle {
    /// Counts publications; what a reader compares with.
    version: AtomicU64,
    current: Mutex<Arc<Config>>,
    /// One change at a time: held while the parts of the server are told.
    changing: Mutex<()>,
    path: Option<PathBuf>,
}

impl Handle {
    /// Holds `config`; `path` is the file that CONFIG REWRITE writes.
    pub fn new(config: Config, path: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(0),
            current: Mutex::new(Arc::new(config)),
            changing: Mutex::new(()),
            path,
        })
    }

    /// The configuration at this moment.
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.lock())
    }

    /// The number of changes so far: whoever derives something from the configuration knows by it
    /// when to do so again.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A cheap way to look again and again.
    pub fn reader(self: &Arc<Self>) -> Reader {
        // The version first: a change in between is then seen at the next look.
        let version = self.version();
        Reader { handle: Arc::clone(self), version, config: self.current() }
    }

    /// The file that the configuration came from.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// CONFIG GET: names and values of all directives that match one of `patterns`, each once.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let config = self.current();
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for pattern in patterns {
            if glob::is_literal(pattern) {
                // Under the spelling that was asked for, or a client could not find its answer.
                if let Some(row) = table::find(pattern).filter(|row| row.is_visible()) {
                    let name = String::from_utf8_lossy(pattern).to_ascii_lowercase();
                    found.insert(name, row.get(&config));
                }
                continue;
            }
            for row in table::rows().filter(|row| row.is_listed()) {
                for name in row.names() {
                    if glob::matches(pattern, name.as_bytes(), true) {
                        found.insert(name.to_owned(), row.get(&config));
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    /// CONFIG SET: all of `pairs` or none, by a client on this machine or elsewhere. The error is a complete
    /// reply.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        is_local: bool,
        server: &dyn Apply,
    ) -> Result<(), String> {
        let _changing = self.changing.lock();
        let old = self.current();
        let mut new = Config::clone(&old);
        let changed = stage(&mut new, pairs, is_local)?;

        let mut told: Vec<Part> = Vec::new();
        for (row, name) in &changed {
            let Change::Tell(part) = row.change else { continue };
            if told.contains(&part) || row.get(&old) == row.get(&new) {
                continue;
            }
            if let Err(why) = server.apply(part, &old, &new) {
                for part in told.into_iter().rev() {
                    if let Err(why) = server.apply(part, &new, &old) {
                        tracing::warn!("CONFIG SET could not be undone for {part:?}: {why}");
                    }
                }
                return Err(failed(name, &why));
            }
            told.push(part);
        }

        for (row, name) in &changed {
            if let Role::Inert { why, .. } = row.role {
                let name = String::from_utf8_lossy(name);
                tracing::warn!("CONFIG SET {name} is remembered but has no effect: {why}");
            }
        }
        let advice_before = old.advice();
        for line in new.advice().iter().filter(|line| !advice_before.contains(line)) {
            tracing::warn!("{line}");
        }
        *self.current.lock() = Arc::new(new);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// CONFIG REWRITE: makes the file say what is true now; with `all` even what is so by default. `users` are
    /// the lines of the users; `None`: they have a file of their own. The error is a complete reply.
    pub fn rewrite(&self, users: Option<Vec<Vec<u8>>>, all: bool) -> Result<(), String> {
        let _changing = self.changing.lock();
        let Some(path) = &self.path else {
            return Err("ERR The server is running without a config file".into());
        };
        rewrite::rewrite(path, &self.current(), users, all).map_err(|why| {
            tracing::warn!("CONFIG REWRITE failed: {why}");
            format!("ERR Rewriting config file: {why}")
        })?;
        tracing::info!("CONFIG REWRITE executed with success.");
        Ok(())
    }
}

fn failed(name: &[u8], why: &str) -> String {
    let name = String::from_utf8_lossy(name);
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
}

/// Sets all of `pairs` in `config`; which rows they were, by the names they were given.
fn stage<'a>(
    config: &mut Config,
    pairs: &[(&'a [u8], &[u8])],
    is_local: bool,
) -> Result<Vec<(&'static Directive, &'a [u8])>, String> {
    let mut rows: Vec<(&'static Directive, &'a [u8])> = Vec::new();
    for (name, _) in pairs {
        let row = table::find(name).filter(|row| row.is_visible()).ok_or_else(|| {
            format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                String::from_utf8_lossy(name)
            )
        })?;
        let is_protected = matches!(row.change, Change::Protected | Change::FixedProtected);
        if is_protected && !config.enable_protected_configs.allows(is_local) {
            return Err(failed(name, "can't set protected config"));
        }
        if matches!(row.change, Change::Fixed | Change::FixedProtected) {
            return Err(failed(name, "can't set immutable config"));
        }
        // An alias is a name of its own here, as in Redis: the last one wins.
        if rows.iter().any(|(_, other)| table::same_name(other, name)) {
            return Err(failed(name, "duplicate parameter"));
        }
        rows.push((row, *name));
    }
    for ((row, name), (_, value)) in rows.iter().zip(pairs) {
        let words: Vec<&[u8]> = if row.kind.takes_words() {
            value.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect()
        } else {
            vec![value]
        };
        row.set(config, &words).map_err(|why| failed(name, &why))?;
    }
    Ok(rows)
}

/// One thread's view of the configuration.
#[derive(Debug)]
pub struct Reader {
    handle: Arc<Handle>,
    version: u64,
    config: Arc<Config>,
}

impl Reader {
    /// The current configuration. One load of a line that nobody writes while nothing changes.
    #[inline]
    pub fn get(&mut self) -> &Arc<Config> {
        let version = self.handle.version();
        if version != self.version {
            self.config = self.handle.current();
            self.version = version;
        }
        &self.config
    }

    /// The version that [`get`](Self::get) saw last.
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
