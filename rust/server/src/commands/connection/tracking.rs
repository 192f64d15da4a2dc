//! CLIENT TRACKING and its kin: a client says that it keeps copies of values. What follows from that is in
//! [`crate::tracking`].

use crate::commands::Args;
use crate::road::Admin;
use crate::session::Session;
use crate::tracking::{Mode, OptIn, bit};
use forgekv_base::number::parse_i64;
use forgekv_data::{Error, NOT_AN_INTEGER, Result, SYNTAX};
use forgekv_resp::Reply;
use std::sync::atomic::Ordering::Relaxed;

/// What CLIENT TRACKING was given besides ON or OFF.
#[derive(Default)]
struct Options<'a> {
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    redirect: Option<u64>,
    prefixes: Vec<&'a [u8]>,
}

pub(super) fn tracking(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let word = args.next()?;
    let options = options(ctx, args)?;
    if word.eq_ignore_ascii_case(b"OFF") {
        ctx.session.stop_tracking(ctx.server);
    } else if word.eq_ignore_ascii_case(b"ON") {
        switch_on(ctx, options)?;
    } else {
        return Err(SYNTAX);
    }
    reply.ok();
    Ok(())
}

fn options<'a>(ctx: &Admin<'_, '_>, args: &mut Args<'a>) -> Result<Options<'a>> {
    let mut options = Options::default();
    while !args.is_empty() {
        if args.option("REDIRECT") {
            if options.redirect.is_some() {
                return Err(Error::reply(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let id = parse_i64(args.next()?).ok_or(NOT_AN_INTEGER)?;
            let id = u64::try_from(id).ok().filter(|&id| ctx.server.clients.get(id).is_some());
            options.redirect = Some(id.ok_or_else(|| {
                Error::reply("ERR The client ID you want redirect to does not exist")
            })?);
        } else if args.flag("BCAST") {
            options.broadcast = true;
        } else if args.flag("OPTIN") {
            options.opt_in = true;
        } else if args.flag("OPTOUT") {
            options.opt_out = true;
        } else if args.flag("NOLOOP") {
            options.no_loop = true;
        } else if args.option("PREFIX") {
            options.prefixes.push(args.next()?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

fn switch_on(ctx: &mut Admin<'_, '_>, options: Options<'_>) -> Result<()> {
    let Options { broadcast, opt_in, opt_out, no_loop, redirect, prefixes } = options;
    if !broadcast && !prefixes.is_empty() {
        return Err(Error::reply("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    let before = ctx.session.tracking.as_deref();
    if before.is_some_and(|before| before.broadcast != broadcast) {
        return Err(Error::reply(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
             then re-enabling it with a different mode.",
        ));
    }
    if broadcast && (opt_in || opt_out) {
        return Err(Error::reply("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    let opt = match (opt_in, opt_out) {
        (false, false) => OptIn::Always,
        (true, false) => OptIn::In,
        (false, true) => OptIn::Out,
        (true, true) => {
            return Err(Error::reply("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
    };
    let was = before.map_or(OptIn::Always, |before| before.opt);
    if opt != OptIn::Always && was != OptIn::Always && opt != was {
        return Err(Error::reply(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
             then re-enabling it with a different mode.",
        ));
    }
    let known = before.map_or(&[][..], |before| &before.prefixes);
    let prefixes = disjoint(known, &prefixes)?;
    let mut mode = ctx.session.tracking.take().unwrap_or_default();
    (mode.broadcast, mode.opt, mode.no_loop, mode.redirect) = (broadcast, opt, no_loop, redirect);
    if broadcast {
        mode.prefixes.extend(prefixes);
        mode.prefixes.sort();
        mode.prefixes.dedup();
    }
    ctx.server.tracking.enable(&ctx.server.interest, &ctx.session.client, &mode);
    ctx.session.tracking = Some(mode);
    Ok(())
}

/// The prefixes that are new; none given is one that everything begins with.
fn disjoint(known: &[Vec<u8>], new: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refuse = |prefix: &[u8], which: &str, other: &[u8]| {
        let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
        Err(Error::reply(format!(
            "ERR Prefix '{prefix}' overlaps with {which} prefix '{other}'. Prefixes for a single \
             client must not overlap."
        )))
    };
    for (n, prefix) in new.iter().enumerate() {
        if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
            return refuse(prefix, "an existing", other);
        }
        if let Some(other) = new.iter().skip(n + 1).find(|other| overlap(prefix, other)) {
            return refuse(prefix, "another provided", other);
        }
    }
    if new.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    Ok(new.iter().map(|prefix| prefix.to_vec()).collect())
}

pub(super) fn caching(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let Some(mode) = ctx.session.tracking.as_deref_mut() else {
        return Err(Error::reply(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    let fits = if args.flag("YES") {
        (mode.opt == OptIn::In)
            .then_some(())
            .ok_or("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if args.flag("NO") {
        (mode.opt == OptIn::Out)
            .then_some(())
            .ok_or("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(SYNTAX);
    };
    fits.map_err(Error::reply)?;
    mode.say_caching();
    reply.ok();
    Ok(())
}

/// The client that is told instead of this one: 0 if none is, -1 without tracking.
fn redirect(session: &Session) -> i64 {
    session.tracking.as_deref().map_or(-1, |mode| mode.redirect.unwrap_or(0) as i64)
}

pub(super) fn get_redirect(
    ctx: &mut Admin<'_, '_>,
    _: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    reply.int(redirect(ctx.session));
    Ok(())
}

pub(super) fn info(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let session = &*ctx.session;
    let mode = session.tracking.as_deref();
    let flags = mode.map_or_else(|| vec!["off"], |mode| flags(session, mode));
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(redirect(session));
    reply.bulk(b"prefixes");
    let prefixes = mode.map_or(&[][..], |mode| &mode.prefixes);
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

fn flags(session: &Session, mode: &Mode) -> Vec<&'static str> {
    let said = mode.is_caching_said();
    let is_broken = session.client.tracking.load(Relaxed) & bit::BROKEN != 0;
    let named = [
        (true, "on"),
        (mode.broadcast, "bcast"),
        (mode.opt == OptIn::In, "optin"),
        (mode.opt == OptIn::In && said, "caching-yes"),
        (mode.opt == OptIn::Out, "optout"),
        (mode.opt == OptIn::Out && said, "caching-no"),
        (mode.no_loop, "noloop"),
        (is_broken, "broken_redirect"),
    ];
    named.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}
