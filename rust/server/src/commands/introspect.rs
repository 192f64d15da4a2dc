//! COMMAND: the table of commands, told to clients. Everything here is derived from it.

use super::command::HELP;
use super::{Args, Command, Flags, admin};
use crate::road::Admin;
use crate::table::grammar::Node;
use crate::table::keyspec::{Begin, Find, KeySpec, Positions};
use crate::table::{Entry, Named, Table};
use forgekv_base::glob;
use forgekv_data::{Error, Result, SYNTAX};
use forgekv_resp::Reply;

pub(super) const COMMAND: Command = about_commands("COMMAND", command, "")
    .arity(-1)
    .tips(&["nondeterministic_output_order"])
    .since("2.8.13")
    .about("Describes all commands.")
    .complexity("O(N), N being the number of commands")
    .subcommands(&[
        about_commands("COUNT", count, "")
            .since("2.8.13")
            .about("Counts the commands.")
            .complexity("O(1)"),
        about_commands("INFO", info, "[command-name [command-name ...]]")
            .tips(&["nondeterministic_output_order"])
            .since("2.8.13")
            .about("Describes some commands.")
            .complexity("O(N), N being the number of commands"),
        about_commands("DOCS", docs, "[command-name [command-name ...]]")
            .tips(&["nondeterministic_output_order"])
            .since("7.0.0")
            .about("Explains some commands.")
            .complexity("O(N), N being the number of commands"),
        about_commands(
            "LIST",
            list,
            "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        )
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .about("Lists names of commands.")
        .complexity("O(N), N being the number of commands"),
        about_commands("GETKEYS", get_keys, "command [arg ...]")
            .arity(-4)
            .since("2.8.13")
            .about("Answers which arguments of a whole command are keys.")
            .complexity("O(N), N being the number of arguments"),
        about_commands("GETKEYSANDFLAGS", get_keys_and_flags, "command [arg ...]")
            .arity(-4)
            .since("7.0.0")
            .about("Answers which arguments of a whole command are keys, and what is done to them.")
            .complexity("O(N), N being the number of arguments"),
        HELP.categories(&["connection"]),
    ]);

const fn about_commands(
    name: &'static str,
    handler: super::command::AdminHandler,
    syntax: &'static str,
) -> Command {
    admin(name, handler, syntax).loading().stale().categories(&["connection"])
}

fn command(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let table = &ctx.server.table;
    reply.array(table.tops().count());
    table.tops().for_each(|entry| describe(table, entry, reply));
    Ok(())
}

fn count(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    reply.int(ctx.server.table.tops().count() as i64);
    Ok(())
}

/// The command of a name, with its container's before a bar if it has one.
fn named<'t>(table: &'t Table, name: &[u8]) -> Option<&'t Entry> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let top = table.top(parts.next()?)?;
    match parts.next() {
        None => Some(top),
        Some(sub) => table.subcommand(top, sub),
    }
    .filter(|entry| !entry.flags.has(Flags::HIDDEN))
}

