//! Fifty clients on a few keys, and `kill -9` in between: there is an order that explains every answer.
//!
//! Four kinds of objects: registers (GET, SET, GETSET, SET NX, DEL), counters (INCR, GETDEL), lists between
//! which elements move (RPUSH, LPOP, BLPOP, LMOVE, BLMOVE), and accounts whose sum stays (WATCH, MULTI,
//! EXEC and scripts, read by MGET, EXEC and scripts). What each client asked and saw goes into a history;
//! [`forgekv_compat_tests::linearizable`] looks for the order. The history goes on over the kills: an
//! operation that was under way has happened before the server was dead, or never.
//!
//! `LINEARIZABLE_ROUNDS` (per sync mode; each but the last ends with a kill), `LINEARIZABLE_SEED`.
//! `CRASH_OF=redis` tries it with a redis-server, without kills.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use forgekv_base::rng::Rng;
use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::kills::{number_of, recover, seed_of};
use forgekv_compat_tests::linearizable::{
    Accounts, AccountsOp, Counter, CounterOp, Event, Model, Queues, QueuesOp, Register, RegisterOp,
    check,
};
use forgekv_compat_tests::server::{Kind, Server, Start};
use forgekv_compat_tests::text::render;
use forgekv_resp::Value;

const REGISTERS: usize = 4;
const COUNTERS: usize = 2;
/// Of each client in a round: more would only take longer to check.
const MOST_OPERATIONS: usize = 600;
const ROUND: Duration = Duration::from_millis(1500);

#[test]
fn there_is_an_order_always() -> Result<()> {
    in_mode("Always")
}

#[test]
fn there_is_an_order_every_second() -> Result<()> {
    in_mode("EverySecond")
}

#[test]
fn there_is_an_order_never() -> Result<()> {
    in_mode("Never")
}

fn in_mode(mode: &str) -> Result<()> {
    let rounds = number_of("LINEARIZABLE_ROUNDS").unwrap_or(4);
    let seed = seed_of("LINEARIZABLE_SEED");
    println!("linearizability, wal_sync_mode {mode}: LINEARIZABLE_SEED={seed}");
    let start = if std::env::var("CRASH_OF").is_ok_and(|of| of == "redis") {
        Start::redis().ok_or("no redis-server 7.0")?
    } else {
        Start::forgekv()?.flags(&["--wal_sync_mode", mode, "--memtable_size_mb", "16"])
    };
    let mut server = start.run()?;
    let mut words = vec!["MSET".to_string()];
    for i in 0..Accounts::COUNT {
        words.extend([account(i), Accounts::EACH.to_string()]);
    }
    server.connect()?.call(&words)?;
    let mut rng = Rng::seeded(seed);
    let histories = Histories::default();
    for round in 0..rounds {
        let kills = round + 1 < rounds && server.kind() == Kind::ForgeKv;
        one_round(&mut server, &histories, &mut rng, round, kills)
            .map_err(|e| format!("{mode}, round {round}, LINEARIZABLE_SEED={seed}: {e}"))?;
    }
    let mut last = Player::new(&histories, 0, server.connect()?, &mut rng);
    last.read_all()?;
    let operations = histories
        .check()
        .map_err(|e| format!("wal_sync_mode {mode}, LINEARIZABLE_SEED={seed}: {e}"))?;
    println!("  {rounds} rounds, {operations} operations in order");
    println!("RESULT linearizable/{mode} passed={rounds} failed=0 skipped=0");
    Ok(())
}

