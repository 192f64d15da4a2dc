//! Commands inside a command: what EXEC and scripts run in their own view.
//!
//! They share its clock, its locks and its batch, so all of them happen or none. A command that fails has
//! staged nothing; those before it stay.

use super::attempt::uses_keys;
use super::{Admin, Once, Settings, Then, arguments, keys, refuse};
use crate::acl::Context;
use crate::commands::{Flags, Handler};
use crate::effects::Effects;
use crate::observe::Source;
use crate::server::Shared;
use crate::session::{KeptCommand, Nested, Session};
use crate::table::Entry;
use forgekv_base::clock;
use forgekv_data::{ELSEWHERE, Error, Result, Store, Write};
use forgekv_engine::Error as EngineError;
use forgekv_resp::{Proto, Reply};
use std::collections::HashMap;
use std::sync::Arc;

/// What a command sees that runs others.
pub(crate) struct Scope<'s, 'e> {
    pub(crate) server: &'s Arc<Shared>,
    pub(crate) store: &'e Store,
    pub(crate) settings: &'e Settings,
    /// Whose command it is. A script has it act as itself: its own database, RESP2.
    pub(crate) session: &'s mut Session,
    pub(crate) view: &'s mut Write<'e>,
    /// Messages that are published.
    pub(crate) effects: &'s mut Effects,
    pub(super) told: &'s mut Told,
    /// Under this number an admin command's answer is kept for later attempts.
    pub(crate) remember: Option<usize>,
    /// Whether a command was run that makes the data larger.
    pub(super) grows: bool,
    /// Where the commands come from that are run.
    pub(super) source: Source,
    pub(crate) once: Once,
}

/// The answers of an EXEC's or a script's admin commands, by their number: what acts on the session or the server
/// is done once, however often the whole is put back.
#[derive(Debug, Default)]
pub(crate) struct Told(HashMap<usize, Answered>);

#[derive(Debug, Clone)]
struct Answered {
    /// What was asked: a script that is run again on other data may ask something else.
    words: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    db: u32,
    proto: Proto,
    /// The user may not call it.
    is_refused: bool,
}

impl Scope<'_, '_> {
    /// Whether this runs where it may wait for the disk, and for long.
    pub(crate) fn may_wait(&mut self) -> bool {
        self.view.guard().may_wait()
    }

    /// Runs one command, whose arity was checked, and writes its reply, an error too.
    ///
    /// # Errors
    /// `Again`: the whole has to be run again.
    pub(crate) fn call(
        &mut self,
        entry: &Entry,
        words: &[&[u8]],
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let began_us = clock::monotonic_us();
        let mark = reply.mark();
        let db = self.session.db;
        let result = match entry.command.handler {
            Handler::Admin(_) => self.admin(entry, words, reply),
            _ => self.on_data(entry, words, reply),
        };
        if let Err(e) = result {
            reply.rewind(mark);
            if matches!(e, Error::Again(_)) {
                return Err(e);
            }
            refuse(reply, &e);
        }
        let failed = reply.since(mark).first() == Some(&b'-');
        let nanos = (clock::monotonic_us() - began_us) * 1000;
        let error = if failed { reply.since(mark).to_vec() } else { Vec::new() };
        let kept = self.server.observe.wants(&self.settings.thresholds, nanos / 1000).then(|| {
            let source = self.source;
            KeptCommand { words: owned(words), db, source }
        });
        self.session.nested.push(Nested {
            command: entry.known_as,
            nanos,
            error,
            kept,
            rejected: false,
        });
        Ok(())
    }

    /// Whether the user may still call a queued command; if not, the reply is written. However often the
    /// whole is put back, a refusal is logged once, and stays.
    pub(crate) fn may(&mut self, entry: &Entry, words: &[&[u8]], reply: &mut Reply<'_>) -> bool {
        if self.session.user.may_all() {
            return true;
        }
        if let Some(answered) = self.answered(words) {
            if answered.is_refused {
                reply.raw(&answered.bytes);
            }
            return !answered.is_refused;
        }
        let now_ms = self.once.now_ms;
        match self.server.may(self.session, entry, words, Context::Multi, now_ms) {
            Ok(()) => true,
            Err(denied) => {
                let mark = reply.mark();
                reply.error_bytes(&denied.exec_reply());
                self.remember(Answered {
                    words: owned(words),
                    bytes: reply.since(mark).to_vec(),
                    db: self.session.db,
                    proto: self.session.proto,
                    is_refused: true,
                });
                false
            }
        }
    }

