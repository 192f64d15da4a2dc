//! Pub/Sub: who has subscribed to what, and how a message gets to them.
//!
//! ```text
//!   PUBLISH ── registry: which patterns fit, which workers have receivers ── one letter to each of those
//!                                                                                │
//!   worker's desk: its own receivers of that name ── one encoded message appended to each output ◄┘
//! ```
//!
//! What always holds:
//! 1. Letters are sent while the registry is locked, and a mailbox keeps their order: so all subscribers see
//!    messages in one order, and those of one publisher in his.
//! 2. A subscription gets what was published after it was made and before it was ended, nothing else. The
//!    registry numbers messages and subscriptions for that.
//! 3. The locks are taken in this order: registry, then a worker's receivers. A desk takes the second only.

use crate::session::{Client, NAME_BYTES};
use crate::worker::{Mail, Mailbox};
use forgekv_base::glob;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

mod message;

pub(crate) use message::{Encoded, Message};

/// The name of a channel or a pattern; one copy of it serves all who hold it.
pub(crate) type Name = Arc<[u8]>;

/// What can be subscribed to. They do not know each other's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    /// All channels whose name fits.
    Pattern,
    /// A channel of one shard of a cluster; of one server there is one shard.
    Shard,
}

const KINDS: usize = 3;

/// What one client has subscribed to. Changed by [`PubSub`] only.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions([BTreeSet<Name>; KINDS]);

impl Subscriptions {
    /// To anything at all.
    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(|names| !names.is_empty())
    }

    /// The names of one kind, in order.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.of(kind).iter()
    }

    /// The number that a confirmation tells: shard channels are counted apart.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.of(kind).len(),
            _ => self.of(Kind::Channel).len() + self.of(Kind::Pattern).len(),
        }
    }

    fn of(&self, kind: Kind) -> &BTreeSet<Name> {
        let [channels, patterns, shards] = &self.0;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Shard => shards,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<Name> {
        let [channels, patterns, shards] = &mut self.0;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Shard => shards,
        }
    }
}

/// A map of names for each kind.
#[derive(Debug)]
struct ByKind<T>([HashMap<Name, T>; KINDS]);

impl<T> Default for ByKind<T> {
    fn default() -> ByKind<T> {
        ByKind([HashMap::new(), HashMap::new(), HashMap::new()])
    }
}

impl<T> ByKind<T> {
    fn of(&self, kind: Kind) -> &HashMap<Name, T> {
        let [channels, patterns, shards] = &self.0;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Shard => shards,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashMap<Name, T> {
        let [channels, patterns, shards] = &mut self.0;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Shard => shards,
        }
    }
}

/// How many receivers each worker has.
#[derive(Debug, Default)]
struct Spread {
    by_worker: Vec<usize>,
    sum: usize,
}

impl Spread {
    fn enter(&mut self, worker: usize) {
        if self.by_worker.len() <= worker {
            self.by_worker.resize(worker + 1, 0);
        }
        if let Some(count) = self.by_worker.get_mut(worker) {
            *count += 1;
            self.sum += 1;
        }
    }

    fn leave(&mut self, worker: usize) {
        if let Some(count) = self.by_worker.get_mut(worker).filter(|count| **count > 0) {
            *count -= 1;
            self.sum -= 1;
        }
    }

    fn mark(&self, workers: &mut Vec<bool>) {
        workers.resize(workers.len().max(self.by_worker.len()), false);
        for (marked, count) in workers.iter_mut().zip(&self.by_worker) {
            *marked |= *count > 0;
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    spread: ByKind<Spread>,
    /// The number of the last message or subscription.
    last: u64,
}

/// One client that has subscribed to a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver {
    pub(crate) client: u64,
    /// Its subscription's number: older messages are not for it.
    since: u64,
}

/// The receivers that one worker serves, each list by the clients' ids.
#[derive(Debug, Default)]
pub(crate) struct Receivers(ByKind<Vec<Receiver>>);

/// All subscriptions of a server.
#[derive(Debug)]
pub(crate) struct PubSub {
    registry: Mutex<Registry>,
    receivers: Vec<Mutex<Receivers>>,
    /// Subscriptions of all clients, so that a publisher need not ask when there are none.
    subscriptions: AtomicUsize,
    /// Clients that have any.
    clients: AtomicUsize,
}

impl PubSub {
    pub(crate) fn new(workers: usize) -> PubSub {
        PubSub {
            registry: Mutex::default(),
            receivers: (0..workers).map(|_| Mutex::default()).collect(),
            subscriptions: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
        }
    }

