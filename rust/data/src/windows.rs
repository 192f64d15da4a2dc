//! Uniform draws from elements that lie in order of a hash: HRANDFIELD, SRANDMEMBER, SPOP.
//!
//! Hash space is cut into equal windows of 16 elements on average. A window is drawn, and a number below
//! [`WINDOW_MAX`]: if the window has an element of that number it is chosen, and otherwise nothing is. So
//! every element is chosen with the same probability, however many share its window. (A window with more
//! elements than that has a probability of about 10⁻¹¹.) When many are wanted, one walk over all elements
//! is cheaper.

use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Read;
use forgekv_base::rng::Rng;
use std::ops::{Bound, ControlFlow};

/// A window has so many elements on average.
const WINDOW: u64 = 16;
/// No window has more.
const WINDOW_MAX: u64 = 52;
/// A walk over so many elements costs about as much as one draw.
const WALKED_PER_DRAW: u64 = 64;
/// When a window is not in memory, the next ones are asked for with it.
const AHEAD: usize = 8;

/// Attempts for each element wanted before a walk is made; most fail only if most elements do not count.
pub(crate) const ATTEMPTS: u64 = 200;

type Each<'f> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'f;

/// The elements of an exploded value whose sub-keys begin with a hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows<'k> {
    pub(crate) owner: Key<'k>,
    pub(crate) generation: u64,
    /// How many elements there are.
    pub(crate) count: u64,
}

impl Windows<'_> {
    /// Whether to draw so many is cheaper than a walk.
    pub(crate) fn draws(&self, wanted: u64) -> bool {
        wanted.saturating_mul(WALKED_PER_DRAW) < self.count
    }

    /// Draws once; shows an element, sub-key and value, if one was chosen.
    pub(crate) fn attempt(
        &self,
        r: &mut Read<'_>,
        rng: &mut Rng,
        each: &mut Each<'_>,
    ) -> Result<()> {
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
        let windows = (self.count / WINDOW).max(1);
        let start = |window: u64| {
            let first = (u128::from(window) << 64).div_ceil(u128::from(windows));
            u64::try_from(first).ok()
        };
        let window = rng.below(windows);
        let (start, end) = (start(window).unwrap_or(0), start(window + 1));
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
        let from = Bound::Included(&start[..]);
        let mut left = nth;
        r.scan_elements(self.owner, self.generation, from, to, false, &mut |sub, bytes| {
            if left > 0 {
                left -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            each(sub, bytes)?;
            Ok(ControlFlow::Break(()))
        })
    }
}

/// Chooses `wanted` of `left` things that come one after the other (Knuth, TAOCP 3.4.2, algorithm S).
pub(crate) struct Choice {
    wanted: u64,
    left: u64,
}

impl Choice {
    pub(crate) fn new(wanted: u64, left: u64) -> Choice {
        Choice { wanted, left }
    }

    pub(crate) fn takes(&mut self, rng: &mut Rng) -> bool {
        let takes = rng.below(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(takes);
        takes
    }
}

/// So many draws with repetition among numbers below `among`: which number each draw chose, and which draw
/// it was, in order of the numbers.
pub(crate) fn draws(rng: &mut Rng, wanted: u64, among: u64) -> Vec<(u64, usize)> {
    let mut draws: Vec<(u64, usize)> =
        (0..wanted as usize).map(|order| (rng.below(among), order)).collect();
    draws.sort_unstable();
    draws
}
