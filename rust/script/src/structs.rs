//! `struct`: values packed as C would lay them out.

use crate::define::{Answer, Arguments, Raise, function};
use crate::raw::Control;
use crate::strings::LONGEST;
use mlua::{Lua, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// Integers may be so wide.
const MOST_INTEGER: usize = 32;
/// What `!` alone aligns to.
const NATIVE_ALIGN: usize = 8;

/// Reads a format, piece by piece.
struct Format<'a> {
    text: &'a [u8],
    is_little: bool,
    align: usize,
}

/// One piece: what it is, how wide, and the bytes to leave out before it.
struct Item {
    kind: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        Format { text, is_little: true, align: 1 }
    }

    fn digits(&mut self, default: usize) -> Answer<usize> {
        let len = self.text.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.text.split_at(len);
        self.text = rest;
        if len == 0 {
            return Ok(default);
        }
        let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<usize>().ok());
        number
            .filter(|&n| n <= i32::MAX as usize)
            .ok_or_else(|| Raise::text("integral size overflow"))
    }

    fn next(&mut self) -> Answer<Option<Item>> {
        while let Some((&kind, rest)) = self.text.split_first() {
            self.text = rest;
            let size = match kind {
                b' ' => continue,
                b'<' => {
                    self.is_little = true;
                    continue;
                }
                b'>' => {
                    self.is_little = false;
                    continue;
                }
                b'!' => {
                    let align = self.digits(NATIVE_ALIGN)?;
                    if !align.is_power_of_two() {
                        return Err(Raise::text(format!("alignment {align} is not a power of 2")));
                    }
                    self.align = align;
                    continue;
                }
                b'B' | b'b' | b'x' => 1,
                b'H' | b'h' => 2,
                b'L' | b'l' | b'T' | b'd' => 8,
                b'f' => 4,
                b's' => 0,
                b'c' => self.digits(1)?,
                b'i' | b'I' => {
                    let size = self.digits(4)?;
                    if size > MOST_INTEGER {
                        return Err(Raise::text(format!(
                            "integral size {size} is larger than limit of {MOST_INTEGER}"
                        )));
                    }
                    size
                }
                other => {
                    return Err(Raise::text(format!(
                        "invalid format option '{}'",
                        char::from(other)
                    )));
                }
            };
            return Ok(Some(Item { kind, size }));
        }
        Ok(None)
    }

    /// The bytes left out before an item at `at`.
    fn padding(&self, item: &Item, at: usize) -> usize {
        let size = item.size.min(self.align);
        if matches!(item.kind, b'c' | b's') || size <= 1 {
            return 0;
        }
        (size - (at & (size - 1))) & (size - 1)
    }
}

fn pack(arguments: &Arguments<'_>) -> Answer {
    let text = arguments.text(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut out: Vec<u8> = Vec::new();
    let mut n = 1;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(&item, out.len()), 0);
        match item.kind {
            b'x' => out.push(0),
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                n += 1;
                let value = arguments.number(n)?;
                let value = if value < 0.0 { value as i64 as u64 } else { value as u64 };
                let fill = 0;
                let mut bytes = [fill; MOST_INTEGER];
                for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()) {
                    *to = from;
                }
                let bytes = bytes.get_mut(..item.size).unwrap_or_default();
                if !format.is_little {
                    bytes.reverse();
                }
                out.extend_from_slice(bytes);
            }
            b'f' | b'd' => {
                n += 1;
                let value = arguments.number(n)?;
                let mut bytes = match item.kind {
                    b'f' => (value as f32).to_le_bytes().to_vec(),
                    _ => value.to_le_bytes().to_vec(),
                };
                if !format.is_little {
                    bytes.reverse();
                }
                out.extend_from_slice(&bytes);
            }
            _ => {
                n += 1;
                let value = arguments.text(n)?;
                let value = value.as_bytes();
                let size = if item.size == 0 { value.len() } else { item.size };
                let value =
                    value.get(..size).ok_or_else(|| arguments.bad(n, "string too short"))?;
                out.extend_from_slice(value);
                if item.kind == b's' {
                    out.push(0);
                }
            }
        }
        if out.len() > LONGEST {
            return Err(Raise::text("resulting string too large"));
        }
    }
    arguments.answer(arguments.lua.create_string(&out)?)
}

