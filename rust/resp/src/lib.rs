//! The wire: RESP2, RESP3 and inline requests, as bytes. No command is known here, and no socket.
//!
//! [`parser`] cuts requests out of what a client has sent so far, [`reply`] writes answers for
//! either protocol version, [`value`] is the other side of the wire for tests and tools.

pub mod parser;
pub mod reply;
pub mod value;

pub use parser::{Args, Limits, Parser, ProtocolError, Status};
pub use reply::{Deferred, Mark, Proto, Reply};
pub use value::{DecodeError, Value, encode_command};
