//! Values in Redis's own format: DUMP and RESTORE, RDB files written and read.
//!
//! | way out | from                                             | through               |
//! |---------|--------------------------------------------------|-----------------------|
//! | DUMP    | a view                                           | [`dump`]              |
//! | a file  | a snapshot of the engine: one moment, no locks   | [`Save`]              |
//!
//! | way in  | into                                             | through               |
//! |---------|--------------------------------------------------|-----------------------|
//! | RESTORE | a view, staged, checked whole before it counts   | [`restore`]           |
//! | a file  | databases that nobody can see until all is there | [`Import`]            |
//!
//! Both ways out go through [`write_value`], which sees a header and [`Elements`]; both ways in through
//! [`Part`]s: so a value of any size passes through in pieces, and a kind says once how it looks in Redis's
//! format.

mod elements;
mod import;
mod kinds;
mod part;
mod save;
#[cfg(test)]
mod tests;

pub(crate) use elements::Elements;
pub use forgekv_rdb::Input as Source;
pub use import::{Import, ImportError, Imported, Skipped};
pub use save::{Form, Progress, Save, Saved};

use crate::error::{Error, Result};
use crate::header::{Header, Kind};
use crate::keys;
use crate::place::Key;
use crate::view::{Read, Write, event_class};
use elements::Viewed;
use forgekv_rdb::{Encoder, Input, Stop, TIMED_VERSION, Type, VERSION, payload, seal};
use part::{Parts, put_expiry};
use std::io;

const WRONG_PAYLOAD: &str = "ERR DUMP payload version or checksum are wrong";
const BAD_FORMAT: &str = "ERR Bad data format";

/// What DUMP answers: the value of a key, sealed; `None` when it is absent.
///
/// # Errors
/// `Again`, or damage.
pub fn dump(r: &mut Read<'_>, key: Key<'_>) -> Result<Option<Vec<u8>>> {
    let now_ms = r.now_ms();
    let Some(header) = r.header(key)? else { return Ok(None) };
    let body = header.body.to_vec();
    let header = Header { body: &body, ..without_body(&header) };
    let mut out = Encoder::memory(true);
    let mut version = VERSION;
    let mut elements = Viewed { r, key };
    write_value(&header, &mut elements, now_ms, &mut out, &mut |out, kind| {
        version = version_of(kind);
        out.kind(kind)
    })?;
    // A hash whose fields have all expired is as good as absent.
    Ok((out.written() > 0).then(|| seal(out.into_bytes(), version)))
}

/// The version from which on a value of this type can be read.
fn version_of(kind: Type) -> u16 {
    if kind == Type::TIMED_HASH { TIMED_VERSION } else { VERSION }
}

fn without_body(header: &Header<'_>) -> Header<'static> {
    let Header { kind, encoding, expire_ms, .. } = *header;
    Header { kind, encoding, expire_ms, body: &[] }
}

/// Writes a value. `begin` is told the type first and writes what stands before the value; it is not called,
/// and nothing is written, when nothing of the value is left.
pub(crate) fn write_value(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    now_ms: u64,
    out: &mut Encoder<'_>,
    begin: &mut kinds::Begin<'_>,
) -> Result<()> {
    match header.kind {
        Kind::String => kinds::string(header, elements, out, begin),
        Kind::Hash => kinds::hash(header, elements, now_ms, out, begin),
        Kind::List => kinds::list(header, elements, out, begin),
        Kind::Set => kinds::set(header, elements, out, begin),
        Kind::ZSet => kinds::zset(header, elements, out, begin),
        Kind::Stream => kinds::stream(header, elements, out, begin),
    }
}

/// RESTORE: gives a key the value in a payload, whatever it held before. One that has expired already
/// leaves no key.
///
/// # Errors
/// "ERR DUMP payload version or checksum are wrong", "ERR Bad data format", or `Again`.
pub fn restore(
    w: &mut Write<'_>,
    key: Key<'_>,
    bytes: &[u8],
    expire_ms: Option<u64>,
) -> Result<()> {
    let read = payload(bytes).ok_or_else(|| Error::reply(WRONG_PAYLOAD))?;
    let (kind, mut input) = read.map_err(|_| Error::reply(BAD_FORMAT))?;
    let has_passed = expire_ms.is_some_and(|at| at <= w.now_ms());
    // Of the families' own events and counts nothing is told: it is one change.
    let quiet = w.hush();
    let replaced = keys::discard(w, key).and_then(|replaced| {
        put_value(w, key, kind, &mut input)?;
        // Behind the value there is nothing but version and checksum.
        if input.offset() + (1 + 2 + 8) != bytes.len() as u64 {
            return Err(Error::reply(BAD_FORMAT));
        }
        if has_passed {
            keys::discard(w, key)?;
        } else if let Some(at) = expire_ms {
            put_expiry(w, key, at)?;
        }
        Ok(replaced)
    });
    w.unhush(quiet);
    if replaced? && has_passed {
        w.event(event_class::GENERIC, "del", key);
    } else if !has_passed {
        w.event(event_class::GENERIC, "restore", key);
    }
    Ok(())
}

/// Stages the value of a key that is not there.
fn put_value(w: &mut Write<'_>, key: Key<'_>, kind: Type, input: &mut Input<'_>) -> Result<()> {
    let bad = || Error::reply(BAD_FORMAT);
    let mut parts = Parts::of(kind.kind()).ok_or_else(bad)?;
    let read = forgekv_rdb::read(kind, input, &mut |item| {
        parts.take(&item);
        if parts.is_full() { put(w, key, &mut parts) } else { Ok(()) }
    });
    match read {
        Ok(0) => return Err(bad()),
        Ok(_) => {}
        Err(Stop::Taker(e)) => return Err(e),
        Err(Stop::Bad(_)) => return Err(bad()),
    }
    put(w, key, &mut parts)
}

fn put(w: &mut Write<'_>, key: Key<'_>, parts: &mut Parts) -> Result<()> {
    if parts.put(w, key)? { Ok(()) } else { Err(Error::reply(BAD_FORMAT)) }
}

/// A failure of what a file is written to.
fn io_error(doing: &str, e: &io::Error) -> Error {
    Error::Engine(forgekv_engine::Error::io(doing, e))
}
