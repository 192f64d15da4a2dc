//! Looking for damage in a directory that nobody has open, and saving what can be saved.
//!
//! [`check`] reads every byte: the manifest, all tables, the log. It changes nothing unless it is told to
//! repair. Then
//!
//! - a damaged table is moved to `quarantine/`, and what can still be read of it is written anew, block by
//!   block; the report names the range of keys of every block that is lost. Older versions of lost keys,
//!   deeper down, show again;
//! - counts of a shard that lost something are counted anew;
//! - the log is cut at its first damage;
//! - a manifest with more than a torn end is left alone: without it nobody knows what belongs where.

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::{self, Log, LogOptions, LogStart};
use crate::manifest::{Edit, Manifest, State, list};
use crate::memtable::{Counts, add};
use crate::merge::{MergeCursor, Walk};
use crate::options::{Options, SyncMode};
use crate::schema::Schema;
use crate::table::{
    BlockCursor, BuildOptions, Compression, FilterKind, Table, TableBuilder, TableCursor,
    TableMeta, table_id, table_path, tables_dir,
};
use crate::version::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where damaged tables are kept, inside the directory.
const QUARANTINE: &str = "quarantine";

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// Whether data is lost or a start would be refused; otherwise it is only worth knowing.
    pub damage: bool,
    /// What was done about it, and what was lost.
    pub repair: Option<String>,
}

impl Finding {
    fn of(e: Error, file: &Path) -> Finding {
        match e {
            Error::Corrupt { file, offset, what } => {
                Finding { file, offset, what, damage: true, repair: None }
            }
            e => Finding {
                file: file.to_path_buf(),
                offset: 0,
                what: e.to_string(),
                damage: true,
                repair: None,
            },
        }
    }
}

/// Reads everything in `dir` and says what is damaged; with `repair` saves what can be saved. Nothing found
/// means that an engine opens and every record can be read.
///
/// # Errors
/// `Locked` when somebody has the directory open; that there is none; failed reads and writes, but for
/// those of a file that is being checked.
pub fn check(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    schema: &dyn Schema,
    repair: bool,
) -> Result<Vec<Finding>> {
    let io = |what: &str, e: &std::io::Error| Error::io(format!("{what} {}", dir.display()), e);
    disk.list(dir).map_err(|e| io("listing", &e))?;
    let lock = dir.join("LOCK");
    let owner = disk.lock(&lock).map_err(|e| io("locking", &e))?;
    let _owner = owner.ok_or_else(|| Error::Locked(dir.to_path_buf()))?;

    let mut check = Check { disk, dir, schema, findings: Vec::new() };
    let state = match Manifest::read(&**disk, dir) {
        Ok(state) => state,
        Err(e) => {
            let mut finding = Finding::of(e, &dir.join("MANIFEST"));
            if repair {
                finding.what += "; it cannot be repaired, since nothing else says what belongs where: \
                                 take a backup";
            }
            check.findings.push(finding);
            check.unlisted_tables()?;
            return Ok(check.findings);
        }
    };
    let damaged = check.tables(&state);
    check.orphans(&state)?;
    if repair && !damaged.is_empty() {
        check.repair_tables(&state, &damaged)?;
    }
    check.log(&state, repair)?;
    Ok(check.findings)
}

struct Check<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    schema: &'a dyn Schema,
    findings: Vec<Finding>,
}

/// A damaged table: where it belongs, and its finding.
struct Damaged {
    shard: u8,
    level: u8,
    meta: TableMeta,
    finding: usize,
}

