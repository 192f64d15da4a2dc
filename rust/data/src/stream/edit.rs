//! One command's change of a stream.
//!
//! A command opens the stream, adds and deletes entries, and finishes: then the header is written, if need be.
//! Blocks are changed as the change comes. An entry that is added waits for the end, so that header and tail,
//! which are one record, change in one place and at once.

use super::block::{self, Extent};
use super::id::Id;
use super::meta::Meta;
use super::range;
use super::sub::{Sub, id_of};
use crate::error::{Error, Result};
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::view::{Write, event_class};
use std::ops::{ControlFlow, Range};

/// Of a body this large the log gets only what changes.
const PATCH_MIN: usize = 256;
/// A tail is no larger than this, in bytes, whatever is configured: it is copied for each entry.
const TAIL_MAX: usize = 8 << 10;
/// An entry of so many bytes does not go through the tail of a stream that has blocks: it would be logged twice.
const DIRECT_MIN: usize = 512;

/// Where an entry is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Tail(Range<usize>),
    /// In the block with this base, which has so many bytes.
    Block(Id, Range<usize>, usize),
}

/// See the head of this file.
pub(super) struct Edit<'k> {
    pub(super) key: Key<'k>,
    pub(super) meta: Meta,
    /// The key's own expiry.
    expire_ms: Option<u64>,
    /// Whether this command makes the key.
    creates: bool,
    /// Bytes of the tail and of what stands behind it, in the header as it is staged.
    tail_bytes: usize,
    facts_bytes: usize,
    /// Entries for the end of the tail.
    added: Vec<u8>,
    /// Whether facts have changed.
    changed: bool,
    /// Whether the header has to be written whole.
    rewrites: bool,
    /// The first entry is gone: the next one has to be found.
    first_gone: bool,
}

