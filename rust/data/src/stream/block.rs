//! Entries, one after the other: a block of a stream, or the tail that lies in its header.
//!
//! ```text
//! entry: | size varint | ms - base.ms varint | seq varint | fields varint | field .. |
//! field: | length varint | name | length varint | value |
//! ```
//!
//! 1. `size` counts the bytes behind itself, so that a walk need not read what it passes.
//! 2. `base` is an id at or before every entry of the block. It is kept elsewhere: in a block's sub-key, in the
//!    header for the tail. `seq` is less `base.seq` where the milliseconds are the base's.
//! 3. Entries ascend. One that is deleted is cut out; the others stay as they are.

use super::id::Id;
use crate::error::{Error, Result};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use smallvec::SmallVec;
use std::ops::Range;

/// The fields and values of an entry, in the order in which they were given.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    pairs: usize,
    rest: Reader<'a>,
}

impl<'a> Fields<'a> {
    /// How many pairs there are left.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.pairs = self.pairs.checked_sub(1)?;
        // `Entries` has looked at them: what it lets through can be read.
        Some((self.rest.prefixed()?, self.rest.prefixed()?))
    }
}

/// An entry where it lies.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) id: Id,
    pub(super) fields: Fields<'a>,
    /// Its bytes in the block.
    pub(super) at: Range<usize>,
}

/// The bytes of an entry, for a block with this base.
pub(super) fn encode(base: Id, id: Id, fields: &[&[u8]]) -> Vec<u8> {
    let ms = id.ms.wrapping_sub(base.ms);
    let seq = if ms == 0 { id.seq.wrapping_sub(base.seq) } else { id.seq };
    let pairs = (fields.len() / 2) as u64;
    let lead = varint::len(ms) + varint::len(seq) + varint::len(pairs);
    let size = lead + text_len(fields);
    let mut out = Vec::with_capacity(size + varint::MAX_LEN);
    varint::put(&mut out, size as u64);
    varint::put(&mut out, ms);
    varint::put(&mut out, seq);
    varint::put(&mut out, pairs);
    for text in fields {
        varint::put(&mut out, text.len() as u64);
        out.extend_from_slice(text);
    }
    out
}

/// What fields and values take in an entry.
pub(super) fn text_len(fields: &[&[u8]]) -> usize {
    fields.iter().map(|text| varint::len(text.len() as u64) + text.len()).sum()
}

/// A walk over a block.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    base: Id,
    rest: Reader<'a>,
    len: usize,
}

impl<'a> Entries<'a> {
    #[inline]
    pub(super) fn new(base: Id, block: &'a [u8]) -> Entries<'a> {
        Entries { base, rest: Reader::new(block), len: block.len() }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.parse().map(Some).ok_or_else(|| Error::broken("an entry of a stream cannot be read"))
    }

    #[inline]
    fn parse(&mut self) -> Option<Entry<'a>> {
        let start = self.len - self.rest.remaining();
        let mut body = Reader::new(self.rest.prefixed()?);
        let (ms, seq) = (body.varint()?, body.varint()?);
        let id = Id {
            ms: self.base.ms.checked_add(ms)?,
            seq: if ms == 0 { self.base.seq.checked_add(seq)? } else { seq },
        };
        let pairs = usize::try_from(body.varint()?).ok()?;
        Some(Entry {
            id,
            fields: Fields { pairs, rest: body },
            at: start..self.len - self.rest.remaining(),
        })
    }
}

/// The entries of a block, so that they can be walked from either end.
pub(super) fn all(base: Id, block: &[u8]) -> Result<SmallVec<[Entry<'_>; 32]>> {
    let (mut walk, mut found) = (Entries::new(base, block), SmallVec::new());
    while let Some(entry) = walk.next()? {
        found.push(entry);
    }
    Ok(found)
}

/// How many entries a block has, and the ids of its first and last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) count: u64,
    pub(super) first: Id,
    pub(super) last: Id,
}

pub(super) fn extent(base: Id, block: &[u8]) -> Result<Extent> {
    let (mut walk, mut extent) = (Entries::new(base, block), Extent::default());
    while let Some(entry) = walk.next()? {
        if extent.count == 0 {
            extent.first = entry.id;
        }
        extent.last = entry.id;
        extent.count += 1;
    }
    Ok(extent)
}

/// An entry by its id.
pub(super) fn find(base: Id, block: &[u8], id: Id) -> Result<Option<Entry<'_>>> {
    let mut walk = Entries::new(base, block);
    while let Some(entry) = walk.next()? {
        if entry.id >= id {
            return Ok((entry.id == id).then_some(entry));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        let base = Id::new(5, 7);
        let ids = [Id::new(5, 7), Id::new(5, u64::MAX), Id::new(6, 0), Id::MAX];
        let mut block = Vec::new();
        for id in ids {
            block.extend(encode(base, id, &[b"field", b"value", b"", &[9; 300]]));
        }
        let copy = block.clone();
        let found = all(base, &copy).unwrap();
        assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
        for entry in &found {
            assert_eq!(entry.fields.len(), 2);
            let fields: Vec<_> = entry.fields.collect();
            assert_eq!(fields, [(&b"field"[..], &b"value"[..]), (&b""[..], &[9; 300][..])]);
        }
        let expected = Extent { count: 4, first: ids[0], last: Id::MAX };
        assert_eq!(extent(base, &block).unwrap(), expected);
        // One is cut out; the others stay.
        let at = find(base, &block, ids[1]).unwrap().unwrap().at;
        block.drain(at);
        assert!(find(base, &block, ids[1]).unwrap().is_none());
        assert_eq!(extent(base, &block).unwrap().count, 3);
        assert_eq!(find(base, &block, ids[2]).unwrap().unwrap().id, ids[2]);
        assert!(extent(base, &block[..block.len() - 1]).is_err());
        assert_eq!(extent(base, &[]).unwrap(), Extent::default());
    }
}
