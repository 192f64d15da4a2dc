//! What lies under a stream's generation, and where.
//!
//! ```text
//! | 1 | ms u64 | seq u64                                |  a block, by its base
//! | 2 | name ..                                         |  a group
//! | 3 | group u32 | name ..                             |  the number of a consumer
//! | 4 | group u32 | consumer u32                        |  a consumer
//! | 5 | group u32 | ms u64 | seq u64                    |  an entry that is pending in a group
//! | 6 | group u32 | consumer u32 | ms u64 | seq u64     |  the same, by its consumer; empty
//! | 7 | producer ..                                     |  a producer that sends idempotent ids
//! | 8 | producer u32 | idempotent id ..                 |  the entry that such an id made
//! | 9 | producer u32 | position u64                     |  the idempotent ids in the order in which they came
//! ```
//!
//! Numbers are big-endian. Groups and producers have numbers from the stream, consumers from their group; none is
//! given twice. So a name, which may be any bytes, stands only at the end.

use super::id::Id;
use smallvec::SmallVec;
use std::ops::Bound;

/// A sub-key, or the beginning of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sub(SmallVec<[u8; 40]>);

impl Sub {
    fn new(tag: u8, parts: &[&[u8]]) -> Sub {
        let mut bytes = SmallVec::new();
        bytes.push(tag);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Sub(bytes)
    }

    pub(super) fn block(base: Id) -> Sub {
        Sub::new(1, &[&base.to_bytes()])
    }

    pub(super) fn group(name: &[u8]) -> Sub {
        Sub::new(2, &[name])
    }

    pub(super) fn name(group: u32, name: &[u8]) -> Sub {
        Sub::new(3, &[&group.to_be_bytes(), name])
    }

    pub(super) fn consumer(group: u32, number: u32) -> Sub {
        Sub::new(4, &[&group.to_be_bytes(), &number.to_be_bytes()])
    }

    pub(super) fn pending(group: u32, id: Id) -> Sub {
        Sub::new(5, &[&group.to_be_bytes(), &id.to_bytes()])
    }

    pub(super) fn owned(group: u32, consumer: u32, id: Id) -> Sub {
        Sub::new(6, &[&group.to_be_bytes(), &consumer.to_be_bytes(), &id.to_bytes()])
    }

    pub(super) fn producer(name: &[u8]) -> Sub {
        Sub::new(7, &[name])
    }

    pub(super) fn idempotent(producer: u32, id: &[u8]) -> Sub {
        Sub::new(8, &[&producer.to_be_bytes(), id])
    }

    pub(super) fn order(producer: u32, position: u64) -> Sub {
        Sub::new(9, &[&producer.to_be_bytes(), &position.to_be_bytes()])
    }

    /// Before all of `group`'s: their consumers' names.
    pub(super) fn names(group: u32) -> Sub {
        Sub::new(3, &[&group.to_be_bytes()])
    }

    /// What everything of a group but its own record begins with.
    pub(super) fn of_group(group: u32) -> [Sub; 4] {
        [3, 4, 5, 6].map(|tag| Sub::new(tag, &[&group.to_be_bytes()]))
    }

    /// Before everything about producers.
    pub(super) fn producers() -> Sub {
        Sub::new(7, &[])
    }

    /// Behind everything about producers.
    pub(super) fn idempotents_end() -> Sub {
        Sub::new(10, &[])
    }

    /// Before the groups.
    pub(super) fn groups() -> Sub {
        Sub::new(2, &[])
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Behind every sub-key that begins with this one.
    pub(super) fn end(&self) -> Sub {
        let mut bytes = self.0.clone();
        while let Some(byte) = bytes.pop() {
            if byte < u8::MAX {
                bytes.push(byte + 1);
                break;
            }
        }
        Sub(bytes)
    }

    pub(super) fn included(&self) -> Bound<&[u8]> {
        Bound::Included(&self.0)
    }

    pub(super) fn excluded(&self) -> Bound<&[u8]> {
        Bound::Excluded(&self.0)
    }
}

/// The id at the end of a sub-key.
pub(super) fn id_of(sub: &[u8]) -> Option<Id> {
    sub.last_chunk::<16>().map(|bytes| Id::from_bytes(*bytes))
}

/// The bytes behind the first `n` of a sub-key: a name.
pub(super) fn name_of(sub: &[u8], n: usize) -> &[u8] {
    sub.get(n..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_ends() {
        let id = Id::new(1, 2);
        assert!(Sub::block(id).bytes() < Sub::block(Id::new(1, 3)).bytes());
        assert!(Sub::block(Id::MAX).bytes() < Sub::groups().bytes());
        assert_eq!(id_of(Sub::pending(7, id).bytes()), Some(id));
        assert_eq!(id_of(Sub::owned(7, 9, id).bytes()), Some(id));
        assert_eq!(name_of(Sub::name(7, b"n\xff").bytes(), 5), b"n\xff");
        assert_eq!(name_of(Sub::group(b"").bytes(), 1), b"");
        let end = Sub::names(0xff).end();
        assert!(Sub::name(0xff, &[0xff; 9]).bytes() < end.bytes());
        assert!(end.bytes() <= Sub::names(0x100).bytes());
        assert_eq!(Sub::names(u32::MAX).end().bytes(), [4]);
    }
}
