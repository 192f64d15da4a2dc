//! The checker accepts what is right and finds what was planted.

use super::*;

fn event<M: Model>(
    began: u64,
    ended: u64,
    op: M::Op,
    answer: impl Into<Option<M::Answer>>,
) -> Event<M> {
    Event { op, answer: answer.into(), began, ended }
}

fn is_right<M: Model>(events: &[Event<M>]) -> bool {
    match check(events) {
        Ok(()) => true,
        Err(Wrong::NotLinearizable(_)) => false,
        Err(Wrong::Undecided(told)) => panic!("undecided: {told}"),
    }
}

#[test]
fn one_after_the_other() {
    use RegisterOp::{Del, Get, GetSet, Set, SetNew};
    let all = |last: u64| {
        vec![
            event::<Register>(0, 1, Get, 0),
            event(2, 3, Set(7), 0),
            event(4, 5, SetNew(8), 1),
            event(6, 7, GetSet(9), 7),
            event(8, 9, Del, 1),
            event(10, 11, SetNew(10), 0),
            event(12, 13, Get, last),
        ]
    };
    assert!(is_right(&all(10)));
    assert!(!is_right(&all(9)));
    assert!(!is_right(&all(0)));
    assert!(is_right::<Register>(&[]));
}

#[test]
fn a_stale_read_is_found() {
    use RegisterOp::{Get, Set};
    let history = |read_began: u64| {
        [
            event::<Register>(0, 1, Set(1), 0),
            event(2, 10, Set(2), 0),
            event(3, 4, Get, 2),
            event(read_began, 6, Get, 1),
        ]
    };
    // While SET 2 is under way, one client has seen it: nobody may see less after that.
    assert!(!is_right(&history(5)));
    assert!(is_right(&history(4)), "they were under way together");
    assert!(is_right(&history(2)));
}

#[test]
fn two_readers_must_agree_on_the_order() {
    use RegisterOp::{Get, Set};
    let history = |third: u64, fourth: u64| {
        [
            event::<Register>(0, 100, Set(1), 0),
            event(0, 100, Set(2), 0),
            event(1, 2, Get, 1),
            event(3, 4, Get, 2),
            event(1, 5, Get, third),
            event(6, 7, Get, fourth),
        ]
    };
    assert!(is_right(&history(1, 2)));
    assert!(is_right(&history(2, 2)));
    assert!(!is_right(&history(2, 1)));
    assert!(!is_right(&history(0, 0)));
}

#[test]
fn an_unknown_write_happens_before_its_end_or_never() {
    use RegisterOp::{Get, Set};
    let history = |reads: &[(u64, u64)]| {
        let mut events = vec![event::<Register>(0, 1, Set(1), 0), event(2, 50, Set(2), None)];
        events.extend(reads.iter().map(|&(at, value)| event(at, at + 1, Get, value)));
        events
    };
    assert!(is_right(&history(&[(60, 1)])));
    assert!(is_right(&history(&[(60, 2)])));
    assert!(is_right(&history(&[(10, 1), (20, 2), (60, 2)])));
    assert!(!is_right(&history(&[(60, 1), (62, 2)])), "it came back from the dead");
    assert!(!is_right(&history(&[(20, 2), (60, 1)])), "it was seen, and then lost");
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    use RegisterOp::{Get, Set};
    let history = [
        event::<Register>(0, 1, Set(1), 0),
        event(2, 3, Set(2), 0),
        event(4, 50, Set(3), None),
        event(60, 61, Get, 1),
    ];
    assert!(!is_right(&history));
}

#[test]
fn counters_count_each_once() {
    use CounterOp::{Get, GetDel, Incr};
    let history = |answers: [i64; 4]| {
        [
            event::<Counter>(0, 10, Incr, answers[0]),
            event(0, 10, Incr, answers[1]),
            event(0, 10, GetDel, answers[2]),
            event(11, 12, Get, answers[3]),
        ]
    };
    assert!(is_right(&history([1, 2, 2, 0])));
    assert!(is_right(&history([1, 1, 1, 1])));
    assert!(is_right(&history([2, 1, 0, 2])));
    assert!(!is_right(&history([1, 1, 0, 2])), "both got the same number");
    assert!(!is_right(&history([1, 1, 1, 0])), "one is lost");
    // Of three whose answers nobody saw, none, some or all have happened.
    let after = |found: i64, later: i64| {
        let mut all: Vec<_> = (0..3).map(|i| event::<Counter>(i, 50, Incr, None)).collect();
        all.extend([event(60, 61, Get, found), event(62, 63, Get, later)]);
        all
    };
    for found in 0..=3 {
        assert!(is_right(&after(found, found)));
        assert!(!is_right(&after(found, found + 1)));
    }
    assert!(!is_right(&after(4, 4)));
}