/// Lets all clients play, and in the end kills the server, or has them stop.
fn one_round(
    server: &mut Server,
    histories: &Histories,
    rng: &mut Rng,
    round: u64,
    kills: bool,
) -> Result<()> {
    let port = server.port();
    let is_over = AtomicBool::new(false);
    let dead_at = AtomicU64::new(u64::MAX);
    let is_over = &is_over;
    let unknown = thread::scope(|scope| -> Result<Vec<Unknown>> {
        let mut threads = Vec::new();
        for kind in 0..50usize {
            let player = Player::new(histories, kind, Client::connect(port)?, rng);
            threads.push(scope.spawn(move || player.play(kind, is_over)));
        }
        let fills = scope.spawn(move || fill(port, is_over));
        let share = if kills { 300 + rng.below(700) } else { 1000 };
        thread::sleep(ROUND * share as u32 / 1000);
        if kills {
            server.kill()?;
            dead_at.store(histories.now(), Relaxed);
        }
        is_over.store(true, Relaxed);
        fills.join().map_err(|_| "the one who fills panicked")?;
        let mut unknown = Vec::new();
        for thread in threads {
            unknown.extend(thread.join().map_err(|_| "a player panicked")??);
        }
        Ok(unknown)
    })?;
    if !kills && !unknown.is_empty() {
        return Err(format!("{} connections broke", unknown.len()).into());
    }
    for Unknown { object, op, began } in unknown {
        histories.add(object, op, None, began, dead_at.load(Relaxed));
    }
    if kills {
        recover(server, rng, round)?;
    }
    Ok(())
}

/// Writes what nobody looks at, so that memtables are flushed and tables compacted meanwhile.
fn fill(port: u16, is_over: &AtomicBool) {
    let Ok(mut client) = Client::connect(port) else { return };
    let value = vec![b'v'; 16 << 10];
    for i in 0.. {
        let key = format!("fill:{}", i % 2000);
        if is_over.load(Relaxed)
            || client.call(&[b"SET", key.as_bytes(), value.as_slice()]).is_err()
        {
            return;
        }
    }
}

/// What was asked of which object, whatever its kind.
#[derive(Debug)]
enum Op {
    Register(RegisterOp),
    Counter(CounterOp),
    Queues(QueuesOp),
    Accounts(AccountsOp),
}

/// Which object of its kind.
type Object = usize;

/// What was under way when the server died.
struct Unknown {
    object: Object,
    op: Op,
    began: u64,
}

type History<M> = Mutex<Vec<Event<M>>>;

struct Histories {
    clock: Instant,
    next_value: AtomicU64,
    registers: [History<Register>; REGISTERS],
    counters: [History<Counter>; COUNTERS],
    queues: History<Queues>,
    accounts: History<Accounts>,
}

impl Default for Histories {
    fn default() -> Histories {
        Histories {
            clock: Instant::now(),
            next_value: AtomicU64::new(1),
            registers: Default::default(),
            counters: Default::default(),
            queues: History::default(),
            accounts: History::default(),
        }
    }
}

impl Histories {
    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Relaxed)
    }

    fn add(&self, object: Object, op: Op, answer: Option<Vec<i64>>, began: u64, ended: u64) {
        fn push<M: Model>(
            to: &History<M>,
            op: M::Op,
            answer: Option<M::Answer>,
            began: u64,
            ended: u64,
        ) {
            to.lock().expect("a history").push(Event { op, answer, began, ended });
        }
        let unsigned = |all: &[i64]| all.iter().map(|n| *n as u64).collect::<Vec<u64>>();
        match op {
            Op::Register(op) => {
                let answer = answer.map(|a| a[0] as u64);
                push(&self.registers[object], op, answer, began, ended);
            }
            Op::Counter(op) => {
                push(&self.counters[object], op, answer.map(|a| a[0]), began, ended);
            }
            Op::Queues(op) => {
                push(&self.queues, op, answer.map(|a| unsigned(&a)), began, ended);
            }
            Op::Accounts(op) => push(&self.accounts, op, answer, began, ended),
        }
    }

    /// Looks for the order; returns the number of operations.
    fn check(&self) -> Result<usize> {
        fn one<M: Model>(what: &str, history: &History<M>) -> Result<usize> {
            let mut events = history.lock().expect("a history");
            events.sort_by_key(|event| event.began);
            check(&events).map_err(|e| format!("{what}: {e}"))?;
            Ok(events.len())
        }
        let mut all = 0;
        for (i, history) in self.registers.iter().enumerate() {
            all += one(&format!("register {i}"), history)?;
        }
        for (i, history) in self.counters.iter().enumerate() {
            all += one(&format!("counter {i}"), history)?;
        }
        Ok(all + one("queues", &self.queues)? + one("accounts", &self.accounts)?)
    }
}

