//! The file of users (`aclfile`): one line a user, as ACL LIST prints it.

use super::{Rules, has_spaces, whole_rules};
use crate::config::{ChannelsByDefault, replace_file};
use crate::table::Table;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Reads a file. Nothing of it is taken if a line is wrong.
///
/// # Errors
/// Everything that is wrong, line by line; a text for the client.
pub(crate) fn load(
    path: &Path,
    table: &Table,
    channels: ChannelsByDefault,
) -> Result<BTreeMap<Vec<u8>, Rules>, String> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|e| format!("Error loading ACLs, opening file '{shown}': {}", said(&e)))?;
    let mut users = BTreeMap::new();
    let mut wrong = String::new();
    for (at, line) in text.split(|b| *b == b'\n').enumerate() {
        match read_line(line, table, channels) {
            Ok(None) => {}
            Ok(Some((name, rules))) => {
                if users.contains_key(&name) {
                    wrong += &format!(
                        "WARNING: Duplicate user '{}' found on line {}. ",
                        String::from_utf8_lossy(&name),
                        at + 1
                    );
                }
                users.insert(name, rules);
            }
            Err(why) => wrong += &format!("{shown}:{}: {why}. ", at + 1),
        }
    }
    if wrong.is_empty() {
        return Ok(users);
    }
    Err(wrong
        + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
}

/// What the system says, without Rust's number behind it.
fn said(e: &io::Error) -> String {
    let text = e.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(said, _)| said.to_owned())
}

/// One line; `None` when there is nothing on it.
fn read_line(
    line: &[u8],
    table: &Table,
    channels: ChannelsByDefault,
) -> Result<Option<(Vec<u8>, Rules)>, String> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\r');
    let words: Vec<&[u8]> = line.split(is_space).filter(|word| !word.is_empty()).collect();
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let Some((name, modifiers)) = rest.split_first().filter(|_| *first == b"user") else {
        return Err("line should start with user keyword followed by the username".into());
    };
    if has_spaces(name) {
        let name = String::from_utf8_lossy(name);
        return Err(format!("username '{name}' contains invalid characters"));
    }
    let modifiers = whole_rules(modifiers)
        .map_err(|_| String::from("Unmatched parenthesis in selector definition"))?;
    let mut rules = Rules::none(table, channels);
    for modifier in modifiers {
        rules.apply(&modifier, table, channels).map_err(|mistake| {
            // A password must not get into logs; the name of a command may.
            if mistake == super::rules::Mistake::Unknown {
                let modifier = String::from_utf8_lossy(&modifier);
                format!("Error in applying operation '{modifier}': {}", mistake.text())
            } else {
                mistake.text().to_owned()
            }
        })?;
    }
    Ok(Some((name.to_vec(), rules)))
}

/// Replaces the file by `lines`: whole, or not at all.
///
/// # Errors
/// As the file system says.
pub(crate) fn save(path: &Path, lines: &[Vec<u8>]) -> io::Result<()> {
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    replace_file(&target, &text)
}
