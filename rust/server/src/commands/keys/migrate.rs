//! MIGRATE: keys go to another server, which speaks Redis's protocol.
//!
//! The shards of the keys are held from the reading of the values to their deletion, so nothing that somebody
//! writes in between can be lost; whoever wants these shards waits, at most for the timeout. A key is deleted
//! when the other server has said that it has it, and no sooner.

use crate::commands::Args;
use forgekv_data::expire::{self, Expires};
use forgekv_data::{Error, Key, Result, SYNTAX, Write, event_class, keys, rdb};
use forgekv_resp::{Reply, Value, encode_command};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const NOT_EMPTY: &str =
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
const NO_CONNECTION: &str = "IOERR error or timeout connecting to the client";
const NOT_WRITTEN: &str = "IOERR error or timeout writing to target instance";
const NOT_READ: &str = "IOERR error or timeout reading to target instance";
/// Where the client gives none.
const TIMEOUT_MS: u64 = 1000;
/// So much is sent before answers are read, in bytes: if the other server goes away, no more keys than these
/// are in doubt.
const AHEAD: usize = 256 << 10;

/// Where to, and how.
struct Order<'a> {
    host: &'a [u8],
    port: &'a [u8],
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// The words behind AUTH.
    auth: Vec<&'a [u8]>,
    keys: Vec<Key<'a>>,
}

/// A key on its way.
struct Parcel<'a> {
    key: Key<'a>,
    restore: Vec<u8>,
    /// What [`Write::done_outside`] calls it.
    label: Vec<u8>,
}

pub(super) fn migrate(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let order = parse(args)?;
    let mut parcels = Vec::new();
    for &key in &order.keys {
        parcels.extend(pack(db, &order, key)?);
    }
    if parcels.is_empty() {
        reply.simple("NOKEY");
        return Ok(());
    }
    // An attempt before this one may have sent some.
    let (sent, parcels): (Vec<_>, Vec<_>) =
        parcels.into_iter().partition(|parcel| db.was_done_outside(&parcel.label));
    let mut taken: Vec<Key<'_>> = sent.iter().map(|parcel| parcel.key).collect();
    let mut refusal = None;
    if !parcels.is_empty() {
        let ended = send(&order, &parcels, |parcel, answer| match answer {
            Value::Error(text) => {
                refusal.get_or_insert_with(|| replied_with(text));
            }
            _ => {
                db.done_outside(parcel.label.clone());
                taken.push(parcel.key);
            }
        });
        refusal = ended.err().or(refusal);
    }
    if !order.copy {
        for key in taken {
            keys::delete(db, key)?;
        }
    }
    // What the other server has is gone here, whatever became of the rest.
    match refusal {
        None => reply.ok(),
        Some(text) => reply.error(&text),
    }
    Ok(())
}

fn parse<'a>(args: &mut Args<'a>) -> Result<Order<'a>> {
    let (host, port) = (args.next()?, args.next()?);
    let key = args.key()?;
    let mut numbers = args.clone();
    args.next()?;
    args.next()?;
    let (mut copy, mut replace, mut auth, mut keys) = (false, false, Vec::new(), vec![key]);
    while !args.is_empty() {
        if args.flag("COPY") {
            copy = true;
        } else if args.flag("REPLACE") {
            replace = true;
        } else if args.flag("AUTH") {
            auth = vec![args.next()?];
        } else if args.flag("AUTH2") {
            auth = vec![args.next()?, args.next()?];
        } else if args.flag("KEYS") {
            if !key.name.is_empty() {
                return Err(Error::reply(NOT_EMPTY));
            }
            keys = args.keys().collect();
        } else {
            return Err(SYNTAX);
        }
    }
    let db = numbers.int()?;
    let timeout = u64::try_from(numbers.int()?).ok().filter(|&ms| ms > 0).unwrap_or(TIMEOUT_MS);
    let timeout = Duration::from_millis(timeout);
    Ok(Order { host, port, db, timeout, copy, replace, auth, keys })
}

