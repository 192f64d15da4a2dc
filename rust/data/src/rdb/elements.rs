//! The elements of exploded values, wherever they are read from.

use crate::error::Result;
use crate::place::Key;
use crate::record;
use crate::view::Read;
use forgekv_engine::{Records, Snapshot};
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

    /// Puts the value of one into the place of what `out` held; false when there is none.
    ///
    /// # Errors
    /// As [`walk`](Self::walk).
    fn get(&mut self, generation: u64, sub: &[u8], out: &mut Vec<u8>) -> Result<bool>;
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

    fn get(&mut self, generation: u64, sub: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let found = self.r.element(self.key, generation, sub)?;
        out.clear();
        out.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }
}

/// Those of a shard in a snapshot.
pub(crate) struct Kept<'s> {
    snapshot: &'s Snapshot,
    shard: u8,
    /// Where the last single element was found: the next one is often near.
    near: Option<Records>,
}

/// So many records are passed over before it is better to seek.
const NEAR: usize = 4;

impl<'s> Kept<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, shard: u8) -> Kept<'s> {
        Kept { snapshot, shard, near: None }
    }
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

    fn get(&mut self, generation: u64, sub: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let key = record::ElementKey::new(generation, sub);
        let mut take = |records: &Records| match records.current() {
            Some((found, value)) if found == key.bytes() => {
                out.clear();
                out.extend_from_slice(value);
                true
            }
            _ => false,
        };
        if let Some(records) = &mut self.near {
            for _ in 0..NEAR {
                if take(records) {
                    return Ok(true);
                }
                match records.current() {
                    Some((found, _)) if found < key.bytes() => records.advance()?,
                    _ => break,
                }
            }
        }
        let records = self.snapshot.records(self.shard, key.bytes())?;
        let found = take(&records);
        self.near = Some(records);
        Ok(found)
    }
}
