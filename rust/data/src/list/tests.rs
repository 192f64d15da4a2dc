use super::*;
use crate::testing::{Db, names, text};
use crate::{digest, keys};
use forgekv_base::rng::Rng;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

#[path = "tests/model.rs"]
mod model;

#[derive(Default)]
struct Seen {
    len: Option<u64>,
    items: Vec<String>,
}

impl Visit for Seen {
    fn len(&mut self, len: u64) {
        assert_eq!(self.len.replace(len), None);
    }

    fn item(&mut self, item: &[u8]) -> Result<()> {
        self.items.push(text(item));
        Ok(())
    }
}

fn words<'a>(items: &[&'a str]) -> Vec<&'a [u8]> {
    items.iter().map(|item| item.as_bytes()).collect()
}

/// A store and what is done to lists in it.
struct Lists(Db);

impl Deref for Lists {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.0
    }
}

impl DerefMut for Lists {
    fn deref_mut(&mut self) -> &mut Db {
        &mut self.0
    }
}

impl Lists {
    fn new() -> Lists {
        Lists(Db::new())
    }

    fn on<T>(&mut self, name: &str, f: impl Fn(&mut Write<'_>, Key<'_>) -> Result<T>) -> Result<T> {
        let key = self.key(name);
        self.run(|w| f(w, key))
    }

    fn push(&mut self, name: &str, end: End, items: &[&str]) -> u64 {
        self.on(name, |w, key| push(w, key, end, &words(items), false)).unwrap()
    }

    fn pop(&mut self, name: &str, end: End, count: u64) -> Option<Vec<String>> {
        self.on(name, |w, key| {
            let mut seen = Seen::default();
            let there = pop(w, key, end, count, &mut seen)?;
            Ok(there.then_some(seen.items))
        })
        .unwrap()
    }

    fn range(&mut self, name: &str, start: i64, stop: i64) -> Vec<String> {
        self.on(name, |w, key| {
            let mut seen = Seen::default();
            range(w, key, start, stop, &mut seen)?;
            assert_eq!(seen.len, Some(seen.items.len() as u64));
            Ok(seen.items)
        })
        .unwrap()
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        self.range(name, 0, -1)
    }

    fn kind_of(&mut self, name: &str) -> &'static str {
        self.on(name, |w, key| keys::encoding_name(w, key)).unwrap().unwrap_or("none")
    }

    fn is_exploded(&mut self, name: &str) -> bool {
        self.on(name, |w, key| Ok(w.header(key)?.unwrap().is_exploded())).unwrap()
    }

    fn generation(&mut self, name: &str) -> Option<u64> {
        self.on(name, |w, key| Ok(w.header(key)?.unwrap().generation())).unwrap()
    }

    fn mv(
        &mut self,
        from: (&str, End),
        to: (&str, End),
        how_many: HowMany,
        arrange: Arrange,
    ) -> Option<Vec<String>> {
        let (source, target) = (self.key(from.0), self.key(to.0));
        self.run(|w| {
            let mut seen = Seen::default();
            let (from, to) = ((source, from.1), (target, to.1));
            let done = move_items(w, from, to, how_many, arrange, &mut seen)?;
            Ok(done.then_some(seen.items))
        })
        .unwrap()
    }
}

fn filled(db: &mut Lists, name: &str, n: usize) -> Vec<String> {
    let items: Vec<String> = (0..n).map(|n| format!("item {n:06}")).collect();
    let all: Vec<&str> = items.iter().map(String::as_str).collect();
    for some in all.chunks(500) {
        db.push(name, End::Right, some);
    }
    items
}

