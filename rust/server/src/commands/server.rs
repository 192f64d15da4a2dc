//! The server as a whole: its figures, its configuration, its end.
//!
//! COMMAND is in [`introspect`](super::introspect), DEBUG in [`debug`](super::debug).

use super::command::HELP;
use super::{Args, Command, Family, admin, container};
use crate::info::{self, Clients, Database, Snapshot, Storage};
use crate::pubsub::Kind;
use crate::rewrites;
use crate::road::{Admin, Then};
use crate::saves;
use crate::server::Shared;
use forgekv_base::clock;
use forgekv_data::{Error, Result, SYNTAX, scan};
use forgekv_resp::{Proto, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const SHUTDOWN_FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[
        admin("TIME", time, "")
            .fast()
            .loading()
            .stale()
            .since("2.6.0")
            .about("Tells the time.")
            .complexity("O(1)")
            .tips(&["nondeterministic_output"]),
        admin("LASTSAVE", last_save, "")
            .fast()
            .loading()
            .stale()
            .since("1.0.0")
            .about("Tells when an RDB file was last written, or else when the data was opened.")
            .complexity("O(1)")
            .categories(&["admin", "dangerous"])
            .tips(&["nondeterministic_output"]),
        admin("SAVE", save, "")
            .operator()
            .noscript()
            .no_multi()
            .no_async_loading()
            .since("1.0.0")
            .about("Writes an RDB file of everything; others go on meanwhile.")
            .complexity("O(N), N being the number of keys in all databases"),
        admin("BGSAVE", save_in_background, "[SCHEDULE]")
            .operator()
            .noscript()
            .no_async_loading()
            .since("1.0.0")
            .about("Begins to write an RDB file of everything.")
            .complexity("O(1)"),
        admin("BGREWRITEAOF", rewrite_in_background, "")
            .operator()
            .noscript()
            .no_async_loading()
            .since("1.0.0")
            .about("Begins to write all data anew in as few and as small files as possible.")
            .complexity("O(1)"),
        container(
            "MODULE",
            &[
                admin("LIST", module_list, "")
                    .operator()
                    .noscript()
                    .since("4.0.0")
                    .about("Lists modules: there are none.")
                    .complexity("O(1)")
                    .tips(&["nondeterministic_output_order"]),
                module("LOAD", "path:string [arg [arg ...]]", "4.0.0"),
                module(
                    "LOADEX",
                    "path:string [CONFIG name:string value:string] [ARGS arg [arg ...]]",
                    "7.0.0",
                ),
                module("UNLOAD", "name:string", "4.0.0"),
                HELP,
            ],
        )
        .since("4.0.0")
        .about("Commands on modules, which this server cannot load.")
        .complexity("Depends on subcommand."),
        admin("INFO", info, "[section [section ...]]")
            .loading()
            .stale()
            .dangerous()
            .all_shards()
            .sees_data()
            .since("1.0.0")
            .about("Tells figures of the server.")
            .complexity("O(1)")
            .tips(&[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ]),
        container(
            "CONFIG",
            &[
                directive("GET", config_get, "parameter [parameter ...]")
                    .since("2.0.0")
                    .about("Tells values of directives that match patterns.")
                    .complexity("O(N), N being the number of directives"),
                directive("SET", config_set, "parameter value [parameter value ...]")
                    .since("2.0.0")
                    .about("Changes directives: all of them or none.")
                    .complexity("O(N), N being the number of directives")
                    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
                directive("REWRITE", config_rewrite, "")
                    .since("2.8.0")
                    .about("Writes the values in force into the configuration file.")
                    .complexity("O(1)"),
                directive("RESETSTAT", config_reset_stat, "")
                    .since("2.0.0")
                    .about("Begins to count anew what INFO counts.")
                    .complexity("O(1)"),
                HELP,
            ],
        )
        .since("2.0.0")
        .about("Commands on the configuration.")
        .complexity("Depends on subcommand."),
        super::introspect::COMMAND,
        super::acl::ACL,
        super::debug::DEBUG,
        admin("SHUTDOWN", shutdown, "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]")
            .operator()
            .loading()
            .stale()
            .noscript()
            .no_multi()
            .allow_busy()
            .since("1.0.0")
            .about("Ends the server; what was acknowledged stays, with or without SAVE.")
            .complexity("O(1), or with SAVE O(N), N being the number of keys in all databases"),
    ],
);

