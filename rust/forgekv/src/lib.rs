//! ForgeKV as a library: a data directory without a server.
//!
//! [`Db`] opens the same directory that the server serves, one owner at a time, and every call takes the
//! road that a client's command takes: the same command table, the same checks, one atomic commit. When a
//! call returns, what it wrote survives the process; whether it survives the machine says
//! [`Options::sync`].
//!
//! ```
//! # fn main() -> forgekv::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use std::time::Duration;
//!
//! let db = forgekv::Db::open(dir.path())?;
//! db.set("greeting", "hello")?;
//! assert_eq!(db.get("greeting")?.as_deref(), Some(&b"hello"[..]));
//!
//! db.set_with_ttl("session:1", "token", Duration::from_secs(3600))?;
//! assert_eq!(db.incr("visits", 1)?, 1);
//! db.hset("user:1", "name", "Ada")?;
//!
//! // Any command of the data families, with Redis's reply.
//! let value = db.command(&["GETRANGE", "greeting", "0", "3"])?;
//! assert_eq!(value.as_bytes(), Some(&b"hell"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! A `Db` is cheap to clone and may be used from any thread. Calls wait for the disk if they have to.

mod db;
mod scan;

pub use db::{Db, Options, Ttl};
pub use forgekv_engine::SyncMode;
pub use forgekv_resp::Value;
pub use scan::Scan;

use std::fmt;

/// What a call answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The command was refused: Redis's error reply, code word first.
    Refused(String),
    /// The directory could not be opened, read or written.
    Storage(forgekv_engine::Error),
    /// The answer is of another kind than the call expects. This is a mistake of ours.
    Unexpected(Value),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(text) => f.write_str(text),
            Error::Storage(e) => e.fmt(f),
            Error::Unexpected(value) => write!(f, "an unexpected answer: {value:?}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<forgekv_engine::Error> for Error {
    fn from(e: forgekv_engine::Error) -> Error {
        Error::Storage(e)
    }
}
