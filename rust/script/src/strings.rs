//! Functions on strings and lists that the stock library has in C, where they cannot be interrupted.

use crate::define::{Answer, Arguments, Raise};
use crate::pattern::{Capture, Matcher, Wrong};
use mlua::{MultiValue, Value};

/// No string is made longer than this.
pub(crate) const LONGEST: usize = 512 << 20;

impl From<Wrong> for Raise {
    fn from(wrong: Wrong) -> Raise {
        match wrong {
            Wrong::Pattern(text) => Raise::text(text),
            Wrong::Stop => Raise::Stop,
        }
    }
}

/// Where to begin, as Lua counts: from 1, or from the end.
fn start(at: i64, len: usize) -> usize {
    let at = if at < 0 { at + len as i64 + 1 } else { at };
    (at.max(1) - 1) as usize
}

fn push_captures(
    arguments: &Arguments<'_>,
    subject: &[u8],
    matcher: &Matcher<'_>,
    found: (usize, usize),
    at_least: usize,
    values: &mut MultiValue,
) -> Answer<()> {
    for index in 0..matcher.captures().max(at_least) {
        values.push_back(match matcher.capture(index, found.0, found.1)? {
            Capture::Text(from, to) => {
                let text = subject.get(from..to).unwrap_or_default();
                Value::String(arguments.lua.create_string(text)?)
            }
            Capture::Position(at) => Value::Number(at as f64),
        });
    }
    Ok(())
}

