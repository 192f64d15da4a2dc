//! Groups: who gets what, and who knows how far they have read.

use super::*;
use crate::error::Error;

impl Db {
    pub(crate) fn xgroup(&mut self, name: &str, group: &str, after: Id) {
        let start = Start::After(after);
        self.xon(name, |w, key| create_group(w, key, group.as_bytes(), start, None, true)).unwrap();
    }

    fn xreader<'a>(group: &'a str, consumer: &'a str, count: Option<u64>) -> Reader<'a> {
        let (group, consumer) = (group.as_bytes(), consumer.as_bytes());
        Reader { group, consumer, count, no_ack: false, claim_idle_ms: None }
    }

    fn xread(&mut self, name: &str, reader: &Reader<'_>) -> Vec<(u64, Option<(u64, u64)>)> {
        let mut found = Vec::new();
        self.xon(name, |w, key| {
            deliver(w, key, reader, &mut |id, _, before| {
                found.push((id.ms, before));
                Ok(())
            })
        })
        .unwrap();
        found
    }

    pub(crate) fn xtake(
        &mut self,
        name: &str,
        group: &str,
        consumer: &str,
        count: Option<u64>,
    ) -> Vec<u64> {
        let found = self.xread(name, &Db::xreader(group, consumer, count));
        found.into_iter().map(|(ms, _)| ms).collect()
    }

    pub(crate) fn xagain(&mut self, name: &str, group: &str, consumer: &str) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        let reader = Db::xreader(group, consumer, None);
        self.xon(name, |w, key| {
            history(w, key, &reader, Id::MIN, &mut |id, fields| {
                found.push((id.ms, fields.is_some()));
                Ok(())
            })
        })
        .unwrap();
        found
    }

    pub(crate) fn xack(&mut self, name: &str, group: &str, ids: &[u64]) -> u64 {
        let ids: Vec<Id> = ids.iter().map(|&ms| Id::new(ms, 0)).collect();
        self.xon(name, |w, key| ack(w, key, group.as_bytes(), &ids)).unwrap()
    }

    pub(crate) fn xpending(&mut self, name: &str, group: &str) -> Vec<(u64, String, u64, u64)> {
        let mut found = Vec::new();
        self.xon(name, |w, key| {
            let all = (Id::MIN, Id::MAX);
            list(w, key, group.as_bytes(), all, u64::MAX, None, 0, &mut |id, name, idle, n| {
                found.push((id.ms, text(name), idle, n));
            })
        })
        .unwrap();
        found
    }

    pub(crate) fn xsummary(&mut self, name: &str, group: &str) -> Summary {
        self.xon(name, |w, key| summary(w, key, group.as_bytes())).unwrap()
    }

    /// How many entries a group has read and has not read.
    fn xprogress(&mut self, name: &str, group: &str) -> (Option<u64>, Option<i64>) {
        let groups = self.xon(name, |w, key| groups(w, key)).unwrap().unwrap();
        let group = groups.into_iter().find(|g| g.name == group.as_bytes()).unwrap();
        (group.read, group.lag)
    }
}

