//! DEBUG: for tests of servers, behind `enable-debug-command`. What has no meaning here is an error.

use self::populate::populate;
use super::{Args, Command, admin};
use crate::road::{Admin, Then};
use forgekv_base::glob;
use forgekv_data::{Error, Result, digest, keys};
use forgekv_resp::Reply;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

mod populate;

pub(super) const DEBUG: Command = admin("DEBUG", unknown, "[subcommand [arg ...]]")
    .arity(-2)
    .operator()
    .debug()
    .loading()
    .stale()
    .noscript()
    .since("1.0.0")
    .about("Looks into the server, for tests.")
    .complexity("Depends on subcommand.")
    .subcommands(&[
        hidden("SLEEP", sleep, "seconds:double").about("Lets time pass before the answer."),
        hidden("SET-ACTIVE-EXPIRE", set_active_expire, "value:integer")
            .about("Stops (0) or lets run (1) the cycle that removes expired keys."),
        hidden("SET-DISABLE-DENY-SCRIPTS", set_disable_deny_scripts, "value:integer")
            .about("Lets scripts call (1) what they may not otherwise (0)."),
        hidden("RELOAD", reload, "[NOSAVE] [NOFLUSH] [MERGE]")
            .no_multi()
            .about("Closes the data, opens it again and recovers it."),
        hidden("POPULATE", populate, "count:integer [prefix:string [size:integer]]")
            .about("Makes as many strings, but for keys that are there."),
        hidden("PAUSE-CRON", pause_cron, "value:integer")
            .about("Stops (1) or lets go on (0) what the server does by itself now and then."),
        hidden("REPLYBUFFER", reply_buffer, "RESIZING value:integer")
            .about("Has clients keep (0) or give back (1) the buffers of their answers."),
        hidden("CONFIG-REWRITE-FORCE-ALL", rewrite_all, "")
            .about("Writes every directive into the configuration file."),
        hidden("LOADAOF", reload, "").no_multi().about("As RELOAD: the log is all there is."),
        hidden("OBJECT", object, "key")
            .keys("RO")
            .sees_data()
            .about("Tells how a value is stored."),
        hidden("DIGEST", digest, "")
            .all_shards()
            .sees_data()
            .about("Answers a fingerprint of all data, the same for equal data."),
        hidden("DIGEST-VALUE", digest_value, "key [key ...]")
            .keys("RO")
            .sees_data()
            .about("Answers a fingerprint of each value, the same for equal values."),
        hidden("PROTOCOL", protocol, "type:string").about("Answers a value of a type."),
        hidden("STRINGMATCH-LEN", string_match_len, "length:integer pattern:string")
            .about("Matches a pattern against so many letters a."),
        hidden("ERROR", error, "message").about("Answers an error with this text."),
        hidden("LOG", log, "message").about("Writes a line into the log."),
        hidden("HELP", super::help::help, "").about("Lists the subcommands."),
    ]);

const fn hidden(
    name: &'static str,
    handler: super::command::AdminHandler,
    syntax: &'static str,
) -> Command {
    admin(name, handler, syntax)
        .operator()
        .debug()
        .loading()
        .stale()
        .noscript()
        .hidden()
        .since("1.0.0")
}

fn unknown(_: &mut Admin<'_, '_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    Err(args.wrong_subcommand(args.peek().unwrap_or_default()))
}

fn sleep(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let seconds = args.float()?.max(0.0);
    // Others go on: nothing here stops the whole server.
    ctx.then = Some(Then::Sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)));
    Ok(())
}

fn set_active_expire(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    ctx.store.set_active_expiry(args.int()? != 0);
    reply.ok();
    Ok(())
}

fn set_disable_deny_scripts(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    ctx.server.scripts.may_all.store(args.int()? != 0, Relaxed);
    reply.ok();
    Ok(())
}

fn pause_cron(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.switches.set_pause_cron(args.int()? != 0);
    reply.ok();
    Ok(())
}

fn reply_buffer(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !args.flag("RESIZING") {
        // Of peaks that are remembered there are none.
        return Err(args.wrong_arguments());
    }
    ctx.server.switches.set_keep_buffers(args.int()? == 0);
    reply.ok();
    Ok(())
}

fn rewrite_all(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    ctx.then = Some(super::server::rewrite_config(ctx.server, true));
    Ok(())
}

fn reload(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let (mut keeps, mut merges) = (false, false);
    while !args.is_empty() {
        if args.flag("NOFLUSH") {
            keeps = true;
        } else if args.flag("MERGE") {
            merges = true;
        } else if !args.flag("NOSAVE") {
            return Err(Error::reply(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    // What is loaded is the data itself: merged with what there is it changes nothing.
    if keeps && !merges {
        return Err(Error::reply(
            "ERR Error trying to load the RDB dump: without MERGE, what is there already is in the way",
        ));
    }
    let server = ctx.server.clone();
    let active = ctx.store.expires_actively();
    ctx.then = Some(super::server::work(move || {
        server.reload().map_err(|why| format!("ERR Error trying to load the data: {why}"))?;
        if let Some(store) = server.store() {
            store.set_active_expiry(active);
        }
        Ok(())
    }));
    Ok(())
}

fn object(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let Some(view) = ctx.data.as_mut() else { return Err(forgekv_data::NO_SUCH_KEY) };
    let Some((encoding, bytes)) = keys::encoding_of_any(view, key)? else {
        return Err(forgekv_data::NO_SUCH_KEY);
    };
    let length = keys::usage(view, key, 0)?.unwrap_or(bytes as u64);
    reply.simple(&format!(
        "Value at:{:#x} refcount:1 encoding:{encoding} serializedlength:{length}",
        key.place
    ));
    Ok(())
}

fn digest(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let Some(view) = ctx.data.as_mut() else { return Err(forgekv_data::NO_SUCH_KEY) };
    reply.simple(&digest::everything(view)?.to_hex());
    Ok(())
}

fn digest_value(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let Some(view) = ctx.data.as_mut() else { return Err(forgekv_data::NO_SUCH_KEY) };
    let keys = args.keys();
    reply.array(keys.len());
    for key in keys {
        reply.simple(&digest::value(view, key)?.to_hex());
    }
    Ok(())
}

#[expect(clippy::approx_constant, reason = "Redis answers this number")]
fn protocol(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let kind = args.next()?;
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(3.141),
        b"bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.bool(n == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !reply.is_resp3() {
                return Err(Error::reply("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => reply.bool(true),
        b"false" => reply.bool(false),
        _ => {
            return Err(Error::reply(
                "ERR Wrong protocol type name. Please use one of the following: string, integer, \
                 double, bignum, null, array, set, map, attrib, push, verbatim, true, false",
            ));
        }
    }
    Ok(())
}

fn string_match_len(
    _: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    const MOST: i64 = 1 << 24;
    let length = args.int_in(0, MOST, "ERR value is not an integer or out of range")?;
    let text = vec![b'a'; length as usize];
    reply.int(i64::from(glob::matches(args.next()?, &text, false)));
    Ok(())
}

fn error(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.error_bytes(args.next()?);
    Ok(())
}

fn log(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.next()?));
    reply.ok();
    Ok(())
}
