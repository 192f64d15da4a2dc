//! Scripts: EVAL and its kin, and SCRIPT.
//!
//! A script runs in the view of the command that names it; see [`crate::scripts`].

use super::command::HELP;
use super::{Args, Command, Family, admin, compound, container};
use crate::road::{Admin, Scope};
use crate::scripts::calls::{Calls, May, Why};
use crate::scripts::running::Running;
use crate::scripts::{Cached, machine};
use forgekv_base::clock;
use forgekv_data::{ELSEWHERE, Error, Result};
use forgekv_engine::Error as EngineError;
use forgekv_resp::{Proto, Reply};
use forgekv_script::{Ended, Flags, Script, Shebang, Vm};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const DEPENDS: &str = "Depends on the script that is executed.";
const KEYS: &str = "RW access update";
const KEYS_RO: &str = "RO access";

const COMMANDS: &[Command] = &[
    compound("EVAL", eval, "script numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script()
        .since("2.6.0")
        .complexity(DEPENDS)
        .keys(KEYS)
        .about("Runs a script."),
    compound("EVALSHA", evalsha, "sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script()
        .since("2.6.0")
        .complexity(DEPENDS)
        .keys(KEYS)
        .about("Runs a script that was sent before, by the SHA-1 of its text."),
    compound("EVAL_RO", eval_ro, "script numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script().only_reads()
        .since("7.0.0")
        .complexity(DEPENDS)
        .keys(KEYS_RO)
        .about("Runs a script that only reads."),
    compound("EVALSHA_RO", evalsha_ro, "sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script().only_reads()
        .since("7.0.0")
        .complexity(DEPENDS)
        .keys(KEYS_RO)
        .about("Runs a script that was sent before and only reads, by the SHA-1 of its text."),
    container(
        "SCRIPT",
        &[
            admin("LOAD", load, "script")
                .noscript()
                .stale()
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .since("2.6.0")
                .complexity("O(N) with N being the length in bytes of the script body.")
                .about("Takes a script in without running it, and answers its SHA-1."),
            admin("EXISTS", exists, "sha1 [sha1 ...]")
                .noscript()
                .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
                .since("2.6.0")
                .complexity("O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).")
                .about("Tells of each SHA-1 whether a script of it is known."),
            admin("FLUSH", flush, "[ASYNC | SYNC]")
                .noscript()
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .since("2.6.0")
                .complexity("O(N) with N being the number of scripts in cache")
                .about("Forgets all scripts."),
            admin("KILL", kill, "")
                .noscript()
                .allow_busy()
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .since("2.6.0")
                .complexity("O(1)")
                .about("Ends the script that runs, if it has not written yet."),
            admin("SHOW", show, "sha1")
                .noscript()
                .since("8.0.0")
                .complexity("O(1).")
                .about("Answers the text of a script that is known."),
            admin("DEBUG", debug, "<YES | SYNC | NO>")
                .noscript()
                .since("3.2.0")
                .complexity("O(1)")
                .about("There is no debugger: only NO is taken."),
            HELP,
        ],
    )
    .since("2.6.0")
    .complexity("Depends on subcommand.")
    .about("Manages scripts."),
];

/// Scripts.
pub(crate) const FAMILY: Family = Family::new("scripting", COMMANDS);

const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

fn eval(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let script = of_text(scope, args.next()?)?;
    run_script(scope, &script, args, reply, false)
}

fn eval_ro(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let script = of_text(scope, args.next()?)?;
    run_script(scope, &script, args, reply, true)
}

fn evalsha(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let found = scope.server.scripts.get(args.next()?).ok_or(Error::reply(NO_SCRIPT))?;
    run_script(scope, &found, args, reply, false)
}

fn evalsha_ro(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let found = scope.server.scripts.get(args.next()?).ok_or(Error::reply(NO_SCRIPT))?;
    run_script(scope, &found, args, reply, true)
}

/// The script of a text, compiled at least once.
fn of_text(scope: &Scope<'_, '_>, text: &[u8]) -> Result<Arc<Cached>> {
    compiled(&scope.server.scripts, text)
}

fn compiled(scripts: &Arc<crate::scripts::Scripts>, text: &[u8]) -> Result<Arc<Cached>> {
    let (sha, found) = scripts.of_text(text);
    if let Some(found) = found {
        return Ok(found);
    }
    let shebang = Shebang::parse(text)
        .map_err(|e| Error::reply(format!("ERR {}", String::from_utf8_lossy(&e.0))))?;
    let body = text.get(shebang.body..).unwrap_or_default();
    machine::with(scripts, |vm| vm.compile(Script { sha: &sha, body }))?
        .map_err(|what| Error::reply(format!("ERR {what}")))?;
    let cached =
        Arc::new(Cached { sha, text: text.to_vec(), body: shebang.body, flags: shebang.flags });
    scripts.add(cached.clone());
    Ok(cached)
}

/// What a run is of.
pub(super) struct Subject<'a> {
    /// A function's name, or a script's SHA-1.
    pub(super) name: &'a [u8],
    pub(super) is_function: bool,
    /// `None`: each command may what it may.
    pub(super) flags: Option<Flags>,
    pub(super) only_reads: bool,
}

fn run_script(
    scope: &mut Scope<'_, '_>,
    script: &Cached,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    only_reads: bool,
) -> Result<()> {
    let keys = numkeys(args, "ERR value is not an integer or out of range")?;
    let body = script.text.get(script.body..).unwrap_or_default();
    let subject =
        Subject { name: &script.sha, is_function: false, flags: script.flags, only_reads };
    let words = args.rest();
    let command = || {
        let mut words = vec![args.name().as_bytes().to_vec(), script.text.clone()];
        words.push(keys.to_string().into_bytes());
        words.extend(args.rest().iter().map(|word| word.to_vec()));
        words
    };
    let seed = scope.once.random_seed;
    run(scope, &subject, &command, reply, |vm, calls, resp3, out| {
        vm.eval(calls, Script { sha: &script.sha, body }, words, keys, resp3, seed, out)
    })
}

/// How many of the words behind are keys; consumes the number.
pub(super) fn numkeys(args: &mut Args<'_>, not_a_number: &'static str) -> Result<usize> {
    let keys = args.int().map_err(|_| Error::reply(not_a_number))?;
    if keys > args.remaining() as i64 {
        return Err(Error::reply("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(keys).map_err(|_| Error::reply("ERR Number of keys can't be negative"))
}

/// Runs a script or function: asks its flags, lends it the scope, and sees to how it ends.
pub(super) fn run(
    scope: &mut Scope<'_, '_>,
    subject: &Subject<'_>,
    command: &dyn Fn() -> Vec<Vec<u8>>,
    reply: &mut Reply<'_>,
    f: impl FnOnce(&mut Vm, &mut Calls<'_, '_, '_>, bool, &mut Vec<u8>) -> Ended,
) -> Result<()> {
    let may = may(scope, subject)?;
    let scripts = scope.server.scripts.clone();
    let running = scope.may_wait().then(|| {
        scripts.begin(Running {
            name: subject.name.to_vec(),
            is_function: subject.is_function,
            command: command(),
            began_us: clock::monotonic_us(),
            is_killed: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
        })
    });
    let (db, proto) = (scope.session.db, scope.session.proto);
    let (remember, nested) = (scope.remember, scope.session.nested.len());
    let mut out = Vec::new();
    let mut calls = Calls::new(scope, may, running.clone());
    let ended = machine::with(&scripts, |vm| f(vm, &mut calls, proto == Proto::Resp3, &mut out));
    let why = calls.end();
    scope.session.proto = proto;
    scope.remember = remember;
    if scope.session.db != db {
        scope.select(db);
    }
    let ended = ended?;
    match why {
        None => {
            let is_counted = match ended {
                Ended::Answered { is_counted } | Ended::Failed { is_counted } => is_counted,
                Ended::Stopped => false,
            };
            scope.session.error_is_counted = is_counted;
            reply.raw(&out);
            Ok(())
        }
        Some(Why::Again(why)) => {
            scope.session.nested.truncate(nested);
            Err(Error::Again(why))
        }
        Some(Why::Long) => {
            scope.session.nested.truncate(nested);
            Err(EngineError::Busy(ELSEWHERE).into())
        }
        Some(Why::Killed) => {
            let what = if subject.is_function { "FUNCTION" } else { "SCRIPT" };
            let name = String::from_utf8_lossy(subject.name);
            Err(Error::reply(format!(
                "ERR Script killed by user with {what} KILL. script: {name}."
            )))
        }
        Some(Why::Ending) => Err(Error::reply("ERR the server is shutting down")),
    }
}

/// What the flags allow.
fn may(scope: &Scope<'_, '_>, subject: &Subject<'_>) -> Result<May> {
    let Some(flags) = subject.flags else {
        return Ok(May { write: !subject.only_reads, grow: false });
    };
    let writes = !flags.has(Flags::NO_WRITES);
    if subject.only_reads && writes {
        return Err(Error::reply(
            "ERR Can not execute a script with write flag using *_ro command.",
        ));
    }
    let grow = flags.has(Flags::ALLOW_OOM);
    if writes && !grow && scope.settings.config.is_below_floor() {
        return Err(Error::reply(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > \
             'maxmemory'",
        ));
    }
    Ok(May { write: writes, grow })
}

fn load(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let script = compiled(&ctx.server.scripts, args.next()?)?;
    reply.bulk(&script.sha);
    Ok(())
}

fn exists(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.array(args.remaining());
    while let Ok(sha) = args.next() {
        reply.int(i64::from(ctx.server.scripts.get(sha).is_some()));
    }
    Ok(())
}

fn flush(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    // Either way it is a matter of microseconds.
    if !args.is_empty() && !args.flag("ASYNC") && !args.flag("SYNC") || !args.is_empty() {
        return Err(Error::reply("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    ctx.server.scripts.flush();
    reply.ok();
    Ok(())
}

fn kill(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.scripts.kill(false).map_err(Error::reply)?;
    reply.ok();
    Ok(())
}

fn show(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let found = ctx.server.scripts.get(args.next()?);
    reply.bulk(&found.ok_or(Error::reply("NOSCRIPT No matching script."))?.text);
    Ok(())
}

fn debug(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.flag("NO") {
        reply.ok();
        return Ok(());
    }
    if args.flag("YES") || args.flag("SYNC") {
        return Err(Error::reply("ERR there is no debugger for scripts"));
    }
    Err(Error::reply("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}
