//! Telling the service manager that the server is ready, or stopping: systemd's notification
//! protocol, which is one datagram.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use forgekv_server::config::Supervised;

/// Says `state` (such as `READY=1`) to whoever `supervised` names.
pub(crate) fn notify(supervised: Supervised, state: &str) {
    let socket = std::env::var_os("NOTIFY_SOCKET");
    match (supervised, socket) {
        (Supervised::No, _) | (Supervised::Auto, None) => {}
        (Supervised::Upstart, _) => {
            tracing::warn!("supervised upstart: Upstart is told nothing; use systemd or no");
        }
        (Supervised::Systemd, None) => {
            tracing::warn!(
                "supervised systemd: NOTIFY_SOCKET is not set, so nobody is told {state}"
            );
        }
        (Supervised::Systemd | Supervised::Auto, Some(socket)) => {
            if let Err(why) = send(&socket, state) {
                tracing::warn!("systemd could not be told {state}: {why}");
            }
        }
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // An abstract name, which is no file.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsString::from(OsStr::from_bytes(path)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_one_datagram() {
        let path = std::env::temp_dir().join(format!("forgekv-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 32];
        let len = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"READY=1");
        std::fs::remove_file(path).unwrap();

        let name = format!("forgekv-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        let len = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"STOPPING=1");
        assert!(send(OsStr::new("/nowhere/socket"), "READY=1").is_err());
    }
}
