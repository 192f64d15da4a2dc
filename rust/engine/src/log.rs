//! The write-ahead log: one file after another that all shards write to, in commit order.
//!
//! ```text
//!   append ──► stripes in memory ──write──► operating system ──sync──► device
//!              │                            │                          │
//!              appended()                   written()                  synced()      all in lsn
//! ```
//!
//! What always holds:
//! 1. `synced <= written <= appended`; each is the end of a prefix of the batches, in the order in which
//!    they were appended, which is the order of their sequence numbers.
//! 2. What [`Log::append`] has taken has its place on disk reserved: only a failing device can stop it
//!    from getting there. Where there is no place, the append is refused and nothing has happened.
//! 3. After a crash a prefix of the batches is found again that reaches `written` at least if only the
//!    process died, and `synced` if the power went.
//! 4. After a failed write or sync nothing more is taken or believed until [`Log::restart`].
//!
//! Locks are taken in this order: `sync_gate`, `writer`, `maker`, a stripe, the tip; `tail`, the store's and
//! the threads' are leaves.

mod format;
mod front;
mod open;
mod outgoing;
mod recover;
mod segment;
mod threads;
mod tip;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use recover::{Finding, check};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::options::SyncMode;
use forgekv_base::rng::Rng;
use format::SegmentHeader;
use front::{Front, Put};
use outgoing::Outgoing;
use parking_lot::Mutex;
use segment::{Plan, Segment, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use threads::{Prepare, Preparer, Syncer};
use tip::{Refusal, Reserved, Tip};

/// The bytes of a segment before its first frame: a block of its own, never written again.
const SEGMENT_HEADER: u64 = 4096;
/// The bytes of a frame before its batches.
const FRAME_HEADER: usize = 28;
/// How many released segments are kept for reuse in any case.
const MIN_SPARES: usize = 3;
/// How much is synced before the operating system is told to forget it.
const FORGET_BYTES: u64 = 1 << 20;
/// The smallest and the largest usual segment; what a caller asks for is brought between them.
const SEGMENT_BYTES: (u64, u64) = (2 * SEGMENT_HEADER, 1 << 30);
/// The largest batch.
const MAX_BATCH: usize = 2 << 30;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The directory of the segments; created if it is not there.
    pub dir: PathBuf,
    /// When what is written is synced.
    pub sync_mode: SyncMode,
    /// The size of one segment file.
    pub segment_bytes: u64,
}

/// What the tables already hold, as the manifest says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStart {
    /// The smallest `flushed_lsn` of all shards: nothing up to here is replayed or needed.
    pub min_lsn: u64,
    /// The greatest `flushed_lsn` of all shards: the log was synced that far, and no new batch gets an lsn
    /// below it.
    pub max_lsn: u64,
    /// No sequence number up to this one is drawn again.
    pub min_seq: u64,
}

/// A batch found in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// The position just after it.
    pub lsn: u64,
    /// Its bytes.
    pub batch: &'a [u8],
}

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The number of batches replayed.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The torn end that was cut off, if there was one: file, offset, and what was wrong.
    pub cut: Option<(PathBuf, u64, String)>,
    /// The first sequence number that will be drawn.
    pub next_seq: u64,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence number.
    pub seq: u64,
    /// The position just after it.
    pub lsn: u64,
}

/// The log. All methods may be called from any thread. Dropped without [`close`](Log::close) it leaves
/// what a killed process would leave.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    syncer: Syncer,
    preparer: Preparer,
}

/// What the threads of a log share.
#[derive(Debug)]
struct Shared {
    store: Store,
    front: Front,
    written: AtomicU64,
    synced: AtomicU64,
    synced_seq: AtomicU64,
    released: AtomicU64,
    /// Up to here the operating system has been told that nobody will read it soon.
    forgotten: AtomicU64,
    /// What was taken out; whoever holds it writes for all.
    writer: Mutex<Outgoing>,
    tail: Mutex<Tail>,
    /// Held during a sync.
    sync_gate: Mutex<()>,
    /// Held while a segment is made.
    maker: Mutex<()>,
    /// Whether new segments are filled with zeros.
    zero: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    prepare: Prepare,
}

/// What is written and not yet synced.
#[derive(Debug, Default)]
struct Tail {
    segments: Vec<Arc<Segment>>,
    lsn: u64,
    seq: u64,
}