#[test]
fn both_ends() {
    let mut db = Lists::new();
    assert_eq!(db.push("l", End::Left, &["b", "a"]), 2);
    assert_eq!(db.events, ["new:l@0", "lpush:l@0"]);
    assert_eq!(db.push("l", End::Right, &["c"]), 3);
    assert_eq!(db.events, ["rpush:l@0"]);
    assert_eq!(db.all("l"), ["a", "b", "c"]);
    assert_eq!(db.on("x", |w, k| push(w, k, End::Left, &[b"a"], true)).unwrap(), 0);
    assert_eq!(db.all("x"), [""; 0]);
    assert_eq!(db.events, ["keymiss:x@0"]);
    assert_eq!(db.pop("x", End::Left, 1), None);
    assert_eq!(db.pop("l", End::Left, 0).unwrap(), [""; 0]);
    assert_eq!(db.pop("l", End::Right, 2).unwrap(), ["c", "b"]);
    assert_eq!(db.events, ["rpop:l@0"]);
    assert_eq!(db.pop("l", End::Left, 5).unwrap(), ["a"]);
    assert_eq!(db.events, ["lpop:l@0", "del:l@0"]);
    assert_eq!(db.kind_of("l"), "none");
    db.set("s", "v", None);
    assert!(matches!(
        db.on("s", |w, k| push(w, k, End::Left, &[b"a"], false)),
        Err(Error::WrongType)
    ));
    assert!(matches!(db.on("s", |w, k| len(w, k)), Err(Error::WrongType)));
}

#[test]
fn indexes() {
    for n in [5, 5000] {
        let mut db = Lists::new();
        let items = filled(&mut db, "l", n);
        let at =
            |db: &mut Lists, index| db.on("l", |w, k| get(w, k, index, |i| i.map(text))).unwrap();
        for index in [0, 1, 4, n as i64 - 1, -1, -5] {
            let expected = items[position(index, n as u64).unwrap() as usize].clone();
            assert_eq!(at(&mut db, index), Some(expected));
        }
        for index in [n as i64, -1 - n as i64, i64::MIN, i64::MAX] {
            assert_eq!(at(&mut db, index), None);
        }
        assert_eq!(db.range("l", 1, 3), items[1..4]);
        assert_eq!(db.range("l", -3, -2), items[n - 3..n - 1]);
        assert_eq!(db.range("l", -100_000, 100_000), items);
        assert_eq!(db.range("l", 3, 2), [""; 0]);
        assert_eq!(db.range("l", n as i64, -1), [""; 0]);
        let fails = |db: &mut Lists, name: &str, index| {
            db.on(name, |w, k| set(w, k, index, b"x")).unwrap_err().to_string()
        };
        assert_eq!(fails(&mut db, "x", 0), "ERR no such key");
        assert_eq!(fails(&mut db, "l", n as i64), "ERR index out of range");
        db.on("l", |w, k| set(w, k, -1, b"last")).unwrap();
        assert_eq!(db.events, ["lset:l@0"]);
        assert_eq!(at(&mut db, -1).as_deref(), Some("last"));
    }
}

#[test]
fn finds() {
    let mut db = Lists::new();
    db.push("l", End::Right, &["a", "b", "c", "1", "2", "3", "c", "c"]);
    let find = |db: &mut Lists, rank, count, most| {
        let mut found = Vec::new();
        let search = Search { rank, count, most };
        let key = db.key("l");
        db.run(|w| find(w, key, b"c", search, &mut |at| found.push(at))).unwrap();
        found
    };
    assert_eq!(find(&mut db, 1, 1, 0), [2]);
    assert_eq!(find(&mut db, 2, 1, 0), [6]);
    assert_eq!(find(&mut db, 4, 1, 0), [0; 0]);
    assert_eq!(find(&mut db, -1, 1, 0), [7]);
    assert_eq!(find(&mut db, 1, 0, 0), [2, 6, 7]);
    assert_eq!(find(&mut db, -1, 2, 0), [7, 6]);
    assert_eq!(find(&mut db, 1, 0, 7), [2, 6]);
    assert_eq!(find(&mut db, -1, 0, 2), [7, 6]);
    assert_eq!(find(&mut db, i64::MIN, 0, 0), [0; 0]);
}

