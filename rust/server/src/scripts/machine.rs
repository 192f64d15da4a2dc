//! The VM of this thread: made when the first script comes, and given up when it has grown fat.

use super::Scripts;
use forgekv_data::{Error, Result};
use forgekv_script::Vm;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// No script takes more memory, in bytes.
const MOST_MEMORY: usize = 512 << 20;
/// A VM that keeps so much is not kept.
const FAT: usize = 48 << 20;

/// The version of Redis that scripts are told.
pub(crate) const VERSION: &str = crate::info::REDIS_VERSION;

struct Machine {
    vm: Vm,
    epoch: u64,
    /// What it is counted for.
    bytes: i64,
    scripts: Arc<Scripts>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.scripts.vm_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// Uses this thread's VM.
///
/// # Errors
/// There is no memory for one; a script that runs a script.
pub(crate) fn with<T>(scripts: &Arc<Scripts>, f: impl FnOnce(&mut Vm) -> T) -> Result<T> {
    MACHINE.with(|cell| {
        let Ok(mut cell) = cell.try_borrow_mut() else {
            return Err(Error::reply("ERR This Redis command is not allowed from script"));
        };
        let kept = cell.take().filter(|machine| Arc::ptr_eq(&machine.scripts, scripts));
        let mut machine = match kept {
            Some(machine) => machine,
            None => Machine {
                vm: Vm::new(VERSION, MOST_MEMORY).map_err(|e| Error::reply(format!("ERR {e}")))?,
                epoch: scripts.epoch(),
                bytes: 0,
                scripts: scripts.clone(),
            },
        };
        let epoch = scripts.epoch();
        if machine.epoch != epoch {
            let libraries = scripts.libraries();
            machine.vm.forget(&|id| libraries.has(id));
            machine.epoch = epoch;
        }
        let answer = f(&mut machine.vm);
        let bytes = machine.vm.memory();
        scripts.vm_bytes.fetch_add(bytes as i64 - machine.bytes, Relaxed);
        machine.bytes = bytes as i64;
        if bytes < FAT {
            *cell = Some(machine);
        }
        Ok(answer)
    })
}