/// `string.find` and `string.match`.
pub(crate) fn find(arguments: &Arguments<'_>, positions: bool) -> Answer {
    let (subject, pattern) = (arguments.text(1)?, arguments.text(2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let (subject, pattern): (&[u8], &[u8]) = (&subject, &pattern);
    let from = start(arguments.integer_or(3, 1)?, subject.len());
    let from = match positions {
        true if from > subject.len() && !pattern.is_empty() => return arguments.answer(Value::Nil),
        _ => from.min(subject.len()),
    };
    let is_plain = !matches!(arguments.get(4), Value::Nil | Value::Boolean(false));
    let has_specials = pattern.iter().any(|b| b"^$*+?.([%-".contains(b));
    if positions && (is_plain || !has_specials) {
        let rest = subject.get(from..).unwrap_or_default();
        return match memchr::memmem::find(rest, pattern) {
            Some(at) => {
                let begin = from + at;
                arguments.answer(((begin + 1) as f64, (begin + pattern.len()) as f64))
            }
            None => arguments.answer(Value::Nil),
        };
    }
    let go_on = || arguments.control.tick().is_ok();
    let anchored = pattern.first() == Some(&b'^');
    let mut matcher =
        Matcher::new(subject, pattern.get(usize::from(anchored)..).unwrap_or_default(), &go_on);
    let found = match anchored {
        true => matcher.at(from)?.map(|end| (from, end)),
        false => matcher.search(from)?,
    };
    let Some(found) = found else { return arguments.answer(Value::Nil) };
    let mut values = MultiValue::new();
    if positions {
        values.push_back(Value::Number((found.0 + 1) as f64));
        values.push_back(Value::Number(found.1 as f64));
    }
    push_captures(arguments, subject, &matcher, found, usize::from(!positions), &mut values)?;
    Ok(values)
}

/// The next match from a position on: begin, end and captures. With a fourth argument that is true the
/// pattern is anchored there.
pub(crate) fn step(arguments: &Arguments<'_>) -> Answer {
    let (subject, pattern) = (arguments.text(1)?, arguments.text(2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let (subject, pattern): (&[u8], &[u8]) = (&subject, &pattern);
    let from = (arguments.integer(3)?.max(1) - 1) as usize;
    if from > subject.len() {
        return arguments.answer(Value::Nil);
    }
    let anchored = matches!(arguments.get(4), Value::Boolean(true));
    let go_on = || arguments.control.tick().is_ok();
    let mut matcher =
        Matcher::new(subject, pattern.get(usize::from(anchored)..).unwrap_or_default(), &go_on);
    let found = match anchored {
        true => matcher.at(from)?.map(|end| (from, end)),
        false => matcher.search(from)?,
    };
    let Some(found) = found else { return arguments.answer(Value::Nil) };
    let mut values = MultiValue::new();
    values.push_back(Value::Number((found.0 + 1) as f64));
    values.push_back(Value::Number(found.1 as f64));
    push_captures(arguments, subject, &matcher, found, 1, &mut values)?;
    Ok(values)
}

/// `string.gsub` with a string to put in.
pub(crate) fn gsub(arguments: &Arguments<'_>) -> Answer {
    let (subject, pattern, with) = (arguments.text(1)?, arguments.text(2)?, arguments.text(3)?);
    let (subject, pattern, with) = (subject.as_bytes(), pattern.as_bytes(), with.as_bytes());
    let (subject, pattern, with): (&[u8], &[u8], &[u8]) = (&subject, &pattern, &with);
    let most = arguments.integer_or(4, i64::MAX)?;
    let anchored = pattern.first() == Some(&b'^');
    let go_on = || arguments.control.tick().is_ok();
    let mut matcher =
        Matcher::new(subject, pattern.get(usize::from(anchored)..).unwrap_or_default(), &go_on);
    let mut out = Vec::new();
    let (mut at, mut count) = (0, 0);
    while count < most {
        let end = matcher.at(at)?;
        if let Some(end) = end {
            count += 1;
            put_in(subject, with, &matcher, (at, end), &mut out)?;
            if out.len() > LONGEST {
                return Err(Raise::text("resulting string too large"));
            }
        }
        match end {
            Some(end) if end > at => at = end,
            _ => match subject.get(at) {
                Some(&byte) => {
                    out.push(byte);
                    at += 1;
                }
                None => break,
            },
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(subject.get(at..).unwrap_or_default());
    arguments.answer((arguments.lua.create_string(&out)?, count as f64))
}

fn put_in(
    subject: &[u8],
    with: &[u8],
    matcher: &Matcher<'_>,
    found: (usize, usize),
    out: &mut Vec<u8>,
) -> Answer<()> {
    let mut bytes = with.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => out.extend_from_slice(subject.get(found.0..found.1).unwrap_or_default()),
            Some(&digit @ b'1'..=b'9') => {
                match matcher.capture(usize::from(digit - b'1'), found.0, found.1)? {
                    Capture::Text(from, to) => {
                        out.extend_from_slice(subject.get(from..to).unwrap_or_default());
                    }
                    Capture::Position(at) => crate::number::integer(at as i64, out),
                }
            }
            Some(&other) => out.push(other),
            None => out.push(0),
        }
    }
    Ok(())
}

/// `string.rep`.
pub(crate) fn rep(arguments: &Arguments<'_>) -> Answer {
    let (text, n) = (arguments.text(1)?, arguments.integer(2)?);
    let text = text.as_bytes();
    let n = usize::try_from(n).unwrap_or(0);
    if text.len().saturating_mul(n) > LONGEST {
        return Err(Raise::text("resulting string too large"));
    }
    let n = if text.is_empty() { 0 } else { n };
    arguments.answer(arguments.lua.create_string(text.repeat(n))?)
}

/// Sorts a list of numbers, or one of strings, in place; false when it is neither.
pub(crate) fn sort(arguments: &Arguments<'_>) -> Answer {
    let list = arguments.table(1)?;
    if list.metatable().is_some() {
        return arguments.answer(false);
    }
    let n = list.raw_len();
    let first: Value = list.raw_get(1)?;
    match first {
        Value::Number(_) | Value::Integer(_) => {
            let mut numbers = Vec::with_capacity(n.min(1 << 16));
            for index in 1..=n {
                match list.raw_get::<Value>(index)? {
                    Value::Number(value) => numbers.push(value),
                    Value::Integer(value) => numbers.push(value as f64),
                    _ => return arguments.answer(false),
                }
            }
            numbers.sort_by(f64::total_cmp);
            for (index, value) in numbers.into_iter().enumerate() {
                list.raw_set(index + 1, value)?;
            }
        }
        Value::String(_) => {
            let mut texts = Vec::with_capacity(n.min(1 << 16));
            for index in 1..=n {
                match list.raw_get::<Value>(index)? {
                    Value::String(text) => texts.push(text.as_bytes().to_vec()),
                    _ => return arguments.answer(false),
                }
            }
            texts.sort();
            for (index, text) in texts.into_iter().enumerate() {
                list.raw_set(index + 1, arguments.lua.create_string(text)?)?;
            }
        }
        _ => return arguments.answer(n == 0),
    }
    arguments.answer(true)
}
