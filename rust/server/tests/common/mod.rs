//! A server in this process, on a free port and a directory of its own, and a small client.

#![allow(dead_code, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forgekv_engine::disk::{Disk, RealDisk};
use forgekv_resp::{Value, encode_command};
use forgekv_server::config::Config;
use forgekv_server::info::{Allocator, AllocatorFigures};
use forgekv_server::{Server, Setup, Stopper};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct NoFigures;

impl Allocator for NoFigures {
    fn name(&self) -> String {
        "none".into()
    }

    fn figures(&self) -> AllocatorFigures {
        AllocatorFigures::default()
    }

    fn purge(&self) -> Result<(), String> {
        Err("it is not known".into())
    }

    fn keep_freed(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn report(&self) -> Result<String, String> {
        Err("it is not known".into())
    }
}

pub struct Running {
    server: Option<Server>,
    pub address: SocketAddr,
    pub dir: Arc<TempDir>,
    config: Config,
    disk: Arc<dyn Disk>,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Running {
    pub fn start(change: impl FnOnce(&mut Config)) -> Running {
        Running::start_in(Arc::new(tempfile::tempdir().unwrap()), change)
    }

    pub fn start_in(dir: Arc<TempDir>, change: impl FnOnce(&mut Config)) -> Running {
        Running::start_on(dir, Arc::new(RealDisk), change)
    }

    pub fn start_on(
        dir: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        change: impl FnOnce(&mut Config),
    ) -> Running {
        let mut config = Config {
            dir: dir.path().display().to_string(),
            port: free_port(),
            bind: vec!["127.0.0.1".into()],
            maxmemory: 256 << 20,
            memtable_size_mb: 32,
            threads: 2,
            ..Config::default()
        };
        change(&mut config);
        let setup = Setup {
            config: config.clone(),
            config_file: None,
            allocator: Arc::new(NoFigures),
            disk: disk.clone(),
            set_log_level: Box::new(|_| {}),
        };
        let server = Server::start(setup).unwrap();
        let address = server.addresses()[0];
        Running { server: Some(server), address, dir, config, disk }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn stopper(&self) -> Stopper {
        self.server.as_ref().unwrap().stopper()
    }

    /// Waits until somebody has stopped it.
    pub fn wait(mut self) {
        self.server.take().unwrap().wait().unwrap();
    }

    /// Stops it and starts another one on the same directory.
    pub fn restart(mut self) -> Running {
        let server = self.server.take().unwrap();
        server.stopper().stop();
        server.wait().unwrap();
        let config = self.config.clone();
        Running::start_on(self.dir.clone(), self.disk.clone(), |new| *new = config)
    }

    pub fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::new(stream)
    }
}

pub struct Client<S> {
    pub stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Client<S> {
        Client { stream, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next reply; `None` when the server has closed the connection.
    pub fn receive(&mut self) -> Option<Value> {
        let mut chunk = [0; 65536];
        loop {
            if let Some((value, used)) = Value::decode(&self.received).unwrap() {
                self.received.drain(..used);
                return Some(value);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => panic!("{e}"),
            }
        }
    }

    pub fn ask(&mut self, words: &[&str]) -> Value {
        self.send(&encode_command(words));
        self.receive().unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    /// Sends a line, split at spaces, and shows the reply.
    pub fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        show(&self.ask(&words))
    }
}

/// A reply as text.
pub fn show(value: &Value) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = |items: &[Value]| items.iter().map(show).collect::<Vec<_>>().join(" ");
    match value {
        Value::Null | Value::NullBulk | Value::NullArray => "nil".into(),
        Value::Simple(bytes) | Value::Error(bytes) | Value::Bulk(bytes) => text(bytes),
        Value::Int(n) => n.to_string(),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            format!("[{}]", list(items))
        }
        Value::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(k, v)| format!("{}:{}", show(k), show(v))).collect();
            format!("{{{}}}", pairs.join(" "))
        }
        Value::Verbatim { text: bytes, .. } => text(bytes),
        other => format!("{other:?}"),
    }
}
