//! How far a long work has come, for who watches it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// So often a terminal is told.
const EVERY: Duration = Duration::from_millis(500);

/// Tells a terminal of keys and bytes; anything else is told nothing until the end.
pub(crate) struct Progress {
    started: Instant,
    told: Option<Instant>,
    is_terminal: bool,
    /// All bytes, if that is known.
    total: Option<u64>,
}

impl Progress {
    pub(crate) fn new(total: Option<u64>) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        Progress { started: Instant::now(), told: None, is_terminal, total }
    }

    /// So much is done.
    pub(crate) fn tell(&mut self, keys: u64, bytes: u64) {
        if self.is_terminal && self.told.is_none_or(|told| told.elapsed() > EVERY) {
            self.told = Some(Instant::now());
            let of = self.total.map_or(String::new(), |total| format!(" of {}", megabytes(total)));
            let line =
                format!("\r{keys} keys, {}{of}, {}\x1b[K", megabytes(bytes), self.rate(keys));
            // That a terminal went away is no reason to stop.
            let mut terminal = std::io::stderr().lock();
            if terminal.write_all(line.as_bytes()).and_then(|()| terminal.flush()).is_err() {
                self.is_terminal = false;
            }
        }
    }

    /// All is done: what and how fast, as a sentence's end.
    pub(crate) fn end(&mut self, keys: u64, bytes: u64) -> String {
        self.clear();
        let seconds = self.started.elapsed().as_secs_f64();
        format!("{keys} keys, {} in {seconds:.1} s, {}", megabytes(bytes), self.rate(keys))
    }

    /// Nothing more is told; the line is given back.
    pub(crate) fn clear(&mut self) {
        if self.told.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }

    fn rate(&self, keys: u64) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        format!("{:.0} keys/s", keys as f64 / seconds)
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
