//! One attempt at a command on the data: view, handler, commit, effects.

use super::serve::{is_worth_a_try, refusal};
use super::{Admin, Done, Once, Settings, arguments, refuse};
use crate::commands::{Flags, Handler, args::wrong_number};
use crate::effects::Effects;
use crate::observe::Source;
use crate::road::{Scope, Told};
use crate::server::Shared;
use crate::session::{Moment, Session};
use crate::table::Entry;
use crate::waiting::{Answer, Wait, Waiter};
use forgekv_base::clock;
use forgekv_data::{Error, Event, Key, Limits, Read, Store, Surroundings};
use forgekv_engine::{Batch, Error as EngineError, Guard, Loads, ShardSet};
use forgekv_resp::Reply;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::oneshot;

/// A command on the data, ready to run.
pub(super) struct Call<'w, 'e> {
    pub(super) entry: &'w Entry,
    pub(super) words: &'w [&'w [u8]],
    pub(super) keys: &'w [Key<'w>],
    pub(super) db: u32,
    pub(super) limits: &'e Limits,
    /// Absent where there is no server.
    pub(super) settings: Option<&'e Settings>,
    pub(super) server: Option<&'w Arc<Shared>>,
    pub(super) once: Once,
}

impl<'e> Call<'_, 'e> {
    /// To be asked for when the shards are held: see [`crate::interest`].
    fn around(&self, store: &Store) -> Surroundings<'e> {
        Surroundings {
            now_ms: self.once.now_ms,
            db: self.db,
            limits: self.limits,
            random_seed: self.once.random_seed,
            place_seed: store.place_seed(),
            events: match (self.server, self.settings) {
                (Some(server), Some(settings)) => server.events(&settings.config),
                _ => 0,
            },
            interest: self.server.map_or_else(ShardSet::default, |s| s.interest.shards()),
        }
    }
}

/// Whose command it is.
pub(super) struct Host<'h> {
    pub(super) session: &'h mut Session,
    /// What of an EXEC has been done and must not be done again.
    pub(super) told: &'h mut Told,
}

/// A client that has begun to wait.
pub(crate) struct Blocked {
    pub(crate) waiter: Arc<Waiter>,
    /// What somebody else answers for it.
    pub(crate) answer: oneshot::Receiver<Answer>,
    /// When it has waited long enough, as [`clock::monotonic_us`] counts.
    pub(crate) deadline_us: Option<u64>,
}

/// How an attempt ended that needs no other.
pub(crate) enum Ended {
    /// The reply is written.
    Done(Done),
    /// The command found nothing and waits; `None` when it has waited before and goes on.
    Waits(Option<Box<Blocked>>),
}

/// The error is what keeps the command from being answered now.
pub(super) type Attempt = Result<Ended, (EngineError, Loads)>;

/// What a command did whose changes are committed.
pub(super) struct Performed {
    pub(super) done: Done,
    /// What is to be told, if anything.
    pub(super) effects: Option<Box<Effects>>,
    /// It found nothing and is ready to wait.
    pub(super) waits: Option<Wait>,
}

/// View, handler, commit, effects.
#[inline]
pub(super) fn attempt<'e>(
    store: &'e Store,
    call: &Call<'_, 'e>,
    mut host: Option<Host<'_>>,
    guard: Guard<'e>,
    batch: &mut Batch,
    reply: &mut Reply<'_>,
) -> Attempt {
    let mark = reply.mark();
    let guard = match &mut host {
        Some(host) if host.session.waiter.is_some() => {
            match look_again(store, call, host.session, guard, reply) {
                Ok(guard) => guard,
                Err(ended) => return Ok(ended),
            }
        }
        _ => guard,
    };
    let inner = host.as_mut().map(|host| Host { session: host.session, told: host.told });
    let runs_others = matches!(call.entry.command.handler, Handler::Compound(_));
    let moment = inner.as_ref().filter(|_| runs_others).map(|host| host.session.moment());
    let (guard, mut performed) = perform(store, call, inner, guard, batch, reply);
    if let (Some(host), Some(moment)) = (&mut host, moment) {
        after_others(call, host.session, moment, performed.as_ref().err());
    }
    if let Some(host) = &mut host
        && host.session.tracking.is_some()
        && let (Some(server), Some(settings)) = (call.server, call.settings)
    {
        let reads = std::mem::take(&mut host.session.reads);
        let max = settings.config.tracking_table_max_keys;
        match &mut performed {
            Ok(Performed { effects: Some(effects), .. }) => effects.reads = reads,
            Ok(_) => server.tracking.remember(server, host.session.client.id, &reads, max),
            Err(_) => {}
        }
    }
    match performed {
        Ok(Performed { done, effects: None, waits: None }) => Ok(Ended::Done(done)),
        Ok(performed) => Ok(follow_up(store, call, host, guard, performed, reply)),
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
            Ok(Ended::Done(Done { lsn, ..Done::default() }))
        }
    }
}

