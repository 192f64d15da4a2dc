//! MIGRATE between two servers.

mod common;

use common::{Running, show};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

/// Two servers, and the words of MIGRATE that lead from the first to the second.
fn pair() -> (Running, Running, String) {
    let (from, to) = (Running::start(|_| {}), Running::start(|_| {}));
    let place = format!("MIGRATE 127.0.0.1 {}", to.address.port());
    (from, to, place)
}

#[test]
fn values_of_every_kind_go_and_are_gone() {
    let (from, to, place) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    let commands = [
        "SET string value",
        "SET timed value PX 100000",
        "HSET hash f v g w",
        "RPUSH list a b c",
        "SADD set a b c",
        "ZADD zset 1 a 2.5 b",
        "XADD stream 1-1 f v",
        "XGROUP CREATE stream g 0",
        "PFADD hll a b c",
    ];
    for command in commands {
        here.line(command);
    }
    for i in 0..3000 {
        here.line(&format!("RPUSH large element:{i}"));
    }
    let keys = ["string", "timed", "hash", "list", "set", "zset", "stream", "hll", "large"];
    let before = keys.map(|key| show(&here.ask(&["DUMP", key])));
    let all = keys.join(" ");
    let refused = here.line(&format!("{place} string 0 5000 COPY KEYS nothing {all}"));
    assert_eq!(
        refused,
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
    );
    let words: Vec<&str> =
        place.split(' ').chain(["", "0", "5000", "COPY", "KEYS", "nothing"]).chain(keys).collect();
    assert_eq!(show(&here.ask(&words)), "OK");
    assert_eq!(here.line("DBSIZE"), "9");
    let after = keys.map(|key| show(&there.ask(&["DUMP", key])));
    assert_eq!(before, after);
    let ttl: u64 = there.line("PTTL timed").parse().unwrap();
    assert!((1..=100_000).contains(&ttl), "{ttl}");

    assert_eq!(
        here.line(&format!("{place} string 0 5000")),
        "ERR Target instance replied with error: BUSYKEY Target key name already exists."
    );
    assert_eq!(here.line("GET string"), "value");
    assert_eq!(here.line(&format!("{place} string 0 5000 REPLACE")), "OK");
    assert_eq!(here.line("EXISTS string"), "0");
    assert_eq!(here.line(&format!("{place} string 0 5000")), "NOKEY");
    assert_eq!(here.line(&format!("{place} hash 3 5000")), "OK");
    assert_eq!(there.line("DBSIZE"), "9");
    there.line("SELECT 3");
    assert_eq!(there.line("HGET hash f"), "v");
    assert_eq!(
        here.line(&format!("{place} set 99 5000")),
        "ERR Target instance replied with error: ERR DB index is out of range"
    );
    assert_eq!(here.line("DBSIZE"), "7");
}

#[test]
fn what_is_refused_stays_and_the_others_go() {
    let (from, to, place) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    for key in ["a", "b", "c"] {
        here.line(&format!("SET {key} here"));
    }
    there.line("SET b there");
    let words: Vec<&str> =
        place.split(' ').chain(["", "0", "5000", "KEYS", "a", "b", "c"]).collect();
    assert!(show(&here.ask(&words)).contains("BUSYKEY"));
    assert_eq!(here.line("KEYS *"), "[b]");
    assert_eq!(there.line("MGET a b c"), "[here there here]");
}

#[test]
fn who_asks_for_a_password_gets_it() {
    let (from, _, _) = pair();
    let to = Running::start(|config| config.requirepass = "secret".into());
    let (mut here, mut there) = (from.client(), to.client());
    let place = format!("MIGRATE 127.0.0.1 {}", to.address.port());
    here.line("MSET a 1 b 2");
    let refused = here.line(&format!("{place} a 0 5000"));
    assert_eq!(refused, "ERR Target instance replied with error: NOAUTH Authentication required.");
    assert!(here.line(&format!("{place} a 0 5000 AUTH wrong")).contains("WRONGPASS"));
    assert_eq!(here.line("DBSIZE"), "2");
    assert_eq!(here.line(&format!("{place} a 0 5000 AUTH secret")), "OK");
    assert_eq!(here.line(&format!("{place} b 0 5000 AUTH2 default secret")), "OK");
    assert_eq!(here.line("DBSIZE"), "0");
    there.line("AUTH secret");
    assert_eq!(there.line("MGET a b"), "[1 2]");
}

#[test]
fn a_command_that_is_run_again_sends_nothing_twice() {
    let (from, to, place) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    let call: Vec<String> = place.split(' ').map(|word| format!("'{word}'")).collect();
    let call = format!("redis.call({}, KEYS[1], '0', '5000')", call.join(","));
    for i in 0..20 {
        here.line(&format!("SET k:{i} v"));
        // Of the second key nobody knows until it is asked for: the script starts over with all shards.
        let script = format!("{call} return redis.call('INCR', 'other:' .. ARGV[1])");
        let (key, i) = (format!("k:{i}"), i.to_string());
        assert_eq!(show(&here.ask(&["EVAL", &script, "1", &key, &i])), "1");
    }
    here.line("SET e v");
    for line in ["MULTI", &format!("{place} e 0 5000"), "SET e again"] {
        here.line(line);
    }
    assert_eq!(here.line("EXEC"), "[OK OK]");
    assert_eq!((here.line("GET e"), here.line("DBSIZE")), ("again".into(), "21".into()));
    assert_eq!(there.line("DBSIZE"), "21");
}

#[test]
fn a_server_that_is_gone_or_silent_loses_nothing_and_holds_up_nobody_else() {
    let from = Running::start(|_| {});
    let mut here = from.client();
    here.line("SET a v");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    here.send(format!("MIGRATE 127.0.0.1 {port} a 0 4000\r\n").as_bytes());
    let (kept, _) = silent.accept().unwrap();
    // Three keys are not all in the shard of that one.
    let others: Vec<_> = (0..3)
        .map(|i| {
            let mut other = from.client();
            other.send(format!("SET n:{i} v\r\n").as_bytes());
            other.stream.set_nonblocking(true).unwrap();
            other
        })
        .collect();
    while !others.iter().any(|other| other.stream.peek(&mut [0]).is_ok()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    here.stream.set_nonblocking(true).unwrap();
    let kind = here.stream.peek(&mut [0]).map_err(|e| e.kind());
    assert_eq!(kind, Err(ErrorKind::WouldBlock), "nobody has answered yet");
    here.stream.set_nonblocking(false).unwrap();
    let silence = "IOERR error or timeout reading to target instance";
    assert_eq!(show(&here.receive().unwrap()), silence);
    assert_eq!(here.line("GET a"), "v");

    drop((kept, silent));
    let refused = here.line(&format!("MIGRATE 127.0.0.1 {port} a 0 1000"));
    assert_eq!(refused, "IOERR error or timeout writing to target instance");
    assert_eq!(here.line("GET a"), "v");
}
