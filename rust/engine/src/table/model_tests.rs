//! Tables against a `BTreeMap` that holds the same.

use super::block::Block;
use super::test_disk::*;
use super::{BlockCursor, Compression, Table, TableCursor};
use crate::disk::{Disk, RealDisk};
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
type Found = Option<(Vec<u8>, Option<Vec<u8>>)>;

/// Keys of few letters, so that prefixes, neighbours and misses are common.
fn random_key(rng: &mut Rng, style: u64) -> Vec<u8> {
    let mut key = match style {
        0 => Vec::new(),
        1 => b"a long beginning that all keys share, longer than 128 bytes, so that its length \
               takes two bytes where it is stored: 0123456789 0123456789 0123456789"
            .to_vec(),
        _ => rng.below(300).to_be_bytes().to_vec(),
    };
    let len = rng.below(if style == 0 { 7 } else { 4 });
    key.extend((0..len).map(|_| [0, 1, b'a', 0xff][rng.below(4) as usize]));
    key
}

fn random_value(rng: &mut Rng, block_bytes: usize) -> Option<Vec<u8>> {
    let len = match rng.below(20) {
        0 | 1 => return None,
        2..4 => 0,
        4 => rng.below(3 * block_bytes as u64),
        5 => 120 + rng.below(16),
        _ => rng.below(24),
    };
    let letter = rng.below(256) as u8;
    let noisy = rng.below(2) == 0;
    Some((0..len).map(|_| if noisy { rng.below(256) as u8 } else { letter }).collect())
}

fn random_model(rng: &mut Rng, entries: u64, block_bytes: usize) -> Model {
    let style = rng.below(3);
    (0..entries).map(|_| (random_key(rng, style), random_value(rng, block_bytes))).collect()
}

