//! Strings: the commands on single values, and on many at once.
//!
//! The data lives in `data::string`; here arguments are read and replies written. Options that several
//! commands share are read in [`options`].

mod increx;
mod lcs;
mod options;

use super::{Args, Command, Family, read, write};
use forgekv_data::string::{self, Chunks, Condition, Expiry, Value};
use forgekv_data::{Error, Key, NOT_AN_INTEGER, Read, Result, SYNTAX, Write, event_class};
use forgekv_resp::Reply;
use options::{Moment, Unit, condition};
use std::ops::Range;

const SET: &str = "key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | \
     IFDNE ifdne-digest] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
     PXAT unix-time-milliseconds | KEEPTTL]";
const GETEX: &str = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
     PXAT unix-time-milliseconds | PERSIST]";
const MSETEX: &str = "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | \
     EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]";
const DELEX: &str = "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | \
     IFDNE ifdne-digest]";
const O_OF_RETURNED: &str = "O(N) where N is the length of the returned string.";
const O_OF_SET: &str = "O(N) where N is the number of keys to set.";

const COMMANDS: &[Command] = &[
    read("GET", get, "key").fast().since("1.0.0").complexity("O(1)").about("Returns the value."),
    write("SET", set, SET)
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RW access update variable_flags")
        .about("Sets the value, whatever the key held before, and its expiry."),
    write("SETNX", setnx, "key value")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("OW insert")
        .deprecated("2.6.12", "`SET` with the `NX` argument")
        .about("Sets the value of a key that is not there yet."),
    write("SETEX", setex, "key seconds value")
        .grows()
        .since("2.0.0")
        .complexity("O(1)")
        .keys("OW update")
        .deprecated("2.6.12", "`SET` with the `EX` argument")
        .about("Sets the value and an expiry in seconds."),
    write("PSETEX", psetex, "key milliseconds value")
        .grows()
        .since("2.6.0")
        .complexity("O(1)")
        .keys("OW update")
        .deprecated("2.6.12", "`SET` with the `PX` argument")
        .about("Sets the value and an expiry in milliseconds."),
    write("MSET", mset, "key value [key value ...]")
        .grows()
        .since("1.0.1")
        .complexity(O_OF_SET)
        .keys("OW update")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .about("Sets many values at once."),
    write("MSETNX", msetnx, "key value [key value ...]")
        .grows()
        .since("1.0.1")
        .complexity(O_OF_SET)
        .keys("OW insert")
        .about("Sets many values, if none of the keys is there yet."),
    write("MSETEX", msetex, MSETEX)
        .grows()
        .since("8.4.0")
        .complexity(O_OF_SET)
        .keys("OW update")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .about("Sets many values and one expiry for all, if the condition holds of every key."),
    read("MGET", mget, "key [key ...]")
        .fast()
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys to retrieve.")
        .tips(&["request_policy:multi_shard"])
        .about("Returns many values."),
    write("GETSET", getset, "key value")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .about("Sets the value and returns the old one."),
    write("GETDEL", getdel, "key")
        .fast()
        .since("6.2.0")
        .complexity("O(1)")
        .keys("RW access delete")
        .about("Returns the value and deletes the key."),
    write("GETEX", getex, GETEX)
        .fast()
        .since("6.2.0")
        .complexity("O(1)")
        .about("Returns the value and changes the key's expiry."),
    write("DELEX", delex, DELEX)
        .fast()
        .since("8.4.0")
        .complexity("O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE with N bytes of value.")
        .keys("RW delete variable_flags")
        .about("Deletes the key if the condition holds of its value."),
    write("DELIFEQ", delifeq, "key value")
        .fast()
        .since("9.0.0")
        .complexity("O(1)")
        .keys("RW access delete")
        .about("Deletes the key if it holds this value (Valkey)."),
    read("DIGEST", digest, "key")
        .fast()
        .since("8.4.0")
        .complexity("O(N) where N is the length of the string value.")
        .about("Returns the XXH3 hash of the value in hexadecimal digits."),
    read("STRLEN", strlen, "key")
        .fast()
        .since("2.2.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Returns the length of the value."),
    write("APPEND", append, "key value")
        .fast()
        .grows()
        .since("2.0.0")
        .complexity("O(1) for a short value")
        .keys("RW insert")
        .about("Adds bytes at the end of the value."),
    read("GETRANGE", getrange, "key start end")
        .since("2.4.0")
        .complexity(O_OF_RETURNED)
        .about("Returns a part of the value."),
    read("SUBSTR", getrange, "key start end")
        .since("1.0.0")
        .complexity(O_OF_RETURNED)
        .deprecated("2.0.0", "`GETRANGE`")
        .about("Returns a part of the value."),
    write("SETRANGE", setrange, "key offset value")
        .grows()
        .since("2.2.0")
        .complexity("O(N) where N is the length of the bytes written.")
        .keys("RW update")
        .about("Overwrites a part of the value."),
    write("INCR", incr, "key")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .about("Adds one to the integer value."),
    write("DECR", decr, "key")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .about("Subtracts one from the integer value."),
    write("INCRBY", incrby, "key increment")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .about("Adds to the integer value."),
    write("DECRBY", decrby, "key decrement")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity("O(1)")
        .about("Subtracts from the integer value."),
    write("INCRBYFLOAT", incrbyfloat, "key increment:double")
        .fast()
        .grows()
        .since("2.6.0")
        .complexity("O(1)")
        .about("Adds to the value, a decimal number."),
    write("INCREX", increx::increx, increx::SYNTAX)
        .fast()
        .grows()
        .since("8.8.0")
        .complexity("O(1)")
        .about("Adds to the value, a number, between bounds, and sets the key's expiry."),
    read("LCS", lcs::lcs, "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
        .long()
        .keys("RO access @ 1 range 1 1 0")
        .since("7.0.0")
        .complexity("O(N*M) where N and M are the lengths of s1 and s2, respectively")
        .about("Finds the longest common subsequence of two values."),
];

/// Strings.
pub(crate) const FAMILY: Family = Family::new("string", COMMANDS);

fn get(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if !bulk(db, key, reply)? {
        miss(db, key, reply);
    }
    Ok(())
}

/// Writes a key's value; writes nothing and answers `false` when there is none.
#[inline]
fn bulk(db: &mut Read<'_>, key: Key<'_>, reply: &mut Reply<'_>) -> Result<bool> {
    match string::get(db, key)? {
        None => return Ok(false),
        Some(Value::Whole(bytes)) => reply.bulk(bytes),
        Some(Value::Chunked(chunks)) => chunked(db, key, chunks, 0..chunks.len(), reply)?,
    }
    Ok(true)
}

fn chunked(
    db: &mut Read<'_>,
    key: Key<'_>,
    chunks: Chunks,
    range: Range<u64>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    reply.bulk_header((range.end - range.start) as usize);
    chunks.read(db, key, range, &mut |piece| reply.raw(piece))?;
    reply.raw(b"\r\n");
    Ok(())
}

/// Answers that a key is absent.
fn miss(db: &mut Read<'_>, key: Key<'_>, reply: &mut Reply<'_>) {
    db.notify(event_class::MISS, "keymiss", key);
    reply.null();
}

fn set(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let value = args.next()?;
    if args.is_empty() {
        string::set(db, key, value, None)?;
        reply.ok();
        return Ok(());
    }
    set_with_options(db, key, value, args, reply)
}

fn set_with_options(
    db: &mut Write<'_>,
    key: Key<'_>,
    value: &[u8],
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (mut rule, mut moment) = (None, Moment::default());
    let (mut get, mut keep) = (false, false);
    while !args.is_empty() {
        if args.flag("NX") {
            rule = Some(only(rule, Condition::Absent)?);
        } else if args.flag("XX") {
            rule = Some(only(rule, Condition::Present)?);
        } else if args.flag("GET") {
            get = true;
        } else if args.flag("KEEPTTL") {
            keep = true;
        } else if moment.read(args)? {
        } else if rule.is_none() {
            rule = Some(condition(args)?.ok_or(SYNTAX)?);
        } else {
            return Err(SYNTAX);
        }
    }
    if keep && moment.is_given() {
        return Err(SYNTAX);
    }
    let at = moment.at(db.now_ms(), args.name())?;
    if get && !bulk(db, key, reply)? {
        miss(db, key, reply);
    }
    let done = if rule.is_none() && !keep {
        string::set(db, key, value, at)?;
        true
    } else {
        let otherwise = if keep { Expiry::Keep } else { Expiry::Clear };
        string::set_if(db, key, value, at.map_or(otherwise, Expiry::At), rule)?
    };
    match done {
        _ if get => {}
        true => reply.ok(),
        false => reply.null(),
    }
    Ok(())
}

/// NX or XX, which may be said twice but not together, nor with another condition.
fn only<'a>(before: Option<Condition<'a>>, now: Condition<'a>) -> Result<Condition<'a>> {
    if before.is_none_or(|before| before == now) { Ok(now) } else { Err(SYNTAX) }
}

fn setnx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let value = args.next()?;
    let done = string::set_if(db, key, value, Expiry::Clear, Some(Condition::Absent))?;
    reply.int(i64::from(done));
    Ok(())
}

