//! An inner node: two records, because what changes with each item is kept apart from what does not.
//!
//! ```text
//! counts: | count, 2, 4 or 8 bytes by level | ..                    how many items are below each child
//! shape:  | children u16 | width u8 | id u48 .. | end of separator, width bytes .. | separators .. |
//! ```
//!
//! All little-endian. A count above leaves takes 2 bytes, above those 4, and 8 from there on. The width is
//! 2 or 4, or 0 in a tree that is not sorted: then nothing follows the ids. A child's separator is not
//! greater than any item below the child, and greater than every item below the child before: the shortest
//! string that is, when it was made. The first child's does not count in its node; it is what the node itself
//! has in the node above.

use super::Order;
use crate::error::{Error, Result};
use crate::view::Splice;
use smallvec::SmallVec;

/// The children of a node weigh at most this much.
pub(super) const NODE_MAX: usize = 4096;
/// A node that becomes lighter is put together with a neighbour, if both have room in one.
pub(super) const NODE_MIN: usize = NODE_MAX / 8;
/// What is put together is not heavier.
pub(super) const NODE_MERGED: usize = NODE_MAX / 2;

/// The least that a child weighs: so a node has at most 256.
const CHILD_MIN: usize = 16;
/// The most that a child weighs, however long its separator: so a node has room for four.
const CHILD_MAX: usize = NODE_MAX / 4;

const HEAD: usize = 3;
const ID: usize = 6;

fn broken() -> Error {
    Error::broken("a node of a tree cannot be read")
}

/// A number of six bytes.
pub(super) fn u48(bytes: &[u8]) -> Option<u64> {
    let &[a, b, c, d, e, f] = bytes.first_chunk::<6>()?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

/// The bytes that a count takes in a node of a level; leaves are level 0.
fn width(level: u8) -> usize {
    match level {
        0 | 1 => 2,
        2 => 4,
        _ => 8,
    }
}

/// The counts of a node where they lie.
#[derive(Clone, Copy)]
pub(super) struct Counts<'a> {
    level: u8,
    bytes: &'a [u8],
}

impl<'a> Counts<'a> {
    pub(super) fn new(level: u8, bytes: &'a [u8]) -> Counts<'a> {
        Counts { level, bytes }
    }

    /// The sum over some children that stand side by side.
    #[inline]
    fn sum_of(&self, bytes: &[u8]) -> u64 {
        match width(self.level) {
            2 => {
                let (chunks, _) = bytes.as_chunks::<2>();
                // At most 256 children of a leaf's count each.
                u64::from(chunks.iter().map(|c| u32::from(u16::from_le_bytes(*c))).sum::<u32>())
            }
            4 => {
                let (chunks, _) = bytes.as_chunks::<4>();
                chunks.iter().map(|c| u64::from(u32::from_le_bytes(*c))).sum()
            }
            _ => {
                let (chunks, _) = bytes.as_chunks::<8>();
                chunks.iter().map(|c| u64::from_le_bytes(*c)).sum()
            }
        }
    }

    /// The items below the children before child `n`.
    pub(super) fn before(&self, n: usize) -> Result<u64> {
        let end = n * width(self.level);
        Ok(self.sum_of(self.bytes.get(..end).ok_or_else(broken)?))
    }

    pub(super) fn get(&self, n: usize) -> Result<u64> {
        let start = n * width(self.level);
        let bytes = self.bytes.get(start..start + width(self.level)).ok_or_else(broken)?;
        Ok(self.sum_of(bytes))
    }

    /// The child in which the item at `at` lies, and its position there. With `touching`, an item that would
    /// be the first of a child is the one behind the last of the child before. The last child takes what lies
    /// beyond all.
    pub(super) fn seek(&self, mut at: u64, touching: bool) -> Result<(usize, u64)> {
        let at_most = |sum: u64, at: u64| if touching { at <= sum } else { at < sum };
        let (step, block) = (width(self.level), 16 * width(self.level));
        let mut child = 0;
        let mut rest = self.bytes;
        // By sixteens, which the compiler turns into few instructions, then one by one.
        while rest.len() > block {
            let (head, tail) = rest.split_at(block);
            let sum = self.sum_of(head);
            if at_most(sum, at) {
                break;
            }
            at -= sum;
            child += 16;
            rest = tail;
        }
        while rest.len() > step {
            let (head, tail) = rest.split_at(step);
            let sum = self.sum_of(head);
            if at_most(sum, at) {
                break;
            }
            at -= sum;
            child += 1;
            rest = tail;
        }
        if rest.len() < step { Err(broken()) } else { Ok((child, at)) }
    }

    /// The change that puts the counts of some children in the place of that of child `n`.
    pub(super) fn replaced(&self, n: usize, children: &[Child]) -> Splice {
        let width = width(self.level);
        let mut insert = SmallVec::new();
        for child in children {
            insert.extend(child.count.to_le_bytes().into_iter().take(width));
        }
        Splice { at: n * width, remove: width, insert }
    }

    /// Where the count of child `n` lies, and its bytes after a change.
    pub(super) fn changed(&self, n: usize, by: i64) -> Result<(usize, SmallVec<[u8; 128]>)> {
        let count = self.get(n)?.checked_add_signed(by).ok_or_else(broken)?;
        let width = width(self.level);
        let bytes = count.to_le_bytes();
        Ok((n * width, SmallVec::from_slice(bytes.get(..width).unwrap_or_default())))
    }
}

/// The shape of a node where it lies.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    ids: &'a [u8],
    width: usize,
    ends: &'a [u8],
    separators: &'a [u8],
}

