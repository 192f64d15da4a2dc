//! Unions, intersections and differences: shown, stored, counted.

use super::{Args, Error, Read, Reply, Result, SYNTAX, Show, Write};
use forgekv_base::number::parse_f64;
use forgekv_data::zset::{self, Aggregate, Input, Operation, Scored};
use smallvec::SmallVec;

const WEIGHT_NOT_A_FLOAT: &str = "ERR weight value is not a float";

/// What the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Members,
    Stored,
    Size,
}

/// What a command asks for.
struct Query<'a> {
    inputs: SmallVec<[Input<'a>; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// 0 for none.
    limit: u64,
}

/// Reads the number of keys and what stands behind it. What the keys hold is judged before the options.
fn parse<'a>(
    db: &mut Read<'_>,
    args: &mut Args<'a>,
    operation: Operation,
    answer: Answer,
) -> Result<Query<'a>> {
    let numkeys = args.int()?;
    if numkeys < 1 {
        let name = args.name();
        return Err(Error::reply(format!(
            "ERR at least 1 input key is needed for '{name}' command"
        )));
    }
    if numkeys as u64 > args.remaining() as u64 {
        return Err(SYNTAX);
    }
    let mut query =
        Query { inputs: SmallVec::new(), aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    for _ in 0..numkeys {
        query.inputs.push(Input { key: args.key()?, weight: 1.0 });
    }
    match options(args, operation, answer, &mut query) {
        Ok(()) => Ok(query),
        Err(e) => {
            zset::judge(db, &query.inputs)?;
            Err(e)
        }
    }
}

fn options(
    args: &mut Args<'_>,
    operation: Operation,
    answer: Answer,
    query: &mut Query<'_>,
) -> Result<()> {
    let combines = operation != Operation::Difference && answer != Answer::Size;
    while !args.is_empty() {
        if combines && args.remaining() > query.inputs.len() && args.flag("WEIGHTS") {
            for input in &mut query.inputs {
                let weight = parse_f64(args.next()?).filter(|weight| !weight.is_nan());
                input.weight = weight.ok_or(Error::reply(WEIGHT_NOT_A_FLOAT))?;
            }
        } else if combines && args.option("AGGREGATE") {
            query.aggregate = if args.flag("SUM") {
                Aggregate::Sum
            } else if args.flag("MIN") {
                Aggregate::Min
            } else if args.flag("MAX") {
                Aggregate::Max
            } else {
                return Err(SYNTAX);
            };
        } else if answer == Answer::Members && args.flag("WITHSCORES") {
            query.with_scores = true;
        } else if answer == Answer::Size && args.option("LIMIT") {
            query.limit = args.int_in(0, i64::MAX, "ERR LIMIT can't be negative")? as u64;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(())
}

fn show(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
) -> Result<()> {
    let query = parse(db, args, operation, Answer::Members)?;
    let members = zset::combine(db, operation, &query.inputs, query.aggregate)?;
    let mut show = Show::new(reply, query.with_scores);
    show.header(members.len() as u64);
    for Scored { score, member } in &members {
        show.one(member, *score);
    }
    Ok(())
}

pub(super) fn zunion(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, args, reply, Operation::Union)
}

pub(super) fn zinter(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, args, reply, Operation::Intersection)
}

pub(super) fn zdiff(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, args, reply, Operation::Difference)
}

pub(super) fn zintercard(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let query = parse(db, args, Operation::Intersection, Answer::Size)?;
    reply.int(zset::intersection_size(db, &query.inputs, query.limit)? as i64);
    Ok(())
}

fn store(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
    event: &'static str,
) -> Result<()> {
    let destination = args.key()?;
    let query = parse(db, args, operation, Answer::Stored)?;
    let members = zset::combine(db, operation, &query.inputs, query.aggregate)?;
    let stored = members.len();
    zset::store(db, destination, members, event)?;
    reply.int(stored as i64);
    Ok(())
}

pub(super) fn zunionstore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    store(db, args, reply, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    store(db, args, reply, Operation::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    store(db, args, reply, Operation::Difference, "zdiffstore")
}
