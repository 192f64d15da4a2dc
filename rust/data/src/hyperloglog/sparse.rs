//! Registers as runs of equal ones.
//!
//! ```text
//! 00nnnnnn           a run of n + 1 zeros
//! 01nnnnnn nnnnnnnn  a run of n + 1 zeros, high bits first
//! 1vvvvvnn           a run of n + 1 registers of value v + 1
//! ```
//!
//! How a run is split, and which neighbours are joined again, is as in Redis: equal commands leave equal
//! bytes.

use super::{DENSE_SIZE, HEAD, MAGIC, REGISTERS, SPARSE};
use smallvec::SmallVec;
use std::fmt::Write;

/// No value above this fits.
const VALUE_MAX: u8 = 32;
/// No run of values is longer.
const VALUES_MAX: usize = 4;
/// A longer run of zeros takes two bytes.
const SHORT_ZEROS_MAX: usize = 64;
/// So many runs are looked at for neighbours to join, from the one before the change on.
const JOINED: usize = 5;

/// A value with all registers zero.
pub(super) fn empty() -> Vec<u8> {
    let mut value = vec![0; HEAD];
    if let Some(magic) = value.first_chunk_mut::<4>() {
        *magic = *MAGIC;
    }
    if let Some(form) = value.get_mut(4) {
        *form = SPARSE;
    }
    value.extend_from_slice(&Run::Zeros(REGISTERS).bytes());
    value
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Zeros(usize),
    /// Value and length.
    Values(u8, usize),
}

impl Run {
    /// The run at the beginning of some bytes, and how many bytes it takes.
    fn parse(bytes: &[u8]) -> Option<(Run, usize)> {
        let (&first, rest) = bytes.split_first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => (Run::Zeros(low + 1), 1),
            1 => (Run::Zeros((low << 8 | usize::from(*rest.first()?)) + 1), 2),
            _ => (Run::Values((first >> 2 & 0x1f) + 1, (low & 3) + 1), 1),
        })
    }

    fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::Values(_, len) => len,
        }
    }

    fn value(self) -> u8 {
        match self {
            Run::Zeros(_) => 0,
            Run::Values(value, _) => value,
        }
    }

    fn of(value: u8, len: usize) -> Run {
        if value == 0 { Run::Zeros(len) } else { Run::Values(value, len) }
    }

    fn bytes(self) -> SmallVec<[u8; 2]> {
        let mut bytes = SmallVec::new();
        match self {
            Run::Zeros(len) if len <= SHORT_ZEROS_MAX => bytes.push((len - 1) as u8),
            Run::Zeros(len) => {
                bytes.push(0x40 | ((len - 1) >> 8) as u8);
                bytes.push((len - 1) as u8);
            }
            Run::Values(value, len) => bytes.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
        }
        bytes
    }
}

/// Shows all runs: first register, length, value. `None` when the runs are not of all registers.
pub(super) fn each_run(bytes: &[u8], each: &mut dyn FnMut(usize, usize, u8)) -> Option<()> {
    let (mut rest, mut index) = (bytes, 0);
    while !rest.is_empty() {
        let (run, n) = Run::parse(rest)?;
        if index + run.len() > REGISTERS {
            return None;
        }
        each(index, run.len(), run.value());
        index += run.len();
        rest = rest.get(n..)?;
    }
    (index == REGISTERS).then_some(())
}

/// All runs in text.
pub(super) fn describe(bytes: &[u8]) -> Option<String> {
    let (mut rest, mut text) = (bytes, String::new());
    while !rest.is_empty() {
        let (run, n) = Run::parse(rest)?;
        let separator = if text.is_empty() { "" } else { " " };
        let written = match (run, n) {
            (Run::Zeros(len), 1) => write!(text, "{separator}z:{len}"),
            (Run::Zeros(len), _) => write!(text, "{separator}Z:{len}"),
            (Run::Values(value, len), _) => write!(text, "{separator}v:{value},{len}"),
        };
        written.ok()?;
        rest = rest.get(n..)?;
    }
    Some(text)
}

/// What became of a register that was to be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    No,
    Yes,
    /// It does not fit: the value has to become dense.
    TooLarge,
}

