//! What is done when a shard has its quiet: space comes back that no flush would free.
//!
//! Garbage is what a compaction would drop: records that nothing claims any more ([`Judge`] says so), and
//! old versions that tombstones hide. Three things are done for a quiet shard, each at most once a round:
//!
//! 1. A memtable whose tombstones hide much of what the tables hold is flushed.
//! 2. Tables that are mostly tombstones are merged down (`compaction::pick` names them).
//! 3. A few blocks of each table are shown to a judge; a table of which it would drop a quarter is
//!    rewritten. The deepest tables come first, so that what is dropped leaves no tombstones behind.
//!
//! The third is asked for by [`Engine::hint_garbage`] or a batch that says so, and is done now and then for
//! every shard whose tables have changed, since not everybody knows what he orphans. It only reads until it
//! finds something: a server with nothing to do and no garbage writes nothing.

use crate::background::{Claim, Tables};
use crate::compaction;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::guard::ShardSet;
use crate::schema::Verdict;
use crate::shard::{Shard, State};
use crate::table::{BlockCursor, Table};
use crate::version::LEVELS;
use forgekv_base::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// So many blocks of a table are looked at.
const SAMPLE_BLOCKS: u32 = 8;
/// A table is rewritten when one of so many bytes looked at would be dropped.
const GARBAGE_PART: u64 = 4;
/// So many quiet times without a flush count as quiet, though somebody writes a little.
const TRICKLE: u64 = 20;
/// Without a hint, a shard is looked at again only when so many quiet times have passed.
const PAUSE: u64 = 200;
/// Between two tables.
const REST: Duration = Duration::from_millis(1);

/// What is remembered of a shard to know when it has its quiet. Times in monotonic microseconds.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// There may be garbage in the tables.
    hinted: AtomicBool,
    /// What made it garbage is in the log up to here.
    hint_lsn: AtomicU64,
    /// The tables have changed since they were looked at.
    changed: AtomicBool,
    /// When they were last looked at.
    looked_us: AtomicU64,
    flushed_us: AtomicU64,
    /// The last batch that was seen here, and when it was seen first.
    seen_lsn: AtomicU64,
    seen_us: AtomicU64,
    /// The last batch at which the memtable's tombstones were weighed.
    weighed_lsn: AtomicU64,
    /// A compaction failed: none until then.
    sick_until_us: AtomicU64,
}

impl Idle {
    /// For a shard found on disk.
    pub(crate) fn new() -> Idle {
        let now = clock::monotonic_us().max(1);
        let idle = Idle::default();
        idle.changed.store(true, Ordering::Relaxed);
        for time in [&idle.looked_us, &idle.flushed_us, &idle.seen_us] {
            time.store(now, Ordering::Relaxed);
        }
        idle
    }

    /// A memtable was flushed.
    pub(crate) fn flushed(&self) {
        self.flushed_us.store(clock::monotonic_us(), Ordering::Relaxed);
        self.changed.store(true, Ordering::Relaxed);
    }

    /// The housekeeper saw this as the shard's last batch.
    pub(crate) fn saw(&self, lsn: u64) {
        if self.seen_lsn.swap(lsn, Ordering::Relaxed) != lsn {
            self.seen_us.store(clock::monotonic_us(), Ordering::Relaxed);
        }
    }

    /// Whether a compaction that failed lately is better left alone for a while.
    pub(crate) fn is_sick(&self) -> bool {
        clock::monotonic_us() < self.sick_until_us.load(Ordering::Relaxed)
    }

    /// A compaction failed with `e`. Damage does not heal by itself; other failures may.
    pub(crate) fn failed(&self, e: &Error) {
        let seconds = if matches!(e, Error::Corrupt { .. }) { 60 } else { 2 };
        let until = clock::monotonic_us() + seconds * 1_000_000;
        self.sick_until_us.store(until, Ordering::Relaxed);
    }

    fn is_quiet(&self, quiet_us: u64) -> bool {
        let now = clock::monotonic_us();
        let since = |time: &AtomicU64| now.saturating_sub(time.load(Ordering::Relaxed));
        since(&self.flushed_us) >= quiet_us
            && (since(&self.seen_us) >= quiet_us || since(&self.flushed_us) >= TRICKLE * quiet_us)
    }

    fn wants_a_look(&self, quiet_us: u64) -> bool {
        let looked = self.looked_us.load(Ordering::Relaxed);
        let since = clock::monotonic_us().saturating_sub(looked);
        self.hinted.load(Ordering::Relaxed)
            || (self.changed.load(Ordering::Relaxed) && since >= PAUSE * quiet_us)
    }
}

impl Engine {
    /// Much of what these shards' tables hold may be unreachable from now on: it is looked for when they
    /// have their quiet, and its disk given back.
    pub fn hint_garbage(&self, shards: ShardSet) {
        for n in shards.iter() {
            self.inner().hint_garbage(n);
        }
    }
}

impl Inner {
    pub(crate) fn hint_garbage(&self, n: u8) {
        if let Some(shard) = self.shards.get(usize::from(n)) {
            shard.idle.hint_lsn.fetch_max(self.log.appended(), Ordering::Relaxed);
            shard.idle.hinted.store(true, Ordering::Relaxed);
        }
    }

