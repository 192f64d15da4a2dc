use crate::disk::SimDisk;
use crate::{
    Batch, Durable, Engine, Error, Judge, Loads, Options, Result, Schema, ShardSet, SyncMode,
    Verdict,
};
use forgekv_base::rng::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Keys that begin with `g` are garbage once `dead` is said.
struct Claims {
    dead: Arc<AtomicBool>,
}

struct Claimed {
    dead: bool,
}

impl Judge for Claimed {
    fn verdict(&mut self, key: &[u8], _: &[u8], _: &dyn Durable) -> Result<Verdict> {
        let garbage = self.dead && key.starts_with(b"g");
        Ok(if garbage { Verdict::Drop } else { Verdict::Keep })
    }
}

impl Schema for Claims {
    fn hash(&self, key: &[u8]) -> u64 {
        hash(key)
    }

    fn group(&self, _: &[u8]) -> Option<u32> {
        Some(1)
    }

    fn judge(&self, _: u8) -> Box<dyn Judge> {
        Box::new(Claimed { dead: self.dead.load(Ordering::Relaxed) })
    }
}

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

fn shard(key: &[u8]) -> u8 {
    (hash(key) % 8) as u8
}

fn open(disk: &SimDisk, dead: &Arc<AtomicBool>, quiet_ms: u64) -> Engine {
    let options = Options {
        memtable_bytes: 1 << 20,
        // Many small flushes.
        shard_share: 160,
        memory_bytes: 8 << 20,
        segment_bytes: 32 << 10,
        log_bytes: 256 << 10,
        table_bytes: 64 << 10,
        reserve_bytes: 0,
        sync_mode: SyncMode::Never,
        io_uring: false,
        quiet_ms,
        ..Options::new("/data")
    };
    let claims = Claims { dead: dead.clone() };
    Engine::open(options, Arc::new(claims), Arc::new(disk.clone())).unwrap()
}

/// Commits, waiting as the server would.
fn commit(engine: &Engine, batch: &Batch, key: &[u8]) {
    loop {
        let mut guard = engine.lock(ShardSet::one(shard(key)), Loads::default()).ok().unwrap();
        let done = guard.commit(batch);
        drop(guard);
        match done {
            Ok(_) => break,
            Err(Error::Busy(n)) => engine.wait_free_here(n),
            // The next log segment is on its way.
            Err(Error::NoSpace) => std::thread::sleep(Duration::from_millis(1)),
            Err(e) => panic!("{e}"),
        }
    }
    engine.log_write().unwrap();
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(shard(key), hash(key), key, value);
    commit(engine, &batch, key);
}

fn load(engine: &Engine, prefix: &str, n: u32) {
    let mut rng = Rng::seeded(5);
    let mut value = [0; 500];
    for i in 0..n {
        rng.fill(&mut value);
        put(engine, format!("{prefix}{i:06}").as_bytes(), &value);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_deleted_gives_its_disk_back() {
    let disk = SimDisk::new();
    let engine = open(&disk, &Arc::default(), 30);
    load(&engine, "k", 16_000);
    engine.flush().unwrap();
    let peak = disk.used();
    assert!(peak > 8_000_000, "{peak}");
    for i in 0..16_000 {
        let key = format!("k{i:06}");
        let mut batch = Batch::new();
        batch.delete(shard(key.as_bytes()), hash(key.as_bytes()), key.as_bytes());
        commit(&engine, &batch, key.as_bytes());
    }
    assert_eq!(engine.count(1).unwrap(), 0);
    wait_until("the disk is given back", || disk.used() < peak / 10);
    // And then it comes to rest.
    wait_until("rest", || {
        let before = disk.writes();
        std::thread::sleep(Duration::from_millis(300));
        disk.writes() == before
    });
    engine.close().unwrap();
}

#[test]
fn what_nothing_claims_gives_its_disk_back() {
    let disk = SimDisk::new();
    let dead = Arc::new(AtomicBool::new(false));
    let engine = open(&disk, &dead, 30);
    load(&engine, "g", 16_000);
    load(&engine, "k", 500);
    engine.flush().unwrap();
    let peak = disk.used();
    let kept = engine.stats().hot_records;
    dead.store(true, Ordering::Relaxed);
    engine.hint_garbage(ShardSet::ALL);
    wait_until("the disk is given back", || disk.used() < peak / 10);
    let left = engine.stats().hot_records;
    assert!(left <= 500 && left < kept, "{kept} records were in memory, now {left}");
    for i in 0..500 {
        let key = format!("k{i:06}");
        let key = key.as_bytes();
        let there = engine.with_reserved(ShardSet::one(shard(key)), |mut guard| {
            guard.get(shard(key), hash(key), key).unwrap().map(<[u8]>::len)
        });
        assert_eq!(there, Some(500));
    }
    engine.close().unwrap();
}

#[test]
fn a_batch_can_say_that_it_leaves_garbage() {
    let disk = SimDisk::new();
    let dead = Arc::new(AtomicBool::new(false));
    let engine = open(&disk, &dead, 30);
    load(&engine, "g", 8_000);
    engine.flush().unwrap();
    let peak = disk.used();
    dead.store(true, Ordering::Relaxed);
    // One owner in each shard goes.
    let mut seen = ShardSet::default();
    for i in 0..100 {
        let key = format!("owner{i}");
        let key = key.as_bytes();
        if !seen.contains(shard(key)) {
            seen.insert(shard(key));
            let mut batch = Batch::new();
            batch.put(shard(key), hash(key), key, b"gone");
            batch.hint_garbage();
            commit(&engine, &batch, key);
        }
    }
    wait_until("the disk is given back", || disk.used() < peak / 10);
    engine.close().unwrap();
}

#[test]
fn who_has_no_garbage_writes_nothing() {
    let disk = SimDisk::new();
    // Looked at after a second, hint or not.
    let engine = open(&disk, &Arc::default(), 5);
    load(&engine, "k", 4_000);
    engine.flush().unwrap();
    put(&engine, b"k000001", b"in the memtable");
    wait_until("compactions are done", || {
        let before = disk.writes();
        std::thread::sleep(Duration::from_millis(500));
        disk.writes() == before
    });
    let before = disk.writes();
    let looks = || engine.inner().shards.iter().filter(|s| s.idle.changed.load(Ordering::Relaxed));
    wait_until("all are looked at", || looks().count() == 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(disk.writes(), before);
    engine.close().unwrap();
}
