//! A leaf's value: its items, one after the other.
//!
//! ```text
//! item: | length varint | bytes .. |
//! ```
//!
//! Nothing says how many there are: the node above does.

use crate::error::{Error, Result};
use crate::view::Splice;
use forgekv_base::varint;
use smallvec::SmallVec;
use std::cmp::Ordering;

/// A leaf is not larger, in bytes, unless it is one item.
pub(super) const LEAF_MAX: usize = 1024;
/// A leaf that shrinks below this is put together with a neighbour, if both have room in one.
pub(super) const LEAF_MIN: usize = LEAF_MAX / 4;
/// What is put together is not larger: it should not be split again at once.
pub(super) const LEAF_MERGED: usize = LEAF_MAX / 4 * 3;

fn broken() -> Error {
    Error::broken("a leaf of a tree cannot be read")
}

/// The first item of `bytes`, and what follows it.
#[inline]
fn parse(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (len, n) = varint::get(bytes)?;
    bytes.get(n..)?.split_at_checked(usize::try_from(len).ok()?)
}

/// A walk over the items of a leaf.
#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn new(leaf: &'a [u8]) -> Items<'a> {
        Items { rest: leaf }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (item, rest) = parse(self.rest).ok_or_else(broken)?;
        self.rest = rest;
        Ok(Some(item))
    }
}

/// All items, in order.
pub(super) fn items(leaf: &[u8]) -> Result<Vec<&[u8]>> {
    let (mut walk, mut all) = (Items::new(leaf), Vec::new());
    while let Some(item) = walk.next()? {
        all.push(item);
    }
    Ok(all)
}

/// Where item `n` begins, in bytes; the end when there are just `n`.
pub(super) fn offset(leaf: &[u8], n: u64) -> Result<usize> {
    let mut rest = leaf;
    for _ in 0..n {
        (_, rest) = parse(rest).ok_or_else(broken)?;
    }
    Ok(leaf.len() - rest.len())
}

/// The items from number `n` on.
pub(super) fn from(leaf: &[u8], n: u64) -> Result<Items<'_>> {
    Ok(Items { rest: leaf.get(offset(leaf, n)?..).unwrap_or_default() })
}

/// Item `n`.
pub(super) fn get(leaf: &[u8], n: u64) -> Result<&[u8]> {
    from(leaf, n)?.next()?.ok_or_else(broken)
}

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
        let (item, after) = parse(rest).ok_or_else(broken)?;
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

/// The bytes that an item takes in a leaf.
pub(super) fn size(item: &[u8]) -> usize {
    varint::len(item.len() as u64) + item.len()
}

/// Appends an item.
pub(super) fn push<A: smallvec::Array<Item = u8>>(out: &mut SmallVec<A>, item: &[u8]) {
    let mut len = item.len() as u64;
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(item);
}

/// A leaf of these items.
pub(super) fn encode(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.iter().map(|item| size(item)).sum());
    for item in items {
        varint::put(&mut bytes, item.len() as u64);
        bytes.extend_from_slice(item);
    }
    bytes
}

/// The change that puts `items` in the place of `remove` bytes at `at`; `None` if that makes the leaf too
/// large.
pub(super) fn splice(leaf: &[u8], at: usize, remove: usize, items: &[&[u8]]) -> Option<Splice> {
    let added: usize = items.iter().map(|item| size(item)).sum();
    let kept = leaf.len().saturating_sub(remove);
    if kept + added > LEAF_MAX && (kept > 0 || items.len() > 1) {
        return None;
    }
    let mut insert = SmallVec::new();
    items.iter().for_each(|item| push(&mut insert, item));
    Some(Splice { at, remove, insert })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let long = [b'c'; 300];
        let all: Vec<&[u8]> = vec![b"", b"a", b"a\0", b"aaaaaaaab", b"aaaaaaaac", b"b", &long];
        let leaf = encode(&all);
        assert_eq!(items(&leaf).unwrap(), all);
        for (n, item) in all.iter().enumerate() {
            let at = offset(&leaf, n as u64).unwrap();
            let found = Some(size(item));
            assert_eq!(find(&leaf, item).unwrap(), Spot { index: n as u64, at, found });
            assert_eq!(get(&leaf, n as u64).unwrap(), *item);
        }
        assert_eq!(find(&leaf, b"aaaaaaaabb").unwrap().index, 4);
        assert_eq!(find(&leaf, b"d").unwrap(), Spot { index: 7, at: leaf.len(), found: None });
        assert!(get(&leaf, 7).is_err() && offset(&leaf, 8).is_err());
        assert!(items(&leaf[..leaf.len() - 1]).is_err());
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
