//! Sets: members, each once.
//!
//! | encoding     | body                                              | OBJECT ENCODING            |
//! |--------------|---------------------------------------------------|----------------------------|
//! | 0 `PACKED`   | all members, drawn in [`packed`]                  | `listpack`                 |
//! | 1 `EXPLODED` | where the members are, drawn in [`exploded`]      | `hashtable`, mostly        |
//! | 2 `INTS`     | all members, integers, drawn in [`ints`]          | `intset`                   |
//!
//! What must always hold:
//! 1. A set has a member: the last one takes the key with it.
//! 2. A set is packed up to Redis's limits and [`PACKED_MAX`]. Once exploded it stays exploded (SPOP of more
//!    than half of it, and the STORE commands, write a set anew), and of the largest no command but a walk
//!    reads more than the members it names.
//! 3. In exploded sets members lie in order of one hash. Whoever computes something of several sets relies
//!    on that: see [`Source`].

mod algebra;
mod edit;
mod exploded;
mod ints;
mod members;
mod packed;
mod random;
mod source;
mod splice;
mod whole;

pub use algebra::{Operation, combine, store};
pub use random::{pop, random};
pub use source::{Source, Walk};
pub(crate) use whole::{len_of, members_of};

use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::limits::Limits;
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use edit::Edit;
use exploded::{Exploded, Sub, parse_sub};
use forgekv_base::number::parse_i64;
use ints::Ints;
use packed::Packed;
use std::ops::{Bound, ControlFlow};

/// The body is a set of integers. On disk: do not change.
const INTS: u8 = 2;

/// A larger body is exploded, whatever the configured limits: rewriting it for each member that is added
/// would cost more than a record for each member.
const PACKED_MAX: usize = 8 << 10;

/// The bits of a member's hash that are not in a cursor, so that every client can hold it in a double.
const BELOW_CURSOR: u32 = 11;

/// What Redis would make of a set, and calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Intset,
    Listpack,
    Hashtable,
}

impl Class {
    /// The class of a set of `count` members when another one comes.
    fn with(self, count: u64, member: &[u8], limits: &Limits) -> Class {
        let listpack = count < limits.set_max_listpack_entries
            && member.len() as u64 <= limits.set_max_listpack_value;
        match self {
            Class::Intset if parse_i64(member).is_some() => {
                if count < limits.set_max_intset_entries { Class::Intset } else { Class::Hashtable }
            }
            Class::Intset | Class::Listpack if listpack => Class::Listpack,
            _ => Class::Hashtable,
        }
    }
}

/// A set where its header is.
#[derive(Debug, Clone, Copy)]
enum Packing<'a> {
    Ints(Ints<'a>),
    Packed(Packed<'a>),
    Exploded(Exploded),
}

impl<'a> Packing<'a> {
    #[inline]
    fn of(header: &Header<'a>) -> Result<Packing<'a>> {
        Ok(match header.encoding {
            encoding::EXPLODED => Packing::Exploded(Exploded::decode(header)?),
            INTS => Packing::Ints(Ints::decode(header.body)?),
            _ => Packing::Packed(Packed::new(header.body)),
        })
    }
}

/// Shows the members of a set that is packed.
fn each_packed(packing: Packing<'_>, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match packing {
        Packing::Ints(ints) => {
            ints.iter().try_for_each(|value| each(itoa::Buffer::new().format(value).as_bytes()))
        }
        Packing::Packed(mut packed) => {
            while let Some(member) = packed.next()? {
                each(member)?;
            }
            Ok(())
        }
        Packing::Exploded(_) => Ok(()),
    }
}

/// Whether a key's set holds a member.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn contains(r: &mut Read<'_>, key: Key<'_>, member: &[u8]) -> Result<bool> {
    let mut found = false;
    contains_many(r, key, &[member], &mut |holds| found = holds)?;
    Ok(found)
}

/// Tells `each` of many members, in order, whether a key's set holds them.
///
/// # Errors
/// As [`contains`]; `each` may have been called before.
pub fn contains_many(
    r: &mut Read<'_>,
    key: Key<'_>,
    members: &[&[u8]],
    each: &mut dyn FnMut(bool),
) -> Result<()> {
    let Some(header) = r.header_of(key, Kind::Set)? else {
        r.notify(event_class::MISS, "keymiss", key);
        members.iter().for_each(|_| each(false));
        return Ok(());
    };
    match Packing::of(&header)? {
        Packing::Ints(ints) => {
            for member in members {
                each(parse_i64(member).is_some_and(|value| ints.search(value).is_ok()));
            }
        }
        Packing::Packed(packed) => {
            for member in members {
                each(packed.contains(member)?);
            }
        }
        Packing::Exploded(Exploded { generation, .. }) => {
            let mut missed = None;
            for member in members {
                let sub = Sub::new(r.place_seed(), member);
                // All are asked for before the first that is missing is reported, so that they are loaded
                // together.
                match r.element(key, generation, sub.bytes()) {
                    Ok(found) => each(found.is_some()),
                    Err(e @ Error::Again(_)) => missed = Some(e),
                    Err(e) => return Err(e),
                }
            }
            return missed.map_or(Ok(()), Err);
        }
    }
    Ok(())
}

/// The number of members; 0 when the key is absent.
///
/// # Errors
/// As [`contains`].
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    let Some(header) = r.header_of(key, Kind::Set)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    count(Packing::of(&header)?)
}

