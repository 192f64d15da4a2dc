//! Answers into bytes, for either version of the protocol.
//!
//! A command says what it means (a map, a double, a null) and the writer says it in the words of
//! the client's protocol: RESP3 has a type for each, RESP2 has arrays, bulk strings and integers.
//! Replies go straight into the connection's output; [`Mark`] takes back what a command wrote when
//! it turns out that it has to answer something else.

use std::fmt;

use forgekv_base::number::{format_f64, format_i64};

/// The version of the protocol a client speaks (HELLO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proto {
    /// RESP2, which every connection begins with.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp2 => "2",
            Self::Resp3 => "3",
        })
    }
}

/// A place in the output to return to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Mark(usize);

/// An aggregate whose size is not known yet. Its elements are being written; one of the `finish`
/// methods puts the header before them. Of several open ones the latest is finished first.
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    at: usize,
}

/// Writes replies to one client.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

/// Room for any header: a type byte, twenty digits with a sign, `\r\n`.
const HEADER: usize = 24;

impl<'a> Reply<'a> {
    /// A writer that appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Self {
        Self { out, proto }
    }

    /// The protocol in use.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether the client speaks RESP3.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Changes the protocol for what is written from here on.
    #[inline]
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// How many bytes stand in the output, those of earlier replies included.
    #[inline]
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// The end of the output so far.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.out.len())
    }

    /// Drops everything written since `mark`.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.0);
    }

    /// What was written since `mark`.
    #[inline]
    pub fn since(&self, mark: Mark) -> &[u8] {
        self.out.get(mark.0..).unwrap_or_default()
    }

    /// Bytes that are a reply already, in this client's protocol.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. Line ends in it, which would end the reply, become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, its code word first: `ERR no such key`. Line ends in it become spaces.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// As [`error`](Self::error), for a text that repeats a client's bytes.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        match value {
            0 => self.out.extend_from_slice(b":0\r\n"),
            1 => self.out.extend_from_slice(b":1\r\n"),
            _ => self.number_line(b':', value),
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + HEADER + 2);
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The header of a bulk string whose `len` bytes, and `\r\n` after them, the caller writes
    /// with [`raw`](Self::raw): for values that stand in pieces.
    #[inline]
    pub fn bulk_header(&mut self, len: usize) {
        self.out.reserve(len.saturating_add(HEADER + 2).min(1 << 20));
        self.header(b'$', len);
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// No value where a string might have been.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No value where an array might have been.
    #[inline]
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// An array of `n` elements, which follow.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }

    /// A map of `n` pairs, whose keys and values follow in turn; in RESP2 an array of `2n`.
    #[inline]
    pub fn map(&mut self, n: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', 2 * n),
            Proto::Resp3 => self.header(b'%', n),
        }
    }

    /// A set of `n` elements, which follow; in RESP2 an array.
    #[inline]
    pub fn set(&mut self, n: usize) {
        self.aggregate(b'~', n);
    }

    /// An out-of-band message of `n` elements, which follow; in RESP2 an array.
    #[inline]
    pub fn push(&mut self, n: usize) {
        self.aggregate(b'>', n);
    }

    /// Attributes of the reply after them: `n` pairs, which follow. RESP2 has no such thing; the
    /// answer is then `false`, nothing was written, and the pairs must not be either.
    #[must_use]
    pub fn attribute(&mut self, n: usize) -> bool {
        if self.is_resp3() {
            self.header(b'|', n);
        }
        self.is_resp3()
    }

    /// A double; in RESP2 its text as a bulk string.
    pub fn double(&mut self, value: f64) {
        match self.proto {
            Proto::Resp2 => {
                let mut text = Vec::with_capacity(32);
                format_f64(value, &mut text);
                self.bulk(&text);
            }
            Proto::Resp3 => {
                self.out.push(b',');
                format_f64(value, self.out);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A boolean; in RESP2 the integer 1 or 0.
    pub fn bool(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(value)),
            Proto::Resp3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// Text for people, `ext` naming its kind (`txt`, `mkd`); in RESP2 a bulk string.
    pub fn verbatim(&mut self, ext: [u8; 3], text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.out.reserve(text.len() + HEADER + 6);
                self.header(b'=', text.len() + 4);
                self.out.extend_from_slice(&ext);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// An integer of any size as its decimal digits; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits),
            Proto::Resp3 => self.line(b'(', digits),
        }
    }

    /// Begins an aggregate whose size will be known when its elements have been written.
    #[inline]
    pub fn deferred(&mut self) -> Deferred {
        Deferred { at: self.out.len() }
    }

    /// As [`deferred`](Self::deferred); to be finished with [`finish_array`](Self::finish_array).
    #[inline]
    pub fn deferred_array(&mut self) -> Deferred {
        self.deferred()
    }

    /// The elements written since `deferred` are an array of `n`.
    pub fn finish_array(&mut self, deferred: Deferred, n: usize) {
        self.finish(deferred, |header| header.array(n));
    }

    /// The elements written since `deferred` are a map of `n` pairs.
    pub fn finish_map(&mut self, deferred: Deferred, n: usize) {
        self.finish(deferred, |header| header.map(n));
    }

    /// The elements written since `deferred` are a set of `n`.
    pub fn finish_set(&mut self, deferred: Deferred, n: usize) {
        self.finish(deferred, |header| header.set(n));
    }

    /// The elements written since `deferred` are an out-of-band message of `n`.
    pub fn finish_push(&mut self, deferred: Deferred, n: usize) {
        self.finish(deferred, |header| header.push(n));
    }

    /// Writes the header behind the elements and turns it to the front of them: one move of bytes
    /// that are still in the cache, and no guess at the header's width.
    fn finish(&mut self, Deferred { at }: Deferred, header: impl FnOnce(&mut Self)) {
        let end = self.out.len();
        header(self);
        if let Some(written) = self.out.get_mut(at..) {
            written.rotate_left(end - at);
        }
    }

    #[inline]
    fn aggregate(&mut self, resp3_type: u8, n: usize) {
        self.header(if self.is_resp3() { resp3_type } else { b'*' }, n);
    }

    /// `<type><n>\r\n`.
    #[inline]
    fn header(&mut self, kind: u8, n: usize) {
        // Most lengths and counts are below a hundred; they are put down in one go.
        if n < 10 {
            self.out.extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']);
        } else if n < 100 {
            let (tens, ones) = (b'0' + (n / 10) as u8, b'0' + (n % 10) as u8);
            self.out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
        } else {
            self.number_line(kind, n as i64);
        }
    }

    fn number_line(&mut self, kind: u8, value: i64) {
        self.out.reserve(HEADER);
        self.out.push(kind);
        format_i64(value, self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        let start = self.out.len();
        self.out.extend_from_slice(text);
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
