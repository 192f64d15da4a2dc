//! The logs of remarkable commands: the slow ones (SLOWLOG), and with COMMANDLOG also those with a large
//! request or a large reply.

use crate::config::Config;
use crate::session::Client;
use forgekv_base::clock;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Words of a command that are kept, the note on those left out included.
const MAX_WORDS: usize = 32;
/// Bytes of a word that are kept.
const MAX_WORD: usize = 128;

/// Why a command is remarkable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Slow,
    LargeRequest,
    LargeReply,
}

impl Kind {
    /// By its name in COMMANDLOG.
    pub(crate) fn named(word: &[u8]) -> Option<Kind> {
        match word.to_ascii_lowercase().as_slice() {
            b"slow" => Some(Kind::Slow),
            b"large-request" => Some(Kind::LargeRequest),
            b"large-reply" => Some(Kind::LargeReply),
            _ => None,
        }
    }

    /// How many commands its log holds.
    pub(super) fn max_len(self, config: &Config) -> u64 {
        match self {
            Kind::Slow => config.slowlog_max_len,
            Kind::LargeRequest => config.commandlog_large_request_max_len,
            Kind::LargeReply => config.commandlog_large_reply_max_len,
        }
    }
}

/// A remarkable command.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// Counts up; never used twice in a log.
    pub(crate) id: u64,
    /// When it was done, in Unix seconds.
    pub(crate) unix_s: u64,
    /// Microseconds, or bytes.
    pub(crate) figure: u64,
    /// Long ones shortened.
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) client_name: Vec<u8>,
}

#[derive(Debug, Default)]
struct Log {
    next_id: u64,
    newest_first: VecDeque<Logged>,
}

/// The logs.
#[derive(Debug, Default)]
pub(crate) struct CommandLog {
    slow: Mutex<Log>,
    large_request: Mutex<Log>,
    large_reply: Mutex<Log>,
}

impl CommandLog {
    fn log(&self, kind: Kind) -> &Mutex<Log> {
        match kind {
            Kind::Slow => &self.slow,
            Kind::LargeRequest => &self.large_request,
            Kind::LargeReply => &self.large_reply,
        }
    }

    /// Adds a command; the oldest go until there are no more than `max_len`.
    pub(super) fn add(
        &self,
        kind: Kind,
        figure: u64,
        words: &[&[u8]],
        client: &Client,
        max_len: u64,
    ) {
        let mut logged = Logged {
            id: 0,
            unix_s: clock::now_us() / 1_000_000,
            figure,
            words: shortened(words),
            address: client.address.clone(),
            client_name: client.names.lock().name.clone(),
        };
        let mut log = self.log(kind).lock();
        logged.id = log.next_id;
        log.next_id += 1;
        log.newest_first.push_front(logged);
        log.newest_first.truncate(usize::try_from(max_len).unwrap_or(usize::MAX));
    }

    /// The newest, no more than `count`.
    pub(crate) fn newest(&self, kind: Kind, count: usize) -> Vec<Logged> {
        self.log(kind).lock().newest_first.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.log(kind).lock().newest_first.len()
    }

    pub(crate) fn clear(&self, kind: Kind) {
        self.log(kind).lock().newest_first.clear();
    }
}

fn shortened(words: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if words.len() > MAX_WORDS { MAX_WORDS - 1 } else { words.len() };
    let mut short: Vec<Vec<u8>> = words
        .iter()
        .take(kept)
        .map(|word| match word.split_at_checked(MAX_WORD) {
            Some((head, rest)) if !rest.is_empty() => {
                [head, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
            }
            _ => word.to_vec(),
        })
        .collect();
    if kept < words.len() {
        short.push(format!("... ({} more arguments)", words.len() - kept).into_bytes());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_shortened() {
        let many: Vec<&[u8]> = vec![b"a"; 33];
        let short = shortened(&many);
        assert_eq!((short.len(), short[31].as_slice()), (32, &b"... (2 more arguments)"[..]));
        assert_eq!(shortened(&many[..32]).len(), 32);
        assert_eq!(shortened(&many[..32])[31], b"a");
        let long = [b'x'; 130];
        assert_eq!(shortened(&[&long])[0], [&long[..128], b"... (2 more bytes)"].concat());
        assert_eq!(shortened(&[&long[..128]])[0], &long[..128]);
    }

    #[test]
    fn kinds_have_names() {
        assert_eq!(Kind::named(b"SLOW"), Some(Kind::Slow));
        assert_eq!(Kind::named(b"large-reply"), Some(Kind::LargeReply));
        assert_eq!(Kind::named(b"large"), None);
    }
}
