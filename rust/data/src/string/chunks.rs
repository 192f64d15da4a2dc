//! Large strings in pieces, so that a change touches only what it changes.
//!
//! ```text
//! header body: | generation u64 LE | length u64 LE | chunk size u32 LE |
//! element:     | chunk number u32 BE |  ->  the bytes of this chunk, at most `chunk size`
//! ```
//!
//! 1. Byte `i` is byte `i mod size` of chunk `i / size`. A chunk that is missing, and what is missing at
//!    the end of a chunk, is zeros: a bit set far out costs one chunk.
//! 2. No chunk lies wholly beyond the length.
//! 3. The chunk size is chosen when the chunks are made and never changes: large for a value that was
//!    written whole, small for one that grew in place and will be changed in place again.

use crate::error::{Error, Result};
use crate::header::Header;
use crate::place::Key;
use crate::rdb::Elements;
use crate::view::{Read, Write};
use std::ops::{Bound, ControlFlow, Range};

/// Just below what the allocator and the blocks of tables hold with key and header: 4 KiB, 32 KiB. Both
/// are multiples of eight, for who counts bits by words.
pub(super) const SMALL: u32 = 4096 - 64;
/// See [`SMALL`].
pub(super) const LARGE: u32 = (32 << 10) - 64;

/// Up to this many chunks are looked up one by one, more are scanned.
const FEW: u64 = 4;

const NO_NUMBER: &str = "a large string's chunk has no number";

static ZEROS: [u8; 4096] = [0; 4096];

/// A value that lies in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    generation: u64,
    len: u64,
    size: u32,
}

impl Chunks {
    /// An empty value under a new generation.
    pub(super) fn create(w: &mut Write<'_>, owner: Key<'_>, size: u32) -> Chunks {
        Chunks { generation: w.new_generation(owner), len: 0, size }
    }

    /// Reads the body of a header.
    pub(super) fn decode(header: &Header<'_>) -> Result<Chunks> {
        let (generation, len, rest) = header.exploded()?;
        let size = rest.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        match size {
            Some(size) if size > 0 => Ok(Chunks { generation, len, size }),
            _ => Err(Error::broken("a large string's header cannot be read")),
        }
    }

    /// The body of the header.
    pub(super) fn encode(&self) -> [u8; 20] {
        let mut body = [0; 20];
        body[..8].copy_from_slice(&self.generation.to_le_bytes());
        body[8..16].copy_from_slice(&self.len.to_le_bytes());
        body[16..].copy_from_slice(&self.size.to_le_bytes());
        body
    }