fn setex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    set_for(db, args, Unit::Seconds, reply)
}

fn psetex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    set_for(db, args, Unit::Milliseconds, reply)
}

fn set_for(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    unit: Unit,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = args.key()?;
    let at = unit.at(args.next()?, db.now_ms(), args.name())?;
    string::set(db, key, args.next()?, Some(at))?;
    reply.ok();
    Ok(())
}

fn mset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !args.remaining().is_multiple_of(2) {
        return Err(args.wrong_number());
    }
    while !args.is_empty() {
        let key = args.key()?;
        string::set(db, key, args.next()?, None)?;
    }
    reply.ok();
    Ok(())
}

fn msetnx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !args.remaining().is_multiple_of(2) {
        return Err(args.wrong_number());
    }
    let mut ahead = args.clone();
    while !ahead.is_empty() {
        let key = ahead.key()?;
        ahead.next()?;
        if !string::holds(db, key, Condition::Absent)? {
            reply.int(0);
            return Ok(());
        }
    }
    while !args.is_empty() {
        let key = args.key()?;
        string::set(db, key, args.next()?, None)?;
    }
    reply.int(1);
    Ok(())
}

fn msetex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let pairs = args.int_in(1, i64::from(i32::MAX), "ERR invalid numkeys value")? as usize;
    if args.remaining() / 2 < pairs {
        return Err(Error::reply("ERR wrong number of key-value pairs"));
    }
    let mut options = args.clone();
    for _ in 0..pairs {
        options.next()?;
        options.next()?;
    }
    let (mut rule, mut moment, mut keep) = (None, Moment::default(), false);
    while !options.is_empty() {
        if options.flag("NX") {
            rule = Some(only(rule, Condition::Absent)?);
        } else if options.flag("XX") {
            rule = Some(only(rule, Condition::Present)?);
        } else if options.flag("KEEPTTL") {
            keep = true;
        } else if !moment.read(&mut options)? {
            return Err(SYNTAX);
        }
    }
    if keep && moment.is_given() {
        return Err(SYNTAX);
    }
    let at = moment.at(db.now_ms(), args.name())?;
    if let Some(rule) = rule {
        let mut ahead = args.clone();
        for _ in 0..pairs {
            let key = ahead.key()?;
            ahead.next()?;
            if !string::holds(db, key, rule)? {
                reply.int(0);
                return Ok(());
            }
        }
    }
    for _ in 0..pairs {
        let key = args.key()?;
        let value = args.next()?;
        if keep {
            string::set_if(db, key, value, Expiry::Keep, None)?;
        } else {
            string::set(db, key, value, at)?;
        }
    }
    reply.int(1);
    Ok(())
}

