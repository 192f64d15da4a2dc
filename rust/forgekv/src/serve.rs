//! From the command line to a running server, and from a signal to its orderly end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use forgekv_engine::disk::RealDisk;
use forgekv_server::config::{Config, Loaded, Startup};
use forgekv_server::info::{REDIS_VERSION, VERSION};
use forgekv_server::{Server, Setup};

use crate::allocator::Jemalloc;
use crate::log::{self, Levels};
use crate::notify::notify;
use crate::signals;

/// A file that means that the server runs: the process id, the unix socket.
struct RemovedAtEnd(PathBuf);

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_file(&self.0) {
            tracing::warn!("Failed to remove {}: {why}", self.0.display());
        }
    }
}

/// Writes the file that holds the process id. That it can't be written is no reason not to serve.
fn write_pid(path: &Path) -> Option<RemovedAtEnd> {
    match fs::write(path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(RemovedAtEnd(path.to_path_buf())),
        Err(why) => {
            tracing::warn!("Failed to write the pid file {}: {why}", path.display());
            None
        }
    }
}

/// Reads the configuration, starts logging and says what was found.
fn prepare(startup: &Startup) -> Result<(Config, Option<PathBuf>, Levels), String> {
    let Loaded { config, warnings, path } =
        startup.load(&mut std::io::stdin().lock()).map_err(|wrong| wrong.to_string())?;
    // Before the first line of the log, which may be in there.
    fs::create_dir_all(&config.dir)
        .map_err(|why| format!("Can't create the data directory '{}': {why}", config.dir))?;
    let levels = log::start(&config)?;
    tracing::info!("ForgeKV is starting");
    tracing::info!(
        "ForgeKV version={VERSION}, as Redis version={REDIS_VERSION}, bits={}, PID: {}, just started",
        usize::BITS,
        std::process::id()
    );
    if path.is_some() || startup.stdin || !startup.flags.is_empty() {
        tracing::info!("Configuration loaded");
    } else {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use forgekv /path/to/forgekv.conf"
        );
    }
    for line in warnings.into_iter().chain(config.advice()) {
        tracing::warn!("{line}");
    }
    describe(&config);
    Ok((config, path, levels))
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
    let (config, config_file, levels) = prepare(startup)?;
    report_panics();
    let supervised = config.supervised;
    let unix_socket = (!config.unixsocket.is_empty()).then(|| config.path(&config.unixsocket));
    let _pid_file =
        (!config.pidfile.is_empty()).then(|| write_pid(&config.path(&config.pidfile))).flatten();
    let setup = Setup {
        config,
        config_file,
        allocator: Arc::new(Jemalloc::started()),
        disk: Arc::new(RealDisk),
        set_log_level: Box::new(move |level| levels.set(level)),
    };
    let server = match Server::start(setup) {
        Ok(server) => server,
        Err(why) => {
            tracing::error!("{why}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let stopper = server.stopper();
    let stop = move || {
        notify(supervised, "STOPPING=1");
        stopper.stop();
    };
    if let Err(why) = signals::watch(stop) {
        tracing::error!("signals can't be watched: {why}");
        return Ok(ExitCode::FAILURE);
    }
    let _socket = unix_socket.clone().map(RemovedAtEnd);
    tracing::info!("Server initialized");
    let mut doors: Vec<String> =
        server.addresses().iter().map(|address| format!("tcp {address}")).collect();
    doors.extend(server.tls_addresses().iter().map(|address| format!("tls {address}")));
    doors.extend(unix_socket.map(|path| format!("unix {}", path.display())));
    tracing::info!("Ready to accept connections on {}", doors.join(", "));
    notify(supervised, "READY=1");
    match server.wait() {
        Ok(()) => {
            tracing::warn!("ForgeKV is now ready to exit, bye bye...");
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            tracing::error!("{why}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A panic is said in the log too: that is where it will be looked for.
fn report_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("ForgeKV {VERSION} crashed, please report this: {panic}");
        default(panic);
    }));
}
