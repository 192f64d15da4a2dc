use super::*;
use crate::error::Error;
use crate::testing::Db;
use forgekv_base::rng::Rng;

/// The bit of a value, zeros beyond its end.
fn bit(value: &[u8], at: u64) -> bool {
    value.get((at / 8) as usize).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

impl Db {
    fn put(&mut self, name: &str, value: &[u8]) {
        let key = self.key(name);
        self.run(|w| string::set(w, key, value, None)).unwrap();
    }

    fn value(&mut self, name: &str) -> Vec<u8> {
        let key = self.key(name);
        self.run(|w| Ok(string::get_all(w, key)?.unwrap_or_default().into_owned())).unwrap()
    }
}

#[test]
fn bits_are_set_and_found() {
    let mut rng = Rng::seeded(4);
    for size in [40u64, 3000, 40_000, 300_000] {
        let mut db = Db::new();
        let key = db.key("b");
        let mut model: Vec<u8> = Vec::new();
        for step in 0..400 {
            if step % 100 == 99 {
                db.reopen();
            }
            let at = rng.below(size * 8);
            let on = rng.below(2) == 1;
            let before = bit(&model, at);
            let byte = (at / 8) as usize;
            let (len, grown) = (model.len(), model.len() <= byte);
            model.resize(len.max(byte + 1), 0);
            if on {
                model[byte] |= 0x80 >> (at % 8);
            } else {
                model[byte] &= !(0x80 >> (at % 8));
            }
            assert_eq!(db.run(|w| set(w, key, at, on)).unwrap(), before);
            let events: &[&str] = match (len, before != on || grown) {
                (0, _) => &["new:b@0", "setbit:b@0"],
                (_, true) => &["setbit:b@0"],
                (_, false) => &[],
            };
            assert_eq!(db.events, events);
            let other = rng.below(size * 9);
            assert_eq!(db.run(|w| get(w, key, other)).unwrap(), bit(&model, other));
            if step % 20 == 0 {
                let (a, b) = (rng.below(size * 9), rng.below(size * 9));
                let bits = a.min(b)..a.max(b);
                let ones = bits.clone().filter(|at| bit(&model, *at)).count() as u64;
                assert_eq!(db.run(|w| count(w, key, bits.clone())).unwrap(), ones, "{bits:?}");
                for wanted in [false, true] {
                    let end = bits.end.min(8 * model.len() as u64);
                    let first = (bits.start..end).find(|at| bit(&model, *at) == wanted);
                    let cut = bits.start..end;
                    let found = db.run(|w| position(w, key, wanted, cut)).unwrap();
                    assert_eq!(found, first, "{bits:?}");
                }
            }
        }
        assert_eq!(db.value("b"), model);
    }
}

#[test]
fn far_bits_cost_little() {
    let mut db = Db::new();
    let key = db.key("b");
    db.put("b", &[0xff; 200_000]);
    let staged = db
        .run(|w| {
            set(w, key, 4_000_000_000, true)?;
            set(w, key, 77, false)?;
            Ok(w.staged_bytes())
        })
        .unwrap();
    assert!(staged < 40_000, "{staged}");
    assert_eq!(db.run(|w| count(w, key, 0..u64::MAX - 7)).unwrap(), 8 * 200_000);
    assert_eq!(
        db.run(|w| position(w, key, true, 1_600_000..u64::MAX - 7)).unwrap(),
        Some(4_000_000_000)
    );
    // A small value that was changed in place before gives the log only the byte.
    db.put("s", &[1; 300]);
    let key = db.key("s");
    db.run(|w| set(w, key, 5, true)).unwrap();
    let staged = db.run(|w| set(w, key, 6, true).map(|_| w.staged_bytes())).unwrap();
    assert!(staged < 60, "{staged}");
    assert_eq!(db.value("s")[..2], [7, 1]);
}

#[test]
fn bitmaps_are_combined() {
    use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
    let mut rng = Rng::seeded(8);
    let mut db = Db::new();
    let mut values = Vec::new();
    for (name, len) in [("a", 10), ("b", 7), ("c", 5000), ("d", 150_000), ("e", 160_000)] {
        let mut value = vec![0; len];
        rng.fill(&mut value);
        if len == 150_000 {
            value[40_000..110_000].fill(0);
        }
        db.put(name, &value);
        values.push((name, value));
    }
    values.push(("none", Vec::new()));
    for _ in 0..60 {
        let n = 2 + rng.below(3) as usize;
        let chosen: Vec<_> =
            (0..n).map(|_| &values[rng.below(values.len() as u64) as usize]).collect();
        let operation = [And, Or, Xor, Not, Diff, Diff1, AndOr, One][rng.below(8) as usize];
        let chosen = if operation == Not { &chosen[..1] } else { &chosen[..] };
        let len = chosen.iter().map(|(_, value)| value.len()).max().unwrap();
        let expected: Vec<u8> = (0..len)
            .map(|at| {
                let bytes: Vec<u8> =
                    chosen.iter().map(|(_, v)| v.get(at).copied().unwrap_or(0)).collect();
                let others = bytes[1..].iter().fold(0, |all, byte| all | byte);
                match operation {
                    And => bytes.iter().fold(0xff, |all, byte| all & byte),
                    Or => bytes[0] | others,
                    Xor => bytes.iter().fold(0, |all, byte| all ^ byte),
                    Not => !bytes[0],
                    Diff => bytes[0] & !others,
                    Diff1 => others & !bytes[0],
                    AndOr => bytes[0] & others,
                    One => (0..8).fold(0, |all, bit| {
                        let ones = bytes.iter().filter(|byte| *byte >> bit & 1 == 1).count();
                        all | u8::from(ones == 1) << bit
                    }),
                }
            })
            .collect();
        let keys: Vec<Key<'_>> = chosen.iter().map(|(name, _)| db.key(name)).collect();
        let to = db.key("to");
        let n = db.run(|w| combine(w, operation, to, &keys)).unwrap();
        assert_eq!(n, len as u64);
        assert!(db.value("to") == expected, "{operation:?}");
    }
    // In place of a source; and nothing made of nothing.
    let (d, e) = (db.key("d"), db.key("e"));
    assert_eq!(db.run(|w| combine(w, Xor, d, &[d, e])).unwrap(), 160_000);
    assert_eq!(db.events, ["set:d@0"]);
    assert_eq!(db.run(|w| combine(w, Xor, d, &[d, e])).unwrap(), 160_000);
    let mut before = values[3].1.clone();
    before.resize(160_000, 0);
    assert!(db.value("d") == before);
    let none = db.key("none");
    assert_eq!(db.run(|w| combine(w, Or, d, &[none, none])).unwrap(), 0);
    assert_eq!(db.events, ["del:d@0"]);
    assert!(!db.get_raw("d"));
}

#[test]
fn large_bitmaps_are_combined_cold() {
    let mut db = Db::new();
    let mut rng = Rng::seeded(9);
    let values: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let mut value = vec![0; 300_000];
            rng.fill(&mut value);
            value
        })
        .collect();
    db.put("a", &values[0]);
    db.put("b", &values[1]);
    db.compact();
    db.reopen();
    let keys = [db.key("a"), db.key("b")];
    let to = db.key("to");
    let (len, _) = db.run_cold(|w| combine(w, Operation::And, to, &keys));
    assert_eq!(len, 300_000);
    let expected: Vec<u8> = values[0].iter().zip(&values[1]).map(|(a, b)| a & b).collect();
    assert!(db.value("to") == expected);
    db.compact();
    db.reopen();
    let (ones, _) = db.run_cold(|w| count(w, to, 0..2_400_000));
    assert_eq!(ones, expected.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>());
    let (before, runs) = db.run_cold(|w| set(w, keys[0], 1_000_000, true));
    assert_eq!(before, bit(&values[0], 1_000_000));
    assert!(runs <= 4, "{runs}");
}

