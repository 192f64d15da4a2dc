//! Listpacks: short sequences in one string, since Redis 7.
//!
//! ```text
//! | bytes u32 LE, all of them | elements u16 LE, 65535: count them | element .. | 0xff |
//! element | encoding and data | their length, seven bits a byte, to be read from its end |
//! ```

use crate::item::Piece;

const HEAD: usize = 6;
const END: u8 = 0xff;
const UNKNOWN: u16 = u16::MAX;

const DAMAGED: &str = "a listpack is damaged";

/// A walk over a listpack.
#[derive(Debug, Clone)]
pub(crate) struct Listpack<'a> {
    rest: &'a [u8],
    announced: u16,
    seen: u64,
}

impl<'a> Listpack<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Listpack<'a>, &'static str> {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(DAMAGED)?;
        let (&end, rest) = rest.split_last().ok_or(DAMAGED)?;
        if u32::from_le_bytes(*len) as usize != bytes.len() || end != END {
            return Err("a listpack has another length than it says");
        }
        Ok(Listpack { rest, announced: u16::from_le_bytes(*count), seen: 0 })
    }

    /// The next element.
    pub(crate) fn next(&mut self) -> Result<Option<Piece<'a>>, &'static str> {
        if self.rest.is_empty() {
            return if self.announced == UNKNOWN || u64::from(self.announced) == self.seen {
                Ok(None)
            } else {
                Err("a listpack has another number of elements than it says")
            };
        }
        let (piece, len) = element(self.rest).ok_or(DAMAGED)?;
        let mut back = [0; 5];
        let back = back_len(len, &mut back);
        let rest = self.rest.get(len..).unwrap_or_default();
        self.rest = rest.strip_prefix(back).ok_or(DAMAGED)?;
        self.seen += 1;
        Ok(Some(piece))
    }

    /// The next element, which must be there.
    pub(crate) fn need(&mut self) -> Result<Piece<'a>, &'static str> {
        self.next()?.ok_or("a listpack ends too early")
    }

    /// The next element, which must be an integer.
    pub(crate) fn need_int(&mut self) -> Result<i64, &'static str> {
        match self.need()? {
            Piece::Int(n) => Ok(n),
            Piece::Bytes(text) => {
                forgekv_base::number::parse_i64(text).ok_or("a listpack has text for a number")
            }
        }
    }
}

/// An element and the length of its encoding and data.
fn element(bytes: &[u8]) -> Option<(Piece<'_>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let int = |n: i64, len: usize| Some((Piece::Int(n), len));
    let text = |head: usize, len: usize| {
        Some((Piece::Bytes(bytes.get(head..head.checked_add(len)?)?), head + len))
    };
    match first {
        0..=0x7f => int(i64::from(first), 1),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let wide = i64::from(first & 0x1f) << 8 | i64::from(*rest.first()?);
            int(if wide < 1 << 12 { wide } else { wide - (1 << 13) }, 2)
        }
        0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | usize::from(*rest.first()?)),
        0xf0 => text(5, u32::from_le_bytes(*rest.first_chunk()?) as usize),
        0xf1 => int(i64::from(i16::from_le_bytes(*rest.first_chunk()?)), 3),
        0xf2 => {
            let [a, b, c] = *rest.first_chunk::<3>()?;
            int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), 4)
        }
        0xf3 => int(i64::from(i32::from_le_bytes(*rest.first_chunk()?)), 5),
        0xf4 => int(i64::from_le_bytes(*rest.first_chunk()?), 9),
        _ => None,
    }
}

/// A length as it stands behind an element.
fn back_len(len: usize, room: &mut [u8; 5]) -> &[u8] {
    let n = match len {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    };
    for (at, byte) in room.iter_mut().take(n).enumerate() {
        let low = (len >> (7 * (n - 1 - at))) as u8 & 0x7f;
        *byte = if at == 0 { low } else { low | 0x80 };
    }
    room.get(..n).unwrap_or_default()
}

/// A listpack that grows.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: usize,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { bytes: vec![0; HEAD], count: 0 }
    }

    pub(crate) fn int(&mut self, n: i64) {
        let start = self.bytes.len();
        if (0..0x80).contains(&n) {
            self.bytes.push(n as u8);
        } else if (-(1 << 12)..1 << 12).contains(&n) {
            let wide = n as u16 & 0x1fff;
            self.bytes.extend_from_slice(&[0xc0 | (wide >> 8) as u8, wide as u8]);
        } else if let Ok(n) = i16::try_from(n) {
            self.bytes.push(0xf1);
            self.bytes.extend_from_slice(&n.to_le_bytes());
        } else if let Ok(n) = i32::try_from(n) {
            self.bytes.push(0xf3);
            self.bytes.extend_from_slice(&n.to_le_bytes());
        } else {
            self.bytes.push(0xf4);
            self.bytes.extend_from_slice(&n.to_le_bytes());
        }
        self.close(start);
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        if text.len() <= 20
            && let Some(n) = forgekv_base::number::parse_i64(text)
        {
            return self.int(n);
        }
        let start = self.bytes.len();
        match text.len() {
            len @ 0..0x40 => self.bytes.push(0x80 | len as u8),
            len @ 0x40..0x1000 => {
                self.bytes.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8])
            }
            len => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
        self.close(start);
    }

    fn close(&mut self, start: usize) {
        let mut room = [0; 5];
        let back = back_len(self.bytes.len() - start, &mut room);
        self.bytes.extend_from_slice(back);
        self.count += 1;
    }

    /// The listpack.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let len = (self.bytes.len() as u32).to_le_bytes();
        let count = u16::try_from(self.count).unwrap_or(UNKNOWN).to_le_bytes();
        let head = len.iter().chain(&count);
        self.bytes.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut builder = Builder::new();
        let mut texts: Vec<Vec<u8>> =
            [0usize, 1, 63, 64, 4095, 4096, 70_000].iter().map(|&n| vec![b'x'; n]).collect();
        let mut numbers = vec![0i64];
        for bit in 0..63 {
            for n in [(1i64 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                numbers.extend([n, -n]);
            }
        }
        numbers.extend([i64::MIN, i64::MAX]);
        texts.extend(numbers.iter().map(|n| n.to_string().into_bytes()));
        texts.push(b"-0".to_vec());
        texts.iter().for_each(|text| builder.text(text));
        let bytes = builder.finish();
        let mut walk = Listpack::new(&bytes).unwrap();
        for text in &texts {
            let mut digits = itoa::Buffer::new();
            assert_eq!(walk.need().unwrap().text(&mut digits), text);
        }
        assert_eq!(walk.next().unwrap(), None);
        for cut in 0..bytes.len().min(300) {
            assert!(Listpack::new(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn three_bytes_wide() {
        for n in [-1i32, -8_388_608, 8_388_607, 70_000] {
            let le = n.to_le_bytes();
            let bytes = [12, 0, 0, 0, 1, 0, 0xf2, le[0], le[1], le[2], 4, 0xff];
            let mut walk = Listpack::new(&bytes).unwrap();
            assert_eq!(walk.need_int(), Ok(i64::from(n)));
        }
    }

    #[test]
    fn counts_are_checked() {
        let mut bytes = Builder::new().finish();
        bytes[4] = 1;
        let mut walk = Listpack::new(&bytes).unwrap();
        assert!(walk.next().is_err());
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Listpack::new(&bytes).unwrap().next(), Ok(None));
    }
}