impl Check<'_> {
    fn hash(&self) -> impl Fn(&[u8]) -> u64 {
        |key| self.schema.hash(key)
    }

    /// Verifies every table of the manifest.
    fn tables(&mut self, state: &State) -> Vec<Damaged> {
        let mut damaged = Vec::new();
        for (shard, level, meta) in state.tables() {
            let verified = Table::open(&**self.disk, self.dir, meta.clone())
                .and_then(|table| table.verify(&self.hash()));
            if let Err(e) = verified {
                let path = table_path(self.dir, meta.id);
                let finding = self.findings.len();
                self.findings.push(Finding::of(e, &path));
                damaged.push(Damaged { shard, level, meta: meta.clone(), finding });
            }
        }
        damaged
    }

    /// Without a manifest: verifies every table that is there.
    fn unlisted_tables(&mut self) -> Result<()> {
        for name in list(&**self.disk, &tables_dir(self.dir))? {
            let Some(id) = table_id(&name) else { continue };
            let verified = Table::open_unlisted(&**self.disk, self.dir, id)
                .and_then(|table| table.verify(&self.hash()));
            if let Err(e) = verified {
                self.findings.push(Finding::of(e, &table_path(self.dir, id)));
            }
        }
        Ok(())
    }

    /// Tables that nobody needs: a crash left them.
    fn orphans(&mut self, state: &State) -> Result<()> {
        let named: BTreeSet<u64> = state.tables().map(|(_, _, meta)| meta.id).collect();
        for name in list(&**self.disk, &tables_dir(self.dir))? {
            if table_id(&name).is_some_and(|id| !named.contains(&id)) {
                self.findings.push(Finding {
                    file: tables_dir(self.dir).join(name),
                    offset: 0,
                    what: "the manifest does not name this table; the next start removes it".into(),
                    damage: false,
                    repair: None,
                });
            }
        }
        Ok(())
    }

    fn log(&mut self, state: &State, repair: bool) -> Result<()> {
        let dir = log::dir_in(self.dir);
        if list(&**self.disk, &dir)?.is_empty() {
            // A checkpoint that nobody has opened yet, or a directory that never got as far as a log:
            // nothing is said to have been in one.
            let fresh = state.log_start == 0 && state.shards.iter().all(|s| s.flushed_lsn == 0);
            if !fresh {
                let what = "there is no log";
                self.findings.push(Finding::of(Error::corrupt(&dir, 0, what), &dir));
            }
            if fresh || !repair {
                return Ok(());
            }
        }
        let start = start_of(state);
        let found = log::check(&**self.disk, &dir, Some(start));
        let damage = found.iter().any(|finding| finding.damage);
        for log::Finding { file, offset, what, damage } in found {
            self.findings.push(Finding { file, offset, what, damage, repair: None });
        }
        if repair && damage {
            let options = LogOptions {
                dir,
                sync_mode: SyncMode::Never,
                segment_bytes: Options::new(self.dir).segment_bytes,
            };
            let recovery = Log::repair(self.disk.clone(), options, start)?;
            if let Some(finding) = self.findings.last_mut() {
                finding.repair = Some(format!(
                    "the log was cut: {} commits before this place are kept, all after it are lost",
                    recovery.batches
                ));
            }
        }
        Ok(())
    }

    /// Puts what is left of damaged tables in their places.
    fn repair_tables(&mut self, state: &State, damaged: &[Damaged]) -> Result<()> {
        let (manifest, _) = Manifest::open(self.disk.clone(), self.dir)?;
        let quarantine = self.dir.join(QUARANTINE);
        let io = |e: &std::io::Error| Error::io(format!("making {}", quarantine.display()), e);
        self.disk.create_dir_all(&quarantine).map_err(|e| io(&e))?;
        let mut next = state.next_file;
        let mut replaced = BTreeMap::new();
        for each in damaged {
            let (table, report) = self.salvage(each, next)?;
            next += 1;
            if let Some(finding) = self.findings.get_mut(each.finding) {
                finding.repair = Some(report);
            }
            replaced.insert(each.meta.id, table);
        }
        for shard in damaged.iter().map(|each| each.shard).collect::<BTreeSet<u8>>() {
            let mut edits = self.exchange(state, shard, damaged, &replaced);
            edits.push(Edit::NextFile(next));
            // Twice: the tables have to be in the manifest's order before they can be counted.
            manifest.commit(&edits)?;
            let now = manifest.state();
            let Some(counted) = now.shards.get(usize::from(shard)) else { continue };
            let counts = self.count(&counted.levels)?;
            let (lsn, seq) = (counted.flushed_lsn, counted.flushed_seq);
            manifest.commit(&[Edit::Flushed { shard, lsn, seq, counts }])?;
        }
        for each in damaged {
            let path = table_path(self.dir, each.meta.id);
            let name = path.file_name().unwrap_or_default();
            match self.disk.rename(&path, &quarantine.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&e)),
                _ => {}
            }
        }
        for dir in [self.dir, &quarantine, &tables_dir(self.dir)] {
            self.disk.sync_dir(dir).map_err(|e| io(&e))?;
        }
        Ok(())
    }

    /// The edits that put what is left of a shard's damaged tables in their places.
    fn exchange(
        &self,
        state: &State,
        shard: u8,
        damaged: &[Damaged],
        replaced: &BTreeMap<u64, Option<TableMeta>>,
    ) -> Vec<Edit> {
        let mut edits = Vec::new();
        let is_touched = |level: u8| damaged.iter().any(|d| (d.shard, d.level) == (shard, level));
        // In level 0 what joins is the newest: all of it leaves and joins again, oldest first.
        for (of, level, meta) in
            state.tables().filter(|(of, level, _)| *of == shard && is_touched(*level))
        {
            let known = replaced.get(&meta.id);
            if level > 0 && known.is_none() {
                continue;
            }
            edits.push(Edit::RemoveTable { shard: of, level, id: meta.id });
            if let Some(meta) = known.map_or(Some(meta), Option::as_ref) {
                edits.push(Edit::AddTable { shard: of, level, meta: meta.clone() });
            }
        }
        edits
    }

    /// Writes what can be read of a table as table `id`. Says what is lost.
    fn salvage(&self, damaged: &Damaged, id: u64) -> Result<(Option<TableMeta>, String)> {
        let Damaged { shard, meta, .. } = damaged;
        let all = |why: &str| {
            format!(
                "{why}: all {} entries of shard {shard} from {} to {} that it held are lost",
                meta.entries,
                show(&meta.smallest),
                show(&meta.largest)
            )
        };
        // What the manifest says of it may be right while its own properties are damaged; then there is
        // no index either.
        let Ok(table) = Table::open_unlisted(&**self.disk, self.dir, meta.id) else {
            return Ok((None, all("nothing of it can be read")));
        };
        let path = table_path(self.dir, id);
        let io = |e: &std::io::Error| Error::io(format!("writing {}", path.display()), e);
        let file = self.disk.create(&path).map_err(|e| io(&e))?;
        let options = BuildOptions {
            block_bytes: 4096,
            compression: Compression::Lz4,
            filter: FilterKind::Fuse,
        };
        let mut builder = TableBuilder::new(file, &path, options, self.schema)?;
        let mut last: Option<Vec<u8>> = None;
        let mut kept = 0;
        let mut lost = Vec::new();
        let mut gap = false;
        for no in 0..table.blocks() {
            let Ok(block) = table.load_block(no) else {
                gap = true;
                lost.push((last.clone(), None));
                continue;
            };
            let mut cursor = BlockCursor::new(block);
            cursor.first();
            if gap
                && cursor.valid()
                && let Some(range) = lost.last_mut()
            {
                range.1 = Some(cursor.key().to_vec());
                gap = false;
            }
            while cursor.valid() {
                // Keys out of order can't be believed.
                if last.as_deref().is_none_or(|last| last < cursor.key()) {
                    builder.add(cursor.key(), cursor.value())?;
                    last = Some(cursor.key().to_vec());
                    kept += 1;
                }
                cursor.next();
            }
        }
        if kept == 0 {
            drop(builder);
            self.disk.remove(&path).map_err(|e| io(&e))?;
            return Ok((None, all("no block of it can be read")));
        }
        let written = TableMeta { id, ..builder.finish()? };
        self.disk.sync_dir(&tables_dir(self.dir)).map_err(|e| io(&e))?;
        let ranges: Vec<String> = lost
            .iter()
            .map(|(after, before)| {
                let side = |key: &Option<Vec<u8>>, end: &[u8]| show(key.as_deref().unwrap_or(end));
                format!(
                    "between {} and {}",
                    side(after, &meta.smallest),
                    side(before, &meta.largest)
                )
            })
            .collect();
        let missing = meta.entries.saturating_sub(kept);
        let report = if missing == 0 {
            format!("written anew as table {id}; nothing is lost")
        } else {
            format!(
                "written anew as table {id}; of its {} entries of shard {shard}, {missing} are lost: {}",
                meta.entries,
                ranges.join(", ")
            )
        };
        Ok((Some(written), report))
    }

    /// Counts the live keys of a shard's tables.
    fn count(&self, levels: &[Vec<TableMeta>]) -> Result<Counts> {
        let mut opened = Vec::new();
        for metas in levels {
            let tables: Result<Vec<Arc<Table>>> = metas
                .iter()
                .map(|meta| Table::open(&**self.disk, self.dir, meta.clone()))
                .collect();
            opened.push(tables?);
        }
        let version = Version::new(opened);
        let mut sources = Vec::new();
        for run in version.runs() {
            let mut cursor = TableCursor::new(run.to_vec());
            cursor.first()?;
            sources.push(cursor);
        }
        let mut counts = Counts::new();
        let mut entries = MergeCursor::new(sources);
        while entries.valid() {
            if entries.value().is_some()
                && let Some(group) = self.schema.group(entries.key())
            {
                add(&mut counts, group, 1);
            }
            entries.next()?;
        }
        Ok(counts)
    }
}

/// What the manifest says the log has to hold.
fn start_of(state: &State) -> LogStart {
    let flushed = || state.shards.iter().map(|shard| shard.flushed_lsn);
    LogStart {
        min_lsn: flushed().min().unwrap_or_default().max(state.log_start),
        max_lsn: flushed().max().unwrap_or_default().max(state.log_start),
        min_seq: state.seq_high_water,
    }
}

/// The beginning of a key, for people.
fn show(key: &[u8]) -> String {
    const MOST: usize = 48;
    let shown = key.get(..MOST).unwrap_or(key).escape_ascii();
    if key.len() > MOST { format!("\"{shown}\"...") } else { format!("\"{shown}\"") }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
