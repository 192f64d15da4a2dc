//! The gates: may this client call this now?

use super::Turn;
use crate::acl::Context;
use crate::commands::{Flags, Handler, args::wrong_number};
use crate::session::Session;
use crate::table::{Entry, Named};
use std::borrow::Cow;

/// What the gates have let through.
pub(super) enum Passed<'t> {
    /// It runs now.
    Run(&'t Entry),
    /// It runs at EXEC.
    Queue(&'t Entry),
}

/// Asks all gates, in Redis's order. A refusal inside MULTI dooms the transaction.
#[inline]
pub(super) fn gate<'t>(
    turn: &'t Turn<'_>,
    session: &mut Session,
    words: &[&[u8]],
    known: Option<usize>,
) -> Result<Passed<'t>, Cow<'static, [u8]>> {
    let passed = ask(turn, session, words, known);
    let Some(multi) = &mut session.multi else { return passed.map(Passed::Run) };
    match passed {
        Ok(entry) if entry.flags.has(Flags::UNQUEUED) => Ok(Passed::Run(entry)),
        Ok(entry) => Ok(Passed::Queue(entry)),
        Err(refusal) if refusal.starts_with(ABORTED) => {
            session.end_transaction(turn.server);
            Err(refusal)
        }
        Err(refusal) => {
            multi.is_doomed = true;
            Err(refusal)
        }
    }
}

#[inline]
fn ask<'t>(
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
    match refusal(turn, session, entry, words) {
        None => Ok(entry),
        Some(refusal) => {
            turn.stats.rejected(entry.known_as);
            if entry.flags.has(Flags::QUEUE) {
                return Err(aborted_because(&refusal).into());
            }
            Err(refusal)
        }
    }
}

/// Why `entry` may not be called now.
#[inline]
fn refusal(
    turn: &Turn<'_>,
    session: &Session,
    entry: &Entry,
    words: &[&[u8]],
) -> Option<Cow<'static, [u8]>> {
    if !entry.takes(words.len()) || matches!(entry.command.handler, Handler::Container) {
        return Some(wrong_number(&entry.name).into_bytes().into());
    }
    let config = &turn.settings.config;
    let is_local = session.client.is_local;
    if entry.flags.has(Flags::DEBUG) && !config.enable_debug_command.allows(is_local) {
        return Some(DEBUG_REFUSED.as_bytes().into());
    }
    if session.must_authenticate(&turn.server.acl) && !entry.flags.has(Flags::NO_AUTH) {
        return Some(NOAUTH.as_bytes().into());
    }
    if session.multi.is_some() && entry.flags.has(Flags::NO_MULTI) {
        return Some(NOT_IN_MULTI.as_bytes().into());
    }
    let context = if session.multi.is_some() { Context::Multi } else { Context::TopLevel };
    if let Err(denied) = turn.server.may(session, entry, words, context, turn.now_ms) {
        // At which keys SORT may look is asked when it runs.
        let is_queued = session.multi.is_some() && !entry.flags.has(Flags::UNQUEUED);
        if denied.reason().is_some() || !is_queued {
            let name = turn.server.table.known_name(entry);
            return Some(denied.reply(session.user.name(), name, context).into());
        }
    }
    if session.only_subscribes() && !entry.flags.has(Flags::SUBSCRIBER) {
        return Some(only_subscribes(&entry.name).into_bytes().into());
    }
    let grows = entry.flags.has(Flags::GROWS)
        || entry.flags.has(Flags::QUEUE) && session.multi.as_ref().is_some_and(|m| m.grows());
    if grows && config.is_below_floor() {
        return Some(OOM.as_bytes().into());
    }
    if let Some(text) = turn.server.scripts.busy()
        && !entry.flags.has(Flags::ALLOW_BUSY)
    {
        return Some(text.as_bytes().into());
    }
    None
}

const NOAUTH: &str = "NOAUTH Authentication required.";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const NOT_IN_MULTI: &str = "ERR Command not allowed inside a transaction";
fn only_subscribes(name: &str) -> String {
    format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context"
    )
}

const DEBUG_REFUSED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is \
     set to \"local\", you can run it from a local connection, otherwise you need to set this option \
     in the configuration file, and then restart the server.";

/// How much of a client's words an error repeats.
const PREVIEW: usize = 128;

pub(super) fn unknown_command(words: &[&[u8]]) -> Vec<u8> {
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

pub(super) fn unknown_subcommand(container: &Entry, words: &[&[u8]]) -> Vec<u8> {
    let word = words.get(1).copied().unwrap_or_default();
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(word.get(..PREVIEW).unwrap_or(word));
    text.extend_from_slice(format!("'. Try {} HELP.", container.command.name).as_bytes());
    text
}

/// With this begins the refusal of an EXEC, which ends its transaction.
const ABORTED: &[u8] = b"EXECABORT Transaction discarded because of: ";

/// What EXEC answers when it is refused itself.
fn aborted_because(refusal: &[u8]) -> Vec<u8> {
    let mut text = ABORTED.to_vec();
    text.extend_from_slice(refusal.strip_prefix(b"ERR ").unwrap_or(refusal));
    text
}
