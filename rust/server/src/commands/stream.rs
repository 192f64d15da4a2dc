//! Streams: entries that are added at the end and read by their ids, alone or in groups.
//!
//! The data lives in `data::stream`; here arguments are read and replies written.

mod group;
mod info;
mod options;
mod pending;
mod read;

use super::command::HELP;
use super::{Args, Command, Family, container, read, wait, write};
use forgekv_data::stream::{self, Add, Deleted, Fields, Id, NewId, Seq};
use forgekv_data::{Error, Kind, Read, Result, Write};
use forgekv_resp::Reply;
use options::Options;

const BAD_ID: &str = "ERR Invalid stream ID specified as stream command argument";
const UNSTABLE: &[&str] = &["nondeterministic_output"];

const COMMANDS: &[Command] = &[
    write(
        "XADD",
        xadd,
        "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] \
         [IDMPAUTO producer-id | IDMP producer-id idempotent-id] \
         [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
    )
    .fast()
    .grows()
    .since("5.0.0")
    .complexity("O(1), and O(N) for the N entries that trimming takes away.")
    .keys("RW update")
    .tips(UNSTABLE)
    .about("Adds an entry to the end of a stream."),
    write(
        "XTRIM",
        xtrim,
        "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
    )
    .since("5.0.0")
    .complexity("O(N) where N is the number of entries that go; whole blocks of them at once.")
    .keys("RW delete")
    .tips(UNSTABLE)
    .about("Takes the oldest entries away until few enough are left."),
    write("XDEL", xdel, "key id [id ...]")
        .fast()
        .since("5.0.0")
        .complexity("O(1) for each entry.")
        .keys("RW delete")
        .about("Deletes entries."),
    write("XDELEX", xdelex, "key [KEEPREF | DELREF | ACKED] IDS numids:integer id [id ...]")
        .fast()
        .since("8.2.0")
        .complexity("O(1) for each entry.")
        .keys("RW delete")
        .about("Deletes entries, with regard to the groups in which they are pending."),
    read("XLEN", xlen, "key")
        .fast()
        .since("5.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Counts the entries."),
    read("XRANGE", xrange, "key start:string end:string [COUNT count]")
        .since("5.0.0")
        .complexity("O(N) where N is the number of entries returned.")
        .about("Returns the entries between two ids."),
    read("XREVRANGE", xrevrange, "key end:string start:string [COUNT count]")
        .since("5.0.0")
        .complexity("O(N) where N is the number of entries returned.")
        .about("Returns the entries between two ids, the last one first."),
    wait(
        "XREAD",
        read::xread,
        "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
    )
    .only_reads()
    .since("5.0.0")
    .complexity("O(N) where N is the number of entries returned.")
    .keys("RO access @ STREAMS:1 range -1 1 2")
    .about("Returns the entries behind given ids, of one or more streams."),
    wait(
        "XREADGROUP",
        read::xreadgroup,
        "GROUP group consumer [COUNT count] [BLOCK milliseconds] [CLAIM min-idle-time:integer] [NOACK] \
         STREAMS key [key ...] id [id ...]",
    )
    .since("5.0.0")
    .complexity("O(N) where N is the number of entries returned.")
    .keys("RO access @ STREAMS:4 range -1 1 2")
    .about("Returns entries that no consumer of the group has got yet, or those that this one has got."),
    write(
        "XSETID",
        xsetid,
        "key last-id [ENTRIESADDED entries-added:integer] [MAXDELETEDID max-deleted-id]",
    )
    .fast()
    .grows()
    .since("5.0.0")
    .complexity("O(1)")
    .keys("RW update")
    .about("Sets the id given last."),
    container(
        "XGROUP",
        &[
            write(
                "CREATE",
                group::create,
                "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read:integer]",
            )
            .grows()
            .since("5.0.0")
            .complexity("O(1)")
            .keys("RW insert")
            .about("Makes a group that reads behind an id."),
            write("SETID", group::setid, "key group <id | $> [ENTRIESREAD entries-read:integer]")
                .since("5.0.0")
                .complexity("O(1)")
                .keys("RW update")
                .about("Sets from where on a group reads."),
            write("DESTROY", group::destroy, "key group")
                .since("5.0.0")
                .complexity("O(N) where N is the number of entries pending in the group.")
                .keys("RW delete")
                .about("Takes a group away."),
            write("CREATECONSUMER", group::createconsumer, "key group consumer")
                .grows()
                .since("6.2.0")
                .complexity("O(1)")
                .keys("RW insert")
                .about("Makes a consumer in a group."),
            write("DELCONSUMER", group::delconsumer, "key group consumer")
                .since("5.0.0")
                .complexity("O(N) where N is the number of entries pending with the consumer.")
                .keys("RW delete")
                .about("Takes a consumer away with what is pending with it."),
            HELP,
        ],
    )
    .since("5.0.0")
    .complexity("Depends on subcommand.")
    .about("Manages the groups of a stream."),
    write("XACK", group::xack, "key group id [id ...]")
        .fast()
        .since("5.0.0")
        .complexity("O(1) for each id.")
        .keys("RW update")
        .about("Acknowledges entries: they are pending no more."),
    write(
        "XACKDEL",
        group::xackdel,
        "key group [KEEPREF | DELREF | ACKED] IDS numids:integer id [id ...]",
    )
    .fast()
    .since("8.2.0")
    .complexity("O(1) for each id.")
    .keys("RW update delete")
    .about("Acknowledges entries and deletes them, with regard to other groups."),
    read(
        "XPENDING",
        pending::xpending,
        "key group [[IDLE min-idle-time:integer] start:string end:string count [consumer]]",
    )
    .since("5.0.0")
    .complexity("O(N) where N is the number of entries looked at; O(M) in the consumers without a range.")
    .tips(UNSTABLE)
    .about("Tells what is pending in a group."),
    write(
        "XCLAIM",
        pending::xclaim,
        "key group consumer min-idle-time:string id [id ...] [IDLE ms:integer] \
         [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
    )
    .fast()
    .since("5.0.0")
    .complexity("O(1) for each id.")
    .keys("RW update")
    .tips(UNSTABLE)
    .about("Gives pending entries to a consumer."),
    write(
        "XAUTOCLAIM",
        pending::xautoclaim,
        "key group consumer min-idle-time:string start:string [COUNT count] [JUSTID]",
    )
    .fast()
    .since("6.2.0")
    .complexity("O(1) if COUNT is small.")
    .keys("RW delete")
    .tips(UNSTABLE)
    .about("Gives entries that have been pending for long to a consumer."),
    container(
        "XINFO",
        &[
            read("STREAM", info::stream, "key [FULL [COUNT count]]")
                .since("5.0.0")
                .complexity("O(1)")
                .about("Describes a stream."),
            read("GROUPS", info::groups, "key")
                .since("5.0.0")
                .complexity("O(1)")
                .about("Describes the groups of a stream."),
            read("CONSUMERS", info::consumers, "key group")
                .since("5.0.0")
                .complexity("O(1)")
                .tips(UNSTABLE)
                .about("Describes the consumers of a group."),
            HELP,
        ],
    )
    .since("5.0.0")
    .complexity("Depends on subcommand.")
    .about("Describes streams, groups and consumers."),
    write(
        "XCFGSET",
        xcfgset,
        "key [IDMP-DURATION idmp-duration:integer] [IDMP-MAXSIZE idmp-maxsize:integer]",
    )
    .fast()
    .since("8.6.0")
    .complexity("O(1)")
    .keys("RW update")
    .about("Sets how long, and how many, idempotent ids are remembered."),
];

