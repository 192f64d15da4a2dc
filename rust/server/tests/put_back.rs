//! EXEC and scripts whose commit is put back because memtables are full: they run again, and happen once, in
//! the database and the protocol in which they began.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Client, Running, show};
use forgekv_engine::disk::{Disk, DiskFile, RealDisk};
use forgekv_resp::{Value, encode_command};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A disk on which no table is begun while it is held: nothing is flushed then.
#[derive(Debug, Default)]
struct HeldDisk {
    is_held: AtomicBool,
    waiting: AtomicUsize,
}

impl HeldDisk {
    fn wait(&self, path: &Path) {
        let is_log = path.components().any(|part| part.as_os_str() == "log");
        self.waiting.fetch_add(1, SeqCst);
        while self.is_held.load(SeqCst) && !is_log {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.waiting.fetch_sub(1, SeqCst);
    }
}

impl Disk for HeldDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.wait(path);
        RealDisk.create(path)
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, write)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        RealDisk.lock(path)
    }
}

/// Has nothing flushed, and writes until writing has to wait. The client that waits is returned.
fn fill(server: &Running, disk: &HeldDisk) -> Client<TcpStream> {
    disk.is_held.store(true, SeqCst);
    let mut client = server.client();
    client.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let value = "v".repeat(100_000);
    for i in 0..2000 {
        client.send(&encode_command(&["SET", &format!("fill:{i}"), &value]));
        if !is_answered(&mut client) {
            return client;
        }
    }
    panic!("the memtables were never full");
}

/// Whether an answer comes soon.
fn is_answered(client: &mut Client<TcpStream>) -> bool {
    let mut byte = [0];
    match client.stream.peek(&mut byte) {
        Ok(_) => {
            client.receive().unwrap();
            true
        }
        Err(_) => false,
    }
}

fn start(disk: &Arc<HeldDisk>) -> Running {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    Running::start_on(dir, disk.clone(), |config| config.memtable_size_mb = 8)
}

/// The next reply, which comes soon.
fn soon(client: &mut Client<TcpStream>) -> Value {
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.receive().unwrap()
}

#[test]
fn exec_runs_again_and_happens_once() {
    let disk = Arc::new(HeldDisk::default());
    let server = start(&disk);
    let mut watcher = server.client();
    watcher.line("SUBSCRIBE told");
    let mut other = server.client();
    other.line("SET n 5");
    let mut client = server.client();
    client.line("SELECT 2");
    let waits = fill(&server, &disk);
    for line in [
        "MULTI",
        "INCR n",
        "RPUSH l a",
        "SELECT 3",
        "INCR n",
        "HELLO 3",
        "HGETALL none",
        "PUBLISH told once",
        "CLIENT SETNAME me",
        "SELECT 4",
        "INCR n",
        "GET big",
    ] {
        client.line(line);
    }
    client.send(&encode_command(&["EXEC"]));
    client.stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(!is_answered(&mut client), "the commit has to wait");
    // Reading goes on, and sees nothing of it.
    assert_eq!(other.line("GET n"), "5");
    other.line("SELECT 3");
    assert_eq!(other.line("EXISTS n"), "0");
    disk.is_held.store(false, SeqCst);
    let all = soon(&mut client);
    let shown = show(&all);
    assert!(shown.starts_with("[1 1 OK 1 {"), "{shown}");
    assert!(shown.ends_with("{} 1 OK OK 1 nil]"), "{shown}");
    // It goes on where EXEC has left it: database 4, RESP3, under its name.
    assert_eq!(client.line("GET n"), "1");
    assert_eq!(client.line("CLIENT GETNAME"), "me");
    assert_eq!(client.line("HGETALL none"), "{}");
    for (db, n) in [(0, "5"), (2, "1"), (3, "1"), (4, "1")] {
        other.line(&format!("SELECT {db}"));
        assert_eq!(other.line("GET n"), n, "database {db}");
    }
    other.line("SELECT 2");
    assert_eq!(other.line("LRANGE l 0 -1"), "[a]");
    assert_eq!(show(&soon(&mut watcher)), "[message told once]");
    watcher.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(!is_answered(&mut watcher), "it is published once");
    // The transaction is over.
    assert_eq!(client.line("EXEC"), "ERR EXEC without MULTI");
    drop(waits);
}

