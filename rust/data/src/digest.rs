//! A fingerprint of a value, or of everything: equal data has equal digests, however it is kept and in
//! whatever order it came. For tests that compare; the bytes are ours, not Redis's.

use crate::error::Result;
use crate::hash::{self, Visit};
use crate::header::Kind;
use crate::list;
use crate::place::Key;
use crate::scan;
use crate::set;
use crate::stream;
use crate::string;
use crate::view::Read;
use crate::zset;
use std::ops::ControlFlow;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// 160 bits, as Redis's digests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Of a sequence of byte strings; where one ends and the next begins counts.
    fn of(parts: &[&[u8]]) -> Digest {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let wide = hash.digest128().to_le_bytes();
        let more = xxh3_64_with_seed(&wide, hash.digest()).to_le_bytes();
        let mut digest = [0; 20];
        digest.iter_mut().zip(wide.iter().chain(&more)).for_each(|(d, byte)| *d = *byte);
        Digest(digest)
    }

    /// Adds a member of a set: the order does not count.
    fn add(&mut self, member: Digest) {
        self.0.iter_mut().zip(member.0).for_each(|(d, byte)| *d ^= byte);
    }

    /// Forty hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct Fields(Digest);

impl Visit for Fields {
    fn len(&mut self, _: u64) {}

    fn field(&mut self, field: &[u8], value: &[u8]) -> Result<()> {
        self.0.add(Digest::of(&[field, value]));
        Ok(())
    }
}

struct Members(Digest);

impl set::Visit for Members {
    fn len(&mut self, _: u64) {}

    fn member(&mut self, member: &[u8]) -> Result<()> {
        self.0.add(Digest::of(&[member]));
        Ok(())
    }
}

/// Of a key's value and of whether it expires; all zeros when the key is absent.
///
/// # Errors
/// `Again`, or damage.
pub fn value(r: &mut Read<'_>, key: Key<'_>) -> Result<Digest> {
    let Some(header) = r.header(key)? else { return Ok(Digest::default()) };
    let (kind, expires) = (header.kind, header.expire_ms.is_some());
    let content = match kind {
        Kind::String => Digest::of(&[&string::get_all(r, key)?.unwrap_or_default()]),
        Kind::Hash => {
            let mut fields = Fields(Digest::default());
            hash::all(r, key, &mut fields)?;
            fields.0
        }
        Kind::Set => {
            let mut members = Members(Digest::default());
            set::all(r, key, &mut members)?;
            members.0
        }
        Kind::List => {
            let mut items = Digest::default();
            list::all(r, key, &mut |item| {
                items = Digest::of(&[&items.0, item]);
                Ok(())
            })?;
            items
        }
        Kind::Stream => {
            let mut all = Digest::default();
            stream::digest(r, key, &mut |part| all.add(Digest::of(part)))?;
            all
        }
        Kind::ZSet => {
            let mut all = Digest::default();
            zset::members(r, key, None, &mut |member, score| {
                // Both zeros are one score.
                all.add(Digest::of(&[member, &(score + 0.0).to_le_bytes()]));
                Ok(ControlFlow::Continue(()))
            })?;
            all
        }
    };
    Ok(Digest::of(&[kind.name().as_bytes(), &content.0, &[u8::from(expires)]]))
}

/// Of all databases; all zeros when there is no key. All shards must be held.
///
/// # Errors
/// `Again`, or damage.
pub fn everything(r: &mut Read<'_>) -> Result<Digest> {
    let mut all = Digest::default();
    let selected = r.db();
    for db in 0..r.databases() {
        r.switch_db(db);
        let mut names = Vec::new();
        scan::all(r, &mut |found| {
            names.push((found.key.name.to_vec(), found.key.place));
            Ok(())
        })?;
        for (name, place) in &names {
            let value = value(r, Key { name, place: *place })?;
            all.add(Digest::of(&[&db.to_le_bytes(), name, &value.0]));
        }
    }
    r.switch_db(selected);
    Ok(all)
}
