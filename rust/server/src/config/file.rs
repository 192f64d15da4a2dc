//! The configuration file, in the syntax of redis.conf, and everything else that is read like it:
//! standard input and flags.
//!
//! A line is a name and its arguments, quoted as `split_args` says; `#` begins a comment at the
//! start of a line only. Later lines win, but the points of `save` add up until `save ""`. An error
//! names its file, line and remedy and stops the start; what is merely without effect is a
//! warning, one line for each directive.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use forgekv_base::{glob, split_args::split_args};

use super::Config;
use super::directive::{Directive, Role};
use super::table;
use super::value::Kind;

/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// Why the server can't start: a text for the administrator, with file, line and remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub(super) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\n*** FATAL CONFIG FILE ERROR (ForgeKV {}) ***\n{}",
            env!("CARGO_PKG_VERSION"),
            self.0
        )
    }
}

impl std::error::Error for ConfigError {}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What has no effect, one line each.
    pub warnings: Vec<String>,
    /// The file that CONFIG REWRITE may write, absolute.
    pub path: Option<PathBuf>,
}

/// Where a line stands.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// In this file, at this line.
    File(&'a Path, usize),
    /// On standard input.
    Stdin(usize),
    /// On the command line.
    Flag,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path, line) => {
                write!(f, "Reading the configuration file '{}', at line {line}", path.display())
            }
            Place::Stdin(line) => {
                write!(f, "Reading the configuration from standard input, at line {line}")
            }
            Place::Flag => write!(f, "Reading the command line"),
        }
    }
}

impl Place<'_> {
    fn brief(&self) -> String {
        match self {
            Place::File(path, line) => format!("{}:{line}", path.display()),
            Place::Stdin(line) => format!("standard input:{line}"),
            Place::Flag => "command line".into(),
        }
    }
}

/// Reads lines into a [`Config`].
#[derive(Debug, Default)]
pub(super) struct Loader {
    config: Config,
    /// Directives without effect: where they stand last, and what they say.
    ignored: BTreeMap<&'static str, (String, String)>,
    depth: usize,
}

