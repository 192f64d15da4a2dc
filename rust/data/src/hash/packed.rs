//! A small hash in one record.
//!
//! ```text
//! packed: |                     entry ..
//! timed:  | first_ms u64 LE |   entry ..
//! entry:  | field length varint | value length varint | expire_ms u64 LE, if timed | field | value |
//! ```
//!
//! 1. Entries stand in the order in which their fields were set first.
//! 2. `first_ms` is the earliest `expire_ms` of all entries; all ones stand for never, in both.
//! 3. Nothing says how many entries there are: so a change of one field changes the bytes in one place, and
//!    counting is a walk that looking for an absent field is anyway.

use crate::error::{Error, Result};
use forgekv_base::varint;
use smallvec::SmallVec;
use std::ops::Range;

/// In the place of an expiry: there is none.
const NEVER: u64 = u64::MAX;

fn never(ms: u64) -> Option<u64> {
    (ms != NEVER).then_some(ms)
}

/// Bytes before the first entry.
fn head(timed: bool) -> usize {
    if timed { 8 } else { 0 }
}

/// When the first field of a timed body expires.
pub(super) fn first_expiry(body: &[u8]) -> Option<u64> {
    body.first_chunk::<8>().and_then(|bytes| never(u64::from_le_bytes(*bytes)))
}

/// A field of a packed hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) field: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) expire_ms: Option<u64>,
}

impl Entry<'_> {
    pub(super) fn is_live(&self, now_ms: u64) -> bool {
        self.expire_ms.is_none_or(|at| at > now_ms)
    }
}

/// A packed hash where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    timed: bool,
    entries: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn decode(timed: bool, body: &'a [u8]) -> Result<Packed<'a>> {
        let entries = body.get(head(timed)..).ok_or_else(broken)?;
        Ok(Packed { timed, entries })
    }

    /// How many fields there are, expired ones included.
    pub(super) fn count(&self) -> Result<u64> {
        let (mut entries, mut count) = (self.entries(), 0);
        while entries.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[inline]
    pub(super) fn entries(&self) -> Entries<'a> {
        Entries { timed: self.timed, rest: self.entries }
    }

    #[inline]
    pub(super) fn find(&self, field: &[u8]) -> Result<Option<Entry<'a>>> {
        let Some(rest) = self.at(field)? else { return Ok(None) };
        let (entry, _) = parse(self.timed, rest).ok_or_else(broken)?;
        Ok(Some(entry))
    }

    /// The bytes from the entry of a field on.
    #[inline]
    fn at(&self, field: &[u8]) -> Result<Option<&'a [u8]>> {
        let lead = if self.timed { 10 } else { 2 };
        let last = field.last();
        let mut rest = self.entries;
        loop {
            let next = match *rest {
                [] => return Ok(None),
                // Nearly all: each length is one byte.
                [field_len, value_len, ..] if (field_len | value_len) < 0x80 => {
                    let field_end = lead + usize::from(field_len);
                    // The last byte first: names often begin alike.
                    if usize::from(field_len) == field.len()
                        && (last.is_none() || rest.get(field_end - 1) == last)
                        && rest.get(lead..field_end) == Some(field)
                    {
                        return Ok(Some(rest));
                    }
                    rest.get(field_end + usize::from(value_len)..)
                }
                _ => match parse(self.timed, rest) {
                    Some((entry, _)) if entry.field == field => return Ok(Some(rest)),
                    parsed => parsed.map(|(_, next)| next),
                },
            };
            rest = next.ok_or_else(broken)?;
        }
    }
}

fn broken() -> Error {
    Error::broken("a packed hash cannot be read")
}

/// A walk over the entries.
pub(super) struct Entries<'a> {
    timed: bool,
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (entry, rest) = parse(self.timed, self.rest).ok_or_else(broken)?;
        self.rest = rest;
        Ok(Some(entry))
    }
}

