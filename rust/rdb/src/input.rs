//! Foreign bytes, read once from start to end.
//!
//! Knows at each moment how far it has come and the checksum of what was read. A length that the bytes
//! announce is believed only as far as bytes arrive.

use crate::bad::Bad;
use crate::lzf;
use forgekv_base::crc::crc64;
use std::io::{ErrorKind, Read};

/// So much is read from a stream at once, in bytes.
const WINDOW: usize = 64 << 10;

/// A length, or a sign that a string is encoded in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Plain(u64),
    Special(u8),
}

enum Source<'a> {
    Slice(&'a [u8]),
    Stream { from: &'a mut dyn Read, window: Vec<u8> },
}

/// See the head of this file.
pub struct Input<'a> {
    source: Source<'a>,
    /// The next byte in the window.
    at: usize,
    /// Where the window begins.
    base: u64,
    /// Of all bytes before `hashed` in the window.
    crc: u64,
    hashed: usize,
    /// A compressed string on its way.
    packed: Vec<u8>,
}

impl<'a> Input<'a> {
    /// Reads bytes that are in memory.
    pub fn slice(bytes: &'a [u8]) -> Input<'a> {
        Input::new(Source::Slice(bytes))
    }

    /// Reads bytes as they come.
    pub fn stream(from: &'a mut dyn Read) -> Input<'a> {
        Input::new(Source::Stream { from, window: Vec::new() })
    }

    fn new(source: Source<'a>) -> Input<'a> {
        Input { source, at: 0, base: 0, crc: 0, hashed: 0, packed: Vec::new() }
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// CRC-64 of all that was read.
    pub fn checksum(&mut self) -> u64 {
        self.settle();
        self.crc
    }

    fn settle(&mut self) {
        let window = match &self.source {
            Source::Slice(bytes) => bytes,
            Source::Stream { window, .. } => window.as_slice(),
        };
        self.crc = crc64(self.crc, window.get(self.hashed..self.at).unwrap_or_default());
        self.hashed = self.at;
    }

    pub(crate) fn bad(&self, what: &'static str) -> Bad {
        Bad::new(self.offset(), what)
    }

    /// What is in memory and was not read; reads on when that is nothing. Empty only at the end.
    fn window(&mut self) -> Result<&[u8], Bad> {
        let is_read = match &self.source {
            Source::Slice(_) => false,
            Source::Stream { window, .. } => self.at == window.len(),
        };
        if is_read {
            self.refill()?;
        }
        let all = match &self.source {
            Source::Slice(bytes) => bytes,
            Source::Stream { window, .. } => window.as_slice(),
        };
        Ok(all.get(self.at..).unwrap_or_default())
    }

    fn refill(&mut self) -> Result<(), Bad> {
        self.settle();
        let offset = self.offset();
        let Source::Stream { from, window } = &mut self.source else { return Ok(()) };
        self.base = offset;
        self.at = 0;
        self.hashed = 0;
        window.resize(WINDOW, 0);
        let got = loop {
            match from.read(window) {
                Ok(got) => break got,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Bad::new(offset, format!("the bytes cannot be read: {e}"))),
            }
        };
        window.truncate(got);
        Ok(())
    }

    /// Whether all was read.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Bad> {
        Ok(self.window()?.is_empty())
    }

    /// Hands the next `n` bytes to `each`, in pieces.
    fn pieces(&mut self, n: u64, each: &mut dyn FnMut(&[u8])) -> Result<(), Bad> {
        let start = self.offset();
        let mut left = n;
        if let Source::Slice(bytes) = &self.source
            && bytes.len().saturating_sub(self.at) < usize::try_from(n).unwrap_or(usize::MAX)
        {
            return Err(Bad::new(start, "the bytes end too early"));
        }
        while left > 0 {
            let window = self.window()?;
            if window.is_empty() {
                return Err(Bad::new(start, "the bytes end too early"));
            }
            let take = window.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            each(window.get(..take).unwrap_or_default());
            self.at += take;
            left -= take as u64;
        }
        Ok(())
    }

    /// The next `n` bytes in the place of what `out` held.
    pub(crate) fn bytes(&mut self, n: u64, out: &mut Vec<u8>) -> Result<(), Bad> {
        out.clear();
        self.pieces(n, &mut |piece| out.extend_from_slice(piece))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        if let Some(array) = self.window()?.first_chunk::<N>().copied() {
            self.at += N;
            return Ok(array);
        }
        let mut array = [0; N];
        let mut filled = 0;
        self.pieces(N as u64, &mut |piece| {
            let end = filled + piece.len();
            if let Some(room) = array.get_mut(filled..end) {
                room.copy_from_slice(piece);
            }
            filled = end;
        })?;
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Bad> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Bad> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn f64_le(&mut self) -> Result<f64, Bad> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn length(&mut self) -> Result<Length, Bad> {
        let start = self.offset();
        let first = self.u8()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(low)),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.u8()?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Special(low),
            _ => return Err(Bad::new(start, "not a length")),
        })
    }

    /// A length that stands for a number.
    pub(crate) fn count(&mut self) -> Result<u64, Bad> {
        let start = self.offset();
        match self.length()? {
            Length::Plain(n) => Ok(n),
            Length::Special(_) => {
                Err(Bad::new(start, "an encoded string where a number should be"))
            }
        }
    }

    /// A string, in the place of what `out` held.
    pub(crate) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Bad> {
        let start = self.offset();
        let number = match self.length()? {
            Length::Plain(n) => return self.bytes(n, out),
            Length::Special(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Special(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Special(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Special(3) => {
                let (packed_len, len) = (self.count()?, self.count()?);
                if len / lzf::MOST_TIMES > packed_len {
                    return Err(Bad::new(start, "a compressed string is too short for its length"));
                }
                let mut packed = std::mem::take(&mut self.packed);
                self.bytes(packed_len, &mut packed)?;
                let whole = lzf::decompress(&packed, len, out);
                self.packed = packed;
                return whole.ok_or_else(|| Bad::new(start, "a compressed string is damaged"));
            }
            Length::Special(_) => return Err(Bad::new(start, "an unknown encoding of a string")),
        };
        out.clear();
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = out.len().min(self.0.len()).min(1);
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn lengths_and_strings() {
        let bytes =
            b"\x05\x41\x02\x80\0\0\x01\0\x81\0\0\0\0\0\0\0\x07\xc0\xff\xc1\x10\x27\xc2\0\0\0\x80\x03abc\xc9";
        let mut slow = Slow(bytes);
        for mut input in [Input::slice(bytes), Input::stream(&mut slow)] {
            let mut text = Vec::new();
            for expected in [5, 258, 256, 7] {
                assert_eq!(input.count().unwrap(), expected);
            }
            for expected in ["-1", "10000", "-2147483648", "abc"] {
                input.string(&mut text).unwrap();
                assert_eq!(text, expected.as_bytes());
            }
            let at = input.offset();
            assert_eq!(input.string(&mut text).unwrap_err().offset, at);
            assert_eq!(input.checksum(), crc64(0, bytes));
            assert!(input.is_at_end().unwrap() && input.u8().is_err());
        }
        assert!(Input::slice(&[0x82]).length().is_err());
    }

    #[test]
    fn what_is_announced_is_not_allocated() {
        let huge = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xffabc";
        let packed = b"\xc3\x05\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01abcd";
        for bytes in [&huge[..], packed] {
            let mut stream = bytes;
            for mut input in [Input::slice(bytes), Input::stream(&mut stream)] {
                let mut out = Vec::new();
                assert!(input.string(&mut out).is_err());
                assert!(out.capacity() < 1024);
            }
        }
    }
}