fn register(i: usize) -> String {
    format!("register:{i}")
}

fn counter(i: usize) -> String {
    format!("counter:{i}")
}

fn queue(i: usize) -> String {
    format!("queue:{i}")
}

fn account(i: usize) -> String {
    format!("account:{i}")
}

/// One client.
struct Player<'h> {
    histories: &'h Histories,
    client: Client,
    rng: Rng,
    /// It reads what scripts and EXEC answer another way.
    is_even: bool,
}

/// Moves money and tells what is on both accounts.
const TRANSFER: &str = "local left = redis.call('DECRBY', KEYS[1], ARGV[1]) \
     local right = redis.call('INCRBY', KEYS[2], ARGV[1]) return {left, right}";
const READ: &str = "local all = {} for i, key in ipairs(KEYS) do all[i] = redis.call('GET', key) end \
     return all";

/// The numbers in a reply: an array's, or one; nothing is the empty list.
fn numbers(reply: &Value) -> Result<Vec<i64>> {
    let one = |value: &Value| -> Result<i64> {
        if let Some(n) = value.as_int() {
            return Ok(n);
        }
        let text = value.as_bytes().map(String::from_utf8_lossy);
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{:?} is no number", render(value)).into())
    };
    if reply.is_error() {
        return Err(format!("unexpected: {:?}", render(reply)).into());
    }
    if let Some(items) = reply.items() {
        return items.iter().map(one).collect();
    }
    if is_nothing(reply) { Ok(Vec::new()) } else { Ok(vec![one(reply)?]) }
}

fn is_nothing(reply: &Value) -> bool {
    reply.as_bytes().is_none() && reply.as_int().is_none() && reply.items().is_none()
}

