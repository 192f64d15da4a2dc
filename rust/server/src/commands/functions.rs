//! Functions: FUNCTION, FCALL and FCALL_RO.
//!
//! Libraries are data: what changes them stages one record ([`forgekv_data::functions`]), and all threads
//! take it over when it is committed.

use super::command::HELP;
use super::scripting::{Subject, numkeys, run};
use super::{Args, Command, Family, admin, compound, container};
use crate::road::{Admin, Scope};
use crate::scripts::libraries::{self, Libraries};
use forgekv_base::{clock, glob};
use forgekv_data::{Error, Result, functions};
use forgekv_resp::Reply;
use std::sync::Arc;

const DEPENDS: &str = "Depends on the function that is executed.";

const COMMANDS: &[Command] = &[
    compound("FCALL", fcall, "function numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script()
        .since("7.0.0")
        .complexity(DEPENDS)
        .keys("RW access update")
        .about("Calls a function."),
    compound("FCALL_RO", fcall_ro, "function numkeys [key [key ...]] [arg [arg ...]]")
        .noscript()
        .stale()
        .script()
        .only_reads()
        .since("7.0.0")
        .complexity(DEPENDS)
        .keys("RO access")
        .about("Calls a function that only reads."),
    container(
        "FUNCTION",
        &[
            compound("LOAD", load, "[REPLACE] function-code")
                .noscript()
                .grows()
                .all_shards()
                .writes()
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .since("7.0.0")
                .complexity("O(1) (considering compilation time is redundant)")
                .about("Takes a library in."),
            compound("DELETE", delete, "library-name")
                .noscript()
                .all_shards()
                .writes()
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .since("7.0.0")
                .complexity("O(1)")
                .about("Deletes a library and its functions."),
            compound("FLUSH", flush, "[ASYNC | SYNC]")
                .noscript()
                .all_shards()
                .writes()
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .since("7.0.0")
                .complexity("O(N) where N is the number of functions deleted")
                .about("Deletes all libraries."),
            compound("RESTORE", restore, "serialized-value [FLUSH | APPEND | REPLACE]")
                .arity(-3)
                .noscript()
                .grows()
                .all_shards()
                .writes()
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .since("7.0.0")
                .complexity("O(N) where N is the number of functions on the payload")
                .about("Takes the libraries of a payload in."),
            admin("DUMP", dump, "")
                .noscript()
                .since("7.0.0")
                .complexity("O(N) where N is the number of functions")
                .about("Answers all libraries as one payload."),
            admin("LIST", list, "[LIBRARYNAME library-name-pattern:string] [WITHCODE]")
                .noscript()
                .tips(&["nondeterministic_output_order"])
                .since("7.0.0")
                .complexity("O(N) where N is the number of functions")
                .about("Tells of all libraries."),
            admin("STATS", stats, "")
                .noscript()
                .allow_busy()
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ])
                .since("7.0.0")
                .complexity("O(1)")
                .about("Tells of the function that runs, and how many there are."),
            admin("KILL", kill, "")
                .noscript()
                .allow_busy()
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .since("7.0.0")
                .complexity("O(1)")
                .about("Ends the function that runs, if it has not written yet."),
            HELP,
        ],
    )
    .since("7.0.0")
    .complexity("Depends on subcommand.")
    .about("Manages libraries of functions."),
];

/// Functions, in the group of scripts.
pub(crate) const FAMILY: Family = Family::new("scripting", COMMANDS);

fn fcall(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    call(scope, args, reply, false)
}

fn fcall_ro(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    call(scope, args, reply, true)
}

/// The libraries as this command, and its transaction before it, have left them.
fn libraries_of(scope: &Scope<'_, '_>) -> Arc<Libraries> {
    match &scope.effects.libraries {
        Some(staged) => staged.clone(),
        None => scope.server.scripts.libraries(),
    }
}

fn call(
    scope: &mut Scope<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    only_reads: bool,
) -> Result<()> {
    let name = args.next()?;
    let libraries = libraries_of(scope);
    let (library, function) =
        libraries.function(name).ok_or(Error::reply("ERR Function not found"))?;
    let keys = numkeys(args, "ERR Bad number of keys provided")?;
    let subject = Subject {
        name: &function.name,
        is_function: true,
        flags: Some(function.flags),
        only_reads,
    };
    let words = args.rest();
    let command = || {
        let mut words = vec![args.name().as_bytes().to_vec(), name.to_vec()];
        words.push(keys.to_string().into_bytes());
        words.extend(args.rest().iter().map(|word| word.to_vec()));
        words
    };
    let seed = scope.once.random_seed;
    run(scope, &subject, &command, reply, |vm, calls, resp3, out| {
        vm.call(calls, library, &function.name, words, keys, resp3, seed, out)
    })
}

