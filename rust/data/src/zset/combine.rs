//! Union, intersection and difference of sorted sets and sets; in a set every score is 1.

use super::store::Scored;
use super::{count, members, scores};
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::set;
use crate::view::{Read, event_class};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;

/// So many members of one input are looked up in the others at a time.
const PIECE: usize = 1024;

/// What is made of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Members that are in any input.
    Union,
    /// Members that are in all inputs.
    Intersection,
    /// Members that are in the first input alone, with their scores there.
    Difference,
}

/// How the scores of a member that is in more than one input become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum; of two opposite infinities that is 0.
    #[default]
    Sum,
    /// The lowest.
    Min,
    /// The highest.
    Max,
}

impl Aggregate {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// What is not a number counts as 0.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A sorted set or a set that is combined with others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input<'k> {
    /// Its key.
    pub key: Key<'k>,
    /// What its scores are multiplied with. Not NaN.
    pub weight: f64,
}

/// An input that was looked at.
struct Source<'k> {
    input: Input<'k>,
    body: Body<'k>,
}

enum Body<'k> {
    Absent,
    /// A sorted set of so many members.
    Sorted(u64),
    Set(set::Source<'k>),
}

impl<'k> Source<'k> {
    fn open(r: &mut Read<'_>, input: Input<'k>) -> Result<Source<'k>> {
        let key = input.key;
        let body = match r.header(key)? {
            None => {
                r.notify(event_class::MISS, "keymiss", key);
                Body::Absent
            }
            Some(header) if header.kind == Kind::ZSet => Body::Sorted(count(&header)?),
            Some(_) => set::Source::open(r, key)?.map_or(Body::Absent, Body::Set),
        };
        Ok(Source { input, body })
    }

    /// Opens all, in the order given; all are asked for before the first that is missing is reported.
    fn open_all(r: &mut Read<'_>, inputs: &[Input<'k>]) -> Result<Vec<Source<'k>>> {
        let (mut sources, mut missed) = (Vec::with_capacity(inputs.len()), None);
        for input in inputs {
            match Source::open(r, *input) {
                Ok(source) => sources.push(source),
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
        }
        missed.map_or(Ok(sources), Err)
    }

    fn len(&self) -> u64 {
        match &self.body {
            Body::Absent => 0,
            Body::Sorted(len) => *len,
            Body::Set(set) => set.len(),
        }
    }

    /// The scores of the members of a piece, `None` for those that are not there.
    fn scores(&self, r: &mut Read<'_>, piece: &[Scored]) -> Result<Vec<Option<f64>>> {
        let mut found = Vec::with_capacity(piece.len());
        match &self.body {
            Body::Absent => found.resize(piece.len(), None),
            Body::Sorted(_) => {
                let names: Vec<&[u8]> = piece.iter().map(|scored| &scored.member[..]).collect();
                scores(r, self.input.key, &names, &mut |score| found.push(score))?;
            }
            Body::Set(set) => {
                let mut missed = None;
                for scored in piece {
                    match set.contains(r, &scored.member) {
                        Ok(there) => found.push(there.then_some(1.0)),
                        Err(e @ Error::Again(_)) => missed = Some(e),
                        Err(e) => return Err(e),
                    }
                }
                return missed.map_or(Ok(found), Err);
            }
        }
        Ok(found)
    }

    /// Calls `each` with pieces of all members and their scores, until it breaks.
    fn pieces(&self, r: &mut Read<'_>, each: &mut EachPiece<'_>) -> Result<()> {
        let set = match &self.body {
            Body::Absent => return Ok(()),
            Body::Sorted(_) => return self.sorted_pieces(r, each),
            Body::Set(set) => set,
        };
        let mut walk = set.walk();
        loop {
            let mut piece = Vec::new();
            while piece.len() < PIECE
                && let Some((_, member)) = walk.peek(r)?
            {
                piece.push(Scored { score: 1.0, member: member.to_vec() });
                walk.advance();
            }
            let is_last = piece.len() < PIECE;
            if each(r, piece)?.is_break() || is_last {
                return Ok(());
            }
        }
    }

    fn sorted_pieces(&self, r: &mut Read<'_>, each: &mut EachPiece<'_>) -> Result<()> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut piece = Vec::new();
            members(r, self.input.key, last.as_deref(), &mut |member, score| {
                piece.push(Scored { score, member: member.to_vec() });
                let full = piece.len() == PIECE;
                Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            let is_last = piece.len() < PIECE;
            last = piece.last().map(|scored| scored.member.clone());
            if each(r, piece)?.is_break() || is_last {
                return Ok(());
            }
        }
    }
}

