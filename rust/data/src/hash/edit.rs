//! One command's change of a hash.
//!
//! A command opens the hash, gets and sets fields, and finishes: then the header is written if need be, or
//! the key deleted when no field is left. Of a packed hash the whole body is changed in a buffer; of an
//! exploded one each field is staged as it comes, and the header only when it says something new.
//!
//! A field that has expired is taken away when it is met. Reads do that, too, so this works on [`Read`].

use super::exploded::{self, Element, Exploded, Sub};
use super::packed::{self, Buffer};
use super::{PACKED_MAX, TIMED};
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Read, event_class};
use smallvec::SmallVec;

/// Of a body this large the log gets only what changes; a smaller one costs it no more as a whole, and
/// recovery less.
const PATCH_MIN: usize = 256;

/// A field that has not expired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) value: &'a [u8],
    pub(super) expire_ms: Option<u64>,
}

/// What becomes of a field's expiry when its value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    Clear,
    Keep,
    At(u64),
}

#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Body {
    Packed(Buffer),
    Exploded(Exploded),
}

/// See the head of this file.
pub(super) struct Edit<'k> {
    key: Key<'k>,
    now_ms: u64,
    /// The key's own expiry.
    expire_ms: Option<u64>,
    /// Whether the key is not there yet.
    is_new: bool,
    /// The entry in the TTL index that a packed hash has for its fields.
    entered: Option<u64>,
    body: Body,
    /// Whether the header has to be written.
    changed: bool,
    /// Whether expired fields were met.
    met_expired: bool,
    /// A field was not in memory. The command goes on as if it were absent, so that all fields it asks for
    /// are loaded together, and fails in the end.
    missed: Option<Error>,
}