#[test]
fn fields_are_integers_of_any_width() {
    use Overflow::{Fail, Saturate, Wrap};
    let mut db = Db::new();
    let key = db.key("f");
    let mut run = |signed, bits, offset, step| {
        let mut found = Vec::new();
        let field = Field { signed, bits, offset };
        db.run(|w| fields(w, key, &[(field, step)], &mut |value| found.push(value))).unwrap();
        found[0]
    };
    assert_eq!(run(false, 8, 0, Step::Set(255, Wrap)), Some(0));
    assert_eq!(run(false, 8, 0, Step::Get), Some(255));
    assert_eq!(run(true, 8, 0, Step::Get), Some(-1));
    assert_eq!(run(false, 8, 0, Step::Add(10, Wrap)), Some(9));
    assert_eq!(run(false, 8, 0, Step::Add(250, Saturate)), Some(255));
    assert_eq!(run(false, 8, 0, Step::Add(1, Fail)), None);
    assert_eq!(run(false, 8, 0, Step::Add(-256, Saturate)), Some(0));
    assert_eq!(run(false, 8, 0, Step::Set(-1, Wrap)), Some(0));
    assert_eq!(run(false, 8, 0, Step::Get), Some(255));
    assert_eq!(run(true, 64, 1000, Step::Set(i64::MIN, Wrap)), Some(0));
    assert_eq!(run(true, 64, 1000, Step::Add(-1, Wrap)), Some(i64::MAX));
    assert_eq!(run(true, 64, 1000, Step::Add(1, Saturate)), Some(i64::MAX));
    assert_eq!(run(true, 64, 1000, Step::Add(1, Fail)), None);
    assert_eq!(run(true, 1, 2000, Step::Set(1, Wrap)), Some(0));
    assert_eq!(run(true, 1, 2000, Step::Get), Some(-1));
    assert_eq!(run(true, 5, 3, Step::Set(-16, Saturate)), Some(-1));
    assert_eq!(run(true, 5, 3, Step::Set(-17, Saturate)), Some(-16));
    assert_eq!(run(true, 5, 3, Step::Set(-17, Wrap)), Some(-16));
    assert_eq!(run(true, 5, 3, Step::Get), Some(15));
    assert_eq!(run(false, 63, 9, Step::Set(i64::MAX, Wrap)).map(|old| old >= 0), Some(true));
    assert_eq!(run(false, 63, 9, Step::Get), Some(i64::MAX));
}