/// Streams.
pub(crate) const FAMILY: Family = Family::new("stream", COMMANDS);

/// Reads an id; one without a sequence number gets `missing`.
fn id(word: &[u8], missing: u64) -> Result<Id> {
    match Id::parse(word) {
        Some((ms, Seq::Given(seq))) => Ok(Id::new(ms, seq)),
        Some((ms, Seq::Missing)) => Ok(Id::new(ms, missing)),
        Some((_, Seq::Auto)) | None => Err(Error::reply(BAD_ID)),
    }
}

/// Reads all that is left as ids.
fn ids(args: &Args<'_>) -> Result<Vec<Id>> {
    args.rest().iter().map(|word| id(word, 0)).collect()
}

/// Reads where an interval begins.
fn start(word: &[u8]) -> Result<Id> {
    match (word, word.strip_prefix(b"(")) {
        (b"-", _) => Ok(Id::MIN),
        (b"+", _) => Ok(Id::MAX),
        (_, Some(rest)) if !rest.is_empty() => {
            let next = id(rest, 0)?.next();
            next.ok_or_else(|| Error::reply("ERR invalid start ID for the interval"))
        }
        _ => id(word, 0),
    }
}

/// Reads where an interval ends.
fn end(word: &[u8]) -> Result<Id> {
    match (word, word.strip_prefix(b"(")) {
        (b"-", _) => Ok(Id::MIN),
        (b"+", _) => Ok(Id::MAX),
        (_, Some(rest)) if !rest.is_empty() => {
            let previous = id(rest, u64::MAX)?.previous();
            previous.ok_or_else(|| Error::reply("ERR invalid end ID for the interval"))
        }
        _ => id(word, u64::MAX),
    }
}

/// A COUNT: 0 for anything below.
fn count(args: &mut Args<'_>) -> Result<u64> {
    Ok(args.int()?.max(0) as u64)
}

/// Writes an id.
fn reply_id(reply: &mut Reply<'_>, id: Id) {
    reply.bulk(&id.text());
}

