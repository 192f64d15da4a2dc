//! Options that several string commands take: when a key expires, and what must hold of its value.

use super::{Args, Condition, Error, NOT_AN_INTEGER, Result, SYNTAX};
use forgekv_base::number;

/// How a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Milliseconds,
    /// EXAT: seconds since 1970.
    UnixSeconds,
    /// PXAT: milliseconds since 1970.
    UnixMilliseconds,
}

impl Unit {
    /// The moment that `text` names, in Unix milliseconds.
    ///
    /// # Errors
    /// Not an integer; not above zero, or past the end of time.
    pub(super) fn at(self, text: &[u8], now_ms: u64, command: &str) -> Result<u64> {
        let n = number::parse_i64(text).ok_or(NOT_AN_INTEGER)?;
        self.moment(n, now_ms)
            .ok_or_else(|| Error::reply(format!("ERR invalid expire time in '{command}' command")))
    }

    fn moment(self, n: i64, now_ms: u64) -> Option<u64> {
        if n <= 0 {
            return None;
        }
        let ms = match self {
            Unit::Seconds | Unit::UnixSeconds => n.checked_mul(1000)?,
            Unit::Milliseconds | Unit::UnixMilliseconds => n,
        };
        let from = match self {
            Unit::Seconds | Unit::Milliseconds => i64::try_from(now_ms).ok()?,
            Unit::UnixSeconds | Unit::UnixMilliseconds => 0,
        };
        u64::try_from(ms.checked_add(from)?).ok()
    }
}

/// When a key shall expire, if that was said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment<'a>(Option<(Unit, &'a [u8])>);

impl<'a> Moment<'a> {
    /// Reads EX, PX, EXAT or PXAT with its number, if one stands next. One of them may be said twice; the
    /// last counts.
    ///
    /// # Errors
    /// Two different ones, or nothing behind it.
    pub(super) fn read(&mut self, args: &mut Args<'a>) -> Result<bool> {
        let unit = if args.flag("EX") {
            Unit::Seconds
        } else if args.flag("PX") {
            Unit::Milliseconds
        } else if args.flag("EXAT") {
            Unit::UnixSeconds
        } else if args.flag("PXAT") {
            Unit::UnixMilliseconds
        } else {
            return Ok(false);
        };
        if self.0.is_some_and(|(before, _)| before != unit) {
            return Err(SYNTAX);
        }
        self.0 = Some((unit, args.next()?));
        Ok(true)
    }

    /// Whether one was read.
    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// The moment in Unix milliseconds.
    ///
    /// # Errors
    /// As [`Unit::at`].
    pub(super) fn at(&self, now_ms: u64, command: &str) -> Result<Option<u64>> {
        self.0.map(|(unit, text)| unit.at(text, now_ms, command)).transpose()
    }
}

/// Reads IFEQ, IFNE, IFDEQ or IFDNE with its value, if one stands next.
///
/// # Errors
/// Nothing behind it, or not a digest.
pub(super) fn condition<'a>(args: &mut Args<'a>) -> Result<Option<Condition<'a>>> {
    Ok(Some(if args.flag("IFEQ") {
        Condition::Equal(args.next()?)
    } else if args.flag("IFNE") {
        Condition::NotEqual(args.next()?)
    } else if args.flag("IFDEQ") {
        Condition::DigestEqual(digest(args.next()?)?)
    } else if args.flag("IFDNE") {
        Condition::DigestNotEqual(digest(args.next()?)?)
    } else {
        return Ok(None);
    }))
}

/// A digest as DIGEST writes it: sixteen hexadecimal digits, in any case.
fn digest(text: &[u8]) -> Result<u64> {
    str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| Error::reply("ERR digest must be exactly 16 hexadecimal characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let text = |r: Result<u64>| r.map_err(|e| e.to_string());
        let invalid = Err("ERR invalid expire time in 'set' command".to_owned());
        assert_eq!(text(Unit::Seconds.at(b"10", 5, "set")), Ok(10_005));
        assert_eq!(text(Unit::Milliseconds.at(b"10", 5, "set")), Ok(15));
        assert_eq!(text(Unit::UnixSeconds.at(b"10", 5, "set")), Ok(10_000));
        assert_eq!(text(Unit::UnixMilliseconds.at(b"10", 5, "set")), Ok(10));
        for wrong in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(text(Unit::Seconds.at(wrong.as_bytes(), 5, "set")), invalid, "{wrong}");
        }
        assert_eq!(text(Unit::Milliseconds.at(b"9223372036854775807", 5, "set")), invalid);
        assert!(Unit::UnixMilliseconds.at(b"9223372036854775807", 5, "set").is_ok());
        assert_eq!(
            text(Unit::Seconds.at(b" 1", 5, "set")),
            Err("ERR value is not an integer or out of range".to_owned())
        );
    }

    #[test]
    fn digests() {
        assert_eq!(digest(b"00000000000000Ff").unwrap(), 255);
        for wrong in [&b"ff"[..], b"+0000000000000ff", b"0000000000000000f", b"\xff"] {
            assert!(digest(wrong).is_err());
        }
    }
}
