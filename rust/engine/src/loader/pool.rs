//! Cold reads on threads, with `pread`: for kernels and containers without io_uring.

use super::Job;
use crate::error::{Error, Result};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Threads that wait for the device side by side.
const THREADS: usize = 16;

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    ready: Condvar,
}

pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

fn work(queue: &Queue) {
    let mut raw = Vec::new();
    let mut jobs = queue.jobs.lock();
    loop {
        if let Some(job) = jobs.0.pop_front() {
            MutexGuard::unlocked(&mut jobs, || {
                let (offset, len) = job.table.block_span(job.block);
                raw.resize(len as usize, 0);
                let read = job.table.file().read_exact_at(&mut raw, offset);
                job.finish(read.map(|()| raw.as_slice()));
            });
        } else if jobs.1 {
            return;
        } else {
            queue.ready.wait(&mut jobs);
        }
    }
}

impl Pool {
    pub(super) fn start() -> Result<Pool> {
        let queue = Arc::new(Queue::default());
        let mut threads = Vec::new();
        for n in 0..THREADS {
            let queue = queue.clone();
            let thread = std::thread::Builder::new()
                .name(format!("cold-read-{n}"))
                .spawn(move || work(&queue))
                .map_err(|e| Error::io("starting a cold-read thread", &e))?;
            threads.push(thread);
        }
        Ok(Pool { queue, threads })
    }

    pub(super) fn submit(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut queue = self.queue.jobs.lock();
        for job in jobs {
            queue.0.push_back(job);
            self.queue.ready.notify_one();
        }
    }
}

impl Drop for Pool {
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
