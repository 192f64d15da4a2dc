//! SORT: the elements of a list, a set or a sorted set in order, by themselves or by what other keys hold.
//!
//! What is sorted is in memory: the elements, and what they are sorted by. With a limit only as many are put
//! in order as are wanted.
//!
//! A pattern names a key for each element, of which nobody knows before in which shard it is: so who uses one
//! holds all shards.

use crate::error::{Error, Result};
use crate::hash;
use crate::header::Kind;
use crate::list;
use crate::place::Key;
use crate::set;
use crate::string;
use crate::view::{Read, Write, event_class};
use crate::zset;
use forgekv_base::number;
use std::cmp::Ordering;

/// No command stages more than this, in bytes: the log takes a batch whole.
const STORED_MAX: usize = 1 << 29;

/// What is sorted by, and how.
#[derive(Debug, Clone, Default)]
pub struct Sort<'a> {
    /// BY: instead of by the elements themselves. One without a `*` leaves them in the order they have.
    pub by: Option<Pattern<'a>>,
    /// GET: what is answered for each element instead of itself.
    pub get: Vec<Pattern<'a>>,
    /// LIMIT: so many are skipped, so many are answered; all are if that is negative.
    pub limit: Option<(i64, i64)>,
    /// DESC.
    pub descending: bool,
    /// ALPHA: as bytes, not as numbers.
    pub alpha: bool,
    /// What has no order of its own must get one: the answer is stored, or seen by a script.
    pub stable: bool,
}

/// The name of a key, or of a field of one, with a `*` where the element stands; or `#`, the element.
#[derive(Debug, Clone, Copy)]
pub struct Pattern<'a> {
    text: &'a [u8],
    /// Where the star is.
    star: Option<usize>,
    /// Behind `->`, if there is something.
    field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    /// Reads a pattern.
    pub fn new(text: &'a [u8]) -> Pattern<'a> {
        let star = text.iter().position(|&byte| byte == b'*');
        let behind = star.and_then(|star| text.get(star + 1..)).unwrap_or_default();
        let arrow = behind.windows(2).position(|pair| pair == b"->");
        let field = arrow.and_then(|at| behind.get(at + 2..)).filter(|field| !field.is_empty());
        let text = match field {
            Some(field) => text.get(..text.len() - field.len() - 2).unwrap_or_default(),
            None => text,
        };
        Pattern { text, star, field }
    }

    fn is_element(&self) -> bool {
        self.text == b"#" && self.field.is_none()
    }

    /// Whether it names other keys.
    fn looks_up(&self) -> bool {
        self.star.is_some()
    }

    /// Hands what it stands for to `f`: `None` when there is nothing, or something of another type.
    fn look_up<T>(
        &self,
        r: &mut Read<'_>,
        element: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T> {
        if self.is_element() {
            return Ok(f(Some(element)));
        }
        let Some(star) = self.star else { return Ok(f(None)) };
        let (before, after) = self.text.split_at(star);
        let name = [before, element, after.get(1..).unwrap_or_default()].concat();
        let key = r.key(&name);
        let kind = r.header(key)?.map(|header| header.kind);
        if kind.is_none() {
            r.notify(event_class::MISS, "keymiss", key);
        }
        match (kind, self.field) {
            (Some(Kind::Hash), Some(field)) => hash::get(r, key, field, f),
            (Some(Kind::String), None) => Ok(f(string::get_all(r, key)?.as_deref())),
            _ => Ok(f(None)),
        }
    }
}

/// What an element is sorted by.
#[derive(Debug)]
enum Rank {
    Number(f64),
    /// The element itself.
    Itself,
    Text(Option<Vec<u8>>),
}

struct Entry {
    element: Vec<u8>,
    rank: Rank,
}

impl Entry {
    fn compare(&self, other: &Entry) -> Ordering {
        match (&self.rank, &other.rank) {
            // Equal numbers: by the elements, so that the order is always the same.
            (Rank::Number(a), Rank::Number(b)) => {
                a.partial_cmp(b).unwrap_or(Ordering::Equal).then(self.element.cmp(&other.element))
            }
            (Rank::Text(a), Rank::Text(b)) => a.cmp(b),
            _ => self.element.cmp(&other.element),
        }
    }
}

/// A double as SORT reads it: behind white space, up to a zero byte, and nothing is zero.
fn number_of(text: &[u8]) -> Result<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Ok(0.0);
    }
    number::parse_f64(text)
        .filter(|number| !number.is_nan())
        .ok_or_else(|| Error::reply("ERR One or more scores can't be converted into double"))
}

