//! Lists: items that come and go at both ends.
//!
//! The data lives in `data::list`; here arguments are read and replies written.

use super::{Args, Command, Family, read, wait, write};
use forgekv_base::number::parse_i64;
use forgekv_data::list::{self, Arrange, End, HowMany, Search, Visit};
use forgekv_data::{Error, Kind, NO_SUCH_KEY, NOT_AN_INTEGER, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;

mod blocking;

const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
const O_OF_PUSHED: &str = "O(1) for each element added, so O(N) to add N elements when the command is \
                           called with multiple arguments.";
const O_OF_POPPED: &str = "O(N) where N is the number of elements returned";

const COMMANDS: &[Command] = &[
    write("LPUSH", lpush, "key element [element ...]")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity(O_OF_PUSHED)
        .keys("RW insert")
        .about("Puts elements before the first, one after the other, and counts all."),
    write("RPUSH", rpush, "key element [element ...]")
        .fast()
        .grows()
        .since("1.0.0")
        .complexity(O_OF_PUSHED)
        .keys("RW insert")
        .about("Puts elements behind the last, one after the other, and counts all."),
    write("LPUSHX", lpushx, "key element [element ...]")
        .fast()
        .grows()
        .since("2.2.0")
        .complexity(O_OF_PUSHED)
        .keys("RW insert")
        .about("Puts elements before the first of a list that is there."),
    write("RPUSHX", rpushx, "key element [element ...]")
        .fast()
        .grows()
        .since("2.2.0")
        .complexity(O_OF_PUSHED)
        .keys("RW insert")
        .about("Puts elements behind the last of a list that is there."),
    write("LPOP", lpop, "key [count]")
        .fast()
        .since("1.0.0")
        .complexity(O_OF_POPPED)
        .keys("RW access delete")
        .about("Takes the first elements away and returns them."),
    write("RPOP", rpop, "key [count]")
        .fast()
        .since("1.0.0")
        .complexity(O_OF_POPPED)
        .keys("RW access delete")
        .about("Takes the last elements away and returns them."),
    write("LMPOP", lmpop, "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .since("7.0.0")
        .complexity(
            "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        )
        .keys("RW access delete")
        .about("Takes elements of the first list that is there and returns them."),
    read("LLEN", llen, "key")
        .fast()
        .since("1.0.0")
        .complexity("O(1)")
        .keys("RO")
        .about("Counts the elements."),
    read("LINDEX", lindex, "key index")
        .since("1.0.0")
        .complexity("O(log N) where N is the number of elements.")
        .about("Returns the element at an index."),
    read("LRANGE", lrange, "key start stop")
        .since("1.0.0")
        .complexity("O(log N + M) where M is the number of elements returned.")
        .about("Returns the elements between two indexes."),
    read("LPOS", lpos, "key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .since("6.0.6")
        .complexity("O(N) where N is the number of elements that are looked at.")
        .about("Returns the indexes of elements with a value."),
    write("LSET", lset, "key index element")
        .grows()
        .since("1.0.0")
        .complexity("O(log N) where N is the number of elements.")
        .keys("RW update")
        .about("Puts an element in the place of the one at an index."),
    write("LINSERT", linsert, "key <BEFORE | AFTER> pivot element")
        .grows()
        .since("2.2.0")
        .complexity("O(N) where N is the number of elements before the pivot.")
        .keys("RW insert")
        .about("Puts an element before or behind another one."),
    write("LREM", lrem, "key count element")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements that are looked at.")
        .keys("RW delete")
        .about("Takes away elements with a value."),
    write("LTRIM", ltrim, "key start stop")
        .since("1.0.0")
        .complexity("O(N) where N is the number of elements removed.")
        .keys("RW delete")
        .about("Leaves only the elements between two indexes."),
    write("LMOVE", lmove, "source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .grows()
        .since("6.2.0")
        .complexity("O(1)")
        .keys("RW access delete; RW insert")
        .about("Moves an element from an end of one list to an end of another."),
    write("LMOVEM", lmovem, MOVE_MANY)
        .grows()
        .since("8.10.0")
        .complexity("O(N) where N is the number of elements moved.")
        .keys("RW access delete; RW insert")
        .about("Moves elements from an end of one list to an end of another."),
    write("RPOPLPUSH", rpoplpush, "source destination")
        .grows()
        .since("1.2.0")
        .complexity("O(1)")
        .keys("RW access delete; RW insert")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")
        .about("Moves the last element of one list before the first of another."),
    wait("BLPOP", blocking::blpop, "key [key ...] timeout:double")
        .since("2.0.0")
        .complexity(O_OF_KEYS)
        .noscript()
        .keys("RW access delete")
        .about("Takes the first element of the first list that is there; waits for one if none is."),
    wait("BRPOP", blocking::brpop, "key [key ...] timeout:double")
        .since("2.0.0")
        .complexity(O_OF_KEYS)
        .noscript()
        .keys("RW access delete")
        .about("Takes the last element of the first list that is there; waits for one if none is."),
    wait(
        "BLMPOP",
        blocking::blmpop,
        "timeout:double numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    )
    .since("7.0.0")
    .complexity(
        "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
    )
    .keys("RW access delete")
    .about("Takes elements of the first list that is there; waits for one if none is."),
    wait(
        "BLMOVE",
        blocking::blmove,
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout:double",
    )
    .grows()
    .noscript()
    .since("6.2.0")
    .complexity("O(1)")
    .keys("RW access delete; RW insert")
    .about("Moves an element from an end of one list to an end of another; waits for one if there is none."),
    wait("BRPOPLPUSH", blocking::brpoplpush, "source destination timeout:double")
        .grows()
        .noscript()
        .since("2.2.0")
        .complexity("O(1)")
        .keys("RW access delete; RW insert")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        .about("Moves the last element of one list before the first of another; waits for one if there is none."),
];

const O_OF_KEYS: &str = "O(N) where N is the number of provided keys.";

const MOVE_MANY: &str = "source destination <LEFT | RIGHT> <LEFT | RIGHT> \
                         [<COUNT count | EXACTLY exactly:integer> <OBO | BULK>]";

/// Lists.
pub(crate) const FAMILY: Family = Family::new("list", COMMANDS);

/// Writes items as an array.
struct Array<'r, 'a>(&'r mut Reply<'a>);

impl Visit for Array<'_, '_> {
    fn len(&mut self, len: u64) {
        self.0.array(len as usize);
    }

    fn item(&mut self, item: &[u8]) -> Result<()> {
        self.0.bulk(item);
        Ok(())
    }
}

/// Writes the one item that there is.
struct One<'r, 'a>(&'r mut Reply<'a>);

impl Visit for One<'_, '_> {
    fn len(&mut self, _: u64) {}

    fn item(&mut self, item: &[u8]) -> Result<()> {
        self.0.bulk(item);
        Ok(())
    }
}

/// Writes a key and the items that were found there.
struct Keyed<'r, 'a> {
    key: &'r [u8],
    reply: &'r mut Reply<'a>,
}

impl Visit for Keyed<'_, '_> {
    fn len(&mut self, len: u64) {
        self.reply.array(2);
        self.reply.bulk(self.key);
        self.reply.array(len as usize);
    }

    fn item(&mut self, item: &[u8]) -> Result<()> {
        self.reply.bulk(item);
        Ok(())
    }
}

fn lpush(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    push(db, args, reply, End::Left, false)
}

fn rpush(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    push(db, args, reply, End::Right, false)
}

fn lpushx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    push(db, args, reply, End::Left, true)
}

fn rpushx(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    push(db, args, reply, End::Right, true)
}

fn push(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
    only_there: bool,
) -> Result<()> {
    let key = args.key()?;
    reply.int(list::push(db, key, end, args.rest(), only_there)? as i64);
    Ok(())
}

fn lpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    pop(db, args, reply, End::Left)
}

fn rpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    pop(db, args, reply, End::Right)
}

fn pop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<()> {
    let key = args.key()?;
    if args.is_empty() {
        if !list::pop(db, key, end, 1, &mut One(reply))? {
            reply.null();
        }
        return Ok(());
    }
    if args.remaining() > 1 {
        return Err(args.wrong_number());
    }
    let count = args.int_in(0, i64::MAX, NOT_POSITIVE)?;
    if !list::pop(db, key, end, count.unsigned_abs(), &mut Array(reply))? {
        reply.null_array();
    }
    Ok(())
}

/// LEFT or RIGHT.
fn end(args: &mut Args<'_>) -> Result<End> {
    match () {
        () if args.flag("LEFT") => Ok(End::Left),
        () if args.flag("RIGHT") => Ok(End::Right),
        () => Err(SYNTAX),
    }
}

fn lmpop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if !pop_first(db, args, reply)? {
        reply.null_array();
    }
    Ok(())
}

/// Takes elements of the first list that is there; false when there is none.
fn pop_first(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<bool> {
    let numkeys = args.int_in(1, i64::MAX, "ERR numkeys should be greater than 0")?;
    // An end must follow.
    if numkeys.unsigned_abs() >= args.remaining() as u64 {
        return Err(SYNTAX);
    }
    let keys = (0..numkeys).map(|_| args.key()).collect::<Result<Vec<_>>>()?;
    let end = end(args)?;
    let mut count = 1;
    if args.option("COUNT") {
        count = args.int_in(1, i64::MAX, "ERR count should be greater than 0")?;
    }
    args.end()?;
    for key in keys {
        let mut found = Keyed { key: key.name, reply };
        if list::pop(db, key, end, count.unsigned_abs(), &mut found)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn llen(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(list::len(db, args.key()?)? as i64);
    Ok(())
}

fn lindex(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let Some(index) = parse_i64(args.next()?) else {
        // The index is judged only when there is a list.
        if db.header_of(key, Kind::List)?.is_some() {
            return Err(NOT_AN_INTEGER);
        }
        reply.null();
        return Ok(());
    };
    list::get(db, key, index, |found| match found {
        Some(item) => reply.bulk(item),
        None => reply.null(),
    })
}

fn lrange(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (start, stop) = (args.int()?, args.int()?);
    list::range(db, key, start, stop, &mut Array(reply))
}

/// An integer that has a negative.
fn signed(args: &mut Args<'_>) -> Result<i64> {
    let n = args.int()?;
    if n == i64::MIN {
        return Err(Error::reply(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    Ok(n)
}

fn lpos(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let wanted = args.next()?;
    let (mut rank, mut count, mut most) = (1, None, 0);
    while !args.is_empty() {
        if args.option("RANK") {
            rank = signed(args)?;
            if rank == 0 {
                return Err(Error::reply(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                     second ... or use negative to start from the end of the list",
                ));
            }
        } else if args.option("COUNT") {
            count = Some(args.int_in(0, i64::MAX, "ERR COUNT can't be negative")?.unsigned_abs());
        } else if args.option("MAXLEN") {
            most = args.int_in(0, i64::MAX, "ERR MAXLEN can't be negative")?.unsigned_abs();
        } else {
            return Err(SYNTAX);
        }
    }
    let search = Search { rank, count: count.unwrap_or(1), most };
    if count.is_none() {
        let mut found = None;
        list::find(db, key, wanted, search, &mut |at| found = Some(at))?;
        match found {
            Some(at) => reply.int(at as i64),
            None => reply.null(),
        }
        return Ok(());
    }
    let (array, mut n) = (reply.deferred_array(), 0);
    list::find(db, key, wanted, search, &mut |at| {
        reply.int(at as i64);
        n += 1;
    })?;
    reply.finish_array(array, n);
    Ok(())
}

fn lset(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let Some(index) = parse_i64(args.next()?) else {
        let there = db.header_of(key, Kind::List)?.is_some();
        return Err(if there { NOT_AN_INTEGER } else { NO_SUCH_KEY });
    };
    list::set(db, key, index, args.next()?)?;
    reply.ok();
    Ok(())
}

fn linsert(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let before = match () {
        () if args.flag("BEFORE") => true,
        () if args.flag("AFTER") => false,
        () => return Err(SYNTAX),
    };
    let (pivot, item) = (args.next()?, args.next()?);
    reply.int(list::insert(db, key, before, pivot, item)?);
    Ok(())
}

fn lrem(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let count = signed(args)?;
    reply.int(list::remove(db, key, count, args.next()?)? as i64);
    Ok(())
}

fn ltrim(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (start, stop) = (args.int()?, args.int()?);
    list::trim(db, key, start, stop)?;
    reply.ok();
    Ok(())
}

fn lmove(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (source, target) = (args.key()?, args.key()?);
    let (from, to) = ((source, end(args)?), (target, end(args)?));
    move_one(db, from, to, reply)
}

/// Moves one element and answers it; false when there is none.
fn take_one(
    db: &mut Write<'_>,
    from: (forgekv_data::Key<'_>, End),
    to: (forgekv_data::Key<'_>, End),
    reply: &mut Reply<'_>,
) -> Result<bool> {
    list::move_items(db, from, to, HowMany::UpTo(1), Arrange::OneByOne, &mut One(reply))
}

fn rpoplpush(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (source, target) = (args.key()?, args.key()?);
    move_one(db, (source, End::Right), (target, End::Left), reply)
}

fn move_one(
    db: &mut Write<'_>,
    from: (forgekv_data::Key<'_>, End),
    to: (forgekv_data::Key<'_>, End),
    reply: &mut Reply<'_>,
) -> Result<()> {
    if !take_one(db, from, to, reply)? {
        reply.null();
    }
    Ok(())
}

fn lmovem(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (source, target) = (args.key()?, args.key()?);
    let (from, to) = ((source, end(args)?), (target, end(args)?));
    let (mut how_many, mut arrange) = (HowMany::UpTo(1), Arrange::OneByOne);
    if !args.is_empty() {
        let exactly = match () {
            () if args.option("COUNT") => false,
            () if args.option("EXACTLY") => true,
            () => return Err(SYNTAX),
        };
        let n = args.int_in(0, i64::MAX, NOT_POSITIVE)?.unsigned_abs();
        how_many = if exactly { HowMany::Exactly(n) } else { HowMany::UpTo(n) };
        arrange = match () {
            () if args.flag("OBO") => Arrange::OneByOne,
            () if args.flag("BULK") => Arrange::Together,
            () => return Err(SYNTAX),
        };
        args.end()?;
    }
    if !list::move_items(db, from, to, how_many, arrange, &mut Array(reply))? {
        match how_many {
            HowMany::Exactly(_) => reply.null(),
            HowMany::UpTo(_) => reply.array(0),
        }
    }
    Ok(())
}
