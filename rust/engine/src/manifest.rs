//! The manifest: which tables make up each shard, and how far each shard is flushed.
//!
//! ```text
//!  MANIFEST := | header | snapshot record | record | record | ... | zeros, reserved |
//! ```
//!
//! A record is a list of [`Edit`]s and takes effect whole or not at all. The first record is the whole
//! [`State`] at the time the file was made. When the file has grown to several times its snapshot, a
//! new one is written beside it and renamed over it.
//!
//! What always holds:
//! 1. A file called `MANIFEST` has a whole snapshot: it got the name only after it was synced.
//! 2. A record is written only when all before it are synced. So a bad record with a whole one behind
//!    it is damage, and start-up is refused; a bad record at the end is a commit that never returned,
//!    and is cut off, durably, before anything new is written.
//! 3. [`Manifest::commit`] that returns Ok is durable. After an error the edits may or may not be: see
//!    [`Manifest::is_settled`].
//!
//! `FORMAT.md`, "Manifest", draws every byte.

mod format;
mod state;

#[cfg(test)]
mod crash_tests;

pub use state::{ShardState, State};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::table::{TableMeta, table_id, tables_dir};
use forgekv_base::rng::Rng;
use format::HEADER;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAME: &str = "MANIFEST";
const TEMPORARY: &str = "MANIFEST.tmp";
/// The file grows in steps of this size, reserved ahead: a full disk can then still record a compaction
/// that frees space, and a sync has no new length to write.
const STEP: u64 = 64 << 10;
/// The file is replaced when it is this many times as long as its snapshot.
const GROWTH: u64 = 4;

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A table joins a level. In level 0 it becomes the newest; below it takes its place in key order.
    AddTable {
        /// The shard.
        shard: u8,
        /// The level.
        level: u8,
        /// The table.
        meta: TableMeta,
    },
    /// A table leaves a level. All removals of a commit happen before its additions.
    RemoveTable {
        /// The shard.
        shard: u8,
        /// The level.
        level: u8,
        /// The table's id.
        id: u64,
    },
    /// Every batch up to here is in the shard's tables.
    Flushed {
        /// The shard.
        shard: u8,
        /// The log position up to which everything is in tables.
        lsn: u64,
        /// The sequence number up to which everything is in tables.
        seq: u64,
        /// The number of live keys of each group at that position; replaces all earlier counts.
        counts: Vec<(u32, i64)>,
    },
    /// No file has an id at or above this one. Never goes back. (Adding a table raises it as well.)
    NextFile(u64),
    /// No sequence number above this one was used before the last log segment. Never goes back.
    SeqHighWater(u64),
    /// Every batch of the log up to this position is in tables: replay starts here, older segments may be
    /// gone. Never goes back.
    LogStart(u64),
    /// A property of the whole directory that is set once.
    Fixed {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
}

/// The open manifest. One per directory; all methods may be called from any thread.
#[derive(Debug)]
pub struct Manifest {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What is committed.
    state: State,
    current: Current,
    /// Whether the disk surely says `state`, no more and no less.
    settled: bool,
}

/// The file that records are appended to.
#[derive(Debug)]
struct Current {
    file: Arc<dyn DiskFile>,
    incarnation: u64,
    /// Where the snapshot record ends.
    snapshot_end: u64,
    /// Where the next record goes.
    end: u64,
    /// How long the file is.
    len: u64,
}

