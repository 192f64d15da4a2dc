use super::*;
use proptest::prelude::*;

#[test]
fn integers_are_canonical_or_nothing() {
    for (text, value) in [
        ("0", 0),
        ("7", 7),
        ("-1", -1),
        ("10", 10),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
    }
    for text in [
        "",
        "-",
        "+1",
        " 1",
        "1 ",
        "01",
        "00",
        "-0",
        "-01",
        "1a",
        "a",
        "--1",
        "1.0",
        "1e3",
        "0x1",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "99999999999999999999",
        "100000000000000000000",
        "1\0",
        "\u{661}",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn unsigned_integers() {
    assert_eq!(parse_u64(b"0"), Some(0));
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    for text in ["", "-1", "-0", "+1", "01", "18446744073709551616", "184467440737095516150"] {
        assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
    }
}

/// What ZADD of redis-server 7.0 says to these scores.
#[test]
fn doubles_as_strtod_reads_them() {
    for (text, value) in [
        ("0x10", 16.0),
        ("0X1P3", 8.0),
        ("0x.8", 0.5),
        ("0x1.", 1.0),
        ("-0x1.8p+1", -3.0),
        ("inf", f64::INFINITY),
        ("INF", f64::INFINITY),
        ("+inf", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
        ("5e-324", 5e-324),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e5", 1e5),
        ("1E+5", 1e5),
        ("+1", 1.0),
        ("007", 7.0),
        ("0x1.8p-1075", 5e-324),
        ("0x1p-1074", 5e-324),
        ("0e-999", 0.0),
        ("0e99999999999999999999", 0.0),
        ("0x0p-9999", 0.0),
        ("1e-320", 1e-320),
        ("0x1.fffffffffffffp1023", f64::MAX),
    ] {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
    for text in [
        "",
        "-",
        "+",
        ".",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1d",
        "1f",
        "0x",
        "0x.",
        "0x1p",
        "0xp1",
        "0x1g",
        "0x1.0.0",
        "nan",
        "-NaN",
        "nan(1)",
        "infin",
        "infinity1",
        " 1",
        "1 ",
        "\t1",
        "++1",
        "+-1",
        "1_0",
        "1e400",
        "-1e400",
        "1e-400",
        "2e-324",
        "0x1p-1075",
        "0x1p1024",
        "0x1p99999999999999999999",
        "0x1p-99999999999999999999",
        "0x1.fffffffffffff8p1023",
        "1\0",
        "1,5",
    ] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
    }
    assert!(parse_f64(b"-0").is_some_and(|v| v.to_bits() == (-0.0f64).to_bits()));
}

#[test]
fn hexadecimal_rounds_to_even() {
    // 2^53 + 1 lies between two doubles; one more bit, however far off, decides.
    for (text, value) in [
        ("0x20000000000001", 9007199254740992.0),
        ("0x20000000000003", 9007199254740996.0),
        ("0x20000000000001.00000000000000000001", 9007199254740994.0),
        ("0x0.00000000000000000000000000000000001p140", 1.0),
        ("0x100000000000000000000000000000000000p-140", 1.0),
        ("0x1fffffffffffffffffff", 151115727451828646838272.0),
        ("0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
        ("0x0.fffffffffffff7p-1022", 2.225073858507201e-308),
    ] {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
}

fn shown(value: f64) -> String {
    let mut out = Vec::new();
    format_f64(value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn doubles_in_the_layout_of_redis() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-17.0, "-17"),
        (0.1, "0.1"),
        (-0.25, "-0.25"),
        (1.5, "1.5"),
        (123.456, "123.456"),
        (0.30000000000000004, "0.30000000000000004"),
        (1e15, "1000000000000000"),
        (1e18, "1000000000000000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (-4611686018427387904.0, "-4611686018427387904"),
        // Above 2^62 the digits are laid out, zeros added only for a few places.
        (4611686018427388928.0, "4611686018427389000"),
        (1e19, "1e+19"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1.2345678901234569e23, "123456789012345690000000"),
        (1.2345678901234568e24, "1.2345678901234568e+24"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1.25e-5, "1.25e-5"),
        (0.0001234567, "1.234567e-4"),
        (0.001234567, "0.001234567"),
        // Seven digits after the point are too many from ten thousand on.
        (1234.5678901, "1234.5678901"),
        (12345.678901, "12345.678901"),
        (12345.6789012, "1.23456789012e+4"),
        (-0.123456789012, "-0.123456789012"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (-f64::NAN, "nan"),
    ] {
        assert_eq!(shown(value), text, "{value:e}");
    }
}

#[test]
fn integers_print() {
    for value in [0, 9, 10, -1, -10, i64::MAX, i64::MIN] {
        let mut out = b"x".to_vec();
        format_i64(value, &mut out);
        assert_eq!(out, format!("x{value}").as_bytes());
    }
}

proptest! {
    #[test]
    fn an_integer_is_its_text(value: i64) {
        let text = value.to_string();
        prop_assert_eq!(parse_i64(text.as_bytes()), Some(value));
    }

    #[test]
    fn a_text_is_an_integer_only_when_canonical(text in "[-+ 0-9]{0,21}") {
        let expected = text.parse::<i64>().ok().filter(|v| v.to_string() == text);
        prop_assert_eq!(parse_i64(text.as_bytes()), expected);
        let expected = text.parse::<u64>().ok().filter(|v| v.to_string() == text);
        prop_assert_eq!(parse_u64(text.as_bytes()), expected);
    }

    #[test]
    fn a_double_reads_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        prop_assert_eq!(parse_f64(shown(value).as_bytes()), Some(value));
        prop_assert!(shown(value).len() <= 25);
    }

    #[test]
    fn an_everyday_double_reads_back(mantissa in -10_000_000i64..10_000_000, scale in 0i32..12) {
        let value = mantissa as f64 / 10f64.powi(scale);
        prop_assert_eq!(parse_f64(shown(value).as_bytes()), Some(value));
    }

    #[test]
    fn hexadecimal_reads_back(mantissa in 0u64..1 << 52, exponent in -1022i32..1024) {
        let value = f64::from_bits(((exponent + 1023) as u64) << 52 | mantissa);
        let text = format!("0x1.{mantissa:013x}p{exponent}");
        prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
    }

    #[test]
    fn reading_never_panics(text: Vec<u8>) {
        parse_i64(&text);
        parse_u64(&text);
        parse_f64(&text);
    }
}
