//! All clients that are connected, and the memory that they take together.
//!
//! `maxmemory-clients` bounds that sum. It is counted as buffers grow and shrink, each client by the worker
//! that serves it, and only while there is a bound. Beyond it the largest clients are closed, until the rest
//! fits; those that have asked for it (CLIENT NO-EVICT) count, and stay.

use super::Client;
use crate::config::Config;
use crate::server::Shared;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a name takes that is registered for a client, beside its bytes: entries of maps on both sides.
pub(crate) const NAME_BYTES: u64 = 96;

/// All clients that are connected.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Mutex<All>,
    last_id: AtomicU64,
    evicted: AtomicU64,
    /// Held by the one who chooses clients to be closed.
    evicting: Mutex<()>,
}

#[derive(Debug, Default)]
struct All {
    by_id: BTreeMap<u64, Arc<Client>>,
    /// The sum of what is counted of them, in bytes.
    counted: u64,
}

impl Clients {
    /// A number for a new client.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn add(&self, client: Arc<Client>) {
        self.all.lock().by_id.insert(client.id, client);
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut all = self.all.lock();
        if let Some(client) = all.by_id.remove(&id) {
            all.counted -= client.counted.swap(0, Relaxed);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.lock().by_id.len()
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.all.lock().by_id.values().cloned().collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().by_id.get(&id).cloned()
    }

    /// How many were closed because clients took too much memory.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset_evicted(&self) {
        self.evicted.store(0, Relaxed);
    }

    /// Counts what a client takes now; the sum of all, in bytes.
    fn count_memory(&self, client: &Client) -> u64 {
        let mut all = self.all.lock();
        // One that is gone is not counted again.
        if all.by_id.contains_key(&client.id) {
            let now = client.memory();
            all.counted = all.counted - client.counted.swap(now, Relaxed) + now;
        }
        all.counted
    }

    fn counted_memory(&self) -> u64 {
        self.all.lock().counted
    }
}

impl Shared {
    /// Counts what a client takes, if there is a bound; clients that are too much are closed, and `client` may
    /// be one of them.
    #[inline]
    pub(crate) fn count_memory(&self, client: &Client, config: &Config) {
        if let Some(most) = config.client_memory()
            && self.clients.count_memory(client) > most
        {
            self.evict_clients(most);
        }
    }

    /// As [`count_memory`](Self::count_memory) for all clients: the bound has changed.
    pub(crate) fn count_memory_of_all(&self, config: &Config) {
        let Some(most) = config.client_memory() else { return };
        for client in self.clients.all() {
            self.clients.count_memory(&client);
        }
        self.evict_clients(most);
    }

    /// Closes the largest clients until the rest takes no more than `most` bytes.
    #[cold]
    fn evict_clients(&self, most: u64) {
        // Another thread that is at it finds those that this one would.
        let Some(_alone) = self.clients.evicting.try_lock() else { return };
        let mut clients = self.clients.all();
        clients.retain(|client| !client.no_evict.load(Relaxed));
        clients.sort_by_key(|client| Reverse(client.counted.load(Relaxed)));
        for client in clients {
            if self.clients.counted_memory() <= most {
                break;
            }
            tracing::info!(
                "Evicting client: id={} addr={} tot-mem={}",
                client.id,
                client.address,
                client.memory()
            );
            client.is_closing.store(true, Relaxed);
            self.clients.evicted.fetch_add(1, Relaxed);
            self.clients.remove(client.id);
            self.close_client(client.worker, client.id);
        }
    }
}
