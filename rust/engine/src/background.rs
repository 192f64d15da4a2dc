//! Flushes, compactions, settling of counts: what goes on beside the event loops.
//!
//! Every job takes a shard's lock twice and briefly: to see what there is, and to install what it made.
//! A job that fails leaves everything as it was and is tried again.

use crate::compaction::{self, Context};
use crate::engine::Inner;
use crate::engine::wait_for;
use crate::entry::EntryRef;
use crate::error::{Error, Result};
use crate::guard::{Fetch, Loads, held_below};
use crate::manifest::Edit;
use crate::memtable::Sealed;
use crate::schema::{Durable, Mark};
use crate::shard::{BlockCache, BlockWeight, EVICTION_STEPS, Shard, State};
use crate::table::{
    BuildOptions, Compression, FilterKind, Table, TableBuilder, table_path, tables_dir,
};
use crate::version::{LEVELS, Version};
use forgekv_base::clock;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the housekeeper looks at space, log size and pressure.
const TICK: Duration = Duration::from_millis(50);
/// Every so many of them the log may keep one spare segment less.
const SPARES_TICKS: u64 = 200;
/// How long a job that failed waits before it is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How often unsettled keys are looked up while there are some, and how often somebody looks whether there
/// are.
const SETTLE_TICK: Duration = Duration::from_millis(20);
const SETTLE_IDLE: Duration = Duration::from_millis(200);

/// Unsettled keys whose blocks are loaded side by side.
const SETTLED_AT_ONCE: usize = 256;
/// What of those blocks is kept for the others, in bytes.
const SETTLED_BYTES: u64 = 4 << 20;

/// Where event loops leave word that there is work.
#[derive(Default)]
pub(crate) struct Background {
    work: Mutex<u64>,
    ready: Condvar,
    stop: AtomicBool,
    obsolete: Mutex<Vec<Arc<Table>>>,
    next: AtomicUsize,
    settling: Mutex<Settling>,
    settle: Condvar,
}

/// What the settling thread is asked for: rounds through all shards, numbered.
#[derive(Default)]
struct Settling {
    wanted: u64,
    done: u64,
    waiting: Vec<Waker>,
}

impl Background {
    /// There may be work.
    pub(crate) fn wake(&self) {
        *self.work.lock() += 1;
        self.ready.notify_all();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The threads; they hold the engine weakly.
pub(crate) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    pub(crate) fn start(inner: &Arc<Inner>) -> Result<Threads> {
        let mut threads = Vec::new();
        let workers = inner.options.background_threads.max(1);
        let mut jobs: Vec<(String, fn(&Weak<Inner>))> =
            vec![("housekeeper".to_string(), keep_house), ("settle".to_string(), settle)];
        jobs.extend((1..=workers).map(|n| (format!("background-{n}"), work as fn(&Weak<Inner>))));
        for (name, job) in jobs {
            let weak = Arc::downgrade(inner);
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || job(&weak))
                .map_err(|e| Error::io("starting a background thread", &e))?;
            threads.push(thread);
        }
        Ok(Threads(Mutex::new(threads)))
    }

    /// Ends all jobs at their next step and waits for the threads.
    pub(crate) fn stop(&self, inner: &Inner) {
        inner.background.stop.store(true, Ordering::Relaxed);
        inner.background.wake();
        inner.ask_to_settle();
        self.join();
    }

    fn join(&self) {
        for thread in self.0.lock().drain(..) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }
}

fn keep_house(weak: &Weak<Inner>) {
    let mut ticks = 0u64;
    loop {
        {
            let Some(inner) = weak.upgrade() else { return };
            if inner.background.stopping() {
                return;
            }
            ticks += 1;
            inner.seal_largest();
            inner.bound_log();
            inner.find_pressure();
            if inner.log.failure().is_some()
                && ticks.is_multiple_of(10)
                && let Err(e) = inner.replace_log()
            {
                tracing::error!("the log has failed and could not be replaced yet: {e}");
            }
            if ticks.is_multiple_of(10) {
                inner.check_space();
                if inner.is_low_on_space() {
                    inner.log.trim_spares(0);
                }
                inner.remove_obsolete();
                inner.share_memory();
            }
            if ticks.is_multiple_of(SPARES_TICKS) {
                inner.log.trim_spares(usize::MAX);
            }
        }
        std::thread::sleep(TICK);
    }
}

/// A key, and the mark of the version that tables hold of it.
pub(crate) type Below = (EntryRef, Option<Mark>);

