//! Strings: bytes, and what stands in bytes: numbers, bitmaps, HyperLogLogs.
//!
//! A header of kind `String` holds the value itself, or names the chunks that hold it:
//!
//! | encoding     | body                                              | OBJECT ENCODING              |
//! |--------------|---------------------------------------------------|------------------------------|
//! | 0 `PACKED`   | the value                                         | `int`, `embstr` or `raw`     |
//! | 1 `EXPLODED` | generation u64, length u64, chunk size u32, all LE| `raw`                        |
//! | 2 `RAW`      | the value, once changed in place (APPEND, SETBIT) | `raw`                        |
//! | 3 `TEXT`     | the value, a float's digits (INCRBYFLOAT)         | `embstr` or `raw`            |
//!
//! The last two differ from the first in nothing but the name that Redis would report. Chunks are drawn
//! in [`Chunks`].
//!
//! What must always hold:
//! 1. A plain [`set`] reads nothing: it replaces the header, and with it the claim on everything that
//!    belonged to the old value. The old value's entry in the TTL index is found stale when it fires.
//! 2. Every write puts the header, also one that changed only a chunk: so the headers of a batch name
//!    every key that it changed.
//! 3. No write makes a value longer than `proto-max-bulk-len`.

mod chunks;
mod in_place;
mod lcs;
mod number;

pub use chunks::Chunks;
pub(crate) use in_place::overwrite;
pub use in_place::{replace, store, store_pieces, write_range};
pub use lcs::{Lcs, Match, lcs, lcs_len};
pub use number::{Amount, IncrEx, Number, incr_by, incr_by_float, incr_ex};

use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use forgekv_base::number::parse_i64;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The body is the value, which was changed in place. On disk: do not change.
const RAW: u8 = 2;
/// The body is the value, text even where it reads as an integer. On disk: do not change.
const TEXT: u8 = 3;

/// A longer value that is written whole is kept in chunks.
const WHOLE_MAX: usize = 128 << 10;
/// A longer value that is changed in place is kept in chunks: rewriting it for each SETBIT or APPEND
/// would cost more than looking up a chunk.
const IN_PLACE_MAX: u64 = 8 << 10;
/// The longest value that Redis keeps in one allocation with its object.
const EMBEDDED_MAX: usize = 44;

const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// A string where it lies.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Where to find it.
    Chunked(Chunks),
}

impl<'a> Value<'a> {
    /// The value of a header of kind `String`.
    ///
    /// # Errors
    /// A chunked value's body that cannot be read.
    pub fn of(header: Header<'a>) -> Result<Value<'a>> {
        Ok(match header.encoding {
            encoding::EXPLODED => Value::Chunked(Chunks::decode(&header)?),
            _ => Value::Whole(header.body),
        })
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Value::Whole(bytes) => bytes.len() as u64,
            Value::Chunked(chunks) => chunks.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What becomes of a key's expiry when its value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It stays as it is.
    Keep,
    /// It goes.
    Clear,
    /// The key expires then, in Unix milliseconds.
    At(u64),
}

/// What must hold of the old value for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is none, of whatever type.
    Absent,
    /// There is one, of whatever type.
    Present,
    /// It is equal to these bytes.
    Equal(&'a [u8]),
    /// It is not equal to these bytes, or absent.
    NotEqual(&'a [u8]),
    /// It has this [`digest`].
    DigestEqual(u64),
    /// It has another [`digest`], or is absent.
    DigestNotEqual(u64),
}

/// What a write replaces, as far as it knows.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// The expiry of the header there.
    expire_ms: Option<u64>,
    /// Whether there is a header.
    there: bool,
}

impl Before {
    /// Nobody looked, and nobody wants to know.
    const UNKNOWN: Before = Before { expire_ms: None, there: true };

    /// The expiry as `expiry` says.
    fn expire_ms(self, expiry: Expiry) -> Option<u64> {
        match expiry {
            Expiry::Keep => self.expire_ms,
            Expiry::Clear => None,
            Expiry::At(ms) => Some(ms),
        }
    }
}

/// The value of a key, `None` when it is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn get<'r>(r: &'r mut Read<'_>, key: Key<'_>) -> Result<Option<Value<'r>>> {
    r.header_of(key, Kind::String)?.map(Value::of).transpose()
}

/// All bytes of a key, copied only if they lie in chunks; `None` when it is absent.
///
/// # Errors
/// As [`get`].
pub fn get_all<'r>(r: &'r mut Read<'_>, key: Key<'_>) -> Result<Option<Cow<'r, [u8]>>> {
    let chunks = match get(r, key)? {
        None => return Ok(None),
        Some(Value::Chunked(chunks)) => Some(chunks),
        Some(Value::Whole(_)) => None,
    };
    if let Some(chunks) = chunks {
        let mut all = Vec::with_capacity(chunks.len() as usize);
        chunks.read(r, key, 0..chunks.len(), &mut |piece| all.extend_from_slice(piece))?;
        return Ok(Some(Cow::Owned(all)));
    }
    // Looked up twice: the borrow checker does not yet accept a conditional return of a borrow.
    Ok(r.header(key)?.map(|header| Cow::Borrowed(header.body)))
}

