//! Hashes: fields with values. A field may have an expiry of its own.
//!
//! | encoding     | body                                              | OBJECT ENCODING            |
//! |--------------|---------------------------------------------------|----------------------------|
//! | 0 `PACKED`   | all fields, drawn in [`packed`]                   | `listpack`                 |
//! | 1 `EXPLODED` | where the fields are, drawn in [`exploded`]       | `hashtable`, mostly        |
//! | 2 `TIMED`    | all fields, each with room for an expiry          | `listpackex`               |
//!
//! What must always hold:
//! 1. A hash has a field: the last one takes the key with it.
//! 2. A hash is packed up to Redis's limits and [`PACKED_MAX`]. Once exploded it stays exploded, and of the
//!    largest no command but a walk reads more than the fields it names.
//! 3. A field that has expired is absent. Whoever meets it by its name takes it away; walks pass over it.
//!    Until it is reaped it is counted, and the key is there.
//! 4. The TTL index has one entry for a packed hash, at the moment when its first field expires, and one
//!    for each field of an exploded hash that does.

mod edit;
mod expiry;
mod exploded;
mod packed;
mod random;
mod walk;
mod whole;

pub use expiry::{
    EXPIRY_END_MS, Existing, Retime, Timed, When, expire, expiries, get_delete, get_retime,
    persist, set_retime,
};
pub(crate) use expiry::{copied, first_expiry, reap_field, reap_fields};
pub(crate) use exploded::sub_key;
pub use random::random;
pub use walk::{Visit, all, scan};
pub(crate) use whole::{live, load, untimed_count};

use crate::error::{Error, NOT_A_FLOAT, OVERFLOW, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use edit::{Edit, Ttl};
use exploded::{Element, Exploded, Sub};
use forgekv_base::longdouble::LongDouble;
use forgekv_base::number::parse_i64;
use packed::Packed;

/// The body is packed, with an expiry beside each field. On disk: do not change.
const TIMED: u8 = 2;

/// A larger body is exploded, whatever the configured limits: rewriting it for each field that is set would
/// cost more than a record for each field.
const PACKED_MAX: usize = 8 << 10;

/// Hands the value of a field to `f`, `None` when it is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
#[inline]
pub fn get<T>(
    r: &mut Read<'_>,
    key: Key<'_>,
    field: &[u8],
    f: impl FnOnce(Option<&[u8]>) -> T,
) -> Result<T> {
    let now_ms = r.now_ms();
    let Some(header) = r.header_of(key, Kind::Hash)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(f(None));
    };
    if header.is_exploded() {
        let Exploded { generation, .. } = Exploded::decode(&header)?;
        let sub = Sub::new(r.place_seed(), field);
        match r.element(key, generation, sub.bytes())?.map(Element::decode).transpose()? {
            None => return Ok(f(None)),
            Some(element) if element.is_live(now_ms) => return Ok(f(Some(element.value))),
            Some(_) => {}
        }
    } else {
        match Packed::decode(header.encoding == TIMED, header.body)?.find(field)? {
            None => return Ok(f(None)),
            Some(entry) if entry.is_live(now_ms) => return Ok(f(Some(entry.value))),
            Some(_) => {}
        }
    }
    meet(r, key, [field])?;
    Ok(f(None))
}

/// Takes away the fields among these that have expired.
fn meet<'f>(
    r: &mut Read<'_>,
    key: Key<'_>,
    fields: impl IntoIterator<Item = &'f [u8]>,
) -> Result<()> {
    let mut edit = Edit::open(r, key)?;
    for field in fields {
        edit.contains(r, field)?;
    }
    edit.finish(r, &[])
}

/// Hands the values of many fields to `each`, in order.
///
/// # Errors
/// As [`get`]; `each` may have been called before.
pub fn get_many(
    r: &mut Read<'_>,
    key: Key<'_>,
    fields: &[&[u8]],
    each: &mut dyn FnMut(Option<&[u8]>),
) -> Result<()> {
    let now_ms = r.now_ms();
    let Some(header) = r.header_of(key, Kind::Hash)? else {
        r.notify(event_class::MISS, "keymiss", key);
        fields.iter().for_each(|_| each(None));
        return Ok(());
    };
    let mut met_expired = false;
    if header.is_exploded() {
        let Exploded { generation, .. } = Exploded::decode(&header)?;
        let mut missed = None;
        for field in fields {
            let sub = Sub::new(r.place_seed(), field);
            // All are asked for before the first that is missing is reported, so that they are loaded
            // together.
            let element = match r.element(key, generation, sub.bytes()) {
                Ok(bytes) => bytes.map(Element::decode).transpose()?,
                Err(e @ Error::Again(_)) => {
                    missed = Some(e);
                    continue;
                }
                Err(e) => return Err(e),
            };
            met_expired |= element.is_some_and(|element| !element.is_live(now_ms));
            each(element.filter(|element| element.is_live(now_ms)).map(|element| element.value));
        }
        if let Some(missed) = missed {
            return Err(missed);
        }
    } else {
        let packed = Packed::decode(header.encoding == TIMED, header.body)?;
        for field in fields {
            let entry = packed.find(field)?;
            met_expired |= entry.is_some_and(|entry| !entry.is_live(now_ms));
            each(entry.filter(|entry| entry.is_live(now_ms)).map(|entry| entry.value));
        }
    }
    if met_expired { meet(r, key, fields.iter().copied()) } else { Ok(()) }
}

