//! INFO: what there is to know about the running server, and only what is true.
//!
//! A figure is one line of the table in [`fields`]: section, name, and how it is read from a
//! [`Snapshot`], which is taken at one moment from the rooms that know. A figure that nobody knows is
//! left out, never made up. What is counted while serving is in [`stats`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use forgekv_base::rng;

pub use crate::acl::Denials;
use crate::config::{Config, machine};

mod fields;
mod histogram;
mod process;
mod stats;

pub use histogram::Counts;
pub use stats::{CommandTotals, Counter, Rates, Stats, Totals, WorkerStats};

/// What the process has resident that no file backs, in bytes; what `maxmemory` bounds.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    process::resident_bytes().1
}

/// What the process has resident, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    process::resident_bytes().0
}

/// The version of Redis whose commands and replies clients may expect.
pub const REDIS_VERSION: &str = "7.2.5";

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the allocator has given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorFigures {
    /// Bytes that the program asked for and has not given back.
    pub allocated: u64,
    /// Bytes in pages that hold such memory.
    pub active: u64,
    /// Bytes that are resident.
    pub resident: u64,
    /// Bytes of address space that were given back to the system but are kept mapped.
    pub retained: u64,
}

/// The allocator of the process: the binary chooses it, so the binary tells.
pub trait Allocator: Send + Sync {
    /// Its name and version.
    fn name(&self) -> String;
    /// Its figures at this moment. Takes some microseconds.
    fn figures(&self) -> AllocatorFigures;
    /// Gives back to the system what is not in use. May take long.
    ///
    /// # Errors
    /// Why that is not possible.
    fn purge(&self) -> Result<(), String>;
    /// From now on gives back what was freed and not used again for about so many milliseconds.
    ///
    /// # Errors
    /// Why that is not possible.
    fn keep_freed(&self, ms: u64) -> Result<(), String>;
    /// All that it can say of itself, for people. May take long.
    ///
    /// # Errors
    /// Why that is not possible.
    fn report(&self) -> Result<String, String>;
}

/// Who this server is; the same from start to end.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Random, new at every start.
    pub run_id: String,
    /// Names the history of this data directory: random, kept with the data.
    pub replication_id: String,
    /// When the process started, in microseconds since the epoch.
    pub started_us: u64,
    /// The program's path.
    pub executable: PathBuf,
    /// The configuration file.
    pub config_file: Option<PathBuf>,
}

impl Identity {
    /// A new run, on the data that `replication_id` names.
    pub fn new(replication_id: String, config_file: Option<PathBuf>, started_us: u64) -> Self {
        Self {
            run_id: random_id(),
            replication_id,
            started_us,
            executable: std::env::current_exe().unwrap_or_default(),
            config_file,
        }
    }
}

/// Forty random hexadecimal digits.
pub fn random_id() -> String {
    let mut bytes = [0u8; 20];
    if rng::entropy(&mut bytes).is_err() {
        rng::Rng::from_entropy().fill(&mut bytes);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Figures of the clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clients {
    /// Open connections.
    pub connected: u64,
    /// Those that wait in a blocking command.
    pub blocked: Option<u64>,
    /// Keys for which clients wait, and those of them of which somebody wants to know when they go.
    pub blocking_keys: (u64, u64),
    /// Those whose request waits for the end of a pause; counted as blocked, too.
    pub paused: u64,
    /// Those that were closed because clients took too much memory together.
    pub evicted: u64,
    /// The longest input buffer.
    pub max_input_buffer: Option<u64>,
    /// The longest output buffer.
    pub max_output_buffer: Option<u64>,
    /// Bytes in the buffers of all.
    pub buffer_bytes: Option<u64>,
    /// Channels with subscribers.
    pub pubsub_channels: u64,
    /// Patterns with subscribers.
    pub pubsub_patterns: u64,
    /// Shard channels with subscribers.
    pub pubsub_shard_channels: u64,
    /// Clients that are told when keys change that they have read.
    pub tracking: u64,
    /// Keys that such clients hold.
    pub tracking_keys: u64,
    /// The same, each counted for every client that holds it.
    pub tracking_items: u64,
    /// Prefixes of keys of whose changes clients are told.
    pub tracking_prefixes: u64,
    /// Clients that have subscribed to anything.
    pub pubsub: u64,
}

/// What the persistence section says of snapshots.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saves {
    /// Changes of keys since the last one that succeeded.
    pub changes: u64,
    /// When that was, in seconds since the epoch.
    pub last_s: u64,
    /// Whether one is made in the background.
    pub in_background: bool,
    /// For how many seconds, then.
    pub running_s: Option<u64>,
    /// Whether the last one failed.
    pub last_failed: bool,
    /// How many seconds the last one in the background took.
    pub last_took_s: Option<u64>,
    /// How many succeeded.
    pub done: u64,
    /// Keys that the one under way has written.
    pub keys: u64,
}

/// What the persistence section says of rewrites.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rewrites {
    /// For how many seconds one is under way.
    pub running_s: Option<u64>,
    /// Whether the last one failed.
    pub last_failed: bool,
    /// How many seconds the last one took.
    pub last_took_s: Option<u64>,
}

