//! A disk in memory that does to its files what real ones do on bad days: it forgets what was not synced,
//! tears writes, fails, fills up, flips bits, is slow.
//!
//! The model, stricter than file systems usually are and no stricter than they may be:
//! - Bytes: what `sync_data` returned Ok for stays. Of later writes, a power cut keeps for each sector of
//!   512 bytes the old or the new bytes, each by itself; a changed length survives or not.
//! - Names: creations, renames, links and removals in a directory reach the disk in order; a power cut
//!   keeps the first few of those since `sync_dir`. A rename is one step.
//! - A failed `sync_data` leaves the file readable as if nothing had happened, and forgets that its bytes
//!   were to be written: a later sync answers Ok without them, as Linux does.
//!
//! A power cut ends all that was open: old handles answer with errors for ever, so that threads of the
//! world before the cut can't reach into the one after it.

use super::{Disk, DiskFile, Mapping};
use forgekv_base::rng::Rng;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SECTOR: u64 = 512;

/// The simulated disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

#[derive(Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that are not durable yet, in order.
    name_changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    /// Counts power cuts; a handle of an older epoch is dead.
    epoch: u64,
    off: bool,
    writes: u64,
    syncs: u64,
    faults: Faults,
    capacity: Option<u64>,
    cold: bool,
    read_delay: Duration,
}

#[derive(Clone, Default)]
struct Faults {
    /// The number of the write or sync that fails.
    write: Option<u64>,
    sync: Option<u64>,
    /// The number of the write in the middle of which the power goes.
    cut: Option<u64>,
}

#[derive(Clone)]
struct NameChange {
    dir: PathBuf,
    /// What is put under a name, or that it goes.
    steps: Vec<(PathBuf, Option<u64>)>,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// What is not durable yet: ranges written since the last sync.
    dirty: Vec<(u64, u64)>,
}

