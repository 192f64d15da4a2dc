//! When keys were used last, and how often: what OBJECT IDLETIME and OBJECT FREQ tell.
//!
//! Nothing is evicted by its use, and there may be far more keys than memory for facts about each. So this is an
//! estimate in fixed memory: keys share slots, and one that shares its slot with busier keys seems used later and
//! oftener than it was. It is not kept on disk: what was not used since the start counts as used at the start.
//!
//! ```text
//! slot: u32 = | seconds of the last use (24 bits) | count (8 bits) |      0: not used yet
//! ```
//!
//! The clock of 24 bits comes round after 194 days, as Redis's does. All slots together are small enough to stay in
//! a processor's own cache: every command looks at one.
//!
//! The count is a logarithmic one, as Redis keeps it: the larger it is, the less likely a use is to raise it, and
//! it falls with the time between uses.

use crate::place::Key;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// 512 KiB of slots.
const SLOT_BITS: u32 = 17;
/// What the clock shows.
const CLOCK: u64 = (1 << 24) - 1;
/// The count of a key that was used once.
const INITIAL: u8 = 5;
/// An odd number near 2^64 divided by the golden ratio: spreads neighbours over all slots.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// How uses are counted: `lfu-log-factor` and `lfu-decay-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lfu {
    /// How much less likely each further step is.
    pub log_factor: u32,
    /// So many minutes without use take one off; 0: none ever.
    pub decay_minutes: u32,
}

impl Lfu {
    fn fallen(self, count: u8, idle_s: u64) -> u8 {
        let steps = (idle_s / 60).checked_div(u64::from(self.decay_minutes)).unwrap_or(0);
        count.saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX))
    }

    /// `chance` is any number, each as likely as the others.
    fn risen(self, count: u8, chance: u64) -> u8 {
        let above = u64::from(count.saturating_sub(INITIAL));
        let rises = chance.is_multiple_of(above * u64::from(self.log_factor) + 1);
        count.saturating_add(u8::from(rises))
    }
}

/// The slots.
#[derive(Debug)]
pub(crate) struct Uses {
    slots: Box<[AtomicU32]>,
    /// Unix seconds of the first use of all; 0: none yet.
    since_s: AtomicU64,
}

fn packed(at_s: u64, count: u8) -> u32 {
    ((at_s & CLOCK) as u32) << 8 | u32::from(count)
}

/// Seconds from the time in a slot until now.
fn since(slot: u32, now_s: u64) -> u64 {
    now_s.wrapping_sub(u64::from(slot >> 8)) & CLOCK
}

impl Default for Uses {
    fn default() -> Uses {
        let slots = (0..1 << SLOT_BITS).map(|_| AtomicU32::new(0)).collect();
        Uses { slots, since_s: AtomicU64::new(0) }
    }
}

impl Uses {
    fn slot(&self, db: u32, key: Key<'_>) -> Option<&AtomicU32> {
        let mixed = key.place.wrapping_add(u64::from(db)).wrapping_mul(SPREAD);
        self.slots.get((mixed >> (64 - SLOT_BITS)) as usize)
    }

    /// Notes a use. A slot is written to once a second at most, unless uses are counted.
    #[inline]
    pub(crate) fn note(&self, db: u32, key: Key<'_>, now_s: u64, lfu: Option<Lfu>, seed: u64) {
        let Some(slot) = self.slot(db, key) else { return };
        let was = slot.load(Relaxed);
        if was == 0 {
            let _known = self.since_s.compare_exchange(0, now_s, Relaxed, Relaxed);
            slot.store(packed(now_s, INITIAL), Relaxed);
            return;
        }
        let (idle_s, mut count) = (since(was, now_s), was as u8);
        if let Some(lfu) = lfu {
            let fallen = lfu.fallen(count, idle_s);
            count = lfu.risen(fallen, (seed ^ key.place).wrapping_mul(SPREAD) >> 16);
        } else if idle_s == 0 {
            return;
        }
        slot.store(packed(now_s, count), Relaxed);
    }

    /// Makes the key look as if it had been used so long ago, so often.
    pub(crate) fn set(&self, db: u32, key: Key<'_>, now_s: u64, idle_s: u64, count: Option<u8>) {
        if let Some(slot) = self.slot(db, key) {
            let at_s = now_s.saturating_sub(idle_s);
            slot.store(packed(at_s, count.unwrap_or(INITIAL)), Relaxed);
        }
    }

    /// Seconds since the last use.
    pub(crate) fn idle_s(&self, db: u32, key: Key<'_>, now_s: u64) -> u64 {
        match (self.slot(db, key).map(|slot| slot.load(Relaxed)), self.since_s.load(Relaxed)) {
            (None | Some(0), 0) => 0,
            (None | Some(0), since_s) => now_s.saturating_sub(since_s),
            (Some(slot), _) => since(slot, now_s),
        }
    }

    /// The count, as it has fallen until now.
    pub(crate) fn count(&self, db: u32, key: Key<'_>, now_s: u64, lfu: Lfu) -> u8 {
        let was = match self.slot(db, key).map(|slot| slot.load(Relaxed)) {
            None | Some(0) => packed(self.since_s.load(Relaxed), INITIAL),
            Some(was) => was,
        };
        lfu.fallen(was as u8, since(was, now_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: Lfu = Lfu { log_factor: 10, decay_minutes: 1 };

    fn key(name: &[u8]) -> Key<'_> {
        Key::new(7, name)
    }

    #[test]
    fn idle_since_the_last_use_or_the_first_of_all() {
        let uses = Uses::default();
        assert_eq!(uses.idle_s(0, key(b"a"), 1000), 0);
        uses.note(0, key(b"a"), 1000, None, 1);
        assert_eq!(uses.idle_s(0, key(b"a"), 1030), 30);
        uses.note(0, key(b"a"), 1040, None, 1);
        assert_eq!(uses.idle_s(0, key(b"a"), 1050), 10);
        assert_eq!(uses.idle_s(0, key(b"never"), 1050), 50);
        assert_eq!(uses.idle_s(1, key(b"a"), 1050), 50, "another database");
        uses.set(0, key(b"a"), 1050, 1000, None);
        assert_eq!(uses.idle_s(0, key(b"a"), 1050), 1000);
    }

    #[test]
    fn counts_rise_ever_more_slowly_and_fall_with_time() {
        let uses = Uses::default();
        uses.note(0, key(b"a"), 6000, Some(LFU), 0);
        assert_eq!(uses.count(0, key(b"a"), 6000, LFU), 5);
        uses.note(0, key(b"a"), 6000, Some(LFU), 0);
        assert_eq!(uses.count(0, key(b"a"), 6000, LFU), 6, "the first step is certain");
        for seed in 0..100_000 {
            uses.note(0, key(b"a"), 6000, Some(LFU), seed);
        }
        let count = uses.count(0, key(b"a"), 6000, LFU);
        assert!((100..=200).contains(&count), "Redis's counter says 142 after so many: {count}");
        assert_eq!(uses.count(0, key(b"a"), 6000 + 60 * 10, LFU), count - 10);
        let forever = Lfu { decay_minutes: 0, ..LFU };
        assert_eq!(uses.count(0, key(b"a"), 600_000, forever), count);
        assert_eq!(uses.count(0, key(b"a"), 600_000, LFU), 0);
    }
}
