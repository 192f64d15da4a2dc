//! RDB files of the running server: SAVE, BGSAVE, and what INFO says of them.
//!
//! A file shows one moment and is written by a thread of its own: nobody waits for it, whatever its size. It
//! is for others to read; a start never looks at it, since every write is in the log already.

use crate::info::{self, REDIS_VERSION};
use crate::server::Shared;
use forgekv_base::clock;
use forgekv_data::rdb::{Form, Save};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

const IN_PROGRESS: &str = "ERR Background save already in progress";
/// So many keys are written between two looks at whether to give up.
const STEP: u64 = 256;

/// What was saved, and what is being saved.
#[derive(Debug)]
pub(crate) struct Saves {
    state: Mutex<State>,
    /// Keys that the save under way has written.
    keys: AtomicU64,
    give_up: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// When the save under way began, by the monotonic clock in microseconds.
    running_since_us: Option<u64>,
    in_background: bool,
    /// When the last one succeeded, in Unix seconds.
    last_s: u64,
    /// The changes counted until then.
    changes: u64,
    last_failed: bool,
    /// How long the last one in the background took, in seconds.
    last_took_s: Option<u64>,
    done: u64,
}

impl Saves {
    /// Nothing is saved yet; the data is as it was opened at `now_s`, in Unix seconds.
    pub(crate) fn new(now_s: u64) -> Saves {
        Saves {
            state: Mutex::new(State { last_s: now_s, ..State::default() }),
            keys: AtomicU64::new(0),
            give_up: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
    }

    /// When a save succeeded last, in Unix seconds.
    pub(crate) fn last_s(&self) -> u64 {
        self.state.lock().last_s
    }

    /// For INFO; `changes` is the count of all changes.
    pub(crate) fn figures(&self, changes: u64) -> info::Saves {
        let state = self.state.lock();
        let running_s = state
            .running_since_us
            .filter(|_| state.in_background)
            .map(|since| clock::monotonic_us().saturating_sub(since) / 1_000_000);
        info::Saves {
            changes: changes.saturating_sub(state.changes),
            last_s: state.last_s,
            in_background: running_s.is_some(),
            running_s,
            last_failed: state.last_failed,
            last_took_s: state.last_took_s,
            done: state.done,
            keys: state.running_since_us.map_or(0, |_| self.keys.load(Relaxed)),
        }
    }

    /// Begins, if no other is under way.
    fn begin(&self, in_background: bool) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.running_since_us.is_some() {
            return Err(IN_PROGRESS.into());
        }
        state.running_since_us = Some(clock::monotonic_us());
        state.in_background = in_background;
        self.keys.store(0, Relaxed);
        Ok(())
    }

    /// Ends; `changes` is the count of all changes when the moment was taken, if it was saved.
    fn end(&self, changes: Option<u64>) {
        let mut state = self.state.lock();
        let since = state.running_since_us.take().unwrap_or_default();
        if state.in_background {
            state.last_took_s =
                Some(clock::monotonic_us().saturating_sub(since).div_ceil(1_000_000));
        }
        state.last_failed = changes.is_none();
        if let Some(changes) = changes {
            state.last_s = clock::now_us() / 1_000_000;
            state.changes = changes;
            state.done += 1;
        }
    }

    /// Gives up what is under way in the background, and waits for that.
    pub(crate) fn stop(&self) {
        self.give_up.store(true, Relaxed);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of a background save panicked");
        }
    }
}

/// SAVE: writes the file and waits for it. Not for event loops.
pub(crate) fn save(server: &Shared) -> Result<(), String> {
    server.saves.begin(false)?;
    write(server)
}

/// BGSAVE: begins to write the file.
pub(crate) fn save_in_background(server: &Arc<Shared>) -> Result<(), String> {
    server.saves.begin(true)?;
    let shared = server.clone();
    let work = move || {
        // What went wrong is in the log and in INFO.
        if write(&shared).is_ok() {
            tracing::info!("Background saving terminated with success");
        }
    };
    let thread = std::thread::Builder::new().name("forgekv-bgsave".into()).spawn(work);
    match thread {
        Ok(thread) => {
            // The one before has ended, or this one could not have begun.
            *server.saves.thread.lock() = Some(thread);
            Ok(())
        }
        Err(e) => {
            server.saves.end(None);
            tracing::error!("no thread for a background save: {e}");
            Err(format!("ERR no thread for a background save: {e}"))
        }
    }
}

fn write(server: &Shared) -> Result<(), String> {
    let mut changes = 0;
    let written = write_file(server, &mut changes);
    match &written {
        Ok(()) => server.saves.end(Some(changes)),
        Err(why) => {
            server.saves.end(None);
            tracing::error!("saving the data failed: {why}");
        }
    }
    written.map_err(|why| format!("ERR saving the data failed: {why}"))
}

fn write_file(server: &Shared, changes: &mut u64) -> Result<(), String> {
    let store = server.store().ok_or("the data is being opened")?;
    let config = server.config.current();
    let now_us = clock::now_us();
    let save = Save::new(&store, now_us / 1000).map_err(|e| e.to_string())?;
    *changes = server.stats.changes();
    let form = Form {
        compress: config.rdbcompression,
        checksum: config.rdbchecksum,
        facts: vec![
            ("redis-ver", REDIS_VERSION.into()),
            ("redis-bits", usize::BITS.to_string()),
            ("ctime", (now_us / 1_000_000).to_string()),
            ("used-mem", server.allocator.figures().allocated.to_string()),
            ("aof-base", "0".into()),
        ],
    };
    let path = config.path(&config.dbfilename);
    let temporary = config.path(&format!("temp-{}.rdb", std::process::id()));
    let mut next = 0;
    let saved = save.to_file(&*server.disk, &path, &temporary, &form, &mut |saved| {
        if saved.keys < next {
            return ControlFlow::Continue(());
        }
        next = saved.keys + STEP;
        server.saves.keys.store(saved.keys, Relaxed);
        if server.saves.give_up.load(Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let saved = saved.map_err(|e| e.to_string())?;
    tracing::info!("DB saved on disk: {} keys, {} bytes", saved.keys, saved.bytes);
    Ok(())
}
