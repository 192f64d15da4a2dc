//! The log's two threads: one syncs, one prepares segments. Both sleep while there is nothing to do.

use super::Shared;
use crate::error::{Error, Result};
use crate::options::SyncMode;
use forgekv_base::clock;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The interval of [`SyncMode::EverySecond`].
const SYNC_EVERY_US: u64 = 1_000_000;
/// A failed preparation is tried again after this time when an append wants it,
const RETRY_US: u64 = 100_000;
/// and after this time in any case.
const RETRY_IDLE: Duration = Duration::from_secs(1);

type Wake = Arc<dyn Fn(u64) + Send + Sync>;

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(run)
        .map_err(|e| Error::io(format!("starting the thread {name}"), &e))
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = thread.lock().take()
        && thread.join().is_err()
    {
        tracing::error!("a thread of the log panicked");
    }
}

/// The sync thread.
pub(super) struct Syncer {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Bell {
    /// Set by who wants a sync, cleared before it begins: many requests are one.
    requested: AtomicBool,
    state: Mutex<BellState>,
    rung: Condvar,
}

struct BellState {
    mode: SyncMode,
    stop: bool,
    wakes: Vec<Wake>,
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer").field("requested", &self.bell.requested).finish_non_exhaustive()
    }
}

impl Syncer {
    pub(super) fn start(shared: Arc<Shared>, mode: SyncMode) -> Result<Syncer> {
        let bell = Arc::new(Bell {
            requested: AtomicBool::new(false),
            state: Mutex::new(BellState { mode, stop: false, wakes: Vec::new() }),
            rung: Condvar::new(),
        });
        let thread = {
            let bell = Arc::clone(&bell);
            spawn("forgekv-log-sync", move || bell.run(&shared))?
        };
        Ok(Syncer { bell, thread: Mutex::new(Some(thread)) })
    }

    #[inline]
    pub(super) fn request(&self) {
        if !self.bell.requested.swap(true, Ordering::AcqRel) {
            self.bell.ring(|_| {});
        }
    }

    pub(super) fn on_synced(&self, wake: Wake) {
        self.bell.state.lock().wakes.push(wake);
    }

    pub(super) fn set_mode(&self, mode: SyncMode) {
        self.bell.ring(|state| state.mode = mode);
    }

    pub(super) fn stop(&self) {
        self.bell.ring(|state| state.stop = true);
        join(&self.thread);
    }
}

impl Bell {
    fn ring(&self, change: impl FnOnce(&mut BellState)) {
        change(&mut self.state.lock());
        self.rung.notify_one();
    }

    fn run(&self, shared: &Shared) {
        let mut due_us = clock::monotonic_us() + SYNC_EVERY_US;
        loop {
            {
                let mut state = self.state.lock();
                loop {
                    if state.stop {
                        return;
                    }
                    let now_us = clock::monotonic_us();
                    let ticks = state.mode == SyncMode::EverySecond;
                    if self.requested.load(Ordering::Acquire) || (ticks && now_us >= due_us) {
                        break;
                    }
                    if ticks {
                        let rest = Duration::from_micros(due_us - now_us);
                        self.rung.wait_for(&mut state, rest);
                    } else {
                        self.rung.wait(&mut state);
                    }
                }
            }
            due_us = clock::monotonic_us() + SYNC_EVERY_US;
            let requested = self.requested.swap(false, Ordering::AcqRel);
            let before = shared.synced.load(Ordering::Acquire);
            if before == shared.front.appended() && !requested {
                continue;
            }
            // A failure is kept in the log itself; those who wait are woken and find it there.
            let synced = shared.sync().unwrap_or(before);
            let wakes = self.state.lock().wakes.clone();
            for wake in wakes {
                wake(synced);
            }
        }
    }
}

/// What the appenders and the preparing thread tell each other.
#[derive(Debug, Default)]
pub(super) struct Prepare {
    state: Mutex<PrepareState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PrepareState {
    wanted: bool,
    stop: bool,
    /// How often an attempt has ended.
    attempts: u64,
    /// The last attempt's failure, and when it was.
    failure: Option<(Error, u64)>,
}

impl Prepare {
    /// Asks for the next segment.
    pub(super) fn request(&self) {
        self.state.lock().wanted = true;
        self.changed.notify_all();
    }

    /// Waits until the next segment may be there; refuses at once when the last attempt failed.
    pub(super) fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.stop {
            return Err(Error::Closed);
        }
        if let Some((error, at_us)) = &state.failure {
            let error = error.clone();
            if clock::monotonic_us().saturating_sub(*at_us) >= RETRY_US && !state.wanted {
                state.wanted = true;
                self.changed.notify_all();
            }
            return Err(error);
        }
        state.wanted = true;
        self.changed.notify_all();
        let attempts = state.attempts;
        while state.attempts == attempts && !state.stop {
            self.changed.wait(&mut state);
        }
        match &state.failure {
            Some((error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Makes those who wait look again.
    pub(super) fn wake_waiters(&self) {
        self.state.lock().attempts += 1;
        self.changed.notify_all();
    }

    /// An old failure says nothing any more.
    pub(super) fn forget(&self) {
        self.state.lock().failure = None;
    }

    fn run(&self, shared: &Shared) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.wanted && !state.stop {
                    if state.failure.is_some() {
                        let timed_out = self.changed.wait_for(&mut state, RETRY_IDLE).timed_out();
                        if timed_out {
                            break;
                        }
                    } else {
                        self.changed.wait(&mut state);
                    }
                }
                if state.stop {
                    return;
                }
                state.wanted = false;
            }
            let done = shared.prepare_next(shared.store.standard);
            let mut state = self.state.lock();
            match (&done, &state.failure) {
                (Err(e), None) => tracing::warn!("the next log segment can't be made: {e}"),
                (Ok(()), Some(_)) => tracing::info!("the next log segment is ready"),
                _ => {}
            }
            state.failure = done.err().map(|e| (e, clock::monotonic_us()));
            state.attempts += 1;
            self.changed.notify_all();
        }
    }
}

/// The preparing thread.
#[derive(Debug)]
pub(super) struct Preparer {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Preparer {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Preparer> {
        let thread = spawn("forgekv-log-next", move || shared.prepare.run(&shared))?;
        Ok(Preparer { thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn stop(&self, prepare: &Prepare) {
        prepare.state.lock().stop = true;
        prepare.changed.notify_all();
        join(&self.thread);
    }
}
