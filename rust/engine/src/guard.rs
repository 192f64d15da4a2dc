//! Shards, held: what a command reads through and commits with.
//!
//! A guard belongs to one of two worlds. On an event loop it never touches a mapping: a block that is not
//! in memory is noted in [`Loads`] and the read answers `Miss`. On a thread that may wait it loads what
//! it needs.

use crate::batch::Batch;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::memtable::{self, Counts, MARKED, WEIGHT};
use crate::schema::Mark;
use crate::shard::State;
use crate::table::{Block, Table};
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;

/// Unsettled keys of one shard whose blocks a command loads in one round.
const SETTLE_MISSES: usize = 64;
/// So many unsettled keys of a shard are looked up on an event loop; more are left to a thread.
const SETTLE_HERE: usize = 64;

/// A set of shards: bit n stands for shard n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// All 64.
    pub const ALL: ShardSet = ShardSet(u64::MAX);

    /// The set of one shard.
    pub fn one(shard: u8) -> ShardSet {
        ShardSet(1 << (shard & 63))
    }

    /// Adds a shard.
    pub fn insert(&mut self, shard: u8) {
        self.0 |= 1 << (shard & 63);
    }

    /// Whether a shard is in the set.
    pub fn contains(self, shard: u8) -> bool {
        self.0 >> (shard & 63) & 1 == 1
    }

    /// The shards, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let shard = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            Some(shard)
        })
    }
}

/// Blocks that a command missed, and those loaded for it: carried from one run to the next.
#[derive(Default)]
pub struct Loads {
    pub(crate) missed: Vec<(Arc<Table>, u32)>,
    pub(crate) loaded: Vec<(u64, u32, Block)>,
    pub(crate) failed: Option<Error>,
    /// How often this command has been put back.
    pub rounds: u32,
}

impl Loads {
    /// Whether anything is missing.
    pub fn is_empty(&self) -> bool {
        self.missed.is_empty()
    }

    pub(crate) fn miss(&mut self, table: &Arc<Table>, block: u32) {
        let there = |(t, b): &(Arc<Table>, u32)| t.id() == table.id() && *b == block;
        if !self.missed.iter().any(there) {
            self.missed.push((table.clone(), block));
        }
    }

    fn find(&self, table: u64, block: u32) -> Option<&Block> {
        self.loaded.iter().find(|(t, b, _)| *t == table && *b == block).map(|(_, _, b)| b)
    }
}

/// Finds blocks for one shard: loaded ones, cached ones, or those it may wait for.
pub(crate) struct Fetch<'a> {
    pub(crate) blocks: &'a mut crate::shard::BlockCache,
    pub(crate) loads: &'a mut Loads,
    pub(crate) may_wait: bool,
}

impl Fetch<'_> {
    pub(crate) fn block(&mut self, table: &Arc<Table>, no: u32) -> Result<Block> {
        if let Some(block) = self.blocks.get(&(table.id(), no)) {
            return Ok(block.clone());
        }
        if let Some(block) = self.loads.find(table.id(), no) {
            let block = block.clone();
            self.blocks.insert((table.id(), no), block.clone());
            return Ok(block);
        }
        if self.may_wait {
            let block = table.load_block(no)?;
            self.blocks.insert((table.id(), no), block.clone());
            return Ok(block);
        }
        self.loads.miss(table, no);
        Err(Error::Miss)
    }
}

pub(crate) type Held<'e> = SmallVec<[(u8, MutexGuard<'e, State>); 2]>;

/// Shards, held until this is dropped.
pub struct Guard<'e> {
    engine: &'e Inner,
    held: Held<'e>,
    loads: Loads,
    /// Blocks whose values were too large to copy; keeps what `get` has lent alive.
    kept: Vec<Block>,
    may_wait: bool,
}

