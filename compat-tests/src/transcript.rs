//! Transcripts: what clients type and what they must see, as a text that people read and write.
//!
//! ```text
//! # A comment.
//! @test SET with EX gives the key a time to live
//! > SET k v EX 100
//! OK
//! > TTL k
//! ~ \(integer\) (99|100)
//! ```
//!
//! `@test NAME` begins a test; before each the databases are flushed and all connections are new.
//!
//! Steps:
//! ```text
//! > WORDS               the first client sends a command; its reply stands below
//! c2> WORDS             another client does
//! c2>> WORDS            sends, but does not wait
//! c2!> "BYTES"          sends raw bytes, with escapes
//! c2<                   reads one more reply or push; it stands below
//! scan> SCAN ${cursor}  repeats the command until the cursor is 0; all elements, sorted, stand below
//! @repeat 1 100 WORDS   sends the command for each ${i}; none may be refused
//! @let NAME WORDS       what the first client's command answers is ${NAME} from here on (c2: @let NAME c2> WORDS)
//! @resp3 [c2]           says HELLO 3
//! @closed [c2]          the server must have closed this connection
//! @close [c2]           the client closes it
//! @sleep MS             waits
//! @restart              kills our server with -9 and starts it again; connections are new on both
//! @config NAME VALUE    CONFIG SET until the test ends
//! @flags --a b …        this test gets a server of its own, started with these flags
//! @file                 this test gets a server of its own, with a configuration file
//! ```
//!
//! Before a step, for that step (directly below `@test`, for the whole test):
//! ```text
//! @unordered            elements in any order     @pairs        pairs of elements in any order
//! @words                lists of words in any order, however deep
//! @since 7.2            newer than that: not for an older server
//! @ours / @reference    only for ForgeKV / only for redis-server; a comment says why they differ
//! ```
//!
//! An expected line that begins with `~ ` is a regular expression for the whole line; a line `...`
//! stands for all lines from there on. See [`text`](crate::text) for how replies look.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Result;

/// A file of tests.
#[derive(Debug)]
pub struct Transcript {
    /// Where it was read.
    pub path: PathBuf,
    /// Its tests, in order.
    pub tests: Vec<Test>,
    lines: Vec<String>,
}

/// One test.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// Flags of a server of its own.
    pub flags: Vec<String>,
    /// It needs a server with a configuration file.
    pub has_file: bool,
    /// For which servers.
    pub only: Only,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Test {
    /// Whether it can't share a server with others.
    pub fn has_own_server(&self) -> bool {
        self.has_file || !self.flags.is_empty()
    }
}

/// For which servers a step or test is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only {
    /// `@ours`.
    pub ours: bool,
    /// `@reference`.
    pub reference: bool,
    /// `@since`.
    pub since: (u32, u32),
}

/// Order of the elements in a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// As it comes.
    #[default]
    Given,
    /// `@unordered`.
    Any,
    /// `@pairs`.
    Pairs,
    /// `@words`.
    Words,
}

/// One line of a test and the reply below it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its line number, from 1.
    pub line: usize,
    /// What is done.
    pub act: Act,
    /// For which servers.
    pub only: Only,
    /// Order of the reply's elements.
    pub order: Order,
    /// The reply, if this step has one.
    pub expected: Vec<String>,
    /// Where `expected` stands, as indices of lines.
    place: Range<usize>,
}

/// What a step does. Commands are still unexpanded lines.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the module's story explains each")]
pub enum Act {
    Call { client: usize, line: String },
    Send { client: usize, line: String },
    Raw { client: usize, line: String },
    Read { client: usize },
    Scan { client: usize, line: String },
    Repeat { from: i64, to: i64, line: String },
    Let { name: String, client: usize, line: String },
    Resp3 { client: usize },
    Closed { client: usize },
    Close { client: usize },
    Sleep { ms: u64 },
    Restart,
    Config { name: String, value: String },
}

impl Act {
    /// Whether a reply stands below it.
    pub fn has_reply(&self) -> bool {
        matches!(self, Act::Call { .. } | Act::Read { .. } | Act::Scan { .. })
    }

