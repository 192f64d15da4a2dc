use super::*;
use crate::expire::Expires;
use crate::limits::Limits;
use crate::record;
use crate::store::Store;
use crate::view::Surroundings;
use crate::{expire, keys};
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Batch, Options, ShardSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

const ALL: u32 = u32::MAX;

struct Db {
    store: Option<Store>,
    limits: Limits,
    now_ms: u64,
    seed: u64,
    events: Vec<String>,
    dir: tempfile::TempDir,
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(Options::new(dir.path()), 16, Arc::new(RealDisk)).unwrap()
}

impl Db {
    fn new() -> Db {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(&dir));
        let limits = Limits::default();
        Db { store, limits, now_ms: 1_000_000, seed: 1, events: Vec::new(), dir }
    }

    fn reopen(&mut self) {
        let store = self.store.take().unwrap();
        store.engine().close().unwrap();
        drop(store);
        self.store = Some(open(&self.dir));
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings {
            now_ms: self.now_ms,
            db: 0,
            limits: &self.limits,
            random_seed: self.seed,
            place_seed: self.store.as_ref().unwrap().place_seed(),
            events: ALL,
            interest: forgekv_engine::ShardSet::default(),
        }
    }

    /// One command: what it staged is committed, unless it failed.
    fn run<T>(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut Write<'_>, Key<'_>) -> Result<T>,
    ) -> Result<T> {
        self.seed += 1;
        let (around, store) = (self.around(), self.store.as_ref().unwrap());
        let (result, events) = store.engine().with_reserved(ShardSet::ALL, |guard| {
            let mut w = store.write(guard, Batch::new(), around);
            let key = Key::new(store.place_seed(), name.as_bytes());
            let result = f(&mut w, key);
            let mut parts = w.into_parts();
            if result.is_ok() {
                store.commit(&mut parts.guard, &mut parts.batch).unwrap();
            } else {
                parts.events.clear();
            }
            (result, parts.events)
        });
        self.events = events.iter().map(|event| event.name.to_owned()).collect();
        result
    }

    fn set(&mut self, name: &str, pairs: &[&str]) -> u64 {
        let pairs: Vec<&[u8]> = pairs.iter().map(|word| word.as_bytes()).collect();
        self.run(name, |w, key| set(w, key, &pairs)).unwrap()
    }

    fn get(&mut self, name: &str, field: &str) -> Option<String> {
        self.run(name, |w, key| get(w, key, field.as_bytes(), |v| v.map(text))).unwrap()
    }

    fn del(&mut self, name: &str, fields: &[&str]) -> u64 {
        self.run(name, |w, key| delete(w, key, &words(fields))).unwrap()
    }

    fn len(&mut self, name: &str) -> u64 {
        self.run(name, |w, key| len(w, key)).unwrap()
    }

    fn exists(&mut self, name: &str) -> bool {
        self.run(name, |w, key| keys::exists(w, key)).unwrap()
    }

    fn encoding(&mut self, name: &str) -> &'static str {
        self.run(name, |w, key| keys::encoding_name(w, key)).unwrap().unwrap_or("none")
    }

    /// All fields in the order in which they are shown.
    fn all(&mut self, name: &str) -> Vec<(String, String)> {
        let mut seen = Seen::default();
        self.run(name, |w, key| all(w, key, &mut seen)).unwrap();
        assert_eq!(seen.len, Some(seen.fields.len() as u64));
        seen.fields
    }

    fn expire(&mut self, name: &str, at_ms: u64, when: When, fields: &[&str]) -> Vec<Timed> {
        let mut done = Vec::new();
        self.run(name, |w, key| {
            expire(w, key, at_ms, when, &words(fields), &mut |one| done.push(one))
        })
        .unwrap();
        done
    }

    fn expiries(&mut self, name: &str, fields: &[&str]) -> Vec<Expires> {
        let mut found = Vec::new();
        self.run(name, |w, key| expiries(w, key, &words(fields), &mut |one| found.push(one)))
            .unwrap();
        found
    }

    fn persist(&mut self, name: &str, fields: &[&str]) -> Vec<Timed> {
        let mut done = Vec::new();
        self.run(name, |w, key| persist(w, key, &words(fields), &mut |one| done.push(one)))
            .unwrap();
        done
    }

    fn random(&mut self, name: &str, count: i64) -> Vec<String> {
        let mut fields = Vec::new();
        self.run(name, |w, key| {
            random(w, key, count, &mut |field, value| {
                assert_eq!(text(value), format!("v{}", text(field)));
                fields.push(text(field));
                Ok(())
            })
        })
        .unwrap();
        fields
    }

    fn scan(&mut self, name: &str, count: u64) -> (Vec<String>, usize) {
        let (mut cursor, mut fields, mut steps) = (0, Vec::new(), 0);
        loop {
            cursor = self
                .run(name, |w, key| {
                    scan(w, key, cursor, count, &mut |field, _| fields.push(text(field)))
                })
                .unwrap();
            steps += 1;
            if cursor == 0 {
                return (fields, steps);
            }
            assert!(cursor < 1 << 53);
        }
    }

    /// The expiry cycle over all shards: keys and stale entries.
    fn reap(&mut self) -> (u64, u64) {
        let now_ms = self.now_ms;
        let due = self.store.as_ref().unwrap().due_shards(now_ms);
        let (mut expired, mut stale, mut events) = (0, 0, Vec::new());
        for shard in due.iter() {
            loop {
                let reaped = self.run("", |w, _| expire::cycle_shard(w, shard, 7)).unwrap();
                events.append(&mut self.events);
                expired += reaped.expired;
                stale += reaped.stale;
                if !reaped.more {
                    break;
                }
            }
        }
        self.events = events;
        (expired, stale)
    }

    /// Everything in the TTL index.
    fn index(&mut self) -> Vec<u64> {
        let mut entries = Vec::new();
        self.run("", |w, _| {
            for shard in 0..64 {
                let end = Bound::Excluded(vec![record::SPACE_TTL + 1]);
                w.scan(
                    shard,
                    &Bound::Included(record::ttl_start(0)),
                    &end,
                    false,
                    &mut |key, _| {
                        entries.push(record::parse_ttl_key(key).unwrap().0);
                        Ok(ControlFlow::Continue(()))
                    },
                )?;
            }
            Ok(())
        })
        .unwrap();
        entries.sort_unstable();
        entries
    }
}

