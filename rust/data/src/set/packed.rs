//! A small set in one record.
//!
//! ```text
//! body:  | entry .. |
//! entry: | length varint | member |
//! ```
//!
//! Entries stand in the order in which they were added. Nothing says how many there are: so a change of
//! one member changes the bytes in one place.

use super::splice::Spliced;
use crate::error::{Error, Result};
use forgekv_base::varint;
use std::ops::Range;

fn broken() -> Error {
    Error::broken("a packed set cannot be read")
}

/// A packed set where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    rest: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn new(body: &'a [u8]) -> Packed<'a> {
        Packed { rest: body }
    }

    pub(super) fn count(mut self) -> Result<u64> {
        let mut count = 0;
        while self.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// The next member.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>> {
        let Some((&first, rest)) = self.rest.split_first() else { return Ok(None) };
        let (len, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (len, n) = varint::get(self.rest).ok_or_else(broken)?;
            (usize::try_from(len).map_err(|_| broken())?, self.rest.get(n..).ok_or_else(broken)?)
        };
        let (member, rest) = rest.split_at_checked(len).ok_or_else(broken)?;
        self.rest = rest;
        Ok(Some(member))
    }

    #[inline]
    pub(super) fn contains(self, member: &[u8]) -> Result<bool> {
        Ok(self.find(member)?.is_some())
    }

    /// Where a member's entry stands.
    #[inline]
    fn find(mut self, member: &[u8]) -> Result<Option<Range<usize>>> {
        let len = self.rest.len();
        loop {
            let before = len - self.rest.len();
            match self.next()? {
                None => return Ok(None),
                // The last byte first: names often begin alike.
                Some(found) if found.last() == member.last() && found == member => {
                    return Ok(Some(before..len - self.rest.len()));
                }
                Some(_) => {}
            }
        }
    }
}

/// A packed set that is being changed.
pub(super) struct Buffer {
    body: Spliced,
    /// The number of members, once it was asked for.
    count: Option<u64>,
}

impl Buffer {
    /// No members.
    pub(super) fn new() -> Buffer {
        Buffer { body: Spliced::new(&[]), count: Some(0) }
    }

    pub(super) fn copy(body: &[u8]) -> Buffer {
        Buffer { body: Spliced::copy(body), count: None }
    }

    pub(super) fn body(&self) -> &Spliced {
        &self.body
    }

    pub(super) fn packed(&self) -> Packed<'_> {
        Packed::new(self.body.bytes())
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        let count = match self.count {
            Some(count) => count,
            None => self.packed().count()?,
        };
        self.count = Some(count);
        Ok(count)
    }

    /// Adds a member that is not there.
    pub(super) fn push(&mut self, member: &[u8]) {
        let mut lead = Vec::with_capacity(varint::MAX_LEN);
        varint::put(&mut lead, member.len() as u64);
        let end = self.body.len();
        self.body.splice(end..end, &[&lead, member]);
        self.count = self.count.map(|count| count + 1);
    }

    /// Takes a member away; true when it was there.
    pub(super) fn remove(&mut self, member: &[u8]) -> Result<bool> {
        let Some(range) = self.packed().find(member)? else { return Ok(false) };
        self.body.splice(range, &[]);
        self.count = self.count.map(|count| count - 1);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_drawn() {
        let mut buffer = Buffer::new();
        buffer.push(b"ab");
        buffer.push(b"");
        buffer.push(&[b'x'; 130]);
        let mut body = b"\x02ab\x00\x82\x01".to_vec();
        body.extend_from_slice(&[b'x'; 130]);
        assert_eq!(buffer.body().bytes(), body);
        assert_eq!(buffer.count().unwrap(), 3);
        for member in [&b"ab"[..], b"", &[b'x'; 130]] {
            assert!(Packed::new(&body).contains(member).unwrap());
        }
        assert!(!Packed::new(&body).contains(b"b").unwrap());
        let mut copy = Buffer::copy(&body);
        assert!(copy.remove(b"").unwrap() && !copy.remove(b"").unwrap());
        assert_eq!(copy.count().unwrap(), 2);
        assert!(copy.remove(b"ab").unwrap() && copy.remove(&[b'x'; 130]).unwrap());
        assert_eq!(copy.body().bytes(), b"");
        assert!(Packed::new(b"\x05abc").count().is_err());
        assert!(Packed::new(b"\xff").contains(b"a").is_err());
    }
}
