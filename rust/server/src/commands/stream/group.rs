//! XGROUP, XACK and XACKDEL.

use super::options::{entries_read, refs_and_ids};
use super::{id, ids};
use crate::commands::Args;
use forgekv_data::stream::{self, Deleted, Id, Start};
use forgekv_data::{Error, Kind, Result, Write};
use forgekv_resp::Reply;

/// The error for options that a subcommand does not have.
pub(super) fn unknown(args: &Args<'_>) -> Error {
    let (container, sub) = args.name().split_once('|').unwrap_or(("", args.name()));
    Error::reply(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        sub.to_ascii_uppercase(),
        container.to_ascii_uppercase()
    ))
}

/// Reads from where on a group reads.
fn from(word: &[u8]) -> Result<Start> {
    match word {
        b"$" => Ok(Start::Now),
        word => Ok(Start::After(id(word, 0)?)),
    }
}

/// As [`from`], but SETID knows names for the first id and the last, too.
fn from_anywhere(word: &[u8]) -> Result<Start> {
    match word {
        b"-" => Ok(Start::After(Id::MIN)),
        b"+" => Ok(Start::After(Id::MAX)),
        word => from(word),
    }
}

pub(super) fn create(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, name, start) = (args.key()?, args.next()?, args.next()?);
    let (mut makes, mut read) = (false, None);
    while !args.is_empty() {
        if args.flag("MKSTREAM") {
            makes = true;
        } else if args.option("ENTRIESREAD") {
            read = entries_read(args)?;
        } else {
            return Err(unknown(args));
        }
    }
    // What is there is judged before the id.
    if db.header_of(key, Kind::Stream)?.is_none() && !makes {
        stream::create_group(db, key, name, Start::Now, read, false)?;
    }
    stream::create_group(db, key, name, from(start)?, read, makes)?;
    reply.ok();
    Ok(())
}

pub(super) fn setid(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, name, start) = (args.key()?, args.next()?, args.next()?);
    let mut read = None;
    while !args.is_empty() {
        if !args.option("ENTRIESREAD") {
            return Err(unknown(args));
        }
        read = entries_read(args)?;
    }
    if !stream::has_group(db, key, name)? {
        stream::set_group(db, key, name, Start::Now, read)?;
    }
    stream::set_group(db, key, name, from_anywhere(start)?, read)?;
    reply.ok();
    Ok(())
}

pub(super) fn destroy(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let key = args.key()?;
    reply.int(i64::from(stream::destroy_group(db, key, args.next()?)?));
    Ok(())
}

pub(super) fn createconsumer(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    reply.int(i64::from(stream::create_consumer(db, key, group, args.next()?)?));
    Ok(())
}

pub(super) fn delconsumer(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    reply.int(stream::delete_consumer(db, key, group, args.next()?)? as i64);
    Ok(())
}

pub(super) fn xack(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    // Without a group, ids are not looked at.
    let acked = match stream::has_group(db, key, group)? {
        true => stream::ack(db, key, group, &ids(args)?)?,
        false => 0,
    };
    reply.int(acked as i64);
    Ok(())
}

pub(super) fn xackdel(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (key, group) = (args.key()?, args.next()?);
    let (refs, ids) = refs_and_ids(args)?;
    reply.array(ids.len());
    stream::ack_delete(db, key, group, &ids, refs, &mut |done: Deleted| reply.int(done as i64))
}
