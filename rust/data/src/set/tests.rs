use super::*;
use crate::testing::{Db, text};
use crate::{digest, keys, string};
use std::collections::BTreeSet;

#[path = "tests/model.rs"]
mod model;

#[derive(Default)]
struct Seen {
    len: Option<u64>,
    members: Vec<String>,
}

impl Visit for Seen {
    fn len(&mut self, len: u64) {
        assert_eq!(self.len.replace(len), None);
    }

    fn member(&mut self, member: &[u8]) -> Result<()> {
        self.members.push(text(member));
        Ok(())
    }
}

fn words<'a>(members: &[&'a str]) -> Vec<&'a [u8]> {
    members.iter().map(|member| member.as_bytes()).collect()
}

fn set_of(members: &[&str]) -> BTreeSet<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

impl Db {
    fn sadd(&mut self, name: &str, members: &[&str]) -> u64 {
        let key = self.key(name);
        self.run(|w| add(w, key, &words(members))).unwrap()
    }

    fn srem(&mut self, name: &str, members: &[&str]) -> u64 {
        let key = self.key(name);
        self.run(|w| remove(w, key, &words(members))).unwrap()
    }

    fn has(&mut self, name: &str, member: &str) -> bool {
        let key = self.key(name);
        self.run(|w| contains(w, key, member.as_bytes())).unwrap()
    }

    fn card(&mut self, name: &str) -> u64 {
        let key = self.key(name);
        self.run(|w| len(w, key)).unwrap()
    }

    fn called(&mut self, name: &str) -> &'static str {
        let key = self.key(name);
        self.run(|w| keys::encoding_name(w, key)).unwrap().unwrap_or("none")
    }

    fn is_large(&mut self, name: &str) -> bool {
        let key = self.key(name);
        self.run(|w| Ok(w.header(key)?.unwrap().is_exploded())).unwrap()
    }

    /// All members in the order in which they are shown.
    fn listed(&mut self, name: &str) -> Vec<String> {
        let (key, mut seen) = (self.key(name), Seen::default());
        self.run(|w| all(w, key, &mut seen)).unwrap();
        assert_eq!(seen.len, Some(seen.members.len() as u64));
        seen.members
    }

    fn members(&mut self, name: &str) -> BTreeSet<String> {
        let listed = self.listed(name);
        let members: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(members.len(), listed.len());
        members
    }

    /// Members `from..to` named by their numbers with a prefix.
    fn fill(&mut self, name: &str, prefix: &str, from: usize, to: usize) {
        let members: Vec<String> = (from..to).map(|n| format!("{prefix}{n}")).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        for some in members.chunks(2000) {
            self.sadd(name, some);
        }
    }

    fn drawn(&mut self, name: &str, count: i64) -> Vec<String> {
        let (key, mut drawn) = (self.key(name), Vec::new());
        self.run(|w| {
            random(w, key, count, &mut |member| {
                drawn.push(text(member));
                Ok(())
            })
        })
        .unwrap();
        drawn
    }

    fn spop(&mut self, name: &str, count: u64) -> Vec<String> {
        let (key, mut popped) = (self.key(name), Vec::new());
        let n = self
            .run(|w| {
                pop(w, key, count, &mut |member| {
                    popped.push(text(member));
                    Ok(())
                })
            })
            .unwrap();
        assert_eq!(n, popped.len() as u64);
        popped
    }

    fn smove(&mut self, from: &str, to: &str, member: &str) -> bool {
        let (from, to) = (self.key(from), self.key(to));
        self.run(|w| move_member(w, from, to, member.as_bytes())).unwrap()
    }
}

#[test]
fn adds_and_removes() {
    let mut db = Db::new();
    assert_eq!(db.sadd("s", &["b", "a", "b"]), 2);
    assert_eq!(db.events, ["new:s@0", "sadd:s@0"]);
    assert_eq!(db.sadd("s", &["a"]), 0);
    assert!(db.events.is_empty());
    assert_eq!(db.sadd("s", &["", "7"]), 2);
    assert_eq!(db.listed("s"), ["b", "a", "", "7"]);
    assert!(db.has("s", "") && db.has("s", "7") && !db.has("s", "x"));
    assert!(!db.has("none", "x"));
    assert_eq!(db.events, ["keymiss:none@0"]);
    assert_eq!((db.card("s"), db.card("none")), (4, 0));
    assert_eq!(db.srem("s", &["a", "x", "a"]), 1);
    assert_eq!(db.events, ["srem:s@0"]);
    assert_eq!(db.srem("s", &["x"]), 0);
    db.reopen();
    assert_eq!(db.listed("s"), ["b", "", "7"]);
    assert_eq!(db.srem("s", &["b", "", "7"]), 3);
    assert_eq!(db.events, ["srem:s@0", "del:s@0"]);
    assert_eq!((db.card("s"), db.srem("s", &["b"])), (0, 0));
    assert_eq!(db.members("s"), BTreeSet::new());
}

