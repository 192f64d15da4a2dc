use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { max_bulk_len: 512 * 1024 * 1024, authenticated: true };

/// What a stream of requests comes to: each request's arguments, then how it ended.
type Outcome = (Vec<Vec<Vec<u8>>>, Result<usize, ProtocolError>);

/// Parses all of `stream`, which arrives in the given pieces. Every piece gets fresh `Args`, and
/// the buffer is moved, as a server is free to do.
fn parse(pieces: &[&[u8]], limits: &Limits) -> Outcome {
    let mut parser = Parser::new();
    let mut buf = Vec::new();
    let mut requests = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        let mut args = Args::new();
        loop {
            match parser.next(&buf, &mut args, limits) {
                Ok(Status::Complete { consumed }) => {
                    requests.push(args.iter(&buf).map(<[u8]>::to_vec).collect());
                    buf = buf.split_off(consumed);
                }
                Ok(Status::Empty { consumed }) => buf = buf.split_off(consumed),
                Ok(Status::Incomplete { .. }) => break,
                Err(error) => return (requests, Err(error)),
            }
        }
    }
    (requests, Ok(buf.len()))
}

fn whole(stream: &[u8]) -> Outcome {
    parse(&[stream], &LIMITS)
}

fn bytewise(stream: &[u8]) -> Outcome {
    let pieces: Vec<&[u8]> = stream.chunks(1).collect();
    parse(&pieces, &LIMITS)
}

/// The one request `stream` is.
fn request(stream: &[u8]) -> Vec<String> {
    let (mut requests, end) = whole(stream);
    assert_eq!((requests.len(), end), (1, Ok(0)), "{}", stream.escape_ascii());
    assert_eq!(bytewise(stream), whole(stream));
    requests.remove(0).into_iter().map(|a| String::from_utf8(a).unwrap()).collect()
}

fn error(stream: &[u8]) -> String {
    let (_, end) = whole(stream);
    assert_eq!(bytewise(stream).1, end, "{}", stream.escape_ascii());
    match end {
        Err(error) => error.to_string(),
        Ok(left) => format!("no error, {left} bytes left"),
    }
}

