//! Sealed pieces: bytes with a codec and a checksum behind them. Blocks, filter, index and properties
//! are all stored this way.
//!
//! ```text
//!  0            n       n+1          n+5         n+9
//!  | stored ... | codec | raw length | CRC-32    |
//!  |  n bytes   |  u8   |  u32 LE    |  u32 LE   |
//! ```
//!
//! The CRC covers the piece's offset in the file (u64 LE) and everything before the CRC, so neither a
//! changed byte nor a piece in the wrong place is believed. It is verified before decompression.

use super::Compression;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::iter;
use std::path::Path;
use std::sync::Arc;
use zstd::bulk::{Compressor, Decompressor};

const STORED: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// After pieces that compression did not make smaller, at most so many are stored without trying.
const UNTRIED_MOST: u32 = 15;

/// Compresses and seals pieces; keeps the compressors' working memory from one to the next.
pub(super) struct Sealer {
    encoder: Encoder,
    /// Pieces to be stored without trying.
    untried: u32,
    /// What `untried` was set to last: it grows while trying is in vain.
    in_vain: u32,
}

enum Encoder {
    None,
    Lz4(Box<lz4_flex::block::CompressTable>, Vec<u8>),
    Zstd(Compressor<'static>, Vec<u8>),
}

impl Encoder {
    /// The codec and what it makes of `raw`, if it can.
    fn pack(&mut self, raw: &[u8]) -> Option<(u8, &[u8])> {
        match self {
            Encoder::None => None,
            Encoder::Lz4(table, room) => {
                let most = lz4_flex::block::get_maximum_output_size(raw.len());
                if room.len() < most {
                    room.resize(most, 0);
                }
                let len = lz4_flex::block::compress_into_with_table(raw, room, table).ok()?;
                Some((LZ4, room.get(..len)?))
            }
            Encoder::Zstd(encoder, room) => {
                let most = zstd::zstd_safe::compress_bound(raw.len());
                if room.len() < most {
                    room.resize(most, 0);
                }
                let len = encoder.compress_to_buffer(raw, room.as_mut_slice()).ok()?;
                Some((ZSTD, room.get(..len)?))
            }
        }
    }

    /// One huge value must not keep its working memory until the table is done.
    fn shrink(&mut self) {
        if let Encoder::Lz4(_, room) | Encoder::Zstd(_, room) = self
            && room.len() > 1 << 20
        {
            *room = Vec::new();
        }
    }
}

impl Sealer {
    pub(super) fn new(compression: Compression) -> Result<Sealer> {
        let encoder = match compression {
            Compression::None => Encoder::None,
            Compression::Lz4 => Encoder::Lz4(Box::default(), Vec::new()),
            Compression::Zstd(level) => Encoder::Zstd(
                Compressor::new(level).map_err(|e| Error::io("starting the zstd encoder", &e))?,
                Vec::new(),
            ),
        };
        Ok(Sealer { encoder, untried: 0, in_vain: 0 })
    }

