//! Fields that expire. The commands came at different times and name the same mistakes differently:
//! HEXPIRE and its like, HTTL and its like with HGETDEL and HGETEX, and HSETEX have each their own words.

use super::{Args, Error, NOT_AN_INTEGER, Read, Reply, Result, Write, value};
use forgekv_base::number::parse_i64;
use forgekv_data::expire::Expires;
use forgekv_data::hash::{self, EXPIRY_END_MS, Existing, Retime, Timed, When};
use forgekv_data::{Key, Kind};

pub(super) const SECONDS: &str =
    "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]";
pub(super) const MILLISECONDS: &str =
    "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]";
pub(super) const AT_SECONDS: &str =
    "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]";
pub(super) const AT_MILLISECONDS: &str =
    "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]";
pub(super) const FIELDS: &str = "key FIELDS numfields field [field ...]";
pub(super) const GETEX: &str = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
     PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]";
pub(super) const SETEX: &str = "key [FNX | FXX] [EX seconds | PX milliseconds | \
     EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] \
     FIELDS numfields field value [field value ...]";

const FIELDS_MISSING: &str =
    "ERR Mandatory argument FIELDS is missing or not at the right position";
const NUMBER_WRONG: &str = "ERR The `numfields` parameter must match the number of arguments";
const NOT_ABOVE_ZERO: &str = "ERR Parameter `numFields` should be greater than 0";
const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";
const NEGATIVE: &str = "ERR invalid expire time, must be >= 0";
const ONE_CONDITION: &str = "ERR Only one of FXX or FNX arguments can be specified";
const ONE_EXPIRY: &str = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";

/// How a moment is written.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl Unit {
    /// The unit that the next argument names, if it names one.
    fn read(args: &mut Args<'_>) -> Option<Unit> {
        let words = [
            ("EX", Unit::Seconds),
            ("PX", Unit::Milliseconds),
            ("EXAT", Unit::UnixSeconds),
            ("PXAT", Unit::UnixMilliseconds),
        ];
        words.into_iter().find(|(word, _)| args.flag(word)).map(|(_, unit)| unit)
    }

    /// The moment that the next argument names, in Unix milliseconds. It may have passed.
    fn moment(self, args: &mut Args<'_>, now_ms: u64) -> Result<u64> {
        let n = parse_i64(args.next()?).ok_or(NOT_AN_INTEGER)?;
        let n = u64::try_from(n).map_err(|_| Error::reply(NEGATIVE))?;
        let (times, from) = match self {
            Unit::Seconds => (1000, now_ms),
            Unit::Milliseconds => (1, now_ms),
            Unit::UnixSeconds => (1000, 0),
            Unit::UnixMilliseconds => (1, 0),
        };
        let at = n.checked_mul(times).and_then(|ms| ms.checked_add(from));
        at.filter(|&at| at < EXPIRY_END_MS).ok_or_else(|| {
            Error::reply(format!("ERR invalid expire time in '{}' command", args.name()))
        })
    }
}

/// Reads FIELDS, the number of fields, and the fields, which are all that is left.
fn fields<'a>(args: &mut Args<'a>, not_a_number: &'static str) -> Result<&'a [&'a [u8]]> {
    if !args.flag("FIELDS") {
        return Err(Error::reply(FIELDS_MISSING));
    }
    let number = args.int_in(1, i64::MAX, not_a_number)?;
    let fields = args.rest();
    if number as u64 != fields.len() as u64 {
        return Err(Error::reply(NUMBER_WRONG));
    }
    Ok(fields)
}

/// Reads a key; what it holds is judged before the rest of the command.
fn hash_key<'a>(db: &mut Read<'_>, args: &mut Args<'a>) -> Result<Key<'a>> {
    let key = args.key()?;
    db.header_of(key, Kind::Hash)?;
    Ok(key)
}