    /// One piece of work for a shard that has its quiet. False when there is none.
    pub(crate) fn idle_job(&self, n: usize) -> Result<bool> {
        let quiet_us = self.options.quiet_ms * 1000;
        let Some(shard) = self.shards.get(n) else { return Ok(false) };
        if !shard.idle.is_quiet(quiet_us) || shard.idle.is_sick() {
            return Ok(false);
        }
        if self.seal_what_hides(shard) {
            self.flush_shard(n)?;
            return Ok(true);
        }
        if self.compact_shard(n, true)? {
            return Ok(true);
        }
        if shard.idle.wants_a_look(quiet_us) {
            return self.look_for_garbage(n, shard);
        }
        Ok(false)
    }

    /// Seals the memtable if its tombstones hide much of what the tables hold, or if what a hint was about
    /// is in it.
    fn seal_what_hides(&self, shard: &Shard) -> bool {
        let mut state = shard.lock();
        if state.active.is_empty() {
            return false;
        }
        let hinted = shard.idle.hinted.load(Ordering::Relaxed)
            && state.active.first_lsn() <= shard.idle.hint_lsn.load(Ordering::Relaxed);
        let lsn = state.last_lsn;
        let news = shard.idle.weighed_lsn.swap(lsn, Ordering::Relaxed) != lsn;
        if hinted || (news && hides_much(&state, self.options.table_bytes / 64)) {
            state.seal();
            return true;
        }
        false
    }

    /// Shows a part of each table to a judge, and rewrites those that are full of garbage.
    fn look_for_garbage(&self, n: usize, shard: &Shard) -> Result<bool> {
        if !shard.lock().sealed.is_empty() {
            // What made it garbage is on its way to the tables, by another thread.
            return Ok(false);
        }
        // What made it garbage may have to be synced to be believed.
        if self.log.synced() < self.log.appended() {
            self.log.sync()?;
        }
        shard.idle.hinted.store(false, Ordering::Relaxed);
        shard.idle.changed.store(false, Ordering::Relaxed);
        shard.idle.looked_us.store(clock::monotonic_us(), Ordering::Relaxed);
        let version = shard.lock().version.clone();
        let mut found = false;
        for level in (0..LEVELS).rev() {
            for table in version.level(level) {
                if self.background.stopping() {
                    return Err(Error::Closed);
                }
                if self.shards.iter().any(|shard| !shard.lock().sealed.is_empty()) {
                    // There is something to flush; the rest waits for the next quiet.
                    shard.idle.hinted.store(true, Ordering::Relaxed);
                    return Ok(true);
                }
                if self.is_garbage(n, shard, table)? {
                    found |= self.rewrite(n, shard, table.id())?;
                }
                std::thread::sleep(REST);
            }
        }
        if found {
            tracing::debug!("shard {n}: garbage was found and dropped");
        }
        Ok(found)
    }

    /// Whether a judge would drop much of a table.
    fn is_garbage(&self, n: usize, shard: &Shard, table: &Arc<Table>) -> Result<bool> {
        let tables = {
            let state = shard.lock();
            Tables::new(self, &state)
        };
        let mut judge = self.schema.judge(n as u8);
        let blocks = table.blocks();
        let looks = blocks.min(SAMPLE_BLOCKS);
        let (mut seen, mut dropped) = (0, 0);
        for look in 0..looks {
            let no = u64::from(look) * u64::from(blocks) / u64::from(looks.max(1));
            let mut cursor = BlockCursor::new(table.load_block(no as u32)?);
            cursor.first();
            while cursor.valid() {
                if let Some(value) = cursor.value() {
                    let bytes = (cursor.key().len() + value.len()) as u64;
                    seen += bytes;
                    if judge.verdict(cursor.key(), value, &tables)? == Verdict::Drop {
                        dropped += bytes;
                    }
                }
                cursor.next();
            }
        }
        Ok(dropped > 0 && dropped * GARBAGE_PART >= seen)
    }

    fn rewrite(&self, n: usize, shard: &Shard, table: u64) -> Result<bool> {
        let Some(_claim) = Claim::new(&shard.compacting) else { return Ok(false) };
        let (version, flushed_seq) = {
            let state = shard.lock();
            (state.version.clone(), state.flushed_seq)
        };
        // Somebody else may have compacted it meanwhile.
        let Some(plan) = compaction::rewrite(&version, &self.options, table) else {
            return Ok(false);
        };
        self.compact(n, shard, version, flushed_seq, plan)?;
        Ok(true)
    }
}

/// Whether the tombstones of the active memtable hide an eighth of what the tables hold, and at least
/// `least` bytes.
fn hides_much(state: &State, least: u64) -> bool {
    let hiding = state.active.hiding();
    if hiding == 0 {
        return false;
    }
    let (mut entries, mut raw) = (0, 0);
    for table in state.version.tables() {
        entries += table.meta().entries;
        raw += table.meta().raw_bytes;
    }
    entries > 0 && hiding * 8 >= entries && hiding * (raw / entries) >= least
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;
