//! `bit`: operations on 32 bits.

use crate::define::{Answer, Arguments, function};
use crate::raw::Control;
use mlua::{Lua, Result, Table};
use std::rc::Rc;

/// A number modulo 2^32, as a signed integer.
fn bits(arguments: &Arguments<'_>, n: usize) -> Answer<i32> {
    let value = arguments.number(n)?;
    if !value.is_finite() {
        return Ok(0);
    }
    Ok(value.round_ties_even().rem_euclid(4_294_967_296.0) as u32 as i32)
}

fn fold(arguments: &Arguments<'_>, f: fn(i32, i32) -> i32) -> Answer {
    let mut sum = bits(arguments, 1)?;
    for n in 2..=arguments.len() {
        sum = f(sum, bits(arguments, n)?);
    }
    arguments.answer(f64::from(sum))
}

fn shift(arguments: &Arguments<'_>, f: fn(i32, u32) -> i32) -> Answer {
    let by = bits(arguments, 2)? as u32 & 31;
    arguments.answer(f64::from(f(bits(arguments, 1)?, by)))
}

fn to_hex(arguments: &Arguments<'_>) -> Answer {
    let value = bits(arguments, 1)?;
    let wanted = match arguments.len() {
        0 | 1 => 8,
        _ => bits(arguments, 2)?,
    };
    // Negative: capital letters.
    let digits = wanted.unsigned_abs().min(8) as usize;
    let text = if wanted < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    arguments.answer(text.get(8 - digits..).unwrap_or_default())
}

pub(crate) fn library(lua: &Lua, control: &Rc<Control>) -> Result<Table> {
    let table = lua.create_table()?;
    let add = |name: &'static str, f: fn(&Arguments<'_>) -> Answer| {
        table.raw_set(name, function(lua, control, name, f)?)
    };
    add("tobit", |a| a.answer(f64::from(bits(a, 1)?)))?;
    add("bnot", |a| a.answer(f64::from(!bits(a, 1)?)))?;
    add("bswap", |a| a.answer(f64::from(bits(a, 1)?.swap_bytes())))?;
    add("band", |a| fold(a, |x, y| x & y))?;
    add("bor", |a| fold(a, |x, y| x | y))?;
    add("bxor", |a| fold(a, |x, y| x ^ y))?;
    add("lshift", |a| shift(a, |x, by| x << by))?;
    add("rshift", |a| shift(a, |x, by| (x as u32 >> by) as i32))?;
    add("arshift", |a| shift(a, |x, by| x >> by))?;
    add("rol", |a| shift(a, i32::rotate_left))?;
    add("ror", |a| shift(a, i32::rotate_right))?;
    add("tohex", to_hex)?;
    Ok(table)
}
