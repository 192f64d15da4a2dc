//! A large sorted set: its header's body, a record for each member, and a tree of what is in order.
//!
//! ```text
//! header body:  | generation u64 LE | count u64 LE | flags u8 | tree, 13 bytes |
//! member:       | 16 | xxh3(seed, member) u64 BE | member ..   ->   | score f64 LE |
//! tree's item:  | score, order-preserving, u64 BE | member .. |
//! flags:        1 = within Redis's limits of a listpack: exploded for its size in bytes alone
//!               2 = a score may be the negative zero
//! ```
//!
//! A score by name is one look-up; ranks and ranges ask the tree. An item's score has no sign of a zero,
//! because both zeros have one place: the member's record tells it.

use super::packed::is_empty;
use super::span::{LexEnd, ScoreEnd, Span, from_ordered, ordered, ranks};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::place::Key;
use crate::tree::{self, Order, Tree};
use crate::view::{Read, Write};
use smallvec::SmallVec;
use std::ops::{Bound, ControlFlow};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Redis would still have it packed.
const WITHIN_LIMITS: u8 = 1;
/// A score may be the negative zero.
const SIGNED_ZERO: u8 = 2;

/// With this byte the sub-keys of members begin; those of the tree's nodes begin with smaller ones.
pub(crate) const MEMBER: u8 = 16;
/// Bytes before the member in a sub-key.
pub(super) const SUB_MEMBER: usize = 9;
/// Bytes before the member in an item.
const ITEM_MEMBER: usize = 8;

const BODY: usize = 17 + tree::STATE;

/// So many items are held at once when the signs of zeros are looked up.
const PIECE: usize = 512;

/// What is shown of a member: its name and its score.
pub(super) type Each<'f> = dyn FnMut(&[u8], f64) -> Result<()> + 'f;

fn broken(what: &str) -> Error {
    Error::broken(what)
}

/// A member's sub-key.
pub(super) struct Sub(SmallVec<[u8; 72]>);

impl Sub {
    pub(super) fn new(seed: u64, member: &[u8]) -> Sub {
        let mut bytes = SmallVec::new();
        let mut head = [MEMBER; SUB_MEMBER];
        head[1..].copy_from_slice(&xxh3_64_with_seed(member, seed).to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(member);
        Sub(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The sub-key of a member's record.
pub(crate) fn sub_key(seed: u64, member: &[u8]) -> impl std::ops::Deref<Target = [u8]> + use<> {
    Sub::new(seed, member).0
}

/// A member's sub-key taken apart: hash and member.
pub(super) fn parse_sub(sub: &[u8]) -> Result<(u64, &[u8])> {
    let parse = || {
        let (_, rest) = sub.split_first()?;
        let (hash, member) = rest.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*hash), member))
    };
    parse().ok_or_else(|| broken("the key of a sorted set's member cannot be read"))
}

/// The score in a member's record.
#[inline]
pub(super) fn parse_score(bytes: &[u8]) -> Result<f64> {
    match bytes.try_into() {
        Ok(bytes) => Ok(f64::from_le_bytes(bytes)),
        Err(_) => Err(broken("the score of a sorted set's member cannot be read")),
    }
}

type Item = SmallVec<[u8; 72]>;

fn item(score: f64, member: &[u8]) -> Item {
    let mut item = Item::new();
    item.extend_from_slice(&ordered(score).to_be_bytes());
    item.extend_from_slice(member);
    item
}

fn parse_item(item: &[u8]) -> Result<(f64, &[u8])> {
    match item.split_first_chunk::<ITEM_MEMBER>() {
        Some((score, member)) => Ok((from_ordered(u64::from_be_bytes(*score)), member)),
        None => Err(broken("an item of a sorted set cannot be read")),
    }
}

/// A large sorted set, as its header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exploded {
    tree: Tree,
    pub(super) within_limits: bool,
    pub(super) signed_zero: bool,
}

impl Exploded {
    /// An empty one.
    pub(super) fn new(generation: u64) -> Exploded {
        let tree = Tree::new(Order::Sorted, generation);
        Exploded { tree, within_limits: true, signed_zero: false }
    }

    pub(super) fn decode(header: &Header<'_>) -> Result<Exploded> {
        let (generation, count, rest) = header.exploded()?;
        let Some((flags, rest)) = rest.split_first() else {
            return Err(broken("a large sorted set's header cannot be read"));
        };
        Ok(Exploded {
            tree: Tree::decode(Order::Sorted, generation, count, rest)?,
            within_limits: flags & WITHIN_LIMITS != 0,
            signed_zero: flags & SIGNED_ZERO != 0,
        })
    }

    pub(super) fn encode(&self) -> [u8; BODY] {
        let mut body = [0; BODY];
        body[..8].copy_from_slice(&self.tree.generation().to_le_bytes());
        body[8..16].copy_from_slice(&self.tree.len().to_le_bytes());
        body[16] = if self.within_limits { WITHIN_LIMITS } else { 0 };
        body[16] |= if self.signed_zero { SIGNED_ZERO } else { 0 };
        body[17..].copy_from_slice(&self.tree.encode());
        body
    }

