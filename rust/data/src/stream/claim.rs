//! XCLAIM and XAUTOCLAIM: pending entries get another consumer.

use super::block::Fields;
use super::group::{self, Group, Pending};
use super::groups::join;
use super::id::Id;
use super::range::{self, Finder};
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Write;
use std::ops::ControlFlow;

/// XAUTOCLAIM looks at so many pending entries for each that it may claim.
const ATTEMPTS: u64 = 10;

/// How entries are claimed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim {
    /// Only those that have been pending for so many milliseconds.
    pub min_idle_ms: u64,
    /// When they count as delivered, in Unix milliseconds; the present if not given.
    pub delivered_ms: Option<u64>,
    /// How often they count as delivered; once more than before if not given.
    pub deliveries: Option<u64>,
    /// Entries that are not pending become so.
    pub force: bool,
    /// Only ids are wanted: it does not count as a delivery.
    pub just_id: bool,
    /// The group has read up to this entry, if it has not read further.
    pub last: Option<Id>,
}

fn open<'k>(
    w: &mut Write<'_>,
    key: Key<'k>,
    name: &[u8],
) -> Result<(super::meta::Meta, Group<'k>)> {
    if let Some(meta) = range::meta(w, key)?
        && let Some(group) = Group::open(w, key, meta.generation, name)?
    {
        return Ok((meta, group));
    }
    let (key, name) = (String::from_utf8_lossy(key.name), String::from_utf8_lossy(name));
    Err(Error::reply(format!("NOGROUP No such key '{key}' or consumer group '{name}'")))
}

/// Gives pending entries to a consumer and shows them, without fields if only ids are wanted. Entries that are
/// deleted are pending no more.
///
/// # Errors
/// `WrongType`, no such group, `Again`, or what `each` answers; it may have been called before.
pub fn claim(
    w: &mut Write<'_>,
    key: Key<'_>,
    group: &[u8],
    consumer: &[u8],
    ids: &[Id],
    how: &Claim,
    each: &mut dyn FnMut(Id, Option<Fields<'_>>) -> Result<()>,
) -> Result<()> {
    let (meta, mut group) = open(w, key, group)?;
    let now_ms = w.now_ms();
    if let Some(last) = how.last.filter(|&last| last > group.facts.last) {
        group.change().last = last;
        w.changed();
    }
    let (number, _) = join(w, &mut group, consumer)?;
    group.change_consumer(w, number)?.seen_ms = now_ms;
    let delivered_ms = how.delivered_ms.filter(|&ms| ms <= now_ms).unwrap_or(now_ms);
    let (mut finder, mut missed) = (Finder::default(), None);
    for &id in ids {
        let before = group.pending(w, id);
        let there = finder.contains(w, key, &meta, id);
        let (before, there) = match (before, there) {
            (Ok(before), Ok(there)) => (before, there),
            (Err(e @ Error::Again(_)), _) | (_, Err(e @ Error::Again(_))) => {
                // All are asked for before the first that is missing is reported.
                missed = Some(e);
                continue;
            }
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        if missed.is_some() {
            continue;
        }
        if !there {
            if let Some(before) = before {
                group.settle(w, id, &before)?;
                w.changed();
            }
            continue;
        }
        let deliveries = match before {
            None if !how.force => continue,
            Some(before) if idle(now_ms, &before) < how.min_idle_ms => continue,
            // What FORCE makes pending counts as delivered once already.
            _ => before.map_or(1, |before| before.deliveries),
        };
        let deliveries =
            how.deliveries.unwrap_or_else(|| deliveries.saturating_add(u64::from(!how.just_id)));
        let pending = Pending { consumer: number, delivered_ms, deliveries };
        group.put(w, id, &pending, before.as_ref())?;
        group.change_consumer(w, number)?.active_ms = Some(now_ms);
        w.changed();
        if how.just_id {
            each(id, None)?;
        } else {
            finder.find(w, key, &meta, id, |fields| each(id, fields))??;
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    group.finish(w);
    Ok(())
}

fn idle(now_ms: u64, pending: &Pending) -> u64 {
    now_ms.saturating_sub(pending.delivered_ms)
}

/// Looks through what is pending from an id on, gives what has been so for `min_idle_ms` to a consumer, and shows
/// it: `count` entries at most. Where to go on, 0-0 being the end, and the ids that were pending though their
/// entries are deleted: they are so no more.
///
/// # Errors
/// As [`claim`].
#[expect(clippy::too_many_arguments, reason = "the arguments of XAUTOCLAIM")]
pub fn claim_idle(
    w: &mut Write<'_>,
    key: Key<'_>,
    group: &[u8],
    consumer: &[u8],
    min_idle_ms: u64,
    start: Id,
    count: u64,
    just_id: bool,
    each: &mut dyn FnMut(Id, Option<Fields<'_>>) -> Result<()>,
) -> Result<(Id, Vec<Id>)> {
    let (meta, mut group) = open(w, key, group)?;
    let now_ms = w.now_ms();
    let (number, _) = join(w, &mut group, consumer)?;
    group.change_consumer(w, number)?.seen_ms = now_ms;
    let attempts = count.saturating_mul(ATTEMPTS);
    // One more than may be looked at, to know where to go on.
    let mut candidates: Vec<(Id, Pending)> = Vec::new();
    if group.facts.pending > 0 {
        let (generation, of) = (group.generation, group.facts.number);
        group::walk_pending(w, key, generation, of, (start, Id::MAX), &mut |id, pending| {
            candidates.push((id, pending));
            let enough = candidates.len() as u64 > attempts;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    let (mut finder, mut deleted, mut left) = (Finder::default(), Vec::new(), count);
    let mut next = Id::MIN;
    for (n, (id, before)) in (0u64..).zip(candidates) {
        if left == 0 || n == attempts {
            next = id;
            break;
        }
        if !finder.contains(w, key, &meta, id)? {
            group.settle(w, id, &before)?;
            deleted.push(id);
            left -= 1;
            w.changed();
            continue;
        }
        if idle(now_ms, &before) < min_idle_ms {
            continue;
        }
        let deliveries = before.deliveries.saturating_add(u64::from(!just_id));
        let pending = Pending { consumer: number, delivered_ms: now_ms, deliveries };
        group.put(w, id, &pending, Some(&before))?;
        group.change_consumer(w, number)?.active_ms = Some(now_ms);
        w.changed();
        left -= 1;
        if just_id {
            each(id, None)?;
        } else {
            finder.find(w, key, &meta, id, |fields| each(id, fields))??;
        }
    }
    group.finish(w);
    Ok((next, deleted))
}
