//! What a script returns, as a reply.

use super::text_at;
use crate::number;
use mlua::ffi::{self, lua_State};
use std::ffi::{CStr, c_int};

/// Tables are followed so deep.
const MOST_DEPTH: u32 = 400;
/// A reply has no more values than this: tables that hold themselves twice would never end.
const MOST_VALUES: u64 = 1 << 24;
/// Nor so many bytes.
const MOST_BYTES: usize = 1 << 30;

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The client's protocol.
    resp3: bool,
    /// What the script chose for itself.
    script_resp3: bool,
    values: u64,
}

/// Takes the value off the top of the stack and appends it to `out`.
///
/// # Safety
/// Called by a function that Lua called, with a value on the stack; may raise, and owns nothing.
pub(super) unsafe fn write(
    state: *mut lua_State,
    out: &mut Vec<u8>,
    resp3: bool,
    script_resp3: bool,
) {
    let begin = out.len();
    let mut writer = Writer { out, resp3, script_resp3, values: 0 };
    // SAFETY: the caller's promise: a value is on the stack; `value` makes its own room.
    unsafe { value(state, &mut writer, 0) };
    if writer.values > MOST_VALUES || writer.out.len() > MOST_BYTES {
        out.truncate(begin);
        out.extend_from_slice(b"-ERR the script's reply is too large\r\n");
    }
}

