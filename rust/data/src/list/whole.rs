//! Whole lists on their way out.

use super::count;
use super::exploded::Exploded;
use crate::error::Result;
use crate::header::Header;
use crate::rdb::Elements;
use crate::row::Items;

/// The number of items.
pub(crate) fn len_of(header: &Header<'_>) -> Result<u64> {
    count(header)
}

/// Visits all items, in order.
pub(crate) fn items_of(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if header.is_exploded() {
        return Exploded::decode(header)?.all(elements, each);
    }
    let mut items = Items::new(header.body);
    while let Some(item) = items.next()? {
        each(item)?;
    }
    Ok(())
}
