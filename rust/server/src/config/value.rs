//! What a directive's value may be: how each kind is read, checked and printed.
//!
//! [`Value`] is implemented by every type that a field of [`Config`](super::Config) has;
//! [`Kind`] is the same knowledge for a row that has no field, and carries the bounds. Printing what
//! was read and reading it again gives the same value: CONFIG REWRITE and CONFIG GET rely on it.

use super::tls::CipherSuites;
use forgekv_base::number::{format_f64, parse_f64, parse_i64};

/// The sort of value that a directive takes, with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A whole number within bounds, both included.
    Int(i64, i64),
    /// A whole number that is moved to the nearest bound when it is outside.
    Clamped(i64, i64),
    /// Names of these with colons between them.
    Ciphers(&'static [&'static str]),
    /// Permission bits in octal.
    Octal(u32),
    /// A size: digits and `k kb m mb g gb`, within bounds.
    Bytes(u64, u64),
    /// A size, or a percentage of `maxmemory`.
    BytesOrPercent,
    /// One word or an empty text.
    Text,
    /// The name of a file, without a directory.
    FileName,
    /// A text that is never logged or shown in an error.
    Secret,
    /// A host and a port, or `no one`.
    HostPort,
    /// Any number of words.
    Words,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Some of these, the first alone.
    Flags(&'static [&'static str]),
    /// Pairs of seconds and changes.
    Save,
    /// Groups of class, hard limit, soft limit and seconds.
    OutputLimits,
    /// Letters of `notify-keyspace-events`.
    Events,
    /// Numbers from 0 to 100.
    Percentiles,
    /// A fixed number of whole numbers within bounds.
    Ints(usize, i64, i64),
}

impl Kind {
    /// Whether CONFIG SET's one argument is split into words first.
    pub fn takes_words(&self) -> bool {
        matches!(
            self,
            Kind::Words
                | Kind::HostPort
                | Kind::Flags(_)
                | Kind::Save
                | Kind::OutputLimits
                | Kind::Percentiles
        ) || matches!(self, Kind::Ints(..))
    }

    /// `args` as it would be printed; the check of rows without a field.
    pub(super) fn canonical(&self, args: &[&[u8]]) -> Result<Vec<u8>, String> {
        fn through<T: Value + Default>(args: &[&[u8]], kind: &Kind) -> Result<Vec<u8>, String> {
            let mut value = T::default();
            value.set(args, kind)?;
            Ok(value.get(kind))
        }
        match self {
            Kind::Bool => through::<bool>(args, self),
            Kind::Ciphers(_) => through::<CipherSuites>(args, self),
            Kind::Int(..) | Kind::Clamped(..) => through::<i64>(args, self),
            Kind::Octal(_) => through::<u32>(args, self),
            Kind::Bytes(..) => through::<u64>(args, self),
            Kind::BytesOrPercent => bytes_or_percent(single(args)?),
            Kind::Text | Kind::Secret => through::<Vec<u8>>(args, self),
            Kind::FileName => through::<String>(args, self),
            Kind::HostPort => host_port(args),
            Kind::Words => through::<Vec<String>>(args, self),
            Kind::Choice(names) => choose(args, names).map(|at| names[at].into()),
            Kind::Flags(names) => flags(args, names),
            Kind::Save => save_points(args),
            Kind::OutputLimits => through::<OutputLimits>(args, self),
            Kind::Events => through::<Events>(args, self),
            Kind::Percentiles => through::<Percentiles>(args, self),
            Kind::Ints(count, min, max) => ints(args, *count, *min, *max),
        }
    }
}

/// A type that a directive's value has.
pub(super) trait Value {
    /// Takes the value that `args` name, or says what is wrong with them.
    fn set(&mut self, args: &[&[u8]], kind: &Kind) -> Result<(), String>;
    /// The value as text, on one line.
    fn get(&self, kind: &Kind) -> Vec<u8>;
}

pub(super) fn single<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match args {
        [one] => Ok(one),
        _ => Err("wrong number of arguments".into()),
    }
}

fn text(arg: &[u8]) -> Result<String, String> {
    String::from_utf8(arg.to_vec()).map_err(|_| "argument is not valid UTF-8".into())
}

/// The words of a list directive; one empty word says that the list is empty.
fn words<'a, 'b>(args: &'b [&'a [u8]]) -> &'b [&'a [u8]] {
    if matches!(args, [b""]) { &[] } else { args }
}

