//! What talks to Lua's own stack: `redis.call`, the start of a run, and the few functions that must raise
//! any value, or be seen by Lua as functions in C.
//!
//! Why unsafe, and why it holds:
//!
//! 1. Functions here that Lua calls get a valid state, and take from the stack only what they have checked
//!    to be there. Their first upvalue is a light userdata that points to the VM's [`Control`], which the VM
//!    keeps in a box until after its Lua state is closed.
//! 2. Lua raises errors by a long jump. No frame of ours that such a jump can cross owns anything: buffers
//!    live in the `Control`, frames hold references and numbers. Whatever owns something runs inside
//!    `catch_unwind` blocks in which no raising function of Lua is called.
//! 3. The host is lent: the pointer is in the `Control` exactly while [`Lent`] lives, whose lifetime is the
//!    borrow's; and it is taken out while it is used, so that there are never two references.
//! 4. A VM is not `Send`: all of this happens on one thread, so the cells are enough.
#![allow(unsafe_code)]

pub(crate) mod decode;
pub(crate) mod encode;
mod pace;

use crate::host::{Host, Stop};
use crate::number;
use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Result, Table};
use pace::Pace;
use smallvec::SmallVec;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

/// What the functions of one VM share.
pub(crate) struct Control {
    host: Cell<Option<NonNull<dyn Host>>>,
    /// The run is to end: nothing catches the error any more.
    is_stopped: Cell<bool>,
    pace: Pace,
    steps: Cell<u32>,
    /// `redis.setresp`.
    pub(crate) resp3: Cell<bool>,
    /// Whether the client speaks RESP3.
    client_resp3: Cell<bool>,
    /// Whether the run answers an error that was counted as one before.
    answers_counted: Cell<bool>,
    /// KEYS and ARGV of the run that begins.
    words: Cell<(*const [&'static [u8]], usize)>,
    /// The answer to the command under way.
    reply: UnsafeCell<Vec<u8>>,
    /// What the run answers.
    out: UnsafeCell<Vec<u8>>,
}

impl Control {
    pub(crate) fn new() -> Rc<Control> {
        Rc::new(Control {
            host: Cell::new(None),
            is_stopped: Cell::new(false),
            pace: Pace::new(),
            steps: Cell::new(0),
            resp3: Cell::new(false),
            client_resp3: Cell::new(false),
            answers_counted: Cell::new(false),
            words: Cell::new((&[], 0)),
            reply: UnsafeCell::default(),
            out: UnsafeCell::default(),
        })
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    pub(crate) fn answers_counted(&self) -> bool {
        self.answers_counted.get()
    }

    /// Uses the lent host. `None` outside of a run.
    pub(crate) fn with_host<T>(&self, f: impl FnOnce(&mut dyn Host) -> T) -> Option<T> {
        let host = self.host.take()?;
        let back = PutBack { control: self, host };
        // SAFETY: the pointer is there only while the host is lent (3), and it was taken out, so this is
        // the only reference.
        let answer = f(unsafe { &mut *back.host.as_ptr() });
        drop(back);
        Some(answer)
    }

    /// Asks the host whether the run may go on.
    pub(crate) fn tick(&self) -> std::result::Result<(), Stop> {
        if self.is_stopped.get() {
            return Err(Stop);
        }
        if let Some(Err(stop)) = self.with_host(|host| host.tick()) {
            self.is_stopped.set(true);
            return Err(stop);
        }
        Ok(())
    }

    /// A small step of work that no instruction of Lua counts: after many the host is asked.
    pub(crate) fn step(&self) -> std::result::Result<(), Stop> {
        const STEPS: u32 = 1024;
        self.steps.set((self.steps.get() + 1) % STEPS);
        if self.steps.get() == 0 { self.tick() } else { Ok(()) }
    }

    /// From the hook, when the run goes on: asks again after a distance that fits.
    pub(crate) fn go_on(&self, lua: &Lua) {
        let pace: *const Pace = &self.pace;
        // SAFETY: the state is the one that runs, and its hook the VM's; `self` outlives the call.
        let changed = unsafe { lua.exec_raw::<()>((), |state| (*pace).go_on(state)) };
        // Where the stack is full the distance stays as it is.
        changed.ok();
    }

    /// Lends the host and the words until the answer is dropped. What the run answers is appended to `out`.
    pub(crate) fn lend<'a>(
        &'a self,
        host: &'a mut dyn Host,
        words: &'a [&'a [u8]],
        keys: usize,
        client_resp3: bool,
        out: &'a mut Vec<u8>,
    ) -> Lent<'a> {
        let host = NonNull::from(host);
        // SAFETY: only lifetimes change; both are forgotten when `Lent`, which has the true one, is dropped.
        let host = unsafe {
            std::mem::transmute::<NonNull<dyn Host + 'a>, NonNull<dyn Host + 'static>>(host)
        };
        let words: *const [&'a [u8]] = words;
        // SAFETY: as above.
        let words =
            unsafe { std::mem::transmute::<*const [&'a [u8]], *const [&'static [u8]]>(words) };
        self.host.set(Some(host));
        self.words.set((words, keys));
        self.is_stopped.set(false);
        self.answers_counted.set(false);
        self.resp3.set(false);
        self.client_resp3.set(client_resp3);
        // SAFETY: no function of Lua is under way, so nobody else looks at the buffer.
        std::mem::swap(unsafe { &mut *self.out.get() }, out);
        Lent { control: self, out }
    }
}

struct PutBack<'a> {
    control: &'a Control,
    host: NonNull<dyn Host>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        self.control.host.set(Some(self.host));
    }
}

