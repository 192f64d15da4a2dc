//! Deleting, renaming, moving and copying keys, against an engine on a simulated disk.

use crate::expire::{self, Expires};
use crate::header::{Header, Kind, encoding};
use crate::place::Key;
use crate::record;
use crate::testing::{Db, NOW, names};
use crate::{dbmap, digest, hash, keys, scan};
use forgekv_engine::ShardSet;

#[test]
fn rename_takes_value_and_expiry_along() {
    let mut db = Db::new();
    let (a, near, far) = names(&db);
    for to in [&near, &far] {
        db.set(&a, "v", Some(NOW + 100));
        db.set(to, "old", Some(NOW + 50));
        let (from, new) = (a.clone(), to.clone());
        let (from, new) = (db.key(&from), db.key(&new));
        assert!(!db.run(|w| keys::rename(w, from, new, true)).unwrap());
        assert!(db.run(|w| keys::rename(w, from, new, false)).unwrap());
        let told =
            [format!("new:{to}@0"), format!("rename_from:{a}@0"), format!("rename_to:{to}@0")];
        assert_eq!(db.events, told);
        assert_eq!((db.get(&a), db.get(to).as_deref()), (None, Some("v")));
        assert_eq!(db.expires(to), Expires::At(NOW + 100));
        assert_eq!(db.records(record::SPACE_TTL), 1, "those of the replaced key are gone");
        let missing = db.run(|w| keys::rename(w, from, new, false));
        assert_eq!(missing.unwrap_err().to_string(), "ERR no such key");
        assert!(db.run(|w| keys::rename(w, new, new, false)).unwrap());
        assert!(!db.run(|w| keys::rename(w, new, new, true)).unwrap());
        assert!(db.run(|w| keys::delete(w, new)).unwrap());
    }
}

#[test]
fn large_values_move_with_their_elements() {
    let mut db = Db::new();
    let (a, near, far) = names(&db);
    let generation = db.explode(&a, 300);
    let expected: Vec<String> = (0..300).map(|i| format!("v{i}")).collect();
    assert_eq!(db.elements(&a), (generation, expected.clone()));
    let rename = |db: &mut Db, from: &str, to: &str| {
        let (from, to) = (from.to_string(), to.to_string());
        let (from, to) = (db.key(&from), db.key(&to));
        assert!(db.run(|w| keys::rename(w, from, to, true)).unwrap());
    };
    rename(&mut db, &a, &near);
    db.compact();
    assert_eq!(db.elements(&near), (generation, expected.clone()), "the same elements");
    rename(&mut db, &near, &far);
    let (copied, elements) = db.elements(&far);
    assert!(copied != generation && elements == expected);
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 301, "the old ones are dropped");
    assert_eq!(db.elements(&far), (copied, expected.clone()));

    let (name, other) = (far.clone(), a.clone());
    let (key, to) = (db.key(&name), db.key(&other));
    assert!(db.run(|w| keys::move_to(w, key, 5)).unwrap());
    let told = [format!("new:{far}@5"), format!("move_from:{far}@0"), format!("move_to:{far}@5")];
    assert_eq!(db.events, told);
    assert_eq!((db.get_raw(&far), db.count()), (false, 0));
    assert!(!db.run(|w| keys::move_to(w, key, 5)).unwrap(), "not there any more");
    db.db = 5;
    db.compact();
    assert_eq!(db.elements(&far), (copied, expected.clone()));

    // Copied to another name and to another database, over what is there.
    assert!(db.run(|w| keys::copy(w, key, to, 5, false)).unwrap());
    assert_eq!(db.events, [format!("new:{a}@5"), format!("copy_to:{a}@5")]);
    assert!(!db.run(|w| keys::copy(w, key, to, 5, false)).unwrap());
    assert!(db.run(|w| keys::copy(w, key, to, 5, true)).unwrap());
    assert!(db.run(|w| keys::copy(w, key, key, 6, false)).unwrap());
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 3 * 301);
    assert!(db.run(|w| keys::delete(w, key)).unwrap());
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 2 * 301);
    assert_eq!(db.elements(&a).1, expected);
    db.run(|w| dbmap::flush(w, Some(5))).unwrap();
    db.db = 6;
    db.compact();
    assert_eq!(db.records(record::SPACE_ELEMENT), 301, "a flushed database claims nothing");
    db.reopen();
    assert_eq!(db.elements(&far).1, expected);
    let bytes = db.run(|w| keys::usage(w, key, 0)).unwrap().unwrap();
    assert!((300 * 15..300 * 25).contains(&bytes), "{bytes}");
    let sampled = db.run(|w| keys::usage(w, key, 5)).unwrap().unwrap();
    assert!(sampled.abs_diff(bytes) < bytes / 5, "{sampled} {bytes}");
}

