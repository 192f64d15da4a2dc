use super::*;
use crate::testing::Db;

impl Db {
    fn pfadd(&mut self, name: &str, elements: &[&str]) -> bool {
        let key = self.key(name);
        let elements: Vec<&[u8]> = elements.iter().map(|element| element.as_bytes()).collect();
        self.run(|w| add(w, key, &elements)).unwrap()
    }

    fn pfcount(&mut self, name: &str) -> u64 {
        let key = self.key(name);
        self.run(|w| count(w, key)).unwrap()
    }

    fn stored(&mut self, name: &str) -> Vec<u8> {
        let key = self.key(name);
        self.run(|w| load(w, key)).unwrap()
    }

    fn form_of(&mut self, name: &str) -> Option<Form> {
        let key = self.key(name);
        self.run(|w| form(w, key)).unwrap()
    }

    fn fill_up(&mut self, name: &str, from: usize, to: usize) {
        let elements: Vec<String> = (from..to).map(|n| format!("element:{n}")).collect();
        let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
        elements.chunks(500).for_each(|some| {
            self.pfadd(name, some);
        });
    }
}

#[test]
fn bytes_are_those_of_redis() {
    // What redis-server 7.0.15 stores for PFADD h a b c.
    let mut db = Db::new();
    assert!(db.pfadd("h", &["a", "b", "c"]));
    assert_eq!(db.events, ["new:h@0", "pfadd:h@0"]);
    let head = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80";
    let registers = b"\x60\xf3\x80\x50\xb1\x84\x4b\xfb\x80\x42\x5a";
    assert_eq!(db.stored("h"), [&head[..], registers].concat());
    assert_eq!(db.pfcount("h"), 3);
    assert_eq!(db.stored("h")[8..16], 3u64.to_le_bytes());
    // A cached number is believed.
    assert_eq!(db.pfcount("h"), 3);
    assert!(!db.pfadd("h", &["a", "b"]));
    assert_eq!(db.stored("h")[15], 0);
    assert!(db.events.is_empty());
    assert!(db.pfadd("h", &["1", "2", "3"]));
    assert_eq!((db.stored("h")[15], db.pfcount("h")), (STALE, 6));
    assert!(db.pfadd("empty", &[]) && !db.pfadd("empty", &[]));
    assert_eq!((db.pfcount("empty"), db.pfcount("none")), (0, 0));
}

#[test]
fn estimates_are_near_and_sparse_becomes_dense() {
    let mut db = Db::new();
    let mut last = 0;
    for n in [10, 100, 1000, 3000, 20_000] {
        db.fill_up("h", last, n);
        last = n;
        let count = db.pfcount("h");
        assert!(count.abs_diff(n as u64) as f64 <= n as f64 * 0.03, "{n}: {count}");
        let form = if n < 3000 { Form::Sparse } else { Form::Dense };
        assert_eq!(db.form_of("h"), Some(form), "{n}");
    }
    assert_eq!(db.stored("h").len(), DENSE_SIZE);
    let before = db.stored("h");
    db.reopen();
    assert!(db.stored("h") == before);
    // Of a dense one little is written.
    let key = db.key("h");
    let staged = db
        .run(|w| {
            add(w, key, &[b"more", b"and more", b"and even more"])?;
            Ok(w.staged_bytes())
        })
        .unwrap();
    assert!(staged < 1000, "{staged}");
    // One that a client stored is the same.
    let mut stored = db.stored("h");
    stored[15] |= STALE;
    let (copy, expected) = (db.key("copy"), db.pfcount("h"));
    db.run(|w| crate::string::set(w, copy, &stored, None)).unwrap();
    assert_eq!(db.pfcount("copy"), expected);
    db.fill_up("copy", 20_000, 21_000);
    db.fill_up("h", 20_000, 21_000);
    db.pfcount("copy");
    db.pfcount("h");
    assert!(db.stored("copy") == db.stored("h"));
}

