//! The server: opens the data, starts the workers, lets clients in, and puts everything away in order.
//!
//! ```text
//! start: data ── workers ── housekeeping ── listeners
//! stop:  listeners ── workers (answers that are due leave) ── housekeeping ── data (last sync)
//! ```

use crate::acl::Acl;
use crate::config::{Apply, Config, Handle, LogLevel, Part, machine};
use crate::housekeeping::Housekeeping;
use crate::info::{Allocator, Identity, MemoryWatch, Stats, random_id};
use crate::interest::Interest;
use crate::listener::Listeners;
use crate::observe::Observe;
use crate::oom::OomScore;
use crate::pause::Pause;
use crate::pubsub::PubSub;
use crate::rewrites::Rewrites;
use crate::saves::Saves;
use crate::scripts::{Scripts, libraries::Libraries};
use crate::session::Clients;
use crate::switches::Switches;
use crate::table::Table;
use crate::tls;
use crate::tracking::Tracking;
use crate::waiting::Waiting;
use crate::watch::Watches;
use crate::worker::{self, Mail, Mailbox};
use forgekv_base::clock;
use forgekv_data::Store;
use forgekv_engine::Error as EngineError;
use forgekv_engine::disk::Disk;
use parking_lot::{Condvar, Mutex};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;

/// Under this name the data directory keeps the id of its history.
const REPLICATION_ID: &str = "replication-id";
/// How long opening the data again waits for those who still hold it.
const REOPEN_PATIENCE: Duration = Duration::from_secs(60);
/// How long closing the data waits for the workers to let go of it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// What a server is started with.
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The file it came from, for CONFIG REWRITE.
    pub config_file: Option<PathBuf>,
    /// Whose figures INFO shows.
    pub allocator: Arc<dyn Allocator>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Called when `loglevel` changes.
    pub set_log_level: Box<dyn Fn(LogLevel) + Send + Sync>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The data could not be opened.
    Data(String),
    /// An address could not be listened on, or a thread not be started.
    System(std::io::Error),
    /// The table of commands, or what the configuration renames in it.
    Commands(String),
    /// The users.
    Users(String),
    /// Certificates and keys.
    Tls(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Data(why) => write!(f, "the data cannot be opened: {why}"),
            StartError::System(e) => e.fmt(f),
            StartError::Commands(why) => write!(f, "the commands: {why}"),
            StartError::Users(why) => write!(f, "the users: {why}"),
            StartError::Tls(why) => write!(f, "the TLS configuration: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<std::io::Error> for StartError {
    fn from(e: std::io::Error) -> StartError {
        StartError::System(e)
    }
}

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Handle>,
    pub(crate) table: Table,
    pub(crate) acl: Acl,
    pub(crate) clients: Clients,
    pub(crate) stats: Stats,
    pub(crate) identity: Identity,
    pub(crate) memory: MemoryWatch,
    pub(crate) allocator: Arc<dyn Allocator>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) pubsub: PubSub,
    pub(crate) tracking: Tracking,
    pub(crate) saves: Saves,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) interest: Interest,
    pub(crate) watches: Watches,
    pub(crate) waiting: Waiting,
    pub(crate) rewrites: Rewrites,
    pub(crate) observe: Observe,
    pub(crate) pause: Pause,
    pub(crate) switches: Switches,
    oom: OomScore,
    /// A signal has asked for the end, which the housekeeper sees to.
    is_asked_to_stop: AtomicBool,
    pub(crate) disk: Arc<dyn Disk>,
    set_log_level: Box<dyn Fn(LogLevel) + Send + Sync>,
    store: Mutex<Option<Store>>,
    store_opened: Notify,
    /// Workers that have let go of the store that is being closed.
    pub(crate) released: AtomicUsize,
    listeners: Mutex<Option<Listeners>>,
    tls: Mutex<Option<Arc<rustls::ServerConfig>>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    housekeeping: Housekeeping,
}

/// Asks a server to stop; can be kept by a signal handler.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Asks; does not wait.
    pub fn stop(&self) {
        self.0.is_asked_to_stop.store(true, Relaxed);
        self.0.stop_if_asked();
    }
}

