//! Requests that cannot be answered at once: their data is on disk, a shard is held, or they are long.

use super::serving::{Serving, account, silence};
use crate::road::{self, Again, Done, Job, Outcome, Settings, Then, Turn, Words};
use forgekv_base::clock;
use forgekv_data::{Error, Store};
use forgekv_engine::{Error as EngineError, ShardSet, UNSETTLED};
use forgekv_resp::{Args, Limits, Parser, Reply, Status};
use std::sync::atomic::Ordering::Relaxed;

impl Serving {
    /// Sees a request through that could not be answered at once; false when the connection is to be
    /// closed.
    pub(super) async fn finish(&mut self, mut outcome: Outcome, end: usize) -> bool {
        let mut args = Args::new();
        let mut time_us = clock::monotonic_us();
        loop {
            match outcome {
                Outcome::Done(done) => {
                    self.connection.depends_on(done, &self.worker);
                    return true;
                }
                Outcome::Refused => return true,
                Outcome::Then(then) => return self.then(then).await,
                Outcome::Long { shards, once, command } => {
                    let words = self.words(end, &mut args).iter().map(|w| w.to_vec()).collect();
                    let (db, proto) = (self.session.db, self.session.proto);
                    outcome = self.elsewhere(Job { words, command, shards, once, db, proto }).await;
                }
                Outcome::Again(mut again) => {
                    self.worker.stats.cold_commands.add(1);
                    let Some(store) = self.worker.store.borrow().clone() else {
                        self.worker.wait_for_store().await;
                        outcome = Outcome::Again(again);
                        continue;
                    };
                    if let Err(e) = prepare(&store, &mut again).await {
                        let mut output = self.connection.output.borrow_mut();
                        let mark = output.len();
                        let mut reply = Reply::new(&mut output, self.session.proto);
                        road::refuse(&mut reply, &Error::Engine(e));
                        let settings = self.worker.settings();
                        account(&self.worker, &self.session, &output, mark, time_us, &settings);
                        silence(&mut self.session, &mut output, mark);
                        return true;
                    }
                    if again.is_enough(&self.worker.server) {
                        let Again { shards, once, command, .. } = *again;
                        outcome = Outcome::Long { shards, once, command };
                        continue;
                    }
                    let worker = self.worker.clone();
                    let settings = worker.settings();
                    let mut parser = Parser::new();
                    let limits = Limits { max_bulk_len: u64::MAX, authenticated: true };
                    let bytes = self.input.get(self.start..end).unwrap_or_default();
                    // It was parsed before, so it parses again.
                    if parser.next(bytes, &mut args, &limits).is_err() {
                        return false;
                    }
                    let words: Words<'_> = args.iter(bytes).collect();
                    let turn = Turn {
                        server: &worker.server,
                        store: &store,
                        settings: &settings,
                        stats: &worker.stats,
                        now_ms: again.once.now_ms,
                    };
                    let mut output = self.connection.output.borrow_mut();
                    let mark = output.len();
                    let mut scratch = worker.scratch.borrow_mut();
                    let session = &mut self.session;
                    outcome = road::resume(
                        &turn,
                        session,
                        &words,
                        *again,
                        &mut scratch.batch,
                        &mut output,
                    );
                    if matches!(outcome, Outcome::Done(_) | Outcome::Then(_)) {
                        time_us = account(&worker, session, &output, mark, time_us, &settings);
                        silence(session, &mut output, mark);
                    }
                }
            }
        }
    }

    fn words<'a>(&'a self, end: usize, args: &'a mut Args) -> Words<'a> {
        let bytes = self.input.get(self.start..end).unwrap_or_default();
        let limits = Limits { max_bulk_len: u64::MAX, authenticated: true };
        match Parser::new().next(bytes, args, &limits) {
            Ok(Status::Complete { .. }) => args.iter(bytes).collect(),
            _ => Words::new(),
        }
    }

    /// Runs a command on a thread that may wait.
    async fn elsewhere(&mut self, job: Job) -> Outcome {
        let store = loop {
            if let Some(store) = self.worker.store.borrow().clone() {
                break store;
            }
            self.worker.wait_for_store().await;
        };
        let server = self.worker.server.clone();
        let settings = Settings::clone(&self.worker.settings());
        let (command, proto) = (job.command, job.proto);
        let started_us = clock::monotonic_us();
        self.connection.hold();
        let ran = tokio::task::spawn_blocking(move || {
            road::run_reserved(&server, &store, &settings, &job)
        })
        .await;
        let mut output = self.connection.output.borrow_mut();
        let mark = output.len();
        let done = match ran {
            Ok((bytes, done)) => {
                output.extend_from_slice(&bytes);
                done
            }
            Err(e) => {
                tracing::error!("a long command did not end: {e}");
                Reply::new(&mut output, proto).error("ERR the command failed");
                Done::default()
            }
        };
        self.session.client.command.store(command as u32, Relaxed);
        let settings = self.worker.settings();
        account(&self.worker, &self.session, &output, mark, started_us, &settings);
        silence(&mut self.session, &mut output, mark);
        drop(output);
        self.connection.release();
        Outcome::Done(done)
    }

    async fn then(&mut self, then: Then) -> bool {
        match then {
            Then::Close => false,
            Then::Sleep(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Then::Work(work) => {
                let proto = self.session.proto;
                let done = tokio::task::spawn_blocking(move || work(proto)).await;
                let mut output = self.connection.output.borrow_mut();
                let mark = output.len();
                match done {
                    Ok(bytes) => output.extend_from_slice(&bytes),
                    Err(e) => {
                        tracing::error!("a long command did not end: {e}");
                        Reply::new(&mut output, proto).error("ERR the command failed");
                    }
                }
                silence(&mut self.session, &mut output, mark);
                true
            }
        }
    }
}

/// Does what the next attempt needs.
async fn prepare(store: &Store, again: &mut Again) -> Result<(), EngineError> {
    match again.why {
        EngineError::Miss => {
            if !store.engine().load_resident(&mut again.loads)? {
                let loads = std::mem::take(&mut again.loads);
                again.loads = store.engine().load(loads).await?;
            }
        }
        EngineError::Busy(shard) => {
            // Others may write faster than is counted: in the end the command counts for itself.
            again.loads.rounds += u32::from(shard == UNSETTLED);
            store.engine().wait_free(shard).await;
        }
        EngineError::NotHeld(_) if again.shards != ShardSet::ALL => again.shards = ShardSet::ALL,
        ref other => return Err(other.clone()),
    }
    Ok(())
}
