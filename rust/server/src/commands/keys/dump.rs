//! DUMP and RESTORE: values in Redis's own format, from one server to another.

use crate::commands::Args;
use forgekv_data::{Error, Read, Result, SYNTAX, Write, keys, rdb};
use forgekv_resp::Reply;

const BUSY: &str = "BUSYKEY Target key name already exists.";
const NEGATIVE_TTL: &str = "ERR Invalid TTL value, must be >= 0";
const NEGATIVE_IDLETIME: &str = "ERR Invalid IDLETIME value, must be >= 0";
const FREQ_OUT_OF_RANGE: &str = "ERR Invalid FREQ value, must be >= 0 and <= 255";

pub(super) fn dump(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    match rdb::dump(db, key)? {
        Some(payload) => reply.bulk(&payload),
        None => {
            super::missed(db, key);
            reply.null();
        }
    }
    Ok(())
}

pub(super) fn restore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = args.key()?;
    // Looked at later: what is wrong with it is told after what is wrong with the others.
    let mut ttl = args.clone();
    args.next()?;
    let payload = args.next()?;
    let (mut replace, mut is_absolute) = (false, false);
    let (mut idle_s, mut frequency) = (None, None);
    while !args.is_empty() {
        if args.flag("REPLACE") {
            replace = true;
        } else if args.flag("ABSTTL") {
            is_absolute = true;
        } else if frequency.is_none() && args.option("IDLETIME") {
            let seconds = u64::try_from(args.int()?);
            idle_s = Some(seconds.map_err(|_| Error::reply(NEGATIVE_IDLETIME))?);
        } else if idle_s.is_none() && args.option("FREQ") {
            let count = u8::try_from(args.int()?);
            frequency = Some(count.map_err(|_| Error::reply(FREQ_OUT_OF_RANGE))?);
        } else {
            return Err(SYNTAX);
        }
    }
    if !replace && keys::exists(db, key)? {
        return Err(Error::reply(BUSY));
    }
    let ttl = u64::try_from(ttl.int()?).map_err(|_| Error::reply(NEGATIVE_TTL))?;
    let expire_ms = match ttl {
        0 => None,
        at if is_absolute => Some(at),
        ttl => Some(db.now_ms().saturating_add(ttl)),
    };
    rdb::restore(db, key, payload, expire_ms)?;
    keys::set_use(db, key, idle_s.unwrap_or(0), frequency);
    reply.ok();
    Ok(())
}