fn within(number: i64, min: i64, max: i64) -> Result<i64, String> {
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

impl Value for bool {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        let arg = single(args)?;
        *self = match arg {
            _ if arg.eq_ignore_ascii_case(b"yes") => true,
            _ if arg.eq_ignore_ascii_case(b"no") => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

/// A number of bytes as people write it: `100`, `64mb`, `1g`.
pub(super) fn parse_bytes(arg: &[u8]) -> Option<u64> {
    let digits = arg.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, unit) = arg.split_at(digits);
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The number that `arg` is for an integer field of any width.
fn integer(arg: &[u8], kind: &Kind) -> Result<i128, String> {
    const UNREADABLE: &str = "argument couldn't be parsed into an integer";
    match *kind {
        Kind::Bytes(min, max) => {
            let bytes = parse_bytes(arg).ok_or("argument must be a memory value")?;
            if !(min..=max).contains(&bytes) {
                return Err(format!("argument must be between {min} and {max} inclusive"));
            }
            Ok(bytes.into())
        }
        Kind::Octal(max) => std::str::from_utf8(arg)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
            .filter(|bits| *bits <= max)
            .map(i128::from)
            .ok_or_else(|| "argument couldn't be parsed as an octal number".into()),
        Kind::Int(min, max) => {
            Ok(within(parse_i64(arg).ok_or(UNREADABLE)?, min, max).map(i128::from)?)
        }
        Kind::Clamped(min, max) => Ok(parse_i64(arg).ok_or(UNREADABLE)?.clamp(min, max).into()),
        _ => parse_i64(arg).map(i128::from).ok_or_else(|| UNREADABLE.into()),
    }
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Value for $ty {
            fn set(&mut self, args: &[&[u8]], kind: &Kind) -> Result<(), String> {
                let number = integer(single(args)?, kind)?;
                *self = <$ty>::try_from(number).map_err(|_| {
                    format!("argument must be between {} and {} inclusive", <$ty>::MIN, <$ty>::MAX)
                })?;
                Ok(())
            }

            fn get(&self, kind: &Kind) -> Vec<u8> {
                match kind {
                    Kind::Octal(_) if *self != 0 => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }
        }
    )*};
}
integers!(i64 u64 u32 u16 usize);

impl Value for Vec<u8> {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        *self = single(args)?.to_vec();
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        self.clone()
    }
}

impl Value for String {
    fn set(&mut self, args: &[&[u8]], kind: &Kind) -> Result<(), String> {
        let text = text(single(args)?)?;
        if *kind == Kind::FileName && (text.contains('/') || matches!(&*text, "" | "." | "..")) {
            return Err("argument can't be a path, just a filename".into());
        }
        *self = text;
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        self.clone().into_bytes()
    }
}

impl Value for Vec<String> {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        *self = words(args).iter().map(|arg| text(arg)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        self.join(" ").into_bytes()
    }
}

pub(super) fn choose(args: &[&[u8]], names: &[&str]) -> Result<usize, String> {
    let arg = single(args)?;
    names
        .iter()
        .position(|name| arg.eq_ignore_ascii_case(name.as_bytes()))
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", names.join(", ")))
}

fn flags(args: &[&[u8]], names: &[&str]) -> Result<Vec<u8>, String> {
    let mut chosen = vec![false; names.len()];
    if args.is_empty() {
        choose(&[b""], names)?;
    }
    for arg in args {
        chosen[choose(&[arg], names)?] = true;
    }
    let chosen: Vec<&str> =
        names.iter().zip(chosen).filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    Ok(if chosen.is_empty() { names[0].into() } else { chosen.join(" ").into_bytes() })
}

fn host_port(args: &[&[u8]]) -> Result<Vec<u8>, String> {
    match args {
        [] | [b""] => Ok(Vec::new()),
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => {
            Ok(b"no one".to_vec())
        }
        [_, port] if parse_i64(port).is_some_and(|port| (0..=65535).contains(&port)) => {
            Ok(args.join(&b' '))
        }
        [_, _] => Err("Invalid master port".into()),
        _ => Err("wrong number of arguments".into()),
    }
}

fn save_points(args: &[&[u8]]) -> Result<Vec<u8>, String> {
    let args = words(args);
    let numbers: Option<Vec<i64>> = args.iter().map(|arg| parse_i64(arg)).collect();
    match numbers {
        Some(numbers)
            if numbers.len() % 2 == 0
                && numbers.chunks(2).all(|pair| pair[0] >= 1 && pair[1] >= 0) =>
        {
            Ok(args.join(&b' '))
        }
        _ => Err("Invalid save parameters".into()),
    }
}

fn ints(args: &[&[u8]], count: usize, min: i64, max: i64) -> Result<Vec<u8>, String> {
    if args.len() != count {
        return Err("wrong number of arguments".into());
    }
    for arg in args {
        within(parse_i64(arg).ok_or("argument couldn't be parsed into an integer")?, min, max)?;
    }
    Ok(args.join(&b' '))
}

/// The values of `oom-score-adj-values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl Value for OomScores {
    fn set(&mut self, args: &[&[u8]], kind: &Kind) -> Result<(), String> {
        // They are within bounds that an i32 holds.
        kind.canonical(args)?;
        for (score, arg) in self.0.iter_mut().zip(args) {
            *score = parse_i64(arg).unwrap_or_default() as i32;
        }
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        self.0.map(|score| score.to_string()).join(" ").into_bytes()
    }
}

