//! LATENCY: what took long and when, and how long the calls of each command take.

use super::command::{AdminHandler, HELP};
use super::{Args, Command, Family, admin, container};
use crate::info::CommandTotals;
use crate::observe::{Event, Samples};
use crate::road::Admin;
use crate::table::Entry;
use forgekv_base::clock;
use forgekv_data::{Error, Result};
use forgekv_resp::Reply;

mod graph;

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[container(
        "LATENCY",
        &[
            events("LATEST", latest, "")
                .about("Tells the newest and the longest of each event.")
                .complexity("O(1)"),
            events("HISTORY", history, "event:string")
                .about("Lists when an event took long, and how long.")
                .complexity("O(1)"),
            events("RESET", reset, "[event:string [event:string ...]]")
                .about("Forgets events, or all.")
                .complexity("O(1)")
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
            events("GRAPH", graph, "event:string")
                .about("Draws what HISTORY lists.")
                .complexity("O(1)"),
            events("DOCTOR", doctor, "")
                .about("Explains what took long, and what can be done.")
                .complexity("O(1)"),
            admin("HISTOGRAM", histogram, "[command [command ...]]")
                .operator()
                .noscript()
                .loading()
                .stale()
                .since("7.0.0")
                .about("Tells how many calls of commands took how long.")
                .complexity("O(N), N being the number of commands")
                .tips(UNSTABLE),
            HELP,
        ],
    )
    .since("2.8.13")
    .about("What took long.")
    .complexity("Depends on subcommand.")],
);

const UNSTABLE: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn events(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    admin(name, handler, syntax)
        .operator()
        .loading()
        .stale()
        .noscript()
        .since("2.8.13")
        .tips(UNSTABLE)
}

fn latest(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let all = ctx.server.observe.latency.all();
    reply.array(all.len());
    for (event, samples) in all {
        let (at, ms) = samples.samples.back().copied().unwrap_or_default();
        reply.array(4);
        reply.bulk(event.name().as_bytes());
        reply.int(at as i64);
        reply.int(ms as i64);
        reply.int(samples.max_ms as i64);
    }
    Ok(())
}

fn samples(ctx: &Admin<'_, '_>, name: &[u8]) -> Option<Samples> {
    ctx.server.observe.latency.of(Event::named(name)?)
}

fn history(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let kept = samples(ctx, args.next()?).unwrap_or_default();
    reply.array(kept.samples.len());
    for (at, ms) in kept.samples {
        reply.array(2);
        reply.int(at as i64);
        reply.int(ms as i64);
    }
    Ok(())
}

fn reset(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let latency = &ctx.server.observe.latency;
    let events: Vec<Event> = if args.is_empty() {
        Event::ALL.to_vec()
    } else {
        args.rest().iter().filter_map(|name| Event::named(name)).collect()
    };
    let forgotten = events.into_iter().filter(|event| latency.forget(*event)).count();
    reply.int(forgotten as i64);
    Ok(())
}

fn graph(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    let kept = samples(ctx, name).ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        Error::reply(format!("ERR No samples available for event '{name}'"))
    })?;
    let name = String::from_utf8_lossy(name);
    let text = graph::draw(&name, &kept, clock::now_us() / 1_000_000);
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn doctor(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let threshold_ms = ctx.server.config.current().latency_monitor_threshold;
    let all = ctx.server.observe.latency.all();
    let text = diagnosis(threshold_ms, &all, clock::now_us() / 1_000_000);
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// What DOCTOR says.
fn diagnosis(threshold_ms: u64, all: &[(Event, Samples)], now_s: u64) -> String {
    if all.is_empty() && threshold_ms == 0 {
        return "Nothing is watched: latency-monitor-threshold is 0. CONFIG SET \
                latency-monitor-threshold <milliseconds> begins to note what takes that long.\n"
            .into();
    }
    if all.is_empty() {
        return format!("Nothing took {threshold_ms} milliseconds or more. All is well.\n");
    }
    let mut text = String::from("Events that took long:\n\n");
    for (event, kept) in all {
        let (least, most) = kept.range();
        let (last_s, _) = kept.samples.back().copied().unwrap_or_default();
        text += &format!(
            "- {}: in {} different seconds, the last {} seconds ago; from {least} to {most} ms, {:.0} ms \
             on average; the longest ever {} ms.\n",
            event.name(),
            kept.samples.len(),
            now_s.saturating_sub(last_s),
            kept.mean_ms(),
            kept.max_ms
        );
    }
    text += "\nWhat can be done:\n\n";
    for (event, _) in all {
        text += &format!("- {}: {}\n", event.name(), advice(*event));
    }
    text
}

fn advice(event: Event) -> &'static str {
    match event {
        Event::Command => {
            "SLOWLOG GET names the commands; those whose complexity grows with the data want smaller \
             pieces (SCAN instead of KEYS, ranges instead of whole collections)."
        }
        Event::FastCommand => {
            "these take constant time, so the machine is short of processor time or memory: look for \
             other processes, swapping, or a virtual machine that is not given its cores."
        }
        Event::ExpireCycle => "many keys expire at the same moment: spread their times to live.",
        Event::ColdRead => {
            "data that was not in memory was read from a slow or busy disk: give maxmemory more room or \
             use a faster disk."
        }
        Event::WriteDelay => {
            "more is written than the disk takes: flushes and compactions do not keep up. A larger \
             memtable_size_mb, more background_threads or a faster disk help."
        }
    }
}

fn histogram(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let table = &ctx.server.table;
    let totals = ctx.server.stats.totals();
    let figures = |entry: &Entry| totals.commands.get(entry.id).filter(|of| of.latency.total() > 0);
    let mut found: Vec<(&Entry, &CommandTotals)> = Vec::new();
    let mut add = |entry| {
        if let Some(of) = figures(entry) {
            found.push((entry, of));
        }
    };
    if args.is_empty() {
        (0..table.len()).filter_map(|id| table.get(id)).for_each(&mut add);
    }
    for name in args.rest() {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let Some(top) = parts.next().and_then(|name| table.top(name)) else { continue };
        match parts.next() {
            Some(sub) => table.subcommand(top, sub).into_iter().for_each(&mut add),
            None if top.subcommands.is_empty() => add(top),
            None => {
                top.subcommands.iter().filter_map(|&id| table.get(id)).for_each(&mut add);
            }
        }
    }
    reply.map(found.len());
    for (entry, of) in found {
        reply.bulk(entry.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(of.latency.total() as i64);
        reply.bulk(b"histogram_usec");
        let steps = of.latency.doublings();
        reply.map(steps.len());
        for (micros, calls) in steps {
            reply.int(micros as i64);
            reply.int(calls as i64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_names_what_took_long() {
        assert!(diagnosis(0, &[], 0).contains("latency-monitor-threshold is 0"));
        assert!(diagnosis(5, &[], 0).contains("5 milliseconds"));
        let kept = Samples { samples: [(90, 20), (95, 40)].into(), max_ms: 70 };
        let text = diagnosis(5, &[(Event::Command, kept)], 100);
        let expected = "- command: in 2 different seconds, the last 5 seconds ago; from 20 to 40 ms, 30 \
                        ms on average; the longest ever 70 ms.\n";
        assert!(text.contains(expected) && text.contains("SLOWLOG"), "{text}");
    }
}
