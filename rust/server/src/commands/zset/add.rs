//! ZADD and ZINCRBY.

use super::{Args, Error, Reply, Result, SYNTAX, Write, score_or_null};
use forgekv_base::number::parse_f64;
use forgekv_data::NOT_A_FLOAT;
use forgekv_data::zset::{self, Conditions};
use smallvec::SmallVec;

pub(super) fn zadd(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let mut conditions = Conditions::default();
    let (mut counts_changes, mut increments) = (false, false);
    loop {
        if args.flag("NX") {
            conditions.only_new = true;
        } else if args.flag("XX") {
            conditions.only_old = true;
        } else if args.flag("GT") {
            conditions.greater = true;
        } else if args.flag("LT") {
            conditions.less = true;
        } else if args.flag("CH") {
            counts_changes = true;
        } else if args.flag("INCR") {
            increments = true;
        } else {
            break;
        }
    }
    let words = args.rest();
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let Conditions { only_new, only_old, greater, less } = conditions;
    if only_new && only_old {
        return Err(Error::reply("ERR XX and NX options at the same time are not compatible"));
    }
    if [greater, less, only_new].into_iter().filter(|given| *given).count() > 1 {
        return Err(Error::reply(
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ));
    }
    if increments && words.len() > 2 {
        return Err(Error::reply("ERR INCR option supports a single increment-element pair"));
    }
    let mut pairs: SmallVec<[(f64, &[u8]); 4]> = SmallVec::with_capacity(words.len() / 2);
    for pair in words.chunks_exact(2) {
        if let [score, member] = pair {
            let score = parse_f64(score).filter(|score| !score.is_nan()).ok_or(NOT_A_FLOAT)?;
            pairs.push((score, member));
        }
    }
    match pairs.first() {
        Some(&(by, member)) if increments => {
            score_or_null(reply, zset::increment(db, key, conditions, by, member)?);
        }
        _ => {
            let done = zset::add(db, key, conditions, pairs.into_iter())?;
            let updated = if counts_changes { done.updated } else { 0 };
            reply.int((done.added + updated) as i64);
        }
    }
    Ok(())
}

pub(super) fn zincrby(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, by) = (args.key()?, args.float()?);
    let score = zset::increment(db, key, Conditions::default(), by, args.next()?)?;
    score_or_null(reply, score);
    Ok(())
}
