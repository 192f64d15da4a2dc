//! Producers that send again what may have arrived: an entry with an idempotent id is added once.
//!
//! ```text
//! producer:       | number varint | first position varint | next position varint |
//! idempotent id:  | entry's ms varint | its seq varint | added ms varint |
//! order:          | idempotent id .. |
//! ```
//!
//! Of each producer the newest ids are remembered, as many and as long as the stream is configured to. The oldest
//! are forgotten when the producer sends something new.

use super::edit::Edit;
use super::id::Id;
use super::meta::Idempotence;
use super::sub::Sub;
use crate::error::{Error, NO_SUCH_KEY, Result};
use crate::place::Key;
use crate::view::{Read, Write};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::borrow::Cow;
use std::ops::ControlFlow;
use xxhash_rust::xxh3::Xxh3;

/// Unless XCFGSET said otherwise.
const DEFAULT: Idempotence = Idempotence {
    duration_s: 100,
    max_size: 100,
    producers: 0,
    tracked: 0,
    added: 0,
    duplicates: 0,
};
/// From so many producers on, those that have gone silent are looked for.
const SWEEP_MIN: u64 = 16;

/// Who sends, and what tells that it was sent before.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The producer.
    pub producer: &'a [u8],
    /// The idempotent id; `None`: the fields and their values, in any order.
    pub id: Option<&'a [u8]>,
}

/// As [`Once`], with an id.
pub(super) struct Named<'a> {
    producer: &'a [u8],
    id: Cow<'a, [u8]>,
}

impl<'a> Once<'a> {
    pub(super) fn named(&self, fields: &[&[u8]]) -> Named<'a> {
        let id = match self.id {
            Some(id) => Cow::Borrowed(id),
            None => {
                let pairs = fields.chunks_exact(2).map(|pair| {
                    let mut hash = Xxh3::new();
                    for text in pair {
                        hash.update(&(text.len() as u64).to_le_bytes());
                        hash.update(text);
                    }
                    hash.digest128()
                });
                // A sum: the order does not count, and what is there twice does.
                Cow::Owned(pairs.fold(0u128, u128::wrapping_add).to_le_bytes().to_vec())
            }
        };
        Named { producer: self.producer, id }
    }
}

#[derive(Clone, Copy)]
struct Producer {
    number: u32,
    first: u64,
    next: u64,
}

impl Producer {
    fn decode(bytes: &[u8]) -> Result<Producer> {
        let mut reader = Reader::new(bytes);
        let mut parse = || {
            let number = u32::try_from(reader.varint()?).ok()?;
            Some(Producer { number, first: reader.varint()?, next: reader.varint()? })
        };
        parse().ok_or_else(|| Error::broken("a producer of a stream cannot be read"))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [u64::from(self.number), self.first, self.next] {
            varint::put(&mut out, number);
        }
        out
    }
}

/// What was sent: the entry's id, and when.
fn sent_of(bytes: &[u8]) -> Result<(Id, u64)> {
    let mut reader = Reader::new(bytes);
    let mut parse = || {
        let id = Id { ms: reader.varint()?, seq: reader.varint()? };
        Some((id, reader.varint()?))
    };
    parse().ok_or_else(|| Error::broken("an idempotent id of a stream cannot be read"))
}

fn producer(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    name: &[u8],
) -> Result<Option<Producer>> {
    r.element(key, generation, Sub::producer(name).bytes())?.map(Producer::decode).transpose()
}

/// The entry that was added when the same was sent before, if that is remembered.
pub(super) fn sent(r: &mut Read<'_>, edit: &Edit<'_>, once: &Named<'_>) -> Result<Option<Id>> {
    let (Some(generation), Some(known)) = (edit.meta.generation, edit.meta.idempotence) else {
        return Ok(None);
    };
    let now_ms = r.now_ms();
    let Some(producer) = producer(r, edit.key, generation, once.producer)? else {
        return Ok(None);
    };
    let sub = Sub::idempotent(producer.number, &once.id);
    let Some(bytes) = r.element(edit.key, generation, sub.bytes())? else { return Ok(None) };
    let (id, at_ms) = sent_of(bytes)?;
    Ok((!is_over(&known, at_ms, now_ms)).then_some(id))
}

fn is_over(known: &Idempotence, at_ms: u64, now_ms: u64) -> bool {
    at_ms.saturating_add(known.duration_s.saturating_mul(1000)) <= now_ms
}

