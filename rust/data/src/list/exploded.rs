//! A large list: a row of items at each end, and a tree between them.
//!
//! ```text
//! header body: | generation u64 | count u64 | in the head u16 | in the tail u16 | Redis's bytes u32
//!              | flags u8 | tree, 13 bytes |                                       all little-endian
//! element:     | 16 |   ->   | row of items |      the head
//!              | 17 |   ->   | row of items |      the tail
//!              the others are the tree's
//! flags:       1 = Redis would call it a quicklist
//! ```
//!
//! What comes and goes at an end changes the row there and the header, and nothing else: a row goes into the
//! tree when it is full, and takes the tree's next leaf when it is empty. An empty row has no record. Redis's
//! bytes are those that Redis's packed form would take, all ones if nobody knows.

use super::size;
use super::{END_MAX, End};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::limits::Limits;
use crate::place::Key;
use crate::rdb::Elements;
use crate::row::{self, Items};
use crate::tree::{Order, STATE, Tree};
use crate::view::{Read, Splice, Write};
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::{ControlFlow, Range};

const LONG: u8 = 1;
const UNKNOWN: u32 = u32::MAX;
const HEAD: &[u8] = &[16];
const TAIL: &[u8] = &[17];
/// The bytes of a header's body.
const BODY: usize = 25 + STATE;

/// What the header of an exploded list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exploded {
    generation: u64,
    /// How many items are in the row at the start.
    head: u64,
    /// How many are in the row at the end.
    tail: u64,
    tree: Tree,
    redis_bytes: u32,
    pub(super) is_long: bool,
}

fn broken() -> Error {
    Error::broken("a large list's header cannot be read")
}

impl Exploded {
    pub(super) fn decode(header: &Header<'_>) -> Result<Exploded> {
        let (generation, count, rest) = header.exploded()?;
        let (head, rest) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
        let (tail, rest) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
        let (redis_bytes, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let (flags, rest) = rest.split_first().ok_or_else(broken)?;
        let head = u64::from(u16::from_le_bytes(*head));
        let tail = u64::from(u16::from_le_bytes(*tail));
        let inner = count.checked_sub(head + tail).ok_or_else(broken)?;
        let tree = Tree::decode(Order::Given, generation, inner, rest)?;
        let redis_bytes = u32::from_le_bytes(*redis_bytes);
        Ok(Exploded { generation, head, tail, tree, redis_bytes, is_long: flags & LONG != 0 })
    }

    pub(super) fn encode(&self) -> SmallVec<[u8; BODY]> {
        let mut body = SmallVec::new();
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.count().to_le_bytes());
        body.extend_from_slice(&(self.head as u16).to_le_bytes());
        body.extend_from_slice(&(self.tail as u16).to_le_bytes());
        body.extend_from_slice(&self.redis_bytes.to_le_bytes());
        body.push(if self.is_long { LONG } else { 0 });
        body.extend_from_slice(&self.tree.encode());
        body
    }

