//! The whole engine on a disk that loses its power, fails, or is full: what comes back is a prefix of the
//! commits, whole over all shards, and never shorter than what was promised.

use crate::disk::SimDisk;
use crate::{
    Batch, Durable, Engine, Error, Judge, Loads, Options, Result, Schema, ShardSet, SyncMode,
    Verdict,
};
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

pub(crate) struct Plain;

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
        (key != MARKER).then_some(7)
    }

    fn judge(&self, _: u8) -> Box<dyn Judge> {
        Box::new(KeepAll)
    }
}

/// Every batch writes its number here.
const MARKER: &[u8] = b"number of batches";

pub(crate) type Effects = Vec<(u8, Vec<u8>, Option<Vec<u8>>)>;
pub(crate) type Model = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn options() -> Options {
    Options {
        memtable_bytes: 1 << 20,
        memory_bytes: 4 << 20,
        segment_bytes: 128 << 10,
        log_bytes: 512 << 10,
        table_bytes: 16 << 10,
        reserve_bytes: 0,
        sync_mode: SyncMode::Never,
        ..Options::new("/data")
    }
}

pub(crate) fn commit(engine: &Engine, effects: &Effects) -> Result<()> {
    let mut batch = Batch::new();
    let mut set = ShardSet::default();
    for (shard, key, value) in effects {
        set.insert(*shard);
        match value {
            Some(value) => batch.put(*shard, Plain.hash(key), key, value),
            None => batch.delete(*shard, Plain.hash(key), key),
        }
    }
    let mut guard = engine.lock(set, Loads::default()).map_err(|(e, _)| e)?;
    guard.commit(&batch).map(|_| ())
}

pub(crate) fn effects(rng: &mut Rng, number: u64) -> Effects {
    let mut effects: Effects = vec![(0, MARKER.to_vec(), Some(number.to_le_bytes().to_vec()))];
    for _ in 0..1 + rng.below(3) {
        let shard = 1 + rng.below(5) as u8;
        let key = format!("key {}", rng.below(400)).into_bytes();
        let mut value = vec![0; rng.below(700) as usize];
        rng.fill(&mut value);
        effects.push((shard, key, (rng.below(5) > 0).then_some(value)));
    }
    effects
}

pub(crate) fn model(history: &[Effects]) -> Model {
    let mut model = Model::new();
    for (shard, key, value) in history.iter().flatten().filter(|(_, key, _)| key != MARKER) {
        match value {
            Some(value) => model.insert((*shard, key.clone()), value.clone()),
            None => model.remove(&(*shard, key.clone())),
        };
    }
    model
}

fn contents(engine: &Engine) -> (u64, Model) {
    try_contents(engine).unwrap()
}

pub(crate) fn try_contents(engine: &Engine) -> Result<(u64, Model)> {
    engine.with_reserved(ShardSet::ALL, |mut guard| {
        let mut model = Model::new();
        let mut number = 0;
        for shard in 0..6 {
            let each = &mut |key: &[u8], value: &[u8]| {
                if key == MARKER {
                    number = u64::from_le_bytes(value.try_into().unwrap());
                } else {
                    model.insert((shard, key.to_vec()), value.to_vec());
                }
                ControlFlow::Continue(())
            };
            let all = (Bound::Unbounded, Bound::Unbounded);
            guard.scan(shard, all.0, all.1, false, &mut Batch::new(), each)?;
        }
        Ok((number, model))
    })
}

/// Several lives of one directory, each ended by some fault.
fn lives(seed: u64) {
    let mut rng = Rng::seeded(seed);
    let disk = SimDisk::new();
    let mut history: Vec<Effects> = Vec::new();
    let mut promised = 0;
    let mut before = String::new();
    for life in 0..6 {
        let engine = Engine::open(options(), Arc::new(Plain), Arc::new(disk.clone()))
            .unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
        let (number, found) = contents(&engine);
        assert!(
            number >= promised,
            "seed {seed}, life {life}: {number} of {promised} promised; {before}"
        );
        history.truncate(number as usize);
        assert_eq!(history.len() as u64, number, "seed {seed}, life {life}");
        let expected = model(&history);
        assert!(
            found == expected,
            "seed {seed}, life {life}: not the state after {number} batches"
        );
        assert_eq!(engine.count(7).unwrap(), expected.len() as i64, "seed {seed}, life {life}");

        let fault = rng.below(4);
        match fault {
            0 => disk.cut_at_write(1 + rng.below(400)),
            1 => disk.fail_write(1 + rng.below(200)),
            2 => disk.fail_sync(1 + rng.below(60)),
            _ => {}
        }
        let (mut written, mut synced) = (number, number);
        for _ in 0..rng.below(1500) {
            let next = effects(&mut rng, history.len() as u64 + 1);
            match commit(&engine, &next) {
                Ok(()) => history.push(next),
                Err(Error::Busy(_)) => continue,
                Err(_) => {
                    // A failed log is replaced in a while; a lost disk is not.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    if disk.is_off() {
                        break;
                    }
                    continue;
                }
            }
            let all = history.len() as u64;
            if rng.below(4) == 0 && engine.log_write().is_ok() {
                written = all;
            }
            if rng.below(40) == 0 && engine.sync().is_ok() {
                (written, synced) = (all, all);
            }
        }
        if fault == 3 && rng.below(2) == 0 {
            disk.kill();
            promised = written;
        } else {
            disk.power_cut(rng.next_u64());
            promised = synced;
        }
        before = format!(
            "fault {fault}, written {written}, synced {synced}, {} committed, log failure {:?}",
            history.len(),
            engine.log_failure()
        );
        // Its disk is gone: there is nothing that it could still make durable.
        assert!(engine.close().is_err() || engine.log_synced() <= engine.log_appended());
        drop(engine);
    }
}

#[test]
fn a_prefix_comes_back_whatever_happens() {
    for seed in 0..25 {
        lives(seed);
    }
}

#[test]
#[ignore = "long: part of the soak"]
fn a_prefix_comes_back_for_long() {
    for seed in 1_000..2_500 {
        lives(seed);
    }
}

#[test]
fn a_full_disk_refuses_writes_and_lets_go() {
    let disk = SimDisk::new();
    let open = || Engine::open(options(), Arc::new(Plain), Arc::new(disk.clone())).unwrap();
    let engine = open();
    disk.set_capacity(Some(disk.used() + (600 << 10)));
    let mut rng = Rng::seeded(3);
    let mut history = Vec::new();
    let mut refused = 0;
    for _ in 0..20_000 {
        let next = effects(&mut rng, history.len() as u64 + 1);
        match commit(&engine, &next) {
            Ok(()) => history.push(next),
            Err(Error::NoSpace) => refused += 1,
            Err(Error::LogFailed(_)) => refused += 1,
            Err(e) => panic!("{e}"),
        }
        if refused > 50 {
            break;
        }
        if engine.log_write().is_err() {
            refused += 1;
        }
    }
    assert!(refused > 50, "the disk was full");
    assert_eq!(contents(&engine).1, model(&history), "reads go on");
    disk.set_capacity(None);
    let mut resumed = false;
    for _ in 0..2_000 {
        let next = effects(&mut rng, history.len() as u64 + 1);
        if commit(&engine, &next).is_ok() {
            history.push(next);
            resumed = true;
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(resumed, "writes resume by themselves");
    engine.close().unwrap();
    drop(engine);
    let engine = open();
    assert_eq!(contents(&engine).1, model(&history));
    engine.close().unwrap();
}
