//! What FUNCTION DUMP answers and FUNCTION RESTORE takes: the sources of libraries, as they stand in a
//! file, with a payload's version and checksum.

use crate::bad::Bad;
use crate::dump::{checked, seal};
use crate::encoder::{Encoder, VERSION};
use crate::file::FUNCTION;
use crate::input::Input;
use std::io;

/// The payload of these sources.
///
/// # Errors
/// None that memory does not make.
pub fn pack_functions<'a>(sources: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::memory(true);
    for source in sources {
        encoder.raw(&[FUNCTION])?;
        encoder.string(source)?;
    }
    Ok(seal(encoder.into_bytes(), VERSION))
}

/// The sources of a payload. `None` when the version is unknown or the checksum wrong.
///
/// The inner error is something else than sources.
pub fn unpack_functions(bytes: &[u8]) -> Option<Result<Vec<Vec<u8>>, Bad>> {
    let rest = checked(bytes)?;
    let mut input = Input::slice(rest);
    let mut read = || {
        let mut sources = Vec::new();
        while !input.is_at_end()? {
            if input.u8()? != FUNCTION {
                return Err(input.bad("given type is not a function"));
            }
            let mut source = Vec::new();
            input.string(&mut source)?;
            sources.push(source);
        }
        Ok(sources)
    };
    Some(read())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let sources: [&[u8]; 2] = [b"#!lua name=a\nreturn 1", &[b'x'; 5000]];
        let payload = pack_functions(sources.into_iter()).unwrap();
        assert_eq!(unpack_functions(&payload).unwrap().unwrap(), sources);
        assert!(payload.len() < 1000, "it is compressed");
        let empty = pack_functions(std::iter::empty()).unwrap();
        assert!(unpack_functions(&empty).unwrap().unwrap().is_empty());
        assert!(unpack_functions(b"bad payload").is_none());
        assert!(unpack_functions(&seal(vec![1, 2, 3], VERSION)).unwrap().is_err());
    }

    /// What redis-server 7.0 answers for one library.
    #[test]
    fn as_redis_writes_it() {
        let source = b"#!lua name=t\nredis.register_function('t', function() return 1 end)";
        let payload = pack_functions([&source[..]].into_iter()).unwrap();
        assert_eq!(payload.first(), Some(&0xf5));
        assert_eq!(payload.len(), 1 + 2 + source.len() + 2 + 8);
    }
}
