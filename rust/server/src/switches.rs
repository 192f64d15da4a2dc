//! Switches that DEBUG sets, so that tests of servers see what they wait for and nothing else.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// All off at the start.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Nothing is done by itself now and then: expiry, samples, looking after idle clients, and the end of the
    /// server that a signal has asked for.
    pause_cron: AtomicBool,
    /// Clients keep the buffers of their answers when those are sent.
    keep_buffers: AtomicBool,
}

impl Switches {
    pub(crate) fn is_cron_paused(&self) -> bool {
        self.pause_cron.load(Relaxed)
    }

    pub(crate) fn set_pause_cron(&self, on: bool) {
        self.pause_cron.store(on, Relaxed);
    }

    #[inline]
    pub(crate) fn keeps_buffers(&self) -> bool {
        self.keep_buffers.load(Relaxed)
    }

    pub(crate) fn set_keep_buffers(&self, on: bool) {
        self.keep_buffers.store(on, Relaxed);
    }
}
