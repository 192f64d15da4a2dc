//! What has been appended and not yet handed to the operating system.
//!
//! One buffer holds whole frames, one after the other, the last of them still open. Room for a frame's
//! header is left when the frame begins, so every batch knows its position at once; the header is
//! filled in by the writer, who then has the buffer to itself. Buffers are swapped, not copied: in the
//! steady state nothing is allocated, and nothing is zeroed only to be overwritten.

use super::format::{self, FrameHeader, SEAL};
use super::segment::Segment;
use super::{Appended, FRAME_HEADER};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A buffer that grew beyond this is given back once it is written.
const KEEP_BYTES: usize = 1 << 20;

/// A frame in the buffer.
#[derive(Debug)]
struct Frame {
    segment: Arc<Segment>,
    /// Where it starts in the buffer, and in the log.
    at: usize,
    lsn: u64,
    first_seq: u64,
    count: u32,
}

/// What one write hands over: the segment, the lsn, and where the bytes are in the buffer.
pub(super) type Pieces = SmallVec<[(Arc<Segment>, u64, Range<usize>); 2]>;

/// Frames and their bytes, on the way to the disk.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    frames: Vec<Frame>,
}

impl Outgoing {
    /// Fills in the headers, and gives the pieces to write, in order: a single one, unless the log moves
    /// to another segment.
    pub(super) fn finish(&mut self, synced: u64) -> Pieces {
        let mut pieces = Pieces::new();
        let mut end = self.bytes.len();
        for frame in self.frames.iter().rev() {
            FrameHeader::fill(
                &mut self.bytes[frame.at..end],
                frame.segment.incarnation,
                frame.lsn,
                synced.min(frame.lsn),
                frame.first_seq,
                frame.count,
            );
            match pieces.last_mut() {
                Some((segment, lsn, range)) if Arc::ptr_eq(segment, &frame.segment) => {
                    *lsn = frame.lsn;
                    range.start = frame.at;
                }
                _ => pieces.push((Arc::clone(&frame.segment), frame.lsn, frame.at..end)),
            }
            end = frame.at;
        }
        pieces.reverse();
        pieces
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }
}

/// Why nothing is taken any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Failed,
    Closed,
}

/// What became of an append.
#[derive(Debug)]
pub(super) enum Put {
    /// Done; `prepare_next` says that the next segment is due.
    Done {
        appended: Appended,
        prepare_next: bool,
    },
    /// Neither this segment nor a prepared next one has the room.
    NoRoom,
    Refused(Refusal),
}

/// The pending buffer and the end of the log. What every append changes stands together, at the end:
/// each line of cache that it touches has to come over from the core that appended last.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Pending {
    /// The frames in the buffer, the last of them open or not.
    frames: Vec<Frame>,
    segment: Arc<Segment>,
    next: Option<Arc<Segment>>,
    refusal: Option<Refusal>,
    /// Whole frames, and the one that is open.
    bytes: Vec<u8>,
    /// The lsn of the next byte.
    position: u64,
    /// Where batches end in the segment.
    batch_end: u64,
    /// The lsn from which on the next segment should be prepared; `u64::MAX` once that was asked for.
    prepare_at: u64,
    last_seq: u64,
    /// The batches in the open frame.
    count: u32,
    /// Whether the last frame still takes batches.
    open: bool,
}

impl Pending {
    /// A log that goes on at the start of `segment`.
    pub(super) fn new(segment: Arc<Segment>, last_seq: u64) -> Pending {
        Pending {
            frames: Vec::new(),
            next: None,
            refusal: None,
            bytes: Vec::new(),
            position: segment.base,
            batch_end: segment.batch_end(),
            prepare_at: segment.prepare_at(),
            last_seq,
            count: 0,
            open: false,
            segment,
        }
    }

    /// Copies `batch` to the end of the log and draws its sequence number.
    #[inline]
    pub(super) fn put(&mut self, batch: &[u8], seq: &AtomicU64) -> Put {
        if let Some(refusal) = &self.refusal {
            return Put::Refused(refusal.clone());
        }
        let frame_room = if self.open { 0 } else { FRAME_HEADER as u64 };
        let room = format::batch_room(batch.len());
        if self.position + frame_room + room > self.batch_end
            && !self.switch(FRAME_HEADER as u64 + room)
        {
            return Put::NoRoom;
        }
        // Drawn under the lock, so that the order of numbers is the order of bytes.
        let seq = seq.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.open {
            self.begin(seq, 0);
            self.open = true;
            self.last_seq = seq;
        }
        let before = self.bytes.len();
        format::put_batch(&mut self.bytes, seq - self.last_seq, batch);
        self.position += (self.bytes.len() - before) as u64;
        self.last_seq = seq;
        self.count += 1;
        let prepare_next = self.position >= self.prepare_at;
        if prepare_next {
            self.prepare_at = u64::MAX;
        }
        Put::Done { appended: Appended { seq, lsn: self.position }, prepare_next }
    }

    /// Appends a last frame, without batches: it carries the synced position. A seal's room is there.
    pub(super) fn put_mark(&mut self) {
        self.end_frame();
        self.begin(self.last_seq, 0);
    }

    /// The open frame takes no more batches.
    fn end_frame(&mut self) {
        if std::mem::take(&mut self.open)
            && let Some(frame) = self.frames.last_mut()
        {
            frame.count = self.count;
        }
        self.count = 0;
    }

    fn begin(&mut self, first_seq: u64, count: u32) {
        self.frames.push(Frame {
            segment: Arc::clone(&self.segment),
            at: self.bytes.len(),
            lsn: self.position,
            first_seq,
            count,
        });
        self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        self.position += FRAME_HEADER as u64;
    }

    /// Goes on in the next segment, if there is one that takes `room` bytes.
    #[cold]
    fn switch(&mut self, room: u64) -> bool {
        let Some(next) = self.next.take_if(|next| next.takes(room)) else {
            return false;
        };
        self.end_frame();
        self.begin(self.last_seq, SEAL);
        self.position = next.base;
        self.batch_end = next.batch_end();
        self.prepare_at = next.prepare_at();
        self.segment = next;
        true
    }

    /// Takes everything out, leaving the empty `out` in its place. Answers the end of the log.
    pub(super) fn take(&mut self, out: &mut Outgoing) -> (u64, u64) {
        self.end_frame();
        std::mem::swap(&mut self.bytes, &mut out.bytes);
        std::mem::swap(&mut self.frames, &mut out.frames);
        (self.position, self.last_seq)
    }

    /// Whether there is a next segment that takes `room` bytes, frame header included.
    pub(super) fn has_next(&self, room: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.takes(room))
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The lsn of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Puts a prepared segment behind the current one.
    pub(super) fn set_next(&mut self, next: Arc<Segment>) {
        self.next = Some(next);
    }

    /// Takes the next segment away again, if it is not in use yet.
    pub(super) fn take_next(&mut self) -> Option<Arc<Segment>> {
        self.next.take()
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        // Closed is for ever.
        if self.refusal != Some(Refusal::Closed) {
            self.refusal = Some(refusal);
        }
    }
}
