//! Lists: sequences of items that come and go at both ends.
//!
//! | encoding     | body                                              | OBJECT ENCODING            |
//! |--------------|---------------------------------------------------|----------------------------|
//! | 0 `PACKED`   | all items, a [row](crate::row)                    | `listpack`                 |
//! | 1 `EXPLODED` | where the items are, drawn in [`exploded`]        | `listpack` or `quicklist`  |
//! | 2 `LONG`     | all items, a row                                  | `quicklist`                |
//!
//! What must always hold:
//! 1. A list has an item: the last one takes the key with it.
//! 2. A list is packed up to [`PACKED_MAX`], whatever Redis's limits: these decide only what it is called.
//!    Once exploded it stays exploded, unless a trim leaves next to nothing of it.
//! 3. Of a large list no command reads more than the items it visits on its way, and a command at an end
//!    visits one record.

mod edit;
mod exploded;
mod packed;
mod size;
mod whole;

pub(crate) use whole::{items_of, len_of};

use crate::error::{Error, NO_SUCH_KEY, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::row;
use crate::tree::LEAF_MAX;
use crate::view::{Read, Write, event_class};
use edit::{Edit, walk_packed};
use exploded::Exploded;
use smallvec::SmallVec;
use std::ops::{ControlFlow, Range};

/// The body is packed, and Redis would call it a quicklist. On disk: do not change.
const LONG: u8 = 2;

/// A larger body is exploded: rewriting it for each item would cost more than a record for some.
const PACKED_MAX: usize = 2 << 10;

/// The row at an end of a large list is not larger: a leaf of the tree is made of it.
const END_MAX: usize = LEAF_MAX;

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where the first item is.
    Left,
    /// Where the last item is.
    Right,
}

impl End {
    fn other(self) -> End {
        match self {
            End::Left => End::Right,
            End::Right => End::Left,
        }
    }

    fn pushed(self) -> &'static str {
        match self {
            End::Left => "lpush",
            End::Right => "rpush",
        }
    }

    fn popped(self) -> &'static str {
        match self {
            End::Left => "lpop",
            End::Right => "rpop",
        }
    }
}

/// Somebody to whom items are shown.
pub trait Visit {
    /// So many items will follow.
    fn len(&mut self, len: u64);

    /// An item.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn item(&mut self, item: &[u8]) -> Result<()>;
}

/// The number of items; 0 when the key is absent.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn len(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    match r.header_of(key, Kind::List)? {
        None => {
            r.notify(event_class::MISS, "keymiss", key);
            Ok(0)
        }
        Some(header) => count(&header),
    }
}

fn count(header: &Header<'_>) -> Result<u64> {
    match header.is_exploded() {
        true => Ok(Exploded::decode(header)?.count()),
        false => packed::count(header.body),
    }
}

/// What OBJECT ENCODING answers for a header of kind `List`.
pub fn encoding_name(header: &Header<'_>) -> &'static str {
    let is_long = match header.encoding {
        encoding::PACKED => false,
        encoding::EXPLODED => Exploded::decode(header).is_ok_and(|list| list.is_long),
        _ => true,
    };
    if is_long { "quicklist" } else { "listpack" }
}

/// About how many records hold the items of a large list.
///
/// # Errors
/// `Again`, or damage.
pub(crate) fn records(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    let Some(header) = r.header_of(key, Kind::List)?.filter(Header::is_exploded) else {
        return Ok(0);
    };
    let list = Exploded::decode(&header)?;
    // With the rows at the ends.
    Ok(2 + list.tree().leaves(r, key)?)
}

/// A position counted from the end if it is negative; `None` when it lies before the start.
fn position(index: i64, len: u64) -> Option<u64> {
    match u64::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => len.checked_sub(index.unsigned_abs()),
    }
}

/// The positions from `start` to `stop`, both included and both counted from the end if negative.
fn range_of(start: i64, stop: i64, len: u64) -> Range<u64> {
    let start = position(start, len).unwrap_or(0).min(len);
    let end = position(stop, len).map_or(0, |stop| stop.saturating_add(1)).min(len);
    start..end.max(start)
}

