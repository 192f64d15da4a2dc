//! Walks, against an engine on a simulated disk.

use crate::header::{Header, Kind, encoding};
use crate::limits::Limits;
use crate::testing::{Db, NOW, text};
use crate::view::Surroundings;
use crate::{Error, dbmap, keys, scan};
use forgekv_engine::{Batch, ShardSet};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn scan_returns_every_key_that_stays() {
    let mut db = Db::new();
    assert_eq!(db.scan(0, 10), Vec::<String>::new());
    db.set("only", "v", None);
    assert_eq!(db.scan_step(0, 10, &mut Vec::new()), 0, "a small database takes one step");
    let mut all = BTreeSet::from(["only".to_string()]);
    for i in 0..500 {
        let name = if i % 3 == 0 { format!("{{tag}}{i}") } else { format!("k{i}") };
        db.set(&name, "v", None);
        all.insert(name);
    }
    for count in [1, 7, 10, 1000] {
        let found = db.scan(0, count);
        assert_eq!(found.len(), all.len(), "each once");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all);
    }
    // Half of it, then a restart and deletions, then the rest.
    let mut found = Vec::new();
    let mut cursor = db.scan_step(0, 250, &mut found);
    assert!(found.len() >= 250 && cursor != 0);
    let gone: Vec<String> = all.iter().filter(|n| !found.contains(n)).take(20).cloned().collect();
    for name in &gone {
        let key = db.key(name);
        assert!(db.run(|w| keys::delete(w, key)).unwrap());
    }
    db.compact();
    db.reopen();
    while cursor != 0 {
        cursor = db.scan_step(cursor, 10, &mut found);
    }
    let found: BTreeSet<String> = found.into_iter().collect();
    let stayed: BTreeSet<String> = all.iter().filter(|n| !gone.contains(n)).cloned().collect();
    assert_eq!(found, stayed);
    assert_eq!(db.scan(u64::MAX, 10), Vec::<String>::new());
    assert_eq!(db.count() as usize, stayed.len());
    let mut walked = BTreeSet::new();
    db.run(|w| {
        scan::all(w, &mut |f| {
            walked.insert(text(f.key.name));
            Ok(())
        })
    })
    .unwrap();
    assert_eq!(walked, stayed);
}

#[test]
fn scan_skips_what_has_expired_and_other_databases() {
    let mut db = Db::new();
    db.set("live", "v", None);
    db.set("dead", "v", Some(NOW + 5));
    db.db = 1;
    db.set("elsewhere", "v", None);
    db.db = 0;
    db.now_ms += 5;
    assert_eq!(db.scan(0, 10), ["live"]);
    assert_eq!(db.count(), 2, "expired keys count until they are reaped");
    assert_eq!(db.get("dead"), None);
    assert_eq!(db.events, ["expired:dead@0"], "whoever meets it reaps it");
    assert_eq!((db.count(), db.expired), (1, 1));
}

#[test]
fn a_large_shard_is_walked_alone() {
    let mut db = Db::new();
    for i in 0..200 {
        db.set(&format!("{{tag}}{i}"), "v", None);
    }
    let store = db.store.clone().unwrap();
    let shard = db.key("{tag}").shard();
    let start = u64::from(shard) << 47;
    assert_eq!(scan::shard_of(start), shard);
    let limits = Limits::default();
    let around = Surroundings {
        now_ms: NOW,
        db: 0,
        limits: &limits,
        random_seed: 1,
        place_seed: store.place_seed(),
        events: 0,
        interest: ShardSet::default(),
    };
    let step = |cursor, count| {
        store.engine().with_reserved(ShardSet::one(shard), |guard| {
            let mut r = store.read(guard, Batch::new(), around.clone());
            let mut n = 0;
            let next = scan::step(&mut r, cursor, count, &mut |_| {
                n += 1;
                Ok(())
            });
            next.map(|next| (next, n))
        })
    };
    let (next, n) = step(start, 150).unwrap();
    assert_eq!((n, scan::shard_of(next)), (150, shard));
    // The shard ends before COUNT is reached, but it is a large one: on with the next shard later.
    let (next, n) = step(next, 150).unwrap();
    assert_eq!((n, next), (50, (u64::from(shard) + 1) << 47));
    assert!(matches!(step(start, 500), Err(Error::Again(_))), "a small one: all shards, please");
}

