//! What the table tests share: a disk in memory, a schema, and tables made of lists.

use super::{BuildOptions, Compression, FilterKind, Table, TableBuilder, TableMeta, table_path};
use crate::disk::{Disk, DiskFile, Mapping};
use crate::error::Result;
use crate::schema::{Judge, Schema};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

pub(super) const CODECS: [Compression; 3] =
    [Compression::None, Compression::Lz4, Compression::Zstd(1)];

#[derive(Debug)]
pub(super) struct TestSchema;

pub(super) fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

impl Schema for TestSchema {
    fn hash(&self, key: &[u8]) -> u64 {
        hash(key)
    }
    fn group(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn judge(&self, _: u8) -> Box<dyn Judge> {
        unreachable!("tables do not judge")
    }
}

#[derive(Debug, Default)]
pub(super) struct MemFile {
    bytes: Mutex<Vec<u8>>,
    /// How many writes and syncs still succeed, if not all.
    allowed: Mutex<Option<u32>>,
}

impl MemFile {
    fn spend(&self) -> io::Result<()> {
        match &mut *self.allowed.lock() {
            Some(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl DiskFile for MemFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.lock();
        let from = bytes.get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn read_resident_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buf, offset).map(|()| true)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.spend()?;
        let mut bytes = self.bytes.lock();
        let end = offset as usize + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(buf);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.spend()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(len as usize, 0);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
    fn map(&self) -> io::Result<Mapping> {
        Ok(Mapping::Owned(Arc::from(self.bytes.lock().as_slice())))
    }
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

#[derive(Debug, Default)]
pub(super) struct MemDisk {
    files: Mutex<HashMap<PathBuf, Arc<MemFile>>>,
}

impl MemDisk {
    fn file(&self, path: &Path) -> io::Result<Arc<MemFile>> {
        self.files.lock().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn read(&self, path: &Path) -> Vec<u8> {
        self.file(path).unwrap().bytes.lock().clone()
    }

    pub(super) fn put(&self, path: &Path, bytes: &[u8]) {
        let file = MemFile { bytes: Mutex::new(bytes.to_vec()), ..Default::default() };
        self.files.lock().insert(path.to_path_buf(), Arc::new(file));
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock();
        let names = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|p| Some(p.file_name()?.to_str()?.to_string())).collect())
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.put(path, b"");
        Ok(self.file(path)?)
    }
    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path)?)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path);
        Ok(())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("tables are not renamed")
    }
    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("tables are not linked")
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

pub(super) fn dir() -> &'static Path {
    Path::new("/d")
}

pub(super) fn options(block_bytes: usize, compression: Compression) -> BuildOptions {
    BuildOptions { block_bytes, compression, filter: FilterKind::Fuse }
}

/// Writes table `id`, whose writes and syncs fail after the first `allowed`.
pub(super) fn write_table(
    disk: &MemDisk,
    id: u64,
    entries: &Entries,
    options: BuildOptions,
    allowed: Option<u32>,
) -> Result<TableMeta> {
    let path = table_path(dir(), id);
    disk.put(&path, b"");
    let file = disk.file(&path).unwrap();
    *file.allowed.lock() = allowed;
    let mut builder = TableBuilder::new(file, &path, options, &TestSchema)?;
    for (key, value) in entries {
        builder.add(key, value.as_deref())?;
    }
    assert_eq!(builder.entries(), entries.len() as u64);
    let estimate = builder.size_estimate();
    let meta = TableMeta { id, ..builder.finish()? };
    // Good enough to decide when a table is full: a block may shrink, the small parts are not counted.
    let room = 4 * options.block_bytes as u64 + 1000 + meta.entries + meta.bytes / 8;
    assert!(estimate.abs_diff(meta.bytes) <= room, "estimated {estimate}, is {}", meta.bytes);
    Ok(meta)
}

pub(super) fn make_table(
    disk: &MemDisk,
    id: u64,
    entries: &Entries,
    o: BuildOptions,
) -> Arc<Table> {
    let meta = write_table(disk, id, entries, o, None).unwrap();
    Table::open(disk, dir(), meta).unwrap()
}
