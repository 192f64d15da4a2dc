//! How soon the system ends this process when memory is short (`oom-score-adj`).

use crate::config::{Config, OomScoreAdj};
use parking_lot::Mutex;
use std::{fs, io};

const FILE: &str = "/proc/self/oom_score_adj";

/// What the system takes.
const LEAST: i32 = -1000;
const MOST: i32 = 1000;

/// The score, as far as it was changed here.
#[derive(Debug, Default)]
pub(crate) struct OomScore {
    /// What it was before.
    before: Mutex<Option<i32>>,
}

impl OomScore {
    /// Makes the score what `config` says; what it was before, if it says nothing.
    ///
    /// # Errors
    /// A text for the client: only the superuser may lower the score.
    pub(crate) fn apply(&self, config: &Config) -> Result<(), String> {
        self.write(config).map_err(|e| {
            tracing::warn!("the score for being ended when memory is short cannot be set: {e}");
            "Failed to apply new oom_score_adj configuration, check server logs.".into()
        })
    }

    fn write(&self, config: &Config) -> io::Result<()> {
        let mut before = self.before.lock();
        // There is no replica and no child process: the first of the values counts.
        let [own, ..] = config.oom_score_adj_values.0;
        let score = match (config.oom_score_adj, *before) {
            (OomScoreAdj::No, None) => return Ok(()),
            (OomScoreAdj::No, Some(score)) => {
                fs::write(FILE, score.to_string())?;
                *before = None;
                return Ok(());
            }
            (OomScoreAdj::Absolute, _) => own,
            (OomScoreAdj::Yes | OomScoreAdj::Relative, Some(score)) => score.saturating_add(own),
            (OomScoreAdj::Yes | OomScoreAdj::Relative, None) => read()?.saturating_add(own),
        };
        let was = read()?;
        fs::write(FILE, score.clamp(LEAST, MOST).to_string())?;
        before.get_or_insert(was);
        Ok(())
    }
}

fn read() -> io::Result<i32> {
    let text = fs::read_to_string(FILE)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{FILE} holds no number: {text:?}")))
}
