//! What is asked, and what must be answered.
//!
//! Keys are 15 bytes: three letters of the family and twelve digits. The value of a string key and
//! of a hash field follows from the key's number alone, so every value that is read can be checked:
//! eight bytes of a hash of the number, then a piece of a pool of random bytes that begins where
//! that hash says. So values don't compress, and no two of a block share a piece but by rare chance.

use crate::arguments::Arguments;
use crate::distribution::{Distribution, Random, mix};
use crate::reply::Reply;

/// Bytes of the pool that values are cut from.
const POOL: usize = 4 << 20;

/// Keys and fields have this many digits.
const DIGITS: usize = 12;

/// One kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// PING: what sockets and parsing cost.
    Ping,
    /// GET of a string.
    Get,
    /// SET of a string.
    Set,
    /// GET and SET, as `--writes` says.
    Mix,
    /// INCR of a counter.
    Incr,
    /// HSET of one field of a small hash.
    Hset,
    /// HGET of one field of a small hash.
    Hget,
    /// HSET into one large hash.
    HsetLarge,
    /// HGET from one large hash.
    HgetLarge,
    /// ZADD of a random score into one large sorted set.
    Zadd,
    /// ZRANK in it.
    Zrank,
    /// SADD into one large set.
    Sadd,
    /// SISMEMBER of it.
    Sismember,
    /// LPUSH to one of many lists.
    Lpush,
    /// LPUSH to one large list.
    LpushLarge,
    /// LINDEX anywhere in it.
    LindexLarge,
    /// XADD to one stream.
    Xadd,
    /// EVAL of a script that gets a string.
    EvalGet,
    /// EVAL of a script that sets a string.
    EvalSet,
    /// MULTI, ten commands (GET and SET by turns), EXEC.
    Exec,
    /// MGET of ten strings.
    Mget,
}

const OPS: [(&str, Op); 21] = [
    ("ping", Op::Ping),
    ("get", Op::Get),
    ("set", Op::Set),
    ("mix", Op::Mix),
    ("incr", Op::Incr),
    ("hset", Op::Hset),
    ("hget", Op::Hget),
    ("hset-large", Op::HsetLarge),
    ("hget-large", Op::HgetLarge),
    ("zadd", Op::Zadd),
    ("zrank", Op::Zrank),
    ("sadd", Op::Sadd),
    ("sismember", Op::Sismember),
    ("lpush", Op::Lpush),
    ("lpush-large", Op::LpushLarge),
    ("lindex-large", Op::LindexLarge),
    ("xadd", Op::Xadd),
    ("eval-get", Op::EvalGet),
    ("eval-set", Op::EvalSet),
    ("exec", Op::Exec),
    ("mget", Op::Mget),
];

/// Commands of one EXEC, keys of one MGET.
const MANY: usize = 10;

/// What a reply is checked against: a reply of its own, the head of an array, or an element of one.
#[derive(Clone, Copy)]
pub enum Expected {
    /// `+OK` or `+PONG`
    Status,
    /// `+QUEUED`
    Queued,
    /// Any integer that is not negative.
    Integer,
    /// The value of this number, or nil where that may be.
    Value(u64),
    /// Any value.
    Something,
    /// The head of an array of so many.
    Array(usize),
}

/// How a reply was.
pub enum Verdict {
    /// As it must be.
    Right,
    /// Nil, where there may be no such key.
    Missing,
    /// Something else.
    Wrong,
}

/// The commands of one run.
pub struct Workload {
    op: Op,
    distribution: Distribution,
    /// Share of writes in a mix.
    writes: f64,
    /// Fields of a small hash.
    fields: u64,
    value_size: usize,
    /// Nil is wrong.
    all_there: bool,
    pool: Vec<u8>,
    /// How many keys (or fields of the large hash) there are.
    pub keys: u64,
    /// Each key once and in order, to load them, instead of the distribution.
    pub load: bool,
}

