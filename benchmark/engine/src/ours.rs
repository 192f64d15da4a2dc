//! Our engine, used as the server uses it: lock the key's shard, commit or get, write the log once a turn.

use crate::{Store, key_bytes};
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{
    Batch, Durable, Engine, Judge, Loads, Options, Result, Schema, ShardSet, Verdict,
};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

struct Plain;

impl Schema for Plain {
    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64(key)
    }

    fn group(&self, _: &[u8]) -> Option<u32> {
        Some(0)
    }

    fn judge(&self, _: u8) -> Box<dyn Judge> {
        Box::new(KeepAll)
    }
}

struct KeepAll;

impl Judge for KeepAll {
    fn verdict(&mut self, _: &[u8], _: &[u8], _: &dyn Durable) -> Result<Verdict> {
        Ok(Verdict::Keep)
    }
}

pub struct Ours(Engine);

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::new(Batch::new());
}

impl Ours {
    pub fn open(dir: &Path) -> Ours {
        let options = Options::new(dir);
        Ours(Engine::open(options, Arc::new(Plain), Arc::new(RealDisk)).expect("opens"))
    }
}

impl Store for Ours {
    fn put(&self, key: u64, value: &[u8]) {
        let key = key_bytes(key);
        let hash = xxh3_64(&key);
        let shard = (hash >> 20 & 63) as u8;
        BATCH.with_borrow_mut(|batch| {
            batch.clear();
            batch.put(shard, hash, &key, value);
            loop {
                match self.0.lock(ShardSet::one(shard), Loads::default()) {
                    Ok(mut guard) => {
                        guard.commit(batch).expect("commits");
                        return;
                    }
                    Err(_) => std::thread::yield_now(),
                }
            }
        });
    }

    fn get(&self, key: u64) -> Option<usize> {
        let key = key_bytes(key);
        let hash = xxh3_64(&key);
        let shard = (hash >> 20 & 63) as u8;
        let mut guard = self.0.lock(ShardSet::one(shard), Loads::default()).ok()?;
        guard.get(shard, hash, &key).expect("is in memory").map(<[u8]>::len)
    }

    fn turn(&self) {
        self.0.log_write().expect("writes");
        let delay = self.0.write_delay_us();
        if delay > 0 {
            std::thread::sleep(std::time::Duration::from_micros(delay));
        }
    }
}
