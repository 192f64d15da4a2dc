//! Members of a sorted set whose scores are points inside a shape.

use super::{Point, Shape};
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::Read;
use crate::zset::{self, Range, ScoreEnd, Span, Visit};
use std::cmp::Ordering;

/// A search that needs only a few members looks at so many at a time.
const PIECE: i64 = 256;

/// In which order members are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// In that of the cells around the centre.
    #[default]
    None,
    /// The nearest first.
    Nearest,
    /// The farthest first.
    Farthest,
}

/// What is searched, and how much of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Where.
    pub shape: Shape,
    /// In which order.
    pub sort: Sort,
    /// At most so many members; 0 for all.
    pub count: u64,
    /// Any members do, not only the nearest: the search ends when it has enough.
    pub any: bool,
}

/// A member that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its name.
    pub member: Vec<u8>,
    /// Its score.
    pub score: f64,
    /// Where it is.
    pub point: Point,
    /// How far that is from the centre, in metres.
    pub distance: f64,
}

/// Collects members inside a shape.
struct Collect<'s> {
    shape: &'s Shape,
    found: Vec<Found>,
    /// No more than so many.
    limit: usize,
    /// How many members were shown since somebody asked.
    shown: i64,
}

impl Visit for Collect<'_> {
    fn len(&mut self, _: u64) {}

    fn member(&mut self, member: &[u8], score: f64) -> Result<()> {
        self.shown += 1;
        let point = Point::of_score(score);
        if self.found.len() < self.limit
            && let Some(distance) = self.shape.distance(point)
        {
            self.found.push(Found { member: member.to_vec(), score, point, distance });
        }
        Ok(())
    }
}

/// Searches a sorted set.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn search(r: &mut Read<'_>, key: Key<'_>, search: &Search) -> Result<Vec<Found>> {
    let limit = if search.any && search.count > 0 { search.count as usize } else { usize::MAX };
    let mut collect = Collect { shape: &search.shape, found: Vec::new(), limit, shown: 0 };
    let mut missed = None;
    for (from, to) in search.shape.ranges() {
        let span = Span::Score(ScoreEnd::included(from), ScoreEnd::excluded(to));
        match walk(r, key, span, &mut collect) {
            Ok(()) => {}
            // The other ranges are asked for, too.
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
        if collect.found.len() >= limit {
            break;
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    let mut found = collect.found;
    let nearer =
        |a: &Found, b: &Found| a.distance.partial_cmp(&b.distance).unwrap_or(Ordering::Equal);
    match search.sort {
        // Whoever wants some, and not any, wants the nearest.
        Sort::None if search.count == 0 || search.any => {}
        Sort::None | Sort::Nearest => found.sort_by(nearer),
        Sort::Farthest => found.sort_by(|a, b| nearer(b, a)),
    }
    if search.count > 0 {
        found.truncate(search.count as usize);
    }
    Ok(found)
}

/// Walks over a range of scores; no farther than the collection needs.
fn walk(r: &mut Read<'_>, key: Key<'_>, span: Span<'_>, collect: &mut Collect<'_>) -> Result<()> {
    if collect.limit == usize::MAX {
        return zset::range(r, key, &Range::of(span), collect);
    }
    let mut range = Range { limit: PIECE, ..Range::of(span) };
    loop {
        collect.shown = 0;
        zset::range(r, key, &range, collect)?;
        range.offset += collect.shown;
        if collect.shown < PIECE || collect.found.len() >= collect.limit {
            return Ok(());
        }
    }
}
