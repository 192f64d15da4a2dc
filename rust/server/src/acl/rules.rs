//! What a user may do: the state of the user, passwords, selectors; and the modifiers that change it.

use super::selector::Selector;
use super::user::Denied;
use crate::config::ChannelsByDefault;
use crate::table::{Entry, Table};
use sha2::{Digest, Sha256};

/// Why a modifier cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    Syntax,
    Unknown,
    AllKeys,
    AllChannels,
    Hash,
    NoSuchPassword,
    FirstArgumentOfSubcommand,
}

impl Mistake {
    /// What the client is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Mistake::Syntax => "Syntax error",
            Mistake::Unknown => "Unknown command or category name in ACL",
            Mistake::AllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does \
                 not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Mistake::AllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                 does not have any effect. Try 'resetchannels' to start with an empty list of \
                 channels"
            }
            Mistake::Hash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            Mistake::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            Mistake::FirstArgumentOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
        }
    }
}

/// State, passwords and selectors of a user.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    on: bool,
    nopass: bool,
    /// `skip-sanitize-payload`: remembered; payloads are always checked.
    skips_sanitizing: bool,
    /// SHA-256 in lower-case hexadecimal, in the order in which they were added.
    passwords: Vec<Vec<u8>>,
    /// The first is the one that modifiers outside of parentheses change.
    selectors: Vec<Selector>,
}

impl Rules {
    /// Those of a user nobody has said anything of.
    pub(crate) fn none(table: &Table, channels: ChannelsByDefault) -> Rules {
        Rules { selectors: vec![Selector::new(table, channels)], ..Rules::default() }
    }

    /// Those of the default user at first: everything, without a password.
    pub(crate) fn all(table: &Table) -> Rules {
        let mut root = Selector::new(table, ChannelsByDefault::Allchannels);
        root.allow_all();
        Rules { on: true, nopass: true, selectors: vec![root], ..Rules::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn needs_no_password(&self) -> bool {
        self.nopass
    }

    pub(crate) fn may_all(&self) -> bool {
        self.selectors.iter().any(Selector::is_all)
    }

    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The hashes, in hexadecimal.
    pub(crate) fn passwords(&self) -> &[Vec<u8>] {
        &self.passwords
    }

    /// `resetpass` and the one password, or `nopass` for an empty one.
    pub(super) fn set_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.nopass = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }

    /// Whether somebody who tells this password is let in.
    pub(super) fn accepts(&self, password: &[u8]) -> bool {
        if !self.on {
            return false;
        }
        if self.nopass {
            return true;
        }
        let told = hash(password);
        // All are compared, each to its end, so that the time tells nothing.
        self.passwords.iter().fold(false, |found, known| found | same_bytes(known, &told))
    }

    /// Makes one change.
    pub(crate) fn apply(
        &mut self,
        modifier: &[u8],
        table: &Table,
        channels: ChannelsByDefault,
    ) -> Result<(), Mistake> {
        match modifier.to_ascii_lowercase().as_slice() {
            b"on" => self.on = true,
            b"off" => self.on = false,
            b"nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => *self = Rules::none(table, channels),
            _ => return self.apply_more(modifier, table, channels),
        }
        Ok(())
    }

    fn apply_more(
        &mut self,
        modifier: &[u8],
        table: &Table,
        channels: ChannelsByDefault,
    ) -> Result<(), Mistake> {
        match modifier {
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', digest @ ..] => self.add_password(checked_hash(digest)?),
            [b'<', password @ ..] => self.remove_password(&hash(password))?,
            [b'!', digest @ ..] => self.remove_password(&checked_hash(digest)?)?,
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::new(table, channels);
                let words = forgekv_base::split_args::split_args(inner).ok_or(Mistake::Syntax)?;
                for word in words {
                    selector.apply(&word, table)?;
                }
                self.selectors.push(selector);
            }
            _ => {
                let root = self.selectors.first_mut().ok_or(Mistake::Syntax)?;
                root.apply(modifier, table)?;
            }
        }
        Ok(())
    }

    fn add_password(&mut self, digest: Vec<u8>) {
        self.nopass = false;
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
    }

    fn remove_password(&mut self, digest: &[u8]) -> Result<(), Mistake> {
        let at = self.passwords.iter().position(|known| known == digest);
        self.passwords.remove(at.ok_or(Mistake::NoSuchPassword)?);
        Ok(())
    }

    /// ACL GETUSER's flags.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.on { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(if self.skips_sanitizing {
            "skip-sanitize-payload"
        } else {
            "sanitize-payload"
        });
        flags
    }

    /// All of it as modifiers that make it again.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut text = self.flags().join(" ").into_bytes();
        for digest in &self.passwords {
            text.extend_from_slice(b" #");
            text.extend_from_slice(digest);
        }
        for (at, selector) in self.selectors.iter().enumerate() {
            text.push(b' ');
            let described = selector.describe(at > 0);
            if at == 0 {
                text.extend(described);
            } else {
                text.push(b'(');
                text.extend(described);
                text.push(b')');
            }
        }
        text
    }

    /// SORT may look at any key by BY and GET: that needs the right to read all of them, given by a
    /// selector that allows the command.
    pub(super) fn check_sort(&self, entry: &Entry, words: &[&[u8]]) -> Result<(), Denied> {
        if !matches!(entry.name.as_str(), "sort" | "sort_ro") {
            return Ok(());
        }
        let Some(denied) = looks_elsewhere(words) else { return Ok(()) };
        let reads_all = |s: &Selector| s.check(entry, words).is_ok() && s.reads_all_keys();
        if self.selectors.iter().any(reads_all) { Ok(()) } else { Err(denied) }
    }
}

/// The first option of SORT that reads other keys than those it names.
fn looks_elsewhere(words: &[&[u8]]) -> Option<Denied> {
    let mut rest = words.get(2..)?;
    while let Some(word) = rest.first() {
        let skipped = match word.to_ascii_lowercase().as_slice() {
            b"asc" | b"desc" | b"alpha" => 1,
            b"limit" => 3,
            b"store" => 2,
            b"by" => {
                if rest.get(1)?.contains(&b'*') {
                    return Some(Denied::SortBy);
                }
                2
            }
            b"get" => return rest.get(1).map(|_| Denied::SortGet),
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    None
}

/// Puts selectors together that were split at their spaces.
///
/// # Errors
/// A parenthesis is not closed; a text for the client.
pub(crate) fn whole_rules(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for &word in words {
        let ends = word.last() == Some(&b')');
        match open.take() {
            None if word.first() == Some(&b'(') && !ends => open = Some((word, word.to_vec())),
            None => whole.push(word.to_vec()),
            Some((first, mut selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if ends {
                    whole.push(selector);
                } else {
                    open = Some((first, selector));
                }
            }
        }
    }
    match open {
        None => Ok(whole),
        Some((first, _)) => Err(format!(
            "Unmatched parenthesis in acl selector starting at '{}'.",
            String::from_utf8_lossy(first)
        )),
    }
}

/// SHA-256 in lower-case hexadecimal.
fn hash(password: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(password);
    digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

fn checked_hash(digest: &[u8]) -> Result<Vec<u8>, Mistake> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() == 64 && digest.iter().all(is_digit) {
        Ok(digest.to_vec())
    } else {
        Err(Mistake::Hash)
    }
}

/// Compares in a time that does not tell where the first difference is.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}
