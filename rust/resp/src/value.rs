//! The client's side of the wire: a reply as a value, a command as bytes. For tests and tools.

use std::fmt;

use forgekv_base::number::{format_f64, format_i64, parse_f64, parse_i64};
use memchr::memchr;

/// Aggregates may be nested this deep; deeper ones are refused rather than recursed into.
const MAX_DEPTH: usize = 256;

/// One reply, of RESP2 or RESP3.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `_`, RESP3's only null.
    Null,
    /// `$-1`, RESP2's null string.
    NullBulk,
    /// `*-1`, RESP2's null array.
    NullArray,
    /// `+OK`.
    Simple(Vec<u8>),
    /// `-ERR ...`.
    Error(Vec<u8>),
    /// `!<len>`, an error that may hold any byte.
    BulkError(Vec<u8>),
    /// `:1`.
    Int(i64),
    /// `$<len>`.
    Bulk(Vec<u8>),
    /// `*<n>`.
    Array(Vec<Value>),
    /// `%<n>`.
    Map(Vec<(Value, Value)>),
    /// `~<n>`.
    Set(Vec<Value>),
    /// `><n>`.
    Push(Vec<Value>),
    /// `,1.5`.
    Double(f64),
    /// `#t`, `#f`.
    Bool(bool),
    /// `=<len>`, three bytes that name the kind, a colon and the text.
    Verbatim {
        /// The kind.
        ext: [u8; 3],
        /// The text.
        text: Vec<u8>,
    },
    /// `(12345678901234567890`.
    BigNumber(Vec<u8>),
    /// `|<n>` pairs about the value after them.
    Attribute {
        /// What is said about the value.
        pairs: Vec<(Value, Value)>,
        /// The value itself.
        value: Box<Value>,
    },
}

/// Bytes that are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// Where in the bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for DecodeError {}

/// `Ok(None)`: cut short.
type Decoded<T> = Result<Option<T>, DecodeError>;

impl Value {
    /// The reply at the start of `bytes` and how many bytes it took; `None` when more must come.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut decoder = Decoder { bytes, pos: 0 };
        Ok(decoder.value(MAX_DEPTH)?.map(|value| (value, decoder.pos)))
    }

    /// All replies in `bytes`; what is cut short at their end is left out.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut decoder = Decoder { bytes, pos: 0 };
        let mut all = Vec::new();
        while let Some(value) = decoder.value(MAX_DEPTH)? {
            all.push(value);
        }
        Ok(all)
    }

    /// Appends this value as a server would send it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"_\r\n"),
            Self::NullBulk => out.extend_from_slice(b"$-1\r\n"),
            Self::NullArray => out.extend_from_slice(b"*-1\r\n"),
            Self::Simple(text) => encode_line(out, b'+', text),
            Self::Error(text) => encode_line(out, b'-', text),
            Self::BigNumber(digits) => encode_line(out, b'(', digits),
            Self::BulkError(text) => encode_blob(out, b'!', &[text]),
            Self::Bulk(bytes) => encode_blob(out, b'$', &[bytes]),
            Self::Verbatim { ext, text } => encode_blob(out, b'=', &[ext, b":", text]),
            Self::Int(value) => encode_header(out, b':', *value),
            Self::Bool(value) => out.extend_from_slice(if *value { b"#t\r\n" } else { b"#f\r\n" }),
            Self::Double(value) => {
                out.push(b',');
                format_f64(*value, out);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(items) => encode_items(out, b'*', items),
            Self::Set(items) => encode_items(out, b'~', items),
            Self::Push(items) => encode_items(out, b'>', items),
            Self::Map(pairs) => encode_pairs(out, b'%', pairs),
            Self::Attribute { pairs, value } => {
                encode_pairs(out, b'|', pairs);
                value.encode(out);
            }
        }
    }

    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_) | Self::BulkError(_))
    }

    /// Whether this is any of the nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::NullBulk | Self::NullArray)
    }

    /// The bytes of a string of any kind, error texts among them.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(b)
            | Self::Error(b)
            | Self::BulkError(b)
            | Self::Bulk(b)
            | Self::BigNumber(b)
            | Self::Verbatim { text: b, .. } => Some(b),
            _ => None,
        }
    }

    /// The integer this is.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array, a set or a push.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }
}

/// A command as an array of bulk strings.
pub fn encode_command<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(&mut out, b'*', args.len() as i64);
    for arg in args {
        encode_blob(&mut out, b'$', &[arg.as_ref()]);
    }
    out
}

fn encode_header(out: &mut Vec<u8>, kind: u8, value: i64) {
    out.push(kind);
    format_i64(value, out);
    out.extend_from_slice(b"\r\n");
}

