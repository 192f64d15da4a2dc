//! The server as its clients see it.

mod common;

use common::{Client, Running, show};
use forgekv_resp::{Value, encode_command};
use forgekv_server::config::{Protection, WalSyncMode};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn commands_are_answered_however_they_arrive() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    assert_eq!(client.line("PING"), "PONG");
    assert_eq!(client.line("ping hello"), "hello");
    assert_eq!(client.line("ECHO x"), "x");
    assert_eq!(client.line("SET k v"), "OK");
    assert_eq!(client.line("GET k"), "v");

    // A long pipeline in one piece, and the same a few bytes at a time.
    let mut bytes = Vec::new();
    for n in 0..2000 {
        bytes.extend(encode_command(&["SET".to_owned(), format!("key:{n}"), n.to_string()]));
        bytes.extend(encode_command(&["GET".to_owned(), format!("key:{n}")]));
    }
    client.send(&bytes);
    for n in 0..2000 {
        assert_eq!(show(&client.receive().unwrap()), "OK");
        assert_eq!(show(&client.receive().unwrap()), n.to_string());
    }
    for piece in bytes[..4000].chunks(7) {
        client.send(piece);
    }
    assert_eq!(show(&client.receive().unwrap()), "OK");
    assert_eq!(show(&client.receive().unwrap()), "0");

    let mut inline = server.client();
    inline.send(b"SET \"a b\" 1\r\n\r\nGET 'a b'\n");
    assert_eq!(show(&inline.receive().unwrap()), "OK");
    assert_eq!(show(&inline.receive().unwrap()), "1");
}

#[test]
fn mistakes_are_answered_as_redis_does() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    for (line, answer) in [
        ("foo", "ERR unknown command 'foo', with args beginning with: "),
        ("foo a b", "ERR unknown command 'foo', with args beginning with: 'a' 'b' "),
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("GET a b", "ERR wrong number of arguments for 'get' command"),
        ("ping a b", "ERR wrong number of arguments for 'ping' command"),
        ("client", "ERR wrong number of arguments for 'client' command"),
        ("client foo", "ERR unknown subcommand 'foo'. Try CLIENT HELP."),
        ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
        ("select x", "ERR value is not an integer or out of range"),
        ("select 99", "ERR DB index is out of range"),
        ("hello 4", "NOPROTO unsupported protocol version"),
        ("hello x", "ERR Protocol version is not an integer or out of range"),
        ("hello 2 foo", "ERR Syntax error in HELLO option 'foo'"),
        ("auth a b", "WRONGPASS invalid username-password pair or user is disabled."),
        ("auth a b c", "ERR syntax error"),
        ("client kill type foo", "ERR Unknown client type 'foo'"),
        ("client kill id x", "ERR client-id should be greater than 0"),
        ("client kill addr", "ERR No such client"),
        ("client kill user nosuch", "ERR No such user 'nosuch'"),
        ("client list id a", "ERR Invalid client ID"),
        ("client list foo", "ERR syntax error"),
        ("shutdown abort", "ERR No shutdown in progress."),
        ("shutdown save nosave", "ERR syntax error"),
        ("command getkeys get", "ERR wrong number of arguments for 'command|getkeys' command"),
        ("command list filterby foo", "ERR syntax error"),
    ] {
        assert_eq!(client.line(line), answer, "{line}");
    }
    assert!(client.line("debug sleep 0").starts_with("ERR DEBUG command not allowed."));
    let long = "x".repeat(500);
    let answer = show(&client.ask(&["nope", &long, "y"]));
    assert_eq!(answer.len(), "ERR unknown command 'nope', with args beginning with: ".len() + 131);
    client.send(b"*2\r\n$3\r\nGET\r\n:1\r\n");
    assert_eq!(show(&client.receive().unwrap()), "ERR Protocol error: expected '$', got ':'");
    assert!(client.receive().is_none(), "the connection is closed");
}

