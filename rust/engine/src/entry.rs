//! One record in memory: key and value together in one allocation, so that a look-up costs one cache
//! miss for the bucket and one for the entry.
//!
//! ```text
//!  0        4          8       12        16        20        24         28              32
//!  | refs   | memtable | slot  | key_len | val_len | room    | hash     | flags freq .. | key, value, spare |
//! ```
//!
//! Who may touch what:
//! 1. An entry belongs to one shard. All fields but `refs` and `freq` are written only under that shard's
//!    lock, and only while no other thread can read them: [`EntryRef::overwrite`] asks for proof that the
//!    entry's memtable is the active one (then table and memtable of this shard hold the only
//!    references) or that the reference is the only one.
//! 2. Once its memtable is sealed, key, value and flags never change again, so flush threads read them
//!    without the lock.
//! 3. `refs` and `freq` are atomics.

#![expect(unsafe_code, reason = "a reference-counted header with trailing bytes in one allocation")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

#[repr(C)]
struct Header {
    refs: AtomicU32,
    /// The memtable that this entry is dirty in; 0 for a clean copy of what is in a table.
    memtable: u32,
    /// Its place in that memtable.
    slot: u32,
    key_len: u32,
    val_len: u32,
    /// Bytes after the header, key included.
    room: u32,
    /// The low half of the key's hash: where it lives in the hot table.
    hash: u32,
    flags: u8,
    freq: AtomicU8,
}

const TOMBSTONE: u8 = 1;
const NOTHING_BELOW: u8 = 2;
const HEADER: usize = size_of::<Header>();

/// A counted reference to an entry; eight bytes, never null.
pub(crate) struct EntryRef(NonNull<Header>);

// SAFETY: the counts are atomic; everything else follows rules 1 and 2 above.
unsafe impl Send for EntryRef {}
// SAFETY: as above: shared references only read what cannot change under them.
unsafe impl Sync for EntryRef {}

fn layout(room: usize) -> Layout {
    // The sum cannot overflow: rooms are made of two u32 lengths on a 64-bit machine.
    match Layout::from_size_align(HEADER + room, align_of::<Header>()) {
        Ok(layout) => layout,
        Err(_) => unreachable!("an entry is far below isize::MAX"),
    }
}

/// Rounds an allocation up to the allocator's next size class, so that the spare bytes are ours to use.
fn round_up(bytes: usize) -> usize {
    let step = match bytes {
        0..=128 => 16,
        129..=512 => 64,
        513..=4096 => 256,
        _ => 16,
    };
    bytes.div_ceil(step) * step
}

