//! BLPOP hand-off: how many items a second go from who pushes to who waits.
//!
//! Connections stand in pairs. Each sends, in one write, a push to its partner's list and a BLPOP of its own:
//! so an item goes to and fro, and whoever is pushed to has been waiting since before its last push. Every byte
//! that arrives is compared with what must.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::arguments::Arguments;
use crate::process;
use crate::record::Record;
use crate::workload::command;

struct Waiter {
    stream: TcpStream,
    /// What is sent each time: a push and a wait.
    request: Vec<u8>,
    /// Where the wait begins in it.
    wait_at: usize,
    /// What arrives before the next: the length that its push made, and the item.
    expected: Vec<u8>,
    input: Vec<u8>,
}

/// Measures for `--seconds`, and prints a record; an operation is one item handed over.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let host: String = arguments.get("host", "127.0.0.1".into())?;
    let port: u16 = arguments.get("port", 6379)?;
    let pairs: usize = arguments.get("pairs", 25)?;
    let seconds: f64 = arguments.get("seconds", 10.0)?;
    let pid: Option<u32> = arguments.maybe("pid")?;
    let mut record = Record::named(arguments)?;
    let file: Option<String> = arguments.maybe("record")?;
    arguments.finish()?;
    let failed = |why: std::io::Error| format!("{host}:{port}: {why}");
    let mut poll = Poll::new().map_err(failed)?;
    let mut events = Events::with_capacity(1024);
    let mut waiters = Vec::new();
    for n in 0..2 * pairs {
        let stream = std::net::TcpStream::connect((host.as_str(), port)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(n), Interest::READABLE).map_err(failed)?;
        let (own, partner) = (format!("queue:{n}"), format!("queue:{}", n ^ 1));
        let mut request = command(&[b"RPUSH", partner.as_bytes(), b"item"]);
        let wait_at = request.len();
        request.extend(command(&[b"BLPOP", own.as_bytes(), b"0"]));
        let expected = format!(":1\r\n*2\r\n${}\r\n{own}\r\n$4\r\nitem\r\n", own.len());
        let (expected, input) = (expected.into_bytes(), Vec::new());
        waiters.push(Waiter { stream, request, wait_at, expected, input });
    }
    let before = pid.map(process::usage).transpose()?;
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    // In each pair the odd one only waits at first, as if it had pushed before.
    for (n, waiter) in waiters.iter_mut().enumerate().rev() {
        let request = if n % 2 == 1 {
            waiter.input.extend_from_slice(b":1\r\n");
            &waiter.request[waiter.wait_at..]
        } else {
            &waiter.request[..]
        };
        waiter.stream.write_all(request).map_err(failed)?;
    }
    while Instant::now() < until {
        poll.poll(&mut events, Some(Duration::from_secs(5))).map_err(failed)?;
        if events.is_empty() {
            return Err(format!("{host}:{port}: no item came for five seconds"));
        }
        for event in &events {
            let waiter = &mut waiters[event.token().0];
            let mut buffer = [0; 4096];
            loop {
                match waiter.stream.read(&mut buffer) {
                    Ok(0) => {
                        return Err(format!("{host}:{port}: the server closed the connection"));
                    }
                    Ok(count) => waiter.input.extend_from_slice(&buffer[..count]),
                    Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                    Err(why) => return Err(failed(why)),
                }
            }
            if waiter.input.len() >= waiter.expected.len() {
                record.requests += 1;
                record.wrong += u64::from(waiter.input != waiter.expected);
                waiter.input.clear();
                waiter.stream.write_all(&waiter.request).map_err(failed)?;
            }
        }
    }
    record.seconds = began.elapsed().as_secs_f64();
    record.ops = record.requests as f64 / record.seconds;
    if let (Some(pid), Some(before)) = (pid, before) {
        let after = process::usage(pid)?;
        record.cpu = Some((after.cpu - before.cpu) * 1e6 / record.requests.max(1) as f64);
        record.resident = process::memory(pid).map(|memory| memory.resident);
    }
    record.print_and_append(file.as_deref())?;
    Ok(record.wrong == 0)
}
