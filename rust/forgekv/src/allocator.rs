//! jemalloc: the allocator that Redis uses too, and one that says what is resident.

#![expect(
    unsafe_code,
    reason = "jemalloc reads its options from a symbol of this name, and some of its entries have no safe door"
)]

use std::ptr;
use std::sync::OnceLock;

use forgekv_server::info::{Allocator, AllocatorFigures};
use tikv_jemalloc_ctl::arenas::narenas;
use tikv_jemalloc_ctl::{background_thread, epoch, raw, stats, stats_print, version};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages go back to the system after a second, until the budget is known (`keep_freed`).
// SAFETY: the allocator looks for a pointer to a C string under this name; a slice begins with such a
// pointer, and the string ends with a NUL.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &[u8] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// The allocator's figures.
pub(crate) struct Jemalloc;

impl Jemalloc {
    /// Also lets the allocator give memory back in threads of its own, not in those that serve.
    pub(crate) fn started() -> Self {
        if let Err(why) = background_thread::write(true) {
            tracing::warn!("the allocator has no background threads: {why}");
        }
        Jemalloc
    }
}

/// Its name and version, as Redis writes it.
pub(crate) fn name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let full = version::read().unwrap_or("unknown");
        // "5.3.0-123-gabcdef": what follows the dash is not for readers.
        format!("jemalloc-{}", full.split('-').next().unwrap_or(full))
    })
    .clone()
}

impl Allocator for Jemalloc {
    fn name(&self) -> String {
        name()
    }

    fn figures(&self) -> AllocatorFigures {
        // The figures stand still until the epoch moves.
        if epoch::advance().is_err() {
            return AllocatorFigures::default();
        }
        AllocatorFigures {
            allocated: stats::allocated::read().unwrap_or_default() as u64,
            active: stats::active::read().unwrap_or_default() as u64,
            resident: stats::resident::read().unwrap_or_default() as u64,
            retained: stats::retained::read().unwrap_or_default() as u64,
        }
    }

    fn purge(&self) -> Result<(), String> {
        // SAFETY: the name is a C string, and this entry takes and gives no value, which null pointers say.
        let failed = unsafe {
            tikv_jemalloc_sys::mallctl(
                ALL_ARENAS_PURGE.as_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
            )
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(std::io::Error::from_raw_os_error(failed).to_string())
        }
    }

    fn keep_freed(&self, ms: u64) -> Result<(), String> {
        let ms = isize::try_from(ms).unwrap_or(isize::MAX);
        let arenas = narenas::read().map_err(|why| why.to_string())?;
        let each = (0..arenas).map(|n| format!("arena.{n}.dirty_decay_ms\0"));
        for name in std::iter::once("arenas.dirty_decay_ms\0".to_owned()).chain(each) {
            // SAFETY: the name ends with a NUL, and these entries take an ssize_t.
            let done = unsafe { raw::write(name.as_bytes(), ms) };
            // An arena that is not in use yet has no such entry; it begins with the first of these.
            if let Err(why) = done
                && name.starts_with("arenas")
            {
                return Err(why.to_string());
            }
        }
        Ok(())
    }

    fn report(&self) -> Result<String, String> {
        let mut text = Vec::new();
        stats_print::stats_print(&mut text, stats_print::Options::default())
            .map_err(|why| why.to_string())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// What purges every arena: 4096 stands for all of them.
const ALL_ARENAS_PURGE: &std::ffi::CStr = c"arena.4096.purge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_the_program() {
        assert!(name().starts_with("jemalloc-5."), "{}", name());
        let before = Jemalloc.figures();
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = Jemalloc.figures();
        // Tests beside this one give memory back meanwhile.
        assert!(after.allocated >= before.allocated + (24 << 20), "{before:?} {after:?}");
        assert!(after.active >= after.allocated && after.resident > 0);
        drop(block);
    }

    #[test]
    fn it_purges_and_reports() {
        drop(std::hint::black_box(vec![1u8; 4 << 20]));
        Jemalloc.purge().unwrap();
        Jemalloc.keep_freed(5000).unwrap();
        // SAFETY: as in `keep_freed`.
        let read = |name: &[u8]| unsafe { raw::read::<isize>(name) }.unwrap();
        assert_eq!(read(b"arenas.dirty_decay_ms\0"), 5000);
        assert_eq!(read(b"arena.0.dirty_decay_ms\0"), 5000);
        assert!(Jemalloc.report().unwrap().contains("jemalloc statistics"));
    }
}
