//! An encrypted connection over a socket, as two halves that one thread uses.
//!
//! ```text
//!   Reading ── plaintext ◄── session ◄── records ◄── socket
//!   the desk ── plaintext ──► session ──► records ──► socket
//! ```
//!
//! What the desk writes is taken whole up to [`AT_ONCE`] and becomes records at once; those that the socket
//! does not take are kept in the session and are sent before anything else. Reading may have to write as
//! well (handshake, key updates), which is why both halves have the whole session.

use rustls::{ServerConfig, ServerConnection};
use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// What is read from a socket at once.
const READ_BYTES: usize = 32 << 10;
/// Plaintext that becomes records in one go; so much the session may keep back.
const AT_ONCE: usize = 64 << 10;

thread_local! {
    /// Records as they come from a socket: handed to the session before the next connection reads.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The writing half, and what both share.
pub(crate) struct Encrypted {
    socket: TcpStream,
    session: RefCell<ServerConnection>,
    /// Records that the session had no room for, because nobody has read the plaintext before them.
    waiting: RefCell<Vec<u8>>,
    /// The socket has ended.
    ended: Cell<bool>,
}

impl Encrypted {
    /// Begins a connection; the handshake is done while it is read from.
    ///
    /// # Errors
    /// The socket cannot be used, or the session not be made.
    pub(crate) fn new(
        stream: std::net::TcpStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<Rc<Encrypted>> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        // Records take some more room than what is in them.
        session.set_buffer_limit(Some(AT_ONCE * 2));
        Ok(Rc::new(Encrypted {
            socket: TcpStream::from_std(stream)?,
            session: RefCell::new(session),
            waiting: RefCell::default(),
            ended: Cell::new(false),
        }))
    }

    /// Takes what it can of `bytes`.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; the socket's errors.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        self.send(&mut session)?;
        if session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match session.writer().write(bytes.get(..AT_ONCE).unwrap_or(bytes))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => {
                self.send(&mut session)?;
                Ok(taken)
            }
        }
    }

    /// Sends records that were kept back; true when none are left.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut session = self.session.borrow_mut();
        self.send(&mut session)?;
        Ok(!session.wants_write())
    }

    /// Whether records wait for the socket.
    pub(crate) fn holds_back(&self) -> bool {
        self.session.try_borrow().is_ok_and(|session| session.wants_write())
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Says goodbye as far as the socket takes it, and ends both directions.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.say_goodbye();
        socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Both)
    }

    fn say_goodbye(&self) {
        let Ok(mut session) = self.session.try_borrow_mut() else { return };
        session.send_close_notify();
        if let Err(e) = self.send(&mut session) {
            tracing::debug!("closing an encrypted connection: {e}");
        }
    }

    /// Writes records until there are none or the socket is full.
    fn send(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            match session.write_tls(&mut ToSocket(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Gives the session records, as many as it has room for; returns how many bytes that was.
    fn feed(&self, session: &mut ServerConnection, records: &[u8]) -> io::Result<usize> {
        let mut rest = records;
        while !rest.is_empty() {
            match session.read_tls(&mut rest) {
                // It has been told that there is no more.
                Ok(0) => {
                    rest = &[];
                    break;
                }
                Ok(_) => {}
                // The plaintext has to be taken first.
                Err(_) => break,
            }
            if let Err(e) = session.process_new_packets() {
                // The other side is told why.
                self.send(session)?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, e));
            }
        }
        Ok(records.len() - rest.len())
    }

    /// Moves plaintext to `buf`; false when the other side has said that there is no more.
    fn take(session: &mut ServerConnection, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        while buf.remaining() > 0 {
            let mut reader = session.reader();
            let n = match reader.fill_buf() {
                Ok([]) => return Ok(false),
                Ok(plain) => {
                    let n = plain.len().min(buf.remaining());
                    buf.put_slice(plain.get(..n).unwrap_or_default());
                    n
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) => return Err(e),
            };
            reader.consume(n);
        }
        Ok(true)
    }

    /// Reads the socket once into the session; false when it has nothing now.
    fn receive(&self, session: &mut ServerConnection) -> io::Result<bool> {
        RECORDS.with_borrow_mut(|records| {
            records.resize(READ_BYTES, 0);
            let n = match self.socket.try_read(records) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            };
            if n == 0 {
                self.ended.set(true);
                session.read_tls(&mut io::empty())?;
                return Ok(true);
            }
            let received = records.get(..n).unwrap_or_default();
            let fed = self.feed(session, received)?;
            self.waiting.borrow_mut().extend_from_slice(received.get(fed..).unwrap_or_default());
            Ok(true)
        })
    }

    fn poll_read(&self, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        let before = buf.filled().len();
        loop {
            let goes_on = Self::take(&mut session, buf)?;
            if buf.filled().len() > before || !goes_on || self.ended.get() {
                return Poll::Ready(Ok(()));
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.is_empty() {
                let fed = self.feed(&mut session, &waiting)?;
                waiting.drain(..fed);
                if fed > 0 {
                    continue;
                }
            }
            drop(waiting);
            // An answer of the handshake goes first: the other side waits for it.
            self.send(&mut session)?;
            if session.wants_write()
                && let Poll::Ready(ready) = self.socket.poll_write_ready(context)
            {
                ready?;
                continue;
            }
            if self.receive(&mut session)? {
                continue;
            }
            if let Poll::Ready(ready) = self.socket.poll_read_ready(context) {
                ready?;
                continue;
            }
            return Poll::Pending;
        }
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

/// Writes to a socket that does not block.
struct ToSocket<'a>(&'a TcpStream);

impl Write for ToSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading half.
pub(crate) struct Reading(pub(crate) Rc<Encrypted>);

impl AsyncRead for Reading {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buf)
    }
}
