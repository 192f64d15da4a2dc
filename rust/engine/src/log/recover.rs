//! Reading the log back: which segments count, which frames are whole, where the log ends.
//!
//! The log ends at the first frame that does not check out. Whether that is a *torn tail* (the power
//! went while it was written: it is cut) or *damage* (it had been synced: the start is refused) is told
//! by the synced positions that headers and frames carry, those after the bad place included: whatever
//! lies there is searched for whole frames. Positions up to `min_lsn` are in tables; what is lost there
//! is no loss.
//!
//! A segment made later voids what older ones hold from the position it `joins` on. So a cut is durable
//! at the moment the segment after it has its name, and a crash at any point of a recovery only means
//! that it is done again.

use super::format::{BadHeader, Batches, FrameHeader, SEAL, SegmentHeader};
use super::segment::number_of;
use super::{FRAME_HEADER, LogStart, Replayed, SEGMENT_HEADER};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REPAIR: &str = "run `forgekv check --repair` to keep what is whole";

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub header: std::result::Result<SegmentHeader, BadHeader>,
}

/// The directory as it was found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In the order they were made.
    pub segments: Vec<Found>,
    pub spares: Vec<PathBuf>,
    /// Half-made files.
    pub leftovers: Vec<PathBuf>,
    /// No file has a greater number.
    pub last_number: u64,
}

impl Listing {
    pub(super) fn read(disk: &dyn Disk, dir: &Path, write: bool) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut logs = Vec::new();
        let names = disk
            .list(dir)
            .map_err(|e| Error::io(format!("listing the directory {}", dir.display()), &e))?;
        for name in names {
            let number = if let Some(number) = number_of(&name, ".log") {
                logs.push((number, dir.join(&name)));
                number
            } else if let Some(number) = number_of(&name, ".spare") {
                listing.spares.push(dir.join(&name));
                number
            } else if let Some(number) = number_of(&name, ".new") {
                listing.leftovers.push(dir.join(&name));
                number
            } else {
                continue;
            };
            listing.last_number = listing.last_number.max(number);
        }
        logs.sort();
        for (_, path) in logs {
            let file = disk
                .open(&path, write)
                .map_err(|e| Error::io(format!("opening {}", path.display()), &e))?;
            let mut window = Window::new(&*file, &path)?;
            let header = SegmentHeader::decode(window.most(0, SEGMENT_HEADER as usize)?);
            listing.segments.push(Found { path, file, header });
        }
        Ok(listing)
    }
}

/// Where the log ends.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The lsn at which the next segment begins, and what it joins.
    pub base: u64,
    pub joins: u64,
    /// The segments that still count, by their index in the listing, with their ends.
    pub keep: Vec<(usize, u64)>,
    /// What lies below is known to be on the device.
    pub known: u64,
    pub batches: u64,
    pub bytes: u64,
    /// The greatest sequence number known.
    pub last_seq: u64,
    /// What was cut, if anything that had been written was.
    pub cut: Option<(PathBuf, u64, String)>,
}

/// A segment that counts.
struct Link<'a> {
    index: usize,
    found: &'a Found,
    header: SegmentHeader,
    /// What it holds from here on is void.
    limit: u64,
}

/// The segments that count, oldest first: from the last one that begins at or before `min_lsn`, or that
/// says itself that nothing older is needed.
fn chain<'a>(listing: &'a Listing, min_lsn: u64, salvage: bool) -> Result<Vec<Link<'a>>> {
    let mut chain: Vec<Link<'a>> = Vec::new();
    let mut limit = u64::MAX;
    for (index, found) in listing.segments.iter().enumerate().rev() {
        let header = match found.header {
            Ok(header) => header,
            Err(BadHeader::Version(version)) => {
                return Err(Error::Incompatible(format!(
                    "{} has log format {version}, written by a newer version",
                    found.path.display()
                )));
            }
            Err(BadHeader::Damaged(_)) if salvage => continue,
            Err(BadHeader::Damaged(what)) => {
                return Err(Error::corrupt(&found.path, 0, format!("{what}; {REPAIR}")));
            }
        };
        if header.base <= limit {
            chain.push(Link { index, found, header, limit });
            limit = limit.min(header.joins);
            if header.joins == 0 || header.base <= min_lsn {
                break;
            }
        }
    }
    chain.reverse();
    Ok(chain)
}

