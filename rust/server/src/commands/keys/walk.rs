//! SCAN, KEYS, RANDOMKEY and DBSIZE.

use super::Args;
use forgekv_base::glob;
use forgekv_data::scan::{self, Found};
use forgekv_data::{Error, Key, Read, Result, SYNTAX};
use forgekv_resp::Reply;

/// Keys that a SCAN visits unless told.
const COUNT: u64 = 10;

/// Reads a cursor as Redis does, in C's manner: an optional sign, no space before it, no overflow.
pub(crate) fn cursor(word: &[u8]) -> Option<u64> {
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() != word.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|&d| d < 10)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

pub(super) fn scan(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let start = cursor(args.next()?).ok_or_else(|| Error::reply("ERR invalid cursor"))?;
    let mut count = COUNT;
    let mut pattern: Option<&[u8]> = None;
    let mut kind = None;
    while !args.is_empty() {
        if args.option("COUNT") {
            count = u64::try_from(args.int()?).ok().filter(|&n| n > 0).ok_or(SYNTAX)?;
        } else if args.option("MATCH") {
            pattern = Some(args.next()?).filter(|&p| p != b"*");
        } else if args.option("TYPE") {
            // A type that there is not matches nothing.
            kind = Some(scan::kind_named(args.next()?));
        } else {
            return Err(SYNTAX);
        }
    }
    let mut body = Vec::new();
    let mut names = 0;
    let mut keys = Reply::new(&mut body, reply.proto());
    let next = scan::step(db, start, count, &mut |Found { key, header }| {
        let fits = pattern.is_none_or(|p| glob::matches(p, key.name, false))
            && kind.is_none_or(|kind| kind == Some(header.kind));
        if fits {
            keys.bulk(key.name);
            names += 1;
        }
        Ok(())
    })?;
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(names);
    reply.raw(&body);
    Ok(())
}

pub(super) fn keys_matching(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let pattern = args.next()?;
    let mut body = Vec::new();
    let mut names = 0;
    let mut keys = Reply::new(&mut body, reply.proto());
    if glob::is_literal(pattern) {
        let key: Key<'_> = db.key(pattern);
        if db.header(key)?.is_some() {
            keys.bulk(pattern);
            names = 1;
        }
    } else {
        let all = pattern == b"*";
        scan::all(db, &mut |Found { key, .. }| {
            if all || glob::matches(pattern, key.name, false) {
                keys.bulk(key.name);
                names += 1;
            }
            Ok(())
        })?;
    }
    reply.array(names);
    reply.raw(&body);
    Ok(())
}

pub(super) fn randomkey(
    db: &mut Read<'_>,
    _args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    match scan::random(db)? {
        Some(name) => reply.bulk(&name),
        None => reply.null(),
    }
    Ok(())
}

pub(super) fn dbsize(db: &mut Read<'_>, _args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let count = scan::count(db)?;
    reply.int(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::cursor;

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        assert_eq!(cursor(b"0"), Some(0));
        assert_eq!(cursor(b""), Some(0));
        assert_eq!(cursor(b"+007"), Some(7));
        assert_eq!(cursor(b"-1"), Some(u64::MAX));
        assert_eq!(cursor(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["18446744073709551616", "1a", " 1", "-", "1 ", "abc"] {
            assert_eq!(cursor(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
