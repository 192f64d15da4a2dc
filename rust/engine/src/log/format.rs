//! The bytes of the log: segment headers and frames. `FORMAT.md`, section "Log", draws them.
//!
//! Two rules make a frame unmistakable. Its CRC covers the incarnation and the position it was written
//! for, so that what an earlier life of a recycled segment left behind never checks out. And the header
//! fills a block of its own that is durable before the segment gets its name, so that no later write
//! can tear it: a header that does not check out is damage, never a crash.

use super::{FRAME_HEADER, SEGMENT_HEADER};
use forgekv_base::bytes::Reader;
use forgekv_base::varint;

const MAGIC: &[u8; 8] = b"forgelog";
const VERSION: u32 = 1;
/// The part of a segment header that carries anything; zeros follow.
const HEADER_USED: usize = 68;
/// The `count` of a frame that says: the rest of this segment is unused, go on in the next one.
pub(super) const SEAL: u32 = u32::MAX;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Random, one for each life of the log: from an open or a restart to the end of the process.
    pub incarnation: u64,
    /// The lsn of the first byte after the header.
    pub base: u64,
    /// Where the log before this segment ends: what older segments hold from there on is void. Equal to
    /// `base` save after lost positions; 0 when nothing older is needed at all.
    pub joins: u64,
    /// How many bytes of frames fit.
    pub capacity: u64,
    /// Everything up to here was synced when the segment was made.
    pub synced: u64,
    /// No sequence number drawn before the segment was made is greater.
    pub seq: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for field in [self.incarnation, self.base, self.joins, self.capacity, self.synced, self.seq]
        {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_USED);
        out.resize(SEGMENT_HEADER as usize, 0);
        out
    }

    /// Decodes; the error says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadHeader> {
        let used = bytes.get(..HEADER_USED).ok_or(BadHeader::Damaged("the header is cut short"))?;
        let (body, crc) = used.split_at(HEADER_USED - 4);
        if body.get(..8) != Some(&MAGIC[..]) {
            return Err(BadHeader::Damaged("this is no log segment (wrong magic)"));
        }
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(BadHeader::Damaged("the header's checksum does not match"));
        }
        let mut r = Reader::new(body);
        let header = (|| {
            r.bytes(8)?;
            let version = r.u32_le()?;
            r.u32_le()?;
            let header = SegmentHeader {
                incarnation: r.u64_le()?,
                base: r.u64_le()?,
                joins: r.u64_le()?,
                capacity: r.u64_le()?,
                synced: r.u64_le()?,
                seq: r.u64_le()?,
            };
            Some((version, header))
        })();
        let (version, header) = header.ok_or(BadHeader::Damaged("the header is cut short"))?;
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        if header.joins > header.base || header.base.checked_add(header.capacity).is_none() {
            return Err(BadHeader::Damaged("the header's positions make no sense"));
        }
        Ok(header)
    }
}

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged(&'static str),
    Version(u32),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes after the header.
    pub len: u32,
    pub crc: u32,
    /// Everything up to this lsn was synced when the frame was written.
    pub synced: u64,
    /// The sequence number of the first batch; of the last one before, in a frame without batches.
    pub first_seq: u64,
    /// The number of batches, or [`SEAL`].
    pub count: u32,
}

impl FrameHeader {
    /// Fills in the header at the start of `frame`, whose payload is complete.
    pub(super) fn fill(
        frame: &mut [u8],
        incarnation: u64,
        lsn: u64,
        synced: u64,
        first_seq: u64,
        count: u32,
    ) {
        let len = (frame.len() - FRAME_HEADER) as u32;
        frame[..4].copy_from_slice(&len.to_le_bytes());
        frame[8..16].copy_from_slice(&synced.to_le_bytes());
        frame[16..24].copy_from_slice(&first_seq.to_le_bytes());
        frame[24..28].copy_from_slice(&count.to_le_bytes());
        let crc = crc(incarnation, lsn, len, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8; FRAME_HEADER]) -> FrameHeader {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&rest[at..at + 8]);
            u64::from_le_bytes(word)
        };
        FrameHeader {
            len: u32::from_le_bytes([*a, *b, *c, *d]),
            crc: u32::from_le_bytes([*e, *f, *g, *h]),
            synced: word(0),
            first_seq: word(8),
            count: u32::from_le_bytes([rest[16], rest[17], rest[18], rest[19]]),
        }
    }

    /// Whether this may be a frame at `lsn` that follows a batch with `last_seq`: what can be told
    /// without the checksum, and what all but never holds for other bytes.
    pub(super) fn plausible(&self, lsn: u64, last_seq: u64) -> bool {
        self.synced <= lsn
            && match self.count {
                // Zeros are no frame.
                0 => self.len == 0 && self.first_seq >= last_seq && self.first_seq > 0,
                SEAL => self.len == 0 && self.first_seq >= last_seq,
                // A batch takes two bytes at least.
                n => self.first_seq > last_seq && u64::from(n) * 2 <= u64::from(self.len),
            }
    }

    /// Whether `frame`, header and payload, is what was written at `lsn` in this incarnation.
    pub(super) fn checks_out(&self, frame: &[u8], incarnation: u64, lsn: u64) -> bool {
        frame.get(8..).is_some_and(|rest| crc(incarnation, lsn, self.len, rest) == self.crc)
    }
}

