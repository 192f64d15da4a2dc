//! The replies that our commands get: a small part of RESP2, parsed in place.

/// One reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+OK`
    Status(&'a [u8]),
    /// `-ERR …`
    Error(&'a [u8]),
    /// `:1`
    Integer(i64),
    /// `$3 …`
    Bulk(&'a [u8]),
    /// `$-1`
    Nil,
    /// `*2`: the head of an array; its elements come as replies of their own.
    Array(usize),
}

/// The first reply of `bytes` and its length; `None` if it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, String> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let unknown = || format!("not a reply: {}", bytes[..end.min(80)].escape_ascii());
    if end < 2 || bytes[end - 1] != b'\r' {
        return Err(unknown());
    }
    let line = &bytes[1..end - 1];
    let number = || {
        std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(unknown)
    };
    let reply = match bytes[0] {
        b'+' => Reply::Status(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(number()?),
        b'*' => Reply::Array(usize::try_from(number()?).map_err(|_| unknown())?),
        b'$' => {
            let length = number()?;
            if length == -1 {
                return Ok(Some((Reply::Nil, end + 1)));
            }
            let length = usize::try_from(length).map_err(|_| unknown())?;
            let start = end + 1;
            if bytes.len() < start + length + 2 {
                return Ok(None);
            }
            if &bytes[start + length..start + length + 2] != b"\r\n" {
                return Err(unknown());
            }
            return Ok(Some((Reply::Bulk(&bytes[start..start + length]), start + length + 2)));
        }
        _ => return Err(unknown()),
    };
    Ok(Some((reply, end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        let all: &[(&[u8], Reply)] = &[
            (b"+OK\r\n", Reply::Status(b"OK")),
            (b"-ERR no\r\n", Reply::Error(b"ERR no")),
            (b":-12\r\n", Reply::Integer(-12)),
            (b"$5\r\na\r\nbc\r\n", Reply::Bulk(b"a\r\nbc")),
            (b"$0\r\n\r\n", Reply::Bulk(b"")),
            (b"$-1\r\n", Reply::Nil),
            (b"*10\r\n", Reply::Array(10)),
        ];
        for (bytes, reply) in all {
            let (parsed, length) = parse(bytes).unwrap().unwrap();
            assert_eq!((&parsed, length), (reply, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut}");
            }
        }
        assert!(parse(b"hello\r\n").is_err());
        assert!(parse(b"$2\r\nabcd\r\n").is_err());
    }
}
