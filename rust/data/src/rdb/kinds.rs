//! How each kind is written.
//!
//! Always in the plainest form: a length, then each element. Every Redis reads that, and packs what is
//! small itself.

use super::elements::Elements;
use super::io_error;
use crate::error::{Error, Result};
use crate::hash;
use crate::header::Header;
use crate::list;
use crate::set;
use crate::stream;
use crate::string;
use crate::zset;
use forgekv_rdb::{Encoder, Nodes, NodesCount, StreamId, Type};
use std::io;

/// Writes what stands before a value, given its type.
pub(crate) type Begin<'b> = dyn FnMut(&mut Encoder<'_>, Type) -> io::Result<()> + 'b;

/// A longer string goes out as it comes, piece by piece, and is not compressed.
const COLLECTED_MAX: u64 = 4 << 20;

fn io(e: io::Error) -> Error {
    io_error("writing a value in Redis's format", &e)
}

pub(super) fn string(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    begin(out, Type::STRING).map_err(io)?;
    let chunks = match string::Value::of(*header)? {
        string::Value::Whole(text) => return out.string(text).map_err(io),
        string::Value::Chunked(chunks) => chunks,
    };
    if chunks.len() <= COLLECTED_MAX {
        let mut text = Vec::with_capacity(chunks.len() as usize);
        chunks.walk(elements, &mut |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        return out.string(&text).map_err(io);
    }
    out.begin_string(chunks.len()).map_err(io)?;
    chunks.walk(elements, &mut |piece| out.raw(piece).map_err(io))
}

pub(super) fn hash(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    now_ms: u64,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    // How many fields there are, and when the first expires, is written before them.
    let (mut count, mut first_ms) = (0, None);
    if let Some(known) = hash::untimed_count(header)? {
        count = known;
    } else {
        hash::live(header, elements, now_ms, &mut |_, _, expire_ms| {
            count += 1;
            first_ms = [first_ms, expire_ms].into_iter().flatten().min();
            Ok(())
        })?;
    }
    if count == 0 {
        return Ok(());
    }
    let Some(first_ms) = first_ms else {
        begin(out, Type::HASH).map_err(io)?;
        out.len(count).map_err(io)?;
        return hash::live(header, elements, now_ms, &mut |field, value, _| {
            out.string(field).and_then(|()| out.string(value)).map_err(io)
        });
    };
    begin(out, Type::TIMED_HASH).map_err(io)?;
    out.ms(first_ms).map_err(io)?;
    out.len(count).map_err(io)?;
    hash::live(header, elements, now_ms, &mut |field, value, expire_ms| {
        out.len(expire_ms.map_or(0, |at| at.saturating_sub(first_ms) + 1)).map_err(io)?;
        out.string(field).and_then(|()| out.string(value)).map_err(io)
    })
}

pub(super) fn set(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    begin(out, Type::SET).map_err(io)?;
    out.len(set::len_of(header)?).map_err(io)?;
    set::members_of(header, elements, &mut |member| out.string(member).map_err(io))
}

pub(super) fn list(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    begin(out, Type::LIST).map_err(io)?;
    out.len(list::len_of(header)?).map_err(io)?;
    list::items_of(header, elements, &mut |item| out.string(item).map_err(io))
}

pub(super) fn zset(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    begin(out, Type::ZSET).map_err(io)?;
    out.len(zset::len_of(header)?).map_err(io)?;
    zset::members_of(header, elements, &mut |member, score| {
        out.string(member).and_then(|()| out.score(score)).map_err(io)
    })
}

fn stream_id(id: stream::Id) -> StreamId {
    StreamId { ms: id.ms, seq: id.seq }
}

pub(super) fn stream(
    header: &Header<'_>,
    elements: &mut dyn Elements,
    out: &mut Encoder<'_>,
    begin: &mut Begin<'_>,
) -> Result<()> {
    begin(out, Type::STREAM).map_err(io)?;
    let mut count = NodesCount::default();
    stream::entries_of(header, elements, &mut |_, texts| {
        count.entry(texts);
        Ok(())
    })?;
    out.len(count.nodes()).map_err(io)?;
    let mut nodes = Nodes::default();
    stream::entries_of(header, elements, &mut |id, texts| {
        nodes.entry(stream_id(id), texts, out).map_err(io)
    })?;
    nodes.finish(out).map_err(io)?;
    let stream::About { len, last, first, max_deleted, added } = stream::about(header)?;
    out.len(len).map_err(io)?;
    for id in [last, first, max_deleted] {
        out.id(stream_id(id)).map_err(io)?;
    }
    out.len(added).map_err(io)?;
    let groups = stream::groups_of(header, elements)?;
    out.len(groups.len() as u64).map_err(io)?;
    for group in &groups {
        out.string(&group.name).map_err(io)?;
        out.id(stream_id(group.last)).map_err(io)?;
        // All ones: nobody knows.
        out.len(group.read.unwrap_or(u64::MAX)).map_err(io)?;
        out.len(group.pending).map_err(io)?;
        stream::owed_of(header, elements, group, &mut |id, delivered_ms, deliveries| {
            out.raw_id(stream_id(id))
                .and_then(|()| out.ms(delivered_ms))
                .and_then(|()| out.len(deliveries))
                .map_err(io)
        })?;
        out.len(group.consumers.len() as u64).map_err(io)?;
        for consumer in &group.consumers {
            out.string(&consumer.name).map_err(io)?;
            out.ms(consumer.seen_ms).map_err(io)?;
            out.len(consumer.pending).map_err(io)?;
            stream::owned_of(header, elements, group, consumer, &mut |id| {
                out.raw_id(stream_id(id)).map_err(io)
            })?;
        }
    }
    Ok(())
}
