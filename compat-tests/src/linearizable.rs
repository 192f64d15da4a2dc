//! Is there an order? Checks a history of concurrent operations against a sequential model.
//!
//! ```text
//!   client 1   ├── SET 1 ──┤        ├─ GET → 2 ─┤
//!   client 2         ├─ SET 2 ─┤  ├──── SET 3, no answer ────…│ killed
//! ```
//!
//! A history is *linearizable* when each operation can be given a moment between its beginning and its
//! end such that, one after the other in the order of these moments, they answer what they answered. The
//! search is Wing and Gong's with Lowe's memory of configurations that were tried: a set of operations
//! that have happened and the state that they left.
//!
//! An operation whose answer nobody saw (the server was killed) has happened at a moment before its end,
//! or never. Its end is when the server was certainly dead: what was not there at the next start must not
//! appear later.
//!
//! Histories of different objects are checked one by one: that is as good, and much faster.

mod models;
#[cfg(test)]
mod tests;

pub use models::{
    Accounts, AccountsOp, Counter, CounterOp, Queues, QueuesOp, Register, RegisterOp,
};

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::hash::{BuildHasher, Hash, RandomState};

use forgekv_base::rng::Rng;

/// An object as it would be if there was one client.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Op: PartialEq + Debug;
    /// What it says.
    type Answer: Debug;

    /// What it holds before the first operation.
    fn begin() -> Self::State;

    /// What `op` leaves behind; `None` if it can't give that answer here. Without an answer nobody saw it.
    fn step(
        state: &Self::State,
        op: &Self::Op,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;

    /// Whether an operation that gives this answer never changes anything.
    fn is_silent(op: &Self::Op, answer: &Self::Answer) -> bool;
}

/// An operation that some client has tried.
pub struct Event<M: Model> {
    /// What was asked.
    pub op: M::Op,
    /// What was answered; `None`: nobody knows whether it happened.
    pub answer: Option<M::Answer>,
    /// Before it was sent; any unit, the same clock for all.
    pub began: u64,
    /// After the answer had come, or after the server was dead.
    pub ended: u64,
}

impl<M: Model> Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..{}] {:?} ", self.began, self.ended, self.op)?;
        match &self.answer {
            Some(answer) => write!(f, "→ {answer:?}"),
            None => f.write_str("→ not known"),
        }
    }
}

/// Why a history was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No order explains it. Says how far the search came.
    NotLinearizable(String),
    /// The search took too long: most likely there is none. Says how far it came.
    Undecided(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::NotLinearizable(told) => f.write_str(told),
            Wrong::Undecided(told) => write!(f, "no verdict after {MOST_STEPS} steps; {told}"),
        }
    }
}

impl std::error::Error for Wrong {}

/// After so many the search gives up: where there is an order it takes a few per operation.
const MOST_STEPS: u64 = 10_000_000;

/// Finds an order.
///
/// # Errors
/// There is none, or it could not be found in a bearable time.
pub fn check<M: Model>(events: &[Event<M>]) -> Result<(), Wrong> {
    let mut search = Search::new(events);
    let mut frames = vec![Frame { state: M::begin(), choices: Vec::new(), next: 0, by: None }];
    frames[0].choices = search.choices(&frames[0].state);
    let (mut deepest, mut told) = (0, String::new());
    for _ in 0..MOST_STEPS {
        if search.is_done() {
            return Ok(());
        }
        let depth = frames.len();
        let Some(frame) = frames.last_mut() else { break };
        let Some(&choice) = frame.choices.get(frame.next) else {
            if depth > deepest {
                (deepest, told) = (depth, search.explain(&frame.state));
            }
            if let Some(op) = frame.by {
                search.put_back(op);
            }
            frames.pop();
            continue;
        };
        frame.next += 1;
        let event = &events[choice.op];
        let state = match choice.happens {
            false => frame.state.clone(),
            true => match M::step(&frame.state, &event.op, event.answer.as_ref()) {
                Some(state) => state,
                None => continue,
            },
        };
        search.take(choice.op);
        if !search.tried.insert((search.happened, search.hasher.hash_one(&state))) {
            search.put_back(choice.op);
            continue;
        }
        let choices = search.choices(&state);
        frames.push(Frame { state, choices, next: 0, by: Some(choice.op) });
    }
    Err(if frames.is_empty() { Wrong::NotLinearizable(told) } else { Wrong::Undecided(told) })
}

/// What may come next, and how this point was reached.
struct Frame<S> {
    state: S,
    choices: Vec<Choice>,
    next: usize,
    by: Option<usize>,
}

#[derive(Clone, Copy)]
struct Choice {
    op: usize,
    /// False: it is given up as one that never happened.
    happens: bool,
}

