//! Zipmaps: small hashes in one string, before Redis 2.6.
//!
//! ```text
//! | fields u8, 254 and more: count them | field and value .. | 0xff |
//! field | length: u8 below 254, or 0xfe and u32 LE | bytes |
//! value | length | unused u8 | bytes | unused bytes |
//! ```

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const DAMAGED: &str = "a zipmap is damaged";

/// A walk over a zipmap.
#[derive(Debug, Clone)]
pub(crate) struct Zipmap<'a> {
    rest: &'a [u8],
    announced: u8,
    seen: u64,
}

impl<'a> Zipmap<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Zipmap<'a>, &'static str> {
        let (&announced, rest) = bytes.split_first().ok_or(DAMAGED)?;
        Ok(Zipmap { rest, announced, seen: 0 })
    }

    /// The next field and its value.
    pub(crate) fn next(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>, &'static str> {
        if self.rest == [END] {
            return if self.announced >= LONG || u64::from(self.announced) == self.seen {
                Ok(None)
            } else {
                Err("a zipmap has another number of fields than it says")
            };
        }
        self.pair().map(Some).ok_or(DAMAGED)
    }

    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (field_len, rest) = length(self.rest)?;
        let (field, rest) = rest.split_at_checked(field_len)?;
        let (value_len, rest) = length(rest)?;
        let (&unused, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest.get(usize::from(unused)..)?;
        self.seen += 1;
        Some((field, value))
    }
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [LONG, a, b, c, d, ref rest @ ..] => {
            Some((u32::from_le_bytes([a, b, c, d]) as usize, rest))
        }
        [len, ref rest @ ..] if len < LONG => Some((usize::from(len), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs() {
        let bytes = b"\x02\x03foo\x03\x02bar..\xfe\x05\0\0\0hello\x01\0!\xff";
        let mut map = Zipmap::new(bytes).unwrap();
        assert_eq!(map.next(), Ok(Some((&b"foo"[..], &b"bar"[..]))));
        assert_eq!(map.next(), Ok(Some((&b"hello"[..], &b"!"[..]))));
        assert_eq!(map.next(), Ok(None));
        for cut in 0..bytes.len() {
            let Ok(mut map) = Zipmap::new(&bytes[..cut]) else { continue };
            while let Ok(Some(_)) = map.next() {}
            assert!(map.next().is_err());
        }
    }
}