    /// The command that it sends, if any.
    pub fn command(&self) -> Option<&str> {
        match self {
            Act::Call { line, .. }
            | Act::Send { line, .. }
            | Act::Scan { line, .. }
            | Act::Repeat { line, .. }
            | Act::Let { line, .. } => Some(line),
            _ => None,
        }
    }
}

impl Transcript {
    /// All transcripts of this crate, by name; `FAMILY=hash` takes one.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn all() -> Result<Vec<Transcript>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
        let wanted = std::env::var("FAMILY").ok();
        let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<std::io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
        paths.retain(|path| {
            wanted.as_ref().is_none_or(|w| path.file_stem().is_some_and(|s| *s == **w))
        });
        paths.sort();
        paths.iter().map(|path| Transcript::read(path)).collect()
    }

    /// Reads one.
    ///
    /// # Errors
    /// When a line is not understood; says which.
    pub fn read(path: &Path) -> Result<Transcript> {
        let text = fs::read_to_string(path)?;
        Transcript::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Transcript> {
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let mut parser = Parser { tests: Vec::new(), only: Only::default(), order: Order::Given };
        let mut at = 0;
        while at < lines.len() {
            at = parser
                .line(&lines, at)
                .map_err(|e| format!("{}:{}: {e}", path.display(), at + 1))?;
        }
        Ok(Transcript { path: path.to_path_buf(), tests: parser.tests, lines })
    }

    /// The file's name without directory.
    pub fn name(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The file's text with other replies: (line of the step, reply).
    pub fn with_replies(&self, replies: &[(usize, Vec<String>)]) -> String {
        let mut lines = self.lines.clone();
        let mut steps: Vec<&Step> = self.tests.iter().flat_map(|t| &t.steps).collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.line));
        for step in steps {
            if let Some((_, reply)) = replies.iter().find(|(line, _)| *line == step.line) {
                lines.splice(step.place.clone(), reply.iter().cloned());
            }
        }
        lines.join("\n") + "\n"
    }
}

struct Parser {
    tests: Vec<Test>,
    only: Only,
    order: Order,
}

impl Parser {
    /// Takes the line at `at` and what belongs to it; returns where the next begins.
    fn line(&mut self, lines: &[String], at: usize) -> Result<usize> {
        let line = lines[at].trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(at + 1);
        }
        if let Some(directive) = line.strip_prefix('@')
            && self.directive(directive)?
        {
            return Ok(at + 1);
        }
        let act = act(line)?;
        let reply_end = lines[at + 1..]
            .iter()
            .position(|l| !act.has_reply() || begins_a_step(l))
            .map_or(lines.len(), |n| at + 1 + n);
        let place = at + 1..if act.has_reply() { reply_end } else { at + 1 };
        let expected = lines[place.clone()].to_vec();
        let next = place.end.max(at + 1);
        let step = Step {
            line: at + 1,
            act,
            only: std::mem::take(&mut self.only),
            order: std::mem::take(&mut self.order),
            expected,
            place,
        };
        self.test()?.steps.push(step);
        Ok(next)
    }

    /// A directive that is no step; false if it is none of these.
    fn directive(&mut self, line: &str) -> Result<bool> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "test" => {
                let name = rest.trim().to_string();
                if name.is_empty() || self.tests.iter().any(|t| t.name == name) {
                    return Err("a test needs a name of its own".into());
                }
                let only = Only::default();
                self.tests.push(Test {
                    name,
                    flags: Vec::new(),
                    has_file: false,
                    only,
                    steps: Vec::new(),
                });
            }
            "flags" => {
                let flags = rest.split_whitespace().map(str::to_string).collect();
                self.test()?.flags = flags;
            }
            "file" => self.test()?.has_file = true,
            "unordered" => self.order = Order::Any,
            "pairs" => self.order = Order::Pairs,
            "words" => self.order = Order::Words,
            "ours" => self.only.ours = true,
            "reference" => self.only.reference = true,
            "since" => {
                let (major, minor) = rest.split_once('.').ok_or("@since needs a version: 7.2")?;
                self.only.since = (major.parse()?, minor.parse()?);
            }
            _ => return Ok(false),
        }
        // Directly below @test: for the whole test.
        if let Some(test) = self.tests.last_mut()
            && test.steps.is_empty()
            && self.only != Only::default()
            && self.order == Order::Given
            && test.only == Only::default()
            && word != "test"
        {
            test.only = std::mem::take(&mut self.only);
        }
        Ok(true)
    }

    fn test(&mut self) -> Result<&mut Test> {
        self.tests.last_mut().ok_or_else(|| "a step before the first @test".into())
    }
}

