//! From the command line to a running server, and from a signal to its orderly end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use forgekv_server::config::{Config, Handle, Loaded, Startup};
use forgekv_server::info::{REDIS_VERSION, VERSION};

use crate::log;

/// The file that holds the process id, removed at the end.
struct PidFile(PathBuf);

impl PidFile {
    /// Writes it. That it can't be written is no reason not to serve.
    fn write(path: &Path) -> Option<PidFile> {
        match fs::write(path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(PidFile(path.to_path_buf())),
            Err(why) => {
                tracing::warn!("Failed to write the pid file {}: {why}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_file(&self.0) {
            tracing::warn!("Failed to remove the pid file {}: {why}", self.0.display());
        }
    }
}

/// Reads the configuration, starts logging and says what was found.
fn prepare(startup: &Startup) -> Result<Arc<Handle>, String> {
    let Loaded { config, warnings, path } =
        startup.load(&mut std::io::stdin().lock()).map_err(|wrong| wrong.to_string())?;
    // Before the first line of the log, which may be in there.
    fs::create_dir_all(&config.dir)
        .map_err(|why| format!("Can't create the data directory '{}': {why}", config.dir))?;
    let has_file = path.is_some() || startup.stdin;
    let handle = Handle::new(config, path);
    log::start(&handle)?;
    tracing::info!("ForgeKV is starting");
    tracing::info!(
        "ForgeKV version={VERSION}, as Redis version={REDIS_VERSION}, bits={}, PID: {}, just started",
        usize::BITS,
        std::process::id()
    );
    if has_file || !startup.flags.is_empty() {
        tracing::info!("Configuration loaded");
    } else {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use forgekv /path/to/forgekv.conf"
        );
    }
    let config = handle.current();
    for line in warnings.into_iter().chain(config.advice()) {
        tracing::warn!("{line}");
    }
    describe(&config);
    Ok(handle)
}

/// What the configuration comes to on this machine.
fn describe(config: &Config) {
    let automatic = if config.maxmemory == 0 { " (automatic)" } else { "" };
    tracing::info!(
        "Running mode=standalone, port={}, workers={}, wal_sync_mode={}, memory budget {} \
         MiB{automatic} of which memtables {} MiB, data in {}",
        config.port,
        config.workers(),
        config.wal_sync_mode.name(),
        config.memory_budget() >> 20,
        config.memtable_bytes() >> 20,
        config.dir
    );
}

/// Serves until a signal or SHUTDOWN ends it. An error is for standard error; what goes wrong once
/// there is a log is said in the log.
pub(crate) fn serve(startup: &Startup) -> Result<ExitCode, String> {
    let handle = prepare(startup)?;
    let config = handle.current();
    tracing::error!("this build has no server that could open {}", config.dir);
    Ok(ExitCode::FAILURE)
}
