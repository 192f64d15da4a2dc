//! A sorted set written whole, in the place of whatever the key held: the STORE forms.

use super::PACKED_MAX;
use super::exploded::Exploded;
use super::packed::Buffer;
use super::span::compare;
use crate::error::{Error, Result};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::view::{Write, event_class};

/// No command stages a larger result, in bytes: the log takes a batch whole.
const STAGED_MAX: usize = 1 << 30;

/// A member with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Not NaN.
    pub score: f64,
    /// Its name.
    pub member: Vec<u8>,
}

impl Scored {
    /// Puts members into the order of a sorted set.
    pub fn sort(members: &mut [Scored]) {
        members.sort_unstable_by(|a, b| compare((a.score, &a.member), (b.score, &b.member)));
    }
}

/// Puts a sorted set with these members, which are distinct, in the place of what a key holds, and tells
/// `event`; with none the key is deleted. Whatever it was, it does not expire any more.
///
/// # Errors
/// `Again`, or a result too large for one batch.
pub fn store(
    w: &mut Write<'_>,
    key: Key<'_>,
    mut members: Vec<Scored>,
    event: &'static str,
) -> Result<()> {
    let replaced = w.header(key)?.map(|h| (h.expire_ms, h.generation().is_some()));
    if let Some((_, true)) = replaced {
        w.orphan();
    }
    let before = replaced.and_then(|(expire_ms, _)| expire_ms);
    if members.is_empty() {
        if replaced.is_some() {
            w.delete_header(key, before);
            w.event(event_class::GENERIC, "del", key);
        }
        return Ok(());
    }
    Scored::sort(&mut members);
    let limits = w.limits();
    let longest = members.iter().map(|m| m.member.len()).max().unwrap_or_default();
    let bytes: usize = members.iter().map(|m| m.member.len() + 10).sum();
    let within_limits = members.len() as u64 <= limits.zset_max_listpack_entries
        && longest as u64 <= limits.zset_max_listpack_value;
    let (kind, expire_ms) = (Kind::ZSet, None);
    if replaced.is_none() {
        w.notify(event_class::NEW, "new", key);
    }
    if within_limits && bytes <= PACKED_MAX {
        let mut buffer = Buffer::copy(&[]);
        for Scored { score, member } in &members {
            buffer.append(member, *score);
        }
        let header = Header { kind, encoding: encoding::PACKED, expire_ms, body: buffer.bytes() };
        w.put_header(key, &header, before);
    } else {
        // A member is written twice, each time with some forty bytes around it.
        if w.staged_bytes() + 2 * bytes + 80 * members.len() > STAGED_MAX {
            return Err(Error::reply("ERR the result is too large to be stored"));
        }
        let mut exploded = Exploded::new(w.new_generation(key));
        exploded.within_limits = within_limits;
        let sign = if within_limits { 0.0 } else { -0.0 };
        let members: Vec<(f64, &[u8])> =
            members.iter().map(|m| (m.score + sign, &m.member[..])).collect();
        exploded.fill(w, key, &members)?;
        let body = exploded.encode();
        let header = Header { kind, encoding: encoding::EXPLODED, expire_ms, body: &body };
        w.put_header(key, &header, before);
    }
    w.event(event_class::ZSET, event, key);
    Ok(())
}
