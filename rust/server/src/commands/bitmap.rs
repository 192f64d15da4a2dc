//! Bitmaps: the bits of strings, one by one, in fields, and combined.
//!
//! The data lives in `data::bitmap`; here arguments are read and replies written.

use super::{Args, Command, Family, read, write};
use forgekv_base::number::parse_i64;
use forgekv_data::bitmap::{self, Bits, Field, Operation, Overflow, Step};
use forgekv_data::{Error, Key, NOT_AN_INTEGER, Read, Result, SYNTAX, Write, event_class, string};
use forgekv_resp::Reply;
use std::ops::Range;

const BAD_OFFSET: &str = "ERR bit offset is not an integer or out of range";
const BAD_BIT: &str = "ERR bit is not an integer or out of range";
const BAD_TYPE: &str = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
     supported but i64 is.";

const FIELD_STEPS: &str = "key [[OVERFLOW <WRAP | SAT | FAIL>] <GET encoding offset:integer | \
     SET encoding offset:integer value:integer | INCRBY encoding offset:integer increment> ...]";

const COMMANDS: &[Command] = &[
    write("SETBIT", setbit, "key offset value:integer")
        .grows()
        .since("2.2.0")
        .complexity("O(1)")
        .about("Sets or clears a bit and returns what it was."),
    read("GETBIT", getbit, "key offset")
        .fast()
        .since("2.2.0")
        .complexity("O(1)")
        .about("Returns a bit."),
    read("BITCOUNT", bitcount, "key [start end [BYTE | BIT]]")
        .since("2.6.0")
        .complexity("O(N)")
        .about("Counts the bits that are set."),
    read("BITPOS", bitpos, "key bit [start [end [BYTE | BIT]]]")
        .since("2.8.7")
        .complexity("O(N)")
        .about("Finds the first bit that is set, or that is clear."),
    write(
        "BITOP",
        bitop,
        "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
    )
    .grows()
    .since("2.6.0")
    .complexity("O(N)")
    .keys("OW update; RO access")
    .about("Combines bitmaps and stores the result."),
    write("BITFIELD", bitfield, FIELD_STEPS)
        .grows()
        .since("3.2.0")
        .complexity("O(1) for each subcommand specified")
        .keys("RW access update variable_flags")
        .about("Reads and changes integers of any width inside a string."),
    read(
        "BITFIELD_RO",
        bitfield_ro,
        "key [GET encoding offset:integer [GET encoding offset:integer ...]]",
    )
    .fast()
    .since("6.0.0")
    .complexity("O(1) for each subcommand specified")
    .about("Reads integers of any width inside a string."),
];

/// Bitmaps.
pub(crate) const FAMILY: Family = Family::new("bitmap", COMMANDS);

/// A bit's number. Within fields of `width` bits, `#n` is the n-th field.
fn offset(db: &Read<'_>, text: &[u8], width: Option<u32>) -> Result<u64> {
    let parse = || {
        let (digits, times) = match (text, width) {
            ([b'#', digits @ ..], Some(width)) => (digits, u64::from(width)),
            _ => (text, 1),
        };
        let n = u64::try_from(parse_i64(digits)?).ok()?.checked_mul(times)?;
        (n / 8 < db.limits().proto_max_bulk_len).then_some(n)
    };
    parse().ok_or_else(|| Error::reply(BAD_OFFSET))
}

fn setbit(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let at = offset(db, args.next()?, None)?;
    let on = args.int_in(0, 1, BAD_BIT)? == 1;
    reply.int(i64::from(bitmap::set(db, key, at, on)?));
    Ok(())
}

fn getbit(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let at = offset(db, args.next()?, None)?;
    there(db, key)?;
    reply.int(i64::from(bitmap::get(db, key, at)?));
    Ok(())
}

/// The length of a key's value, if there is a key; who listens is told when there is none.
fn there(db: &mut Read<'_>, key: Key<'_>) -> Result<Option<u64>> {
    if let Some(value) = string::get(db, key)? {
        return Ok(Some(value.len()));
    }
    db.notify(event_class::MISS, "keymiss", key);
    Ok(None)
}

/// From where to where, both included and counted from the end when negative.
#[derive(Clone, Copy)]
struct Span {
    start: i64,
    end: Option<i64>,
    is_bits: bool,
}

impl Span {
    /// Reads `start [end [BYTE | BIT]]`, if there is something left.
    ///
    /// Of several wrong arguments each command tells the one that Redis looks at first: `unit_first` says
    /// that this is the unit, before the end.
    fn read(args: &mut Args<'_>, unit_first: bool) -> Result<Option<Span>> {
        if args.is_empty() {
            return Ok(None);
        }
        let start = args.int()?;
        if unit_first
            && let [_, unit] = args.rest()
            && !unit.eq_ignore_ascii_case(b"BIT")
            && !unit.eq_ignore_ascii_case(b"BYTE")
        {
            return Err(SYNTAX);
        }
        let end = if args.is_empty() { None } else { Some(args.int()?) };
        let is_bits = args.flag("BIT");
        if !is_bits {
            args.flag("BYTE");
        }
        args.end()?;
        Ok(Some(Span { start, end, is_bits }))
    }

    /// The bits of a value of `len` bytes.
    fn bits(&self, len: u64) -> Bits {
        let unit = if self.is_bits { 1 } else { 8 };
        let units = len * 8 / unit;
        let from_end = |at: i64| match at {
            0.. => at.unsigned_abs(),
            _ => units.saturating_sub(at.unsigned_abs()),
        };
        let start = from_end(self.start);
        let end = from_end(self.end.unwrap_or(-1)).saturating_add(1).min(units);
        Range { start: start.min(end) * unit, end: end * unit }
    }
}

