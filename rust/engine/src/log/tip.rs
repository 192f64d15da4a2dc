//! The end of the log: who appends reserves its place here, and copies its bytes elsewhere.
//!
//! All that every append changes lies in one line of cache with the lock around it, since that line has to
//! come over from the core that appended last. What only frames and segments change is kept apart.

use super::FRAME_HEADER;
use super::format::{self, SEAL};
use super::outgoing::Frame;
use super::segment::Segment;
use forgekv_base::varint;
use std::sync::Arc;

/// Why nothing is taken any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Failed,
    Closed,
}

/// What became of the wish for a place.
#[derive(Debug)]
pub(super) enum Reserved {
    Place(Place),
    /// Neither this segment nor a prepared next one has the room.
    NoRoom,
    Refused(Refusal),
}

/// Where a batch, and what stands before it, has its place. Whoever has been given one fills it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where a frame that seals the segment before has to stand.
    pub(super) seal_at: Option<u64>,
    /// Where the batch begins, or the header of its frame.
    pub(super) at: u64,
    /// Whether a frame begins.
    pub(super) begins: bool,
    /// The distance of the sequence number from the one before in the frame.
    pub(super) seq_delta: u64,
    pub(super) seq: u64,
    /// The position just after the batch.
    pub(super) end: u64,
    /// Whether the next segment is due.
    pub(super) prepare_next: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Tip {
    /// Where batches end in the segment.
    batch_end: u64,
    /// The lsn from which on the next segment should be prepared; `u64::MAX` once that was asked for.
    prepare_at: u64,
    /// The sequence number of the last batch.
    batch_seq: u64,
    /// The last sequence number drawn, by a batch or otherwise.
    pub(super) drawn: u64,
    rest: Box<Rest>,
    /// The batches in the open frame.
    count: u32,
    /// The stripes in which something was put since all was taken last: bit n stands for stripe n.
    pub(super) stripes: u16,
    /// Whether the last frame still takes batches.
    open: bool,
    /// Whether there is a refusal.
    refuses: bool,
}

/// What appends seldom look at.
#[derive(Debug)]
struct Rest {
    /// The frames since all was taken last, the last of them open or not.
    frames: Vec<Frame>,
    segment: Arc<Segment>,
    next: Option<Arc<Segment>>,
    refusal: Option<Refusal>,
}

impl Tip {
    /// A log that goes on at the start of `segment`.
    pub(super) fn new(segment: Arc<Segment>, batch_seq: u64) -> Tip {
        Tip {
            batch_end: segment.batch_end(),
            prepare_at: segment.prepare_at(),
            batch_seq,
            drawn: batch_seq,
            count: 0,
            stripes: 0,
            open: false,
            refuses: false,
            rest: Box::new(Rest { frames: Vec::new(), segment, next: None, refusal: None }),
        }
    }

    /// Reserves the place of a batch of `len` bytes at `position`, the end of the log, and draws its
    /// sequence number: under one lock, so that the order of numbers is the order of bytes.
    #[inline]
    pub(super) fn reserve(&mut self, position: u64, len: usize) -> Reserved {
        if self.refuses {
            return self.refused();
        }
        let frame_room = if self.open { 0 } else { FRAME_HEADER as u64 };
        let room = format::batch_room(len);
        let (mut at, mut seal_at) = (position, None);
        if position + frame_room + room > self.batch_end {
            let Some(base) = self.switch(position, FRAME_HEADER as u64 + room) else {
                return Reserved::NoRoom;
            };
            (at, seal_at) = (base, Some(position));
        }
        let seq = self.drawn + 1;
        self.drawn = seq;
        let begins = !self.open;
        let mut end = at;
        if begins {
            self.begin(at, seq, 0);
            self.open = true;
            self.batch_seq = seq;
            end += FRAME_HEADER as u64;
        }
        let seq_delta = seq - self.batch_seq;
        end += (varint::len(len as u64) + varint::len(seq_delta) + len) as u64;
        self.batch_seq = seq;
        self.count += 1;
        let prepare_next = end >= self.prepare_at;
        if prepare_next {
            self.prepare_at = u64::MAX;
        }
        Reserved::Place(Place { seal_at, at, begins, seq_delta, seq, end, prepare_next })
    }

    #[cold]
    fn refused(&self) -> Reserved {
        self.rest.refusal.clone().map_or(Reserved::NoRoom, Reserved::Refused)
    }

    /// Begins a last frame, without batches: it carries the synced position. A seal's room is there.
    pub(super) fn begin_mark(&mut self, position: u64) {
        self.end_frame();
        self.begin(position, self.batch_seq, 0);
    }

    /// The open frame takes no more batches.
    fn end_frame(&mut self) {
        if std::mem::take(&mut self.open)
            && let Some(frame) = self.rest.frames.last_mut()
        {
            frame.count = self.count;
        }
        self.count = 0;
    }

    fn begin(&mut self, lsn: u64, first_seq: u64, count: u32) {
        let segment = Arc::clone(&self.rest.segment);
        self.rest.frames.push(Frame { segment, lsn, first_seq, count });
    }

    /// Goes on in the next segment, if there is one that takes `room` bytes. Answers its base.
    #[cold]
    fn switch(&mut self, position: u64, room: u64) -> Option<u64> {
        let next = self.rest.next.take_if(|next| next.takes(room))?;
        self.end_frame();
        self.begin(position, self.batch_seq, SEAL);
        self.batch_end = next.batch_end();
        self.prepare_at = next.prepare_at();
        let base = next.base;
        self.rest.segment = next;
        Some(base)
    }

    /// Takes the frames, leaving the empty `frames` in their place. Answers the last batch's number.
    pub(super) fn take(&mut self, frames: &mut Vec<Frame>) -> u64 {
        self.end_frame();
        self.stripes = 0;
        std::mem::swap(&mut self.rest.frames, frames);
        self.batch_seq
    }

    /// Whether there is a next segment that takes `room` bytes, frame header included.
    pub(super) fn has_next(&self, room: u64) -> bool {
        self.rest.next.as_ref().is_some_and(|next| next.takes(room))
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.rest.segment
    }

    /// Puts a prepared segment behind the current one.
    pub(super) fn set_next(&mut self, next: Arc<Segment>) {
        self.rest.next = Some(next);
    }

    /// Takes the next segment away again, if it is not in use yet.
    pub(super) fn take_next(&mut self) -> Option<Arc<Segment>> {
        self.rest.next.take()
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.rest.refusal.as_ref()
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        // Closed is for ever.
        if self.rest.refusal != Some(Refusal::Closed) {
            self.rest.refusal = Some(refusal);
        }
        self.refuses = true;
    }
}
