//! MEMORY: who uses how much of it.

use super::command::HELP;
use super::{Args, Family, admin, container, read};
use crate::info::Database;
use crate::road::{Admin, Then};
use forgekv_data::{Error, Read, Result, SYNTAX, keys};
use forgekv_resp::{Proto, Reply};
use std::sync::atomic::Ordering::Relaxed;

mod doctor;

use doctor::Symptoms;

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[container(
        "MEMORY",
        &[
            read("USAGE", usage, "key [SAMPLES count]")
                .since("4.0.0")
                .complexity("O(N) where N is the number of samples.")
                .keys("RO")
                .about("Returns the bytes of all records that a key consists of."),
            admin("STATS", stats, "")
                .all_shards()
                .sees_data()
                .since("4.0.0")
                .complexity("O(1)")
                .about("Tells who uses how much memory.")
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ]),
            admin("DOCTOR", doctor, "")
                .since("4.0.0")
                .complexity("O(1)")
                .about("Explains what is unusual about the memory in use.")
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ]),
            admin("PURGE", purge, "")
                .since("4.0.0")
                .complexity("Depends on how much memory the allocator keeps")
                .about("Has the allocator give back what is not in use.")
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
            admin("MALLOC-STATS", malloc_stats, "")
                .since("4.0.0")
                .complexity("Depends on how much memory is allocated")
                .about("Prints the allocator's own figures.")
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ]),
            HELP,
        ],
    )
    .since("4.0.0")
    .complexity("Depends on subcommand.")
    .about("Tells how much memory is used for what.")],
);

fn usage(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut samples = keys::USAGE_SAMPLES;
    while !args.is_empty() {
        if !args.option("SAMPLES") {
            return Err(SYNTAX);
        }
        samples = u64::try_from(args.int()?).map_err(|_| SYNTAX)?;
    }
    match keys::usage(db, key, samples)? {
        Some(bytes) => reply.int(i64::try_from(bytes).unwrap_or(i64::MAX)),
        None => reply.null(),
    }
    Ok(())
}

/// Bytes that all clients take.
fn clients_bytes(ctx: &Admin<'_, '_>) -> u64 {
    ctx.server.clients.all().iter().map(|client| client.memory()).sum()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn stats(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let databases: Vec<Database> = super::server::keyspace(ctx)?;
    let engine = match ctx.data.as_mut() {
        Some(view) => view.guard().stats(),
        None => ctx.store.engine().stats(),
    };
    let keys: u64 = databases.iter().map(|database| database.keys).sum();
    let memory = ctx.server.memory.look(&*ctx.server.allocator);
    let of = memory.allocator;
    let clients = clients_bytes(ctx);
    let dataset = (engine.memtable_bytes + engine.hot_bytes + engine.block_bytes).min(of.allocated);
    let overhead = of.allocated - dataset;
    let above_startup = of.allocated.saturating_sub(memory.startup);
    let resident = crate::info::resident_bytes().unwrap_or(of.resident);

    let whole = |bytes: u64| Figure::Whole(i64::try_from(bytes).unwrap_or(i64::MAX));
    let between = |more: u64, less: u64| Figure::Whole(more as i64 - less as i64);
    let figures: &[(&str, Figure)] = &[
        ("peak.allocated", whole(memory.peak)),
        ("total.allocated", whole(of.allocated)),
        ("startup.allocated", whole(memory.startup)),
        ("replication.backlog", whole(0)),
        ("clients.slaves", whole(0)),
        ("clients.normal", whole(clients)),
        ("cluster.links", whole(0)),
        ("memtables", whole(engine.memtable_bytes)),
        ("hot.records", whole(engine.hot_bytes)),
        ("block.cache", whole(engine.block_bytes)),
        ("filters.and.indexes", whole(engine.index_bytes)),
        ("overhead.total", whole(overhead)),
        ("keys.count", whole(keys)),
        ("keys.bytes-per-key", whole(above_startup.checked_div(keys).unwrap_or_default())),
        ("dataset.bytes", whole(dataset)),
        ("dataset.percentage", Figure::Part(100.0 * ratio(dataset, above_startup).min(1.0))),
        ("peak.percentage", Figure::Part(100.0 * ratio(of.allocated, memory.peak))),
        ("allocator.allocated", whole(of.allocated)),
        ("allocator.active", whole(of.active)),
        ("allocator.resident", whole(of.resident)),
        ("allocator-fragmentation.ratio", Figure::Part(ratio(of.active, of.allocated))),
        ("allocator-fragmentation.bytes", between(of.active, of.allocated)),
        ("allocator-rss.ratio", Figure::Part(ratio(of.resident, of.active))),
        ("allocator-rss.bytes", between(of.resident, of.active)),
        ("rss-overhead.ratio", Figure::Part(ratio(resident, of.resident))),
        ("rss-overhead.bytes", between(resident, of.resident)),
        ("fragmentation", Figure::Part(ratio(resident, of.allocated))),
        ("fragmentation.bytes", between(resident, of.allocated)),
    ];
    reply.map(figures.len());
    for (name, figure) in figures {
        reply.bulk(name.as_bytes());
        match figure {
            Figure::Whole(number) => reply.int(*number),
            Figure::Part(number) => reply.double(*number),
        }
    }
    Ok(())
}

enum Figure {
    Whole(i64),
    Part(f64),
}

fn doctor(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let memory = ctx.server.memory.look(&*ctx.server.allocator);
    let config = ctx.server.config.current();
    let clients = ctx.server.clients.all();
    let unread = clients.iter().map(|client| client.output_bytes.load(Relaxed)).max();
    let text = doctor::diagnosis(&Symptoms {
        memory,
        resident: crate::info::resident_bytes(),
        budget: config.memory_budget(),
        clients: clients.len() as u64,
        clients_bytes: clients_bytes(ctx),
        largest_unread: unread.unwrap_or_default(),
        write_delay_us: ctx.store.engine().write_delay_us(),
    });
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn purge(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let allocator = ctx.server.allocator.clone();
    ctx.then = Some(super::server::work(move || {
        allocator.purge().map_err(|why| format!("ERR Error purging dirty pages: {why}"))
    }));
    Ok(())
}

fn malloc_stats(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let allocator = ctx.server.allocator.clone();
    ctx.then = Some(Then::Work(Box::new(move |proto: Proto| {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, proto);
        match allocator.report() {
            Ok(text) => reply.verbatim(*b"txt", text.as_bytes()),
            Err(why) => reply.error(&Error::reply(format!("ERR {why}")).to_string()),
        }
        out
    })));
    Ok(())
}
