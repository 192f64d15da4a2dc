//! The program as a user and a service manager meet it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_forgekv"))
}

fn output(args: &[&str]) -> (Output, String, String) {
    let output = program().args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("forgekv-run-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A running server and what it logs.
struct Server {
    child: Child,
    log: PathBuf,
    port: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start(log: &Path, port: u16, args: &[&str]) -> Server {
        let child = program()
            .args(args)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server { child, log: log.to_path_buf(), port };
        server.wait_for("Ready to accept connections");
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends one inline command; the first line of the reply, and of a bulk string its text.
    fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut reply = String::new();
        reader.read_line(&mut reply).unwrap();
        if let Some(len) = reply.strip_prefix('$').and_then(|len| len.trim().parse().ok()) {
            let mut text = vec![0; len];
            reader.read_exact(&mut text).unwrap();
            return String::from_utf8(text).unwrap();
        }
        reply.trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait_end(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < PATIENCE, "does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone where the test went well.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

#[test]
fn answers_questions_about_itself() {
    let (done, out, err) = output(&["--version"]);
    assert!(done.status.success() && err.is_empty());
    assert!(out.contains("Redis server v=7.") && out.contains("ForgeKV"), "{out}");
    let (done, out, _) = output(&["-h"]);
    assert!(done.status.success());
    assert!(out.starts_with("Usage: forgekv ") && out.contains("--wal_sync_mode"), "{out}");
}

#[test]
fn mistakes_stop_the_start() {
    let dir = Dir::new("mistakes");
    fs::write(dir.path("a.conf"), "port 1\nprot 2\n").unwrap();
    fs::write(dir.path("b.conf"), "tls-key-file-pass secret\n").unwrap();
    for (args, text) in [
        (vec![dir.path("a.conf")], "a.conf', at line 2\n>>> 'prot 2'\n"),
        (vec![dir.path("b.conf")], "tls-key-file-pass"),
        (vec![dir.path("none.conf")], "can't open config file"),
        (vec!["--maxmemory".into(), "much".into()], "argument must be a memory value"),
        (vec!["check".into()], "usage: forgekv check DIR"),
        (vec!["import".into()], "usage: forgekv import FILE [DIR] [--replace]"),
        (vec!["export".into(), "-x".into()], "usage: forgekv export FILE [DIR]"),
        (vec!["import".into(), dir.path("a.conf"), dir.path("data")], "not an RDB file"),
        (vec!["export".into(), dir.path("a.rdb"), dir.path("none")], "no data directory"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (done, _, err) = output(&args);
        assert_eq!(done.status.code(), Some(1), "{err}");
        assert!(err.contains(text), "{err}");
    }
}

#[test]
fn serves_until_it_is_told_to_stop() {
    let dir = Dir::new("serves");
    let (log, pid) = (dir.path("server.log"), dir.path("server.pid"));
    let config = dir.path("forgekv.conf");
    fs::write(
        &config,
        format!(
            "# mine\ndir {0}/data\nlogfile {log}\npidfile {pid}\nunixsocket s.sock\ndaemonize yes\ntimeout 0\n",
            dir.0.display()
        ),
    )
    .unwrap();
    let port = free_port();
    let mut server = Server::start(Path::new(&log), port, &[&config]);
    let text = server.log();
    assert!(text.contains(&format!(" PID: {}, just started", server.child.id())), "{text}");
    assert!(text.contains("Server initialized"), "{text}");
    assert!(text.contains(":6: 'daemonize yes' has no effect"), "{text}");
    assert_eq!(fs::read_to_string(&pid).unwrap().trim(), server.child.id().to_string());

    let socket = dir.path("data/s.sock");
    assert!(Path::new(&socket).exists(), "{text}");
    assert_eq!(server.ask("PING"), "+PONG");
    assert_eq!(server.ask("SET key value"), "+OK");
    let info = server.ask("INFO");
    assert!(
        info.contains("redis_version:7.") && info.contains(&format!("tcp_port:{port}")),
        "{info}"
    );
    assert_eq!(server.ask("CONFIG SET timeout 300"), "+OK");
    assert_eq!(server.ask("CONFIG REWRITE"), "+OK");
    let rewritten = fs::read_to_string(&config).unwrap();
    assert!(
        rewritten.starts_with("# mine\n") && rewritten.contains("\ntimeout 300\n"),
        "{rewritten}"
    );

    // Nobody else may have the directory.
    let mut second = program()
        .args([&config, "--port", &free_port().to_string(), "--logfile", &dir.path("second.log")])
        .args(["--pidfile", ""])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let why = fs::read_to_string(dir.path("second.log")).unwrap();
    assert!(why.contains(&dir.path("data")), "{why}");

    server.signal("TERM");
    assert_eq!(server.wait_end(), 0, "{}", server.log());
    assert!(!Path::new(&pid).exists() && !Path::new(&socket).exists());
    assert!(server.log().contains("Received SIGTERM scheduling shutdown..."));

    fs::remove_file(&log).unwrap();
    let mut server = Server::start(Path::new(&log), port, &[&config, "--maxclients", "50"]);
    assert_eq!(server.ask("GET key"), "value");
    server.signal("KILL");
    server.wait_end();
}
