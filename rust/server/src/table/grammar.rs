//! The syntax line of a command, as a tree.
//!
//! ```text
//! key score member [score member ...] [NX | XX] [LIMIT offset count] <LEFT | RIGHT>
//!
//! lower case   a value; its name tells its type, or `name:type` does
//! UPPER CASE   a word to be written as it stands (also `=`, `~`, `*` and the like)
//! [ x ]        x or nothing
//! [ x ... ]    x any number of times; right behind an x it says that this x may be repeated
//! < x | y >    one of them; inside [ ] the angle brackets may be left out
//! ```

/// What a value is, in COMMAND DOCS' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
}

impl ValueType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ValueType::Key => "key",
            ValueType::String => "string",
            ValueType::Integer => "integer",
            ValueType::Double => "double",
            ValueType::Pattern => "pattern",
            ValueType::UnixTime => "unix-time",
        }
    }

    fn parse(text: &str) -> Option<ValueType> {
        Some(match text {
            "key" => ValueType::Key,
            "string" => ValueType::String,
            "integer" => ValueType::Integer,
            "double" => ValueType::Double,
            "pattern" => ValueType::Pattern,
            "unix-time" => ValueType::UnixTime,
            _ => return None,
        })
    }

    /// The type of a value that is called `name`: names mean the same in every command.
    fn of_name(name: &str) -> ValueType {
        match name {
            "key" | "newkey" | "destkey" | "destination" | "source" | "key1" | "key2" => {
                ValueType::Key
            }
            "seconds" | "milliseconds" | "count" | "increment" | "decrement" | "offset"
            | "cursor" | "start" | "stop" | "end" | "index" | "numkeys" | "numfields" | "db"
            | "index1" | "index2" | "port" | "bit" | "client-id" | "protover" | "rank"
            | "num-matches" | "len" | "maxlen" | "numreplicas" | "min-match-len"
            | "destination-db" | "destdb" | "timestamp" | "samples" | "iterations" | "version" => {
                ValueType::Integer
            }
            "unix-time-seconds" | "unix-time-milliseconds" => ValueType::UnixTime,
            "score" | "longitude" | "latitude" | "radius" | "width" | "height" | "weight"
            | "timeout" | "float-increment" => ValueType::Double,
            "pattern" => ValueType::Pattern,
            _ => ValueType::String,
        }
    }
}

/// A piece of a syntax line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Value {
        name: &'static str,
        kind: ValueType,
    },
    Token(&'static str),
    Sequence(Vec<Node>),
    OneOf(Vec<Node>),
    Optional(Box<Node>),
    /// Once or more often.
    Repeat(Box<Node>),
}

/// Reads a syntax line.
///
/// # Errors
/// What is wrong with it; found by a test over the whole table.
pub(crate) fn parse(line: &'static str) -> Result<Vec<Node>, String> {
    let mut words = Words { rest: line };
    let nodes = sequence(&mut words, None)?;
    match words.next() {
        None => Ok(nodes),
        Some(word) => Err(format!("unexpected `{word}` in `{line}`")),
    }
}

struct Words {
    rest: &'static str,
}

impl Words {
    fn next(&mut self) -> Option<&'static str> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        let end = match first {
            '[' | ']' | '|' => 1,
            '<' | '>' => 1,
            _ => self.rest.find([' ', '[', ']', '|', '<', '>']).unwrap_or(self.rest.len()),
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }

    fn peek(&self) -> Option<&'static str> {
        Words { rest: self.rest }.next()
    }
}

/// Reads up to `close` (not consumed), choices included.
fn sequence(words: &mut Words, close: Option<&str>) -> Result<Vec<Node>, String> {
    let mut choices: Vec<Vec<Node>> = Vec::new();
    let mut nodes: Vec<Node> = Vec::new();
    while let Some(word) = words.peek() {
        if Some(word) == close {
            break;
        }
        words.next();
        match word {
            "|" => choices.push(std::mem::take(&mut nodes)),
            "[" => bracket(words, &mut nodes)?,
            "<" => {
                let inner = sequence(words, Some(">"))?;
                expect(words, ">")?;
                nodes.push(one(inner));
            }
            "]" | ">" => return Err(format!("`{word}` closes nothing")),
            _ => nodes.push(leaf(word)?),
        }
    }
    if choices.is_empty() {
        return Ok(nodes);
    }
    choices.push(nodes);
    Ok(vec![Node::OneOf(choices.into_iter().map(one).collect())])
}

