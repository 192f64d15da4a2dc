//! What has to be done now and then, whoever is connected: samples for INFO, and the expiry cycle.
//!
//! The cycle takes a shard for a few keys at a time, so it never holds one for long, and it reads what is
//! not in memory with no shard held.

use crate::effects::Effects;
use crate::info::WorkerStats;
use crate::observe::Event;
use crate::road::Settings;
use crate::server::Shared;
use forgekv_base::clock;
use forgekv_data::{Error, Store, Surroundings, expire};
use forgekv_engine::{Batch, Error as EngineError, Loads, ShardSet};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often INFO's rates are sampled, and the least time between two rounds of the expiry cycle.
const TICK: Duration = Duration::from_millis(100);
/// Memory is looked at once in so many ticks.
const MEMORY_TICKS: u64 = 10;
/// Keys that the cycle reaps while it holds a shard once.
const STEP: usize = 32;
/// The part of the time between two ticks that the cycle may take, in microseconds, as Redis takes a
/// quarter of it.
const CYCLE_US: u64 = 25_000;

/// The thread that does it.
pub(crate) struct Housekeeping {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    pub(crate) fn start(server: &Arc<Shared>) -> io::Result<Housekeeping> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (ends, server) = (stop.clone(), server.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let thread =
            std::thread::Builder::new().name("forgekv-housekeeping".into()).spawn(move || {
                let Some(stats) = server.stats.worker(server.mailboxes.len()) else { return };
                let mut ticks = 0u64;
                let mut stopped = ends.0.lock();
                while !*stopped {
                    ends.1.wait_for(&mut stopped, TICK);
                    if *stopped {
                        break;
                    }
                    if server.switches.is_cron_paused() {
                        continue;
                    }
                    parking_lot::MutexGuard::unlocked(&mut stopped, || {
                        server.stop_if_asked();
                        ticks += 1;
                        server.stats.sample(clock::monotonic_us());
                        if ticks.is_multiple_of(MEMORY_TICKS) {
                            server.memory.look(&*server.allocator);
                        }
                        if let Some(store) = server.store() {
                            let began_us = clock::monotonic_us();
                            reap(&server, &store, &stats, &runtime);
                            let took_us = clock::monotonic_us() - began_us;
                            let threshold_ms = server.config.current().latency_monitor_threshold;
                            server.observe.latency.look(Event::ExpireCycle, threshold_ms, took_us);
                        }
                    });
                }
            })?;
        Ok(Housekeeping { stop, thread: Some(thread) })
    }

    pub(crate) fn stop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the housekeeping thread panicked");
        }
    }
}

/// One round of the expiry cycle.
fn reap(
    server: &Arc<Shared>,
    store: &Store,
    stats: &WorkerStats,
    runtime: &tokio::runtime::Runtime,
) {
    let deadline = clock::monotonic_us() + CYCLE_US;
    let settings = Settings::of(&server.config.current());
    let mut due = store.due_shards(clock::now_ms());
    while due != ShardSet::default() {
        let mut again = ShardSet::default();
        for shard in due.iter() {
            if clock::monotonic_us() > deadline {
                return;
            }
            match reap_shard(server, store, shard, &settings, stats, runtime) {
                Ok(true) => again.insert(shard),
                Ok(false) => {}
                Err(EngineError::Closed) => return,
                Err(e) => {
                    tracing::warn!("expired keys could not be removed: {e}");
                    return;
                }
            }
        }
        due = again;
    }
}

/// A few keys of one shard; true when there are more.
fn reap_shard(
    server: &Arc<Shared>,
    store: &Store,
    shard: u8,
    settings: &Settings,
    stats: &WorkerStats,
    runtime: &tokio::runtime::Runtime,
) -> Result<bool, EngineError> {
    let mut loads = Loads::default();
    loop {
        let guard = match store.engine().lock(ShardSet::one(shard), loads) {
            Ok(guard) => guard,
            // Somebody is at work there for long; the next round comes by again.
            Err(_) => return Ok(false),
        };
        let around = Surroundings {
            now_ms: clock::now_ms(),
            db: 0,
            limits: &settings.limits,
            random_seed: 0,
            place_seed: store.place_seed(),
            events: server.events(&settings.config),
            interest: server.interest.shards(),
        };
        let mut view = store.write(guard, Batch::new(), around.clone());
        let reaped = expire::cycle_shard(&mut view, shard, STEP);
        let mut parts = view.into_parts();
        let done = reaped.and_then(|reaped| {
            let lsn = store.commit(&mut parts.guard, &mut parts.batch)?;
            Ok((reaped, lsn))
        });
        match done {
            Ok((reaped, lsn)) => {
                let (events, touched) = (parts.events, parts.touched);
                let effects = Effects { events, touched, ..Effects::default() };
                if !effects.is_empty() {
                    drop(effects.deliver(server, store, settings, parts.guard, &around, lsn));
                }
                stats.expired_keys.add(reaped.expired);
                return Ok(reaped.more);
            }
            Err(Error::Again(EngineError::Miss)) => {
                let missed = parts.guard.into_loads();
                loads = runtime.block_on(store.engine().load(missed))?;
            }
            Err(Error::Again(e) | Error::Engine(e)) => return Err(e),
            Err(e) => {
                tracing::error!("the expiry cycle met what it cannot read: {e}");
                return Ok(false);
            }
        }
    }
}
