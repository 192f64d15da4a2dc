//! What `${…}` stands for in a transcript.
//!
//! ```text
//! ${name}         what `@let name …` has read
//! ${now}          seconds since 1970 when the test began; also ${now+100}, ${now-5}
//! ${now_ms}       the same in milliseconds
//! ${ab*100}       the text `ab` a hundred times
//! ```

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

/// Names and what they stand for.
#[derive(Debug, Clone)]
pub struct Names {
    known: HashMap<String, String>,
    now_ms: i64,
}

impl Names {
    /// Only the clock is known.
    pub fn new() -> Names {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Names { known: HashMap::new(), now_ms: i64::try_from(now.as_millis()).unwrap_or(0) }
    }

    /// From here on, `name` stands for `text`.
    pub fn set(&mut self, name: &str, text: &str) {
        self.known.insert(name.to_string(), text.to_string());
    }

    /// `line` with everything filled in.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn expand(&self, line: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (inside, tail) = after.split_once('}').ok_or("`${` without `}`")?;
            out.push_str(&self.value(inside)?);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, inside: &str) -> Result<String> {
        if let Some(text) = self.known.get(inside) {
            return Ok(text.clone());
        }
        if let Some((text, times)) = inside.rsplit_once('*') {
            return Ok(text.repeat(times.parse()?));
        }
        let split = inside.find(['+', '-']).unwrap_or(inside.len());
        let (name, offset) = inside.split_at(split);
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse()? };
        match name {
            "now" => Ok((self.now_ms / 1000 + offset).to_string()),
            "now_ms" => Ok((self.now_ms + offset).to_string()),
            _ => Err(format!("nothing is known as ${{{inside}}}").into()),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Names::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in() {
        let mut names = Names::new();
        names.set("id", "7");
        assert_eq!(names.expand("a ${id} ${xy*3} b").unwrap(), "a 7 xyxyxy b");
        let now: i64 = names.expand("${now}").unwrap().parse().unwrap();
        assert_eq!(names.expand("${now-5}").unwrap(), (now - 5).to_string());
        assert!(names.expand("${what}").is_err());
    }
}
