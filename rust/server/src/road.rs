//! The road of every command: look up, gates, view, handler, commit.
//!
//! ```text
//!   words ── look up ── gates ── lock the shards of the keys ── view ── handler ── commit ── reply
//!                                  ▲                                      │
//!                                  └──── load, wait, take all shards ◄────┘ Again
//! ```
//!
//! [`execute`] is one attempt on an event loop: it never waits. When the data is on disk, a shard is held
//! by a long operation, or more shards are needed than were declared, everything the handler did is
//! dropped and the attempt comes back as [`Outcome::Again`]; the connection waits for what is missing and
//! calls [`resume`], with the same clock reading and the same random seed. After a few rounds, or at once
//! for commands that are marked long, the command runs on a pool thread that may wait ([`run_reserved`]).
//!
//! A reply is written straight into the connection's output. What an attempt wrote that did not come to
//! its end is taken back.

pub(crate) mod embedded;

use crate::commands::{Args, Flags, Handler, args::wrong_number};
use crate::config::{Config, Protection};
use crate::info::WorkerStats;
use crate::server::Shared;
use crate::session::Session;
use crate::table::keyspec::Positions;
use crate::table::{Entry, KeyPlan, Named};
use forgekv_data::{Error, Key, Limits, PREPARE, Read, Store, Surroundings, WRONG_TYPE};
use forgekv_engine::{Batch, Guard, Loads, ShardSet};
use forgekv_resp::{Proto, Reply};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// After so many loads a command goes on where it may wait, or it might never end.
const MAX_ROUNDS: u32 = 4;

/// The words of a request, name first.
pub(crate) type Words<'a> = SmallVec<[&'a [u8]; 8]>;
/// Declared keys in the order of the words.
type Keys<'a> = SmallVec<[Key<'a>; 4]>;

/// What of the configuration the road looks at, taken over once a turn.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Limits,
}

impl Settings {
    pub(crate) fn of(config: &Arc<Config>) -> Settings {
        Settings { config: config.clone(), limits: config.limits() }
    }
}

/// What holds while a worker executes commands of one connection.
pub(crate) struct Turn<'a> {
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) stats: &'a WorkerStats,
    /// One reading of the clock for all of them.
    pub(crate) now_ms: u64,
}

/// The same in every attempt at one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Once {
    pub(crate) now_ms: u64,
    pub(crate) random_seed: u64,
}

/// What has to happen before the next attempt.
pub(crate) struct Again {
    pub(crate) why: forgekv_engine::Error,
    pub(crate) loads: Loads,
    pub(crate) shards: ShardSet,
    pub(crate) once: Once,
    /// The command's number.
    pub(crate) command: usize,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    /// The reply is written.
    Done(Done),
    /// A gate refused; the error is written.
    Refused,
    /// Nothing has happened yet.
    Again(Box<Again>),
    /// Nothing has happened yet, and the command wants a thread of its own.
    Long { shards: ShardSet, once: Once, command: usize },
    /// The reply (if any) is written, and the connection has something to do before the next command.
    Then(Then),
}

/// What a finished command leaves to be taken care of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    /// The reply may leave when the log is written (or synced) up to here.
    pub(crate) lsn: u64,
    /// Expired keys that the command met and removed.
    pub(crate) expired: u64,
    /// Whether something was committed.
    pub(crate) wrote: bool,
    /// How many changes it was, as the command counts them.
    pub(crate) changes: u64,
    /// Keys that a reading command looked up and found, or did not find.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// What a connection does after a command on the session or the server.
pub(crate) enum Then {
    /// Sends what is written and closes.
    Close,
    /// Lets time pass.
    Sleep(Duration),
    /// Runs work that waits for the disk; the reply is what it returns.
    Work(Box<dyn FnOnce(Proto) -> Vec<u8> + Send>),
}

/// What an admin command sees: session and server, and the data only if its entry asks for it.
pub(crate) struct Admin<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) entry: &'a Entry,
    pub(crate) now_ms: u64,
    /// A view of the declared shards, for entries marked `.sees_data()`.
    pub(crate) data: Option<Read<'a>>,
    pub(crate) then: Option<Then>,
}

