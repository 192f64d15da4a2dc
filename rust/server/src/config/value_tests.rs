use super::*;
use crate::config::choice::WalSyncMode;

fn canonical(kind: Kind, line: &str) -> Result<String, String> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    kind.canonical(&args).map(|text| String::from_utf8(text).unwrap())
}

#[test]
fn sizes_have_units() {
    let bytes = Kind::Bytes(0, u64::MAX);
    for (text, value) in [
        ("0", 0),
        ("12", 12),
        ("3b", 3),
        ("1k", 1000),
        ("1KB", 1024),
        ("2Mb", 2 << 20),
        ("1g", 1_000_000_000),
        ("4gb", 4u64 << 30),
    ] {
        assert_eq!(canonical(bytes, text).unwrap(), value.to_string());
    }
    for wrong in ["", "-1", "1.5gb", "kb", "1zz", "99999999999gb", "1 kb"] {
        assert!(canonical(bytes, wrong).is_err(), "{wrong}");
    }
    let bounded = Kind::Bytes(1 << 20, i64::MAX as u64);
    assert_eq!(
        canonical(bounded, "1").unwrap_err(),
        "argument must be between 1048576 and 9223372036854775807 inclusive"
    );
}

#[test]
fn numbers_are_bounded_or_clamped() {
    assert_eq!(canonical(Kind::Int(-1, 5), "-1").unwrap(), "-1");
    assert_eq!(
        canonical(Kind::Int(0, 5), "6").unwrap_err(),
        "argument must be between 0 and 5 inclusive"
    );
    for wrong in ["abc", "0x10", "1 2", "", "+1"] {
        assert!(canonical(Kind::Int(0, 5), wrong).is_err(), "{wrong}");
    }
    assert_eq!(canonical(Kind::Clamped(1, 500), "0").unwrap(), "1");
    assert_eq!(canonical(Kind::Clamped(1, 500), "100000").unwrap(), "500");
    assert_eq!(canonical(Kind::Octal(0o777), "755").unwrap(), "755");
    assert!(canonical(Kind::Octal(0o777), "8").is_err());
}

#[test]
fn choices_and_flags_ignore_case() {
    let sync = Kind::Choice(WalSyncMode::NAMES);
    assert_eq!(canonical(sync, "everysecond").unwrap(), "EverySecond");
    assert_eq!(
        canonical(sync, "sometimes").unwrap_err(),
        "argument(s) must be one of the following: Always, EverySecond, Never"
    );
    let flags = Kind::Flags(&["default", "save", "nosave", "now", "force"]);
    assert_eq!(canonical(flags, "FORCE nosave").unwrap(), "nosave force");
    assert!(canonical(flags, "foo").is_err());
    assert_eq!(canonical(Kind::Bool, "YES").unwrap(), "yes");
    assert!(canonical(Kind::Bool, "maybe").is_err());
}

#[test]
fn lists_check_their_items() {
    assert_eq!(canonical(Kind::Save, "3600 1 300 100").unwrap(), "3600 1 300 100");
    assert_eq!(canonical(Kind::Save, "").unwrap(), "");
    assert_eq!(canonical(Kind::Save, "10").unwrap_err(), "Invalid save parameters");
    assert!(canonical(Kind::Save, "0 1").is_err());
    assert_eq!(canonical(Kind::Percentiles, "50.0 99.99 100").unwrap(), "50 99.99 100");
    assert_eq!(canonical(Kind::Percentiles, "").unwrap(), "");
    assert!(canonical(Kind::Percentiles, "50 101").is_err());
    assert_eq!(canonical(Kind::Ints(3, -2000, 2000), "0 200 800").unwrap(), "0 200 800");
    assert!(canonical(Kind::Ints(3, -2000, 2000), "1 2").is_err());
    assert_eq!(canonical(Kind::BytesOrPercent, "1kb").unwrap(), "1024");
    assert_eq!(canonical(Kind::BytesOrPercent, "70%").unwrap(), "70%");
    assert!(canonical(Kind::BytesOrPercent, "200%").is_err());
    assert!(canonical(Kind::BytesOrPercent, "-5%").is_err());
}

#[test]
fn output_limits_merge_by_class() {
    let mut limits = OutputLimits::default();
    limits.set(&[b"replica", b"1mb", b"2", b"3"], &Kind::OutputLimits).unwrap();
    assert_eq!(
        limits.get(&Kind::OutputLimits),
        b"normal 0 0 0 slave 1048576 2 3 pubsub 33554432 8388608 60"
    );
    for wrong in [&["foo", "1", "2", "3"][..], &["normal", "1", "2"], &["pubsub", "1", "1", "-1"]] {
        let args: Vec<&[u8]> = wrong.iter().map(|w| w.as_bytes()).collect();
        assert!(limits.set(&args, &Kind::OutputLimits).is_err(), "{wrong:?}");
    }
}

#[test]
fn events_print_as_redis_does() {
    for (given, printed) in [
        ("KEA", "AKE"),
        ("Kg$lshzxetmd", "AKm"),
        ("KEAn", "AnKE"),
        ("Ex", "xE"),
        ("", ""),
        ("K$lm", "$lKm"),
    ] {
        assert_eq!(canonical(Kind::Events, given).unwrap(), printed, "{given}");
    }
    assert!(canonical(Kind::Events, "KQ").is_err());
    let mut events = Events::default();
    events.set(&[b"g$"], &Kind::Events).unwrap();
    assert_eq!(events.classes(), 0);
    events.set(&[b"Eg"], &Kind::Events).unwrap();
    assert_ne!(events.classes() & forgekv_data::event_class::GENERIC, 0);
}
