//! CLIENT: what the server knows of its clients, and what a client tells of itself.

use super::tracking;
use crate::acl::User;
use crate::commands::command::HELP;
use crate::commands::{Args, Command, admin, container};
use crate::pause::Paused;
use crate::road::{Admin, Then};
use crate::session::{Client, NO_COMMAND, Replies};
use forgekv_base::number::parse_i64;
use forgekv_data::{Error, Result, SYNTAX};
use forgekv_resp::Reply;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) const CLIENT: Command = container(
    "CLIENT",
    &[
        own("ID", id, "").since("5.0.0").about("Answers the id of this connection."),
        own("INFO", info, "")
            .since("6.2.0")
            .about("Describes this connection.")
            .tips(&["nondeterministic_output"]),
        admin(
            "LIST",
            list,
            "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        )
        .operator()
        .loading()
        .stale()
        .noscript()
        .since("2.4.0")
        .about("Describes connections, one a line.")
        .complexity("O(N), N being the number of connections")
        .tips(&["nondeterministic_output"]),
        admin(
            "KILL",
            kill,
            "<ip:port | [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] \
             [USER username] [ADDR ip:port] [LADDR ip:port] [MAXAGE maxage] [SKIPME <YES | NO>]>",
        )
        .arity(-3)
        .operator()
        .loading()
        .stale()
        .noscript()
        .since("2.4.0")
        .about("Closes connections that fit all filters.")
        .complexity("O(N), N being the number of connections"),
        own("SETNAME", set_name, "connection-name")
            .since("2.6.9")
            .about("Gives this connection a name."),
        own("GETNAME", get_name, "").since("2.6.9").about("Answers this connection's name."),
        own("SETINFO", set_info, "<LIB-NAME libname | LIB-VER libver>")
            .since("7.2.0")
            .about("Tells which client library is in use."),
        own("REPLY", reply_mode, "<ON | OFF | SKIP>")
            .since("3.2.0")
            .about("Says whether commands of this connection are answered."),
        admin("UNBLOCK", unblock, "client-id:integer [TIMEOUT | ERROR]")
            .operator()
            .loading()
            .stale()
            .noscript()
            .since("5.0.0")
            .about("Ends the waiting of a client, as if in vain or with an error.")
            .complexity("O(log N) where N is the number of client connections"),
        admin("PAUSE", pause, "timeout:integer [WRITE | ALL]")
            .arity(-3)
            .operator()
            .loading()
            .stale()
            .noscript()
            .since("3.0.0")
            .about("Has commands that may write, or all, wait for so many milliseconds.")
            .complexity("O(1)"),
        admin("UNPAUSE", unpause, "")
            .operator()
            .loading()
            .stale()
            .noscript()
            .since("6.2.0")
            .about("Lets commands go on that wait because of CLIENT PAUSE.")
            .complexity("O(1)"),
        admin("NO-EVICT", no_evict, "<ON | OFF>")
            .operator()
            .loading()
            .stale()
            .noscript()
            .since("7.0.0")
            .about("Protects this connection when client memory is short.")
            .complexity("O(1)"),
        own("NO-TOUCH", no_touch, "<ON | OFF>")
            .since("7.2.0")
            .about("Says whether this connection's reads count as use of a key."),
        own(
            "TRACKING",
            tracking::tracking,
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
             [OPTOUT] [NOLOOP]",
        )
        .since("6.0.0")
        .about("Says whether this connection is told when keys change that it has read."),
        own("TRACKINGINFO", tracking::info, "")
            .since("6.2.0")
            .about("Tells how this connection is told of changes."),
        own("CACHING", tracking::caching, "<YES | NO>")
            .since("6.0.0")
            .about("Says whether the keys of the next command are kept by the client."),
        own("GETREDIR", tracking::get_redirect, "")
            .since("6.0.0")
            .about("Answers the id of the connection that is told instead of this one."),
        HELP,
    ],
)
.since("2.4.0")
.about("Commands on connections.")
.complexity("Depends on subcommand.");

/// A subcommand on the client's own connection.
const fn own(
    name: &'static str,
    handler: crate::commands::command::AdminHandler,
    syntax: &'static str,
) -> Command {
    admin(name, handler, syntax).loading().stale().noscript().complexity("O(1)")
}

fn id(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.session.client.id as i64);
    Ok(())
}

