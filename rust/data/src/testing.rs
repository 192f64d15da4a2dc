//! For tests of this room: a store on a simulated disk, and commands on it.

use crate::expire::{self, Expires};
use crate::header::{Header, Kind, encoding, exploded_body};
use crate::limits::Limits;
use crate::place::Key;
use crate::store::Store;
use crate::view::{Event, Surroundings, Write};
use crate::{Error, Result, digest, keys, scan};
use forgekv_engine::disk::{Disk, SimDisk};
use forgekv_engine::{Batch, Loads, Options, SHARDS, ShardSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

pub(crate) const NOW: u64 = 1_000_000;

pub(crate) struct Db {
    pub(crate) disk: SimDisk,
    pub(crate) store: Option<Store>,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
    pub(crate) db: u32,
    pub(crate) seed: u64,
    pub(crate) events: Vec<String>,
    pub(crate) expired: u64,
}

impl Db {
    pub(crate) fn new() -> Db {
        let disk = SimDisk::new();
        let mut db = Db {
            disk,
            store: None,
            limits: Limits::default(),
            now_ms: NOW,
            db: 0,
            seed: 1,
            events: Vec::new(),
            expired: 0,
        };
        db.open();
        db
    }

    pub(crate) fn open(&mut self) {
        let mut options = Options::new("/data");
        options.memtable_bytes = 8 << 20;
        options.segment_bytes = 1 << 20;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.store = Some(Store::open(options, 16, disk).unwrap());
    }

    pub(crate) fn reopen(&mut self) {
        if let Some(store) = self.store.take() {
            store.engine().close().unwrap();
        }
        self.open();
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn key<'k>(&self, name: &'k str) -> Key<'k> {
        Key::new(self.store().place_seed(), name.as_bytes())
    }

    pub(crate) fn run<T>(&mut self, f: impl FnOnce(&mut Write<'_>) -> Result<T>) -> Result<T> {
        self.transaction(|run| run.one(f))
    }

    /// Several commands, one commit; what the last one answers.
    pub(crate) fn transaction<T>(
        &mut self,
        f: impl FnOnce(&mut Running<'_>) -> Result<T>,
    ) -> Result<T> {
        self.seed += 1;
        let around = Surroundings {
            now_ms: self.now_ms,
            db: self.db,
            limits: &self.limits,
            random_seed: self.seed,
            place_seed: self.store().place_seed(),
            events: u32::MAX,
            interest: forgekv_engine::ShardSet::default(),
        };
        let store = self.store.as_ref().unwrap();
        let (result, events, expired) = store.engine().with_reserved(ShardSet::ALL, |guard| {
            let mut running = Running {
                store,
                around,
                parts: Some((guard, Batch::new())),
                events: Vec::new(),
                expired: 0,
            };
            let result = f(&mut running);
            let (mut guard, mut batch) = running.parts.take().unwrap();
            if result.is_ok() {
                store.commit(&mut guard, &mut batch).unwrap();
            }
            (result, running.events, running.expired)
        });
        self.events =
            events.iter().map(|e| format!("{}:{}@{}", e.name, text(&e.key), e.db)).collect();
        self.expired += expired;
        result
    }

    pub(crate) fn set(&mut self, name: &str, value: &str, expire_ms: Option<u64>) {
        let key = self.key(name);
        self.run(|w| {
            let before = w.header(key)?.and_then(|h| h.expire_ms);
            let body = value.as_bytes();
            let header = Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms, body };
            w.put_header(key, &header, before);
            Ok(())
        })
        .unwrap();
    }

    pub(crate) fn get(&mut self, name: &str) -> Option<String> {
        let key = self.key(name);
        self.run(|w| Ok(w.header(key)?.map(|h| text(h.body)))).unwrap()
    }

    pub(crate) fn expires(&mut self, name: &str) -> Expires {
        let key = self.key(name);
        self.run(|w| expire::get(w, key)).unwrap()
    }

    /// An exploded value of `n` elements, of a kind that nobody looks into; answers its generation.
    pub(crate) fn explode(&mut self, name: &str, n: u32) -> u64 {
        let key = self.key(name);
        self.run(|w| {
            let generation = w.new_generation(key);
            for i in 0..n {
                w.put_element(key, generation, &i.to_be_bytes(), format!("v{i}").as_bytes());
            }
            let body = exploded_body(generation, u64::from(n), b"\0more");
            let header = Header {
                kind: Kind::Set,
                encoding: encoding::EXPLODED,
                expire_ms: None,
                body: &body,
            };
            w.put_header(key, &header, None);
            Ok(generation)
        })
        .unwrap()
    }

    /// Generation and elements of an exploded value.
    pub(crate) fn elements(&mut self, name: &str) -> (u64, Vec<String>) {
        let key = self.key(name);
        self.run(|w| {
            let (generation, count, more) = {
                let header = w.header(key)?.unwrap();
                let (generation, count, more) = header.exploded()?;
                (generation, count, more.to_vec())
            };
            assert_eq!(more, b"\0more");
            let mut found = Vec::new();
            let all = (Bound::Unbounded, Bound::Unbounded);
            w.scan_elements(key, generation, all.0, all.1, false, &mut |_, value| {
                found.push(text(value));
                Ok(ControlFlow::Continue(()))
            })?;
            assert_eq!(found.len() as u64, count);
            Ok((generation, found))
        })
        .unwrap()
    }

    pub(crate) fn count(&mut self) -> u64 {
        self.run(|w| scan::count(w)).unwrap()
    }

    /// All of SCAN with one COUNT, from a cursor on.
    pub(crate) fn scan(&mut self, mut cursor: u64, count: u64) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            cursor = self.scan_step(cursor, count, &mut found);
            if cursor == 0 {
                return found;
            }
        }
    }

    pub(crate) fn scan_step(&mut self, cursor: u64, count: u64, found: &mut Vec<String>) -> u64 {
        self.run(|w| {
            scan::step(w, cursor, count, &mut |f| {
                found.push(text(f.key.name));
                Ok(())
            })
        })
        .unwrap()
    }

    /// Everything the cycle has to do now.
    pub(crate) fn reap(&mut self, max: usize) -> (u64, u64) {
        let (mut expired, mut stale) = (0, 0);
        for _ in 0..10_000 {
            let due = self.store().due_shards(self.now_ms);
            if due == ShardSet::default() {
                return (expired, stale);
            }
            for shard in due.iter() {
                let reaped = self.run(|w| expire::cycle_shard(w, shard, max)).unwrap();
                expired += reaped.expired;
                stale += reaped.stale;
            }
        }
        panic!("the cycle does not come to an end");
    }

    /// The records of a space in all shards.
    pub(crate) fn records(&mut self, space: u8) -> usize {
        let mut n = 0;
        self.run(|w| {
            for shard in 0..SHARDS as u8 {
                let from = Bound::Included(vec![space]);
                let to = Bound::Excluded(vec![space + 1]);
                w.scan(shard, &from, &to, false, &mut |_, _| {
                    n += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Ok(())
        })
        .unwrap();
        n
    }

    pub(crate) fn compact(&self) {
        self.store().engine().sync().unwrap();
        self.store().engine().compact().unwrap();
    }
}

pub(crate) struct Running<'e> {
    pub(crate) store: &'e Store,
    pub(crate) around: Surroundings<'e>,
    pub(crate) parts: Option<(forgekv_engine::Guard<'e>, Batch)>,
    pub(crate) events: Vec<Event>,
    pub(crate) expired: u64,
}

impl<'e> Running<'e> {
    pub(crate) fn one<T>(&mut self, f: impl FnOnce(&mut Write<'_>) -> Result<T>) -> Result<T> {
        let (guard, batch) = self.parts.take().unwrap();
        let mut w = self.store.write(guard, batch, self.around.clone());
        let result = f(&mut w);
        let parts = w.into_parts();
        self.parts = Some((parts.guard, parts.batch));
        self.events.extend(parts.events);
        self.expired += parts.expired;
        result
    }
}

impl Db {
    /// As [`run`](Db::run), but as an event loop does it: what is missing is loaded, and the command runs
    /// again. Answers how many runs it took, too.
    pub(crate) fn run_cold<T>(
        &mut self,
        mut f: impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> (T, u32) {
        self.seed += 1;
        let store = self.store.as_ref().unwrap();
        let around = Surroundings {
            now_ms: self.now_ms,
            db: self.db,
            limits: &self.limits,
            random_seed: self.seed,
            place_seed: store.place_seed(),
            events: u32::MAX,
            interest: forgekv_engine::ShardSet::default(),
        };
        let mut loads = Loads::default();
        for runs in 1..200 {
            let Ok(guard) = store.engine().lock(ShardSet::ALL, loads) else { panic!("busy") };
            let mut w = store.write(guard, Batch::new(), around.clone());
            let result = f(&mut w);
            let mut parts = w.into_parts();
            match result {
                Ok(value) => match store.commit(&mut parts.guard, &mut parts.batch) {
                    // The memtables are full: nothing has happened.
                    Err(Error::Again(forgekv_engine::Error::Busy(shard))) => {
                        loads = parts.guard.into_loads();
                        store.engine().wait_free_here(shard);
                    }
                    committed => {
                        committed.unwrap();
                        return (value, runs);
                    }
                },
                Err(Error::Again(forgekv_engine::Error::Miss)) => {
                    loads = parts.guard.into_loads();
                    assert!(store.engine().load_resident(&mut loads).unwrap());
                }
                Err(e) => panic!("{e}"),
            }
        }
        panic!("the command does not come to an end");
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two names that differ in their shards, and one in the shard of the first.
pub(crate) fn names(db: &Db) -> (String, String, String) {
    let first = "a".to_string();
    let shard = db.key(&first).shard();
    let names = || (0..).map(|i| format!("n{i}"));
    let near = names().find(|n| db.key(n).shard() == shard).unwrap();
    let far = names().find(|n| db.key(n).shard() != shard).unwrap();
    (first, near, far)
}

impl Db {
    pub(crate) fn get_raw(&mut self, name: &str) -> bool {
        let key = self.key(name);
        self.run(|w| keys::exists(w, key)).unwrap()
    }
}

impl Db {
    pub(crate) fn digest(&mut self) -> String {
        self.run(|w| digest::everything(w)).unwrap().to_hex()
    }
}