#[test]
fn copy_and_move_of_small_values() {
    let mut db = Db::new();
    let (a, _, far) = names(&db);
    db.set(&a, "v", Some(NOW + 100));
    let (name, other) = (a.clone(), far.clone());
    let (from, to) = (db.key(&name), db.key(&other));
    assert!(db.run(|w| keys::copy(w, from, to, 0, false)).unwrap());
    assert_eq!((db.get(&far).as_deref(), db.expires(&far)), (Some("v"), Expires::At(NOW + 100)));
    assert!(db.run(|w| keys::move_to(w, from, 1)).unwrap());
    assert_eq!(db.get(&a), None);
    assert!(!db.run(|w| keys::copy(w, from, to, 0, true)).unwrap(), "nothing to copy");
    db.db = 1;
    assert_eq!((db.get(&a).as_deref(), db.expires(&a)), (Some("v"), Expires::At(NOW + 100)));
    assert!(db.run(|w| keys::copy(w, from, from, 0, false)).unwrap());
    assert!(!db.run(|w| keys::move_to(w, from, 0)).unwrap(), "there is one already");
    assert_eq!(db.run(|w| keys::encoding_name(w, from)).unwrap(), Some("embstr"));
    assert_eq!(db.run(|w| keys::kind(w, from)).unwrap(), Some(Kind::String));
    db.now_ms += 100;
    assert_eq!(db.reap(10).0, 3);
}

#[test]
fn commands_end_when_everything_is_on_disk() {
    let mut db = Db::new();
    for i in 0..3000 {
        db.set(&format!("k{i}"), &"v".repeat(100), (i % 2 == 0).then_some(NOW + 10));
    }
    let (a, near, far) = names(&db);
    db.explode(&a, 2000);
    db.compact();
    let cold = |db: &mut Db| {
        db.compact();
        db.reopen();
    };
    cold(&mut db);
    let (key, near, far) = (db.key(&a).place, db.key(&near).place, db.key(&far).place);
    let key = Key { name: a.as_bytes(), place: key };
    let near = Key { name: b"near", place: near };
    let far = Key { name: b"far", place: far };
    let ((), runs) = db.run_cold(|w| keys::rename(w, key, near, false).map(|_| ()));
    assert!(runs > 1);
    cold(&mut db);
    let (copied, _) = db.run_cold(|w| keys::copy(w, near, far, 0, false));
    assert!(copied);
    cold(&mut db);
    let (count, runs) = db.run_cold(|w| scan::count(w));
    assert_eq!((count, runs), (3002, 1), "DBSIZE reads nothing");
    let mut walked = 0;
    let (next, runs) = db.run_cold(|w| {
        walked = 0;
        scan::step(w, 0, 500, &mut |_| {
            walked += 1;
            Ok(())
        })
    });
    assert!(next != 0 && walked == 500 && runs > 1);
    let (random, _) = db.run_cold(|w| scan::random(w));
    assert!(random.is_some());
    cold(&mut db);
    // Blind writes over what is on disk: the count has to look.
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"new" };
    for i in 0..1500 {
        let name = format!("k{i}");
        let key = Key::new(db.store().place_seed(), name.as_bytes());
        db.run_cold(|w| {
            w.put_header(key, &plain, None);
            Ok(())
        });
    }
    let (count, runs) = db.run_cold(|w| scan::count(w));
    assert_eq!(count, 3002);
    assert!(runs > 1);
    cold(&mut db);
    db.now_ms = NOW + 10;
    let (mut expired, mut stale) = (0, 0);
    while db.store().due_shards(db.now_ms) != ShardSet::default() {
        for shard in db.store().due_shards(db.now_ms).iter() {
            let (reaped, runs) = db.run_cold(|w| expire::cycle_shard(w, shard, 64));
            assert!(runs < 12, "headers are loaded together: {runs}");
            expired += reaped.expired;
            stale += reaped.stale;
        }
    }
    assert_eq!(expired, 750);
    assert!(stale <= 750, "compaction has dropped most of them");
    assert_eq!(db.count(), 3002 - 750);
}

#[test]
fn equal_data_has_equal_digests() {
    let (mut one, mut two) = (Db::new(), Db::new());
    let nothing = "0".repeat(40);
    assert_eq!(one.digest(), nothing);
    for i in 0..50 {
        one.set(&format!("k{i}"), &format!("v{i}"), None);
        two.set(&format!("k{}", 49 - i), &format!("v{}", 49 - i), None);
    }
    assert_eq!(one.digest(), two.digest());
    two.set("k7", "v7", Some(NOW + 5));
    assert_ne!(one.digest(), two.digest(), "whether it expires counts");
    one.set("k7", "v7", Some(NOW + 9));
    assert_eq!(one.digest(), two.digest(), "when, does not");
    two.db = 3;
    two.set("k", "v", None);
    assert_ne!(one.digest(), two.digest());

    // A packed and an exploded hash with the same fields.
    let fields: Vec<String> = (0..200).map(|i| format!("f{i}")).collect();
    let pairs: Vec<&[u8]> = fields.iter().flat_map(|f| [f.as_bytes(), b"v"]).collect();
    let hash = |db: &mut Db, packed_max: u64| {
        db.limits.hash_max_listpack_entries = packed_max;
        let key = Key::new(db.store().place_seed(), b"h");
        db.run(|w| hash::set(w, key, &pairs)).unwrap();
        db.run(|w| Ok((keys::encoding_name(w, key)?, digest::value(w, key)?))).unwrap()
    };
    let (packed, exploded) = (hash(&mut one, 1000), hash(&mut two, 10));
    assert_eq!((packed.0, exploded.0), (Some("listpack"), Some("hashtable")));
    assert_eq!(packed.1, exploded.1);
}