#[test]
fn each_entry_goes_to_one_consumer() {
    let mut db = Db::new();
    db.limits.stream_node_max_entries = 4;
    db.xfill("s", 1..=10);
    db.xgroup("s", "g", Id::MIN);
    assert_eq!(db.events, ["xgroup-create:s@0"]);
    assert_eq!(db.xtake("s", "g", "a", Some(3)), [1, 2, 3]);
    assert_eq!(db.events, ["xgroup-createconsumer:s@0"]);
    assert_eq!(db.xtake("s", "g", "b", Some(3)), [4, 5, 6]);
    assert_eq!(db.xtake("s", "g", "a", None), [7, 8, 9, 10]);
    assert!(db.events.is_empty());
    assert_eq!(db.xtake("s", "g", "c", None), [0; 0]);
    let summary = db.xsummary("s", "g");
    assert_eq!(summary.count, 10);
    assert_eq!(summary.bounds, Some((Id::new(1, 0), Id::new(10, 0))));
    assert_eq!(summary.consumers, [(b"a".to_vec(), 7), (b"b".to_vec(), 3)]);
    assert_eq!(db.xack("s", "g", &[1, 4, 4, 99, 10]), 3);
    assert_eq!(db.xack("s", "none", &[5]), 0);
    db.xdel("s", &[2]);
    db.now_ms += 7;
    let expected = [(2, false), (3, true), (7, true), (8, true), (9, true)];
    assert_eq!(db.xagain("s", "g", "a"), expected);
    assert_eq!(db.xagain("s", "g", "b"), [(5, true), (6, true)]);
    let pending = db.xpending("s", "g");
    assert_eq!(pending[0], (2, "a".into(), 7, 1), "what is deleted is not delivered again");
    assert_eq!(pending[1], (3, "a".into(), 0, 2));
    let consumers = db.xon("s", |w, key| consumers(w, key, b"g")).unwrap().unwrap();
    let names: Vec<String> = consumers.iter().map(|c| text(&c.name)).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(consumers[2].active_ms, None);
    assert_eq!(consumers[0].seen_ms, db.now_ms);
    assert_eq!(consumers[0].active_ms, Some(db.now_ms - 7));
    // A consumer goes with what it had, and the group with everything.
    assert_eq!(db.xon("s", |w, key| delete_consumer(w, key, b"g", b"a")).unwrap(), 5);
    assert_eq!(db.events, ["xgroup-delconsumer:s@0"]);
    assert_eq!(db.xon("s", |w, key| delete_consumer(w, key, b"g", b"a")).unwrap(), 0);
    assert_eq!(db.xsummary("s", "g").count, 2);
    let elements = db.records(crate::record::SPACE_ELEMENT);
    assert!(db.xon("s", |w, key| destroy_group(w, key, b"g")).unwrap());
    assert!(!db.xon("s", |w, key| destroy_group(w, key, b"g")).unwrap());
    // Two consumers with their names, two pending entries twice, the group.
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), elements - 9);
    assert_eq!(db.xinfo("s").groups, 0);
}

#[test]
fn names_are_any_bytes() {
    let mut db = Db::new();
    db.xfill("s", 1..=1);
    let names: [&[u8]; 4] = [b"", b"\0\0\0\0", b"\xff\xff", b"g"];
    for name in names {
        db.xon("s", |w, key| create_group(w, key, name, Start::Now, Some(1), false)).unwrap();
        for consumer in names {
            assert!(db.xon("s", |w, key| create_consumer(w, key, name, consumer)).unwrap());
            assert!(!db.xon("s", |w, key| create_consumer(w, key, name, consumer)).unwrap());
        }
    }
    let busy = db.xon("s", |w, key| create_group(w, key, b"g", Start::Now, None, false));
    assert!(matches!(busy, Err(Error::Reply(text)) if text.starts_with("BUSYGROUP")));
    let found = db.xon("s", |w, key| groups(w, key)).unwrap().unwrap();
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|group| group.consumers == 4 && group.lag == Some(0)));
    for name in names {
        let found = db.xon("s", |w, key| consumers(w, key, name)).unwrap().unwrap();
        assert_eq!(found.len(), 4);
        assert!(db.xon("s", |w, key| destroy_group(w, key, name)).unwrap());
    }
    // The root alone.
    assert_eq!(db.records(crate::record::SPACE_ELEMENT), 1);
    assert!(db.xon("none", |w, key| create_group(w, key, b"g", Start::Now, None, false)).is_err());
    assert!(db.xon("s", |w, key| create_consumer(w, key, b"g", b"c")).is_err());
}