/// Beginnings and ends in the order of time, as a list from which operations are taken and put back in
/// the reverse order. The beginning of operation `i` is node `2 i`, its end `2 i + 1`; the last node is
/// the list's head.
struct Search<'e, M: Model> {
    events: &'e [Event<M>],
    next: Vec<usize>,
    previous: Vec<usize>,
    /// A random number for each operation: a set of them is their exclusive or.
    numbers: Vec<u128>,
    happened: u128,
    /// With a hash of the state: states may be large.
    tried: HashSet<(u128, u64)>,
    hasher: RandomState,
}

impl<'e, M: Model> Search<'e, M> {
    fn new(events: &'e [Event<M>]) -> Search<'e, M> {
        let mut nodes: Vec<(u64, bool, usize)> = Vec::with_capacity(events.len() * 2);
        for (i, event) in events.iter().enumerate() {
            nodes.push((event.began, false, 2 * i));
            nodes.push((event.ended, true, 2 * i + 1));
        }
        // What begins in the moment in which another ends may have come before it.
        nodes.sort_unstable();
        let head = nodes.len();
        let (mut next, mut previous) = (vec![head; head + 1], vec![head; head + 1]);
        let mut last = head;
        for (_, _, node) in nodes {
            (next[last], previous[node]) = (node, last);
            last = node;
        }
        (next[last], previous[head]) = (head, last);
        let mut rng = Rng::seeded(1);
        let mut number = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let numbers = events.iter().map(|_| number()).collect();
        let (tried, hasher) = (HashSet::new(), RandomState::new());
        Search { events, next, previous, numbers, happened: 0, tried, hasher }
    }

    fn head(&self) -> usize {
        self.events.len() * 2
    }

    fn is_done(&self) -> bool {
        self.next[self.head()] == self.head()
    }

    fn take(&mut self, op: usize) {
        for node in [2 * op, 2 * op + 1] {
            let (before, after) = (self.previous[node], self.next[node]);
            (self.next[before], self.previous[after]) = (after, before);
        }
        self.happened ^= self.numbers[op];
    }

    fn put_back(&mut self, op: usize) {
        for node in [2 * op + 1, 2 * op] {
            let (before, after) = (self.previous[node], self.next[node]);
            (self.next[before], self.previous[after]) = (node, node);
        }
        self.happened ^= self.numbers[op];
    }

    /// The operations that have begun and not happened when the first of them ends, and that one.
    fn open(&self) -> (Vec<usize>, Option<usize>) {
        let (mut open, mut node) = (Vec::new(), self.next[self.head()]);
        while node != self.head() {
            if node % 2 == 1 {
                return (open, Some(node / 2));
            }
            open.push(node / 2);
            node = self.next[node];
        }
        (open, None)
    }

    /// What may come next, the likeliest first.
    fn choices(&self, state: &M::State) -> Vec<Choice> {
        let (mut open, ends) = self.open();
        let answered = |op: &usize| self.events[*op].answer.is_some();
        // What changes nothing wherever it fits is in nobody's way once it fits.
        let silent = open.iter().copied().filter(answered).find(|&op| {
            let event = &self.events[op];
            let Some(answer) = &event.answer else { return false };
            M::is_silent(&event.op, answer) && M::step(state, &event.op, Some(answer)).is_some()
        });
        if let Some(op) = silent {
            return vec![Choice { op, happens: true }];
        }
        open.sort_by_key(|op| self.events[*op].ended);
        let mut choices: Vec<Choice> =
            open.iter().filter(|op| answered(op)).map(|&op| Choice { op, happens: true }).collect();
        if let Some(op) = ends.filter(|op| !answered(op)) {
            choices.push(Choice { op, happens: false });
        }
        // Of several that ask the same and end together the one that began first will do for all.
        let mut unknown: Vec<usize> = open.into_iter().filter(|op| !answered(op)).collect();
        unknown.sort_by_key(|op| self.events[*op].began);
        for (i, &op) in unknown.iter().enumerate() {
            let event = &self.events[op];
            let is_first = unknown[..i].iter().all(|earlier| {
                let earlier = &self.events[*earlier];
                earlier.op != event.op || earlier.ended != event.ended
            });
            if is_first {
                choices.push(Choice { op, happens: true });
            }
        }
        choices
    }

    fn explain(&self, state: &M::State) -> String {
        let (open, ends) = self.open();
        let mut left = 0;
        let mut node = self.next[self.head()];
        while node != self.head() {
            left += usize::from(node.is_multiple_of(2));
            node = self.next[node];
        }
        let mut told = format!(
            "no order explains these {} operations: at best {} of them, then it holds {state:?} and \
             {} has to come",
            self.events.len(),
            self.events.len() - left,
            ends.map_or("nothing".into(), |op| format!("{:?}", self.events[op])),
        );
        for op in open {
            told.push_str(&format!("\n  under way: {:?}", self.events[op]));
        }
        told
    }
}
