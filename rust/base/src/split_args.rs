//! One line of text as arguments: the quoting of inline commands, configuration files and MONITOR.
//!
//! Between double quotes `\n \r \t \b \a`, `\xHH` and `\` before any byte are escapes; between
//! single quotes only `\'` is. A quote may open inside a word but must be followed by a space or
//! the end when it closes. A NUL byte ends the line, wherever it stands.

/// A quote that does not close, or closes in the middle of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// The arguments on `line`; `None` when its quotes do not balance.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    let mut rest = line;
    loop {
        let mut arg = Vec::new();
        match next_arg(rest, &mut arg).ok()? {
            Some(tail) => {
                args.push(arg);
                rest = tail;
            }
            None => return Some(args),
        }
    }
}

/// Appends the first argument on `line` to `out` and returns what follows it; `None` when there is
/// no argument left.
pub fn next_arg<'a>(
    line: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, UnbalancedQuotes> {
    let start = line.iter().position(|&b| !is_space(b)).unwrap_or(line.len());
    let mut rest = &line[start..];
    if matches!(rest, [] | [0, ..]) {
        return Ok(None);
    }
    loop {
        match rest {
            [] | [0, ..] => return Ok(Some(&[])),
            // Vertical tab and form feed separate arguments but do not end one.
            [b' ' | b'\n' | b'\r' | b'\t', tail @ ..] => return Ok(Some(tail)),
            [b'"', tail @ ..] => {
                rest = double_quoted(tail, out)?;
                return after_quote(rest);
            }
            [b'\'', tail @ ..] => {
                rest = single_quoted(tail, out)?;
                return after_quote(rest);
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}

/// A closing quote ends the argument, so only a space or the end may follow.
fn after_quote(rest: &[u8]) -> Result<Option<&[u8]>, UnbalancedQuotes> {
    match rest {
        [] | [0, ..] => Ok(Some(&[])),
        [byte, tail @ ..] if is_space(*byte) => Ok(Some(tail)),
        _ => Err(UnbalancedQuotes),
    }
}

/// Unquotes up to the closing `"` and returns what follows it.
fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] | [0, ..] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] if *escaped != 0 => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

/// Unquotes up to the closing `'` and returns what follows it.
fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] | [0, ..] => return Err(UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// What C's `isspace` says in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `bytes` between double quotes, everything unprintable escaped: MONITOR, SLOWLOG, error texts.
pub fn quote(bytes: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(&[
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let args = split_args(line.as_bytes())?;
        Some(args.into_iter().map(|a| String::from_utf8(a).unwrap()).collect())
    }

    #[test]
    fn words_and_quotes() {
        for (line, expected) in [
            ("", &[][..]),
            ("   \t ", &[]),
            ("ping", &["ping"]),
            ("  set  k\tv\r\n", &["set", "k", "v"]),
            (r#"set k "a b""#, &["set", "k", "a b"]),
            (r#""" ''"#, &["", ""]),
            (r#""\n\r\t\b\a\\\"\q""#, &["\n\r\t\u{8}\u{7}\\\"q"]),
            (r#""\x41\x4a\x4G""#, &["AJx4G"]),
            (r"'it\'s \n'", &[r"it's \n"]),
            (r#"foo"bar""#, &["foobar"]),
            (r#"foo'b r' x"#, &["foob r", "x"]),
            ("a\u{b}b \u{b}c", &["a\u{b}b", "c"]),
            ("a\0b c", &["a"]),
            ("a \0 c", &["a"]),
        ] {
            assert_eq!(split(line).as_deref(), Some(&expected.map_strings()[..]), "{line:?}");
        }
        for line in
            [r#"""#, r#""abc"#, "'", "'abc", r#""a"b"#, "'a'b", r#""a\"#, "'a\\'", "\"a\0\""]
        {
            assert_eq!(split(line), None, "{line:?}");
        }
    }

    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl MapStrings for &[&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(|s| (*s).to_owned()).collect()
        }
    }

    #[test]
    fn quoted_for_showing() {
        assert_eq!(quote(b"a b"), br#""a b""#);
        assert_eq!(quote(b"\\\"\n\r\t\x07\x08\0\x7f\xff~"), br#""\\\"\n\r\t\a\b\x00\x7f\xff~""#);
    }

    proptest! {
        #[test]
        fn what_is_quoted_splits_back(args: Vec<Vec<u8>>) {
            let line = args.iter().map(|a| quote(a)).collect::<Vec<_>>().join(&b' ');
            prop_assert_eq!(split_args(&line), Some(args));
        }

        #[test]
        fn never_panics(line: Vec<u8>) {
            split_args(&line);
        }
    }
}
