//! A key's header: its one record in space H, drawn in `ENCODING.md`.
//!
//! ```text
//! | kind u4, encoding u3, has expiry u1 | expire_ms u64 LE, if it has one | body ...             |
//!
//! body of a packed value:    the value itself, as its kind packs it
//! body of an exploded value: | generation u64 LE | count u64 LE | what the kind adds |
//! ```
//!
//! The numbers of kinds and encodings are on disk: they never change their meaning.

use crate::error::{Error, Result};

/// The type of a value. The numbers are on disk: do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes; also bitmaps and HyperLogLogs.
    String = 0,
    /// Field to value.
    Hash = 1,
    /// A sequence of elements.
    List = 2,
    /// A set of members.
    Set = 3,
    /// Members ordered by score; also geo.
    ZSet = 4,
    /// An append-only log of entries with consumer groups.
    Stream = 5,
}

impl Kind {
    /// The name that TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Hash => "hash",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Stream => "stream",
        }
    }

    fn from_number(n: u8) -> Option<Kind> {
        Some(match n {
            0 => Kind::String,
            1 => Kind::Hash,
            2 => Kind::List,
            3 => Kind::Set,
            4 => Kind::ZSet,
            5 => Kind::Stream,
            _ => return None,
        })
    }
}

/// How a body is laid out. Each kind may define more, up to 7. The numbers are on disk.
pub mod encoding {
    /// The body is the whole value.
    pub const PACKED: u8 = 0;
    /// The body begins with generation and count; elements are records of their own in space E.
    pub const EXPLODED: u8 = 1;
}

const EXPIRES: u8 = 0x80;

/// A key's header, borrowed from where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The value's type.
    pub kind: Kind,
    /// How the body is laid out (see [`encoding`]); below 8.
    pub encoding: u8,
    /// When the key expires, in Unix milliseconds.
    pub expire_ms: Option<u64>,
    /// The value, or what is needed to find its elements.
    pub body: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header.
    ///
    /// # Errors
    /// Damage that the checksums below cannot have let through, or a newer format.
    pub fn decode(bytes: &'a [u8]) -> Result<Header<'a>> {
        Header::parse(bytes).ok_or_else(|| Error::broken("a key's header cannot be read"))
    }

    fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        let (&first, rest) = bytes.split_first()?;
        let kind = Kind::from_number(first & 15)?;
        let encoding = (first >> 4) & 7;
        let (expire_ms, body) = if first & EXPIRES == 0 {
            (None, rest)
        } else {
            let (ms, body) = rest.split_first_chunk::<8>()?;
            (Some(u64::from_le_bytes(*ms)), body)
        };
        Some(Header { kind, encoding, expire_ms, body })
    }

    /// The bytes before the body: how many of the array count, and the array.
    pub(crate) fn prefix(&self) -> (usize, [u8; 9]) {
        let mut bytes = [0; 9];
        bytes[0] = self.kind as u8 | (self.encoding << 4);
        match self.expire_ms {
            None => (1, bytes),
            Some(ms) => {
                bytes[0] |= EXPIRES;
                bytes[1..].copy_from_slice(&ms.to_le_bytes());
                (9, bytes)
            }
        }
    }

    /// Whether the elements are records of their own.
    pub fn is_exploded(&self) -> bool {
        self.encoding == encoding::EXPLODED
    }

    /// Generation and count of an exploded value, and what its kind adds.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn exploded(&self) -> Result<(u64, u64, &'a [u8])> {
        let read = || {
            let (generation, rest) = self.body.split_first_chunk::<8>()?;
            let (count, rest) = rest.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*generation), u64::from_le_bytes(*count), rest))
        };
        read().ok_or_else(|| Error::broken("an exploded value's header cannot be read"))
    }

    /// The generation whose elements this header claims, if it claims any.
    pub fn generation(&self) -> Option<u64> {
        let (generation, _) = self.body.split_first_chunk::<8>().filter(|_| self.is_exploded())?;
        Some(u64::from_le_bytes(*generation))
    }

    /// Refuses another type.
    ///
    /// # Errors
    /// `WrongType` unless the kind is `kind`.
    pub fn expect(self, kind: Kind) -> Result<Header<'a>> {
        if self.kind == kind { Ok(self) } else { Err(Error::WrongType) }
    }
}

/// The body of an exploded value.
pub fn exploded_body(generation: u64, count: u64, more: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(16 + more.len());
    body.extend_from_slice(&generation.to_le_bytes());
    body.extend_from_slice(&count.to_le_bytes());
    body.extend_from_slice(more);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for expire_ms in [None, Some(0), Some(u64::MAX)] {
            let header = Header { kind: Kind::ZSet, encoding: 1, expire_ms, body: b"abc" };
            let (n, bytes) = header.prefix();
            let mut all = bytes[..n].to_vec();
            all.extend_from_slice(b"abc");
            assert_eq!(Header::decode(&all).unwrap(), header);
        }
        assert!(Header::decode(b"").is_err());
        assert!(Header::decode(&[0x80, 1, 2]).is_err());
        assert!(Header::decode(&[15]).is_err());
        let body = exploded_body(7, 9, b"x");
        let header = Header { kind: Kind::Hash, encoding: 1, expire_ms: None, body: &body };
        assert_eq!(header.exploded().unwrap(), (7, 9, &b"x"[..]));
        assert!(Header { body: b"1234", ..header }.exploded().is_err());
    }
}
