//! A cursor over a command's arguments.
//!
//! A handler reads its arguments from left to right and each is read once: a reading method either
//! consumes what it asked for or leaves it and says so. The gates have checked the arity before, so an
//! argument that is missing is a syntax error.

use forgekv_base::number;
use forgekv_data::{Error, Key, NOT_A_FLOAT, NOT_AN_INTEGER, Result, SYNTAX};

/// The arguments after the command's (and subcommand's) name.
#[derive(Debug, Clone)]
pub(crate) struct Args<'a> {
    words: &'a [&'a [u8]],
    /// The declared keys, in the order in which they stand in the command.
    keys: &'a [Key<'a>],
    next_key: usize,
    place_seed: u64,
    /// The command's name in lower case: "get", "config|set".
    name: &'a str,
    /// The last word of the name, as the client has written it.
    called: &'a [u8],
}

impl<'a> Args<'a> {
    /// A cursor behind the first `name_words` of `words`, which are the name. `keys` are those of them that are
    /// declared keys, in order.
    pub(crate) fn new(
        name: &'a str,
        words: &'a [&'a [u8]],
        name_words: usize,
        keys: &'a [Key<'a>],
        place_seed: u64,
    ) -> Args<'a> {
        let called = words.get(name_words.saturating_sub(1)).copied().unwrap_or_default();
        let words = words.get(name_words..).unwrap_or_default();
        Args { words, keys, next_key: 0, place_seed, name, called }
    }

    /// The command's name in lower case, with its subcommand behind a bar: "config|set".
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Whether all arguments are read.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// How many arguments are left.
    pub(crate) fn remaining(&self) -> usize {
        self.words.len()
    }

    /// The arguments that are left; does not consume them.
    pub(crate) fn rest(&self) -> &'a [&'a [u8]] {
        self.words
    }

    /// The next argument; does not consume it.
    pub(crate) fn peek(&self) -> Option<&'a [u8]> {
        self.words.first().copied()
    }

    /// The next argument.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<&'a [u8]> {
        let (first, rest) = self.words.split_first().ok_or(SYNTAX)?;
        self.words = rest;
        Ok(first)
    }

    /// The next argument, a key.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Key<'a>> {
        let name = self.next()?;
        Ok(self.place(name))
    }

    /// All arguments that are left, as keys.
    pub(crate) fn keys(&mut self) -> impl ExactSizeIterator<Item = Key<'a>> + use<'a> {
        let mut cursor = self.clone();
        let words = std::mem::take(&mut self.words);
        words.iter().map(move |name| cursor.place(name))
    }

    /// The place of an argument that was read: the road's if it was declared, computed otherwise.
    #[inline]
    fn place(&mut self, name: &'a [u8]) -> Key<'a> {
        // Declared keys are slices of the same words, so comparing addresses tells which is which.
        if let Some(&key) = self.keys.get(self.next_key)
            && std::ptr::eq(key.name, name)
        {
            self.next_key += 1;
            return key;
        }
        match self.keys.iter().find(|key| std::ptr::eq(key.name, name)) {
            Some(&key) => key,
            None => Key::new(self.place_seed, name),
        }
    }

    /// The next argument, an integer.
    ///
    /// # Errors
    /// "ERR value is not an integer or out of range".
    pub(crate) fn int(&mut self) -> Result<i64> {
        number::parse_i64(self.next()?).ok_or(NOT_AN_INTEGER)
    }

    /// The next argument, an integer within bounds; `text` is the whole error when it is not.
    pub(crate) fn int_in(&mut self, min: i64, max: i64, text: &'static str) -> Result<i64> {
        number::parse_i64(self.next()?)
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| Error::reply(text))
    }

    /// The next argument, a number.
    ///
    /// # Errors
    /// "ERR value is not a valid float", also for "nan".
    pub(crate) fn float(&mut self) -> Result<f64> {
        number::parse_f64(self.next()?).filter(|f| !f.is_nan()).ok_or(NOT_A_FLOAT)
    }

    /// Whether the next argument is the word `token` in any case; consumes it then.
    pub(crate) fn flag(&mut self, token: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if first.eq_ignore_ascii_case(token.as_bytes()) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    /// As [`flag`](Self::flag), for a token that needs an argument: false, and nothing consumed, when
    /// nothing comes after it.
    pub(crate) fn option(&mut self, token: &str) -> bool {
        self.words.len() > 1 && self.flag(token)
    }

    /// The next argument, for how long a command waits, in seconds: milliseconds, 0 for ever.
    ///
    /// # Errors
    /// "ERR timeout is not a float or out of range", "ERR timeout is negative", "ERR timeout is out of range".
    pub(crate) fn timeout(&mut self) -> Result<u64> {
        timeout(self.next()?)
    }

    /// The last argument, as [`timeout`](Self::timeout); does not consume it.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn last_timeout(&self) -> Result<u64> {
        timeout(self.words.last().ok_or(SYNTAX)?)
    }

    /// Refuses arguments that nobody read.
    ///
    /// # Errors
    /// "ERR syntax error".
    pub(crate) fn end(&self) -> Result<()> {
        if self.words.is_empty() { Ok(()) } else { Err(SYNTAX) }
    }

    /// The error for a number of arguments that the arity does not rule out but the command does.
    pub(crate) fn wrong_number(&self) -> Error {
        Error::reply(wrong_number(self.name))
    }

    /// The error for a subcommand that is not there, or has too many arguments or too few.
    pub(crate) fn wrong_subcommand(&self, called: &[u8]) -> Error {
        let container = self.name.split('|').next().unwrap_or_default().to_ascii_uppercase();
        Error::reply(format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
            String::from_utf8_lossy(called)
        ))
    }

    /// As [`wrong_subcommand`](Self::wrong_subcommand), of this one.
    pub(crate) fn wrong_arguments(&self) -> Error {
        self.wrong_subcommand(self.called)
    }
}

