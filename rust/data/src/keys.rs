//! What can be done to a key whatever its type: delete, rename, move, copy, measure.
//!
//! A large value's elements belong to its generation, not to its name. Inside a shard a RENAME or MOVE
//! writes the header anew and lets the root record name the new owner: O(1). Into another shard, and for
//! COPY, the elements are copied under a new generation (`large.rs`).

use crate::error::{NO_SUCH_KEY, Result};
use crate::hash;
use crate::header::{Header, Kind};
use crate::large;
use crate::list;
use crate::place::Key;
use crate::set;
use crate::stream;
use crate::string;
use crate::view::{Read, Write, event_class};
use crate::zset;
use std::ops::{Bound, ControlFlow};

/// Elements that MEMORY USAGE looks at unless told.
pub const USAGE_SAMPLES: u64 = 5;

/// A header that outlives the view's borrow.
struct Owned {
    header: Header<'static>,
    body: Vec<u8>,
}

impl Owned {
    fn new(header: Header<'_>) -> Owned {
        let body = header.body.to_vec();
        let Header { kind, encoding, expire_ms, .. } = header;
        Owned { header: Header { kind, encoding, expire_ms, body: &[] }, body }
    }

    fn header(&self) -> Header<'_> {
        Header { body: &self.body, ..self.header }
    }

    /// Claims another generation.
    fn set_generation(&mut self, generation: u64) {
        if let Some(bytes) = self.body.first_chunk_mut::<8>() {
            *bytes = generation.to_le_bytes();
        }
    }
}

/// What has to be known of a header that another one replaces.
#[derive(Clone, Copy)]
struct Replaced {
    expire_ms: Option<u64>,
    has_elements: bool,
    is_large: bool,
}

/// A value of more elements counts as large when it is deleted, as in Redis.
const LARGE: u64 = 64;

impl Replaced {
    fn new(header: &Header<'_>) -> Replaced {
        let has_elements = header.generation().is_some();
        let elements = match header.kind {
            _ if !has_elements => Some(0),
            Kind::Stream => stream::about(header).ok().map(|about| about.len),
            _ => header.exploded().ok().map(|(_, count, _)| count),
        };
        let is_large = elements.is_some_and(|n| n > LARGE);
        Replaced { expire_ms: header.expire_ms, has_elements, is_large }
    }

    /// Notes what becomes of its elements, and answers its expiry.
    fn note(replaced: Option<Replaced>, w: &mut Write<'_>) -> Option<u64> {
        let Replaced { expire_ms, has_elements, is_large } = replaced?;
        if has_elements {
            w.orphan();
        }
        if is_large {
            w.leave_large();
        }
        expire_ms
    }
}

/// Deletes a key. True when it was there. O(1) whatever it holds.
///
/// # Errors
/// `Again`, or damage.
pub fn delete(w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
    let Some(deleted) = w.header(key)?.map(|h| Replaced::new(&h)) else { return Ok(false) };
    let before = Replaced::note(Some(deleted), w);
    w.delete_header(key, before);
    w.event(event_class::GENERIC, "del", key);
    Ok(true)
}

/// Deletes a key as [`delete`] does, and tells nobody. True when it was there.
pub(crate) fn discard(w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
    let Some(deleted) = w.header(key)?.map(|h| Replaced::new(&h)) else { return Ok(false) };
    let before = Replaced::note(Some(deleted), w);
    w.delete_header(key, before);
    Ok(true)
}

/// Whether a key is there.
///
/// # Errors
/// `Again`, or damage.
pub fn exists(r: &mut Read<'_>, key: Key<'_>) -> Result<bool> {
    Ok(r.header(key)?.is_some())
}

