//! Which memtables are sealed when all of them together take too much memory.
//!
//! A memtable whose keys are overwritten again and again saves the disk much, and would soon be as large
//! again: it stays as long as the idle ones can make the room. Among those that are alike the largest go
//! first, so that shards that fill alike are flushed one after the other.

/// Each time somebody looks, what was overwritten counts less by this part.
const FADES: u64 = 16;
/// A memtable is busy when what was overwritten of late is at least this part of it.
const BUSY_PART: u64 = 8;

/// One shard's active memtable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fill {
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Bytes of entries that were overwritten in place of late.
    pub(crate) overwritten: u64,
}

impl Fill {
    fn is_busy(&self) -> bool {
        self.overwritten >= (self.bytes / BUSY_PART).max(1)
    }
}

/// What is left of a count of overwritten bytes when it was looked at.
pub(crate) fn faded(overwritten: u64) -> u64 {
    overwritten - overwritten.div_ceil(FADES)
}

/// The shards to seal so that at most `goal` bytes are left.
pub(crate) fn to_seal(fills: &[Fill], goal: u64) -> Vec<usize> {
    let mut total: u64 = fills.iter().map(|fill| fill.bytes).sum();
    let idle: u64 = fills.iter().filter(|fill| !fill.is_busy()).map(|fill| fill.bytes).sum();
    // Many small tables that do not suffice would be for nothing.
    let spares_busy = total.saturating_sub(idle) <= goal;
    let mut order: Vec<(bool, u64, usize)> = fills
        .iter()
        .zip(0..)
        .filter(|(fill, _)| fill.bytes > 0)
        .map(|(fill, n)| (spares_busy && fill.is_busy(), fill.bytes, n))
        .collect();
    order.sort_unstable_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
    let mut chosen = Vec::new();
    for (_, bytes, n) in order {
        if total <= goal {
            break;
        }
        total -= bytes;
        chosen.push(n);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fills(of: &[(u64, u64)]) -> Vec<Fill> {
        of.iter().map(|&(bytes, overwritten)| Fill { bytes, overwritten }).collect()
    }

    #[test]
    fn the_largest_go_first_and_no_more_than_needed() {
        assert_eq!(to_seal(&fills(&[(10, 0), (30, 0), (20, 0)]), 60), [0usize; 0]);
        assert_eq!(to_seal(&fills(&[(10, 0), (30, 0), (20, 0)]), 30), [1]);
        assert_eq!(to_seal(&fills(&[(10, 0), (30, 0), (20, 0)]), 29), [1, 2]);
        let busy = fills(&[(10, 10), (30, 30), (20, 20)]);
        assert_eq!(to_seal(&busy, 30), [1], "all alike");
        assert_eq!(to_seal(&[], 0), [0usize; 0]);
    }

    #[test]
    fn what_is_overwritten_stays_while_the_idle_suffice() {
        assert_eq!(to_seal(&fills(&[(100, 40), (20, 0), (30, 1), (4, 0)]), 120), [2, 1]);
        assert_eq!(to_seal(&fills(&[(100, 40), (20, 0), (30, 1), (4, 0)]), 90), [0]);
        let mut overwritten = 1000;
        for _ in 0..100 {
            overwritten = faded(overwritten);
        }
        assert_eq!(overwritten, 0, "an old fame is forgotten");
    }
}
