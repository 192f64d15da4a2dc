//! Items come: leaves and nodes fill up and split.

use super::leaf::{self, LEAF_MAX};
use super::node::{Child, Counts, NODE_MAX, Node, Shape, separator};
use super::{COUNTS, LEAF, Order, Path, SHAPE, Step, Tree, missing, sub_key};
use crate::error::Result;
use crate::place::Key;
use crate::row;
use crate::view::{Read, Write};
use smallvec::SmallVec;
use std::ops::Range;

/// A change is patched only if that saves so many bytes of log.
const PATCH_GAIN: usize = 16;

/// How what has become too much is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    /// All full but the last: more will come at the end.
    AtEnd,
    /// All full but the first: more will come at the start.
    AtStart,
    /// All about the same.
    Even,
}

/// Cuts a row of weights into pieces of at most `max`, or of one.
fn distribute(weights: &[usize], max: usize, split: Split) -> Vec<Range<usize>> {
    let total: usize = weights.iter().sum();
    let (target, reversed) = match split {
        Split::AtEnd => (max, false),
        Split::AtStart => (max, true),
        Split::Even => (total.div_ceil(total.div_ceil(max / 10 * 9).max(2)), false),
    };
    if total <= max {
        return vec![Range { start: 0, end: weights.len() }];
    }
    let n = weights.len();
    let mut pieces = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for i in 0..n {
        let weight = weights.get(if reversed { n - 1 - i } else { i }).copied().unwrap_or(0);
        if i > start && (sum + weight > max || sum >= target) {
            pieces.push(start..i);
            (start, sum) = (i, 0);
        }
        sum += weight;
    }
    pieces.push(start..n);
    if reversed {
        pieces.reverse();
        pieces.iter_mut().for_each(|piece| *piece = n - piece.end..n - piece.start);
    }
    pieces
}

impl Tree {
    /// The first items of an empty tree.
    pub(super) fn plant(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        items: &[&[u8]],
    ) -> Result<()> {
        let weights: Vec<usize> = items.iter().map(|item| row::size(item)).collect();
        let mut children = Vec::new();
        for piece in distribute(&weights, LEAF_MAX, Split::AtEnd) {
            let id = self.new_id();
            let chunk = items.get(piece.clone()).unwrap_or_default();
            w.put_element(owner, self.generation, &sub_key(LEAF, id), &row::encode(chunk));
            children.push(self.leaf_child(id, items, &piece));
        }
        self.len = items.len() as u64;
        self.height = 0;
        self.grow(w, owner, children)
    }

    /// Puts items in the place of `remove` (0 or 1) at an index of a leaf.
    pub(super) fn put(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        path: &Path,
        index: u64,
        remove: u64,
        items: &[&[u8]],
    ) -> Result<()> {
        let done = self.edit(w, owner, LEAF, path.leaf, |leaf| {
            let at = row::offset(leaf, index)?;
            let removed = row::offset(leaf.get(at..).unwrap_or_default(), remove)?;
            let splice = leaf::splice(leaf, at, removed, items);
            let fits = splice.is_some();
            Ok((splice, fits))
        });
        if !done? {
            return self.split(w, owner, path, index, remove, items);
        }
        let added = items.len() as i64 - remove as i64;
        self.len = self.len.checked_add_signed(added).ok_or_else(missing)?;
        if added == 0 { Ok(()) } else { self.bump(w, owner, path, added) }
    }

    /// As [`put`](Self::put), where they do not fit.
    pub(super) fn split(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        path: &Path,
        index: u64,
        remove: u64,
        new: &[&[u8]],
    ) -> Result<()> {
        let old = self.record(w, owner, LEAF, path.leaf)?.to_vec();
        let mut items = row::items(&old)?;
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(items.len());
        let end = (index + remove as usize).min(items.len());
        let split = if index == items.len() && path.is_last() {
            Split::AtEnd
        } else if end == 0 && path.is_first() {
            Split::AtStart
        } else {
            Split::Even
        };
        let before = items.len();
        items.splice(index..end, new.iter().copied());
        self.len = self.len + items.len() as u64 - before as u64;
        let weights: Vec<usize> = items.iter().map(|item| row::size(item)).collect();
        let pieces = distribute(&weights, LEAF_MAX, split);
        let kept = if split == Split::AtStart { pieces.len() - 1 } else { 0 };
        let mut children = Vec::with_capacity(pieces.len());
        for (n, piece) in pieces.iter().enumerate() {
            let bytes = row::encode(items.get(piece.clone()).unwrap_or_default());
            let id = if n == kept {
                self.rewrite(w, owner, LEAF, path.leaf, &old, &bytes)?;
                path.leaf
            } else {
                let id = self.new_id();
                w.put_element(owner, self.generation, &sub_key(LEAF, id), &bytes);
                id
            };
            children.push(self.leaf_child(id, &items, piece));
        }
        let added = items.len() as i64 - before as i64;
        self.replace_child(w, owner, &path.steps, children, added, split)
    }

