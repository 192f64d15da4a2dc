//! A hash against a map, and what its operations cost.

use super::*;
use forgekv_base::rng::Rng;
use std::collections::{BTreeMap, HashMap};

/// What a hash should be: value and expiry by field, expired ones taken out.
#[derive(Default)]
struct Model {
    fields: BTreeMap<String, (String, Option<u64>)>,
}

#[test]
fn behaves_like_a_map() {
    let mut rng = Rng::seeded(11);
    for round in 0..4u64 {
        let mut db = Db::new();
        if round % 2 == 1 {
            db.limits.hash_max_listpack_entries = 20;
            db.limits.hash_max_listpack_value = 30;
        }
        let mut model = Model::default();
        let names = [8, 30, 300, 20][round as usize];
        for step in 0..1500 {
            let field = rng.below(names).to_string();
            let value = "x".repeat(rng.below(if step > 700 { 40 } else { 20 }) as usize);
            let now_ms = db.now_ms;
            model.fields.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
            match rng.below(20) {
                0..=6 => {
                    let added = db.set("h", &[&field, &value]);
                    let old = model.fields.insert(field, (value, None));
                    assert_eq!(added, u64::from(old.is_none()));
                }
                7..=9 => {
                    let deleted = db.del("h", &[&field]);
                    assert_eq!(deleted, u64::from(model.fields.remove(&field).is_some()));
                }
                10..=12 => {
                    let at = now_ms + rng.below(60);
                    let done = db.expire("h", at, When::Always, &[&field]);
                    let expected = match model.fields.get_mut(&field) {
                        None => Timed::Missing,
                        Some(_) if at == now_ms => {
                            model.fields.remove(&field);
                            Timed::Deleted
                        }
                        Some((_, expiry)) => {
                            *expiry = Some(at);
                            Timed::Done
                        }
                    };
                    assert_eq!(done, [expected]);
                }
                13 => {
                    db.persist("h", &[&field]);
                    if let Some((_, at)) = model.fields.get_mut(&field) {
                        *at = None;
                    }
                }
                14 => db.now_ms += rng.below(20),
                15 if step % 5 == 0 => {
                    db.reap();
                    assert_eq!(db.len("h"), model.fields.len() as u64);
                }
                16 if step % 100 == 0 => db.reopen(),
                _ => {
                    let expected = model.fields.get(&field).map(|(value, _)| value.clone());
                    assert_eq!(db.get("h", &field), expected);
                }
            }
            if step % 50 == 0 {
                let now_ms = db.now_ms;
                model.fields.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
                let mut all = db.all("h");
                all.sort();
                let expected: Vec<_> =
                    model.fields.iter().map(|(f, (v, _))| (f.clone(), v.clone())).collect();
                assert_eq!(all, expected, "round {round} step {step}");
            }
        }
        // When all has expired, nothing is left, not in the index either.
        for field in 0..names {
            db.expire("h", db.now_ms + 1, When::Always, &[&field.to_string()]);
        }
        db.now_ms += 1000;
        db.reap();
        assert!(!db.exists("h"));
        assert!(db.index().is_empty());
    }
}

