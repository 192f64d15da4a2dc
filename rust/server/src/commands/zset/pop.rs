//! Members from the ends, and from anywhere: ZPOPMIN, ZPOPMAX, ZMPOP, ZRANDMEMBER.

use super::{Args, Error, Kind, Read, Reply, Result, SYNTAX, Show, Visit, Write};
use crate::waiting::{Nil, Wait};
use forgekv_data::Key;
use forgekv_data::zset;

/// ZRANDMEMBER repeats no more members: Redis would, until its memory ends.
const REPEATED_MAX: u64 = 1 << 24;
/// ZRANDMEMBER answers no more bytes.
const REPEATED_BYTES_MAX: usize = 512 << 20;

const OUT_OF_RANGE: &str = "ERR value is out of range";

pub(super) fn zpopmin(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    pop(db, args, reply, false)
}

pub(super) fn zpopmax(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    pop(db, args, reply, true)
}

fn pop(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    highest: bool,
) -> Result<()> {
    let key = args.key()?;
    if args.remaining() > 1 {
        return Err(SYNTAX);
    }
    let counted = !args.is_empty();
    let mut count = 1;
    if counted {
        count = args.int_in(0, i64::MAX, "ERR value is out of range, must be positive")?;
    }
    let mut show = Show::new(reply, true);
    // Only who gives a count gets pairs.
    show.pairs &= counted;
    zset::pop(db, key, highest, count as u64, &mut show)?;
    Ok(())
}

pub(super) fn zmpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !pop_first(db, args, reply)? {
        reply.null_array();
    }
    Ok(())
}

pub(super) fn bzmpop(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    let timeout_ms = args.timeout()?;
    Ok(if pop_first(db, args, reply)? { None } else { wait(timeout_ms) })
}

pub(super) fn bzpopmin(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    pop_one(db, args, reply, false)
}

pub(super) fn bzpopmax(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    pop_one(db, args, reply, true)
}

fn wait(timeout_ms: u64) -> Option<Wait> {
    Some(Wait {
        timeout_ms,
        kind: Kind::ZSet,
        or_gone: None,
        nil: Nil::Array,
        words: None,
        only_first: false,
    })
}

/// Writes a key and the one member that was taken from it.
struct Keyed<'r, 'a> {
    key: &'r [u8],
    reply: &'r mut Reply<'a>,
}

impl Visit for Keyed<'_, '_> {
    fn len(&mut self, _: u64) {}

    fn member(&mut self, member: &[u8], score: f64) -> Result<()> {
        self.reply.array(3);
        self.reply.bulk(self.key);
        self.reply.bulk(member);
        self.reply.double(score);
        Ok(())
    }
}

fn pop_one(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    highest: bool,
) -> Result<Option<Wait>> {
    let timeout_ms = args.last_timeout()?;
    for _ in 1..args.remaining() {
        let key = args.key()?;
        if db.header_of(key, Kind::ZSet)?.is_some() {
            zset::pop(db, key, highest, 1, &mut Keyed { key: key.name, reply })?;
            return Ok(None);
        }
    }
    Ok(wait(timeout_ms))
}

/// Takes out the outermost members of the first sorted set that is there; false when there is none.
fn pop_first(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<bool> {
    let numkeys = args.int_in(1, i64::MAX, "ERR numkeys should be greater than 0")?;
    if numkeys as u64 >= args.remaining() as u64 {
        return Err(SYNTAX);
    }
    let keys = (0..numkeys).map(|_| args.key()).collect::<Result<Vec<Key<'_>>>>()?;
    let highest = args.flag("MAX");
    if !highest && !args.flag("MIN") {
        return Err(SYNTAX);
    }
    let mut count = None;
    while !args.is_empty() {
        if count.is_some() || !args.option("COUNT") {
            return Err(SYNTAX);
        }
        count = Some(args.int_in(1, i64::MAX, "ERR count should be greater than 0")?);
    }
    for key in keys {
        if db.header_of(key, Kind::ZSet)?.is_none() {
            continue;
        }
        reply.array(2);
        reply.bulk(key.name);
        let mut show = Show::new(reply, true);
        show.pairs = true;
        zset::pop(db, key, highest, count.unwrap_or(1) as u64, &mut show)?;
        return Ok(true);
    }
    Ok(false)
}

pub(super) fn zrandmember(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        let mut found = false;
        zset::random(db, key, -1, &mut |member, _| {
            found = true;
            reply.bulk(member);
            Ok(())
        })?;
        if !found {
            reply.null();
        }
        return Ok(());
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(Error::reply(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    let with_scores = args.flag("WITHSCORES");
    args.end()?;
    let half = i64::MAX.unsigned_abs() / 2;
    let too_many = with_scores && count.unsigned_abs() > half;
    if too_many || (count < 0 && count.unsigned_abs() > REPEATED_MAX) {
        return Err(Error::reply(OUT_OF_RANGE));
    }
    let (start, array) = (reply.written(), reply.deferred_array());
    let mut n = 0;
    let mut show = Show::new(reply, with_scores);
    zset::random(db, key, count, &mut |member, score| {
        n += 1;
        show.one(member, score);
        if count < 0 && show.reply.written() - start > REPEATED_BYTES_MAX {
            return Err(Error::reply(OUT_OF_RANGE));
        }
        Ok(())
    })?;
    let words = if with_scores && !show.pairs { 2 * n } else { n };
    reply.finish_array(array, words);
    Ok(())
}
