//! Redis's types on the engine: what a command does to the data, without sockets, RESP or threads.
//!
//! `ENCODING.md` draws every record; [`view`] is what a command sees.

mod ahead;
pub mod bitmap;
pub mod dbmap;
pub mod digest;
mod error;
pub mod expire;
pub mod functions;
pub mod geo;
pub mod hash;
mod header;
pub mod hyperloglog;
pub mod keys;
mod large;
mod limits;
pub mod list;
mod outside;
mod place;
pub mod rdb;
mod record;
mod row;
pub mod scan;
mod schema;
pub mod set;
pub mod sort;
mod store;
pub mod stream;
pub mod string;
#[cfg(test)]
mod testing;
mod tree;
mod uses;
mod view;
mod windows;
pub mod zset;

pub use ahead::Spot;
pub use error::{
    Error, NO_SUCH_KEY, NOT_A_FLOAT, NOT_AN_INTEGER, OVERFLOW, Result, SYNTAX, WRONG_TYPE,
};
pub use header::{Header, Kind, encoding, exploded_body};
pub use large::{ELSEWHERE, PREPARE, Preparations};
pub use limits::Limits;
pub use place::Key;
pub use store::Store;
pub use uses::Lfu;
pub use view::{Event, Parts, Read, Savepoint, Surroundings, Touched, Write, event_class};
