//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! The gates queue what comes between MULTI and EXEC; [`crate::watch`] knows what is watched.

use super::{Args, Family, admin, compound};
use crate::road::{Admin, Scope};
use crate::transaction::Multi;
use forgekv_data::{Error, Result};
use forgekv_resp::Reply;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) const FAMILY: Family = Family::new(
    "transactions",
    &[
        admin("MULTI", multi, "")
            .fast()
            .noscript()
            .loading()
            .stale()
            .allow_busy()
            .unqueued()
            .since("1.2.0")
            .complexity("O(1)")
            .about("Begins to queue commands for EXEC."),
        compound("EXEC", exec, "")
            .noscript()
            .loading()
            .stale()
            .unqueued()
            .runs_queue()
            .skip_slowlog()
            .since("1.2.0")
            .complexity("Depends on commands in the transaction")
            .about("Runs the queued commands, all of them or none, with nothing in between."),
        admin("DISCARD", discard, "")
            .fast()
            .noscript()
            .loading()
            .stale()
            .allow_busy()
            .unqueued()
            .since("2.0.0")
            .complexity("O(N), when N is the number of queued commands")
            .about("Forgets the queued commands."),
        admin("WATCH", watch, "key [key ...]")
            .fast()
            .noscript()
            .loading()
            .stale()
            .allow_busy()
            .unqueued()
            .sees_data()
            .keys("RO")
            .since("2.2.0")
            .complexity("O(1) for every key.")
            .about("Has the next EXEC run only if keys have not changed by then."),
        admin("UNWATCH", unwatch, "")
            .fast()
            .noscript()
            .loading()
            .stale()
            .allow_busy()
            .since("2.2.0")
            .complexity("O(1)")
            .about("Forgets the watched keys."),
    ],
);

fn multi(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if ctx.session.multi.is_some() {
        return Err(Error::reply("ERR MULTI calls can not be nested"));
    }
    ctx.session.multi = Some(Multi::default());
    ctx.session.client.queued.store(0, Relaxed);
    reply.ok();
    Ok(())
}

fn discard(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if ctx.session.multi.is_none() {
        return Err(Error::reply("ERR DISCARD without MULTI"));
    }
    ctx.session.end_transaction(ctx.server);
    reply.ok();
    Ok(())
}

fn watch(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if ctx.session.multi.is_some() {
        return Err(Error::reply("ERR WATCH inside MULTI is not allowed"));
    }
    let Some(view) = ctx.data.as_deref_mut() else { return Ok(()) };
    for key in args.keys() {
        ctx.server.watches.watch(&ctx.server.interest, &mut ctx.session.watched, view, key)?;
    }
    let (client, watched) = (&ctx.session.client, &ctx.session.watched);
    client.watched.store(watched.len() as u64, Relaxed);
    client.watched_bytes.store(watched.bytes(), Relaxed);
    reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.session.unwatch(ctx.server);
    reply.ok();
    Ok(())
}

/// The queue stays until the whole is committed: a commit may be put back, too. Then the road ends it.
fn exec(scope: &mut Scope<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let Some(multi) = scope.session.multi.take() else {
        return Err(Error::reply("ERR EXEC without MULTI"));
    };
    let result = if multi.is_doomed {
        Err(Error::reply("EXECABORT Transaction discarded because of previous errors."))
    } else {
        run(scope, &multi, reply)
    };
    scope.session.multi = Some(multi);
    result
}

fn run(scope: &mut Scope<'_, '_>, multi: &Multi, reply: &mut Reply<'_>) -> Result<()> {
    if scope.session.watched.has_changed(scope.view)? {
        reply.null_array();
        return Ok(());
    }
    reply.array(multi.len());
    for (position, queued) in multi.commands().iter().enumerate() {
        let Some(entry) = scope.server.table.get(queued.command) else { continue };
        let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
        scope.remember = Some(position);
        if !scope.may(entry, &words, reply) {
            continue;
        }
        scope.call(entry, &words, reply)?;
    }
    scope.remember = None;
    Ok(())
}