#[test]
fn a_password_is_asked_for() {
    let server = Running::start(|c| c.requirepass = b"secret".to_vec());
    let mut client = server.client();
    assert_eq!(client.line("GET k"), "NOAUTH Authentication required.");
    assert!(client.line("HELLO 3").starts_with("NOAUTH HELLO must be called"));
    assert!(client.line("AUTH wrong").starts_with("WRONGPASS"));
    assert!(client.line("AUTH other secret").starts_with("WRONGPASS"));
    assert_eq!(client.line("AUTH secret"), "OK");
    assert_eq!(client.line("GET k"), "nil");
    assert_eq!(client.line("RESET"), "RESET");
    assert_eq!(client.line("GET k"), "NOAUTH Authentication required.");
    let hello = client.ask(&["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"]);
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
    assert_eq!(client.ask(&["GET", "k"]), Value::Null);
    assert_eq!(client.line("CLIENT GETNAME"), "me");
    assert_eq!(client.line("CONFIG SET requirepass new"), "OK");
    let mut other = server.client();
    assert!(other.line("AUTH secret").starts_with("WRONGPASS"));
    assert_eq!(other.line("AUTH new"), "OK");
}

#[test]
fn clients_are_listed_named_and_closed() {
    let server = Running::start(|_| {});
    let (mut a, mut b) = (server.client(), server.client());
    let id = |client: &mut Client<_>| client.line("CLIENT ID").parse::<u64>().unwrap();
    let (ida, idb) = (id(&mut a), id(&mut b));
    assert!(ida > 0 && ida != idb);
    assert_eq!(a.line("CLIENT SETNAME first"), "OK");
    assert_eq!(
        show(&a.ask(&["CLIENT", "SETNAME", "a b"])),
        "ERR Client names cannot contain spaces, newlines or special characters."
    );
    assert_eq!(a.line("CLIENT SETINFO lib-name lib"), "OK");
    assert_eq!(b.line("SELECT 3"), "OK");
    let list = a.line("CLIENT LIST");
    assert_eq!(list.lines().count(), 2, "{list}");
    let line = list.lines().find(|l| l.contains(" name=first ")).unwrap();
    assert!(line.contains("cmd=client|list") && line.contains("lib-name=lib"), "{line}");
    assert!(list.contains(" db=3 "), "{list}");
    assert_eq!(a.line(&format!("CLIENT LIST ID {idb} 999")).lines().count(), 1);
    assert_eq!(a.line("CLIENT LIST TYPE pubsub"), "");

    assert_eq!(a.line("CLIENT KILL ID 99999"), "0");
    assert_eq!(a.line(&format!("CLIENT KILL ID {idb}")), "1");
    assert!(b.receive().is_none());
    assert_eq!(a.line("CLIENT KILL TYPE normal SKIPME yes"), "0");
    let address = a.stream.local_addr().unwrap().to_string();
    assert_eq!(a.line(&format!("CLIENT KILL {address}")), "OK");
    assert!(a.receive().is_none(), "closed after the answer");

    let mut c = server.client();
    assert_eq!(c.line("QUIT"), "OK");
    assert!(c.receive().is_none());
}

#[test]
fn replies_can_be_switched_off() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    client.send(&encode_command(&["CLIENT", "REPLY", "OFF"]));
    client.send(&encode_command(&["SET", "a", "1"]));
    client.send(&encode_command(&["nonsense"]));
    assert_eq!(client.line("CLIENT REPLY ON"), "OK");
    client.send(&encode_command(&["CLIENT", "REPLY", "SKIP"]));
    client.send(&encode_command(&["SET", "b", "1"]));
    assert_eq!(client.line("GET a"), "1");
}

#[test]
fn data_is_there_after_a_restart_in_every_mode() {
    for mode in [WalSyncMode::Always, WalSyncMode::EverySecond, WalSyncMode::Never] {
        let server = Running::start(|c| c.wal_sync_mode = mode);
        let mut client = server.client();
        for n in 0..200 {
            assert_eq!(client.line(&format!("SET key:{n} {n}")), "OK");
        }
        assert_eq!(client.line("EXPIRE key:7 1000"), "1");
        let server = server.restart();
        let mut client = server.client();
        for n in 0..200 {
            assert_eq!(client.line(&format!("GET key:{n}")), n.to_string(), "{mode:?}");
        }
        assert!(client.line("TTL key:7").parse::<i64>().unwrap() > 500);
        assert_eq!(client.line("DBSIZE"), "200");
    }
}

