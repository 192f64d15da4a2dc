//! Walking over the keys of a database: SCAN, KEYS, RANDOMKEY, DBSIZE.
//!
//! Keys lie in order of their places, shard after shard. A SCAN cursor is the top 53 bits of a place,
//! which every client can hold in a double; all keys of one cursor value are returned together. So the
//! server keeps nothing about a scan, a key that stays is returned, and a scan goes on after a restart.

use crate::error::{Error, Result};
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::record;
use crate::view::Read;
use forgekv_engine::SHARDS;
use std::ops::{Bound, ControlFlow};

/// The bits of a place that are not in a cursor.
const BELOW_CURSOR: u32 = 11;
/// Cursors are below this.
const CURSORS: u64 = 1 << (64 - BELOW_CURSOR);
/// How often RANDOMKEY draws again when it met an expired key.
const DRAWS: usize = 100;
/// RANDOMKEY chooses among so many neighbours, so that a key after a long gap is not drawn that often.
const STEPS: usize = 16;
/// How many slots it draws in a shard until it takes one.
const SLOT_DRAWS: usize = 32;
/// In a shard with so few keys it chooses among all of them.
const FEW: u64 = 64;

/// A key as a walk meets it. Expired keys are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The key.
    pub key: Key<'a>,
    /// What its header says.
    pub header: Header<'a>,
}

/// A key that was visited: what is known without looking anything up.
type Visit<'v> = dyn FnMut(Key<'_>, Header<'_>) -> Result<ControlFlow<()>> + 'v;

/// Visits the headers of the selected database in one shard from a place on, expired ones too.
fn walk(r: &mut Read<'_>, shard: u8, place: u64, visit: &mut Visit<'_>) -> Result<()> {
    let db = r.physical_db();
    let from = Bound::Included(record::header_start(db, place));
    let to = Bound::Excluded(record::header_end(db, shard));
    r.scan(shard, &from, &to, false, &mut |key, value| {
        let Some((_, key)) = record::parse_header_key(key) else {
            return Err(Error::broken("a header's key cannot be read"));
        };
        visit(key, Header::decode(value)?)
    })
}

fn is_live(header: &Header<'_>, now_ms: u64) -> bool {
    header.expire_ms.is_none_or(|at| at > now_ms)
}

