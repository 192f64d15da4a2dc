//! Groups of consumers, and what is pending in them.
//!
//! ```text
//! group:     | number | last ms | last seq | entries read + 1, 0 if unknown | pending | consumers |
//!            | next consumer's number | top ms | top seq |                              all varints
//! name:      | number varint |
//! consumer:  | pending varint | seen ms varint | active ms + 1 varint, 0 if never | name .. |
//! pending:   | consumer varint | delivered ms varint | deliveries varint |
//! ```
//!
//! Each is an element of its own (see [`sub`](super::sub)), so that nothing about a group is loaded whole: an
//! acknowledgement touches one pending entry, its consumer and the group. `top` is the largest id that ever was
//! pending: what is delivered behind it cannot be pending already.

use super::id::Id;
use super::sub::{Sub, id_of, name_of};
use crate::error::{Error, Result};
use crate::place::Key;
use crate::view::{Read, Write};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::ops::ControlFlow;

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) number: u32,
    /// The entry delivered last.
    pub(super) last: Id,
    /// How many entries of the stream's life the group has read, if that is known.
    pub(super) read: Option<u64>,
    pub(super) pending: u64,
    pub(super) consumers: u64,
    pub(super) next_consumer: u32,
    pub(super) top: Id,
}

impl Facts {
    pub(super) fn decode(bytes: &[u8]) -> Result<Facts> {
        let mut reader = Reader::new(bytes);
        let mut parse = || {
            let mut next = || reader.varint();
            Some(Facts {
                number: u32::try_from(next()?).ok()?,
                last: Id { ms: next()?, seq: next()? },
                read: next()?.checked_sub(1),
                pending: next()?,
                consumers: next()?,
                next_consumer: u32::try_from(next()?).ok()?,
                top: Id { ms: next()?, seq: next()? },
            })
        };
        parse().ok_or_else(|| Error::broken("a group of a stream cannot be read"))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let read = self.read.map_or(0, |n| n.saturating_add(1));
        let (number, next) = (u64::from(self.number), u64::from(self.next_consumer));
        let (last, top) = (self.last, self.top);
        numbers(&[
            number,
            last.ms,
            last.seq,
            read,
            self.pending,
            self.consumers,
            next,
            top.ms,
            top.seq,
        ])
    }
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * 4);
    for &number in numbers {
        varint::put(&mut out, number);
    }
    out
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consumer {
    pub(super) pending: u64,
    /// When it last tried to get something.
    pub(super) seen_ms: u64,
    /// When it last got something.
    pub(super) active_ms: Option<u64>,
    pub(super) name: Vec<u8>,
}

impl Consumer {
    pub(super) fn decode(bytes: &[u8]) -> Result<Consumer> {
        let mut reader = Reader::new(bytes);
        let mut parse = || {
            Some(Consumer {
                pending: reader.varint()?,
                seen_ms: reader.varint()?,
                active_ms: reader.varint()?.checked_sub(1),
                name: reader.rest().to_vec(),
            })
        };
        parse().ok_or_else(|| Error::broken("a consumer of a stream cannot be read"))
    }

    fn encode(&self) -> Vec<u8> {
        let active = self.active_ms.map_or(0, |ms| ms.saturating_add(1));
        let mut out = numbers(&[self.pending, self.seen_ms, active]);
        out.extend_from_slice(&self.name);
        out
    }
}

/// What is known of an entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Its consumer's number.
    pub(super) consumer: u32,
    pub(super) delivered_ms: u64,
    pub(super) deliveries: u64,
}

impl Pending {
    pub(super) fn decode(bytes: &[u8]) -> Result<Pending> {
        let mut reader = Reader::new(bytes);
        let mut parse = || {
            Some(Pending {
                consumer: u32::try_from(reader.varint()?).ok()?,
                delivered_ms: reader.varint()?,
                deliveries: reader.varint()?,
            })
        };
        parse().ok_or_else(|| Error::broken("a pending entry of a stream cannot be read"))
    }

    fn encode(&self) -> Vec<u8> {
        numbers(&[u64::from(self.consumer), self.delivered_ms, self.deliveries])
    }
}

