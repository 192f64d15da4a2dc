//! The list commands that wait until there is something to take.

use super::{End, One, end, pop_first, take_one};
use crate::commands::Args;
use crate::waiting::{Nil, Wait};
use forgekv_data::list;
use forgekv_data::{Kind, Result, Write};
use forgekv_resp::Reply;

type Waits = Result<Option<Wait>>;

fn wait(timeout_ms: u64, nil: Nil) -> Option<Wait> {
    let (kind, or_gone, words) = (Kind::List, None, None);
    Some(Wait { timeout_ms, kind, or_gone, nil, words, only_first: false })
}

/// For something to move: nothing is expected where it goes to.
fn wait_to_move(timeout_ms: u64) -> Option<Wait> {
    wait(timeout_ms, Nil::Bulk).map(|wait| Wait { only_first: true, ..wait })
}

pub(super) fn blpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop(db, args, reply, End::Left)
}

pub(super) fn brpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Waits {
    pop(db, args, reply, End::Right)
}

fn pop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>, end: End) -> Waits {
    let timeout_ms = args.last_timeout()?;
    for _ in 1..args.remaining() {
        let key = args.key()?;
        if db.header_of(key, Kind::List)?.is_none() {
            continue;
        }
        reply.array(2);
        reply.bulk(key.name);
        list::pop(db, key, end, 1, &mut One(reply))?;
        return Ok(None);
    }
    Ok(wait(timeout_ms, Nil::Array))
}

pub(super) fn blmpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let timeout_ms = args.timeout()?;
    Ok(if pop_first(db, args, reply)? { None } else { wait(timeout_ms, Nil::Array) })
}

pub(super) fn blmove(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let (source, target) = (args.key()?, args.key()?);
    let (from, to) = ((source, end(args)?), (target, end(args)?));
    let timeout_ms = args.timeout()?;
    Ok(if take_one(db, from, to, reply)? { None } else { wait_to_move(timeout_ms) })
}

pub(super) fn brpoplpush(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Waits {
    let (source, target) = (args.key()?, args.key()?);
    let timeout_ms = args.timeout()?;
    let moved = take_one(db, (source, End::Right), (target, End::Left), reply)?;
    Ok(if moved { None } else { wait_to_move(timeout_ms) })
}
