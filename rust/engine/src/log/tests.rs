use super::*;
use crate::disk::{RealDisk, SimDisk};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

pub(super) const DIR: &str = "/log";
/// The smallest segments: 4096 bytes of frames.
pub(super) const SMALL: u64 = 8192;

/// A batch with its sequence number and its end.
pub(super) type Entry = (u64, u64, Vec<u8>);

pub(super) fn options(mode: SyncMode, segment_bytes: u64) -> LogOptions {
    LogOptions { dir: PathBuf::from(DIR), sync_mode: mode, segment_bytes }
}

/// Opens the log and gives what it replays.
pub(super) fn open(disk: &SimDisk, start: LogStart) -> Result<(Log, Recovery, Vec<Entry>)> {
    open_with(disk, options(SyncMode::Never, SMALL), start)
}

pub(super) fn open_with(
    disk: &SimDisk,
    options: LogOptions,
    start: LogStart,
) -> Result<(Log, Recovery, Vec<Entry>)> {
    let mut found = Vec::new();
    let (log, recovery) = Log::open(Arc::new(disk.clone()), options, start, &mut |r| {
        found.push((r.seq, r.lsn, r.batch.to_vec()));
        Ok(())
    })?;
    Ok((log, recovery, found))
}

pub(super) fn append(log: &Log, batch: &[u8]) -> Entry {
    let Appended { seq, lsn } = log.append(batch).unwrap();
    (seq, lsn, batch.to_vec())
}

pub(super) fn at(lsn: u64) -> LogStart {
    LogStart { min_lsn: lsn, max_lsn: lsn, min_seq: 0 }
}

fn files(disk: &SimDisk, ending: &str) -> Vec<PathBuf> {
    let mut names = disk.list(Path::new(DIR)).unwrap();
    names.retain(|name| name.ends_with(ending));
    names.sort();
    names.iter().map(|name| Path::new(DIR).join(name)).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_written_is_found_again_and_nothing_else() {
    let disk = SimDisk::new();
    let (log, recovery, found) = open(&disk, LogStart::default()).unwrap();
    assert_eq!((recovery.next_seq, found.len()), (1, 0));
    let mut all = Vec::new();
    for turn in 0..5u8 {
        all.push(append(&log, &[turn; 10]));
        all.push(append(&log, b""));
        assert!(log.written() < log.appended());
        log.write().unwrap();
        assert_eq!(log.written(), log.appended());
        assert_eq!(log.appended(), all.last().unwrap().1);
    }
    append(&log, b"never written");
    disk.kill();
    drop(log);

    let (log, recovery, found) = open(&disk, LogStart::default()).unwrap();
    assert_eq!(found, all);
    assert_eq!(recovery.cut, None);
    assert_eq!((recovery.batches, recovery.bytes), (10, 50));
    assert_eq!(recovery.next_seq, 11);
    all.push(append(&log, b"a second life"));
    assert_eq!(all[10].0, 11);
    assert!(all[10].1 > all[9].1);
    log.close().unwrap();
    assert!(matches!(log.append(b"x"), Err(Error::Closed)));
    log.close().unwrap();
    drop(log);

    let flushed = all[4].1;
    let (_log, recovery, found) = open(&disk, at(flushed)).unwrap();
    assert_eq!(found, all[5..]);
    assert_eq!(recovery.cut, None);
}

#[test]
fn many_segments_many_lives() {
    let disk = SimDisk::new();
    let mut all: Vec<Entry> = Vec::new();
    for life in 0..4u8 {
        let (log, _, found) = open(&disk, LogStart::default()).unwrap();
        assert_eq!(found, all);
        for n in 0..200u64 {
            all.push(append(&log, &vec![life; (n * 37 % 500) as usize]));
            if n % 3 == 0 {
                log.write().unwrap();
            }
        }
        log.sync().unwrap();
        assert_eq!(log.synced(), log.appended());
        assert_eq!(log.synced_seq(), log.last_seq());
        if life % 2 == 0 {
            log.close().unwrap();
        }
        disk.kill();
    }
    assert!(files(&disk, ".log").len() > 40);
    assert_eq!(check(&disk, Path::new(DIR), None), vec![]);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let mut all = vec![append(&log, b"small")];
    for size in [4000, 4096, 4097, 100_000, 3, 1_000_000, 7_000_000] {
        all.push(append(&log, &vec![size as u8; size]));
        all.push(append(&log, b"between"));
    }
    log.sync().unwrap();
    assert!(log.shared.writer.lock().bytes().is_empty());
    disk.power_cut(1);
    let (log, _, found) = open(&disk, LogStart::default()).unwrap();
    assert!(found == all);
    log.release(log.written());
    assert!(log.bytes() < 100);
    assert!(disk.used() < 10 * SMALL, "{}", disk.used());
}

#[test]
#[ignore = "takes 4 GiB of memory"]
fn a_batch_of_a_gibibyte() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        dir: dir.path().to_path_buf(),
        sync_mode: SyncMode::Never,
        segment_bytes: 64 << 20,
    };
    let batch = vec![7; 1 << 30];
    let (log, _) =
        Log::open(Arc::new(RealDisk), options.clone(), LogStart::default(), &mut |_| Ok(()))
            .unwrap();
    log.append(b"before").unwrap();
    let start = Instant::now();
    log.append(&batch).unwrap();
    log.append(b"after").unwrap();
    log.write().unwrap();
    println!("appended and written in {:?}", start.elapsed());
    drop(log);
    let mut sizes = Vec::new();
    Log::open(Arc::new(RealDisk), options, LogStart::default(), &mut |r| {
        sizes.push(r.batch.len());
        Ok(())
    })
    .unwrap();
    assert_eq!(sizes, [6, 1 << 30, 5]);
}

