//! A sorted set against a sorted list, and what its operations cost.

use super::*;
use forgekv_base::rng::Rng;
use std::collections::HashMap;

/// What a sorted set should be: members in order.
#[derive(Default)]
struct Model {
    members: Vec<(String, f64)>,
}

impl Model {
    fn position(&self, member: &str) -> Option<usize> {
        self.members.iter().position(|(name, _)| name == member)
    }

    fn put(&mut self, member: &str, score: f64) -> bool {
        let old = self.position(member).map(|at| self.members.remove(at));
        self.members.push((member.to_owned(), score));
        self.members.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        old.is_none()
    }
}

fn picked(all: &[(String, f64)], inside: impl Fn(&str, f64) -> bool) -> Vec<(String, f64)> {
    all.iter().filter(|(member, score)| inside(member, *score)).cloned().collect()
}

/// A random end of a range of scores.
fn end(rng: &mut Rng) -> ScoreEnd {
    let score = match rng.below(8) {
        0 => f64::NEG_INFINITY,
        1 => f64::INFINITY,
        n => rng.below(20) as f64 - 5.0 + n as f64 / 8.0,
    };
    ScoreEnd { score, exclusive: rng.below(2) == 0 }
}

#[test]
fn behaves_like_a_sorted_list() {
    let mut rng = Rng::seeded(21);
    for round in 0..4u64 {
        let mut db = Db::new();
        if round % 2 == 1 {
            db.limits.zset_max_listpack_entries = 20;
        }
        let mut model = Model::default();
        let names = [20, 40, 600, 100][round as usize];
        for step in 0..1500 {
            let member = format!("m{}{}", rng.below(names), "x".repeat(rng.below(2) as usize * 9));
            let score = rng.below(40) as f64 / 4.0 - 3.0;
            match rng.below(24) {
                0..=8 => {
                    assert_eq!(
                        db.zadd("z", &[(score, &member)]),
                        u64::from(model.put(&member, score))
                    );
                }
                9..=10 => {
                    let old = model.position(&member).map_or(0.0, |at| model.members[at].1);
                    assert_eq!(db.zincr("z", score, &member).unwrap(), Some(old + score));
                    model.put(&member, old + score);
                }
                11..=13 => {
                    let at = model.position(&member);
                    assert_eq!(db.zrem("z", &[&member]), u64::from(at.is_some()));
                    at.map(|at| model.members.remove(at));
                }
                14 if step % 7 == 0 => {
                    let (highest, n) = (rng.below(2) == 0, rng.below(9) as usize);
                    let popped = db.zpop("z", highest, n as u64);
                    let n = n.min(model.members.len());
                    let expected: Vec<_> = if highest {
                        let at = model.members.len() - n;
                        model.members.split_off(at).into_iter().rev().collect()
                    } else {
                        model.members.drain(..n).collect()
                    };
                    assert_eq!(popped, expected);
                }
                15 if step % 5 == 0 => {
                    let (min, max) = (end(&mut rng), end(&mut rng));
                    let inside = |_: &str, score: f64| min.is_before(score) && max.is_after(score);
                    let gone = picked(&model.members, inside).len() as u64;
                    if gone < 30 {
                        assert_eq!(db.zcut("z", Span::Score(min, max)), gone);
                        model.members.retain(|(member, score)| !inside(member, *score));
                    }
                }
                16 if step % 100 == 0 => db.reopen(),
                17..=18 => {
                    let reverse = rng.below(2) == 0;
                    let expected = model.position(&member).map(|at| {
                        let rank = if reverse { model.members.len() - 1 - at } else { at };
                        (rank as u64, model.members[at].1)
                    });
                    assert_eq!(db.zrank("z", &member, reverse), expected);
                }
                19..=21 => {
                    let (min, max) = (end(&mut rng), end(&mut rng));
                    let span = Span::Score(min, max);
                    let mut expected = picked(&model.members, |_, score| {
                        min.is_before(score) && max.is_after(score)
                    });
                    assert_eq!(db.zcount("z", span), expected.len() as u64);
                    let reverse = rng.below(2) == 0;
                    if reverse {
                        expected.reverse();
                    }
                    let (offset, limit) = (rng.below(4) as i64, rng.below(10) as i64 - 1);
                    let expected: Vec<_> = expected
                        .into_iter()
                        .skip(offset as usize)
                        .take(usize::try_from(limit).unwrap_or(usize::MAX))
                        .collect();
                    assert_eq!(db.zrange("z", Range { span, reverse, offset, limit }), expected);
                }
                _ => {
                    let expected = model.position(&member).map(|at| model.members[at].1);
                    assert_eq!(db.zscore("z", &member), expected);
                }
            }
            if step % 50 == 0 {
                assert_eq!(db.zall("z"), model.members, "round {round} step {step}");
                assert_eq!(db.zlen("z"), model.members.len() as u64);
                let mut reversed = model.members.clone();
                reversed.reverse();
                let all = Range { reverse: true, ..Range::of(Span::Rank(0, -1)) };
                assert_eq!(db.zrange("z", all), reversed);
            }
        }
        let left: Vec<String> = model.members.iter().map(|(member, _)| member.clone()).collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        assert_eq!(db.zrem("z", &left), left.len() as u64);
        assert!(!db.get_raw("z"));
    }
}

