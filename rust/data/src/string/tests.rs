use super::*;
use crate::limits::Limits;
use crate::store::Store;
use crate::view::Surroundings;
use forgekv_base::longdouble::LongDouble;
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Batch, Options, ShardSet};
use std::sync::Arc;

const ALL: u32 = u32::MAX;

struct Db {
    store: Store,
    limits: Limits,
    now_ms: u64,
    events: Vec<&'static str>,
    _dir: tempfile::TempDir,
}

impl Db {
    fn new() -> Db {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let store = Store::open(options, 16, Arc::new(RealDisk)).unwrap();
        let limits = Limits::default();
        Db { store, limits, now_ms: 1_000_000, events: Vec::new(), _dir: dir }
    }

    /// One command: what it staged is committed, unless it failed.
    fn run<T>(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut Write<'_>, Key<'_>) -> Result<T>,
    ) -> Result<T> {
        let around = Surroundings {
            now_ms: self.now_ms,
            db: 0,
            limits: &self.limits,
            random_seed: 1,
            place_seed: self.store.place_seed(),
            events: ALL,
            interest: forgekv_engine::ShardSet::default(),
        };
        let store = &self.store;
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
        self.events = events.iter().map(|event| event.name).collect();
        result
    }

    fn all(&mut self, name: &str) -> Option<Vec<u8>> {
        self.run(name, |w, key| Ok(get_all(w, key)?.map(Cow::into_owned))).unwrap()
    }

    fn text(&mut self, name: &str) -> String {
        String::from_utf8(self.all(name).unwrap()).unwrap()
    }

    fn header<T>(&mut self, name: &str, f: impl FnOnce(Header<'_>) -> T) -> T {
        self.run(name, |w, key| Ok(f(w.header(key)?.unwrap()))).unwrap()
    }

    fn encoding(&mut self, name: &str) -> &'static str {
        self.header(name, |header| encoding_name(&header))
    }

    fn expiry(&mut self, name: &str) -> Option<u64> {
        self.header(name, |header| header.expire_ms)
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.run(name, |w, key| set(w, key, value, None)).unwrap();
    }

    fn put_list(&mut self, name: &str) {
        let header = Header { kind: Kind::List, encoding: 0, expire_ms: None, body: b"x" };
        self.run(name, |w, key| {
            w.put_header(key, &header, None);
            Ok(())
        })
        .unwrap();
    }
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn set_get_and_encodings() {
    let mut db = Db::new();
    assert_eq!(db.all("k"), None);
    db.set("k", b"12");
    assert_eq!(db.events, ["new", "set"]);
    assert_eq!((db.text("k").as_str(), db.encoding("k")), ("12", "int"));
    db.set("k", b"012");
    assert_eq!(db.events, ["set"]);
    assert_eq!(db.encoding("k"), "embstr");
    db.set("k", &[b'x'; 44]);
    assert_eq!(db.encoding("k"), "embstr");
    db.set("k", &[b'x'; 45]);
    assert_eq!(db.encoding("k"), "raw");
    db.run("k", |w, key| set(w, key, b"v", Some(1_000_500))).unwrap();
    assert_eq!(db.events, ["set", "expire"]);
    assert_eq!(db.expiry("k"), Some(1_000_500));
    db.now_ms = 1_000_500;
    assert_eq!(db.all("k"), None);
    assert_eq!(db.run("k", |w, key| len(w, key)).unwrap(), 0);
    db.put_list("l");
    assert_eq!(text(db.run("l", |w, key| len(w, key))), crate::WRONG_TYPE);
    db.set("l", b"v");
    assert_eq!(db.text("l"), "v");
}

