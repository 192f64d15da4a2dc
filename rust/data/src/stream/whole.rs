//! Whole streams on their way out and in.

use super::block::Entries;
use super::edit::{Edit, base_of};
use super::group::{self, Consumer, Facts, Group, Pending};
use super::groups::{Start, create_group};
use super::id::Id;
use super::meta::Meta;
use super::sub::{Sub, id_of, name_of};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::place::Key;
use crate::rdb::Elements;
use crate::view::Write;
use std::ops::{Bound, ControlFlow};

/// What a stream says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    /// Entries there are.
    pub(crate) len: u64,
    /// The id given last.
    pub(crate) last: Id,
    /// The id of the first entry; 0-0 when there is none.
    pub(crate) first: Id,
    /// The largest id that was deleted.
    pub(crate) max_deleted: Id,
    /// Entries ever added.
    pub(crate) added: u64,
}

/// A group and its consumers.
#[derive(Debug, Clone)]
pub(crate) struct WholeGroup {
    number: u32,
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// The entry delivered last.
    pub(crate) last: Id,
    /// How many entries it has read, if that is known.
    pub(crate) read: Option<u64>,
    /// How many entries are pending.
    pub(crate) pending: u64,
    /// The consumers.
    pub(crate) consumers: Vec<WholeConsumer>,
}

/// A consumer.
#[derive(Debug, Clone)]
pub(crate) struct WholeConsumer {
    number: u32,
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// When it asked last, in Unix milliseconds.
    pub(crate) seen_ms: u64,
    /// How many entries are pending with it.
    pub(crate) pending: u64,
}

/// What a stream says of itself.
pub(crate) fn about(header: &Header<'_>) -> Result<About> {
    let Meta { len, last, first, max_deleted, added, .. } = Meta::decode(header)?.0;
    Ok(About { len, last, first, max_deleted, added })
}

/// Visits all entries: fields, each with its value behind it.
pub(crate) fn entries_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    each: &mut dyn FnMut(Id, &[&[u8]]) -> Result<()>,
) -> Result<()> {
    let (meta, tail) = Meta::decode(header)?;
    let mut block = |base: Id, bytes: &[u8]| {
        let mut entries = Entries::new(base, bytes);
        while let Some(entry) = entries.next()? {
            let texts: Vec<&[u8]> =
                entry.fields.flat_map(|(field, value)| [field, value]).collect();
            each(entry.id, &texts)?;
        }
        Ok(())
    };
    if let Some(generation) = meta.generation.filter(|_| meta.blocks > 0) {
        walk(elements, generation, &Sub::block(Id::MIN), 1, &mut |sub, bytes| {
            block(base_of(sub)?, bytes)
        })?;
    }
    block(meta.base, tail)
}

/// Visits the elements from a sub-key on whose first `same` bytes are its own.
fn walk(
    elements: &mut dyn Elements,
    generation: u64,
    from: &Sub,
    same: usize,
    each: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let start = from.bytes().get(..same);
    elements.walk(generation, Bound::Included(from.bytes()), &mut |sub, bytes| {
        if sub.get(..same) != start {
            return Ok(ControlFlow::Break(()));
        }
        each(sub, bytes)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// All groups.
pub(crate) fn groups_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
) -> Result<Vec<WholeGroup>> {
    let mut groups = Vec::new();
    let Some(generation) = Meta::decode(header)?.0.generation else { return Ok(groups) };
    walk(elements, generation, &Sub::groups(), 1, &mut |sub, bytes| {
        let Facts { number, last, read, pending, .. } = Facts::decode(bytes)?;
        let name = name_of(sub, 1).to_vec();
        groups.push(WholeGroup { number, name, last, read, pending, consumers: Vec::new() });
        Ok(())
    })?;
    for group in &mut groups {
        let consumers = &mut group.consumers;
        walk(elements, generation, &Sub::consumer(group.number, 0), 5, &mut |sub, bytes| {
            let number = sub.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
            let number =
                number.ok_or_else(|| Error::broken("a consumer of a stream has no number"))?;
            let Consumer { pending, seen_ms, name, .. } = Consumer::decode(bytes)?;
            consumers.push(WholeConsumer { number, name, seen_ms, pending });
            Ok(())
        })?;
    }
    Ok(groups)
}

fn pending_id(sub: &[u8]) -> Result<Id> {
    id_of(sub).ok_or_else(|| Error::broken("a pending entry of a stream has no id"))
}

/// Visits what is pending in a group: id, when it was delivered in Unix milliseconds, how often. How many
/// entries that are is what the group says, or an error.
pub(crate) fn owed_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    group: &WholeGroup,
    each: &mut dyn FnMut(Id, u64, u64) -> Result<()>,
) -> Result<()> {
    let Some(generation) = Meta::decode(header)?.0.generation else { return Ok(()) };
    let mut seen = 0;
    walk(elements, generation, &Sub::pending(group.number, Id::MIN), 5, &mut |sub, bytes| {
        let Pending { delivered_ms, deliveries, .. } = Pending::decode(bytes)?;
        seen += 1;
        each(pending_id(sub)?, delivered_ms, deliveries)
    })?;
    counted(seen, group.pending)
}

/// Visits the ids of what is pending with a consumer, as many as it says, or an error.
pub(crate) fn owned_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    group: &WholeGroup,
    consumer: &WholeConsumer,
    each: &mut dyn FnMut(Id) -> Result<()>,
) -> Result<()> {
    let Some(generation) = Meta::decode(header)?.0.generation else { return Ok(()) };
    let mut seen = 0;
    let from = Sub::owned(group.number, consumer.number, Id::MIN);
    walk(elements, generation, &from, 9, &mut |sub, _| {
        seen += 1;
        each(pending_id(sub)?)
    })?;
    counted(seen, consumer.pending)
}

