//! LEB128: an unsigned integer in 1 to 10 bytes, seven bits a byte, low bits first, the high bit
//! of a byte saying that another follows.
//!
//! Encoding is always the shortest. Decoding refuses a number wider than 64 bits but accepts a
//! padded one, as every LEB128 reader does.

/// The most bytes one number takes.
pub const MAX_LEN: usize = 10;

/// Appends `value`.
#[inline]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number at the start of `bytes` and how many bytes it took; `None` when it is cut short or
/// does not fit.
#[inline]
pub fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = u64::from(first & 0x7f);
    for (i, &byte) in bytes.iter().enumerate().take(MAX_LEN).skip(1) {
        // The tenth byte has room for one bit.
        if i == MAX_LEN - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// How many bytes [`put`] writes for `value`.
#[inline]
pub fn len(value: u64) -> usize {
    // Bits divided by seven, rounded up, and one byte for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn borders() {
        let mut cases = vec![0, 1, u64::MAX];
        cases.extend((1..64).flat_map(|b| [(1u64 << b) - 1, 1 << b, (1 << b) + 1]));
        for value in cases {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), len(value), "{value}");
            assert_eq!(get(&out), Some((value, out.len())));
            for cut in 0..out.len() {
                assert_eq!(get(&out[..cut]), None);
            }
        }
        assert_eq!(get(&[0x80, 0x00]), Some((0, 2)));
        assert_eq!(get(&[0xff; 10]), None);
        assert_eq!(get(&[0x80; 20]), None);
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
    }

    proptest! {
        #[test]
        fn round_trip(value: u64, tail: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, value);
            let width = out.len();
            out.extend_from_slice(&tail);
            prop_assert_eq!(get(&out), Some((value, width)));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            if let Some((_, used)) = get(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
