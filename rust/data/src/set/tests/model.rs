//! Sets against `BTreeSet`s, one and several, in memory and cold.

use super::*;
use forgekv_base::rng::Rng;

#[test]
fn behaves_like_a_set() {
    let mut rng = Rng::seeded(17);
    for round in 0..4usize {
        let mut db = Db::new();
        if round % 2 == 1 {
            db.limits.set_max_intset_entries = 15;
            db.limits.set_max_listpack_entries = 20;
            db.limits.set_max_listpack_value = 12;
        }
        let names = [8, 40, 700, 30][round];
        let mut model = BTreeSet::new();
        for step in 0..1500 {
            let n = rng.below(names);
            // Integers first, then others, then long ones.
            let member = match step {
                0..500 => n.to_string(),
                500..1000 => format!("m{n}"),
                _ => format!("{}{n}", "x".repeat(rng.below(20) as usize)),
            };
            match rng.below(20) {
                0..=8 => {
                    let fresh = u64::from(model.insert(member.clone()));
                    assert_eq!(db.sadd("s", &[&member]), fresh);
                }
                9..=13 => {
                    let there = u64::from(model.remove(&member));
                    assert_eq!(db.srem("s", &[&member]), there);
                }
                14 => {
                    let popped = db.spop("s", rng.below(3));
                    assert!(popped.iter().all(|member| model.remove(member)));
                }
                15 if step % 100 == 0 => db.reopen(),
                _ => assert_eq!(db.has("s", &member), model.contains(&member)),
            }
            if step % 50 == 0 {
                assert_eq!(db.members("s"), model, "round {round} step {step}");
                assert_eq!(db.card("s"), model.len() as u64);
            }
        }
        while let Some(member) = model.pop_first() {
            assert_eq!(db.srem("s", &[&member]), 1);
        }
        assert!(!db.get_raw("s"));
    }
}

fn naive(operation: Operation, sets: &[BTreeSet<String>]) -> BTreeSet<String> {
    let (first, others) = sets.split_first().unwrap();
    others.iter().fold(first.clone(), |made, other| match operation {
        Operation::Union => made.union(other).cloned().collect(),
        Operation::Intersection => made.intersection(other).cloned().collect(),
        Operation::Difference => made.difference(other).cloned().collect(),
    })
}

const OPERATIONS: [Operation; 3] =
    [Operation::Union, Operation::Intersection, Operation::Difference];

/// Sets of all sizes and classes, and one that is not there.
fn many(db: &mut Db) -> Vec<(&'static str, BTreeSet<String>)> {
    db.fill("ints", "", 0, 300);
    db.fill("few", "m", 5, 50);
    db.fill("mixed", "m", 0, 40);
    db.fill("mixed", "", 100, 140);
    db.fill("large", "m", 20, 5000);
    db.fill("other", "m", 2500, 9000);
    db.fill("other", "", 0, 2000);
    db.fill("larger", "m", 3000, 30_000);
    let names = ["ints", "few", "mixed", "large", "other", "larger", "none"];
    names.into_iter().map(|name| (name, db.members(name))).collect()
}

#[test]
fn several_sets_are_combined() {
    let mut db = Db::new();
    let sets = many(&mut db);
    let mut rng = Rng::seeded(3);
    for round in 0..60 {
        if round % 20 == 19 {
            db.reopen();
        }
        let chosen: Vec<_> =
            (0..1 + rng.below(4)).map(|_| &sets[rng.below(sets.len() as u64) as usize]).collect();
        let models: Vec<_> = chosen.iter().map(|(_, set)| set.clone()).collect();
        let keys: Vec<Key<'_>> = chosen.iter().map(|(name, _)| db.key(name)).collect();
        for operation in OPERATIONS {
            let expected = naive(operation, &models);
            let mut made = Vec::new();
            db.run(|w| {
                combine(w, operation, &keys, &mut |member| {
                    made.push(text(member));
                    Ok(ControlFlow::Continue(()))
                })
            })
            .unwrap();
            assert_eq!(made.len(), expected.len(), "{operation:?} {:?}", keys);
            assert_eq!(made.into_iter().collect::<BTreeSet<_>>(), expected);
            let to = db.key("made");
            let n = db.run(|w| store(w, operation, to, &keys, "made")).unwrap();
            assert_eq!((n, db.members("made")), (expected.len() as u64, expected));
        }
    }
}

#[test]
fn a_result_may_replace_a_source() {
    for n in [20, 700] {
        let mut db = Db::new();
        db.fill("a", "m", 0, n);
        db.fill("b", "m", n / 2, 2 * n);
        let (a, b) = (db.key("a"), db.key("b"));
        db.run(|w| crate::expire::set(w, a, 2_000_000, Default::default())).unwrap();
        let expected = naive(Operation::Difference, &[db.members("a"), db.members("b")]);
        assert_eq!(
            db.run(|w| store(w, Operation::Difference, a, &[a, b], "x")).unwrap(),
            n as u64 / 2
        );
        assert_eq!((db.events.clone(), db.members("a")), (vec!["x:a@0".to_owned()], expected));
        assert_eq!(db.expires("a"), crate::expire::Expires::Never);
        assert_eq!(db.run(|w| store(w, Operation::Intersection, a, &[a, b], "x")).unwrap(), 0);
        assert_eq!(db.events, ["del:a@0"]);
        assert!(!db.get_raw("a"));
        assert_eq!(db.run(|w| store(w, Operation::Intersection, a, &[a, b], "x")).unwrap(), 0);
        assert_eq!(db.events, ["keymiss:a@0"]);
    }
}

