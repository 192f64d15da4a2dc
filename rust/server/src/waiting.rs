//! Clients that wait for a key: BLPOP and its kin.
//!
//! A command that finds nothing registers for its keys while it holds their shards, so that no change can
//! slip in between. Who changes a key that is waited for runs the waiting commands itself, after its own
//! commit and with the shards still held ([`serve`](crate::road::serve)): in order of arrival, before
//! anybody else can take what they wait for. If that takes more than the shards that are held, or blocks
//! that are not in memory, the first in the queue is asked to try by itself, and those behind it wait for
//! that: when it has what came, or found nothing for itself, the next is asked.
//!
//! Who takes the sender of a waiter's answer decides how its waiting ends: so it ends once.

use crate::interest::Interest;
use crate::session::Client;
use forgekv_data::{Key, Kind};
use forgekv_engine::SHARDS;
use forgekv_resp::{Proto, Reply};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, oneshot};

/// What a command says that found nothing and is ready to wait.
#[derive(Debug)]
pub(crate) struct Wait {
    /// Milliseconds; 0 is for ever.
    pub(crate) timeout_ms: u64,
    /// What has to be at one of its keys.
    pub(crate) kind: Kind,
    /// Ends the waiting when a key holds something else, or nothing any more.
    pub(crate) or_gone: Option<&'static str>,
    /// The answer where it cannot wait.
    pub(crate) nil: Nil,
    /// The command as it is to be run from now on, where that is not as it came (`$` in XREAD).
    pub(crate) words: Option<Vec<Vec<u8>>>,
    /// Nothing is expected at its other keys: they are where it puts what comes.
    pub(crate) only_first: bool,
}

impl Wait {
    /// For what never comes.
    pub(crate) fn in_vain(timeout_ms: u64, nil: Nil) -> Wait {
        Wait { timeout_ms, kind: Kind::String, or_gone: None, nil, words: None, only_first: false }
    }
}

/// The answer of a command that found nothing and cannot wait: inside EXEC, or in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nil {
    /// `*-1` in RESP2.
    Array,
    /// `$-1` in RESP2.
    Bulk,
    /// `:0`.
    Zero,
}

impl Nil {
    pub(crate) fn write(self, reply: &mut Reply<'_>) {
        match self {
            Nil::Array => reply.null_array(),
            Nil::Bulk => reply.null(),
            Nil::Zero => reply.int(0),
        }
    }

    /// As a client is told that has waited in vain: like Redis, of all lists as of an array.
    pub(crate) fn write_in_vain(self, reply: &mut Reply<'_>) {
        match self {
            Nil::Bulk => Nil::Array.write(reply),
            nil => nil.write(reply),
        }
    }
}

/// How somebody else has answered for a waiter.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The reply.
    pub(crate) bytes: Vec<u8>,
    /// It may leave when the log is written (or synced) up to here.
    pub(crate) lsn: u64,
}

type Sender = oneshot::Sender<Answer>;

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) client: Arc<Client>,
    /// Its command.
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) command: usize,
    pub(crate) db: u32,
    pub(crate) proto: Proto,
    pub(crate) kind: Kind,
    pub(crate) or_gone: Option<&'static str>,
    pub(crate) nil: Nil,
    /// The names and places of its keys, each once.
    keys: Vec<(Vec<u8>, u64)>,
    state: Mutex<State>,
    asked: Notify,
    is_listed: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Taken by whoever is about to end the waiting.
    answer: Option<Sender>,
    /// The waiting is to end as soon as whoever has taken the sender gives it back.
    is_cancelled: bool,
    /// It has been asked to try by itself, because of these keys: their shards and names. Those behind it
    /// at these keys wait for that.
    asked_for: Vec<Asked>,
}

/// The shard and the name of a key at which something came.
type Asked = (u8, Vec<u8>);

/// What one may do for a waiter.
pub(crate) enum Claim {
    /// Answer it.
    Mine(Sender),
    /// Wait for it: it tries by itself.
    Asked,
    /// Nothing: its waiting is over.
    Over,
}

