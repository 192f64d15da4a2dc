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
//! | T     | the key's header does not expire at that moment, or its database is gone            |
//!
//! The wall clock decides nothing: an expired key is there until a logged deletion says otherwise.

use crate::dbmap::Claimed;
use crate::expire;
use crate::header::Header;
use crate::record;
use crate::store::Shared;
use forgekv_engine::{Durable, Judge, Result, Schema, Verdict};
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

    fn judge(&self, _shard: u8) -> Box<dyn Judge> {
        Box::new(Claims {
            claimed: self.shared.map().claimed(),
            generation: None,
        })
    }
}

/// One compaction's judge.
struct Claims {
    claimed: Claimed,
    /// The generation asked about last, and the answer: elements come in order.
    generation: Option<(u64, Verdict)>,
}

impl Judge for Claims {
    fn verdict(&mut self, key: &[u8], _value: &[u8], tables: &dyn Durable) -> Result<Verdict> {
        if let Some((physical_db, _)) = record::parse_header_key(key) {
            return Ok(drop_if(self.claimed.is_dead(physical_db)));
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
        if let Some((expire_ms, physical_db, owner)) = record::parse_ttl_key(key) {
            if self.claimed.is_dead(physical_db) {
                return Ok(Verdict::Drop);
            }
            let header = tables.get(record::HeaderKey::new(physical_db, owner).bytes())?;
            let fires = match header.as_deref().map(Header::decode) {
                None => false,
                Some(Ok(header)) => expire::fires_at(&header, expire_ms),
                // Not ours to judge: whoever reads the header will say that it cannot be read.
                Some(Err(_)) => true,
            };
            return Ok(drop_if(!fires));
        }
        Ok(Verdict::Keep)
    }
}

impl Claims {
    fn judge_generation(&self, generation: u64, tables: &dyn Durable) -> Result<Verdict> {
        if generation > tables.flushed_seq() {
            return Ok(Verdict::Keep);
        }
        let root = record::ElementKey::new(generation, &[]);
        let Some(owner) = tables.get(root.bytes())? else { return Ok(Verdict::Drop) };
        if record::parse_header_key(&owner).is_some_and(|(db, _)| self.claimed.is_dead(db)) {
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
