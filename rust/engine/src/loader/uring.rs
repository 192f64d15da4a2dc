//! Cold reads by io_uring: one thread keeps as many reads in flight as there are requests.
//!
//! What always holds: the buffer of a read that was submitted is owned by `flying` until its completion
//! has been taken from the ring, whatever else happens; so the kernel never writes into freed memory.

#![expect(
    unsafe_code,
    reason = "submitting to io_uring hands out raw pointers; eventfd is a system call"
)]

use super::Job;
use io_uring::{IoUring, opcode, types};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Reads in flight at most.
const DEPTH: u32 = 256;
/// The completion that says: look into the queue.
const WAKE: u64 = u64::MAX;

struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    wake: OwnedFd,
}

/// The thread and the way to it.
pub(super) struct Ring {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// A read that the kernel may be writing into.
struct Flight {
    job: Job,
    raw: Vec<u8>,
    done: usize,
}

impl Ring {
    /// `None` where the kernel or the container has no io_uring for us.
    pub(super) fn start() -> Option<Ring> {
        let ring = match IoUring::new(DEPTH) {
            Ok(ring) => ring,
            Err(e) => {
                tracing::info!("io_uring is not available ({e}); cold reads use threads");
                return None;
            }
        };
        // SAFETY: a plain system call that makes a new descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return None;
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        let wake = unsafe { OwnedFd::from_raw_fd(fd) };
        let queue = Arc::new(Queue { jobs: Mutex::new((VecDeque::new(), false)), wake });
        let shared = queue.clone();
        let thread = std::thread::Builder::new()
            .name("cold-read-ring".into())
            .spawn(move || {
                if let Err(e) = (Reader {
                    ring,
                    queue: shared,
                    flying: Vec::new(),
                    free: Vec::new(),
                    wake: Box::leak(Box::new(0)),
                })
                .run()
                {
                    tracing::error!("the cold-read ring failed: {e}");
                    // Whoever waits for a block would wait for ever.
                    std::process::abort();
                }
            })
            .ok()?;
        Some(Ring { queue, thread: Some(thread) })
    }

    pub(super) fn submit(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        self.queue.jobs.lock().0.extend(jobs);
        self.wake();
    }

    fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes from `one` to our own descriptor. The count only saturates; an error
        // could only be EAGAIN, when the reader has been woken already.
        unsafe { libc::write(self.queue.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.queue.jobs.lock().1 = true;
        self.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the cold-read ring panicked");
        }
    }
}

struct Reader {
    ring: IoUring,
    queue: Arc<Queue>,
    flying: Vec<Option<Flight>>,
    free: Vec<usize>,
    /// What the wake-up's count is read into. Never freed: the kernel may let go of it later than we do.
    wake: &'static mut u64,
}

impl Reader {
    fn run(mut self) -> io::Result<()> {
        self.await_wake()?;
        loop {
            let stop = self.take_jobs()?;
            let in_flight = self.flying.len() - self.free.len();
            if stop && in_flight == 0 {
                return Ok(());
            }
            match self.ring.submit_and_wait(1) {
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => continue,
                result => result?,
            };
            let done: Vec<(u64, i32)> =
                self.ring.completion().map(|c| (c.user_data(), c.result())).collect();
            for (id, result) in done {
                if id == WAKE {
                    self.await_wake()?;
                } else {
                    self.landed(id as usize, result)?;
                }
            }
        }
    }

    fn await_wake(&mut self) -> io::Result<()> {
        let fd = types::Fd(self.queue.wake.as_raw_fd());
        let read = opcode::Read::new(fd, std::ptr::from_mut(self.wake).cast(), 8);
        self.push(&read.build().user_data(WAKE))
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the entry's buffer is either `self.wake`, which is never freed, or
            // owned by `flying` until its completion is taken.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    /// Puts waiting jobs into flight. Says whether the loader is ending.
    fn take_jobs(&mut self) -> io::Result<bool> {
        loop {
            if self.flying.len() - self.free.len() >= DEPTH as usize - 1 {
                return Ok(false);
            }
            let job = {
                let mut jobs = self.queue.jobs.lock();
                match jobs.0.pop_front() {
                    Some(job) => job,
                    None => return Ok(jobs.1),
                }
            };
            let (_, len) = job.table.block_span(job.block);
            let flight = Flight { job, raw: vec![0; len as usize], done: 0 };
            let id = match self.free.pop() {
                Some(id) => id,
                None => {
                    self.flying.push(None);
                    self.flying.len() - 1
                }
            };
            self.fly(id, flight)?;
        }
    }

    fn fly(&mut self, id: usize, mut flight: Flight) -> io::Result<()> {
        let (offset, _) = flight.job.table.block_span(flight.job.block);
        let fd: RawFd = flight.job.table.file().raw_fd().unwrap_or(-1);
        let rest = flight.raw.get_mut(flight.done..).unwrap_or_default();
        let read = opcode::Read::new(types::Fd(fd), rest.as_mut_ptr(), rest.len() as u32)
            .offset(offset + flight.done as u64)
            .build()
            .user_data(id as u64);
        // The buffer is on the heap: moving the flight does not move it.
        if let Some(place) = self.flying.get_mut(id) {
            *place = Some(flight);
        }
        self.push(&read)
    }

    fn landed(&mut self, id: usize, result: i32) -> io::Result<()> {
        let Some(mut flight) = self.flying.get_mut(id).and_then(Option::take) else {
            return Ok(());
        };
        if result == -libc::EINTR || result == -libc::EAGAIN {
            return self.fly(id, flight);
        }
        if result > 0 {
            flight.done += result as usize;
            if flight.done < flight.raw.len() {
                return self.fly(id, flight);
            }
        }
        self.free.push(id);
        let read = match result {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n if n < 0 => Err(io::Error::from_raw_os_error(-n)),
            _ => Ok(flight.raw.as_slice()),
        };
        flight.job.finish(read);
        Ok(())
    }
}
