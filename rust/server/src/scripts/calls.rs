//! What a script reaches: commands, run in the view of the command that runs the script.
//!
//! On an event loop a script has little time; then it is dropped and runs again on a thread of its own.
//! When a command finds its data on disk, the run is only *scouting* from there on: commands that miss
//! answer nil, so that what comes later is asked for too, and nothing of it counts. So a script that
//! reads ten thousand cold keys runs twice or three times, not ten thousand times.

use super::Scripts;
use super::running::Running;
use crate::acl::Context;
use crate::commands::{Flags as CommandFlags, Handler};
use crate::road::Scope;
use crate::session::Nested;
use crate::table::{Entry, Named};
use forgekv_base::clock;
use forgekv_data::Error;
use forgekv_engine::Error as EngineError;
use forgekv_resp::{Proto, Reply};
use forgekv_script::{Called, Host, Stop};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// So long a script may run on an event loop.
const LOOP_US: u64 = 5000;
/// So many commands a scouting run goes on for.
const SCOUT_CALLS: u32 = 20_000;
/// And so long.
const SCOUT_US: u64 = 5000;

/// Why a run was stopped.
#[derive(Debug)]
pub(crate) enum Why {
    /// It has to be run again.
    Again(EngineError),
    /// It takes longer than an event loop has.
    Long,
    Killed,
    /// The server ends.
    Ending,
}

/// What a script may do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct May {
    pub(crate) write: bool,
    /// Write when memory is short.
    pub(crate) grow: bool,
}

/// Scouting: since when, and for how many more calls.
struct Scouting {
    why: EngineError,
    until_us: u64,
    calls: u32,
}

/// The host of one run.
pub(crate) struct Calls<'c, 's, 'e> {
    pub(crate) scope: &'c mut Scope<'s, 'e>,
    scripts: Arc<Scripts>,
    may: May,
    /// Where it may run long.
    running: Option<Arc<Running>>,
    busy_after_us: u64,
    until_us: u64,
    scouting: Option<Scouting>,
    /// Numbers for the answers of admin commands.
    remember: usize,
    why: Option<Why>,
}

impl<'c, 's, 'e> Calls<'c, 's, 'e> {
    pub(crate) fn new(
        scope: &'c mut Scope<'s, 'e>,
        may: May,
        running: Option<Arc<Running>>,
    ) -> Calls<'c, 's, 'e> {
        let now_us = clock::monotonic_us();
        let config = &scope.settings.config;
        let busy_after_us = now_us.saturating_add(config.busy_reply_threshold.saturating_mul(1000));
        // Inside EXEC the positions of its commands are taken.
        let remember = scope.remember.map_or(0, |position| (position + 1) << 32);
        Calls {
            scripts: scope.server.scripts.clone(),
            scope,
            may,
            running,
            busy_after_us,
            until_us: now_us + LOOP_US,
            scouting: None,
            remember,
            why: None,
        }
    }

    /// Why the run was stopped, or must be run again although it came to its end.
    pub(crate) fn end(self) -> Option<Why> {
        if let Some(running) = &self.running {
            self.scripts.end(running);
        }
        match self.scouting {
            Some(scouting) => Some(Why::Again(scouting.why)),
            None => self.why,
        }
    }

    fn stop(&mut self, why: Why) -> Stop {
        self.why.get_or_insert(why);
        Stop
    }

    /// Why a script may not call this, or `None`.
    fn refusal(&self, entry: &Entry, words: &[&[u8]]) -> Option<String> {
        let flags = entry.flags;
        if !entry.takes(words.len()) || matches!(entry.command.handler, Handler::Container) {
            return Some("ERR Wrong number of args calling Redis command from script".into());
        }
        if flags.has(CommandFlags::NOSCRIPT) && !self.scripts.may_all.load(Relaxed) {
            return Some(NOT_ALLOWED.into());
        }
        // What EXEC cannot run would wait here for the shards that the script holds.
        if flags.has(CommandFlags::NO_MULTI) {
            return Some(NOT_ALLOWED.into());
        }
        if matches!(entry.command.handler, Handler::Compound(_)) {
            return Some(NOT_ALLOWED.into());
        }
        let server = self.scope.server;
        let now_ms = self.scope.once.now_ms;
        if let Err(denied) = server.may(&*self.scope.session, entry, words, Context::Lua, now_ms) {
            let reply = denied.reply(self.scope.session.user.name(), &entry.name, Context::Lua);
            return Some(String::from_utf8_lossy(&reply).into_owned());
        }
        if blocks(entry, words) {
            return Some(format!(
                "ERR {} command is not allowed with BLOCK option from scripts",
                entry.name
            ));
        }
        if !self.may.write && is_write(entry) {
            return Some("ERR Write commands are not allowed from read-only scripts.".into());
        }
        if flags.has(CommandFlags::GROWS)
            && !self.may.grow
            && self.scope.settings.config.is_below_floor()
            && self.scope.view.staged() == 0
        {
            return Some(OOM.into());
        }
        None
    }

    fn run(
        &mut self,
        entry: &Entry,
        words: &[&[u8]],
        resp3: bool,
        reply: &mut Vec<u8>,
    ) -> Result<Called, Stop> {
        let is_admin = matches!(entry.command.handler, Handler::Admin(_));
        if is_admin {
            if self.scouting.is_some() {
                // It would be done, not only tried.
                return Err(Stop);
            }
            self.remember += 1;
            self.scope.remember = Some(self.remember);
        }
        let proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
        self.scope.session.proto = proto;
        let staged = self.scope.view.staged();
        let result = self.scope.call(entry, words, &mut Reply::new(reply, proto));
        match result {
            Ok(()) => {
                if let Some(running) = &self.running
                    && is_write(entry)
                    && self.scope.view.staged() != staged
                {
                    running.wrote.store(true, Relaxed);
                }
                Ok(Called)
            }
            Err(Error::Again(EngineError::Miss)) => {
                let now_us = clock::monotonic_us();
                self.scouting.get_or_insert(Scouting {
                    why: EngineError::Miss,
                    until_us: now_us + SCOUT_US,
                    calls: SCOUT_CALLS,
                });
                Reply::new(reply, proto).null();
                Ok(Called)
            }
            Err(Error::Again(EngineError::Busy(forgekv_data::ELSEWHERE)))
                if self.scouting.is_none() =>
            {
                Err(self.stop(Why::Long))
            }
            Err(Error::Again(why)) => Err(self.stop(Why::Again(why))),
            // A nested call writes other errors as its answer.
            Err(e) => {
                crate::road::refuse(&mut Reply::new(reply, proto), &e);
                Ok(Called)
            }
        }
    }
}

