//! HRANDFIELD: fields drawn uniformly, without reading all of a large hash.
//!
//! Fields of an exploded hash lie in order of their hashes, so they are drawn by [`Windows`].

use super::TIMED;
use super::exploded::{Element, Exploded, parse_sub};
use super::packed::{Entry, Packed};
use super::walk::elements;
use crate::error::Result;
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use crate::windows::{self, ATTEMPTS, Choice, Windows};
use forgekv_base::rng::Rng;
use smallvec::SmallVec;
use std::collections::HashSet;

type Each<'f> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'f;

/// Shows random fields that have not expired: `count` different ones, or all if there are not so many; if
/// `count` is negative, `-count` of which each may be any.
///
/// # Errors
/// `WrongType`, `Again`, or what `each` answers; it may have been called before.
pub fn random(r: &mut Read<'_>, key: Key<'_>, count: i64, each: &mut Each<'_>) -> Result<()> {
    let now_ms = r.now_ms();
    let mut rng = Rng::seeded(r.rng().next_u64());
    let Some(header) = r.header_of(key, Kind::Hash)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(());
    };
    let wanted = count.unsigned_abs();
    if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let large = Large { key, exploded, now_ms };
        return if count < 0 {
            large.repeated(r, &mut rng, wanted, each)
        } else {
            large.distinct(r, &mut rng, wanted, each)
        };
    }
    let packed = Packed::decode(header.encoding == TIMED, header.body)?;
    let mut live: SmallVec<[Entry<'_>; 16]> = SmallVec::new();
    let mut entries = packed.entries();
    while let Some(entry) = entries.next()? {
        if entry.is_live(now_ms) {
            live.push(entry);
        }
    }
    if count < 0 {
        for _ in 0..wanted {
            let nth = rng.below(live.len() as u64) as usize;
            let Some(entry) = live.get(nth) else { return Ok(()) };
            each(entry.field, entry.value)?;
        }
        return Ok(());
    }
    let mut choice = Choice::new(wanted, live.len() as u64);
    for entry in live.iter().filter(|_| choice.takes(&mut rng)) {
        each(entry.field, entry.value)?;
    }
    Ok(())
}

/// An exploded hash.
struct Large<'k> {
    key: Key<'k>,
    exploded: Exploded,
    now_ms: u64,
}

impl Large<'_> {
    fn walk(&self, r: &mut Read<'_>, each: &mut Each<'_>) -> Result<()> {
        elements(r, self.key, self.exploded.generation, self.now_ms, each)
    }

    /// The number of fields that have not expired.
    fn live(&self, r: &mut Read<'_>) -> Result<u64> {
        if !self.exploded.timed {
            return Ok(self.exploded.count);
        }
        let mut live = 0;
        self.walk(r, &mut |_, _| {
            live += 1;
            Ok(())
        })?;
        Ok(live)
    }

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
                self.attempt(r, rng, &mut |sub, value| {
                    if seen.insert(sub.to_vec()) {
                        each(parse_sub(sub)?.1, value)?;
                    }
                    Ok(())
                })?;
                if seen.len() as u64 == wanted {
                    return Ok(());
                }
            }
        }
        let left = self.live(r)?.saturating_sub(seen.len() as u64);
        let mut choice = Choice::new(wanted.saturating_sub(seen.len() as u64), left);
        self.walk(r, &mut |sub, value| {
            if !seen.contains(sub) && choice.takes(rng) {
                each(parse_sub(sub)?.1, value)?;
            }
            Ok(())
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
                self.attempt(r, rng, &mut |sub, value| {
                    left -= 1;
                    each(parse_sub(sub)?.1, value)
                })?;
                if left == 0 {
                    return Ok(());
                }
            }
        }
        let live = self.live(r)?;
        if live == 0 {
            return Ok(());
        }
        let draws = windows::draws(rng, left, live);
        let mut chosen: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut answers = vec![0; draws.len()];
        let mut rest = draws.as_slice();
        let mut number = 0;
        self.walk(r, &mut |sub, value| {
            while let Some((&(drawn, order), after)) = rest.split_first()
                && drawn == number
            {
                if let Some(answer) = answers.get_mut(order) {
                    *answer = chosen.len();
                }
                rest = after;
                if rest.first().is_none_or(|(next, _)| *next != number) {
                    chosen.push((parse_sub(sub)?.1.to_vec(), value.to_vec()));
                }
            }
            number += 1;
            Ok(())
        })?;
        for answer in answers {
            if let Some((field, value)) = chosen.get(answer) {
                each(field, value)?;
            }
        }
        Ok(())
    }

    fn windows(&self) -> Windows<'_> {
        let Exploded { generation, count, .. } = self.exploded;
        Windows { owner: self.key, generation, count }
    }

    /// Draws once; shows a field if one was chosen that has not expired.
    fn attempt(&self, r: &mut Read<'_>, rng: &mut Rng, each: &mut Each<'_>) -> Result<()> {
        self.windows().attempt(r, rng, &mut |sub, bytes| {
            let element = Element::decode(bytes)?;
            if element.is_live(self.now_ms) { each(sub, element.value) } else { Ok(()) }
        })
    }
}
