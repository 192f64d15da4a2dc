//! What a data operation can answer instead of a result, and the texts of the client's mistakes.

use forgekv_engine as engine;
use std::borrow::Cow;

/// A data operation's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation did not happen.
#[derive(Debug, Clone)]
pub enum Error {
    /// Blocks have to be loaded (or a shard is busy, or more shards are needed): the road runs the command again.
    Again(engine::Error),
    /// The key holds another type.
    WrongType,
    /// The client's mistake: a whole error reply, code word first.
    Reply(Cow<'static, str>),
    /// The world's failure.
    Engine(engine::Error),
}

impl Error {
    /// A client's mistake with a text made at run time.
    pub fn reply(text: impl Into<Cow<'static, str>>) -> Error {
        Error::Reply(text.into())
    }

    /// Bytes that passed their checksum and still make no sense.
    pub(crate) fn broken(what: &str) -> Error {
        Error::Engine(engine::Error::Incompatible(format!(
            "{what}: the data was written by another version or is damaged"
        )))
    }
}

impl From<engine::Error> for Error {
    fn from(e: engine::Error) -> Error {
        match e {
            engine::Error::Miss | engine::Error::Busy(_) | engine::Error::NotHeld(_) => {
                Error::Again(e)
            }
            other => Error::Engine(other),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Again(e) | Error::Engine(e) => e.fmt(f),
            Error::WrongType => f.write_str(WRONG_TYPE),
            Error::Reply(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// The key holds another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// Not an integer, or one that does not fit.
pub const NOT_AN_INTEGER: Error =
    Error::Reply(Cow::Borrowed("ERR value is not an integer or out of range"));
/// Not a number.
pub const NOT_A_FLOAT: Error = Error::Reply(Cow::Borrowed("ERR value is not a valid float"));
/// Arguments that fit no syntax line.
pub const SYNTAX: Error = Error::Reply(Cow::Borrowed("ERR syntax error"));
/// The key is not there.
pub const NO_SUCH_KEY: Error = Error::Reply(Cow::Borrowed("ERR no such key"));
/// An increment past 64 bits.
pub const OVERFLOW: Error =
    Error::Reply(Cow::Borrowed("ERR increment or decrement would overflow"));
