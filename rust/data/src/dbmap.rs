//! Which physical database a logical one is, drawn in `ENCODING.md`.
//!
//! Keys begin with a physical id, which is never used twice. So a database is emptied by giving it a new
//! id, and two are swapped by swapping their ids: one small record in shard 0 that goes through the log
//! like any write. Compaction drops the keys of ids that the record no longer names.
//!
//! ```text
//! space M, shard 0 | 0x00 | "databases" |   value | next id u32 LE | id of database 0 u32 LE | of 1 | ... |
//! ```
//!
//! Invariants:
//! 1. The copy in memory changes only while all shards are locked, after the record was committed: whoever
//!    holds any shard reads a map that fits what the shard holds.
//! 2. An id is judged dead only when the record that dropped it is synced.

use crate::error::{Error, Result};
use crate::record;
use crate::store::Store;
use crate::view::Write;
use forgekv_base::bytes::Reader;
use forgekv_engine::{Batch, Guard, SHARDS, ShardSet, Snapshot};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

/// The shard of space M.
pub(crate) const META_SHARD: u8 = 0;
/// Answered for a logical database that there is not: no key ever begins with it. Ids from here on are
/// never given: the TTL index has other uses for the highest.
const NOWHERE: u32 = u32::MAX - 15;
/// Ids given are below: the engine counts keys by them, and its groups end here.
const MOST_IDS: u32 = 1 << 30;

/// The engine key of the record.
fn record_key() -> &'static [u8] {
    debug_assert_eq!(RECORD_KEY.first(), Some(&record::SPACE_META));
    RECORD_KEY
}

const RECORD_KEY: &[u8] = b"\0databases";

/// A directory never has more logical databases: so many ids are in the record, and it is small.
pub(crate) const MOST_DATABASES: u32 = 1 << 16;

/// The record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    next: u32,
    ids: Vec<u32>,
}

impl Record {
    fn decode(bytes: &[u8]) -> Result<Record> {
        let broken = || Error::broken("the map of databases cannot be read");
        let mut reader = Reader::new(bytes);
        let next = reader.u32_le().ok_or_else(broken)?;
        let mut ids = Vec::with_capacity(reader.remaining() / 4);
        while !reader.is_empty() {
            ids.push(reader.u32_le().ok_or_else(broken)?);
        }
        if ids.iter().any(|&id| id >= next) {
            return Err(broken());
        }
        Ok(Record { next, ids })
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = std::iter::once(self.next).chain(self.ids.iter().copied());
        numbers.flat_map(u32::to_le_bytes).collect()
    }

    /// An id that no key begins with.
    fn draw(&mut self) -> Result<u32> {
        let id = self.next;
        let next = id.checked_add(1).filter(|&n| n < MOST_IDS);
        self.next = next.ok_or_else(|| {
            Error::reply("ERR no more databases can be made in this data directory")
        })?;
        Ok(id)
    }

    /// Gives a database an id that no key begins with.
    fn renew(&mut self, logical: usize) -> Result<()> {
        let id = self.draw()?;
        if let Some(slot) = self.ids.get_mut(logical) {
            *slot = id;
        }
        Ok(())
    }

    /// Makes sure that `databases` of them have an id. True when that changed something.
    pub(crate) fn grow(&mut self, databases: usize) -> Result<bool> {
        let before = self.ids.len();
        for logical in before..databases {
            self.ids.push(0);
            self.renew(logical)?;
        }
        Ok(self.ids.len() != before)
    }

    /// Every database that there ever was; for a new directory none.
    pub(crate) fn load(guard: &mut Guard<'_>) -> Result<Record> {
        let key = record_key();
        match guard.get(META_SHARD, record::hash(key), key)? {
            Some(bytes) => Record::decode(bytes),
            None => Ok(Record { next: 0, ids: Vec::new() }),
        }
    }

    pub(crate) fn put(&self, batch: &mut Batch) {
        let key = record_key();
        batch.put(META_SHARD, record::hash(key), key, &self.encode());
    }
}

/// The map in memory.
#[derive(Debug)]
pub(crate) struct DbMap {
    ids: Box<[AtomicU32]>,
    claims: Mutex<Claims>,
}

/// What compaction asks.
#[derive(Debug, Default)]
struct Claims {
    /// Ids of no logical database whose keys are wanted all the same: they are being loaded.
    held: BTreeSet<u32>,
    /// The newest record; `None` until it is read at the start.
    record: Option<Record>,
    /// Ids that a record dropped, and the sequence number before that record's: something later has to
    /// be synced before it counts.
    leaving: Vec<(u32, u64)>,
}

/// Which physical databases compaction may regard as gone, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    ids: BTreeSet<u32>,
    next: u32,
}

