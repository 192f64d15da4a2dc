//! The whole engine on damaged files: whatever byte of whatever file is changed, cut off or lost, what
//! comes back is exactly right, or an error that names the file and the place. Never wrong data, never
//! a panic.

use crate::crash_tests::{Effects, Model, Plain, commit, effects, model, try_contents};
use crate::disk::{Disk, SimDisk};
use crate::{Engine, Error, Options, Schema, ShardSet, SyncMode};
use forgekv_base::rng::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics of the engine's own threads, in all tests of this process.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let name = std::thread::current().name().unwrap_or_default().to_string();
            let ours = ["housekeeper", "background", "cold-read", "forgekv-log"];
            if ours.iter().any(|prefix| name.starts_with(prefix)) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}

fn options() -> Options {
    Options {
        memtable_bytes: 8 << 20,
        memory_bytes: 32 << 20,
        segment_bytes: 16 << 10,
        log_bytes: 4 << 20,
        table_bytes: 4 << 10,
        reserve_bytes: 0,
        background_threads: 1,
        io_uring: false,
        sync_mode: SyncMode::Never,
        fixed: vec![("seed".into(), b"fixed once".to_vec())],
        ..Options::new("/data")
    }
}

pub(crate) fn open(disk: &SimDisk, seed: &[u8]) -> Result<Engine, Error> {
    let fixed = vec![("seed".into(), seed.to_vec())];
    Engine::open(Options { fixed, ..options() }, Arc::new(Plain), Arc::new(disk.clone()))
}

/// How the last owner left the directory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Left {
    Closed,
    Killed,
    /// Just made: nothing is flushed, the manifest has hardly a record.
    KilledYoung,
    /// The log failed and was replaced, and then the process died.
    KilledAfterFailure,
}

pub(crate) struct Base {
    pub(crate) disk: SimDisk,
    pub(crate) history: Vec<Effects>,
    /// So many batches have to come back.
    promised: usize,
}

pub(crate) fn base(left: Left) -> Base {
    let disk = SimDisk::new();
    let engine = open(&disk, b"fixed once").unwrap();
    let mut rng = Rng::seeded(11);
    let mut history: Vec<Effects> = Vec::new();
    let write = |history: &mut Vec<Effects>, rng: &mut Rng, n: usize| {
        for _ in 0..n {
            let mut next = effects(rng, history.len() as u64 + 1);
            for (_, _, value) in &mut next {
                if let Some(value) = value {
                    value.truncate(90);
                }
            }
            commit(&engine, &next).unwrap();
            history.push(next);
            if rng.below(3) == 0 {
                engine.log_write().unwrap();
            }
        }
    };
    if left != Left::KilledYoung {
        write(&mut history, &mut rng, 250);
        engine.flush().unwrap();
        engine.compact().unwrap();
        for _ in 0..3 {
            write(&mut history, &mut rng, 40);
            engine.flush().unwrap();
        }
    }
    if left == Left::KilledAfterFailure {
        write(&mut history, &mut rng, 20);
        disk.fail_sync(1);
        assert!(engine.sync().is_err());
        while engine.log_failure().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        disk.kill();
        let promised = history.len();
        assert!(engine.close().is_err() || engine.log_written() == engine.log_appended());
        return Base { disk, history, promised };
    }
    write(&mut history, &mut rng, 60);
    engine.sync().unwrap();
    let mut promised = history.len();
    // The first frame after the sync vouches for it, and a second one for the first.
    for _ in 0..4 {
        write(&mut history, &mut rng, 3);
        engine.log_write().unwrap();
    }
    if left == Left::Closed {
        engine.close().unwrap();
        promised = history.len();
    } else {
        disk.kill();
        assert!(engine.close().is_err() || engine.log_synced() == engine.log_appended());
    }
    Base { disk, history, promised }
}

