//! An RDB file, loaded into a directory that nobody serves.
//!
//! The keys go into databases with ids that no logical database has, and one record gives them all their
//! numbers in the end: so a damaged file, a full disk or a crash leaves the directory as it was, and what was
//! loaded until then is dropped by compactions, as after a FLUSHALL.

use super::part::{Part, Parts, put_expiry};
use crate::dbmap;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::store::Store;
use crate::view::Surroundings;
use forgekv_engine::{Batch, Error as EngineError, ShardSet};
use forgekv_rdb::{Bad, File, Input, Kind, Record, Stop};
use std::collections::BTreeMap;
use std::time::Duration;

/// Parts are committed together when they have so many bytes.
const COMMIT_BYTES: usize = 1 << 20;

/// Why nothing was loaded.
#[derive(Debug)]
pub enum ImportError {
    /// The file is damaged, or of a kind that cannot be read.
    Bad(Bad),
    /// The directory holds keys, and they were not to be replaced.
    NotEmpty,
    /// The directory could not be written.
    Data(Error),
}

impl From<Bad> for ImportError {
    fn from(bad: Bad) -> ImportError {
        ImportError::Bad(bad)
    }
}

impl From<Error> for ImportError {
    fn from(e: Error) -> ImportError {
        ImportError::Data(e)
    }
}

impl std::fmt::Display for ImportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ImportError::Bad(bad) => bad.fmt(f),
            ImportError::NotEmpty => f.write_str("the directory already holds keys"),
            ImportError::Data(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

/// What was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Keys that had expired.
    pub expired: u64,
    /// Keys with collections of nothing.
    pub empty: u64,
    /// Libraries of functions.
    pub functions: u64,
    /// Keys with modules' values, by the name of their type.
    pub modules: BTreeMap<String, u64>,
    /// What else modules have saved, by their names.
    pub module_data: BTreeMap<String, u64>,
}

/// What was loaded, so far or in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys.
    pub keys: u64,
    /// Those that expire.
    pub expires: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The number after the highest logical database with a key.
    pub databases: u32,
    /// Whether a checksum confirmed the file.
    pub checked: bool,
    /// What was left out.
    pub skipped: Skipped,
}

/// A part of a value that waits to be committed.
struct Waiting {
    physical: u32,
    name: Vec<u8>,
    part: Part,
    /// Whether it begins the value.
    is_first: bool,
    /// Given with the last part.
    expire_ms: Option<u64>,
    /// Where the key stands in the file.
    offset: u64,
}

/// See the head of this file.
pub struct Import<'s> {
    store: &'s Store,
    limits: Limits,
    now_ms: u64,
    /// The ids of logical databases.
    ids: BTreeMap<u32, u32>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    done: Imported,
}

