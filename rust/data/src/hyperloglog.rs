//! HyperLogLogs: estimates of how many different elements were added. Strings, byte for byte as Redis keeps
//! them, so that GET and SET carry them from one server to another.
//!
//! ```text
//! 0           4        5          8                 16
//! +-----------+--------+----------+-----------------+----------
//! | "HYLL"    | kind u8| unused   | cardinality u64 | registers
//! +-----------+--------+----------+-----------------+----------
//! ```
//!
//! Kind 0 is [`dense`], 1 is [`sparse`]. The cardinality is little-endian: what PFCOUNT found last, or, with its
//! highest bit set, out of date. A register holds the longest run of zeros (and the one that ends it) among
//! the hashes of the elements that chose it; there are 2¹⁴.
//!
//! Of a dense one only the bytes that an element touches are read and written.

mod dense;
mod estimate;
mod sparse;

pub use estimate::self_test;

use crate::error::{Error, Result};
use crate::place::Key;
use crate::string;
use crate::view::{Read, Write, event_class};
use estimate::{Histogram, Registers};
use smallvec::SmallVec;

const MAGIC: &[u8; 4] = b"HYLL";
/// Bytes before the registers.
const HEAD: usize = 16;
/// Where the cardinality stands, and its last byte, whose highest bit says that it is out of date.
const CARDINALITY: usize = 8;
const STALE_BYTE: usize = 15;
const STALE: u8 = 0x80;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// An element chooses one of so many registers by the low bits of its hash.
const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
/// The size of a dense one in bytes: six bits a register.
const DENSE_SIZE: usize = HEAD + REGISTERS * 6 / 8;

const NOT_ONE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPTED: Error =
    Error::Reply(std::borrow::Cow::Borrowed("INVALIDOBJ Corrupted HLL object detected"));

/// Which of the two forms a key's value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Six bits for each register.
    Dense,
    /// Run lengths.
    Sparse,
}

/// What a key's value begins with.
#[derive(Debug, Clone, Copy)]
struct Head {
    form: Form,
    cardinality: [u8; 8],
}

