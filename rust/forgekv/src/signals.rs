//! SIGTERM and SIGINT end the server in order; SIGHUP does nothing, so that closing a terminal ends
//! nothing.

use std::io;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `stop` at the first SIGTERM or SIGINT. A second SIGINT means that somebody does not want
/// to wait: the process ends at once. Nothing that was acknowledged is lost by that.
pub(crate) fn watch(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Installed before this returns: from here on no signal is missed.
    let (mut term, mut int, mut hang_up) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            let mut stopping = false;
            loop {
                let name = tokio::select! {
                    Some(()) = term.recv() => "SIGTERM",
                    Some(()) = int.recv() => "SIGINT",
                    Some(()) = hang_up.recv() => continue,
                    else => return,
                };
                if stopping && name == "SIGINT" {
                    tracing::warn!("You insist... exiting now.");
                    std::process::exit(1);
                }
                tracing::warn!("Received {name} scheduling shutdown...");
                stopping = true;
                stop();
            }
        });
    })?;
    Ok(())
}