impl Loader {
    /// Reads a file and those that it includes.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read(path).map_err(|why| {
            ConfigError(format!("can't open config file '{}': {why}", path.display()))
        })?;
        self.text(&text, &|line| Place::File(path, line))
    }

    /// Reads `text`, whose lines stand at `place`.
    pub fn text<'p>(
        &mut self,
        text: &[u8],
        place: &dyn Fn(usize) -> Place<'p>,
    ) -> Result<(), ConfigError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            self.line(line, place(at + 1))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: Place<'_>) -> Result<(), ConfigError> {
        let line = line.trim_ascii();
        if matches!(line, [] | [b'#', ..]) {
            return Ok(());
        }
        let args = split_args(line).ok_or_else(|| {
            let first = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            wrong(place, &[first], "Unbalanced quotes in configuration line")
        })?;
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.directive(&args, place)
    }

    /// Takes one directive: its name and its arguments.
    pub fn directive(&mut self, words: &[&[u8]], place: Place<'_>) -> Result<(), ConfigError> {
        let [name, args @ ..] = words else { return Ok(()) };
        let row = table::find(name)
            .ok_or_else(|| wrong(place, words, &unknown(&String::from_utf8_lossy(name))))?;
        if let Role::Include = row.role {
            return self.include(words, place);
        }
        // A list may also be written as one quoted word.
        let split: Vec<&[u8]>;
        let mut args = args;
        if let [one] = args
            && row.kind.takes_words()
            && one.contains(&b' ')
        {
            split = one.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect();
            args = &split;
        }
        let joined = (row.kind == Kind::Save).then(|| self.save_points_with(row, args));
        let joined: Option<Vec<&[u8]>> =
            joined.as_ref().map(|words| words.iter().map(Vec::as_slice).collect());
        row.set(&mut self.config, joined.as_deref().unwrap_or(args))
            .map_err(|why| wrong(place, words, &why))?;
        self.note(row, words, place);
        Ok(())
    }

    /// Points of one line add to those of the lines before; an empty one drops them.
    fn save_points_with(&self, row: &Directive, args: &[&[u8]]) -> Vec<Vec<u8>> {
        if matches!(args, [] | [b""]) {
            return Vec::new();
        }
        let before = row.get(&self.config);
        let before = before.split(|b| *b == b' ').filter(|word| !word.is_empty());
        before.chain(args.iter().copied()).map(<[u8]>::to_vec).collect()
    }

    /// Remembers that a directive has no effect.
    fn note(&mut self, row: &'static Directive, words: &[&[u8]], place: Place<'_>) {
        let why = match row.role {
            Role::Inert { default, why } if row.get(&self.config) != default.as_bytes() => why,
            // Redis's own default: nobody misses anything, so it is only named.
            Role::Inert { .. } => "",
            _ if row.name == "daemonize" && self.config.daemonize => {
                self.config.daemonize = false;
                "the server stays in the foreground; let the service manager or the shell put it \
                 into the background"
            }
            _ => return,
        };
        let text = if why.is_empty() {
            String::new()
        } else {
            format!("{}: '{}' has no effect: {why}", place.brief(), shown(words, false))
        };
        self.ignored.insert(row.name, (place.brief(), text));
    }

    fn include(&mut self, words: &[&[u8]], place: Place<'_>) -> Result<(), ConfigError> {
        let [_, pattern] = words else {
            return Err(wrong(place, words, "wrong number of arguments"));
        };
        let fail = |why: String| wrong(place, words, &why);
        if self.depth == MAX_DEPTH {
            return Err(fail(format!(
                "files include each other more than {MAX_DEPTH} deep: does one include itself?"
            )));
        }
        let pattern = String::from_utf8_lossy(pattern).into_owned();
        let mut files = expand(&pattern).map_err(|why| fail(why.to_string()))?;
        if let (true, Place::File(from, _), true) =
            (files.is_empty(), place, Path::new(&pattern).is_relative())
        {
            // Not in the working directory: beside the file that includes it.
            let beside = from.parent().unwrap_or(Path::new("")).join(&pattern);
            files = expand(&beside.to_string_lossy()).map_err(|why| fail(why.to_string()))?;
        }
        if files.is_empty() && glob::is_literal(pattern.as_bytes()) {
            return Err(fail(format!("can't open config file '{pattern}': no such file")));
        }
        self.depth += 1;
        for file in files {
            self.file(&file)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// What was read, with `dir` made absolute.
    pub fn finish(mut self) -> Result<(Config, Vec<String>), ConfigError> {
        let absolute = |path: &str| {
            std::path::absolute(path)
                .map_err(|why| ConfigError(format!("can't find the directory '{path}': {why}")))
        };
        self.config.dir = absolute(&self.config.dir)?.to_string_lossy().into_owned();
        let (named, other): (Vec<_>, Vec<_>) =
            self.ignored.into_iter().partition(|(_, (_, text))| text.is_empty());
        let mut warnings: Vec<String> = other.into_iter().map(|(_, (_, text))| text).collect();
        if !named.is_empty() {
            let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
            warnings.push(format!(
                "these directives have Redis's default values and no effect here: {}",
                names.join(", ")
            ));
        }
        Ok((self.config, warnings))
    }
}

/// The words as they may be shown: without a secret. Values are quoted where they have to be, or all.
fn shown(words: &[&[u8]], quote_all: bool) -> String {
    let is_secret =
        words.first().and_then(|name| table::find(name)).is_some_and(Directive::is_secret);
    let mut out = String::new();
    for (at, word) in words.iter().enumerate() {
        if at == 1 && is_secret {
            return out + " (redacted)";
        }
        if at > 0 {
            out.push(' ');
        }
        let shown = if quote_all && at > 0 {
            forgekv_base::split_args::quote(word)
        } else {
            word_quoted(word)
        };
        out += &String::from_utf8_lossy(&shown);
    }
    out
}

/// `word` as it can stand in a line.
pub(super) fn word_quoted(word: &[u8]) -> Vec<u8> {
    let is_plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\');
    if word.is_empty() || !word.iter().all(is_plain) || word[0] == b'#' {
        forgekv_base::split_args::quote(word)
    } else {
        word.to_vec()
    }
}

fn wrong(place: Place<'_>, words: &[&[u8]], why: &str) -> ConfigError {
    ConfigError(format!("{place}\n>>> '{}'\n{why}", shown(words, matches!(place, Place::Flag))))
}

fn unknown(name: &str) -> String {
    let near = table::rows()
        .flat_map(Directive::names)
        .map(|known| (distance(&name.to_ascii_lowercase().replace('_', "-"), known), known))
        .min();
    match near {
        Some((far, known)) if far <= 2 && far * 2 < name.len() => {
            format!("Unknown directive '{name}': did you mean '{known}'?")
        }
        _ => format!("Unknown directive '{name}': correct the name or remove the line"),
    }
}

/// How many letters have to be added, removed, changed or swapped with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let change = last[j] + usize::from(a[i] != b[j]);
            let mut best = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The files that `pattern` names, sorted; none when there are none.
fn expand(pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    if glob::is_literal(pattern.as_bytes()) {
        let path = PathBuf::from(pattern);
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    }
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![PathBuf::from(start)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for dir in found {
            if glob::is_literal(part.as_bytes()) {
                next.push(dir.join(part));
                continue;
            }
            let here = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
            if !here.is_dir() {
                continue;
            }
            for entry in fs::read_dir(here)? {
                let name = entry?.file_name();
                let text = name.to_string_lossy();
                let is_hidden = text.starts_with('.') && !part.starts_with('.');
                if !is_hidden && glob::matches(part.as_bytes(), text.as_bytes(), false) {
                    next.push(dir.join(&name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
