//! What the engine has to know of our records: their hashes, what is counted, and what compaction may
//! drop.
//!
//! Compaction believes only what is durable in the shard's own tables, and only in one direction: a
//! record is dropped when nothing claims it there, because a claim that is gone never comes back. A
//! physical database, a generation and an entry of the TTL index lose their claim once.
//!
//! | space | dropped when                                                                        |
//! |-------|-------------------------------------------------------------------------------------|
//! | M     | never                                                                               |
//! | H     | no database has its physical id any more, and the record that says so is synced     |
//! | E     | the header that the root record names does not claim the generation, or there is no |
//! |       | root; not while the generation is newer than the tables                             |
//! | T     | the key's header does not expire at that moment, nor its first field if the entry   |
//! |       | is about that, or its database is gone; for a field of an exploded hash: as E       |
//!
//! The wall clock decides nothing: an expired key is there until a logged deletion says otherwise.

use crate::dbmap::Claimed;
use crate::expire;
use crate::hash;
use crate::header::{Header, Kind};
use crate::place::Key;
use crate::record::{self, Due};
use crate::store::Shared;
use forgekv_engine::{Durable, Judge, Mark, Result, Schema, Verdict};
use std::sync::Arc;

/// Redis's records, as the engine asks about them.
pub(crate) struct Records {
    pub(crate) shared: Arc<Shared>,
}

impl Schema for Records {
    fn hash(&self, key: &[u8]) -> u64 {
        record::hash(key)
    }

    fn group(&self, key: &[u8]) -> Option<u32> {
        record::parse_header_key(key).map(|(physical_db, _)| physical_db)
    }

    /// Keys that expire are marked; their weight is when they do.
    fn mark(&self, value: &[u8]) -> Option<Mark> {
        let expire_ms = Header::decode(value).ok()?.expire_ms?;
        Some(Mark(expire_ms as i64))
    }

    fn gone(&self, synced_seq: u64) -> Box<dyn Fn(u32) -> bool> {
        let claimed = self.shared.map().claimed(synced_seq);
        Box::new(move |physical_db| claimed.is_dead(physical_db))
    }

    fn judge(&self, _shard: u8) -> Box<dyn Judge> {
        Box::new(Claims { shared: self.shared.clone(), claimed: None, generation: None })
    }
}

/// One compaction's judge.
struct Claims {
    shared: Arc<Shared>,
    /// Asked when the first record comes, for the tables that come with it.
    claimed: Option<Claimed>,
    /// The generation asked about last, and the answer: elements come in order.
    generation: Option<(u64, Verdict)>,
}

impl Judge for Claims {
    fn verdict(&mut self, key: &[u8], _value: &[u8], tables: &dyn Durable) -> Result<Verdict> {
        if self.claimed.is_none() {
            self.claimed = Some(self.shared.map().claimed(tables.synced_seq()));
        }
        if let Some((physical_db, _)) = record::parse_header_key(key) {
            return Ok(drop_if(self.is_dead(physical_db)));
        }
        if let Some(generation) = record::generation(key) {
            if let Some((known, verdict)) = self.generation
                && known == generation
            {
                return Ok(verdict);
            }
            let verdict = self.judge_generation(generation, tables)?;
            self.generation = Some((generation, verdict));
            return Ok(verdict);
        }
        match record::parse_ttl_key(key) {
            None => Ok(Verdict::Keep),
            Some((expire_ms, Due::Key(physical_db, owner))) => {
                self.judge_entry(physical_db, owner, tables, |h| expire::fires_at(h, expire_ms))
            }
            Some((expire_ms, Due::Fields(physical_db, owner))) => {
                self.judge_entry(physical_db, owner, tables, |header| {
                    header.kind == Kind::Hash && hash::first_expiry(header) == Some(expire_ms)
                })
            }
            // The cycle takes away what is left when only the field changed.
            Some((_, Due::Field(generation, _))) => self.judge_generation(generation, tables),
        }
    }
}

impl Claims {
    fn is_dead(&self, physical_db: u32) -> bool {
        self.claimed.as_ref().is_some_and(|claimed| claimed.is_dead(physical_db))
    }

    /// Judges an entry of the TTL index by what a key's header says.
    fn judge_entry(
        &self,
        physical_db: u32,
        owner: Key<'_>,
        tables: &dyn Durable,
        fires: impl FnOnce(&Header<'_>) -> bool,
    ) -> Result<Verdict> {
        if self.is_dead(physical_db) {
            return Ok(Verdict::Drop);
        }
        let header = tables.get(record::HeaderKey::new(physical_db, owner).bytes())?;
        Ok(match header.as_deref().map(Header::decode) {
            None => Verdict::Drop,
            Some(Ok(header)) => drop_if(!fires(&header)),
            // Not ours to judge: whoever reads the header will say that it cannot be read.
            Some(Err(_)) => Verdict::Keep,
        })
    }

    fn judge_generation(&self, generation: u64, tables: &dyn Durable) -> Result<Verdict> {
        if generation > tables.flushed_seq() {
            return Ok(Verdict::Keep);
        }
        let root = record::ElementKey::new(generation, &[]);
        let Some(owner) = tables.get(root.bytes())? else { return Ok(Verdict::Drop) };
        if record::parse_header_key(&owner).is_some_and(|(db, _)| self.is_dead(db)) {
            return Ok(Verdict::Drop);
        }
        let header = tables.get(&owner)?;
        Ok(match header.as_deref().map(Header::decode) {
            None => Verdict::Drop,
            Some(Ok(header)) => drop_if(header.generation() != Some(generation)),
            Some(Err(_)) => Verdict::Keep,
        })
    }
}

fn drop_if(unclaimed: bool) -> Verdict {
    if unclaimed { Verdict::Drop } else { Verdict::Keep }
}
