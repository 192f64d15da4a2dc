use super::*;
use proptest::prelude::*;

/// Values that a RESP3 server's reply writer can send.
pub(crate) fn resp3() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..12);
    let line = || "[ -~]{0,12}".prop_map(String::into_bytes);
    let leaf = prop_oneof![
        Just(Value::Null),
        line().prop_map(Value::Simple),
        line().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Int),
        bytes().prop_map(Value::Bulk),
        any::<f64>().prop_filter("equal to itself", |v| !v.is_nan()).prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        (any::<[u8; 3]>(), bytes()).prop_map(|(ext, text)| Value::Verbatim { ext, text }),
        "-?[1-9][0-9]{0,30}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let items = || proptest::collection::vec(inner.clone(), 0..5);
        let pairs = || proptest::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            items().prop_map(Value::Array),
            items().prop_map(Value::Set),
            items().prop_map(Value::Push),
            pairs().prop_map(Value::Map),
            (pairs(), inner.clone())
                .prop_map(|(pairs, value)| Value::Attribute { pairs, value: Box::new(value) }),
        ]
    })
}

fn decoded(bytes: &[u8]) -> Value {
    let (value, used) = Value::decode(bytes).unwrap().unwrap();
    assert_eq!(used, bytes.len());
    let mut again = Vec::new();
    value.encode(&mut again);
    assert_eq!(again, bytes);
    value
}

#[test]
fn every_kind() {
    assert_eq!(decoded(b"+OK\r\n"), Value::Simple(b"OK".to_vec()));
    assert!(decoded(b"-ERR x\r\n").is_error() && decoded(b"!3\r\nE\r\n\r\n").is_error());
    assert_eq!(decoded(b":-7\r\n").as_int(), Some(-7));
    assert_eq!(decoded(b"$2\r\n\r\n\r\n").as_bytes(), Some(&b"\r\n"[..]));
    assert_eq!(decoded(b"$0\r\n\r\n").as_bytes(), Some(&b""[..]));
    assert!(
        decoded(b"$-1\r\n").is_null()
            && decoded(b"*-1\r\n").is_null()
            && decoded(b"_\r\n").is_null()
    );
    assert_ne!(decoded(b"$-1\r\n"), decoded(b"*-1\r\n"));
    assert_eq!(decoded(b"*2\r\n:1\r\n*0\r\n").items().map(<[_]>::len), Some(2));
    assert_eq!(decoded(b"~1\r\n#t\r\n"), Value::Set(vec![Value::Bool(true)]));
    assert_eq!(decoded(b">1\r\n#f\r\n"), Value::Push(vec![Value::Bool(false)]));
    assert_eq!(decoded(b"%1\r\n+a\r\n,1.5\r\n").items(), None);
    assert_eq!(decoded(b",-inf\r\n"), Value::Double(f64::NEG_INFINITY));
    assert!(matches!(decoded(b",nan\r\n"), Value::Double(v) if v.is_nan()));
    assert_eq!(decoded(b"=7\r\ntxt:abc\r\n").as_bytes(), Some(&b"abc"[..]));
    assert_eq!(decoded(b"(123456789012345678901234567890\r\n").as_int(), None);
    let attribute = decoded(b"|1\r\n+k\r\n+v\r\n:1\r\n");
    assert!(matches!(attribute, Value::Attribute { value, .. } if *value == Value::Int(1)));
}

#[test]
fn what_is_wrong() {
    for bytes in [
        &b"x\r\n"[..],
        b"\r\n",
        b"+OK\n",
        b":\r\n",
        b":+1\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$1\r\nabc",
        b"#x\r\n",
        b"_x\r\n",
        b",x\r\n",
        b"=2\r\nab\r\n",
        b"~-1\r\n",
        b"%x\r\n",
    ] {
        let error = Value::decode(bytes).expect_err(&bytes.escape_ascii().to_string());
        assert!(error.to_string().contains("at byte"));
    }
    let deep = b"*1\r\n".repeat(10_000);
    assert_eq!(Value::decode(&deep).map_err(|e| e.what), Err("nested too deep"));
    // A claim alone costs nothing.
    assert_eq!(Value::decode(b"*9223372036854775807\r\n"), Ok(None));
    assert_eq!(Value::decode(b"$9223372036854775807\r\n"), Ok(None));
}

#[test]
fn commands() {
    assert_eq!(encode_command(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    assert_eq!(encode_command::<&[u8]>(&[]), b"*0\r\n");
}

proptest! {
    #[test]
    fn round_trip_and_no_shorter_prefix(value in resp3()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        for cut in 0..bytes.len() {
            prop_assert_eq!(Value::decode(&bytes[..cut]), Ok(None));
        }
        let used = bytes.len();
        bytes.extend_from_slice(b"+more");
        prop_assert_eq!(Value::decode(&bytes), Ok(Some((value, used))));
    }

    #[test]
    fn never_panics(bytes: Vec<u8>, text in "[*$%~>|:,#=(!_0-9\r\n-]{0,30}") {
        Value::decode_all(&bytes).ok();
        Value::decode_all(text.as_bytes()).ok();
    }
}
