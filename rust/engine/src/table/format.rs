//! The end of a table file: properties and footer.
//!
//! ```text
//!  footer, the last 40 bytes of the file (integers LE):
//!  0             8            12           16          20           24        28       32       40
//!  | data length | filter     | index      | properties | reserved  | format  | CRC-32 | magic  |
//!  |     u64     | length u32 | length u32 | length u32 | 0, u32    | version | u32    | 8 B    |
//! ```
//!
//! The blocks fill `[0, data length)`; filter, index and properties are sealed pieces that follow in
//! this order up to the footer; the lengths include their trailers. The CRC covers the 28 bytes before
//! it. The properties are a [`TableMeta`] in which id and length are 0: a file knows neither its number
//! nor, before it is complete, its length.

use super::TableMeta;
use super::codec::unseal;
use crate::error::{Error, Result};
use forgekv_base::bytes::Reader;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(super) const FOOTER: usize = 40;
const MAGIC: [u8; 8] = *b"fkvTABLE";
const VERSION: u32 = 1;

/// Where the parts of a table lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) data: u64,
    pub(super) filter: u32,
    pub(super) index: u32,
    pub(super) properties: u32,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER] {
        let mut out = Vec::with_capacity(FOOTER);
        out.extend_from_slice(&self.data.to_le_bytes());
        for number in [self.filter, self.index, self.properties, 0, VERSION] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        let mut footer = [0; FOOTER];
        footer.copy_from_slice(&out);
        footer
    }

    /// Reads the footer of a whole file.
    fn read(bytes: &[u8], file: &Path) -> Result<Footer> {
        let Some((_, footer)) = bytes.split_last_chunk::<FOOTER>() else {
            return Err(Error::corrupt(file, 0, "too short for a table"));
        };
        let at = (bytes.len() - FOOTER) as u64;
        let wrong = |what: &str| Error::corrupt(file, at, what);
        let mut from = Reader::new(footer);
        let mut read = || {
            let data = from.u64_le()?;
            let numbers = (from.u32_le()?, from.u32_le()?, from.u32_le()?, from.u32_le()?);
            Some((data, numbers, from.u32_le()?, from.u32_le()?, from.array::<8>()?))
        };
        let Some((data, (filter, index, properties, reserved), version, crc, magic)) = read()
        else {
            return Err(wrong("a footer too short"));
        };
        if magic != MAGIC {
            return Err(wrong("no table footer: the file is cut short or is no table"));
        }
        if crc32fast::hash(footer.get(..28).unwrap_or_default()) != crc {
            return Err(wrong("the footer's checksum does not match"));
        }
        if version > VERSION {
            return Err(Error::Incompatible(format!(
                "{} has table format {version}; this program reads up to {VERSION}",
                file.display()
            )));
        }
        let footer = Footer { data, filter, index, properties };
        let sections = u64::from(filter) + u64::from(index) + u64::from(properties);
        if version == 0 || reserved != 0 || data.checked_add(sections) != Some(at) {
            return Err(wrong("the footer does not fit the file"));
        }
        Ok(footer)
    }
}

/// A table file's parts outside its blocks, verified.
pub(super) struct Parts {
    pub(super) data: u64,
    pub(super) filter: Arc<[u8]>,
    pub(super) filter_at: u64,
    pub(super) index: Arc<[u8]>,
    pub(super) index_at: u64,
    /// The id in it is 0: a table does not know its number.
    pub(super) meta: TableMeta,
    pub(super) properties_at: u64,
}

impl Parts {
    /// Takes apart the bytes of the whole file.
    pub(super) fn read(bytes: &[u8], file: &Path) -> Result<Parts> {
        let footer = Footer::read(bytes, file)?;
        let filter_at = footer.data;
        let index_at = filter_at + u64::from(footer.filter);
        let properties_at = index_at + u64::from(footer.index);
        let end = properties_at + u64::from(footer.properties);
        let part = |span: Range<u64>| {
            let piece = bytes.get(span.start as usize..span.end as usize).unwrap_or_default();
            unseal(piece, file, span.start)
        };
        let filter = part(filter_at..index_at)?;
        let index = part(index_at..properties_at)?;
        let properties = part(properties_at..end)?;
        let mut from = Reader::new(&properties);
        let meta = TableMeta::decode(&mut from).filter(|_| from.is_empty());
        let fits = |m: &TableMeta| {
            (m.id, m.bytes) == (0, 0) && m.tombstones <= m.entries && m.smallest <= m.largest
        };
        let Some(mut meta) = meta.filter(fits) else {
            return Err(Error::corrupt(file, properties_at, "the properties make no sense"));
        };
        meta.bytes = bytes.len() as u64;
        Ok(Parts { data: footer.data, filter, filter_at, index, index_at, meta, properties_at })
    }
}
