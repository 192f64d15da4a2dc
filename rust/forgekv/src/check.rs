//! `forgekv check DIR [--repair]`: is every byte of a data directory what was written?
//!
//! Exit codes: 0 when nothing is damaged, or all that was is repaired; 1 when there is damage.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use forgekv_data::Store;
use forgekv_engine::Finding;
use forgekv_engine::disk::{Disk, RealDisk};

const USAGE: &str = "usage: forgekv check DIR [--repair]";

/// What was asked for.
struct Asked {
    dir: PathBuf,
    repair: bool,
}

impl Asked {
    fn parse(args: &[OsString]) -> Option<Asked> {
        let (flags, dirs): (Vec<&OsString>, Vec<&OsString>) =
            args.iter().partition(|arg| arg.to_string_lossy().starts_with('-'));
        match (&dirs[..], &flags[..]) {
            ([dir], []) => Some(Asked { dir: PathBuf::from(dir), repair: false }),
            ([dir], [flag]) if **flag == *"--repair" => {
                Some(Asked { dir: PathBuf::from(dir), repair: true })
            }
            _ => None,
        }
    }
}

/// Examines a directory and tells of it.
pub(crate) fn check(args: &[OsString]) -> Result<ExitCode, String> {
    let Asked { dir, repair } = Asked::parse(args).ok_or(USAGE)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let findings = Store::check(&disk, &dir, repair).map_err(|why| why.to_string())?;
    let mut text = String::new();
    for finding in &findings {
        text += &line(&dir, finding);
    }
    let damaged = findings.iter().filter(|finding| finding.damage).count();
    let left = findings.iter().filter(|finding| finding.damage && finding.repair.is_none()).count();
    text += &match (damaged, left) {
        (0, _) => format!("{}: no damage\n", dir.display()),
        (n, 0) => format!("{}: damage in {n} places, repaired\n", dir.display()),
        (n, _) if repair => {
            format!("{}: damage in {n} places, {left} not repaired\n", dir.display())
        }
        (n, _) => format!(
            "{}: damage in {n} places; `forgekv check {} --repair` saves what is whole (copy the directory \
             first)\n",
            dir.display(),
            dir.display()
        ),
    };
    crate::print(&text)?;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(dir: &Path, finding: &Finding) -> String {
    let Finding { file, offset, what, damage, repair } = finding;
    let file = file.strip_prefix(dir).unwrap_or(file).display();
    let kind = if *damage { "damaged" } else { "note" };
    let mut line = format!("{file}: {kind} at offset {offset}: {what}\n");
    if let Some(repair) = repair {
        line += &format!("  {repair}\n");
    }
    line
}
