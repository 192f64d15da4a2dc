//! Values on their way in, in parts that fit into one commit.

use crate::error::Result;
use crate::hash;
use crate::header::Header;
use crate::list;
use crate::place::Key;
use crate::set;
use crate::stream;
use crate::string;
use crate::view::Write;
use crate::zset;
use forgekv_rdb::{Item, Kind, StreamId};

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
    /// Of a sorted set: a score for each member.
    scores: Vec<f64>,
    /// Of a stream: what is to be done, one after the other.
    steps: Vec<Step>,
}

/// A step in the making of a stream.
#[derive(Debug)]
enum Step {
    /// An entry, of so many of the texts.
    Entry(stream::Id, usize),
    About {
        last: stream::Id,
        max_deleted: stream::Id,
        added: u64,
    },
    Group {
        name: Vec<u8>,
        last: stream::Id,
        read: Option<u64>,
        is_untold: bool,
    },
    Consumer {
        group: Vec<u8>,
        name: Vec<u8>,
        seen_ms: u64,
        active_ms: Option<u64>,
    },
    /// What is pending with one consumer.
    Pending {
        group: Vec<u8>,
        consumer: Vec<u8>,
        entries: Vec<(stream::Id, u64, u64)>,
    },
}

fn id(id: StreamId) -> stream::Id {
    stream::Id::new(id.ms, id.seq)
}

/// Collects the items of one value.
#[derive(Debug)]
pub(super) struct Parts {
    part: Part,
    /// The group and the consumer of a stream that came last.
    group: Vec<u8>,
    consumer: Vec<u8>,
    /// What was taken beside texts.
    others: usize,
}

impl Parts {
    /// For a value of a kind; `None` if there is no such kind here.
    pub(super) fn of(kind: Kind) -> Option<Parts> {
        let (group, consumer) = (Vec::new(), Vec::new());
        let part = Part::new(kind);
        (kind != Kind::Module).then_some(Parts { part, group, consumer, others: 0 })
    }

    /// Takes an item.
    pub(super) fn take(&mut self, item: &Item<'_>) {
        let part = &mut self.part;
        match *item {
            Item::Text(text) | Item::Element(text) | Item::Member(text) => part.texts.push(text),
            Item::Scored(member, score) => {
                part.texts.push(member);
                part.scores.push(score);
            }
            Item::Field(field, value, expire_ms) => {
                part.texts.push(field);
                part.texts.push(value);
                part.expiries.push(expire_ms);
            }
            Item::Entry(at, texts) => {
                texts.iter().for_each(|text| part.texts.push(text));
                part.steps.push(Step::Entry(id(at), texts.len()));
            }
            Item::Stream { last, max_deleted, added } => {
                part.steps.push(Step::About {
                    last: id(last),
                    max_deleted: id(max_deleted),
                    added,
                });
            }
            Item::Group { name, last, read, is_untold } => {
                self.group = name.to_vec();
                let (name, last) = (name.to_vec(), id(last));
                part.steps.push(Step::Group { name, last, read, is_untold });
            }
            Item::Consumer { name, seen_ms, active_ms } => {
                self.consumer = name.to_vec();
                let (group, name) = (self.group.clone(), name.to_vec());
                // Older forms do not tell them apart.
                let active_ms = active_ms.or(Some(seen_ms));
                part.steps.push(Step::Consumer { group, name, seen_ms, active_ms });
            }
            Item::Pending { id: at, delivered_ms, deliveries } => {
                self.others += 1;
                let entry = (id(at), delivered_ms, deliveries);
                match part.steps.last_mut() {
                    Some(Step::Pending { group, consumer, entries })
                        if *group == self.group && *consumer == self.consumer =>
                    {
                        entries.push(entry);
                    }
                    _ => {
                        let (group, consumer) = (self.group.clone(), self.consumer.clone());
                        part.steps.push(Step::Pending { group, consumer, entries: vec![entry] });
                    }
                }
            }
        }
    }

    /// Whether what was taken should be put into place before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.part.texts.bytes.len() >= PART_BYTES
            || self.part.texts.len() + self.others >= PART_TEXTS
    }

    /// Takes what was collected out.
    pub(super) fn split(&mut self) -> Part {
        self.others = 0;
        let empty = Part::new(self.part.kind);
        std::mem::replace(&mut self.part, empty)
    }

    /// Stages what was collected, behind what the key has; false when something came twice.
    pub(super) fn put(&mut self, w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
        let part = self.split();
        part.put(w, key)
    }
}

impl Part {
    fn new(kind: Kind) -> Part {
        Part {
            kind,
            texts: Texts::default(),
            expiries: Vec::new(),
            scores: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The size in memory, about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes.len() + 16 * self.texts.len() + 64 * self.steps.len()
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
            Kind::ZSet => {
                let pairs = self.scores.iter().copied().zip(texts.iter().copied());
                let done = zset::add(w, key, zset::Conditions::default(), pairs)?;
                Ok(done.added == texts.len() as u64)
            }
            Kind::Hash => hash::load(w, key, &texts, &self.expiries),
            Kind::Stream => self.put_stream(w, key, &texts),
            Kind::Module => Ok(false),
        }
    }

    fn put_stream(&self, w: &mut Write<'_>, key: Key<'_>, texts: &[&[u8]]) -> Result<bool> {
        let (mut entries, mut rest) = (Vec::new(), texts);
        for step in &self.steps {
            if let Step::Entry(id, len) = step {
                let (own, others) = rest.split_at((*len).min(rest.len()));
                rest = others;
                entries.push((*id, own));
            }
        }
        if !entries.is_empty() && !stream::load_entries(w, key, &entries)? {
            return Ok(false);
        }
        for step in &self.steps {
            let is_new = match step {
                Step::Entry(..) => true,
                Step::About { last, max_deleted, added } => {
                    stream::load_about(w, key, *last, *max_deleted, *added)?;
                    true
                }
                Step::Group { name, last, read, is_untold } => {
                    let read = match is_untold {
                        true => stream::read_up_to(w, key, *last)?,
                        false => *read,
                    };
                    stream::load_group(w, key, name, *last, read)?
                }
                Step::Consumer { group, name, seen_ms, active_ms } => {
                    stream::load_consumer(w, key, group, name, *seen_ms, *active_ms)?
                }
                Step::Pending { group, consumer, entries } => {
                    stream::load_pending(w, key, group, consumer, entries)?
                }
            };
            if !is_new {
                return Ok(false);
            }
        }
        Ok(true)
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
