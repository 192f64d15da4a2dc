//! Where a command's keys are: derived from the syntax line, or written in a short form.
//!
//! ```text
//! RW access delete @ 1 range 0 1 0; OW update @ STORE:6 range 0 1 0
//!
//! flags @ begin find
//! begin := index | index!: an empty word there is no key | WORD:startfrom | ?
//!        | ?WORD: unknown to COMMAND INFO, behind the last such word in fact
//! find  := range last step limit | keynum number-at first step | ?
//! ```
//!
//! The form holds the facts of COMMAND INFO's key specifications. An entry's `keys` may leave out
//! everything from `@` on: then it only adds flags to what the syntax line tells.

use super::grammar::{Node, ValueType};
use smallvec::SmallVec;

/// Where the search begins. Indexes count the command's name as 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    Index(i32),
    /// As `Index`, but an empty word there is no key. COMMAND INFO does not tell.
    Named(i32),
    Keyword {
        word: &'static str,
        start_from: i32,
    },
    /// Behind the last such word with something behind it. COMMAND INFO calls it unknown.
    Last(&'static str),
    Unknown,
}

/// How keys follow from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Find {
    /// `last` is relative to the beginning, or to the end if negative.
    Range {
        last: i32,
        step: i32,
        limit: i32,
    },
    /// A word holds the number of keys; all three are relative to the beginning.
    KeyNum {
        at: i32,
        first: i32,
        step: i32,
    },
    Unknown,
}

/// One group of keys and what is done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySpec {
    /// `RO`, `RW`, `OW` or `RM`, then `access`, `update`, `insert`, `delete` and others.
    pub(crate) flags: &'static str,
    pub(crate) begin: Begin,
    pub(crate) find: Find,
}

/// Positions of keys in the words of a command.
pub(crate) type Positions = SmallVec<[usize; 8]>;

impl KeySpec {
    /// Whether these are names, not keys (channels of sharded pub/sub).
    pub(crate) fn is_not_key(&self) -> bool {
        self.flags.contains("not_key")
    }

    /// Appends the positions of keys in `words`, the name included. False when the words do not fit.
    pub(crate) fn positions(&self, words: &[&[u8]], found: &mut Positions) -> bool {
        let len = words.len() as i32;
        let begin = match &self.begin {
            Begin::Index(index) => *index,
            Begin::Named(index) => match words.get(*index as usize) {
                Some([]) => return true,
                _ => *index,
            },
            Begin::Keyword { word, start_from } => match find_word(words, word, *start_from) {
                Some(at) => at as i32 + 1,
                None => return true,
            },
            Begin::Last(word) => {
                let options = words.get(2..).unwrap_or_default();
                let back = options.windows(2).rev().position(|pair| {
                    pair.first().is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()))
                });
                if let Some(back) = back {
                    found.push(words.len() - 1 - back);
                }
                return true;
            }
            Begin::Unknown => return true,
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let mut end = if last < 0 { len + last } else { begin + last };
                if last == -1 && limit > 1 {
                    end = begin + (len - begin) / limit - 1;
                }
                (begin, end, step)
            }
            Find::KeyNum { at, first, step } => {
                let Some(n) = words
                    .get((begin + at) as usize)
                    .and_then(|word| forgekv_base::number::parse_i64(word))
                    .filter(|&n| n >= 0 && n <= i64::from(len))
                else {
                    return false;
                };
                let first = begin + first;
                (first, first + (n as i32 - 1) * step, step)
            }
            Find::Unknown => return true,
        };
        if last >= len {
            return false;
        }
        let mut at = first;
        while at <= last {
            found.push(at as usize);
            at += step;
        }
        true
    }
}

/// The position of a keyword, searched from `start_from` on, backwards if it is negative.
fn find_word(words: &[&[u8]], word: &str, start_from: i32) -> Option<usize> {
    let is = |at: &usize| words.get(*at).is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    if start_from >= 0 {
        (start_from as usize..words.len()).find(is)
    } else {
        let from = (words.len() as i32 + start_from).max(0) as usize;
        (1..=from).rev().find(is)
    }
}

/// The key specs of a command: `nodes` is its syntax, `written` what its entry says, `name_words` the
/// length of its name, `default_flags` what holds if the entry says nothing.
///
/// # Errors
/// What is wrong with `written`; found by a test over the whole table.
pub(crate) fn specs(
    nodes: &[Node],
    written: &'static str,
    name_words: usize,
    default_flags: &'static str,
) -> Result<Vec<KeySpec>, String> {
    let written: Vec<&'static str> =
        written.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
    if written.iter().any(|part| part.contains('@')) {
        return written.into_iter().map(parse).collect();
    }
    let mut specs = derive(nodes, name_words, default_flags);
    if !written.is_empty() {
        if written.len() != specs.len() {
            return Err(format!("{} groups of keys, flags for {}", specs.len(), written.len()));
        }
        for (spec, flags) in specs.iter_mut().zip(written) {
            spec.flags = flags;
        }
    }
    Ok(specs)
}

fn is_key(node: &Node) -> bool {
    matches!(node, Node::Value { kind: ValueType::Key, .. })
}