#[test]
fn random_keys_are_spread() {
    let mut db = Db::new();
    assert_eq!(db.run(|w| scan::random(w)).unwrap(), None);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for i in 0..100 {
        db.set(&format!("k{i}"), "v", None);
        db.set(&format!("{{t}}{i}"), "v", None);
    }
    for _ in 0..8000 {
        let name = db.run(|w| scan::random(w)).unwrap().unwrap();
        *seen.entry(text(&name)).or_default() += 1;
    }
    assert_eq!(seen.len(), 200);
    assert!(seen.values().all(|&n| (4..200).contains(&n)), "{seen:?}");
    // Of two slots in one shard one has nearly all keys.
    let shard = db.key("{t}").shard();
    let lone = (0..).map(|i| format!("lone{i}")).find(|n| db.key(n).shard() == shard).unwrap();
    db.run(|w| dbmap::flush(w, None)).unwrap();
    for i in 0..150 {
        db.set(&format!("{{t}}{i}"), "v", None);
    }
    db.set(&lone, "v", None);
    let mut alone = 0;
    for _ in 0..3000 {
        let name = db.run(|w| scan::random(w)).unwrap().unwrap();
        alone += u32::from(text(&name) == lone);
    }
    assert!((1..200).contains(&alone), "{alone}");
}

#[test]
fn random_ends_when_all_have_expired() {
    let mut db = Db::new();
    for i in 0..300 {
        db.set(&format!("k{i}"), "v", Some(NOW + 1));
    }
    db.now_ms += 1;
    assert_eq!(db.run(|w| scan::random(w)).unwrap(), None);
    db.set("live", "v", None);
    for _ in 0..5 {
        assert_eq!(db.run(|w| scan::random(w)).unwrap(), Some(b"live".to_vec()));
    }
}

#[test]
fn the_count_is_exact_when_nobody_looked() {
    let mut db = Db::new();
    for i in 0..500 {
        db.set(&format!("k{i}"), "v", None);
    }
    db.compact();
    db.reopen();
    // Written blindly: whether they were there is only known to the tables.
    let plain =
        Header { kind: Kind::String, encoding: encoding::PACKED, expire_ms: None, body: b"new" };
    for i in 250..750 {
        let name = format!("k{i}");
        let key = db.key(&name);
        db.run(|w| {
            w.put_header(key, &plain, None);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(db.count(), 750);
    for i in 0..100 {
        let name = format!("k{i}");
        let key = db.key(&name);
        db.run(|w| {
            w.delete_header(key, None);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(db.count(), 650);
    db.compact();
    assert_eq!(db.count(), 650);
    db.reopen();
    assert_eq!(db.count(), 650);
    assert_eq!(db.scan(0, 100).len(), 650);
}

#[test]
fn keys_that_expire_are_counted_exactly() {
    use forgekv_base::rng::Rng;
    let mut db = Db::new();
    let mut rng = Rng::seeded(11);
    let mut model: BTreeMap<(u32, String), Option<u64>> = BTreeMap::new();
    for round in 0..1500 {
        db.db = rng.below(2) as u32;
        let name = format!("k{}", rng.below(60));
        let at = (rng.below(2) == 0).then(|| NOW + 1000 + rng.below(100_000));
        let key = db.key(&name);
        match rng.below(12) {
            // Blindly: nobody looks at what was there.
            0..8 => {
                let header =
                    Header { kind: Kind::String, encoding: 0, expire_ms: at, body: b"value" };
                db.run(|w| {
                    w.put_header(key, &header, None);
                    Ok(())
                })
                .unwrap();
                model.insert((db.db, name), at);
            }
            8..10 => {
                assert_eq!(
                    db.run(|w| keys::delete(w, key)).unwrap(),
                    model.remove(&(db.db, name)).is_some()
                );
            }
            10 if round % 7 == 0 => {
                let gone = db.db;
                db.run(|w| dbmap::flush(w, Some(gone))).unwrap();
                model.retain(|(number, _), _| *number != gone);
            }
            _ if round % 5 == 0 => db.compact(),
            _ => db.reopen(),
        }
        if round % 10 == 0 {
            for number in 0..2 {
                db.db = number;
                let ttls: Vec<u64> = model
                    .iter()
                    .filter(|((of, _), at)| *of == number && at.is_some())
                    .filter_map(|(_, at)| at.map(|at| at - NOW))
                    .collect();
                let average = ttls.iter().sum::<u64>() / ttls.len().max(1) as u64;
                let found = db.run(|w| scan::expiring(w)).unwrap();
                assert_eq!(found, (ttls.len() as u64, average), "round {round}");
                let keys = model.keys().filter(|(of, _)| *of == number).count();
                assert_eq!(db.count(), keys as u64, "round {round}");
            }
        }
    }
}