/// The settling thread: keeps the backlog of keys that are not counted exactly small.
fn settle(weak: &Weak<Inner>) {
    let mut busy = false;
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let wanted = {
            let mut settling = inner.background.settling.lock();
            if settling.wanted == settling.done && !inner.background.stopping() {
                let pause = if busy { SETTLE_TICK } else { SETTLE_IDLE };
                inner.background.settle.wait_for(&mut settling, pause);
            }
            settling.wanted
        };
        let stopping = inner.background.stopping();
        busy = !stopping && inner.settle_all();
        let mut settling = inner.background.settling.lock();
        settling.done = wanted;
        settling.waiting.drain(..).for_each(Waker::wake);
        if stopping {
            return;
        }
    }
}

fn work(weak: &Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        if inner.background.stopping() {
            return;
        }
        let seen = *inner.background.work.lock();
        match inner.one_job() {
            Ok(true) => continue,
            Ok(false) => {}
            Err(Error::Closed) => return,
            Err(e) => {
                inner.figures.background_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("background work failed and will be tried again: {e}");
                if matches!(e, Error::NoSpace) {
                    inner.set_low_space(true);
                }
                std::thread::sleep(RETRY);
                continue;
            }
        }
        let mut work = inner.background.work.lock();
        if *work == seen {
            inner.background.ready.wait_for(&mut work, TICK * 4);
        }
    }
}

/// Marks a shard as busy with one kind of job for as long as it lives.
pub(crate) struct Claim<'a>(&'a AtomicBool);

