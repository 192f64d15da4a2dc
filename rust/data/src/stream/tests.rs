use super::*;
use crate::place::Key;
use crate::testing::{Db, text};
use crate::view::Write;
use crate::{Result, keys};

#[path = "tests/groups.rs"]
mod groups;
#[path = "tests/model.rs"]
mod model;

pub(super) type Fielded = Vec<(String, String)>;

impl Db {
    pub(super) fn xon<T>(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut Write<'_>, Key<'_>) -> Result<T>,
    ) -> Result<T> {
        let place = self.key(name).place;
        let key = Key { name: name.as_bytes(), place };
        self.run(|w| f(w, key))
    }

    pub(super) fn xadd(&mut self, name: &str, id: NewId, fields: &[&str]) -> Result<Id> {
        self.xadd_with(name, &Add { id, makes: true, trim: None, once: None }, fields)
            .map(Option::unwrap)
    }

    pub(super) fn xadd_with(
        &mut self,
        name: &str,
        how: &Add<'_>,
        fields: &[&str],
    ) -> Result<Option<Id>> {
        let fields: Vec<&[u8]> = fields.iter().map(|word| word.as_bytes()).collect();
        self.xon(name, |w, key| add(w, key, how, &fields))
    }

    /// Entries 1-0, 2-0 … with one field.
    pub(super) fn xfill(&mut self, name: &str, ids: std::ops::RangeInclusive<u64>) {
        for n in ids {
            self.xadd(name, NewId::Given(Id::new(n, 0)), &["f", &n.to_string()]).unwrap();
        }
    }

    pub(super) fn xrange(
        &mut self,
        name: &str,
        bounds: (Id, Id),
        reverse: bool,
        count: Option<u64>,
    ) -> Vec<(Id, Fielded)> {
        let mut found = Vec::new();
        self.xon(name, |w, key| {
            range(w, key, bounds, reverse, count, &mut |id, fields| {
                found.push((id, fielded(fields)));
                Ok(())
            })
        })
        .unwrap();
        found
    }

    /// The milliseconds of all entries.
    pub(super) fn xtimes(&mut self, name: &str) -> Vec<u64> {
        let all = self.xrange(name, (Id::MIN, Id::MAX), false, None);
        all.into_iter().map(|(id, _)| id.ms).collect()
    }

    pub(super) fn xinfo(&mut self, name: &str) -> Info {
        self.xon(name, |w, key| info(w, key)).unwrap().unwrap()
    }

    pub(super) fn xtrim(&mut self, name: &str, excess: Excess, approximate: bool) -> u64 {
        let how = Trim { excess, approximate, limit: None, refs: Refs::Keep };
        self.xon(name, |w, key| trim(w, key, &how)).unwrap()
    }

    pub(super) fn xdel(&mut self, name: &str, ids: &[u64]) -> u64 {
        let ids: Vec<Id> = ids.iter().map(|&ms| Id::new(ms, 0)).collect();
        self.xon(name, |w, key| delete(w, key, &ids)).unwrap()
    }
}

pub(super) fn fielded(fields: Fields<'_>) -> Fielded {
    fields.map(|(field, value)| (text(field), text(value))).collect()
}

#[test]
fn ids_ascend() {
    let mut db = Db::new();
    db.now_ms = 1000;
    assert_eq!(db.xadd("s", NewId::Auto, &["a", "b"]).unwrap(), Id::new(1000, 0));
    assert_eq!(db.xadd("s", NewId::Auto, &["a", "b"]).unwrap(), Id::new(1000, 1));
    assert_eq!(db.events, ["xadd:s@0"]);
    db.now_ms = 900;
    assert_eq!(db.xadd("s", NewId::Auto, &["a", "b"]).unwrap(), Id::new(1000, 2));
    assert_eq!(db.xadd("s", NewId::At(1000), &["a", "b"]).unwrap(), Id::new(1000, 3));
    assert_eq!(db.xadd("s", NewId::At(1001), &["a", "b"]).unwrap(), Id::new(1001, 0));
    assert!(db.xadd("s", NewId::At(1000), &["a", "b"]).is_err());
    let given = |ms, seq| NewId::Given(Id::new(ms, seq));
    assert!(db.xadd("s", given(1001, 0), &["a", "b"]).is_err());
    assert_eq!(db.xadd("s", given(1001, u64::MAX), &["a", "b"]).unwrap().seq, u64::MAX);
    assert!(db.xadd("s", NewId::At(1001), &["a", "b"]).is_err());
    assert_eq!(db.xadd("s", NewId::Auto, &["a", "b"]).unwrap(), Id::new(1002, 0));
    db.xadd("s", NewId::Given(Id::MAX), &["a", "b"]).unwrap();
    assert!(db.xadd("s", NewId::Auto, &["a", "b"]).is_err());
    let info = db.xinfo("s");
    assert_eq!((info.len, info.added, info.last), (8, 8, Id::MAX));
    let none = Add { id: NewId::Auto, makes: false, trim: None, once: None };
    assert_eq!(db.xadd_with("none", &none, &["a", "b"]).unwrap(), None);
    assert!(!db.get_raw("none"));
}