impl Manifest {
    /// Opens the manifest of `dir`, making directory and manifest if there are none.
    ///
    /// # Errors
    /// `Corrupt` when a record that was once synced is damaged, or when there are tables or log segments but no
    /// manifest; `Incompatible` when a newer version wrote it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Manifest, State)> {
        for each in [dir, &tables_dir(dir)] {
            disk.create_dir_all(each)
                .map_err(|e| Error::io(format!("making the directory {}", each.display()), &e))?;
        }
        let path = dir.join(NAME);
        let names = list(&*disk, dir)?;
        if names.iter().any(|n| n == TEMPORARY) {
            remove(&*disk, &dir.join(TEMPORARY))?;
        }
        let (state, current) = if names.iter().any(|n| n == NAME) {
            let file = disk
                .open(&path, true)
                .map_err(|e| Error::io(format!("opening {}", path.display()), &e))?;
            let Loaded { state, mut current, torn, last: (at, record) } = load(&path, file)?;
            if torn {
                tracing::warn!(
                    "{}: the last commit was cut short at offset {} and is dropped",
                    path.display(),
                    current.end
                );
                current = replace(&*disk, dir, &state).map_err(|e| e.error)?;
            } else {
                // The last commit may not be durable yet, and is about to be acted on. It is written once
                // more: if a sync of it has failed, the next one would answer Ok without it.
                let file = &current.file;
                let synced = file
                    .write_all_at(&record, at)
                    .and_then(|()| file.sync_data())
                    .and_then(|()| disk.sync_dir(dir));
                synced.map_err(|e| Error::io(format!("syncing {}", path.display()), &e))?;
            }
            (state, current)
        } else {
            refuse_orphaned_data(&*disk, dir, &path)?;
            let state = State::default();
            let current = replace(&*disk, dir, &state).map_err(|e| e.error)?;
            (state, current)
        };
        let inner = Inner { state: state.clone(), current, settled: true };
        Ok((Manifest { disk, dir: dir.to_path_buf(), path, inner: Mutex::new(inner) }, state))
    }

    /// Makes a manifest that says `edits` in a directory that has none.
    ///
    /// # Errors
    /// `Incompatible` when the edits contradict each other; failed writes.
    pub fn create(disk: &dyn Disk, dir: &Path, edits: &[Edit]) -> Result<()> {
        let mut state = State::default();
        state.apply(edits).map_err(Error::Incompatible)?;
        replace(disk, dir, &state).map_err(|failed| failed.error)?;
        disk.sync_dir(dir).map_err(|e| Error::io(format!("syncing {}", dir.display()), &e))
    }

    /// Reads the manifest of `dir` without changing anything, for checks from outside.
    ///
    /// # Errors
    /// As [`open`](Manifest::open), and `Io` when there is none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<State> {
        let path = dir.join(NAME);
        let file = disk
            .open(&path, false)
            .map_err(|e| Error::io(format!("opening {}", path.display()), &e))?;
        Ok(load(&path, file)?.state)
    }

    /// Makes all the edits durable, or none.
    ///
    /// The files that the edits name, and their directory, have to be synced before; files that the edits remove may
    /// be deleted after Ok.
    ///
    /// # Errors
    /// `NoSpace` or `Io` when the disk refused; `Incompatible` when the edits contradict the state, which
    /// is then unchanged. After an error of the disk look at [`is_settled`](Manifest::is_settled) before
    /// files are deleted.
    pub fn commit(&self, edits: &[Edit]) -> Result<()> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if !inner.settled {
            // What the file says is uncertain since an earlier error: begin with a file that says what is
            // committed.
            self.rotate(inner)?;
        }
        let before = inner.state.part(edits);
        if let Err(why) = inner.state.apply(edits) {
            inner.state.restore(before);
            return Err(Error::Incompatible(format!(
                "an edit that contradicts the manifest: {why}"
            )));
        }
        let Current { incarnation, end, .. } = inner.current;
        let result = self.write(inner, &format::record(incarnation, end, edits));
        if result.is_err() {
            inner.state.restore(before);
            if !inner.settled
                && let Err(e) = self.rotate(inner)
            {
                tracing::warn!("{} could not be replaced: {e}", self.path.display());
            }
        }
        result
    }

    /// Sets properties of the whole directory, durably and where no torn end can take them away: in the
    /// snapshot of a new file.
    ///
    /// # Errors
    /// As [`commit`](Manifest::commit).
    pub fn fix(&self, properties: &[(String, Vec<u8>)]) -> Result<()> {
        let fixed = properties.iter().cloned().map(|(name, value)| Edit::Fixed { name, value });
        let edits: Vec<Edit> = fixed.collect();
        let mut inner = self.inner.lock();
        let before = inner.state.part(&edits);
        if let Err(why) = inner.state.apply(&edits) {
            inner.state.restore(before);
            return Err(Error::Incompatible(why));
        }
        let result = self.rotate(&mut inner);
        if result.is_err() {
            inner.state.restore(before);
        }
        result
    }

    /// Whether the disk surely says what was committed. False after a commit failed in a way that leaves
    /// open what a crash would bring back: until a later commit succeeds, the files that the failed commit
    /// added or removed must both be kept.
    pub fn is_settled(&self) -> bool {
        self.inner.lock().settled
    }

    /// A copy of what is committed.
    pub fn state(&self) -> State {
        self.inner.lock().state.clone()
    }

    /// Writes a record whose edits are in `inner.state` already.
    fn write(&self, inner: &mut Inner, record: &[u8]) -> Result<()> {
        let len = record.len() as u64;
        let limit = (GROWTH * inner.current.snapshot_end).max(STEP);
        if inner.current.end + len > limit {
            match self.rotate(inner) {
                Ok(()) => return Ok(()),
                // The old file is untouched and may still have room.
                Err(_) if inner.settled => {}
                Err(e) => return Err(e),
            }
        }
        let current = &mut inner.current;
        let doing = || format!("writing {}", self.path.display());
        if current.end + len > current.len {
            let longer = (current.end + len).next_multiple_of(STEP);
            current.file.allocate(longer).map_err(|e| Error::io(doing(), &e))?;
            current.len = longer;
        }
        inner.settled = false;
        current.file.write_all_at(record, current.end).map_err(|e| Error::io(doing(), &e))?;
        current.file.sync_data().map_err(|e| Error::io(doing(), &e))?;
        inner.settled = true;
        current.end += len;
        Ok(())
    }

    /// Replaces the file by one that says `inner.state`.
    fn rotate(&self, inner: &mut Inner) -> Result<()> {
        match replace(&*self.disk, &self.dir, &inner.state) {
            Ok(current) => {
                inner.current = current;
                inner.settled = true;
                Ok(())
            }
            Err(failed) => {
                // Once renamed, either file may be what a crash brings back.
                inner.settled &= !failed.renamed;
                Err(failed.error)
            }
        }
    }
}

