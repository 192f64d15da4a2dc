//! `forgekv import FILE [DIR] [--replace]`: what a Redis saved, into a data directory.
//!
//! All of the file is loaded or nothing: the keys are nobody's until the file was read to its end and its
//! checksum was right.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use forgekv_base::clock;
use forgekv_data::Store;
use forgekv_data::rdb::{Import, ImportError, Imported, Source};
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Options, SyncMode};
use forgekv_server::config::Config;

use crate::progress::Progress;

const USAGE: &str = "usage: forgekv import FILE [DIR] [--replace]";

/// What was asked for.
struct Asked {
    file: PathBuf,
    dir: PathBuf,
    replace: bool,
}

impl Asked {
    fn parse(args: &[OsString]) -> Option<Asked> {
        let (flags, paths): (Vec<&OsString>, Vec<&OsString>) =
            args.iter().partition(|arg| arg.len() > 1 && arg.to_string_lossy().starts_with('-'));
        let replace = match &flags[..] {
            [] => false,
            [flag] if **flag == *"--replace" => true,
            _ => return None,
        };
        let (file, dir) = file_and_dir(&paths)?;
        Some(Asked { file, dir, replace })
    }
}

/// A file, and a directory, which is that of the server unless it is named.
pub(crate) fn file_and_dir(paths: &[&OsString]) -> Option<(PathBuf, PathBuf)> {
    match paths {
        [file] => Some((PathBuf::from(file), PathBuf::from(Config::default().dir))),
        [file, dir] => Some((PathBuf::from(file), PathBuf::from(dir))),
        _ => None,
    }
}

/// Opens a data directory that nobody serves.
pub(crate) fn open(dir: &Path) -> Result<Store, String> {
    let config = Config { dir: dir.to_string_lossy().into_owned(), ..Config::default() };
    // What is loaded is synced once, in the end.
    let options = Options { sync_mode: SyncMode::Never, ..config.engine_options() };
    Store::open(options, config.databases, Arc::new(RealDisk)).map_err(|why| why.to_string())
}

/// Makes everything durable and gives the directory back.
pub(crate) fn close(store: &Store) -> Result<(), String> {
    let engine = store.engine();
    engine.sync().and_then(|_| engine.close()).map_err(|why| why.to_string())
}

/// Loads a file and tells of it.
pub(crate) fn import(args: &[OsString]) -> Result<ExitCode, String> {
    let Asked { file, dir, replace } = Asked::parse(args).ok_or(USAGE)?;
    let shown = file.display();
    let wrong = |why: &dyn std::fmt::Display| format!("{shown}: {why}; nothing was imported");
    let (mut source, total): (Box<dyn Read>, Option<u64>) = if file.as_os_str() == "-" {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let source = File::open(&file).map_err(|why| wrong(&why))?;
        let len = source.metadata().map_err(|why| wrong(&why))?.len();
        // Before a directory is made for it.
        let mut head = File::open(&file).map_err(|why| wrong(&why))?;
        Import::check_head(Source::stream(&mut head)).map_err(|why| wrong(&why))?;
        (Box::new(source), Some(len))
    };
    let store = open(&dir)?;
    let mut progress = Progress::new(total);
    let limits = Config::default().limits();
    let input = Source::stream(&mut *source);
    let imported = Import::run(&store, limits, clock::now_ms(), input, replace, &mut |so_far| {
        progress.tell(so_far.keys, so_far.bytes);
    });
    progress.clear();
    let imported = match imported {
        Ok(imported) => imported,
        Err(why) => {
            close(&store)?;
            return Err(match why {
                ImportError::NotEmpty => format!(
                    "{} already holds keys; --replace puts those of the file in the place of all of them",
                    dir.display()
                ),
                why => wrong(&why),
            });
        }
    };
    close(&store)?;
    left_out(&imported);
    let told = progress.end(imported.keys, imported.bytes);
    crate::print(&format!("{}: imported {told}\n", dir.display()))
}

/// Says what of the file is not in the directory.
fn left_out(imported: &Imported) {
    let Imported { skipped, databases, checked, .. } = imported;
    let keys = |n: u64| if n == 1 { "1 key".to_owned() } else { format!("{n} keys") };
    if skipped.expired > 0 {
        eprintln!("note: {} had expired", keys(skipped.expired));
    }
    if skipped.empty > 0 {
        eprintln!("note: {} held nothing", keys(skipped.empty));
    }
    for (name, n) in &skipped.modules {
        eprintln!("warning: {} of the module type {name} left out", keys(*n));
    }
    for name in skipped.module_data.keys() {
        eprintln!("warning: what the module {name} saved beside the keys is left out");
    }
    if skipped.functions > 0 {
        eprintln!("warning: {} libraries of functions left out", skipped.functions);
    }
    if *databases > Config::default().databases {
        eprintln!("warning: start the server with `databases {databases}` or more to see all keys");
    }
    if !checked {
        eprintln!("note: the file has no checksum");
    }
}
