//! XPENDING, XCLAIM and XAUTOCLAIM.

use super::options::number;
use super::{count, end, id, reply_entry, reply_id, start};
use crate::commands::Args;
use forgekv_data::stream::{self, Claim, Fields, Id};
use forgekv_data::{Error, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;

pub(super) fn xpending(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    if args.is_empty() {
        let summary = stream::summary(db, key, group)?;
        reply.array(4);
        reply.int(summary.count as i64);
        let Some((first, last)) = summary.bounds else {
            reply.null();
            reply.null();
            reply.null_array();
            return Ok(());
        };
        reply_id(reply, first);
        reply_id(reply, last);
        reply.array(summary.consumers.len());
        for (name, pending) in &summary.consumers {
            reply.array(2);
            reply.bulk(name);
            reply.bulk(pending.to_string().as_bytes());
        }
        return Ok(());
    }
    if !(3..=6).contains(&args.remaining()) {
        return Err(SYNTAX);
    }
    let mut min_idle_ms = 0;
    if args.flag("IDLE") {
        min_idle_ms = args.int()?.max(0) as u64;
        if args.remaining() < 3 {
            return Err(SYNTAX);
        }
    }
    let (first, last) = (args.next()?, args.next()?);
    let most = count(args)?;
    let bounds = (start(first)?, end(last)?);
    let consumer = args.peek();
    let array = reply.deferred_array();
    let mut n = 0;
    stream::list(
        db,
        key,
        group,
        bounds,
        most,
        consumer,
        min_idle_ms,
        &mut |id, name, idle_ms, deliveries| {
            n += 1;
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(name);
            reply.int(idle_ms as i64);
            reply.int(deliveries as i64);
        },
    )?;
    reply.finish_array(array, n);
    Ok(())
}

fn no_group(key: &[u8], group: &[u8]) -> Error {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Error::reply(format!("NOGROUP No such key '{key}' or consumer group '{group}'"))
}

/// Writes what was claimed: an entry, or its id alone.
fn reply_claimed(reply: &mut Reply<'_>, id: Id, fields: Option<Fields<'_>>) {
    match fields {
        Some(fields) => reply_entry(reply, id, fields),
        None => reply_id(reply, id),
    }
}

pub(super) fn xclaim(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, group, consumer) = (args.key()?, args.next()?, args.next()?);
    if !stream::has_group(db, key, group)? {
        return Err(no_group(key.name, group));
    }
    let idle = number(args, "ERR Invalid min-idle-time argument for XCLAIM")?;
    let mut how = Claim { min_idle_ms: idle.max(0) as u64, ..Claim::default() };
    let mut ids = Vec::new();
    while let Some(Ok(id)) = args.peek().map(|word| id(word, 0)) {
        ids.push(id);
        args.next()?;
    }
    let now_ms = db.now_ms() as i64;
    while let Some(word) = args.peek() {
        if args.flag("FORCE") {
            how.force = true;
        } else if args.flag("JUSTID") {
            how.just_id = true;
        } else if args.option("IDLE") {
            let idle = number(args, "ERR Invalid IDLE option argument for XCLAIM")?;
            how.delivered_ms = u64::try_from(now_ms.saturating_sub(idle)).ok();
        } else if args.option("TIME") {
            let time = number(args, "ERR Invalid TIME option argument for XCLAIM")?;
            how.delivered_ms = u64::try_from(time).ok();
        } else if args.option("RETRYCOUNT") {
            let n = number(args, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
            how.deliveries = u64::try_from(n).ok();
        } else if args.option("LASTID") {
            how.last = Some(id(args.next()?, 0)?);
        } else {
            let text = [b"ERR Unrecognized XCLAIM option '", word, b"'"].concat();
            return Err(Error::reply(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    let array = reply.deferred_array();
    let mut n = 0;
    stream::claim(db, key, group, consumer, &ids, &how, &mut |id, fields| {
        n += 1;
        reply_claimed(reply, id, fields);
        Ok(())
    })?;
    reply.finish_array(array, n);
    Ok(())
}

pub(super) fn xautoclaim(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    /// Redis's bound: ten ids of sixteen bytes for each must be countable.
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (key, group, consumer) = (args.key()?, args.next()?, args.next()?);
    let idle = number(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let from = start(args.next()?)?;
    let (mut most, mut just_id) = (100, false);
    while !args.is_empty() {
        if args.option("COUNT") {
            most = args.int_in(1, COUNT_MAX, "ERR COUNT must be > 0")? as u64;
        } else if args.flag("JUSTID") {
            just_id = true;
        } else {
            return Err(SYNTAX);
        }
    }
    let min_idle_ms = idle.max(0) as u64;
    reply.array(3);
    // Where to go on is known last and told first.
    let mark = reply.mark();
    let array = reply.deferred_array();
    let mut n = 0;
    let (next, deleted) = stream::claim_idle(
        db,
        key,
        group,
        consumer,
        min_idle_ms,
        from,
        most,
        just_id,
        &mut |id, fields| {
            n += 1;
            reply_claimed(reply, id, fields);
            Ok(())
        },
    )?;
    reply.finish_array(array, n);
    let claimed = reply.since(mark).to_vec();
    reply.rewind(mark);
    reply_id(reply, next);
    reply.raw(&claimed);
    reply.array(deleted.len());
    deleted.into_iter().for_each(|id| reply_id(reply, id));
    Ok(())
}