#[test]
fn a_small_stream_is_one_record() {
    let mut db = Db::new();
    db.xfill("s", 1..=100);
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), 0);
    db.xfill("s", 101..=101);
    // The root, and the first hundred.
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), 2);
    assert_eq!(db.xinfo("s").blocks, 2);
    // A large entry stays in the tail of a small stream, and gets a block of its own in another.
    let large = "x".repeat(2000);
    db.xadd("small", NewId::Auto, &["f", &large]).unwrap();
    assert_eq!(db.xinfo("small").blocks, 1);
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), 2);
    db.xadd("s", NewId::Auto, &["f", &large]).unwrap();
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), 4);
    assert_eq!(db.xinfo("s").blocks, 3);
    db.xfill("s", 1_000_001..=1_000_002);
    assert_eq!(db.xtimes("s").len(), 104);
    let huge = "x".repeat(1 << 20);
    db.xadd("huge", NewId::Auto, &["f", &huge]).unwrap();
    let all = db.xrange("huge", (Id::MIN, Id::MAX), false, None);
    assert_eq!(all[0].1[0].1.len(), 1 << 20);
}

#[test]
fn whole_blocks_go() {
    let mut db = Db::new();
    db.xfill("s", 1..=1000);
    assert_eq!(db.xtrim("s", Excess::Longer(666), false), 334);
    assert_eq!(db.xtimes("s"), (335..=1000).collect::<Vec<_>>());
    assert_eq!(db.xtrim("s", Excess::Longer(444), true), 166);
    assert_eq!(db.xtimes("s"), (501..=1000).collect::<Vec<_>>());
    assert_eq!(db.xtrim("s", Excess::Longer(450), true), 0);
    assert_eq!(db.xtrim("s", Excess::Before(Id::new(777, 0)), true), 200);
    assert_eq!(db.xtrim("s", Excess::Before(Id::new(777, 0)), false), 76);
    assert_eq!(db.events, ["xtrim:s@0"]);
    let info = db.xinfo("s");
    assert_eq!((info.first, info.len, info.max_deleted), (Id::new(777, 0), 224, Id::MIN));
    assert_eq!(db.xtrim("s", Excess::Longer(0), true), 224);
    let info = db.xinfo("s");
    assert_eq!((info.first, info.len, info.blocks, info.added), (Id::MIN, 0, 0, 1000));
    assert!(db.get_raw("s"), "an empty stream stays");
    assert_eq!(db.xtrim("s", Excess::Longer(0), false), 0);
    db.xfill("s", 2000..=2001);
    assert_eq!(db.xtimes("s"), [2000, 2001]);
    // A limit is for whole blocks.
    db.xfill("t", 1..=300);
    let how =
        Trim { excess: Excess::Longer(0), approximate: true, limit: Some(150), refs: Refs::Keep };
    assert_eq!(db.xon("t", |w, key| trim(w, key, &how)).unwrap(), 100);
}

