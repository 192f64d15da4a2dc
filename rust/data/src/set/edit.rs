//! One command's change of a set.
//!
//! A command opens the set, adds and removes members, and finishes: then the header is written if need be,
//! or the key deleted when no member is left. Of a packed set the whole body is changed in a buffer; of an
//! exploded one each member is staged as it comes, and the header once.

use super::exploded::{Exploded, Sub};
use super::{Class, INTS, PACKED_MAX, ints, packed};
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::limits::Limits;
use crate::place::Key;
use crate::view::{Write, event_class};
use forgekv_base::number::parse_i64;

enum Body {
    Ints(ints::Buffer),
    Packed(packed::Buffer),
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
    /// Whether the header has to be written.
    changed: bool,
    /// A member was not in memory. The command goes on as if it were absent, so that all members it asks for
    /// are loaded together, and fails in the end.
    missed: Option<Error>,
}

impl<'k> Edit<'k> {
    pub(super) fn open(w: &mut Write<'_>, key: Key<'k>) -> Result<Edit<'k>> {
        let mut edit = Edit {
            key,
            expire_ms: None,
            is_new: true,
            body: Body::Ints(ints::Buffer::new()),
            changed: false,
            missed: None,
        };
        if let Some(header) = w.header_of(key, Kind::Set)? {
            edit.is_new = false;
            edit.expire_ms = header.expire_ms;
            edit.body = match header.encoding {
                encoding::EXPLODED => Body::Exploded(Exploded::decode(&header)?),
                INTS => Body::Ints(ints::Buffer::copy(header.body)?),
                _ => Body::Packed(packed::Buffer::copy(header.body)),
            };
        }
        Ok(edit)
    }

    /// Whether the key is not there.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether something was not in memory: then what the edit answered may be wrong, and it will fail.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.is_some()
    }

    /// How many members there are now.
    pub(super) fn count(&mut self) -> Result<u64> {
        match &mut self.body {
            Body::Ints(buffer) => Ok(buffer.ints()?.len() as u64),
            Body::Packed(buffer) => buffer.count(),
            Body::Exploded(exploded) => Ok(exploded.count),
        }
    }

    /// These members are about to be added. As in Redis their number decides, too, whether a set is packed
    /// at first.
    pub(super) fn expect(&mut self, w: &mut Write<'_>, members: &[&[u8]]) -> Result<()> {
        let (limits, count) = (w.limits(), members.len() as u64);
        let is_ints = match self.body {
            Body::Ints(_) if self.is_new => {
                members.first().is_some_and(|member| parse_i64(member).is_some())
                    && count <= limits.set_max_intset_entries
            }
            Body::Ints(_) if count > limits.set_max_intset_entries => {
                return self.explode(w, Class::Hashtable);
            }
            Body::Ints(_) => true,
            Body::Packed(_) => false,
            Body::Exploded(_) => return Ok(()),
        };
        if is_ints {
            return Ok(());
        }
        if count > limits.set_max_listpack_entries {
            return self.explode(w, Class::Hashtable);
        }
        if self.is_new {
            self.body = Body::Packed(packed::Buffer::new());
        }
        Ok(())
    }

    /// Adds a member; true when it was absent.
    #[inline]
    pub(super) fn add(&mut self, w: &mut Write<'_>, member: &[u8]) -> Result<bool> {
        let limits = w.limits();
        match &mut self.body {
            Body::Exploded(_) => self.add_element(w, member),
            Body::Ints(buffer) => {
                let Some(value) = parse_i64(member) else {
                    self.leave_ints(w, member, limits)?;
                    return self.add(w, member);
                };
                if !buffer.insert(value)? {
                    return Ok(false);
                }
                self.changed = true;
                let (count, len) = (buffer.ints()?.len(), buffer.body().len());
                if count as u64 > limits.set_max_intset_entries {
                    self.explode(w, Class::Hashtable)?;
                } else if len > PACKED_MAX {
                    self.explode(w, Class::Intset)?;
                }
                Ok(true)
            }
            Body::Packed(buffer) => {
                if buffer.packed().contains(member)? {
                    return Ok(false);
                }
                if buffer.count()? >= limits.set_max_listpack_entries
                    || member.len() as u64 > limits.set_max_listpack_value
                {
                    self.explode(w, Class::Hashtable)?;
                    return self.add_element(w, member);
                }
                if buffer.body().len() + member.len() > PACKED_MAX {
                    self.explode(w, Class::Listpack)?;
                    return self.add_element(w, member);
                }
                buffer.push(member);
                self.changed = true;
                Ok(true)
            }
        }
    }

    /// A member is to be added that is no integer.
    fn leave_ints(&mut self, w: &mut Write<'_>, member: &[u8], limits: &Limits) -> Result<()> {
        let Body::Ints(buffer) = &self.body else { return Ok(()) };
        let ints = buffer.ints()?;
        let longest = ints.longest().max(member.len()) as u64;
        let room = (ints.len() as u64) < limits.set_max_listpack_entries;
        if !room || longest > limits.set_max_listpack_value {
            return self.explode(w, Class::Hashtable);
        }
        let mut packed = packed::Buffer::new();
        for value in ints.iter() {
            packed.push(itoa::Buffer::new().format(value).as_bytes());
        }
        self.body = Body::Packed(packed);
        Ok(())
    }

    fn add_element(&mut self, w: &mut Write<'_>, member: &[u8]) -> Result<bool> {
        let Body::Exploded(exploded) = &mut self.body else { return Ok(false) };
        let sub = Sub::new(w.place_seed(), member);
        match w.element(self.key, exploded.generation, sub.bytes()) {
            Ok(Some(_)) => return Ok(false),
            Ok(None) => {}
            Err(e @ Error::Again(_)) => {
                self.missed = Some(e);
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        w.put_element(self.key, exploded.generation, sub.bytes(), &[]);
        if exploded.class != Class::Hashtable {
            exploded.class = exploded.class.with(exploded.count, member, w.limits());
        }
        exploded.count += 1;
        self.changed = true;
        Ok(true)
    }

    /// Takes a member away; true when it was there.
    pub(super) fn remove(&mut self, w: &mut Write<'_>, member: &[u8]) -> Result<bool> {
        let removed = match &mut self.body {
            Body::Ints(buffer) => match parse_i64(member) {
                Some(value) => buffer.remove(value)?,
                None => false,
            },
            Body::Packed(buffer) => buffer.remove(member)?,
            Body::Exploded(exploded) => {
                let sub = Sub::new(w.place_seed(), member);
                match w.element(self.key, exploded.generation, sub.bytes()) {
                    Ok(None) => false,
                    Ok(Some(_)) => {
                        w.delete_element(self.key, exploded.generation, sub.bytes());
                        exploded.count = exploded.count.saturating_sub(1);
                        true
                    }
                    Err(e @ Error::Again(_)) => {
                        self.missed = Some(e);
                        false
                    }
                    Err(e) => return Err(e),
                }
            }
        };
        self.changed |= removed;
        Ok(removed)
    }

    /// Gives every member a record of its own.
    fn explode(&mut self, w: &mut Write<'_>, class: Class) -> Result<()> {
        let (seed, key) = (w.place_seed(), self.key);
        let generation = w.new_generation(key);
        let mut count = 0;
        let mut put = |w: &mut Write<'_>, member: &[u8]| {
            w.put_element(key, generation, Sub::new(seed, member).bytes(), &[]);
            count += 1;
        };
        match &self.body {
            Body::Exploded(_) => return Ok(()),
            Body::Ints(buffer) => {
                for value in buffer.ints()?.iter() {
                    put(w, itoa::Buffer::new().format(value).as_bytes());
                }
            }
            Body::Packed(buffer) => {
                let mut members = buffer.packed();
                while let Some(member) = members.next()? {
                    put(w, member);
                }
            }
        }
        self.body = Body::Exploded(Exploded { generation, count, class });
        self.changed = true;
        Ok(())
    }

    /// Writes what has changed and tells `event` if there is one, and "del" when no member is left.
    ///
    /// # Errors
    /// `Again` when a member was not in memory.
    pub(super) fn finish(mut self, w: &mut Write<'_>, event: Option<&'static str>) -> Result<()> {
        if let Some(missed) = self.missed.take() {
            return Err(missed);
        }
        let key = self.key;
        let empty = self.changed && self.count()? == 0;
        if empty {
            if !self.is_new {
                w.delete_header(key, self.expire_ms);
            }
        } else if self.changed {
            if self.is_new {
                w.notify(event_class::NEW, "new", key);
            }
            self.put(w)?;
        }
        if let Some(name) = event {
            w.notify(event_class::SET, name, key);
        }
        if empty && !self.is_new {
            w.notify(event_class::GENERIC, "del", key);
        }
        Ok(())
    }

    fn put(&self, w: &mut Write<'_>) -> Result<()> {
        let (key, expire_ms) = (self.key, self.expire_ms);
        let (encoding, body) = match &self.body {
            Body::Ints(buffer) => (INTS, buffer.body()),
            Body::Packed(buffer) => (encoding::PACKED, buffer.body()),
            Body::Exploded(exploded) => {
                let (encoding, body) = (encoding::EXPLODED, &exploded.encode());
                let header = Header { kind: Kind::Set, encoding, expire_ms, body };
                w.put_header(key, &header, expire_ms);
                return Ok(());
            }
        };
        if let Some((at, remove, insert)) = body.patch() {
            return w.stage_header_patch(key, at, remove, insert);
        }
        let header = Header { kind: Kind::Set, encoding, expire_ms, body: body.bytes() };
        w.put_header(key, &header, expire_ms);
        Ok(())
    }
}
