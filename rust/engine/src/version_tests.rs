use super::*;
use crate::disk::{Disk, SimDisk};
use crate::error::Error;
use crate::manifest::{Edit, Manifest};
use crate::schema::{Judge, Schema};
use crate::table::{BuildOptions, Compression, FilterKind, TableBuilder, table_path};
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;

struct Hashes;

impl Schema for Hashes {
    fn hash(&self, key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key)
    }
    fn group(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn judge(&self, _: u8) -> Box<dyn Judge> {
        unreachable!("nothing is judged here")
    }
}

type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn table(disk: &SimDisk, id: u64, entries: &Entries) -> Arc<Table> {
    let dir = Path::new("/data");
    let path = table_path(dir, id);
    let options =
        BuildOptions { block_bytes: 256, compression: Compression::Lz4, filter: FilterKind::Fuse };
    let mut builder =
        TableBuilder::new(disk.create(&path).unwrap(), &path, options, &Hashes).unwrap();
    for (key, value) in entries {
        builder.add(key, value.as_deref()).unwrap();
    }
    let meta = TableMeta { id, ..builder.finish().unwrap() };
    Table::open(disk, dir, meta).unwrap()
}

/// Keys that agree in their first sixteen bytes, are prefixes of one another, or end in zeros.
fn key(rng: &mut Rng) -> Vec<u8> {
    let beginning: &[u8] =
        [&b""[..], b"0123456789abcde", b"0123456789abcdef"][rng.below(3) as usize];
    let mut key = beginning.to_vec();
    key.extend((0..rng.below(5)).map(|_| [0, b'a', b'b', 0xff][rng.below(4) as usize]));
    key
}

#[test]
fn finds_the_newest_version_wherever_it_is() {
    let mut rng = Rng::seeded(5);
    for round in 0..60 {
        let disk = SimDisk::new();
        let mut id = 0;
        let mut model = Entries::new();
        let mut levels = Vec::new();
        for level in 0..LEVELS {
            let mut tables = Vec::new();
            let mut all = Entries::new();
            let count = rng.below(if level == 0 { 4 } else { 60 });
            if level == 0 {
                for _ in 0..count {
                    let entries: Entries = (0..rng.below(10) + 1)
                        .map(|_| (key(&mut rng), (rng.below(3) > 0).then(|| vec![id as u8])))
                        .collect();
                    id += 1;
                    for (key, value) in &entries {
                        model.entry(key.clone()).or_insert(value.clone());
                    }
                    tables.push(table(&disk, id, &entries));
                }
            } else {
                for _ in 0..count {
                    all.insert(key(&mut rng), (rng.below(4) > 0).then(|| vec![level as u8; 3]));
                }
                for (key, value) in &all {
                    model.entry(key.clone()).or_insert(value.clone());
                }
                while !all.is_empty() {
                    let n = (rng.below(5) as usize + 1).min(all.len());
                    let next = all.keys().nth(n).cloned();
                    let rest = next.map(|k| all.split_off(&k)).unwrap_or_default();
                    id += 1;
                    tables.push(table(&disk, id, &std::mem::replace(&mut all, rest)));
                }
            }
            levels.push(tables);
        }
        let version = Version::new(levels);
        let tables = version.tables().count();
        let runs: Vec<usize> = version.runs().map(<[_]>::len).collect();
        assert_eq!(runs.iter().sum::<usize>(), tables);
        assert!(runs.iter().all(|&n| n > 0));
        assert_eq!(version.resident_bytes() > 0, tables > 0);
        for _ in 0..200 {
            let key = key(&mut rng);
            let expected = model.get(&key).cloned().flatten();
            let hash = Hashes.hash(&key);
            assert_eq!(version.get(&key, hash).unwrap(), expected, "round {round}");
            for table in version.candidates(&key, hash) {
                assert!(table.meta().covers(&key));
            }
            let covered = version.tables().filter(|t| t.meta().covers(&key) && t.may_contain(hash));
            assert!(covered.map(|t| t.id()).eq(version.candidates(&key, hash).map(|t| t.id())));
        }
    }
}

#[test]
fn a_flushed_table_hides_all_others_and_leaves_old_versions_alone() {
    let disk = SimDisk::new();
    let one = |value: &str| Entries::from([(b"k".to_vec(), Some(value.into()))]);
    let hash = Hashes.hash(b"k");
    let empty = Version::new(Vec::new());
    let first = empty.with_flushed(table(&disk, 1, &one("old")));
    let second = first.with_flushed(table(&disk, 2, &one("new")));
    assert_eq!(empty.get(b"k", hash).unwrap(), None);
    assert_eq!(first.get(b"k", hash).unwrap(), Some(b"old".to_vec()));
    assert_eq!(second.get(b"k", hash).unwrap(), Some(b"new".to_vec()));
    assert_eq!(second.level(0).iter().map(|t| t.id()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(second.sizes()[0].tables, 2);
    assert!(second.level(LEVELS).is_empty());
}

#[test]
fn orphans_go_and_named_tables_stay() {
    let disk = SimDisk::new();
    let dir = Path::new("/data");
    let (manifest, _) = Manifest::open(Arc::new(disk.clone()), dir).unwrap();
    let one = Entries::from([(b"k".to_vec(), None)]);
    let named = table(&disk, 4, &one);
    table(&disk, 3, &one);
    table(&disk, 9, &one);
    let other = tables_dir(dir).join("notes.txt");
    disk.put(&other, b"not ours");
    let meta = named.meta().clone();
    manifest.commit(&[Edit::AddTable { shard: 0, level: 0, meta }]).unwrap();
    assert_eq!(remove_orphans(&disk, dir, &manifest.state()).unwrap(), 2);
    assert_eq!(remove_orphans(&disk, dir, &manifest.state()).unwrap(), 0);
    let mut left = disk.list(&tables_dir(dir)).unwrap();
    left.sort();
    assert_eq!(left, ["0000000004.tbl", "notes.txt"]);
}

#[test]
fn a_damaged_block_is_an_error_that_names_the_file() {
    let disk = SimDisk::new();
    let entries = Entries::from([(b"k".to_vec(), Some(b"v".to_vec()))]);
    table(&disk, 1, &entries);
    let path = table_path(Path::new("/data"), 1);
    disk.flip(&path, 2, 4).unwrap();
    let meta = TableMeta {
        id: 1,
        ..Table::open_unlisted(&disk, Path::new("/data"), 1).unwrap().meta().clone()
    };
    let version = Version::new(vec![vec![Table::open(&disk, Path::new("/data"), meta).unwrap()]]);
    match version.get(b"k", Hashes.hash(b"k")) {
        Err(Error::Corrupt { file, .. }) => assert_eq!(file, path),
        other => panic!("{other:?}"),
    }
}
