//! Every byte cut, every byte flipped, every step failed: what comes back is what was committed before the
//! commit at hand, or after it, or a clear refusal.

use super::*;
use crate::disk::{Mapping, SimDisk};
use parking_lot::Mutex;
use std::os::fd::RawFd;

fn dir() -> &'static Path {
    Path::new("/data")
}

fn path() -> PathBuf {
    dir().join(NAME)
}

fn open(disk: &SimDisk) -> Result<(Manifest, State)> {
    Manifest::open(Arc::new(disk.clone()), dir())
}

fn table(id: u64, first: &str, last: &str) -> TableMeta {
    TableMeta {
        id,
        bytes: 1000 + id,
        entries: 10,
        tombstones: 1,
        smallest: first.into(),
        largest: last.into(),
        raw_bytes: 3000,
    }
}

fn add(shard: u8, level: u8, id: u64, first: &str, last: &str) -> Edit {
    Edit::AddTable { shard, level, meta: table(id, first, last) }
}

fn remove_table(shard: u8, level: u8, id: u64) -> Edit {
    Edit::RemoveTable { shard, level, id }
}

/// A life: every kind of edit.
fn commits() -> Vec<Vec<Edit>> {
    let flushed =
        |lsn, n| Edit::Flushed { shard: 3, lsn, seq: lsn / 10, counts: vec![(0, n), (7, -1)] };
    vec![
        vec![Edit::Fixed { name: "seed".into(), value: vec![1, 2, 3] }],
        vec![add(3, 0, 1, "a", "m"), flushed(100, 10), Edit::NextFile(5)],
        vec![add(3, 0, 2, "b", "z"), flushed(200, 12)],
        vec![add(63, 0, 3, "", "zz"), Edit::SeqHighWater(99), Edit::LogStart(100)],
        vec![
            remove_table(3, 0, 1),
            remove_table(3, 0, 2),
            add(3, 6, 5, "n", "z"),
            add(3, 6, 4, "a", "mm"),
        ],
        vec![remove_table(3, 6, 5), remove_table(3, 6, 4), add(3, 6, 6, "a", "z")],
        vec![flushed(300, 9), Edit::NextFile(3), Edit::LogStart(50)],
    ]
}

/// A disk after those commits, and the state before the first and after each.
fn lived() -> (SimDisk, Vec<State>) {
    let disk = SimDisk::new();
    let (manifest, state) = open(&disk).unwrap();
    let mut states = vec![state];
    for edits in commits() {
        manifest.commit(&edits).unwrap();
        states.push(manifest.state());
    }
    (disk, states)
}

/// Where each record of a file ends.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let incarnation = format::header(&path(), bytes).unwrap();
    let mut ends = Vec::new();
    let mut at = HEADER;
    while let Some((_, end)) = format::parse(incarnation, bytes, at) {
        ends.push(end);
        at = end;
    }
    ends
}

#[test]
fn says_what_was_committed() {
    let (disk, states) = lived();
    let last = states.last().unwrap();
    let shard = &last.shards[3];
    assert_eq!(shard.levels[6], [table(6, "a", "z")]);
    assert!(shard.levels[..6].iter().all(Vec::is_empty));
    assert_eq!((shard.flushed_lsn, shard.flushed_seq), (300, 30));
    assert_eq!(shard.counts, [(0, 9), (7, -1)]);
    assert_eq!((last.next_file, last.seq_high_water, last.log_start), (7, 99, 100));
    assert_eq!(last.fixed["seed"], [1, 2, 3]);
    assert_eq!(last.tables().count(), 2);
    let newest_first: Vec<u64> = states[3].shards[3].levels[0].iter().map(|t| t.id).collect();
    assert_eq!(newest_first, [2, 1]);
    for seed in 0..20 {
        let after = disk.fork();
        after.power_cut(seed);
        assert_eq!(&Manifest::read(&after, dir()).unwrap(), last);
        assert_eq!(&open(&after).unwrap().1, last);
        after.power_cut(seed);
        let (manifest, state) = open(&after).unwrap();
        assert_eq!((&state, &manifest.state()), (last, last));
    }
}

#[test]
fn a_snapshot_says_the_same_as_the_records() {
    for state in lived().1 {
        let mut again = State::default();
        again.apply(&state.as_edits()).unwrap();
        assert_eq!(again, state);
    }
}

