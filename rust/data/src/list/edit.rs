//! One command's change of a list.
//!
//! A command opens the list, changes it, and finishes: then the header is written if need be, or the key
//! deleted when no item is left.

use super::exploded::Exploded;
use super::packed::Packed;
use super::{End, LONG, PACKED_MAX, exploded, size};
use crate::error::Result;
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::row;
use crate::view::{Read, Write, event_class};
use smallvec::SmallVec;
use std::ops::{ControlFlow, Range};

/// Of a body this large the log gets only what changes; a smaller one costs it no more as a whole, and
/// recovery less.
const PATCH_MIN: usize = 256;
/// Items that are looked at, at most, to learn how large a list is that has lost some unseen.
const MEASURED_MAX: u64 = 4096;
/// A trim that leaves so few writes them anew ...
const ANEW_MAX: u64 = 1000;
/// ... if it takes so many away for each: it deletes no leaves then, but the claim on all of them.
const ANEW_GAIN: u64 = 64;

enum Body {
    Packed(Box<Packed>),
    Exploded(Exploded),
}

/// See the head of this file.
pub(super) struct Edit<'k> {
    key: Key<'k>,
    /// The key's expiry.
    expire_ms: Option<u64>,
    /// Whether the key is not there yet.
    is_new: bool,
    body: Body,
    /// The generation that the key claims now.
    claimed: Option<u64>,
    /// Whether an exploded list has changed.
    changed: bool,
}

