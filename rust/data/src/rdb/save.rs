//! Everything at one moment, written as an RDB file.
//!
//! What is written is a snapshot of the engine, so nobody waits for it and it waits for nobody. The file
//! takes its name when all of it is on stable storage: whoever finds it finds it whole.

use super::elements::Kept;
use super::{io_error, version_of, write_value};
use crate::dbmap;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::record;
use crate::store::Store;
use forgekv_engine::disk::{Disk, DiskFile};
use forgekv_engine::{SHARDS, Snapshot};
use forgekv_rdb::{Encoder, VERSION};
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The bytes that are written last, before all others.
const MAGIC: u64 = 9;

/// A moment that can be written.
pub struct Save {
    snapshot: Snapshot,
    now_ms: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Keys; those that had expired are left out.
    pub keys: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// How a file is written.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// Whether strings are compressed.
    pub compress: bool,
    /// Whether there is a checksum.
    pub checksum: bool,
    /// Facts that stand at the head of the file.
    pub facts: Vec<(&'static str, String)>,
}

/// Asked with what was written so far; a break gives up.
pub type Progress<'p> = dyn FnMut(Saved) -> ControlFlow<()> + 'p;

impl Save {
    /// Keeps this moment, `now_ms` in Unix milliseconds.
    ///
    /// # Errors
    /// As [`forgekv_engine::Engine::snapshot`].
    pub fn new(store: &Store, now_ms: u64) -> Result<Save> {
        Ok(Save { snapshot: store.engine().snapshot()?, now_ms })
    }

    /// Writes the file `path`, first under the name `temporary` in the same directory. An RDB file that has
    /// that name already is replaced.
    ///
    /// # Errors
    /// Damage, what the disk met, or a file of that name that is no RDB file; `Closed` after a break. Nothing is left behind then.
    pub fn to_file(
        &self,
        disk: &dyn Disk,
        path: &Path,
        temporary: &Path,
        form: &Form,
        progress: &mut Progress<'_>,
    ) -> Result<Saved> {
        let io = |doing: &str, e: &io::Error| io_error(&format!("{doing} {}", path.display()), e);
        if !may_overwrite(disk, path).map_err(|e| io("looking at", &e))? {
            let what = format!("{} exists and is not an RDB file", path.display());
            return Err(Error::Engine(forgekv_engine::Error::Incompatible(what)));
        }
        match disk.remove(temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("making room for", &e)),
            _ => {}
        }
        let written = (|| {
            let file = disk.create(temporary).map_err(|e| io("creating", &e))?;
            let saved = self.write(&file, form, progress)?;
            file.sync_data().map_err(|e| io("syncing", &e))?;
            disk.rename(temporary, path).map_err(|e| io("renaming", &e))?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            disk.sync_dir(dir.unwrap_or(Path::new(".")))
                .map_err(|e| io("syncing the directory of", &e))?;
            Ok(saved)
        })();
        if written.is_err()
            && let Err(e) = disk.remove(temporary)
            && e.kind() != ErrorKind::NotFound
        {
            return Err(io("removing what was written of", &e));
        }
        written
    }

    fn write(
        &self,
        file: &Arc<dyn DiskFile>,
        form: &Form,
        progress: &mut Progress<'_>,
    ) -> Result<Saved> {
        let io = |e: io::Error| io_error("writing an RDB file", &e);
        let mut appended = Appended { file, at: MAGIC };
        let mut out = Encoder::file(&mut appended, form.compress);
        for (name, value) in &form.facts {
            out.fact(name, value).map_err(io)?;
        }
        let mut saved = Saved::default();
        let mut version = VERSION;
        for (logical, physical) in (0u64..).zip(dbmap::ids_in(&self.snapshot)?) {
            let mut is_named = false;
            for shard in 0..SHARDS as u8 {
                let start = record::header_start(physical, u64::from(shard) << 58);
                let mut records = self.snapshot.records(shard, &start)?;
                let mut elements = Kept::new(&self.snapshot, shard);
                while let Some((key, value)) = records.current() {
                    let Some((db, key)) = record::parse_header_key(key) else { break };
                    if db != physical {
                        break;
                    }
                    let header = Header::decode(value)?;
                    let expire_ms = header.expire_ms;
                    if expire_ms.is_none_or(|at| at > self.now_ms) {
                        write_value(
                            &header,
                            &mut elements,
                            self.now_ms,
                            &mut out,
                            &mut |out, kind| {
                                if !std::mem::replace(&mut is_named, true) {
                                    out.database(logical)?;
                                }
                                saved.keys += 1;
                                version = version.max(version_of(kind));
                                out.key(key.name, kind, expire_ms)
                            },
                        )?;
                    }
                    saved.bytes = MAGIC + out.written();
                    if progress(saved).is_break() {
                        return Err(Error::Engine(forgekv_engine::Error::Closed));
                    }
                    records.advance()?;
                }
            }
        }
        let magic = out.finish_file(version, form.checksum).map_err(io)?;
        file.write_all_at(&magic, 0).map_err(io)?;
        saved.bytes = appended.at;
        Ok(saved)
    }
}

/// Whether there is no such file, or one that was written as this one will be. What else lies in the
/// directory may be the data itself.
fn may_overwrite(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let mut magic = [0; 5];
    let file = match disk.open(path, false) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == *b"REDIS"),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => file.is_empty(),
        Err(e) => Err(e),
    }
}

/// A file that grows at its end.
struct Appended<'f> {
    file: &'f Arc<dyn DiskFile>,
    at: u64,
}

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
