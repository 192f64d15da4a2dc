//! A long sequence of byte strings, kept in records of about a kilobyte: a B+tree with counts.
//!
//! Large lists (in the order they are given) and the order of sorted sets (by their bytes) stand on it. The
//! owner keeps a [`Tree`]'s fixed-size part in its header and writes the header after every change; the
//! nodes are elements of the owner's generation, drawn in [`leaf`] and [`node`].
//!
//! ```text
//! owner's header: | height u8 | root u48 LE | next id u48 LE |      13 bytes, where the owner likes
//! sub-key:        | 0 | id u48 |        a leaf: items
//!                 | 1 | id u48 |        the counts of an inner node
//!                 | 2 | id u48 |        the shape of an inner node: its children
//! ```
//!
//! An owner that has other elements lets their sub-keys begin with a byte from 16 on.
//!
//! What must always hold:
//! 1. The leaves hold at least one item each, and all are equally deep: `height` nodes above each. A tree
//!    of height 0 is one leaf, or nothing.
//! 2. A node's count of a child is the number of items below that child. The owner knows the number of all.
//! 3. In a sorted tree the items are distinct.
//! 4. An id is given once: leaves that become empty are deleted, and a queue that runs for years has no
//!    more records than its length asks for.
//!
//! An item that comes or goes changes its leaf and one count in each node above, and nothing else: so these
//! counts lie apart. Leaves fill up completely from an end, split in halves elsewhere, and are put together
//! when they are nearly empty.

mod all;
mod edit;
mod leaf;
mod node;
mod remove;
mod walk;

pub(crate) use leaf::LEAF_MAX;

use crate::error::{Error, Result};
use crate::place::Key;
use crate::row;
use crate::view::{Read, Splice, Write};
use node::{Counts, Shape};
use smallvec::SmallVec;

/// The bytes of a tree's part of its owner's header.
pub(crate) const STATE: usize = 13;

const LEAF: u8 = 0;
const COUNTS: u8 = 1;
const SHAPE: u8 = 2;

/// What the order of the items is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// That in which they are put.
    Given,
    /// That of their bytes.
    Sorted,
}

/// A tree, as its owner's header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    order: Order,
    generation: u64,
    len: u64,
    /// The number of nodes above each leaf.
    height: u8,
    /// The uppermost node; the leaf if there is none; nothing when the tree is empty.
    root: u64,
    /// The id that is given next.
    next: u64,
}

/// A node on the way to a leaf, and the child where the way goes on.
#[derive(Debug, Clone, Copy)]
struct Step {
    node: u64,
    level: u8,
    index: usize,
    /// Whether it is the node's last child.
    is_last: bool,
}

/// The way to a leaf, from the root.
#[derive(Debug, Clone)]
struct Path {
    steps: SmallVec<[Step; 4]>,
    leaf: u64,
}

impl Path {
    fn is_first(&self) -> bool {
        self.steps.iter().all(|step| step.index == 0)
    }

    fn is_last(&self) -> bool {
        self.steps.iter().all(|step| step.is_last)
    }
}

fn sub_key(tag: u8, id: u64) -> [u8; 7] {
    let [_, _, a, b, c, d, e, f] = id.to_be_bytes();
    [tag, a, b, c, d, e, f]
}

fn missing() -> Error {
    Error::broken("a part of a tree is missing")
}

impl Tree {
    /// An empty tree under a generation that the owner has drawn.
    pub(crate) fn new(order: Order, generation: u64) -> Tree {
        Tree { order, generation, len: 0, height: 0, root: 0, next: 0 }
    }

