//! Reading fixed records out of bytes that may be wrong.
//!
//! Every read returns `None` when the bytes run out and then leaves the reader where it was, so a
//! decoder is a row of `?` and damage is one error at its end, never a panic.

use crate::varint;

/// A cursor over a byte slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all has been read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A little-endian `u16`.
    #[inline]
    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// A big-endian `u16`.
    #[inline]
    pub fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A little-endian `u32`.
    #[inline]
    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A big-endian `u32`.
    #[inline]
    pub fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A little-endian `u64`.
    #[inline]
    pub fn u64_le(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A big-endian `u64`.
    #[inline]
    pub fn u64_be(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A LEB128 number (see [`varint`]).
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (value, used) = varint::get(self.rest)?;
        self.rest = &self.rest[used..];
        Some(value)
    }

    /// A LEB128 length and then that many bytes.
    #[inline]
    pub fn prefixed(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.varint()?).ok()?;
        let taken = ahead.bytes(len)?;
        *self = ahead;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0x80, 0x01, 2, b'h', b'i', 9];
        let mut r = Reader::new(&data);
        assert_eq!(r.u16_le(), Some(0x0201));
        assert_eq!(r.u32_be(), Some(0x0304_0506));
        assert_eq!(r.u64_le(), Some(0x0e0d_0c0b_0a09_0807));
        assert_eq!(r.varint(), Some(128));
        assert_eq!(r.prefixed(), Some(&b"hi"[..]));
        assert_eq!((r.remaining(), r.rest()), (1, &[9u8][..]));
        assert_eq!(r.u16_be(), None);
        assert_eq!(r.bytes(2), None);
        assert_eq!(r.prefixed(), None);
        assert_eq!(r.remaining(), 1);
        assert_eq!(r.u8(), Some(9));
        assert!(r.is_empty());
        assert_eq!((r.u8(), r.varint(), r.bytes(0)), (None, None, Some(&[][..])));
    }

    #[test]
    fn both_byte_orders() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Reader::new(&data).u16_be(), Some(0x0102));
        assert_eq!(Reader::new(&data).u32_le(), Some(0x0403_0201));
        assert_eq!(Reader::new(&data).u64_be(), Some(0x0102_0304_0506_0708));
        assert_eq!(Reader::new(&data).bytes(usize::MAX), None);
    }

    #[test]
    fn a_huge_claimed_length_is_refused() {
        let data = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 7];
        assert_eq!(Reader::new(&data).prefixed(), None);
    }
}
