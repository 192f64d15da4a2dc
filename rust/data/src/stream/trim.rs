//! Taking entries away: by their ids, or from the front until few enough are left.

use super::block::Extent;
use super::edit::{Edit, Front, Part};
use super::group;
use super::id::Id;
use super::range;
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Write;
use std::ops::ControlFlow;

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// More entries than this.
    Longer(u64),
    /// Entries before this one.
    Before(Id),
}

/// What becomes of groups in which an entry that goes is pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refs {
    /// It stays pending there.
    #[default]
    Keep,
    /// It is pending there no more.
    Delete,
    /// It does not go before all groups have read and acknowledged it.
    Respect,
}

/// How XADD and XTRIM shorten a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// What is too much.
    pub excess: Excess,
    /// Only whole blocks go.
    pub approximate: bool,
    /// So many entries go at most, if anything.
    pub limit: Option<u64>,
    /// What becomes of pending entries.
    pub refs: Refs,
}

/// What became of an entry that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was not there.
    Missing = -1,
    /// It is gone.
    Gone = 1,
    /// A group still needs it.
    Needed = 2,
}

/// Deletes entries; how many were there.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn delete(w: &mut Write<'_>, key: Key<'_>, ids: &[Id]) -> Result<u64> {
    let mut deleted = 0;
    delete_each(w, key, ids, Refs::Keep, &mut |done| deleted += u64::from(done == Deleted::Gone))?;
    Ok(deleted)
}

