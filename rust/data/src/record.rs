//! Engine keys: how a Redis key, an element and an expiry become bytes in order. Drawn in `ENCODING.md`.
//!
//! ```text
//! space M  | 0x00 | name ..                                                     shard 0
//! space H  | 0x01 | db u32 BE | place u64 BE | key ..                           the key's shard
//! space E  | 0x02 | generation u64 BE | sub-key ..                              the owner's shard
//! space T  | 0x03 | expire_ms u64 BE | db u32 BE | place u64 BE | key ..        the key's shard
//!          | 0x03 | expire_ms u64 BE | 0xfffffffe | db u32 BE | place u64 BE | key ..
//!          | 0x03 | expire_ms u64 BE | 0xffffffff | generation u64 BE | field ..
//! ```
//!
//! The three forms of space T: a key expires; the first field of a packed hash expires; a field of an
//! exploded hash expires. No database ever has one of the last two ids.
//!
//! The first byte is the space. All numbers are big-endian, so that bytes sort as numbers do.

use crate::place::Key;
use smallvec::SmallVec;
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64;

/// Facts about the whole database, in shard 0.
pub(crate) const SPACE_META: u8 = 0;
/// One header per Redis key.
pub(crate) const SPACE_HEADER: u8 = 1;
/// Elements of exploded values.
pub(crate) const SPACE_ELEMENT: u8 = 2;
/// The TTL index.
pub(crate) const SPACE_TTL: u8 = 3;

type Buffer = SmallVec<[u8; 72]>;

/// Bytes before the name in a header's key.
pub(crate) const HEADER_NAME: usize = 13;
/// Bytes before the sub-key in an element's key.
const ELEMENT_SUB: usize = 9;
/// Bytes before the name in a TTL key.
const TTL_NAME: usize = 21;
/// In a TTL key in the place of a database: the first field of a packed hash.
const FIELDS_OF_KEY: u32 = u32::MAX - 1;
/// In a TTL key in the place of a database: a field of an exploded hash.
const FIELD_OF_GENERATION: u32 = u32::MAX;

/// The engine key of a header.
pub(crate) struct HeaderKey {
    bytes: Buffer,
    place: u64,
}