fn count(packing: Packing<'_>) -> Result<u64> {
    match packing {
        Packing::Ints(ints) => Ok(ints.len() as u64),
        Packing::Packed(packed) => packed.count(),
        Packing::Exploded(exploded) => Ok(exploded.count),
    }
}

/// Somebody to whom a set is shown.
pub trait Visit {
    /// So many members will follow.
    fn len(&mut self, len: u64);

    /// A member.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn member(&mut self, member: &[u8]) -> Result<()>;
}

/// Shows all members. Of an exploded set nothing is kept in memory on the way.
///
/// # Errors
/// As [`contains`], or what the visitor answers; it may have been called before.
pub fn all(r: &mut Read<'_>, key: Key<'_>, visit: &mut dyn Visit) -> Result<()> {
    let Some(header) = r.header_of(key, Kind::Set)? else {
        r.notify(event_class::MISS, "keymiss", key);
        visit.len(0);
        return Ok(());
    };
    let packing = Packing::of(&header)?;
    visit.len(count(packing)?);
    let Packing::Exploded(Exploded { generation, .. }) = packing else {
        return each_packed(packing, &mut |member| visit.member(member));
    };
    let (from, to) = (Bound::Unbounded, Bound::Unbounded);
    r.scan_elements(key, generation, from, to, false, &mut |sub, _| {
        visit.member(parse_sub(sub)?.1)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// One step of SSCAN: shows about `count` members from `cursor` on, 0 being the start, and answers where to
/// go on, 0 being the end. A packed set is shown in one step. The cursor is the top of a member's hash, and
/// members that have it in common are shown together: so nothing is kept about a scan, and a member that
/// stays is shown.
///
/// # Errors
/// As [`contains`].
pub fn scan(
    r: &mut Read<'_>,
    key: Key<'_>,
    cursor: u64,
    count: u64,
    each: &mut dyn FnMut(&[u8]),
) -> Result<u64> {
    let Some(header) = r.header_of(key, Kind::Set)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    let packing = Packing::of(&header)?;
    let Packing::Exploded(Exploded { generation, .. }) = packing else {
        each_packed(packing, &mut |member| {
            each(member);
            Ok(())
        })?;
        return Ok(0);
    };
    if cursor >> (64 - BELOW_CURSOR) != 0 {
        return Ok(0);
    }
    let start = (cursor << BELOW_CURSOR).to_be_bytes();
    let from = if cursor == 0 { Bound::Unbounded } else { Bound::Included(&start[..]) };
    let (mut visited, mut last, mut next) = (0, None, 0);
    r.scan_elements(key, generation, from, Bound::Unbounded, false, &mut |sub, _| {
        let (hash, member) = parse_sub(sub)?;
        let at = hash >> BELOW_CURSOR;
        if visited >= count && last != Some(at) {
            next = at;
            return Ok(ControlFlow::Break(()));
        }
        visited += 1;
        last = Some(at);
        each(member);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(next)
}

/// What OBJECT ENCODING answers for a header of kind `Set`.
pub fn encoding_name(header: &Header<'_>) -> &'static str {
    let class = match header.encoding {
        INTS => Class::Intset,
        encoding::EXPLODED => Exploded::decode(header).map_or(Class::Hashtable, |e| e.class),
        _ => Class::Listpack,
    };
    match class {
        Class::Intset => "intset",
        Class::Listpack => "listpack",
        Class::Hashtable => "hashtable",
    }
}

/// Adds members; how many were absent.
///
/// # Errors
/// As [`contains`].
pub fn add(w: &mut Write<'_>, key: Key<'_>, members: &[&[u8]]) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    edit.expect(w, members)?;
    let mut added = 0;
    for member in members {
        if edit.add(w, member)? {
            added += 1;
            w.changed();
        }
    }
    edit.finish(w, (added > 0).then_some("sadd"))?;
    Ok(added)
}

/// Takes members away; how many were there.
///
/// # Errors
/// As [`contains`].
pub fn remove(w: &mut Write<'_>, key: Key<'_>, members: &[&[u8]]) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let mut removed = 0;
    for member in members {
        if edit.remove(w, member)? {
            removed += 1;
            w.changed();
        }
    }
    edit.finish(w, (removed > 0).then_some("srem"))?;
    Ok(removed)
}

/// Moves a member from one set to another; whether it was in the first.
///
/// # Errors
/// As [`contains`]; of a second set of another type only when there is a first.
pub fn move_member(w: &mut Write<'_>, from: Key<'_>, to: Key<'_>, member: &[u8]) -> Result<bool> {
    let mut source = Edit::open(w, from)?;
    if source.is_new() {
        return Ok(false);
    }
    w.header_of(to, Kind::Set)?;
    if from.name == to.name {
        return contains(w, from, member);
    }
    let removed = source.remove(w, member)?;
    let mut target = Edit::open(w, to)?;
    let mut added = false;
    // What the second set has to load is asked for with what the first has to.
    if removed || source.has_missed() {
        target.expect(w, &[member])?;
        added = target.add(w, member)?;
    }
    source.finish(w, removed.then_some("srem"))?;
    if removed {
        w.changed();
        target.finish(w, added.then_some("sadd"))?;
        (0..u64::from(added)).for_each(|_| w.changed());
    }
    Ok(removed)
}

#[cfg(test)]
#[path = "set/tests.rs"]
mod tests;