impl Server {
    /// Opens the data and begins to serve.
    ///
    /// # Errors
    /// What kept it from starting. Nothing is left running.
    pub fn start(setup: Setup) -> Result<Server, StartError> {
        let Setup { config, config_file, allocator, disk, set_log_level } = setup;
        let table = Table::build(&config.rename_commands).map_err(StartError::Commands)?;
        let acl = Acl::new(&config, &table).map_err(StartError::Users)?;
        let tls = tls_for(&config).map_err(StartError::Tls)?;
        if let Err(room) = machine::allow_clients(config.maxclients) {
            tracing::warn!(
                "there are descriptors for {room} clients only, not for maxclients {}: raise the \
                 limit of open files",
                config.maxclients
            );
        }
        let workers = config.workers();
        let handle = Handle::new(config.clone(), config_file.clone());
        let store = open(&config, &disk).map_err(|e| StartError::Data(e.to_string()))?;
        let replication_id = store.engine().fixed(REPLICATION_ID).unwrap_or_default();
        let replication_id = String::from_utf8_lossy(replication_id).into_owned();
        let now_us = clock::now_us();
        let shared = Arc::new(Shared {
            config: handle,
            // One more for what happens outside of the workers.
            stats: Stats::new(workers + 1, table.len()),
            table,
            acl,
            clients: Clients::default(),
            identity: Identity::new(replication_id, config_file, now_us),
            memory: MemoryWatch::default(),
            allocator,
            mailboxes: (0..workers).map(|_| Arc::default()).collect(),
            pubsub: PubSub::new(workers),
            tracking: Tracking::default(),
            saves: Saves::new(now_us / 1_000_000),
            scripts: Arc::default(),
            interest: Interest::default(),
            watches: Watches::default(),
            waiting: Waiting::default(),
            rewrites: Rewrites::default(),
            observe: Observe::default(),
            pause: Pause::default(),
            switches: Switches::default(),
            oom: OomScore::default(),
            is_asked_to_stop: AtomicBool::new(false),
            disk,
            set_log_level,
            store: Mutex::new(None),
            store_opened: Notify::new(),
            released: AtomicUsize::new(0),
            listeners: Mutex::new(None),
            tls: Mutex::new(tls),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
        });
        // That the system says no is no reason not to serve; it is in the log.
        let _logged = shared.oom.apply(&config);
        shared.install(store);
        let mut server = Server {
            housekeeping: Housekeeping::start(&shared)?,
            shared: shared.clone(),
            workers: Vec::new(),
        };
        if let Err(e) = server.start_serving(&config) {
            server.put_away();
            return Err(e.into());
        }
        keep_freed(&*shared.allocator, &config);
        shared.memory.started(&*shared.allocator);
        Ok(server)
    }

    fn start_serving(&mut self, config: &Config) -> std::io::Result<()> {
        for (n, mailbox) in self.shared.mailboxes.iter().enumerate() {
            let Some(stats) = self.shared.stats.worker(n) else { continue };
            let (shared, mailbox) = (self.shared.clone(), mailbox.clone());
            let thread =
                std::thread::Builder::new().name(format!("forgekv-{n}")).spawn(move || {
                    let ended = worker::run(shared.clone(), n, stats, mailbox);
                    if let Err(e) = ended {
                        tracing::error!("a worker ended: {e}");
                        shared.request_stop();
                    }
                })?;
            self.workers.push(thread);
        }
        let Some(stats) = self.shared.stats.worker(self.shared.mailboxes.len()) else {
            return Ok(());
        };
        let listeners = Listeners::open(config, &self.shared, stats)?;
        *self.shared.listeners.lock() = Some(listeners);
        Ok(())
    }

