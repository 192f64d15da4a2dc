use super::*;
use crate::testing::{Db, names, text};
use crate::{digest, keys};

fn words<'a>(words: &[&'a str]) -> Vec<&'a [u8]> {
    words.iter().map(|word| word.as_bytes()).collect()
}

/// Members in the order in which they are shown.
#[derive(Default)]
struct Seen {
    len: Option<u64>,
    members: Vec<(String, f64)>,
}

impl Visit for Seen {
    fn len(&mut self, len: u64) {
        *self = Seen { len: Some(len), members: Vec::new() };
    }

    fn member(&mut self, member: &[u8], score: f64) -> Result<()> {
        self.members.push((text(member), score));
        Ok(())
    }
}

impl Seen {
    fn all(self) -> Vec<(String, f64)> {
        assert_eq!(self.len, Some(self.members.len() as u64));
        self.members
    }
}

impl Db {
    fn zadd_if(&mut self, name: &str, conditions: Conditions, pairs: &[(f64, &str)]) -> Added {
        let key = self.key(name);
        let pairs = pairs.iter().map(|(score, member)| (*score, member.as_bytes()));
        self.run(|w| add(w, key, conditions, pairs)).unwrap()
    }

    fn zadd(&mut self, name: &str, pairs: &[(f64, &str)]) -> u64 {
        self.zadd_if(name, Conditions::default(), pairs).added
    }

    fn zincr(&mut self, name: &str, by: f64, member: &str) -> Result<Option<f64>> {
        let key = self.key(name);
        self.run(|w| increment(w, key, Conditions::default(), by, member.as_bytes()))
    }

    fn zrem(&mut self, name: &str, members: &[&str]) -> u64 {
        let key = self.key(name);
        self.run(|w| remove(w, key, &words(members))).unwrap()
    }

    fn zscore(&mut self, name: &str, member: &str) -> Option<f64> {
        let key = self.key(name);
        self.run(|w| score(w, key, member.as_bytes())).unwrap()
    }

    fn zrank(&mut self, name: &str, member: &str, reverse: bool) -> Option<(u64, f64)> {
        let key = self.key(name);
        self.run(|w| rank(w, key, member.as_bytes(), reverse)).unwrap()
    }

    fn zlen(&mut self, name: &str) -> u64 {
        let key = self.key(name);
        self.run(|w| len(w, key)).unwrap()
    }

    fn zrange(&mut self, name: &str, wanted: Range<'_>) -> Vec<(String, f64)> {
        let (key, mut seen) = (self.key(name), Seen::default());
        self.run(|w| range(w, key, &wanted, &mut seen)).unwrap();
        seen.all()
    }

    fn zall(&mut self, name: &str) -> Vec<(String, f64)> {
        self.zrange(name, Range::of(Span::Rank(0, -1)))
    }

    fn zpop(&mut self, name: &str, highest: bool, n: u64) -> Vec<(String, f64)> {
        let (key, mut seen) = (self.key(name), Seen::default());
        self.run(|w| pop(w, key, highest, n, &mut seen)).unwrap();
        seen.all()
    }

    fn zcut(&mut self, name: &str, span: Span<'_>) -> u64 {
        let key = self.key(name);
        self.run(|w| remove_range(w, key, &span, "cut")).unwrap()
    }

    fn zcount(&mut self, name: &str, span: Span<'_>) -> u64 {
        let key = self.key(name);
        self.run(|w| count_range(w, key, &span)).unwrap()
    }

    fn zencoding(&mut self, name: &str) -> &'static str {
        let key = self.key(name);
        self.run(|w| keys::encoding_name(w, key)).unwrap().unwrap_or("none")
    }

    fn zfill(&mut self, name: &str, from: usize, to: usize) {
        let members: Vec<String> = (from..to).map(|n| format!("m{n}")).collect();
        let pairs: Vec<(f64, &str)> =
            (from..to).map(|n| n as f64).zip(members.iter().map(String::as_str)).collect();
        self.zadd(name, &pairs);
    }

    fn zevents(&self, name: &str) -> Vec<&str> {
        let end = format!(":{name}@0");
        self.events.iter().filter_map(|event| event.strip_suffix(&end)).collect()
    }
}

fn pairs(of: &[(&str, f64)]) -> Vec<(String, f64)> {
    of.iter().map(|(member, score)| ((*member).to_owned(), *score)).collect()
}

