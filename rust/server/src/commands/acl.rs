//! ACL: users and their rights.
//!
//! What rights are is in [`crate::acl`]; here arguments are read and replies written.

use super::command::{AdminHandler, HELP};
use super::server::work;
use super::{Args, Command, admin, container};
use crate::acl::{self, Context, Denied, file};
use crate::road::{Admin, Then};
use crate::table::{CATEGORIES, Named};
use forgekv_base::{number::parse_i64, rng};
use forgekv_data::{Error, NOT_AN_INTEGER, Result};
use forgekv_resp::Reply;

const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to \
     specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
     Redis configuration file set) in order to store users in the Redis configuration.";
const SAVE_FAILED: &str = "ERR There was an error trying to save the ACLs. Please check the server logs for more information";
const GENPASS_BITS: i64 = 256;
const GENPASS_MOST: i64 = 4096;
/// How many entries ACL LOG tells if nobody says how many.
const LOG_COUNT: usize = 10;

pub(super) const ACL: Command = container(
    "ACL",
    &[
        plain("CAT", cat, "[category]")
            .about("Lists the categories of commands, or the commands of one.")
            .complexity("O(1), as there is a fixed number of categories and commands"),
        operator("DELUSER", delete, "username [username ...]")
            .about("Removes users and closes their connections.")
            .complexity("O(1) amortized, given the usual number of users")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        operator("DRYRUN", dry_run, "username command [arg [arg ...]]")
            .since("7.0.0")
            .about("Tells whether a user may call a command, without calling it.")
            .complexity("O(1)"),
        plain("GENPASS", generate, "[bits]").about("Makes a password up.").complexity("O(1)"),
        operator("GETUSER", get, "username")
            .about("Tells the rules of a user.")
            .complexity("O(N), N being the number of rules"),
        operator("LIST", list, "")
            .about("Lists the users as a file of users has them.")
            .complexity("O(N), N being the number of users"),
        operator("LOAD", load, "")
            .about("Reads the file of users again.")
            .complexity("O(N), N being the number of users"),
        operator("LOG", log, "[count:integer | RESET]")
            .about("Tells what was refused lately.")
            .complexity("O(N), N being the number of entries shown"),
        operator("SAVE", save, "")
            .about("Writes the file of users.")
            .complexity("O(N), N being the number of users")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        operator("SETUSER", set, "username [rule [rule ...]]")
            .about("Makes a user or changes what it may do.")
            .complexity("O(N), N being the number of rules")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        operator("USERS", users, "")
            .about("Lists the names of the users.")
            .complexity("O(N), N being the number of users"),
        plain("WHOAMI", who_am_i, "")
            .about("Answers the name of the user that this connection is.")
            .complexity("O(1)"),
        HELP,
    ],
)
.since("6.0.0")
.about("Commands on users.")
.complexity("Depends on subcommand.");

const fn plain(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    admin(name, handler, syntax).loading().stale().noscript().since("6.0.0")
}

const fn operator(name: &'static str, handler: AdminHandler, syntax: &'static str) -> Command {
    plain(name, handler, syntax).operator()
}

fn cat(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let Some(asked) = args.peek() else {
        reply.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| reply.bulk(name.as_bytes()));
        return Ok(());
    };
    if args.remaining() > 1 {
        return Err(args.wrong_arguments());
    }
    let is_it = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(asked);
    let Some(category) = CATEGORIES.iter().find(is_it) else {
        let asked = String::from_utf8_lossy(asked.get(..128).unwrap_or(asked));
        return Err(Error::reply(format!("ERR Unknown category '{asked}'")));
    };
    let entries = ctx.server.table.all();
    let found: Vec<_> = entries.filter(|e| e.categories().contains(category)).collect();
    reply.array(found.len());
    found.iter().for_each(|entry| reply.bulk(entry.name.as_bytes()));
    Ok(())
}

fn delete(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut gone = Vec::new();
    let mut refused = false;
    while !args.is_empty() {
        let name = args.next()?;
        refused = name == acl::DEFAULT;
        if refused {
            break;
        }
        gone.extend(ctx.server.acl.remove(name, &ctx.server.table));
    }
    if ctx.server.close_users(&gone, ctx.session.client.id) {
        ctx.then = Some(Then::Close);
    }
    if refused {
        return Err(Error::reply("ERR The 'default' user cannot be removed"));
    }
    reply.int(gone.len() as i64);
    Ok(())
}

fn dry_run(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    let words = args.rest();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let user = ctx.server.acl.get(name);
    let user = user.ok_or_else(|| Error::reply(format!("ERR User '{}' not found", lossy(name))))?;
    let Named::Found(entry) = ctx.server.table.find(words) else {
        let command = lossy(words.first().copied().unwrap_or_default());
        return Err(Error::reply(format!("ERR Command '{command}' not found")));
    };
    if !entry.takes(words.len()) {
        return Err(Error::reply(super::args::wrong_number(&entry.name)));
    }
    match user.may(entry, words) {
        Ok(()) => reply.ok(),
        Err(Denied::SortBy | Denied::SortGet) => reply.ok(),
        Err(denied) => {
            let object = match denied {
                Denied::Key(at) | Denied::Channel(at) => words.get(at).copied().unwrap_or_default(),
                _ => b"",
            };
            let command = ctx.server.table.known_name(entry);
            reply.bulk(&denied.text(user.name(), command, object));
        }
    }
    Ok(())
}