fn dead() -> io::Error {
    io::Error::other("the power is off")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display()))
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// An independent copy of the disk as it is now, for trying several futures. Handles stay with the
    /// original.
    pub fn fork(&self) -> SimDisk {
        let mut state = self.state.lock().clone();
        state.locks.clear();
        state.epoch += 1;
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power and switches it on again: what was not synced is lost, kept or torn as `seed` has
    /// it. Everything that was open is dead.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.state.lock();
        state.power_off();
        state.power_on(&mut Rng::seeded(seed));
    }

    /// Has the power go in the middle of the `nth` write from now (1 is the next). From then on all fails
    /// until [`power_on`](SimDisk::power_on).
    pub fn cut_at_write(&self, nth: u64) {
        let mut state = self.state.lock();
        state.faults.cut = Some(state.writes + nth);
    }

    /// Switches a disk on that has lost its power; cuts it before, if it has not.
    pub fn power_on(&self, seed: u64) {
        self.power_cut(seed);
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// Ends everything that is open, as the death of the process does. Nothing is lost, and what was to
    /// fail does not.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.faults = Faults::default();
        state.locks.clear();
    }

    /// Has the `nth` write from now (1 is the next) fail, half done.
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.state.lock();
        state.faults.write = Some(state.writes + nth);
    }

    /// Has the `nth` `sync_data` from now (1 is the next) fail.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.state.lock();
        state.faults.sync = Some(state.syncs + nth);
    }

    /// Limits the bytes of all files together; what goes beyond fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// The bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Whether reads find their bytes in memory (`read_resident_at`).
    pub fn set_cold(&self, cold: bool) {
        self.state.lock().cold = cold;
    }

    /// Makes every read that may wait for the device take this long.
    pub fn set_read_delay(&self, delay: Duration) {
        self.state.lock().read_delay = delay;
    }

    /// Inverts the bits of `mask` in the byte at `offset`, on the device and in memory.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.named(path)?;
        let at = offset as usize;
        *inode.data.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)? ^= mask;
        if let Some(byte) = inode.durable.get_mut(at) {
            *byte ^= mask;
        }
        Ok(())
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.state.lock().named(path).map(|inode| inode.data.clone())
    }

    /// Puts a whole file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let number = state.new_inode();
        let inode = Inode { data: bytes.to_vec(), durable: bytes.to_vec(), dirty: Vec::new() };
        state.inodes.insert(number, inode);
        state.names.insert(path.to_path_buf(), number);
        state.durable_names.insert(path.to_path_buf(), number);
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    fn on(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.off { Err(dead()) } else { Ok(state) }
    }

    fn file(&self, epoch: u64, inode: u64, write: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), epoch, inode, write })
    }
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn named(&mut self, path: &Path) -> io::Result<&mut Inode> {
        let number = self.names.get(path).ok_or_else(|| not_found(path))?;
        self.inodes.get_mut(number).ok_or_else(|| not_found(path))
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|n| self.inodes.get(n)).map(|i| i.data.len() as u64).sum()
    }

    /// Whether a file may grow by `more`.
    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, path: &Path, steps: Vec<(PathBuf, Option<u64>)>) {
        for (path, inode) in &steps {
            match inode {
                Some(inode) => self.names.insert(path.clone(), *inode),
                None => self.names.remove(path),
            };
        }
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.name_changes.push(NameChange { dir, steps });
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (path, inode) in &change.steps {
            match inode {
                Some(inode) => self.durable_names.insert(path.clone(), *inode),
                None => self.durable_names.remove(path),
            };
        }
    }

    fn power_off(&mut self) {
        self.off = true;
        self.epoch += 1;
        self.locks.clear();
        self.faults = Faults::default();
    }

    fn power_on(&mut self, rng: &mut Rng) {
        self.off = false;
        // Some cuts lose all, some lose nothing, most are in between.
        let keep = [0, 1, 4, 7, 8][rng.below(5) as usize];
        let mut survives = |rng: &mut Rng| rng.below(8) < keep;
        let mut kept: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for change in std::mem::take(&mut self.name_changes) {
            let ordered = kept.entry(change.dir.clone()).or_insert(true);
            *ordered = *ordered && survives(rng);
            if *ordered {
                self.make_durable(&change);
            }
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
        for inode in self.inodes.values_mut() {
            inode.lose(rng, &mut survives);
        }
    }
}

impl Inode {
    /// Resolves what a power cut leaves.
    fn lose(&mut self, rng: &mut Rng, survives: &mut dyn FnMut(&mut Rng) -> bool) {
        let Inode { data, durable, dirty } = self;
        let dirty = std::mem::take(dirty);
        if data.len() != durable.len() && survives(rng) {
            durable.resize(data.len(), 0);
        }
        for (start, end) in dirty {
            let mut at = start;
            while at < end {
                let sector_end = end.min((at / SECTOR + 1) * SECTOR);
                let range = at as usize..sector_end as usize;
                at = sector_end;
                if survives(rng)
                    && let (Some(to), Some(from)) =
                        (durable.get_mut(range.clone()), data.get(range))
                {
                    to.copy_from_slice(from);
                }
            }
        }
        *data = durable.clone();
    }

