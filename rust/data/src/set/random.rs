//! SRANDMEMBER and SPOP: members drawn uniformly, without reading all of a large set.

use super::exploded::{Exploded, parse_sub};
use super::members::Members;
use super::{Edit, Packing, algebra, each_packed};
use crate::error::Result;
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use crate::windows::{self, ATTEMPTS, Choice, Windows};
use forgekv_base::rng::Rng;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};

type Each<'f> = dyn FnMut(&[u8]) -> Result<()> + 'f;

/// Shows random members: `count` different ones, or all if there are not so many; if `count` is negative,
/// `-count` of which each may be any.
///
/// # Errors
/// `WrongType`, `Again`, or what `each` answers; it may have been called before.
pub fn random(r: &mut Read<'_>, key: Key<'_>, count: i64, each: &mut Each<'_>) -> Result<()> {
    let mut rng = Rng::seeded(r.rng().next_u64());
    let Some(header) = r.header_of(key, Kind::Set)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(());
    };
    let wanted = count.unsigned_abs();
    if wanted == 0 {
        return Ok(());
    }
    let packing = Packing::of(&header)?;
    if let Packing::Exploded(exploded) = packing {
        let large = Large { key, exploded };
        return if count < 0 {
            large.repeated(r, &mut rng, wanted, each)
        } else {
            large.distinct(r, &mut rng, wanted, &mut |sub| each(parse_sub(sub)?.1))
        };
    }
    let mut members: SmallVec<[SmallVec<[u8; 24]>; 16]> = SmallVec::new();
    each_packed(packing, &mut |member| {
        members.push(SmallVec::from_slice(member));
        Ok(())
    })?;
    if count < 0 {
        for _ in 0..wanted {
            let nth = rng.below(members.len() as u64) as usize;
            let Some(member) = members.get(nth) else { return Ok(()) };
            each(member)?;
        }
        return Ok(());
    }
    let mut choice = Choice::new(wanted, members.len() as u64);
    members.iter().filter(|_| choice.takes(&mut rng)).try_for_each(|member| each(member))
}

/// Takes `count` random members away, or all if there are not so many, and shows them; how many. The last
/// one takes the key with it.
///
/// # Errors
/// As [`random`].
pub fn pop(w: &mut Write<'_>, key: Key<'_>, count: u64, each: &mut Each<'_>) -> Result<u64> {
    let Some(header) = w.header_of(key, Kind::Set)? else { return Ok(0) };
    let (packing, expire_ms) = (Packing::of(&header)?, header.expire_ms);
    if count == 0 {
        return Ok(0);
    }
    if let Packing::Exploded(exploded) = packing {
        let large = Large { key, exploded };
        // To write what is left costs less than to delete what goes.
        if count > exploded.count / 2 {
            return large.pop_most(w, count, expire_ms, each);
        }
        let mut popped = Members::default();
        let mut rng = Rng::seeded(w.rng().next_u64());
        large.distinct(w, &mut rng, count, &mut |sub| {
            popped.push(sub);
            Ok(())
        })?;
        return take(w, key, popped.iter().map(parse_sub).map(|sub| Ok(sub?.1)), each);
    }
    let mut popped = Vec::new();
    random(w, key, count.min(i64::MAX as u64) as i64, &mut |member| {
        popped.push(member.to_vec());
        Ok(())
    })?;
    take(w, key, popped.iter().map(|member| Ok(member.as_slice())), each)
}

/// Takes members away that are there.
fn take<'m>(
    w: &mut Write<'_>,
    key: Key<'_>,
    members: impl Iterator<Item = Result<&'m [u8]>>,
    each: &mut Each<'_>,
) -> Result<u64> {
    let (mut edit, mut taken) = (Edit::open(w, key)?, 0);
    for member in members {
        let member = member?;
        edit.remove(w, member)?;
        each(member)?;
        w.changed();
        taken += 1;
    }
    edit.finish(w, Some("spop"))?;
    Ok(taken)
}