/// What was found out about a command when it was parsed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// Its number, if its first word alone tells.
    pub(crate) command: Option<usize>,
    /// The place of its only key.
    pub(crate) place: Option<u64>,
}

/// One attempt at the command in `words`.
#[inline]
pub(crate) fn execute(
    turn: &Turn<'_>,
    session: &mut Session,
    words: &[&[u8]],
    known: Known,
    batch: &mut Batch,
    random_seed: u64,
    out: &mut Vec<u8>,
) -> Outcome {
    let entry = match gate(turn, session, words, known.command) {
        Ok(entry) => entry,
        Err(refusal) => {
            Reply::new(out, session.proto).error_bytes(&refusal);
            return Outcome::Refused;
        }
    };
    session.client.command.store(entry.id as u32, Relaxed);
    let once = Once { now_ms: turn.now_ms, random_seed };
    let keys = match (entry.plan, known.place) {
        (KeyPlan::One { first }, Some(place)) => {
            words.get(first).map(|&name| Key { name, place }).into_iter().collect()
        }
        _ => keys(entry, words, turn.store.place_seed()),
    };
    let shards = shards(entry, words, &keys);
    if entry.flags.has(Flags::LONG) && !matches!(entry.command.handler, Handler::Admin(_)) {
        return Outcome::Long { shards, once, command: entry.id };
    }
    run(turn, session, entry, words, &keys, shards, Loads::default(), once, batch, out)
}

/// The next attempt, after what [`Again`] asked for has been done.
pub(crate) fn resume(
    turn: &Turn<'_>,
    session: &mut Session,
    words: &[&[u8]],
    again: Again,
    batch: &mut Batch,
    out: &mut Vec<u8>,
) -> Outcome {
    let Some(entry) = turn.server.table.get(again.command) else {
        return Outcome::Done(Done::default());
    };
    let keys = keys(entry, words, turn.store.place_seed());
    let Again { shards, loads, once, .. } = again;
    run(turn, session, entry, words, &keys, shards, loads, once, batch, out)
}

impl Again {
    /// Whether the command has been put back so often that it should finish where it may wait.
    pub(crate) fn is_enough(&self, turn_of: &Shared) -> bool {
        let on_data = turn_of
            .table
            .get(self.command)
            .is_some_and(|e| !matches!(e.command.handler, Handler::Admin(_)));
        self.loads.rounds >= MAX_ROUNDS && on_data
    }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all of an attempt meets")]
#[inline]
fn run(
    turn: &Turn<'_>,
    session: &mut Session,
    entry: &Entry,
    words: &[&[u8]],
    keys: &[Key<'_>],
    shards: ShardSet,
    loads: Loads,
    once: Once,
    batch: &mut Batch,
    out: &mut Vec<u8>,
) -> Outcome {
    if let Handler::Admin(handler) = entry.command.handler
        && !entry.flags.has(Flags::SEES_DATA)
    {
        let mut admin = Admin {
            session,
            server: turn.server,
            store: turn.store,
            settings: turn.settings,
            entry,
            now_ms: once.now_ms,
            data: None,
            then: None,
        };
        let proto = admin.session.proto;
        let mut reply = Reply::new(out, proto);
        let mark = reply.mark();
        let mut args = arguments(entry, words, keys, turn.store.place_seed());
        let result = handler(&mut admin, &mut args, &mut reply);
        if let Err(e) = result {
            reply.rewind(mark);
            refuse(&mut reply, &e);
        }
        return admin.then.map_or(Outcome::Done(Done::default()), Outcome::Then);
    }
    let guard = match turn.store.engine().lock(shards, loads) {
        Ok(guard) => guard,
        Err((why, loads)) => {
            let command = entry.id;
            return Outcome::Again(Box::new(Again { why, loads, shards, once, command }));
        }
    };
    let call = Call { entry, words, keys, db: session.db, limits: &turn.settings.limits, once };
    let mut reply = Reply::new(out, session.proto);
    let attempt = match entry.command.handler {
        Handler::Admin(_) => survey(turn, session, &call, guard, &mut reply),
        _ => attempt(turn.store, &call, guard, batch, &mut reply),
    };
    match attempt {
        Ok(done) => Outcome::Done(done),
        Err((forgekv_engine::Error::Busy(PREPARE), _)) => {
            // It is asked for again by the run that can wait for it.
            drop(turn.store.preparations(once.random_seed));
            Outcome::Long { shards, once, command: entry.id }
        }
        Err((why, loads)) => {
            let command = entry.id;
            Outcome::Again(Box::new(Again { why, loads, shards, once, command }))
        }
    }
}

/// A command on the data, ready to run.
struct Call<'a> {
    entry: &'a Entry,
    words: &'a [&'a [u8]],
    keys: &'a [Key<'a>],
    db: u32,
    limits: &'a Limits,
    once: Once,
}