impl Workload {
    /// Reads it from the command line.
    pub fn parse(arguments: &Arguments) -> Result<Workload, String> {
        let name: String = arguments.get("op", "get".into())?;
        let (_, op) = *OPS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("there is no --op {name}"))?;
        let keys = arguments.get("keys", 1_000_000u64)?.max(1);
        let distribution: String = arguments.get("distribution", "uniform".into())?;
        let value_size = arguments.get("value-size", 64)?;
        if !(8..=POOL / 4).contains(&value_size) {
            return Err(format!("--value-size {value_size}: 8 to {}", POOL / 4));
        }
        let mut random = Random::new(20_240_229);
        Ok(Workload {
            op,
            distribution: Distribution::parse(&distribution, keys)?,
            writes: arguments.get("writes", 0.5)?,
            fields: arguments.get("fields", 4u64)?.max(1),
            value_size,
            all_there: arguments.get("all-there", true)?,
            pool: (0..POOL / 8).flat_map(|_| random.bits().to_le_bytes()).collect(),
            keys,
            load: arguments.get("load", false)?,
        })
    }

    /// Appends the next command to `out`, and what must be answered to `expected`; `ordinal` is its place in a
    /// load.
    pub fn next(
        &self,
        out: &mut Vec<u8>,
        expected: &mut Vec<Expected>,
        random: &mut Random,
        ordinal: u64,
    ) {
        let key = if self.load { ordinal } else { self.distribution.next(random) };
        let op = match self.op {
            Op::Mix if (random.below(1 << 20) as f64) < self.writes * (1 << 20) as f64 => Op::Set,
            Op::Mix => Op::Get,
            op => op,
        };
        if op == Op::Exec {
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            expected.push(Expected::Status);
            let mut replies = Vec::with_capacity(MANY);
            for n in 0..MANY {
                let part = if n % 2 == 0 { Op::Get } else { Op::Set };
                let key = self.distribution.next(random);
                replies.push(self.command(part, out, random, key));
                expected.push(Expected::Queued);
            }
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
            expected.push(Expected::Array(MANY));
            expected.append(&mut replies);
        } else if op == Op::Mget {
            out.extend_from_slice(format!("*{}\r\n$4\r\nMGET\r\n", MANY + 1).as_bytes());
            expected.push(Expected::Array(MANY));
            for _ in 0..MANY {
                let key = self.distribution.next(random);
                name(out, b"key", key);
                expected.push(Expected::Value(key));
            }
        } else {
            let reply = self.command(op, out, random, key);
            expected.push(reply);
        }
    }

    /// Appends one command that has one reply.
    fn command(&self, op: Op, out: &mut Vec<u8>, random: &mut Random, key: u64) -> Expected {
        match op {
            Op::Ping => {
                out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
                return Expected::Status;
            }
            Op::Get | Op::Mix | Op::Mget | Op::Exec => {
                out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                name(out, b"key", key);
                return Expected::Value(key);
            }
            Op::Set => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                name(out, b"key", key);
                self.value(out, key);
                return Expected::Status;
            }
            Op::Incr => {
                out.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n");
                name(out, b"cnt", key);
            }
            Op::Hset if self.load => {
                out.extend_from_slice(
                    format!("*{}\r\n$4\r\nHSET\r\n", 2 + 2 * self.fields).as_bytes(),
                );
                name(out, b"hsh", key);
                for field in 0..self.fields {
                    name(out, b"fld", field);
                    self.value(out, element(key, field));
                }
            }
            Op::Hset | Op::Hget => {
                let field = random.below(self.fields);
                out.extend_from_slice(if op == Op::Hset {
                    b"*4\r\n$4\r\nHSET\r\n"
                } else {
                    b"*3\r\n$4\r\nHGET\r\n"
                });
                name(out, b"hsh", key);
                name(out, b"fld", field);
                if op == Op::Hget {
                    return Expected::Value(element(key, field));
                }
                self.value(out, element(key, field));
            }
            Op::HsetLarge => {
                out.extend_from_slice(b"*4\r\n$4\r\nHSET\r\n");
                name(out, b"big", 0);
                name(out, b"fld", key);
                self.value(out, key);
            }
            Op::HgetLarge => {
                out.extend_from_slice(b"*3\r\n$4\r\nHGET\r\n");
                name(out, b"big", 0);
                name(out, b"fld", key);
                return Expected::Value(key);
            }
            Op::Zadd => {
                out.extend_from_slice(b"*4\r\n$4\r\nZADD\r\n");
                name(out, b"zst", 0);
                bulk_number(out, random.below(1 << 30));
                name(out, b"mem", key);
            }
            Op::Zrank => {
                out.extend_from_slice(b"*3\r\n$5\r\nZRANK\r\n");
                name(out, b"zst", 0);
                name(out, b"mem", key);
            }
            Op::Sadd => {
                out.extend_from_slice(b"*3\r\n$4\r\nSADD\r\n");
                name(out, b"set", 0);
                name(out, b"mem", key);
            }
            Op::Sismember => {
                out.extend_from_slice(b"*3\r\n$9\r\nSISMEMBER\r\n");
                name(out, b"set", 0);
                name(out, b"mem", key);
            }
            Op::Lpush | Op::LpushLarge => {
                out.extend_from_slice(b"*3\r\n$5\r\nLPUSH\r\n");
                name(out, b"lst", if op == Op::Lpush { key + 1 } else { 0 });
                self.value(out, key);
            }
            Op::LindexLarge => {
                out.extend_from_slice(b"*3\r\n$6\r\nLINDEX\r\n");
                name(out, b"lst", 0);
                bulk_number(out, key);
                return Expected::Something;
            }
            Op::Xadd => {
                out.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n");
                name(out, b"str", 0);
                out.extend_from_slice(b"$1\r\n*\r\n");
                name(out, b"fld", 0);
                self.value(out, key);
                return Expected::Something;
            }
            Op::EvalGet => {
                script(out, 4, "return redis.call('GET', KEYS[1])");
                name(out, b"key", key);
                return Expected::Value(key);
            }
            Op::EvalSet => {
                script(out, 5, "return redis.call('SET', KEYS[1], ARGV[1])");
                name(out, b"key", key);
                self.value(out, key);
                return Expected::Status;
            }
        }
        Expected::Integer
    }

    /// Judges a reply.
    pub fn check(&self, expected: Expected, reply: &Reply) -> Verdict {
        let right = match (expected, reply) {
            (Expected::Status, Reply::Status(text)) => *text == b"OK" || *text == b"PONG",
            (Expected::Queued, Reply::Status(text)) => *text == b"QUEUED",
            (Expected::Integer, Reply::Integer(number)) => *number >= 0,
            (Expected::Something, Reply::Bulk(_)) => true,
            (Expected::Array(len), Reply::Array(found)) => len == *found,
            (Expected::Value(_), Reply::Nil) if !self.all_there => return Verdict::Missing,
            (Expected::Value(number), Reply::Bulk(value)) => {
                let (stamp, piece) = self.pieces(number);
                value.len() == self.value_size && value[..8] == stamp && value[8..] == *piece
            }
            _ => false,
        };
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    fn pieces(&self, number: u64) -> ([u8; 8], &[u8]) {
        let stamp = mix(number.wrapping_add(1));
        let length = self.value_size - 8;
        let start = (stamp >> 20) as usize % (POOL - length);
        (stamp.to_le_bytes(), &self.pool[start..start + length])
    }

    fn value(&self, out: &mut Vec<u8>, number: u64) {
        let (stamp, piece) = self.pieces(number);
        out.push(b'$');
        decimal(out, self.value_size as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&stamp);
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
}

/// A command of these words.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// EVAL of a script with one key: all but the key and what comes after it.
fn script(out: &mut Vec<u8>, words: usize, text: &str) {
    let head = format!("*{words}\r\n$4\r\nEVAL\r\n${}\r\n{text}\r\n$1\r\n1\r\n", text.len());
    out.extend_from_slice(head.as_bytes());
}

/// A number as an argument.
fn bulk_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = Vec::with_capacity(20);
    decimal(&mut digits, number);
    out.push(b'$');
    decimal(out, digits.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&digits);
    out.extend_from_slice(b"\r\n");
}