/// A host that is lent to a VM.
pub(crate) struct Lent<'a> {
    control: &'a Control,
    out: &'a mut Vec<u8>,
}

impl Lent<'_> {
    pub(crate) fn is_stopped(&self) -> bool {
        self.control.is_stopped()
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.control.host.set(None);
        self.control.words.set((&[], 0));
        // SAFETY: as in `lend`.
        std::mem::swap(unsafe { &mut *self.control.out.get() }, self.out);
        // SAFETY: the same. A buffer that has grown large is not kept.
        let reply = unsafe { &mut *self.control.reply.get() };
        reply.clear();
        reply.shrink_to(1 << 16);
    }
}

type Raw = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

/// A function in C with the control as its first upvalue, and `more` behind it.
fn closure(
    lua: &Lua,
    control: &Control,
    f: Raw,
    more: impl mlua::IntoLuaMulti,
) -> Result<Function> {
    let pointer: *const Control = control;
    // SAFETY: the closure's stack holds `more` only; there is room for one more value (a C function has at
    // least twenty slots), which goes before them.
    unsafe {
        lua.exec_raw(more, move |state| {
            ffi::lua_pushlightuserdata(state, pointer.cast_mut().cast());
            ffi::lua_insert(state, 1);
            let n = ffi::lua_gettop(state);
            ffi::lua_pushcclosure(state, f, n);
        })
    }
}

/// `redis.call`, or `redis.pcall` unless `raises`.
pub(crate) fn command(lua: &Lua, control: &Control, raises: bool) -> Result<Function> {
    closure(lua, control, if raises { redis_call } else { redis_pcall }, ())
}

pub(crate) fn pcall(lua: &Lua, control: &Control) -> Result<Function> {
    closure(lua, control, protected_call, ())
}

pub(crate) fn xpcall(lua: &Lua, control: &Control) -> Result<Function> {
    closure(lua, control, protected_call_with, ())
}

/// `coroutine.resume` around the stock one.
pub(crate) fn resume(lua: &Lua, control: &Control, stock: Function) -> Result<Function> {
    closure(lua, control, resumed, stock)
}

pub(crate) fn unpack(lua: &Lua, control: &Control) -> Result<Function> {
    closure(lua, control, unpacked, ())
}

/// `inner`, which answers `true` and results, or `false` and an error, as a function that raises that
/// error: a text gets the caller's position before it.
pub(crate) fn raising(lua: &Lua, control: &Control, inner: Function) -> Result<Function> {
    closure(lua, control, raised, inner)
}

/// Runs a function of no arguments, with KEYS and ARGV put into `globals` before, and writes its result to
/// `out`: answers `true`, or `false` and the error.
pub(crate) fn script_runner(lua: &Lua, control: &Control, globals: &Table) -> Result<Function> {
    let handler = closure(lua, control, error_handler, ())?;
    closure(lua, control, run_script, (handler, globals))
}

