//! What a command sees of the data: [`Read`] and [`Write`].
//!
//! A view owns the locks of the shards that the command declared. Reads see what is committed and what
//! the command has staged itself; writes are only staged, in a batch that the road commits after the
//! command succeeded. So a command that finds a block missing is dropped and run again, and one that
//! fails leaves nothing behind.
//!
//! Invariants:
//! 1. `now_ms` is one reading for the whole command (or EXEC, or script).
//! 2. Every header written goes through [`Write::put_header`], which keeps the TTL index in step.
//! 3. A key that has expired is absent. Whoever meets it, a read too, stages its deletion and the event
//!    `expired`; so a read can leave something to commit.

mod staging;

use crate::dbmap;
use crate::error::{Error, Result};
use crate::hash;
use crate::header::{Header, Kind};
use crate::limits::Limits;
use crate::place::Key;
use crate::record;
use crate::store::Shared;
use forgekv_base::rng::Rng;
use forgekv_engine::{Batch, Guard, SHARDS, ShardSet};
use smallvec::SmallVec;
use std::ops::{Bound, ControlFlow, Deref, DerefMut};

/// What surrounds a command: the same for its first run and for every run after a load.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// Unix milliseconds; time stands still inside a command.
    pub now_ms: u64,
    /// The logical database that the client selected.
    pub db: u32,
    /// The limits up to which collections are packed, as configured.
    pub limits: &'a Limits,
    /// Seed of the command's random choices, so that a second run makes the same.
    pub random_seed: u64,
    /// The seed of places.
    pub place_seed: u64,
    /// Which classes of keyspace events somebody listens to.
    pub events: u32,
    /// The shards in which somebody wants to know when a key changes.
    pub interest: ShardSet,
}

/// A change of which those have to know who watch keys, keep copies of them, or wait for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// A key was changed.
    Key {
        /// The logical database.
        db: u32,
        /// The key.
        name: Vec<u8>,
        /// The key's shard.
        shard: u8,
        /// It had expired before, and is gone now.
        expired: bool,
    },
    /// All of a logical database was changed: emptied, or put in another's place.
    Database(u32),
    /// Those who wait for a key have to look again, though its value counts as unchanged.
    Ready {
        /// The logical database.
        db: u32,
        /// The key.
        name: Vec<u8>,
        /// The key's shard.
        shard: u8,
    },
}

/// A moment in a command, to which [`Write::roll_back`] goes back.
#[derive(Debug, Clone, Copy)]
pub struct Savepoint {
    staged: usize,
    events: usize,
    touched: usize,
    changes: u64,
}

/// Something that happened to a key, told to subscribers after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// One bit of [`event_class`].
    pub class: u32,
    /// The event's name, as in Redis: "set", "del", "expired" …
    pub name: &'static str,
    /// The logical database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
}

impl Event {
    /// Whether it only tells that a key was not there.
    pub fn is_miss(&self) -> bool {
        self.class == event_class::MISS
    }
}

/// Classes of keyspace events, one bit each, as in `notify-keyspace-events`.
pub mod event_class {
    /// `g`: commands on keys of any type.
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: evicted.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `m`: key misses.
    pub const MISS: u32 = 1 << 11;
    /// `n`: new keys.
    pub const NEW: u32 = 1 << 14;
}

/// A read-only view.
pub struct Read<'e> {
    guard: Guard<'e>,
    batch: Batch,
    around: Surroundings<'e>,
    shared: &'e Shared,
    rng: Option<Rng>,
    physical_db: u32,
    events: Vec<Event>,
    touched: Vec<Touched>,
    /// The answer goes to a script.
    answers_script: bool,
    /// From here on in `touched` a key that is changed again is noted again.
    heeded: usize,
    changes: u64,
    expired: u64,
    left_large: u64,
    hits: u64,
    misses: u64,
}

/// A view that may also stage writes.
pub struct Write<'e>(Read<'e>);

/// A change of a value in one place: the `remove` bytes at `at` give way to `insert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) at: usize,
    pub(crate) remove: usize,
    pub(crate) insert: SmallVec<[u8; 128]>,
}