impl Claimed {
    /// Whether nobody can reach keys of `id` any more, now or after a crash.
    pub(crate) fn is_dead(&self, id: u32) -> bool {
        id < self.next && !self.ids.contains(&id)
    }
}

impl DbMap {
    /// A map of so many databases, before the record is read.
    pub(crate) fn new(databases: u32) -> DbMap {
        DbMap {
            ids: (0..databases.max(1)).map(|_| AtomicU32::new(NOWHERE)).collect(),
            claims: Mutex::default(),
        }
    }

    /// The number of logical databases.
    pub(crate) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// The physical id of a logical database.
    #[inline]
    pub(crate) fn get(&self, logical: u32) -> u32 {
        self.ids.get(logical as usize).map_or(NOWHERE, |id| id.load(Ordering::Acquire))
    }

    /// The logical database that an id is, if it is one.
    pub(crate) fn logical(&self, physical: u32) -> Option<u32> {
        self.ids.iter().position(|id| id.load(Ordering::Acquire) == physical).map(|n| n as u32)
    }

    /// Takes a record over, which was committed after the sequence number `before` and before any other
    /// commit. All shards are locked, or nobody else is there yet. Returns the ids that are gone.
    pub(crate) fn install(&self, record: Record, before: u64) -> Vec<u32> {
        for (id, new) in self.ids.iter().zip(&record.ids) {
            id.store(*new, Ordering::Release);
        }
        let mut claims = self.claims.lock();
        let old = claims.record.take().map(|r| r.ids).unwrap_or_default();
        let gone: Vec<u32> = old.into_iter().filter(|id| !record.ids.contains(id)).collect();
        claims.leaving.extend(gone.iter().map(|&id| (id, before)));
        claims.record = Some(record);
        gone
    }

    /// What is claimed, for a compaction, when the log is synced up to `synced_seq`. Before the record is
    /// read nothing is known to be dead.
    pub(crate) fn claimed(&self, synced_seq: u64) -> Claimed {
        let mut claims = self.claims.lock();
        claims.leaving.retain(|(_, before)| synced_seq <= *before);
        let Some(record) = &claims.record else { return Claimed::default() };
        let leaving = claims.leaving.iter().map(|(id, _)| *id);
        let held = claims.held.iter().copied();
        let ids = record.ids.iter().copied().chain(leaving).chain(held).collect();
        Claimed { ids, next: record.next }
    }
}

fn staged(batch: &mut Batch) -> Option<&[u8]> {
    let key = record_key();
    batch.get(META_SHARD, record::hash(key), key).flatten()
}

/// The changed map that a batch holds, if it does.
///
/// # Errors
/// A record that cannot be read.
pub(crate) fn changed_by(batch: &mut Batch) -> Result<Option<Record>> {
    staged(batch).map(Record::decode).transpose()
}

/// The physical id of a logical database as a command sees it whose transaction may have changed the map.
#[inline]
pub(crate) fn physical(map: &DbMap, batch: &mut Batch, logical: u32) -> u32 {
    if !batch.is_empty()
        && let Some(bytes) = staged(batch)
        && let Ok(record) = Record::decode(bytes)
    {
        return record.ids.get(logical as usize).copied().unwrap_or(NOWHERE);
    }
    map.get(logical)
}

/// Empties databases: the given one, or all. O(1) whatever they hold.
///
/// # Errors
/// `Again` unless all shards are held.
pub fn flush(w: &mut Write<'_>, logical: Option<u32>) -> Result<()> {
    change(w, |record| {
        (0..record.ids.len())
            .filter(|&n| logical.is_none_or(|db| db as usize == n))
            .try_for_each(|n| record.renew(n))
    })?;
    (0..w.databases())
        .filter(|&db| logical.is_none_or(|only| only == db))
        .for_each(|db| w.touch_database(db));
    Ok(())
}

/// Swaps two databases.
///
/// # Errors
/// As [`flush`].
pub fn swap(w: &mut Write<'_>, a: u32, b: u32) -> Result<()> {
    change(w, |record| {
        if (a.max(b) as usize) < record.ids.len() {
            record.ids.swap(a as usize, b as usize);
        }
        Ok(())
    })?;
    if a != b {
        w.touch_database(a);
        w.touch_database(b);
    }
    Ok(())
}

fn change(w: &mut Write<'_>, change: impl FnOnce(&mut Record) -> Result<()>) -> Result<()> {
    w.require_all()?;
    let key = record_key();
    let record = match w.get(META_SHARD, record::hash(key), key)? {
        Some(bytes) => Record::decode(bytes)?,
        None => return Err(Error::broken("there is no map of databases")),
    };
    let mut new = record.clone();
    change(&mut new)?;
    if new != record {
        w.put(META_SHARD, record::hash(key), key, &new.encode());
        w.changed();
        let db = w.db();
        w.switch_db(db);
    }
    Ok(())
}