impl Writer<'_> {
    fn header(&mut self, kind: u8, n: i64) {
        self.out.push(kind);
        number::integer(n, self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    fn bulk(&mut self, text: &[u8]) {
        self.header(b'$', text.len() as i64);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A line, whose ends of lines inside become spaces.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        for &byte in text {
            self.out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    fn is_full(&self) -> bool {
        self.values > MOST_VALUES || self.out.len() > MOST_BYTES
    }

    /// Puts the header before what was written since `begin`.
    fn close(&mut self, begin: usize, kind: u8, n: i64) {
        let end = self.out.len();
        self.header(kind, n);
        if let Some(written) = self.out.get_mut(begin..) {
            written.rotate_left(end - begin);
        }
    }
}

/// Pushes the field of the table on top of the stack; its type.
unsafe fn field(state: *mut lua_State, name: &CStr) -> c_int {
    // SAFETY: a table is on top, and each caller has a free slot: `value` has made room for six.
    unsafe {
        ffi::lua_pushlstring_(state, name.as_ptr(), name.to_bytes().len());
        ffi::lua_rawget(state, -2);
        ffi::lua_type(state, -1)
    }
}

unsafe fn pop(state: *mut lua_State, n: c_int) {
    // SAFETY: as many values as are taken off were pushed by the caller.
    unsafe { ffi::lua_settop(state, -n - 1) };
}

unsafe fn value(state: *mut lua_State, writer: &mut Writer<'_>, depth: u32) {
    // SAFETY: room for six is made first; every arm leaves the stack as it found it, and then the value is
    // taken off.
    unsafe {
        writer.values += 1;
        if depth > MOST_DEPTH || ffi::lua_checkstack(state, 6) == 0 {
            writer.line(b'-', b"ERR reached lua stack limit");
            return pop(state, 1);
        }
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => writer.bulk(text_at(state, -1)),
            ffi::LUA_TNUMBER => {
                writer.header(b':', number::truncated(ffi::lua_tonumber(state, -1)));
            }
            ffi::LUA_TBOOLEAN => {
                let is_true = ffi::lua_toboolean(state, -1) != 0;
                match (writer.script_resp3, is_true) {
                    (true, _) if writer.resp3 => {
                        writer.out.extend_from_slice(if is_true { b"#t\r\n" } else { b"#f\r\n" });
                    }
                    (true, _) => writer.header(b':', i64::from(is_true)),
                    (false, true) => writer.header(b':', 1),
                    (false, false) => writer.null(),
                }
            }
            ffi::LUA_TTABLE => table(state, writer, depth),
            _ => writer.null(),
        }
        pop(state, 1);
    }
}

/// The table on top of the stack, which stays there.
unsafe fn table(state: *mut lua_State, writer: &mut Writer<'_>, depth: u32) {
    // SAFETY: a table is on top and six slots were made; each branch takes off what it has pushed.
    unsafe {
        if field(state, c"err") == ffi::LUA_TSTRING {
            let text = text_at(state, -1);
            writer.line(b'-', text.strip_prefix(b"-").unwrap_or(text));
            return pop(state, 1);
        }
        pop(state, 1);
        if field(state, c"ok") == ffi::LUA_TSTRING {
            writer.line(b'+', text_at(state, -1));
            return pop(state, 1);
        }
        pop(state, 1);
        if field(state, c"double") == ffi::LUA_TNUMBER {
            let begin = writer.out.len();
            number::shortest(ffi::lua_tonumber(state, -1), writer.out);
            if writer.resp3 {
                writer.out.insert(begin, b',');
                writer.out.extend_from_slice(b"\r\n");
            } else {
                let len = writer.out.len() - begin;
                writer.out.extend_from_slice(b"\r\n");
                writer.close(begin, b'$', len as i64);
            }
            return pop(state, 1);
        }
        pop(state, 1);
        if field(state, c"map") == ffi::LUA_TTABLE {
            let n = count(state);
            match writer.resp3 {
                true => writer.header(b'%', n),
                false => writer.header(b'*', 2 * n),
            }
            ffi::lua_pushnil(state);
            while !writer.is_full() && ffi::lua_next(state, -2) != 0 {
                ffi::lua_pushvalue(state, -2);
                value(state, writer, depth + 1);
                value(state, writer, depth + 1);
            }
            return leave(state, writer);
        }
        pop(state, 1);
        if field(state, c"set") == ffi::LUA_TTABLE {
            let n = count(state);
            writer.header(if writer.resp3 { b'~' } else { b'*' }, n);
            ffi::lua_pushnil(state);
            while !writer.is_full() && ffi::lua_next(state, -2) != 0 {
                pop(state, 1);
                ffi::lua_pushvalue(state, -1);
                value(state, writer, depth + 1);
            }
            return leave(state, writer);
        }
        pop(state, 1);
        if field(state, c"big_number") == ffi::LUA_TSTRING {
            let begin = writer.out.len();
            let text = text_at(state, -1);
            if writer.resp3 {
                writer.line(b'(', text);
            } else {
                for &byte in text {
                    writer.out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
                }
                writer.out.extend_from_slice(b"\r\n");
                writer.close(begin, b'$', text.len() as i64);
            }
            return pop(state, 1);
        }
        pop(state, 1);
        if field(state, c"verbatim_string") == ffi::LUA_TTABLE {
            if field(state, c"format") == ffi::LUA_TSTRING {
                if {
                    ffi::lua_pushvalue(state, -2);
                    field(state, c"string")
                } == ffi::LUA_TSTRING
                {
                    let text = text_at(state, -1);
                    let mut kind = *b"   ";
                    for (to, from) in kind.iter_mut().zip(text_at(state, -3)) {
                        *to = *from;
                    }
                    if writer.resp3 {
                        writer.header(b'=', text.len() as i64 + 4);
                        writer.out.extend_from_slice(&kind);
                        writer.out.push(b':');
                        writer.out.extend_from_slice(text);
                        writer.out.extend_from_slice(b"\r\n");
                    } else {
                        writer.bulk(text);
                    }
                    return pop(state, 4);
                }
                pop(state, 2);
            }
            pop(state, 1);
        }
        pop(state, 1);
        array(state, writer, depth);
    }
}

/// How many pairs the table on top of the stack has.
unsafe fn count(state: *mut lua_State) -> i64 {
    let mut n = 0;
    // SAFETY: a table is on top; a walk needs two slots of the six.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            pop(state, 1);
            n += 1;
        }
    }
    n
}

/// Takes the inner table off the stack, and the key of a walk that was broken off.
unsafe fn leave(state: *mut lua_State, writer: &Writer<'_>) {
    // SAFETY: the inner table, and if a walk was broken off its key, are on top.
    unsafe { pop(state, if writer.is_full() { 2 } else { 1 }) };
}

unsafe fn array(state: *mut lua_State, writer: &mut Writer<'_>, depth: u32) {
    // SAFETY: a table is on top; an element takes one slot, which `value` gives back.
    unsafe {
        // Counted before: a header put before what it counts would be paid for at every depth.
        let mut n: i64 = 0;
        loop {
            ffi::lua_rawgeti(state, -1, (n + 1) as _);
            let is_nil = ffi::lua_type(state, -1) == ffi::LUA_TNIL;
            pop(state, 1);
            if is_nil {
                break;
            }
            n += 1;
        }
        writer.header(b'*', n);
        for index in 1..=n {
            if writer.is_full() {
                break;
            }
            ffi::lua_rawgeti(state, -1, index as _);
            value(state, writer, depth + 1);
        }
    }
}