impl<'k> Edit<'k> {
    /// A list that is there.
    pub(super) fn open(r: &mut Read<'_>, key: Key<'k>) -> Result<Option<Edit<'k>>> {
        let Some(header) = r.header_of(key, Kind::List)? else { return Ok(None) };
        let (expire_ms, claimed) = (header.expire_ms, header.generation());
        let body = if header.is_exploded() {
            Body::Exploded(Exploded::decode(&header)?)
        } else {
            Body::Packed(Box::new(Packed::copy(header.body, header.encoding == LONG)?))
        };
        Ok(Some(Edit { key, expire_ms, is_new: false, body, claimed, changed: false }))
    }

    /// A list that is there, or will be.
    pub(super) fn open_or_new(r: &mut Read<'_>, key: Key<'k>) -> Result<Edit<'k>> {
        Ok(Edit::open(r, key)?.unwrap_or_else(|| Edit::empty(key, true)))
    }

    /// A list without items; whether its key is new, too.
    pub(super) fn empty(key: Key<'k>, is_new: bool) -> Edit<'k> {
        let body = Body::Packed(Box::new(Packed::new()));
        Edit { key, expire_ms: None, is_new, body, claimed: None, changed: false }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.body {
            Body::Packed(packed) => packed.count(),
            Body::Exploded(list) => list.count(),
        }
    }

    /// Adds items, in the order of the list, at an end.
    pub(super) fn push(&mut self, w: &mut Write<'_>, end: End, items: &[&[u8]]) -> Result<()> {
        let at = if end == End::Left { 0 } else { self.len() };
        self.make_room(w, items, 0)?;
        match &mut self.body {
            Body::Packed(packed) => packed.put(at, 0, items),
            Body::Exploded(list) => {
                self.changed = true;
                list.push(w, self.key, end, items)
            }
        }
    }

    /// Puts an item before the one at a position.
    pub(super) fn insert(&mut self, w: &mut Write<'_>, at: u64, item: &[u8]) -> Result<()> {
        self.put(w, at, 0, item)
    }

    /// Puts an item in the place of the one at a position, which must be there.
    pub(super) fn replace(&mut self, w: &mut Write<'_>, at: u64, item: &[u8]) -> Result<()> {
        let (mut old, mut entry) = (0, 0);
        self.walk(w, at, 1, false, &mut |item| {
            (old, entry) = (row::size(item), size::entry(item));
            Ok(ControlFlow::Break(()))
        })?;
        self.put(w, at, old, item)?;
        if let Body::Exploded(list) = &mut self.body {
            list.shrank_by(entry);
        }
        self.has_shrunk(w)
    }

    /// Puts an item at a position: of one that takes `old` bytes, if that is not 0.
    fn put(&mut self, w: &mut Write<'_>, at: u64, old: usize, item: &[u8]) -> Result<()> {
        self.make_room(w, &[item], old)?;
        let remove = u64::from(old > 0);
        match &mut self.body {
            Body::Packed(packed) => packed.put(at, remove, &[item]),
            Body::Exploded(list) => {
                self.changed = true;
                list.put(w, self.key, at, remove, &[item])
            }
        }
    }

    /// Items will come, and one of `old` bytes will go.
    fn make_room(&mut self, w: &mut Write<'_>, items: &[&[u8]], old: usize) -> Result<()> {
        let limits = w.limits();
        let Body::Packed(packed) = &mut self.body else {
            if let Body::Exploded(list) = &mut self.body {
                list.will_grow(limits, items);
            }
            return Ok(());
        };
        packed.will_grow(limits, items)?;
        let added: usize = items.iter().map(|item| row::size(item)).sum();
        if packed.body().len() + added - old <= PACKED_MAX {
            return Ok(());
        }
        let (bytes, is_long) = (packed.redis_bytes()?, packed.is_long);
        let mut list = Exploded::new(w, self.key, packed.body(), is_long, bytes)?;
        items.iter().for_each(|item| list.grew(item));
        self.body = Body::Exploded(list);
        Ok(())
    }

    /// Takes `n` items, of which there must be so many, away from an end, the outermost first, and shows them.
    pub(super) fn take(
        &mut self,
        w: &mut Write<'_>,
        end: End,
        n: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let len = self.len();
        if let (Body::Exploded(list), 1) = (&mut self.body, n) {
            self.changed = true;
            list.take_one(w, self.key, end, each)?;
            list.has_shrunk(w.limits());
            return Ok(());
        }
        let (from, range) = match end {
            End::Left => (0, 0..n),
            End::Right => (len.saturating_sub(1), len - n..len),
        };
        let mut entries = Vec::new();
        let is_exploded = matches!(self.body, Body::Exploded(_));
        self.walk(w, from, n, end == End::Right, &mut |item| {
            if is_exploded {
                entries.push(size::entry(item));
            }
            each(item)?;
            Ok(ControlFlow::Continue(()))
        })?;
        if let Body::Exploded(list) = &mut self.body {
            list.shrank_by(entries.iter().sum());
        }
        // The last ones take the key with them: nothing needs to be written but that.
        if n == len { self.forget() } else { self.remove_seen(w, &[range]) }
    }

    /// All items go.
    fn forget(&mut self) -> Result<()> {
        self.body = Body::Packed(Box::new(Packed::new()));
        self.changed = true;
        Ok(())
    }

    /// Takes away the items in some ranges of positions, which ascend and do not touch; their sizes are
    /// counted already.
    pub(super) fn remove_seen(&mut self, w: &mut Write<'_>, ranges: &[Range<u64>]) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        match &mut self.body {
            Body::Packed(packed) => packed.remove_ranges(ranges)?,
            Body::Exploded(list) => {
                self.changed = true;
                list.remove_ranges(w, self.key, ranges)?;
            }
        }
        self.has_shrunk(w)
    }

    /// Counts items, `n` equal ones, that go.
    pub(super) fn seen_going(&mut self, item: &[u8], n: u64) {
        if let Body::Exploded(list) = &mut self.body {
            list.shrank_by(size::entry(item) * n);
        }
    }

    fn has_shrunk(&mut self, w: &mut Write<'_>) -> Result<()> {
        match &mut self.body {
            Body::Packed(packed) => packed.has_shrunk(w.limits())?,
            Body::Exploded(list) => list.has_shrunk(w.limits()),
        }
        Ok(())
    }

    /// Leaves only the items in a range of positions.
    pub(super) fn trim(&mut self, w: &mut Write<'_>, kept: Range<u64>) -> Result<()> {
        let len = self.len();
        let (left, gone) = (kept.end - kept.start, len - (kept.end - kept.start));
        if gone == 0 {
            return Ok(());
        }
        if left == 0 {
            return self.forget();
        }
        let ranges = [0..kept.start, kept.end..len];
        let ranges: SmallVec<[Range<u64>; 2]> =
            ranges.into_iter().filter(|range| range.start < range.end).collect();
        if let Body::Exploded(list) = &mut self.body {
            if left <= ANEW_MAX && gone / left >= ANEW_GAIN {
                return self.keep_anew(w, kept);
            }
            if list.is_measured() && gone <= MEASURED_MAX {
                let (key, mut sum) = (self.key, 0);
                for range in &ranges {
                    let n = range.end - range.start;
                    list.walk(w, key, range.start, n, false, &mut |item| {
                        sum += size::entry(item);
                        Ok(ControlFlow::Continue(()))
                    })?;
                }
                list.shrank_by(sum);
            } else {
                list.shrank_unseen();
            }
        }
        self.remove_seen(w, &ranges)
    }

    /// As [`trim`](Self::trim): what is left becomes a list of its own, and all records of the old one lose
    /// their claim at once.
    fn keep_anew(&mut self, w: &mut Write<'_>, kept: Range<u64>) -> Result<()> {
        let mut left = Vec::new();
        self.walk(w, kept.start, kept.end - kept.start, false, &mut |item| {
            left.push(item.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        let left: Vec<&[u8]> = left.iter().map(Vec::as_slice).collect();
        let mut anew = Box::new(Packed::new());
        anew.is_long = matches!(&self.body, Body::Exploded(list) if list.is_long);
        self.body = Body::Packed(anew);
        self.push(w, End::Right, &left)?;
        self.changed = true;
        self.has_shrunk(w)
    }

    /// Visits at most `most` items from a position on, downwards if `reverse`, until `each` breaks.
    pub(super) fn walk(
        &self,
        r: &mut Read<'_>,
        from: u64,
        most: u64,
        reverse: bool,
        each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match &self.body {
            Body::Packed(packed) => {
                walk_packed(packed.body(), packed.count(), from, most, reverse, each)
            }
            Body::Exploded(list) => list.walk(r, self.key, from, most, reverse, each),
        }
    }

    /// Writes what has changed and tells `events`, and "del" when no item is left.
    pub(super) fn finish(self, w: &mut Write<'_>, events: &[&'static str]) -> Result<()> {
        let Edit { key, expire_ms, is_new, body, claimed, changed } = self;
        let is_empty = match &body {
            Body::Packed(packed) => packed.count() == 0,
            Body::Exploded(list) => list.count() == 0,
        };
        let claims = match &body {
            Body::Exploded(list) if !is_empty => Some(list.generation()),
            _ => None,
        };
        if claimed.is_some() && claims != claimed {
            w.orphan();
        }
        if is_empty {
            if !is_new {
                w.delete_header(key, expire_ms);
            }
        } else {
            if is_new {
                w.notify(event_class::NEW, "new", key);
            }
            match &body {
                Body::Packed(packed) if packed.is_changed() => {
                    put_packed(w, key, expire_ms, packed)?;
                }
                Body::Exploded(list) if changed || claimed.is_none() => {
                    let (body, encoding) = (list.encode(), encoding::EXPLODED);
                    let header = Header { kind: Kind::List, encoding, expire_ms, body: &body };
                    w.put_header(key, &header, expire_ms);
                }
                _ => {}
            }
        }
        for name in events {
            w.notify(event_class::LIST, name, key);
        }
        if is_empty && !is_new {
            w.notify(event_class::GENERIC, "del", key);
        }
        Ok(())
    }
}

fn put_packed(
    w: &mut Write<'_>,
    key: Key<'_>,
    expire_ms: Option<u64>,
    packed: &Packed,
) -> Result<()> {
    let body = packed.body();
    if body.len() >= PATCH_MIN
        && let Some(splice) = packed.only_change()
    {
        return w.stage_header_patch(key, splice.at, splice.remove, &splice.insert);
    }
    let encoding = if packed.is_long { LONG } else { encoding::PACKED };
    w.put_header(key, &Header { kind: Kind::List, encoding, expire_ms, body }, expire_ms);
    Ok(())
}

/// Visits items of a packed list of `count`, as [`Edit::walk`].
pub(super) fn walk_packed(
    body: &[u8],
    count: u64,
    from: u64,
    most: u64,
    reverse: bool,
    each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if from >= count {
        return Ok(());
    }
    let (start, most) = if reverse {
        let most = most.min(from + 1);
        (from + 1 - most, most)
    } else {
        (from, most)
    };
    exploded::walk_row(body, start, most, reverse, each)
}