fn timeout(word: &[u8]) -> Result<u64> {
    let text = "ERR timeout is not a float or out of range";
    let seconds = number::parse_f64(word).filter(|s| !s.is_nan());
    let ms = (seconds.ok_or(Error::reply(text))? * 1000.0).ceil();
    if ms < 0.0 {
        return Err(Error::reply("ERR timeout is negative"));
    }
    // Beyond this, now and the timeout together are no time any more.
    if ms >= (i64::MAX / 2) as f64 {
        return Err(Error::reply("ERR timeout is out of range"));
    }
    Ok(ms as u64)
}

/// "ERR wrong number of arguments for 'get' command".
pub(crate) fn wrong_number(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_left_to_right() {
        let words: [&[u8]; 8] = [b"test", b"k1", b"EX", b"10", b"nx", b"1.5", b"k2", b"k3"];
        let keys = [Key { name: words[1], place: 7 }, Key { name: words[7], place: 8 }];
        let mut args = Args::new("test", &words, 1, &keys, 1);
        assert_eq!(args.key().unwrap().place, 7);
        assert!(!args.option("PX"));
        assert!(args.option("ex"));
        assert_eq!(args.int().unwrap(), 10);
        assert!(args.flag("NX") && !args.flag("NX"));
        assert_eq!(args.float().unwrap(), 1.5);
        assert_eq!((args.remaining(), args.peek()), (2, Some(&b"k2"[..])));
        assert!(args.end().is_err());
        let found: Vec<_> = args.keys().map(|k| k.place).collect();
        assert_eq!(found, [Key::new(1, b"k2").place, 8]);
        assert!(args.is_empty() && args.end().is_ok() && args.next().is_err());
        assert!(!args.flag("X") && !args.option("X"));
    }

    #[test]
    fn tells_what_is_wrong() {
        let words: [&[u8]; 4] = [b"Get", b"x", b"5", b"nan"];
        let mut args = Args::new("get", &words, 1, &[], 1);
        assert_eq!(args.clone().int().unwrap_err().to_string(), NOT_AN_INTEGER.to_string());
        args.next().unwrap();
        assert_eq!(args.clone().int_in(1, 4, "ERR bounds").unwrap_err().to_string(), "ERR bounds");
        assert_eq!(args.int_in(1, 5, "ERR bounds").unwrap(), 5);
        assert!(!args.option("nan"), "nothing follows");
        assert!(args.float().is_err());
        assert_eq!(
            args.wrong_number().to_string(),
            "ERR wrong number of arguments for 'get' command"
        );
        assert_eq!(
            args.wrong_arguments().to_string(),
            "ERR unknown subcommand or wrong number of arguments for 'Get'. Try GET HELP."
        );
    }
}