#[test]
fn reload_is_a_real_recovery_and_others_wait_for_it() {
    let server = Running::start(|c| c.enable_debug_command = Protection::Yes);
    let mut client = server.client();
    let mut other = server.client();
    for n in 0..100 {
        client.line(&format!("SET key:{n} {n}"));
    }
    for _ in 0..5 {
        client.send(&encode_command(&["DEBUG", "RELOAD"]));
        assert_eq!(other.line("GET key:5"), "5");
        assert_eq!(show(&client.receive().unwrap()), "OK");
        assert_eq!(client.line("GET key:99"), "99");
    }
    assert_eq!(client.line("DBSIZE"), "100");
    assert_eq!(client.line("DEBUG LOADAOF"), "OK");
    assert_eq!(client.line("DEBUG SLEEP 0.01"), "OK");
    assert_eq!(client.line("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    assert_eq!(client.line("DEBUG STRINGMATCH-LEN 1000 a*b"), "0");
    assert!(client.line("DEBUG OBJECT key:1").contains("encoding:int"));
    assert_eq!(client.line("DEBUG OBJECT nokey"), "ERR no such key");
    assert!(client.line("DEBUG SEGFAULT").starts_with("ERR unknown subcommand"));
}

#[test]
fn there_is_a_limit_of_clients() {
    let server = Running::start(|c| c.maxclients = 3);
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.line("PING"), "PONG");
    }
    let mut more = server.client();
    assert_eq!(show(&more.receive().unwrap()), "ERR max number of clients reached");
    assert!(more.receive().is_none());
    assert_eq!(clients[0].line("CONFIG SET maxclients 10"), "OK");
    assert_eq!(server.client().line("PING"), "PONG");
}

#[test]
fn large_values_and_slow_readers() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let value = "x".repeat(20 << 20);
    assert_eq!(show(&client.ask(&["SET", "big", &value])), "OK");
    assert_eq!(client.line("STRLEN big"), value.len().to_string());
    // Many large answers are asked for before one is read; meanwhile others are served.
    for _ in 0..5 {
        client.send(&encode_command(&["GET", "big"]));
    }
    let mut other = server.client();
    assert_eq!(other.line("PING"), "PONG");
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..5 {
        let Some(Value::Bulk(bytes)) = client.receive() else { panic!() };
        assert_eq!(bytes.len(), value.len());
    }
    assert_eq!(other.line("PING"), "PONG");
}

#[test]
fn a_client_that_leaves_its_answers_unread_is_closed() {
    let server = Running::start(|c| c.client_output_buffer_limit.normal.hard_bytes = 1 << 20);
    let mut client = server.client();
    let value = "x".repeat(4 << 20);
    assert_eq!(show(&client.ask(&["SET", "big", &value])), "OK");
    for _ in 0..20 {
        client.send(&encode_command(&["GET", "big"]));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.client().line("CLIENT LIST").lines().count(), 1);
}

#[test]
fn large_answers_wait_for_the_sync_and_all_arrive() {
    let server = Running::start(|c| c.wal_sync_mode = WalSyncMode::Always);
    let mut client = server.client();
    let value = "x".repeat(300_000);
    assert_eq!(show(&client.ask(&["SET", "big", &value])), "OK");
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(encode_command(&["SET".to_owned(), "n".to_owned(), n.to_string()]));
        bytes.extend(encode_command(&["GET", "big"]));
    }
    client.send(&bytes);
    for _ in 0..100 {
        assert_eq!(show(&client.receive().unwrap()), "OK");
        let Some(Value::Bulk(bytes)) = client.receive() else { panic!() };
        assert_eq!(bytes.len(), value.len());
    }
}

#[test]
fn idle_clients_are_closed() {
    let server = Running::start(|c| c.timeout = 1);
    let mut client = server.client();
    assert_eq!(client.line("PING"), "PONG");
    assert!(client.receive().is_none());
}