#[test]
fn sparse_and_dense_agree() {
    let mut db = Db::new();
    for n in [5, 300, 1500] {
        let names = [format!("sparse{n}"), format!("dense{n}")];
        db.limits.hll_sparse_max_bytes = 12_000;
        db.fill_up(&names[0], 0, n);
        db.limits.hll_sparse_max_bytes = 0;
        db.fill_up(&names[1], 0, n);
        assert_eq!(db.form_of(&names[0]), Some(Form::Sparse));
        assert_eq!(db.form_of(&names[1]), Some(Form::Dense));
        assert_eq!(db.pfcount(&names[0]), db.pfcount(&names[1]));
        let keys = [db.key(&names[0]), db.key(&names[1])];
        assert_eq!(db.run(|w| count_all(w, &keys)).unwrap(), db.pfcount(&names[0]));
        assert!(db.run(|w| make_dense(w, keys[0])).unwrap());
        assert!(!db.run(|w| make_dense(w, keys[0])).unwrap());
        let registers = |db: &mut Db, key| db.run(|w| registers(w, key)).unwrap();
        assert_eq!(registers(&mut db, keys[0]), registers(&mut db, keys[1]));
        assert_eq!(db.pfcount(&names[0]), db.pfcount(&names[1]));
    }
}

#[test]
fn merges() {
    let mut db = Db::new();
    db.fill_up("a", 0, 100);
    db.fill_up("b", 50, 200);
    db.fill_up("large", 0, 10_000);
    let [a, b, large, to, none] = ["a", "b", "large", "to", "none"].map(|name| db.key(name));
    db.run(|w| merge_into(w, to, &[a, b, none])).unwrap();
    assert_eq!(db.events, ["keymiss:to@0", "keymiss:none@0", "new:to@0", "pfadd:to@0"]);
    assert_eq!(db.form_of("to"), Some(Form::Sparse));
    assert_eq!(db.pfcount("to"), db.run(|w| count_all(w, &[a, b])).unwrap());
    db.run(|w| merge_into(w, a, &[large])).unwrap();
    assert_eq!(db.form_of("a"), Some(Form::Dense));
    assert_eq!(db.pfcount("a"), db.pfcount("large"));
    db.run(|w| merge_into(w, none, &[])).unwrap();
    assert_eq!(db.pfcount("none"), 0);
}

#[test]
fn damage_is_refused() {
    let mut db = Db::new();
    let key = db.key("h");
    let refused = |db: &mut Db, text: &str| {
        let told = |result: Result<()>| assert_eq!(result.unwrap_err().to_string(), text);
        told(db.run(|w| add(w, key, &[b"some", b"more"]).map(drop)));
        told(db.run(|w| count(w, key).map(drop)));
        told(db.run(|w| count_all(w, &[key]).map(drop)));
        told(db.run(|w| merge_into(w, key, &[])));
    };
    for wrong in
        [&b""[..], b"x", b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\x80", b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80"]
    {
        db.run(|w| crate::string::set(w, key, wrong, None)).unwrap();
        refused(&mut db, NOT_ONE);
    }
    for corrupted in [&b""[..], b"\x7f", b"\x00", b"\x7f\xfe\x80\x80\x80"] {
        let value = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", corrupted].concat();
        db.run(|w| crate::string::set(w, key, &value, None)).unwrap();
        let told = db.run(|w| count(w, key)).unwrap_err().to_string();
        assert_eq!(told, CORRUPTED.to_string());
        let told = db.run(|w| merge_into(w, key, &[])).unwrap_err().to_string();
        assert_eq!(told, CORRUPTED.to_string());
    }
    let set = db.key("s");
    db.run(|w| crate::set::add(w, set, &[b"a"])).unwrap();
    assert!(matches!(db.run(|w| add(w, set, &[b"a"])), Err(Error::WrongType)));
    assert!(matches!(db.run(|w| count(w, set)), Err(Error::WrongType)));
}

#[test]
fn cold_ones_are_read_in_few_rounds() {
    let mut db = Db::new();
    db.fill_up("h", 0, 10_000);
    let expected = db.pfcount("h");
    db.fill_up("h", 10_000, 10_001);
    db.compact();
    db.reopen();
    let key = db.key("h");
    let (_, runs) = db.run_cold(|w| add(w, key, &[b"x", b"y", b"z"]));
    assert!(runs <= 4, "{runs}");
    db.compact();
    db.reopen();
    let (count, runs) = db.run_cold(|w| count(w, key));
    assert!(count.abs_diff(expected) < 20 && runs <= 4, "{count} {runs}");
    assert!(self_test().is_ok());
}