/// Figures of the storage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Storage {
    /// The engine's own.
    pub engine: forgekv_engine::Stats,
    /// The position after the newest record of the log.
    pub log_appended: u64,
    /// The position up to which the log would survive the process.
    pub log_written: u64,
    /// The position up to which the log would survive the machine.
    pub log_synced: u64,
    /// Whether the log failed, so that writes are refused.
    pub log_failed: bool,
    /// Whether the disk is so full that only deletes are taken.
    pub low_on_space: bool,
    /// How long a write is held back for compactions to keep up, in microseconds.
    pub write_delay_us: u64,
}

impl Storage {
    /// Those of `engine` at this moment.
    pub fn of(engine: &forgekv_engine::Engine, stats: forgekv_engine::Stats) -> Self {
        Self {
            engine: stats,
            log_appended: engine.log_appended(),
            log_written: engine.log_written(),
            log_synced: engine.log_synced(),
            log_failed: engine.log_failure().is_some(),
            low_on_space: engine.is_low_on_space(),
            write_delay_us: engine.write_delay_us(),
        }
    }
}

/// Figures of one database that is not empty.
#[derive(Debug, Clone, Copy)]
pub struct Database {
    /// Its number.
    pub index: u32,
    /// Keys in it.
    pub keys: u64,
    /// Keys of them that expire.
    pub expires: u64,
    /// After how many milliseconds those do, on average.
    pub avg_ttl_ms: u64,
}

/// The scripts and functions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scripting {
    /// Bytes that all VMs take.
    pub vm_bytes: u64,
    /// Scripts that are known.
    pub cached: u64,
    /// The bytes of their texts.
    pub cached_bytes: u64,
    /// Libraries.
    pub libraries: u64,
    /// Functions in them.
    pub functions: u64,
    /// The bytes of the libraries' texts.
    pub library_bytes: u64,
}

/// What INFO is printed from.
pub struct Snapshot<'a> {
    /// Now, in microseconds since the epoch.
    pub now_us: u64,
    /// The configuration.
    pub config: &'a Config,
    /// Who we are.
    pub identity: &'a Identity,
    /// What was counted.
    pub totals: &'a Totals,
    /// Commands and bytes each second.
    pub rates: Rates,
    /// The clients.
    pub clients: Clients,
    /// The scripts.
    pub scripting: Scripting,
    /// The storage.
    pub storage: Storage,
    /// The snapshots.
    pub saves: Saves,
    /// What users were refused.
    pub denials: Denials,
    /// The rewrites.
    pub rewrites: Rewrites,
    /// Databases that are not empty, in order.
    pub keyspace: &'a [Database],
    /// The allocator.
    pub allocator: &'a dyn Allocator,
    /// The memory that was asked for.
    pub memory: Memory,
    /// A command's name by its number, with its parent: `config|get`.
    pub command_name: &'a dyn Fn(usize) -> String,
}

/// Memory in use, with its history.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// The allocator's figures.
    pub allocator: AllocatorFigures,
    /// The most that was ever allocated at a look.
    pub peak: u64,
    /// What was allocated when the server was ready.
    pub startup: u64,
}