/// Runs a function with KEYS and ARGV as arguments, and writes its result to `out`.
pub(crate) fn function_runner(lua: &Lua, control: &Control) -> Result<Function> {
    let handler = closure(lua, control, error_handler, ())?;
    closure(lua, control, run_function, handler)
}

/// Runs a function without arguments or result.
pub(crate) fn loader(lua: &Lua, control: &Control) -> Result<Function> {
    let handler = closure(lua, control, error_handler, ())?;
    closure(lua, control, run_load, handler)
}

/// # Safety
/// Only for functions made by [`closure`].
unsafe fn control<'a>(state: *mut lua_State) -> &'a Control {
    // SAFETY: the first upvalue is a pointer to the VM's control, which outlives the state (1).
    unsafe { &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Control>() }
}

/// Ends the run: raises something that nothing of ours catches.
///
/// # Safety
/// As [`control`]; never returns to a frame that owns something.
unsafe fn stop(state: *mut lua_State) -> c_int {
    // SAFETY: one slot is always there for an error.
    unsafe {
        ffi::lua_pushlightuserdata(state, std::ptr::null_mut());
        ffi::lua_error(state)
    }
}

/// Raises a text with the position of the caller.
///
/// # Safety
/// Inside a function that Lua calls; no frame up to it owns anything.
unsafe fn raise(state: *mut lua_State, text: &CStr) -> c_int {
    // SAFETY: two slots, of the twenty that a C function has.
    unsafe {
        ffi::luaL_where(state, 1);
        ffi::lua_pushstring_(state, text.as_ptr());
        ffi::lua_concat(state, 2);
        ffi::lua_error(state)
    }
}

/// How a call of a command ended.
enum Asked {
    Answered,
    Stopped,
    Wrong(&'static [u8]),
}

const NO_WORDS: &[u8] = b"ERR Please specify at least one argument for this redis lib call";
const NOT_WORDS: &[u8] = b"ERR Lua redis lib command arguments must be strings or integers";

/// Numbers as text, of one call.
type Digits = SmallVec<[u8; 64]>;

/// Collects the arguments and has the host answer. Calls nothing of Lua that raises.
///
/// # Safety
/// As [`control`].
unsafe fn ask(state: *mut lua_State, control: &Control) -> Asked {
    if control.is_stopped() {
        return Asked::Stopped;
    }
    let mut digits = Digits::new();
    // SAFETY: the arguments stay on the stack until this returns.
    let words = match unsafe { words(state, &mut digits) } {
        Ok(words) => words,
        Err(wrong) => return Asked::Wrong(wrong),
    };
    // SAFETY: the buffer is used by this function until it returns, and by `answer` after it.
    let reply = unsafe { &mut *control.reply.get() };
    reply.clear();
    let resp3 = control.resp3.get();
    match control.with_host(|host| host.call(&words, resp3, reply)) {
        Some(Ok(_)) => Asked::Answered,
        Some(Err(Stop)) => {
            control.is_stopped.set(true);
            Asked::Stopped
        }
        None => Asked::Wrong(b"ERR redis.call/pcall can only be called inside a script invocation"),
    }
}

/// The arguments on the stack as words; the texts of numbers are in `digits`.
///
/// # Safety
/// The words are only good while the arguments stay on the stack and `digits` is not changed.
unsafe fn words<'a>(
    state: *mut lua_State,
    digits: &'a mut Digits,
) -> std::result::Result<SmallVec<[&'a [u8]; 8]>, &'static [u8]> {
    // SAFETY: asking for the height of the stack changes nothing.
    let n = unsafe { ffi::lua_gettop(state) };
    if n == 0 {
        return Err(NO_WORDS);
    }
    let mut ends: SmallVec<[u32; 8]> = SmallVec::new();
    for index in 1..=n {
        // SAFETY: the index is on the stack.
        match unsafe { ffi::lua_type(state, index) } {
            ffi::LUA_TSTRING => {}
            ffi::LUA_TNUMBER => {
                // SAFETY: the index is on the stack, and a number is read without conversion.
                let value = unsafe { ffi::lua_tonumber(state, index) };
                number::argument(value, digits);
                ends.push(digits.len() as u32);
            }
            _ => return Err(NOT_WORDS),
        }
    }
    let digits: &'a [u8] = digits;
    let (mut begin, mut ends) = (0, ends.into_iter());
    let mut words = SmallVec::new();
    for index in 1..=n {
        // SAFETY: the index is on the stack.
        if unsafe { ffi::lua_type(state, index) } == ffi::LUA_TNUMBER {
            let end = ends.next().unwrap_or(0) as usize;
            words.push(digits.get(begin..end).unwrap_or_default());
            begin = end;
        } else {
            // SAFETY: a string on the stack, which stays there; reading it converts nothing.
            words.push(unsafe { text_at(state, index) });
        }
    }
    Ok(words)
}

/// The string at an index.
///
/// # Safety
/// There is a string, and it stays reachable for as long as the answer is used.
pub(crate) unsafe fn text_at<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: of a string `lua_tolstring` gives a pointer to so many bytes.
    unsafe {
        let text = ffi::lua_tolstring(state, index, &mut len);
        if text.is_null() { &[] } else { std::slice::from_raw_parts(text.cast(), len) }
    }
}