#[test]
fn a_limit_ends_the_work() {
    let mut db = Db::new();
    many(&mut db);
    let keys = [db.key("large"), db.key("larger")];
    for operation in OPERATIONS {
        let mut n = 0;
        db.run(|w| {
            combine(w, operation, &keys, &mut |_| {
                n += 1;
                Ok(if n == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
        })
        .unwrap();
        assert_eq!(n, 7);
    }
}

#[test]
fn results_are_stored_as_redis_would() {
    let mut db = Db::new();
    let sets = many(&mut db);
    let to = db.key("to");
    for (names, called) in [
        (&["ints"][..], "intset"),
        (&["few", "mixed"], "listpack"),
        (&["ints", "few"], "hashtable"),
        (&["large"], "hashtable"),
        (&["none", "few"], "listpack"),
    ] {
        let keys: Vec<Key<'_>> = names.iter().map(|name| db.key(name)).collect();
        db.run(|w| store(w, Operation::Union, to, &keys, "x")).unwrap();
        assert_eq!(db.called("to"), called, "{names:?}");
    }
    assert_eq!(sets.len(), 7);
}

#[test]
fn cold_sets_are_read_in_few_rounds() {
    let mut db = Db::new();
    let sets = many(&mut db);
    let cold = |db: &mut Db| {
        db.compact();
        db.reopen();
    };
    let model = |name: &str| sets.iter().find(|(other, _)| *other == name).unwrap().1.clone();
    cold(&mut db);
    let key = db.key("larger");
    let some: Vec<String> = (0..400).map(|n| format!("m{}", 3000 + n * 60)).collect();
    let some: Vec<&[u8]> = some.iter().map(|member| member.as_bytes()).collect();
    let (all_there, runs) = db.run_cold(|w| {
        let mut there = true;
        contains_many(w, key, &some, &mut |holds| there &= holds)?;
        Ok(there)
    });
    assert!(all_there && runs <= 4, "{runs}");
    cold(&mut db);
    let (removed, runs) = db.run_cold(|w| remove(w, key, &some));
    assert!(removed == 400 && runs <= 4, "{removed} {runs}");
    cold(&mut db);
    let (added, runs) = db.run_cold(|w| add(w, key, &some));
    assert!(added == 400 && runs <= 4, "{added} {runs}");
    for operation in OPERATIONS {
        cold(&mut db);
        let keys = [db.key("large"), db.key("few"), db.key("larger")];
        let expected = naive(operation, &[model("large"), model("few"), model("larger")]);
        let (made, _) = db.run_cold(|w| {
            let mut made = BTreeSet::new();
            combine(w, operation, &keys, &mut |member| {
                made.insert(text(member));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(made)
        });
        assert_eq!(made, expected);
    }
    cold(&mut db);
    let (from, to) = (db.key("large"), db.key("other"));
    let (moved, runs) = db.run_cold(|w| move_member(w, from, to, b"m100"));
    assert!(moved && runs <= 4, "{runs}");
    cold(&mut db);
    let (popped, _) = db.run_cold(|w| {
        let mut popped = Vec::new();
        pop(w, key, 5, &mut |member| {
            popped.push(text(member));
            Ok(())
        })?;
        Ok(popped)
    });
    assert_eq!(popped.len(), 5);
    assert!(popped.iter().all(|member| !db.has("larger", member)));
}

#[test]
fn sources_serve_other_kinds() {
    let mut db = Db::new();
    let sets = many(&mut db);
    for (name, model) in sets.iter().filter(|(_, set)| !set.is_empty()) {
        let key = db.key(name);
        let found = db
            .run(|w| {
                let source = Source::open(w, key)?.unwrap();
                assert_eq!(source.len(), model.len() as u64);
                assert!(!source.contains(w, b"no such member")?);
                let (mut walk, mut found, mut last) = (source.walk(), BTreeSet::new(), None);
                while let Some((hash, member)) = walk.peek(w)? {
                    let at = Some((hash, member.to_vec()));
                    assert!(last < at);
                    found.insert(text(member));
                    last = at;
                    walk.advance();
                }
                for member in &found {
                    assert!(source.contains(w, member.as_bytes())?);
                }
                Ok(found)
            })
            .unwrap();
        assert_eq!(&found, model);
    }
    let none = db.key("none");
    assert!(db.run(|w| Ok(Source::open(w, none)?.is_none())).unwrap());
}
