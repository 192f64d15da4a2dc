use super::*;

const DIR: &str = "/d";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A disk with the file "a" of 2048 durable bytes of 1.
fn disk() -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let file = disk.create(&path("a")).unwrap();
    file.write_all_at(&[1; 2048], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    (disk, file)
}

#[test]
fn what_is_synced_stays_and_the_rest_is_a_matter_of_luck_by_sector() {
    let (disk, file) = disk();
    file.write_all_at(&[2; 1024], 256).unwrap();
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.power_cut(seed);
        let bytes = disk.bytes(&path("a")).unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[2047]), (2048, 1, 1));
        // The write covers a half, a whole and a half sector.
        let sectors = [bytes[300], bytes[600], bytes[1100]];
        assert!(bytes[256..512].iter().all(|&b| b == sectors[0]));
        assert!(bytes[512..1024].iter().all(|&b| b == sectors[1]));
        assert!(bytes[1024..1280].iter().all(|&b| b == sectors[2]));
        outcomes.insert(sectors);
    }
    assert_eq!(outcomes.len(), 8);
    file.sync_data().unwrap();
    disk.power_cut(1);
    assert_eq!(disk.bytes(&path("a")).unwrap()[256..1280], [2; 1024]);
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let (disk, _) = disk();
    disk.rename(&path("a"), &path("b")).unwrap();
    disk.link(&path("b"), &path("c")).unwrap();
    disk.remove(&path("b")).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["c"]);
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.power_cut(seed);
        let mut names = disk.list(Path::new(DIR)).unwrap();
        names.sort();
        outcomes.insert(names.concat());
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "b", "bc", "c"]);
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.power_cut(1);
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["c"]);
}

#[test]
fn a_cut_ends_all_that_was_open() {
    let (disk, file) = disk();
    let lock = disk.lock(&path("lock")).unwrap();
    assert!(lock.is_some() && disk.lock(&path("lock")).unwrap().is_none());
    disk.cut_at_write(2);
    file.write_all_at(&[3], 0).unwrap();
    assert!(file.write_all_at(&[3], 1).is_err());
    assert!(disk.is_off() && disk.open(&path("a"), false).is_err());
    disk.power_on(0);
    assert!(file.len().is_err());
    let again = disk.lock(&path("lock")).unwrap();
    drop(lock);
    assert!(again.is_some() && disk.lock(&path("lock")).unwrap().is_none());
    assert_eq!(disk.open(&path("a"), false).unwrap().len().unwrap(), 2048);
}

#[test]
fn writes_and_syncs_fail_on_demand() {
    let (disk, file) = disk();
    disk.fail_write(2);
    file.write_all_at(&[2; 4], 0).unwrap();
    assert!(file.write_all_at(&[3; 4], 0).is_err());
    assert_eq!(disk.bytes(&path("a")).unwrap()[..4], [3, 3, 2, 2]);
    disk.fail_sync(1);
    assert!(file.sync_data().is_err());
    // The trap of real systems: the next one is Ok, and the bytes are not there.
    file.sync_data().unwrap();
    disk.power_cut(0);
    assert_eq!(disk.bytes(&path("a")).unwrap()[..4], [1; 4]);
}

#[test]
fn a_full_disk_says_so_and_frees_what_is_removed() {
    let (disk, file) = disk();
    disk.set_capacity(Some(4096));
    assert_eq!(disk.free_space(Path::new(DIR)).unwrap(), 2048);
    file.allocate(4096).unwrap();
    let other = disk.create(&path("b")).unwrap();
    let error = other.write_all_at(&[1], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(other.allocate(1).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    file.write_all_at(&[1; 4096], 0).unwrap();
    disk.remove(&path("a")).unwrap();
    other.write_all_at(&[1], 0).unwrap();
}

#[test]
fn reads_can_be_cold_slow_short_and_flipped() {
    let (disk, file) = disk();
    let mut buf = [0; 4];
    assert!(file.read_resident_at(&mut buf, 0).unwrap());
    disk.set_cold(true);
    assert!(!file.read_resident_at(&mut buf, 0).unwrap());
    disk.set_read_delay(Duration::from_millis(5));
    let start = std::time::Instant::now();
    file.read_exact_at(&mut buf, 2044).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(5));
    let short = file.read_exact_at(&mut buf, 2045).unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    disk.flip(&path("a"), 7, 0x80).unwrap();
    assert_eq!(file.map().unwrap()[7], 0x81);
    assert!(disk.flip(&path("a"), 2048, 1).is_err());
    let reader = disk.open(&path("a"), false).unwrap();
    assert!(reader.write_all_at(&[1], 0).is_err());
    assert!(disk.create(&path("a")).is_err());
}
