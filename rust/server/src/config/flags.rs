//! The command line, as redis-server reads its own: a file, then `--name value …` for any
//! directive, then `-` for more lines on standard input.
//!
//! Flags are read after the file and win over it. Nothing here knows a directive but by the table.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::directive::Role;
use super::file::{ConfigError, Loaded, Loader, Place};
use super::table;
use super::value::Kind;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run the server.
    Serve(Startup),
    /// Print the version.
    Version,
    /// Print how to call it.
    Help,
    /// Examine a data directory.
    Check(Vec<OsString>),
    /// Load an RDB file into a data directory.
    Import(Vec<OsString>),
    /// Write a data directory as an RDB file.
    Export(Vec<OsString>),
}

/// Where the configuration comes from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// Whether lines follow on standard input.
    pub stdin: bool,
    /// Directives given as flags: the name without `--`, and its arguments.
    pub flags: Vec<Vec<Vec<u8>>>,
}

impl Invocation {
    /// Reads the arguments that follow the program's name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, ConfigError> {
        let args: Vec<OsString> = args.into_iter().collect();
        match args.first().map(|arg| arg.as_bytes()) {
            Some(b"-v" | b"--version") => return Ok(Invocation::Version),
            Some(b"-h" | b"--help") => return Ok(Invocation::Help),
            Some(b"check") => return Ok(Invocation::Check(args[1..].to_vec())),
            Some(b"import") => return Ok(Invocation::Import(args[1..].to_vec())),
            Some(b"export") => return Ok(Invocation::Export(args[1..].to_vec())),
            _ => {}
        }
        let mut startup = Startup::default();
        let mut args = args.into_iter().peekable();
        if let Some(file) = args.next_if(|arg| !arg.as_bytes().starts_with(b"-")) {
            startup.file = Some(file.into());
        }
        while let Some(arg) = args.next() {
            let Some(name) = arg.as_bytes().strip_prefix(b"--").filter(|name| !name.is_empty())
            else {
                if arg == "-" && args.peek().is_none() {
                    startup.stdin = true;
                    continue;
                }
                return Err(misplaced(&arg));
            };
            let mut words = match name.iter().position(|b| *b == b'=') {
                Some(at) => vec![name[..at].to_vec(), name[at + 1..].to_vec()],
                None => vec![name.to_vec()],
            };
            let is_value = |arg: &OsString| !arg.as_bytes().starts_with(b"--") && arg != "-";
            while let Some(value) = args.next_if(is_value) {
                words.push(value.into_vec());
            }
            if !words[0].eq_ignore_ascii_case(b"config") {
                startup.flags.push(words);
                continue;
            }
            let (2, None) = (words.len(), &startup.file) else {
                return Err(ConfigError(
                    "Reading the command line\n>>> '--config'\none configuration file is to be \
                     named: forgekv FILE or forgekv --config FILE"
                        .into(),
                ));
            };
            startup.file = words.pop().map(|file| OsString::from_vec(file).into());
        }
        Ok(Invocation::Serve(startup))
    }
}

fn misplaced(arg: &OsString) -> ConfigError {
    ConfigError(format!(
        "Reading the command line\n>>> '{}'\nnot a flag: call forgekv [FILE] [--name value ...] [-]",
        arg.to_string_lossy()
    ))
}

