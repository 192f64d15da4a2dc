//! What the server knows of one client.
//!
//! [`Session`] belongs to the client's connection and is touched by its worker only. What others may ask
//! for (CLIENT LIST and the like) is in [`Client`], which both share: numbers in atomics that cost the
//! worker a plain store, names behind a lock that is taken when they change.

use crate::acl::{Acl, User};
use crate::observe::Source;
use crate::pubsub::{Kind, Subscriptions};
use crate::server::Shared;
use crate::table::Entry;
use crate::tracking::{Mode, bit};
use crate::transaction::Multi;
use crate::waiting::{Answer, Waiter};
use crate::watch::Watched;
use forgekv_data::{Key, Read};
use forgekv_engine::ShardSet;
use forgekv_resp::Proto;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use tokio::sync::oneshot;

mod clients;

pub(crate) use clients::{Clients, NAME_BYTES};

/// Whether a client gets replies (CLIENT REPLY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replies {
    #[default]
    On,
    /// Not before they are switched on again.
    Off,
    /// Not to the command that says so, nor to the next.
    SkipNext,
    /// Not to this one.
    Skip,
}

/// One client, as its worker sees it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Arc<Client>,
    /// The selected database.
    pub(crate) db: u32,
    pub(crate) proto: Proto,
    /// Who it is.
    pub(crate) user: Arc<User>,
    /// Whether it has authenticated, or need not have when it came.
    pub(crate) authenticated: bool,
    pub(crate) replies: Replies,
    pub(crate) subscriptions: Subscriptions,
    /// How it is told of changes to what it has read, if it is.
    pub(crate) tracking: Option<Box<Mode>>,
    /// What the command answered are pushes, which CLIENT REPLY does not silence.
    pub(crate) was_pushed: bool,
    /// The commands since MULTI.
    pub(crate) multi: Option<Multi>,
    pub(crate) watched: Watched,
    /// Its waiting, while it waits for a key.
    pub(crate) waiter: Option<Arc<Waiter>>,
    /// The right to answer, while a client that waits tries by itself.
    pub(crate) right_to_answer: Option<oneshot::Sender<Answer>>,
    /// Commands that EXEC or a script has run and that are not counted yet.
    pub(crate) nested: Vec<Nested>,
    /// What EXEC or a script has read and is not remembered yet.
    pub(crate) reads: Vec<NotedRead>,
    /// The error that the command answers is one of a command that it ran, and is counted there.
    pub(crate) error_is_counted: bool,
}

/// A command's words, and where it ran.
#[derive(Debug)]
pub(crate) struct KeptCommand {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) db: u32,
    pub(crate) source: Source,
}

/// That a client has read a key of whose changes it is to be told.
#[derive(Debug)]
pub(crate) struct NotedRead {
    name: Vec<u8>,
    place: u64,
    /// So many changes of the same EXEC or script came before.
    pub(crate) after: usize,
}

impl NotedRead {
    pub(crate) fn key(&self) -> Key<'_> {
        Key { name: &self.name, place: self.place }
    }
}

/// See [`Session::moment`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    db: u32,
    proto: Proto,
    nested: usize,
}

/// A command that ran inside another.
#[derive(Debug)]
pub(crate) struct Nested {
    /// Its number in the table.
    pub(crate) command: usize,
    pub(crate) nanos: u64,
    /// The error that it answered; empty if it did not.
    pub(crate) error: Vec<u8>,
    /// What it was, if somebody wants to know.
    pub(crate) kept: Option<KeptCommand>,
    /// It did not even run.
    pub(crate) rejected: bool,
}

impl Nested {
    /// A command that a script may not call, and the error that it was answered.
    pub(crate) fn rejected(command: usize, error: &[u8]) -> Nested {
        Nested { command, nanos: 0, error: error.to_vec(), kept: None, rejected: true }
    }

    /// A command that there is not.
    pub(crate) fn unknown(error: &[u8]) -> Nested {
        Nested::rejected(usize::MAX, error)
    }
}

impl Session {
    pub(crate) fn new(client: Arc<Client>, acl: &Acl) -> Session {
        Session::of(client, acl.default_user().clone(), acl.is_open())
    }

