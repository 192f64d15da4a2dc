//! A list against a queue of strings, and what its operations cost.

use super::*;
use crate::store::Store;
use crate::view::Surroundings;
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Batch, Options, ShardSet};
use std::sync::Arc;

fn item(rng: &mut Rng, round: usize) -> String {
    match round {
        // Many are alike.
        0 => rng.below(40).to_string(),
        1 if rng.below(50) == 0 => "l".repeat(2500),
        2 => format!("{}-{}", "m".repeat(rng.below(60) as usize), rng.below(10)),
        _ => "x".repeat(rng.below(300) as usize),
    }
}

#[test]
fn behaves_like_a_queue() {
    for round in 0..4 {
        let mut rng = Rng::seeded(round as u64 + 3);
        let mut db = Lists::new();
        let mut model: VecDeque<String> = VecDeque::new();
        for step in 0..2500 {
            let len = model.len();
            let index =
                rng.below(len as u64 + 1) as i64 - if step % 2 == 0 { 0 } else { len as i64 };
            let end = if rng.below(2) == 0 { End::Left } else { End::Right };
            let growing = (step / 400) % 2 == 0;
            let new = item(&mut rng, round);
            match rng.below(if growing { 14 } else { 20 }) {
                0..=4 => {
                    let n = if rng.below(30) == 0 { 100 } else { 1 + rng.below(3) };
                    let items: Vec<String> = (0..n).map(|_| item(&mut rng, round)).collect();
                    let words: Vec<&str> = items.iter().map(String::as_str).collect();
                    let pushed = db.push("l", end, &words);
                    for item in items {
                        match end {
                            End::Left => model.push_front(item),
                            End::Right => model.push_back(item),
                        }
                    }
                    assert_eq!(pushed, model.len() as u64);
                }
                5 | 14..=17 => {
                    let n = if rng.below(20) == 0 { rng.below(100) } else { 1 };
                    let popped = db.pop("l", end, n);
                    let expected = (0..n.min(len as u64))
                        .filter_map(|_| match end {
                            End::Left => model.pop_front(),
                            End::Right => model.pop_back(),
                        })
                        .collect::<Vec<_>>();
                    assert_eq!(popped, (len > 0).then_some(expected));
                }
                6 => {
                    let done = db.on("l", |w, k| set(w, k, index, new.as_bytes()));
                    match position(index, len as u64).filter(|&at| at < len as u64) {
                        Some(at) => model[at as usize] = new,
                        None => assert!(done.is_err()),
                    }
                }
                7 | 8 => {
                    let pivot = model.get(rng.below(len as u64 + 1) as usize).cloned();
                    let pivot = pivot.unwrap_or_default();
                    let before = end == End::Left;
                    let done = db
                        .on("l", |w, k| insert(w, k, before, pivot.as_bytes(), new.as_bytes()))
                        .unwrap();
                    match model.iter().position(|item| *item == pivot) {
                        Some(at) => {
                            model.insert(at + usize::from(!before), new);
                            assert_eq!(done, model.len() as i64);
                        }
                        None => assert_eq!(done, if len == 0 { 0 } else { -1 }),
                    }
                }
                9 | 18 => {
                    let count = rng.below(5) as i64 - 2;
                    let wanted = model.get(rng.below(len as u64 + 1) as usize).cloned();
                    let wanted = wanted.unwrap_or_default();
                    let gone = db.on("l", |w, k| remove(w, k, count, wanted.as_bytes())).unwrap();
                    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
                    let mut at: Vec<usize> = (0..len).filter(|&at| model[at] == wanted).collect();
                    if count < 0 {
                        at.reverse();
                    }
                    at.truncate(most);
                    at.sort_unstable_by(|a, b| b.cmp(a));
                    assert_eq!(gone, at.len() as u64);
                    at.into_iter().for_each(|at| drop(model.remove(at)));
                }
                10 if !growing || rng.below(20) == 0 => {
                    let (start, stop) = (rng.below(4) as i64, -1 - rng.below(4) as i64);
                    db.on("l", |w, k| trim(w, k, start, stop)).unwrap();
                    let kept = range_of(start, stop, len as u64);
                    model = model.drain(kept.start as usize..kept.end as usize).collect();
                }
                11 => {
                    let stop = index + rng.below(50) as i64;
                    let expected: Vec<String> = {
                        let range = range_of(index, stop, len as u64);
                        model.range(range.start as usize..range.end as usize).cloned().collect()
                    };
                    assert_eq!(db.range("l", index, stop), expected);
                }
                12 => {
                    let found = db.on("l", |w, k| get(w, k, index, |i| i.map(text))).unwrap();
                    let at = position(index, len as u64).map(|at| at as usize);
                    assert_eq!(found.as_ref(), at.and_then(|at| model.get(at)));
                }
                13 => {
                    let other = if end == End::Left { End::Right } else { End::Left };
                    db.mv(("l", end), ("l", other), HowMany::UpTo(1), Arrange::OneByOne);
                    match end {
                        End::Left if len > 0 => model.rotate_left(1),
                        End::Right if len > 0 => model.rotate_right(1),
                        _ => {}
                    }
                }
                _ => {
                    assert_eq!(db.on("l", |w, k| super::len(w, k)).unwrap(), len as u64);
                }
            }
            if step % 50 == 49 {
                assert!(db.all("l").iter().eq(&model), "round {round} step {step}");
            }
            if step % 200 == 199 {
                db.reopen();
            }
        }
    }
}

