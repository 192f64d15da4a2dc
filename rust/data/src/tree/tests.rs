use super::*;
use crate::header::{Header, Kind, encoding, exploded_body};
use crate::testing::Db;
use forgekv_base::rng::Rng;
use std::ops::{Bound, ControlFlow};

#[path = "tests/measure.rs"]
mod measure;

const NAME: &str = "tree";

fn load(r: &mut Read<'_>, key: Key<'_>, order: Order) -> Result<Tree> {
    let header = r.header(key)?.unwrap();
    let (generation, len, state) = header.exploded()?;
    Tree::decode(order, generation, len, state)
}

fn save(w: &mut Write<'_>, key: Key<'_>, tree: &Tree) {
    let body = exploded_body(tree.generation(), tree.len(), &tree.encode());
    let encoding = encoding::EXPLODED;
    w.put_header(key, &Header { kind: Kind::List, encoding, expire_ms: None, body: &body }, None);
}

/// A tree under a key of its own, and what should be in it.
struct Subject {
    db: Db,
    order: Order,
    model: Vec<Vec<u8>>,
}

impl Subject {
    fn new(order: Order) -> Subject {
        let mut subject = Subject { db: Db::new(), order, model: Vec::new() };
        subject.plant();
        subject
    }

    /// An empty tree.
    fn plant(&mut self) {
        let (key, order) = (self.db.key(NAME), self.order);
        self.db
            .run(|w| {
                let generation = w.new_generation(key);
                save(w, key, &Tree::new(order, generation));
                Ok(())
            })
            .unwrap();
    }

    fn change<T>(
        &mut self,
        f: impl Fn(&mut Tree, &mut Write<'_>, Key<'_>) -> Result<T>,
    ) -> (T, u32) {
        let (key, order) = (self.db.key(NAME), self.order);
        self.db.run_cold(|w| {
            let mut tree = load(w, key, order)?;
            let answer = f(&mut tree, w, key)?;
            save(w, key, &tree);
            Ok(answer)
        })
    }

    fn see<T>(&mut self, f: impl Fn(&Tree, &mut Read<'_>, Key<'_>) -> Result<T>) -> T {
        let (key, order) = (self.db.key(NAME), self.order);
        self.db.run_cold(|w| f(&load(w, key, order)?, w, key)).0
    }

    fn insert(&mut self, at: usize, items: &[Vec<u8>]) {
        let words: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        self.change(|tree, w, key| tree.insert(w, key, at as u64, &words));
        self.model.splice(at..at, items.iter().cloned());
    }

    fn remove(&mut self, at: usize, n: usize) {
        self.change(|tree, w, key| tree.remove(w, key, at as u64, n as u64));
        self.model.drain(at..(at + n).min(self.model.len()));
    }

