//! Libraries of functions, which belong to no database and to no key, drawn in `ENCODING.md`.
//!
//! ```text
//! space M, shard 0 | 0x00 | "functions" |   value | the payload that FUNCTION DUMP answers |
//! ```
//!
//! One record holds all of them: it changes through the log like any write, whole.

use crate::dbmap::META_SHARD;
use crate::error::{Error, Result};
use crate::record;
use crate::store::Store;
use crate::view::Write;
use forgekv_engine::ShardSet;

const RECORD_KEY: &[u8] = b"\0functions";

/// The payload of all libraries; of none as long as nobody has stored any.
///
/// # Errors
/// Failed reads.
pub fn load(store: &Store) -> Result<Option<Vec<u8>>> {
    debug_assert_eq!(RECORD_KEY.first(), Some(&record::SPACE_META));
    store.engine().with_reserved(ShardSet::one(META_SHARD), |mut guard| {
        let found = guard.get(META_SHARD, record::hash(RECORD_KEY), RECORD_KEY)?;
        Ok::<_, Error>(found.map(<[u8]>::to_vec))
    })
}

/// Stages a payload in the place of the one before. All shards are held.
///
/// # Errors
/// `Again` when they are not.
pub fn stage(view: &mut Write<'_>, payload: &[u8]) -> Result<()> {
    view.require_all()?;
    view.put(META_SHARD, record::hash(RECORD_KEY), RECORD_KEY, payload);
    Ok(())
}

/// Sources of libraries as one payload.
///
/// # Errors
/// None that memory does not make.
pub fn pack<'a>(sources: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>> {
    forgekv_rdb::pack_functions(sources).map_err(|e| Error::reply(format!("ERR {e}")))
}

/// The sources in a payload.
///
/// # Errors
/// What is wrong with it, for a client.
pub fn unpack(payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    match forgekv_rdb::unpack_functions(payload) {
        None => Err(Error::reply("ERR DUMP payload version or checksum are wrong")),
        Some(Ok(sources)) => Ok(sources),
        Some(Err(bad)) => Err(Error::reply(format!("ERR failed loading functions: {bad}"))),
    }
}