/// What a view would tell and count.
pub(crate) struct Hushed {
    events: u32,
    changes: u64,
}

/// What a view leaves behind for the road.
pub struct Parts<'e> {
    /// The locks.
    pub guard: Guard<'e>,
    /// What is to be committed.
    pub batch: Batch,
    /// What is to be told afterwards.
    pub events: Vec<Event>,
    /// What was changed of that somebody is interested in.
    pub touched: Vec<Touched>,
    /// How many changes the command counted (for `rdb_changes_since_last_save` and the like).
    pub changes: u64,
    /// How many expired keys the command met and staged for deletion.
    pub expired: u64,
    /// How many large values it deleted whose elements are left to the background.
    pub left_large: u64,
    /// How many look-ups of headers found their key.
    pub hits: u64,
    /// How many found none.
    pub misses: u64,
}

impl<'e> Read<'e> {
    /// A view over what `guard` holds. `batch` must be empty, or hold what earlier commands of the same
    /// transaction staged. Made by [`Store::read`](crate::Store::read).
    pub(crate) fn new(
        guard: Guard<'e>,
        mut batch: Batch,
        around: Surroundings<'e>,
        shared: &'e Shared,
    ) -> Read<'e> {
        let physical_db = dbmap::physical(shared.map(), &mut batch, around.db);
        Read {
            guard,
            batch,
            around,
            shared,
            rng: None,
            physical_db,
            events: Vec::new(),
            touched: Vec::new(),
            answers_script: false,
            heeded: 0,
            changes: 0,
            expired: 0,
            left_large: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// Gives back what the view was made of, and what the command did. Something may be staged after a
    /// read, too: see the head of this file.
    pub fn into_parts(self) -> Parts<'e> {
        Parts {
            guard: self.guard,
            batch: self.batch,
            events: self.events,
            touched: self.touched,
            changes: self.changes,
            expired: self.expired,
            left_large: self.left_large,
            hits: self.hits,
            misses: self.misses,
        }
    }

