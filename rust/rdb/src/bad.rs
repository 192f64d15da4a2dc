//! What is wrong with foreign bytes.

use std::borrow::Cow;
use std::fmt;

/// Bytes that cannot be read as what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Where, in bytes from the start of the file or payload: the place itself, or where the string
    /// begins in which the place is.
    pub offset: u64,
    /// What is wrong: a sentence without its end.
    pub what: Cow<'static, str>,
}

impl Bad {
    pub(crate) fn new(offset: u64, what: impl Into<Cow<'static, str>>) -> Bad {
        Bad { offset, what: what.into() }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at offset {})", self.what, self.offset)
    }
}

impl std::error::Error for Bad {}

/// Why a value was not read to its end.
#[derive(Debug)]
pub enum Stop<E> {
    /// The bytes are wrong.
    Bad(Bad),
    /// Who got the items wanted no more.
    Taker(E),
}

impl<E> From<Bad> for Stop<E> {
    fn from(bad: Bad) -> Stop<E> {
        Stop::Bad(bad)
    }
}
