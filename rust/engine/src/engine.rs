//! The engine: 64 shards behind one log.
//!
//! A write's way: the caller holds its shards ([`Guard`]), the batch goes into the log's pending buffer,
//! then into the memtables; the log is written once per event-loop turn, and only then may anybody be
//! told. A read's way: hot-key table, then tables by filter, index and block.
//!
//! Order of durability: a table is installed when the log is synced past its newest record; a log segment
//! goes when all its records are in installed tables; a manifest edit follows its files.

use crate::SHARDS;
use crate::background::{Background, Below};
use crate::batch::{self, Batch, Logged};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::guard::{Guard, Held, Loads, ShardSet};
use crate::loader::{self, Loader, Loading};
use crate::log::{Log, LogOptions, LogStart, Recovery};
use crate::manifest::{Edit, Manifest};
use crate::memory::shares;
use crate::memtable::Counts;
use crate::options::{Options, SyncMode};
use crate::schema::{Mark, Schema};
use crate::shard::{Reads, Shard, ShardFigures};
use crate::table::Table;
use crate::version::{Version, remove_orphans};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

const PATCH_MISFIT: &str = "a patch in the log does not fit the value that it changes";

/// What all threads share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) schema: Arc<dyn Schema>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Log,
    pub(crate) manifest: Manifest,
    pub(crate) shards: Vec<Shard>,
    pub(crate) next_file: AtomicU64,
    pub(crate) background: Background,
    pub(crate) figures: Figures,
    /// Free disk has fallen below the reserve: only what frees space may write.
    low_space: AtomicBool,
    /// The bytes of all memtables, the active ones counted in steps.
    pub(crate) dirty_bytes: Arc<AtomicU64>,
    /// Whether commits have to look closer before they are let through.
    pub(crate) gated: AtomicBool,
    /// Who waits until memtables are flushed.
    pub(crate) stalled: Mutex<Vec<Waker>>,
    /// Why the last flush failed, until one succeeds.
    pub(crate) flush_failure: Mutex<Option<Error>>,
    /// How long a writer should pause before its next command, in microseconds.
    pub(crate) delay_us: AtomicU64,
    pub(crate) memtable_bytes: AtomicU64,
    pub(crate) memory_bytes: AtomicU64,
    /// Resident memory that the caches have to make room for.
    pub(crate) excess: AtomicU64,
    /// The log has been released up to here.
    released: AtomicU64,
    pub(crate) fixed: BTreeMap<String, Vec<u8>>,
    recovery: Recovery,
    pub(crate) loader: Loader,
    _owner: Box<dyn Send + Sync>,
}

/// Counters of background work, since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) background_errors: AtomicU64,
}

/// True figures of a running engine. Sizes in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Memtables, sealed ones included.
    pub memtable_bytes: u64,
    /// Records in the hot-key tables, those of memtables included.
    pub hot_bytes: u64,
    /// Number of those records.
    pub hot_records: u64,
    /// Cached blocks.
    pub block_bytes: u64,
    /// Filters and indexes.
    pub index_bytes: u64,
    /// Tables on disk.
    pub table_bytes: u64,
    /// Number of tables.
    pub tables: u64,
    /// Tables of level 0, over all shards.
    pub level0_tables: u64,
    /// The log that is still needed.
    pub log_bytes: u64,
    /// Where reads were answered.
    pub reads: Reads,
    /// Memtables flushed.
    pub flushes: u64,
    /// Written by flushes.
    pub flushed_bytes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Written by compactions.
    pub compacted_bytes: u64,
    /// Flushes and compactions that failed (and are tried again).
    pub background_errors: u64,
    /// Keys whose count is not settled yet.
    pub unsettled: u64,
}

/// A durable, sharded, ordered map of bytes. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    threads: Arc<crate::background::Threads>,
}

