//! The door to the disk: every file the engine reads or writes goes through [`Disk`] and [`DiskFile`],
//! so that a simulated disk (cuts the power, tears writes, flips bits, is full or slow) can take its
//! place in tests. [`RealDisk`] is the operating system.
//!
//! Invariants that users of this door rely on:
//! 1. Bytes handed to `write_at` are readable at once by `read_at`, but survive a power cut only after
//!    `sync_data` of that file returned Ok.
//! 2. A created, renamed or linked name survives a power cut only after `sync_dir` of its directory.
//! 3. A failed `sync_data` says nothing about what is on disk; it is never simply tried again.

use std::fmt::Debug;
use std::io;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

/// A file system as the engine needs it. Paths are absolute or relative to the process.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and its parents; no error when it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The names (not paths) of the files in `dir`, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a file for reading and writing; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading, and for writing if `write`.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a hard link `to` of the file `from`.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes free for this user on the file system of `dir`.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Takes an exclusive lock on `path` (created if needed), held until the value is dropped.
    /// `Ok(None)` when somebody else holds it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `buf` from `offset`; an error of kind `UnexpectedEof` when the file is too short.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Like `read_exact_at`, but only from memory: `Ok(false)` when the bytes would have to come from
    /// the device (or when that can't be told).
    fn read_resident_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool>;
    /// Writes all of `buf` at `offset`, growing the file as needed.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the written bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves disk for the first `len` bytes and makes the file that long.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Lets go of what the first `len` bytes hold and keeps the disk under them, where the file system can: a
    /// write to a part of a block then reads nothing. Elsewhere nothing changes.
    fn clear(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }
    /// Says that a range that is durable will not be read soon: it need not take memory. Advice only.
    fn will_not_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Cuts or extends the file to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The whole file as memory. The file must not change afterwards.
    fn map(&self) -> io::Result<Mapping>;
    /// The descriptor, for io_uring; `None` for a simulated file.
    fn raw_fd(&self) -> Option<RawFd>;
}

/// A file as memory. Touching it may wait for the device: never do so on an event loop.
#[derive(Debug)]
pub enum Mapping {
    /// Mapped by the operating system.
    Mapped(memmap2::Mmap),
    /// A simulated file's bytes.
    Owned(Arc<[u8]>),
}

impl Mapping {
    /// Says that it will be read here and there: what is near a byte that is read is not read with it.
    pub fn expect_random(&self) {
        self.advise("random", |map| map.advise(memmap2::Advice::Random));
    }

    /// Asks the operating system to begin reading a range, as far as it lies inside. Does not wait.
    pub fn will_need(&self, offset: u64, len: u64) {
        let all = self.len() as u64;
        let len = len.min(all.saturating_sub(offset)) as usize;
        if len > 0 {
            let advice = memmap2::Advice::WillNeed;
            self.advise("ahead", |map| map.advise_range(advice, offset as usize, len));
        }
    }

    /// Advice: without it everything works, only slower.
    fn advise(&self, what: &str, advise: impl FnOnce(&memmap2::Mmap) -> io::Result<()>) {
        if let Mapping::Mapped(map) = self
            && let Err(e) = advise(map)
        {
            tracing::debug!("advice to read {what}: {e}");
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Mapping::Mapped(m) => m,
            Mapping::Owned(b) => b,
        }
    }
}

mod real;
pub use real::RealDisk;

#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(any(test, feature = "sim"))]
pub use sim::SimDisk;
