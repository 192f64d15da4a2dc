//! XPENDING: what was delivered and not acknowledged.

use super::group;
use super::id::Id;
use super::range;
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Read;
use std::ops::ControlFlow;

/// What is pending in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many entries.
    pub count: u64,
    /// The first and the last of them, if there are any.
    pub bounds: Option<(Id, Id)>,
    /// The consumers with something pending, and how much.
    pub consumers: Vec<(Vec<u8>, u64)>,
}

fn open(r: &mut Read<'_>, key: Key<'_>, name: &[u8]) -> Result<(u64, group::Facts)> {
    if let Some(meta) = range::meta(r, key)?
        && let Some(generation) = meta.generation
        && let Some(facts) = group::find(r, key, Some(generation), name)?
    {
        return Ok((generation, facts));
    }
    let (key, name) = (String::from_utf8_lossy(key.name), String::from_utf8_lossy(name));
    Err(Error::reply(format!("NOGROUP No such key '{key}' or consumer group '{name}'")))
}

/// How much is pending in a group, between which ids, and with whom. O(n) in the consumers.
///
/// # Errors
/// `WrongType`, no such group, or `Again`.
pub fn summary(r: &mut Read<'_>, key: Key<'_>, name: &[u8]) -> Result<Summary> {
    let (generation, facts) = open(r, key, name)?;
    let count = facts.pending;
    if count == 0 {
        return Ok(Summary { count, bounds: None, consumers: Vec::new() });
    }
    let mut first = None;
    group::walk_pending(r, key, generation, facts.number, (Id::MIN, Id::MAX), &mut |id, _| {
        first = Some(id);
        Ok(ControlFlow::Break(()))
    })?;
    let last = group::last_pending(r, key, generation, facts.number)?;
    let consumers = group::consumers(r, key, generation, facts.number)?
        .into_iter()
        .filter(|(_, consumer)| consumer.pending > 0)
        .map(|(_, consumer)| (consumer.name, consumer.pending))
        .collect();
    Ok(Summary { count, bounds: first.zip(last), consumers })
}

/// Shows pending entries between two ids, both included: `count` at most, only those of a consumer if one is
/// given, and those that have been pending for `min_idle_ms`. To `each` go the id, the consumer's name, for how
/// many milliseconds it has been pending, and how often it was delivered.
///
/// # Errors
/// As [`summary`].
#[expect(clippy::too_many_arguments, reason = "the arguments of XPENDING")]
pub fn list(
    r: &mut Read<'_>,
    key: Key<'_>,
    name: &[u8],
    bounds: (Id, Id),
    count: u64,
    consumer: Option<&[u8]>,
    min_idle_ms: u64,
    each: &mut dyn FnMut(Id, &[u8], u64, u64),
) -> Result<()> {
    let (generation, facts) = open(r, key, name)?;
    let now_ms = r.now_ms();
    let owner = match consumer {
        None => None,
        Some(name) => match group::number(r, key, generation, facts.number, name)? {
            None => return Ok(()),
            found => found,
        },
    };
    if count == 0 || facts.pending == 0 {
        return Ok(());
    }
    let (mut found, mut left) = (Vec::new(), count);
    match owner.filter(|_| min_idle_ms == 0) {
        // By its ids: what others have is not walked over.
        Some(owner) => {
            let mut ids = Vec::new();
            let of = (facts.number, owner);
            group::walk_owned(r, key, generation, of, bounds, &mut |id| {
                ids.push(id);
                left -= 1;
                Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            for id in ids {
                let sub = super::sub::Sub::pending(facts.number, id);
                let bytes = r.element(key, generation, sub.bytes())?;
                found.extend(bytes.map(group::Pending::decode).transpose()?.map(|p| (id, p)));
            }
        }
        None => {
            group::walk_pending(r, key, generation, facts.number, bounds, &mut |id, pending| {
                let idle = now_ms.saturating_sub(pending.delivered_ms);
                if idle >= min_idle_ms && owner.is_none_or(|owner| pending.consumer == owner) {
                    found.push((id, pending));
                    left -= 1;
                }
                Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
    }
    let mut names: Vec<(u32, Vec<u8>)> = Vec::new();
    for (id, pending) in found {
        let at = match names.iter().position(|(number, _)| *number == pending.consumer) {
            Some(at) => at,
            None => {
                let number = pending.consumer;
                let known = group::consumer(r, key, generation, facts.number, number)?;
                names.push((number, known.name));
                names.len() - 1
            }
        };
        let idle = now_ms.saturating_sub(pending.delivered_ms);
        let name = names.get(at).map_or(&[][..], |(_, name)| name);
        each(id, name, idle, pending.deliveries);
    }
    Ok(())
}
