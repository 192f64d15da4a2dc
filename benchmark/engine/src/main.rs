//! The engine alone, in one process, beside fjall and RocksDB: random puts and gets of small values.
//!
//! `cargo run --release [--features rivals] -- [keys] [operations] [directory]`

use forgekv_base::rng::Rng;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is measured: point writes and point reads, from several threads.
trait Store: Sync {
    /// Writes one record.
    fn put(&self, key: u64, value: &[u8]);
    /// Reads one record and says its length.
    fn get(&self, key: u64) -> Option<usize>;
    /// Called by each thread after every so many writes: hand what is pending to the system.
    fn turn(&self) {}
}

mod ours;
#[cfg(feature = "rivals")]
mod rivals;

fn key_bytes(key: u64) -> [u8; 15] {
    let mut bytes = *b"memtier-0000000";
    let mut rest = key;
    for byte in bytes[8..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    bytes
}

/// The processor time that the calling thread has had, in nanoseconds.
fn own_time() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Runs `work` on some threads; how long it took, and how much processor time, which is the better measure
/// on a machine that is not quiet.
fn run(name: &str, what: &str, threads: u64, operations: u64, work: impl Fn(u64, u64) + Sync) {
    let start = Instant::now();
    let processor: f64 = std::thread::scope(|scope| {
        let work = &work;
        let one = |thread| {
            scope.spawn(move || {
                work(thread, operations / threads);
                own_time()
            })
        };
        let all: Vec<_> = (0..threads).map(one).collect();
        all.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    let per_second = operations as f64 / seconds;
    println!(
        "| {name} | {what} | {threads} | {:.0} | {:.0} | {:.0} |",
        per_second / 1000.0,
        1e9 * seconds * threads as f64 / operations as f64,
        processor / operations as f64
    );
}

fn measure(name: &str, store: &dyn Store, keys: u64, operations: u64) {
    let value = [b'x'; 64];
    run(name, "load", 1, keys, |_, n| {
        for key in 0..n {
            store.put(key, &value);
            if key % 320 == 0 {
                store.turn();
            }
        }
    });
    for threads in [1, 2] {
        run(name, "put, random", threads, operations, |thread, n| {
            let mut rng = Rng::seeded(thread);
            for i in 0..n {
                store.put(rng.below(keys), &value);
                if i % 320 == 0 {
                    store.turn();
                }
            }
        });
        run(name, "get, random", threads, operations, |thread, n| {
            let mut rng = Rng::seeded(100 + thread);
            for _ in 0..n {
                assert_eq!(store.get(rng.below(keys)), Some(64));
            }
        });
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |n: usize, default| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let keys = number(1, 1_000_000);
    let operations = number(2, 4_000_000);
    let base = args.get(3).map_or_else(std::env::temp_dir, |dir| Path::new(dir).to_path_buf());
    println!("| engine | what | threads | thousand/s | ns a thread | CPU ns |\n|---|---|---|---|---|---|");
    let dir = tempfile::tempdir_in(&base).expect("a directory");
    measure("ForgeKV engine", &ours::Ours::open(dir.path()), keys, operations);
    #[cfg(feature = "rivals")]
    {
        let dir = tempfile::tempdir_in(&base).expect("a directory");
        measure("fjall", &rivals::Fjall::open(dir.path()), keys, operations);
        let dir = tempfile::tempdir_in(&base).expect("a directory");
        measure("RocksDB", &rivals::Rocks::open(dir.path()), keys, operations);
    }
}
