//! Walks over all fields of a hash: HGETALL and its kin, HSCAN. Nothing is kept in memory on the way.

use super::TIMED;
use super::exploded::{Element, Exploded, parse_sub};
use super::packed::Packed;
use crate::error::Result;
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use std::ops::{Bound, ControlFlow};

/// The bits of a field's hash that are not in a cursor, so that every client can hold it in a double.
const BELOW_CURSOR: u32 = 11;

/// Somebody to whom a hash is shown.
pub trait Visit {
    /// So many fields will follow.
    fn len(&mut self, len: u64);

    /// A field and its value.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn field(&mut self, field: &[u8], value: &[u8]) -> Result<()>;
}

/// Shows all fields that have not expired.
///
/// # Errors
/// `WrongType`, `Again`, or what the visitor answers; it may have been called before.
pub fn all(r: &mut Read<'_>, key: Key<'_>, visit: &mut dyn Visit) -> Result<()> {
    let now_ms = r.now_ms();
    let Some(header) = r.header_of(key, Kind::Hash)? else {
        r.notify(event_class::MISS, "keymiss", key);
        visit.len(0);
        return Ok(());
    };
    if header.is_exploded() {
        let exploded = Exploded::decode(&header)?;
        let mut len = exploded.count;
        if exploded.timed {
            len = 0;
            elements(r, key, exploded.generation, now_ms, &mut |_, _| {
                len += 1;
                Ok(())
            })?;
        }
        visit.len(len);
        return elements(r, key, exploded.generation, now_ms, &mut |sub, value| {
            visit.field(parse_sub(sub)?.1, value)
        });
    }
    let packed = Packed::decode(header.encoding == TIMED, header.body)?;
    let (mut entries, mut len) = (packed.entries(), 0);
    while let Some(entry) = entries.next()? {
        len += u64::from(entry.is_live(now_ms));
    }
    visit.len(len);
    let mut entries = packed.entries();
    while let Some(entry) = entries.next()? {
        if entry.is_live(now_ms) {
            visit.field(entry.field, entry.value)?;
        }
    }
    Ok(())
}

/// Shows the elements of an exploded hash that have not expired: sub-key and value.
pub(super) fn elements(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    now_ms: u64,
    each: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let (from, to) = (Bound::Unbounded, Bound::Unbounded);
    r.scan_elements(key, generation, from, to, false, &mut |sub, bytes| {
        let element = Element::decode(bytes)?;
        if element.is_live(now_ms) {
            each(sub, element.value)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// One step of HSCAN: shows about `count` fields from `cursor` on, 0 being the start, and answers where to
/// go on, 0 being the end. A packed hash is shown in one step. The cursor is the top of a field's hash, and
/// fields that have it in common are shown together: so nothing is kept about a scan, and a field that
/// stays is shown.
///
/// # Errors
/// As [`all`].
pub fn scan(
    r: &mut Read<'_>,
    key: Key<'_>,
    cursor: u64,
    count: u64,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<u64> {
    let now_ms = r.now_ms();
    let Some(header) = r.header_of(key, Kind::Hash)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    if !header.is_exploded() {
        let packed = Packed::decode(header.encoding == TIMED, header.body)?;
        let mut entries = packed.entries();
        while let Some(entry) = entries.next()? {
            if entry.is_live(now_ms) {
                each(entry.field, entry.value);
            }
        }
        return Ok(0);
    }
    if cursor >> (64 - BELOW_CURSOR) != 0 {
        return Ok(0);
    }
    let Exploded { generation, .. } = Exploded::decode(&header)?;
    let start = (cursor << BELOW_CURSOR).to_be_bytes();
    let from = if cursor == 0 { Bound::Unbounded } else { Bound::Included(&start[..]) };
    let (mut visited, mut last, mut next) = (0, None, 0);
    r.scan_elements(key, generation, from, Bound::Unbounded, false, &mut |sub, bytes| {
        let (hash, field) = parse_sub(sub)?;
        let at = hash >> BELOW_CURSOR;
        if visited >= count && last != Some(at) {
            next = at;
            return Ok(ControlFlow::Break(()));
        }
        visited += 1;
        last = Some(at);
        let element = Element::decode(bytes)?;
        if element.is_live(now_ms) {
            each(field, element.value);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(next)
}