#[test]
fn released_segments_are_used_again() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let mut all = Vec::new();
    let mut most = 0;
    for n in 0..2000u64 {
        all.push(append(&log, &n.to_le_bytes().repeat(20)));
        if n % 10 == 9 {
            log.sync().unwrap();
            log.release(all[all.len() - 5].1);
            most = most.max(disk.used());
            assert!(log.bytes() <= 3 * SMALL);
        }
    }
    assert!(most <= 8 * SMALL, "{most}");
    disk.power_cut(2);
    let flushed = all[1994].1;
    let (log, _, found) = open(&disk, at(flushed)).unwrap();
    assert_eq!(found, all[1995..]);
    // What is not in the log any more can't be asked for.
    drop(log);
    let error = open(&disk, at(all[3].1)).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what, .. } if what.contains("missing")), "{error}");
}

#[test]
fn as_many_zeroed_segments_are_kept_as_were_needed_at_once() {
    let disk = SimDisk::new();
    let (log, ..) =
        open_with(&disk, options(SyncMode::Always, SMALL), LogStart::default()).unwrap();
    let fill = |batches: usize| {
        let last = (0..batches).map(|_| append(&log, &[7; 1000]).1).last().unwrap();
        log.sync().unwrap();
        last
    };
    // Whatever the thread that prepares the next segment is at: one of them more or less.
    let there = || disk.list(Path::new(DIR)).unwrap().len() as isize;
    let is_about =
        |wanted: isize| assert!((there() - wanted).abs() <= 1, "{} of {wanted}", there());
    let end = fill(40);
    let needed = there();
    assert!(needed >= 10);
    log.release(end);
    is_about(needed);
    // The same again takes no more disk.
    log.release(fill(36));
    is_about(needed);
    // In quiet times they go, one by one, but a few; a full disk gets them all.
    (0..5).for_each(|_| log.trim_spares(usize::MAX));
    is_about(needed - 5);
    (0..50).for_each(|_| log.trim_spares(usize::MAX));
    wait_until("a few are kept", || files(&disk, ".spare").len() == MIN_SPARES);
    log.trim_spares(0);
    assert_eq!(files(&disk, ".spare").len(), 0);
    log.close().unwrap();
}

