//! What is counted while serving.
//!
//! Every worker counts for itself, in memory that only it writes: a count is a load and a store
//! without a lock prefix, and no cache line travels between cores. INFO sums the workers up.
//! CONFIG RESETSTAT does not touch the counters (a worker could be in the middle of one): it
//! remembers the sums, and INFO shows what was added since.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::histogram::{Counts, Histogram};

/// Kinds of error that are told apart; clients can make up first words without end.
const MAX_ERROR_KINDS: usize = 128;

/// A number that one thread counts up and others may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more. Only the owner may call it: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts for one command.
#[derive(Debug, Default)]
struct CommandCounters {
    calls: Counter,
    nanos: Counter,
    rejected: Counter,
    failed: Counter,
    latency: OnceLock<Box<Histogram>>,
}

/// The same, summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// How often the command was executed.
    pub calls: u64,
    /// The time that took.
    pub nanos: u64,
    /// Calls that were refused before execution.
    pub rejected: u64,
    /// Calls that answered with an error.
    pub failed: u64,
    /// How long the calls took, while `latency-tracking` is on.
    pub latency: Counts,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker. Only that worker may count.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerStats {
            $($(#[$doc])* pub $name: Counter,)*
            commands: Box<[CommandCounters]>,
            errors: Mutex<BTreeMap<String, u64>>,
        }

        /// The sums over all workers.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
            /// By the command's number.
            pub commands: Vec<CommandTotals>,
            /// Error replies by their first word.
            pub errors: BTreeMap<String, u64>,
        }

        impl Totals {
            fn add_plain(&mut self, worker: &WorkerStats) {
                $(self.$name += worker.$name.get();)*
            }

            fn subtract_plain(&mut self, earlier: &Totals) {
                $(self.$name = self.$name.saturating_sub(earlier.$name);)*
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections_received,
    /// Connections that were closed at once because of `maxclients`.
    rejected_connections,
    /// Commands that were executed.
    commands_processed,
    /// Bytes read from clients.
    net_input_bytes,
    /// Bytes written to clients.
    net_output_bytes,
    /// Reads from sockets.
    reads_processed,
    /// Writes to sockets.
    writes_processed,
    /// Look-ups by reading commands that found a key.
    keyspace_hits,
    /// Look-ups by reading commands that found none.
    keyspace_misses,
    /// Keys that were removed because their time had come.
    expired_keys,
    /// Large values that were deleted, and left to the background.
    lazyfreed_objects,
    /// Changes of keys.
    changes,
    /// Error replies.
    error_replies,
    /// Commands that had to wait for blocks from disk.
    cold_commands,
}

impl WorkerStats {
    fn new(commands: usize) -> Self {
        let commands = (0..commands).map(|_| CommandCounters::default()).collect();
        Self { commands, ..Self::default() }
    }

    /// Counts an execution of the command with this number.
    #[inline]
    pub fn call(&self, command: usize, nanos: u64, failed: bool, track_latency: bool) {
        self.commands_processed.add(1);
        let Some(counters) = self.commands.get(command) else { return };
        counters.calls.add(1);
        counters.nanos.add(nanos);
        if failed {
            counters.failed.add(1);
        }
        if track_latency {
            counters.latency.get_or_init(Histogram::new).record(nanos);
        }
    }

    /// Counts a call that a gate refused.
    pub fn rejected(&self, command: usize) {
        if let Some(counters) = self.commands.get(command) {
            counters.rejected.add(1);
        }
    }

    /// Counts an error reply: `text` is the reply, with or without its `-`.
    pub fn error(&self, text: &[u8]) {
        self.error_replies.add(1);
        let text = text.strip_prefix(b"-").unwrap_or(text);
        let word = text.split(|b| !b.is_ascii_graphic()).next().unwrap_or_default();
        // Texts of scripts may not begin with a word at all.
        let word = if word.is_empty() { b"ERR" } else { word };
        let word = String::from_utf8_lossy(word);
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(&*word) {
            *count += 1;
        } else if errors.len() < MAX_ERROR_KINDS {
            errors.insert(word.into_owned(), 1);
        }
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.add_plain(self);
        totals.commands.resize_with(self.commands.len(), CommandTotals::default);
        for (sum, counters) in totals.commands.iter_mut().zip(&self.commands) {
            sum.calls += counters.calls.get();
            sum.nanos += counters.nanos.get();
            sum.rejected += counters.rejected.get();
            sum.failed += counters.failed.get();
            if let Some(latency) = counters.latency.get() {
                latency.add_to(&mut sum.latency);
            }
        }
        for (word, count) in &*self.errors.lock() {
            *totals.errors.entry(word.clone()).or_default() += count;
        }
    }
}

impl Totals {
    fn subtract(&mut self, earlier: &Totals) {
        self.subtract_plain(earlier);
        for (now, before) in self.commands.iter_mut().zip(&earlier.commands) {
            now.calls = now.calls.saturating_sub(before.calls);
            now.nanos = now.nanos.saturating_sub(before.nanos);
            now.rejected = now.rejected.saturating_sub(before.rejected);
            now.failed = now.failed.saturating_sub(before.failed);
            now.latency.subtract(&before.latency);
        }
        for (word, before) in &earlier.errors {
            if let Some(count) = self.errors.get_mut(word) {
                *count = count.saturating_sub(*before);
            }
        }
        self.errors.retain(|_, count| *count > 0);
    }
}

/// How much there is of something each second, just now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Commands.
    pub commands: f64,
    /// Bytes read.
    pub input_bytes: f64,
    /// Bytes written.
    pub output_bytes: f64,
}

/// How many samples the rates are the average of: 1.6 seconds of them.
const SAMPLES: usize = 16;

#[derive(Debug, Default)]
struct Sampler {
    last: Option<(u64, [u64; 3])>,
    rates: [[f64; 3]; SAMPLES],
    next: usize,
}

/// The counters of all workers.
#[derive(Debug)]
pub struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    reset: Mutex<Totals>,
    sampler: Mutex<Sampler>,
}

