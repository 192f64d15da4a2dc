//! The elements of exploded values, wherever they are read from.

use crate::error::Result;
use crate::place::Key;
use crate::record;
use crate::view::Read;
use forgekv_engine::Snapshot;
use std::ops::{Bound, ControlFlow};

/// Takes sub-keys and values.
pub(crate) type Each<'f> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'f;

/// The elements of one exploded value.
pub(crate) trait Elements {
    /// Visits those of a generation from a sub-key on, in ascending order, until `each` breaks. The root
    /// record is left out.
    ///
    /// # Errors
    /// `Again` when something has to be loaded, damage, or what `each` answers.
    fn walk(&mut self, generation: u64, from: Bound<&[u8]>, each: &mut Each<'_>) -> Result<()>;
}

/// Those of a key that a view sees.
pub(crate) struct Viewed<'r, 'e, 'k> {
    pub(crate) r: &'r mut Read<'e>,
    pub(crate) key: Key<'k>,
}

impl Elements for Viewed<'_, '_, '_> {
    fn walk(&mut self, generation: u64, from: Bound<&[u8]>, each: &mut Each<'_>) -> Result<()> {
        self.r.scan_elements(self.key, generation, from, Bound::Unbounded, false, each)
    }
}

/// Those of a shard in a snapshot.
pub(crate) struct Kept<'s> {
    pub(crate) snapshot: &'s Snapshot,
    pub(crate) shard: u8,
}

impl Elements for Kept<'_> {
    fn walk(&mut self, generation: u64, from: Bound<&[u8]>, each: &mut Each<'_>) -> Result<()> {
        let (from, _) = record::element_range(generation, from, Bound::Unbounded);
        let (Bound::Included(start) | Bound::Excluded(start)) = &from else { return Ok(()) };
        let mut records = self.snapshot.records(self.shard, start)?;
        while let Some((key, value)) = records.current() {
            if record::generation(key) != Some(generation) {
                break;
            }
            let is_before = matches!(&from, Bound::Excluded(start) if start == key);
            if !is_before && each(record::sub_key(key), value)?.is_break() {
                break;
            }
            records.advance()?;
        }
        Ok(())
    }
}
