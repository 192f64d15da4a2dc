//! XREADGROUP: new entries become a consumer's, and a consumer looks at what is pending with it.

use super::block::Fields;
use super::group::{self, Group, Pending};
use super::groups::join;
use super::id::Id;
use super::info::progress;
use super::range::{self, Finder};
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Write;
use std::ops::ControlFlow;

/// Who reads, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The group; it must be there.
    pub group: &'a [u8],
    /// The consumer; made when it is not there.
    pub consumer: &'a [u8],
    /// So many entries at most.
    pub count: Option<u64>,
    /// What is delivered counts as acknowledged.
    pub no_ack: bool,
    /// First comes what has been pending with anybody for so many milliseconds.
    pub claim_idle_ms: Option<u64>,
}

/// Of an entry that was pending: for how many milliseconds, and how often it was delivered.
pub type Before = Option<(u64, u64)>;

fn open<'k>(
    w: &mut Write<'_>,
    key: Key<'k>,
    name: &[u8],
) -> Result<(super::meta::Meta, Group<'k>)> {
    let missing = || {
        let (key, name) = (String::from_utf8_lossy(key.name), String::from_utf8_lossy(name));
        Error::reply(format!("NOGROUP No such key '{key}' or consumer group '{name}'"))
    };
    let meta = range::meta(w, key)?.ok_or_else(missing)?;
    let group = Group::open(w, key, meta.generation, name)?.ok_or_else(missing)?;
    Ok((meta, group))
}

/// Delivers entries that the group has not read yet and shows them; how many they were. The consumer is noted
/// even when there are none.
///
/// # Errors
/// `WrongType`, no such group, `Again`, or what `each` answers; it may have been called before.
pub fn deliver(
    w: &mut Write<'_>,
    key: Key<'_>,
    reader: &Reader<'_>,
    each: &mut dyn FnMut(Id, Fields<'_>, Before) -> Result<()>,
) -> Result<u64> {
    let (meta, mut group) = open(w, key, reader.group)?;
    let now_ms = w.now_ms();
    let (consumer, _) = join(w, &mut group, reader.consumer)?;
    group.change_consumer(w, consumer)?.seen_ms = now_ms;
    let mut left = reader.count.unwrap_or(u64::MAX);
    let mut served = 0;
    if let Some(idle_ms) = reader.claim_idle_ms {
        served = claim(w, &meta, &mut group, consumer, idle_ms, left, each)?;
        left -= served;
    }
    let mut ids = Vec::new();
    if let Some(from) = group.facts.last.next().filter(|_| left > 0) {
        range::walk(w, key, &meta, (from, Id::MAX), false, &mut |entry| {
            each(entry.id, entry.fields, None)?;
            ids.push(entry.id);
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    for &id in &ids {
        let facts = group.change();
        facts.read = progress(&meta, facts, id);
        facts.last = id;
    }
    if !reader.no_ack && !ids.is_empty() {
        let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
        for &id in &ids {
            let before = group.pending(w, id)?;
            group.put(w, id, &pending, before.as_ref())?;
        }
        group.change_consumer(w, consumer)?.active_ms = Some(now_ms);
    }
    group.finish(w);
    if !ids.is_empty() {
        w.changed();
    }
    Ok(served + ids.len() as u64)
}

/// Claims what has been pending longest, the longest first.
fn claim(
    w: &mut Write<'_>,
    meta: &super::meta::Meta,
    group: &mut Group<'_>,
    consumer: u32,
    idle_ms: u64,
    most: u64,
    each: &mut dyn FnMut(Id, Fields<'_>, Before) -> Result<()>,
) -> Result<u64> {
    if group.facts.pending == 0 {
        return Ok(0);
    }
    let now_ms = w.now_ms();
    let (key, generation, number) = (group.key, group.generation, group.facts.number);
    let mut idle = Vec::new();
    group::walk_pending(w, key, generation, number, (Id::MIN, Id::MAX), &mut |id, pending| {
        if now_ms.saturating_sub(pending.delivered_ms) >= idle_ms {
            idle.push((id, pending));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    idle.sort_by_key(|(id, pending)| (pending.delivered_ms, *id));
    let (mut finder, mut served) = (Finder::default(), 0);
    for (id, before) in idle {
        if served == most {
            break;
        }
        let told = (now_ms.saturating_sub(before.delivered_ms), before.deliveries);
        let found = finder.find(w, key, meta, id, |fields| match fields {
            Some(fields) => each(id, fields, Some(told)).map(|()| true),
            None => Ok(false),
        })??;
        if !found {
            // Deleted since: nobody will ever get it.
            group.settle(w, id, &before)?;
            continue;
        }
        let deliveries = before.deliveries.saturating_add(1);
        let pending = Pending { consumer, delivered_ms: now_ms, deliveries };
        group.put(w, id, &pending, Some(&before))?;
        served += 1;
    }
    if served > 0 {
        group.change_consumer(w, consumer)?.active_ms = Some(now_ms);
        w.changed();
    }
    Ok(served)
}

/// Shows what is pending with a consumer behind an id, and counts it as delivered once more. Entries that are
/// deleted are shown without fields.
///
/// # Errors
/// As [`deliver`].
pub fn history(
    w: &mut Write<'_>,
    key: Key<'_>,
    reader: &Reader<'_>,
    after: Id,
    each: &mut dyn FnMut(Id, Option<Fields<'_>>) -> Result<()>,
) -> Result<()> {
    let (meta, mut group) = open(w, key, reader.group)?;
    let now_ms = w.now_ms();
    let (consumer, _) = join(w, &mut group, reader.consumer)?;
    group.change_consumer(w, consumer)?.seen_ms = now_ms;
    let owned = group.consumer(w, consumer)?.pending;
    let (mut ids, mut left) = (Vec::new(), reader.count.unwrap_or(u64::MAX));
    if let Some(from) = after.next().filter(|_| owned > 0 && left > 0) {
        let numbers = (group.facts.number, consumer);
        group::walk_owned(w, key, group.generation, numbers, (from, Id::MAX), &mut |id| {
            ids.push(id);
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    let (mut finder, mut missed) = (Finder::default(), None);
    for id in ids {
        // All are asked for before the first that is missing is reported.
        let shown =
            finder.find(w, key, &meta, id, |fields| each(id, fields).map(|()| fields.is_some()));
        let pending = group.pending(w, id);
        match (shown, pending) {
            (Ok(shown), Ok(Some(before))) => {
                if shown? && missed.is_none() {
                    let deliveries = before.deliveries.saturating_add(1);
                    let pending = Pending { consumer, delivered_ms: now_ms, deliveries };
                    group.put(w, id, &pending, Some(&before))?;
                }
            }
            (Ok(_), Ok(None)) => {
                return Err(Error::broken("a pending entry of a stream is missing"));
            }
            (Err(e @ Error::Again(_)), _) | (_, Err(e @ Error::Again(_))) => missed = Some(e),
            (Err(e), _) | (_, Err(e)) => return Err(e),
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    group.finish(w);
    w.changed();
    Ok(())
}
