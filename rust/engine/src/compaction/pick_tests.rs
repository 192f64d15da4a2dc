//! Shapes of shards as text, and what is picked for them.
//!
//! A level is a line `<level>: <first>-<last>:<KiB>[/<tombstones in percent>] ...`; level 0 newest first. A choice
//! reads `<level>[<places>] ... -> <output>`, with `move` before it when nothing is read. Tables are closed at
//! 16 KiB, so a share below 1 KiB is none.

use super::pace::{debt_of, delay_of, share_of};
use super::pick::{Choice, choose};
use super::{Plan, Reason};
use crate::options::Options;
use crate::table::TableMeta;
use crate::version::{LEVELS, LevelSize};

const KIB: u64 = 1024;

fn options() -> Options {
    Options { table_bytes: 16 * KIB, ..Options::new("/data") }
}

fn parse(text: &str) -> Vec<Vec<TableMeta>> {
    let mut levels = vec![Vec::new(); LEVELS];
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (level, tables) = line.split_once(':').unwrap();
        for table in tables.split_whitespace() {
            let (range, size) = table.split_once(':').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (size, percent) = size.split_once('/').unwrap_or((size, "0"));
            levels[level.parse::<usize>().unwrap()].push(TableMeta {
                bytes: size.parse::<u64>().unwrap() * KIB,
                entries: 100,
                tombstones: percent.parse().unwrap(),
                smallest: first.into(),
                largest: last.into(),
                ..TableMeta::default()
            });
        }
    }
    levels
}

fn sizes(levels: &[Vec<TableMeta>]) -> [LevelSize; LEVELS] {
    std::array::from_fn(|level| LevelSize::of(levels[level].iter()))
}

fn picked(text: &str) -> Option<Choice> {
    let levels = parse(text);
    choose(&sizes(&levels), &|level| levels[level].iter().collect(), &options())
}

fn show(choice: Option<Choice>) -> String {
    let Some(choice) = choice else { return "nothing".into() };
    let mut out = String::from(if choice.moves { "move " } else { "" });
    for (level, places) in choice.inputs.iter().filter(|(_, places)| !places.is_empty()) {
        out += &format!("{level}[{}..{}] ", places.start, places.end);
    }
    out + &format!("-> {} {:?}", choice.output, choice.reason)
}

#[test]
fn picks() {
    for (name, shape, expected) in [
        ("an empty shard", "", "nothing"),
        ("three flushes wait for a fourth", "0: a-z:2 a-z:2 a-z:2", "nothing"),
        ("four flushes", "0: a-z:2 a-z:2 a-z:2 a-z:2", "0[0..4] -> 6 Level0"),
        (
            "small data is merged into at once",
            "0: a-f:2 b-d:2 a-c:2 e-k:2
             6: a-b:16 d-e:16 g-h:16 l-m:16",
            "0[0..4] 6[0..3] -> 6 Level0",
        ),
        (
            "larger data gets a level before it",
            "0: a-f:2 b-d:2 a-c:2 e-k:2
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "0[0..4] -> 5 Level0",
        ),
        (
            "a level that has something is not jumped over",
            "0: a-f:8 b-d:8 a-c:8 e-k:8
             5: d-e:1
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "0[0..4] 5[0..1] -> 5 Level0",
        ),
        (
            "a large flush beside all others moves",
            "0: a-f:2 b-d:2 a-c:2 x-z:4
             6: a-b:40 d-e:40",
            "move 0[3..4] -> 6 Level0",
        ),
        (
            "a small one does not, nor one with tombstones for nothing",
            "0: a-f:2 b-d:2 a-c:2 x-z:3
             6: a-b:10 d-e:10",
            "0[0..4] 6[0..2] -> 6 Level0",
        ),
        (
            "with tombstones",
            "0: a-f:2 b-d:2 a-c:2 x-z:4/1
             6: a-b:10 d-e:10",
            "0[0..4] 6[0..2] -> 6 Level0",
        ),
        (
            "a backlog is merged in pieces, the oldest first",
            "0: a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1 a-z:1",
            "0[2..34] -> 6 Level0",
        ),
        (
            "a level within its share rests",
            "5: a-c:8 d-f:8
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "nothing",
        ),
        (
            "a level over it gives away what overlaps least",
            "5: a-c:9 d-f:9 g-h:9
             6: a-b:40 c-e:40 f-g:40 l-m:40",
            "5[2..3] 6[2..3] -> 6 Size",
        ),
        (
            "what overlaps nothing moves",
            "5: a-c:9 d-f:9 n-o:9
             6: a-b:40 c-e:40 f-g:40 l-m:40",
            "move 5[2..3] -> 6 Size",
        ),
        (
            "unless reading it would drop tombstones",
            "5: a-c:9 d-f:9 n-o:9/5
             6: a-b:40 c-e:40 f-g:40 l-m:40",
            "5[2..3] -> 6 Size",
        ),
        (
            "small neighbours go together",
            "5: a-b:12 c-d:1 e-f:1 g-h:1 i-j:1 k-l:1 m-n:12
             6: a-b:40 c-l:10 m-n:40 o-z:40",
            "5[1..6] 6[1..2] -> 6 Size",
        ),
        (
            "the level most over its share first",
            "0: a-z:1 a-z:1 a-z:1 a-z:1 a-z:1
             5: a-c:16 d-f:16
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "5[0..1] 6[0..1] -> 6 Size",
        ),
        (
            "a share that has become too small is emptied",
            "3: a-z:1
             6: a-b:40",
            "move 3[0..1] -> 4 Size",
        ),
        (
            "tombstones, when nothing else is due",
            "5: a-c:6/10 d-f:6/60
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "5[1..2] 6[1..2] -> 6 Tombstones",
        ),
        (
            "not if that costs too much",
            "5: a-c:6/10 d-f:1/60
             6: a-b:40 d-d:40 e-e:40 f-f:40",
            "nothing",
        ),
        (
            "unless they hide much",
            "5: a-c:6/10 d-f:1/60
             6: a-b:40 d-e:40 g-h:40 l-m:40",
            "5[1..2] 6[1..2] -> 6 Tombstones",
        ),
        ("in level 0", "0: a-c:6/50", "0[0..1] -> 6 Tombstones"),
        (
            "in level 0, not for a handful of deletions",
            "0: a-c:2/50
             6: a-a:3 b-b:3 c-c:3",
            "nothing",
        ),
        ("in the last level they are of no use", "6: a-c:6/40", "6[0..1] -> 6 Tombstones"),
    ] {
        assert_eq!(show(picked(shape)), expected, "{name}");
    }
}

