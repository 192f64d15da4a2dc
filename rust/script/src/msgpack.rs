//! `cmsgpack`: values as MessagePack.

use crate::define::{Answer, Arguments, Raise, function};
use crate::raw::Control;
use crate::strings::LONGEST;
use mlua::{Lua, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// Tables inside tables that are written; deeper ones are nil.
const MOST_WRITTEN_DEPTH: u32 = 16;
/// Tables inside tables that are read.
const MOST_READ_DEPTH: u32 = 500;

const MISSING: &str = "Missing bytes in input.";
const BAD: &str = "Bad data format in input.";

fn write(arguments: &Arguments<'_>, value: &Value, depth: u32, out: &mut Vec<u8>) -> Answer<()> {
    arguments.control.step()?;
    if out.len() > LONGEST {
        return Err(Raise::text("resulting string too large"));
    }
    match value {
        Value::String(text) => write_text(&text.as_bytes(), out),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(value) => write_number(*value as f64, out),
        Value::Number(value) => write_number(*value, out),
        Value::Table(table) if depth < MOST_WRITTEN_DEPTH => {
            write_table(arguments, table, depth, out)?;
        }
        _ => out.push(0xc0),
    }
    Ok(())
}

fn header(n: usize, small: u8, most: usize, wide: [Option<u8>; 3], out: &mut Vec<u8>) {
    match (n, wide) {
        (n, _) if n <= most => out.push(small | n as u8),
        (n, [Some(kind), _, _]) if n <= 0xff => out.extend_from_slice(&[kind, n as u8]),
        (n, [_, Some(kind), _]) if n <= 0xffff => {
            out.push(kind);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        (n, [_, _, kind]) => {
            out.push(kind.unwrap_or(0xc1));
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    header(text.len(), 0xa0, 31, [Some(0xd9), Some(0xda), Some(0xdb)], out);
    out.extend_from_slice(text);
}

fn write_number(value: f64, out: &mut Vec<u8>) {
    let whole = value as i64;
    if whole as f64 == value && (-9.223372036854775e18..9.223372036854775e18).contains(&value) {
        return write_integer(whole, out);
    }
    let narrow = value as f32;
    if f64::from(narrow) == value {
        out.push(0xca);
        out.extend_from_slice(&narrow.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut put = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => put(0xcc, &[value as u8]),
        0x100..=0xffff => put(0xcd, &(value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(0xce, &(value as u32).to_be_bytes()),
        0x1_0000_0000.. => put(0xcf, &(value as u64).to_be_bytes()),
        -32..=-1 => out.push(value as i8 as u8),
        -128..=-33 => put(0xd0, &[value as i8 as u8]),
        -0x8000..=-129 => put(0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put(0xd2, &(value as i32).to_be_bytes()),
        _ => put(0xd3, &value.to_be_bytes()),
    }
}

/// The length of a table that is a list: keys 1 to n and no other.
fn list_length(table: &Table) -> Answer<Option<usize>> {
    let (mut count, mut most) = (0usize, 0usize);
    let mut is_list = true;
    table.for_each(|key: Value, _: Value| {
        let index = match key {
            Value::Integer(n) if n > 0 => Some(n as usize),
            Value::Number(n) if n > 0.0 && n.fract() == 0.0 && n <= 4e9 => Some(n as usize),
            _ => None,
        };
        count += 1;
        match index {
            Some(index) => most = most.max(index),
            None => is_list = false,
        }
        Ok(())
    })?;
    Ok((is_list && count == most).then_some(count))
}

fn write_table(
    arguments: &Arguments<'_>,
    table: &Table,
    depth: u32,
    out: &mut Vec<u8>,
) -> Answer<()> {
    if let Some(n) = list_length(table)? {
        header(n, 0x90, 15, [None, Some(0xdc), Some(0xdd)], out);
        for index in 1..=n {
            write(arguments, &table.raw_get(index)?, depth + 1, out)?;
        }
        return Ok(());
    }
    // Walked twice: values that are all held at once would need a place each in Lua's stack.
    let mut n = 0;
    table.for_each(|_: Value, _: Value| {
        n += 1;
        Ok(())
    })?;
    header(n, 0x80, 15, [None, Some(0xde), Some(0xdf)], out);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(arguments, &key, depth + 1, out)?;
        write(arguments, &value, depth + 1, out)?;
    }
    Ok(())
}

fn pack(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() == 0 {
        return Err(arguments.bad(0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for n in 1..=arguments.len() {
        write(arguments, arguments.get(n), 0, &mut out)?;
    }
    arguments.answer(arguments.lua.create_string(&out)?)
}

struct Input<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl Input<'_> {
    fn take(&mut self, n: usize) -> Answer<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| Raise::text(MISSING))?;
        self.rest = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, n: usize) -> Answer<u64> {
        Ok(self.take(n)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, n: usize) -> Answer<f64> {
        let unused = 64 - 8 * n as u32;
        Ok(((self.unsigned(n)? << unused) as i64 >> unused) as f64)
    }

    fn text(&mut self, n: usize) -> Answer<Value> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(n)?)?))
    }

    fn list(&mut self, n: usize, depth: u32) -> Answer<Value> {
        let table = self.lua.create_table()?;
        for index in 1..=n {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, n: usize, depth: u32) -> Answer<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..n {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(Raise::text(BAD)),
                Value::Number(n) if n.is_nan() => return Err(Raise::text(BAD)),
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }

    fn value(&mut self, depth: u32) -> Answer<Value> {
        if depth > MOST_READ_DEPTH {
            return Err(Raise::text(BAD));
        }
        let kind = self.unsigned(1)? as u8;
        Ok(match kind {
            0..=0x7f => Value::Number(f64::from(kind)),
            0xe0..=0xff => Value::Number(f64::from(kind as i8)),
            0x80..=0x8f => self.map(usize::from(kind & 15), depth)?,
            0x90..=0x9f => self.list(usize::from(kind & 15), depth)?,
            0xa0..=0xbf => self.text(usize::from(kind & 31))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc => Value::Number(self.unsigned(1)? as f64),
            0xcd => Value::Number(self.unsigned(2)? as f64),
            0xce => Value::Number(self.unsigned(4)? as f64),
            0xcf => Value::Number(self.unsigned(8)? as f64),
            0xd0 => Value::Number(self.signed(1)?),
            0xd1 => Value::Number(self.signed(2)?),
            0xd2 => Value::Number(self.signed(4)?),
            0xd3 => Value::Number(self.signed(8)?),
            0xc4 | 0xd9 => {
                let n = self.unsigned(1)? as usize;
                self.text(n)?
            }
            0xc5 | 0xda => {
                let n = self.unsigned(2)? as usize;
                self.text(n)?
            }
            0xc6 | 0xdb => {
                let n = self.unsigned(4)? as usize;
                self.text(n)?
            }
            0xdc => {
                let n = self.unsigned(2)? as usize;
                self.list(n, depth)?
            }
            0xdd => {
                let n = self.unsigned(4)? as usize;
                self.list(n, depth)?
            }
            0xde => {
                let n = self.unsigned(2)? as usize;
                self.map(n, depth)?
            }
            0xdf => {
                let n = self.unsigned(4)? as usize;
                self.map(n, depth)?
            }
            _ => return Err(Raise::text(BAD)),
        })
    }
}

/// Reads so many values from an offset on; with `tells` says first where it ended (-1: at the end).
fn read(arguments: &Arguments<'_>, most: i64, offset: i64, tells: bool) -> Answer {
    let text = arguments.text(1)?;
    let text = text.as_bytes();
    if most < 0 || offset < 0 {
        return Err(Raise::text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            text.len()
        )));
    }
    let Some(rest) = text.get(offset as usize..) else {
        return Err(Raise::text(format!(
            "Start offset {offset} greater than input length {}.",
            text.len()
        )));
    };
    let most = if most == 0 { i64::MAX } else { most };
    let mut input = Input { lua: arguments.lua, rest };
    let mut values = MultiValue::new();
    while !input.rest.is_empty() && (values.len() as i64) < most {
        values.push_back(input.value(0)?);
        if values.len() > 7000 {
            return Err(Raise::text("Too many objects in input."));
        }
    }
    if tells {
        let at = text.len() - input.rest.len();
        let at = if input.rest.is_empty() { -1.0 } else { at as f64 };
        values.push_front(Value::Number(at));
    }
    Ok(values)
}

pub(crate) fn library(lua: &Lua, control: &Rc<Control>) -> Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", function(lua, control, "pack", pack)?)?;
    let unpack = |a: &Arguments<'_>| read(a, 0, 0, false);
    table.raw_set("unpack", function(lua, control, "unpack", unpack)?)?;
    let one = |a: &Arguments<'_>| read(a, 1, a.integer_or(2, 0)?, true);
    table.raw_set("unpack_one", function(lua, control, "unpack_one", one)?)?;
    let limit = |a: &Arguments<'_>| read(a, a.integer(2)?, a.integer_or(3, 0)?, true);
    table.raw_set("unpack_limit", function(lua, control, "unpack_limit", limit)?)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Written anew for ForgeKV")?;
    table.raw_set("_DESCRIPTION", "MessagePack for Lua")?;
    Ok(table)
}
