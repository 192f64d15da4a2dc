//! What the operating system says of this process.
#![expect(unsafe_code, reason = "getrusage and uname have no safe door in std")]

use std::fs;

/// Processor time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    pub user_us: u64,
    pub system_us: u64,
}

/// Processor time of the process, or of its children that have ended.
pub(super) fn cpu_times(children: bool) -> CpuTimes {
    let who = if children { libc::RUSAGE_CHILDREN } else { libc::RUSAGE_SELF };
    // SAFETY: an rusage of zeros is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage that the call fills.
    if unsafe { libc::getrusage(who, &raw mut usage) } != 0 {
        return CpuTimes::default();
    }
    let micros = |time: libc::timeval| (time.tv_sec as u64) * 1_000_000 + time.tv_usec as u64;
    CpuTimes { user_us: micros(usage.ru_utime), system_us: micros(usage.ru_stime) }
}

/// A line of `/proc/self/status` in kB, as bytes.
fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Resident memory, and how much of it is not backed by files.
pub(super) fn resident_bytes() -> (Option<u64>, Option<u64>) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (status_bytes(&status, "VmRSS"), status_bytes(&status, "RssAnon"))
}

/// Name, release and machine of the system.
pub(super) fn system() -> String {
    // SAFETY: a utsname of zeros is a valid value of that plain C struct.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a valid utsname that the call fills.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return std::env::consts::OS.into();
    }
    let text = |field: &[libc::c_char]| -> String {
        let bytes = field.iter().map(|c| *c as u8).take_while(|b| *b != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers() {
        let (all, anonymous) = resident_bytes();
        assert!(all.unwrap() >= anonymous.unwrap() && anonymous.unwrap() > 0);
        assert!(system().starts_with("Linux "), "{}", system());
        let before = cpu_times(false);
        let mut sum = 0u64;
        while cpu_times(false).user_us < before.user_us + 2000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert_eq!(status_bytes("VmRSS:\t  12 kB\nX: 1", "VmRSS"), Some(12 * 1024));
        assert_eq!(status_bytes("VmRSSx: 1 kB", "VmRSS"), None);
    }
}
