//! Replies as text: redis-cli's layout, but with every type visible, so that a wrong type is a
//! difference.
//!
//! ```text
//! OK                      simple string        1) "a"              array
//! "v"                     bulk string          2) 1) "b"           an array within it
//! (integer) 1             integer                 2) (nil)
//! (nil)                   RESP2 null string    1# "k" => "v"       map
//! (nil array)             RESP2 null array     1~ "m"              set
//! (null)                  RESP3 null           1> "message"        push
//! (error) ERR no such     error                (double) 1.5        (true)   (false)
//! (empty array)           also map, set        (verbatim txt) "…"  (big number) 12
//! ```

use forgekv_resp::Value;

/// The reply, one line of text per element.
pub fn render(value: &Value) -> Vec<String> {
    match value {
        Value::Null => one("(null)"),
        Value::NullBulk => one("(nil)"),
        Value::NullArray => one("(nil array)"),
        Value::Simple(text) => vec![plain(text)],
        Value::Error(text) => vec![format!("(error) {}", plain(text))],
        Value::BulkError(text) => vec![format!("(bulk error) {}", plain(text))],
        Value::Int(n) => vec![format!("(integer) {n}")],
        Value::Bulk(bytes) => vec![quote(bytes)],
        Value::Double(n) => {
            let mut digits = Vec::new();
            forgekv_base::number::format_f64(*n, &mut digits);
            vec![format!("(double) {}", plain(&digits))]
        }
        Value::Bool(true) => one("(true)"),
        Value::Bool(false) => one("(false)"),
        Value::Verbatim { ext, text } => {
            vec![format!("(verbatim {}) {}", plain(ext), quote(text))]
        }
        Value::BigNumber(digits) => vec![format!("(big number) {}", plain(digits))],
        Value::Array(items) => list(items, ')', "(empty array)"),
        Value::Set(items) => list(items, '~', "(empty set)"),
        Value::Push(items) => list(items, '>', "(empty push)"),
        Value::Map(pairs) => map(pairs),
        Value::Attribute { pairs, value } => {
            let mut lines = vec!["(attribute)".to_string()];
            lines.extend(map(pairs));
            lines.extend(render(value));
            lines
        }
    }
}

/// Bytes between double quotes, with escapes for what does not print.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(byte as char);
            }
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// Puts elements whose order means nothing into one order: those of an array, set or map; of the
/// second element if the reply is a cursor and an array. With `pairs`, a flat array is taken as
/// pairs that stay together.
pub fn sort(value: &mut Value, pairs: bool) {
    match value {
        Value::Array(items) => match items.as_mut_slice() {
            [Value::Bulk(_), inner @ Value::Array(_)] => sort(inner, pairs),
            _ if pairs => {
                let mut couples: Vec<Vec<Value>> = items.chunks(2).map(<[_]>::to_vec).collect();
                couples.sort_by_cached_key(|c| c.iter().map(render).collect::<Vec<_>>());
                *items = couples.into_iter().flatten().collect();
            }
            _ => items.sort_by_cached_key(render),
        },
        Value::Set(items) | Value::Push(items) => items.sort_by_cached_key(render),
        Value::Map(entries) => entries.sort_by_cached_key(|(key, _)| render(key)),
        _ => {}
    }
}

/// Puts lists of words (of nothing but simple strings) into one order, however deep they are.
pub fn sort_words(value: &mut Value) {
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            if items.iter().all(|item| matches!(item, Value::Simple(_))) {
                items.sort_by_cached_key(render);
            }
            items.iter_mut().for_each(sort_words);
        }
        Value::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| sort_words(value)),
        _ => {}
    }
}

fn one(text: &str) -> Vec<String> {
    vec![text.to_string()]
}

/// Text of a line; what does not print is escaped, quotes are not.
fn plain(bytes: &[u8]) -> String {
    let quoted = quote(bytes);
    quoted[1..quoted.len() - 1].replace("\\\"", "\"").replace("\\\\", "\\")
}

fn list(items: &[Value], mark: char, empty: &str) -> Vec<String> {
    if items.is_empty() {
        return one(empty);
    }
    let width = items.len().to_string().len();
    let mut lines = Vec::new();
    for (i, item) in items.iter().enumerate() {
        indent(&mut lines, &format!("{:>width$}{mark} ", i + 1), &render(item));
    }
    lines
}

fn map(pairs: &[(Value, Value)]) -> Vec<String> {
    if pairs.is_empty() {
        return one("(empty map)");
    }
    let width = pairs.len().to_string().len();
    let mut lines = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        let mut entry = render(key);
        let value = render(value);
        if let Some(last) = entry.last_mut() {
            last.push_str(" => ");
            if let [only] = value.as_slice() {
                last.push_str(only);
            } else {
                entry.extend(value.iter().map(|line| format!("   {line}")));
            }
        }
        indent(&mut lines, &format!("{:>width$}# ", i + 1), &entry);
    }
    lines
}

fn indent(lines: &mut Vec<String>, head: &str, block: &[String]) {
    let blank = " ".repeat(head.len());
    for (i, line) in block.iter().enumerate() {
        let lead = if i == 0 { head } else { &blank };
        lines.push(format!("{lead}{line}").trim_end().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wire: &[u8]) -> String {
        render(&Value::decode(wire).unwrap().unwrap().0).join("\n")
    }

    #[test]
    fn every_type_looks_different() {
        assert_eq!(shown(b"+OK\r\n"), "OK");
        assert_eq!(shown(b"$2\r\nOK\r\n"), "\"OK\"");
        assert_eq!(shown(b"-ERR 'a\\b' \"c\"\r\n"), "(error) ERR 'a\\b' \"c\"");
        assert_eq!(shown(b"$-1\r\n"), "(nil)");
        assert_eq!(shown(b"*-1\r\n"), "(nil array)");
        assert_eq!(shown(b"_\r\n"), "(null)");
        assert_eq!(shown(b"$3\r\na\x00\n\r\n"), "\"a\\x00\\n\"");
        assert_eq!(
            shown(b"*2\r\n:1\r\n*2\r\n+a\r\n*0\r\n"),
            "1) (integer) 1\n2) 1) a\n   2) (empty array)"
        );
        assert_eq!(shown(b"%1\r\n+k\r\n,1.5\r\n"), "1# k => (double) 1.5");
        assert_eq!(
            shown(b"%1\r\n+k\r\n*2\r\n:1\r\n:2\r\n"),
            "1# k =>\n      1) (integer) 1\n      2) (integer) 2"
        );
    }

    #[test]
    fn unordered_replies_get_one_order() {
        let mut flat = Value::decode(b"*4\r\n+b\r\n+1\r\n+a\r\n+2\r\n").unwrap().unwrap().0;
        sort(&mut flat, true);
        assert_eq!(render(&flat).join(" "), "1) a 2) 2 3) b 4) 1");
        let mut scan = Value::decode(b"*2\r\n$1\r\n0\r\n*2\r\n+b\r\n+a\r\n").unwrap().unwrap().0;
        sort(&mut scan, false);
        assert_eq!(render(&scan).join("\n"), "1) \"0\"\n2) 1) a\n   2) b");
    }
}