    /// Appends `raw` to `out` as a piece that will stand at `offset` in the file.
    pub(super) fn seal(&mut self, raw: &[u8], offset: u64, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let tries = self.untried == 0;
        let packed = if tries { self.encoder.pack(raw) } else { None };
        // A few bytes saved are not worth a decompression at every read.
        let packed = packed.filter(|(_, packed)| packed.len() < raw.len() - raw.len() / 16);
        if packed.is_some() {
            self.in_vain = 0;
        } else if tries {
            self.in_vain = (2 * self.in_vain + 1).min(UNTRIED_MOST);
            self.untried = self.in_vain;
        } else {
            self.untried -= 1;
        }
        let (codec, stored) = packed.unwrap_or((STORED, raw));
        out.extend_from_slice(stored);
        out.push(codec);
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        let crc = checksum(offset, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        self.encoder.shrink();
        Ok(())
    }
}

fn checksum(offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

thread_local! {
    /// Some 100 KiB of working memory, made when a thread first meets a zstd block.
    static DECODER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Verifies a piece and gives its raw bytes, decompressed straight into the allocation that is
/// returned. `piece` is the whole of it, trailer included, as read from `offset` of `file`.
pub(super) fn unseal(piece: &[u8], file: &Path, offset: u64) -> Result<Arc<[u8]>> {
    let (codec, raw_len, stored) = verify(piece, file, offset)?;
    if codec == STORED {
        if raw_len != stored.len() {
            return Err(Error::corrupt(file, offset, "a stored piece has the wrong length"));
        }
        return Ok(Arc::from(stored));
    }
    let mut raw: Arc<[u8]> = iter::repeat_n(0, raw_len).collect();
    // Nobody else can hold what was made one line above.
    let room = Arc::get_mut(&mut raw).unwrap_or_default();
    let len = match codec {
        LZ4 => lz4_flex::block::decompress_into(stored, room).map_err(|e| e.to_string()),
        ZSTD => unzstd(stored, room)?,
        other => Err(format!("unknown codec {other}")),
    };
    match len {
        Ok(len) if len == raw_len => Ok(raw),
        Ok(len) => {
            Err(Error::corrupt(file, offset, format!("{len} bytes unpacked, {raw_len} expected")))
        }
        Err(why) => Err(Error::corrupt(file, offset, format!("cannot be unpacked: {why}"))),
    }
}

fn unzstd(stored: &[u8], room: &mut [u8]) -> Result<std::result::Result<usize, String>> {
    DECODER.with_borrow_mut(|decoder| {
        let decoder = match decoder {
            Some(decoder) => decoder,
            none => none.insert(
                Decompressor::new().map_err(|e| Error::io("starting the zstd decoder", &e))?,
            ),
        };
        Ok(decoder.decompress_to_buffer(stored, room).map_err(|e| e.to_string()))
    })
}

/// Verifies the checksum; the codec, the raw length and the stored bytes.
fn verify<'a>(piece: &'a [u8], file: &Path, offset: u64) -> Result<(u8, usize, &'a [u8])> {
    let parts = piece.split_last_chunk::<4>().and_then(|(covered, crc)| {
        let (rest, raw_len) = covered.split_last_chunk::<4>()?;
        let (codec, stored) = rest.split_last()?;
        Some((covered, u32::from_le_bytes(*crc), u32::from_le_bytes(*raw_len), *codec, stored))
    });
    let Some((covered, crc, raw_len, codec, stored)) = parts else {
        return Err(Error::corrupt(file, offset, "too short for a sealed piece"));
    };
    let computed = checksum(offset, covered);
    if computed != crc {
        return Err(Error::corrupt(
            file,
            offset,
            format!("checksum {computed:08x} of {} bytes, {crc:08x} expected", covered.len()),
        ));
    }
    Ok((codec, raw_len as usize, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes behind every piece.
    const TRAILER: usize = 9;

    fn sealed(compression: Compression, raw: &[u8], offset: u64) -> Vec<u8> {
        let mut out = vec![7; 3];
        Sealer::new(compression).unwrap().seal(raw, offset, &mut out).unwrap();
        out.split_off(3)
    }

    #[test]
    fn every_codec_gives_back_what_it_got() {
        let noise: Vec<u8> =
            (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for raw in [&b""[..], b"a", &[b'x'; 4096], &noise, &vec![0; 3 << 20]] {
            for c in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
                let piece = sealed(c, raw, 99);
                assert_eq!(&*unseal(&piece, Path::new("t"), 99).unwrap(), raw);
                assert!(piece.len() <= raw.len() + TRAILER);
                if c != Compression::None && raw.len() == 4096 {
                    assert!(piece.len() < 200, "{c:?} saves nothing: {}", piece.len());
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_a_cut_or_another_place_is_an_error() {
        let piece = sealed(Compression::Lz4, &[5; 100], 1000);
        for at in 0..piece.len() {
            let mut bad = piece.clone();
            bad[at] ^= 0x10;
            let error = unseal(&bad, Path::new("t"), 1000).unwrap_err();
            assert!(matches!(error, Error::Corrupt { offset: 1000, .. }), "{error}");
            assert!(unseal(&piece[..at], Path::new("t"), 1000).is_err());
        }
        assert!(unseal(&piece, Path::new("t"), 1001).is_err());
    }

    #[test]
    fn a_lying_length_under_a_good_checksum_is_an_error() {
        for (codec, len) in [(STORED, 4u32), (LZ4, 90), (LZ4, 200), (ZSTD, 100), (9, 100)] {
            let mut piece = sealed(Compression::Lz4, &[5; 100], 0);
            piece.truncate(piece.len() - TRAILER);
            piece.push(codec);
            piece.extend_from_slice(&len.to_le_bytes());
            let crc = checksum(0, &piece);
            piece.extend_from_slice(&crc.to_le_bytes());
            assert!(unseal(&piece, Path::new("t"), 0).is_err(), "codec {codec}, length {len}");
        }
    }
}