/// The length of a key's value; 0 when it is absent.
///
/// # Errors
/// As [`get`].
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    Ok(get(r, key)?.map_or(0, |value| value.len()))
}

/// Hands the bytes of a range to `each`, piece by piece, up to the end of the value. Returns the length
/// of the whole value; 0 when the key is absent.
///
/// # Errors
/// As [`get`]; `each` may have been called before.
pub fn read_range(
    r: &mut Read<'_>,
    key: Key<'_>,
    range: Range<u64>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<u64> {
    match get(r, key)? {
        None => Ok(0),
        Some(Value::Whole(bytes)) => {
            let end = range.end.min(bytes.len() as u64) as usize;
            if let Some(piece) = bytes.get(range.start.min(end as u64) as usize..end)
                && !piece.is_empty()
            {
                each(piece);
            }
            Ok(bytes.len() as u64)
        }
        Some(Value::Chunked(chunks)) => {
            chunks.read(r, key, range, each)?;
            Ok(chunks.len())
        }
    }
}

/// The bytes from `start` to `end`, both included and counted from the end when negative, of a value of
/// `len` bytes, by GETRANGE's rules.
pub fn bounds(start: i64, end: i64, len: u64) -> Range<u64> {
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let last = len - 1;
    let from_end = |at: i64| match at {
        0.. => at as u64,
        _ => len.saturating_sub(at.unsigned_abs()),
    };
    let (start, end) = (from_end(start), from_end(end).min(last));
    if start > end { 0..0 } else { start..end + 1 }
}

/// The 64-bit XXH3 of a key's value, which IFDEQ and IFDNE compare; `None` when it is absent.
///
/// # Errors
/// As [`get`].
pub fn digest(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<u64>> {
    match get(r, key)? {
        None => Ok(None),
        Some(Value::Whole(bytes)) => Ok(Some(xxh3_64(bytes))),
        Some(Value::Chunked(chunks)) => {
            let mut hash = Xxh3::new();
            chunks.read(r, key, 0..chunks.len(), &mut |piece| hash.update(piece))?;
            Ok(Some(hash.digest()))
        }
    }
}

/// What OBJECT ENCODING answers for a header of kind `String`.
pub fn encoding_name(header: &Header<'_>) -> &'static str {
    match header.encoding {
        encoding::PACKED if parse_i64(header.body).is_some() => "int",
        encoding::PACKED | TEXT if header.body.len() <= EMBEDDED_MAX => "embstr",
        _ => "raw",
    }
}

/// SET without options: replaces whatever is there without looking at it.
///
/// # Errors
/// `Again`, only if somebody listens to events that depend on what was there.
pub fn set(w: &mut Write<'_>, key: Key<'_>, value: &[u8], expire_ms: Option<u64>) -> Result<()> {
    let before = if w.listens(event_class::EXPIRED | event_class::NEW) {
        find(w, key)?.0
    } else {
        Before::UNKNOWN
    };
    put_value(w, key, encoding::PACKED, value, expire_ms, before);
    set_events(w, key, expire_ms);
    Ok(())
}

/// SET with options: whether the value was set.
///
/// # Errors
/// `WrongType` when the condition compares bytes with another type, or `Again`.
pub fn set_if(
    w: &mut Write<'_>,
    key: Key<'_>,
    value: &[u8],
    expiry: Expiry,
    condition: Option<Condition<'_>>,
) -> Result<bool> {
    if let Some(condition) = condition
        && !holds(w, key, condition)?
    {
        return Ok(false);
    }
    let before = find(w, key)?.0;
    put_value(w, key, encoding::PACKED, value, before.expire_ms(expiry), before);
    set_events(
        w,
        key,
        match expiry {
            Expiry::At(ms) => Some(ms),
            Expiry::Keep | Expiry::Clear => None,
        },
    );
    Ok(true)
}

fn set_events(w: &mut Write<'_>, key: Key<'_>, expire_ms: Option<u64>) {
    w.event(event_class::STRING, "set", key);
    if expire_ms.is_some() {
        w.notify(event_class::GENERIC, "expire", key);
    }
}

/// Whether a condition holds now.
///
/// # Errors
/// As [`set_if`].
pub fn holds(r: &mut Read<'_>, key: Key<'_>, condition: Condition<'_>) -> Result<bool> {
    Ok(match condition {
        Condition::Absent => r.header(key)?.is_none(),
        Condition::Present => r.header(key)?.is_some(),
        Condition::Equal(bytes) => equals(r, key, bytes)? == Some(true),
        Condition::NotEqual(bytes) => equals(r, key, bytes)? != Some(true),
        Condition::DigestEqual(wanted) => digest(r, key)? == Some(wanted),
        Condition::DigestNotEqual(wanted) => digest(r, key)? != Some(wanted),
    })
}

fn equals(r: &mut Read<'_>, key: Key<'_>, bytes: &[u8]) -> Result<Option<bool>> {
    match get(r, key)? {
        None => Ok(None),
        Some(Value::Whole(value)) => Ok(Some(value == bytes)),
        Some(Value::Chunked(chunks)) if chunks.len() != bytes.len() as u64 => Ok(Some(false)),
        Some(Value::Chunked(chunks)) => {
            let (mut rest, mut equal) = (bytes, true);
            chunks.read(r, key, 0..chunks.len(), &mut |piece| {
                let (head, tail) = rest.split_at(piece.len().min(rest.len()));
                equal &= head == piece;
                rest = tail;
            })?;
            Ok(Some(equal))
        }
    }
}

/// Deletes a key, if `condition` holds of it: whether it was there and is gone. Without a condition the
/// key may be of any type.
///
/// # Errors
/// As [`set_if`].
pub fn delete_if(
    w: &mut Write<'_>,
    key: Key<'_>,
    condition: Option<Condition<'_>>,
) -> Result<bool> {
    let (before, header) = find(w, key)?;
    if header.is_none() {
        return Ok(false);
    }
    if let Some(condition) = condition
        && !holds(w, key, condition)?
    {
        return Ok(false);
    }
    w.delete_header(key, before.expire_ms);
    w.event(event_class::GENERIC, "del", key);
    Ok(true)
}

/// GETEX's second half: gives a string another expiry. One that has passed deletes the key.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn retime(w: &mut Write<'_>, key: Key<'_>, expiry: Expiry) -> Result<()> {
    let now_ms = w.now_ms();
    let (before, header) = find_string(w, key)?;
    let Some(header) = header else { return Ok(()) };
    if let Expiry::At(ms) = expiry
        && ms <= now_ms
    {
        w.delete_header(key, before.expire_ms);
        w.event(event_class::GENERIC, "del", key);
        return Ok(());
    }
    let expire_ms = before.expire_ms(expiry);
    let name = match expiry {
        Expiry::Keep => return Ok(()),
        Expiry::Clear if before.expire_ms.is_none() => return Ok(()),
        Expiry::Clear => "persist",
        Expiry::At(_) => "expire",
    };
    let body: SmallVec<[u8; 256]> = SmallVec::from_slice(header.body);
    let header = Header { expire_ms, body: &body, ..header };
    w.put_header(key, &header, before.expire_ms);
    w.event(event_class::GENERIC, name, key);
    Ok(())
}

/// APPEND: the new length.
///
/// # Errors
/// `WrongType`, a value that would become too long, or `Again`.
pub fn append(w: &mut Write<'_>, key: Key<'_>, bytes: &[u8]) -> Result<u64> {
    let (before, header) = find_string(w, key)?;
    let Some(header) = header else {
        // As a SET would store it: "12" is an integer then, and only what is added later makes it raw.
        put_value(w, key, encoding::PACKED, bytes, None, before);
        w.event(event_class::STRING, "append", key);
        return Ok(bytes.len() as u64);
    };
    let len = Value::of(header)?.len();
    check_length(w, len, bytes.len())?;
    let len = write_range(w, key, len, bytes)?;
    w.event(event_class::STRING, "append", key);
    Ok(len)
}

/// SETRANGE: the new length. Writing no bytes changes nothing.
///
/// # Errors
/// As [`append`].
pub fn set_range(w: &mut Write<'_>, key: Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64> {
    if bytes.is_empty() {
        return len(w, key);
    }
    find_string(w, key)?;
    check_length(w, offset, bytes.len())?;
    let len = write_range(w, key, offset, bytes)?;
    w.event(event_class::STRING, "setrange", key);
    Ok(len)
}

/// Refuses a value that would become longer than configured.
///
/// # Errors
/// "ERR string exceeds maximum allowed size (proto-max-bulk-len)".
pub fn check_length(r: &Read<'_>, offset: u64, more: usize) -> Result<()> {
    let len = offset.checked_add(more as u64);
    if len.is_some_and(|len| len <= r.limits().proto_max_bulk_len) {
        Ok(())
    } else {
        Err(Error::reply(TOO_LONG))
    }
}

/// Gives a key that is not there a value that comes from elsewhere, and tells nobody.
pub(crate) fn load(w: &mut Write<'_>, key: Key<'_>, value: &[u8]) {
    put_value(w, key, encoding::PACKED, value, None, Before::UNKNOWN);
}

/// What is there, as a write needs to know it.
fn find<'r>(w: &'r mut Write<'_>, key: Key<'_>) -> Result<(Before, Option<Header<'r>>)> {
    let header = w.header(key)?;
    let expire_ms = header.and_then(|header| header.expire_ms);
    Ok((Before { expire_ms, there: header.is_some() }, header))
}

fn find_string<'r>(w: &'r mut Write<'_>, key: Key<'_>) -> Result<(Before, Option<Header<'r>>)> {
    let (before, header) = find(w, key)?;
    Ok((before, header.map(|header| header.expect(Kind::String)).transpose()?))
}

fn put_value(
    w: &mut Write<'_>,
    key: Key<'_>,
    encoding: u8,
    value: &[u8],
    expire_ms: Option<u64>,
    before: Before,
) {
    if value.len() > WHOLE_MAX {
        let chunks = Chunks::create(w, key, chunks::LARGE).fill(w, key, value);
        put_chunks(w, key, chunks, expire_ms, before);
    } else {
        put(w, key, Header { kind: Kind::String, encoding, expire_ms, body: value }, before);
    }
}

fn put_chunks(
    w: &mut Write<'_>,
    key: Key<'_>,
    chunks: Chunks,
    expire_ms: Option<u64>,
    before: Before,
) {
    let body = chunks.encode();
    let encoding = encoding::EXPLODED;
    put(w, key, Header { kind: Kind::String, encoding, expire_ms, body: &body }, before);
}

#[inline]
fn put(w: &mut Write<'_>, key: Key<'_>, header: Header<'_>, before: Before) {
    if !before.there {
        w.notify(event_class::NEW, "new", key);
    }
    w.put_header(key, &header, before.expire_ms);
}

#[cfg(test)]
#[path = "string/tests.rs"]
mod tests;
