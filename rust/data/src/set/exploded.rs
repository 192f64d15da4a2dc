//! A large set: its header's body, and a record for each member.
//!
//! ```text
//! header body: | generation u64 LE | count u64 LE | class u8 |
//! element:     | xxh3(seed, member) u64 BE | member ..   ->   nothing
//! class:       0 = a hash table in Redis
//!              1 = within Redis's limits of an intset: exploded for its size in bytes alone
//!              2 = within Redis's limits of a listpack, likewise
//! ```
//!
//! The seed is that of places. Members lie in order of their hashes, in all sets alike: so sets are joined
//! by walking them side by side.

use super::Class;
use crate::error::{Error, Result};
use crate::header::Header;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const INTSET: u8 = 1;
const LISTPACK: u8 = 2;

/// Bytes before the member in an element's sub-key.
const HASH: usize = 8;

/// What the header of an exploded set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exploded {
    pub(super) generation: u64,
    /// How many members there are.
    pub(super) count: u64,
    pub(super) class: Class,
}

impl Exploded {
    pub(super) fn decode(header: &Header<'_>) -> Result<Exploded> {
        let (generation, count, rest) = header.exploded()?;
        let class = match rest.first() {
            Some(&INTSET) => Class::Intset,
            Some(&LISTPACK) => Class::Listpack,
            Some(_) => Class::Hashtable,
            None => return Err(Error::broken("a large set's header cannot be read")),
        };
        Ok(Exploded { generation, count, class })
    }

    pub(super) fn encode(&self) -> [u8; 17] {
        let mut body = [0; 17];
        body[..8].copy_from_slice(&self.generation.to_le_bytes());
        body[8..16].copy_from_slice(&self.count.to_le_bytes());
        body[16] = match self.class {
            Class::Hashtable => 0,
            Class::Intset => INTSET,
            Class::Listpack => LISTPACK,
        };
        body
    }
}

/// An element's sub-key.
pub(super) struct Sub(SmallVec<[u8; 72]>);

impl Sub {
    #[inline]
    pub(super) fn new(seed: u64, member: &[u8]) -> Sub {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&xxh3_64_with_seed(member, seed).to_be_bytes());
        bytes.extend_from_slice(member);
        Sub(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A sub-key taken apart: hash and member.
pub(super) fn parse_sub(sub: &[u8]) -> Result<(u64, &[u8])> {
    match sub.split_first_chunk::<HASH>() {
        Some((hash, member)) => Ok((u64::from_be_bytes(*hash), member)),
        None => Err(Error::broken("a member's key cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Kind, encoding};

    #[test]
    fn round_trips() {
        for class in [Class::Intset, Class::Listpack, Class::Hashtable] {
            let exploded = Exploded { generation: 5, count: 7, class };
            let body = exploded.encode();
            let encoding = encoding::EXPLODED;
            let header = Header { kind: Kind::Set, encoding, expire_ms: None, body: &body };
            assert_eq!(Exploded::decode(&header).unwrap(), exploded);
            assert!(Exploded::decode(&Header { body: &body[..16], ..header }).is_err());
        }
        let sub = Sub::new(3, b"member");
        let hash = xxh3_64_with_seed(b"member", 3);
        assert_eq!(parse_sub(sub.bytes()).unwrap(), (hash, &b"member"[..]));
        assert!(parse_sub(b"short").is_err());
    }
}
