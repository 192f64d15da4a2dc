//! LZF, the compression of strings in RDB files.
//!
//! ```text
//! | 000nnnnn | n + 1 bytes                         these bytes
//! | nnnooooo | oooooooo                            n + 2 bytes from o + 1 before here, n from 1 to 6
//! | 111ooooo | nnnnnnnn | oooooooo                 n + 9 bytes from there
//! ```

/// No string becomes larger than by this when it is decompressed: three bytes stand for 264 at most.
pub(crate) const MOST_TIMES: u64 = 88;

const LITERALS_MAX: usize = 32;
const MATCH_MAX: usize = 264;
const REACH: usize = 1 << 13;

/// Decompresses to exactly `len` bytes, in the place of what `out` held.
pub(crate) fn decompress(packed: &[u8], len: u64, out: &mut Vec<u8>) -> Option<()> {
    let len = usize::try_from(len).ok()?;
    out.clear();
    let mut rest = packed;
    while let Some((&control, tail)) = rest.split_first() {
        if control < 32 {
            let (literals, tail) = tail.split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(literals);
            rest = tail;
        } else {
            let (mut n, mut tail) = (usize::from(control >> 5), tail);
            if n == 7 {
                let (&more, after) = tail.split_first()?;
                n += usize::from(more);
                tail = after;
            }
            let (&low, tail) = tail.split_first()?;
            let back = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
            let from = out.len().checked_sub(back)?;
            let n = n + 2;
            if out.len() + n > len {
                return None;
            }
            if n <= back {
                out.extend_from_within(from..from + n);
            } else {
                // The match reaches into what it makes itself.
                for at in from..from + n {
                    out.push(*out.get(at)?);
                }
            }
            rest = tail;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(())
}

/// Where three bytes were seen last; kept from one string to the next for its memory alone.
#[derive(Debug, Default)]
pub(crate) struct Seen(Vec<u32>);

impl Seen {
    /// Sets and answers the position after which these bytes were seen, 0 if never.
    fn swap(&mut self, bytes: &[u8; 3], at: usize) -> usize {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        let hash = word.wrapping_mul(0x9E37_79B1) as usize >> 18;
        let mask = self.0.len() - 1;
        match self.0.get_mut(hash & mask) {
            Some(slot) => std::mem::replace(slot, at as u32) as usize,
            None => 0,
        }
    }
}

/// Compresses `bytes` in the place of what `out` held; false when that would not save more than four bytes.
pub(crate) fn compress(bytes: &[u8], out: &mut Vec<u8>, seen: &mut Seen) -> bool {
    out.clear();
    if bytes.len() <= 4 || u32::try_from(bytes.len()).is_err() {
        return false;
    }
    let room = bytes.len() - 4;
    seen.0.clear();
    seen.0.resize(bytes.len().next_power_of_two().clamp(1 << 8, 1 << 14), 0);
    let (mut at, mut literals) = (0, 0);
    while let Some(three) = bytes.get(at..).and_then(<[u8]>::first_chunk::<3>) {
        let before = seen.swap(three, at + 1);
        if let Some(from) = before.checked_sub(1)
            && at - from <= REACH
            && bytes.get(from..from + 3) == Some(&three[..])
        {
            let most = (bytes.len() - at).min(MATCH_MAX);
            let ahead = bytes.iter().skip(at).zip(bytes.iter().skip(from));
            let n = ahead.take(most).take_while(|(a, b)| a == b).count();
            put_literals(bytes.get(literals..at).unwrap_or_default(), out);
            let (back, n) = (at - from - 1, n - 2);
            if n < 7 {
                out.push((n << 5 | back >> 8) as u8);
            } else {
                out.push((7 << 5 | back >> 8) as u8);
                out.push((n - 7) as u8);
            }
            out.push(back as u8);
            at += n + 2;
            literals = at;
        } else {
            at += 1;
        }
        if out.len() + (at - literals) > room + room / 8 {
            return false;
        }
    }
    put_literals(bytes.get(literals..).unwrap_or_default(), out);
    out.len() <= room
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(LITERALS_MAX) {
        out.push((piece.len() - 1) as u8);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgekv_base::rng::Rng;

    #[test]
    fn round_trip() {
        let mut rng = Rng::seeded(5);
        let (mut packed, mut back, mut seen) = (Vec::new(), Vec::new(), Seen::default());
        let mut saved = 0;
        for round in 0..2000u64 {
            let letters = 1 + rng.below(if round % 3 == 0 { 256 } else { 6 });
            let n = rng.below(if round % 50 == 0 { 100_000 } else { 400 });
            let text: Vec<u8> = (0..n).map(|_| rng.below(letters) as u8).collect();
            if compress(&text, &mut packed, &mut seen) {
                saved += 1;
                assert!(packed.len() + 4 <= text.len());
                assert!(text.len() as u64 <= packed.len() as u64 * MOST_TIMES);
                decompress(&packed, n, &mut back).unwrap();
                assert_eq!(back, text);
                assert!(decompress(&packed, n + 1, &mut back).is_none());
                assert!(decompress(&packed, n - 1, &mut back).is_none());
            }
        }
        assert!(saved > 800, "{saved}");
        assert!(compress(&[b'a'; 1000], &mut packed, &mut seen) && packed.len() < 20);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut out = Vec::new();
        for packed in [&[0x20, 0][..], &[0x20], &[0xe0], &[0xe0, 1], &[5, 1, 2], &[0, 1, 0x20, 1]] {
            assert!(decompress(packed, 10, &mut out).is_none(), "{packed:?}");
        }
        let mut rng = Rng::seeded(7);
        for _ in 0..20_000 {
            let packed: Vec<u8> = (0..rng.below(40)).map(|_| rng.below(256) as u8).collect();
            if decompress(&packed, rng.below(200), &mut out).is_some() {
                assert!(out.len() <= 200);
            }
            assert!(out.capacity() < 1 << 12);
        }
    }
}
