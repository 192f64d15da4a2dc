//! Bitmaps: strings whose bits are addressed one by one. Bit 0 is the highest bit of the first byte; what
//! lies beyond the end is zeros.
//!
//! Nothing here reads or writes more of a large string than the bytes it needs: see [`string::read_range`]
//! and [`string::write_range`].

mod combine;
mod field;

pub use combine::{Operation, combine};
pub use field::{Field, Overflow, Step, Value, field_get, fields};

use crate::error::Result;
use crate::place::Key;
use crate::string;
use crate::view::{Read, Write, event_class};
use std::ops::Range;

/// BITPOS looks at so many bytes first, and at twice as many each time it goes on.
const FIRST_WINDOW: u64 = 4 << 10;
/// It never looks at more at once.
const WINDOW: u64 = 1 << 20;

/// A part of a bitmap, in bits: from the first up to and without the last.
pub type Bits = Range<u64>;

/// One bit of a key's value.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn get(r: &mut Read<'_>, key: Key<'_>, offset: u64) -> Result<bool> {
    let byte = offset / 8;
    let mut found = 0;
    string::read_range(r, key, byte..byte + 1, &mut |piece| {
        found = piece.first().copied().unwrap_or(0);
    })?;
    Ok(found & mask(offset) != 0)
}

/// The bit of a byte that an offset means.
fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// Sets or clears one bit, making the value long enough for it; what it was before.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn set(w: &mut Write<'_>, key: Key<'_>, offset: u64, on: bool) -> Result<bool> {
    let byte = offset / 8;
    let mut old = None;
    string::read_range(w, key, byte..byte + 1, &mut |piece| old = piece.first().copied())?;
    let before = old.unwrap_or(0);
    let after = if on { before | mask(offset) } else { before & !mask(offset) };
    if old != Some(after) {
        string::write_range(w, key, byte, &[after])?;
        w.event(event_class::STRING, "setbit", key);
    }
    Ok(before & mask(offset) != 0)
}

/// How many bits are set.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn count(r: &mut Read<'_>, key: Key<'_>, bits: Bits) -> Result<u64> {
    if bits.is_empty() {
        return Ok(0);
    }
    let bytes = bits.start / 8..bits.end.div_ceil(8);
    let (mut ones, mut at) = (0, bytes.start);
    string::read_range(r, key, bytes, &mut |piece| {
        ones += count_ones(piece);
        // Bits of the first and the last byte that are outside.
        let mut outside = |byte: u64, mask: u8| {
            let index = byte.checked_sub(at).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = index.and_then(|index| piece.get(index)) {
                ones -= u64::from((byte & mask).count_ones());
            }
        };
        outside(bits.start / 8, before(bits.start));
        outside(bits.end / 8, after(bits.end));
        at += piece.len() as u64;
    })?;
    Ok(ones)
}

/// The bits of a byte that stand before an offset in it.
fn before(offset: u64) -> u8 {
    !(0xff >> (offset % 8))
}

/// The bits of a byte that stand at an offset in it or after; none for its first bit.
fn after(offset: u64) -> u8 {
    if offset.is_multiple_of(8) { 0 } else { 0xff >> (offset % 8) }
}

fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 = words.iter().map(|w| u64::from(u64::from_ne_bytes(*w).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first bit of a part of the value that is set, or the first that is clear.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn position(r: &mut Read<'_>, key: Key<'_>, wanted: bool, bits: Bits) -> Result<Option<u64>> {
    if bits.is_empty() {
        return Ok(None);
    }
    let (mut at, end) = (bits.start / 8, bits.end.div_ceil(8));
    let mut window = FIRST_WINDOW;
    while at < end {
        let (mut found, mut piece_at) = (None, at);
        let to = end.min(at + window);
        let len = string::read_range(r, key, at..to, &mut |piece| {
            if found.is_none() {
                found = first(piece, piece_at, wanted, &bits);
            }
            piece_at += piece.len() as u64;
        })?;
        if found.is_some() || to >= len {
            return Ok(found);
        }
        at = to;
        window = (2 * window).min(WINDOW);
    }
    Ok(None)
}

/// The first bit of `bits` that is as wanted in `piece`, whose first byte has the number `at`.
fn first(piece: &[u8], at: u64, wanted: bool, bits: &Bits) -> Option<u64> {
    let dull = if wanted { 0x00 } else { 0xff };
    let mut from = 0;
    loop {
        // Whole words first: most of a long bitmap is alike.
        let rest = piece.get(from..)?;
        let (words, _) = rest.as_chunks::<8>();
        let skipped = 8 * words.iter().take_while(|word| **word == [dull; 8]).count();
        let (index, byte) =
            rest.iter().enumerate().skip(skipped).find(|(_, byte)| **byte != dull)?;
        let number = at + (from + index) as u64;
        let mut byte = if wanted { *byte } else { !*byte };
        if number == bits.start / 8 {
            byte &= !before(bits.start);
        }
        if number == bits.end / 8 {
            byte &= !after(bits.end);
        }
        if byte != 0 {
            return Some(8 * number + u64::from(byte.leading_zeros()));
        }
        from += index + 1;
    }
}

#[cfg(test)]
#[path = "bitmap/tests.rs"]
mod tests;
