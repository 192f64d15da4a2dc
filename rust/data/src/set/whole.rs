//! Whole sets on their way out.

use super::exploded::{Exploded, parse_sub};
use super::{Packing, count, each_packed};
use crate::error::Result;
use crate::header::Header;
use crate::rdb::Elements;
use std::ops::{Bound, ControlFlow};

/// The number of members.
pub(crate) fn len_of(header: &Header<'_>) -> Result<u64> {
    count(Packing::of(header)?)
}

/// Visits all members.
pub(crate) fn members_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let packing = Packing::of(header)?;
    let Packing::Exploded(Exploded { generation, .. }) = packing else {
        return each_packed(packing, each);
    };
    elements.walk(generation, Bound::Unbounded, &mut |sub, _| {
        each(parse_sub(sub)?.1)?;
        Ok(ControlFlow::Continue(()))
    })
}