impl Startup {
    /// Reads it all; `stdin` is read if `-` was given.
    pub fn load(&self, stdin: &mut dyn Read) -> Result<Loaded, ConfigError> {
        let mut loader = Loader::default();
        let mut path = None;
        if let Some(file) = &self.file {
            loader.file(file)?;
            let found = std::path::absolute(file);
            path = Some(found.map_err(|why| {
                ConfigError(format!("can't find config file '{}': {why}", file.display()))
            })?);
        }
        if self.stdin {
            let mut text = Vec::new();
            stdin.read_to_end(&mut text).map_err(|why| {
                ConfigError(format!("can't read the configuration from standard input: {why}"))
            })?;
            loader.text(&text, &Place::Stdin)?;
        }
        for words in &self.flags {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            loader.directive(&words, Place::Flag)?;
        }
        let (config, warnings) = loader.finish()?;
        Ok(Loaded { config, warnings, path })
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Usage: forgekv [/path/to/forgekv.conf] [options] [-]
       forgekv --config /path/to/forgekv.conf [options]
       forgekv - (read the configuration from standard input)
       forgekv check /path/to/dir [--repair] (examine a data directory)
       forgekv -v or --version
       forgekv -h or --help

Examples:
       forgekv (run the server with default values)
       echo 'maxmemory 128mb' | forgekv -
       forgekv /etc/redis/redis.conf
       forgekv --port 7777
       forgekv forgekv.conf --wal_sync_mode Always --dir /data

Every directive is also an option, with its arguments after it:
",
    );
    for row in table::rows().filter(|row| matches!(row.role, Role::Live { .. })) {
        let takes = match row.kind {
            Kind::Bool => "yes|no".to_owned(),
            Kind::Choice(names) => names.join("|"),
            Kind::Bytes(..) => "<bytes>[kb|mb|gb]".to_owned(),
            Kind::Int(..) | Kind::Clamped(..) | Kind::Octal(_) => "<number>".to_owned(),
            kind if kind.takes_words() => "<word> ...".to_owned(),
            _ => "<text>".to_owned(),
        };
        text += &format!("       --{} {takes}\n", row.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, ConfigError> {
        Invocation::parse(line.split_whitespace().map(OsString::from))
    }

    fn load(line: &str, stdin: &str) -> Result<Loaded, ConfigError> {
        match parse(line)? {
            Invocation::Serve(startup) => startup.load(&mut stdin.as_bytes()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn asks_for_one_thing() {
        assert_eq!(parse("--version"), Ok(Invocation::Version));
        assert_eq!(parse("-v"), Ok(Invocation::Version));
        assert_eq!(parse("-h"), Ok(Invocation::Help));
        assert_eq!(parse("check /data"), Ok(Invocation::Check(vec!["/data".into()])));
        assert_eq!(parse(""), Ok(Invocation::Serve(Startup::default())));
        assert!(help().contains("--wal_sync_mode Always|EverySecond|Never\n"));
    }

    #[test]
    fn flags_are_directives() {
        let loaded = load("--port 7000 --bind 127.0.0.1 ::1 --save --loglevel debug", "").unwrap();
        assert_eq!(loaded.config.port, 7000);
        assert_eq!(loaded.config.bind, ["127.0.0.1", "::1"]);
        assert_eq!(loaded.config.loglevel.name(), "debug");
        assert_eq!(loaded.path, None);
        let loaded = load("--list-max-listpack-size -1 --requirepass=--secret", "").unwrap();
        assert_eq!(loaded.config.list_max_listpack_size, -1);
        assert_eq!(loaded.config.requirepass, b"--secret");
    }

    #[test]
    fn flags_win_over_standard_input() {
        let loaded = load("--port 7000 -", "port 1\nmaxclients 5\n").unwrap();
        assert_eq!((loaded.config.port, loaded.config.maxclients), (7000, 5));
        let error = load("-", "port 1\nporrt 2").unwrap_err().to_string();
        assert!(error.contains("standard input, at line 2\n>>> 'porrt 2'\n"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, text) in [
            ("--port", "Reading the command line\n>>> 'port'\nwrong number of arguments"),
            ("--port abc", ">>> 'port abc'\nargument couldn't be parsed into an integer"),
            ("--prot 1", "did you mean 'port'?"),
            ("- --port 1", ">>> '-'\nnot a flag"),
            ("-p 1", ">>> '-p'\nnot a flag"),
            ("a.conf --config b.conf", "one configuration file is to be named"),
            ("--config", "one configuration file is to be named"),
            ("--config /nowhere/a.conf", "can't open config file '/nowhere/a.conf'"),
            ("--requirepass a b", ">>> 'requirepass (redacted)'"),
            ("--replicaof 127.0.0.1 6379", "replication is not supported"),
        ] {
            let error = load(line, "").unwrap_err().to_string();
            assert!(error.starts_with("\n*** FATAL CONFIG FILE ERROR"), "{error}");
            assert!(error.contains(text), "{line}: {error}");
        }
    }
}
