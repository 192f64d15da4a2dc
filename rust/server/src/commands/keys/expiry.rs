//! EXPIRE and its relatives.

use super::Args;
use forgekv_data::expire::{self, Condition, Expires};
use forgekv_data::{Error, Read, Result, Write};
use forgekv_resp::Reply;

/// What the argument counts, and from when.
#[derive(Clone, Copy)]
struct Clock {
    /// Milliseconds in one unit.
    unit: i64,
    /// From now on, or from 1970.
    relative: bool,
}

const IN_SECONDS: Clock = Clock { unit: 1000, relative: true };
const IN_MILLISECONDS: Clock = Clock { unit: 1, relative: true };
const AT_SECOND: Clock = Clock { unit: 1000, relative: false };
const AT_MILLISECOND: Clock = Clock { unit: 1, relative: false };

pub(super) fn expire(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    set(db, args, reply, IN_SECONDS)
}

pub(super) fn pexpire(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    set(db, args, reply, IN_MILLISECONDS)
}

pub(super) fn expireat(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    set(db, args, reply, AT_SECOND)
}

pub(super) fn pexpireat(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    set(db, args, reply, AT_MILLISECOND)
}

fn set(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>, clock: Clock) -> Result<()> {
    let name = args.name();
    let key = args.key()?;
    let mut time = args.clone();
    args.next()?;
    // Redis reads the conditions before the time, and a client sees that in which error it gets.
    let condition = condition(args)?;
    let time = time.int()?;
    let base = if clock.relative { i64::try_from(db.now_ms()).unwrap_or(i64::MAX) } else { 0 };
    let at_ms = time
        .checked_mul(clock.unit)
        .and_then(|ms| ms.checked_add(base))
        .ok_or_else(|| Error::reply(format!("ERR invalid expire time in '{name}' command")))?;
    let done = expire::set(db, key, at_ms, condition)?;
    reply.int(i64::from(done));
    Ok(())
}

fn condition(args: &mut Args<'_>) -> Result<Condition> {
    let mut condition = Condition::default();
    while let Some(word) = args.peek() {
        if args.flag("NX") {
            condition.nx = true;
        } else if args.flag("XX") {
            condition.xx = true;
        } else if args.flag("GT") {
            condition.gt = true;
        } else if args.flag("LT") {
            condition.lt = true;
        } else {
            let word = String::from_utf8_lossy(word);
            return Err(Error::reply(format!("ERR Unsupported option {word}")));
        }
    }
    let Condition { nx, xx, gt, lt } = condition;
    if nx && (xx || gt || lt) {
        return Err(Error::reply(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if gt && lt {
        return Err(Error::reply("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(condition)
}

pub(super) fn ttl(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    get(db, args, reply, IN_SECONDS)
}

pub(super) fn pttl(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    get(db, args, reply, IN_MILLISECONDS)
}

pub(super) fn expiretime(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    get(db, args, reply, AT_SECOND)
}

pub(super) fn pexpiretime(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    get(db, args, reply, AT_MILLISECOND)
}

fn get(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>, clock: Clock) -> Result<()> {
    let now_ms = db.now_ms();
    let key = args.key()?;
    reply.int(match expire::get(db, key)? {
        Expires::Missing => {
            super::missed(db, key);
            -2
        }
        Expires::Never => -1,
        Expires::At(ms) => {
            let ms = if clock.relative { ms.saturating_sub(now_ms) } else { ms };
            // Rounded to the nearest second, as Redis does.
            let ms = if clock.unit == 1 { ms } else { ms.saturating_add(500) / 1000 };
            i64::try_from(ms).unwrap_or(i64::MAX)
        }
    });
    Ok(())
}

pub(super) fn persist(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let persisted = expire::persist(db, args.key()?)?;
    reply.int(i64::from(persisted));
    Ok(())
}
