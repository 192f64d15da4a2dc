//! PUBLISH to many subscribers: what one message costs the server.
//!
//! One publisher waits for each answer. Subscribers are read in turn, some messages at a time, and every
//! byte that arrives is compared with what must.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::process;
use crate::record::Record;
use crate::workload::command;

/// Messages that are published before the subscribers are read: few, so that no buffer overflows.
const BATCH: u64 = 16;

/// Reads exactly what is expected; false if something else came.
fn expect(stream: &mut TcpStream, expected: &[u8], buffer: &mut Vec<u8>) -> Result<bool, String> {
    buffer.resize(expected.len(), 0);
    stream.read_exact(buffer).map_err(|why| format!("reading: {why}"))?;
    Ok(buffer == expected)
}

/// Measures, and prints a record.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let host: String = arguments.get("host", "127.0.0.1".into())?;
    let port: u16 = arguments.get("port", 6379)?;
    let subscribers: u64 = arguments.get("subscribers", 1000)?;
    let messages: u64 = arguments.get("messages", 2000)?;
    let size: usize = arguments.get("size", 64)?;
    let pid: Option<u32> = arguments.maybe("pid")?;
    let mut record = Record::named(arguments)?;
    let file: Option<String> = arguments.maybe("record")?;
    arguments.finish()?;
    let connect = || {
        let stream = TcpStream::connect((host.as_str(), port)).map_err(|why| why.to_string())?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        Ok::<_, String>(stream)
    };
    let mut buffer = Vec::new();
    let mut listeners = Vec::new();
    for _ in 0..subscribers {
        let mut listener = connect()?;
        let subscribe = command(&[b"SUBSCRIBE", b"news"]);
        listener.write_all(&subscribe).map_err(|why| why.to_string())?;
        if !expect(&mut listener, b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", &mut buffer)? {
            return Err("the subscription was not confirmed".into());
        }
        listeners.push(listener);
    }
    let mut publisher = connect()?;
    let text = vec![b'x'; size];
    let publish = command(&[b"PUBLISH", b"news", &text]);
    let message = command(&[b"message", b"news", &text]);
    let answer = format!(":{subscribers}\r\n").into_bytes();
    let before = pid.map(process::usage).transpose()?;
    let began = Instant::now();
    let mut published = 0;
    while published < messages {
        let batch = BATCH.min(messages - published);
        for _ in 0..batch {
            publisher.write_all(&publish).map_err(|why| why.to_string())?;
            record.wrong += u64::from(!expect(&mut publisher, &answer, &mut buffer)?);
        }
        let expected = message.repeat(batch as usize);
        for listener in &mut listeners {
            record.wrong += u64::from(!expect(listener, &expected, &mut buffer)?);
        }
        published += batch;
    }
    record.seconds = began.elapsed().as_secs_f64();
    record.requests = published;
    record.ops = published as f64 / record.seconds;
    if let (Some(pid), Some(before)) = (pid, before) {
        let after = process::usage(pid)?;
        record.cpu = Some((after.cpu - before.cpu) * 1e6 / published as f64);
        record.resident = process::memory(pid).map(|memory| memory.resident);
    }
    record.print_and_append(file.as_deref())?;
    Ok(record.wrong == 0)
}
