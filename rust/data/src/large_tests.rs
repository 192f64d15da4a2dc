//! Copies of large values while their source changes, is lost, or the process dies.

use super::*;
use crate::keys;
use crate::testing::Db;
use forgekv_base::rng::Rng;

/// A hash of about `n` times 300 bytes.
fn load(db: &mut Db, name: &str, n: u32) {
    for first in (0..n).step_by(500) {
        let key = db.key(name);
        let pairs: Vec<Vec<u8>> = (first..n.min(first + 500))
            .flat_map(|i| [format!("field {i}").into_bytes(), vec![i as u8; 300]])
            .collect();
        let pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
        db.run(|w| hash::set(w, key, &pairs)).unwrap();
    }
}

fn is_prepare<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Again(EngineError::Busy(PREPARE))))
}

/// One attempt at a command with this seed.
fn attempt<T>(db: &mut Db, seed: u64, f: impl FnOnce(&mut Write<'_>) -> Result<T>) -> Result<T> {
    let before = std::mem::replace(&mut db.seed, seed - 1);
    let result = db.run(f);
    db.seed = before;
    result
}

fn fields(db: &mut Db, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let key = db.key(name);
    let found = db.run(|w| {
        let mut all = Vec::new();
        if let Some(generation) = w.header(key)?.and_then(|h| h.generation()) {
            let all_of_it = (Bound::Unbounded, Bound::Unbounded);
            w.scan_elements(
                key,
                generation,
                all_of_it.0,
                all_of_it.1,
                false,
                &mut |sub, value| {
                    all.push((sub.to_vec(), value.to_vec()));
                    Ok(ControlFlow::Continue(()))
                },
            )?;
        }
        Ok(all)
    });
    found.unwrap()
}

fn ours(db: &Db, seed: u64) -> Which {
    let copies = db.store().large().copies.lock();
    copies.iter().find(|copy| copy.which.command == seed).unwrap().which.clone()
}

#[test]
fn a_source_that_changes_is_copied_as_it_is_in_the_end() {
    for round in 0..6u64 {
        let mut db = Db::new();
        let mut rng = Rng::seeded(round);
        load(&mut db, "source", 6000);
        let (from, to) = (db.key("source"), db.key("target"));
        let seed = 1 << 40;
        let rename = round % 2 == 0 && from.shard() != to.shard();
        let run = |db: &mut Db| {
            attempt(db, seed, |w| {
                if rename {
                    keys::rename(w, from, to, false)
                } else {
                    keys::copy(w, from, to, 0, true)
                }
            })
        };
        assert!(is_prepare(&run(&mut db)));
        let which = ours(&db, seed);
        let hidden = db.store().hidden().unwrap();
        let mut pieces = 0;
        while !db.store().prepare_piece(&which, hidden).unwrap() {
            pieces += 1;
            // Many at first, so that some are copied again by the next steps.
            for _ in 0..if pieces < 10 { 40 } else { 2 } {
                let field = format!("field {}", rng.below(6500)).into_bytes();
                let value = vec![rng.below(256) as u8; rng.below(400) as usize];
                if rng.below(3) == 0 {
                    db.run(|w| hash::delete(w, from, &[field.as_slice()])).unwrap();
                } else {
                    db.run(|w| hash::set(w, from, &[field.as_slice(), value.as_slice()])).unwrap();
                }
            }
            if pieces % 9 == 0 {
                db.compact();
            }
        }
        assert!(pieces > 20, "{pieces}");
        assert_eq!(fields(&mut db, "target"), []);
        db.run(|w| hash::set(w, from, &[&b"last"[..], b"moment"])).unwrap();
        let expected = fields(&mut db, "source");
        assert!(run(&mut db).unwrap());
        drop(db.store().preparations(seed));
        assert_eq!(db.store().large().count.load(Ordering::Relaxed), 0);
        assert_eq!(fields(&mut db, "target"), expected);
        assert_eq!(fields(&mut db, "source").len(), if rename { 0 } else { expected.len() });
        db.reopen();
        db.compact();
        db.compact();
        assert_eq!(fields(&mut db, "target"), expected);
        assert_eq!(db.count(), if rename { 1 } else { 2 });
        let elements = expected.len() + 1;
        let all = if rename { elements } else { 2 * elements };
        assert_eq!(db.records(record::SPACE_ELEMENT), all, "nothing else is left");
    }
}

#[test]
fn what_is_not_published_leaves_nothing_behind() {
    for dies in [false, true] {
        let mut db = Db::new();
        load(&mut db, "source", 3000);
        let (from, to) = (db.key("source"), db.key("target"));
        let seed = 1 << 40;
        let copy = |w: &mut Write<'_>| keys::copy(w, from, to, 0, false);
        assert!(is_prepare(&attempt(&mut db, seed, copy)));
        let (which, hidden) = (ours(&db, seed), db.store().hidden().unwrap());
        for _ in 0..5 {
            assert!(!db.store().prepare_piece(&which, hidden).unwrap());
        }
        db.compact();
        assert!(db.records(record::SPACE_ELEMENT) > 3500, "compaction leaves it alone");
        if !dies {
            // The source goes, and the command with it.
            db.store().prepare(seed).unwrap();
            db.run(|w| keys::delete(w, from)).unwrap();
            assert!(!attempt(&mut db, seed, copy).unwrap());
            drop(db.store().preparations(seed));
        }
        db.reopen();
        db.compact();
        db.compact();
        assert_eq!(db.records(record::SPACE_ELEMENT), if dies { 3001 } else { 0 });
        assert_eq!(db.count(), u64::from(dies));
    }
}