#[test]
fn numbers_are_never_drawn_twice() {
    let disk = SimDisk::new();
    let mut drawn = BTreeSet::new();
    let mut flushed = LogStart::default();
    for life in 0..6 {
        let (log, recovery, _) = open(&disk, flushed).unwrap();
        assert!(recovery.next_seq > log.synced_seq());
        for _ in 0..50 {
            let generation = log.draw_seq();
            assert!(drawn.insert(generation));
            let (seq, lsn, _) = append(&log, &[1; 100]);
            assert!(seq > generation && drawn.insert(seq));
            assert_eq!(log.last_seq(), seq);
            flushed.max_lsn = lsn;
        }
        log.sync().unwrap();
        if life % 2 == 1 {
            flushed.min_lsn = flushed.max_lsn;
            log.release(flushed.min_lsn);
        }
        disk.kill();
    }
    let (log, ..) = open(&disk, LogStart { min_seq: 1 << 40, ..flushed }).unwrap();
    assert_eq!(log.draw_seq(), (1 << 40) + 1);
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let mut all = vec![append(&log, &[1; 1000])];
    disk.set_capacity(Some(disk.used() + 100));
    let error = loop {
        match log.append(&[2; 100]) {
            Ok(Appended { seq, lsn }) => all.push((seq, lsn, vec![2; 100])),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace), "{error}");
    // 4096 bytes: two headers, and 102 bytes for each of the small batches.
    assert_eq!(all.len(), 1 + (4096 - 2 * 28 - 1003) / 102);
    let (seq, appended) = (log.last_seq(), log.appended());
    assert!(matches!(log.append(&[2; 100]), Err(Error::NoSpace)));
    assert!(matches!(log.append(&[2; 100_000]), Err(Error::NoSpace)));
    assert_eq!((log.last_seq(), log.appended()), (seq, appended));
    // What was taken gets through, and what is short still fits.
    log.sync().unwrap();
    all.push(append(&log, b""));
    assert_eq!(log.failure(), None);

    disk.set_capacity(None);
    wait_until("writing again", || {
        log.append(&[3; 100])
            .map(|Appended { seq, lsn }| all.push((seq, lsn, vec![3; 100])))
            .is_ok()
    });
    for _ in 0..100 {
        all.push(append(&log, &[4; 100]));
    }
    log.sync().unwrap();
    disk.power_cut(3);
    let (_log, _, found) = open(&disk, LogStart::default()).unwrap();
    assert_eq!(found, all);
}

#[test]
fn writing_resumes_by_itself_without_being_asked() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    disk.set_capacity(Some(disk.used()));
    while log.append(&[2; 100]).is_ok() {}
    disk.set_capacity(None);
    wait_until("a new segment", || files(&disk, ".log").len() == 2);
    log.append(&[2; 100]).unwrap();
}

#[test]
fn a_failed_sync_ends_writing_until_restart() {
    for by_write in [false, true] {
        let disk = SimDisk::new();
        let (log, ..) = open(&disk, LogStart::default()).unwrap();
        append(&log, b"first");
        log.sync().unwrap();
        let synced = log.synced();
        append(&log, b"second");
        if by_write {
            disk.fail_write(1);
            assert!(matches!(log.write(), Err(Error::LogFailed(_))));
            assert_eq!(log.written(), synced);
        } else {
            disk.fail_sync(1);
        }
        assert!(matches!(log.sync(), Err(Error::LogFailed(_))));
        assert!(log.failure().unwrap().contains("0000000001.log"));
        // The device would answer Ok now: nobody asks it.
        assert!(matches!(log.sync(), Err(Error::LogFailed(_))));
        assert!(matches!(log.append(b"refused"), Err(Error::LogFailed(_))));
        assert_eq!(log.synced(), synced);

        let flushed = at(log.appended());
        // The machine may die before the restart,
        let early = disk.fork();
        early.power_cut(4);
        let (late, _, found) = open(&early, flushed).unwrap();
        assert_eq!(found, vec![]);
        assert!(late.appended() >= flushed.max_lsn);
        // or after it.
        log.restart().unwrap();
        assert_eq!(log.failure(), None);
        assert_eq!(log.synced(), flushed.max_lsn);
        let third = append(&log, b"third");
        log.sync().unwrap();
        log.restart().unwrap();
        disk.power_cut(5);
        let (_log, _, found) = open(&disk, flushed).unwrap();
        assert_eq!(found, vec![third.clone()]);
    }
}