#[test]
fn queues_keep_their_order_and_each_element_once() {
    use QueuesOp::{Move, Pop, Push, Read};
    let begin = || {
        vec![
            event::<Queues>(0, 1, Push(0, vec![1, 2]), vec![2]),
            event(2, 3, Push(0, vec![3]), vec![3]),
        ]
    };
    let with = |more: Vec<Event<Queues>>| {
        let mut all = begin();
        all.extend(more);
        is_right(&all)
    };
    let pop = |began, ended, answer: &[u64]| event(began, ended, Pop(vec![0]), answer.to_vec());
    assert!(with(vec![
        pop(4, 5, &[0, 1]),
        pop(6, 7, &[0, 2]),
        pop(8, 9, &[0, 3]),
        pop(10, 11, &[])
    ]));
    assert!(!with(vec![pop(4, 5, &[0, 2]), pop(6, 7, &[0, 1])]), "out of order");
    assert!(with(vec![pop(4, 7, &[0, 2]), pop(4, 7, &[0, 1])]));
    assert!(!with(vec![pop(4, 7, &[0, 1]), pop(4, 7, &[0, 1])]), "one element, two clients");
    assert!(!with(vec![pop(4, 5, &[])]), "there was something");
    let moved = || event(4, 9, Move(0, 1), vec![1]);
    assert!(with(vec![moved(), event(4, 9, Pop(vec![2, 1]), vec![1, 1])]));
    assert!(!with(vec![moved(), event(10, 11, Read(1), vec![])]));
    assert!(!with(vec![moved(), event(10, 11, Read(0), vec![1, 2, 3])]), "it is in both");
    assert!(with(vec![
        event(4, 9, Move(0, 1), None),
        event(10, 11, Read(0), vec![2, 3]),
        event(10, 11, Read(1), vec![1])
    ]));
    let half = vec![
        event(4, 9, Move(0, 1), None),
        event(10, 11, Read(0), vec![2, 3]),
        event(10, 11, Read(1), vec![]),
    ];
    assert!(!with(half), "half a move");
}

#[test]
fn money_only_moves() {
    use AccountsOp::{Read, Transfer};
    let transfer = |seen| Transfer { from: 0, to: 1, amount: 10, seen };
    let read = |a: i64, b: i64| event::<Accounts>(20, 21, Read, vec![a, b, 1000, 1000, 1000]);
    let done = || event::<Accounts>(0, 1, transfer(None), vec![990, 1010]);
    assert!(is_right(&[done(), read(990, 1010)]));
    assert!(!is_right(&[done(), read(990, 1000)]), "half a transfer");
    assert!(!is_right(&[done(), read(1000, 1000)]), "lost");
    let unknown = || event::<Accounts>(2, 10, transfer(Some((990, 1010))), None);
    assert!(is_right(&[done(), unknown(), read(980, 1020)]));
    assert!(is_right(&[done(), unknown(), read(990, 1010)]));
    // Two that saw the same can't both have moved.
    let watched =
        |began| event::<Accounts>(began, 9, transfer(Some((1000, 1000))), vec![990, 1010]);
    assert!(is_right(&[watched(0), read(990, 1010)]));
    assert!(!is_right(&[watched(0), watched(1), read(980, 1020)]));
    assert!(is_right(&[
        watched(0),
        event(0, 9, transfer(Some((1000, 1000))), vec![]),
        read(990, 1010)
    ]));
}

/// Runs operations at random moments of their own, so that the history is right by construction.
fn simulated(seed: u64, clients: u64, count: usize) -> Vec<Event<Register>> {
    let mut rng = Rng::seeded(seed);
    let mut state = Register::begin();
    let mut free = vec![0u64; clients as usize];
    let mut plans: Vec<(u64, u64, u64, RegisterOp)> = Vec::new();
    for value in 1..=count as u64 {
        let client = rng.below(clients) as usize;
        let began = free[client] + rng.below(20);
        let (happens, ended) = (began + 1 + rng.below(40), began + 42 + rng.below(40));
        free[client] = ended + 1;
        let op = match rng.below(6) {
            0 | 1 => RegisterOp::Get,
            2 | 3 => RegisterOp::Set(value),
            4 => RegisterOp::GetSet(value),
            _ => RegisterOp::SetNew(value),
        };
        plans.push((happens, began, ended, op));
    }
    plans.sort_by_key(|(happens, began, ..)| (*happens, *began));
    let answers = 0..=count as u64 + 1;
    plans
        .into_iter()
        .map(|(_, began, ended, op)| {
            let found = answers.clone().find_map(|answer| {
                Register::step(&state, &op, Some(&answer)).map(|leaves| (answer, leaves))
            });
            let (answer, leaves) = found.expect("some answer fits");
            state = leaves;
            event(began, ended, op, answer)
        })
        .collect()
}

#[test]
fn long_histories_of_many_clients() {
    for seed in 0..20 {
        let mut events = simulated(seed, 10, 1500);
        assert!(is_right(&events), "seed {seed}");
        // One answer changed to that of long ago.
        let reads: Vec<usize> = (0..events.len())
            .filter(|&i| events[i].op == RegisterOp::Get && events[i].answer != Some(0))
            .collect();
        let (early, late) = (reads[3], reads[reads.len() - 3]);
        let (old, new) = (events[early].answer, events[late].answer);
        assert_ne!(old, new);
        events[late].answer = old;
        assert!(!is_right(&events), "seed {seed}");
    }
}

#[test]
fn answers_that_nobody_saw_may_be_any() {
    for seed in 0..20 {
        let mut events = simulated(seed, 10, 600);
        let mut rng = Rng::seeded(seed);
        for event in &mut events {
            if rng.below(10) == 0 {
                event.answer = None;
            }
        }
        assert!(is_right(&events), "seed {seed}");
    }
}
