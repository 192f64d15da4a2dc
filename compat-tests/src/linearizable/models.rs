//! The objects whose histories are checked.

use super::Model;

/// A key that holds a number that nobody else writes, or nothing.
#[derive(Debug)]
pub struct Register;

/// What is asked of a [`Register`]; answers are what was there before, 0 being nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterOp {
    /// GET.
    Get,
    /// SET: the answer tells nothing.
    Set(u64),
    /// SET … GET, GETSET.
    GetSet(u64),
    /// SET … NX: the answer is 0 if it was set, 1 if not.
    SetNew(u64),
    /// DEL: the answer is whether something was there.
    Del,
}

impl Model for Register {
    type State = u64;
    type Op = RegisterOp;
    type Answer = u64;

    fn begin() -> u64 {
        0
    }

    fn step(state: &u64, op: &RegisterOp, answer: Option<&u64>) -> Option<u64> {
        let (says, leaves) = match op {
            RegisterOp::Get => (*state, *state),
            RegisterOp::Set(value) => (0, *value),
            RegisterOp::GetSet(value) => (*state, *value),
            RegisterOp::SetNew(value) if *state == 0 => (0, *value),
            RegisterOp::SetNew(_) => (1, *state),
            RegisterOp::Del => (u64::from(*state != 0), 0),
        };
        answer.is_none_or(|answer| *answer == says).then_some(leaves)
    }

    fn is_silent(op: &RegisterOp, answer: &u64) -> bool {
        match op {
            RegisterOp::Get => true,
            RegisterOp::SetNew(_) => *answer == 1,
            RegisterOp::Del => *answer == 0,
            RegisterOp::Set(_) | RegisterOp::GetSet(_) => false,
        }
    }
}

/// A key that counts.
#[derive(Debug)]
pub struct Counter;

/// What is asked of a [`Counter`]; answers are numbers, nothing being 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterOp {
    /// INCR: the answer is the sum.
    Incr,
    /// GETDEL: the answer is what was there.
    GetDel,
    /// GET.
    Get,
}

impl Model for Counter {
    type State = i64;
    type Op = CounterOp;
    type Answer = i64;

    fn begin() -> i64 {
        0
    }

    fn step(state: &i64, op: &CounterOp, answer: Option<&i64>) -> Option<i64> {
        let (says, leaves) = match op {
            CounterOp::Incr => (state + 1, state + 1),
            CounterOp::GetDel => (*state, 0),
            CounterOp::Get => (*state, *state),
        };
        answer.is_none_or(|answer| *answer == says).then_some(leaves)
    }

    fn is_silent(op: &CounterOp, answer: &i64) -> bool {
        *op == CounterOp::Get || *op == CounterOp::GetDel && *answer == 0
    }
}

/// A few lists between which elements move.
#[derive(Debug)]
pub struct Queues;

/// What is asked of [`Queues`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueuesOp {
    /// RPUSH: the answer is the length.
    Push(usize, Vec<u64>),
    /// LPOP and BLPOP of these lists, the first that holds something: the list and the element, or
    /// nothing.
    Pop(Vec<usize>),
    /// LMOVE and BLMOVE from left to right: the element, or nothing.
    Move(usize, usize),
    /// LRANGE of a whole list.
    Read(usize),
}

impl Model for Queues {
    type State = Vec<Vec<u64>>;
    type Op = QueuesOp;
    type Answer = Vec<u64>;

    fn begin() -> Self::State {
        vec![Vec::new(); 3]
    }

    fn step(state: &Self::State, op: &QueuesOp, answer: Option<&Vec<u64>>) -> Option<Self::State> {
        let mut leaves = state.clone();
        let says = match op {
            QueuesOp::Push(list, elements) => {
                leaves[*list].extend(elements);
                vec![leaves[*list].len() as u64]
            }
            QueuesOp::Pop(lists) => match lists.iter().find(|list| !state[**list].is_empty()) {
                Some(&list) => vec![list as u64, leaves[list].remove(0)],
                None => Vec::new(),
            },
            QueuesOp::Move(from, _) if state[*from].is_empty() => Vec::new(),
            QueuesOp::Move(from, to) => {
                let element = leaves[*from].remove(0);
                leaves[*to].push(element);
                vec![element]
            }
            QueuesOp::Read(list) => state[*list].clone(),
        };
        answer.is_none_or(|answer| *answer == says).then_some(leaves)
    }

    fn is_silent(op: &QueuesOp, answer: &Vec<u64>) -> bool {
        match op {
            QueuesOp::Push(..) => false,
            QueuesOp::Pop(_) | QueuesOp::Move(..) => answer.is_empty(),
            QueuesOp::Read(_) => true,
        }
    }
}

/// Accounts on which money only moves, so that their sum stays.
#[derive(Debug)]
pub struct Accounts;

impl Accounts {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// What is on each at the beginning.
    pub const EACH: i64 = 1000;
}

/// What is asked of [`Accounts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountsOp {
    /// Moves an amount; the answer is what is on both then, or nothing if it was refused.
    Transfer {
        /// From this account.
        from: usize,
        /// To that one.
        to: usize,
        /// So much.
        amount: i64,
        /// What was on both when it was looked at, and must still be when it moves.
        seen: Option<(i64, i64)>,
    },
    /// All of them.
    Read,
}

impl Model for Accounts {
    type State = Vec<i64>;
    type Op = AccountsOp;
    type Answer = Vec<i64>;

    fn begin() -> Vec<i64> {
        vec![Accounts::EACH; Accounts::COUNT]
    }

    fn step(state: &Vec<i64>, op: &AccountsOp, answer: Option<&Vec<i64>>) -> Option<Vec<i64>> {
        match op {
            AccountsOp::Read => answer.is_none_or(|answer| answer == state).then(|| state.clone()),
            // A transfer that was given up has not happened.
            AccountsOp::Transfer { .. } if answer.is_some_and(Vec::is_empty) => Some(state.clone()),
            AccountsOp::Transfer { from, to, amount, seen } => {
                if seen.is_some_and(|seen| seen != (state[*from], state[*to])) {
                    return None;
                }
                let mut leaves = state.clone();
                leaves[*from] -= amount;
                leaves[*to] += amount;
                let says = [leaves[*from], leaves[*to]];
                answer.is_none_or(|answer| *answer == says).then_some(leaves)
            }
        }
    }

    fn is_silent(op: &AccountsOp, answer: &Vec<i64>) -> bool {
        *op == AccountsOp::Read || answer.is_empty()
    }
}
