//! What is kept of commands for those who watch the server: MONITOR, the logs of slow commands and of
//! large requests and replies, and the latency events.
//!
//! Every command passes [`Observe::executed`] when it is done. While nobody watches and nothing is slow or
//! large, that costs some comparisons with numbers that the worker holds anyway.

mod commandlog;
mod latency;
mod monitors;
mod redact;

pub(crate) use commandlog::{CommandLog, Kind, Logged};
pub(crate) use latency::{Event, Latency, Samples};
pub(crate) use monitors::{Monitors, Source};

use crate::commands::Flags;
use crate::config::Config;
use crate::server::Shared;
use crate::session::Session;
use crate::table::Entry;
use forgekv_base::clock;
use std::sync::Arc;

/// From where on a command is remarkable; taken over from the configuration once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// Microseconds from which a command is slow or an event of latency, whichever is less.
    any_us: u64,
    slow_us: u64,
    latency_us: u64,
    request_bytes: u64,
    reply_bytes: u64,
}

impl Thresholds {
    pub(crate) fn of(config: &Config) -> Thresholds {
        // Never, if negative.
        let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let slow_us = limit(config.slowlog_log_slower_than);
        let latency_us = match config.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1000),
        };
        Thresholds {
            any_us: slow_us.min(latency_us),
            slow_us,
            latency_us,
            request_bytes: limit(config.commandlog_request_larger_than),
            reply_bytes: limit(config.commandlog_reply_larger_than),
        }
    }
}

/// A command that was executed.
pub(crate) struct Executed<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) words: &'a [&'a [u8]],
    /// The database in which it ran.
    pub(crate) db: u32,
    pub(crate) micros: u64,
    pub(crate) request_bytes: u64,
    pub(crate) reply_bytes: u64,
    pub(crate) source: Source,
    /// The monitors have seen it.
    pub(crate) is_shown: bool,
}

/// What there is to see.
#[derive(Debug, Default)]
pub(crate) struct Observe {
    pub(crate) log: CommandLog,
    pub(crate) latency: Latency,
    pub(crate) monitors: Monitors,
}

impl Observe {
    /// Looks at a command that was executed.
    #[inline]
    pub(crate) fn executed(
        &self,
        server: &Arc<Shared>,
        session: &Session,
        thresholds: &Thresholds,
        what: &Executed<'_>,
    ) {
        let remarkable = what.micros >= thresholds.any_us
            || what.request_bytes >= thresholds.request_bytes
            || what.reply_bytes >= thresholds.reply_bytes;
        if remarkable {
            self.note(server, session, thresholds, what);
        }
        if self.monitors.are_there() && !what.is_shown {
            self.show(server, session, what);
        }
    }

    /// Shows a command to the monitors before anything else is.
    pub(crate) fn show_at_once(
        &self,
        server: &Arc<Shared>,
        session: &Session,
        what: &mut Executed<'_>,
    ) {
        if self.monitors.are_there() {
            self.show(server, session, what);
        }
        what.is_shown = true;
    }

    /// Whether the words of a command inside another are worth keeping until that has come to its end.
    pub(crate) fn wants(&self, thresholds: &Thresholds, micros: u64) -> bool {
        micros >= thresholds.any_us || self.monitors.are_there()
    }

    #[cold]
    fn note(
        &self,
        server: &Arc<Shared>,
        session: &Session,
        thresholds: &Thresholds,
        what: &Executed<'_>,
    ) {
        if what.micros >= thresholds.latency_us {
            let is_fast = what.entry.flags.has(Flags::FAST);
            let event = if is_fast { Event::FastCommand } else { Event::Command };
            self.latency.add(event, clock::now_us() / 1_000_000, what.micros / 1000);
        }
        if what.entry.flags.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let config = server.config.current();
        for (kind, figure, limit) in [
            (Kind::Slow, what.micros, thresholds.slow_us),
            (Kind::LargeRequest, what.request_bytes, thresholds.request_bytes),
            (Kind::LargeReply, what.reply_bytes, thresholds.reply_bytes),
        ] {
            if figure >= limit {
                let words = redact::redacted(&what.entry.name, what.words);
                self.log.add(kind, figure, &words, &session.client, kind.max_len(&config));
            }
        }
    }

    /// Shows a command to the monitors, unless it is an operator's.
    #[cold]
    fn show(&self, server: &Arc<Shared>, session: &Session, what: &Executed<'_>) {
        if !what.entry.flags.has(Flags::OPERATOR) {
            let words = redact::redacted(&what.entry.name, what.words);
            self.monitors.show(server, what.db, what.source, &session.client, &words);
        }
    }
}
