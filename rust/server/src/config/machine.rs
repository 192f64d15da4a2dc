//! What the machine, or the container, gives this process.
#![expect(unsafe_code, reason = "getrlimit and setrlimit have no safe door in std")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Descriptors that are not clients: files of the engine, listeners, logs.
const RESERVED_FILES: u64 = 4096;

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that this process may use: of the machine, or of its memory cgroup if that
/// is less. Read once; a limit that changes later does not move the budget by itself.
pub fn memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| memory_under(Path::new("/")))
}

/// Bytes of memory in the machine.
pub fn total_memory_bytes() -> u64 {
    machine_memory(Path::new("/")).unwrap_or_default()
}

/// What is assumed where the system says nothing.
const FALLBACK_BYTES: u64 = 1 << 30;

fn machine_memory(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn memory_under(root: &Path) -> u64 {
    let machine = machine_memory(root).unwrap_or(FALLBACK_BYTES);
    cgroup_limits(root).into_iter().fold(machine, u64::min)
}

/// The limits of the cgroup of this process and of all above it: the least one holds. A container
/// usually sees its own group as the root, so the root is looked at too.
fn cgroup_limits(root: &Path) -> Vec<u64> {
    let mut limits = Vec::new();
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        // hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (mount, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mount = root.join(mount);
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = fs::read_to_string(mount.join(group).join(file)).unwrap_or_default();
            // "max" is no limit; version 1 says so with a number near i64::MAX.
            limits.extend(text.trim().parse::<u64>().ok());
        }
    }
    limits
}

/// Makes room for `clients` open connections beside the server's own files. `Err` says how many
/// there is room for.
pub fn allow_clients(clients: u32) -> Result<(), u32> {
    let wanted = u64::from(clients) + RESERVED_FILES;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Ok(());
    }
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    let before = limit.rlim_cur;
    // The hard limit first (only the superuser may raise it), then as far as it allows.
    for (soft, hard) in [(wanted, limit.rlim_max.max(wanted)), (limit.rlim_max, limit.rlim_max)] {
        let raised = libc::rlimit { rlim_cur: soft.min(wanted), rlim_max: hard };
        // SAFETY: `raised` is a valid rlimit that the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return if raised.rlim_cur >= wanted { Ok(()) } else { Err(room(raised.rlim_cur)) };
        }
    }
    Err(room(before))
}

/// Clients that `files` descriptors have room for.
fn room(files: u64) -> u32 {
    // Where descriptors are scarce the reserve is half of them.
    u32::try_from(files - RESERVED_FILES.min(files / 2)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("forgekv-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_limit_holds() {
        let meminfo = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(&str, Files<'_>, u64)] = &[
            ("none", &[], 1_024_000),
            (
                "v2",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/memory.max", "5000\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ],
                5000,
            ),
            (
                "container",
                &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "7000\n")],
                7000,
            ),
            (
                "v1",
                &[
                    ("proc/self/cgroup", "5:cpu,memory:/x\n4:pids:/y\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "6000\n"),
                ],
                6000,
            ),
        ];
        for (name, files, bytes) in cases {
            let files: Vec<_> = std::iter::once(&meminfo).chain(*files).copied().collect();
            let root = tree(name, &files);
            assert_eq!(memory_under(&root), *bytes, "{name}");
            fs::remove_dir_all(root).unwrap();
        }
        assert_eq!(memory_under(Path::new("/nowhere")), FALLBACK_BYTES);
        assert!(memory_bytes() > 1 << 20);
        assert!(cores() >= 1);
    }

    #[test]
    fn room_leaves_something_for_the_server() {
        assert_eq!(room(20_000), 20_000 - RESERVED_FILES as u32);
        assert_eq!(room(1024), 512);
        assert_eq!(allow_clients(1), Ok(()));
    }
}
