//! Scripts and transactions on data that is not in memory: they are run again until all is there, and what
//! they do beside the data happens once.

mod common;

use common::{Running, show};
use std::time::{Duration, Instant};

const KEYS: usize = 400;

/// A server that has just been started on data that lies in tables.
fn cold() -> Running {
    let server = Running::start(|_| {});
    let mut client = server.client();
    for i in 0..KEYS {
        client.ask(&["SET", &format!("k{i}"), &format!("{i}:{}", "v".repeat(2000))]);
        client.ask(&["HSET", &format!("h{i}"), "f", &i.to_string()]);
    }
    assert!(client.line("BGREWRITEAOF").starts_with("Background"));
    let start = Instant::now();
    while !client.line("INFO persistence").contains("aof_rewrite_in_progress:0") {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(client);
    server.restart()
}

#[test]
fn a_script_that_finds_nothing_in_memory_happens_once() {
    let server = cold();
    let mut watcher = server.client();
    watcher.line("SUBSCRIBE told");
    let mut client = server.client();
    let text = "local length, sum = 0, 0 \
         for i = 0, tonumber(ARGV[1]) - 1 do \
           length = length + #redis.call('GET', 'k' .. i) \
           sum = sum + redis.call('HGET', 'h' .. i, 'f') \
           if i % 100 == 0 then \
             redis.call('INCR', 'n') redis.call('RPUSH', 'l', i) \
             redis.call('PUBLISH', 'told', i .. ' after ' .. sum) \
           end \
         end \
         redis.call('PUBLISH', 'told', 'end') \
         return {length, sum, redis.call('GET', 'n')}";
    let told = show(&client.ask(&["EVAL", text, "0", &KEYS.to_string()]));
    let digits: usize = (0..KEYS).map(|i| i.to_string().len()).sum();
    let sum = KEYS * (KEYS - 1) / 2;
    assert_eq!(told, format!("[{} {sum} 4]", KEYS * 2001 + digits));
    assert_eq!(client.line("LRANGE l 0 -1"), "[0 100 200 300]");
    for i in [0, 100, 200, 300] {
        let message = format!("[message told {i} after {}]", i * (i + 1) / 2);
        assert_eq!(show(&watcher.receive().unwrap()), message);
    }
    assert_eq!(show(&watcher.receive().unwrap()), "[message told end]");
    assert_eq!(client.line("PUBLISH told last"), "1");
    assert_eq!(show(&watcher.receive().unwrap()), "[message told last]");
}

#[test]
fn a_transaction_that_finds_nothing_in_memory_happens_once() {
    let server = cold();
    let mut watcher = server.client();
    watcher.line("SUBSCRIBE told");
    let mut client = server.client();
    client.line("MULTI");
    for i in 0..50 {
        client.line(&format!("STRLEN k{i}"));
        client.line(&format!("HINCRBY h{i} f 1"));
        client.line("INCR n");
        client.line(&format!("PUBLISH told {i}"));
    }
    client.line("HELLO 3");
    client.line("CLIENT SETNAME me");
    client.line("HGETALL h60");
    let told = show(&client.ask(&["EXEC"]));
    let expected: Vec<String> =
        (0..50).map(|i| format!("{} {} {} 1", 2001 + i.to_string().len(), i + 1, i + 1)).collect();
    assert!(told.starts_with(&format!("[{} {{", expected.join(" "))), "{told}");
    assert!(told.ends_with(" OK {f:60}]"), "{told}");
    assert_eq!(client.line("CLIENT GETNAME"), "me");
    assert_eq!(client.line("GET n"), "50");
    for i in 0..50 {
        assert_eq!(show(&watcher.receive().unwrap()), format!("[message told {i}]"));
    }
    client.line("PUBLISH told last");
    assert_eq!(show(&watcher.receive().unwrap()), "[message told last]");
}
