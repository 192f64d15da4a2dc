//! A worker: one thread, one event loop, the connections that it serves for life.
//!
//! ```text
//! one turn:   connections that can be read execute what came ─┐
//!             ...                                             ├─ each queues itself once
//!             connections that can be read execute what came ─┘
//!             the desk: mail ── log written once ── one write for each queued connection
//! ```
//!
//! What always holds:
//! 1. Nothing waits on this thread: no disk, no lock that is held for long.
//! 2. A reply leaves when the log is written (with `Always`: synced) up to everything that its command can
//!    have seen.
//! 3. Only this thread touches the worker's own state; others send it [`Mail`].

use crate::config;
use crate::connection::{self, Connection, Socket};
use crate::info::WorkerStats;
use crate::pubsub::Message;
use crate::road::Settings;
use crate::server::Shared;
use crate::session::Client;
use forgekv_base::clock;
use forgekv_base::rng::Rng;
use forgekv_data::Store;
use forgekv_engine::{Batch, SyncMode};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What is read from a socket at once.
pub(crate) const READ_BYTES: usize = 32 << 10;
/// Buffers kept for the next connection that has something to say.
const KEPT_BUFFERS: usize = 64;
/// A buffer that grew beyond this is given back to the allocator.
pub(crate) const KEPT_BYTES: usize = 64 << 10;
/// How often idle clients are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long a stopping worker waits for commands under way and for clients that do not read.
const GRACE: Duration = Duration::from_secs(5);

/// What others tell a worker.
pub(crate) enum Mail {
    /// Serve this connection.
    Serve(Socket, Arc<Client>),
    /// Close this connection at once.
    Close(u64),
    /// Append this to a client's output. It may leave when the log is written (with `Always`: synced) up to
    /// `lsn`. A client that is gone gets nothing.
    Push { client: u64, bytes: Arc<[u8]>, lsn: u64 },
    /// Append this to the outputs of those who have subscribed to it.
    Publish(Arc<Message>),
    /// Let go of the store: it is to be closed.
    Store,
    /// End.
    Stop,
}

/// A worker's letter box.
#[derive(Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    has_mail: AtomicBool,
    /// Wakes the desk.
    bell: Notify,
    /// The connections it serves or is about to.
    pub(crate) connections: AtomicUsize,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(crate) fn send(&self, mail: Mail) {
        self.mail.lock().push(mail);
        self.has_mail.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// The log was synced: replies may be waiting for that.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Mail> {
        if self.has_mail.load(Ordering::Acquire) && self.has_mail.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut *self.mail.lock())
        } else {
            Vec::new()
        }
    }
}

/// A worker's own state.
pub(crate) struct Worker {
    pub(crate) server: Arc<Shared>,
    /// Counted from 0.
    number: usize,
    pub(crate) stats: Arc<WorkerStats>,
    mailbox: Arc<Mailbox>,
    /// `None` while it is being opened again.
    pub(crate) store: RefCell<Option<Store>>,
    reader: RefCell<config::Reader>,
    settings: RefCell<Rc<Settings>>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// Those with something to send.
    queue: RefCell<Vec<Rc<Connection>>>,
    /// Those that wait for a sync.
    unsynced: RefCell<Vec<Rc<Connection>>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) is_stopping: Cell<bool>,
    /// Commands that were put back or run elsewhere, and are not answered yet.
    pub(crate) under_way: Cell<usize>,
}

/// What one drain after another uses again.
pub(crate) struct Scratch {
    pub(crate) batch: Batch,
    pub(crate) rng: Rng,
    pub(crate) slots: connection::Slots,
}

/// Runs a worker on this thread until it is told to stop.
///
/// # Errors
/// The event loop could not be made.
pub(crate) fn run(
    server: Arc<Shared>,
    number: usize,
    stats: Arc<WorkerStats>,
    mailbox: Arc<Mailbox>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_name("forgekv-long")
        .build_local(tokio::runtime::LocalOptions::default())?;
    let mut reader = server.config.reader();
    let settings = Rc::new(Settings::of(reader.get()));
    let store = server.store();
    let worker = Rc::new(Worker {
        number,
        stats,
        mailbox,
        store: RefCell::new(store),
        reader: RefCell::new(reader),
        settings: RefCell::new(settings),
        connections: RefCell::default(),
        queue: RefCell::default(),
        unsynced: RefCell::default(),
        buffers: RefCell::default(),
        scratch: RefCell::new(Scratch {
            batch: Batch::new(),
            rng: Rng::from_entropy(),
            slots: connection::Slots::default(),
        }),
        is_stopping: Cell::new(false),
        under_way: Cell::new(0),
        server,
    });
    runtime.block_on(async move {
        let ticking = tokio::task::spawn_local(tick(worker.clone()));
        let desk = tokio::task::spawn_local(desk(worker));
        let ended = desk.await;
        ticking.abort();
        ended.map_err(io::Error::other)
    })
}

/// Where mail is read and replies are sent: runs after the connections that were ready in a turn, since
/// the first that queues itself wakes it behind them.
async fn desk(worker: Rc<Worker>) {
    loop {
        worker.mailbox.bell.notified().await;
        worker.read_mail();
        worker.send_queued();
        if worker.is_stopping.get() {
            break;
        }
    }
    worker.wind_down().await;
}

async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if worker.server.switches.is_cron_paused() {
            continue;
        }
        let now_ms = clock::now_ms();
        let settings = worker.settings();
        let connections: Vec<_> = worker.connections.borrow().values().cloned().collect();
        for connection in connections {
            connection.look_after(now_ms, &settings.config);
        }
    }
}

