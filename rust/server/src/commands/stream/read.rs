//! XREAD and XREADGROUP.

use super::options::block;
use super::{count, id, reply_entry, reply_fields, reply_id};
use crate::commands::Args;
use crate::waiting::{Nil, Wait};
use forgekv_data::stream::{self, Id, Reader};
use forgekv_data::{Error, Key, Kind, Read, Result, SYNTAX, Write, event_class};
use forgekv_resp::Reply;

/// What both commands are told before the streams.
#[derive(Default)]
struct Options<'a> {
    group: Option<(&'a [u8], &'a [u8])>,
    count: Option<u64>,
    block_ms: Option<u64>,
    claim_idle_ms: Option<u64>,
    no_ack: bool,
}

/// Reads options, keys, and as many ids.
fn parse<'a>(
    args: &mut Args<'a>,
    groups: bool,
) -> Result<(Options<'a>, Vec<Key<'a>>, &'a [&'a [u8]])> {
    let mut options = Options::default();
    loop {
        if args.option("BLOCK") {
            options.block_ms = Some(block(args)?);
        } else if args.option("COUNT") {
            // 0 is no limit.
            options.count = Some(count(args)?).filter(|&n| n > 0);
        } else if args.option("STREAMS") {
            break;
        } else if args.remaining() > 2 && args.flag("GROUP") {
            only(groups, "GROUP")?;
            options.group = Some((args.next()?, args.next()?));
        } else if args.flag("NOACK") {
            only(groups, "NOACK")?;
            options.no_ack = true;
        } else if groups && args.option("CLAIM") {
            let n = super::options::number(args, "ERR min-idle-time is not an integer")?;
            let text = "ERR min-idle-time must be a positive integer";
            options.claim_idle_ms = Some(u64::try_from(n).map_err(|_| Error::reply(text))?);
        } else {
            return Err(SYNTAX);
        }
    }
    if !args.remaining().is_multiple_of(2) {
        let (name, special) = if groups { ("xreadgroup", ">") } else { ("xread", "$") };
        return Err(Error::reply(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{special}' must \
             be specified."
        )));
    }
    if groups && options.group.is_none() {
        return Err(Error::reply("ERR Missing GROUP option for XREADGROUP"));
    }
    let n = args.remaining() / 2;
    let keys = (0..n).map(|_| args.key()).collect::<Result<_>>()?;
    Ok((options, keys, args.rest()))
}