#[test]
fn exec_that_is_put_back_still_notices_what_changed() {
    let disk = Arc::new(HeldDisk::default());
    let server = start(&disk);
    let mut client = server.client();
    let mut other = server.client();
    client.line("SET k 1");
    client.line("WATCH k");
    let waits = fill(&server, &disk);
    client.line("MULTI");
    client.line("SET k 2");
    client.send(&encode_command(&["EXEC"]));
    client.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(!is_answered(&mut client));
    // What frees space goes on while memtables are full.
    assert_eq!(other.line("DEL k"), "1");
    disk.is_held.store(false, SeqCst);
    assert_eq!(show(&soon(&mut client)), "nil");
    assert_eq!(other.line("EXISTS k"), "0");
    assert_eq!(client.line("MULTI"), "OK");
    assert_eq!(client.line("DISCARD"), "OK");
    drop(waits);
}

#[test]
fn a_script_runs_again_and_happens_once() {
    let disk = Arc::new(HeldDisk::default());
    let server = start(&disk);
    let mut watcher = server.client();
    watcher.line("SUBSCRIBE told");
    let mut client = server.client();
    let mut other = server.client();
    client.line("SELECT 1");
    let waits = fill(&server, &disk);
    let text = "redis.setresp(3) redis.call('SELECT', 5) local n = redis.call('INCR', 'n') \
         redis.call('PUBLISH', 'told', 'n is ' .. n) redis.call('RPUSH', 'l', math.random(1e9)) return n";
    client.send(&encode_command(&["EVAL", text, "0"]));
    client.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(!is_answered(&mut client), "the commit has to wait");
    // A transaction with a script in it, too.
    let mut third = server.client();
    third.line("MULTI");
    third.line("INCR m");
    third.ask(&["EVAL", text, "0"]);
    third.send(&encode_command(&["EXEC"]));
    third.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(!is_answered(&mut third));
    disk.is_held.store(false, SeqCst);
    let (first, second) = (show(&soon(&mut client)), show(&soon(&mut third)));
    let mut answers = [first, second.replace("[1 ", "").replace(']', "")];
    answers.sort();
    assert_eq!(answers, ["1", "2"], "{second}");
    // A script's SELECT is its own.
    client.line("SET here 1");
    other.line("SELECT 1");
    assert_eq!(other.line("EXISTS here"), "1");
    other.line("SELECT 5");
    assert_eq!(other.line("GET n"), "2");
    assert_eq!(other.line("LLEN l"), "2");
    assert_eq!(show(&soon(&mut watcher)), "[message told n is 1]");
    assert_eq!(show(&soon(&mut watcher)), "[message told n is 2]");
    watcher.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(!is_answered(&mut watcher), "each is published once");
    drop(waits);
}

#[test]
fn a_client_that_goes_while_its_exec_waits_leaves_no_half() {
    let disk = Arc::new(HeldDisk::default());
    let server = start(&disk);
    let mut other = server.client();
    let waits = fill(&server, &disk);
    let mut client = server.client();
    for line in ["MULTI", "INCR a", "INCR b"] {
        client.line(line);
    }
    client.send(&encode_command(&["EXEC"]));
    std::thread::sleep(Duration::from_millis(200));
    drop(client);
    std::thread::sleep(Duration::from_millis(100));
    disk.is_held.store(false, SeqCst);
    let start = Instant::now();
    while other.line("SET later 1") != "OK" {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let (a, b) = (other.line("GET a"), other.line("GET b"));
    assert_eq!(a, b, "both or none");
    drop(waits);
}
