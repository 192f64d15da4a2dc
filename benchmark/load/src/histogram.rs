//! Latencies in logarithmic buckets, as HdrHistogram has them: 128 to each power of two, so a
//! percentile is off by less than 1 %.

const SUB_BITS: u32 = 7;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; ((65 - SUB_BITS as usize) << SUB_BITS) + 1], total: 0, max: 0 }
    }

    fn bucket(ns: u64) -> usize {
        if ns < SUB {
            return ns as usize;
        }
        let shift = 63 - ns.leading_zeros() - SUB_BITS;
        (((u64::from(shift) + 1) << SUB_BITS) + ((ns >> shift) - SUB)) as usize
    }

    /// The largest value that falls into bucket `at`.
    fn upper(at: usize) -> u64 {
        let at = at as u64;
        if at < SUB {
            return at;
        }
        let shift = (at >> SUB_BITS) - 1;
        ((((at & (SUB - 1)) + SUB + 1) as u128) << shift).saturating_sub(1) as u64
    }

    /// Counts `times` values of `ns`.
    pub fn add(&mut self, ns: u64, times: u64) {
        self.counts[Self::bucket(ns)] += times;
        self.total += times;
        self.max = self.max.max(ns);
    }

    /// Takes in another one's counts.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The value in microseconds that `share` of all do not exceed.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::upper(at).min(self.max) as f64 / 1000.0;
            }
        }
        self.max_us()
    }

    /// The largest, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        for ns in (0..100_000u64)
            .chain((17..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 12345]))
        {
            let upper = Histogram::upper(Histogram::bucket(ns));
            assert!(upper >= ns && upper - ns <= ns / SUB, "{ns} {upper}");
        }
        assert_eq!(Histogram::upper(Histogram::bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles() {
        let mut low = Histogram::new();
        let mut high = Histogram::new();
        for us in 1..=1000u64 {
            if us <= 500 { &mut low } else { &mut high }.add(us * 1000, 1);
        }
        low.merge(&high);
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let got = low.percentile_us(share);
            assert!((got - expected).abs() <= expected / 100.0, "{share}: {got}");
        }
        assert_eq!(low.max_us(), 1000.0);
    }
}