#[test]
fn claims_move_what_is_pending() {
    let mut db = Db::new();
    db.xfill("s", 1..=6);
    db.xgroup("s", "g", Id::MIN);
    db.xtake("s", "g", "a", Some(4));
    db.now_ms += 100;
    let ids = |ids: &[u64]| ids.iter().map(|&ms| Id::new(ms, 0)).collect::<Vec<_>>();
    let claim = |db: &mut Db, consumer: &str, wanted: &[u64], how: Claim| {
        let mut found = Vec::new();
        db.xon("s", |w, key| {
            claim(w, key, b"g", consumer.as_bytes(), &ids(wanted), &how, &mut |id, fields| {
                found.push((id.ms, fields.is_some()));
                Ok(())
            })
        })
        .unwrap();
        found
    };
    let idle = |ms| Claim { min_idle_ms: ms, ..Claim::default() };
    assert_eq!(claim(&mut db, "b", &[1, 2], idle(101)), []);
    assert_eq!(claim(&mut db, "b", &[1, 2, 5], idle(100)), [(1, true), (2, true)]);
    assert_eq!(db.xpending("s", "g")[0], (1, "b".into(), 0, 2));
    let just = Claim { just_id: true, delivered_ms: Some(db.now_ms - 50), ..Claim::default() };
    assert_eq!(claim(&mut db, "c", &[1], just), [(1, false)]);
    assert_eq!(db.xpending("s", "g")[0], (1, "c".into(), 50, 2));
    let force = Claim { force: true, deliveries: Some(9), last: Some(Id::new(5, 0)), ..just };
    assert_eq!(claim(&mut db, "c", &[5, 99], force), [(5, false)]);
    assert_eq!(db.xpending("s", "g")[4], (5, "c".into(), 50, 9));
    assert_eq!(db.xtake("s", "g", "a", None), [6]);
    // What is deleted is claimed by nobody and pending no more.
    db.xdel("s", &[1, 3]);
    assert_eq!(claim(&mut db, "c", &[1], idle(0)), []);
    let auto = |db: &mut Db, from: u64, count: u64| {
        let mut found = Vec::new();
        let (next, gone) = db
            .xon("s", |w, key| {
                let from = Id::new(from, 0);
                claim_idle(w, key, b"g", b"d", 0, from, count, false, &mut |id, _| {
                    found.push(id.ms);
                    Ok(())
                })
            })
            .unwrap();
        (next.ms, found, gone.iter().map(|id| id.ms).collect::<Vec<_>>())
    };
    assert_eq!(auto(&mut db, 0, 2), (4, vec![2], vec![3]));
    assert_eq!(auto(&mut db, 4, 10), (0, vec![4, 5, 6], vec![]));
    let summary = db.xsummary("s", "g");
    assert_eq!(summary.consumers, [(b"d".to_vec(), 4)]);
    // XREADGROUP claims what waits longest, and goes on with what is new.
    db.now_ms += 10;
    claim(&mut db, "d", &[2], idle(0));
    db.now_ms += 10;
    db.xfill("s", 7..=8);
    let reader = Reader { claim_idle_ms: Some(5), ..Db::xreader("g", "e", Some(5)) };
    let told = [
        (4, Some((20, 2))),
        (5, Some((20, 10))),
        (6, Some((20, 2))),
        (2, Some((10, 4))),
        (7, None),
    ];
    assert_eq!(db.xread("s", &reader), told);
    assert_eq!(db.xread("s", &reader), [(8, None)]);
    assert_eq!(db.xsummary("s", "g").consumers, [(b"e".to_vec(), 6)]);
    let silent = Reader { no_ack: true, claim_idle_ms: None, ..reader };
    db.xfill("s", 9..=9);
    assert_eq!(db.xread("s", &silent), [(9, None)]);
    assert_eq!(db.xsummary("s", "g").count, 6);
}

#[test]
fn a_group_knows_how_far_it_is_while_it_can() {
    let mut db = Db::new();
    db.xgroup("s", "g", Id::MIN);
    assert_eq!(db.xprogress("s", "g"), (None, Some(0)));
    db.xfill("s", 1..=5);
    assert_eq!(db.xprogress("s", "g"), (None, Some(5)));
    db.xtake("s", "g", "c", Some(1));
    assert_eq!(db.xprogress("s", "g"), (Some(1), Some(4)));
    db.xdel("s", &[3]);
    assert_eq!(db.xprogress("s", "g"), (Some(1), None));
    db.xtake("s", "g", "c", Some(1));
    assert_eq!(db.xprogress("s", "g"), (None, None));
    db.xtake("s", "g", "c", Some(1));
    assert_eq!(db.xprogress("s", "g"), (None, None));
    db.xtake("s", "g", "c", None);
    assert_eq!(db.xprogress("s", "g"), (Some(5), Some(0)));
    db.xfill("s", 6..=7);
    assert_eq!(db.xprogress("s", "g"), (Some(5), Some(2)));
    let set = |db: &mut Db, after: u64, read| {
        let start = Start::After(Id::new(after, 0));
        db.xon("s", |w, key| set_group(w, key, b"g", start, read)).unwrap();
    };
    set(&mut db, 6, Some(6));
    assert_eq!(db.events, ["xgroup-setid:s@0"]);
    assert_eq!(db.xprogress("s", "g"), (Some(6), Some(1)));
    set(&mut db, 100, None);
    assert_eq!(db.xprogress("s", "g"), (None, None));
}