impl Engine {
    /// Opens a directory, creating it if needed, and recovers what the last owner left.
    ///
    /// # Errors
    /// `Locked` when somebody owns the directory; `Corrupt` with file and offset; I/O failures.
    pub fn open(options: Options, schema: Arc<dyn Schema>, disk: Arc<dyn Disk>) -> Result<Engine> {
        let dir = options.dir.clone();
        let io =
            |doing: &str, e: &std::io::Error| Error::io(format!("{doing} {}", dir.display()), e);
        disk.create_dir_all(&dir).map_err(|e| io("creating", &e))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(|e| io("syncing the parent of", &e))?;
        }
        let lock = dir.join("LOCK");
        let owner = disk
            .lock(&lock)
            .map_err(|e| Error::io(format!("locking {}", lock.display()), &e))?
            .ok_or_else(|| Error::Locked(dir.clone()))?;
        let (manifest, state) = Manifest::open(disk.clone(), &dir)?;
        let mut fixed = state.fixed.clone();
        let mut new = options.fixed.clone();
        new.retain(|(name, _)| !fixed.contains_key(name));
        if !new.is_empty() {
            manifest.fix(&new)?;
            fixed.extend(new);
        }
        let mut shards = Vec::with_capacity(SHARDS);
        let (clean_max, block_max) = shares(options.memory_bytes, options.memtable_bytes, 0);
        let (clean_max, block_max) = (clean_max / SHARDS as u64, block_max / SHARDS as u64);
        let dirty_bytes = Arc::new(AtomicU64::new(0));
        let mut flushed = [0; SHARDS];
        for (n, shard) in state.shards.iter().enumerate() {
            let mut levels = Vec::new();
            for metas in &shard.levels {
                let tables: Result<Vec<Arc<Table>>> =
                    metas.iter().map(|m| Table::open(&*disk, &dir, m.clone())).collect();
                levels.push(tables?);
            }
            if let Some(lsn) = flushed.get_mut(n) {
                *lsn = shard.flushed_lsn;
            }
            let version = Version::new(levels);
            shards.push(Shard::new(
                version,
                shard.counts.clone(),
                shard.flushed_seq,
                clean_max,
                block_max,
                dirty_bytes.clone(),
            ));
        }
        let (log, recovery) = replay(&options, &*schema, &disk, &state, &shards, &flushed)?;
        // Only now: had anything before refused to open, its files would still be wanted.
        remove_orphans(&*disk, &dir, &state)?;
        let inner = Arc::new(Inner {
            memtable_bytes: AtomicU64::new(options.memtable_bytes),
            memory_bytes: AtomicU64::new(options.memory_bytes),
            next_file: AtomicU64::new(state.next_file),
            schema,
            disk,
            log,
            manifest,
            shards,
            background: Background::default(),
            figures: Figures::default(),
            low_space: AtomicBool::new(false),
            dirty_bytes,
            gated: AtomicBool::new(false),
            stalled: Mutex::default(),
            flush_failure: Mutex::default(),
            delay_us: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            released: AtomicU64::new(state.log_start),
            fixed,
            recovery,
            loader: Loader::start(options.io_uring)?,
            _owner: owner,
            options,
        });
        let threads = Arc::new(crate::background::Threads::start(&inner)?);
        Ok(Engine { inner, threads })
    }

    /// A value that was fixed when the directory was created (`Options::fixed`).
    pub fn fixed(&self, name: &str) -> Option<&[u8]> {
        self.inner.fixed.get(name).map(Vec::as_slice)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// What recovery found when the directory was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Takes shards on an event loop, in ascending order. `loads` carries what an earlier run loaded.
    ///
    /// # Errors
    /// `Busy` when a long operation holds one of them: wait with [`wait_free`](Self::wait_free). The loads
    /// are given back.
    pub fn lock(
        &self,
        set: ShardSet,
        loads: Loads,
    ) -> std::result::Result<Guard<'_>, (Error, Loads)> {
        let mut held = Held::new();
        for n in set.iter() {
            let Some(shard) = self.inner.shards.get(usize::from(n)) else { continue };
            match shard.try_lock() {
                Some(state) => held.push((n, state)),
                None => return Err((Error::Busy(n), loads)),
            }
        }
        Ok(Guard::new(&self.inner, held, loads, false))
    }

    /// Takes shards on a thread that may wait, and reads what is not in memory itself. Event loops that
    /// want one of them wait without blocking until `work` is done.
    pub fn with_reserved<'e, T>(&'e self, set: ShardSet, work: impl FnOnce(Guard<'e>) -> T) -> T {
        let shards = || set.iter().filter_map(|n| self.inner.shards.get(usize::from(n)));
        let release = Release(shards().collect());
        let mut held = Held::new();
        for (n, shard) in set.iter().zip(&release.0) {
            shard.reserve();
            held.push((n, shard.lock()));
        }
        let result = work(Guard::new(&self.inner, held, Loads::default(), true));
        drop(release);
        result
    }

    /// Waits until no long operation holds `shard`, or for [`STALLED`](crate::STALLED) until memtables have
    /// room, or for [`UNSETTLED`](crate::UNSETTLED) until what is not counted by now is.
    pub fn wait_free(&self, shard: u8) -> impl Future<Output = ()> + '_ {
        let mut round = None;
        std::future::poll_fn(move |context| match self.inner.shards.get(usize::from(shard)) {
            Some(shard) if !shard.poll_free(context.waker()) => Poll::Pending,
            None if shard == crate::UNSETTLED => {
                let number = *round.get_or_insert_with(|| self.inner.ask_to_settle());
                let settled = self.inner.poll_settled(number, context.waker());
                if settled { Poll::Ready(()) } else { Poll::Pending }
            }
            None if !self.inner.poll_unstalled(context.waker()) => Poll::Pending,
            _ => Poll::Ready(()),
        })
    }

    /// As [`wait_free`](Self::wait_free), for a thread that may wait and holds no shard.
    pub fn wait_free_here(&self, shard: u8) {
        wait_for(self.wait_free(shard));
    }

    /// Takes what was missed from the page cache, without waiting; true when all of it was there.
    ///
    /// # Errors
    /// Damage, or a failed read.
    pub fn load_resident(&self, loads: &mut Loads) -> Result<bool> {
        loader::load_resident(loads)
    }

    /// Loads what was missed from the device.
    pub fn load(&self, loads: Loads) -> Loading {
        self.inner.loader.load(loads)
    }

    /// First step of a batched look-up: the processor loads the table's line for `hash`.
    pub fn prefetch(&self, shard: u8, hash: u64) {
        if let Some(state) = self.inner.shards.get(usize::from(shard)).and_then(Shard::try_lock) {
            state.table.prefetch(hash);
        }
    }

    /// Second step: the processor loads the entry.
    pub fn prefetch_entry(&self, shard: u8, hash: u64) {
        if let Some(state) = self.inner.shards.get(usize::from(shard)).and_then(Shard::try_lock) {
            state.table.prefetch_entry(hash);
        }
    }

    /// Hands the value of a record that is in memory to `look`; nothing when it is not, or when its shard
    /// is held. Counts as no use of it.
    pub fn peek<T>(
        &self,
        shard: u8,
        hash: u64,
        key: &[u8],
        look: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let state = self.inner.shards.get(usize::from(shard))?.try_lock()?;
        let at = state.table.find(hash, key)?;
        look(state.table.at(at)?.value()?)
    }

    /// Live keys of a group. Settles what is unsettled first if there is any, which waits for the disk:
    /// not for event loops unless [`unsettled`](Self::unsettled) is 0.
    ///
    /// # Errors
    /// Damage, or a failed read.
    pub fn count(&self, group: u32) -> Result<i64> {
        let mut sum = 0;
        for (n, shard) in self.inner.shards.iter().enumerate() {
            if shard.lock().unsettled() > 0 {
                self.inner.settle(n)?;
            }
            let state = shard.lock();
            sum += state.counts.iter().find(|(g, _)| *g == group).map_or(0, |(_, count)| *count);
        }
        Ok(sum)
    }

    /// Keys of which it is not known yet whether they were there before: [`count`](Self::count) has to
    /// look them up.
    pub fn unsettled(&self) -> usize {
        self.inner.shards.iter().map(|s| s.lock().unsettled()).sum()
    }

    /// Hands everything appended so far to the operating system.
    ///
    /// # Errors
    /// `LogFailed`: nothing that was not written before may be acknowledged.
    pub fn log_write(&self) -> Result<()> {
        if self.inner.log.written() >= self.inner.log.appended() {
            return Ok(());
        }
        self.inner.log.write()
    }

    /// The lsn up to which the log is in the operating system's hands.
    pub fn log_written(&self) -> u64 {
        self.inner.log.written()
    }

    /// The lsn up to which the log is on stable storage.
    pub fn log_synced(&self) -> u64 {
        self.inner.log.synced()
    }

    /// The lsn of the newest commit.
    pub fn log_appended(&self) -> u64 {
        self.inner.log.appended()
    }

    /// Asks for a sync; who waits is told through [`on_synced`](Self::on_synced).
    pub fn request_sync(&self) {
        self.inner.log.request_sync();
    }

    /// Has `told` called after every sync, with the lsn that is durable now.
    pub fn on_synced(&self, told: Arc<dyn Fn(u64) + Send + Sync>) {
        self.inner.log.on_synced(told);
    }

    /// Writes and syncs the log. Waits for the device.
    ///
    /// # Errors
    /// `LogFailed`.
    pub fn sync(&self) -> Result<u64> {
        self.inner.log.sync()
    }

    /// Changes when commits are synced.
    pub fn set_sync_mode(&self, mode: SyncMode) {
        self.inner.log.set_sync_mode(mode);
    }

    /// Why the log refuses writes, if it does.
    pub fn log_failure(&self) -> Option<String> {
        self.inner.log.failure()
    }

    /// Whether writes are refused because the disk is nearly full.
    pub fn is_low_on_space(&self) -> bool {
        self.inner.is_low_on_space()
    }

    /// How long a writer should pause before its next write command, in microseconds: 0 while flushes
    /// and compactions keep up.
    pub fn write_delay_us(&self) -> u64 {
        self.inner.delay_us.load(Ordering::Relaxed)
    }

    /// Changes the memory budget: everything, and the memtables' part of it, in bytes.
    pub fn set_memory(&self, memory_bytes: u64, memtable_bytes: u64) {
        self.inner.memory_bytes.store(memory_bytes, Ordering::Relaxed);
        self.inner.memtable_bytes.store(memtable_bytes, Ordering::Relaxed);
        self.inner.set_gate();
    }

    /// Seals every memtable and waits until all are flushed.
    ///
    /// # Errors
    /// What the flush met.
    pub fn flush(&self) -> Result<()> {
        for (n, shard) in self.inner.shards.iter().enumerate() {
            shard.lock().seal();
            self.inner.flush_shard(n)?;
        }
        self.inner.release_log()
    }

    /// Flushes and merges every shard down to one sorted run. Waits.
    ///
    /// # Errors
    /// What the flush or compaction met.
    pub fn compact(&self) -> Result<()> {
        self.flush()?;
        for n in 0..SHARDS {
            self.inner.compact_fully(n)?;
        }
        Ok(())
    }

    /// What serves cold reads: `io_uring` or `threads`.
    pub fn cold_reads(&self) -> &'static str {
        self.inner.loader.name()
    }

    /// True figures. Never waits: of a shard that a long operation holds they are those seen last.
    pub fn stats(&self) -> Stats {
        self.inner.stats(self.inner.shards.iter().map(Shard::figures))
    }

    /// Ends background work and makes everything durable. Every later write is refused.
    ///
    /// # Errors
    /// The last sync's failure.
    pub fn close(&self) -> Result<()> {
        self.threads.stop(&self.inner);
        self.inner.remove_obsolete();
        self.inner.log.close()
    }
}

