//! Sorted sets: members, each with a score, in order of scores and then of names.
//!
//! | encoding     | body                                              | OBJECT ENCODING            |
//! |--------------|---------------------------------------------------|----------------------------|
//! | 0 `PACKED`   | all members in order, drawn in [`packed`]         | `listpack`                 |
//! | 1 `EXPLODED` | where the members are, drawn in [`exploded`]      | `skiplist`, mostly         |
//!
//! What must always hold:
//! 1. A sorted set has a member: the last one takes the key with it.
//! 2. It is packed up to Redis's limits and [`PACKED_MAX`]. Once exploded it stays exploded.
//! 3. Of an exploded one each member has a record with its score and an item in the tree of what is in order.
//! 4. A score is never NaN. Both zeros have one place in the order; the negative one is kept by exploded
//!    sorted sets only, as in Redis.

mod combine;
mod edit;
mod exploded;
mod packed;
mod random;
mod span;
mod store;
mod walk;
mod whole;

pub use combine::{Aggregate, Input, Operation, combine, intersection_size, judge};
pub(crate) use exploded::{MEMBER, sub_key};
pub use random::random;
pub use span::{LexEnd, ScoreEnd, Span};
pub use store::{Scored, store};
pub(crate) use walk::members;
pub use walk::{Range, Visit, range, scan};
pub(crate) use whole::{len_of, members_of};

use crate::error::{Error, Result};
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use edit::Edit;
use exploded::Exploded;
use packed::Packed;

/// A larger body is exploded, whatever the configured limits: rewriting it for each member would cost more
/// than the records of an exploded one.
const PACKED_MAX: usize = 8 << 10;

const NAN: Error =
    Error::Reply(std::borrow::Cow::Borrowed("ERR resulting score is not a number (NaN)"));

/// Under which conditions ZADD puts a member in or changes its score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Only members that are not there.
    pub only_new: bool,
    /// Only members that are there.
    pub only_old: bool,
    /// A score that is there becomes greater or stays.
    pub greater: bool,
    /// A score that is there becomes less or stays.
    pub less: bool,
}

/// What ZADD did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// Members that were not there.
    pub added: u64,
    /// Members whose scores are others now.
    pub updated: u64,
}

/// Puts members in, given with their scores, or changes the scores of those that are there.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn add<'m>(
    w: &mut Write<'_>,
    key: Key<'_>,
    conditions: Conditions,
    pairs: impl Iterator<Item = (f64, &'m [u8])>,
) -> Result<Added> {
    let mut edit = Edit::open(w, key)?;
    let mut done = Added::default();
    if edit.is_new() && conditions.only_old {
        return Ok(done);
    }
    for (score, member) in pairs {
        let found = edit.find(w, member)?;
        match found.score {
            None if conditions.only_old => continue,
            None => done.added += 1,
            Some(old) if !conditions.allow(old, score) => continue,
            Some(_) => done.updated += 1,
        }
        edit.put(w, member, found, score)?;
        w.changed();
    }
    edit.finish(w, (done != Added::default()).then_some("zadd"))?;
    Ok(done)
}

impl Conditions {
    /// Whether a score that is there may become `new`, and would be another then.
    fn allow(self, old: f64, new: f64) -> bool {
        let refused = (self.greater && new < old) || (self.less && new > old);
        old != new && !self.only_new && !refused
    }
}

/// Adds to a member's score, taking it for 0 when the member is not there: the score after that, `None` when
/// a condition did not hold.
///
/// # Errors
/// `WrongType`, a result that is not a number, or `Again`.
pub fn increment(
    w: &mut Write<'_>,
    key: Key<'_>,
    conditions: Conditions,
    by: f64,
    member: &[u8],
) -> Result<Option<f64>> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() && conditions.only_old {
        return Ok(None);
    }
    let found = edit.find(w, member)?;
    let new = found.score.map_or(by, |old| old + by);
    match found.score {
        Some(_) if conditions.only_new => return Ok(None),
        None if conditions.only_old => {
            edit.finish(w, None)?;
            return Ok(None);
        }
        _ if new.is_nan() => return Err(NAN),
        Some(old) if (conditions.greater && new <= old) || (conditions.less && new >= old) => {
            return Ok(None);
        }
        Some(old) if old == new => return Ok(Some(new)),
        _ => {}
    }
    edit.put(w, member, found, new)?;
    edit.finish(w, Some("zincr"))?;
    w.changed();
    Ok(Some(new))
}

