//! A stream against maps, whatever is done to it, and from cold blocks.

use super::*;
use forgekv_base::rng::Rng;
use std::collections::BTreeMap;

#[derive(Default)]
struct Group {
    last: u64,
    /// Consumer, deliveries.
    pending: BTreeMap<u64, (String, u64)>,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, String>,
    last: u64,
    added: u64,
    max_deleted: u64,
    groups: BTreeMap<String, Group>,
}

fn check(db: &mut Db, model: &Model, rng: &mut Rng) {
    let info = db.xinfo("s");
    assert_eq!((info.len, info.added), (model.entries.len() as u64, model.added));
    assert_eq!((info.last.ms, info.max_deleted.ms), (model.last, model.max_deleted));
    let first = model.entries.first_key_value().map_or(0, |(&ms, _)| ms);
    assert_eq!(info.first.ms, first);
    for _ in 0..4 {
        let (a, b) = (rng.below(model.last + 3), rng.below(model.last + 3));
        let (from, to) = if rng.below(4) == 0 { (0, u64::MAX) } else { (a.min(b), a.max(b)) };
        let count = [None, Some(1), Some(7)][rng.below(3) as usize];
        let bounds = (Id::new(from, 0), Id::new(to, u64::MAX));
        for reverse in [false, true] {
            let found = db.xrange("s", bounds, reverse, count);
            let mut expected: Vec<_> = model.entries.range(from..=to).collect();
            if reverse {
                expected.reverse();
            }
            expected.truncate(count.unwrap_or(u64::MAX) as usize);
            assert_eq!(found.len(), expected.len(), "{from} {to} {count:?} {reverse}");
            for ((id, fields), (&ms, value)) in found.iter().zip(expected) {
                assert_eq!((id.ms, &fields[0].1), (ms, value));
            }
        }
    }
    for (name, group) in &model.groups {
        let summary = db.xsummary("s", name);
        assert_eq!(summary.count, group.pending.len() as u64);
        let mut by_consumer: BTreeMap<&str, u64> = BTreeMap::new();
        group.pending.values().for_each(|(c, _)| *by_consumer.entry(c).or_default() += 1);
        let told: Vec<_> = summary.consumers.iter().map(|(c, n)| (text(c), *n)).collect();
        let expected: Vec<_> = by_consumer.iter().map(|(c, &n)| ((*c).to_owned(), n)).collect();
        assert_eq!(told, expected);
        let pending: Vec<_> =
            db.xpending("s", name).into_iter().map(|(ms, c, _, n)| (ms, (c, n))).collect();
        let expected: Vec<_> = group.pending.iter().map(|(&ms, p)| (ms, p.clone())).collect();
        assert_eq!(pending, expected);
    }
}

