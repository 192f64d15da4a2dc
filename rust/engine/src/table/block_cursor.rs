//! A position in a block.

use super::block::{Block, GROUP, common_prefix};
use std::cmp::Ordering;

/// A position in a [`Block`], which it holds. A fresh cursor is nowhere: not [`valid`](Self::valid).
#[derive(Clone, Debug)]
pub struct BlockCursor {
    block: Block,
    /// The current entry; `block.len()` when the cursor is nowhere.
    at: usize,
    /// The current key, put together from the group's first key and the entry's suffix.
    key: Vec<u8>,
}

impl BlockCursor {
    /// A cursor over `block`, nowhere yet.
    pub fn new(block: Block) -> BlockCursor {
        let at = block.len();
        BlockCursor { block, at, key: Vec::new() }
    }

    /// Goes to another block, nowhere yet; keeps the key's memory.
    pub fn reset(&mut self, block: Block) {
        self.at = block.len();
        self.block = block;
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Whether there is a current entry.
    #[inline]
    pub fn valid(&self) -> bool {
        self.at < self.block.len()
    }

    /// The current key; empty when not valid.
    #[inline]
    pub fn key(&self) -> &[u8] {
        if self.valid() { &self.key } else { &[] }
    }

    /// The current value; `None` for a tombstone (and when not valid).
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        if self.valid() { self.block.entry(self.at).value } else { None }
    }

    /// Goes to the first entry.
    pub fn first(&mut self) {
        self.go(0);
    }

    /// Goes to the last entry.
    pub fn last(&mut self) {
        self.go(self.block.len() - 1);
    }

    /// Goes to the first entry whose key is `key` or larger; nowhere if there is none.
    pub fn seek(&mut self, key: &[u8]) {
        let (at, _) = self.find(key);
        self.go(at);
    }

    /// Goes to the last entry whose key is `key` or smaller; nowhere if there is none.
    pub fn seek_back(&mut self, key: &[u8]) {
        let (at, exact) = self.find(key);
        match at.checked_sub(usize::from(!exact)) {
            Some(at) => self.go(at),
            None => self.at = self.block.len(),
        }
    }

    /// Goes one entry on; after the last one it is nowhere. Not valid: stays so.
    #[inline]
    pub fn next(&mut self) {
        if !self.valid() {
            return;
        }
        self.at += 1;
        if !self.valid() {
            return;
        }
        let entry = self.block.entry(self.at);
        // In ascending order every key of the group up to this one shares `shared` bytes with the
        // first, so those bytes are already there.
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(entry.suffix);
    }

    /// Goes one entry back; before the first one it is nowhere. Not valid: stays so.
    #[inline]
    pub fn prev(&mut self) {
        if !self.valid() {
            return;
        }
        match self.at.checked_sub(1) {
            Some(at) => self.go(at),
            None => self.at = self.block.len(),
        }
    }

    #[inline]
    fn go(&mut self, at: usize) {
        self.at = at;
        if self.valid() {
            let entry = self.block.entry(at);
            let shared = self.block.head(at).get(..entry.shared).unwrap_or_default();
            self.key.clear();
            self.key.extend_from_slice(shared);
            self.key.extend_from_slice(entry.suffix);
        }
    }

    /// The first entry not smaller than `key`, and whether it is equal.
    fn find(&self, key: &[u8]) -> (usize, bool) {
        let block = &self.block;
        // The last group whose first key is not larger.
        let groups = block.len().div_ceil(GROUP);
        let group = partition(0, groups, |group| block.head(group * GROUP) <= key);
        let Some(group) = group.checked_sub(1) else { return (0, false) };
        let start = group * GROUP;
        let end = (start + GROUP).min(block.len());
        // Where `key` leaves the group's first key decides against most entries without a look at
        // their bytes: who shares more with that key is smaller, who shares less is larger.
        let left = common_prefix(block.head(start), key);
        let rest = key.get(left..).unwrap_or_default();
        let mut exact = false;
        let at = partition(start, end, |at| {
            let entry = block.entry(at);
            let order = if at == start {
                entry.suffix.cmp(key)
            } else {
                left.cmp(&entry.shared).then_with(|| entry.suffix.cmp(rest))
            };
            exact |= order == Ordering::Equal;
            order == Ordering::Less
        });
        (at, exact)
    }
}

/// The first of `low..high` for which `before` is false, or `high`; it is true for all up to there.
#[inline]
fn partition(mut low: usize, mut high: usize, mut before: impl FnMut(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