#[test]
fn adding_trims() {
    let mut db = Db::new();
    let trim = Trim {
        excess: Excess::Longer(250),
        approximate: true,
        limit: Some(10_000),
        refs: Refs::Keep,
    };
    for n in 1..=1000u64 {
        let id = NewId::Given(Id::new(n, 0));
        let how = Add { id, makes: true, trim: Some(trim), once: None };
        db.xadd_with("s", &how, &["f", "v"]).unwrap();
        let len = db.xinfo("s").len;
        assert!(len == n.min(len) && (len <= 350), "{len}");
    }
    assert_eq!(db.xtimes("s"), (701..=1000).collect::<Vec<_>>());
    let none = Trim { excess: Excess::Longer(0), approximate: false, limit: None, ..trim };
    let how = Add { id: NewId::Auto, makes: true, trim: Some(none), once: None };
    db.xadd_with("new", &how, &["f", "v"]).unwrap();
    assert_eq!(db.events, ["new:new@0", "xadd:new@0", "xtrim:new@0"]);
    assert_eq!(db.xinfo("new").len, 0);
}

#[test]
fn what_goes_is_found_and_the_first_is_known() {
    let mut db = Db::new();
    db.limits.stream_node_max_entries = 5;
    db.xfill("s", 1..=18);
    assert_eq!(db.xdel("s", &[1, 7, 18, 99, 7]), 3);
    assert_eq!(db.events, ["xdel:s@0"]);
    let info = db.xinfo("s");
    assert_eq!((info.len, info.first, info.max_deleted), (15, Id::new(2, 0), Id::new(18, 0)));
    assert_eq!(db.xon("s", |w, key| top(w, key)).unwrap(), Some(Id::new(17, 0)));
    // A block that is empty is gone, the first one and another.
    assert_eq!(db.xdel("s", &[2, 3, 4, 5, 11, 12, 13, 14, 15]), 9);
    let info = db.xinfo("s");
    assert_eq!((info.len, info.first, info.blocks), (6, Id::new(6, 0), 2));
    assert_eq!(db.xtimes("s"), [6, 8, 9, 10, 16, 17]);
    assert_eq!(db.xdel("s", &[16, 17, 10, 9, 8, 6]), 6);
    assert_eq!(db.xinfo("s").first, Id::MIN);
    assert_eq!(db.xon("s", |w, key| last_id(w, key)).unwrap(), Some(Id::new(18, 0)));
    db.xfill("s", 19..=30);
    assert_eq!(db.xtimes("s"), (19..=30).collect::<Vec<_>>());
}

#[test]
fn xsetid_is_bound_by_what_is_there() {
    let mut db = Db::new();
    db.xfill("s", 1..=3);
    let set = |db: &mut Db, last: u64, added, deleted: Option<u64>| {
        let deleted = deleted.map(|ms| Id::new(ms, 0));
        db.xon("s", |w, key| set_id(w, key, Id::new(last, 0), added, deleted))
    };
    assert!(set(&mut db, 2, None, None).is_err());
    assert!(set(&mut db, 5, Some(2), None).is_err());
    set(&mut db, 5, Some(9), Some(4)).unwrap();
    assert_eq!(db.events, ["xsetid:s@0"]);
    let info = db.xinfo("s");
    assert_eq!((info.last, info.added, info.max_deleted), (Id::new(5, 0), 9, Id::new(4, 0)));
    assert!(set(&mut db, 3, None, None).is_err());
    // Without entries the last id may become smaller; the tail begins anew.
    db.xdel("s", &[1, 2, 3]);
    set(&mut db, 4, None, None).unwrap();
    db.xadd("s", NewId::Auto, &["a", "b"]).unwrap();
    assert!(db.xon("none", |w, key| set_id(w, key, Id::MAX, None, None)).is_err());
}

