//! Pub/Sub with several clients, on two workers.

mod common;

use common::{Running, show};
use forgekv_resp::{Value, encode_command};
use forgekv_server::config::{OutputLimit, WalSyncMode};
use std::time::{Duration, Instant};

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn all_subscribers_see_all_messages_in_one_order() {
    let server = Running::start(|config| config.threads = 2);
    let mut listeners: Vec<_> = (0..20).map(|_| server.client()).collect();
    for listener in &mut listeners {
        assert_eq!(listener.line("SUBSCRIBE a b"), "[subscribe a 1]");
        assert_eq!(show(&listener.receive().unwrap()), "[subscribe b 2]");
    }
    let publishers: Vec<_> = (0..4)
        .map(|n| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                for i in 0..250 {
                    let channel = if i % 3 == 0 { "a" } else { "b" };
                    bytes.extend(encode_command(&["PUBLISH", channel, &format!("{n}:{i}")]));
                }
                client.send(&bytes);
                for _ in 0..250 {
                    assert_eq!(client.receive(), Some(Value::Int(20)));
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let mut first = None;
    for listener in &mut listeners {
        let seen: Vec<_> = (0..1000).map(|_| show(&listener.receive().unwrap())).collect();
        let of_one = seen.iter().filter(|m| m.contains(" 2:")).count();
        assert_eq!(of_one, 250);
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen);
    }
    // Each publisher's own order.
    let seen = first.unwrap();
    let numbers = seen.iter().filter_map(|m| m.strip_suffix(']')?.split_once(" 2:"));
    let numbers: Vec<u32> = numbers.map(|(_, n)| n.parse().unwrap()).collect();
    assert!(numbers.is_sorted());
}

#[test]
fn one_who_left_is_not_counted() {
    let server = Running::start(|_| {});
    let mut publisher = server.client();
    let mut listener = server.client();
    listener.line("SUBSCRIBE news");
    listener.line("PSUBSCRIBE n*");
    assert_eq!(publisher.line("PUBLISH news 1"), "2");
    assert_eq!(listener.line("RESET"), "[message news 1]");
    assert_eq!(show(&listener.receive().unwrap()), "[pmessage n* news 1]");
    assert_eq!(show(&listener.receive().unwrap()), "RESET");
    assert_eq!(publisher.line("PUBLISH news 2"), "0");
    listener.line("SUBSCRIBE news");
    drop(listener);
    wait_until("the connection's subscriptions end", || {
        publisher.line("PUBSUB NUMSUB news") == "[news 0]"
    });
    assert!(publisher.line("INFO clients").contains("pubsub_clients:0"));
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    let limit =
        |hard_bytes, soft_bytes, soft_seconds| OutputLimit { hard_bytes, soft_bytes, soft_seconds };
    for (pubsub, at_once) in [(limit(100_000, 0, 0), true), (limit(0, 100_000, 1), false)] {
        let server = Running::start(|config| config.client_output_buffer_limit.pubsub = pubsub);
        let mut publisher = server.client();
        let mut slow = server.client();
        slow.line("SUBSCRIBE news");
        let text = "x".repeat(50_000);
        let started = Instant::now();
        let mut published = 0;
        // What the sockets take does not count.
        while publisher.ask(&["PUBLISH", "news", &text]) == Value::Int(1) {
            published += 1;
            assert!(published < 10_000, "it is never closed");
            if !at_once && published > 400 {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let waited = started.elapsed() >= Duration::from_secs(1);
        assert!(if at_once { published <= 400 } else { waited }, "{pubsub:?}, {published}");
        wait_until("it is gone", || !publisher.line("CLIENT LIST").contains(" sub=1 "));
    }
}

#[test]
fn a_message_waits_for_the_sync_of_what_was_written_before_it() {
    let server = Running::start(|config| config.wal_sync_mode = WalSyncMode::Always);
    let mut publisher = server.client();
    let mut listener = server.client();
    let mut watcher = server.client();
    listener.line("SUBSCRIBE news");
    for n in 0..50 {
        let mut bytes = encode_command(&["SET", "k", &n.to_string()]);
        bytes.extend(encode_command(&["PUBLISH", "news", &n.to_string()]));
        publisher.send(&bytes);
        assert_eq!(show(&listener.receive().unwrap()), format!("[message news {n}]"));
        assert!(watcher.line("INFO persistence").contains("wal_unsynced_bytes:0\r\n"));
    }
}

#[test]
fn messages_to_oneself_follow_the_answers() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    client.line("HELLO 3");
    client.line("SUBSCRIBE me");
    let mut bytes = encode_command(&["PUBLISH", "me", "1"]);
    bytes.extend(encode_command(&["PUBLISH", "me", "2"]));
    client.send(&bytes);
    let seen: Vec<_> = (0..4).map(|_| show(&client.receive().unwrap())).collect();
    assert_eq!(seen, ["1", "1", "[message me 1]", "[message me 2]"]);
}
