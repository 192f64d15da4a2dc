//! A set as one of several from which something is computed: its size, its members in order, membership.
//!
//! All sets have one order: that of their members' hashes. Packed ones are brought into it, exploded ones
//! lie in it. So two sets of whatever size are joined by walking them side by side, a page in memory.

use super::exploded::{Exploded, Sub, parse_sub};
use super::members::Members;
use super::{Packing, each_packed};
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, event_class};
use std::ops::{Bound, ControlFlow};

/// The first page of a walk has so many members, and each one twice as many as the one before: who stops
/// early has not read much.
const FIRST_PAGE: usize = 64;
/// No page has more.
const PAGE: usize = 4096;
/// Nor is it much larger, in bytes.
const PAGE_BYTES: usize = 128 << 10;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Source<'k> {
    key: Key<'k>,
    seed: u64,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Small {
        /// The members in the order in which the set shows them.
        given: Members,
        /// The members as they would lie in an exploded set.
        sorted: Members,
    },
    Large(Exploded),
}

impl<'k> Source<'k> {
    /// A key's set; `None` when the key is absent.
    ///
    /// # Errors
    /// `WrongType`, or `Again`.
    pub fn open(r: &mut Read<'_>, key: Key<'k>) -> Result<Option<Source<'k>>> {
        let seed = r.place_seed();
        let Some(header) = r.header_of(key, Kind::Set)? else {
            r.notify(event_class::MISS, "keymiss", key);
            return Ok(None);
        };
        let body = match Packing::of(&header)? {
            Packing::Exploded(exploded) => Body::Large(exploded),
            small => {
                let mut given = Members::default();
                each_packed(small, &mut |member| {
                    given.push(Sub::new(seed, member).bytes());
                    Ok(())
                })?;
                Body::Small { sorted: given.sorted(), given }
            }
        };
        Ok(Some(Source { key, seed, body }))
    }

    /// The number of members.
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Small { sorted, .. } => sorted.len() as u64,
            Body::Large(exploded) => exploded.count,
        }
    }

    /// Whether there are no members: never, of a set that is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a member is there.
    ///
    /// # Errors
    /// `Again`.
    pub fn contains(&self, r: &mut Read<'_>, member: &[u8]) -> Result<bool> {
        self.holds(r, Sub::new(self.seed, member).bytes())
    }

    /// As [`contains`](Self::contains), of a sub-key.
    pub(super) fn holds(&self, r: &mut Read<'_>, sub: &[u8]) -> Result<bool> {
        match &self.body {
            Body::Small { sorted, .. } => Ok(sorted.holds(sub)),
            Body::Large(Exploded { generation, .. }) => {
                Ok(r.element(self.key, *generation, sub)?.is_some())
            }
        }
    }

    /// Whether members are records of their own.
    pub(super) fn is_large(&self) -> bool {
        matches!(self.body, Body::Large(_))
    }

    /// The members in order of their hashes.
    pub fn walk(&self) -> Walk<'_> {
        Walk { source: self, page: Members::default(), at: 0, size: FIRST_PAGE, is_last: false }
    }
}

/// A walk over the members of a [`Source`].
#[derive(Debug)]
pub struct Walk<'s> {
    source: &'s Source<'s>,
    /// Of a large set: what was read last.
    page: Members,
    /// The number of the next member, of the page or the small set.
    at: usize,
    /// How many members the next page will have.
    size: usize,
    /// Whether there is no page after this one.
    is_last: bool,
}

impl Walk<'_> {
    /// The next member with its hash, by which and then by the member itself the walk is ordered; `None` at
    /// the end. Stays there until [`advance`](Self::advance).
    ///
    /// # Errors
    /// `Again`: the whole command has to run again.
    pub fn peek(&mut self, r: &mut Read<'_>) -> Result<Option<(u64, &[u8])>> {
        self.peek_sub(r)?.map(parse_sub).transpose()
    }

    /// Goes past what [`peek`](Self::peek) shows.
    pub fn advance(&mut self) {
        self.at += 1;
    }

    /// As [`peek`](Self::peek), the whole sub-key.
    #[inline]
    pub(super) fn peek_sub(&mut self, r: &mut Read<'_>) -> Result<Option<&[u8]>> {
        match &self.source.body {
            Body::Small { sorted, .. } => Ok(sorted.get(self.at)),
            Body::Large(exploded) => {
                if self.at >= self.page.len() && !self.is_last {
                    self.fill(r, exploded.generation)?;
                }
                Ok(self.page.get(self.at))
            }
        }
    }

    /// Puts the next members into `page`; false at the end. Those of a small set come all at once, and in its
    /// own order.
    pub(super) fn next_page(&mut self, r: &mut Read<'_>, page: &mut Members) -> Result<bool> {
        page.clear();
        match &self.source.body {
            Body::Small { given, .. } => {
                if !std::mem::replace(&mut self.is_last, true) {
                    page.clone_from(given);
                }
            }
            Body::Large(exploded) if !self.is_last => {
                self.fill(r, exploded.generation)?;
                page.clone_from(&self.page);
            }
            Body::Large(_) => {}
        }
        Ok(!page.is_empty())
    }

    fn fill(&mut self, r: &mut Read<'_>, generation: u64) -> Result<()> {
        let after = self.page.last().map(<[u8]>::to_vec);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (page, size) = (&mut self.page, self.size);
        page.clear();
        self.at = 0;
        let mut is_last = true;
        let (owner, to) = (self.source.key, Bound::Unbounded);
        r.scan_elements(owner, generation, from, to, false, &mut |sub, _| {
            page.push(sub);
            if page.len() >= size || page.size() >= PAGE_BYTES {
                is_last = false;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.is_last = is_last;
        self.size = (2 * size).min(PAGE);
        Ok(())
    }
}

/// Opens many sets; what is not in memory of all of them is asked for before the first is reported.
pub(super) fn open_all<'k>(r: &mut Read<'_>, keys: &[Key<'k>]) -> Result<Vec<Option<Source<'k>>>> {
    let (mut sources, mut missed) = (Vec::with_capacity(keys.len()), None);
    for &key in keys {
        match Source::open(r, key) {
            Ok(source) => sources.push(source),
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    missed.map_or(Ok(sources), Err)
}
