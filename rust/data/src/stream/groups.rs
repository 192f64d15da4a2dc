//! XGROUP, XACK and XACKDEL.

use super::edit::Edit;
use super::group::{self, Group};
use super::id::Id;
use super::range;
use super::trim::{self, Deleted, References, Refs};
use crate::error::{Error, Result};
use crate::header::Kind;
use crate::place::Key;
use crate::view::{Read, Write, event_class};

/// From where on a group reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Behind this entry.
    After(Id),
    /// What is added from now on.
    Now,
}

impl Start {
    fn resolve(self, last: Id) -> Id {
        match self {
            Start::After(id) => id,
            Start::Now => last,
        }
    }
}

/// Whether a stream has a group.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn has_group(r: &mut Read<'_>, key: Key<'_>, name: &[u8]) -> Result<bool> {
    let Some(meta) = range::meta(r, key)? else { return Ok(false) };
    Ok(group::find(r, key, meta.generation, name)?.is_some())
}

fn key_missing() -> Error {
    Error::reply(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
         MKSTREAM option to create an empty stream automatically.",
    )
}

/// XGROUP's error for a group that is not there.
pub(super) fn no_group(key: Key<'_>, name: &[u8]) -> Error {
    let (name, key) = (String::from_utf8_lossy(name), String::from_utf8_lossy(key.name));
    Error::reply(format!("NOGROUP No such consumer group '{name}' for key name '{key}'"))
}

/// Makes a group. `read` is how many entries it is taken to have read, if that is known; `makes` says to make a
/// stream, too, if there is none.
///
/// # Errors
/// `WrongType`, no key, a group of that name, or `Again`.
pub fn create_group(
    w: &mut Write<'_>,
    key: Key<'_>,
    name: &[u8],
    start: Start,
    read: Option<u64>,
    makes: bool,
) -> Result<()> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() && !makes {
        return Err(key_missing());
    }
    if group::find(w, key, edit.meta.generation, name)?.is_some() {
        return Err(Error::reply("BUSYGROUP Consumer Group name already exists"));
    }
    let generation = edit.generation(w);
    let facts = edit.facts();
    let number = facts.next_number as u32;
    facts.next_number += 1;
    facts.groups += 1;
    let last = start.resolve(facts.last);
    let known = group::Facts { number, last, read, ..group::Facts::default() };
    let mut group = Group::of(key, generation, name.to_vec(), known);
    group.change();
    group.finish(w);
    edit.finish(w, &[])?;
    w.event_beside(event_class::STREAM, "xgroup-create", key);
    Ok(())
}

/// A group that must be there, of a key that must be, too.
fn open<'k>(w: &mut Write<'_>, key: Key<'k>, name: &[u8]) -> Result<(Group<'k>, Id)> {
    // As in Redis, who listens is not told that the key was missed.
    if w.header_of(key, Kind::Stream)?.is_none() {
        return Err(key_missing());
    }
    let Some(meta) = range::meta(w, key)? else { return Err(key_missing()) };
    let group = Group::open(w, key, meta.generation, name)?;
    Ok((group.ok_or_else(|| no_group(key, name))?, meta.last))
}

/// Sets from where on a group reads.
///
/// # Errors
/// As [`create_group`], or no such group.
pub fn set_group(
    w: &mut Write<'_>,
    key: Key<'_>,
    name: &[u8],
    start: Start,
    read: Option<u64>,
) -> Result<()> {
    let (mut group, last) = open(w, key, name)?;
    let facts = group.change();
    facts.last = start.resolve(last);
    facts.read = read;
    group.finish(w);
    w.event_beside(event_class::STREAM, "xgroup-setid", key);
    Ok(())
}

/// Takes a group away; whether it was there. O(n) in what is pending in it.
///
/// # Errors
/// No key, `WrongType`, or `Again`.
pub fn destroy_group(w: &mut Write<'_>, key: Key<'_>, name: &[u8]) -> Result<bool> {
    let mut edit = Edit::open(w, key)?;
    if edit.is_new() {
        return Err(key_missing());
    }
    let Some(group) = Group::open(w, key, edit.meta.generation, name)? else { return Ok(false) };
    group.remove(w)?;
    let facts = edit.facts();
    facts.groups = facts.groups.saturating_sub(1);
    edit.finish(w, &[])?;
    w.event_beside(event_class::STREAM, "xgroup-destroy", key);
    // Who waits in that group is told that it is gone.
    w.wake(key);
    Ok(true)
}

