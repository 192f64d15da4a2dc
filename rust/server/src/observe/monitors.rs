//! MONITOR: every command, shown to the clients that asked for it.

use crate::server::Shared;
use crate::session::Client;
use crate::worker::Mail;
use forgekv_base::clock;
use forgekv_base::split_args::quote;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Where a command came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the client itself.
    Client,
    /// From a script that the client runs.
    Script,
}

/// The clients that watch.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    clients: Mutex<Vec<Arc<Client>>>,
    count: AtomicUsize,
}

impl Monitors {
    /// Whether anybody watches.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Shows commands to `client` from now on.
    pub(crate) fn add(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        if clients.iter().all(|other| other.id != client.id) {
            clients.push(client.clone());
            self.count.store(clients.len(), Relaxed);
        }
    }

    /// Shows it nothing any more.
    pub(crate) fn remove(&self, id: u64) {
        let mut clients = self.clients.lock();
        clients.retain(|client| client.id != id);
        self.count.store(clients.len(), Relaxed);
    }

    /// Shows a command of `client` that ran in `db`.
    pub(super) fn show(
        &self,
        server: &Arc<Shared>,
        db: u32,
        source: Source,
        client: &Client,
        words: &[&[u8]],
    ) {
        let from = from(source, &client.address, client.is_unix);
        let line: Arc<[u8]> = line(clock::now_us(), db, &from, words).into();
        for monitor in &*self.clients.lock() {
            if let Some(mailbox) = server.mailboxes.get(monitor.worker) {
                mailbox.send(Mail::Push { client: monitor.id, bytes: line.clone(), lsn: 0 });
            }
        }
    }
}

/// How a monitor is told where a command came from.
fn from(source: Source, address: &str, is_unix: bool) -> String {
    match source {
        Source::Script => "lua".into(),
        Source::Client if is_unix => format!("unix:{}", address.trim_end_matches(":0")),
        Source::Client => address.into(),
    }
}

fn line(now_us: u64, db: u32, from: &str, words: &[&[u8]]) -> Vec<u8> {
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let mut line = format!("+{seconds}.{micros:06} [{db} {from}]").into_bytes();
    for word in words {
        line.push(b' ');
        line.extend_from_slice(&quote(word));
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_where_and_who() {
        let words: [&[u8]; 2] = [b"set", b"a\n\x00\""];
        assert_eq!(
            line(1_339_518_083_107_412, 3, "127.0.0.1:60866", &words),
            b"+1339518083.107412 [3 127.0.0.1:60866] \"set\" \"a\\n\\x00\\\"\"\r\n"
        );
        assert_eq!(from(Source::Script, "1.2.3.4:5", false), "lua");
        assert_eq!(from(Source::Client, "1.2.3.4:5", false), "1.2.3.4:5");
        assert_eq!(from(Source::Client, "/tmp/s:0", true), "unix:/tmp/s");
    }
}
