//! How often a run is interrupted to ask whether it may go on.
//!
//! Lua counts instructions, but one of them may join strings of a hundred megabytes. So the distance between
//! two questions is measured: it grows while they come quickly, and shrinks, down to single instructions,
//! while they do not.

use mlua::ffi::{self, lua_State};
use std::cell::Cell;
use std::ffi::c_int;
use std::time::{Duration, Instant};

/// Instructions up to the first question: most scripts end before it.
const FIRST: c_int = 250;
/// Never more than this between two.
const MOST: c_int = 2000;
/// Quicker than this, the distance may grow.
const QUICK: Duration = Duration::from_micros(200);
/// Slower than this, it has to shrink.
const SLOW: Duration = Duration::from_millis(1);

/// The distance now, and since when it is measured.
pub(crate) struct Pace {
    count: Cell<c_int>,
    since: Cell<Instant>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { count: Cell::new(FIRST), since: Cell::new(Instant::now()) }
    }

    /// A run begins.
    ///
    /// # Safety
    /// A valid state with the VM's hook.
    pub(super) unsafe fn begin(&self, state: *mut lua_State) {
        self.since.set(Instant::now());
        // SAFETY: the caller says so.
        unsafe { self.set(state, FIRST) };
    }

    /// The run was asked, and goes on.
    ///
    /// # Safety
    /// As [`begin`](Self::begin).
    pub(crate) unsafe fn go_on(&self, state: *mut lua_State) {
        let now = Instant::now();
        let took = now.duration_since(self.since.replace(now));
        let count = self.count.get();
        let next = match took {
            _ if took < QUICK => (count * 2).min(MOST),
            _ if took > SLOW => (count / 8).max(1),
            _ => count,
        };
        if next != count {
            // SAFETY: the caller says so.
            unsafe { self.set(state, next) };
        }
    }

    unsafe fn set(&self, state: *mut lua_State, count: c_int) {
        self.count.set(count);
        // SAFETY: the hook stays what it is, only its distance changes; Lua allows that at any time.
        unsafe { ffi::lua_sethook(state, ffi::lua_gethook(state), ffi::LUA_MASKCOUNT, count) };
    }
}