/// A client that waits was asked to try: whether it still may, and whether there is anything. If not, how
/// the attempt has ended.
#[cold]
fn look_again<'e>(
    store: &'e Store,
    call: &Call<'_, 'e>,
    session: &mut Session,
    guard: Guard<'e>,
    reply: &mut Reply<'_>,
) -> Result<Guard<'e>, Ended> {
    let (Some(server), Some(waiter)) = (call.server, session.waiter.clone()) else {
        return Ok(guard);
    };
    if let Some(bytes) = refusal(server, &waiter, call.once.now_ms) {
        reply.raw(&bytes);
        return Err(Ended::Done(Done { lsn: guard.seen(), ..Done::default() }));
    }
    let (guard, is_worth) = is_worth_a_try(store, guard, call.limits, call.once, &waiter);
    if is_worth {
        return Ok(guard);
    }
    go_on_waiting(server, session);
    Err(Ended::Waits(None))
}

/// With the shards still held, so that what comes next finds it waiting; false if it does not wait.
fn go_on_waiting(server: &Shared, session: &mut Session) -> bool {
    let Some(waiter) = &session.waiter else { return false };
    if let Some(sender) = session.right_to_answer.take() {
        server.waiting.go_on(waiter, sender);
    }
    true
}

/// Has the session note what was read, if its client is told of changes.
#[inline]
fn note_read(call: &Call<'_, '_>, host: Option<Host<'_>>, view: &mut Read<'_>) {
    if let Some(host) = host.filter(|host| host.session.tracking.is_some()) {
        host.session.note_read(view, call.entry, call.keys);
    }
}

/// After EXEC or a script: one that is run again, be it that its commit was put back, finds the session as
/// it was; an EXEC that is answered has ended its transaction.
fn after_others(call: &Call<'_, '_>, session: &mut Session, moment: Moment, e: Option<&Error>) {
    if matches!(e, Some(Error::Again(_))) {
        session.go_back(moment);
    } else if call.entry.flags.has(Flags::QUEUE)
        && session.multi.is_some()
        && let Some(server) = call.server
    {
        session.end_transaction(server);
    }
}

/// Tells what is to be told, and enlists who waits, with the shards still held.
fn follow_up<'e>(
    store: &'e Store,
    call: &Call<'_, 'e>,
    host: Option<Host<'_>>,
    mut guard: Guard<'e>,
    performed: Performed,
    reply: &mut Reply<'_>,
) -> Ended {
    let Performed { done, effects, waits } = performed;
    let (Some(server), Some(settings), Some(host)) = (call.server, call.settings, host) else {
        // Without a server nobody listens, and nobody can wait.
        if let Some(wait) = waits {
            wait.nil.write(reply);
        }
        return Ended::Done(done);
    };
    if let Some(effects) = effects {
        let around = call.around(store);
        guard = effects.deliver(server, store, settings, guard, &around, done.lsn);
    }
    let Some(mut wait) = waits else { return Ended::Done(done) };
    let session = host.session;
    if go_on_waiting(server, session) {
        return Ended::Waits(None);
    }
    let words = wait.words.take();
    let words = words.unwrap_or_else(|| call.words.iter().map(|word| word.to_vec()).collect());
    let (waiter, answer) = server.waiting.enlist(
        &server.interest,
        &session.client,
        (call.entry.id, words),
        call.keys,
        (session.db, session.proto),
        &wait,
    );
    drop(guard);
    let deadline_us = (wait.timeout_ms > 0)
        .then(|| clock::monotonic_us().saturating_add(wait.timeout_ms.saturating_mul(1000)));
    session.waiter = Some(waiter.clone());
    Ended::Waits(Some(Box::new(Blocked { waiter, answer, deadline_us })))
}

