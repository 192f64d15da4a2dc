//! Arithmetic in the C compiler's `long double`, for the two commands whose replies show it:
//! INCRBYFLOAT and HINCRBYFLOAT.
//!
//! On x86-64 that is the 80-bit extended format, which Rust has no type for; the shim in
//! `longdouble.c` works on 16 opaque bytes. Text goes in as `strtold` reads it and comes out in
//! plain decimal with at most 17 digits after the point and no trailing zeros.
#![expect(unsafe_code, reason = "calls the C shim around long double")]

use std::cmp::Ordering;
use std::ffi::{c_char, c_int};
use std::fmt;

/// A text of this many bytes or more is refused as a number; a printed number is never longer
/// (the largest long double has 4933 digits before the point).
const MAX_TEXT: usize = 5 * 1024;

unsafe extern "C" {
    fn forgekv_ld_parse(text: *const c_char, len: usize, out: *mut u8) -> c_int;
    fn forgekv_ld_add(a: *const u8, b: *const u8, sum: *mut u8);
    fn forgekv_ld_subtract(a: *const u8, b: *const u8, difference: *mut u8);
    fn forgekv_ld_compare(a: *const u8, b: *const u8) -> c_int;
    fn forgekv_ld_max(out: *mut u8);
    fn forgekv_ld_finite(a: *const u8) -> c_int;
    fn forgekv_ld_format(a: *const u8, out: *mut c_char, cap: usize) -> c_int;
}

/// Why a sum could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatError {
    /// One of the texts is not a number in range.
    NotAFloat,
    /// The sum, or one of its parts, is not finite.
    NanOrInfinity,
}

impl fmt::Display for FloatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAFloat => "not a valid float",
            Self::NanOrInfinity => "NaN or Infinity",
        })
    }
}

impl std::error::Error for FloatError {}

/// The sum of two numbers given as text, as text.
pub fn add(a: &[u8], b: &[u8]) -> Result<Vec<u8>, FloatError> {
    let a = LongDouble::parse(a).ok_or(FloatError::NotAFloat)?;
    let b = LongDouble::parse(b).ok_or(FloatError::NotAFloat)?;
    let sum = a.add(&b);
    if sum.is_nan_or_inf() { Err(FloatError::NanOrInfinity) } else { Ok(sum.format()) }
}

/// A C `long double`, padded with zeros to 16 bytes.
#[derive(Clone, Copy)]
pub struct LongDouble([u8; 16]);

impl LongDouble {
    /// Zero: all bits are.
    pub const ZERO: Self = Self([0; 16]);

    /// The largest finite number.
    pub fn largest() -> Self {
        let mut out = [0u8; 16];
        // SAFETY: an array of 16 bytes, ours to write.
        unsafe { forgekv_ld_max(out.as_mut_ptr()) };
        Self(out)
    }

    /// The number `text` is, all of it. Infinity by name is a number; NaN is not, nor is one that
    /// overflows or underflows to zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT || text.first().is_none_or(|&b| is_space(b)) {
            return None;
        }
        // Everyday numbers are short: no need to clear 5 KiB for them.
        if text.len() < 64 {
            Self::parse_in([0; 64], text)
        } else {
            Self::parse_in([0; MAX_TEXT], text)
        }
    }

    fn parse_in<const N: usize>(mut room: [u8; N], text: &[u8]) -> Option<Self> {
        debug_assert!(text.len() < N);
        room[..text.len()].copy_from_slice(text);
        let mut out = [0u8; 16];
        // SAFETY: `room` is longer than `text` and was zeroed, so a 0 stands at `text.len()` and
        // the shim reads no further; `out` is the 16 bytes it may write.
        let ok = unsafe { forgekv_ld_parse(room.as_ptr().cast(), text.len(), out.as_mut_ptr()) };
        (ok == 1).then_some(Self(out))
    }

    /// The sum of both.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        let mut sum = [0u8; 16];
        // SAFETY: three arrays of 16 bytes; two are only read, the third is ours to write.
        unsafe { forgekv_ld_add(self.0.as_ptr(), other.0.as_ptr(), sum.as_mut_ptr()) };
        Self(sum)
    }

    /// This number less `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut difference = [0u8; 16];
        // SAFETY: three arrays of 16 bytes; two are only read, the third is ours to write.
        unsafe {
            forgekv_ld_subtract(self.0.as_ptr(), other.0.as_ptr(), difference.as_mut_ptr());
        }
        Self(difference)
    }

    /// Which is larger; `None` when one of them is NaN.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        // SAFETY: two arrays of 16 bytes, only read.
        match unsafe { forgekv_ld_compare(self.0.as_ptr(), other.0.as_ptr()) } {
            -1 => Some(Ordering::Less),
            0 => Some(Ordering::Equal),
            1 => Some(Ordering::Greater),
            _ => None,
        }
    }

    /// Whether this is NaN or an infinity.
    pub fn is_nan_or_inf(&self) -> bool {
        // SAFETY: an array of 16 bytes, only read.
        unsafe { forgekv_ld_finite(self.0.as_ptr()) == 0 }
    }

    /// Plain decimal text: at most 17 digits after the point, no trailing zeros, no `-0`.
    pub fn format(&self) -> Vec<u8> {
        let mut room = [0u8; MAX_TEXT];
        // SAFETY: the shim reads 16 bytes and writes at most `MAX_TEXT`, the size of `room`.
        let len = unsafe { forgekv_ld_format(self.0.as_ptr(), room.as_mut_ptr().cast(), MAX_TEXT) };
        let mut text = &room[..usize::try_from(len).unwrap_or(0).min(MAX_TEXT - 1)];
        if text.contains(&b'.') {
            while let [head @ .., b'0'] = text {
                text = head;
            }
            if let [head @ .., b'.'] = text {
                text = head;
            }
        }
        if text == b"-0" { b"0".to_vec() } else { text.to_vec() }
    }
}

