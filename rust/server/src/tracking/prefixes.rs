//! Which clients want to be told of all names with certain beginnings.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(super) struct Prefixes {
    by_prefix: Mutex<BTreeMap<Vec<u8>, BTreeSet<u64>>>,
    len: AtomicUsize,
}

/// Names, and the clients that want to be told of them.
type Fitting<'a> = (Vec<&'a [u8]>, Vec<u64>);

impl Prefixes {
    /// Adds a client to all of `prefixes`, where it may be already.
    pub(super) fn enter(&self, client: u64, prefixes: &[Vec<u8>]) {
        let mut by_prefix = self.by_prefix.lock();
        for prefix in prefixes {
            by_prefix.entry(prefix.clone()).or_default().insert(client);
        }
        self.len.store(by_prefix.len(), Relaxed);
    }

    pub(super) fn leave(&self, client: u64, prefixes: &[Vec<u8>]) {
        let mut by_prefix = self.by_prefix.lock();
        for prefix in prefixes {
            if let Some(clients) = by_prefix.get_mut(prefix) {
                clients.remove(&client);
                if clients.is_empty() {
                    by_prefix.remove(prefix);
                }
            }
        }
        self.len.store(by_prefix.len(), Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// For each prefix with which any of `names` begins: those, and its clients.
    pub(super) fn fitting<'a>(&self, names: &BTreeSet<&'a [u8]>) -> Vec<Fitting<'a>> {
        let by_prefix = self.by_prefix.lock();
        let mut fitting = Vec::new();
        for (prefix, clients) in by_prefix.iter() {
            // Names with one beginning stand together.
            let from =
                names.range::<[u8], _>((Bound::Included(prefix.as_slice()), Bound::Unbounded));
            let found: Vec<_> = from.copied().take_while(|name| name.starts_with(prefix)).collect();
            if !found.is_empty() {
                fitting.push((found, clients.iter().copied().collect()));
            }
        }
        fitting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_beginnings() {
        let prefixes = Prefixes::default();
        prefixes.enter(1, &[b"a".to_vec(), b"b".to_vec()]);
        prefixes.enter(2, &[b"ab".to_vec(), Vec::new()]);
        prefixes.enter(2, &[b"ab".to_vec()]);
        assert_eq!(prefixes.len(), 4);
        let names: BTreeSet<&[u8]> = [&b"abc"[..], b"ax", b"c"].into();
        let fitting = prefixes.fitting(&names);
        let all: Fitting<'_> = (vec![b"abc", b"ax", b"c"], vec![2]);
        assert_eq!(fitting[0], all);
        let some: Fitting<'_> = (vec![b"abc", b"ax"], vec![1]);
        assert_eq!(fitting[1], some);
        let one: Fitting<'_> = (vec![b"abc"], vec![2]);
        assert_eq!(fitting[2..], [one]);
        prefixes.leave(2, &[b"ab".to_vec(), Vec::new()]);
        prefixes.leave(1, &[b"a".to_vec(), b"b".to_vec()]);
        assert!(prefixes.is_empty());
    }
}