    /// Where TCP clients can connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.listeners.lock().as_ref().map_or_else(Vec::new, |l| l.addresses.clone())
    }

    /// Where TCP clients can connect with TLS.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.shared.listeners.lock().as_ref().map_or_else(Vec::new, |l| l.tls_addresses.clone())
    }

    /// Something to stop it with.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Serves until somebody asks to stop, then puts everything away.
    ///
    /// # Errors
    /// The last sync of the data failed.
    pub fn wait(mut self) -> Result<(), StartError> {
        let mut stopping = self.shared.stopping.lock();
        while !*stopping {
            self.shared.stop.wait(&mut stopping);
        }
        drop(stopping);
        self.close()
    }

    fn close(&mut self) -> Result<(), StartError> {
        let store = self.put_away();
        if let Some(store) = store {
            store.engine().close().map_err(|e| StartError::Data(e.to_string()))?;
        }
        Ok(())
    }

    /// Ends everything but the data, which is given back.
    fn put_away(&mut self) -> Option<Store> {
        drop(self.shared.listeners.lock().take());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Mail::Stop);
        }
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        self.housekeeping.stop();
        self.shared.saves.stop();
        self.shared.store.lock().take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!("{e}");
        }
    }
}

fn open(config: &Config, disk: &Arc<dyn Disk>) -> Result<Store, forgekv_data::Error> {
    let mut options = config.engine_options();
    options.resident = Some(crate::info::anonymous_bytes);
    options.fixed.push((REPLICATION_ID.into(), random_id().into_bytes()));
    Store::open(options, config.databases, disk.clone())
}

impl Shared {
    /// The data; `None` while it is being opened again.
    pub(crate) fn store(&self) -> Option<Store> {
        self.store.lock().clone()
    }

    /// What encrypted connections begin with; `None` if there are none.
    pub(crate) fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.lock().clone()
    }

    pub(crate) async fn wait_for_store(&self) -> Store {
        loop {
            let opened = self.store_opened.notified();
            tokio::pin!(opened);
            // Enlisted before the look, so that an opening in between is not missed.
            opened.as_mut().enable();
            if let Some(store) = self.store() {
                return store;
            }
            opened.await;
        }
    }

    /// Makes `store` the data that everybody works on.
    fn install(&self, store: Store) {
        let mailboxes = self.mailboxes.clone();
        store.engine().on_synced(Arc::new(move |_| {
            mailboxes.iter().for_each(|mailbox| mailbox.ring());
        }));
        match Libraries::of_store(&self.scripts, &store) {
            Ok(libraries) => self.scripts.install(Arc::new(libraries)),
            // The record stays as it is, until somebody loads or flushes libraries.
            Err(e) => tracing::error!("the libraries of functions cannot be loaded: {e}"),
        }
        *self.store.lock() = Some(store);
        self.store_opened.notify_waiters();
    }

    /// Closes the data and opens it again, recovering it as at a start. Waits: not for event loops.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let Some(store) = self.store.lock().take() else {
            return Err("the data is being opened already".into());
        };
        // Nobody is to find it closed: commands wait from here on until it is open again.
        self.released.store(0, Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Store);
        }
        let deadline = clock::monotonic_us() + RELEASE_PATIENCE.as_micros() as u64;
        while self.released.load(Relaxed) < self.mailboxes.len() && clock::monotonic_us() < deadline
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        // A last sync, so that what follows is a recovery of all that was acknowledged.
        if let Err(e) = store.engine().close() {
            tracing::error!("the data was not closed well: {e}");
        }
        drop(store);
        let config = self.config.current();
        let deadline = clock::monotonic_us() + REOPEN_PATIENCE.as_micros() as u64;
        loop {
            match open(&config, &self.disk) {
                Ok(store) => {
                    self.install(store);
                    return Ok(());
                }
                // A command under way lets go of it when it is done.
                Err(forgekv_data::Error::Engine(EngineError::Locked(_)))
                    if clock::monotonic_us() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => {
                    tracing::error!("the data cannot be opened again: {e}");
                    self.request_stop();
                    return Err(e.to_string());
                }
            }
        }
    }

    /// The classes of keyspace events that somebody may listen to.
    #[inline]
    pub(crate) fn events(&self, config: &Config) -> u32 {
        if self.pubsub.is_empty() { 0 } else { config.notify_keyspace_events.classes() }
    }

    /// Begins the end that a signal has asked for.
    pub(crate) fn stop_if_asked(&self) {
        if !self.switches.is_cron_paused() && self.is_asked_to_stop.load(Relaxed) {
            self.request_stop();
        }
    }

    /// SHUTDOWN ABORT; false when nobody has asked for the end, or it has begun.
    pub(crate) fn abort_stop(&self) -> bool {
        !*self.stopping.lock() && self.is_asked_to_stop.swap(false, Relaxed)
    }

    pub(crate) fn request_stop(&self) {
        self.scripts.stopping.store(true, Relaxed);
        *self.stopping.lock() = true;
        self.stop.notify_all();
    }

    /// Closes a client's connection at once.
    pub(crate) fn close_client(&self, worker: usize, id: u64) {
        if let Some(mailbox) = self.mailboxes.get(worker) {
            mailbox.send(Mail::Close(id));
        }
    }
}

