//! The segments as files: making them, keeping a few for reuse, removing them.
//!
//! A segment gets its name (`NNNNNNNNNN.log`, ascending) only when its header and its whole length are
//! durable, so that a later append can neither meet a full disk nor leave half a header behind. A
//! released segment becomes `NNNNNNNNNN.spare`; its new header is written only when that name is
//! durable, so that no power cut can bring the old name back with a new header inside.

use super::format::SegmentHeader;
use super::{FRAME_HEADER, MIN_SPARES, SEGMENT_HEADER};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One segment, open for writing.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub incarnation: u64,
    pub base: u64,
    pub capacity: u64,
    /// Whether it is of the usual size, so that it can be used again.
    standard: bool,
}

impl Segment {
    /// The lsn after the last byte that fits: where the next segment begins.
    pub(super) fn end(&self) -> u64 {
        self.base + self.capacity
    }

    /// The lsn up to which batches fit; after it is the room for the frame that seals the segment.
    pub(super) fn batch_end(&self) -> u64 {
        self.end() - FRAME_HEADER as u64
    }

    /// Whether, still empty, it takes `room` bytes, a frame's header included.
    pub(super) fn takes(&self, room: u64) -> bool {
        room + FRAME_HEADER as u64 <= self.capacity
    }

    /// From which lsn on the next segment is prepared: half full; at once for one of unusual size,
    /// which was made to be filled by a single batch.
    pub(super) fn prepare_at(&self) -> u64 {
        if self.standard { self.base + self.capacity / 2 } else { self.base }
    }

    /// Where `lsn` is in the file.
    pub(super) fn offset(&self, lsn: u64) -> u64 {
        SEGMENT_HEADER + (lsn - self.base)
    }
}

/// A segment that still counts, with the lsn where what it holds ends.
#[derive(Debug)]
struct Live {
    path: PathBuf,
    base: u64,
    end: u64,
    standard: bool,
}

#[derive(Debug, Default)]
struct Names {
    /// Ascending.
    live: Vec<Live>,
    spares: Vec<PathBuf>,
    next_number: u64,
    /// How many segments were live at once of late.
    needed: usize,
    /// Whether segments are made by writing zeros: a spare saves that.
    zeroed: bool,
}

impl Names {
    fn has_enough(&self) -> bool {
        let wanted = if self.zeroed { self.needed.saturating_sub(self.live.len()) } else { 0 };
        self.spares.len() >= wanted.max(MIN_SPARES)
    }
}

/// The directory of the log.
#[derive(Debug)]
pub(super) struct Store {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    /// The capacity of a usual segment.
    pub standard: u64,
    names: Mutex<Names>,
}

/// A segment to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub header: SegmentHeader,
    /// Whether the bytes are written as zeros instead of only being reserved: then a sync has no
    /// metadata to write.
    pub zero: bool,
}

