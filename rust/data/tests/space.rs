//! What FLUSHALL and DEL leave behind is found in a quiet moment, and its disk given back.

use forgekv_data::{Limits, Result, Store, Surroundings, Write, dbmap, hash, keys, string};
use forgekv_engine::disk::SimDisk;
use forgekv_engine::{Batch, Options, ShardSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Db {
    disk: SimDisk,
    store: Store,
    limits: Limits,
    noise: u64,
}

impl Db {
    fn new() -> Db {
        let disk = SimDisk::new();
        let options = Options {
            memtable_bytes: 2 << 20,
            segment_bytes: 32 << 10,
            log_bytes: 256 << 10,
            table_bytes: 64 << 10,
            reserve_bytes: 0,
            quiet_ms: 30,
            ..Options::new("/data")
        };
        let store = Store::open(options, 4, Arc::new(disk.clone())).unwrap();
        Db { disk, store, limits: Limits::default(), noise: 1 }
    }

    fn run<T>(&self, work: impl Fn(&mut Write<'_>) -> Result<T>) -> T {
        loop {
            let around = Surroundings {
                now_ms: 1_000_000,
                db: 0,
                limits: &self.limits,
                random_seed: 1,
                place_seed: self.store.place_seed(),
                events: 0,
                interest: forgekv_engine::ShardSet::default(),
            };
            let done = self.store.engine().with_reserved(ShardSet::ALL, |guard| {
                let mut view = self.store.write(guard, Batch::new(), around);
                let result = work(&mut view).unwrap();
                let mut parts = view.into_parts();
                self.store.commit(&mut parts.guard, &mut parts.batch).map(|_| result)
            });
            match done {
                Ok(result) => {
                    self.store.engine().log_write().unwrap();
                    return result;
                }
                // A flush or the next segment of the log is on its way.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Bytes that do not compress.
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut next = || {
            self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1);
            (self.noise >> 56) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    fn is_back_below(&self, bytes: u64) {
        let start = Instant::now();
        while self.disk.used() > bytes {
            let used = self.disk.used();
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{used} of {bytes} bytes still used"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn flushall_gives_the_disk_back() {
    let mut db = Db::new();
    for i in 0..12_000u32 {
        let value = db.bytes(700);
        let name = i.to_be_bytes();
        db.run(|w| {
            let key = w.key(&name);
            string::set(w, key, &value, None)
        });
    }
    db.store.engine().flush().unwrap();
    let peak = db.disk.used();
    assert!(peak > 8_000_000, "{peak}");
    db.run(|w| dbmap::flush(w, None));
    db.run(|w| {
        let key = w.key(b"new");
        string::set(w, key, b"life", None)
    });
    db.is_back_below(peak / 10);
    let got = db.run(|w| {
        let key = w.key(b"new");
        Ok(string::get_all(w, key)?.map(|v| v.to_vec()))
    });
    assert_eq!(got.as_deref(), Some(&b"life"[..]));
    db.store.engine().close().unwrap();
}

#[test]
fn del_of_a_large_hash_gives_the_disk_back() {
    let mut db = Db::new();
    for i in 0..12_000u32 {
        let value = db.bytes(700);
        let field = i.to_be_bytes();
        db.run(|w| {
            let key = w.key(b"large");
            hash::set(w, key, &[&field, &value])
        });
    }
    db.store.engine().flush().unwrap();
    let peak = db.disk.used();
    assert!(peak > 8_000_000, "{peak}");
    assert!(db.run(|w| {
        let key = w.key(b"large");
        keys::delete(w, key)
    }));
    db.is_back_below(peak / 10);
    assert!(!db.run(|w| {
        let key = w.key(b"large");
        keys::exists(w, key)
    }));
    db.store.engine().close().unwrap();
}