#[test]
fn conditions() {
    let mut db = Db::new();
    let try_set = |db: &mut Db, value: &str, rule| {
        db.run("k", |w, key| set_if(w, key, value.as_bytes(), Expiry::Clear, Some(rule))).unwrap()
    };
    assert!(!try_set(&mut db, "a", Condition::Present));
    assert!(!try_set(&mut db, "a", Condition::Equal(b"")));
    assert!(!try_set(&mut db, "a", Condition::DigestEqual(1)));
    assert!(try_set(&mut db, "a", Condition::Absent));
    assert!(!try_set(&mut db, "b", Condition::Absent));
    assert!(try_set(&mut db, "b", Condition::Present));
    assert!(!try_set(&mut db, "c", Condition::NotEqual(b"b")));
    assert!(try_set(&mut db, "c", Condition::Equal(b"b")));
    assert!(try_set(&mut db, "Hello world", Condition::NotEqual(b"d")));
    let known = 0xb6ac_b9d8_4a38_ff74;
    assert_eq!(db.run("k", |w, key| digest(w, key)).unwrap(), Some(known));
    assert!(!try_set(&mut db, "d", Condition::DigestNotEqual(known)));
    assert!(try_set(&mut db, "d", Condition::DigestEqual(known)));
    assert!(try_set(&mut db, "e", Condition::DigestNotEqual(known)));
    let delete = |db: &mut Db, rule| db.run("k", |w, key| delete_if(w, key, rule)).unwrap();
    assert!(!delete(&mut db, Some(Condition::Equal(b"d"))));
    assert!(delete(&mut db, Some(Condition::Equal(b"e"))));
    assert_eq!(db.events, ["del"]);
    assert!(!delete(&mut db, None));
    assert!(!delete(&mut db, Some(Condition::NotEqual(b"e"))));
    db.put_list("l");
    let rule = Some(Condition::NotEqual(b"x"));
    assert_eq!(text(db.run("l", |w, key| delete_if(w, key, rule))), crate::WRONG_TYPE);
    assert!(db.run("l", |w, key| delete_if(w, key, None)).unwrap());
}

#[test]
fn expiries() {
    let mut db = Db::new();
    db.run("k", |w, key| set(w, key, b"v", Some(1_000_500))).unwrap();
    db.run("k", |w, key| set_if(w, key, b"w", Expiry::Keep, None)).unwrap();
    assert_eq!((db.text("k").as_str(), db.expiry("k")), ("w", Some(1_000_500)));
    db.run("k", |w, key| append(w, key, b"x")).unwrap();
    db.run("k", |w, key| set_range(w, key, 0, b"y")).unwrap();
    assert_eq!((db.text("k").as_str(), db.expiry("k")), ("yx", Some(1_000_500)));
    db.run("k", |w, key| retime(w, key, Expiry::Clear)).unwrap();
    assert_eq!(db.events, ["persist"]);
    assert_eq!(db.expiry("k"), None);
    db.run("k", |w, key| retime(w, key, Expiry::Clear)).unwrap();
    assert!(db.events.is_empty());
    db.run("k", |w, key| retime(w, key, Expiry::At(1_000_900))).unwrap();
    assert_eq!((db.events.clone(), db.encoding("k")), (vec!["expire"], "raw"));
    assert_eq!(db.expiry("k"), Some(1_000_900));
    db.run("k", |w, key| retime(w, key, Expiry::At(999))).unwrap();
    assert_eq!((db.events.clone(), db.all("k")), (vec!["del"], None));
    // What has expired is found by the write that comes over it.
    db.run("k", |w, key| set(w, key, b"5", Some(1_000_500))).unwrap();
    db.now_ms = 2_000_000;
    assert_eq!(db.run("k", |w, key| incr_by(w, key, 1)).unwrap(), 1);
    assert_eq!(db.events, ["expired", "new", "incrby"]);
    assert_eq!(db.expiry("k"), None);
}

