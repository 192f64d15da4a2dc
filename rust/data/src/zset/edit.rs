//! One command's change of a sorted set.
//!
//! A command opens the sorted set, finds, puts and removes members, and finishes: then the header is written
//! if need be, or the key deleted when no member is left. Of a packed one the whole body is changed in a
//! buffer; of an exploded one each member is staged as it comes, and the header only when it says something
//! new.

use super::exploded::{Each, Exploded};
use super::packed::{Buffer, Entry, Spot};
use super::{PACKED_MAX, Visit};
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Write, event_class};

/// Of a body this large the log gets only what changes; a smaller one costs it no more as a whole, and
/// recovery less.
const PATCH_MIN: usize = 256;

#[expect(clippy::large_enum_variant, reason = "on the stack, where a packed body is copied to")]
enum Body {
    Packed(Buffer),
    Exploded(Exploded),
}

/// What was found of a member.
pub(super) struct Found {
    pub(super) score: Option<f64>,
    /// Where it is in a packed body.
    spot: Option<Spot>,
}

/// See the head of this file.
pub(super) struct Edit<'k> {
    key: Key<'k>,
    /// The key's expiry.
    expire_ms: Option<u64>,
    /// Whether the key is not there yet.
    is_new: bool,
    body: Body,
    /// Whether the header has to be written.
    changed: bool,
    /// All members are gone at once, and their records were not touched.
    cleared: bool,
    /// Something was not in memory. The command goes on as if the member were absent, so that all it needs
    /// is loaded together, and fails in the end.
    missed: Option<Error>,
}

