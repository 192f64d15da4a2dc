//! Every command of the table, and every option in its syntax line, has a transcript that would
//! fail if the handler only said OK.
//!
//! That is tried, not judged: for each command and option a test that uses it is played once as it
//! stands, which must pass, and once with those lines answered by a made-up OK instead of the
//! server, which must not. Lines that expect an error are not counted for this. What can't be shown so stands in `coverage-exceptions.txt`, with its
//! reason. `COVERAGE_OF=redis` plays the same with redis-server's table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use forgekv_base::split_args::split_args;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::play::Player;
use forgekv_compat_tests::server::Start;
use forgekv_compat_tests::transcript::{Act, Test, Transcript};
use forgekv_resp::Value;

#[test]
fn every_command_and_option_has_a_transcript_that_needs_it() -> Result<()> {
    let of_redis = std::env::var("COVERAGE_OF").is_ok_and(|of| of == "redis");
    let start =
        if of_redis { Start::redis().ok_or("no redis-server 7.0")? } else { Start::forgekv()? };
    let features = features(&start, of_redis)?;
    let tests: Vec<Test> = Transcript::all()?.into_iter().flat_map(|t| t.tests).collect();
    let mut exceptions = exceptions()?;
    let mut judge = Judge { player: Player::start(&start)?, start: &start, passes: HashMap::new() };
    let mut missing = Vec::new();
    let (mut passed, mut skipped) = (0, 0);
    for feature in &features {
        let excepted = exceptions.remove(&feature.to_string()).is_some();
        // A test about time may fail on a busy machine, so one that is missed is tried once more.
        let mut is_covered = judge.is_covered(feature, &tests)?;
        if !is_covered && !excepted {
            judge.passes.clear();
            is_covered = judge.is_covered(feature, &tests)?;
        }
        if is_covered {
            passed += 1;
            if excepted {
                missing.push(format!("{feature}: is covered, so it is no exception any more"));
            }
        } else if excepted {
            skipped += 1;
        } else {
            missing.push(format!("{feature}: no transcript needs it"));
        }
    }
    if !of_redis {
        missing.extend(
            exceptions.keys().map(|name| format!("{name}: excepted, but not in the table")),
        );
    }
    let failed = missing.len();
    println!("{}", missing.join("\n"));
    println!("RESULT coverage passed={passed} failed={failed} skipped={skipped}");
    if failed > 0 {
        Err(format!("{failed} commands or options without a transcript").into())
    } else {
        Ok(())
    }
}

/// A command, or one of its options.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Feature {
    /// "GET" or "CONFIG GET".
    command: Vec<String>,
    option: Option<String>,
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.command.join(" "))?;
        self.option.as_ref().map_or(Ok(()), |option| write!(f, " … {option}"))
    }
}

impl Feature {
    fn is_used_by(&self, words: &[Vec<u8>]) -> bool {
        let same = |a: &String, b: &Vec<u8>| b.eq_ignore_ascii_case(a.as_bytes());
        let (Some(head), Some(rest)) =
            (words.get(..self.command.len()), words.get(self.command.len()..))
        else {
            return false;
        };
        self.command.iter().zip(head).all(|(a, b)| same(a, b))
            && self.option.as_ref().is_none_or(|option| rest.iter().any(|word| same(option, word)))
    }
}

/// What the server's COMMAND DOCS says that there is.
fn features(start: &Start, only_our_families: bool) -> Result<BTreeSet<Feature>> {
    let server = start.clone().run()?;
    let docs = server.connect()?.call(&["COMMAND", "DOCS"])?;
    let mut found = BTreeSet::new();
    for pair in docs.items().ok_or("COMMAND DOCS is no array")?.chunks_exact(2) {
        let group = field(&pair[1], "group").and_then(Value::as_bytes).unwrap_or_default();
        let ours: [&[u8]; 5] = [b"string", b"generic", b"hash", b"connection", b"server"];
        if !only_our_families || ours.contains(&group) {
            command(&text(&pair[0]), &pair[1], &mut found);
        }
    }
    if found.is_empty() { Err("COMMAND DOCS is empty".into()) } else { Ok(found) }
}

