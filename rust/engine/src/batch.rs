//! The staged effects of one command: what the log stores and the shards apply, in one buffer.
//!
//! ```text
//! op := | shard u8 | kind u8 (0 = delete, 1 = put) | key len varint | value len varint (puts only) | key | value |
//! batch := op*
//! ```
//!
//! The bytes are the log's bytes: committing copies them once. Beside them stands an index, so that
//! applying does not parse, and a command can read what it has staged itself.

use crate::error::{Error, Result};
use forgekv_base::varint;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};

const DELETE: u8 = 0;
const PUT: u8 = 1;
/// Beyond this many ops a hash index serves reads of staged keys; below, a walk from the end is faster.
const WALK: usize = 8;

/// One staged effect.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) shard: u8,
    pub(crate) hash: u64,
    key: Range<u32>,
    value: Option<Range<u32>>,
}

/// Staged effects, in order; a later one on the same key wins.
#[derive(Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    /// Made when a large batch is read, or a batch is walked in order: most never are.
    index: Option<Box<Index>>,
}

#[derive(Default, Debug)]
struct Index {
    newest: HashMap<(u8, u64), Vec<u32>>,
    indexed: usize,
    ordered: BTreeMap<(u8, Vec<u8>), u32>,
    sorted: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The number of staged effects.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// The size in the log, in bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Drops what is staged and keeps the memory for the next command, unless it is much.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > 1 << 20 {
            *self = Batch::default();
            return;
        }
        self.truncate(0);
    }

    /// Drops everything staged after the first `len` effects: a command inside a transaction failed.
    pub fn truncate(&mut self, len: usize) {
        let Some(first) = self.ops.get(len) else { return };
        // An op's header lies before its key: find where it starts from the end of the op before it.
        let end = match len.checked_sub(1).and_then(|i| self.ops.get(i)) {
            Some(before) => before.value.as_ref().map_or(before.key.end, |v| v.end),
            None => 0,
        };
        debug_assert!(end <= first.key.start);
        self.bytes.truncate(end as usize);
        self.ops.truncate(len);
        self.index = None;
    }

    /// Stages a value for a key. `hash` is the schema's hash of `key`.
    pub fn put(&mut self, shard: u8, hash: u64, key: &[u8], value: &[u8]) {
        self.put_parts(shard, hash, &[key], &[value]);
    }

    /// Stages a value given in parts, for a key given in parts: saves the caller a copy.
    pub fn put_parts(&mut self, shard: u8, hash: u64, key: &[&[u8]], value: &[&[u8]]) {
        let key_len = key.iter().map(|p| p.len()).sum::<usize>();
        let value_len = value.iter().map(|p| p.len()).sum::<usize>();
        self.bytes.reserve(key_len + value_len + 12);
        self.bytes.extend_from_slice(&[shard, PUT]);
        varint::put(&mut self.bytes, key_len as u64);
        varint::put(&mut self.bytes, value_len as u64);
        let key = self.append(key);
        let value = Some(self.append(value));
        self.ops.push(Op { shard, hash, key, value });
    }

    /// Stages the deletion of a key.
    pub fn delete(&mut self, shard: u8, hash: u64, key: &[u8]) {
        self.bytes.extend_from_slice(&[shard, DELETE]);
        varint::put(&mut self.bytes, key.len() as u64);
        let key = self.append(&[key]);
        self.ops.push(Op { shard, hash, key, value: None });
    }

    fn append(&mut self, parts: &[&[u8]]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        start..self.bytes.len() as u32
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// What is staged for a key: `None` when nothing is, `Some(None)` when its deletion is.
    pub fn get(&mut self, shard: u8, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        let at =
            if self.ops.len() <= WALK {
                self.ops.iter().rposition(|op| {
                    op.hash == hash && op.shard == shard && self.slice(&op.key) == key
                })?
            } else {
                self.bring_index_up();
                let found = self.index.as_ref()?.newest.get(&(shard, hash))?;
                *found.iter().rev().find(|&&i| {
                    self.ops.get(i as usize).is_some_and(|op| self.slice(&op.key) == key)
                })? as usize
            };
        let op = self.ops.get(at)?;
        Some(op.value.as_ref().map(|v| self.slice(v)))
    }

    fn bring_index_up(&mut self) {
        let index = self.index.get_or_insert_default();
        for (i, op) in self.ops.iter().enumerate().skip(index.indexed) {
            index.newest.entry((op.shard, op.hash)).or_default().push(i as u32);
        }
        index.indexed = self.ops.len();
    }

    /// The staged effects of a shard inside a range of keys, in order, the newest of each key only.
    pub fn range(
        &mut self,
        shard: u8,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Vec<(&[u8], Option<&[u8]>)> {
        let mut index = self.index.take().unwrap_or_default();
        for (i, op) in self.ops.iter().enumerate().skip(index.sorted) {
            index.ordered.insert((op.shard, self.slice(&op.key).to_vec()), i as u32);
        }
        index.sorted = self.ops.len();
        self.index = Some(index);
        let Some(index) = &self.index else { return Vec::new() };
        let from = match from {
            Bound::Included(k) => Bound::Included((shard, k.to_vec())),
            Bound::Excluded(k) => Bound::Excluded((shard, k.to_vec())),
            Bound::Unbounded => Bound::Included((shard, Vec::new())),
        };
        let to = match to {
            Bound::Included(k) => Bound::Included((shard, k.to_vec())),
            Bound::Excluded(k) => Bound::Excluded((shard, k.to_vec())),
            Bound::Unbounded => Bound::Excluded((shard + 1, Vec::new())),
        };
        index
            .ordered
            .range((from, to))
            .filter_map(|((_, key), &i)| {
                let op = self.ops.get(i as usize)?;
                Some((key.as_slice(), op.value.as_ref().map(|v| self.slice(v))))
            })
            .collect()
    }

    /// The staged effects, in order: shard, hash, key, value.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (u8, u64, &[u8], Option<&[u8]>)> {
        self.ops.iter().map(|op| {
            (op.shard, op.hash, self.slice(&op.key), op.value.as_ref().map(|v| self.slice(v)))
        })
    }
}

