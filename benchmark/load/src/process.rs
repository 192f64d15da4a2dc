//! What the system knows of the server's process: CPU time, memory, disk traffic.

use std::fs;

/// Clock ticks a second in /proc: 100 on every Linux that is not a museum piece.
const TICKS: f64 = 100.0;

/// Figures of a process that only grow.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// User and system time of all threads, seconds.
    pub cpu: f64,
    /// Bytes that it caused to be read from and written to storage, if we may know.
    pub disk: Option<(u64, u64)>,
}

/// Its memory, MiB.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// Resident, all of it.
    pub resident: f64,
    /// Resident and not a mapped file.
    pub anonymous: f64,
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Reads the figures that grow.
pub fn usage(pid: u32) -> Result<Usage, String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_err(|why| format!("the server's process {pid}: {why}"))?;
    // The program's name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    let disk = fs::read_to_string(format!("/proc/{pid}/io"))
        .ok()
        .and_then(|io| Some((field(&io, "read_bytes")?, field(&io, "write_bytes")?)));
    Ok(Usage { cpu: ticks / TICKS, disk })
}

/// Reads its memory.
pub fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mib = |name| field(&status, name).map(|kib| kib as f64 / 1024.0);
    Some(Memory { resident: mib("VmRSS")?, anonymous: mib("RssAnon")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ourselves() {
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 300 {}
        assert!(usage(pid).unwrap().cpu - before.cpu > 0.05);
        let memory = memory(pid).unwrap();
        assert!(memory.resident > memory.anonymous && memory.anonymous > 0.1);
        assert!(usage(u32::MAX).is_err());
    }
}
