//! Blocks: the unit of reading, checking and caching. A sorted run of entries, some 4 KiB raw.
//!
//! ```text
//!  | entry 0 | entry 1 | ... | tags: n x u8 | offsets: n x u16 LE | n: u16 LE |
//!
//!  entry:
//!  | shared: varint | suffix length: varint | value: varint, 0 = tombstone, else length + 1 |
//!  | suffix ... | value ... |
//! ```
//!
//! Sixteen entries are a group. The first of a group holds its whole key (shared = 0); each other one
//! holds how many bytes its key shares with *that* key, and the rest. So any entry is at hand without
//! walking its neighbours, and stepping back costs what stepping forward does.
//!
//! A tag is the low byte of the key's XXH3-64. A point look-up compares eight tags at a time and
//! touches only entries whose tag matches: one or two, where a binary search would touch seven.
//!
//! The structure (not the order) is verified when a block is made from bytes, so look-ups need not.

use forgekv_base::varint;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Entries whose keys are stored relative to the first of them.
pub(super) const GROUP: usize = 16;
/// The most that a block, without its last entry, may hold: offsets are u16.
pub(super) const MAX_BLOCK: usize = 1 << 16;

/// A decoded, verified, immutable block. A clone shares the bytes.
#[derive(Clone)]
pub struct Block {
    data: Arc<[u8]>,
    /// Where the tags begin and the entries end.
    tags_at: u32,
    entries: u32,
}

/// One entry as it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry<'a> {
    /// Bytes of the group's first key that this key begins with.
    pub(super) shared: usize,
    pub(super) suffix: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

fn tag(key: &[u8]) -> u8 {
    xxh3_64(key) as u8
}

impl Block {
    /// Takes over raw bytes; an error text when they are not a block.
    pub(super) fn new(data: Arc<[u8]>) -> Result<Block, &'static str> {
        let (rest, count) = data.split_last_chunk::<2>().ok_or("a block without an end")?;
        let entries = usize::from(u16::from_le_bytes(*count));
        let tags_at = rest.len().checked_sub(3 * entries).ok_or("more entries than bytes")?;
        if entries == 0 {
            return Err("a block without entries");
        }
        let (Ok(tags_at), entries) = (u32::try_from(tags_at), entries as u32) else {
            return Err("a block beyond 4 GiB");
        };
        let block = Block { data, tags_at, entries };
        block.check_structure()?;
        Ok(block)
    }

    /// The entries must lie one behind the other, and share no more than there is.
    fn check_structure(&self) -> Result<(), &'static str> {
        let bytes = self.data.get(..self.tags_at as usize).unwrap_or_default();
        let mut head_len = 0;
        let mut end = 0;
        for at in 0..self.len() {
            if self.offset(at) != end {
                return Err("an entry is not where its offset says");
            }
            let (entry, next) = parse(bytes, end).ok_or("an entry reaches beyond its block")?;
            end = next;
            if at % GROUP == 0 {
                head_len = entry.suffix.len();
                if entry.shared != 0 {
                    return Err("a group begins with a shortened key");
                }
            } else if entry.shared > head_len {
                return Err("a key shares more than there is");
            }
        }
        if end != self.tags_at as usize { Err("bytes between entries and tags") } else { Ok(()) }
    }

    /// The value of `key`: `Some(None)` for a tombstone, `None` when the key is not here.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let tags = self.data.get(self.tags_at as usize..)?.get(..self.entries as usize)?;
        let wanted = tag(key);
        let mut at = 0;
        let mut eights = tags.chunks_exact(8);
        for eight in &mut eights {
            let mut matches = equal_bytes(eight.try_into().unwrap_or_default(), wanted);
            while matches != 0 {
                let found = at + matches.trailing_zeros() as usize / 8;
                if let Some(value) = self.value_if(found, key) {
                    return Some(value);
                }
                matches &= matches - 1;
            }
            at += 8;
        }
        for (i, &tag) in eights.remainder().iter().enumerate() {
            if tag == wanted
                && let Some(value) = self.value_if(at + i, key)
            {
                return Some(value);
            }
        }
        None
    }

    /// The value of entry `at` if its key is `key`.
    #[inline]
    fn value_if(&self, at: usize, key: &[u8]) -> Option<Option<&[u8]>> {
        let entry = self.entry(at);
        let (start, rest) = key.split_at_checked(entry.shared)?;
        let same = rest == entry.suffix && self.head(at).starts_with(start);
        same.then_some(entry.value)
    }

    /// Bytes of memory that the block takes.
    pub fn bytes(&self) -> usize {
        // Two counters in front of the bytes.
        self.data.len() + 16 + size_of::<Block>()
    }

    /// The number of entries; never 0.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.entries as usize
    }

    #[inline]
    fn offset(&self, at: usize) -> usize {
        let from = self.tags_at as usize + self.entries as usize + 2 * at;
        let bytes = self.data.get(from..).and_then(|rest| rest.first_chunk::<2>());
        usize::from(u16::from_le_bytes(bytes.copied().unwrap_or_default()))
    }

    /// Entry `at`.
    #[inline]
    pub(super) fn entry(&self, at: usize) -> Entry<'_> {
        // The structure was verified, so every entry parses.
        parse(&self.data, self.offset(at)).map(|(entry, _)| entry).unwrap_or_default()
    }

    /// The whole key with which the group of entry `at` begins.
    #[inline]
    pub(super) fn head(&self, at: usize) -> &[u8] {
        self.entry(at - at % GROUP).suffix
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} entries, {} bytes)", self.entries, self.data.len())
    }
}

