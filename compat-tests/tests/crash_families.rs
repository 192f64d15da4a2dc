//! `kill -9` under load, for every family: what was acknowledged is there, whole, and nothing else.
//!
//! Fifty connections write, each to keys of its own: lists, sets, sorted sets, hashes, streams with groups,
//! bitmaps, HyperLogLogs, positions; commands over several keys; MULTI … EXEC over several shards; scripts
//! that write several keys; libraries of functions. A second server, never killed, is told the same: the
//! replies must be the same, and after the restart each connection's keys must be what they are there
//! after some step between the last one acknowledged and the last one sent. A step is one command or one
//! transaction, so half of either is seen.
//!
//! `tests/crash.rs` has the strings, and a model of its own instead of a second server.
//! `CRASH_ROUNDS` (per sync mode) and `CRASH_SEED`.

use forgekv_base::rng::Rng;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::kills::{kill_under_load, number_of, recover, seed_of};
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::text::render;
use forgekv_resp::{Value, encode_command};

const WRITERS: usize = 50;
const IN_FLIGHT: u64 = 6;
/// Keys of each family that a writer has.
const KEYS: u64 = 3;

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
    println!("crash test of all families, wal_sync_mode {mode}: CRASH_SEED={seed}");
    let mut rng = Rng::seeded(seed);
    let start = Start::forgekv()?.flags(&["--wal_sync_mode", mode, "--memtable_size_mb", "16"]);
    let mut server = start.run()?;
    let reference = Start::forgekv()?.flags(&["--wal_sync_mode", "Never"]).run()?;
    let mut writers: Vec<Writer> = (0..WRITERS).map(|id| Writer::new(id, rng.next_u64())).collect();
    let mut acknowledged = 0;
    for round in 0..rounds {
        acknowledged += one_round(&mut server, &reference, &mut writers, &mut rng, round)
            .map_err(|e| format!("{mode}, round {round}, CRASH_SEED={seed}: {e}"))?;
    }
    println!("  {rounds} kills, {acknowledged} acknowledged steps");
    println!("RESULT crash-families/{mode} passed={rounds} failed=0 skipped=0");
    Ok(())
}

/// Writes, kills, starts, compares; returns how many steps were acknowledged.
fn one_round(
    server: &mut Server,
    reference: &Server,
    writers: &mut [Writer],
    rng: &mut Rng,
    round: u64,
) -> Result<usize> {
    kill_under_load(server, writers, rng, Writer::write_until_killed)?;
    recover(server, rng, round)?;
    let (mut found, mut told) = (server.connect()?, reference.connect()?);
    let acknowledged = writers.iter().map(|writer| writer.replies.len()).sum();
    for writer in writers.iter_mut() {
        writer.compare(&mut found, &mut told)?;
    }
    let sizes = (found.call(&["DBSIZE"])?, told.call(&["DBSIZE"])?);
    if sizes.0 != sizes.1 {
        return Err(format!("DBSIZE is {:?}, not {:?}", sizes.0, sizes.1).into());
    }
    Ok(acknowledged)
}

type Words = Vec<Vec<u8>>;
/// One command, or MULTI … EXEC.
type Step = Vec<Words>;

/// A connection's worth of writing.
struct Writer {
    id: usize,
    rng: Rng,
    counted: u64,
    /// Since the last restart.
    sent: Vec<Step>,
    /// Of the steps that were answered whole.
    replies: Vec<Vec<Value>>,
}

impl Writer {
    fn new(id: usize, seed: u64) -> Writer {
        let (sent, replies) = (Vec::new(), Vec::new());
        Writer { id, rng: Rng::seeded(seed), counted: 0, sent, replies }
    }

    /// Sends until the connection breaks.
    fn write_until_killed(&mut self, port: u16) -> Result<()> {
        let Ok(mut client) = Client::connect(port) else { return Ok(()) };
        loop {
            let batch: Vec<Step> = (0..=self.rng.below(IN_FLIGHT)).map(|_| self.step()).collect();
            self.sent.extend(batch.iter().cloned());
            if client.send_raw(&bytes(&batch)).is_err() {
                return Ok(());
            }
            for step in &batch {
                let mut replies = Vec::new();
                for _ in step {
                    let Ok(reply) = client.read() else { return Ok(()) };
                    replies.push(reply);
                }
                self.replies.push(replies);
            }
        }
    }