impl fmt::Debug for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongDouble({})", String::from_utf8_lossy(&self.format()))
    }
}

/// What C's `isspace` says in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        match add(a.as_bytes(), b.as_bytes()) {
            Ok(text) => String::from_utf8(text).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    /// Replies of INCRBYFLOAT on redis-server 7.0, x86-64.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn sums_as_redis_prints_them() {
        for (a, b, expected) in [
            ("0", "0.1", "0.1"),
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "1.1", "3001.10000000000000009"),
            ("1.5", "-1.5", "0"),
            ("-0", "-0.0", "0"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "1e-18", "0"),
            ("0", "1e-400", "0"),
            ("0", "0x10", "16"),
            ("0", "0x1p3", "8"),
            ("1", "17179869184", "17179869185"),
            ("12345678901234567890", "1", "12345678901234567891"),
            ("5e18", "0.5", "5000000000000000000.5"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
        assert!(sum("0", "1e400").starts_with("10000000000000000000281880683947"));
    }

    #[test]
    fn what_is_refused() {
        for text in
            ["", " 1", "1 ", "nan", "1e", ".", "++1", "0x", "1\0", "infin", "1e99999", "1e-99999"]
        {
            assert_eq!(sum("0", text), "not a valid float", "{text:?}");
            assert_eq!(sum(text, "0"), "not a valid float", "{text:?}");
        }
        for text in ["inf", "-inf", "+INF", "Infinity"] {
            assert_eq!(sum("1", text), "NaN or Infinity", "{text}");
        }
        assert_eq!(sum("inf", "-inf"), "NaN or Infinity");
        assert!(LongDouble::parse(b"inf").unwrap().is_nan_or_inf());
        assert!(!LongDouble::parse(b"1").unwrap().is_nan_or_inf());
    }

    #[test]
    fn differences_and_order() {
        let number = |text: &str| LongDouble::parse(text.as_bytes()).unwrap();
        assert_eq!(number("1.5").subtract(&number("2")).format(), b"-0.5");
        assert_eq!(number("1").compare(&number("1.5")), Some(Ordering::Less));
        assert_eq!(number("-1").compare(&LongDouble::ZERO), Some(Ordering::Less));
        assert_eq!(number("0.0").compare(&LongDouble::ZERO), Some(Ordering::Equal));
        let (largest, infinite) = (LongDouble::largest(), number("inf"));
        assert_eq!(infinite.compare(&largest), Some(Ordering::Greater));
        assert!(!largest.is_nan_or_inf() && largest.add(&largest).is_nan_or_inf());
        assert_eq!(infinite.subtract(&infinite).compare(&largest), None);
    }

    #[test]
    fn length_borders() {
        for zeros in [61, 62, 63, 64, MAX_TEXT - 2] {
            let text = "0".repeat(zeros) + "7";
            assert_eq!(sum(&text, "0"), "7", "{zeros}");
        }
        assert_eq!(sum(&("0".repeat(MAX_TEXT - 1) + "7"), "0"), "not a valid float");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_largest_numbers_print_and_overflow() {
        let largest = "1.18e4932";
        assert_eq!(sum(largest, "0").len(), 4933);
        assert_eq!(sum(largest, largest), "NaN or Infinity");
        assert_eq!(sum(largest, &format!("-{largest}")), "0");
    }
}
