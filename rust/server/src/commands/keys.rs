//! The generic family: what can be done to a key whatever it holds, and to whole databases.
//!
//! The data side lives in `data::keys`, `data::expire`, `data::scan` and `data::dbmap`.

mod dump;
mod expiry;
mod migrate;
mod walk;

use super::command::HELP;
use super::{Args, Command, Family, container, read, write};
use dump::{dump, restore};
use expiry::{expire, expireat, expiretime, persist, pexpire, pexpireat, pexpiretime, pttl, ttl};
use forgekv_base::number::parse_i64;
use forgekv_data::{
    Error, Key, NOT_AN_INTEGER, Read, Result, SYNTAX, Write, dbmap, event_class, keys,
};
use forgekv_resp::Reply;
use migrate::migrate;
pub(crate) use walk::cursor;
use walk::{dbsize, keys_matching, randomkey, scan};

const CONDITIONS_SECONDS: &str = "key seconds [NX | XX | GT | LT]";
const CONDITIONS_MILLISECONDS: &str = "key milliseconds [NX | XX | GT | LT]";
const CONDITIONS_AT: &str = "key unix-time-seconds [NX | XX | GT | LT]";
const CONDITIONS_AT_MILLISECONDS: &str = "key unix-time-milliseconds [NX | XX | GT | LT]";
const PER_KEY: &str = "O(N) where N is the number of keys.";
const SUMMED: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const FLUSHED: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const UNSTABLE: &[&str] = &["nondeterministic_output"];

const DB_OUT_OF_RANGE: &str = "ERR DB index is out of range";
const SAME_OBJECT: &str = "ERR source and destination objects are the same";
const NO_FREQ: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
     Please note that when switching between policies at runtime LRU and LFU data will take some \
     time to adjust.";
const NO_IDLETIME: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note \
     that when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// The generic family.
pub(crate) const FAMILY: Family = Family::new("generic", COMMANDS);

