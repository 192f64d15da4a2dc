//! `forgekv export FILE [DIR]`: a data directory as an RDB file, for any Redis since 7.0.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use forgekv_base::clock;
use forgekv_data::rdb::{Form, Save};
use forgekv_engine::disk::RealDisk;
use forgekv_server::info::REDIS_VERSION;

use crate::import::{close, file_and_dir, open};
use crate::progress::Progress;

const USAGE: &str = "usage: forgekv export FILE [DIR]";

/// Writes a file and tells of it.
pub(crate) fn export(args: &[OsString]) -> Result<ExitCode, String> {
    let paths: Vec<&OsString> =
        args.iter().filter(|arg| !arg.to_string_lossy().starts_with('-')).collect();
    let (file, dir) = file_and_dir(&paths).filter(|_| paths.len() == args.len()).ok_or(USAGE)?;
    // Opening a directory makes it one of data.
    if !dir.join("LOCK").is_file() {
        return Err(format!("{} is no data directory", dir.display()));
    }
    let store = open(&dir)?;
    let mut progress = Progress::new(None);
    let written = write(&store, &file, &mut progress);
    progress.clear();
    close(&store)?;
    let (keys, bytes) = written.map_err(|why| format!("{}: {why}", file.display()))?;
    let told = progress.end(keys, bytes);
    crate::print(&format!("{}: exported {told}\n", file.display()))
}

fn write(
    store: &forgekv_data::Store,
    file: &Path,
    progress: &mut Progress,
) -> Result<(u64, u64), forgekv_data::Error> {
    let now_ms = clock::now_ms();
    let form = Form {
        compress: true,
        checksum: true,
        facts: vec![
            ("redis-ver", REDIS_VERSION.into()),
            ("redis-bits", usize::BITS.to_string()),
            ("ctime", (now_ms / 1000).to_string()),
        ],
    };
    let temporary = file.with_file_name(format!("temp-{}.rdb", std::process::id()));
    let save = Save::new(store, now_ms)?;
    let mut next = 0;
    let saved = save.to_file(&RealDisk, file, &temporary, &form, &mut |saved| {
        if saved.keys >= next {
            next = saved.keys + 1000;
            progress.tell(saved.keys, saved.bytes);
        }
        ControlFlow::Continue(())
    })?;
    Ok((saved.keys, saved.bytes))
}