struct Release<'a>(Vec<&'a Shard>);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        for shard in &self.0 {
            shard.release();
        }
    }
}

/// What one shard's clean records and cached blocks may take, in bytes. Both live in what the memtables,
/// filters and indexes leave of the budget; a tenth stays for connections and the allocator.
/// Waits for a future on a thread that may wait.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn replay(
    options: &Options,
    schema: &dyn Schema,
    disk: &Arc<dyn Disk>,
    state: &crate::manifest::State,
    shards: &[Shard],
    flushed: &[u64; SHARDS],
) -> Result<(Log, Recovery)> {
    let start = LogStart {
        min_lsn: flushed.iter().copied().min().unwrap_or_default().max(state.log_start),
        max_lsn: flushed.iter().copied().max().unwrap_or_default().max(state.log_start),
        min_seq: state.seq_high_water,
    };
    let log_options = LogOptions {
        dir: crate::log::dir_in(&options.dir),
        sync_mode: options.sync_mode,
        segment_bytes: options.segment_bytes,
    };
    Log::open(disk.clone(), log_options, start, &mut |record| {
        batch::parse(record.batch, |shard, key, effect| {
            let n = usize::from(shard);
            if flushed.get(n).is_none_or(|&lsn| record.lsn <= lsn) {
                return Ok(());
            }
            if let Some(shard) = shards.get(n) {
                let mut state = shard.lock();
                state.active.note(record.lsn, record.seq);
                state.last_lsn = record.lsn;
                let hash = schema.hash(key);
                match effect {
                    Logged::Delete => state.apply(schema, hash, key, None),
                    Logged::Put(value) => state.apply(schema, hash, key, Some(value)),
                    Logged::Patch { at, remove, insert } => {
                        let base = match state.table.find(hash, key) {
                            Some(at) => {
                                state.table.at(at).and_then(|e| e.value()).map(<[u8]>::to_vec)
                            }
                            None => state.version.get(key, hash)?,
                        };
                        // No base: a compaction has dropped it, because a later batch of the log made it
                        // unreachable. What the patch would make is unreachable too.
                        let Some(base) = base else { return Ok(()) };
                        let value = Logged::patched(at, remove, insert, &base)
                            .ok_or_else(|| Error::Incompatible(PATCH_MISFIT.into()))?;
                        state.apply(schema, hash, key, Some(&value));
                    }
                }
            }
            Ok(())
        })
    })
}