    fn leaf_child(&self, id: u64, items: &[&[u8]], piece: &Range<usize>) -> Child {
        let before = piece.start.checked_sub(1).and_then(|n| items.get(n));
        let separator = match (before, items.get(piece.start)) {
            (Some(before), Some(first)) if self.order == Order::Sorted => separator(before, first),
            _ => SmallVec::new(),
        };
        Child { id, count: piece.len() as u64, separator }
    }

    /// Puts children in the place of the one that a way goes through; below it there are `added` items more
    /// than before.
    fn replace_child(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        steps: &[Step],
        mut children: Vec<Child>,
        added: i64,
        split: Split,
    ) -> Result<()> {
        let mut steps = steps;
        while let Some((step, above)) = steps.split_last() {
            if children.len() == 1 {
                return self.bump_steps(w, owner, steps, added);
            }
            if self.replace_in(w, owner, step, &children)? {
                return self.bump_steps(w, owner, above, added);
            }
            let (mut node, old) = match self.node(w, owner, step.node, step.level) {
                Ok(found) => found,
                Err(e) => {
                    above.iter().for_each(|step| self.ask_node(w, owner, step.node));
                    return Err(e);
                }
            };
            let replaced = node.children.get(step.index).ok_or_else(missing)?;
            if let Some(first) = children.first_mut() {
                first.separator = replaced.separator.clone();
            }
            node.children.splice(step.index..=step.index, children);
            let weights: Vec<usize> = node.children.iter().map(Child::weight).collect();
            let pieces = distribute(&weights, NODE_MAX, split);
            let kept = if split == Split::AtStart { pieces.len() - 1 } else { 0 };
            let mut upper = Vec::with_capacity(pieces.len());
            for (n, piece) in pieces.into_iter().enumerate() {
                let children = node.children.get(piece).unwrap_or_default().to_vec();
                let part = Node { level: node.level, children };
                let id = if n == kept {
                    self.rewrite_node(w, owner, step.node, &old, &part)?;
                    step.node
                } else {
                    self.new_node(w, owner, &part)
                };
                upper.push(summary(id, &part));
            }
            children = upper;
            steps = above;
        }
        self.grow(w, owner, children)
    }

    /// Puts children in the place of one of a node, if there is room. Whether there was.
    fn replace_in(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        step: &Step,
        children: &[Child],
    ) -> Result<bool> {
        self.ask(w, owner, COUNTS, step.node);
        let shape = Shape::decode(self.record(w, owner, SHAPE, step.node)?)?;
        let Some(shape) = shape.replaced(step.index, children)? else { return Ok(false) };
        self.edit(w, owner, COUNTS, step.node, |bytes| {
            let splice = Counts::new(step.level, bytes).replaced(step.index, children);
            Ok((Some(splice), ()))
        })?;
        w.put_element(owner, self.generation, &sub_key(SHAPE, step.node), &shape);
        Ok(true)
    }

    /// Makes nodes above these until there is one.
    fn grow(&mut self, w: &mut Write<'_>, owner: Key<'_>, mut children: Vec<Child>) -> Result<()> {
        while children.len() > 1 {
            self.height += 1;
            let weights: Vec<usize> = children.iter().map(Child::weight).collect();
            let mut upper = Vec::new();
            for piece in distribute(&weights, NODE_MAX, Split::AtEnd) {
                let children = children.get(piece).unwrap_or_default().to_vec();
                let node = Node { level: self.height, children };
                let id = self.new_node(w, owner, &node);
                upper.push(summary(id, &node));
            }
            children = upper;
        }
        self.root = children.first().ok_or_else(missing)?.id;
        Ok(())
    }

