//! `kill -9` under load, again and again: what was acknowledged is there, and nothing else.
//!
//! Fifty connections write, each to keys of its own, several commands in flight. As a connection's
//! commands take effect in order, what is found after the restart must be the state after some
//! command between the last one acknowledged and the last one sent: exactly, key by key, so a lost
//! write, half an MSET, half a RENAME or a value that nobody sent are all seen. Besides, all
//! connections write the same four keys with MSET, which must always be equal, and count in shared
//! counters, which must lie between what was acknowledged and what was sent.
//!
//! Rounds go on over one directory, so each recovery finds what the ones before left; in every third
//! the server is also killed while it recovers. `CRASH_ROUNDS` (per sync mode) and `CRASH_SEED`.

use std::collections::BTreeMap;

use forgekv_base::rng::Rng;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::kills::{kill_under_load, number_of, recover, seed_of};
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::text::render;
use forgekv_resp::Value;

const WRITERS: usize = 50;
const IN_FLIGHT: u64 = 8;
const KEYS: u64 = 10;
const COUNTERS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_always() -> Result<()> {
    in_mode("Always")
}

#[test]
fn nothing_acknowledged_is_lost_every_second() -> Result<()> {
    in_mode("EverySecond")
}

#[test]
fn nothing_acknowledged_is_lost_never() -> Result<()> {
    in_mode("Never")
}

fn in_mode(mode: &str) -> Result<()> {
    let rounds = number_of("CRASH_ROUNDS").unwrap_or(3);
    let seed = seed_of("CRASH_SEED");
    println!("crash test, wal_sync_mode {mode}: CRASH_SEED={seed}");
    let mut rng = Rng::seeded(seed);
    let start = if std::env::var("CRASH_OF").is_ok_and(|of| of == "redis") {
        let start = Start::redis().ok_or("no redis-server 7.0")?;
        start.flags(&["--appendonly", "yes", "--appendfsync", "always"])
    } else {
        Start::forgekv()?.flags(&["--wal_sync_mode", mode, "--memtable_size_mb", "16"])
    };
    let mut server = start.run()?;
    let mut writers: Vec<Writer> = (0..WRITERS).map(|id| Writer::new(id, rng.next_u64())).collect();
    let mut acknowledged = 0;
    for round in 0..rounds {
        acknowledged += one_round(&mut server, &mut writers, &mut rng, round)
            .map_err(|e| format!("{mode}, round {round}, CRASH_SEED={seed}: {e}"))?;
    }
    println!("  {rounds} kills, {acknowledged} acknowledged commands");
    println!("RESULT crash/{mode} passed={rounds} failed=0 skipped=0");
    Ok(())
}

/// Writes, kills, starts, compares; returns how many commands were acknowledged.
fn one_round(
    server: &mut Server,
    writers: &mut [Writer],
    rng: &mut Rng,
    round: u64,
) -> Result<usize> {
    kill_under_load(server, writers, rng, Writer::write_until_killed)?;
    recover(server, rng, round)?;
    let mut client = server.connect()?;
    let acknowledged = writers.iter().map(|writer| writer.acknowledged).sum();
    compare_shared(&mut client, writers)?;
    let mut keys = 0;
    for writer in writers.iter_mut() {
        keys += writer.compare(&mut client)?;
    }
    let shared = client.call(&[
        "EXISTS", "all:a", "all:b", "all:c", "all:d", "count:0", "count:1", "count:2", "count:3",
    ])?;
    let size = client.call(&["DBSIZE"])?;
    let expected = keys as i64 + shared.as_int().unwrap_or(0);
    if size.as_int() != Some(expected) {
        return Err(format!("DBSIZE is {:?}, but there are {expected} keys", render(&size)).into());
    }
    Ok(acknowledged)
}

