//! Writing the entries of a stream, in nodes of some at a time.
//!
//! How many nodes there are is written before them: so the entries are walked twice, first by
//! [`NodesCount`], then by [`Nodes`], which cut them at the same places.

use crate::encoder::Encoder;
use crate::item::StreamId;
use crate::listpack::Builder;
use crate::stream::SAME_FIELDS;
use std::io;

/// A node takes no more entries, and none beyond so many bytes.
const ENTRIES_MAX: u64 = 100;
const BYTES_MAX: usize = 4096;

/// Cuts entries into nodes.
#[derive(Debug, Default)]
struct Cut {
    entries: u64,
    bytes: usize,
}

impl Cut {
    /// Whether an entry begins a new node.
    fn begins(&mut self, texts: &[&[u8]]) -> bool {
        let bytes = texts.iter().map(|text| text.len() + 2).sum::<usize>();
        let begins =
            self.entries == 0 || self.entries == ENTRIES_MAX || self.bytes + bytes > BYTES_MAX;
        if begins {
            *self = Cut::default();
        }
        self.entries += 1;
        self.bytes += bytes;
        begins
    }
}

/// Counts the nodes that entries will take.
#[derive(Debug, Default)]
pub struct NodesCount {
    cut: Cut,
    nodes: u64,
}

impl NodesCount {
    /// Counts an entry: fields, each with its value behind it.
    pub fn entry(&mut self, texts: &[&[u8]]) {
        self.nodes += u64::from(self.cut.begins(texts));
    }

    /// The nodes.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }
}

/// Writes entries.
#[derive(Debug, Default)]
pub struct Nodes {
    cut: Cut,
    node: Option<Node>,
}

#[derive(Debug)]
struct Node {
    master: StreamId,
    fields: Vec<Vec<u8>>,
    live: i64,
    /// The entries, as a listpack of their own, whose head is made anew in the end.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: StreamId,
    is_same: bool,
    texts: Vec<Vec<u8>>,
}

impl Nodes {
    /// Writes an entry: fields, each with its value behind it.
    ///
    /// # Errors
    /// What the output met.
    pub fn entry(
        &mut self,
        id: StreamId,
        texts: &[&[u8]],
        out: &mut Encoder<'_>,
    ) -> io::Result<()> {
        if self.cut.begins(texts) {
            self.finish(out)?;
        }
        let node = self.node.get_or_insert_with(|| Node {
            master: id,
            fields: texts.iter().step_by(2).map(|field| field.to_vec()).collect(),
            live: 0,
            entries: Vec::new(),
        });
        let fields = texts.iter().step_by(2);
        let is_same = texts.len() == 2 * node.fields.len()
            && fields.zip(&node.fields).all(|(field, master)| *field == master.as_slice());
        let (skip, step) = if is_same { (1, 2) } else { (0, 1) };
        let texts = texts.iter().skip(skip).step_by(step).map(|text| text.to_vec()).collect();
        node.live += 1;
        node.entries.push(Entry { id, is_same, texts });
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// What the output met.
    pub fn finish(&mut self, out: &mut Encoder<'_>) -> io::Result<()> {
        let Some(Node { master, fields, live, entries }) = self.node.take() else { return Ok(()) };
        let mut list = Builder::new();
        list.int(live);
        list.int(0);
        list.int(fields.len() as i64);
        fields.iter().for_each(|field| list.text(field));
        list.int(0);
        for Entry { id, is_same, texts } in entries {
            list.int(if is_same { SAME_FIELDS } else { 0 });
            list.int((id.ms - master.ms) as i64);
            list.int(id.seq.wrapping_sub(master.seq) as i64);
            let mut elements = texts.len() as i64 + 3;
            if !is_same {
                list.int(texts.len() as i64 / 2);
                elements += 1;
            }
            texts.iter().for_each(|text| list.text(text));
            list.int(elements);
        }
        out.raw_string(&master.to_bytes())?;
        out.raw_string(&list.finish())
    }
}