const COMMANDS: &[Command] = &[
    write("DEL", del, "key [key ...]")
        .since("1.0.0")
        .complexity(PER_KEY)
        .keys("RM delete")
        .tips(SUMMED)
        .about("Deletes keys, whatever they hold."),
    write("UNLINK", del, "key [key ...]")
        .fast()
        .since("4.0.0")
        .complexity(PER_KEY)
        .keys("RM delete")
        .tips(SUMMED)
        .about("Deletes keys, as DEL does: neither takes longer for large values."),
    read("EXISTS", exists, "key [key ...]")
        .fast()
        .looks()
        .since("1.0.0")
        .complexity(PER_KEY)
        .keys("RO")
        .tips(SUMMED)
        .about("Counts how many of the keys are there."),
    read("TYPE", kind, "key")
        .fast()
        .looks()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Returns the type of the value."),
    read("TOUCH", exists, "key [key ...]")
        .fast()
        .since("3.2.1")
        .complexity(PER_KEY)
        .keys("RO")
        .tips(SUMMED)
        .about("Reads keys, so that they stay in memory, and counts how many are there."),
    write("COPY", copy, "source destination [DB destination-db] [REPLACE]")
        .grows()
        .since("6.2.0")
        .complexity("O(N) where N is the number of elements of a large collection, otherwise O(1).")
        .keys("RO access; OW update")
        .about("Copies a value, with its expiry, to another key or database."),
    write("MOVE", move_key, "key db")
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RW access update")
        .about("Moves a key to another database."),
    write("RENAME", rename, "key newkey")
        .since("1.0.0")
        .complexity("O(1), or O(N) for a large collection that has to move to another shard.")
        .keys("RW access delete; OW update")
        .about("Renames a key and replaces what had that name."),
    write("RENAMENX", renamenx, "key newkey")
        .fast()
        .since("1.0.0")
        .complexity("O(1), or O(N) for a large collection that has to move to another shard.")
        .keys("RW access delete; OW insert")
        .about("Renames a key if nothing has that name."),
    read("DUMP", dump, "key")
        .since("2.6.0")
        .complexity("O(N) where N is the size of the value.")
        .tips(UNSTABLE)
        .about("Returns a value in Redis's own format, for RESTORE."),
    write(
        "RESTORE",
        restore,
        "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    )
    .looks()
    .grows()
    .dangerous()
    .since("2.6.0")
    .complexity("O(N) where N is the size of the value.")
    .keys("OW update")
    .about("Gives a key a value that DUMP returned."),
    write(
        "MIGRATE",
        migrate,
        "host port key destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
    )
    .long()
    .dangerous()
    .since("2.6.0")
    .complexity("This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is performed.")
    .keys("RW access delete @ 3! range 0 1 0; RW access delete incomplete @ KEYS:-2 range -1 1 0")
    .tips(UNSTABLE)
    .about("Gives keys to another server, and deletes them here."),
    write(
        "RESTORE-ASKING",
        restore,
        "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    )
    .looks()
    .grows()
    .dangerous()
    .group("server")
    .since("3.0.0")
    .complexity("O(N) where N is the size of the value.")
    .keys("OW update")
    .categories(&["keyspace"])
    .about("As RESTORE; the nodes of a cluster call it."),
    read("RANDOMKEY", randomkey, "")
        .all_shards()
        .since("1.0.0")
        .complexity("O(1)")
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .about("Returns a random key of the database."),
    read("KEYS", keys_matching, "pattern")
        .all_shards()
        .long()
        .dangerous()
        .since("1.0.0")
        .complexity("O(N) where N is the number of keys in the database.")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .about("Returns all keys that match a pattern."),
    read("SCAN", scan, "cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .sweep()
        .since("2.8.0")
        .complexity("O(COUNT) for each call, O(N) for a whole walk over N keys.")
        .tips(&["nondeterministic_output", "request_policy:special"])
        .about("Walks over the keys of the database, some at a time."),
    write("EXPIRE", expire, CONDITIONS_SECONDS)
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RW update")
        .about("Makes a key expire after so many seconds."),
    write("PEXPIRE", pexpire, CONDITIONS_MILLISECONDS)
        .fast()
        .since("2.6.0")
        .complexity("O(1)")
        .keys("RW update")
        .about("Makes a key expire after so many milliseconds."),
    write("EXPIREAT", expireat, CONDITIONS_AT)
        .fast()
        .since("1.2.0")
        .complexity("O(1)")
        .keys("RW update")
        .about("Makes a key expire at a Unix time in seconds."),
    write("PEXPIREAT", pexpireat, CONDITIONS_AT_MILLISECONDS)
        .fast()
        .since("2.6.0")
        .complexity("O(1)")
        .keys("RW update")
        .about("Makes a key expire at a Unix time in milliseconds."),
    read("TTL", ttl, "key")
        .fast()
        .looks()
        .since("1.0.0")
        .complexity("O(1)")
        .tips(UNSTABLE)
        .about("Returns in how many seconds a key expires."),
    read("PTTL", pttl, "key")
        .fast()
        .looks()
        .since("2.6.0")
        .complexity("O(1)")
        .tips(UNSTABLE)
        .about("Returns in how many milliseconds a key expires."),
    read("EXPIRETIME", expiretime, "key")
        .fast()
        .looks()
        .since("7.0.0")
        .complexity("O(1)")
        .about("Returns at which Unix time in seconds a key expires."),
    read("PEXPIRETIME", pexpiretime, "key")
        .fast()
        .looks()
        .since("7.0.0")
        .complexity("O(1)")
        .about("Returns at which Unix time in milliseconds a key expires."),
    write("PERSIST", persist, "key")
        .fast()
        .since("2.2.0")
        .complexity("O(1)")
        .keys("RW update")
        .about("Takes a key's expiry away."),
    container(
        "OBJECT",
        &[
            read("ENCODING", object_encoding, "key")
                .looks()
                .since("2.2.3")
                .complexity("O(1)")
                .keys("RO")
                .tips(UNSTABLE)
                .about("Returns what Redis would call the value's representation."),
            read("REFCOUNT", object_refcount, "key")
                .looks()
                .since("2.2.3")
                .complexity("O(1)")
                .keys("RO")
                .tips(UNSTABLE)
                .about("Returns the number of references to the value, which is always 1."),
            read("IDLETIME", object_idletime, "key")
                .looks()
                .since("2.2.3")
                .complexity("O(1)")
                .keys("RO")
                .tips(UNSTABLE)
                .about("Returns the seconds since the last use, at least; an estimate."),
            read("FREQ", object_freq, "key")
                .looks()
                .since("4.0.0")
                .complexity("O(1)")
                .keys("RO")
                .tips(UNSTABLE)
                .about("Returns how often the key is used, on a logarithmic scale; an estimate."),
            HELP.categories(&["keyspace"]),
        ],
    )
    .since("2.2.3")
    .about("Tells how a value is kept."),
    read("DBSIZE", dbsize, "")
        .fast()
        .all_shards()
        .keyspace()
        .group("server")
        .since("1.0.0")
        .complexity("O(1)")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .about("Returns the number of keys in the database."),
    write("FLUSHDB", flushdb, "[ASYNC | SYNC]")
        .all_shards()
        .keyspace()
        .dangerous()
        .group("server")
        .since("1.0.0")
        .complexity("O(1)")
        .tips(FLUSHED)
        .about("Empties the database; its disk is given back in the background."),
    write("FLUSHALL", flushall, "[ASYNC | SYNC]")
        .all_shards()
        .keyspace()
        .dangerous()
        .group("server")
        .since("1.0.0")
        .complexity("O(1)")
        .tips(FLUSHED)
        .about("Empties all databases; their disk is given back in the background."),
    write("SWAPDB", swapdb, "index1 index2")
        .fast()
        .all_shards()
        .keyspace()
        .dangerous()
        .group("server")
        .since("4.0.0")
        .complexity("O(1)")
        .about("Swaps two databases."),
];

fn del(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut deleted = 0;
    for key in args.keys() {
        deleted += i64::from(keys::delete(db, key)?);
    }
    reply.int(deleted);
    Ok(())
}

/// Tells who listens that a key is not there.
fn missed(db: &mut Read<'_>, key: Key<'_>) {
    db.notify(event_class::MISS, "keymiss", key);
}

fn exists(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut there = 0;
    for key in args.keys() {
        if keys::exists(db, key)? {
            there += 1;
        } else {
            missed(db, key);
        }
    }
    reply.int(there);
    Ok(())
}

fn kind(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let kind = keys::kind(db, key)?;
    if kind.is_none() {
        missed(db, key);
    }
    reply.simple(kind.map_or("none", |kind| kind.name()));
    Ok(())
}

/// A database's number; `text` is the error when it is not a number.
fn db_number(word: &[u8], text: Option<&'static str>) -> Result<i64> {
    let refused = |otherwise: Error| text.map_or(otherwise, Error::reply);
    let number = parse_i64(word).ok_or_else(|| refused(NOT_AN_INTEGER))?;
    if i32::try_from(number).is_err() {
        return Err(refused(Error::reply(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )));
    }
    Ok(number)
}

/// The database of that number.
fn existing_db(db: &Read<'_>, number: i64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|&n| n < db.databases())
        .ok_or_else(|| Error::reply(DB_OUT_OF_RANGE))
}

fn copy(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (from, to) = (args.key()?, args.key()?);
    let mut target = db.db();
    let mut replace = false;
    while !args.is_empty() {
        if args.flag("REPLACE") {
            replace = true;
        } else if args.option("DB") {
            target = existing_db(db, db_number(args.next()?, None)?)?;
        } else {
            return Err(SYNTAX);
        }
    }
    if target == db.db() && from.name == to.name {
        return Err(Error::reply(SAME_OBJECT));
    }
    let copied = keys::copy(db, from, to, target, replace)?;
    reply.int(i64::from(copied));
    Ok(())
}

fn move_key(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let target = existing_db(db, db_number(args.next()?, None)?)?;
    if target == db.db() {
        return Err(Error::reply(SAME_OBJECT));
    }
    let moved = keys::move_to(db, key, target)?;
    reply.int(i64::from(moved));
    Ok(())
}

fn rename(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    keys::rename(db, args.key()?, args.key()?, false)?;
    reply.ok();
    Ok(())
}

fn renamenx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let renamed = keys::rename(db, args.key()?, args.key()?, true)?;
    reply.int(i64::from(renamed));
    Ok(())
}

/// ASYNC or SYNC, which are the same here: emptying a database takes no time.
fn flush_mode(args: &mut Args<'_>) -> Result<()> {
    if !args.flag("ASYNC") {
        args.flag("SYNC");
    }
    args.end()
}

fn flushdb(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    flush_mode(args)?;
    let selected = db.db();
    dbmap::flush(db, Some(selected))?;
    reply.ok();
    Ok(())
}

fn flushall(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    flush_mode(args)?;
    dbmap::flush(db, None)?;
    reply.ok();
    Ok(())
}

fn swapdb(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let first = db_number(args.next()?, Some("ERR invalid first DB index"))?;
    let second = db_number(args.next()?, Some("ERR invalid second DB index"))?;
    let (first, second) = (existing_db(db, first)?, existing_db(db, second)?);
    dbmap::swap(db, first, second)?;
    reply.ok();
    Ok(())
}

fn object_encoding(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    match keys::encoding_name(db, args.key()?)? {
        Some(name) => reply.bulk(name.as_bytes()),
        None => reply.null(),
    }
    Ok(())
}

fn object_refcount(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if keys::exists(db, args.key()?)? {
        reply.int(1)
    } else {
        reply.null()
    }
    Ok(())
}

fn object_idletime(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    match keys::exists(db, key)? {
        false => reply.null(),
        true if db.limits().lfu.is_some() => return Err(Error::reply(NO_IDLETIME)),
        true => reply.int(i64::try_from(keys::idle_s(db, key)).unwrap_or(i64::MAX)),
    }
    Ok(())
}

fn object_freq(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    match (keys::exists(db, key)?, keys::frequency(db, key)) {
        (false, _) => reply.null(),
        (true, None) => return Err(Error::reply(NO_FREQ)),
        (true, Some(count)) => reply.int(count.into()),
    }
    Ok(())
}