    pub(super) fn count(&self) -> u64 {
        self.tree.len()
    }

    pub(super) fn generation(&self) -> u64 {
        self.tree.generation()
    }

    /// A member's score.
    #[inline]
    pub(super) fn score(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        member: &[u8],
    ) -> Result<Option<f64>> {
        let sub = Sub::new(r.place_seed(), member);
        r.element(owner, self.generation(), sub.bytes())?.map(parse_score).transpose()
    }

    /// The rank of a member that is there.
    pub(super) fn rank(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        member: &[u8],
        score: f64,
    ) -> Result<u64> {
        let position = self.tree.position(r, owner, &item(score, member))?;
        position.ok_or_else(|| broken("a member of a sorted set has no place"))
    }

    /// Asks for what putting in or taking out a member will need, when the command runs again anyway.
    pub(super) fn ask(&self, r: &mut Read<'_>, owner: Key<'_>, member: &[u8], score: f64) {
        // What is missing is noted; any other error will meet the command itself.
        if self.tree.position(r, owner, &item(score, member)).is_err() {}
    }

    /// Puts in a member that is not there.
    pub(super) fn insert(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        member: &[u8],
        score: f64,
    ) -> Result<()> {
        if !self.tree.insert_sorted(w, owner, &item(score, member))? {
            return Err(broken("a member of a sorted set has a place and no score"));
        }
        self.put_score(w, owner, member, score);
        Ok(())
    }

    /// Gives a member another score.
    pub(super) fn change(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        member: &[u8],
        old: f64,
        new: f64,
    ) -> Result<()> {
        if !self.tree.replace_sorted(w, owner, &item(old, member), &item(new, member))? {
            return Err(broken("a member of a sorted set has no place"));
        }
        self.put_score(w, owner, member, new);
        Ok(())
    }

    fn put_score(&mut self, w: &mut Write<'_>, owner: Key<'_>, member: &[u8], score: f64) {
        self.signed_zero |= score == 0.0 && score.is_sign_negative();
        let sub = Sub::new(w.place_seed(), member);
        w.put_element(owner, self.generation(), sub.bytes(), &score.to_le_bytes());
    }

    /// Takes out a member that is there.
    pub(super) fn remove(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        member: &[u8],
        score: f64,
    ) -> Result<()> {
        if !self.tree.remove_sorted(w, owner, &item(score, member))? {
            return Err(broken("a member of a sorted set has no place"));
        }
        let sub = Sub::new(w.place_seed(), member);
        w.delete_element(owner, self.generation(), sub.bytes());
        Ok(())
    }

    /// Fills an empty one with members that are in order and distinct.
    pub(super) fn fill(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        members: &[(f64, &[u8])],
    ) -> Result<()> {
        let items: Vec<Item> = members.iter().map(|(score, member)| item(*score, member)).collect();
        let items: Vec<&[u8]> = items.iter().map(|item| &item[..]).collect();
        self.tree.insert(w, owner, 0, &items)?;
        for (score, member) in members {
            self.put_score(w, owner, member, *score);
        }
        Ok(())
    }

    /// Takes out the members of the ranks `lo..hi`, after `each` was called with them.
    pub(super) fn remove_ranks(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        (lo, hi): (u64, u64),
        each: &mut Each<'_>,
    ) -> Result<()> {
        let mut from = lo;
        while from < hi {
            let mut subs: Vec<Sub> = Vec::new();
            let (seed, most) = (w.place_seed(), (hi - from).min(PIECE as u64));
            self.show(w, owner, (from, from + most), false, &mut |member, score| {
                subs.push(Sub::new(seed, member));
                each(member, score)
            })?;
            for sub in &subs {
                w.delete_element(owner, self.generation(), sub.bytes());
            }
            from += most;
        }
        self.tree.remove(w, owner, lo, hi - lo)
    }

