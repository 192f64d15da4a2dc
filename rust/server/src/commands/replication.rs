//! What there is of replication: this server is a master without replicas, and says so.

use super::{Args, Family, admin};
use crate::road::Admin;
use forgekv_base::number::parse_i64;
use forgekv_data::{Error, NOT_AN_INTEGER, Result, SYNTAX};
use forgekv_resp::Reply;

const NO_REPLICATION: &str = "ERR replication is not supported by this server";

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[
        admin("ROLE", role, "")
            .fast()
            .loading()
            .stale()
            .noscript()
            .since("2.8.12")
            .about("Tells that this is a master without replicas.")
            .complexity("O(1)")
            .categories(&["admin", "dangerous"]),
        admin("REPLICAOF", replica_of, "host port")
            .operator()
            .stale()
            .noscript()
            .no_async_loading()
            .since("5.0.0")
            .about("With NO ONE: stays a master. There is nothing else to be.")
            .complexity("O(1)"),
        admin("SLAVEOF", replica_of, "host port")
            .operator()
            .stale()
            .noscript()
            .no_async_loading()
            .since("1.0.0")
            .about("As REPLICAOF.")
            .complexity("O(1)")
            .deprecated("5.0.0", "`REPLICAOF`"),
        admin("FAILOVER", failover, "[TO <host port [FORCE]>] [ABORT] [TIMEOUT milliseconds]")
            .operator()
            .stale()
            .noscript()
            .since("6.2.0")
            .about("Refused: there is no replica to take over.")
            .complexity("O(1)"),
        admin("SYNC", refused, "")
            .operator()
            .noscript()
            .no_multi()
            .no_async_loading()
            .since("1.0.0")
            .about("Refused: replication does not exist here."),
        admin("PSYNC", refused, "replicationid offset:integer")
            .arity(-3)
            .operator()
            .noscript()
            .no_multi()
            .no_async_loading()
            .since("2.8.0")
            .about("Refused: replication does not exist here."),
        admin("REPLCONF", refused, "[argument [argument ...]]")
            .operator()
            .loading()
            .stale()
            .noscript()
            .allow_busy()
            .since("3.0.0")
            .about("Refused: replication does not exist here.")
            .complexity("O(1)"),
    ],
);

fn role(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.array(3);
    reply.bulk(b"master");
    reply.int(ctx.store.engine().log_appended() as i64);
    reply.array(0);
    Ok(())
}

fn replica_of(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.flag("NO") && args.flag("ONE") {
        reply.ok();
        return Ok(());
    }
    // "no" may have been a host's name.
    let port = args.rest().last().and_then(|port| parse_i64(port));
    if port.is_none_or(|port| !(0..=65535).contains(&port)) {
        return Err(Error::reply("ERR Invalid master port"));
    }
    Err(Error::reply(NO_REPLICATION))
}

fn failover(_: &mut Admin<'_, '_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    if args.remaining() == 1 && args.flag("ABORT") {
        return Err(Error::reply("ERR No failover in progress."));
    }
    let (mut to, mut force, mut timeout) = (false, false, false);
    while !args.is_empty() {
        if !timeout && args.option("TIMEOUT") {
            const TEXT: &str = "ERR FAILOVER timeout must be greater than 0";
            args.int_in(1, i64::MAX, TEXT)?;
            timeout = true;
        } else if !to && args.remaining() > 2 && args.flag("TO") {
            args.next()?;
            parse_i64(args.next()?).ok_or(NOT_AN_INTEGER)?;
            to = true;
        } else if !force && args.flag("FORCE") {
            force = true;
        } else {
            return Err(SYNTAX);
        }
    }
    Err(Error::reply("ERR FAILOVER requires connected replicas."))
}

fn refused(_: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    Err(Error::reply(NO_REPLICATION))
}