#[inline]
fn parse(timed: bool, bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (field_len, rest) = length(bytes)?;
    let (value_len, mut rest) = length(rest)?;
    let mut expire_ms = None;
    if timed {
        let (ms, after) = rest.split_first_chunk::<8>()?;
        expire_ms = never(u64::from_le_bytes(*ms));
        rest = after;
    }
    let (field, rest) = rest.split_at_checked(field_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((Entry { field, value, expire_ms }, rest))
}

#[inline]
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (len, n) = varint::get(bytes)?;
    Some((usize::try_from(len).ok()?, bytes.get(n..)?))
}

/// The bytes before an entry's field: two lengths and perhaps an expiry.
type Lead = SmallVec<[u8; 28]>;

fn lead(timed: bool, field: &[u8], value: &[u8], expire_ms: Option<u64>) -> Lead {
    let mut lead = Lead::new();
    for len in [field.len(), value.len()] {
        let mut rest = len as u64;
        while rest >= 0x80 {
            lead.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        lead.push(rest as u8);
    }
    if timed {
        lead.extend_from_slice(&expire_ms.unwrap_or(NEVER).to_le_bytes());
    }
    lead
}

/// A packed hash that is being changed: the whole body, whose head is written by [`seal`](Self::seal).
pub(super) struct Buffer {
    timed: bool,
    /// The number of entries, once it was asked for.
    count: Option<u64>,
    change: Change,
    body: SmallVec<[u8; 512]>,
}

/// How a buffer's body differs from what was copied.
enum Change {
    None,
    /// In one place.
    One(Splice),
    /// In more than one.
    Many,
}

/// The `remove` bytes at `at` have given way to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) at: usize,
    pub(super) remove: usize,
    /// Where the new bytes are now.
    insert: Range<usize>,
}

/// An entry in a [`Buffer`].
#[derive(Debug, Clone)]
pub(super) struct Spot {
    range: Range<usize>,
    value_len: usize,
    pub(super) expire_ms: Option<u64>,
}

impl Buffer {
    /// No fields.
    pub(super) fn new() -> Buffer {
        Buffer { timed: false, count: Some(0), change: Change::Many, body: SmallVec::new() }
    }

    pub(super) fn copy(timed: bool, body: &[u8]) -> Result<Buffer> {
        Packed::decode(timed, body)?;
        let body = SmallVec::from_slice(body);
        Ok(Buffer { timed, count: None, change: Change::None, body })
    }

    pub(super) fn packed(&self) -> Packed<'_> {
        let entries = self.body.get(head(self.timed)..).unwrap_or_default();
        Packed { timed: self.timed, entries }
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        let count = match self.count {
            Some(count) => count,
            None => self.packed().count()?,
        };
        self.count = Some(count);
        Ok(count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.len() == head(self.timed)
    }

    pub(super) fn is_timed(&self) -> bool {
        self.timed
    }

    /// The size of the body in bytes.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    /// An entry, and where it stands.
    #[inline]
    pub(super) fn find(&self, field: &[u8]) -> Result<Option<(Spot, Entry<'_>)>> {
        let Some(rest) = self.packed().at(field)? else { return Ok(None) };
        let (entry, after) = parse(self.timed, rest).ok_or_else(broken)?;
        let range = self.body.len() - rest.len()..self.body.len() - after.len();
        let (value_len, expire_ms) = (entry.value.len(), entry.expire_ms);
        Ok(Some((Spot { range, value_len, expire_ms }, entry)))
    }

    /// Writes an entry, in the place of `spot` if that is given and at the end otherwise.
    pub(super) fn put(
        &mut self,
        spot: Option<Spot>,
        field: &[u8],
        value: &[u8],
        expire_ms: Option<u64>,
    ) -> Result<()> {
        if expire_ms.is_some() && !self.timed {
            self.make_timed()?;
            // Everything has moved.
            let spot = self.find(field)?.map(|(spot, _)| spot);
            return self.put(spot, field, value, expire_ms);
        }
        let range = match spot {
            Some(spot) if spot.value_len == value.len() && spot.expire_ms == expire_ms => {
                self.splice(spot.range.end - value.len()..spot.range.end, &[value]);
                return Ok(());
            }
            Some(spot) => spot.range,
            None => {
                self.count = self.count.map(|count| count + 1);
                self.body.len()..self.body.len()
            }
        };
        let lead = lead(self.timed, field, value, expire_ms);
        self.splice(range, &[&lead, field, value]);
        Ok(())
    }

