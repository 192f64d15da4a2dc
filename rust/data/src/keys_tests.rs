//! Keys, databases, expiry and walks, against an engine on a simulated disk.

use crate::expire::{self, Condition, Expires};
use crate::header::{Header, Kind, encoding, exploded_body};
use crate::limits::Limits;
use crate::place::Key;
use crate::record;
use crate::store::Store;
use crate::view::{Event, Surroundings, Write};
use crate::{Error, Result, dbmap, digest, hash, keys, scan};
use forgekv_engine::disk::{Disk, SimDisk};
use forgekv_engine::{Batch, Loads, Options, SHARDS, ShardSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

const NOW: u64 = 1_000_000;

struct Db {
    disk: SimDisk,
    store: Option<Store>,
    limits: Limits,
    now_ms: u64,
    db: u32,
    seed: u64,
    events: Vec<String>,
    expired: u64,
}

impl Db {
    fn new() -> Db {
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

    fn open(&mut self) {
        let mut options = Options::new("/data");
        options.memtable_bytes = 8 << 20;
        options.segment_bytes = 1 << 20;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.store = Some(Store::open(options, 16, disk).unwrap());
    }

    fn reopen(&mut self) {
        if let Some(store) = self.store.take() {
            store.engine().close().unwrap();
        }
        self.open();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn key<'k>(&self, name: &'k str) -> Key<'k> {
        Key::new(self.store().place_seed(), name.as_bytes())
    }

    fn run<T>(&mut self, f: impl FnOnce(&mut Write<'_>) -> Result<T>) -> Result<T> {
        self.transaction(|run| run.one(f))
    }

    /// Several commands, one commit; what the last one answers.
    fn transaction<T>(&mut self, f: impl FnOnce(&mut Running<'_>) -> Result<T>) -> Result<T> {
        self.seed += 1;
        let around = Surroundings {
            now_ms: self.now_ms,
            db: self.db,
            limits: &self.limits,
            random_seed: self.seed,
            place_seed: self.store().place_seed(),
            events: u32::MAX,
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
        self.events = events.iter().map(|e| format!("{}:{}@{}", e.name, text(&e.key), e.db)).collect();
        self.expired += expired;
        result
    }

    fn set(&mut self, name: &str, value: &str, expire_ms: Option<u64>) {
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

    fn get(&mut self, name: &str) -> Option<String> {
        let key = self.key(name);
        self.run(|w| Ok(w.header(key)?.map(|h| text(h.body)))).unwrap()
    }

    fn expires(&mut self, name: &str) -> Expires {
        let key = self.key(name);
        self.run(|w| expire::get(w, key)).unwrap()
    }

    /// An exploded list of `n` elements; answers its generation.
    fn explode(&mut self, name: &str, n: u32) -> u64 {
        let key = self.key(name);
        self.run(|w| {
            let generation = w.new_generation(key);
            for i in 0..n {
                w.put_element(key, generation, &i.to_be_bytes(), format!("v{i}").as_bytes());
            }
            let body = exploded_body(generation, u64::from(n), b"more");
            let header =
                Header { kind: Kind::List, encoding: encoding::EXPLODED, expire_ms: None, body: &body };
            w.put_header(key, &header, None);
            Ok(generation)
        })
        .unwrap()
    }

    /// Generation and elements of an exploded value.
    fn elements(&mut self, name: &str) -> (u64, Vec<String>) {
        let key = self.key(name);
        self.run(|w| {
            let (generation, count, more) = {
                let header = w.header(key)?.unwrap();
                let (generation, count, more) = header.exploded()?;
                (generation, count, more.to_vec())
            };
            assert_eq!(more, b"more");
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

    fn count(&mut self) -> u64 {
        self.run(|w| scan::count(w)).unwrap()
    }

    /// All of SCAN with one COUNT, from a cursor on.
    fn scan(&mut self, mut cursor: u64, count: u64) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            cursor = self.scan_step(cursor, count, &mut found);
            if cursor == 0 {
                return found;
            }
        }
    }

    fn scan_step(&mut self, cursor: u64, count: u64, found: &mut Vec<String>) -> u64 {
        self.run(|w| {
            scan::step(w, cursor, count, &mut |f| {
                found.push(text(f.key.name));
                Ok(())
            })
        })
        .unwrap()
    }

    /// Everything the cycle has to do now.
    fn reap(&mut self, max: usize) -> (u64, u64) {
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
    fn records(&mut self, space: u8) -> usize {
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

    fn compact(&self) {
        self.store().engine().sync().unwrap();
        self.store().engine().compact().unwrap();
    }
}

struct Running<'e> {
    store: &'e Store,
    around: Surroundings<'e>,
    parts: Option<(forgekv_engine::Guard<'e>, Batch)>,
    events: Vec<Event>,
    expired: u64,
}

impl<'e> Running<'e> {
    fn one<T>(&mut self, f: impl FnOnce(&mut Write<'_>) -> Result<T>) -> Result<T> {
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
    fn run_cold<T>(
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
        };
        let mut loads = Loads::default();
        for runs in 1..200 {
            let Ok(guard) = store.engine().lock(ShardSet::ALL, loads) else { panic!("busy") };
            let mut w = store.write(guard, Batch::new(), around.clone());
            let result = f(&mut w);
            let mut parts = w.into_parts();
            match result {
                Ok(value) => {
                    store.commit(&mut parts.guard, &mut parts.batch).unwrap();
                    return (value, runs);
                }
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two names that differ in their shards, and one in the shard of the first.
fn names(db: &Db) -> (String, String, String) {
    let first = "a".to_string();
    let shard = db.key(&first).shard();
    let names = || (0..).map(|i| format!("n{i}"));
    let near = names().find(|n| db.key(n).shard() == shard).unwrap();
    let far = names().find(|n| db.key(n).shard() != shard).unwrap();
    (first, near, far)
}

#[test]
fn databases_are_flushed_and_swapped_by_their_ids() {
    let mut db = Db::new();
    for n in [0, 1] {
        db.db = n;
        db.set("k", &format!("in {n}"), None);
    }
    db.run(|w| dbmap::swap(w, 0, 1)).unwrap();
    assert_eq!(db.get("k").as_deref(), Some("in 0"));
    db.db = 0;
    assert_eq!(db.get("k").as_deref(), Some("in 1"));
    db.run(|w| dbmap::flush(w, Some(0))).unwrap();
    assert_eq!((db.get("k"), db.count()), (None, 0));
    db.db = 1;
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("in 0"), 1));
    db.reopen();
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("in 0"), 1));
    db.run(|w| dbmap::flush(w, None)).unwrap();
    assert_eq!((db.get("k"), db.count()), (None, 0));
    db.set("k", "new", None);
    db.reopen();
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("new"), 1));
    assert_eq!(db.records(record::SPACE_HEADER), 3);
    db.compact();
    assert_eq!(db.records(record::SPACE_HEADER), 1, "what no database names is dropped");
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("new"), 1));
}

#[test]
fn a_transaction_sees_its_own_flush() {
    let mut db = Db::new();
    db.set("k", "old", None);
    let key = db.key("k");
    let other = db.key("other");
    let plain = |body: &'static [u8]| Header {
        kind: Kind::String,
        encoding: encoding::PACKED,
        expire_ms: None,
        body,
    };
    let seen = db
        .transaction(|run| {
            run.one(|w| {
                w.put_header(other, &plain(b"x"), None);
                Ok(())
            })?;
            let before = run.one(|w| scan::count(w))?;
            run.one(|w| dbmap::flush(w, Some(0)))?;
            let flushed = run.one(|w| Ok((scan::count(w)?, w.header(key)?.is_some())))?;
            run.one(|w| {
                w.put_header(key, &plain(b"new"), None);
                Ok(())
            })?;
            let after = run.one(|w| {
                let random = scan::random(w)?;
                Ok((scan::count(w)?, w.header(key)?.map(|h| h.body.to_vec()), random))
            })?;
            Ok((before, flushed, after))
        })
        .unwrap();
    assert_eq!(seen, (2, (0, false), (1, Some(b"new".to_vec()), Some(b"k".to_vec()))));
    assert_eq!((db.get("k").as_deref(), db.get("other"), db.count()), (Some("new"), None, 1));

    // Dropped: nothing has happened.
    let failed = db.transaction(|run| {
        run.one(|w| dbmap::flush(w, None))?;
        Err::<(), _>(Error::reply("ERR no"))
    });
    assert!(failed.is_err());
    assert_eq!(db.get("k").as_deref(), Some("new"));
}

#[test]
fn a_power_cut_keeps_keys_and_map_together() {
    for seed in 0..6 {
        let mut db = Db::new();
        for i in 0..300 {
            db.set(&format!("k{i}"), "v", None);
        }
        db.store().engine().sync().unwrap();
        db.run(|w| dbmap::flush(w, None)).unwrap();
        db.set("after", "v", None);
        if seed % 2 == 0 {
            db.store().engine().sync().unwrap();
        }
        db.disk.power_cut(seed);
        db.store = None;
        db.disk.power_on(seed);
        db.open();
        let (count, after) = (db.count(), db.get("after").is_some());
        if seed % 2 == 0 {
            assert_eq!((count, after), (1, true));
        } else {
            assert!([(300, false), (0, false), (1, true)].contains(&(count, after)), "{count} {after}");
        }
        db.compact();
        assert_eq!((db.count(), db.records(record::SPACE_HEADER) as u64), (count, count));
    }
}

#[test]
fn scan_returns_every_key_that_stays() {
    let mut db = Db::new();
    assert_eq!(db.scan(0, 10), Vec::<String>::new());
    db.set("only", "v", None);
    assert_eq!(db.scan_step(0, 10, &mut Vec::new()), 0, "a small database takes one step");
    let mut all = BTreeSet::from(["only".to_string()]);
    for i in 0..500 {
        let name = if i % 3 == 0 { format!("{{tag}}{i}") } else { format!("k{i}") };
        db.set(&name, "v", None);
        all.insert(name);
    }
    for count in [1, 7, 10, 1000] {
        let found = db.scan(0, count);
        assert_eq!(found.len(), all.len(), "each once");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all);
    }
    // Half of it, then a restart and deletions, then the rest.
    let mut found = Vec::new();
    let mut cursor = db.scan_step(0, 250, &mut found);
    assert!(found.len() >= 250 && cursor != 0);
    let gone: Vec<String> = all.iter().filter(|n| !found.contains(n)).take(20).cloned().collect();
    for name in &gone {
        let key = db.key(name);
        assert!(db.run(|w| keys::delete(w, key)).unwrap());
    }
    db.compact();
    db.reopen();
    while cursor != 0 {
        cursor = db.scan_step(cursor, 10, &mut found);
    }
    let found: BTreeSet<String> = found.into_iter().collect();
    let stayed: BTreeSet<String> = all.iter().filter(|n| !gone.contains(n)).cloned().collect();
    assert_eq!(found, stayed);
    assert_eq!(db.scan(u64::MAX, 10), Vec::<String>::new());
    assert_eq!(db.count() as usize, stayed.len());
    let mut walked = BTreeSet::new();
    db.run(|w| {
        scan::all(w, &mut |f| {
            walked.insert(text(f.key.name));
            Ok(())
        })
    })
    .unwrap();
    assert_eq!(walked, stayed);
}

#[test]
fn scan_skips_what_has_expired_and_other_databases() {
    let mut db = Db::new();
    db.set("live", "v", None);
    db.set("dead", "v", Some(NOW + 5));
    db.db = 1;
    db.set("elsewhere", "v", None);
    db.db = 0;
    db.now_ms += 5;
    assert_eq!(db.scan(0, 10), ["live"]);
    assert_eq!(db.count(), 2, "expired keys count until they are reaped");
    assert_eq!(db.get("dead"), None);
    assert_eq!(db.events, ["expired:dead@0"], "whoever meets it reaps it");
    assert_eq!((db.count(), db.expired), (1, 1));
}

#[test]
fn a_large_shard_is_walked_alone() {
    let mut db = Db::new();
    for i in 0..200 {
        db.set(&format!("{{tag}}{i}"), "v", None);
    }
    let store = db.store.clone().unwrap();
    let shard = db.key("{tag}").shard();
    let start = u64::from(shard) << 47;
    assert_eq!(scan::shard_of(start), shard);
    let limits = Limits::default();
    let around = Surroundings {
        now_ms: NOW,
        db: 0,
        limits: &limits,
        random_seed: 1,
        place_seed: store.place_seed(),
        events: 0,
    };
    let step = |cursor, count| {
        store.engine().with_reserved(ShardSet::one(shard), |guard| {
            let mut r = store.read(guard, Batch::new(), around.clone());
            let mut n = 0;
            let next = scan::step(&mut r, cursor, count, &mut |_| {
                n += 1;
                Ok(())
            });
            next.map(|next| (next, n))
        })
    };
    let (next, n) = step(start, 150).unwrap();
    assert_eq!((n, scan::shard_of(next)), (150, shard));
    // The shard ends before COUNT is reached, but it is a large one: on with the next shard later.
    let (next, n) = step(next, 150).unwrap();
    assert_eq!((n, next), (50, (u64::from(shard) + 1) << 47));
    assert!(matches!(step(start, 500), Err(Error::Again(_))), "a small one: all shards, please");
}

#[test]
fn random_keys_are_spread() {
    let mut db = Db::new();
    assert_eq!(db.run(|w| scan::random(w)).unwrap(), None);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for i in 0..100 {
        db.set(&format!("k{i}"), "v", None);
        db.set(&format!("{{t}}{i}"), "v", None);
    }
    for _ in 0..8000 {
        let name = db.run(|w| scan::random(w)).unwrap().unwrap();
        *seen.entry(text(&name)).or_default() += 1;
    }
    assert_eq!(seen.len(), 200);
    assert!(seen.values().all(|&n| (4..200).contains(&n)), "{seen:?}");
    // Of two slots in one shard one has nearly all keys.
    let shard = db.key("{t}").shard();
    let lone = (0..).map(|i| format!("lone{i}")).find(|n| db.key(n).shard() == shard).unwrap();
    db.run(|w| dbmap::flush(w, None)).unwrap();
    for i in 0..150 {
        db.set(&format!("{{t}}{i}"), "v", None);
    }
    db.set(&lone, "v", None);
    let mut alone = 0;
    for _ in 0..3000 {
        let name = db.run(|w| scan::random(w)).unwrap().unwrap();
        alone += u32::from(text(&name) == lone);
    }
    assert!((1..200).contains(&alone), "{alone}");
}

#[test]
fn random_ends_when_all_have_expired() {
    let mut db = Db::new();
    for i in 0..300 {
        db.set(&format!("k{i}"), "v", Some(NOW + 1));
    }
    db.now_ms += 1;
    assert_eq!(db.run(|w| scan::random(w)).unwrap(), None);
    db.set("live", "v", None);
    for _ in 0..5 {
        assert_eq!(db.run(|w| scan::random(w)).unwrap(), Some(b"live".to_vec()));
    }
}

#[test]
fn the_count_is_exact_when_nobody_looked() {
    let mut db = Db::new();
    for i in 0..500 {
        db.set(&format!("k{i}"), "v", None);
    }
    db.compact();
    db.reopen();
    // Written blindly: whether they were there is only known to the tables.
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"new" };
    for i in 250..750 {
        let name = format!("k{i}");
        let key = db.key(&name);
        db.run(|w| {
            w.put_header(key, &plain, None);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(db.count(), 750);
    for i in 0..100 {
        let name = format!("k{i}");
        let key = db.key(&name);
        db.run(|w| {
            w.delete_header(key, None);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(db.count(), 650);
    db.compact();
    assert_eq!(db.count(), 650);
    db.reopen();
    assert_eq!(db.count(), 650);
    assert_eq!(db.scan(0, 100).len(), 650);
}

#[test]
fn expiry_is_set_under_conditions() {
    let mut db = Db::new();
    let key = db.key("k").place;
    let key = Key { name: b"k", place: key };
    let set = |db: &mut Db, at: i64, nx, xx, gt, lt| {
        db.run(|w| expire::set(w, key, at, Condition { nx, xx, gt, lt })).unwrap()
    };
    assert!(!set(&mut db, 2_000_000, false, false, false, false), "no such key");
    db.set("k", "v", None);
    assert!(!set(&mut db, 2_000_000, false, true, false, false));
    assert!(!set(&mut db, 2_000_000, false, false, true, false), "never is later than any time");
    assert!(set(&mut db, 2_000_000, false, false, false, true));
    assert_eq!(db.events, ["expire:k@0"]);
    assert!(!set(&mut db, 3_000_000, true, false, false, false));
    assert!(!set(&mut db, 2_000_000, false, false, true, false));
    assert!(!set(&mut db, 2_000_000, false, true, false, true));
    assert!(set(&mut db, 2_000_001, false, true, true, false));
    assert_eq!(db.expires("k"), Expires::At(2_000_001));
    assert_eq!(db.get("k").as_deref(), Some("v"));
    assert!(db.run(|w| expire::persist(w, key)).unwrap());
    assert_eq!(db.events, ["persist:k@0"]);
    assert!(!db.run(|w| expire::persist(w, key)).unwrap());
    assert_eq!((db.expires("k"), db.records(record::SPACE_TTL)), (Expires::Never, 0));
    assert!(set(&mut db, -5, false, false, false, false));
    assert_eq!(db.events, ["del:k@0"]);
    assert_eq!((db.expires("k"), db.count()), (Expires::Missing, 0));
}

#[test]
fn the_cycle_reaps_what_has_expired() {
    let mut db = Db::new();
    for i in 0..400u64 {
        db.set(&format!("k{i}"), "v", Some(NOW + 10 + i % 4));
    }
    db.set("later", "v", Some(NOW + 1000));
    db.db = 3;
    db.set("other", "v", Some(NOW + 10));
    db.db = 0;
    assert_eq!(db.reap(7), (0, 0));
    assert_eq!(db.store().due_shards(db.now_ms), ShardSet::default(), "nothing to do: nobody is woken");
    db.now_ms = NOW + 11;
    assert_eq!(db.reap(7), (201, 0));
    assert_eq!(db.expired, 201);
    assert_eq!(db.count(), 201);
    db.now_ms = NOW + 20;
    assert_eq!(db.reap(1000), (200, 0));
    assert_eq!((db.count(), db.records(record::SPACE_TTL)), (1, 1));
    db.db = 3;
    assert_eq!(db.count(), 0);
    db.db = 0;
    // An entry earlier than all that were seen, and one for which the clock was set back.
    db.set("sooner", "v", Some(NOW + 30));
    db.now_ms = NOW + 5;
    db.set("back", "v", Some(NOW + 6));
    db.now_ms = NOW + 40;
    assert_eq!(db.reap(1000), (2, 0));
    db.reopen();
    db.now_ms = NOW + 2000;
    assert_eq!(db.reap(1000), (1, 0));
    assert_eq!((db.count(), db.records(record::SPACE_TTL)), (0, 0));
    db.store().set_active_expiry(false);
    db.set("stays", "v", Some(NOW + 3000));
    db.now_ms = NOW + 3000;
    assert_eq!(db.reap(10), (0, 0));
    assert_eq!(db.count(), 1);
    db.store().set_active_expiry(true);
    assert_eq!(db.reap(10), (1, 0));
}

#[test]
fn stale_entries_do_nothing() {
    let mut db = Db::new();
    db.set("k", "v", Some(NOW + 10));
    db.set("gone", "v", Some(NOW + 10));
    db.db = 2;
    db.set("flushed", "v", Some(NOW + 10));
    db.run(|w| dbmap::flush(w, Some(2))).unwrap();
    db.db = 0;
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"blind" };
    let (k, gone) = (db.key("k").place, db.key("gone").place);
    let (k, gone) = (Key { name: b"k", place: k }, Key { name: b"gone", place: gone });
    db.run(|w| {
        w.put_header(k, &plain, None);
        w.delete_header(gone, None);
        Ok(())
    })
    .unwrap();
    assert_eq!(db.records(record::SPACE_TTL), 3);
    db.now_ms = NOW + 10;
    assert_eq!(db.reap(10), (0, 3));
    assert_eq!((db.get("k").as_deref(), db.records(record::SPACE_TTL)), (Some("blind"), 0));

    // Compaction finds them too, and leaves those that mean something.
    db.set("x", "v", Some(NOW + 5000));
    db.set("k", "v", Some(NOW + 5000));
    db.run(|w| {
        w.put_header(k, &plain, None);
        Ok(())
    })
    .unwrap();
    db.compact();
    assert_eq!(db.records(record::SPACE_TTL), 1);
    db.now_ms = NOW + 5000;
    assert_eq!(db.reap(10), (1, 0));
    assert_eq!(db.get("k").as_deref(), Some("blind"));
}

#[test]
fn an_expired_key_is_reaped_before_it_is_written() {
    let mut db = Db::new();
    db.set("k", "v", Some(NOW + 1));
    db.now_ms += 1;
    let key = Key { name: b"k", place: db.key("k").place };
    assert!(!db.run(|w| keys::delete(w, key)).unwrap());
    assert_eq!((db.events.clone(), db.count()), (vec!["expired:k@0".to_string()], 0));
    assert_eq!(db.records(record::SPACE_TTL), 0);
    db.set("k", "v", Some(NOW + 2));
    db.now_ms += 1;
    assert!(!db.run(|w| expire::set(w, key, 5_000_000, Condition::default())).unwrap());
    assert_eq!(db.expires("k"), Expires::Missing);
}

#[test]
fn rename_takes_value_and_expiry_along() {
    let mut db = Db::new();
    let (a, near, far) = names(&db);
    for to in [&near, &far] {
        db.set(&a, "v", Some(NOW + 100));
        db.set(to, "old", Some(NOW + 50));
        let (from, new) = (a.clone(), to.clone());
        let (from, new) = (db.key(&from), db.key(&new));
        assert!(!db.run(|w| keys::rename(w, from, new, true)).unwrap());
        assert!(db.run(|w| keys::rename(w, from, new, false)).unwrap());
        assert_eq!(db.events, [format!("rename_from:{a}@0"), format!("rename_to:{to}@0")]);
        assert_eq!((db.get(&a), db.get(to).as_deref()), (None, Some("v")));
        assert_eq!(db.expires(to), Expires::At(NOW + 100));
        assert_eq!(db.records(record::SPACE_TTL), 1, "those of the replaced key are gone");
        let missing = db.run(|w| keys::rename(w, from, new, false));
        assert_eq!(missing.unwrap_err().to_string(), "ERR no such key");
        assert!(db.run(|w| keys::rename(w, new, new, false)).unwrap());
        assert!(!db.run(|w| keys::rename(w, new, new, true)).unwrap());
        assert!(db.run(|w| keys::delete(w, new)).unwrap());
    }
}

#[test]
fn large_values_move_with_their_elements() {
    let mut db = Db::new();
    let (a, near, far) = names(&db);
    let generation = db.explode(&a, 300);
    let expected: Vec<String> = (0..300).map(|i| format!("v{i}")).collect();
    assert_eq!(db.elements(&a), (generation, expected.clone()));
    let rename = |db: &mut Db, from: &str, to: &str| {
        let (from, to) = (from.to_string(), to.to_string());
        let (from, to) = (db.key(&from), db.key(&to));
        assert!(db.run(|w| keys::rename(w, from, to, true)).unwrap());
    };
    rename(&mut db, &a, &near);
    db.compact();
    assert_eq!(db.elements(&near), (generation, expected.clone()), "the same elements");
    rename(&mut db, &near, &far);
    let (copied, elements) = db.elements(&far);
    assert!(copied != generation && elements == expected);
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 301, "the old ones are dropped");
    assert_eq!(db.elements(&far), (copied, expected.clone()));

    let (name, other) = (far.clone(), a.clone());
    let (key, to) = (db.key(&name), db.key(&other));
    assert!(db.run(|w| keys::move_to(w, key, 5)).unwrap());
    assert_eq!(db.events, [format!("move_from:{far}@0"), format!("move_to:{far}@5")]);
    assert_eq!((db.get_raw(&far), db.count()), (false, 0));
    assert!(!db.run(|w| keys::move_to(w, key, 5)).unwrap(), "not there any more");
    db.db = 5;
    db.compact();
    assert_eq!(db.elements(&far), (copied, expected.clone()));

    // Copied to another name and to another database, over what is there.
    assert!(db.run(|w| keys::copy(w, key, to, 5, false)).unwrap());
    assert_eq!(db.events, [format!("copy_to:{a}@5")]);
    assert!(!db.run(|w| keys::copy(w, key, to, 5, false)).unwrap());
    assert!(db.run(|w| keys::copy(w, key, to, 5, true)).unwrap());
    assert!(db.run(|w| keys::copy(w, key, key, 6, false)).unwrap());
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 3 * 301);
    assert!(db.run(|w| keys::delete(w, key)).unwrap());
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 2 * 301);
    assert_eq!(db.elements(&a).1, expected);
    db.run(|w| dbmap::flush(w, Some(5))).unwrap();
    db.db = 6;
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 301, "a flushed database claims nothing");
    db.reopen();
    assert_eq!(db.elements(&far).1, expected);
    let bytes = db.run(|w| keys::usage(w, key, 0)).unwrap().unwrap();
    assert!((300 * 15..300 * 25).contains(&bytes), "{bytes}");
    let sampled = db.run(|w| keys::usage(w, key, 5)).unwrap().unwrap();
    assert!(sampled.abs_diff(bytes) < bytes / 5, "{sampled} {bytes}");
}

impl Db {
    fn get_raw(&mut self, name: &str) -> bool {
        let key = self.key(name);
        self.run(|w| keys::exists(w, key)).unwrap()
    }
}

#[test]
fn copy_and_move_of_small_values() {
    let mut db = Db::new();
    let (a, _, far) = names(&db);
    db.set(&a, "v", Some(NOW + 100));
    let (name, other) = (a.clone(), far.clone());
    let (from, to) = (db.key(&name), db.key(&other));
    assert!(db.run(|w| keys::copy(w, from, to, 0, false)).unwrap());
    assert_eq!((db.get(&far).as_deref(), db.expires(&far)), (Some("v"), Expires::At(NOW + 100)));
    assert!(db.run(|w| keys::move_to(w, from, 1)).unwrap());
    assert_eq!(db.get(&a), None);
    assert!(!db.run(|w| keys::copy(w, from, to, 0, true)).unwrap(), "nothing to copy");
    db.db = 1;
    assert_eq!((db.get(&a).as_deref(), db.expires(&a)), (Some("v"), Expires::At(NOW + 100)));
    assert!(db.run(|w| keys::copy(w, from, from, 0, false)).unwrap());
    assert!(!db.run(|w| keys::move_to(w, from, 0)).unwrap(), "there is one already");
    assert_eq!(db.run(|w| keys::encoding_name(w, from)).unwrap(), Some("embstr"));
    assert_eq!(db.run(|w| keys::kind(w, from)).unwrap(), Some(Kind::String));
    db.now_ms += 100;
    assert_eq!(db.reap(10).0, 3);
}

#[test]
fn commands_end_when_everything_is_on_disk() {
    let mut db = Db::new();
    for i in 0..3000 {
        db.set(&format!("k{i}"), &"v".repeat(100), (i % 2 == 0).then_some(NOW + 10));
    }
    let (a, near, far) = names(&db);
    db.explode(&a, 2000);
    db.compact();
    let cold = |db: &mut Db| {
        db.compact();
        db.reopen();
    };
    cold(&mut db);
    let (key, near, far) = (db.key(&a).place, db.key(&near).place, db.key(&far).place);
    let key = Key { name: a.as_bytes(), place: key };
    let near = Key { name: b"near", place: near };
    let far = Key { name: b"far", place: far };
    let ((), runs) = db.run_cold(|w| keys::rename(w, key, near, false).map(|_| ()));
    assert!(runs > 1);
    cold(&mut db);
    let (copied, _) = db.run_cold(|w| keys::copy(w, near, far, 0, false));
    assert!(copied);
    cold(&mut db);
    let (count, runs) = db.run_cold(|w| scan::count(w));
    assert_eq!((count, runs), (3002, 1), "DBSIZE reads nothing");
    let mut walked = 0;
    let (next, runs) = db.run_cold(|w| {
        walked = 0;
        scan::step(w, 0, 500, &mut |_| {
            walked += 1;
            Ok(())
        })
    });
    assert!(next != 0 && walked == 500 && runs > 1);
    let (random, _) = db.run_cold(|w| scan::random(w));
    assert!(random.is_some());
    cold(&mut db);
    // Blind writes over what is on disk: the count has to look.
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"new" };
    for i in 0..1500 {
        let name = format!("k{i}");
        let key = Key::new(db.store().place_seed(), name.as_bytes());
        db.run_cold(|w| {
            w.put_header(key, &plain, None);
            Ok(())
        });
    }
    let (count, runs) = db.run_cold(|w| scan::count(w));
    assert_eq!(count, 3002);
    assert!(runs > 1);
    cold(&mut db);
    db.now_ms = NOW + 10;
    let (mut expired, mut stale) = (0, 0);
    while db.store().due_shards(db.now_ms) != ShardSet::default() {
        for shard in db.store().due_shards(db.now_ms).iter() {
            let (reaped, runs) = db.run_cold(|w| expire::cycle_shard(w, shard, 64));
            assert!(runs < 12, "headers are loaded together: {runs}");
            expired += reaped.expired;
            stale += reaped.stale;
        }
    }
    assert_eq!(expired, 750);
    assert!(stale <= 750, "compaction has dropped most of them");
    assert_eq!(db.count(), 3002 - 750);
}

#[test]
fn equal_data_has_equal_digests() {
    let (mut one, mut two) = (Db::new(), Db::new());
    let nothing = "0".repeat(40);
    assert_eq!(one.digest(), nothing);
    for i in 0..50 {
        one.set(&format!("k{i}"), &format!("v{i}"), None);
        two.set(&format!("k{}", 49 - i), &format!("v{}", 49 - i), None);
    }
    assert_eq!(one.digest(), two.digest());
    two.set("k7", "v7", Some(NOW + 5));
    assert_ne!(one.digest(), two.digest(), "whether it expires counts");
    one.set("k7", "v7", Some(NOW + 9));
    assert_eq!(one.digest(), two.digest(), "when, does not");
    two.db = 3;
    two.set("k", "v", None);
    assert_ne!(one.digest(), two.digest());

    // A packed and an exploded hash with the same fields.
    let fields: Vec<String> = (0..200).map(|i| format!("f{i}")).collect();
    let pairs: Vec<&[u8]> = fields.iter().flat_map(|f| [f.as_bytes(), b"v"]).collect();
    let hash = |db: &mut Db, packed_max: u64| {
        db.limits.hash_max_listpack_entries = packed_max;
        let key = Key::new(db.store().place_seed(), b"h");
        db.run(|w| hash::set(w, key, &pairs)).unwrap();
        db.run(|w| Ok((keys::encoding_name(w, key)?, digest::value(w, key)?))).unwrap()
    };
    let (packed, exploded) = (hash(&mut one, 1000), hash(&mut two, 10));
    assert_eq!((packed.0, exploded.0), (Some("listpack"), Some("hashtable")));
    assert_eq!(packed.1, exploded.1);
}

impl Db {
    fn digest(&mut self) -> String {
        self.run(|w| digest::everything(w)).unwrap().to_hex()
    }
}
