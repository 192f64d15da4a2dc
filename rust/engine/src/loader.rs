//! Cold reads: blocks come from the device to those who may not wait for it.
//!
//! A request names blocks; when all are there (or one failed) its completion is called from a thread of
//! the loader. Reads of one request and of many are in flight side by side.

use crate::error::{Error, Result};
use crate::guard::Loads;
use crate::table::{Block, Table};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

mod pool;
mod uring;

type Done = Box<dyn FnOnce(Result<Block>) + Send>;

/// One block to read, and whom to tell.
struct Job {
    table: Arc<Table>,
    block: u32,
    done: Done,
}

impl Job {
    /// Checks and unpacks what was read, and tells.
    fn finish(self, read: std::io::Result<&[u8]>) {
        let block = match read {
            Ok(raw) => self.table.decode_block(self.block, raw),
            Err(e) => Err(Error::io(format!("reading {}", self.table.path().display()), &e)),
        };
        (self.done)(block);
    }
}

/// Reads blocks by io_uring where the kernel allows it, and on a pool of threads otherwise.
pub(crate) struct Loader {
    ring: Option<uring::Ring>,
    pool: pool::Pool,
}

impl Loader {
    /// Starts the loader's threads. io_uring is tried if `io_uring`.
    pub(crate) fn start(io_uring: bool) -> Result<Loader> {
        let ring = if io_uring { uring::Ring::start() } else { None };
        Ok(Loader { ring, pool: pool::Pool::start()? })
    }

    /// What serves cold reads, for INFO.
    pub(crate) fn name(&self) -> &'static str {
        if self.ring.is_some() { "io_uring" } else { "threads" }
    }

    fn submit(&self, jobs: impl Iterator<Item = Job>) {
        match &self.ring {
            // A simulated disk has no descriptors to give to the kernel.
            Some(ring) => {
                let (real, simulated): (Vec<Job>, Vec<Job>) =
                    jobs.partition(|job| job.table.file().raw_fd().is_some());
                ring.submit(real);
                self.pool.submit(simulated);
            }
            None => self.pool.submit(jobs.collect()),
        }
    }

    /// Loads what `loads` misses.
    pub(crate) fn load(&self, mut loads: Loads) -> Loading {
        let missed = std::mem::take(&mut loads.missed);
        let shared = Arc::new(Mutex::new(Shared { loads, left: missed.len(), waker: None }));
        let jobs = missed.into_iter().map(|(table, block)| {
            let shared = shared.clone();
            let id = table.id();
            let done: Done = Box::new(move |result| {
                let mut shared = shared.lock();
                shared.left -= 1;
                match result {
                    Ok(loaded) => shared.loads.loaded.push((id, block, loaded)),
                    Err(e) => shared.loads.failed = Some(e),
                }
                if shared.left == 0
                    && let Some(waker) = shared.waker.take()
                {
                    waker.wake();
                }
            });
            Job { table, block, done }
        });
        self.submit(jobs);
        Loading { shared }
    }
}

struct Shared {
    loads: Loads,
    left: usize,
    waker: Option<Waker>,
}

/// A load under way; resolves to the loads with their blocks.
pub struct Loading {
    shared: Arc<Mutex<Shared>>,
}

impl Future for Loading {
    type Output = Result<Loads>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Loads>> {
        let mut shared = self.shared.lock();
        if shared.left > 0 {
            shared.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut loads = std::mem::take(&mut shared.loads);
        loads.rounds += 1;
        Poll::Ready(loads.failed.take().map_or(Ok(loads), Err))
    }
}

/// Takes from the page cache what is there: never waits. Returns whether all is loaded.
pub(crate) fn load_resident(loads: &mut Loads) -> Result<bool> {
    let missed = std::mem::take(&mut loads.missed);
    let mut raw = Vec::new();
    for (table, no) in missed {
        let (offset, len) = table.block_span(no);
        raw.resize(len as usize, 0);
        let there = table
            .file()
            .read_resident_at(&mut raw, offset)
            .map_err(|e| Error::io(format!("reading {}", table.path().display()), &e))?;
        if there {
            loads.loaded.push((table.id(), no, table.decode_block(no, &raw)?));
        } else {
            loads.missed.push((table, no));
        }
    }
    if loads.missed.is_empty() {
        loads.rounds += 1;
    }
    Ok(loads.missed.is_empty())
}
