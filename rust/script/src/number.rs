//! Numbers as Lua, Redis and C's `printf` write them.

use smallvec::SmallVec;

/// A number's integer part, as far as 64 bits go; 0 for what is not a number.
pub(crate) fn truncated(value: f64) -> i64 {
    value as i64
}

/// Appends an integer's digits.
pub(crate) fn integer(value: i64, out: &mut Vec<u8>) {
    forgekv_base::number::format_i64(value, out);
}

/// Appends a double as replies have it.
pub(crate) fn shortest(value: f64, out: &mut Vec<u8>) {
    forgekv_base::number::format_f64(value, out);
}

/// The integer that a double is, if it is one that a double can tell from its neighbours.
fn exact(value: f64) -> Option<i64> {
    const LIMIT: f64 = 4_503_599_627_370_496.0;
    let n = value as i64;
    let is_exact = (-LIMIT..=LIMIT).contains(&value) || value.abs() <= 9_007_199_254_740_992.0;
    (is_exact && n as f64 == value && !(n == 0 && value.is_sign_negative())).then_some(n)
}

/// Appends a number as a word of a command.
pub(crate) fn argument<const N: usize>(value: f64, out: &mut SmallVec<[u8; N]>)
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    let mut text = Vec::new();
    match exact(value) {
        Some(n) => integer(n, &mut text),
        None => shortest(value, &mut text),
    }
    out.extend_from_slice(&text);
}

/// A number with so many significant digits, as `%.{digits}g` writes it.
pub(crate) fn general(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    let digits = digits.max(1);
    let scientific = format!("{:.*e}", digits - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_is_printfs() {
        for (value, digits, text) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (1e15, 14, "1e+15"),
            (123456.0, 14, "123456"),
            (1e14, 14, "1e+14"),
            (12345678901234.0, 14, "12345678901234"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (1023.2, 14, "1023.2"),
            (-2.5e-10, 3, "-2.5e-10"),
            (999.9, 3, "1e+03"),
        ] {
            assert_eq!(general(value, digits), text);
        }
    }

    #[test]
    fn words_keep_what_doubles_hold() {
        for (value, text) in [
            (9007199254740991.0, "9007199254740991"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (-0.0, "-0"),
        ] {
            let mut out: SmallVec<[u8; 8]> = SmallVec::new();
            argument(value, &mut out);
            assert_eq!(out.as_slice(), text.as_bytes());
        }
        assert_eq!(truncated(3.99), 3);
        assert_eq!(truncated(-3.99), -3);
        assert_eq!(truncated(f64::NAN), 0);
    }
}