/// Walks the log from `start.min_lsn` and hands every batch beyond it to `replay`. With `salvage`,
/// damage is cut as if it were a torn tail.
pub(super) fn recover(
    dir: &Path,
    listing: &Listing,
    start: LogStart,
    salvage: bool,
    replay: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<End> {
    let LogStart { min_lsn, min_seq, .. } = start;
    let max_lsn = start.max_lsn.max(min_lsn);
    let chain = chain(listing, min_lsn, salvage)?;
    let missing = |path: &Path, from: u64, to: u64| {
        Error::corrupt(
            path,
            0,
            format!("the log is missing from position {from} to {to} before this; {REPAIR}"),
        )
    };
    let mut end = End { last_seq: min_seq, ..End::default() };
    end.last_seq = chain.iter().map(|link| link.header.seq).fold(end.last_seq, u64::max);
    // From its first segment on, the log must hold all that the tables lack.
    let begins = |link: &Link<'_>| link.header.joins == 0 || link.header.base <= min_lsn;
    let (Some(first), Some(last), true) =
        (chain.first(), chain.last(), chain.first().is_none_or(begins))
    else {
        let from = chain.first().map_or(max_lsn, |link| link.header.base);
        if from > 0 && !salvage {
            let path = chain.first().map_or(dir, |link| &link.found.path);
            return Err(missing(path, min_lsn, from));
        }
        end.base = max_lsn;
        return Ok(end);
    };
    // A segment that begins anew does so where tables reach to: the manifest has said so ever since.
    if first.header.joins == 0 && first.header.base > max_lsn {
        if !salvage {
            return Err(Error::corrupt(
                &first.found.path,
                0,
                format!(
                    "the log begins at position {}, but the manifest knows of tables up to {max_lsn} \
                     only: its end is lost; {REPAIR}",
                    first.header.base
                ),
            ));
        }
        end.base = max_lsn;
        return Ok(end);
    }
    let last_base = last.header.base;
    // Only a segment that another one joins was ever cut.
    let whole = SEGMENT_HEADER + last.header.capacity;
    let len = last.found.file.len().map_err(|e| Window::error(&last.found.path, &e))?;
    if len < whole && !salvage {
        let what = format!("the file ends here, but was {whole} bytes long; {REPAIR}");
        return Err(Error::corrupt(&last.found.path, len, what));
    }

    // What is known to be synced, and therefore must be here.
    let mut known = if max_lsn > min_lsn { max_lsn } else { 0 };
    let mut last_seq = 0;
    let mut position = first.header.base;
    let mut stop = None;
    for (at, link) in chain.iter().enumerate() {
        if at > 0 && link.header.joins != position {
            if !salvage {
                return Err(missing(&link.found.path, position, link.header.base));
            }
            stop = Some((at - 1, "the next segment is missing"));
            break;
        }
        known = known.max(link.header.synced);
        position = link.header.base;
        let walk = walk(link, position, last_seq, &mut |replayed| {
            if replayed.lsn > min_lsn {
                end.batches += 1;
                end.bytes += replayed.batch.len() as u64;
                replay(replayed)?;
            }
            Ok(())
        })?;
        last_seq = walk.last_seq;
        known = known.max(walk.mark);
        position = walk.end;
        end.keep.push((link.index, position));
        let sealed = walk.stop == Stop::Sealed && at + 1 == chain.len();
        if let Stop::Bad(why) = walk.stop {
            stop = Some((at, why));
            break;
        }
        if sealed && position > min_lsn && !salvage {
            return Err(Error::corrupt(
                &link.found.path,
                link.found.file.len().unwrap_or_default(),
                format!("the segment after this one is missing; {REPAIR}"),
            ));
        }
    }
    end.last_seq = end.last_seq.max(last_seq);

    if let Some((at, why)) = stop {
        // Is there anything beyond that says that this was synced?
        let mut rest = Rest::default();
        for (later, link) in chain.iter().enumerate().skip(at) {
            let from = if later == at { position + 1 } else { link.header.base };
            if later > at {
                known = known.max(link.header.synced);
            }
            rest.search(link, from, last_seq)?;
        }
        known = known.max(rest.mark);
        let link = &chain[at];
        let offset = SEGMENT_HEADER + (position - link.header.base);
        let lost =
            (position < known && known > min_lsn) || (position < min_lsn && rest.end > min_lsn);
        if lost && !salvage {
            let what = format!(
                "{why} at log position {position}, though the log was synced up to {}; {REPAIR}",
                known.max(min_lsn)
            );
            return Err(Error::corrupt(&link.found.path, offset, what));
        }
        if rest.end > 0 || why != NOTHING {
            end.cut = Some((link.found.path.clone(), offset, why.to_string()));
        }
    } else if position < known && known > min_lsn && !salvage {
        let path = &last.found.path;
        return Err(Error::corrupt(
            path,
            SEGMENT_HEADER + (position - last_base),
            format!(
                "the log ends at position {position}, though it was synced up to {known}; {REPAIR}"
            ),
        ));
    }

    end.known = known;
    end.base = position.max(max_lsn);
    end.joins = if position < min_lsn { 0 } else { position };
    // A segment without a frame is replaced, not joined.
    if let Some(&(index, held)) = end.keep.last()
        && let Ok(header) = listing.segments[index].header
        && held == header.base
    {
        end.keep.pop();
        end.joins = end.joins.min(header.joins);
    }
    if end.joins == 0 {
        end.keep.clear();
    }
    Ok(end)
}

/// How a walk over a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A later segment joins here.
    Joined,
    /// The segment says itself that the log goes on in the next one.
    Sealed,
    /// Here is no whole frame.
    Bad(&'static str),
}

/// The bad place is what an unused place looks like.
const NOTHING: &str = "there is no frame";

struct Walk {
    /// The lsn where the log goes on.
    end: u64,
    stop: Stop,
    last_seq: u64,
    /// The greatest synced position in a frame.
    mark: u64,
}

fn walk(
    link: &Link<'_>,
    from: u64,
    mut last_seq: u64,
    each: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<Walk> {
    let Link { found, header, limit, .. } = link;
    let mut window = Window::new(&*found.file, &found.path)?;
    let full = header.base + header.capacity;
    let limit = full.min(*limit);
    let mut position = from;
    let mut mark = 0;
    let stop = loop {
        if position >= limit {
            break Stop::Joined;
        }
        let offset = SEGMENT_HEADER + (position - header.base);
        let (frame, bytes) = match frame_at(&mut window, header, position, limit, last_seq)? {
            Ok(frame) => frame,
            Err(why) => break Stop::Bad(why),
        };
        mark = mark.max(frame.synced);
        if frame.count == SEAL {
            position = full;
            break Stop::Sealed;
        }
        let payload = &bytes[FRAME_HEADER..];
        let payload_lsn = position + FRAME_HEADER as u64;
        let mut batches = Batches::new(&frame, payload);
        while let Some(batch) = batches.next() {
            let Some((seq, end, batch)) = batch else {
                let what = "a frame with a good checksum does not decode";
                return Err(Error::corrupt(&found.path, offset, what));
            };
            each(Replayed { seq, lsn: payload_lsn + end as u64, batch })?;
            last_seq = seq;
        }
        position = payload_lsn + u64::from(frame.len);
    };
    Ok(Walk { end: position, stop, last_seq, mark })
}

/// The frame at `position`, or what is wrong with it.
fn frame_at<'w>(
    window: &'w mut Window<'_>,
    header: &SegmentHeader,
    position: u64,
    limit: u64,
    last_seq: u64,
) -> Result<std::result::Result<(FrameHeader, &'w [u8]), &'static str>> {
    let offset = SEGMENT_HEADER + (position - header.base);
    let Some(head) = window.most(offset, FRAME_HEADER)?.first_chunk::<FRAME_HEADER>() else {
        return Ok(Err("the file ends inside a frame's header"));
    };
    let frame = FrameHeader::decode(head);
    if !frame.plausible(position, last_seq) {
        return Ok(Err(NOTHING));
    }
    let len = FRAME_HEADER + frame.len as usize;
    if position + len as u64 > limit {
        return Ok(Err("a frame claims more bytes than there is room for"));
    }
    let bytes = window.most(offset, len)?;
    if bytes.len() < len {
        return Ok(Err("the file ends inside a frame"));
    }
    if !frame.checks_out(bytes, header.incarnation, position) {
        return Ok(Err("the checksum of a frame does not match"));
    }
    Ok(Ok((frame, bytes)))
}

/// What whole frames beyond a bad place say.
#[derive(Debug, Default)]
struct Rest {
    /// The greatest synced position.
    mark: u64,
    /// Where the last of them ends.
    end: u64,
    /// How many bytes were looked at as frames.
    checked: u64,
}

impl Rest {
    fn search(&mut self, link: &Link<'_>, from: u64, last_seq: u64) -> Result<()> {
        let Link { found, header, limit, .. } = link;
        let mut window = Window::new(&*found.file, &found.path)?;
        let held = header.capacity.min(window.len.saturating_sub(SEGMENT_HEADER));
        let limit = (*limit).min(header.base + held);
        let mut position = from;
        while position + FRAME_HEADER as u64 <= limit {
            let offset = SEGMENT_HEADER + (position - header.base);
            let ahead = (limit - position).min(SEARCH_BYTES) as usize;
            let ahead = window.most(offset, ahead)?;
            // A frame may begin at any byte. Nearly all are ruled out by a look at the synced position.
            let maybe = (position..).zip(ahead.windows(FRAME_HEADER)).find_map(|(at, bytes)| {
                let synced = bytes[8..].first_chunk().map(|synced| u64::from_le_bytes(*synced));
                if synced.is_none_or(|synced| synced > at) {
                    return None;
                }
                let frame = FrameHeader::decode(bytes.first_chunk()?);
                let whole = FRAME_HEADER as u64 + u64::from(frame.len);
                (frame.plausible(at, last_seq) && at + whole <= limit).then_some((at, whole))
            });
            let Some((at, whole)) = maybe else {
                position += ahead.len().saturating_sub(FRAME_HEADER) as u64 + 1;
                continue;
            };
            position = at;
            self.checked += whole;
            if self.checked > SEARCH_MAX_BYTES {
                return Ok(());
            }
            if let Ok((frame, _)) = frame_at(&mut window, header, position, limit, last_seq)? {
                self.mark = self.mark.max(frame.synced);
                position += whole;
                self.end = self.end.max(position);
            } else {
                position += 1;
            }
        }
        Ok(())
    }
}

/// How much the search looks at in one go.
const SEARCH_BYTES: u64 = 256 << 10;
/// Where the search gives up: old values may look like frames, made so on purpose, and must not be able
/// to hold up a start.
const SEARCH_MAX_BYTES: u64 = 2 << 30;

/// A file, read through a window that moves forward.
struct Window<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    len: u64,
    buf: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    const BYTES: usize = 1 << 20;

    fn new(file: &'a dyn DiskFile, path: &'a Path) -> Result<Window<'a>> {
        let len = file.len().map_err(|e| Self::error(path, &e))?;
        Ok(Window { file, path, len, buf: Vec::new(), start: 0 })
    }

    fn error(path: &Path, e: &io::Error) -> Error {
        Error::io(format!("reading {}", path.display()), e)
    }

    /// `len` bytes at `offset`, or as many as the file has.
    fn most(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let end = (offset + len as u64).min(self.len);
        if offset >= end {
            return Ok(&[]);
        }
        if offset < self.start || end > self.start + self.buf.len() as u64 {
            let want = (len.max(Self::BYTES) as u64).min(self.len - offset) as usize;
            if self.buf.capacity() > 4 * Self::BYTES && want <= Self::BYTES {
                self.buf = Vec::new();
            }
            self.buf.resize(want, 0);
            self.start = offset;
            if let Err(e) = self.file.read_exact_at(&mut self.buf, offset) {
                self.buf.clear();
                return Err(Self::error(self.path, &e));
            }
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from..from + (end - offset) as usize])
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// Whether a start would be refused; otherwise it is only worth knowing (a tail that a start cuts).
    pub damage: bool,
}

/// Reads all segments in `dir` without changing anything. Without a `start` the oldest segment there is
/// is taken to be the oldest that is needed.
pub fn check(disk: &dyn Disk, dir: &Path, start: Option<LogStart>) -> Vec<Finding> {
    let done = Listing::read(disk, dir, false).and_then(|listing| {
        let oldest = listing.segments.iter().find_map(|found| found.header.ok());
        let guess = oldest.map_or(0, |header| header.base);
        let start = start.unwrap_or(LogStart { min_lsn: guess, max_lsn: guess, min_seq: 0 });
        recover(dir, &listing, start, false, &mut |_| Ok(()))
    });
    match done {
        Ok(End { cut: Some((file, offset, what)), .. }) => {
            vec![Finding { file, offset, what, damage: false }]
        }
        Ok(_) => Vec::new(),
        Err(Error::Corrupt { file, offset, what }) => {
            vec![Finding { file, offset, what, damage: true }]
        }
        Err(e) => {
            let what = e.to_string();
            vec![Finding { file: dir.to_path_buf(), offset: 0, what, damage: true }]
        }
    }
}
