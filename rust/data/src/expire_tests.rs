//! Expiry, against an engine on a simulated disk.

use crate::expire::{self, Condition, Expires};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::record;
use crate::testing::{Db, NOW};
use crate::{dbmap, keys};
use forgekv_engine::ShardSet;

#[test]
fn expiry_is_set_under_conditions() {
    let mut db = Db::new();
    let key = db.key("k").place;
    let key = Key { name: b"k", place: key };
    let set = |db: &mut Db, at: i64, nx, xx, gt, lt| {
        db.run(|w| expire::set(w, key, at, Condition { nx, xx, gt, lt })).unwrap()
    };
    assert!(!set(&mut db, 2_000_000, false, false, false, false), "no such key");
    db.set("k", "v", None);
    assert!(!set(&mut db, 2_000_000, false, true, false, false));
    assert!(!set(&mut db, 2_000_000, false, false, true, false), "never is later than any time");
    assert!(set(&mut db, 2_000_000, false, false, false, true));
    assert_eq!(db.events, ["expire:k@0"]);
    assert!(!set(&mut db, 3_000_000, true, false, false, false));
    assert!(!set(&mut db, 2_000_000, false, false, true, false));
    assert!(!set(&mut db, 2_000_000, false, true, false, true));
    assert!(set(&mut db, 2_000_001, false, true, true, false));
    assert_eq!(db.expires("k"), Expires::At(2_000_001));
    assert_eq!(db.get("k").as_deref(), Some("v"));
    assert!(db.run(|w| expire::persist(w, key)).unwrap());
    assert_eq!(db.events, ["persist:k@0"]);
    assert!(!db.run(|w| expire::persist(w, key)).unwrap());
    assert_eq!((db.expires("k"), db.records(record::SPACE_TTL)), (Expires::Never, 0));
    assert!(set(&mut db, -5, false, false, false, false));
    assert_eq!(db.events, ["del:k@0"]);
    assert_eq!((db.expires("k"), db.count()), (Expires::Missing, 0));
}

#[test]
fn the_cycle_reaps_what_has_expired() {
    let mut db = Db::new();
    for i in 0..400u64 {
        db.set(&format!("k{i}"), "v", Some(NOW + 10 + i % 4));
    }
    db.set("later", "v", Some(NOW + 1000));
    db.db = 3;
    db.set("other", "v", Some(NOW + 10));
    db.db = 0;
    assert_eq!(db.reap(7), (0, 0));
    assert_eq!(
        db.store().due_shards(db.now_ms),
        ShardSet::default(),
        "nothing to do: nobody is woken"
    );
    db.now_ms = NOW + 11;
    assert_eq!(db.reap(7), (201, 0));
    assert_eq!(db.expired, 201);
    assert_eq!(db.count(), 201);
    db.now_ms = NOW + 20;
    assert_eq!(db.reap(1000), (200, 0));
    assert_eq!((db.count(), db.records(record::SPACE_TTL)), (1, 1));
    db.db = 3;
    assert_eq!(db.count(), 0);
    db.db = 0;
    // An entry earlier than all that were seen, and one for which the clock was set back.
    db.set("sooner", "v", Some(NOW + 30));
    db.now_ms = NOW + 5;
    db.set("back", "v", Some(NOW + 6));
    db.now_ms = NOW + 40;
    assert_eq!(db.reap(1000), (2, 0));
    db.reopen();
    db.now_ms = NOW + 2000;
    assert_eq!(db.reap(1000), (1, 0));
    assert_eq!((db.count(), db.records(record::SPACE_TTL)), (0, 0));
    db.store().set_active_expiry(false);
    db.set("stays", "v", Some(NOW + 3000));
    db.now_ms = NOW + 3000;
    assert_eq!(db.reap(10), (0, 0));
    assert_eq!(db.count(), 1);
    db.store().set_active_expiry(true);
    assert_eq!(db.reap(10), (1, 0));
}

#[test]
fn stale_entries_do_nothing() {
    let mut db = Db::new();
    db.set("k", "v", Some(NOW + 10));
    db.set("gone", "v", Some(NOW + 10));
    db.db = 2;
    db.set("flushed", "v", Some(NOW + 10));
    db.run(|w| dbmap::flush(w, Some(2))).unwrap();
    db.db = 0;
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"blind" };
    let (k, gone) = (db.key("k").place, db.key("gone").place);
    let (k, gone) = (Key { name: b"k", place: k }, Key { name: b"gone", place: gone });
    db.run(|w| {
        w.put_header(k, &plain, None);
        w.delete_header(gone, None);
        Ok(())
    })
    .unwrap();
    assert_eq!(db.records(record::SPACE_TTL), 3);
    db.now_ms = NOW + 10;
    assert_eq!(db.reap(10), (0, 3));
    assert_eq!((db.get("k").as_deref(), db.records(record::SPACE_TTL)), (Some("blind"), 0));

    // Compaction finds them too, and leaves those that mean something.
    db.set("x", "v", Some(NOW + 5000));
    db.set("k", "v", Some(NOW + 5000));
    db.run(|w| {
        w.put_header(k, &plain, None);
        Ok(())
    })
    .unwrap();
    db.compact();
    assert_eq!(db.records(record::SPACE_TTL), 1);
    db.now_ms = NOW + 5000;
    assert_eq!(db.reap(10), (1, 0));
    assert_eq!(db.get("k").as_deref(), Some("blind"));
}

#[test]
fn an_expired_key_is_reaped_before_it_is_written() {
    let mut db = Db::new();
    db.set("k", "v", Some(NOW + 1));
    db.now_ms += 1;
    let key = Key { name: b"k", place: db.key("k").place };
    assert!(!db.run(|w| keys::delete(w, key)).unwrap());
    assert_eq!((db.events.clone(), db.count()), (vec!["expired:k@0".to_string()], 0));
    assert_eq!(db.records(record::SPACE_TTL), 0);
    db.set("k", "v", Some(NOW + 2));
    db.now_ms += 1;
    assert!(!db.run(|w| expire::set(w, key, 5_000_000, Condition::default())).unwrap());
    assert_eq!(db.expires("k"), Expires::Missing);
}
