//! One measurement: one server, one workload, one round. A line of JSON in a file of records.

use std::fs::{self, OpenOptions};
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arguments::Arguments;

/// A measurement. Times are microseconds, memory MiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The workload's name in the report.
    pub workload: String,
    /// The server's.
    pub server: String,
    /// Which round of the interleaved ones.
    pub round: u32,
    /// From first to last reply.
    pub seconds: f64,
    /// Replies.
    pub requests: u64,
    /// Operations per second.
    pub ops: f64,
    /// Latencies.
    pub p50: Option<f64>,
    /// 99 of 100 are not slower.
    pub p99: Option<f64>,
    /// 999 of 1000 are not slower.
    pub p999: Option<f64>,
    /// The slowest.
    pub max: Option<f64>,
    /// Server CPU per command.
    pub cpu: Option<f64>,
    /// Resident at the end.
    pub resident: Option<f64>,
    /// The most that was resident and not a mapped file.
    pub peak_anonymous: Option<f64>,
    /// What the server read from storage.
    pub read_bytes: Option<u64>,
    /// What it wrote.
    pub written_bytes: Option<u64>,
    /// Error replies.
    pub errors: u64,
    /// Replies of the wrong kind or value.
    pub wrong: u64,
    /// Keys that were not there.
    pub missing: u64,
    /// The first error or wrong reply.
    pub complaint: Option<String>,
}

impl Record {
    /// An empty one with the names that the command line gives.
    pub fn named(arguments: &Arguments) -> Result<Record, String> {
        Ok(Record {
            workload: arguments.get("workload", String::new())?,
            server: arguments.get("server", String::new())?,
            round: arguments.get("round", 1)?,
            ..Record::default()
        })
    }

    /// Prints it, and appends it to `file`.
    pub fn print_and_append(&self, file: Option<&str>) -> Result<(), String> {
        let line = serde_json::to_string(self).map_err(|why| why.to_string())?;
        println!("{line}");
        let Some(file) = file else { return Ok(()) };
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut records| writeln!(records, "{line}"))
            .map_err(|why| format!("{file}: {why}"))
    }
}

/// Turns the JSON output of memtier_benchmark, `--json FILE`, into a record. `--cpu-seconds`,
/// `--written-bytes` and `--resident` are what the caller saw of the server meanwhile.
pub fn memtier(arguments: &Arguments) -> Result<bool, String> {
    let source: String = arguments.get("json", String::new())?;
    let mut record = Record::named(arguments)?;
    let file: Option<String> = arguments.maybe("record")?;
    let cpu_seconds: Option<f64> = arguments.maybe("cpu-seconds")?;
    record.written_bytes = arguments.maybe("written-bytes")?;
    record.resident = arguments.maybe("resident")?;
    arguments.finish()?;
    let text = fs::read_to_string(&source).map_err(|why| format!("{source}: {why}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|why| format!("{source}: {why}"))?;
    let totals = &json["ALL STATS"]["Totals"];
    let number = |value: &Value| {
        value.as_f64().ok_or_else(|| format!("{source}: not memtier_benchmark's output"))
    };
    record.requests = number(&totals["Count"])? as u64;
    // Not its own Ops/sec, which is far off now and then in short runs.
    record.seconds = number(&json["ALL STATS"]["Runtime"]["Total duration"])? / 1000.0;
    record.ops = record.requests as f64 / record.seconds.max(1e-3);
    // Milliseconds there.
    let percentile =
        |name: &str| totals["Percentile Latencies"][name].as_f64().map(|ms| ms * 1000.0);
    record.p50 = percentile("p50.00");
    record.p99 = percentile("p99.00");
    record.p999 = percentile("p99.90");
    record.cpu = cpu_seconds.map(|seconds| seconds * 1e6 / record.requests.max(1) as f64);
    record.errors = totals["Connection Errors"].as_u64().unwrap_or(0);
    record.print_and_append(file.as_deref())?;
    Ok(record.errors == 0)
}