/// Pushes bytes as a string.
///
/// # Safety
/// There is a free slot; may raise.
pub(crate) unsafe fn push_text(state: *mut lua_State, text: &[u8]) {
    // SAFETY: the caller has a free slot; Lua copies the bytes.
    unsafe {
        ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len());
    }
}

/// Pushes `{err = text, ignore_error_stats_update = true}`.
///
/// # Safety
/// There are three free slots; may raise.
pub(crate) unsafe fn push_error(state: *mut lua_State, text: &[u8], is_counted: bool) {
    // SAFETY: the caller has three free slots.
    unsafe {
        ffi::lua_createtable(state, 0, 4);
        push_text(state, text);
        ffi::lua_setfield(state, -2, c"err".as_ptr());
        if is_counted {
            ffi::lua_pushboolean(state, 1);
            ffi::lua_setfield(state, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

unsafe extern "C-unwind" fn redis_call(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, as `answer` wants it.
    unsafe { answer(state, true) }
}

unsafe extern "C-unwind" fn redis_pcall(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, as `answer` wants it.
    unsafe { answer(state, false) }
}

/// # Safety
/// As [`control`].
unsafe fn answer(state: *mut lua_State, raises: bool) -> c_int {
    // SAFETY: (1), (2): `ask` owns things, and is done with them when it returns; below are only references.
    unsafe {
        let control = control(state);
        let asked = match catch_unwind(AssertUnwindSafe(|| ask(state, control))) {
            Ok(asked) => asked,
            Err(panic) => {
                // What a panic carries is not worth a frame that owns something.
                std::mem::forget(panic);
                Asked::Wrong(b"ERR the command failed")
            }
        };
        // The words are not needed any more, and they may have filled the stack.
        ffi::lua_settop(state, 0);
        let failed = match asked {
            Asked::Stopped => return stop(state),
            Asked::Wrong(text) => {
                push_error(state, text, false);
                true
            }
            Asked::Answered => {
                let reply: &[u8] = &*control.reply.get();
                decode::push(state, reply, control.resp3.get());
                reply.first() == Some(&b'-')
            }
        };
        if failed && raises { ffi::lua_error(state) } else { 1 }
    }
}

unsafe extern "C-unwind" fn protected_call(state: *mut lua_State) -> c_int {
    // SAFETY: (1). Nothing is owned here.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let n = ffi::lua_gettop(state);
        if ffi::lua_pcall(state, n - 1, ffi::LUA_MULTRET, 0) != ffi::LUA_OK {
            return caught(state);
        }
        room_behind_results(state);
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        ffi::lua_gettop(state)
    }
}

/// Sees to a free slot: a call that leaves all its results may have filled the stack to its end.
///
/// # Safety
/// May raise: no frame up to Lua owns anything.
unsafe fn room_behind_results(state: *mut lua_State) {
    // SAFETY: the caller says so.
    unsafe {
        if ffi::lua_checkstack(state, 1) == 0 {
            // Not even the error has room behind them.
            ffi::lua_settop(state, 0);
            raise(state, c"too many results");
        }
    }
}

/// The handler runs after the stack is unwound, not before as the stock one does: an error that the hook
/// raises leaves hooks switched off until then, and a handler could go on for ever.
unsafe extern "C-unwind" fn protected_call_with(state: *mut lua_State) -> c_int {
    // SAFETY: (1). Nothing is owned here.
    unsafe {
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_insert(state, 1);
        let failed = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 0) != ffi::LUA_OK;
        if failed {
            if control(state).tick().is_err() {
                return stop(state);
            }
            if ffi::lua_pcall(state, 1, 1, 0) != ffi::LUA_OK && control(state).is_stopped() {
                return stop(state);
            }
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, 1);
            return 2;
        }
        room_behind_results(state);
        ffi::lua_pushboolean(state, 1);
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

/// `false` and the error on top of the stack; of a command's error the text.
///
/// # Safety
/// As [`control`]; there is an error on the stack.
unsafe fn caught(state: *mut lua_State) -> c_int {
    // SAFETY: an error is on the stack; a C function has twenty slots, and no frame up to Lua owns anything
    // (2).
    unsafe {
        // What fails for want of memory takes long and few instructions.
        if control(state).tick().is_err() {
            return stop(state);
        }
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushlstring_(state, c"err".as_ptr(), 3);
            ffi::lua_rawget(state, -2);
            if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
                ffi::lua_replace(state, -2);
            } else {
                ffi::lua_settop(state, -2);
            }
        }
        ffi::lua_pushboolean(state, 0);
        ffi::lua_insert(state, -2);
        2
    }
}

unsafe extern "C-unwind" fn resumed(state: *mut lua_State) -> c_int {
    // SAFETY: (1). The second upvalue is the stock function.
    unsafe {
        let n = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 2, c"too many arguments".as_ptr());
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, n, ffi::LUA_MULTRET);
        if ffi::lua_toboolean(state, 1) == 0 && control(state).is_stopped() {
            return stop(state);
        }
        ffi::lua_gettop(state)
    }
}

