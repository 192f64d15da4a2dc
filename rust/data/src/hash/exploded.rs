//! A large hash: its header's body, and a record for each field.
//!
//! ```text
//! header body: | generation u64 LE | count u64 LE | flags u8 |
//! element:     | xxh3(seed, field) u64 BE | field ..   ->   | 0x00 | value ..                    |
//!                                                            | 0x01 | expire_ms u64 LE | value .. |
//! flags:       1 = a field may have an expiry
//!              2 = within Redis's limits of a listpack: exploded for its size in bytes alone
//! ```
//!
//! Fields lie in order of their hashes: HSCAN's cursor is a part of the hash, and HRANDFIELD draws windows
//! of it. The seed is that of places, so nobody can aim fields at one window.

use crate::error::{Error, Result};
use crate::header::Header;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A field may have an expiry.
const TIMED: u8 = 1;
/// Redis would still have it packed.
const WITHIN_LIMITS: u8 = 2;

const PLAIN: u8 = 0;
const EXPIRES: u8 = 1;

/// Bytes before the field in an element's sub-key.
const HASH: usize = 8;

/// What the header of an exploded hash says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exploded {
    pub(super) generation: u64,
    /// How many fields there are, expired ones included.
    pub(super) count: u64,
    pub(super) timed: bool,
    pub(super) within_limits: bool,
}

impl Exploded {
    pub(super) fn decode(header: &Header<'_>) -> Result<Exploded> {
        let (generation, count, rest) = header.exploded()?;
        let Some(flags) = rest.first() else {
            return Err(Error::broken("a large hash's header cannot be read"));
        };
        let timed = flags & TIMED != 0;
        Ok(Exploded { generation, count, timed, within_limits: flags & WITHIN_LIMITS != 0 })
    }

    pub(super) fn encode(&self) -> [u8; 17] {
        let mut body = [0; 17];
        body[..8].copy_from_slice(&self.generation.to_le_bytes());
        body[8..16].copy_from_slice(&self.count.to_le_bytes());
        body[16] = if self.timed { TIMED } else { 0 };
        body[16] |= if self.within_limits { WITHIN_LIMITS } else { 0 };
        body
    }
}

/// An element's sub-key.
pub(super) struct Sub(SmallVec<[u8; 72]>);

impl Sub {
    pub(super) fn new(seed: u64, field: &[u8]) -> Sub {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&xxh3_64_with_seed(field, seed).to_be_bytes());
        bytes.extend_from_slice(field);
        Sub(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The sub-key of a field's record.
pub(crate) fn sub_key(seed: u64, field: &[u8]) -> impl std::ops::Deref<Target = [u8]> + use<> {
    Sub::new(seed, field).0
}

/// A sub-key taken apart: hash and field.
pub(super) fn parse_sub(sub: &[u8]) -> Result<(u64, &[u8])> {
    match sub.split_first_chunk::<HASH>() {
        Some((hash, field)) => Ok((u64::from_be_bytes(*hash), field)),
        None => Err(Error::broken("a field's key cannot be read")),
    }
}

/// The value of an element's record, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) value: &'a [u8],
    pub(super) expire_ms: Option<u64>,
}

impl<'a> Element<'a> {
    #[inline]
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Element<'a>> {
        let parse = || match bytes.split_first()? {
            (&PLAIN, value) => Some(Element { value, expire_ms: None }),
            (&EXPIRES, rest) => {
                let (ms, value) = rest.split_first_chunk::<8>()?;
                Some(Element { value, expire_ms: Some(u64::from_le_bytes(*ms)) })
            }
            _ => None,
        };
        parse().ok_or_else(|| Error::broken("a field of a hash cannot be read"))
    }

    pub(super) fn is_live(&self, now_ms: u64) -> bool {
        self.expire_ms.is_none_or(|at| at > now_ms)
    }
}

/// The bytes before the value in an element's record: how many of the array count, and the array.
pub(super) fn lead(expire_ms: Option<u64>) -> (usize, [u8; 9]) {
    let mut bytes = [PLAIN; 9];
    match expire_ms {
        None => (1, bytes),
        Some(ms) => {
            bytes[0] = EXPIRES;
            bytes[1..].copy_from_slice(&ms.to_le_bytes());
            (9, bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Kind, encoding};

    #[test]
    fn round_trips() {
        for (timed, within_limits) in [(false, true), (true, false)] {
            let exploded = Exploded { generation: 5, count: 7, timed, within_limits };
            let body = exploded.encode();
            let encoding = encoding::EXPLODED;
            let header = Header { kind: Kind::Hash, encoding, expire_ms: None, body: &body };
            assert_eq!(Exploded::decode(&header).unwrap(), exploded);
            assert!(Exploded::decode(&Header { body: &body[..16], ..header }).is_err());
        }
        for expire_ms in [None, Some(77)] {
            let (n, bytes) = lead(expire_ms);
            let record = [&bytes[..n], b"value"].concat();
            let element = Element { value: b"value", expire_ms };
            assert_eq!(Element::decode(&record).unwrap(), element);
        }
        assert!(Element::decode(b"").is_err() && Element::decode(b"\x01abc").is_err());
        let sub = Sub::new(3, b"field");
        assert_eq!(
            parse_sub(sub.bytes()).unwrap(),
            (xxh3_64_with_seed(b"field", 3), &b"field"[..])
        );
        assert!(parse_sub(b"short").is_err());
    }
}