#[test]
fn urgent_is_what_cannot_wait() {
    assert_eq!(picked("0: a-c:6/50").unwrap().reason, Reason::Tombstones);
    let plan = |reason| Plan {
        inputs: Vec::new(),
        output: 6,
        below: Vec::new(),
        moves: false,
        compression: crate::table::Compression::None,
        reason,
    };
    assert!(plan(Reason::Level0).is_urgent() && plan(Reason::Size).is_urgent());
    assert!(!plan(Reason::Tombstones).is_urgent() && !plan(Reason::Garbage).is_urgent());
}

#[test]
fn the_share_of_a_compaction_rises_with_the_debt() {
    let share = |shape| share_of(&sizes(&parse(shape)), &options());
    assert_eq!(share(""), 0.4);
    let some = share("0: a-z:2 a-z:2 a-z:2 a-z:2\n6: a-b:40");
    let more = share("0: a-z:2 a-z:2 a-z:2 a-z:2 a-z:2 a-z:2\n6: a-b:40");
    assert!(0.4 < some && some < more && more < 1.0, "{some} {more}");
    let backlog = format!("0: {}", "a-z:2 ".repeat(8));
    assert_eq!(share(&backlog), 1.0);
    // All of it before anybody is delayed.
    assert_eq!(delay_of(&sizes(&parse(&backlog)), &options()), 0);
}

#[test]
fn a_shard_in_good_shape_owes_nothing_and_delays_nobody() {
    for shape in ["", "0: a-z:2 a-z:2 a-z:2", "5: a-c:8 d-f:8\n6: a-b:100 d-e:60"] {
        let sizes = sizes(&parse(shape));
        assert_eq!((debt_of(&sizes, &options()), delay_of(&sizes, &options())), (0, 0), "{shape}");
    }
    let sizes = sizes(&parse("0: a-z:2 a-z:2 a-z:2 a-z:2\n6: a-b:40"));
    assert_eq!(debt_of(&sizes, &options()), 48 * KIB);
    assert_eq!(delay_of(&sizes, &options()), 0);
}

#[test]
fn the_delay_begins_at_nothing_and_has_no_steps() {
    let delay = |level0: usize, debt_kib: u64| {
        let mut sizes = [LevelSize::default(); LEVELS];
        sizes[0] = LevelSize { tables: level0, bytes: level0 as u64 * KIB, dense: false };
        sizes[5] = LevelSize { tables: 1, bytes: debt_kib * KIB, dense: false };
        sizes[6] = LevelSize { tables: 1, bytes: 1000 * KIB, dense: false };
        delay_of(&sizes, &options())
    };
    let by_tables: Vec<u64> = (0..100).map(|n| delay(n, 0)).collect();
    assert!(by_tables[..=9].iter().all(|&d| d == 0), "{by_tables:?}");
    assert!((100..=300).contains(&by_tables[24]));
    assert_eq!(by_tables[99], 2000);
    let by_debt: Vec<u64> = (0..1000).map(|n| delay(0, n)).collect();
    assert!(by_debt[..120].iter().all(|&d| d == 0), "{by_debt:?}");
    assert!(by_debt[999] > 100, "{by_debt:?}");
    for delays in [by_tables, by_debt] {
        for pair in delays.windows(2) {
            assert!(pair[0] <= pair[1] && pair[1] - pair[0] <= 130, "{delays:?}");
        }
    }
}