    fn sync(&mut self) {
        self.durable.resize(self.data.len(), 0);
        for (start, end) in std::mem::take(&mut self.dirty) {
            let range = start as usize..end.min(self.data.len() as u64) as usize;
            if let (Some(to), Some(from)) =
                (self.durable.get_mut(range.clone()), self.data.get(range))
            {
                to.copy_from_slice(from);
            }
        }
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.on()?.dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.on()?;
        let names: Vec<String> = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_string()))
            .collect();
        if names.is_empty() && !state.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.on()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.new_inode();
        state.inodes.insert(number, Inode::default());
        state.change_names(path, vec![(path.to_path_buf(), Some(number))]);
        Ok(self.file(state.epoch, number, true))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.on()?;
        let number = *state.names.get(path).ok_or_else(|| not_found(path))?;
        Ok(self.file(state.epoch, number, write))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        if !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        state.change_names(path, vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        let number = *state.names.get(from).ok_or_else(|| not_found(from))?;
        let steps = vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(number))];
        state.change_names(to, steps);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        let number = *state.names.get(from).ok_or_else(|| not_found(from))?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change_names(to, vec![(to.to_path_buf(), Some(number))]);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        let (done, rest) = std::mem::take(&mut state.name_changes)
            .into_iter()
            .partition(|change| change.dir == dir);
        state.name_changes = rest;
        let done: Vec<NameChange> = done;
        done.iter().for_each(|change| state.make_durable(change));
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.on()?;
        Ok(state.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.on()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        let lock = SimLock { disk: self.clone(), epoch: state.epoch, path: path.to_path_buf() };
        Ok(Some(Box::new(lock)))
    }
}

struct SimLock {
    disk: SimDisk,
    epoch: u64,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    epoch: u64,
    inode: u64,
    write: bool,
}

impl SimFile {
    /// The disk, if the handle still means anything on it.
    fn on(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.disk.on()?;
        if state.epoch == self.epoch { Ok(state) } else { Err(dead()) }
    }

    fn inode<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Inode> {
        state.inodes.get_mut(&self.inode).ok_or_else(dead)
    }

    fn writable(&self) -> io::Result<()> {
        if self.write { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.on()?;
        let data = &self.inode(&mut state)?.data;
        let from = usize::try_from(offset).ok().and_then(|at| data.get(at..)?.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn pause(&self) {
        let delay = self.disk.state.lock().read_delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.pause();
        self.read(buf, offset)
    }

    fn read_resident_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.on()?.cold {
            return Ok(false);
        }
        self.read(buf, offset).map(|()| true)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?;
        let mut state = self.on()?;
        state.writes += 1;
        let fails = state.faults.write == Some(state.writes);
        let cuts = state.faults.cut == Some(state.writes);
        let end = offset + buf.len() as u64;
        let len = self.inode(&mut state)?.data.len() as u64;
        state.room_for(end.saturating_sub(len))?;
        let buf = if fails { &buf[..buf.len() / 2] } else { buf };
        let inode = self.inode(&mut state)?;
        let end = offset + buf.len() as u64;
        if inode.data.len() < end as usize {
            inode.data.resize(end as usize, 0);
        }
        inode.data[offset as usize..end as usize].copy_from_slice(buf);
        inode.dirty.push((offset, end));
        if cuts {
            state.power_off();
            return Err(dead());
        }
        if fails {
            state.faults.write = None;
            return Err(failed());
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.on()?;
        state.syncs += 1;
        let fails = state.faults.sync == Some(state.syncs);
        let inode = self.inode(&mut state)?;
        if fails {
            inode.dirty.clear();
            state.faults.sync = None;
            return Err(failed());
        }
        inode.sync();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let mut state = self.on()?;
        let have = self.inode(&mut state)?.data.len() as u64;
        state.room_for(len.saturating_sub(have))?;
        let inode = self.inode(&mut state)?;
        inode.data.resize(have.max(len) as usize, 0);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let mut state = self.on()?;
        let have = self.inode(&mut state)?.data.len() as u64;
        state.room_for(len.saturating_sub(have))?;
        let inode = self.inode(&mut state)?;
        inode.data.resize(len as usize, 0);
        // What was cut off and grows again must not come back from the device.
        if len < have {
            inode.dirty.push((len, have));
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.on()?;
        Ok(self.inode(&mut state)?.data.len() as u64)
    }

    fn map(&self) -> io::Result<Mapping> {
        self.pause();
        let mut state = self.on()?;
        Ok(Mapping::Owned(Arc::from(self.inode(&mut state)?.data.as_slice())))
    }

    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;
