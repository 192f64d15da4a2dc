//! The road without a server: the same table of commands, the same views, the same commit, on the caller's
//! own thread, which may wait.
//!
//! There is no session and no configuration, so commands about those answer with an error. What a call has
//! written survives the process when the call returns, and the machine if the mode is `Always`.

use super::attempt::{Call, attempt};
use super::gate::{unknown_command, unknown_subcommand};
use super::{Done, Ended, Once, keys, refuse, shards};
use crate::commands::{Handler, args::wrong_number};
use crate::table::{Entry, Named, Table};
use forgekv_base::clock;
use forgekv_base::rng::Rng;
use forgekv_data::{Error, Limits, PREPARE, Store, Surroundings, expire};
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Batch, Error as EngineError, Options, ShardSet, SyncMode};
use forgekv_resp::{Proto, Reply};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How often expired keys are looked for, while there are calls.
const CYCLE_MS: u64 = 100;
/// So many are taken from a shard in one go.
const CYCLE_STEP: usize = 200;

/// A data directory and the commands on it.
pub struct Embedded {
    store: Store,
    table: Table,
    limits: Limits,
    rng: Mutex<Rng>,
    is_always: bool,
    next_cycle_ms: AtomicU64,
}

impl Embedded {
    /// Opens a directory, creating it if needed.
    ///
    /// # Errors
    /// `Locked` when a server, or another opener, has it; damage; failed reads and writes.
    pub fn open(options: Options, databases: u32) -> Result<Embedded, EngineError> {
        let is_always = options.sync_mode == SyncMode::Always;
        let table = Table::build(&[]).map_err(EngineError::Incompatible)?;
        Ok(Embedded {
            store: Store::open(options, databases, Arc::new(RealDisk)).map_err(|e| match e {
                Error::Engine(e) | Error::Again(e) => e,
                other => EngineError::Incompatible(other.to_string()),
            })?,
            table,
            limits: Limits::default(),
            rng: Mutex::new(Rng::from_entropy()),
            is_always,
            next_cycle_ms: AtomicU64::new(0),
        })
    }

    /// The data below, for snapshots and figures.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs one command, name first, on logical database `db`. Answers the reply in RESP3.
    pub fn call(&self, db: u32, words: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.entry(words) {
            Ok(entry) => self.run(entry, db, words, &mut out),
            Err(refusal) => Reply::new(&mut out, Proto::Resp3).error_bytes(&refusal),
        }
        self.expire_some();
        out
    }

    fn entry(&self, words: &[&[u8]]) -> Result<&Entry, Vec<u8>> {
        let entry = match self.table.find(words) {
            Named::Found(entry) => entry,
            Named::Unknown => return Err(unknown_command(words)),
            Named::UnknownSubcommand(container) => {
                return Err(unknown_subcommand(container, words));
            }
        };
        if !entry.takes(words.len()) || matches!(entry.command.handler, Handler::Container) {
            return Err(wrong_number(&entry.name).into_bytes());
        }
        if matches!(entry.command.handler, Handler::Admin(_) | Handler::Compound(_)) {
            return Err(format!("ERR '{}' needs a server", entry.name).into_bytes());
        }
        Ok(entry)
    }

    fn run(&self, entry: &Entry, db: u32, words: &[&[u8]], out: &mut Vec<u8>) {
        let engine = self.store.engine();
        let keys = keys(entry, words, self.store.place_seed());
        let mut held = shards(entry, words, &keys);
        let once = Once { now_ms: clock::now_ms(), random_seed: self.rng.lock().next_u64() };
        let mut batch = Batch::new();
        let _prepared = self.store.preparations(once.random_seed);
        loop {
            let call = Call {
                entry,
                words,
                keys: &keys,
                db,
                limits: &self.limits,
                settings: None,
                server: None,
                once,
            };
            let mut reply = Reply::new(out, Proto::Resp3);
            let done = engine.with_reserved(held, |guard| {
                attempt(&self.store, &call, None, guard, &mut batch, &mut reply)
            });
            let refusal = match done {
                Ok(Ended::Waits(_)) => return,
                Ok(Ended::Done(done)) => match self.acknowledge(done) {
                    Ok(()) => return,
                    Err(e) => e,
                },
                Err((EngineError::NotHeld(_), _)) if held != ShardSet::ALL => {
                    held = ShardSet::ALL;
                    continue;
                }
                Err((EngineError::Busy(PREPARE), _)) => {
                    match self.store.prepare(once.random_seed) {
                        Ok(()) => continue,
                        Err(e) => {
                            out.clear();
                            return refuse(&mut Reply::new(out, Proto::Resp3), &e);
                        }
                    }
                }
                Err((EngineError::Busy(shard), _)) => {
                    engine.wait_free_here(shard);
                    continue;
                }
                Err((e, _)) => e,
            };
            out.clear();
            return refuse(&mut Reply::new(out, Proto::Resp3), &Error::Engine(refusal));
        }
    }

    /// Makes what the call wrote, or has seen of others, survive what the mode promises, and slows a writer
    /// down while flushes do not keep up.
    fn acknowledge(&self, done: Done) -> Result<(), EngineError> {
        let engine = self.store.engine();
        if self.is_always && done.lsn > engine.log_synced() {
            engine.sync()?;
        } else if done.lsn > engine.log_written() {
            engine.log_write()?;
        }
        let delay_us = engine.write_delay_us();
        if done.wrote && delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
        Ok(())
    }

    /// Takes away some of what has expired, now and then.
    fn expire_some(&self) {
        let now_ms = clock::now_ms();
        let due = self.next_cycle_ms.load(Relaxed);
        if now_ms < due
            || self
                .next_cycle_ms
                .compare_exchange(due, now_ms + CYCLE_MS, Relaxed, Relaxed)
                .is_err()
        {
            return;
        }
        for shard in self.store.due_shards(now_ms).iter() {
            let around = Surroundings {
                now_ms,
                db: 0,
                limits: &self.limits,
                random_seed: 0,
                place_seed: self.store.place_seed(),
                events: 0,
                interest: forgekv_engine::ShardSet::default(),
            };
            let done = self.store.engine().with_reserved(ShardSet::one(shard), |guard| {
                let mut view = self.store.write(guard, Batch::new(), around);
                expire::cycle_shard(&mut view, shard, CYCLE_STEP)?;
                let mut parts = view.into_parts();
                self.store.commit(&mut parts.guard, &mut parts.batch)
            });
            match done {
                Ok(_) | Err(Error::Again(_)) => {}
                Err(e) => tracing::warn!("looking for expired keys: {e}"),
            }
        }
    }
}

impl Drop for Embedded {
    /// Makes everything durable; after that the directory can be opened again.
    fn drop(&mut self) {
        if let Err(e) = self.store.engine().close() {
            tracing::error!("closing the data directory: {e}");
        }
    }
}