/// Why a new file could not take the manifest's place.
struct Failed {
    error: Error,
    renamed: bool,
}

/// Writes `state` to a new file and gives it the manifest's name.
fn replace(disk: &dyn Disk, dir: &Path, state: &State) -> std::result::Result<Current, Failed> {
    let (path, temporary) = (dir.join(NAME), dir.join(TEMPORARY));
    let incarnation = Rng::from_entropy().next_u64();
    let bytes = format::file(incarnation, state);
    let end = bytes.len() as u64;
    let len = (end + STEP / 2).next_multiple_of(STEP);
    let mut renamed = false;
    let written = (|| -> io::Result<Arc<dyn DiskFile>> {
        // An earlier attempt may have failed half-way.
        match disk.remove(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create(&temporary)?;
        file.allocate(len)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        // From here on even an error may have done it.
        renamed = true;
        disk.rename(&temporary, &path)?;
        disk.sync_dir(dir)?;
        Ok(file)
    })();
    match written {
        Ok(file) => Ok(Current { file, incarnation, snapshot_end: end, end, len }),
        Err(e) => {
            if !renamed && let Err(e) = remove(disk, &temporary) {
                tracing::warn!("{e}");
            }
            let error = Error::io(format!("replacing {}", path.display()), &e);
            Err(Failed { error, renamed })
        }
    }
}

/// What was read from a manifest.
struct Loaded {
    state: State,
    current: Current,
    /// Whether its end is torn.
    torn: bool,
    /// The last record behind the snapshot, and where it is.
    last: (u64, Vec<u8>),
}

/// Reads a manifest from its first byte to its last.
fn load(path: &Path, file: Arc<dyn DiskFile>) -> Result<Loaded> {
    let doing = || format!("reading {}", path.display());
    let len = file.len().map_err(|e| Error::io(doing(), &e))?;
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io(doing(), &e))?;
    let incarnation = format::header(path, &bytes)?;
    if !len.is_multiple_of(STEP) {
        let what = format!("the file ends here, but its length is a multiple of {STEP}");
        return Err(Error::corrupt(path, len, what));
    }
    let mut state = State::default();
    let mut at = HEADER;
    let mut snapshot_end = 0;
    let mut last = None;
    while let Some((payload, end)) = format::parse(incarnation, &bytes, at) {
        let edits = format::edits(path, at as u64, payload)?;
        state.apply(&edits).map_err(|why| Error::corrupt(path, at as u64, why))?;
        if snapshot_end == 0 {
            snapshot_end = end as u64;
        } else {
            last = Some(at);
        }
        at = end;
    }
    if snapshot_end == 0 {
        return Err(Error::corrupt(path, at as u64, "the snapshot record is damaged"));
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let torn = rest.iter().any(|&b| b != 0);
    if torn && let Some(whole) = format::find_record(incarnation, &bytes, at + 1) {
        return Err(Error::corrupt(
            path,
            at as u64,
            format!("a damaged record; not a torn end, for there is a whole one at {whole}"),
        ));
    }
    let current = Current { file, incarnation, snapshot_end, end: at as u64, len };
    let last = last.unwrap_or(at);
    let last = (last as u64, bytes.get(last..at).unwrap_or_default().to_vec());
    Ok(Loaded { state, current, torn, last })
}

/// A directory with data but without a manifest has lost it: to begin anew there would delete the data.
fn refuse_orphaned_data(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<()> {
    let tables = list(disk, &tables_dir(dir))?.iter().filter(|n| table_id(n).is_some()).count();
    let log = dir.join("log");
    let segments = list(disk, &log)?.iter().filter(|n| n.ends_with(".log")).count();
    if tables + segments > 0 {
        let what =
            format!("it is missing, but there are {tables} tables and {segments} log segments");
        return Err(Error::corrupt(path, 0, what));
    }
    Ok(())
}

/// The names in `dir`; none when it is not there.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|e| Error::io(format!("listing {}", dir.display()), &e)),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()), &e))
        }
        _ => Ok(()),
    }
}