    /// The ranks that a span means: the first, and the one behind the last.
    pub(super) fn bounds(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        span: &Span<'_>,
    ) -> Result<(u64, u64)> {
        let (lo, hi) = match *span {
            Span::Rank(start, stop) => return Ok(ranks(start, stop, self.count())),
            Span::Score(min, max) => {
                let below = |end: ScoreEnd, is_min: bool| {
                    // What is outside of a lower end is what is inside of an upper one.
                    ordered(end.score).saturating_add(u64::from(end.exclusive == is_min))
                };
                let (min, max) = (below(min, true), below(max, false));
                if min >= max {
                    return Ok((0, 0));
                }
                self.both(r, owner, Some(&min.to_be_bytes()), Some(&max.to_be_bytes()))?
            }
            Span::Lex(min, max) if is_empty(min, max) => return Ok((0, 0)),
            Span::Lex(min, max) => {
                let first = self.tree.get(r, owner, 0, |first| {
                    first.map(parse_item).transpose().map(|i| i.map(|(score, _)| score))
                })??;
                let Some(score) = first else { return Ok((0, 0)) };
                let probe = |end: LexEnd<'_>, is_min: bool| {
                    let (name, behind) = match end {
                        LexEnd::Start | LexEnd::End => return None,
                        LexEnd::Included(name) => (name, !is_min),
                        LexEnd::Excluded(name) => (name, is_min),
                    };
                    let mut probe = item(score, name);
                    if behind {
                        // Nothing lies between a name and this one.
                        probe.push(0);
                    }
                    Some(probe)
                };
                let (min, max) = (probe(min, true), probe(max, false));
                self.both(r, owner, min.as_deref(), max.as_deref())?
            }
        };
        Ok(if lo < hi { (lo, hi) } else { (0, 0) })
    }

    /// How many items are smaller than each of two probes; without a probe, none and all.
    fn both(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        min: Option<&[u8]>,
        max: Option<&[u8]>,
    ) -> Result<(u64, u64)> {
        let mut bound = |probe: Option<&[u8]>, default: u64| match probe {
            None => Ok(default),
            Some(probe) => self.tree.lower_bound(r, owner, probe),
        };
        // Both are asked for before the first that is missing is reported.
        let (lo, hi) = (bound(min, 0), bound(max, self.count()));
        Ok((lo?, hi?))
    }

    /// Shows the members of the ranks `lo..hi`, from the end if `reverse`.
    pub(super) fn show(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        (lo, hi): (u64, u64),
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<()> {
        if lo >= hi {
            return Ok(());
        }
        if self.signed_zero {
            return self.show_signed(r, owner, (lo, hi), reverse, each);
        }
        let from = if reverse { hi - 1 } else { lo };
        self.tree.walk(r, owner, from, hi - lo, reverse, &mut |item| {
            let (score, member) = parse_item(item)?;
            each(member, score)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// As [`show`](Self::show), looking up the signs of zeros.
    fn show_signed(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        (mut lo, mut hi): (u64, u64),
        reverse: bool,
        each: &mut Each<'_>,
    ) -> Result<()> {
        while lo < hi {
            let most = (hi - lo).min(PIECE as u64);
            let from = if reverse { hi - 1 } else { lo };
            let mut piece: Vec<Item> = Vec::new();
            self.tree.walk(r, owner, from, most, reverse, &mut |item| {
                piece.push(Item::from_slice(item));
                Ok(ControlFlow::Continue(()))
            })?;
            for item in &piece {
                let (mut score, member) = parse_item(item)?;
                if score == 0.0 {
                    score = self.score(r, owner, member)?.unwrap_or(score);
                }
                each(member, score)?;
            }
            if reverse {
                hi -= most;
            } else {
                lo += most;
            }
        }
        Ok(())
    }

    /// Shows the member of a rank.
    pub(super) fn show_one(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        rank: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        if self.signed_zero {
            return self.show_signed(r, owner, (rank, rank + 1), false, each);
        }
        self.tree.get(r, owner, rank, |item| match item.map(parse_item).transpose()? {
            Some((score, member)) => each(member, score),
            None => Ok(()),
        })?
    }

    /// Shows the members behind a sub-key, or all, in no order that means anything, until `each` breaks.
    pub(super) fn members(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        from: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], f64) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let from = match from {
            Bound::Unbounded => Bound::Included(&[MEMBER][..]),
            bound => bound,
        };
        r.scan_elements(
            owner,
            self.generation(),
            from,
            Bound::Unbounded,
            false,
            &mut |sub, score| each(sub, parse_score(score)?),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Kind, encoding};

    #[test]
    fn round_trips() {
        for (within_limits, signed_zero) in [(true, false), (false, true)] {
            let exploded = Exploded { within_limits, signed_zero, ..Exploded::new(5) };
            let body = exploded.encode();
            let encoding = encoding::EXPLODED;
            let header = Header { kind: Kind::ZSet, encoding, expire_ms: None, body: &body };
            assert_eq!(Exploded::decode(&header).unwrap(), exploded);
            assert!(Exploded::decode(&Header { body: &body[..16], ..header }).is_err());
            assert!(Exploded::decode(&Header { body: &body[..20], ..header }).is_err());
        }
        let sub = Sub::new(3, b"member");
        assert_eq!(sub.bytes()[0], MEMBER);
        assert_eq!(
            parse_sub(sub.bytes()).unwrap(),
            (xxh3_64_with_seed(b"member", 3), &b"member"[..])
        );
        assert!(parse_sub(b"short").is_err() && parse_score(b"short").is_err());
        assert_eq!(parse_item(&item(-1.5, b"m")).unwrap(), (-1.5, &b"m"[..]));
        assert!(parse_item(b"short").is_err());
    }
}
