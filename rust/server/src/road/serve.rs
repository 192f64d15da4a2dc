//! Serving those who wait: see [`crate::waiting`].

use super::attempt::{Call, Performed, perform};
use super::{Once, Settings, Words, keys, refuse};
use crate::server::Shared;
use crate::waiting::{Answer, Claim, Waiter};
use forgekv_base::clock;
use forgekv_data::{Error, Kind, Limits, Store, Surroundings, Touched};
use forgekv_engine::{Batch, Guard, ShardSet};
use forgekv_resp::Reply;
use std::collections::VecDeque;
use std::sync::Arc;

/// A key that was touched: its shard, and its database and name.
type TouchedKey = (u8, (u32, Vec<u8>));

/// Runs the commands of those who wait for keys that were touched, as far as the shards of `guard` allow,
/// and what follows from that; gives the shards back.
pub(crate) fn serve<'e>(
    server: &Arc<Shared>,
    store: &'e Store,
    settings: &'e Settings,
    mut guard: Guard<'e>,
    touched: Vec<Touched>,
) -> Guard<'e> {
    if server.waiting.clients() == 0 {
        return guard;
    }
    let once = Once { now_ms: clock::now_ms(), random_seed: clock::monotonic_us() };
    let mut ready = VecDeque::new();
    enqueue(server, &mut ready, touched);
    while let Some((shard, id)) = ready.pop_front() {
        let mut position = 0;
        loop {
            let (back, kind) = kind_of(store, guard, (&settings.limits, once), shard, &id);
            guard = back;
            let Some(waiter) = server.waiting.at(shard, &id, position, kind) else { break };
            if kind != Some(waiter.kind) && waiter.or_gone.is_none() {
                position += 1;
                continue;
            }
            let sender = match waiter.claim(shard, &id.1) {
                Claim::Mine(sender) => sender,
                Claim::Asked => break,
                Claim::Over => {
                    position += 1;
                    continue;
                }
            };
            if let Some(text) = waiter.or_gone.filter(|_| kind != Some(waiter.kind)) {
                server.waiting.strike(&server.interest, &waiter);
                let mut bytes = Vec::new();
                Reply::new(&mut bytes, waiter.proto).error(text);
                // A client that has gone meanwhile misses its answer.
                drop(sender.send(Answer { bytes, lsn: guard.seen() }));
                continue;
            }
            if let Some(bytes) = refusal(server, &waiter, once.now_ms) {
                server.waiting.strike(&server.interest, &waiter);
                drop(sender.send(Answer { bytes, lsn: guard.seen() }));
                continue;
            }
            let mut bytes = Vec::new();
            let (back, result) = run(server, store, settings, &waiter, guard, once, &mut bytes);
            guard = back;
            match result {
                Ok(Performed { waits: Some(_), .. }) => {
                    waiter.give_back(sender);
                    position += 1;
                }
                Ok(Performed { done, effects, .. }) => {
                    server.waiting.strike(&server.interest, &waiter);
                    drop(sender.send(Answer { bytes, lsn: done.lsn }));
                    if let Some(mut effects) = effects {
                        let touched = std::mem::take(&mut effects.touched);
                        server.tracking.tell(server, &touched, waiter.client.id, &[], 0, done.lsn);
                        effects.publish(server, &settings.config, done.lsn);
                        guard = tell_watchers(server, store, settings, guard, once, &touched);
                        enqueue(server, &mut ready, touched);
                    }
                }
                Err(Error::Again(_)) => {
                    // More shards, or what is on disk: it tries by itself, and the others wait for it.
                    waiter.ask(sender, shard, &id.1);
                    break;
                }
                Err(e) => {
                    server.waiting.strike(&server.interest, &waiter);
                    bytes.clear();
                    refuse(&mut Reply::new(&mut bytes, waiter.proto), &e);
                    drop(sender.send(Answer { bytes, lsn: guard.seen() }));
                }
            }
        }
    }
    guard
}

