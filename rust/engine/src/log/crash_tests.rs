//! What the log makes of every kind of bad day, on the simulated disk.

use super::tests::{DIR, Entry, SMALL, append, at, open, open_with, options};
use super::*;
use crate::disk::SimDisk;
use std::ops::Range;
use std::path::Path;

/// A small log on two segments.
struct Small {
    disk: SimDisk,
    all: Vec<Entry>,
    /// Where each write ended.
    writes: Vec<u64>,
    /// How much of it is synced.
    synced: u64,
}

fn small_log() -> Small {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let (mut all, mut writes) = (Vec::new(), vec![0]);
    let mut rng = Rng::seeded(2);
    while log.appended() < 4096 + 700 {
        let mut batch = vec![0; rng.below(90) as usize];
        rng.fill(&mut batch);
        all.push(append(&log, &batch));
        match rng.below(8) {
            0..3 => log.write().unwrap(),
            3..5 if log.appended() < 4096 + 400 => drop(log.sync().unwrap()),
            _ => continue,
        }
        writes.push(log.written());
    }
    log.write().unwrap();
    writes.push(log.written());
    let synced = log.synced();
    assert!(synced > 4096);
    disk.kill();
    drop(log);
    // On a busy machine the thread that prepares segments may be one ahead: what is done to the second one is
    // meant for the newest.
    if disk.bytes(&segment(3)).is_ok() {
        return small_log();
    }
    Small { disk, all, writes, synced }
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:010}.log"))
}