#[test]
fn names_are_those_of_redis() {
    let mut db = Lists::new();
    db.limits.list_max_listpack_size = 3;
    db.push("l", End::Right, &["a", "b", "c"]);
    assert_eq!(db.kind_of("l"), "listpack");
    db.push("l", End::Right, &["d"]);
    assert_eq!(db.kind_of("l"), "quicklist");
    db.pop("l", End::Left, 2);
    assert_eq!(db.kind_of("l"), "quicklist");
    db.pop("l", End::Left, 1);
    assert_eq!(db.kind_of("l"), "listpack");
    // Exploded for their size alone.
    db.limits.list_max_listpack_size = -2;
    let large = "x".repeat(700);
    for n in 1..=11 {
        db.push("m", if n % 2 == 0 { End::Left } else { End::Right }, &[&large]);
        assert_eq!(db.kind_of("m"), "listpack", "{n}");
        assert_eq!(db.is_exploded("m"), n > 2);
    }
    db.push("m", End::Right, &[&large]);
    assert_eq!(db.kind_of("m"), "quicklist");
    for n in (5..=11).rev() {
        assert_eq!(db.kind_of("m"), "quicklist", "{n}");
        db.pop("m", End::Left, 1);
    }
    db.pop("m", End::Left, 1);
    assert_eq!(db.kind_of("m"), "listpack");
    db.push("n", End::Left, &[&"x".repeat(9000)]);
    assert_eq!(db.kind_of("n"), "quicklist");
}

#[test]
fn moves() {
    use Arrange::{OneByOne, Together};
    use End::{Left, Right};
    let mut db = Lists::new();
    let (a, near, far) = names(&db);
    for other in [near, far] {
        for n in [4, 4000] {
            let items = filled(&mut db, &a, n);
            let one = HowMany::UpTo(1);
            assert_eq!(db.mv((&a, Left), (&other, Right), one, OneByOne).unwrap(), [&*items[0]]);
            let events = ["new", "rpush"].map(|e| format!("{e}:{other}@0")).to_vec();
            assert_eq!(db.events, [&events[..], &[format!("lpop:{a}@0")]].concat());
            let two = HowMany::UpTo(2);
            let moved = db.mv((&a, Left), (&other, Left), two, OneByOne).unwrap();
            assert_eq!(moved, [&*items[2], &*items[1]]);
            assert_eq!(db.all(&other), [&*items[2], &*items[1], &*items[0]]);
            let moved = db.mv((&other, Right), (&a, Left), two, Together).unwrap();
            assert_eq!(moved, [&*items[1], &*items[0]]);
            assert_eq!(db.range(&a, 0, 1), [&*items[1], &*items[0]]);
            assert_eq!(db.mv((&other, Left), (&a, Left), HowMany::Exactly(2), Together), None);
            assert_eq!(db.all(&other), [&*items[2]]);
            db.mv((&other, Left), (&a, Left), HowMany::Exactly(1), Together).unwrap();
            assert!(db.events.contains(&format!("del:{other}@0")));
            assert_eq!(db.mv((&other, Left), (&a, Left), one, OneByOne), None);
            // Around, and in place.
            let before = db.all(&a);
            assert_eq!(db.mv((&a, Left), (&a, Right), one, OneByOne).unwrap(), [&*before[0]]);
            assert_eq!(db.events, [format!("rpush:{a}@0"), format!("lpop:{a}@0")]);
            db.mv((&a, Right), (&a, Left), one, OneByOne);
            assert_eq!(db.all(&a), before);
            db.mv((&a, Left), (&a, Left), two, Together);
            assert_eq!(db.all(&a), before);
            db.mv((&a, Left), (&a, Left), two, OneByOne);
            assert_eq!(db.range(&a, 0, 1), [&*before[1], &*before[0]]);
            db.on(&a, keys::delete).unwrap();
        }
    }
    db.push("one", Left, &["x"]);
    assert_eq!(db.mv(("one", Left), ("one", Left), HowMany::UpTo(9), OneByOne).unwrap(), ["x"]);
    assert_eq!(db.all("one"), ["x"]);
}