/// The line of a client, ended.
fn line(ctx: &Admin<'_, '_>, client: &Client) -> Vec<u8> {
    let number = client.command.load(Relaxed);
    let entry = (number != NO_COMMAND).then(|| ctx.server.table.get(number as usize)).flatten();
    let mut line = client.line(ctx.now_ms, entry.map_or("NULL", |entry| &entry.name));
    line.push(b'\n');
    line
}

fn info(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let line = line(ctx, &ctx.session.client);
    reply.verbatim(*b"txt", &line);
    Ok(())
}

/// A type of client.
#[derive(Debug, Clone, Copy)]
enum Type {
    Normal,
    PubSub,
    /// Links of replication, of which there are none.
    Replication,
}

impl Type {
    fn fits(self, client: &Client) -> bool {
        match self {
            Type::Normal => !client.is_subscriber(),
            Type::PubSub => client.is_subscriber(),
            Type::Replication => false,
        }
    }
}

fn type_of(word: &[u8]) -> Result<Type> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Type::Normal),
        b"pubsub" => Ok(Type::PubSub),
        b"master" | b"slave" | b"replica" => Ok(Type::Replication),
        _ => {
            let word = String::from_utf8_lossy(word);
            Err(Error::reply(format!("ERR Unknown client type '{word}'")))
        }
    }
}

fn list(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut clients = ctx.server.clients.all();
    if args.option("TYPE") {
        let kind = type_of(args.next()?)?;
        clients.retain(|client| kind.fits(client));
        args.end()?;
    } else if args.option("ID") {
        let mut ids = Vec::new();
        while !args.is_empty() {
            ids.push(parse_i64(args.next()?).ok_or(Error::reply("ERR Invalid client ID"))?);
        }
        clients = ids.iter().filter_map(|&id| ctx.server.clients.get(id as u64)).collect();
    } else {
        args.end()?;
    }
    let text: Vec<u8> = clients.iter().flat_map(|client| line(ctx, client)).collect();
    reply.verbatim(*b"txt", &text);
    Ok(())
}

fn unblock(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let id = args.int()?;
    let with_error = args.flag("ERROR");
    if !with_error && !args.flag("TIMEOUT") && !args.is_empty() {
        return Err(Error::reply("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let client = u64::try_from(id).ok().and_then(|id| ctx.server.clients.get(id));
    let waiter = client.and_then(|client| client.waiter.lock().clone());
    let ended = waiter.is_some_and(|waiter| {
        let mut answer = Vec::new();
        let mut theirs = Reply::new(&mut answer, waiter.proto);
        if with_error {
            theirs.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        } else {
            waiter.nil.write_in_vain(&mut theirs);
        }
        waiter.answer(answer)
    });
    reply.int(i64::from(ended));
    Ok(())
}

/// What KILL asks for; all that is given must hold.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<Type>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<Arc<User>>,
    max_age_s: Option<u64>,
    skip_me: bool,
}

impl Filter<'_> {
    fn fits(&self, client: &Client, me: u64, now_ms: u64) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind.fits(client))
            && self.address.is_none_or(|address| address == client.address.as_bytes())
            && self.local_address.is_none_or(|address| address == client.local_address.as_bytes())
            && self.user.as_ref().is_none_or(|user| Arc::ptr_eq(user, &client.user.lock()))
            && self.max_age_s.is_none_or(|s| now_ms.saturating_sub(client.since_ms) / 1000 >= s)
            && !(self.skip_me && client.id == me)
    }
}

fn kill(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let me = ctx.session.client.id;
    if args.remaining() == 1 {
        let filter = Filter { address: Some(args.next()?), ..Filter::default() };
        let found = close(ctx, &filter, me);
        if found == 0 {
            return Err(Error::reply("ERR No such client"));
        }
        reply.ok();
        return Ok(());
    }
    let mut filter = Filter { skip_me: true, ..Filter::default() };
    while !args.is_empty() {
        if args.option("ID") {
            let id = parse_i64(args.next()?).filter(|&id| id > 0);
            let id = id.ok_or(Error::reply("ERR client-id should be greater than 0"))?;
            filter.id = Some(id as u64);
        } else if args.option("TYPE") {
            filter.kind = Some(type_of(args.next()?)?);
        } else if args.option("USER") {
            let name = args.next()?;
            filter.user = Some(ctx.server.acl.get(name).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                Error::reply(format!("ERR No such user '{name}'"))
            })?);
        } else if args.option("ADDR") {
            filter.address = Some(args.next()?);
        } else if args.option("LADDR") {
            filter.local_address = Some(args.next()?);
        } else if args.option("MAXAGE") {
            let age = parse_i64(args.next()?).filter(|&age| age > 0);
            let age = age.ok_or(Error::reply("ERR maxage should be greater than 0"))?;
            filter.max_age_s = Some(age as u64);
        } else if args.option("SKIPME") {
            filter.skip_me = if args.flag("YES") {
                true
            } else if args.flag("NO") {
                false
            } else {
                return Err(SYNTAX);
            };
        } else {
            return Err(SYNTAX);
        }
    }
    reply.int(close(ctx, &filter, me) as i64);
    Ok(())
}