    /// Whether nobody has subscribed to anything.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.subscriptions.load(Relaxed) == 0
    }

    /// Subscribes a client; what it has subscribed to before changes nothing.
    pub(crate) fn subscribe(
        &self,
        client: &Client,
        mine: &mut Subscriptions,
        kind: Kind,
        name: &[u8],
    ) {
        if mine.of(kind).contains(name) {
            return;
        }
        let was_none = !mine.any();
        let mut registry = self.registry.lock();
        registry.last += 1;
        let since = registry.last;
        let spread = registry.spread.of_mut(kind);
        let name = spread.get_key_value(name).map_or_else(|| Name::from(name), |(n, _)| n.clone());
        spread.entry(name.clone()).or_default().enter(client.worker);
        if let Some(receivers) = self.receivers.get(client.worker) {
            receivers.lock().enter(kind, &name, Receiver { client: client.id, since });
        }
        drop(registry);
        client.subscribed_bytes.fetch_add(name.len() as u64 + NAME_BYTES, Relaxed);
        mine.of_mut(kind).insert(name);
        self.subscriptions.fetch_add(1, Relaxed);
        self.clients.fetch_add(usize::from(was_none), Relaxed);
        client.counts(kind).store(mine.of(kind).len() as u32, Relaxed);
    }

