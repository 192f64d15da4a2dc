//! Lua's patterns, with an end to every match: the stock matcher runs in C, where no hook fires, and
//! recurses as deep as a pattern wants.

/// A pattern has no more captures.
const MOST_CAPTURES: usize = 32;
/// Matches inside matches.
const MOST_DEPTH: u32 = 200;
/// Steps before it is asked whether to go on.
const PATIENCE: u32 = 20_000;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The pattern is wrong.
    Pattern(&'static str),
    /// It took too long.
    Stop,
}

type Found<T> = Result<T, Wrong>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Open,
    Position,
    Bytes(usize),
}

/// What a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// From, to.
    Text(usize, usize),
    /// Counted from 1.
    Position(usize),
}

/// One pattern on one subject.
pub(crate) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [(usize, Length); MOST_CAPTURES],
    level: usize,
    depth: u32,
    patience: u32,
    go_on: &'a dyn Fn() -> bool,
}

impl<'a> Matcher<'a> {
    /// `pattern` without its anchor. `go_on` is asked now and then.
    pub(crate) fn new(
        subject: &'a [u8],
        pattern: &'a [u8],
        go_on: &'a dyn Fn() -> bool,
    ) -> Matcher<'a> {
        Matcher {
            subject,
            pattern,
            captures: [(0, Length::Open); MOST_CAPTURES],
            level: 0,
            depth: 0,
            patience: PATIENCE,
            go_on,
        }
    }

    /// The end of the match that begins at `at`.
    pub(crate) fn at(&mut self, at: usize) -> Found<Option<usize>> {
        self.level = 0;
        self.depth = 0;
        self.run(at, 0)
    }

    /// The first match from `from` on: where it begins and ends.
    pub(crate) fn search(&mut self, from: usize) -> Found<Option<(usize, usize)>> {
        for begin in from..=self.subject.len() {
            if let Some(end) = self.at(begin)? {
                return Ok(Some((begin, end)));
            }
        }
        Ok(None)
    }

    /// How many captures the last match had.
    pub(crate) fn captures(&self) -> usize {
        self.level
    }

    /// A capture of the match that lies between `begin` and `end`; the first is all of it where there are
    /// none.
    pub(crate) fn capture(&self, index: usize, begin: usize, end: usize) -> Found<Capture> {
        if index >= self.level {
            return match index {
                0 => Ok(Capture::Text(begin, end)),
                _ => Err(Wrong::Pattern("invalid capture index")),
            };
        }
        match self.captures.get(index) {
            Some(&(at, Length::Position)) => Ok(Capture::Position(at + 1)),
            Some(&(at, Length::Bytes(len))) => Ok(Capture::Text(at, at + len)),
            _ => Err(Wrong::Pattern("unfinished capture")),
        }
    }

    fn step(&mut self) -> Found<()> {
        self.patience -= 1;
        if self.patience == 0 {
            self.patience = PATIENCE;
            if !(self.go_on)() {
                return Err(Wrong::Stop);
            }
        }
        Ok(())
    }

    fn byte(&self, p: usize) -> Option<u8> {
        self.pattern.get(p).copied()
    }

    fn run(&mut self, s: usize, p: usize) -> Found<Option<usize>> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Wrong::Pattern("pattern too complex"));
        }
        let found = self.follow(s, p);
        self.depth -= 1;
        found
    }

    fn follow(&mut self, mut s: usize, mut p: usize) -> Found<Option<usize>> {
        loop {
            self.step()?;
            match self.byte(p) {
                None => return Ok(Some(s)),
                Some(b'(') if self.byte(p + 1) == Some(b')') => {
                    return self.open(s, p + 2, Length::Position);
                }
                Some(b'(') => return self.open(s, p + 1, Length::Open),
                Some(b')') => return self.close(s, p + 1),
                Some(b'$') if p + 1 == self.pattern.len() => {
                    return Ok((s == self.subject.len()).then_some(s));
                }
                Some(b'%') => match self.byte(p + 1) {
                    Some(b'b') => match self.balance(s, p + 2)? {
                        Some(end) => {
                            (s, p) = (end, p + 4);
                            continue;
                        }
                        None => return Ok(None),
                    },
                    Some(b'f') => {
                        p += 2;
                        if self.byte(p) != Some(b'[') {
                            return Err(Wrong::Pattern("missing '[' after '%f' in pattern"));
                        }
                        let end = self.class_end(p)?;
                        let before = match s {
                            0 => 0,
                            s => self.subject.get(s - 1).copied().unwrap_or(0),
                        };
                        let here = self.subject.get(s).copied().unwrap_or(0);
                        if self.in_set(before, p, end - 1) || !self.in_set(here, p, end - 1) {
                            return Ok(None);
                        }
                        p = end;
                        continue;
                    }
                    Some(digit @ b'0'..=b'9') => match self.again(s, digit)? {
                        Some(end) => {
                            (s, p) = (end, p + 2);
                            continue;
                        }
                        None => return Ok(None),
                    },
                    _ => {}
                },
                _ => {}
            }
            let end = self.class_end(p)?;
            let fits = self.fits(s, p, end);
            match self.byte(end) {
                Some(b'?') => {
                    if fits && let Some(found) = self.run(s + 1, end + 1)? {
                        return Ok(Some(found));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.most(s, p, end),
                Some(b'+') if fits => return self.most(s + 1, p, end),
                Some(b'+') => return Ok(None),
                Some(b'-') => return self.least(s, p, end),
                _ if !fits => return Ok(None),
                _ => (s, p) = (s + 1, end),
            }
        }
    }

    /// The end of the single class at `p`.
    fn class_end(&self, p: usize) -> Found<usize> {
        match self.byte(p) {
            Some(b'%') if p + 1 >= self.pattern.len() => {
                Err(Wrong::Pattern("malformed pattern (ends with '%')"))
            }
            Some(b'%') => Ok(p + 2),
            Some(b'[') => {
                let missing = Wrong::Pattern("malformed pattern (missing ']')");
                let mut at = p + 1;
                if self.byte(at) == Some(b'^') {
                    at += 1;
                }
                // The first of a set may be a bracket itself.
                loop {
                    let Some(byte) = self.byte(at) else { return Err(missing) };
                    at += if byte == b'%' { 2 } else { 1 };
                    match self.byte(at) {
                        Some(b']') => return Ok(at + 1),
                        Some(_) => {}
                        None => return Err(missing),
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn fits(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&byte) = self.subject.get(s) else { return false };
        match self.byte(p) {
            Some(b'.') => true,
            Some(b'%') => self.byte(p + 1).is_some_and(|class| in_class(byte, class)),
            Some(b'[') => self.in_set(byte, p, end - 1),
            Some(wanted) => wanted == byte,
            None => false,
        }
    }

    /// Whether a byte is in the set between the bracket at `p` and the one at `end`.
    fn in_set(&self, byte: u8, p: usize, end: usize) -> bool {
        let mut at = p + 1;
        let mut is_in = true;
        if self.byte(at) == Some(b'^') {
            is_in = false;
            at += 1;
        }
        while at < end {
            let Some(first) = self.byte(at) else { break };
            if first == b'%' {
                if self.byte(at + 1).is_some_and(|class| in_class(byte, class)) {
                    return is_in;
                }
                at += 2;
            } else if self.byte(at + 1) == Some(b'-') && at + 2 < end {
                if self.byte(at + 2).is_some_and(|last| (first..=last).contains(&byte)) {
                    return is_in;
                }
                at += 3;
            } else {
                if first == byte {
                    return is_in;
                }
                at += 1;
            }
        }
        !is_in
    }

    fn most(&mut self, s: usize, p: usize, end: usize) -> Found<Option<usize>> {
        let mut n = 0;
        while self.fits(s + n, p, end) {
            self.step()?;
            n += 1;
        }
        loop {
            if let Some(found) = self.run(s + n, end + 1)? {
                return Ok(Some(found));
            }
            if n == 0 {
                return Ok(None);
            }
            n -= 1;
        }
    }

    fn least(&mut self, mut s: usize, p: usize, end: usize) -> Found<Option<usize>> {
        loop {
            if let Some(found) = self.run(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize, length: Length) -> Found<Option<usize>> {
        let level = self.level;
        *self.captures.get_mut(level).ok_or(Wrong::Pattern("too many captures"))? = (s, length);
        self.level = level + 1;
        let found = self.run(s, p)?;
        if found.is_none() {
            self.level -= 1;
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> Found<Option<usize>> {
        let level = (0..self.level)
            .rev()
            .find(|&level| self.captures[level].1 == Length::Open)
            .ok_or(Wrong::Pattern("invalid pattern capture"))?;
        self.captures[level].1 = Length::Bytes(s - self.captures[level].0);
        let found = self.run(s, p)?;
        if found.is_none() {
            self.captures[level].1 = Length::Open;
        }
        Ok(found)
    }

    fn balance(&mut self, s: usize, p: usize) -> Found<Option<usize>> {
        let (Some(begin), Some(end)) = (self.byte(p), self.byte(p + 1)) else {
            return Err(Wrong::Pattern("unbalanced pattern"));
        };
        if self.subject.get(s) != Some(&begin) {
            return Ok(None);
        }
        let mut open = 1;
        for at in s + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[at];
            if byte == end {
                open -= 1;
                if open == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == begin {
                open += 1;
            }
        }
        Ok(None)
    }

    /// The end of a repetition of an earlier capture.
    fn again(&self, s: usize, digit: u8) -> Found<Option<usize>> {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let wrong = Wrong::Pattern("invalid capture index");
        if index >= self.level {
            return Err(wrong);
        }
        let (at, len) = match self.captures[index] {
            (at, Length::Bytes(len)) => (at, len),
            (_, Length::Open) => return Err(wrong),
            // A position has no text that could stand there again.
            (_, Length::Position) => return Ok(None),
        };
        let wanted = self.subject.get(at..at + len);
        Ok((self.subject.get(s..s + len) == wanted).then_some(s + len))
    }
}

fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(subject: &str, pattern: &str) -> Found<Option<(usize, usize)>> {
        Matcher::new(subject.as_bytes(), pattern.as_bytes(), &|| true).search(0)
    }

    #[test]
    fn finds() {
        for (subject, pattern, found) in [
            ("hello", "l+", Some((2, 4))),
            ("hello", "x*", Some((0, 0))),
            ("key = value", "(%w+)%s*=%s*(%w+)", Some((0, 11))),
            ("THE (quick) fox", "%((%a+)%)", Some((4, 11))),
            ("a(b(c)d)e", "%b()", Some((1, 8))),
            ("THE (quick) fox", "%f[%a]%a+%f[%A]", Some((0, 3))),
            ("abcabc", "(abc)%1", Some((0, 6))),
            ("a-]b", "[]-]+", Some((1, 3))),
            ("x^y", "[%^]", Some((1, 2))),
            ("abc", "c$", Some((2, 3))),
            ("abc", "b$", None),
            ("<<a>>", "<.->", Some((0, 4))),
            ("a.b", "[^%w]", Some((1, 2))),
            ("", "", Some((0, 0))),
            ("abc", "a?b?c?d?", Some((0, 3))),
        ] {
            assert_eq!(search(subject, pattern), Ok(found), "{subject} {pattern}");
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for (pattern, what) in [
            ("%", "malformed pattern (ends with '%')"),
            ("[a", "malformed pattern (missing ']')"),
            ("[%", "malformed pattern (missing ']')"),
            ("a)", "invalid pattern capture"),
            ("%1", "invalid capture index"),
            ("%f", "missing '[' after '%f' in pattern"),
            ("%b(", "unbalanced pattern"),
        ] {
            assert_eq!(search("abc", pattern), Err(Wrong::Pattern(what)), "{pattern}");
        }
        let many = "()".repeat(33);
        assert_eq!(search("a", &many), Err(Wrong::Pattern("too many captures")));
    }

    #[test]
    fn a_bomb_is_stopped() {
        let subject = "a".repeat(40_000);
        let pattern = "a*".repeat(12) + "b";
        let asked = std::cell::Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 5
        };
        let mut matcher = Matcher::new(subject.as_bytes(), pattern.as_bytes(), &go_on);
        assert_eq!(matcher.search(0), Err(Wrong::Stop));
        let deep = "a?".repeat(100_000);
        let too_deep = Err(Wrong::Pattern("pattern too complex"));
        assert_eq!(Matcher::new(subject.as_bytes(), deep.as_bytes(), &|| true).search(0), too_deep);
    }
}
