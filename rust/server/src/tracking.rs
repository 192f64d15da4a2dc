//! CLIENT TRACKING: clients that keep copies of values are told when those change.
//!
//! ```text
//!   GET ── view ── commit ── this client holds the key's name ──┐ with the shard held
//!   SET ── view ── commit ── who holds it? forget, and send ────┘
//! ```
//!
//! What always holds:
//! 1. A name is noted before the shard is given back in which it was read, and a change is told before its
//!    shard is: so no change slips in between.
//! 2. What is told comes behind the reply that it makes worthless, since it goes through the mail of the
//!    client's worker.
//! 3. A client may be told of more than it holds, never of less. Names count for all databases.

use crate::interest::Interest;
use crate::server::Shared;
use crate::session::{Client, NAME_BYTES, NotedRead};
use crate::worker::Mail;
use forgekv_data::{Key, Touched};
use forgekv_engine::SHARDS;
use forgekv_resp::{Proto, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

mod mode;
mod prefixes;
mod table;

pub(crate) use mode::{Mode, OptIn};
use prefixes::Prefixes;
use table::Table;

/// The channel of invalidations for clients that speak RESP2.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// What others have to know of a client's tracking; one atomic bit each.
pub(crate) mod bit {
    pub(crate) const ON: u32 = 1;
    pub(crate) const BROADCAST: u32 = 1 << 1;
    pub(crate) const NO_LOOP: u32 = 1 << 2;
    /// The client to which invalidations are sent instead is gone.
    pub(crate) const BROKEN: u32 = 1 << 3;
}

/// All that is tracked.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    clients: AtomicUsize,
    held: Table,
    prefixes: Prefixes,
    /// Where the next name is taken from when there are too many.
    next_shard: AtomicU64,
}

/// What a client is told of.
enum What<'a> {
    Names(&'a [&'a [u8]]),
    Everything,
}

impl What<'_> {
    fn write(&self, reply: &mut Reply<'_>) {
        match self {
            What::Names(names) => {
                reply.array(names.len());
                names.iter().for_each(|name| reply.bulk(name));
            }
            What::Everything => reply.null(),
        }
    }
}

impl Tracking {
    /// Begins (or goes on with other prefixes) as `mode` says.
    pub(crate) fn enable(&self, interest: &Interest, client: &Client, mode: &Mode) {
        let before = client.tracking.load(Relaxed);
        let mut bits = bit::ON;
        bits |= if mode.broadcast { bit::BROADCAST } else { 0 };
        bits |= if mode.no_loop { bit::NO_LOOP } else { 0 };
        client.tracking.store(bits, Relaxed);
        let prefix_bytes = mode.prefixes.iter().map(|prefix| prefix.len() as u64 + NAME_BYTES);
        client.prefix_bytes.store(prefix_bytes.sum(), Relaxed);
        client.redirect.store(mode.redirect.unwrap_or(0), Relaxed);
        if before & bit::ON == 0 {
            self.clients.fetch_add(1, Relaxed);
            // One shard suffices to hear of databases that are emptied.
            interest.add(0);
            if mode.broadcast {
                (0..SHARDS as u8).for_each(|shard| interest.add(shard));
            }
        }
        if mode.broadcast {
            self.prefixes.enter(client.id, &mode.prefixes);
        }
    }

    /// Ends it. Names that the client holds are forgotten when they change.
    pub(crate) fn disable(&self, interest: &Interest, client: &Client, mode: &Mode) {
        client.tracking.store(0, Relaxed);
        client.prefix_bytes.store(0, Relaxed);
        client.redirect.store(0, Relaxed);
        self.clients.fetch_sub(1, Relaxed);
        if mode.broadcast {
            self.prefixes.leave(client.id, &mode.prefixes);
            (0..SHARDS as u8).for_each(|shard| interest.remove(shard));
        }
        interest.remove(0);
    }

    /// Notes that a client has read keys, whose shards the caller holds. `max` is how many names are noted at
    /// most; 0 is no limit.
    pub(crate) fn remember(&self, server: &Shared, client: u64, reads: &[NotedRead], max: u64) {
        if reads.is_empty() {
            return;
        }
        reads.iter().for_each(|read| self.enter(server, client, &read.key()));
        // A few more than came, so that a lowered limit is reached soon.
        self.limit(server, max, 4 * reads.len());
    }

    fn enter(&self, server: &Shared, client: u64, key: &Key<'_>) {
        if self.held.enter(key, client) {
            server.interest.add(key.shard());
        }
    }

    /// Tells holders of some names that they are forgotten, if there are more than `max`.
    pub(crate) fn limit(&self, server: &Shared, max: u64, most: usize) {
        let mut left = most;
        let mut empty = 0;
        while max > 0 && self.held.names() > max && left > 0 && empty < SHARDS {
            let shard = (self.next_shard.fetch_add(1, Relaxed) % SHARDS as u64) as u8;
            let Some((name, holders)) = self.held.take_any(shard) else {
                empty += 1;
                continue;
            };
            (empty, left) = (0, left - 1);
            server.interest.remove(shard);
            // What was read is written already, or the client could not hold it.
            self.tell_holders(server, &name, &holders, 0, 0);
        }
    }