impl<'a> Call<'a> {
    fn around(&self, store: &Store) -> Surroundings<'a> {
        Surroundings {
            now_ms: self.once.now_ms,
            db: self.db,
            limits: self.limits,
            random_seed: self.once.random_seed,
            place_seed: store.place_seed(),
            // Nobody can subscribe yet, so nobody listens to keyspace events.
            events: 0,
        }
    }
}

type Attempt = Result<Done, (forgekv_engine::Error, Loads)>;

/// View, handler, commit. The error is what keeps the command from being answered now.
#[inline]
fn attempt<'e>(
    store: &'e Store,
    call: &Call<'e>,
    guard: Guard<'e>,
    batch: &mut Batch,
    reply: &mut Reply<'_>,
) -> Attempt {
    let mark = reply.mark();
    let mut args = arguments(call.entry, call.words, call.keys, store.place_seed());
    let around = call.around(store);
    let staged = std::mem::take(batch);
    let (result, parts) = match call.entry.command.handler {
        Handler::Read(handler) => {
            let mut view = store.read(guard, staged, around);
            let result = handler(&mut view, &mut args, reply);
            (result, view.into_parts())
        }
        Handler::Write(handler) => {
            let mut view = store.write(guard, staged, around);
            let result = handler(&mut view, &mut args, reply);
            (result, view.into_parts())
        }
        Handler::Admin(_) | Handler::Container => {
            reply.error(&wrong_number(&call.entry.name));
            return Ok(Done::default());
        }
    };
    *batch = parts.batch;
    let mut guard = parts.guard;
    let wrote = !batch.is_empty();
    // Short of space, what does not grow goes on.
    batch.set_essential(!call.entry.flags.has(Flags::GROWS));
    let (hits, misses) = match call.entry.command.handler {
        Handler::Read(_) => (parts.hits, parts.misses),
        _ => (0, 0),
    };
    let changes = parts.changes;
    let only_reads = matches!(call.entry.command.handler, Handler::Read(_));
    let mut expired = parts.expired;
    let result = result.and_then(|()| match store.commit(&mut guard, batch) {
        // A read leaves the removal of what it found expired, nothing else: that can wait.
        Err(_) if only_reads => {
            expired = 0;
            Ok(guard.seen())
        }
        committed => committed,
    });
    batch.clear();
    match result {
        Ok(lsn) => Ok(Done { lsn, expired, wrote, changes, hits, misses }),
        Err(Error::Again(why)) => {
            reply.rewind(mark);
            Err((why, guard.into_loads()))
        }
        Err(e) => {
            // A refusal tells something of the data too.
            let lsn = guard.seen();
            drop(guard);
            reply.rewind(mark);
            refuse(reply, &e);
            Ok(Done { lsn, ..Done::default() })
        }
    }
}

