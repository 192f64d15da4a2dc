//! Values too large for one batch: their elements are written beforehand, in pieces, and one record
//! publishes them.
//!
//! ```text
//!   attempt ── too large ──► prepare: piece after piece, no shard held between ──► attempt ── publishes
//!                                        ▲                                            │
//!                                        └──────────── too much has changed ◄─────────┘
//! ```
//!
//! Until it is published, the new generation belongs to a key in a database that no number leads to and
//! whose id is held ([`dbmap::hold`](crate::dbmap::hold)): so compaction leaves it alone, nobody sees it, and
//! after a crash it is garbage like any flushed database. To publish is to let the root name the target and
//! to write the target's header, in the batch of the command itself.
//!
//! Meanwhile the source goes on changing. Every commit notes which elements of a watched generation it
//! touches ([`Large::note`]), under the lock of their shard. What was touched is copied again, the last few
//! by the command that publishes, which holds both shards then. Whether the source is still there, and is
//! still that generation, that command sees for itself.

use crate::dbmap;
use crate::error::{Error, Result};
use crate::hash;
use crate::header::{Header, Kind, encoding, exploded_body};
use crate::limits::Limits;
use crate::place::Key;
use crate::record;
use crate::store::Store;
use crate::view::{Surroundings, Write};
use forgekv_engine::{Batch, Error as EngineError, ShardSet};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands for the shard in `Busy` when a command needs a value that is too large for one batch: let
/// [`Store::prepare`] make it, with no shard held, and run the command again.
pub const PREPARE: u8 = u8::MAX - 2;
/// Stands for the shard in `Busy` when a part of a command takes its time: it belongs on a thread that may wait.
pub const ELSEWHERE: u8 = u8::MAX - 3;
/// A command stages no more of a copy than this, in bytes.
const STAGED_MAX: usize = 256 << 10;
/// Elements are copied in pieces of about this size, in bytes: the shards are held for no more.
const PIECE: usize = 64 << 10;
/// So many touched elements are left to the command that publishes.
const TOUCHED_MAX: usize = 256;

/// The copies that are being made in a store.
#[derive(Debug, Default)]
pub(crate) struct Large {
    /// How many there are, for those who only want to know that there is none.
    count: AtomicUsize,
    copies: Mutex<Vec<Copy>>,
    /// The database of what is not published yet.
    hidden: Mutex<Option<u32>>,
}

/// Which copy: that of a command, from a generation, to a key of a physical database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Which {
    command: u64,
    from_place: u64,
    generation: u64,
    to_db: u32,
    to_place: u64,
    to_name: Vec<u8>,
}

impl Which {
    fn new(w: &Write<'_>, from: Key<'_>, generation: u64, to: Key<'_>) -> Which {
        Which {
            command: w.random_seed(),
            from_place: from.place,
            generation,
            to_db: w.physical_db(),
            to_place: to.place,
            to_name: to.name.to_vec(),
        }
    }

    /// The source, as far as elements go.
    fn from(&self) -> Key<'static> {
        Key { name: &[], place: self.from_place }
    }

    /// The name of the owner before it is published.
    fn hidden_name(&self) -> Vec<u8> {
        let head = self.command.to_be_bytes().into_iter().chain(self.generation.to_be_bytes());
        head.chain(self.to_db.to_be_bytes()).chain(self.to_name.iter().copied()).collect()
    }
}

#[derive(Debug, Clone)]
struct Copy {
    which: Which,
    kind: Kind,
    /// The new generation, once there is one.
    made: Option<u64>,
    /// Elements up to this one are copied,
    upto: Option<Vec<u8>>,
    /// or all of them.
    complete: bool,
    /// Of those, the ones that were touched since.
    touched: BTreeSet<Vec<u8>>,
}

impl Large {
    fn with<T>(&self, which: &Which, f: impl FnOnce(&mut Copy) -> T) -> Option<T> {
        self.copies.lock().iter_mut().find(|copy| copy.which == *which).map(f)
    }

    /// Takes note of what a batch, just committed, has done to generations that are being copied. Its shards
    /// are still held.
    #[inline]
    pub(crate) fn note(&self, batch: &mut Batch) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.note_each(batch);
        }
    }

    #[cold]
    fn note_each(&self, batch: &mut Batch) {
        for copy in &mut *self.copies.lock() {
            let shard = copy.which.from().shard();
            let (from, to) =
                record::element_range(copy.which.generation, Bound::Unbounded, Bound::Unbounded);
            let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            for (key, _) in batch.range(shard, bounds.0, bounds.1) {
                let sub = record::sub_key(key);
                // The others are copied in their turn.
                if copy.complete || copy.upto.as_deref().is_some_and(|upto| sub <= upto) {
                    copy.touched.insert(sub.to_vec());
                }
            }
        }
    }
}

