//! Unions, intersections and differences, of sets of any size, page by page.
//!
//! A difference walks the first set, an intersection the smallest, and asks of each page which members the
//! other sets hold: by walking them, too, if they are not much larger, or by looking the members up. A
//! union walks all sets side by side.

use super::Class;
use super::exploded::{Exploded, parse_sub};
use super::members::{Members, member};
use super::source::{Source, Walk, open_all};
use super::{INTS, PACKED_MAX, ints, packed};
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use forgekv_base::number::parse_i64;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

/// To walk past so many members costs about as much as to look one up.
const WALKED_PER_LOOKUP: u64 = 4;
/// No command stages a larger result, in bytes: the log takes a batch whole.
const RESULT_MAX: usize = 1 << 29;

/// What is made of several sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The members of any of them.
    Union,
    /// The members that all of them hold.
    Intersection,
    /// The members of the first that no other holds.
    Difference,
}

type Each<'f> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>> + 'f;

/// Shows the members of what an operation makes of the sets of `keys`, in no order that a client may rely
/// on, until `each` breaks. A key that is absent is an empty set.
///
/// # Errors
/// `WrongType` when any key holds another type, `Again`, or what `each` answers; it may have been called
/// before.
pub fn combine(
    r: &mut Read<'_>,
    operation: Operation,
    keys: &[Key<'_>],
    each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    run(r, operation, keys, &mut |sub| each(member(sub)?))
}

/// As [`combine`], with sub-keys.
fn run(
    r: &mut Read<'_>,
    operation: Operation,
    keys: &[Key<'_>],
    each: &mut Each<'_>,
) -> Result<()> {
    let mut sources = open_all(r, keys)?;
    match operation {
        Operation::Union => union(r, &sources.into_iter().flatten().collect::<Vec<_>>(), each),
        Operation::Intersection => {
            if sources.iter().any(Option::is_none) {
                return Ok(());
            }
            let mut sources: Vec<_> = sources.into_iter().flatten().collect();
            sources.sort_by_key(Source::len);
            match sources.split_first() {
                Some((first, others)) => filter(r, first, others, true, each),
                None => Ok(()),
            }
        }
        Operation::Difference => {
            if sources.is_empty() {
                return Ok(());
            }
            let Some(first) = sources.remove(0) else { return Ok(()) };
            let mut others: Vec<_> = sources.into_iter().flatten().collect();
            // The largest takes away most.
            others.sort_by_key(|source| Reverse(source.len()));
            filter(r, &first, &others, false, each)
        }
    }
}

/// Another set, beside which a walk is made.
enum Test<'s> {
    LookUp(&'s Source<'s>),
    Walk(Walk<'s>),
}

impl Test<'_> {
    /// Strikes out the members of a page for which it is not `wanted` that this set holds them. What is
    /// missing of all of them is asked for before the first is reported.
    fn strike(
        &mut self,
        r: &mut Read<'_>,
        page: &Members,
        kept: &mut [bool],
        wanted: bool,
    ) -> Result<()> {
        let mut missed = None;
        for (sub, keep) in page.iter().zip(kept).filter(|(_, keep)| **keep) {
            let holds = match self {
                Test::LookUp(source) => match source.holds(r, sub) {
                    Err(e @ Error::Again(_)) => {
                        missed = Some(e);
                        continue;
                    }
                    done => done?,
                },
                Test::Walk(walk) => loop {
                    match walk.peek_sub(r)?.map(|other| other.cmp(sub)) {
                        Some(std::cmp::Ordering::Less) => walk.advance(),
                        found => break found == Some(std::cmp::Ordering::Equal),
                    }
                },
            };
            *keep = holds == wanted;
        }
        missed.map_or(Ok(()), Err)
    }
}

/// The members of `first` that all others hold, or, unless `wanted`, none.
fn filter(
    r: &mut Read<'_>,
    first: &Source<'_>,
    others: &[Source<'_>],
    wanted: bool,
    each: &mut Each<'_>,
) -> Result<()> {
    let mut tests: Vec<Test<'_>> = others
        .iter()
        .map(|other| {
            let near = other.len() / WALKED_PER_LOOKUP <= first.len();
            if other.is_large() && first.is_large() && near {
                Test::Walk(other.walk())
            } else {
                Test::LookUp(other)
            }
        })
        .collect();
    let (mut walk, mut page, mut kept) = (first.walk(), Members::default(), Vec::new());
    while walk.next_page(r, &mut page)? {
        kept.clear();
        kept.resize(page.len(), true);
        let mut missed = None;
        for test in &mut tests {
            match test.strike(r, &page, &mut kept, wanted) {
                Err(e @ Error::Again(_)) => missed = Some(e),
                done => done?,
            }
        }
        if let Some(missed) = missed {
            return Err(missed);
        }
        for (sub, _) in page.iter().zip(&kept).filter(|(_, keep)| **keep) {
            if each(sub)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The members of all sets, each once.
fn union(r: &mut Read<'_>, sources: &[Source<'_>], each: &mut Each<'_>) -> Result<()> {
    let mut walks: Vec<Walk<'_>> = sources.iter().map(Source::walk).collect();
    let mut next: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::with_capacity(walks.len());
    let mut missed = None;
    for (number, walk) in walks.iter_mut().enumerate() {
        match walk.peek(r) {
            Ok(Some((hash, _))) => next.push(Reverse((hash, number))),
            Ok(None) => {}
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    // Members that have their hash in common: nearly always one member, of one set or of several.
    let mut group = Members::default();
    while let Some(&Reverse((hash, _))) = next.peek() {
        group.clear();
        while let Some(&Reverse((same, number))) = next.peek()
            && same == hash
        {
            next.pop();
            let Some(walk) = walks.get_mut(number) else { continue };
            while let Some(sub) = walk.peek_sub(r)? {
                let (other, _) = parse_sub(sub)?;
                if other != hash {
                    next.push(Reverse((other, number)));
                    break;
                }
                if group.last() != Some(sub) {
                    group.push(sub);
                }
                walk.advance();
            }
        }
        if group.len() > 1 {
            group = group.sorted();
        }
        for sub in group.iter() {
            if each(sub)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Stores what an operation makes of the sets of `keys` under `to`, whatever was there; how many members it
/// has. An empty result deletes the key. `event` is told.
///
/// # Errors
/// As [`combine`]; a result too large for one batch is refused.
pub fn store(
    w: &mut Write<'_>,
    operation: Operation,
    to: Key<'_>,
    keys: &[Key<'_>],
    event: &'static str,
) -> Result<u64> {
    // Everything is read before anything is staged, so that what is staged is not searched on the way.
    let mut members = Members::default();
    run(w, operation, keys, &mut |sub| {
        members.push(sub);
        if members.size() > RESULT_MAX {
            return Err(Error::reply("ERR the resulting set is too large to be stored"));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let before = w.header(to)?.map(|header| (header.expire_ms, header.generation().is_some()));
    if let Some((_, true)) = before {
        w.orphan();
    }
    let before_ms = before.and_then(|(expire_ms, _)| expire_ms);
    if members.is_empty() {
        if before.is_some() {
            w.delete_header(to, before_ms);
            w.event(event_class::GENERIC, "del", to);
        }
        return Ok(0);
    }
    if before.is_none() {
        w.notify(event_class::NEW, "new", to);
    }
    put(w, to, &members, before_ms, None)?;
    w.event(event_class::SET, event, to);
    Ok(members.len() as u64)
}

/// Stores members, all different, as a key's set. `before_ms` is the expiry of what it replaces.
pub(super) fn put(
    w: &mut Write<'_>,
    key: Key<'_>,
    members: &Members,
    before_ms: Option<u64>,
    expire_ms: Option<u64>,
) -> Result<()> {
    let class = classify(w, members)?;
    let put = |w: &mut Write<'_>, encoding: u8, body: &[u8]| {
        let header = Header { kind: Kind::Set, encoding, expire_ms, body };
        w.put_header(key, &header, before_ms);
    };
    match class {
        Class::Intset if members.len() <= PACKED_MAX / 8 => {
            let mut values: Vec<i64> = Vec::with_capacity(members.len());
            for sub in members.iter() {
                values.extend(parse_i64(member(sub)?));
            }
            values.sort_unstable();
            let mut buffer = ints::Buffer::new();
            for value in values {
                buffer.insert(value)?;
            }
            put(w, INTS, buffer.body().bytes());
        }
        Class::Listpack if members.size() <= PACKED_MAX => {
            let mut buffer = packed::Buffer::new();
            for sub in members.iter() {
                buffer.push(member(sub)?);
            }
            put(w, encoding::PACKED, buffer.body().bytes());
        }
        class => {
            let generation = w.new_generation(key);
            for sub in members.iter() {
                w.put_element(key, generation, sub, &[]);
            }
            let count = members.len() as u64;
            put(w, encoding::EXPLODED, &Exploded { generation, count, class }.encode());
        }
    }
    Ok(())
}

fn classify(r: &Read<'_>, members: &Members) -> Result<Class> {
    let (limits, count) = (r.limits(), members.len() as u64);
    let (mut longest, mut all_ints) = (0, count <= limits.set_max_intset_entries);
    if !all_ints && count > limits.set_max_listpack_entries {
        return Ok(Class::Hashtable);
    }
    for sub in members.iter() {
        let member = member(sub)?;
        longest = longest.max(member.len() as u64);
        all_ints = all_ints && parse_i64(member).is_some();
    }
    let listpack =
        count <= limits.set_max_listpack_entries && longest <= limits.set_max_listpack_value;
    Ok(match (all_ints, listpack) {
        (true, _) => Class::Intset,
        (false, true) => Class::Listpack,
        (false, false) => Class::Hashtable,
    })
}
