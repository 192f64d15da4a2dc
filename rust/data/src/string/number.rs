//! Strings as numbers: INCR and its kin. Integers count in 64 bits, floats in the C compiler's long
//! double; a value stays text in both cases.

use super::{Before, Expiry, TEXT, Value, find_string, put};
use crate::error::{Error, NOT_A_FLOAT, NOT_AN_INTEGER, OVERFLOW, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Write, event_class};
use forgekv_base::longdouble::{FloatError, LongDouble, add};
use forgekv_base::number::parse_i64;
use std::cmp::Ordering;

const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";

/// INCRBY: the new value.
///
/// # Errors
/// `WrongType`, not an integer, overflow, or `Again`.
pub fn incr_by(w: &mut Write<'_>, key: Key<'_>, by: i64) -> Result<i64> {
    let (before, old) = integer(w, key)?;
    let sum = old.checked_add(by).ok_or(OVERFLOW)?;
    put_integer(w, key, sum, before.expire_ms(Expiry::Keep), before);
    w.event(event_class::STRING, "incrby", key);
    Ok(sum)
}

fn integer(w: &mut Write<'_>, key: Key<'_>) -> Result<(Before, i64)> {
    let (before, header) = find_string(w, key)?;
    let old = match header {
        None => 0,
        Some(header) if header.is_exploded() => return Err(NOT_AN_INTEGER),
        Some(header) => parse_i64(header.body).ok_or(NOT_AN_INTEGER)?,
    };
    Ok((before, old))
}

fn put_integer(
    w: &mut Write<'_>,
    key: Key<'_>,
    value: i64,
    expire_ms: Option<u64>,
    before: Before,
) {
    let mut digits = itoa::Buffer::new();
    let body = digits.format(value).as_bytes();
    let encoding = encoding::PACKED;
    put(w, key, Header { kind: Kind::String, encoding, expire_ms, body }, before);
}

/// INCRBYFLOAT: the new value's text.
///
/// # Errors
/// `WrongType`, not a float, a result that is not finite, or `Again`.
pub fn incr_by_float(w: &mut Write<'_>, key: Key<'_>, by: &[u8]) -> Result<Vec<u8>> {
    let (before, header) = find_string(w, key)?;
    let sum = match header.map(Value::of).transpose()? {
        None => add(b"0", by),
        Some(Value::Whole(old)) => add(old, by),
        Some(Value::Chunked(_)) => Err(FloatError::NotAFloat),
    };
    let sum = sum.map_err(|e| match e {
        FloatError::NotAFloat => NOT_A_FLOAT,
        FloatError::NanOrInfinity => Error::reply(NOT_FINITE),
    })?;
    put_text(w, key, &sum, before.expire_ms(Expiry::Keep), before);
    w.event(event_class::STRING, "incrbyfloat", key);
    Ok(sum)
}

fn put_text(w: &mut Write<'_>, key: Key<'_>, text: &[u8], expire_ms: Option<u64>, before: Before) {
    put(w, key, Header { kind: Kind::String, encoding: TEXT, expire_ms, body: text }, before);
}

/// By how much INCREX counts, and between which bounds the result has to lie.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// In integers.
    Int {
        /// The increment.
        by: i64,
        /// The least result.
        low: i64,
        /// The largest result.
        high: i64,
    },
    /// In floats.
    Float {
        /// The increment.
        by: LongDouble,
        /// The least result.
        low: LongDouble,
        /// The largest result.
        high: LongDouble,
    },
}

/// What INCREX is asked for.
#[derive(Debug, Clone, Copy)]
pub struct IncrEx {
    /// How it counts.
    pub amount: Amount,
    /// A result out of bounds is moved to the bound, instead of nothing happening.
    pub saturate: bool,
    /// What becomes of the key's expiry.
    pub expiry: Expiry,
    /// A key that has an expiry keeps it (ENX).
    pub only_if_none: bool,
}

