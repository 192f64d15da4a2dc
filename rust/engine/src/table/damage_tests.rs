//! Damaged, cut and foreign files: an error that says where, or the data as it was; never anything else.

use super::block::BlockWriter;
use super::test_disk::*;
use super::{Block, BlockCursor, Compression, Table, TableCursor, TableMeta, table_path};
use crate::error::{Error, Result};
use forgekv_base::rng::Rng;
use std::sync::Arc;

/// A small table with all that can be in one: several blocks, groups and kinds of entries.
fn sample() -> Entries {
    let mut entries: Entries = vec![(Vec::new(), Some(b"the empty key".to_vec()))];
    for i in 0..60u32 {
        let value = match i % 7 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("value {i} {}", "x".repeat(i as usize)).into_bytes()),
        };
        entries.push((format!("key/{:04}", i * 3).into_bytes(), value));
    }
    entries.push((vec![0xff; 20], Some(b"the largest key".to_vec())));
    entries
}

/// Everything a table has to give, through each of its doors.
fn read_all(disk: &MemDisk, listed: Option<&TableMeta>, keys: &Entries) -> Result<Entries> {
    let table = match listed {
        Some(meta) => Table::open(disk, dir(), meta.clone())?,
        None => Table::open_unlisted(disk, dir(), 1)?,
    };
    let mut found = Vec::new();
    let mut cursor = TableCursor::new(vec![Arc::clone(&table)]);
    cursor.first()?;
    while cursor.valid() {
        found.push((cursor.key().to_vec(), cursor.value().map(<[u8]>::to_vec)));
        cursor.next()?;
    }
    for (key, value) in keys {
        assert_eq!(table.get(key, hash(key))?.as_ref(), Some(value));
    }
    Ok(found)
}

