//! Which key comes next: uniform, Zipf as in YCSB (Gray et al., "Quickly generating billion-record
//! synthetic databases"), or each key once, in order.

/// splitmix64: small, fast, and any seed is good.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finalizer of splitmix64: a bijection that leaves no pattern.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A distribution over the numbers below `keys`.
#[derive(Clone, Debug)]
pub enum Distribution {
    /// All alike.
    Uniform { keys: u64 },
    /// The number of rank r has weight 1 / r^theta; which number has which rank is scrambled.
    Zipf { keys: u64, theta: f64, zeta: f64, alpha: f64, eta: f64 },
}

impl Distribution {
    /// `uniform`, `zipf` (theta 0.99) or `zipf:theta`.
    pub fn parse(text: &str, keys: u64) -> Result<Distribution, String> {
        if text == "uniform" {
            return Ok(Distribution::Uniform { keys });
        }
        let theta = match text.strip_prefix("zipf") {
            Some("") => 0.99,
            Some(rest) => rest
                .strip_prefix(':')
                .and_then(|theta| theta.parse().ok())
                .filter(|theta| *theta > 0.0 && *theta < 1.0)
                .ok_or_else(|| format!("{text}: theta is to be between 0 and 1"))?,
            None => return Err(format!("there is no distribution {text}")),
        };
        let zeta: f64 = (1..=keys).map(|rank| (rank as f64).powf(-theta)).sum();
        let first_two = 1.0 + 0.5f64.powf(theta);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - theta)) / (1.0 - first_two / zeta);
        Ok(Distribution::Zipf { keys, theta, zeta, alpha: 1.0 / (1.0 - theta), eta })
    }

    /// The next number.
    pub fn next(&self, random: &mut Random) -> u64 {
        match *self {
            Distribution::Uniform { keys } => random.below(keys),
            Distribution::Zipf { keys, theta, zeta, alpha, eta } => {
                let u = random.unit();
                let scaled = u * zeta;
                let rank = if scaled < 1.0 {
                    0
                } else if scaled < 1.0 + 0.5f64.powf(theta) {
                    1
                } else {
                    (keys as f64 * (eta * u - eta + 1.0).powf(alpha)) as u64
                };
                // A prime far above any number of keys that is used here: one key a rank.
                (u128::from(rank.min(keys - 1)) * 0x9e37_79b9_7f4a_7c55 % u128::from(keys)) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_is_skewed_as_it_should_be() {
        let keys = 100_000;
        let zipf = Distribution::parse("zipf", keys).unwrap();
        let mut random = Random::new(1);
        let mut counts = vec![0u32; keys as usize];
        for _ in 0..1_000_000 {
            counts[zipf.next(&mut random) as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // zeta(100000, 0.99) = 12.78: the first key has 7.8 %, the second 3.9 %.
        assert!((76_000..81_000).contains(&counts[0]), "{}", counts[0]);
        assert!((37_500..41_500).contains(&counts[1]), "{}", counts[1]);
        let top: u32 = counts[..1000].iter().sum();
        assert!((560_000..640_000).contains(&top), "{top}");
    }

    #[test]
    fn uniform_reaches_all() {
        let uniform = Distribution::parse("uniform", 100).unwrap();
        let mut random = Random::new(7);
        let mut counts = [0u32; 100];
        for _ in 0..100_000 {
            counts[uniform.next(&mut random) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)));
        assert!(Distribution::parse("zipf:1.5", 10).is_err());
        assert!(Distribution::parse("normal", 10).is_err());
    }
}