    /// The change, if it is in one place only, and the new bytes.
    pub(super) fn splice_made(&self) -> Option<(&Splice, &[u8])> {
        match &self.change {
            Change::One(splice) => Some((splice, self.body.get(splice.insert.clone())?)),
            Change::None | Change::Many => None,
        }
    }

    /// Changes the expiry of an entry.
    pub(super) fn set_expiry(&mut self, field: &[u8], expire_ms: Option<u64>) -> Result<()> {
        if !self.timed {
            if expire_ms.is_none() {
                return Ok(());
            }
            self.make_timed()?;
        }
        let Some((spot, entry)) = self.find(field)? else { return Ok(()) };
        let end = spot.range.end - entry.field.len() - entry.value.len();
        if let Some(room) = self.body.get_mut(end - 8..end) {
            room.copy_from_slice(&expire_ms.unwrap_or(NEVER).to_le_bytes());
            self.change = Change::Many;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, spot: Spot) {
        self.count = self.count.map(|count| count - 1);
        self.splice(spot.range, &[]);
    }

    /// Takes away all entries that have expired; whether there were any.
    pub(super) fn remove_expired(&mut self, now_ms: u64) -> Result<bool> {
        let mut kept = Buffer::new();
        if self.timed {
            kept.make_timed()?;
        }
        let mut entries = self.packed().entries();
        while let Some(entry) = entries.next()? {
            if entry.is_live(now_ms) {
                kept.put(None, entry.field, entry.value, entry.expire_ms)?;
            }
        }
        let removed = kept.len() < self.len();
        *self = kept;
        Ok(removed)
    }

    /// Writes the head. The whole body, and when the first field expires.
    pub(super) fn seal(&mut self) -> Result<(&[u8], Option<u64>)> {
        let mut first_ms = NEVER;
        if self.timed {
            let mut entries = self.packed().entries();
            while let Some(entry) = entries.next()? {
                first_ms = first_ms.min(entry.expire_ms.unwrap_or(NEVER));
            }
            if let Some(room) = self.body.first_chunk_mut::<8>() {
                *room = first_ms.to_le_bytes();
            }
        }
        Ok((&self.body, never(first_ms)))
    }

    fn make_timed(&mut self) -> Result<()> {
        let mut body = SmallVec::with_capacity(2 * self.body.len() + 8);
        body.resize(head(true), 0);
        let mut entries = self.packed().entries();
        while let Some(entry) = entries.next()? {
            body.extend_from_slice(&lead(true, entry.field, entry.value, None));
            body.extend_from_slice(entry.field);
            body.extend_from_slice(entry.value);
        }
        self.body = body;
        self.timed = true;
        self.change = Change::Many;
        Ok(())
    }

    /// Puts `parts` in the place of a range.
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let new = parts.iter().map(|part| part.len()).sum::<usize>();
        let (old_end, new_end, len) = (range.end, range.start + new, self.body.len());
        self.change = match self.change {
            Change::None => {
                let (at, remove) = (range.start, range.len());
                Change::One(Splice { at, remove, insert: at..new_end })
            }
            Change::One(_) | Change::Many => Change::Many,
        };
        if new_end > old_end {
            self.body.resize(len + (new_end - old_end), 0);
        }
        if new_end != old_end {
            self.body.copy_within(old_end..len, new_end);
            self.body.truncate(len - old_end + new_end);
        }
        let mut at = range.start;
        for part in parts {
            if let Some(room) = self.body.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
            at += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(buffer: &Buffer) -> Vec<(Vec<u8>, Vec<u8>, Option<u64>)> {
        let mut all = Vec::new();
        let mut entries = buffer.packed().entries();
        while let Some(e) = entries.next().unwrap() {
            all.push((e.field.to_vec(), e.value.to_vec(), e.expire_ms));
        }
        all
    }

    fn put(buffer: &mut Buffer, field: &[u8], value: &[u8], expire_ms: Option<u64>) {
        let spot = buffer.find(field).unwrap().map(|(spot, _)| spot);
        buffer.put(spot, field, value, expire_ms).unwrap();
    }

    #[test]
    fn bytes_are_as_drawn() {
        let mut buffer = Buffer::new();
        put(&mut buffer, b"ab", b"c", None);
        assert_eq!(buffer.seal().unwrap(), (&b"\x02\x01abc"[..], None));
        put(&mut buffer, b"x", &[b'y'; 130], Some(0x0102));
        let mut body = b"\x02\x01\0\0\0\0\0\0".to_vec();
        body.extend_from_slice(b"\x02\x01\xff\xff\xff\xff\xff\xff\xff\xffabc");
        body.extend_from_slice(b"\x01\x82\x01\x02\x01\0\0\0\0\0\0x");
        body.extend_from_slice(&[b'y'; 130]);
        assert_eq!(buffer.seal().unwrap(), (&body[..], Some(0x0102)));
        assert_eq!(first_expiry(&body), Some(0x0102));
        assert!(Packed::decode(true, &body[..7]).is_err());
        let cut = Packed::decode(true, &body[..body.len() - 1]).unwrap();
        assert!(cut.find(b"y").is_err() && cut.find(b"x").is_err());
        assert!(cut.find(b"ab").unwrap().is_some());
        let cut = Packed::decode(false, b"\x02\x03abc").unwrap();
        assert!(cut.find(b"x").is_err() && cut.count().is_err());
    }

    #[test]
    fn one_change_is_known() {
        let mut buffer = Buffer::new();
        for n in 0..20 {
            put(&mut buffer, format!("f{n}").as_bytes(), b"value", None);
        }
        let before = buffer.seal().unwrap().0.to_vec();
        let check = |field: &[u8], value: Option<&[u8]>, inserted: usize| {
            let mut buffer = Buffer::copy(false, &before).unwrap();
            let spot = buffer.find(field).unwrap().map(|(spot, _)| spot);
            match value {
                Some(value) => buffer.put(spot, field, value, None).unwrap(),
                None => buffer.remove(spot.unwrap()),
            }
            let (splice, insert) = buffer.splice_made().unwrap();
            assert_eq!(insert.len(), inserted);
            let mut after = before.clone();
            after.splice(splice.at..splice.at + splice.remove, insert.iter().copied());
            assert_eq!(after, buffer.seal().unwrap().0);
            put(&mut buffer, b"f1", b"again", None);
            assert!(buffer.splice_made().is_none());
        };
        check(b"f7", Some(b"VALUE"), 5);
        check(b"f7", Some(b"longer value"), 16);
        check(b"f7", Some(b""), 4);
        check(b"f19", None, 0);
        check(b"f0", None, 0);
        check(b"new", Some(b"value"), 10);
    }

    #[test]
    fn order_stays_whatever_is_replaced() {
        let mut buffer = Buffer::new();
        for (field, value) in [("a", "1"), ("b", "22"), ("c", "")] {
            put(&mut buffer, field.as_bytes(), value.as_bytes(), None);
        }
        put(&mut buffer, b"b", b"", None);
        put(&mut buffer, b"a", &[7; 200], None);
        put(&mut buffer, b"c", b"x", Some(50));
        buffer.set_expiry(b"b", Some(40)).unwrap();
        assert_eq!(
            all(&buffer),
            [
                (b"a".to_vec(), vec![7; 200], None),
                (b"b".to_vec(), vec![], Some(40)),
                (b"c".to_vec(), b"x".to_vec(), Some(50)),
            ]
        );
        assert_eq!(buffer.seal().unwrap().1, Some(40));
        let (spot, _) = buffer.find(b"a").unwrap().unwrap();
        buffer.remove(spot);
        assert_eq!(buffer.count().unwrap(), 2);
        assert!(!buffer.remove_expired(39).unwrap());
        assert!(buffer.remove_expired(40).unwrap());
        assert_eq!(all(&buffer), [(b"c".to_vec(), b"x".to_vec(), Some(50))]);
        buffer.set_expiry(b"c", None).unwrap();
        assert_eq!(buffer.seal().unwrap().1, None);
    }
}
