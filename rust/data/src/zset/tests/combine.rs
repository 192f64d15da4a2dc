//! Unions, intersections and differences against what is computed member by member.

use super::*;
use crate::set;
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;

fn naive(
    inputs: &[(BTreeMap<String, f64>, f64)],
    operation: Operation,
    aggregate: Aggregate,
) -> Vec<(String, f64)> {
    let mut names: Vec<&String> = inputs.iter().flat_map(|(members, _)| members.keys()).collect();
    names.sort();
    names.dedup();
    let mut result = Vec::new();
    for name in names {
        let found: Vec<f64> = inputs
            .iter()
            .filter_map(|(members, weight)| members.get(name).map(|score| score * weight))
            .collect();
        let first = inputs[0].0.get(name);
        let there = match operation {
            Operation::Union => true,
            Operation::Intersection => found.len() == inputs.len(),
            Operation::Difference => first.is_some() && found.len() == 1,
        };
        let score = match (operation, aggregate) {
            (Operation::Difference, _) => first.copied().unwrap_or_default(),
            (_, Aggregate::Sum) => found.iter().sum(),
            (_, Aggregate::Min) => found.iter().copied().fold(f64::INFINITY, f64::min),
            (_, Aggregate::Max) => found.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        if there {
            result.push((name.clone(), score));
        }
    }
    result.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    result
}

#[test]
fn combinations_are_what_they_should_be() {
    let mut rng = Rng::seeded(31);
    let mut db = Db::new();
    for round in 0..40 {
        let names: Vec<String> = (0..1 + rng.below(4)).map(|n| format!("in{round}-{n}")).collect();
        let mut inputs = Vec::new();
        for name in &names {
            let mut members = BTreeMap::new();
            let size = [0, 5, 100, 3000][rng.below(4) as usize];
            for _ in 0..size {
                members.insert(format!("m{}", rng.below(1 + size * 2)), rng.below(100) as f64);
            }
            if rng.below(4) == 0 {
                // A set.
                members.values_mut().for_each(|score| *score = 1.0);
                let (key, all) = (db.key(name), members.keys().map(String::as_bytes));
                let all: Vec<&[u8]> = all.collect();
                db.run(|w| set::add(w, key, &all)).unwrap();
            } else {
                let pairs: Vec<(f64, &str)> =
                    members.iter().map(|(m, s)| (*s, m.as_str())).collect();
                db.zadd(name, &pairs);
            }
            inputs.push((members, rng.below(5) as f64));
        }
        for operation in [Operation::Union, Operation::Intersection, Operation::Difference] {
            let aggregate = [Aggregate::Sum, Aggregate::Min, Aggregate::Max][rng.below(3) as usize];
            let given: Vec<Input<'_>> = names
                .iter()
                .zip(&inputs)
                .map(|(name, (_, weight))| Input { key: db.key(name), weight: *weight })
                .collect();
            let expected = naive(&inputs, operation, aggregate);
            let target = db.key("target");
            let size = db
                .run(|w| {
                    let members = combine(w, operation, &given, aggregate)?;
                    let size = members.len();
                    store(w, target, members, "stored")?;
                    Ok(size)
                })
                .unwrap();
            assert_eq!(size, expected.len());
            assert_eq!(db.zall("target"), expected, "{operation:?} {aggregate:?}");
            if operation == Operation::Intersection {
                for limit in [0, 1, 7, 5000] {
                    let counted = db.run(|w| intersection_size(w, &given, limit)).unwrap();
                    let all = expected.len() as u64;
                    assert_eq!(counted, if limit == 0 { all } else { all.min(limit) });
                }
            }
        }
    }
}

#[test]
fn what_was_there_is_replaced() {
    let mut db = Db::new();
    let key = db.key("d");
    let scored = |n: u32| Scored { score: f64::from(n), member: format!("m{n}").into_bytes() };
    db.set("d", "string", Some(db.now_ms + 1000));
    for n in [3, 500, 2, 0] {
        db.run(|w| store(w, key, (0..n).map(scored).collect(), "stored")).unwrap();
        let events: &[&str] = if n == 0 { &["del"] } else { &["stored"] };
        assert_eq!(db.zevents("d"), events);
        assert_eq!(db.zall("d").len(), n as usize);
        let encoding = match n {
            0 => "none",
            500 => "skiplist",
            _ => "listpack",
        };
        assert_eq!(db.zencoding("d"), encoding);
    }
    db.run(|w| store(w, key, Vec::new(), "stored")).unwrap();
    assert!(db.events.is_empty());
    db.now_ms += 5000;
    db.run(|w| store(w, key, vec![scored(1)], "stored")).unwrap();
    assert_eq!(db.zevents("d"), ["new", "stored"]);
    assert!(db.get_raw("d"));
}
