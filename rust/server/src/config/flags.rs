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
use forgekv_base::split_args::split_args;

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
            if arg == "-" && args.peek().is_none() {
                startup.stdin = true;
                continue;
            }
            let name = match arg.as_bytes() {
                [b'-', b'-', name @ ..] if !name.is_empty() => name,
                [b'-', ..] | [] => return Err(misplaced(&arg)),
                // Not how it is done, but Redis takes the first one so, too.
                name if startup.flags.is_empty() => name,
                _ => return Err(misplaced(&arg)),
            };
            let mut words = words_of(name).ok_or_else(|| misplaced(&arg))?;
            let is_flag = |arg: &OsString| arg.as_bytes().starts_with(b"--");
            let is_stdin = |arg: &OsString| arg == "-";
            // What follows a name is its value, whatever it looks like; `save` alone may have none.
            let may_be_alone = words[0].eq_ignore_ascii_case(b"save");
            if words.len() == 1
                && let Some(value) =
                    args.next_if(|arg| !(is_stdin(arg) || may_be_alone && is_flag(arg)))
            {
                words.push(value.into_vec());
            }
            while let Some(value) = args.next_if(|arg| !is_flag(arg) && !is_stdin(arg)) {
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

/// The words of a flag's name: `port`, `port=7000` and `port 7000` in one are all known.
fn words_of(name: &[u8]) -> Option<Vec<Vec<u8>>> {
    let words = split_args(name).filter(|words| !words.is_empty())?;
    Some(match words.as_slice() {
        [one] => match one.iter().position(|b| *b == b'=') {
            Some(at) => vec![one[..at].to_vec(), one[at + 1..].to_vec()],
            None => words,
        },
        _ => words,
    })
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
        let loaded =
            load("--port 7001 --save --save --unixsocket --s --requirepass --x --hz 20", "");
        let config = loaded.unwrap().config;
        assert_eq!((config.port, config.hz, config.unixsocket.as_str()), (7001, 20, "--s"));
        assert_eq!(config.requirepass, b"--x");
        let one = Invocation::parse(["--port 7002", "--loglevel 'debug'"].map(OsString::from));
        let Ok(Invocation::Serve(startup)) = one else { panic!("{one:?}") };
        let config = startup.load(&mut &b""[..]).unwrap().config;
        assert_eq!((config.port, config.loglevel.name()), (7002, "debug"));
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
            ("--port abc", ">>> 'port \"abc\"'\nargument couldn't be parsed into an integer"),
            ("--prot 1", "did you mean 'port'?"),
            ("- --port 1", ">>> '-'\nnot a flag"),
            ("-p 1", ">>> '-p'\nnot a flag"),
            ("a.conf --config b.conf", "one configuration file is to be named"),
            ("--config", "one configuration file is to be named"),
            ("--config /nowhere/a.conf", "can't open config file '/nowhere/a.conf'"),
            ("--requirepass a b", ">>> 'requirepass (redacted)'"),
            ("--replicaof 127.0.0.1 6379", "replication is not supported"),
            ("--replicaof 127.0.0.1 abc", "'replicaof \"127.0.0.1\" \"abc\"'\nInvalid master port"),
            ("--replicaof 127.0.0.1", "wrong number of arguments"),
            ("--port --loglevel verbose", "'port \"--loglevel\" \"verbose\"'\nwrong number of"),
            ("--port 7000 - 1", "'-'\nnot a flag"),
            ("--shutdown-on-sigint", "'shutdown-on-sigint'\nargument(s) must be one of"),
        ] {
            let error = load(line, "").unwrap_err().to_string();
            assert!(error.starts_with("\n*** FATAL CONFIG FILE ERROR"), "{error}");
            assert!(error.contains(text), "{line}: {error}");
        }
    }
}
