//! Hashes: fields with values, fields that expire.
//!
//! The data lives in `data::hash`; here arguments are read and replies written.

mod expiry;

use super::keys::cursor;
use super::{Args, Command, Family, read, write};
use forgekv_base::glob;
use forgekv_data::hash::{self, Visit};
use forgekv_data::{Error, Kind, NOT_AN_INTEGER, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;

const O_OF_HASH: &str = "O(N) where N is the size of the hash.";
const O_OF_FIELDS: &str = "O(N) where N is the number of specified fields";
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const UNSTABLE: &[&str] = &["nondeterministic_output"];

/// HSCAN visits so many fields unless told.
const SCANNED: u64 = 10;
/// HRANDFIELD repeats no more fields: Redis would, until its memory ends.
const REPEATED_MAX: u64 = 1 << 24;
/// HRANDFIELD answers no more bytes.
const REPEATED_BYTES_MAX: usize = 512 << 20;

const OUT_OF_RANGE: &str = "ERR value is out of range";

const COMMANDS: &[Command] = &[
    write("HSET", hset, "key field value [field value ...]")
        .fast()
        .grows()
        .since("2.0.0")
        .complexity(
            "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the \
             command is called with multiple field/value pairs.",
        )
        .keys("RW update")
        .about("Sets fields and counts how many are new."),
    write("HMSET", hmset, "key field value [field value ...]")
        .fast()
        .grows()
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields being set.")
        .keys("RW update")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .about("Sets fields."),
    write("HSETNX", hsetnx, "key field value")
        .fast()
        .grows()
        .since("2.0.0")
        .complexity("O(1)")
        .keys("RW insert")
        .about("Sets a field that is not there yet."),
    read("HGET", hget, "key field")
        .fast()
        .since("2.0.0")
        .complexity("O(1)")
        .about("Returns the value of a field."),
    read("HMGET", hmget, "key field [field ...]")
        .fast()
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields being requested.")
        .about("Returns the values of many fields."),
    read("HGETALL", hgetall, "key")
        .since("2.0.0")
        .complexity(O_OF_HASH)
        .tips(UNORDERED)
        .about("Returns all fields and their values."),
    read("HKEYS", hkeys, "key")
        .since("2.0.0")
        .complexity(O_OF_HASH)
        .tips(UNORDERED)
        .about("Returns all fields."),
    read("HVALS", hvals, "key")
        .since("2.0.0")
        .complexity(O_OF_HASH)
        .tips(UNORDERED)
        .about("Returns all values."),
    read("HLEN", hlen, "key")
        .fast()
        .since("2.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Counts the fields."),
    write("HDEL", hdel, "key field [field ...]")
        .fast()
        .since("2.0.0")
        .complexity("O(N) where N is the number of fields to be removed.")
        .keys("RW delete")
        .about("Deletes fields, and the key with the last of them."),
    read("HEXISTS", hexists, "key field")
        .fast()
        .since("2.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Tells whether a field is there."),
    read("HSTRLEN", hstrlen, "key field")
        .fast()
        .since("3.2.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Returns the length of the value of a field."),
    write("HINCRBY", hincrby, "key field increment")
        .fast()
        .grows()
        .since("2.0.0")
        .complexity("O(1)")
        .keys("RW access update")
        .about("Adds to the integer value of a field."),
    write("HINCRBYFLOAT", hincrbyfloat, "key field increment:double")
        .fast()
        .grows()
        .since("2.6.0")
        .complexity("O(1)")
        .keys("RW access update")
        .about("Adds to the value of a field, a decimal number."),
    read("HRANDFIELD", hrandfield, "key [count [WITHVALUES]]")
        .since("6.2.0")
        .complexity("O(N) where N is the number of fields returned")
        .tips(UNSTABLE)
        .about("Returns random fields."),
    read("HSCAN", hscan, "key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
        .since("2.8.0")
        .complexity("O(COUNT) for each call, O(N) for a whole walk over N fields.")
        .tips(UNSTABLE)
        .about("Walks over the fields, some at a time."),
    write("HEXPIRE", expiry::hexpire, expiry::SECONDS)
        .fast()
        .grows()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .keys("RW update")
        .about("Makes fields expire after so many seconds."),
    write("HPEXPIRE", expiry::hpexpire, expiry::MILLISECONDS)
        .fast()
        .grows()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .keys("RW update")
        .about("Makes fields expire after so many milliseconds."),
    write("HEXPIREAT", expiry::hexpireat, expiry::AT_SECONDS)
        .fast()
        .grows()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .keys("RW update")
        .about("Makes fields expire at a Unix time in seconds."),
    write("HPEXPIREAT", expiry::hpexpireat, expiry::AT_MILLISECONDS)
        .fast()
        .grows()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .keys("RW update")
        .about("Makes fields expire at a Unix time in milliseconds."),
    read("HTTL", expiry::httl, expiry::FIELDS)
        .fast()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .tips(UNSTABLE)
        .about("Returns how long fields have to live, in seconds."),
    read("HPTTL", expiry::hpttl, expiry::FIELDS)
        .fast()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .tips(UNSTABLE)
        .about("Returns how long fields have to live, in milliseconds."),
    read("HEXPIRETIME", expiry::hexpiretime, expiry::FIELDS)
        .fast()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .about("Returns when fields expire, as a Unix time in seconds."),
    read("HPEXPIRETIME", expiry::hpexpiretime, expiry::FIELDS)
        .fast()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .about("Returns when fields expire, as a Unix time in milliseconds."),
    write("HPERSIST", expiry::hpersist, expiry::FIELDS)
        .fast()
        .since("7.4.0")
        .complexity(O_OF_FIELDS)
        .keys("RW update")
        .about("Takes the expiries of fields away."),
    write("HGETDEL", expiry::hgetdel, expiry::FIELDS)
        .fast()
        .since("8.0.0")
        .complexity(O_OF_FIELDS)
        .keys("RW access delete")
        .about("Returns the values of fields and deletes them."),
    write("HGETEX", expiry::hgetex, expiry::GETEX)
        .fast()
        .since("8.0.0")
        .complexity(O_OF_FIELDS)
        .about("Returns the values of fields and changes their expiries."),
    write("HSETEX", expiry::hsetex, expiry::SETEX)
        .fast()
        .grows()
        .since("8.0.0")
        .complexity("O(N) where N is the number of fields being set.")
        .keys("RW update")
        .about("Sets fields and one expiry for all, if the condition holds of every field."),
];

/// Hashes.
pub(crate) const FAMILY: Family = Family::new("hash", COMMANDS);

fn hset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let added = set(db, args)?;
    reply.int(added as i64);
    Ok(())
}

fn hmset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    set(db, args)?;
    reply.ok();
    Ok(())
}