/// Stages libraries in the place of what is there.
fn stage(scope: &mut Scope<'_, '_>, libraries: Libraries) -> Result<()> {
    functions::stage(scope.view, &libraries.pack()?)?;
    scope.view.changed();
    scope.effects.libraries = Some(Arc::new(libraries));
    Ok(())
}

fn load(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    scope.view.require_all()?;
    let mut replace = false;
    while args.remaining() > 1 {
        if !args.flag("REPLACE") {
            let word = String::from_utf8_lossy(args.next()?);
            return Err(Error::reply(format!("ERR Unknown option given: {word}")));
        }
        replace = true;
    }
    let library = libraries::load(&scope.server.scripts, args.next()?)?;
    let name = library.name.clone();
    let mut libraries = Libraries::clone(&libraries_of(scope));
    libraries.add(library, replace, true)?;
    stage(scope, libraries)?;
    reply.bulk(&name);
    Ok(())
}

fn delete(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut libraries = Libraries::clone(&libraries_of(scope));
    if !libraries.remove(args.next()?) {
        return Err(Error::reply("ERR Library not found"));
    }
    stage(scope, libraries)?;
    reply.ok();
    Ok(())
}

fn flush(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.remaining() > 1 {
        return Err(args.wrong_arguments());
    }
    if !args.is_empty() && !args.flag("ASYNC") && !args.flag("SYNC") {
        return Err(Error::reply("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    stage(scope, Libraries::default())?;
    reply.ok();
    Ok(())
}

fn restore(scope: &mut Scope<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.remaining() > 2 {
        return Err(args.wrong_arguments());
    }
    let payload = args.next()?;
    let (mut flush, mut replace) = (false, false);
    if args.flag("FLUSH") {
        flush = true;
    } else if args.flag("REPLACE") {
        replace = true;
    } else if !args.is_empty() && !args.flag("APPEND") {
        return Err(Error::reply(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ));
    }
    let sources = functions::unpack(payload)?;
    scope.view.require_all()?;
    let mut libraries =
        if flush { Libraries::default() } else { Libraries::clone(&libraries_of(scope)) };
    for code in sources {
        libraries.add(libraries::load(&scope.server.scripts, &code)?, replace, false)?;
    }
    stage(scope, libraries)?;
    reply.ok();
    Ok(())
}

fn dump(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.bulk(&ctx.server.scripts.libraries().pack()?);
    Ok(())
}

fn list(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (mut pattern, mut with_code) = (None, false);
    while !args.is_empty() {
        if !with_code && args.flag("WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.flag("LIBRARYNAME") {
            let given = args.next();
            pattern =
                Some(given.map_err(|_| Error::reply("ERR library name argument was not given"))?);
        } else {
            let word = String::from_utf8_lossy(args.next()?);
            return Err(Error::reply(format!("ERR Unknown argument {word}")));
        }
    }
    let libraries = ctx.server.scripts.libraries();
    let shown: Vec<_> = libraries
        .iter()
        .filter(|library| pattern.is_none_or(|p| glob::matches(p, &library.name, true)))
        .collect();
    reply.array(shown.len());
    for library in shown {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(&library.name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&function.name);
            reply.bulk(b"description");
            match &function.description {
                Some(text) => reply.bulk(text),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            reply.set(function.flags.names().count());
            function.flags.names().for_each(|name| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn stats(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let scripts = &ctx.server.scripts;
    reply.map(2);
    reply.bulk(b"running_script");
    match scripts.oldest() {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&running.name);
            reply.bulk(b"command");
            reply.array(running.command.len());
            running.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.int(((clock::monotonic_us() - running.began_us) / 1000) as i64);
        }
    }
    let libraries = scripts.libraries();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.int(libraries.len() as i64);
    reply.bulk(b"functions_count");
    reply.int(libraries.functions() as i64);
    Ok(())
}

fn kill(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    ctx.server.scripts.kill(true).map_err(Error::reply)?;
    reply.ok();
    Ok(())
}