impl Log {
    /// Opens the log in `options.dir`, or makes it, and hands every batch that the tables may lack to
    /// `replay`, in order. New batches go to a new segment.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        start: LogStart,
        replay: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<(Log, Recovery)> {
        let mode = options.sync_mode;
        let (shared, recovery) = Shared::open(disk, &options, start, false, replay)?;
        let shared = Arc::new(shared);
        let syncer = Syncer::start(Arc::clone(&shared), mode)?;
        let preparer = Preparer::start(Arc::clone(&shared))?;
        Ok((Log { shared, syncer, preparer }, recovery))
    }

    /// Keeps of a damaged log what is whole before the first damage, and gives up what follows, so that
    /// [`open`](Log::open) accepts it. Says what was given up.
    pub fn repair(disk: Arc<dyn Disk>, options: LogOptions, start: LogStart) -> Result<Recovery> {
        Shared::open(disk, &options, start, true, &mut |_| Ok(())).map(|(_, recovery)| recovery)
    }

    /// Appends a batch, in memory only. Refuses with [`Error::NoSpace`], [`Error::LogFailed`] or
    /// [`Error::Closed`] before anything has happened.
    #[inline]
    pub fn append(&self, batch: &[u8]) -> Result<Appended> {
        self.shared.append(batch)
    }

    /// Says that [`append`](Self::append) will be called soon: changes nothing but how long that takes.
    #[inline]
    pub fn prefetch(&self) {
        self.shared.front.prefetch();
    }

    /// Draws a sequence number that nothing else has or will have.
    #[inline]
    pub fn draw_seq(&self) -> u64 {
        let mut tip = self.shared.front.tip();
        tip.drawn += 1;
        tip.drawn
    }

    /// The end of what was appended.
    #[inline]
    pub fn appended(&self) -> u64 {
        self.shared.front.appended()
    }

    /// The end of what the operating system has: it survives the process.
    #[inline]
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// The end of what the device has: it survives the machine.
    #[inline]
    pub fn synced(&self) -> u64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// The sequence number of the last batch that is synced.
    pub fn synced_seq(&self) -> u64 {
        self.shared.synced_seq.load(Ordering::Acquire)
    }

    /// The last sequence number drawn.
    pub fn last_seq(&self) -> u64 {
        self.shared.front.tip().drawn
    }

    /// Hands everything that has been appended so far to the operating system. Who finds another caller
    /// at it waits for that one and finds its own bytes written too.
    pub fn write(&self) -> Result<()> {
        self.shared.write()
    }

    /// Writes and syncs everything appended so far; waits for the device. Answers the synced lsn.
    pub fn sync(&self) -> Result<u64> {
        self.shared.sync()
    }

    /// Wakes the sync thread: one sync commits all that is written by then.
    #[inline]
    pub fn request_sync(&self) {
        self.syncer.request();
    }

    /// Has `wake` called by the sync thread after each sync, failed ones included, with the synced lsn.
    /// It must not keep the log alive: the thread would wait for itself.
    pub fn on_synced(&self, wake: Arc<dyn Fn(u64) + Send + Sync>) {
        self.syncer.on_synced(wake);
    }

    /// Changes when what is written is synced.
    pub fn set_sync_mode(&self, mode: SyncMode) {
        self.shared.zero.store(mode == SyncMode::Always, Ordering::Relaxed);
        self.syncer.set_mode(mode);
    }

    /// All batches up to `lsn` are in durable tables, and the manifest says so durably: the log need not
    /// keep them.
    pub fn release(&self, lsn: u64) {
        let shared = &*self.shared;
        // A segment that is still being written to is not given away, whatever the caller believes.
        let lsn = lsn.min(self.written());
        if shared.released.fetch_max(lsn, Ordering::Relaxed) < lsn {
            let current = Arc::clone(shared.front.tip().segment());
            shared.store.release(lsn, &current);
        }
    }

    /// Keeps at most `most` segments for reuse, and fewer with each call while few are needed.
    pub fn trim_spares(&self, most: usize) {
        self.shared.store.trim(most);
    }

    /// How much of the log is still needed.
    pub fn bytes(&self) -> u64 {
        let oldest = self.shared.store.oldest().unwrap_or_default();
        self.appended().saturating_sub(oldest)
    }

