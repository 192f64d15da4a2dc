//! One client's connection: its socket and its answers.
//!
//! [`serving`] is the task that reads requests and executes them; here is what the worker's desk deals
//! with. A client that does not read its answers is not read from, beyond a limit it is closed.

use crate::config::{Config, OutputLimit};
use crate::pubsub::Encoded;
use crate::road::Done;
use crate::session::{Client, Session};
use crate::tls;
use crate::worker::Worker;
use forgekv_base::clock;
use serving::Serving;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::sync::Notify;

mod account;
mod finish;
mod serving;

pub(crate) use serving::Slots;

/// Answers that may pile up while the client does not read, before it is not read from either: unless the
/// configuration says when such a client is closed.
const MAX_UNREAD: usize = 1 << 20;
/// Answers that a client may leave unread before it has said who it is.
const MAX_UNREAD_ANONYMOUS: u64 = 16 << 10;

/// A socket that the listener has accepted.
pub(crate) enum Socket {
    Tcp(std::net::TcpStream),
    Tls(std::net::TcpStream, Arc<rustls::ServerConfig>),
    Unix(std::os::unix::net::UnixStream),
}

enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Tls(tls::Reading),
    Unix(unix::OwnedReadHalf),
}

enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Tls(Rc<tls::Encrypted>),
    Unix(unix::OwnedWriteHalf),
}

impl WriteHalf {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteHalf::Tcp(half) => half.try_write(bytes),
            WriteHalf::Tls(half) => half.try_write(bytes),
            WriteHalf::Unix(half) => half.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Tls(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    /// Sends what it has taken and the socket has not; true when that is all.
    fn flush(&self) -> io::Result<bool> {
        match self {
            WriteHalf::Tls(half) => half.flush(),
            _ => Ok(true),
        }
    }

    /// Whether it has taken something that the socket has not.
    fn holds_back(&self) -> bool {
        matches!(self, WriteHalf::Tls(half) if half.holds_back())
    }

    /// Ends both directions, so that the reading side notices.
    fn shut(&self) {
        let ended = match self {
            WriteHalf::Tcp(half) => {
                socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Both)
            }
            WriteHalf::Tls(half) => half.shut(),
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
    /// What others sent while a command of this client is run elsewhere: it goes out behind the reply, which
    /// may be older than it (a cached value and its invalidation must not change places).
    held: RefCell<Option<Vec<u8>>>,
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
        Socket::Tls(stream, config) => {
            let both = tls::Encrypted::new(stream, config)?;
            (ReadHalf::Tls(tls::Reading(both.clone())), WriteHalf::Tls(both))
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
        held: RefCell::default(),
    });
    let session = Session::new(client, &worker.server.acl);
    let serving = Serving::new(worker, &connection, session);
    match read {
        ReadHalf::Tcp(read) => tokio::task::spawn_local(serving.run(read)),
        ReadHalf::Tls(read) => tokio::task::spawn_local(serving.run(read)),
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
        if done.left_large > 0 {
            worker.stats.lazyfreed_objects.add(done.left_large);
        }
        if done.changes > 0 {
            worker.stats.changes.add(done.changes);
        }
        if done.hits > 0 {
            worker.stats.keyspace_hits.add(done.hits);
        }
        if done.misses > 0 {
            worker.stats.keyspace_misses.add(done.misses);
        }
    }

    /// Appends what somebody else has for this client, which may leave when the log is written (or synced) up
    /// to `lsn`. A client that does not read what it is sent is closed here, without waiting for the next look
    /// at it.
    pub(crate) fn push(
        self: &Rc<Self>,
        worker: &Worker,
        config: &Config,
        lsn: u64,
        len: usize,
        append: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.is_killed.get() {
            return;
        }
        self.lsn.set(self.lsn.get().max(lsn));
        let mut held = self.held.borrow_mut();
        let mut output = self.output.borrow_mut();
        let into = held.as_mut().unwrap_or(&mut output);
        // As small as the message, and then larger as more come: many connections get few bytes each.
        into.reserve(len);
        append(into);
        let unread = output.len() + held.as_ref().map_or(0, Vec::len);
        let is_held = held.is_some();
        drop((held, output));
        self.client.output_bytes.store(unread as u64, Relaxed);
        self.look_at_output(unread as u64, config, clock::now_ms);
        worker.server.count_memory(&self.client, config);
        if !is_held && !self.is_killed.get() {
            worker.queue(self);
        }
    }

    /// As [`push`](Self::push), of a message to subscribers.
    pub(crate) fn push_message(
        self: &Rc<Self>,
        worker: &Worker,
        config: &Config,
        lsn: u64,
        message: &Encoded,
    ) {
        let resp3 = self.client.resp3.load(Relaxed);
        self.push(worker, config, lsn, message.len(), |out| message.append_to(out, resp3));
    }

    /// From here on what others send waits.
    fn hold(&self) {
        self.held.borrow_mut().get_or_insert_default();
    }

    /// Ends what [`hold`](Self::hold) began.
    fn release(&self) {
        if let Some(held) = self.held.take() {
            self.output.borrow_mut().extend_from_slice(&held);
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.borrow().is_empty() || self.socket.holds_back()
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
        let mut open = self.socket.flush().is_ok();
        while open && done < output.len() {
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
        if done == output.len() && open && worker.server.switches.keeps_buffers() {
            output.clear();
        } else if done == output.len() || !open {
            worker.give_buffer(std::mem::take(&mut *output));
        } else {
            output.drain(..done);
        }
        self.client.output_bytes.store(output.len() as u64, Relaxed);
        output.is_empty() && !(open && self.socket.holds_back())
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
        self.look_at_output(bytes, config, || now_ms);
    }

    /// What it may leave unread.
    fn output_limit(&self, config: &Config) -> OutputLimit {
        let limits = &config.client_output_buffer_limit;
        if self.client.is_subscriber() { limits.pubsub } else { limits.normal }
    }

    /// Bytes of answers beyond which it is closed at once.
    fn hard_limit(&self, config: &Config) -> u64 {
        let hard = match self.output_limit(config).hard_bytes {
            0 => u64::MAX,
            bytes => bytes,
        };
        let is_anonymous = self.client.is_anonymous.load(Relaxed);
        if is_anonymous { hard.min(MAX_UNREAD_ANONYMOUS) } else { hard }
    }

    /// Bytes of unread answers beyond which it is not read from.
    fn most_unread(&self, config: &Config) -> usize {
        let limit = self.output_limit(config);
        let is_limited = limit.hard_bytes > 0
            || limit.soft_bytes > 0
            || config.client_memory().is_some()
            || self.client.is_anonymous.load(Relaxed);
        if is_limited { usize::MAX } else { MAX_UNREAD }
    }

    /// Closes the client if it leaves too much unread.
    fn look_at_output(&self, bytes: u64, config: &Config, now_ms: impl FnOnce() -> u64) {
        let limit = self.output_limit(config);
        if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
            self.over_since_ms.set(0);
        } else {
            let (now_ms, since_ms) = (now_ms().max(1), self.over_since_ms.get());
            if since_ms == 0 {
                self.over_since_ms.set(now_ms);
            } else if now_ms.saturating_sub(since_ms) > limit.soft_seconds * 1000 {
                return self.close_for_output(bytes);
            }
        }
        if bytes > self.hard_limit(config) {
            self.close_for_output(bytes);
        }
    }

    fn close_for_output(&self, bytes: u64) {
        tracing::warn!(
            "client {} at {} is closed: it left {bytes} bytes unread",
            self.client.id,
            self.client.address
        );
        self.kill();
    }
}