/// A key's type.
///
/// # Errors
/// `Again`, or damage.
pub fn kind(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Kind>> {
    Ok(r.header(key)?.map(|h| h.kind))
}

/// Gives a key another name; what had that name before is replaced, or refused if `only_new`. False when
/// it was refused. The expiry goes with the key.
///
/// # Errors
/// "ERR no such key", `Again`, or damage.
pub fn rename(w: &mut Write<'_>, from: Key<'_>, to: Key<'_>, only_new: bool) -> Result<bool> {
    let Some(header) = w.header(from)? else { return Err(NO_SUCH_KEY) };
    let mut value = Owned::new(header);
    if from.name == to.name {
        return Ok(!only_new);
    }
    let replaced = w.header(to)?.map(|h| Replaced::new(&h));
    if only_new && replaced.is_some() {
        return Ok(false);
    }
    w.delete_header(from, value.header.expire_ms);
    if let Some(generation) = value.header().generation() {
        if from.shard() == to.shard() {
            w.put_root(to, generation);
        } else {
            value.set_generation(large::copy(w, value.header.kind, from, generation, to)?);
            w.orphan();
        }
    }
    let before = Replaced::note(replaced, w);
    w.put_header(to, &value.header(), before);
    w.notify(event_class::NEW, "new", to);
    w.event(event_class::GENERIC, "rename_from", from);
    w.event(event_class::GENERIC, "rename_to", to);
    Ok(true)
}

/// Moves a key into another logical database, which must exist and not be the selected one. False when the
/// key is not there, or one of its name is there already.
///
/// # Errors
/// `Again`, or damage.
pub fn move_to(w: &mut Write<'_>, key: Key<'_>, db: u32) -> Result<bool> {
    let source = w.db();
    let Some(header) = w.header(key)? else { return Ok(false) };
    let value = Owned::new(header);
    w.switch_db(db);
    let taken = w.header(key)?.is_some();
    w.switch_db(source);
    if taken {
        return Ok(false);
    }
    w.delete_header(key, value.header.expire_ms);
    w.switch_db(db);
    // One name has one place in all databases: the elements stay where they are.
    if let Some(generation) = value.header().generation() {
        w.put_root(key, generation);
    }
    w.put_header(key, &value.header(), None);
    w.notify(event_class::NEW, "new", key);
    w.switch_db(source);
    w.event(event_class::GENERIC, "move_from", key);
    w.switch_db(db);
    w.event(event_class::GENERIC, "move_to", key);
    w.switch_db(source);
    Ok(true)
}

/// Copies a key, with its expiry, to another name or into another logical database, which must exist.
/// False when the key is not there, or the target is and `replace` is false.
///
/// # Errors
/// `Again`, or damage.
pub fn copy(
    w: &mut Write<'_>,
    from: Key<'_>,
    to: Key<'_>,
    to_db: u32,
    replace: bool,
) -> Result<bool> {
    let source = w.db();
    let Some(header) = w.header(from)? else {
        w.notify(event_class::MISS, "keymiss", from);
        return Ok(false);
    };
    let mut value = Owned::new(header);
    w.switch_db(to_db);
    let replaced = w.header(to)?.map(|h| Replaced::new(&h));
    let copies = replace || replaced.is_none();
    if copies {
        if let Some(generation) = value.header().generation() {
            value.set_generation(large::copy(w, value.header.kind, from, generation, to)?);
        }
        let before = Replaced::note(replaced, w);
        w.put_header(to, &value.header(), before);
        w.notify(event_class::NEW, "new", to);
        w.event(event_class::GENERIC, "copy_to", to);
    }
    w.switch_db(source);
    Ok(copies)
}

/// What OBJECT ENCODING answers.
///
/// # Errors
/// `Again`, or damage.
pub fn encoding_name(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<&'static str>> {
    Ok(r.header(key)?.map(|header| encoding(&header)))
}

/// The encoding of a value, and the bytes in its header, even if it has expired and was not removed yet.
///
/// # Errors
/// `Again`, or damage.
pub fn encoding_of_any(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<(&'static str, usize)>> {
    Ok(r.header_raw(key)?.map(|header| (encoding(&header), header.body.len())))
}

fn encoding(header: &Header<'_>) -> &'static str {
    match header.kind {
        Kind::String => string::encoding_name(header),
        Kind::Hash => hash::encoding_name(header),
        Kind::Set => set::encoding_name(header),
        Kind::List => list::encoding_name(header),
        Kind::ZSet => zset::encoding_name(header),
        Kind::Stream => "stream",
    }
}

/// Seconds since the key was used last, at least.
pub fn idle_s(r: &Read<'_>, key: Key<'_>) -> u64 {
    r.shared().uses().idle_s(r.physical_db(), key, r.now_ms() / 1000)
}

/// How often the key is used, on Redis's logarithmic scale; nothing when that is not counted.
pub fn frequency(r: &Read<'_>, key: Key<'_>) -> Option<u8> {
    let lfu = r.limits().lfu?;
    Some(r.shared().uses().count(r.physical_db(), key, r.now_ms() / 1000, lfu))
}

/// Makes the key look as if it had been used so long ago, and so often.
pub fn set_use(w: &Write<'_>, key: Key<'_>, idle_s: u64, frequency: Option<u8>) {
    w.shared().uses().set(w.physical_db(), key, w.now_ms() / 1000, idle_s, frequency);
}

/// The bytes of all records that a key consists of, before compression: its header, its entry in the TTL
/// index, and its elements, of which `samples` are measured and the others taken to be like them on
/// average (0 measures all).
///
/// # Errors
/// `Again`, or damage.
pub fn usage(r: &mut Read<'_>, key: Key<'_>, samples: u64) -> Result<Option<u64>> {
    /// Space, database and place in a header's key; space and generation in an element's; an entry's.
    const HEADER_KEY: u64 = 13;
    const ELEMENT_KEY: u64 = 9;
    const TTL_KEY: u64 = 21;
    let Some(header) = r.header(key)? else { return Ok(None) };
    let name = key.name.len() as u64;
    let mut bytes = HEADER_KEY + name + header.prefix().0 as u64 + header.body.len() as u64;
    if header.expire_ms.is_some() {
        bytes += TTL_KEY + name;
    }
    if !header.is_exploded() {
        return Ok(Some(bytes));
    }
    let kind = header.kind;
    if kind == Kind::Stream {
        // The root record is the other part.
        return Ok(Some(bytes + ELEMENT_KEY + HEADER_KEY + name + stream::usage(r, key, samples)?));
    }
    let (generation, count, _) = header.exploded()?;
    let count = match header.kind {
        Kind::String => match string::Value::of(header)? {
            string::Value::Chunked(chunks) => chunks.count(),
            string::Value::Whole(_) => 0,
        },
        Kind::List => list::records(r, key)?,
        _ => count,
    };
    // The root record.
    bytes += ELEMENT_KEY + HEADER_KEY + name;
    let (mut seen, mut sum) = (0, 0);
    let sampled = kind == Kind::ZSet && samples > 0;
    // A sorted set's members are the samples, each with its item in a node of the tree.
    let (from, node_share) =
        if sampled { (Bound::Included(&[zset::MEMBER][..]), 2) } else { (Bound::Unbounded, 1) };
    r.scan_elements(key, generation, from, Bound::Unbounded, false, &mut |sub, value| {
        seen += 1;
        sum += ELEMENT_KEY + node_share * sub.len() as u64 + value.len() as u64;
        Ok(if seen == samples { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let all = if seen == samples && seen < count { sum * count / seen.max(1) } else { sum };
    Ok(Some(bytes + all))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