/// Writes fields and values.
fn reply_fields(reply: &mut Reply<'_>, fields: Fields<'_>) {
    reply.array(2 * fields.len());
    for (field, value) in fields {
        reply.bulk(field);
        reply.bulk(value);
    }
}

/// Writes an entry.
fn reply_entry(reply: &mut Reply<'_>, id: Id, fields: Fields<'_>) {
    reply.array(2);
    reply_id(reply, id);
    reply_fields(reply, fields);
}

fn xadd(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (options, id) = Options::of_xadd(args)?;
    let trim = options.trim(db.limits())?;
    let fields = args.rest();
    let Some(id) = id.filter(|_| fields.len() >= 2 && fields.len().is_multiple_of(2)) else {
        return Err(args.wrong_number());
    };
    if id == NewId::Given(Id::MIN) {
        return Err(Error::reply("ERR The ID specified in XADD must be greater than 0-0"));
    }
    if options.once.is_some() && id != NewId::Auto {
        return Err(Error::reply("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs"));
    }
    let how = Add { id, makes: options.makes, trim, once: options.once };
    match stream::add(db, key, &how, fields)? {
        Some(id) => reply_id(reply, id),
        None => reply.null(),
    }
    Ok(())
}

fn xtrim(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let options = Options::of_xtrim(args)?;
    let missing =
        || Error::reply("ERR syntax error, XTRIM must be called with a trimming strategy");
    if options.says_nothing() {
        return Err(missing());
    }
    let trim = options.trim(db.limits())?.ok_or_else(missing)?;
    reply.int(stream::trim(db, key, &trim)? as i64);
    Ok(())
}

fn xdel(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    // Without a stream, ids are not looked at.
    let deleted = match db.header_of(key, Kind::Stream)?.is_some() {
        true => stream::delete(db, key, &ids(args)?)?,
        false => 0,
    };
    reply.int(deleted as i64);
    Ok(())
}

fn xdelex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (refs, ids) = options::refs_and_ids(args)?;
    reply.array(ids.len());
    stream::delete_each(db, key, &ids, refs, &mut |done: Deleted| reply.int(done as i64))
}

fn xlen(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(stream::len(db, args.key()?)? as i64);
    Ok(())
}

fn xrange(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    range(db, args, reply, false)
}

fn xrevrange(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    range(db, args, reply, true)
}

fn range(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    reverse: bool,
) -> Result<()> {
    let key = args.key()?;
    let (first, second) = (args.next()?, args.next()?);
    let bounds =
        if reverse { (start(second)?, end(first)?) } else { (start(first)?, end(second)?) };
    let mut most = None;
    while !args.is_empty() {
        if !args.option("COUNT") {
            return Err(forgekv_data::SYNTAX);
        }
        most = Some(count(args)?);
    }
    let array = reply.deferred_array();
    let mut n = 0;
    let there = stream::range(db, key, bounds, reverse, most, &mut |id, fields| {
        n += 1;
        reply_entry(reply, id, fields);
        Ok(())
    })?;
    if there && most == Some(0) {
        reply.null_array();
        return Ok(());
    }
    reply.finish_array(array, n);
    Ok(())
}

fn xsetid(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let last = id(args.next()?, 0)?;
    let (mut added, mut max_deleted) = (None, None);
    while !args.is_empty() {
        if args.option("ENTRIESADDED") {
            let n = u64::try_from(args.int()?);
            added = Some(n.map_err(|_| Error::reply("ERR entries_added must be positive"))?);
        } else if args.option("MAXDELETEDID") {
            let id = id(args.next()?, 0)?;
            if last < id {
                return Err(Error::reply(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
            max_deleted = Some(id);
        } else {
            return Err(forgekv_data::SYNTAX);
        }
    }
    stream::set_id(db, key, last, added, max_deleted)?;
    reply.ok();
    Ok(())
}

fn xcfgset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        return Err(Error::reply(
            "ERR At least one parameter (IDMP-DURATION or IDMP-MAXSIZE) must be specified",
        ));
    }
    let (mut duration_s, mut max_size) = (None, None);
    while !args.is_empty() {
        let (value, range, text) = if args.option("IDMP-DURATION") {
            let text = "ERR IDMP-DURATION must be between 1 and 86400 seconds";
            (&mut duration_s, 1..=86_400, text)
        } else if args.option("IDMP-MAXSIZE") {
            let text = "ERR IDMP-MAXSIZE must be between 1 and 10000 entries";
            (&mut max_size, 1..=10_000, text)
        } else {
            return Err(forgekv_data::SYNTAX);
        };
        let n = args.int()?;
        if !range.contains(&n) {
            return Err(Error::reply(text));
        }
        *value = Some(n as u64);
    }
    stream::configure(db, key, duration_s, max_size)?;
    reply.ok();
    Ok(())
}
