//! All items, from wherever the nodes are.

use super::node::Shape;
use super::{LEAF, SHAPE, Tree, missing, sub_key};
use crate::error::Result;
use crate::rdb::Elements;
use crate::row::Items;

impl Tree {
    /// Visits all items, upwards.
    ///
    /// # Errors
    /// `Again`, damage, or what `each` answers.
    pub(crate) fn all(
        &self,
        elements: &mut dyn Elements,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.len == 0 { Ok(()) } else { self.below(elements, self.height, self.root, each) }
    }

    fn below(
        &self,
        elements: &mut dyn Elements,
        level: u8,
        id: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut record = Vec::new();
        let tag = if level == 0 { LEAF } else { SHAPE };
        if !elements.get(self.generation, &sub_key(tag, id), &mut record)? {
            return Err(missing());
        }
        if level == 0 {
            let mut items = Items::new(&record);
            while let Some(item) = items.next()? {
                each(item)?;
            }
            return Ok(());
        }
        let shape = Shape::decode(&record)?;
        for n in 0..shape.len() {
            let child = shape.id(n)?;
            self.below(elements, level - 1, child, each)?;
        }
        Ok(())
    }
}
