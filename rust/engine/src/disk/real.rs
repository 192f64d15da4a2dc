//! The operating system's files behind the [`Disk`](super::Disk) door.

#![expect(
    unsafe_code,
    reason = "mmap, preadv2, fallocate, posix_fadvise, statvfs and flock have no safe form in std"
)]

use super::{Disk, DiskFile, Mapping};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The operating system's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(write).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let path = CString::new(dir.as_os_str().as_bytes())?;
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `path` is a NUL-terminated string and `stat` is room for one statvfs.
        let done = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: statvfs returned 0, so it has filled the struct.
        let stat = unsafe { stat.assume_init() };
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn read_resident_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut done = 0;
        while done < buf.len() {
            let rest = buf.get_mut(done..).unwrap_or_default();
            let iov = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
            let at = (offset + done as u64) as libc::off_t;
            // SAFETY: `iov` describes `rest`, which is valid and exclusively ours for the call.
            let n = unsafe { libc::preadv2(self.0.as_raw_fd(), &iov, 1, at, libc::RWF_NOWAIT) };
            if n < 0 {
                let e = io::Error::last_os_error();
                return match e.raw_os_error() {
                    Some(libc::EAGAIN) | Some(libc::EOPNOTSUPP) | Some(libc::ENOSYS) => Ok(false),
                    Some(libc::EINTR) => continue,
                    _ => Err(e),
                };
            }
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += n as usize;
        }
        Ok(true)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        // SAFETY: plain system call on our own descriptor.
        let done = unsafe { libc::fallocate(self.0.as_raw_fd(), 0, 0, len as libc::off_t) };
        if done == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            // A file system without fallocate: the length alone still keeps fdatasync cheap.
            Some(libc::EOPNOTSUPP) => self.0.set_len(len.max(self.len()?)),
            _ => Err(e),
        }
    }

    fn clear(&self, len: u64) -> io::Result<()> {
        let (fd, how) = (self.0.as_raw_fd(), libc::FALLOC_FL_ZERO_RANGE);
        // SAFETY: plain system call on our own descriptor.
        let done = unsafe { libc::fallocate(fd, how, 0, len as libc::off_t) };
        if done == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Ok(()),
            _ => Err(e),
        }
    }

    fn will_not_need(&self, offset: u64, len: u64) {
        let (fd, advice) = (self.0.as_raw_fd(), libc::POSIX_FADV_DONTNEED);
        // SAFETY: plain system call on our own descriptor; it changes no bytes.
        let failed = unsafe { libc::posix_fadvise(fd, offset as i64, len as i64, advice) };
        if failed != 0 {
            tracing::debug!("advice to forget: {}", io::Error::from_raw_os_error(failed));
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn map(&self) -> io::Result<Mapping> {
        if self.len()? == 0 {
            return Ok(Mapping::Owned(Arc::from(Vec::new())));
        }
        // SAFETY: only tables are mapped; they are never written again once complete, and the engine's
        // exclusive lock on the directory keeps other ForgeKV processes away from them.
        let map = unsafe { memmap2::Mmap::map(&self.0)? };
        Ok(Mapping::Mapped(map))
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_file_keeps_its_length_and_forgetting_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        file.allocate(1 << 20).unwrap();
        file.write_all_at(&[7; 100_000], 0).unwrap();
        file.sync_data().unwrap();
        file.will_not_need(0, 65536);
        let mut bytes = vec![0; 100_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|&b| b == 7));
        file.clear(1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 20);
        file.read_exact_at(&mut bytes, 0).unwrap();
        // Zeros, or, on a file system that can't, what was there.
        assert!(bytes.iter().all(|&b| b == bytes[0]));
        file.write_all_at(&[9; 10], 5000).unwrap();
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes[4999..5011].iter().filter(|&&b| b == 9).count(), 10);
    }
}
