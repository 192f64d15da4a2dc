//! The compatibility harness: ForgeKV and a real redis-server are asked the same things.
//!
//! A transcript (`transcripts/<family>.txt`) is what a client typed and what it must see. The same
//! file is played to our server and to redis-server 7.0, so a wrong expectation fails on one side or
//! the other. The pieces, from the outside in:
//!
//! * [`transcript`] reads and rewrites the files,
//! * [`play`] runs one test of a file against a server,
//! * [`expand`] fills in `${…}` in commands and expectations,
//! * [`text`] prints replies as redis-cli would, but exactly,
//! * [`kills`] kills servers under load,
//! * [`linearizable`] checks what many clients saw at once,
//! * [`client`] and [`server`] are the two ends of the wire.
//!
//! Nothing here knows how ForgeKV works inside: it is a program that listens on a port.

pub mod client;
pub mod expand;
pub mod kills;
pub mod linearizable;
pub mod play;
pub mod server;
pub mod text;
pub mod transcript;

/// Any failure of the harness itself, or of a server that should have answered.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A result whose error is a sentence.
pub type Result<T> = std::result::Result<T, Error>;