/// Raises a register of a whole value, head included, that may grow to `max` bytes. `None` when the register
/// is not found.
pub(super) fn raise(value: &mut Vec<u8>, index: usize, to: u8, max: u64) -> Option<Raised> {
    if to > VALUE_MAX {
        return Some(Raised::TooLarge);
    }
    let (mut at, mut before, mut first) = (HEAD, HEAD, 0);
    let (run, width) = loop {
        let (run, width) = Run::parse(value.get(at..)?)?;
        if index < first + run.len() {
            break (run, width);
        }
        first += run.len();
        before = at;
        at += width;
    };
    if run.value() >= to {
        return Some(Raised::No);
    }
    let mut runs: SmallVec<[u8; 8]> = SmallVec::new();
    let (left, right) = (index - first, first + run.len() - 1 - index);
    for (value, len) in [(run.value(), left), (to, 1), (run.value(), right)] {
        if len > 0 {
            runs.extend_from_slice(&Run::of(value, len).bytes());
        }
    }
    let longer = (value.len() + runs.len()).checked_sub(width)?;
    if runs.len() > width && longer as u64 > max.min(DENSE_SIZE as u64) {
        return Some(Raised::TooLarge);
    }
    value.splice(at..at + width, runs);
    join(value, before)?;
    Some(Raised::Yes)
}

/// Joins neighbours of equal value, from a run on.
fn join(value: &mut Vec<u8>, from: usize) -> Option<()> {
    let mut at = from;
    for _ in 0..JOINED {
        let Some(rest) = value.get(at..).filter(|rest| !rest.is_empty()) else { break };
        let (run, width) = Run::parse(rest)?;
        let next = rest.get(width..).and_then(Run::parse);
        match (run, next) {
            (Run::Values(value_of, len), Some((Run::Values(same, more), _)))
                if value_of == same && len + more <= VALUES_MAX =>
            {
                // What was joined may be joined with what follows.
                value.splice(at..at + 2, Run::Values(same, len + more).bytes());
            }
            _ => at += width,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(value: &[u8]) -> Option<Vec<u8>> {
        let mut registers = vec![0; REGISTERS];
        each_run(value.get(HEAD..)?, &mut |start, len, run| {
            registers[start..start + len].fill(run);
        })?;
        Some(registers)
    }

    #[test]
    fn raised_registers_are_found_again() {
        let mut value = empty();
        assert_eq!(&value[HEAD..], b"\x7f\xff");
        let mut model = vec![0; REGISTERS];
        let mut rng = forgekv_base::rng::Rng::seeded(5);
        for _ in 0..3000 {
            // Some neighbours, some far apart.
            let among = if rng.below(2) == 0 { 40 } else { REGISTERS as u64 };
            let index = rng.below(among) as usize;
            let to = rng.below(6) as u8 + 1;
            let raised = raise(&mut value, index, to, 12_000).unwrap();
            assert_eq!(raised == Raised::Yes, model[index] < to);
            model[index] = model[index].max(to);
        }
        assert_eq!(registers(&value).unwrap(), model);
        assert_eq!(raise(&mut value, 3, 33, 12_000), Some(Raised::TooLarge));
    }

    #[test]
    fn a_limit_holds() {
        let mut value = empty();
        assert_eq!(raise(&mut value, 100, 1, 20), Some(Raised::TooLarge));
        assert_eq!(raise(&mut value, 100, 1, 21), Some(Raised::Yes));
        assert_eq!(describe(&value[HEAD..]).unwrap(), "Z:100 v:1,1 Z:16283");
        // In its place: no growth.
        assert_eq!(raise(&mut value, 100, 2, 0), Some(Raised::Yes));
    }

    #[test]
    fn neighbours_are_joined() {
        let mut value = empty();
        for index in [0, 1, 2, 3, 4, 6] {
            raise(&mut value, index, 7, 3000);
        }
        assert_eq!(describe(&value[HEAD..]).unwrap(), "v:7,4 v:7,1 z:1 v:7,1 Z:16377");
        raise(&mut value, 5, 7, 3000);
        assert_eq!(describe(&value[HEAD..]).unwrap(), "v:7,4 v:7,3 Z:16377");
        raise(&mut value, 2, 9, 3000);
        assert_eq!(describe(&value[HEAD..]).unwrap(), "v:7,2 v:9,1 v:7,4 Z:16377");
    }

    #[test]
    fn damage_is_found() {
        let mut short = empty();
        short.truncate(HEAD);
        assert_eq!(raise(&mut short, 5, 1, 3000), None);
        let mut cut = empty();
        cut.pop();
        assert_eq!(raise(&mut cut, 5, 1, 3000), None);
        assert_eq!(describe(&cut[HEAD..]), None);
        for bad in [&b""[..], b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f"] {
            assert_eq!(each_run(bad, &mut |_, _, _| ()), None);
        }
    }
}
