//! A load generator for servers that speak RESP, and the report of its records.
//!
//! ```text
//! forgekv-load run --port 6379 --op get --keys 1000000 --pipeline 16 --seconds 10
//! forgekv-load fanout --port 6379 --subscribers 1000 --messages 2000 --pid PID
//! forgekv-load handoff --port 6379 --pairs 25 --seconds 10
//! forgekv-load memtier --json FILE --op set …      a record of memtier_benchmark's own output
//! forgekv-load report results/*.jsonl              Markdown tables of records
//! ```
//!
//! `run` prints one JSON record: operations per second, percentiles, what was wrong, and, if the
//! server's process is known (`--pid`), its CPU time per command, memory and disk traffic. Every
//! reply is checked: a value read is compared byte by byte with the one that its key must have.
//! The exit code is 1 if any reply was an error or wrong.

mod arguments;
mod client;
mod distribution;
mod fanout;
mod handoff;
mod histogram;
mod process;
mod record;
mod reply;
mod report;
mod workload;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let done = match verb.as_str() {
        "run" => Arguments::parse(rest).and_then(|arguments| client::run(&arguments)),
        "fanout" => Arguments::parse(rest).and_then(|arguments| fanout::run(&arguments)),
        "handoff" => Arguments::parse(rest).and_then(|arguments| handoff::run(&arguments)),
        "memtier" => Arguments::parse(rest).and_then(|arguments| record::memtier(&arguments)),
        "report" => report::report(&rest),
        _ => Err(
            "call forgekv-load run|fanout|handoff|memtier|report; the source's first page says how"
                .into(),
        ),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("forgekv-load: {why}");
            ExitCode::from(2)
        }
    }
}