fn command(name: &str, doc: &Value, found: &mut BTreeSet<Feature>) {
    if let Some(subcommands) = field(doc, "subcommands").and_then(Value::items) {
        for pair in subcommands.chunks_exact(2) {
            command(&text(&pair[0]), &pair[1], found);
        }
        // The container's own form is only there when it has arguments or works alone.
        if field(doc, "arguments").is_none() && name != "command" {
            return;
        }
    }
    let command: Vec<String> = name.to_ascii_uppercase().split('|').map(str::to_string).collect();
    let mut tokens = BTreeSet::new();
    collect_tokens(field(doc, "arguments"), &mut tokens);
    found.insert(Feature { command: command.clone(), option: None });
    for token in tokens {
        found.insert(Feature { command: command.clone(), option: Some(token) });
    }
}

fn collect_tokens(arguments: Option<&Value>, tokens: &mut BTreeSet<String>) {
    for argument in arguments.and_then(Value::items).unwrap_or_default() {
        if let Some(token) = field(argument, "token") {
            tokens.insert(text(token).to_ascii_uppercase());
        }
        collect_tokens(field(argument, "arguments"), tokens);
    }
    tokens.remove("");
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = map.items()?.chunks_exact(2);
    pairs.into_iter().find(|pair| text(&pair[0]) == name).map(|pair| &pair[1])
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}

/// `NAME: reason` or `NAME … OPTION: reason`, one a line.
fn exceptions() -> Result<BTreeMap<String, String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/coverage-exceptions.txt");
    let mut found = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, reason) = line.split_once(": ").ok_or_else(|| format!("no reason: {line}"))?;
        found.insert(name.to_string(), reason.to_string());
    }
    Ok(found)
}

struct Judge<'a> {
    player: Player,
    start: &'a Start,
    /// Whether a test passes as it stands.
    passes: HashMap<String, bool>,
}

impl Judge<'_> {
    fn is_covered(&mut self, feature: &Feature, tests: &[Test]) -> Result<bool> {
        let mut candidates: Vec<&Test> = tests.iter().filter(|test| uses(test, feature)).collect();
        candidates.sort_by_key(|test| cost(test));
        for test in candidates {
            if self.passes(test)? && self.notices(test, feature)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn passes(&mut self, test: &Test) -> Result<bool> {
        if let Some(known) = self.passes.get(&test.name) {
            return Ok(*known);
        }
        let outcome = self.player.play(test);
        let passes = outcome.is_ok_and(|o| o.ran > 0 && o.differences.is_empty());
        self.passes.insert(test.name.clone(), passes);
        Ok(passes)
    }

    fn notices(&mut self, test: &Test, feature: &Feature) -> Result<bool> {
        let only_ok = |words: &[Vec<u8>]| feature.is_used_by(words);
        // Tests that turn switches of the server may leave them turned when they stop early.
        let turns_switches = test.steps.iter().any(|step| {
            step.act.command().is_some_and(|line| {
                let line = line.to_ascii_lowercase();
                ["debug", "client pause", "shutdown"].iter().any(|word| line.starts_with(word))
            })
        });
        let outcome = if turns_switches {
            Player::start(self.start)?.play_mutated(test, &only_ok)
        } else {
            self.player.play_mutated(test, &only_ok)
        };
        Ok(outcome.map_or(true, |outcome| !outcome.differences.is_empty()))
    }
}

fn uses(test: &Test, feature: &Feature) -> bool {
    test.steps.iter().any(|step| {
        let words = step.act.command().and_then(|line| split_args(line.as_bytes()));
        words.is_some_and(|words| feature.is_used_by(&words))
    })
}

/// Quick tests first.
fn cost(test: &Test) -> u64 {
    let steps = test.steps.iter().map(|step| match &step.act {
        Act::Sleep { ms } => *ms,
        Act::Restart => 300,
        Act::Repeat { from, to, .. } => (to - from).unsigned_abs() / 50,
        _ => 1,
    });
    steps.sum::<u64>() + if test.has_own_server() { 300 } else { 0 }
}