const fn directive(
    name: &'static str,
    handler: super::command::AdminHandler,
    syntax: &'static str,
) -> Command {
    admin(name, handler, syntax).operator().loading().stale().noscript()
}

fn time(_: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let now_us = clock::now_us();
    reply.array(2);
    reply.bulk_int((now_us / 1_000_000) as i64);
    reply.bulk_int((now_us % 1_000_000) as i64);
    Ok(())
}

fn last_save(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.server.saves.last_s() as i64);
    Ok(())
}

fn save(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let server = ctx.server.clone();
    ctx.then = Some(work(move || saves::save(&server)));
    Ok(())
}

fn save_in_background(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    // Nothing else ever keeps it from beginning, so there is nothing to wait for.
    args.flag("SCHEDULE");
    args.end()?;
    saves::save_in_background(ctx.server).map_err(Error::reply)?;
    reply.simple("Background saving started");
    Ok(())
}

fn rewrite_in_background(
    ctx: &mut Admin<'_, '_>,
    _: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    rewrites::begin(ctx.server).map_err(Error::reply)?;
    reply.simple("Background append only file rewriting started");
    Ok(())
}

const fn module(name: &'static str, syntax: &'static str, since: &'static str) -> Command {
    const HANDLER: super::command::AdminHandler = module_refused;
    admin(name, HANDLER, syntax)
        .operator()
        .noscript()
        .no_async_loading()
        .since(since)
        .about("Refused: modules cannot be loaded.")
        .complexity("O(1)")
}

fn module_list(_: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.array(0);
    Ok(())
}

fn module_refused(_: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    Err(Error::reply("ERR MODULE command not allowed: this server cannot load modules"))
}

fn info(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let names = args.rest();
    let keyspace = if wants_keyspace(names) { keyspace(ctx)? } else { Vec::new() };
    let engine = ctx.store.engine();
    let stats = match ctx.data.as_mut() {
        Some(view) => view.guard().stats(),
        None => engine.stats(),
    };
    let server = ctx.server;
    let config = server.config.current();
    let totals = server.stats.totals();
    let clients = server.clients.all();
    let most = |of: fn(&crate::session::Client) -> u64| clients.iter().map(|c| of(c)).max();
    let blocking = server.waiting.keys();
    let snapshot = Snapshot {
        now_us: clock::now_us(),
        config: &config,
        identity: &server.identity,
        totals: &totals,
        rates: server.stats.rates(),
        clients: Clients {
            connected: clients.len() as u64,
            blocked: Some((server.waiting.clients() + server.pause.waiting()) as u64),
            blocking_keys: (blocking.0 as u64, blocking.1 as u64),
            paused: server.pause.waiting() as u64,
            evicted: server.clients.evicted(),
            max_input_buffer: most(|c| c.input_bytes.load(Relaxed)),
            max_output_buffer: most(|c| c.output_bytes.load(Relaxed)),
            buffer_bytes: Some(clients.iter().map(|c| c.memory()).sum()),
            pubsub_channels: server.pubsub.len(Kind::Channel) as u64,
            pubsub_patterns: server.pubsub.len(Kind::Pattern) as u64,
            pubsub_shard_channels: server.pubsub.len(Kind::Shard) as u64,
            pubsub: server.pubsub.clients() as u64,
            tracking: server.tracking.clients(),
            tracking_keys: server.tracking.names(),
            tracking_items: server.tracking.items(),
            tracking_prefixes: server.tracking.prefixes(),
        },
        scripting: server.scripts.figures(),
        storage: Storage::of(engine, stats),
        saves: server.saves.figures(server.stats.changes()),
        denials: server.acl.denials(),
        rewrites: server.rewrites.figures(),
        keyspace: &keyspace,
        allocator: &*server.allocator,
        memory: server.memory.look(&*server.allocator),
        command_name: &|id| server.table.get(id).map_or_else(String::new, |e| e.name.clone()),
    };
    let text = info::info(&snapshot, names);
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Counting keys may have to look for some on disk: it is done only when it is asked for.
fn wants_keyspace(names: &[&[u8]]) -> bool {
    let with = [&b"keyspace"[..], b"default", b"all", b"everything"];
    names.is_empty()
        || names.iter().any(|name| with.iter().any(|with| name.eq_ignore_ascii_case(with)))
}

pub(super) fn keyspace(ctx: &mut Admin<'_, '_>) -> Result<Vec<Database>> {
    let Some(view) = ctx.data.as_mut() else { return Ok(Vec::new()) };
    let mut databases = Vec::new();
    for index in 0..ctx.store.databases() {
        view.switch_db(index);
        let keys = scan::count(view)?;
        if keys > 0 {
            let (expires, avg_ttl_ms) = scan::expiring(view)?;
            databases.push(Database { index, keys, expires, avg_ttl_ms });
        }
    }
    Ok(databases)
}

fn config_get(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let found = ctx.server.config.get(args.rest());
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(&value);
    }
    Ok(())
}

