//! One connection to a server under test: sends words or raw bytes, reads replies one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use forgekv_resp::{Value, encode_command};

use crate::Result;

/// A reply that takes longer than this is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection and the bytes that came but were not read yet.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, unread: Vec::new() })
    }

    /// How long to wait for a reply from now on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes in time.
    pub fn call<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<Value> {
        self.send(words)?;
        self.read()
    }

    /// Sends a command without waiting for its reply.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<()> {
        self.send_raw(&encode_command(words))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next reply or push.
    ///
    /// # Errors
    /// When the connection breaks, nothing comes in time, or what comes is no RESP.
    pub fn read(&mut self) -> Result<Value> {
        loop {
            if let Some((value, used)) = Value::decode(&self.unread)? {
                self.unread.drain(..used);
                return Ok(value);
            }
            if self.fill()? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }

    /// Whether the server has closed this connection; waits for it for a moment. What was sent
    /// before the close is dropped.
    pub fn closes(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return error.downcast_ref::<std::io::Error>().is_some_and(|e| {
                        !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    });
                }
            }
        }
    }

    fn fill(&mut self) -> Result<usize> {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(n) => {
                    self.unread.extend_from_slice(&chunk[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
