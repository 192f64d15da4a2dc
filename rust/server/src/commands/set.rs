//! Sets: members, each once, and what is made of several sets.
//!
//! The data lives in `data::set`; here arguments are read and replies written.

use super::keys::cursor;
use super::{Args, Command, Family, read, write};
use forgekv_base::glob;
use forgekv_data::set::{self, Operation, Visit};
use forgekv_data::{Error, Key, Kind, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;
use std::ops::ControlFlow;

const O_OF_ALL: &str = "O(N) where N is the total number of elements in all given sets.";
const O_OF_SMALLEST: &str = "O(N*M) worst case where N is the cardinality of the smallest set and \
     M is the number of sets.";
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const UNSTABLE: &[&str] = &["nondeterministic_output"];

/// SSCAN visits so many members unless told.
const SCANNED: u64 = 10;
/// SRANDMEMBER repeats no more members: Redis would, until its memory ends.
const REPEATED_MAX: u64 = 1 << 24;
/// SRANDMEMBER answers no more bytes.
const REPEATED_BYTES_MAX: usize = 512 << 20;

const OUT_OF_RANGE: &str = "ERR value is out of range";
const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";

const COMMANDS: &[Command] = &[
    write("SADD", sadd, "key member [member ...]")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity(
            "O(1) for each element added, so O(N) to add N elements when the command is called \
             with multiple arguments.",
        )
        .keys("RW insert")
        .about("Adds members and counts how many are new."),
    write("SREM", srem, "key member [member ...]")
        .fast()
        .since("1.0.0")
        .complexity("O(N) where N is the number of members to be removed.")
        .keys("RW delete")
        .about("Takes members away, and the key with the last of them."),
    read("SISMEMBER", sismember, "key member")
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Tells whether a set holds a member."),
    read("SMISMEMBER", smismember, "key member [member ...]")
        .fast()
        .since("6.2.0")
        .complexity("O(N) where N is the number of elements being checked for membership")
        .about("Tells of many members whether a set holds them."),
    read("SMEMBERS", smembers, "key")
        .since("1.0.0")
        .complexity("O(N) where N is the set cardinality.")
        .tips(UNORDERED)
        .about("Returns all members."),
    read("SCARD", scard, "key")
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Counts the members."),
    write("SPOP", spop, "key [count]")
        .fast()
        .since("1.0.0")
        .complexity(
            "Without the count argument O(1), otherwise O(N) where N is the value of the passed \
             count.",
        )
        .keys("RW access delete")
        .tips(UNSTABLE)
        .about("Takes random members away and returns them."),
    read("SRANDMEMBER", srandmember, "key [count]")
        .since("1.0.0")
        .complexity(
            "Without the count argument O(1), otherwise O(N) where N is the absolute value of the \
             passed count.",
        )
        .tips(UNSTABLE)
        .about("Returns random members."),
    write("SMOVE", smove, "source destination member")
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RW access delete; RW insert")
        .about("Moves a member from one set to another."),
    read("SINTER", sinter, "key [key ...]")
        .since("1.0.0")
        .complexity(O_OF_SMALLEST)
        .tips(UNORDERED)
        .about("Returns the members that all sets hold."),
    read("SINTERCARD", sintercard, "numkeys key [key ...] [LIMIT limit:integer]")
        .since("7.0.0")
        .complexity(O_OF_SMALLEST)
        .about("Counts the members that all sets hold."),
    write("SINTERSTORE", sinterstore, "destination key [key ...]")
        .grows()
        .since("1.0.0")
        .complexity(O_OF_SMALLEST)
        .keys("RW update; RO access")
        .about("Stores the members that all sets hold."),
    read("SUNION", sunion, "key [key ...]")
        .since("1.0.0")
        .complexity(O_OF_ALL)
        .tips(UNORDERED)
        .about("Returns the members of all sets, each once."),
    read("SUNIONCARD", sunioncard, "numkeys key [key ...] [APPROX] [LIMIT limit:integer]")
        .since("8.10.0")
        .complexity(O_OF_ALL)
        .about("Counts the members of all sets, each once."),
    write("SUNIONSTORE", sunionstore, "destination key [key ...]")
        .grows()
        .since("1.0.0")
        .complexity(O_OF_ALL)
        .keys("OW update; RO access")
        .about("Stores the members of all sets, each once."),
    read("SDIFF", sdiff, "key [key ...]")
        .since("1.0.0")
        .complexity(O_OF_ALL)
        .tips(UNORDERED)
        .about("Returns the members of the first set that no other holds."),
    read("SDIFFCARD", sdiffcard, "numkeys key [key ...] [LIMIT limit:integer]")
        .since("8.10.0")
        .complexity(O_OF_ALL)
        .about("Counts the members of the first set that no other holds."),
    write("SDIFFSTORE", sdiffstore, "destination key [key ...]")
        .grows()
        .since("1.0.0")
        .complexity(O_OF_ALL)
        .keys("OW update; RO access")
        .about("Stores the members of the first set that no other holds."),
    read("SSCAN", sscan, "key cursor [MATCH pattern] [COUNT count]")
        .since("2.8.0")
        .complexity("O(COUNT) for each call, O(N) for a whole walk over N members.")
        .tips(UNSTABLE)
        .about("Walks over the members, some at a time."),
];

/// Sets.
pub(crate) const FAMILY: Family = Family::new("set", COMMANDS);

fn sadd(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(set::add(db, key, args.rest())? as i64);
    Ok(())
}

fn srem(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(set::remove(db, key, args.rest())? as i64);
    Ok(())
}

fn sismember(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(i64::from(set::contains(db, key, args.next()?)?));
    Ok(())
}

fn smismember(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let members = args.rest();
    reply.array(members.len());
    set::contains_many(db, key, members, &mut |holds| reply.int(i64::from(holds)))
}

/// Writes a set into a reply.
struct Show<'r, 'a>(&'r mut Reply<'a>);

impl Visit for Show<'_, '_> {
    fn len(&mut self, len: u64) {
        self.0.set(len as usize);
    }

    fn member(&mut self, member: &[u8]) -> Result<()> {
        self.0.bulk(member);
        Ok(())
    }
}

fn smembers(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    set::all(db, args.key()?, &mut Show(reply))
}

fn scard(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(set::len(db, args.key()?)? as i64);
    Ok(())
}

fn spop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        let popped = set::pop(db, key, 1, &mut |member| {
            reply.bulk(member);
            Ok(())
        })?;
        if popped == 0 {
            reply.null();
        }
        return Ok(());
    }
    if args.remaining() > 1 {
        return Err(SYNTAX);
    }
    let count = args.int_in(0, i64::MAX, NOT_POSITIVE)?;
    let deferred = reply.deferred();
    let popped = set::pop(db, key, count as u64, &mut |member| {
        reply.bulk(member);
        Ok(())
    })?;
    reply.finish_set(deferred, popped as usize);
    Ok(())
}