/// Hands the item at an index, counted from the end if negative, to `f`, `None` when it is absent.
///
/// # Errors
/// As [`len`].
pub fn get<T>(
    r: &mut Read<'_>,
    key: Key<'_>,
    index: i64,
    f: impl FnOnce(Option<&[u8]>) -> T,
) -> Result<T> {
    let Some(header) = r.header_of(key, Kind::List)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(f(None));
    };
    let len = count(&header)?;
    let Some(at) = position(index, len).filter(|&at| at < len) else { return Ok(f(None)) };
    if header.is_exploded() {
        let list = Exploded::decode(&header)?;
        return list.get(r, key, at, f);
    }
    Ok(f(Some(row::get(header.body, at)?)))
}

/// Shows the items from index `start` to `stop`, both included and both counted from the end if negative.
///
/// # Errors
/// As [`len`], or what the visitor answers; it may have been called before.
pub fn range(
    r: &mut Read<'_>,
    key: Key<'_>,
    start: i64,
    stop: i64,
    visit: &mut dyn Visit,
) -> Result<()> {
    let Some(header) = r.header_of(key, Kind::List)? else {
        r.notify(event_class::MISS, "keymiss", key);
        visit.len(0);
        return Ok(());
    };
    let len = count(&header)?;
    let range = range_of(start, stop, len);
    let n = range.end - range.start;
    visit.len(n);
    let mut each = |item: &[u8]| {
        visit.item(item)?;
        Ok(ControlFlow::Continue(()))
    };
    if header.is_exploded() {
        let list = Exploded::decode(&header)?;
        return list.walk(r, key, range.start, n, false, &mut each);
    }
    walk_packed(header.body, len, range.start, n, false, &mut each)
}

/// Which matches LPOS reports.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The first match that is reported, from 1 on; from the end if negative. Never 0.
    pub rank: i64,
    /// How many are reported; 0 for all.
    pub count: u64,
    /// How many items are looked at; 0 for all.
    pub most: u64,
}

/// Shows the indexes of items equal to one; false when the key is absent.
///
/// # Errors
/// As [`range`].
pub fn find(
    r: &mut Read<'_>,
    key: Key<'_>,
    wanted: &[u8],
    search: Search,
    each: &mut dyn FnMut(u64),
) -> Result<bool> {
    let Some(header) = r.header_of(key, Kind::List)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(false);
    };
    let len = count(&header)?;
    let reverse = search.rank < 0;
    let most = if search.most == 0 { u64::MAX } else { search.most };
    let from = if reverse { len.saturating_sub(1) } else { 0 };
    let (mut visited, mut matches, mut shown) = (0, 0, 0);
    let mut visit = |item: &[u8]| {
        let at = if reverse { from - visited } else { visited };
        visited += 1;
        if item == wanted {
            matches += 1;
            if matches >= search.rank.unsigned_abs() {
                each(at);
                shown += 1;
            }
        }
        let done = search.count > 0 && shown == search.count;
        Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    if header.is_exploded() {
        let list = Exploded::decode(&header)?;
        list.walk(r, key, from, most, reverse, &mut visit)?;
    } else {
        walk_packed(header.body, len, from, most, reverse, &mut visit)?;
    }
    Ok(true)
}

/// Adds items one after the other at an end; only to a list that is there, if `only_there`. How many items
/// there are then; 0 when nothing is done.
///
/// # Errors
/// As [`len`].
pub fn push(
    w: &mut Write<'_>,
    key: Key<'_>,
    end: End,
    items: &[&[u8]],
    only_there: bool,
) -> Result<u64> {
    let mut edit = match Edit::open(w, key)? {
        Some(edit) => edit,
        None if only_there => return Ok(0),
        None => Edit::open_or_new(w, key)?,
    };
    match end {
        End::Right => edit.push(w, end, items)?,
        End::Left => {
            let turned: SmallVec<[&[u8]; 8]> = items.iter().rev().copied().collect();
            edit.push(w, end, &turned)?;
        }
    }
    let len = edit.len();
    edit.finish(w, &[end.pushed()])?;
    items.iter().for_each(|_| w.changed());
    Ok(len)
}

