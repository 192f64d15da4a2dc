//! A small list that is being changed: the [row](crate::row) that is its header's body.

use super::size;
use crate::error::Result;
use crate::limits::Limits;
use crate::row::{self, Items};
use crate::view::Splice;
use smallvec::SmallVec;
use std::ops::Range;

/// How a body differs from what is stored.
enum Change {
    None,
    /// In one place.
    One(Splice),
    /// In more than one.
    Many,
}

/// See the head of this file.
pub(super) struct Packed {
    body: SmallVec<[u8; 512]>,
    /// The number of items.
    count: u64,
    change: Change,
    /// Redis would call it a quicklist.
    pub(super) is_long: bool,
    was_long: bool,
}

impl Packed {
    pub(super) fn new() -> Packed {
        let (body, change) = (SmallVec::new(), Change::Many);
        Packed { body, count: 0, change, is_long: false, was_long: false }
    }

    pub(super) fn copy(body: &[u8], is_long: bool) -> Result<Packed> {
        let count = count(body)?;
        let body = SmallVec::from_slice(body);
        Ok(Packed { body, count, change: Change::None, is_long, was_long: is_long })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn is_changed(&self) -> bool {
        !matches!(self.change, Change::None) || self.is_long != self.was_long
    }

    /// The only change there is, for the log.
    pub(super) fn only_change(&self) -> Option<&Splice> {
        match &self.change {
            Change::One(splice) if self.is_long == self.was_long => Some(splice),
            _ => None,
        }
    }

    /// The size in Redis's packed form.
    pub(super) fn redis_bytes(&self) -> Result<u64> {
        let (mut items, mut sum) = (Items::new(&self.body), size::EMPTY);
        while let Some(item) = items.next()? {
            sum += size::entry(item);
        }
        Ok(sum)
    }

    /// Items will be added: it may become long.
    pub(super) fn will_grow(&mut self, limits: &Limits, items: &[&[u8]]) -> Result<()> {
        if self.is_long {
            return Ok(());
        }
        let added = items.iter().map(|item| item.len() as u64).sum::<u64>();
        let count = self.count + items.len() as u64;
        // Redis needs at most three bytes more for an entry than we do.
        let bound = size::EMPTY + self.body.len() as u64 + 3 * self.count;
        if size::is_too_large(limits, bound + added, count) {
            let bytes = self.redis_bytes()?;
            self.is_long = size::is_too_large(limits, bytes + added, count);
        }
        Ok(())
    }

    /// Items were taken away: it may be short again.
    pub(super) fn has_shrunk(&mut self, limits: &Limits) -> Result<()> {
        if self.is_long && size::is_small_again(limits, self.redis_bytes()?, self.count) {
            self.is_long = false;
        }
        Ok(())
    }

    /// Puts items in the place of `remove` items from a position on.
    pub(super) fn put(&mut self, at: u64, remove: u64, items: &[&[u8]]) -> Result<()> {
        let start = if at == self.count { self.body.len() } else { row::offset(&self.body, at)? };
        let removed = row::offset(self.body.get(start..).unwrap_or_default(), remove)?;
        let mut insert = SmallVec::new();
        items.iter().for_each(|item| row::push(&mut insert, item));
        self.count = self.count - remove + items.len() as u64;
        self.splice(Splice { at: start, remove: removed, insert });
        Ok(())
    }

    /// Takes away the items in some ranges of positions, which ascend.
    pub(super) fn remove_ranges(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        let (splice, gone) = row::without(&self.body, 0, self.count, ranges)?;
        self.count -= gone;
        if gone > 0 {
            self.splice(splice);
        }
        Ok(())
    }

    fn splice(&mut self, splice: Splice) {
        let (at, end) = (splice.at, splice.at + splice.remove);
        let (old, new) = (self.body.len(), self.body.len() - splice.remove + splice.insert.len());
        if new > old {
            self.body.resize(new, 0);
        }
        self.body.copy_within(end..old, at + splice.insert.len());
        self.body.truncate(new);
        if let Some(room) = self.body.get_mut(at..at + splice.insert.len()) {
            room.copy_from_slice(&splice.insert);
        }
        self.change = match self.change {
            Change::None => Change::One(splice),
            Change::One(_) | Change::Many => Change::Many,
        };
    }
}

/// The number of items in a body.
pub(super) fn count(body: &[u8]) -> Result<u64> {
    let (mut items, mut count) = (Items::new(body), 0);
    while items.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}
