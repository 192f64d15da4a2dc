//! The two checksums of the Redis world: CRC-16/XMODEM, which places a key in one of 16384 slots,
//! and CRC-64/REDIS (Jones), which ends a DUMP payload and an RDB file.
//!
//! Both are computed eight bytes a step ("slicing by 8"): table `k` advances a byte over `k` zero
//! bytes, so eight look-ups that do not wait for each other replace eight that do. The tables are
//! made at compile time and take 4 and 16 KiB.

/// How many slots a keyspace has.
pub const SLOTS: u16 = 16384;

/// x^16 + x^12 + x^5 + 1, high bit first.
const CRC16_POLY: u16 = 0x1021;

/// Jones's polynomial 0xad93d23594c935a9, bits reversed because the checksum runs low bit first.
const CRC64_POLY: u64 = 0x95ac_9329_ac4b_c9b5;

static CRC16: [[u16; 256]; 8] = crc16_tables();
static CRC64: [[u64; 256]; 8] = crc64_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ CRC16_POLY } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

const fn crc64_tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ CRC64_POLY } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// CRC-16/XMODEM of `bytes`.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (chunks, tail) = bytes.as_chunks::<8>();
    for c in chunks {
        crc = CRC16[7][usize::from(c[0] ^ (crc >> 8) as u8)]
            ^ CRC16[6][usize::from(c[1] ^ crc as u8)]
            ^ CRC16[5][usize::from(c[2])]
            ^ CRC16[4][usize::from(c[3])]
            ^ CRC16[3][usize::from(c[4])]
            ^ CRC16[2][usize::from(c[5])]
            ^ CRC16[1][usize::from(c[6])]
            ^ CRC16[0][usize::from(c[7])];
    }
    for &byte in tail {
        crc = (crc << 8) ^ CRC16[0][usize::from(byte ^ (crc >> 8) as u8)];
    }
    crc
}

/// The slot of `key`: the checksum of its hash tag when it has one, of all of it otherwise.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// The part of `key` that decides its slot: what stands between the first `{` and the first `}`
/// after it, unless that is nothing.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&b| b == b'}') {
        None | Some(0) => key,
        Some(close) => &inside[..close],
    }
}

/// CRC-64/REDIS of `bytes`, going on from `init` (0 at the start of a message).
pub fn crc64(init: u64, bytes: &[u8]) -> u64 {
    let mut crc = init;
    let (chunks, tail) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let c = (crc ^ u64::from_le_bytes(*chunk)).to_le_bytes();
        crc = CRC64[7][usize::from(c[0])]
            ^ CRC64[6][usize::from(c[1])]
            ^ CRC64[5][usize::from(c[2])]
            ^ CRC64[4][usize::from(c[3])]
            ^ CRC64[3][usize::from(c[4])]
            ^ CRC64[2][usize::from(c[5])]
            ^ CRC64[1][usize::from(c[6])]
            ^ CRC64[0][usize::from(c[7])];
    }
    for &byte in tail {
        crc = (crc >> 8) ^ CRC64[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

/// What [`crc64`] of some bytes becomes when `n` zero bytes follow, in time that grows with the logarithm
/// of `n`. The checksum is linear: for two messages one after the other it is this, of the first one's
/// checksum and the second one's length, xor the second one's own.
pub fn crc64_zeros(crc: u64, n: u64) -> u64 {
    // Polynomials, the highest bit being the constant term. A zero byte multiplies by x^8.
    let multiply = |mut a: u64, mut b: u64| {
        let mut product = 0;
        while b != 0 {
            if b >> 63 == 1 {
                product ^= a;
            }
            b <<= 1;
            a = (a >> 1) ^ if a & 1 == 1 { CRC64_POLY } else { 0 };
        }
        product
    };
    let (mut result, mut power, mut left) = (crc, 1 << (63 - 8), n);
    while left > 0 {
        if left & 1 == 1 {
            result = multiply(result, power);
        }
        power = multiply(power, power);
        left >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_values() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
    }

    #[test]
    fn slots_as_redis_answers_them() {
        // CLUSTER KEYSLOT of redis-server 7.0.
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"", 0),
            (b"{foo}", 12182),
            (b"a{foo}b", 12182),
            (b"{user1000}.following", 3443),
            (b"user1000", 3443),
            (b"foo{{bar}}zap", 4015),
            (b"{bar", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"bar", 5061),
        ] {
            assert_eq!(key_slot(key), slot, "{}", String::from_utf8_lossy(key));
        }
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{"), b"foo{");
        assert_eq!(hash_tag(b"}{x}"), b"x");
    }

    fn crc16_bitwise(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc: u16, &byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |c, _| {
                (c << 1) ^ if c & 0x8000 != 0 { CRC16_POLY } else { 0 }
            })
        })
    }

    fn crc64_bitwise(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc: u64, &byte| {
            (0..8).fold(crc ^ u64::from(byte), |c, _| {
                (c >> 1) ^ if c & 1 != 0 { CRC64_POLY } else { 0 }
            })
        })
    }

    #[test]
    fn zeros_that_follow() {
        let crc = crc64(0, b"123456789");
        for n in [0usize, 1, 2, 7, 8, 9, 255, 256, 100_000] {
            assert_eq!(crc64_zeros(crc, n as u64), crc64(crc, &vec![0; n]), "{n}");
            let rest = vec![7; n];
            assert_eq!(crc64_zeros(crc, n as u64) ^ crc64(0, &rest), crc64(crc, &rest));
        }
    }

    proptest! {
        #[test]
        fn slicing_equals_bit_by_bit(bytes: Vec<u8>, cut: usize) {
            prop_assert_eq!(crc16(&bytes), crc16_bitwise(&bytes));
            prop_assert_eq!(crc64(0, &bytes), crc64_bitwise(&bytes));
            let (head, tail) = bytes.split_at(if bytes.is_empty() { 0 } else { cut % bytes.len() });
            prop_assert_eq!(crc64(crc64(0, head), tail), crc64_bitwise(&bytes));
        }
    }
}