    /// The length of the value in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The number of chunks, if none is missing.
    pub fn count(&self) -> u64 {
        self.len.div_ceil(u64::from(self.size))
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands the bytes of a range to `each`, piece by piece, up to the end of the value.
    ///
    /// # Errors
    /// `Again`; `each` may have been called before.
    pub fn read(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        range: Range<u64>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let range = range.start..range.end.min(self.len);
        if range.start >= range.end {
            return Ok(());
        }
        let (first, last) = (self.number(range.start), self.number(range.end - 1));
        if u64::from(last - first) < FEW {
            return self.read_few(r, owner, range, first..=last, each);
        }
        let mut at = range.start;
        r.scan_elements(
            owner,
            self.generation,
            Bound::Included(&first.to_be_bytes()),
            Bound::Included(&last.to_be_bytes()),
            false,
            &mut |sub, bytes| {
                let number = sub.first_chunk::<4>().map(|n| u32::from_be_bytes(*n));
                let Some(number) = number else { return Err(Error::broken(NO_NUMBER)) };
                let span = self.span(number, &range);
                zeros(span.start.saturating_sub(at), each);
                self.piece(number, &span, bytes, each);
                at = span.end;
                Ok(ControlFlow::Continue(()))
            },
        )?;
        zeros(range.end - at, each);
        Ok(())
    }

    /// Hands over all bytes, piece by piece, from wherever the chunks are.
    pub(crate) fn walk(
        &self,
        elements: &mut dyn Elements,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (range, mut at, mut failed) = (0..self.len, 0, None);
        let mut give = |piece: &[u8]| {
            if failed.is_none() {
                failed = each(piece).err();
            }
        };
        elements.walk(self.generation, Bound::Unbounded, &mut |sub, bytes| {
            let number = sub.first_chunk::<4>().map(|n| u32::from_be_bytes(*n));
            let number = number.ok_or_else(|| Error::broken(NO_NUMBER))?;
            let span = self.span(number, &range);
            if span.is_empty() {
                return Err(Error::broken("a large string has a chunk beyond its end"));
            }
            zeros(span.start.saturating_sub(at), &mut give);
            self.piece(number, &span, bytes, &mut give);
            at = span.end;
            Ok(ControlFlow::Continue(()))
        })?;
        zeros(self.len.saturating_sub(at), &mut give);
        failed.map_or(Ok(()), Err)
    }

    fn read_few(
        &self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        range: Range<u64>,
        numbers: std::ops::RangeInclusive<u32>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut missing = None;
        for number in numbers {
            let span = self.span(number, &range);
            // All are asked for before the first that is missing is reported, so that they are loaded
            // together.
            match r.element(owner, self.generation, &number.to_be_bytes()) {
                Ok(bytes) => self.piece(number, &span, bytes.unwrap_or_default(), each),
                Err(e @ Error::Again(_)) => missing = Some(e),
                Err(e) => return Err(e),
            }
        }
        missing.map_or(Ok(()), Err)
    }

    /// Overwrites bytes, growing the value if needed. Only chunks that are changed in part are read, and
    /// the log gets only what changes. The answer is what the header has to say from now on.
    pub(super) fn write(
        self,
        r: &mut Read<'_>,
        owner: Key<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Chunks> {
        let size = u64::from(self.size);
        let (mut at, mut rest) = (offset, bytes);
        let mut padded = Vec::new();
        while !rest.is_empty() {
            let number = self.number(at);
            let sub = number.to_be_bytes();
            let within = (at % size) as usize;
            let (piece, tail) = rest.split_at(rest.len().min(self.size as usize - within));
            let covered = within == 0 && piece.len() == self.size as usize;
            // Where the whole chunk is new, or beyond the end, there is nothing to look at.
            let old_len = if covered || at - within as u64 >= self.len {
                None
            } else {
                r.element(owner, self.generation, &sub)?.map(<[u8]>::len)
            };
            let have = old_len.unwrap_or(0);
            let (from, insert) = if have < within {
                padded.clear();
                padded.resize(within - have, 0);
                padded.extend_from_slice(piece);
                (have, padded.as_slice())
            } else {
                (within, piece)
            };
            match old_len {
                None => r.stage_element(owner, self.generation, &sub, &[insert]),
                Some(len) => {
                    let remove = piece.len().min(len - from);
                    r.stage_element_patch(owner, self.generation, &sub, from, remove, insert)?;
                }
            }
            at += piece.len() as u64;
            rest = tail;
        }
        Ok(Chunks { len: self.len.max(at), ..self })
    }

    /// The whole value of new chunks.
    pub(super) fn fill(self, w: &mut Write<'_>, owner: Key<'_>, value: &[u8]) -> Chunks {
        let pieces = value.chunks(self.size as usize);
        pieces.fold(self, |chunks, piece| chunks.push(w, owner, piece))
    }

    /// The next chunk, which all chunks before must have filled. One of nothing but zeros need not be there.
    pub(super) fn push(self, w: &mut Write<'_>, owner: Key<'_>, piece: &[u8]) -> Chunks {
        if piece.iter().any(|&byte| byte != 0) {
            let number = self.number(self.len);
            w.put_element(owner, self.generation, &number.to_be_bytes(), piece);
        }
        Chunks { len: self.len + piece.len() as u64, ..self }
    }

    /// The chunk in which a byte lies.
    fn number(&self, at: u64) -> u32 {
        (at / u64::from(self.size)) as u32
    }

    /// The part of a range that lies in a chunk.
    fn span(&self, number: u32, range: &Range<u64>) -> Range<u64> {
        let start = u64::from(number) * u64::from(self.size);
        let end = start + u64::from(self.size);
        start.max(range.start)..end.min(range.end)
    }

    /// Hands over the bytes of one chunk in `span`, with the zeros that are missing at its end.
    fn piece(&self, number: u32, span: &Range<u64>, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        let start = u64::from(number) * u64::from(self.size);
        let cut = |at: u64| ((at - start) as usize).min(bytes.len());
        let there = bytes.get(cut(span.start)..cut(span.end)).unwrap_or_default();
        if !there.is_empty() {
            each(there);
        }
        zeros(span.end - span.start - there.len() as u64, each);
    }
}

/// Hands over `n` zeros.
fn zeros(n: u64, each: &mut dyn FnMut(&[u8])) {
    let mut left = n;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        each(ZEROS.get(..piece as usize).unwrap_or_default());
        left -= piece;
    }
}