#[test]
fn restart_waits_for_disk_space_too() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    append(&log, b"first");
    disk.fail_sync(1);
    assert!(log.sync().is_err());
    disk.set_capacity(Some(disk.used()));
    assert!(matches!(log.restart(), Err(Error::NoSpace)));
    assert!(log.failure().is_some());
    disk.set_capacity(None);
    log.restart().unwrap();
    append(&log, b"second");
    log.close().unwrap();
}

#[test]
fn threads_agree_on_one_order() {
    let disk = SimDisk::new();
    let (log, ..) =
        open_with(&disk, options(SyncMode::Never, 64 << 10), LogStart::default()).unwrap();
    let mut all: Vec<Entry> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u8)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for n in 0..3000usize {
                        mine.push(append(log, &vec![thread; n % 90]));
                        if n % 7 == 0 {
                            log.write().unwrap();
                            assert!(log.written() >= mine.last().unwrap().1);
                        }
                        if n % 501 == 0 {
                            assert!(log.sync().unwrap() >= mine.last().unwrap().1);
                        }
                        assert!(log.synced() <= log.written());
                    }
                    mine
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    log.sync().unwrap();
    all.sort();
    assert!(all.is_sorted_by(|a, b| a.1 < b.1), "the order of numbers is the order of bytes");
    // Leaders wrote for followers, and the pieces were large: far fewer writes than batches.
    assert!(disk.writes() < 3000, "{}", disk.writes());
    disk.power_cut(6);
    let (_log, _, found) =
        open_with(&disk, options(SyncMode::Never, 64 << 10), LogStart::default()).unwrap();
    assert!(found == all);
}

#[test]
fn always_wakes_who_waits_for_the_sync() {
    let disk = SimDisk::new();
    let (log, ..) =
        open_with(&disk, options(SyncMode::Always, SMALL), LogStart::default()).unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    log.on_synced(Arc::new({
        let (seen, calls) = (Arc::clone(&seen), Arc::clone(&calls));
        move |lsn| {
            seen.fetch_max(lsn, Ordering::SeqCst);
            calls.fetch_add(1, Ordering::SeqCst);
        }
    }));
    for n in 0..100u8 {
        let (_, lsn, _) = append(&log, &[n; 200]);
        log.write().unwrap();
        log.request_sync();
        wait_until("the sync", || seen.load(Ordering::SeqCst) >= lsn);
        assert!(log.synced() >= lsn);
    }
    append(&log, b"lost");
    log.write().unwrap();
    disk.fail_sync(1);
    let before = calls.load(Ordering::SeqCst);
    log.request_sync();
    wait_until("the wake", || calls.load(Ordering::SeqCst) > before);
    assert!(log.failure().is_some());
}

#[test]
fn every_second_syncs_alone_and_never_does_not() {
    let disk = SimDisk::new();
    let (log, ..) = open_with(&disk, options(SyncMode::Never, SMALL), LogStart::default()).unwrap();
    append(&log, b"one");
    log.write().unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(log.synced() < log.written());
    log.set_sync_mode(SyncMode::EverySecond);
    wait_until("the sync", || log.synced() == log.written());
    let syncs = disk.syncs();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(disk.syncs(), syncs, "an idle log syncs nothing");
}

