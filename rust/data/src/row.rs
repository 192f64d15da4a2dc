//! Byte strings in a row: how a leaf of a tree, and a small list, keep their items.
//!
//! ```text
//! item: | length varint | bytes .. |
//! ```
//!
//! Nothing says how many there are: so a change of one item changes the bytes in one place.

use crate::error::{Error, Result};
use crate::view::Splice;
use forgekv_base::varint;
use smallvec::SmallVec;
use std::ops::Range;

pub(crate) fn broken() -> Error {
    Error::broken("a row of items cannot be read")
}

/// The first item of `bytes`, and what follows it.
#[inline]
pub(crate) fn parse(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (len, n) = varint::get(bytes)?;
    bytes.get(n..)?.split_at_checked(usize::try_from(len).ok()?)
}

/// A walk over the items.
#[derive(Clone, Copy)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(crate) fn new(row: &'a [u8]) -> Items<'a> {
        Items { rest: row }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (item, rest) = parse(self.rest).ok_or_else(broken)?;
        self.rest = rest;
        Ok(Some(item))
    }
}

/// All items, in order.
pub(crate) fn items(row: &[u8]) -> Result<Vec<&[u8]>> {
    let (mut walk, mut all) = (Items::new(row), Vec::new());
    while let Some(item) = walk.next()? {
        all.push(item);
    }
    Ok(all)
}

/// Where item `n` begins, in bytes; the end when there are just `n`.
pub(crate) fn offset(row: &[u8], n: u64) -> Result<usize> {
    let mut rest = row;
    for _ in 0..n {
        (_, rest) = parse(rest).ok_or_else(broken)?;
    }
    Ok(row.len() - rest.len())
}

/// The items from number `n` on.
pub(crate) fn from(row: &[u8], n: u64) -> Result<Items<'_>> {
    Ok(Items { rest: row.get(offset(row, n)?..).unwrap_or_default() })
}

/// Item `n`.
pub(crate) fn get(row: &[u8], n: u64) -> Result<&[u8]> {
    from(row, n)?.next()?.ok_or_else(broken)
}

/// The bytes that an item takes in a row.
pub(crate) fn size(item: &[u8]) -> usize {
    varint::len(item.len() as u64) + item.len()
}

/// Appends an item.
pub(crate) fn push<A: smallvec::Array<Item = u8>>(out: &mut SmallVec<A>, item: &[u8]) {
    let mut len = item.len() as u64;
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(item);
}

/// A row of these items.
pub(crate) fn encode(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.iter().map(|item| size(item)).sum());
    for item in items {
        varint::put(&mut bytes, item.len() as u64);
        bytes.extend_from_slice(item);
    }
    bytes
}

/// The change that takes the items in some ranges of positions out of a row of `count`, whose first item has
/// the position `start`, and how many these are. The ranges ascend, and may begin and end outside.
pub(crate) fn without(
    row: &[u8],
    start: u64,
    count: u64,
    ranges: &[Range<u64>],
) -> Result<(Splice, u64)> {
    let (mut insert, mut gone) = (SmallVec::new(), 0);
    // What is left of the row from here on, and the position where that begins.
    let (mut at, mut position, mut first) = (0, start, None);
    for range in ranges {
        let (from, to) = (range.start.max(start), range.end.min(start + count));
        if from >= to {
            continue;
        }
        let rest = row.get(at..).unwrap_or_default();
        let begin = at + offset(rest, from - position)?;
        let end = begin + offset(row.get(begin..).unwrap_or_default(), to - from)?;
        if first.is_some() {
            insert.extend_from_slice(row.get(at..begin).unwrap_or_default());
        }
        first = first.or(Some(begin));
        (at, position) = (end, to);
        gone += to - from;
    }
    let first = first.unwrap_or(at);
    Ok((Splice { at: first, remove: at - first, insert }, gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back() {
        let long = [b'c'; 300];
        let all: Vec<&[u8]> = vec![b"", b"a", b"bb", &long, b""];
        let row = encode(&all);
        assert_eq!(items(&row).unwrap(), all);
        for (n, item) in all.iter().enumerate() {
            let at = offset(&row, n as u64).unwrap();
            assert_eq!(get(&row, n as u64).unwrap(), *item);
            assert_eq!(offset(&row, n as u64 + 1).unwrap() - at, size(item));
        }
        let mut pushed: SmallVec<[u8; 8]> = SmallVec::new();
        all.iter().for_each(|item| push(&mut pushed, item));
        assert_eq!(pushed.as_slice(), row);
        let (splice, gone) = without(&row, 10, 5, &[0..11, 12..13, 14..20]).unwrap();
        assert_eq!((splice.at, splice.remove, gone), (0, row.len(), 3));
        assert_eq!(splice.insert.as_slice(), encode(&[b"a", &long]));
        let (splice, gone) = without(&row, 10, 5, &[0..3, 11..12]).unwrap();
        assert_eq!((splice.at, splice.remove, splice.insert.len(), gone), (1, 2, 0, 1));
        assert_eq!(without(&row, 10, 5, &[3..5, 6..7]).unwrap().1, 0);
        assert!(get(&row, 5).is_err() && offset(&row, 6).is_err());
        assert!(items(&row[..5]).is_err());
    }
}