fn set(db: &mut Write<'_>, args: &mut Args<'_>) -> Result<u64> {
    let key = args.key()?;
    let pairs = args.rest();
    if !pairs.len().is_multiple_of(2) {
        return Err(args.wrong_number());
    }
    hash::set(db, key, pairs)
}

fn hsetnx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (field, value) = (args.next()?, args.next()?);
    reply.int(i64::from(hash::set_absent(db, key, field, value)?));
    Ok(())
}

/// A value, or null when there is none.
fn value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(bytes) => reply.bulk(bytes),
        None => reply.null(),
    }
}

fn hget(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    hash::get(db, key, args.next()?, |found| value(reply, found))
}

fn hmget(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let fields = args.rest();
    reply.array(fields.len());
    hash::get_many(db, key, fields, &mut |found| value(reply, found))
}

/// What of a hash is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Fields,
    Values,
}

/// Writes a hash into a reply.
struct Show<'r, 'a> {
    part: Part,
    reply: &'r mut Reply<'a>,
}

impl Visit for Show<'_, '_> {
    fn len(&mut self, len: u64) {
        match self.part {
            Part::All => self.reply.map(len as usize),
            Part::Fields | Part::Values => self.reply.array(len as usize),
        }
    }

    fn field(&mut self, field: &[u8], value: &[u8]) -> Result<()> {
        if self.part != Part::Values {
            self.reply.bulk(field);
        }
        if self.part != Part::Fields {
            self.reply.bulk(value);
        }
        Ok(())
    }
}

