//! WAIT and WAITAOF: until what this client has written is safe elsewhere, or on this server's disk.

use super::{Args, Family, admin, wait};
use crate::road::{Admin, Pending, Then};
use crate::waiting::{Nil, Wait};
use forgekv_base::clock;
use forgekv_base::number::parse_i64;
use forgekv_data::{Error, Result, Write};
use forgekv_resp::{Proto, Reply};

pub(crate) const FAMILY: Family = Family::new(
    "generic",
    &[
        wait("WAIT", wait_replicas, "numreplicas:integer timeout:integer")
            .noscript()
            .only_reads()
            .since("3.0.0")
            .about(
                "Waits until so many replicas have what was written, or in vain: there are none.",
            )
            .complexity("O(1)")
            .categories(&["connection"])
            .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
        admin("WAITAOF", wait_log, "numlocal:integer numreplicas:integer timeout:integer")
            .noscript()
            .since("7.2.0")
            .about(
                "Waits until what was written is on stable storage here, and on so many replicas.",
            )
            .complexity("O(1)")
            .categories(&["connection", "blocking"])
            .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    ],
);

/// A timeout in milliseconds; 0 is for ever.
fn timeout(args: &mut Args<'_>) -> Result<u64> {
    let ms = parse_i64(args.next()?)
        .ok_or(Error::reply("ERR timeout is not an integer or out of range"))?;
    u64::try_from(ms).map_err(|_| Error::reply("ERR timeout is negative"))
}

fn wait_replicas(
    _: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    let replicas = args.int()?;
    let timeout_ms = timeout(args)?;
    if replicas <= 0 {
        reply.int(0);
        return Ok(None);
    }
    Ok(Some(Wait::in_vain(timeout_ms, Nil::Zero)))
}

fn wait_log(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    const LOCAL: &str = "ERR value is out of range, must be between 0 and 1";
    const REPLICAS: &str = "ERR value is out of range, must be positive";
    let local = args.int_in(0, 1, LOCAL)?;
    let replicas = args.int_in(0, i64::MAX, REPLICAS)?;
    let timeout_ms = timeout(args)?;
    let engine = ctx.store.clone();
    let written = engine.engine().log_appended();
    let is_synced = move || engine.engine().log_synced() >= written;
    if local > 0 && !is_synced() {
        ctx.store.engine().request_sync();
    }
    let look = move |is_over: bool| {
        let synced = is_synced();
        (is_over || i64::from(synced) >= local && replicas == 0).then(|| {
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            reply.array(2);
            reply.int(i64::from(synced));
            reply.int(0);
            out
        })
    };
    let deadline_us = (timeout_ms > 0)
        .then(|| clock::monotonic_us().saturating_add(timeout_ms.saturating_mul(1000)));
    ctx.then = Some(Then::Until(Pending { look: Box::new(look), deadline_us }));
    Ok(())
}
