//! The one number that orders everything: shard, order on disk, filter hash, SCAN cursor.
//!
//! ```text
//! place: u64 = | slot mod 64 (6 bits: the shard) | slot / 64 (8 bits) | top 50 bits of xxh3_64(seed, key) |
//! ```
//!
//! Low slot bits choose the shard, so that a node that owns a contiguous range of slots still uses all
//! 64. The seed is random and kept in the manifest, so nobody can aim keys at one place. On-disk format:
//! do not change.

use forgekv_base::crc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A key and its place. Made once per command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key as the client wrote it.
    pub name: &'a [u8],
    /// See the head of this file.
    pub place: u64,
}

impl<'a> Key<'a> {
    /// Finds the place of `name`.
    pub fn new(seed: u64, name: &'a [u8]) -> Key<'a> {
        let slot = u64::from(crc::key_slot(name));
        let hash = xxh3_64_with_seed(name, seed);
        Key { name, place: (slot % 64) << 58 | (slot / 64) << 50 | hash >> 14 }
    }

    /// The shard that holds this key and its elements.
    pub fn shard(&self) -> u8 {
        (self.place >> 58) as u8
    }

    /// The engine's hash of the key's header, for prefetching it.
    #[inline]
    pub fn hash(&self) -> u64 {
        crate::record::header_hash(self.place)
    }

    /// The cluster slot.
    pub fn slot(&self) -> u16 {
        ((self.place >> 58) | (self.place >> 50 & 0xff) << 6) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_and_tag_decide_the_shard() {
        let key = Key::new(1, b"foo");
        assert_eq!(key.slot(), 12182);
        assert_eq!(u16::from(key.shard()), 12182 % 64);
        let (a, b) = (Key::new(1, b"{foo}a"), Key::new(1, b"{foo}b"));
        assert_eq!(a.place >> 50, b.place >> 50);
        assert_eq!(key.place >> 50, a.place >> 50);
        assert_ne!(a.place, b.place);
        assert_ne!(a.place, Key::new(2, b"{foo}a").place);
    }
}