impl Stats {
    /// Counters for `workers` workers and a table of `commands` commands. What happens outside of
    /// the workers may be counted by one more of them.
    pub fn new(workers: usize, commands: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::new(WorkerStats::new(commands))).collect(),
            reset: Mutex::default(),
            sampler: Mutex::default(),
        }
    }

    /// The counters for one worker to keep.
    pub fn worker(&self, index: usize) -> Option<Arc<WorkerStats>> {
        self.workers.get(index).cloned()
    }

    fn sums(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            worker.add_to(&mut totals);
        }
        totals
    }

    /// What was counted since the last reset.
    pub fn totals(&self) -> Totals {
        let mut totals = self.sums();
        totals.subtract(&self.reset.lock());
        totals
    }

    /// Changes of keys since the start, whatever was reset.
    pub fn changes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.changes.get()).sum()
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        *self.reset.lock() = self.sums();
        *self.sampler.lock() = Sampler::default();
    }

    /// Takes a sample for [`rates`](Self::rates); to be called every 100 ms.
    pub fn sample(&self, monotonic_us: u64) {
        let sum = |of: fn(&WorkerStats) -> &Counter| -> u64 {
            self.workers.iter().map(|worker| of(worker).get()).sum()
        };
        let now = [
            sum(|w| &w.commands_processed),
            sum(|w| &w.net_input_bytes),
            sum(|w| &w.net_output_bytes),
        ];
        let mut sampler = self.sampler.lock();
        if let Some((then_us, then)) = sampler.last {
            let elapsed_us = monotonic_us.saturating_sub(then_us);
            if elapsed_us == 0 {
                return;
            }
            let rate =
                |at: usize| now[at].saturating_sub(then[at]) as f64 * 1e6 / elapsed_us as f64;
            let next = sampler.next;
            sampler.rates[next] = [rate(0), rate(1), rate(2)];
            sampler.next = (next + 1) % SAMPLES;
        }
        sampler.last = Some((monotonic_us, now));
    }

    /// The average of the last samples.
    pub fn rates(&self) -> Rates {
        let sampler = self.sampler.lock();
        let mean =
            |at: usize| sampler.rates.iter().map(|rates| rates[at]).sum::<f64>() / SAMPLES as f64;
        Rates { commands: mean(0), input_bytes: mean(1), output_bytes: mean(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_and_reset_shows_the_difference() {
        let stats = Stats::new(2, 3);
        let (a, b) = (stats.worker(0).unwrap(), stats.worker(1).unwrap());
        assert!(stats.worker(2).is_none());
        a.call(1, 1000, false, true);
        b.call(1, 3000, true, true);
        b.call(2, 10, false, false);
        b.rejected(0);
        a.keyspace_hits.add(5);
        a.error(b"-WRONGTYPE Operation against a key");
        b.error(b"ERR syntax error");
        b.error(b"ERR");
        b.error(b"");
        let totals = stats.totals();
        assert_eq!(
            (totals.commands_processed, totals.keyspace_hits, totals.error_replies),
            (3, 5, 4)
        );
        let one = &totals.commands[1];
        assert_eq!((one.calls, one.nanos, one.failed, one.latency.total()), (2, 4000, 1, 2));
        assert_eq!(totals.commands[0].rejected, 1);
        assert_eq!(totals.commands[2].latency.total(), 0);
        assert_eq!(
            totals.errors.iter().map(|(w, n)| (w.as_str(), *n)).collect::<Vec<_>>(),
            [("ERR", 3), ("WRONGTYPE", 1)]
        );

        stats.reset();
        let empty = stats.totals();
        assert_eq!((empty.commands_processed, empty.error_replies, empty.errors.len()), (0, 0, 0));
        assert_eq!((empty.commands[1].calls, empty.commands[1].latency.total()), (0, 0));
        a.call(1, 7, false, true);
        assert_eq!(stats.totals().commands[1].nanos, 7);
        a.call(99, 7, false, true);
    }

    #[test]
    fn kinds_of_error_are_bounded() {
        let stats = Stats::new(1, 0);
        let worker = stats.worker(0).unwrap();
        for at in 0..1000 {
            worker.error(format!("E{at} x").as_bytes());
        }
        let totals = stats.totals();
        assert_eq!((totals.errors.len(), totals.error_replies), (MAX_ERROR_KINDS, 1000));
    }

    #[test]
    fn rates_are_the_mean_of_samples() {
        let stats = Stats::new(1, 1);
        let worker = stats.worker(0).unwrap();
        for tick in 0..=16 {
            stats.sample(tick * 100_000);
            worker.net_input_bytes.add(200);
            for _ in 0..10 {
                worker.call(0, 1, false, false);
            }
        }
        let rates = stats.rates();
        assert!((rates.commands - 100.0).abs() < 0.01, "{rates:?}");
        assert!((rates.input_bytes - 2000.0).abs() < 0.01, "{rates:?}");
        assert_eq!(rates.output_bytes, 0.0);
        stats.sample(1_600_000);
        stats.reset();
        assert_eq!(stats.rates(), Rates::default());
    }
}
