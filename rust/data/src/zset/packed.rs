//! A small sorted set in one record.
//!
//! ```text
//! body:  | entry ..
//! entry: | member length varint | score f64 LE | member |
//! ```
//!
//! Entries stand in their order: by score, then by name. Nothing says how many there are.

use super::span::{LexEnd, Span, compare, ranks};
use crate::error::{Error, Result};
use forgekv_base::varint;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

const SCORE: usize = 8;

fn broken() -> Error {
    Error::broken("a packed sorted set cannot be read")
}

/// A member with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) score: f64,
    pub(super) member: &'a [u8],
}

#[inline]
fn parse(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let (long, n) = varint::get(bytes)?;
        len = usize::try_from(long).ok()?;
        rest = bytes.get(n..)?;
    }
    let (score, rest) = rest.split_first_chunk::<SCORE>()?;
    let (member, rest) = rest.split_at_checked(len)?;
    Some((Entry { score: f64::from_le_bytes(*score), member }, rest))
}

/// A walk over the entries.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (entry, rest) = parse(self.rest).ok_or_else(broken)?;
        self.rest = rest;
        Ok(Some(entry))
    }
}

/// A packed sorted set where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    body: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn new(body: &'a [u8]) -> Packed<'a> {
        Packed { body }
    }

    pub(super) fn entries(&self) -> Entries<'a> {
        Entries { rest: self.body }
    }

    pub(super) fn count(&self) -> Result<u64> {
        let (mut entries, mut count) = (self.entries(), 0);
        while entries.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// All entries, in order.
    pub(super) fn all(&self) -> Result<SmallVec<[Entry<'a>; 16]>> {
        let (mut entries, mut all) = (self.entries(), SmallVec::new());
        while let Some(entry) = entries.next()? {
            all.push(entry);
        }
        Ok(all)
    }

    /// A member's rank and score.
    #[inline]
    pub(super) fn find(&self, member: &[u8]) -> Result<Option<(u64, f64)>> {
        let (mut entries, mut rank) = (self.entries(), 0);
        while let Some(entry) = entries.next()? {
            if entry.member == member {
                return Ok(Some((rank, entry.score)));
            }
            rank += 1;
        }
        Ok(None)
    }

    /// The ranks that a span means: the first, and the one behind the last.
    pub(super) fn bounds(&self, span: &Span<'_>) -> Result<(u64, u64)> {
        match *span {
            Span::Rank(start, stop) => Ok(ranks(start, stop, self.count()?)),
            Span::Score(min, max) => self
                .between(&|entry| min.is_before(entry.score), &|entry| max.is_after(entry.score)),
            Span::Lex(min, max) if is_empty(min, max) => Ok((0, 0)),
            Span::Lex(min, max) => self
                .between(&|entry| min.is_before(entry.member), &|entry| max.is_after(entry.member)),
        }
    }

    /// From the first entry that has reached the range to the first behind that has left it.
    fn between(
        &self,
        reached: &dyn Fn(&Entry<'_>) -> bool,
        inside: &dyn Fn(&Entry<'_>) -> bool,
    ) -> Result<(u64, u64)> {
        let (mut entries, mut rank) = (self.entries(), 0);
        let mut first = None;
        while let Some(entry) = entries.next()? {
            if first.is_none() && reached(&entry) {
                first = Some(rank);
            }
            if first.is_some() && !inside(&entry) {
                break;
            }
            rank += 1;
        }
        Ok(first.filter(|&first| first < rank).map_or((0, 0), |first| (first, rank)))
    }
}

/// Whether nothing can lie between two names.
pub(super) fn is_empty(min: LexEnd<'_>, max: LexEnd<'_>) -> bool {
    match (min, max) {
        (LexEnd::End, _) | (_, LexEnd::Start) => true,
        (LexEnd::Start, _) | (_, LexEnd::End) => false,
        (LexEnd::Included(min), LexEnd::Included(max)) => min > max,
        (
            LexEnd::Included(min) | LexEnd::Excluded(min),
            LexEnd::Included(max) | LexEnd::Excluded(max),
        ) => min >= max,
    }
}

/// Where an entry is in a [`Buffer`].
#[derive(Debug, Clone)]
pub(super) struct Spot {
    range: Range<usize>,
    pub(super) score: f64,
}

/// How a buffer's body differs from what was copied: the bytes up to `old_end` have given way to those up to
/// `new_end`, both from `at` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: usize,
    old_end: usize,
    new_end: usize,
}

impl Change {
    pub(super) fn removed(&self) -> usize {
        self.old_end - self.at
    }
}

/// A packed sorted set that is being changed.
pub(super) struct Buffer {
    body: SmallVec<[u8; 512]>,
    change: Option<Change>,
}

impl Buffer {
    pub(super) fn copy(body: &[u8]) -> Buffer {
        Buffer { body: SmallVec::from_slice(body), change: None }
    }

    pub(super) fn packed(&self) -> Packed<'_> {
        Packed::new(&self.body)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// What has changed, and the new bytes.
    pub(super) fn change(&self) -> Option<(Change, &[u8])> {
        let change = self.change?;
        Some((change, self.body.get(change.at..change.new_end)?))
    }

    /// Where a member is.
    #[inline]
    pub(super) fn find(&self, member: &[u8]) -> Result<Option<Spot>> {
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let (entry, after) = parse(rest).ok_or_else(broken)?;
            if entry.member == member {
                let range = self.body.len() - rest.len()..self.body.len() - after.len();
                return Ok(Some(Spot { range, score: entry.score }));
            }
            rest = after;
        }
        Ok(None)
    }

    /// Puts a member in, or gives the one at `spot` another score.
    pub(super) fn put(&mut self, spot: Option<Spot>, member: &[u8], score: f64) -> Result<()> {
        // Redis's small sorted sets keep no sign of a zero.
        let score = score + 0.0;
        if let Some(spot) = spot {
            self.splice(spot.range, &[]);
        }
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let (entry, after) = parse(rest).ok_or_else(broken)?;
            if compare((entry.score, entry.member), (score, member)) == Ordering::Greater {
                break;
            }
            rest = after;
        }
        let at = self.body.len() - rest.len();
        self.insert(at, member, score);
        Ok(())
    }

    /// Puts a member behind all others, where it belongs.
    pub(super) fn append(&mut self, member: &[u8], score: f64) {
        self.insert(self.body.len(), member, score + 0.0);
    }

    fn insert(&mut self, at: usize, member: &[u8], score: f64) {
        let mut lead: SmallVec<[u8; 20]> = SmallVec::new();
        let mut len = member.len() as u64;
        while len >= 0x80 {
            lead.push(len as u8 | 0x80);
            len >>= 7;
        }
        lead.push(len as u8);
        lead.extend_from_slice(&score.to_le_bytes());
        self.splice(at..at, &[&lead, member]);
    }

    pub(super) fn remove(&mut self, spot: Spot) {
        self.splice(spot.range, &[]);
    }

    /// Takes out the members of the ranks `lo..hi`, after `each` was called with them.
    pub(super) fn remove_ranks(
        &mut self,
        (lo, hi): (u64, u64),
        each: &mut dyn FnMut(Entry<'_>),
    ) -> Result<()> {
        let (mut rank, mut rest) = (0, &self.body[..]);
        let mut start = self.body.len();
        while rank < hi {
            if rank == lo {
                start = self.body.len() - rest.len();
            }
            let (entry, after) = parse(rest).ok_or_else(broken)?;
            if rank >= lo {
                each(entry);
            }
            rest = after;
            rank += 1;
        }
        let end = self.body.len() - rest.len();
        if start < end {
            self.splice(start..end, &[]);
        }
        Ok(())
    }

    /// Puts `parts` in the place of a range.
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let new = parts.iter().map(|part| part.len()).sum::<usize>();
        let len = self.body.len();
        let new_end = range.start + new;
        // One change that covers this one and those before.
        let before = self.change.unwrap_or(Change {
            at: range.start,
            old_end: range.end,
            new_end: range.end,
        });
        let end = before.new_end.max(range.end);
        self.change = Some(Change {
            at: before.at.min(range.start),
            old_end: end - before.new_end + before.old_end,
            new_end: end - range.len() + new,
        });
        if new_end > range.end {
            self.body.resize(len + (new_end - range.end), 0);
        }
        if new_end != range.end {
            self.body.copy_within(range.end..len, new_end);
            self.body.truncate(len - range.end + new_end);
        }
        let mut at = range.start;
        for part in parts {
            if let Some(room) = self.body.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
            at += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::ScoreEnd;
    use super::*;
    use forgekv_base::rng::Rng;

    fn all(buffer: &Buffer) -> Vec<(String, f64)> {
        let entries = buffer.packed().all().unwrap();
        entries.iter().map(|e| (String::from_utf8(e.member.to_vec()).unwrap(), e.score)).collect()
    }

    fn put(buffer: &mut Buffer, member: &str, score: f64) {
        let spot = buffer.find(member.as_bytes()).unwrap();
        buffer.put(spot, member.as_bytes(), score).unwrap();
    }

    #[test]
    fn bytes_are_as_drawn() {
        let mut buffer = Buffer::copy(b"");
        put(&mut buffer, "ab", 1.0);
        put(&mut buffer, "c", -0.0);
        let mut body = b"\x01\0\0\0\0\0\0\0\0c".to_vec();
        body.extend_from_slice(b"\x02\0\0\0\0\0\0\xf0\x3fab");
        assert_eq!(buffer.bytes(), body);
        let long = "x".repeat(200);
        put(&mut buffer, &long, 0.5);
        assert_eq!(&buffer.bytes()[10..20], b"\xc8\x01\0\0\0\0\0\0\xe0\x3f");
        assert_eq!(all(&buffer)[1], (long, 0.5));
        assert!(Packed::new(&body[..body.len() - 1]).count().is_err());
        assert!(Packed::new(b"\x05").find(b"x").is_err());
    }

    #[test]
    fn one_change_covers_all() {
        let mut rng = Rng::seeded(3);
        let mut buffer = Buffer::copy(b"");
        for round in 0..300 {
            let before = buffer.bytes().to_vec();
            buffer = Buffer::copy(&before);
            for _ in 0..=rng.below(3) {
                let member = format!("m{}", rng.below(30));
                match buffer.find(member.as_bytes()).unwrap() {
                    Some(spot) if rng.below(3) == 0 => buffer.remove(spot),
                    spot => {
                        let score = rng.below(9) as f64;
                        buffer.put(spot, member.as_bytes(), score).unwrap();
                    }
                }
            }
            let (change, insert) = buffer.change().unwrap();
            let mut after = before.clone();
            after.splice(change.at..change.at + change.removed(), insert.iter().copied());
            assert_eq!(after, buffer.bytes(), "round {round}");
            let entries = buffer.packed().all().unwrap();
            assert!(entries.is_sorted_by(|a, b| {
                compare((a.score, a.member), (b.score, b.member)) == Ordering::Less
            }));
        }
    }

    #[test]
    fn spans() {
        let mut buffer = Buffer::copy(b"");
        for (member, score) in [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0)] {
            put(&mut buffer, member, score);
        }
        let packed = buffer.packed();
        let by_score = |min, max| packed.bounds(&Span::Score(min, max)).unwrap();
        let (inside, outside) = (ScoreEnd::included, ScoreEnd::excluded);
        assert_eq!(by_score(inside(2.0), inside(2.0)), (1, 3));
        assert_eq!(by_score(outside(1.0), outside(3.0)), (1, 3));
        assert_eq!(by_score(outside(2.0), inside(9.0)), (3, 4));
        assert_eq!(by_score(inside(2.0), outside(2.0)), (0, 0));
        assert_eq!(by_score(inside(4.0), inside(9.0)), (0, 0));
        assert_eq!(by_score(inside(3.0), inside(1.0)), (0, 0));
        let by_name = |min, max| packed.bounds(&Span::Lex(min, max)).unwrap();
        assert_eq!(by_name(LexEnd::Start, LexEnd::End), (0, 4));
        assert_eq!(by_name(LexEnd::Excluded(b"a"), LexEnd::Included(b"c")), (1, 3));
        assert_eq!(by_name(LexEnd::Included(b"c"), LexEnd::Excluded(b"c")), (0, 0));
        assert_eq!(by_name(LexEnd::End, LexEnd::Start), (0, 0));
        assert_eq!(packed.find(b"c").unwrap(), Some((2, 2.0)));
        let mut seen = Vec::new();
        buffer.remove_ranks((1, 3), &mut |e| seen.push(e.member.to_vec())).unwrap();
        assert_eq!(seen, [b"b", b"c"]);
        assert_eq!(all(&buffer), [("a".into(), 1.0), ("d".into(), 3.0)]);
        buffer.remove_ranks((0, 2), &mut |_| ()).unwrap();
        assert!(buffer.is_empty());
    }
}
