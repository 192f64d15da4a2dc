//! Carries a plan out: merges tables into new ones.

use super::Plan;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::manifest::Edit;
use crate::merge::{MergeCursor, Walk};
use crate::options::Options;
use crate::schema::{Durable, Judge, Schema, Verdict};
use crate::table::{
    BuildOptions, FilterKind, Table, TableBuilder, TableCursor, TableMeta, table_path, tables_dir,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many dropped keys are told of together.
const FORGOTTEN_AT_ONCE: usize = 256;
/// The throttle is told of the work in pieces of this size.
const PIECE: u64 = 256 << 10;

/// What a compaction works with.
pub struct Context<'a> {
    /// Where the tables are.
    pub disk: &'a Arc<dyn Disk>,
    /// The engine's directory.
    pub dir: &'a Path,
    /// For the hashes of keys.
    pub schema: &'a dyn Schema,
    /// Says what is not wanted any more.
    pub judge: &'a mut dyn Judge,
    /// What the judge may ask.
    pub durable: &'a dyn Durable,
    /// Sizes.
    pub options: &'a Options,
    /// Draws the id of a new file.
    pub next_file: &'a dyn Fn() -> u64,
    /// Ends the compaction with `Closed` at the next entry.
    pub cancel: &'a AtomicBool,
    /// Told of every so many bytes of entries merged; may sleep.
    pub throttle: &'a dyn Fn(u64),
    /// Told of the keys of records that the judge dropped, some at a time.
    pub forget: &'a dyn Fn(&[Vec<u8>]),
}

/// What a compaction has made. Nothing has changed until the edits are committed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The change of the manifest.
    pub edits: Vec<Edit>,
    /// The tables that join the output level, durable and open.
    pub tables: Vec<Arc<Table>>,
    /// The tables whose files may go once the edits are committed and nobody reads them.
    pub obsolete: Vec<Arc<Table>>,
    /// The length of the files written.
    pub written_bytes: u64,
    /// Records that the judge dropped.
    pub dropped: u64,
}

/// Carries out `plan`, which was picked on the current version of `shard`.
///
/// # Errors
/// `Closed` when cancelled; what disk, tables and judge met. Files half made are removed then, and nothing has
/// changed.
pub fn run(plan: &Plan, shard: u8, context: &mut Context<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (level, tables) in &plan.inputs {
        for table in tables {
            let level = *level as u8;
            outcome.edits.push(Edit::RemoveTable { shard, level, id: table.id() });
        }
    }
    if plan.moves {
        outcome.tables = plan.inputs().cloned().collect();
    } else {
        let mut output = Output::new(plan, context);
        let merged = merge(plan, context, &mut output, &mut outcome);
        let tables = merged.and_then(|()| output.publish(context));
        outcome.tables = tables.inspect_err(|_| output.remove(context))?;
        outcome.written_bytes = outcome.tables.iter().map(|t| t.meta().bytes).sum();
        outcome.obsolete = plan.inputs().cloned().collect();
    }
    for table in &outcome.tables {
        let (level, meta) = (plan.output as u8, table.meta().clone());
        outcome.edits.push(Edit::AddTable { shard, level, meta });
    }
    Ok(outcome)
}

fn merge<'a>(
    plan: &Plan,
    context: &mut Context<'a>,
    output: &mut Output<'a>,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut sources = Vec::new();
    for (level, tables) in &plan.inputs {
        if *level == 0 {
            sources.extend(tables.iter().map(|t| TableCursor::new(vec![t.clone()])));
        } else {
            sources.push(TableCursor::new(tables.clone()));
        }
    }
    for source in &mut sources {
        source.first()?;
    }
    let mut entries = MergeCursor::new(sources);
    let mut piece = 0;
    let mut dropped = Vec::new();
    while entries.valid() {
        if context.cancel.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let (key, mut value) = (entries.key(), entries.value());
        if let Some(live) = value
            && context.judge.verdict(key, live, context.durable)? == Verdict::Drop
        {
            value = None;
            outcome.dropped += 1;
            dropped.push(key.to_vec());
            if dropped.len() == FORGOTTEN_AT_ONCE {
                (context.forget)(&dropped);
                dropped.clear();
            }
        }
        // A tombstone stays while something older may lie below that it has to hide.
        if value.is_some() || lies_below(plan, context.schema, key) {
            output.add(context, key, value)?;
        }
        piece += (key.len() + value.unwrap_or_default().len()) as u64 + 1;
        if piece >= PIECE {
            (context.throttle)(piece);
            piece = 0;
        }
        entries.next()?;
    }
    (context.throttle)(piece);
    (context.forget)(&dropped);
    output.finish_table()
}

/// Whether a table deeper than the output may hold the key.
fn lies_below(plan: &Plan, schema: &dyn Schema, key: &[u8]) -> bool {
    if plan.below.is_empty() {
        return false;
    }
    let hash = schema.hash(key);
    plan.below.iter().any(|tables| {
        let at = tables.partition_point(|t| t.meta().largest.as_slice() < key);
        tables.get(at).is_some_and(|t| t.meta().covers(key) && t.may_contain(hash))
    })
}

/// The tables being written.
struct Output<'a> {
    build: BuildOptions,
    table_bytes: u64,
    current: Option<(u64, TableBuilder<'a>)>,
    finished: Vec<TableMeta>,
    /// Every file that was created.
    ids: Vec<u64>,
}

impl<'a> Output<'a> {
    fn new(plan: &Plan, context: &Context<'a>) -> Output<'a> {
        let block_bytes = context.options.block_bytes;
        Output {
            build: BuildOptions {
                block_bytes,
                compression: plan.compression,
                filter: FilterKind::Fuse,
            },
            table_bytes: context.options.table_bytes,
            current: None,
            finished: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn add(&mut self, context: &Context<'a>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let builder = match &mut self.current {
            Some((_, builder)) => builder,
            None => {
                let id = (context.next_file)();
                let path = table_path(context.dir, id);
                let file = context
                    .disk
                    .create(&path)
                    .map_err(|e| Error::io(format!("creating {}", path.display()), &e))?;
                self.ids.push(id);
                let builder = TableBuilder::new(file, &path, self.build, context.schema)?;
                &mut self.current.insert((id, builder)).1
            }
        };
        builder.add(key, value)?;
        if builder.size_estimate() >= self.table_bytes {
            self.finish_table()?;
        }
        Ok(())
    }

    fn finish_table(&mut self) -> Result<()> {
        if let Some((id, builder)) = self.current.take() {
            self.finished.push(TableMeta { id, ..builder.finish()? });
        }
        Ok(())
    }

    /// Makes the names durable and opens the tables.
    fn publish(&mut self, context: &Context<'a>) -> Result<Vec<Arc<Table>>> {
        if self.finished.is_empty() {
            return Ok(Vec::new());
        }
        let dir = tables_dir(context.dir);
        context
            .disk
            .sync_dir(&dir)
            .map_err(|e| Error::io(format!("syncing {}", dir.display()), &e))?;
        self.finished
            .iter()
            .map(|meta| Table::open(&**context.disk, context.dir, meta.clone()))
            .collect()
    }

    /// Removes what was written.
    fn remove(&mut self, context: &Context<'a>) {
        self.current = None;
        for id in self.ids.drain(..) {
            let path = table_path(context.dir, id);
            if let Err(e) = context.disk.remove(&path) {
                tracing::warn!("{} stays until the next start: {e}", path.display());
            }
        }
    }
}
