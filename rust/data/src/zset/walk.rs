//! Walks over members: by range, all of them, and ZSCAN. Nothing is kept in memory on the way.

use super::exploded::{Exploded, SUB_MEMBER, Sub, parse_sub};
use super::packed::Packed;
use super::span::{Span, limited};
use crate::error::Result;
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use std::ops::{Bound, ControlFlow};

/// The bits of a member's hash that are not in a cursor, so that every client can hold it in a double.
const BELOW_CURSOR: u32 = 11;

/// Somebody to whom members are shown.
pub trait Visit {
    /// So many members will follow.
    fn len(&mut self, len: u64);

    /// A member and its score.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn member(&mut self, member: &[u8], score: f64) -> Result<()>;
}

/// Which members are shown, and in which order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range<'a> {
    /// The range; its ends stand as they do when the order is not reversed.
    pub span: Span<'a>,
    /// From the end.
    pub reverse: bool,
    /// So many members are skipped first. A negative number skips all.
    pub offset: i64,
    /// At most so many are shown, all if it is negative.
    pub limit: i64,
}

impl<'a> Range<'a> {
    /// All of a span, in order.
    pub fn of(span: Span<'a>) -> Range<'a> {
        Range { span, reverse: false, offset: 0, limit: -1 }
    }

    /// The ranks that are meant, of those that `bounds` finds for a span.
    fn cut(
        &self,
        count: u64,
        bounds: impl FnOnce(&Span<'_>) -> Result<(u64, u64)>,
    ) -> Result<(u64, u64)> {
        // Ranks are cut by what they are, not by an offset and a limit.
        if let Span::Rank(start, stop) = self.span {
            let (lo, hi) = super::span::ranks(start, stop, count);
            let turned = self.reverse && lo < hi;
            return Ok(if turned { (count - hi, count - lo) } else { (lo, hi) });
        }
        Ok(limited(bounds(&self.span)?, self.reverse, self.offset, self.limit))
    }
}

/// Shows a range of members.
///
/// # Errors
/// `WrongType`, `Again`, or what the visitor answers; it may have been called before.
pub fn range(
    r: &mut Read<'_>,
    key: Key<'_>,
    range: &Range<'_>,
    visit: &mut dyn Visit,
) -> Result<()> {
    let reverse = range.reverse;
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        visit.len(0);
        return Ok(());
    };
    if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let (lo, hi) = range.cut(exploded.count(), |span| exploded.bounds(r, key, span))?;
        visit.len(hi - lo);
        return exploded.show(r, key, (lo, hi), reverse, &mut |m, score| visit.member(m, score));
    }
    let packed = Packed::new(header.body);
    let all = packed.all()?;
    let (lo, hi) = range.cut(all.len() as u64, |span| packed.bounds(span))?;
    visit.len(hi - lo);
    let shown = all.get(lo as usize..hi as usize).unwrap_or_default();
    if reverse {
        shown.iter().rev().try_for_each(|entry| visit.member(entry.member, entry.score))
    } else {
        shown.iter().try_for_each(|entry| visit.member(entry.member, entry.score))
    }
}

/// Shows all members, in no order that means anything, until `each` breaks; `behind` names the member that
/// was shown last, if this goes on with a walk.
///
/// # Errors
/// `WrongType`, `Again`, or what `each` answers; it may have been called before.
pub(crate) fn members(
    r: &mut Read<'_>,
    key: Key<'_>,
    behind: Option<&[u8]>,
    each: &mut dyn FnMut(&[u8], f64) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let Some(header) = r.header_of(key, Kind::ZSet)? else { return Ok(()) };
    if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let behind = behind.map(|member| Sub::new(r.place_seed(), member));
        let from = behind.as_ref().map_or(Bound::Unbounded, |sub| Bound::Excluded(sub.bytes()));
        return exploded.members(r, key, from, &mut |sub, score| {
            each(sub.get(SUB_MEMBER..).unwrap_or_default(), score)
        });
    }
    let mut entries = Packed::new(header.body).entries();
    let mut shows = behind.is_none();
    while let Some(entry) = entries.next()? {
        if shows && each(entry.member, entry.score)?.is_break() {
            break;
        }
        shows |= behind == Some(entry.member);
    }
    Ok(())
}

/// One step of ZSCAN: shows about `count` members from `cursor` on, 0 being the start, and answers where to
/// go on, 0 being the end. A packed sorted set is shown in one step. The cursor is the top of a member's hash,
/// and members that have it in common are shown together: so nothing is kept about a scan, and a member that
/// stays is shown.
///
/// # Errors
/// `WrongType`, or `Again`; `each` may have been called before.
pub fn scan(
    r: &mut Read<'_>,
    key: Key<'_>,
    cursor: u64,
    count: u64,
    each: &mut dyn FnMut(&[u8], f64),
) -> Result<u64> {
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    if !header.is_exploded() {
        let mut entries = Packed::new(header.body).entries();
        while let Some(entry) = entries.next()? {
            each(entry.member, entry.score);
        }
        return Ok(0);
    }
    if cursor >> (64 - BELOW_CURSOR) != 0 {
        return Ok(0);
    }
    let exploded = Exploded::decode(&header)?;
    let mut start = [super::MEMBER; SUB_MEMBER];
    start[1..].copy_from_slice(&(cursor << BELOW_CURSOR).to_be_bytes());
    let (mut visited, mut last, mut next) = (0, None, 0);
    exploded.members(r, key, Bound::Included(&start), &mut |sub, score| {
        let (hash, member) = parse_sub(sub)?;
        let at = hash >> BELOW_CURSOR;
        if visited >= count && last != Some(at) {
            next = at;
            return Ok(ControlFlow::Break(()));
        }
        visited += 1;
        last = Some(at);
        each(member, score);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(next)
}