/// The high bit of every byte that equals `wanted`; some bytes above the first match may be marked
/// falsely, which costs a comparison and no more.
#[inline]
fn equal_bytes(eight: [u8; 8], wanted: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let x = u64::from_le_bytes(eight) ^ (LOW * u64::from(wanted));
    x.wrapping_sub(LOW) & !x & (LOW << 7)
}

/// The entry that begins at `at` and where it ends.
#[inline]
fn parse(bytes: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (shared, suffix_len, value, head) = match *rest.first_chunk::<3>()? {
        // All three numbers nearly always take one byte.
        [a, b, c] if (a | b | c) < 0x80 => (usize::from(a), usize::from(b), usize::from(c), 3),
        _ => parse_numbers(rest)?,
    };
    let (suffix, rest) = rest.get(head..)?.split_at_checked(suffix_len)?;
    let value_len = value.saturating_sub(1);
    let stored = rest.get(..value_len)?;
    let value = if value == 0 { None } else { Some(stored) };
    Some((Entry { shared, suffix, value }, at + head + suffix_len + value_len))
}

#[cold]
fn parse_numbers(rest: &[u8]) -> Option<(usize, usize, usize, usize)> {
    let mut at = 0;
    let mut number = || {
        let (value, used) = varint::get(rest.get(at..)?)?;
        at += used;
        usize::try_from(value).ok()
    };
    let (shared, suffix_len, value) = (number()?, number()?, number()?);
    Some((shared, suffix_len, value, at))
}

/// How many bytes `a` and `b` begin with in common.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let x = u64::from_le_bytes(x.try_into().unwrap_or_default());
        let y = u64::from_le_bytes(y.try_into().unwrap_or_default());
        if x != y {
            return len + (x ^ y).trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let rest = a.iter().skip(len).zip(b.iter().skip(len));
    len + rest.take_while(|(x, y)| x == y).count()
}

/// Puts a block together.
#[derive(Default)]
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    tags: Vec<u8>,
    offsets: Vec<u16>,
    /// The first key of the current group, inside `bytes`.
    head: std::ops::Range<usize>,
}

impl BlockWriter {
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The size of the block as it stands.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + 3 * self.offsets.len() + 2
    }

    /// The most that an entry can add to the size.
    pub(super) fn most(key: &[u8], value: Option<&[u8]>) -> usize {
        let value = value.unwrap_or_default().len();
        let numbers = 1 + varint::len(key.len() as u64) + varint::len(value as u64 + 1);
        numbers + key.len() + value + 3
    }

    /// Appends an entry. Keys ascend, and the size so far must be under [`MAX_BLOCK`].
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        debug_assert!(self.bytes.len() < MAX_BLOCK && self.offsets.len() < usize::from(u16::MAX));
        let new_group = self.offsets.len().is_multiple_of(GROUP);
        let shared = if new_group {
            0
        } else {
            common_prefix(self.bytes.get(self.head.clone()).unwrap_or_default(), key)
        };
        let suffix = key.get(shared..).unwrap_or_default();
        self.offsets.push(self.bytes.len() as u16);
        self.tags.push(tag(key));
        varint::put(&mut self.bytes, shared as u64);
        varint::put(&mut self.bytes, suffix.len() as u64);
        varint::put(&mut self.bytes, value.map_or(0, |value| value.len() as u64 + 1));
        if new_group {
            self.head = self.bytes.len()..self.bytes.len() + key.len();
        }
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// The raw bytes of the block; [`clear`](Self::clear) comes next.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(&self.tags);
        for offset in &self.offsets {
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
        self.bytes.extend_from_slice(&(self.offsets.len() as u16).to_le_bytes());
        &self.bytes
    }

    /// Forgets all, but keeps an ordinary amount of memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(4 * MAX_BLOCK);
        self.tags.clear();
        self.offsets.clear();
        self.head = 0..0;
    }
}