    fn walk(&mut self, from: usize, most: usize, reverse: bool) -> Vec<Vec<u8>> {
        self.see(|tree, r, key| {
            let mut seen = Vec::new();
            tree.walk(r, key, from as u64, most as u64, reverse, &mut |item| {
                seen.push(item.to_vec());
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(seen)
        })
    }

    /// Compares all of it, and looks at the tree from inside.
    fn check(&mut self) {
        let all = self.walk(0, usize::MAX, false);
        assert_eq!(all.len(), self.model.len());
        assert!(all == self.model);
        let mut back = self.walk(self.model.len().saturating_sub(1), usize::MAX, true);
        back.reverse();
        assert!(back == self.model);
        let (key, order) = (self.db.key(NAME), self.order);
        let (reached, there) = self
            .db
            .run(|w| {
                let tree = load(w, key, order)?;
                let reached = if tree.len() == 0 {
                    0
                } else {
                    inspect(&tree, w, key, tree.root, tree.height, None)?.1
                };
                let mut there = 0;
                let any = (Bound::Unbounded, Bound::Unbounded);
                w.scan_elements(key, tree.generation(), any.0, any.1, false, &mut |_, _| {
                    there += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok((reached, there))
            })
            .unwrap();
        assert_eq!(reached, there, "records that nobody can reach");
    }

    fn records(&mut self) -> usize {
        let (key, order) = (self.db.key(NAME), self.order);
        self.db
            .run(|w| {
                let tree = load(w, key, order)?;
                let mut n = 0;
                let any = (Bound::Unbounded, Bound::Unbounded);
                w.scan_elements(key, tree.generation(), any.0, any.1, false, &mut |_, _| {
                    n += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(n)
            })
            .unwrap()
    }
}

/// Checks a node and what is below it: how many items and records there are.
fn inspect(
    tree: &Tree,
    r: &mut Read<'_>,
    key: Key<'_>,
    id: u64,
    level: u8,
    separator: Option<&[u8]>,
) -> Result<(u64, usize)> {
    if level == 0 {
        let leaf = tree.record(r, key, LEAF, id)?;
        let items = row::items(leaf)?;
        assert!(leaf.len() <= leaf::LEAF_MAX || items.len() == 1);
        if tree.order == Order::Sorted {
            assert!(items.is_sorted());
            assert!(separator.is_none_or(|s| items.first().is_some_and(|first| s <= *first)));
        }
        return Ok((items.len() as u64, 1));
    }
    let node = tree.node(r, key, id, level)?.0;
    assert!(node.weight() <= node::NODE_MAX);
    let mut sums = (0, 2);
    for (n, child) in node.children.iter().enumerate() {
        let separator = if n == 0 { separator } else { Some(child.separator.as_slice()) };
        let below = inspect(tree, r, key, child.id, level - 1, separator)?;
        assert_eq!(below.0, child.count);
        assert!(below.0 > 0);
        sums = (sums.0 + below.0, sums.1 + below.1);
    }
    Ok(sums)
}

fn item(rng: &mut Rng, max: u64) -> Vec<u8> {
    let len = if rng.below(300) == 0 { 3000 } else { rng.below(max) };
    (0..len).map(|_| b'a' + rng.below(3) as u8).collect()
}

#[test]
fn behaves_like_a_vector() {
    for round in 0..4u64 {
        let mut rng = Rng::seeded(round + 1);
        let mut subject = Subject::new(Order::Given);
        let max = [10, 60, 400, 100][round as usize];
        for step in 0..1200 {
            let len = subject.model.len();
            let at = rng.below(len as u64 + 1) as usize;
            let growing = (step / 300) % 2 == 0;
            match rng.below(12) {
                0..=3 => subject.insert(at, &[item(&mut rng, max)]),
                4 => subject.insert([0, len][at % 2], &[item(&mut rng, max)]),
                5 if growing => {
                    let many = rng.below(300);
                    let many: Vec<_> = (0..many).map(|_| item(&mut rng, max)).collect();
                    subject.insert([0, len, at][step % 3], &many);
                }
                5..=7 if at < len => subject.remove(at, 1),
                8 if at < len => {
                    let most = if growing { 20 } else { len as u64 };
                    subject.remove(at, rng.below(most.max(1)) as usize);
                }
                9 if at < len => {
                    let new = item(&mut rng, max);
                    subject.change(|tree, w, key| tree.replace(w, key, at as u64, &new));
                    subject.model[at] = new;
                }
                10 if step % 2 == 0 => {
                    let mut ranges = Vec::new();
                    let mut end = 0;
                    while ranges.len() < 40 {
                        let start = end + 1 + rng.below(len as u64 / 30 + 1);
                        end = start + 1 + rng.below(5);
                        if end > len as u64 {
                            break;
                        }
                        ranges.push(start..end);
                    }
                    subject.change(|tree, w, key| tree.remove_ranges(w, key, &ranges));
                    for range in ranges.into_iter().rev() {
                        subject.model.drain(range.start as usize..range.end as usize);
                    }
                }
                10 => {
                    let found =
                        subject.see(|t, r, k| t.get(r, k, at as u64, |i| i.map(<[u8]>::to_vec)));
                    assert_eq!(found.as_ref(), subject.model.get(at));
                }
                _ => {
                    let most = rng.below(100) as usize;
                    let seen = subject.walk(at, most, false);
                    assert!(seen.iter().eq(subject.model.iter().skip(at).take(most)));
                    let seen = subject.walk(at, most, true);
                    let end = if at < len { at + 1 } else { 0 };
                    assert!(seen.iter().eq(subject.model[..end].iter().rev().take(most)));
                }
            }
            if step % 100 == 99 {
                subject.check();
                subject.db.reopen();
            }
        }
        let len = subject.model.len();
        subject.remove(0, len);
        subject.check();
        assert_eq!(subject.records(), 0);
    }
}

#[test]
fn behaves_like_a_sorted_vector() {
    for round in 0..4u64 {
        let mut rng = Rng::seeded(round + 1);
        let mut subject = Subject::new(Order::Sorted);
        let draw = |rng: &mut Rng| match round {
            0 => rng.below(5000).to_string().into_bytes(),
            // Long ones that differ late.
            1 => format!("{}{:05}", "x".repeat(600), rng.below(5000)).into_bytes(),
            2 => rng.below(1 << 20).to_be_bytes().to_vec(),
            _ => item(rng, 200),
        };
        for step in 0..2500 {
            let probe = draw(&mut rng);
            let place = subject.model.binary_search(&probe);
            let growing = (step / 500) % 2 == 0;
            let known = subject.model.get(rng.below(5000) as usize % subject.model.len().max(1));
            let known = known.cloned().unwrap_or_default();
            match rng.below(if growing { 8 } else { 12 }) {
                0..=4 => {
                    let added = subject.change(|t, w, k| t.insert_sorted(w, k, &probe)).0;
                    assert_eq!(added, place.is_err());
                    if let Err(at) = place {
                        subject.model.insert(at, probe);
                    }
                }
                5 => {
                    let found = subject.see(|t, r, k| {
                        Ok((t.lower_bound(r, k, &probe)?, t.position(r, k, &probe)?))
                    });
                    let at = place.unwrap_or_else(|at| at) as u64;
                    assert_eq!(found, (at, place.is_ok().then_some(at)));
                }
                6 => {
                    // To a place nearby, or far away.
                    let mut new = known.clone();
                    new.push(b'!');
                    let new = if step % 2 == 0 { probe } else { new };
                    if subject.model.binary_search(&new).is_err() {
                        let there = subject.model.binary_search(&known);
                        let done = subject.change(|t, w, k| t.replace_sorted(w, k, &known, &new)).0;
                        assert_eq!(done, there.is_ok());
                        if let Ok(at) = there {
                            subject.model.remove(at);
                            let at = subject.model.binary_search(&new).unwrap_err();
                            subject.model.insert(at, new);
                        }
                    }
                }
                7 | 8 => {
                    let place = subject.model.binary_search(&known);
                    let removed = subject.change(|t, w, k| t.remove_sorted(w, k, &known)).0;
                    assert_eq!(removed, place.is_ok());
                    if let Ok(at) = place {
                        subject.model.remove(at);
                    }
                }
                9 => {
                    let at = place.unwrap_or_else(|at| at).min(subject.model.len());
                    subject.remove(at, rng.below(60) as usize);
                }
                _ => {
                    let removed = subject.change(|t, w, k| t.remove_sorted(w, k, &probe)).0;
                    assert_eq!(removed, place.is_ok());
                    if let Ok(at) = place {
                        subject.model.remove(at);
                    }
                }
            }
            if step % 250 == 249 {
                subject.check();
                subject.db.reopen();
            }
        }
    }
}

#[test]
fn what_is_loaded_at_once_fills_its_leaves() {
    let mut subject = Subject::new(Order::Sorted);
    let items: Vec<_> = (0..20_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    subject.insert(0, &items);
    subject.check();
    // 5 bytes each.
    assert!(subject.records() < 110, "{}", subject.records());
    // One after the other, at either end.
    let mut subject = Subject::new(Order::Given);
    for n in 0..2000 {
        subject.insert(if n % 2 == 0 { 0 } else { n }, &[vec![b'x'; 50]]);
    }
    subject.check();
    assert!(subject.records() < 115, "{}", subject.records());
}

#[test]
fn a_queue_does_not_decay() {
    let mut subject = Subject::new(Order::Given);
    let mut rng = Rng::seeded(5);
    for n in 0..20 {
        let items: Vec<_> = (0..500).map(|_| item(&mut rng, 40)).collect();
        let len = subject.model.len();
        subject.insert(len, &items);
        if n > 2 {
            for _ in 0..100 {
                subject.remove(0, 5);
            }
        }
    }
    subject.check();
    let bytes: usize = subject.model.iter().map(|item| row::size(item)).sum();
    assert!(subject.records() < 2 * bytes / leaf::LEAF_MAX, "{}", subject.records());
}

#[test]
fn a_leaderboard_does_not_decay() {
    let mut subject = Subject::new(Order::Sorted);
    let mut rng = Rng::seeded(5);
    let member = |rng: &mut Rng, n: u64| {
        [&rng.below(1 << 40).to_be_bytes()[..], &n.to_be_bytes()[..]].concat()
    };
    for n in 0..2000 {
        let new = member(&mut rng, n);
        subject.change(|t, w, k| t.insert_sorted(w, k, &new));
        let at = subject.model.binary_search(&new).unwrap_err();
        subject.model.insert(at, new);
    }
    for n in 0..6000 {
        let (old, new) = (subject.model[n * 7 % 2000].clone(), member(&mut rng, n as u64));
        assert!(subject.change(|t, w, k| t.replace_sorted(w, k, &old, &new)).0);
        subject.model.retain(|item| *item != old);
        let at = subject.model.binary_search(&new).unwrap_err();
        subject.model.insert(at, new);
    }
    subject.check();
    let full = 2000 * 17 / leaf::LEAF_MAX;
    assert!(subject.records() < full * 5 / 2, "{} of {full}", subject.records());
}

#[test]
fn cold_blocks_come_in_few_rounds() {
    let mut subject = Subject::new(Order::Given);
    let items: Vec<_> = (0..30_000u32).map(|n| format!("item {n:020}").into_bytes()).collect();
    subject.insert(0, &items);
    subject.db.compact();
    subject.db.reopen();
    let key = subject.db.key(NAME);
    let (seen, runs) = subject.db.run_cold(|w| {
        let tree = load(w, key, Order::Given)?;
        let mut seen = 0;
        tree.walk(w, key, 10_000, 1000, false, &mut |_| {
            seen += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seen)
    });
    assert_eq!(seen, 1000);
    assert!(runs <= 10, "{runs}");
    subject.db.reopen();
    let ((), runs) = subject.change(|tree, w, key| tree.remove(w, key, 100, 29_800));
    subject.model.drain(100..29_900);
    assert!(runs <= 10, "{runs}");
    subject.check();
}

#[test]
fn a_record_that_is_missing_is_damage() {
    let mut subject = Subject::new(Order::Given);
    subject.insert(0, &[b"item".to_vec()]);
    let key = subject.db.key(NAME);
    let failed = subject.db.run(|w| {
        let tree = load(w, key, Order::Given)?;
        w.delete_element(key, tree.generation(), &sub_key(LEAF, tree.root));
        tree.get(w, key, 0, |_| ())
    });
    assert!(matches!(failed, Err(Error::Engine(_))));
    assert!(Tree::decode(Order::Given, 1, 1, &[0; STATE - 1]).is_err());
}