/// Shows what SORT answers: for each element itself, or one answer for each GET.
///
/// # Errors
/// `WrongType`; what is not a number; `Again`. `each` may have been called before.
pub fn sort(
    r: &mut Read<'_>,
    key: Key<'_>,
    how: &Sort<'_>,
    each: &mut dyn FnMut(Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    if how.by.iter().chain(&how.get).any(Pattern::looks_up) {
        r.require_all()?;
    }
    let elements = ordered(r, key, how)?;
    // What is missing is asked for together, as far as it goes.
    let mut missed = None;
    for element in &elements {
        if how.get.is_empty() {
            each(Some(element))?;
        }
        for pattern in &how.get {
            match pattern.look_up(r, element, &mut *each) {
                Err(e @ Error::Again(_)) => missed = Some(e),
                done => done??,
            }
        }
    }
    missed.map_or(Ok(()), Err)
}

/// Which of `len` elements are wanted: from where on, and how many.
fn window(limit: Option<(i64, i64)>, len: usize) -> (usize, usize) {
    let Some((offset, count)) = limit else { return (0, len) };
    let start = usize::try_from(offset.max(0)).unwrap_or(usize::MAX).min(len);
    let most = len - start;
    let count = usize::try_from(count).map_or(most, |count| count.min(most));
    // With a negative count the end is the end, also when something is skipped.
    (start, count)
}

/// The elements that are wanted, in order.
fn ordered(r: &mut Read<'_>, key: Key<'_>, how: &Sort<'_>) -> Result<Vec<Vec<u8>>> {
    let Some(kind) = r.header(key)?.map(|header| header.kind) else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(Vec::new());
    };
    let mut how = how.clone();
    let mut keeps = how.by.is_some_and(|by| !by.looks_up());
    if keeps && kind == Kind::Set && how.stable {
        (keeps, how.alpha, how.by) = (false, true, None);
    }
    let mut gathered = Gathered::default();
    match kind {
        Kind::List => list::range(r, key, 0, -1, &mut gathered)?,
        Kind::Set => set::all(r, key, &mut gathered)?,
        Kind::ZSet => {
            let all = zset::Range::of(zset::Span::Rank(0, -1));
            let reverse = keeps && how.descending;
            zset::range(r, key, &zset::Range { reverse, ..all }, &mut gathered)?;
        }
        Kind::String | Kind::Hash | Kind::Stream => return Err(Error::WrongType),
    }
    let mut elements = gathered.0;
    let (start, count) = window(how.limit, elements.len());
    if keeps {
        if kind == Kind::List && how.descending {
            elements.reverse();
        }
        return Ok(elements.into_iter().skip(start).take(count).collect());
    }
    let mut entries = ranked(r, elements, &how)?;
    if how.descending {
        arrange(&mut entries, start, count, |a, b| b.compare(a));
    } else {
        arrange(&mut entries, start, count, Entry::compare);
    }
    Ok(entries.into_iter().skip(start).take(count).map(|entry| entry.element).collect())
}

/// Puts those in order that are wanted.
fn arrange(
    entries: &mut [Entry],
    start: usize,
    count: usize,
    compare: impl Fn(&Entry, &Entry) -> Ordering,
) {
    let end = start + count;
    // Equal ones keep their order only if all are sorted.
    let has_ties = entries.first().is_some_and(|entry| matches!(entry.rank, Rank::Text(_)));
    if end < entries.len() / 4 && end > 0 && !has_ties {
        entries.select_nth_unstable_by(end - 1, &compare);
        if let Some(wanted) = entries.get_mut(..end) {
            wanted.sort_by(compare);
        }
    } else {
        entries.sort_by(compare);
    }
}

/// Finds out what each element is sorted by.
fn ranked(r: &mut Read<'_>, elements: Vec<Vec<u8>>, how: &Sort<'_>) -> Result<Vec<Entry>> {
    let (mut entries, mut missed) = (Vec::with_capacity(elements.len()), None);
    for element in elements {
        let rank = match (how.by, how.alpha) {
            (None, true) => Ok(Rank::Itself),
            (None, false) => number_of(&element).map(Rank::Number),
            (Some(by), true) => {
                by.look_up(r, &element, |found| Rank::Text(found.map(<[u8]>::to_vec)))
            }
            (Some(by), false) => by
                .look_up(r, &element, |found| number_of(found.unwrap_or_default()))
                .flatten()
                .map(Rank::Number),
        };
        match rank {
            Ok(rank) => entries.push(Entry { element, rank }),
            // The others are asked for with this one.
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    missed.map_or(Ok(entries), Err)
}

/// The elements of whatever kind.
#[derive(Default)]
struct Gathered(Vec<Vec<u8>>);

impl list::Visit for Gathered {
    fn len(&mut self, len: u64) {
        self.0.reserve(len as usize);
    }

    fn item(&mut self, item: &[u8]) -> Result<()> {
        self.0.push(item.to_vec());
        Ok(())
    }
}

impl set::Visit for Gathered {
    fn len(&mut self, len: u64) {
        self.0.reserve(len as usize);
    }

    fn member(&mut self, member: &[u8]) -> Result<()> {
        self.0.push(member.to_vec());
        Ok(())
    }
}

impl zset::Visit for Gathered {
    fn len(&mut self, len: u64) {
        self.0.reserve(len as usize);
    }

    fn member(&mut self, member: &[u8], _: f64) -> Result<()> {
        self.0.push(member.to_vec());
        Ok(())
    }
}

/// Stores what SORT answers as a list under `to`, whatever was there; its length. Where there is no answer an
/// empty item stands. An empty list deletes the key.
///
/// # Errors
/// As [`sort`]; a list too large for one batch is refused.
pub fn store(w: &mut Write<'_>, key: Key<'_>, to: Key<'_>, how: &Sort<'_>) -> Result<u64> {
    let (mut items, mut size) = (Vec::new(), 0);
    sort(w, key, how, &mut |answer| {
        let item = answer.unwrap_or_default().to_vec();
        size += item.len();
        items.push(item);
        if size > STORED_MAX {
            return Err(Error::reply("ERR the resulting list is too large to be stored"));
        }
        Ok(())
    })?;
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    list::store(w, to, &items, "sortstore")
}

#[cfg(test)]
#[path = "sort/tests.rs"]
mod tests;