#[test]
fn members_come_go_and_are_told() {
    let mut db = Db::new();
    assert_eq!(db.zadd("z", &[(2.0, "b"), (1.0, "a"), (2.0, "aa")]), 3);
    assert_eq!(db.zevents("z"), ["new", "zadd"]);
    assert_eq!(db.zall("z"), pairs(&[("a", 1.0), ("aa", 2.0), ("b", 2.0)]));
    // What changes nothing is neither written nor told.
    assert_eq!(db.zadd("z", &[(2.0, "b")]), 0);
    assert!(db.events.is_empty());
    db.zadd("z", &[(0.5, "b")]);
    assert_eq!(db.zevents("z"), ["zadd"]);
    assert_eq!(db.zincr("z", 2.0, "a").unwrap(), Some(3.0));
    assert_eq!(db.zevents("z"), ["zincr"]);
    assert_eq!(db.zrem("z", &["a", "x"]), 1);
    assert_eq!(db.zevents("z"), ["zrem"]);
    assert_eq!(db.zpop("z", true, 1), pairs(&[("aa", 2.0)]));
    assert_eq!(db.zevents("z"), ["zpopmax"]);
    assert_eq!(db.zcut("z", Span::Rank(0, 0)), 1);
    assert_eq!(db.zevents("z"), ["cut", "del"]);
    assert!(!db.get_raw("z"));
    assert_eq!(db.zincr("z", f64::INFINITY, "a").unwrap(), Some(f64::INFINITY));
    let wrong = db.zincr("z", f64::NEG_INFINITY, "a").unwrap_err().to_string();
    assert_eq!(wrong, "ERR resulting score is not a number (NaN)");
}

#[test]
fn nothing_is_staged_when_a_score_stays() {
    for n in [3, 400] {
        let mut db = Db::new();
        db.zfill("z", 0, n);
        let key = db.key("z");
        let staged = db
            .run(|w| {
                add(w, key, Conditions::default(), [(1.0, &b"m1"[..])].into_iter())?;
                increment(w, key, Conditions::default(), 0.0, b"m2")?;
                remove(w, key, &[b"nobody"])?;
                Ok(w.staged())
            })
            .unwrap();
        assert_eq!(staged, 0);
    }
}

#[test]
fn conditions() {
    for n in [0, 300] {
        let mut db = Db::new();
        db.zfill("z", 100, 100 + n);
        db.zadd("z", &[(10.0, "a"), (20.0, "b")]);
        let given = Conditions::default();
        let mut check = |conditions, pairs: &[(f64, &str)], added, updated| {
            assert_eq!(db.zadd_if("z", conditions, pairs), Added { added, updated });
        };
        let only_new = Conditions { only_new: true, ..given };
        check(only_new, &[(1.0, "a"), (5.0, "c")], 1, 0);
        let only_old = Conditions { only_old: true, ..given };
        check(only_old, &[(11.0, "a"), (5.0, "x")], 0, 1);
        let greater = Conditions { greater: true, ..given };
        check(greater, &[(10.0, "a"), (21.0, "b"), (6.0, "d")], 1, 1);
        let less = Conditions { less: true, only_old: true, ..given };
        check(less, &[(12.0, "a"), (20.0, "b"), (7.0, "e")], 0, 1);
        assert_eq!(db.zscore("z", "a"), Some(11.0));
        assert_eq!(db.zscore("z", "b"), Some(20.0));
        assert_eq!(db.zscore("z", "x"), None);
    }
}

#[test]
fn encodings_follow_the_limits() {
    let mut db = Db::new();
    db.zfill("z", 0, 128);
    assert_eq!(db.zencoding("z"), "listpack");
    db.zfill("z", 0, 129);
    assert_eq!(db.zencoding("z"), "skiplist");
    db.zcut("z", Span::Rank(0, 100));
    assert_eq!(db.zencoding("z"), "skiplist");
    db.zadd("long", &[(1.0, &"x".repeat(64))]);
    assert_eq!(db.zencoding("long"), "listpack");
    db.zadd("long", &[(1.0, &"x".repeat(65))]);
    assert_eq!(db.zencoding("long"), "skiplist");
    // Exploded for its size alone.
    db.limits.zset_max_listpack_value = 1000;
    for n in 0..20 {
        db.zadd("big", &[(f64::from(n), &n.to_string().repeat(450))]);
    }
    assert_eq!(db.zencoding("big"), "listpack");
    let key = db.key("big");
    assert!(db.run(|w| Ok(w.header(key)?.unwrap().is_exploded())).unwrap());
    db.zadd("big", &[(1.0, &"x".repeat(1001))]);
    assert_eq!(db.zencoding("big"), "skiplist");
}

#[test]
fn zeros_keep_their_signs_in_large_sets_only() {
    let mut db = Db::new();
    db.zadd("small", &[(-0.0, "a")]);
    assert!(db.zscore("small", "a").unwrap().is_sign_positive());
    db.zfill("large", 1, 300);
    db.zadd("large", &[(0.0, "b"), (-0.0, "a"), (-0.0, "c")]);
    let shown = db.zrange("large", Range::of(Span::Rank(0, 2)));
    assert_eq!(shown, pairs(&[("a", 0.0), ("b", 0.0), ("c", 0.0)]));
    let signs: Vec<bool> = shown.iter().map(|(_, score)| score.is_sign_negative()).collect();
    assert_eq!(signs, [true, false, true]);
    // One zero is as good as the other.
    assert_eq!(db.zadd_if("large", Conditions::default(), &[(0.0, "a")]), Added::default());
    assert!(db.zscore("large", "a").unwrap().is_sign_negative());
    assert_eq!(db.zrank("large", "c", false).unwrap().0, 2);
    assert_eq!(db.zpop("large", false, 1), pairs(&[("a", -0.0)]));
}

