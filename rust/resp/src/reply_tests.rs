use super::*;
use crate::Value;
use proptest::prelude::*;

/// What `write` writes for RESP2 and for RESP3.
fn both(write: impl Fn(&mut Reply<'_>)) -> [String; 2] {
    [Proto::Resp2, Proto::Resp3].map(|proto| {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).unwrap()
    })
}

fn same(write: impl Fn(&mut Reply<'_>)) -> String {
    let [two, three] = both(write);
    assert_eq!(two, three);
    two
}

#[test]
fn alike_in_both_protocols() {
    assert_eq!(same(|r| r.ok()), "+OK\r\n");
    assert_eq!(same(|r| r.simple("PONG")), "+PONG\r\n");
    assert_eq!(same(|r| r.simple("a\r\nb")), "+a  b\r\n");
    assert_eq!(same(|r| r.error("ERR no\nsuch\rkey")), "-ERR no such key\r\n");
    assert_eq!(same(|r| r.error_bytes(b"ERR x\r\n+OK")), "-ERR x  +OK\r\n");
    for value in [0, 1, 2, 9, 10, -1, 123_456, i64::MAX, i64::MIN] {
        assert_eq!(same(|r| r.int(value)), format!(":{value}\r\n"));
    }
    assert_eq!(same(|r| r.bulk_int(-42)), "$3\r\n-42\r\n");
    for len in [0, 1, 9, 10, 11, 99, 100, 101, 9_999, 100_000] {
        let text = "x".repeat(len);
        assert_eq!(same(|r| r.bulk(text.as_bytes())), format!("${len}\r\n{text}\r\n"));
        assert_eq!(same(|r| r.array(len)), format!("*{len}\r\n"));
    }
    assert_eq!(same(|r| (r.bulk_header(3), r.raw(b"abc\r\n")).0), "$3\r\nabc\r\n");
}

#[test]
fn each_protocol_has_its_words() {
    assert_eq!(both(|r| r.null()), ["$-1\r\n", "_\r\n"]);
    assert_eq!(both(|r| r.null_array()), ["*-1\r\n", "_\r\n"]);
    assert_eq!(both(|r| r.map(7)), ["*14\r\n", "%7\r\n"]);
    assert_eq!(both(|r| r.set(12)), ["*12\r\n", "~12\r\n"]);
    assert_eq!(both(|r| r.push(3)), ["*3\r\n", ">3\r\n"]);
    assert_eq!(both(|r| r.bool(true)), [":1\r\n", "#t\r\n"]);
    assert_eq!(both(|r| r.bool(false)), [":0\r\n", "#f\r\n"]);
    assert_eq!(both(|r| r.double(1.5)), ["$3\r\n1.5\r\n", ",1.5\r\n"]);
    assert_eq!(both(|r| r.double(f64::INFINITY)), ["$3\r\ninf\r\n", ",inf\r\n"]);
    assert_eq!(both(|r| r.double(-0.0)), ["$2\r\n-0\r\n", ",-0\r\n"]);
    assert_eq!(both(|r| r.double(f64::NAN)), ["$3\r\nnan\r\n", ",nan\r\n"]);
    assert_eq!(both(|r| r.verbatim(*b"txt", b"a\r\n")), ["$3\r\na\r\n\r\n", "=7\r\ntxt:a\r\n\r\n"]);
    assert_eq!(both(|r| r.big_number(b"123")), ["$3\r\n123\r\n", "(123\r\n"]);
    let attributed = both(|r| {
        if r.attribute(1) {
            r.bulk(b"k");
            r.int(1);
        }
        r.ok();
    });
    assert_eq!(attributed, ["+OK\r\n", "|1\r\n$1\r\nk\r\n:1\r\n+OK\r\n"]);
}

#[test]
fn sizes_known_at_the_end() {
    for n in [0usize, 1, 9, 10, 12_345] {
        let write = |r: &mut Reply<'_>| {
            r.ok();
            let open = r.deferred_array();
            (0..n).for_each(|_| r.int(7));
            r.finish_array(open, n);
            r.ok();
        };
        assert_eq!(same(write), format!("+OK\r\n*{n}\r\n{}+OK\r\n", ":7\r\n".repeat(n)));
    }
    let nested = both(|r| {
        let outer = r.deferred();
        let inner = r.deferred();
        r.bulk(b"a");
        r.finish_set(inner, 1);
        let inner = r.deferred();
        r.finish_array(inner, 0);
        r.finish_map(outer, 1);
        let push = r.deferred();
        r.null();
        r.finish_push(push, 1);
    });
    assert_eq!(
        nested,
        ["*2\r\n*1\r\n$1\r\na\r\n*0\r\n*1\r\n$-1\r\n", "%1\r\n~1\r\n$1\r\na\r\n*0\r\n>1\r\n_\r\n"]
    );
}

#[test]
fn what_was_written_can_be_taken_back() {
    let written = same(|r| {
        r.ok();
        let mark = r.mark();
        r.array(3);
        r.bulk(b"half");
        assert_eq!(r.since(mark), b"*3\r\n$4\r\nhalf\r\n");
        r.rewind(mark);
        r.error("OOM no");
        assert_eq!(r.written(), 14);
    });
    assert_eq!(written, "+OK\r\n-OOM no\r\n");
}

#[test]
fn the_protocol_changes_in_mid_stream() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::default());
    reply.null();
    assert!(!reply.is_resp3());
    reply.set_proto(Proto::Resp3);
    assert_eq!((reply.proto(), reply.proto().to_string()), (Proto::Resp3, "3".into()));
    reply.null();
    assert_eq!(out, b"$-1\r\n_\r\n");
}

/// Writes `value` with the writer's own verbs.
fn write(reply: &mut Reply<'_>, value: &Value) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match value {
        Value::Null => reply.null(),
        Value::Simple(bytes) => reply.simple(&text(bytes)),
        Value::Error(bytes) => reply.error_bytes(bytes),
        Value::Int(value) => reply.int(*value),
        Value::Bulk(bytes) => reply.bulk(bytes),
        Value::Double(value) => reply.double(*value),
        Value::Bool(value) => reply.bool(*value),
        Value::Verbatim { ext, text } => reply.verbatim(*ext, text),
        Value::BigNumber(digits) => reply.big_number(digits),
        Value::Array(items) => {
            let open = reply.deferred_array();
            items.iter().for_each(|item| write(reply, item));
            reply.finish_array(open, items.len());
        }
        Value::Set(items) => {
            reply.set(items.len());
            items.iter().for_each(|item| write(reply, item));
        }
        Value::Push(items) => {
            reply.push(items.len());
            items.iter().for_each(|item| write(reply, item));
        }
        Value::Map(pairs) => {
            let open = reply.deferred();
            pairs.iter().for_each(|(k, v)| (write(reply, k), write(reply, v)).0);
            reply.finish_map(open, pairs.len());
        }
        Value::Attribute { pairs, value } => {
            assert!(reply.attribute(pairs.len()));
            pairs.iter().for_each(|(k, v)| (write(reply, k), write(reply, v)).0);
            write(reply, value);
        }
        Value::NullBulk | Value::NullArray | Value::BulkError(_) => unreachable!("not RESP3"),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec(crate::value::tests::resp3(), 0..4)) {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp3);
        values.iter().for_each(|value| write(&mut reply, value));
        prop_assert_eq!(Value::decode_all(&out), Ok(values));
    }
}
