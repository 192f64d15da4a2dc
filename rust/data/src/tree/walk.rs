//! Walks over items that follow each other.

use super::node::{Counts, Shape};
use super::{COUNTS, LEAF, Path, SHAPE, Step, Tree};
use crate::error::Result;
use crate::place::Key;
use crate::row::{self, Items};
use crate::view::Read;
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// Leaves that a walk asks for at once when one is missing.
const AHEAD: usize = 64;

impl Tree {
    /// Visits at most `most` items from a position on, upwards or, if `reverse`, downwards, until `each`
    /// breaks. Loads no more than it visits if it goes on for `most`.
    ///
    /// # Errors
    /// `Again`, damage, or what `each` answers; it may have been called before.
    pub(crate) fn walk(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        from: u64,
        most: u64,
        reverse: bool,
        each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if from >= self.len || most == 0 {
            return Ok(());
        }
        let (mut path, index) = self.descend(r, owner, from, false)?;
        let (mut start, mut left) = (Some(index), most);
        loop {
            let leaf = match self.record(r, owner, LEAF, path.leaf) {
                Ok(leaf) => leaf,
                Err(e) => {
                    self.ask_ahead(r, owner, &path, left, reverse);
                    return Err(e);
                }
            };
            if reverse {
                // Where the items begin has to be known before the last can be shown.
                let mut found: SmallVec<[&[u8]; 64]> = SmallVec::new();
                let mut items = Items::new(leaf);
                while start.is_none_or(|last| found.len() as u64 <= last)
                    && let Some(item) = items.next()?
                {
                    found.push(item);
                }
                for item in found.iter().rev() {
                    left -= 1;
                    if each(item)?.is_break() || left == 0 {
                        return Ok(());
                    }
                }
            } else {
                let mut items = row::from(leaf, start.unwrap_or(0))?;
                while let Some(item) = items.next()? {
                    left -= 1;
                    if each(item)?.is_break() || left == 0 {
                        return Ok(());
                    }
                }
            }
            start = None;
            if !self.advance(r, owner, &mut path, reverse)? {
                return Ok(());
            }
        }
    }

    /// The number of items in the first leaf, or the last one; 0 when the tree is empty.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn leaf_len(&self, r: &mut Read<'_>, owner: Key<'_>, last: bool) -> Result<u64> {
        if self.len == 0 {
            return Ok(0);
        }
        let (path, _) = self.descend(r, owner, if last { self.len - 1 } else { 0 }, false)?;
        match path.steps.last() {
            None => Ok(self.len),
            Some(step) => {
                let counts = self.record(r, owner, COUNTS, step.node)?;
                Counts::new(step.level, counts).get(step.index)
            }
        }
    }

    /// About how many leaves there are.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn leaves(&self, r: &mut Read<'_>, owner: Key<'_>) -> Result<u64> {
        if self.len == 0 {
            return Ok(0);
        }
        // As if all nodes had as many children as those in the middle.
        let (path, _) = self.descend(r, owner, self.len / 2, false)?;
        let mut leaves = 1;
        for step in &path.steps {
            leaves *= Shape::decode(self.record(r, owner, SHAPE, step.node)?)?.len() as u64;
        }
        Ok(leaves)
    }

    /// Goes on to the next leaf, or the one before. False when there is none.
    fn advance(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        path: &mut Path,
        reverse: bool,
    ) -> Result<bool> {
        while let Some(Step { node, level, index, is_last }) = path.steps.pop() {
            let next = if reverse { index.checked_sub(1) } else { (!is_last).then_some(index + 1) };
            let Some(index) = next else { continue };
            path.leaf = node;
            self.follow(r, owner, path, level, index)?;
            for level in (1..level).rev() {
                let index = if reverse {
                    Shape::decode(self.record(r, owner, SHAPE, path.leaf)?)?.len() - 1
                } else {
                    0
                };
                self.follow(r, owner, path, level, index)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Asks for the leaves beside the one that is missing which a walk over `left` items more will visit.
    fn ask_ahead(&self, r: &mut Read<'_>, owner: Key<'_>, path: &Path, left: u64, reverse: bool) {
        let Some(step) = path.steps.last() else { return };
        let mut ids: SmallVec<[u64; AHEAD]> = SmallVec::new();
        let Ok(counts) = self.record(r, owner, COUNTS, step.node) else { return };
        let counts = Counts::new(step.level, counts);
        let (mut covered, mut last) = (0, step.index);
        for _ in 0..AHEAD {
            let next = if reverse { last.checked_sub(1) } else { Some(last + 1) };
            let Some(count) = next.and_then(|n| counts.get(n).ok()) else { break };
            if covered >= left {
                break;
            }
            covered += count;
            last = next.unwrap_or(last);
        }
        let Ok(shape) = self.record(r, owner, SHAPE, step.node).and_then(Shape::decode) else {
            return;
        };
        for n in last.min(step.index)..=last.max(step.index) {
            ids.extend(shape.id(n));
        }
        ids.iter().for_each(|&id| self.ask(r, owner, LEAF, id));
    }
}
