//! jemalloc: the allocator that Redis uses too, and one that says what is resident.

#![expect(
    unsafe_code,
    reason = "jemalloc reads its options from a symbol of this name, and purging has no safe door"
)]

use std::ptr;
use std::sync::OnceLock;

use forgekv_server::info::{Allocator, AllocatorFigures};
use tikv_jemalloc_ctl::{background_thread, epoch, stats, stats_print, version};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages go back to the system after a second: the memory budget is steered by what is resident.
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
        drop(std::hint::black_box(vec![1u8; 64 << 20]));
        Jemalloc.purge().unwrap();
        assert!(Jemalloc.report().unwrap().contains("jemalloc statistics"));
    }
}