fn encode_line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn encode_blob(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    encode_header(out, kind, parts.iter().map(|p| p.len() as i64).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

fn encode_items(out: &mut Vec<u8>, kind: u8, items: &[Value]) {
    encode_header(out, kind, items.len() as i64);
    items.iter().for_each(|item| item.encode(out));
}

fn encode_pairs(out: &mut Vec<u8>, kind: u8, pairs: &[(Value, Value)]) {
    encode_header(out, kind, pairs.len() as i64);
    for (key, value) in pairs {
        key.encode(out);
        value.encode(out);
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, depth: usize) -> Decoded<Value> {
        let Some(line) = self.line()? else { return Ok(None) };
        let Some((&kind, rest)) = line.split_first() else {
            return self.wrong("an empty line");
        };
        let value = match kind {
            b'+' => Value::Simple(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b'(' => Value::BigNumber(rest.to_vec()),
            b':' => Value::Int(self.number(rest)?),
            b'_' if rest.is_empty() => Value::Null,
            b'#' if rest == b"t" => Value::Bool(true),
            b'#' if rest == b"f" => Value::Bool(false),
            b',' if rest == b"nan" => Value::Double(f64::NAN),
            b',' => match parse_f64(rest) {
                Some(value) => Value::Double(value),
                None => return self.wrong("not a double"),
            },
            b'$' if rest == b"-1" => Value::NullBulk,
            b'*' if rest == b"-1" => Value::NullArray,
            b'$' | b'!' | b'=' => {
                let Some(blob) = self.blob(rest)? else { return Ok(None) };
                match kind {
                    b'$' => Value::Bulk(blob.to_vec()),
                    b'!' => Value::BulkError(blob.to_vec()),
                    _ => match blob {
                        [a, b, c, b':', text @ ..] => {
                            Value::Verbatim { ext: [*a, *b, *c], text: text.to_vec() }
                        }
                        _ => return self.wrong("a verbatim string without its kind"),
                    },
                }
            }
            b'*' | b'~' | b'>' => {
                let Some(items) = self.items(rest, depth)? else { return Ok(None) };
                match kind {
                    b'*' => Value::Array(items),
                    b'~' => Value::Set(items),
                    _ => Value::Push(items),
                }
            }
            b'%' | b'|' => {
                let Some(pairs) = self.pairs(rest, depth)? else { return Ok(None) };
                if kind == b'%' {
                    Value::Map(pairs)
                } else {
                    let Some(value) = self.inner(depth)? else { return Ok(None) };
                    Value::Attribute { pairs, value: Box::new(value) }
                }
            }
            _ => return self.wrong("an unknown type"),
        };
        Ok(Some(value))
    }

    fn inner(&mut self, depth: usize) -> Decoded<Value> {
        if depth == 0 { self.wrong("nested too deep") } else { self.value(depth - 1) }
    }

    fn items(&mut self, count: &[u8], depth: usize) -> Decoded<Vec<Value>> {
        // Grown element by element: a count is a claim, not yet memory.
        let mut items = Vec::new();
        for _ in 0..self.size(count)? {
            let Some(item) = self.inner(depth)? else { return Ok(None) };
            items.push(item);
        }
        Ok(Some(items))
    }

    fn pairs(&mut self, count: &[u8], depth: usize) -> Decoded<Vec<(Value, Value)>> {
        let mut pairs = Vec::new();
        for _ in 0..self.size(count)? {
            let Some(key) = self.inner(depth)? else { return Ok(None) };
            let Some(value) = self.inner(depth)? else { return Ok(None) };
            pairs.push((key, value));
        }
        Ok(Some(pairs))
    }

    /// The `len` bytes that follow, and the line end behind them.
    fn blob(&mut self, len: &[u8]) -> Decoded<&'a [u8]> {
        let len = self.size(len)?;
        let rest = &self.bytes[self.pos..];
        if rest.len() < len.saturating_add(2) {
            return Ok(None);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return self.wrong("a string longer than its length");
        }
        self.pos += len + 2;
        Ok(Some(&rest[..len]))
    }

    /// The line that begins here, without its end.
    fn line(&mut self) -> Decoded<&'a [u8]> {
        let rest = &self.bytes[self.pos..];
        let Some(end) = memchr(b'\n', rest) else { return Ok(None) };
        let Some(line) = rest[..end].strip_suffix(b"\r") else {
            return self.wrong("a line that does not end in \\r\\n");
        };
        self.pos += end + 1;
        Ok(Some(line))
    }

    fn size(&self, text: &[u8]) -> Result<usize, DecodeError> {
        usize::try_from(self.number(text)?).or_else(|_| self.wrong("a negative length"))
    }

    fn number(&self, text: &[u8]) -> Result<i64, DecodeError> {
        parse_i64(text).map_or_else(|| self.wrong("not a number"), Ok)
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError { at: self.pos, what })
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
pub(crate) mod tests;
