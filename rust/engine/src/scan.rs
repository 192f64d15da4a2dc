//! Range reads over everything a shard has: staged effects, memtables, tables; newest wins.

use crate::batch::Batch;
use crate::entry::EntryRef;
use crate::error::{Error, Result};
use crate::guard::{Fetch, Loads};
use crate::shard::State;
use crate::table::{BlockCursor, ReadAhead, Table};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Blocks that are asked for beyond the one that is missing, doubled with every round.
const READ_AHEAD: u32 = 4;
const READ_AHEAD_MAX: u32 = 256;

/// What to visit.
#[derive(Clone, Copy)]
pub(crate) struct Range<'a> {
    pub(crate) from: Bound<&'a [u8]>,
    pub(crate) to: Bound<&'a [u8]>,
    pub(crate) reverse: bool,
}

impl Range<'_> {
    fn is_empty(&self) -> bool {
        match (self.from, self.to) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b) | Bound::Included(b)) => {
                a >= b
            }
            _ => false,
        }
    }

    fn before_start(&self, key: &[u8]) -> bool {
        match self.from {
            Bound::Included(k) => key < k,
            Bound::Excluded(k) => key <= k,
            Bound::Unbounded => false,
        }
    }

    fn past_end(&self, key: &[u8]) -> bool {
        match self.to {
            Bound::Included(k) => key > k,
            Bound::Excluded(k) => key >= k,
            Bound::Unbounded => false,
        }
    }

    fn outside(&self, key: &[u8]) -> bool {
        self.before_start(key) || self.past_end(key)
    }
}

/// A sorted run of disjoint tables, walked block by block.
struct Run<'a> {
    tables: &'a [Arc<Table>],
    table: usize,
    block: u32,
    cursor: Option<BlockCursor>,
    /// For who may wait.
    ahead: ReadAhead,
}

type Staged<'a> = std::vec::IntoIter<(&'a [u8], Option<&'a [u8]>)>;

