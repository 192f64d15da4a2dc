//! The task of a connection: reads what there is and executes every complete request of it.
//!
//! The input buffer belongs to the worker while nothing incomplete is in it, so an idle connection costs
//! no buffer. Requests are parsed some at a time and memory is asked for all of their keys before the
//! first of them runs, because waiting for memory is what a look-up costs.

use super::account::{Request, account, silence};
use super::{Connection, MAX_UNREAD};
use crate::road::{self, Known, Outcome, Settings, Turn, Words};
use crate::session::{Replies, Session};
use crate::table::KeyPlan;
use crate::worker::{KEPT_BYTES, READ_BYTES, Scratch, Worker};
use forgekv_base::clock;
use forgekv_data::{Key, Spot, Store};
use forgekv_resp::{Args, Limits, Parser, ProtocolError, Status};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Commands that are parsed ahead, so that memory is asked for all of their keys together.
const AHEAD: usize = 16;
/// Commands of one connection before others get their turn.
const TURN_COMMANDS: usize = 512;
/// An incomplete request grows its buffer by no more than this at once.
const MAX_GROWTH: usize = 4 << 20;

/// The longest that a writer is held back at once.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// How long a connection that has ended waits for its last answers to be taken.
const GOODBYE: Duration = Duration::from_secs(10);

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
    /// The words that name that key and an element of its value.
    element: Option<(usize, usize)>,
}

/// A connection's task.
pub(super) struct Serving {
    pub(super) worker: Rc<Worker>,
    pub(super) connection: Rc<Connection>,
    pub(super) session: Session,
    /// What was received, from `start` on not yet executed.
    pub(super) input: Vec<u8>,
    pub(super) start: usize,
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
    /// The request at `start` waits for the end of a pause.
    Paused,
    /// The client is closed, and gets no more answers.
    Gone,
    /// The request at `start` cannot be answered at once; it ends at `end`.
    Put { outcome: Outcome, end: usize },
}

impl Serving {
    pub(super) fn new(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        session: Session,
    ) -> Serving {
        Serving {
            worker: worker.clone(),
            connection: connection.clone(),
            session,
            input: Vec::new(),
            start: 0,
            parser: Parser::new(),
            hint: 0,
            writes: 0,
            owed_us: 0,
        }
    }