/// Closes the clients that fit; one's own connection after the answer.
fn close(ctx: &mut Admin<'_, '_>, filter: &Filter<'_>, me: u64) -> usize {
    let fits = |client: &Arc<Client>| filter.fits(client, me, ctx.now_ms);
    let clients: Vec<_> = ctx.server.clients.all().into_iter().filter(fits).collect();
    for client in &clients {
        client.is_closing.store(true, Relaxed);
        if client.id == me {
            ctx.then = Some(Then::Close);
        } else {
            // It is gone from the lists when this command is answered.
            ctx.server.clients.remove(client.id);
            ctx.server.close_client(client.worker, client.id);
        }
    }
    clients.len()
}

/// Names are words that can stand in CLIENT LIST.
fn is_word(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub(super) fn check_name(name: &[u8]) -> Result<&[u8]> {
    if is_word(name) {
        return Ok(name);
    }
    Err(Error::reply("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn set_name(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let name = check_name(args.next()?)?;
    ctx.session.client.names.lock().name = name.to_vec();
    reply.ok();
    Ok(())
}

fn get_name(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let names = ctx.session.client.names.lock();
    if names.name.is_empty() {
        reply.null()
    } else {
        reply.bulk(&names.name)
    }
    Ok(())
}

fn set_info(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let what = args.next()?;
    let value = args.next()?;
    let name = String::from_utf8_lossy(what);
    let is_name = what.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !what.eq_ignore_ascii_case(b"lib-ver") {
        return Err(Error::reply(format!("ERR Unrecognized option '{name}'")));
    }
    if !is_word(value) {
        return Err(Error::reply(format!(
            "ERR {name} cannot contain spaces, newlines or special characters."
        )));
    }
    let mut names = ctx.session.client.names.lock();
    if is_name {
        names.lib_name = value.to_vec();
    } else {
        names.lib_version = value.to_vec();
    }
    reply.ok();
    Ok(())
}

fn reply_mode(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.session.replies = if args.flag("ON") {
        reply.ok();
        Replies::On
    } else if args.flag("OFF") {
        Replies::Off
    } else if args.flag("SKIP") {
        // Switched off altogether it stays.
        match ctx.session.replies {
            Replies::Off => Replies::Off,
            _ => Replies::SkipNext,
        }
    } else {
        return Err(SYNTAX);
    };
    Ok(())
}

fn pause(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.remaining() > 2 {
        return Err(args.wrong_arguments());
    }
    let mut timeout = args.clone();
    args.next()?;
    let what = if args.is_empty() || args.flag("ALL") {
        Paused::Everything
    } else if args.flag("WRITE") {
        Paused::Writes
    } else {
        return Err(Error::reply("ERR CLIENT PAUSE mode must be WRITE or ALL"));
    };
    let ms = parse_i64(timeout.next()?)
        .ok_or(Error::reply("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::reply("ERR timeout is negative"))?;
    let until_ms = ctx.server.pause.begin(what, ctx.now_ms.saturating_add(ms));
    ctx.store.keep_expired_until(until_ms);
    reply.ok();
    Ok(())
}

fn unpause(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.pause.end();
    ctx.store.keep_expired_until(0);
    reply.ok();
    Ok(())
}

fn switch(args: &mut Args<'_>) -> Result<bool> {
    if args.flag("ON") {
        Ok(true)
    } else if args.flag("OFF") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

fn no_evict(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let stays = switch(args)?;
    ctx.session.client.no_evict.store(stays, Relaxed);
    reply.ok();
    if !stays {
        ctx.server.count_memory(&ctx.session.client, &ctx.settings.config);
    }
    Ok(())
}

fn no_touch(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.session.client.no_touch.store(switch(args)?, Relaxed);
    reply.ok();
    Ok(())
}
