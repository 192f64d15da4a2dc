//! Requests that cannot be answered at once: their data is on disk, a shard is held, they are long, or they
//! wait for a key.

use super::account::{Request, account, silence};
use super::serving::Serving;
use crate::road::{
    self, Again, Blocked, Done, Ended, Job, Outcome, Pending, Settings, Then, Turn, Words,
};
use crate::waiting::{Answer, Waiter};
use crate::worker::READ_BYTES;
use forgekv_base::clock;
use forgekv_data::{Error, Store};
use forgekv_engine::{Error as EngineError, ShardSet, UNSETTLED};
use forgekv_resp::{Args, Limits, Parser, Reply, Status};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client that waits may send meanwhile before it is not read from any more.
const MAX_AHEAD: usize = 1 << 20;

/// The longest time between two looks for an answer that nobody announces.
const LONGEST_STEP_MS: u64 = 16;

/// How a client's waiting went on.
enum Woken {
    /// Somebody has answered for it.
    Answered(Answer),
    /// It is to try by itself.
    Asked,
    /// It has waited long enough.
    InVain,
    /// It has gone.
    Gone,
}

impl Serving {
    /// Sees a request through that could not be answered at once; false when the connection is to be
    /// closed.
    pub(super) async fn finish<R: AsyncRead + Unpin>(
        &mut self,
        mut outcome: Outcome,
        end: usize,
        socket: &mut R,
    ) -> bool {
        let mut args = Args::new();
        let mut time_us = clock::monotonic_us();
        let mut blocked: Option<Box<Blocked>> = None;
        loop {
            match outcome {
                Outcome::Done(done) => {
                    self.connection.depends_on(done, &self.worker);
                    self.end_waiting();
                    return true;
                }
                Outcome::Refused | Outcome::Queued | Outcome::Paused => return true,
                Outcome::Then(then) => return self.then(then, end, time_us).await,
                Outcome::Long { shards, once, command, told } => {
                    let words = match &blocked {
                        Some(blocked) => blocked.waiter.words.clone(),
                        None => self.words(end, &mut args).iter().map(|w| w.to_vec()).collect(),
                    };
                    let stand_in = self.session.stand_in();
                    let session = std::mem::replace(&mut self.session, stand_in);
                    let job = Job { words, command, shards, once, told, session };
                    outcome = self.elsewhere(job, end).await;
                }
                Outcome::Waits(now) => {
                    blocked = now.or(blocked);
                    let Some(waits) = &mut blocked else { return true };
                    match self.wait(waits, socket).await {
                        Woken::Gone => return false,
                        Woken::InVain => {
                            let nil = waits.waiter.nil;
                            let mut answer = Vec::new();
                            nil.write_in_vain(&mut Reply::new(&mut answer, self.session.proto));
                            self.take_answer(&answer, end, time_us);
                            return true;
                        }
                        Woken::Answered(Answer { bytes, lsn }) => {
                            self.connection
                                .depends_on(Done { lsn, ..Done::default() }, &self.worker);
                            self.take_answer(&bytes, end, time_us);
                            return true;
                        }
                        Woken::Asked => {
                            time_us = clock::monotonic_us();
                            self.session.right_to_answer = waits.waiter.claim_asked();
                            outcome = match self.session.right_to_answer {
                                Some(_) => self.try_again(&waits.waiter.clone()).await,
                                None => Outcome::Waits(None),
                            };
                        }
                    }
                }
                Outcome::Again(mut again) => {
                    self.worker.stats.cold_commands.add(1);
                    let Some(store) = self.worker.store.borrow().clone() else {
                        self.worker.wait_for_store().await;
                        outcome = Outcome::Again(again);
                        continue;
                    };
                    if let Err(e) = prepare(&store, &mut again).await {
                        let mut answer = Vec::new();
                        let mut reply = Reply::new(&mut answer, self.session.proto);
                        road::refuse(&mut reply, &Error::Engine(e));
                        self.take_answer(&answer, end, time_us);
                        return true;
                    }
                    if again.is_enough(&self.worker.server) {
                        let Again { shards, once, command, told, .. } = *again;
                        outcome = Outcome::Long { shards, once, command, told };
                        continue;
                    }
                    let worker = self.worker.clone();
                    let settings = worker.settings();
                    let bytes = self.input.get(self.start..end).unwrap_or_default();
                    let words = match &blocked {
                        Some(blocked) => of_waiter(&blocked.waiter),
                        None => parse(bytes, &mut args),
                    };
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
                    if matches!(outcome, Outcome::Done(_)) {
                        let request = Request { words: &words, bytes: end - self.start };
                        time_us =
                            account(&worker, session, request, &output, mark, time_us, &settings);
                        silence(session, &mut output, mark);
                    }
                }
            }
        }
    }

