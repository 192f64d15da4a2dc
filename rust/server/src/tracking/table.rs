//! Which clients hold which names.

use forgekv_data::Key;
use forgekv_engine::SHARDS;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Ids of clients, each once.
pub(super) type Holders = SmallVec<[u64; 2]>;

/// Names by the shards in which they would be. A shard's part is touched by those who hold the shard, and by
/// those who take a name out because there are too many.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<HashMap<Box<[u8]>, Holders>>]>,
    names: AtomicU64,
    items: AtomicU64,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            names: AtomicU64::new(0),
            items: AtomicU64::new(0),
        }
    }
}

impl Table {
    /// Adds a holder; true if the name had none.
    pub(super) fn enter(&self, key: &Key<'_>, client: u64) -> bool {
        let Some(shard) = self.shards.get(usize::from(key.shard())) else { return false };
        let mut shard = shard.lock();
        if let Some(holders) = shard.get_mut(key.name) {
            if !holders.contains(&client) {
                holders.push(client);
                self.items.fetch_add(1, Relaxed);
            }
            return false;
        }
        shard.insert(key.name.into(), Holders::from_slice(&[client]));
        self.names.fetch_add(1, Relaxed);
        self.items.fetch_add(1, Relaxed);
        true
    }

    /// Forgets a name; its holders, if it had any.
    pub(super) fn take(&self, shard: u8, name: &[u8]) -> Option<Holders> {
        let holders = self.shards.get(usize::from(shard))?.lock().remove(name)?;
        self.forgot(1, holders.len());
        Some(holders)
    }

    /// Forgets some name of a shard.
    pub(super) fn take_any(&self, shard: u8) -> Option<(Box<[u8]>, Holders)> {
        let mut shard = self.shards.get(usize::from(shard))?.lock();
        let name = shard.keys().next()?.clone();
        let taken = shard.remove_entry(&name)?;
        self.forgot(1, taken.1.len());
        Some(taken)
    }

    /// Forgets all names of a shard; how many there were.
    pub(super) fn clear(&self, shard: u8) -> usize {
        let Some(shard) = self.shards.get(usize::from(shard)) else { return 0 };
        let forgotten = std::mem::take(&mut *shard.lock());
        self.forgot(forgotten.len(), forgotten.values().map(SmallVec::len).sum());
        forgotten.len()
    }

    fn forgot(&self, names: usize, items: usize) {
        self.names.fetch_sub(names as u64, Relaxed);
        self.items.fetch_sub(items as u64, Relaxed);
    }

    pub(super) fn names(&self) -> u64 {
        self.names.load(Relaxed)
    }

    pub(super) fn items(&self) -> u64 {
        self.items.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_once_and_items_for_each_holder() {
        let table = Table::default();
        let (a, b) = (Key { name: b"a", place: 0 }, Key { name: b"b", place: u64::MAX });
        assert!(table.enter(&a, 1));
        assert!(!table.enter(&a, 2));
        assert!(!table.enter(&a, 1));
        assert!(table.enter(&b, 1));
        assert_eq!((table.names(), table.items()), (2, 3));
        assert_eq!(table.take(a.shard(), b"a").unwrap().as_slice(), [1, 2]);
        assert!(table.take(a.shard(), b"a").is_none());
        assert_eq!(&*table.take_any(b.shard()).unwrap().0, b"b");
        assert_eq!((table.names(), table.items()), (0, 0));
        table.enter(&b, 7);
        assert_eq!(table.clear(b.shard()), 1);
        assert_eq!((table.names(), table.items()), (0, 0));
    }
}
