//! A selector: commands, keys and channels that are allowed together.

use super::has_spaces;
use super::rules::Mistake;
use super::user::Denied;
use crate::commands::Flags;
use crate::config::ChannelsByDefault;
use crate::table::keyspec::{KeySpec, Positions};
use crate::table::{CATEGORIES, Entry, KeyPlan, Table};
use forgekv_base::glob;
use std::collections::BTreeMap;

/// What is done to a key, and what a pattern allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs(u8);

impl Needs {
    const READ: Needs = Needs(1);
    const WRITE: Needs = Needs(2);
    const BOTH: Needs = Needs(3);

    fn covers(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }

    fn or(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// What this very call does to the keys of `spec`. A command that only asks whether a key is there
    /// needs neither right.
    fn of(spec: &KeySpec, entry: &Entry, words: &[&[u8]]) -> Needs {
        let mut needs = Needs(0);
        for flag in spec.flags.split_ascii_whitespace() {
            match flag {
                "access" => needs = needs.or(Needs::READ),
                "insert" | "update" | "delete" => needs = needs.or(Needs::WRITE),
                "variable_flags" => return Needs::by_options(entry, words),
                _ => {}
            }
        }
        needs
    }

    /// Of commands whose options decide.
    fn by_options(entry: &Entry, words: &[&[u8]]) -> Needs {
        let has = |from: usize, tokens: &[&str]| {
            let is_one =
                |word: &&[u8]| tokens.iter().any(|t| word.eq_ignore_ascii_case(t.as_bytes()));
            words.get(from..).unwrap_or_default().iter().any(is_one)
        };
        match entry.name.as_str() {
            // What is compared is read, too.
            "set" if has(3, &["GET", "IFEQ", "IFNE", "IFDEQ", "IFDNE"]) => Needs::BOTH,
            "set" => Needs::WRITE,
            "bitfield" if !has(2, &["SET", "INCRBY"]) => Needs::READ,
            "delex" if words.len() <= 2 => Needs::WRITE,
            _ => Needs::BOTH,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Vec<u8>,
    allows: Needs,
}

impl KeyPattern {
    fn text(&self) -> Vec<u8> {
        let mut text = match self.allows {
            Needs::READ => b"%R~".to_vec(),
            Needs::WRITE => b"%W~".to_vec(),
            _ => b"~".to_vec(),
        };
        text.extend_from_slice(&self.pattern);
        text
    }
}

/// Which channels a command's words name.
enum Channels {
    None,
    /// All words from the first argument on; whether they are patterns.
    All {
        are_patterns: bool,
    },
    First,
}

impl Channels {
    fn of(entry: &Entry) -> Channels {
        match entry.name.as_str() {
            "subscribe" | "ssubscribe" => Channels::All { are_patterns: false },
            "psubscribe" => Channels::All { are_patterns: true },
            "publish" | "spublish" => Channels::First,
            _ => Channels::None,
        }
    }
}

/// What one selector allows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    /// A bit for each command, by its number.
    commands: Vec<u64>,
    /// No command was taken away since all were given.
    all_commands: bool,
    /// All were given at some time, and perhaps some taken away: how the description begins.
    began_with_all: bool,
    /// The changes since, as they were written, each once.
    command_rules: Vec<String>,
    /// First arguments with which a command is allowed that otherwise is not.
    first_arguments: BTreeMap<usize, Vec<Vec<u8>>>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    pub(super) fn new(table: &Table, channels: ChannelsByDefault) -> Selector {
        Selector {
            commands: vec![0; table.len().div_ceil(64)],
            all_channels: channels == ChannelsByDefault::Allchannels,
            ..Selector::default()
        }
    }

    pub(super) fn allow_all(&mut self) {
        self.all_keys = true;
        self.all_channels = true;
        self.set_all_commands(true);
    }

    pub(super) fn is_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    pub(super) fn reads_all_keys(&self) -> bool {
        let is_all = |key: &KeyPattern| key.allows.covers(Needs::READ) && key.pattern == b"*";
        self.all_keys || self.keys.iter().any(is_all)
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.commands.fill(if allowed { u64::MAX } else { 0 });
        self.all_commands = allowed;
        self.began_with_all = allowed;
        self.command_rules.clear();
        self.first_arguments.clear();
    }

    fn has_command(&self, id: usize) -> bool {
        self.commands.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    fn set_bit(&mut self, id: usize, allowed: bool) {
        if let Some(word) = self.commands.get_mut(id / 64) {
            let bit = 1 << (id % 64);
            *word = if allowed { *word | bit } else { *word & !bit };
        }
        self.all_commands &= allowed;
    }

    /// Allows or forbids a command with its subcommands.
    fn set_command(&mut self, entry: &Entry, allowed: bool) {
        self.set_bit(entry.id, allowed);
        self.first_arguments.remove(&entry.id);
        for &sub in &entry.subcommands {
            self.set_bit(sub, allowed);
        }
    }

    /// Remembers a change; what it makes superfluous is forgotten.
    fn note(&mut self, rule: &str, allowed: bool) {
        let rule = rule.to_ascii_lowercase();
        self.command_rules.retain(|old| {
            let old = old.get(1..).unwrap_or_default();
            let is_within =
                old.strip_prefix(rule.as_str()).is_some_and(|rest| rest.starts_with('|'));
            old != rule && !is_within
        });
        self.command_rules.push(format!("{}{rule}", if allowed { '+' } else { '-' }));
    }

    /// Makes one change.
    pub(super) fn apply(&mut self, modifier: &[u8], table: &Table) -> Result<(), Mistake> {
        match modifier.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"allkeys" | b"~*" => {
                self.all_keys = true;
                self.keys.clear();
            }
            b"resetkeys" => {
                self.all_keys = false;
                self.keys.clear();
            }
            b"allchannels" | b"&*" => {
                self.all_channels = true;
                self.channels.clear();
            }
            b"resetchannels" => {
                self.all_channels = false;
                self.channels.clear();
            }
            b"allcommands" | b"+@all" => self.set_all_commands(true),
            b"nocommands" | b"-@all" => self.set_all_commands(false),
            _ => return self.apply_more(modifier, table),
        }
        Ok(())
    }

    fn apply_more(&mut self, modifier: &[u8], table: &Table) -> Result<(), Mistake> {
        match modifier {
            [b'~', pattern @ ..] => self.add_key(pattern, Needs::BOTH),
            [b'%', rest @ ..] => {
                if self.all_keys {
                    return Err(Mistake::AllKeys);
                }
                let tilde = rest.iter().position(|b| *b == b'~').unwrap_or(rest.len());
                let (rights, pattern) = rest.split_at(tilde);
                let mut allows = Needs(0);
                for right in rights {
                    let right = match right.to_ascii_uppercase() {
                        b'R' => Needs::READ,
                        b'W' => Needs::WRITE,
                        _ => return Err(Mistake::Syntax),
                    };
                    if allows.covers(right) {
                        return Err(Mistake::Syntax);
                    }
                    allows = allows.or(right);
                }
                if allows == Needs(0) {
                    return Err(Mistake::Syntax);
                }
                // Without a pattern no key fits.
                self.add_key(pattern.get(1..).unwrap_or_default(), allows)
            }
            [b'&', channel @ ..] => {
                if self.all_channels {
                    return Err(Mistake::AllChannels);
                }
                if has_spaces(channel) {
                    return Err(Mistake::Syntax);
                }
                if !self.channels.iter().any(|known| known == channel) {
                    self.channels.push(channel.to_vec());
                }
                Ok(())
            }
            [sign @ (b'+' | b'-'), b'@', category @ ..] => {
                self.apply_category(category, *sign == b'+', table)
            }
            [b'+', command @ ..] => self.allow(command, table),
            [b'-', command @ ..] => {
                let entry = table.called(command).ok_or(Mistake::Unknown)?;
                self.set_command(entry, false);
                self.note(&entry.name, false);
                Ok(())
            }
            _ => Err(Mistake::Syntax),
        }
    }

    fn add_key(&mut self, pattern: &[u8], allows: Needs) -> Result<(), Mistake> {
        if self.all_keys {
            return Err(Mistake::AllKeys);
        }
        if has_spaces(pattern) {
            return Err(Mistake::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.allows = known.allows.or(allows),
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), allows }),
        }
        Ok(())
    }