    pub(super) async fn run<R: AsyncRead + Unpin>(mut self, mut socket: R) {
        while self.read(&mut socket).await && self.execute_all(&mut socket).await {
            self.put_input_away();
            if self.worker.is_stopping.get() {
                break;
            }
            self.wait_for_reader().await;
        }
        self.worker.queue(&self.connection);
        self.worker.give_buffer(std::mem::take(&mut self.input));
        // Before the last answer can be read: who has read it may count on it.
        self.session.client.is_closing.store(true, Relaxed);
        self.session.leave(&self.worker.server);
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
            self.make_room();
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

    /// Has room for more of an incomplete request: for the rest of a long string exactly that, where its
    /// length says so; the more has come, the more is believed.
    fn make_room(&mut self) {
        let most = self.input.len().clamp(READ_BYTES, MAX_GROWTH);
        let wanted = self.hint.clamp(1, most);
        if self.input.capacity() - self.input.len() >= wanted {
            return;
        }
        if self.parser.is_in_bulk(READ_BYTES) {
            self.input.reserve_exact(wanted);
        } else {
            self.input.reserve(READ_BYTES);
        }
    }

    /// Executes every complete request; false when the connection is to be closed.
    async fn execute_all<R: AsyncRead + Unpin>(&mut self, socket: &mut R) -> bool {
        loop {
            if self.session.subscriptions.any() || self.session.tracking.is_some() {
                // What was told before the client asked comes before the answer, even that to UNSUBSCRIBE.
                self.worker.read_mail();
            }
            let stop = self.drain();
            if matches!(stop, Stop::Gone) || self.is_flooded() {
                self.connection.kill();
                return false;
            }
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
                Stop::Close | Stop::Gone => return false,
                Stop::NoStore => self.worker.wait_for_store().await,
                Stop::Paused => {
                    let is_gone =
                        || self.connection.is_killed.get() || self.worker.is_stopping.get();
                    self.worker.server.pause.wait(is_gone).await;
                    if self.worker.is_stopping.get() {
                        return false;
                    }
                }
                Stop::Put { outcome, end } => {
                    self.worker.under_way.set(self.worker.under_way.get() + 1);
                    let goes_on = self.finish(outcome, end, socket).await;
                    self.worker.under_way.set(self.worker.under_way.get() - 1);
                    self.start = end;
                    self.parser = Parser::new();
                    if self.is_flooded() {
                        return false;
                    }
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

    /// Whether more answers are there than may be: then the client is closed, and gets none of them.
    fn is_flooded(&self) -> bool {
        let bytes = self.connection.output.borrow().len() as u64;
        let is_flooded = bytes > self.connection.hard_limit(&self.worker.settings().config);
        if is_flooded {
            self.connection.close_for_output(bytes);
        }
        is_flooded
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
        client.input_bytes.store((self.input.len() - self.start) as u64, Relaxed);
        client.argument_bytes.store(0, Relaxed);
        let own = if self.input.capacity() > KEPT_BYTES { self.input.capacity() } else { 0 };
        client.input_buffer.store(own as u64, Relaxed);
        worker.server.count_memory(&client, &settings.config);
        if client.is_closing.load(Relaxed) {
            return Stop::Gone;
        }
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
            let most = connection.hard_limit(&settings.config);
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
                        let request = Request { words: &words, bytes: slot.end - slot.begin };
                        time_us =
                            account(&worker, session, request, &output, mark, time_us, &settings);
                        silence(session, &mut output, mark);
                        self.start = slot.end;
                    }
                    Outcome::Queued => {
                        silence(session, &mut output, mark);
                        self.start = slot.end;
                    }
                    Outcome::Refused => {
                        worker.stats.error(output.get(mark..).unwrap_or_default());
                        silence(session, &mut output, mark);
                        self.start = slot.end;
                    }
                    Outcome::Paused => return Stop::Paused,
                    outcome => {
                        if matches!(outcome, Outcome::Then(_))
                            && matches!(session.replies, Replies::Off | Replies::Skip)
                        {
                            // It counts as answered, or not, when it has come to its end.
                            output.truncate(mark);
                        }
                        return Stop::Put { outcome, end: slot.end };
                    }
                }
                if output.len() as u64 > most {
                    // What comes behind is not even run.
                    return Stop::Yield;
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
        let authenticated = !self.session.must_authenticate(&worker.server.acl);
        self.session.client.is_anonymous.store(!authenticated, Relaxed);
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
        let slots = slots.0.get_mut(..parsed).unwrap_or_default();
        for slot in slots.iter_mut() {
            slot.place = None;
            let bytes = self.input.get(slot.begin..).unwrap_or_default();
            let entry = table.top(slot.args.get(0, bytes)).filter(|e| e.subcommands.is_empty());
            slot.command = entry.map(|entry| entry.id);
            slot.element = None;
            if let Some(entry) = entry
                && let KeyPlan::One { first } = entry.plan
                && slot.args.len() > first
            {
                let key = Key::new(store.place_seed(), slot.args.get(first, bytes));
                slot.place = Some(key.place);
                slot.element = entry.element.map(|word| (first, word.index(slot.args.len())));
                if parsed > 1 {
                    Spot::header(key).prefetch(store);
                }
            }
        }
        if parsed > 1 {
            self.prefetch(store, slots);
        }
        Ahead { parsed, end }
    }

    /// Asks memory for what lies behind the lines of the keys of `slots`.
    fn prefetch(&self, store: &Store, slots: &[Slot]) {
        for place in slots.iter().filter_map(|slot| slot.place) {
            Spot::header(Key { name: b"", place }).prefetch_entry(store);
        }
        let mut elements: SmallVec<[Spot; AHEAD]> = SmallVec::new();
        for slot in slots {
            if let (Some(place), Some((key, element))) = (slot.place, slot.element)
                && element < slot.args.len()
            {
                let bytes = self.input.get(slot.begin..).unwrap_or_default();
                let key = Key { name: slot.args.get(key, bytes), place };
                let element = slot.args.get(element, bytes);
                if let Some(spot) = Spot::element(store, self.session.db, key, element) {
                    spot.prefetch(store);
                    elements.push(spot);
                }
            }
        }
        for spot in elements {
            spot.prefetch_entry(store);
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
        let arguments = self.parser.settled().min(self.input.len());
        client.input_bytes.store((self.input.len() - arguments) as u64, Relaxed);
        client.argument_bytes.store(arguments as u64, Relaxed);
        client.input_buffer.store(self.input.capacity() as u64, Relaxed);
        client.input_room.store((self.input.capacity() - self.input.len()) as u64, Relaxed);
        let output = self.connection.output.borrow();
        if output.len() > KEPT_BYTES {
            // Less than that leaves with the end of the turn, and from a buffer that the worker has lent.
            client.output_bytes.store(output.len() as u64, Relaxed);
        }
        client.output_room.store(output.capacity() as u64, Relaxed);
        drop(output);
        self.worker.server.count_memory(client, &self.worker.settings().config);
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
        let most = connection.most_unread(&self.worker.settings().config);
        while (connection.sending.get() || connection.queued.get())
            && !connection.is_killed.get()
            && connection.output.borrow().len() > most
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