    /// Writes what was answered for this client, and ends its waiting.
    fn take_answer(&mut self, answer: &[u8], end: usize, since_us: u64) {
        let mut output = self.connection.output.borrow_mut();
        let mark = output.len();
        output.extend_from_slice(answer);
        let settings = self.worker.settings();
        let mut args = Args::new();
        let words = parse(self.input.get(self.start..end).unwrap_or_default(), &mut args);
        let request = Request { words: &words, bytes: end - self.start };
        account(&self.worker, &mut self.session, request, &output, mark, since_us, &settings);
        silence(&mut self.session, &mut output, mark);
        drop(words);
        drop(output);
        self.end_waiting();
    }

    fn end_waiting(&mut self) {
        self.session.right_to_answer = None;
        if let Some(waiter) = self.session.waiter.take() {
            let server = &self.worker.server;
            server.waiting.strike(&server.interest, &waiter);
        }
    }

    /// Waits for a key. What the client sends meanwhile is kept; if it goes, it takes nothing.
    async fn wait<R: AsyncRead + Unpin>(&mut self, blocked: &mut Blocked, socket: &mut R) -> Woken {
        // A client that waits holds up no end of the server.
        self.worker.under_way.set(self.worker.under_way.get() - 1);
        self.worker.queue(&self.connection);
        let left = |deadline: u64| deadline.saturating_sub(clock::monotonic_us());
        let in_vain = async {
            match blocked.deadline_us {
                Some(deadline) => tokio::time::sleep(Duration::from_micros(left(deadline))).await,
                None => std::future::pending().await,
            }
        };
        let mut in_vain = std::pin::pin!(in_vain);
        let woken = loop {
            let reads = self.input.len() < MAX_AHEAD;
            if reads {
                self.input.reserve(READ_BYTES);
            }
            tokio::select! {
                biased;
                answer = &mut blocked.answer => break answer.map_or(Woken::InVain, Woken::Answered),
                () = blocked.waiter.wait_to_be_asked() => break Woken::Asked,
                () = &mut in_vain => break Woken::InVain,
                read = socket.read_buf(&mut self.input), if reads => match read {
                    Ok(n) if n > 0 => self.worker.stats.net_input_bytes.add(n as u64),
                    _ => break Woken::Gone,
                },
            }
        };
        self.worker.under_way.set(self.worker.under_way.get() + 1);
        let is_over = matches!(woken, Woken::InVain | Woken::Gone);
        if is_over && !blocked.waiter.cancel() {
            // Somebody is about to answer.
            if let Ok(answer) = (&mut blocked.answer).await
                && matches!(woken, Woken::InVain)
            {
                return Woken::Answered(answer);
            }
        }
        woken
    }

    /// Tries a command that waits, for what came cannot be taken by whoever brought it.
    async fn try_again(&mut self, waiter: &Waiter) -> Outcome {
        let store = self.open_store().await;
        let worker = self.worker.clone();
        let settings = worker.settings();
        let turn = Turn {
            server: &worker.server,
            store: &store,
            settings: &settings,
            stats: &worker.stats,
            now_ms: clock::now_ms(),
        };
        let mut output = self.connection.output.borrow_mut();
        let mark = output.len();
        let mut scratch = worker.scratch.borrow_mut();
        let seed = scratch.rng.next_u64();
        let words = of_waiter(waiter);
        let began_us = clock::monotonic_us();
        let outcome = road::try_again(
            &turn,
            &mut self.session,
            (waiter.command, &words),
            &mut scratch.batch,
            seed,
            &mut output,
        );
        if matches!(outcome, Outcome::Done(_)) {
            let request = Request { words: &words, bytes: 0 };
            account(&worker, &mut self.session, request, &output, mark, began_us, &settings);
            silence(&mut self.session, &mut output, mark);
        }
        outcome
    }