    /// Tells the other server what was acknowledged, and as much more as it takes to be where this is.
    fn compare(&mut self, found: &mut Client, told: &mut Client) -> Result<()> {
        for (steps, replies) in self.sent.chunks(50).zip(self.replies.chunks(50)) {
            told.send_raw(&bytes(&steps[..replies.len()]))?;
            for (step, replies) in steps.iter().zip(replies) {
                for (words, reply) in step.iter().zip(replies) {
                    let expected = told.read()?;
                    if expected != *reply {
                        let (reply, expected) = (render(reply), render(&expected));
                        return Err(format!("{}: {reply:?}, not {expected:?}", shown(words)).into());
                    }
                }
            }
        }
        let here = self.read_back(found)?;
        let mut there = self.read_back(told)?;
        let least = there.clone();
        for step in &self.sent[self.replies.len()..] {
            if here == there {
                break;
            }
            told.send_raw(&bytes(std::slice::from_ref(step)))?;
            for _ in step {
                told.read()?;
            }
            there = self.read_back(told)?;
        }
        if here != there {
            return Err(self.explain(&least, &here).into());
        }
        self.sent.clear();
        self.replies.clear();
        Ok(())
    }

    /// What all keys of this writer hold.
    fn read_back(&self, client: &mut Client) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            for i in 0..KEYS {
                all.push(read_key(client, &format!("w{}:{family}{i}", self.id))?);
            }
        }
        let pattern = format!("w{}x*", self.id);
        let libraries = client.call(&["FUNCTION", "LIST", "LIBRARYNAME", &pattern, "WITHCODE"])?;
        let mut libraries: Vec<String> =
            libraries.items().unwrap_or_default().iter().map(|l| render(l).join(" ")).collect();
        libraries.sort();
        all.extend(libraries);
        Ok(all)
    }

    fn explain(&self, least: &[String], found: &[String]) -> String {
        let mut told = format!(
            "writer {}: {} steps acknowledged, {} sent, and the server is at none between:",
            self.id,
            self.replies.len(),
            self.sent.len()
        );
        for (least, found) in least.iter().zip(found).filter(|(least, found)| least != found) {
            let cut = |text: &str| text.chars().take(300).collect::<String>();
            told.push_str(&format!(
                "\n  acknowledged {}\n  found        {}",
                cut(least),
                cut(found)
            ));
        }
        for step in &self.sent[self.replies.len().saturating_sub(4)..] {
            let step: Vec<_> = step.iter().map(|words| shown(words)).collect();
            told.push_str(&format!("\n  sent: {}", step.join("; ")));
        }
        told
    }
}

fn bytes(steps: &[Step]) -> Vec<u8> {
    steps.iter().flatten().flat_map(|words| encode_command(words)).collect()
}

fn shown(words: &[Vec<u8>]) -> String {
    let words: Vec<_> =
        words.iter().take(8).map(|w| String::from_utf8_lossy(&w[..w.len().min(60)])).collect();
    words.join(" ")
}

/// A key's type, time to live and value, in one order.
fn read_key(client: &mut Client, key: &str) -> Result<String> {
    let kind = render(&client.call(&["TYPE", key])?).join("");
    let expires = render(&client.call(&["PEXPIRETIME", key])?).join("");
    let (command, more): (&str, &[&str]) = match kind.as_str() {
        "none" => return Ok(format!("{key} none")),
        "string" => ("GET", &[]),
        "list" => ("LRANGE", &["0", "-1"]),
        "set" => ("SMEMBERS", &[]),
        "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
        "hash" => ("HGETALL", &[]),
        "stream" => ("XRANGE", &["-", "+"]),
        other => return Err(format!("{key} is a {other}").into()),
    };
    let words: Vec<&str> = [command, key].into_iter().chain(more.iter().copied()).collect();
    let reply = client.call(&words)?;
    if reply.is_error() {
        return Err(format!("{key} can't be read: {:?}", render(&reply)).into());
    }
    let mut value = match reply.items() {
        Some(items) => {
            let width = if kind == "hash" { 2 } else { 1 };
            items.chunks(width).map(|c| c.iter().flat_map(render).collect::<String>()).collect()
        }
        None => render(&reply),
    };
    if kind == "set" || kind == "hash" {
        value.sort();
    }
    if kind == "stream" {
        let groups = client.call(&["XINFO", "GROUPS", key])?;
        value.extend(render(&groups));
        for group in ["g0", "g1"] {
            let pending = client.call(&["XPENDING", key, group, "-", "+", "10000"])?;
            for entry in pending.items().unwrap_or_default() {
                // All but how long ago it was delivered.
                let parts = entry.items().unwrap_or_default();
                value.extend([0, 1, 3].iter().filter_map(|i| parts.get(*i)).flat_map(render));
            }
        }
    }
    Ok(format!("{key} {kind} {expires} {}", value.join(" ")))
}

/// The first letters of keys: what they begin as. RENAME and COPY mix them.
const FAMILIES: [&str; 9] = ["s", "l", "t", "z", "h", "x", "b", "p", "g"];