/// What all writers write together.
fn compare_shared(client: &mut Client, writers: &mut [Writer]) -> Result<()> {
    let all = client.call(&["MGET", "all:a", "all:b", "all:c", "all:d"])?;
    let all = all.items().ok_or("MGET is no array")?;
    if all.iter().any(|value| *value != all[0]) {
        return Err(
            format!("half an MSET: {:?}", all.iter().map(render).collect::<Vec<_>>()).into()
        );
    }
    if let Some(bytes) = all[0].as_bytes()
        && !writers.iter().any(|w| bytes.starts_with(format!("{}:", w.id).as_bytes()))
    {
        return Err(format!("nobody sent {:?}", render(&all[0])).into());
    }
    for i in 0..COUNTERS {
        let found = client.call(&["GET", &format!("count:{i}")])?;
        let found =
            found.as_bytes().map_or(Ok(0), |b| String::from_utf8_lossy(b).parse::<i64>())?;
        let low: i64 = writers.iter().map(|w| w.counted[i].0).sum();
        let high: i64 = writers.iter().map(|w| w.counted[i].1).sum();
        if found < low || found > high {
            return Err(format!("counter {i} is {found}, not within {low}..={high}").into());
        }
        // From here on what was found is what is known: one writer carries it.
        for (n, writer) in writers.iter_mut().enumerate() {
            let carried = if n == 0 { found } else { 0 };
            writer.counted[i] = (carried, carried);
        }
    }
    Ok(())
}

type Hash = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone, PartialEq)]
enum Held {
    Text(Vec<u8>),
    Hash(Hash),
}

/// What a writer's keys hold.
type State = BTreeMap<Vec<u8>, Held>;

/// A connection's worth of writing.
struct Writer {
    id: usize,
    rng: Rng,
    next_value: u64,
    /// What was found after the last restart.
    base: State,
    /// Commands since then, with the reply that each must get.
    sent: Vec<Vec<Vec<u8>>>,
    acknowledged: usize,
    /// Per shared counter: acknowledged, sent.
    counted: [(i64, i64); COUNTERS],
}

impl Writer {
    fn new(id: usize, seed: u64) -> Writer {
        let (base, sent) = (State::new(), Vec::new());
        let counted = [(0, 0); COUNTERS];
        Writer { id, rng: Rng::seeded(seed), next_value: 0, base, sent, acknowledged: 0, counted }
    }

