//! Expiry: what EXPIRE and its relatives do, and the cycle that reaps what has expired.
//!
//! A header says when its key expires; an entry in the TTL index (space T) stands where the cycle finds
//! it in order of time. The entry may be stale, because a blind overwrite does not know what it replaces:
//! it fires only if the header still says the same. The cycle goes on where it stopped: below a shard's
//! watermark there is no entry left, so it does not walk over its own tombstones.

use crate::error::{Error, Result};
use crate::hash;
use crate::header::Header;
use crate::keys;
use crate::place::Key;
use crate::record::{self, Due};
use crate::view::{Read, Write, event_class};
use forgekv_engine::{SHARDS, ShardSet};
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// There is no such key.
    Missing,
    /// Never.
    Never,
    /// At this Unix time in milliseconds.
    At(u64),
}

/// Under which conditions EXPIRE sets an expiry. All that are true must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// Only if the key has none.
    pub nx: bool,
    /// Only if the key has one.
    pub xx: bool,
    /// Only if the new one is later; a key without one never expires.
    pub gt: bool,
    /// Only if the new one is earlier.
    pub lt: bool,
}

impl Condition {
    fn holds(self, old: Option<u64>, new: i64) -> bool {
        let later = old.is_some_and(|old| i128::from(new) > i128::from(old));
        let earlier = old.is_none_or(|old| i128::from(new) < i128::from(old));
        (!self.nx || old.is_none())
            && (!self.xx || old.is_some())
            && (!self.gt || later)
            && (!self.lt || earlier)
    }
}

/// When a key expires.
///
/// # Errors
/// `Again`, or damage.
pub fn get(r: &mut Read<'_>, key: Key<'_>) -> Result<Expires> {
    Ok(match r.header(key)? {
        None => Expires::Missing,
        Some(header) => header.expire_ms.map_or(Expires::Never, Expires::At),
    })
}

/// Makes a key expire at `at_ms`, Unix milliseconds; at once if that is past. True when it was done.
///
/// # Errors
/// `Again`, or damage.
pub fn set(w: &mut Write<'_>, key: Key<'_>, at_ms: i64, condition: Condition) -> Result<bool> {
    let now_ms = w.now_ms();
    let Some(header) = w.header(key)? else { return Ok(false) };
    if !condition.holds(header.expire_ms, at_ms) {
        return Ok(false);
    }
    let at_ms = u64::try_from(at_ms).unwrap_or(0);
    if at_ms <= now_ms {
        return keys::delete(w, key);
    }
    let before = header.expire_ms;
    let body = header.body.to_vec();
    let header = Header { expire_ms: Some(at_ms), body: &body, ..header_without_body(&header) };
    w.put_header(key, &header, before);
    w.event(event_class::GENERIC, "expire", key);
    Ok(true)
}

fn header_without_body(header: &Header<'_>) -> Header<'static> {
    Header { kind: header.kind, encoding: header.encoding, expire_ms: header.expire_ms, body: &[] }
}

/// Takes a key's expiry away. True when it had one.
///
/// # Errors
/// `Again`, or damage.
pub fn persist(w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
    let Some(header) = w.header(key)? else { return Ok(false) };
    let Some(before) = header.expire_ms else { return Ok(false) };
    let body = header.body.to_vec();
    let header = Header { expire_ms: None, body: &body, ..header_without_body(&header) };
    w.put_header(key, &header, Some(before));
    w.event(event_class::GENERIC, "persist", key);
    Ok(true)
}

/// Whether an entry of the TTL index at `expire_ms` still means something to the key with this header.
pub(crate) fn fires_at(header: &Header<'_>, expire_ms: u64) -> bool {
    header.expire_ms == Some(expire_ms)
}

/// What the cycle remembers: in memory only, since after a restart it can begin anew.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// By shard: there is no entry before this moment, in Unix milliseconds. Changed with the shard held.
    watermarks: [AtomicU64; SHARDS],
    active: AtomicBool,
    kept_until_ms: AtomicU64,
}

impl Default for Expiry {
    fn default() -> Expiry {
        Expiry {
            watermarks: std::array::from_fn(|_| AtomicU64::new(0)),
            active: AtomicBool::new(true),
            kept_until_ms: AtomicU64::new(0),
        }
    }
}

impl Expiry {
    /// An entry is about to be staged.
    #[inline]
    pub(crate) fn entered(&self, shard: u8, expire_ms: u64) {
        if self.watermark(shard) > expire_ms {
            self.set_watermark(shard, expire_ms);
        }
    }