#[test]
fn entries_stay_while_groups_need_them() {
    let mut db = Db::new();
    db.limits.stream_node_max_entries = 2;
    db.xfill("s", 1..=5);
    let delete = |db: &mut Db, refs, ids: &[u64]| {
        let ids: Vec<Id> = ids.iter().map(|&ms| Id::new(ms, 0)).collect();
        let mut found = Vec::new();
        db.xon("s", |w, key| delete_each(w, key, &ids, refs, &mut |d| found.push(d as i64)))
            .unwrap();
        found
    };
    assert_eq!(delete(&mut db, Refs::Respect, &[1]), [2], "there is no group to have read it");
    db.xgroup("s", "g", Id::MIN);
    db.xgroup("s", "h", Id::MIN);
    db.xtake("s", "g", "c", None);
    db.xack("s", "g", &[1, 2]);
    assert_eq!(delete(&mut db, Refs::Respect, &[1, 9]), [2, -1]);
    db.xtake("s", "h", "c", Some(2));
    db.xack("s", "h", &[1]);
    assert_eq!(delete(&mut db, Refs::Respect, &[1, 2, 3]), [1, 2, 2]);
    assert_eq!(delete(&mut db, Refs::Delete, &[2]), [1]);
    assert_eq!(db.xsummary("s", "h").count, 0);
    // Trimming passes over what is needed, and ends where a group has not read.
    let trim = |db: &mut Db, excess, refs| {
        let how = Trim { excess, approximate: true, limit: None, refs };
        db.xon("s", |w, key| trim(w, key, &how)).unwrap()
    };
    assert_eq!(trim(&mut db, Excess::Before(Id::new(9, 0)), Refs::Respect), 0);
    db.xtake("s", "h", "c", None);
    db.xack("s", "h", &[3, 4, 5]);
    db.xack("s", "g", &[4]);
    assert_eq!(trim(&mut db, Excess::Before(Id::new(9, 0)), Refs::Respect), 1);
    assert_eq!(db.xtimes("s"), [3, 5]);
    assert_eq!(trim(&mut db, Excess::Longer(0), Refs::Delete), 2);
    assert_eq!((db.xtimes("s"), db.xsummary("s", "g").count), (vec![], 0));
    // Acknowledged and deleted at once.
    db.xfill("s", 10..=13);
    db.xtake("s", "g", "c", None);
    db.xtake("s", "h", "c", Some(3));
    let ack_delete = |db: &mut Db, group: &str, refs, ids: &[u64]| {
        let ids: Vec<Id> = ids.iter().map(|&ms| Id::new(ms, 0)).collect();
        let mut found = Vec::new();
        db.xon("s", |w, key| {
            ack_delete(w, key, group.as_bytes(), &ids, refs, &mut |d| found.push(d as i64))
        })
        .unwrap();
        found
    };
    assert_eq!(ack_delete(&mut db, "none", Refs::Keep, &[10]), [-1]);
    assert_eq!(ack_delete(&mut db, "g", Refs::Keep, &[10, 10, 99]), [1, -1, -1]);
    assert_eq!(db.xsummary("s", "h").count, 3);
    assert_eq!(ack_delete(&mut db, "g", Refs::Respect, &[11, 13]), [2, 2]);
    assert_eq!(ack_delete(&mut db, "h", Refs::Respect, &[11]), [1]);
    assert_eq!(ack_delete(&mut db, "g", Refs::Delete, &[12]), [1]);
    assert_eq!(db.events, ["xdel:s@0"]);
    assert_eq!(db.xtimes("s"), [13]);
    let left: Vec<u64> = db.xpending("s", "h").iter().map(|(ms, ..)| *ms).collect();
    assert_eq!(left, [10], "it is pending though its entry is gone");
}