impl<'k> Edit<'k> {
    pub(super) fn open(r: &mut Read<'_>, key: Key<'k>) -> Result<Edit<'k>> {
        let now_ms = r.now_ms();
        let mut edit = Edit {
            key,
            now_ms,
            expire_ms: None,
            is_new: true,
            entered: None,
            body: Body::Packed(Buffer::new()),
            changed: false,
            met_expired: false,
            missed: None,
        };
        if let Some(header) = r.header_of(key, Kind::Hash)? {
            edit.is_new = false;
            edit.expire_ms = header.expire_ms;
            edit.entered = super::first_expiry(&header);
            edit.body = if header.is_exploded() {
                Body::Exploded(Exploded::decode(&header)?)
            } else {
                Body::Packed(Buffer::copy(header.encoding == TIMED, header.body)?)
            };
        }
        Ok(edit)
    }

    /// Whether the key is not there.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    fn is_empty(&self) -> bool {
        match &self.body {
            Body::Packed(buffer) => buffer.is_empty(),
            Body::Exploded(exploded) => exploded.count == 0,
        }
    }

    /// Hands a field to `f`, `None` when it is absent.
    #[inline]
    pub(super) fn get<T>(
        &mut self,
        r: &mut Read<'_>,
        field: &[u8],
        f: impl FnOnce(Option<Field<'_>>) -> T,
    ) -> Result<T> {
        match &mut self.body {
            Body::Packed(buffer) => {
                let spot = match buffer.find(field)? {
                    None => return Ok(f(None)),
                    Some((_, entry)) if entry.is_live(self.now_ms) => {
                        let packed::Entry { value, expire_ms, .. } = entry;
                        return Ok(f(Some(Field { value, expire_ms })));
                    }
                    Some((spot, _)) => spot,
                };
                buffer.remove(spot);
                self.changed = true;
                self.met_expired = true;
            }
            Body::Exploded(exploded) => {
                let generation = exploded.generation;
                let sub = Sub::new(r.place_seed(), field);
                let expire_ms = match r.element(self.key, generation, sub.bytes()) {
                    Err(e @ Error::Again(_)) => {
                        self.missed = Some(e);
                        return Ok(f(None));
                    }
                    Err(e) => return Err(e),
                    Ok(None) => return Ok(f(None)),
                    Ok(Some(bytes)) => {
                        let Element { value, expire_ms } = Element::decode(bytes)?;
                        if expire_ms.is_none_or(|at| at > self.now_ms) {
                            return Ok(f(Some(Field { value, expire_ms })));
                        }
                        expire_ms
                    }
                };
                self.drop_element(r, field, &sub, expire_ms);
                self.met_expired = true;
            }
        }
        Ok(f(None))
    }

    /// Whether a field is there.
    pub(super) fn contains(&mut self, r: &mut Read<'_>, field: &[u8]) -> Result<bool> {
        self.get(r, field, |found| found.is_some())
    }

    /// Sets a field; true when it was absent.
    #[inline]
    pub(super) fn set(
        &mut self,
        r: &mut Read<'_>,
        field: &[u8],
        value: &[u8],
        ttl: Ttl,
    ) -> Result<bool> {
        let limits = r.limits();
        let longest = field.len().max(value.len());
        let too_long = longest as u64 > limits.hash_max_listpack_value;
        if let Body::Packed(_) = self.body
            && (too_long || longest > PACKED_MAX)
        {
            self.explode(r)?;
        }
        match &mut self.body {
            Body::Packed(buffer) => {
                let spot = buffer.find(field)?.map(|(spot, _)| spot);
                let old = spot.as_ref().map(|spot| spot.expire_ms);
                let (absent, expire_ms) = after(old, ttl, self.now_ms);
                buffer.put(spot, field, value, expire_ms)?;
                self.changed = true;
                let full = absent && buffer.count()? > limits.hash_max_listpack_entries;
                if full || buffer.len() > PACKED_MAX {
                    self.explode(r)?;
                }
                Ok(absent)
            }
            Body::Exploded(_) => self.set_element(r, field, value, ttl, too_long),
        }
    }

    fn set_element(
        &mut self,
        r: &mut Read<'_>,
        field: &[u8],
        value: &[u8],
        ttl: Ttl,
        too_long: bool,
    ) -> Result<bool> {
        let Body::Exploded(exploded) = &mut self.body else { return Ok(false) };
        let generation = exploded.generation;
        let sub = Sub::new(r.place_seed(), field);
        let old = match r.element(self.key, generation, sub.bytes()) {
            Ok(bytes) => bytes.map(Element::decode).transpose()?.map(|element| element.expire_ms),
            Err(e @ Error::Again(_)) => {
                self.missed = Some(e);
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let (absent, expire_ms) = after(old, ttl, self.now_ms);
        if old.is_none() {
            exploded.count += 1;
            self.changed = true;
        }
        if expire_ms.is_some() && !exploded.timed {
            exploded.timed = true;
            self.changed = true;
        }
        let full = exploded.count > r.limits().hash_max_listpack_entries;
        if exploded.within_limits && (too_long || full) {
            exploded.within_limits = false;
            self.changed = true;
        }
        self.put_element(r, generation, field, &sub, value, old.flatten(), expire_ms);
        Ok(absent)
    }

    #[expect(clippy::too_many_arguments, reason = "an element with its place and both expiries")]
    fn put_element(
        &self,
        r: &mut Read<'_>,
        generation: u64,
        field: &[u8],
        sub: &Sub,
        value: &[u8],
        before: Option<u64>,
        expire_ms: Option<u64>,
    ) {
        let (n, lead) = exploded::lead(expire_ms);
        let lead = lead.get(..n).unwrap_or_default();
        r.stage_element(self.key, generation, sub.bytes(), &[lead, value]);
        if before != expire_ms {
            if let Some(old) = before {
                r.leave_field(self.key, generation, field, old);
            }
            if let Some(new) = expire_ms {
                r.enter_field(self.key, generation, field, new);
            }
        }
    }

    fn drop_element(&mut self, r: &mut Read<'_>, field: &[u8], sub: &Sub, expire_ms: Option<u64>) {
        let Body::Exploded(exploded) = &mut self.body else { return };
        r.stage_element_deletion(self.key, exploded.generation, sub.bytes());
        if let Some(old) = expire_ms {
            r.leave_field(self.key, exploded.generation, field, old);
        }
        exploded.count = exploded.count.saturating_sub(1);
        self.changed = true;
    }

    /// Deletes a field; true when it was there.
    pub(super) fn remove(&mut self, r: &mut Read<'_>, field: &[u8]) -> Result<bool> {
        // One that has expired is taken away by looking.
        let found = self.get(r, field, |found| found.map(|field| field.expire_ms))?;
        let Some(expire_ms) = found else { return Ok(false) };
        match &mut self.body {
            Body::Packed(buffer) => {
                if let Some((spot, _)) = buffer.find(field)? {
                    buffer.remove(spot);
                    self.changed = true;
                }
            }
            Body::Exploded(_) => {
                let sub = Sub::new(r.place_seed(), field);
                self.drop_element(r, field, &sub, expire_ms);
            }
        }
        Ok(true)
    }

    /// Gives a field that is there another expiry, or none.
    pub(super) fn set_expiry(
        &mut self,
        r: &mut Read<'_>,
        field: &[u8],
        expire_ms: Option<u64>,
    ) -> Result<()> {
        match &mut self.body {
            Body::Packed(buffer) => {
                buffer.set_expiry(field, expire_ms)?;
                self.changed = true;
                // An expiry takes room.
                if buffer.len() > PACKED_MAX {
                    self.explode(r)?;
                }
            }
            Body::Exploded(exploded) => {
                let generation = exploded.generation;
                if expire_ms.is_some() && !exploded.timed {
                    exploded.timed = true;
                    self.changed = true;
                }
                let sub = Sub::new(r.place_seed(), field);
                let Some(bytes) = r.element(self.key, generation, sub.bytes())? else {
                    return Ok(());
                };
                let old = Element::decode(bytes)?;
                let value: SmallVec<[u8; 128]> = SmallVec::from_slice(old.value);
                let before = old.expire_ms;
                self.put_element(r, generation, field, &sub, &value, before, expire_ms);
            }
        }
        Ok(())
    }

    /// Takes away all expired fields of a packed hash.
    pub(super) fn remove_expired(&mut self) -> Result<()> {
        if let Body::Packed(buffer) = &mut self.body
            && buffer.remove_expired(self.now_ms)?
        {
            self.met_expired = true;
            self.changed = true;
        }
        Ok(())
    }

    /// Gives every field a record of its own.
    fn explode(&mut self, r: &mut Read<'_>) -> Result<()> {
        let Body::Packed(buffer) = &mut self.body else { return Ok(()) };
        let (limits, count) = (r.limits(), buffer.count()?);
        let mut exploded = Exploded {
            generation: r.stage_generation(self.key),
            count,
            timed: buffer.is_timed(),
            within_limits: count <= limits.hash_max_listpack_entries,
        };
        let Body::Packed(buffer) = &self.body else { return Ok(()) };
        let mut entries = buffer.packed().entries();
        while let Some(entry) = entries.next()? {
            let longest = entry.field.len().max(entry.value.len()) as u64;
            exploded.within_limits &= longest <= limits.hash_max_listpack_value;
            let sub = Sub::new(r.place_seed(), entry.field);
            let (generation, expire_ms) = (exploded.generation, entry.expire_ms);
            self.put_element(r, generation, entry.field, &sub, entry.value, None, expire_ms);
        }
        self.body = Body::Exploded(exploded);
        self.changed = true;
        Ok(())
    }

    /// Writes what has changed and tells `events`, and "del" when no field is left.
    ///
    /// # Errors
    /// `Again` when a field was not in memory.
    pub(super) fn finish(&mut self, r: &mut Read<'_>, events: &[&'static str]) -> Result<()> {
        if let Some(missed) = self.missed.take() {
            return Err(missed);
        }
        let key = self.key;
        if self.met_expired {
            r.notify(event_class::HASH, "hexpired", key);
        }
        let empty = self.changed && self.is_empty();
        if empty {
            if !self.is_new {
                r.stage_header_deletion(key, self.expire_ms);
            }
            self.enter(r, None);
        } else if self.changed {
            if self.is_new {
                r.notify(event_class::NEW, "new", key);
            }
            self.put(r)?;
        }
        for name in events {
            r.notify(event_class::HASH, name, key);
        }
        if empty {
            r.notify(event_class::GENERIC, "del", key);
        }
        Ok(())
    }

    fn put(&mut self, r: &mut Read<'_>) -> Result<()> {
        let (key, entered) = (self.key, self.entered);
        let expire_ms = self.expire_ms;
        match &mut self.body {
            Body::Packed(buffer) => {
                if buffer.len() >= PATCH_MIN
                    && !buffer.is_timed()
                    && let Some((splice, insert)) = buffer.splice_made()
                {
                    return r.stage_header_patch(key, splice.at, splice.remove, insert);
                }
                let encoding = if buffer.is_timed() { TIMED } else { encoding::PACKED };
                let (body, first_ms) = buffer.seal()?;
                let header = Header { kind: Kind::Hash, encoding, expire_ms, body };
                r.stage_header(key, &header, expire_ms);
                enter(r, key, entered, first_ms);
            }
            Body::Exploded(exploded) => {
                let body = exploded.encode();
                let encoding = encoding::EXPLODED;
                let header = Header { kind: Kind::Hash, encoding, expire_ms, body: &body };
                r.stage_header(key, &header, expire_ms);
                enter(r, key, entered, None);
            }
        }
        Ok(())
    }

    fn enter(&self, r: &mut Read<'_>, first_ms: Option<u64>) {
        enter(r, self.key, self.entered, first_ms);
    }
}

/// Keeps the TTL index in step with the first field of a packed hash that expires.
fn enter(r: &mut Read<'_>, key: Key<'_>, entered: Option<u64>, first_ms: Option<u64>) {
    if entered != first_ms {
        if let Some(old) = entered {
            r.leave_fields(key, old);
        }
        if let Some(new) = first_ms {
            r.enter_fields(key, new);
        }
    }
}

/// What setting a field makes of its expiry, given the old one if there was such a field: whether it was
/// absent, and when it expires from now on.
fn after(old: Option<Option<u64>>, ttl: Ttl, now_ms: u64) -> (bool, Option<u64>) {
    let live = old.filter(|expire_ms| expire_ms.is_none_or(|at| at > now_ms));
    let expire_ms = match ttl {
        Ttl::Clear => None,
        Ttl::Keep => live.flatten(),
        Ttl::At(ms) => Some(ms),
    };
    (live.is_none(), expire_ms)
}
