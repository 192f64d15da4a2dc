//! What is configured about the data: up to where a collection is packed into one record, and the like.

use crate::uses::Lfu;

/// The configured limits. Names follow Redis's directives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `hash-max-listpack-entries`
    pub hash_max_listpack_entries: u64,
    /// `hash-max-listpack-value`, in bytes
    pub hash_max_listpack_value: u64,
    /// `list-max-listpack-size`: entries if positive, a size class if negative
    pub list_max_listpack_size: i64,
    /// `set-max-intset-entries`
    pub set_max_intset_entries: u64,
    /// `set-max-listpack-entries`
    pub set_max_listpack_entries: u64,
    /// `set-max-listpack-value`, in bytes
    pub set_max_listpack_value: u64,
    /// `zset-max-listpack-entries`
    pub zset_max_listpack_entries: u64,
    /// `zset-max-listpack-value`, in bytes
    pub zset_max_listpack_value: u64,
    /// `stream-node-max-bytes`
    pub stream_node_max_bytes: u64,
    /// `stream-node-max-entries`
    pub stream_node_max_entries: u64,
    /// `hll-sparse-max-bytes`
    pub hll_sparse_max_bytes: u64,
    /// `proto-max-bulk-len`: the largest string, in bytes
    pub proto_max_bulk_len: u64,
    /// How uses of keys are counted, if the `maxmemory-policy` wants them counted.
    pub lfu: Option<Lfu>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            proto_max_bulk_len: 512 << 20,
            lfu: None,
        }
    }
}