    /// A node taken apart, and its two records as they are.
    pub(super) fn node(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        id: u64,
        level: u8,
    ) -> Result<(Node, (Vec<u8>, Vec<u8>))> {
        let counts = self.record(r, owner, COUNTS, id).map(<[u8]>::to_vec);
        let shape = self.record(r, owner, SHAPE, id)?.to_vec();
        let counts = counts?;
        Ok((Node::decode(level, &counts, &shape)?, (counts, shape)))
    }

    /// Asks for both records of a node.
    pub(super) fn ask_node(&self, r: &mut Read<'_>, owner: Key<'_>, id: u64) {
        self.ask(r, owner, COUNTS, id);
        self.ask(r, owner, SHAPE, id);
    }

    fn new_node(&mut self, w: &mut Write<'_>, owner: Key<'_>, node: &Node) -> u64 {
        let id = self.new_id();
        let (counts, shape) = node.encode(self.order);
        w.put_element(owner, self.generation, &sub_key(COUNTS, id), &counts);
        w.put_element(owner, self.generation, &sub_key(SHAPE, id), &shape);
        id
    }

    /// Writes a node that has changed.
    pub(super) fn rewrite_node(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        id: u64,
        (counts, shape): &(Vec<u8>, Vec<u8>),
        node: &Node,
    ) -> Result<()> {
        let (new_counts, new_shape) = node.encode(self.order);
        self.rewrite(w, owner, COUNTS, id, counts, &new_counts)?;
        self.rewrite(w, owner, SHAPE, id, shape, &new_shape)
    }

    /// Writes a record that has changed: what is the same at both ends is left alone, if that pays.
    pub(super) fn rewrite(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        tag: u8,
        id: u64,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let sub = sub_key(tag, id);
        let (head, tail) = same_ends(old, new);
        let insert = new.get(head..new.len() - tail).unwrap_or_default();
        if insert.len() + PATCH_GAIN >= new.len() {
            w.put_element(owner, self.generation, &sub, new);
            return Ok(());
        }
        let remove = old.len() - tail - head;
        w.patch_element(owner, self.generation, &sub, head, remove, insert)
    }
}

/// How many bytes two strings have in common at their starts, and how many more at their ends.
fn same_ends(a: &[u8], b: &[u8]) -> (usize, usize) {
    // By words, then by bytes.
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let start = 8 * words.take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(start..).unwrap_or_default(), b.get(start..).unwrap_or_default());
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(head..).unwrap_or_default(), b.get(head..).unwrap_or_default());
    let words = a.as_rchunks::<8>().1.iter().rev().zip(b.as_rchunks::<8>().1.iter().rev());
    let end = 8 * words.take_while(|(a, b)| a == b).count();
    let a = a.get(..a.len() - end).unwrap_or_default();
    let b = b.get(..b.len() - end).unwrap_or_default();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (start + head, end + tail)
}

/// What the node above says of a node.
pub(super) fn summary(id: u64, node: &Node) -> Child {
    let separator = node.children.first().map(|child| child.separator.clone());
    Child { id, count: node.count(), separator: separator.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_are_the_same() {
        let text = b"0123456789abcdefghijklmnopqrstuvwxyz";
        for at in 0..text.len() {
            for n in 0..text.len() - at {
                let mut other = text.to_vec();
                other.splice(at..at + n, *b"##########");
                let expected = (at, text.len() - at - n);
                assert_eq!(same_ends(text, &other), expected);
                assert_eq!(same_ends(&other, text), expected);
            }
        }
        assert_eq!(same_ends(b"aaaa", b"aa"), (2, 0));
        assert_eq!(same_ends(b"aXaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaa"), (1, 14));
    }

    #[test]
    fn pieces_are_as_large_as_they_should_be() {
        let weights = [10; 25];
        assert_eq!(distribute(&weights, 250, Split::Even), vec![0..25; 1]);
        assert_eq!(distribute(&weights, 100, Split::AtEnd), [0..10, 10..20, 20..25]);
        assert_eq!(distribute(&weights, 100, Split::AtStart), [0..5, 5..15, 15..25]);
        assert_eq!(distribute(&weights[..11], 100, Split::Even), [0..6, 6..11]);
        assert_eq!(distribute(&[500, 1, 500, 500], 100, Split::Even).len(), 4);
        assert_eq!(distribute(&[500], 100, Split::AtEnd), vec![0..1; 1]);
    }
}
