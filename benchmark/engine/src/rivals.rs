//! The rivals, with the same durability: the log is written, a background thread syncs.

use crate::{Store, key_bytes};
use std::path::Path;

pub struct Fjall {
    keyspace: fjall::Keyspace,
    _database: fjall::Database,
}

impl Fjall {
    pub fn open(dir: &Path) -> Fjall {
        let database = fjall::Database::builder(dir).open().expect("opens");
        let keyspace =
            database.keyspace("bench", fjall::KeyspaceCreateOptions::default).expect("opens");
        Fjall { keyspace, _database: database }
    }
}

impl Store for Fjall {
    fn put(&self, key: u64, value: &[u8]) {
        self.keyspace.insert(key_bytes(key), value).expect("puts");
    }

    fn get(&self, key: u64) -> Option<usize> {
        self.keyspace.get(key_bytes(key)).expect("gets").map(|v| v.len())
    }
}

pub struct Rocks(rocksdb::DB);

impl Rocks {
    pub fn open(dir: &Path) -> Rocks {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_write_buffer_size(128 << 20);
        Rocks(rocksdb::DB::open(&options, dir).expect("opens"))
    }
}

impl Store for Rocks {
    fn put(&self, key: u64, value: &[u8]) {
        self.0.put(key_bytes(key), value).expect("puts");
    }

    fn get(&self, key: u64) -> Option<usize> {
        self.0.get(key_bytes(key)).expect("gets").map(|v| v.len())
    }
}
