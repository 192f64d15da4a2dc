//! Plays one test of a transcript to a server and says where the two disagree.

use std::collections::BTreeMap;
use std::time::Duration;

use forgekv_base::split_args::split_args;
use forgekv_resp::Value;
use regex_lite::Regex;

use crate::Result;
use crate::client::Client;
use crate::expand::Names;
use crate::server::{Kind, Server, Start};
use crate::text::{render, sort, sort_words};
use crate::transcript::{Act, Only, Order, Step, Test};

/// A step whose reply was another one.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step's line in the file.
    pub line: usize,
    /// What was done.
    pub what: String,
    /// What stands in the file.
    pub expected: Vec<String>,
    /// What came.
    pub got: Vec<String>,
}

/// What came of a test.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many steps ran.
    pub ran: usize,
    /// How many are not for this server.
    pub skipped: usize,
    /// Replies that differ.
    pub differences: Vec<Difference>,
}

/// Which commands are not sent but taken as answered with OK: to show that a test would notice.
pub type Mutant<'a> = &'a dyn Fn(&[Vec<u8>]) -> bool;

/// A server and how its tests are played.
pub struct Player {
    server: Server,
    start: Start,
    defaults: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Player {
    /// Plays a test without sending the commands that `mutant` names.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub fn play_mutated(&mut self, test: &Test, mutant: Mutant<'_>) -> Result<Outcome> {
        self.play_with(test, Some(mutant))
    }

    /// Starts a server to play to.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(start: &Start) -> Result<Player> {
        let server = start.clone().run()?;
        let defaults = settings(&mut server.connect()?)?;
        Ok(Player { server, start: start.clone(), defaults })
    }

    /// Whether what is marked so is for this server.
    pub fn is_for(&self, only: Only) -> bool {
        is_for(&self.server, only)
    }

    /// Plays a test. `Err` means that it could not be played to its end.
    ///
    /// # Errors
    /// When the server does not start, breaks a connection or does not answer.
    pub fn play(&mut self, test: &Test) -> Result<Outcome> {
        self.play_with(test, None)
    }

    fn play_with(&mut self, test: &Test, mutant: Option<Mutant<'_>>) -> Result<Outcome> {
        if !self.is_for(test.only) {
            return Ok(Outcome { skipped: test.steps.len(), ..Outcome::default() });
        }
        if test.has_own_server() {
            let names = Names::new();
            let flags = test.flags.iter().map(|f| names.expand(f)).collect::<Result<Vec<_>>>()?;
            let mut own = self.start.clone();
            if test.has_file {
                own = own.with_file();
            }
            let mut own = own.flags(&flags).run()?;
            return Game::new(&mut own, mutant).run(test);
        }
        if !self.server.is_alive() {
            self.server.start_again()?;
        }
        let mut game = Game::new(&mut self.server, mutant);
        let outcome = game.run(test);
        let sets = |step: &Step| step.act.command().is_some_and(|l| starts_with(l, "config set"));
        if test.steps.iter().any(|s| matches!(s.act, Act::Config { .. }) || sets(s)) {
            self.restore_settings()?;
        }
        outcome
    }

    fn restore_settings(&mut self) -> Result<()> {
        if !self.server.is_alive() {
            self.server.start_again()?;
        }
        let mut client = self.server.connect()?;
        for (name, value) in settings(&mut client)? {
            if let Some(default) = self.defaults.get(&name)
                && *default != value
            {
                client.call(&[b"CONFIG", &b"SET"[..], &name, default])?;
            }
        }
        Ok(())
    }
}

fn is_for(server: &Server, only: Only) -> bool {
    match server.kind() {
        Kind::ForgeKv => !only.reference,
        Kind::Redis => !only.ours && only.since <= server.version(),
    }
}

fn starts_with(line: &str, lower: &str) -> bool {
    line.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

fn settings(client: &mut Client) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let reply = client.call(&["CONFIG", "GET", "*"])?;
    let items = reply.items().ok_or_else(|| format!("CONFIG GET *: {:?}", render(&reply)))?;
    let text = |v: &Value| v.as_bytes().map(<[u8]>::to_vec).unwrap_or_default();
    Ok(items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect())
}

