//! Real tables on a simulated disk: compactions against a model, and compactions that fail.

use super::pick::LAST;
use super::*;
use crate::disk::{Disk, SimDisk};
use crate::error::{Error, Result};
use crate::manifest::{Edit, Manifest};
use crate::options::Options;
use crate::schema::{Durable, Judge, Schema, Verdict};
use crate::table::{BuildOptions, FilterKind, TableBuilder, TableMeta, table_path, tables_dir};
use crate::version::LEVELS;
use forgekv_base::rng::Rng;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Drops every value that begins with `x`; asks what is durable, as a judge would.
struct DropX;

impl Schema for DropX {
    fn hash(&self, key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(key)
    }
    fn group(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn judge(&self, _: u8) -> Box<dyn Judge> {
        Box::new(DropX)
    }
}

impl Judge for DropX {
    fn verdict(&mut self, key: &[u8], value: &[u8], tables: &dyn Durable) -> Result<Verdict> {
        let newest = tables.get(key)?;
        Ok(match value.first() {
            Some(b'x') if newest.is_none_or(|n| n.first() == Some(&b'x')) => Verdict::Drop,
            _ => Verdict::Keep,
        })
    }
}

struct Tables(Version);

impl Durable for Tables {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(key, DropX.hash(key))
    }
    fn flushed_seq(&self) -> u64 {
        0
    }
    fn synced_seq(&self) -> u64 {
        0
    }
}

type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// One shard without an engine.
struct Shard {
    disk: SimDisk,
    shared: Arc<dyn Disk>,
    manifest: Manifest,
    options: Options,
    version: Version,
    next_file: AtomicU64,
    cancel: AtomicBool,
    throttled: AtomicU64,
    /// What was flushed.
    model: Entries,
}

const SHARD: u8 = 5;

fn dir() -> &'static Path {
    Path::new("/data")
}

impl Shard {
    fn new() -> Shard {
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (manifest, _) = Manifest::open(shared.clone(), dir()).unwrap();
        Shard {
            disk,
            shared,
            manifest,
            options: Options { table_bytes: 4096, block_bytes: 256, ..Options::new(dir()) },
            version: Version::new(Vec::new()),
            next_file: AtomicU64::new(1),
            cancel: AtomicBool::new(false),
            throttled: AtomicU64::new(0),
            model: Entries::new(),
        }
    }

    fn draw(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    fn build(&self, entries: &Entries) -> Arc<Table> {
        let id = self.draw();
        let path = table_path(dir(), id);
        let options = BuildOptions {
            block_bytes: 256,
            compression: Compression::Lz4,
            filter: FilterKind::Bloom,
        };
        let file = self.disk.create(&path).unwrap();
        let mut builder = TableBuilder::new(file, &path, options, &DropX).unwrap();
        for (key, value) in entries {
            builder.add(key, value.as_deref()).unwrap();
        }
        let meta = TableMeta { id, ..builder.finish().unwrap() };
        self.disk.sync_dir(&tables_dir(dir())).unwrap();
        Table::open(&self.disk, dir(), meta).unwrap()
    }

    fn flush(&mut self, entries: Entries) {
        let table = self.build(&entries);
        let meta = table.meta().clone();
        self.manifest.commit(&[Edit::AddTable { shard: SHARD, level: 0, meta }]).unwrap();
        self.version = self.version.with_flushed(table);
        self.model.extend(entries);
    }

    /// Puts a table into a level, where it overlaps nothing.
    fn place(&mut self, level: u8, entries: Entries) -> Arc<Table> {
        let table = self.build(&entries);
        let meta = table.meta().clone();
        self.manifest.commit(&[Edit::AddTable { shard: SHARD, level, meta }]).unwrap();
        self.version =
            self.version.replace(&HashSet::new(), usize::from(level), std::slice::from_ref(&table));
        table
    }

    fn run(&self, plan: &Plan) -> Result<Outcome> {
        run(
            plan,
            SHARD,
            &mut Context {
                disk: &self.shared,
                dir: dir(),
                schema: &DropX,
                judge: &mut *DropX.judge(SHARD),
                durable: &Tables(self.version.clone()),
                options: &self.options,
                next_file: &|| self.draw(),
                cancel: &self.cancel,
                forget: &|_| {},
                throttle: &|bytes| {
                    self.throttled.fetch_add(bytes, Ordering::Relaxed);
                },
            },
        )
    }

    fn install(&mut self, plan: &Plan, outcome: Outcome) {
        self.manifest.commit(&outcome.edits).unwrap();
        self.version = self.version.with_compacted(plan, &outcome.tables);
        for table in outcome.obsolete {
            self.disk.remove(table.path()).unwrap();
        }
    }

    fn compact(&mut self, plan: &Plan) -> u64 {
        let outcome = self.run(plan).unwrap();
        let dropped = outcome.dropped;
        self.install(plan, outcome);
        dropped
    }

    fn rest(&mut self) {
        for _ in 0..1000 {
            let Some(plan) = pick(&self.version, &self.options) else { return };
            self.compact(&plan);
        }
        panic!("it never comes to rest");
    }

    /// What a key reads as; a value with `x` may be there or not.
    fn check(&self) {
        self.check_version(&self.version);
    }

    fn check_version(&self, version: &Version) {
        for (key, value) in &self.model {
            let found = version.get(key, DropX.hash(key)).unwrap();
            let droppable = value.as_ref().is_some_and(|v| v.first() == Some(&b'x'));
            assert!(&found == value || (droppable && found.is_none()), "{key:?}");
        }
        for table in version.tables() {
            table.verify(&|key| DropX.hash(key)).unwrap();
        }
        for level in 1..LEVELS {
            let disjoint = |w: &[Arc<Table>]| w[0].meta().largest < w[1].meta().smallest;
            assert!(version.level(level).windows(2).all(disjoint));
        }
    }

    /// What the disk says after a restart.
    fn reopened(&self, disk: &SimDisk) -> Version {
        let (_, state) = Manifest::open(Arc::new(disk.clone()), dir()).unwrap();
        let open = |m: &TableMeta| Table::open(disk, dir(), m.clone()).unwrap();
        let levels = state.shards[usize::from(SHARD)].levels.iter();
        Version::new(levels.map(|l| l.iter().map(open).collect()).collect())
    }

    fn files(&self) -> Vec<String> {
        let mut files = self.disk.list(&tables_dir(dir())).unwrap();
        files.sort();
        files
    }
}

fn ids(tables: &[Arc<Table>]) -> Vec<u64> {
    tables.iter().map(|t| t.id()).collect()
}

fn entries(list: &[(&str, Option<&str>)]) -> Entries {
    list.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()))).collect()
}