    /// Sends until the connection breaks. Every reply is checked.
    fn write_until_killed(&mut self, port: u16) -> Result<()> {
        let Ok(mut client) = Client::connect(port) else { return Ok(()) };
        let mut state = self.base.clone();
        loop {
            let batch: Vec<_> = (0..=self.rng.below(IN_FLIGHT)).map(|_| self.command()).collect();
            for words in &batch {
                if let Some(counter) = shared_counter(words) {
                    self.counted[counter].1 += 1;
                }
            }
            self.sent.extend(batch.iter().cloned());
            let bytes: Vec<u8> =
                batch.iter().flat_map(|w| forgekv_resp::encode_command(w)).collect();
            if client.send_raw(&bytes).is_err() {
                return Ok(());
            }
            for words in &batch {
                let Ok(reply) = client.read() else { return Ok(()) };
                let expected = apply(&mut state, words);
                if expected.is_some_and(|expected| expected != reply)
                    || reply.is_error() && !may_fail(words)
                {
                    let words: Vec<_> = words
                        .iter()
                        .map(|w| String::from_utf8_lossy(&w[..w.len().min(40)]))
                        .collect();
                    return Err(format!("{words:?} got {:?}", render(&reply)).into());
                }
                self.acknowledged += 1;
                if let Some(counter) = shared_counter(words) {
                    self.counted[counter].0 += 1;
                }
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("w{}:{}", self.id, self.rng.below(KEYS)).into_bytes()
    }

    /// Never the same twice: who sent it, which one it is, and some length.
    fn value(&mut self) -> Vec<u8> {
        self.next_value += 1;
        let mut value = format!("{}:{}:", self.id, self.next_value).into_bytes();
        let length = match self.rng.below(20) {
            0 => 5000 + self.rng.below(20_000),
            1..=4 => self.rng.below(1000),
            _ => self.rng.below(50),
        };
        value.resize(value.len() + length as usize, b'a' + (self.next_value % 26) as u8);
        value
    }

    fn command(&mut self) -> Vec<Vec<u8>> {
        let name = |name: &str| name.as_bytes().to_vec();
        match self.rng.below(16) {
            0..=3 => vec![name("SET"), self.key(), self.value()],
            4 => vec![name("INCR"), format!("w{}:n", self.id).into_bytes()],
            5 | 6 => {
                let mut words = vec![name("HSET"), format!("w{}:h", self.id).into_bytes()];
                for _ in 0..=self.rng.below(4) {
                    words.push(format!("f{}", self.rng.below(30)).into_bytes());
                    words.push(self.value());
                }
                words
            }
            7 => {
                let field = format!("f{}", self.rng.below(30)).into_bytes();
                vec![name("HDEL"), format!("w{}:h", self.id).into_bytes(), field]
            }
            8 | 9 => {
                let mut words = vec![name("MSET")];
                for _ in 0..=self.rng.below(6) {
                    words.push(self.key());
                    words.push(self.value());
                }
                words
            }
            10 => vec![name("RENAME"), self.key(), self.key()],
            11 => vec![name("COPY"), self.key(), self.key(), name("REPLACE")],
            12 => {
                let mut words = vec![name("DEL")];
                for _ in 0..=self.rng.below(3) {
                    words.push(self.key());
                }
                words
            }
            13 => vec![name("APPEND"), format!("w{}:log", self.id).into_bytes(), name("+")],
            14 => vec![
                name("INCR"),
                format!("count:{}", self.rng.below(COUNTERS as u64)).into_bytes(),
            ],
            _ => {
                let value = self.value();
                let keys = ["all:a", "all:b", "all:c", "all:d"];
                let pairs = keys.iter().flat_map(|key| [name(key), value.clone()]);
                std::iter::once(name("MSET")).chain(pairs).collect()
            }
        }
    }

    /// Finds the state that the server has among those that it may have; returns its number of keys.
    fn compare(&mut self, client: &mut Client) -> Result<usize> {
        let found = self.read_back(client)?;
        let mut state = std::mem::take(&mut self.base);
        for words in &self.sent[..self.acknowledged] {
            apply(&mut state, words);
        }
        let least = state.clone();
        let mut matches = state == found;
        for words in &self.sent[self.acknowledged..] {
            if matches {
                break;
            }
            apply(&mut state, words);
            matches = state == found;
        }
        if !matches {
            return Err(self.explain(&least, &found).into());
        }
        self.base = found;
        self.sent.clear();
        self.acknowledged = 0;
        Ok(self.base.len())
    }

    fn read_back(&self, client: &mut Client) -> Result<State> {
        let mut found = State::new();
        let names = (0..KEYS).map(|i| i.to_string()).chain(["n", "h", "log"].map(String::from));
        for name in names {
            let key = format!("w{}:{name}", self.id);
            let held = match client.call(&["TYPE", &key])?.as_bytes() {
                Some(b"none") => continue,
                Some(b"string") => {
                    client.call(&["GET", &key])?.as_bytes().map(|b| Held::Text(b.to_vec()))
                }
                Some(b"hash") => {
                    let reply = client.call(&["HGETALL", &key])?;
                    let text = |v: &Value| v.as_bytes().unwrap_or_default().to_vec();
                    let pairs = reply.items().unwrap_or_default().chunks_exact(2);
                    Some(Held::Hash(pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()))
                }
                _ => None,
            };
            found.insert(
                key.clone().into_bytes(),
                held.ok_or_else(|| format!("{key} can't be read"))?,
            );
        }
        Ok(found)
    }

    fn explain(&self, least: &State, found: &State) -> String {
        let short = |held: Option<&Held>| match held {
            Some(Held::Text(text)) => {
                format!(
                    "{} ({} bytes)",
                    String::from_utf8_lossy(&text[..text.len().min(20)]),
                    text.len()
                )
            }
            Some(Held::Hash(hash)) => format!("a hash of {} fields", hash.len()),
            None => "nothing".to_string(),
        };
        let mut told = format!(
            "writer {}: {} acknowledged, {} sent, and the server has none of the states between:",
            self.id,
            self.acknowledged,
            self.sent.len()
        );
        let names: std::collections::BTreeSet<_> = least.keys().chain(found.keys()).collect();
        for key in names.into_iter().filter(|key| least.get(*key) != found.get(*key)) {
            told.push_str(&format!(
                "\n  {}: acknowledged {}, found {}",
                String::from_utf8_lossy(key),
                short(least.get(key)),
                short(found.get(key))
            ));
        }
        for words in &self.sent[self.acknowledged.saturating_sub(3)..] {
            let words: Vec<_> =
                words.iter().map(|w| String::from_utf8_lossy(&w[..w.len().min(20)])).collect();
            told.push_str(&format!("\n  sent: {}", words.join(" ")));
        }
        told
    }
}

/// RENAME of a key that is not there, COPY onto itself.
fn may_fail(words: &[Vec<u8>]) -> bool {
    words[0] == b"RENAME" || words[0] == b"COPY"
}

fn shared_counter(words: &[Vec<u8>]) -> Option<usize> {
    std::str::from_utf8(&words[1]).ok()?.strip_prefix("count:")?.parse().ok()
}

/// What a command does to the writer's keys and what it answers; `None` where others also write.
fn apply(state: &mut State, words: &[Vec<u8>]) -> Option<Value> {
    let ok = Some(Value::Simple(b"OK".to_vec()));
    if words[1].starts_with(b"count:") || words[1].starts_with(b"all:") {
        return None;
    }
    match words[0].as_slice() {
        b"SET" | b"MSET" => {
            for pair in words[1..].chunks_exact(2) {
                state.insert(pair[0].clone(), Held::Text(pair[1].clone()));
            }
            ok
        }
        b"INCR" => {
            let old = match state.get(&words[1]) {
                Some(Held::Text(text)) => String::from_utf8_lossy(text).parse().unwrap_or(0),
                _ => 0,
            };
            let new: i64 = old + 1;
            state.insert(words[1].clone(), Held::Text(new.to_string().into_bytes()));
            Some(Value::Int(new))
        }
        b"APPEND" => {
            let Held::Text(text) =
                state.entry(words[1].clone()).or_insert_with(|| Held::Text(Vec::new()))
            else {
                return None;
            };
            text.extend_from_slice(&words[2]);
            Some(Value::Int(text.len() as i64))
        }
        b"HSET" => {
            let Held::Hash(hash) =
                state.entry(words[1].clone()).or_insert_with(|| Held::Hash(Hash::new()))
            else {
                return None;
            };
            let mut new = 0;
            for pair in words[2..].chunks_exact(2) {
                new += i64::from(hash.insert(pair[0].clone(), pair[1].clone()).is_none());
            }
            Some(Value::Int(new))
        }
        b"HDEL" => {
            let Some(Held::Hash(hash)) = state.get_mut(&words[1]) else {
                return Some(Value::Int(0));
            };
            let gone = hash.remove(&words[2]).is_some();
            if hash.is_empty() {
                state.remove(&words[1]);
            }
            Some(Value::Int(i64::from(gone)))
        }
        b"RENAME" => match state.remove(&words[1]) {
            Some(held) => {
                state.insert(words[2].clone(), held);
                ok
            }
            None => Some(Value::Error(b"ERR no such key".to_vec())),
        },
        b"COPY" if words[1] == words[2] => {
            Some(Value::Error(b"ERR source and destination objects are the same".to_vec()))
        }
        b"COPY" => match state.get(&words[1]).cloned() {
            Some(held) => {
                state.insert(words[2].clone(), held);
                Some(Value::Int(1))
            }
            None => Some(Value::Int(0)),
        },
        b"DEL" => {
            let gone = words[1..].iter().filter(|key| state.remove(*key).is_some()).count();
            Some(Value::Int(gone as i64))
        }
        _ => None,
    }
}
