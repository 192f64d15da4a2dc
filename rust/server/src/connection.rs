//! One client's connection: reads what there is, executes every complete command of it, has the worker
//! send the answers with one write.
//!
//! A client that does not read its answers is not read from, beyond a limit it is closed. The input buffer
//! belongs to the worker while nothing incomplete is in it, so an idle connection costs no buffer.

use crate::config::Config;
use crate::road::{self, Again, Done, Job, Known, Outcome, Settings, Then, Turn, Words};
use crate::session::{Client, Replies, Session};
use crate::table::KeyPlan;
use crate::worker::{READ_BYTES, Scratch, Worker};
use forgekv_base::clock;
use forgekv_data::{Error, Key, Store};
use forgekv_engine::{Error as EngineError, ShardSet};
use forgekv_resp::{Args, Limits, Parser, ProtocolError, Reply, Status};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::sync::Notify;

/// Commands that are parsed ahead, so that memory is asked for all of their keys together.
const AHEAD: usize = 16;
/// Commands of one connection before others get their turn.
const TURN_COMMANDS: usize = 512;
/// Answers that may pile up while the client does not read, before it is not read from either.
const MAX_UNREAD: usize = 1 << 20;
/// An incomplete request grows its buffer by no more than this at once.
const MAX_GROWTH: usize = 4 << 20;

/// The longest that a writer is held back at once.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// How long a connection that has ended waits for its last answers to be taken.
const GOODBYE: Duration = Duration::from_secs(10);

/// A socket that the listener has accepted.
pub(crate) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl WriteHalf {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteHalf::Tcp(half) => half.try_write(bytes),
            WriteHalf::Unix(half) => half.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    /// Ends both directions, so that the reading side notices.
    fn shut(&self) {
        let ended = match self {
            WriteHalf::Tcp(half) => {
                socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Both)
            }
            WriteHalf::Unix(half) => {
                socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Both)
            }
        };
        // The other side may have been faster.
        if let Err(e) = ended {
            tracing::debug!("closing a connection: {e}");
        }
    }
}

/// What the worker's desk knows of a connection.
pub(crate) struct Connection {
    client: Arc<Client>,
    socket: WriteHalf,
    output: RefCell<Vec<u8>>,
    /// The output may leave when the log is written (or synced) up to here.
    pub(crate) lsn: Cell<u64>,
    /// It is in the worker's queue.
    pub(crate) queued: Cell<bool>,
    /// The socket was full: a task of its own sends the rest.
    sending: Cell<bool>,
    sent: Notify,
    /// Somebody waits for `sent`.
    is_awaited: Cell<bool>,
    is_killed: Cell<bool>,
    /// Since when the output has been over the soft limit; 0: it is not.
    over_since_ms: Cell<u64>,
}

