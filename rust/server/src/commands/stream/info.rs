//! XINFO.

use super::group::unknown;
use super::{reply_entry, reply_id};
use crate::commands::Args;
use forgekv_data::stream::{self, ConsumerInfo, GroupInfo, Id, Info};
use forgekv_data::{Error, Key, NO_SUCH_KEY, Read, Result};
use forgekv_resp::Reply;

/// XINFO STREAM FULL shows so many entries unless told.
const SHOWN: u64 = 10;

pub(super) fn stream(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let options = options(args);
    // What is there is judged first.
    let info = stream::info(db, key)?.ok_or(NO_SUCH_KEY)?;
    let (full, most) = options?;
    let idempotence = if info.idempotence.is_some() { 6 } else { 0 };
    reply.map(if full { 9 } else { 10 } + idempotence);
    facts(reply, &info);
    if full {
        return details(db, key, most, reply);
    }
    pair(reply, "groups", info.groups as i64);
    for (name, last) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        let mut found = false;
        stream::first_and_last(db, key, last, &mut |id, fields| {
            found = true;
            reply_entry(reply, id, fields);
            Ok(())
        })?;
        if !found {
            reply.null();
        }
    }
    Ok(())
}

/// Whether all is shown, and how much of it.
fn options(args: &mut Args<'_>) -> Result<(bool, Option<u64>)> {
    let full = args.flag("FULL");
    let mut most = Some(SHOWN);
    if args.remaining() > 2 {
        return Err(unknown(args));
    }
    if full && args.option("COUNT") {
        most = match args.int()? {
            n if n < 0 => Some(SHOWN),
            0 => None,
            n => Some(n as u64),
        };
    }
    if !args.is_empty() {
        return Err(unknown(args));
    }
    Ok((full, most))
}

fn pair(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.int(value);
}

fn pair_id(reply: &mut Reply<'_>, name: &str, id: Id) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

/// What both forms begin with.
fn facts(reply: &mut Reply<'_>, info: &Info) {
    pair(reply, "length", info.len as i64);
    // A radix tree has a node for each key and one above them.
    pair(reply, "radix-tree-keys", info.blocks as i64);
    pair(reply, "radix-tree-nodes", info.blocks as i64 + 1);
    pair_id(reply, "last-generated-id", info.last);
    pair_id(reply, "max-deleted-entry-id", info.max_deleted);
    pair(reply, "entries-added", info.added as i64);
    pair_id(reply, "recorded-first-entry-id", info.first);
    if let Some(known) = &info.idempotence {
        pair(reply, "idmp-duration", known.duration_s as i64);
        pair(reply, "idmp-maxsize", known.max_size as i64);
        pair(reply, "pids-tracked", known.producers as i64);
        pair(reply, "iids-tracked", known.tracked as i64);
        pair(reply, "iids-added", known.added as i64);
        pair(reply, "iids-duplicates", known.duplicates as i64);
    }
}

fn known(reply: &mut Reply<'_>, number: Option<i64>) {
    match number {
        Some(number) => reply.int(number),
        None => reply.null(),
    }
}

fn details(
    db: &mut Read<'_>,
    key: Key<'_>,
    most: Option<u64>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    reply.bulk(b"entries");
    let (array, mut n) = (reply.deferred_array(), 0);
    stream::range(db, key, (Id::MIN, Id::MAX), false, most, &mut |id, fields| {
        n += 1;
        reply_entry(reply, id, fields);
        Ok(())
    })?;
    reply.finish_array(array, n);
    reply.bulk(b"groups");
    let groups = stream::groups(db, key)?.unwrap_or_default();
    reply.array(groups.len());
    for group in &groups {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        pair_id(reply, "last-delivered-id", group.last);
        reply.bulk(b"entries-read");
        known(reply, group.read.map(|n| n as i64));
        reply.bulk(b"lag");
        known(reply, group.lag);
        pair(reply, "pel-count", group.pending as i64);
        let consumers = stream::consumers(db, key, &group.name)?.unwrap_or_default();
        pending(db, key, group, &consumers, None, most, reply)?;
        reply.bulk(b"consumers");
        reply.array(consumers.len());
        for consumer in &consumers {
            reply.map(5);
            reply.bulk(b"name");
            reply.bulk(&consumer.name);
            pair(reply, "seen-time", consumer.seen_ms as i64);
            pair(reply, "active-time", consumer.active_ms.map_or(-1, |ms| ms as i64));
            pair(reply, "pel-count", consumer.pending as i64);
            pending(db, key, group, &consumers, Some(consumer), most, reply)?;
        }
    }
    Ok(())
}

fn pending(
    db: &mut Read<'_>,
    key: Key<'_>,
    group: &GroupInfo,
    consumers: &[ConsumerInfo],
    only: Option<&ConsumerInfo>,
    most: Option<u64>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    reply.bulk(b"pending");
    let (array, mut n) = (reply.deferred_array(), 0);
    stream::pending_of(db, key, group, consumers, only, most, &mut |id, name, at_ms, times| {
        n += 1;
        reply.array(if only.is_some() { 3 } else { 4 });
        reply_id(reply, id);
        if only.is_none() {
            reply.bulk(name);
        }
        reply.int(at_ms as i64);
        reply.int(times as i64);
    })?;
    reply.finish_array(array, n);
    Ok(())
}

pub(super) fn groups(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let groups = stream::groups(db, args.key()?)?.ok_or(NO_SUCH_KEY)?;
    reply.array(groups.len());
    for group in &groups {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        pair(reply, "consumers", group.consumers as i64);
        pair(reply, "pending", group.pending as i64);
        pair_id(reply, "last-delivered-id", group.last);
        reply.bulk(b"entries-read");
        known(reply, group.read.map(|n| n as i64));
        reply.bulk(b"lag");
        known(reply, group.lag);
    }
    Ok(())
}

pub(super) fn consumers(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    if stream::last_id(db, key)?.is_none() {
        return Err(NO_SUCH_KEY);
    }
    let Some(consumers) = stream::consumers(db, key, group)? else {
        let (key, group) = (String::from_utf8_lossy(key.name), String::from_utf8_lossy(group));
        return Err(Error::reply(format!(
            "NOGROUP No such consumer group '{group}' for key name '{key}'"
        )));
    };
    let now_ms = db.now_ms();
    reply.array(consumers.len());
    for consumer in &consumers {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        pair(reply, "pending", consumer.pending as i64);
        pair(reply, "idle", now_ms.saturating_sub(consumer.seen_ms) as i64);
        let inactive = consumer.active_ms.map(|ms| now_ms.saturating_sub(ms) as i64);
        pair(reply, "inactive", inactive.unwrap_or(-1));
    }
    Ok(())
}
