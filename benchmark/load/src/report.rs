//! Tables of records. The first server of a file is ours; the last two columns say how many times
//! its throughput, and what part of its CPU time per command, ours has: the median over the rounds
//! of the ratio in one round, since neighbours in time share the machine's mood.

use std::fs;

use crate::record::Record;

/// What a workload may cost: the figures that the design sets, per command, and those measured
/// beside them for Redis.
struct Budget {
    workload: String,
    redis: f64,
    redis_aof: f64,
    must: f64,
    stretch: f64,
}

/// Prints a table for each file, or, with `--budgets FILE`, the comparison with the budgets only.
pub fn report(words: &[String]) -> Result<bool, String> {
    let mut all = Vec::new();
    let mut budgets = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--budgets" {
            let file = words.next().ok_or("--budgets needs a file")?;
            budgets = read_budgets(file)?;
            continue;
        }
        let text = fs::read_to_string(word).map_err(|why| format!("{word}: {why}"))?;
        let records = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).map_err(|why| format!("{word}: {why}")))
            .collect::<Result<Vec<Record>, String>>()?;
        if budgets.is_empty() {
            print!("{}", section(&records));
        }
        all.extend(records);
    }
    print!("{}", against(&budgets, &all));
    Ok(true)
}

fn read_budgets(file: &str) -> Result<Vec<Budget>, String> {
    let text = fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?;
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let number =
                |at: usize| fields.get(at).and_then(|text: &&str| text.trim().parse().ok());
            Some(Budget {
                workload: fields[0].trim().to_owned(),
                redis: number(1)?,
                redis_aof: number(2)?,
                must: number(3)?,
                stretch: number(4)?,
            })
        })
        .map(|budget| budget.ok_or_else(|| format!("{file}: a line without five fields")))
        .collect()
}

/// The names in the order in which they first appear.
fn names<'a>(records: &'a [Record], name: impl Fn(&'a Record) -> &'a str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for record in records {
        if !names.contains(&name(record)) {
            names.push(name(record));
        }
    }
    names
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The median over the rounds of `figure` of `ours` divided by that of `theirs`.
fn ratio(
    ours: &[&Record],
    theirs: &[&Record],
    figure: impl Fn(&Record) -> Option<f64>,
) -> Option<f64> {
    let pairs = ours.iter().filter_map(|mine| {
        let other = theirs.iter().find(|other| other.round == mine.round)?;
        Some(figure(mine)? / figure(other)?.max(1e-9))
    });
    median(pairs.collect())
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.decimals$}"))
}

fn micros(value: Option<f64>) -> String {
    shown(value, if value.is_some_and(|value| value < 100.0) { 1 } else { 0 })
}

fn of<'a>(records: &'a [Record], workload: &str, server: &str) -> Vec<&'a Record> {
    records.iter().filter(|record| record.workload == workload && record.server == server).collect()
}

