//! CLIENT TRACKING and keyspace events with several clients, on two workers.

mod common;

use common::{Client, Running, show};
use forgekv_resp::encode_command;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn tracker(server: &Running, how: &str) -> Client<TcpStream> {
    let mut client = server.client();
    client.line("HELLO 3");
    assert_eq!(client.line(how), "OK");
    client
}

fn info(client: &mut Client<TcpStream>, name: &str) -> u64 {
    let text = client.line("INFO everything");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().parse().unwrap()
}

/// A cache that believes what it is told: in the end it must hold what the server holds.
#[test]
fn a_cache_is_never_stale_for_good() {
    let server = Running::start(|config| config.threads = 2);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|w| {
            let (mut client, stop) = (server.client(), stop.clone());
            std::thread::spawn(move || {
                let mut n = 0u64;
                while !stop.load(Relaxed) {
                    n += 1;
                    let key = format!("k{}", n % 8);
                    client.ask(&["SET", &key, &format!("{w}:{n}")]);
                }
            })
        })
        .collect();
    let mut reader = tracker(&server, "CLIENT TRACKING ON");
    let mut cache = vec![None; 8];
    let until = Instant::now() + Duration::from_secs(2);
    let mut told = 0;
    let mut is_last = false;
    loop {
        if Instant::now() > until && !is_last {
            is_last = true;
            stop.store(true, Relaxed);
            std::thread::sleep(Duration::from_millis(300));
        }
        // All that are not held, in one pipeline.
        let missing: Vec<usize> = (0..8).filter(|&n| cache[n].is_none()).collect();
        let mut bytes = Vec::new();
        for n in &missing {
            bytes.extend(encode_command(&["GET", &format!("k{n}")]));
        }
        bytes.extend(encode_command(&["PING"]));
        reader.send(&bytes);
        let mut answered = missing.iter();
        loop {
            let text = show(&reader.receive().unwrap());
            if let Some(name) = text.strip_prefix("[invalidate [k") {
                cache[name.trim_end_matches(']').parse::<usize>().unwrap()] = None;
                told += 1;
            } else if text == "PONG" {
                break;
            } else {
                cache[*answered.next().unwrap()] = Some(text);
            }
        }
        if is_last && missing.is_empty() {
            break;
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut client = server.client();
    for (n, value) in cache.iter().enumerate() {
        assert_eq!(value.as_deref(), Some(&*client.line(&format!("GET k{n}"))), "k{n}");
    }
    assert!(told > 50, "{told}");
}

#[test]
fn too_many_keys_are_forgotten_and_their_holders_told() {
    let server = Running::start(|config| config.tracking_table_max_keys = 100);
    let mut reader = tracker(&server, "CLIENT TRACKING ON");
    for n in 0..250 {
        let bytes = encode_command(&["GET", &format!("k{n}")]);
        reader.send(&bytes);
    }
    let mut told = 0;
    let mut answered = 0;
    while answered < 250 || told < 150 {
        match show(&reader.receive().unwrap()).as_str() {
            "nil" => answered += 1,
            text if text.starts_with("[invalidate [k") => told += 1,
            text => panic!("{text}"),
        }
    }
    let mut client = server.client();
    assert_eq!(info(&mut client, "tracking_total_keys"), 100);
    assert_eq!(info(&mut client, "tracking_total_items"), 100);
    assert_eq!(client.line("CONFIG SET tracking-table-max-keys 10"), "OK");
    assert_eq!(info(&mut client, "tracking_total_keys"), 10);
    assert_eq!(client.line("FLUSHALL"), "OK");
    assert_eq!(info(&mut client, "tracking_total_keys"), 0);
}

#[test]
fn who_is_gone_leaves_nothing_behind() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let mut plain = tracker(&server, "CLIENT TRACKING ON");
    plain.line("GET k");
    let broadcast = tracker(&server, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b");
    assert_eq!(info(&mut client, "tracking_clients"), 2);
    assert_eq!(info(&mut client, "tracking_total_prefixes"), 2);
    drop((plain, broadcast));
    let deadline = Instant::now() + Duration::from_secs(20);
    while info(&mut client, "tracking_clients") > 0 {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(info(&mut client, "tracking_total_prefixes"), 0);
    // Its names go when they change.
    client.line("SET k v");
    assert_eq!(info(&mut client, "tracking_total_keys"), 0);
}

#[test]
fn keys_read_in_a_transaction_are_tracked() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let mut reader = tracker(&server, "CLIENT TRACKING ON OPTIN");
    for line in ["CLIENT CACHING YES", "MULTI", "GET k", "MGET l m", "EXEC"] {
        reader.line(line);
    }
    client.line("MSET k 1 l 1 m 1 n 1");
    let told: Vec<_> = (0..3).map(|_| show(&reader.receive().unwrap())).collect();
    assert_eq!(told, ["[invalidate [k]]", "[invalidate [l]]", "[invalidate [m]]"]);
    assert_eq!(reader.line("GET k"), "1");
    client.line("SET k 2");
    assert_eq!(reader.line("PING"), "PONG");
}

#[test]
fn events_and_messages_of_a_transaction_come_after_it() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let mut listener = server.client();
    client.line("CONFIG SET notify-keyspace-events KEA");
    listener.line("PSUBSCRIBE *");
    for line in ["MULTI", "SET k v", "PUBLISH news x", "LPUSH k a", "DEL k"] {
        client.line(line);
    }
    client.line("PING");
    assert!(client.line("EXEC").starts_with("[OK 1 WRONGTYPE"));
    let seen: Vec<_> = (0..5).map(|_| show(&listener.receive().unwrap())).collect();
    assert_eq!(
        seen,
        [
            "[pmessage * __keyspace@0__:k set]",
            "[pmessage * __keyevent@0__:set k]",
            "[pmessage * __keyspace@0__:k del]",
            "[pmessage * __keyevent@0__:del k]",
            "[pmessage * news x]",
        ]
    );
    client.line("MULTI");
    client.line("PUBLISH news y");
    client.line("DISCARD");
    client.line("PUBLISH news z");
    assert_eq!(show(&listener.receive().unwrap()), "[pmessage * news z]");
}
