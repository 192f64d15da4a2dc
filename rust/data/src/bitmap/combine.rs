//! BITOP: one bitmap made of several, piece by piece.

use crate::error::{Error, Result};
use crate::place::Key;
use crate::string::{self, Expiry};
use crate::view::{Read, Write, event_class};
use std::ops::Range;

/// What is made of bitmaps, of which the shorter ones are filled up with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// What is set in all.
    And,
    /// What is set in any.
    Or,
    /// What is set in an odd number of them.
    Xor,
    /// What is not set in the only one.
    Not,
    /// What is set in the first and in no other.
    Diff,
    /// What is set in any other and not in the first.
    Diff1,
    /// What is set in the first and in any other.
    AndOr,
    /// What is set in exactly one.
    One,
}

/// Stores what an operation makes of the values of `keys` under `to`, whatever was there; its length in
/// bytes, that of the longest. An empty result deletes the key.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn combine(
    w: &mut Write<'_>,
    operation: Operation,
    to: Key<'_>,
    keys: &[Key<'_>],
) -> Result<u64> {
    let (mut lens, mut missed) = (Vec::with_capacity(keys.len()), None);
    for &key in keys {
        match string::len(w, key) {
            Ok(len) => lens.push(len),
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    let len = lens.iter().copied().max().unwrap_or(0);
    if len == 0 {
        // Tells "del" if there was something.
        crate::keys::delete(w, to)?;
        return Ok(0);
    }
    let mut work = Work::default();
    string::store_pieces(w, to, len, Expiry::Clear, &mut |w, range, made| {
        work.make(w, operation, keys, range, made)
    })?;
    w.event(event_class::STRING, "set", to);
    Ok(len)
}

/// Room for the pieces of one range.
#[derive(Default)]
struct Work {
    source: Vec<u8>,
    /// Of ONE: what is set in more than one.
    more: Vec<u8>,
}

impl Work {
    fn make(
        &mut self,
        r: &mut Read<'_>,
        operation: Operation,
        keys: &[Key<'_>],
        range: Range<u64>,
        made: &mut Vec<u8>,
    ) -> Result<()> {
        let len = (range.end - range.start) as usize;
        self.more.clear();
        self.more.resize(len, 0);
        let mut missed = None;
        for (number, &key) in keys.iter().enumerate() {
            self.source.clear();
            let source = &mut self.source;
            match string::read_range(r, key, range.clone(), &mut |p| source.extend_from_slice(p)) {
                Ok(_) => {}
                // The others are asked for with this one.
                Err(e @ Error::Again(_)) => missed = Some(e),
                Err(e) => return Err(e),
            }
            self.source.resize(len, 0);
            if number == 0 {
                made.clear();
                made.extend_from_slice(&self.source);
                continue;
            }
            let each = made.iter_mut().zip(&self.source);
            match operation {
                Operation::And => each.for_each(|(made, byte)| *made &= byte),
                Operation::Or => each.for_each(|(made, byte)| *made |= byte),
                Operation::Xor => each.for_each(|(made, byte)| *made ^= byte),
                Operation::One => {
                    for ((made, byte), more) in each.zip(&mut self.more) {
                        *more |= *made & byte;
                        *made |= byte;
                    }
                }
                // What any other has is gathered first.
                Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                    self.more.iter_mut().zip(&self.source).for_each(|(more, byte)| *more |= byte);
                }
                Operation::Not => {}
            }
        }
        if let Some(missed) = missed {
            return Err(missed);
        }
        let each = made.iter_mut().zip(&self.more);
        match operation {
            Operation::Not => each.for_each(|(made, _)| *made = !*made),
            Operation::Diff | Operation::One => each.for_each(|(made, more)| *made &= !more),
            Operation::Diff1 => each.for_each(|(made, more)| *made = more & !*made),
            Operation::AndOr => each.for_each(|(made, more)| *made &= more),
            Operation::And | Operation::Or | Operation::Xor => {}
        }
        Ok(())
    }
}
