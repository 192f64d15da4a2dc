//! Commands, sessions and sockets: everything between the wire and the data.

mod commands;
mod road;
mod session;