fn random(rng: &mut Rng, keys: u64) -> Entries {
    (0..60)
        .map(|_| {
            let key = format!("key{:05}", rng.below(keys)).into_bytes();
            let value = match rng.below(8) {
                0 | 1 => None,
                2 => Some(b"x".repeat(rng.below(90) as usize + 1)),
                3 => Some((0..rng.below(700)).map(|_| rng.below(256) as u8 | 0x80).collect()),
                n => Some(vec![n as u8; rng.below(60) as usize]),
            };
            (key, value)
        })
        .collect()
}

/// A plan for all of these levels' tables.
fn plan_of(shard: &Shard, levels: &[usize], output: usize) -> Plan {
    let inputs: Vec<_> = levels.iter().map(|&l| (l, shard.version.level(l).to_vec())).collect();
    Plan {
        inputs,
        output,
        below: (output + 1..LEVELS)
            .map(|l| shard.version.level(l).to_vec())
            .filter(|l| !l.is_empty())
            .collect(),
        moves: false,
        compression: Compression::Lz4,
        reason: Reason::Asked,
    }
}

#[test]
fn the_newest_version_wins_and_a_tombstone_stays_only_over_something() {
    let mut shard = Shard::new();
    shard.place(6, entries(&[("a", Some("oldest")), ("b", Some("below")), ("q", Some("z"))]));
    shard.place(4, entries(&[("a", Some("old")), ("c", Some("gone"))]));
    shard.flush(entries(&[("a", Some("older")), ("b", None), ("c", Some("1")), ("d", None)]));
    shard.flush(entries(&[("a", Some("new")), ("c", None), ("bb", None)]));
    let plan = plan_of(&shard, &[0, 4], 4);
    shard.compact(&plan);
    let [table] = shard.version.level(4) else { panic!() };
    // c and d have nothing below; bb is inside the lower table's range, but not in its filter.
    assert_eq!(table.meta().tombstones, 1);
    assert_eq!(table.get(b"b", DropX.hash(b"b")).unwrap(), Some(None));
    assert_eq!(table.get(b"a", DropX.hash(b"a")).unwrap(), Some(Some(b"new".to_vec())));
    assert_eq!(table.meta().entries, 2);
    shard.check();
    let plan = everything(&shard.version, &shard.options).unwrap();
    shard.compact(&plan);
    let [table] = shard.version.level(6) else { panic!() };
    assert_eq!((table.meta().entries, table.meta().tombstones), (2, 0));
    assert_eq!(shard.version.tables().count(), 1);
    assert_eq!(shard.files(), ["0000000006.tbl"]);
    shard.check();
}