fn hgetall(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    hash::all(db, args.key()?, &mut Show { part: Part::All, reply })
}

fn hkeys(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    hash::all(db, args.key()?, &mut Show { part: Part::Fields, reply })
}

fn hvals(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    hash::all(db, args.key()?, &mut Show { part: Part::Values, reply })
}

fn hlen(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(hash::len(db, args.key()?)? as i64);
    Ok(())
}

fn hdel(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(hash::delete(db, key, args.rest())? as i64);
    Ok(())
}

fn hexists(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let found = hash::get(db, key, args.next()?, |found| found.is_some())?;
    reply.int(i64::from(found));
    Ok(())
}

fn hstrlen(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let len = hash::get(db, key, args.next()?, |found| found.map_or(0, <[u8]>::len))?;
    reply.int(len as i64);
    Ok(())
}

fn hincrby(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, field) = (args.key()?, args.next()?);
    let by = args.int()?;
    reply.int(hash::incr_by(db, key, field, by)?);
    Ok(())
}

fn hincrbyfloat(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, field) = (args.key()?, args.next()?);
    reply.bulk(&hash::incr_by_float(db, key, field, args.next()?)?);
    Ok(())
}

fn hrandfield(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        let mut found = false;
        hash::random(db, key, -1, &mut |field, _| {
            found = true;
            reply.bulk(field);
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
    let with_values = args.flag("WITHVALUES");
    args.end()?;
    let half = i64::MAX.unsigned_abs() / 2;
    let too_many = with_values && count.unsigned_abs() > half;
    if too_many || (count < 0 && count.unsigned_abs() > REPEATED_MAX) {
        return Err(Error::reply(OUT_OF_RANGE));
    }
    let (start, array) = (reply.written(), reply.deferred_array());
    let mut n = 0;
    hash::random(db, key, count, &mut |field, value| {
        n += 1;
        if with_values && reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
        if count < 0 && reply.written() - start > REPEATED_BYTES_MAX {
            return Err(Error::reply(OUT_OF_RANGE));
        }
        Ok(())
    })?;
    let words = if with_values && !reply.is_resp3() { 2 * n } else { n };
    reply.finish_array(array, words);
    Ok(())
}

fn hscan(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let start = cursor(args.next()?).ok_or_else(|| Error::reply("ERR invalid cursor"))?;
    // Options are judged only when there is a hash.
    let there = db.header_of(key, Kind::Hash)?.is_some();
    let (mut count, mut pattern, mut values) = (SCANNED, None, true);
    while there && !args.is_empty() {
        if args.option("COUNT") {
            count = u64::try_from(args.int()?).ok().filter(|&n| n > 0).ok_or(SYNTAX)?;
        } else if args.option("MATCH") {
            pattern = Some(args.next()?).filter(|&p| p != b"*");
        } else if args.flag("NOVALUES") {
            values = false;
        } else {
            return Err(SYNTAX);
        }
    }
    let mut body = Vec::new();
    let mut n = 0;
    let mut words = Reply::new(&mut body, reply.proto());
    let next = hash::scan(db, key, start, count, &mut |field, value| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, field, false)) {
            words.bulk(field);
            n += 1;
            if values {
                words.bulk(value);
                n += 1;
            }
        }
    })?;
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(n);
    reply.raw(&body);
    Ok(())
}