fn assert_corrupt(error: &Error, len: usize) {
    match error {
        Error::Corrupt { file, offset, .. } => {
            assert_eq!(*file, table_path(dir(), 1));
            assert!(*offset <= len as u64, "{error}");
        }
        other => panic!("not an error that says where: {other}"),
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let entries = sample();
    for codec in CODECS {
        let disk = MemDisk::default();
        let meta = write_table(&disk, 1, &entries, options(256, codec), None).unwrap();
        let path = table_path(dir(), 1);
        let good = disk.read(&path);
        assert_eq!(read_all(&disk, Some(&meta), &entries).unwrap(), entries);
        assert_eq!(read_all(&disk, None, &entries).unwrap(), entries);
        for at in 0..good.len() {
            for change in [0x01, 0x80, 0xff, good[at]] {
                let mut bad = good.clone();
                bad[at] ^= change;
                if bad == good {
                    continue;
                }
                disk.put(&path, &bad);
                for listed in [Some(&meta), None] {
                    let error = read_all(&disk, listed, &entries).unwrap_err();
                    assert_corrupt(&error, good.len());
                }
            }
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let entries = sample();
    let disk = MemDisk::default();
    let meta = write_table(&disk, 1, &entries, options(256, Compression::Lz4), None).unwrap();
    let path = table_path(dir(), 1);
    let good = disk.read(&path);
    for len in 0..good.len() {
        for (cut, listed) in [
            (good[..len].to_vec(), Some(&meta)),
            (good[..len].to_vec(), None),
            (good[len..].to_vec(), None),
        ] {
            if cut == good {
                continue;
            }
            disk.put(&path, &cut);
            let error = read_all(&disk, listed, &entries).unwrap_err();
            assert_corrupt(&error, good.len());
        }
    }
    for more in [&b"\0"[..], &good] {
        disk.put(&path, &[&good, more].concat());
        assert_corrupt(&read_all(&disk, Some(&meta), &entries).unwrap_err(), good.len());
        assert_corrupt(&read_all(&disk, None, &entries).unwrap_err(), 2 * good.len());
    }
    // Zeros where the file system lost a page.
    for page in good.chunks(64).enumerate().map(|(i, _)| i * 64) {
        let mut bad = good.clone();
        let end = (page + 64).min(bad.len());
        bad[page..end].fill(0);
        disk.put(&path, &bad);
        assert_corrupt(&read_all(&disk, Some(&meta), &entries).unwrap_err(), good.len());
    }
}

#[test]
fn another_table_under_this_name_is_noticed() {
    let mut entries = sample();
    let disk = MemDisk::default();
    let meta = write_table(&disk, 1, &entries, options(256, Compression::None), None).unwrap();
    entries[5].1 = Some(b"another".to_vec());
    write_table(&disk, 1, &entries, options(256, Compression::None), None).unwrap();
    assert_corrupt(&Table::open(&disk, dir(), meta).unwrap_err(), 1 << 20);
}

/// Should damage ever pass a checksum: an error or a wrong answer, but no panic and no endless walk.
#[test]
fn a_block_of_any_bytes_is_harmless() {
    let mut rng = Rng::seeded(30);
    let entries = sample();
    let mut writer = BlockWriter::default();
    for (key, value) in &entries {
        writer.add(key, value.as_deref());
    }
    let good = writer.finish().to_vec();
    assert_eq!(Block::new(Arc::from(good.as_slice())).unwrap().len(), entries.len());
    let mut accepted = 0;
    for round in 0..20_000 {
        let mut bad = good.clone();
        if round % 4 == 0 {
            bad.drain(..rng.below(good.len() as u64 + 1) as usize);
        }
        for _ in 0..rng.below(4) {
            // The entries' numbers and the ends are the interesting places.
            let from_end = rng.below(2) == 0;
            let at = rng.below(bad.len().clamp(1, 200) as u64) as usize;
            let at = if from_end { bad.len().saturating_sub(at + 1) } else { at };
            if let Some(byte) = bad.get_mut(at) {
                *byte = [0, 1, 0x7f, 0x80, 0xff, rng.below(256) as u8][rng.below(6) as usize];
            }
        }
        let Ok(block) = Block::new(Arc::from(bad)) else { continue };
        accepted += 1;
        let mut cursor = BlockCursor::new(block.clone());
        cursor.first();
        let mut steps = 0;
        while cursor.valid() {
            cursor.next();
            steps += 1;
        }
        assert_eq!(steps, block.len());
        for (key, _) in &entries {
            block.get(key);
            cursor.seek(key);
            cursor.prev();
            cursor.seek_back(key);
            assert!(cursor.key().len() + cursor.value().unwrap_or_default().len() < 2 * good.len());
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = Table::open(&MemDisk::default(), dir(), TableMeta { id: 1, ..Default::default() });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("/d/tables/0000000001.tbl"), "{text}");
}

#[test]
fn a_failed_write_or_sync_fails_the_table() {
    let entries = sample();
    let options = options(256, Compression::None);
    for allowed in 0..2 {
        let disk = MemDisk::default();
        let error = write_table(&disk, 1, &entries, options, Some(allowed)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Io { .. }) && text.contains("0000000001.tbl"), "{text}");
    }
    assert!(write_table(&MemDisk::default(), 1, &entries, options, Some(2)).is_ok());
}

/// The files of format 1 stay readable for ever, and are still written the same. The compressed
/// blocks may come out differently when a compressor's version changes, so those are only read.
#[test]
fn the_golden_files_hold_what_they_held() {
    let entries = sample();
    for (name, codec) in [
        ("table-1-plain.tbl", Compression::None),
        ("table-1-lz4.tbl", Compression::Lz4),
        ("table-1-zstd.tbl", Compression::Zstd(1)),
    ] {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/").to_string() + name;
        let disk = MemDisk::default();
        write_table(&disk, 1, &entries, options(256, codec), None).unwrap();
        let path = table_path(dir(), 1);
        let now = disk.read(&path);
        if std::env::var_os("FORGEKV_WRITE_GOLDEN").is_some() {
            std::fs::write(&golden, &now).unwrap();
        }
        let then = std::fs::read(&golden).unwrap();
        assert!(codec != Compression::None || then == now, "{name} would be written differently");
        disk.put(&path, &then);
        assert_eq!(read_all(&disk, None, &entries).unwrap(), entries, "{name}");
        Table::open_unlisted(&disk, dir(), 1).unwrap().verify(&hash).unwrap();
    }
}
