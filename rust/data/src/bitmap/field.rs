//! BITFIELD: integers of any width at any bit of a string, highest bit first.

use crate::error::Result;
use crate::place::Key;
use crate::string;
use crate::view::{Read, Write, event_class};

/// Where an integer is, and of which type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Two's complement.
    pub signed: bool,
    /// Its width: 1 to 64, or to 63 if it is not signed.
    pub bits: u32,
    /// Its first bit.
    pub offset: u64,
}

/// What happens when a result does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It goes round.
    Wrap,
    /// It stays at the end.
    Saturate,
    /// Nothing is written.
    Fail,
}

/// What is done to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its value.
    Get,
    /// It is set; the value before.
    Set(i64, Overflow),
    /// Something is added to it; the value after.
    Add(i64, Overflow),
}

/// What a step answers: `None` when it did not happen.
pub type Value = Option<i64>;

impl Field {
    fn bytes(&self) -> std::ops::Range<u64> {
        self.offset / 8..(self.offset + u64::from(self.bits)).div_ceil(8)
    }

    fn min(&self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(&self) -> i128 {
        let bits = if self.signed { self.bits - 1 } else { self.bits };
        (1 << bits) - 1
    }

    /// The number that so many low bits are.
    fn number(&self, bits: u128) -> i128 {
        let bits = (bits & ((1 << self.bits) - 1)) as i128;
        if bits > self.max() { bits - (1 << self.bits) } else { bits }
    }

    /// What a result becomes; `None` when it is refused.
    fn fit(&self, result: i128, overflow: Overflow) -> Option<i128> {
        let fitting = result.clamp(self.min(), self.max());
        match overflow {
            _ if fitting == result => Some(result),
            Overflow::Wrap => Some(self.number(result as u128)),
            Overflow::Saturate => Some(fitting),
            Overflow::Fail => None,
        }
    }
}

/// The at most nine bytes in which a field lies.
struct Window {
    bytes: [u8; 9],
    len: usize,
}

impl Window {
    fn read(r: &mut Read<'_>, key: Key<'_>, field: &Field) -> Result<Window> {
        let range = field.bytes();
        let mut window = Window { bytes: [0; 9], len: (range.end - range.start) as usize };
        let mut at = 0;
        string::read_range(r, key, range, &mut |piece| {
            if let Some(room) = window.bytes.get_mut(at..at + piece.len()) {
                room.copy_from_slice(piece);
            }
            at += piece.len();
        })?;
        Ok(window)
    }

    /// The bytes as one number, and how far the field lies above its lowest bit.
    fn all(&self, field: &Field) -> (u128, u32) {
        let used = self.bytes.iter().take(self.len);
        let all = used.fold(0, |all, byte| all << 8 | u128::from(*byte));
        (all, self.len as u32 * 8 - (field.offset % 8) as u32 - field.bits)
    }

    fn get(&self, field: &Field) -> i128 {
        let (all, above) = self.all(field);
        field.number(all >> above)
    }

    fn put(&mut self, field: &Field, value: i128) {
        let (all, above) = self.all(field);
        let mask = ((1u128 << field.bits) - 1) << above;
        let mut all = (all & !mask) | ((value as u128) << above & mask);
        for byte in self.bytes.iter_mut().take(self.len).rev() {
            *byte = all as u8;
            all >>= 8;
        }
    }
}

/// The value of a field.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn field_get(r: &mut Read<'_>, key: Key<'_>, field: Field) -> Result<i64> {
    let value = Window::read(r, key, &field)?.get(&field);
    Ok(value as i64)
}

/// Does steps in order, and tells `each` what they answer. The value becomes long enough for all fields that
/// are written, also where a step fails.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn fields(
    w: &mut Write<'_>,
    key: Key<'_>,
    steps: &[(Field, Step)],
    each: &mut dyn FnMut(Value),
) -> Result<()> {
    let written = steps.iter().filter(|(_, step)| *step != Step::Get);
    let end = written.map(|(field, _)| field.bytes().end).max();
    let mut grows = false;
    if let Some(end) = end
        && string::len(w, key)? < end
    {
        string::write_range(w, key, end - 1, &[0])?;
        grows = true;
    }
    let mut changes = 0;
    for (field, step) in steps {
        let mut window = Window::read(w, key, field)?;
        let old = window.get(field);
        let (result, overflow) = match *step {
            Step::Get => {
                each(Some(old as i64));
                continue;
            }
            // A number that is not signed is read as one: so -1 is the largest there is.
            Step::Set(value, overflow) if field.signed => (i128::from(value), overflow),
            Step::Set(value, overflow) => (i128::from(value as u64), overflow),
            Step::Add(value, overflow) => (old + i128::from(value), overflow),
        };
        let Some(new) = field.fit(result, overflow) else {
            each(None);
            continue;
        };
        if new != old {
            window.put(field, new);
            let bytes = window.bytes.get(..window.len).unwrap_or_default();
            string::write_range(w, key, field.bytes().start, bytes)?;
        }
        changes += u32::from(grows || new != old);
        each(Some(if matches!(step, Step::Set(..)) { old as i64 } else { new as i64 }));
    }
    (0..changes).for_each(|_| w.changed());
    if changes > 0 {
        w.notify(event_class::STRING, "setbit", key);
    }
    Ok(())
}
