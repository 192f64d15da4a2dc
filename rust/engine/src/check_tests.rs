use super::{Finding, check};
use crate::Error;
use crate::corruption_tests::{Base, Left, base, files, open};
use crate::crash_tests::{Plain, model, try_contents};
use crate::disk::{Disk, SimDisk};
use crate::manifest::Manifest;
use crate::table::table_path;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/data";

fn checked(disk: &SimDisk, repair: bool) -> Vec<Finding> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    check(&disk, Path::new(DIR), &Plain, repair).unwrap()
}

/// The files of the tables that count.
fn tables(disk: &SimDisk) -> Vec<PathBuf> {
    let state = Manifest::read(disk, Path::new(DIR)).unwrap();
    state.tables().map(|(_, _, meta)| table_path(Path::new(DIR), meta.id)).collect()
}

fn damage(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.damage).collect()
}

#[test]
fn a_sound_directory_has_no_findings_and_nothing_is_changed() {
    for left in [Left::Closed, Left::Killed, Left::KilledYoung, Left::KilledAfterFailure] {
        let Base { disk, .. } = base(left);
        let before: Vec<_> = files(&disk).iter().map(|path| disk.bytes(path).unwrap()).collect();
        for repair in [false, true] {
            let findings = checked(&disk, repair);
            assert_eq!(damage(&findings), Vec::<&Finding>::new(), "{left:?}");
        }
        let after: Vec<_> = files(&disk).iter().map(|path| disk.bytes(path).unwrap()).collect();
        assert!(before == after, "{left:?}");
    }
}

#[test]
fn it_is_refused_while_somebody_has_the_directory() {
    let Base { disk, .. } = base(Left::Closed);
    let engine = open(&disk, b"").unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = check(&shared, Path::new(DIR), &Plain, true).unwrap_err();
    assert!(matches!(refused, Error::Locked(_)), "{refused}");
    engine.close().unwrap();
    drop(engine);
    assert!(check(&shared, Path::new(DIR), &Plain, true).is_ok());
    assert!(check(&shared, Path::new("/nowhere"), &Plain, false).is_err());
}

#[test]
fn every_damaged_table_is_found_and_what_is_whole_of_it_is_saved() {
    let base = base(Left::Closed);
    let whole = model(&base.history);
    let (mut saved, mut lost) = (0, 0);
    for path in tables(&base.disk) {
        let bytes = base.disk.bytes(&path).unwrap();
        for at in [40, bytes.len() / 3, bytes.len() - 60] {
            let disk = base.disk.fork();
            disk.flip(&path, at as u64, 0x11).unwrap();
            let what = format!("{} flipped at {at}", path.display());
            let found = checked(&disk, false);
            let [finding] = damage(&found)[..] else { panic!("{what}: {found:?}") };
            assert_eq!(finding.file, path, "{what}");
            assert_eq!(finding.repair, None);
            let found = checked(&disk, true);
            let report = damage(&found)[0].repair.clone().unwrap();
            assert!(report.contains("shard") || report.contains("nothing is lost"), "{report}");
            assert!(
                disk.bytes(&Path::new(DIR).join("quarantine").join(path.file_name().unwrap()))
                    .is_ok()
            );
            assert_eq!(damage(&checked(&disk, false)), Vec::<&Finding>::new(), "{what}");

            let engine = open(&disk, b"").unwrap();
            let (_, found) = try_contents(&engine).unwrap();
            assert_eq!(engine.count(7).unwrap(), found.len() as i64, "{what}");
            // Lost is lost, and what was hidden may show again; all else is as it was.
            let same = whole.iter().filter(|(key, value)| found.get(key) == Some(value)).count();
            let differ = whole.len() - same;
            assert!(differ <= 60, "{what}: {differ} of {}; {report}", whole.len());
            if differ == 0 {
                saved += 1
            } else {
                lost += 1
            }
            engine.close().unwrap();
        }
    }
    assert!(saved > 0 && lost > 0, "{saved} {lost}");
}

#[test]
fn a_table_that_is_gone_is_taken_out_of_the_manifest() {
    let base = base(Left::Killed);
    let table = tables(&base.disk).remove(0);
    base.disk.remove(&table).unwrap();
    assert!(open(&base.disk, b"").is_err());
    assert_eq!(damage(&checked(&base.disk, false))[0].file, table);
    let report = checked(&base.disk, true).remove(0).repair.unwrap();
    assert!(report.starts_with("nothing of it can be read"), "{report}");
    let engine = open(&base.disk, b"").unwrap();
    let (_, found) = try_contents(&engine).unwrap();
    assert_eq!(engine.count(7).unwrap(), found.len() as i64);
    engine.close().unwrap();
}

#[test]
fn a_damaged_log_is_cut_and_opens() {
    let base = base(Left::Closed);
    let log =
        files(&base.disk).into_iter().rfind(|p| p.to_string_lossy().ends_with(".log")).unwrap();
    let disk = base.disk.fork();
    disk.flip(&log, 4096 + 700, 4).unwrap();
    assert!(matches!(open(&disk, b""), Err(Error::Corrupt { .. })));
    let found = checked(&disk, false);
    assert_eq!(damage(&found)[0].file, log);
    let report = checked(&disk, true).pop().unwrap().repair.unwrap();
    assert!(report.starts_with("the log was cut"), "{report}");
    assert_eq!(damage(&checked(&disk, false)), Vec::<&Finding>::new());
    let engine = open(&disk, b"").unwrap();
    let (number, found) = try_contents(&engine).unwrap();
    assert!(found == model(&base.history[..number as usize]), "a prefix");
    assert!((number as usize) < base.history.len());
    engine.close().unwrap();
}

#[test]
fn a_damaged_manifest_is_named_and_left_alone() {
    let Base { disk, .. } = base(Left::Closed);
    let manifest = Path::new(DIR).join("MANIFEST");
    disk.flip(&manifest, 30, 1).unwrap();
    let before = disk.bytes(&manifest).unwrap();
    let found = checked(&disk, true);
    assert_eq!(found[0].file, manifest);
    assert!(found[0].what.contains("backup"), "{:?}", found[0]);
    assert_eq!(disk.bytes(&manifest).unwrap(), before);
}
