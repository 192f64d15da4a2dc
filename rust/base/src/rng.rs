//! Chance, through one door: a small seedable generator and the system's entropy.
//!
//! [`Rng`] is xoshiro256** (Blackman and Vigna): 32 bytes of state, about a nanosecond a draw, one
//! seed replays one history. It is not for secrets; those come from [`entropy`].

use std::io;

/// A fast pseudo-random generator. Not cryptographic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator that `seed` names; equal seeds give equal sequences.
    pub fn seeded(seed: u64) -> Self {
        // SplitMix64 spreads the seed over the state, which then cannot be all zero.
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// A generator no one can replay. Should the system have no entropy to give, the seed is made
    /// of the clocks: good enough for sampling, and this type promises no more.
    pub fn from_entropy() -> Self {
        let mut seed = [0u8; 8];
        match entropy(&mut seed) {
            Ok(()) => Self::seeded(u64::from_le_bytes(seed)),
            Err(_) => {
                let place = &raw const seed as usize as u64;
                Self::seeded(crate::clock::now_us() ^ place.rotate_left(32))
            }
        }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`, every one equally likely; 0 when `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire, "Fast Random Integer Generation in an Interval": a multiplication instead of a
        // division, and a redraw for the few low products that would favour some numbers.
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// A number in `[0, 1)` with 53 random bits.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Fills `out` from the system's cryptographic source: passwords, run ids, seeds.
pub fn entropy(out: &mut [u8]) -> io::Result<()> {
    getrandom::fill(out).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_numbers_are_the_published_algorithms() {
        // SplitMix64(0) begins e220a8397b1dcdaf 6e789e6aa1b965f4 06c45d188009454f f88bb8a8724c81ec.
        let rng = Rng::seeded(0);
        assert_eq!(
            rng.state,
            [
                0xe220_a839_7b1d_cdaf,
                0x6e78_9e6a_a1b9_65f4,
                0x06c4_5d18_8009_454f,
                0xf88b_b8a8_724c_81ec
            ]
        );
        // xoshiro256** from the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let drawn: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(drawn, [11520, 0, 1509978240, 1215971899390074240]);
    }

    #[test]
    fn one_seed_replays_one_history() {
        let mut a = Rng::seeded(7);
        let mut b = a.clone();
        let mut other = Rng::seeded(8);
        let history: Vec<u64> = (0..100).map(|_| a.next_u64()).collect();
        assert_eq!(history, (0..100).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(history, (0..100).map(|_| other.next_u64()).collect::<Vec<_>>());
        assert_ne!(Rng::from_entropy(), Rng::from_entropy());
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = Rng::seeded(1);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        // A bound just above half the range is where a naive modulo is worst.
        let bound = (1u64 << 63) + 1;
        assert!((0..1000).all(|_| rng.below(bound) < bound));
    }

    #[test]
    fn f64_stays_in_the_unit_interval() {
        let mut rng = Rng::seeded(2);
        let sum: f64 = (0..10_000)
            .map(|_| {
                let x = rng.f64();
                assert!((0.0..1.0).contains(&x));
                x
            })
            .sum();
        assert!((4_800.0..5_200.0).contains(&sum));
    }

    #[test]
    fn fill_reaches_every_byte() {
        let mut rng = Rng::seeded(3);
        for len in 0..40 {
            let mut seen = vec![0u8; len];
            for _ in 0..20 {
                let mut out = vec![0u8; len];
                rng.fill(&mut out);
                seen.iter_mut().zip(&out).for_each(|(s, o)| *s |= o);
            }
            assert!(seen.iter().all(|&b| b != 0));
        }
        let mut secret = [0u8; 32];
        entropy(&mut secret).unwrap();
        assert_ne!(secret, [0u8; 32]);
    }
}