fn bitcount(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    if args.remaining() == 1 || args.remaining() > 3 {
        return Err(SYNTAX);
    }
    let span = Span::read(args, false)?;
    let len = there(db, key)?.unwrap_or(0);
    let bits = match span {
        None => 0..len * 8,
        // Both before the beginning and the wrong way round: nothing, though both are cut to the first.
        Some(Span { start, end: Some(end), .. }) if start < 0 && end < 0 && start > end => 0..0,
        Some(span) => span.bits(len),
    };
    reply.int(bitmap::count(db, key, bits)? as i64);
    Ok(())
}

fn bitpos(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let wanted = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Error::reply("ERR The bit argument must be 1 or 0.")),
    };
    if args.remaining() > 3 {
        return Err(SYNTAX);
    }
    let span = Span::read(args, true)?;
    let Some(len) = there(db, key)? else {
        // Zeros without end.
        reply.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let bits = span.map_or(0..len * 8, |span| span.bits(len));
    let is_empty = bits.is_empty();
    let found = bitmap::position(db, key, wanted, bits)?;
    let has_end = span.is_some_and(|span| span.end.is_some());
    reply.int(match found {
        Some(at) => at as i64,
        // Unless an end was given, zeros follow the last byte.
        None if !wanted && !has_end && !is_empty => (len * 8) as i64,
        None => -1,
    });
    Ok(())
}

fn bitop(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    let operation = match name.to_ascii_uppercase().as_slice() {
        b"AND" => Operation::And,
        b"OR" => Operation::Or,
        b"XOR" => Operation::Xor,
        b"NOT" => Operation::Not,
        b"DIFF" => Operation::Diff,
        b"DIFF1" => Operation::Diff1,
        b"ANDOR" => Operation::AndOr,
        b"ONE" => Operation::One,
        _ => return Err(SYNTAX),
    };
    let to = args.key()?;
    let keys: Vec<Key<'_>> = args.keys().collect();
    let at_least_two = match operation {
        Operation::Not if keys.len() > 1 => {
            return Err(Error::reply("ERR BITOP NOT must be called with a single source key."));
        }
        Operation::Diff => Some("DIFF"),
        Operation::Diff1 => Some("DIFF1"),
        Operation::AndOr => Some("ANDOR"),
        _ => None,
    };
    if let Some(name) = at_least_two.filter(|_| keys.len() < 2) {
        return Err(Error::reply(format!(
            "ERR BITOP {name} must be called with at least two source keys."
        )));
    }
    if db.listens(event_class::MISS) {
        for &key in &keys {
            there(db, key)?;
        }
    }
    reply.int(bitmap::combine(db, operation, to, &keys)? as i64);
    Ok(())
}

/// Reads `encoding offset`.
fn field(db: &Read<'_>, args: &mut Args<'_>) -> Result<Field> {
    let parse = |text: &[u8]| {
        let (&letter, digits) = text.split_first()?;
        let signed = match letter {
            b'i' => true,
            b'u' => false,
            _ => return None,
        };
        let bits = u32::try_from(parse_i64(digits)?).ok()?;
        (1..=if signed { 64 } else { 63 }).contains(&bits).then_some((signed, bits))
    };
    let (signed, bits) = parse(args.next()?).ok_or_else(|| Error::reply(BAD_TYPE))?;
    let offset = offset(db, args.next()?, Some(bits))?;
    Ok(Field { signed, bits, offset })
}

/// Reads GET, SET, INCRBY and OVERFLOW.
fn steps(db: &Read<'_>, args: &mut Args<'_>) -> Result<Vec<(Field, Step)>> {
    let (mut steps, mut overflow) = (Vec::new(), Overflow::Wrap);
    while !args.is_empty() {
        let left = args.remaining();
        if left > 2 && args.flag("GET") {
            steps.push((field(db, args)?, Step::Get));
        } else if left > 3 && args.flag("SET") {
            let field = field(db, args)?;
            steps.push((field, Step::Set(int(args)?, overflow)));
        } else if left > 3 && args.flag("INCRBY") {
            let field = field(db, args)?;
            steps.push((field, Step::Add(int(args)?, overflow)));
        } else if args.option("OVERFLOW") {
            overflow = match args.next()?.to_ascii_uppercase().as_slice() {
                b"WRAP" => Overflow::Wrap,
                b"SAT" => Overflow::Saturate,
                b"FAIL" => Overflow::Fail,
                _ => return Err(Error::reply("ERR Invalid OVERFLOW type specified")),
            };
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(steps)
}

fn int(args: &mut Args<'_>) -> Result<i64> {
    parse_i64(args.next()?).ok_or(NOT_AN_INTEGER)
}

fn bitfield(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let steps = steps(db, args)?;
    if steps.iter().all(|(_, step)| *step == Step::Get) {
        return get_fields(db, key, &steps, reply);
    }
    reply.array(steps.len());
    bitmap::fields(db, key, &steps, &mut |value| match value {
        Some(value) => reply.int(value),
        None => reply.null(),
    })
}

fn bitfield_ro(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let steps = steps(db, args)?;
    if steps.iter().any(|(_, step)| *step != Step::Get) {
        return Err(Error::reply("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    get_fields(db, key, &steps, reply)
}

fn get_fields(
    db: &mut Read<'_>,
    key: Key<'_>,
    steps: &[(Field, Step)],
    reply: &mut Reply<'_>,
) -> Result<()> {
    there(db, key)?;
    reply.array(steps.len());
    let mut missed = None;
    for (field, _) in steps {
        // All are asked for before the first that is missing is reported.
        match bitmap::field_get(db, key, *field) {
            Ok(value) => reply.int(value),
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    missed.map_or(Ok(()), Err)
}
