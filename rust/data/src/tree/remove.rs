//! Items go: leaves and nodes that become empty are deleted, those nearly empty put together.

use super::leaf::{LEAF_MERGED, LEAF_MIN};
use super::node::{NODE_MERGED, NODE_MIN, Node, Shape};
use super::{COUNTS, LEAF, SHAPE, Tree, sub_key};
use crate::error::{Error, Result};
use crate::place::Key;
use crate::row;
use crate::view::{Splice, Write};
use smallvec::SmallVec;
use std::ops::Range;

/// What is left of a child of which a part was taken.
struct Rest {
    count: u64,
    /// Whether it should be put together with a neighbour.
    is_scarce: bool,
}

impl Tree {
    /// Takes away `n` items from a position on; as many as there are. What is covered whole is not read.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn remove(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        at: u64,
        n: u64,
    ) -> Result<()> {
        let n = n.min(self.len.saturating_sub(at));
        if n == 0 {
            return Ok(());
        }
        if n == 1 && self.remove_one(w, owner, at)? {
            self.len -= 1;
            return Ok(());
        }
        self.remove_ranges(w, owner, std::slice::from_ref(&(at..at + n)))
    }

    /// Takes away the items in some ranges of positions, which ascend and do not touch. Each leaf is changed
    /// once.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn remove_ranges(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        ranges: &[Range<u64>],
    ) -> Result<()> {
        let n: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if n == self.len {
            return self.clear(w, owner);
        }
        if n > 0 {
            self.cut(w, owner, self.root, self.height, self.len, 0, ranges)?;
            self.len -= n;
            self.shrink(w, owner)?;
        }
        Ok(())
    }

    /// Takes away all items.
    fn clear(&mut self, w: &mut Write<'_>, owner: Key<'_>) -> Result<()> {
        if self.len > 0 {
            self.drop_child(w, owner, self.root, self.height)?;
            (self.len, self.height, self.root) = (0, 0, 0);
        }
        Ok(())
    }

    /// Takes one item out of its leaf, if enough is left there. Whether it did.
    fn remove_one(&mut self, w: &mut Write<'_>, owner: Key<'_>, at: u64) -> Result<bool> {
        let (path, index) = self.descend(w, owner, at, false)?;
        let least = if path.steps.is_empty() { 1 } else { LEAF_MIN };
        let done = self.edit(w, owner, LEAF, path.leaf, |leaf| {
            let at = row::offset(leaf, index)?;
            let remove = row::offset(leaf.get(at..).unwrap_or_default(), 1)?;
            let enough = leaf.len() - remove >= least;
            let splice = Splice { at, remove, insert: SmallVec::new() };
            Ok((enough.then_some(splice), enough))
        })?;
        if done {
            self.bump(w, owner, &path, -1)?;
        }
        Ok(done)
    }

    /// Takes the items in some ranges out of a child that has `count`, more than are in the ranges; its
    /// first item has the position `start`. The first range ends, and the last begins, inside the child.
    #[expect(clippy::too_many_arguments, reason = "a child and what goes")]
    fn cut(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        id: u64,
        level: u8,
        count: u64,
        mut start: u64,
        mut ranges: &[Range<u64>],
    ) -> Result<Rest> {
        if level == 0 {
            return self.cut_leaf(w, owner, id, count, start, ranges);
        }
        let (mut node, old) = self.node(w, owner, id, level)?;
        let (mut missed, mut scarce) = (None, SmallVec::<[u64; 8]>::new());
        for child in &mut node.children {
            let end = start + child.count;
            let here = ranges.partition_point(|range| range.start < end);
            let inside = ranges.get(..here).unwrap_or_default();
            let gone: u64 =
                inside.iter().map(|r| r.end.min(end).saturating_sub(r.start.max(start))).sum();
            let cut = if gone == 0 {
                Ok(Rest { count: child.count, is_scarce: false })
            } else if gone == child.count {
                self.drop_child(w, owner, child.id, level - 1)
                    .map(|()| Rest { count: 0, is_scarce: false })
            } else {
                self.cut(w, owner, child.id, level - 1, child.count, start, inside)
            };
            match cut {
                Ok(rest) => {
                    child.count = rest.count;
                    scarce.extend(rest.is_scarce.then_some(child.id));
                }
                // The others are asked for, too.
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
            let done = ranges.partition_point(|range| range.end <= end);
            ranges = ranges.get(done..).unwrap_or_default();
            start = end;
        }
        if let Some(missed) = missed {
            return Err(missed);
        }
        node.children.retain(|child| child.count > 0);
        for id in scarce {
            self.mend(w, owner, &mut node, id)?;
        }
        self.rewrite_node(w, owner, id, &old, &node)?;
        Ok(Rest { count: node.count(), is_scarce: node.weight() < NODE_MIN })
    }

    fn cut_leaf(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        id: u64,
        count: u64,
        start: u64,
        ranges: &[Range<u64>],
    ) -> Result<Rest> {
        self.edit(w, owner, LEAF, id, |leaf| {
            let (splice, gone) = row::without(leaf, start, count, ranges)?;
            let is_scarce = leaf.len() - splice.remove + splice.insert.len() < LEAF_MIN;
            Ok((Some(splice), Rest { count: count - gone, is_scarce }))
        })
    }

    /// Deletes all records below a child, and its own. Leaves are not read.
    fn drop_child(&mut self, w: &mut Write<'_>, owner: Key<'_>, id: u64, level: u8) -> Result<()> {
        if level == 0 {
            w.delete_element(owner, self.generation, &sub_key(LEAF, id));
            return Ok(());
        }
        let shape = Shape::decode(self.record(w, owner, SHAPE, id)?)?;
        let children = (0..shape.len()).map(|n| shape.id(n)).collect::<Result<Vec<u64>>>()?;
        let mut missed = None;
        for child in children {
            match self.drop_child(w, owner, child, level - 1) {
                Ok(()) => {}
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
        }
        self.drop_node(w, owner, id);
        missed.map_or(Ok(()), Err)
    }

    fn drop_node(&self, w: &mut Write<'_>, owner: Key<'_>, id: u64) {
        w.delete_element(owner, self.generation, &sub_key(COUNTS, id));
        w.delete_element(owner, self.generation, &sub_key(SHAPE, id));
    }

    /// Puts a child that is nearly empty together with a neighbour, if there is room.
    fn mend(&self, w: &mut Write<'_>, owner: Key<'_>, node: &mut Node, id: u64) -> Result<()> {
        // Gone if it was put together with the other one.
        let Some(n) = node.children.iter().position(|child| child.id == id) else { return Ok(()) };
        for left in [n.checked_sub(1), Some(n)].into_iter().flatten() {
            if left + 1 < node.children.len() && self.merge(w, owner, node, left)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts child `left` and the one behind it together, if there is room. Whether there was.
    fn merge(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        node: &mut Node,
        left: usize,
    ) -> Result<bool> {
        let level = node.level - 1;
        let Some([a, b]) = node.children.get_mut(left..left + 2) else { return Ok(false) };
        if level == 0 {
            let first = self.record(w, owner, LEAF, a.id)?.len();
            let second = self.record(w, owner, LEAF, b.id)?.len();
            if first + second > LEAF_MERGED {
                return Ok(false);
            }
            // The smaller one goes into the larger one.
            let (into, from, at) =
                if first < second { (b.id, a.id, 0) } else { (a.id, b.id, first) };
            let moved = self.record(w, owner, LEAF, from)?.to_vec();
            w.patch_element(owner, self.generation, &sub_key(LEAF, into), at, 0, &moved)?;
            w.delete_element(owner, self.generation, &sub_key(LEAF, from));
            a.id = into;
        } else {
            let (mut first, old) = self.node(w, owner, a.id, level)?;
            let (mut second, _) = self.node(w, owner, b.id, level)?;
            if first.weight() + second.weight() > NODE_MERGED {
                return Ok(false);
            }
            if let Some(child) = second.children.first_mut() {
                child.separator = b.separator.clone();
            }
            first.children.append(&mut second.children);
            self.rewrite_node(w, owner, a.id, &old, &first)?;
            self.drop_node(w, owner, b.id);
        }
        a.count += b.count;
        node.children.remove(left + 1);
        Ok(true)
    }

    /// Takes away nodes at the top that have one child.
    fn shrink(&mut self, w: &mut Write<'_>, owner: Key<'_>) -> Result<()> {
        while self.height > 0 {
            let shape = Shape::decode(self.record(w, owner, SHAPE, self.root)?)?;
            if shape.len() > 1 {
                return Ok(());
            }
            let child = shape.id(0)?;
            self.drop_node(w, owner, self.root);
            self.root = child;
            self.height -= 1;
        }
        Ok(())
    }
}
