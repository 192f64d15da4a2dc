//! Values of the TLS directives.

use super::value::{Kind, Value};

/// `tls-protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsProtocols {
    /// Neither: both are offered.
    v12: bool,
    v13: bool,
}

impl TlsProtocols {
    /// Whether TLS 1.2 is offered.
    pub fn has_12(self) -> bool {
        self.v12 || !self.v13
    }

    /// Whether TLS 1.3 is offered.
    pub fn has_13(self) -> bool {
        self.v13 || !self.v12
    }
}

impl Value for TlsProtocols {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        let mut chosen = TlsProtocols::default();
        for arg in args.iter().filter(|arg| !arg.is_empty()) {
            match arg.to_ascii_lowercase().as_slice() {
                b"tlsv1.2" => chosen.v12 = true,
                b"tlsv1.3" => chosen.v13 = true,
                _ => {
                    let name = String::from_utf8_lossy(arg);
                    return Err(format!(
                        "'{name}' can't be offered: choose from TLSv1.2 and TLSv1.3"
                    ));
                }
            }
        }
        *self = chosen;
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        let names = [(self.v12, "TLSv1.2"), (self.v13, "TLSv1.3")];
        let chosen: Vec<&str> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        chosen.join(" ").into_bytes()
    }
}

/// `tls-ciphers` and `tls-ciphersuites`: names in the order in which they are preferred; none: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CipherSuites(Vec<&'static str>);

impl CipherSuites {
    /// The names; none means all.
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }
}

impl Value for CipherSuites {
    fn set(&mut self, args: &[&[u8]], kind: &Kind) -> Result<(), String> {
        let (Kind::Ciphers(known), [text]) = (kind, args) else {
            return Err("wrong number of arguments".into());
        };
        let mut chosen = Vec::new();
        // What OpenSSL calls its own choice is everything here: nothing weak is offered anyway.
        let is_all = matches!(*text, b"" | b"DEFAULT" | b"DEFAULT:!MEDIUM");
        let names = text.split(|byte| *byte == b':').filter(|name| !is_all && !name.is_empty());
        for name in names {
            let found = known.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
            let Some(found) = found else {
                return Err(format!(
                    "'{}' can't be offered: name some of {}, with colons between them, or remove \
                     the line",
                    String::from_utf8_lossy(name),
                    known.join(" ")
                ));
            };
            if !chosen.contains(found) {
                chosen.push(*found);
            }
        }
        self.0 = chosen;
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        self.0.join(":").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let mut protocols = TlsProtocols::default();
        assert!(protocols.has_12() && protocols.has_13());
        for (words, has_12, has_13, told) in [
            (&["TLSv1.2"][..], true, false, "TLSv1.2"),
            (&["tlsv1.3"], false, true, "TLSv1.3"),
            (&["TLSv1.3", "TLSv1.2"], true, true, "TLSv1.2 TLSv1.3"),
            (&[""], true, true, ""),
        ] {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            protocols.set(&words, &Kind::Words).unwrap();
            assert_eq!((protocols.has_12(), protocols.has_13()), (has_12, has_13));
            assert_eq!(protocols.get(&Kind::Words), told.as_bytes());
        }
        assert!(protocols.set(&[b"TLSv1.1"], &Kind::Words).unwrap_err().contains("TLSv1.1"));
    }

    #[test]
    fn cipher_suites() {
        const KIND: Kind = Kind::Ciphers(&["ONE", "TWO"]);
        let mut suites = CipherSuites::default();
        suites.set(&[b"two:ONE:TWO"], &KIND).unwrap();
        assert_eq!(suites.names(), ["TWO", "ONE"]);
        assert_eq!(suites.get(&KIND), b"TWO:ONE");
        assert!(suites.set(&[b"ONE:HIGH"], &KIND).unwrap_err().contains("'HIGH'"));
        suites.set(&[b"DEFAULT"], &KIND).unwrap();
        assert!(suites.names().is_empty());
    }
}
