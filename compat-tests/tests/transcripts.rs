//! Every transcript, played to our server and to redis-server 7.0.
//!
//! `FAMILY=hash` plays one file, `ONLY=text` the tests whose names contain the text. `UPDATE=1`
//! writes what redis-server answers into the files where it differs; `UPDATE=ours` writes what our
//! server answers to steps that redis-server 7.0 can't run. Read the difference before keeping it.

use std::fmt::Write;

use forgekv_compat_tests::Result;
use forgekv_compat_tests::play::Player;
use forgekv_compat_tests::server::{Kind, Start};
use forgekv_compat_tests::transcript::{Only, Transcript};

#[test]
fn forgekv_answers_as_written() -> Result<()> {
    play_all(&Start::forgekv()?)
}

#[test]
fn redis_answers_as_written() -> Result<()> {
    match Start::redis() {
        Some(start) => play_all(&start),
        None => {
            println!("SKIPPED: transcripts against redis-server: no redis-server 7.0 here");
            println!("RESULT transcripts/redis passed=0 failed=0 skipped=1");
            Ok(())
        }
    }
}

fn play_all(start: &Start) -> Result<()> {
    let name = if start.kind() == Kind::ForgeKv { "forgekv" } else { "redis" };
    let mut report = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for transcript in Transcript::all()? {
        let told = play_file(start, &transcript)?;
        passed += told.passed;
        failed += told.failed;
        skipped += told.skipped;
        report.push_str(&told.report);
    }
    println!("{report}RESULT transcripts/{name} passed={passed} failed={failed} skipped={skipped}");
    if failed > 0 { Err(format!("{failed} tests differ on {name}").into()) } else { Ok(()) }
}

#[derive(Default)]
struct Told {
    passed: usize,
    failed: usize,
    skipped: usize,
    report: String,
}

fn play_file(start: &Start, transcript: &Transcript) -> Result<Told> {
    let wanted = std::env::var("ONLY").ok();
    let mut player = Player::start(start)?;
    let mut told = Told::default();
    let mut replies = Vec::new();
    for test in &transcript.tests {
        if wanted.as_ref().is_some_and(|w| !test.name.contains(w)) {
            continue;
        }
        let head = format!("{}: {}", transcript.name(), test.name);
        match player.play(test) {
            Ok(outcome) if outcome.ran == 0 => told.skipped += 1,
            Ok(outcome) if outcome.differences.is_empty() => told.passed += 1,
            Ok(outcome) => {
                told.failed += 1;
                writeln!(told.report, "DIFFERS {head}")?;
                for d in outcome.differences {
                    writeln!(told.report, "  line {}: {}", d.line, d.what)?;
                    writeln!(told.report, "    expected: {}", d.expected.join("\n              "))?;
                    writeln!(told.report, "    got:      {}", d.got.join("\n              "))?;
                    let only = merged(
                        test.only,
                        test.steps.iter().find(|s| s.line == d.line).map(|s| s.only),
                    );
                    if may_rewrite(start.kind(), only) {
                        replies.push((d.line, d.got));
                    }
                }
            }
            Err(error) => {
                told.failed += 1;
                writeln!(told.report, "BROKEN {head}: {error}")?;
            }
        }
    }
    if !replies.is_empty() {
        std::fs::write(&transcript.path, transcript.with_replies(&replies))?;
    }
    Ok(told)
}

fn merged(test: Only, step: Option<Only>) -> Only {
    let step = step.unwrap_or_default();
    Only {
        ours: test.ours || step.ours,
        reference: test.reference || step.reference,
        since: test.since.max(step.since),
    }
}

/// Redis decides what it can run; the rest is ours.
fn may_rewrite(kind: Kind, only: Only) -> bool {
    match (std::env::var("UPDATE").as_deref(), kind) {
        (Ok("1"), Kind::Redis) => true,
        (Ok("ours"), Kind::ForgeKv) => only.ours || only.since > (7, 0),
        _ => false,
    }
}
