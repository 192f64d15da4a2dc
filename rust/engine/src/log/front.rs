//! Where appends arrive: the end of the log, and the stripes that hold what is pending.
//!
//! A thread appends to a stripe of its own. With that stripe held it reserves its place at the end of the
//! log, under a lock of which everything lies in one line of cache, and then copies its bytes into
//! the stripe. So two cores that append have a single line to hand to each other. Whoever takes what is
//! pending holds all stripes that have something: then whatever has a place has its bytes, too.

use super::outgoing::{Outgoing, Stripe};
use super::tip::{Refusal, Reserved, Tip};
use super::{Appended, FRAME_HEADER};
use crate::entry::prefetch_to_write;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads beyond this many share stripes. Not more than the bits of `Tip::stripes`.
const STRIPES: usize = 16;
/// How often a lock is tried before the thread is put to sleep: it is held for a few hundred cycles.
const SPINS: usize = 200;

#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Front {
    tip: Mutex<Tip>,
    /// The lsn of the next byte: everything up to here was appended. Changes with the tip held.
    position: AtomicU64,
    stripes: [Lined<Mutex<Stripe>>; STRIPES],
}

// The tip with its lock and the position: one line.
const _: () = assert!(size_of::<Mutex<Tip>>() + size_of::<AtomicU64>() <= 64);

/// In lines of cache that hold nothing else; processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lined<T>(T);

/// A lock that nobody holds for long.
#[inline]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.try_lock().unwrap_or_else(|| lock_slowly(mutex))
}

#[cold]
fn lock_slowly<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for _ in 0..SPINS {
        std::hint::spin_loop();
        if let Some(guard) = mutex.try_lock() {
            return guard;
        }
    }
    mutex.lock()
}

/// The calling thread's stripe.
#[inline]
fn own_stripe() -> usize {
    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(NONE) };
    }
    OWN.with(|own| {
        if own.get() == NONE {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        own.get()
    })
}

/// What became of an append.
#[derive(Debug)]
pub(super) enum Put {
    /// Done; `prepare_next` says that the next segment is due.
    Done {
        appended: Appended,
        prepare_next: bool,
    },
    Not(Reserved),
}

impl Front {
    /// A log that goes on at `position` with `tip`.
    pub(super) fn new(tip: Tip, position: u64) -> Front {
        let stripes = std::array::from_fn(|_| Lined::default());
        Front { tip: Mutex::new(tip), position: AtomicU64::new(position), stripes }
    }

    /// The end of the log, held: nothing is appended meanwhile.
    #[inline]
    pub(super) fn tip(&self) -> MutexGuard<'_, Tip> {
        lock(&self.tip)
    }

    /// The end of what was appended.
    #[inline]
    pub(super) fn appended(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Somebody will append soon: the processor asks for the end of the log.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch_to_write(std::ptr::from_ref(&self.tip).cast());
    }

    /// Copies `batch` to the end of the log and draws its sequence number.
    #[inline]
    pub(super) fn put(&self, batch: &[u8]) -> Put {
        let own = own_stripe();
        let mut stripe = lock(&self.stripes[own].0);
        let place = {
            let mut tip = lock(&self.tip);
            // Nobody else changes it: the tip is held.
            match tip.reserve(self.position.load(Ordering::Relaxed), batch.len()) {
                Reserved::Place(place) => {
                    tip.stripes |= 1 << own;
                    self.position.store(place.end, Ordering::Release);
                    place
                }
                other => return Put::Not(other),
            }
        };
        stripe.put(&place, batch);
        let appended = Appended { seq: place.seq, lsn: place.end };
        Put::Done { appended, prepare_next: place.prepare_next }
    }

    /// Appends a last frame, without batches.
    pub(super) fn put_mark(&self) {
        let own = own_stripe();
        let mut stripe = lock(&self.stripes[own].0);
        let mut tip = self.tip();
        let lsn = self.appended();
        tip.begin_mark(lsn);
        tip.stripes |= 1 << own;
        self.position.store(lsn + FRAME_HEADER as u64, Ordering::Release);
        drop(tip);
        stripe.put_header(lsn);
    }

    /// Takes everything out. Answers the end of the log and the last batch's sequence number. For one
    /// caller at a time: who holds the writer's lock.
    pub(super) fn take(&self, out: &mut Outgoing) -> (u64, u64) {
        let mut held: SmallVec<[(usize, MutexGuard<'_, Stripe>); STRIPES]> = SmallVec::new();
        let mut mask = 0;
        let mut wanted = out.expected;
        loop {
            // No appender waits for a stripe while it holds one or the tip: any order will do.
            for (n, stripe) in self.stripes.iter().enumerate() {
                if wanted & !mask & 1 << n != 0 {
                    held.push((n, lock(&stripe.0)));
                }
            }
            mask |= wanted;
            let mut tip = self.tip();
            if tip.stripes & !mask != 0 {
                wanted = tip.stripes;
                continue;
            }
            out.expected = tip.stripes;
            let end = (self.appended(), tip.take(&mut out.frames));
            drop(tip);
            for (n, stripe) in &mut held {
                out.take(*n, stripe);
            }
            return end;
        }
    }

    /// Goes on with another tip at the same position, and forgets what was pending. The number drawn last
    /// stays drawn. False, and nothing has happened, when the log was closed.
    pub(super) fn restart(&self, mut new: Tip) -> bool {
        let mut held: SmallVec<[MutexGuard<'_, Stripe>; STRIPES]> =
            self.stripes.iter().map(|stripe| lock(&stripe.0)).collect();
        let mut tip = self.tip();
        if tip.refusal() == Some(&Refusal::Closed) {
            return false;
        }
        new.drawn = new.drawn.max(tip.drawn);
        *tip = new;
        held.iter_mut().for_each(|stripe| stripe.clear());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_lies_beside_what_it_protects() {
        let mutex = Mutex::new(0u64);
        let (lock, data) = (std::ptr::from_ref(&mutex).addr(), mutex.data_ptr().addr());
        assert_eq!(data, lock + 8);
        assert_eq!(std::mem::offset_of!(Front, position) / 64, 0);
    }
}