/// Remembers what was added.
pub(super) fn remember(
    w: &mut Write<'_>,
    edit: &mut Edit<'_>,
    once: &Named<'_>,
    id: Id,
) -> Result<()> {
    let generation = edit.generation(w);
    let (key, now_ms) = (edit.key, w.now_ms());
    let mut known = edit.meta.idempotence.unwrap_or(DEFAULT);
    let mut sender = match producer(w, key, generation, once.producer)? {
        Some(sender) => sender,
        None => {
            if known.producers >= SWEEP_MIN && known.producers.is_power_of_two() {
                forget_silent(w, key, generation, &mut known)?;
            }
            known.producers += 1;
            let facts = edit.facts();
            let number = facts.next_number as u32;
            facts.next_number += 1;
            Producer { number, first: 0, next: 0 }
        }
    };
    while sender.first < sender.next {
        let (front, at_ms) = at(w, key, generation, sender.number, sender.first)?;
        if sender.next - sender.first < known.max_size && !is_over(&known, at_ms, now_ms) {
            break;
        }
        w.delete_element(key, generation, Sub::idempotent(sender.number, &front).bytes());
        w.delete_element(key, generation, Sub::order(sender.number, sender.first).bytes());
        sender.first += 1;
        known.tracked = known.tracked.saturating_sub(1);
    }
    let mut value = Vec::new();
    for number in [id.ms, id.seq, now_ms] {
        varint::put(&mut value, number);
    }
    w.put_element(key, generation, Sub::idempotent(sender.number, &once.id).bytes(), &value);
    w.put_element(key, generation, Sub::order(sender.number, sender.next).bytes(), &once.id);
    sender.next += 1;
    w.put_element(key, generation, Sub::producer(once.producer).bytes(), &sender.encode());
    known.tracked += 1;
    known.added += 1;
    edit.facts().idempotence = Some(known);
    Ok(())
}

/// The idempotent id at a position, and when it came.
fn at(
    r: &mut Read<'_>,
    key: Key<'_>,
    generation: u64,
    producer: u32,
    position: u64,
) -> Result<(Vec<u8>, u64)> {
    let broken = || Error::broken("an idempotent id of a stream is missing");
    let order = Sub::order(producer, position);
    let id = r.element(key, generation, order.bytes())?.ok_or_else(broken)?.to_vec();
    let sub = Sub::idempotent(producer, &id);
    let (_, at_ms) = sent_of(r.element(key, generation, sub.bytes())?.ok_or_else(broken)?)?;
    Ok((id, at_ms))
}

/// Forgets producers of which nothing has to be remembered any more. Called when their number has doubled.
fn forget_silent(
    w: &mut Write<'_>,
    key: Key<'_>,
    generation: u64,
    known: &mut Idempotence,
) -> Result<()> {
    let now_ms = w.now_ms();
    let (from, mut all) = (Sub::producers(), Vec::new());
    let end = from.end();
    w.scan_elements(key, generation, from.included(), end.excluded(), false, &mut |sub, bytes| {
        all.push((sub.to_vec(), Producer::decode(bytes)?));
        Ok(ControlFlow::Continue(()))
    })?;
    for (sub, producer) in all {
        let newest = producer.next.saturating_sub(1);
        if !is_over(known, at(w, key, generation, producer.number, newest)?.1, now_ms) {
            continue;
        }
        for position in producer.first..producer.next {
            let (id, _) = at(w, key, generation, producer.number, position)?;
            w.delete_element(key, generation, Sub::idempotent(producer.number, &id).bytes());
            w.delete_element(key, generation, Sub::order(producer.number, position).bytes());
            known.tracked = known.tracked.saturating_sub(1);
        }
        w.delete_element(key, generation, &sub);
        known.producers = known.producers.saturating_sub(1);
    }
    Ok(())
}

/// XCFGSET: how long idempotent ids are remembered, in seconds, and how many of each producer. What was
/// remembered is forgotten if that changes anything.
///
/// # Errors
/// No such key, `WrongType`, or `Again`.
pub fn configure(
    w: &mut Write<'_>,
    key: Key<'_>,
    duration_s: Option<u64>,
    max_size: Option<u64>,
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() {
        return Err(NO_SUCH_KEY);
    }
    let mut known = edit.meta.idempotence.unwrap_or(DEFAULT);
    let before = known;
    known.duration_s = duration_s.unwrap_or(known.duration_s);
    known.max_size = max_size.unwrap_or(known.max_size);
    if known == before && edit.meta.idempotence.is_some() {
        return Ok(());
    }
    if known != before && known.producers > 0 {
        let generation = edit.generation(w);
        let mut subs = Vec::new();
        // Producers, their ids and the order of these stand one behind the other.
        let (from, to) = (Sub::producers(), Sub::idempotents_end());
        w.scan_elements(key, generation, from.included(), to.excluded(), false, &mut |sub, _| {
            subs.push(sub.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        for sub in subs {
            w.delete_element(key, generation, &sub);
        }
        (known.producers, known.tracked) = (0, 0);
    }
    edit.generation(w);
    edit.facts().idempotence = Some(known);
    edit.finish(w, &[])?;
    w.changed();
    Ok(())
}
