//! The table of commands as the road uses it: every entry of every family with what is derived from it,
//! found by name without an allocation.
//!
//! Built once at the start. What is wrong in an entry is found by the tests of this room, which build the
//! table and compare it with what a real server says of its commands.

use crate::commands::{Command, FAMILIES, Family, Flags, Handler};
use grammar::Node;
use keyspec::{Find, KeySpec, Legacy, Positions};
use smallvec::SmallVec;

pub(crate) mod grammar;
pub(crate) mod keyspec;

/// How the road finds a command's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPlan {
    /// There are none.
    None,
    /// Word `first` is the only one.
    One { first: usize },
    /// As the specs say.
    Specs,
}

/// Which word names an element of the value at the command's only key: a field, a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementWord {
    At(usize),
    /// Behind options. Of several elements the last one.
    Last,
}

impl ElementWord {
    /// The first element that a syntax line names, the command's name taking so many words.
    fn of(grammar: &[Node], name_words: usize) -> Option<ElementWord> {
        let mut word = Some(name_words);
        find_element(grammar, &mut word)
    }

    /// The word's index among `len` words.
    pub(crate) fn index(self, len: usize) -> usize {
        match self {
            ElementWord::At(index) => index,
            ElementWord::Last => len.saturating_sub(1),
        }
    }
}