    /// A large list of the items that were packed.
    pub(super) fn new(
        w: &mut Write<'_>,
        key: Key<'_>,
        body: &[u8],
        is_long: bool,
        redis_bytes: u64,
    ) -> Result<Exploded> {
        let items = row::items(body)?;
        let generation = w.new_generation(key);
        let tree = Tree::new(Order::Given, generation);
        let redis_bytes = u32::try_from(redis_bytes).unwrap_or(UNKNOWN);
        let mut list = Exploded { generation, head: 0, tail: 0, tree, redis_bytes, is_long };
        // One half at each end, if that fits.
        let (mut bytes, mut half) = (0, 0);
        while let Some(item) = items.get(half)
            && bytes + row::size(item) <= END_MAX.min(body.len() / 2)
        {
            bytes += row::size(item);
            half += 1;
        }
        if body.len() - bytes > END_MAX {
            list.tree.insert(w, key, 0, &items)?;
            return Ok(list);
        }
        let (head, tail) = body.split_at(bytes);
        list.head = half as u64;
        list.tail = (items.len() - half) as u64;
        list.set_row(w, key, End::Left, head);
        list.set_row(w, key, End::Right, tail);
        Ok(list)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn count(&self) -> u64 {
        self.head + self.tree.len() + self.tail
    }

    /// Visits all items, from wherever they are.
    pub(super) fn all(
        &self,
        elements: &mut dyn Elements,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.all_in_row(elements, HEAD, self.head, each)?;
        self.tree.all(elements, each)?;
        self.all_in_row(elements, TAIL, self.tail, each)
    }

    fn all_in_row(
        &self,
        elements: &mut dyn Elements,
        sub: &[u8],
        count: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut row = Vec::new();
        if count > 0 && !elements.get(self.generation, sub, &mut row)? {
            return Err(Error::broken("an end of a list is missing"));
        }
        let mut items = Items::new(&row);
        while let Some(item) = items.next()? {
            each(item)?;
        }
        Ok(())
    }

    /// The tree, for measuring.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Items will be added: it may become long.
    pub(super) fn will_grow(&mut self, limits: &Limits, items: &[&[u8]]) {
        let count = self.count() + items.len() as u64;
        let added: u64 = items.iter().map(|item| item.len() as u64).sum();
        self.is_long |= size::is_too_large(limits, u64::from(self.redis_bytes) + added, count);
        items.iter().for_each(|item| self.grew(item));
    }

    /// Counts an item that came.
    pub(super) fn grew(&mut self, item: &[u8]) {
        let entry = u32::try_from(size::entry(item)).unwrap_or(UNKNOWN);
        self.redis_bytes = self.redis_bytes.saturating_add(entry);
    }

    /// Counts items that went, by what they took in Redis's packed form.
    pub(super) fn shrank_by(&mut self, entries: u64) {
        if self.is_measured() {
            let entries = u32::try_from(entries).unwrap_or(UNKNOWN);
            self.redis_bytes = self.redis_bytes.saturating_sub(entries);
        }
    }

    /// Items went that nobody looked at.
    pub(super) fn shrank_unseen(&mut self) {
        self.redis_bytes = UNKNOWN;
    }

    /// Whether it is known how large Redis's packed form would be.
    pub(super) fn is_measured(&self) -> bool {
        self.redis_bytes != UNKNOWN
    }

    /// Items were taken away: it may be short again.
    pub(super) fn has_shrunk(&mut self, limits: &Limits) {
        let bytes = u64::from(self.redis_bytes);
        if self.is_long && self.is_measured() && size::is_small_again(limits, bytes, self.count()) {
            self.is_long = false;
        }
    }

    fn in_row(&mut self, end: End) -> &mut u64 {
        match end {
            End::Left => &mut self.head,
            End::Right => &mut self.tail,
        }
    }

    /// The position in the tree where an end's row belongs.
    fn seam(&self, end: End) -> u64 {
        match end {
            End::Left => 0,
            End::Right => self.tree.len(),
        }
    }

    fn row<'r>(&self, r: &'r mut Read<'_>, key: Key<'_>, end: End) -> Result<&'r [u8]> {
        let row = r.element(key, self.generation, sub_key(end))?;
        row.ok_or_else(|| Error::broken("an end of a list is missing"))
    }

    fn set_row(&self, w: &mut Write<'_>, key: Key<'_>, end: End, row: &[u8]) {
        if row.is_empty() {
            w.delete_element(key, self.generation, sub_key(end));
        } else {
            w.put_element(key, self.generation, sub_key(end), row);
        }
    }

    /// Puts items in the place of `remove` items at an index of an end's row, if they fit.
    fn put_in_row(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        end: End,
        at: u64,
        remove: u64,
        items: &[&[u8]],
    ) -> Result<bool> {
        let count = *self.in_row(end);
        let done = w.edit_element(key, self.generation, sub_key(end), |row| {
            let start = if at == count { row.len() } else { row::offset(row, at)? };
            let removed = row::offset(row.get(start..).unwrap_or_default(), remove)?;
            let added: usize = items.iter().map(|item| row::size(item)).sum();
            if row.len() - removed + added > END_MAX {
                return Ok((None, false));
            }
            let mut insert = SmallVec::new();
            items.iter().for_each(|item| row::push(&mut insert, item));
            Ok((Some(Splice { at: start, remove: removed, insert }), true))
        })?;
        if done {
            *self.in_row(end) = count - remove + items.len() as u64;
        }
        Ok(done)
    }

    /// Moves an end's row into the tree. Its record is the caller's.
    fn flush(&mut self, w: &mut Write<'_>, key: Key<'_>, end: End) -> Result<()> {
        if *self.in_row(end) == 0 {
            return Ok(());
        }
        let row = self.row(w, key, end)?.to_vec();
        let items = row::items(&row)?;
        self.tree.insert(w, key, self.seam(end), &items)?;
        *self.in_row(end) = 0;
        Ok(())
    }

    /// Adds items, in the order of the list, at an end.
    pub(super) fn push(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        end: End,
        items: &[&[u8]],
    ) -> Result<()> {
        let bytes: usize = items.iter().map(|item| row::size(item)).sum();
        let there = *self.in_row(end);
        if there > 0 && bytes <= END_MAX {
            let at = if end == End::Left { 0 } else { there };
            if self.put_in_row(w, key, end, at, 0, items)? {
                return Ok(());
            }
        }
        self.flush(w, key, end)?;
        if bytes <= END_MAX {
            self.set_row(w, key, end, &row::encode(items));
            *self.in_row(end) = items.len() as u64;
            return Ok(());
        }
        if there > 0 {
            self.set_row(w, key, end, &[]);
        }
        self.tree.insert(w, key, self.seam(end), items)
    }

    /// Takes the item at an end away and shows it.
    pub(super) fn take_one(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        end: End,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (other, generation) = (end.other(), self.generation);
        let from = match (*self.in_row(end), self.tree.len()) {
            (0, 0) => other,
            (0, _) => return self.take_from_tree(w, key, end, each),
            _ => end,
        };
        let count = *self.in_row(from);
        let entry = w.edit_element(key, generation, sub_key(from), |row| {
            let at = if end == End::Left { 0 } else { row::offset(row, count.saturating_sub(1))? };
            let (item, rest) =
                row::parse(row.get(at..).unwrap_or_default()).ok_or_else(row::broken)?;
            each(item)?;
            let remove = row.len() - at - rest.len();
            let splice = Splice { at, remove, insert: SmallVec::new() };
            Ok(((count > 1).then_some(splice), size::entry(item)))
        })?;
        if count == 1 {
            self.set_row(w, key, from, &[]);
        }
        *self.in_row(from) = count.saturating_sub(1);
        self.shrank_by(entry);
        Ok(())
    }

    /// As [`take_one`](Self::take_one), where that end's row is empty: it takes a leaf of the tree.
    fn take_from_tree(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        end: End,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let n = self.tree.leaf_len(w, key, end == End::Right)?;
        let start = if end == End::Left { 0 } else { self.tree.len() - n };
        let (mut row, mut items) = (SmallVec::<[u8; END_MAX]>::new(), 0);
        let mut entry = 0;
        self.tree.walk(w, key, start, n, false, &mut |item| {
            items += 1;
            if items == if end == End::Left { 1 } else { n } {
                each(item)?;
                entry = size::entry(item);
            } else {
                row::push(&mut row, item);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.tree.remove(w, key, start, n)?;
        if n > 1 {
            self.set_row(w, key, end, &row);
        }
        *self.in_row(end) = n - 1;
        self.shrank_by(entry);
        Ok(())
    }

    /// The three parts: where each begins and ends.
    fn parts(&self) -> [Range<u64>; 3] {
        let (head, inner) = (self.head, self.head + self.tree.len());
        [0..head, head..inner, inner..self.count()]
    }

    /// Visits at most `most` items from a position on, downwards if `reverse`, until `each` breaks.
    pub(super) fn walk(
        &self,
        r: &mut Read<'_>,
        key: Key<'_>,
        from: u64,
        most: u64,
        reverse: bool,
        each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if from >= self.count() || most == 0 {
            return Ok(());
        }
        let range = if reverse {
            (from + 1).saturating_sub(most)..from + 1
        } else {
            from..from.saturating_add(most).min(self.count())
        };
        let stopped = Cell::new(false);
        let mut each = |item: &[u8]| {
            let flow = each(item)?;
            stopped.set(flow.is_break());
            Ok(flow)
        };
        let parts = self.parts();
        for n in if reverse { [2, 1, 0] } else { [0, 1, 2] } {
            let Some(part) = parts.get(n) else { continue };
            let (low, high) = (range.start.max(part.start), range.end.min(part.end));
            if low >= high {
                continue;
            }
            let (start, n_items) = (low - part.start, high - low);
            match n {
                1 => {
                    let from = if reverse { start + n_items - 1 } else { start };
                    self.tree.walk(r, key, from, n_items, reverse, &mut each)?;
                }
                _ => {
                    let end = if n == 0 { End::Left } else { End::Right };
                    walk_row(self.row(r, key, end)?, start, n_items, reverse, &mut each)?;
                }
            }
            if stopped.get() {
                break;
            }
        }
        Ok(())
    }

    /// Hands the item at a position, which must be there, to `f`.
    pub(super) fn get<T>(
        &self,
        r: &mut Read<'_>,
        key: Key<'_>,
        at: u64,
        f: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T> {
        let [_, inner, tail] = self.parts();
        if at < inner.start {
            let row = self.row(r, key, End::Left)?;
            return Ok(f(Some(row::get(row, at)?)));
        }
        if at >= tail.start {
            let row = self.row(r, key, End::Right)?;
            return Ok(f(Some(row::get(row, at - tail.start)?)));
        }
        self.tree.get(r, key, at - inner.start, f)
    }

    /// Puts items in the place of `remove` (0 or 1) at a position.
    pub(super) fn put(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        at: u64,
        remove: u64,
        items: &[&[u8]],
    ) -> Result<()> {
        let [head, inner, tail] = self.parts();
        let row = if self.head > 0 && at + remove <= head.end {
            Some((End::Left, at))
        } else if self.tail > 0 && at >= tail.start {
            Some((End::Right, at - tail.start))
        } else {
            None
        };
        if let Some((end, index)) = row {
            if self.put_in_row(w, key, end, index, remove, items)? {
                return Ok(());
            }
            self.flush(w, key, end)?;
            self.set_row(w, key, end, &[]);
        }
        let at = if self.head > 0 { at - inner.start } else { at };
        match (remove, items) {
            (0, _) => self.tree.insert(w, key, at, items),
            (_, [item]) => self.tree.replace(w, key, at, item),
            _ => Ok(()),
        }
    }

    /// Takes away the items in some ranges of positions, which ascend and do not touch.
    pub(super) fn remove_ranges(
        &mut self,
        w: &mut Write<'_>,
        key: Key<'_>,
        ranges: &[Range<u64>],
    ) -> Result<()> {
        let [head, inner, tail] = self.parts();
        let inside: Vec<Range<u64>> = ranges
            .iter()
            .map(|range| range.start.max(inner.start)..range.end.min(inner.end))
            .filter(|range| range.start < range.end)
            .map(|range| range.start - inner.start..range.end - inner.start)
            .collect();
        let touches = |part: &Range<u64>| {
            ranges.iter().any(|range| range.start < part.end && range.end > part.start)
        };
        let rows = [(End::Left, head), (End::Right, tail)];
        let mut missed = None;
        for (end, part) in rows.into_iter().filter(|(_, part)| touches(part)) {
            let count = part.end - part.start;
            let gone = w.edit_element(key, self.generation, sub_key(end), |row| {
                let (splice, gone) = row::without(row, part.start, count, ranges)?;
                Ok(((gone < count).then_some(splice), gone))
            });
            match gone {
                Ok(gone) => *self.in_row(end) = count - gone,
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
            if *self.in_row(end) == 0 {
                self.set_row(w, key, end, &[]);
            }
        }
        self.tree.remove_ranges(w, key, &inside)?;
        missed.map_or(Ok(()), Err)
    }
}

fn sub_key(end: End) -> &'static [u8] {
    match end {
        End::Left => HEAD,
        End::Right => TAIL,
    }
}

/// Visits items of a row, downwards from the last of them if `reverse`.
pub(super) fn walk_row(
    row: &[u8],
    start: u64,
    most: u64,
    reverse: bool,
    each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut items: Items<'_> = row::from(row, start)?;
    let mut found: SmallVec<[&[u8]; 64]> = SmallVec::new();
    for _ in 0..most {
        let Some(item) = items.next()? else { break };
        if reverse {
            found.push(item);
        } else if each(item)?.is_break() {
            return Ok(());
        }
    }
    for item in found.iter().rev() {
        if each(item)?.is_break() {
            break;
        }
    }
    Ok(())
}
