//! What a stream's header says.
//!
//! ```text
//! packed body:   |                 tail .. | facts .. | length of the facts u8 |
//! exploded body: | generation u64 | tail .. | facts .. | length of the facts u8 |
//!
//! facts, all varints: | length | last ms | last seq | entries added | max deleted ms | max deleted seq |
//!                     | last ms - first ms | first seq |
//!                     | entries of the tail | last ms - base ms | base seq |           if the tail has any
//!   if exploded:      | blocks | groups | next number |
//!                     | entries of the first block | first block's ms | its seq |      if there are blocks
//!                     | 0, or 1 and what `idempotent` knows |
//! ```
//!
//! The tail is the last block: new entries are put there, and with the facts behind them an XADD changes the
//! body in one place.

use super::id::Id;
use crate::error::{Error, Result};
use crate::header::{Header, encoding};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;

/// What a stream remembers about producers that send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idempotence {
    /// How long an idempotent id is remembered, in seconds.
    pub(super) duration_s: u64,
    /// How many are remembered for each producer.
    pub(super) max_size: u64,
    /// Producers that are remembered.
    pub(super) producers: u64,
    /// Idempotent ids that are remembered.
    pub(super) tracked: u64,
    /// Entries ever added with an idempotent id.
    pub(super) added: u64,
    /// Entries ever not added because they were there.
    pub(super) duplicates: u64,
}

/// The facts of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// What the elements lie under, once there are any.
    pub(super) generation: Option<u64>,
    /// Entries there are.
    pub(super) len: u64,
    /// The id given last.
    pub(super) last: Id,
    /// Entries ever added.
    pub(super) added: u64,
    /// The largest id that XDEL took away.
    pub(super) max_deleted: Id,
    /// The id of the first entry; 0-0 when there is none.
    pub(super) first: Id,
    /// Entries of the tail.
    pub(super) tail_len: u64,
    /// The tail's base.
    pub(super) base: Id,
    /// Blocks before the tail.
    pub(super) blocks: u64,
    /// The first of these: its sub-key, and how many entries it has.
    pub(super) head: Id,
    pub(super) head_len: u64,
    pub(super) groups: u64,
    /// The number that the next group or producer gets.
    pub(super) next_number: u64,
    pub(super) idempotence: Option<Idempotence>,
}

impl Meta {
    /// Reads a header: facts and tail.
    pub(super) fn decode<'a>(header: &Header<'a>) -> Result<(Meta, &'a [u8])> {
        Meta::parse(header).ok_or_else(|| Error::broken("a stream's header cannot be read"))
    }

    fn parse<'a>(header: &Header<'a>) -> Option<(Meta, &'a [u8])> {
        let (&len, rest) = header.body.split_last()?;
        let (rest, facts) = rest.split_at_checked(rest.len().checked_sub(usize::from(len))?)?;
        let (generation, tail) = if header.is_exploded() {
            let (generation, tail) = rest.split_first_chunk::<8>()?;
            (Some(u64::from_le_bytes(*generation)), tail)
        } else {
            (None, rest)
        };
        let mut facts = Reader::new(facts);
        let mut meta = Meta { generation, len: facts.varint()?, ..Meta::default() };
        meta.last = id(&mut facts)?;
        meta.added = facts.varint()?;
        meta.max_deleted = id(&mut facts)?;
        meta.first = id_before(&mut facts, meta.last)?;
        meta.tail_len = facts.varint()?;
        if meta.tail_len > 0 {
            meta.base = id_before(&mut facts, meta.last)?;
        }
        if generation.is_some() {
            meta.blocks = facts.varint()?;
            meta.groups = facts.varint()?;
            meta.next_number = facts.varint()?;
            if meta.blocks > 0 {
                meta.head_len = facts.varint()?;
                meta.head = id(&mut facts)?;
            }
            if facts.varint()? != 0 {
                meta.idempotence = Some(Idempotence {
                    duration_s: facts.varint()?,
                    max_size: facts.varint()?,
                    producers: facts.varint()?,
                    tracked: facts.varint()?,
                    added: facts.varint()?,
                    duplicates: facts.varint()?,
                });
            }
        }
        Some((meta, tail))
    }

    /// The encoding of the header.
    pub(super) fn encoding(&self) -> u8 {
        if self.generation.is_some() { encoding::EXPLODED } else { encoding::PACKED }
    }

    /// Where the tail begins in the body.
    pub(super) fn tail_at(&self) -> usize {
        if self.generation.is_some() { 8 } else { 0 }
    }

    /// Appends the facts: what stands behind the tail.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let before = |id: Id| Id { ms: self.last.ms.wrapping_sub(id.ms), ..id };
        varint::put(out, self.len);
        put_id(out, self.last);
        varint::put(out, self.added);
        put_id(out, self.max_deleted);
        put_id(out, before(self.first));
        varint::put(out, self.tail_len);
        if self.tail_len > 0 {
            put_id(out, before(self.base));
        }
        if self.generation.is_some() {
            for number in [self.blocks, self.groups, self.next_number] {
                varint::put(out, number);
            }
            if self.blocks > 0 {
                varint::put(out, self.head_len);
                put_id(out, self.head);
            }
            varint::put(out, u64::from(self.idempotence.is_some()));
            if let Some(known) = &self.idempotence {
                let Idempotence { duration_s, max_size, .. } = *known;
                let Idempotence { producers, tracked, added, duplicates, .. } = *known;
                for number in [duration_s, max_size, producers, tracked, added, duplicates] {
                    varint::put(out, number);
                }
            }
        }
        out.push((out.len() - start) as u8);
    }
}