/// As many results as a C function may have.
const MOST_UNPACKED: i64 = 8000;

unsafe extern "C-unwind" fn unpacked(state: *mut lua_State) -> c_int {
    // SAFETY: (1). The stack is made large enough before anything is pushed.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let from = ffi::luaL_optinteger(state, 2, 1) as i64;
        let to = match ffi::lua_type(state, 3) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => ffi::lua_objlen(state, 1) as i64,
            _ => ffi::luaL_checkinteger(state, 3) as i64,
        };
        if from > to {
            return 0;
        }
        let n = to.saturating_sub(from).saturating_add(1);
        if n > MOST_UNPACKED || ffi::lua_checkstack(state, n as c_int) == 0 {
            return raise(state, c"too many results to unpack");
        }
        for index in from..=to {
            match c_int::try_from(index) {
                Ok(index) => {
                    ffi::lua_rawgeti(state, 1, index as _);
                }
                Err(_) => ffi::lua_pushnil(state),
            }
        }
        n as c_int
    }
}

unsafe extern "C-unwind" fn raised(state: *mut lua_State) -> c_int {
    // SAFETY: (1). The second upvalue is the inner function.
    unsafe {
        let n = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, n, ffi::LUA_MULTRET);
        if ffi::lua_toboolean(state, 1) != 0 {
            ffi::lua_remove(state, 1);
            return ffi::lua_gettop(state);
        }
        if control(state).is_stopped() {
            return stop(state);
        }
        ffi::lua_settop(state, 2);
        if ffi::lua_type(state, 2) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, 2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}

/// Makes a table of any error, and notes where it was raised.
unsafe extern "C-unwind" fn error_handler(state: *mut lua_State) -> c_int {
    // SAFETY: (1). The error is at index 1; `lua_Debug` is plain data, filled by `lua_getinfo`.
    unsafe {
        if control(state).is_stopped() || ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA {
            return 1;
        }
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            ffi::lua_settop(state, 1);
            ffi::lua_pushlstring_(state, c"ERR ".as_ptr(), 4);
            match ffi::lua_type(state, 1) {
                ffi::LUA_TSTRING | ffi::LUA_TNUMBER => ffi::lua_pushvalue(state, 1),
                ffi::LUA_TNIL | ffi::LUA_TNONE => push_text(state, b"nil"),
                kind => {
                    ffi::lua_pushstring_(state, ffi::lua_typename(state, kind));
                }
            }
            ffi::lua_concat(state, 2);
            ffi::lua_createtable(state, 0, 4);
            ffi::lua_insert(state, -2);
            ffi::lua_setfield(state, -2, c"err".as_ptr());
            ffi::lua_replace(state, 1);
            ffi::lua_settop(state, 1);
        }
        let mut info: ffi::lua_Debug = std::mem::zeroed();
        for level in 1..12 {
            if ffi::lua_getstack(state, level, &mut info) == 0 {
                break;
            }
            ffi::lua_getinfo(state, c"Sl".as_ptr(), &mut info);
            let source = CStr::from_ptr(info.source).to_bytes();
            if info.currentline > 0 && source.starts_with(b"@user_") {
                push_text(state, source);
                ffi::lua_setfield(state, 1, c"source".as_ptr());
                ffi::lua_pushinteger(state, info.currentline as ffi::lua_Integer);
                ffi::lua_setfield(state, 1, c"line".as_ptr());
                break;
            }
        }
        1
    }
}