fn mget(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.array(args.remaining());
    for key in args.keys() {
        match bulk(db, key, reply) {
            Ok(true) => {}
            Ok(false) => miss(db, key, reply),
            Err(Error::WrongType) => reply.null(),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn getset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if !bulk(db, key, reply)? {
        miss(db, key, reply);
    }
    string::set_if(db, key, args.next()?, Expiry::Clear, None)?;
    Ok(())
}

fn getdel(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if bulk(db, key, reply)? {
        string::delete_if(db, key, None)?;
    } else {
        miss(db, key, reply);
    }
    Ok(())
}

fn getex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (mut moment, mut persist) = (Moment::default(), false);
    while !args.is_empty() {
        if args.flag("PERSIST") {
            persist = true;
        } else if !moment.read(args)? {
            return Err(SYNTAX);
        }
        if persist && moment.is_given() {
            return Err(SYNTAX);
        }
    }
    // A moment is judged only when there is a string that it could be for.
    if string::get(db, key)?.is_none() {
        miss(db, key, reply);
        return Ok(());
    }
    let at = moment.at(db.now_ms(), args.name())?;
    bulk(db, key, reply)?;
    match at {
        Some(at) => string::retime(db, key, Expiry::At(at)),
        None if persist => string::retime(db, key, Expiry::Clear),
        None => Ok(()),
    }
}

fn delex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let rule = match args.remaining() {
        0 => None,
        2 => Some(condition(args)?.ok_or_else(|| {
            Error::reply("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE")
        })?),
        _ => return Err(args.wrong_number()),
    };
    reply.int(i64::from(string::delete_if(db, key, rule)?));
    Ok(())
}