fn generate(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let bits = match args.peek() {
        None => GENPASS_BITS,
        Some(_) if args.remaining() > 1 => return Err(args.wrong_arguments()),
        Some(word) => parse_i64(word).ok_or(NOT_AN_INTEGER)?,
    };
    if !(1..=GENPASS_MOST).contains(&bits) {
        return Err(Error::reply(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a \
             positive number up to {GENPASS_MOST}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    rng::entropy(&mut bytes)
        .map_err(|e| Error::reply(format!("ERR the system gives no random bytes: {e}")))?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    reply.bulk(text.as_bytes());
    Ok(())
}

fn get(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let Some(user) = ctx.server.acl.get(args.next()?) else {
        reply.null();
        return Ok(());
    };
    let rules = user.rules();
    let Some((root, others)) = rules.selectors().split_first() else { return Ok(()) };
    reply.map(6);
    reply.bulk(b"flags");
    let flags = rules.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(rules.passwords().len());
    rules.passwords().iter().for_each(|hash| reply.bulk(hash));
    let describe = |selector: &acl::Selector, reply: &mut Reply<'_>| {
        reply.bulk(b"commands");
        reply.bulk(selector.commands_text().as_bytes());
        reply.bulk(b"keys");
        reply.bulk(&selector.keys_text());
        reply.bulk(b"channels");
        reply.bulk(&selector.channels_text());
    };
    describe(root, reply);
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        describe(selector, reply);
    }
    Ok(())
}

fn list(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let lines = ctx.server.acl.lines();
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.bulk(line));
    Ok(())
}

fn users(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let users = ctx.server.acl.all();
    reply.array(users.len());
    users.iter().for_each(|user| reply.bulk(user.name()));
    Ok(())
}

fn who_am_i(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.bulk(ctx.session.user.name());
    Ok(())
}

fn set(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let name = args.next()?;
    if acl::has_spaces(name) {
        return Err(Error::reply("ERR Usernames can't contain spaces or null characters"));
    }
    let channels = ctx.server.config.current().acl_pubsub_default;
    let set = ctx.server.acl.set(name, args.rest(), &ctx.server.table, channels);
    let user = set.map_err(|why| Error::reply(format!("ERR {why}")))?;
    if ctx.server.close_subscribers(&user, ctx.session.client.id) {
        ctx.then = Some(Then::Close);
    }
    reply.ok();
    Ok(())
}

fn load(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let server = ctx.server.clone();
    let config = ctx.settings.config.clone();
    if config.aclfile.is_empty() {
        return Err(Error::reply(NO_FILE));
    }
    let me = ctx.session.client.id;
    ctx.then = Some(work(move || {
        let gone = server.acl.load(&config, &server.table).map_err(|why| format!("ERR {why}"))?;
        let mut is_mine = server.close_users(&gone, me);
        for user in server.acl.all() {
            is_mine |= server.close_subscribers(&user, me);
        }
        if is_mine && let Some(client) = server.clients.get(me) {
            // Its own user is not in the file any more, or may not have its channels.
            server.close_client(client.worker, me);
        }
        Ok(())
    }));
    Ok(())
}

fn save(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    let server = ctx.server.clone();
    let config = server.config.current();
    if config.aclfile.is_empty() {
        return Err(Error::reply(NO_FILE));
    }
    ctx.then = Some(work(move || {
        let path = config.path(&config.aclfile);
        // Two at a time would write the same temporary file.
        let _one = server.acl.saving.lock();
        file::save(&path, &server.acl.lines()).map_err(|e| {
            tracing::warn!("the users cannot be saved to {}: {e}", path.display());
            SAVE_FAILED.to_owned()
        })
    }));
    Ok(())
}

fn log(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut log = ctx.server.acl.log();
    let count = match args.peek() {
        None => LOG_COUNT,
        Some(_) if args.remaining() > 1 => return Err(args.wrong_arguments()),
        Some(word) if word.eq_ignore_ascii_case(b"RESET") => {
            log.clear();
            reply.ok();
            return Ok(());
        }
        Some(word) => usize::try_from(parse_i64(word).ok_or(NOT_AN_INTEGER)?).unwrap_or(0),
    };
    let entries = log.newest(count);
    reply.array(entries.len());
    for entry in entries {
        reply.map(10);
        reply.bulk(b"count");
        reply.int(entry.count as i64);
        reply.bulk(b"reason");
        reply.bulk(entry.reason.name().as_bytes());
        reply.bulk(b"context");
        reply.bulk(Context::name(entry.context).as_bytes());
        reply.bulk(b"object");
        reply.bulk(&entry.object);
        reply.bulk(b"username");
        reply.bulk(&entry.user);
        reply.bulk(b"age-seconds");
        reply.double(ctx.now_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&entry.client);
        reply.bulk(b"entry-id");
        reply.int(entry.id as i64);
        reply.bulk(b"timestamp-created");
        reply.int(entry.created_ms as i64);
        reply.bulk(b"timestamp-last-updated");
        reply.int(entry.updated_ms as i64);
    }
    Ok(())
}
