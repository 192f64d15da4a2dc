//! The road of every command: look up, gates, view, handler, commit, effects.
//!
//! ```text
//!   words ── look up ── gates ── lock the shards of the keys ── view ── handler ── commit ── effects ── reply
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
//! EXEC and scripts are commands that run others inside their own view: [`nested`].
//!
//! A reply is written straight into the connection's output. What an attempt wrote that did not come to
//! its end is taken back.

mod attempt;
mod elsewhere;
pub(crate) mod embedded;
mod gate;
pub(crate) mod nested;
mod serve;

pub(crate) use attempt::{Blocked, Ended};
pub(crate) use elsewhere::{Job, run_reserved};
pub(crate) use nested::{Scope, Told};
pub(crate) use serve::serve;

use crate::commands::{Args, Flags, Handler};
use crate::config::Config;
use crate::effects::Effects;
use crate::info::WorkerStats;
use crate::observe::Thresholds;
use crate::pause::Paused;
use crate::server::Shared;
use crate::session::Session;
use crate::table::keyspec::Positions;
use crate::table::{Entry, KeyPlan};
use crate::transaction::Queued;
use attempt::{Call, Host, attempt, survey};
use forgekv_data::{ELSEWHERE, Error, Key, Limits, PREPARE, Read, Store, WRONG_TYPE};
use forgekv_engine::{Batch, Error as EngineError, Loads, ShardSet};
use forgekv_resp::{Proto, Reply};
use gate::{Passed, gate};
use smallvec::SmallVec;
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
    pub(crate) thresholds: Thresholds,
}

impl Settings {
    pub(crate) fn of(config: &Arc<Config>) -> Settings {
        Settings {
            config: config.clone(),
            limits: config.limits(),
            thresholds: Thresholds::of(config),
        }
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
    pub(crate) why: EngineError,
    pub(crate) loads: Loads,
    pub(crate) shards: ShardSet,
    pub(crate) once: Once,
    /// The command's number.
    pub(crate) command: usize,
    /// What of it has been done and must not be done again.
    pub(crate) told: Told,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    /// The reply is written.
    Done(Done),
    /// A gate refused; the error is written.
    Refused,
    /// It is queued for EXEC, and the client is told so.
    Queued,
    /// It has to wait until CLIENT PAUSE has ended. Nothing has happened yet.
    Paused,
    /// Nothing has happened yet.
    Again(Box<Again>),
    /// Nothing has happened yet, and the command wants a thread of its own.
    Long { shards: ShardSet, once: Once, command: usize, told: Told },
    /// It found nothing and waits; `None` when it has waited before and goes on.
    Waits(Option<Box<Blocked>>),
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
    /// Large values that were deleted, whose elements are left to the background.
    pub(crate) left_large: u64,
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
    /// Lets time pass before it says OK.
    Sleep(Duration),
    /// Waits for an answer that nobody announces.
    Until(Pending),
    /// Runs work that waits for the disk; the reply is what it returns.
    Work(Box<dyn FnOnce(Proto) -> Vec<u8> + Send>),
}

/// An answer that comes by itself.
pub(crate) struct Pending {
    /// The answer, once there is one; one there has to be when the time is over.
    pub(crate) look: Box<dyn FnMut(bool) -> Option<Vec<u8>> + Send>,
    /// When the time is over, as [`monotonic_us`](forgekv_base::clock::monotonic_us) counts.
    pub(crate) deadline_us: Option<u64>,
}

/// What an admin command sees: session and server, and the data only if its entry asks for it.
pub(crate) struct Admin<'a, 'e> {
    pub(crate) session: &'a mut Session,
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) entry: &'a Entry,
    pub(crate) now_ms: u64,
    /// A view of the declared shards, for entries marked `.sees_data()`.
    pub(crate) data: Option<&'a mut Read<'e>>,
    /// Messages that it publishes.
    pub(crate) effects: &'a mut Effects,
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
    let passed = gate(turn, session, words, known.command);
    if let (Some(paused), Ok(Passed::Run(entry) | Passed::Queue(entry))) =
        (turn.server.pause.now(), &passed)
        && stops(paused, entry, words, session, turn.server)
    {
        return Outcome::Paused;
    }
    let entry = match passed {
        Ok(Passed::Run(entry)) => entry,
        Ok(Passed::Queue(entry)) => return queue(turn, session, entry, words, out),
        Err(refusal) => {
            Reply::new(out, session.proto).error_bytes(&refusal);
            return Outcome::Refused;
        }
    };
    session.client.command.store(entry.known_as as u32, Relaxed);
    if session.tracking.is_some() {
        session.begin_tracked(entry);
    }
    let once = Once { now_ms: turn.now_ms, random_seed };
    let keys = match (entry.plan, known.place) {
        (KeyPlan::One { first }, Some(place)) => {
            words.get(first).map(|&name| Key { name, place }).into_iter().collect()
        }
        _ => keys(entry, words, turn.store.place_seed()),
    };
    let mut shards = shards(entry, words, &keys);
    let mut is_long = entry.flags.has(Flags::LONG);
    if entry.flags.has(Flags::QUEUE) {
        shards.0 |= session.shards_of_transaction().0;
        is_long = session.multi.as_ref().is_some_and(|multi| multi.is_long());
    }
    if is_long && !matches!(entry.command.handler, Handler::Admin(_)) {
        return Outcome::Long { shards, once, command: entry.id, told: Told::default() };
    }
    let again = Before { shards, loads: Loads::default(), once, told: Told::default() };
    run(turn, session, entry, words, &keys, again, batch, out)
}

