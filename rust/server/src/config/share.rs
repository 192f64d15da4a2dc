//! A size that may be a part of another one.

use super::value::{Kind, Value, bytes_or_percent, parse_bytes, single};

/// A size in bytes, or a percentage of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths.
    Percent(u64),
}

impl Share {
    /// The bytes that it comes to, of `whole` bytes.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            Share::Percent(percent) => (u128::from(whole) * u128::from(percent) / 100) as u64,
        }
    }
}

impl Value for Share {
    fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
        let text = bytes_or_percent(single(args)?)?;
        let (number, is_percent) = match text.strip_suffix(b"%") {
            Some(number) => (number, true),
            None => (text.as_slice(), false),
        };
        let number = parse_bytes(number).ok_or("argument must be a memory or percent value")?;
        *self = if is_percent { Share::Percent(number) } else { Share::Bytes(number) };
        Ok(())
    }

    fn get(&self, _: &Kind) -> Vec<u8> {
        match self {
            Share::Bytes(bytes) => bytes.to_string().into_bytes(),
            Share::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_bytes_or_a_part() {
        let mut share = Share::Bytes(0);
        for (text, shown, bytes) in [("3mb", "3145728", 3 << 20), ("7%", "7%", 70), ("0", "0", 0)] {
            share.set(&[text.as_bytes()], &Kind::BytesOrPercent).unwrap();
            assert_eq!(share.get(&Kind::BytesOrPercent), shown.as_bytes());
            assert_eq!(share.of(1000), bytes);
        }
        for wrong in ["101%", "-1%", "x", "%"] {
            assert!(share.set(&[wrong.as_bytes()], &Kind::BytesOrPercent).is_err(), "{wrong}");
        }
        assert_eq!(share, Share::Bytes(0));
    }
}