fn enqueue(server: &Shared, ready: &mut VecDeque<TouchedKey>, touched: Vec<Touched>) {
    for change in touched {
        match change {
            Touched::Key { db, name, shard, .. } | Touched::Ready { db, name, shard } => {
                ready.push_back((shard, (db, name)));
            }
            Touched::Database(db) => ready.extend(server.waiting.keys_of(db)),
        }
    }
}

fn around<'e>(store: &Store, limits: &'e Limits, once: Once, db: u32) -> Surroundings<'e> {
    Surroundings {
        now_ms: once.now_ms,
        db,
        limits,
        random_seed: once.random_seed,
        place_seed: store.place_seed(),
        events: 0,
        interest: ShardSet::default(),
    }
}

/// What a key holds now. A header that cannot be looked at without the disk counts as what is waited for:
/// the command itself then finds out.
fn kind_of<'e>(
    store: &'e Store,
    guard: Guard<'e>,
    (limits, once): (&'e Limits, Once),
    shard: u8,
    (db, name): &(u32, Vec<u8>),
) -> (Guard<'e>, Option<Kind>) {
    if !guard.holds(shard) {
        return (guard, None);
    }
    let mut view = store.read(guard, Batch::new(), around(store, limits, once, *db));
    let key = view.key(name);
    let kind = view
        .header_raw(key)
        .ok()
        .flatten()
        .filter(|header| header.expire_ms.is_none_or(|at| at > once.now_ms))
        .map(|header| header.kind);
    (view.into_parts().guard, kind)
}

/// What a client is told that may not do any more what it waits for.
pub(super) fn refusal(server: &Shared, waiter: &Waiter, now_ms: u64) -> Option<Vec<u8>> {
    let entry = server.table.get(waiter.command)?;
    let words: Words<'_> = waiter.words.iter().map(Vec::as_slice).collect();
    let denied = server.may_still(&waiter.client, entry, &words, now_ms).err()?;
    let mut bytes = Vec::new();
    Reply::new(&mut bytes, waiter.proto).error_bytes(&denied);
    Some(bytes)
}

/// Whether one of its keys holds what a client waits for. Its shards are held.
pub(super) fn is_worth_a_try<'e>(
    store: &'e Store,
    mut guard: Guard<'e>,
    limits: &'e Limits,
    once: Once,
    waiter: &Waiter,
) -> (Guard<'e>, bool) {
    if waiter.or_gone.is_some() {
        return (guard, true);
    }
    for key in waiter.keys() {
        let id = (waiter.db, key.name.to_vec());
        let (back, kind) = kind_of(store, guard, (limits, once), key.shard(), &id);
        guard = back;
        if kind == Some(waiter.kind) {
            return (guard, true);
        }
    }
    (guard, false)
}

fn run<'e>(
    server: &Arc<Shared>,
    store: &'e Store,
    settings: &'e Settings,
    waiter: &Waiter,
    guard: Guard<'e>,
    once: Once,
    out: &mut Vec<u8>,
) -> (Guard<'e>, Result<Performed, Error>) {
    let Some(entry) = server.table.get(waiter.command) else {
        return (guard, Err(Error::reply("ERR the command is gone")));
    };
    let words: Words<'_> = waiter.words.iter().map(Vec::as_slice).collect();
    let keys = keys(entry, &words, store.place_seed());
    let call = Call {
        entry,
        words: &words,
        keys: &keys,
        db: waiter.db,
        limits: &settings.limits,
        settings: Some(settings),
        server: Some(server),
        once,
    };
    let mut reply = Reply::new(out, waiter.proto);
    perform(store, &call, None, guard, &mut Batch::new(), &mut reply)
}

fn tell_watchers<'e>(
    server: &Shared,
    store: &'e Store,
    settings: &'e Settings,
    guard: Guard<'e>,
    once: Once,
    touched: &[Touched],
) -> Guard<'e> {
    let mut view = store.read(guard, Batch::new(), around(store, &settings.limits, once, 0));
    for change in touched {
        server.watches.tell(change, &mut view);
    }
    view.into_parts().guard
}
