//! XADD and XSETID.

use super::edit::Edit;
use super::id::Id;
use super::idempotent::{self, Once};
use super::range;
use super::trim::{self, Trim};
use crate::error::{Error, NO_SUCH_KEY, Result};
use crate::event_class;
use crate::place::Key;
use crate::view::Write;

/// The largest entry, in bytes of its fields and values: as in Redis.
const ENTRY_MAX: usize = 1 << 30;

/// Which id a new entry gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewId {
    /// The present time, or the next one behind the last.
    Auto,
    /// The next one in this millisecond.
    At(u64),
    /// This one.
    Given(Id),
}

/// How an entry is added.
#[derive(Debug, Clone, Copy)]
pub struct Add<'a> {
    /// Its id.
    pub id: NewId,
    /// Whether a stream that is not there is made.
    pub makes: bool,
    /// How the stream is shortened afterwards.
    pub trim: Option<Trim>,
    /// What tells whether this was added before.
    pub once: Option<Once<'a>>,
}

/// Adds an entry of fields, given in turn with their values: its id, or that of the entry that was added when
/// the same was sent before. `None` when there is no stream and none is made.
///
/// # Errors
/// `WrongType`, an id that is not behind the last one, or `Again`.
pub fn add(w: &mut Write<'_>, key: Key<'_>, how: &Add<'_>, fields: &[&[u8]]) -> Result<Option<Id>> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() && !how.makes {
        return Ok(None);
    }
    let once = how.once.map(|once| once.named(fields));
    if let Some(once) = &once
        && let Some(id) = idempotent::sent(w, &edit, once)?
    {
        if let Some(known) = &mut edit.facts().idempotence {
            known.duplicates += 1;
        }
        edit.finish(w, &[])?;
        w.changed();
        return Ok(Some(id));
    }
    let id = new_id(edit.meta.last, how.id, w.now_ms())?;
    if fields.iter().map(|text| text.len()).sum::<usize>() > ENTRY_MAX {
        return Err(Error::reply("ERR Elements are too large to be stored"));
    }
    edit.append(w, id, fields)?;
    if let Some(once) = &once {
        idempotent::remember(w, &mut edit, once, id)?;
    }
    let removed = match &how.trim {
        Some(trim) => trim::shorten(w, &mut edit, trim)?,
        None => 0,
    };
    edit.finish(w, if removed > 0 { &["xadd", "xtrim"] } else { &["xadd"] })?;
    w.changed();
    Ok(Some(id))
}

fn new_id(last: Id, wanted: NewId, now_ms: u64) -> Result<Id> {
    if last == Id::MAX {
        return Err(Error::reply(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match wanted {
        NewId::Auto if now_ms > last.ms => Some(Id::new(now_ms, 0)),
        NewId::Auto => last.next(),
        NewId::At(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| Id::new(ms, seq)),
        NewId::At(ms) => Some(Id::new(ms, 0)),
        NewId::Given(id) => Some(id),
    };
    id.filter(|&id| id > last).ok_or_else(|| {
        Error::reply(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        )
    })
}

/// XSETID: the id given last, and how many entries were ever added and the largest that was deleted, if given.
///
/// # Errors
/// No such key, `WrongType`, what contradicts the entries there are, or `Again`.
pub fn set_id(
    w: &mut Write<'_>,
    key: Key<'_>,
    last: Id,
    added: Option<u64>,
    max_deleted: Option<Id>,
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() {
        return Err(NO_SUCH_KEY);
    }
    let meta = edit.meta;
    if last < meta.max_deleted {
        return Err(Error::reply(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if meta.len > 0 {
        if range::top_of(w, key, &meta)?.is_some_and(|top| last < top) {
            return Err(Error::reply(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if added.is_some_and(|added| added < meta.len) {
            return Err(Error::reply(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    let facts = edit.facts();
    facts.last = last;
    facts.added = added.unwrap_or(facts.added);
    if let Some(id) = max_deleted.filter(|&id| id != Id::MIN) {
        facts.max_deleted = id;
    }
    edit.finish(w, &[])?;
    w.event_beside(event_class::STREAM, "xsetid", key);
    Ok(())
}