#[test]
fn encodings_are_those_of_redis() {
    let mut db = Db::new();
    db.sadd("s", &["3", "-1", "70000", "9223372036854775807"]);
    assert_eq!(db.called("s"), "intset");
    assert_eq!(db.listed("s"), ["-1", "3", "70000", "9223372036854775807"]);
    db.sadd("s", &["x"]);
    assert_eq!(db.called("s"), "listpack");
    assert_eq!(db.listed("s"), ["-1", "3", "70000", "9223372036854775807", "x"]);
    db.sadd("s", &[&"y".repeat(64)]);
    assert_eq!(db.called("s"), "listpack");
    db.sadd("s", &[&"y".repeat(65)]);
    assert_eq!((db.called("s"), db.card("s")), ("hashtable", 7));
    // No integers, though they look like some.
    for name in ["01", "+1", "-0", "9223372036854775808", " 1"] {
        db.sadd(name, &[name]);
        assert_eq!(db.called(name), "listpack", "{name}");
    }

    db.fill("n", "", 0, 512);
    assert_eq!((db.called("n"), db.is_large("n")), ("intset", false));
    db.fill("n", "", 512, 513);
    assert_eq!((db.called("n"), db.card("n")), ("hashtable", 513));
    db.fill("m", "", 0, 200);
    db.sadd("m", &["x"]);
    assert_eq!((db.called("m"), db.card("m")), ("hashtable", 201));
    db.fill("l", "m", 0, 128);
    assert_eq!(db.called("l"), "listpack");
    db.fill("l", "m", 128, 129);
    assert_eq!((db.called("l"), db.card("l")), ("hashtable", 129));
    db.srem("l", &["m5"]);
    assert_eq!((db.called("l"), db.card("l")), ("hashtable", 128));

    // Larger than a record should be, but Redis would not mind.
    let wide = "w".repeat(60);
    for n in 0..128 {
        db.sadd("big", &[&format!("{wide}{n:04}")]);
    }
    assert_eq!((db.called("big"), db.is_large("big"), db.card("big")), ("listpack", true, 128));
    db.sadd("big", &["one more"]);
    assert_eq!(db.called("big"), "hashtable");
    db.limits.set_max_intset_entries = 2000;
    for n in 0..1200i64 {
        db.sadd("wide", &[&(i64::MAX - n).to_string()]);
    }
    assert_eq!((db.called("wide"), db.is_large("wide")), ("intset", true));
    db.sadd("wide", &["x"]);
    assert_eq!((db.called("wide"), db.card("wide")), ("hashtable", 1201));

    db.limits.set_max_intset_entries = 0;
    db.sadd("none", &["1"]);
    assert_eq!(db.called("none"), "listpack");
    db.limits.set_max_listpack_entries = 0;
    db.sadd("nothing", &["1"]);
    assert_eq!((db.called("nothing"), db.members("nothing")), ("hashtable", set_of(&["1"])));
}

#[test]
fn other_types_are_refused() {
    let mut db = Db::new();
    let (s, set) = (db.key("s"), db.key("set"));
    db.run(|w| string::set(w, s, b"v", None)).unwrap();
    db.sadd("set", &["a"]);
    let wrong = |result: Result<()>| assert!(matches!(result, Err(Error::WrongType)));
    wrong(db.run(|w| add(w, s, &[b"a"]).map(drop)));
    wrong(db.run(|w| remove(w, s, &[b"a"]).map(drop)));
    wrong(db.run(|w| contains(w, s, b"a").map(drop)));
    wrong(db.run(|w| len(w, s).map(drop)));
    wrong(db.run(|w| all(w, s, &mut Seen::default())));
    wrong(db.run(|w| scan(w, s, 0, 10, &mut |_| ()).map(drop)));
    wrong(db.run(|w| random(w, s, 1, &mut |_| Ok(()))));
    wrong(db.run(|w| pop(w, s, 0, &mut |_| Ok(())).map(drop)));
    wrong(db.run(|w| move_member(w, s, set, b"a").map(drop)));
    wrong(db.run(|w| move_member(w, set, s, b"a").map(drop)));
    wrong(db.run(|w| Source::open(w, s).map(drop)));
    for operation in [Operation::Union, Operation::Intersection, Operation::Difference] {
        let none = db.key("none");
        let mut each = |_: &[u8]| Ok(ControlFlow::Continue(()));
        wrong(db.run(|w| combine(w, operation, &[none, s], &mut each)));
        wrong(db.run(|w| store(w, operation, none, &[set, s], "x").map(drop)));
    }
    // Without a first set nobody looks at the second.
    assert!(!db.smove("none", "s", "a"));
}

#[test]
fn moves() {
    for n in [3, 300] {
        let mut db = Db::new();
        db.fill("a", "m", 0, n);
        db.sadd("b", &["x", "m1"]);
        assert!(db.smove("a", "b", "m0"));
        assert_eq!(db.events, ["srem:a@0", "sadd:b@0"]);
        assert!(db.smove("a", "b", "m1"));
        assert_eq!(db.events, ["srem:a@0"]);
        assert!(!db.smove("a", "b", "m1") && !db.smove("none", "b", "m1"));
        assert_eq!(db.members("b"), set_of(&["x", "m0", "m1"]));
        assert!(db.smove("a", "a", "m2") && !db.smove("a", "a", "m1"));
        assert_eq!(db.card("a"), n as u64 - 2);
        assert!(db.smove("a", "new", "m2"));
        let emptied = if n == 3 { &["srem:a@0", "del:a@0"][..] } else { &["srem:a@0"][..] };
        let added = &["new:new@0", "sadd:new@0"][..];
        assert_eq!(db.events, [emptied, added].concat());
    }
}