/// `word` counts the words that `nodes` take, until options make that unknown.
fn find_element(nodes: &[Node], word: &mut Option<usize>) -> Option<ElementWord> {
    for node in nodes {
        let found = match node {
            Node::Value { name: "field" | "member", .. } => {
                return Some(word.map_or(ElementWord::Last, ElementWord::At));
            }
            Node::Value { .. } | Node::Token(_) => {
                *word = word.map(|n| n + 1);
                None
            }
            Node::Sequence(inner) => find_element(inner, word),
            Node::Repeat(inner) => find_element(std::slice::from_ref(inner), word),
            Node::OneOf(_) | Node::Optional(_) => {
                *word = None;
                None
            }
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A command with what is derived from its entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) command: &'static Command,
    /// Its number: the index of its counters.
    pub(crate) id: usize,
    /// In lower case, behind its container's: "config|set".
    pub(crate) name: String,
    /// The words that the name takes: 1, or 2 for a subcommand.
    pub(crate) name_words: usize,
    /// The exact number of words if positive, minus the least number otherwise.
    pub(crate) arity: i32,
    /// COMMAND DOCS' group.
    pub(crate) group: &'static str,
    pub(crate) grammar: Vec<Node>,
    pub(crate) plan: KeyPlan,
    pub(crate) element: Option<ElementWord>,
    pub(crate) specs: Vec<KeySpec>,
    pub(crate) legacy: Legacy,
    /// The table's numbers of its subcommands.
    pub(crate) subcommands: Vec<usize>,
    /// The container's number.
    pub(crate) parent: Option<usize>,
    /// Its subcommands are none to anybody outside: to ACL, counters and COMMAND they are first arguments.
    pub(crate) takes_words: bool,
    /// The number of the command that ACL and counters know it as: its own, or such a container's.
    pub(crate) known_as: usize,
    pub(crate) flags: Flags,
}

impl Entry {
    /// Whether so many words, the name included, may be a call of this.
    #[inline]
    pub(crate) fn takes(&self, words: usize) -> bool {
        if self.arity >= 0 {
            words == self.arity as usize
        } else {
            words >= self.arity.unsigned_abs() as usize
        }
    }

    /// Appends the positions of keys in `words`, the name included. False when the words do not fit.
    pub(crate) fn positions(&self, words: &[&[u8]], found: &mut Positions) -> bool {
        match self.plan {
            KeyPlan::None => true,
            KeyPlan::One { first } => {
                if first < words.len() {
                    found.push(first);
                }
                true
            }
            KeyPlan::Specs => {
                let mut fits = true;
                for spec in self.specs.iter().filter(|spec| !spec.is_not_key()) {
                    fits &= spec.positions(words, found);
                }
                fits
            }
        }
    }

    /// Whether it changes the data by itself; what EXEC and scripts run is asked one by one.
    pub(crate) fn writes(&self) -> bool {
        match self.command.handler {
            Handler::Write(_) => true,
            Handler::Wait(_) => !self.flags.has(Flags::ONLY_READS),
            _ => self.flags.has(Flags::WRITES),
        }
    }

    /// Whether it looks at the data and changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        match self.command.handler {
            Handler::Read(_) => true,
            Handler::Write(_) => false,
            _ => self.flags.has(Flags::ONLY_READS),
        }
    }

    /// The name without its container's.
    pub(crate) fn short_name(&self) -> &str {
        self.name.split_once('|').map_or(self.name.as_str(), |(_, short)| short)
    }

    /// COMMAND's flags.
    pub(crate) fn flag_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.writes() {
            names.push("write");
        } else if self.only_reads() {
            names.push("readonly");
        }
        for (flag, name) in [
            (Flags::GROWS, "denyoom"),
            (Flags::OPERATOR, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::BLOCKING, "blocking"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::ALLOW_BUSY, "allow_busy"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::ASYNC_LOADING, "no_async_loading"),
        ] {
            if self.flags.has(flag) {
                names.push(name);
            }
        }
        if self.flags.has(Flags::SCRIPT) {
            names.extend(["no_mandatory_keys", "skip_monitor"]);
        }
        if self.legacy.movable {
            names.push("movablekeys");
        }
        names
    }

    /// ACL categories, without the at sign.
    pub(crate) fn categories(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        // What a script does is asked of the commands that it calls.
        if self.flags.has(Flags::SCRIPT) {
        } else if self.writes() {
            names.push("write");
        } else if self.only_reads() {
            names.push("read");
        }
        if !matches!(self.command.handler, Handler::Container) {
            names.extend(match self.group {
                // Unless the entry names the types that it is about.
                "generic" if !self.command.categories.is_empty() => None,
                "generic" => Some("keyspace"),
                "sorted-set" => Some("sortedset"),
                "transactions" => Some("transaction"),
                // By its flag: HELP does not belong to it.
                "pubsub" => None,
                "server" | "cluster" => None,
                other => Some(other),
            });
        }
        if self.flags.has(Flags::PUBSUB) {
            names.push("pubsub");
        }
        if self.flags.has(Flags::KEYSPACE) {
            names.push("keyspace");
        }
        if self.flags.has(Flags::BLOCKING) {
            names.push("blocking");
        }
        if self.flags.has(Flags::OPERATOR) {
            names.push("admin");
        }
        if self.flags.has(Flags::OPERATOR) || self.flags.has(Flags::DANGEROUS) {
            names.push("dangerous");
        }
        names.push(if self.flags.has(Flags::FAST) { "fast" } else { "slow" });
        names.extend(self.command.categories);
        // In the order in which Redis tells them.
        names.sort_by_key(|name| CATEGORIES.iter().position(|known| known == name));
        names.dedup();
        names
    }
}

/// All ACL categories.
pub(crate) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Names up to this length are found; there is none longer.
const NAME_MAX: usize = 24;

/// A name in lower case, padded with zeros.
type Folded = [u64; NAME_MAX / 8];

fn fold(name: &[u8]) -> Option<Folded> {
    let mut bytes = [0; NAME_MAX];
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    bytes.make_ascii_lowercase();
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut folded = [0; NAME_MAX / 8];
    for (word, chunk) in folded.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(*chunk);
    }
    Some(folded)
}

