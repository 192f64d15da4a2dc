//! Numbers as clients write and read them.
//!
//! Integers are strict: an optional `-`, no `+`, no spaces, no leading zeros, no `-0`; so a text is
//! an integer exactly when printing the integer gives the text back, and a value may be stored as
//! one or the other without anyone noticing. Doubles are read as C's `strtod` reads them and
//! printed in the fewest digits that read back the same, in the layout Redis 7.2 and later use.

/// The integer `text` is, if it is one in canonical form.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => {
            let magnitude = parse_u64(digits)?;
            // Zero has no sign; the most negative number is one further out than the largest.
            if magnitude == 0 { None } else { 0i64.checked_sub_unsigned(magnitude) }
        }
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// The unsigned integer `text` is, if it is one in canonical form.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [] => None,
        [b'0', _, ..] => None,
        // Nineteen digits cannot overflow.
        _ if text.len() <= 19 => {
            let mut value = 0u64;
            for &byte in text {
                value = value * 10 + digit(byte)?;
            }
            Some(value)
        }
        [head @ .., last] if text.len() == 20 => {
            let mut value = 0u64;
            for &byte in head {
                value = value * 10 + digit(byte)?;
            }
            value.checked_mul(10)?.checked_add(digit(*last)?)
        }
        _ => None,
    }
}

#[inline]
fn digit(byte: u8) -> Option<u64> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u64::from(value))
}

/// The double `text` is, all of it, as `strtod` reads it: decimal or hexadecimal, infinity by name
/// in any case. No spaces, no NaN; refused too are a number too large for a double and one that is
/// not zero but too small to be anything else.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = match magnitude {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
        [b'0'..=b'9' | b'.', ..] => parse_decimal(magnitude)?,
        _ if magnitude.eq_ignore_ascii_case(b"inf")
            || magnitude.eq_ignore_ascii_case(b"infinity") =>
        {
            f64::INFINITY
        }
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

/// `text` begins with a digit or a point. The standard library rounds correctly and knows the same
/// grammar from there on.
fn parse_decimal(text: &[u8]) -> Option<f64> {
    let value: f64 = str::from_utf8(text).ok()?.parse().ok()?;
    let underflow = value == 0.0
        && text.iter().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| matches!(b, b'1'..=b'9'));
    (value.is_finite() && !underflow).then_some(value)
}

/// What follows `0x`: hexadecimal digits around at most one point, then perhaps `p` and a decimal
/// power of two.
fn parse_hex(text: &[u8]) -> Option<f64> {
    let mut mantissa = 0u64; // the leading 60 bits or so
    let mut lost = false; // whether a bit that is not zero fell off their end
    let mut exponent = 0i64; // of the mantissa's lowest bit
    let (mut digits, mut point) = (0usize, false);
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        match (*byte as char).to_digit(16) {
            Some(value) => {
                digits += 1;
                if mantissa >> 59 == 0 {
                    mantissa = mantissa << 4 | u64::from(value);
                    exponent -= if point { 4 } else { 0 };
                } else {
                    lost |= value != 0;
                    exponent += if point { 0 } else { 4 };
                }
            }
            None if *byte == b'.' && !point => point = true,
            None => break,
        }
        rest = tail;
    }
    if digits == 0 {
        return None;
    }
    match rest {
        [] => {}
        [b'p' | b'P', power @ ..] => exponent = exponent.saturating_add(parse_power(power)?),
        _ => return None,
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    let value = round_to_f64(mantissa, lost, exponent);
    (value != 0.0 && value.is_finite()).then_some(value)
}

/// A decimal exponent with an optional sign; one too large to matter is cut to a large one.
fn parse_power(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        value = value.saturating_mul(10).saturating_add(digit(byte)? as i64);
    }
    Some(if negative { -value } else { value })
}

