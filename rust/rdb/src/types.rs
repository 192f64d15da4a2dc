//! The numbers that say what a value is and how it lies.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes.
    String,
    /// A sequence.
    List,
    /// A set.
    Set,
    /// A set with scores.
    ZSet,
    /// Fields with values.
    Hash,
    /// A stream.
    Stream,
    /// A module's value, of which only the module knows what it is.
    Module,
}

/// A type's number: what the value is, and in which of the forms it had over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Type(pub(crate) u8);

// The forms that are written.
impl Type {
    /// A string.
    pub const STRING: Type = Type(0);
    /// A list: its length, then each element.
    pub const LIST: Type = Type(1);
    /// A set: its length, then each member.
    pub const SET: Type = Type(2);
    /// A hash: its length, then each field and value.
    pub const HASH: Type = Type(4);
    /// A sorted set: its length, then each member and its score in binary.
    pub const ZSET: Type = Type(5);
    /// A stream as of Redis 7.0.
    pub const STREAM: Type = Type(19);
    /// A hash with expiries of fields: the first of them, its length, then each expiry, field and value.
    pub const TIMED_HASH: Type = Type(24);
}

// The others.
impl Type {
    pub(crate) const ZSET_TEXT: Type = Type(3);
    pub(crate) const MODULE_OLD: Type = Type(6);
    pub(crate) const MODULE: Type = Type(7);
    pub(crate) const HASH_ZIPMAP: Type = Type(9);
    pub(crate) const LIST_ZIPLIST: Type = Type(10);
    pub(crate) const SET_INTSET: Type = Type(11);
    pub(crate) const ZSET_ZIPLIST: Type = Type(12);
    pub(crate) const HASH_ZIPLIST: Type = Type(13);
    pub(crate) const QUICKLIST: Type = Type(14);
    pub(crate) const STREAM_1: Type = Type(15);
    pub(crate) const HASH_LISTPACK: Type = Type(16);
    pub(crate) const ZSET_LISTPACK: Type = Type(17);
    pub(crate) const QUICKLIST_2: Type = Type(18);
    pub(crate) const SET_LISTPACK: Type = Type(20);
    pub(crate) const STREAM_3: Type = Type(21);
    pub(crate) const TIMED_HASH_EARLY: Type = Type(22);
    pub(crate) const TIMED_LISTPACK_EARLY: Type = Type(23);
    pub(crate) const TIMED_LISTPACK: Type = Type(25);

    /// The type of this number, if there is one.
    pub fn of(number: u8) -> Option<Type> {
        matches!(number, 0..=7 | 9..=25).then_some(Type(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// What the value is.
    pub fn kind(self) -> Kind {
        match self {
            Type::LIST | Type::LIST_ZIPLIST | Type::QUICKLIST | Type::QUICKLIST_2 => Kind::List,
            Type::SET | Type::SET_INTSET | Type::SET_LISTPACK => Kind::Set,
            Type::ZSET | Type::ZSET_TEXT | Type::ZSET_ZIPLIST | Type::ZSET_LISTPACK => Kind::ZSet,
            Type::HASH
            | Type::HASH_ZIPMAP
            | Type::HASH_ZIPLIST
            | Type::HASH_LISTPACK
            | Type::TIMED_HASH
            | Type::TIMED_HASH_EARLY
            | Type::TIMED_LISTPACK
            | Type::TIMED_LISTPACK_EARLY => Kind::Hash,
            Type::STREAM | Type::STREAM_1 | Type::STREAM_3 => Kind::Stream,
            Type::MODULE | Type::MODULE_OLD => Kind::Module,
            _ => Kind::String,
        }
    }
}
