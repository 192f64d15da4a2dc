//! An entry's name: milliseconds, and a number among the entries of one millisecond.

use smallvec::SmallVec;
use std::fmt;

/// The number of an entry; entries are ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    /// Unix milliseconds, unless the client chose otherwise.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

/// The longest text of an id that is looked at.
const TEXT_MAX: usize = 127;

/// What stands behind the hyphen of an id that a client wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seq {
    /// A number.
    Given(u64),
    /// Nothing: the client wrote only the milliseconds.
    Missing,
    /// An asterisk: the server chooses.
    Auto,
}

impl Id {
    /// Before every entry: no entry has it.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The last of all.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// An id.
    pub fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The id behind this one, if it is not the last.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one, if it is not the first.
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms`, `ms-seq` or `ms-*`: the milliseconds, and what stands behind the hyphen.
    pub fn parse(text: &[u8]) -> Option<(u64, Seq)> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let Some(hyphen) = text.iter().position(|&byte| byte == b'-') else {
            return Some((number(text)?, Seq::Missing));
        };
        let (ms, seq) = (text.get(..hyphen)?, text.get(hyphen + 1..)?);
        let ms = number(ms)?;
        Some((ms, if seq == b"*" { Seq::Auto } else { Seq::Given(number(seq)?) }))
    }

    /// As clients see it: `ms-seq`.
    pub fn text(self) -> SmallVec<[u8; 41]> {
        let mut text = SmallVec::new();
        text.extend_from_slice(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b'-');
        text.extend_from_slice(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }

    /// Big-endian, so that bytes sort as ids do.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Id {
        let number = u128::from_be_bytes(bytes);
        Id { ms: (number >> 64) as u64, seq: number as u64 }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Digits, more leniently than numbers elsewhere: Redis takes leading zeros, a plus and white space before
/// the halves of an id.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours() {
        assert_eq!(Id::new(1, 2).next(), Some(Id::new(1, 3)));
        assert_eq!(Id::new(1, u64::MAX).next(), Some(Id::new(2, 0)));
        assert_eq!(Id::MAX.next(), None);
        assert_eq!(Id::new(1, 0).previous(), Some(Id::new(0, u64::MAX)));
        assert_eq!(Id::MIN.previous(), None);
        let id = Id::new(77, u64::MAX - 3);
        assert_eq!(Id::from_bytes(id.to_bytes()), id);
        assert!(Id::new(1, u64::MAX).to_bytes() < Id::new(2, 0).to_bytes());
        assert_eq!(id.text().as_slice(), id.to_string().as_bytes());
        assert_eq!(id.to_string(), "77-18446744073709551612");
    }

    #[test]
    fn texts() {
        assert_eq!(Id::parse(b"5"), Some((5, Seq::Missing)));
        assert_eq!(Id::parse(b"5-7"), Some((5, Seq::Given(7))));
        assert_eq!(Id::parse(b"5-*"), Some((5, Seq::Auto)));
        assert_eq!(Id::parse(b"05-+07"), Some((5, Seq::Given(7))));
        let max = b"18446744073709551615-18446744073709551615";
        assert_eq!(Id::parse(max), Some((u64::MAX, Seq::Given(u64::MAX))));
        for bad in ["", "-", "+", "5-", "-5", "a", "5-a", "5-6-7", "18446744073709551616", "5-**"] {
            assert_eq!(Id::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Id::parse(&[b'1'; 128]), None);
    }
}
