//! Filters: whether a table can hold a key, from memory, by the key's hash. "No" is always right;
//! "yes" is wrong for 0.4 % of the keys that are not there.
//!
//! A binary fuse filter (Graf and Lemire, "Binary Fuse Filters", 2022) of 8-bit fingerprints, 9 bits a
//! key in large tables. It is built by the `xorf` crate but laid out, and asked, here: what is on disk
//! must not follow a crate's versions. Building can fail for unlucky hashes; then the filter is a
//! split-block Bloom filter (Putze, Sanders and Singler, 2007) of 10 bits a key.
//!
//! ```text
//!  kind 0:  | 0 |                                            no keys
//!  kind 1:  | 1 | seed u64 | segment length u32 | segments' total length u32 | fingerprints ... |
//!  kind 2:  | 2 | blocks of 32 bytes ... |
//! ```
//!
//! Fuse: `m = mix(hash + seed)`; the fingerprint `(m ^ m >> 32) as u8` is the xor of three bytes, one in
//! each of three consecutive segments: with `h = high 64 bits of m * total`, at `h`,
//! `(h + segment) ^ (m >> 18 & segment - 1)` and `(h + 2 segments) ^ (m & segment - 1)`. `mix` is
//! the finaliser of MurmurHash3.
//!
//! Bloom: the block is number `((hash >> 32) * blocks) >> 32`; in each of its eight words (u32 LE) the
//! bit `(hash as u32 * SALT[word]) >> 27` is set.

use super::FilterKind;
use forgekv_base::bytes::Reader;
use xorf::BinaryFuse8;

const NONE: u8 = 0;
const FUSE: u8 = 1;
const BLOOM: u8 = 2;

/// Odd numbers whose products spread the low half of a hash over eight words (from the Parquet format).
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];
const BLOOM_BLOCK: usize = 32;

/// The on-disk form of the filter over these hashes.
pub(super) fn build(mut hashes: Vec<u64>, kind: FilterKind) -> Vec<u8> {
    if kind == FilterKind::Bloom && !hashes.is_empty() {
        return build_bloom(&hashes);
    }
    hashes.sort_unstable();
    // Equal hashes would make every attempt fail.
    hashes.dedup();
    if hashes.is_empty() {
        return vec![NONE];
    }
    match BinaryFuse8::try_from(&hashes) {
        Ok(fuse) => {
            let mut out = Vec::with_capacity(17 + fuse.fingerprints.len());
            out.push(FUSE);
            out.extend_from_slice(&fuse.descriptor.seed.to_le_bytes());
            out.extend_from_slice(&fuse.descriptor.segment_length.to_le_bytes());
            out.extend_from_slice(&fuse.descriptor.segment_count_length.to_le_bytes());
            out.extend_from_slice(&fuse.fingerprints);
            out
        }
        Err(_) => build_bloom(&hashes),
    }
}

fn build_bloom(hashes: &[u64]) -> Vec<u8> {
    let blocks = (hashes.len() * 10).div_ceil(8 * BLOOM_BLOCK).max(1);
    let mut out = vec![0; 1 + blocks * BLOOM_BLOCK];
    if let Some((kind, bits)) = out.split_first_mut() {
        *kind = BLOOM;
        let (all, _) = bits.as_chunks_mut::<BLOOM_BLOCK>();
        for &hash in hashes {
            if let Some(block) = all.get_mut(bloom_block(hash, blocks)) {
                let (words, _) = block.as_chunks_mut::<4>();
                for (word, salt) in words.iter_mut().zip(SALT) {
                    *word = (u32::from_le_bytes(*word) | bloom_bit(hash, salt)).to_le_bytes();
                }
            }
        }
    }
    out
}

#[inline]
fn bloom_block(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

#[inline]
fn bloom_bit(hash: u64, salt: u32) -> u32 {
    1 << ((hash as u32).wrapping_mul(salt) >> 27)
}

/// A filter in memory.
pub(super) enum Filter {
    /// Over no keys.
    None,
    Fuse {
        seed: u64,
        /// A power of two.
        segment: u32,
        /// The length of all segments in which the first of the three bytes can be.
        total: u32,
        fingerprints: Box<[u8]>,
    },
    Bloom(Box<[[u8; BLOOM_BLOCK]]>),
}

impl Filter {
    /// Reads the on-disk form; `None` when the bytes are anything else.
    pub(super) fn read(bytes: &[u8]) -> Option<Filter> {
        let mut from = Reader::new(bytes);
        match from.u8()? {
            NONE => from.is_empty().then_some(Filter::None),
            FUSE => {
                let seed = from.u64_le()?;
                let segment = from.u32_le()?;
                let total = from.u32_le()?;
                let fingerprints: Box<[u8]> = from.rest().into();
                // The three positions are below total + 2 segments: no look-up can leave the bytes.
                let room = u64::from(total) + 2 * u64::from(segment);
                let whole = segment.is_power_of_two() && total > 0 && total % segment == 0;
                (whole && room <= fingerprints.len() as u64).then_some(Filter::Fuse {
                    seed,
                    segment,
                    total,
                    fingerprints,
                })
            }
            BLOOM => {
                let (blocks, rest) = from.rest().as_chunks::<BLOOM_BLOCK>();
                let whole = !blocks.is_empty() && rest.is_empty();
                whole.then(|| Filter::Bloom(blocks.into()))
            }
            _ => None,
        }
    }

    /// Whether a key with this hash may be there.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        match self {
            Filter::None => false,
            Filter::Fuse { seed, segment, total, fingerprints } => {
                let m = mix(hash.wrapping_add(*seed));
                let mask = segment - 1;
                let h0 = ((u128::from(m) * u128::from(*total)) >> 64) as u32;
                let h1 = (h0 + segment) ^ ((m >> 18) as u32 & mask);
                let h2 = (h0 + 2 * segment) ^ (m as u32 & mask);
                let at = |h: u32| fingerprints.get(h as usize).copied().unwrap_or_default();
                (m ^ (m >> 32)) as u8 == at(h0) ^ at(h1) ^ at(h2)
            }
            Filter::Bloom(blocks) => {
                let Some(block) = blocks.get(bloom_block(hash, blocks.len())) else { return true };
                let (words, _) = block.as_chunks::<4>();
                words
                    .iter()
                    .zip(SALT)
                    .all(|(word, salt)| u32::from_le_bytes(*word) & bloom_bit(hash, salt) != 0)
            }
        }
    }

    pub(super) fn resident_bytes(&self) -> usize {
        match self {
            Filter::None => 0,
            Filter::Fuse { fingerprints, .. } => fingerprints.len(),
            Filter::Bloom(blocks) => blocks.len() * BLOOM_BLOCK,
        }
    }
}