#[test]
fn arrays_of_bulk_strings() {
    assert_eq!(request(b"*1\r\n$4\r\nPING\r\n"), ["PING"]);
    assert_eq!(request(b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n"), ["SET", "", "\r\n"]);
    let long = "x".repeat(100_000);
    assert_eq!(request(format!("*2\r\n$4\r\nECHO\r\n$100000\r\n{long}\r\n").as_bytes())[1], long);
    // What follows a bulk string is skipped unread, as is the byte after a \r.
    assert_eq!(request(b"*2\rx$1\r?aXX$1\r\nb::"), ["a", "b"]);
}

#[test]
fn inline_commands() {
    assert_eq!(request(b"PING\r\n"), ["PING"]);
    assert_eq!(request(b"PING\n"), ["PING"]);
    assert_eq!(request(b"  set k  \"a \\x41\\n\" 'b c'\r\n"), ["set", "k", "a A\n", "b c"]);
    assert_eq!(request(b"$3\r\n"), ["$3"]);
    assert_eq!(request(b"a\rb\r\n"), ["a", "b"]);
}

#[test]
fn empty_requests_are_nothing() {
    for stream in
        [&b"\r\n"[..], b"\n", b"   \r\n", b"*0\r\n", b"*-1\r\n", b"*-99\r\n", b"\0abc\r\n"]
    {
        assert_eq!(whole(stream), (vec![], Ok(0)), "{}", stream.escape_ascii());
        assert_eq!(bytewise(stream), (vec![], Ok(0)));
        let mut both = stream.to_vec();
        both.extend_from_slice(b"*1\r\n$1\r\na\r\n");
        assert_eq!(request(&both), ["a"]);
    }
    let mut args = Args::new();
    let status = Parser::new().next(b"*-1\r\nrest", &mut args, &LIMITS);
    assert_eq!(status, Ok(Status::Empty { consumed: 5 }));
}

#[test]
fn pipelines() {
    let stream = b"*1\r\n$4\r\nPING\r\nGET a\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n*1\r\n$3\r\nGE";
    let expected: Vec<Vec<Vec<u8>>> = vec![
        vec![b"PING".to_vec()],
        vec![b"GET".to_vec(), b"a".to_vec()],
        vec![b"GET".to_vec(), b"b".to_vec()],
    ];
    assert_eq!(whole(stream), (expected.clone(), Ok(10)));
    assert_eq!(bytewise(stream), (expected, Ok(10)));
}

/// Replies of redis-server 7.0 to the same bytes.
#[test]
fn errors() {
    const P: &str = "Protocol error: ";
    for (stream, text) in [
        (&b"*abc\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*00\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\nfoo\r\n", "expected '$', got 'f'"),
        (b"*1\r\nx\r\n", "expected '$', got 'x'"),
        (b"*1\r\n\r\n", "expected '$', got '\\r'"),
        (b"*1\r\n\xff\r\n", "expected '$', got '\\xff'"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$a\r\n", "invalid bulk length"),
        (b"*1\r\n$01\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"get \"a\r\n", "unbalanced quotes in request"),
        (b"get \"a\"b\r\n", "unbalanced quotes in request"),
    ] {
        assert_eq!(error(stream), format!("{P}{text}"), "{}", stream.escape_ascii());
    }
    // A line that is wrong is not complained about before it ends.
    for stream in [&b"*abc"[..], b"*abc\r", b"*1\r\nfoo", b"*1\r\n$x\r", b"*2147483647\r\n", b"$"] {
        assert!(error(stream).starts_with("no error"), "{}", stream.escape_ascii());
    }
}

#[test]
fn error_replies_carry_the_byte_as_it_is() {
    for (error, reply) in [
        (
            ProtocolError::ExpectedDollar(b'x'),
            &b"-ERR Protocol error: expected '$', got 'x'\r\n"[..],
        ),
        (ProtocolError::ExpectedDollar(0xff), b"-ERR Protocol error: expected '$', got '\xff'\r\n"),
        (ProtocolError::ExpectedDollar(b'\r'), b"-ERR Protocol error: expected '$', got ' '\r\n"),
        (ProtocolError::InvalidBulkLength, b"-ERR Protocol error: invalid bulk length\r\n"),
    ] {
        let mut out = Vec::new();
        error.write_reply(&mut out);
        assert_eq!(out, reply);
    }
}

#[test]
fn lines_that_do_not_end() {
    let text = |start: &str, len: usize, end: &str| {
        let line = start.to_owned() + &"a".repeat(len - start.len());
        let mut stream = if start == "$" { b"*1\r\n".to_vec() } else { Vec::new() };
        stream.extend_from_slice((line + end).as_bytes());
        whole(&stream).1.map_err(|e| e.to_string())
    };
    let err = |text: &str| Err(format!("Protocol error: {text}"));
    assert_eq!(text("", MAX_LINE, ""), Ok(MAX_LINE));
    assert_eq!(text("", MAX_LINE, "\n"), Ok(0));
    assert_eq!(text("", MAX_LINE + 1, ""), err("too big inline request"));
    assert_eq!(text("", MAX_LINE + 1, "\n"), err("too big inline request"));
    assert_eq!(text("*", MAX_LINE, ""), Ok(MAX_LINE));
    assert_eq!(text("*", MAX_LINE, "\r\n"), err("invalid multibulk length"));
    assert_eq!(text("*", MAX_LINE + 1, ""), err("too big mbulk count string"));
    assert_eq!(text("*", MAX_LINE + 1, "\r\n"), err("too big mbulk count string"));
    assert_eq!(text("$", MAX_LINE, ""), Ok(MAX_LINE + 4));
    assert_eq!(text("$", MAX_LINE + 1, ""), err("too big bulk count string"));
}

#[test]
fn before_authentication_little_is_allowed() {
    let limits = Limits { authenticated: false, ..LIMITS };
    let end = |stream: &[u8]| parse(&[stream], &limits).1.map_err(|e| e.to_string());
    assert_eq!(end(b"*10\r\n"), Ok(5));
    assert_eq!(end(b"*11\r\n"), Err("Protocol error: unauthenticated multibulk length".into()));
    assert_eq!(end(b"*1\r\n$16384\r\n"), Ok(12));
    assert_eq!(end(b"*1\r\n$16385\r\n"), Err("Protocol error: unauthenticated bulk length".into()));
    assert_eq!(end(b"*1\r\n$536870913\r\n"), Err("Protocol error: invalid bulk length".into()));
}

#[test]
fn proto_max_bulk_len_may_change() {
    let limits = Limits { max_bulk_len: 3, ..LIMITS };
    assert_eq!(parse(&[b"*1\r\n$3\r\nabc\r\n"], &limits).1, Ok(0));
    assert_eq!(parse(&[b"*1\r\n$4\r\n"], &limits).1, Err(ProtocolError::InvalidBulkLength));
}

#[test]
fn the_hint_says_what_a_bulk_string_lacks() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let mut next = |buf: &[u8]| parser.next(buf, &mut args, &LIMITS);
    assert_eq!(next(b""), Ok(Status::Incomplete { hint: 0 }));
    assert_eq!(next(b"*2\r\n$10"), Ok(Status::Incomplete { hint: 0 }));
    assert_eq!(next(b"*2\r\n$10\r\n"), Ok(Status::Incomplete { hint: 12 }));
    assert_eq!(next(b"*2\r\n$10\r\n0123456789\r"), Ok(Status::Incomplete { hint: 1 }));
    assert_eq!(next(b"*2\r\n$10\r\n0123456789\r\n"), Ok(Status::Incomplete { hint: 0 }));
    assert_eq!(
        next(b"*2\r\n$10\r\n0123456789\r\n$1\r\na\r\n*"),
        Ok(Status::Complete { consumed: 28 })
    );
}

#[test]
fn a_claim_allocates_nothing() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let stream = b"*2147483647\r\n$536870912\r\nabc";
    let status = parser.next(stream, &mut args, &LIMITS);
    assert_eq!(status, Ok(Status::Incomplete { hint: 536_870_911 }));
    assert!(parser.is_mid_request());
    assert_eq!(parser.pending.ranges.capacity() + args.ranges.capacity(), 0);
}

#[test]
fn long_lists_are_given_back() {
    let mut stream = b"*5000\r\n".to_vec();
    (0..5000).for_each(|_| stream.extend_from_slice(b"$1\r\nx\r\n"));
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let status = parser.next(&stream, &mut args, &LIMITS);
    assert_eq!(status, Ok(Status::Complete { consumed: stream.len() }));
    assert_eq!((args.len(), args.get(4999, &stream)), (5000, &b"x"[..]));
    parser.next(b"PING\r\n", &mut args, &LIMITS).unwrap();
    assert!(args.ranges.capacity() <= KEPT_RANGES);
}

#[test]
fn arguments_know_their_place() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let stream = b"*2\r\n$3\r\nGET\r\n$2\r\nkk\r\n";
    parser.next(stream, &mut args, &LIMITS).unwrap();
    assert_eq!(args.range_in_buf(1), Some(17..19));
    assert_eq!(args.range_in_buf(2), None);
    assert_eq!(args.iter(stream).collect::<Vec<_>>(), [&b"GET"[..], b"kk"]);
    parser.next(b"GET kk\r\n", &mut args, &LIMITS).unwrap();
    assert_eq!((args.range_in_buf(1), args.get(1, b"")), (None, &b"kk"[..]));
    assert!(!parser.is_mid_request() && !args.is_empty());
}

