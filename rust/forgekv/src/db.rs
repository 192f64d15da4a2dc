//! An open directory and its typed calls.

use crate::{Error, Result, Scan, SyncMode, Value};
use forgekv_server::Embedded;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a directory is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; created if it is not there.
    pub dir: PathBuf,
    /// When writes are on stable storage.
    pub sync: SyncMode,
    /// Everything kept in memory, in bytes.
    pub memory_bytes: u64,
    /// What of it holds writes that are not in tables yet.
    pub memtable_bytes: u64,
    /// The number of logical databases. A directory that has more keeps them.
    pub databases: u32,
}

impl Options {
    /// The defaults: synced every second, 256 MiB of memory, 16 databases.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            sync: SyncMode::EverySecond,
            memory_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            databases: 16,
        }
    }
}

/// When a key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key.
    Missing,
    /// It stays.
    Never,
    /// After this time.
    In(Duration),
}

/// An open directory, looking at one of its logical databases. The last clone closes it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Embedded>,
    index: u32,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens a directory with the default [`Options`], creating it if needed.
    ///
    /// # Errors
    /// When a server or another opener has it, and when it is damaged (`forgekv check` says more):
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(dir.path()).unwrap();
    /// let second = forgekv::Db::open(dir.path()).unwrap_err();
    /// assert!(second.to_string().contains("in use"));
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(Options::new(dir.as_ref()))
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// As [`open`](Db::open).
    pub fn open_with(options: Options) -> Result<Db> {
        let Options { dir, sync, memory_bytes, memtable_bytes, databases } = options;
        let engine = forgekv_engine::Options {
            sync_mode: sync,
            memory_bytes,
            memtable_bytes: memtable_bytes.min(memory_bytes / 2),
            segment_bytes: 16 << 20,
            log_bytes: 256 << 20,
            ..forgekv_engine::Options::new(dir)
        };
        Ok(Db { inner: Arc::new(Embedded::open(engine, databases)?), index: 0 })
    }

    /// The same directory, looking at another logical database.
    ///
    /// # Errors
    /// When there is none of this number.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(dir.path())?;
    /// let other = db.select(3)?;
    /// other.set("key", "there")?;
    /// assert_eq!(db.get("key")?, None);
    /// assert!(db.select(99).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn select(&self, index: u32) -> Result<Db> {
        if index >= self.inner.store().databases() {
            return Err(Error::Refused("ERR DB index is out of range".into()));
        }
        Ok(Db { inner: self.inner.clone(), index })
    }

    /// Runs any command on data, name first, and answers as a server would in RESP3. Commands about
    /// connections and the server are refused.
    ///
    /// # Errors
    /// `Refused` with the error reply.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(dir.path())?;
    /// db.command(&["MSET", "a", "1", "b", "2"])?;
    /// assert_eq!(db.command(&["EXISTS", "a", "b", "c"])?.as_int(), Some(2));
    /// let refused = db.command(&["INCRBY", "a", "many"]).unwrap_err();
    /// assert_eq!(refused.to_string(), "ERR value is not an integer or out of range");
    /// # Ok(())
    /// # }
    /// ```
    pub fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Value> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let reply = self.inner.call(self.index, &words);
        match Value::decode(&reply) {
            Ok(Some((Value::Error(text) | Value::BulkError(text), _))) => {
                Err(Error::Refused(String::from_utf8_lossy(&text).into_owned()))
            }
            Ok(Some((value, _))) => Ok(value),
            Ok(None) | Err(_) => Err(Error::Unexpected(Value::Bulk(reply))),
        }
    }

    /// The value of a string key.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        bytes(self.command(&[b"GET", key.as_ref()])?)
    }

    /// Gives a key a value, whatever it held. It has no expiry afterwards.
    ///
    /// # Errors
    /// What the storage met; no space.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.command(&[b"SET", key.as_ref(), value.as_ref()]).map(drop)
    }

    /// As [`set`](Db::set); the key goes after `ttl`, which counts in milliseconds.
    ///
    /// # Errors
    /// Also when `ttl` is less than a millisecond.
    pub fn set_with_ttl(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<()> {
        let ms = ttl.as_millis().to_string();
        self.command(&[b"SET", key.as_ref(), value.as_ref(), b"PX", ms.as_bytes()]).map(drop)
    }

    /// Gives a key a value if it has none. True when it was done.
    ///
    /// # Errors
    /// As [`set`](Db::set).
    pub fn set_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        let done = self.command(&[b"SET", key.as_ref(), value.as_ref(), b"NX"])?;
        Ok(!done.is_null())
    }

    /// Sets several keys in one atomic step.
    ///
    /// # Errors
    /// As [`set`](Db::set); also when there are none.
    pub fn set_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, pairs: &[(K, V)]) -> Result<()> {
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        words.extend(pairs.iter().flat_map(|(key, value)| [key.as_ref(), value.as_ref()]));
        self.command(&words).map(drop)
    }

    /// Adds to the number that a key holds, 0 if there is none, and answers the sum.
    ///
    /// # Errors
    /// When it holds no integer, or the sum does not fit.
    pub fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        int(self.command(&[b"INCRBY", key.as_ref(), by.to_string().as_bytes()])?)
    }

    /// Deletes a key, whatever it holds. True when it was there.
    ///
    /// # Errors
    /// What the storage met.
    pub fn del(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        flag(self.command(&[b"DEL", key.as_ref()])?)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// What the storage met.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        flag(self.command(&[b"EXISTS", key.as_ref()])?)
    }

    /// Has a key go after `ttl`, which counts in milliseconds. False when there is no such key.
    ///
    /// # Errors
    /// What the storage met.
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        flag(self.command(&[b"PEXPIRE", key.as_ref(), ttl.as_millis().to_string().as_bytes()])?)
    }

    /// Has a key stay. False when there is no such key, or it would have stayed.
    ///
    /// # Errors
    /// What the storage met.
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        flag(self.command(&[b"PERSIST", key.as_ref()])?)
    }

    /// When a key goes.
    ///
    /// # Errors
    /// What the storage met.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use std::time::Duration;
    /// use forgekv::Ttl;
    /// let db = forgekv::Db::open(dir.path())?;
    /// db.set("key", "value")?;
    /// assert_eq!((db.ttl("key")?, db.ttl("none")?), (Ttl::Never, Ttl::Missing));
    /// db.expire("key", Duration::from_secs(60))?;
    /// assert!(matches!(db.ttl("key")?, Ttl::In(rest) if rest > Duration::from_secs(50)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Ttl> {
        Ok(match int(self.command(&[b"PTTL", key.as_ref()])?)? {
            -2 => Ttl::Missing,
            ms => u64::try_from(ms).map_or(Ttl::Never, |ms| Ttl::In(Duration::from_millis(ms))),
        })
    }

    /// Sets a field of a hash. True when it is new.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    pub fn hset(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        flag(self.command(&[b"HSET", key.as_ref(), field.as_ref(), value.as_ref()])?)
    }

    /// A field of a hash.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    pub fn hget(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        bytes(self.command(&[b"HGET", key.as_ref(), field.as_ref()])?)
    }

    /// Deletes a field of a hash. True when it was there.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    pub fn hdel(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<bool> {
        flag(self.command(&[b"HDEL", key.as_ref(), field.as_ref()])?)
    }

    /// How many fields a hash has; 0 when there is none.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    pub fn hlen(&self, key: impl AsRef<[u8]>) -> Result<u64> {
        int(self.command(&[b"HLEN", key.as_ref()])?).map(|len| len as u64)
    }

    /// All fields of a hash and their values, in no order.
    ///
    /// # Errors
    /// When the key holds something else; what the storage met.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(dir.path())?;
    /// db.hset("user", "name", "Ada")?;
    /// assert_eq!(db.hgetall("user")?, [(b"name".to_vec(), b"Ada".to_vec())]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn hgetall(&self, key: impl AsRef<[u8]>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Value::Map(pairs) = self.command(&[b"HGETALL", key.as_ref()])? else {
            return Err(Error::Unexpected(Value::Null));
        };
        pairs
            .into_iter()
            .map(|pair| match pair {
                (Value::Bulk(field), Value::Bulk(value)) => Ok((field, value)),
                (other, _) => Err(Error::Unexpected(other)),
            })
            .collect()
    }

    /// The keys of this database, in no order. A key that is there from the beginning to the end comes up, and
    /// none comes up twice while nobody writes.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(dir.path())?;
    /// db.set_all(&[("user:1", "a"), ("user:2", "b"), ("other", "c")])?;
    /// let mut users: Vec<_> = db.scan_matching("user:*").collect::<Result<_, _>>()?;
    /// users.sort();
    /// assert_eq!(users, [b"user:1", b"user:2"]);
    /// assert_eq!(db.scan().count(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self) -> Scan {
        Scan::new(self.clone(), None)
    }

    /// As [`scan`](Db::scan), the keys that match a pattern: `*`, `?`, `[a-z]`, `\` as in Redis.
    pub fn scan_matching(&self, pattern: impl AsRef<[u8]>) -> Scan {
        Scan::new(self.clone(), Some(pattern.as_ref().to_vec()))
    }

    /// How many keys this database has, expired ones that were not met yet among them.
    ///
    /// # Errors
    /// What the storage met.
    pub fn count(&self) -> Result<u64> {
        int(self.command(&["DBSIZE"])?).map(|count| count as u64)
    }

    /// Deletes all keys of this database. Takes no time, whatever there is; the disk comes back by and by.
    ///
    /// # Errors
    /// What the storage met.
    pub fn clear(&self) -> Result<()> {
        self.command(&["FLUSHDB"]).map(drop)
    }

    /// Waits until everything that has been written is on stable storage.
    ///
    /// # Errors
    /// When it cannot be made so.
    pub fn sync(&self) -> Result<()> {
        Ok(self.inner.store().engine().sync().map(drop)?)
    }

    /// Copies the directory as it is now into the empty directory `dir` of the same file system, mostly by
    /// hard links. The copy can be opened, here or by a server. Nobody waits for it.
    ///
    /// # Errors
    /// When `dir` holds data; failed writes.
    ///
    /// ```
    /// # fn main() -> forgekv::Result<()> {
    /// # let parent = tempfile::tempdir().unwrap();
    /// let db = forgekv::Db::open(parent.path().join("data"))?;
    /// db.set("key", "then")?;
    /// db.backup(parent.path().join("backup"))?;
    /// db.set("key", "now")?;
    /// let copy = forgekv::Db::open(parent.path().join("backup"))?;
    /// assert_eq!(copy.get("key")?.as_deref(), Some(&b"then"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<()> {
        Ok(self.inner.store().engine().snapshot()?.checkpoint(dir.as_ref())?)
    }
}

fn bytes(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Bulk(bytes) => Ok(Some(bytes)),
        value if value.is_null() => Ok(None),
        other => Err(Error::Unexpected(other)),
    }
}

fn int(value: Value) -> Result<i64> {
    value.as_int().ok_or(Error::Unexpected(value))
}

fn flag(value: Value) -> Result<bool> {
    int(value).map(|n| n > 0)
}