fn derive(nodes: &[Node], name_words: usize, flags: &'static str) -> Vec<KeySpec> {
    let mut specs = Vec::new();
    let mut at = name_words as i32;
    for (i, node) in nodes.iter().enumerate() {
        let behind = super::grammar::words(nodes.get(i + 1..).unwrap_or_default());
        let spec = |begin: i32, find: Find| KeySpec { flags, begin: Begin::Index(begin), find };
        match node {
            node if is_key(node) => {
                specs.push(spec(at, Find::Range { last: 0, step: 1, limit: 0 }));
            }
            Node::Value { name: "numkeys", .. } => {
                specs.push(spec(at, Find::KeyNum { at: 0, first: 1, step: 1 }));
                // The keys behind the number belong to it.
                return specs;
            }
            Node::Repeat(repeated) => {
                let group = match &**repeated {
                    Node::Sequence(group) => group.as_slice(),
                    single => std::slice::from_ref(single),
                };
                if group.first().is_some_and(is_key) {
                    // Options behind a repetition cannot be told from keys, so only a fixed end counts.
                    let last = match behind {
                        (min, Some(max)) if min == max => -1 - min as i32,
                        _ => -1,
                    };
                    let step = group.len() as i32;
                    specs.push(spec(at, Find::Range { last, step, limit: 0 }));
                }
            }
            _ => {}
        }
        match node.words() {
            (min, Some(max)) if min == max => at += min as i32,
            // What follows has no fixed place.
            _ => return specs,
        }
    }
    specs
}

fn parse(text: &'static str) -> Result<KeySpec, String> {
    let bad = || format!("cannot read key spec `{text}`");
    let (flags, place) = text.split_once('@').ok_or_else(bad)?;
    let mut words = place.split_whitespace();
    let begin = match words.next().ok_or_else(bad)? {
        "?" => Begin::Unknown,
        word if word.starts_with('?') => Begin::Last(word.trim_start_matches('?')),
        word if word.ends_with('!') => {
            Begin::Named(word.trim_end_matches('!').parse().map_err(|_| bad())?)
        }
        word => match word.split_once(':') {
            None => Begin::Index(word.parse().map_err(|_| bad())?),
            Some((word, from)) => {
                Begin::Keyword { word, start_from: from.parse().map_err(|_| bad())? }
            }
        },
    };
    let kind = words.next().ok_or_else(bad)?;
    let numbers: Vec<i32> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
    let find = match (kind, numbers.as_slice()) {
        ("?", []) => Find::Unknown,
        ("range", &[last, step, limit]) => Find::Range { last, step, limit },
        ("keynum", &[at, first, step]) => Find::KeyNum { at, first, step },
        _ => return Err(bad()),
    };
    Ok(KeySpec { flags: flags.trim(), begin, find })
}

/// Positions as COMMAND has told them before there were specs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Legacy {
    pub(crate) first: i32,
    pub(crate) last: i32,
    pub(crate) step: i32,
    /// The three numbers do not tell all.
    pub(crate) movable: bool,
}

impl Legacy {
    /// What the specs say, as far as three numbers can.
    pub(crate) fn of(specs: &[KeySpec]) -> Legacy {
        let mut legacy = Legacy::default();
        let mut previous_last = 0;
        for spec in specs {
            let (
                Begin::Index(first) | Begin::Named(first),
                Find::Range { last, step, limit: 0 | 1 },
            ) = (&spec.begin, spec.find)
            else {
                legacy.movable |= !spec.is_not_key();
                continue;
            };
            if spec.flags.contains("incomplete") {
                legacy.movable = true;
            }
            let last = if last >= 0 { first + last } else { last };
            if legacy.first == 0 {
                legacy = Legacy { first: *first, last, step, ..legacy };
            } else if previous_last == first - 1 && step == 1 {
                legacy.last = last;
            } else {
                legacy.movable = true;
            }
            previous_last = last;
        }
        legacy
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    fn keys(line: &'static str, written: &'static str, command: &str) -> Vec<String> {
        let nodes = grammar::parse(line).unwrap();
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let mut found = Positions::new();
        for spec in specs(&nodes, written, 1, "RO access").unwrap() {
            assert!(spec.positions(&words, &mut found), "{command}");
        }
        found.iter().map(|&i| String::from_utf8_lossy(words[i]).into_owned()).collect()
    }

    #[test]
    fn keys_are_found() {
        assert_eq!(keys("key value [NX | XX]", "", "set a b NX"), ["a"]);
        assert_eq!(keys("key value [key value ...]", "", "mset a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("key [key ...] timeout", "", "blpop a b 0"), ["a", "b"]);
        assert_eq!(
            keys("source destination [DB destdb] [REPLACE]", "", "copy a b DB 2"),
            ["a", "b"]
        );
        assert_eq!(
            keys("<AND | OR> destkey key [key ...]", "", "bitop AND d a b"),
            ["d", "a", "b"]
        );
        assert_eq!(
            keys("destination numkeys key [key ...]", "", "zunionstore d 2 a b WEIGHTS 1 2"),
            ["d", "a", "b"]
        );
        let sort = "RO access @ 1 range 0 1 0; OW update @ STORE:2 range 0 1 0";
        assert_eq!(keys("key [STORE destination]", sort, "sort a desc store b"), ["a", "b"]);
        assert_eq!(
            keys("x", "RO access @ STREAMS:1 range -1 1 2", "xread streams a b 1 2"),
            ["a", "b"]
        );
        assert_eq!(keys("[section]", "", "info all"), [""; 0]);
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        let spec = parse("RO @ 1 keynum 0 1 1").unwrap();
        for bad in ["x 5 a", "x nine a", "x -1"] {
            let words: Vec<&[u8]> = bad.split(' ').map(str::as_bytes).collect();
            assert!(!spec.positions(&words, &mut Positions::new()), "{bad}");
        }
        assert!(parse("RO @ 1 range 0").is_err() && parse("RO").is_err());
    }
}
