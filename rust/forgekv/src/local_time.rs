//! The time of day where the server stands, for the log.
#![expect(unsafe_code, reason = "std knows no time zones; localtime_r does")]

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment, given in microseconds since the epoch, as `20 Nov 2026 11:39:16.115`.
pub(crate) fn stamp(us: u64) -> String {
    let seconds = (us / 1_000_000) as libc::time_t;
    // SAFETY: a tm of zeros is a valid value of that plain C struct.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither. Nothing in this
    // process changes the environment while threads run, which is what it reads the zone from.
    let found = unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    if found.is_null() {
        return format!("{}.{:03}", us / 1_000_000, us / 1000 % 1000);
    }
    format!(
        "{:02} {} {} {:02}:{:02}:{:02}.{:03}",
        tm.tm_mday,
        MONTHS[tm.tm_mon.rem_euclid(12) as usize],
        tm.tm_year + 1900,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        us / 1000 % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_like_a_line_of_redis() {
        // Noon in London is the same day in every zone but those beyond +11:59.
        let text = stamp(1_795_176_000_123_456);
        assert!(text.contains(" Nov 2026 ") && text.ends_with(":00.123"), "{text}");
        assert_eq!(text.len(), "20 Nov 2026 11:39:16.115".len());
    }
}
