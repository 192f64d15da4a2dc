//! The case file of resp-compatibility (github.com/tair-opensource/resp-compatibility): shallow
//! checks of one command each, by the Redis version that had it first. A gate for smoke.
//!
//! The file is `FORGEKV_RESP_COMPAT_CASES`, or `../shared/resp-compatibility/cts.json` beside the
//! checkout. A case that fails must be named in `resp-compat-expected.txt` with its reason, and one
//! that is named there must fail: the list only gets shorter. Totals are checked, so that no case
//! gets lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forgekv_base::split_args::split_args;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::text::render;
use forgekv_resp::Value;
use serde_json::Value as Json;

/// Redis version and number of standalone cases up to it.
const TOTALS: [((u32, u32), usize); 6] =
    [((4, 0), 196), ((5, 0), 220), ((6, 0), 228), ((6, 2), 295), ((7, 0), 350), ((7, 2), 352)];

#[test]
fn forgekv_passes_the_cases() -> Result<()> {
    run_all(&Start::forgekv()?, "forgekv", &expected_failures()?)
}

#[test]
fn redis_passes_the_cases() -> Result<()> {
    let Some(start) = Start::redis() else {
        return skip("redis", "no redis-server 7.0 here");
    };
    let newer: BTreeMap<String, String> = ["zrank with WITHSCORE", "zrevrank with WITHSCORE"]
        .map(|name| (name.to_string(), "newer than 7.0".to_string()))
        .into();
    run_all(&start, "redis", &newer)
}

fn run_all(start: &Start, who: &str, expected: &BTreeMap<String, String>) -> Result<()> {
    let Some(cases) = cases()? else {
        return skip(
            who,
            "no case file; get it from github.com/tair-opensource/resp-compatibility",
        );
    };
    let server = start.clone().run()?;
    let mut failed = BTreeMap::new();
    for case in &cases {
        if let Err(error) = case.run(&server) {
            failed.insert(case.name.clone(), error.to_string());
        }
    }
    println!("resp-compatibility against {who}\n  up to  passed  total");
    let mut wrong = Vec::new();
    for (version, total) in TOTALS {
        let up_to = || cases.iter().filter(|case| case.since <= (version.0, version.1, 0));
        let passed = up_to().filter(|case| !failed.contains_key(&case.name)).count();
        println!("  {:>3}.{}  {passed:>6}  {:>5}", version.0, version.1, up_to().count());
        if up_to().count() != total {
            wrong.push(format!("{}.{} must have {total} cases", version.0, version.1));
        }
    }
    for (name, error) in &failed {
        if !expected.contains_key(name) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    for name in expected.keys().filter(|name| !failed.contains_key(*name)) {
        wrong.push(format!("{name}: passes, so take it from resp-compat-expected.txt"));
    }
    println!("{}", wrong.join("\n"));
    let skipped = failed.keys().filter(|name| expected.contains_key(*name)).count();
    let passed = cases.len() - failed.len();
    println!(
        "RESULT resp-compatibility/{who} passed={passed} failed={} skipped={skipped}",
        wrong.len()
    );
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} cases", wrong.len()).into()) }
}

fn skip(who: &str, why: &str) -> Result<()> {
    println!("SKIPPED: resp-compatibility against {who}: {why}");
    println!("RESULT resp-compatibility/{who} passed=0 failed=0 skipped=1");
    Ok(())
}

struct Case {
    name: String,
    commands: Vec<Vec<Vec<u8>>>,
    results: Vec<Json>,
    since: (u32, u32, u32),
    sorted: bool,
    floats: bool,
}

impl Case {
    fn run(&self, server: &Server) -> Result<()> {
        let mut client = server.connect()?;
        client.call(&["FLUSHALL"])?;
        for (words, want) in self.commands.iter().zip(&self.results) {
            let got = call(server, &mut client, words)?;
            let (mut want, mut got) = (normal_json(want), normal(&got));
            if self.sorted {
                want.sort();
                got.sort();
            }
            if !want.agrees(&got, self.floats) {
                let words: Vec<_> = words.iter().map(|w| String::from_utf8_lossy(w)).collect();
                return Err(format!("{}: wanted {want:?}, got {got:?}", words.join(" ")).into());
            }
        }
        Ok(())
    }
}