#[test]
fn the_unix_socket_serves_too() {
    let server = Running::start(|c| c.unixsocket = "sock".into());
    let stream = std::os::unix::net::UnixStream::connect(server.path().join("sock")).unwrap();
    let mut client = Client::new(stream);
    assert_eq!(client.line("SET a 1"), "OK");
    assert!(client.line("CLIENT INFO").contains("flags=U "));
    assert_eq!(server.client().line("GET a"), "1");
}

#[test]
fn the_table_describes_itself() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let count: usize = client.line("COMMAND COUNT").parse().unwrap();
    let Value::Array(all) = client.ask(&["COMMAND"]) else { panic!() };
    assert_eq!(all.len(), count);
    assert_eq!(client.line("COMMAND GETKEYS MSET a 1 b 2"), "[a b]");
    assert_eq!(client.line("COMMAND GETKEYS PING x y"), "ERR The command has no key arguments");
    assert_eq!(client.line("COMMAND GETKEYS nope x"), "ERR Invalid command specified");
    assert_eq!(client.line("COMMAND GETKEYSANDFLAGS SET a 1"), "[[a [OW update]]]");
    assert_eq!(client.line("COMMAND GETKEYSANDFLAGS SET a 1 GET"), "[[a [RW access update]]]");
    assert_eq!(client.line("COMMAND LIST FILTERBY PATTERN getr*"), "[getrange]");
    assert_eq!(client.line("COMMAND INFO nope get").split(' ').next(), Some("[nil"));
    let docs = client.line("COMMAND DOCS set config|get");
    for part in ["summary", "token XX", "token EX", "type oneof", "flags [optional]"] {
        assert!(docs.contains(part), "{part}: {docs}");
    }
    assert!(client.line("CONFIG HELP").contains("CONFIG <subcommand>"));
    client.line("HELLO 3");
    assert!(matches!(client.ask(&["COMMAND", "DOCS", "get"]), Value::Map(_)));
}

#[test]
fn configuration_and_figures() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    assert_eq!(client.line("CONFIG GET databases"), "[databases 16]");
    assert_eq!(client.line("CONFIG SET timeout 100 maxclients 500"), "OK");
    assert_eq!(client.line("CONFIG GET timeout"), "[timeout 100]");
    assert_eq!(
        client.line("CONFIG SET timeout"),
        "ERR wrong number of arguments for 'config|set' command"
    );
    assert!(client.line("CONFIG REWRITE").starts_with("ERR The server is running without"));
    assert_eq!(client.line("CONFIG SET appendfsync always"), "OK");
    assert_eq!(client.line("SET a 1"), "OK");
    assert_eq!(client.line("SELECT 2"), "OK");
    assert_eq!(client.line("SET b 1"), "OK");
    assert!(client.line("INCR a b").starts_with("ERR"));
    let info = client.line("INFO");
    for part in
        ["redis_version:7.2", "connected_clients:1", "db0:keys=1", "db2:keys=1", "role:master"]
    {
        assert!(info.contains(part), "{part}: {info}");
    }
    assert!(client.line("INFO commandstats").contains("cmdstat_set:calls=2,"));
    assert!(client.line("INFO commandstats").contains("rejected_calls=1"));
    assert_eq!(client.line("CONFIG RESETSTAT"), "OK");
    assert!(!client.line("INFO commandstats").contains("cmdstat_set"));
    assert_eq!(client.line("SAVE"), "OK");
    assert!(client.line("LASTSAVE").parse::<u64>().unwrap() > 1_700_000_000);
    let Value::Array(time) = client.ask(&["TIME"]) else { panic!() };
    assert_eq!(time.len(), 2);
}

