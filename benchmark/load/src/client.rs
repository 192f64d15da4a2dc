//! The connections: a few threads, each with an event loop over its share of them.
//!
//! A connection sends as many commands as the pipeline is deep in one write, waits for all their
//! replies, and sends the next. A command's latency is the time from that write to the read that
//! brought its reply. The clock is read once a write and once a read.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::arguments::Arguments;
use crate::distribution::{Random, mix};
use crate::histogram::Histogram;
use crate::process::{self, Memory};
use crate::record::Record;
use crate::reply::{self, Reply};
use crate::workload::{Expected, Verdict, Workload};

/// A server that is silent for this long ends the run.
const SILENCE: Duration = Duration::from_secs(30);

struct Plan {
    address: SocketAddr,
    threads: usize,
    /// Of each thread.
    clients: usize,
    pipeline: usize,
    seconds: f64,
    /// Over all clients; a load has one for each key.
    requests: u64,
    seed: u64,
    workload: Workload,
}

/// What a thread brings home.
struct Tally {
    latencies: Histogram,
    commands: u64,
    errors: u64,
    wrong: u64,
    missing: u64,
    first_complaint: Option<String>,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// The bytes of `input` that are filled and not parsed yet.
    from: usize,
    to: usize,
    expected: Vec<Expected>,
    /// How many of `expected` are answered.
    answered: usize,
    /// How many commands they belong to.
    commands: usize,
    sent_at: Instant,
    random: Random,
    /// The next key of a load, and the step to the one after.
    ordinal: u64,
    step: u64,
    finished: bool,
}

/// Runs it, prints the record and appends it to `--record`. False if a reply was wrong.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let host: String = arguments.get("host", "127.0.0.1".into())?;
    let port: u16 = arguments.get("port", 6379)?;
    let address = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|why| format!("{host}:{port}: {why}"))?
        .next()
        .ok_or_else(|| format!("{host}: no such host"))?;
    let workload = Workload::parse(arguments)?;
    let requests = arguments.maybe("requests")?;
    let seconds = arguments.maybe("seconds")?;
    let plan = Plan {
        address,
        threads: arguments.get("threads", 1usize)?.max(1),
        clients: arguments.get("clients", 50usize)?.max(1),
        pipeline: arguments.get("pipeline", 1usize)?.max(1),
        // Whichever is given ends it; if both, what comes first.
        seconds: seconds.unwrap_or(if requests.is_some() || workload.load {
            f64::INFINITY
        } else {
            10.0
        }),
        requests: if workload.load { workload.keys } else { requests.unwrap_or(u64::MAX) },
        seed: arguments.get("seed", 1)?,
        workload,
    };
    let pid: Option<u32> = arguments.maybe("pid")?;
    let mut record = Record::named(arguments)?;
    let file: Option<String> = arguments.maybe("record")?;
    arguments.finish()?;

    let before = pid.map(process::usage).transpose()?;
    let began = Instant::now();
    let (tally, peak) = drive(&plan, pid)?;
    let elapsed = began.elapsed().as_secs_f64();
    let after = pid.map(process::usage).transpose()?;

    let commands = tally.commands.max(1) as f64;
    record.seconds = elapsed;
    record.requests = tally.commands;
    record.ops = tally.commands as f64 / elapsed;
    record.p50 = Some(tally.latencies.percentile_us(0.5));
    record.p99 = Some(tally.latencies.percentile_us(0.99));
    record.p999 = Some(tally.latencies.percentile_us(0.999));
    record.max = Some(tally.latencies.max_us());
    record.errors = tally.errors;
    record.wrong = tally.wrong;
    record.missing = tally.missing;
    record.complaint = tally.first_complaint;
    if let (Some(before), Some(after)) = (before, after) {
        record.cpu = Some((after.cpu - before.cpu) * 1e6 / commands);
        if let (Some(before), Some(after)) = (before.disk, after.disk) {
            record.read_bytes = Some(after.0.saturating_sub(before.0));
            record.written_bytes = Some(after.1.saturating_sub(before.1));
        }
    }
    if let Some(pid) = pid {
        record.resident = process::memory(pid).map(|memory| memory.resident);
        record.peak_anonymous = Some(peak.anonymous);
    }
    record.print_and_append(file.as_deref())?;
    Ok(tally.errors == 0 && tally.wrong == 0)
}