pub(super) fn bytes_or_percent(arg: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || "argument must be a memory or percent value".to_owned();
    if let [number @ .., b'%'] = arg {
        let percent = parse_i64(number).filter(|p| *p >= 0).ok_or_else(wrong)?;
        if percent > 100 {
            return Err("percentage argument must be less or equal to 100".into());
        }
        return Ok(arg.to_vec());
    }
    parse_bytes(arg).map(|bytes| bytes.to_string().into_bytes()).ok_or_else(wrong)
}

/// How much one class of client may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// The client is closed beyond this many bytes; 0 is no limit.
    pub hard_bytes: u64,
    /// The client is closed when it stays beyond this many bytes …
    pub soft_bytes: u64,
    /// … for this long.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that send commands.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients with subscriptions.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        let limit = |hard, soft, soft_seconds| OutputLimit {
            hard_bytes: hard * MIB,
            soft_bytes: soft * MIB,
            soft_seconds,
        };
        Self { normal: limit(0, 0, 0), replica: limit(256, 64, 60), pubsub: limit(32, 8, 60) }
    }
}

impl Value for OutputLimits {
    /// Classes that `args` do not name keep their limits.
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        if args.is_empty() || !args.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for group in args.chunks(4) {
            let class = match group[0].to_ascii_lowercase().as_slice() {
                b"normal" => &mut self.normal,
                b"replica" | b"slave" => &mut self.replica,
                b"pubsub" => &mut self.pubsub,
                _ => {
                    return Err(
                        "Invalid client class specified in buffer limit configuration.".into()
                    );
                }
            };
            let seconds = parse_i64(group[3]).and_then(|seconds| u64::try_from(seconds).ok());
            match (parse_bytes(group[1]), parse_bytes(group[2]), seconds) {
                (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) => {
                    *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
                }
                _ => {
                    return Err("Error in hard, soft or soft_seconds setting in buffer limit \
                                configuration."
                        .into());
                }
            }
        }
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        let line = |name, limit: OutputLimit| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        };
        [line("normal", self.normal), line("slave", self.replica), line("pubsub", self.pubsub)]
            .join(" ")
            .into_bytes()
    }
}

/// `notify-keyspace-events`: the bits of [`event_class`](forgekv_data::event_class) and the two
/// kinds of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(pub u32);

impl Events {
    /// `K`: published in the key's channel.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: published in the event's channel.
    pub const KEYEVENT: u32 = 1 << 1;
    const MODULE: u32 = 1 << 13;
    /// In the order in which Redis prints them; those before `n` are what `A` stands for.
    const LETTERS: [(u8, u32); 14] = {
        use forgekv_data::event_class as class;
        [
            (b'g', class::GENERIC),
            (b'$', class::STRING),
            (b'l', class::LIST),
            (b's', class::SET),
            (b'h', class::HASH),
            (b'z', class::ZSET),
            (b'x', class::EXPIRED),
            (b'e', class::EVICTED),
            (b't', class::STREAM),
            (b'd', Self::MODULE),
            (b'n', class::NEW),
            (b'K', Self::KEYSPACE),
            (b'E', Self::KEYEVENT),
            (b'm', class::MISS),
        ]
    };

    fn all() -> u32 {
        Self::LETTERS[..10].iter().fold(0, |bits, (_, bit)| bits | bit)
    }

    /// The classes that are published; 0 when no kind of channel is chosen.
    pub fn classes(self) -> u32 {
        if self.0 & (Self::KEYSPACE | Self::KEYEVENT) == 0 { 0 } else { self.0 }
    }
}

impl Value for Events {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        let mut bits = 0;
        for letter in single(args)? {
            let known = Self::LETTERS.iter().find(|(known, _)| known == letter);
            bits |= match (letter, known) {
                (b'A', _) => Self::all(),
                (_, Some((_, bit))) => *bit,
                _ => {
                    return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into());
                }
            };
        }
        *self = Events(bits);
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        let all = self.0 & Self::all() == Self::all();
        let letters = Self::LETTERS.iter().enumerate();
        let chosen = letters.filter(|(at, (_, bit))| self.0 & bit != 0 && !(all && *at < 10));
        all.then_some(b'A').into_iter().chain(chosen.map(|(_, (letter, _))| *letter)).collect()
    }
}

/// `latency-tracking-info-percentiles`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Percentiles(pub Vec<f64>);

impl Value for Percentiles {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        let mut list = Vec::new();
        for arg in words(args) {
            match parse_f64(arg) {
                Some(percentile) if (0.0..=100.0).contains(&percentile) => list.push(percentile),
                Some(_) => {
                    return Err("latency-tracking-info-percentiles parameters should sit between \
                                [0.0,100.0]"
                        .into());
                }
                None => {
                    return Err(
                        "latency-tracking-info-percentiles parameters should be numbers".into()
                    );
                }
            }
        }
        *self = Percentiles(list);
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, percentile) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            format_f64(*percentile, &mut out);
        }
        out
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