    fn apply_category(
        &mut self,
        category: &[u8],
        allowed: bool,
        table: &Table,
    ) -> Result<(), Mistake> {
        let is_it = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(category);
        let category = CATEGORIES.iter().find(is_it).ok_or(Mistake::Unknown)?;
        // Containers stand before their subcommands.
        for entry in table.all().filter(|entry| entry.categories().contains(category)) {
            self.set_command(entry, allowed);
        }
        self.note(&format!("@{category}"), allowed);
        Ok(())
    }

    fn allow(&mut self, command: &[u8], table: &Table) -> Result<(), Mistake> {
        let Some(bar) = command.iter().rposition(|b| *b == b'|') else {
            let entry = table.called(command).ok_or(Mistake::Unknown)?;
            self.set_command(entry, true);
            self.note(&entry.name, true);
            return Ok(());
        };
        let (name, word) = command.split_at(bar);
        let word = word.get(1..).unwrap_or_default();
        let entry = table.called(name).ok_or(Mistake::Unknown)?;
        if entry.parent.is_some() {
            return Err(Mistake::FirstArgumentOfSubcommand);
        }
        if word.is_empty() {
            return Err(Mistake::Syntax);
        }
        if entry.subcommands.is_empty() || entry.takes_words {
            let words = self.first_arguments.entry(entry.id).or_default();
            if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                words.push(word.to_vec());
            }
        } else {
            let entry = table.called(command).ok_or(Mistake::Unknown)?;
            self.set_command(entry, true);
        }
        let rule = String::from_utf8_lossy(command).into_owned();
        self.note(&rule, true);
        Ok(())
    }

    /// Whether this selector alone allows a call.
    pub(super) fn check(&self, entry: &Entry, words: &[&[u8]]) -> Result<(), Denied> {
        if !self.all_commands
            && !entry.flags.has(Flags::NO_AUTH)
            && !self.has_command(entry.known_as)
            && !self.has_first_argument(entry, words)
        {
            return Err(Denied::Command);
        }
        if !self.all_keys && entry.plan != KeyPlan::None {
            self.check_keys(entry, words)?;
        }
        if !self.all_channels {
            self.check_channels(entry, words)?;
        }
        Ok(())
    }

    fn has_first_argument(&self, entry: &Entry, words: &[&[u8]]) -> bool {
        let Some(allowed) = self.first_arguments.get(&entry.known_as) else { return false };
        let at = if entry.known_as == entry.id { entry.name_words } else { 1 };
        let Some(word) = words.get(at) else { return false };
        allowed.iter().any(|known| known.eq_ignore_ascii_case(word))
    }

    fn check_keys(&self, entry: &Entry, words: &[&[u8]]) -> Result<(), Denied> {
        let mut positions = Positions::new();
        for spec in entry.specs.iter().filter(|spec| !spec.is_not_key()) {
            positions.clear();
            if !spec.positions(words, &mut positions) {
                // What does not fit is refused by the command itself, before it touches a key.
                return Ok(());
            }
            let needs = Needs::of(spec, entry, words);
            for &at in &positions {
                let Some(key) = words.get(at) else { continue };
                if !self.has_key(key, needs) {
                    return Err(Denied::Key(at));
                }
            }
        }
        Ok(())
    }

    fn check_channels(&self, entry: &Entry, words: &[&[u8]]) -> Result<(), Denied> {
        let (last, are_patterns) = match Channels::of(entry) {
            Channels::None => return Ok(()),
            Channels::First => (2, false),
            Channels::All { are_patterns } => (words.len(), are_patterns),
        };
        for (at, channel) in words.iter().enumerate().take(last).skip(1) {
            if !self.has_channel(channel, are_patterns) {
                return Err(Denied::Channel(at));
            }
        }
        Ok(())
    }

    fn has_key(&self, key: &[u8], needs: Needs) -> bool {
        self.all_keys
            || self.keys.iter().any(|known| {
                known.allows.covers(needs) && glob::matches(&known.pattern, key, false)
            })
    }

    /// A pattern has to be one of ours, letter by letter: what it would match cannot be compared.
    pub(super) fn has_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|known| {
                if is_pattern { known == channel } else { glob::matches(known, channel, false) }
            })
    }

    /// ACL GETUSER's `commands`.
    pub(crate) fn commands_text(&self) -> String {
        let mut text = String::from(if self.began_with_all { "+@all" } else { "-@all" });
        for rule in &self.command_rules {
            text.push(' ');
            text.push_str(rule);
        }
        text
    }

    /// ACL GETUSER's `keys`.
    pub(crate) fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        self.keys.iter().map(KeyPattern::text).collect::<Vec<_>>().join(&b' ')
    }

    /// ACL GETUSER's `channels`.
    pub(crate) fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let channel = |name: &Vec<u8>| [b"&", name.as_slice()].concat();
        self.channels.iter().map(channel).collect::<Vec<_>>().join(&b' ')
    }

    /// As modifiers that make it again. Between parentheses words are read with quotes.
    pub(super) fn describe(&self, is_within_parentheses: bool) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        if self.all_keys {
            words.push(b"~*".to_vec());
        }
        words.extend(self.keys.iter().map(KeyPattern::text));
        if self.all_channels {
            words.push(b"&*".to_vec());
        } else {
            words.push(b"resetchannels".to_vec());
            words.extend(self.channels.iter().map(|name| [b"&", name.as_slice()].concat()));
        }
        if is_within_parentheses {
            for word in &mut words {
                if word.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\')) {
                    *word = forgekv_base::split_args::quote(word);
                }
            }
        }
        words.push(self.commands_text().into_bytes());
        words.join(&b' ')
    }
}
