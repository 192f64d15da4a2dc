//! The data of one directory: engine, map of databases, and what expiry remembers.
//!
//! The road makes its views here and commits here, so that what goes beside the engine (the map of
//! databases) is never forgotten.

use crate::dbmap::{self, DbMap, META_SHARD, Record};
use crate::error::Result;
use crate::expire::Expiry;
use crate::large::Large;
use crate::outside::Outside;
use crate::schema::Records;
use crate::uses::Uses;
use crate::view::{Read, Surroundings, Write};
use forgekv_base::rng;
use forgekv_engine::disk::Disk;
use forgekv_engine::{Batch, Engine, Error, Finding, Guard, Options, ShardSet};
use std::path::Path;
use std::sync::Arc;

/// Under this name the engine keeps the seed of places.
const PLACE_SEED: &str = "place-seed";

/// What all views of a store share, beside the engine.
#[derive(Debug)]
pub(crate) struct Shared {
    map: DbMap,
    expiry: Expiry,
    large: Large,
    outside: Outside,
    uses: Uses,
}

impl Shared {
    pub(crate) fn map(&self) -> &DbMap {
        &self.map
    }

    pub(crate) fn large(&self) -> &Large {
        &self.large
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    pub(crate) fn expiry(&self) -> &Expiry {
        &self.expiry
    }
}

/// An open data directory. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    shared: Arc<Shared>,
    place_seed: u64,
}

impl Store {
    /// Opens a directory, creating it if needed, with so many logical databases.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(mut options: Options, databases: u32, disk: Arc<dyn Disk>) -> Result<Store> {
        let mut seed = [0; 8];
        rng::entropy(&mut seed).map_err(|e| Error::io("asking for a random seed", &e))?;
        options.fixed.push((PLACE_SEED.into(), seed.to_vec()));
        let shared = Arc::new(Shared {
            map: DbMap::new(databases),
            expiry: Expiry::default(),
            large: Large::default(),
            outside: Outside::default(),
            uses: Uses::default(),
        });
        let records = Arc::new(Records { shared: shared.clone() });
        let engine = Engine::open(options, records, disk)?;
        let place_seed = engine
            .fixed(PLACE_SEED)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes)
            .ok_or_else(|| Error::Incompatible("the directory has no seed of places".into()))?;
        let store = Store { engine, shared, place_seed };
        store.load_map()?;
        Ok(store)
    }

    fn load_map(&self) -> Result<()> {
        let databases = self.shared.map.len() as usize;
        let record = self.engine.with_reserved(ShardSet::one(META_SHARD), |mut guard| {
            let mut record = Record::load(&mut guard)?;
            if record.grow(databases)? {
                let mut batch = Batch::new();
                record.put(&mut batch);
                guard.commit(&batch)?;
            }
            crate::error::Result::Ok(record)
        })?;
        // Ids count as gone only by a record that is synced, and what recovery read may not be.
        self.engine.sync()?;
        self.shared.map.install(record, 0);
        Ok(())
    }

    /// Examines a directory that nobody has open, every byte of it; with `repair` saves what can be saved.
    ///
    /// # Errors
    /// As [`forgekv_engine::check`].
    pub fn check(disk: &Arc<dyn Disk>, dir: &Path, repair: bool) -> Result<Vec<Finding>> {
        let shared = Arc::new(Shared {
            map: DbMap::new(1),
            expiry: Expiry::default(),
            large: Large::default(),
            outside: Outside::default(),
            uses: Uses::default(),
        });
        Ok(forgekv_engine::check(disk, dir, &Records { shared }, repair)?)
    }

    pub(crate) fn map(&self) -> &DbMap {
        &self.shared.map
    }

    /// The engine: locks, loads, log, figures.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The seed from which [`Key`](crate::Key)s find their places.
    pub fn place_seed(&self) -> u64 {
        self.place_seed
    }

    /// What the keys of a logical database in space H begin with.
    pub(crate) fn physical_db(&self, logical: u32) -> u32 {
        self.shared.map.get(logical)
    }

    /// The number of logical databases.
    pub fn databases(&self) -> u32 {
        self.shared.map.len()
    }

    /// A read-only view. `batch` is empty or holds what the same transaction staged before.
    #[inline]
    pub fn read<'e>(
        &'e self,
        guard: Guard<'e>,
        batch: Batch,
        around: Surroundings<'e>,
    ) -> Read<'e> {
        Read::new(guard, batch, around, &self.shared)
    }

    /// A view that may stage writes.
    #[inline]
    pub fn write<'e>(
        &'e self,
        guard: Guard<'e>,
        batch: Batch,
        around: Surroundings<'e>,
    ) -> Write<'e> {
        Write::new(guard, batch, around, &self.shared)
    }

    /// Commits what a view staged, a read's view too, and answers up to which lsn the log has to be
    /// written (or synced) before anybody is told. This, not the guard's own commit, is the way of every
    /// command: it takes over a changed map of databases while all shards are still held.
    ///
    /// # Errors
    /// As [`Guard::commit`]; nothing has happened then.
    #[inline]
    pub fn commit(&self, guard: &mut Guard<'_>, batch: &mut Batch) -> Result<u64> {
        // Only who holds all shards can have changed the map.
        if batch.is_empty() || !guard.holds(META_SHARD) || !guard.holds(1) {
            return self.commit_plain(guard, batch);
        }
        let Some(record) = dbmap::changed_by(batch)? else {
            return self.commit_plain(guard, batch);
        };
        let before = guard.new_generation();
        let lsn = self.commit_plain(guard, batch)?;
        let mut orphaned = false;
        for gone in self.shared.map.install(record, before) {
            guard.forget(gone);
            orphaned = true;
        }
        if orphaned {
            self.engine.hint_garbage(ShardSet::ALL);
        }
        Ok(lsn)
    }

    #[inline]
    fn commit_plain(&self, guard: &mut Guard<'_>, batch: &mut Batch) -> Result<u64> {
        let lsn = guard.commit(batch)?;
        self.shared.large.note(batch);
        Ok(lsn)
    }

    pub(crate) fn large(&self) -> &Large {
        &self.shared.large
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.shared.outside
    }

    /// The shards on which [`cycle_shard`](crate::expire::cycle_shard) has something to do now: none while
    /// nothing expires, and none while the cycle is stopped.
    pub fn due_shards(&self, now_ms: u64) -> ShardSet {
        let is_kept = now_ms < self.shared.expiry.kept_until_ms();
        if self.shared.expiry.is_active() && !is_kept {
            self.shared.expiry.due(now_ms)
        } else {
            ShardSet::default()
        }
    }

    /// Whether the expiry cycle runs.
    pub fn expires_actively(&self) -> bool {
        self.shared.expiry.is_active()
    }

    /// Leaves expired keys where they are until then, in Unix milliseconds; absent they are all the same.
    pub fn keep_expired_until(&self, unix_ms: u64) {
        self.shared.expiry.keep_until(unix_ms);
    }

    /// Lets the expiry cycle run or stops it. Expired keys are absent all the same.
    pub fn set_active_expiry(&self, active: bool) {
        self.shared.expiry.set_active(active);
    }
}
