//! Glob patterns with the rules of KEYS, SCAN MATCH and PSUBSCRIBE.
//!
//! `*` is any run of bytes, `?` one byte, `[abc]`, `[a-z]`, `[^x]` one byte of a set, `\` takes the
//! next byte as it is. The corners are part of the contract, because clients see them: a set that
//! is never closed ends with the pattern; a range may be written either way round and compares
//! bytes as signed; an empty text matches the empty pattern only, not even `*`.
//!
//! Every part of a pattern but `*` takes exactly one byte, so on a mismatch only the latest `*`
//! needs to try a longer run. That bounds the work by pattern length times text length, with no
//! recursion, whatever a client sends.

/// A pattern that has to go through more runs of stars than this matches nothing, as in Redis.
const MOST_STARS: usize = 1000;

/// Whether all of `text` matches all of `pattern`; with `nocase`, ASCII letters match either case.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where the pattern goes on after the latest star, and where its run of text ends by now.
    let mut star: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > MOST_STARS {
                return false;
            }
            star = Some((p, t));
            continue;
        }
        let Some(&byte) = text.get(t) else {
            return p == pattern.len();
        };
        let step = if p < pattern.len() { match_one(&pattern[p..], byte, nocase) } else { None };
        if let Some(width) = step {
            p += width;
            t += 1;
            continue;
        }
        let Some((resume, run_end)) = star else { return false };
        star = Some((resume, run_end + 1));
        (p, t) = (resume, run_end + 1);
        if t == text.len() {
            return false;
        }
    }
}

/// The bytes every match of `pattern` begins with (when case matters): what stands before its
/// first special byte.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = pattern.iter().position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..special.unwrap_or(pattern.len())]
}

/// Whether `pattern` has no special byte, so that it matches itself and nothing else.
pub fn is_literal(pattern: &[u8]) -> bool {
    literal_prefix(pattern).len() == pattern.len()
}

/// The width of the part that `pattern` (not empty, no star) begins with, if `byte` matches it.
#[inline]
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => match_set(pattern, byte, nocase),
        [b'\\', literal, ..] => same(literal, byte, nocase).then_some(2),
        [literal, ..] => same(literal, byte, nocase).then_some(1),
        [] => None,
    }
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

/// As [`match_one`] for a pattern that begins with `[`.
fn match_set(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            // An escaped member keeps its case even when case is ignored.
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                found |= in_range(from, to, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(literal, byte, nocase);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

fn in_range(from: u8, to: u8, byte: u8, nocase: bool) -> bool {
    let (from, to) = if from as i8 <= to as i8 { (from, to) } else { (to, from) };
    // Case is folded after the ends were ordered: [A-_] is empty when case is ignored.
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() as i8 } else { b as i8 };
    (fold(from)..=fold(to)).contains(&fold(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn m(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn everyday_patterns() {
        for (pattern, text) in [
            ("*", "a"),
            ("**", "abc"),
            ("h?llo", "hello"),
            ("h*llo", "hllo"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hbllo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("h\\?llo", "h?llo"),
            ("a*", "a"),
            ("a***", "a"),
            ("*a*b*c", "xxaxbxbxcc"),
            ("[\\]]", "]"),
            ("[a\\-z]", "-"),
            ("user:*:name", "user:12:34:name"),
            ("\\", "\\"),
            ("a\\", "a\\"),
            ("", ""),
        ] {
            assert!(m(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("h[ae]llo", "hillo"),
            ("h\\?llo", "hello"),
            ("a*b", "a"),
            ("a*b", "abc"),
            ("a", "ab"),
            ("ab", "a"),
            ("a?", "a"),
            ("*?a", "a"),
            ("[a\\-z]", "b"),
            ("", "a"),
            ("A", "a"),
        ] {
            assert!(!m(pattern, text), "{pattern} {text}");
        }
    }

    /// Each of these was asked of redis-server 7.0 through SSCAN MATCH and PSUBSCRIBE.
    #[test]
    fn corners() {
        // An empty text matches nothing but the empty pattern.
        assert!(!m("*", "") && !m("**", "") && !m("?", "") && m("", ""));
        // A set that is not closed ends with the pattern; an empty one matches nothing.
        assert!(m("[abc", "a") && m("x[ab", "xb") && !m("[abc", "d"));
        assert!(!m("[]", "a") && !m("[", "a") && m("[^]", "a") && m("[^", "a"));
        // A `]` right after the opening closes; a `-` with nothing behind it is itself.
        assert!(m("[]a]", "]") == m("[]", "]") && !m("[]a]", "a"));
        assert!(m("[a-", "-") && m("[a-", "a"));
        // `]` can end a range, and then the set is still open.
        assert!(m("[Z-]]", "[") && m("[Z-]", "\\"));
        assert!(!m("[Z-]]", "[]") || m("[Z-]]", "["));
        // Bytes compare as signed.
        assert!(matches(b"[\x80-\x90]", b"\x85", false));
        assert!(matches(b"[a-\xff]", b"B", false) && !matches(b"[a-\xff]", b"b", false));
    }

    #[test]
    fn case() {
        assert!(matches(b"HeLLo*", b"hEllO world", true));
        assert!(matches(b"[A-Z]", b"q", true) && matches(b"[a-z]", b"Q", true));
        assert!(!matches(b"[\\Q]", b"q", true) && matches(b"\\Q", b"q", true));
        assert!(matches(b"[q]", b"Q", true) && !matches(b"[q]", b"Q", false));
        assert!(!matches(b"[A-_]", b"b", true) && matches(b"[A-_]", b"B", false));
    }

    #[test]
    fn prefixes() {
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"a?b"), b"a");
        assert_eq!(literal_prefix(b"[ab]"), b"");
        assert_eq!(literal_prefix(b"a\\*b"), b"a");
        assert_eq!(literal_prefix(b"plain"), b"plain");
        assert!(is_literal(b"plain") && is_literal(b"") && !is_literal(b"p*"));
    }

    #[test]
    fn hostile_patterns_are_quick() {
        let text = [b"a".repeat(5_000), b"b".to_vec()].concat();
        // The last star ends the pattern and is not counted.
        assert!(matches(&b"a*".repeat(1_001), &text, false));
        assert!(!matches(&b"a*".repeat(1_002), &text, false));
        let pattern = [b"*a".repeat(2_000), b"x".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(4_000), false));
    }

    /// The definition, tried every way; exponential, so for short inputs.
    fn slow(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| slow(rest, &text[n..], nocase)),
            ([], _) | (_, []) => false,
            (_, [byte, rest @ ..]) => match_one(pattern, *byte, nocase)
                .is_some_and(|width| slow(&pattern[width..], rest, nocase)),
        }
    }

    proptest! {
        #[test]
        fn one_star_back_is_enough(
            pattern in "[*?ab\\[\\]^\\-\\\\]{0,9}",
            text in "[ab\\]\\-A]{1,9}",
            nocase: bool,
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text, nocase), slow(pattern, text, nocase));
        }

        #[test]
        fn a_match_begins_with_the_literal_prefix(pattern in "[*?ab\\\\]{0,6}", text in "[ab]{0,6}") {
            if matches(pattern.as_bytes(), text.as_bytes(), false) {
                prop_assert!(text.as_bytes().starts_with(literal_prefix(pattern.as_bytes())));
            }
        }

        #[test]
        fn never_panics(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
            matches(&pattern, &text, nocase);
        }
    }
}