/// A group's facts.
pub(super) fn find(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: Option<u64>,
    name: &[u8],
) -> Result<Option<Facts>> {
    let Some(generation) = generation else { return Ok(None) };
    r.element(key, generation, Sub::group(name).bytes())?.map(Facts::decode).transpose()
}

/// All groups, in the order of their names.
pub(super) fn all(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
) -> Result<Vec<(Vec<u8>, Facts)>> {
    let (from, mut found) = (Sub::groups(), Vec::new());
    let end = from.end();
    r.scan_elements(key, generation, from.included(), end.excluded(), false, &mut |sub, bytes| {
        found.push((name_of(sub, 1).to_vec(), Facts::decode(bytes)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// All consumers of a group, with their numbers, in the order of their names.
pub(super) fn consumers(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    group: u32,
) -> Result<Vec<(u32, Consumer)>> {
    let (from, mut order) = (Sub::names(group), Vec::new());
    let end = from.end();
    r.scan_elements(key, generation, from.included(), end.excluded(), false, &mut |_, bytes| {
        order.push(number_of(bytes)?);
        Ok(ControlFlow::Continue(()))
    })?;
    let (mut found, mut missed) = (Vec::with_capacity(order.len()), None);
    for number in order {
        match consumer(r, key, generation, group, number) {
            Ok(consumer) => found.push((number, consumer)),
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    missed.map_or(Ok(found), Err)
}

/// A consumer by its number.
pub(super) fn consumer(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    group: u32,
    number: u32,
) -> Result<Consumer> {
    let bytes = r.element(key, generation, Sub::consumer(group, number).bytes())?;
    let bytes = bytes.ok_or_else(|| Error::broken("a consumer of a stream is missing"))?;
    Consumer::decode(bytes)
}

/// A consumer's number by its name.
pub(super) fn number(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    group: u32,
    name: &[u8],
) -> Result<Option<u32>> {
    r.element(key, generation, Sub::name(group, name).bytes())?.map(number_of).transpose()
}

fn number_of(bytes: &[u8]) -> Result<u32> {
    let number = varint::get(bytes).and_then(|(number, _)| u32::try_from(number).ok());
    number.ok_or_else(|| Error::broken("a consumer's number cannot be read"))
}

/// Shows what is pending in a group between two ids, both included, until `each` breaks.
pub(super) fn walk_pending(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    group: u32,
    (from, to): (Id, Id),
    each: &mut dyn FnMut(Id, Pending) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if from > to {
        return Ok(());
    }
    let (from, to) = (Sub::pending(group, from), Sub::pending(group, to));
    r.scan_elements(key, generation, from.included(), to.included(), false, &mut |sub, bytes| {
        each(pending_id(sub)?, Pending::decode(bytes)?)
    })
}

/// Shows the ids of what is pending with a consumer, from the first or the last one on.
pub(super) fn walk_owned(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    (group, consumer): (u32, u32),
    (from, to): (Id, Id),
    each: &mut dyn FnMut(Id) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if from > to {
        return Ok(());
    }
    let (from, to) = (Sub::owned(group, consumer, from), Sub::owned(group, consumer, to));
    r.scan_elements(key, generation, from.included(), to.included(), false, &mut |sub, _| {
        each(pending_id(sub)?)
    })
}

/// The last id that is pending in a group.
pub(super) fn last_pending(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    group: u32,
) -> Result<Option<Id>> {
    let (from, to) = (Sub::pending(group, Id::MIN), Sub::pending(group, Id::MAX));
    let mut last = None;
    r.scan_elements(key, generation, from.included(), to.included(), true, &mut |sub, _| {
        last = Some(pending_id(sub)?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(last)
}

fn pending_id(sub: &[u8]) -> Result<Id> {
    id_of(sub).ok_or_else(|| Error::broken("a pending entry of a stream has no id"))
}

/// One command's change of a group. Pending entries are staged as they change; the group and its consumers,
/// which count them, at the end.
pub(super) struct Group<'k> {
    pub(super) key: Key<'k>,
    pub(super) generation: u64,
    pub(super) name: Vec<u8>,
    pub(super) facts: Facts,
    changed: bool,
    /// Consumers that were looked at, and whether they have changed.
    consumers: Vec<(u32, Consumer, bool)>,
}

impl<'k> Group<'k> {
    pub(super) fn of(key: Key<'k>, generation: u64, name: Vec<u8>, facts: Facts) -> Group<'k> {
        Group { key, generation, name, facts, changed: false, consumers: Vec::new() }
    }

    pub(super) fn open(
        r: &mut Read<'_>,
        key: Key<'k>,
        generation: Option<u64>,
        name: &[u8],
    ) -> Result<Option<Group<'k>>> {
        let Some(facts) = find(r, key, generation, name)? else { return Ok(None) };
        Ok(generation.map(|generation| Group::of(key, generation, name.to_vec(), facts)))
    }

    /// The facts, to be changed.
    pub(super) fn change(&mut self) -> &mut Facts {
        self.changed = true;
        &mut self.facts
    }

    pub(super) fn number(&self, r: &mut Read<'_>, name: &[u8]) -> Result<Option<u32>> {
        number(r, self.key, self.generation, self.facts.number, name)
    }

    /// Makes a consumer that is not there yet.
    pub(super) fn create(&mut self, w: &mut Write<'_>, name: &[u8], now_ms: u64) -> u32 {
        let facts = self.change();
        let number = facts.next_consumer;
        facts.next_consumer += 1;
        facts.consumers += 1;
        let sub = Sub::name(self.facts.number, name);
        w.put_element(self.key, self.generation, sub.bytes(), &numbers(&[u64::from(number)]));
        let (pending, seen_ms, name) = (0, now_ms, name.to_vec());
        self.consumers.push((number, Consumer { pending, seen_ms, active_ms: None, name }, true));
        number
    }

    /// A consumer, to be looked at.
    pub(super) fn consumer(&mut self, r: &mut Read<'_>, number: u32) -> Result<&mut Consumer> {
        Ok(&mut self.member(r, number)?.1)
    }

    /// A consumer, to be changed.
    pub(super) fn change_consumer(
        &mut self,
        r: &mut Read<'_>,
        number: u32,
    ) -> Result<&mut Consumer> {
        let (_, consumer, changed) = self.member(r, number)?;
        *changed = true;
        Ok(consumer)
    }

    fn member(&mut self, r: &mut Read<'_>, number: u32) -> Result<&mut (u32, Consumer, bool)> {
        let at = match self.consumers.iter().position(|(n, _, _)| *n == number) {
            Some(at) => at,
            None => {
                let group = self.facts.number;
                let consumer = consumer(r, self.key, self.generation, group, number)?;
                self.consumers.push((number, consumer, false));
                self.consumers.len() - 1
            }
        };
        self.consumers.get_mut(at).ok_or_else(|| Error::broken("a consumer of a stream is missing"))
    }

    /// What is known of an entry, if it is pending.
    pub(super) fn pending(&self, r: &mut Read<'_>, id: Id) -> Result<Option<Pending>> {
        if self.facts.pending == 0 || id > self.facts.top {
            return Ok(None);
        }
        let sub = Sub::pending(self.facts.number, id);
        r.element(self.key, self.generation, sub.bytes())?.map(Pending::decode).transpose()
    }

    /// An entry is pending from now on, or otherwise than `before`.
    pub(super) fn put(
        &mut self,
        w: &mut Write<'_>,
        id: Id,
        pending: &Pending,
        before: Option<&Pending>,
    ) -> Result<()> {
        let (key, generation, group) = (self.key, self.generation, self.facts.number);
        w.put_element(key, generation, Sub::pending(group, id).bytes(), &pending.encode());
        if before.is_some_and(|before| before.consumer == pending.consumer) {
            return Ok(());
        }
        if let Some(before) = before {
            let sub = Sub::owned(group, before.consumer, id);
            w.delete_element(key, generation, sub.bytes());
            let old = self.change_consumer(w, before.consumer)?;
            old.pending = old.pending.saturating_sub(1);
        } else {
            let facts = self.change();
            facts.pending += 1;
            facts.top = facts.top.max(id);
        }
        w.put_element(key, generation, Sub::owned(group, pending.consumer, id).bytes(), &[]);
        self.change_consumer(w, pending.consumer)?.pending += 1;
        Ok(())
    }

    /// An entry is pending no more.
    pub(super) fn settle(&mut self, w: &mut Write<'_>, id: Id, pending: &Pending) -> Result<()> {
        let consumer = self.change_consumer(w, pending.consumer)?;
        consumer.pending = consumer.pending.saturating_sub(1);
        let (key, generation, group) = (self.key, self.generation, self.facts.number);
        w.delete_element(key, generation, Sub::pending(group, id).bytes());
        w.delete_element(key, generation, Sub::owned(group, pending.consumer, id).bytes());
        let facts = self.change();
        facts.pending = facts.pending.saturating_sub(1);
        Ok(())
    }

    /// Takes a consumer away with all that is pending with it; how much that was.
    pub(super) fn remove_consumer(
        &mut self,
        w: &mut Write<'_>,
        number: u32,
        name: &[u8],
    ) -> Result<u64> {
        let (key, generation, group) = (self.key, self.generation, self.facts.number);
        let mut ids = Vec::new();
        walk_owned(w, key, generation, (group, number), (Id::MIN, Id::MAX), &mut |id| {
            ids.push(id);
            Ok(ControlFlow::Continue(()))
        })?;
        for &id in &ids {
            w.delete_element(key, generation, Sub::pending(group, id).bytes());
            w.delete_element(key, generation, Sub::owned(group, number, id).bytes());
        }
        w.delete_element(key, generation, Sub::name(group, name).bytes());
        w.delete_element(key, generation, Sub::consumer(group, number).bytes());
        self.consumers.retain(|(n, _, _)| *n != number);
        let facts = self.change();
        facts.pending = facts.pending.saturating_sub(ids.len() as u64);
        facts.consumers = facts.consumers.saturating_sub(1);
        Ok(ids.len() as u64)
    }

    /// Takes the group away with all that belongs to it.
    pub(super) fn remove(self, w: &mut Write<'_>) -> Result<()> {
        let (key, generation, group) = (self.key, self.generation, self.facts.number);
        let mut subs: Vec<Vec<u8>> = Vec::new();
        for from in Sub::of_group(group) {
            let end = from.end();
            let (from, to) = (from.included(), end.excluded());
            w.scan_elements(key, generation, from, to, false, &mut |sub, _| {
                subs.push(sub.to_vec());
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for sub in subs {
            w.delete_element(key, generation, &sub);
        }
        w.delete_element(key, generation, Sub::group(&self.name).bytes());
        Ok(())
    }

    /// Writes what has changed.
    pub(super) fn finish(&mut self, w: &mut Write<'_>) {
        let (key, generation, group) = (self.key, self.generation, self.facts.number);
        for (number, consumer, changed) in &mut self.consumers {
            if std::mem::take(changed) {
                let sub = Sub::consumer(group, *number);
                w.put_element(key, generation, sub.bytes(), &consumer.encode());
            }
        }
        if std::mem::take(&mut self.changed) {
            let sub = Sub::group(&self.name);
            w.put_element(key, generation, sub.bytes(), &self.facts.encode());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let largest = Facts {
            number: u32::MAX,
            last: Id::MAX,
            read: Some(u64::MAX - 1),
            pending: u64::MAX,
            consumers: 1,
            next_consumer: 7,
            top: Id::new(1, 2),
        };
        for facts in [largest, Facts::default()] {
            let bytes = facts.encode();
            assert_eq!(Facts::decode(&bytes).unwrap(), facts);
            assert!(Facts::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        for active_ms in [None, Some(0), Some(5)] {
            let consumer =
                Consumer { pending: 3, seen_ms: 9, active_ms, name: b"\xff\0name".to_vec() };
            assert_eq!(Consumer::decode(&consumer.encode()).unwrap(), consumer);
        }
        let pending = Pending { consumer: 70_000, delivered_ms: 1 << 41, deliveries: 3 };
        assert_eq!(Pending::decode(&pending.encode()).unwrap(), pending);
        assert!(Pending::decode(&[1]).is_err() && Consumer::decode(&[]).is_err());
    }
}
