//! A small set of integers in one record.
//!
//! ```text
//! body: | width u8: 2, 4 or 8 | integers, `width` bytes LE each, ascending .. |
//! ```
//!
//! The width is that of the widest integer there ever was; it never shrinks.

use super::splice::Spliced;
use crate::error::{Error, Result};
use smallvec::SmallVec;

/// Bytes before the first integer.
const HEAD: usize = 1;

fn broken() -> Error {
    Error::broken("a set of integers cannot be read")
}

/// The bytes that an integer takes.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// A set of integers where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ints<'a> {
    width: usize,
    bytes: &'a [u8],
}

impl<'a> Ints<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Ints<'a>> {
        let (&width, bytes) = body.split_first().ok_or_else(broken)?;
        let width = usize::from(width);
        if !matches!(width, 2 | 4 | 8) || !bytes.len().is_multiple_of(width) {
            return Err(broken());
        }
        Ok(Ints { width, bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// The integer of a number below the length.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<i64> {
        let bytes = self.bytes.get(index * self.width..(index + 1) * self.width)?;
        Some(match *bytes {
            [a, b] => i16::from_le_bytes([a, b]).into(),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            _ => i64::from_le_bytes(*bytes.first_chunk::<8>()?),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> + use<'a> {
        let ints = *self;
        (0..ints.len()).map_while(move |index| ints.get(index))
    }

    /// Where an integer is, or where it would be.
    pub(super) fn search(&self, value: i64) -> std::result::Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.get(middle).unwrap_or(i64::MAX).cmp(&value) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    /// The length of the longest integer in text.
    pub(super) fn longest(&self) -> usize {
        let ends = [self.get(0), self.len().checked_sub(1).and_then(|last| self.get(last))];
        let digits = |n: i64| itoa::Buffer::new().format(n).len();
        ends.into_iter().flatten().map(digits).max().unwrap_or(0)
    }
}

/// A set of integers that is being changed.
pub(super) struct Buffer(Spliced);

impl Buffer {
    /// No integers.
    pub(super) fn new() -> Buffer {
        Buffer(Spliced::new(&[2]))
    }

    pub(super) fn copy(body: &[u8]) -> Result<Buffer> {
        Ints::decode(body)?;
        Ok(Buffer(Spliced::copy(body)))
    }

    pub(super) fn body(&self) -> &Spliced {
        &self.0
    }

    pub(super) fn ints(&self) -> Result<Ints<'_>> {
        Ints::decode(self.0.bytes())
    }

    /// Adds an integer; true when it was absent.
    pub(super) fn insert(&mut self, value: i64) -> Result<bool> {
        let wanted = width_of(value);
        if wanted > self.ints()?.width {
            self.widen(wanted)?;
        }
        let ints = self.ints()?;
        let (width, at) = match ints.search(value) {
            Ok(_) => return Ok(false),
            Err(at) => (ints.width, HEAD + at * ints.width),
        };
        self.0.splice(at..at, &[value.to_le_bytes().get(..width).unwrap_or_default()]);
        Ok(true)
    }

    /// Takes an integer away; true when it was there.
    pub(super) fn remove(&mut self, value: i64) -> Result<bool> {
        let ints = self.ints()?;
        let Ok(index) = ints.search(value) else { return Ok(false) };
        let at = HEAD + index * ints.width;
        let end = at + ints.width;
        self.0.splice(at..end, &[]);
        Ok(true)
    }

    fn widen(&mut self, width: usize) -> Result<()> {
        let ints = self.ints()?;
        let mut bytes: SmallVec<[u8; 512]> = SmallVec::new();
        bytes.push(width as u8);
        for value in ints.iter() {
            bytes.extend_from_slice(value.to_le_bytes().get(..width).unwrap_or_default());
        }
        self.0 = Spliced::new(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascending_and_as_wide_as_needed() {
        let mut buffer = Buffer::new();
        for value in [5, -3, 300] {
            assert!(buffer.insert(value).unwrap());
            assert!(!buffer.insert(value).unwrap());
        }
        assert_eq!(buffer.body().bytes(), b"\x02\xfd\xff\x05\x00\x2c\x01");
        assert!(buffer.insert(-40_000).unwrap());
        assert_eq!(buffer.body().len(), 1 + 4 * 4);
        for value in [i64::MIN, i64::MAX, 0] {
            assert!(buffer.insert(value).unwrap());
        }
        let all = [i64::MIN, -40_000, -3, 0, 5, 300, i64::MAX];
        assert_eq!(buffer.ints().unwrap().iter().collect::<Vec<_>>(), all);
        assert_eq!(buffer.ints().unwrap().longest(), 20);
        assert_eq!(buffer.ints().unwrap().search(4), Err(4));
        for value in all {
            assert!(buffer.remove(value).unwrap());
            assert!(!buffer.remove(value).unwrap());
        }
        assert_eq!(buffer.ints().unwrap().len(), 0);
        for bad in [&b""[..], b"\x03abc", b"\x04abc"] {
            assert!(Ints::decode(bad).is_err());
        }
    }
}