/// Whether a line ends the reply above it.
fn begins_a_step(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with(['#', '@']) || prompt(line).is_some()
}

/// Splits `c2>> words` into client, prompt and words.
fn prompt(line: &str) -> Option<(usize, &str, &str)> {
    let digits = line
        .strip_prefix('c')
        .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (client, rest) = match digits {
        0 => (1, line),
        n => (line[1..=n].parse().ok()?, &line[n + 1..]),
    };
    for mark in [">>", "!>", "scan>", ">", "<"] {
        if let Some(words) = rest.strip_prefix(mark)
            && (words.is_empty() || words.starts_with(' '))
        {
            return Some((client, mark, words.trim()));
        }
    }
    None
}

fn act(line: &str) -> Result<Act> {
    if let Some((client, mark, words)) = prompt(line) {
        let line = words.to_string();
        return Ok(match mark {
            ">>" => Act::Send { client, line },
            "!>" => Act::Raw { client, line },
            "scan>" => Act::Scan { client, line },
            "<" => Act::Read { client },
            _ => Act::Call { client, line },
        });
    }
    let not_understood = || format!("not understood: {line}");
    let directive = line.strip_prefix('@').ok_or_else(not_understood)?;
    let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    let rest = rest.trim();
    let client = || rest.strip_prefix('c').map_or(Ok(1), str::parse::<usize>);
    Ok(match word {
        "repeat" => {
            let mut parts = rest.splitn(3, ' ');
            let mut next = || parts.next().ok_or_else(not_understood);
            Act::Repeat { from: next()?.parse()?, to: next()?.parse()?, line: next()?.to_string() }
        }
        "let" => {
            let (name, words) = rest.split_once(' ').ok_or_else(not_understood)?;
            let (client, _, words) = prompt(words).unwrap_or((1, ">", words));
            Act::Let { name: name.to_string(), client, line: words.to_string() }
        }
        "config" => {
            let (name, value) = rest.split_once(' ').ok_or_else(not_understood)?;
            Act::Config { name: name.to_string(), value: value.trim().to_string() }
        }
        "resp3" => Act::Resp3 { client: client()? },
        "closed" => Act::Closed { client: client()? },
        "close" => Act::Close { client: client()? },
        "sleep" => Act::Sleep { ms: rest.parse()? },
        "restart" => Act::Restart,
        _ => return Err(not_understood().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# c\n@test one\n@since 7.2\n> SET k v\nOK\n\n@unordered\nc2> KEYS *\n1) \"k\"\n~ 2\\) .*\n@sleep 5\n> GET k\n";

    #[test]
    fn reads_and_rewrites() {
        let read = Transcript::parse(Path::new("t.txt"), TEXT).unwrap();
        let test = &read.tests[0];
        assert_eq!((test.name.as_str(), test.only.since), ("one", (7, 2)));
        assert_eq!(test.steps.len(), 4);
        assert_eq!(test.steps[1].order, Order::Any);
        assert_eq!(test.steps[1].expected.len(), 2);
        assert!(matches!(test.steps[1].act, Act::Call { client: 2, .. }));
        assert_eq!(read.with_replies(&[]), TEXT);
        let rewritten = read.with_replies(&[(8, vec!["x".into()]), (12, vec!["(nil)".into()])]);
        assert_eq!(rewritten, TEXT.replace("1) \"k\"\n~ 2\\) .*", "x") + "(nil)\n");
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for text in ["> GET k\n", "@test a\n@slep 5\n", "@test a\n@test a\n", "@test a\nwhat\n"] {
            assert!(Transcript::parse(Path::new("t.txt"), text).is_err(), "{text}");
        }
    }
}
