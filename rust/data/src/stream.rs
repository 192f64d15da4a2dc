//! Streams: entries in the order of their ids, and groups of consumers that read them.
//!
//! | encoding     | body                                                            | OBJECT ENCODING |
//! |--------------|-----------------------------------------------------------------|-----------------|
//! | 0 `PACKED`   | the newest entries, the *tail*, and the facts about the stream  | `stream`        |
//! | 1 `EXPLODED` | the same; older entries, groups and the rest are elements       | `stream`        |
//!
//! [`meta`] draws the body, [`block`] an entry, [`sub`] the elements' sub-keys, [`group`] groups and what is pending.
//!
//! What must always hold:
//! 1. A stream may be empty: only DEL and its like take the key away.
//! 2. Ids ascend: through the blocks, in the order of their bases, and then through the tail. A base is at or before
//!    the entries of its block and behind those of the block before. No block is empty.
//! 3. What is added goes to the tail, and with it the header says all that is new: one record changes. A full tail
//!    becomes a block.
//! 4. What is pending in a group is there twice, by its id and by its consumer; group and consumer count it.
//! 5. Nothing is loaded whole: an entry costs the block it is in, an acknowledgement a few small records.

mod add;
mod block;
mod claim;
mod deliver;
mod edit;
mod group;
mod groups;
mod id;
mod idempotent;
mod info;
mod meta;
mod pending;
mod range;
mod sub;
mod trim;
mod whole;

pub use add::{Add, NewId, add, set_id};
pub use block::Fields;
pub use claim::{Claim, claim, claim_idle};
pub use deliver::{Reader, deliver, history};
pub use groups::{
    Start, ack, ack_delete, create_consumer, create_group, delete_consumer, destroy_group,
    has_group, set_group,
};
pub use id::{Id, Seq};
pub use idempotent::{Once, configure};
pub use info::{
    ConsumerInfo, GroupInfo, IdempotenceInfo, Info, consumers, first_and_last, groups, info,
    pending_of,
};
pub(crate) use info::{digest, usage};
pub use pending::{Summary, list, summary};
pub use range::{last_id, len, range, top};
pub use trim::{Deleted, Excess, Refs, Trim, delete, delete_each, trim};
pub(crate) use whole::{
    About, about, entries_of, groups_of, load_about, load_consumer, load_entries, load_group,
    load_pending, owed_of, owned_of, read_up_to,
};

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