fn info(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    if args.is_empty() {
        return command(ctx, args, reply);
    }
    let table = &ctx.server.table;
    reply.array(args.remaining());
    for name in args.rest() {
        match named(table, name) {
            Some(entry) => describe(table, entry, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

fn simple_set(reply: &mut Reply<'_>, words: impl ExactSizeIterator<Item = String>) {
    reply.set(words.len());
    words.for_each(|word| reply.simple(&word));
}

/// An element of COMMAND's reply.
fn describe(table: &Table, entry: &Entry, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(entry.name.as_bytes());
    reply.int(i64::from(entry.arity));
    simple_set(reply, entry.flag_names().into_iter().map(str::to_owned));
    reply.int(i64::from(entry.legacy.first));
    reply.int(i64::from(entry.legacy.last));
    reply.int(i64::from(entry.legacy.step));
    simple_set(reply, entry.categories().into_iter().map(|name| format!("@{name}")));
    reply.set(entry.command.tips.len());
    entry.command.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(entry.specs.len());
    entry.specs.iter().for_each(|spec| describe_spec(spec, reply));
    reply.set(table.subs(entry).count());
    table.subs(entry).for_each(|sub| describe(table, sub, reply));
}

fn describe_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    simple_set(reply, spec_flags(spec).into_iter());
    reply.bulk(b"begin_search");
    let numbers = |reply: &mut Reply<'_>, pairs: &[(&str, i32)]| {
        reply.bulk(b"spec");
        reply.map(pairs.len());
        for (name, value) in pairs {
            reply.bulk(name.as_bytes());
            reply.int(i64::from(*value));
        }
    };
    let kind = |reply: &mut Reply<'_>, name: &str| {
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(name.as_bytes());
    };
    match &spec.begin {
        Begin::Index(index) | Begin::Named(index) => {
            kind(reply, "index");
            numbers(reply, &[("index", *index)]);
        }
        Begin::Keyword { word, start_from } => {
            kind(reply, "keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.int(i64::from(*start_from));
        }
        Begin::Unknown | Begin::Last(_) => {
            kind(reply, "unknown");
            numbers(reply, &[]);
        }
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            kind(reply, "range");
            numbers(reply, &[("lastkey", last), ("keystep", step), ("limit", limit)]);
        }
        Find::KeyNum { at, first, step } => {
            kind(reply, "keynum");
            numbers(reply, &[("keynumidx", at), ("firstkey", first), ("keystep", step)]);
        }
        Find::Unknown => {
            kind(reply, "unknown");
            numbers(reply, &[]);
        }
    }
}

fn spec_flags(spec: &KeySpec) -> Vec<String> {
    spec.flags.split(' ').map(str::to_owned).collect()
}

fn docs(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let table = &ctx.server.table;
    let entries: Vec<&Entry> = if args.is_empty() {
        table.tops().collect()
    } else {
        args.rest().iter().filter_map(|name| named(table, name)).collect()
    };
    reply.map(entries.len());
    entries.into_iter().for_each(|entry| explain(table, entry, reply));
    Ok(())
}

fn pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

/// A name and its documentation.
fn explain(table: &Table, entry: &Entry, reply: &mut Reply<'_>) {
    let command = entry.command;
    reply.bulk(entry.name.as_bytes());
    let fields = reply.deferred();
    let mut n = 3;
    pair(reply, "summary", command.about);
    pair(reply, "since", command.since);
    pair(reply, "group", entry.group);
    if !command.complexity.is_empty() {
        n += 1;
        pair(reply, "complexity", command.complexity);
    }
    if let Some((since, instead)) = command.deprecated {
        n += 3;
        reply.bulk(b"doc_flags");
        simple_set(reply, std::iter::once("deprecated".to_owned()));
        pair(reply, "deprecated_since", since);
        pair(reply, "replaced_by", instead);
    }
    if !entry.grammar.is_empty() {
        n += 1;
        reply.bulk(b"arguments");
        let mut keys = 0;
        arguments(&entry.grammar, &mut keys, reply);
    }
    if table.subs(entry).next().is_some() {
        n += 1;
        reply.bulk(b"subcommands");
        reply.map(table.subs(entry).count());
        table.subs(entry).for_each(|sub| explain(table, sub, reply));
    }
    reply.finish_map(fields, n);
}

/// How an argument of COMMAND DOCS differs from the plain node.
#[derive(Default, Clone, Copy)]
struct Shape {
    optional: bool,
    multiple: bool,
    multiple_token: bool,
}

fn arguments(nodes: &[Node], keys: &mut usize, reply: &mut Reply<'_>) {
    let list = reply.deferred_array();
    let mut n = 0;
    let mut rest = nodes;
    while let Some((node, behind)) = rest.split_first() {
        rest = behind;
        n += 1;
        // A word that stands before a value belongs to it.
        if let (Node::Token(token), Some(next @ Node::Value { .. })) = (node, behind.first()) {
            rest = behind.get(1..).unwrap_or_default();
            argument(next, Some(token), Shape::default(), keys, reply);
        } else {
            argument(node, None, Shape::default(), keys, reply);
        }
    }
    reply.finish_array(list, n);
}

fn argument(
    node: &Node,
    token: Option<&'static str>,
    shape: Shape,
    keys: &mut usize,
    reply: &mut Reply<'_>,
) {
    match node {
        Node::Optional(inner) => {
            return argument(inner, token, Shape { optional: true, ..shape }, keys, reply);
        }
        Node::Repeat(inner) => {
            let multiple_token =
                matches!(&**inner, Node::Sequence(s) if matches!(s.first(), Some(Node::Token(_))));
            let shape = Shape { multiple: true, multiple_token, ..shape };
            return argument(inner, token, shape, keys, reply);
        }
        Node::Sequence(nodes) if token.is_none() => {
            if let [Node::Token(token), rest @ ..] = nodes.as_slice() {
                return match rest {
                    [one] => argument(one, Some(token), shape, keys, reply),
                    several => block(several, Some(token), shape, keys, reply),
                };
            }
        }
        _ => {}
    }
    match node {
        Node::Value { name, kind } => {
            let fields = reply.deferred();
            let mut n = 2;
            pair(reply, "name", name);
            pair(reply, "type", kind.name());
            if kind.name() == "key" {
                n += 1;
                reply.bulk(b"key_spec_index");
                reply.int(*keys as i64);
                *keys += 1;
            }
            n += details(token, shape, reply);
            reply.finish_map(fields, n);
        }
        Node::Token(word) => {
            let fields = reply.deferred();
            pair(reply, "name", &word.to_ascii_lowercase());
            pair(reply, "type", "pure-token");
            pair(reply, "token", word);
            let n = 3 + details(None, shape, reply);
            reply.finish_map(fields, n);
        }
        Node::OneOf(choices) => {
            let fields = reply.deferred();
            pair(reply, "name", &name_of(choices));
            pair(reply, "type", "oneof");
            let n = 3 + details(token, shape, reply);
            reply.bulk(b"arguments");
            reply.array(choices.len());
            for choice in choices {
                argument(choice, None, Shape::default(), keys, reply);
            }
            reply.finish_map(fields, n);
        }
        Node::Sequence(nodes) => block(nodes, token, shape, keys, reply),
        Node::Optional(_) | Node::Repeat(_) => {}
    }
}

fn block(
    nodes: &[Node],
    token: Option<&'static str>,
    shape: Shape,
    keys: &mut usize,
    reply: &mut Reply<'_>,
) {
    let fields = reply.deferred();
    pair(reply, "name", &name_of(nodes));
    pair(reply, "type", "block");
    let n = 3 + details(token, shape, reply);
    reply.bulk(b"arguments");
    arguments(nodes, keys, reply);
    reply.finish_map(fields, n);
}

/// A group's name, made of those in it.
fn name_of(nodes: &[Node]) -> String {
    fn first(node: &Node) -> String {
        match node {
            Node::Value { name, .. } => (*name).to_owned(),
            Node::Token(token) => token.to_ascii_lowercase(),
            Node::Optional(inner) | Node::Repeat(inner) => first(inner),
            Node::Sequence(nodes) | Node::OneOf(nodes) => {
                nodes.first().map(first).unwrap_or_default()
            }
        }
    }
    nodes.iter().take(4).map(first).collect::<Vec<_>>().join("_")
}

/// Token and flags; how many pairs that were.
fn details(token: Option<&str>, shape: Shape, reply: &mut Reply<'_>) -> usize {
    let mut n = 0;
    if let Some(token) = token {
        n += 1;
        pair(reply, "token", token);
    }
    let flags = [
        (shape.optional, "optional"),
        (shape.multiple, "multiple"),
        (shape.multiple_token, "multiple_token"),
    ];
    let flags: Vec<String> =
        flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect();
    if !flags.is_empty() {
        n += 1;
        reply.bulk(b"flags");
        simple_set(reply, flags.into_iter());
    }
    n
}

fn list(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let mut keep: Box<dyn Fn(&Entry) -> bool + '_> = Box::new(|_| true);
    if !args.is_empty() {
        if !args.flag("FILTERBY") || args.remaining() != 2 {
            return Err(SYNTAX);
        }
        let kind = args.next()?;
        let what = args.next()?;
        keep = if kind.eq_ignore_ascii_case(b"module") {
            Box::new(|_| false)
        } else if kind.eq_ignore_ascii_case(b"aclcat") {
            let category = what.to_ascii_lowercase();
            Box::new(move |e| e.categories().iter().any(|name| name.as_bytes() == category))
        } else if kind.eq_ignore_ascii_case(b"pattern") {
            Box::new(move |e| glob::matches(what, e.name.as_bytes(), true))
        } else {
            return Err(SYNTAX);
        };
    }
    let table = &ctx.server.table;
    let names = reply.deferred();
    let mut n = 0;
    for entry in table.tops().flat_map(|top| std::iter::once(top).chain(table.subs(top))) {
        if keep(entry) {
            reply.bulk(entry.name.as_bytes());
            n += 1;
        }
    }
    reply.finish_set(names, n);
    Ok(())
}

/// What is done to the keys of a group in this very call. Where the flags depend on options, a key that is
/// not read is only overwritten.
fn flags_here(spec: &KeySpec, words: &[&[u8]]) -> Vec<String> {
    if !spec.flags.contains("variable_flags") {
        return spec_flags(spec);
    }
    let reads = words.iter().skip(1).any(|word| word.eq_ignore_ascii_case(b"GET"));
    let flags: &[&str] = if reads { &["RW", "access", "update"] } else { &["OW", "update"] };
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

/// The keys in a whole command, with the flags of their group.
fn keys_of<'a>(ctx: &Admin<'_, '_>, words: &[&'a [u8]]) -> Result<Vec<(&'a [u8], Vec<String>)>> {
    let Named::Found(entry) = ctx.server.table.find(words) else {
        return Err(Error::reply("ERR Invalid command specified"));
    };
    if entry.specs.is_empty() {
        return Err(Error::reply("ERR The command has no key arguments"));
    }
    // What runs a script need not name a key.
    let may_have_none = entry.flags.has(Flags::SCRIPT);
    let wrong = || Error::reply("ERR Invalid arguments specified for command");
    if !entry.takes(words.len()) {
        return Err(Error::reply("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    for spec in &entry.specs {
        let mut positions = Positions::new();
        if !spec.positions(words, &mut positions) {
            return if may_have_none { Ok(Vec::new()) } else { Err(wrong()) };
        }
        let found = positions.iter().filter_map(|&at| words.get(at));
        keys.extend(found.map(|key| (*key, flags_here(spec, words))));
    }
    if keys.is_empty() && !may_have_none { Err(wrong()) } else { Ok(keys) }
}

fn get_keys(ctx: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let keys = keys_of(ctx, args.rest())?;
    reply.array(keys.len());
    keys.iter().for_each(|(key, _)| reply.bulk(key));
    Ok(())
}

fn get_keys_and_flags(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let keys = keys_of(ctx, args.rest())?;
    reply.array(keys.len());
    for (key, flags) in keys {
        reply.array(2);
        reply.bulk(key);
        simple_set(reply, flags.into_iter());
    }
    Ok(())
}