#[test]
fn what_was_sent_before_is_not_added() {
    let mut db = Db::new();
    let send = |db: &mut Db, producer: &str, id: Option<&str>, fields: &[&str]| {
        let once = Once { producer: producer.as_bytes(), id: id.map(str::as_bytes) };
        let how = Add { id: NewId::Auto, makes: true, trim: None, once: Some(once) };
        db.xadd_with("s", &how, fields).unwrap().unwrap()
    };
    let first = send(&mut db, "p", Some("1"), &["a", "b"]);
    assert_eq!(send(&mut db, "p", Some("1"), &["other", "b"]), first);
    assert!(db.events.is_empty());
    assert_ne!(send(&mut db, "q", Some("1"), &["a", "b"]), first);
    let auto = send(&mut db, "p", None, &["a", "b", "c", "d"]);
    assert_eq!(send(&mut db, "p", None, &["c", "d", "a", "b"]), auto);
    assert_ne!(send(&mut db, "p", None, &["a", "d", "c", "b"]), auto);
    let known = db.xinfo("s").idempotence.unwrap();
    assert_eq!((known.producers, known.tracked, known.added, known.duplicates), (2, 4, 4, 2));
    db.reopen();
    assert_eq!(send(&mut db, "p", Some("1"), &["a", "b"]), first);
    // As many as are remembered, as long as they are.
    db.xon("s", |w, key| configure(w, key, Some(5), Some(3))).unwrap();
    assert_eq!(db.xinfo("s").idempotence.unwrap().tracked, 0);
    let ids: Vec<Id> =
        (0..4).map(|n| send(&mut db, "p", Some(&n.to_string()), &["a", "b"])).collect();
    assert_eq!(send(&mut db, "p", Some("3"), &["a", "b"]), ids[3]);
    assert_eq!(send(&mut db, "p", Some("1"), &["a", "b"]), ids[1]);
    assert_ne!(send(&mut db, "p", Some("0"), &["a", "b"]), ids[0]);
    assert_eq!(db.xinfo("s").idempotence.unwrap().tracked, 3);
    db.xon("s", |w, key| configure(w, key, Some(5), None)).unwrap();
    assert_eq!(db.xinfo("s").idempotence.unwrap().tracked, 3, "nothing has changed");
    db.now_ms += 5000;
    assert_ne!(send(&mut db, "p", Some("3"), &["a", "b"]), ids[3]);
    assert_eq!(db.xinfo("s").idempotence.unwrap().tracked, 1);
    // Producers that went silent are forgotten, sooner or later.
    for n in 0..200 {
        db.now_ms += 1000;
        send(&mut db, &format!("producer {n}"), Some("1"), &["a", "b"]);
    }
    assert!(db.xinfo("s").idempotence.unwrap().producers < 100);
    assert!(db.xon("none", |w, key| configure(w, key, Some(5), None)).is_err());
}

#[test]
fn copies_and_renames_carry_everything() {
    let mut db = Db::new();
    db.limits.stream_node_max_entries = 10;
    db.xfill("s", 1..=55);
    db.xgroup("s", "g", Id::MIN);
    db.xtake("s", "g", "c", Some(20));
    let digest = |db: &mut Db, name: &str| {
        db.xon(name, |w, key| crate::digest::value(w, key)).unwrap().to_hex()
    };
    let before = digest(&mut db, "s");
    let (_, near, far) = crate::testing::names(&db);
    for to in [near.as_str(), far.as_str(), "other"] {
        let from = db.key("s");
        let (from, to_key) = (Key { name: b"s", ..from }, db.key(to));
        let to_key = Key { name: to.as_bytes(), ..to_key };
        db.run(|w| keys::copy(w, from, to_key, 0, true)).unwrap();
        assert_eq!(digest(&mut db, to), before, "{to}");
    }
    // They live on their own.
    db.xfill("s", 56..=60);
    db.xack("s", "g", &[1, 2]);
    assert_ne!(digest(&mut db, "s"), before);
    assert_eq!(digest(&mut db, "other"), before);
    db.xack("other", "g", &[1, 2]);
    db.xfill("other", 56..=60);
    assert_eq!(digest(&mut db, "other"), digest(&mut db, "s"));
    let (from, to) = (db.key("other").place, db.key(&far).place);
    let (from, to) = (Key { name: b"other", place: from }, Key { name: far.as_bytes(), place: to });
    db.run(|w| keys::rename(w, from, to, false)).unwrap();
    assert_eq!(digest(&mut db, &far), digest(&mut db, "s"));
    assert!(db.xon("s", |w, key| keys::usage(w, key, 5)).unwrap().unwrap() > 500);
    assert_eq!(db.xon("s", |w, key| keys::encoding_name(w, key)).unwrap(), Some("stream"));
    // However they are kept.
    db.limits.stream_node_max_entries = 3;
    db.xfill("a", 1..=9);
    db.limits.stream_node_max_entries = 100;
    db.xfill("b", 1..=9);
    assert_eq!(digest(&mut db, "a"), digest(&mut db, "b"));
}