/// One place that records come from. Newer places stand before older ones.
enum Source<'a> {
    Staged(std::iter::Peekable<Staged<'a>>),
    Memory(std::iter::Peekable<Box<dyn Iterator<Item = &'a EntryRef> + 'a>>),
    Run(Run<'a>),
}

impl<'a> Source<'a> {
    fn memory(
        entries: impl DoubleEndedIterator<Item = &'a EntryRef> + 'a,
        reverse: bool,
    ) -> Source<'a> {
        let entries: Box<dyn Iterator<Item = &'a EntryRef> + 'a> =
            if reverse { Box::new(entries.rev()) } else { Box::new(entries) };
        Source::Memory(entries.peekable())
    }

    fn key(&mut self) -> Option<&[u8]> {
        match self {
            Source::Staged(s) => s.peek().map(|(key, _)| *key),
            Source::Memory(s) => s.peek().map(|e| e.key()),
            Source::Run(r) => r.cursor.as_ref().map(|c| c.key()),
        }
    }

    fn value(&mut self) -> Option<&[u8]> {
        match self {
            Source::Staged(s) => s.peek().and_then(|(_, value)| *value),
            Source::Memory(s) => s.peek().and_then(|e| e.value()),
            Source::Run(r) => r.cursor.as_ref().and_then(|c| c.value()),
        }
    }

    fn advance(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<()> {
        match self {
            Source::Staged(s) => {
                s.next();
            }
            Source::Memory(s) => {
                s.next();
            }
            Source::Run(r) => r.advance(range, fetch)?,
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    /// Finds the first record of the run inside the range.
    fn seek(tables: &'a [Arc<Table>], range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<Run<'a>> {
        let mut run = Run { tables, table: 0, block: 0, cursor: None, ahead: ReadAhead::default() };
        let found =
            if range.reverse { run.seek_last(range, fetch) } else { run.seek_first(range, fetch) };
        found.map(|()| run)
    }

    fn seek_first(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<()> {
        let start = match range.from {
            Bound::Included(k) | Bound::Excluded(k) => k,
            Bound::Unbounded => &[],
        };
        self.table = self.tables.partition_point(|t| t.meta().largest.as_slice() < start);
        let Some(table) = self.tables.get(self.table) else { return Ok(()) };
        if range.past_end(&table.meta().smallest) {
            return Ok(());
        }
        let Some(block) = table.block_for(start) else { return Ok(()) };
        self.block = block;
        let mut cursor = BlockCursor::new(self.fetch(range, fetch)?);
        cursor.seek(start);
        self.cursor = Some(cursor);
        self.settle(range, fetch)
    }

    fn seek_last(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<()> {
        let at = match range.to {
            Bound::Included(k) => {
                self.tables.partition_point(|t| t.meta().smallest.as_slice() <= k)
            }
            Bound::Excluded(k) => self.tables.partition_point(|t| t.meta().smallest.as_slice() < k),
            Bound::Unbounded => self.tables.len(),
        };
        let Some(at) = at.checked_sub(1) else { return Ok(()) };
        let Some(table) = self.tables.get(at) else { return Ok(()) };
        self.table = at;
        if range.before_start(&table.meta().largest) {
            return Ok(());
        }
        let end = match range.to {
            Bound::Included(k) | Bound::Excluded(k) => Some(k),
            Bound::Unbounded => None,
        };
        let last = table.blocks().saturating_sub(1);
        self.block = end.and_then(|k| table.block_for(k)).unwrap_or(last);
        let mut cursor = BlockCursor::new(self.fetch(range, fetch)?);
        match end {
            Some(k) => cursor.seek_back(k),
            None => cursor.last(),
        }
        self.cursor = Some(cursor);
        self.settle(range, fetch)
    }

    /// The current block; when it is missing, the next ones of this table are asked for with it.
    fn fetch(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<crate::table::Block> {
        let Some(table) = self.tables.get(self.table) else { return Err(Error::Closed) };
        if fetch.may_wait && !range.reverse {
            self.ahead.reach(table, self.block);
        }
        let block = fetch.block(table, self.block);
        if matches!(block, Err(Error::Miss)) {
            let ahead = (READ_AHEAD << fetch.loads.rounds.min(8)).min(READ_AHEAD_MAX);
            for n in 1..ahead {
                let next =
                    if range.reverse { self.block.checked_sub(n) } else { Some(self.block + n) };
                match next {
                    Some(no)
                        if no < table.blocks()
                            && fetch.blocks.peek(&(table.id(), no)).is_none() =>
                    {
                        fetch.loads.miss(table, no);
                    }
                    _ => break,
                }
            }
        }
        block
    }

    /// Moves on until the cursor stands on a record inside the range, or the run is at its end.
    fn settle(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<()> {
        loop {
            let Some(cursor) = &mut self.cursor else { return Ok(()) };
            if cursor.valid() {
                let (skip, end) = if range.reverse {
                    (range.past_end(cursor.key()), range.before_start(cursor.key()))
                } else {
                    (range.before_start(cursor.key()), range.past_end(cursor.key()))
                };
                if end {
                    self.cursor = None;
                } else if skip {
                    if range.reverse {
                        cursor.prev()
                    } else {
                        cursor.next()
                    }
                    continue;
                }
                return Ok(());
            }
            if !self.next_block(range) {
                self.cursor = None;
                return Ok(());
            }
            let mut cursor = BlockCursor::new(self.fetch(range, fetch)?);
            if range.reverse {
                cursor.last()
            } else {
                cursor.first()
            }
            self.cursor = Some(cursor);
        }
    }

    fn next_block(&mut self, range: &Range<'_>) -> bool {
        let Some(table) = self.tables.get(self.table) else { return false };
        if range.reverse {
            if self.block > 0 {
                self.block -= 1;
                return true;
            }
            let Some(before) = self.table.checked_sub(1) else { return false };
            let Some(table) = self.tables.get(before) else { return false };
            if range.before_start(&table.meta().largest) {
                return false;
            }
            self.table = before;
            self.block = table.blocks().saturating_sub(1);
            return true;
        }
        if self.block + 1 < table.blocks() {
            self.block += 1;
            return true;
        }
        self.table += 1;
        self.block = 0;
        self.tables.get(self.table).is_some_and(|t| !range.past_end(&t.meta().smallest))
    }

    fn advance(&mut self, range: &Range<'_>, fetch: &mut Fetch<'_>) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            if range.reverse { cursor.prev() } else { cursor.next() }
        }
        self.settle(range, fetch)
    }
}

/// See [`crate::Guard::scan`].
pub(crate) fn scan(
    state: &mut State,
    loads: &mut Loads,
    may_wait: bool,
    shard: u8,
    range: Range<'_>,
    staged: &mut Batch,
    each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut fetch = Fetch { blocks: &mut state.blocks, loads, may_wait };
    let mut sources = Vec::with_capacity(8);
    if !staged.is_empty() {
        let mut ops = staged.range(shard, range.from, range.to);
        if range.reverse {
            ops.reverse();
        }
        sources.push(Source::Staged(ops.into_iter().peekable()));
    }
    if !state.active.is_empty() {
        sources.push(Source::memory(state.active.range(range.from, range.to), range.reverse));
    }
    for sealed in state.sealed.iter().rev() {
        sources.push(Source::memory(sealed.range(range.from, range.to).iter(), range.reverse));
    }
    // All runs seek before the first miss is reported, so that their blocks are loaded together.
    let mut missed = false;
    for run in state.version.runs() {
        match Run::seek(run, &range, &mut fetch) {
            Ok(run) => sources.push(Source::Run(run)),
            Err(Error::Miss) => missed = true,
            Err(e) => return Err(e),
        }
    }
    if missed {
        return Err(Error::Miss);
    }
    merge(&mut sources, &range, &mut fetch, each)
}

fn merge(
    sources: &mut [Source<'_>],
    range: &Range<'_>,
    fetch: &mut Fetch<'_>,
    each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<()> {
    let mut key = Vec::new();
    loop {
        let Some(newest) = first(sources, range.reverse) else { return Ok(()) };
        let Some(source) = sources.get_mut(newest) else { return Ok(()) };
        key.clear();
        key.extend_from_slice(source.key().unwrap_or_default());
        debug_assert!(!range.outside(&key));
        if let Some(value) = source.value()
            && each(&key, value).is_break()
        {
            return Ok(());
        }
        for source in sources.iter_mut().skip(newest) {
            if source.key() == Some(key.as_slice()) {
                source.advance(range, fetch)?;
            }
        }
    }
}

/// The source with the first key; the newest of those that have the same.
fn first(sources: &mut [Source<'_>], reverse: bool) -> Option<usize> {
    let mut best: Option<usize> = None;
    for i in 0..sources.len() {
        let (newer, older) = sources.split_at_mut(i);
        let Some(key) = older.first_mut().and_then(Source::key) else { continue };
        let wins = match best.and_then(|b| newer.get_mut(b)).and_then(Source::key) {
            None => true,
            Some(first) if reverse => key > first,
            Some(first) => key < first,
        };
        if wins {
            best = Some(i);
        }
    }
    best
}
