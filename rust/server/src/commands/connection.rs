//! The connection itself: who the client is, which database and protocol it uses.
//!
//! CLIENT is in [`client`].

use super::{Args, Command, Family, admin};
use crate::acl::{Context, DEFAULT, Reason, Refusal};
use crate::info::REDIS_VERSION;
use crate::road::{Admin, Then};
use forgekv_base::number::parse_i64;
use forgekv_data::{Error, NOT_AN_INTEGER, Result};
use forgekv_resp::{Proto, Reply};

mod client;
mod tracking;

pub(crate) const FAMILY: Family = Family::new(
    "connection",
    &[
        admin("PING", ping, "[message]")
            .fast()
            .subscriber()
            .since("1.0.0")
            .about("Answers PONG, or the message.")
            .complexity("O(1)")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        admin("ECHO", echo, "message")
            .fast()
            .loading()
            .stale()
            .since("1.0.0")
            .about("Answers the message.")
            .complexity("O(1)"),
        entrance("QUIT", quit, "")
            .subscriber()
            .arity(-1)
            .unqueued()
            .since("1.0.0")
            .about("Closes the connection after the answer.")
            .complexity("O(1)")
            .deprecated("7.2.0", "just closing the connection"),
        entrance("RESET", reset, "")
            .subscriber()
            .unqueued()
            .since("6.2.0")
            .about("Makes the connection as if it were new.")
            .complexity("O(1)"),
        admin("SELECT", select, "index")
            .fast()
            .loading()
            .stale()
            .since("1.0.0")
            .about("Chooses the database.")
            .complexity("O(1)"),
        entrance("AUTH", auth, "[username] password")
            .since("1.0.0")
            .about("Tells the password.")
            .complexity("O(1)"),
        entrance("HELLO", hello, "[protover [AUTH username password] [SETNAME clientname]]")
            .since("6.0.0")
            .about("Chooses the protocol and tells who is who.")
            .complexity("O(1)"),
        client::CLIENT,
    ],
);

/// A command that a client may use before it has told its password.
const fn entrance(
    name: &'static str,
    handler: super::command::AdminHandler,
    syntax: &'static str,
) -> Command {
    admin(name, handler, syntax).fast().loading().stale().noscript().no_auth().allow_busy()
}

fn ping(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.remaining() > 1 {
        return Err(args.wrong_number());
    }
    match args.peek() {
        // Looks like a message, for clients that expect nothing else.
        message if ctx.session.only_subscribes() => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(message.unwrap_or_default());
        }
        Some(message) => reply.bulk(message),
        None => reply.simple("PONG"),
    }
    Ok(())
}

fn echo(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.bulk(args.next()?);
    Ok(())
}

fn quit(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.ok();
    ctx.then = Some(Then::Close);
    Ok(())
}

fn reset(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.session.reset(ctx.server);
    reply.set_proto(Proto::Resp2);
    reply.simple("RESET");
    Ok(())
}

fn select(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let index = i32::try_from(args.int()?).map_err(|_| NOT_AN_INTEGER)?;
    match u32::try_from(index).ok().filter(|&db| db < ctx.store.databases()) {
        Some(db) => ctx.session.select(db),
        None => return Err(Error::reply("ERR DB index is out of range")),
    }
    reply.ok();
    Ok(())
}

fn auth(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (user, password) = match *args.rest() {
        [password] => (None, password),
        [user, password] => (Some(user), password),
        _ => return Err(forgekv_data::SYNTAX),
    };
    authenticate(ctx, user, password)?;
    reply.ok();
    Ok(())
}

/// Makes the session a user; without a name the default one.
fn authenticate(ctx: &mut Admin<'_, '_>, name: Option<&[u8]>, password: &[u8]) -> Result<()> {
    let acl = &ctx.server.acl;
    if name.is_none() && acl.default_user().rules().needs_no_password() {
        return Err(Error::reply(
            "ERR AUTH <password> called without any password configured for the default user. Are \
             you sure your configuration is correct?",
        ));
    }
    let name = name.unwrap_or(DEFAULT);
    if let Some(user) = acl.authenticate(name, password)
        && ctx.session.become_user(user)
    {
        ctx.session.authenticated = true;
        return Ok(());
    }
    let refusal = Refusal {
        reason: Reason::Auth,
        context: Context::TopLevel,
        object: ctx.entry.command.name.as_bytes(),
        user: name,
        command: &ctx.entry.name,
        now_ms: ctx.now_ms,
    };
    ctx.server.note_refusal(&ctx.session.client, &refusal);
    Err(Error::reply("WRONGPASS invalid username-password pair or user is disabled."))
}

fn hello(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut proto = ctx.session.proto;
    if let Some(word) = args.peek() {
        proto = match parse_i64(word) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(Error::reply("NOPROTO unsupported protocol version")),
            None => {
                return Err(Error::reply("ERR Protocol version is not an integer or out of range"));
            }
        };
        args.next()?;
    }
    let mut name = None;
    let mut credentials = None;
    while let Some(word) = args.peek() {
        if args.remaining() > 2 && args.flag("AUTH") {
            credentials = Some((args.next()?, args.next()?));
        } else if args.option("SETNAME") {
            name = Some(client::check_name(args.next()?)?);
        } else {
            let word = String::from_utf8_lossy(word);
            return Err(Error::reply(format!("ERR Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(ctx, Some(user), password)?;
    }
    if ctx.session.must_authenticate(&ctx.server.acl) {
        return Err(Error::reply(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
             <proto> AUTH <user> <pass> option can be used to authenticate the client and select \
             the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        ctx.session.client.names.lock().name = name.to_vec();
    }
    ctx.session.set_proto(proto);
    reply.set_proto(proto);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(if proto == Proto::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(ctx.session.client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}