pub(crate) fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in ["/data", "/data/tables", "/data/log"].map(Path::new) {
        for name in disk.list(dir).unwrap() {
            let path = dir.join(name);
            if disk.bytes(&path).is_ok_and(|bytes| !bytes.is_empty()) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What came of a damaged directory.
#[derive(Debug, Default)]
struct Tally {
    right: u64,
    shorter: u64,
    refused: u64,
}

impl Base {
    /// Opens a damaged copy and reads all of it.
    fn judge(&self, disk: &SimDisk, damaged: &Path, what: &str, tally: &mut Tally) {
        let refused = |e: &Error| {
            // A directory of the log stands for a segment that is gone.
            let named = |file: &Path| file == damaged || file.starts_with("/data");
            match e {
                Error::Corrupt { file, .. } => assert!(named(file), "{what}: {e}"),
                _ => panic!("{what}: not an error that names a place: {e}"),
            }
        };
        let engine = match open(disk, b"another seed") {
            Ok(engine) => engine,
            Err(e) => {
                tally.refused += 1;
                return refused(&e);
            }
        };
        assert_eq!(engine.fixed("seed"), Some(&b"fixed once"[..]), "{what}");
        match self.read(&engine) {
            Ok((number, found, count)) => {
                assert!(number as usize >= self.promised, "{what}: {number} of {}", self.promised);
                assert!(number as usize <= self.history.len(), "{what}");
                let expected = model(&self.history[..number as usize]);
                assert!(found == expected, "{what}: not the state after {number} batches");
                assert_eq!(count, expected.len() as i64, "{what}");
                tally.right += 1;
                tally.shorter += u64::from((number as usize) < self.history.len());
            }
            Err(e) => {
                tally.refused += 1;
                refused(&e);
            }
        }
        // What is damaged may keep a flush from settling counts, no more.
        match engine.close() {
            Ok(()) => {}
            Err(e) => panic!("{what}: {e}"),
        }
    }

    /// Everything by ranges, every key by itself, and the count.
    fn read(&self, engine: &Engine) -> Result<(u64, Model, i64), Error> {
        let (number, found) = try_contents(engine)?;
        let whole = model(&self.history);
        engine.with_reserved(ShardSet::ALL, |mut guard| {
            for (shard, key) in whole.keys().chain(found.keys()) {
                let value = guard.get(*shard, Plain.hash(key), key)?;
                assert_eq!(value, found.get(&(*shard, key.clone())).map(Vec::as_slice));
            }
            Ok::<(), Error>(())
        })?;
        Ok((number, found, engine.count(7)?))
    }
}

/// Damages every file at about `places` places each.
fn try_all(left: Left, places: usize) {
    count_panics();
    let base = base(left);
    let mut rng = Rng::seeded(left as u64 + 1);
    let mut all = Tally::default();
    base.judge(&base.disk.fork(), Path::new("/data"), "nothing is damaged", &mut all);
    assert_eq!((all.right, all.shorter), (1, 0));
    for path in files(&base.disk) {
        let bytes = base.disk.bytes(&path).unwrap();
        // Most of a log segment is unused: what is used is looked at more closely.
        let used = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
        let mut tally = Tally::default();
        // There are many tables, and their own tests change every byte.
        let is_table = path.extension().is_some_and(|ending| ending == "tbl");
        let places = if is_table { places.div_ceil(6) } else { places };
        let chance = |of: usize| (places as u64, of.max(1) as u64);
        for at in 0..bytes.len() {
            let (some, of) = if at < used + 40 { chance(used) } else { chance(20 * bytes.len()) };
            if rng.below(of) >= some {
                continue;
            }
            let mask = [1, 0x80, 0xff, 1 << rng.below(8)][rng.below(4) as usize];
            let disk = base.disk.fork();
            disk.flip(&path, at as u64, mask).unwrap();
            let what = format!("{left:?}: {} flipped at {at} by {mask:#x}", path.display());
            base.judge(&disk, &path, &what, &mut tally);
            if rng.below(3) == 0 {
                let disk = base.disk.fork();
                disk.put(&path, &bytes[..at]);
                let what = format!("{left:?}: {} cut to {at}", path.display());
                base.judge(&disk, &path, &what, &mut tally);
            }
            if rng.below(6) == 0 {
                let disk = base.disk.fork();
                disk.put(&path, &[&bytes[..at], &bytes[at + 1..]].concat());
                let what = format!("{left:?}: {} lost byte {at}", path.display());
                base.judge(&disk, &path, &what, &mut tally);
            }
            if rng.below(6) == 0 {
                let disk = base.disk.fork();
                let mut torn = bytes.clone();
                // Zeros from the last frame on are what a torn write leaves: where the log was closed, the
                // frame that says so (28 bytes, the last ones zeros) stays.
                let last = if left == Left::Closed { used.saturating_sub(28) } else { torn.len() };
                let end = (at + 512).min(last).max(at);
                torn[at..end].fill(0);
                disk.put(&path, &torn);
                let what = format!("{left:?}: {} zeroed from {at} on", path.display());
                base.judge(&disk, &path, &what, &mut tally);
            }
        }
        let disk = base.disk.fork();
        disk.remove(&path).unwrap();
        let what = format!("{left:?}: {} is gone", path.display());
        base.judge(&disk, &path, &what, &mut tally);
        println!("{left:?} {} ({used} of {} bytes): {tally:?}", path.display(), bytes.len());
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a thread of the engine panicked");
}

#[test]
fn damage_is_found_in_a_closed_directory() {
    try_all(Left::Closed, 30);
}

#[test]
fn damage_is_found_in_a_killed_directory() {
    try_all(Left::Killed, 30);
    try_all(Left::KilledYoung, 60);
}

#[test]
fn damage_is_found_where_the_log_was_replaced() {
    try_all(Left::KilledAfterFailure, 30);
}

#[test]
#[ignore = "long: every byte of every file"]
fn damage_is_found_at_every_byte() {
    for left in [Left::Closed, Left::Killed, Left::KilledYoung, Left::KilledAfterFailure] {
        try_all(left, 1 << 20);
    }
}