impl Waiter {
    /// Takes the right to answer, because something came at this key.
    pub(crate) fn claim(&self, shard: u8, name: &[u8]) -> Claim {
        let mut state = self.state.lock();
        if state.asked_for.is_empty() {
            return state.answer.take().map_or(Claim::Over, Claim::Mine);
        }
        if !state.asked_for.iter().any(|(_, known)| known == name) {
            state.asked_for.push((shard, name.to_vec()));
        }
        Claim::Asked
    }

    /// As [`claim`](Self::claim), for the client itself, after it was asked.
    pub(crate) fn claim_asked(&self) -> Option<Sender> {
        self.state.lock().answer.take()
    }

    /// Goes on waiting.
    pub(crate) fn give_back(&self, sender: Sender) {
        let mut state = self.state.lock();
        if !state.is_cancelled {
            state.answer = Some(sender);
        }
    }

    /// Has the client try by itself, on its own worker, because something came at this key.
    pub(crate) fn ask(&self, sender: Sender, shard: u8, name: &[u8]) {
        let mut state = self.state.lock();
        if state.is_cancelled {
            return;
        }
        state.answer = Some(sender);
        state.asked_for.push((shard, name.to_vec()));
        self.asked.notify_one();
    }

    /// It has tried, and goes on waiting: at these keys those behind it are to be asked.
    fn go_on(&self, sender: Sender) -> Vec<Asked> {
        let mut state = self.state.lock();
        if !state.is_cancelled {
            state.answer = Some(sender);
        }
        std::mem::take(&mut state.asked_for)
    }

    /// It will not try any more: at these keys those behind it are to be asked.
    fn take_asked_for(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().asked_for)
    }

    /// Waits to be asked.
    pub(crate) async fn wait_to_be_asked(&self) {
        self.asked.notified().await;
    }

    /// Gives the waiting up. False when somebody is about to answer: then the answer, or that there will be
    /// none, comes as it would have.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state.lock();
        state.is_cancelled = true;
        state.answer.take().is_some()
    }

    /// Ends the waiting with this reply, if nobody else does (CLIENT UNBLOCK).
    pub(crate) fn answer(&self, bytes: Vec<u8>) -> bool {
        let Some(sender) = self.state.lock().answer.take() else { return false };
        sender.send(Answer { bytes, lsn: 0 }).is_ok()
    }

    /// The keys that it waits for.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.keys.iter().map(|(name, place)| Key { name, place: *place })
    }
}

/// Those who wait for one key, in order of arrival.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    /// How many of them want to know when the key goes, too.
    or_gone: usize,
}

type ByKey = HashMap<(u32, Vec<u8>), Queue>;

/// All who wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    shards: Box<[Mutex<ByKey>]>,
    clients: AtomicUsize,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clients: AtomicUsize::new(0),
        }
    }
}