/// The finaliser of MurmurHash3.
#[inline]
fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgekv_base::rng::Rng;

    fn hashes(n: usize, seed: u64) -> Vec<u64> {
        let mut rng = Rng::seeded(seed);
        (0..n).map(|_| rng.next_u64()).collect()
    }

    fn wrong_of_a_hundred_thousand(filter: &Filter) -> usize {
        hashes(100_000, 999).into_iter().filter(|&h| filter.may_contain(h)).count()
    }

    #[test]
    fn holds_all_and_little_else() {
        for n in [1, 2, 3, 10, 100, 1000, 30_000] {
            let mut keys = hashes(n, n as u64);
            keys.extend_from_within(..n / 2); // the same keys again
            let bytes = build(keys.clone(), FilterKind::Fuse);
            assert_eq!(bytes[0], FUSE, "{n}");
            let filter = Filter::read(&bytes).unwrap();
            assert!(keys.iter().all(|&h| filter.may_contain(h)), "{n}");
            assert!(wrong_of_a_hundred_thousand(&filter) < 600, "{n}");
        }
        let filter = Filter::read(&build(Vec::new(), FilterKind::Bloom)).unwrap();
        assert_eq!(wrong_of_a_hundred_thousand(&filter), 0);
    }

    #[test]
    fn a_fuse_filter_of_any_small_size_can_be_built() {
        for n in 1..400 {
            // Neighbouring numbers too: the schema's hash need not be a good one.
            for keys in [hashes(n, 77), (0..n as u64).collect()] {
                let bytes = build(keys.clone(), FilterKind::Fuse);
                let filter = Filter::read(&bytes).unwrap();
                assert!(bytes[0] == FUSE && keys.iter().all(|&h| filter.may_contain(h)), "{n}");
            }
        }
    }

    #[test]
    fn a_large_filter_takes_nine_bits_a_key() {
        let filter = Filter::read(&build(hashes(1_000_000, 5), FilterKind::Fuse)).unwrap();
        let bits = filter.resident_bytes() as f64 * 8.0 / 1e6;
        assert!(bits < 9.1, "{bits} bits a key");
    }

    #[test]
    fn answers_as_the_crate_that_built_it() {
        use xorf::Filter as _;
        let mut keys = hashes(5000, 3);
        keys.sort_unstable(); // the order decides how the filter turns out
        let theirs = BinaryFuse8::try_from(&keys).unwrap();
        let ours = Filter::read(&build(keys, FilterKind::Fuse)).unwrap();
        for hash in hashes(100_000, 4) {
            assert_eq!(ours.may_contain(hash), theirs.contains(&hash));
        }
    }

    #[test]
    fn the_fallback_works_as_well() {
        for n in [1, 100, 20_000] {
            let keys = hashes(n, n as u64);
            let bytes = build_bloom(&keys);
            let filter = Filter::read(&bytes).unwrap();
            assert!(matches!(filter, Filter::Bloom(_)));
            assert!(keys.iter().all(|&h| filter.may_contain(h)));
            assert!(wrong_of_a_hundred_thousand(&filter) < 2500, "{n}");
            assert!(Filter::read(&bytes[..bytes.len() - 1]).is_none());
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let good = build(hashes(100, 1), FilterKind::Fuse);
        assert!(Filter::read(&[]).is_none());
        assert!(Filter::read(&[0, 0]).is_none());
        assert!(Filter::read(&[3]).is_none());
        assert!(Filter::read(&[BLOOM]).is_none());
        for cut in 1..good.len() {
            assert!(Filter::read(&good[..cut]).is_none(), "cut at {cut}");
        }
        let mut odd = good;
        odd[9] = 3; // the segment length
        assert!(Filter::read(&odd).is_none());
    }
}