impl<'a> Shape<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Shape<'a>> {
        Shape::parse(bytes).ok_or_else(broken)
    }

    #[inline]
    fn parse(bytes: &'a [u8]) -> Option<Shape<'a>> {
        let (&[low, high, width], rest) = bytes.split_first_chunk::<HEAD>()?;
        let (n, width) = (usize::from(u16::from_le_bytes([low, high])), usize::from(width));
        let (ids, rest) = rest.split_at_checked(n * ID)?;
        let (ends, separators) = rest.split_at_checked(n * width)?;
        (n > 0).then_some(Shape { ids, width, ends, separators })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len() / ID
    }

    pub(super) fn id(&self, n: usize) -> Result<u64> {
        self.ids.get(n * ID..).and_then(u48).ok_or_else(broken)
    }

    fn end(&self, n: usize) -> Option<usize> {
        let bytes = self.ends.get(n * self.width..)?;
        Some(match self.width {
            2 => usize::from(u16::from_le_bytes(*bytes.first_chunk()?)),
            _ => u32::from_le_bytes(*bytes.first_chunk()?) as usize,
        })
    }

    fn separator(&self, n: usize) -> Result<&'a [u8]> {
        if self.width == 0 {
            return Ok(&[]);
        }
        let start = match n.checked_sub(1) {
            None => Some(0),
            Some(before) => self.end(before),
        };
        let range = start.zip(self.end(n));
        range.and_then(|(start, end)| self.separators.get(start..end)).ok_or_else(broken)
    }

    /// The node with some children in the place of child `n`, the first of which takes its separator; `None`
    /// when it would be too heavy.
    pub(super) fn replaced(&self, n: usize, children: &[Child]) -> Result<Option<Vec<u8>>> {
        let Some((first, others)) = children.split_first() else { return Ok(None) };
        let (mut weight, mut end) = (0, 0);
        let mut ends: SmallVec<[usize; 256]> = SmallVec::new();
        for i in 0..self.len() {
            let len = self.separator(i)?.len();
            weight += weight_of(len);
            end += len;
            ends.push(end);
            if i == n {
                for child in others {
                    weight += child.weight();
                    end += child.separator.len();
                    ends.push(end);
                }
            }
        }
        let fits = self.width != 2 || end <= usize::from(u16::MAX);
        if weight > NODE_MAX || !fits || n >= self.len() {
            return Ok(None);
        }
        let room = HEAD + ends.len() * (ID + self.width) + end;
        let mut shape = Vec::with_capacity(room);
        shape.extend_from_slice(&(ends.len() as u16).to_le_bytes());
        shape.push(self.width as u8);
        let (before, rest) = self.ids.split_at(n * ID);
        shape.extend_from_slice(before);
        for child in [first].into_iter().chain(others) {
            shape.extend(child.id.to_le_bytes().into_iter().take(ID));
        }
        shape.extend_from_slice(rest.get(ID..).unwrap_or_default());
        if self.width > 0 {
            for end in &ends {
                shape.extend(end.to_le_bytes().into_iter().take(self.width));
            }
            let kept = self.end(n).unwrap_or(0).min(self.separators.len());
            let (before, rest) = self.separators.split_at(kept);
            shape.extend_from_slice(before);
            others.iter().for_each(|child| shape.extend_from_slice(&child.separator));
            shape.extend_from_slice(rest);
        }
        Ok(Some(shape))
    }

    /// The child below which an item lies, or would lie.
    pub(super) fn find(&self, probe: &[u8]) -> Result<usize> {
        // Always: the separator of `low` is not greater, that of `high` is.
        let (mut low, mut high) = (0, self.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.separator(middle)? <= probe { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

/// A separator.
pub(super) type Separator = SmallVec<[u8; 24]>;

/// The shortest separator between two items that follow each other.
pub(super) fn separator(before: &[u8], after: &[u8]) -> Separator {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    SmallVec::from_slice(after.get(..same + 1).unwrap_or(after))
}

/// What a child with a separator of this length takes of a node.
fn weight_of(separator: usize) -> usize {
    (ID + 2 + separator).clamp(CHILD_MIN, CHILD_MAX)
}

/// A node's child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: u64,
    pub(super) count: u64,
    pub(super) separator: Separator,
}

impl Child {
    /// What it takes of a node.
    pub(super) fn weight(&self) -> usize {
        weight_of(self.separator.len())
    }
}

/// A node taken apart, to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) level: u8,
    pub(super) children: Vec<Child>,
}

impl Node {
    pub(super) fn decode(level: u8, counts: &[u8], shape: &[u8]) -> Result<Node> {
        let (counts, shape) = (Counts::new(level, counts), Shape::decode(shape)?);
        let child = |n| {
            let separator = SmallVec::from_slice(shape.separator(n)?);
            Ok(Child { id: shape.id(n)?, count: counts.get(n)?, separator })
        };
        Ok(Node { level, children: (0..shape.len()).map(child).collect::<Result<_>>()? })
    }

    pub(super) fn count(&self) -> u64 {
        self.children.iter().map(|child| child.count).sum()
    }

    pub(super) fn weight(&self) -> usize {
        self.children.iter().map(Child::weight).sum()
    }

    /// The two records: counts and shape.
    pub(super) fn encode(&self, order: Order) -> (Vec<u8>, Vec<u8>) {
        let (n, count_width) = (self.children.len(), width(self.level));
        let mut counts = Vec::with_capacity(n * count_width);
        for child in &self.children {
            counts.extend(child.count.to_le_bytes().iter().take(count_width));
        }
        let separators: usize = self.children.iter().map(|child| child.separator.len()).sum();
        let width = match order {
            Order::Given => 0,
            Order::Sorted if separators <= usize::from(u16::MAX) => 2,
            Order::Sorted => 4,
        };
        let mut shape = Vec::with_capacity(HEAD + n * (ID + width) + separators);
        shape.extend_from_slice(&(n as u16).to_le_bytes());
        shape.push(width as u8);
        for child in &self.children {
            shape.extend(child.id.to_le_bytes().iter().take(ID));
        }
        if width > 0 {
            let mut end = 0;
            for child in &self.children {
                end += child.separator.len();
                shape.extend(end.to_le_bytes().iter().take(width));
            }
            self.children.iter().for_each(|child| shape.extend_from_slice(&child.separator));
        }
        (counts, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(level: u8, n: u64, separator: usize) -> Node {
        let child = |i: u64| {
            let separator = [format!("{i:03}").as_bytes(), &vec![b'x'; separator]].concat();
            Child { id: i << 30, count: i + 1, separator: SmallVec::from_vec(separator) }
        };
        Node { level, children: (0..n).map(child).collect() }
    }

    #[test]
    fn comes_apart_as_it_was_made() {
        for (level, n, separator) in [(1, 1, 0), (1, 256, 3), (2, 100, 700), (3, 40, 2000)] {
            let node = node(level, n, separator);
            let (counts, shape) = node.encode(Order::Sorted);
            assert_eq!(Node::decode(level, &counts, &shape).unwrap(), node);
            assert_eq!(node.count(), (1..=n).sum());
            let parsed = Shape::decode(&shape).unwrap();
            for i in 0..n as usize {
                let probe = &node.children[i].separator;
                assert_eq!(parsed.find(probe).unwrap(), i);
                assert_eq!(parsed.find(&[probe.as_slice(), b"y"].concat()).unwrap(), i);
            }
            assert_eq!(parsed.find(b"").unwrap(), 0);
            assert!(Shape::decode(&shape[..n as usize * 6]).is_err());
            let (_, unsorted) = node.encode(Order::Given);
            assert_eq!(unsorted.len(), 3 + 6 * n as usize);
        }
        assert!(Shape::decode(&[0, 0, 0]).is_err());
    }

    #[test]
    fn children_are_put_in() {
        for order in [Order::Given, Order::Sorted] {
            let mut node = node(1, 100, 3);
            if order == Order::Given {
                node.children.iter_mut().for_each(|child| child.separator.clear());
            }
            let (counts, shape) = node.encode(order);
            for n in [0, 1, 50, 99] {
                let mut new = node.children[n..n + 1].to_vec();
                new[0].count = 7;
                let mut second = new[0].clone();
                (second.id, second.count) = (9, 8);
                if order == Order::Sorted {
                    second.separator.push(b'z');
                }
                new.push(second);
                let replaced = Shape::decode(&shape).unwrap().replaced(n, &new).unwrap().unwrap();
                let splice = Counts::new(1, &counts).replaced(n, &new);
                let mut new_counts = counts.clone();
                new_counts.splice(splice.at..splice.at + splice.remove, splice.insert);
                let mut expected = node.clone();
                expected.children.splice(n..=n, new);
                assert_eq!((new_counts, replaced), expected.encode(order));
            }
        }
        let full = node(1, 256, 0);
        let (_, shape) = full.encode(Order::Sorted);
        let new = &full.children[..2];
        assert!(Shape::decode(&shape).unwrap().replaced(3, new).unwrap().is_none());
    }

    #[test]
    fn counts_seek() {
        for level in [1, 2, 3] {
            let node = node(level, 100, 0);
            let (bytes, _) = node.encode(Order::Given);
            let counts = Counts::new(level, &bytes);
            let mut start = 0;
            for n in 0..100 {
                let last = start + n as u64;
                assert_eq!(counts.before(n).unwrap(), start);
                assert_eq!(counts.seek(start, false).unwrap(), (n, 0));
                assert_eq!(counts.seek(last, false).unwrap(), (n, n as u64));
                assert_eq!(counts.seek(last + 1, true).unwrap(), (n, n as u64 + 1));
                start = last + 1;
            }
            assert_eq!(counts.seek(0, true).unwrap(), (0, 0));
            assert_eq!(counts.seek(start, false).unwrap(), (99, 100));
            assert!(counts.get(100).is_err() && counts.changed(0, -2).is_err());
            let (at, changed) = counts.changed(9, 5).unwrap();
            assert_eq!((at, changed[0], changed.len()), (9 * width(level), 15, width(level)));
        }
    }

    #[test]
    fn separators_are_short() {
        for (before, after, expected) in
            [("abc", "abd", "abd"), ("a", "b", "b"), ("abc", "b", "b"), ("", "xyz", "x")]
        {
            let made = separator(before.as_bytes(), after.as_bytes());
            assert_eq!(made.as_slice(), expected.as_bytes());
        }
        assert_eq!(separator(b"ab", b"abc").as_slice(), b"abc");
    }
}