/// A server may have closed the connection after the command before.
fn call(server: &Server, client: &mut Client, words: &[Vec<u8>]) -> Result<Value> {
    match client.call(words) {
        Ok(reply) => Ok(reply),
        Err(_) => {
            *client = server.connect()?;
            client.call(words)
        }
    }
}

/// A reply as the case file can say it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Plain {
    Nothing,
    Int(i64),
    Text(String),
    Error(String),
    List(Vec<Plain>),
}

impl Plain {
    fn sort(&mut self) {
        if let Plain::List(items) = self {
            items.iter_mut().for_each(Plain::sort);
            items.sort_by_key(|item| format!("{item:?}"));
        }
    }

    fn agrees(&self, other: &Plain, floats: bool) -> bool {
        match (self, other) {
            (Plain::List(a), Plain::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.agrees(b, floats))
            }
            (Plain::Text(a), Plain::Text(b)) if floats => {
                match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(a), Ok(b)) => (a - b).abs() < 1e-9,
                    _ => a == b,
                }
            }
            (a, b) => a == b,
        }
    }
}

fn normal(value: &Value) -> Plain {
    match value {
        Value::Int(n) => Plain::Int(*n),
        Value::Error(_) | Value::BulkError(_) => Plain::Error(render(value).join(" ")),
        _ if value.is_null() => Plain::Nothing,
        _ => match (value.as_bytes(), value.items()) {
            (Some(bytes), _) => Plain::Text(String::from_utf8_lossy(bytes).into_owned()),
            (_, Some(items)) => Plain::List(items.iter().map(normal).collect()),
            _ => Plain::Error(render(value).join(" ")),
        },
    }
}

fn normal_json(value: &Json) -> Plain {
    match value {
        Json::Null => Plain::Nothing,
        Json::Number(n) => n.as_i64().map_or_else(|| Plain::Text(n.to_string()), Plain::Int),
        Json::Array(items) => Plain::List(items.iter().map(normal_json).collect()),
        Json::String(text) => Plain::Text(text.clone()),
        other => Plain::Text(other.to_string()),
    }
}

/// All standalone cases; `None` where the file is not there.
fn cases() -> Result<Option<Vec<Case>>> {
    let beside = || {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/resp-compatibility/cts.json")
    };
    let path = std::env::var_os("FORGEKV_RESP_COMPAT_CASES").map_or_else(beside, PathBuf::from);
    if !path.exists() {
        return Ok(None);
    }
    let all: Json = serde_json::from_slice(&std::fs::read(&path)?)?;
    let mut cases = Vec::new();
    for case in all.as_array().ok_or("the case file is no array")? {
        let is = |name: &str| case[name].as_bool().unwrap_or(false);
        if case["tags"].as_str().is_some_and(|tags| tags != "standalone") || is("skipped") {
            continue;
        }
        let lines = case["command"].as_array().ok_or("a case without commands")?;
        let commands = lines
            .iter()
            .map(|line| words(line.as_str().unwrap_or_default(), is("command_binary")))
            .collect::<Result<Vec<_>>>()?;
        // Some names are there twice.
        let mut name = case["name"].as_str().unwrap_or_default().to_string();
        if cases.iter().any(|case: &Case| case.name == name) {
            name.push_str(" (2)");
        }
        cases.push(Case {
            name,
            commands,
            results: case["result"].as_array().ok_or("a case without results")?.clone(),
            since: version(case["since"].as_str().unwrap_or_default())?,
            sorted: is("sort_result"),
            floats: is("float_result"),
        });
    }
    Ok(Some(cases))
}

fn words(line: &str, escaped: bool) -> Result<Vec<Vec<u8>>> {
    // In binary cases escapes also stand outside quotes: quote each word, then split.
    let line = if escaped && !line.contains('"') {
        line.split(' ').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
    } else {
        line.to_string()
    };
    split_args(line.as_bytes()).ok_or_else(|| format!("quotes do not balance: {line}").into())
}

fn version(text: &str) -> Result<(u32, u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    let mut next = || parts.next().unwrap_or(Ok(0));
    Ok((next()?, next()?, next()?))
}

/// `name: reason`, one a line.
fn expected_failures() -> Result<BTreeMap<String, String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/resp-compat-expected.txt");
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.rsplit_once(": ") {
            Some((name, reason)) => Ok((name.to_string(), reason.to_string())),
            None => Err(format!("no reason: {line}").into()),
        })
        .collect()
}