    fn words<'a>(&'a self, end: usize, args: &'a mut Args) -> Words<'a> {
        parse(self.input.get(self.start..end).unwrap_or_default(), args)
    }

    /// The data, once it is open.
    async fn open_store(&self) -> Store {
        loop {
            if let Some(store) = self.worker.store.borrow().clone() {
                return store;
            }
            self.worker.wait_for_store().await;
        }
    }

    /// Runs a command on a thread that may wait.
    async fn elsewhere(&mut self, job: Job, end: usize) -> Outcome {
        let store = self.open_store().await;
        let server = self.worker.server.clone();
        let settings = Settings::clone(&self.worker.settings());
        let (command, proto) = (job.command, job.session.proto);
        let started_us = clock::monotonic_us();
        self.connection.hold();
        let ran = tokio::task::spawn_blocking(move || {
            road::run_reserved(&server, &store, &settings, job)
        })
        .await;
        let mut output = self.connection.output.borrow_mut();
        let mark = output.len();
        let done = match ran {
            Ok((bytes, ended, session)) => {
                self.session = session;
                output.extend_from_slice(&bytes);
                match ended {
                    Ended::Done(done) => done,
                    Ended::Waits(blocked) => {
                        drop(output);
                        self.connection.release();
                        return Outcome::Waits(blocked);
                    }
                }
            }
            Err(e) => {
                tracing::error!("a long command did not end: {e}");
                Reply::new(&mut output, proto).error("ERR the command failed");
                Done::default()
            }
        };
        self.session.client.command.store(command as u32, Relaxed);
        let settings = self.worker.settings();
        let mut args = Args::new();
        let words = parse(self.input.get(self.start..end).unwrap_or_default(), &mut args);
        let request = Request { words: &words, bytes: end - self.start };
        account(&self.worker, &mut self.session, request, &output, mark, started_us, &settings);
        drop(words);
        silence(&mut self.session, &mut output, mark);
        drop(output);
        self.connection.release();
        Outcome::Done(done)
    }

    /// What comes after a command on the session or the server is a part of the time that it takes.
    async fn then(&mut self, then: Then, end: usize, since_us: u64) -> bool {
        let closes = matches!(then, Then::Close);
        let mut answer = Vec::new();
        match then {
            Then::Close => {}
            Then::Sleep(time) => {
                tokio::time::sleep(time).await;
                Reply::new(&mut answer, self.session.proto).ok();
            }
            Then::Until(mut pending) => answer = self.wait_for(&mut pending).await,
            Then::Work(work) => {
                let proto = self.session.proto;
                match tokio::task::spawn_blocking(move || work(proto)).await {
                    Ok(bytes) => answer = bytes,
                    Err(e) => {
                        tracing::error!("a long command did not end: {e}");
                        Reply::new(&mut answer, proto).error("ERR the command failed");
                    }
                }
            }
        }
        self.take_answer(&answer, end, since_us);
        !closes
    }

    /// Looks again and again whether there is an answer.
    async fn wait_for(&self, pending: &mut Pending) -> Vec<u8> {
        let mut step_ms = 1;
        loop {
            let late = pending.deadline_us.is_some_and(|at| clock::monotonic_us() >= at);
            let gone = self.connection.is_killed.get() || self.worker.is_stopping.get();
            if let Some(answer) = (pending.look)(late || gone) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(step_ms)).await;
            step_ms = (step_ms * 2).min(LONGEST_STEP_MS);
        }
    }
}

/// The words of a request that was parsed before, so it parses again.
fn parse<'a>(bytes: &'a [u8], args: &'a mut Args) -> Words<'a> {
    let limits = Limits { max_bulk_len: u64::MAX, authenticated: true };
    match Parser::new().next(bytes, args, &limits) {
        Ok(Status::Complete { .. }) => args.iter(bytes).collect(),
        _ => Words::new(),
    }
}

/// The words of a command that waits.
fn of_waiter(waiter: &Waiter) -> Words<'_> {
    waiter.words.iter().map(Vec::as_slice).collect()
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