impl<'k> Edit<'k> {
    #[inline]
    pub(super) fn open(w: &mut Write<'_>, key: Key<'k>) -> Result<Edit<'k>> {
        let (mut is_new, mut expire_ms) = (true, None);
        let body = match w.header_of(key, Kind::ZSet)? {
            None => Body::Packed(Buffer::copy(&[])),
            Some(header) => {
                is_new = false;
                expire_ms = header.expire_ms;
                if header.is_exploded() {
                    Body::Exploded(Exploded::decode(&header)?)
                } else {
                    Body::Packed(Buffer::copy(header.body))
                }
            }
        };
        Ok(Edit { key, expire_ms, is_new, body, changed: false, cleared: false, missed: None })
    }

    /// Whether the key is not there.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    fn is_empty(&self) -> bool {
        self.cleared
            || match &self.body {
                Body::Packed(buffer) => buffer.is_empty(),
                Body::Exploded(exploded) => exploded.count() == 0,
            }
    }

    /// The number of members.
    pub(super) fn count(&self) -> Result<u64> {
        match &self.body {
            Body::Packed(buffer) => buffer.packed().count(),
            Body::Exploded(exploded) => Ok(exploded.count()),
        }
    }

    /// Looks for a member.
    #[inline]
    pub(super) fn find(&mut self, w: &mut Write<'_>, member: &[u8]) -> Result<Found> {
        match &self.body {
            Body::Packed(buffer) => {
                let spot = buffer.find(member)?;
                Ok(Found { score: spot.as_ref().map(|spot| spot.score), spot })
            }
            Body::Exploded(exploded) => {
                let score = match exploded.score(w, self.key, member) {
                    Err(e @ Error::Again(_)) => {
                        self.missed = Some(e);
                        None
                    }
                    score => score?,
                };
                Ok(Found { score, spot: None })
            }
        }
    }

    /// Puts a member in, or gives it another score. `found` is what was found of it; nothing has changed
    /// since.
    #[inline]
    pub(super) fn put(
        &mut self,
        w: &mut Write<'_>,
        member: &[u8],
        found: Found,
        score: f64,
    ) -> Result<()> {
        let limits = w.limits();
        let too_long = member.len() as u64 > limits.zset_max_listpack_value;
        if let Body::Packed(_) = self.body
            && (too_long || member.len() > PACKED_MAX)
        {
            self.explode(w)?;
        }
        let absent = found.score.is_none();
        match &mut self.body {
            Body::Packed(buffer) => {
                buffer.put(found.spot, member, score)?;
                self.changed = true;
                let full = absent && buffer.packed().count()? > limits.zset_max_listpack_entries;
                if full || buffer.bytes().len() > PACKED_MAX {
                    self.explode(w)?;
                }
            }
            Body::Exploded(exploded) => {
                if self.missed.is_some() {
                    exploded.ask(w, self.key, member, score);
                    return Ok(());
                }
                let before = *exploded;
                let full = absent && exploded.count() >= limits.zset_max_listpack_entries;
                exploded.within_limits &= !(full || too_long);
                // As the packed form does.
                let score = if exploded.within_limits { score + 0.0 } else { score };
                let done = match found.score {
                    None => exploded.insert(w, self.key, member, score),
                    Some(old) => exploded.change(w, self.key, member, old, score),
                };
                self.changed |= *exploded != before;
                self.note(done)?;
            }
        }
        Ok(())
    }

    /// Takes a member out; `found` is what was found of it.
    pub(super) fn remove(&mut self, w: &mut Write<'_>, member: &[u8], found: Found) -> Result<()> {
        match (&mut self.body, found) {
            (Body::Packed(buffer), Found { spot: Some(spot), .. }) => buffer.remove(spot),
            (Body::Exploded(exploded), Found { score: Some(score), .. }) => {
                if self.missed.is_some() {
                    exploded.ask(w, self.key, member, score);
                    return Ok(());
                }
                let done = exploded.remove(w, self.key, member, score);
                self.note(done)?;
            }
            _ => return Ok(()),
        }
        self.changed = true;
        Ok(())
    }

    /// Keeps in mind that something was not in memory.
    fn note(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Err(e @ Error::Again(_)) => {
                self.missed = Some(e);
                Ok(())
            }
            done => done,
        }
    }

    /// The ranks that a span means: the first, and the one behind the last.
    pub(super) fn bounds(&self, w: &mut Write<'_>, span: &super::Span<'_>) -> Result<(u64, u64)> {
        match &self.body {
            Body::Packed(buffer) => buffer.packed().bounds(span),
            Body::Exploded(exploded) => exploded.bounds(w, self.key, span),
        }
    }

    /// Takes out the members of the ranks `lo..hi` and forgets them.
    pub(super) fn remove_ranks(&mut self, w: &mut Write<'_>, (lo, hi): (u64, u64)) -> Result<()> {
        if lo >= hi {
            return Ok(());
        }
        self.changed = true;
        match &mut self.body {
            Body::Packed(buffer) => buffer.remove_ranks((lo, hi), &mut |_| ()),
            Body::Exploded(exploded) if hi - lo == exploded.count() => {
                self.cleared = true;
                Ok(())
            }
            Body::Exploded(exploded) => {
                exploded.remove_ranks(w, self.key, (lo, hi), &mut |_, _| Ok(()))
            }
        }
    }

    /// Takes out `n` members with the lowest scores, or the highest, after `visit` has seen them.
    pub(super) fn pop(
        &mut self,
        w: &mut Write<'_>,
        highest: bool,
        n: u64,
        visit: &mut dyn Visit,
    ) -> Result<()> {
        let count = self.count()?;
        let n = n.min(count);
        let (lo, hi) = if highest { (count - n, count) } else { (0, n) };
        visit.len(n);
        match &self.body {
            Body::Packed(buffer) => {
                let all = buffer.packed().all()?;
                let popped = all.get(lo as usize..hi as usize).unwrap_or_default();
                let mut each = |entry: &Entry<'_>| visit.member(entry.member, entry.score);
                if highest {
                    popped.iter().rev().try_for_each(&mut each)?;
                } else {
                    popped.iter().try_for_each(&mut each)?;
                }
            }
            Body::Exploded(exploded) => {
                let each: &mut Each<'_> = &mut |member, score| visit.member(member, score);
                exploded.show(w, self.key, (lo, hi), highest, each)?;
            }
        }
        self.remove_ranks(w, (lo, hi))
    }

    /// Gives every member a record of its own.
    fn explode(&mut self, w: &mut Write<'_>) -> Result<()> {
        let Body::Packed(buffer) = &self.body else { return Ok(()) };
        let limits = w.limits();
        let entries = buffer.packed().all()?;
        let mut exploded = Exploded::new(w.new_generation(self.key));
        exploded.within_limits = entries.len() as u64 <= limits.zset_max_listpack_entries;
        let members: Vec<(f64, &[u8])> = entries.iter().map(|e| (e.score, e.member)).collect();
        exploded.within_limits &=
            members.iter().all(|(_, member)| member.len() as u64 <= limits.zset_max_listpack_value);
        exploded.fill(w, self.key, &members)?;
        drop((members, entries));
        self.body = Body::Exploded(exploded);
        self.changed = true;
        Ok(())
    }

    /// Writes what has changed and tells `event`, and "del" when no member is left.
    ///
    /// # Errors
    /// `Again` when something was not in memory.
    pub(super) fn finish(&mut self, w: &mut Write<'_>, event: Option<&'static str>) -> Result<()> {
        if let Some(missed) = self.missed.take() {
            return Err(missed);
        }
        let key = self.key;
        let empty = self.changed && self.is_empty();
        if empty {
            if !self.is_new {
                if let Body::Exploded(_) = self.body {
                    w.orphan();
                }
                w.delete_header(key, self.expire_ms);
            }
        } else if self.changed {
            if self.is_new {
                w.notify(event_class::NEW, "new", key);
            }
            self.write(w)?;
        }
        if let Some(name) = event {
            w.notify(event_class::ZSET, name, key);
        }
        if empty && !self.is_new {
            w.notify(event_class::GENERIC, "del", key);
        }
        Ok(())
    }

    fn write(&self, w: &mut Write<'_>) -> Result<()> {
        let (key, expire_ms, kind) = (self.key, self.expire_ms, Kind::ZSet);
        match &self.body {
            Body::Packed(buffer) => {
                let body = buffer.bytes();
                if !self.is_new
                    && body.len() >= PATCH_MIN
                    && let Some((change, insert)) = buffer.change()
                    && 2 * insert.len() < body.len()
                {
                    return w.stage_header_patch(key, change.at, change.removed(), insert);
                }
                let header = Header { kind, encoding: encoding::PACKED, expire_ms, body };
                w.put_header(key, &header, expire_ms);
            }
            Body::Exploded(exploded) => {
                let body = exploded.encode();
                let header = Header { kind, encoding: encoding::EXPLODED, expire_ms, body: &body };
                w.put_header(key, &header, expire_ms);
            }
        }
        Ok(())
    }
}