impl<'h> Player<'h> {
    fn new(histories: &'h Histories, kind: usize, client: Client, rng: &mut Rng) -> Player<'h> {
        let is_even = kind.is_multiple_of(2);
        Player { histories, client, rng: Rng::seeded(rng.next_u64()), is_even }
    }

    /// Plays until the round is over or the connection breaks; what was under way then is returned.
    fn play(mut self, kind: usize, is_over: &AtomicBool) -> Result<Option<Unknown>> {
        for _ in 0..MOST_OPERATIONS {
            if is_over.load(Relaxed) {
                return Ok(None);
            }
            let unknown = match kind {
                0..18 => self.play_register(),
                18..26 => self.play_counter(),
                26..36 => self.play_queues(),
                _ => self.play_accounts(),
            }?;
            if unknown.is_some() {
                return Ok(unknown);
            }
            match self.rng.below(4) {
                0 => thread::sleep(Duration::from_micros(self.rng.below(8000))),
                1 => thread::yield_now(),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Asks, and keeps the answer; it comes back if the connection broke.
    fn ask(
        &mut self,
        object: Object,
        op: Op,
        words: &[String],
        read: impl Fn(&Value) -> Result<Vec<i64>>,
    ) -> Result<Option<Unknown>> {
        let began = self.histories.now();
        let Ok(reply) = self.client.call(words) else {
            return Ok(Some(Unknown { object, op, began }));
        };
        let ended = self.histories.now();
        let answer = read(&reply).map_err(|e| format!("{words:?}: {e}"))?;
        self.histories.add(object, op, Some(answer), began, ended);
        Ok(None)
    }

    fn play_register(&mut self) -> Result<Option<Unknown>> {
        let i = self.rng.below(REGISTERS as u64) as usize;
        let key = register(i);
        let value = self.histories.value();
        let text = value.to_string();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let or_zero = |reply: &Value| {
            let all = numbers(reply)?;
            Ok(vec![all.first().copied().unwrap_or(0)])
        };
        let (op, words) = match self.rng.below(12) {
            0..4 => (RegisterOp::Get, words(&["GET", &key])),
            4..7 => {
                let words = words(&["SET", &key, &text]);
                return self.ask(i, Op::Register(RegisterOp::Set(value)), &words, |reply| {
                    (render(reply).join("") == "OK").then(|| vec![0]).ok_or("not OK".into())
                });
            }
            7 => (RegisterOp::GetSet(value), words(&["GETSET", &key, &text])),
            8 => (RegisterOp::GetSet(value), words(&["SET", &key, &text, "GET"])),
            9 | 10 => {
                let words = words(&["SET", &key, &text, "NX"]);
                return self.ask(i, Op::Register(RegisterOp::SetNew(value)), &words, |reply| {
                    Ok(vec![i64::from(is_nothing(reply))])
                });
            }
            _ => (RegisterOp::Del, words(&["DEL", &key])),
        };
        self.ask(i, Op::Register(op), &words, or_zero)
    }

    fn play_counter(&mut self) -> Result<Option<Unknown>> {
        let i = self.rng.below(COUNTERS as u64) as usize;
        let (op, name) = match self.rng.below(10) {
            0..7 => (CounterOp::Incr, "INCR"),
            7 | 8 => (CounterOp::Get, "GET"),
            _ => (CounterOp::GetDel, "GETDEL"),
        };
        self.ask(i, Op::Counter(op), &[name.to_string(), counter(i)], |reply| {
            Ok(vec![numbers(reply)?.first().copied().unwrap_or(0)])
        })
    }

    fn play_queues(&mut self) -> Result<Option<Unknown>> {
        let from = self.rng.below(3) as usize;
        let to = (from + 1 + self.rng.below(2) as usize) % 3;
        let timeout = format!("0.0{}", 1 + self.rng.below(9));
        let s = str::to_string;
        let popped = |lists: Vec<usize>| {
            move |reply: &Value| -> Result<Vec<i64>> {
                let Some([key, value]) = reply.items() else {
                    let all = numbers(reply)?;
                    return Ok(all.first().map_or(Vec::new(), |n| vec![lists[0] as i64, *n]));
                };
                let key = key.as_bytes().map(String::from_utf8_lossy).ok_or("no key")?;
                let list = lists.iter().find(|list| queue(**list) == key).ok_or("which list?")?;
                Ok(vec![*list as i64, numbers(value)?[0]])
            }
        };
        // Short lists: what was moved where is only seen when it comes out again.
        let (op, words) = match self.rng.below(18) {
            0..4 => {
                let count = 1 + self.rng.below(2);
                let values: Vec<u64> = (0..count).map(|_| self.histories.value()).collect();
                let mut words = vec![s("RPUSH"), queue(from)];
                words.extend(values.iter().map(u64::to_string));
                (QueuesOp::Push(from, values), words)
            }
            4..7 => {
                let op = Op::Queues(QueuesOp::Pop(vec![from]));
                return self.ask(0, op, &[s("LPOP"), queue(from)], popped(vec![from]));
            }
            7..11 => {
                let lists = vec![from, to];
                let op = Op::Queues(QueuesOp::Pop(lists.clone()));
                let words = [s("BLPOP"), queue(from), queue(to), timeout];
                return self.ask(0, op, &words, popped(lists));
            }
            11 => {
                let words = vec![s("LMOVE"), queue(from), queue(to), s("LEFT"), s("RIGHT")];
                (QueuesOp::Move(from, to), words)
            }
            12 | 13 => {
                let (left, right) = (s("LEFT"), s("RIGHT"));
                let words = vec![s("BLMOVE"), queue(from), queue(to), left, right, timeout];
                (QueuesOp::Move(from, to), words)
            }
            _ => (QueuesOp::Read(from), vec![s("LRANGE"), queue(from), s("0"), s("-1")]),
        };
        self.ask(0, Op::Queues(op), &words, numbers)
    }

    fn play_accounts(&mut self) -> Result<Option<Unknown>> {
        let from = self.rng.below(Accounts::COUNT as u64) as usize;
        let step = 1 + self.rng.below(Accounts::COUNT as u64 - 1) as usize;
        let to = (from + step) % Accounts::COUNT;
        let amount = 1 + self.rng.below(20) as i64;
        match self.rng.below(6) {
            0 | 1 => self.transfer_watched(from, to, amount),
            2 | 3 => {
                let op = AccountsOp::Transfer { from, to, amount, seen: None };
                let words =
                    ["EVAL", TRANSFER, "2", &account(from), &account(to), &amount.to_string()]
                        .map(str::to_string);
                self.ask(0, Op::Accounts(op), &words, numbers)
            }
            _ => self.read_accounts(),
        }
    }

    /// WATCH, look, MULTI, move, EXEC.
    fn transfer_watched(&mut self, from: usize, to: usize, amount: i64) -> Result<Option<Unknown>> {
        let (left, right, by) = (account(from), account(to), amount.to_string());
        let began = self.histories.now();
        // Broken before EXEC is sent: nothing was asked.
        let nothing = Op::Accounts(AccountsOp::Read);
        let nothing = Unknown { object: 0, op: nothing, began };
        let Ok(_) = self.client.call(&["WATCH", &left, &right]) else { return Ok(Some(nothing)) };
        let Ok(seen) = self.client.call(&["MGET", &left, &right]) else {
            return Ok(Some(nothing));
        };
        let seen = numbers(&seen)?;
        for words in [&["MULTI"][..], &["DECRBY", &left, &by], &["INCRBY", &right, &by]] {
            if self.client.call(words).is_err() {
                return Ok(Some(nothing));
            }
        }
        let seen = Some((seen[0], seen[1]));
        let op = Op::Accounts(AccountsOp::Transfer { from, to, amount, seen });
        self.ask(0, op, &["EXEC".to_string()], numbers)
    }

    fn read_accounts(&mut self) -> Result<Option<Unknown>> {
        let keys: Vec<String> = (0..Accounts::COUNT).map(account).collect();
        let whole = |reply: &Value| {
            let all = numbers(reply)?;
            let (sum, expected) = (all.iter().sum(), Accounts::EACH * Accounts::COUNT as i64);
            if expected == sum { Ok(all) } else { Err(format!("the sum is {sum}: {all:?}").into()) }
        };
        let op = Op::Accounts(AccountsOp::Read);
        match (self.rng.below(2), self.is_even) {
            (0, _) => {
                let words: Vec<String> = ["MGET".to_string()].into_iter().chain(keys).collect();
                self.ask(0, op, &words, whole)
            }
            (_, true) => {
                let mut words = vec!["EVAL".to_string(), READ.to_string()];
                words.push(keys.len().to_string());
                words.extend(keys);
                self.ask(0, op, &words, whole)
            }
            (_, false) => {
                let began = self.histories.now();
                if self.client.call(&["MULTI"]).is_err() {
                    return Ok(Some(Unknown { object: 0, op, began }));
                }
                for key in &keys {
                    if self.client.call(&["GET", key]).is_err() {
                        return Ok(Some(Unknown { object: 0, op, began }));
                    }
                }
                self.ask(0, op, &["EXEC".to_string()], whole)
            }
        }
    }

    /// Looks at every object, so that nothing that was lost in the end goes unnoticed.
    fn read_all(&mut self) -> Result<()> {
        let or_zero = |reply: &Value| Ok(vec![numbers(reply)?.first().copied().unwrap_or(0)]);
        let get = "GET".to_string();
        for i in 0..REGISTERS {
            let op = Op::Register(RegisterOp::Get);
            self.ask(i, op, &[get.clone(), register(i)], or_zero)?;
        }
        for i in 0..COUNTERS {
            self.ask(i, Op::Counter(CounterOp::Get), &[get.clone(), counter(i)], or_zero)?;
        }
        for i in 0..3 {
            let words = ["LRANGE", &queue(i), "0", "-1"].map(str::to_string);
            self.ask(0, Op::Queues(QueuesOp::Read(i)), &words, numbers)?;
        }
        self.read_accounts()?;
        Ok(())
    }
}