#[derive(Default)]
struct Seen {
    len: Option<u64>,
    fields: Vec<(String, String)>,
}

impl Visit for Seen {
    fn len(&mut self, len: u64) {
        assert_eq!(self.len.replace(len), None);
    }

    fn field(&mut self, field: &[u8], value: &[u8]) -> Result<()> {
        self.fields.push((text(field), text(value)));
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn words<'a>(fields: &[&'a str]) -> Vec<&'a [u8]> {
    fields.iter().map(|field| field.as_bytes()).collect()
}

/// Fields `from..to` named by their numbers, with values `v<number>`.
fn fill(db: &mut Db, name: &str, from: usize, to: usize) {
    let pairs: Vec<String> = (from..to).flat_map(|n| [n.to_string(), format!("v{n}")]).collect();
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    for some in pairs.chunks(2000) {
        db.set(name, some);
    }
}

#[test]
fn sets_gets_and_deletes_in_order() {
    let mut db = Db::new();
    assert_eq!(db.set("h", &["a", "1", "b", "2", "a", "3"]), 2);
    assert_eq!(db.events, ["new", "hset"]);
    assert_eq!(db.set("h", &["b", "22", "c", ""]), 1);
    assert_eq!(db.events, ["hset"]);
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(f, v)| (f.to_string(), v.to_string())).collect()
    };
    assert_eq!(db.all("h"), pairs(&[("a", "3"), ("b", "22"), ("c", "")]));
    assert_eq!((db.get("h", "b").as_deref(), db.get("h", "x")), (Some("22"), None));
    assert_eq!((db.get("none", "b"), db.events.clone()), (None, vec!["keymiss".to_owned()]));
    assert_eq!(db.encoding("h"), "listpack");
    assert_eq!(db.del("h", &["a", "x", "a"]), 1);
    assert_eq!(db.events, ["hdel"]);
    assert_eq!(db.del("h", &["x"]), 0);
    assert!(db.events.is_empty());
    assert!(!db.run("h", |w, key| set_absent(w, key, b"b", b"no")).unwrap());
    assert!(db.run("h", |w, key| set_absent(w, key, b"d", b"yes")).unwrap());
    let mut got = Vec::new();
    db.run("h", |w, key| {
        get_many(w, key, &words(&["d", "x", "b"]), &mut |v| got.push(v.map(text)))
    })
    .unwrap();
    assert_eq!(got, [Some("yes".to_owned()), None, Some("22".to_owned())]);
    assert_eq!((db.len("h"), db.len("none")), (3, 0));
    db.reopen();
    assert_eq!(db.all("h"), pairs(&[("b", "22"), ("c", ""), ("d", "yes")]));
    assert_eq!(db.del("h", &["b", "c", "d"]), 3);
    assert_eq!(db.events, ["hdel", "del"]);
    assert!(!db.exists("h"));
}

