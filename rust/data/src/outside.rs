//! What commands have done outside of the data, where it cannot be taken back: MIGRATE has given keys to another
//! server. A command whose commit is put back is run again, and finds here what it must not do twice.

use crate::view::Write;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};

/// What was done, for each run of a command, which its random seed names.
#[derive(Debug, Default)]
pub(crate) struct Outside(Mutex<HashMap<u64, BTreeSet<Vec<u8>>>>);

impl Outside {
    fn was_done(&self, command: u64, what: &[u8]) -> bool {
        self.0.lock().get(&command).is_some_and(|done| done.contains(what))
    }

    fn done(&self, command: u64, what: Vec<u8>) {
        self.0.lock().entry(command).or_default().insert(what);
    }

    /// The command is answered: it is not run again.
    pub(crate) fn forget(&self, command: u64) {
        self.0.lock().remove(&command);
    }
}

impl Write<'_> {
    /// Whether an earlier attempt of this run has done this outside.
    pub fn was_done_outside(&self, what: &[u8]) -> bool {
        self.outside().was_done(self.random_seed(), what)
    }

    /// This has been done outside. Only for commands that run where their
    /// [`Preparations`](crate::Preparations) end with them.
    pub fn done_outside(&self, what: Vec<u8>) {
        self.outside().done(self.random_seed(), what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_remembered_until_the_command_is_answered() {
        let outside = Outside::default();
        outside.done(1, b"a".to_vec());
        assert!(outside.was_done(1, b"a"));
        assert!(!outside.was_done(1, b"b") && !outside.was_done(2, b"a"));
        outside.forget(1);
        assert!(!outside.was_done(1, b"a"));
    }
}
