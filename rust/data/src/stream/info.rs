//! XINFO, and how far a group has read. Also what MEMORY USAGE and DEBUG DIGEST ask about a stream.

use super::block;
use super::group::{self, Facts};
use super::id::Id;
use super::meta::Meta;
use super::range;
use super::sub::Sub;
use crate::error::Result;
use crate::place::Key;
use crate::view::Read;
use std::ops::ControlFlow;

/// The facts of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Entries there are.
    pub len: u64,
    /// Blocks that they lie in.
    pub blocks: u64,
    /// The id given last.
    pub last: Id,
    /// The largest id that XDEL took away.
    pub max_deleted: Id,
    /// Entries ever added.
    pub added: u64,
    /// The first entry; 0-0 when there is none.
    pub first: Id,
    /// Groups.
    pub groups: u64,
    /// What is remembered of producers, once there are any.
    pub idempotence: Option<IdempotenceInfo>,
}

/// What is remembered of producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotenceInfo {
    /// How long an idempotent id is remembered, in seconds.
    pub duration_s: u64,
    /// How many are remembered of each producer.
    pub max_size: u64,
    /// Producers that are remembered.
    pub producers: u64,
    /// Idempotent ids that are remembered.
    pub tracked: u64,
    /// Entries ever added with one.
    pub added: u64,
    /// Entries that were there already.
    pub duplicates: u64,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its consumers.
    pub consumers: u64,
    /// Entries that are pending.
    pub pending: u64,
    /// The entry delivered last.
    pub last: Id,
    /// How many entries of the stream's life it has read, if that is known.
    pub read: Option<u64>,
    /// How many it has not read, if that is known.
    pub lag: Option<i64>,
    number: u32,
    generation: u64,
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Entries that are pending with it.
    pub pending: u64,
    /// When it last tried to get something, in Unix milliseconds.
    pub seen_ms: u64,
    /// When it last got something.
    pub active_ms: Option<u64>,
    number: u32,
}

/// Whether an entry at or behind an id was deleted, other than from the front.
fn has_gaps_from(meta: &Meta, id: Id) -> bool {
    let deleted = meta.max_deleted;
    // A gap before the first entry is none.
    meta.len > 0 && deleted != Id::MIN && meta.first <= deleted && id <= deleted
}

/// How many entries were ever added up to an id, if the facts of the stream tell.
pub(super) fn added_up_to(meta: &Meta, id: Id) -> Option<u64> {
    if meta.added == 0 {
        return Some(0);
    }
    if (meta.len == 0 && id <= meta.last) || id == meta.last {
        return Some(meta.added);
    }
    if id > meta.last {
        return None;
    }
    // No gaps: then those that are gone were the first.
    if meta.max_deleted == Id::MIN || meta.max_deleted < meta.first {
        if id < meta.first {
            return meta.added.checked_sub(meta.len);
        }
        if id == meta.first {
            return (meta.added + 1).checked_sub(meta.len);
        }
    }
    None
}

/// How many entries a group has read when it has read one more.
pub(super) fn progress(meta: &Meta, group: &Facts, id: Id) -> Option<u64> {
    match group.read {
        Some(read) if !has_gaps_from(meta, id) => read.checked_add(1),
        read if meta.added == 0 => read,
        _ => added_up_to(meta, id),
    }
}

fn lag(meta: &Meta, group: &Facts) -> Option<i64> {
    let read = match group.read {
        _ if meta.added == 0 => return Some(0),
        Some(read) if !has_gaps_from(meta, group.last) => read,
        _ => added_up_to(meta, group.last)?,
    };
    Some((meta.added as i64).wrapping_sub(read as i64))
}

/// The facts of a stream; `None` when the key is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn info(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Info>> {
    Ok(range::meta(r, key)?.map(|meta| Info {
        len: meta.len,
        blocks: meta.blocks + u64::from(meta.tail_len > 0),
        last: meta.last,
        max_deleted: meta.max_deleted,
        added: meta.added,
        first: meta.first,
        groups: meta.groups,
        idempotence: meta.idempotence.map(|known| IdempotenceInfo {
            duration_s: known.duration_s,
            max_size: known.max_size,
            producers: known.producers,
            tracked: known.tracked,
            added: known.added,
            duplicates: known.duplicates,
        }),
    }))
}

