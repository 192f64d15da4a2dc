//! Which words of a command nobody else may see.

use crate::config::is_secret;
use smallvec::SmallVec;

const REDACTED: &[u8] = b"(redacted)";

/// The words of the command `name` as they may be shown.
pub(super) fn redacted<'a>(name: &str, words: &[&'a [u8]]) -> SmallVec<[&'a [u8]; 8]> {
    let mut shown: SmallVec<[&[u8]; 8]> = words.iter().copied().collect();
    let mut hide = |at: usize| {
        if let Some(word) = shown.get_mut(at) {
            *word = REDACTED;
        }
    };
    match name {
        "auth" => (1..words.len()).for_each(hide),
        "acl|setuser" | "acl|deluser" | "acl|getuser" => (2..words.len()).for_each(hide),
        "config|set" => {
            let secret = |at: &usize| words.get(at - 1).is_some_and(|name| is_secret(name));
            (3..words.len()).step_by(2).filter(secret).for_each(hide);
        }
        "hello" => hide_after(words, b"auth", 2, 2, &mut hide),
        "migrate" => {
            hide_after(words, b"auth", 6, 1, &mut hide);
            hide_after(words, b"auth2", 6, 2, &mut hide);
        }
        _ => {}
    }
    shown
}

/// Hides `count` words after `token`, which stands at `from` or later.
fn hide_after(
    words: &[&[u8]],
    token: &[u8],
    from: usize,
    count: usize,
    hide: &mut impl FnMut(usize),
) {
    let found = words.iter().skip(from).position(|word| word.eq_ignore_ascii_case(token));
    if let Some(at) = found {
        (1..=count).for_each(|n| hide(from + at + n));
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    fn shown(name: &str, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let shown = redacted(name, &words);
        let shown: Vec<_> = shown.iter().map(|word| String::from_utf8_lossy(word)).collect();
        shown.join(" ")
    }

    #[test]
    fn secrets_are_hidden() {
        for (name, line, expected) in [
            ("get", "get auth x", "get auth x"),
            ("auth", "AUTH me secret", "AUTH (redacted) (redacted)"),
            (
                "hello",
                "HELLO 3 Auth me x SETNAME n",
                "HELLO 3 Auth (redacted) (redacted) SETNAME n",
            ),
            ("hello", "HELLO 3 AUTH me", "HELLO 3 AUTH (redacted)"),
            ("acl|setuser", "ACL SETUSER me >x on", "ACL SETUSER (redacted) (redacted) (redacted)"),
            (
                "config|set",
                "config set port 1 RequirePass x",
                "config set port 1 RequirePass (redacted)",
            ),
            (
                "config|set",
                "config set masterauth x port 1",
                "config set masterauth (redacted) port 1",
            ),
            (
                "migrate",
                "migrate h 1 k 9 5 AUTH x KEYS a",
                "migrate h 1 k 9 5 AUTH (redacted) KEYS a",
            ),
            (
                "migrate",
                "migrate h 1 k 9 5 auth2 u p",
                "migrate h 1 k 9 5 auth2 (redacted) (redacted)",
            ),
        ] {
            assert_eq!(shown(name, line), expected);
        }
    }
}