impl<'e> Guard<'e> {
    pub(crate) fn new(
        engine: &'e Inner,
        held: Held<'e>,
        loads: Loads,
        may_wait: bool,
    ) -> Guard<'e> {
        Guard { engine, held, loads, kept: Vec::new(), may_wait }
    }

    /// Gives the locks back and keeps the list of what was missed.
    pub fn into_loads(mut self) -> Loads {
        std::mem::take(&mut self.loads)
    }

    /// Whether this is a thread that may wait for the disk.
    pub fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// As [`Engine::stats`](crate::Engine::stats), which must not be asked while shards are held, of the held
    /// shards.
    pub fn stats(&self) -> crate::Stats {
        self.engine.stats(self.held.iter().map(|(_, state)| state.figures()))
    }

    /// Whether a shard is held.
    pub fn holds(&self, shard: u8) -> bool {
        self.held.iter().any(|(s, _)| *s == shard)
    }

    fn index(&self, shard: u8) -> Result<usize> {
        if self.held.len() == crate::SHARDS {
            return Ok(usize::from(shard));
        }
        self.held.iter().position(|(s, _)| *s == shard).ok_or(Error::NotHeld(shard))
    }

    /// The newest value of a key. `hash` is the schema's hash of `key`.
    ///
    /// # Errors
    /// `Miss` when a block has to be loaded first, `NotHeld`, or damage.
    pub fn get(&mut self, shard: u8, hash: u64, key: &[u8]) -> Result<Option<&[u8]>> {
        let index = self.index(shard)?;
        let Some((_, state)) = self.held.get_mut(index) else { return Err(Error::NotHeld(shard)) };
        let state = &mut **state;
        if let Some(at) = state.table.find(hash, key) {
            state.hot_reads += 1;
            let Some(entry) = state.table.at(at) else { return Ok(None) };
            entry.touch();
            return Ok(entry.value());
        }
        let mut fetch =
            Fetch { blocks: &mut state.blocks, loads: &mut self.loads, may_wait: self.may_wait };
        let mut probed = false;
        let mut found = None;
        for table in state.version.candidates(key, hash) {
            let Some(no) = table.block_for(key) else { continue };
            probed = true;
            let block = match fetch.block(table, no) {
                Ok(block) => block,
                Err(e) => {
                    state.reads.cold += 1;
                    return Err(e);
                }
            };
            if let Some(value) = block.get(key) {
                if value.is_some() {
                    found = Some(block);
                }
                break;
            }
        }
        if probed {
            state.reads.block += 1;
        } else {
            state.reads.filtered += 1;
        }
        let Some(block) = found else { return Ok(None) };
        if let Some(Some(value)) = block.get(key)
            && state.keep_clean(hash, key, value)
        {
            let Some(at) = state.table.find(hash, key) else { return Ok(None) };
            return Ok(state.table.at(at).and_then(|entry| entry.value()));
        }
        self.kept.push(block);
        Ok(self.kept.last().and_then(|block| block.get(key)).flatten())
    }

    /// Notes which blocks a `get` would miss, without failing: so that the declared keys of a command are
    /// loaded together.
    pub fn probe(&mut self, shard: u8, hash: u64, key: &[u8]) {
        // A miss is noted in `loads`; any other error will meet the command itself.
        if self.get(shard, hash, key).is_err() {}
    }

    /// Visits the records of a shard between two keys, in ascending order or, if `reverse`, descending,
    /// until `each` breaks. What is staged in `staged` is seen as if it were committed.
    ///
    /// # Errors
    /// As [`get`](Self::get). `each` may have been called for some records before a `Miss`.
    pub fn scan(
        &mut self,
        shard: u8,
        from: std::ops::Bound<&[u8]>,
        to: std::ops::Bound<&[u8]>,
        reverse: bool,
        staged: &mut Batch,
        each: &mut dyn FnMut(&[u8], &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<()> {
        let index = self.index(shard)?;
        let Some((_, state)) = self.held.get_mut(index) else { return Err(Error::NotHeld(shard)) };
        let range = crate::scan::Range { from, to, reverse };
        let may_wait = self.may_wait;
        crate::scan::scan(state, &mut self.loads, may_wait, shard, range, staged, each)
    }

    /// A number never used before and never again, greater than that of every earlier commit.
    pub fn new_generation(&self) -> u64 {
        self.engine.log.draw_seq()
    }

    /// Commits a batch: one record in the log, then the memtables. Atomic over all its shards, which must
    /// all be held. Returns the lsn up to which the log has to be written (or synced) before anybody is
    /// told.
    ///
    /// # Errors
    /// `NoSpace`, `LogFailed`, `NotHeld`, or `Busy` with [`STALLED`](crate::STALLED) when memtables are full;
    /// nothing has happened then.
    pub fn commit(&mut self, batch: &Batch) -> Result<u64> {
        if batch.is_empty() {
            return Ok(self.seen());
        }
        // Two waits for memory at a time: for the end of the log, and for where the records are.
        self.engine.log.prefetch();
        for (shard, hash, ..) in batch.ops() {
            let index = self.index(shard)?;
            if let Some((_, state)) = self.held.get(index) {
                state.table.prefetch(hash);
            }
        }
        self.engine.admit(batch, self.may_wait)?;
        let appended = self.engine.log.append(batch.bytes())?;
        for (shard, hash, key, value) in batch.ops() {
            let index = self.index(shard)?;
            if let Some((_, state)) = self.held.get_mut(index) {
                state.active.note(appended.lsn, appended.seq);
                state.last_lsn = appended.lsn;
                state.apply(&*self.engine.schema, hash, key, value);
            }
        }
        // Of the shards that are held, only those that were written to.
        for (_, state) in self.held.iter_mut().filter(|(_, s)| s.last_lsn == appended.lsn) {
            self.engine.after_commit(state);
        }
        if batch.leaves_garbage() {
            self.engine.orphaned(batch);
        }
        Ok(appended.lsn)
    }

    /// The lsn of the newest batch that a read under this guard can have seen.
    pub fn seen(&self) -> u64 {
        self.held.iter().map(|(_, state)| state.last_lsn).max().unwrap_or_default()
    }

    /// Live keys of a group in one held shard, unsettled ones counted as new.
    ///
    /// # Errors
    /// `NotHeld`.
    pub fn count(&self, shard: u8, group: u32) -> Result<i64> {
        Ok(memtable::of(self.counts(shard)?, group))
    }

    fn counts(&self, shard: u8) -> Result<&Counts> {
        let index = self.index(shard)?;
        self.held.get(index).map(|(_, state)| &state.counts).ok_or(Error::NotHeld(shard))
    }

    /// Live keys of a group in one held shard, exactly: keys of which it was not known whether they had
    /// been there before are looked up first, a bounded number in each run of the command.
    ///
    /// # Errors
    /// `Miss` when a block has to be loaded first, `Busy` with [`UNSETTLED`](crate::UNSETTLED) when too much is
    /// to be looked up, `NotHeld`, or damage.
    pub fn settled_count(&mut self, shard: u8, group: u32) -> Result<i64> {
        self.settle(shard, group)?;
        self.count(shard, group)
    }

    /// Marked values of a group in one held shard, as exactly, and the sum of their weights modulo 2^64.
    ///
    /// # Errors
    /// As [`settled_count`](Self::settled_count).
    pub fn settled_marks(&mut self, shard: u8, group: u32) -> Result<(i64, i64)> {
        self.settle(shard, group)?;
        let counts = self.counts(shard)?;
        Ok((memtable::of(counts, group | MARKED), memtable::of(counts, group | WEIGHT)))
    }

    fn settle(&mut self, shard: u8, group: u32) -> Result<()> {
        let index = self.index(shard)?;
        let Some((_, state)) = self.held.get_mut(index) else { return Err(Error::NotHeld(shard)) };
        // More with every round: others may write as fast as is counted.
        let most = SETTLE_HERE << (2 * self.loads.rounds).min(16);
        match state.unsettled() {
            0 => Ok(()),
            n if n > most && !self.may_wait => Err(Error::Busy(crate::UNSETTLED)),
            _ => settle(self.engine, state, group, &mut self.loads, self.may_wait),
        }
    }

    /// Forgets the counts of a group whose keys nobody can reach any more, in the shards that are held.
    pub fn forget(&mut self, group: u32) {
        for (_, state) in &mut self.held {
            state.counts.retain(|(g, _)| *g & !(MARKED | WEIGHT) != group);
        }
    }
}

/// Settles what is unsettled of a group in a held shard, as far as blocks are there.
fn settle(
    engine: &Inner,
    state: &mut State,
    group: u32,
    loads: &mut Loads,
    may_wait: bool,
) -> Result<()> {
    let mut missed = 0;
    let version = state.version.clone();
    for (id, keys) in state.unsettled_lists() {
        let mut fetch = Fetch { blocks: &mut state.blocks, loads, may_wait };
        let (mut found, mut left) = (Vec::new(), Vec::new());
        for entry in keys {
            if missed >= SETTLE_MISSES || engine.schema.group(entry.key()) != Some(group) {
                left.push(entry);
                continue;
            }
            match held_below(engine, &version, entry.key(), &mut fetch) {
                Ok(Some(mark)) => found.push((entry, mark)),
                Ok(None) => {}
                Err(Error::Miss) => {
                    missed += 1;
                    left.push(entry);
                }
                Err(e) => return Err(e),
            }
        }
        // Not a staged effect, and none is needed: it only makes the same counts exact.
        state.settled_rounds += 1;
        state.set_unsettled(id, &left);
        engine.correct(state, id, &found);
    }
    if missed > 0 { Err(Error::Miss) } else { Ok(()) }
}

/// The mark of the live version that tables hold of a key, if they do.
pub(crate) fn held_below(
    engine: &Inner,
    version: &crate::version::Version,
    key: &[u8],
    fetch: &mut Fetch<'_>,
) -> Result<Option<Option<Mark>>> {
    for table in version.candidates(key, engine.schema.hash(key)) {
        let Some(no) = table.block_for(key) else { continue };
        if let Some(value) = fetch.block(table, no)?.get(key) {
            return Ok(value.map(|value| engine.mark(value)));
        }
    }
    Ok(None)
}