/// A result of INCREX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// In integers.
    Int(i64),
    /// In floats, as text.
    Float(Vec<u8>),
}

/// INCREX: the value afterwards and the increment that was applied, which is 0 when the result would be
/// out of bounds and nothing happened.
///
/// # Errors
/// `WrongType`, not a number, an increment that cannot be told, or `Again`.
pub fn incr_ex(w: &mut Write<'_>, key: Key<'_>, ask: &IncrEx) -> Result<(Number, Number)> {
    let (before, value, applied) = match ask.amount {
        Amount::Int { by, low, high } => {
            let (before, old) = integer(w, key)?;
            let sum = i128::from(old) + i128::from(by);
            let value = sum.clamp(i128::from(low), i128::from(high));
            if value != sum && !ask.saturate {
                return Ok((Number::Int(old), Number::Int(0)));
            }
            let narrow = |n: i128| {
                i64::try_from(n).map_err(|_| Error::reply("ERR applied increment would overflow"))
            };
            let (value, applied) = (narrow(value)?, narrow(value - i128::from(old))?);
            (before, Number::Int(value), Number::Int(applied))
        }
        Amount::Float { by, low, high } => {
            let (before, old) = float(w, key)?;
            let sum = old.add(&by);
            let bound = match (sum.compare(&low), sum.compare(&high)) {
                (Some(Ordering::Less), _) => Some(low),
                (_, Some(Ordering::Greater)) => Some(high),
                _ => None,
            };
            match bound {
                Some(_) if !ask.saturate => {
                    return Ok((Number::Float(old.format()), Number::Float(b"0".to_vec())));
                }
                Some(bound) => {
                    let applied = bound.subtract(&old);
                    if applied.is_nan_or_inf() {
                        return Err(Error::reply(NOT_FINITE));
                    }
                    (before, Number::Float(bound.format()), Number::Float(applied.format()))
                }
                // Past an infinite bound, or not a number.
                None if sum.is_nan_or_inf() => return Err(Error::reply(NOT_FINITE)),
                None => (before, Number::Float(sum.format()), Number::Float(by.format())),
            }
        }
    };
    let expiry = if ask.only_if_none && before.expire_ms(Expiry::Keep).is_some() {
        Expiry::Keep
    } else {
        ask.expiry
    };
    if let Expiry::At(ms) = expiry
        && ms <= w.now_ms()
    {
        if before.there {
            w.delete_header(key, before.expire_ms);
            w.event(event_class::GENERIC, "del", key);
        }
        return Ok((value, applied));
    }
    let expire_ms = before.expire_ms(expiry);
    match &value {
        Number::Int(value) => {
            put_integer(w, key, *value, expire_ms, before);
            w.event(event_class::STRING, "incrby", key);
        }
        Number::Float(text) => {
            put_text(w, key, text, expire_ms, before);
            w.event(event_class::STRING, "incrbyfloat", key);
        }
    }
    match expiry {
        Expiry::At(_) => w.notify(event_class::GENERIC, "expire", key),
        Expiry::Clear if before.expire_ms(Expiry::Keep).is_some() => {
            w.notify(event_class::GENERIC, "persist", key);
        }
        Expiry::Keep | Expiry::Clear => {}
    }
    Ok((value, applied))
}

fn float(w: &mut Write<'_>, key: Key<'_>) -> Result<(Before, LongDouble)> {
    let (before, header) = find_string(w, key)?;
    let old = match header.map(Value::of).transpose()? {
        None => LongDouble::ZERO,
        Some(Value::Whole(old)) => LongDouble::parse(old).ok_or(NOT_A_FLOAT)?,
        Some(Value::Chunked(_)) => return Err(NOT_A_FLOAT),
    };
    if old.is_nan_or_inf() {
        return Err(Error::reply("ERR value cannot be Infinity"));
    }
    Ok((before, old))
}