impl EntryRef {
    /// A new entry. `value: None` is a tombstone.
    pub(crate) fn new(
        key: &[u8],
        hash: u64,
        value: Option<&[u8]>,
        memtable: u32,
        slot: u32,
    ) -> EntryRef {
        let bytes = value.unwrap_or_default();
        let room = round_up(HEADER + key.len() + bytes.len()) - HEADER;
        let layout = layout(room);
        // SAFETY: the layout is not empty (HEADER > 0).
        let raw = unsafe { alloc(layout) };
        let Some(header) = NonNull::new(raw.cast::<Header>()) else { handle_alloc_error(layout) };
        // SAFETY: `header` points to `HEADER + room` fresh bytes, aligned for Header; key and value fit
        // into `room` by its computation and cannot overlap fresh memory.
        unsafe {
            header.as_ptr().write(Header {
                refs: AtomicU32::new(1),
                memtable,
                slot,
                key_len: key.len() as u32,
                val_len: bytes.len() as u32,
                room: room as u32,
                hash: hash as u32,
                flags: if value.is_none() { TOMBSTONE } else { 0 },
                freq: AtomicU8::new(0),
            });
            let data = header.as_ptr().cast::<u8>().add(HEADER);
            data.copy_from_nonoverlapping(key.as_ptr(), key.len());
            data.add(key.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        EntryRef(header)
    }

    fn header(&self) -> &Header {
        // SAFETY: the reference count keeps the allocation alive as long as `self`.
        unsafe { self.0.as_ref() }
    }

    fn bytes(&self, from: usize, len: usize) -> &[u8] {
        // SAFETY: callers pass ranges inside `room`, all of which up to key_len + val_len is initialised;
        // nobody writes while a shared borrow is alive (rules 1 and 2).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>().add(HEADER + from), len) }
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.bytes(0, self.header().key_len as usize)
    }

    /// The value; `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        let header = self.header();
        if header.flags & TOMBSTONE != 0 {
            return None;
        }
        Some(self.bytes(header.key_len as usize, header.val_len as usize))
    }

    pub(crate) fn memtable(&self) -> u32 {
        self.header().memtable
    }

    pub(crate) fn slot(&self) -> u32 {
        self.header().slot
    }

    /// The low half of the key's hash.
    pub(crate) fn hash(&self) -> u32 {
        self.header().hash
    }

    /// Whether it is certain that no older version of this key lies below its memtable, so that a
    /// tombstone here hides nothing.
    pub(crate) fn nothing_below(&self) -> bool {
        self.header().flags & NOTHING_BELOW != 0
    }

    /// Bytes this entry takes from the allocator.
    pub(crate) fn size(&self) -> usize {
        HEADER + self.header().room as usize
    }

    /// Notes a use, for the eviction clock. Saturates, so that a hot entry's line stays clean.
    pub(crate) fn touch(&self) {
        let freq = &self.header().freq;
        if freq.load(Ordering::Relaxed) < 2 {
            freq.store(2, Ordering::Relaxed);
        }
    }

    /// The eviction clock passes: true when the entry was not used since it passed last.
    pub(crate) fn cool(&self) -> bool {
        let freq = &self.header().freq;
        let now = freq.load(Ordering::Relaxed);
        if now == 0 {
            return true;
        }
        freq.store(now - 1, Ordering::Relaxed);
        false
    }

    /// Whether this is the only reference.
    fn is_unique(&self) -> bool {
        self.header().refs.load(Ordering::Acquire) == 1
    }

    /// Writes a new value in place if that is allowed and it fits. The caller holds the shard's lock
    /// exclusively (it has `&mut` on the table that owns `self`), and `active` is the id of the active
    /// memtable. A clean entry that nobody else holds may be taken over by the memtable this way too:
    /// its new memtable and slot are given in `place`.
    pub(crate) fn overwrite(
        &mut self,
        value: Option<&[u8]>,
        active: u32,
        place: Option<(u32, u32)>,
    ) -> bool {
        let bytes = value.unwrap_or_default();
        let (memtable, key_len, room) = {
            let header = self.header();
            (header.memtable, header.key_len as usize, header.room as usize)
        };
        let allowed = memtable == active || self.is_unique();
        let used = key_len + bytes.len();
        if !allowed || used > room || room > 2 * used + 256 {
            return false;
        }
        // SAFETY: by rule 1 no other thread reads these fields or bytes: either the entry's memtable is
        // active, so that this shard's table and memtable, both behind the lock that the caller holds,
        // own all references, or ours is the only reference. The value fits into `room`.
        unsafe {
            let header = self.0.as_mut();
            header.val_len = bytes.len() as u32;
            header.flags =
                (header.flags & NOTHING_BELOW) | if value.is_none() { TOMBSTONE } else { 0 };
            if let Some((memtable, slot)) = place {
                header.memtable = memtable;
                header.slot = slot;
            }
            let data = self.0.as_ptr().cast::<u8>().add(HEADER + key_len);
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        true
    }

    /// Notes what is known of older versions. For an entry that the caller has just placed in the active
    /// memtable, under the shard's lock.
    pub(crate) fn set_nothing_below(&mut self, certain: bool) {
        // SAFETY: as in `overwrite`: under the lock, and sealed memtables do not hold this entry.
        let header = unsafe { self.0.as_mut() };
        header.flags = (header.flags & !NOTHING_BELOW) | if certain { NOTHING_BELOW } else { 0 };
    }

    /// Asks the processor to load the entry's first two cache lines.
    pub(crate) fn prefetch(&self) {
        prefetch(self.0.as_ptr().cast());
        prefetch(self.0.as_ptr().cast::<u8>().wrapping_add(64));
    }
}

/// Asks the processor to load the cache line at `at`; harmless for any address.
pub(crate) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// As [`prefetch`], for a line that will be written: it comes over from a core that has written to it.
pub(crate) fn prefetch_to_write(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

impl Clone for EntryRef {
    fn clone(&self) -> EntryRef {
        self.header().refs.fetch_add(1, Ordering::Relaxed);
        EntryRef(self.0)
    }
}

impl Drop for EntryRef {
    fn drop(&mut self) {
        let header = self.header();
        let layout = layout(header.room as usize);
        if header.refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the count fell to zero, so nobody else can reach the allocation; it was made with this
        // layout, since `room` never changes.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

impl fmt::Debug for EntryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> {:?} (memtable {})", self.key(), self.value(), self.memtable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_key_and_value_and_changes_in_place() {
        let mut e = EntryRef::new(b"key", 0, Some(b"value"), 7, 3);
        let other = e.clone();
        assert_eq!(
            (e.key(), e.value(), e.memtable(), e.slot()),
            (&b"key"[..], Some(&b"value"[..]), 7, 3)
        );
        assert!(!e.overwrite(Some(b"x"), 8, None), "sealed and shared: may not change");
        assert!(e.overwrite(Some(b"other"), 7, None));
        assert_eq!(other.value(), Some(&b"other"[..]));
        assert!(e.overwrite(None, 7, None));
        assert_eq!(e.value(), None);
        drop(other);
        assert!(e.overwrite(Some(b""), 9, Some((9, 1))), "unique: may be taken over");
        assert_eq!((e.value(), e.memtable(), e.slot()), (Some(&b""[..]), 9, 1));
        assert!(!e.overwrite(Some(&[1; 4096]), 9, None), "does not fit");
    }

    #[test]
    fn counts_references_across_threads() {
        let e = EntryRef::new(b"k", 0, Some(&[9; 1000]), 1, 0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                let e = e.clone();
                s.spawn(move || {
                    for _ in 0..1000 {
                        assert_eq!(e.clone().value().map(<[u8]>::len), Some(1000));
                    }
                });
            }
        });
        assert!(e.is_unique());
    }

    #[test]
    fn the_clock_cools_what_is_not_touched() {
        let e = EntryRef::new(b"k", 0, None, 0, 0);
        assert!(e.cool());
        e.touch();
        assert!(!e.cool() && !e.cool() && e.cool());
    }
}