fn srandmember(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        let mut found = false;
        set::random(db, key, 1, &mut |member| {
            found = true;
            reply.bulk(member);
            Ok(())
        })?;
        if !found {
            reply.null();
        }
        return Ok(());
    }
    if args.remaining() > 1 {
        return Err(SYNTAX);
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(Error::reply(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    if count < 0 && count.unsigned_abs() > REPEATED_MAX {
        return Err(Error::reply(OUT_OF_RANGE));
    }
    let (start, array) = (reply.written(), reply.deferred_array());
    let mut n = 0;
    set::random(db, key, count, &mut |member| {
        n += 1;
        reply.bulk(member);
        if count < 0 && reply.written() - start > REPEATED_BYTES_MAX {
            return Err(Error::reply(OUT_OF_RANGE));
        }
        Ok(())
    })?;
    reply.finish_array(array, n);
    Ok(())
}

fn smove(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (from, to) = (args.key()?, args.key()?);
    reply.int(i64::from(set::move_member(db, from, to, args.next()?)?));
    Ok(())
}

fn sinter(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, Operation::Intersection, args, reply)
}

fn sunion(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, Operation::Union, args, reply)
}

fn sdiff(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, Operation::Difference, args, reply)
}

fn show(
    db: &mut Read<'_>,
    operation: Operation,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let keys: Vec<Key<'_>> = args.keys().collect();
    let (deferred, mut n) = (reply.deferred(), 0);
    set::combine(db, operation, &keys, &mut |member| {
        reply.bulk(member);
        n += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    reply.finish_set(deferred, n);
    Ok(())
}

fn sinterstore(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    store(db, Operation::Intersection, "sinterstore", args, reply)
}

fn sunionstore(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    store(db, Operation::Union, "sunionstore", args, reply)
}

fn sdiffstore(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    store(db, Operation::Difference, "sdiffstore", args, reply)
}

fn store(
    db: &mut Write<'_>,
    operation: Operation,
    event: &'static str,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let to = args.key()?;
    let keys: Vec<Key<'_>> = args.keys().collect();
    reply.int(set::store(db, operation, to, &keys, event)? as i64);
    Ok(())
}

fn sintercard(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    count(db, Operation::Intersection, args, reply)
}

fn sunioncard(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    count(db, Operation::Union, args, reply)
}

fn sdiffcard(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    count(db, Operation::Difference, args, reply)
}

fn count(
    db: &mut Read<'_>,
    operation: Operation,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let numkeys = args.int_in(1, i64::MAX, "ERR numkeys should be greater than 0")?;
    if numkeys as u64 > args.remaining() as u64 {
        return Err(Error::reply("ERR Number of keys can't be greater than number of args"));
    }
    let keys = (0..numkeys).map(|_| args.key()).collect::<Result<Vec<Key<'_>>>>()?;
    let mut limit = 0;
    while !args.is_empty() {
        if args.option("LIMIT") {
            limit = args.int_in(0, i64::MAX, "ERR LIMIT can't be negative")?;
        } else if operation == Operation::Union && args.flag("APPROX") {
            // The exact number costs no more here: nothing is kept in memory for it.
        } else {
            return Err(SYNTAX);
        }
    }
    let mut n = 0;
    set::combine(db, operation, &keys, &mut |_| {
        n += 1;
        Ok(if n == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    reply.int(n);
    Ok(())
}

fn sscan(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let start = cursor(args.next()?).ok_or_else(|| Error::reply("ERR invalid cursor"))?;
    // Options are judged only when there is a set.
    let there = db.header_of(key, Kind::Set)?.is_some();
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
    let (mut body, mut n) = (Vec::new(), 0);
    let mut words = Reply::new(&mut body, reply.proto());
    let next = set::scan(db, key, start, count, &mut |member| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, member, false)) {
            words.bulk(member);
            n += 1;
        }
    })?;
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(n);
    reply.raw(&body);
    Ok(())
}