fn id(facts: &mut Reader<'_>) -> Option<Id> {
    Some(Id { ms: facts.varint()?, seq: facts.varint()? })
}

fn id_before(facts: &mut Reader<'_>, last: Id) -> Option<Id> {
    let id = id(facts)?;
    Some(Id { ms: last.ms.wrapping_sub(id.ms), ..id })
}

fn put_id(out: &mut Vec<u8>, id: Id) {
    varint::put(out, id.ms);
    varint::put(out, id.seq);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Kind;

    fn round_trip(meta: Meta, tail: &[u8]) {
        let mut body = meta.generation.map(|g| g.to_le_bytes().to_vec()).unwrap_or_default();
        assert_eq!(body.len(), meta.tail_at());
        body.extend_from_slice(tail);
        meta.encode(&mut body);
        let encoding = meta.encoding();
        let header = Header { kind: Kind::Stream, encoding, expire_ms: None, body: &body };
        assert_eq!(Meta::decode(&header).unwrap(), (meta, tail));
        assert_eq!(header.generation(), meta.generation);
        assert!(Meta::decode(&Header { body: &body[..3], ..header }).is_err());
    }

    #[test]
    fn round_trips() {
        let last = Id::new(1_700_000_000_000, 3);
        let one = Meta {
            len: 1,
            last,
            added: 1,
            first: last,
            base: last,
            tail_len: 1,
            ..Meta::default()
        };
        round_trip(Meta::default(), b"");
        round_trip(one, b"entry");
        // A stream with one entry costs little more than the entry.
        let mut facts = Vec::new();
        one.encode(&mut facts);
        assert!(facts.len() <= 18, "{}", facts.len());
        let all = Id::MAX;
        let known = Idempotence {
            duration_s: 86400,
            max_size: 10_000,
            producers: u64::MAX,
            tracked: u64::MAX,
            added: u64::MAX,
            duplicates: u64::MAX,
        };
        let largest = Meta {
            generation: Some(9),
            len: u64::MAX,
            last: all,
            added: u64::MAX,
            max_deleted: all,
            first: Id::new(0, u64::MAX),
            tail_len: u64::MAX,
            base: Id::new(0, u64::MAX),
            blocks: u64::MAX,
            head: all,
            head_len: u64::MAX,
            groups: u64::MAX,
            next_number: u64::MAX,
            idempotence: Some(known),
        };
        round_trip(largest, b"tail");
        let mut facts = Vec::new();
        largest.encode(&mut facts);
        assert!(facts.len() < 250, "the length fits its byte: {}", facts.len());
        round_trip(
            Meta { generation: Some(9), blocks: 0, head_len: 0, head: Id::MIN, ..largest },
            b"",
        );
    }
}
