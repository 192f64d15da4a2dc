//! Values that are taken but do not do what their reader may think.

use super::{Config, Policy};

pub(super) fn advice(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let defaults = Config::default();
    for (is_chosen, name, what) in [(
        config.busy_reply_threshold != defaults.busy_reply_threshold,
        "busy-reply-threshold",
        "there are no scripts",
    )] {
        if is_chosen {
            lines.push(format!("{name} has no effect: {what}"));
        }
    }
    if config.maxmemory_policy != Policy::NoEviction {
        lines.push(format!(
            "maxmemory-policy {} evicts nothing: data that does not fit into maxmemory is kept on \
             disk",
            config.maxmemory_policy.name()
        ));
    }
    if config.is_below_floor() {
        lines.push(format!(
            "maxmemory {} is less than the {} MiB that the server needs: commands that may make \
             the data larger are refused",
            config.maxmemory,
            config.memory_budget() >> 20
        ));
    }
    let asked = config.memtable_size_mb << 20;
    let is_chosen = config.memtable_size_mb != defaults.memtable_size_mb;
    if is_chosen && config.memtable_bytes() < asked {
        lines.push(format!(
            "memtable_size_mb {} is more than a quarter of the memory budget of {} MiB: {} MiB \
             are used",
            config.memtable_size_mb,
            config.memory_budget() >> 20,
            config.memtable_bytes() >> 20
        ));
    }
    if config.wal_size_mb < 2 * config.wal_segment_size_mb {
        lines.push(format!(
            "wal_size_mb {} is less than two segments of wal_segment_size_mb {}: the log will be \
             larger than that",
            config.wal_size_mb, config.wal_segment_size_mb
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_no_advice() {
        assert_eq!(advice(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn each_surprise_is_one_line() {
        let config = Config {
            maxmemory: 64 << 20,
            memtable_size_mb: 100,
            maxmemory_policy: Policy::AllkeysLru,
            wal_size_mb: 64,
            ..Config::default()
        };
        let lines = advice(&config);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("maxmemory-policy allkeys-lru evicts nothing"));
        let lines_of = |maxmemory| advice(&Config { maxmemory, ..Config::default() });
        assert!(lines_of(1)[0].starts_with("maxmemory 1 is less than the 16 MiB"));
        assert_eq!(lines_of(16 << 20), Vec::<String>::new());
        assert!(lines[1].ends_with("of 64 MiB: 16 MiB are used"), "{}", lines[1]);
    }
}