/// Deletes entries, or does not if groups need them, and tells of each.
///
/// # Errors
/// As [`delete`]; `each` may have been called before.
pub fn delete_each(
    w: &mut Write<'_>,
    key: Key<'_>,
    ids: &[Id],
    refs: Refs,
    each: &mut dyn FnMut(Deleted),
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() {
        ids.iter().for_each(|_| each(Deleted::Missing));
        return Ok(());
    }
    let mut refs = References::open(w, &edit, refs)?;
    let mut gone = false;
    let mut missed = None;
    for &id in ids {
        // All blocks are asked for before the first that is missing is reported.
        match delete_one(w, &mut edit, &mut refs, id) {
            Ok(done) => {
                gone |= done == Deleted::Gone;
                each(done);
            }
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    refs.finish(w);
    edit.finish(w, if gone { &["xdel"] } else { &[] })
}

fn delete_one(
    w: &mut Write<'_>,
    edit: &mut Edit<'_>,
    refs: &mut References<'_>,
    id: Id,
) -> Result<Deleted> {
    let place = edit.locate(w, id)?;
    // What is not there any more may still be pending.
    refs.forget(w, id)?;
    let Some(place) = place else { return Ok(Deleted::Missing) };
    if refs.needs(w, id)? || (refs.refs == Refs::Respect && refs.groups.is_empty()) {
        return Ok(Deleted::Needed);
    }
    remove(w, edit, id, place)?;
    Ok(Deleted::Gone)
}

/// Takes away an entry as XDEL does.
pub(super) fn remove(
    w: &mut Write<'_>,
    edit: &mut Edit<'_>,
    id: Id,
    place: super::edit::Place,
) -> Result<()> {
    edit.remove(w, id, place)?;
    let facts = edit.facts();
    facts.max_deleted = facts.max_deleted.max(id);
    w.changed();
    Ok(())
}

/// XTRIM: how many entries went.
///
/// # Errors
/// As [`delete`].
pub fn trim(w: &mut Write<'_>, key: Key<'_>, how: &Trim) -> Result<u64> {
    let mut edit = Edit::open(w, key)?;
    let removed = shorten(w, &mut edit, how)?;
    edit.finish(w, if removed > 0 { &["xtrim"] } else { &[] })?;
    (0..removed).for_each(|_| w.changed());
    Ok(removed)
}

/// Shortens a stream that is being changed; how many entries went.
pub(super) fn shorten(w: &mut Write<'_>, edit: &mut Edit<'_>, how: &Trim) -> Result<u64> {
    let meta = &edit.meta;
    let excessive = match how.excess {
        Excess::Longer(max) => meta.len > max,
        Excess::Before(id) => meta.len > 0 && meta.first < id,
    };
    if !excessive {
        return Ok(0);
    }
    if how.refs != Refs::Keep && meta.groups > 0 {
        return one_by_one(w, edit, how);
    }
    if let Excess::Longer(max) = how.excess
        && how.approximate
        && meta.blocks > 0
        && meta.len - meta.head_len < max
    {
        // The usual case of a capped stream: the header says that no block can go.
        return Ok(0);
    }
    let len = meta.len;
    edit.remove_front(w, &mut |extent, removed| verdict(how, len - removed, removed, extent))
}

/// What becomes of the block that is now the first of a stream of `len` entries.
fn verdict(how: &Trim, len: u64, removed: u64, extent: &Extent) -> Front {
    let (whole, part) = match how.excess {
        Excess::Longer(max) => {
            if len <= max {
                return Front::Keep;
            }
            (len - extent.count.min(len) >= max, Part::Count(len - max))
        }
        Excess::Before(id) => (extent.last < id, Part::Below(id)),
    };
    if how.limit.is_some_and(|limit| removed + extent.count > limit) {
        return Front::Keep;
    }
    match (whole, how.approximate) {
        (true, _) => Front::Whole,
        (false, false) => Front::Part(part),
        (false, true) => Front::Keep,
    }
}

/// As [`shorten`], where groups have a say in each entry.
fn one_by_one(w: &mut Write<'_>, edit: &mut Edit<'_>, how: &Trim) -> Result<u64> {
    let mut refs = References::open(w, edit, how.refs)?;
    let mut removed = 0;
    let mut from = edit.meta.first;
    'blocks: loop {
        // One block at a time: what goes is decided by looking at the groups.
        let (key, meta) = (edit.key, edit.meta);
        let mut ids = Vec::new();
        let in_tail = meta.tail_len > 0 && from >= meta.base;
        if !in_tail && meta.blocks > 0 {
            range::walk_block_from(w, key, &meta, from, &mut |entry| {
                ids.push(entry.id);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        if ids.is_empty() {
            let tail = edit.tail(w)?;
            ids.extend(super::block::all(meta.base, &tail)?.iter().map(|entry| entry.id));
            ids.retain(|&id| id >= from);
        }
        let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else { break };
        let extent = Extent { count: ids.len() as u64, first, last };
        if how.approximate && !matches!(verdict(how, edit.meta.len, removed, &extent), Front::Whole)
        {
            break;
        }
        for id in ids {
            let enough = match how.excess {
                Excess::Longer(max) => edit.meta.len <= max,
                Excess::Before(end) => id >= end,
            };
            if enough || how.limit.is_some_and(|limit| removed >= limit) || refs.none_behind(id) {
                break 'blocks;
            }
            if refs.needs(w, id)? {
                continue;
            }
            refs.forget(w, id)?;
            if let Some(place) = edit.locate(w, id)? {
                edit.remove(w, id, place)?;
                removed += 1;
            }
        }
        match last.next() {
            Some(next) if next <= edit.meta.last => from = next,
            _ => break,
        }
    }
    refs.finish(w);
    Ok(removed)
}

/// The groups of a stream, as far as a deletion has to look at them.
pub(super) struct References<'k> {
    refs: Refs,
    pub(super) groups: Vec<group::Group<'k>>,
}

impl<'k> References<'k> {
    pub(super) fn open(w: &mut Write<'_>, edit: &Edit<'k>, refs: Refs) -> Result<References<'k>> {
        let groups = match (refs, edit.meta.generation) {
            (Refs::Keep, _) | (_, None) => Vec::new(),
            (_, Some(generation)) => group::all(w, edit.key, generation)?
                .into_iter()
                .map(|(name, facts)| group::Group::of(edit.key, generation, name, facts))
                .collect(),
        };
        Ok(References { refs, groups })
    }

    /// Whether a group has not read, or not acknowledged, an entry that only goes when all have.
    pub(super) fn needs(&mut self, w: &mut Write<'_>, id: Id) -> Result<bool> {
        if self.refs != Refs::Respect {
            return Ok(false);
        }
        if self.none_behind(id) {
            return Ok(true);
        }
        for group in &self.groups {
            if group.pending(w, id)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether some group has read neither this entry nor any behind it, and all of them stay.
    fn none_behind(&self, id: Id) -> bool {
        self.refs == Refs::Respect && self.groups.iter().any(|group| id > group.facts.last)
    }

    /// Takes an entry from all groups in which it is pending, if that is what is wanted.
    pub(super) fn forget(&mut self, w: &mut Write<'_>, id: Id) -> Result<()> {
        if self.refs == Refs::Delete {
            for group in &mut self.groups {
                if let Some(pending) = group.pending(w, id)? {
                    group.settle(w, id, &pending)?;
                }
            }
        }
        Ok(())
    }

    /// Writes what has changed in the groups.
    pub(super) fn finish(&mut self, w: &mut Write<'_>) {
        for group in &mut self.groups {
            group.finish(w);
        }
    }
}
