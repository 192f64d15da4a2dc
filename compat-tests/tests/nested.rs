//! Whatever a client may send, it may queue it for EXEC or call it from a script: there is an answer, soon,
//! and the server goes on answering others.
//!
//! A command inside EXEC or a script runs while its caller holds shards; one that waited for a shard itself
//! would wait for ever. So every line that any transcript sends is sent again: queued, from a script, and
//! from a script that is queued. What is answered is the transcripts' matter, not this test's.
//!
//! `NESTED_OF=CONFIG` takes only lines that begin so.

use std::time::{Duration, Instant};

use forgekv_base::split_args::split_args;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::transcript::Transcript;

/// Inside this time there has to be an answer.
const SOON: Duration = Duration::from_secs(5);

const CALL: &str = "return redis.pcall(unpack(ARGV))";

/// Lines that end the server, or switch answers off.
const LEFT_OUT: [&str; 3] = ["SHUTDOWN", "CLIENT REPLY", "DEBUG SLEEP"];

#[derive(Debug, Clone, Copy)]
enum Way {
    Exec,
    Script,
    ScriptInExec,
}

#[test]
fn every_command_answers_inside_exec() -> Result<()> {
    all(Way::Exec)
}

#[test]
fn every_command_answers_inside_a_script() -> Result<()> {
    all(Way::Script)
}

#[test]
fn every_command_answers_inside_a_script_inside_exec() -> Result<()> {
    all(Way::ScriptInExec)
}

fn all(way: Way) -> Result<()> {
    let wanted = std::env::var("NESTED_OF").unwrap_or_default();
    let mut server = start()?;
    let mut sent = 0;
    let mut wrong = Vec::new();
    for test in Transcript::all()?.into_iter().flat_map(|transcript| transcript.tests) {
        if !is_well(&server) {
            server = start()?;
        }
        server.connect()?.call(&["FLUSHALL"])?;
        for line in test.steps.iter().filter_map(|step| step.act.command()) {
            let starts =
                |name: &&str| line.get(..name.len()).is_some_and(|l| l.eq_ignore_ascii_case(name));
            let Some(words) = split_args(line.as_bytes()).filter(|words| !words.is_empty()) else {
                continue;
            };
            if LEFT_OUT.iter().any(starts) || !starts(&wanted.as_str()) || line.contains("${") {
                continue;
            }
            sent += 1;
            if let Err(why) = one(&mut server, way, &words) {
                wrong.push(format!("{}: {line}: {why}", test.name));
                server = start()?;
            }
        }
    }
    println!(
        "RESULT nested/{way:?} passed={} failed={} skipped=0",
        sent - wrong.len(),
        wrong.len()
    );
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn start() -> Result<Server> {
    let server = Start::forgekv()?.run()?;
    // Scripts may call what they otherwise may not.
    server.connect()?.call(&["DEBUG", "SET-DISABLE-DENY-SCRIPTS", "1"])?;
    Ok(server)
}

/// Whether a new client can do anything.
fn is_well(server: &Server) -> bool {
    let Ok(mut client) = server.connect() else { return false };
    client.set_patience(SOON).is_ok()
        && client.call(&["PING"]).is_ok_and(|reply| reply.as_bytes() == Some(b"PONG"))
}

fn one(server: &mut Server, way: Way, words: &[Vec<u8>]) -> Result<()> {
    let mut client = server.connect()?;
    client.set_patience(SOON)?;
    let mut script: Vec<Vec<u8>> = vec![b"EVAL".to_vec(), CALL.into(), b"0".to_vec()];
    script.extend(words.iter().cloned());
    let started = Instant::now();
    let replies = match way {
        Way::Exec => send(&mut client, &[&[b"MULTI".to_vec()], words, &[b"EXEC".to_vec()]]),
        Way::Script => send(&mut client, &[&script]),
        Way::ScriptInExec => {
            send(&mut client, &[&[b"MULTI".to_vec()], &script, &[b"EXEC".to_vec()]])
        }
    };
    // A client that is closed (CLIENT KILL, RESET of a stopped server) has its answer, too.
    if replies.is_err() && started.elapsed() >= SOON {
        return Err("no answer".into());
    }
    if !server.is_alive() {
        return Err(format!("the server is gone:\n{}", server.printed()).into());
    }
    let mut other = server.connect()?;
    other.set_patience(SOON)?;
    other.call(&["CLIENT", "UNPAUSE"]).map_err(|e| format!("others get no answer: {e}"))?;
    // One that has to hold all shards.
    other.call(&["DBSIZE"]).map_err(|e| format!("the shards are not free: {e}"))?;
    Ok(())
}

fn send(client: &mut Client, commands: &[&[Vec<u8>]]) -> Result<()> {
    for words in commands {
        client.send(words)?;
    }
    for _ in commands {
        client.read()?;
    }
    Ok(())
}
