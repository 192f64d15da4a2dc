//! Ziplists: short sequences in one string, before Redis 7.
//!
//! ```text
//! | bytes u32 LE | offset of the last element u32 LE | elements u16 LE, 65535: count them | element .. | 0xff |
//! element | length of the one before: u8, or 0xfe and u32 LE | encoding | data |
//! ```

use crate::item::Piece;

const HEAD: usize = 10;
const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const UNKNOWN: u16 = u16::MAX;

const DAMAGED: &str = "a ziplist is damaged";

/// A walk over a ziplist.
#[derive(Debug, Clone)]
pub(crate) struct Ziplist<'a> {
    rest: &'a [u8],
    len: usize,
    last_at: usize,
    announced: u16,
    seen: u64,
    /// Where the element before began, and how long it was.
    before: Option<(usize, usize)>,
}

impl<'a> Ziplist<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Ziplist<'a>, &'static str> {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let (last_at, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(DAMAGED)?;
        let (&end, rest) = rest.split_last().ok_or(DAMAGED)?;
        if u32::from_le_bytes(*len) as usize != bytes.len() || end != END {
            return Err("a ziplist has another length than it says");
        }
        Ok(Ziplist {
            rest,
            len: bytes.len(),
            last_at: u32::from_le_bytes(*last_at) as usize,
            announced: u16::from_le_bytes(*count),
            seen: 0,
            before: None,
        })
    }

    /// The next element.
    pub(crate) fn next(&mut self) -> Result<Option<Piece<'a>>, &'static str> {
        if self.rest.is_empty() {
            let last_at = self.before.map_or(HEAD, |(at, _)| at);
            let counted = self.announced == UNKNOWN || u64::from(self.announced) == self.seen;
            return if counted && last_at == self.last_at {
                Ok(None)
            } else {
                Err("a ziplist has another number of elements than it says")
            };
        }
        let at = self.len - 1 - self.rest.len();
        let (before_len, head) = match *self.rest {
            [LONG, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 5),
            [LONG | END, ..] => return Err(DAMAGED),
            [len, ..] => (usize::from(len), 1),
            [] => return Err(DAMAGED),
        };
        if before_len != self.before.map_or(0, |(_, len)| len) {
            return Err(DAMAGED);
        }
        let (piece, len) = element(self.rest.get(head..).unwrap_or_default()).ok_or(DAMAGED)?;
        self.rest = self.rest.get(head + len..).unwrap_or_default();
        self.before = Some((at, head + len));
        self.seen += 1;
        Ok(Some(piece))
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
        0..=0x3f => text(1, usize::from(first)),
        0x40..=0x7f => text(2, usize::from(first & 0x3f) << 8 | usize::from(*rest.first()?)),
        0x80 => text(5, u32::from_be_bytes(*rest.first_chunk()?) as usize),
        0xc0 => int(i64::from(i16::from_le_bytes(*rest.first_chunk()?)), 3),
        0xd0 => int(i64::from(i32::from_le_bytes(*rest.first_chunk()?)), 5),
        0xe0 => int(i64::from_le_bytes(*rest.first_chunk()?), 9),
        0xf0 => {
            let [a, b, c] = *rest.first_chunk::<3>()?;
            int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), 4)
        }
        0xfe => int(i64::from(*rest.first()? as i8), 2),
        0xf1..=0xfd => int(i64::from(first & 0x0f) - 1, 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_encoding() {
        let long = vec![b'y'; 300];
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (b"\x02hi".to_vec(), b"hi".to_vec()),
            (b"\xc0\xff\xff".to_vec(), b"-1".to_vec()),
            (b"\xd0\0\0\x01\0".to_vec(), b"65536".to_vec()),
            (b"\xe0\0\0\0\0\0\0\0\x80".to_vec(), i64::MIN.to_string().into_bytes()),
            (b"\xf0\xff\xff\xff".to_vec(), b"-1".to_vec()),
            (b"\xfe\x80".to_vec(), b"-128".to_vec()),
            (b"\xf1".to_vec(), b"0".to_vec()),
            (b"\xfd".to_vec(), b"12".to_vec()),
            ([&b"\x41\x2c"[..], &long].concat(), long.clone()),
            ([&b"\x80\0\0\x01\x2c"[..], &long].concat(), long.clone()),
        ];
        entries.push((b"\0".to_vec(), Vec::new()));
        let mut body: Vec<u8> = Vec::new();
        let (mut before, mut last_at) = (0, HEAD);
        for (bytes, _) in &entries {
            last_at = HEAD + body.len();
            if before < 254 {
                body.push(before as u8);
            } else {
                body.push(LONG);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            }
            body.extend_from_slice(bytes);
            before = HEAD + body.len() - last_at;
        }
        let mut all = ((HEAD + body.len() + 1) as u32).to_le_bytes().to_vec();
        all.extend_from_slice(&(last_at as u32).to_le_bytes());
        all.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        all.extend_from_slice(&body);
        all.push(END);
        let mut walk = Ziplist::new(&all).unwrap();
        for (_, text) in &entries {
            let mut digits = itoa::Buffer::new();
            assert_eq!(walk.next().unwrap().unwrap().text(&mut digits), text);
        }
        assert_eq!(walk.next(), Ok(None));
        all[4] ^= 1;
        let mut walk = Ziplist::new(&all).unwrap();
        while let Ok(Some(_)) = walk.next() {}
        assert!(walk.next().is_err(), "the last element is elsewhere");
    }
}