#[test]
fn cut_anywhere() {
    let (disk, states) = lived();
    let bytes = disk.bytes(&path()).unwrap();
    let ends = record_ends(&bytes);
    assert_eq!(ends.len(), states.len());
    let last = *ends.last().unwrap();
    for cut in 0..=last {
        // The file ends here, or goes on with the zeros that were reserved.
        for len in [cut, bytes.len()] {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(len, 0);
            if len < bytes.len() {
                let disk = SimDisk::new();
                disk.put(&path(), &torn);
                let error = open(&disk).unwrap_err();
                assert!(matches!(error, Error::Corrupt { .. }), "cut at {cut}: {error}");
                continue;
            }
            let disk = SimDisk::new();
            disk.put(&path(), &torn);
            // A record that ends with zeros is whole a little before its end.
            let whole = ends.iter().filter(|&&end| torn.get(..end) == bytes.get(..end)).count();
            match open(&disk) {
                Ok((manifest, state)) => {
                    assert_eq!(state, states[whole - 1], "cut at {cut}");
                    // The cut is durable and the manifest goes on.
                    manifest.commit(&[Edit::NextFile(1000)]).unwrap();
                    disk.power_cut(cut as u64);
                    let again = open(&disk).unwrap().1;
                    assert_eq!(again, State { next_file: 1000, ..state });
                }
                // The first record was synced before the file had its name.
                Err(Error::Corrupt { .. }) => assert_eq!(whole, 0, "cut at {cut}"),
                Err(e) => panic!("cut at {cut}: {e}"),
            }
        }
    }
}

#[test]
fn flipped_anywhere() {
    let (disk, states) = lived();
    let bytes = disk.bytes(&path()).unwrap();
    let ends = record_ends(&bytes);
    let [.., before_last, last] = ends[..] else { panic!() };
    let [.., old, new] = &states[..] else { panic!() };
    for offset in 0..last + 40 {
        for mask in [1, 0x80, 0xff] {
            let disk = SimDisk::new();
            disk.put(&path(), &bytes);
            disk.flip(&path(), offset as u64, mask).unwrap();
            match open(&disk) {
                Ok((_, state)) if offset >= last => assert_eq!(&state, new),
                // Not to be told from a commit that was cut short.
                Ok((_, state)) => {
                    assert!(offset >= before_last, "a flip at {offset} went unnoticed");
                    assert_eq!(&state, old);
                }
                Err(Error::Corrupt { file, .. }) => {
                    assert_eq!(file, path());
                    assert!(offset < before_last);
                }
                Err(e) => panic!("a flip at {offset}: {e}"),
            }
        }
    }
}

#[test]
fn a_newer_format_is_named_as_such() {
    let disk = SimDisk::new();
    let mut bytes = format::file(1, &State::default());
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    disk.put(&path(), &bytes);
    assert!(matches!(open(&disk), Err(Error::Incompatible(_))));
}

#[test]
fn a_lost_manifest_is_not_a_new_directory() {
    for data in ["tables/0000000001.tbl", "log/0000000001.log"] {
        let disk = SimDisk::new();
        disk.put(&dir().join(data), b"data");
        assert!(matches!(open(&disk), Err(Error::Corrupt { .. })), "{data}");
        assert!(disk.bytes(&dir().join(data)).is_ok());
    }
}

#[test]
fn edits_that_contradict_change_nothing() {
    let (disk, states) = lived();
    let (manifest, state) = open(&disk).unwrap();
    let other_seed = Edit::Fixed { name: "seed".into(), value: vec![9] };
    let flushed_less = Edit::Flushed { shard: 3, lsn: 299, seq: 30, counts: vec![] };
    for wrong in [
        remove_table(3, 6, 77),
        remove_table(3, 0, 6),
        remove_table(64, 0, 6),
        add(3, 6, 80, "z", "zzz"),
        add(3, 5, 80, "b", "a"),
        add(64, 0, 80, "a", "b"),
        other_seed,
        flushed_less,
    ] {
        let edits = [add(9, 0, 81, "a", "b"), Edit::NextFile(500), wrong];
        assert!(matches!(manifest.commit(&edits), Err(Error::Incompatible(_))), "{edits:?}");
        assert_eq!(manifest.state(), state);
        assert!(manifest.is_settled());
    }
    assert_eq!(&open(&disk).unwrap().1, states.last().unwrap());
}

/// A disk that fails for good, or once, at its n-th operation of any kind.
#[derive(Debug, Clone)]
struct Steps {
    disk: SimDisk,
    left: Arc<Mutex<Option<u64>>>,
    once: bool,
}

#[derive(Debug)]
struct StepFile(Arc<dyn DiskFile>, Steps);

impl Steps {
    fn new(disk: &SimDisk, once: bool) -> Steps {
        Steps { disk: disk.clone(), left: Arc::new(Mutex::new(None)), once }
    }

