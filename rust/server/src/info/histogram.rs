//! Durations counted by size, with three per cent of error and a fixed amount of memory.
//!
//! Below 32 ns every value has a bucket; above, every power of two is cut into 32. So a bucket is
//! at most 1/32 of its values wide, up to 64 seconds; longer ones are counted as the longest.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = 1024;

fn bucket(nanos: u64) -> usize {
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let exponent = nanos.ilog2();
    let sub = (nanos >> (exponent - SUB_BITS)) as usize - SUB;
    ((exponent - SUB_BITS + 1) as usize * SUB + sub).min(BUCKETS - 1)
}

/// The largest value that is counted in `bucket`.
fn largest(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = (bucket / SUB - 1) as u32;
    (((SUB + bucket % SUB + 1) as u64) << shift) - 1
}

/// Counters that one thread writes and others may read.
#[derive(Debug)]
pub(super) struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self([const { AtomicU64::new(0) }; BUCKETS]))
    }

    /// Counts one duration. Only the owner may call it: two writers would lose counts.
    #[inline]
    pub(super) fn record(&self, nanos: u64) {
        let counter = &self.0[bucket(nanos)];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn add_to(&self, counts: &mut Counts) {
        counts.0.resize(BUCKETS, 0);
        for (sum, counter) in counts.0.iter_mut().zip(&self.0) {
            *sum += counter.load(Relaxed);
        }
    }
}

/// What histograms have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Counts {
    /// How many durations there are.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What `percent` of the durations are not longer than, in nanoseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = ((percent / 100.0 * self.total() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return largest(bucket);
            }
        }
        0
    }

    /// Microseconds, each twice the one before, and how many durations are not longer; only where there
    /// are more than at the one before.
    pub fn doublings(&self) -> Vec<(u64, u64)> {
        let total = self.total();
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut counts = self.0.iter().enumerate().peekable();
        let mut seen = 0;
        let mut nanos = 1024u64;
        while seen < total {
            let before = seen;
            while let Some((_, count)) = counts.next_if(|(bucket, _)| largest(*bucket) <= nanos) {
                seen += count;
            }
            if counts.peek().is_none() {
                seen = total;
            }
            if seen > before {
                // Named as Redis names them: the upper end of a bucket of hers.
                steps.push(((nanos + nanos / 128 - 1) / 1000, seen));
            }
            nanos = nanos.saturating_mul(2);
        }
        steps
    }

    pub(super) fn subtract(&mut self, earlier: &Counts) {
        for (count, earlier) in self.0.iter_mut().zip(&earlier.0) {
            *count = count.saturating_sub(*earlier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_everything_in_order() {
        let mut last = 0;
        for nanos in (0..200_000).chain((17..36).flat_map(|e| [(1u64 << e) - 1, 1 << e])) {
            let at = bucket(nanos);
            assert!(nanos < 200_000 || at >= last, "{nanos}");
            last = at;
            assert!(largest(at) >= nanos, "{nanos}");
            assert!(at == 0 || largest(at - 1) < nanos, "{nanos}");
            assert!((largest(at) - nanos) as f64 <= nanos as f64 / 32.0, "{nanos}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!(largest(BUCKETS - 1) > 60_000_000_000);
    }

    #[test]
    fn doublings_add_up() {
        let histogram = Histogram::new();
        for nanos in [100, 900, 1500, 30_000, 30_001, 5_000_000, u64::MAX] {
            histogram.record(nanos);
        }
        let mut counts = Counts::default();
        assert_eq!(counts.doublings(), []);
        histogram.add_to(&mut counts);
        let steps = counts.doublings();
        assert_eq!(steps[..4], [(1, 2), (2, 3), (33, 5), (8454, 6)]);
        assert_eq!((steps.len(), steps[4].1), (5, 7));
    }

    #[test]
    fn percentiles_are_values_not_exceeded() {
        let histogram = Histogram::new();
        for micros in 1..=1000u64 {
            histogram.record(micros * 1000);
        }
        let mut counts = Counts::default();
        histogram.add_to(&mut counts);
        assert_eq!(counts.total(), 1000);
        for (percent, micros) in [(0.0, 1.0), (50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = counts.percentile(percent) as f64 / 1000.0;
            assert!((micros..micros * 1.033).contains(&found), "{percent}: {found}");
        }
        let earlier = counts.clone();
        histogram.record(5);
        let mut later = Counts::default();
        histogram.add_to(&mut later);
        later.subtract(&earlier);
        assert_eq!((later.total(), later.percentile(50.0)), (1, 5));
        assert_eq!(Counts::default().percentile(50.0), 0);
    }
}