#[test]
fn scans_show_everything_that_stays() {
    let mut db = Db::new();
    db.fill("s", "m", 0, 1000);
    let (mut cursor, mut found, mut steps) = (0, Vec::new(), 0);
    let key = db.key("s");
    loop {
        cursor = db.run(|w| scan(w, key, cursor, 10, &mut |m| found.push(text(m)))).unwrap();
        assert!(cursor < 1 << 53);
        steps += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!((90..=101).contains(&steps), "{steps}");
    assert_eq!(found.len(), 1000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), db.members("s"));
    assert_eq!(db.run(|w| scan(w, key, u64::MAX, 10, &mut |_| ())).unwrap(), 0);
}

#[test]
fn copies_and_renames_and_digests() {
    for n in [5, 400] {
        let mut db = Db::new();
        let (first, near, far) = crate::testing::names(&db);
        db.fill(&first, "m", 0, n);
        let value = |db: &mut Db, name: &str| {
            let key = db.key(name);
            db.run(|w| digest::value(w, key)).unwrap().to_hex()
        };
        let before = value(&mut db, &first);
        for to in [&near, &far] {
            let (from, to_key) = (db.key(&first), db.key(to));
            assert!(db.run(|w| keys::copy(w, from, to_key, 0, false)).unwrap());
            assert_eq!(value(&mut db, to), before);
            assert_eq!(db.members(to).len(), n);
            assert!(db.has(to, "m3"));
            db.sadd(to, &["more"]);
            assert_ne!(value(&mut db, to), before);
        }
        db.srem(&far, &["more"]);
        let (from, to) = (db.key(&far), db.key("renamed"));
        db.run(|w| keys::rename(w, from, to, false)).unwrap();
        assert_eq!((value(&mut db, "renamed"), db.has("renamed", "m4")), (before, true));
        assert!(db.run(|w| keys::usage(w, to, 5)).unwrap().unwrap() > n as u64 * 2);
    }
}

#[test]
fn pops() {
    for n in [20usize, 400, 3000] {
        let mut db = Db::new();
        db.fill("s", "m", 0, n);
        let key = db.key("s");
        db.run(|w| crate::expire::set(w, key, 2_000_000, Default::default())).unwrap();
        let everything = db.members("s");
        let mut popped = BTreeSet::new();
        assert!(db.spop("s", 0).is_empty());
        for count in [1, 3, n as u64 / 4, n as u64 / 2] {
            let some = db.spop("s", count);
            assert_eq!(db.events, ["spop:s@0"], "{n} {count}");
            assert_eq!(some.len() as u64, count);
            for member in some {
                assert!(everything.contains(&member) && popped.insert(member));
            }
            let left = n as u64 - popped.len() as u64;
            assert_eq!(db.card("s"), left);
            assert_eq!(db.expires("s"), crate::expire::Expires::At(2_000_000));
        }
        let rest = db.members("s");
        assert_eq!(rest, everything.difference(&popped).cloned().collect());
        assert_eq!(db.spop("s", u64::MAX).len(), rest.len());
        assert_eq!(db.events, ["spop:s@0", "del:s@0"]);
        assert!(!db.get_raw("s"));
        assert!(db.spop("s", 5).is_empty());
    }
}

#[test]
fn random_members_are_uniform() {
    let mut db = Db::new();
    for (name, n) in [("few", 20), ("many", 3000)] {
        db.fill(name, "m", 0, n);
        assert_eq!(db.drawn(name, n as i64 + 5).len(), n);
        for count in [1, 3, 10, n as i64 / 2, n as i64 - 1] {
            let drawn = db.drawn(name, count);
            let different: BTreeSet<_> = drawn.iter().collect();
            assert_eq!((drawn.len(), different.len()), (count as usize, count as usize));
            assert_eq!(db.drawn(name, -count).len(), count as usize);
        }
    }
    // By windows (few draws at a time) and by a walk (many).
    for batch in [20, 3000] {
        let mut counts = std::collections::HashMap::<String, u64>::new();
        let draws = 30_000;
        for _ in 0..draws / batch {
            for member in db.drawn("many", -batch) {
                *counts.entry(member).or_default() += 1;
            }
        }
        // Chi-squared with 2999 degrees of freedom: mean 2999, deviation 77.
        let expected = draws as f64 / 3000.0;
        let missing = (3000 - counts.len()) as f64 * expected;
        let chi: f64 = counts.values().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        assert!((2600.0..3400.0).contains(&(chi + missing)), "{batch}: {}", chi + missing);
    }
    assert!(db.drawn("none", 5).is_empty() && db.drawn("none", -5).is_empty());
    assert!(db.drawn("many", 0).is_empty());
}
