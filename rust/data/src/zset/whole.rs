//! Whole sorted sets on their way out.

use super::exploded::{Exploded, MEMBER, parse_score, parse_sub};
use super::packed::Packed;
use crate::error::Result;
use crate::header::Header;
use crate::rdb::Elements;
use std::ops::{Bound, ControlFlow};

/// The number of members.
pub(crate) fn len_of(header: &Header<'_>) -> Result<u64> {
    if header.is_exploded() {
        Ok(Exploded::decode(header)?.count())
    } else {
        Packed::new(header.body).count()
    }
}

/// Visits all members with their scores, in no order that means anything.
pub(crate) fn members_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    each: &mut dyn FnMut(&[u8], f64) -> Result<()>,
) -> Result<()> {
    if header.is_exploded() {
        let generation = Exploded::decode(header)?.generation();
        return elements.walk(generation, Bound::Included(&[MEMBER]), &mut |sub, score| {
            each(parse_sub(sub)?.1, parse_score(score)?)?;
            Ok(ControlFlow::Continue(()))
        });
    }
    let mut entries = Packed::new(header.body).entries();
    while let Some(entry) = entries.next()? {
        each(entry.member, entry.score)?;
    }
    Ok(())
}