#[test]
fn other_types_are_refused() {
    let mut db = Db::new();
    db.run("s", |w, key| crate::string::set(w, key, b"v", None)).unwrap();
    let wrong = |result: Result<()>| assert!(matches!(result, Err(Error::WrongType)));
    wrong(db.run("s", |w, key| set(w, key, &[b"a", b"b"]).map(drop)));
    wrong(db.run("s", |w, key| get(w, key, b"a", |_| ())));
    wrong(db.run("s", |w, key| get_many(w, key, &[b"a"], &mut |_| ())));
    wrong(db.run("s", |w, key| len(w, key).map(drop)));
    wrong(db.run("s", |w, key| all(w, key, &mut Seen::default())));
    wrong(db.run("s", |w, key| scan(w, key, 0, 10, &mut |_, _| ()).map(drop)));
    wrong(db.run("s", |w, key| random(w, key, 1, &mut |_, _| Ok(()))));
    wrong(db.run("s", |w, key| expiries(w, key, &[b"a"], &mut |_| ())));
}

#[test]
fn limits_explode() {
    let mut db = Db::new();
    fill(&mut db, "n", 0, 128);
    assert_eq!(db.encoding("n"), "listpack");
    fill(&mut db, "n", 128, 129);
    assert_eq!(db.encoding("n"), "hashtable");
    assert_eq!(db.len("n"), 129);
    db.del("n", &["5"]);
    assert_eq!((db.len("n"), db.encoding("n")), (128, "hashtable"));

    db.set("v", &["a", &"x".repeat(64), &"f".repeat(64), "b"]);
    assert_eq!(db.encoding("v"), "listpack");
    db.set("v", &["a", &"x".repeat(65)]);
    assert_eq!((db.encoding("v"), db.len("v")), ("hashtable", 2));
    db.set("f", &["a", "1", &"f".repeat(65), "b"]);
    assert_eq!((db.encoding("f"), db.len("f")), ("hashtable", 2));

    // Larger than a record should be, but Redis would not mind.
    let value = "x".repeat(64);
    for n in 0..128 {
        db.set("big", &[&format!("{n:064}"), &value]);
    }
    assert_eq!((db.encoding("big"), db.len("big")), ("listpack", 128));
    let exploded = db.run("big", |w, key| Ok(w.header(key)?.unwrap().is_exploded())).unwrap();
    assert!(exploded);
    db.set("big", &["one more", ""]);
    assert_eq!(db.encoding("big"), "hashtable");
}