/// One test being played.
struct Game<'s, 'm> {
    server: &'s mut Server,
    mutant: Option<Mutant<'m>>,
    clients: BTreeMap<usize, Client>,
    /// Replies of commands that were not sent.
    pretended: BTreeMap<usize, usize>,
    may_pretend: bool,
    names: Names,
}

impl<'s, 'm> Game<'s, 'm> {
    fn new(server: &'s mut Server, mutant: Option<Mutant<'m>>) -> Game<'s, 'm> {
        let (clients, pretended) = (BTreeMap::new(), BTreeMap::new());
        Game { server, mutant, clients, pretended, may_pretend: true, names: Names::new() }
    }

    fn run(&mut self, test: &Test) -> Result<Outcome> {
        if !test.has_own_server() {
            let reply = self.server.connect()?.call(&["FLUSHALL"])?;
            if reply.is_error() {
                return Err(format!("FLUSHALL: {:?}", render(&reply)).into());
            }
        }
        let mut outcome = Outcome::default();
        for step in &test.steps {
            if !is_for(self.server, step.only) {
                outcome.skipped += 1;
                continue;
            }
            outcome.ran += 1;
            let reply = self.act(step).map_err(|e| format!("line {}: {e}", step.line))?;
            let Some(mut reply) = reply else { continue };
            match step.order {
                Order::Given => {}
                Order::Any => sort(&mut reply, false),
                Order::Pairs => sort(&mut reply, true),
                Order::Words => sort_words(&mut reply),
            }
            let got = render(&reply);
            if !self.agrees(&step.expected, &got)? {
                let expected = step.expected.clone();
                let what = describe(&step.act);
                outcome.differences.push(Difference { line: step.line, what, expected, got });
                if self.mutant.is_some() {
                    break;
                }
            }
        }
        Ok(outcome)
    }

    fn act(&mut self, step: &Step) -> Result<Option<Value>> {
        // Refusals show little of what a command does: a made-up OK takes the place of none.
        self.may_pretend = !step
            .expected
            .first()
            .is_some_and(|line| line.starts_with("(error)") || line.starts_with("~ \\(error"));
        match &step.act {
            Act::Call { client, line } => return Ok(Some(self.call(*client, line)?)),
            Act::Read { client } => return Ok(Some(self.read(*client)?)),
            Act::Scan { client, line } => {
                let pairs = step.order == Order::Pairs;
                return Ok(Some(self.scan(*client, line, pairs)?));
            }
            Act::Send { client, line } => {
                let words = self.words(line)?;
                if self.is_pretended(&words) {
                    *self.pretended.entry(*client).or_default() += 1;
                } else {
                    self.client(*client)?.send(&words)?;
                }
            }
            Act::Raw { client, line } => {
                let words = self.words(line)?;
                let bytes = words.first().ok_or("nothing to send")?.clone();
                self.client(*client)?.send_raw(&bytes)?;
            }
            Act::Repeat { from, to, line } => self.repeat(*from, *to, line)?,
            Act::Let { name, client, line } => {
                let reply = self.call(*client, line)?;
                let text = match (&reply, reply.as_bytes()) {
                    (_, Some(bytes)) => as_word(bytes),
                    (Value::Int(n), _) => n.to_string(),
                    _ => return Err(format!("@let {name}: {:?}", render(&reply)).into()),
                };
                self.names.set(name, &text);
            }
            Act::Resp3 { client } => {
                self.client(*client)?.call(&["HELLO", "3"])?;
            }
            Act::Closed { client } => {
                if !self.client(*client)?.closes() {
                    return Err("the server did not close the connection".into());
                }
                self.clients.remove(client);
            }
            Act::Close { client } => {
                self.clients.remove(client);
            }
            Act::Sleep { ms } => std::thread::sleep(Duration::from_millis(*ms)),
            Act::Restart => {
                self.clients.clear();
                if self.server.kind() == Kind::ForgeKv {
                    self.server.kill()?;
                    self.server.start_again()?;
                }
            }
            Act::Config { name, value } => {
                let value = self.names.expand(value)?;
                let reply = self.server.connect()?.call(&["CONFIG", "SET", name, &value])?;
                if reply.is_error() {
                    return Err(format!("@config {name}: {:?}", render(&reply)).into());
                }
            }
        }
        Ok(None)
    }