    /// Why the log has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Goes on after a failure, in a fresh segment. Before, the caller has flushed the memtables of all
    /// shards and committed with one manifest edit that every shard's `flushed_lsn` is at least
    /// [`appended`](Log::appended): nothing that the log holds is needed any more.
    pub fn restart(&self) -> Result<()> {
        self.shared.restart()
    }

    /// Writes and syncs what there is, and stops the threads. Nothing is taken afterwards.
    pub fn close(&self) -> Result<()> {
        self.syncer.stop();
        self.preparer.stop(&self.shared.prepare);
        self.shared.close()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.syncer.stop();
        self.preparer.stop(&self.shared.prepare);
    }
}

impl Shared {
    #[inline]
    fn append(&self, batch: &[u8]) -> Result<Appended> {
        loop {
            match self.front.put(batch) {
                Put::Done { appended, prepare_next } => {
                    if prepare_next {
                        self.prepare.request();
                    }
                    return Ok(appended);
                }
                Put::Not(why) => self.make_room(batch.len(), why)?,
            }
        }
    }

    /// Waits for the next segment, or makes one for an unusually large batch.
    #[cold]
    fn make_room(&self, len: usize, why: Reserved) -> Result<()> {
        match why {
            Reserved::Refused(Refusal::Closed) => return Err(Error::Closed),
            Reserved::Refused(Refusal::Failed) => return Err(self.failure_error()),
            Reserved::NoRoom | Reserved::Place(_) => {}
        }
        if len > MAX_BATCH {
            let what = format!("a batch of {len} bytes is larger than the log takes ({MAX_BATCH})");
            return Err(Error::Io {
                doing: "appending to the log".to_string(),
                kind: std::io::ErrorKind::InvalidInput,
                text: what,
            });
        }
        // Its frame's header, the batch, the seal.
        let room = format::batch_room(len) + 2 * FRAME_HEADER as u64;
        if room <= self.store.standard {
            return self.prepare.wait();
        }
        // A segment of its own. This waits for the disk, as the write of so many bytes will.
        let whole = (SEGMENT_HEADER + room).next_multiple_of(SEGMENT_HEADER);
        self.prepare_next(whole - SEGMENT_HEADER)
    }

    /// Makes the next segment durable and puts it behind the current one, unless there is one that takes
    /// `capacity` bytes. All I/O happens with no lock held that an append or a write needs.
    fn prepare_next(&self, capacity: u64) -> Result<()> {
        let _maker = self.maker.lock();
        let (plan, smaller) = {
            let mut tip = self.front.tip();
            if tip.refusal().is_some() || tip.has_next(capacity - FRAME_HEADER as u64) {
                return Ok(());
            }
            // A smaller one is taken away first, and never put back: the new one voids it as soon as it
            // is made, or half made and revived by a power cut, so nothing may be written to it.
            let smaller = tip.take_next();
            let current = tip.segment();
            let header = SegmentHeader {
                incarnation: current.incarnation,
                base: current.end(),
                joins: current.end(),
                capacity,
                synced: self.synced.load(Ordering::Acquire),
                seq: tip.drawn,
            };
            let zero = capacity == self.store.standard && self.zero.load(Ordering::Relaxed);
            (Plan { header, zero }, smaller)
        };
        let made = self.store.make(&plan);
        if let Some(smaller) = smaller {
            self.store.discard(&smaller);
        }
        self.front.tip().set_next(made?);
        Ok(())
    }