/// Looks at the allocator now and then, and remembers the most it saw.
#[derive(Debug, Default)]
pub struct MemoryWatch {
    peak: AtomicU64,
    startup: AtomicU64,
}

impl MemoryWatch {
    /// To be called when the server is ready.
    pub fn started(&self, allocator: &dyn Allocator) {
        self.startup.store(self.look(allocator).allocator.allocated, Relaxed);
    }

    /// Memory now; to be called about once a second, and for INFO.
    pub fn look(&self, allocator: &dyn Allocator) -> Memory {
        let figures = allocator.figures();
        let peak = self.peak.fetch_max(figures.allocated, Relaxed).max(figures.allocated);
        Memory { allocator: figures, peak, startup: self.startup.load(Relaxed) }
    }

    /// CONFIG RESETSTAT: the peak is what is in use now.
    pub fn reset(&self, allocator: &dyn Allocator) {
        self.peak.store(allocator.figures().allocated, Relaxed);
    }
}

/// When a section is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Unless others are asked for.
    Always,
    /// With `all`.
    All,
}

type Line = (String, String);
type Read = fn(&Snapshot<'_>) -> Figure;

/// A section: figures of its own, or lines made of a list.
struct Section {
    title: &'static str,
    shown: Shown,
    figures: &'static [(&'static str, Read)],
    lines: fn(&Snapshot<'_>) -> Vec<Line>,
}

/// The value of a figure, if it is known.
struct Figure(Option<String>);

impl From<String> for Figure {
    fn from(text: String) -> Self {
        Figure(Some(text))
    }
}

impl From<&str> for Figure {
    fn from(text: &str) -> Self {
        Figure(Some(text.into()))
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl From<$ty> for Figure {
            fn from(number: $ty) -> Self {
                Figure(Some(number.to_string()))
            }
        }
    )*};
}
numbers!(u64 u32 u16 i64 usize);

impl From<bool> for Figure {
    fn from(flag: bool) -> Self {
        u64::from(flag).into()
    }
}

impl<T: Into<Figure>> From<Option<T>> for Figure {
    fn from(value: Option<T>) -> Self {
        value.map_or(Figure(None), Into::into)
    }
}

/// The text of INFO. `names` are the sections that were asked for; none: the usual ones.
pub fn info(snapshot: &Snapshot<'_>, names: &[&[u8]]) -> String {
    let asks = |name: &str| names.iter().any(|given| given.eq_ignore_ascii_case(name.as_bytes()));
    let usual = names.is_empty() || asks("default");
    let all = asks("all") || asks("everything");
    let mut out = String::new();
    for section in fields::SECTIONS {
        if !(all || (usual && section.shown == Shown::Always) || asks(section.title)) {
            continue;
        }
        if !out.is_empty() {
            out += "\r\n";
        }
        out += &format!("# {}\r\n", section.title);
        for (name, figure) in section.figures {
            if let Figure(Some(value)) = figure(snapshot) {
                out += &format!("{name}:{value}\r\n");
            }
        }
        for (name, value) in (section.lines)(snapshot) {
            out += &format!("{name}:{value}\r\n");
        }
    }
    out
}

impl Snapshot<'_> {
    fn uptime_s(&self) -> u64 {
        self.now_us.saturating_sub(self.identity.started_us) / 1_000_000
    }

    /// Bytes of memory that hold data.
    fn dataset(&self) -> u64 {
        let of = &self.storage.engine;
        (of.memtable_bytes + of.hot_bytes + of.block_bytes).min(self.memory.allocator.allocated)
    }

    /// Bytes of memory that do not.
    fn overhead(&self) -> u64 {
        self.memory.allocator.allocated - self.dataset()
    }

    /// The budget that is in force.
    fn budget(&self) -> u64 {
        self.config.memory_budget()
    }
}

/// Bytes as people read them.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// Bytes of memory in the machine.
fn system_memory() -> u64 {
    machine::total_memory_bytes()
}

#[cfg(test)]
#[path = "info/tests.rs"]
mod tests;
