//! WATCH: who wants to know whether keys have changed before EXEC.
//!
//! A change marks its watchers while it holds the key's shard, and EXEC looks at the mark when it holds the
//! shards of all watched keys: so nothing slips in between.

use crate::interest::Interest;
use crate::session::NAME_BYTES;
use forgekv_data::{Key, Read, Result, Touched};
use forgekv_engine::{SHARDS, ShardSet};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something that a client watches has changed.
type Mark = Arc<AtomicBool>;

/// What a client watches; belongs to its session.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    changed: Mark,
    keys: Vec<WatchedKey>,
    /// What the names take, in bytes.
    bytes: u64,
}

#[derive(Debug)]
struct WatchedKey {
    db: u32,
    name: Vec<u8>,
    place: u64,
    was: Was,
}

impl WatchedKey {
    fn key(&self) -> Key<'_> {
        Key { name: &self.name, place: self.place }
    }
}

/// What a key was when it began to be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Missing,
    There,
    /// It had expired, and was not reaped yet: that it goes is no change.
    Expired,
}

/// One client's interest in one key.
#[derive(Debug)]
struct Watcher {
    changed: Mark,
    was: Was,
}

type ByKey = HashMap<(u32, Vec<u8>), Vec<Watcher>>;

/// All watched keys, by shard.
#[derive(Debug)]
pub(crate) struct Watches {
    shards: Box<[Mutex<ByKey>]>,
}

impl Default for Watches {
    fn default() -> Watches {
        Watches { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Watches {
    /// Begins to watch a key, whose shard the caller holds through `view`.
    ///
    /// # Errors
    /// `Again` when the key's header has to be loaded.
    pub(crate) fn watch(
        &self,
        interest: &Interest,
        watched: &mut Watched,
        view: &mut Read<'_>,
        key: Key<'_>,
    ) -> Result<()> {
        let (db, now_ms) = (view.db(), view.now_ms());
        if watched.keys.iter().any(|known| known.db == db && known.name == key.name) {
            return Ok(());
        }
        let was = match view.header_raw(key)? {
            None => Was::Missing,
            Some(header) if header.expire_ms.is_some_and(|at| at <= now_ms) => Was::Expired,
            Some(_) => Was::There,
        };
        let Some(shard) = self.shards.get(usize::from(key.shard())) else { return Ok(()) };
        let watcher = Watcher { changed: watched.changed.clone(), was };
        let name = key.name.to_vec();
        shard.lock().entry((db, name.clone())).or_default().push(watcher);
        interest.add(key.shard());
        watched.bytes += name.len() as u64 + NAME_BYTES;
        watched.keys.push(WatchedKey { db, name, place: key.place, was });
        Ok(())
    }

    /// Ends all watching of a client.
    pub(crate) fn unwatch(&self, interest: &Interest, watched: &mut Watched) {
        watched.bytes = 0;
        for WatchedKey { db, name, place, .. } in watched.keys.drain(..) {
            let shard = Key { name: &name, place }.shard();
            let Some(by_key) = self.shards.get(usize::from(shard)) else { continue };
            let mut by_key = by_key.lock();
            let id = (db, name);
            if let Some(watchers) = by_key.get_mut(&id) {
                watchers.retain(|watcher| !Arc::ptr_eq(&watcher.changed, &watched.changed));
                if watchers.is_empty() {
                    by_key.remove(&id);
                }
            }
            interest.remove(shard);
        }
        // A change that is told late finds the old mark.
        watched.changed = Mark::default();
    }

    /// Tells watchers of a change. `view` looks at what is there now, with the shards of the change held.
    pub(crate) fn tell(&self, touched: &Touched, view: &mut Read<'_>) {
        match touched {
            Touched::Key { db, name, shard, expired } => {
                let Some(by_key) = self.shards.get(usize::from(*shard)) else { return };
                let by_key = by_key.lock();
                if by_key.is_empty() {
                    return;
                }
                for watcher in by_key.get(&(*db, name.clone())).into_iter().flatten() {
                    if !(*expired && watcher.was == Was::Expired) {
                        watcher.changed.store(true, Ordering::Release);
                    }
                }
            }
            Touched::Ready { .. } => {}
            Touched::Database(db) => {
                for by_key in &self.shards {
                    for ((_, name), watchers) in
                        by_key.lock().iter().filter(|((of, _), _)| of == db)
                    {
                        self.tell_replaced(name, watchers, view);
                    }
                }
            }
        }
    }

    /// A database was emptied or swapped: keys that were there, or are there now, have changed.
    fn tell_replaced(&self, name: &[u8], watchers: &[Watcher], view: &mut Read<'_>) {
        let key = view.key(name);
        // What cannot be looked at now may be there: an EXEC too few is no harm.
        let now_ms = view.now_ms();
        let lives =
            |header: forgekv_data::Header<'_>| header.expire_ms.is_none_or(|at| at > now_ms);
        let is_there = view.header_raw(key).map_or(true, |header| header.is_some_and(lives));
        for watcher in watchers {
            if is_there || watcher.was == Was::There {
                watcher.changed.store(true, Ordering::Release);
            }
        }
    }
}

impl Watched {
    /// Whether anything is watched.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are watched.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The shards of the watched keys.
    pub(crate) fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        self.keys.iter().for_each(|watched| shards.insert(watched.key().shard()));
        shards
    }

    /// Whether a watched key has changed, or has expired meanwhile. Asked with all their shards held.
    ///
    /// # Errors
    /// `Again` when a header has to be loaded.
    pub(crate) fn has_changed(&self, view: &mut Read<'_>) -> Result<bool> {
        if self.changed.load(Ordering::Acquire) {
            return Ok(true);
        }
        let (db, now_ms) = (view.db(), view.now_ms());
        let mut expired = Ok(false);
        for watched in self.keys.iter().filter(|watched| watched.was == Was::There) {
            view.switch_db(watched.db);
            expired = view.header_raw(watched.key()).map(|header| {
                header.is_some_and(|header| header.expire_ms.is_some_and(|at| at <= now_ms))
            });
            if !matches!(expired, Ok(false)) {
                break;
            }
        }
        view.switch_db(db);
        expired
    }
}