#[test]
fn a_clean_close_leaves_a_log_whose_every_byte_is_guarded() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let all: Vec<Entry> = (0..10u8).map(|n| append(&log, &[n; 30])).collect();
    log.close().unwrap();
    drop(log);
    let path = &files(&disk, ".log")[0];
    for offset in SEGMENT_HEADER..SEGMENT_HEADER + all[9].1 {
        let disk = disk.fork();
        disk.flip(path, offset, 1).unwrap();
        let error = open(&disk, LogStart::default()).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { file, .. } if file == path), "{error}");
        let findings = check(&disk, Path::new(DIR), Some(LogStart::default()));
        assert!(findings.len() == 1 && findings[0].damage, "{findings:?}");
    }
}

#[test]
fn a_missing_segment_is_damage_and_repair_keeps_what_is_before_it() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    let all: Vec<Entry> = (0..400u16).map(|n| append(&log, &n.to_be_bytes().repeat(25))).collect();
    log.close().unwrap();
    drop(log);
    let segments = files(&disk, ".log");
    assert!(segments.len() > 4);
    for (missing, path) in segments.iter().enumerate() {
        let disk = disk.fork();
        disk.remove(path).unwrap();
        let max_lsn = all[3].1;
        let start = LogStart { min_lsn: 0, max_lsn, min_seq: 0 };
        let error = open(&disk, start).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        // What is in tables need not be in the log.
        assert!(missing > 0 || open(&disk.fork(), at(all[200].1)).is_ok());

        let lossy = options(SyncMode::Never, SMALL);
        Log::repair(Arc::new(disk.clone()), lossy, start).unwrap();
        let (log, _, found) = open(&disk, start).unwrap();
        assert_eq!(found, all[..found.len()]);
        assert!(missing == 0 || found.len() >= missing * 70, "{missing}: {}", found.len());
        // Life goes on.
        let next = append(&log, b"new");
        assert!(next.1 > max_lsn);
        log.close().unwrap();
        drop(log);
        let (_log, _, again) = open(&disk, start).unwrap();
        assert_eq!(again.last(), Some(&next));
        assert_eq!(again.len(), found.len() + 1);
    }
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = SimDisk::new();
    drop(open(&disk, LogStart::default()).unwrap());
    let path = &files(&disk, ".log")[0];
    let mut bytes = disk.bytes(path).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..64]);
    bytes[64..68].copy_from_slice(&crc.to_le_bytes());
    disk.put(path, &bytes);
    assert!(matches!(open(&disk, LogStart::default()), Err(Error::Incompatible(_))));
}

#[test]
fn replay_can_refuse() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    append(&log, b"x");
    log.close().unwrap();
    drop(log);
    let no = Log::open(
        Arc::new(disk.clone()),
        options(SyncMode::Never, SMALL),
        LogStart::default(),
        &mut |_| Err(Error::Closed),
    );
    assert!(matches!(no, Err(Error::Closed)));
    assert_eq!(open(&disk, LogStart::default()).unwrap().2.len(), 1);
}

#[test]
fn the_golden_log_is_read() {
    // Written by version 1 of the format; see `write_golden`.
    let disk = SimDisk::new();
    let bytes = include_bytes!("../../testdata/log-1.log");
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let mut whole = bytes.to_vec();
    whole.resize(SMALL as usize, 0);
    disk.put(&Path::new(DIR).join("0000000001.log"), &whole);
    let (_log, recovery, found) = open(&disk, LogStart::default()).unwrap();
    let golden: Vec<Entry> = vec![
        (1, 33, b"one".to_vec()),
        (3, 39, b"three".to_vec().split_off(1)),
        (4, 270, vec![0xab; 200]),
    ];
    assert_eq!(found, golden);
    assert_eq!((recovery.next_seq, recovery.cut), (5, None));
}