/// Takes members out; how many were there.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn remove(w: &mut Write<'_>, key: Key<'_>, members: &[&[u8]]) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let mut removed = 0;
    for member in members {
        let found = edit.find(w, member)?;
        if found.score.is_some() {
            edit.remove(w, member, found)?;
            removed += 1;
            w.changed();
        }
    }
    edit.finish(w, (removed > 0).then_some("zrem"))?;
    Ok(removed)
}

/// Takes a range of members out and tells `event`; how many there were.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn remove_range(
    w: &mut Write<'_>,
    key: Key<'_>,
    span: &Span<'_>,
    event: &'static str,
) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let (lo, hi) = edit.bounds(w, span)?;
    if lo < hi {
        edit.remove_ranks(w, (lo, hi))?;
        edit.finish(w, Some(event))?;
        w.changed();
    }
    Ok(hi - lo)
}

/// Takes out up to `n` members with the lowest scores, or the highest, and shows them, the outermost first;
/// how many there were.
///
/// # Errors
/// `WrongType`, `Again`, or what the visitor answers.
pub fn pop(
    w: &mut Write<'_>,
    key: Key<'_>,
    highest: bool,
    n: u64,
    visit: &mut dyn Visit,
) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let n = n.min(edit.count()?);
    edit.pop(w, highest, n, visit)?;
    if n > 0 {
        edit.finish(w, Some(if highest { "zpopmax" } else { "zpopmin" }))?;
        (0..n).for_each(|_| w.changed());
    }
    Ok(n)
}

/// The scores of members, `None` for those that are not there.
///
/// # Errors
/// `WrongType`, or `Again`; `each` may have been called before.
pub fn scores(
    r: &mut Read<'_>,
    key: Key<'_>,
    members: &[&[u8]],
    each: &mut dyn FnMut(Option<f64>),
) -> Result<()> {
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        members.iter().for_each(|_| each(None));
        return Ok(());
    };
    if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let mut missed = None;
        for member in members {
            // All are asked for before the first that is missing is reported.
            match exploded.score(r, key, member) {
                Ok(score) => each(score),
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
        }
        return missed.map_or(Ok(()), Err);
    }
    let packed = Packed::new(header.body);
    for member in members {
        each(packed.find(member)?.map(|(_, score)| score));
    }
    Ok(())
}

/// A member's score.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn score(r: &mut Read<'_>, key: Key<'_>, member: &[u8]) -> Result<Option<f64>> {
    let mut found = None;
    scores(r, key, &[member], &mut |score| found = score)?;
    Ok(found)
}

/// A member's rank, counted from the end if `reverse`, and its score.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn rank(
    r: &mut Read<'_>,
    key: Key<'_>,
    member: &[u8],
    reverse: bool,
) -> Result<Option<(u64, f64)>> {
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(None);
    };
    let (count, found) = if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let Some(score) = exploded.score(r, key, member)? else { return Ok(None) };
        (exploded.count(), (exploded.rank(r, key, member, score)?, score))
    } else {
        let packed = Packed::new(header.body);
        let Some(found) = packed.find(member)? else { return Ok(None) };
        (packed.count()?, found)
    };
    let (rank, score) = found;
    Ok(Some((if reverse { count - 1 - rank } else { rank }, score)))
}

/// The number of members; 0 when the key is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    match r.header_of(key, Kind::ZSet)? {
        None => {
            r.notify(event_class::MISS, "keymiss", key);
            Ok(0)
        }
        Some(header) => count(&header),
    }
}

fn count(header: &Header<'_>) -> Result<u64> {
    if header.is_exploded() {
        return Ok(Exploded::decode(header)?.count());
    }
    Packed::new(header.body).count()
}

/// The number of members in a range.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn count_range(r: &mut Read<'_>, key: Key<'_>, span: &Span<'_>) -> Result<u64> {
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    let (lo, hi) = if header.is_exploded() {
        Exploded::decode(&header)?.bounds(r, key, span)?
    } else {
        Packed::new(header.body).bounds(span)?
    };
    Ok(hi - lo)
}

/// What OBJECT ENCODING answers for a header of kind `ZSet`.
pub fn encoding_name(header: &Header<'_>) -> &'static str {
    match Exploded::decode(header) {
        Ok(exploded) if header.is_exploded() && !exploded.within_limits => "skiplist",
        _ => "listpack",
    }
}

#[cfg(test)]
#[path = "zset/tests.rs"]
mod tests;