fn expire(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
) -> Result<()> {
    let key = hash_key(db, args)?;
    let at_ms = unit.moment(args, db.now_ms())?;
    let conditions =
        [("NX", When::HasNone), ("XX", When::HasOne), ("GT", When::Later), ("LT", When::Earlier)];
    let when = conditions.into_iter().find(|(word, _)| args.flag(word));
    let when = when.map_or(When::Always, |(_, when)| when);
    let fields = fields(args, NOT_ABOVE_ZERO)?;
    reply.array(fields.len());
    hash::expire(db, key, at_ms, when, fields, &mut |done: Timed| reply.int(done as i64))
}

pub(super) fn hexpire(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expire(db, args, reply, Unit::Seconds)
}

pub(super) fn hpexpire(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expire(db, args, reply, Unit::Milliseconds)
}

pub(super) fn hexpireat(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expire(db, args, reply, Unit::UnixSeconds)
}

pub(super) fn hpexpireat(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expire(db, args, reply, Unit::UnixMilliseconds)
}

/// Answers for each field -2 when it is absent, -1 when it never expires, and what `number` makes of its
/// expiry otherwise.
fn expiries(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    number: impl Fn(u64, u64) -> u64,
) -> Result<()> {
    let key = hash_key(db, args)?;
    let now_ms = db.now_ms();
    let fields = fields(args, NOT_POSITIVE)?;
    reply.array(fields.len());
    hash::expiries(db, key, fields, &mut |expires| {
        reply.int(match expires {
            Expires::Missing => -2,
            Expires::Never => -1,
            Expires::At(ms) => number(ms, now_ms) as i64,
        });
    })
}

pub(super) fn httl(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    expiries(db, args, reply, |at, now| at.saturating_sub(now).div_ceil(1000))
}

pub(super) fn hpttl(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    expiries(db, args, reply, |at, now| at.saturating_sub(now))
}

pub(super) fn hexpiretime(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expiries(db, args, reply, |at, _| at.div_ceil(1000))
}

pub(super) fn hpexpiretime(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    expiries(db, args, reply, |at, _| at)
}

pub(super) fn hpersist(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = hash_key(db, args)?;
    let fields = fields(args, NOT_POSITIVE)?;
    reply.array(fields.len());
    hash::persist(db, key, fields, &mut |done: Timed| reply.int(done as i64))
}

pub(super) fn hgetdel(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = hash_key(db, args)?;
    let fields = fields(args, NOT_POSITIVE)?;
    reply.array(fields.len());
    hash::get_delete(db, key, fields, &mut |found| value(reply, found))
}

pub(super) fn hgetex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = hash_key(db, args)?;
    let how = if args.flag("PERSIST") {
        Retime::Clear
    } else if let Some(unit) = Unit::read(args) {
        Retime::At(unit.moment(args, db.now_ms())?)
    } else {
        Retime::Keep
    };
    let fields = fields(args, NOT_POSITIVE)?;
    reply.array(fields.len());
    hash::get_retime(db, key, fields, how, &mut |found| value(reply, found))
}

pub(super) fn hsetex(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (mut how, mut existing) = (None, Existing::Any);
    while !args.flag("FIELDS") {
        let condition = [("FNX", Existing::None), ("FXX", Existing::All)]
            .into_iter()
            .find(|(word, _)| args.flag(word));
        if let Some((_, condition)) = condition {
            if existing != Existing::Any {
                return Err(Error::reply(ONE_CONDITION));
            }
            existing = condition;
            continue;
        }
        let unit = Unit::read(args);
        if unit.is_none() && !args.flag("KEEPTTL") {
            let text = [b"ERR unknown argument: ", args.next()?].concat();
            return Err(Error::reply(String::from_utf8_lossy(&text).into_owned()));
        }
        if how.is_some() {
            return Err(Error::reply(ONE_EXPIRY));
        }
        how = Some(match unit {
            Some(unit) => Retime::At(unit.moment(args, db.now_ms())?),
            None => Retime::Keep,
        });
    }
    let number = args.int_in(1, i64::MAX, "ERR invalid number of fields")?;
    let pairs = args.rest();
    if (number as u64).checked_mul(2) != Some(pairs.len() as u64) {
        return Err(Error::reply("ERR wrong number of arguments"));
    }
    let how = how.unwrap_or(Retime::Clear);
    reply.int(i64::from(hash::set_retime(db, key, pairs, how, existing)?));
    Ok(())
}
