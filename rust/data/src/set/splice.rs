//! A body that is being changed, and whether the change is in one place: then the log gets only that.

use smallvec::SmallVec;
use std::ops::Range;

/// Of a body this large the log gets only what changes; a smaller one costs it no more as a whole, and
/// recovery less.
const PATCH_MIN: usize = 256;

/// The bytes of a packed body.
pub(super) struct Spliced {
    bytes: SmallVec<[u8; 512]>,
    change: Change,
}

/// How the bytes differ from what was copied.
enum Change {
    None,
    /// In one place: so many bytes at `at` have given way to those at `insert`.
    One {
        at: usize,
        remove: usize,
        insert: Range<usize>,
    },
    /// In more than one.
    Many,
}

impl Spliced {
    /// A new body.
    pub(super) fn new(bytes: &[u8]) -> Spliced {
        Spliced { bytes: SmallVec::from_slice(bytes), change: Change::Many }
    }

    /// What a header holds now.
    pub(super) fn copy(bytes: &[u8]) -> Spliced {
        Spliced { bytes: SmallVec::from_slice(bytes), change: Change::None }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What the log needs to know if not the whole body: where, how many bytes go, and what comes.
    pub(super) fn patch(&self) -> Option<(usize, usize, &[u8])> {
        match &self.change {
            Change::One { at, remove, insert } if self.len() >= PATCH_MIN => {
                Some((*at, *remove, self.bytes.get(insert.clone())?))
            }
            _ => None,
        }
    }

    /// Puts `parts` in the place of a range.
    pub(super) fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let new = parts.iter().map(|part| part.len()).sum::<usize>();
        let (old_end, new_end, len) = (range.end, range.start + new, self.bytes.len());
        self.change = match self.change {
            Change::None => {
                Change::One { at: range.start, remove: range.len(), insert: range.start..new_end }
            }
            Change::One { .. } | Change::Many => Change::Many,
        };
        if new_end > old_end {
            self.bytes.resize(len + (new_end - old_end), 0);
        }
        if new_end != old_end {
            self.bytes.copy_within(old_end..len, new_end);
            self.bytes.truncate(len - old_end + new_end);
        }
        let mut at = range.start;
        for part in parts {
            if let Some(room) = self.bytes.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
            at += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_is_known() {
        let before: Vec<u8> = (0..=255).chain(0..=99).collect();
        for (range, insert) in
            [(3..3, &b"abc"[..]), (5..9, b""), (100..102, b"xyz"), (356..356, b"end")]
        {
            let mut body = Spliced::copy(&before);
            assert!(body.patch().is_none());
            body.splice(range.clone(), &[insert]);
            let mut after = before.clone();
            after.splice(range.clone(), insert.iter().copied());
            assert_eq!(body.bytes(), after);
            assert_eq!(body.patch(), Some((range.start, range.len(), insert)));
            body.splice(0..1, &[b"again"]);
            assert!(body.patch().is_none());
        }
        let mut small = Spliced::copy(b"abc");
        small.splice(1..2, &[b"x"]);
        assert_eq!((small.bytes(), small.patch()), (&b"axc"[..], None));
    }
}
