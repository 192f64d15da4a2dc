//! All commands, by family. A family's file begins with its table; what can be derived from an entry
//! (arity, key positions, ACL categories, COMMAND's answers, the tests' grammar) is derived by
//! [`crate::table`].
//!
//! The kind of an entry fixes what its handler may touch:
//!
//! | kind    | handler gets              | runs                                             |
//! |---------|---------------------------|--------------------------------------------------|
//! | `read`  | [`Read`]                  | with the shards of its keys locked               |
//! | `write` | [`Write`], staged writes  | the same; committed when it returns Ok           |
//! | `wait`  | [`Write`], staged writes  | the same; finds it nothing, the client waits     |
//! | `compound`| [`Scope`](crate::road::Scope): a view, and other commands | the same  |
//! | `admin` | [`Admin`]: session, server| with no shard locked                             |
//!
//! A data handler may be run more than once for one command (see [`crate::road`]), so it has no effect
//! but through its view and its reply.

mod acl;
pub(crate) mod args;
mod bitmap;
mod cluster;
pub(crate) mod command;
mod connection;
mod debug;
mod functions;
mod geo;
mod hash;
mod help;
mod hyperloglog;
mod introspect;
mod keys;
mod latency;
mod list;
mod lolwut;
mod memory;
mod monitor;
mod pubsub;
mod replication;
mod scripting;
mod server;
mod set;
mod slowlog;
mod sort;
mod stream;
mod string;
mod transactions;
mod wait;
mod zset;

pub(crate) use args::Args;
pub(crate) use command::{
    Command, Family, Flags, Handler, admin, compound, container, read, wait, write,
};

/// Every family there is: the whole product on one screen.
pub(crate) const FAMILIES: &[&Family] = &[
    &string::FAMILY,
    &hash::FAMILY,
    &list::FAMILY,
    &set::FAMILY,
    &bitmap::FAMILY,
    &hyperloglog::FAMILY,
    &stream::FAMILY,
    &zset::FAMILY,
    &geo::FAMILY,
    &keys::FAMILY,
    &sort::FAMILY,
    &transactions::FAMILY,
    &scripting::FAMILY,
    &functions::FAMILY,
    &connection::FAMILY,
    &pubsub::FAMILY,
    &server::FAMILY,
    &memory::FAMILY,
    &slowlog::FAMILY,
    &latency::FAMILY,
    &monitor::FAMILY,
    &replication::FAMILY,
    &lolwut::FAMILY,
    &cluster::FAMILY,
    &wait::FAMILY,
];
