//! Commands, sessions and sockets: everything between the wire and the data.

mod acl;
mod commands;
pub mod config;
mod connection;
mod effects;
mod housekeeping;
pub mod info;
mod interest;
mod listener;
mod observe;
mod oom;
mod pause;
mod pubsub;
mod rewrites;
mod road;
mod saves;
mod scripts;
mod server;
mod session;
mod switches;
mod table;
pub mod tls;
mod tracking;
mod transaction;
mod waiting;
mod watch;
mod worker;

pub use road::embedded::Embedded;
pub use server::{Server, Setup, StartError, Stopper};
pub use table::{Described, describe};