fn integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let mut value: u64 = 0;
    let mut put = |byte: &u8| value = value << 8 | u64::from(*byte);
    match is_little {
        true => bytes.iter().rev().for_each(&mut put),
        false => bytes.iter().for_each(&mut put),
    }
    if !is_signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    match unused {
        64 => 0.0,
        unused => ((value << unused) as i64 >> unused) as f64,
    }
}

fn unpack(arguments: &Arguments<'_>) -> Answer {
    let (text, data) = (arguments.text(1)?, arguments.text(2)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let at = arguments.integer_or(3, 1)?;
    if at < 1 {
        return Err(arguments.bad(3, "offset must be 1 or greater"));
    }
    let mut at = (at - 1) as usize;
    let mut format = Format::new(&text);
    let mut values = MultiValue::new();
    while let Some(item) = format.next()? {
        at = at.saturating_add(format.padding(&item, at));
        let rest = data.get(at..).filter(|rest| item.size <= rest.len());
        let rest = rest.ok_or_else(|| arguments.bad(2, "data string too short"))?;
        let bytes = rest.get(..item.size).unwrap_or_default();
        at += item.size;
        match item.kind {
            b'x' => {}
            b'b' | b'h' | b'l' | b'i' => {
                values.push_back(Value::Number(integer(bytes, format.is_little, true)));
            }
            b'B' | b'H' | b'L' | b'T' | b'I' => {
                values.push_back(Value::Number(integer(bytes, format.is_little, false)));
            }
            b'f' | b'd' => {
                let mut bytes = bytes.to_vec();
                if !format.is_little {
                    bytes.reverse();
                }
                let wide = <[u8; 8]>::try_from(bytes.as_slice()).map(f64::from_le_bytes);
                let narrow = <[u8; 4]>::try_from(bytes.as_slice()).map(f32::from_le_bytes);
                values.push_back(Value::Number(wide.or(narrow.map(f64::from)).unwrap_or(0.0)));
            }
            b'c' => {
                let bytes = if item.size == 0 {
                    // The last number read says how many.
                    let size = match values.pop_back() {
                        Some(Value::Number(n)) => n,
                        _ => return Err(Raise::text("format 'c0' needs a previous size")),
                    };
                    let bytes = (size >= 0.0).then(|| rest.get(..size as usize)).flatten();
                    let bytes = bytes.ok_or_else(|| arguments.bad(2, "data string too short"))?;
                    at += bytes.len();
                    bytes
                } else {
                    bytes
                };
                values.push_back(Value::String(arguments.lua.create_string(bytes)?));
            }
            _ => {
                let end = memchr::memchr(0, rest)
                    .ok_or_else(|| Raise::text("unfinished string in data"))?;
                let bytes = rest.get(..end).unwrap_or_default();
                at += end + 1;
                values.push_back(Value::String(arguments.lua.create_string(bytes)?));
            }
        }
        if values.len() > 7000 {
            return Err(Raise::text("too many results"));
        }
    }
    values.push_back(Value::Number((at + 1) as f64));
    Ok(values)
}

fn size(arguments: &Arguments<'_>) -> Answer {
    let text = arguments.text(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut total: usize = 0;
    while let Some(item) = format.next()? {
        total = total.saturating_add(format.padding(&item, total));
        match item.kind {
            b's' => return Err(arguments.bad(1, "variable-size format in 'struct.size'")),
            b'c' if item.size == 0 => {
                return Err(arguments.bad(1, "variable-length format in 'struct.size'"));
            }
            _ => total = total.saturating_add(item.size),
        }
        if total > i32::MAX as usize {
            return Err(Raise::text("integral size overflow"));
        }
    }
    arguments.answer(total as f64)
}

pub(crate) fn library(lua: &Lua, control: &Rc<Control>) -> Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", function(lua, control, "pack", pack)?)?;
    table.raw_set("unpack", function(lua, control, "unpack", unpack)?)?;
    table.raw_set("size", function(lua, control, "size", size)?)?;
    Ok(table)
}
