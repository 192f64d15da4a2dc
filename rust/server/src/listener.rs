//! Where clients come in: the sockets that listen, and the choice of a worker for each newcomer.
//!
//! One thread accepts for all workers and hands each connection to the worker with the fewest, because
//! the kernel's own spreading (SO_REUSEPORT) goes by a hash and leaves some workers idle.

use crate::config::Config;
use crate::connection::Socket;
use crate::info::WorkerStats;
use crate::server::Shared;
use crate::session::{Client, NO_COMMAND, Names};
use crate::worker::Mail;
use forgekv_base::clock;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] =
    b"-DENIED This server is in protected mode: it has no password, so it only \
     talks to clients on its own machine. Set a password with the requirepass directive, or, if \
     everybody who can reach it may use it, set protected-mode to no.\r\n";

/// The sockets that are open, and the thread that accepts from them.
pub(crate) struct Listeners {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    /// Where TCP clients can connect.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where they can with TLS.
    pub(crate) tls_addresses: Vec<SocketAddr>,
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

enum Listener {
    Tcp(std::net::TcpListener),
    Tls(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, String),
}

impl Listeners {
    /// Opens the sockets that `config` names and begins to accept.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub(crate) fn open(
        config: &Config,
        server: &Arc<Shared>,
        stats: Arc<WorkerStats>,
    ) -> io::Result<Listeners> {
        let mut listeners = Vec::new();
        let (mut addresses, mut tls_addresses) = (Vec::new(), Vec::new());
        for name in config.bind.iter().filter(|_| config.port != 0) {
            for listener in bind(name, config.port, config)? {
                addresses.push(listener.local_addr()?);
                listeners.push(Listener::Tcp(listener));
            }
        }
        for name in config.bind.iter().filter(|_| config.tls_port != 0) {
            for listener in bind(name, config.tls_port, config)? {
                tls_addresses.push(listener.local_addr()?);
                listeners.push(Listener::Tls(listener));
            }
        }
        if !config.unixsocket.is_empty() {
            let path = config.path(&config.unixsocket);
            let listener = bind_unix(&path, config.unixsocketperm)?;
            listeners.push(Listener::Unix(listener, path.display().to_string()));
        }
        let stop = Arc::new(Notify::new());
        let (ends, server) = (stop.clone(), server.clone());
        let accept = async move {
            let door = Arc::new(Door { server, stats });
            for listener in listeners {
                tokio::task::spawn_local(door.clone().watch(listener));
            }
            ends.notified().await;
        };
        let thread = std::thread::Builder::new().name("forgekv-accept".into()).spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(accept),
                Err(e) => tracing::error!("nobody can be let in: {e}"),
            }
        })?;
        Ok(Listeners { stop, thread: Some(thread), addresses, tls_addresses })
    }

    /// Stops accepting and closes the sockets.
    pub(crate) fn close(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the accepting thread panicked");
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens what one word of `bind` names.
fn bind(name: &str, port: u16, config: &Config) -> io::Result<Vec<std::net::TcpListener>> {
    let (is_optional, host) = match name.strip_prefix('-') {
        Some(host) => (true, host),
        None => (false, name),
    };
    let failed = |e: io::Error| {
        io::Error::new(
            e.kind(),
            format!("Failed listening on port {port} (TCP), aborting. {host}: {e}"),
        )
    };
    let addresses: Vec<SocketAddr> = match host {
        "*" => vec![SocketAddr::new(IpAddr::from([0; 4]), port)],
        "::*" => vec![SocketAddr::new(IpAddr::from([0; 16]), port)],
        host => match (host, port).to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(_) if is_optional => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        },
    };
    let mut open = Vec::new();
    for address in addresses {
        match listen(address, config.tcp_backlog) {
            Ok(listener) => open.push(listener),
            Err(e)
                if is_optional
                    && matches!(
                        e.raw_os_error(),
                        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
                    ) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(open)
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, permissions: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let failed = |e: io::Error| {
        io::Error::new(e.kind(), format!("cannot listen on {}: {e}", path.display()))
    };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    if permissions != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))
            .map_err(failed)?;
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Who lets clients in.
struct Door {
    server: Arc<Shared>,
    stats: Arc<WorkerStats>,
}

impl Door {
    async fn watch(self: Arc<Self>, listener: Listener) {
        let ended = match listener {
            Listener::Tcp(listener) => self.watch_tcp(listener, false).await,
            Listener::Tls(listener) => self.watch_tcp(listener, true).await,
            Listener::Unix(listener, path) => self.watch_unix(listener, path).await,
        };
        if let Err(e) = ended {
            tracing::error!("a listening socket cannot be used: {e}");
        }
    }

    async fn watch_tcp(&self, listener: std::net::TcpListener, tls: bool) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let admitted = match listener.accept().await {
                Ok((stream, peer)) => stream.into_std().and_then(|s| self.admit_tcp(s, peer, tls)),
                Err(e) => Err(e),
            };
            self.calm(admitted).await;
        }
    }

    async fn watch_unix(
        &self,
        listener: std::os::unix::net::UnixListener,
        path: String,
    ) -> io::Result<()> {
        let listener = UnixListener::from_std(listener)?;
        loop {
            let admitted = match listener.accept().await {
                Ok((stream, _)) => stream.into_std().and_then(|s| self.admit_unix(s, &path)),
                Err(e) => Err(e),
            };
            self.calm(admitted).await;
        }
    }

    /// A failure to accept tends to last (no descriptors left), so it is not tried again at once.
    async fn calm(&self, admitted: io::Result<()>) {
        if let Err(e) = admitted {
            tracing::warn!("a client could not be let in: {e}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn admit_tcp(
        &self,
        mut stream: std::net::TcpStream,
        peer: SocketAddr,
        tls: bool,
    ) -> io::Result<()> {
        let config = self.server.config.current();
        // Who waits for a handshake can't read a text: the connection just ends.
        let text = |text: &'static [u8]| if tls { &b""[..] } else { text };
        let is_local = peer.ip().to_canonical().is_loopback();
        if config.protected_mode && self.server.acl.is_open() && !is_local {
            return self.turn_away(&mut stream, text(PROTECTED));
        }
        if self.server.clients.count() >= config.maxclients as usize {
            return self.turn_away(&mut stream, text(MAX_CLIENTS));
        }
        stream.set_nodelay(true)?;
        if config.tcp_keepalive > 0 {
            let seconds = u64::from(config.tcp_keepalive);
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(seconds))
                .with_interval(Duration::from_secs((seconds / 3).max(1)))
                .with_retries(3);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        }
        let local = stream.local_addr()?;
        let descriptor = stream.as_raw_fd();
        let socket = match tls {
            false => Socket::Tcp(stream),
            true => match self.server.tls() {
                Some(config) => Socket::Tls(stream, config),
                // The configuration is being changed.
                None => return self.turn_away(&mut stream, b""),
            },
        };
        self.hand_over(
            socket,
            Newcomer {
                address: peer.to_string(),
                local_address: local.to_string(),
                is_local,
                is_unix: false,
                descriptor,
            },
        );
        Ok(())
    }

    fn admit_unix(&self, mut stream: std::os::unix::net::UnixStream, path: &str) -> io::Result<()> {
        let config = self.server.config.current();
        if self.server.clients.count() >= config.maxclients as usize {
            return self.turn_away(&mut stream, MAX_CLIENTS);
        }
        let descriptor = stream.as_raw_fd();
        let address = format!("{path}:0");
        self.hand_over(
            Socket::Unix(stream),
            Newcomer {
                address: address.clone(),
                local_address: address,
                is_local: true,
                is_unix: true,
                descriptor,
            },
        );
        Ok(())
    }

    fn turn_away(&self, stream: &mut impl Write, text: &[u8]) -> io::Result<()> {
        self.stats.rejected_connections.add(1);
        // The socket is fresh and does not block: the text fits its buffer or the client goes without.
        match stream.write(text) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Gives the connection to the worker with the fewest.
    fn hand_over(&self, socket: Socket, newcomer: Newcomer) {
        self.stats.connections_received.add(1);
        let workers = self.server.mailboxes.iter().enumerate();
        let Some((worker, mailbox)) = workers.min_by_key(|(_, m)| m.connections.load(Relaxed))
        else {
            return;
        };
        let now_ms = clock::now_ms();
        let Newcomer { address, local_address, is_local, is_unix, descriptor } = newcomer;
        let client = Arc::new(Client {
            id: self.server.clients.next_id(),
            worker,
            address,
            local_address,
            is_local,
            is_unix,
            descriptor,
            since_ms: now_ms,
            heard_ms: AtomicU64::new(now_ms),
            db: AtomicU32::new(0),
            command: AtomicU32::new(NO_COMMAND),
            resp3: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            is_monitor: AtomicBool::new(false),
            input_bytes: AtomicU64::new(0),
            input_room: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            output_room: AtomicU64::new(0),
            names: Mutex::new(Names::default()),
            queued: AtomicI64::new(-1),
            watched: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            waiter: Mutex::new(None),
            user: Mutex::new(self.server.acl.default_user().clone()),
            is_closing: AtomicBool::new(false),
            ..Client::default()
        });
        self.server.clients.add(client.clone());
        mailbox.connections.fetch_add(1, Relaxed);
        mailbox.send(Mail::Serve(socket, client));
    }
}

struct Newcomer {
    address: String,
    local_address: String,
    is_local: bool,
    is_unix: bool,
    descriptor: i32,
}