/// The number of a consumer, which is made if need be.
pub(super) fn join(w: &mut Write<'_>, group: &mut Group<'_>, name: &[u8]) -> Result<(u32, bool)> {
    if let Some(number) = group.number(w, name)? {
        return Ok((number, false));
    }
    let now_ms = w.now_ms();
    let number = group.create(w, name, now_ms);
    w.event_beside(event_class::STREAM, "xgroup-createconsumer", group.key);
    Ok((number, true))
}

/// Makes a consumer; whether it was not there.
///
/// # Errors
/// As [`set_group`].
pub fn create_consumer(w: &mut Write<'_>, key: Key<'_>, group: &[u8], name: &[u8]) -> Result<bool> {
    let (mut group, _) = open(w, key, group)?;
    let (_, new) = join(w, &mut group, name)?;
    group.finish(w);
    Ok(new)
}

/// Takes a consumer away with what is pending with it; how much that was.
///
/// # Errors
/// As [`set_group`].
pub fn delete_consumer(w: &mut Write<'_>, key: Key<'_>, group: &[u8], name: &[u8]) -> Result<u64> {
    let (mut group, _) = open(w, key, group)?;
    let Some(number) = group.number(w, name)? else { return Ok(0) };
    let pending = group.remove_consumer(w, number, name)?;
    group.finish(w);
    w.event_beside(event_class::STREAM, "xgroup-delconsumer", key);
    Ok(pending)
}

/// Acknowledges entries; how many were pending. 0 when there is no such key or group.
///
/// # Errors
/// `WrongType`, or `Again`.
pub fn ack(w: &mut Write<'_>, key: Key<'_>, group: &[u8], ids: &[Id]) -> Result<u64> {
    let Some(meta) = range::meta(w, key)? else { return Ok(0) };
    let Some(mut group) = Group::open(w, key, meta.generation, group)? else { return Ok(0) };
    let (mut acked, mut missed) = (0, None);
    for &id in ids {
        // All are asked for before the first that is missing is reported.
        match settle(w, &mut group, id) {
            Ok(pending) => acked += u64::from(pending),
            Err(e @ Error::Again(_)) => missed = Some(e),
            Err(e) => return Err(e),
        }
    }
    if let Some(missed) = missed {
        return Err(missed);
    }
    group.finish(w);
    (0..acked).for_each(|_| w.changed());
    Ok(acked)
}

fn settle(w: &mut Write<'_>, group: &mut Group<'_>, id: Id) -> Result<bool> {
    let Some(pending) = group.pending(w, id)? else { return Ok(false) };
    group.settle(w, id, &pending)?;
    Ok(true)
}

/// Acknowledges entries in a group and deletes them, or does not if other groups need them, and tells of each.
/// What is not pending in the group stays as it is: `Missing`.
///
/// # Errors
/// As [`ack`]; `each` may have been called before.
pub fn ack_delete(
    w: &mut Write<'_>,
    key: Key<'_>,
    name: &[u8],
    ids: &[Id],
    refs: Refs,
    each: &mut dyn FnMut(Deleted),
) -> Result<()> {
    w.header_of(key, Kind::Stream)?;
    let mut edit = Edit::open(w, key)?;
    let mut groups = References::open(w, &edit, refs)?;
    let ours = match groups.groups.iter().position(|group| group.name == name) {
        Some(at) => Some(at),
        // The others have no say.
        None if refs == Refs::Keep => {
            groups.groups.extend(Group::open(w, key, edit.meta.generation, name)?);
            (!groups.groups.is_empty()).then_some(0)
        }
        None => None,
    };
    let mut gone = false;
    for &id in ids {
        let settled = match ours.and_then(|at| groups.groups.get_mut(at)) {
            Some(group) => settle(w, group, id)?,
            None => false,
        };
        if !settled {
            each(Deleted::Missing);
            continue;
        }
        w.changed();
        groups.forget(w, id)?;
        if groups.needs(w, id)? {
            each(Deleted::Needed);
            continue;
        }
        if let Some(place) = edit.locate(w, id)? {
            trim::remove(w, &mut edit, id, place)?;
            gone = true;
        }
        each(Deleted::Gone);
    }
    groups.finish(w);
    edit.finish(w, if gone { &["xdel"] } else { &[] })
}