#[test]
fn counts() {
    let mut db = Db::new();
    assert_eq!(db.run("h", |w, key| incr_by(w, key, b"n", 5)).unwrap(), 5);
    assert_eq!(db.events, ["new", "hincrby"]);
    assert_eq!(db.run("h", |w, key| incr_by(w, key, b"n", -7)).unwrap(), -2);
    db.set("h", &["t", "abc", "max", "9223372036854775807"]);
    let mut fails = |field: &str, by| {
        db.run("h", |w, key| incr_by(w, key, field.as_bytes(), by)).unwrap_err().to_string()
    };
    assert_eq!(fails("t", 1), "ERR hash value is not an integer");
    assert_eq!(fails("max", 1), "ERR increment or decrement would overflow");
    let mut float = |field: &str, by: &str| {
        db.run("h", |w, key| incr_by_float(w, key, field.as_bytes(), by.as_bytes()))
            .map(|sum| text(&sum))
            .unwrap_or_else(|e| e.to_string())
    };
    assert_eq!(float("f", "10.5"), "10.5");
    assert_eq!(float("f", "0.1"), "10.6");
    assert_eq!(float("n", "1"), "-1");
    assert_eq!(float("t", "1"), "ERR hash value is not a float");
    assert_eq!(float("f", "x"), "ERR value is not a valid float");
    assert_eq!(float("f", "inf"), "ERR value is NaN or Infinity");
    assert_eq!(db.get("h", "f").as_deref(), Some("10.6"));
}

#[test]
fn scans_show_everything_that_stays() {
    let mut db = Db::new();
    fill(&mut db, "h", 0, 100);
    assert_eq!(db.scan("h", 10), ((0..100).map(|n| n.to_string()).collect(), 1));
    fill(&mut db, "h", 100, 1000);
    let (mut fields, steps) = db.scan("h", 10);
    assert!((90..=101).contains(&steps), "{steps}");
    fields.sort();
    fields.dedup();
    assert_eq!(fields.len(), 1000);
    let over = db.run("h", |w, key| scan(w, key, u64::MAX, 10, &mut |_, _| ())).unwrap();
    assert_eq!(over, 0);
}

