//! The index of a table: which block would hold a key.
//!
//! A *fence* stands between two blocks: the shortest prefix of the later block's first key that is
//! larger than the earlier block's last key. Keys below the fence are to its left.
//!
//! In memory the bytes that all fences begin with are dropped, the next eight are one integer, and what
//! is left, mostly nothing, lies in a flat buffer. A search compares integers in one dense array; 17
//! bytes a block is what it takes.
//!
//! ```text
//!  on disk:  | blocks: varint | block 0 length: varint |
//!            then for each further block
//!            | shared with previous fence: varint | rest length: varint | rest ... | length: varint |
//! ```

use super::block::common_prefix;
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::cmp::Ordering;

const HEAD: usize = 8;

/// Collects the on-disk form.
#[derive(Default)]
pub(super) struct IndexWriter {
    bytes: Vec<u8>,
    fence: Vec<u8>,
    blocks: u32,
}

impl IndexWriter {
    /// Announces the next block by its fence, which is ignored for the first. Its length follows.
    pub(super) fn fence(&mut self, last_key: &[u8], first_key: &[u8]) {
        if self.blocks > 0 {
            let len = (common_prefix(last_key, first_key) + 1).min(first_key.len());
            let fence = first_key.get(..len).unwrap_or(first_key);
            let shared = common_prefix(&self.fence, fence);
            varint::put(&mut self.bytes, shared as u64);
            varint::put(&mut self.bytes, (len - shared) as u64);
            self.bytes.extend_from_slice(fence.get(shared..).unwrap_or_default());
            self.fence.truncate(shared);
            self.fence.extend_from_slice(fence.get(shared..).unwrap_or_default());
        }
        self.blocks += 1;
    }

    /// The length of the block that was announced last.
    pub(super) fn block(&mut self, len: usize) {
        varint::put(&mut self.bytes, len as u64);
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len() + 5
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        varint::put(&mut out, u64::from(self.blocks));
        out.extend_from_slice(&self.bytes);
        out
    }
}

/// The index in memory. See the head of this file.
pub(super) struct Index {
    /// Where each block begins, and where the last one ends.
    offsets: Box<[u64]>,
    /// What all fences begin with.
    prefix: Box<[u8]>,
    /// For the fence before block `i + 1`: the eight bytes behind the prefix, zeros if there are fewer.
    heads: Box<[u64]>,
    /// How many there are behind the prefix: 0 to 8, or 9 for more, which are then in `tails`.
    lens: Box<[u8]>,
    /// Where each tail ends in `tails`; empty when all tails are.
    tail_ends: Box<[u32]>,
    tails: Box<[u8]>,
}

impl Index {
    /// Reads the on-disk form; `None` when the bytes are anything else or the blocks do not fill
    /// `data_len` bytes.
    pub(super) fn read(bytes: &[u8], data_len: u64) -> Option<Index> {
        let mut from = Reader::new(bytes);
        let blocks = usize::try_from(from.varint()?).ok()?;
        // Each block takes a byte at least, so a wild number allocates nothing.
        if blocks > from.remaining() || blocks > u32::MAX as usize {
            return None;
        }
        let mut offsets = Vec::with_capacity(blocks + 1);
        let mut fences = Fences::default();
        let mut at = 0u64;
        offsets.push(0);
        for block in 0..blocks {
            if block > 0 {
                let shared = usize::try_from(from.varint()?).ok()?;
                fences.push(shared, from.prefixed()?)?;
            }
            let len = from.varint()?;
            if len == 0 || len > u64::from(u32::MAX) {
                return None;
            }
            at += len;
            offsets.push(at);
        }
        if !from.is_empty() || at != data_len {
            return None;
        }
        Some(fences.finish(offsets))
    }

    pub(super) fn blocks(&self) -> u32 {
        (self.offsets.len() - 1) as u32
    }

    /// Offset and length of a block.
    pub(super) fn span(&self, block: u32) -> Option<(u64, u32)> {
        let start = *self.offsets.get(block as usize)?;
        let end = *self.offsets.get(block as usize + 1)?;
        Some((start, (end - start) as u32))
    }