fn only(groups: bool, option: &str) -> Result<()> {
    if groups {
        return Ok(());
    }
    Err(Error::reply(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

/// What an array of streams becomes in the client's protocol.
struct Streams {
    deferred: forgekv_resp::Deferred,
    shown: usize,
}

impl Streams {
    fn new(reply: &mut Reply<'_>) -> Streams {
        Streams { deferred: reply.deferred(), shown: 0 }
    }

    /// Writes a stream and the entries that `entries` writes; it answers how many they are. A stream without any
    /// is left out, unless `always`.
    fn show(
        &mut self,
        reply: &mut Reply<'_>,
        key: Key<'_>,
        always: bool,
        entries: impl FnOnce(&mut Reply<'_>) -> Result<usize>,
    ) -> Result<()> {
        let mark = reply.mark();
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key.name);
        let array = reply.deferred_array();
        let n = entries(reply)?;
        if n == 0 && !always {
            reply.rewind(mark);
            return Ok(());
        }
        reply.finish_array(array, n);
        self.shown += 1;
        Ok(())
    }

    /// False, and nothing is written, when there is nothing to show.
    fn finish(self, reply: &mut Reply<'_>) -> bool {
        match self.shown {
            0 => return false,
            n if reply.is_resp3() => reply.finish_map(self.deferred, n),
            n => reply.finish_array(self.deferred, n),
        }
        true
    }
}

/// From where on XREAD reads a stream.
enum From {
    After(Id),
    /// Only the last entry. The id is that of the last one ever added.
    Last(Id),
}

impl From {
    fn resolve(db: &mut Read<'_>, key: Key<'_>, word: &[u8]) -> Result<From> {
        let mut last = Id::MIN;
        if db.header_of(key, Kind::Stream)?.is_none() {
            db.notify(event_class::MISS, "keymiss", key);
        } else if matches!(word, b"$" | b"+") {
            last = stream::last_id(db, key)?.unwrap_or_default();
        }
        match word {
            b"$" => Ok(From::After(last)),
            b"+" => Ok(From::Last(last)),
            b">" => Err(Error::reply(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                 <consumer> option.",
            )),
            word => Ok(From::After(id(word, 0)?)),
        }
    }
}

/// What is said when there was nothing to read.
fn nothing(
    reply: &mut Reply<'_>,
    block_ms: Option<u64>,
    wait: impl FnOnce() -> Wait,
) -> Option<Wait> {
    match block_ms {
        Some(timeout_ms) => Some(Wait { timeout_ms, ..wait() }),
        None => {
            reply.null_array();
            None
        }
    }
}

pub(super) fn xread(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    let all = args.rest();
    let (options, keys, words) = parse(args, false)?;
    let from = keys.iter().zip(words).map(|(&key, word)| From::resolve(db, key, word));
    let from = from.collect::<Result<Vec<_>>>()?;
    let mark = reply.mark();
    let mut streams = Streams::new(reply);
    for (&key, from) in keys.iter().zip(&from) {
        let (bounds, reverse, most) = match from {
            From::After(Id::MAX) => continue,
            From::After(id) => ((id.next().unwrap_or(Id::MAX), Id::MAX), false, options.count),
            From::Last(_) => ((Id::MIN, Id::MAX), true, Some(1)),
        };
        streams.show(reply, key, false, |reply| {
            let mut n = 0;
            stream::range(db, key, bounds, reverse, most, &mut |id, fields| {
                n += 1;
                reply_entry(reply, id, fields);
                Ok(())
            })?;
            Ok(n)
        })?;
    }
    if streams.finish(reply) {
        return Ok(None);
    }
    reply.rewind(mark);
    if options.block_ms.is_none() {
        reply.null_array();
        return Ok(None);
    }
    // What `$` and `+` mean is decided now, not when something comes.
    let mut again: Vec<Vec<u8>> = vec![b"XREAD".to_vec()];
    again.extend(all.iter().map(|word| word.to_vec()));
    let first = again.len() - keys.len();
    for (from, word) in from.iter().zip(again.iter_mut().skip(first)) {
        if matches!(word.as_slice(), b"$" | b"+") {
            let (From::After(last) | From::Last(last)) = from;
            *word = format!("{}-{}", last.ms, last.seq).into_bytes();
        }
    }
    Ok(nothing(reply, options.block_ms, || Wait {
        timeout_ms: 0,
        kind: Kind::Stream,
        or_gone: None,
        nil: Nil::Array,
        words: Some(again),
        only_first: false,
    }))
}

/// From where on XREADGROUP reads a stream.
enum Wanted {
    New,
    History(Id),
}

impl Wanted {
    fn resolve(db: &mut Read<'_>, key: Key<'_>, group: &[u8], word: &[u8]) -> Result<Wanted> {
        db.header_of(key, Kind::Stream)?;
        if !stream::has_group(db, key, group)? {
            let (key, group) = (String::from_utf8_lossy(key.name), String::from_utf8_lossy(group));
            return Err(Error::reply(format!(
                "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
            )));
        }
        let meaningless = |id: &str| {
            Error::reply(format!(
                "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the \
                 history of this consumer by specifying a proper ID, or use the > ID to get new \
                 messages. The {id} ID would just return an empty result set."
            ))
        };
        match word {
            b">" => Ok(Wanted::New),
            b"$" => Err(meaningless("$")),
            b"+" => Err(meaningless("+")),
            word => match id(word, 0)? {
                // Nothing is behind the last id; Redis takes it for `>`.
                Id::MAX => Ok(Wanted::New),
                id => Ok(Wanted::History(id)),
            },
        }
    }
}

pub(super) fn xreadgroup(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>> {
    let (options, keys, words) = parse(args, true)?;
    let (group, consumer) = options.group.unwrap_or_default();
    let wanted = keys.iter().zip(words).map(|(&key, word)| Wanted::resolve(db, key, group, word));
    let wanted = wanted.collect::<Result<Vec<_>>>()?;
    let Options { count, no_ack, claim_idle_ms, .. } = options;
    let reader = Reader { group, consumer, count, no_ack, claim_idle_ms };
    let mark = reply.mark();
    let mut streams = Streams::new(reply);
    for (key, wanted) in keys.into_iter().zip(wanted) {
        match wanted {
            Wanted::New => streams.show(reply, key, false, |reply| {
                let n = stream::deliver(db, key, &reader, &mut |id, fields, before| {
                    if claim_idle_ms.is_none() {
                        reply_entry(reply, id, fields);
                        return Ok(());
                    }
                    // Who claims is told of each entry whether it was pending before.
                    let (idle_ms, deliveries) = before.unwrap_or_default();
                    reply.array(4);
                    reply_id(reply, id);
                    reply_fields(reply, fields);
                    reply.int(idle_ms as i64);
                    reply.int(deliveries as i64);
                    Ok(())
                })?;
                Ok(n as usize)
            })?,
            Wanted::History(after) => streams.show(reply, key, true, |reply| {
                let mut n = 0;
                stream::history(db, key, &reader, after, &mut |id, fields| {
                    n += 1;
                    match fields {
                        Some(fields) => reply_entry(reply, id, fields),
                        None => {
                            reply.array(2);
                            reply_id(reply, id);
                            reply.null_array();
                        }
                    }
                    Ok(())
                })?;
                Ok(n)
            })?,
        }
    }
    if streams.finish(reply) {
        return Ok(None);
    }
    reply.rewind(mark);
    Ok(nothing(reply, options.block_ms, || Wait {
        timeout_ms: 0,
        kind: Kind::Stream,
        or_gone: Some("UNBLOCKED the stream key no longer exists"),
        nil: Nil::Array,
        words: None,
        only_first: false,
    }))
}