impl Inner {
    /// Whether free disk is below the reserve; says if that is news.
    pub(crate) fn set_low_space(&self, low: bool) -> bool {
        let news = self.low_space.swap(low, Ordering::Relaxed) != low;
        self.set_gate();
        news
    }

    pub(crate) fn is_low_on_space(&self) -> bool {
        self.low_space.load(Ordering::Relaxed)
    }

    /// A batch has orphaned what the tables of its shards hold.
    #[cold]
    pub(crate) fn orphaned(&self, batch: &Batch) {
        let mut shards = ShardSet::default();
        batch.ops().for_each(|(shard, ..)| shards.insert(shard));
        shards.iter().for_each(|n| self.hint_garbage(n));
    }

    /// Lets go of the log that installed tables have made unnecessary.
    pub(crate) fn release_log(&self) -> Result<()> {
        // First the end, then the shards: a batch synced before this reading has been applied by the
        // time its shard's lock is ours, since both happen under that lock.
        let mut upto = self.log.synced();
        for shard in &self.shards {
            let state = shard.lock();
            let oldest = state.sealed.first().map_or(state.active.first_lsn(), |s| s.first_lsn);
            if oldest > 0 {
                upto = upto.min(oldest - 1);
            }
        }
        // Each step costs a manifest record, and only whole segments go.
        let before = self.released.load(Ordering::Relaxed);
        if upto < before + self.options.segment_bytes / 4 {
            return Ok(());
        }
        self.manifest.commit(&[Edit::LogStart(upto)])?;
        self.released.store(upto, Ordering::Relaxed);
        self.log.release(upto);
        Ok(())
    }