    fn call(&mut self, client: usize, line: &str) -> Result<Value> {
        let words = self.words(line)?;
        if self.is_pretended(&words) {
            return Ok(Value::Simple(b"OK".to_vec()));
        }
        self.client(client)?.call(&words)
    }

    fn read(&mut self, client: usize) -> Result<Value> {
        if let Some(n) = self.pretended.get_mut(&client).filter(|n| **n > 0) {
            *n -= 1;
            return Ok(Value::Simple(b"OK".to_vec()));
        }
        self.client(client)?.read()
    }

    /// All elements of a full iteration, without doubles, sorted.
    fn scan(&mut self, client: usize, line: &str, pairs: bool) -> Result<Value> {
        let mut cursor = b"0".to_vec();
        let mut found: BTreeMap<Vec<String>, Vec<Value>> = BTreeMap::new();
        for _ in 0..100_000 {
            self.names.set("cursor", &String::from_utf8_lossy(&cursor));
            let reply = self.call(client, line)?;
            let [Value::Bulk(next), Value::Array(items)] = reply.items().unwrap_or_default() else {
                return Ok(reply);
            };
            for part in items.chunks(if pairs { 2 } else { 1 }) {
                found.insert(part.iter().flat_map(render).collect(), part.to_vec());
            }
            cursor.clone_from(next);
            if cursor == b"0" {
                return Ok(Value::Array(found.into_values().flatten().collect()));
            }
        }
        Err("the iteration does not end".into())
    }

    /// Sends in batches, so that thousands of commands take no time.
    fn repeat(&mut self, from: i64, to: i64, line: &str) -> Result<()> {
        let all: Vec<i64> = (from..=to).collect();
        for batch in all.chunks(1000) {
            let mut sent = 0;
            for i in batch {
                self.names.set("i", &i.to_string());
                let words = self.words(line)?;
                if !self.is_pretended(&words) {
                    self.client(1)?.send(&words)?;
                    sent += 1;
                }
            }
            for _ in 0..sent {
                let reply = self.client(1)?.read()?;
                if reply.is_error() {
                    return Err(format!("@repeat: {:?}", render(&reply)).into());
                }
            }
        }
        Ok(())
    }

    fn words(&self, line: &str) -> Result<Vec<Vec<u8>>> {
        let line = self.names.expand(line)?;
        split_args(line.as_bytes()).ok_or_else(|| format!("quotes do not balance: {line}").into())
    }

    fn is_pretended(&self, words: &[Vec<u8>]) -> bool {
        self.may_pretend && self.mutant.is_some_and(|mutant| mutant(words))
    }

    fn client(&mut self, number: usize) -> Result<&mut Client> {
        use std::collections::btree_map::Entry;
        Ok(match self.clients.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let mut client = self.server.connect()?;
                if self.mutant.is_some() {
                    client.set_patience(Duration::from_millis(1500))?;
                }
                place.insert(client)
            }
        })
    }

    fn agrees(&self, expected: &[String], got: &[String]) -> Result<bool> {
        let mut lines = got.iter();
        for want in expected {
            if want == "..." {
                return Ok(true);
            }
            let Some(line) = lines.next() else { return Ok(false) };
            let want = self.names.expand(want)?;
            let same = match want.strip_prefix("~ ") {
                Some(pattern) => Regex::new(&format!("^(?:{pattern})$"))?.is_match(line),
                None => want == *line,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(lines.next().is_none())
    }
}

fn describe(act: &Act) -> String {
    match act {
        Act::Read { client } => format!("c{client}<"),
        _ => act.command().unwrap_or("").to_string(),
    }
}

/// `bytes` as they are written in a line: with quotes and escapes where that is needed.
fn as_word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"")
}