/// The number of fields, those included that have expired and were not reaped yet; 0 when the key is
/// absent.
///
/// # Errors
/// As [`get`].
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    match r.header_of(key, Kind::Hash)? {
        None => {
            r.notify(event_class::MISS, "keymiss", key);
            Ok(0)
        }
        Some(header) if header.is_exploded() => Ok(Exploded::decode(&header)?.count),
        Some(header) => Packed::decode(header.encoding == TIMED, header.body)?.count(),
    }
}

/// What OBJECT ENCODING answers for a header of kind `Hash`.
pub fn encoding_name(header: &Header<'_>) -> &'static str {
    match (header.encoding, Exploded::decode(header)) {
        (TIMED, _) => "listpackex",
        (encoding::EXPLODED, Ok(Exploded { within_limits: true, timed: true, .. })) => "listpackex",
        (encoding::EXPLODED, Ok(Exploded { within_limits: true, .. })) => "listpack",
        (encoding::EXPLODED, _) => "hashtable",
        _ => "listpack",
    }
}

/// Sets fields, given in turn with their values, and takes their expiries away. How many were absent.
///
/// # Errors
/// As [`get`].
pub fn set(w: &mut Write<'_>, key: Key<'_>, pairs: &[&[u8]]) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let mut added = 0;
    for pair in pairs.chunks_exact(2) {
        if let [field, value] = pair {
            added += u64::from(edit.set(w, field, value, Ttl::Clear)?);
            w.changed();
        }
    }
    edit.finish(w, &["hset"])?;
    Ok(added)
}

/// Sets a field if it is absent; whether it was.
///
/// # Errors
/// As [`get`].
pub fn set_absent(w: &mut Write<'_>, key: Key<'_>, field: &[u8], value: &[u8]) -> Result<bool> {
    let mut edit = Edit::open(w, key)?;
    if edit.contains(w, field)? {
        edit.finish(w, &[])?;
        return Ok(false);
    }
    edit.set(w, field, value, Ttl::Clear)?;
    edit.finish(w, &["hset"])?;
    w.changed();
    Ok(true)
}

/// Deletes fields; how many were there.
///
/// # Errors
/// As [`get`].
pub fn delete(w: &mut Write<'_>, key: Key<'_>, fields: &[&[u8]]) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let mut deleted = 0;
    for field in fields {
        if edit.remove(w, field)? {
            deleted += 1;
            w.changed();
        }
    }
    edit.finish(w, if deleted > 0 { &["hdel"] } else { &[] })?;
    Ok(deleted)
}

/// HINCRBY: the new value.
///
/// # Errors
/// `WrongType`, not an integer, overflow, or `Again`.
pub fn incr_by(w: &mut Write<'_>, key: Key<'_>, field: &[u8], by: i64) -> Result<i64> {
    let mut edit = Edit::open(w, key)?;
    let old = edit.get(w, field, |found| found.map_or(Some(0), |old| parse_i64(old.value)))?;
    let old = old.ok_or(Error::reply("ERR hash value is not an integer"))?;
    let sum = old.checked_add(by).ok_or(OVERFLOW)?;
    edit.set(w, field, itoa::Buffer::new().format(sum).as_bytes(), Ttl::Keep)?;
    edit.finish(w, &["hincrby"])?;
    w.changed();
    Ok(sum)
}

/// HINCRBYFLOAT: the new value's text.
///
/// # Errors
/// `WrongType`, not a float, a result that is not finite, or `Again`.
pub fn incr_by_float(w: &mut Write<'_>, key: Key<'_>, field: &[u8], by: &[u8]) -> Result<Vec<u8>> {
    let by = LongDouble::parse(by).ok_or(NOT_A_FLOAT)?;
    if by.is_nan_or_inf() {
        return Err(Error::reply("ERR value is NaN or Infinity"));
    }
    let mut edit = Edit::open(w, key)?;
    let old = edit.get(w, field, |found| match found {
        None => Some(LongDouble::ZERO),
        Some(old) => LongDouble::parse(old.value),
    })?;
    let sum = old.ok_or(Error::reply("ERR hash value is not a float"))?.add(&by);
    if sum.is_nan_or_inf() {
        return Err(Error::reply("ERR increment would produce NaN or Infinity"));
    }
    let text = sum.format();
    edit.set(w, field, &text, Ttl::Keep)?;
    edit.finish(w, &["hincrbyfloat"])?;
    w.changed();
    Ok(text)
}

#[cfg(test)]
#[path = "hash/tests.rs"]
mod tests;