#[test]
fn copies_and_renames_keep_everything() {
    let mut db = Lists::new();
    let (a, near, far) = names(&db);
    for n in [5, 20_000] {
        let items = filled(&mut db, &a, n);
        db.push(&a, End::Left, &["first"]);
        let expected = [&["first".to_owned()], &items[..]].concat();
        let (from, digest) = (db.key(&a), db.on(&a, |w, k| digest::value(w, k)).unwrap());
        for other in [&near, &far] {
            let to = db.key(other);
            assert!(db.run(|w| keys::copy(w, from, to, 0, false)).unwrap());
            assert_eq!(db.all(other), expected);
            assert_eq!(db.on(other, |w, k| digest::value(w, k)).unwrap(), digest);
            // They share nothing.
            db.push(other, End::Left, &["only here"]);
            db.on(other, |w, k| remove(w, k, 0, b"item 000001")).unwrap();
            assert_eq!(db.all(&a), expected);
            db.run(|w| keys::rename(w, to, from, false)).unwrap();
            assert_eq!(db.all(&a).len(), expected.len());
            db.reopen();
            db.on(&a, |w, k| set(w, k, 0, b"new")).unwrap();
            db.run(|w| keys::rename(w, from, to, false)).unwrap();
            assert_eq!(db.range(other, 0, 1), ["new", "first"]);
            db.on(other, keys::delete).unwrap();
            filled(&mut db, &a, n);
            db.push(&a, End::Left, &["first"]);
        }
        db.on(&a, keys::delete).unwrap();
    }
    db.compact();
    assert_eq!(db.records(2), 0);
}

#[test]
fn a_trim_that_leaves_little_is_cheap() {
    let mut db = Lists::new();
    let items = filled(&mut db, "l", 20_000);
    let before = db.generation("l");
    db.on("l", |w, k| trim(w, k, 10_000, 10_199)).unwrap();
    assert_eq!(db.all("l"), items[10_000..10_200]);
    assert_ne!(db.generation("l"), before);
    db.on("l", |w, k| trim(w, k, 50, -51)).unwrap();
    assert_eq!(db.all("l"), items[10_050..10_150]);
    assert_eq!(db.kind_of("l"), "listpack");
    db.on("l", |w, k| trim(w, k, 5, 4)).unwrap();
    assert_eq!(db.events, ["ltrim:l@0", "del:l@0"]);
}

#[test]
fn a_large_item_is_one_of_many() {
    let mut db = Lists::new();
    let large = "x".repeat(100_000);
    for (end, from) in [(End::Left, 0), (End::Right, -1)] {
        db.push("l", end, &["a", "b"]);
        db.push("l", end, &[&large]);
        db.push("l", end, &["c"]);
        assert_eq!(db.on("l", |w, k| get(w, k, from, |i| i.map(text))).unwrap().unwrap(), "c");
        assert_eq!(db.pop("l", end, 1).unwrap(), ["c"]);
        db.on("l", |w, k| insert(w, k, true, large.as_bytes(), b"before")).unwrap();
        let mut outermost = ["before", &large];
        if end == End::Right {
            outermost.reverse();
        }
        assert_eq!(db.pop("l", end, 2).unwrap(), outermost);
        db.on("l", |w, k| set(w, k, 0, large.as_bytes())).unwrap();
        db.on("l", keys::delete).unwrap();
    }
}

#[test]
fn cold_lists() {
    let mut db = Lists::new();
    let items = filled(&mut db, "l", 50_000);
    db.compact();
    db.reopen();
    let key = db.key("l");
    let (seen, runs) = db.run_cold(|w| {
        let mut seen = Seen::default();
        range(w, key, 20_000, 20_999, &mut seen)?;
        Ok(seen.items)
    });
    assert_eq!(seen, items[20_000..21_000]);
    assert!(runs < 10, "{runs}");
    db.reopen();
    let (_, runs) = db.run_cold(|w| push(w, key, End::Left, &[b"x"], false));
    assert!(runs <= 3, "{runs}");
    let (n, _) = db.run_cold(|w| remove(w, key, 0, b"item 049999"));
    assert_eq!(n, 1);
    assert_eq!(db.all("l").len(), 50_000);
}

#[test]
fn memory_usage_is_about_right() {
    let mut db = Lists::new();
    for n in [10, 200, 20_000] {
        filled(&mut db, "l", n);
        let all = db.on("l", |w, k| keys::usage(w, k, 0)).unwrap().unwrap();
        let some = db.on("l", |w, k| keys::usage(w, k, 5)).unwrap().unwrap();
        assert!(all >= 12 * n as u64, "{n}: {all}");
        assert!(some * 10 > all * 7 && some * 7 < all * 10, "{n}: {some} of {all}");
        db.on("l", keys::delete).unwrap();
    }
}
