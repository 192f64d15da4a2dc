//! LCS: the longest common subsequence of two values.

use super::{Args, Error, Read, Result, SYNTAX};
use forgekv_data::string::{self, Lcs};
use forgekv_data::{Key, event_class};
use forgekv_resp::Reply;

const NOT_STRINGS: &str = "ERR The specified keys must contain string values";
const LEN_AND_IDX: &str = "ERR If you want both the length and indexes, please just use IDX.";
const TOO_MUCH: &str =
    "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";

/// What is asked for.
#[derive(Default)]
struct Asked {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

pub(super) fn lcs(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (first, second) = (args.key()?, args.key()?);
    let strings = |e| match e {
        Error::WrongType => Error::reply(NOT_STRINGS),
        other => other,
    };
    let len_a = len(db, first).map_err(strings)?;
    let len_b = len(db, second).map_err(strings)?;
    let asked = asked(args)?;
    // The table of a pair of lengths takes four bytes a cell.
    let table = (len_a + 1).checked_mul(len_b + 1).and_then(|cells| cells.checked_mul(4));
    if table.is_none_or(|bytes| bytes > db.limits().proto_max_bulk_len) {
        return Err(Error::reply(TOO_MUCH));
    }
    let a = string::get_all(db, first)?.unwrap_or_default().into_owned();
    let b = string::get_all(db, second)?.unwrap_or_default();
    if asked.len {
        reply.int(string::lcs_len(&a, &b) as i64);
        return Ok(());
    }
    let found = string::lcs(&a, &b);
    if asked.idx {
        matches(&found, &asked, reply);
    } else {
        reply.bulk(&found.text);
    }
    Ok(())
}

/// The length of a key's value; 0 when there is none, of which who listens is told.
fn len(db: &mut Read<'_>, key: Key<'_>) -> Result<u64> {
    if let Some(value) = string::get(db, key)? {
        return Ok(value.len());
    }
    db.notify(event_class::MISS, "keymiss", key);
    Ok(0)
}

fn asked(args: &mut Args<'_>) -> Result<Asked> {
    let mut asked = Asked::default();
    while !args.is_empty() {
        if args.flag("LEN") {
            asked.len = true;
        } else if args.flag("IDX") {
            asked.idx = true;
        } else if args.flag("WITHMATCHLEN") {
            asked.with_match_len = true;
        } else if args.option("MINMATCHLEN") {
            asked.min_match_len = args.int()?;
        } else {
            return Err(SYNTAX);
        }
    }
    if asked.len && asked.idx {
        return Err(Error::reply(LEN_AND_IDX));
    }
    Ok(asked)
}

fn matches(found: &Lcs, asked: &Asked, reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"matches");
    let long_enough = |len: usize| len as i64 >= asked.min_match_len;
    let shown = found.matches.iter().filter(|m| long_enough(m.len()));
    reply.array(shown.clone().count());
    for run in shown {
        reply.array(if asked.with_match_len { 3 } else { 2 });
        for (start, end) in [run.a, run.b] {
            reply.array(2);
            reply.int(start as i64);
            reply.int(end as i64);
        }
        if asked.with_match_len {
            reply.int(run.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.int(found.text.len() as i64);
}
