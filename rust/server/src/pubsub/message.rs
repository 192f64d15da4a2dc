//! A message on its way, and what goes over the wire.

use super::{Kind, Name};
use forgekv_resp::{Proto, Reply};

/// Something that was published.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) channel: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    /// `Channel` or `Shard`.
    pub(crate) kind: Kind,
    /// The patterns that fit and have subscribers.
    pub(crate) patterns: Vec<Name>,
    /// Counts up with messages and subscriptions.
    pub(crate) number: u64,
    /// It may leave when the log is written (or synced) up to here.
    pub(crate) lsn: u64,
}

impl Message {
    /// For those who have subscribed to the channel.
    pub(crate) fn encode(&self) -> Encoded {
        let word: &[u8] = if self.kind == Kind::Shard { b"smessage" } else { b"message" };
        Encoded::new(&[word, &self.channel, &self.payload])
    }

    /// For those who have subscribed to a pattern.
    pub(crate) fn encode_for(&self, pattern: &[u8]) -> Encoded {
        Encoded::new(&[b"pmessage", pattern, &self.channel, &self.payload])
    }
}

/// Strings as a push, in both protocols: they differ in the first byte only.
#[derive(Debug)]
pub(crate) struct Encoded(Vec<u8>);

impl Encoded {
    fn new(words: &[&[u8]]) -> Encoded {
        let mut bytes = Vec::with_capacity(words.iter().map(|word| word.len() + 24).sum());
        let mut reply = Reply::new(&mut bytes, Proto::Resp3);
        reply.push(words.len());
        for word in words {
            reply.bulk(word);
        }
        Encoded(bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends it to an output.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>, resp3: bool) {
        let start = out.len();
        out.extend_from_slice(&self.0);
        if !resp3 && let Some(first) = out.get_mut(start) {
            *first = b'*';
        }
    }
}