    /// Reads what [`encode`](Self::encode) wrote, from the start of `bytes`. `len` is the number of items,
    /// which the owner knows.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn decode(order: Order, generation: u64, len: u64, bytes: &[u8]) -> Result<Tree> {
        let parse = || {
            let (&height, rest) = bytes.split_first()?;
            let (root, next) = (node::u48(rest)?, node::u48(rest.get(6..)?)?);
            Some(Tree { order, generation, len, height, root, next })
        };
        parse().ok_or_else(|| Error::broken("the head of a tree cannot be read"))
    }

    /// What the owner keeps in its header.
    pub(crate) fn encode(&self) -> [u8; STATE] {
        let mut bytes = [0; STATE];
        bytes[0] = self.height;
        let (root, next) = (self.root.to_le_bytes(), self.next.to_le_bytes());
        bytes[1..7].copy_from_slice(&root[..6]);
        bytes[7..].copy_from_slice(&next[..6]);
        bytes
    }

    /// The number of items.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The generation that its nodes belong to.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Hands the item at a position to `f`, `None` when there are not so many.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn get<T>(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        at: u64,
        f: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T> {
        if at >= self.len {
            return Ok(f(None));
        }
        let (path, index) = self.descend(r, owner, at, false)?;
        let leaf = self.record(r, owner, LEAF, path.leaf)?;
        Ok(f(Some(row::get(leaf, index)?)))
    }

    /// Puts items before the one at a position, or behind all; of a sorted tree only into an empty one, and
    /// then sorted items.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn insert(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        at: u64,
        items: &[&[u8]],
    ) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        if self.len == 0 {
            return self.plant(w, owner, items);
        }
        let (path, index) = self.descend(w, owner, at.min(self.len), true)?;
        self.put(w, owner, &path, index, 0, items)
    }

    /// Puts an item in the place of the one at a position, which must be there.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn replace(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        at: u64,
        item: &[u8],
    ) -> Result<()> {
        let (path, index) = self.descend(w, owner, at, false)?;
        self.put(w, owner, &path, index, 1, &[item])
    }

    /// The number of items that are smaller than `probe`, of a sorted tree.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn lower_bound(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        probe: &[u8],
    ) -> Result<u64> {
        Ok(self.rank(r, owner, probe)?.0)
    }

    /// The position of an item of a sorted tree, if it is there.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn position(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        item: &[u8],
    ) -> Result<Option<u64>> {
        let (position, found) = self.rank(r, owner, item)?;
        Ok(found.then_some(position))
    }

    /// Puts an item where it belongs in a sorted tree; false, and nothing is done, when it is there.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn insert_sorted(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        item: &[u8],
    ) -> Result<bool> {
        if self.len == 0 {
            self.plant(w, owner, &[item])?;
            return Ok(true);
        }
        let path = self.route(w, owner, item)?;
        match self.put_into(w, owner, &path, item)? {
            Put::Done => {
                self.bump(w, owner, &path, 1)?;
                self.len += 1;
            }
            Put::There => return Ok(false),
            Put::Full(index) => self.split(w, owner, &path, index, 0, &[item])?,
        }
        Ok(true)
    }

    /// Takes an item out of a sorted tree; false when it is not there.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn remove_sorted(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        item: &[u8],
    ) -> Result<bool> {
        if self.len == 0 {
            return Ok(false);
        }
        let path = self.route(w, owner, item)?;
        match self.take_from(w, owner, &path, item)? {
            Take::Done => {
                self.bump(w, owner, &path, -1)?;
                self.len -= 1;
            }
            Take::Missing => return Ok(false),
            Take::Scarce => {
                let position = self.rank(w, owner, item)?.0;
                self.remove(w, owner, position, 1)?;
            }
        }
        Ok(true)
    }

    /// Takes `old` out of a sorted tree and puts `new` in, which must not be there; false, and nothing is
    /// done, when `old` is not there. As long as the place is in the same leaf, only that is touched.
    ///
    /// # Errors
    /// `Again`, or damage.
    pub(crate) fn replace_sorted(
        &mut self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        old: &[u8],
        new: &[u8],
    ) -> Result<bool> {
        if self.len == 0 {
            return Ok(false);
        }
        let from = self.route(w, owner, old);
        let to = self.route(w, owner, new)?;
        let from = from?;
        if from.leaf == to.leaf
            && let Some(done) = self.shift(w, owner, from.leaf, old, new)?
        {
            return Ok(done);
        }
        if from.leaf != to.leaf {
            self.ask(w, owner, LEAF, to.leaf);
            match self.take_from(w, owner, &from, old)? {
                Take::Missing => return Ok(false),
                Take::Scarce => {}
                Take::Done => {
                    if let Put::Done = self.put_into(w, owner, &to, new)? {
                        self.shift_counts(w, owner, &from, &to)?;
                        return Ok(true);
                    }
                    self.bump(w, owner, &from, -1)?;
                    self.len -= 1;
                    self.insert_sorted(w, owner, new)?;
                    return Ok(true);
                }
            }
        }
        let removed = self.remove_sorted(w, owner, old)?;
        if removed {
            self.insert_sorted(w, owner, new)?;
        }
        Ok(removed)
    }
}