/// What the operations cost in this room, beside a string's: `cargo test --release -- --ignored measure_list
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_list() {
    let mut db = Lists::new();
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.memtable_bytes = 2 << 30;
    db.store = Some(Store::open(options, 16, Arc::new(RealDisk)).unwrap());
    let lists = 100_000usize;
    let small: Vec<String> = (0..lists).map(|n| format!("list:{n:08}")).collect();
    filled(&mut db, "big", 1_000_000);
    db.push("s", End::Left, &["x"]);
    let store = db.store.as_ref().unwrap();
    let seed = store.place_seed();
    let value = [b'v'; 64];
    type Run<'f> = &'f dyn Fn(&mut Write<'_>, Key<'_>, usize) -> Result<()>;
    let time = |what: &str, many: bool, f: Run<'_>| {
        let rounds = 200_000usize;
        // Nanoseconds that this thread ran: the machine may be busy with other things.
        let ran = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let started = ran();
        let (mut batch, mut bytes) = (Batch::new(), 0);
        for n in 0..rounds {
            let around = Surroundings {
                now_ms: 1,
                db: 0,
                limits: &db.limits,
                random_seed: 1,
                place_seed: seed,
                events: 0,
                interest: ShardSet::default(),
            };
            let name = if many { small[n * 7919 % lists].as_bytes() } else { b"big" };
            let key = Key::new(seed, name);
            store.engine().with_reserved(ShardSet::one(key.shard()), |guard| {
                let mut w = store.write(guard, std::mem::take(&mut batch), around);
                f(&mut w, key, n).unwrap();
                let mut parts = w.into_parts();
                bytes += parts.batch.bytes().len();
                store.commit(&mut parts.guard, &mut parts.batch).unwrap();
                parts.batch.clear();
                batch = parts.batch;
            });
        }
        let each = (ran() - started) / rounds as u64;
        eprintln!("{what:30} {each:5} ns {:5} bytes of log", bytes / rounds);
    };
    let one =
        |w: &mut Write<'_>, key: Key<'_>, end| pop(w, key, end, 1, &mut Seen::default()).map(drop);
    time("nothing", false, &|_, _, _| Ok(()));
    time("lpush, many lists", true, &|w, k, _| push(w, k, End::Left, &[&value], false).map(drop));
    time("rpush, many lists", true, &|w, k, _| push(w, k, End::Right, &[&value], false).map(drop));
    time("lpush, big", false, &|w, k, _| push(w, k, End::Left, &[&value], false).map(drop));
    time("rpush, big", false, &|w, k, _| push(w, k, End::Right, &[&value], false).map(drop));
    time("rpush and lpop, big", false, &|w, k, _| {
        push(w, k, End::Right, &[&value], false)?;
        one(w, k, End::Left)
    });
    time("lpop, big", false, &|w, k, _| one(w, k, End::Left));
    time("rpop, big", false, &|w, k, _| one(w, k, End::Right));
    time("lindex, big", false, &|w, k, n| get(w, k, n as i64 * 7919 % 1_000_000, |_| ()));
    time("lset, big", false, &|w, k, n| set(w, k, n as i64 * 7919 % 1_000_000, &value));
    time("lrange 100, big", false, &|w, k, _| range(w, k, 0, 99, &mut Seen::default()));
}
