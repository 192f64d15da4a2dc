use super::*;
use std::collections::{BTreeMap, HashSet};

struct Fixed;

impl Allocator for Fixed {
    fn name(&self) -> String {
        "fixed-1".into()
    }

    fn figures(&self) -> AllocatorFigures {
        AllocatorFigures { allocated: 2048, active: 4096, resident: 8192, retained: 0 }
    }

    fn purge(&self) -> Result<(), String> {
        Ok(())
    }

    fn keep_freed(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn report(&self) -> Result<String, String> {
        Ok(String::new())
    }
}

fn with(totals: &Totals, ask: &[&str]) -> String {
    let config = Config { maxmemory: 1 << 30, ..Config::default() };
    let identity = Identity::new("r".repeat(40), None, 1_000_000);
    let watch = MemoryWatch::default();
    let snapshot = Snapshot {
        now_us: 90_000_000_000,
        config: &config,
        identity: &identity,
        totals,
        rates: Rates { commands: 12.4, input_bytes: 2048.0, output_bytes: 0.0 },
        clients: Clients { connected: 3, ..Clients::default() },
        scripting: Scripting::default(),
        storage: Storage { log_appended: 100, log_synced: 90, ..Storage::default() },
        saves: Saves { changes: 4, ..Saves::default() },
        denials: Denials { keys: 3, ..Denials::default() },
        rewrites: Rewrites { last_took_s: Some(3), ..Rewrites::default() },
        keyspace: &[
            Database { index: 0, keys: 5, expires: 2, avg_ttl_ms: 77 },
            Database { index: 3, keys: 0, expires: 0, avg_ttl_ms: 0 },
            Database { index: 9, keys: 1, expires: 0, avg_ttl_ms: 0 },
        ],
        allocator: &Fixed,
        memory: watch.look(&Fixed),
        command_name: &|number| ["get", "config|get"][number].into(),
    };
    let ask: Vec<&[u8]> = ask.iter().map(|name| name.as_bytes()).collect();
    info(&snapshot, &ask)
}

fn titles(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# ")).collect()
}

fn figures(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).collect()
}

#[test]
fn sections_are_chosen_as_in_redis() {
    let totals = Totals::default();
    let usual = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Storage",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ];
    assert_eq!(titles(&with(&totals, &[])), usual);
    assert_eq!(titles(&with(&totals, &["default"])), usual);
    assert_eq!(titles(&with(&totals, &["all"])).len(), usual.len() + 2);
    assert_eq!(titles(&with(&totals, &["everything"])).len(), usual.len() + 2);
    assert_eq!(titles(&with(&totals, &["KEYSPACE", "cpu", "nope"])), ["CPU", "Keyspace"]);
    assert_eq!(titles(&with(&totals, &["commandstats", "default"])).len(), usual.len() + 1);
    assert_eq!(with(&totals, &["nope"]), "");
    assert_eq!(with(&totals, &["cluster"]), "# Cluster\r\ncluster_enabled:0\r\n");
    let text = with(&totals, &["cluster", "modules"]);
    assert_eq!(text, "# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n");
}

#[test]
fn names_are_unique_and_values_are_there() {
    let mut seen = HashSet::new();
    for section in fields::SECTIONS {
        for (name, _) in section.figures {
            assert!(seen.insert(name), "{name} is twice in the table");
        }
    }
    let text = with(&Totals::default(), &[]);
    let figures = figures(&text);
    for (name, value) in [
        ("redis_version", "7.2.5"),
        ("uptime_in_seconds", "89999"),
        ("uptime_in_days", "1"),
        ("connected_clients", "3"),
        ("used_memory", "2048"),
        ("used_memory_human", "2.00K"),
        ("used_memory_peak_perc", "100.00%"),
        ("allocator_frag_ratio", "2.00"),
        ("maxmemory_human", "1.00G"),
        ("maxmemory_effective", "1073741824"),
        ("wal_unsynced_bytes", "10"),
        ("rdb_changes_since_last_save", "4"),
        ("instantaneous_ops_per_sec", "12"),
        ("instantaneous_input_kbps", "2.00"),
        ("role", "master"),
        ("master_repl_offset", "100"),
        ("db0", "keys=5,expires=2,avg_ttl=77"),
        ("db9", "keys=1,expires=0,avg_ttl=0"),
    ] {
        assert_eq!(figures.get(name), Some(&value), "{name}");
    }
    assert_eq!(figures["run_id"].len(), 40);
    for unknown in ["db3", "blocked_clients"] {
        assert!(!figures.contains_key(unknown), "{unknown}");
    }
}

#[test]
fn commands_and_errors_have_a_line_each() {
    let stats = Stats::new(1, 2);
    let worker = stats.worker(0).unwrap();
    worker.call(1, 1_500, false, true);
    worker.call(1, 2_500, true, true);
    worker.error(b"-WRONGTYPE Operation");
    let totals = stats.totals();
    let text = with(&totals, &["commandstats", "errorstats", "latencystats"]);
    let figures = figures(&text);
    assert_eq!(
        figures["cmdstat_config|get"],
        "calls=2,usec=4,usec_per_call=2.00,rejected_calls=0,failed_calls=1"
    );
    assert_eq!(figures["errorstat_WRONGTYPE"], "count=1");
    assert_eq!(figures["latency_percentiles_usec_config|get"], "p50=1.503,p99=2.559,p99.9=2.559");
    assert_eq!(figures.len(), 3);
}

#[test]
fn bytes_read_like_those_of_redis() {
    for (bytes, text) in [
        (0, "0B"),
        (1023, "1023B"),
        (941_072, "919.02K"),
        (12_099_584, "11.54M"),
        (25_276_510_208, "23.54G"),
    ] {
        assert_eq!(human(bytes), text);
    }
}

#[test]
fn the_peak_is_remembered_until_reset() {
    struct Moving(AtomicU64);
    impl Allocator for Moving {
        fn name(&self) -> String {
            String::new()
        }
        fn figures(&self) -> AllocatorFigures {
            AllocatorFigures { allocated: self.0.load(Relaxed), ..AllocatorFigures::default() }
        }
        fn purge(&self) -> Result<(), String> {
            Ok(())
        }
        fn keep_freed(&self, _: u64) -> Result<(), String> {
            Ok(())
        }

        fn report(&self) -> Result<String, String> {
            Ok(String::new())
        }
    }
    let (watch, moving) = (MemoryWatch::default(), Moving(AtomicU64::new(10)));
    watch.started(&moving);
    moving.0.store(50, Relaxed);
    assert_eq!(watch.look(&moving).peak, 50);
    moving.0.store(20, Relaxed);
    let memory = watch.look(&moving);
    assert_eq!((memory.peak, memory.startup, memory.allocator.allocated), (50, 10, 20));
    watch.reset(&moving);
    assert_eq!(watch.look(&moving).peak, 20);
}