/// Takes away up to `count` items at an end, the outermost first, and shows them; false, and nothing is
/// shown, when the key is absent.
///
/// # Errors
/// As [`range`].
pub fn pop(
    w: &mut Write<'_>,
    key: Key<'_>,
    end: End,
    count: u64,
    visit: &mut dyn Visit,
) -> Result<bool> {
    let Some(mut edit) = Edit::open(w, key)? else { return Ok(false) };
    let n = count.min(edit.len());
    visit.len(n);
    if n > 0 {
        edit.take(w, end, n, &mut |item| visit.item(item))?;
        edit.finish(w, &[end.popped()])?;
        w.changed();
    }
    Ok(true)
}

/// LSET: puts an item in the place of another.
///
/// # Errors
/// "ERR no such key", "ERR index out of range", or as [`len`].
pub fn set(w: &mut Write<'_>, key: Key<'_>, index: i64, item: &[u8]) -> Result<()> {
    let mut edit = Edit::open(w, key)?.ok_or(NO_SUCH_KEY)?;
    let len = edit.len();
    let at = position(index, len).filter(|&at| at < len);
    edit.replace(w, at.ok_or(Error::reply("ERR index out of range"))?, item)?;
    edit.finish(w, &["lset"])?;
    w.changed();
    Ok(())
}

