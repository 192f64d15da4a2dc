//! Requests that ask for the impossible, of a server whose address space is limited (`ulimit -v`):
//! each gets an error or a bounded answer, memory stays small, and the server goes on serving.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use forgekv_compat_tests::Result;
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::text::render;

/// What the server may map. Its budget is 512 MiB; a server that believes a header's 96 GB dies.
const ADDRESS_SPACE_KIB: u64 = 8 << 20;
/// What may be resident at any time.
const RESIDENT_KIB: u64 = 1 << 20;

#[test]
fn forgekv_survives() -> Result<()> {
    let server = Start::forgekv()?.address_space_kib(ADDRESS_SPACE_KIB).run()?;
    all(server, "forgekv")
}

type Check = fn(&Server) -> Result<()>;

const CASES: &[(&str, Check)] = &[
    ("a multibulk header that asks for 96 GB", multibulk_of_96_gb),
    ("as many arguments as may be announced", most_arguments),
    ("a bulk string of 96 GB", bulk_of_96_gb),
    ("a hundred clients that each announce 512 MB", many_large_bulks),
    ("a hundred clients that each announce a million arguments", many_large_multibulks),
    ("HRANDFIELD with counts beyond all bounds", hrandfield_counts),
    ("HRANDFIELD that would answer gigabytes to nobody", hrandfield_of_gigabytes),
    ("COUNT beyond all bounds", scan_counts),
    ("LCS of two long strings", lcs_of_long_strings),
    ("SETRANGE far out", setrange_far_out),
    ("a pattern made to take for ever", pathological_pattern),
    ("a client that does not read", client_that_does_not_read),
    ("an endless line", endless_line),
    ("rubbish", rubbish),
];

fn all(mut server: Server, who: &str) -> Result<()> {
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CASES {
        let started = Instant::now();
        let outcome = check(&server).and_then(|()| still_serves(&mut server));
        match outcome {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("FAILED {name} ({:.1?}): {error}", started.elapsed());
                if !server.is_alive() {
                    println!("the server died:\n{}", server.printed());
                    server.start_again()?;
                }
            }
        }
    }
    println!("RESULT hostile/{who} passed={passed} failed={failed} skipped=0");
    if failed > 0 { Err(format!("{failed} hostile cases").into()) } else { Ok(()) }
}

fn still_serves(server: &mut Server) -> Result<()> {
    if !server.is_alive() {
        return Err("the server is gone".into());
    }
    let mut client = server.connect()?;
    client.call(&["SET", "still", "here"])?;
    let reply = client.call(&["GET", "still"])?;
    if reply.as_bytes() != Some(b"here") {
        return Err(format!("GET answers {:?}", render(&reply)).into());
    }
    let resident = resident_kib(server)?;
    client.call(&["FLUSHALL"])?;
    if resident > RESIDENT_KIB {
        return Err(format!("{} MB are resident", resident >> 10).into());
    }
    Ok(())
}

fn resident_kib(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Sends bytes; the first reply must be an error and the connection be closed.
fn refused(server: &Server, bytes: &[u8]) -> Result<()> {
    let mut client = server.connect()?;
    client.send_raw(bytes)?;
    let reply = client.read()?;
    if !reply.is_error() {
        return Err(format!("answered {:?}", render(&reply)).into());
    }
    if client.closes() { Ok(()) } else { Err("the connection stays open".into()) }
}

fn multibulk_of_96_gb(server: &Server) -> Result<()> {
    refused(server, b"*103079215104\r\n")
}

fn most_arguments(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.send_raw(b"*2147483647\r\n$3\r\nSET\r\n$1\r\nk\r\n")?;
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

fn bulk_of_96_gb(server: &Server) -> Result<()> {
    refused(server, b"*2\r\n$4\r\nECHO\r\n$103079215104\r\n")
}

fn many(server: &Server, bytes: &[u8]) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = server.connect()?;
        client.send_raw(bytes)?;
        clients.push(client);
    }
    std::thread::sleep(Duration::from_millis(200));
    let resident = resident_kib(server)?;
    if resident > RESIDENT_KIB {
        Err(format!("{} MB for announcements", resident >> 10).into())
    } else {
        Ok(())
    }
}