/// Begins to serve a connection.
pub(crate) fn start(
    worker: &Rc<Worker>,
    socket: Socket,
    client: Arc<Client>,
) -> io::Result<Rc<Connection>> {
    let (read, write) = match socket {
        Socket::Tcp(stream) => {
            let (read, write) = TcpStream::from_std(stream)?.into_split();
            (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
        }
        Socket::Unix(stream) => {
            let (read, write) = UnixStream::from_std(stream)?.into_split();
            (ReadHalf::Unix(read), WriteHalf::Unix(write))
        }
    };
    let connection = Rc::new(Connection {
        client: client.clone(),
        socket: write,
        output: RefCell::default(),
        lsn: Cell::new(0),
        queued: Cell::new(false),
        sending: Cell::new(false),
        sent: Notify::new(),
        is_awaited: Cell::new(false),
        is_killed: Cell::new(false),
        over_since_ms: Cell::new(0),
    });
    let authenticated = worker.settings().config.requirepass.is_empty();
    let serving = Serving {
        worker: worker.clone(),
        connection: connection.clone(),
        session: Session::new(client, authenticated),
        input: Vec::new(),
        start: 0,
        parser: Parser::new(),
        hint: 0,
        writes: 0,
        owed_us: 0,
    };
    match read {
        ReadHalf::Tcp(read) => tokio::task::spawn_local(serving.run(read)),
        ReadHalf::Unix(read) => tokio::task::spawn_local(serving.run(read)),
    };
    Ok(connection)
}

impl Connection {
    /// Closes at once; what was not sent yet is dropped.
    pub(crate) fn kill(&self) {
        self.is_killed.set(true);
        self.client.is_closing.store(true, Relaxed);
        if let Ok(mut output) = self.output.try_borrow_mut() {
            output.clear();
        }
        self.socket.shut();
        self.sent.notify_one();
    }

    /// Notes what the output depends on.
    #[inline]
    fn depends_on(&self, done: Done, worker: &Worker) {
        if done.lsn > self.lsn.get() {
            self.lsn.set(done.lsn);
        }
        if done.expired > 0 {
            worker.stats.expired_keys.add(done.expired);
        }
        if done.hits > 0 {
            worker.stats.keyspace_hits.add(done.hits);
        }
        if done.misses > 0 {
            worker.stats.keyspace_misses.add(done.misses);
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.borrow().is_empty()
    }

    /// Sends what there is. What the socket does not take now is sent by a task of its own.
    pub(crate) fn send(self: &Rc<Self>, worker: &Rc<Worker>) {
        if self.sending.get() || self.is_killed.get() {
            return;
        }
        if !self.send_some(worker) {
            self.sending.set(true);
            tokio::task::spawn_local(self.clone().send_rest(worker.clone()));
        } else if self.is_awaited.take() {
            self.sent.notify_one();
        }
    }

    /// True when nothing is left to send.
    fn send_some(&self, worker: &Worker) -> bool {
        let mut output = self.output.borrow_mut();
        let mut done = 0;
        let mut open = true;
        while done < output.len() {
            match self.socket.try_write(output.get(done..).unwrap_or_default()) {
                Ok(n) => {
                    worker.stats.writes_processed.add(1);
                    worker.stats.net_output_bytes.add(n as u64);
                    done += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The reading side sees the same and ends the connection.
                    open = false;
                    break;
                }
            }
        }
        if done == output.len() || !open {
            worker.give_buffer(std::mem::take(&mut *output));
        } else {
            output.drain(..done);
        }
        self.client.output_bytes.store(output.len() as u64, Relaxed);
        output.is_empty()
    }

    async fn send_rest(self: Rc<Self>, worker: Rc<Worker>) {
        while !self.is_killed.get() {
            if self.socket.writable().await.is_err() {
                break;
            }
            // More may have been written meanwhile, which must not leave before the log is.
            if self.queued.get() {
                tokio::task::yield_now().await;
                if self.queued.get() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            }
            if self.send_some(&worker) {
                break;
            }
        }
        self.sending.set(false);
        self.sent.notify_one();
    }

    /// Closes a client that has been silent or has left its answers unread for too long.
    pub(crate) fn look_after(&self, now_ms: u64, config: &Config) {
        let idle_ms = now_ms.saturating_sub(self.client.heard_ms.load(Relaxed));
        if config.timeout > 0 && idle_ms > u64::from(config.timeout) * 1000 {
            tracing::debug!("closing idle client {}", self.client.id);
            return self.kill();
        }
        let bytes = self.output.borrow().len() as u64;
        let limit = config.client_output_buffer_limit.normal;
        if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
            self.over_since_ms.set(0);
        } else if self.over_since_ms.get() == 0 {
            self.over_since_ms.set(now_ms.max(1));
        } else if now_ms.saturating_sub(self.over_since_ms.get()) > limit.soft_seconds * 1000 {
            self.close_for_output(bytes);
        }
        if limit.hard_bytes > 0 && bytes > limit.hard_bytes {
            self.close_for_output(bytes);
        }
    }

    fn close_for_output(&self, bytes: u64) {
        tracing::warn!(
            "client {} at {} is closed: it left {bytes} bytes of replies unread",
            self.client.id,
            self.client.address
        );
        self.kill();
    }
}

/// Requests parsed ahead.
#[derive(Default)]
pub(crate) struct Slots([Slot; AHEAD]);

#[derive(Default)]
struct Slot {
    args: Args,
    /// Where in the input the request begins and ends.
    begin: usize,
    end: usize,
    /// The number of its command, unless the name alone does not tell.
    command: Option<usize>,
    /// The place of its only key, if that is known.
    place: Option<u64>,
}

/// A connection's task.
struct Serving {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    session: Session,
    /// What was received, from `start` on not yet executed.
    input: Vec<u8>,
    start: usize,
    parser: Parser,
    /// Bytes that the incomplete request at the end still needs, if it says so.
    hint: usize,
    /// Commands that committed something since they were last held back.
    writes: u64,
    /// What they have to wait for that.
    owed_us: u64,
}

/// Why a drain stopped.
enum Stop {
    /// All complete requests are executed.
    Empty,
    /// Others want their turn.
    Yield,
    /// The client is to be closed once the answers are sent.
    Close,
    /// The store is being opened again.
    NoStore,
    /// The request at `start` cannot be answered at once; it ends at `end`.
    Put { outcome: Outcome, end: usize },
}

impl Serving {
    async fn run<R: AsyncRead + Unpin>(mut self, mut socket: R) {
        while self.read(&mut socket).await && self.execute_all().await {
            self.put_input_away();
            if self.worker.is_stopping.get() {
                break;
            }
            self.wait_for_reader().await;
        }
        self.worker.queue(&self.connection);
        self.worker.give_buffer(std::mem::take(&mut self.input));
        self.say_goodbye().await;
        self.worker.gone(self.session.client.id);
    }

    /// Gives the last answers some time to be taken.
    async fn say_goodbye(&self) {
        if self.connection.has_output() {
            tokio::task::yield_now().await;
        }
        let deadline = clock::monotonic_us() + GOODBYE.as_micros() as u64;
        while self.connection.has_output() && !self.connection.is_killed.get() {
            if clock::monotonic_us() > deadline {
                self.connection.kill();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reads what there is; false when the connection has ended.
    async fn read<R: AsyncRead + Unpin>(&mut self, socket: &mut R) -> bool {
        if !self.input.is_empty() {
            let limit = self.worker.settings().config.client_query_buffer_limit;
            if self.input.len() as u64 > limit {
                tracing::warn!(
                    "client {} is closed: its query buffer is full",
                    self.session.client.id
                );
                return false;
            }
            let room = self.hint.clamp(READ_BYTES, self.input.len().clamp(READ_BYTES, MAX_GROWTH));
            self.input.reserve(room);
        }
        let n = poll_fn(|context| {
            let borrowed = self.input.capacity() == 0;
            if borrowed {
                self.input = self.worker.take_buffer();
            }
            let polled = pin!(Pin::new(&mut *socket).read_buf(&mut self.input)).poll(context);
            if borrowed && polled.is_pending() {
                self.worker.give_buffer(std::mem::take(&mut self.input));
            }
            polled
        })
        .await;
        match n {
            Ok(n) if n > 0 => {
                self.worker.stats.reads_processed.add(1);
                self.worker.stats.net_input_bytes.add(n as u64);
                !self.connection.is_killed.get() && !self.worker.is_stopping.get()
            }
            _ => false,
        }
    }

    /// Executes every complete request; false when the connection is to be closed.
    async fn execute_all(&mut self) -> bool {
        loop {
            let stop = self.drain();
            self.worker.queue(&self.connection);
            match stop {
                Stop::Empty => {
                    self.hold_back().await;
                    return true;
                }
                Stop::Yield => {
                    self.hold_back().await;
                    self.wait_for_reader().await;
                    tokio::task::yield_now().await;
                }
                Stop::Close => return false,
                Stop::NoStore => self.worker.wait_for_store().await,
                Stop::Put { outcome, end } => {
                    self.worker.under_way.set(self.worker.under_way.get() + 1);
                    let goes_on = self.finish(outcome, end).await;
                    self.worker.under_way.set(self.worker.under_way.get() - 1);
                    self.start = end;
                    self.parser = Parser::new();
                    self.worker.queue(&self.connection);
                    if !goes_on {
                        return false;
                    }
                }
            }
            if self.connection.is_killed.get() {
                return false;
            }
        }
    }

    /// Executes complete requests until one has to wait.
    fn drain(&mut self) -> Stop {
        let worker = self.worker.clone();
        let store = worker.store.borrow();
        let Some(store) = store.as_ref() else { return Stop::NoStore };
        let mut settings = worker.settings();
        let now_ms = clock::now_ms();
        let client = self.session.client.clone();
        client.heard_ms.store(now_ms, Relaxed);
        let connection = self.connection.clone();
        let mut output = connection.output.borrow_mut();
        if output.capacity() == 0 {
            *output = worker.take_buffer();
        }
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { batch, rng, slots } = &mut *scratch;
        let mut time_us = clock::monotonic_us();
        let mut executed = 0;
        loop {
            let ahead = self.parse_ahead(&worker, store, &settings, slots);
            for slot in slots.0.iter().take(ahead.parsed) {
                let bytes = self.input.get(slot.begin..).unwrap_or_default();
                let words: Words<'_> = slot.args.iter(bytes).collect();
                let turn = Turn {
                    server: &worker.server,
                    store,
                    settings: &settings,
                    stats: &worker.stats,
                    now_ms,
                };
                let mark = output.len();
                let seed = rng.next_u64();
                let session = &mut self.session;
                let known = Known { command: slot.command, place: slot.place };
                let outcome =
                    road::execute(&turn, session, &words, known, batch, seed, &mut output);
                match outcome {
                    Outcome::Done(done) => {
                        self.connection.depends_on(done, &worker);
                        self.writes += u64::from(done.wrote);
                        time_us = account(&worker, session, &output, mark, time_us, &settings);
                        silence(session, &mut output, mark);
                        self.start = slot.end;
                    }
                    Outcome::Refused => {
                        worker.stats.error(output.get(mark..).unwrap_or_default());
                        silence(session, &mut output, mark);
                        self.start = slot.end;
                    }
                    outcome => {
                        if matches!(outcome, Outcome::Then(_)) {
                            account(&worker, session, &output, mark, time_us, &settings);
                            silence(session, &mut output, mark);
                        }
                        return Stop::Put { outcome, end: slot.end };
                    }
                }
            }
            executed += ahead.parsed;
            match ahead.end {
                End::Full => {}
                End::Incomplete { at, hint } => {
                    self.start = at;
                    self.hint = hint;
                    return Stop::Empty;
                }
                End::Wrong(e) => {
                    e.write_reply(&mut output);
                    worker.stats.error(b"ERR");
                    return Stop::Close;
                }
            }
            if executed >= TURN_COMMANDS || output.len() > MAX_UNREAD {
                return Stop::Yield;
            }
            settings = worker.settings();
        }
    }

    /// Parses the next requests, and asks memory for the keys of all of them together.
    fn parse_ahead(
        &mut self,
        worker: &Worker,
        store: &Store,
        settings: &Settings,
        slots: &mut Slots,
    ) -> Ahead {
        let authenticated = self.session.authenticated || settings.config.requirepass.is_empty();
        let limits = Limits { max_bulk_len: settings.config.proto_max_bulk_len, authenticated };
        // What a client may send changes when it authenticates.
        let most = if authenticated { AHEAD } else { 1 };
        let mut at = self.start;
        let mut parsed = 0;
        let mut end = End::Full;
        while parsed < most {
            let Some(slot) = slots.0.get_mut(parsed) else { break };
            let rest = self.input.get(at..).unwrap_or_default();
            match self.parser.next(rest, &mut slot.args, &limits) {
                Ok(Status::Complete { consumed }) => {
                    slot.begin = at;
                    at += consumed;
                    slot.end = at;
                    parsed += 1;
                }
                Ok(Status::Empty { consumed }) => at += consumed,
                Ok(Status::Incomplete { hint }) => {
                    end = End::Incomplete { at, hint };
                    break;
                }
                Err(e) => {
                    end = End::Wrong(e);
                    break;
                }
            }
        }
        let table = &worker.server.table;
        for slot in slots.0.iter_mut().take(parsed) {
            slot.place = None;
            let bytes = self.input.get(slot.begin..).unwrap_or_default();
            let entry = table.top(slot.args.get(0, bytes)).filter(|e| e.subcommands.is_empty());
            slot.command = entry.map(|entry| entry.id);
            if let Some(KeyPlan::One { first }) = entry.map(|entry| entry.plan)
                && slot.args.len() > first
            {
                let key = Key::new(store.place_seed(), slot.args.get(first, bytes));
                slot.place = Some(key.place);
                if parsed > 1 {
                    store.engine().prefetch(key.shard(), key.hash());
                }
            }
        }
        if parsed > 1 {
            for place in slots.0.iter().take(parsed).filter_map(|slot| slot.place) {
                let key = Key { name: b"", place };
                store.engine().prefetch_entry(key.shard(), key.hash());
            }
        }
        Ahead { parsed, end }
    }

    /// Sees a request through that could not be answered at once; false when the connection is to be
    /// closed.
    async fn finish(&mut self, mut outcome: Outcome, end: usize) -> bool {
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

    /// Drops what is executed, and gives the buffer back when that is all.
    fn put_input_away(&mut self) {
        if self.start >= self.input.len() {
            self.worker.give_buffer(std::mem::take(&mut self.input));
            self.start = 0;
        } else if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        let client = &self.session.client;
        client.input_bytes.store(self.input.len() as u64, Relaxed);
        client.input_room.store((self.input.capacity() - self.input.len()) as u64, Relaxed);
        client.output_bytes.store(self.connection.output.borrow().len() as u64, Relaxed);
    }

    /// Slows a writer down while flushes and compactions do not keep up.
    async fn hold_back(&mut self) {
        const STEP_US: u64 = 1000;
        let writes = std::mem::take(&mut self.writes);
        if writes == 0 {
            return;
        }
        let delay_us =
            self.worker.store.borrow().as_ref().map_or(0, |s| s.engine().write_delay_us());
        // Timers count in milliseconds: shorter delays are saved up.
        self.owed_us = if delay_us == 0 { 0 } else { self.owed_us + delay_us * writes };
        if self.owed_us >= STEP_US {
            let owed = Duration::from_micros(std::mem::take(&mut self.owed_us));
            tokio::time::sleep(owed.min(MAX_DELAY)).await;
        }
    }

    /// Waits while too many answers are on their way: the client does not read them, or the log is not
    /// synced yet.
    async fn wait_for_reader(&self) {
        let connection = &self.connection;
        while (connection.sending.get() || connection.queued.get())
            && !connection.is_killed.get()
            && connection.output.borrow().len() > MAX_UNREAD
        {
            connection.is_awaited.set(true);
            connection.sent.notified().await;
        }
    }
}

struct Ahead {
    parsed: usize,
    end: End,
}

/// What stands behind the requests that were parsed.
enum End {
    /// Perhaps more.
    Full,
    /// Part of a request, from `at` on.
    Incomplete { at: usize, hint: usize },
    /// Something that is not RESP.
    Wrong(ProtocolError),
}

/// Counts a command that was executed; returns the time.
#[inline]
fn account(
    worker: &Worker,
    session: &Session,
    output: &[u8],
    mark: usize,
    since_us: u64,
    settings: &Settings,
) -> u64 {
    let command = session.client.command.load(Relaxed) as usize;
    let now_us = clock::monotonic_us();
    let failed = output.get(mark) == Some(&b'-');
    if failed {
        worker.stats.error(output.get(mark..).unwrap_or_default());
    }
    let nanos = (now_us - since_us) * 1000;
    worker.stats.call(command, nanos, failed, settings.config.latency_tracking);
    now_us
}

/// Takes a reply back that the client does not want (CLIENT REPLY).
#[inline]
fn silence(session: &mut Session, output: &mut Vec<u8>, mark: usize) {
    match session.replies {
        Replies::On => return,
        Replies::Off => {}
        Replies::SkipNext => session.replies = Replies::Skip,
        Replies::Skip => session.replies = Replies::On,
    }
    output.truncate(mark);
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
        EngineError::Busy(shard) => store.engine().wait_free(shard).await,
        EngineError::NotHeld(_) if again.shards != ShardSet::ALL => again.shards = ShardSet::ALL,
        ref other => return Err(other.clone()),
    }
    Ok(())
}
