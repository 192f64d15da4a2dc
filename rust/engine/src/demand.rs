//! How one budget is shared between the caches of 64 shards: by who needs it. One large value lives in one
//! shard, and may take nearly all of the memory when it is what is read.

/// A shard never falls below this part of an even share, so that it always has something to begin with.
const LEAST_PART: u64 = 8;
/// A cache gives back at most this part of the whole at once: evicting holds its shard.
const STEP_PART: u64 = 256;

/// What a shard's cache says when memory is shared out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    /// Bytes in it.
    pub(crate) used: u64,
    /// Bytes that it may take until now.
    pub(crate) share: u64,
    /// Whether something had to go, since it was asked last, for something that was wanted.
    pub(crate) pressed: bool,
}

/// New shares of `total` bytes. Those who are pressed grow by half at a time, at the cost of those who are
/// not, who lose what they do not hold at once and what they hold step by step.
pub(crate) fn divide(total: u64, demands: &[Demand]) -> Vec<u64> {
    let even = total / demands.len().max(1) as u64;
    let floor = even / LEAST_PART;
    let least: Vec<u64> =
        demands.iter().map(|d| d.used.saturating_sub(total / STEP_PART).max(floor)).collect();
    let wanted = |d: &Demand| {
        if d.pressed { d.share + d.share / 2 + even } else { d.used + d.used / 8 + floor }
    };
    let more: Vec<u64> =
        demands.iter().zip(&least).map(|(d, least)| wanted(d).saturating_sub(*least)).collect();
    let spare = total.saturating_sub(least.iter().sum());
    let asked: u64 = more.iter().sum();
    let left = spare.saturating_sub(asked) / demands.len().max(1) as u64;
    let part = (spare as f64 / asked.max(1) as f64).min(1.0);
    least
        .iter()
        .zip(&more)
        .map(|(least, more)| least + (*more as f64 * part) as u64 + left)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 64 << 20;

    fn idle(used: u64) -> Demand {
        Demand { used, share: used, pressed: false }
    }

    /// Lets the pressed fill what they get, for so many rounds.
    fn play(demands: &mut [Demand], rounds: usize) {
        for _ in 0..rounds {
            for (d, share) in demands.iter_mut().zip(divide(TOTAL, &demands.to_vec())) {
                d.share = share;
                d.used = if d.pressed { share } else { d.used.min(share) };
            }
            let sum: u64 = demands.iter().map(|d| d.share).sum();
            assert!(sum <= TOTAL, "{sum}");
        }
    }

    #[test]
    fn who_asks_for_nothing_shares_evenly() {
        assert_eq!(divide(TOTAL, &[idle(0); 64]), [TOTAL / 64; 64]);
        assert!(divide(0, &[idle(5); 64]).iter().all(|&share| share <= 5));
        assert!(divide(TOTAL, &[]).is_empty());
    }

    #[test]
    fn one_shard_can_have_nearly_all() {
        let mut demands = [idle(0); 64];
        demands[7].pressed = true;
        demands[7].share = TOTAL / 64;
        play(&mut demands, 12);
        assert!(demands[7].share > TOTAL * 3 / 4, "{}", demands[7].share);
        // And gives it back to another who needs it.
        demands[7].pressed = false;
        demands[9].pressed = true;
        play(&mut demands, 400);
        assert!(demands[9].share > TOTAL * 3 / 4, "{}", demands[9].share);
        assert!(demands.iter().all(|d| d.share >= TOTAL / 64 / LEAST_PART));
    }

    #[test]
    fn equals_get_the_same() {
        let mut demands = [Demand { used: 0, share: TOTAL / 64, pressed: true }; 64];
        demands[0].share = TOTAL / 2;
        play(&mut demands, 200);
        let (min, max) =
            (demands.iter().map(|d| d.share).min(), demands.iter().map(|d| d.share).max());
        assert!(max.unwrap_or(0) < 2 * min.unwrap_or(0), "{min:?} {max:?}");
    }
}