fn section(records: &[Record]) -> String {
    let servers = names(records, |record| &record.server);
    let Some(ours) = servers.first() else { return String::new() };
    let mut text = format!(
        "| | | ops/s | p50 µs | p99 µs | p99.9 µs | CPU µs/op | RSS MiB | disk B/op written | read | {ours}: × ops/s | × CPU |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    let mut complaints = Vec::new();
    for workload in names(records, |record| &record.workload) {
        let mine = of(records, workload, ours);
        let mut label = workload;
        for server in &servers {
            let theirs = of(records, workload, server);
            if theirs.is_empty() {
                continue;
            }
            let each = |figure: &dyn Fn(&Record) -> Option<f64>| {
                median(theirs.iter().filter_map(|record| figure(record)).collect())
            };
            let per_op = |bytes: Option<u64>, record: &Record| {
                bytes.map(|bytes| bytes as f64 / record.requests.max(1) as f64)
            };
            let (mut ops_ratio, mut cpu_ratio) = (String::new(), String::new());
            if server != ours {
                ops_ratio = shown(ratio(&mine, &theirs, |record| Some(record.ops)), 2);
                cpu_ratio = shown(ratio(&mine, &theirs, |record| record.cpu), 2);
            }
            text += &format!(
                "| {label} | {server} | {} | {} | {} | {} | {} | {} | {} | {} | {ops_ratio} | {cpu_ratio} |\n",
                shown(each(&|record| Some(record.ops)), 0),
                micros(each(&|record| record.p50)),
                micros(each(&|record| record.p99)),
                micros(each(&|record| record.p999)),
                shown(each(&|record| record.cpu), 2),
                shown(each(&|record| record.resident), 0),
                shown(each(&|record| per_op(record.written_bytes, record)), 0),
                shown(each(&|record| per_op(record.read_bytes, record)), 0),
            );
            label = "";
            let bad: u64 = theirs.iter().map(|record| record.errors + record.wrong).sum();
            if bad > 0 {
                let what = theirs.iter().find_map(|record| record.complaint.as_deref());
                complaints.push(format!(
                    "**{server}, {workload}: {bad} replies were wrong**, the first: {}\n",
                    what.unwrap_or("unknown")
                ));
            }
        }
    }
    for complaint in complaints {
        text += "\n";
        text += &complaint;
    }
    text + "\n"
}

/// How far our CPU time per command is from the budget: the measured ratio to each Redis beside the
/// ratio that the budget allows.
fn against(budgets: &[Budget], records: &[Record]) -> String {
    let mut text = String::new();
    let ours = names(records, |record| &record.server).first().copied().unwrap_or_default();
    for budget in budgets {
        let mine = of(records, &budget.workload, ours);
        for (server, cost) in [("redis", budget.redis), ("redis-aof", budget.redis_aof)] {
            let theirs = of(records, &budget.workload, server);
            let Some(measured) = ratio(&mine, &theirs, |record| record.cpu) else { continue };
            let (must, stretch) = (budget.must / cost, budget.stretch / cost);
            let verdict = match measured {
                ratio if ratio <= stretch => "stretch reached",
                ratio if ratio <= must => "must reached",
                _ => "**missed**",
            };
            text += &format!(
                "| {} | {server} | {measured:.2} | {must:.2} | {stretch:.2} | {verdict} |\n",
                budget.workload
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "## Against the budget\n\nServer CPU per command, {ours}'s over Redis's: the median of the rounds' \
         ratios, beside what the design demands.\n\n\
         | | against | measured | must | stretch | |\n|---|---|--:|--:|--:|---|\n{text}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(server: &str, round: u32, ops: f64, cpu: f64) -> Record {
        Record {
            workload: "GET p16".into(),
            server: server.into(),
            round,
            ops,
            cpu: Some(cpu),
            requests: 10,
            ..Record::default()
        }
    }

    #[test]
    fn ratios_are_medians_of_rounds() {
        let records = [
            record("forgekv", 1, 100.0, 1.0),
            record("redis", 1, 50.0, 2.0),
            record("redis", 2, 10.0, 8.0),
            record("forgekv", 2, 10.0, 8.0),
            record("forgekv", 3, 30.0, 1.5),
            record("redis", 3, 10.0, 2.0),
        ];
        let table = section(&records);
        let line = table.lines().find(|line| line.contains("| redis |")).unwrap();
        assert!(line.ends_with("| 2.00 | 0.75 |"), "{line}");
        let budgets = [Budget {
            workload: "GET p16".into(),
            redis: 2.0,
            redis_aof: 2.0,
            must: 1.6,
            stretch: 1.4,
        }];
        let line = "| GET p16 | redis | 0.75 | 0.80 | 0.70 | must reached |";
        assert!(against(&budgets, &records).contains(line));
    }

    #[test]
    fn wrong_replies_are_named() {
        let mut bad = record("forgekv", 1, 1.0, 1.0);
        bad.wrong = 3;
        bad.complaint = Some("Nil".into());
        assert!(section(&[bad]).contains("3 replies were wrong**, the first: Nil"));
    }
}