    /// Tells of changes, whose shards the caller holds. `by` is the client that made them, 0 if none did, and
    /// `reads` what it has read between them: it is told of the changes that came behind. It all leaves when
    /// the log is written (or synced) up to `lsn`.
    pub(crate) fn tell(
        &self,
        server: &Shared,
        touched: &[Touched],
        by: u64,
        reads: &[NotedRead],
        max: u64,
        lsn: u64,
    ) {
        if self.clients.load(Relaxed) == 0 && self.held.names() == 0 {
            return;
        }
        let mut everything = false;
        let mut left = reads;
        for (at, change) in touched.iter().enumerate() {
            while let Some((read, later)) = left.split_first().filter(|(read, _)| read.after <= at)
            {
                self.enter(server, by, &read.key());
                left = later;
            }
            match change {
                Touched::Key { name, shard, .. } => {
                    if let Some(holders) = self.held.take(*shard, name) {
                        server.interest.remove(*shard);
                        self.tell_holders(server, name, &holders, by, lsn);
                    }
                }
                Touched::Database(_) => everything = true,
                Touched::Ready { .. } => {}
            }
        }
        self.broadcast(server, touched, by, lsn);
        if everything {
            self.tell_everything(server, lsn);
        }
        self.remember(server, by, left, max);
    }

    fn tell_holders(&self, server: &Shared, name: &[u8], holders: &[u64], by: u64, lsn: u64) {
        for id in holders {
            let Some(client) = server.clients.get(*id) else { continue };
            let bits = client.tracking.load(Relaxed);
            let is_own = bits & bit::NO_LOOP != 0 && by == *id;
            if bits & (bit::ON | bit::BROADCAST) == bit::ON && !is_own {
                send(server, &client, &What::Names(&[name]), lsn);
            }
        }
    }

    /// Tells those who asked for prefixes.
    fn broadcast(&self, server: &Shared, touched: &[Touched], by: u64, lsn: u64) {
        if self.prefixes.is_empty() {
            return;
        }
        let names = touched.iter().filter_map(|change| match change {
            Touched::Key { name, .. } => Some(name.as_slice()),
            Touched::Database(_) | Touched::Ready { .. } => None,
        });
        let names: BTreeSet<&[u8]> = names.collect();
        for (names, clients) in self.prefixes.fitting(&names) {
            for id in clients {
                let Some(client) = server.clients.get(id) else { continue };
                let bits = client.tracking.load(Relaxed);
                if bits & bit::BROADCAST != 0 && !(bits & bit::NO_LOOP != 0 && by == id) {
                    send(server, &client, &What::Names(&names), lsn);
                }
            }
        }
    }

    /// A database was emptied or has changed places.
    fn tell_everything(&self, server: &Shared, lsn: u64) {
        for shard in 0..SHARDS as u8 {
            for _ in 0..self.held.clear(shard) {
                server.interest.remove(shard);
            }
        }
        for client in server.clients.all() {
            if client.tracking.load(Relaxed) & bit::ON != 0 {
                send(server, &client, &What::Everything, lsn);
            }
        }
    }

    /// Clients that track.
    pub(crate) fn clients(&self) -> u64 {
        self.clients.load(Relaxed) as u64
    }

    /// Names that somebody holds.
    pub(crate) fn names(&self) -> u64 {
        self.held.names()
    }

    /// The same, each counted for every client that holds it.
    pub(crate) fn items(&self) -> u64 {
        self.held.items()
    }

    /// Prefixes that somebody asked for.
    pub(crate) fn prefixes(&self) -> u64 {
        self.prefixes.len() as u64
    }
}

/// Sends an invalidation to a client, or to the one that it has named.
fn send(server: &Shared, client: &Client, what: &What<'_>, lsn: u64) {
    let redirect = client.redirect.load(Relaxed);
    if redirect == 0 {
        if client.resp3.load(Relaxed) {
            push(server, client, lsn, |reply| {
                reply.push(2);
                reply.bulk(b"invalidate");
                what.write(reply);
            });
        }
        return;
    }
    let target = server.clients.get(redirect).filter(|target| !target.is_closing.load(Relaxed));
    let Some(target) = target else {
        client.tracking.fetch_or(bit::BROKEN, Relaxed);
        if client.resp3.load(Relaxed) {
            push(server, client, lsn, |reply| {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.int(redirect as i64);
            });
        }
        return;
    };
    if target.resp3.load(Relaxed) {
        push(server, &target, lsn, |reply| {
            reply.push(2);
            reply.bulk(b"invalidate");
            what.write(reply);
        });
    } else if target.is_subscriber() {
        push(server, &target, lsn, |reply| {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            what.write(reply);
        });
    }
}

fn push(server: &Shared, client: &Client, lsn: u64, write: impl FnOnce(&mut Reply<'_>)) {
    let mut bytes = Vec::new();
    let proto = if client.resp3.load(Relaxed) { Proto::Resp3 } else { Proto::Resp2 };
    write(&mut Reply::new(&mut bytes, proto));
    if let Some(mailbox) = server.mailboxes.get(client.worker) {
        mailbox.send(Mail::Push { client: client.id, bytes: Arc::from(bytes), lsn });
    }
}
