//! INCREX: an increment with bounds, and the key's expiry with it.

use super::options::Moment;
use super::{Args, Error, Expiry, Result, SYNTAX as SYNTAX_ERROR, Write};
use forgekv_base::longdouble::LongDouble;
use forgekv_base::number;
use forgekv_data::string::{self, Amount, IncrEx, Number};
use forgekv_resp::Reply;
use std::cmp::Ordering;

pub(super) const SYNTAX: &str = "key [BYFLOAT increment:double | BYINT increment] [LBOUND lowerbound] \
     [UBOUND upperbound] [SATURATE] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
     PXAT unix-time-milliseconds | PERSIST] [ENX]";

const CROSSED: &str = "ERR LBOUND can't be greater than UBOUND";

/// The options as they were written. Each may be said once.
#[derive(Default)]
struct Words<'a> {
    by_int: Option<&'a [u8]>,
    by_float: Option<&'a [u8]>,
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
    saturate: bool,
    moment: Moment<'a>,
    persist: bool,
    only_if_none: bool,
}

pub(super) fn increx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let words = words(args)?;
    let ask = IncrEx {
        amount: amount(&words)?,
        saturate: words.saturate,
        expiry: match words.moment.at(db.now_ms(), args.name())? {
            Some(at) => Expiry::At(at),
            None if words.persist => Expiry::Clear,
            None => Expiry::Keep,
        },
        only_if_none: words.only_if_none,
    };
    let (value, applied) = string::incr_ex(db, key, &ask)?;
    reply.array(2);
    for number in [value, applied] {
        match number {
            Number::Int(n) => reply.int(n),
            // The text of a long double, which has more digits than a double.
            Number::Float(text) if reply.is_resp3() => {
                reply.raw(b",");
                reply.raw(&text);
                reply.raw(b"\r\n");
            }
            Number::Float(text) => reply.bulk(&text),
        }
    }
    Ok(())
}

fn words<'a>(args: &mut Args<'a>) -> Result<Words<'a>> {
    let mut words = Words::default();
    while !args.is_empty() {
        if args.flag("BYINT") {
            once(&mut words.by_int, args)?;
        } else if args.flag("BYFLOAT") {
            once(&mut words.by_float, args)?;
        } else if args.flag("LBOUND") {
            once(&mut words.low, args)?;
        } else if args.flag("UBOUND") {
            once(&mut words.high, args)?;
        } else if args.flag("SATURATE") {
            said(&mut words.saturate)?;
        } else if args.flag("PERSIST") {
            said(&mut words.persist)?;
        } else if args.flag("ENX") {
            said(&mut words.only_if_none)?;
        } else if words.moment.is_given() || !words.moment.read(args)? {
            return Err(SYNTAX_ERROR);
        }
    }
    let expires = words.moment.is_given();
    if (words.by_int.is_some() && words.by_float.is_some())
        || (words.persist && (expires || words.only_if_none))
    {
        return Err(SYNTAX_ERROR);
    }
    if words.only_if_none && !expires {
        return Err(Error::reply("ERR ENX flag requires an expiration"));
    }
    Ok(words)
}

fn once<'a>(word: &mut Option<&'a [u8]>, args: &mut Args<'a>) -> Result<()> {
    match word.replace(args.next()?) {
        None => Ok(()),
        Some(_) => Err(SYNTAX_ERROR),
    }
}

fn said(flag: &mut bool) -> Result<()> {
    if std::mem::replace(flag, true) { Err(SYNTAX_ERROR) } else { Ok(()) }
}

fn amount(words: &Words<'_>) -> Result<Amount> {
    let Some(by) = words.by_float else {
        let by = integer(words.by_int, 1, "Increment")?;
        let low = integer(words.low, i64::MIN, "LBOUND")?;
        let high = integer(words.high, i64::MAX, "UBOUND")?;
        return if low > high {
            Err(Error::reply(CROSSED))
        } else {
            Ok(Amount::Int { by, low, high })
        };
    };
    let largest = LongDouble::largest();
    let by = float(Some(by), LongDouble::ZERO, "Increment")?;
    if by.is_nan_or_inf() {
        return Err(Error::reply("ERR BYFLOAT increment cannot be Infinity"));
    }
    let low = float(words.low, LongDouble::ZERO.subtract(&largest), "LBOUND")?;
    let high = float(words.high, largest, "UBOUND")?;
    if low.compare(&high) == Some(Ordering::Greater) {
        return Err(Error::reply(CROSSED));
    }
    Ok(Amount::Float { by, low, high })
}

fn integer(word: Option<&[u8]>, otherwise: i64, what: &str) -> Result<i64> {
    word.map_or(Some(otherwise), number::parse_i64)
        .ok_or_else(|| Error::reply(format!("ERR {what} is not an integer or out of range")))
}

fn float(word: Option<&[u8]>, otherwise: LongDouble, what: &str) -> Result<LongDouble> {
    word.map_or(Some(otherwise), LongDouble::parse)
        .ok_or_else(|| Error::reply(format!("ERR {what} is not a valid float")))
}
