//! Redis's own format for data: RDB files, and the payloads of DUMP and RESTORE.
//!
//! ```text
//! file    | "REDIS" | version, 4 digits | opcodes and keys .. | 0xff | CRC-64 u64 LE, since version 5 |
//! payload | type u8 | value .. | version u16 LE | CRC-64 u64 LE |
//! ```
//!
//! This room knows bytes and nothing else: no engine, no database, no clock. A value is read as a row of
//! [`Item`]s, in pieces, so that one of any size passes through little memory; it is written by an
//! [`Encoder`] in the plainest forms, which every Redis reads.
//!
//! What must always hold:
//! 1. Whatever the bytes are, reading them answers or says what is wrong and where ([`Bad`]): it never
//!    panics, and never allocates for what is only announced.
//! 2. Every length, count, order and back-reference in a value is checked, not only those that are needed.

mod bad;
mod dump;
mod encoder;
mod file;
mod functions;
mod input;
mod intset;
mod item;
mod listpack;
mod lzf;
mod module;
mod stream;
mod stream_nodes;
mod types;
mod value;
mod ziplist;
mod zipmap;

pub use bad::{Bad, Stop};
pub use dump::{payload, seal};
pub use encoder::{Encoder, TIMED_VERSION, VERSION};
pub use file::{File, Key, Record};
pub use functions::{pack_functions, unpack_functions};
pub use input::Input;
pub use item::{Item, Piece, StreamId};
pub use stream_nodes::{Nodes, NodesCount};
pub use types::{Kind, Type};
pub use value::read;

#[cfg(test)]
mod tests;