/// Opens what became of a log: either a prefix that reaches `must` at least, or damage.
fn outcome(disk: &SimDisk, start: LogStart, all: &[Entry], must: u64, what: &str) -> bool {
    match open(disk, start) {
        Ok((log, recovery, found)) => {
            let all: Vec<&Entry> = all.iter().filter(|e| e.1 > start.min_lsn).collect();
            assert!(found.len() <= all.len(), "{what}");
            assert!(found.iter().eq(all[..found.len()].iter().copied()), "{what}");
            let reached = all[..found.len()].last().map_or(start.min_lsn, |e| e.1);
            let needed = all.iter().map(|e| e.1).filter(|&lsn| lsn <= must).max();
            assert!(reached >= needed.unwrap_or(0), "{what}: {reached} of {must}, {recovery:?}");
            // The next life begins behind it, and finds the same again.
            let next = append(&log, b"next life");
            log.write().unwrap();
            disk.kill();
            drop(log);
            let (_log, recovery, again) = open(disk, start).unwrap();
            assert_eq!(again.len(), found.len() + 1, "{what}");
            assert!(again[..found.len()] == found && again.last() == Some(&next), "{what}");
            assert_eq!(recovery.cut, None, "{what}");
            true
        }
        Err(Error::Corrupt { .. }) => {
            let damage = check(disk, Path::new(DIR), Some(start));
            assert!(damage.len() == 1 && damage[0].damage, "{what}: {damage:?}");
            // What is whole before the damage can be had.
            Log::repair(Arc::new(disk.clone()), options(SyncMode::Never, SMALL), start).unwrap();
            let (log, _, found) = open(disk, start).unwrap();
            assert!(found.len() < all.len() && found == all[..found.len()], "{what}");
            assert!(log.appended() >= start.max_lsn, "{what}");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn cut_at_every_byte() {
    let Small { disk, all, writes, synced } = small_log();
    let mut seen = (0, 0);
    for number in [1, 2] {
        let path = segment(number);
        let bytes = disk.bytes(&path).unwrap();
        let base = (number - 1) * 4096;
        for cut in 0..=bytes.len() {
            // All cuts inside the header are alike.
            if cut < SEGMENT_HEADER as usize && cut % 101 != 0 {
                continue;
            }
            let disk = disk.fork();
            if number == 2 && cut < bytes.len() {
                // Nobody has ever cut the newest segment.
                disk.put(&path, &bytes[..cut]);
                let error = open(&disk, LogStart::default()).unwrap_err();
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len(), 0);
            disk.put(&path, &torn);
            let kept = base + (cut as u64).saturating_sub(SEGMENT_HEADER);
            let what = format!("segment {number} cut at {cut}");
            // What was written whole before the cut is found, whatever is known of syncs.
            let whole = writes.iter().copied().filter(|&end| end <= kept).max().unwrap_or(0);
            let found = outcome(&disk.fork(), LogStart::default(), &all, whole, &what);
            // With the manifest as a witness nothing that was synced goes unnoticed.
            let start = LogStart { max_lsn: synced, ..LogStart::default() };
            outcome(&disk, start, &all, synced, &what);
            if found { seen.0 += 1 } else { seen.1 += 1 }
        }
    }
    assert!(seen.0 > 1000 && seen.1 > 1000, "{seen:?}");
}

#[test]
fn flip_every_byte() {
    let Small { disk, all, synced, .. } = small_log();
    let mut seen = (0, 0);
    for number in [1, 2] {
        let path = segment(number);
        let base = (number - 1) * 4096;
        let len = disk.bytes(&path).unwrap().len() as u64;
        for offset in 0..len {
            let at = base + offset.saturating_sub(SEGMENT_HEADER);
            if (68..SEGMENT_HEADER).contains(&offset) && offset % 101 != 0 {
                continue;
            }
            let disk = disk.fork();
            disk.flip(&path, offset, 1 << (offset % 8)).unwrap();
            let what = format!("segment {number} flipped at {offset}");
            let start = LogStart { max_lsn: synced, ..LogStart::default() };
            let known = outcome(&disk.fork(), start, &all, synced, &what);
            if outcome(&disk, LogStart::default(), &all, 0, &what) {
                seen.0 += 1;
            } else {
                assert!(!known, "{what}");
                assert!(offset < 68 || at < synced, "{what}: a torn tail taken for damage");
                seen.1 += 1;
            }
        }
    }
    assert!(seen.0 > 500 && seen.1 > 3000, "{seen:?} of {synced}");
}

/// One disk, many lives, every kind of end.
struct World {
    disk: SimDisk,
    rng: Rng,
    /// What the log must find again, at least up to `must`.
    all: Vec<Entry>,
    must: u64,
    /// What a power cut leaves of `must`.
    synced: u64,
    flushed: LogStart,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: SimDisk::new(),
            rng: Rng::seeded(seed),
            all: Vec::new(),
            must: 0,
            synced: 0,
            flushed: LogStart::default(),
            trace: vec![format!("seed {seed}")],
        }
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// Opens the log, which may need several attempts, and compares.
    fn open(&mut self) -> Log {
        for attempt in 0.. {
            if attempt < 3 && self.rng.below(3) == 0 {
                self.disk.cut_at_write(1 + self.rng.below(2));
            }
            match open(&self.disk, self.flushed) {
                Ok((log, recovery, found)) => {
                    self.note(format!("opened {recovery:?}"));
                    let min = self.flushed.min_lsn;
                    let expected: Vec<&Entry> = self.all.iter().filter(|e| e.1 > min).collect();
                    assert!(found.len() <= expected.len(), "{:#?}", self.trace);
                    let (kept, lost) = expected.split_at(found.len());
                    assert!(found.iter().eq(kept.iter().copied()), "{:#?}", self.trace);
                    assert!(lost.first().is_none_or(|e| e.1 > self.must), "{:#?}", self.trace);
                    let end = kept.last().map_or(min, |e| e.1);
                    self.all.retain(|e| e.1 <= end);
                    assert_eq!(log.synced(), log.appended());
                    assert!(log.appended() >= self.flushed.max_lsn);
                    self.saw(&log);
                    return log;
                }
                Err(e) if self.disk.is_off() => {
                    self.note(format!("power went while opening: {e}"));
                    self.disk.power_on(self.rng.next_u64());
                    self.must = self.synced;
                }
                Err(e) => panic!("{e}: {:#?}", self.trace),
            }
        }
        unreachable!()
    }

    fn saw(&mut self, log: &Log) {
        self.synced = self.synced.max(log.synced());
        self.must = self.must.max(self.synced);
    }

    fn flush(&mut self, log: &Log) {
        // Some shards are further than others, none further than the log is synced.
        let synced: Vec<u64> =
            self.all.iter().map(|e| e.1).filter(|&l| l <= log.synced()).collect();
        if synced.is_empty() {
            return;
        }
        let mut pick = || synced[self.rng.below(synced.len() as u64) as usize];
        let (a, b) = (pick(), pick());
        self.flushed.min_lsn = self.flushed.min_lsn.max(a.min(b));
        self.flushed.max_lsn = self.flushed.max_lsn.max(a.max(b)).max(self.flushed.min_lsn);
        let min_lsn = self.flushed.min_lsn;
        self.note(format!("flushed {:?}", self.flushed));
        log.release(min_lsn);
        self.all.retain(|e| e.1 > min_lsn);
    }

    fn life(&mut self) {
        let log = self.open();
        let steps = 1 + self.rng.below(120);
        if self.rng.below(2) == 0 {
            let nth = 1 + self.rng.below(30);
            self.note(format!("the power goes at write {nth}"));
            self.disk.cut_at_write(nth);
        } else if self.rng.below(3) == 0 {
            self.disk.fail_write(1 + self.rng.below(20));
        } else if self.rng.below(3) == 0 {
            self.disk.fail_sync(1 + self.rng.below(5));
        }
        for _ in 0..steps {
            match self.rng.below(20) {
                0..12 => {
                    let len = match self.rng.below(40) {
                        0 => self.rng.below(20_000),
                        1..10 => self.rng.below(900),
                        _ => self.rng.below(60),
                    };
                    let mut batch = vec![0; len as usize];
                    self.rng.fill(&mut batch);
                    if let Ok(Appended { seq, lsn }) = log.append(&batch) {
                        self.all.push((seq, lsn, batch));
                    }
                }
                12..17 => drop(log.write()),
                17 => drop(log.sync()),
                18 => self.flush(&log),
                _ => log.request_sync(),
            }
            self.saw(&log);
            if log.failure().is_some() {
                break;
            }
        }
        if let Some(why) = log.failure() {
            self.note(format!("failed at {}: {why}", log.appended()));
            if self.disk.is_off() {
                self.disk.power_on(self.rng.next_u64());
                return;
            }
            // The engine flushes everything.
            self.flushed.min_lsn = log.appended();
            self.flushed.max_lsn = log.appended();
            self.all.clear();
            if self.rng.below(2) == 0 && log.restart().is_ok() {
                self.note(format!("restarted at {}", log.appended()));
                for n in 0..self.rng.below(100) as u8 {
                    if let Ok(Appended { seq, lsn }) = log.append(&[n; 50]) {
                        self.all.push((seq, lsn, vec![n; 50]));
                    }
                    if n % 4 == 0 {
                        drop(log.write());
                    }
                }
                self.saw(&log);
            }
        }
        match self.rng.below(4) {
            0 if log.close().is_ok() => self.note("closed".to_string()),
            1 if !self.disk.is_off() => {
                // The process dies, the machine lives.
                self.must = self.must.max(log.written());
                self.disk.kill();
                self.note(format!("killed at {}", self.must));
                return;
            }
            _ => {}
        }
        self.saw(&log);
        self.disk.power_on(self.rng.next_u64());
        let must = self.must;
        self.note(format!("power cut at {must}"));
    }
}

fn many_lives(seeds: Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..25 {
            world.life();
        }
    }
}

#[test]
fn many_lives_on_one_disk() {
    many_lives(0..60);
}

#[test]
#[ignore = "takes a minute"]
fn very_many_lives_on_one_disk() {
    many_lives(60..10_000);
}

#[test]
fn power_cut_at_every_write() {
    // A fixed history, cut at its first, second, third ... write, with three outcomes each.
    for nth in 1.. {
        let mut done = false;
        for seed in 0..3 {
            let disk = SimDisk::new();
            let (log, ..) = open(&disk, LogStart::default()).unwrap();
            disk.cut_at_write(nth);
            let mut all = Vec::new();
            let mut must = 0;
            for n in 0..150u8 {
                let batch = vec![n; 20 + usize::from(n)];
                let Ok(Appended { seq, lsn }) = log.append(&batch) else { break };
                all.push((seq, lsn, batch));
                if n % 3 == 0 && log.write().is_err() {
                    break;
                }
                if n % 20 == 0 && log.sync().is_err() {
                    break;
                }
                must = log.synced();
            }
            done = !disk.is_off();
            drop(log);
            disk.power_on(seed * 1000 + nth);
            let what = format!("write {nth}, seed {seed}");
            assert!(outcome(&disk, LogStart::default(), &all, must, &what), "{what}");
        }
        if done {
            assert!(nth > 50);
            return;
        }
    }
}

#[test]
fn what_a_failed_sync_took_for_clean_is_not_believed_by_the_next_life() {
    for seed in 0..40 {
        let disk = SimDisk::new();
        let (log, ..) = open(&disk, LogStart::default()).unwrap();
        let mut all: Vec<Entry> = (0..3).map(|n| append(&log, &[n; 100])).collect();
        log.sync().unwrap();
        // Over the end of a segment, so that two are in doubt.
        all.extend((0..60).map(|n| append(&log, &[n; 100])));
        log.write().unwrap();
        disk.fail_sync(1);
        log.sync().unwrap_err();
        // The process dies before it can do anything about it; the bytes are still there to be read.
        disk.kill();
        drop(log);
        let (log, _, found) = open(&disk, LogStart::default()).unwrap();
        assert_eq!(found, all);
        assert_eq!(log.synced(), log.appended());
        disk.power_cut(seed);
        drop(log);
        let (_log, _, found) = open(&disk, LogStart::default()).unwrap();
        assert_eq!(found, all, "seed {seed}");
    }
}

#[test]
fn old_frames_in_a_recycled_segment_are_not_read() {
    // Equal batches in equal frames: only position and incarnation tell the generations of a file apart.
    for seed in 0..40 {
        let disk = SimDisk::new();
        let mut start = LogStart::default();
        let mut all: Vec<Entry> = Vec::new();
        for life in 0..4 {
            let (log, _, found) = open(&disk, start).unwrap();
            all.retain(|e| e.1 > start.min_lsn);
            assert!(found.len() <= all.len());
            all.truncate(found.len());
            assert_eq!(found, all, "seed {seed}, life {life}");
            for n in 0..200 + seed {
                all.push(append(&log, &[b'a'; 72]));
                log.write().unwrap();
                if n % 30 == 29 {
                    start = at(log.sync().unwrap());
                    log.release(start.min_lsn);
                }
            }
            drop(log);
            disk.power_cut(seed * 10 + life);
        }
    }
}

#[test]
fn a_lost_name_or_a_revived_one_does_no_harm() {
    // Released segments come back by a power cut that forgets their removal.
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let all: Vec<Entry> = (0..300u16).map(|n| append(&log, &n.to_be_bytes().repeat(30))).collect();
    log.sync().unwrap();
    let before = disk.fork();
    let flushed = all[250].1;
    log.release(flushed);
    log.close().unwrap();
    for number in 1..10 {
        let Ok(bytes) = before.bytes(&segment(number)) else { continue };
        let disk = disk.fork();
        if disk.bytes(&segment(number)).is_err() {
            disk.put(&segment(number), &bytes);
        }
        let (_log, _, found) = open(&disk, at(flushed)).unwrap();
        assert_eq!(found, all[251..]);
    }
}

#[test]
fn modes_may_change_between_lives() {
    let disk = SimDisk::new();
    let mut all = Vec::new();
    for (life, mode) in [SyncMode::Always, SyncMode::Never, SyncMode::EverySecond, SyncMode::Always]
        .into_iter()
        .enumerate()
    {
        let bytes = SMALL * (1 + life as u64 % 3);
        let (log, _, found) = open_with(&disk, options(mode, bytes), LogStart::default()).unwrap();
        assert_eq!(found, all);
        for n in 0..100u8 {
            all.push(append(&log, &[n; 100]));
        }
        log.close().unwrap();
    }
}
