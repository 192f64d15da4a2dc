//! Writing: bytes in Redis's format, with their checksum.

use crate::item::StreamId;
use crate::lzf;
use crate::types::Type;
use forgekv_base::crc::{crc64, crc64_zeros};
use forgekv_base::number::parse_i64;
use std::io::{self, Write};

/// The version that is written: what Redis 7.0 reads and writes.
pub const VERSION: u16 = 10;
/// The version with expiries of fields: only Redis 7.4 and later reads it.
pub const TIMED_VERSION: u16 = 12;

/// So much is collected before it goes out, in bytes.
const BUFFER: usize = 64 << 10;
/// Shorter strings are not compressed.
const COMPRESS_MIN: usize = 21;

/// The bytes of a file before its first opcode.
const MAGIC: usize = 9;

/// Writes numbers and strings. What is written goes out in large pieces, or stays in memory when there is
/// nowhere to go.
pub struct Encoder<'w> {
    out: Option<&'w mut dyn Write>,
    buffer: Vec<u8>,
    compress: bool,
    packed: Vec<u8>,
    seen: lzf::Seen,
    /// Of what has gone out, as if nothing stood before it.
    crc: u64,
    gone: u64,
}

impl<'w> Encoder<'w> {
    /// Collects in memory.
    pub fn memory(compress: bool) -> Encoder<'static> {
        Encoder::new(None, compress)
    }

    /// Writes a file. Its first bytes, which say the version, are left out: [`finish_file`]
    /// (Self::finish_file) answers them.
    pub fn file(out: &'w mut dyn Write, compress: bool) -> Encoder<'w> {
        Encoder::new(Some(out), compress)
    }

    fn new(out: Option<&'w mut dyn Write>, compress: bool) -> Encoder<'w> {
        let (buffer, packed, seen) = (Vec::new(), Vec::new(), lzf::Seen::default());
        Encoder { out, buffer, compress, packed, seen, crc: 0, gone: 0 }
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.gone + self.buffer.len() as u64
    }

    /// What was collected in memory.
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    /// Ends a file: the last opcode and the checksum of everything (zero if there is to be none), for a
    /// file that begins with what this answers.
    ///
    /// # Errors
    /// What the output met.
    pub fn finish_file(mut self, version: u16, checksum: bool) -> io::Result<[u8; MAGIC]> {
        let mut magic = *b"REDIS0000";
        for (at, digit) in (5..MAGIC).zip([1000, 100, 10, 1]) {
            if let Some(byte) = magic.get_mut(at) {
                *byte = b'0' + (version / digit % 10) as u8;
            }
        }
        self.raw(&[crate::file::EOF])?;
        self.flush()?;
        let crc = crc64_zeros(crc64(0, &magic), self.gone) ^ self.crc;
        self.raw(&if checksum { crc } else { 0 }.to_le_bytes())?;
        self.flush()?;
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        Ok(magic)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        self.crc = crc64(self.crc, &self.buffer);
        self.gone += self.buffer.len() as u64;
        out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// What the output met.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER && self.out.is_some() { self.flush() } else { Ok(()) }
    }

    /// The number of a value's type, before the value (and, in a file, before the key).
    ///
    /// # Errors
    /// What the output met.
    pub fn kind(&mut self, kind: Type) -> io::Result<()> {
        self.raw(&[kind.number()])
    }

    /// A length, or another number.
    ///
    /// # Errors
    /// What the output met.
    pub fn len(&mut self, n: u64) -> io::Result<()> {
        match n {
            0..0x40 => self.raw(&[n as u8]),
            0x40..0x4000 => self.raw(&[0x40 | (n >> 8) as u8, n as u8]),
            _ => match u32::try_from(n) {
                Ok(n) => {
                    self.raw(&[0x80])?;
                    self.raw(&n.to_be_bytes())
                }
                Err(_) => {
                    self.raw(&[0x81])?;
                    self.raw(&n.to_be_bytes())
                }
            },
        }
    }

    /// A string, in the shortest form.
    ///
    /// # Errors
    /// What the output met.
    pub fn string(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() <= 11
            && let Some(n) = parse_i64(text)
        {
            if let Ok(n) = i8::try_from(n) {
                return self.raw(&[0xc0, n as u8]);
            }
            if let Ok(n) = i16::try_from(n) {
                let [a, b] = n.to_le_bytes();
                return self.raw(&[0xc1, a, b]);
            }
            if let Ok(n) = i32::try_from(n) {
                let [a, b, c, d] = n.to_le_bytes();
                return self.raw(&[0xc2, a, b, c, d]);
            }
        }
        self.raw_string(text)
    }

    /// A string that is no number, compressed if that saves something.
    ///
    /// # Errors
    /// What the output met.
    pub fn raw_string(&mut self, text: &[u8]) -> io::Result<()> {
        if self.compress && text.len() >= COMPRESS_MIN {
            let mut packed = std::mem::take(&mut self.packed);
            let saves = lzf::compress(text, &mut packed, &mut self.seen);
            let written = if saves { self.packed_string(&packed, text.len()) } else { Ok(()) };
            self.packed = packed;
            if saves {
                return written;
            }
        }
        self.len(text.len() as u64)?;
        self.raw(text)
    }

    fn packed_string(&mut self, packed: &[u8], len: usize) -> io::Result<()> {
        self.raw(&[0xc3])?;
        self.len(packed.len() as u64)?;
        self.len(len as u64)?;
        self.raw(packed)
    }

    /// The beginning of a string that comes in pieces, by [`raw`](Self::raw): its length.
    ///
    /// # Errors
    /// What the output met.
    pub fn begin_string(&mut self, len: u64) -> io::Result<()> {
        self.len(len)
    }

    /// A score.
    ///
    /// # Errors
    /// What the output met.
    pub fn score(&mut self, score: f64) -> io::Result<()> {
        self.raw(&score.to_le_bytes())
    }

    /// Unix milliseconds.
    ///
    /// # Errors
    /// What the output met.
    pub fn ms(&mut self, ms: u64) -> io::Result<()> {
        self.raw(&ms.to_le_bytes())
    }

    /// An id of a stream, as numbers.
    ///
    /// # Errors
    /// What the output met.
    pub fn id(&mut self, id: StreamId) -> io::Result<()> {
        self.len(id.ms)?;
        self.len(id.seq)
    }

    /// An id of a stream, of 16 bytes.
    ///
    /// # Errors
    /// What the output met.
    pub fn raw_id(&mut self, id: StreamId) -> io::Result<()> {
        self.raw(&id.to_bytes())
    }

    /// A fact about the file.
    ///
    /// # Errors
    /// What the output met.
    pub fn fact(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.raw(&[crate::file::AUX])?;
        self.string(name.as_bytes())?;
        self.string(value.as_bytes())
    }

    /// The keys that follow are of this database.
    ///
    /// # Errors
    /// What the output met.
    pub fn database(&mut self, number: u64) -> io::Result<()> {
        self.raw(&[crate::file::SELECT_DB])?;
        self.len(number)
    }

    /// A key: when it expires, in Unix milliseconds, its value's type, and its name. Its value follows.
    ///
    /// # Errors
    /// What the output met.
    pub fn key(&mut self, name: &[u8], kind: Type, expire_ms: Option<u64>) -> io::Result<()> {
        if let Some(ms) = expire_ms {
            self.raw(&[crate::file::EXPIRE_MS])?;
            self.ms(ms)?;
        }
        self.kind(kind)?;
        self.string(name)
    }
}