#[test]
fn what_the_judge_drops_does_not_bring_older_versions_back() {
    let mut shard = Shard::new();
    shard.place(6, entries(&[("a", Some("older")), ("q", Some("z"))]));
    shard.flush(entries(&[("a", Some("x1")), ("b", Some("x2")), ("c", Some("kept"))]));
    shard.model.insert(b"a".to_vec(), None);
    shard.model.insert(b"b".to_vec(), None);
    let plan = plan_of(&shard, &[0], 5);
    assert_eq!(shard.compact(&plan), 2);
    let [table] = shard.version.level(5) else { panic!() };
    assert_eq!((table.meta().entries, table.meta().tombstones), (2, 1));
    assert_eq!(shard.version.get(b"a", DropX.hash(b"a")).unwrap(), None);
    let plan = everything(&shard.version, &shard.options).unwrap();
    shard.compact(&plan);
    shard.check();
    // All that is left goes at once.
    shard.flush(entries(&[("c", None), ("q", None)]));
    let plan = everything(&shard.version, &shard.options).unwrap();
    let outcome = shard.run(&plan).unwrap();
    assert!(outcome.tables.is_empty() && outcome.edits.len() == 2);
    shard.install(&plan, outcome);
    assert_eq!(shard.version.tables().count(), 0);
    assert!(everything(&shard.version, &shard.options).is_none());
    assert!(shard.files().is_empty());
    shard.check();
}

#[test]
fn a_move_changes_only_the_level() {
    let mut shard = Shard::new();
    let table = shard.place(3, entries(&[("a", Some("1"))]));
    let mut plan = plan_of(&shard, &[3], 5);
    plan.moves = true;
    let outcome = shard.run(&plan).unwrap();
    assert!(outcome.obsolete.is_empty() && outcome.written_bytes == 0);
    shard.install(&plan, outcome);
    assert_eq!(ids(shard.version.level(5)), [table.id()]);
    assert!(shard.version.level(3).is_empty());
    assert_eq!(ids(shard.reopened(&shard.disk).level(5)), [table.id()]);
}

#[test]
fn random_life_against_a_model() {
    let mut rng = Rng::seeded(11);
    for keys in [200, 3000] {
        let mut shard = Shard::new();
        for round in 0..250 {
            shard.flush(random(&mut rng, keys));
            match rng.below(40) {
                0 => {
                    let plan = everything(&shard.version, &shard.options).unwrap();
                    shard.compact(&plan);
                    assert!(shard.version.tables().all(|t| t.meta().tombstones == 0));
                    assert!(shard.version.level(0).is_empty());
                }
                1..20 => {}
                _ => shard.rest(),
            }
            if round % 25 == 0 {
                shard.check();
                shard.disk.kill();
                let version = shard.reopened(&shard.disk);
                for level in 0..LEVELS {
                    assert_eq!(ids(version.level(level)), ids(shard.version.level(level)));
                }
                let shared = shard.shared.clone();
                shard.manifest = Manifest::open(shared, dir()).unwrap().0;
                shard.version = version;
            }
        }
        shard.rest();
        shard.check();
        assert!(pick(&shard.version, &shard.options).is_none());
        assert_eq!(write_delay(&shard.version, &shard.options), 0);
        let tables = shard.version.tables().count();
        assert_eq!(shard.files().len(), tables);
        let used: Vec<usize> =
            (0..LEVELS).filter(|&l| !shard.version.level(l).is_empty()).collect();
        assert!(used.contains(&LAST), "{used:?}");
    }
}

#[test]
fn flushes_go_on_while_a_plan_is_carried_out() {
    let mut rng = Rng::seeded(4);
    let mut shard = Shard::new();
    (0..4).for_each(|_| shard.flush(random(&mut rng, 300)));
    let plan = pick(&shard.version, &shard.options).unwrap();
    let pinned = shard.version.clone();
    let outcome = shard.run(&plan).unwrap();
    shard.flush(random(&mut rng, 300));
    let model = shard.model.clone();
    shard.install(&plan, outcome);
    assert_eq!(shard.version.level(0).len(), 1);
    shard.check();
    // Who reads the old version still can, though its files have gone.
    assert_eq!(pinned.level(0).len(), 4);
    assert!(pinned.tables().all(|t| t.verify(&|key| DropX.hash(key)).is_ok()));
    assert_eq!(model, shard.model);
}

/// A shard with work to do, and what there was before.
fn busy() -> (Shard, Plan) {
    let mut rng = Rng::seeded(21);
    let mut shard = Shard::new();
    for _ in 0..12 {
        shard.flush(random(&mut rng, 2000));
    }
    let plan = everything(&shard.version, &shard.options).unwrap();
    (shard, plan)
}