    /// The block whose fences enclose `key`: the number of fences that are not larger.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> u32 {
        let Some(rest) = key.strip_prefix(&*self.prefix) else {
            let below = key < &*self.prefix;
            return if below { 0 } else { self.heads.len() as u32 };
        };
        let (head, len, tail) = split(rest);
        // Integers decide nearly always, and without a branch to mispredict.
        let mut at = self.heads.partition_point(|fence| *fence < head);
        if self.heads.get(at) == Some(&head) {
            let ties = self.heads.get(at..).unwrap_or_default();
            let mut left = ties.partition_point(|fence| *fence == head);
            while left > 0 {
                let half = left / 2;
                if self.compare_rest(at + half, len, tail) == Ordering::Greater {
                    left = half;
                } else {
                    at += half + 1;
                    left -= half + 1;
                }
            }
        }
        at as u32
    }

    fn compare_rest(&self, fence: usize, len: u8, tail: &[u8]) -> Ordering {
        let fence_len = self.lens.get(fence).copied().unwrap_or_default();
        fence_len.cmp(&len).then_with(|| {
            let end = |i: usize| self.tail_ends.get(i).map_or(0, |&end| end as usize);
            let start = fence.checked_sub(1).map_or(0, end);
            self.tails.get(start..end(fence)).unwrap_or_default().cmp(tail)
        })
    }

    pub(super) fn resident_bytes(&self) -> usize {
        8 * (self.offsets.len() + self.heads.len())
            + self.lens.len()
            + 4 * self.tail_ends.len()
            + self.tails.len()
            + self.prefix.len()
    }
}

/// The part of a key behind the prefix, as it is compared: eight bytes as an integer, how many bytes
/// there are (9 for more than eight), and those beyond.
#[inline]
fn split(rest: &[u8]) -> (u64, u8, &[u8]) {
    match rest.split_first_chunk::<HEAD>() {
        Some((head, tail)) => {
            (u64::from_be_bytes(*head), HEAD as u8 + u8::from(!tail.is_empty()), tail)
        }
        None => {
            let mut head = [0; HEAD];
            for (to, from) in head.iter_mut().zip(rest) {
                *to = *from;
            }
            (u64::from_be_bytes(head), rest.len() as u8, &[])
        }
    }
}

/// The fences while the index is read.
#[derive(Default)]
struct Fences {
    all: Vec<u8>,
    ends: Vec<usize>,
    last: Vec<u8>,
    /// How many bytes all fences so far share.
    common: usize,
}