    fn of(client: Arc<Client>, user: Arc<User>, authenticated: bool) -> Session {
        Session {
            client,
            db: 0,
            proto: Proto::Resp2,
            user,
            authenticated,
            replies: Replies::default(),
            subscriptions: Subscriptions::default(),
            tracking: None,
            was_pushed: false,
            multi: None,
            watched: Watched::default(),
            waiter: None,
            right_to_answer: None,
            nested: Vec::new(),
            reads: Vec::new(),
            error_is_counted: false,
        }
    }

    /// Stands here while the session itself is with a command on another thread.
    pub(crate) fn stand_in(&self) -> Session {
        let mut stand_in = Session::of(self.client.clone(), self.user.clone(), self.authenticated);
        (stand_in.db, stand_in.proto, stand_in.replies) = (self.db, self.proto, self.replies);
        stand_in
    }

    /// The shards of what is queued and of what is watched.
    pub(crate) fn shards_of_transaction(&self) -> ShardSet {
        let queued = self.multi.as_ref().map_or_else(ShardSet::default, Multi::shards);
        ShardSet(queued.0 | self.watched.shards().0)
    }

    /// Forgets what is watched.
    pub(crate) fn unwatch(&mut self, server: &Shared) {
        if !self.watched.is_empty() {
            server.watches.unwatch(&server.interest, &mut self.watched);
            self.client.watched.store(0, Relaxed);
            self.client.watched_bytes.store(0, Relaxed);
        }
    }

    /// Ends MULTI.
    pub(crate) fn forget_queue(&mut self) {
        self.multi = None;
        self.client.queued.store(-1, Relaxed);
        self.client.queued_bytes.store(0, Relaxed);
    }

    /// Ends MULTI, and with it all watching: EXEC has been answered, or will not be.
    pub(crate) fn end_transaction(&mut self, server: &Shared) {
        self.forget_queue();
        self.unwatch(server);
    }

    /// What EXEC or a script may change here before its changes are committed.
    pub(crate) fn moment(&self) -> Moment {
        Moment { db: self.db, proto: self.proto, nested: self.nested.len() }
    }

    /// As it was: nothing has happened, and the whole is run again.
    pub(crate) fn go_back(&mut self, to: Moment) {
        self.select(to.db);
        self.set_proto(to.proto);
        self.nested.truncate(to.nested);
    }

    /// Undoes whatever is registered for this client anywhere: it goes, or begins anew.
    pub(crate) fn leave(&mut self, server: &Shared) {
        if self.client.is_monitor.swap(false, Relaxed) {
            server.observe.monitors.remove(self.client.id);
        }
        server.pubsub.leave(&self.client, &mut self.subscriptions);
        self.stop_tracking(server);
        self.forget_queue();
        self.unwatch(server);
        if let Some(waiter) = self.waiter.take() {
            server.waiting.strike(&server.interest, &waiter);
        }
    }

    /// Whether it has to say who it is before anything else.
    #[inline]
    pub(crate) fn must_authenticate(&self, acl: &Acl) -> bool {
        !self.authenticated && !acl.is_open()
    }

    /// Makes it act as `user`; false if that user has just gone.
    pub(crate) fn become_user(&mut self, user: Arc<User>) -> bool {
        // Who removes a user looks at the clients afterwards: one of the two notices the other.
        *self.client.user.lock() = user.clone();
        if user.is_deleted() {
            *self.client.user.lock() = self.user.clone();
            return false;
        }
        self.user = user;
        true
    }

    /// Chooses a database.
    pub(crate) fn select(&mut self, db: u32) {
        self.db = db;
        self.client.db.store(db, Relaxed);
    }