/// Reads a batch back from the log: calls `each` with shard, key and value.
///
/// # Errors
/// `Incompatible` when the bytes are not a batch; their CRC held, so another version wrote them.
pub(crate) fn parse(
    bytes: &[u8],
    mut each: impl FnMut(u8, &[u8], Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (shard, key, value, left) = parse_op(rest)
            .ok_or_else(|| Error::Incompatible("a batch in the log cannot be read".into()))?;
        each(shard, key, value)?;
        rest = left;
    }
    Ok(())
}

type Parsed<'a> = (u8, &'a [u8], Option<&'a [u8]>, &'a [u8]);

fn parse_op(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (&shard, rest) = bytes.split_first()?;
    let (&kind, rest) = rest.split_first()?;
    let (key_len, n) = varint::get(rest)?;
    let mut rest = rest.get(n..)?;
    let mut value_len = None;
    if kind == PUT {
        let (len, n) = varint::get(rest)?;
        value_len = Some(len as usize);
        rest = rest.get(n..)?;
    } else if kind != DELETE {
        return None;
    }
    let (key, rest) = rest.split_at_checked(key_len as usize)?;
    let Some(value_len) = value_len else { return Some((shard, key, None, rest)) };
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((shard, key, Some(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_writes_and_parses_back() {
        let mut batch = Batch::new();
        for i in 0..40u32 {
            batch.put((i % 3) as u8, u64::from(i), &i.to_be_bytes(), format!("v{i}").as_bytes());
            assert_eq!(
                batch.get((i % 3) as u8, u64::from(i), &i.to_be_bytes()),
                Some(Some(format!("v{i}").as_bytes()))
            );
        }
        batch.delete(0, 3, &3u32.to_be_bytes());
        batch.put(0, 6, &6u32.to_be_bytes(), b"new");
        assert_eq!(batch.get(0, 3, &3u32.to_be_bytes()), Some(None));
        assert_eq!(batch.get(1, 3, &3u32.to_be_bytes()), None);
        let range = batch.range(
            0,
            Bound::Excluded(&0u32.to_be_bytes()),
            Bound::Included(&9u32.to_be_bytes()),
        );
        assert_eq!(
            range,
            [
                (&3u32.to_be_bytes()[..], None),
                (&6u32.to_be_bytes()[..], Some(&b"new"[..])),
                (&9u32.to_be_bytes()[..], Some(&b"v9"[..])),
            ]
        );
        let mut seen = Vec::new();
        parse(batch.bytes(), |shard, key, value| {
            seen.push((shard, key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok(())
        })
        .unwrap();
        let ops: Vec<_> = batch
            .ops()
            .map(|(shard, _, key, value)| (shard, key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        assert_eq!(seen, ops);
        batch.truncate(1);
        assert_eq!(batch.len(), 1);
        batch.put(9, 9, b"after", b"x");
        let mut n = 0;
        parse(batch.bytes(), |_, _, _| {
            n += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(n, 2);
        assert!(parse(&[0, 7, 1], |_, _, _| Ok(())).is_err());
    }
}
