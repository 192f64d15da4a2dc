//! HyperLogLogs: how many different elements were added, about.
//!
//! The data lives in `data::hyperloglog`; here arguments are read and replies written.

use super::{Args, Command, Family, admin, read, write};
use crate::road::{Admin, Then};
use forgekv_data::hyperloglog::{self, Form};
use forgekv_data::{Error, Key, Read, Result, Write};
use forgekv_resp::Reply;

const COMMANDS: &[Command] = &[
    write("PFADD", pfadd, "key [element [element ...]]")
        .fast()
        .grows()
        .since("2.8.9")
        .complexity("O(1) to add every element.")
        .keys("RW insert")
        .about("Adds elements and tells whether the estimate may have changed."),
    read("PFCOUNT", pfcount, "key [key ...]")
        .may_replicate()
        .since("2.8.9")
        .complexity(
            "O(1) with a very small average constant time when called with a single key. O(N) with \
             N being the number of keys, and much bigger constant times, when called with multiple \
             keys.",
        )
        .keys("RW access")
        .about("Estimates how many different elements were added to any of the keys."),
    write("PFMERGE", pfmerge, "destkey [sourcekey:key [sourcekey:key ...]]")
        .grows()
        .since("2.8.9")
        .complexity("O(N) to merge N HyperLogLogs, but with high constant times.")
        .keys("RW access insert @ 1 range 0 1 0; RO access @ 2 range -1 1 0")
        .about("Adds to a key what was added to others."),
    write("PFDEBUG", pfdebug, "subcommand key")
        .grows()
        .operator()
        .since("2.8.9")
        .complexity("N/A")
        .keys("RW access")
        .about("Looks into a HyperLogLog: GETREG, DECODE, ENCODING, TODENSE."),
    admin("PFSELFTEST", pfselftest, "")
        .operator()
        .since("2.8.9")
        .complexity("N/A")
        .about("Tests the estimator."),
];

/// HyperLogLogs.
pub(crate) const FAMILY: Family = Family::new("hyperloglog", COMMANDS);

fn pfadd(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    reply.int(i64::from(hyperloglog::add(db, key, args.rest())?));
    Ok(())
}

fn pfcount(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let keys: Vec<Key<'_>> = args.keys().collect();
    let count = match keys.as_slice() {
        [key] => hyperloglog::count(db, *key)?,
        keys => hyperloglog::count_all(db, keys)?,
    };
    reply.int(count as i64);
    Ok(())
}

fn pfmerge(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let to = args.key()?;
    let keys: Vec<Key<'_>> = args.keys().collect();
    hyperloglog::merge_into(db, to, &keys)?;
    reply.ok();
    Ok(())
}

fn pfdebug(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let subcommand = args.next()?;
    let key = args.key()?;
    let Some(form) = hyperloglog::form(db, key)? else {
        return Err(Error::reply("ERR The specified key does not exist"));
    };
    match subcommand.to_ascii_uppercase().as_slice() {
        b"GETREG" => {
            hyperloglog::make_dense(db, key)?;
            let registers = hyperloglog::registers(db, key)?;
            reply.array(registers.len());
            registers.iter().for_each(|value| reply.int(i64::from(*value)));
        }
        b"DECODE" => {
            if form == Form::Dense {
                return Err(Error::reply("ERR HLL encoding is not sparse"));
            }
            reply.bulk(hyperloglog::decode(db, key)?.as_bytes());
        }
        b"ENCODING" => reply.simple(if form == Form::Dense { "dense" } else { "sparse" }),
        b"TODENSE" => reply.int(i64::from(hyperloglog::make_dense(db, key)?)),
        _ => {
            let name = String::from_utf8_lossy(subcommand);
            return Err(Error::reply(format!("ERR Unknown PFDEBUG subcommand '{name}'")));
        }
    }
    Ok(())
}

fn pfselftest(admin: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    admin.then = Some(Then::Work(Box::new(|proto| {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, proto);
        match hyperloglog::self_test() {
            Ok(()) => reply.ok(),
            Err(what) => reply.error(&format!("TESTFAILED {what}")),
        }
        out
    })));
    Ok(())
}
