//! What Redis would call a list: `listpack` while it is small by `list-max-listpack-size`, `quicklist` from
//! the moment when it is not, and `listpack` again when it has shrunk to half of that.
//!
//! Redis measures its own packed form, so the bytes of that are counted here.

use crate::limits::Limits;
use forgekv_base::number::parse_i64;

/// A packed list of Redis without an entry, in bytes.
pub(super) const EMPTY: u64 = 7;
/// With a limit in entries, Redis limits the bytes, too.
const SAFETY: u64 = 8192;

/// The bytes that an item takes in Redis's packed form.
pub(super) fn entry(item: &[u8]) -> u64 {
    let len = item.len() as u64;
    // The longest integer has twenty characters.
    let integer = if len <= 20 { parse_i64(item) } else { None };
    let body = match integer {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(-32_768..=32_767) => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(-2_147_483_648..=2_147_483_647) => 5,
        Some(_) => 9,
        None => match len {
            0..=63 => 1 + len,
            64..=4095 => 2 + len,
            _ => 5 + len,
        },
    };
    let back = match body {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    body + back
}

/// The limit in bytes and the one in entries.
fn most(limits: &Limits) -> (u64, u64) {
    match limits.list_max_listpack_size {
        fill @ 0.. => (SAFETY, fill.unsigned_abs()),
        fill => (4096 << (fill.unsigned_abs() - 1).min(4), u64::MAX),
    }
}

/// Whether a list of so many bytes in Redis's form and so many entries is too large for a listpack. A limit
/// of 0 allows none at all: every list is a quicklist then, as before Redis 7.2.
pub(super) fn is_too_large(limits: &Limits, bytes: u64, count: u64) -> bool {
    let (most_bytes, most_count) = most(limits);
    bytes > most_bytes || count > most_count
}

/// Whether a quicklist of so many bytes and entries becomes a listpack again when something is taken away.
pub(super) fn is_small_again(limits: &Limits, bytes: u64, count: u64) -> bool {
    let (most_bytes, most_count) = most(limits);
    if limits.list_max_listpack_size < 0 {
        bytes <= most_bytes / 2
    } else {
        bytes <= most_bytes && count <= most_count / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_take_what_they_take_in_redis() {
        for (item, bytes) in [
            ("", 2),
            ("a", 3),
            ("5", 2),
            ("127", 2),
            ("128", 3),
            ("-1", 3),
            ("5000", 4),
            ("40000", 5),
            ("9000000", 6),
            ("3000000000", 10),
            ("007", 5),
        ] {
            assert_eq!(entry(item.as_bytes()), bytes, "{item}");
        }
        assert_eq!(entry(&[b'x'; 100]), 103);
        assert_eq!(entry(&[b'x'; 127]), 131);
        assert_eq!(entry(&[b'x'; 5000]), 5007);
    }

    #[test]
    fn limits_are_in_bytes_or_in_entries() {
        let limits = |fill| Limits { list_max_listpack_size: fill, ..Limits::default() };
        assert!(!is_too_large(&limits(-2), 8192, 5000) && is_too_large(&limits(-2), 8193, 1));
        assert!(!is_too_large(&limits(-1), 4096, 1) && is_too_large(&limits(-1), 4097, 1));
        assert!(is_too_large(&limits(-9), 65537, 1) && !is_too_large(&limits(-5), 65536, 1));
        assert!(!is_too_large(&limits(5), 8192, 5) && is_too_large(&limits(5), 10, 6));
        assert!(is_too_large(&limits(5), 8193, 1) && is_too_large(&limits(0), 10, 1));
        assert!(is_small_again(&limits(-2), 4096, 9) && !is_small_again(&limits(-2), 4097, 1));
        assert!(is_small_again(&limits(5), 100, 2) && !is_small_again(&limits(5), 100, 3));
    }
}
