//! The staged effects of one command: what the log stores and the shards apply, in one buffer.
//!
//! ```text
//! batch  := op*
//! delete := | shard u8 | 0 u8 | key len varint | key |
//! put    := | shard u8 | 1 u8 | key len varint | value len varint | key | value |
//! patch  := | shard u8 | 2 u8 | key len varint | at varint | remove varint | insert len varint | key | insert |
//! ```
//!
//! A patch says how a value changes: `remove` bytes at `at` give way to `insert`. It saves the log, not the
//! memtable: the batch keeps the whole new value beside it, and that is what is applied. Replay makes it
//! again from the value before.
//!
//! The bytes are the log's bytes: committing copies them once. Beside them stands an index, so that
//! applying does not parse, and a command can read what it has staged itself.

use crate::error::{Error, Result};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};

const DELETE: u8 = 0;
const PUT: u8 = 1;
const PATCH: u8 = 2;
/// Beyond this many ops a hash index serves reads of staged keys; below, a walk from the end is faster.
const WALK: usize = 8;

/// One staged effect.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) shard: u8,
    pub(crate) hash: u64,
    key: Range<u32>,
    value: Option<Range<u32>>,
    /// For a patch: `value` lies in `patched`, not in `bytes`.
    is_patch: bool,
    /// Where the op ends in `bytes`.
    end: u32,
}

/// Staged effects, in order; a later one on the same key wins.
#[derive(Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    /// The new values that patches make.
    patched: Vec<u8>,
    /// Made when a large batch is read, or a batch is walked in order: most never are.
    index: Option<Box<Index>>,
    is_essential: bool,
    leaves_garbage: bool,
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
        self.is_essential = false;
        self.leaves_garbage = false;
    }

    /// Says that this batch must not be refused for want of space, although it writes: what it belongs to
    /// frees space, or takes none to speak of. (A batch of nothing but deletions is never refused for that.)
    pub fn set_essential(&mut self, essential: bool) {
        self.is_essential = essential;
    }

    /// Says that what this batch deletes or replaces has claimed other records, so that much of what the
    /// tables of its shards hold may be unreachable afterwards.
    pub fn hint_garbage(&mut self) {
        self.leaves_garbage = true;
    }

    pub(crate) fn leaves_garbage(&self) -> bool {
        self.leaves_garbage
    }

    /// Whether it may be refused when space is short.
    pub(crate) fn can_wait(&self) -> bool {
        !self.is_essential && self.ops.iter().any(|op| op.value.is_some())
    }

    /// Drops everything staged after the first `len` effects: a command inside a transaction failed.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.ops.len() {
            return;
        }
        let end = len.checked_sub(1).and_then(|i| self.ops.get(i)).map_or(0, |op| op.end);
        self.bytes.truncate(end as usize);
        self.ops.truncate(len);
        if len == 0 {
            self.patched.clear();
        }
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
        self.push(shard, hash, key, value, false);
    }

    fn push(
        &mut self,
        shard: u8,
        hash: u64,
        key: Range<u32>,
        value: Option<Range<u32>>,
        is_patch: bool,
    ) {
        let end = self.bytes.len() as u32;
        self.ops.push(Op { shard, hash, key, value, is_patch, end });
    }

    /// Stages a change of a value: the `remove` bytes at `at` of `base`, what the key holds now, give way
    /// to `insert`. Positions beyond the end are taken as the end.
    #[expect(clippy::too_many_arguments, reason = "the fields of a patch")]
    pub fn patch(
        &mut self,
        shard: u8,
        hash: u64,
        key: &[u8],
        base: &[u8],
        at: usize,
        remove: usize,
        insert: &[u8],
    ) {
        let at = at.min(base.len());
        let remove = remove.min(base.len() - at);
        let (head, rest) = base.split_at(at);
        let start = self.patched.len();
        self.patched.reserve(base.len() + insert.len());
        self.patched.extend_from_slice(head);
        self.patched.extend_from_slice(insert);
        self.patched.extend_from_slice(rest.get(remove..).unwrap_or_default());
        self.log_patch(shard, hash, key, start, at, remove, insert);
    }

    /// Like [`patch`](Self::patch), of a value that this batch has staged itself. False, and nothing is
    /// staged, when it has not.
    pub fn patch_staged(
        &mut self,
        shard: u8,
        hash: u64,
        key: &[u8],
        at: usize,
        remove: usize,
        insert: &[u8],
    ) -> bool {
        let Some(base) = self.get(shard, hash, key).flatten().map(<[u8]>::to_vec) else {
            return false;
        };
        self.patch(shard, hash, key, &base, at, remove, insert);
        true
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a patch")]
    fn log_patch(
        &mut self,
        shard: u8,
        hash: u64,
        key: &[u8],
        start: usize,
        at: usize,
        remove: usize,
        insert: &[u8],
    ) {
        self.bytes.extend_from_slice(&[shard, PATCH]);
        for number in [key.len(), at, remove, insert.len()] {
            varint::put(&mut self.bytes, number as u64);
        }
        let key = self.append(&[key]);
        self.bytes.extend_from_slice(insert);
        self.push(shard, hash, key, Some(start as u32..self.patched.len() as u32), true);
    }

    /// Stages the deletion of a key.
    pub fn delete(&mut self, shard: u8, hash: u64, key: &[u8]) {
        self.bytes.extend_from_slice(&[shard, DELETE]);
        varint::put(&mut self.bytes, key.len() as u64);
        let key = self.append(&[key]);
        self.push(shard, hash, key, None, false);
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

    fn value_of(&self, op: &Op) -> Option<&[u8]> {
        let range = op.value.as_ref()?;
        if op.is_patch {
            return self.patched.get(range.start as usize..range.end as usize);
        }
        Some(self.slice(range))
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
        Some(self.value_of(op))
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
                Some((key.as_slice(), self.value_of(op)))
            })
            .collect()
    }

    /// The staged effects, in order: shard, hash, key, value.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (u8, u64, &[u8], Option<&[u8]>)> {
        self.ops.iter().map(|op| (op.shard, op.hash, self.slice(&op.key), self.value_of(op)))
    }
}

