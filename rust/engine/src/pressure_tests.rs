//! What writers meet when memory, the disk, or the device's speed is at its end.

use crate::crash_tests::Plain;
use crate::disk::{Disk, RealDisk, SimDisk};
use crate::{Batch, Engine, Error, Loads, Options, Result, STALLED, Schema, ShardSet, SyncMode};
use forgekv_base::rng::Rng;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

const MEMTABLES: u64 = 1 << 20;

fn options() -> Options {
    Options {
        memtable_bytes: MEMTABLES,
        // Many small flushes.
        shard_share: 160,
        memory_bytes: 8 << 20,
        segment_bytes: 4 << 20,
        log_bytes: 64 << 20,
        table_bytes: 64 << 10,
        reserve_bytes: 0,
        sync_mode: SyncMode::Never,
        io_uring: false,
        ..Options::new("/data")
    }
}

fn open(options: Options, disk: &SimDisk) -> Engine {
    Engine::open(options, Arc::new(Plain), Arc::new(disk.clone())).unwrap()
}

fn shard(key: &[u8]) -> u8 {
    (Plain.hash(key) >> 58) as u8
}

fn staged(key: &[u8], value: Option<&[u8]>) -> Batch {
    let mut batch = Batch::new();
    match value {
        Some(value) => batch.put(shard(key), Plain.hash(key), key, value),
        None => batch.delete(shard(key), Plain.hash(key), key),
    }
    batch
}

fn commit(engine: &Engine, key: &[u8], batch: &Batch) -> Result<u64> {
    engine.lock(ShardSet::one(shard(key)), Loads::default()).map_err(|(e, _)| e)?.commit(batch)
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) -> Result<u64> {
    commit(engine, key, &staged(key, Some(value)))
}

/// Writes new keys until one is refused.
fn fill(engine: &Engine, name: &str, essential: bool) -> Error {
    for i in 0..1_000_000 {
        let key = format!("{name} {i}");
        let mut batch = staged(key.as_bytes(), Some(&[7; 200]));
        batch.set_essential(essential);
        if let Err(e) = commit(engine, key.as_bytes(), &batch) {
            return e;
        }
        engine.log_write().unwrap();
    }
    panic!("nothing was refused");
}

#[test]
fn memtables_that_cannot_be_flushed_are_bounded() {
    let disk = SimDisk::new();
    let engine = open(options(), &disk);
    let hold = |held| {
        for shard in &engine.inner().shards {
            shard.flushing.store(held, Ordering::Release);
        }
        engine.inner().background.wake();
    };
    hold(true);
    assert!(matches!(fill(&engine, "key", false), Error::Busy(STALLED)));
    let dirty = engine.stats().memtable_bytes;
    assert!(dirty > MEMTABLES && dirty < MEMTABLES * 3 / 2, "{dirty}");
    // What frees space goes a little further.
    assert!(commit(&engine, b"key 1", &staged(b"key 1", None)).is_ok());
    assert!(matches!(fill(&engine, "essential", true), Error::Busy(STALLED)));
    assert!(engine.stats().memtable_bytes < MEMTABLES * 7 / 4);
    // Reads do not notice.
    let mut guard = engine.lock(ShardSet::one(shard(b"key 2")), Loads::default()).ok().unwrap();
    assert!(guard.get(shard(b"key 2"), Plain.hash(b"key 2"), b"key 2").unwrap().is_some());
    drop(guard);

    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    {
        let mut free = std::pin::pin!(engine.wait_free(STALLED));
        assert_eq!(free.as_mut().poll(&mut context), Poll::Pending);
    }
    hold(false);
    engine.wait_free_here(STALLED);
    put(&engine, b"key 1", b"again").unwrap();
    engine.close().unwrap();
}