/// Whether CLIENT PAUSE stops this command.
#[cold]
fn stops<W: AsRef<[u8]>>(
    paused: Paused,
    entry: &Entry,
    words: &[W],
    session: &Session,
    server: &Shared,
) -> bool {
    fn may_write<W: AsRef<[u8]>>(server: &Shared, entry: &Entry, words: &[W]) -> bool {
        match entry.command.handler {
            Handler::Write(_) => true,
            Handler::Wait(_) => !entry.flags.has(Flags::ONLY_READS),
            Handler::Compound(_) if entry.flags.has(Flags::ONLY_READS) => false,
            Handler::Compound(_) if entry.flags.has(Flags::SCRIPT) => {
                let what = words.get(1).map(AsRef::as_ref).unwrap_or_default();
                !server.scripts.promises_no_writes(&entry.name, what)
            }
            Handler::Compound(_) => !entry.flags.has(Flags::QUEUE),
            Handler::Read(_) | Handler::Admin(_) | Handler::Container => {
                entry.flags.has(Flags::MAY_REPLICATE)
            }
        }
    }
    let queued = session.multi.as_ref().filter(|_| entry.flags.has(Flags::QUEUE));
    paused == Paused::Everything
        || may_write(server, entry, words)
        || queued.is_some_and(|multi| {
            multi.commands().iter().any(|queued| {
                let entry = server.table.get(queued.command);
                entry.is_some_and(|entry| may_write(server, entry, &queued.words))
            })
        })
}

/// Keeps a command for EXEC.
fn queue(
    turn: &Turn<'_>,
    session: &mut Session,
    entry: &Entry,
    words: &[&[u8]],
    out: &mut Vec<u8>,
) -> Outcome {
    let keys = keys(entry, words, turn.store.place_seed());
    let queued = Queued::new(entry, words, shards(entry, words, &keys));
    if let Some(multi) = &mut session.multi {
        multi.push(queued);
        session.client.queued.store(multi.len() as i64, Relaxed);
        session.client.queued_bytes.store(multi.bytes() as u64, Relaxed);
    }
    Reply::new(out, session.proto).simple("QUEUED");
    Outcome::Queued
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
    let Again { shards, loads, once, told, .. } = again;
    run(turn, session, entry, words, &keys, Before { shards, loads, once, told }, batch, out)
}