    fn write(&self) -> Result<()> {
        let target = self.front.appended();
        if self.written.load(Ordering::Acquire) >= target {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        if self.written.load(Ordering::Acquire) >= target {
            return Ok(());
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(self.failure_error());
        }
        self.write_pending(&mut writer)
    }

    fn write_pending(&self, writer: &mut Outgoing) -> Result<()> {
        let (lsn, seq) = self.front.take(writer);
        let writes = writer.finish(self.synced.load(Ordering::Acquire));
        for (segment, lsn, range) in &writes {
            let bytes = &writer.bytes()[range.clone()];
            if let Err(e) = segment.file.write_all_at(bytes, segment.offset(*lsn)) {
                writer.clear();
                return Err(self.fail(format!("writing {}: {e}", segment.path.display())));
            }
        }
        writer.clear();
        let mut tail = self.tail.lock();
        for (segment, ..) in writes {
            if !tail.segments.iter().any(|known| Arc::ptr_eq(known, &segment)) {
                tail.segments.push(segment);
            }
        }
        tail.lsn = lsn;
        tail.seq = seq;
        self.written.store(lsn, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> Result<u64> {
        self.write()?;
        let target = self.written.load(Ordering::Acquire);
        let _gate = self.sync_gate.lock();
        let synced = self.synced.load(Ordering::Acquire);
        if synced >= target {
            return Ok(synced);
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(self.failure_error());
        }
        self.sync_tail()
    }

    /// Syncs what is written. In order, so that a later segment's frames can vouch for an earlier one's.
    fn sync_tail(&self) -> Result<u64> {
        let (synced, lsn, seq) = {
            let mut tail = self.tail.lock();
            (std::mem::take(&mut tail.segments), tail.lsn, tail.seq)
        };
        for segment in &synced {
            if let Err(e) = segment.file.sync_data() {
                return Err(self.fail(format!("syncing {}: {e}", segment.path.display())));
            }
        }
        self.synced_seq.store(seq, Ordering::Release);
        self.synced.store(lsn, Ordering::Release);
        self.forget(&synced, lsn);
        Ok(lsn)
    }

    /// The log is read at the next start at the earliest: what is synced need not take memory. With `Always`
    /// it may, since segments are written again there, and a block of which a part is written would have to
    /// be read.
    fn forget(&self, segments: &[Arc<Segment>], upto: u64) {
        let from = self.forgotten.load(Ordering::Relaxed);
        if self.zero.load(Ordering::Relaxed) || upto < from + FORGET_BYTES {
            return;
        }
        self.forgotten.store(upto, Ordering::Relaxed);
        for segment in segments {
            let page = |lsn: u64| segment.offset(lsn.clamp(segment.base, segment.end())) & !4095;
            let (start, end) = (page(from), page(upto));
            if start < end {
                segment.file.will_not_need(start, end - start);
            }
        }
    }

    /// Nothing more is taken. The first reason stays.
    #[cold]
    fn fail(&self, why: String) -> Error {
        tracing::error!("the log failed: {why}");
        self.failure.lock().get_or_insert(why);
        self.failed.store(true, Ordering::Release);
        self.front.tip().refuse(Refusal::Failed);
        self.prepare.wake_waiters();
        self.failure_error()
    }

    fn failure_error(&self) -> Error {
        Error::LogFailed(self.failure.lock().clone().unwrap_or_default())
    }

    fn restart(&self) -> Result<()> {
        let _gate = self.sync_gate.lock();
        let mut writer = self.writer.lock();
        let _maker = self.maker.lock();
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let lsn = self.front.appended();
        let seq = self.front.tip().drawn;
        let header = SegmentHeader {
            incarnation: Rng::from_entropy().next_u64(),
            base: lsn,
            joins: 0,
            capacity: self.store.standard,
            synced: lsn,
            seq,
        };
        let segment = self.store.make(&Plan { header, zero: self.zero.load(Ordering::Relaxed) })?;
        writer.clear();
        *self.tail.lock() = Tail { segments: Vec::new(), lsn, seq };
        self.written.store(lsn, Ordering::Release);
        self.synced_seq.store(seq, Ordering::Release);
        self.synced.store(lsn, Ordering::Release);
        self.store.release_others(&segment);
        if !self.front.restart(Tip::new(segment, seq)) {
            return Err(Error::Closed);
        }
        *self.failure.lock() = None;
        self.failed.store(false, Ordering::Release);
        self.prepare.forget();
        Ok(())
    }

    fn close(&self) -> Result<()> {
        {
            let mut tip = self.front.tip();
            if tip.refusal() == Some(&Refusal::Closed) {
                return Ok(());
            }
            tip.refuse(Refusal::Closed);
        }
        self.prepare.wake_waiters();
        self.sync()?;
        // One more frame says that all before it was synced: damage to it can then be told from a torn
        // tail.
        let _gate = self.sync_gate.lock();
        let mut writer = self.writer.lock();
        self.front.put_mark();
        let unused = self.front.tip().take_next();
        self.write_pending(&mut writer)?;
        self.sync_tail()?;
        if let Some(unused) = unused {
            self.store.discard(&unused);
        }
        Ok(())
    }
}

/// The directory of the log inside the engine's.
pub(crate) fn dir_in(engine: &Path) -> PathBuf {
    engine.join("log")
}