impl<'k> Edit<'k> {
    pub(super) fn open(w: &mut Write<'_>, key: Key<'k>) -> Result<Edit<'k>> {
        let mut edit = Edit {
            key,
            meta: Meta::default(),
            expire_ms: None,
            creates: true,
            tail_bytes: 0,
            facts_bytes: 0,
            added: Vec::new(),
            changed: false,
            rewrites: true,
            first_gone: false,
        };
        if let Some(header) = w.header_of(key, Kind::Stream)? {
            let (meta, tail) = Meta::decode(&header)?;
            edit.creates = false;
            edit.rewrites = false;
            edit.expire_ms = header.expire_ms;
            edit.facts_bytes = header.body.len() - meta.tail_at() - tail.len();
            edit.tail_bytes = tail.len();
            edit.meta = meta;
        }
        Ok(edit)
    }

    /// Whether the key is not there yet.
    pub(super) fn is_new(&self) -> bool {
        self.creates
    }

    /// The facts, to be changed.
    pub(super) fn facts(&mut self) -> &mut Meta {
        self.changed = true;
        &mut self.meta
    }

    /// The generation under which elements lie; makes one when there is none.
    pub(super) fn generation(&mut self, w: &mut Write<'_>) -> u64 {
        if let Some(generation) = self.meta.generation {
            return generation;
        }
        let generation = w.new_generation(self.key);
        self.facts().generation = Some(generation);
        // What stands before the tail changes, too.
        self.rewrites = true;
        generation
    }

    /// Adds an entry behind all others.
    pub(super) fn append(&mut self, w: &mut Write<'_>, id: Id, fields: &[&[u8]]) -> Result<()> {
        let len = block::text_len(fields) + 4;
        let limits = w.limits();
        let most = match limits.stream_node_max_bytes {
            0 => TAIL_MAX,
            bytes => usize::try_from(bytes).unwrap_or(TAIL_MAX).min(TAIL_MAX),
        };
        let direct = len > TAIL_MAX || (len >= DIRECT_MIN && self.meta.generation.is_some());
        let entries = limits.stream_node_max_entries;
        let full = self.tail_bytes + self.added.len() + len > most
            || (entries > 0 && self.meta.tail_len >= entries);
        if self.meta.tail_len > 0 && (full || direct) {
            self.seal(w)?;
        }
        if direct {
            let generation = self.generation(w);
            let entry = block::encode(id, id, fields);
            w.put_element(self.key, generation, Sub::block(id).bytes(), &entry);
            self.count_block(id, 1);
        } else {
            if self.meta.tail_len == 0 {
                self.meta.base = id;
            }
            self.added.extend_from_slice(&block::encode(self.meta.base, id, fields));
            self.meta.tail_len += 1;
        }
        let meta = self.facts();
        meta.last = id;
        meta.len += 1;
        meta.added += 1;
        if meta.len == 1 {
            meta.first = id;
        }
        Ok(())
    }

    fn count_block(&mut self, base: Id, entries: u64) {
        let meta = self.facts();
        if meta.blocks == 0 {
            (meta.head, meta.head_len) = (base, entries);
        }
        meta.blocks += 1;
    }

    /// Makes the tail a block and begins a new one.
    fn seal(&mut self, w: &mut Write<'_>) -> Result<()> {
        let mut block = self.staged_tail(w)?;
        block.append(&mut self.added);
        let generation = self.generation(w);
        let (base, entries) = (self.meta.base, self.meta.tail_len);
        w.put_element(self.key, generation, Sub::block(base).bytes(), &block);
        self.count_block(base, entries);
        self.empty_tail();
        Ok(())
    }

    fn empty_tail(&mut self) {
        self.added.clear();
        self.tail_bytes = 0;
        self.facts().tail_len = 0;
        self.rewrites = true;
    }

    /// The tail without what was added.
    fn staged_tail(&self, w: &mut Write<'_>) -> Result<Vec<u8>> {
        if self.tail_bytes == 0 {
            return Ok(Vec::new());
        }
        let header = w.header_raw(self.key)?;
        let header = header.ok_or_else(|| Error::broken("a stream's header is missing"))?;
        Ok(Meta::decode(&header)?.1.to_vec())
    }

    /// The tail as it will be.
    pub(super) fn tail(&self, w: &mut Write<'_>) -> Result<Vec<u8>> {
        let mut tail = self.staged_tail(w)?;
        tail.extend_from_slice(&self.added);
        Ok(tail)
    }

    /// Finds an entry.
    pub(super) fn locate(&self, w: &mut Write<'_>, id: Id) -> Result<Option<Place>> {
        let meta = &self.meta;
        if meta.tail_len > 0 && id >= meta.base {
            let tail = self.tail(w)?;
            return Ok(block::find(meta.base, &tail, id)?.map(|entry| Place::Tail(entry.at)));
        }
        range::in_block(w, self.key, meta, id, |base, block| {
            let found = block::find(base, block, id)?;
            Ok(found.map(|entry| Place::Block(base, entry.at, block.len())))
        })
        .map(Option::flatten)
    }

    /// Takes an entry away.
    pub(super) fn remove(&mut self, w: &mut Write<'_>, id: Id, place: Place) -> Result<()> {
        let facts = self.facts();
        facts.len = facts.len.saturating_sub(1);
        self.first_gone |= id == self.meta.first;
        match place {
            Place::Tail(at) => {
                self.facts().tail_len -= 1;
                self.cut_tail(w, at)
            }
            Place::Block(base, at, len) => {
                if base == self.meta.head {
                    self.facts().head_len -= 1;
                }
                if at.len() == len {
                    self.drop_blocks(w, &[base]);
                    return if base == self.meta.head { self.find_head(w) } else { Ok(()) };
                }
                self.cut_block(w, base, at)
            }
        }
    }

    fn cut_tail(&mut self, w: &mut Write<'_>, at: Range<usize>) -> Result<()> {
        if self.meta.tail_len == 0 {
            self.empty_tail();
            return Ok(());
        }
        self.write(w)?;
        let start = self.meta.tail_at() + at.start;
        self.tail_bytes -= at.len();
        self.changed = true;
        w.stage_header_patch(self.key, start, at.len(), &[])
    }

    fn cut_block(&mut self, w: &mut Write<'_>, base: Id, at: Range<usize>) -> Result<()> {
        let Some(generation) = self.meta.generation else { return Ok(()) };
        let sub = Sub::block(base);
        w.patch_element(self.key, generation, sub.bytes(), at.start, at.len(), &[])
    }

    fn drop_blocks(&mut self, w: &mut Write<'_>, bases: &[Id]) {
        let Some(generation) = self.meta.generation else { return };
        for base in bases {
            w.delete_element(self.key, generation, Sub::block(*base).bytes());
        }
        let facts = self.facts();
        facts.blocks = facts.blocks.saturating_sub(bases.len() as u64);
    }

    /// Looks for the first block, at or behind the one that was.
    fn find_head(&mut self, w: &mut Write<'_>) -> Result<()> {
        let Some(generation) = self.meta.generation.filter(|_| self.meta.blocks > 0) else {
            return Ok(());
        };
        let (from, to) = (Sub::block(self.meta.head), Sub::groups());
        let mut head = None;
        w.scan_elements(
            self.key,
            generation,
            from.included(),
            to.excluded(),
            false,
            &mut |sub, bytes| {
                let base = base_of(sub)?;
                head = Some((base, block::extent(base, bytes)?));
                Ok(ControlFlow::Break(()))
            },
        )?;
        let (base, extent) = head.ok_or_else(|| Error::broken("a block of a stream is missing"))?;
        self.set_head(base, extent.count);
        Ok(())
    }

    fn set_head(&mut self, base: Id, entries: u64) {
        let facts = self.facts();
        (facts.head, facts.head_len) = (base, entries);
    }

    /// Takes entries away from the front, as `decide` says: it is shown each block in turn, the tail last, and
    /// how many entries were taken away before, and answers what becomes of it. How many went.
    pub(super) fn remove_front(
        &mut self,
        w: &mut Write<'_>,
        decide: &mut dyn FnMut(&Extent, u64) -> Front,
    ) -> Result<u64> {
        let (mut removed, mut dropped) = (0, Vec::new());
        // Where it ended: the first block that stays, how much of it goes, and what it has left.
        let mut stays: Option<(Id, Range<usize>, u64)> = None;
        if let Some(generation) = self.meta.generation.filter(|_| self.meta.blocks > 0) {
            let mut look = |base: Id, bytes: &[u8]| -> Result<ControlFlow<()>> {
                let extent = block::extent(base, bytes)?;
                let (taken, at) = match decide(&extent, removed) {
                    Front::Whole => {
                        removed += extent.count;
                        dropped.push(base);
                        return Ok(ControlFlow::Continue(()));
                    }
                    Front::Keep => (0, 0..0),
                    Front::Part(part) => part.of(base, bytes)?,
                };
                removed += taken;
                stays = Some((base, at, extent.count - taken));
                Ok(ControlFlow::Break(()))
            };
            // Mostly the first block stays: it is looked up, and only when it goes others are walked over.
            let (key, head, to) = (self.key, Sub::block(self.meta.head), Sub::groups());
            let first = w.element(key, generation, head.bytes())?;
            let first = first.ok_or_else(|| Error::broken("a block of a stream is missing"))?;
            if look(self.meta.head, first)?.is_continue() && self.meta.blocks > 1 {
                let (from, to) = (head.excluded(), to.excluded());
                w.scan_elements(key, generation, from, to, false, &mut |sub, bytes| {
                    look(base_of(sub)?, bytes)
                })?;
            }
        }
        if !dropped.is_empty() {
            self.drop_blocks(w, &dropped);
        }
        match stays {
            Some((base, at, left)) => {
                self.set_head(base, left);
                if !at.is_empty() {
                    self.cut_block(w, base, at)?;
                }
            }
            None if self.meta.tail_len > 0 => {
                let tail = self.tail(w)?;
                let extent = block::extent(self.meta.base, &tail)?;
                let (taken, at) = match decide(&extent, removed) {
                    Front::Whole => (extent.count, 0..tail.len()),
                    Front::Keep => (0, 0..0),
                    Front::Part(part) => part.of(self.meta.base, &tail)?,
                };
                if taken > 0 {
                    removed += taken;
                    self.facts().tail_len -= taken;
                    self.cut_tail(w, at)?;
                }
            }
            None => {}
        }
        if removed > 0 {
            self.facts().len -= removed;
            self.first_gone = true;
        }
        Ok(removed)
    }

    fn find_first(&mut self, w: &mut Write<'_>) -> Result<()> {
        self.first_gone = false;
        let mut first = Id::MIN;
        if self.meta.blocks > 0 {
            let head = self.meta.head;
            let extent = range::in_block(w, self.key, &self.meta, head, block::extent)?;
            first = extent.unwrap_or_default().first;
        } else if self.meta.tail_len > 0 {
            let tail = self.tail(w)?;
            first = block::extent(self.meta.base, &tail)?.first;
        }
        self.facts().first = first;
        Ok(())
    }

    /// Stages header and tail as they are now.
    fn write(&mut self, w: &mut Write<'_>) -> Result<()> {
        if !self.changed && !self.rewrites {
            return Ok(());
        }
        let added = self.added.len();
        let mut end = std::mem::take(&mut self.added);
        self.meta.encode(&mut end);
        let body_len = self.meta.tail_at() + self.tail_bytes + end.len();
        if !self.rewrites && body_len >= PATCH_MIN {
            let at = self.meta.tail_at() + self.tail_bytes;
            w.stage_header_patch(self.key, at, self.facts_bytes, &end)?;
        } else {
            let mut body = Vec::with_capacity(body_len);
            if let Some(generation) = self.meta.generation {
                body.extend_from_slice(&generation.to_le_bytes());
            }
            body.extend_from_slice(&self.staged_tail(w)?);
            body.extend_from_slice(&end);
            let (encoding, expire_ms) = (self.meta.encoding(), self.expire_ms);
            let header = Header { kind: Kind::Stream, encoding, expire_ms, body: &body };
            w.put_header(self.key, &header, expire_ms);
        }
        self.tail_bytes += added;
        self.facts_bytes = end.len() - added;
        (self.changed, self.rewrites) = (false, false);
        // The memory serves the next entry.
        end.clear();
        self.added = end;
        Ok(())
    }

    /// Writes what has changed and tells `events`.
    pub(super) fn finish(mut self, w: &mut Write<'_>, events: &[&'static str]) -> Result<()> {
        if self.first_gone {
            self.find_first(w)?;
        }
        if self.creates && (self.changed || !self.added.is_empty()) {
            w.notify(event_class::NEW, "new", self.key);
        }
        if self.changed {
            self.write(w)?;
        }
        for name in events {
            w.notify(event_class::STREAM, name, self.key);
        }
        Ok(())
    }
}

/// What becomes of a block at the front.
pub(super) enum Front {
    /// All of it goes.
    Whole,
    /// A part goes; nothing behind it does.
    Part(Part),
    /// It stays, and so does what is behind it.
    Keep,
}

/// The entries at the front of a block that go.
pub(super) enum Part {
    Count(u64),
    Below(Id),
}

impl Part {
    /// How many entries that are, and their bytes.
    fn of(&self, base: Id, bytes: &[u8]) -> Result<(u64, Range<usize>)> {
        let (mut walk, mut taken, mut end) = (block::Entries::new(base, bytes), 0, 0);
        while let Some(entry) = walk.next()? {
            let goes = match *self {
                Part::Count(n) => taken < n,
                Part::Below(id) => entry.id < id,
            };
            if !goes {
                break;
            }
            taken += 1;
            end = entry.at.end;
        }
        Ok((taken, 0..end))
    }
}

/// A block's base, from its sub-key.
pub(super) fn base_of(sub: &[u8]) -> Result<Id> {
    id_of(sub).ok_or_else(|| Error::broken("a block of a stream has no id"))
}