fn config_set(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !args.remaining().is_multiple_of(2) {
        return Err(args.wrong_number());
    }
    let pairs: Vec<(&[u8], &[u8])> = args
        .rest()
        .chunks_exact(2)
        .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
        .collect();
    let is_local = ctx.session.client.is_local;
    ctx.server.config.set(&pairs, is_local, ctx.server).map_err(Error::reply)?;
    reply.ok();
    Ok(())
}

fn config_rewrite(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    ctx.then = Some(rewrite_config(ctx.server, false));
    Ok(())
}

/// Writes the configuration file; with `all` even what is so by default.
pub(super) fn rewrite_config(server: &Shared, all: bool) -> Then {
    let config = server.config.clone();
    let users = server.acl.lines_for(&config.current(), &server.table);
    work(move || config.rewrite(users, all))
}

fn config_reset_stat(
    ctx: &mut Admin<'_, '_>,
    _: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    ctx.server.stats.reset();
    ctx.server.clients.reset_evicted();
    ctx.server.memory.reset(&*ctx.server.allocator);
    reply.ok();
    Ok(())
}

/// Work on a thread that may wait, answered with OK or the error's text.
pub(super) fn work(
    work: impl FnOnce() -> std::result::Result<(), String> + Send + 'static,
) -> Then {
    Then::Work(Box::new(move |proto: Proto| {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, proto);
        match work() {
            Ok(()) => reply.ok(),
            Err(text) => reply.error_bytes(text.as_bytes()),
        }
        out
    }))
}

fn shutdown(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (mut save, mut no_save, mut abort) = (false, false, false);
    let (mut now, mut force) = (false, false);
    while !args.is_empty() {
        if args.flag("SAVE") {
            save = true;
        } else if args.flag("NOSAVE") {
            no_save = true;
        } else if args.flag("ABORT") {
            abort = true;
        } else if args.flag("NOW") {
            // Nobody is waited for anyway.
            now = true;
        } else if args.flag("FORCE") {
            force = true;
        } else {
            return Err(SYNTAX);
        }
    }
    if (save && no_save) || (abort && (save || no_save || now || force)) {
        return Err(SYNTAX);
    }
    if abort {
        if !ctx.server.abort_stop() {
            return Err(Error::reply("ERR No shutdown in progress."));
        }
        tracing::info!("Shutdown manually aborted.");
        reply.ok();
        return Ok(());
    }
    let server = ctx.server.clone();
    ctx.then = Some(if save {
        Then::Work(Box::new(move |proto: Proto| {
            let mut out = Vec::new();
            match saves::save(&server) {
                Err(_) if !force => Reply::new(&mut out, proto).error(SHUTDOWN_FAILED),
                _ => end(&server),
            }
            out
        }))
    } else {
        end(&server);
        Then::Close
    });
    Ok(())
}

fn end(server: &Arc<Shared>) {
    tracing::info!("a client asks the server to end");
    server.request_stop();
}