#[test]
fn ranges() {
    assert_eq!(bounds(0, -1, 5), 0..5);
    assert_eq!(bounds(-3, -1, 5), 2..5);
    assert_eq!(bounds(-100, 2, 5), 0..3);
    assert_eq!(bounds(3, 1, 5), 0..0);
    assert_eq!(bounds(5, 5, 5), 0..0);
    assert_eq!(bounds(-1, -3, 5), 0..0);
    assert_eq!(bounds(-100, -50, 5), 0..1);
    assert_eq!(bounds(0, -100, 5), 0..1);
    assert_eq!(bounds(-100, -100, 5), 0..1);
    assert_eq!(bounds(4, 100, 5), 4..5);
    assert_eq!(bounds(i64::MAX, i64::MAX, 5), 0..0);
    assert_eq!(bounds(i64::MIN, i64::MAX, 5), 0..5);
    assert_eq!(bounds(0, 0, 0), 0..0);

    let mut db = Db::new();
    assert_eq!(db.run("k", |w, key| append(w, key, b"12")).unwrap(), 2);
    assert_eq!((db.encoding("k"), db.run("k", |w, key| append(w, key, b"")).unwrap()), ("int", 2));
    assert_eq!(db.encoding("k"), "raw");
    assert_eq!(db.run("k", |w, key| set_range(w, key, 4, b"ab")).unwrap(), 6);
    assert_eq!(db.events, ["setrange"]);
    assert_eq!(db.all("k").unwrap(), b"12\0\0ab");
    assert_eq!(db.run("k", |w, key| set_range(w, key, 9, b"")).unwrap(), 6);
    assert_eq!(db.run("none", |w, key| set_range(w, key, 9, b"")).unwrap(), 0);
    assert_eq!(db.all("none"), None);
    let max = db.limits.proto_max_bulk_len;
    assert_eq!(text(db.run("none", |w, key| set_range(w, key, max, b"x"))), TOO_LONG);
    assert_eq!(text(db.run("k", |w, key| set_range(w, key, u64::MAX, b"x"))), TOO_LONG);
    assert_eq!(db.run("far", |w, key| set_range(w, key, max - 1, b"x")).unwrap(), max);
    assert_eq!(text(db.run("far", |w, key| append(w, key, b"x"))), TOO_LONG);
    let mut seen = Vec::new();
    let mut note = |piece: &[u8]| seen.extend_from_slice(piece);
    db.run("far", |w, key| read_range(w, key, max - 3..u64::MAX, &mut note)).unwrap();
    assert_eq!(seen, b"\0\0x");
}

/// Every way of writing against a plain vector, around the borders of chunks.
#[test]
fn chunks_against_a_vector() {
    let mut db = Db::new();
    let mut model: Vec<u8> = Vec::new();
    let mut rng = forgekv_base::rng::Rng::seeded(7);
    let borders = [0, 1, 4032, 8064, 8 << 10, 16 << 10, 32704, 128 << 10, 200_000, 300_000];
    for round in 0..300u32 {
        let near = |rng: &mut forgekv_base::rng::Rng| {
            let border = borders[rng.below(borders.len() as u64) as usize];
            (border + rng.below(5) as usize).saturating_sub(2)
        };
        let size = if rng.below(4) == 0 { near(&mut rng) } else { rng.below(5000) as usize };
        let bytes: Vec<u8> = (0..size).map(|i| (i as u32).wrapping_mul(round) as u8).collect();
        match rng.below(12) {
            0 => {
                db.set("k", &bytes);
                model = bytes;
            }
            1..=4 => {
                model.extend_from_slice(&bytes);
                let len = db.run("k", |w, key| append(w, key, &bytes)).unwrap();
                assert_eq!(len, model.len() as u64);
            }
            5..=8 => {
                let at = near(&mut rng);
                if !bytes.is_empty() {
                    model.resize(model.len().max(at + size), 0);
                    model[at..at + size].copy_from_slice(&bytes);
                }
                let len = db.run("k", |w, key| set_range(w, key, at as u64, &bytes)).unwrap();
                assert_eq!(len, model.len() as u64);
            }
            _ => {
                let (from, to) = (near(&mut rng) as u64, near(&mut rng) as u64);
                let mut seen = Vec::new();
                let mut note = |piece: &[u8]| seen.extend_from_slice(piece);
                let len = db.run("k", |w, key| read_range(w, key, from..to, &mut note)).unwrap();
                assert_eq!(len, model.len() as u64);
                let cut = |at: u64| (at as usize).min(model.len());
                assert_eq!(seen, model.get(cut(from)..cut(to)).unwrap_or_default());
            }
        }
        if round % 7 == 0 {
            assert_eq!(db.all("k").unwrap_or_default(), model);
            let digest = db.run("k", |w, key| digest(w, key)).unwrap();
            assert!(digest.is_none_or(|digest| digest == xxh3_64(&model)));
            let same = Condition::Equal(&model);
            assert!(model.is_empty() || db.run("k", |w, key| holds(w, key, same)).unwrap());
        }
        if model.len() > 1 << 20 {
            db.run("k", |w, key| delete_if(w, key, None)).unwrap();
            model.clear();
        }
    }
}

