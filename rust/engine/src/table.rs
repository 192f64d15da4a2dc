//! Immutable tables: sorted files of keys and values, written once, read for ever.
//!
//! ```text
//!  | block 0 | block 1 | ... | filter | index | properties | footer |
//! ```
//!
//! What always holds:
//! 1. A table's keys ascend strictly, so it has one version of a key. A missing value is a tombstone.
//! 2. A table is complete and synced before anything names it, and is never written again.
//! 3. Every byte is under a checksum, verified before the bytes are believed: before decompression,
//!    before an offset is followed. A damaged table gives an error that names file and offset.
//! 4. Filter and index live in memory, so where a key would be is known without touching the disk;
//!    [`Table::may_contain`] and [`Table::block_for`] are for event loops, [`Table::load_block`] and
//!    [`TableCursor`] are not.
//!
//! `FORMAT.md`, "Tables", draws every byte.

mod block;
mod block_cursor;
mod builder;
mod codec;
mod cursor;
mod filter;
mod format;
mod index;
mod reader;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod test_disk;

pub use block::Block;
pub use block_cursor::BlockCursor;
pub use builder::TableBuilder;
pub use cursor::{ReadAhead, TableCursor};
pub use reader::Table;

use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::path::{Path, PathBuf};

/// How the blocks of a table are compressed. A block that does not become smaller is stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: fast both ways.
    Lz4,
    /// Zstandard at a level: smaller and slower.
    Zstd(i32),
}

/// How a table is built.
#[derive(Debug, Clone, Copy)]
pub struct BuildOptions {
    /// The size of a block before compression; 64 to 65536 bytes. Only an entry that is larger by
    /// itself makes a larger block, which it then has to itself.
    pub block_bytes: usize,
    /// The codec of the blocks.
    pub compression: Compression,
    /// What kind of filter it gets.
    pub filter: FilterKind,
}

/// How a table's filter is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// A binary fuse filter: small and rarely wrong, and dear to build.
    Fuse,
    /// A split-block Bloom filter: built at once, a little larger, wrong more often. For tables that will
    /// be merged soon.
    Bloom,
}

/// What is known of a table without opening it. The manifest keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableMeta {
    /// The number in its file name.
    pub id: u64,
    /// The length of the file.
    pub bytes: u64,
    /// How many entries it has, tombstones included.
    pub entries: u64,
    /// How many of the entries are tombstones.
    pub tombstones: u64,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
    /// Keys and values together, uncompressed.
    pub raw_bytes: u64,
}

impl TableMeta {
    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.id, self.bytes, self.entries, self.tombstones, self.raw_bytes] {
            varint::put(out, number);
        }
        for key in [&self.smallest, &self.largest] {
            varint::put(out, key.len() as u64);
            out.extend_from_slice(key);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when the bytes are anything else.
    pub fn decode(from: &mut Reader<'_>) -> Option<TableMeta> {
        Some(TableMeta {
            id: from.varint()?,
            bytes: from.varint()?,
            entries: from.varint()?,
            tombstones: from.varint()?,
            raw_bytes: from.varint()?,
            smallest: from.prefixed()?.to_vec(),
            largest: from.prefixed()?.to_vec(),
        })
    }

    /// Whether a key between `first` and `last`, both included, could be in the table.
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        self.smallest.as_slice() <= last && first <= self.largest.as_slice()
    }

    /// Whether `key` is between the table's first and last key.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.overlaps(key, key)
    }
}

/// The directory of the tables inside the engine's directory.
pub fn tables_dir(dir: &Path) -> PathBuf {
    dir.join("tables")
}

/// The file of table `id` inside the engine's directory.
pub fn table_path(dir: &Path, id: u64) -> PathBuf {
    tables_dir(dir).join(format!("{id:010}.tbl"))
}

/// The id of the table whose file has this name; `None` for any other name.
pub fn table_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".tbl")?;
    let all_digits = digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_survives_and_names_are_recognised() {
        let meta = TableMeta {
            id: 300,
            bytes: 1 << 40,
            entries: 5,
            tombstones: 2,
            smallest: Vec::new(),
            largest: b"zz".to_vec(),
            raw_bytes: 77,
        };
        let mut bytes = Vec::new();
        meta.encode(&mut bytes);
        assert_eq!(TableMeta::decode(&mut Reader::new(&bytes)), Some(meta.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(TableMeta::decode(&mut Reader::new(&bytes[..cut])), None);
        }
        assert!(meta.covers(b"") && meta.covers(b"zz") && !meta.covers(b"zz\0"));
        assert!(!meta.overlaps(b"zzz", b"zzzz"));

        let path = table_path(Path::new("/d"), 42);
        assert_eq!(path, Path::new("/d/tables/0000000042.tbl"));
        assert_eq!(table_id("0000000042.tbl"), Some(42));
        assert_eq!(table_id("12345678901.tbl"), Some(12_345_678_901));
        for other in ["42.tbl", "0000000042.log", "00000000+2.tbl", "99999999999999999999.tbl"] {
            assert_eq!(table_id(other), None, "{other}");
        }
    }
}