/// The number in a file name with this ending.
pub(super) fn number_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    if digits.len() < 10 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl Store {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, standard: u64) -> Store {
        Store { disk, dir, standard, names: Mutex::new(Names::default()) }
    }

    /// No file made from now on gets a number below `number`.
    pub(super) fn number_from(&self, number: u64) {
        let mut names = self.names.lock();
        names.next_number = names.next_number.max(number);
    }

    /// Takes note of a segment found at recovery.
    pub(super) fn adopt(&self, path: PathBuf, base: u64, end: u64) {
        // Only whole segments are reused, and this one was cut.
        self.names.lock().live.push(Live { path, base, end, standard: false });
    }

    /// Takes note of a spare found at recovery; removes it when it is of no use.
    pub(super) fn adopt_spare(&self, path: PathBuf) {
        let len = self.disk.open(&path, false).and_then(|file| file.len());
        if len.is_ok_and(|len| len == SEGMENT_HEADER + self.standard) {
            let mut names = self.names.lock();
            names.spares.push(path);
            names.needed += 1;
        } else {
            self.remove(&path);
        }
    }

    /// Fewer spares are kept as time goes by: to be called now and then, or, with `most` 0, when the disk is
    /// full.
    pub(super) fn trim(&self, most: usize) {
        let mut names = self.names.lock();
        names.needed = names.needed.saturating_sub(1).max(names.live.len());
        let mut gone = Vec::new();
        while let Some(last) = names.spares.pop() {
            if names.spares.len() < most && !names.has_enough() {
                names.spares.push(last);
                break;
            }
            gone.push(last);
        }
        drop(names);
        gone.iter().for_each(|path| self.remove(path));
    }

    /// Makes a segment, durably, under its name. It counts as live from now on.
    pub(super) fn make(&self, plan: &Plan) -> Result<Arc<Segment>> {
        let standard = plan.header.capacity == self.standard;
        let (number, spare) = {
            let mut names = self.names.lock();
            names.next_number += 1;
            (names.next_number, if standard { names.spares.pop() } else { None })
        };
        let path = self.dir.join(format!("{number:010}.log"));
        let raw = match &spare {
            Some(spare) => spare.clone(),
            None => self.dir.join(format!("{number:010}.new")),
        };
        let file = self.make_file(plan, &raw, spare.is_some(), &path).inspect_err(|_| {
            // Whichever name it has by now; what stays behind is removed by the next open, and is
            // void by then: a later segment joins where this one would have.
            self.remove(&raw);
            self.remove(&path);
        })?;
        let SegmentHeader { incarnation, base, capacity, .. } = plan.header;
        let mut names = self.names.lock();
        names.live.push(Live { path: path.clone(), base, end: base + capacity, standard });
        names.needed = names.needed.max(names.live.len());
        names.zeroed = plan.zero;
        drop(names);
        Ok(Arc::new(Segment { path, file, incarnation, base, capacity, standard }))
    }

    fn make_file(
        &self,
        plan: &Plan,
        raw: &Path,
        recycled: bool,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>> {
        let doing = |what: &str| format!("{what} the log segment {}", raw.display());
        let file = if recycled {
            self.sync_dir()?;
            let file = self.disk.open(raw, true).map_err(|e| Error::io(doing("reusing"), &e))?;
            if !plan.zero {
                let len = SEGMENT_HEADER + plan.header.capacity;
                file.clear(len).map_err(|e| Error::io(doing("clearing"), &e))?;
            }
            file
        } else {
            let file = self.disk.create(raw).map_err(|e| Error::io(doing("creating"), &e))?;
            let len = SEGMENT_HEADER + plan.header.capacity;
            file.allocate(len).map_err(|e| Error::io(doing("reserving disk for"), &e))?;
            if plan.zero {
                const CHUNK: u64 = 256 << 10;
                let zeros = vec![0; CHUNK.min(len) as usize];
                let mut at = 0;
                while at < len {
                    let chunk = zeros.get(..(len - at).min(CHUNK) as usize).unwrap_or(&zeros);
                    file.write_all_at(chunk, at).map_err(|e| Error::io(doing("zeroing"), &e))?;
                    at += chunk.len() as u64;
                }
            }
            file
        };
        file.write_all_at(&plan.header.encode(), 0)
            .map_err(|e| Error::io(doing("writing the header of"), &e))?;
        file.sync_data().map_err(|e| Error::io(doing("syncing"), &e))?;
        self.disk.rename(raw, path).map_err(|e| Error::io(doing("renaming"), &e))?;
        self.sync_dir()?;
        Ok(file)
    }

    /// A live segment that was never used is not needed.
    pub(super) fn discard(&self, segment: &Segment) {
        let mut names = self.names.lock();
        let Some(at) = names.live.iter().position(|live| live.path == segment.path) else { return };
        let live = names.live.remove(at);
        self.retire(&mut names, live);
    }

    /// Everything up to `lsn` is no longer needed; segments that hold nothing else go. `current` stays.
    pub(super) fn release(&self, lsn: u64, current: &Segment) {
        let mut names = self.names.lock();
        while let Some(oldest) = names.live.first() {
            if oldest.end > lsn || oldest.base >= current.base {
                break;
            }
            let oldest = names.live.remove(0);
            self.retire(&mut names, oldest);
        }
    }

    /// Only `current` is needed.
    pub(super) fn release_others(&self, current: &Segment) {
        let mut names = self.names.lock();
        for live in std::mem::take(&mut names.live) {
            if live.path == current.path {
                names.live.push(live);
            } else {
                self.retire(&mut names, live);
            }
        }
    }

    fn retire(&self, names: &mut Names, live: Live) {
        if live.standard && !names.has_enough() {
            let spare = live.path.with_extension("spare");
            match self.disk.rename(&live.path, &spare) {
                Ok(()) => return names.spares.push(spare),
                Err(e) => tracing::warn!("keeping {} for reuse: {e}", live.path.display()),
            }
        }
        self.remove(&live.path);
    }

    /// The lsn where the oldest live segment begins.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.names.lock().live.first().map(|live| live.base)
    }

    pub(super) fn remove(&self, path: &Path) {
        match self.disk.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("removing {}: {e}", path.display());
            }
            _ => {}
        }
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(|e| Error::io(format!("syncing the directory {}", self.dir.display()), &e))
    }
}