/// Requests as clients send them, with a broken one now and then.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let arg = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => proptest::collection::vec(any::<u8>(), 90..130),
    ];
    let array = proptest::collection::vec(arg, 0..6).prop_map(|a| crate::encode_command(&a));
    let inline = "[a-c \"'\\\\xn\t]{0,12}\r?\n".prop_map(String::into_bytes);
    let broken = "[*$]{0,2}[-+0-9a:]{0,3}\r?\n?".prop_map(String::into_bytes);
    let request = prop_oneof![8 => array, 3 => inline, 1 => broken];
    proptest::collection::vec(request, 0..8).prop_map(|r| r.concat())
}

fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c % (stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &stream[w[0]..w[1]]).collect()
}

proptest! {
    #[test]
    fn cuts_change_nothing(stream in streams(), cuts: Vec<usize>, authenticated: bool) {
        let limits = Limits { authenticated, max_bulk_len: 100 };
        let expected = parse(&[&stream], &limits);
        prop_assert_eq!(parse(&cut(&stream, &cuts), &limits), expected);
    }

    #[test]
    fn cuts_change_nothing_of_noise(
        stream in "[*$0-9a\r\n\"' -]{0,40}",
        cuts: Vec<usize>,
    ) {
        let stream = stream.as_bytes();
        prop_assert_eq!(parse(&cut(stream, &cuts), &LIMITS), whole(stream));
        prop_assert_eq!(bytewise(stream), whole(stream));
    }

    #[test]
    fn any_bytes_at_all(stream: Vec<u8>, cuts: Vec<usize>) {
        prop_assert_eq!(parse(&cut(&stream, &cuts), &LIMITS), whole(&stream));
    }

    #[test]
    fn what_was_encoded_is_parsed(args in proptest::collection::vec(any::<Vec<u8>>(), 1..9)) {
        prop_assert_eq!(whole(&crate::encode_command(&args)), (vec![args], Ok(0)));
    }
}