#[test]
fn one_change_in_a_large_string_touches_one_chunk() {
    let mut db = Db::new();
    db.run("k", |w, key| set_range(w, key, 500 << 20, b"x")).unwrap();
    let staged = db
        .run("k", |w, key| {
            set_range(w, key, 100 << 20, b"y")?;
            Ok(w.staged())
        })
        .unwrap();
    assert_eq!(staged, 2, "the header and a chunk");
    assert_eq!(db.encoding("k"), "raw");
    db.set("k", b"small again");
    assert_eq!(db.text("k"), "small again");
    // Zeros of a value that is written whole take no chunk.
    let staged = db
        .run("k", |w, key| {
            set(w, key, &[0; 1 << 20], None)?;
            Ok(w.staged())
        })
        .unwrap();
    assert_eq!(staged, 2, "the header and the root");
    assert_eq!(db.all("k").unwrap(), [0; 1 << 20]);
}

#[test]
fn integers() {
    let mut db = Db::new();
    assert_eq!(db.run("k", |w, key| incr_by(w, key, 5)).unwrap(), 5);
    assert_eq!((db.encoding("k"), db.run("k", |w, key| incr_by(w, key, -7)).unwrap()), ("int", -2));
    db.set("k", b"9223372036854775807");
    assert_eq!(
        text(db.run("k", |w, key| incr_by(w, key, 1))),
        "ERR increment or decrement would overflow"
    );
    for wrong in ["", " 1", "1.0", "+1", "01", "9223372036854775808"] {
        db.set("k", wrong.as_bytes());
        assert_eq!(text(db.run("k", |w, key| incr_by(w, key, 1))), NOT_INTEGER, "{wrong}");
    }
    db.set("k", &[b'1'; 200_000]);
    assert_eq!(text(db.run("k", |w, key| incr_by(w, key, 1))), NOT_INTEGER);
    db.put_list("l");
    assert_eq!(text(db.run("l", |w, key| incr_by(w, key, 1))), crate::WRONG_TYPE);
}

const NOT_INTEGER: &str = "ERR value is not an integer or out of range";

#[test]
fn floats() {
    let mut db = Db::new();
    db.set("k", b"10");
    assert_eq!(db.run("k", |w, key| incr_by_float(w, key, b"1")).unwrap(), b"11");
    assert_eq!(db.events, ["incrbyfloat"]);
    assert_eq!(db.encoding("k"), "embstr");
    assert_eq!(db.run("k", |w, key| incr_by_float(w, key, b"-0.5")).unwrap(), b"10.5");
    assert_eq!(
        text(db.run("k", |w, key| incr_by_float(w, key, b"x"))),
        "ERR value is not a valid float"
    );
    assert_eq!(
        text(db.run("k", |w, key| incr_by_float(w, key, b"inf"))),
        "ERR increment would produce NaN or Infinity"
    );
    assert_eq!(db.text("k"), "10.5");
    assert_eq!(db.run("new", |w, key| incr_by_float(w, key, b"3.0e3")).unwrap(), b"3000");
}

