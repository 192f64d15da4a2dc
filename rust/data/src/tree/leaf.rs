//! A leaf's value: a [row](crate::row) of items.

use crate::error::Result;
use crate::row;
use crate::view::Splice;
use smallvec::SmallVec;
use std::cmp::Ordering;

/// A leaf is not larger, in bytes, unless it is one item.
pub(crate) const LEAF_MAX: usize = 1024;
/// A leaf that shrinks below this is put together with a neighbour, if both have room in one.
pub(super) const LEAF_MIN: usize = LEAF_MAX / 4;
/// What is put together is not larger: it should not be split again at once.
pub(super) const LEAF_MERGED: usize = LEAF_MAX / 4 * 3;

/// Where an item stands in a sorted leaf, or would stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// How many items are smaller.
    pub(super) index: u64,
    /// How many bytes they take.
    pub(super) at: usize,
    /// The bytes that the item takes, if it is there.
    pub(super) found: Option<usize>,
}

/// Looks for an item in a sorted leaf.
pub(super) fn find(leaf: &[u8], probe: &[u8]) -> Result<Spot> {
    let start = head(probe);
    let (mut rest, mut index) = (leaf, 0);
    while !rest.is_empty() {
        let (item, after) = row::parse(rest).ok_or_else(row::broken)?;
        // Eight bytes at once decide nearly always.
        let order = match head(item).cmp(&start) {
            Ordering::Equal => item.cmp(probe),
            other => other,
        };
        if order != Ordering::Less {
            let at = leaf.len() - rest.len();
            let found = (order == Ordering::Equal).then_some(rest.len() - after.len());
            return Ok(Spot { index, at, found });
        }
        index += 1;
        rest = after;
    }
    Ok(Spot { index, at: leaf.len(), found: None })
}

/// The first eight bytes as a number, which compares as they do; what is missing counts as zeros, so that
/// equal numbers say nothing.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    if let Some(chunk) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*chunk);
    }
    let mut chunk = [0; 8];
    chunk.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    u64::from_be_bytes(chunk)
}

/// The change that puts `items` in the place of `remove` bytes at `at`; `None` if that makes the leaf too
/// large.
pub(super) fn splice(leaf: &[u8], at: usize, remove: usize, items: &[&[u8]]) -> Option<Splice> {
    let added: usize = items.iter().map(|item| row::size(item)).sum();
    let kept = leaf.len().saturating_sub(remove);
    if kept + added > LEAF_MAX && (kept > 0 || items.len() > 1) {
        return None;
    }
    let mut insert = SmallVec::new();
    items.iter().for_each(|item| row::push(&mut insert, item));
    Some(Splice { at, remove, insert })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let long = [b'c'; 300];
        let all: Vec<&[u8]> = vec![b"", b"a", b"a\0", b"aaaaaaaab", b"aaaaaaaac", b"b", &long];
        let leaf = row::encode(&all);
        for (n, item) in all.iter().enumerate() {
            let at = row::offset(&leaf, n as u64).unwrap();
            let found = Some(row::size(item));
            assert_eq!(find(&leaf, item).unwrap(), Spot { index: n as u64, at, found });
        }
        assert_eq!(find(&leaf, b"aaaaaaaabb").unwrap().index, 4);
        assert_eq!(find(&leaf, b"d").unwrap(), Spot { index: 7, at: leaf.len(), found: None });
    }
    #[test]
    fn only_one_item_may_be_large() {
        let large = vec![b'x'; LEAF_MAX + 1];
        assert!(splice(b"", 0, 0, &[&large]).is_some());
        assert!(splice(b"", 0, 0, &[&large, b"y"]).is_none());
        assert!(splice(b"\x01a", 0, 0, &[&large]).is_none());
        assert!(splice(b"\x01a", 0, 2, &[&large]).is_some());
        assert!(splice(b"\x01a", 2, 0, &[&large[..LEAF_MAX - 4]]).is_some());
        assert!(splice(b"\x01a", 2, 0, &[&large[..LEAF_MAX - 3]]).is_none());
    }
}