/// The ids of all logical databases at a snapshot's moment.
pub(crate) fn ids_in(snapshot: &Snapshot) -> Result<Vec<u32>> {
    let records = snapshot.records(META_SHARD, record_key())?;
    match records.current() {
        Some((key, value)) if key == record_key() => Ok(Record::decode(value)?.ids),
        _ => Err(Error::broken("there is no map of databases")),
    }
}

/// Whether any logical database has a key, those included that are beyond the number of the store's.
pub(crate) fn holds_keys(store: &Store) -> Result<bool> {
    store.engine().with_reserved(ShardSet::ALL, |mut guard| {
        for id in Record::load(&mut guard)?.ids {
            for shard in 0..SHARDS as u8 {
                if guard.settled_count(shard, id)? > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    })
}

/// Changes the record; `held` and `released` are the ids that are wanted from here on, or not any more,
/// though no logical database has them.
fn renumber<T>(
    store: &Store,
    change: impl Fn(&mut Record, &mut BTreeSet<u32>) -> Result<T>,
) -> Result<T> {
    store.engine().with_reserved(ShardSet::ALL, |mut guard| {
        let mut record = Record::load(&mut guard)?;
        let mut held = store.map().claims.lock().held.clone();
        let answer = change(&mut record, &mut held)?;
        // What is held is known before the record gives the id away, and what is not held any more after
        // the record has taken it over.
        store.map().claims.lock().held.extend(&held);
        let mut batch = Batch::new();
        record.put(&mut batch);
        store.commit(&mut guard, &mut batch)?;
        store.map().claims.lock().held = held;
        Ok(answer)
    })
}

/// A new id for keys that are being loaded: nobody sees them, until [`publish`].
pub(crate) fn hold(store: &Store) -> Result<u32> {
    renumber(store, |record, held| {
        let id = record.draw()?;
        held.insert(id);
        Ok(id)
    })
}

/// Makes ids those of logical databases, which lose what they held; the others are emptied. One record, so
/// all of it happens or nothing.
pub(crate) fn publish(store: &Store, ids: &BTreeMap<u32, u32>) -> Result<()> {
    renumber(store, |record, held| {
        let most = ids.keys().next_back().map_or(0, |&n| n as usize + 1);
        record.grow(most)?;
        for logical in 0..record.ids.len() {
            match (ids.get(&(logical as u32)), record.ids.get_mut(logical)) {
                (Some(&id), Some(slot)) => {
                    *slot = id;
                    held.remove(&id);
                }
                _ => record.renew(logical)?,
            }
        }
        Ok(())
    })
}

/// Gives up ids that were held: their keys are dropped by compactions.
pub(crate) fn abandon(store: &Store, ids: impl Iterator<Item = u32>) {
    let mut claims = store.map().claims.lock();
    for id in ids {
        claims.held.remove(&id);
    }
    drop(claims);
    store.engine().hint_garbage(ShardSet::ALL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_round_trip() {
        let mut record = Record { next: 0, ids: Vec::new() };
        assert!(record.grow(3).unwrap());
        assert!(!record.grow(2).unwrap());
        assert_eq!(record, Record { next: 3, ids: vec![0, 1, 2] });
        record.renew(1).unwrap();
        assert_eq!(record, Record { next: 4, ids: vec![0, 3, 2] });
        assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        assert!(Record::decode(b"").is_err());
        assert!(Record::decode(b"12345").is_err());
        assert!(Record::decode(&[1, 0, 0, 0, 1, 0, 0, 0]).is_err(), "an id that was never given");
        record.next = MOST_IDS - 1;
        assert!(record.renew(0).is_err());
    }

    #[test]
    fn an_id_is_dead_only_when_that_is_synced() {
        let map = DbMap::new(2);
        assert!(!map.claimed(u64::MAX).is_dead(0), "nothing is known before the record is read");
        map.install(Record { next: 2, ids: vec![0, 1] }, 0);
        assert_eq!((map.get(0), map.get(1), map.get(2)), (0, 1, NOWHERE));
        let gone = map.install(Record { next: 3, ids: vec![2, 1] }, 100);
        assert_eq!(gone, [0]);
        assert_eq!((map.get(0), map.logical(2), map.logical(0)), (2, Some(0), None));
        assert!(!map.claimed(99).is_dead(0));
        assert!(!map.claimed(100).is_dead(0));
        let claimed = map.claimed(101);
        assert!(claimed.is_dead(0) && !claimed.is_dead(1) && !claimed.is_dead(2));
        assert!(!claimed.is_dead(3), "not given yet");
    }
}

#[cfg(test)]
#[path = "dbmap_tests.rs"]
mod on_disk;