impl Waiting {
    /// How many clients wait.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// How many keys are waited for, and for how many of them also that they go.
    pub(crate) fn keys(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(all, or_gone), shard| {
            let shard = shard.lock();
            (all + shard.len(), or_gone + shard.values().filter(|q| q.or_gone > 0).count())
        })
    }

    /// Enlists a client for its keys, whose shards the caller holds.
    pub(crate) fn enlist(
        &self,
        interest: &Interest,
        client: &Arc<Client>,
        (command, words): (usize, Vec<Vec<u8>>),
        keys: &[Key<'_>],
        (db, proto): (u32, Proto),
        wait: &Wait,
    ) -> (Arc<Waiter>, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let most = if wait.only_first { 1 } else { keys.len() };
        let mut names: Vec<(Vec<u8>, u64)> = Vec::with_capacity(most);
        for key in keys.iter().take(most) {
            if !names.iter().any(|(name, _)| name == key.name) {
                names.push((key.name.to_vec(), key.place));
            }
        }
        let waiter = Arc::new(Waiter {
            client: client.clone(),
            words,
            command,
            db,
            proto,
            kind: wait.kind,
            or_gone: wait.or_gone,
            nil: wait.nil,
            keys: names,
            state: Mutex::new(State {
                answer: Some(sender),
                is_cancelled: false,
                asked_for: Vec::new(),
            }),
            asked: Notify::new(),
            is_listed: AtomicBool::new(true),
        });
        for key in waiter.keys() {
            let Some(shard) = self.shards.get(usize::from(key.shard())) else { continue };
            let mut shard = shard.lock();
            let queue = shard.entry((db, key.name.to_vec())).or_default();
            queue.waiters.push_back(waiter.clone());
            queue.or_gone += usize::from(waiter.or_gone.is_some());
            interest.add(key.shard());
        }
        self.clients.fetch_add(1, Relaxed);
        *client.waiter.lock() = Some(waiter.clone());
        (waiter, receiver)
    }

    /// Strikes a client off the list; whoever ends its waiting does, and the client itself to be sure.
    pub(crate) fn strike(&self, interest: &Interest, waiter: &Arc<Waiter>) {
        if !waiter.is_listed.swap(false, Relaxed) {
            return;
        }
        *waiter.client.waiter.lock() = None;
        for key in waiter.keys() {
            let Some(shard) = self.shards.get(usize::from(key.shard())) else { continue };
            let mut shard = shard.lock();
            let id = (waiter.db, key.name.to_vec());
            let Some(queue) = shard.get_mut(&id) else { continue };
            if let Some(at) = queue.waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) {
                queue.waiters.remove(at);
                queue.or_gone -= usize::from(waiter.or_gone.is_some());
                interest.remove(key.shard());
            }
            if queue.waiters.is_empty() {
                shard.remove(&id);
            }
        }
        self.clients.fetch_sub(1, Relaxed);
        // Those behind one that was asked have waited for it.
        for (shard, name) in waiter.take_asked_for() {
            self.ask_next(shard, &(waiter.db, name), 0);
        }
    }

    /// A client that was asked has found nothing for itself, and goes on waiting. Its shards are held: what
    /// comes from now on finds it waiting.
    pub(crate) fn go_on(&self, waiter: &Arc<Waiter>, sender: Sender) {
        for (shard, name) in waiter.go_on(sender) {
            let id = (waiter.db, name);
            let after = {
                let Some(by_key) = self.shards.get(usize::from(shard)) else { continue };
                let by_key = by_key.lock();
                let waiters = by_key.get(&id).map(|queue| &queue.waiters);
                waiters.and_then(|all| all.iter().position(|other| Arc::ptr_eq(other, waiter)))
            };
            // What it could not take may be right for the next. From one to the next this comes to the end
            // of the queue at the latest.
            self.ask_next(shard, &id, after.map_or(0, |at| at + 1));
        }
    }

    /// Asks the first at a key, from a position on, whose waiting is not over.
    fn ask_next(&self, shard: u8, id: &(u32, Vec<u8>), mut position: usize) {
        loop {
            let next = {
                let Some(by_key) = self.shards.get(usize::from(shard)) else { return };
                let by_key = by_key.lock();
                by_key.get(id).and_then(|queue| queue.waiters.get(position)).cloned()
            };
            let Some(next) = next else { return };
            match next.claim(shard, &id.1) {
                Claim::Mine(sender) => return next.ask(sender, shard, &id.1),
                Claim::Asked => return,
                Claim::Over => position += 1,
            }
        }
    }

    /// The client at this position of a key's queue. `kind` is what the key holds: where that is nothing,
    /// only those who want to know that are worth asking for.
    pub(crate) fn at(
        &self,
        shard: u8,
        id: &(u32, Vec<u8>),
        position: usize,
        kind: Option<Kind>,
    ) -> Option<Arc<Waiter>> {
        let by_key = self.shards.get(usize::from(shard))?.lock();
        let queue = by_key.get(id)?;
        if kind.is_none() && queue.or_gone == 0 {
            return None;
        }
        queue.waiters.get(position).cloned()
    }

    /// The keys of a database that are waited for, with their shards.
    pub(crate) fn keys_of(&self, db: u32) -> Vec<(u8, (u32, Vec<u8>))> {
        let mut keys = Vec::new();
        for (n, shard) in (0u8..).zip(&self.shards) {
            keys.extend(shard.lock().keys().filter(|(of, _)| *of == db).map(|id| (n, id.clone())));
        }
        keys
    }
}
