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
mod exploded;
mod packed;
mod random;
mod walk;

pub use random::random;
pub use walk::{Visit, all, scan};

use crate::error::{Error, NOT_A_FLOAT, OVERFLOW, Result};
use crate::expire::Expires;
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::record;
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

/// A field's expiry is below this, in Unix milliseconds.
pub const EXPIRY_END_MS: u64 = 1 << 46;

/// Under which condition a field gets an expiry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// Under none.
    #[default]
    Always,
    /// If it has none.
    HasNone,
    /// If it has one.
    HasOne,
    /// If the new one is later; no expiry is the latest.
    Later,
    /// If the new one is earlier; no expiry is the latest.
    Earlier,
}

impl When {
    fn holds(self, old: Option<u64>, new: u64) -> bool {
        match self {
            When::Always => true,
            When::HasNone => old.is_none(),
            When::HasOne => old.is_some(),
            When::Later => old.is_some_and(|old| new > old),
            When::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

/// What became of a field's expiry. The numbers are those of HEXPIRE's and HPERSIST's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// There is no such field.
    Missing = -2,
    /// It had none that could be taken away.
    HadNone = -1,
    /// The condition did not hold.
    Refused = 0,
    /// It was set, or taken away.
    Done = 1,
    /// It had passed: the field is deleted.
    Deleted = 2,
}

/// What HGETEX does to the expiry of the fields it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retime {
    /// Nothing.
    Keep,
    /// Takes it away.
    Clear,
    /// Sets it, in Unix milliseconds.
    At(u64),
}

/// What HSETEX asks of the fields before it sets any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing.
    Any,
    /// All are absent.
    None,
    /// All are there.
    All,
}

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
        (encoding::EXPLODED, Ok(Exploded { within_limits: true, timed, .. })) => {
            if timed { "listpackex" } else { "listpack" }
        }
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
pub fn incr_by_float(
    w: &mut Write<'_>,
    key: Key<'_>,
    field: &[u8],
    by: &[u8],
) -> Result<Vec<u8>> {
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

/// When fields expire; `Missing` for all of an absent key.
///
/// # Errors
/// As [`get`].
pub fn expiries(
    r: &mut Read<'_>,
    key: Key<'_>,
    fields: &[&[u8]],
    each: &mut dyn FnMut(Expires),
) -> Result<()> {
    if r.header_of(key, Kind::Hash)?.is_none() {
        r.notify(event_class::MISS, "keymiss", key);
    }
    // What is met and found expired is taken away.
    let mut edit = Edit::open(r, key)?;
    for field in fields {
        each(edit.get(r, field, |found| match found {
            None => Expires::Missing,
            Some(field) => field.expire_ms.map_or(Expires::Never, Expires::At),
        })?);
    }
    edit.finish(r, &[])
}

/// Gives fields an expiry, in Unix milliseconds. Those for which it has passed are deleted.
///
/// # Errors
/// As [`get`].
pub fn expire(
    w: &mut Write<'_>,
    key: Key<'_>,
    at_ms: u64,
    when: When,
    fields: &[&[u8]],
    each: &mut dyn FnMut(Timed),
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    let (mut set, mut deleted) = (false, false);
    for field in fields {
        let done = match edit.get(w, field, |found| found.map(|field| field.expire_ms))? {
            None => Timed::Missing,
            Some(old) if !when.holds(old, at_ms) => Timed::Refused,
            Some(_) => {
                let past = retime(&mut edit, w, field, at_ms)?;
                deleted |= past;
                set |= !past;
                w.changed();
                if past { Timed::Deleted } else { Timed::Done }
            }
        };
        each(done);
    }
    let events = [("hexpire", set), ("hdel", deleted)];
    edit.finish(w, &told(events))
}

/// Gives a field that is there an expiry; true when that has passed and the field is deleted.
fn retime(edit: &mut Edit<'_>, w: &mut Write<'_>, field: &[u8], at_ms: u64) -> Result<bool> {
    if at_ms > w.now_ms() {
        edit.set_expiry(w, field, Some(at_ms))?;
        return Ok(false);
    }
    edit.remove(w, field)
}

/// The names of the events that are to be told.
fn told<const N: usize>(events: [(&'static str, bool); N]) -> smallvec::SmallVec<[&'static str; N]> {
    events.into_iter().filter(|(_, told)| *told).map(|(name, _)| name).collect()
}

/// Takes the expiries of fields away.
///
/// # Errors
/// As [`get`].
pub fn persist(
    w: &mut Write<'_>,
    key: Key<'_>,
    fields: &[&[u8]],
    each: &mut dyn FnMut(Timed),
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    let mut done = false;
    for field in fields {
        each(match edit.get(w, field, |found| found.map(|field| field.expire_ms))? {
            None => Timed::Missing,
            Some(None) => Timed::HadNone,
            Some(Some(_)) => {
                edit.set_expiry(w, field, None)?;
                done = true;
                w.changed();
                Timed::Done
            }
        });
    }
    edit.finish(w, &told([("hpersist", done)]))
}

/// HGETDEL: hands the values of fields to `each` and deletes them.
///
/// # Errors
/// As [`get`].
pub fn get_delete(
    w: &mut Write<'_>,
    key: Key<'_>,
    fields: &[&[u8]],
    each: &mut dyn FnMut(Option<&[u8]>),
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    let mut deleted = false;
    for field in fields {
        edit.get(w, field, |found| each(found.map(|field| field.value)))?;
        if edit.remove(w, field)? {
            deleted = true;
            w.changed();
        }
    }
    edit.finish(w, &told([("hdel", deleted)]))
}

/// HGETEX: hands the values of fields to `each` and changes their expiries.
///
/// # Errors
/// As [`get`].
pub fn get_retime(
    w: &mut Write<'_>,
    key: Key<'_>,
    fields: &[&[u8]],
    how: Retime,
    each: &mut dyn FnMut(Option<&[u8]>),
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    let (mut set, mut cleared, mut deleted) = (false, false, false);
    for field in fields {
        let old = edit.get(w, field, |found| {
            each(found.map(|field| field.value));
            found.map(|field| field.expire_ms)
        })?;
        match (old, how) {
            (Some(_), Retime::At(at_ms)) => {
                let past = retime(&mut edit, w, field, at_ms)?;
                deleted |= past;
                set |= !past;
            }
            (Some(Some(_)), Retime::Clear) => {
                edit.set_expiry(w, field, None)?;
                cleared = true;
            }
            _ => continue,
        }
        w.changed();
    }
    edit.finish(w, &told([("hexpire", set), ("hpersist", cleared), ("hdel", deleted)]))
}

/// HSETEX: sets fields, given in turn with their values, if the fields are as `existing` says; whether
/// they were. `Retime::Keep` leaves the expiries, `Clear` takes them away; fields whose new expiry has
/// passed are deleted.
///
/// # Errors
/// As [`get`].
pub fn set_retime(
    w: &mut Write<'_>,
    key: Key<'_>,
    pairs: &[&[u8]],
    how: Retime,
    existing: Existing,
) -> Result<bool> {
    let mut edit = Edit::open(w, key)?;
    if existing != Existing::Any {
        if edit.is_new() && existing == Existing::All {
            return Ok(false);
        }
        let mut holds = true;
        for field in pairs.iter().step_by(2) {
            holds &= edit.contains(w, field)? == (existing == Existing::All);
        }
        if !holds {
            edit.finish(w, &[])?;
            return Ok(false);
        }
    }
    let (mut set, mut deleted) = (false, false);
    for pair in pairs.chunks_exact(2) {
        let [field, value] = pair else { continue };
        match how {
            Retime::Keep => edit.set(w, field, value, Ttl::Keep)?,
            Retime::Clear => edit.set(w, field, value, Ttl::Clear)?,
            Retime::At(at_ms) if at_ms > w.now_ms() => {
                set = true;
                edit.set(w, field, value, Ttl::At(at_ms))?
            }
            Retime::At(_) => {
                deleted = true;
                edit.remove(w, field)?
            }
        };
        w.changed();
    }
    edit.finish(w, &told([("hset", true), ("hexpire", set), ("hdel", deleted)]))?;
    Ok(true)
}

/// When the first field of a packed hash expires, if the header is that of one.
pub(crate) fn first_expiry(header: &Header<'_>) -> Option<u64> {
    if header.kind == Kind::Hash && header.encoding == TIMED {
        packed::first_expiry(header.body)
    } else {
        None
    }
}

/// An element was copied under another generation: its expiry goes with it.
pub(crate) fn copied(
    w: &mut Write<'_>,
    owner: Key<'_>,
    generation: u64,
    sub: &[u8],
    element: &[u8],
) -> Result<()> {
    if let Some(expire_ms) = Element::decode(element)?.expire_ms {
        let (_, field) = exploded::parse_sub(sub)?;
        w.enter_field(owner, generation, field, expire_ms);
    }
    Ok(())
}

/// Takes away what has expired of a packed hash whose entry in the TTL index has come up; false when the
/// entry means nothing any more.
pub(crate) fn reap_fields(
    w: &mut Write<'_>,
    physical_db: u32,
    key: Key<'_>,
    expire_ms: u64,
) -> Result<bool> {
    let Some(logical) = w.shared().map().logical(physical_db) else { return Ok(false) };
    w.switch_db(logical);
    // A key that has expired itself is gone for good.
    if !w.header(key)?.is_some_and(|header| first_expiry(&header) == Some(expire_ms)) {
        return Ok(false);
    }
    let mut edit = Edit::open(w, key)?;
    edit.remove_expired()?;
    edit.finish(w, &[])?;
    Ok(true)
}

/// Takes away a field of an exploded hash whose entry in the TTL index has come up; false when the entry
/// means nothing any more.
pub(crate) fn reap_field(
    w: &mut Write<'_>,
    shard: u8,
    generation: u64,
    field: &[u8],
    expire_ms: u64,
) -> Result<bool> {
    let root = record::ElementKey::new(generation, &[]);
    let owner = match w.get(shard, root.hash(), root.bytes())? {
        None => return Ok(false),
        Some(owner) => smallvec::SmallVec::<[u8; 72]>::from_slice(owner),
    };
    let Some((physical_db, key)) = record::parse_header_key(&owner) else {
        return Err(Error::broken("the owner of a hash cannot be read"));
    };
    let Some(logical) = w.shared().map().logical(physical_db) else { return Ok(false) };
    w.switch_db(logical);
    let claims = |header: Header<'_>| {
        header.kind == Kind::Hash && header.generation() == Some(generation)
    };
    if !w.header(key)?.is_some_and(claims) {
        return Ok(false);
    }
    let sub = Sub::new(w.place_seed(), field);
    let element = w.element(key, generation, sub.bytes())?.map(Element::decode).transpose()?;
    if element.is_none_or(|element| element.expire_ms != Some(expire_ms)) {
        return Ok(false);
    }
    meet(w, key, [field])?;
    Ok(true)
}

#[cfg(test)]
#[path = "hash/tests.rs"]
mod tests;