/// What the operations cost in this room, beside a string's: `cargo test --release -- --ignored measure_hash
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_hash() {
    let mut db = Db::new();
    let hashes = 1000usize;
    for n in 0..hashes {
        fill(&mut db, &format!("small{n}"), 0, 10);
        db.run(&format!("s{n}"), |w, key| crate::string::set(w, key, b"0123456789", None)).unwrap();
    }
    fill(&mut db, "medium", 0, 100);
    fill(&mut db, "large", 0, 20_000);
    let store = db.store.as_ref().unwrap();
    // Leaked, so that keys of all kinds are alike to the closures.
    let leak = |n: usize, of: &str| &*format!("{of}{n}").leak();
    let names: Vec<&'static str> = (0..hashes).map(|n| leak(n, "small")).collect();
    let strings: Vec<&'static str> = (0..hashes).map(|n| leak(n, "s")).collect();
    let fields: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let seed = store.place_seed();
    let string = |n: usize| Key::new(seed, strings[n % hashes].as_bytes());
    let small = |n: usize| Key::new(seed, names[n % hashes].as_bytes());
    let medium = |_: usize| Key::new(seed, b"medium");
    let large = |_: usize| Key::new(seed, b"large");
    let field = |n: usize, of: usize| fields[n % of].as_bytes();
    type Run<'f> = &'f dyn Fn(&mut Write<'_>, Key<'_>, usize) -> Result<()>;
    let time = |what: &str, key: &dyn Fn(usize) -> Key<'static>, f: Run<'_>| {
        let rounds = 300_000usize;
        // Nanoseconds that this thread ran: the machine may be busy with other things.
        let ran = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let started = ran();
        let mut batch = Batch::new();
        for n in (0..rounds).map(|n| n * 7919 % 1_000_003) {
            let around = Surroundings { events: 0, ..db.around() };
            let key = key(n);
            store.engine().with_reserved(ShardSet::one(key.shard()), |guard| {
                let mut w = store.write(guard, std::mem::take(&mut batch), around);
                f(&mut w, key, n).unwrap();
                let mut parts = w.into_parts();
                store.commit(&mut parts.guard, &mut parts.batch).unwrap();
                parts.batch.clear();
                batch = parts.batch;
            });
        }
        let each = (ran() - started) / rounds as u64;
        eprintln!("{what:30} {each} ns");
    };
    let value = b"0123456789";
    time("nothing", &string, &|_, _, _| Ok(()));
    time("string get", &string, &|w, key, _| crate::string::get_all(w, key).map(drop));
    time("string set", &string, &|w, key, _| crate::string::set(w, key, value, None));
    time("get of 10", &small, &|w, key, n| get(w, key, field(n, 10), |_| ()));
    time("set of 10", &small, &|w, key, n| set(w, key, &[field(n, 10), value]).map(drop));
    time("get of 100", &medium, &|w, key, n| get(w, key, field(n, 100), |_| ()));
    time("set of 100", &medium, &|w, key, n| set(w, key, &[field(n, 100), value]).map(drop));
    time("get of 20000", &large, &|w, key, n| get(w, key, field(n, 20_000), |_| ()));
    time("set of 20000", &large, &|w, key, n| set(w, key, &[field(n, 20_000), value]).map(drop));
    time("random of 20000", &large, &|w, key, _| random(w, key, -1, &mut |_, _| Ok(())));
}

#[test]
fn random_fields_are_uniform() {
    let mut db = Db::new();
    for (name, n) in [("few", 20), ("many", 3000)] {
        fill(&mut db, name, 0, n);
        assert_eq!(db.random(name, n as i64 + 5).len(), n);
        for count in [1, 3, 10, n as i64 / 2, n as i64 - 1] {
            let mut fields = db.random(name, count);
            assert_eq!(fields.len(), count as usize, "{name}");
            fields.sort();
            fields.dedup();
            assert_eq!(fields.len(), count as usize, "{name} {count}");
            assert_eq!(db.random(name, -count).len(), count as usize);
        }
    }
    // By windows (few draws at a time) and by a walk (many).
    for batch in [20, 3000] {
        let mut counts: HashMap<String, u64> = HashMap::new();
        let draws = 30_000;
        for _ in 0..draws / batch {
            for field in db.random("many", -batch) {
                *counts.entry(field).or_default() += 1;
            }
        }
        // Chi-squared with 2999 degrees of freedom: mean 2999, deviation 77.
        let expected = draws as f64 / 3000.0;
        let missing = (3000 - counts.len()) as f64 * expected;
        let chi: f64 =
            counts.values().map(|&n| (n as f64 - expected).powi(2) / expected).sum::<f64>();
        assert!((2600.0..3400.0).contains(&(chi + missing)), "{batch}: {}", chi + missing);
    }
    assert!(db.random("none", 5).is_empty() && db.random("none", -5).is_empty());
    assert!(db.random("many", 0).is_empty());
}
