//! What values consist of.

use std::fmt;

/// The place of an entry in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Unix milliseconds.
    pub ms: u64,
    /// The number among those of one millisecond.
    pub seq: u64,
}

impl StreamId {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let wide = u128::from_be_bytes(bytes);
        StreamId { ms: (wide >> 64) as u64, seq: wide as u64 }
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A part of a value, in the order in which the bytes have it.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// A string, whole.
    Text(&'a [u8]),
    /// The next element of a list.
    Element(&'a [u8]),
    /// A member of a set.
    Member(&'a [u8]),
    /// A member of a sorted set and its score, which is a number.
    Scored(&'a [u8], f64),
    /// A field of a hash, its value, and when it expires, in Unix milliseconds.
    Field(&'a [u8], &'a [u8], Option<u64>),
    /// The next entry of a stream: fields, each with its value behind it.
    Entry(StreamId, &'a [&'a [u8]]),
    /// What a stream says of itself. After its entries.
    Stream {
        /// The id given last.
        last: StreamId,
        /// The largest id that was deleted.
        max_deleted: StreamId,
        /// How many entries there ever were.
        added: u64,
    },
    /// A consumer group of the stream. Its consumers follow.
    Group {
        /// Its name.
        name: &'a [u8],
        /// The id delivered last.
        last: StreamId,
        /// How many entries it has read, if that is known.
        read: Option<u64>,
        /// The form is older than that number: it follows from what the stream says, if at all.
        is_untold: bool,
    },
    /// A consumer of the group before. Its pending entries follow.
    Consumer {
        /// Its name.
        name: &'a [u8],
        /// When it asked last, in Unix milliseconds.
        seen_ms: u64,
        /// When it got something last, in Unix milliseconds, if it ever did and that is known.
        active_ms: Option<u64>,
    },
    /// An entry that the consumer before was given and has not acknowledged.
    Pending {
        /// The entry.
        id: StreamId,
        /// When it was delivered last, in Unix milliseconds.
        delivered_ms: u64,
        /// How often.
        deliveries: u64,
    },
}

/// An element of a packed list: Redis keeps some as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A number.
    Int(i64),
}

impl<'a> Piece<'a> {
    /// Its text.
    pub fn text<'b>(&self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Piece::Bytes(bytes) => bytes,
            Piece::Int(n) => digits.format(n).as_bytes(),
        }
    }
}