/// A short name, so that some come twice.
fn word(rng: &mut Rng) -> String {
    let digits = 4 + rng.below(16);
    format!("{:x}", rng.below(1 << digits))
}

#[test]
fn ranges_by_name() {
    let mut rng = Rng::seeded(22);
    for n in [60, 500] {
        let mut db = Db::new();
        let mut names: Vec<String> = (0..n).map(|_| word(&mut rng)).collect();
        names.push(String::new());
        names.sort();
        names.dedup();
        let all: Vec<(f64, &str)> = names.iter().map(|name| (1.5, name.as_str())).collect();
        db.zadd("z", &all);
        for _ in 0..300 {
            let (a, b) = (word(&mut rng), word(&mut rng));
            let end = |rng: &mut Rng, word| match rng.below(6) {
                0 => LexEnd::Start,
                1 => LexEnd::End,
                2 | 3 => LexEnd::Included(word),
                _ => LexEnd::Excluded(word),
            };
            let min = end(&mut rng, a.as_bytes());
            let other = if rng.below(9) == 0 { a.as_bytes() } else { b.as_bytes() };
            let max = end(&mut rng, other);
            let expected: Vec<(String, f64)> = names
                .iter()
                .filter(|name| min.is_before(name.as_bytes()) && max.is_after(name.as_bytes()))
                .map(|name| (name.clone(), 1.5))
                .collect();
            let span = Span::Lex(min, max);
            assert_eq!(db.zrange("z", Range::of(span)), expected, "{span:?}");
            assert_eq!(db.zcount("z", span), expected.len() as u64);
        }
    }
}

#[test]
fn random_members_are_uniform() {
    let mut db = Db::new();
    db.zfill("few", 0, 20);
    db.zfill("many", 0, 2000);
    let mut draw = |name: &str, count: i64| {
        let (key, mut drawn) = (db.key(name), Vec::new());
        db.run(|w| {
            random(w, key, count, &mut |member, score| {
                assert_eq!(text(member), format!("m{score}"));
                drawn.push(text(member));
                Ok(())
            })
        })
        .unwrap();
        drawn
    };
    for (name, n) in [("few", 20), ("many", 2000)] {
        for count in [0, 1, 3, n / 2, n, n + 5] {
            let mut drawn = draw(name, count);
            assert_eq!(drawn.len() as i64, count.min(n));
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len() as i64, count.min(n));
            assert_eq!(draw(name, -count).len() as i64, count);
        }
    }
    for batch in [-20, 20] {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for _ in 0..1000 {
            for member in draw("many", batch) {
                *counts.entry(member).or_default() += 1;
            }
        }
        // Chi-squared with 1999 degrees of freedom: mean 1999, deviation 63.
        let missing = (2000 - counts.len()) as f64 * 10.0;
        let chi: f64 = counts.values().map(|&n| (n as f64 - 10.0).powi(2) / 10.0).sum();
        assert!((1650.0..2350.0).contains(&(chi + missing)), "{batch}: {}", chi + missing);
    }
    assert!(draw("none", 5).is_empty() && draw("none", -5).is_empty());
}