#[test]
fn fields_against_bits() {
    let mut rng = Rng::seeded(12);
    for far in [100, 100_000] {
        let mut db = Db::new();
        let key = db.key("f");
        for _ in 0..300 {
            let bits = 1 + rng.below(63) as u32;
            let signed = rng.below(2) == 1;
            let field = Field { signed, bits, offset: rng.below(far) };
            let value = (rng.next_u64() & ((1 << bits) - 1)) as i64;
            let before = db.value("f");
            let number = |value: &[u8]| {
                let bits = field.offset..field.offset + u64::from(bits);
                bits.fold(0, |all, at| all << 1 | u64::from(bit(value, at)))
            };
            let mut old = None;
            db.run(|w| {
                fields(w, key, &[(field, Step::Set(value, Overflow::Wrap))], &mut |v| old = v)
            })
            .unwrap();
            let after = db.value("f");
            assert_eq!(number(&after), value as u64);
            let mask = (1u64 << bits) - 1;
            assert_eq!(old.unwrap() as u64 & mask, number(&before));
            // Nothing else has changed.
            for at in 0..8 * before.len() as u64 {
                let inside = (field.offset..field.offset + u64::from(bits)).contains(&at);
                assert!(inside || bit(&before, at) == bit(&after, at));
            }
            assert_eq!(db.run(|w| field_get(w, key, field)).unwrap() as u64 & mask, value as u64);
            if far > 100 {
                break;
            }
        }
    }
}

#[test]
fn other_types_are_refused() {
    let mut db = Db::new();
    let (set_key, to) = (db.key("s"), db.key("to"));
    db.run(|w| crate::set::add(w, set_key, &[b"a"])).unwrap();
    let wrong = |result: Result<()>| assert!(matches!(result, Err(Error::WrongType)));
    wrong(db.run(|w| get(w, set_key, 1).map(drop)));
    wrong(db.run(|w| set(w, set_key, 1, true).map(drop)));
    wrong(db.run(|w| count(w, set_key, 0..8).map(drop)));
    wrong(db.run(|w| position(w, set_key, true, 0..8).map(drop)));
    wrong(db.run(|w| combine(w, Operation::Or, to, &[set_key]).map(drop)));
    let field = Field { signed: true, bits: 8, offset: 0 };
    wrong(db.run(|w| field_get(w, set_key, field).map(drop)));
    wrong(db.run(|w| fields(w, set_key, &[(field, Step::Get)], &mut |_| ())));
    // What is replaced may be of any type.
    db.put("a", b"x");
    let a = db.key("a");
    db.run(|w| combine(w, Operation::Or, set_key, &[a])).unwrap();
    assert_eq!(db.value("s"), b"x");
}