#[test]
fn what_is_removed_whole_leaves_nothing() {
    let mut db = Db::new();
    db.zfill("z", 0, 1000);
    assert_eq!(db.zcut("z", Span::Rank(0, -1)), 1000);
    assert!(!db.get_raw("z"));
    db.zfill("z", 0, 1000);
    assert_eq!(db.zpop("z", false, 5000).len(), 1000);
    assert!(!db.get_raw("z"));
    db.zfill("z", 0, 10);
    assert_eq!(db.zall("z").len(), 10);
    db.compact();
    assert_eq!(db.records(2), 0);
}

#[test]
fn copies_and_renames_keep_everything() {
    let mut db = Db::new();
    let (first, near, far) = names(&db);
    for n in [5, 1000] {
        db.zfill(&first, 0, n);
        let all = db.zall(&first);
        let key = db.key(&first);
        let before = db.run(|w| digest::value(w, key)).unwrap();
        let (a, b, c) = (db.key(&first), db.key(&near), db.key(&far));
        db.run(|w| keys::rename(w, a, b, false)).unwrap();
        db.run(|w| keys::rename(w, b, c, false)).unwrap();
        db.run(|w| keys::copy(w, c, a, 0, false)).unwrap();
        db.reopen();
        for name in [&first, &far] {
            assert_eq!(db.zall(name), all);
            let key = db.key(name);
            assert_eq!(db.run(|w| digest::value(w, key)).unwrap(), before);
            db.zadd(name, &[(0.5, "new")]);
            assert_eq!(db.zrank(name, "new", false), Some((1, 0.5)));
            let usage = db.run(|w| keys::usage(w, key, 5)).unwrap().unwrap();
            assert!((15..200).contains(&(usage / n as u64)), "{usage}");
            db.run(|w| keys::delete(w, key)).unwrap();
        }
    }
}

#[test]
fn scans_show_everything() {
    let mut db = Db::new();
    for n in [50, 1000] {
        db.zfill("z", 0, n);
        let (key, mut cursor, mut shown, mut steps) = (db.key("z"), 0, Vec::new(), 0);
        loop {
            cursor = db
                .run(|w| {
                    scan(w, key, cursor, 10, &mut |member, score| shown.push((text(member), score)))
                })
                .unwrap();
            steps += 1;
            if cursor == 0 {
                break;
            }
            assert!(cursor < 1 << 53);
        }
        shown.sort_by(|a, b| a.1.total_cmp(&b.1));
        assert_eq!(shown, db.zall("z"));
        assert!(if n == 50 { steps == 1 } else { (90..=101).contains(&steps) }, "{steps}");
    }
}

#[test]
fn cold_members_are_asked_for_together() {
    let mut db = Db::new();
    db.zfill("z", 0, 20_000);
    db.store().engine().sync().unwrap();
    db.reopen();
    let key = db.key("z");
    let given = Conditions::default();
    let members: Vec<String> = (0..40).map(|n| format!("m{}", n * 400)).collect();
    let members: Vec<&[u8]> = members.iter().map(String::as_bytes).collect();
    let mut found = Vec::new();
    let (_, runs) = db.run_cold(|w| {
        found.clear();
        scores(w, key, &members, &mut |score| found.push(score))
    });
    assert_eq!(found, (0..40).map(|n| Some(f64::from(n) * 400.0)).collect::<Vec<_>>());
    assert!(runs <= 3, "{runs}");
    db.reopen();
    let pairs = members.iter().map(|member| (0.5, *member));
    let (done, runs) = db.run_cold(|w| add(w, key, given, pairs.clone()));
    assert_eq!(done, Added { added: 0, updated: 40 });
    assert!(runs <= 60, "{runs}");
    db.reopen();
    let (found, runs) = db.run_cold(|w| rank(w, key, b"m15001", false));
    // The forty are at the front now.
    assert_eq!(found, Some((15_003, 15_001.0)));
    assert!(runs <= 8, "{runs}");
    db.reopen();
    let (removed, _) =
        db.run_cold(|w| remove_range(w, key, &Span::Rank(10, -10), "zremrangebyrank"));
    assert_eq!(removed, 20_000 - 19);
    assert_eq!(db.zlen("z"), 19);
}

#[path = "tests/combine.rs"]
mod combination;
#[path = "tests/model.rs"]
mod model;