/// One step of SCAN: visits about `count` keys from `cursor` on, 0 being the start, and answers where to go
/// on, 0 being the end. Expired keys count as visited and are left out.
///
/// Starts in the cursor's shard. When that has fewer than `count` keys, more shards are needed: then the
/// road runs the command again with all of them. So small databases are walked in one step, and in large
/// ones a step holds one shard.
///
/// # Errors
/// `Again`, damage, or what `each` answers.
pub fn step(
    r: &mut Read<'_>,
    cursor: u64,
    count: u64,
    each: &mut dyn FnMut(Found<'_>) -> Result<()>,
) -> Result<u64> {
    if cursor >= CURSORS {
        return Ok(0);
    }
    let now_ms = r.now_ms();
    let mut place = cursor << BELOW_CURSOR;
    let first = (place >> 58) as u8;
    let mut visited = 0;
    for shard in first..SHARDS as u8 {
        let mut last = None;
        let mut full = false;
        if may_hold_keys(r, shard)? {
            walk(r, shard, place, &mut |key, header| {
                let at = key.place >> BELOW_CURSOR;
                if visited >= count && last != Some(at) {
                    full = true;
                    last = Some(at);
                    return Ok(ControlFlow::Break(()));
                }
                visited += 1;
                last = Some(at);
                if is_live(&header, now_ms) {
                    each(Found { key, header })?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        if full {
            return Ok(last.unwrap_or_default());
        }
        let Some(next) = (u64::from(shard) + 1).checked_mul(1 << 58) else { return Ok(0) };
        place = next;
        let enough = visited >= count || (visited > 0 && in_shard(r, shard)? > count);
        if enough && !r.guard().holds(shard + 1) {
            return Ok(place >> BELOW_CURSOR);
        }
    }
    Ok(0)
}

/// The shard in which a step from `cursor` begins.
pub fn shard_of(cursor: u64) -> u8 {
    if cursor < CURSORS { (cursor >> (58 - BELOW_CURSOR)) as u8 } else { 0 }
}

/// Keys that a shard has in the selected database, or a few more: unsettled ones are counted as new, and
/// what this transaction staged is not counted.
fn in_shard(r: &mut Read<'_>, shard: u8) -> Result<u64> {
    let db = r.physical_db();
    Ok(r.guard().count(shard, db)?.max(0) as u64)
}

fn may_hold_keys(r: &mut Read<'_>, shard: u8) -> Result<bool> {
    // The count first: it also tells whether the shard is held.
    Ok(in_shard(r, shard)? > 0 || r.has_staged())
}

/// Visits all keys of the selected database that have not expired; all shards must be held.
///
/// # Errors
/// `Again`, damage, or what `each` answers.
pub fn all(r: &mut Read<'_>, each: &mut dyn FnMut(Found<'_>) -> Result<()>) -> Result<()> {
    r.require_all()?;
    let now_ms = r.now_ms();
    for shard in 0..SHARDS as u8 {
        walk(r, shard, u64::from(shard) << 58, &mut |key, header| {
            if is_live(&header, now_ms) {
                each(Found { key, header })?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// The number of keys of the selected database, exactly; those that expired and were not reaped yet count.
/// All shards must be held.
///
/// # Errors
/// `Again`, or damage.
pub fn count(r: &mut Read<'_>) -> Result<u64> {
    r.require_all()?;
    let db = r.physical_db();
    let mut sum = 0;
    for shard in 0..SHARDS as u8 {
        sum += r.guard().settled_count(shard, db)?;
    }
    sum += r.staged_count()?;
    Ok(sum.max(0) as u64)
}

/// Keys of the selected database that expire, and after how many milliseconds they do on average; expired
/// ones that were not reaped yet count. All shards must be held, and nothing be staged.
///
/// # Errors
/// As [`count`].
pub fn expiring(r: &mut Read<'_>) -> Result<(u64, u64)> {
    r.require_all()?;
    let (db, now_ms) = (r.physical_db(), r.now_ms());
    let (mut keys, mut rest_ms) = (0i64, 0i64);
    for shard in 0..SHARDS as u8 {
        let (marked, sum) = r.guard().settled_marks(shard, db)?;
        keys = keys.wrapping_add(marked);
        // Sums of moments wrap around; what is left of each does not.
        rest_ms = rest_ms.wrapping_add(sum.wrapping_sub(marked.wrapping_mul(now_ms as i64)));
    }
    let keys = keys.max(0) as u64;
    Ok((keys, rest_ms.max(0) as u64 / keys.max(1)))
}

/// A key of the selected database, each about equally likely; `None` when there is none that has not
/// expired. All shards must be held.
///
/// A shard is drawn by the number of its keys, then a slot in it, then one of a few neighbours there.
///
/// # Errors
/// `Again`, or damage.
pub fn random(r: &mut Read<'_>) -> Result<Option<Vec<u8>>> {
    r.require_all()?;
    let mut weights = Vec::with_capacity(SHARDS);
    for shard in 0..SHARDS as u8 {
        weights.push(in_shard(r, shard)?);
    }
    let mut draws = if weights.iter().all(|&n| n == 0) { 0 } else { DRAWS };
    if r.has_staged() {
        // What this transaction staged is in no count.
        weights.iter_mut().for_each(|n| *n += 1);
        draws = DRAWS;
    }
    for _ in 0..draws {
        let mut nth = r.rng().below(weights.iter().sum());
        let drawn = weights.iter().position(|&weight| {
            let here = nth < weight;
            nth = nth.saturating_sub(weight);
            here
        });
        let Some(shard) = drawn else { continue };
        let keys = weights.get(shard).copied().unwrap_or_default();
        let mut names = if keys <= FEW {
            all_names(r, shard as u8)?
        } else {
            fair_neighbours(r, shard as u8, keys)?
        };
        let nth = r.rng().below(names.len() as u64);
        if let Some(Some(name)) = names.get_mut(nth as usize).map(Option::take) {
            return Ok(Some(name));
        }
    }
    // Nearly all have expired, or there is none: the first that has not.
    let mut found = None;
    let now_ms = r.now_ms();
    for shard in 0..SHARDS as u8 {
        if found.is_none() && may_hold_keys(r, shard)? {
            walk(r, shard, u64::from(shard) << 58, &mut |key, header| {
                if !is_live(&header, now_ms) {
                    return Ok(ControlFlow::Continue(()));
                }
                found = Some(key.name.to_vec());
                Ok(ControlFlow::Break(()))
            })?;
        }
    }
    Ok(found)
}

/// Keys to choose one from. `None` stands for one that has expired: then the draw was in vain.
type Names = Vec<Option<Vec<u8>>>;

fn all_names(r: &mut Read<'_>, shard: u8) -> Result<Names> {
    let mut names = Vec::new();
    collect(r, shard, u64::from(shard) << 58, u64::MAX, usize::MAX, &mut names)?;
    Ok(names)
}

/// Some neighbours in a random slot of a shard with so many `keys`: all of the slot, if there are few.
///
/// The slot after a random place is drawn the more often the more empty slots there are before it. So it is
/// rejected in that measure, and accepted in that of its keys: hash tags gather many keys in one slot.
fn fair_neighbours(r: &mut Read<'_>, shard: u8, keys: u64) -> Result<Names> {
    for _ in 1..SLOT_DRAWS {
        if let Some((names, fair)) = neighbours(r, shard, keys)?
            && r.rng().f64() < fair
        {
            return Ok(names);
        }
    }
    Ok(neighbours(r, shard, keys)?.map(|(names, _)| names).unwrap_or_default())
}

/// Neighbours in a slot, and with which probability that slot should be accepted.
fn neighbours(r: &mut Read<'_>, shard: u8, keys: u64) -> Result<Option<(Names, f64)>> {
    let start = u64::from(shard) << 58;
    let at = start | r.rng().next_u64() >> 6;
    let mut first = place_from(r, shard, at)?;
    if first.is_none() {
        first = place_from(r, shard, start)?;
    }
    let Some(place) = first else { return Ok(None) };
    let slot = place & !SLOT_MASK;
    let at = slot | r.rng().next_u64() & SLOT_MASK;
    let end = slot | SLOT_MASK;
    let mut names = Vec::new();
    let mut last = collect(r, shard, at, end, STEPS, &mut names)?;
    let mut covered = last - at;
    if names.len() < STEPS && at > slot {
        last = collect(r, shard, slot, at - 1, STEPS, &mut names)?;
        covered += last - slot;
    }
    let in_slot = if names.len() < STEPS {
        names.len() as f64
    } else {
        names.len() as f64 * SLOT_MASK as f64 / (covered as f64 + 1.0)
    };
    let before = match place_before(r, shard, slot)? {
        Some(place) => (slot - (place & !SLOT_MASK)) >> 50,
        None => {
            let last = place_before(r, shard, start | (u64::MAX >> 6))?.unwrap_or(place);
            256 - (((last & !SLOT_MASK) - slot) >> 50)
        }
    };
    let fair = (in_slot / keys as f64) / (before.max(1) as f64 / 256.0);
    Ok(Some((names, fair)))
}

/// Adds the keys from one place to another, both included, until there are `max`. Answers the last place
/// that was covered.
fn collect(
    r: &mut Read<'_>,
    shard: u8,
    from: u64,
    to: u64,
    max: usize,
    names: &mut Names,
) -> Result<u64> {
    let now_ms = r.now_ms();
    let mut covered = to;
    walk(r, shard, from, &mut |key, header| {
        if key.place > to {
            return Ok(ControlFlow::Break(()));
        }
        if names.len() >= max {
            covered = key.place;
            return Ok(ControlFlow::Break(()));
        }
        names.push(is_live(&header, now_ms).then(|| key.name.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(covered)
}

/// The bits of a place below the slot.
const SLOT_MASK: u64 = (1 << 50) - 1;

/// The place of the first key of a shard at or after a place.
fn place_from(r: &mut Read<'_>, shard: u8, from: u64) -> Result<Option<u64>> {
    let mut found = None;
    walk(r, shard, from, &mut |key, _| {
        found = Some(key.place);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The place of the last key of a shard before a place.
fn place_before(r: &mut Read<'_>, shard: u8, place: u64) -> Result<Option<u64>> {
    let db = r.physical_db();
    let from = Bound::Included(record::header_start(db, u64::from(shard) << 58));
    let to = Bound::Excluded(record::header_start(db, place));
    let mut found = None;
    r.scan(shard, &from, &to, true, &mut |key, _| {
        found = record::parse_header_key(key).map(|(_, key)| key.place);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The kind that SCAN's TYPE names.
pub fn kind_named(name: &[u8]) -> Option<Kind> {
    [Kind::String, Kind::Hash, Kind::List, Kind::Set, Kind::ZSet, Kind::Stream]
        .into_iter()
        .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