impl HeaderKey {
    pub(crate) fn new(physical_db: u32, key: Key<'_>) -> HeaderKey {
        let mut bytes = Buffer::new();
        let mut head = [0; HEADER_NAME];
        head[0] = SPACE_HEADER;
        head[1..5].copy_from_slice(&physical_db.to_be_bytes());
        head[5..].copy_from_slice(&key.place.to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(key.name);
        HeaderKey { bytes, place: key.place }
    }

    pub(crate) fn hash(&self) -> u64 {
        header_hash(self.place)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A place's bits, spread: inside a shard the top bits are all the same, and the table wants them apart.
/// Part of the format (filters).
pub fn header_hash(place: u64) -> u64 {
    (place ^ place >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The engine key of an element.
pub(crate) struct ElementKey(Buffer);

impl ElementKey {
    pub(crate) fn new(generation: u64, sub: &[u8]) -> ElementKey {
        let mut bytes = Buffer::new();
        let mut head = [0; ELEMENT_SUB];
        head[0] = SPACE_ELEMENT;
        head[1..].copy_from_slice(&generation.to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(sub);
        ElementKey(bytes)
    }

    pub(crate) fn hash(&self) -> u64 {
        xxh3_64(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The engine key of an entry in the TTL index.
pub(crate) struct TtlKey(Buffer);

impl TtlKey {
    pub(crate) fn new(expire_ms: u64, physical_db: u32, key: Key<'_>) -> TtlKey {
        let mut bytes = Buffer::new();
        let mut head = [0; TTL_NAME];
        head[0] = SPACE_TTL;
        head[1..9].copy_from_slice(&expire_ms.to_be_bytes());
        head[9..13].copy_from_slice(&physical_db.to_be_bytes());
        head[13..].copy_from_slice(&key.place.to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(key.name);
        TtlKey(bytes)
    }

    /// The entry of a packed hash whose first field to expire does so at `expire_ms`.
    pub(crate) fn fields(expire_ms: u64, physical_db: u32, key: Key<'_>) -> TtlKey {
        let mut entry = TtlKey::start(expire_ms, FIELDS_OF_KEY);
        entry.0.extend_from_slice(&physical_db.to_be_bytes());
        entry.0.extend_from_slice(&key.place.to_be_bytes());
        entry.0.extend_from_slice(key.name);
        entry
    }

    /// The entry of a field of an exploded hash. It names the generation, so that it outlives a RENAME.
    pub(crate) fn field(expire_ms: u64, generation: u64, field: &[u8]) -> TtlKey {
        let mut entry = TtlKey::start(expire_ms, FIELD_OF_GENERATION);
        entry.0.extend_from_slice(&generation.to_be_bytes());
        entry.0.extend_from_slice(field);
        entry
    }

    fn start(expire_ms: u64, form: u32) -> TtlKey {
        let mut bytes = Buffer::new();
        bytes.push(SPACE_TTL);
        bytes.extend_from_slice(&expire_ms.to_be_bytes());
        bytes.extend_from_slice(&form.to_be_bytes());
        TtlKey(bytes)
    }

    pub(crate) fn hash(&self) -> u64 {
        xxh3_64(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What an entry of the TTL index is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due<'a> {
    /// A key of a physical database.
    Key(u32, Key<'a>),
    /// The fields of a packed hash, in a physical database.
    Fields(u32, Key<'a>),
    /// A field of the exploded hash that claims this generation.
    Field(u64, &'a [u8]),
}

/// Where the TTL entries of a moment begin.
pub(crate) fn ttl_start(expire_ms: u64) -> Vec<u8> {
    let mut bytes = vec![SPACE_TTL];
    bytes.extend_from_slice(&expire_ms.to_be_bytes());
    bytes
}

/// Where the headers of a physical database at or after a place begin.
pub(crate) fn header_start(physical_db: u32, place: u64) -> Vec<u8> {
    HeaderKey::new(physical_db, Key { name: &[], place }).bytes().to_vec()
}

/// Where the headers of a physical database in one shard end.
pub(crate) fn header_end(physical_db: u32, shard: u8) -> Vec<u8> {
    match (shard < 63, physical_db.checked_add(1)) {
        (true, _) => header_start(physical_db, (u64::from(shard) + 1) << 58),
        (false, Some(next_db)) => header_start(next_db, 0),
        (false, None) => vec![SPACE_HEADER + 1],
    }
}

/// The sub-key in an element's engine key.
pub(crate) fn sub_key(key: &[u8]) -> &[u8] {
    key.get(ELEMENT_SUB..).unwrap_or_default()
}

/// The engine keys of a generation's elements between two sub-keys; the root record is left out.
pub(crate) fn element_range(
    generation: u64,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let whole = |sub: &[u8]| ElementKey::new(generation, sub).0.to_vec();
    let from = match from {
        Bound::Included([]) | Bound::Unbounded => Bound::Excluded(whole(&[])),
        Bound::Included(sub) => Bound::Included(whole(sub)),
        Bound::Excluded(sub) => Bound::Excluded(whole(sub)),
    };
    let to = match to {
        Bound::Included(sub) => Bound::Included(whole(sub)),
        Bound::Excluded(sub) => Bound::Excluded(whole(sub)),
        Bound::Unbounded => match generation.checked_add(1) {
            Some(next) => Bound::Excluded(ElementKey::new(next, &[]).0.to_vec()),
            None => Bound::Excluded(vec![SPACE_ELEMENT + 1]),
        },
    };
    (from, to)
}

/// A header's engine key taken apart: physical database, place, name.
pub(crate) fn parse_header_key(key: &[u8]) -> Option<(u32, Key<'_>)> {
    let (&space, rest) = key.split_first()?;
    let (db, rest) = rest.split_first_chunk::<4>()?;
    let (place, name) = rest.split_first_chunk::<8>()?;
    (space == SPACE_HEADER)
        .then_some((u32::from_be_bytes(*db), Key { name, place: u64::from_be_bytes(*place) }))
}

/// A TTL key taken apart: expiry, and what expires.
pub(crate) fn parse_ttl_key(key: &[u8]) -> Option<(u64, Due<'_>)> {
    let (&space, rest) = key.split_first()?;
    let (expire_ms, rest) = rest.split_first_chunk::<8>()?;
    let (form, rest) = rest.split_first_chunk::<4>()?;
    let due = match u32::from_be_bytes(*form) {
        FIELD_OF_GENERATION => {
            let (generation, field) = rest.split_first_chunk::<8>()?;
            Due::Field(u64::from_be_bytes(*generation), field)
        }
        FIELDS_OF_KEY => {
            let (db, rest) = rest.split_first_chunk::<4>()?;
            Due::Fields(u32::from_be_bytes(*db), placed(rest)?)
        }
        db => Due::Key(db, placed(rest)?),
    };
    (space == SPACE_TTL).then_some((u64::from_be_bytes(*expire_ms), due))
}

/// A place and a name.
fn placed(bytes: &[u8]) -> Option<Key<'_>> {
    let (place, name) = bytes.split_first_chunk::<8>()?;
    Some(Key { name, place: u64::from_be_bytes(*place) })
}

/// The generation in an element's engine key.
pub(crate) fn generation(key: &[u8]) -> Option<u64> {
    let (&space, rest) = key.split_first()?;
    let (generation, _) = rest.split_first_chunk::<8>()?;
    (space == SPACE_ELEMENT).then_some(u64::from_be_bytes(*generation))
}

/// The hash of any engine key: what [`forgekv_engine::Schema::hash`] answers.
pub(crate) fn hash(key: &[u8]) -> u64 {
    match parse_header_key(key) {
        Some((_, key)) => header_hash(key.place),
        None => xxh3_64(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_made() {
        let key = Key { name: b"name", place: 77 << 40 };
        let header = HeaderKey::new(3, key);
        assert_eq!(parse_header_key(header.bytes()), Some((3, key)));
        assert_eq!(hash(header.bytes()), header.hash());
        let ttl = TtlKey::new(1234, 3, key);
        assert_eq!(parse_ttl_key(ttl.bytes()), Some((1234, Due::Key(3, key))));
        let fields = TtlKey::fields(1235, 3, key);
        assert_eq!(parse_ttl_key(fields.bytes()), Some((1235, Due::Fields(3, key))));
        let field = TtlKey::field(1235, 9, b"field");
        assert_eq!(parse_ttl_key(field.bytes()), Some((1235, Due::Field(9, b"field"))));
        assert!(ttl.bytes() < fields.bytes() && fields.bytes() < field.bytes());
        assert_eq!(hash(ttl.bytes()), ttl.hash());
        let element = ElementKey::new(9, b"sub");
        assert_eq!(generation(element.bytes()), Some(9));
        assert_eq!(sub_key(element.bytes()), b"sub");
        assert_eq!(hash(element.bytes()), element.hash());
        assert_eq!(parse_header_key(element.bytes()), None);
    }
}