/// View, handler, commit: gives the shards back with what the command did. On an error nothing is
/// changed, but something of the reply may be written.
#[inline]
pub(super) fn perform<'e>(
    store: &'e Store,
    call: &Call<'_, 'e>,
    host: Option<Host<'_>>,
    guard: Guard<'e>,
    batch: &mut Batch,
    reply: &mut Reply<'_>,
) -> (Guard<'e>, Result<Performed, Error>) {
    let mut args = arguments(call.entry, call.words, call.keys, store.place_seed());
    let around = call.around(store);
    let staged = std::mem::take(batch);
    let by = host.as_ref().map_or(0, |host| host.session.client.id);
    let mut waits = None;
    let mut published = None;
    let mut libraries = None;
    // Short of space, what does not grow goes on.
    let mut grows = call.entry.flags.has(Flags::GROWS);
    let (result, mut parts) = match call.entry.command.handler {
        Handler::Read(handler) => {
            let mut view = store.read(guard, staged, around);
            let result = handler(&mut view, &mut args, reply);
            note_uses(call, host.as_ref(), &view);
            if result.is_ok() {
                note_read(call, host, &mut view);
            }
            (result, view.into_parts())
        }
        Handler::Write(handler) => {
            let mut view = store.write(guard, staged, around);
            let result = handler(&mut view, &mut args, reply);
            note_uses(call, host.as_ref(), &view);
            (result, view.into_parts())
        }
        Handler::Wait(handler) => {
            let mut view = store.write(guard, staged, around);
            let result = handler(&mut view, &mut args, reply).map(|wait| waits = wait);
            note_uses(call, host.as_ref(), &view);
            if result.is_ok() {
                note_read(call, host, &mut view);
            }
            (result, view.into_parts())
        }
        Handler::Compound(handler) => {
            let (Some(server), Some(settings), Some(host)) = (call.server, call.settings, host)
            else {
                *batch = staged;
                let text = format!("ERR '{}' needs a server", call.entry.name);
                return (guard, Err(Error::reply(text)));
            };
            let mut view = store.write(guard, staged, around);
            let mut effects = Effects::default();
            let mut scope = Scope {
                server,
                store,
                settings,
                session: host.session,
                view: &mut view,
                effects: &mut effects,
                told: host.told,
                remember: None,
                grows: false,
                source: if call.entry.flags.has(Flags::QUEUE) {
                    Source::Client
                } else {
                    Source::Script
                },
                once: call.once,
            };
            let result = handler(&mut scope, &mut args, reply);
            grows = scope.grows;
            libraries = effects.libraries.take();
            if !effects.is_empty() {
                published = Some(effects);
            }
            (result, view.into_parts())
        }
        Handler::Admin(_) | Handler::Container => {
            *batch = staged;
            return (guard, Err(Error::reply(wrong_number(&call.entry.name))));
        }
    };
    *batch = parts.batch;
    let mut guard = parts.guard;
    let wrote = !batch.is_empty();
    batch.set_essential(!grows);
    let only_reads = matches!(call.entry.command.handler, Handler::Read(_));
    let (hits, misses) = if only_reads { (parts.hits, parts.misses) } else { (0, 0) };
    let changes = parts.changes;
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
    if let (Ok(_), Some(libraries), Some(server)) = (&result, libraries, call.server) {
        server.scripts.install(libraries);
    }
    if let (Err(e), Some(server), Some(settings)) = (&result, call.server, call.settings)
        && !parts.events.is_empty()
        && !matches!(e, Error::Again(_))
    {
        // It has changed nothing, but found keys missing.
        parts.events.retain(Event::is_miss);
        let events = std::mem::take(&mut parts.events);
        let effects = Effects { events, ..Effects::default() };
        effects.publish(server, &settings.config, guard.seen());
    }
    let performed = result.map(|lsn| {
        let left_large = parts.left_large;
        let done = Done { lsn, expired, left_large, wrote, changes, hits, misses };
        let told = !parts.events.is_empty() || !parts.touched.is_empty() || published.is_some();
        let effects = told.then(|| {
            let published = published.map(|effects| effects.published).unwrap_or_default();
            Box::new(Effects {
                events: parts.events,
                touched: parts.touched,
                published,
                by,
                ..Effects::default()
            })
        });
        Performed { done, effects, waits }
    });
    (guard, performed)
}

/// What a command ran on, it has used, unless it only looks, or its client wants to leave no trace.
#[inline]
fn note_uses(call: &Call<'_, '_>, host: Option<&Host<'_>>, view: &Read<'_>) {
    if uses_keys(call.entry, host.map(|host| &*host.session)) {
        view.note_uses(call.keys);
    }
}

/// Whether a command's keys count as used.
#[inline]
pub(super) fn uses_keys(entry: &Entry, session: Option<&Session>) -> bool {
    let is_quiet = session.is_some_and(|session| session.client.no_touch.load(Relaxed));
    !entry.flags.has(Flags::LOOKS) && (!is_quiet || entry.name == "touch")
}

/// An admin command that asks for a look at the data.
pub(super) fn survey<'e>(
    store: &'e Store,
    call: &Call<'_, 'e>,
    host: Host<'_>,
    guard: Guard<'e>,
    reply: &mut Reply<'_>,
) -> Attempt {
    let mark = reply.mark();
    let (Handler::Admin(handler), Some(server), Some(settings)) =
        (call.entry.command.handler, call.server, call.settings)
    else {
        return Ok(Ended::Done(Done::default()));
    };
    let mut view = store.read(guard, Batch::new(), call.around(store));
    let mut effects = Effects::default();
    let mut admin = Admin {
        session: host.session,
        server,
        store,
        settings,
        entry: call.entry,
        now_ms: call.once.now_ms,
        data: Some(&mut view),
        effects: &mut effects,
        then: None,
    };
    let mut args = arguments(call.entry, call.words, call.keys, store.place_seed());
    let result = handler(&mut admin, &mut args, reply);
    let guard = view.into_parts().guard;
    let done = Done { lsn: guard.seen(), ..Done::default() };
    match result {
        Ok(()) => Ok(Ended::Done(done)),
        Err(Error::Again(why)) => {
            reply.rewind(mark);
            Err((why, guard.into_loads()))
        }
        Err(e) => {
            drop(guard);
            reply.rewind(mark);
            refuse(reply, &e);
            Ok(Ended::Done(done))
        }
    }
}