/// An effect as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logged<'a> {
    Delete,
    Put(&'a [u8]),
    Patch { at: usize, remove: usize, insert: &'a [u8] },
}

impl Logged<'_> {
    /// The value that a patch makes of `base`; `None` when it does not fit.
    pub(crate) fn patched(at: usize, remove: usize, insert: &[u8], base: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = base.split_at_checked(at)?;
        let rest = rest.get(remove..)?;
        Some([head, insert, rest].concat())
    }
}

/// Reads a batch back from the log: calls `each` with shard, key and effect.
///
/// # Errors
/// `Incompatible` when the bytes are not a batch; their CRC held, so another version wrote them.
pub(crate) fn parse(
    bytes: &[u8],
    mut each: impl FnMut(u8, &[u8], Logged<'_>) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (shard, key, effect) = parse_op(&mut reader)
            .ok_or_else(|| Error::Incompatible("a batch in the log cannot be read".into()))?;
        each(shard, key, effect)?;
    }
    Ok(())
}

fn parse_op<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8], Logged<'a>)> {
    let shard = reader.u8()?;
    let kind = reader.u8()?;
    let key_len = reader.varint()? as usize;
    Some(match kind {
        DELETE => (shard, reader.bytes(key_len)?, Logged::Delete),
        PUT => {
            let len = reader.varint()? as usize;
            let key = reader.bytes(key_len)?;
            (shard, key, Logged::Put(reader.bytes(len)?))
        }
        PATCH => {
            let (at, remove) = (reader.varint()? as usize, reader.varint()? as usize);
            let len = reader.varint()? as usize;
            let key = reader.bytes(key_len)?;
            (shard, key, Logged::Patch { at, remove, insert: reader.bytes(len)? })
        }
        _ => return None,
    })
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
        parse(batch.bytes(), |shard, key, effect| {
            let value = match effect {
                Logged::Delete => None,
                Logged::Put(value) => Some(value.to_vec()),
                Logged::Patch { .. } => panic!("nothing was patched"),
            };
            seen.push((shard, key.to_vec(), value));
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

    #[test]
    fn a_patch_is_small_in_the_log_and_whole_in_memory() {
        let mut batch = Batch::new();
        let base = vec![7; 1000];
        batch.patch(3, 1, b"key", &base, 500, 2, b"new");
        assert!(batch.bytes().len() < 20);
        let mut expected = base.clone();
        expected.splice(500..502, *b"new");
        assert_eq!(batch.get(3, 1, b"key"), Some(Some(expected.as_slice())));
        assert!(batch.patch_staged(3, 1, b"key", 0, 1000, b"!"));
        expected.splice(0..1000, *b"!");
        assert_eq!(batch.get(3, 1, b"key"), Some(Some(expected.as_slice())));
        assert!(!batch.patch_staged(3, 1, b"other", 0, 0, b""));
        let mut replayed = base;
        parse(batch.bytes(), |_, _, effect| {
            let Logged::Patch { at, remove, insert } = effect else { panic!("a patch") };
            replayed = Logged::patched(at, remove, insert, &replayed).expect("fits");
            Ok(())
        })
        .unwrap();
        assert_eq!(replayed, expected);
        assert_eq!(Logged::patched(5, 0, b"", b"1234"), None);
        batch.clear();
        assert!(batch.is_empty() && batch.patched.is_empty());
    }
}
