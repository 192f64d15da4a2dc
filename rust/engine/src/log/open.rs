//! Opening the log: what was found is made durable, a new segment joins it, the rest goes.

use super::format::SegmentHeader;
use super::front::Front;
use super::recover::{self, Found, Listing};
use super::segment::{Plan, Store};
use super::threads::Prepare;
use super::tip::Tip;
use super::{
    LogOptions, LogStart, Recovery, Replayed, SEGMENT_BYTES, SEGMENT_HEADER, Shared, Tail,
};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::options::SyncMode;
use forgekv_base::rng::Rng;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

impl Shared {
    /// Opens the log. With `salvage`, damage is cut off instead of being refused.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
        start: LogStart,
        salvage: bool,
        replay: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<(Shared, Recovery)> {
        let dir = options.dir.clone();
        disk.create_dir_all(&dir)
            .map_err(|e| Error::io(format!("creating the directory {}", dir.display()), &e))?;
        let segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
        let store = Store::new(disk, dir, segment_bytes - SEGMENT_HEADER);

        let listing = Listing::read(&*store.disk, &store.dir, true)?;
        let end = recover::recover(&store.dir, &listing, start, salvage, replay)?;
        store.number_from(listing.last_number);

        // What was replayed may be in the page cache only. It is made durable before anything says that
        // it is.
        for &(index, held) in &end.keep {
            make_durable(&listing.segments[index], end.known, held)?;
        }
        for path in &listing.leftovers {
            store.remove(path);
        }
        for path in &listing.spares {
            store.adopt_spare(path.clone());
        }
        let zero = options.sync_mode == SyncMode::Always;
        let header = SegmentHeader {
            incarnation: Rng::from_entropy().next_u64(),
            base: end.base,
            joins: end.joins,
            capacity: store.standard,
            synced: end.base,
            seq: end.last_seq,
        };
        for &(index, held) in &end.keep {
            let found = &listing.segments[index];
            let base = found.header.map_or(0, |header| header.base);
            store.adopt(found.path.clone(), base, held);
        }
        let segment = store.make(&Plan { header, zero })?;

        // From here on the new segment voids all that was not kept: the rest is tidying up.
        for (index, found) in listing.segments.iter().enumerate() {
            let Some(&(_, held)) = end.keep.iter().find(|(kept, _)| *kept == index) else {
                store.remove(&found.path);
                continue;
            };
            let used = SEGMENT_HEADER + held - found.header.map_or(0, |header| header.base);
            if found.file.len().is_ok_and(|len| len > used)
                && let Err(e) = found.file.set_len(used)
            {
                tracing::warn!("cutting {}: {e}", found.path.display());
            }
        }
        store.sync_dir()?;

        if let Some((path, offset, why)) = &end.cut {
            tracing::warn!("the log ends in {} at offset {offset}: {why}", path.display());
        }
        let recovery = Recovery {
            batches: end.batches,
            bytes: end.bytes,
            cut: end.cut,
            next_seq: end.last_seq + 1,
        };
        let lsn = || AtomicU64::new(end.base);
        let shared = Shared {
            front: Front::new(Tip::new(segment, end.last_seq), end.base),
            written: lsn(),
            synced: lsn(),
            synced_seq: AtomicU64::new(end.last_seq),
            released: AtomicU64::new(0),
            forgotten: lsn(),
            writer: Mutex::default(),
            tail: Mutex::new(Tail { segments: Vec::new(), lsn: end.base, seq: end.last_seq }),
            sync_gate: Mutex::default(),
            maker: Mutex::default(),
            zero: AtomicBool::new(zero),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            prepare: Prepare::default(),
            store,
        };
        Ok((shared, recovery))
    }
}

/// How much is written again in one go.
const AGAIN_BYTES: u64 = 1 << 20;

/// Makes a segment durable up to `held`, of which only what lies below `known` surely is.
///
/// A sync alone would not do: when one fails, Linux takes the bytes for clean, shows them to every reader
/// and answers the next sync with success. If the process dies right after, this is the next one. So
/// what nobody vouches for is written once more.
fn make_durable(found: &Found, known: u64, held: u64) -> Result<()> {
    let Found { path, file, header } = found;
    let base = header.map_or(0, |header| header.base);
    let doing = |what: &str| format!("{what} {}", path.display());
    let len = file.len().map_err(|e| Error::io(doing("reading"), &e))?;
    let mut at = SEGMENT_HEADER + known.max(base).min(held) - base;
    let end = (SEGMENT_HEADER + held - base).min(len);
    let mut bytes = vec![0; end.saturating_sub(at).min(AGAIN_BYTES) as usize];
    while at < end {
        bytes.truncate((end - at).min(AGAIN_BYTES) as usize);
        file.read_exact_at(&mut bytes, at).map_err(|e| Error::io(doing("reading"), &e))?;
        file.write_all_at(&bytes, at).map_err(|e| Error::io(doing("writing again"), &e))?;
        at += bytes.len() as u64;
    }
    file.sync_data().map_err(|e| Error::io(doing("syncing"), &e))
}