impl Head {
    /// Looks at a key; `None` when it is absent.
    fn read(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Head>> {
        let mut bytes: SmallVec<[u8; HEAD]> = SmallVec::new();
        if string::get(r, key)?.is_none() {
            return Ok(None);
        }
        let len = string::read_range(r, key, 0..HEAD as u64, &mut |p| bytes.extend_from_slice(p))?;
        let parse = || {
            let (magic, rest) = bytes.split_first_chunk::<4>()?;
            let form = match rest.first() {
                Some(&DENSE) if len == DENSE_SIZE as u64 => Form::Dense,
                Some(&SPARSE) => Form::Sparse,
                _ => return None,
            };
            let cardinality = *bytes.get(CARDINALITY..)?.first_chunk::<8>()?;
            (magic == MAGIC).then_some(Head { form, cardinality })
        };
        parse().map(Some).ok_or_else(|| Error::reply(NOT_ONE))
    }

    /// What was counted last, unless something was added since.
    fn cached(&self) -> Option<u64> {
        let count = u64::from_le_bytes(self.cardinality);
        (count >> 63 == 0).then_some(count)
    }
}

/// An element as its register sees it: which register, and the length of the run.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = estimate::murmur(element);
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    (hash as usize & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

/// All bytes of a key's value.
fn load(r: &mut Read<'_>, key: Key<'_>) -> Result<Vec<u8>> {
    Ok(string::get_all(r, key)?.unwrap_or_default().into_owned())
}

/// PFADD: whether the estimate may have changed, or the key is new.
///
/// # Errors
/// `WrongType`, not a HyperLogLog, a damaged one, or `Again`.
pub fn add(w: &mut Write<'_>, key: Key<'_>, elements: &[&[u8]]) -> Result<bool> {
    let changed = match Head::read(w, key)? {
        Some(head) if head.form == Form::Dense => add_dense(w, key, &head, elements)?,
        found => {
            let mut value = if found.is_some() { load(w, key)? } else { sparse::empty() };
            let max = w.limits().hll_sparse_max_bytes;
            let mut changed = found.is_none();
            for element in elements {
                let (index, run) = place(element);
                changed |= raise(&mut value, index, run, max)?;
            }
            if changed {
                make_stale(&mut value);
                string::replace(w, key, &value)?;
            }
            changed
        }
    };
    if changed {
        w.event(event_class::STRING, "pfadd", key);
    }
    Ok(changed)
}

/// Raises a register of a whole value if it is lower; whether it was.
fn raise(value: &mut Vec<u8>, index: usize, run: u8, max: u64) -> Result<bool> {
    if value.get(4) == Some(&DENSE) {
        return Ok(dense::raise(value.get_mut(HEAD..).unwrap_or_default(), index, run));
    }
    match sparse::raise(value, index, run, max).ok_or(CORRUPTED)? {
        sparse::Raised::No => Ok(false),
        sparse::Raised::Yes => Ok(true),
        sparse::Raised::TooLarge => {
            *value = to_dense(value)?;
            Ok(dense::raise(value.get_mut(HEAD..).unwrap_or_default(), index, run))
        }
    }
}

fn make_stale(value: &mut [u8]) {
    if let Some(byte) = value.get_mut(STALE_BYTE) {
        *byte |= STALE;
    }
}

/// A whole value in the other form.
fn to_dense(sparse: &[u8]) -> Result<Vec<u8>> {
    let mut value = vec![0; DENSE_SIZE];
    let (head, registers) = value.split_at_mut(HEAD);
    if let Some(old) = sparse.get(..HEAD) {
        head.copy_from_slice(old);
    }
    if let Some(form) = head.get_mut(4) {
        *form = DENSE;
    }
    sparse::each_run(sparse.get(HEAD..).unwrap_or_default(), &mut |start, len, run| {
        for index in start..start + len {
            dense::raise(registers, index, run);
        }
    })
    .ok_or(CORRUPTED)?;
    Ok(value)
}

/// Of a dense value only the registers that the elements chose are looked at.
fn add_dense(w: &mut Write<'_>, key: Key<'_>, head: &Head, elements: &[&[u8]]) -> Result<bool> {
    let (mut changed, mut missed) = (false, None);
    for element in elements {
        let (index, run) = place(element);
        let (at, mut pair) = ((HEAD + dense::byte(index)) as u64, [0; 2]);
        let mut len = 0;
        let read = string::read_range(w, key, at..at + 2, &mut |piece| {
            for byte in piece {
                if let Some(room) = pair.get_mut(len) {
                    *room = *byte;
                }
                len += 1;
            }
        });
        match read {
            Ok(_) => {}
            // The others are asked for with this one.
            Err(e @ Error::Again(_)) => {
                missed = Some(e);
                continue;
            }
            Err(e) => return Err(e),
        }
        if dense::raise_in(&mut pair, index, run) {
            string::overwrite(w, key, at, pair.get(..len).unwrap_or_default())?;
            changed = true;
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    if let [.., last] = head.cardinality
        && changed
        && last & STALE == 0
    {
        string::overwrite(w, key, STALE_BYTE as u64, &[last | STALE])?;
    }
    Ok(changed)
}

/// PFCOUNT of one key: how many different elements were added, about; 0 when it is absent. What had to be
/// counted is kept with the value.
///
/// # Errors
/// As [`add`].
pub fn count(r: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    let Some(head) = Head::read(r, key)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(0);
    };
    if let Some(count) = head.cached() {
        return Ok(count);
    }
    let value = load(r, key)?;
    let registers = value.get(HEAD..).unwrap_or_default();
    let histogram = match head.form {
        Form::Dense => Histogram::of((0..REGISTERS).map(|index| dense::get(registers, index))),
        Form::Sparse => {
            let mut histogram = Histogram::default();
            sparse::each_run(registers, &mut |_, len, run| histogram.add(run, len as u64))
                .and_then(|()| histogram.is_whole().then_some(histogram))
                .ok_or(CORRUPTED)?
        }
    };
    let count = histogram.estimate();
    string::overwrite(r, key, CARDINALITY as u64, &count.to_le_bytes())?;
    Ok(count)
}

/// PFCOUNT of several keys: how many different elements were added to any of them, about.
///
/// # Errors
/// As [`add`].
pub fn count_all(r: &mut Read<'_>, keys: &[Key<'_>]) -> Result<u64> {
    Ok(Histogram::of(merged(r, keys)?.0.iter().copied()).estimate())
}

/// The highest of each register over all keys, and whether one of them is dense.
fn merged(r: &mut Read<'_>, keys: &[Key<'_>]) -> Result<(Registers, bool)> {
    let (mut registers, mut any_dense, mut missed) = (vec![0; REGISTERS], false, None);
    for &key in keys {
        match merge(r, key, &mut registers) {
            Ok(form) => any_dense |= form == Some(Form::Dense),
            // The others are asked for with this one.
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    missed.map_or(Ok((registers, any_dense)), Err)
}

fn merge(r: &mut Read<'_>, key: Key<'_>, into: &mut Registers) -> Result<Option<Form>> {
    let Some(head) = Head::read(r, key)? else {
        r.notify(event_class::MISS, "keymiss", key);
        return Ok(None);
    };
    let value = load(r, key)?;
    let registers = value.get(HEAD..).unwrap_or_default();
    match head.form {
        Form::Dense => {
            for (index, highest) in into.iter_mut().enumerate() {
                *highest = (*highest).max(dense::get(registers, index));
            }
        }
        Form::Sparse => sparse::each_run(registers, &mut |start, len, run| {
            for highest in into.iter_mut().skip(start).take(len) {
                *highest = (*highest).max(run);
            }
        })
        .ok_or(CORRUPTED)?,
    }
    Ok(Some(head.form))
}

/// PFMERGE: adds to a key what was added to others.
///
/// # Errors
/// As [`add`].
pub fn merge_into(w: &mut Write<'_>, to: Key<'_>, keys: &[Key<'_>]) -> Result<()> {
    let all: Vec<Key<'_>> = std::iter::once(to).chain(keys.iter().copied()).collect();
    let (registers, any_dense) = merged(w, &all)?;
    let found = Head::read(w, to)?;
    let mut value = if found.is_some() { load(w, to)? } else { sparse::empty() };
    if any_dense && value.get(4) == Some(&SPARSE) {
        value = to_dense(&value)?;
    }
    let max = w.limits().hll_sparse_max_bytes;
    for (index, run) in registers.iter().enumerate().filter(|(_, run)| **run > 0) {
        raise(&mut value, index, *run, max)?;
    }
    make_stale(&mut value);
    string::replace(w, to, &value)?;
    w.event(event_class::STRING, "pfadd", to);
    Ok(())
}

/// The form of a key's value; `None` when it is absent.
///
/// # Errors
/// As [`add`].
pub fn form(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Form>> {
    Ok(Head::read(r, key)?.map(|head| head.form))
}

/// Makes a sparse value dense; whether it was sparse. False when the key is absent, too.
///
/// # Errors
/// As [`add`].
pub fn make_dense(w: &mut Write<'_>, key: Key<'_>) -> Result<bool> {
    if form(w, key)? != Some(Form::Sparse) {
        return Ok(false);
    }
    let value = to_dense(&load(w, key)?)?;
    string::replace(w, key, &value)?;
    w.changed();
    Ok(true)
}

/// The registers of a dense value, in order.
///
/// # Errors
/// As [`add`].
pub fn registers(r: &mut Read<'_>, key: Key<'_>) -> Result<Vec<u8>> {
    let value = load(r, key)?;
    let registers = value.get(HEAD..).unwrap_or_default();
    Ok((0..REGISTERS).map(|index| dense::get(registers, index)).collect())
}

/// The opcodes of a sparse value in text: `z:` and `Z:` with the length of a run of zeros, `v:` with value and
/// length.
///
/// # Errors
/// As [`add`].
pub fn decode(r: &mut Read<'_>, key: Key<'_>) -> Result<String> {
    let value = load(r, key)?;
    sparse::describe(value.get(HEAD..).unwrap_or_default()).ok_or(CORRUPTED)
}

#[cfg(test)]
#[path = "hyperloglog/tests.rs"]
mod tests;
