//! Writes for the families that work on the bytes of strings: they tell no event but of a new key, and check
//! no limit.

use super::chunks::{self, Chunks};
use super::{
    Before, Expiry, IN_PLACE_MAX, RAW, Value, WHOLE_MAX, find, find_string, put, put_chunks,
    put_value,
};
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Read, Write};
use smallvec::SmallVec;
use std::ops::Range;

/// Of a value this large the log gets only what changes; a smaller one costs it no more as a whole, and
/// recovery less.
const PATCH_MIN: usize = 256;

/// Overwrites bytes of a string, creating it or filling up with zeros as needed, and returns the new
/// length. Only the chunks that are touched are read and written.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn write_range(w: &mut Write<'_>, key: Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64> {
    let (before, header) = find_string(w, key)?;
    let expire_ms = before.expire_ms(Expiry::Keep);
    let is_raw = header.is_some_and(|header| header.encoding == RAW);
    let old = match header.map(Value::of).transpose()? {
        Some(Value::Chunked(chunks)) => {
            let chunks = chunks.write(w, key, offset, bytes)?;
            put_chunks(w, key, chunks, expire_ms, before);
            return Ok(chunks.len());
        }
        Some(Value::Whole(old)) => old,
        None => &[],
    };
    let end = offset + bytes.len() as u64;
    let len = end.max(old.len() as u64);
    if is_raw && offset <= old.len() as u64 && (PATCH_MIN as u64..=IN_PLACE_MAX).contains(&len) {
        let at = offset as usize;
        let remove = bytes.len().min(old.len() - at);
        w.stage_header_patch(key, at, remove, bytes)?;
        return Ok(len);
    }
    let mut value: SmallVec<[u8; 512]> = SmallVec::new();
    if len <= IN_PLACE_MAX {
        value.reserve(len as usize);
        value.extend_from_slice(old);
        value.resize(len as usize, 0);
        if let Some(room) = value.get_mut(offset as usize..end as usize) {
            room.copy_from_slice(bytes);
        }
        put(w, key, Header { kind: Kind::String, encoding: RAW, expire_ms, body: &value }, before);
    } else {
        value.extend_from_slice(old);
        let chunks = Chunks::create(w, key, chunks::SMALL);
        let chunks = chunks.write(w, key, 0, &value)?.write(w, key, offset, bytes)?;
        put_chunks(w, key, chunks, expire_ms, before);
    }
    Ok(len)
}

/// Overwrites bytes that are there. A read may do this, too, where what it found out is kept in the value:
/// it says the same as before.
///
/// # Errors
/// `WrongType`, or `Again`; damage when they are not there.
pub(crate) fn overwrite(r: &mut Read<'_>, key: Key<'_>, at: u64, bytes: &[u8]) -> Result<()> {
    let header = r.header_of(key, Kind::String)?;
    let header = header.ok_or_else(|| Error::broken("a string that should be there is missing"))?;
    let expire_ms = header.expire_ms;
    match Value::of(header)? {
        Value::Whole(_) => r.stage_header_patch(key, at as usize, bytes.len(), bytes),
        Value::Chunked(chunks) => {
            let body = chunks.write(r, key, at, bytes)?.encode();
            let encoding = encoding::EXPLODED;
            let header = Header { kind: Kind::String, encoding, expire_ms, body: &body };
            r.stage_header(key, &header, expire_ms);
            Ok(())
        }
    }
}

/// Gives a string another value, to be changed in place again; the expiry stays. Of what is equal at both
/// ends the log is spared.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn replace(w: &mut Write<'_>, key: Key<'_>, value: &[u8]) -> Result<()> {
    let (before, header) = find_string(w, key)?;
    let expire_ms = before.expire_ms(Expiry::Keep);
    let is_raw = header.is_some_and(|header| header.encoding == RAW);
    let is_large = value.len() as u64 > IN_PLACE_MAX;
    match header.map(Value::of).transpose()? {
        Some(Value::Whole(old)) if is_raw && !is_large && old.len() >= PATCH_MIN => {
            let same = |(a, b): &(&u8, &u8)| a == b;
            let head = old.iter().zip(value).take_while(same).count();
            let rest = old.len().min(value.len()) - head;
            let back = old.iter().rev().zip(value.iter().rev());
            let tail = back.take(rest).take_while(same).count();
            let remove = old.len() - head - tail;
            let insert = value.get(head..value.len() - tail).unwrap_or_default();
            return w.stage_header_patch(key, head, remove, insert);
        }
        Some(Value::Chunked(chunks)) if is_large && chunks.len() == value.len() as u64 => {
            let chunks = chunks.write(w, key, 0, value)?;
            put_chunks(w, key, chunks, expire_ms, before);
            return Ok(());
        }
        _ => {}
    }
    if is_large {
        let chunks = Chunks::create(w, key, chunks::SMALL).fill(w, key, value);
        put_chunks(w, key, chunks, expire_ms, before);
    } else {
        put(w, key, Header { kind: Kind::String, encoding: RAW, expire_ms, body: value }, before);
    }
    Ok(())
}

/// Replaces a key's value, whatever it was, and tells no event but of an expiry or a new key: for
/// commands of other families that store a string.
///
/// # Errors
/// `Again`.
pub fn store(w: &mut Write<'_>, key: Key<'_>, value: &[u8], expiry: Expiry) -> Result<()> {
    let before = find(w, key)?.0;
    put_value(w, key, RAW, value, before.expire_ms(expiry), before);
    Ok(())
}

/// Makes a piece of a value: the bytes of a range.
type Make<'f> = dyn FnMut(&mut Write<'_>, Range<u64>, &mut Vec<u8>) -> Result<()> + 'f;

/// As [`store`], of a value of `len` bytes that `make` makes piece by piece, in order. It may still read what
/// is replaced.
///
/// # Errors
/// `Again`, or what `make` answers.
pub fn store_pieces(
    w: &mut Write<'_>,
    key: Key<'_>,
    len: u64,
    expiry: Expiry,
    make: &mut Make<'_>,
) -> Result<()> {
    let before: Before = find(w, key)?.0;
    let expire_ms = before.expire_ms(expiry);
    let mut piece = Vec::new();
    if len <= WHOLE_MAX as u64 {
        make(w, 0..len, &mut piece)?;
        put_value(w, key, RAW, &piece, expire_ms, before);
        return Ok(());
    }
    let mut chunks = Chunks::create(w, key, chunks::LARGE);
    while chunks.len() < len {
        let at = chunks.len();
        make(w, at..len.min(at + u64::from(chunks::LARGE)), &mut piece)?;
        chunks = chunks.push(w, key, &piece);
    }
    put_chunks(w, key, chunks, expire_ms, before);
    Ok(())
}
