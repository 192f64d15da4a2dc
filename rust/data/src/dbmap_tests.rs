//! The map of databases, against an engine on a simulated disk.

use crate::header::{Header, Kind, encoding};
use crate::record;
use crate::testing::Db;
use crate::{Error, dbmap, scan};

#[test]
fn databases_are_flushed_and_swapped_by_their_ids() {
    let mut db = Db::new();
    for n in [0, 1] {
        db.db = n;
        db.set("k", &format!("in {n}"), None);
    }
    db.run(|w| dbmap::swap(w, 0, 1)).unwrap();
    assert_eq!(db.get("k").as_deref(), Some("in 0"));
    db.db = 0;
    assert_eq!(db.get("k").as_deref(), Some("in 1"));
    db.run(|w| dbmap::flush(w, Some(0))).unwrap();
    assert_eq!((db.get("k"), db.count()), (None, 0));
    db.db = 1;
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("in 0"), 1));
    db.reopen();
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("in 0"), 1));
    db.run(|w| dbmap::flush(w, None)).unwrap();
    assert_eq!((db.get("k"), db.count()), (None, 0));
    db.set("k", "new", None);
    db.reopen();
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("new"), 1));
    assert_eq!(db.records(record::SPACE_HEADER), 3);
    db.compact();
    assert_eq!(db.records(record::SPACE_HEADER), 1, "what no database names is dropped");
    assert_eq!((db.get("k").as_deref(), db.count()), (Some("new"), 1));
}

#[test]
fn a_transaction_sees_its_own_flush() {
    let mut db = Db::new();
    db.set("k", "old", None);
    let key = db.key("k");
    let other = db.key("other");
    let plain = |body: &'static [u8]| Header {
        kind: Kind::String,
        encoding: encoding::PACKED,
        expire_ms: None,
        body,
    };
    let seen = db
        .transaction(|run| {
            run.one(|w| {
                w.put_header(other, &plain(b"x"), None);
                Ok(())
            })?;
            let before = run.one(|w| scan::count(w))?;
            run.one(|w| dbmap::flush(w, Some(0)))?;
            let flushed = run.one(|w| Ok((scan::count(w)?, w.header(key)?.is_some())))?;
            run.one(|w| {
                w.put_header(key, &plain(b"new"), None);
                Ok(())
            })?;
            let after = run.one(|w| {
                let random = scan::random(w)?;
                Ok((scan::count(w)?, w.header(key)?.map(|h| h.body.to_vec()), random))
            })?;
            Ok((before, flushed, after))
        })
        .unwrap();
    assert_eq!(seen, (2, (0, false), (1, Some(b"new".to_vec()), Some(b"k".to_vec()))));
    assert_eq!((db.get("k").as_deref(), db.get("other"), db.count()), (Some("new"), None, 1));

    // Dropped: nothing has happened.
    let failed = db.transaction(|run| {
        run.one(|w| dbmap::flush(w, None))?;
        Err::<(), _>(Error::reply("ERR no"))
    });
    assert!(failed.is_err());
    assert_eq!(db.get("k").as_deref(), Some("new"));
}

#[test]
fn a_power_cut_keeps_keys_and_map_together() {
    for seed in 0..6 {
        let mut db = Db::new();
        for i in 0..300 {
            db.set(&format!("k{i}"), "v", None);
        }
        db.store().engine().sync().unwrap();
        db.run(|w| dbmap::flush(w, None)).unwrap();
        db.set("after", "v", None);
        if seed % 2 == 0 {
            db.store().engine().sync().unwrap();
        }
        db.disk.power_cut(seed);
        db.store = None;
        db.disk.power_on(seed);
        db.open();
        let (count, after) = (db.count(), db.get("after").is_some());
        if seed % 2 == 0 {
            assert_eq!((count, after), (1, true));
        } else {
            assert!(
                [(300, false), (0, false), (1, true)].contains(&(count, after)),
                "{count} {after}"
            );
        }
        db.compact();
        assert_eq!((db.count(), db.records(record::SPACE_HEADER) as u64), (count, count));
    }
}
