//! Pub/Sub: subscribing, publishing, and who has subscribed. How messages travel is in [`crate::pubsub`].

use super::command::{AdminHandler, HELP};
use super::{Args, Command, Family, admin, container};
use crate::effects::Published;
use crate::pubsub::Kind;
use crate::road::Admin;
use forgekv_data::Result;
use forgekv_resp::Reply;

/// Names that stand for no key.
const NAMES: &str = "not_key @ 1 range -1 1 0";
const NAME: &str = "not_key @ 1 range 0 1 0";

pub(crate) const FAMILY: Family = Family::new(
    "pubsub",
    &[
        subscription("SUBSCRIBE", subscribe, "channel [channel ...]")
            .since("2.0.0")
            .about("Listens to channels.")
            .complexity("O(N), N being the number of channels"),
        subscription("UNSUBSCRIBE", unsubscribe, "[channel [channel ...]]")
            .since("2.0.0")
            .about("Stops listening to channels, or to all of them.")
            .complexity("O(N), N being the number of channels"),
        subscription("PSUBSCRIBE", psubscribe, "pattern [pattern ...]")
            .since("2.0.0")
            .about("Listens to all channels whose names fit patterns.")
            .complexity("O(N), N being the number of patterns"),
        subscription("PUNSUBSCRIBE", punsubscribe, "[pattern [pattern ...]]")
            .since("2.0.0")
            .about("Stops listening to what fits patterns, or to all of them.")
            .complexity("O(N), N being the number of patterns"),
        subscription("SSUBSCRIBE", ssubscribe, "shardchannel [shardchannel ...]")
            .keys(NAMES)
            .since("7.0.0")
            .about("Listens to shard channels.")
            .complexity("O(N), N being the number of channels"),
        subscription("SUNSUBSCRIBE", sunsubscribe, "[shardchannel [shardchannel ...]]")
            .keys(NAMES)
            .since("7.0.0")
            .about("Stops listening to shard channels, or to all of them.")
            .complexity("O(N), N being the number of channels"),
        admin("PUBLISH", publish, "channel message")
            .fast()
            .may_replicate()
            .pubsub()
            .since("2.0.0")
            .about("Sends a message to all who listen to a channel.")
            .complexity("O(N+M), N being the number of receivers and M the number of patterns"),
        admin("SPUBLISH", spublish, "shardchannel message")
            .fast()
            .may_replicate()
            .pubsub()
            .keys(NAME)
            .since("7.0.0")
            .about("Sends a message to all who listen to a shard channel.")
            .complexity("O(N), N being the number of receivers"),
        container(
            "PUBSUB",
            &[
                question("CHANNELS", channels, "[pattern]")
                    .since("2.8.0")
                    .about("Lists the channels that somebody listens to.")
                    .complexity("O(N), N being the number of channels"),
                question("NUMSUB", numsub, "[channel [channel ...]]")
                    .since("2.8.0")
                    .about("Counts those who listen to channels; patterns do not count.")
                    .complexity("O(N), N being the number of channels asked for"),
                question("NUMPAT", numpat, "")
                    .since("2.8.0")
                    .about("Counts the patterns that somebody listens to.")
                    .complexity("O(1)"),
                question("SHARDCHANNELS", shard_channels, "[pattern]")
                    .since("7.0.0")
                    .about("Lists the shard channels that somebody listens to.")
                    .complexity("O(N), N being the number of shard channels"),
                question("SHARDNUMSUB", shard_numsub, "[shardchannel [shardchannel ...]]")
                    .since("7.0.0")
                    .about("Counts those who listen to shard channels.")
                    .complexity("O(N), N being the number of shard channels asked for"),
                HELP,
            ],
        )
        .since("2.8.0")
        .about("Questions about Pub/Sub.")
        .complexity("Depends on subcommand."),
    ],
);

/// Begins or ends subscriptions.
const fn subscription(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    admin(name, handler, syntax).pubsub().noscript().subscriber()
}

/// A subcommand of PUBSUB.
const fn question(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    admin(name, handler, syntax).pubsub()
}

fn subscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    begin(ctx, args, reply, Kind::Channel, b"subscribe")
}

fn psubscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    begin(ctx, args, reply, Kind::Pattern, b"psubscribe")
}

fn ssubscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    begin(ctx, args, reply, Kind::Shard, b"ssubscribe")
}

fn unsubscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    end(ctx, args, reply, Kind::Channel, b"unsubscribe")
}

fn punsubscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    end(ctx, args, reply, Kind::Pattern, b"punsubscribe")
}

fn sunsubscribe(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    end(ctx, args, reply, Kind::Shard, b"sunsubscribe")
}

/// Confirms a subscription or its end; `name` is missing when there was none to end.
fn confirm(
    ctx: &Admin<'_, '_>,
    reply: &mut Reply<'_>,
    kind: Kind,
    word: &[u8],
    name: Option<&[u8]>,
) {
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.int(ctx.session.subscriptions.count(kind) as i64);
}

fn begin(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
    word: &[u8],
) -> Result<()> {
    for name in args.rest() {
        let session = &mut *ctx.session;
        let (client, mine) = (&session.client, &mut session.subscriptions);
        ctx.server.pubsub.subscribe(client, mine, kind, name);
        confirm(ctx, reply, kind, word, Some(name));
    }
    ctx.session.was_pushed = true;
    Ok(())
}

fn end(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
    word: &[u8],
) -> Result<()> {
    let all;
    let names: Vec<&[u8]> = if args.is_empty() {
        all = ctx.session.subscriptions.names(kind).cloned().collect::<Vec<_>>();
        all.iter().map(|name| &**name).collect()
    } else {
        args.rest().to_vec()
    };
    for name in &names {
        let session = &mut *ctx.session;
        let (client, mine) = (&session.client, &mut session.subscriptions);
        ctx.server.pubsub.unsubscribe(client, mine, kind, name);
        confirm(ctx, reply, kind, word, Some(name));
    }
    if names.is_empty() {
        confirm(ctx, reply, kind, word, None);
    }
    ctx.session.was_pushed = true;
    Ok(())
}

fn publish(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    send(ctx, args, reply, false)
}

fn spublish(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    send(ctx, args, reply, true)
}

fn send(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    sharded: bool,
) -> Result<()> {
    let (channel, message) = (args.next()?, args.next()?);
    let receivers = ctx.server.pubsub.count(channel, sharded);
    if receivers > 0 {
        let (channel, message) = (channel.to_vec(), message.to_vec());
        ctx.effects.published.push(Published { channel, message, sharded });
    }
    reply.int(receivers as i64);
    Ok(())
}

fn channels(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    list(ctx, args, reply, Kind::Channel)
}

fn shard_channels(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    list(ctx, args, reply, Kind::Shard)
}

fn list(ctx: &Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>, kind: Kind) -> Result<()> {
    let pattern = match *args.rest() {
        [] => None,
        [pattern] => Some(pattern),
        _ => {
            return Err(args.wrong_arguments());
        }
    };
    let names = ctx.server.pubsub.names(kind, pattern);
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn numsub(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    number(ctx, args, reply, Kind::Channel)
}

fn shard_numsub(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    number(ctx, args, reply, Kind::Shard)
}

fn number(
    ctx: &Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
) -> Result<()> {
    let names = args.rest();
    reply.array(2 * names.len());
    for name in names {
        reply.bulk(name);
        reply.int(ctx.server.pubsub.subscribers(kind, name) as i64);
    }
    Ok(())
}

fn numpat(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.server.pubsub.len(Kind::Pattern) as i64);
    Ok(())
}
