//! The first line of a script or library, and the flags of both.

/// What a script says of itself; one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// It never writes.
    pub const NO_WRITES: Flags = Flags(1);
    /// It may write when memory is short.
    pub const ALLOW_OOM: Flags = Flags(1 << 1);
    /// It runs on a replica that has lost its master.
    pub const ALLOW_STALE: Flags = Flags(1 << 2);
    /// It does not run in a cluster.
    pub const NO_CLUSTER: Flags = Flags(1 << 3);
    /// Its keys may lie in different slots.
    pub const ALLOW_CROSS_SLOT_KEYS: Flags = Flags(1 << 4);

    const NAMES: [(&'static str, Flags); 5] = [
        ("no-writes", Flags::NO_WRITES),
        ("allow-oom", Flags::ALLOW_OOM),
        ("allow-stale", Flags::ALLOW_STALE),
        ("no-cluster", Flags::NO_CLUSTER),
        ("allow-cross-slot-keys", Flags::ALLOW_CROSS_SLOT_KEYS),
    ];

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the flag of this name, if there is one.
    pub(crate) fn with(self, name: &[u8]) -> Option<Flags> {
        let found = Flags::NAMES.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, flag)| Flags(self.0 | flag.0))
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.iter().filter(move |(_, flag)| self.has(*flag)).map(|(name, _)| *name)
    }
}

/// A first line that is wrong: a whole error reply without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShebangError(pub Vec<u8>);

impl ShebangError {
    fn of(text: &str, detail: &[u8]) -> ShebangError {
        let mut all = text.as_bytes().to_vec();
        all.extend_from_slice(detail);
        ShebangError(all)
    }
}

/// The first line of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shebang {
    /// `None` without such a line: the script does what each of its commands may.
    pub flags: Option<Flags>,
    /// Where the rest begins, its line end included, so that lines count the same.
    pub body: usize,
}

impl Shebang {
    /// Reads the first line.
    ///
    /// # Errors
    /// Another engine, an unknown option or flag.
    pub fn parse(text: &[u8]) -> Result<Shebang, ShebangError> {
        if !text.starts_with(b"#!") {
            return Ok(Shebang { flags: None, body: 0 });
        }
        let body = memchr::memchr(b'\n', text)
            .ok_or_else(|| ShebangError::of("Invalid script shebang", b""))?;
        let line = text.get(..body).unwrap_or_default();
        let words = words(line).ok_or_else(|| ShebangError::of("Invalid script shebang", b""))?;
        let mut words = words.iter();
        match words.next() {
            Some(engine) if engine == b"#!lua" => {}
            engine => {
                let engine = engine.map(Vec::as_slice).unwrap_or_default();
                return Err(ShebangError::of("Unexpected engine in script shebang: ", engine));
            }
        }
        let mut flags = Flags::default();
        for word in words {
            let Some(list) = word.strip_prefix(b"flags=") else {
                return Err(ShebangError::of("Unknown lua shebang option: ", word));
            };
            for name in list.split(|&b| b == b',').filter(|name| !name.is_empty()) {
                flags = flags
                    .with(name)
                    .ok_or_else(|| ShebangError::of("Unexpected flag in script shebang: ", name))?;
            }
        }
        Ok(Shebang { flags: Some(flags), body })
    }
}

/// The first line of a library: engine and name, and where the rest begins.
pub(crate) fn library(text: &[u8]) -> Result<(Vec<u8>, usize), ShebangError> {
    let wrong = |text: &str| ShebangError::of(text, b"");
    if !text.starts_with(b"#!") {
        return Err(wrong("Missing library metadata"));
    }
    let body = memchr::memchr(b'\n', text).ok_or_else(|| wrong("Invalid library metadata"))?;
    let line = text.get(2..body).unwrap_or_default();
    let is_spaced = line.first().is_none_or(u8::is_ascii_whitespace);
    let words = words(line).ok_or_else(|| wrong("Invalid library metadata"))?;
    let mut words = words.iter().map(Vec::as_slice);
    let engine = if is_spaced { b"" } else { words.next().unwrap_or_default() };
    let mut name: Option<Vec<u8>> = None;
    for word in words {
        match word.get(..5) {
            Some(key) if key.eq_ignore_ascii_case(b"name=") => {
                if name.is_some() {
                    return Err(wrong(
                        "Invalid metadata value, name argument was given multiple times",
                    ));
                }
                name = word.get(5..).map(<[u8]>::to_vec);
            }
            _ => return Err(ShebangError::of("Invalid metadata value given: ", word)),
        }
    }
    let name = name.ok_or_else(|| wrong("Library name was not given"))?;
    if !is_name(&name) {
        return Err(wrong(BAD_NAME));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        let mut text = b"Engine '".to_vec();
        text.extend_from_slice(engine);
        text.extend_from_slice(b"' not found");
        return Err(ShebangError(text));
    }
    Ok((name, body))
}

pub(crate) const BAD_NAME: &str = "Library names can only contain letters, numbers, or \
     underscores(_) and must be at least one character long";

/// Whether libraries and functions may be called so.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// Words of a line; quotes hold a word together.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.peek().is_some_and(u8::is_ascii_whitespace) {
            bytes.next();
        }
        if bytes.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        let mut quote = None;
        loop {
            match (bytes.next(), quote) {
                (None, None) => break,
                (None, Some(_)) => return None,
                (Some(byte), Some(open)) if byte == open => quote = None,
                (Some(b'\\'), Some(b'"')) => word.push(bytes.next()?),
                (Some(byte), Some(_)) => word.push(byte),
                (Some(byte), None) if byte.is_ascii_whitespace() => break,
                (Some(byte @ (b'"' | b'\'')), None) => quote = Some(byte),
                (Some(byte), None) => word.push(byte),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_script() {
        let shebang = Shebang::parse(b"#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        let flags = shebang.flags.unwrap();
        assert_eq!(flags.names().collect::<Vec<_>>(), ["no-writes", "allow-oom"]);
        assert_eq!(shebang.body, 31);
        assert_eq!(Shebang::parse(b"return 1").unwrap().flags, None);
        assert_eq!(Shebang::parse(b"#!lua flags=\n").unwrap().flags, Some(Flags::default()));
        for (text, what) in [
            (&b"#!lua"[..], "Invalid script shebang"),
            (b"#!py\n", "Unexpected engine in script shebang: #!py"),
            (b"#!lua flags=allow-oom,what?\n", "Unexpected flag in script shebang: what?"),
            (b"#!lua badger=data\n", "Unknown lua shebang option: badger=data"),
        ] {
            assert_eq!(Shebang::parse(text), Err(ShebangError(what.into())));
        }
    }

    #[test]
    fn name_of_a_library() {
        assert_eq!(library(b"#!lua name=\"foo\"\nx"), Ok((b"foo".to_vec(), 16)));
        assert_eq!(library(b"#!LUA name=a_1\n"), Ok((b"a_1".to_vec(), 14)));
        for (text, what) in [
            (&b"x"[..], "Missing library metadata"),
            (b"#!lua name=x", "Invalid library metadata"),
            (b"#! name=x\n", "Engine '' not found"),
            (b"#!bad name=x\n", "Engine 'bad' not found"),
            (b"#!lua\n", "Library name was not given"),
            (b"#!lua name=x foo=bar\n", "Invalid metadata value given: foo=bar"),
            (
                b"#!lua name=a name=b\n",
                "Invalid metadata value, name argument was given multiple times",
            ),
            (b"#!lua name=a-b\n", BAD_NAME),
        ] {
            assert_eq!(library(text), Err(ShebangError(what.into())));
        }
    }
}
