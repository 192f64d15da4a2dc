//! Many sorted sources as one: the newest version of every key, in ascending order.

use crate::error::Result;
use std::cmp::Ordering;

/// A position that walks up through a sorted source: a memtable or a run of tables.
pub trait Walk {
    /// Whether there is a current entry.
    fn valid(&self) -> bool;
    /// The current key. Only meaningful while valid.
    fn key(&self) -> &[u8];
    /// The current value; `None` is a tombstone. Only meaningful while valid.
    fn value(&self) -> Option<&[u8]>;
    /// Goes one entry on. The keys ascend strictly. After an error the walk is over.
    fn next(&mut self) -> Result<()>;
}

impl<W: Walk + ?Sized> Walk for Box<W> {
    fn valid(&self) -> bool {
        (**self).valid()
    }

    fn key(&self) -> &[u8] {
        (**self).key()
    }

    fn value(&self) -> Option<&[u8]> {
        (**self).value()
    }

    fn next(&mut self) -> Result<()> {
        (**self).next()
    }
}

/// Walks over several sources at once. Of versions of one key it shows the one from the newest source;
/// tombstones are shown, not applied.
pub struct MergeCursor<W> {
    /// Newest first.
    sources: Vec<W>,
    /// The valid sources as a binary heap of their places; the smallest key, and among equal ones the
    /// newest source, is on top.
    heap: Vec<usize>,
    /// Tells equal keys of older sources from the one that was shown; kept for its memory.
    shown: Vec<u8>,
}

impl<W: Walk> MergeCursor<W> {
    /// A cursor over `sources`, newest first, each of which already is where it shall begin.
    pub fn new(sources: Vec<W>) -> MergeCursor<W> {
        let heap: Vec<usize> =
            sources.iter().enumerate().filter(|(_, s)| s.valid()).map(|(i, _)| i).collect();
        let mut merge = MergeCursor { sources, heap, shown: Vec::new() };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sink(at);
        }
        merge
    }

    /// The place of the source that the current entry comes from; 0 is the newest.
    pub fn source(&self) -> Option<usize> {
        self.heap.first().copied()
    }

    /// The sources, for what can be asked of them besides walking.
    pub fn sources(&self) -> &[W] {
        &self.sources
    }

    fn top(&self) -> Option<&W> {
        self.sources.get(*self.heap.first()?)
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let key = |i: usize| self.sources.get(i).map(W::key);
        key(a).cmp(&key(b)).then(a.cmp(&b)) == Ordering::Less
    }

    /// Moves the source on top one entry on and restores the order.
    fn advance_top(&mut self) -> Result<()> {
        let Some(&top) = self.heap.first() else { return Ok(()) };
        if let Some(source) = self.sources.get_mut(top) {
            if let Err(e) = source.next() {
                self.heap.clear();
                return Err(e);
            }
            if !source.valid() {
                self.heap.swap_remove(0);
            }
        }
        self.sink(0);
        Ok(())
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if let (Some(&a), Some(&b)) = (self.heap.get(child), self.heap.get(least))
                    && self.before(a, b)
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

impl<W: Walk> Walk for MergeCursor<W> {
    fn valid(&self) -> bool {
        !self.heap.is_empty()
    }

    fn key(&self) -> &[u8] {
        self.top().map_or(&[], W::key)
    }

    fn value(&self) -> Option<&[u8]> {
        self.top().and_then(W::value)
    }

    fn next(&mut self) -> Result<()> {
        if self.heap.len() <= 1 {
            return self.advance_top();
        }
        let mut shown = std::mem::take(&mut self.shown);
        shown.clear();
        shown.extend_from_slice(self.key());
        let mut done = self.advance_top();
        while done.is_ok() && self.valid() && self.key() == shown {
            done = self.advance_top();
        }
        self.shown = shown;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use forgekv_base::rng::Rng;
    use std::collections::BTreeMap;

    type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    struct List {
        entries: Entries,
        at: usize,
        fail_at: Option<usize>,
    }

    impl Walk for List {
        fn valid(&self) -> bool {
            self.at < self.entries.len()
        }
        fn key(&self) -> &[u8] {
            &self.entries[self.at].0
        }
        fn value(&self) -> Option<&[u8]> {
            self.entries[self.at].1.as_deref()
        }
        fn next(&mut self) -> Result<()> {
            self.at += 1;
            if Some(self.at) == self.fail_at { Err(Error::Closed) } else { Ok(()) }
        }
    }

    fn list(entries: Entries) -> List {
        List { entries, at: 0, fail_at: None }
    }

    #[test]
    fn shows_the_newest_version_of_every_key_in_order() {
        let mut rng = Rng::seeded(7);
        for _ in 0..300 {
            let mut model: BTreeMap<Vec<u8>, (usize, Option<Vec<u8>>)> = BTreeMap::new();
            let sources: Vec<List> = (0..rng.below(7) as usize)
                .map(|source| {
                    let map: BTreeMap<Vec<u8>, Option<Vec<u8>>> = (0..rng.below(30))
                        .map(|_| {
                            let key = vec![b'a'; rng.below(3) as usize + 1];
                            let key = [key, vec![rng.below(10) as u8]].concat();
                            (key, (rng.below(3) > 0).then(|| vec![source as u8]))
                        })
                        .collect();
                    for (key, value) in &map {
                        model.entry(key.clone()).or_insert((source, value.clone()));
                    }
                    list(map.into_iter().collect())
                })
                .collect();
            let mut merge = MergeCursor::new(sources);
            for (key, (source, value)) in &model {
                assert!(merge.valid());
                assert_eq!((merge.key(), merge.value()), (key.as_slice(), value.as_deref()));
                assert_eq!(merge.source(), Some(*source));
                merge.next().unwrap();
            }
            assert!(!merge.valid() && merge.source().is_none() && merge.key().is_empty());
            merge.next().unwrap();
        }
    }

    #[test]
    fn an_error_ends_the_walk() {
        let entries: Entries = (0..5).map(|i| (vec![i], None)).collect();
        let failing = List { entries: entries.clone(), at: 0, fail_at: Some(2) };
        let mut merge = MergeCursor::new(vec![list(entries), failing]);
        merge.next().unwrap();
        assert!(matches!(merge.next(), Err(Error::Closed)));
        assert!(!merge.valid());
        merge.next().unwrap();
    }
}
