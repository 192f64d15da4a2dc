//! ZRANDMEMBER: members drawn uniformly by their ranks, without reading all of a large sorted set.

use super::exploded::{Each, Exploded};
use super::packed::Packed;
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use forgekv_base::rng::Rng;
use std::collections::HashSet;

/// A walk over so many members costs about as much as one draw.
const WALKED_PER_DRAW: u64 = 16;
/// When a member is not in memory, the next ones are asked for with it.
const AHEAD: usize = 64;

/// Shows random members: `count` different ones, or all if there are not so many; if `count` is negative,
/// `-count` of which each may be any.
///
/// # Errors
/// `WrongType`, `Again`, or what `each` answers; it may have been called before.
pub fn random(
    r: &mut Read<'_>,
    key: Key<'_>,
    count: i64,
    each: &mut dyn FnMut(&[u8], f64) -> Result<()>,
) -> Result<()> {
    let mut rng = Rng::seeded(r.rng().next_u64());
    let Some(header) = r.header_of(key, Kind::ZSet)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(());
    };
    let wanted = count.unsigned_abs();
    if header.is_exploded() {
        let large = Large { key, exploded: Exploded::decode(&header)? };
        return if count < 0 {
            large.repeated(r, &mut rng, wanted, each)
        } else {
            large.distinct(r, &mut rng, wanted, each)
        };
    }
    let all = Packed::new(header.body).all()?;
    if count < 0 {
        for _ in 0..wanted {
            let nth = rng.below(all.len() as u64) as usize;
            let Some(entry) = all.get(nth) else { return Ok(()) };
            each(entry.member, entry.score)?;
        }
        return Ok(());
    }
    let mut choice = Choice { wanted, left: all.len() as u64 };
    for entry in all.iter().filter(|_| choice.takes(&mut rng)) {
        each(entry.member, entry.score)?;
    }
    Ok(())
}

/// Chooses `wanted` of `left` things that come one after the other (Knuth, TAOCP 3.4.2, algorithm S).
struct Choice {
    wanted: u64,
    left: u64,
}

impl Choice {
    fn takes(&mut self, rng: &mut Rng) -> bool {
        let takes = rng.below(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(takes);
        takes
    }
}

/// An exploded sorted set.
struct Large<'k> {
    key: Key<'k>,
    exploded: Exploded,
}

impl Large<'_> {
    fn distinct(
        &self,
        r: &mut Read<'_>,
        rng: &mut Rng,
        wanted: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let count = self.exploded.count();
        if wanted.saturating_mul(WALKED_PER_DRAW) >= count {
            let mut choice = Choice { wanted, left: count };
            return self.exploded.show(r, self.key, (0, count), false, &mut |member, score| {
                if choice.takes(rng) { each(member, score) } else { Ok(()) }
            });
        }
        let mut drawn = HashSet::new();
        self.draw(r, wanted, each, || {
            loop {
                let rank = rng.below(count);
                if drawn.insert(rank) {
                    return rank;
                }
            }
        })
    }

    fn repeated(
        &self,
        r: &mut Read<'_>,
        rng: &mut Rng,
        wanted: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let count = self.exploded.count();
        self.draw(r, wanted, each, || rng.below(count))
    }

    /// Shows the members of the ranks that `next` draws.
    fn draw(
        &self,
        r: &mut Read<'_>,
        wanted: u64,
        each: &mut Each<'_>,
        mut next: impl FnMut() -> u64,
    ) -> Result<()> {
        for n in 0..wanted {
            match self.exploded.show_one(r, self.key, next(), each) {
                Err(e @ Error::Again(_)) => {
                    for _ in 0..(wanted - n - 1).min(AHEAD as u64) {
                        // What is missing is noted; that the command runs again is certain already.
                        if self.exploded.show_one(r, self.key, next(), &mut |_, _| Ok(())).is_err()
                        {
                        }
                    }
                    return Err(e);
                }
                done => done?,
            }
        }
        Ok(())
    }
}
