//! Events that took long (LATENCY): for each sort of event the last of them, one a second.

use forgekv_base::clock;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Samples that are kept of an event.
const MAX_SAMPLES: usize = 160;

/// What may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A command that is not marked fast.
    Command,
    /// A command that is.
    FastCommand,
    /// A round of the cycle that removes expired keys.
    ExpireCycle,
    /// A command waited for blocks from disk.
    ColdRead,
    /// Writers were held back because flushes and compactions did not keep up.
    WriteDelay,
}

impl Event {
    pub(crate) const ALL: [Event; 5] = [
        Event::Command,
        Event::FastCommand,
        Event::ExpireCycle,
        Event::ColdRead,
        Event::WriteDelay,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::Command => "command",
            Event::FastCommand => "fast-command",
            Event::ExpireCycle => "expire-cycle",
            Event::ColdRead => "cold-read",
            Event::WriteDelay => "write-delay",
        }
    }

    pub(crate) fn named(word: &[u8]) -> Option<Event> {
        Event::ALL.into_iter().find(|event| word.eq_ignore_ascii_case(event.name().as_bytes()))
    }
}

/// What is kept of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Unix seconds and milliseconds, the oldest first; the longest of each second.
    pub(crate) samples: VecDeque<(u64, u64)>,
    /// The longest ever, in milliseconds.
    pub(crate) max_ms: u64,
}

impl Samples {
    fn add(&mut self, unix_s: u64, ms: u64) {
        self.max_ms = self.max_ms.max(ms);
        if let Some((at, longest)) = self.samples.back_mut()
            && *at == unix_s
        {
            *longest = ms.max(*longest);
            return;
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((unix_s, ms));
    }

    /// The shortest and the longest that are kept, in milliseconds.
    pub(crate) fn range(&self) -> (u64, u64) {
        let all = self.samples.iter().map(|(_, ms)| *ms);
        (all.clone().min().unwrap_or_default(), all.max().unwrap_or_default())
    }

    /// Their mean, in milliseconds.
    pub(crate) fn mean_ms(&self) -> f64 {
        let sum: u64 = self.samples.iter().map(|(_, ms)| ms).sum();
        sum as f64 / self.samples.len().max(1) as f64
    }
}

/// All events.
#[derive(Debug, Default)]
pub(crate) struct Latency(Mutex<BTreeMap<Event, Samples>>);

impl Latency {
    /// Notes an event that took `ms` milliseconds.
    pub(crate) fn add(&self, event: Event, unix_s: u64, ms: u64) {
        self.0.lock().entry(event).or_default().add(unix_s, ms);
    }

    /// Notes an event that has just ended after `took_us`, if that is `threshold_ms` or more; 0: never.
    #[inline]
    pub(crate) fn look(&self, event: Event, threshold_ms: u64, took_us: u64) {
        if threshold_ms > 0 && took_us >= threshold_ms.saturating_mul(1000) {
            self.add(event, clock::now_us() / 1_000_000, took_us / 1000);
        }
    }

    /// What is kept of one event.
    pub(crate) fn of(&self, event: Event) -> Option<Samples> {
        self.0.lock().get(&event).cloned()
    }

    /// What is kept of all events that happened.
    pub(crate) fn all(&self) -> Vec<(Event, Samples)> {
        self.0.lock().iter().map(|(event, samples)| (*event, samples.clone())).collect()
    }

    /// Forgets an event; false if nothing was kept of it.
    pub(crate) fn forget(&self, event: Event) -> bool {
        self.0.lock().remove(&event).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second_is_kept_and_the_oldest_go() {
        let latency = Latency::default();
        for (at, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            latency.add(Event::Command, at, ms);
        }
        let kept = latency.of(Event::Command).unwrap();
        assert_eq!(
            (kept.samples.iter().copied().collect::<Vec<_>>(), kept.max_ms),
            (vec![(1, 9), (2, 3)], 9)
        );
        assert_eq!((kept.range(), kept.mean_ms()), ((3, 9), 6.0));
        for at in 3..300 {
            latency.add(Event::Command, at, 1);
        }
        let kept = latency.of(Event::Command).unwrap();
        assert_eq!((kept.samples.len(), kept.samples[0].0, kept.max_ms), (MAX_SAMPLES, 140, 9));
        assert!(latency.forget(Event::Command) && !latency.forget(Event::Command));
        assert!(latency.all().is_empty());
    }

    #[test]
    fn names_go_both_ways() {
        for event in Event::ALL {
            assert_eq!(Event::named(event.name().to_ascii_uppercase().as_bytes()), Some(event));
        }
        assert_eq!(Event::named(b"fork"), None);
    }
}
