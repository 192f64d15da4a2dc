//! From elements to registers, and from registers to an estimate.
//!
//! The estimator is that of Otmar Ertl ("New cardinality estimation algorithms for HyperLogLog sketches",
//! 2017), which needs no tables and no corrections: how often each register value occurs is all it asks.

use super::{INDEX_BITS, REGISTERS, dense, place};

/// The seed that Redis gives its hash: part of the format.
const SEED: u64 = 0xadc8_3b19;
/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;
/// The highest value of a register, less one.
const RUN_MAX: usize = 64 - INDEX_BITS as usize;

/// One value for each register.
pub(super) type Registers = Vec<u8>;

/// MurmurHash64A (Austin Appleby), reading little-endian on every machine.
pub(super) fn murmur(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last.iter_mut().zip(tail).for_each(|(to, byte)| *to = *byte);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// How many registers have which value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Histogram([u64; 64]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 64])
    }
}

impl Histogram {
    pub(super) fn of(registers: impl Iterator<Item = u8>) -> Histogram {
        let mut histogram = Histogram::default();
        registers.for_each(|value| histogram.add(value, 1));
        histogram
    }

    pub(super) fn add(&mut self, value: u8, times: u64) {
        if let Some(n) = self.0.get_mut(usize::from(value)) {
            *n += times;
        }
    }

    /// Whether every register is counted.
    pub(super) fn is_whole(&self) -> bool {
        self.0.iter().sum::<u64>() == REGISTERS as u64
    }

    fn share(&self, value: usize) -> f64 {
        self.0.get(value).map_or(0.0, |n| *n as f64)
    }

    pub(super) fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let mut z = m * tau((m - self.share(RUN_MAX + 1)) / m);
        for value in (1..=RUN_MAX).rev() {
            z = 0.5 * (z + self.share(value));
        }
        z += m * sigma(self.share(0) / m);
        (ALPHA * m * m / z).round() as u64
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// Fills a HyperLogLog with known numbers of elements and compares.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn self_test() -> std::result::Result<(), String> {
    let mut registers = vec![0; REGISTERS * 6 / 8];
    let mut model = vec![0; REGISTERS];
    let mut checkpoint = 1;
    for n in 1..=1_000_000u64 {
        let (index, run) = place(&n.to_le_bytes());
        dense::raise(&mut registers, index, run);
        if let Some(highest) = model.get_mut(index) {
            *highest = run.max(*highest);
        }
        if n != checkpoint {
            continue;
        }
        checkpoint *= 10;
        let kept = (0..REGISTERS).map(|index| dense::get(&registers, index));
        if !kept.clone().eq(model.iter().copied()) {
            return Err(format!("registers differ after {n} elements"));
        }
        // Four times the standard error, and a little for small numbers.
        let (estimate, error) = (Histogram::of(kept).estimate(), 1.04 / (REGISTERS as f64).sqrt());
        if estimate.abs_diff(n) as f64 > n as f64 * error * 4.0 + 1.0 {
            return Err(format!("{n} elements are estimated as {estimate}"));
        }
    }
    Ok(())
}