/// The command that gives the other server a key; `None` when the key is not there.
fn pack<'a>(db: &mut Write<'_>, order: &Order<'a>, key: Key<'a>) -> Result<Option<Parcel<'a>>> {
    let expires = expire::get(db, key)?;
    let Some(payload) = rdb::dump(db, key)? else {
        db.notify(event_class::MISS, "keymiss", key);
        return Ok(None);
    };
    let ttl_ms = match expires {
        Expires::At(at_ms) => at_ms.saturating_sub(db.now_ms()).max(1),
        Expires::Never | Expires::Missing => 0,
    };
    let ttl = ttl_ms.to_string();
    let mut words = vec![b"RESTORE", key.name, ttl.as_bytes(), &payload];
    if order.replace {
        words.push(b"REPLACE");
    }
    let (_, checksum) = payload.split_at(payload.len().saturating_sub(8));
    let place = format!("{}:", order.db);
    let label = [order.host, b":", order.port, b":", place.as_bytes(), checksum, key.name].concat();
    Ok(Some(Parcel { key, restore: encode_command(&words), label }))
}

fn replied_with(text: &[u8]) -> String {
    format!("ERR Target instance replied with error: {}", String::from_utf8_lossy(text))
}

/// Sends the parcels and tells of each what was answered.
///
/// # Errors
/// A whole error reply, when the other server can't be reached, goes away, or lets nobody in.
fn send<'p, 'a>(
    order: &Order<'_>,
    parcels: &'p [Parcel<'a>],
    mut answered: impl FnMut(&'p Parcel<'a>, &Value),
) -> std::result::Result<(), String> {
    let mut peer = Peer::connect(order).map_err(|e| match e.kind() {
        // Redis notices this when it writes.
        io::ErrorKind::ConnectionRefused => NOT_WRITTEN,
        _ => NO_CONNECTION,
    })?;
    let mut greeting = Vec::new();
    if !order.auth.is_empty() {
        let words: Vec<&[u8]> =
            [b"AUTH".as_slice()].into_iter().chain(order.auth.iter().copied()).collect();
        greeting.push(encode_command(&words));
    }
    greeting.push(encode_command(&["SELECT".to_owned(), order.db.to_string()]));
    for command in &greeting {
        peer.ask(command).map_err(|_| NOT_WRITTEN)?;
    }
    for _ in &greeting {
        if let Value::Error(text) = peer.answer().map_err(|_| NOT_READ)? {
            return Err(replied_with(&text));
        }
    }
    let mut rest = parcels;
    while !rest.is_empty() {
        let (mut count, mut bytes) = (0, 0);
        while let Some(parcel) = rest.get(count)
            && bytes < AHEAD
        {
            peer.ask(&parcel.restore).map_err(|_| NOT_WRITTEN)?;
            bytes += parcel.restore.len();
            count += 1;
        }
        let (asked, later) = rest.split_at(count);
        for parcel in asked {
            answered(parcel, &peer.answer().map_err(|_| NOT_READ)?);
        }
        rest = later;
    }
    Ok(())
}

/// The other server.
struct Peer {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Peer {
    fn connect(order: &Order<'_>) -> io::Result<Peer> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let host = std::str::from_utf8(order.host).map_err(invalid)?;
        let port = std::str::from_utf8(order.port).map_err(invalid)?;
        let port: u16 = port.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, order.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(order.timeout))?;
                    stream.set_write_timeout(Some(order.timeout))?;
                    return Ok(Peer { stream, got: Vec::new() });
                }
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    fn ask(&mut self, command: &[u8]) -> io::Result<()> {
        self.stream.write_all(command)
    }

    fn answer(&mut self) -> io::Result<Value> {
        loop {
            let decoded = Value::decode(&self.got);
            if let Some((value, len)) = decoded.map_err(|_| io::ErrorKind::InvalidData)? {
                self.got.drain(..len);
                return Ok(value);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.got.extend_from_slice(piece.get(..n).unwrap_or_default()),
            }
        }
    }
}