/// An attempt at a command that waits and was asked to try.
pub(crate) fn try_again(
    turn: &Turn<'_>,
    session: &mut Session,
    (command, words): (usize, &[&[u8]]),
    batch: &mut Batch,
    random_seed: u64,
    out: &mut Vec<u8>,
) -> Outcome {
    let Some(entry) = turn.server.table.get(command) else {
        return Outcome::Done(Done::default());
    };
    let once = Once { now_ms: turn.now_ms, random_seed };
    let keys = keys(entry, words, turn.store.place_seed());
    let shards = shards(entry, words, &keys);
    let before = Before { shards, loads: Loads::default(), once, told: Told::default() };
    run(turn, session, entry, words, &keys, before, batch, out)
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

/// What earlier attempts have left for the next.
struct Before {
    shards: ShardSet,
    loads: Loads,
    once: Once,
    told: Told,
}

#[expect(clippy::too_many_arguments, reason = "the one place where all of an attempt meets")]
#[inline]
fn run(
    turn: &Turn<'_>,
    session: &mut Session,
    entry: &Entry,
    words: &[&[u8]],
    keys: &[Key<'_>],
    before: Before,
    batch: &mut Batch,
    out: &mut Vec<u8>,
) -> Outcome {
    let Before { shards, loads, once, mut told } = before;
    if let Handler::Admin(handler) = entry.command.handler
        && !entry.flags.has(Flags::SEES_DATA)
    {
        let mut effects = Effects::default();
        let mut admin = Admin {
            session,
            server: turn.server,
            store: turn.store,
            settings: turn.settings,
            entry,
            now_ms: once.now_ms,
            data: None,
            effects: &mut effects,
            then: None,
        };
        let proto = admin.session.proto;
        let mut reply = Reply::new(out, proto);
        let mark = reply.mark();
        let mut args = arguments(entry, words, keys, turn.store.place_seed());
        let result = handler(&mut admin, &mut args, &mut reply);
        let then = admin.then;
        if let Err(e) = result {
            reply.rewind(mark);
            refuse(&mut reply, &e);
        } else if !effects.is_empty() {
            let lsn = turn.store.engine().log_appended();
            effects.publish(turn.server, &turn.settings.config, lsn);
        }
        return then.map_or(Outcome::Done(Done::default()), Outcome::Then);
    }
    let command = entry.id;
    let guard = match turn.store.engine().lock(shards, loads) {
        Ok(guard) => guard,
        Err((why, loads)) => {
            return Outcome::Again(Box::new(Again { why, loads, shards, once, command, told }));
        }
    };
    let call = Call {
        entry,
        words,
        keys,
        db: session.db,
        limits: &turn.settings.limits,
        settings: Some(turn.settings),
        server: Some(turn.server),
        once,
    };
    let mut reply = Reply::new(out, session.proto);
    let host = Host { session, told: &mut told };
    let attempt = match entry.command.handler {
        Handler::Admin(_) => survey(turn.store, &call, host, guard, &mut reply),
        _ => attempt(turn.store, &call, Some(host), guard, batch, &mut reply),
    };
    match attempt {
        Ok(Ended::Done(done)) => Outcome::Done(done),
        Ok(Ended::Waits(blocked)) => Outcome::Waits(blocked),
        Err((EngineError::Busy(PREPARE | ELSEWHERE), _)) => {
            // It is asked for again by the run that can wait for it.
            drop(turn.store.preparations(once.random_seed));
            Outcome::Long { shards, once, command, told }
        }
        Err((why, loads)) => {
            Outcome::Again(Box::new(Again { why, loads, shards, once, command, told }))
        }
    }
}

fn arguments<'a>(
    entry: &'a Entry,
    words: &'a [&'a [u8]],
    keys: &'a [Key<'a>],
    place_seed: u64,
) -> Args<'a> {
    Args::new(&entry.name, words, entry.name_words, keys, place_seed)
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

/// Writes the error reply for `e`.
pub(crate) fn refuse(reply: &mut Reply<'_>, e: &Error) {
    match e {
        Error::WrongType => reply.error(WRONG_TYPE),
        Error::Reply(text) => reply.error_bytes(text.as_bytes()),
        Error::Again(e) | Error::Engine(e) => reply.error(&engine_refusal(e)),
    }
}

/// What a client is told when the world fails.
fn engine_refusal(e: &EngineError) -> String {
    use EngineError as E;
    match e {
        E::NoSpace | E::LogFailed(_) => format!("MISCONF Errors writing to disk: {e}"),
        E::Closed => "ERR the server is shutting down".into(),
        other => {
            tracing::error!("a command failed: {other}");
            format!("ERR storage: {other}")
        }
    }
}
