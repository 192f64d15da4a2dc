//! Walking over all keys.

use crate::db::Db;
use crate::{Error, Result, Value};

/// Keys asked for at a time.
const COUNT: &str = "100";

/// The keys of a database, in no order; see [`Db::scan`].
#[derive(Debug)]
pub struct Scan {
    db: Db,
    pattern: Option<Vec<u8>>,
    /// Where SCAN goes on; `None` at the end.
    cursor: Option<Vec<u8>>,
    ready: std::vec::IntoIter<Value>,
}

impl Scan {
    pub(crate) fn new(db: Db, pattern: Option<Vec<u8>>) -> Scan {
        Scan { db, pattern, cursor: Some(b"0".to_vec()), ready: Vec::new().into_iter() }
    }

    /// Asks for the next keys. False at the end.
    fn more(&mut self) -> Result<bool> {
        let Some(cursor) = self.cursor.take() else { return Ok(false) };
        let mut words: Vec<&[u8]> = vec![b"SCAN", &cursor, b"COUNT", COUNT.as_bytes()];
        if let Some(pattern) = &self.pattern {
            words.extend([&b"MATCH"[..], pattern]);
        }
        let Value::Array(mut answer) = self.db.command(&words)? else {
            return Err(Error::Unexpected(Value::Null));
        };
        let (keys, next) = (answer.pop(), answer.pop());
        let (Some(Value::Array(keys)), Some(Value::Bulk(next))) = (keys, next) else {
            return Err(Error::Unexpected(Value::Null));
        };
        self.ready = keys.into_iter();
        self.cursor = (next != b"0").then_some(next);
        Ok(true)
    }
}

impl Iterator for Scan {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        loop {
            match self.ready.next() {
                Some(Value::Bulk(key)) => return Some(Ok(key)),
                Some(other) => return Some(Err(Error::Unexpected(other))),
                None => match self.more() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(e) => return Some(Err(e)),
                },
            }
        }
    }
}