fn crc(incarnation: u64, lsn: u64, len: u32, rest: &[u8]) -> u32 {
    let mut prefix = [0; 20];
    prefix[..8].copy_from_slice(&incarnation.to_le_bytes());
    prefix[8..16].copy_from_slice(&lsn.to_le_bytes());
    prefix[16..].copy_from_slice(&len.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&prefix);
    hasher.update(rest);
    hasher.finalize()
}

/// The most bytes that [`put_batch`] adds for a batch of `len` bytes.
pub(super) fn batch_room(len: usize) -> u64 {
    (varint::len(len as u64) + varint::MAX_LEN + len) as u64
}

/// Appends one batch: its length, the distance of its sequence number from the one before, its bytes.
#[inline]
pub(super) fn put_batch(out: &mut Vec<u8>, seq_delta: u64, batch: &[u8]) {
    varint::put(out, batch.len() as u64);
    varint::put(out, seq_delta);
    out.extend_from_slice(batch);
}

/// The batches of one frame.
pub(super) struct Batches<'a> {
    reader: Reader<'a>,
    left: u32,
    seq: u64,
    len: usize,
}

impl<'a> Batches<'a> {
    pub(super) fn new(header: &FrameHeader, payload: &'a [u8]) -> Self {
        let left = if header.count == SEAL { 0 } else { header.count };
        Batches { reader: Reader::new(payload), left, seq: header.first_seq, len: payload.len() }
    }

    /// The next batch with its sequence number and its end within the payload. `None` at the end;
    /// `Some(None)` when the payload is not what its header says.
    pub(super) fn next(&mut self) -> Option<Option<(u64, usize, &'a [u8])>> {
        if self.left == 0 {
            return if self.reader.is_empty() { None } else { Some(None) };
        }
        self.left -= 1;
        Some(self.read())
    }

    fn read(&mut self) -> Option<(u64, usize, &'a [u8])> {
        let len = usize::try_from(self.reader.varint()?).ok()?;
        self.seq = self.seq.checked_add(self.reader.varint()?)?;
        let batch = self.reader.bytes(len)?;
        Some((self.seq, self.len - self.reader.remaining(), batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_header_round_trip_and_every_flip() {
        let header =
            SegmentHeader { incarnation: 7, base: 900, joins: 800, capacity: 5, synced: 6, seq: 3 };
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in 0..HEADER_USED {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(SegmentHeader::decode(&bad).is_err(), "{at}.{bit}");
            }
        }
        for cut in 0..HEADER_USED {
            assert!(SegmentHeader::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let header =
            SegmentHeader { incarnation: 7, base: 0, joins: 0, capacity: 5, synced: 0, seq: 0 };
        let mut bytes = header.encode();
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..HEADER_USED - 4]);
        bytes[HEADER_USED - 4..HEADER_USED].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Version(2)));
    }

    #[test]
    fn frame_round_trip_and_every_flip() {
        let mut frame = vec![0; FRAME_HEADER];
        put_batch(&mut frame, 0, b"first");
        put_batch(&mut frame, 300, b"");
        FrameHeader::fill(&mut frame, 11, 4000, 3000, 77, 2);
        let good = |frame: &[u8], incarnation, lsn| {
            let header = FrameHeader::decode(frame.first_chunk().unwrap());
            header.len as usize == frame.len() - FRAME_HEADER
                && header.checks_out(frame, incarnation, lsn)
        };
        assert!(good(&frame, 11, 4000));
        assert!(!good(&frame, 12, 4000));
        assert!(!good(&frame, 11, 4001));
        let header = FrameHeader::decode(frame.first_chunk().unwrap());
        assert!(header.plausible(4000, 76) && !header.plausible(4000, 77));
        assert!(!header.plausible(2999, 76));
        let mut batches = Batches::new(&header, &frame[FRAME_HEADER..]);
        assert_eq!(batches.next(), Some(Some((77, 7, &b"first"[..]))));
        assert_eq!(batches.next(), Some(Some((377, 10, &b""[..]))));
        assert_eq!(batches.next(), None);
        for at in 0..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 0x10;
            assert!(!good(&bad, 11, 4000), "{at}");
        }
    }
}