/// What comes next, drawn at random.
impl Writer {
    fn step(&mut self) -> Step {
        match self.rng.below(12) {
            0 => {
                let mut step = vec![words("MULTI")];
                step.extend((0..2 + self.rng.below(4)).map(|_| self.command()));
                step.push(words("EXEC"));
                step
            }
            1 => vec![self.script()],
            2 if self.rng.below(8) == 0 => vec![self.library()],
            _ => vec![self.command()],
        }
    }

    /// Writes to three keys, and fails after two of them now and then: those are written then.
    fn script(&mut self) -> Words {
        let text = "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('SADD', KEYS[2], ARGV[1], ARGV[2]) \
             redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1]) redis.call('SET', KEYS[4], ARGV[2]) \
             return redis.call('LLEN', KEYS[1])";
        let keys = ["l", "t", "z", "s"].map(|family| self.key(family));
        let (a, b) = (self.value(), self.value());
        let mut all = vec![b"EVAL".to_vec(), text.into(), b"4".to_vec()];
        all.extend(keys.map(String::into_bytes));
        all.extend([a, b, self.rng.below(50).to_string()].map(String::into_bytes));
        all
    }

    fn library(&mut self) -> Words {
        let name = format!("w{}x{}", self.id, self.rng.below(2));
        if self.rng.below(4) == 0 {
            return words(&format!("FUNCTION DELETE {name}"));
        }
        self.counted += 1;
        let code = format!(
            "#!lua name={name}\nredis.register_function('{name}', function() return {} end)",
            self.counted
        );
        let mut all = words("FUNCTION LOAD REPLACE");
        all.push(code.into_bytes());
        all
    }

    fn key(&mut self, family: &str) -> String {
        format!("w{}:{family}{}", self.id, self.rng.below(KEYS))
    }

    fn any(&mut self) -> String {
        let family = FAMILIES[self.rng.below(FAMILIES.len() as u64) as usize];
        self.key(family)
    }

    fn value(&mut self) -> String {
        self.counted += 1;
        let length =
            if self.rng.below(30) == 0 { self.rng.below(3000) } else { self.rng.below(20) };
        format!("{}.{}", self.counted, "v".repeat(length as usize))
    }

    /// One of few, so that sets meet.
    fn member(&mut self) -> String {
        format!("m{}", self.rng.below(400))
    }

    fn times(&mut self, mut one: impl FnMut(&mut Writer) -> String) -> String {
        // Now and then so much that it does not stay in one record.
        let count = if self.rng.below(25) == 0 { 300 } else { 1 + self.rng.below(4) };
        (0..count).map(|_| one(self)).collect::<Vec<_>>().join(" ")
    }

    fn command(&mut self) -> Words {
        let n = self.rng.below(100);
        let line = match n {
            0..16 => self.list_command(n),
            16..30 => self.set_command(n),
            30..46 => self.zset_command(n),
            46..52 => self.hash_command(n),
            52..68 => self.stream_command(n),
            68..80 => self.bytes_command(n),
            _ => self.key_command(n),
        };
        words(&line)
    }

    fn list_command(&mut self, n: u64) -> String {
        let (key, other) = (self.key("l"), self.key("l"));
        let at = self.rng.below(20);
        match n {
            0..4 => format!("RPUSH {key} {}", self.times(Writer::value)),
            4..6 => format!("LPUSH {key} {}", self.times(Writer::value)),
            6..8 => format!("LPOP {key} {}", 1 + at / 4),
            8 => format!("RPOP {key} {at}"),
            9 | 10 => format!("LMOVE {key} {other} LEFT RIGHT"),
            11 => format!("BLMOVE {key} {other} RIGHT LEFT 0.001"),
            12 => format!("LSET {key} {at} {}", self.value()),
            13 => format!("LTRIM {key} {} -2", at / 10),
            14 => format!("RPOPLPUSH {key} {other}"),
            _ => format!("LMPOP 2 {key} {other} RIGHT COUNT 2"),
        }
    }

    fn set_command(&mut self, n: u64) -> String {
        let (key, other, to) = (self.key("t"), self.key("t"), self.key("t"));
        match n {
            16..21 => format!("SADD {key} {}", self.times(Writer::member)),
            21 | 22 => format!("SREM {key} {}", self.times(Writer::member)),
            23 | 24 => format!("SMOVE {key} {other} {}", self.member()),
            25 | 26 => format!("SINTERSTORE {to} {key} {other}"),
            27 => format!("SUNIONSTORE {to} {key} {other}"),
            28 => format!("SDIFFSTORE {to} {key} {other}"),
            _ => format!("SADD {key} {}", self.times(|w| w.rng.below(1000).to_string())),
        }
    }

