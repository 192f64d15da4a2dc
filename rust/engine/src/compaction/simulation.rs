//! A shard under load, with tables that are lists: how much space and writing the picker's choices cost, and
//! that it comes to rest.

use super::pace::debt_of;
use super::pick::{LAST, choose};
use crate::options::Options;
use crate::table::TableMeta;
use crate::version::{LEVELS, LevelSize};
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;

/// A record and a tombstone on disk, in bytes.
const RECORD: u64 = 100;
const TOMBSTONE: u64 = 20;
/// Entries of a memtable when it is flushed: an eighth of a table.
const FLUSH: usize = 80;

type Entries = Vec<(u32, Option<u32>)>;

struct Table {
    meta: TableMeta,
    entries: Entries,
}

fn length(entries: &Entries) -> u64 {
    entries.iter().map(|(_, v)| if v.is_some() { RECORD } else { TOMBSTONE }).sum()
}

fn table(entries: Entries) -> Table {
    let key = |at: Option<&(u32, Option<u32>)>| at.unwrap().0.to_be_bytes().to_vec();
    let meta = TableMeta {
        bytes: length(&entries),
        entries: entries.len() as u64,
        tombstones: entries.iter().filter(|(_, v)| v.is_none()).count() as u64,
        smallest: key(entries.first()),
        largest: key(entries.last()),
        ..TableMeta::default()
    };
    Table { meta, entries }
}

struct Shard {
    options: Options,
    levels: Vec<Vec<Table>>,
    memtable: BTreeMap<u32, Option<u32>>,
    model: BTreeMap<u32, u32>,
    version: u32,
    flushed: u64,
    compacted: u64,
    largest_job: u64,
    space: Vec<f64>,
    most_debt: u64,
}

impl Shard {
    fn new() -> Shard {
        Shard {
            options: Options { table_bytes: 64 << 10, ..Options::new("/data") },
            levels: (0..LEVELS).map(|_| Vec::new()).collect(),
            memtable: BTreeMap::new(),
            model: BTreeMap::new(),
            version: 0,
            flushed: 0,
            compacted: 0,
            largest_job: 0,
            space: Vec::new(),
            most_debt: 0,
        }
    }

    fn put(&mut self, key: u32) {
        self.version += 1;
        self.model.insert(key, self.version);
        self.write(key, Some(self.version));
    }

    fn delete(&mut self, key: u32) {
        self.model.remove(&key);
        self.write(key, None);
    }

    fn write(&mut self, key: u32, value: Option<u32>) {
        self.memtable.insert(key, value);
        if self.memtable.len() >= FLUSH {
            self.flush();
            self.most_debt = self.most_debt.max(debt_of(&self.sizes(), &self.options));
            self.rest(10_000);
            let live = self.model.len() as u64 * RECORD;
            self.space.push(self.bytes() as f64 / live.max(1) as f64);
        }
    }

    fn flush(&mut self) {
        let entries: Entries = std::mem::take(&mut self.memtable).into_iter().collect();
        if !entries.is_empty() {
            self.flushed += length(&entries);
            self.levels[0].insert(0, table(entries));
        }
    }

    fn bytes(&self) -> u64 {
        self.levels.iter().flatten().map(|t| t.meta.bytes).sum()
    }

    fn sizes(&self) -> [LevelSize; LEVELS] {
        std::array::from_fn(|level| LevelSize::of(self.levels[level].iter().map(|t| &t.meta)))
    }

    /// Compacts until nothing is left to do.
    fn rest(&mut self, most: usize) {
        for _ in 0..most {
            let sizes = self.sizes();
            let tables = |level: usize| self.levels[level].iter().map(|t| &t.meta).collect();
            let Some(choice) = choose(&sizes, &tables, &self.options) else { return };
            assert!(choice.inputs.iter().any(|(_, places)| !places.is_empty()), "{choice:?}");
            let mut merged = BTreeMap::new();
            let mut job = 0;
            let mut moved = Vec::new();
            for (level, places) in choice.inputs.iter().cloned() {
                if level == 0 {
                    assert_eq!(places.end, self.levels[0].len(), "the oldest are among them");
                }
                for table in self.levels[level].drain(places) {
                    job += table.meta.bytes;
                    if choice.moves {
                        moved.push(table);
                    } else {
                        for (key, value) in table.entries {
                            merged.entry(key).or_insert(value);
                        }
                    }
                }
            }
            if !choice.moves {
                merged.retain(|key, value| value.is_some() || self.lies_below(choice.output, *key));
                self.largest_job = self.largest_job.max(job);
                let mut entries = Entries::new();
                for entry in merged {
                    entries.push(entry);
                    if length(&entries) >= self.options.table_bytes {
                        moved.push(table(std::mem::take(&mut entries)));
                    }
                }
                if !entries.is_empty() {
                    moved.push(table(entries));
                }
                self.compacted += moved.iter().map(|t| t.meta.bytes).sum::<u64>();
            }
            let output = &mut self.levels[choice.output];
            output.extend(moved);
            output.sort_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
            assert!(output.windows(2).all(|w| w[0].meta.largest < w[1].meta.smallest));
        }
        panic!("it never comes to rest");
    }

    fn lies_below(&self, output: usize, key: u32) -> bool {
        self.levels[output + 1..]
            .iter()
            .flatten()
            .any(|t| t.entries.binary_search_by_key(&key, |e| e.0).is_ok())
    }

