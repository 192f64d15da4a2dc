//! The engine against a BTreeMap: random batches, reads, scans, flushes, compactions and reopenings.

use forgekv_base::rng::Rng;
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{
    Batch, Durable, Engine, Error, Guard, Judge, Loads, Options, Result, SHARDS, Schema, ShardSet,
    Verdict,
};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Plain;

struct KeepAll;

impl Judge for KeepAll {
    fn verdict(&mut self, _: &[u8], _: &[u8], _: &dyn Durable) -> Result<Verdict> {
        Ok(Verdict::Keep)
    }
}

impl Schema for Plain {
    fn hash(&self, key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key)
    }

    fn group(&self, key: &[u8]) -> Option<u32> {
        key.first().map(|&b| u32::from(b) % 3)
    }

    fn judge(&self, _: u8) -> Box<dyn Judge> {
        Box::new(KeepAll)
    }
}

fn options(dir: &Path) -> Options {
    Options {
        memtable_bytes: 4 << 20,
        memory_bytes: 5 << 20,
        segment_bytes: 1 << 20,
        log_bytes: 8 << 20,
        table_bytes: 64 << 10,
        reserve_bytes: 0,
        ..Options::new(dir)
    }
}

fn open(dir: &Path) -> Engine {
    open_with(dir, true)
}

fn open_with(dir: &Path, io_uring: bool) -> Engine {
    let options = Options { io_uring, ..options(dir) };
    Engine::open(options, Arc::new(Plain), Arc::new(RealDisk)).expect("opens")
}

static TURN: AtomicU64 = AtomicU64::new(0);

type Model = Vec<BTreeMap<Vec<u8>, Vec<u8>>>;