/// `mantissa * 2^exponent`, and a little more when `lost`, to the nearest double, ties to even.
fn round_to_f64(mantissa: u64, lost: bool, exponent: i64) -> f64 {
    // Put the highest bit at bit 63: the value is m * 2^e with m in [2^63, 2^64).
    let shift = mantissa.leading_zeros();
    let m = mantissa << shift;
    let e = exponent.saturating_sub(i64::from(shift));
    // A normal double keeps 53 bits; below 2^-1022 fewer are left, down to none.
    let top = e.saturating_add(63);
    if top > 1023 {
        return f64::INFINITY;
    }
    let dropped = if top >= -1022 { 11 } else { 11 + (-1022 - top) };
    if dropped > 64 {
        return 0.0;
    }
    let wide = u128::from(m);
    let (kept, rest) = ((wide >> dropped) as u64, wide & ((1u128 << dropped) - 1));
    let half = 1u128 << (dropped - 1);
    let up = rest > half || (rest == half && (lost || kept & 1 == 1));
    // Adding the exponent to the bits lets a carry out of the fraction do the right thing: to the
    // next power of two, from subnormal to normal, from the largest number to infinity.
    let biased = if top >= -1022 { (top + 1022) as u64 } else { 0 };
    f64::from_bits((biased << 52) + kept + u64::from(up))
}

/// Appends `value` in decimal.
#[inline]
pub fn format_i64(value: i64, out: &mut Vec<u8>) {
    if (0..10).contains(&value) {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Appends `value` in the fewest digits that read back the same: `3`, `0.1`, `1.5e-7`, `1e+22`,
/// `-0`, `inf`, `-inf`, `nan`.
pub fn format_f64(value: f64, out: &mut Vec<u8>) {
    /// Up to here an integral double prints as the integer it is.
    const INTEGRAL: f64 = (1u64 << 62) as f64;

    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGRAL && value.trunc() == value {
        format_i64(value as i64, out);
    } else {
        let shortest = Shortest::of(value.abs());
        if value < 0.0 {
            out.push(b'-');
        }
        shortest.lay_out(out);
    }
}

/// The fewest decimal digits that name one double: `digits * 10^power`, no zero at either end.
struct Shortest {
    digits: [u8; 20],
    len: usize,
    power: i32,
}

impl Shortest {
    /// `value` is finite and above zero.
    fn of(value: f64) -> Self {
        // zmij finds the digits; its layout is another, so take them out of the text.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value).as_bytes();
        let mut this = Self { digits: [0; 20], len: 0, power: 0 };
        let mut point = false;
        let mut rest = text;
        while let [byte, tail @ ..] = rest {
            rest = tail;
            match byte {
                b'.' => point = true,
                b'e' | b'E' => {
                    this.power += parse_power(rest).unwrap_or(0) as i32;
                    break;
                }
                _ => {
                    this.power -= i32::from(point);
                    // Zeros before the first digit carry nothing.
                    if (this.len > 0 || *byte != b'0') && this.len < this.digits.len() {
                        this.digits[this.len] = *byte;
                        this.len += 1;
                    }
                }
            }
        }
        while this.len > 1 && this.digits[this.len - 1] == b'0' {
            this.len -= 1;
            this.power += 1;
        }
        this
    }

    /// Plain notation near one, scientific further out. The borders are those of the fpconv
    /// library, which Redis prints with; no zero padding in the exponent, always a sign.
    fn lay_out(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.len];
        let len = self.len as i32;
        let exponent = self.power + len - 1; // of the first digit
        if self.power >= 0 && exponent < len + 7 {
            out.extend_from_slice(digits);
            out.resize(out.len() + self.power as usize, b'0');
        } else if self.power < 0 && (self.power > -7 || exponent.abs() < 4) {
            let before_point = len + self.power;
            if before_point <= 0 {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + before_point.unsigned_abs() as usize, b'0');
                out.extend_from_slice(digits);
            } else {
                let (whole, fraction) = digits.split_at(before_point as usize);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
        } else {
            out.push(digits[0]);
            if self.len > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            format_i64(i64::from(exponent.abs()), out);
        }
    }
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
