//! What is done with a command that was executed: it is counted and shown to those who watch, and its reply
//! taken back if the client wants none.

use crate::commands::Flags;
use crate::observe::{Executed, Source};
use crate::road::{Settings, Words};
use crate::session::{Replies, Session};
use crate::worker::Worker;
use forgekv_base::clock;
use std::sync::atomic::Ordering::Relaxed;

/// A command as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) words: &'a [&'a [u8]],
    /// How many bytes it took on the wire.
    pub(super) bytes: usize,
}

/// Counts a command that was executed, and shows it to those who watch; returns the time.
#[inline]
pub(super) fn account(
    worker: &Worker,
    session: &mut Session,
    request: Request<'_>,
    output: &[u8],
    mark: usize,
    since_us: u64,
    settings: &Settings,
) -> u64 {
    let command = session.client.command.load(Relaxed) as usize;
    let now_us = clock::monotonic_us();
    let failed = output.get(mark) == Some(&b'-');
    let is_counted = std::mem::take(&mut session.error_is_counted);
    if failed && !is_counted {
        worker.stats.error(output.get(mark..).unwrap_or_default());
    }
    let nanos = (now_us - since_us) * 1000;
    let track = settings.config.latency_tracking;
    worker.stats.call(command, nanos, failed, track);
    let Some(entry) = worker.server.table.get(command) else { return now_us };
    // An operator may just have changed them.
    let changed = entry.flags.has(Flags::OPERATOR).then(|| worker.settings());
    let thresholds = changed.as_deref().map_or(&settings.thresholds, |now| &now.thresholds);
    // What a script runs is shown behind it, what EXEC runs before it.
    let shows_first = !session.nested.is_empty() && !entry.flags.has(Flags::QUEUE);
    let mut executed = Executed {
        entry,
        words: request.words,
        db: session.db,
        micros: now_us - since_us,
        request_bytes: request.bytes as u64,
        reply_bytes: (output.len() - mark) as u64,
        source: Source::Client,
        is_shown: false,
    };
    if shows_first {
        worker.server.observe.show_at_once(&worker.server, session, &mut executed);
    }
    if !session.nested.is_empty() {
        account_nested(worker, session, settings);
    }
    worker.server.observe.executed(&worker.server, session, thresholds, &executed);
    now_us
}

/// Counts the commands that EXEC or a script has run, and shows them to those who watch.
#[cold]
fn account_nested(worker: &Worker, session: &mut Session, settings: &Settings) {
    let server = &worker.server;
    for nested in std::mem::take(&mut session.nested) {
        let failed = !nested.error.is_empty();
        let track = settings.config.latency_tracking;
        match nested.rejected {
            false => worker.stats.call(nested.command, nested.nanos, failed, track),
            true => worker.stats.rejected(nested.command),
        }
        if failed {
            worker.stats.error(&nested.error);
        }
        let (Some(entry), Some(kept)) = (server.table.get(nested.command), nested.kept) else {
            continue;
        };
        let words: Words<'_> = kept.words.iter().map(Vec::as_slice).collect();
        let executed = Executed {
            entry,
            words: &words,
            db: kept.db,
            micros: nested.nanos / 1000,
            request_bytes: 0,
            reply_bytes: 0,
            source: kept.source,
            is_shown: false,
        };
        server.observe.executed(server, session, &settings.thresholds, &executed);
    }
}

/// Takes a reply back that the client does not want (CLIENT REPLY).
#[inline]
pub(super) fn silence(session: &mut Session, output: &mut Vec<u8>, mark: usize) {
    let was_pushed = std::mem::take(&mut session.was_pushed);
    match session.replies {
        Replies::On => return,
        Replies::Off => {}
        Replies::SkipNext => session.replies = Replies::Skip,
        Replies::Skip => session.replies = Replies::On,
    }
    if !was_pushed {
        output.truncate(mark);
    }
}