/// Copies the elements of `generation`, of a value of this kind in the shard of `from`, under a new one owned
/// by `to` in the selected database. Answers the new one.
///
/// # Errors
/// `Again`, also when the value is too large for one batch and has to be prepared; or damage.
pub(crate) fn copy(
    w: &mut Write<'_>,
    kind: Kind,
    from: Key<'_>,
    generation: u64,
    to: Key<'_>,
) -> Result<u64> {
    let which = Which::new(w, from, generation, to);
    let large = w.large();
    let prepared = large.with(&which, |copy| copy.clone());
    if let Some(Copy { made: Some(made), complete: true, touched, .. }) = prepared {
        if touched.len() > 4 * TOUCHED_MAX {
            return Err(EngineError::Busy(PREPARE).into());
        }
        for sub in &touched {
            copy_again(w, kind, &which, to, made, sub)?;
        }
        w.put_root(to, made);
        if let Some(hidden) = *large.hidden.lock() {
            let db = w.physical_db();
            w.enter_physical(hidden);
            w.delete_header(Key { name: &which.hidden_name(), place: to.place }, None);
            w.enter_physical(db);
        }
        return Ok(made);
    }
    let made = w.new_generation(to);
    let mut upto = None;
    while !copy_piece(w, kind, &which, to, made, &mut upto)? {
        if w.staged_bytes() > STAGED_MAX {
            let mut copies = large.copies.lock();
            if !copies.iter().any(|copy| copy.which == which) {
                large.count.fetch_add(1, Ordering::AcqRel);
                let (upto, touched) = (None, BTreeSet::new());
                copies.push(Copy { which, kind, made: None, upto, complete: false, touched });
            }
            return Err(EngineError::Busy(PREPARE).into());
        }
    }
    Ok(made)
}