    fn check(&self) {
        let mut seen = BTreeMap::new();
        let newest_first = self.levels.iter().flatten().flat_map(|t| &t.entries);
        for (key, value) in self.memtable.iter().map(|(k, v)| (*k, *v)).chain(newest_first.copied())
        {
            seen.entry(key).or_insert(value);
        }
        let seen: BTreeMap<u32, u32> =
            seen.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        assert!(seen == self.model, "the newest version of every key");
    }

    fn report(&mut self, what: &str) -> (f64, f64, f64) {
        self.check();
        let space = std::mem::take(&mut self.space);
        let average = space.iter().sum::<f64>() / space.len().max(1) as f64;
        let most = space.iter().copied().fold(0.0, f64::max);
        let writes = 1.0 + self.compacted as f64 / self.flushed.max(1) as f64;
        let shape: Vec<String> = self
            .levels
            .iter()
            .map(|l| format!("{}/{}K", l.len(), l.iter().map(|t| t.meta.bytes).sum::<u64>() >> 10))
            .collect();
        println!(
            "{what:32} space {average:.2} (at most {most:.2}), writes {writes:.1}, largest job {} KiB, \
             most debt {} KiB, levels {}",
            self.largest_job >> 10,
            self.most_debt >> 10,
            shape.join(" ")
        );
        (self.flushed, self.compacted, self.largest_job, self.most_debt) = (0, 0, 0, 0);
        (average, most, writes)
    }

    fn tombstones(&self) -> u64 {
        self.levels.iter().flatten().map(|t| t.meta.tombstones).sum()
    }

    /// The writer stops: what is left is compacted, and then there is peace.
    fn idle(&mut self) {
        self.flush();
        self.rest(10_000);
        let sizes = self.sizes();
        let tables = |level: usize| self.levels[level].iter().map(|t| &t.meta).collect();
        assert_eq!(choose(&sizes, &tables, &self.options), None);
        assert_eq!(debt_of(&sizes, &self.options), 0);
        self.check();
    }
}

#[test]
fn uniform_overwrites() {
    let mut rng = Rng::seeded(1);
    for (keys, rounds, most_writes) in
        [(2_000u64, 40, 12.0), (20_000, 10, 20.0), (100_000, 2, 30.0)]
    {
        let mut shard = Shard::new();
        let mut load: Vec<u32> = (0..keys as u32).map(|k| k.wrapping_mul(2_654_435_761)).collect();
        for at in (1..load.len()).rev() {
            load.swap(at, rng.below(at as u64 + 1) as usize);
        }
        load.iter().for_each(|&key| shard.put(key));
        let (_, _, writes) = shard.report(&format!("load of {keys}"));
        assert!(writes < most_writes);
        for _ in 0..keys * rounds {
            shard.put(load[rng.below(keys) as usize]);
        }
        let (average, most, writes) = shard.report(&format!("overwrites of {keys}"));
        let (average_limit, limit) = if keys < 10_000 { (1.25, 1.6) } else { (1.2, 1.35) };
        assert!(average < average_limit && most < limit && writes < most_writes);
        shard.idle();
    }
}

#[test]
fn a_sequential_load_is_written_about_twice() {
    let mut shard = Shard::new();
    (0..100_000).for_each(|key| shard.put(key));
    let (average, _, writes) = shard.report("sequential load");
    assert!(average < 1.02 && writes < 2.2);
    shard.idle();
}

#[test]
fn hot_keys_and_cold_ones() {
    let mut rng = Rng::seeded(2);
    let mut shard = Shard::new();
    (0..50_000u32).for_each(|key| shard.put(key.reverse_bits()));
    shard.report("load of 50000");
    for _ in 0..400_000 {
        let range = if rng.below(10) < 9 { 500 } else { 50_000 };
        shard.put((rng.below(range) as u32).reverse_bits());
    }
    let (average, most, _) = shard.report("nine of ten to 1 % of the keys");
    assert!(average < 1.2 && most < 1.35);
    shard.idle();
}

#[test]
fn deleted_data_gives_its_space_back() {
    let mut rng = Rng::seeded(3);
    let mut shard = Shard::new();
    let keys: Vec<u32> = (0..60_000u32).map(u32::reverse_bits).collect();
    keys.iter().for_each(|&key| shard.put(key));
    for &key in &keys[..50_000] {
        shard.delete(key);
    }
    shard.report("five of six deleted");
    shard.idle();
    let live = shard.model.len() as u64 * RECORD;
    assert!(shard.bytes() < live * 3 / 2, "{} for {live}", shard.bytes());
    // A queue: written at one end, deleted at the other.
    let mut queue = Shard::new();
    for key in 0..200_000u32 {
        queue.put(key);
        if key >= 1000 && rng.below(100) < 99 {
            queue.delete(key - 1000);
        }
    }
    queue.report("a queue");
    queue.idle();
    let live = queue.model.len() as u64 * RECORD;
    assert!(queue.bytes() < live * 2, "{} for {live}", queue.bytes());
    assert!(queue.tombstones() * 2 < queue.model.len() as u64);
    // All gone.
    let left: Vec<u32> = queue.model.keys().copied().collect();
    left.into_iter().for_each(|key| queue.delete(key));
    queue.idle();
    assert!(queue.levels[1..LAST].iter().all(Vec::is_empty));
    assert!(queue.bytes() < 20 * RECORD * FLUSH as u64, "{}", queue.bytes());
}