#[test]
fn a_disk_without_room_for_a_flush_refuses_before_memory_grows() {
    let disk = SimDisk::new();
    let engine = open(Options { background_threads: 1, ..options() }, &disk);
    // The log has its room; tables have none.
    put(&engine, b"first", b"").unwrap();
    disk.set_capacity(Some(disk.used()));
    // Until the first flush has failed, nobody knows that waiting is in vain.
    let start = Instant::now();
    loop {
        match fill(&engine, "key", false) {
            Error::NoSpace => break,
            Error::Busy(STALLED) => std::thread::sleep(Duration::from_millis(5)),
            other => panic!("{other}"),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the flush fails");
    }
    for i in 0..2000 {
        let key = format!("more {i}");
        if put(&engine, key.as_bytes(), &[1; 300]).is_ok() {
            engine.log_write().unwrap();
        }
        assert!(engine.stats().memtable_bytes < MEMTABLES * 3 / 2);
    }
    disk.set_capacity(None);
    let start = Instant::now();
    while put(&engine, b"first", b"again").is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "writing resumes by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.close().unwrap();
}

#[test]
fn a_nearly_full_disk_takes_what_frees_space() {
    let disk = SimDisk::new();
    let engine = open(Options { reserve_bytes: 1 << 20, ..options() }, &disk);
    put(&engine, b"key", b"value").unwrap();
    let wait_for = |low: bool| {
        let start = Instant::now();
        while engine.is_low_on_space() != low {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    disk.set_capacity(Some(disk.used() + (512 << 10)));
    wait_for(true);
    assert!(matches!(put(&engine, b"other", b"value"), Err(Error::NoSpace)));
    assert!(commit(&engine, b"key", &staged(b"key", None)).is_ok(), "a deletion");
    let mut batch = staged(b"map", Some(b"of databases"));
    batch.set_essential(true);
    assert!(commit(&engine, b"map", &batch).is_ok(), "a flush of a database");
    batch.clear();
    batch.put(shard(b"map"), Plain.hash(b"map"), b"map", b"x");
    assert!(matches!(commit(&engine, b"map", &batch), Err(Error::NoSpace)), "said once per batch");
    disk.set_capacity(None);
    wait_for(false);
    put(&engine, b"other", b"value").unwrap();
    engine.close().unwrap();
}

#[test]
fn a_cold_read_never_delays_a_hot_one() {
    const DELAY: Duration = Duration::from_millis(300);
    let disk = SimDisk::new();
    let engine = open(options(), &disk);
    // Of one shard, and so are the hot ones.
    let keys: Vec<Vec<u8>> = (0..100_000u32)
        .map(|i| format!("key {i}").into_bytes())
        .filter(|key| shard(key) == 9)
        .take(300)
        .collect();
    let (cold, hot) = keys.split_at(150);
    for key in &keys {
        put(&engine, key, &[3; 400]).unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);

    let engine = open(options(), &disk);
    for key in hot {
        put(&engine, key, b"hot").unwrap();
    }
    disk.set_cold(true);
    disk.set_read_delay(DELAY);
    let get = |key: &[u8], loads: Loads| -> std::result::Result<usize, Loads> {
        let mut guard =
            engine.lock(ShardSet::one(9), loads).ok().expect("nobody holds it for long");
        match guard.get(9, Plain.hash(key), key) {
            Ok(value) => Ok(value.map_or(0, <[u8]>::len)),
            Err(Error::Miss) => Err(guard.into_loads()),
            Err(e) => panic!("{e}"),
        }
    };
    // All on this one thread.
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let start = Instant::now();
    let mut pending: Vec<_> = cold
        .iter()
        .take(8)
        .map(|key| {
            let mut missed = get(key, Loads::default()).expect_err("it is not in memory");
            assert!(!engine.load_resident(&mut missed).unwrap(), "nor in the page cache");
            (key, Box::pin(engine.load(missed)))
        })
        .collect();
    let (mut served, mut slow, mut worst) = (0u64, 0u64, Duration::ZERO);
    while !pending.is_empty() {
        let before = Instant::now();
        for key in hot {
            assert_eq!(get(key, Loads::default()).ok(), Some(3));
            served += 1;
        }
        let took = before.elapsed();
        slow += u64::from(took > DELAY / 4);
        worst = worst.max(took);
        pending.retain_mut(|(key, loading)| match loading.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(loads) => match get(key, loads.unwrap()) {
                Ok(len) => {
                    assert_eq!(len, 400);
                    false
                }
                // A compaction has moved it meanwhile: once more.
                Err(missed) => {
                    **loading = engine.load(missed);
                    true
                }
            },
        });
    }
    assert!(start.elapsed() >= DELAY, "the device was waited for");
    assert!(served > 20_000, "{served} hot reads meanwhile");
    // A busy machine may take the core away now and then; the device does not.
    assert!(slow <= 2, "{slow} rounds of hot reads were slow, the worst took {worst:?}");
    disk.set_read_delay(Duration::ZERO);
    engine.close().unwrap();
}

/// Two writers at full speed, slowed only as a server slows them: how long is the longest pause, and
/// how full do memtables get?
#[test]
#[ignore = "a measurement"]
fn measure_sustained_load() {
    let here = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, dir) in [("disk", here.path()), ("tmpfs", memory.path())] {
        sustained(name, dir);
    }
}

fn sustained(name: &str, dir: &Path) {
    let memtables = 32 << 20;
    let options = Options {
        memtable_bytes: memtables,
        memory_bytes: 128 << 20,
        sync_mode: SyncMode::EverySecond,
        log_bytes: 256 << 20,
        ..Options::new(dir)
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = Engine::open(options, Arc::new(Plain), disk).unwrap();
    let (worst_us, most_dirty, stalls) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (worst_delay, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let engine = &engine;
            let (worst_us, most_dirty, stalls) = (&worst_us, &most_dirty, &stalls);
            let (worst_delay, bytes) = (&worst_delay, &bytes);
            scope.spawn(move || {
                let mut rng = Rng::seeded(thread);
                let mut value = [0; 1000];
                let mut owed = 0;
                for i in 0u64.. {
                    if start.elapsed() > Duration::from_secs(12) {
                        break;
                    }
                    rng.fill(&mut value);
                    let key = rng.below(3_000_000).to_be_bytes();
                    let before = Instant::now();
                    while let Err(e) = put(engine, &key, &value) {
                        stalls.fetch_add(1, Ordering::Relaxed);
                        match e {
                            Error::Busy(n) => engine.wait_free_here(n),
                            e => panic!("{e}"),
                        }
                    }
                    if i % 16 == 0 {
                        engine.log_write().unwrap();
                    }
                    worst_us.fetch_max(before.elapsed().as_micros() as u64, Ordering::Relaxed);
                    bytes.fetch_add(1008, Ordering::Relaxed);
                    if i % 256 == 0 {
                        most_dirty.fetch_max(engine.stats().memtable_bytes, Ordering::Relaxed);
                    }
                    let delay = engine.write_delay_us();
                    worst_delay.fetch_max(delay, Ordering::Relaxed);
                    owed = if delay == 0 { 0 } else { owed + delay };
                    if owed >= 1000 {
                        std::thread::sleep(Duration::from_micros(owed));
                        owed = 0;
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let stats = engine.stats();
    println!(
        "{name}: {:.1} MB/s, longest commit {} ms, dirty at most {:.2} of the limit, {} stalls, delay at \
         most {} µs, {} flushes, {} compactions, {:.0} MB compacted, level 0: {}",
        bytes.load(Ordering::Relaxed) as f64 / seconds / 1e6,
        worst_us.load(Ordering::Relaxed) / 1000,
        most_dirty.load(Ordering::Relaxed) as f64 / memtables as f64,
        stalls.load(Ordering::Relaxed),
        worst_delay.load(Ordering::Relaxed),
        stats.flushes,
        stats.compactions,
        stats.compacted_bytes as f64 / 1e6,
        stats.level0_tables,
    );
    engine.close().unwrap();
}

#[test]
fn counting_many_unsettled_keys_is_left_to_a_thread() {
    let disk = SimDisk::new();
    let engine = open(options(), &disk);
    let names: Vec<String> = (0..4000).map(|i| format!("key {i}")).collect();
    for name in &names {
        put(&engine, name.as_bytes(), b"old").unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    let engine = open(options(), &disk);
    // Nothing is in memory, so nobody knows whether these were there. The settling thread is kept away.
    let held: Vec<_> = engine.inner().shards.iter().map(|shard| shard.settling.lock()).collect();
    let one = shard(names[0].as_bytes());
    let mut there = 0;
    for i in 0..20_000 {
        let name = format!("key {i}");
        if shard(name.as_bytes()) == one {
            put(&engine, name.as_bytes(), b"new").unwrap();
            there += 1;
        }
    }
    assert!(there > 200);
    let ask = || {
        let guard = engine.lock(ShardSet::one(one), Loads::default());
        guard.map_err(|(e, _)| e)?.settled_count(one, 7)
    };
    assert!(engine.stats().unsettled > 64);
    assert!(matches!(ask(), Err(Error::Busy(crate::UNSETTLED))));
    drop(held);
    engine.wait_free_here(crate::UNSETTLED);
    assert_eq!(engine.stats().unsettled, 0);
    assert_eq!(ask().unwrap(), there);
    assert_eq!(engine.count(7).unwrap(), 4000 + new_ones(one));
}

/// How many of the keys of the test above were not there before.
fn new_ones(one: u8) -> i64 {
    (4000..20_000).filter(|i| shard(format!("key {i}").as_bytes()) == one).count() as i64
}

#[test]
fn a_sealed_memtable_is_walked_as_it_was() {
    let engine = open(options(), &SimDisk::new());
    let one = 5;
    let hold = engine.inner().shards[5].flushing.swap(true, Ordering::Relaxed);
    assert!(!hold);
    let mut all = Vec::new();
    for i in 0..3000 {
        let key = format!("key {i}").into_bytes();
        if shard(&key) == one {
            put(&engine, &key, b"value").unwrap();
            all.push(key);
        }
    }
    all.sort();
    let walk = || {
        let mut found = Vec::new();
        let mut guard =
            engine.lock(ShardSet::one(one), Loads::default()).map_err(|(e, _)| e).unwrap();
        let (from, to) = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for reverse in [false, true] {
            let mut staged = Batch::new();
            guard
                .scan(one, from, to, reverse, &mut staged, &mut |key, _| {
                    found.push(key.to_vec());
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
        }
        found
    };
    let both: Vec<Vec<u8>> = all.iter().chain(all.iter().rev()).cloned().collect();
    assert_eq!(walk(), both);
    // With its order, then again when that is behind.
    engine.inner().shards[5].lock().seal();
    assert_eq!(walk(), both);
    let sealed = engine.inner().shards[5].lock().sealed[0].clone();
    assert!(sealed.sorted().iter().map(|e| e.key()).eq(all.iter().map(Vec::as_slice)));
    assert_eq!(walk(), both);
    engine.inner().shards[5].flushing.store(false, Ordering::Relaxed);
}