    /// Lets `n` operations pass.
    fn fail_after(&self, n: u64) {
        *self.left.lock() = Some(n);
    }

    fn has_failed(&self) -> bool {
        *self.left.lock() == if self.once { None } else { Some(0) }
    }

    fn step(&self) -> io::Result<()> {
        let mut left = self.left.lock();
        match &mut *left {
            None => Ok(()),
            Some(0) => {
                if self.once {
                    *left = None;
                }
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
        }
    }
}

impl Disk for Steps {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.step()?;
        Ok(Arc::new(StepFile(self.disk.create(path)?, self.clone())))
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(StepFile(self.disk.open(path, write)?, self.clone())))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.sync_dir(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for StepFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
    fn read_resident_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.0.read_resident_at(buf, offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Err(e) = self.1.step() {
            self.0.write_all_at(&buf[..buf.len() / 2], offset)?;
            return Err(e);
        }
        self.0.write_all_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync_data()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn map(&self) -> io::Result<Mapping> {
        self.0.map()
    }
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

/// A manifest one commit short of being replaced; and that commit.
fn about_to_rotate() -> (SimDisk, Vec<Edit>) {
    let disk = SimDisk::new();
    let (manifest, _) = open(&disk).unwrap();
    let long = "k".repeat(9000);
    for id in 0..3 {
        manifest.commit(&[add(1, 0, id + 1, &long, &long)]).unwrap();
        manifest.commit(&[remove_table(1, 0, id + 1)]).unwrap();
    }
    let end = manifest.inner.lock().current.end;
    assert!(end < STEP && end + 18_000 > STEP, "{end}");
    (disk, vec![add(1, 0, 50, &long, &long), Edit::NextFile(77)])
}

#[test]
fn rotates_when_it_has_grown() {
    let (disk, edits) = about_to_rotate();
    let (manifest, _) = open(&disk).unwrap();
    let before = disk.bytes(&path()).unwrap();
    manifest.commit(&edits).unwrap();
    let inner = manifest.inner.lock();
    assert_eq!(inner.current.snapshot_end, inner.current.end);
    assert_ne!(disk.bytes(&path()).unwrap()[..24], before[..24]);
    assert!(disk.bytes(&dir().join(TEMPORARY)).is_err());
}

#[test]
fn power_goes_at_every_step() {
    let plain = (lived().0, vec![Edit::NextFile(77), add(1, 0, 50, "a", "b")]);
    for (disk, edits) in [plain, about_to_rotate()] {
        let old = Manifest::read(&disk, dir()).unwrap();
        let mut new = old.clone();
        new.apply(&edits).unwrap();
        let mut steps = 0;
        for step in 0.. {
            let mut finished = false;
            for seed in 0..24 {
                let disk = disk.fork();
                let failing = Steps::new(&disk, false);
                let (manifest, state) = Manifest::open(Arc::new(failing.clone()), dir()).unwrap();
                assert_eq!(state, old);
                failing.fail_after(step);
                let result = manifest.commit(&edits);
                finished = !failing.has_failed();
                assert_eq!(
                    manifest.state(),
                    if result.is_ok() { new.clone() } else { old.clone() }
                );
                let settled = manifest.is_settled();
                if seed == 0 {
                    disk.kill()
                } else {
                    disk.power_cut(seed)
                }
                let back = open(&disk).unwrap().1;
                match result {
                    Ok(()) => assert_eq!(back, new),
                    Err(_) if settled => assert_eq!(back, old, "step {step}"),
                    Err(_) => assert!(back == old || back == new, "step {step}"),
                }
                // What came back stays, whatever happens next.
                disk.power_cut(seed + 100);
                assert_eq!(open(&disk).unwrap().1, back);
            }
            steps = step;
            if finished {
                break;
            }
        }
        assert!(steps >= 2);
    }
}

#[test]
fn the_first_start_cut_short() {
    for step in 0..20 {
        for seed in 0..10 {
            let disk = SimDisk::new();
            let failing = Steps::new(&disk, false);
            failing.fail_after(step);
            let done = Manifest::open(Arc::new(failing.clone()), dir()).is_ok();
            disk.power_cut(seed);
            assert_eq!(done, disk.bytes(&path()).is_ok() && done);
            assert_eq!(open(&disk).unwrap().1, State::default());
        }
    }
}

#[test]
fn one_failure_at_every_step_and_life_goes_on() {
    let plain = (lived().0, vec![add(1, 0, 50, "a", "b")]);
    for (disk, edits) in [plain, about_to_rotate()] {
        for step in 0..12 {
            let disk = disk.fork();
            let failing = Steps::new(&disk, true);
            let (manifest, old) = Manifest::open(Arc::new(failing.clone()), dir()).unwrap();
            failing.fail_after(step);
            let failed = manifest.commit(&edits).is_err();
            *failing.left.lock() = None;
            if failed {
                assert_eq!(manifest.state(), old);
                if manifest.is_settled() {
                    let fork = disk.fork();
                    fork.power_cut(step);
                    assert_eq!(open(&fork).unwrap().1, old, "step {step}");
                }
            }
            // The same id again if it failed, so that a ghost of the failed commit would be noticed.
            let next = if failed { edits.clone() } else { vec![Edit::LogStart(4000)] };
            manifest.commit(&next).unwrap();
            manifest.commit(&[Edit::LogStart(5000)]).unwrap();
            assert!(manifest.is_settled());
            let committed = manifest.state();
            disk.power_cut(step);
            assert_eq!(open(&disk).unwrap().1, committed, "step {step}");
        }
    }
}

#[test]
fn what_a_failed_sync_took_for_clean_is_not_believed_by_the_next_life() {
    for seed in 0..20 {
        let (disk, _) = lived();
        let (manifest, _) = open(&disk).unwrap();
        // A commit of which only the record was written.
        disk.fail_sync(1);
        let failing = [add(1, 0, 50, "a", "b")];
        manifest.inner.lock().state.apply(&failing).unwrap();
        let mut inner = manifest.inner.lock();
        let Current { incarnation, end, .. } = inner.current;
        manifest.write(&mut inner, &format::record(incarnation, end, &failing)).unwrap_err();
        drop(inner);
        // The process dies at once. The record is still there to be read.
        disk.kill();
        let (_, back) = open(&disk).unwrap();
        assert!(back.tables().any(|table| table.2.id == 50));
        disk.power_cut(seed);
        assert_eq!(open(&disk).unwrap().1, back, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let (disk, edits) = about_to_rotate();
    let (manifest, old) = open(&disk).unwrap();
    disk.set_capacity(Some(disk.used()));
    // No room for a new file beside the old one: what is reserved in the old one is used up first.
    let mut committed = old;
    let mut refused = false;
    let long = "k".repeat(2000);
    for id in 100..200 {
        match manifest.commit(&[add(1, 0, id, &long, &long)]) {
            Ok(()) => committed = manifest.state(),
            Err(Error::NoSpace) => {
                refused = true;
                assert!(manifest.is_settled());
                break;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused);
    assert_eq!(manifest.state(), committed);
    let fork = disk.fork();
    fork.power_cut(1);
    assert_eq!(open(&fork).unwrap().1, committed);
    disk.set_capacity(None);
    manifest.commit(&edits).unwrap();
    disk.power_cut(1);
    assert_eq!(open(&disk).unwrap().1, manifest.state());
}

#[test]
fn many_threads_commit() {
    let disk = SimDisk::new();
    let (manifest, _) = open(&disk).unwrap();
    std::thread::scope(|scope| {
        for shard in 0..4u8 {
            let manifest = &manifest;
            scope.spawn(move || {
                for n in 0..200u64 {
                    let id = n * 4 + u64::from(shard) + 1;
                    let key = format!("{id:090}");
                    manifest.commit(&[add(shard, 0, id, &key, &key)]).unwrap();
                    if n % 3 == 0 {
                        manifest.commit(&[remove_table(shard, 0, id)]).unwrap();
                    }
                }
            });
        }
    });
    let state = manifest.state();
    assert_eq!(state.tables().count(), 4 * 133);
    disk.power_cut(3);
    assert_eq!(open(&disk).unwrap().1, state);
}

/// The golden file: `FORGEKV_WRITE_GOLDEN=1 cargo test golden` writes it anew when the format version changes.
#[test]
fn golden_file() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/manifest-v1");
    let (_, states) = lived();
    let incarnation = 0x0123_4567_89ab_cdef;
    let mut bytes = format::file(incarnation, &states[5]);
    for edits in &commits()[5..] {
        let at = bytes.len() as u64;
        bytes.extend(format::record(incarnation, at, edits));
    }
    bytes.resize(bytes.len() + 16, 0);
    if std::env::var_os("FORGEKV_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &bytes).unwrap();
    }
    let kept = std::fs::read(&golden).unwrap();
    assert_eq!(kept, bytes, "version 1 is written as it always was");
    let disk = SimDisk::new();
    let mut whole = kept;
    whole.resize(STEP as usize, 0);
    disk.put(&path(), &whole);
    assert_eq!(&open(&disk).unwrap().1, states.last().unwrap());
}