/// The number of a field of a small hash, for its value.
fn element(key: u64, field: u64) -> u64 {
    key.wrapping_mul(1000).wrapping_add(field)
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A key or field as an argument.
fn name(out: &mut Vec<u8>, family: &[u8; 3], number: u64) {
    let mut text = *b"$15\r\n---000000000000\r\n";
    text[5..8].copy_from_slice(family);
    let mut rest = number;
    for digit in text[8..8 + DIGITS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(line: &str) -> Workload {
        let words = line.split(' ').map(String::from).collect();
        Workload::parse(&Arguments::parse(words).unwrap()).unwrap()
    }

    #[test]
    fn commands_are_well_formed() {
        for (name, _) in OPS {
            for load in [false, true] {
                let workload = workload(&format!("--op {name} --keys 1234 --load {load}"));
                let (mut out, mut expected) = (Vec::new(), Vec::new());
                workload.next(&mut out, &mut expected, &mut Random::new(3), 17);
                // The header's count of arguments, each with a true length.
                let mut rest = &out[..];
                let mut line = |mark: u8| {
                    let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
                    assert_eq!(rest[0], mark);
                    let number: usize =
                        std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
                    rest = &rest[end + 2..];
                    if mark == b'$' {
                        assert_eq!(&rest[number..number + 2], b"\r\n");
                        rest = &rest[number + 2..];
                    }
                    number
                };
                let commands = if name == "exec" { MANY + 2 } else { 1 };
                for _ in 0..commands {
                    for _ in 0..line(b'*') {
                        line(b'$');
                    }
                }
                assert!(rest.is_empty());
                let replies = match name {
                    "exec" => 2 * MANY + 2,
                    "mget" => MANY + 1,
                    _ => 1,
                };
                assert_eq!(expected.len(), replies);
            }
        }
    }

    #[test]
    fn a_wrong_value_is_seen() {
        let workload = workload("--op set --keys 10 --value-size 100");
        let mut out = Vec::new();
        workload.value(&mut out, 5);
        let (Reply::Bulk(value), _) = crate::reply::parse(&out).unwrap().unwrap() else { panic!() };
        let right = |number, reply: &Reply| {
            matches!(workload.check(Expected::Value(number), reply), Verdict::Right)
        };
        assert!(right(5, &Reply::Bulk(value)));
        assert!(!right(6, &Reply::Bulk(value)));
        assert!(!right(5, &Reply::Bulk(&value[..99])));
        let mut flipped = value.to_vec();
        flipped[99] ^= 1;
        assert!(!right(5, &Reply::Bulk(&flipped)));
        assert!(!right(5, &Reply::Nil));
        assert!(!right(5, &Reply::Error(b"ERR")));
    }
}
