//! Requests out of bytes, however the network cut them.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $5\r\nhello\r\n        an array of bulk strings
//! SET k "hello"\r\n                                       an inline command
//! ```
//!
//! The caller keeps a buffer whose first byte is the first byte not yet consumed, and may only
//! append to it (or move it) until a call says how much was consumed. Between calls the [`Parser`]
//! remembers offsets relative to that first byte, so a large request that arrives in many pieces is
//! read once. What always holds:
//!
//! - Nothing is copied: arguments are ranges of the buffer (inline ones are unquoted aside).
//! - Nothing is allocated on the word of a header; memory grows with bytes received.
//! - The outcome does not depend on how the bytes were cut.
//!
//! As in Redis, the two bytes after a bulk string and the one after a `\r` are skipped unread.

use std::fmt;

use forgekv_base::number::parse_i64;
use forgekv_base::split_args;
use memchr::memchr;

/// An inline command, or a line that announces a count or a length, is at most this long.
const MAX_LINE: usize = 64 * 1024;

/// What a client that has not authenticated may send: it needs no more for AUTH and HELLO.
const MAX_ARGS_UNAUTHENTICATED: i64 = 10;
const MAX_BULK_UNAUTHENTICATED: i64 = 16384;

/// Ranges kept allocated for the next request; a longer list is given back.
const KEPT_RANGES: usize = 1024;

/// Digits that a header line can have on the quick path without overflowing.
const SHORT_DIGITS: usize = 9;

/// How much a request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest argument (`proto-max-bulk-len`).
    pub max_bulk_len: u64,
    /// Whether the client has authenticated, or need not.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bulk_len: 512 * 1024 * 1024, authenticated: true }
    }
}

/// How far a call of [`Parser::next`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A request stands in the [`Args`]; it took this many bytes of the buffer.
    Complete {
        /// Bytes to drop from the front of the buffer once the arguments have been used.
        consumed: usize,
    },
    /// More bytes are needed.
    Incomplete {
        /// How many at the least, where a bulk string's length says so; otherwise 0.
        hint: usize,
    },
    /// An empty line or an empty array: nothing to do and nothing to answer.
    Empty {
        /// Bytes to drop from the front of the buffer.
        consumed: usize,
    },
}

