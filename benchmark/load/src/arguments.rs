//! The command line: `--name value` pairs, each with a default. A name that nobody asked for is an
//! error, so a slip of the pen never measures something else.

use std::cell::RefCell;
use std::collections::HashMap;
use std::str::FromStr;

/// What was given, and what of it has been asked for.
pub struct Arguments {
    given: HashMap<String, String>,
    used: RefCell<Vec<String>>,
}

impl Arguments {
    /// Reads the pairs.
    pub fn parse(words: Vec<String>) -> Result<Arguments, String> {
        let mut given = HashMap::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("'{word}' is no flag"))?;
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            given.insert(name.to_owned(), value);
        }
        Ok(Arguments { given, used: RefCell::default() })
    }

    /// The value of `--name`, if it was given.
    pub fn maybe<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.used.borrow_mut().push(name.to_owned());
        let Some(text) = self.given.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name} {text}: not a value for it"))
    }

    /// The value of `--name`, or `default`.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        Ok(self.maybe(name)?.unwrap_or(default))
    }

    /// To be called when everything has been asked for.
    pub fn finish(&self) -> Result<(), String> {
        let used = self.used.borrow();
        match self.given.keys().find(|name| !used.contains(name)) {
            Some(name) => Err(format!("there is no flag --{name}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors() {
        let words = ["--port", "7000", "--oops", "1"].map(String::from).to_vec();
        let arguments = Arguments::parse(words).unwrap();
        assert_eq!(arguments.get("port", 6379), Ok(7000));
        assert_eq!(arguments.get("keys", 10), Ok(10));
        assert_eq!(arguments.finish(), Err("there is no flag --oops".into()));
        assert!(
            arguments
                .get("oops", "".parse::<std::net::IpAddr>().ok().unwrap_or([0, 0, 0, 0].into()))
                .is_err()
        );
        assert!(Arguments::parse(vec!["--port".into()]).is_err());
    }
}