/// Copies the next piece; true when it was the last.
fn copy_piece(
    w: &mut Write<'_>,
    kind: Kind,
    which: &Which,
    to: Key<'_>,
    made: u64,
    upto: &mut Option<Vec<u8>>,
) -> Result<bool> {
    let mut piece: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    let start = upto.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let (from, generation) = (which.from(), which.generation);
    w.scan_elements(from, generation, start, Bound::Unbounded, false, &mut |sub, value| {
        piece.push((sub.to_vec(), value.to_vec()));
        bytes += sub.len() + value.len();
        Ok(if bytes < PIECE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for (sub, element) in &piece {
        put(w, kind, to, made, sub, element)?;
    }
    if let Some((last, _)) = piece.pop() {
        *upto = Some(last);
    }
    Ok(bytes < PIECE)
}

fn put(
    w: &mut Write<'_>,
    kind: Kind,
    to: Key<'_>,
    made: u64,
    sub: &[u8],
    element: &[u8],
) -> Result<()> {
    w.put_element(to, made, sub, element);
    if kind == Kind::Hash { hash::copied(w, to, made, sub, element) } else { Ok(()) }
}

/// Copies an element that was touched after it had been copied; it may be gone.
fn copy_again(
    w: &mut Write<'_>,
    kind: Kind,
    which: &Which,
    to: Key<'_>,
    made: u64,
    sub: &[u8],
) -> Result<()> {
    match w.element(which.from(), which.generation, sub)?.map(<[u8]>::to_vec) {
        Some(element) => put(w, kind, to, made, sub, &element),
        None => {
            w.delete_element(to, made, sub);
            Ok(())
        }
    }
}

/// Gives up what was prepared for a command and not published, when it is dropped; what the command did outside
/// is forgotten.
pub struct Preparations<'a> {
    store: &'a Store,
    command: u64,
}

impl Drop for Preparations<'_> {
    fn drop(&mut self) {
        self.store.outside().forget(self.command);
        let large = self.store.large();
        if large.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let ours: Vec<Copy> = {
            let mut copies = large.copies.lock();
            let all = std::mem::take(&mut *copies).into_iter();
            let (ours, others) = all.partition(|copy| copy.which.command == self.command);
            *copies = others;
            ours
        };
        large.count.fetch_sub(ours.len(), Ordering::AcqRel);
        for copy in ours.iter().filter(|copy| copy.made.is_some()) {
            // What cannot be deleted now is garbage from the next start on.
            let _garbage = self.store.give_up(&copy.which);
        }
    }
}

impl Store {
    /// What is prepared for the command with this random seed is given up when the answer is dropped.
    pub fn preparations(&self, random_seed: u64) -> Preparations<'_> {
        Preparations { store: self, command: random_seed }
    }

    /// Makes the large values that the command with this random seed has asked for. Waits for the disk, and
    /// holds shards for one piece at a time only.
    ///
    /// # Errors
    /// Damage, failed reads and writes, a full disk.
    pub fn prepare(&self, random_seed: u64) -> Result<()> {
        let hidden = self.hidden()?;
        let all: Vec<Which> = {
            let copies = self.large().copies.lock();
            let ours = copies.iter().filter(|copy| copy.which.command == random_seed);
            ours.map(|copy| copy.which.clone()).collect()
        };
        for which in all {
            loop {
                match self.prepare_piece(&which, hidden) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(Error::Again(EngineError::Busy(shard))) => {
                        self.engine().wait_free_here(shard);
                    }
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    /// The database of what is not published yet.
    fn hidden(&self) -> Result<u32> {
        let mut hidden = self.large().hidden.lock();
        let id = match *hidden {
            Some(id) => id,
            None => dbmap::hold(self)?,
        };
        *hidden = Some(id);
        Ok(id)
    }

    /// One piece, or some of what was touched; true when there is nothing left that the command could not do
    /// itself.
    fn prepare_piece(&self, which: &Which, hidden: u32) -> Result<bool> {
        let name = which.hidden_name();
        let to = Key { name: &name, place: which.to_place };
        self.hidden_view(which, hidden, |w| {
            // Both shards are held: nobody touches the source, or this copy, until the commit.
            let Some(Copy { kind, made, mut upto, complete, touched, .. }) =
                self.large().with(which, |copy| copy.clone())
            else {
                return Ok((true, None));
            };
            let made = match made {
                Some(made) => made,
                None => {
                    let made = w.new_generation(to);
                    let body = exploded_body(made, 0, &[]);
                    let encoding = encoding::EXPLODED;
                    w.put_header(
                        to,
                        &Header { kind, encoding, expire_ms: None, body: &body },
                        None,
                    );
                    made
                }
            };
            if !complete {
                let complete = copy_piece(w, kind, which, to, made, &mut upto)?;
                let rest =
                    Copy { which: which.clone(), kind, made: Some(made), upto, complete, touched };
                return Ok((false, Some(rest)));
            }
            if touched.len() <= TOUCHED_MAX {
                return Ok((true, None));
            }
            let mut rest = touched.clone();
            for sub in touched.iter().take(TOUCHED_MAX) {
                copy_again(w, kind, which, to, made, sub)?;
                rest.remove(sub);
            }
            let made = Some(made);
            Ok((
                false,
                Some(Copy { which: which.clone(), kind, made, upto, complete, touched: rest }),
            ))
        })
    }

    /// Deletes the owner of what was never published.
    fn give_up(&self, which: &Which) -> Result<()> {
        let Some(hidden) = *self.large().hidden.lock() else { return Ok(()) };
        let name = which.hidden_name();
        let to = Key { name: &name, place: which.to_place };
        self.hidden_view(which, hidden, |w| {
            if w.header(to)?.is_some() {
                w.delete_header(to, None);
                w.orphan();
            }
            Ok((true, None))
        })
        .map(|_| ())
    }

    /// Runs a step with both shards held, commits it, and keeps what it says of the copy.
    fn hidden_view(
        &self,
        which: &Which,
        hidden: u32,
        step: impl FnOnce(&mut Write<'_>) -> Result<(bool, Option<Copy>)>,
    ) -> Result<bool> {
        let mut shards = ShardSet::one(which.from().shard());
        shards.insert(Key { name: &[], place: which.to_place }.shard());
        let limits = Limits::default();
        self.engine().with_reserved(shards, |guard| {
            let around = Surroundings {
                now_ms: 0,
                db: 0,
                limits: &limits,
                random_seed: 0,
                place_seed: self.place_seed(),
                events: 0,
                interest: forgekv_engine::ShardSet::default(),
            };
            let mut w = self.write(guard, Batch::new(), around);
            w.enter_physical(hidden);
            let (ended, copy) = step(&mut w)?;
            let mut parts = w.into_parts();
            self.commit(&mut parts.guard, &mut parts.batch)?;
            if let Some(new) = copy {
                self.large().with(which, |copy| *copy = new);
            }
            Ok(ended)
        })
    }
}

#[cfg(test)]
#[path = "large_tests.rs"]
mod tests;