    /// Ends a subscription; false when there was none.
    pub(crate) fn unsubscribe(
        &self,
        client: &Client,
        mine: &mut Subscriptions,
        kind: Kind,
        name: &[u8],
    ) -> bool {
        if !mine.of_mut(kind).remove(name) {
            return false;
        }
        client.subscribed_bytes.fetch_sub(name.len() as u64 + NAME_BYTES, Relaxed);
        let mut registry = self.registry.lock();
        let spread = registry.spread.of_mut(kind);
        if let Some(counts) = spread.get_mut(name) {
            counts.leave(client.worker);
            if counts.sum == 0 {
                spread.remove(name);
            }
        }
        if let Some(receivers) = self.receivers.get(client.worker) {
            receivers.lock().leave(kind, name, client.id);
        }
        drop(registry);
        self.subscriptions.fetch_sub(1, Relaxed);
        self.clients.fetch_sub(usize::from(!mine.any()), Relaxed);
        client.counts(kind).store(mine.of(kind).len() as u32, Relaxed);
        true
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn leave(&self, client: &Client, mine: &mut Subscriptions) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            while let Some(name) = mine.of(kind).first().cloned() {
                self.unsubscribe(client, mine, kind, &name);
            }
        }
    }

    /// How many will get a message that is published now. A client that has subscribed to the channel and to
    /// patterns that fit is counted for each.
    pub(crate) fn count(&self, channel: &[u8], sharded: bool) -> usize {
        if self.is_empty() {
            return 0;
        }
        let registry = self.registry.lock();
        let kind = if sharded { Kind::Shard } else { Kind::Channel };
        let direct = registry.spread.of(kind).get(channel).map_or(0, |spread| spread.sum);
        if sharded {
            return direct;
        }
        let patterns = registry.spread.of(Kind::Pattern).iter();
        let fitting = patterns.filter(|(pattern, _)| glob::matches(pattern, channel, false));
        direct + fitting.map(|(_, spread)| spread.sum).sum::<usize>()
    }

    /// Sends a message to all who have subscribed. It reaches a client when the log is written (with `Always`:
    /// synced) up to `lsn`.
    pub(crate) fn publish(
        &self,
        mailboxes: &[Arc<Mailbox>],
        channel: &[u8],
        payload: &[u8],
        sharded: bool,
        lsn: u64,
    ) {
        if self.is_empty() {
            return;
        }
        let mut workers = Vec::new();
        let mut patterns = Vec::new();
        let mut registry = self.registry.lock();
        let kind = if sharded { Kind::Shard } else { Kind::Channel };
        if let Some(spread) = registry.spread.of(kind).get(channel) {
            spread.mark(&mut workers);
        }
        if !sharded {
            for (pattern, spread) in registry.spread.of(Kind::Pattern) {
                if glob::matches(pattern, channel, false) {
                    spread.mark(&mut workers);
                    patterns.push(pattern.clone());
                }
            }
        }
        if workers.is_empty() {
            return;
        }
        registry.last += 1;
        let number = registry.last;
        let message = Arc::new(Message {
            channel: channel.into(),
            payload: payload.into(),
            kind,
            patterns,
            number,
            lsn,
        });
        for (mailbox, marked) in mailboxes.iter().zip(workers) {
            if marked {
                mailbox.send(Mail::Publish(message.clone()));
            }
        }
    }

    /// Hands every subscription to `each`.
    pub(crate) fn each(&self, mut each: impl FnMut(Kind, &[u8], u64)) {
        for receivers in &self.receivers {
            let receivers = receivers.lock();
            for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
                for (name, list) in receivers.0.of(kind) {
                    list.iter().for_each(|receiver| each(kind, name, receiver.client));
                }
            }
        }
    }

    /// The receivers that a worker serves.
    pub(crate) fn receivers(&self, worker: usize) -> Option<&Mutex<Receivers>> {
        self.receivers.get(worker)
    }

    /// The names that somebody has subscribed to and that fit a pattern.
    pub(crate) fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Name> {
        let registry = self.registry.lock();
        let names = registry.spread.of(kind).keys();
        let fits = |name: &&Name| pattern.is_none_or(|p| glob::matches(p, name, false));
        names.filter(fits).cloned().collect()
    }

    /// How many have subscribed to exactly this.
    pub(crate) fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.registry.lock().spread.of(kind).get(name).map_or(0, |spread| spread.sum)
    }

    /// How many different names somebody has subscribed to.
    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.registry.lock().spread.of(kind).len()
    }

    /// Clients with subscriptions.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }
}

impl Receivers {
    fn enter(&mut self, kind: Kind, name: &Name, receiver: Receiver) {
        let list = self.0.of_mut(kind).entry(name.clone()).or_default();
        let at = list.partition_point(|other| other.client < receiver.client);
        list.insert(at, receiver);
    }

    fn leave(&mut self, kind: Kind, name: &[u8], client: u64) {
        let map = self.0.of_mut(kind);
        let Some(list) = map.get_mut(name) else { return };
        if let Ok(at) = list.binary_search_by_key(&client, |receiver| receiver.client) {
            list.remove(at);
        }
        if list.is_empty() {
            map.remove(name);
        }
    }

    /// Hands `each` the clients that get `message`, with what they get.
    pub(crate) fn deliver(&self, message: &Message, mut each: impl FnMut(u64, &Encoded)) {
        let mut hand_out = |list: Option<&Vec<Receiver>>, encode: &dyn Fn() -> Encoded| {
            let Some(list) = list else { return };
            let encoded = encode();
            for receiver in list.iter().filter(|receiver| receiver.since < message.number) {
                each(receiver.client, &encoded);
            }
        };
        hand_out(self.0.of(message.kind).get(&*message.channel), &|| message.encode());
        for pattern in &message.patterns {
            let list = self.0.of(Kind::Pattern).get(pattern);
            hand_out(list, &|| message.encode_for(pattern));
        }
    }
}

#[cfg(test)]
#[path = "pubsub/tests.rs"]
mod tests;