/// Runs `work` on an event loop's terms: what it misses is loaded, and it is run again.
fn with<T>(engine: &Engine, set: ShardSet, mut work: impl FnMut(&mut Guard<'_>) -> Result<T>) -> T {
    let mut loads = Loads::default();
    loop {
        let mut guard = match engine.lock(set, loads) {
            Ok(guard) => guard,
            Err((Error::Busy(_), back)) => {
                loads = back;
                std::thread::yield_now();
                continue;
            }
            Err((e, _)) => panic!("{e}"),
        };
        match work(&mut guard) {
            Ok(value) => return value,
            Err(Error::Miss) => {
                loads = guard.into_loads();
                assert!(!loads.is_empty(), "a miss names its blocks");
                // Every other time as if the page cache had nothing.
                let cold = TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
                if cold || !engine.load_resident(&mut loads).expect("loads") {
                    let loading = engine.load(loads);
                    loads = block_on(loading).expect("loads");
                }
            }
            Err(e) => panic!("{e}"),
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let n = rng.below(3000);
    let mut key = vec![(n % 7) as u8];
    key.extend_from_slice(format!("{:05}", n).as_bytes());
    key
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(100) {
        0 => rng.below(40_000),
        1..10 => rng.below(2_000),
        _ => rng.below(60),
    };
    let mut value = vec![0; len as usize];
    rng.fill(&mut value);
    value
}

fn write(engine: &Engine, model: &mut Model, rng: &mut Rng) {
    let mut batch = Batch::new();
    let mut set = ShardSet::default();
    let mut effects = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let shard = rng.below(4) as u8 * 21;
        let key = key(rng);
        let hash = Plain.hash(&key);
        set.insert(shard);
        let now = effects
            .iter()
            .rev()
            .find(|(s, k, _): &&(u8, Vec<u8>, Option<Vec<u8>>)| *s == shard && *k == key)
            .map_or_else(|| model[usize::from(shard)].get(&key).cloned(), |(_, _, v)| v.clone());
        if let Some(mut now) = now.filter(|_| rng.below(3) == 0) {
            let at = rng.below(now.len() as u64 + 1) as usize;
            let remove = rng.below((now.len() - at) as u64 + 1) as usize;
            let insert = value(rng);
            if !batch.patch_staged(shard, hash, &key, at, remove, &insert) {
                batch.patch(shard, hash, &key, &now, at, remove, &insert);
            }
            now.splice(at..at + remove, insert);
            effects.push((shard, key, Some(now)));
        } else if rng.below(4) == 0 {
            batch.delete(shard, hash, &key);
            effects.push((shard, key, None));
        } else {
            let value = value(rng);
            batch.put(shard, hash, &key, &value);
            effects.push((shard, key, Some(value)));
        }
    }
    with(engine, set, |guard| guard.commit(&batch));
    for (shard, key, value) in effects {
        let map = &mut model[usize::from(shard)];
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

fn read(engine: &Engine, model: &Model, rng: &mut Rng) {
    let shard = rng.below(4) as u8 * 21;
    let key = key(rng);
    let hash = Plain.hash(&key);
    let got = with(engine, ShardSet::one(shard), |guard| {
        Ok(guard.get(shard, hash, &key)?.map(<[u8]>::to_vec))
    });
    assert_eq!(got.as_ref(), model[usize::from(shard)].get(&key));
}

fn scan(engine: &Engine, model: &Model, rng: &mut Rng) {
    let shard = rng.below(4) as u8 * 21;
    let (a, b) = (key(rng), key(rng));
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    let reverse = rng.below(2) == 1;
    let limit = 1 + rng.below(50) as usize;
    let staged = key(rng);
    let mut batch = Batch::new();
    let mut expected: BTreeMap<_, _> = model[usize::from(shard)].clone();
    if rng.below(2) == 0 {
        batch.put(shard, Plain.hash(&staged), &staged, b"staged");
        expected.insert(staged, b"staged".to_vec());
    }
    let bounds = (Bound::Included(low.as_slice()), Bound::Excluded(high.as_slice()));
    let got = with(engine, ShardSet::one(shard), |guard| {
        let mut got = Vec::new();
        guard.scan(shard, bounds.0, bounds.1, reverse, &mut batch, &mut |key, value| {
            got.push((key.to_vec(), value.to_vec()));
            if got.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(got)
    });
    let range = expected.range::<[u8], _>(bounds).map(|(k, v)| (k.clone(), v.clone()));
    let expected: Vec<_> =
        if reverse { range.rev().take(limit).collect() } else { range.take(limit).collect() };
    assert_eq!(got, expected);
}

fn check_counts(engine: &Engine, model: &Model) {
    for group in 0..3 {
        let expected =
            model.iter().flat_map(|m| m.keys()).filter(|k| Plain.group(k) == Some(group));
        assert_eq!(engine.count(group).expect("counts"), expected.count() as i64, "group {group}");
    }
}

fn run(seed: u64, steps: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::seeded(seed);
    let mut model: Model = vec![BTreeMap::new(); SHARDS];
    let io_uring = seed.is_multiple_of(2);
    let mut engine = open_with(dir.path(), io_uring);
    for step in 0..steps {
        match rng.below(1000) {
            0 => engine.flush().expect("flushes"),
            1 if step % 3 == 0 => engine.compact().expect("compacts"),
            2 => check_counts(&engine, &model),
            3 => {
                engine.close().expect("closes");
                drop(engine);
                engine = open_with(dir.path(), io_uring);
                check_counts(&engine, &model);
            }
            4..500 => write(&engine, &mut model, &mut rng),
            500..850 => read(&engine, &model, &mut rng),
            _ => scan(&engine, &model, &mut rng),
        }
    }
    engine.compact().expect("compacts");
    check_counts(&engine, &model);
    for _ in 0..500 {
        read(&engine, &model, &mut rng);
    }
    assert!(engine.stats().reads.cold > 10, "cold reads were tested");
}

#[test]
fn behaves_like_a_map() {
    for seed in 0..3 {
        run(seed, 6_000);
    }
}

#[test]
#[ignore = "long: part of the soak"]
fn behaves_like_a_map_for_long() {
    for seed in 100..160 {
        run(seed, 30_000);
    }
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = open(dir.path());
    let second = Engine::open(options(dir.path()), Arc::new(Plain), Arc::new(RealDisk));
    assert!(matches!(second.map(|_| ()), Err(Error::Locked(_))));
    first.close().expect("closes");
    drop(first);
    drop(open(dir.path()));
}

#[test]
fn what_is_fixed_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixed = |value: &[u8]| Options {
        fixed: vec![("seed".into(), value.to_vec())],
        ..options(dir.path())
    };
    for value in [b"first", b"other"] {
        let engine =
            Engine::open(fixed(value), Arc::new(Plain), Arc::new(RealDisk)).expect("opens");
        assert_eq!(engine.fixed("seed"), Some(&b"first"[..]));
        engine.close().expect("closes");
    }
}

#[test]
fn a_snapshot_stands_still_and_a_checkpoint_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::seeded(77);
    let mut model: Model = vec![BTreeMap::new(); SHARDS];
    let engine = open(&dir.path().join("first"));
    for step in 0..3_000 {
        write(&engine, &mut model, &mut rng);
        if step == 1_000 {
            engine.flush().expect("flushes");
        }
    }
    let snapshot = engine.snapshot().expect("a snapshot");
    let then = model.clone();
    for _ in 0..3_000 {
        write(&engine, &mut model, &mut rng);
    }
    engine.compact().expect("compacts");
    for (shard, expected) in then.iter().enumerate() {
        let mut records = snapshot.records(shard as u8, &[]).expect("reads");
        for (key, value) in expected {
            assert_eq!(records.current(), Some((key.as_slice(), value.as_slice())));
            records.advance().expect("reads");
        }
        assert_eq!(records.current(), None);
    }
    let copy = dir.path().join("copy");
    snapshot.checkpoint(&copy).expect("makes a checkpoint");
    assert!(snapshot.checkpoint(&copy).is_err(), "the directory is taken");
    drop(snapshot);
    let copied = open(&copy);
    check_counts(&copied, &then);
    for _ in 0..2_000 {
        read(&copied, &then, &mut rng);
        read(&engine, &model, &mut rng);
    }
    let mut then = then;
    for _ in 0..500 {
        write(&copied, &mut then, &mut rng);
    }
    copied.close().expect("closes");
    drop(copied);
    let copied = open(&copy);
    check_counts(&copied, &then);
    for _ in 0..2_000 {
        read(&copied, &then, &mut rng);
    }
}
