//! Whole hashes on their way out and in.

use super::TIMED;
use super::edit::{Edit, Ttl};
use super::exploded::{Element, Exploded, parse_sub};
use super::packed::Packed;
use crate::error::Result;
use crate::header::Header;
use crate::place::Key;
use crate::rdb::Elements;
use crate::view::Write;
use std::ops::{Bound, ControlFlow};

/// Takes a field, its value and its expiry.
type Each<'f> = dyn FnMut(&[u8], &[u8], Option<u64>) -> Result<()> + 'f;

/// The number of fields, if the header alone says that none of them expires.
pub(crate) fn untimed_count(header: &Header<'_>) -> Result<Option<u64>> {
    if header.is_exploded() {
        let exploded = Exploded::decode(header)?;
        return Ok((!exploded.timed).then_some(exploded.count));
    }
    let timed = header.encoding == TIMED;
    if timed { Ok(None) } else { Packed::decode(timed, header.body)?.count().map(Some) }
}

/// Visits all fields that have not expired.
pub(crate) fn live(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    now_ms: u64,
    each: &mut Each<'_>,
) -> Result<()> {
    if header.is_exploded() {
        let Exploded { generation, .. } = Exploded::decode(header)?;
        return elements.walk(generation, Bound::Unbounded, &mut |sub, bytes| {
            let element = Element::decode(bytes)?;
            if element.is_live(now_ms) {
                each(parse_sub(sub)?.1, element.value, element.expire_ms)?;
            }
            Ok(ControlFlow::Continue(()))
        });
    }
    let mut entries = Packed::decode(header.encoding == TIMED, header.body)?.entries();
    while let Some(entry) = entries.next()? {
        if entry.is_live(now_ms) {
            each(entry.field, entry.value, entry.expire_ms)?;
        }
    }
    Ok(())
}

/// Sets fields, given in turn with their values, each with its expiry; those that have expired are left out.
/// False when a field comes twice, or was there.
///
/// # Errors
/// `WrongType`, or `Again`.
pub(crate) fn load(
    w: &mut Write<'_>,
    key: Key<'_>,
    pairs: &[&[u8]],
    expiries: &[Option<u64>],
) -> Result<bool> {
    let now_ms = w.now_ms();
    let mut edit = Edit::open(w, key)?;
    let mut all_new = true;
    for (pair, expire_ms) in pairs.chunks_exact(2).zip(expiries) {
        if let [field, value] = pair
            && expire_ms.is_none_or(|at| at > now_ms)
        {
            all_new &= edit.set(w, field, value, expire_ms.map_or(Ttl::Clear, Ttl::At))?;
        }
    }
    edit.finish(w, &[])?;
    Ok(all_new)
}