fn delifeq(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let rule = Condition::Equal(args.next()?);
    reply.int(i64::from(string::delete_if(db, key, Some(rule))?));
    Ok(())
}

fn digest(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    match string::digest(db, key)? {
        None => miss(db, key, reply),
        Some(hash) => reply.bulk(format!("{hash:016x}").as_bytes()),
    }
    Ok(())
}

fn strlen(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let len = string::get(db, key)?.map(|value| value.len());
    if len.is_none() {
        db.notify(event_class::MISS, "keymiss", key);
    }
    reply.int(len.unwrap_or(0) as i64);
    Ok(())
}

fn append(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let len = string::append(db, key, args.next()?)?;
    reply.int(len as i64);
    Ok(())
}

fn getrange(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (start, end) = (args.int()?, args.int()?);
    match string::get(db, key)? {
        None => {
            db.notify(event_class::MISS, "keymiss", key);
            reply.bulk(b"");
        }
        Some(Value::Whole(bytes)) => {
            let range = string::bounds(start, end, bytes.len() as u64);
            let part = bytes.get(range.start as usize..range.end as usize);
            reply.bulk(part.unwrap_or_default());
        }
        Some(Value::Chunked(chunks)) => {
            chunked(db, key, chunks, string::bounds(start, end, chunks.len()), reply)?;
        }
    }
    Ok(())
}

fn setrange(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let offset =
        u64::try_from(args.int()?).map_err(|_| Error::reply("ERR offset is out of range"))?;
    let len = string::set_range(db, key, offset, args.next()?)?;
    reply.int(len as i64);
    Ok(())
}

fn incr(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(string::incr_by(db, key, 1)?);
    Ok(())
}

fn decr(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(string::incr_by(db, key, -1)?);
    Ok(())
}

fn incrby(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let by = args.int()?;
    reply.int(string::incr_by(db, key, by)?);
    Ok(())
}

fn decrby(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let by = args.int()?.checked_neg();
    let by = by.ok_or_else(|| Error::reply("ERR decrement would overflow"))?;
    reply.int(string::incr_by(db, key, by)?);
    Ok(())
}

fn incrbyfloat(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let sum = string::incr_by_float(db, key, args.next()?)?;
    reply.bulk(&sum);
    Ok(())
}
