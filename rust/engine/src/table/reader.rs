//! An open table: its file, mapped, and its filter and index in memory.

use super::block::Block;
use super::codec::unseal;
use super::filter::Filter;
use super::format::Parts;
use super::index::Index;
use super::{BlockCursor, ReadAhead, TableMeta, table_path};
use crate::disk::{Disk, DiskFile, Mapping};
use crate::error::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open table. Immutable, shared by [`Arc`].
pub struct Table {
    meta: TableMeta,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    map: Mapping,
    filter: Filter,
    index: Index,
}

impl Table {
    /// Opens the table that `meta` describes in the engine's directory `dir`. Everything outside the
    /// blocks is verified, and must agree with `meta`.
    pub fn open(disk: &dyn Disk, dir: &Path, meta: TableMeta) -> Result<Arc<Table>> {
        Table::open_path(disk, table_path(dir, meta.id), meta.id, Some(meta))
    }

    /// Opens table `id` as its file says it is: for a check, or when the manifest is lost.
    pub fn open_unlisted(disk: &dyn Disk, dir: &Path, id: u64) -> Result<Arc<Table>> {
        Table::open_path(disk, table_path(dir, id), id, None)
    }

    fn open_path(
        disk: &dyn Disk,
        path: PathBuf,
        id: u64,
        listed: Option<TableMeta>,
    ) -> Result<Arc<Table>> {
        let failed = |e| Error::io(format!("opening {}", path.display()), &e);
        let file = disk.open(&path, false).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound if listed.is_some() => {
                Error::corrupt(&path, 0, "the manifest lists this table, but there is no such file")
            }
            _ => failed(e),
        })?;
        let len = file.len().map_err(failed)?;
        if let Some(listed) = &listed
            && listed.bytes != len
        {
            let what = format!("{len} bytes long, but {} are listed for it", listed.bytes);
            return Err(Error::corrupt(&path, len.min(listed.bytes), what));
        }
        let map = file.map().map_err(failed)?;
        let parts = Parts::read(&map, &path)?;
        let meta = TableMeta { id, ..parts.meta };
        if listed.is_some_and(|listed| listed != meta) {
            let what = "the properties are not those that the manifest lists";
            return Err(Error::corrupt(&path, parts.properties_at, what));
        }
        let Some(filter) = Filter::read(&parts.filter) else {
            return Err(Error::corrupt(&path, parts.filter_at, "not a filter"));
        };
        let Some(index) = Index::read(&parts.index, parts.data) else {
            return Err(Error::corrupt(&path, parts.index_at, "not an index of these blocks"));
        };
        if (index.blocks() == 0) != (meta.entries == 0) {
            return Err(Error::corrupt(
                &path,
                parts.index_at,
                "entries without blocks, or blocks without",
            ));
        }
        map.expect_random();
        Ok(Arc::new(Table { meta, path, file, map, filter, index }))
    }

    /// What the manifest knows of it.
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// The number in its file name.
    pub fn id(&self) -> u64 {
        self.meta.id
    }

    /// Its file's path, for errors and for removing it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its file, for reads that do not go through the mapping.
    pub fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Memory that filter, index and bookkeeping take. The mapping is not counted: its pages are the
    /// operating system's to drop.
    pub fn resident_bytes(&self) -> usize {
        size_of::<Table>()
            + self.path.as_os_str().len()
            + self.meta.smallest.capacity()
            + self.meta.largest.capacity()
            + self.filter.resident_bytes()
            + self.index.resident_bytes()
    }

    /// Whether a key with this hash (by the schema) may be in the table. From memory.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// The only block that can hold `key`; `None` when `key` is larger than every key of the table.
    /// From memory.
    ///
    /// The index knows where blocks part, not where exactly they begin and end. So for a position: the
    /// first key at or after `key` is in this block or, if it has none, is the first of the next one;
    /// the last key at or before `key` is in this block or is the last of the previous one. And when
    /// the answer is `None`, the last key of the table is the last one before `key`.
    #[inline]
    pub fn block_for(&self, key: &[u8]) -> Option<u32> {
        if self.meta.entries == 0 || key > self.meta.largest.as_slice() {
            return None;
        }
        Some(self.index.find(key))
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u32 {
        self.index.blocks()
    }

    /// Where in the file a block lies: what has to be read for [`decode_block`](Self::decode_block).
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block_span(&self, block: u32) -> (u64, u32) {
        match self.index.span(block) {
            Some(span) => span,
            None => panic!("block {block} of {} in {}", self.blocks(), self.path.display()),
        }
    }

    /// Makes a block of the bytes of its span: verified first, then decompressed.
    pub fn decode_block(&self, block: u32, raw: &[u8]) -> Result<Block> {
        let (offset, len) = self.block_span(block);
        if raw.len() != len as usize {
            let what = format!("{} bytes read of a block of {len}", raw.len());
            return Err(Error::corrupt(&self.path, offset, what));
        }
        let data = unseal(raw, &self.path, offset)?;
        Block::new(data).map_err(|what| Error::corrupt(&self.path, offset, what))
    }

    /// Loads a block through the mapping. This may wait for the device: never on an event loop.
    pub fn load_block(&self, block: u32) -> Result<Block> {
        let (offset, len) = self.block_span(block);
        let raw = usize::try_from(offset)
            .ok()
            .and_then(|start| self.map.get(start..)?.get(..len as usize))
            .unwrap_or_default();
        self.decode_block(block, raw)
    }

    /// Lets the operating system begin to read `len` bytes of the file, for who is going to load them.
    /// Does not wait.
    pub fn read_ahead(&self, offset: u64, len: u64) {
        self.map.will_need(offset, len);
    }

    /// Looks `key` up through the mapping: `Some(None)` for a tombstone. This may wait for the device:
    /// never on an event loop.
    pub fn get(&self, key: &[u8], hash: u64) -> Result<Option<Option<Vec<u8>>>> {
        if !self.may_contain(hash) {
            return Ok(None);
        }
        let Some(block) = self.block_for(key) else { return Ok(None) };
        let block = self.load_block(block)?;
        Ok(block.get(key).map(|value| value.map(<[u8]>::to_vec)))
    }

    /// Reads everything and verifies what opening does not: every block, the order of the keys, that
    /// filter and index find each of them, and the counts. `hash` is the schema's.
    pub fn verify(&self, hash: &dyn Fn(&[u8]) -> u64) -> Result<()> {
        let mut counted =
            TableMeta { id: self.meta.id, bytes: self.meta.bytes, ..Default::default() };
        let mut ahead = ReadAhead::default();
        for no in 0..self.blocks() {
            ahead.reach(self, no);
            let (offset, _) = self.block_span(no);
            let wrong = |what: &str| Err(Error::corrupt(&self.path, offset, what));
            let mut cursor = BlockCursor::new(self.load_block(no)?);
            cursor.first();
            while cursor.valid() {
                let key = cursor.key();
                if counted.entries == 0 {
                    counted.smallest = key.to_vec();
                } else if counted.largest.as_slice() >= key {
                    return wrong("keys out of order");
                }
                if self.block_for(key) != Some(no) {
                    return wrong("a key that the index looks for in another block");
                }
                if !self.may_contain(hash(key)) {
                    return wrong("a key that the filter denies");
                }
                if cursor.block().get(key) != Some(cursor.value()) {
                    return wrong("a key that a look-up does not find");
                }
                counted.largest.clear();
                counted.largest.extend_from_slice(key);
                counted.entries += 1;
                counted.tombstones += u64::from(cursor.value().is_none());
                counted.raw_bytes += (key.len() + cursor.value().unwrap_or_default().len()) as u64;
                cursor.next();
            }
        }
        if counted != self.meta {
            let what = "the properties do not agree with the blocks";
            return Err(Error::corrupt(&self.path, self.meta.bytes, what));
        }
        Ok(())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("meta", &self.meta)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
