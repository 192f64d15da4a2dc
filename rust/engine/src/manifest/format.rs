//! The manifest's bytes.
//!
//! ```text
//!  0          8             12                20      24
//!  | FKVMANIF | version u32 | incarnation u64 | crc32 | record | record | ... | zeros |
//!
//!  record:
//!  0         4       8                  8 + len
//!  | len u32 | crc32 | edit | edit | ... |
//! ```
//!
//! The CRC of the header covers what is before it. The CRC of a record covers incarnation, the record's
//! offset in the file, len and edits, so bytes of another file or of another place never pass for a record.

use super::{Edit, State};
use crate::error::{Error, Result};
use crate::table::TableMeta;
use forgekv_base::bytes::Reader;
use forgekv_base::varint;
use std::path::Path;

const MAGIC: &[u8; 8] = b"FKVMANIF";
const VERSION: u32 = 1;
/// The length of the header.
pub(super) const HEADER: usize = 24;
/// What stands before the edits of a record.
const RECORD_HEADER: usize = 8;

const ADD_TABLE: u8 = 1;
const REMOVE_TABLE: u8 = 2;
const FLUSHED: u8 = 3;
const NEXT_FILE: u8 = 4;
const SEQ_HIGH_WATER: u8 = 5;
const FIXED: u8 = 6;
const LOG_START: u8 = 7;

/// A whole file: header and snapshot.
pub(super) fn file(incarnation: u64, state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&incarnation.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&record(incarnation, HEADER as u64, &state.as_edits()));
    bytes
}

/// The record of some edits at `offset`.
pub(super) fn record(incarnation: u64, offset: u64, edits: &[Edit]) -> Vec<u8> {
    let mut out = vec![0; RECORD_HEADER];
    for edit in edits {
        put_edit(&mut out, edit);
    }
    let (head, payload) = out.split_at_mut(RECORD_HEADER);
    let len = payload.len() as u32;
    let crc = crc(incarnation, offset, len, payload);
    let (head_len, head_crc) = head.split_at_mut(4);
    head_len.copy_from_slice(&len.to_le_bytes());
    head_crc.copy_from_slice(&crc.to_le_bytes());
    out
}

fn crc(incarnation: u64, offset: u64, len: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&incarnation.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(&len.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

fn put_edit(out: &mut Vec<u8>, edit: &Edit) {
    let put_bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        varint::put(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match edit {
        Edit::AddTable { shard, level, meta } => {
            out.extend_from_slice(&[ADD_TABLE, *shard, *level]);
            meta.encode(out);
        }
        Edit::RemoveTable { shard, level, id } => {
            out.extend_from_slice(&[REMOVE_TABLE, *shard, *level]);
            varint::put(out, *id);
        }
        Edit::Flushed { shard, lsn, seq, counts } => {
            out.extend_from_slice(&[FLUSHED, *shard]);
            varint::put(out, *lsn);
            varint::put(out, *seq);
            varint::put(out, counts.len() as u64);
            for &(group, count) in counts {
                varint::put(out, u64::from(group));
                varint::put(out, ((count << 1) ^ (count >> 63)) as u64);
            }
        }
        Edit::NextFile(id) => {
            out.push(NEXT_FILE);
            varint::put(out, *id);
        }
        Edit::LogStart(lsn) => {
            out.push(LOG_START);
            varint::put(out, *lsn);
        }
        Edit::SeqHighWater(seq) => {
            out.push(SEQ_HIGH_WATER);
            varint::put(out, *seq);
        }
        Edit::Fixed { name, value } => {
            out.push(FIXED);
            put_bytes(out, name.as_bytes());
            put_bytes(out, value);
        }
    }
}

/// Reads the header and says the file's incarnation.
pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<u64> {
    let damaged = || Error::corrupt(path, 0, "the header is damaged");
    let covered = bytes.get(..HEADER - 4).ok_or_else(damaged)?;
    let mut reader = Reader::new(bytes);
    let magic = reader.array::<8>().ok_or_else(damaged)?;
    let version = reader.u32_le().ok_or_else(damaged)?;
    let incarnation = reader.u64_le().ok_or_else(damaged)?;
    let crc = reader.u32_le().ok_or_else(damaged)?;
    if magic != *MAGIC || crc != crc32fast::hash(covered) {
        return Err(damaged());
    }
    if version != VERSION {
        return Err(Error::Incompatible(format!(
            "{} has format version {version}; this program knows {VERSION}",
            path.display()
        )));
    }
    Ok(incarnation)
}

/// The record at `at`: its edits' bytes and where it ends; `None` when none was ever committed there.
pub(super) fn parse(incarnation: u64, bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut reader = Reader::new(bytes.get(at..)?);
    let len = reader.u32_le()?;
    let expected = reader.u32_le()?;
    if len == 0 {
        return None;
    }
    let payload = reader.bytes(len as usize)?;
    let end = at + RECORD_HEADER + len as usize;
    (crc(incarnation, at as u64, len, payload) == expected).then_some((payload, end))
}

/// The offset of the first whole record at `from` or later.
pub(super) fn find_record(incarnation: u64, bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(RECORD_HEADER))
        .find(|&at| parse(incarnation, bytes, at).is_some())
}

/// The edits of a record whose CRC held.
pub(super) fn edits(path: &Path, offset: u64, payload: &[u8]) -> Result<Vec<Edit>> {
    let mut reader = Reader::new(payload);
    let mut edits = Vec::new();
    while !reader.is_empty() {
        // The bytes are what was written, so what cannot be read was written by another version.
        let edit = edit(&mut reader).ok_or_else(|| {
            Error::Incompatible(format!(
                "{} has an edit in the record at offset {offset} that this program does not know",
                path.display()
            ))
        })?;
        edits.push(edit);
    }
    Ok(edits)
}

fn edit(reader: &mut Reader<'_>) -> Option<Edit> {
    Some(match reader.u8()? {
        ADD_TABLE => Edit::AddTable {
            shard: reader.u8()?,
            level: reader.u8()?,
            meta: TableMeta::decode(reader)?,
        },
        REMOVE_TABLE => {
            Edit::RemoveTable { shard: reader.u8()?, level: reader.u8()?, id: reader.varint()? }
        }
        FLUSHED => {
            let (shard, lsn, seq) = (reader.u8()?, reader.varint()?, reader.varint()?);
            let mut counts = Vec::new();
            for _ in 0..reader.varint()? {
                let group = u32::try_from(reader.varint()?).ok()?;
                let count = reader.varint()?;
                counts.push((group, (count >> 1) as i64 ^ -((count & 1) as i64)));
            }
            Edit::Flushed { shard, lsn, seq, counts }
        }
        NEXT_FILE => Edit::NextFile(reader.varint()?),
        LOG_START => Edit::LogStart(reader.varint()?),
        SEQ_HIGH_WATER => Edit::SeqHighWater(reader.varint()?),
        FIXED => {
            let name = String::from_utf8(reader.prefixed()?.to_vec()).ok()?;
            Edit::Fixed { name, value: reader.prefixed()?.to_vec() }
        }
        _ => return None,
    })
}