#[test]
fn bounded_increments() {
    let mut db = Db::new();
    let int = |by, low, high, saturate| IncrEx {
        amount: Amount::Int { by, low, high },
        saturate,
        expiry: Expiry::Keep,
        only_if_none: false,
    };
    let go = |db: &mut Db, ask: IncrEx| db.run("k", |w, key| incr_ex(w, key, &ask));
    let ints = |a, b| (Number::Int(a), Number::Int(b));
    let (min, max) = (i64::MIN, i64::MAX);
    assert_eq!(go(&mut db, int(15, min, 10, false)).unwrap(), ints(0, 0));
    assert_eq!(db.all("k"), None);
    assert_eq!(go(&mut db, int(5, min, 10, false)).unwrap(), ints(5, 5));
    assert_eq!(db.events, ["new", "incrby"]);
    assert_eq!(go(&mut db, int(9, min, 10, true)).unwrap(), ints(10, 5));
    assert_eq!(go(&mut db, int(-100, -3, max, true)).unwrap(), ints(-3, -13));
    db.set("k", b"9223372036854775800");
    assert_eq!(go(&mut db, int(max, min, max, false)).unwrap(), ints(9223372036854775800, 0));
    assert_eq!(go(&mut db, int(max, min, max, true)).unwrap(), ints(max, 7));
    assert_eq!(text(go(&mut db, int(1, min, min, true))), "ERR applied increment would overflow");

    let float = |by: &str, high: &str, saturate| {
        let number = |text: &str| LongDouble::parse(text.as_bytes()).unwrap();
        let amount = Amount::Float { by: number(by), low: number("-1e9"), high: number(high) };
        IncrEx { amount, ..int(0, 0, 0, saturate) }
    };
    let floats = |a: &str, b: &str| (Number::Float(a.into()), Number::Float(b.into()));
    db.set("k", b"10");
    assert_eq!(go(&mut db, float("100", "42.5", false)).unwrap(), floats("10", "0"));
    assert_eq!(go(&mut db, float("100", "42.5", true)).unwrap(), floats("42.5", "32.5"));
    assert_eq!(go(&mut db, float("-0.25", "42.5", true)).unwrap(), floats("42.25", "-0.25"));
    db.set("k", b"inf");
    assert_eq!(text(go(&mut db, float("1", "42.5", true))), "ERR value cannot be Infinity");

    db.set("k", b"10");
    let timed = |at, only_if_none| IncrEx {
        expiry: Expiry::At(at),
        only_if_none,
        ..int(1, min, max, false)
    };
    assert_eq!(go(&mut db, timed(1_000_500, true)).unwrap(), ints(11, 1));
    assert_eq!((db.events.clone(), db.expiry("k")), (vec!["incrby", "expire"], Some(1_000_500)));
    assert_eq!(go(&mut db, timed(5, true)).unwrap(), ints(12, 1));
    assert_eq!((db.events.clone(), db.expiry("k")), (vec!["incrby"], Some(1_000_500)));
    let clear = IncrEx { expiry: Expiry::Clear, ..int(1, min, max, false) };
    assert_eq!(go(&mut db, clear).unwrap(), ints(13, 1));
    assert_eq!((db.events.clone(), db.expiry("k")), (vec!["incrby", "persist"], None));
    assert_eq!(go(&mut db, timed(5, false)).unwrap(), ints(14, 1));
    assert_eq!((db.events.clone(), db.all("k")), (vec!["del"], None));
}

/// The numbers in a header are on disk.
#[test]
fn headers_as_drawn() {
    let mut db = Db::new();
    db.run("k", |w, key| set(w, key, &[7; 150_000], None)).unwrap();
    let body = db.header("k", |header| {
        assert_eq!((header.kind, header.encoding), (Kind::String, 1));
        header.body.to_vec()
    });
    assert_eq!(body[8..], [0xf0, 0x49, 2, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0, 0]);
    db.run("s", |w, key| set_range(w, key, 0, b"ab")).unwrap();
    db.header("s", |header| assert_eq!((header.encoding, header.body), (2, &b"ab"[..])));
    db.run("f", |w, key| incr_by_float(w, key, b"1.5")).unwrap();
    db.header("f", |header| assert_eq!((header.encoding, header.body), (3, &b"1.5"[..])));
    db.set("p", b"ab");
    db.header("p", |header| assert_eq!((header.encoding, header.body), (0, &b"ab"[..])));
}
