//! BGREWRITEAOF: all data is flushed and merged into as few files as possible, and the log begins anew.
//!
//! The engine does the same bit by bit whenever it is worth it; this is for those who want it now.

use crate::info;
use crate::server::Shared;
use forgekv_base::clock;
use parking_lot::Mutex;
use std::sync::Arc;

/// What was rewritten, and what is being rewritten.
#[derive(Debug, Default)]
pub(crate) struct Rewrites(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the one under way began, by the monotonic clock in microseconds.
    running_since_us: Option<u64>,
    last_failed: bool,
    last_took_s: Option<u64>,
}

impl Rewrites {
    /// For INFO.
    pub(crate) fn figures(&self) -> info::Rewrites {
        let state = self.0.lock();
        let seconds = |since: u64| clock::monotonic_us().saturating_sub(since) / 1_000_000;
        info::Rewrites {
            running_s: state.running_since_us.map(seconds),
            last_failed: state.last_failed,
            last_took_s: state.last_took_s,
        }
    }

    fn end(&self, failed: bool) {
        let mut state = self.0.lock();
        let since = state.running_since_us.take().unwrap_or_default();
        state.last_took_s = Some(clock::monotonic_us().saturating_sub(since) / 1_000_000);
        state.last_failed = failed;
    }
}

/// Begins, on a thread of its own. The error is a complete reply.
pub(crate) fn begin(server: &Arc<Shared>) -> Result<(), String> {
    let Some(store) = server.store() else { return Err("ERR the data is being opened".into()) };
    {
        let mut state = server.rewrites.0.lock();
        if state.running_since_us.is_some() {
            return Err("ERR Background append only file rewriting already in progress".into());
        }
        state.running_since_us = Some(clock::monotonic_us());
    }
    let shared = server.clone();
    let work = move || {
        let done = store.engine().compact();
        match &done {
            Ok(()) => tracing::info!("Background AOF rewrite finished successfully"),
            Err(why) => tracing::warn!("Background AOF rewrite failed: {why}"),
        }
        shared.rewrites.end(done.is_err());
    };
    match std::thread::Builder::new().name("forgekv-rewrite".into()).spawn(work) {
        Ok(_) => Ok(()),
        Err(e) => {
            server.rewrites.end(true);
            tracing::error!("no thread for a background rewrite: {e}");
            Err(format!("ERR no thread for a background rewrite: {e}"))
        }
    }
}
