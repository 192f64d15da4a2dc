//! CLIENT PAUSE: for a time, commands that may change the data (or all) wait.
//!
//! A request that waits stays where it is, in its connection's input, and is looked at again when the
//! pause has ended. Meanwhile no expired key is removed either.

use forgekv_base::clock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// How often those that wait look whether their connection is still there.
const STEP: Duration = Duration::from_millis(100);

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paused {
    Writes,
    Everything,
}

/// Whether, for how long and what.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Unix milliseconds; 0: there is no pause.
    until_ms: AtomicU64,
    everything: AtomicBool,
    ended: Notify,
    waiting: AtomicUsize,
}

impl Pause {
    /// What waits now, if anything.
    #[inline]
    pub(crate) fn now(&self) -> Option<Paused> {
        // Nearly always there is none, and that costs one load.
        if self.until_ms.load(Relaxed) == 0 { None } else { self.look(clock::now_ms()) }
    }

    #[cold]
    fn look(&self, now_ms: u64) -> Option<Paused> {
        let until_ms = self.until_ms.load(Relaxed);
        if now_ms >= until_ms {
            // Unless another pause has begun meanwhile.
            if self.until_ms.compare_exchange(until_ms, 0, Relaxed, Relaxed).is_ok() {
                self.ended.notify_waiters();
            }
            return None;
        }
        Some(if self.everything.load(Relaxed) { Paused::Everything } else { Paused::Writes })
    }

    /// Begins a pause; one that holds already is never made shorter or less. Answers when it ends, in Unix
    /// milliseconds.
    pub(crate) fn begin(&self, what: Paused, until_ms: u64) -> u64 {
        let holds = self.now().is_some();
        if !holds || what == Paused::Everything {
            self.everything.store(what == Paused::Everything, Relaxed);
        }
        self.until_ms.fetch_max(until_ms, Relaxed).max(until_ms)
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.until_ms.store(0, Relaxed);
        self.ended.notify_waiters();
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Waits until the pause ends, or until `is_gone` says that there is nobody to wait for.
    pub(crate) async fn wait(&self, is_gone: impl Fn() -> bool) {
        let _counted = Counted::new(&self.waiting);
        while !is_gone() {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Enlisted before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.now().is_none() {
                return;
            }
            let left = self.until_ms.load(Relaxed).saturating_sub(clock::now_ms()).max(1);
            // Whichever comes first, there is another look.
            let _elapsed = tokio::time::timeout(STEP.min(Duration::from_millis(left)), ended).await;
        }
    }
}

/// Counts one that waits, for as long as it does.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_only_grows_until_it_ends() {
        let pause = Pause::default();
        let now_ms = clock::now_ms();
        assert_eq!(pause.now(), None);
        pause.begin(Paused::Writes, now_ms + 60_000);
        assert_eq!(pause.now(), Some(Paused::Writes));
        pause.begin(Paused::Everything, now_ms + 10);
        pause.begin(Paused::Writes, now_ms + 20);
        assert_eq!(pause.now(), Some(Paused::Everything));
        assert_eq!(pause.look(now_ms + 59_000), Some(Paused::Everything));
        assert_eq!(pause.look(now_ms + 60_000), None);
        pause.begin(Paused::Writes, now_ms + 60_000);
        assert_eq!(pause.now(), Some(Paused::Writes), "a new one");
        pause.end();
        assert_eq!(pause.now(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn those_that_wait_are_woken() {
        let pause = Pause::default();
        pause.begin(Paused::Writes, clock::now_ms() + 60_000);
        let waits = pause.wait(|| false);
        let ends = async {
            tokio::task::yield_now().await;
            assert_eq!(pause.waiting(), 1);
            pause.end();
        };
        tokio::join!(waits, ends);
        assert_eq!(pause.waiting(), 0);
        pause.begin(Paused::Writes, clock::now_ms() + 60_000);
        pause.wait(|| true).await;
        pause.begin(Paused::Writes, clock::now_ms() + 20);
        pause.end();
        pause.begin(Paused::Writes, clock::now_ms() + 20);
        pause.wait(|| false).await;
    }
}
