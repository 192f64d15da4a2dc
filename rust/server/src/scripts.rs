//! Scripts and libraries of functions: what is known of them, and which are running.
//!
//! A VM belongs to a thread ([`machine`]); what is here is shared by all: the texts, from which each VM
//! compiles what it needs. A script is one attempt on the road like any command ([`calls`]).

pub(crate) mod calls;
pub(crate) mod libraries;
pub(crate) mod machine;
pub(crate) mod running;

use crate::info::Scripting;
use forgekv_script::{Flags, Shebang, sha1_hex};
use libraries::Libraries;
use parking_lot::{Mutex, RwLock};
use running::Running;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The SHA-1 of a script in hexadecimal digits.
pub(crate) type Sha = [u8; 40];

/// A script that was sent once.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) sha: Sha,
    /// The whole text.
    pub(crate) text: Vec<u8>,
    /// Where the text begins that is compiled.
    pub(crate) body: usize,
    /// What its first line says; `None` without one.
    pub(crate) flags: Option<Flags>,
}

/// What all threads share.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    cache: RwLock<HashMap<Sha, Arc<Cached>>>,
    cached_bytes: AtomicU64,
    libraries: RwLock<Arc<Libraries>>,
    /// Counts up when something is forgotten, so that VMs forget it too.
    epoch: AtomicU64,
    running: Mutex<Vec<Arc<Running>>>,
    /// How many scripts run for longer than clients have to bear.
    busy: AtomicUsize,
    /// Whether one of them, the last that became so, is a function.
    busy_function: AtomicBool,
    /// The server is about to end: so do scripts.
    pub(crate) stopping: AtomicBool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS.
    pub(crate) may_all: AtomicBool,
    /// Bytes that all VMs take.
    pub(crate) vm_bytes: AtomicI64,
}

impl Scripts {
    pub(crate) fn get(&self, sha: &[u8]) -> Option<Arc<Cached>> {
        let sha: Sha = sha.to_ascii_lowercase().try_into().ok()?;
        self.cache.read().get(&sha).cloned()
    }

    /// The script of this text, if it was sent before; its SHA-1 in any case.
    pub(crate) fn of_text(&self, text: &[u8]) -> (Sha, Option<Arc<Cached>>) {
        let sha = sha1_hex(text);
        let found = self.cache.read().get(&sha).cloned();
        (sha, found)
    }

    pub(crate) fn add(&self, cached: Arc<Cached>) {
        let bytes = cached.text.len() as u64;
        if self.cache.write().insert(cached.sha, cached).is_none() {
            self.cached_bytes.fetch_add(bytes, Relaxed);
        }
    }

    /// SCRIPT FLUSH.
    pub(crate) fn flush(&self) {
        self.cache.write().clear();
        self.cached_bytes.store(0, Relaxed);
        self.epoch.fetch_add(1, Relaxed);
    }

    /// How many scripts are known, and the bytes of their texts.
    fn cached(&self) -> (usize, u64) {
        (self.cache.read().len(), self.cached_bytes.load(Relaxed))
    }

    /// What INFO shows.
    pub(crate) fn figures(&self) -> Scripting {
        let (cached, cached_bytes) = self.cached();
        let libraries = self.libraries();
        Scripting {
            vm_bytes: self.vm_bytes.load(Relaxed).max(0) as u64,
            cached: cached as u64,
            cached_bytes,
            libraries: libraries.len() as u64,
            functions: libraries.functions() as u64,
            library_bytes: libraries.iter().map(|library| library.code.len() as u64).sum(),
        }
    }

    /// Whether what EVAL, EVALSHA or FCALL is about to run says of itself that it does not write. `what` is
    /// the first word behind the command's name.
    pub(crate) fn promises_no_writes(&self, command: &str, what: &[u8]) -> bool {
        let flags = match command {
            "eval" => Shebang::parse(what).ok().and_then(|shebang| shebang.flags),
            "evalsha" => self.get(what).and_then(|script| script.flags),
            _ => self.libraries().function(what).map(|(_, function)| function.flags),
        };
        flags.is_some_and(|flags| flags.has(Flags::NO_WRITES))
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    pub(crate) fn libraries(&self) -> Arc<Libraries> {
        self.libraries.read().clone()
    }

    /// Takes over what was committed, or read at the start.
    pub(crate) fn install(&self, libraries: Arc<Libraries>) {
        *self.libraries.write() = libraries;
        self.epoch.fetch_add(1, Relaxed);
    }

    /// Enlists a script that runs where it may run long.
    pub(crate) fn begin(&self, running: Running) -> Arc<Running> {
        let running = Arc::new(running);
        self.running.lock().push(running.clone());
        running
    }

    pub(crate) fn end(&self, ended: &Arc<Running>) {
        self.running.lock().retain(|running| !Arc::ptr_eq(running, ended));
        if ended.is_busy.swap(false, Relaxed) {
            self.busy.fetch_sub(1, Relaxed);
        }
    }

    /// It runs for longer than clients have to bear.
    pub(crate) fn becomes_busy(&self, running: &Running) {
        if !running.is_busy.swap(true, Relaxed) {
            self.busy_function.store(running.is_function, Relaxed);
            self.busy.fetch_add(1, Relaxed);
        }
    }

    /// Whether other commands are to be refused, and how.
    #[inline]
    pub(crate) fn busy(&self) -> Option<&'static str> {
        if self.busy.load(Relaxed) == 0 {
            return None;
        }
        Some(if self.busy_function.load(Relaxed) {
            running::BUSY_FUNCTION
        } else {
            running::BUSY_SCRIPT
        })
    }

    /// The one that runs longest.
    pub(crate) fn oldest(&self) -> Option<Arc<Running>> {
        self.running.lock().first().cloned()
    }

    /// SCRIPT KILL and FUNCTION KILL.
    ///
    /// # Errors
    /// The whole error reply.
    pub(crate) fn kill(&self, function: bool) -> Result<(), &'static str> {
        let running = self.running.lock();
        if running.is_empty() {
            return Err("NOTBUSY No scripts in execution right now.");
        }
        let mine: Vec<_> = running.iter().filter(|r| r.is_function == function).collect();
        if mine.is_empty() {
            return Err(if function { running::BUSY_SCRIPT } else { running::BUSY_FUNCTION });
        }
        let killable: Vec<_> = mine.iter().filter(|r| !r.wrote.load(Relaxed)).collect();
        if killable.is_empty() {
            return Err(running::UNKILLABLE);
        }
        killable.iter().for_each(|running| running.is_killed.store(true, Relaxed));
        Ok(())
    }
}