#[test]
fn behaves_like_maps() {
    for round in 0..4u64 {
        let mut rng = Rng::seeded(round + 21);
        let mut db = Db::new();
        db.limits.stream_node_max_entries = [3, 10, 100, 1][round as usize];
        db.limits.stream_node_max_bytes = [4096, 120, 0, 4096][round as usize];
        let mut model = Model::default();
        db.xfill("s", 1..=1);
        model.entries.insert(1, "1".into());
        (model.last, model.added) = (1, 1);
        for step in 0..1500 {
            let name = ["g", "h"][rng.below(2) as usize];
            let consumer = ["a", "b", "c"][rng.below(3) as usize];
            let some = |rng: &mut Rng| rng.below(model.last + 2);
            match rng.below(24) {
                0..=9 => {
                    let ms = model.last + 1 + rng.below(3);
                    let long = if rng.below(30) == 0 { 700 } else { 12 };
                    let value = "v".repeat(rng.below(long) as usize);
                    db.xadd("s", NewId::Given(Id::new(ms, 0)), &["f", &value]).unwrap();
                    model.entries.insert(ms, value);
                    model.last = ms;
                    model.added += 1;
                }
                10..=12 => {
                    let ids = [some(&mut rng), some(&mut rng), some(&mut rng)];
                    let mut gone = 0;
                    for ms in ids {
                        if model.entries.remove(&ms).is_some() {
                            model.max_deleted = model.max_deleted.max(ms);
                            gone += 1;
                        }
                    }
                    assert_eq!(db.xdel("s", &ids), gone);
                }
                13 => {
                    let most = rng.below(60);
                    let gone = (model.entries.len() as u64).saturating_sub(most);
                    assert_eq!(db.xtrim("s", Excess::Longer(most), false), gone);
                    (0..gone).for_each(|_| drop(model.entries.pop_first()));
                }
                14 if step % 3 == 0 => {
                    let ms = some(&mut rng);
                    let gone = model.entries.range(..ms).count() as u64;
                    let excess = Excess::Before(Id::new(ms, 0));
                    let whole = db.xtrim("s", excess, true);
                    assert!(whole <= gone);
                    assert_eq!(whole + db.xtrim("s", excess, false), gone);
                    model.entries = model.entries.split_off(&ms);
                }
                15 if !model.groups.contains_key(name) => {
                    let last = some(&mut rng);
                    db.xgroup("s", name, Id::new(last, 0));
                    model.groups.insert(name.into(), Group { last, ..Group::default() });
                }
                16..=18 => {
                    let Some(group) = model.groups.get_mut(name) else { continue };
                    let count = 1 + rng.below(5);
                    let found = db.xtake("s", name, consumer, Some(count));
                    let new = model.entries.range(group.last + 1..).take(count as usize);
                    let expected: Vec<u64> = new.map(|(&ms, _)| ms).collect();
                    assert_eq!(found, expected);
                    for ms in expected {
                        group.last = ms;
                        group.pending.insert(ms, (consumer.into(), 1));
                    }
                }
                19..=20 => {
                    let Some(group) = model.groups.get_mut(name) else { continue };
                    let ids = [rng.below(model.last + 2), rng.below(model.last + 2)];
                    let acked = ids.iter().filter(|ms| group.pending.remove(ms).is_some()).count();
                    assert_eq!(db.xack("s", name, &ids), acked as u64);
                }
                21 => {
                    let Some(group) = model.groups.get_mut(name) else { continue };
                    let found = db.xagain("s", name, consumer);
                    let mut expected = Vec::new();
                    for (&ms, (owner, deliveries)) in &mut group.pending {
                        if owner == consumer {
                            let there = model.entries.contains_key(&ms);
                            *deliveries += u64::from(there);
                            expected.push((ms, there));
                        }
                    }
                    assert_eq!(found, expected);
                }
                22 => {
                    let Some(group) = model.groups.get_mut(name) else { continue };
                    let mut found = Vec::new();
                    let (_, gone) = db
                        .xon("s", |w, key| {
                            let (group, consumer) = (name.as_bytes(), consumer.as_bytes());
                            let most = 1 << 30;
                            claim_idle(
                                w,
                                key,
                                group,
                                consumer,
                                0,
                                Id::MIN,
                                most,
                                false,
                                &mut |id, _| {
                                    found.push(id.ms);
                                    Ok(())
                                },
                            )
                        })
                        .unwrap();
                    let gone: Vec<u64> = gone.iter().map(|id| id.ms).collect();
                    let there = |ms: &u64| model.entries.contains_key(ms);
                    let expected: Vec<u64> = group.pending.keys().copied().filter(there).collect();
                    assert_eq!(found, expected);
                    assert_eq!(gone.len() + found.len(), group.pending.len());
                    group.pending.retain(|ms, _| there(ms));
                    for pending in group.pending.values_mut() {
                        *pending = (consumer.into(), pending.1 + 1);
                    }
                }
                _ if step % 100 == 99 => db.reopen(),
                _ => {
                    if rng.below(40) == 0 {
                        let there = model.groups.remove(name).is_some();
                        let gone = db.xon("s", |w, key| destroy_group(w, key, name.as_bytes()));
                        assert_eq!(gone.unwrap(), there);
                    }
                }
            }
            if step % 25 == 0 {
                check(&mut db, &model, &mut rng);
            }
        }
        check(&mut db, &model, &mut rng);
        // Nothing is left that nobody knows of.
        for name in ["g", "h"] {
            db.xon("s", |w, key| destroy_group(w, key, name.as_bytes())).unwrap();
        }
        db.xtrim("s", Excess::Longer(0), false);
        assert!(db.records(crate::record::SPACE_ELEMENT) <= 1, "the root");
    }
}

#[test]
fn cold_blocks_are_asked_for_together() {
    let mut db = Db::new();
    db.xfill("s", 1..=3000);
    db.xgroup("s", "g", Id::MIN);
    db.xtake("s", "g", "c", Some(1000));
    db.reopen();
    let key = db.key("s");
    let key = Key { name: b"s", ..key };
    // In the middle: what lies there, not what lies before.
    let (found, _) = db.run_cold(|w| {
        let mut found = Vec::new();
        range(w, key, (Id::new(1500, 0), Id::new(1510, 0)), false, Some(3), &mut |id, _| {
            found.push(id.ms);
            Ok(())
        })?;
        Ok(found)
    });
    assert_eq!(found, [1500, 1501, 1502]);
    let ids: Vec<Id> = (0..20).map(|n| Id::new(n * 100 + 50, 0)).collect();
    let (acked, runs) = db.run_cold(|w| ack(w, key, b"g", &ids));
    assert_eq!(acked, 10);
    assert!(runs < 12, "{runs}");
    db.reopen();
    let (deleted, runs) = db.run_cold(|w| delete(w, key, &ids));
    assert_eq!(deleted, 20);
    assert!(runs < 16, "{runs}");
    db.reopen();
    let (trimmed, _) = db.run_cold(|w| {
        let excess = Excess::Longer(100);
        trim(w, key, &Trim { excess, approximate: false, limit: None, refs: Refs::Keep })
    });
    assert_eq!(trimmed, 2880);
    assert_eq!(db.xtimes("s").len(), 100);
}