#[test]
#[ignore = "writes the golden file anew: only for a new format version"]
fn write_golden() {
    let disk = SimDisk::new();
    let (log, ..) = open(&disk, LogStart::default()).unwrap();
    append(&log, b"one");
    log.draw_seq();
    append(&log, b"hree");
    log.sync().unwrap();
    append(&log, &[0xab; 200]);
    log.close().unwrap();
    let bytes = disk.bytes(&files(&disk, ".log")[0]).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/log-1.log");
    std::fs::write(path, &bytes[..(SEGMENT_HEADER + 400) as usize]).unwrap();
}

/// What an append, a write and a sync cost; `DECISIONS.md` quotes it.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let open = |name: &str, mode, segment_bytes| {
        let options = LogOptions { dir: dir.path().join(name), sync_mode: mode, segment_bytes };
        Log::open(Arc::new(RealDisk), options, LogStart::default(), &mut |_| Ok(())).unwrap().0
    };
    for batch in [30, 100, 1000] {
        let log = open(&format!("append{batch}"), SyncMode::Never, 64 << 20);
        let bytes = vec![b'x'; batch];
        let (mut appends, mut writes) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..2000 {
            let start = Instant::now();
            for _ in 0..100 {
                log.append(&bytes).unwrap();
            }
            appends += start.elapsed();
            let start = Instant::now();
            log.write().unwrap();
            writes += start.elapsed();
        }
        let (append, write) = (appends.as_nanos() / 200_000, writes.as_nanos() / 2000);
        println!("100 batches of {batch}: {append} ns for each append, {write} ns for the write");
    }
    for batch in [200, 4096, 65536] {
        // The log never grows beyond what is released at once: all but the first three segments of the
        // last kind are recycled ones.
        for (name, mode, bytes) in [
            ("unwritten", SyncMode::Never, 64 << 20),
            ("zeroed", SyncMode::Always, 64 << 20),
            ("recycled", SyncMode::Never, 1 << 20),
        ] {
            let log = open(&format!("{name}{batch}"), mode, bytes);
            let batch = vec![b'x'; batch];
            let mut syncs = Vec::new();
            while syncs.len() < 500 {
                log.append(&batch).unwrap();
                log.write().unwrap();
                let start = Instant::now();
                log.sync().unwrap();
                if name != "recycled" || log.appended() > 8 << 20 {
                    syncs.push(start.elapsed());
                }
                log.release(log.synced());
                if log.appended() < 8 << 20 && name == "recycled" {
                    (0..20_000 / batch.len()).for_each(|_| drop(log.append(&batch)));
                }
            }
            syncs.sort();
            let (median, p90) = (syncs[250].as_micros(), syncs[450].as_micros());
            println!("sync of {}, {name}: median {median} us, p90 {p90} us", batch.len());
            log.close().unwrap();
        }
    }
}

#[test]
fn values_made_to_look_like_frames_do_not_hold_up_a_start() {
    let disk = SimDisk::new();
    let large = options(SyncMode::Never, 16 << 20);
    let (log, ..) = open_with(&disk, large.clone(), LogStart::default()).unwrap();
    append(&log, b"x");
    drop(log);
    disk.kill();
    let path = &files(&disk, ".log")[0];
    let mut bytes = disk.bytes(path).unwrap();
    let mut fake = [0; FRAME_HEADER];
    fake[..4].copy_from_slice(&(8u32 << 20).to_le_bytes());
    fake[16] = 1;
    fake[24] = 1;
    let fakes = bytes[5000..].chunks_exact_mut(FRAME_HEADER);
    fakes.for_each(|place| place.copy_from_slice(&fake));
    disk.put(path, &bytes);
    let start = Instant::now();
    let (_log, recovery, _) = open_with(&disk, large, LogStart::default()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(recovery.cut, None);
}
