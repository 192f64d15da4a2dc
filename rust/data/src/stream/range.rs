//! Reading entries by their ids. What is not in the tail lies in blocks, which are found by seeking: only those
//! that a range meets are read.

use super::block::{self, Entries, Entry, Fields};
use super::edit::base_of;
use super::id::Id;
use super::meta::Meta;
use super::sub::Sub;
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use std::ops::ControlFlow;

/// The facts of a stream, if there is one.
pub(super) fn meta(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Meta>> {
    match r.header_of(key, Kind::Stream)? {
        Some(header) => Ok(Some(Meta::decode(&header)?.0)),
        None => {
            r.notify(event_class::MISS, "keymiss", key);
            Ok(None)
        }
    }
}

/// Hands the block in which an id belongs to `f`, with its base; `None` when the id is before all blocks.
pub(super) fn in_block<T>(
    r: &mut Read<'_>,
    key: Key<'_>,
    meta: &Meta,
    id: Id,
    f: impl FnOnce(Id, &[u8]) -> Result<T>,
) -> Result<Option<T>> {
    let Some(generation) = meta.generation.filter(|_| meta.blocks > 0 && id >= meta.head) else {
        return Ok(None);
    };
    let (head, at) = (Sub::block(meta.head), Sub::block(id));
    if id == meta.head {
        // No need to seek.
        let block = r.element(key, generation, head.bytes())?;
        return block.map(|block| f(id, block)).transpose();
    }
    let (mut f, mut found) = (Some(f), None);
    r.scan_elements(key, generation, head.included(), at.included(), true, &mut |sub, bytes| {
        if let Some(f) = f.take() {
            found = Some(f(base_of(sub)?, bytes)?);
        }
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Shows the entries between two ids, both included, until `each` breaks.
pub(super) fn walk(
    r: &mut Read<'_>,
    key: Key<'_>,
    meta: &Meta,
    (from, to): (Id, Id),
    reverse: bool,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if from > to || meta.len == 0 {
        return Ok(());
    }
    let tail = meta.tail_len > 0 && to >= meta.base;
    if reverse {
        if !tail || walk_tail(r, key, from, to, true, each)? {
            walk_blocks(r, key, meta, from, to, true, each)?;
        }
    } else if walk_blocks(r, key, meta, from, to, false, each)? && tail {
        walk_tail(r, key, from, to, false, each)?;
    }
    Ok(())
}

/// As [`walk`], in the tail alone; whether `each` wants more.
fn walk_tail(
    r: &mut Read<'_>,
    key: Key<'_>,
    from: Id,
    to: Id,
    reverse: bool,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<bool> {
    let header = r.header_raw(key)?;
    let header = header.ok_or_else(|| Error::broken("a stream's header is missing"))?;
    let (meta, tail) = Meta::decode(&header)?;
    walk_one(meta.base, tail, from, to, reverse, each)
}

fn walk_one(
    base: Id,
    bytes: &[u8],
    from: Id,
    to: Id,
    reverse: bool,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<bool> {
    if reverse {
        for entry in block::all(base, bytes)?.iter().rev() {
            if entry.id >= from && entry.id <= to && each(entry)?.is_break() {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let mut entries = Entries::new(base, bytes);
    while let Some(entry) = entries.next()? {
        if entry.id > to {
            break;
        }
        if entry.id >= from && each(&entry)?.is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk_blocks(
    r: &mut Read<'_>,
    key: Key<'_>,
    meta: &Meta,
    from: Id,
    to: Id,
    reverse: bool,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<bool> {
    let all_in_tail = meta.tail_len > 0 && from >= meta.base;
    let Some(generation) = meta.generation.filter(|_| meta.blocks > 0 && !all_in_tail) else {
        return Ok(true);
    };
    // The first of them may begin before what is wanted.
    let start = match reverse {
        false => in_block(r, key, meta, from, |base, _| Ok(base))?.unwrap_or(meta.head),
        true => meta.head,
    };
    let (first, last) = (Sub::block(start), Sub::block(to));
    if first.bytes() > last.bytes() {
        return Ok(true);
    }
    let mut goes_on = true;
    r.scan_elements(
        key,
        generation,
        first.included(),
        last.included(),
        reverse,
        &mut |sub, bytes| {
            let base = base_of(sub)?;
            goes_on = walk_one(base, bytes, from, to, reverse, each)?;
            let done = !goes_on || (reverse && base <= from);
            Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        },
    )?;
    Ok(goes_on)
}

/// Shows the entries from `from` on of the first block, the tail left out, that has any.
pub(super) fn walk_block_from(
    r: &mut Read<'_>,
    key: Key<'_>,
    meta: &Meta,
    from: Id,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let Some(generation) = meta.generation else { return Ok(()) };
    let start = in_block(r, key, meta, from, |base, _| Ok(base))?.unwrap_or(meta.head);
    let (first, end) = (Sub::block(start), Sub::groups());
    r.scan_elements(key, generation, first.included(), end.excluded(), false, &mut |sub, bytes| {
        let mut met = false;
        walk_one(base_of(sub)?, bytes, from, Id::MAX, false, &mut |entry| {
            met = true;
            each(entry)
        })?;
        Ok(if met { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

/// Looks entries up one by one and remembers the block in which the last one was: neighbours cost one seek.
#[derive(Default)]
pub(super) struct Finder {
    base: Id,
    last: Id,
    block: Vec<u8>,
}

impl Finder {
    /// Hands the fields of an entry to `f`, `None` when it is not there.
    pub(super) fn find<T>(
        &mut self,
        r: &mut Read<'_>,
        key: Key<'_>,
        meta: &Meta,
        id: Id,
        f: impl FnOnce(Option<Fields<'_>>) -> T,
    ) -> Result<T> {
        if meta.len == 0 || id < meta.first || id > meta.last {
            return Ok(f(None));
        }
        let known = !self.block.is_empty() && id >= self.base && id <= self.last;
        if !known {
            self.block.clear();
            if meta.tail_len > 0 && id >= meta.base {
                let header = r.header_raw(key)?;
                let header = header.ok_or_else(|| Error::broken("a stream's header is missing"))?;
                self.block.extend_from_slice(Meta::decode(&header)?.1);
                self.base = meta.base;
            } else {
                let block = &mut self.block;
                let base = in_block(r, key, meta, id, |base, bytes| {
                    block.extend_from_slice(bytes);
                    Ok(base)
                })?;
                let Some(base) = base else { return Ok(f(None)) };
                self.base = base;
            }
            self.last = block::extent(self.base, &self.block)?.last;
        }
        Ok(f(block::find(self.base, &self.block, id)?.map(|entry| entry.fields)))
    }

    /// Whether an entry is there.
    pub(super) fn contains(
        &mut self,
        r: &mut Read<'_>,
        key: Key<'_>,
        meta: &Meta,
        id: Id,
    ) -> Result<bool> {
        self.find(r, key, meta, id, |fields| fields.is_some())
    }
}

/// Shows the entries between two ids, both included, `count` at most; `reverse` from the last one on. Whether
/// there is such a key.
///
/// # Errors
/// `WrongType`, `Again`, or what `each` answers; it may have been called before.
pub fn range(
    r: &mut Read<'_>,
    key: Key<'_>,
    bounds: (Id, Id),
    reverse: bool,
    count: Option<u64>,
    each: &mut dyn FnMut(Id, Fields<'_>) -> Result<()>,
) -> Result<bool> {
    let Some(meta) = meta(r, key)? else { return Ok(false) };
    let mut left = count.unwrap_or(u64::MAX);
    if left > 0 {
        walk(r, key, &meta, bounds, reverse, &mut |entry| {
            each(entry.id, entry.fields)?;
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(true)
}

/// How many entries there are; 0 when the key is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    Ok(meta(r, key)?.map_or(0, |meta| meta.len))
}

/// The id given last; `None` when the key is absent. What XREAD means by `$`.
///
/// # Errors
/// As [`len`].
pub fn last_id(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Id>> {
    Ok(meta(r, key)?.map(|meta| meta.last))
}

/// The id of the last entry there is; `None` when there is none. Whether XREAD has something to answer behind
/// an id is whether this is larger.
///
/// # Errors
/// As [`len`].
pub fn top(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Id>> {
    match meta(r, key)? {
        Some(meta) => top_of(r, key, &meta),
        None => Ok(None),
    }
}

pub(super) fn top_of(r: &mut Read<'_>, key: Key<'_>, meta: &Meta) -> Result<Option<Id>> {
    let mut top = None;
    walk(r, key, meta, (Id::MIN, Id::MAX), true, &mut |entry| {
        top = Some(entry.id);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(top)
}