fn many_large_bulks(server: &Server) -> Result<()> {
    many(server, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nxx")
}

fn many_large_multibulks(server: &Server) -> Result<()> {
    many(server, b"*1000000\r\n$4\r\nMGET\r\n$1\r\nk\r\n")
}

fn hrandfield_counts(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.call(&["HSET", "h", "a", "1", "b", "2"])?;
    for count in ["-9223372036854775808", "-9223372036854775807", "9223372036854775808"] {
        for more in [&[][..], &["WITHVALUES"]] {
            let words: Vec<&str> =
                ["HRANDFIELD", "h", count].into_iter().chain(more.iter().copied()).collect();
            // A count that is a number of 64 bits may be served as a stream; anything but a crash.
            if count != "-9223372036854775807" && !client.call(&words)?.is_error() {
                return Err(format!("{words:?} is no error").into());
            }
        }
    }
    Ok(())
}

fn hrandfield_of_gigabytes(server: &Server) -> Result<()> {
    server.connect()?.call(&["HSET", "h", "a", "1", "b", "2"])?;
    let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(b"HRANDFIELD h -200000000 WITHVALUES\r\n")?;
    let mut some = [0; 1 << 16];
    let n = socket.read(&mut some)?;
    if !matches!(some[..n].first(), Some(b'-' | b'*')) {
        return Err("neither an error nor an array".into());
    }
    let resident = resident_kib(server)?;
    if resident > RESIDENT_KIB {
        Err(format!("{} MB for one reply", resident >> 10).into())
    } else {
        Ok(())
    }
}

fn scan_counts(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.call(&["HSET", "h", "a", "1", "b", "2"])?;
    for words in [
        &["SCAN", "0", "COUNT", "9223372036854775807"][..],
        &["HSCAN", "h", "0", "COUNT", "9223372036854775807"],
        &["SCAN", "18446744073709551615", "COUNT", "9223372036854775807"],
        &["HRANDFIELD", "h", "9223372036854775807"],
    ] {
        client.call(words)?;
    }
    Ok(())
}

fn lcs_of_long_strings(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.call(&["MSET", "a", &"x".repeat(1 << 20), "b", &"y".repeat(1 << 20)])?;
    let reply = client.call(&["LCS", "a", "b"])?;
    if reply.is_error() { Ok(()) } else { Err("a matrix of 4 TB is no error".into()) }
}

fn setrange_far_out(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.set_patience(Duration::from_secs(60))?;
    if !client.call(&["SETRANGE", "k", "536870912", "x"])?.is_error() {
        return Err("beyond 512 MB is no error".into());
    }
    if !client.call(&["SETRANGE", "k", "9223372036854775807", "x"])?.is_error() {
        return Err("an offset near 2^63 is no error".into());
    }
    Ok(())
}

fn pathological_pattern(server: &Server) -> Result<()> {
    let mut client = server.connect()?;
    client.call(&["SET", &"a".repeat(200), "v"])?;
    client.call(&["KEYS", &("a*".repeat(60) + "b")])?;
    client.call(&["SCAN", "0", "MATCH", &("*a".repeat(60) + "b")])?;
    Ok(())
}

/// Asks for 10 GB of replies in all and reads none.
fn client_that_does_not_read(server: &Server) -> Result<()> {
    server.connect()?.call(&["SET", "big", &"x".repeat(10 << 20)])?;
    let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    let asked = b"GET big\r\n".repeat(1000);
    // The server may stop reading, or close.
    socket.write_all(&asked).ok();
    std::thread::sleep(Duration::from_secs(1));
    let resident = resident_kib(server)?;
    if resident > RESIDENT_KIB {
        Err(format!("{} MB of replies wait", resident >> 10).into())
    } else {
        Ok(())
    }
}

fn endless_line(server: &Server) -> Result<()> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
    socket.set_write_timeout(Some(Duration::from_secs(5)))?;
    let block = [b'x'; 1 << 16];
    for _ in 0..1000 {
        if socket.write_all(&block).is_err() {
            return Ok(());
        }
    }
    Err("64 MB without a line end were taken".into())
}

fn rubbish(server: &Server) -> Result<()> {
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..200 {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
        let bytes: Vec<u8> = (0..400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"*$\r\n0123456789-GETSEFLUX \"'\0\xff"[(state % 29) as usize]
            })
            .collect();
        // SHUTDOWN and FLUSHALL can't be spelled with these letters.
        socket.write_all(&bytes).ok();
    }
    Ok(())
}