/// An exploded set.
struct Large<'k> {
    key: Key<'k>,
    exploded: Exploded,
}

impl Large<'_> {
    fn windows(&self) -> Windows<'_> {
        let Exploded { generation, count, .. } = self.exploded;
        Windows { owner: self.key, generation, count }
    }

    fn walk(&self, r: &mut Read<'_>, each: &mut Each<'_>) -> Result<()> {
        let (from, to) = (Bound::Unbounded, Bound::Unbounded);
        r.scan_elements(self.key, self.exploded.generation, from, to, false, &mut |sub, _| {
            each(sub)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Shows the sub-keys of different members.
    fn distinct(
        &self,
        r: &mut Read<'_>,
        rng: &mut Rng,
        wanted: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        if self.windows().draws(wanted) {
            for _ in 0..wanted.saturating_mul(ATTEMPTS) {
                self.windows().attempt(r, rng, &mut |sub, _| {
                    if seen.insert(sub.to_vec()) { each(sub) } else { Ok(()) }
                })?;
                if seen.len() as u64 == wanted {
                    return Ok(());
                }
            }
        }
        let drawn = seen.len() as u64;
        let left = self.exploded.count.saturating_sub(drawn);
        let mut choice = Choice::new(wanted.saturating_sub(drawn), left);
        self.walk(r, &mut |sub| {
            if !seen.contains(sub) && choice.takes(rng) { each(sub) } else { Ok(()) }
        })
    }

    fn repeated(
        &self,
        r: &mut Read<'_>,
        rng: &mut Rng,
        wanted: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let mut left = wanted;
        if self.windows().draws(wanted) {
            for _ in 0..wanted.saturating_mul(ATTEMPTS) {
                self.windows().attempt(r, rng, &mut |sub, _| {
                    left -= 1;
                    each(parse_sub(sub)?.1)
                })?;
                if left == 0 {
                    return Ok(());
                }
            }
        }
        let draws = windows::draws(rng, left, self.exploded.count);
        let (mut chosen, mut answers) = (Members::default(), vec![0; draws.len()]);
        let (mut rest, mut number) = (draws.as_slice(), 0);
        self.walk(r, &mut |sub| {
            while let Some((&(drawn, order), after)) = rest.split_first()
                && drawn == number
            {
                if let Some(answer) = answers.get_mut(order) {
                    *answer = chosen.len();
                }
                rest = after;
                if rest.first().is_none_or(|(next, _)| *next != number) {
                    chosen.push(sub);
                }
            }
            number += 1;
            Ok(())
        })?;
        for answer in answers {
            if let Some(sub) = chosen.get(answer) {
                each(parse_sub(sub)?.1)?;
            }
        }
        Ok(())
    }

    /// Takes more than half of the members away: the others are written anew.
    fn pop_most(
        &self,
        w: &mut Write<'_>,
        count: u64,
        expire_ms: Option<u64>,
        each: &mut Each<'_>,
    ) -> Result<u64> {
        let mut rng = Rng::seeded(w.rng().next_u64());
        let mut choice = Choice::new(count.min(self.exploded.count), self.exploded.count);
        let (mut kept, mut popped) = (Members::default(), 0);
        self.walk(w, &mut |sub| {
            if !choice.takes(&mut rng) {
                kept.push(sub);
                return Ok(());
            }
            popped += 1;
            each(parse_sub(sub)?.1)
        })?;
        w.orphan();
        (0..popped).for_each(|_| w.changed());
        if kept.is_empty() {
            w.delete_header(self.key, expire_ms);
        } else {
            algebra::put(w, self.key, &kept, expire_ms, expire_ms)?;
        }
        w.notify(event_class::SET, "spop", self.key);
        if kept.is_empty() {
            w.notify(event_class::GENERIC, "del", self.key);
        }
        Ok(popped)
    }
}
