//! Time, through one door.
//!
//! Code that decides anything by time takes a [`Clock`], so a test can set the hour with
//! [`ManualClock`]. The free functions read the system's clocks directly and serve code that only
//! measures or stamps.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of wall-clock and monotonic time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Microseconds since the Unix epoch.
    fn now_us(&self) -> u64;
    /// Microseconds since an arbitrary fixed point; never steps back.
    fn monotonic_us(&self) -> u64;
}

/// The machine's own clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn now_us(&self) -> u64 {
        now_us()
    }

    fn monotonic_us(&self) -> u64 {
        monotonic_us()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_us: AtomicU64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    /// A clock whose wall time is `now_ms` and whose monotonic time is zero.
    pub fn at_ms(now_ms: u64) -> Self {
        Self { wall_us: AtomicU64::new(now_ms.saturating_mul(1000)), ..Self::default() }
    }

    /// Moves wall and monotonic time forward together, as real time passing does.
    pub fn advance_ms(&self, ms: u64) {
        self.advance_us(ms.saturating_mul(1000));
    }

    /// As [`advance_ms`](Self::advance_ms), in microseconds.
    pub fn advance_us(&self, us: u64) {
        self.wall_us.fetch_add(us, Ordering::SeqCst);
        self.monotonic_us.fetch_add(us, Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back, as an administrator may. Monotonic time stands still.
    pub fn set_ms(&self, now_ms: u64) {
        self.wall_us.store(now_ms.saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    fn now_us(&self) -> u64 {
        self.wall_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::SeqCst)
    }
}

/// A shared clock is a clock, so one [`ManualClock`] can drive many rooms.
impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }

    fn now_us(&self) -> u64 {
        (**self).now_us()
    }

    fn monotonic_us(&self) -> u64 {
        (**self).monotonic_us()
    }
}

fn since_epoch() -> Duration {
    // A clock set before 1970 reads as 1970: expiry times are unsigned everywhere.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    since_epoch().as_millis() as u64
}

/// Microseconds since the Unix epoch.
pub fn now_us() -> u64 {
    since_epoch().as_micros() as u64
}

/// Microseconds since the first call in this process; never steps back.
pub fn monotonic_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn system_clock_is_past_2020_and_monotonic() {
        assert!(SystemClock.now_ms() > 1_577_836_800_000);
        assert!(SystemClock.now_us() / 1000 >= SystemClock.now_ms() - 60_000);
        let a = SystemClock.monotonic_us();
        assert!(SystemClock.monotonic_us() >= a);
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = Arc::new(ManualClock::at_ms(5_000));
        let seen: &dyn Clock = &clock;
        assert_eq!((seen.now_ms(), seen.monotonic_us()), (5_000, 0));
        clock.advance_us(1_500);
        assert_eq!((seen.now_ms(), seen.now_us(), seen.monotonic_us()), (5_001, 5_001_500, 1_500));
        clock.set_ms(10);
        assert_eq!((seen.now_ms(), seen.monotonic_us()), (10, 1_500));
        clock.advance_ms(1);
        assert_eq!((seen.now_ms(), seen.monotonic_us()), (11, 2_500));
    }
}