fn keep_freed(allocator: &dyn Allocator, config: &Config) {
    if let Err(why) = allocator.keep_freed(config.keep_freed_ms()) {
        tracing::warn!("the allocator keeps freed memory as it likes: {why}");
    }
}

impl Apply for Arc<Shared> {
    fn apply(&self, part: Part, old: &Config, new: &Config) -> Result<(), String> {
        match part {
            Part::Listeners => listen_again(self, old, new),
            Part::Durability => {
                if let Some(store) = self.store() {
                    store.engine().set_sync_mode(new.sync_mode());
                }
                Ok(())
            }
            Part::Memory => {
                if let Some(store) = self.store() {
                    store.engine().set_memory(new.memory_budget(), new.memtable_bytes());
                }
                keep_freed(&*self.allocator, new);
                self.count_memory_of_all(new);
                Ok(())
            }
            Part::ClientMemory => {
                self.count_memory_of_all(new);
                Ok(())
            }
            Part::Clients => machine::allow_clients(new.maxclients).map_err(|room| {
                format!(
                    "The operating system is not able to handle the specified number of clients, \
                     try with {room}"
                )
            }),
            Part::Logging => {
                (self.set_log_level)(new.loglevel);
                Ok(())
            }
            Part::OomScore => self.oom.apply(new),
            Part::Tls => encrypt_again(self, new),
            Part::Users => {
                self.acl.default_user().set_password(&new.requirepass);
                Ok(())
            }
            Part::Tracking => {
                self.tracking.limit(self, new.tracking_table_max_keys, usize::MAX);
                Ok(())
            }
        }
    }
}

/// What encrypted connections begin with, if there are to be any.
fn tls_for(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, String> {
    if config.tls_port == 0 { Ok(None) } else { tls::server_config(config).map(Some) }
}

/// Reads certificates and keys as `new` says; connections that are there stay as they are.
fn encrypt_again(shared: &Arc<Shared>, new: &Config) -> Result<(), String> {
    let made = tls_for(new).map_err(|why| {
        tracing::warn!("{why}");
        String::from("Unable to update TLS configuration. Check server logs.")
    })?;
    *shared.tls.lock() = made;
    Ok(())
}

/// Listens where `new` says. The old sockets go first, since the new ones may want the same address.
fn listen_again(shared: &Arc<Shared>, old: &Config, new: &Config) -> Result<(), String> {
    let Some(stats) = shared.stats.worker(shared.mailboxes.len()) else { return Ok(()) };
    encrypt_again(shared, new)?;
    let mut listeners = shared.listeners.lock();
    drop(listeners.take());
    match Listeners::open(new, shared, stats.clone()) {
        Ok(open) => {
            *listeners = Some(open);
            Ok(())
        }
        Err(e) => {
            tracing::warn!("{e}");
            if let Err(e) = encrypt_again(shared, old) {
                tracing::error!("{e}");
            }
            match Listeners::open(old, shared, stats) {
                Ok(open) => *listeners = Some(open),
                Err(e) => tracing::error!("no socket listens any more: {e}"),
            }
            Err(if (old.port, old.tls_port) == (new.port, new.tls_port) {
                "Failed to bind to specified addresses.".into()
            } else {
                "Unable to listen on this port. Check server logs.".into()
            })
        }
    }
}
