use super::*;
use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../../testdata/commands-7.0.15.txt");

/// The fixture's line for an entry, as we derive it.
fn line(entry: &Entry) -> String {
    let mut flags = entry.flag_names();
    flags.sort_unstable();
    let mut tips = entry.command.tips.to_vec();
    tips.sort_unstable();
    let mut categories = entry.categories();
    categories.sort_unstable();
    let Legacy { first, last, step, .. } = entry.legacy;
    let specs: Vec<String> = entry.specs.iter().map(spec).collect();
    [
        entry.name.replace('|', " "),
        entry.arity.to_string(),
        flags.join(" "),
        format!("{first} {last} {step}"),
        categories.join(" "),
        tips.join(" "),
        specs.join("; "),
    ]
    .join(" | ")
}

fn spec(spec: &KeySpec) -> String {
    let begin = match &spec.begin {
        keyspec::Begin::Index(index) | keyspec::Begin::Named(index) => index.to_string(),
        keyspec::Begin::Keyword { word, start_from } => format!("{word}:{start_from}"),
        keyspec::Begin::Unknown | keyspec::Begin::Last(_) => "?".into(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
        Find::KeyNum { at, first, step } => format!("keynum {at} {first} {step}"),
        Find::Unknown => "?".into(),
    };
    format!("{} @ {begin} {find}", spec.flags)
}

/// Facts in which a later Redis differs from 7.0.15, or in which we differ on purpose: name and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("acl deluser", "7.2 has it sent to all nodes"),
    ("acl save", "7.2 has it sent to all nodes"),
    ("acl setuser", "7.2 has it sent to all nodes"),
    ("client", "SETINFO and NO-TOUCH are of 7.2"),
    ("debug", "its subcommands are entries of their own"),
    ("msetnx", "7.2 took its tips away: it does not work across slots"),
    ("restore-asking", "its flag `asking` belongs to a cluster"),
    ("wait", "7.2 says that it blocks, and it runs as what blocks does"),
    ("zrank", "WITHSCORE is of 7.2"),
    ("zrevrank", "WITHSCORE is of 7.2"),
];

#[test]
fn what_is_derived_is_what_a_real_server_says() {
    let reference: BTreeMap<&str, &str> = REFERENCE
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| Some((l.split_once(" | ")?.0, l)))
        .collect();
    let table = Table::build(&[]).unwrap();
    let mut wrong = Vec::new();
    for entry in &table.entries {
        let ours = line(entry);
        let name = entry.name.replace('|', " ");
        let Some(theirs) = reference.get(name.as_str()) else { continue };
        if DIFFERENT.iter().any(|(different, _)| *different == name) {
            continue;
        }
        let clean = |l: &str| l.split(" | ").map(str::trim).collect::<Vec<_>>().join(" | ");
        if clean(&ours) != clean(theirs) {
            wrong.push(format!("ours   {ours}\ntheirs {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_entry_is_complete() {
    let table = Table::build(&[]).unwrap();
    for entry in &table.entries {
        let command = entry.command;
        assert_eq!(command.name, command.name.to_ascii_uppercase());
        assert!(!command.about.is_empty(), "{}: one sentence is missing", entry.name);
        assert!(!command.since.is_empty(), "{}: since is missing", entry.name);
    }
}

#[test]
fn names_are_found_in_any_case_and_renamed() {
    let renames = [(b"PING".to_vec(), b"pong".to_vec()), (b"echo".to_vec(), Vec::new())];
    let table = Table::build(&renames).unwrap();
    assert!(table.top(b"ping").is_none() && table.top(b"ECHO").is_none());
    assert_eq!(table.top(b"PoNg").unwrap().name, "ping");
    let plain = Table::build(&[]).unwrap();
    for entry in plain.tops() {
        assert_eq!(plain.top(entry.name.as_bytes()).unwrap().id, entry.id);
        assert_eq!(plain.top(entry.name.to_uppercase().as_bytes()).unwrap().id, entry.id);
    }
    assert!(plain.top(b"").is_none() && plain.top(&[b'x'; 100]).is_none());
    let found = |words: &[&[u8]]| match plain.find(words) {
        Named::Found(entry) => entry.name.clone(),
        Named::Unknown => "unknown".into(),
        Named::UnknownSubcommand(entry) => format!("{}?", entry.name),
    };
    assert_eq!(found(&[b"client", b"ID"]), "client|id");
    assert_eq!(found(&[b"client", b"nope"]), "client?");
    assert_eq!(found(&[b"client"]), "client");
    assert_eq!(found(&[b"nope"]), "unknown");
}

#[test]
fn descriptions_list_the_options() {
    let all = describe().unwrap();
    let kill = all.iter().find(|d| d.name == ["CLIENT", "KILL"]).unwrap();
    assert!(kill.tokens.contains(&"SKIPME"), "{kill:?}");
}
