//! The `forgekv` program: reads the command line and the configuration, starts logging, runs the
//! server until a signal or SHUTDOWN ends it, and answers `--version` and `--help`.
//!
//! Exit codes: 0 after an orderly end, 1 when the server could not start or stop in order.

mod allocator;
mod check;
mod export;
mod import;
mod local_time;
mod log;
mod notify;
mod progress;
mod serve;
mod signals;

use std::io::{self, Write};
use std::process::ExitCode;

use forgekv_server::config::{Invocation, help};
use forgekv_server::info::{REDIS_VERSION, VERSION};

/// What `--version` says. Programs look for `Redis server v=`, or for the first `v=`, to learn
/// what they may send; so that is the level of Redis, also under our own name.
fn version(program: &str) -> String {
    let malloc = allocator::name();
    let bits = usize::BITS;
    if program.contains("redis") {
        format!(
            "Redis server v={REDIS_VERSION} malloc={malloc} bits={bits} build=forgekv-{VERSION}\n"
        )
    } else {
        format!("ForgeKV {VERSION}, Redis server v={REDIS_VERSION} malloc={malloc} bits={bits}\n")
    }
}

fn print(text: &str) -> Result<ExitCode, String> {
    io::stdout().write_all(text.as_bytes()).map_err(|why| why.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn run() -> Result<ExitCode, String> {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    match Invocation::parse(args).map_err(|wrong| wrong.to_string())? {
        Invocation::Version => {
            let name = std::path::Path::new(&program).file_name().unwrap_or(&program);
            print(&version(&name.to_string_lossy()))
        }
        Invocation::Help => print(&help()),
        Invocation::Check(args) => check::check(&args),
        Invocation::Import(args) => import::import(&args),
        Invocation::Export(args) => export::export(&args),
        Invocation::Serve(startup) => serve::serve(&startup),
    }
}

fn main() -> ExitCode {
    forgekv_server::tls::install_provider();
    match run() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_level_of_redis_first() {
        for program in ["forgekv", "redis-server"] {
            let line = version(program);
            assert!(line.contains(&format!("Redis server v={REDIS_VERSION} malloc=jemalloc-5.")));
            assert_eq!(line.split("v=").nth(1).unwrap().split(' ').next().unwrap(), REDIS_VERSION);
            assert!(line.contains(VERSION) && line.ends_with('\n'));
        }
        assert!(version("redis-server").starts_with("Redis server v="));
    }
}