/// What a client said that is not RESP. The connection is closed after the error is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count after `*` is not a number in range.
    InvalidMultibulkLength,
    /// A bulk string was due and another byte came.
    ExpectedDollar(u8),
    /// The length after `$` is not a number in range.
    InvalidBulkLength,
    /// An inline command does not end.
    TooBigInlineRequest,
    /// The line of a `*` does not end.
    TooBigMbulkCountString,
    /// The line of a `$` does not end.
    TooBigBulkCountString,
    /// The quotes of an inline command do not balance.
    UnbalancedQuotes,
    /// Too many arguments before AUTH.
    UnauthenticatedMultibulkLength,
    /// Too long an argument before AUTH.
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    /// Appends the error reply the client gets.
    pub fn write_reply(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR ");
        match self {
            // The byte may be none of a text, so it does not go through Display.
            Self::ExpectedDollar(byte) => {
                out.extend_from_slice(b"Protocol error: expected '$', got '");
                out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
                out.push(b'\'');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            Self::InvalidMultibulkLength => "invalid multibulk length",
            Self::ExpectedDollar(byte) => {
                return write!(f, "expected '$', got '{}'", byte.escape_ascii());
            }
            Self::InvalidBulkLength => "invalid bulk length",
            Self::TooBigInlineRequest => "too big inline request",
            Self::TooBigMbulkCountString => "too big mbulk count string",
            Self::TooBigBulkCountString => "too big bulk count string",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Where one argument stands: in the caller's buffer, or in [`Args::unquoted`].
#[derive(Debug, Clone, Copy)]
struct Range {
    start: usize,
    len: usize,
}

/// The arguments of one request, as ranges of the buffer it was parsed from. Reuse one for many
/// requests.
#[derive(Debug, Default)]
pub struct Args {
    ranges: Vec<Range>,
    /// Arguments of an inline command, quotes and escapes resolved.
    unquoted: Vec<u8>,
    inline: bool,
}

impl Args {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many arguments there are, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`, where `buf` is the buffer the request was parsed from. Panics, as indexing
    /// does, when there is no argument `i` or `buf` is shorter than it was.
    #[inline]
    pub fn get<'a>(&'a self, i: usize, buf: &'a [u8]) -> &'a [u8] {
        let Range { start, len } = self.ranges[i];
        let source = if self.inline { &self.unquoted } else { buf };
        &source[start..start + len]
    }

    /// All arguments in order.
    pub fn iter<'a>(&'a self, buf: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let source = if self.inline { &self.unquoted } else { buf };
        self.ranges.iter().map(move |r| &source[r.start..r.start + r.len])
    }

    /// Where argument `i` stands in the buffer, for a caller that wants to take a large value out
    /// of it; `None` when it is not there (an inline command).
    #[inline]
    pub fn range_in_buf(&self, i: usize) -> Option<std::ops::Range<usize>> {
        if self.inline {
            return None;
        }
        self.ranges.get(i).map(|r| r.start..r.start + r.len)
    }

    #[inline]
    fn reset(&mut self, inline: bool) {
        self.inline = inline;
        self.ranges.clear();
        self.unquoted.clear();
        if self.ranges.capacity() > KEPT_RANGES {
            self.ranges.shrink_to(KEPT_RANGES);
        }
    }
}

/// Where a request that is not complete yet was left.
#[derive(Debug, Default)]
struct Pending {
    /// Ranges of the arguments that are complete.
    ranges: Vec<Range>,
    /// Arguments still to come; 0 when the request's first line is.
    missing: usize,
    /// Where the unfinished line or bulk string begins.
    pos: usize,
    /// Bytes from `pos` on that were searched for the end of the line.
    searched: usize,
    /// Bytes of the header of an unfinished bulk string, and of the string.
    header: usize,
    bulk: usize,
}

/// Cuts requests out of one connection's bytes; holds what is known of an incomplete one.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Pending,
}

/// A line that announces a number: `*3\r\n`.
enum Header {
    /// The number (`None` if it is not one) and where the next line begins.
    Line(Option<i64>, usize),
    /// The line has not ended.
    Open,
    /// The line is longer than any number.
    TooLong,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether part of a request has been read.
    pub fn is_mid_request(&self) -> bool {
        self.pending.missing > 0 || self.pending.searched > 0
    }

    /// How many bytes at the front of an incomplete request are done with: complete arguments, and headers.
    pub fn settled(&self) -> usize {
        if self.pending.missing > 0 { self.pending.pos + self.pending.header } else { 0 }
    }

    /// Whether an unfinished bulk string of at least `len` bytes is the reason that more bytes are needed.
    pub fn is_in_bulk(&self, len: usize) -> bool {
        self.pending.missing > 0 && self.pending.bulk > 0 && self.pending.bulk >= len
    }

    /// Reads the next request of `buf` into `args`. On [`Status::Incomplete`] call again with the
    /// same bytes and more behind them; `args` means nothing until then and may be another one.
    /// After an error the parser must not be used again.
    #[inline]
    pub fn next(
        &mut self,
        buf: &[u8],
        args: &mut Args,
        limits: &Limits,
    ) -> Result<Status, ProtocolError> {
        if self.pending.missing > 0 {
            // Take up the work with the list it was begun with.
            std::mem::swap(&mut args.ranges, &mut self.pending.ranges);
            args.unquoted.clear();
            args.inline = false;
            let (missing, pos) = (self.pending.missing, self.pending.pos);
            return self.bulks(buf, pos, missing, args, limits);
        }
        match buf.first() {
            None => Ok(Status::Incomplete { hint: 0 }),
            Some(b'*') => self.multibulk(buf, args, limits),
            Some(_) => self.inline(buf, args),
        }
    }

    fn multibulk(
        &mut self,
        buf: &[u8],
        args: &mut Args,
        limits: &Limits,
    ) -> Result<Status, ProtocolError> {
        let (count, pos) = match header(buf, 0, &mut self.pending.searched) {
            Header::Line(count, next) => (count, next),
            Header::Open => return Ok(Status::Incomplete { hint: 0 }),
            Header::TooLong => return Err(ProtocolError::TooBigMbulkCountString),
        };
        let count = match count {
            Some(count) if count <= i64::from(i32::MAX) => count,
            _ => return Err(ProtocolError::InvalidMultibulkLength),
        };
        if count > MAX_ARGS_UNAUTHENTICATED && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        args.reset(false);
        if count <= 0 {
            return Ok(Status::Empty { consumed: pos });
        }
        self.bulks(buf, pos, count as usize, args, limits)
    }

    /// Reads `missing` bulk strings from `pos` on.
    fn bulks(
        &mut self,
        buf: &[u8],
        mut pos: usize,
        mut missing: usize,
        args: &mut Args,
        limits: &Limits,
    ) -> Result<Status, ProtocolError> {
        let mut hint = 0;
        (self.pending.header, self.pending.bulk) = (0, 0);
        while missing > 0 {
            let (len, start) = match header(buf, pos, &mut self.pending.searched) {
                Header::Line(len, start) => (len, start),
                Header::Open => break,
                Header::TooLong => return Err(ProtocolError::TooBigBulkCountString),
            };
            if buf[pos] != b'$' {
                return Err(ProtocolError::ExpectedDollar(buf[pos]));
            }
            let len = match len {
                Some(len) if len >= 0 && len as u64 <= limits.max_bulk_len => len,
                _ => return Err(ProtocolError::InvalidBulkLength),
            };
            if len > MAX_BULK_UNAUTHENTICATED && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedBulkLength);
            }
            // The \r\n behind the bulk string must have come too.
            let len = len as usize;
            let need = len.saturating_add(2);
            let have = buf.len() - start;
            if have < need {
                hint = need - have;
                (self.pending.header, self.pending.bulk) = (start - pos, len);
                break;
            }
            args.ranges.push(Range { start, len });
            pos = start + need;
            missing -= 1;
        }
        if missing == 0 {
            self.pending.missing = 0;
            return Ok(Status::Complete { consumed: pos });
        }
        self.pending.missing = missing;
        self.pending.pos = pos;
        std::mem::swap(&mut args.ranges, &mut self.pending.ranges);
        args.ranges.clear();
        Ok(Status::Incomplete { hint })
    }

    fn inline(&mut self, buf: &[u8], args: &mut Args) -> Result<Status, ProtocolError> {
        let searched = self.pending.searched;
        let end = memchr(b'\n', &buf[searched..]).map(|at| searched + at);
        if end.unwrap_or(buf.len()) > MAX_LINE {
            return Err(ProtocolError::TooBigInlineRequest);
        }
        let Some(end) = end else {
            self.pending.searched = buf.len();
            return Ok(Status::Incomplete { hint: 0 });
        };
        self.pending.searched = 0;
        args.reset(true);
        let mut rest = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        loop {
            let start = args.unquoted.len();
            match split_args::next_arg(rest, &mut args.unquoted) {
                Ok(Some(tail)) => {
                    args.ranges.push(Range { start, len: args.unquoted.len() - start });
                    rest = tail;
                }
                Ok(None) => break,
                Err(split_args::UnbalancedQuotes) => return Err(ProtocolError::UnbalancedQuotes),
            }
        }
        let consumed = end + 1;
        Ok(if args.is_empty() { Status::Empty { consumed } } else { Status::Complete { consumed } })
    }
}

/// Reads the line at `pos`: its first byte is skipped, what follows up to `\r` is the number.
#[inline]
fn header(buf: &[u8], pos: usize, searched: &mut usize) -> Header {
    // Nearly every header is a few digits that are all there.
    let digits = buf.get(pos + 1..).unwrap_or_default();
    let mut value = 0i64;
    for (i, &byte) in digits.iter().take(SHORT_DIGITS + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value * 10 + i64::from(digit);
            continue;
        }
        // A leading zero is left to the strict way, unless the number is zero.
        if byte == b'\r' && i > 0 && (digits[0] != b'0' || i == 1) && digits.len() > i + 1 {
            *searched = 0;
            return Header::Line(Some(value), pos + 1 + i + 2);
        }
        break;
    }
    header_slow(buf, pos, searched)
}

/// Any line: not complete, negative, long, wrong.
#[cold]
fn header_slow(buf: &[u8], pos: usize, searched: &mut usize) -> Header {
    let line = buf.get(pos..).unwrap_or_default();
    let end = memchr(b'\r', line.get(*searched..).unwrap_or_default()).map(|at| *searched + at);
    if end.unwrap_or(line.len()) > MAX_LINE {
        return Header::TooLong;
    }
    match end {
        Some(end) if line.len() >= end + 2 => {
            *searched = 0;
            // A line of nothing but \r has no first byte to skip.
            Header::Line(line.get(1..end).and_then(parse_i64), pos + end + 2)
        }
        Some(end) => {
            *searched = end;
            Header::Open
        }
        None => {
            *searched = line.len();
            Header::Open
        }
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