/// LINSERT: puts an item before or behind the first that equals `pivot`. How many items there are then; 0
/// when the key is absent, -1 when there is no such item.
///
/// # Errors
/// As [`len`].
pub fn insert(
    w: &mut Write<'_>,
    key: Key<'_>,
    before: bool,
    pivot: &[u8],
    item: &[u8],
) -> Result<i64> {
    let Some(mut edit) = Edit::open(w, key)? else { return Ok(0) };
    let (mut at, mut found) = (0, false);
    edit.walk(w, 0, u64::MAX, false, &mut |other| {
        found = other == pivot;
        at += u64::from(!found);
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if !found {
        return Ok(-1);
    }
    edit.insert(w, at + u64::from(!before), item)?;
    let len = edit.len();
    edit.finish(w, &["linsert"])?;
    w.changed();
    Ok(len as i64)
}

/// LREM: takes away items that equal `wanted`: the first `count`, the last ones if that is negative, all if it
/// is 0. How many.
///
/// # Errors
/// As [`len`].
pub fn remove(w: &mut Write<'_>, key: Key<'_>, count: i64, wanted: &[u8]) -> Result<u64> {
    let Some(mut edit) = Edit::open(w, key)? else { return Ok(0) };
    let most = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let reverse = count < 0;
    let from = if reverse { edit.len() - 1 } else { 0 };
    let (mut visited, mut gone) = (0, 0);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    edit.walk(w, from, u64::MAX, reverse, &mut |item| {
        let at = if reverse { from - visited } else { visited };
        visited += 1;
        if item != wanted {
            return Ok(ControlFlow::Continue(()));
        }
        gone += 1;
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            Some(last) if last.start == at + 1 => last.start = at,
            _ => ranges.push(at..at + 1),
        }
        Ok(if gone == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if gone == 0 {
        return Ok(0);
    }
    if reverse {
        ranges.reverse();
    }
    edit.seen_going(wanted, gone);
    edit.remove_seen(w, &ranges)?;
    edit.finish(w, &["lrem"])?;
    (0..gone).for_each(|_| w.changed());
    Ok(gone)
}

/// LTRIM: leaves only the items from index `start` to `stop`, counted as in [`range`].
///
/// # Errors
/// As [`len`].
pub fn trim(w: &mut Write<'_>, key: Key<'_>, start: i64, stop: i64) -> Result<()> {
    let Some(mut edit) = Edit::open(w, key)? else { return Ok(()) };
    let range = range_of(start, stop, edit.len());
    let gone = edit.len() - (range.end - range.start);
    edit.trim(w, range)?;
    edit.finish(w, &["ltrim"])?;
    (0..gone).for_each(|_| w.changed());
    Ok(())
}

/// How many items [`move_items`] moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowMany {
    /// As many as there are, up to this.
    UpTo(u64),
    /// This many, or none.
    Exactly(u64),
}

/// In which order [`move_items`] leaves what it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrange {
    /// As if they were moved one after the other.
    OneByOne,
    /// As they stood.
    Together,
}

/// LMOVE, LMOVEM: takes items from an end of one list, adds them at an end of another or of the same, and
/// shows them as they stand there. False, and nothing is shown, when the source is absent or has not enough.
///
/// # Errors
/// `WrongType` of either, or `Again`.
pub fn move_items(
    w: &mut Write<'_>,
    (from, from_end): (Key<'_>, End),
    (to, to_end): (Key<'_>, End),
    how_many: HowMany,
    arrange: Arrange,
    visit: &mut dyn Visit,
) -> Result<bool> {
    let Some(mut source) = Edit::open(w, from)? else { return Ok(false) };
    let is_same = from.name == to.name;
    let mut target = if is_same { None } else { Some(Edit::open_or_new(w, to)?) };
    let n = match how_many {
        HowMany::UpTo(n) => n.min(source.len()),
        HowMany::Exactly(n) if n <= source.len() => n,
        HowMany::Exactly(_) => return Ok(false),
    };
    visit.len(n);
    if n == 0 {
        return Ok(true);
    }
    let mut items: SmallVec<[SmallVec<[u8; 128]>; 1]> = SmallVec::new();
    source.take(w, from_end, n, &mut |item| {
        items.push(SmallVec::from_slice(item));
        Ok(())
    })?;
    // They came outermost first.
    let turned = match arrange {
        Arrange::OneByOne => to_end == End::Left,
        Arrange::Together => from_end == End::Right,
    };
    if turned {
        items.reverse();
    }
    for item in &items {
        visit.item(item)?;
    }
    let items: SmallVec<[&[u8]; 1]> = items.iter().map(SmallVec::as_slice).collect();
    match &mut target {
        Some(target) => target.push(w, to_end, &items)?,
        None => source.push(w, to_end, &items)?,
    }
    match target {
        Some(target) => {
            target.finish(w, &[to_end.pushed()])?;
            source.finish(w, &[from_end.popped()])?;
        }
        None => source.finish(w, &[to_end.pushed(), from_end.popped()])?,
    }
    w.changed();
    Ok(true)
}

/// Shows all items, in order.
///
/// # Errors
/// As [`range`].
pub(crate) fn all(
    r: &mut Read<'_>,
    key: Key<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    struct Each<'f>(&'f mut dyn FnMut(&[u8]) -> Result<()>);
    impl Visit for Each<'_> {
        fn len(&mut self, _: u64) {}
        fn item(&mut self, item: &[u8]) -> Result<()> {
            (self.0)(item)
        }
    }
    range(r, key, 0, -1, &mut Each(each))
}

/// Stores items as a key's list, whatever was there, and tells `event`; how many there are. No items delete the
/// key.
///
/// # Errors
/// `Again`.
pub fn store(w: &mut Write<'_>, key: Key<'_>, items: &[&[u8]], event: &'static str) -> Result<u64> {
    let there = w.header(key)?.map(|header| (header.expire_ms, header.generation().is_some()));
    if let Some((expire_ms, has_elements)) = there {
        if has_elements {
            w.orphan();
        }
        w.delete_header(key, expire_ms);
    }
    if items.is_empty() {
        if there.is_some() {
            w.event(event_class::GENERIC, "del", key);
        }
        return Ok(0);
    }
    let mut edit = Edit::empty(key, there.is_none());
    edit.push(w, End::Right, items)?;
    edit.finish(w, &[event])?;
    w.changed();
    Ok(items.len() as u64)
}

#[cfg(test)]
#[path = "list/tests.rs"]
mod tests;
