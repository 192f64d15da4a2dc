//! What was appended, on its way to the operating system.
//!
//! Each stripe has a part of the log's bytes, as pieces. The writer takes all stripes at once, puts the
//! pieces in order, and fills in the headers of the frames. Buffers are swapped, and copied only where more
//! than one stripe has something: in the steady state nothing is allocated, and nothing is zeroed only to
//! be overwritten.

use super::FRAME_HEADER;
use super::format::{self, FrameHeader, SEAL};
use super::segment::Segment;
use super::tip::Place;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// A buffer that grew beyond this is given back once it is written.
const KEEP_BYTES: usize = 1 << 20;

/// A frame: batches that one write hands over.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) segment: Arc<Segment>,
    pub(super) lsn: u64,
    pub(super) first_seq: u64,
    pub(super) count: u32,
}

/// Bytes that lie side by side in a stripe and in the log.
#[derive(Debug, Clone, Copy)]
struct Piece {
    lsn: u64,
    /// Where it starts in the stripe; it ends where the next one starts.
    at: usize,
}

/// A part of what is pending: what some of the threads have appended.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the last piece ends in the log.
    end: u64,
}

impl Stripe {
    /// Puts a batch at its place, and what has to stand before it; headers are filled in later.
    #[inline]
    pub(super) fn put(&mut self, place: &Place, batch: &[u8]) {
        if let Some(seal_at) = place.seal_at {
            self.put_header(seal_at);
        }
        self.go_to(place.at);
        if place.begins {
            self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        }
        format::put_batch(&mut self.bytes, place.seq_delta, batch);
        self.end = place.end;
    }

    /// Leaves the room of a frame's header.
    pub(super) fn put_header(&mut self, lsn: u64) {
        self.go_to(lsn);
        self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        self.end = lsn + FRAME_HEADER as u64;
    }

    #[inline]
    fn go_to(&mut self, lsn: u64) {
        if self.end != lsn || self.pieces.is_empty() {
            self.pieces.push(Piece { lsn, at: self.bytes.len() });
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.pieces.clear();
        self.pieces.shrink_to(KEEP_BYTES / size_of::<Piece>());
    }

    /// The first piece from `next` on: where it stands in the log, and its bytes.
    fn piece(&self, next: usize) -> Option<(u64, &[u8])> {
        let piece = self.pieces.get(next)?;
        let end = self.pieces.get(next + 1).map_or(self.bytes.len(), |later| later.at);
        Some((piece.lsn, self.bytes.get(piece.at..end)?))
    }
}

/// What one write hands over: the segment, the lsn, and where the bytes are in the buffer.
pub(super) type Writes = SmallVec<[(Arc<Segment>, u64, Range<usize>); 2]>;

/// Frames and their bytes, taken out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// One for each stripe that was taken, by its number.
    taken: Vec<Stripe>,
    pub(super) frames: Vec<Frame>,
    /// The bytes in order, once they are.
    bytes: Vec<u8>,
    /// The stripes that had something last time.
    pub(super) expected: u16,
}

impl Outgoing {
    /// Takes what is in stripe number `n`, leaving an empty one in its place.
    pub(super) fn take(&mut self, n: usize, stripe: &mut Stripe) {
        if self.taken.len() <= n {
            self.taken.resize_with(n + 1, Stripe::default);
        }
        if let Some(taken) = self.taken.get_mut(n) {
            std::mem::swap(taken, stripe);
        }
    }

    /// Brings the pieces of all stripes into the order of the log.
    fn put_in_order(&mut self) {
        let is_used = |stripe: &&mut Stripe| !stripe.pieces.is_empty();
        let mut used: SmallVec<[&mut Stripe; 16]> = self.taken.iter_mut().filter(is_used).collect();
        if let [only] = used.as_mut_slice() {
            // Its pieces are in order, and nothing is between them.
            std::mem::swap(&mut self.bytes, &mut only.bytes);
            return;
        }
        self.bytes.reserve(used.iter().map(|stripe| stripe.bytes.len()).sum());
        let mut next: SmallVec<[(&Stripe, usize); 16]> =
            used.iter().map(|stripe| (&**stripe, 0)).collect();
        loop {
            let heads = next.iter_mut().filter_map(|(stripe, n)| {
                let (lsn, bytes) = stripe.piece(*n)?;
                Some((lsn, bytes, n))
            });
            let Some((_, bytes, n)) = heads.min_by_key(|(lsn, ..)| *lsn) else { return };
            self.bytes.extend_from_slice(bytes);
            *n += 1;
        }
    }

    /// Puts everything in order, fills in the headers, and gives the pieces to write, in order: a single
    /// one, unless the log moves to another segment.
    pub(super) fn finish(&mut self, synced: u64) -> Writes {
        self.put_in_order();
        let mut writes = Writes::new();
        let mut at = 0;
        for (n, frame) in self.frames.iter().enumerate() {
            // A frame reaches to the next one; nothing follows a seal in its segment.
            let end = match self.frames.get(n + 1) {
                _ if frame.count == SEAL => at + FRAME_HEADER,
                Some(next) => at + (next.lsn - frame.lsn) as usize,
                None => self.bytes.len(),
            };
            FrameHeader::fill(
                &mut self.bytes[at..end],
                frame.segment.incarnation,
                frame.lsn,
                synced.min(frame.lsn),
                frame.first_seq,
                frame.count,
            );
            match writes.last_mut() {
                Some((segment, _, range)) if Arc::ptr_eq(segment, &frame.segment) => {
                    range.end = end;
                }
                _ => writes.push((Arc::clone(&frame.segment), frame.lsn, at..end)),
            }
            at = end;
        }
        writes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.taken.iter_mut().for_each(Stripe::clear);
    }
}