/// # Safety
/// There are three free slots; may raise.
unsafe fn push_words(state: *mut lua_State, words: &[&[u8]]) {
    // SAFETY: the caller has three free slots; each word takes one, which storing it gives back.
    unsafe {
        ffi::lua_createtable(state, words.len() as c_int, 0);
        let mut index = 0;
        for word in words {
            index += 1;
            push_text(state, word);
            ffi::lua_rawseti(state, -2, index);
        }
    }
}

/// KEYS and ARGV of the run that begins.
///
/// # Safety
/// A host is lent, and with it the words.
unsafe fn lent_words<'a>(control: &Control) -> (&'a [&'a [u8]], &'a [&'a [u8]]) {
    let (words, keys) = control.words.get();
    // SAFETY: the caller says so.
    let words: &[&[u8]] = unsafe { &*words };
    words.split_at(keys.min(words.len()))
}

unsafe extern "C-unwind" fn run_script(state: *mut lua_State) -> c_int {
    // SAFETY: (1), (2). Upvalues: control, handler, globals. Argument: the script.
    unsafe {
        let control = control(state);
        let (keys, arguments) = lent_words(control);
        ffi::lua_settop(state, 1);
        push_words(state, keys);
        ffi::lua_setfield(state, ffi::lua_upvalueindex(3), c"KEYS".as_ptr());
        push_words(state, arguments);
        ffi::lua_setfield(state, ffi::lua_upvalueindex(3), c"ARGV".as_ptr());
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        finish(state, control, 0)
    }
}

unsafe extern "C-unwind" fn run_function(state: *mut lua_State) -> c_int {
    // SAFETY: (1), (2). Upvalues: control, handler. Argument: the function.
    unsafe {
        let control = control(state);
        let (keys, arguments) = lent_words(control);
        ffi::lua_settop(state, 1);
        push_words(state, keys);
        push_words(state, arguments);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        finish(state, control, 2)
    }
}

unsafe extern "C-unwind" fn run_load(state: *mut lua_State) -> c_int {
    // SAFETY: (1). Upvalues: control, handler. Argument: the chunk.
    unsafe {
        ffi::lua_settop(state, 1);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, 1);
        let failed = ffi::lua_pcall(state, 0, 0, 1) != ffi::LUA_OK;
        ffi::lua_pushboolean(state, c_int::from(!failed));
        if failed {
            ffi::lua_insert(state, -2);
            return 2;
        }
        1
    }
}

/// Calls the function on the stack, with `n` arguments and the handler below it, and writes what it answers.
///
/// # Safety
/// They are on the stack; nothing up to the runner owns anything.
unsafe fn finish(state: *mut lua_State, control: &Control, n: c_int) -> c_int {
    // SAFETY: handler, function and arguments are on the stack; the buffer is used by nobody else while the
    // run ends.
    unsafe {
        control.pace.begin(state);
        if ffi::lua_pcall(state, n, 1, 1) != ffi::LUA_OK {
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, -2);
            return 2;
        }
        let out: *mut Vec<u8> = control.out.get();
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushlstring_(state, c"ignore_error_stats_update".as_ptr(), 25);
            ffi::lua_rawget(state, -2);
            control.answers_counted.set(ffi::lua_toboolean(state, -1) != 0);
            ffi::lua_settop(state, -2);
        }
        encode::write(state, &mut *out, control.client_resp3.get(), control.resp3.get());
        ffi::lua_pushboolean(state, 1);
        1
    }
}
