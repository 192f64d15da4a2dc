//! What is staged for a key, its elements and its entries in the TTL index.
//!
//! The methods of [`Write`](super::Write) stand on these. They belong to [`Read`] because a read, too, may
//! leave something: the deletion of what it met and found expired, and what it found out and keeps in the value (the
//! cardinality of a HyperLogLog). They are for nothing else there.

use super::Read;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::place::Key;
use crate::record;

impl Read<'_> {
    /// Stages a header and, as far as the key's own expiry goes, its entry in the TTL index.
    pub(crate) fn stage_header(&mut self, key: Key<'_>, header: &Header<'_>, before: Option<u64>) {
        let record = record::HeaderKey::new(self.physical_db, key);
        let (n, prefix) = header.prefix();
        let prefix = prefix.get(..n).unwrap_or_default();
        let value = [prefix, header.body];
        self.batch.put_parts(key.shard(), record.hash(), &[record.bytes()], &value);
        if before != header.expire_ms {
            if let Some(old) = before {
                self.leave(key.shard(), &record::TtlKey::new(old, self.physical_db, key));
            }
            if let Some(new) = header.expire_ms {
                self.enter(key.shard(), new, &record::TtlKey::new(new, self.physical_db, key));
            }
        }
    }

    /// Stages a change of a packed body in one place, of a key that is there: the `remove` bytes at `at` give
    /// way to `insert`. The expiry stays.
    pub(crate) fn stage_header_patch(
        &mut self,
        key: Key<'_>,
        at: usize,
        remove: usize,
        insert: &[u8],
    ) -> Result<()> {
        let record = record::HeaderKey::new(self.physical_db, key);
        let (shard, hash, bytes) = (key.shard(), record.hash(), record.bytes());
        let broken = || Error::broken("a header that should be there is missing");
        let before_body = |base: &[u8]| Header::decode(base).map(|header| header.prefix().0);
        if let Some(staged) = self.batch.get(shard, hash, bytes) {
            let at = at + before_body(staged.ok_or_else(broken)?)?;
            self.batch.patch_staged(shard, hash, bytes, at, remove, insert);
            return Ok(());
        }
        let base = self.guard.get(shard, hash, bytes)?.ok_or_else(broken)?;
        let at = at + before_body(base)?;
        self.batch.patch(shard, hash, bytes, base, at, remove, insert);
        Ok(())
    }

    /// Stages the deletion of a header and of its key's entry in the TTL index.
    pub(crate) fn stage_header_deletion(&mut self, key: Key<'_>, before: Option<u64>) {
        let record = record::HeaderKey::new(self.physical_db, key);
        self.batch.delete(key.shard(), record.hash(), record.bytes());
        if let Some(old) = before {
            self.leave(key.shard(), &record::TtlKey::new(old, self.physical_db, key));
        }
    }

    /// Stages an element, whose value is given in parts.
    pub(crate) fn stage_element(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        sub: &[u8],
        value: &[&[u8]],
    ) {
        let record = record::ElementKey::new(generation, sub);
        self.batch.put_parts(owner.shard(), record.hash(), &[record.bytes()], value);
    }

    /// Stages a change of a part of an element that is there.
    pub(crate) fn stage_element_patch(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        sub: &[u8],
        at: usize,
        remove: usize,
        insert: &[u8],
    ) -> Result<()> {
        let record = record::ElementKey::new(generation, sub);
        let (shard, hash, key) = (owner.shard(), record.hash(), record.bytes());
        if self.batch.patch_staged(shard, hash, key, at, remove, insert) {
            return Ok(());
        }
        let base = self.guard.get(shard, hash, key)?;
        let base =
            base.ok_or_else(|| Error::broken("an element that should be there is missing"))?;
        self.batch.patch(shard, hash, key, base, at, remove, insert);
        Ok(())
    }

    /// Stages the deletion of an element.
    pub(crate) fn stage_element_deletion(&mut self, owner: Key<'_>, generation: u64, sub: &[u8]) {
        let record = record::ElementKey::new(generation, sub);
        self.batch.delete(owner.shard(), record.hash(), record.bytes());
    }

    /// As [`Write::new_generation`].
    pub(crate) fn stage_generation(&mut self, owner: Key<'_>) -> u64 {
        let generation = self.guard.new_generation();
        self.stage_root(owner, generation);
        generation
    }

    pub(super) fn stage_root(&mut self, owner: Key<'_>, generation: u64) {
        let root = record::HeaderKey::new(self.physical_db, owner);
        self.stage_element(owner, generation, &[], &[root.bytes()]);
    }

    /// The TTL index has to know that the first field of a packed hash expires then.
    pub(crate) fn enter_fields(&mut self, key: Key<'_>, expire_ms: u64) {
        let entry = record::TtlKey::fields(expire_ms, self.physical_db, key);
        self.enter(key.shard(), expire_ms, &entry);
    }

    /// Takes back what [`enter_fields`](Self::enter_fields) staged once.
    pub(crate) fn leave_fields(&mut self, key: Key<'_>, expire_ms: u64) {
        self.leave(key.shard(), &record::TtlKey::fields(expire_ms, self.physical_db, key));
    }

    /// The TTL index has to know that a field of an exploded hash expires then.
    pub(crate) fn enter_field(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        field: &[u8],
        expire_ms: u64,
    ) {
        let entry = record::TtlKey::field(expire_ms, generation, field);
        self.enter(owner.shard(), expire_ms, &entry);
    }

    /// Takes back what [`enter_field`](Self::enter_field) staged once.
    pub(crate) fn leave_field(
        &mut self,
        owner: Key<'_>,
        generation: u64,
        field: &[u8],
        expire_ms: u64,
    ) {
        self.leave(owner.shard(), &record::TtlKey::field(expire_ms, generation, field));
    }

    fn enter(&mut self, shard: u8, expire_ms: u64, entry: &record::TtlKey) {
        self.batch.put(shard, entry.hash(), entry.bytes(), &[]);
        self.shared.expiry().entered(shard, expire_ms);
    }

    fn leave(&mut self, shard: u8, entry: &record::TtlKey) {
        self.batch.delete(shard, entry.hash(), entry.bytes());
    }
}