fn hash(folded: &Folded) -> usize {
    let mut hash = 0u64;
    for word in folded {
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    (hash >> 48) as usize
}

const SLOTS: usize = 4096;
const EMPTY: u16 = u16::MAX;

/// All commands.
pub(crate) struct Table {
    entries: Vec<Entry>,
    slots: Box<[(Folded, u16)]>,
}

/// What a request's first words name.
pub(crate) enum Named<'t> {
    /// A command (or subcommand).
    Found(&'t Entry),
    /// No command has this name.
    Unknown,
    /// The container has no such subcommand.
    UnknownSubcommand(&'t Entry),
}

impl Table {
    /// The table of all families. `renames` gives commands other names, or none.
    ///
    /// # Errors
    /// What is wrong with an entry, or a rename of a command that is not there.
    pub(crate) fn build(renames: &[(Vec<u8>, Vec<u8>)]) -> Result<Table, String> {
        Table::of(FAMILIES, renames)
    }

    fn of(families: &[&'static Family], renames: &[(Vec<u8>, Vec<u8>)]) -> Result<Table, String> {
        let slots = vec![([0; NAME_MAX / 8], EMPTY); SLOTS].into_boxed_slice();
        let mut table = Table { entries: Vec::new(), slots };
        let mut tops = Vec::new();
        for family in families {
            for command in family.commands {
                tops.push(table.add(command, family.name, None)?);
            }
        }
        let mut names: Vec<(Vec<u8>, usize)> = tops
            .into_iter()
            .filter_map(|id| Some((table.entries.get(id)?.name.clone().into_bytes(), id)))
            .collect();
        for (old, new) in renames {
            let old = old.to_ascii_lowercase();
            let Some(at) = names.iter().position(|(name, _)| *name == old) else {
                // A configuration may rename what this server does not have.
                continue;
            };
            let (_, id) = names.remove(at);
            if !new.is_empty() {
                names.push((new.to_ascii_lowercase(), id));
            }
        }
        for (name, id) in names {
            table.name(&name, id)?;
        }
        Ok(table)
    }

    fn add(
        &mut self,
        command: &'static Command,
        family: &'static str,
        parent: Option<usize>,
    ) -> Result<usize, String> {
        let id = self.entries.len();
        let short = command.name.to_ascii_lowercase();
        let container = parent.and_then(|p| self.entries.get(p));
        let name = container.map_or_else(|| short.clone(), |c| format!("{}|{short}", c.name));
        let wrong = |what: String| format!("{name}: {what}");
        let name_words = if container.is_some() { 2 } else { 1 };
        let grammar = grammar::parse(command.syntax).map_err(wrong)?;
        let default = if matches!(command.handler, Handler::Write(_) | Handler::Wait(_)) {
            "RW access update"
        } else {
            "RO access"
        };
        let specs = keyspec::specs(&grammar, command.keys, name_words, default).map_err(wrong)?;
        let arity = command.arity.unwrap_or_else(|| match command.handler {
            Handler::Container => -2,
            _ => grammar::arity(&grammar, name_words),
        });
        let plan = match specs.as_slice() {
            specs if specs.iter().all(KeySpec::is_not_key) => KeyPlan::None,
            [
                KeySpec {
                    begin: keyspec::Begin::Index(first),
                    find: Find::Range { last: 0, .. },
                    ..
                },
            ] => KeyPlan::One { first: *first as usize },
            _ => KeyPlan::Specs,
        };
        let group = command.group.unwrap_or(family);
        self.entries.push(Entry {
            command,
            id,
            name,
            name_words,
            arity,
            group,
            legacy: Legacy::of(&specs),
            element: ElementWord::of(&grammar, name_words),
            grammar,
            plan,
            specs,
            subcommands: Vec::new(),
            parent,
            takes_words: command.subcommands.iter().any(|sub| sub.flags.has(Flags::HIDDEN)),
            known_as: parent.filter(|_| command.flags.has(Flags::HIDDEN)).unwrap_or(id),
            flags: command.flags,
        });
        for sub in command.subcommands {
            let sub = self.add(sub, group, Some(id))?;
            if let Some(entry) = self.entries.get_mut(id) {
                entry.subcommands.push(sub);
            }
        }
        Ok(id)
    }

    fn name(&mut self, name: &[u8], id: usize) -> Result<(), String> {
        let shown = String::from_utf8_lossy(name);
        let folded = fold(name).ok_or_else(|| format!("{shown}: the name is too long"))?;
        let mut at = hash(&folded) % SLOTS;
        loop {
            match self.slots.get_mut(at) {
                Some(slot) if slot.1 == EMPTY => {
                    *slot = (folded, id as u16);
                    return Ok(());
                }
                Some(slot) if slot.0 == folded => {
                    return Err(format!("{shown}: two commands have this name"));
                }
                _ => at = (at + 1) % SLOTS,
            }
        }
    }

    /// The command of this name, containers included.
    #[inline]
    pub(crate) fn top(&self, name: &[u8]) -> Option<&Entry> {
        let folded = fold(name)?;
        let mut at = hash(&folded) % SLOTS;
        loop {
            let slot = self.slots.get(at)?;
            if slot.1 == EMPTY {
                return None;
            }
            if slot.0 == folded {
                return self.entries.get(usize::from(slot.1));
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// What `words` call.
    #[inline]
    pub(crate) fn find(&self, words: &[&[u8]]) -> Named<'_> {
        let Some(entry) = words.first().and_then(|name| self.top(name)) else {
            return Named::Unknown;
        };
        if entry.subcommands.is_empty() {
            return Named::Found(entry);
        }
        let Some(word) = words.get(1) else { return Named::Found(entry) };
        match self.subcommand(entry, word) {
            Some(sub) => Named::Found(sub),
            None if entry.takes_words => Named::Found(entry),
            None => Named::UnknownSubcommand(entry),
        }
    }

    /// A container's subcommand.
    pub(crate) fn subcommand(&self, container: &Entry, name: &[u8]) -> Option<&Entry> {
        container
            .subcommands
            .iter()
            .filter_map(|&id| self.entries.get(id))
            .find(|sub| sub.short_name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The command with this number.
    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All of them, containers before their subcommands.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The command of this name, whatever the configuration has renamed; `config|get` for a subcommand.
    pub(crate) fn called(&self, name: &[u8]) -> Option<&Entry> {
        let mut public = self.entries.iter().filter(|entry| entry.known_as == entry.id);
        public.find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name by which ACL and counters know `entry`.
    pub(crate) fn known_name<'t>(&'t self, entry: &'t Entry) -> &'t str {
        self.get(entry.known_as).map_or(&entry.name, |known| &known.name)
    }

    /// How many there are, subcommands included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Those that COMMAND lists, without subcommands.
    pub(crate) fn tops(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.parent.is_none() && !e.flags.has(Flags::HIDDEN))
    }

    /// The subcommands of `entry` that COMMAND lists.
    pub(crate) fn subs<'t>(&'t self, entry: &'t Entry) -> impl Iterator<Item = &'t Entry> {
        let subs = entry.subcommands.iter().filter_map(|&id| self.entries.get(id));
        subs.filter(|sub| !sub.flags.has(Flags::HIDDEN))
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} commands", self.entries.len())
    }
}

/// A command for tests that want to know that each has been tried with each of its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The words of the name, in upper case.
    pub name: Vec<String>,
    /// Every word of the syntax line that is written as it stands.
    pub tokens: Vec<&'static str>,
    /// The syntax line.
    pub syntax: &'static str,
}

/// Every command that does something, with its options.
///
/// # Errors
/// As the table is built at the start of a server.
pub fn describe() -> Result<Vec<Described>, String> {
    let table = Table::build(&[])?;
    let works = |e: &&Entry| !matches!(e.command.handler, Handler::Container);
    let describe = |entry: &Entry| {
        let mut tokens: SmallVec<[&'static str; 8]> = SmallVec::new();
        for node in &entry.grammar {
            node.tokens(&mut |token| {
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            });
        }
        Described {
            name: entry.name.to_ascii_uppercase().split('|').map(str::to_owned).collect(),
            tokens: tokens.into_vec(),
            syntax: entry.command.syntax,
        }
    };
    Ok(table.entries.iter().filter(works).map(describe).collect())
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