/// As [`attempt`], for an admin command that asks for a look at the data.
fn survey<'e>(
    turn: &'e Turn<'_>,
    session: &'e mut Session,
    call: &'e Call<'_>,
    guard: Guard<'e>,
    reply: &mut Reply<'_>,
) -> Attempt {
    let mark = reply.mark();
    let Handler::Admin(handler) = call.entry.command.handler else { return Ok(Done::default()) };
    let mut admin = Admin {
        session,
        server: turn.server,
        store: turn.store,
        settings: turn.settings,
        entry: call.entry,
        now_ms: call.once.now_ms,
        data: Some(turn.store.read(guard, Batch::new(), call.around(turn.store))),
        then: None,
    };
    let mut args = arguments(call.entry, call.words, call.keys, turn.store.place_seed());
    let result = handler(&mut admin, &mut args, reply);
    let guard = admin.data.take().map(|view| view.into_parts().guard);
    let done = Done { lsn: guard.as_ref().map_or(0, Guard::seen), ..Done::default() };
    match result {
        Ok(()) => Ok(done),
        Err(Error::Again(why)) => {
            reply.rewind(mark);
            Err((why, guard.map(Guard::into_loads).unwrap_or_default()))
        }
        Err(e) => {
            drop(guard);
            reply.rewind(mark);
            refuse(reply, &e);
            Ok(done)
        }
    }
}

/// A command on the data, on a thread that may wait. Returns the reply, too.
pub(crate) fn run_reserved(
    server: &Shared,
    store: &Store,
    settings: &Settings,
    job: &Job,
) -> (Vec<u8>, Done) {
    let mut out = Vec::new();
    let Some(entry) = server.table.get(job.command) else { return (out, Done::default()) };
    let words: Words<'_> = job.words.iter().map(Vec::as_slice).collect();
    let keys = keys(entry, &words, store.place_seed());
    let mut shards = job.shards;
    let mut batch = Batch::new();
    let _prepared = store.preparations(job.once.random_seed);
    loop {
        let call = Call {
            entry,
            words: &words,
            keys: &keys,
            db: job.db,
            limits: &settings.limits,
            once: job.once,
        };
        let mut reply = Reply::new(&mut out, job.proto);
        let attempt = store
            .engine()
            .with_reserved(shards, |guard| attempt(store, &call, guard, &mut batch, &mut reply));
        match attempt {
            Ok(done) => return (out, done),
            Err((forgekv_engine::Error::NotHeld(_), _)) if shards != ShardSet::ALL => {
                shards = ShardSet::ALL;
            }
            Err((forgekv_engine::Error::Busy(PREPARE), _)) => {
                if let Err(e) = store.prepare(job.once.random_seed) {
                    refuse(&mut Reply::new(&mut out, job.proto), &e);
                    return (out, Done { lsn: store.engine().log_appended(), ..Done::default() });
                }
            }
            Err((forgekv_engine::Error::Busy(shard), _)) => store.engine().wait_free_here(shard),
            Err((why, _)) => {
                refuse(&mut Reply::new(&mut out, job.proto), &Error::Engine(why));
                return (out, Done { lsn: store.engine().log_appended(), ..Done::default() });
            }
        }
    }
}

/// A command on its way to another thread.
pub(crate) struct Job {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) command: usize,
    pub(crate) shards: ShardSet,
    pub(crate) once: Once,
    pub(crate) db: u32,
    pub(crate) proto: Proto,
}

fn arguments<'a>(
    entry: &'a Entry,
    words: &'a [&'a [u8]],
    keys: &'a [Key<'a>],
    place_seed: u64,
) -> Args<'a> {
    Args::new(&entry.name, words.get(entry.name_words..).unwrap_or_default(), keys, place_seed)
}

/// The declared keys with their places.
fn keys<'a>(entry: &Entry, words: &[&'a [u8]], place_seed: u64) -> Keys<'a> {
    if entry.plan == KeyPlan::None {
        return Keys::new();
    }
    let mut positions = Positions::new();
    // Where the words do not fit, the handler says what is wrong with them.
    let _fits = entry.positions(words, &mut positions);
    let names = positions.iter().filter_map(|&at| words.get(at));
    names.map(|name| Key::new(place_seed, name)).collect()
}