#[test]
fn fields_expire() {
    for n in [5, 500] {
        let mut db = Db::new();
        fill(&mut db, "h", 0, n);
        let (soon, late) = (db.now_ms + 100, db.now_ms + 1000);
        assert_eq!(
            db.expire("h", late, When::Always, &["0", "x", "1"]),
            [Timed::Done, Timed::Missing, Timed::Done]
        );
        assert_eq!(db.events, ["hexpire"]);
        assert_eq!(db.encoding("h"), if n == 5 { "listpackex" } else { "hashtable" });
        for (when, at, done) in [
            (When::HasNone, soon, Timed::Refused),
            (When::Later, soon, Timed::Refused),
            (When::Later, late, Timed::Refused),
            (When::Earlier, late, Timed::Refused),
            (When::HasOne, late + 1, Timed::Done),
            (When::Earlier, soon, Timed::Done),
            (When::Later, late, Timed::Done),
        ] {
            assert_eq!(db.expire("h", at, when, &["0"]), [done], "{when:?} {at}");
        }
        for (when, done) in [
            (When::HasOne, Timed::Refused),
            (When::Later, Timed::Refused),
            (When::Earlier, Timed::Done),
        ] {
            assert_eq!(db.expire("h", soon, when, &["2"]), [done], "{when:?}");
        }
        let never = Expires::Never;
        let found = db.expiries("h", &["0", "2", "3", "x"]);
        assert_eq!(found, [Expires::At(late), Expires::At(soon), never, Expires::Missing]);
        db.reopen();
        assert_eq!(db.expiries("h", &["0", "2", "3", "x"]), found);

        // Setting takes the expiry away, counting keeps it.
        db.set("h", &["1", "7"]);
        assert_eq!(db.expiries("h", &["1"]), [never]);
        db.expire("h", late, When::Always, &["1"]);
        assert_eq!(db.run("h", |w, key| incr_by(w, key, b"1", 1)).unwrap(), 8);
        assert_eq!(db.expiries("h", &["1"]), [Expires::At(late)]);
        assert_eq!(
            db.persist("h", &["1", "3", "x"]),
            [Timed::Done, Timed::HadNone, Timed::Missing]
        );
        assert_eq!(db.events, ["hpersist"]);
        assert_eq!(db.expiries("h", &["1"]), [never]);

        // Expired: absent to all, but counted until somebody meets it.
        db.now_ms = soon;
        assert_eq!((db.len("h"), db.all("h").len()), (n as u64, n - 1));
        assert_eq!(db.scan("h", 1000).0.len(), n - 1);
        db.set("h", &["1", "v1"]);
        assert_eq!(db.random("h", n as i64 * 2).len(), n - 1);
        assert!(db.random("h", -2000).iter().all(|field| field != "2"));
        assert_eq!(db.get("h", "2"), None);
        assert_eq!(db.events, ["hexpired"]);
        assert_eq!(db.len("h"), n as u64 - 1);
        assert_eq!(db.get("h", "2"), None);
        assert!(db.events.is_empty());
        assert_eq!(db.index(), [late]);

        // In the past: deleted at once.
        assert_eq!(db.expire("h", soon, When::Always, &["3"]), [Timed::Deleted]);
        assert_eq!((db.events.clone(), db.get("h", "3")), (vec!["hdel".to_owned()], None));
        db.now_ms = late;
        assert_eq!(db.reap().0, 0);
        assert_eq!(db.events, ["hexpired"]);
        assert_eq!(db.len("h"), n as u64 - 3);
        assert!(db.index().is_empty());
    }
}