/// What is done with a piece of an input.
type EachPiece<'f> = dyn FnMut(&mut Read<'_>, Vec<Scored>) -> Result<ControlFlow<()>> + 'f;

/// Refuses inputs that are neither sorted sets nor sets.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn judge(r: &mut Read<'_>, inputs: &[Input<'_>]) -> Result<()> {
    Source::open_all(r, inputs)?;
    Ok(())
}

/// Combines inputs; the result is in order. `aggregate` and the weights mean nothing to a difference.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn combine(
    r: &mut Read<'_>,
    operation: Operation,
    inputs: &[Input<'_>],
    aggregate: Aggregate,
) -> Result<Vec<Scored>> {
    let mut sources = Source::open_all(r, inputs)?;
    if operation != Operation::Difference {
        // Scores are added up in this order: what is rounded off depends on it.
        sources.sort_by_key(Source::len);
    }
    let mut result = match operation {
        Operation::Union => union(r, &sources, aggregate)?,
        Operation::Intersection => {
            let mut result = Vec::new();
            intersection(r, &sources, aggregate, &mut |scored| {
                result.push(scored);
                true
            })?;
            result
        }
        Operation::Difference => difference(r, &sources)?,
    };
    Scored::sort(&mut result);
    Ok(result)
}

/// How many members are in all inputs, counted up to `limit`; 0 is no limit.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn intersection_size(r: &mut Read<'_>, inputs: &[Input<'_>], limit: u64) -> Result<u64> {
    let mut sources = Source::open_all(r, inputs)?;
    sources.sort_by_key(Source::len);
    let mut size = 0;
    intersection(r, &sources, Aggregate::Sum, &mut |_| {
        size += 1;
        size != limit
    })?;
    Ok(size)
}

fn union(r: &mut Read<'_>, sources: &[Source<'_>], aggregate: Aggregate) -> Result<Vec<Scored>> {
    let mut all: HashMap<Vec<u8>, f64> = HashMap::new();
    for source in sources {
        source.pieces(r, &mut |_, piece| {
            for Scored { score, member } in piece {
                let score = number(score * source.input.weight);
                match all.entry(member) {
                    Entry::Vacant(entry) => {
                        entry.insert(score);
                    }
                    Entry::Occupied(mut entry) => {
                        let old = *entry.get();
                        entry.insert(aggregate.apply(old, score));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(all.into_iter().map(|(member, score)| Scored { score, member }).collect())
}

/// Hands the members that are in all sources to `each`, until it answers false. The smallest source is the
/// first.
fn intersection(
    r: &mut Read<'_>,
    sources: &[Source<'_>],
    aggregate: Aggregate,
    each: &mut dyn FnMut(Scored) -> bool,
) -> Result<()> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    if first.len() == 0 {
        return Ok(());
    }
    first.pieces(r, &mut |r, mut piece| {
        for scored in &mut piece {
            scored.score = number(scored.score * first.input.weight);
        }
        for other in others {
            let found = other.scores(r, &piece)?;
            let mut found = found.iter();
            piece.retain_mut(|scored| {
                let Some(Some(score)) = found.next() else { return false };
                scored.score = aggregate.apply(scored.score, score * other.input.weight);
                true
            });
        }
        let goes_on = piece.into_iter().all(&mut *each);
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
}

fn difference(r: &mut Read<'_>, sources: &[Source<'_>]) -> Result<Vec<Scored>> {
    let mut result = Vec::new();
    let Some((first, others)) = sources.split_first() else { return Ok(result) };
    first.pieces(r, &mut |r, mut piece| {
        for other in others.iter().filter(|other| other.len() > 0) {
            let found = other.scores(r, &piece)?;
            let mut found = found.iter();
            piece.retain(|_| !matches!(found.next(), Some(Some(_))));
        }
        result.append(&mut piece);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(result)
}
