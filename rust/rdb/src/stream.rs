//! Reading a stream.
//!
//! ```text
//! | nodes | node .. | entries | last id | first id, max deleted id, added: from form 2 | groups | group .. |
//! node     | id of 16 bytes | listpack |
//! group    | name | last id | read, from form 2 | pending | id, delivered ms, deliveries .. | consumers | consumer .. |
//! consumer | name | seen ms | active ms, from form 3 | pending | id .. |
//!
//! listpack | live | deleted | fields | field .. | 0 | entry ..                 the first fields are the master's
//! entry    | flags | ms and seq beyond the node's | fields and values, or with flag 2 values alone | elements back |
//! ```
//!
//! Checked beyond what is needed: ids grow, counts are right, and every pending entry has one consumer.

use crate::bad::{Bad, Stop};
use crate::input::Input;
use crate::item::{Item, StreamId};
use crate::listpack::Listpack;
use crate::types::Type;
use crate::value::{Take, give};
use std::collections::BTreeMap;

pub(crate) const DELETED: i64 = 1;
pub(crate) const SAME_FIELDS: i64 = 2;
/// In the place of the entries that a group has read: nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// Texts, one after the other.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn slices(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let slice = |&end: &usize| {
            let text = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            text
        };
        self.ends.iter().map(slice).collect()
    }
}

/// What the entries come to.
#[derive(Default)]
struct Entries {
    live: u64,
    /// The last one, live or not.
    last: Option<StreamId>,
}

/// See [`crate::read`].
pub(crate) fn read<E>(
    kind: Type,
    input: &mut Input<'_>,
    take: &mut Take<'_, E>,
) -> Result<(), Stop<E>> {
    let mut entries = Entries::default();
    let mut bytes = Vec::new();
    for _ in 0..input.count()? {
        let offset = input.offset();
        input.string(&mut bytes)?;
        let id = bytes.as_slice().try_into().map(StreamId::from_bytes);
        let id = id.map_err(|_| Bad::new(offset, "a node of a stream has no id"))?;
        let offset = input.offset();
        input.string(&mut bytes)?;
        match node(id, &bytes, &mut entries, take) {
            Ok(taken) => give(taken)?,
            Err(what) => return Err(Bad::new(offset, what).into()),
        }
    }
    let offset = input.offset();
    let len = input.count()?;
    if len != entries.live {
        return Err(Bad::new(offset, "a stream has another length than it says").into());
    }
    let offset = input.offset();
    let last = id(input)?;
    if entries.last.is_some_and(|entry| entry > last) {
        return Err(Bad::new(offset, "a stream's last id is not its last").into());
    }
    let (mut max_deleted, mut added) = (StreamId::default(), len);
    if kind != Type::STREAM_1 {
        // The first id is where the first entry is.
        id(input)?;
        max_deleted = id(input)?;
        added = input.count()?;
    }
    give(take(Item::Stream { last, max_deleted, added }))?;
    for _ in 0..input.count()? {
        group(kind, input, take)?;
    }
    Ok(())
}

fn id(input: &mut Input<'_>) -> Result<StreamId, Bad> {
    Ok(StreamId { ms: input.count()?, seq: input.count()? })
}

/// Hands over the entries of one node.
fn node<E>(
    master: StreamId,
    bytes: &[u8],
    entries: &mut Entries,
    take: &mut Take<'_, E>,
) -> Result<Result<(), E>, &'static str> {
    const COUNTS: &str = "a node of a stream has other counts than it says";
    let mut digits = itoa::Buffer::new();
    let mut walk = Listpack::new(bytes)?;
    let (live, deleted) = (walk.need_int()?, walk.need_int()?);
    let mut fields = Texts::default();
    let number = walk.need_int()?;
    for _ in 0..number {
        fields.push(walk.need()?.text(&mut digits));
    }
    if number < 0 || walk.need_int()? != 0 {
        return Err("a node of a stream has no end of its fields");
    }
    let (mut seen_live, mut seen_deleted) = (0, 0);
    let mut texts = Texts::default();
    while let Some(flags) = walk.next()? {
        let crate::item::Piece::Int(flags @ 0..=3) = flags else {
            return Err("an entry of a stream has unknown flags");
        };
        let id = beyond(master, walk.need_int()?, walk.need_int()?);
        if id <= entries.last.unwrap_or_default() {
            return Err("the ids of a stream are not in order");
        }
        texts.clear();
        let elements = if flags & SAME_FIELDS != 0 {
            for field in fields.slices() {
                texts.push(field);
                texts.push(walk.need()?.text(&mut digits));
            }
            number
        } else {
            let number = walk.need_int()?;
            for _ in 0..number {
                texts.push(walk.need()?.text(&mut digits));
                texts.push(walk.need()?.text(&mut digits));
            }
            if number < 0 {
                return Err("an entry of a stream has less than no fields");
            }
            2 * number + 1
        };
        if walk.need_int()? != elements + 3 {
            return Err("an entry of a stream has another length than it says");
        }
        entries.last = Some(id);
        if flags & DELETED != 0 {
            seen_deleted += 1;
            continue;
        }
        seen_live += 1;
        entries.live += 1;
        if let Err(e) = take(Item::Entry(id, &texts.slices())) {
            return Ok(Err(e));
        }
    }
    if (live, deleted) != (seen_live, seen_deleted) { Err(COUNTS) } else { Ok(Ok(())) }
}

/// An id by its distance from the node's, which wraps around as in the arithmetic of 64 bits.
fn beyond(master: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) }
}

/// A pending entry: when it was delivered, how often, and whether a consumer has it.
struct Owed {
    delivered_ms: u64,
    deliveries: u64,
    is_owned: bool,
}

fn group<E>(kind: Type, input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<(), Stop<E>> {
    const TWICE: &str = "a pending entry of a stream comes twice";
    let mut name = Vec::new();
    input.string(&mut name)?;
    let last = id(input)?;
    let is_untold = kind == Type::STREAM_1;
    let read = match is_untold {
        true => None,
        false => Some(input.count()?).filter(|&read| read != UNKNOWN),
    };
    give(take(Item::Group { name: &name, last, read, is_untold }))?;
    let mut pending = BTreeMap::new();
    for _ in 0..input.count()? {
        let offset = input.offset();
        let id = StreamId::from_bytes(input.array()?);
        let (delivered_ms, deliveries) = (input.u64_le()?, input.count()?);
        if pending.insert(id, Owed { delivered_ms, deliveries, is_owned: false }).is_some() {
            return Err(Bad::new(offset, TWICE).into());
        }
    }
    for _ in 0..input.count()? {
        input.string(&mut name)?;
        let seen_ms = input.u64_le()?;
        let active_ms = match kind {
            Type::STREAM_3 => Some(input.u64_le()?).filter(|&ms| ms != UNKNOWN),
            _ => None,
        };
        give(take(Item::Consumer { name: &name, seen_ms, active_ms }))?;
        for _ in 0..input.count()? {
            let offset = input.offset();
            let id = StreamId::from_bytes(input.array()?);
            let Some(owed) = pending.get_mut(&id) else {
                return Err(Bad::new(offset, "a consumer has an entry that is not pending").into());
            };
            if std::mem::replace(&mut owed.is_owned, true) {
                return Err(Bad::new(offset, TWICE).into());
            }
            let Owed { delivered_ms, deliveries, .. } = *owed;
            give(take(Item::Pending { id, delivered_ms, deliveries }))?;
        }
    }
    if pending.values().any(|owed| !owed.is_owned) {
        return Err(input.bad("a pending entry of a stream has no consumer").into());
    }
    Ok(())
}
