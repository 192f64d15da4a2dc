//! Cold reads: blocks come from the device to those who may not wait for it.
//!
//! A request names blocks; when all are there (or one failed) its completion is called from a thread of
//! the loader. Reads of one request and of many are in flight side by side.

use crate::error::{Error, Result};
use crate::guard::Loads;
use crate::table::{Block, Table};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

/// Threads that wait for the device side by side.
const POOL_THREADS: usize = 16;

type Done = Box<dyn FnOnce(Result<Block>) + Send>;

struct Job {
    table: Arc<Table>,
    block: u32,
    done: Done,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    ready: Condvar,
}

/// Threads that read blocks with `pread`.
pub(crate) struct Loader {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

fn read(table: &Table, no: u32) -> Result<Block> {
    let (offset, len) = table.block_span(no);
    let mut raw = vec![0; len as usize];
    table
        .file()
        .read_exact_at(&mut raw, offset)
        .map_err(|e| Error::io(format!("reading {}", table.path().display()), &e))?;
    table.decode_block(no, &raw)
}

fn work(queue: &Queue) {
    let mut jobs = queue.jobs.lock();
    loop {
        if let Some(job) = jobs.0.pop_front() {
            parking_lot::MutexGuard::unlocked(&mut jobs, || {
                (job.done)(read(&job.table, job.block));
            });
        } else if jobs.1 {
            return;
        } else {
            queue.ready.wait(&mut jobs);
        }
    }
}

impl Loader {
    pub(crate) fn start() -> Result<Loader> {
        let queue = Arc::new(Queue::default());
        let mut threads = Vec::new();
        for n in 0..POOL_THREADS {
            let queue = queue.clone();
            let thread = std::thread::Builder::new()
                .name(format!("cold-read-{n}"))
                .spawn(move || work(&queue))
                .map_err(|e| Error::io("starting a cold-read thread", &e))?;
            threads.push(thread);
        }
        Ok(Loader { queue, threads })
    }

    fn submit(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut queue = self.queue.jobs.lock();
        for job in jobs {
            queue.0.push_back(job);
            self.queue.ready.notify_one();
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

impl Drop for Loader {
    fn drop(&mut self) {
        self.queue.jobs.lock().1 = true;
        self.queue.ready.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a cold-read thread panicked");
            }
        }
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
