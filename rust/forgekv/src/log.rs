//! The log, in the form that readers of Redis's logs know: `pid:M day month year time mark text`.
//!
//! It goes to standard output, or to `logfile`. The file is opened for every line, so a log
//! rotation that renames it needs to tell nobody. [`Levels`] changes what is logged from now on.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use forgekv_server::config::{Config, LogLevel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::local_time;

/// The rank of the least important level that is logged; 0: nothing.
#[derive(Clone, Default)]
pub(crate) struct Levels(Arc<AtomicU8>);

impl Levels {
    /// Logs what is at least as important as `level`.
    pub(crate) fn set(&self, level: LogLevel) {
        self.0.store(most(level), Relaxed);
    }

    fn wants(&self, level: &Level) -> bool {
        rank(level) <= self.0.load(Relaxed)
    }
}

/// Writes every event that the level lets through.
struct Log {
    levels: Levels,
    file: Option<PathBuf>,
}

/// The more important, the smaller.
fn rank(level: &Level) -> u8 {
    match *level {
        Level::ERROR | Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

fn most(level: LogLevel) -> u8 {
    match level {
        LogLevel::Nothing => 0,
        LogLevel::Warning => 1,
        LogLevel::Notice => 2,
        LogLevel::Verbose => 3,
        LogLevel::Debug => 4,
    }
}

fn mark(level: &Level) -> char {
    match rank(level) {
        1 => '#',
        2 => '*',
        3 => '-',
        _ => '.',
    }
}

impl Log {
    fn write(&self, line: &str) -> io::Result<()> {
        match &self.file {
            Some(path) => {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                file.write_all(line.as_bytes())
            }
            None => io::stdout().lock().write_all(line.as_bytes()),
        }
    }
}

/// The message of an event and what else it says, on one line.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String can't fail.
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }
}

fn line(level: &Level, text: &Text) -> String {
    let mut line = format!(
        "{}:M {} {} {}{}",
        std::process::id(),
        local_time::stamp(forgekv_base::clock::now_us()),
        mark(level),
        text.message,
        text.fields
    );
    // One event is one line: nobody can forge another one by what is quoted in it.
    if line.contains(['\n', '\r']) {
        line = line.replace('\n', "\\n").replace('\r', "\\r");
    }
    line.push('\n');
    line
}

impl<S: Subscriber> Layer<S> for Log {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The answer changes with CONFIG SET loglevel, so it is asked every time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.levels.wants(metadata.level())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = line(event.metadata().level(), &text);
        if let Err(why) = self.write(&line) {
            // Better said on the wrong stream than not at all.
            eprint!("{line}");
            eprintln!("(the log can't be written: {why})");
        }
    }
}

/// Starts logging as `config` says. An error if `logfile` can't be written.
pub(crate) fn start(config: &Config) -> Result<Levels, String> {
    let levels = Levels::default();
    levels.set(config.loglevel);
    let file = (!config.logfile.is_empty()).then(|| config.path(&config.logfile));
    let log = Log { levels: levels.clone(), file };
    if let Some(path) = &log.file {
        log.write("")
            .map_err(|why| format!("Can't open the log file {}: {why}", path.display()))?;
    }
    let subscriber = tracing_subscriber::registry().with(log);
    tracing::subscriber::set_global_default(subscriber).map_err(|why| why.to_string())?;
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn lines_follow_the_level_and_the_file() {
        let dir = std::env::temp_dir().join(format!("forgekv-log-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = Config {
            dir: dir.to_string_lossy().into_owned(),
            logfile: "server.log".into(),
            ..Config::default()
        };
        let levels = start(&config).unwrap();
        let path = dir.join("server.log");

        tracing::info!(shard = 3, "one");
        tracing::debug!("hidden");
        fs::rename(&path, dir.join("rotated.log")).unwrap();
        tracing::warn!("two\nforged");
        levels.set(LogLevel::Warning);
        tracing::info!("hidden");
        levels.set(LogLevel::Debug);
        tracing::trace!("{}", "three");

        let first = fs::read_to_string(dir.join("rotated.log")).unwrap();
        assert!(first.starts_with(&format!("{}:M ", std::process::id())), "{first}");
        assert!(first.ends_with(" * one shard=3\n"), "{first}");
        let second = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = second.lines().collect();
        assert!(lines[0].ends_with(" # two\\nforged"), "{second}");
        assert!(lines[1].ends_with(" . three"), "{second}");
        assert_eq!(lines.len(), 2);
        fs::remove_dir_all(dir).unwrap();
    }
}