/// Shows the first entry there is, or the last.
///
/// # Errors
/// As [`info`].
pub fn first_and_last(
    r: &mut Read<'_>,
    key: Key<'_>,
    last: bool,
    each: &mut dyn FnMut(Id, block::Fields<'_>) -> Result<()>,
) -> Result<()> {
    range::range(r, key, (Id::MIN, Id::MAX), last, Some(1), each)?;
    Ok(())
}

/// The groups of a stream in the order of their names; `None` when the key is absent.
///
/// # Errors
/// As [`info`].
pub fn groups(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Vec<GroupInfo>>> {
    let Some(meta) = range::meta(r, key)? else { return Ok(None) };
    let Some(generation) = meta.generation.filter(|_| meta.groups > 0) else {
        return Ok(Some(Vec::new()));
    };
    let all = group::all(r, key, generation)?.into_iter().map(|(name, facts)| GroupInfo {
        name,
        consumers: facts.consumers,
        pending: facts.pending,
        last: facts.last,
        read: facts.read,
        lag: lag(&meta, &facts),
        number: facts.number,
        generation,
    });
    Ok(Some(all.collect()))
}

/// The consumers of a group in the order of their names; `None` when there is no such group.
///
/// # Errors
/// As [`info`].
pub fn consumers(r: &mut Read<'_>, key: Key<'_>, name: &[u8]) -> Result<Option<Vec<ConsumerInfo>>> {
    let Some(meta) = range::meta(r, key)? else { return Ok(None) };
    let Some(generation) = meta.generation else { return Ok(None) };
    let Some(facts) = group::find(r, key, Some(generation), name)? else { return Ok(None) };
    let all = group::consumers(r, key, generation, facts.number)?;
    let shown = all.into_iter().map(|(number, consumer)| ConsumerInfo {
        name: consumer.name,
        pending: consumer.pending,
        seen_ms: consumer.seen_ms,
        active_ms: consumer.active_ms,
        number,
    });
    Ok(Some(shown.collect()))
}

/// Shows the first `count` entries that are pending in a group, or with one of its consumers: id, consumer's
/// name, when it was delivered in Unix milliseconds, how often.
///
/// # Errors
/// As [`info`].
pub fn pending_of(
    r: &mut Read<'_>,
    key: Key<'_>,
    group: &GroupInfo,
    consumers: &[ConsumerInfo],
    only: Option<&ConsumerInfo>,
    count: Option<u64>,
    each: &mut dyn FnMut(Id, &[u8], u64, u64),
) -> Result<()> {
    let (generation, number) = (group.generation, group.number);
    let (all, mut left) = ((Id::MIN, Id::MAX), count.unwrap_or(u64::MAX));
    if left == 0 || group.pending == 0 {
        return Ok(());
    }
    let mut ids = Vec::new();
    if let Some(consumer) = only {
        group::walk_owned(r, key, generation, (number, consumer.number), all, &mut |id| {
            ids.push(id);
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        for id in ids {
            let bytes = r.element(key, generation, Sub::pending(number, id).bytes())?;
            if let Some(pending) = bytes.map(group::Pending::decode).transpose()? {
                each(id, &consumer.name, pending.delivered_ms, pending.deliveries);
            }
        }
        return Ok(());
    }
    group::walk_pending(r, key, generation, number, all, &mut |id, pending| {
        let owner = consumers.iter().find(|consumer| consumer.number == pending.consumer);
        let name = owner.map_or(&[][..], |consumer| &consumer.name);
        each(id, name, pending.delivered_ms, pending.deliveries);
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

/// The bytes of a stream's elements, keys included: `samples` blocks are measured and the others taken to be like
/// them, and what is pending is estimated.
pub(crate) fn usage(r: &mut Read<'_>, key: Key<'_>, samples: u64) -> Result<u64> {
    /// Space and generation in an element's key, with the tag of the sub-key.
    const KEY: u64 = 10;
    /// An entry that is pending: two keys with ids and numbers, and a short value.
    const PENDING: u64 = 2 * (KEY + 16) + 4 + 8 + 9;
    let Some(meta) = range::meta(r, key)? else { return Ok(0) };
    let Some(generation) = meta.generation else { return Ok(0) };
    let (mut seen, mut sum) = (0, 0);
    let (from, to) = (Sub::block(meta.head), Sub::groups());
    if meta.blocks > 0 {
        r.scan_elements(
            key,
            generation,
            from.included(),
            to.excluded(),
            false,
            &mut |sub, bytes| {
                seen += 1;
                sum += KEY - 1 + sub.len() as u64 + bytes.len() as u64;
                Ok(if seen == samples { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )?;
    }
    let mut bytes = (sum * meta.blocks).checked_div(seen).unwrap_or(0);
    for (name, facts) in group::all(r, key, generation)? {
        bytes += KEY + name.len() as u64 + facts.encode().len() as u64;
        bytes += facts.pending * PENDING;
        for (_, consumer) in group::consumers(r, key, generation, facts.number)? {
            bytes += 2 * (KEY + consumer.name.len() as u64) + 12 + 16;
        }
    }
    if let Some(known) = &meta.idempotence {
        bytes += known.producers * (KEY + 16) + known.tracked * (2 * KEY + 64);
    }
    Ok(bytes)
}

/// Hands what a stream consists of to `part`, however it is kept; a part's pieces belong together.
pub(crate) fn digest(r: &mut Read<'_>, key: Key<'_>, part: &mut dyn FnMut(&[&[u8]])) -> Result<()> {
    let Some(meta) = range::meta(r, key)? else { return Ok(()) };
    let numbers =
        |a: Id, b: Id, n: u64| [&a.to_bytes()[..], &b.to_bytes(), &n.to_le_bytes()].concat();
    part(&[b"facts", &numbers(meta.last, meta.max_deleted, meta.added)]);
    range::walk(r, key, &meta, (Id::MIN, Id::MAX), false, &mut |entry| {
        let id = entry.id.to_bytes();
        let mut pieces: Vec<&[u8]> = vec![b"entry", &id];
        pieces.extend(entry.fields.flat_map(|(field, value)| [field, value]));
        part(&pieces);
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(generation) = meta.generation else { return Ok(()) };
    for (name, facts) in group::all(r, key, generation)? {
        let read = facts.read.map_or(0, |n| n.saturating_add(1));
        part(&[b"group", &name, &numbers(facts.last, Id::MIN, read)]);
        let consumers = group::consumers(r, key, generation, facts.number)?;
        for (_, consumer) in &consumers {
            part(&[b"consumer", &name, &consumer.name]);
        }
        let all = (Id::MIN, Id::MAX);
        group::walk_pending(r, key, generation, facts.number, all, &mut |id, pending| {
            let owner = consumers.iter().find(|(number, _)| *number == pending.consumer);
            let owner = owner.map_or(&[][..], |(_, consumer)| &consumer.name);
            let known = numbers(id, Id::new(pending.delivered_ms, 0), pending.deliveries);
            part(&[b"pending", &name, owner, &known]);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}