/// What came of putting an item into a leaf.
enum Put {
    Done,
    /// It is there.
    There,
    /// It does not fit, at this index.
    Full(u64),
}

/// What came of taking an item out of a leaf.
enum Take {
    Done,
    Missing,
    /// Nothing is done: so little would be left that the leaf has to go.
    Scarce,
}

/// Parts of the above, and what all operations stand on.
impl Tree {
    fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A record that must be there.
    fn record<'r>(
        &self,
        r: &'r mut Read<'_>,
        owner: Key<'_>,
        tag: u8,
        id: u64,
    ) -> Result<&'r [u8]> {
        r.element(owner, self.generation, &sub_key(tag, id))?.ok_or_else(missing)
    }

    /// Asks for a record that will be needed when the command runs again, because another is missing.
    fn ask(&self, r: &mut Read<'_>, owner: Key<'_>, tag: u8, id: u64) {
        // What is missing is noted; any other error will meet the command itself.
        if r.element(owner, self.generation, &sub_key(tag, id)).is_err() {}
    }

    /// The way to the leaf that has the item at a position, and its index there. With `touching`, a position
    /// between two leaves, or behind all, is the end of a leaf.
    fn descend(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        mut at: u64,
        touching: bool,
    ) -> Result<(Path, u64)> {
        let mut path = Path { steps: SmallVec::new(), leaf: self.root };
        for level in (1..=self.height).rev() {
            let node = path.leaf;
            let seek = self
                .record(r, owner, COUNTS, node)
                .and_then(|bytes| Counts::new(level, bytes).seek(at, touching));
            let (index, rest) = match seek {
                Ok(found) => found,
                Err(e) => {
                    self.ask(r, owner, SHAPE, node);
                    return Err(e);
                }
            };
            at = rest;
            self.follow(r, owner, &mut path, level, index)?;
        }
        Ok((path, at))
    }

    /// Goes on from the node that a path ends at to a child of it.
    fn follow(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        path: &mut Path,
        level: u8,
        index: usize,
    ) -> Result<()> {
        let node = path.leaf;
        let shape = Shape::decode(self.record(r, owner, SHAPE, node)?)?;
        let is_last = index + 1 == shape.len();
        path.leaf = shape.id(index)?;
        path.steps.push(Step { node, level, index, is_last });
        Ok(())
    }

    /// The way to the leaf where an item belongs in a sorted tree.
    fn route(&self, r: &mut Read<'_>, owner: Key<'_>, item: &[u8]) -> Result<Path> {
        let mut path = Path { steps: SmallVec::new(), leaf: self.root };
        for level in (1..=self.height).rev() {
            let node = path.leaf;
            let found =
                self.record(r, owner, SHAPE, node).and_then(Shape::decode).and_then(|shape| {
                    let index = shape.find(item)?;
                    Ok((index, index + 1 == shape.len(), shape.id(index)?))
                });
            let (index, is_last, id) = match found {
                Ok(found) => found,
                Err(e) => {
                    self.ask(r, owner, COUNTS, node);
                    self.ask_counts(r, owner, &path);
                    return Err(e);
                }
            };
            path.leaf = id;
            path.steps.push(Step { node, level, index, is_last });
        }
        Ok(path)
    }

    /// Asks for the counts on a way.
    fn ask_counts(&self, r: &mut Read<'_>, owner: Key<'_>, path: &Path) {
        path.steps.iter().for_each(|step| self.ask(r, owner, COUNTS, step.node));
    }

    /// How many items of a sorted tree are smaller than `probe`, and whether it is there.
    fn rank(&self, r: &mut Read<'_>, owner: Key<'_>, probe: &[u8]) -> Result<(u64, bool)> {
        if self.len == 0 {
            return Ok((0, false));
        }
        let path = self.route(r, owner, probe)?;
        let (mut position, mut missed) = (0, None);
        for step in &path.steps {
            match self.record(r, owner, COUNTS, step.node) {
                Ok(bytes) => position += Counts::new(step.level, bytes).before(step.index)?,
                Err(e) => missed = Some(e),
            }
        }
        let spot = leaf::find(self.record(r, owner, LEAF, path.leaf)?, probe)?;
        missed.map_or(Ok((position + spot.index, spot.found.is_some())), Err)
    }

    /// Changes a record that is there, as `f` says when it sees it.
    fn edit<T>(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        tag: u8,
        id: u64,
        f: impl FnOnce(&[u8]) -> Result<(Option<Splice>, T)>,
    ) -> Result<T> {
        w.edit_element(owner, self.generation, &sub_key(tag, id), f)
    }

    /// Adds to the counts on a way.
    fn bump(&self, w: &mut Write<'_>, owner: Key<'_>, path: &Path, by: i64) -> Result<()> {
        self.bump_steps(w, owner, &path.steps, by)
    }

    fn bump_steps(&self, w: &mut Write<'_>, owner: Key<'_>, steps: &[Step], by: i64) -> Result<()> {
        let mut missed = None;
        for step in steps {
            let bumped = self.edit(w, owner, COUNTS, step.node, |bytes| {
                let (at, insert) = Counts::new(step.level, bytes).changed(step.index, by)?;
                Ok((Some(Splice { at, remove: insert.len(), insert }), ()))
            });
            missed = bumped.err().or(missed);
        }
        missed.map_or(Ok(()), Err)
    }

    /// One item has left one leaf and come into another.
    fn shift_counts(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        from: &Path,
        to: &Path,
    ) -> Result<()> {
        let both = from.steps.iter().zip(&to.steps);
        let same = both.take_while(|(a, b)| a.node == b.node && a.index == b.index).count();
        let (from, to) = (from.steps.get(same..), to.steps.get(same..));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        self.bump_steps(w, owner, from, -1)?;
        self.bump_steps(w, owner, to, 1)
    }

    /// Puts an item into a leaf of a sorted tree; the counts are the caller's.
    fn put_into(&self, w: &mut Write<'_>, owner: Key<'_>, path: &Path, item: &[u8]) -> Result<Put> {
        let put = self.edit(w, owner, LEAF, path.leaf, |leaf| {
            let spot = leaf::find(leaf, item)?;
            if spot.found.is_some() {
                return Ok((None, Put::There));
            }
            let splice = leaf::splice(leaf, spot.at, 0, &[item]);
            let put = if splice.is_some() { Put::Done } else { Put::Full(spot.index) };
            Ok((splice, put))
        });
        if put.is_err() {
            self.ask_counts(w, owner, path);
        }
        put
    }

    /// Takes an item out of a leaf of a sorted tree, unless too little would be left; the counts are the
    /// caller's.
    fn take_from(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        path: &Path,
        item: &[u8],
    ) -> Result<Take> {
        let least = if path.steps.is_empty() { 1 } else { leaf::LEAF_MIN };
        let taken = self.edit(w, owner, LEAF, path.leaf, |leaf| {
            let spot = leaf::find(leaf, item)?;
            let Some(remove) = spot.found else { return Ok((None, Take::Missing)) };
            if leaf.len() - remove < least {
                return Ok((None, Take::Scarce));
            }
            let splice = Splice { at: spot.at, remove, insert: SmallVec::new() };
            Ok((Some(splice), Take::Done))
        });
        if taken.is_err() {
            self.ask_counts(w, owner, path);
        }
        taken
    }

    /// Puts `new` in the place of `old` inside one leaf of a sorted tree. Whether `old` was there; `None`,
    /// and nothing is done, when the leaf becomes too large.
    fn shift(
        &self,
        w: &mut Write<'_>,
        owner: Key<'_>,
        id: u64,
        old: &[u8],
        new: &[u8],
    ) -> Result<Option<bool>> {
        self.edit(w, owner, LEAF, id, |leaf| {
            let (from, to) = (leaf::find(leaf, old)?, leaf::find(leaf, new)?);
            let Some(size) = from.found else { return Ok((None, Some(false))) };
            let Some(mut splice) = leaf::splice(leaf, from.at, size, &[new]) else {
                return Ok((None, None));
            };
            // What lies between the two places is written again with the item.
            if to.at < from.at {
                let between = leaf.get(to.at..from.at).unwrap_or_default();
                splice.insert.extend_from_slice(between);
                splice.at = to.at;
                splice.remove += between.len();
            } else if to.at > from.at + size {
                let between = leaf.get(from.at + size..to.at).unwrap_or_default();
                splice.insert.insert_many(0, between.iter().copied());
                splice.remove += between.len();
            }
            Ok((Some(splice), Some(true)))
        })
    }
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