#[test]
fn listening_elsewhere_keeps_those_who_are_here() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(client.line(&format!("CONFIG SET port {free}")), "OK");
    assert_eq!(client.line("PING"), "PONG");
    let mut other = Client::new(std::net::TcpStream::connect(("127.0.0.1", free)).unwrap());
    assert_eq!(other.line("PING"), "PONG");
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn shutdown_ends_the_server_and_loses_nothing() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    assert_eq!(client.line("SET a 1"), "OK");
    let dir = server.dir.clone();
    client.send(&encode_command(&["SHUTDOWN", "NOSAVE"]));
    assert!(client.receive().is_none());
    server.wait();
    let server = Running::start_in(dir, |_| {});
    assert_eq!(server.client().line("GET a"), "1");
}

#[test]
fn a_stop_under_load_answers_only_what_it_keeps() {
    let server = Running::start(|c| c.wal_sync_mode = WalSyncMode::Always);
    let (address, stopper) = (server.address, server.stopper());
    let writers: Vec<_> = (0..8)
        .map(|n| {
            std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                let mut acknowledged = 0u64;
                let mut chunk = [0; 64];
                loop {
                    let bytes = encode_command(&["INCR".to_owned(), format!("counter:{n}")]);
                    if stream.write_all(&bytes).is_err() {
                        return acknowledged;
                    }
                    match stream.read(&mut chunk) {
                        Ok(read) if read > 0 && chunk[0] == b':' => acknowledged += 1,
                        _ => return acknowledged,
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    stopper.stop();
    let server = server.restart();
    let mut client = server.client();
    for (n, writer) in writers.into_iter().enumerate() {
        let acknowledged = writer.join().unwrap();
        let kept: u64 = client.line(&format!("GET counter:{n}")).parse().unwrap();
        assert!(acknowledged > 0 && (acknowledged..=acknowledged + 1).contains(&kept));
    }
}

#[test]
fn data_larger_than_memory_is_served() {
    let server = Running::start(|c| {
        c.maxmemory = 24 << 20;
        c.memtable_size_mb = 4;
    });
    let mut client = server.client();
    let value = |n: usize| format!("{n:08}").repeat(128);
    for batch in 0..60 {
        let mut bytes = Vec::new();
        for n in 0..1000 {
            let n = batch * 1000 + n;
            bytes.extend(encode_command(&["SET".to_owned(), format!("key:{n}"), value(n)]));
        }
        client.send(&bytes);
        for _ in 0..1000 {
            assert_eq!(show(&client.receive().unwrap()), "OK");
        }
    }
    for n in (0..60_000).step_by(37) {
        assert_eq!(client.line(&format!("GET key:{n}")), value(n));
    }
    // Some keys at once, in many shards.
    let keys: Vec<String> = (0..50).map(|n| format!("key:{}", n * 1111)).collect();
    let mut words = vec!["MGET"];
    words.extend(keys.iter().map(String::as_str));
    let Value::Array(found) = client.ask(&words) else { panic!() };
    for (n, found) in found.iter().enumerate() {
        assert_eq!(show(found), value(n * 1111));
    }
    assert_eq!(client.line("DBSIZE"), "60000");
    let server = server.restart();
    let mut client = server.client();
    assert_eq!(client.line("DBSIZE"), "60000");
    assert_eq!(client.line("GET key:59999"), value(59_999));
}

#[test]
fn many_clients_on_all_workers() {
    let server = Running::start(|_| {});
    let address = server.address;
    let threads: Vec<_> = (0..20)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = Client::new(std::net::TcpStream::connect(address).unwrap());
                for round in 0..200 {
                    assert_eq!(client.line(&format!("SET t:{n}:{round} {round}")), "OK");
                    assert!(client.line("INCR shared").parse::<u64>().is_ok());
                    assert_eq!(client.line(&format!("GET t:{n}:{round}")), round.to_string());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.client().line("GET shared"), "4000");
}

#[test]
fn expired_keys_are_removed_by_themselves() {
    let server = Running::start(|_| {});
    let mut client = server.client();
    for n in 0..500 {
        client.line(&format!("SET key:{n} x PX 50"));
    }
    client.line("SET stays x");
    let started = Instant::now();
    while client.line("DBSIZE") != "1" {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", client.line("DBSIZE"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(client.line("INFO stats").contains("expired_keys:500"));
}