impl<'a> Claim<'a> {
    pub(crate) fn new(flag: &'a AtomicBool) -> Option<Claim<'a>> {
        (!flag.swap(true, Ordering::Acquire)).then(|| Claim(flag))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Keeps a compaction to its share of a core and of the disk: after each piece of work it rests in
/// proportion. While writers are being slowed it does not rest.
struct Pace {
    share: f64,
    worked_since_us: Cell<u64>,
}

impl Pace {
    /// The longest rest.
    const MOST_US: f64 = 100_000.0;

    fn new(share: f64) -> Pace {
        Pace { share, worked_since_us: Cell::new(clock::monotonic_us()) }
    }

    fn rest(&self, inner: &Inner) {
        let hurry = self.share >= 1.0
            || inner.background.stopping()
            || inner.delay_us.load(Ordering::Relaxed) > 0;
        if !hurry {
            let worked = clock::monotonic_us().saturating_sub(self.worked_since_us.get());
            let rest = (worked as f64 * (1.0 / self.share - 1.0)).min(Self::MOST_US);
            std::thread::sleep(Duration::from_micros(rest as u64));
        }
        self.worked_since_us.set(clock::monotonic_us());
    }
}

/// A shard's tables, for those who decide what may be dropped from them.
pub(crate) struct Tables {
    version: Arc<Version>,
    hash: Arc<dyn crate::schema::Schema>,
    flushed_seq: u64,
    synced_seq: u64,
}

impl Tables {
    pub(crate) fn new(inner: &Inner, state: &State) -> Tables {
        Tables {
            version: state.version.clone(),
            hash: inner.schema.clone(),
            flushed_seq: state.flushed_seq,
            synced_seq: inner.log.synced_seq(),
        }
    }
}

impl Durable for Tables {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.version.get(key, self.hash.hash(key))
    }

    fn flushed_seq(&self) -> u64 {
        self.flushed_seq
    }

    fn synced_seq(&self) -> u64 {
        self.synced_seq
    }
}

impl Inner {
    /// Does the most urgent job there is. False when there is none.
    fn one_job(&self) -> Result<bool> {
        let start = self.background.next.fetch_add(1, Ordering::Relaxed);
        let order = || (0..self.shards.len()).map(move |i| (start + i) % self.shards.len());
        let mut failure = None;
        for n in order() {
            let Some(shard) = self.shards.get(n) else { continue };
            if !shard.lock().sealed.is_empty() && !shard.flushing.load(Ordering::Relaxed) {
                match self.flush_shard(n) {
                    Ok(()) => {
                        self.release_log()?;
                        return Ok(true);
                    }
                    // One damaged shard does not keep the others from being flushed.
                    Err(e @ Error::Corrupt { .. }) => failure = Some(e),
                    Err(e) => return Err(e),
                }
            }
        }
        if let Some(e) = failure {
            return Err(e);
        }
        let mut debts: Vec<(u64, usize)> = Vec::new();
        for n in order() {
            let Some(shard) = self.shards.get(n) else { continue };
            if !shard.compacting.load(Ordering::Relaxed) && !shard.idle.is_sick() {
                let version = shard.lock().version.clone();
                debts.push((compaction::debt(&version, &self.options), n));
            }
        }
        debts.sort_unstable_by(|a, b| b.cmp(a));
        for (_, n) in debts {
            if self.compact_shard(n, false)? {
                return Ok(true);
            }
        }
        for n in order() {
            if self.idle_job(n)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn shard(&self, n: usize) -> Result<&Shard> {
        self.shards.get(n).ok_or(Error::Closed)
    }

    /// Flushes the sealed memtables of a shard, oldest first.
    pub(crate) fn flush_shard(&self, n: usize) -> Result<()> {
        let shard = self.shard(n)?;
        let _claim = loop {
            match Claim::new(&shard.flushing) {
                Some(claim) => break claim,
                None if self.background.stopping() => return Err(Error::Closed),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        loop {
            let Some(sealed) = shard.lock().sealed.first().cloned() else { return Ok(()) };
            if let Err(e) = self.flush_one(n, shard, &sealed) {
                self.set_flush_failure(Some(e.clone()));
                return Err(e);
            }
        }
    }

    fn flush_one(&self, n: usize, shard: &Shard, sealed: &Arc<Sealed>) -> Result<()> {
        if self.log.synced() < sealed.last_lsn {
            self.log.sync()?;
        }
        self.settle(n)?;
        let (table, edits) = self.table_of(n, sealed)?;
        if let Err(e) = self.manifest.commit(&edits) {
            self.discard(table.as_slice());
            return Err(e);
        }
        self.install(shard, sealed, table);
        Ok(())
    }

    /// Removes tables whose manifest record failed, if it is certain that the manifest does not name them.
    /// If it is not, they stay until the next start, which removes what nothing names.
    fn discard(&self, tables: &[Arc<Table>]) {
        if self.manifest.is_settled() {
            for table in tables {
                if let Err(e) = self.disk.remove(table.path()) {
                    tracing::warn!("removing {}: {e}", table.path().display());
                }
            }
        }
    }

    /// Makes the table of a sealed memtable, and the edits that install it. No table when all it holds are
    /// tombstones with nothing below them.
    fn table_of(&self, n: usize, sealed: &Sealed) -> Result<(Option<Arc<Table>>, Vec<Edit>)> {
        let kept = |e: &&EntryRef| e.value().is_some() || !e.nothing_below();
        let mut edits = Vec::new();
        let mut table = None;
        if sealed.sorted().iter().any(|e| kept(&e)) {
            let id = self.next_file.fetch_add(1, Ordering::Relaxed);
            let built = self.build(&self.options.dir, id, sealed.stream().filter(kept))?;
            edits.push(Edit::AddTable { shard: n as u8, level: 0, meta: built.meta().clone() });
            edits.push(Edit::NextFile(self.next_file.load(Ordering::Relaxed)));
            self.figures.flushed_bytes.fetch_add(built.meta().bytes, Ordering::Relaxed);
            table = Some(built);
        }
        edits.push(Edit::SeqHighWater(sealed.last_seq));
        edits.push(Edit::Flushed {
            shard: n as u8,
            lsn: sealed.last_lsn,
            seq: sealed.last_seq,
            counts: sealed.counts.lock().clone(),
        });
        Ok((table, edits))
    }

    /// The oldest sealed memtable of a shard is in a durable table now.
    fn install(&self, shard: &Shard, sealed: &Sealed, table: Option<Arc<Table>>) {
        let mut state = shard.lock();
        if let Some(table) = table {
            state.version = Arc::new(state.version.with_flushed(table));
        }
        state.unseal(sealed.id);
        state.flushed_seq = sealed.last_seq;
        state.evict(EVICTION_STEPS);
        drop(state);
        shard.idle.flushed();
        self.set_flush_failure(None);
        self.figures.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// After the log has failed, nobody knows what of its end is on disk. Everything in memory is flushed
    /// and installed with one manifest record, so that a crash finds all shards before or after; then the
    /// log begins anew behind it. Commits are refused until then, so the memtables stand still.
    fn replace_log(&self) -> Result<()> {
        let mut claims = Vec::new();
        for shard in &self.shards {
            match Claim::new(&shard.flushing) {
                Some(claim) => claims.push(claim),
                // A flush is about to learn that the log failed.
                None => return Ok(()),
            }
        }
        let mut edits = vec![Edit::LogStart(self.log.appended())];
        let mut made = Vec::new();
        for (n, shard) in self.shards.iter().enumerate() {
            shard.lock().seal();
            self.settle(n)?;
            let sealed = shard.lock().sealed.clone();
            for memtable in sealed {
                let (table, more) = self.table_of(n, &memtable)?;
                edits.extend(more);
                made.push((shard, memtable, table));
            }
        }
        if let Err(e) = self.manifest.commit(&edits) {
            let tables: Vec<_> = made.into_iter().filter_map(|(_, _, table)| table).collect();
            self.discard(&tables);
            return Err(e);
        }
        for (shard, sealed, table) in made {
            self.install(shard, &sealed, table);
        }
        self.log.restart()?;
        tracing::warn!("the log goes on in a new file; all that was in memory is in tables");
        Ok(())
    }

    /// Writes sorted entries as table `id` of `dir`. Syncs the file, and the directory of tables.
    pub(crate) fn build<'a>(
        &self,
        dir: &Path,
        id: u64,
        entries: impl Iterator<Item = &'a EntryRef>,
    ) -> Result<Arc<Table>> {
        let path = table_path(dir, id);
        let io = |e: &std::io::Error| Error::io(format!("writing {}", path.display()), e);
        let make = || -> Result<Arc<Table>> {
            let file = self.disk.create(&path).map_err(|e| io(&e))?;
            let options = BuildOptions {
                block_bytes: self.options.block_bytes,
                compression: Compression::Lz4,
                // Level 0 is merged soon.
                filter: FilterKind::Bloom,
            };
            let mut builder = TableBuilder::new(file, &path, options, &*self.schema)?;
            for entry in entries {
                builder.add(entry.key(), entry.value())?;
            }
            let mut meta = builder.finish()?;
            meta.id = id;
            self.disk.sync_dir(&tables_dir(dir)).map_err(|e| io(&e))?;
            Table::open(&*self.disk, dir, meta)
        };
        make().inspect_err(|_| {
            if let Err(e) = self.disk.remove(&path) {
                tracing::warn!("a half-made table stays behind until the next start: {e}");
            }
        })
    }

    /// Looks up in the tables which unsettled keys of a shard were there before, and corrects the counts.
    /// A command that holds the shard may do the same meanwhile (`Guard::settled_count`): what it settled
    /// is not settled again.
    pub(crate) fn settle(&self, n: usize) -> Result<()> {
        let shard = self.shard(n)?;
        let _one = shard.settling.lock();
        'anew: loop {
            let (version, rounds, lists) = {
                let state = shard.lock();
                (state.version.clone(), state.settled_rounds, state.unsettled_lists())
            };
            if lists.is_empty() {
                return Ok(());
            }
            let gone = self.schema.gone(self.log.synced_seq());
            for (id, keys) in lists {
                let found = self.find_below(&version, &keys, &*gone)?;
                let mut state = shard.lock();
                if state.settled_rounds != rounds {
                    continue 'anew;
                }
                state.take_settled(id, keys.len());
                self.correct(&mut state, id, &found);
            }
            return Ok(());
        }
    }

    /// Those of `keys` of which tables hold a live version, but for those of groups that are `gone`. Their
    /// blocks come side by side.
    fn find_below(
        &self,
        version: &Version,
        keys: &[EntryRef],
        gone: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<Below>> {
        let mut found = Vec::new();
        for part in keys.chunks(SETTLED_AT_ONCE) {
            let mut blocks = BlockCache::with_weighter(SETTLED_AT_ONCE, SETTLED_BYTES, BlockWeight);
            let mut loads = Loads::default();
            let counts = |e: &&EntryRef| self.schema.group(e.key()).is_some_and(|g| !gone(g));
            let mut left: Vec<&EntryRef> = part.iter().filter(counts).collect();
            loop {
                // After many rounds it goes on as those do who may wait.
                let may_wait = loads.rounds >= LEVELS as u32;
                let mut fetch = Fetch { blocks: &mut blocks, loads: &mut loads, may_wait };
                let mut missed = Vec::new();
                for entry in left {
                    match held_below(self, version, entry.key(), &mut fetch) {
                        Ok(Some(mark)) => found.push((entry.clone(), mark)),
                        Ok(None) => {}
                        Err(Error::Miss) => missed.push(entry),
                        Err(e) => return Err(e),
                    }
                }
                if missed.is_empty() {
                    break;
                }
                left = missed;
                loads = wait_for(self.loader.load(loads))?;
            }
        }
        Ok(found)
    }

    /// Takes back what `found` keys of memtable `id` were counted too often: in the shard's counts, and in
    /// what that memtable and every later one noted when it was sealed.
    pub(crate) fn correct(&self, state: &mut State, id: u32, found: &[Below]) {
        for below in found {
            self.settled(&mut state.counts, below);
            for sealed in state.sealed.iter().filter(|s| s.id >= id) {
                self.settled(&mut sealed.counts.lock(), below);
            }
        }
    }

    /// Settles all shards; true when there was something to do.
    fn settle_all(&self) -> bool {
        let mut any = false;
        for (n, shard) in self.shards.iter().enumerate() {
            if self.background.stopping() {
                break;
            }
            // Whoever holds a shard for long settles it himself if he has to.
            if shard.try_lock().is_none_or(|state| state.unsettled() == 0) {
                continue;
            }
            any = true;
            // Damage is told to whoever asks for the count, or by the next flush.
            if let Err(e) = self.settle(n) {
                tracing::warn!("keys of a shard could not be counted yet: {e}");
            }
        }
        any
    }

    /// Asks for a settling of all shards that begins from here on. Answers its number.
    pub(crate) fn ask_to_settle(&self) -> u64 {
        let mut settling = self.background.settling.lock();
        settling.wanted += 1;
        self.background.settle.notify_one();
        settling.wanted
    }

    /// Whether the settling with this number has ended; if not, `waker` is called when it has.
    pub(crate) fn poll_settled(&self, number: u64, waker: &Waker) -> bool {
        let mut settling = self.background.settling.lock();
        if settling.done >= number {
            return true;
        }
        settling.waiting.push(waker.clone());
        false
    }

    /// One compaction of a shard, if its tables ask for one: what can wait until the shard is quiet only
    /// if it `is_quiet`.
    pub(crate) fn compact_shard(&self, n: usize, is_quiet: bool) -> Result<bool> {
        let shard = self.shard(n)?;
        let Some(_claim) = Claim::new(&shard.compacting) else { return Ok(false) };
        let (version, flushed_seq) = {
            let state = shard.lock();
            (state.version.clone(), state.flushed_seq)
        };
        let Some(plan) = compaction::pick(&version, &self.options) else { return Ok(false) };
        if !plan.is_urgent() && !is_quiet {
            return Ok(false);
        }
        self.compact(n, shard, version, flushed_seq, plan)?;
        Ok(true)
    }

    /// Merges everything a shard has into one sorted run.
    pub(crate) fn compact_fully(&self, n: usize) -> Result<()> {
        let shard = self.shard(n)?;
        let _claim = loop {
            match Claim::new(&shard.compacting) {
                Some(claim) => break claim,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let (version, flushed_seq) = {
            let state = shard.lock();
            (state.version.clone(), state.flushed_seq)
        };
        match compaction::everything(&version, &self.options) {
            Some(plan) => self.compact(n, shard, version, flushed_seq, plan),
            None => Ok(()),
        }
    }

    /// Carries a plan out. After a failure the shard is left alone for a while, so that others get their
    /// turn.
    pub(crate) fn compact(
        &self,
        n: usize,
        shard: &Shard,
        version: Arc<Version>,
        flushed_seq: u64,
        plan: compaction::Plan,
    ) -> Result<()> {
        let done = self.try_compact(n, shard, version, flushed_seq, plan);
        if let Err(e) = &done
            && !matches!(e, Error::Closed)
        {
            shard.idle.failed(e);
        }
        done
    }

    fn try_compact(
        &self,
        n: usize,
        shard: &Shard,
        version: Arc<Version>,
        flushed_seq: u64,
        plan: compaction::Plan,
    ) -> Result<()> {
        let tables = Tables {
            version: version.clone(),
            hash: self.schema.clone(),
            flushed_seq,
            synced_seq: self.log.synced_seq(),
        };
        let mut judge = self.schema.judge(n as u8);
        let pace = Pace::new(compaction::share(&plan, &version, &self.options));
        let outcome = compaction::run(
            &plan,
            n as u8,
            &mut Context {
                disk: &self.disk,
                dir: &self.options.dir,
                schema: &*self.schema,
                judge: &mut *judge,
                durable: &tables,
                options: &self.options,
                next_file: &|| self.next_file.fetch_add(1, Ordering::Relaxed),
                cancel: &self.background.stop,
                throttle: &|_| pace.rest(self),
                forget: &|keys| {
                    let mut state = shard.lock();
                    keys.iter().for_each(|key| state.forget_copy(self.schema.hash(key), key));
                },
            },
        )?;
        let mut edits = outcome.edits;
        edits.push(Edit::NextFile(self.next_file.load(Ordering::Relaxed)));
        if let Err(e) = self.manifest.commit(&edits) {
            // A moved table is among the inputs: it stays.
            let made: Vec<_> = outcome
                .tables
                .iter()
                .filter(|t| version.tables().all(|old| old.id() != t.id()))
                .cloned()
                .collect();
            self.discard(&made);
            return Err(e);
        }
        let mut state = shard.lock();
        state.version = Arc::new(state.version.with_compacted(&plan, &outcome.tables));
        drop(state);
        drop(version);
        let written: u64 = outcome.tables.iter().map(|t| t.meta().bytes).sum();
        self.figures.compactions.fetch_add(1, Ordering::Relaxed);
        self.figures.compacted_bytes.fetch_add(written, Ordering::Relaxed);
        self.background.obsolete.lock().extend(outcome.obsolete);
        self.remove_obsolete();
        Ok(())
    }

    /// Removes the files of tables that no version names and nobody reads any more.
    pub(crate) fn remove_obsolete(&self) {
        self.background.obsolete.lock().retain(|table| {
            if Arc::strong_count(table) > 1 {
                return true;
            }
            if let Err(e) = self.disk.remove(table.path()) {
                tracing::warn!("removing {}: {e}", table.path().display());
            }
            false
        });
    }

    /// Compares the free disk with the reserve.
    fn check_space(&self) {
        match self.disk.free_space(&self.options.dir) {
            Ok(free) => {
                let low = free < self.options.reserve_bytes;
                if self.set_low_space(low) {
                    if low {
                        tracing::warn!(
                            "the disk is nearly full ({free} bytes free): writes are refused"
                        );
                    } else {
                        tracing::info!("there is disk space again: writes resume");
                        self.background.wake();
                    }
                }
            }
            Err(e) => tracing::warn!("asking for free disk space: {e}"),
        }
    }

    /// How hard writers should be slowed: not at all while flushes and compactions keep up, more and more
    /// as memtables fill up and level 0 grows.
    fn find_pressure(&self) {
        let fill = self.memtable_fill();
        let from_memtables = if fill > 0.85 { ((fill - 0.85) * 20_000.0) as u64 } else { 0 };
        let mut from_tables = 0;
        for shard in &self.shards {
            // One that is held for long has neither grown nor had its quiet.
            let Some((version, lsn)) =
                shard.try_lock().map(|state| (state.version.clone(), state.last_lsn))
            else {
                continue;
            };
            shard.idle.saw(lsn);
            from_tables = from_tables.max(compaction::write_delay(&version, &self.options));
        }
        let delay = from_memtables.max(from_tables).min(20_000);
        self.delay_us.store(delay, Ordering::Relaxed);
    }
}

impl State {
    /// Keys of which it is not known yet whether tables hold an older version.
    pub(crate) fn unsettled(&self) -> usize {
        self.active.unsettled_len()
            + self.sealed.iter().map(|s| s.unsettled.lock().len()).sum::<usize>()
    }

    /// Those keys, by memtable; none is empty.
    pub(crate) fn unsettled_lists(&self) -> Vec<(u32, Vec<EntryRef>)> {
        let sealed = self.sealed.iter().map(|s| (s.id, s.unsettled.lock().clone()));
        let active = (self.active.id(), self.active.unsettled_entries());
        sealed.chain([active]).filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// The first `n` unsettled keys of a memtable are settled; it may have been sealed since.
    fn take_settled(&mut self, id: u32, n: usize) {
        if self.active.id() == id {
            self.active.settled(n);
        } else if let Some(sealed) = self.sealed.iter().find(|s| s.id == id) {
            let mut keys = sealed.unsettled.lock();
            let n = n.min(keys.len());
            keys.drain(..n);
        }
    }

    /// Only `keys` of a memtable are unsettled still.
    pub(crate) fn set_unsettled(&mut self, id: u32, keys: &[EntryRef]) {
        if self.active.id() == id {
            self.active.set_unsettled(keys);
        } else if let Some(sealed) = self.sealed.iter().find(|s| s.id == id) {
            *sealed.unsettled.lock() = keys.to_vec();
        }
    }
}