    /// Seals the shard with the oldest unflushed data, when the log has grown past its limit.
    pub(crate) fn bound_log(&self) {
        // On a full disk the log lives on what it lets go of.
        let segments = 2 * self.options.segment_bytes;
        let limit = self.options.log_bytes;
        let limit = if self.is_low_on_space() { limit.min(segments) } else { limit };
        if self.log.bytes() <= limit {
            return;
        }
        let mut oldest: Option<(u64, usize)> = None;
        for (n, shard) in self.shards.iter().enumerate() {
            let state = shard.lock();
            let first = state.active.first_lsn();
            if first > 0 && oldest.is_none_or(|(lsn, _)| first < lsn) && state.sealed.is_empty() {
                oldest = Some((first, n));
            }
        }
        if let Some(shard) = oldest.and_then(|(_, n)| self.shards.get(n)) {
            shard.lock().seal();
            self.background.wake();
        }
    }

    pub(crate) fn stats(&self, shards: impl Iterator<Item = ShardFigures>) -> Stats {
        let figures = &self.figures;
        let mut stats = Stats {
            log_bytes: self.log.bytes(),
            flushes: figures.flushes.load(Ordering::Relaxed),
            flushed_bytes: figures.flushed_bytes.load(Ordering::Relaxed),
            compactions: figures.compactions.load(Ordering::Relaxed),
            compacted_bytes: figures.compacted_bytes.load(Ordering::Relaxed),
            background_errors: figures.background_errors.load(Ordering::Relaxed),
            ..Stats::default()
        };
        for figures in shards {
            stats.memtable_bytes += figures.dirty_bytes;
            stats.hot_bytes += figures.hot_bytes;
            stats.hot_records += figures.hot_records;
            stats.block_bytes += figures.block_bytes;
            stats.index_bytes += figures.index_bytes;
            stats.unsettled += figures.unsettled;
            stats.tables += figures.tables;
            stats.table_bytes += figures.table_bytes;
            stats.level0_tables += figures.level0_tables;
            stats.reads.hot += figures.reads.hot;
            stats.reads.filtered += figures.reads.filtered;
            stats.reads.block += figures.reads.block;
            stats.reads.cold += figures.reads.cold;
        }
        stats
    }

    /// Counts that belong to a settled key: found below, so it was counted once too often.
    pub(crate) fn settled(&self, counts: &mut Counts, (entry, mark): &Below) {
        // A group that is not counted any more was forgotten.
        if let Some(group) = self.schema.group(entry.key())
            && counts.iter().any(|(g, _)| *g == group)
        {
            crate::memtable::add(counts, group, -1);
            crate::memtable::add_mark(counts, group, *mark, -1);
        }
    }

    /// The mark of a counted key's value.
    pub(crate) fn mark(&self, value: &[u8]) -> Option<Mark> {
        value.first().filter(|&&first| first & 0x80 != 0)?;
        self.schema.mark(value)
    }
}