impl<'s> Import<'s> {
    /// Whether bytes begin as those of a file that can be read.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_head(input: Input<'_>) -> std::result::Result<(), Bad> {
        File::open(input).map(|_| ())
    }

    /// Loads a file into a directory, whose own keys are replaced if `replace`, all of them, and must not be
    /// there otherwise. What has expired at `now_ms`, in Unix milliseconds, is left out. `progress` is told
    /// now and then.
    ///
    /// # Errors
    /// See [`ImportError`]; the directory is as before then.
    pub fn run(
        store: &'s Store,
        limits: Limits,
        now_ms: u64,
        input: Input<'_>,
        replace: bool,
        progress: &mut dyn FnMut(&Imported),
    ) -> std::result::Result<Imported, ImportError> {
        if !replace && dbmap::holds_keys(store)? {
            return Err(ImportError::NotEmpty);
        }
        let (ids, waiting, done) = (BTreeMap::new(), Vec::new(), Imported::default());
        let mut import = Import { store, limits, now_ms, ids, waiting, waiting_bytes: 0, done };
        let loaded = import.load(input, progress).and_then(|()| {
            dbmap::publish(store, &import.ids)?;
            Ok(import.done.clone())
        });
        if loaded.is_err() {
            dbmap::abandon(store, import.ids.values().copied());
        }
        loaded
    }

    fn load(
        &mut self,
        input: Input<'_>,
        progress: &mut dyn FnMut(&Imported),
    ) -> std::result::Result<(), ImportError> {
        let mut file = File::open(input)?;
        let mut physical = None;
        loop {
            self.done.bytes = file.offset();
            match file.record()? {
                Record::Fact(..) | Record::Sizes(..) => {}
                Record::Function(_) => self.done.skipped.functions += 1,
                Record::ModuleData(name) => {
                    *self.done.skipped.module_data.entry(name).or_default() += 1;
                }
                Record::Database(number) => physical = Some(self.database(number, &file)?),
                Record::Key(key) => {
                    let id = match physical {
                        Some(id) => id,
                        None => self.database(0, &file)?,
                    };
                    physical = Some(id);
                    self.key(id, key, &mut file)?;
                    if self.waiting_bytes >= COMMIT_BYTES {
                        self.commit()?;
                        progress(&self.done);
                    }
                }
                Record::End(checked) => {
                    self.commit()?;
                    self.done.bytes = file.offset();
                    self.done.checked = checked;
                    progress(&self.done);
                    return Ok(());
                }
            }
        }
    }

    /// The id under which a logical database is loaded.
    fn database(&mut self, number: u64, file: &File<'_>) -> std::result::Result<u32, ImportError> {
        let number = u32::try_from(number).ok().filter(|&n| n < dbmap::MOST_DATABASES);
        let Some(number) = number else {
            let what = "a database has a higher number than there are databases".into();
            return Err(Bad { offset: file.offset(), what }.into());
        };
        if let Some(&id) = self.ids.get(&number) {
            return Ok(id);
        }
        let id = dbmap::hold(self.store)?;
        self.ids.insert(number, id);
        Ok(id)
    }

    fn key(
        &mut self,
        physical: u32,
        key: forgekv_rdb::Key,
        file: &mut File<'_>,
    ) -> std::result::Result<(), ImportError> {
        let offset = self.done.bytes;
        let kind = key.kind.kind();
        if kind == Kind::Module {
            let name = file.skip_module()?;
            *self.done.skipped.modules.entry(name).or_default() += 1;
            return Ok(());
        }
        let Some(mut parts) = Parts::of(kind) else {
            let what = "a value of a type that cannot be loaded".into();
            return Err(Bad { offset, what }.into());
        };
        let expired = key.expire_ms.is_some_and(|at| at <= self.now_ms);
        let mut is_first = true;
        let read = file.value(&mut |item| {
            if expired {
                return Ok(());
            }
            parts.take(&item);
            if parts.is_full() {
                let name = key.name.clone();
                let part = parts.split();
                self.wait(Waiting { physical, name, part, is_first, expire_ms: None, offset });
                is_first = false;
                return self.commit();
            }
            Ok(())
        });
        let items = match read {
            Ok(items) => items,
            Err(Stop::Bad(bad)) => return Err(bad.into()),
            Err(Stop::Taker(e)) => return Err(e),
        };
        if expired {
            self.done.skipped.expired += 1;
            return Ok(());
        }
        if items == 0 {
            self.done.skipped.empty += 1;
            return Ok(());
        }
        let (part, expire_ms) = (parts.split(), key.expire_ms);
        self.wait(Waiting { physical, name: key.name, part, is_first, expire_ms, offset });
        self.done.keys += 1;
        self.done.expires += u64::from(expire_ms.is_some());
        let highest = self.ids.iter().find(|(_, id)| **id == physical).map_or(0, |(n, _)| *n + 1);
        self.done.databases = self.done.databases.max(highest);
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting) {
        self.waiting_bytes += waiting.part.bytes() + waiting.name.len();
        self.waiting.push(waiting);
    }

    /// Puts everything that waits into place.
    fn commit(&mut self) -> std::result::Result<(), ImportError> {
        let engine = self.store.engine();
        loop {
            let around = Surroundings {
                now_ms: self.now_ms,
                db: 0,
                limits: &self.limits,
                random_seed: 0,
                place_seed: self.store.place_seed(),
                events: 0,
                interest: forgekv_engine::ShardSet::default(),
            };
            let done = engine.with_reserved(ShardSet::ALL, |guard| {
                let mut view = self.store.write(guard, Batch::new(), around);
                let twice = stage(&mut view, &self.waiting)?;
                let mut parts = view.into_parts();
                if twice.is_none() {
                    self.store.commit(&mut parts.guard, &mut parts.batch)?;
                }
                Result::Ok(twice)
            });
            match done {
                Ok(None) => break,
                Ok(Some(offset)) => {
                    let what = "a key, or a member of its value, comes twice".into();
                    return Err(Bad { offset, what }.into());
                }
                Err(Error::Again(EngineError::Busy(shard))) => engine.wait_free_here(shard),
                Err(e) => return Err(e.into()),
            }
        }
        let delay_us = engine.write_delay_us();
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }
}

/// Stages what waits. Where in the file something came twice, if anything did.
fn stage(w: &mut crate::view::Write<'_>, waiting: &[Waiting]) -> Result<Option<u64>> {
    for Waiting { physical, name, part, is_first, expire_ms, offset } in waiting {
        w.enter_physical(*physical);
        let key = w.key(name);
        if *is_first && w.header_raw(key)?.is_some() {
            return Ok(Some(*offset));
        }
        if !part.put(w, key)? {
            return Ok(Some(*offset));
        }
        if let Some(at) = expire_ms {
            put_expiry(w, key, *at)?;
        }
    }
    Ok(None)
}
