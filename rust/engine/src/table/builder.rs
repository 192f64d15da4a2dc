//! Writes a table, one entry after the other in ascending order.

use super::block::{BlockWriter, MAX_BLOCK};
use super::codec::Sealer;
use super::filter;
use super::format::Footer;
use super::index::IndexWriter;
use super::{BuildOptions, Compression, FilterKind, TableMeta};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::schema::Schema;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is handed to the operating system at once.
const WRITE: usize = 256 * 1024;

/// Writes a table. Nothing of it may be used before [`finish`](Self::finish) has returned; a builder
/// that is dropped or has failed leaves a file for the caller to remove.
pub struct TableBuilder<'a> {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    schema: &'a dyn Schema,
    block_bytes: usize,
    filter: FilterKind,
    sealer: Sealer,
    block: BlockWriter,
    index: IndexWriter,
    hashes: Vec<u64>,
    /// The last key that was added.
    last: Vec<u8>,
    /// Bytes that are complete but not written yet.
    pending: Vec<u8>,
    written: u64,
    meta: TableMeta,
}

impl<'a> TableBuilder<'a> {
    /// A builder that writes to the empty `file`, which errors call `path`. The schema supplies the
    /// hashes for the filter.
    pub fn new(
        file: Arc<dyn DiskFile>,
        path: &Path,
        options: BuildOptions,
        schema: &'a dyn Schema,
    ) -> Result<TableBuilder<'a>> {
        Ok(TableBuilder {
            file,
            path: path.to_path_buf(),
            schema,
            block_bytes: options.block_bytes.clamp(64, MAX_BLOCK),
            filter: options.filter,
            sealer: Sealer::new(options.compression)?,
            block: BlockWriter::default(),
            index: IndexWriter::default(),
            hashes: Vec::new(),
            last: Vec::new(),
            pending: Vec::new(),
            written: 0,
            meta: TableMeta::default(),
        })
    }

    /// Appends an entry; `None` is a tombstone. Keys must ascend strictly.
    ///
    /// # Panics
    /// When `key` is not larger than the one before: the table would be wrong for ever.
    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let first = self.meta.entries == 0;
        assert!(first || self.last.as_slice() < key, "the keys of a table must ascend");
        let most = BlockWriter::most(key, value);
        if most > u32::MAX as usize / 2 {
            let e =
                io::Error::new(io::ErrorKind::InvalidInput, format!("an entry of {most} bytes"));
            return Err(Error::io(format!("writing {}", self.path.display()), &e));
        }
        if !self.block.is_empty() && self.block.size() + most > self.block_bytes {
            self.finish_block()?;
        }
        if self.block.is_empty() {
            self.index.fence(&self.last, key);
        }
        self.block.add(key, value);
        self.hashes.push(self.schema.hash(key));
        if first {
            self.meta.smallest = key.to_vec();
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.meta.entries += 1;
        self.meta.tombstones += u64::from(value.is_none());
        self.meta.raw_bytes += (key.len() + value.unwrap_or_default().len()) as u64;
        Ok(())
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.meta.entries
    }

    /// Roughly the length of the file if it were finished now. The entries of the unfinished block
    /// count with their raw size.
    pub fn size_estimate(&self) -> u64 {
        let filter = self.hashes.len() * 9 / 8;
        self.position() + (self.block.size() + self.index.size() + filter) as u64
    }

    /// Writes the rest and makes the file's bytes durable; its name becomes so when the caller syncs
    /// the directory. The caller sets the id.
    pub fn finish(mut self) -> Result<TableMeta> {
        if !self.block.is_empty() {
            self.finish_block()?;
        }
        self.sealer = Sealer::new(Compression::None)?;
        let data = self.position();
        let filter = filter::build(std::mem::take(&mut self.hashes), self.filter);
        let filter = self.section(&filter)?;
        let index = std::mem::take(&mut self.index).finish();
        let index = self.section(&index)?;
        self.meta.largest = std::mem::take(&mut self.last);
        let mut properties = Vec::new();
        self.meta.encode(&mut properties);
        let properties = self.section(&properties)?;
        self.pending.extend_from_slice(&Footer { data, filter, index, properties }.encode());
        self.write()?;
        self.file
            .sync_data()
            .map_err(|e| Error::io(format!("syncing {}", self.path.display()), &e))?;
        self.meta.bytes = self.written;
        Ok(self.meta)
    }

    fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn finish_block(&mut self) -> Result<()> {
        let at = self.position();
        self.sealer.seal(self.block.finish(), at, &mut self.pending)?;
        self.block.clear();
        self.index.block((self.position() - at) as usize);
        if self.pending.len() >= WRITE { self.write() } else { Ok(()) }
    }

    /// Appends a sealed piece and gives its length.
    fn section(&mut self, raw: &[u8]) -> Result<u32> {
        let at = self.position();
        self.sealer.seal(raw, at, &mut self.pending)?;
        let len = self.position() - at;
        u32::try_from(len).map_err(|_| {
            let e = io::Error::new(io::ErrorKind::InvalidData, "filter or index beyond 4 GiB");
            Error::io(format!("writing {}", self.path.display()), &e)
        })
    }

    fn write(&mut self) -> Result<()> {
        self.file
            .write_all_at(&self.pending, self.written)
            .map_err(|e| Error::io(format!("writing {}", self.path.display()), &e))?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(4 * WRITE);
        Ok(())
    }
}
