//! Sorted sets: members with scores, in their order.
//!
//! The data lives in `data::zset`; here arguments are read and replies written.

mod add;
mod combine;
mod pop;
mod range;

use super::keys::cursor;
use super::{Args, Command, Family, read, wait, write};
use forgekv_base::glob;
use forgekv_base::number::format_f64;
use forgekv_data::zset::{self, Visit};
use forgekv_data::{Error, Kind, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;

const O_LOG_N: &str = "O(log(N)) with N being the number of elements in the sorted set.";
const O_OF_RANGE: &str = "O(log(N)+M) with N being the number of elements in the sorted set and M \
     the number of elements returned.";
const O_OF_REMOVAL: &str = "O(log(N)+M) with N being the number of elements in the sorted set and M \
     the number of elements removed by the operation.";
const O_OF_MEMBERS: &str = "O(M*log(N)) with N being the number of elements in the sorted set and M \
     the number of elements named or popped.";
const O_OF_UNION: &str = "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted \
     sets, and M being the number of elements in the resulting sorted set.";
const O_OF_INTERSECTION: &str = "O(N*K)+O(M*log(M)) worst case with N being the smallest input \
     sorted set, K being the number of input sorted sets and M being the number of elements in the \
     resulting sorted set.";
const O_OF_DIFFERENCE: &str = "O(L + (N-K)log(N)) worst case where L is the total number of elements \
     in all the sets, N is the size of the first set, and K is the size of the result set.";
const UNSTABLE: &[&str] = &["nondeterministic_output"];

/// ZSCAN visits so many members unless told.
const SCANNED: u64 = 10;

const COMMANDS: &[Command] = &[
    write("ZADD", add::zadd, "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .fast()
        .grows()
        .since("1.2.0")
        .complexity(
            "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
        )
        .keys("RW update")
        .about("Puts members in, or changes their scores."),
    write("ZINCRBY", add::zincrby, "key increment member")
        .fast()
        .grows()
        .since("1.2.0")
        .complexity(O_LOG_N)
        .about("Adds to the score of a member."),
    write("ZREM", zrem, "key member [member ...]")
        .fast()
        .since("1.2.0")
        .complexity(O_OF_MEMBERS)
        .keys("RW delete")
        .about("Takes members out, and the key with the last of them."),
    read("ZCARD", zcard, "key")
        .fast()
        .since("1.2.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Counts the members."),
    read("ZSCORE", zscore, "key member")
        .fast()
        .since("1.2.0")
        .complexity("O(1)")
        .about("Returns the score of a member."),
    read("ZMSCORE", zmscore, "key member [member ...]")
        .fast()
        .since("6.2.0")
        .complexity("O(N) where N is the number of members being requested.")
        .about("Returns the scores of many members."),
    read("ZRANK", zrank, "key member [WITHSCORE]")
        .fast()
        .since("2.0.0")
        .complexity("O(log(N))")
        .about("Returns the rank of a member, the lowest score being the first."),
    read("ZREVRANK", zrevrank, "key member [WITHSCORE]")
        .fast()
        .since("2.0.0")
        .complexity("O(log(N))")
        .about("Returns the rank of a member, the highest score being the first."),
    read("ZCOUNT", range::zcount, "key min:double max:double")
        .fast()
        .since("2.0.0")
        .complexity(O_LOG_N)
        .about("Counts the members in a range of scores."),
    read("ZLEXCOUNT", range::zlexcount, "key min max")
        .fast()
        .since("2.8.9")
        .complexity(O_LOG_N)
        .about("Counts the members in a range of names."),
    read(
        "ZRANGE",
        range::zrange,
        "key start:string stop:string [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    )
    .since("1.2.0")
    .complexity(O_OF_RANGE)
    .about("Returns a range of members, by rank, score or name."),
    write(
        "ZRANGESTORE",
        range::zrangestore,
        "dst:key src:key min:string max:string [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
    )
    .grows()
    .since("6.2.0")
    .complexity(
        "O(log(N)+M) with N being the number of elements in the sorted set and M the number of \
         elements stored into the destination key.",
    )
    .keys("OW update; RO access")
    .about("Stores a range of members under another key."),
    read("ZREVRANGE", range::zrevrange, "key start stop [WITHSCORES]")
        .since("1.2.0")
        .complexity(O_OF_RANGE)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .about("Returns a range of members by rank, from the end."),
    read(
        "ZRANGEBYSCORE",
        range::zrangebyscore,
        "key min:double max:double [WITHSCORES] [LIMIT offset count]",
    )
    .since("1.0.5")
    .complexity(O_OF_RANGE)
    .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
    .about("Returns the members in a range of scores."),
    read(
        "ZREVRANGEBYSCORE",
        range::zrevrangebyscore,
        "key max:double min:double [WITHSCORES] [LIMIT offset count]",
    )
    .since("2.2.0")
    .complexity(O_OF_RANGE)
    .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
    .about("Returns the members in a range of scores, from the end."),
    read("ZRANGEBYLEX", range::zrangebylex, "key min max [LIMIT offset count]")
        .since("2.8.9")
        .complexity(O_OF_RANGE)
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
        .about("Returns the members in a range of names."),
    read("ZREVRANGEBYLEX", range::zrevrangebylex, "key max min [LIMIT offset count]")
        .since("2.8.9")
        .complexity(O_OF_RANGE)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .about("Returns the members in a range of names, from the end."),
    write("ZREMRANGEBYRANK", range::zremrangebyrank, "key start stop")
        .since("2.0.0")
        .complexity(O_OF_REMOVAL)
        .keys("RW delete")
        .about("Takes out the members of a range of ranks."),
    write("ZREMRANGEBYSCORE", range::zremrangebyscore, "key min:double max:double")
        .since("1.2.0")
        .complexity(O_OF_REMOVAL)
        .keys("RW delete")
        .about("Takes out the members in a range of scores."),
    write("ZREMRANGEBYLEX", range::zremrangebylex, "key min max")
        .since("2.8.9")
        .complexity(O_OF_REMOVAL)
        .keys("RW delete")
        .about("Takes out the members in a range of names."),
    write("ZPOPMIN", pop::zpopmin, "key [count]")
        .fast()
        .since("5.0.0")
        .complexity(O_OF_MEMBERS)
        .keys("RW access delete")
        .about("Takes out the members with the lowest scores."),
    write("ZPOPMAX", pop::zpopmax, "key [count]")
        .fast()
        .since("5.0.0")
        .complexity(O_OF_MEMBERS)
        .keys("RW access delete")
        .about("Takes out the members with the highest scores."),
    write("ZMPOP", pop::zmpop, "numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .since("7.0.0")
        .complexity(O_OF_MEMBERS)
        .keys("RW access delete")
        .about("Takes out the outermost members of the first sorted set that has any."),
    wait("BZPOPMIN", pop::bzpopmin, "key [key ...] timeout:double")
        .fast()
        .noscript()
        .since("5.0.0")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .keys("RW access delete")
        .about("Takes out the member with the lowest score of the first sorted set; waits for one if none is there."),
    wait("BZPOPMAX", pop::bzpopmax, "key [key ...] timeout:double")
        .fast()
        .noscript()
        .since("5.0.0")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .keys("RW access delete")
        .about("Takes out the member with the highest score of the first sorted set; waits for one if none is there."),
    wait(
        "BZMPOP",
        pop::bzmpop,
        "timeout:double numkeys key [key ...] <MIN | MAX> [COUNT count]",
    )
    .since("7.0.0")
    .complexity(O_OF_MEMBERS)
    .keys("RW access delete")
    .about("Takes out the outermost members of the first sorted set; waits for one if none is there."),
    read("ZRANDMEMBER", pop::zrandmember, "key [count [WITHSCORES]]")
        .since("6.2.0")
        .complexity("O(N) where N is the number of members returned")
        .tips(UNSTABLE)
        .about("Returns random members."),
    read("ZSCAN", zscan, "key cursor [MATCH pattern] [COUNT count]")
        .since("2.8.0")
        .complexity("O(COUNT) for each call, O(N) for a whole walk over N members.")
        .tips(UNSTABLE)
        .about("Walks over the members, some at a time."),
    read(
        "ZUNION",
        combine::zunion,
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
         [WITHSCORES]",
    )
    .since("6.2.0")
    .complexity(O_OF_UNION)
    .about("Returns the members that are in any of the inputs."),
    read(
        "ZINTER",
        combine::zinter,
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
         [WITHSCORES]",
    )
    .since("6.2.0")
    .complexity(O_OF_INTERSECTION)
    .about("Returns the members that are in all of the inputs."),
    read("ZDIFF", combine::zdiff, "numkeys key [key ...] [WITHSCORES]")
        .since("6.2.0")
        .complexity(O_OF_DIFFERENCE)
        .about("Returns the members of the first input that are in none of the others."),
    read("ZINTERCARD", combine::zintercard, "numkeys key [key ...] [LIMIT limit:integer]")
        .since("7.0.0")
        .complexity(
            "O(N*K) worst case with N being the smallest input sorted set, K being the number of \
             input sorted sets.",
        )
        .about("Counts the members that are in all of the inputs."),
    write(
        "ZUNIONSTORE",
        combine::zunionstore,
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
         [AGGREGATE <SUM | MIN | MAX>]",
    )
    .grows()
    .since("2.0.0")
    .complexity(O_OF_UNION)
    .keys("OW update; RO access")
    .about("Stores the members that are in any of the inputs."),
    write(
        "ZINTERSTORE",
        combine::zinterstore,
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
         [AGGREGATE <SUM | MIN | MAX>]",
    )
    .grows()
    .since("2.0.0")
    .complexity(O_OF_INTERSECTION)
    .keys("OW update; RO access")
    .about("Stores the members that are in all of the inputs."),
    write("ZDIFFSTORE", combine::zdiffstore, "destination numkeys key [key ...]")
        .grows()
        .since("6.2.0")
        .complexity(O_OF_DIFFERENCE)
        .keys("OW update; RO access")
        .about("Stores the members of the first input that are in none of the others."),
];

/// Sorted sets.
pub(crate) const FAMILY: Family = Family::new("sorted-set", COMMANDS);

/// Writes members, with their scores or without, into a reply.
pub(super) struct Show<'r, 'a> {
    reply: &'r mut Reply<'a>,
    with_scores: bool,
    /// In which words the client's protocol has a member with its score: a pair, or one after the other.
    pairs: bool,
}

impl<'r, 'a> Show<'r, 'a> {
    /// RESP3 has pairs.
    pub(super) fn new(reply: &'r mut Reply<'a>, with_scores: bool) -> Show<'r, 'a> {
        let pairs = with_scores && reply.is_resp3();
        Show { reply, with_scores, pairs }
    }

    /// A header for so many members.
    pub(super) fn header(&mut self, n: u64) {
        let words = if self.with_scores && !self.pairs { 2 * n } else { n };
        self.reply.array(words as usize);
    }

    /// One member.
    pub(super) fn one(&mut self, member: &[u8], score: f64) {
        if self.pairs {
            self.reply.array(2);
        }
        self.reply.bulk(member);
        if self.with_scores {
            self.reply.double(score);
        }
    }
}

impl Visit for Show<'_, '_> {
    fn len(&mut self, len: u64) {
        self.header(len);
    }

    fn member(&mut self, member: &[u8], score: f64) -> Result<()> {
        self.one(member, score);
        Ok(())
    }
}

fn zrem(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(zset::remove(db, key, args.rest())? as i64);
    Ok(())
}

fn zcard(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(zset::len(db, args.key()?)? as i64);
    Ok(())
}

/// A score, or null when there is none.
fn score_or_null(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    score_or_null(reply, zset::score(db, key, args.next()?)?);
    Ok(())
}

fn zmscore(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let members = args.rest();
    reply.array(members.len());
    zset::scores(db, key, members, &mut |score| score_or_null(reply, score))
}

fn zrank(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    rank(db, args, reply, false)
}

fn zrevrank(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    rank(db, args, reply, true)
}

fn rank(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    reverse: bool,
) -> Result<()> {
    let (key, member) = (args.key()?, args.next()?);
    if args.remaining() > 1 {
        return Err(args.wrong_number());
    }
    let with_score = args.flag("WITHSCORE");
    args.end()?;
    match zset::rank(db, key, member, reverse)? {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.int(rank as i64);
            reply.double(score);
        }
        Some((rank, _)) => reply.int(rank as i64),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

fn zscan(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let start = cursor(args.next()?).ok_or_else(|| Error::reply("ERR invalid cursor"))?;
    // Options are judged only when there is a sorted set.
    let there = db.header_of(key, Kind::ZSet)?.is_some();
    let (mut count, mut pattern) = (SCANNED, None);
    while there && !args.is_empty() {
        if args.option("COUNT") {
            count = u64::try_from(args.int()?).ok().filter(|&n| n > 0).ok_or(SYNTAX)?;
        } else if args.option("MATCH") {
            pattern = Some(args.next()?).filter(|&p| p != b"*");
        } else {
            return Err(SYNTAX);
        }
    }
    let mut body = Vec::new();
    let (mut n, mut text) = (0, Vec::new());
    let mut words = Reply::new(&mut body, reply.proto());
    let next = zset::scan(db, key, start, count, &mut |member, score| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, member, false)) {
            words.bulk(member);
            text.clear();
            format_f64(score, &mut text);
            words.bulk(&text);
            n += 2;
        }
    })?;
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(n);
    reply.raw(&body);
    Ok(())
}
