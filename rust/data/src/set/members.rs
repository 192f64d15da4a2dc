//! Members in a row, one allocation for many.

use super::exploded::parse_sub;
use crate::error::Result;

/// Members, each behind its hash: the sub-keys that they have in exploded sets.
#[derive(Debug, Default, Clone)]
pub(super) struct Members {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Members {
    pub(super) fn push(&mut self, sub: &[u8]) {
        self.bytes.extend_from_slice(sub);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The size of all in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.bytes.get(start..*self.ends.get(index)?)
    }

    pub(super) fn last(&self) -> Option<&[u8]> {
        self.get(self.len().checked_sub(1)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// The same in order, each once.
    pub(super) fn sorted(&self) -> Members {
        let mut subs: Vec<&[u8]> = self.iter().collect();
        subs.sort_unstable();
        subs.dedup();
        let mut sorted = Members::default();
        subs.into_iter().for_each(|sub| sorted.push(sub));
        sorted
    }

    /// Whether a member is among these, which must be sorted.
    pub(super) fn holds(&self, sub: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.get(middle).unwrap_or_default().cmp(sub) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    }
}

/// A sub-key's member.
pub(super) fn member(sub: &[u8]) -> Result<&[u8]> {
    Ok(parse_sub(sub)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_found() {
        let mut members = Members::default();
        for sub in [&b"b"[..], b"", b"a", b"b"] {
            members.push(sub);
        }
        assert_eq!((members.len(), members.size()), (4, 3));
        assert_eq!(
            (members.get(1), members.last(), members.get(4)),
            (Some(&b""[..]), Some(&b"b"[..]), None)
        );
        let sorted = members.sorted();
        assert_eq!(sorted.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"b"]);
        for sub in [&b""[..], b"a", b"b"] {
            assert!(sorted.holds(sub));
        }
        assert!(!sorted.holds(b"c") && !Members::default().holds(b""));
        members.clear();
        assert!(members.is_empty());
    }
}