/// The shards to lock before the first attempt.
#[inline]
fn shards(entry: &Entry, words: &[&[u8]], keys: &[Key<'_>]) -> ShardSet {
    if entry.flags.has(Flags::ALL_SHARDS) {
        return ShardSet::ALL;
    }
    let mut shards = ShardSet::default();
    for key in keys {
        shards.insert(key.shard());
    }
    if entry.flags.has(Flags::SWEEP) {
        let cursor = words.get(entry.name_words).and_then(|c| forgekv_base::number::parse_u64(c));
        shards.insert(forgekv_data::scan::shard_of(cursor.unwrap_or(0)));
    }
    shards
}

/// May this client call this now? The order is Redis's.
#[inline]
fn gate<'t>(
    turn: &'t Turn<'_>,
    session: &Session,
    words: &[&[u8]],
    known: Option<usize>,
) -> Result<&'t Entry, Cow<'static, [u8]>> {
    let table = &turn.server.table;
    let named = match known.and_then(|id| table.get(id)) {
        Some(entry) => Named::Found(entry),
        None => table.find(words),
    };
    let entry = match named {
        Named::Found(entry) => entry,
        Named::Unknown => return Err(unknown_command(words).into()),
        Named::UnknownSubcommand(container) => {
            return Err(unknown_subcommand(container, words).into());
        }
    };
    if !entry.takes(words.len()) || matches!(entry.command.handler, Handler::Container) {
        turn.stats.rejected(entry.id);
        return Err(wrong_number(&entry.name).into_bytes().into());
    }
    let config = &turn.settings.config;
    if entry.flags.has(Flags::DEBUG) && !may_debug(config, session) {
        turn.stats.rejected(entry.id);
        return Err(DEBUG_REFUSED.as_bytes().into());
    }
    if !session.authenticated && !config.requirepass.is_empty() && !entry.flags.has(Flags::NO_AUTH)
    {
        turn.stats.rejected(entry.id);
        return Err(NOAUTH.as_bytes().into());
    }
    if session.only_subscribes() && !entry.flags.has(Flags::SUBSCRIBER) {
        turn.stats.rejected(entry.id);
        return Err(only_subscribes(&entry.name).into_bytes().into());
    }
    if entry.flags.has(Flags::GROWS) && config.is_below_floor() {
        turn.stats.rejected(entry.id);
        return Err(OOM.as_bytes().into());
    }
    Ok(entry)
}

const NOAUTH: &str = "NOAUTH Authentication required.";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
fn only_subscribes(name: &str) -> String {
    format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context"
    )
}

const DEBUG_REFUSED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is \
     set to \"local\", you can run it from a local connection, otherwise you need to set this option \
     in the configuration file, and then restart the server.";

fn may_debug(config: &Config, session: &Session) -> bool {
    match config.enable_debug_command {
        Protection::Yes => true,
        Protection::Local => session.client.is_local,
        Protection::No => false,
    }
}

/// How much of a client's words an error repeats.
const PREVIEW: usize = 128;

fn unknown_command(words: &[&[u8]]) -> Vec<u8> {
    let cut = |word: &[u8], max: usize| word.get(..max).unwrap_or(word).to_vec();
    let name = words.first().copied().unwrap_or_default();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&cut(name, PREVIEW));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for word in words.iter().skip(1) {
        let used = text.len() - start;
        if used >= PREVIEW {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(&cut(word, PREVIEW - used));
        text.extend_from_slice(b"' ");
    }
    text
}

fn unknown_subcommand(container: &Entry, words: &[&[u8]]) -> Vec<u8> {
    let word = words.get(1).copied().unwrap_or_default();
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(word.get(..PREVIEW).unwrap_or(word));
    text.extend_from_slice(format!("'. Try {} HELP.", container.command.name).as_bytes());
    text
}

/// Writes the error reply for `e`.
pub(crate) fn refuse(reply: &mut Reply<'_>, e: &Error) {
    match e {
        Error::WrongType => reply.error(WRONG_TYPE),
        Error::Reply(text) => reply.error_bytes(text.as_bytes()),
        Error::Again(e) | Error::Engine(e) => reply.error(&engine_refusal(e)),
    }
}

/// What a client is told when the world fails.
fn engine_refusal(e: &forgekv_engine::Error) -> String {
    use forgekv_engine::Error as E;
    match e {
        E::NoSpace | E::LogFailed(_) => format!("MISCONF Errors writing to disk: {e}"),
        E::Closed => "ERR the server is shutting down".into(),
        other => {
            tracing::error!("a command failed: {other}");
            format!("ERR storage: {other}")
        }
    }
}