    fn zset_command(&mut self, n: u64) -> String {
        let (key, other, to) = (self.key("z"), self.key("z"), self.key("z"));
        let score = self.rng.below(1000);
        let pair = |w: &mut Writer| format!("{} {}", w.rng.below(1000), w.member());
        match n {
            30..35 => format!("ZADD {key} {}", self.times(pair)),
            35 => format!("ZINCRBY {key} 1.5 {}", self.member()),
            36 | 37 => format!("ZREM {key} {}", self.times(Writer::member)),
            38 => format!("ZPOPMIN {key} 2"),
            39 => format!("BZPOPMAX {key} {other} 0.001"),
            40..43 => format!("ZRANGESTORE {to} {key} {} {score} BYSCORE", score / 2),
            43 => format!("ZUNIONSTORE {to} 2 {key} {other} WEIGHTS 1 2"),
            44 => format!("ZINTERSTORE {to} 2 {key} {other} AGGREGATE MAX"),
            _ => format!("ZREMRANGEBYSCORE {key} {} {score}", score.saturating_sub(50)),
        }
    }

    fn hash_command(&mut self, n: u64) -> String {
        let key = self.key("h");
        match n {
            46..50 => {
                format!("HSET {key} {}", self.times(|w| format!("{} {}", w.member(), w.value())))
            }
            50 => format!("HDEL {key} {}", self.times(Writer::member)),
            _ => format!("HINCRBY {key} n 1"),
        }
    }

    fn stream_command(&mut self, n: u64) -> String {
        let key = self.key("x");
        let group = self.rng.below(2);
        let consumer = self.rng.below(3);
        let id = self.counted - self.rng.below(20).min(self.counted);
        match n {
            52..57 => {
                self.counted += 1;
                let at = self.counted;
                format!("XADD {key} {at}-1 f {}", self.value())
            }
            57 | 58 => format!("XGROUP CREATE {key} g{group} 0 MKSTREAM"),
            59..63 => format!("XREADGROUP GROUP g{group} c{consumer} COUNT 3 STREAMS {key} >"),
            63 | 64 => format!("XACK {key} g{group} {id}-1 {}-1", id + 1),
            65 => format!("XDEL {key} {id}-1"),
            66 => format!("XCLAIM {key} g{group} c{consumer} 0 {id}-1 JUSTID"),
            _ => format!("XTRIM {key} MAXLEN 100"),
        }
    }

    /// Bitmaps, HyperLogLogs, positions.
    fn bytes_command(&mut self, n: u64) -> String {
        let (bits, other) = (self.key("b"), self.key("b"));
        let (counted, more) = (self.key("p"), self.key("p"));
        let (places, near) = (self.key("g"), self.key("g"));
        let at = self.rng.below(100_000);
        match n {
            68 | 69 => format!("SETBIT {bits} {at} 1"),
            70 => format!("BITFIELD {bits} SET u8 {at} 200 INCRBY i16 7 3"),
            71 | 72 => format!("BITOP XOR {bits} {other} {bits}"),
            73 | 74 => format!("PFADD {counted} {}", self.times(Writer::value)),
            75 | 76 => format!("PFMERGE {counted} {more}"),
            77 | 78 => {
                let place = |w: &mut Writer| {
                    format!("{} {} {}", w.rng.below(180), w.rng.below(80), w.member())
                };
                format!("GEOADD {places} {}", self.times(place))
            }
            _ => format!("GEOSEARCHSTORE {near} {places} FROMLONLAT 90 40 BYRADIUS 3000 km"),
        }
    }

    fn key_command(&mut self, n: u64) -> String {
        let (key, other) = (self.any(), self.any());
        let at = 4_000_000_000_000u64 + self.rng.below(1000);
        match n {
            80..83 => format!("RENAME {key} {other}"),
            83 => format!("RENAMENX {key} {other}"),
            84..87 => format!("COPY {key} {other} REPLACE"),
            87..90 => format!("DEL {key} {other} {}", self.any()),
            90 => format!("UNLINK {key}"),
            91 => format!("PEXPIREAT {key} {at}"),
            92 => format!("PERSIST {key}"),
            93..95 => {
                let (from, to) = (self.key("t"), self.key("l"));
                format!("SORT {from} ALPHA DESC STORE {to}")
            }
            95 | 96 => format!("SET {} {}", self.key("s"), self.value()),
            97 => format!("APPEND {} {}", self.key("s"), self.value()),
            98 => format!("SETRANGE {} {} {}", self.key("s"), at % 5000, self.value()),
            _ => format!("MSET {} {} {} {}", self.key("s"), self.value(), other, self.value()),
        }
    }
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}
