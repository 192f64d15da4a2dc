//! SLOWLOG and COMMANDLOG: commands that took long, or whose request or reply was large.

use super::command::{AdminHandler, HELP};
use super::{Args, Command, Family, admin, container};
use crate::observe::{Kind, Logged};
use crate::road::Admin;
use forgekv_data::{Error, Result};
use forgekv_resp::Reply;

/// Entries that SLOWLOG GET answers unless it is told how many.
const USUAL: i64 = 10;

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[
        container(
            "SLOWLOG",
            &[
                operators("GET", get, "[count]")
                    .since("2.2.12")
                    .about("Lists the newest of the slow commands.")
                    .complexity("O(N), N being the number of commands answered")
                    .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
                operators("LEN", len, "")
                    .since("2.2.12")
                    .about("Counts the slow commands that are kept.")
                    .complexity("O(1)")
                    .tips(&[
                        "request_policy:all_nodes",
                        "response_policy:agg_sum",
                        "nondeterministic_output",
                    ]),
                operators("RESET", reset, "")
                    .since("2.2.12")
                    .about("Forgets the slow commands.")
                    .complexity("O(N), N being the number of commands kept")
                    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
                HELP,
            ],
        )
        .since("2.2.12")
        .about("The log of slow commands.")
        .complexity("Depends on subcommand."),
        container(
            "COMMANDLOG",
            &[
                operators("GET", kind_get, "count <SLOW | LARGE-REQUEST | LARGE-REPLY>")
                    .about("Lists the newest commands of one log.")
                    .complexity("O(N), N being the number of commands answered"),
                operators("LEN", kind_len, "<SLOW | LARGE-REQUEST | LARGE-REPLY>")
                    .about("Counts the commands that a log keeps.")
                    .complexity("O(1)"),
                operators("RESET", kind_reset, "<SLOW | LARGE-REQUEST | LARGE-REPLY>")
                    .about("Forgets the commands of one log.")
                    .complexity("O(N), N being the number of commands kept"),
                HELP,
            ],
        )
        .since("8.1.0")
        .about("The logs of slow commands, and of those with large requests or replies.")
        .complexity("Depends on subcommand."),
    ],
);

const fn operators(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    admin(name, handler, syntax).operator().loading().stale().since("8.1.0")
}

fn get(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.remaining() > 1 {
        return Err(Error::reply(
            "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
        ));
    }
    let count = if args.is_empty() { USUAL } else { count(args)? };
    list(&ctx.server.observe.log.newest(Kind::Slow, most(count)), reply);
    Ok(())
}

fn count(args: &mut Args<'_>) -> Result<i64> {
    const TEXT: &str = "ERR count should be greater than or equal to -1";
    args.int_in(-1, i64::MAX, TEXT)
}

/// All of them for -1.
fn most(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn list(logged: &[Logged], reply: &mut Reply<'_>) {
    reply.array(logged.len());
    for one in logged {
        reply.array(6);
        reply.int(one.id as i64);
        reply.int(one.unix_s as i64);
        reply.int(one.figure as i64);
        reply.array(one.words.len());
        one.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk(one.address.as_bytes());
        reply.bulk(&one.client_name);
    }
}

fn len(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.server.observe.log.len(Kind::Slow) as i64);
    Ok(())
}

fn reset(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.observe.log.clear(Kind::Slow);
    reply.ok();
    Ok(())
}

fn kind(args: &mut Args<'_>) -> Result<Kind> {
    Kind::named(args.next()?).ok_or(Error::reply(
        "ERR type should be one of the following: slow, large-request, large-reply",
    ))
}

fn kind_get(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let count = count(args)?;
    list(&ctx.server.observe.log.newest(kind(args)?, most(count)), reply);
    Ok(())
}

fn kind_len(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.server.observe.log.len(kind(args)?) as i64);
    Ok(())
}

fn kind_reset(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.observe.log.clear(kind(args)?);
    reply.ok();
    Ok(())
}