/// Reads behind a `[`: an option, or the repetition of what stands before it.
fn bracket(words: &mut Words, before: &mut Vec<Node>) -> Result<(), String> {
    let mut inner = sequence(words, Some("]"))?;
    expect(words, "]")?;
    if inner.last() != Some(&Node::Token("...")) {
        before.push(Node::Optional(Box::new(one(inner))));
        return Ok(());
    }
    inner.pop();
    if before.ends_with(&inner) {
        before.truncate(before.len() - inner.len());
        before.push(Node::Repeat(Box::new(one(inner))));
    } else {
        before.push(Node::Optional(Box::new(Node::Repeat(Box::new(one(inner))))));
    }
    Ok(())
}

fn expect(words: &mut Words, what: &str) -> Result<(), String> {
    match words.next() {
        Some(word) if word == what => Ok(()),
        other => Err(format!("`{what}` is missing before {other:?}")),
    }
}

fn one(mut nodes: Vec<Node>) -> Node {
    if nodes.len() == 1 { nodes.remove(0) } else { Node::Sequence(nodes) }
}

fn leaf(word: &'static str) -> Result<Node, String> {
    if !word.bytes().any(|b| b.is_ascii_lowercase()) {
        return Ok(Node::Token(word));
    }
    if word.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("`{word}` is neither a value nor a token"));
    }
    match word.split_once(':') {
        None => Ok(Node::Value { name: word, kind: ValueType::of_name(word) }),
        Some((name, kind)) => match ValueType::parse(kind) {
            Some(kind) => Ok(Node::Value { name, kind }),
            // A colon of its own, as in `ip:port`.
            None => Ok(Node::Value { name: word, kind: ValueType::String }),
        },
    }
}

impl Node {
    /// The least and, if there is one, the largest number of words.
    pub(crate) fn words(&self) -> (usize, Option<usize>) {
        match self {
            Node::Value { .. } | Node::Token(_) => (1, Some(1)),
            Node::Sequence(nodes) => words(nodes),
            Node::OneOf(nodes) => nodes
                .iter()
                .map(Node::words)
                .fold((usize::MAX, Some(0)), |(min, max), (least, most)| {
                    (min.min(least), max.zip(most).map(|(a, b)| a.max(b)))
                }),
            Node::Optional(node) => (0, node.words().1),
            Node::Repeat(node) => (node.words().0, None),
        }
    }

    /// Calls `each` with every token in the tree.
    pub(crate) fn tokens(&self, each: &mut dyn FnMut(&'static str)) {
        match self {
            Node::Token(token) => each(token),
            Node::Value { .. } => {}
            Node::Sequence(nodes) | Node::OneOf(nodes) => {
                nodes.iter().for_each(|node| node.tokens(each));
            }
            Node::Optional(node) | Node::Repeat(node) => node.tokens(each),
        }
    }
}

/// The least and, if there is one, the largest number of words of a sequence.
pub(crate) fn words(nodes: &[Node]) -> (usize, Option<usize>) {
    nodes.iter().map(Node::words).fold((0, Some(0)), |(min, max), (least, most)| {
        (min + least, max.zip(most).map(|(a, b)| a + b))
    })
}

/// The arity of a command whose name takes `name_words` words: the number of words, or minus the least.
pub(crate) fn arity(nodes: &[Node], name_words: usize) -> i32 {
    let (min, max) = words(nodes);
    let least = (min + name_words) as i32;
    if max == Some(min) { least } else { -least }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arity_of(line: &'static str) -> i32 {
        arity(&parse(line).unwrap(), 1)
    }

    #[test]
    fn arity_follows_from_the_line() {
        for (line, expected) in [
            ("", 1),
            ("key", 2),
            ("key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]", -3),
            ("key value [key value ...]", -3),
            ("[section [section ...]]", -1),
            ("source destination <LEFT | RIGHT> <LEFT | RIGHT>", 5),
            ("key [key ...] timeout", -3),
            ("<AND | OR | XOR | NOT> destkey key [key ...]", -4),
            ("key field [field ...]", -3),
        ] {
            assert_eq!(arity_of(line), expected, "{line}");
        }
    }

    #[test]
    fn repetitions_and_tokens() {
        let nodes = parse("key [BY pattern] [GET pattern [GET pattern ...]] [ip:port]").unwrap();
        assert!(matches!(&nodes[2], Node::Optional(n) if matches!(**n, Node::Repeat(_))));
        assert_eq!(
            nodes[3],
            Node::Optional(Box::new(Node::Value { name: "ip:port", kind: ValueType::String }))
        );
        let mut tokens = Vec::new();
        nodes.iter().for_each(|n| n.tokens(&mut |t| tokens.push(t)));
        assert_eq!(tokens, ["BY", "GET"]);
        assert_eq!(
            parse("count:string").unwrap(),
            [Node::Value { name: "count", kind: ValueType::String }]
        );
        for bad in ["[key", "key]", "<A | B", "Key"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