#[test]
fn cancelled_or_failed_it_leaves_everything_as_it_was() {
    let (shard, plan) = busy();
    let files = shard.files();
    shard.cancel.store(true, Ordering::Relaxed);
    assert!(matches!(shard.run(&plan), Err(Error::Closed)));
    shard.cancel.store(false, Ordering::Relaxed);
    assert_eq!(shard.files(), files);
    let mut refused = 0;
    for nth in 1..200 {
        shard.disk.fail_write(nth);
        let by_write = shard.run(&plan);
        if by_write.is_ok() {
            break;
        }
        assert_eq!(shard.files(), files, "write {nth}");
        refused += 1;
    }
    assert!(refused > 2);
    let files = shard.files();
    for nth in 1..4 {
        shard.disk.fail_sync(nth);
        assert!(matches!(shard.run(&plan), Err(Error::Io { .. })));
        assert_eq!(shard.files(), files, "sync {nth}");
    }
    shard.check();
}

#[test]
fn a_full_disk_is_said_and_leaves_everything_as_it_was() {
    let (mut shard, plan) = busy();
    let files = shard.files();
    let used = shard.disk.used();
    for room in [0, 100, 5_000, 12_000] {
        shard.disk.set_capacity(Some(used + room));
        assert!(matches!(shard.run(&plan), Err(Error::NoSpace)), "{room}");
        assert_eq!(shard.files(), files);
        assert_eq!(shard.disk.used(), used);
    }
    shard.check();
    shard.disk.set_capacity(None);
    shard.compact(&plan);
    shard.check();
    assert!(shard.throttled.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_judge_that_cannot_tell_ends_it() {
    struct Unsure(u32);
    impl Judge for Unsure {
        fn verdict(&mut self, _: &[u8], _: &[u8], _: &dyn Durable) -> Result<Verdict> {
            self.0 -= 1;
            if self.0 == 0 {
                Err(Error::Incompatible("what is this".into()))
            } else {
                Ok(Verdict::Keep)
            }
        }
    }
    let (shard, plan) = busy();
    let files = shard.files();
    let result = run(
        &plan,
        SHARD,
        &mut Context {
            disk: &shard.shared,
            dir: dir(),
            schema: &DropX,
            judge: &mut Unsure(200),
            durable: &Tables(shard.version.clone()),
            options: &shard.options,
            next_file: &|| shard.draw(),
            cancel: &shard.cancel,
            forget: &|_| {},
            throttle: &|_| {},
        },
    );
    assert!(matches!(result, Err(Error::Incompatible(_))));
    assert_eq!(shard.files(), files);
}

#[test]
fn a_damaged_input_ends_it_and_is_named() {
    let (shard, plan) = busy();
    let files = shard.files();
    let victim = shard.version.level(0)[3].path().to_path_buf();
    let meta = shard.version.level(0)[3].meta().clone();
    shard.disk.flip(&victim, 20, 1).unwrap();
    // The mapping of the open table is a copy: open the damaged one.
    let damaged = Table::open(&shard.disk, dir(), meta).unwrap();
    let mut plan = plan;
    plan.inputs[0].1[3] = damaged;
    match shard.run(&plan) {
        Err(Error::Corrupt { file, .. }) => assert_eq!(file, victim),
        other => panic!("{other:?}"),
    }
    assert_eq!(shard.files(), files);
}

#[test]
fn the_power_goes_at_any_write_and_the_old_state_or_the_new_comes_back() {
    let (shard, _) = busy();
    let disk = shard.disk;
    for nth in 1..60 {
        for seed in 0..3 {
            let fork = disk.fork();
            let mut after =
                Shard { disk: fork.clone(), shared: Arc::new(fork.clone()), ..Shard::new() };
            after.next_file = AtomicU64::new(1000);
            after.manifest = Manifest::open(after.shared.clone(), dir()).unwrap().0;
            after.version = after.reopened(&fork);
            after.model = shard.model.clone();
            let plan = everything(&after.version, &after.options).unwrap();
            fork.cut_at_write(nth);
            let committed = match after.run(&plan) {
                Ok(outcome) => after.manifest.commit(&outcome.edits).is_ok(),
                Err(_) => false,
            };
            let finished = !fork.is_off();
            fork.power_on(seed);
            let version = after.reopened(&fork);
            let compacted = version.level(0).is_empty();
            assert!(compacted || !committed);
            after.check_version(&version);
            let (_, state) = Manifest::open(after.shared.clone(), dir()).unwrap();
            crate::version::remove_orphans(&fork, dir(), &state).unwrap();
            after.check_version(&after.reopened(&fork));
            if finished {
                assert!(committed);
                return;
            }
        }
    }
    panic!("it never finished");
}