    /// The command's one reading of the clock, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.around.now_ms
    }

    /// The logical database.
    pub fn db(&self) -> u32 {
        self.around.db
    }

    /// The physical database: what keys in space H begin with.
    pub fn physical_db(&self) -> u32 {
        self.physical_db
    }

    /// The same view looking into another logical database, which must exist. For MOVE and COPY … DB,
    /// which switch there and back.
    pub fn switch_db(&mut self, logical: u32) {
        self.around.db = logical;
        self.physical_db = dbmap::physical(self.shared.map(), &mut self.batch, logical);
    }

    /// The number of logical databases.
    pub fn databases(&self) -> u32 {
        self.shared.map().len()
    }

    /// Notes that the command used these keys.
    #[inline]
    pub fn note_uses(&self, keys: &[Key<'_>]) {
        let (now_s, lfu) = (self.around.now_ms / 1000, self.around.limits.lfu);
        for &key in keys {
            let seed = self.around.random_seed;
            self.shared.uses().note(self.physical_db, key, now_s, lfu, seed);
        }
    }

    /// What all views share.
    pub(crate) fn shared(&self) -> &'e Shared {
        self.shared
    }

    /// The configured limits of packed collections.
    pub fn limits(&self) -> &'e Limits {
        self.around.limits
    }

    /// The command's random choices; a second run of the command makes the same.
    pub fn rng(&mut self) -> &mut Rng {
        let seed = self.around.random_seed;
        self.rng.get_or_insert_with(|| Rng::seeded(seed))
    }

    /// The place of a key that was not declared (it may not be in a shard that is held).
    pub fn key<'k>(&self, name: &'k [u8]) -> Key<'k> {
        Key::new(self.around.place_seed, name)
    }

    /// The seed of those choices: the same in all runs of the command, and in no other.
    pub(crate) fn random_seed(&self) -> u64 {
        self.around.random_seed
    }

    /// What commands have done outside of the data.
    pub(crate) fn outside(&self) -> &'e crate::outside::Outside {
        self.shared.outside()
    }

    /// The copies of large values that are being made.
    pub(crate) fn large(&self) -> &'e crate::large::Large {
        self.shared.large()
    }

    /// The seed of places, also of what orders the elements of a value by hash.
    pub(crate) fn place_seed(&self) -> u64 {
        self.around.place_seed
    }

    /// Whether somebody listens to a class of events: only then is it worth finding out what they need.
    pub fn listens(&self, class: u32) -> bool {
        self.around.events & class != 0
    }

    /// Tells subscribers, after the command, what happened to a key, and, if it has changed, those who are
    /// interested in it; counts no change. `class` is one of [`event_class`].
    pub fn notify(&mut self, class: u32, name: &'static str, key: Key<'_>) {
        if class != event_class::MISS {
            self.touch(key);
        }
        self.tell(class, name, key);
    }

    fn tell(&mut self, class: u32, name: &'static str, key: Key<'_>) {
        if self.listens(class) {
            let db = self.around.db;
            self.events.push(Event { class, name, db, key: key.name.to_vec() });
        }
    }

    /// Says whether what is read from here on is for a script.
    pub fn answer_script(&mut self, yes: bool) {
        self.answers_script = yes;
    }

    /// Whether a script sees the answer: what has no order of its own should then be given one.
    pub fn answers_script(&self) -> bool {
        self.answers_script
    }

    /// Refuses to go on unless all shards are held.
    ///
    /// # Errors
    /// `Again`: the road takes them all and runs the command once more.
    pub fn require_all(&self) -> Result<()> {
        match (0..SHARDS as u8).find(|&shard| !self.guard.holds(shard)) {
            Some(shard) => Err(forgekv_engine::Error::NotHeld(shard).into()),
            None => Ok(()),
        }
    }

    /// Whether this command, or its transaction before it, has staged anything.
    pub(crate) fn has_staged(&self) -> bool {
        !self.batch.is_empty()
    }

    /// How many keys more (or less) the selected database will have when what is staged is committed.
    pub(crate) fn staged_count(&mut self) -> Result<i64> {
        let mut sum = 0;
        if self.batch.is_empty() {
            return Ok(sum);
        }
        for shard in 0..SHARDS as u8 {
            let from = record::header_start(self.physical_db, u64::from(shard) << 58);
            let to = record::header_end(self.physical_db, shard);
            let staged = self.batch.range(shard, Bound::Included(&from), Bound::Excluded(&to));
            for (key, value) in staged {
                let before = self.guard.get(shard, record::hash(key), key)?;
                sum += i64::from(value.is_some()) - i64::from(before.is_some());
            }
        }
        Ok(sum)
    }

    /// The locks, for what the views do not offer.
    pub fn guard(&mut self) -> &mut Guard<'e> {
        &mut self.guard
    }

    /// The header of a key, or `None` when it is absent or expired. The deletion of an expired key is
    /// staged at once.
    ///
    /// # Errors
    /// `Again` when it has to be loaded.
    pub fn header(&mut self, key: Key<'_>) -> Result<Option<Header<'_>>> {
        let record = record::HeaderKey::new(self.physical_db, key);
        let (shard, hash) = (key.shard(), record.hash());
        if !self.batch.is_empty() && self.batch.get(shard, hash, record.bytes()).is_some() {
            // Already expired is only what the same transaction wrote with an expiry in the past.
            let now_ms = self.around.now_ms;
            let staged = self.batch.get(shard, hash, record.bytes()).flatten();
            let header = staged.map(Header::decode).transpose()?;
            return Ok(header.filter(|h| h.expire_ms.is_none_or(|at| at > now_ms)));
        }
        let Some(bytes) = self.guard.get(shard, hash, record.bytes())? else {
            self.misses += 1;
            return Ok(None);
        };
        let header = Header::decode(bytes)?;
        let Some(at) = header.expire_ms.filter(|&at| at <= self.around.now_ms) else {
            self.hits += 1;
            return Ok(Some(header));
        };
        self.misses += 1;
        if self.around.now_ms < self.shared.expiry().kept_until_ms() {
            return Ok(None);
        }
        if header.generation().is_some() {
            self.batch.hint_garbage();
        }
        self.batch.delete(shard, hash, record.bytes());
        let ttl = record::TtlKey::new(at, self.physical_db, key);
        self.batch.delete(shard, ttl.hash(), ttl.bytes());
        self.expired += 1;
        if self.around.events & event_class::EXPIRED != 0 {
            let (class, db) = (event_class::EXPIRED, self.around.db);
            self.events.push(Event { class, name: "expired", db, key: key.name.to_vec() });
        }
        if self.around.interest.contains(shard) {
            let (db, name) = (self.around.db, key.name.to_vec());
            self.touched.push(Touched::Key { db, name, shard, expired: true });
        }
        Ok(None)
    }

    /// Notes that a key has changed, for those who are interested.
    fn touch(&mut self, key: Key<'_>) {
        let shard = key.shard();
        if self.around.interest.contains(shard) {
            let db = self.around.db;
            let is_last = |touched: &Touched| {
                matches!(touched, Touched::Key { db: of, name, expired: false, .. }
                    if *of == db && name == key.name)
            };
            if self.touched.len() > self.heeded && self.touched.last().is_some_and(is_last) {
                return;
            }
            let name = key.name.to_vec();
            self.touched.push(Touched::Key { db, name, shard, expired: false });
        }
    }

    /// Somebody has just read in `shard` and wants to know of every change from here on. Answers how many
    /// changes were noted before.
    pub fn heed(&mut self, shard: u8) -> usize {
        self.around.interest.insert(shard);
        self.heeded = self.touched.len();
        self.heeded
    }

    /// Like [`header`](Self::header), but refuses a key of another kind.
    ///
    /// # Errors
    /// `WrongType`, or as `header`.
    pub fn header_of(&mut self, key: Key<'_>, kind: Kind) -> Result<Option<Header<'_>>> {
        self.header(key)?.map(|h| h.expect(kind)).transpose()
    }

    /// The header of a key even when it has expired and was not reaped yet.
    ///
    /// # Errors
    /// As `header`.
    pub fn header_raw(&mut self, key: Key<'_>) -> Result<Option<Header<'_>>> {
        let record = record::HeaderKey::new(self.physical_db, key);
        match self.get(key.shard(), record.hash(), record.bytes())? {
            None => Ok(None),
            Some(bytes) => Header::decode(bytes).map(Some),
        }
    }

    /// Any record of a shard, by its key: the command's own staged write if there is one.
    pub(crate) fn get(&mut self, shard: u8, hash: u64, key: &[u8]) -> Result<Option<&[u8]>> {
        if !self.batch.is_empty()
            && let Some(staged) = self.batch.get(shard, hash, key)
        {
            // Looked up twice: the borrow checker does not yet accept a conditional return of a borrow.
            return match staged {
                None => Ok(None),
                Some(_) => Ok(self.batch.get(shard, hash, key).flatten()),
            };
        }
        Ok(self.guard.get(shard, hash, key)?)
    }

    /// One element of an exploded value: the record `sub` of `generation`, in the shard of its owner.
    ///
    /// # Errors
    /// `Again` when it has to be loaded.
    pub fn element(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        sub: &[u8],
    ) -> Result<Option<&[u8]>> {
        let record = record::ElementKey::new(generation, sub);
        self.get(owner.shard(), record.hash(), record.bytes())
    }

    /// Visits the elements of `generation` whose sub-keys lie in a range, in ascending order or, if
    /// `reverse`, in descending order, until `each` breaks. The root record (empty sub-key) is left out.
    ///
    /// # Errors
    /// `Again` when something has to be loaded, or what `each` returns.
    pub fn scan_elements(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let (from, to) = record::element_range(generation, from, to);
        self.scan(owner.shard(), &from, &to, reverse, &mut |key, value| {
            each(record::sub_key(key), value)
        })
    }

    /// Visits the records of a shard in a range of engine keys, staged writes included.
    pub(crate) fn scan(
        &mut self,
        shard: u8,
        from: &Bound<Vec<u8>>,
        to: &Bound<Vec<u8>>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failed = None;
        self.guard.scan(
            shard,
            from.as_ref().map(Vec::as_slice),
            to.as_ref().map(Vec::as_slice),
            reverse,
            &mut self.batch,
            &mut |key, value| match each(key, value) {
                Ok(flow) => flow,
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            },
        )?;
        failed.map_or(Ok(()), Err)
    }
}

impl<'e> Write<'e> {
    /// As [`Read::new`].
    pub(crate) fn new(
        guard: Guard<'e>,
        batch: Batch,
        around: Surroundings<'e>,
        shared: &'e Shared,
    ) -> Write<'e> {
        Write(Read::new(guard, batch, around, shared))
    }

    /// As [`Read::into_parts`].
    pub fn into_parts(self) -> Parts<'e> {
        self.0.into_parts()
    }

    /// Writes a key's header, whole: kind, encoding, expiry and body. `before` is the expiry of the header
    /// that this one replaces, if the caller knows it: its entry in the TTL index is taken away; an entry
    /// of which nobody knows any more is found stale when it fires.
    pub fn put_header(&mut self, key: Key<'_>, header: &Header<'_>, before: Option<u64>) {
        self.0.stage_header(key, header, before);
        if let Some(first_ms) = hash::first_expiry(header) {
            self.0.enter_fields(key, first_ms);
        }
    }

    /// Deletes a key that is there: its header, and with it the claim on everything that belonged to it.
    /// `before` as in [`put_header`](Self::put_header).
    pub fn delete_header(&mut self, key: Key<'_>, before: Option<u64>) {
        self.0.stage_header_deletion(key, before);
    }

    /// Says that what is deleted had elements, so that their disk is looked for and given back.
    pub fn orphan(&mut self) {
        self.0.batch.hint_garbage();
    }

    /// Counts a large value whose elements are left to the background.
    pub(crate) fn leave_large(&mut self) {
        self.0.left_large += 1;
    }

    /// A number never used before, under which the elements of a new exploded value are written, and its
    /// root record, which names the owner.
    pub fn new_generation(&mut self, owner: Key<'_>) -> u64 {
        self.0.stage_generation(owner)
    }

    /// Names the owner of a generation (again, after a RENAME or MOVE inside the shard).
    pub fn put_root(&mut self, owner: Key<'_>, generation: u64) {
        self.0.stage_root(owner, generation);
    }

    /// Writes one element of an exploded value.
    pub fn put_element(&mut self, owner: Key<'_>, generation: u64, sub: &[u8], value: &[u8]) {
        self.0.stage_element(owner, generation, sub, &[value]);
    }

    /// Changes a part of an element that is there: the `remove` bytes at `at` give way to `insert`. Costs the
    /// log only what changes.
    ///
    /// # Errors
    /// `Again` when the element has to be loaded; damage when it is not there.
    pub fn patch_element(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        sub: &[u8],
        at: usize,
        remove: usize,
        insert: &[u8],
    ) -> Result<()> {
        self.0.stage_element_patch(owner, generation, sub, at, remove, insert)
    }

    /// Changes a part of an element that is there, as `f` decides when it sees it, and answers what else `f`
    /// answers: saves looking it up twice.
    ///
    /// # Errors
    /// As [`patch_element`](Self::patch_element), or what `f` answers.
    pub(crate) fn edit_element<T>(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        sub: &[u8],
        f: impl FnOnce(&[u8]) -> Result<(Option<Splice>, T)>,
    ) -> Result<T> {
        let record = record::ElementKey::new(generation, sub);
        let (shard, hash, key) = (owner.shard(), record.hash(), record.bytes());
        let view = &mut self.0;
        let missing = || Error::broken("an element that should be there is missing");
        let staged = match view.batch.is_empty() {
            true => None,
            false => view.batch.get(shard, hash, key).map(|staged| staged.map(<[u8]>::to_vec)),
        };
        let copy;
        let base = match staged {
            None => view.guard.get(shard, hash, key)?.ok_or_else(missing)?,
            Some(staged) => {
                copy = staged.ok_or_else(missing)?;
                &copy
            }
        };
        let (splice, answer) = f(base)?;
        if let Some(Splice { at, remove, insert }) = splice {
            view.batch.patch(shard, hash, key, base, at, remove, &insert);
        }
        Ok(answer)
    }

    /// Deletes one element of an exploded value.
    pub fn delete_element(&mut self, owner: Key<'_>, generation: u64, sub: &[u8]) {
        self.0.stage_element_deletion(owner, generation, sub);
    }

    /// Stages any record of a shard.
    pub(crate) fn put(&mut self, shard: u8, hash: u64, key: &[u8], value: &[u8]) {
        self.0.batch.put(shard, hash, key, value);
    }

    /// Stages the deletion of any record of a shard.
    pub(crate) fn delete(&mut self, shard: u8, hash: u64, key: &[u8]) {
        self.0.batch.delete(shard, hash, key);
    }

    /// Counts a change, and tells subscribers after the commit what happened to a key. `class` is one of
    /// [`event_class`].
    pub fn event(&mut self, class: u32, name: &'static str, key: Key<'_>) {
        self.0.changes += 1;
        self.0.notify(class, name, key);
    }

    /// As [`event`](Self::event), of what stands beside a value, as a stream's groups do: as in Redis, neither
    /// WATCH nor CLIENT TRACKING takes that for a change of the key.
    pub(crate) fn event_beside(&mut self, class: u32, name: &'static str, key: Key<'_>) {
        self.0.changes += 1;
        self.0.tell(class, name, key);
    }

    /// Those who wait for a key look again after the commit.
    pub(crate) fn wake(&mut self, key: Key<'_>) {
        let shard = key.shard();
        if self.0.around.interest.contains(shard) {
            let (db, name) = (self.0.around.db, key.name.to_vec());
            self.0.touched.push(Touched::Ready { db, name, shard });
        }
    }

    /// Notes that all of a logical database has changed.
    pub(crate) fn touch_database(&mut self, logical: u32) {
        if self.0.around.interest != ShardSet::default() {
            self.0.touched.push(Touched::Database(logical));
        }
    }

    /// Counts a change of which no event tells.
    pub fn changed(&mut self) {
        self.0.changes += 1;
    }

    /// From here on no event is told and no change counted, until [`unhush`](Self::unhush).
    pub(crate) fn hush(&mut self) -> Hushed {
        let events = std::mem::take(&mut self.0.around.events);
        Hushed { events, changes: self.0.changes }
    }

    /// Ends what [`hush`](Self::hush) began.
    pub(crate) fn unhush(&mut self, hushed: Hushed) {
        self.0.around.events = hushed.events;
        self.0.changes = hushed.changes;
    }

    /// Looks into a physical database, whatever logical one it is or becomes.
    pub(crate) fn enter_physical(&mut self, id: u32) {
        self.0.physical_db = id;
    }

    /// How much is staged.
    pub fn staged(&self) -> usize {
        self.0.batch.len()
    }

    /// The size of what is staged, in bytes.
    pub fn staged_bytes(&self) -> usize {
        self.0.batch.bytes().len()
    }

    /// This moment, to which [`roll_back`](Self::roll_back) can go back.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            staged: self.0.batch.len(),
            events: self.0.events.len(),
            touched: self.0.touched.len(),
            changes: self.0.changes,
        }
    }

    /// Drops everything since `to`: a command inside a transaction failed.
    pub fn roll_back(&mut self, to: Savepoint) {
        self.0.batch.truncate(to.staged);
        // That a key was not there is told of a command that failed, too.
        let undone = self.0.events.split_off(to.events);
        self.0.events.extend(undone.into_iter().filter(Event::is_miss));
        self.0.touched.truncate(to.touched);
        self.0.changes = to.changes;
        // The map of databases may be as before, too.
        let db = self.0.around.db;
        self.0.switch_db(db);
    }
}

impl<'e> Deref for Write<'e> {
    type Target = Read<'e>;
    fn deref(&self) -> &Read<'e> {
        &self.0
    }
}

impl<'e> DerefMut for Write<'e> {
    fn deref_mut(&mut self) -> &mut Read<'e> {
        &mut self.0
    }
}