    /// Chooses a protocol.
    pub(crate) fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
        self.client.resp3.store(proto == Proto::Resp3, Relaxed);
    }

    /// A command begins, while this client is told of changes.
    pub(crate) fn begin_tracked(&mut self, entry: &Entry) {
        let is_own = entry.name.starts_with("client|");
        if let Some(mode) = &mut self.tracking
            && self.multi.is_none()
            && !is_own
        {
            mode.begin_command();
        }
    }

    /// Notes that a command has read keys, whose shards are still held, if this client is to be told of their
    /// changes; and after how many changes of the same EXEC or script it has.
    pub(crate) fn note_read(&mut self, view: &mut Read<'_>, entry: &Entry, keys: &[Key<'_>]) {
        if entry.only_reads() && self.tracking.as_ref().is_some_and(|mode| mode.remembers()) {
            for key in keys {
                let after = view.heed(key.shard());
                self.reads.push(NotedRead { name: key.name.to_vec(), place: key.place, after });
            }
        }
    }

    /// CLIENT TRACKING OFF.
    pub(crate) fn stop_tracking(&mut self, server: &Shared) {
        if let Some(mode) = self.tracking.take() {
            server.tracking.disable(&server.interest, &self.client, &mode);
        }
    }

    /// Whether only commands on subscriptions may be called. RESP3 can tell messages from replies, RESP2 can't.
    #[inline]
    pub(crate) fn only_subscribes(&self) -> bool {
        self.proto == Proto::Resp2 && self.subscriptions.any()
    }

    /// RESET: as if the client had just come.
    pub(crate) fn reset(&mut self, server: &Shared) {
        let acl = &server.acl;
        self.leave(server);
        self.select(0);
        self.set_proto(Proto::Resp2);
        self.authenticated = acl.is_open();
        // The default user is never removed.
        self.become_user(acl.default_user().clone());
        self.replies = Replies::On;
        self.client.no_evict.store(false, Relaxed);
        self.client.no_touch.store(false, Relaxed);
        self.client.names.lock().name.clear();
    }
}

/// Names that a client has given itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) name: Vec<u8>,
    pub(crate) lib_name: Vec<u8>,
    pub(crate) lib_version: Vec<u8>,
}

/// One client, as everybody may see it.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Counts up; never used twice.
    pub(crate) id: u64,
    /// The worker that serves it.
    pub(crate) worker: usize,
    /// `ip:port`, or the socket's path and `:0`.
    pub(crate) address: String,
    pub(crate) local_address: String,
    /// It came over the unix socket or the loopback interface.
    pub(crate) is_local: bool,
    pub(crate) is_unix: bool,
    pub(crate) descriptor: i32,
    pub(crate) since_ms: u64,
    /// When it was last heard of.
    pub(crate) heard_ms: AtomicU64,
    pub(crate) db: AtomicU32,
    /// The number of its last command in the table.
    pub(crate) command: AtomicU32,
    pub(crate) resp3: AtomicBool,
    pub(crate) no_evict: AtomicBool,
    pub(crate) no_touch: AtomicBool,
    /// It is shown all commands.
    pub(crate) is_monitor: AtomicBool,
    /// It still has to say who it is.
    pub(crate) is_anonymous: AtomicBool,
    /// Bytes that are not yet taken for an argument, of arguments whose request is not complete, and room for
    /// more.
    pub(crate) input_bytes: AtomicU64,
    pub(crate) argument_bytes: AtomicU64,
    pub(crate) input_room: AtomicU64,
    /// The buffer that they are in, in bytes, unless it is one that its worker has lent.
    pub(crate) input_buffer: AtomicU64,
    /// Bytes of replies not yet taken, and of the buffer that they are in.
    pub(crate) output_bytes: AtomicU64,
    /// What it has subscribed to: channels, patterns, shard channels.
    pub(crate) subscriptions: [AtomicU32; 3],
    /// Bits of [`bit`](crate::tracking::bit).
    pub(crate) tracking: AtomicU32,
    /// The client that is told of changes instead; 0: none.
    pub(crate) redirect: AtomicU64,
    pub(crate) output_room: AtomicU64,
    pub(crate) names: Mutex<Names>,
    /// Commands queued since MULTI; -1 outside of it.
    pub(crate) queued: AtomicI64,
    /// Keys that it watches.
    pub(crate) watched: AtomicU64,
    /// The memory that queued commands take, in bytes.
    pub(crate) queued_bytes: AtomicU64,
    /// The memory that names take which are registered for it: watched keys, subscriptions, prefixes.
    pub(crate) watched_bytes: AtomicU64,
    pub(crate) subscribed_bytes: AtomicU64,
    pub(crate) prefix_bytes: AtomicU64,
    /// What of its memory is in the sum of all clients; see [`Clients::count`].
    pub(crate) counted: AtomicU64,
    /// Its waiting, while it waits for a key.
    pub(crate) waiter: Mutex<Option<Arc<Waiter>>>,
    pub(crate) user: Mutex<Arc<User>>,
    /// It is about to be closed.
    pub(crate) is_closing: AtomicBool,
}

