//! Commands on a thread that may wait.

use super::attempt::{Call, Host, attempt};
use super::{Done, Ended, Once, Settings, Told, Words, keys, refuse};
use crate::server::Shared;
use crate::session::Session;
use forgekv_data::{Error, PREPARE, Store};
use forgekv_engine::{Batch, Error as EngineError, ShardSet};
use forgekv_resp::Reply;
use std::sync::Arc;

/// A command on its way to another thread.
pub(crate) struct Job {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) command: usize,
    pub(crate) shards: ShardSet,
    pub(crate) once: Once,
    pub(crate) told: Told,
    /// Travels with the command, and back.
    pub(crate) session: Session,
}

/// Runs a command on the data where it may wait. Answers the reply, too.
pub(crate) fn run_reserved(
    server: &Arc<Shared>,
    store: &Store,
    settings: &Settings,
    mut job: Job,
) -> (Vec<u8>, Ended, Session) {
    let mut out = Vec::new();
    let ended = run(server, store, settings, &mut job, &mut out);
    (out, ended, job.session)
}

fn run(
    server: &Arc<Shared>,
    store: &Store,
    settings: &Settings,
    job: &mut Job,
    out: &mut Vec<u8>,
) -> Ended {
    let Some(entry) = server.table.get(job.command) else { return Ended::Done(Done::default()) };
    let words: Words<'_> = job.words.iter().map(Vec::as_slice).collect();
    let keys = keys(entry, &words, store.place_seed());
    let mut shards = job.shards;
    let mut batch = Batch::new();
    let _prepared = store.preparations(job.once.random_seed);
    loop {
        let call = Call {
            entry,
            words: &words,
            keys: &keys,
            db: job.session.db,
            limits: &settings.limits,
            settings: Some(settings),
            server: Some(server),
            once: job.once,
        };
        let proto = job.session.proto;
        let mut reply = Reply::new(out, proto);
        let host = Host { session: &mut job.session, told: &mut job.told };
        let attempt = store.engine().with_reserved(shards, |guard| {
            attempt(store, &call, Some(host), guard, &mut batch, &mut reply)
        });
        let refusal = match attempt {
            Ok(ended) => return ended,
            Err((EngineError::NotHeld(_), _)) if shards != ShardSet::ALL => {
                shards = ShardSet::ALL;
                continue;
            }
            Err((EngineError::Busy(PREPARE), _)) => match store.prepare(job.once.random_seed) {
                Ok(()) => continue,
                Err(e) => e,
            },
            Err((EngineError::Busy(shard), _)) => {
                store.engine().wait_free_here(shard);
                continue;
            }
            Err((why, _)) => Error::Engine(why),
        };
        refuse(&mut Reply::new(out, proto), &refusal);
        return Ended::Done(Done { lsn: store.engine().log_appended(), ..Done::default() });
    }
}
