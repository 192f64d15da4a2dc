//! MONITOR: shows a client every command from now on.

use super::{Args, Family, admin};
use crate::road::Admin;
use forgekv_data::Result;
use forgekv_resp::Reply;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[admin("MONITOR", monitor, "")
        .operator()
        .loading()
        .stale()
        .noscript()
        .since("1.0.0")
        .about("Shows this connection every command that is executed from now on.")],
);

fn monitor(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.session.client.is_monitor.store(true, Relaxed);
    ctx.server.observe.monitors.add(&ctx.session.client);
    reply.ok();
    Ok(())
}
