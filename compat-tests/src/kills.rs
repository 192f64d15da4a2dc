//! What the tests share that kill a server under load, again and again.

use std::thread;
use std::time::Duration;

use forgekv_base::rng::Rng;

use crate::Result;
use crate::server::Server;

/// The number in an environment variable, if there is one.
pub fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed in an environment variable, or a new one.
pub fn seed_of(name: &str) -> u64 {
    number_of(name).unwrap_or_else(|| Rng::from_entropy().next_u64() >> 1)
}

/// Lets all writers write at once and kills the server at some moment within a second.
pub fn kill_under_load<W: Send>(
    server: &mut Server,
    writers: &mut [W],
    rng: &mut Rng,
    write_until_killed: impl Fn(&mut W, u16) -> Result<()> + Sync,
) -> Result<()> {
    let (port, write) = (server.port(), &write_until_killed);
    let lifetime = Duration::from_millis(100 + rng.below(900));
    thread::scope(|scope| {
        let threads: Vec<_> =
            writers.iter_mut().map(|writer| scope.spawn(move || write(writer, port))).collect();
        thread::sleep(lifetime);
        server.kill()?;
        for thread in threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })
}

/// Starts a killed server; in every third round it is also killed while it recovers.
pub fn recover(server: &mut Server, rng: &mut Rng, round: u64) -> Result<()> {
    if round % 3 == 2 {
        server.start_and_kill_after(Duration::from_millis(rng.below(60)))?;
    }
    server.start_again()
}