fn entries(model: &Model) -> Entries {
    model.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn ceiling(model: &Model, key: &[u8]) -> Found {
    let range = (Included(key), Unbounded);
    model.range::<[u8], _>(range).next().map(|(k, v)| (k.clone(), v.clone()))
}

fn floor(model: &Model, key: &[u8]) -> Found {
    let range = (Unbounded, Included(key));
    model.range::<[u8], _>(range).next_back().map(|(k, v)| (k.clone(), v.clone()))
}

fn here(cursor: &BlockCursor) -> Found {
    cursor.valid().then(|| (cursor.key().to_vec(), cursor.value().map(<[u8]>::to_vec)))
}

/// The keys of the model, and keys just before and after them.
fn probes(rng: &mut Rng, model: &Model) -> Vec<Vec<u8>> {
    let mut probes: Vec<Vec<u8>> = vec![Vec::new(), vec![0xff; 200]];
    for key in model.keys() {
        if model.len() > 200 && rng.below(8) > 0 {
            continue;
        }
        probes.push(key.clone());
        probes.push([key.as_slice(), &[0]].concat());
        probes.push([key.as_slice(), &[0xff; 9]].concat());
        let mut shorter = key.clone();
        if let Some(last) = shorter.pop() {
            probes.push(shorter.clone());
            shorter.push(last.wrapping_sub(1));
            probes.push(shorter);
        }
    }
    probes
}

/// Finds the first key at or after `key` as `Table::block_for` says it has to be done.
fn table_seek(table: &Table, key: &[u8]) -> BlockCursor {
    let block = table.block_for(key).unwrap_or(table.blocks() - 1);
    let mut cursor = BlockCursor::new(table.load_block(block).unwrap());
    cursor.seek(key);
    if !cursor.valid() && block + 1 < table.blocks() {
        cursor.reset(table.load_block(block + 1).unwrap());
        cursor.first();
    }
    cursor
}

/// The last key at or before `key`, likewise.
fn table_seek_back(table: &Table, key: &[u8]) -> BlockCursor {
    let block = table.block_for(key).unwrap_or(table.blocks() - 1);
    let mut cursor = BlockCursor::new(table.load_block(block).unwrap());
    cursor.seek_back(key);
    if !cursor.valid() && block > 0 {
        cursor.reset(table.load_block(block - 1).unwrap());
        cursor.last();
    }
    cursor
}

fn check_table(rng: &mut Rng, table: &Table, model: &Model) {
    table.verify(&hash).unwrap();
    let meta = table.meta();
    assert_eq!(meta.entries, model.len() as u64);
    assert_eq!(meta.tombstones, model.values().filter(|v| v.is_none()).count() as u64);
    let value_len = |v: &Option<Vec<u8>>| v.as_ref().map_or(0, Vec::len);
    let raw: usize = model.iter().map(|(k, v)| k.len() + value_len(v)).sum();
    assert_eq!(meta.raw_bytes, raw as u64);
    let keys = model.keys().next().zip(model.keys().next_back());
    assert_eq!(keys, Some((&meta.smallest, &meta.largest)));

    for key in probes(rng, model) {
        let expected = model.get(&key);
        if expected.is_some() {
            assert!(table.may_contain(hash(&key)) && meta.covers(&key));
        }
        let found = table.block_for(&key).map(|no| table.load_block(no).unwrap());
        let found = found.as_ref().and_then(|block| block.get(&key));
        assert_eq!(found, expected.map(Option::as_deref), "{key:?}");
        assert_eq!(table.get(&key, hash(&key)).unwrap(), expected.cloned());
        assert_eq!(here(&table_seek(table, &key)), ceiling(model, &key), "{key:?}");
        assert_eq!(here(&table_seek_back(table, &key)), floor(model, &key), "{key:?}");
    }
    for no in 0..table.blocks() {
        check_block(rng, table.load_block(no).unwrap());
    }
}

/// A block walked from end to end gives the model for what is asked of it then.
fn check_block(rng: &mut Rng, block: Block) {
    let mut model = Model::new();
    let mut cursor = BlockCursor::new(block.clone());
    assert!(!cursor.valid() && cursor.key().is_empty() && cursor.value().is_none());
    cursor.next();
    cursor.prev();
    assert!(!cursor.valid());
    cursor.first();
    while let Some((key, value)) = here(&cursor) {
        assert!(model.last_key_value().is_none_or(|(last, _)| *last < key));
        model.insert(key, value);
        cursor.next();
    }
    assert_eq!(model.len(), block.len());
    let mut backwards = Vec::new();
    cursor.last();
    while let Some(entry) = here(&cursor) {
        backwards.push(entry);
        cursor.prev();
    }
    backwards.reverse();
    assert_eq!(backwards, entries(&model));

    for key in probes(rng, &model) {
        assert_eq!(block.get(&key), model.get(&key).map(Option::as_deref));
        let mut expected = ceiling(&model, &key);
        cursor.seek(&key);
        assert_eq!(here(&cursor), expected, "{key:?} in {model:?}");
        // And a few steps from there, either way.
        for _ in 0..rng.below(4) {
            let Some((at, _)) = &expected else { break };
            let at = at.clone();
            let mut next = model.range::<[u8], _>((Excluded(at.as_slice()), Unbounded));
            let mut back = model.range::<[u8], _>((Unbounded, Excluded(at.as_slice())));
            let step = if rng.below(2) == 0 {
                cursor.next();
                next.next()
            } else {
                cursor.prev();
                back.next_back()
            };
            expected = step.map(|(k, v)| (k.clone(), v.clone()));
            assert_eq!(here(&cursor), expected);
        }
        cursor.seek_back(&key);
        assert_eq!(here(&cursor), floor(&model, &key), "{key:?} in {model:?}");
    }
}

#[test]
fn answers_as_a_sorted_map_does() {
    let mut rng = Rng::seeded(20);
    for round in 0..48 {
        let block_bytes = [64, 256, 4096, 1 << 16][round % 4];
        let count = [1, 2, 17, 400][rng.below(4) as usize];
        let model = random_model(&mut rng, count, block_bytes);
        for codec in CODECS {
            let disk = MemDisk::default();
            let table = make_table(&disk, 3, &entries(&model), options(block_bytes, codec));
            check_table(&mut rng, &table, &model);
            for no in 0..table.blocks() {
                let block = table.load_block(no).unwrap();
                let room = block_bytes + size_of::<Block>() + 16;
                assert!(block.bytes() <= room || block.len() == 1, "{block:?}");
                // Read as io_uring would.
                let (offset, len) = table.block_span(no);
                let mut raw = vec![0; len as usize];
                table.file().read_exact_at(&mut raw, offset).unwrap();
                table.decode_block(no, &raw).unwrap();
                assert!(table.decode_block(no, &raw[1..]).is_err());
            }
        }
    }
}

#[test]
fn a_table_cursor_walks_and_seeks_over_a_run() {
    let mut rng = Rng::seeded(21);
    for _ in 0..20 {
        let model = random_model(&mut rng, 600, 256);
        let disk = MemDisk::default();
        let all = entries(&model);
        let mut tables = Vec::new();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (some, left) = rest.split_at((1 + rng.below(200) as usize).min(rest.len()));
            let codec = CODECS[rng.below(3) as usize];
            let id = tables.len() as u64;
            tables.push(make_table(&disk, id, &some.to_vec(), options(256, codec)));
            rest = left;
        }
        let bytes: u64 = tables
            .iter()
            .map(|t| (0..t.blocks()).map(|b| u64::from(t.block_span(b).1)).sum::<u64>())
            .sum();
        let mut cursor = TableCursor::new(tables);
        assert!(!cursor.valid());
        cursor.first().unwrap();
        for (key, value) in &all {
            assert!(cursor.valid());
            assert_eq!((cursor.key(), cursor.value()), (key.as_slice(), value.as_deref()));
            cursor.next().unwrap();
        }
        assert!(!cursor.valid() && cursor.loaded_bytes() == bytes);
        cursor.next().unwrap();
        for key in probes(&mut rng, &model) {
            cursor.seek(&key).unwrap();
            let mut expected = model.range::<[u8], _>((Included(key.as_slice()), Unbounded));
            for _ in 0..3 {
                let found = cursor.valid().then(|| (cursor.key(), cursor.value()));
                let step = expected.next().map(|(k, v)| (k.as_slice(), v.as_deref()));
                assert_eq!(found, step);
                cursor.next().unwrap();
            }
        }
    }
    let mut nothing = TableCursor::new(Vec::new());
    nothing.first().unwrap();
    nothing.seek(b"x").unwrap();
    assert!(!nothing.valid());
}