impl Worker {
    /// The settings, taken over anew if the configuration has changed.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        let mut reader = self.reader.borrow_mut();
        let before = reader.version();
        // Not cloned while nothing changes: all workers count references to it in one place.
        reader.get();
        if reader.version() != before {
            let settings = Settings::of(reader.get());
            *self.settings.borrow_mut() = Rc::new(settings);
        }
        self.settings.borrow().clone()
    }

    /// Does what others have asked for.
    pub(crate) fn read_mail(self: &Rc<Self>) {
        for mail in self.mailbox.take() {
            match mail {
                Mail::Serve(socket, client) => self.serve(socket, client),
                Mail::Close(id) => {
                    let connection = self.connections.borrow().get(&id).cloned();
                    if let Some(connection) = connection {
                        connection.kill();
                    }
                }
                Mail::Push { client, bytes, lsn } => self.push(client, &bytes, lsn),
                Mail::Publish(message) => self.deliver(&message),
                Mail::Store => {
                    let store = self.server.store();
                    *self.store.borrow_mut() = store;
                    self.server.released.fetch_add(1, Ordering::Relaxed);
                }
                Mail::Stop => self.is_stopping.set(true),
            }
        }
    }

    fn serve(self: &Rc<Self>, socket: Socket, client: Arc<Client>) {
        let id = client.id;
        match connection::start(self, socket, client) {
            Ok(connection) => {
                self.connections.borrow_mut().insert(id, connection);
            }
            Err(e) => {
                tracing::warn!("a new connection cannot be served: {e}");
                self.gone(id);
            }
        }
    }

    fn push(&self, client: u64, bytes: &[u8], lsn: u64) {
        let connection = self.connections.borrow().get(&client).cloned();
        if let Some(connection) = connection {
            let config = &self.settings().config;
            let append = |out: &mut Vec<u8>| out.extend_from_slice(bytes);
            connection.push(self, config, lsn, bytes.len(), append);
        }
    }

    /// Gives a message to those of this worker's clients that have subscribed to it.
    fn deliver(&self, message: &Message) {
        let settings = self.settings();
        let connections = self.connections.borrow();
        let Some(receivers) = self.server.pubsub.receivers(self.number) else { return };
        receivers.lock().deliver(message, |client, encoded| {
            if let Some(connection) = connections.get(&client) {
                connection.push_message(self, &settings.config, message.lsn, encoded);
            }
        });
    }

    /// A connection has ended.
    pub(crate) fn gone(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        self.server.clients.remove(id);
        self.mailbox.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until the store is open again.
    pub(crate) async fn wait_for_store(&self) {
        let store = self.server.wait_for_store().await;
        *self.store.borrow_mut() = Some(store);
    }

    /// An empty buffer with room.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES))
    }

    /// Takes a buffer back that is not needed now.
    pub(crate) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < KEPT_BUFFERS && (READ_BYTES..=KEPT_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Has the output of a connection sent at the end of this turn.
    pub(crate) fn queue(&self, connection: &Rc<Connection>) {
        if connection.queued.replace(true) {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            self.mailbox.bell.notify_one();
        }
        queue.push(connection.clone());
    }

    /// Writes the log once, then one write for each connection that has something to send and may.
    fn send_queued(self: &Rc<Self>) {
        let mut queue = std::mem::take(&mut *self.queue.borrow_mut());
        let mut unsynced = std::mem::take(&mut *self.unsynced.borrow_mut());
        if queue.is_empty() && unsynced.is_empty() {
            return;
        }
        let store = self.store.borrow();
        let engine = store.as_ref().map(Store::engine);
        // Those that wait may have executed more meanwhile.
        let all = queue.iter().chain(unsynced.iter());
        let needed = all.map(|c| c.lsn.get()).max().unwrap_or_default();
        let mut durable = u64::MAX;
        if let Some(engine) = engine {
            if engine.log_written() < needed
                && let Err(e) = engine.log_write()
            {
                tracing::error!("the log cannot be written: {e}");
            }
            durable = engine.log_written();
            if self.settings.borrow().config.sync_mode() == SyncMode::Always {
                durable = engine.log_synced();
                // Shut down is not a failure: the last sync rings once more.
                if needed > durable {
                    engine.request_sync();
                }
            }
        }
        let failed = engine.and_then(|engine| engine.log_failure()).is_some();
        for connection in queue.drain(..).chain(unsynced.drain(..)) {
            connection.queued.set(false);
            if connection.lsn.get() <= durable {
                connection.send(self);
            } else if failed {
                // What it was told is not durable and may never be: better no answer than a wrong one.
                connection.kill();
            } else {
                connection.queued.set(true);
                self.unsynced.borrow_mut().push(connection);
            }
        }
        // The lists keep their memory for the next turn.
        let mut kept = self.queue.borrow_mut();
        if kept.is_empty() {
            *kept = queue;
        }
    }

    /// Lets commands under way come to their end and replies leave, for a while.
    async fn wind_down(self: Rc<Self>) {
        let deadline = clock::now_ms() + GRACE.as_millis() as u64;
        loop {
            self.send_queued();
            let waiting = self.under_way.get() > 0
                || !self.unsynced.borrow().is_empty()
                || self.connections.borrow().values().any(|c| c.has_output());
            if !waiting || clock::now_ms() > deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let connections: Vec<_> = self.connections.borrow_mut().drain().collect();
        for (id, connection) in connections {
            connection.kill();
            self.server.clients.remove(id);
        }
        self.store.borrow_mut().take();
    }
}
