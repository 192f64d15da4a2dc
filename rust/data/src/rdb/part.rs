//! Values on their way in, in parts that fit into one commit.

use crate::error::Result;
use crate::hash;
use crate::header::Header;
use crate::list;
use crate::place::Key;
use crate::set;
use crate::string;
use crate::view::Write;
use forgekv_rdb::{Item, Kind};

/// A part is put into place when it has so many bytes.
const PART_BYTES: usize = 1 << 20;
/// Or so many texts.
const PART_TEXTS: usize = 1 << 14;

/// Texts, one after the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
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

    fn len(&self) -> usize {
        self.ends.len()
    }
}

/// A part of a value.
#[derive(Debug)]
pub(super) struct Part {
    kind: Kind,
    texts: Texts,
    /// Of a hash: an expiry for each field.
    expiries: Vec<Option<u64>>,
}

/// Collects the items of one value.
#[derive(Debug)]
pub(super) struct Parts {
    part: Part,
}

impl Parts {
    /// For a value of a kind; `None` if there is no such kind here.
    pub(super) fn of(kind: Kind) -> Option<Parts> {
        matches!(kind, Kind::String | Kind::List | Kind::Hash | Kind::Set)
            .then(|| Parts { part: Part { kind, texts: Texts::default(), expiries: Vec::new() } })
    }

    /// Takes an item.
    pub(super) fn take(&mut self, item: &Item<'_>) {
        let part = &mut self.part;
        match *item {
            Item::Text(text) | Item::Element(text) | Item::Member(text) => part.texts.push(text),
            Item::Scored(member, _) => part.texts.push(member),
            Item::Field(field, value, expire_ms) => {
                part.texts.push(field);
                part.texts.push(value);
                part.expiries.push(expire_ms);
            }
            _ => {}
        }
    }

    /// Whether what was taken should be put into place before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.part.texts.bytes.len() >= PART_BYTES || self.part.texts.len() >= PART_TEXTS
    }

    /// There are no more items.
    pub(super) fn finish(&mut self) {}

    /// Takes what was collected out.
    pub(super) fn split(&mut self) -> Part {
        let kind = self.part.kind;
        let empty = Part { kind, texts: Texts::default(), expiries: Vec::new() };
        std::mem::replace(&mut self.part, empty)
    }

    /// Stages what was collected, behind what the key has; false when something came twice.
    pub(super) fn put(&mut self, w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
        let part = self.split();
        part.put(w, key)
    }
}

impl Part {
    /// The size in memory, about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes.len() + 16 * self.texts.len()
    }

    /// As [`Parts::put`].
    pub(super) fn put(&self, w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
        let texts = self.texts.slices();
        match self.kind {
            Kind::String => {
                for text in texts {
                    string::load(w, key, text);
                }
                Ok(true)
            }
            Kind::Set => Ok(set::add(w, key, &texts)? == texts.len() as u64),
            Kind::List => {
                list::push(w, key, list::End::Right, &texts, false)?;
                Ok(true)
            }
            Kind::Hash => hash::load(w, key, &texts, &self.expiries),
            _ => Ok(false),
        }
    }
}

/// Gives a key that was just made an expiry; nothing else is told or counted.
pub(super) fn put_expiry(w: &mut Write<'_>, key: Key<'_>, at_ms: u64) -> Result<()> {
    let Some(header) = w.header(key)? else { return Ok(()) };
    let (body, before) = (header.body.to_vec(), header.expire_ms);
    let (kind, encoding) = (header.kind, header.encoding);
    let header = Header { kind, encoding, expire_ms: Some(at_ms), body: &body };
    w.put_header(key, &header, before);
    Ok(())
}