pub(crate) const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";

/// Whether a command is one that writes.
pub(crate) fn is_write(entry: &Entry) -> bool {
    match entry.command.handler {
        Handler::Write(_) => true,
        Handler::Wait(_) => !entry.flags.has(CommandFlags::ONLY_READS),
        _ => matches!(entry.command.name, "PUBLISH" | "SPUBLISH"),
    }
}

/// Whether a stream is asked to wait.
fn blocks(entry: &Entry, words: &[&[u8]]) -> bool {
    if !matches!(entry.command.name, "XREAD" | "XREADGROUP") {
        return false;
    }
    let mut options = words.iter().skip(1).take_while(|w| !w.eq_ignore_ascii_case(b"STREAMS"));
    options.any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
}

impl Host for Calls<'_, '_, '_> {
    fn call(&mut self, words: &[&[u8]], resp3: bool, reply: &mut Vec<u8>) -> Result<Called, Stop> {
        if let Some(scouting) = &mut self.scouting {
            scouting.calls = scouting.calls.checked_sub(1).ok_or(Stop)?;
        }
        let server = self.scope.server;
        let entry = match server.table.find(words) {
            Named::Found(entry) => entry,
            Named::Unknown | Named::UnknownSubcommand(_) => {
                Reply::new(reply, Proto::Resp2)
                    .error("ERR Unknown Redis command called from script");
                self.scope.session.nested.push(Nested::unknown(reply));
                return Ok(Called);
            }
        };
        if let Some(refusal) = self.refusal(entry, words) {
            Reply::new(reply, Proto::Resp2).error(&refusal);
            self.scope.session.nested.push(Nested::rejected(entry.known_as, reply));
            return Ok(Called);
        }
        self.run(entry, words, resp3, reply)
    }

    fn tick(&mut self) -> Result<(), Stop> {
        let now_us = clock::monotonic_us();
        if self.scouting.as_ref().is_some_and(|scouting| now_us > scouting.until_us) {
            return Err(Stop);
        }
        let Some(running) = self.running.clone() else {
            return if now_us > self.until_us { Err(self.stop(Why::Long)) } else { Ok(()) };
        };
        if running.is_killed.load(Relaxed) && !running.wrote.load(Relaxed) {
            return Err(self.stop(Why::Killed));
        }
        if self.scripts.stopping.load(Relaxed) {
            return Err(self.stop(Why::Ending));
        }
        if now_us > self.busy_after_us {
            self.scripts.becomes_busy(&running);
        }
        Ok(())
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        if self.scouting.is_none() {
            log(level, message);
        }
    }

    fn acl_check(&mut self, words: &[&[u8]]) -> Option<bool> {
        match self.scope.server.table.find(words) {
            // The number of words is not what it asks for.
            Named::Found(entry) => Some(self.scope.session.user.may(entry, words).is_ok()),
            _ => None,
        }
    }

    // Every write goes through the log, and there are no replicas.
    fn set_repl(&mut self, _: u8) {}
}

/// `redis.log`.
pub(crate) fn log(level: u8, message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    match level {
        0 => tracing::debug!("script: {text}"),
        1 | 2 => tracing::info!("script: {text}"),
        _ => tracing::warn!("script: {text}"),
    }
}
