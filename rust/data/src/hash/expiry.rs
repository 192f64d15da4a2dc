//! Fields that expire: their commands, and what the expiry cycle does when an entry of the TTL index comes
//! up.

use super::edit::{Edit, Ttl};
use super::exploded::{self, Element, Sub};
use super::{TIMED, meet, packed};
use crate::error::{Error, Result};
use crate::expire::Expires;
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::record;
use crate::view::{Read, Write, event_class};
use smallvec::SmallVec;

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
fn told<const N: usize>(events: [(&'static str, bool); N]) -> SmallVec<[&'static str; N]> {
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
    if w.header(key)?.is_none_or(|header| first_expiry(&header) != Some(expire_ms)) {
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
    let claims =
        |header: Header<'_>| header.kind == Kind::Hash && header.generation() == Some(generation);
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