    fn watermark(&self, shard: u8) -> u64 {
        self.watermarks.get(usize::from(shard)).map_or(0, |w| w.load(Ordering::Relaxed))
    }

    fn set_watermark(&self, shard: u8, ms: u64) {
        if let Some(watermark) = self.watermarks.get(usize::from(shard)) {
            watermark.store(ms, Ordering::Relaxed);
        }
    }

    /// The shards in which something may have to be reaped.
    pub(crate) fn due(&self, now_ms: u64) -> ShardSet {
        let mut set = ShardSet::default();
        for shard in (0..SHARDS as u8).filter(|&shard| self.watermark(shard) <= now_ms) {
            set.insert(shard);
        }
        set
    }

    /// Until then, in Unix milliseconds, expired keys stay where they are, though nobody sees them.
    pub(crate) fn kept_until_ms(&self) -> u64 {
        self.kept_until_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn keep_until(&self, unix_ms: u64) {
        self.kept_until_ms.store(unix_ms, Ordering::Relaxed);
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    pub(crate) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }
}

/// What one step of the cycle did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Keys that were deleted.
    pub expired: u64,
    /// Entries that meant nothing any more.
    pub stale: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// One step of the cycle on a shard that is held: stages the deletion of what has expired, `max` entries of
/// the index at most. Run it for the shards that [`Store::due_shards`](crate::Store::due_shards) names.
///
/// # Errors
/// `Again`, or damage.
pub fn cycle_shard(w: &mut Write<'_>, shard: u8, max: usize) -> Result<Reaped> {
    let now_ms = w.now_ms();
    let expiry = w.shared().expiry();
    let from = record::ttl_start(expiry.watermark(shard));
    let mut due: Vec<Vec<u8>> = Vec::new();
    let mut next_ms = u64::MAX;
    let mut more = false;
    let end = Bound::Excluded(vec![record::SPACE_TTL + 1]);
    w.scan(shard, &Bound::Included(from), &end, false, &mut |key, _| {
        let Some((expire_ms, ..)) = record::parse_ttl_key(key) else {
            return Err(Error::broken("an entry of the TTL index cannot be read"));
        };
        next_ms = next_ms.min(expire_ms);
        more = expire_ms <= now_ms && due.len() == max;
        if expire_ms > now_ms || more {
            return Ok(ControlFlow::Break(()));
        }
        due.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    // What is staged here may yet fail to be committed: so the watermark only passes what is not there.
    expiry.set_watermark(shard, next_ms);
    // Headers that are not in memory are asked for together.
    for (_, due) in due.iter().filter_map(|entry| record::parse_ttl_key(entry)) {
        if let Due::Key(physical_db, key) | Due::Fields(physical_db, key) = due {
            let header = record::HeaderKey::new(physical_db, key);
            w.guard().probe(shard, header.hash(), header.bytes());
        }
    }
    let mut reaped = Reaped { more, ..Reaped::default() };
    let db = w.db();
    for entry in &due {
        let Some((expire_ms, due)) = record::parse_ttl_key(entry) else { continue };
        let fired = match due {
            Due::Key(physical_db, key) => reap_key(w, physical_db, key, expire_ms)?,
            Due::Fields(physical_db, key) => hash::reap_fields(w, physical_db, key, expire_ms)?,
            Due::Field(generation, field) => {
                hash::reap_field(w, shard, generation, field, expire_ms)?
            }
        };
        if fired {
            reaped.expired += u64::from(matches!(due, Due::Key(..)));
        } else {
            w.delete(shard, record::hash(entry), entry);
            reaped.stale += 1;
        }
    }
    w.switch_db(db);
    Ok(reaped)
}

/// Deletes a key whose entry has come up, if the key still expires at that moment.
fn reap_key(w: &mut Write<'_>, physical_db: u32, key: Key<'_>, expire_ms: u64) -> Result<bool> {
    let Some(logical) = w.shared().map().logical(physical_db) else { return Ok(false) };
    w.switch_db(logical);
    if !w.header_raw(key)?.is_some_and(|h| fires_at(&h, expire_ms)) {
        return Ok(false);
    }
    // Meeting an expired key is what deletes it.
    w.header(key)?;
    Ok(true)
}

#[cfg(test)]
#[path = "expire_tests.rs"]
mod tests;