fn counted(seen: u64, said: u64) -> Result<()> {
    if seen == said {
        Ok(())
    } else {
        Err(Error::broken("a stream counts other pending entries than it has"))
    }
}

/// Adds entries, whose ids ascend; true when they do.
pub(crate) fn load_entries(
    w: &mut Write<'_>,
    key: Key<'_>,
    entries: &[(Id, &[&[u8]])],
) -> Result<bool> {
    let mut edit = Edit::open(w, key)?;
    let mut ascend = true;
    for (id, texts) in entries {
        ascend &= *id > edit.meta.last;
        edit.append(w, *id, texts)?;
    }
    edit.finish(w, &[])?;
    Ok(ascend)
}

/// Lets a stream say this of itself; it is made if it is not there.
pub(crate) fn load_about(
    w: &mut Write<'_>,
    key: Key<'_>,
    last: Id,
    max_deleted: Id,
    added: u64,
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    let facts = edit.facts();
    facts.last = last;
    facts.max_deleted = max_deleted;
    facts.added = added;
    edit.finish(w, &[])
}

/// How many entries a group has read whose last is this one, if the facts of the stream tell.
pub(crate) fn read_up_to(w: &mut Write<'_>, key: Key<'_>, last: Id) -> Result<Option<u64>> {
    Ok(super::range::meta(w, key)?.and_then(|meta| super::info::added_up_to(&meta, last)))
}

/// Makes a group; false when it is there.
pub(crate) fn load_group(
    w: &mut Write<'_>,
    key: Key<'_>,
    name: &[u8],
    last: Id,
    read: Option<u64>,
) -> Result<bool> {
    match create_group(w, key, name, Start::After(last), read, false) {
        Ok(()) => Ok(true),
        Err(Error::Reply(_)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A group that is being loaded.
fn open<'k>(w: &mut Write<'_>, key: Key<'k>, name: &[u8]) -> Result<Group<'k>> {
    let generation = super::range::meta(w, key)?.and_then(|meta| meta.generation);
    let group = Group::open(w, key, generation, name)?;
    group.ok_or_else(|| Error::broken("a group that is being loaded is missing"))
}

/// Makes a consumer; false when it is there.
pub(crate) fn load_consumer(
    w: &mut Write<'_>,
    key: Key<'_>,
    group: &[u8],
    name: &[u8],
    seen_ms: u64,
    active_ms: Option<u64>,
) -> Result<bool> {
    let mut group = open(w, key, group)?;
    if group.number(w, name)?.is_some() {
        return Ok(false);
    }
    let number = group.create(w, name, seen_ms);
    group.change_consumer(w, number)?.active_ms = active_ms;
    group.finish(w);
    Ok(true)
}

/// Entries that are pending with a consumer: id, when each was delivered in Unix milliseconds, how often.
/// False when one is pending already.
pub(crate) fn load_pending(
    w: &mut Write<'_>,
    key: Key<'_>,
    group: &[u8],
    consumer: &[u8],
    entries: &[(Id, u64, u64)],
) -> Result<bool> {
    let mut group = open(w, key, group)?;
    let Some(consumer) = group.number(w, consumer)? else { return Ok(false) };
    for &(id, delivered_ms, deliveries) in entries {
        if group.pending(w, id)?.is_some() {
            return Ok(false);
        }
        group.put(w, id, &group::Pending { consumer, delivered_ms, deliveries }, None)?;
    }
    group.finish(w);
    Ok(true)
}
