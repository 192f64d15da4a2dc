//! The longest common subsequence of two strings (LCS), by the textbook table.
//!
//! `table[i][j]` is the length for the first `i` bytes of `a` and the first `j` of `b`. Walking back from
//! the far corner gives the bytes, last first. Where both neighbours are equal the walk shortens `b`:
//! clients see which of several answers they get, and this is Redis's.

/// A run of bytes that stand in both strings and in the answer; ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// First and last byte in the first string.
    pub a: (usize, usize),
    /// First and last byte in the second string.
    pub b: (usize, usize),
}

impl Match {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.a.1 - self.a.0 + 1
    }

    /// Never: a match has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A longest common subsequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lcs {
    /// Its bytes.
    pub text: Vec<u8>,
    /// Where they stand, last run first.
    pub matches: Vec<Match>,
}

/// The length of the longest common subsequence. Two rows of the table are enough for it.
pub fn lcs_len(a: &[u8], b: &[u8]) -> usize {
    let mut row = vec![0u32; b.len() + 1];
    for &x in a {
        let mut diagonal = 0;
        let mut left = 0;
        for (cell, &y) in row.iter_mut().skip(1).zip(b) {
            let above = *cell;
            *cell = if x == y { diagonal + 1 } else { above.max(left) };
            diagonal = above;
            left = *cell;
        }
    }
    row.last().map_or(0, |&n| n as usize)
}

/// The longest common subsequence. Takes four bytes of memory for each pair of bytes; the caller has
/// checked that this is bearable.
pub fn lcs(a: &[u8], b: &[u8]) -> Lcs {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for (i, &x) in a.iter().enumerate() {
        let (above, below) = table.split_at_mut((i + 1) * width);
        let above = above.get(i * width..).unwrap_or_default();
        let mut left = 0;
        for (((cell, &y), diagonal), up) in
            below.iter_mut().skip(1).zip(b).zip(above).zip(above.iter().skip(1))
        {
            *cell = if x == y { diagonal + 1 } else { left.max(*up) };
            left = *cell;
        }
    }
    let at = |i: usize, j: usize| table.get(i * width + j).copied().unwrap_or_default();
    let (mut i, mut j) = (a.len(), b.len());
    let mut text = Vec::with_capacity(at(i, j) as usize);
    let mut matches = Vec::new();
    let mut run: Option<Match> = None;
    while let (Some(x), Some(y)) = (i.checked_sub(1), j.checked_sub(1)) {
        match a.get(x) {
            Some(&byte) if b.get(y) == Some(&byte) => {
                text.push(byte);
                let (a_end, b_end) = run.map_or((x, y), |run| (run.a.1, run.b.1));
                run = Some(Match { a: (x, a_end), b: (y, b_end) });
                (i, j) = (x, y);
            }
            _ => {
                matches.extend(run.take());
                if at(x, j) > at(i, y) { i = x } else { j = y }
            }
        }
    }
    matches.extend(run);
    text.reverse();
    Lcs { text, matches }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_bytes_and_places() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let found = lcs(a, b);
        assert_eq!(found.text, b"mytext");
        assert_eq!(found.matches, [Match { a: (4, 7), b: (5, 8) }, Match { a: (2, 3), b: (0, 1) }]);
        assert_eq!(found.matches.iter().map(Match::len).sum::<usize>(), 6);
        assert_eq!(lcs_len(a, b), 6);
    }

    #[test]
    fn edges() {
        assert_eq!(lcs(b"", b"abc"), Lcs { text: vec![], matches: vec![] });
        assert_eq!((lcs_len(b"", b""), lcs_len(b"abc", b"")), (0, 0));
        assert_eq!(lcs(b"abc", b"xyz").matches, []);
        let same = lcs(b"abc", b"abc");
        assert_eq!(same.matches, [Match { a: (0, 2), b: (0, 2) }]);
        assert_eq!(lcs(b"aab", b"ab").text, b"ab");
    }

    #[test]
    fn both_ways_agree() {
        let mut state = 7u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 24) as u8 % 4
        };
        for n in 0..40 {
            let a: Vec<u8> = (0..n).map(|_| byte()).collect();
            let b: Vec<u8> = (0..40 - n).map(|_| byte()).collect();
            let found = lcs(&a, &b);
            assert_eq!(found.text.len(), lcs_len(&a, &b));
            assert_eq!(found.matches.iter().map(Match::len).sum::<usize>(), found.text.len());
            let picked: Vec<u8> =
                found.matches.iter().rev().flat_map(|m| a[m.a.0..=m.a.1].iter().copied()).collect();
            assert_eq!(picked, found.text);
        }
    }
}