#[test]
fn large_values_have_blocks_of_their_own() {
    let mut rng = Rng::seeded(22);
    let mut noise = vec![0; 10 << 20];
    rng.fill(&mut noise);
    let mut model = Model::new();
    model.insert(b"a".to_vec(), Some(b"small".to_vec()));
    model.insert(b"b".to_vec(), Some(noise));
    model.insert(b"c".to_vec(), Some(vec![7; 10 << 20]));
    model.insert(b"d".to_vec(), None);
    model.insert(vec![b'e'; 100_000], Some(Vec::new()));
    model.insert(b"f".to_vec(), Some(Vec::new()));
    for codec in CODECS {
        let disk = MemDisk::default();
        let table = make_table(&disk, 1, &entries(&model), options(4096, codec));
        assert_eq!(table.blocks(), 6);
        check_table(&mut rng, &table, &model);
        assert!(codec == Compression::None || table.meta().bytes < 11 << 20);
    }
}

#[test]
fn an_empty_table_and_one_of_the_empty_key() {
    let disk = MemDisk::default();
    let empty = make_table(&disk, 1, &Vec::new(), options(4096, Compression::Lz4));
    empty.verify(&hash).unwrap();
    assert_eq!((empty.blocks(), empty.block_for(b""), empty.get(b"", 0).unwrap()), (0, None, None));
    let mut cursor = TableCursor::new(vec![empty]);
    cursor.first().unwrap();
    cursor.seek(b"").unwrap();
    assert!(!cursor.valid());

    let model = Model::from([(Vec::new(), Some(Vec::new()))]);
    let table = make_table(&disk, 2, &entries(&model), options(4096, Compression::Lz4));
    check_table(&mut Rng::seeded(1), &table, &model);
}