    fn on_data(&mut self, entry: &Entry, words: &[&[u8]], reply: &mut Reply<'_>) -> Result<()> {
        if entry.flags.has(Flags::LONG) && !self.may_wait() {
            return Err(EngineError::Busy(ELSEWHERE).into());
        }
        let place_seed = self.store.place_seed();
        let keys = keys(entry, words, place_seed);
        let mut args = arguments(entry, words, &keys, place_seed);
        let savepoint = self.view.savepoint();
        self.view.answer_script(self.source == Source::Script);
        let result = match entry.command.handler {
            Handler::Read(handler) => handler(self.view, &mut args, reply),
            Handler::Write(handler) => handler(self.view, &mut args, reply),
            Handler::Wait(handler) => handler(self.view, &mut args, reply).map(|wait| {
                // Nothing comes while this holds the shards.
                if let Some(wait) = wait {
                    wait.nil.write(reply);
                }
            }),
            Handler::Compound(handler) => {
                let source = std::mem::replace(&mut self.source, Source::Script);
                let result = handler(self, &mut args, reply);
                self.source = source;
                result
            }
            Handler::Admin(_) | Handler::Container => Err(args.wrong_number()),
        };
        match result {
            Ok(()) => {
                self.grows |= entry.flags.has(Flags::GROWS);
                if uses_keys(entry, Some(self.session)) {
                    self.view.note_uses(&keys);
                }
                if self.session.tracking.is_some() {
                    self.session.note_read(self.view, entry, &keys);
                }
            }
            Err(_) => self.view.roll_back(savepoint),
        }
        result
    }

    fn admin(&mut self, entry: &Entry, words: &[&[u8]], reply: &mut Reply<'_>) -> Result<()> {
        if let Some(answered) = self.answered(words) {
            reply.raw(&answered.bytes);
            self.session.set_proto(answered.proto);
            reply.set_proto(answered.proto);
            self.select(answered.db);
            return Ok(());
        }
        let Handler::Admin(handler) = entry.command.handler else { return Ok(()) };
        if entry.flags.has(Flags::ALL_SHARDS) {
            self.view.require_all()?;
        }
        let mark = reply.mark();
        let place_seed = self.store.place_seed();
        let keys = keys(entry, words, place_seed);
        let mut args = arguments(entry, words, &keys, place_seed);
        let may_wait = self.may_wait();
        let mut effects = Effects::default();
        let mut admin = Admin {
            session: self.session,
            server: self.server,
            store: self.store,
            settings: self.settings,
            entry,
            now_ms: self.once.now_ms,
            data: entry.flags.has(Flags::SEES_DATA).then_some(&mut **self.view),
            effects: &mut effects,
            then: None,
        };
        let result = handler(&mut admin, &mut args, reply);
        let then = admin.then;
        match then {
            None | Some(Then::Close) => {}
            // Nothing waits inside a transaction or a script.
            Some(Then::Until(mut pending)) => {
                reply.raw(&(pending.look)(true).unwrap_or_default());
            }
            // What takes its time does so where that holds nobody up but those who want these shards.
            Some(_) if !may_wait => return Err(EngineError::Busy(ELSEWHERE).into()),
            Some(Then::Sleep(time)) => {
                std::thread::sleep(time);
                reply.ok();
            }
            Some(Then::Work(work)) => reply.raw(&work(self.session.proto)),
        }
        if let Err(e) = result {
            if matches!(e, Error::Again(_)) {
                return Err(e);
            }
            reply.rewind(mark);
            refuse(reply, &e);
        }
        let (db, proto) = (self.session.db, self.session.proto);
        // Messages leave after the commit: they are dropped with an attempt, and told by the next.
        if effects.is_empty() {
            let (words, bytes) = (owned(words), reply.since(mark).to_vec());
            self.remember(Answered { words, bytes, db, proto, is_refused: false });
        }
        self.effects.append(effects);
        reply.set_proto(proto);
        self.select(db);
        Ok(())
    }

    /// Looks into another database from here on.
    pub(crate) fn select(&mut self, db: u32) {
        self.session.select(db);
        if self.view.db() != db {
            self.view.switch_db(db);
        }
    }

    fn answered(&self, words: &[&[u8]]) -> Option<Answered> {
        self.told.0.get(&self.remember?).filter(|answered| answered.words == words).cloned()
    }

    fn remember(&mut self, answered: Answered) {
        let Some(at) = self.remember else { return };
        self.told.0.insert(at, answered);
    }
}

fn owned(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}
