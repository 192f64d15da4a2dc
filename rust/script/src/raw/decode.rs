//! Replies into Lua values.

use super::{push_error, push_text};
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// A simple status as `{ok = text}` and so on. Replies are our own, so they are well formed; one that is cut
/// short reads as nil.
///
/// # Safety
/// Called by a function that Lua called; may raise, and owns nothing.
pub(super) unsafe fn push(state: *mut lua_State, reply: &[u8], resp3: bool) {
    let mut rest = reply;
    // SAFETY: the caller's promise: this runs inside a call by Lua; `value` needs the eight slots that are
    // made here.
    unsafe {
        ffi::luaL_checkstack(state, 8, c"too deep".as_ptr());
        value(state, &mut rest, resp3);
    }
}

/// Up to the line's end, which is consumed.
fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let bytes = *rest;
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    *rest = bytes.get(end + 2..).unwrap_or_default();
    bytes.get(..end).unwrap_or_default()
}

fn integer(text: &[u8]) -> i64 {
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    let mut n: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        // Downwards, because the least number has no positive twin.
        n = n.wrapping_mul(10).wrapping_sub(digit);
    }
    if is_negative { n } else { n.wrapping_neg() }
}

fn blob<'a>(rest: &mut &'a [u8], len: i64) -> &'a [u8] {
    let len = len as usize;
    let bytes = *rest;
    *rest = bytes.get(len + 2..).unwrap_or_default();
    bytes.get(..len).unwrap_or_default()
}

unsafe fn value(state: *mut lua_State, rest: &mut &[u8], resp3: bool) {
    let Some((&kind, after)) = rest.split_first() else {
        // SAFETY: each value that is read has a slot: whoever calls this has made room for eight.
        unsafe { ffi::lua_pushnil(state) };
        return;
    };
    *rest = after;
    let head = line(rest);
    // SAFETY: each arm uses at most six of the eight slots that its caller has made, and leaves one value;
    // tables make room for their elements before they read them.
    unsafe {
        match kind {
            b'+' => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, head);
                ffi::lua_setfield(state, -2, c"ok".as_ptr());
            }
            b'-' => push_error(state, head, true),
            b':' => ffi::lua_pushnumber(state, integer(head) as f64),
            b'$' => match integer(head) {
                len @ 0.. => push_text(state, blob(rest, len)),
                _ => ffi::lua_pushboolean(state, 0),
            },
            b'*' | b'>' => match integer(head) {
                n @ 0.. => array(state, rest, n, resp3),
                _ => ffi::lua_pushboolean(state, 0),
            },
            b'%' => {
                ffi::lua_createtable(state, 0, 1);
                let n = integer(head);
                ffi::luaL_checkstack(state, 8, c"too deep".as_ptr());
                ffi::lua_createtable(state, 0, n as c_int);
                for _ in 0..n {
                    value(state, rest, resp3);
                    value(state, rest, resp3);
                    set(state);
                }
                ffi::lua_setfield(state, -2, c"map".as_ptr());
            }
            b'~' => {
                ffi::lua_createtable(state, 0, 1);
                let n = integer(head);
                ffi::luaL_checkstack(state, 8, c"too deep".as_ptr());
                ffi::lua_createtable(state, 0, n as c_int);
                for _ in 0..n {
                    value(state, rest, resp3);
                    ffi::lua_pushboolean(state, 1);
                    set(state);
                }
                ffi::lua_setfield(state, -2, c"set".as_ptr());
            }
            b',' => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_pushnumber(state, double(head));
                ffi::lua_setfield(state, -2, c"double".as_ptr());
            }
            b'#' => ffi::lua_pushboolean(state, c_int::from(head == b"t")),
            b'(' => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, head);
                ffi::lua_setfield(state, -2, c"big_number".as_ptr());
            }
            b'=' => {
                let text = blob(rest, integer(head));
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_createtable(state, 0, 2);
                push_text(state, text.get(..3).unwrap_or_default());
                ffi::lua_setfield(state, -2, c"format".as_ptr());
                push_text(state, text.get(4..).unwrap_or_default());
                ffi::lua_setfield(state, -2, c"string".as_ptr());
                ffi::lua_setfield(state, -2, c"verbatim_string".as_ptr());
            }
            b'|' => {
                // Attributes are not shown to scripts.
                for _ in 0..integer(head).saturating_mul(2) {
                    value(state, rest, resp3);
                    ffi::lua_settop(state, -2);
                }
                value(state, rest, resp3);
            }
            _ => ffi::lua_pushnil(state),
        }
    }
}

/// The pair on top of the stack into the table below; a key that Lua does not allow is left out.
unsafe fn set(state: *mut lua_State) {
    // SAFETY: a key and a value are on top of a table: each caller has just pushed them.
    unsafe {
        match ffi::lua_type(state, -2) {
            ffi::LUA_TNIL => ffi::lua_settop(state, -3),
            _ => ffi::lua_rawset(state, -3),
        }
    }
}

unsafe fn array(state: *mut lua_State, rest: &mut &[u8], n: i64, resp3: bool) {
    // SAFETY: room for eight is made before the first element; each element leaves one value, which is
    // stored.
    unsafe {
        ffi::luaL_checkstack(state, 8, c"too deep".as_ptr());
        ffi::lua_createtable(state, n as c_int, 0);
        let mut index = 0;
        for _ in 0..n {
            index += 1;
            value(state, rest, resp3);
            ffi::lua_rawseti(state, -2, index);
        }
    }
}

fn double(text: &[u8]) -> f64 {
    match text {
        b"inf" => f64::INFINITY,
        b"-inf" => f64::NEG_INFINITY,
        b"nan" | b"-nan" => f64::NAN,
        // Parsing a number owns nothing.
        _ => std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0.0),
    }
}
