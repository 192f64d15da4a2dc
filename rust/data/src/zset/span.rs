//! Which members of a sorted set are meant: by rank, by score, or by name.

use std::cmp::Ordering;

/// A range of members. Ranges by score and by name may be empty whatever is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span<'a> {
    /// From one rank to another, both included; negative ones count from the end.
    Rank(i64, i64),
    /// From one score to another.
    Score(ScoreEnd, ScoreEnd),
    /// From one name to another, in a sorted set whose scores are all the same. With different scores the
    /// answer means nothing, as in Redis.
    Lex(LexEnd<'a>, LexEnd<'a>),
}

/// An end of a range of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreEnd {
    /// Not NaN.
    pub score: f64,
    /// Whether the score itself is outside.
    pub exclusive: bool,
}

impl ScoreEnd {
    /// The score itself is inside.
    pub fn included(score: f64) -> ScoreEnd {
        ScoreEnd { score, exclusive: false }
    }

    /// The score itself is outside.
    pub fn excluded(score: f64) -> ScoreEnd {
        ScoreEnd { score, exclusive: true }
    }

    /// As a lower end: whether `score` is not below it.
    pub(super) fn is_before(self, score: f64) -> bool {
        if self.exclusive { score > self.score } else { score >= self.score }
    }

    /// As an upper end: whether `score` is not above it.
    pub(super) fn is_after(self, score: f64) -> bool {
        if self.exclusive { score < self.score } else { score <= self.score }
    }
}

/// An end of a range of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexEnd<'a> {
    /// Before every name.
    Start,
    /// After every name.
    End,
    /// The name itself is inside.
    Included(&'a [u8]),
    /// The name itself is outside.
    Excluded(&'a [u8]),
}

impl LexEnd<'_> {
    /// As a lower end: whether `member` is not below it.
    pub(super) fn is_before(self, member: &[u8]) -> bool {
        match self {
            LexEnd::Start => true,
            LexEnd::End => false,
            LexEnd::Included(end) => member >= end,
            LexEnd::Excluded(end) => member > end,
        }
    }

    /// As an upper end: whether `member` is not above it.
    pub(super) fn is_after(self, member: &[u8]) -> bool {
        match self {
            LexEnd::Start => false,
            LexEnd::End => true,
            LexEnd::Included(end) => member <= end,
            LexEnd::Excluded(end) => member < end,
        }
    }
}

/// The ranks from `start` to `stop`, both included and negative ones counted from the end, of `count`
/// members: the first, and the one behind the last.
pub(super) fn ranks(start: i64, stop: i64, count: u64) -> (u64, u64) {
    let from_end = |rank: i64| match rank {
        0.. => Some(rank as u64),
        _ => count.checked_sub(rank.unsigned_abs()),
    };
    let lo = from_end(start).unwrap_or(0);
    // A stop before the first member ends before it.
    let hi = from_end(stop).map_or(0, |stop| stop.saturating_add(1).min(count));
    if lo < hi { (lo, hi) } else { (0, 0) }
}

/// The part of the ranks `lo..hi` that is left when `offset` are skipped, from the end if `reverse`, and at
/// most `limit` taken; a negative limit takes all, a negative offset skips all.
pub(super) fn limited((lo, hi): (u64, u64), reverse: bool, offset: i64, limit: i64) -> (u64, u64) {
    let Ok(offset) = u64::try_from(offset) else { return (0, 0) };
    let left = hi.saturating_sub(lo).saturating_sub(offset);
    let n = u64::try_from(limit).map_or(left, |limit| left.min(limit));
    if n == 0 {
        return (0, 0);
    }
    if reverse { (hi - offset - n, hi - offset) } else { (lo + offset, lo + offset + n) }
}

/// A score as a number that sorts as scores do; both zeros are one.
pub(super) fn ordered(score: f64) -> u64 {
    // Adding zero turns the negative zero into the positive one.
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The score of which [`ordered`] made a number.
pub(super) fn from_ordered(number: u64) -> f64 {
    f64::from_bits(if number >> 63 == 0 { !number } else { number & !(1 << 63) })
}

/// How members are ordered: by score, then by name.
pub(super) fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    ordered(a.0).cmp(&ordered(b.0)).then_with(|| a.1.cmp(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_scores_do() {
        let scores = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -1.0,
            -f64::MIN_POSITIVE,
            -f64::from_bits(1),
            0.0,
            f64::from_bits(1),
            0.1,
            1.0,
            1e300,
            f64::INFINITY,
        ];
        for pair in scores.windows(2) {
            assert!(ordered(pair[0]) < ordered(pair[1]), "{pair:?}");
        }
        for score in scores {
            assert_eq!(from_ordered(ordered(score)).to_bits(), score.to_bits());
        }
        assert_eq!(ordered(-0.0), ordered(0.0));
        // What is just above a score is the next number.
        assert_eq!(from_ordered(ordered(0.0) + 1), f64::from_bits(1));
        assert_eq!(from_ordered(ordered(-f64::from_bits(1)) + 1), 0.0);
    }

    #[test]
    fn ranks_are_cut_to_what_is_there() {
        for (start, stop, expected) in [
            (0, -1, (0, 5)),
            (1, 2, (1, 3)),
            (-2, -1, (3, 5)),
            (-100, 0, (0, 1)),
            (3, 100, (3, 5)),
            (0, -6, (0, 0)),
            (3, 1, (0, 0)),
            (5, 9, (0, 0)),
            (i64::MIN, i64::MAX, (0, 5)),
            (-6, -6, (0, 0)),
        ] {
            assert_eq!(ranks(start, stop, 5), expected, "{start} {stop}");
        }
        assert_eq!(ranks(0, -1, 0), (0, 0));
    }

    #[test]
    fn limits_are_taken_from_the_side_where_the_walk_begins() {
        assert_eq!(limited((2, 8), false, 1, 2), (3, 5));
        assert_eq!(limited((2, 8), true, 1, 2), (5, 7));
        assert_eq!(limited((2, 8), false, 0, -1), (2, 8));
        assert_eq!(limited((2, 8), true, 4, -5), (2, 4));
        assert_eq!(limited((2, 8), false, 6, 1), (0, 0));
        assert_eq!(limited((2, 8), false, -1, 1), (0, 0));
        assert_eq!(limited((2, 8), true, i64::MAX, i64::MAX), (0, 0));
        assert_eq!(limited((2, 8), false, 0, 0), (0, 0));
    }
}
