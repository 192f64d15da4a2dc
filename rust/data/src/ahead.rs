//! Memory asked for ahead of time: the records of commands that arrived together.
//!
//! A record that the processor has not seen lately costs it two waits, for the line of the hot-key table
//! and for the entry. Commands that wait one after the other wait long; asked for together, their records
//! come side by side. In this order: the lines of all headers, all headers, then the lines of the elements
//! (an exploded value's header has to be read to know where they are), and the elements.

use crate::hash;
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::record::{ElementKey, HeaderKey};
use crate::store::Store;
use crate::zset;

/// Where a record is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    shard: u8,
    hash: u64,
}

impl Spot {
    /// A key's header.
    #[inline]
    pub fn header(key: Key<'_>) -> Spot {
        Spot { shard: key.shard(), hash: key.hash() }
    }

    /// An element of the value at `key` in a logical database, if that is in memory and exploded.
    pub fn element(store: &Store, db: u32, key: Key<'_>, element: &[u8]) -> Option<Spot> {
        let record = HeaderKey::new(store.physical_db(db), key);
        let shard = key.shard();
        let (kind, generation) =
            store.engine().peek(shard, record.hash(), record.bytes(), |bytes| {
                let header = Header::decode(bytes).ok()?;
                Some((header.kind, header.generation()?))
            })?;
        let seed = store.place_seed();
        let record = match kind {
            Kind::Hash | Kind::Set => ElementKey::new(generation, &hash::sub_key(seed, element)),
            Kind::ZSet => ElementKey::new(generation, &zset::sub_key(seed, element)),
            Kind::String | Kind::List | Kind::Stream => return None,
        };
        let hash = record.hash();
        Some(Spot { shard, hash })
    }

    /// First step: the line of the table.
    #[inline]
    pub fn prefetch(self, store: &Store) {
        store.engine().prefetch(self.shard, self.hash);
    }

    /// Second step: the entry.
    #[inline]
    pub fn prefetch_entry(self, store: &Store) {
        store.engine().prefetch_entry(self.shard, self.hash);
    }
}
