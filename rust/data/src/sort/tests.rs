use super::*;
use crate::list::End;
use crate::testing::{Db, text};
use forgekv_base::rng::Rng;

impl Db {
    fn rpush(&mut self, name: &str, items: &[String]) {
        let key = self.key(name);
        let items: Vec<&[u8]> = items.iter().map(|item| item.as_bytes()).collect();
        self.run(|w| list::push(w, key, End::Right, &items, false)).unwrap();
    }

    fn sorted(&mut self, name: &str, how: &Sort<'_>) -> Result<Vec<String>> {
        let key = self.key(name);
        let mut found = Vec::new();
        self.run(|w| {
            sort(w, key, how, &mut |answer| {
                found.push(answer.map_or("none".into(), text));
                Ok(())
            })
        })?;
        Ok(found)
    }
}

#[test]
fn patterns_come_apart() {
    let parts = |text: &'static str| {
        let Pattern { text, star, field } = Pattern::new(text.as_bytes());
        (std::str::from_utf8(text).unwrap(), star, field.map(|f| std::str::from_utf8(f).unwrap()))
    };
    assert_eq!(parts("w_*"), ("w_*", Some(2), None));
    assert_eq!(parts("h_*->f"), ("h_*", Some(2), Some("f")));
    assert_eq!(parts("h_*x->f->g"), ("h_*x", Some(2), Some("f->g")));
    assert_eq!(parts("h_*->"), ("h_*->", Some(2), None));
    assert_eq!(parts("h->x_*"), ("h->x_*", Some(5), None));
    assert_eq!(parts("nosort"), ("nosort", None, None));
    assert!(Pattern::new(b"#").is_element() && !Pattern::new(b"#x").is_element());
}

#[test]
fn windows_are_cut() {
    assert_eq!(window(None, 5), (0, 5));
    assert_eq!(window(Some((1, 2)), 5), (1, 2));
    assert_eq!(window(Some((3, 9)), 5), (3, 2));
    assert_eq!(window(Some((9, 9)), 5), (5, 0));
    assert_eq!(window(Some((-1, -1)), 5), (0, 5));
    assert_eq!(window(Some((i64::MAX, i64::MAX)), 5), (5, 0));
}

#[test]
fn sorts_as_a_sorted_vector() {
    let mut db = Db::new();
    let mut rng = Rng::seeded(6);
    for n in [10, 700] {
        let name = n.to_string();
        let mut values: Vec<i64> = (0..n).map(|_| rng.below(500) as i64 - 250).collect();
        let items: Vec<String> = values.iter().map(i64::to_string).collect();
        db.rpush(&name, &items);
        for round in 0..20 {
            let descending = round % 2 == 1;
            let limit = (round > 4).then(|| (rng.below(n) as i64, rng.below(40) as i64 - 1));
            values.sort_unstable();
            if descending {
                values.reverse();
            }
            let (start, count) = window(limit, n as usize);
            let expected: Vec<String> =
                values.iter().skip(start).take(count).map(i64::to_string).collect();
            let how = Sort { descending, limit, ..Sort::default() };
            assert_eq!(db.sorted(&name, &how).unwrap(), expected);
            let mut texts = items.clone();
            texts.sort();
            if descending {
                texts.reverse();
            }
            let expected: Vec<String> = texts.into_iter().skip(start).take(count).collect();
            let how = Sort { alpha: true, ..how };
            assert_eq!(db.sorted(&name, &how).unwrap(), expected);
        }
    }
}

#[test]
fn cold_keys_are_looked_up_together() {
    let mut db = Db::new();
    let names: Vec<String> = (0..300).map(|n| format!("m{n}")).collect();
    let words: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let key = db.key("s");
    db.run(|w| set::add(w, key, &words)).unwrap();
    for (n, name) in names.iter().enumerate() {
        let (weight, hash) = (format!("w_{name}"), format!("h_{name}"));
        let (weight, hash) = (db.key(&weight), db.key(&hash));
        let number = (1000 - n).to_string();
        db.run(|w| string::set(w, weight, number.as_bytes(), None)).unwrap();
        db.run(|w| hash::set(w, hash, &[b"f", name.as_bytes()])).unwrap();
    }
    db.compact();
    db.reopen();
    let how = Sort {
        by: Some(Pattern::new(b"w_*")),
        get: vec![Pattern::new(b"h_*->f"), Pattern::new(b"#")],
        limit: Some((0, 100)),
        ..Sort::default()
    };
    let (found, runs) = db.run_cold(|w| {
        let mut found = Vec::new();
        sort(w, key, &how, &mut |answer| {
            found.push(answer.map(text));
            Ok(())
        })?;
        Ok(found)
    });
    let expected: Vec<_> = names
        .iter()
        .rev()
        .take(100)
        .flat_map(|name| [Some(name.clone()), Some(name.clone())])
        .collect();
    assert_eq!(found, expected);
    assert!(runs <= 12, "{runs}");
    let to = db.key("to");
    assert_eq!(db.run(|w| store(w, key, to, &how)).unwrap(), 200);
    assert_eq!(db.events, ["new:to@0", "sortstore:to@0"]);
    let none = db.key("none");
    assert_eq!(db.run(|w| store(w, none, to, &how)).unwrap(), 0);
    assert_eq!(db.events, ["keymiss:none@0", "del:to@0"]);
}

#[test]
fn what_is_no_number_is_refused() {
    let mut db = Db::new();
    db.rpush("l", &["1".into(), "x".into()]);
    let told = db.sorted("l", &Sort::default()).unwrap_err().to_string();
    assert_eq!(told, "ERR One or more scores can't be converted into double");
    let key = db.key("str");
    db.run(|w| string::set(w, key, b"v", None)).unwrap();
    assert!(matches!(db.sorted("str", &Sort::default()), Err(Error::WrongType)));
}
