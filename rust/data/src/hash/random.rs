//! HRANDFIELD: fields drawn uniformly, without reading all of a large hash.
//!
//! Fields of an exploded hash lie in order of their hashes. Hash space is cut into equal windows of 8 to 16
//! fields on average. A window is drawn, and a number below [`WINDOW_MAX`]: if the window has a field of
//! that number it is chosen, and otherwise all is drawn anew. So every field is chosen with the same
//! probability, however many share its window. (A window with more fields than that has a probability of
//! about 10⁻¹⁸.) When many fields are wanted, one walk over the hash is cheaper.

use super::TIMED;
use super::exploded::{Element, Exploded, parse_sub};
use super::packed::{Entry, Packed};
use super::walk::elements;
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use forgekv_base::rng::Rng;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};

/// No window has more fields.
const WINDOW_MAX: u64 = 64;
/// A walk over so many fields costs about as much as one draw.
const WALKED_PER_DRAW: u64 = 64;
/// Attempts for each field wanted before a walk is made; most fail only if most fields have expired.
const ATTEMPTS: u64 = 200;
/// When a window is not in memory, the next ones are asked for with it.
const AHEAD: usize = 8;

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

/// Chooses `wanted` of `left` things that come one after the other (Knuth, TAOCP 3.4.2, algorithm S).
struct Choice {
    wanted: u64,
    left: u64,
}

impl Choice {
    fn new(wanted: u64, left: u64) -> Choice {
        Choice { wanted, left }
    }

    fn takes(&mut self, rng: &mut Rng) -> bool {
        let takes = rng.below(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(takes);
        takes
    }
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
        if wanted.saturating_mul(WALKED_PER_DRAW) < self.exploded.count {
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
        if wanted.saturating_mul(WALKED_PER_DRAW) < self.exploded.count {
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
        // Which field each draw chooses, by number, and in which order the draws came.
        let mut draws: Vec<(u64, usize)> =
            (0..left as usize).map(|order| (rng.below(live), order)).collect();
        draws.sort_unstable();
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

    /// Draws once; shows a field if one was chosen.
    fn attempt(&self, r: &mut Read<'_>, rng: &mut Rng, each: &mut Each<'_>) -> Result<()> {
        let (window, nth) = self.draw(rng);
        match self.look(r, window, nth, each) {
            Err(e @ Error::Again(_)) => {
                for _ in 0..AHEAD {
                    let (window, nth) = self.draw(rng);
                    // What is missing is noted; that the command runs again is certain already.
                    if self.look(r, window, nth, &mut |_, _| Ok(())).is_err() {}
                }
                Err(e)
            }
            done => done,
        }
    }

    /// A window, as the number of its first hash and that of the next window, and a number in it.
    fn draw(&self, rng: &mut Rng) -> ((u64, Option<u64>), u64) {
        let bits = (self.exploded.count / 8).checked_ilog2().unwrap_or(0);
        let start = match bits {
            0 => 0,
            _ => (rng.next_u64() >> (64 - bits)) << (64 - bits),
        };
        let end = 1u64.checked_shl(64 - bits).and_then(|width| start.checked_add(width));
        ((start, end), rng.below(WINDOW_MAX))
    }

    fn look(
        &self,
        r: &mut Read<'_>,
        (start, end): (u64, Option<u64>),
        nth: u64,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let start = start.to_be_bytes();
        let end = end.map(u64::to_be_bytes);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut left = nth;
        let generation = self.exploded.generation;
        r.scan_elements(
            self.key,
            generation,
            Bound::Included(&start),
            to,
            false,
            &mut |sub, bytes| {
                if left > 0 {
                    left -= 1;
                    return Ok(ControlFlow::Continue(()));
                }
                let element = Element::decode(bytes)?;
                if element.is_live(self.now_ms) {
                    each(sub, element.value)?;
                }
                Ok(ControlFlow::Break(()))
            },
        )
    }
}