#[test]
fn a_table_on_the_real_disk() {
    let dir = std::env::temp_dir().join(format!("fkv-table-{}", std::process::id()));
    let disk = RealDisk;
    disk.create_dir_all(&super::tables_dir(&dir)).unwrap();
    let model = random_model(&mut Rng::seeded(23), 5000, 4096);
    let path = super::table_path(&dir, 9);
    let file = disk.create(&path).unwrap();
    let options = options(4096, Compression::Zstd(1));
    let mut builder = super::TableBuilder::new(file, &path, options, &TestSchema).unwrap();
    for (key, value) in &model {
        builder.add(key, value.as_deref()).unwrap();
    }
    let meta = super::TableMeta { id: 9, ..builder.finish().unwrap() };
    let table = Table::open(&disk, &dir, meta).unwrap();
    check_table(&mut Rng::seeded(24), &table, &model);
    let unlisted = Table::open_unlisted(&disk, &dir, 9).unwrap();
    assert_eq!(unlisted.meta(), table.meta());
    // A table outlives its name.
    disk.remove(&path).unwrap();
    std::thread::scope(|s| {
        for seed in 0..2 {
            let (table, model) = (Arc::clone(&table), &model);
            s.spawn(move || check_table(&mut Rng::seeded(seed), &table, model));
        }
    });
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
#[should_panic(expected = "must ascend")]
fn keys_out_of_order_are_refused() {
    let same = vec![(b"a".to_vec(), None), (b"a".to_vec(), None)];
    make_table(&MemDisk::default(), 1, &same, options(4096, Compression::None));
}

#[test]
fn filter_and_index_stay_small() {
    let all: Entries = (0..200_000u64)
        .map(|i| {
            let key = [&[0, 0, 0, 0][..], &(i << 44 | i).to_be_bytes(), b"user:12345"].concat();
            (key, Some(vec![i as u8; 60]))
        })
        .collect();
    let table = make_table(&MemDisk::default(), 1, &all, options(4096, Compression::Lz4));
    let per_key = table.resident_bytes() as f64 * 8.0 / all.len() as f64;
    // 9.3 bits of filter; 17 bytes of index for each 46 entries.
    assert!(per_key < 12.5, "{per_key} bits a key");
}

/// `cargo test --release -p forgekv-engine table_speed -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn table_speed() {
    use forgekv_base::clock::monotonic_us;
    fn time<T>(what: &str, times: usize, mut f: impl FnMut(usize) -> T) {
        let mut best = u64::MAX;
        for _ in 0..5 {
            let start = monotonic_us();
            for i in 0..times {
                std::hint::black_box(f(i));
            }
            best = best.min(monotonic_us() - start);
        }
        println!("{what:50} {:9.1} ns", best as f64 * 1000.0 / times as f64);
    }
    let mut rng = Rng::seeded(40);
    let count = 200_000u64;
    let all: Entries = (0..count)
        .map(|i| {
            let name = format!("key:{i:012}");
            let key = [&[0, 0, 0, 7][..], &(i << 40).to_be_bytes(), name.as_bytes()].concat();
            let mut value = vec![b'v'; 64];
            rng.fill(&mut value[..32]);
            (key, Some(value))
        })
        .collect();
    let order: Vec<usize> = (0..100_000).map(|_| rng.below(count) as usize).collect();
    for codec in CODECS {
        let disk = MemDisk::default();
        let start = monotonic_us();
        let meta = write_table(&disk, 1, &all, options(4096, codec), None).unwrap();
        let spent = monotonic_us() - start;
        println!(
            "\n{codec:?}: {} bytes of {}; built in {} ns an entry",
            meta.bytes,
            meta.raw_bytes,
            spent * 1000 / count
        );
        let table = Table::open(&disk, super::test_disk::dir(), meta).unwrap();
        println!("{} blocks, resident {} bytes", table.blocks(), table.resident_bytes());
        let block = table.load_block(10).unwrap();
        let mut keys = Vec::new();
        let mut cursor = BlockCursor::new(block.clone());
        cursor.first();
        while cursor.valid() {
            keys.push(cursor.key().to_vec());
            cursor.next();
        }
        let n = keys.len();
        println!("{n} entries in a block");
        time("Block::get, hit, warm", 100_000, |i| block.get(&keys[(i * 7) % n]).is_some());
        let misses: Vec<Vec<u8>> = keys.iter().map(|k| [k, &b"x"[..]].concat()).collect();
        time("Block::get, miss, warm", 100_000, |i| block.get(&misses[(i * 7) % n]).is_some());
        time("BlockCursor::seek, warm", 100_000, |i| cursor.seek(&keys[(i * 7) % n]));
        let blocks: Vec<Block> =
            (0..table.blocks()).map(|b| table.load_block(b).unwrap()).collect();
        time("block_for + Block::get, random over the table", order.len(), |i| {
            let key = &all[order[i]].0;
            blocks[table.block_for(key).unwrap() as usize].get(key).is_some()
        });
        time("block_for, random", order.len(), |i| table.block_for(&all[order[i]].0));
        time("may_contain, random", order.len(), |i| table.may_contain(hash(&all[order[i]].0)));
        time("load_block, random", order.len(), |i| {
            table.load_block(order[i] as u32 % table.blocks()).unwrap().len()
        });
        let mut cursor = TableCursor::new(vec![Arc::clone(&table)]);
        time("TableCursor, a step", count as usize, |i| {
            if i == 0 { cursor.first() } else { cursor.next() }.unwrap();
            cursor.key().len() + cursor.value().unwrap_or_default().len()
        });
    }
}