/// No command yet.
pub(crate) const NO_COMMAND: u32 = u32::MAX;

impl Client {
    /// How many subscriptions of a kind it has.
    pub(crate) fn counts(&self, kind: Kind) -> &AtomicU32 {
        let [channels, patterns, shards] = &self.subscriptions;
        match kind {
            Kind::Channel => channels,
            Kind::Pattern => patterns,
            Kind::Shard => shards,
        }
    }

    /// Whether it has subscribed to anything.
    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// Bytes that this client takes.
    pub(crate) fn memory(&self) -> u64 {
        let parts = [
            &self.input_buffer,
            &self.output_bytes,
            &self.queued_bytes,
            &self.watched_bytes,
            &self.subscribed_bytes,
            &self.prefix_bytes,
        ];
        let parts: u64 = parts.iter().map(|part| part.load(Relaxed)).sum();
        parts + (size_of::<Client>() + size_of::<Session>()) as u64
    }

    /// The line of CLIENT LIST, without its end.
    pub(crate) fn line(&self, now_ms: u64, command_name: &str) -> Vec<u8> {
        let names = self.names.lock().clone();
        let seconds = |since: u64| now_ms.saturating_sub(since) / 1000;
        let tracking = self.tracking.load(Relaxed);
        let mut flags = String::new();
        for (set, letter) in [
            (self.is_subscriber(), 'P'),
            (self.is_monitor.load(Relaxed), 'O'),
            (self.queued.load(Relaxed) >= 0, 'x'),
            (self.waiter.lock().is_some(), 'b'),
            (tracking & bit::ON != 0, 't'),
            (tracking & bit::BROKEN != 0, 'R'),
            (tracking & bit::BROADCAST != 0, 'B'),
            (self.is_closing.load(Relaxed), 'c'),
            (self.is_unix, 'U'),
            (self.no_evict.load(Relaxed), 'e'),
            (self.no_touch.load(Relaxed), 'T'),
        ] {
            if set {
                flags.push(letter);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let output = self.output_bytes.load(Relaxed);
        let room = self.output_room.load(Relaxed);
        let mut line = format!(
            "id={} addr={} laddr={} fd={} name=",
            self.id, self.address, self.local_address, self.descriptor
        )
        .into_bytes();
        line.extend_from_slice(&names.name);
        line.extend_from_slice(
            format!(
                " age={} idle={} flags={flags} db={} sub={} psub={} ssub={} multi={} qbuf={} qbuf-free={} \
                 argv-mem={} multi-mem={} rbs={room} rbp={room} obl={output} oll=0 omem={output} tot-mem={} events=r cmd={command_name} \
                 user=",
                seconds(self.since_ms),
                seconds(self.heard_ms.load(Relaxed)),
                self.db.load(Relaxed),
                self.counts(Kind::Channel).load(Relaxed),
                self.counts(Kind::Pattern).load(Relaxed),
                self.counts(Kind::Shard).load(Relaxed),
                self.queued.load(Relaxed),
                self.input_bytes.load(Relaxed),
                self.input_room.load(Relaxed),
                self.argument_bytes.load(Relaxed),
                self.queued_bytes.load(Relaxed),
                self.memory(),
            )
            .as_bytes(),
        );
        line.extend_from_slice(self.user.lock().name());
        let protocol = if self.resp3.load(Relaxed) { 3 } else { 2 };
        let is_tracking = tracking & bit::ON != 0;
        let redirect = if is_tracking { self.redirect.load(Relaxed) as i64 } else { -1 };
        line.extend_from_slice(format!(" redir={redirect} resp={protocol} lib-name=").as_bytes());
        line.extend_from_slice(&names.lib_name);
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(&names.lib_version);
        line
    }
}