#[test]
fn the_last_field_takes_the_key() {
    for n in [3, 300] {
        let mut db = Db::new();
        let names: Vec<String> = (0..n).map(|i| i.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // By the cycle.
        fill(&mut db, "h", 0, n);
        db.expire("h", db.now_ms + 10, When::Always, &names);
        db.now_ms += 10;
        assert!(db.exists("h"));
        db.reap();
        assert!(!db.exists("h"));
        assert_eq!(db.events.len(), 0);
        assert!(db.index().is_empty());
        // By whoever reads.
        fill(&mut db, "h", 0, n);
        db.expire("h", db.now_ms + 10, When::Always, &names);
        db.now_ms += 10;
        let mut absent = 0;
        db.run("h", |w, key| {
            get_many(w, key, &words(&names), &mut |v| absent += u32::from(v.is_none()))
        })
        .unwrap();
        assert_eq!(absent, n as u32);
        assert_eq!(db.events, ["hexpired", "del"]);
        assert!(!db.exists("h"));
        // By an expiry in the past, and by HGETDEL.
        fill(&mut db, "h", 0, n);
        db.expire("h", 5, When::Always, &names);
        assert_eq!(db.events, ["hdel", "del"]);
        assert!(!db.exists("h"));
        fill(&mut db, "h", 0, n);
        let mut got = 0;
        db.run("h", |w, key| {
            get_delete(w, key, &words(&names), &mut |v| got += u32::from(v.is_some()))
        })
        .unwrap();
        assert_eq!((got, db.exists("h")), (n as u32, false));
        assert!(db.index().is_empty());
    }
}

#[test]
fn entries_of_the_ttl_index_follow_the_hash() {
    for n in [3, 300] {
        let mut db = Db::new();
        fill(&mut db, "h", 0, n);
        let at = db.now_ms + 100;
        db.expire("h", at, When::Always, &["1", "2"]);
        let seed = db.store.as_ref().unwrap().place_seed();
        let other = Key::new(seed, b"other");
        let third = Key::new(seed, b"third");
        // Inside the shard, into another one, and as a copy.
        db.run("h", |w, key| keys::rename(w, key, other, false)).unwrap();
        assert_eq!(db.expiries("other", &["0", "1"]), [Expires::Never, Expires::At(at)]);
        db.run("other", |w, key| keys::copy(w, key, third, 0, false)).unwrap();
        db.run("third", |w, key| keys::move_to(w, key, 3)).unwrap();
        assert!(db.index().len() >= 2);
        db.now_ms = at;
        db.reap();
        assert_eq!(db.len("other"), n as u64 - 2);
        let moved = db.run("third", |w, key| {
            w.switch_db(3);
            let len = len(w, key);
            w.switch_db(0);
            len
        });
        assert_eq!(moved.unwrap(), n as u64 - 2);
        assert!(db.index().is_empty());
    }
}

#[test]
fn gets_and_sets_with_expiry() {
    let mut db = Db::new();
    let at = db.now_ms + 50;
    let setex = |db: &mut Db, pairs: &[&str], how, existing| {
        db.run("h", |w, key| set_retime(w, key, &words(pairs), how, existing)).unwrap()
    };
    assert!(!setex(&mut db, &["a", "1"], Retime::Clear, Existing::All));
    assert!(!db.exists("h"));
    assert!(setex(&mut db, &["a", "1", "b", "2"], Retime::At(at), Existing::None));
    assert_eq!(db.events, ["new", "hset", "hexpire"]);
    assert!(!setex(&mut db, &["a", "x", "c", "x"], Retime::Clear, Existing::None));
    assert!(!setex(&mut db, &["a", "x", "c", "x"], Retime::Clear, Existing::All));
    assert!(setex(&mut db, &["a", "3"], Retime::Keep, Existing::All));
    assert_eq!(db.expiries("h", &["a"]), [Expires::At(at)]);
    assert!(setex(&mut db, &["a", "4"], Retime::Clear, Existing::Any));
    assert_eq!(db.expiries("h", &["a", "b"]), [Expires::Never, Expires::At(at)]);
    let getex = |db: &mut Db, fields: &[&str], how| {
        let mut got = Vec::new();
        db.run("h", |w, key| {
            get_retime(w, key, &words(fields), how, &mut |v| got.push(v.map(text)))
        })
        .unwrap();
        got
    };
    let some = |v: &str| Some(v.to_owned());
    assert_eq!(getex(&mut db, &["a", "x"], Retime::Keep), [some("4"), None]);
    assert_eq!(getex(&mut db, &["a"], Retime::At(at)), [some("4")]);
    assert_eq!(getex(&mut db, &["a", "b"], Retime::Clear), [some("4"), some("2")]);
    assert_eq!(db.events, ["hpersist"]);
    assert!(db.index().is_empty());
    assert_eq!(getex(&mut db, &["a"], Retime::At(5)), [some("4")]);
    assert_eq!(db.events, ["hdel"]);
    assert!(setex(&mut db, &["b", "4"], Retime::At(5), Existing::Any));
    assert_eq!(db.events, ["hset", "hdel", "del"]);
    assert!(!db.exists("h"));
}

#[test]
fn fields_of_one_transaction_see_each_other() {
    let mut db = Db::new();
    fill(&mut db, "h", 0, 200);
    db.run("h", |w, key| {
        set(w, key, &[b"x", b"1", b"0", b"2"])?;
        assert_eq!(len(w, key)?, 201);
        assert_eq!(delete(w, key, &[b"x", b"1"])?, 2);
        assert_eq!(len(w, key)?, 199);
        get(w, key, b"0", |v| assert_eq!(v, Some(&b"2"[..])))?;
        get(w, key, b"1", |v| assert_eq!(v, None))?;
        let mut seen = Seen::default();
        all(w, key, &mut seen)?;
        assert_eq!(seen.fields.len(), 199);
        Ok(())
    })
    .unwrap();
}

#[path = "tests/model.rs"]
mod model;
