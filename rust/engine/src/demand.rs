//! How one budget is shared between the caches of 64 shards: by who needs it. One large value lives in one
//! shard, and may take nearly all of the memory when it is what is read.

/// A shard never falls below this part of an even share, so that it always has something to begin with.
const LEAST_PART: u64 = 8;
/// A cache gives back at most this part of what it holds at once: evicting holds its shard.
const STEP_PART: u64 = 32;

/// What a shard's cache says when memory is shared out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    /// Bytes in it.
    pub(crate) used: u64,
    /// Whether something had to go, since it was asked last, for something that was wanted.
    pub(crate) pressed: bool,
}

/// New shares of `total` bytes. While some are pressed, all others lose what they do not hold at once and
/// what they hold step by step, and the pressed get the same each. As what they lose goes by what they
/// have, equals end up with the same.
pub(crate) fn divide(total: u64, demands: &[Demand]) -> Vec<u64> {
    let floor = total / demands.len().max(1) as u64 / LEAST_PART;
    let least = |d: &Demand| (d.used - d.used / STEP_PART).max(floor);
    let held: u64 = demands.iter().map(least).sum();
    if held > total {
        // The budget has shrunk.
        let part = total as f64 / held as f64;
        return demands.iter().map(|d| (least(d) as f64 * part) as u64).collect();
    }
    let spare = total - held;
    let pressed = demands.iter().filter(|d| d.pressed).count();
    let gets_more = |d: &Demand| d.pressed || pressed == 0;
    let more = spare / if pressed == 0 { demands.len() } else { pressed }.max(1) as u64;
    demands.iter().map(|d| least(d) + if gets_more(d) { more } else { 0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 64 << 20;

    fn idle(used: u64) -> Demand {
        Demand { used, pressed: false }
    }

    /// Lets the pressed fill what they get, for so many rounds. Answers the last shares.
    fn play(demands: &mut [Demand], rounds: usize) -> Vec<u64> {
        let mut shares = Vec::new();
        for _ in 0..rounds {
            shares = divide(TOTAL, demands);
            assert!(shares.iter().sum::<u64>() <= TOTAL);
            for (d, &share) in demands.iter_mut().zip(&shares) {
                d.used = if d.pressed { share } else { d.used.min(share) };
            }
        }
        shares
    }

    #[test]
    fn who_asks_for_nothing_shares_evenly() {
        assert!(divide(TOTAL, &[idle(0); 64]).iter().all(|&share| share > TOTAL / 70));
        assert!(divide(0, &[idle(5); 64]).iter().all(|&share| share <= 5));
        assert!(divide(TOTAL, &[]).is_empty());
        let shrunk = divide(TOTAL, &[idle(TOTAL / 32); 64]);
        assert!(shrunk.iter().sum::<u64>() <= TOTAL && shrunk[0] > TOTAL / 70);
    }

    #[test]
    fn one_shard_can_have_nearly_all() {
        let mut demands = [idle(0); 64];
        demands[7].pressed = true;
        assert!(play(&mut demands, 1)[7] > TOTAL * 3 / 4);
        // And gives it back to another who needs it.
        demands[7].pressed = false;
        demands[9].pressed = true;
        let shares = play(&mut demands, 200);
        assert!(shares[9] > TOTAL * 3 / 4, "{}", shares[9]);
        assert!(shares.iter().all(|&share| share >= TOTAL / 64 / LEAST_PART));
    }

    #[test]
    fn equals_get_the_same() {
        let mut demands = [Demand { used: 0, pressed: true }; 64];
        demands[0].used = TOTAL / 2;
        let shares = play(&mut demands, 200);
        assert!(shares[0] < 2 * shares[1], "{} {}", shares[0], shares[1]);
    }
}