impl Fences {
    fn push(&mut self, shared: usize, rest: &[u8]) -> Option<()> {
        if shared > self.last.len() {
            return None;
        }
        let first = self.ends.is_empty();
        let before = self.last.get(shared..).unwrap_or_default();
        if !first && before >= rest {
            return None;
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        self.common = if first { self.last.len() } else { self.common.min(shared) };
        self.all.extend_from_slice(&self.last);
        self.ends.push(self.all.len());
        Some(())
    }

    fn finish(self, offsets: Vec<u64>) -> Index {
        let mut heads = Vec::with_capacity(self.ends.len());
        let mut lens = Vec::with_capacity(self.ends.len());
        let mut tail_ends = Vec::new();
        let mut tails = Vec::new();
        let mut start = 0;
        for &end in &self.ends {
            let fence = self.all.get(start..end).unwrap_or_default();
            let (head, len, tail) = split(fence.get(self.common..).unwrap_or_default());
            heads.push(head);
            lens.push(len);
            tails.extend_from_slice(tail);
            tail_ends.push(tails.len() as u32);
            start = end;
        }
        if tails.is_empty() {
            tail_ends = Vec::new();
        }
        Index {
            offsets: offsets.into(),
            prefix: self.last.get(..self.common).unwrap_or_default().into(),
            heads: heads.into(),
            lens: lens.into(),
            tail_ends: tail_ends.into(),
            tails: tails.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgekv_base::rng::Rng;

    /// An index over blocks of one key each, block `i` being `i + 1` bytes long.
    fn index_of(keys: &[Vec<u8>]) -> Index {
        let mut writer = IndexWriter::default();
        let mut last: &[u8] = &[];
        for (i, key) in keys.iter().enumerate() {
            writer.fence(last, key);
            writer.block(i + 1);
            last = key;
        }
        let len = (keys.len() * (keys.len() + 1) / 2) as u64;
        let bytes = writer.finish();
        for cut in 0..bytes.len() {
            assert!(Index::read(&bytes[..cut], len).is_none());
        }
        assert!(Index::read(&bytes, len + 1).is_none());
        Index::read(&bytes, len).unwrap()
    }

    #[test]
    fn finds_the_block_of_every_key() {
        let mut rng = Rng::seeded(1);
        for round in 0..200 {
            // Few letters and zeros make long common prefixes, prefixes of each other, and ties.
            let start = b"common/start/"[..(round % 14).min(13)].to_vec();
            let mut keys: Vec<Vec<u8>> = (0..rng.below(60))
                .map(|_| {
                    let mut key = start.clone();
                    let len = rng.below(if round % 2 == 0 { 4 } else { 24 });
                    key.extend((0..len).map(|_| if rng.below(4) == 0 { 1 } else { 0 }));
                    key
                })
                .collect();
            keys.sort();
            keys.dedup();
            let index = index_of(&keys);
            assert_eq!(index.blocks() as usize, keys.len());
            for (i, key) in keys.iter().enumerate() {
                assert_eq!(index.find(key) as usize, i, "{key:?} of {keys:?}");
                assert_eq!(index.span(i as u32), Some(((i * (i + 1) / 2) as u64, i as u32 + 1)));
                // A key between two blocks may fall to either, but never further away.
                let mut after = key.clone();
                after.push(0);
                let found = index.find(&after) as usize;
                assert!(found == i || found == i + 1);
            }
            assert_eq!(index.span(keys.len() as u32), None);
            assert_eq!(index.find(b""), 0);
            assert_eq!(index.find(&[0xff; 3]) as usize, keys.len().saturating_sub(1));
        }
    }

    #[test]
    fn takes_some_seventeen_bytes_a_block() {
        let keys: Vec<Vec<u8>> = (0..10_000u64)
            .map(|i| {
                let mut key = vec![0, 0, 0, 0];
                key.extend((i << 40 | 0xabcdef).to_be_bytes());
                key.extend(b"user:1234567");
                key
            })
            .collect();
        let index = index_of(&keys);
        let each = index.resident_bytes() as f64 / 10_000.0;
        assert!(each < 17.1, "{each} bytes a block");
    }

    #[test]
    fn fences_out_of_order_or_wild_numbers_are_refused() {
        let bytes = |fences: &[(u64, &[u8])], blocks: u64| {
            let mut out = Vec::new();
            varint::put(&mut out, blocks);
            varint::put(&mut out, 10);
            for (shared, rest) in fences {
                varint::put(&mut out, *shared);
                varint::put(&mut out, rest.len() as u64);
                out.extend_from_slice(rest);
                varint::put(&mut out, 10);
            }
            out
        };
        assert!(Index::read(&bytes(&[(0, b"a"), (0, b"b")], 3), 30).is_some());
        assert!(Index::read(&bytes(&[(0, b"b"), (0, b"a")], 3), 30).is_none());
        assert!(Index::read(&bytes(&[(0, b"b"), (1, b"")], 3), 30).is_none());
        assert!(Index::read(&bytes(&[(1, b"b"), (0, b"c")], 3), 30).is_none());
        assert!(Index::read(&bytes(&[(0, b"a"), (0, b"b")], u64::MAX), 30).is_none());
        assert!(Index::read(&[0], 0).is_some());
        assert!(Index::read(&[], 0).is_none());
    }
}