/// Runs all threads to their end, and watches the server's memory meanwhile.
fn drive(plan: &Plan, pid: Option<u32>) -> Result<(Tally, Memory), String> {
    let done = AtomicBool::new(false);
    let left = AtomicU64::new(plan.requests);
    let peak = Mutex::new(Memory::default());
    let until = Duration::try_from_secs_f64(plan.seconds).ok().map(|time| Instant::now() + time);
    let tallies: Vec<Result<Tally, String>> = thread::scope(|scope| {
        if let Some(pid) = pid {
            let (peak, done) = (&peak, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if let (Some(now), Ok(mut peak)) = (process::memory(pid), peak.lock()) {
                        peak.anonymous = peak.anonymous.max(now.anonymous);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let left = &left;
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| scope.spawn(move || work(plan, index, left, until)))
            .collect();
        let tallies = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client thread panicked".into())))
            .collect();
        done.store(true, Ordering::Relaxed);
        tallies
    });
    let mut all = Tally::new();
    for tally in tallies {
        let tally = tally?;
        all.latencies.merge(&tally.latencies);
        all.commands += tally.commands;
        all.errors += tally.errors;
        all.wrong += tally.wrong;
        all.missing += tally.missing;
        all.first_complaint = all.first_complaint.or(tally.first_complaint);
    }
    let peak = peak.into_inner().map_err(|why| why.to_string())?;
    Ok((all, peak))
}

impl Tally {
    fn new() -> Tally {
        Tally {
            latencies: Histogram::new(),
            commands: 0,
            errors: 0,
            wrong: 0,
            missing: 0,
            first_complaint: None,
        }
    }

    fn count(&mut self, workload: &Workload, expected: Expected, reply: &Reply) {
        match workload.check(expected, reply) {
            Verdict::Right => return,
            Verdict::Missing => self.missing += 1,
            Verdict::Wrong if matches!(reply, Reply::Error(_)) => self.errors += 1,
            Verdict::Wrong => self.wrong += 1,
        }
        if self.first_complaint.is_none() && self.errors + self.wrong > 0 {
            let mut text = format!("{reply:?}");
            if let Reply::Error(message) = reply {
                text = String::from_utf8_lossy(message).into_owned();
            }
            text.truncate(200);
            self.first_complaint = Some(text);
        }
    }
}

/// One thread: connects its clients and turns until all have finished.
fn work(
    plan: &Plan,
    index: usize,
    left: &AtomicU64,
    until: Option<Instant>,
) -> Result<Tally, String> {
    let failed = |why: std::io::Error| format!("{}: {why}", plan.address);
    let mut poll = Poll::new().map_err(failed)?;
    let mut events = Events::with_capacity(1024);
    let mut tally = Tally::new();
    let all = (plan.threads * plan.clients) as u64;
    let mut connections = Vec::with_capacity(plan.clients);
    for client in 0..plan.clients {
        // Connected before it is measured.
        let stream = std::net::TcpStream::connect(plan.address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(client), Interest::READABLE | Interest::WRITABLE)
            .map_err(failed)?;
        let number = (index * plan.clients + client) as u64;
        connections.push(Connection {
            stream,
            out: Vec::new(),
            written: 0,
            input: vec![0; 64 << 10],
            from: 0,
            to: 0,
            expected: Vec::with_capacity(plan.pipeline),
            answered: 0,
            commands: 0,
            sent_at: Instant::now(),
            random: Random::new(mix(plan.seed << 20 | number)),
            ordinal: number,
            step: all,
            finished: false,
        });
    }
    let mut open = connections.len();
    for connection in &mut connections {
        connection.send(plan, left, until).map_err(failed)?;
        open -= usize::from(connection.finished);
    }
    while open > 0 {
        poll.poll(&mut events, Some(SILENCE)).map_err(failed)?;
        if events.is_empty() {
            return Err(format!("{}: no reply for {} s", plan.address, SILENCE.as_secs()));
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if connection.finished {
                continue;
            }
            if event.is_writable() {
                connection.flush().map_err(failed)?;
            }
            if event.is_readable() {
                connection.receive(plan, left, until, &mut tally)?;
            }
            open -= usize::from(connection.finished);
        }
    }
    Ok(tally)
}

impl Connection {
    /// Sends the next commands, if there are any to be sent.
    fn send(
        &mut self,
        plan: &Plan,
        left: &AtomicU64,
        until: Option<Instant>,
    ) -> std::io::Result<()> {
        self.expected.clear();
        self.answered = 0;
        self.out.clear();
        self.written = 0;
        self.sent_at = Instant::now();
        let mut count = plan.pipeline as u64;
        if plan.workload.load {
            count = count.min(plan.workload.keys.saturating_sub(self.ordinal).div_ceil(self.step));
        } else if plan.requests != u64::MAX {
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(count))
            });
            count = count.min(before.unwrap_or_else(|now| now));
        }
        if count == 0 || until.is_some_and(|until| self.sent_at >= until) {
            self.finished = true;
            return Ok(());
        }
        for _ in 0..count {
            plan.workload.next(&mut self.out, &mut self.expected, &mut self.random, self.ordinal);
            self.ordinal += self.step;
        }
        self.commands = count as usize;
        self.sent_at = Instant::now();
        self.flush()
    }

    /// Writes what the socket takes; the next event goes on.
    fn flush(&mut self) -> std::io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Reads and judges replies; sends again when all are there.
    fn receive(
        &mut self,
        plan: &Plan,
        left: &AtomicU64,
        until: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let failed = |why: std::io::Error| format!("{}: {why}", plan.address);
        loop {
            if self.to == self.input.len() {
                self.make_room();
            }
            let room = self.input.len() - self.to;
            let count = match self.stream.read(&mut self.input[self.to..]) {
                Ok(0) => return Err(format!("{}: the server closed the connection", plan.address)),
                Ok(count) => count,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(failed(why)),
            };
            self.to += count;
            let latency = self.sent_at.elapsed().as_nanos() as u64;
            let before = self.done();
            while self.from < self.to {
                let Some((reply, length)) = reply::parse(&self.input[self.from..self.to])? else {
                    break;
                };
                let expected = *self
                    .expected
                    .get(self.answered)
                    .ok_or_else(|| format!("{}: a reply that nobody asked for", plan.address))?;
                tally.count(&plan.workload, expected, &reply);
                self.from += length;
                self.answered += 1;
            }
            let commands = (self.done() - before) as u64;
            if commands > 0 {
                tally.commands += commands;
                tally.latencies.add(latency, commands);
            }
            if self.from == self.to {
                (self.from, self.to) = (0, 0);
            }
            if self.answered == self.expected.len() {
                self.send(plan, left, until).map_err(failed)?;
                if self.finished {
                    return Ok(());
                }
            }
            // The events are edge-triggered, but a read that did not fill its buffer has emptied
            // the socket: what comes later is an event of its own.
            if count < room {
                return Ok(());
            }
        }
    }

    /// How many of the commands are answered: all of one kind, so with as many replies each.
    fn done(&self) -> usize {
        self.answered * self.commands / self.expected.len().max(1)
    }

    fn make_room(&mut self) {
        self.input.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.to == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
    }
}
