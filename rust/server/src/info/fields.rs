//! The figures of INFO: one line each.

use forgekv_base::number::format_f64;

use super::{
    Line, REDIS_VERSION, Section, Shown, Snapshot, VERSION, human, process, system_memory,
};

fn none(_: &Snapshot<'_>) -> Vec<Line> {
    Vec::new()
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

// One line a figure, however long.
#[rustfmt::skip]
pub(super) const SECTIONS: &[Section] = &[
    Section { title: "Server", shown: Shown::Always, lines: none, figures: &[
        ("redis_version", |_| REDIS_VERSION.into()),
        ("forgekv_version", |_| VERSION.into()),
        ("redis_git_sha1", |_| "00000000".into()),
        ("redis_git_dirty", |_| false.into()),
        ("redis_mode", |_| "standalone".into()),
        ("os", |_| process::system().into()),
        ("arch_bits", |_| usize::BITS.into()),
        ("monotonic_clock", |_| "POSIX clock_gettime".into()),
        ("multiplexing_api", |_| "epoll".into()),
        ("process_id", |_| std::process::id().into()),
        ("process_supervised", |s| s.config.supervised.name().into()),
        ("run_id", |s| s.identity.run_id.as_str().into()),
        ("tcp_port", |s| s.config.port.into()),
        ("server_time_usec", |s| s.now_us.into()),
        ("uptime_in_seconds", |s| s.uptime_s().into()),
        ("uptime_in_days", |s| (s.uptime_s() / 86_400).into()),
        ("hz", |s| s.config.hz.into()),
        ("configured_hz", |s| s.config.hz.into()),
        ("io_threads_active", |_| false.into()),
        ("worker_threads", |s| s.config.workers().into()),
        ("executable", |s| s.identity.executable.display().to_string().into()),
        ("config_file", |s| s.identity.config_file.as_ref().map_or(String::new(), |path| path.display().to_string()).into()),
    ]},
    Section { title: "Clients", shown: Shown::Always, lines: none, figures: &[
        ("connected_clients", |s| s.clients.connected.into()),
        ("cluster_connections", |_| 0u64.into()),
        ("maxclients", |s| s.config.maxclients.into()),
        ("client_recent_max_input_buffer", |s| s.clients.max_input_buffer.into()),
        ("client_recent_max_output_buffer", |s| s.clients.max_output_buffer.into()),
        ("blocked_clients", |s| s.clients.blocked.into()),
        ("tracking_clients", |s| s.clients.tracking.into()),
        ("pubsub_clients", |s| s.clients.pubsub.into()),
        ("total_blocking_keys", |s| s.clients.blocking_keys.0.into()),
        ("total_blocking_keys_on_nokey", |s| s.clients.blocking_keys.1.into()),
        ("paused_clients", |s| s.clients.paused.into()),
    ]},
    Section { title: "Memory", shown: Shown::Always, lines: none, figures: &[
        ("used_memory", |s| s.memory.allocator.allocated.into()),
        ("used_memory_human", |s| human(s.memory.allocator.allocated).into()),
        ("used_memory_rss", |_| process::resident_bytes().0.into()),
        ("used_memory_rss_human", |_| process::resident_bytes().0.map(human).into()),
        ("used_memory_rss_anonymous", |_| process::resident_bytes().1.into()),
        ("used_memory_peak", |s| s.memory.peak.into()),
        ("used_memory_peak_human", |s| human(s.memory.peak).into()),
        ("used_memory_peak_perc", |s| format!("{:.2}%", 100.0 * ratio(s.memory.allocator.allocated, s.memory.peak)).into()),
        ("used_memory_overhead", |s| s.overhead().into()),
        ("used_memory_startup", |s| s.memory.startup.into()),
        ("used_memory_dataset", |s| s.dataset().into()),
        ("used_memory_dataset_perc", |s| format!("{:.2}%", 100.0 * ratio(s.dataset(), s.memory.allocator.allocated.saturating_sub(s.memory.startup)).min(1.0)).into()),
        ("allocator_allocated", |s| s.memory.allocator.allocated.into()),
        ("allocator_active", |s| s.memory.allocator.active.into()),
        ("allocator_resident", |s| s.memory.allocator.resident.into()),
        ("allocator_retained", |s| s.memory.allocator.retained.into()),
        ("allocator_frag_ratio", |s| format!("{:.2}", ratio(s.memory.allocator.active, s.memory.allocator.allocated)).into()),
        ("allocator_frag_bytes", |s| s.memory.allocator.active.saturating_sub(s.memory.allocator.allocated).into()),
        ("allocator_rss_ratio", |s| format!("{:.2}", ratio(s.memory.allocator.resident, s.memory.allocator.active)).into()),
        ("allocator_rss_bytes", |s| s.memory.allocator.resident.saturating_sub(s.memory.allocator.active).into()),
        ("rss_overhead_ratio", |s| process::resident_bytes().0.map(|rss| format!("{:.2}", ratio(rss, s.memory.allocator.resident))).into()),
        ("rss_overhead_bytes", |s| process::resident_bytes().0.map(|rss| rss as i64 - s.memory.allocator.resident as i64).into()),
        ("mem_fragmentation_ratio", |s| process::resident_bytes().0.map(|rss| format!("{:.2}", ratio(rss, s.memory.allocator.allocated))).into()),
        ("mem_fragmentation_bytes", |s| process::resident_bytes().0.map(|rss| rss as i64 - s.memory.allocator.allocated as i64).into()),
        ("total_system_memory", |_| system_memory().into()),
        ("total_system_memory_human", |_| human(system_memory()).into()),
        ("used_memory_lua", |s| s.scripting.vm_bytes.into()),
        ("used_memory_vm_total", |s| s.scripting.vm_bytes.into()),
        ("used_memory_scripts_eval", |s| s.scripting.cached_bytes.into()),
        ("used_memory_functions", |s| s.scripting.library_bytes.into()),
        ("number_of_cached_scripts", |s| s.scripting.cached.into()),
        ("number_of_functions", |s| s.scripting.functions.into()),
        ("number_of_libraries", |s| s.scripting.libraries.into()),
        ("maxmemory", |s| s.config.maxmemory.into()),
        ("maxmemory_human", |s| human(s.config.maxmemory).into()),
        ("maxmemory_effective", |s| s.budget().into()),
        ("maxmemory_effective_human", |s| human(s.budget()).into()),
        ("maxmemory_policy", |s| s.config.maxmemory_policy.name().into()),
        ("mem_memtables", |s| s.storage.engine.memtable_bytes.into()),
        ("mem_hot_records", |s| s.storage.engine.hot_bytes.into()),
        ("mem_block_cache", |s| s.storage.engine.block_bytes.into()),
        ("mem_filters_and_indexes", |s| s.storage.engine.index_bytes.into()),
        ("mem_not_counted_for_evict", |_| 0u64.into()),
        ("mem_replication_backlog", |_| 0u64.into()),
        ("mem_total_replication_buffers", |_| 0u64.into()),
        ("mem_clients_slaves", |_| 0u64.into()),
        ("mem_cluster_links", |_| 0u64.into()),
        ("mem_aof_buffer", |s| s.storage.log_appended.saturating_sub(s.storage.log_written).into()),
        ("mem_clients_normal", |s| s.clients.buffer_bytes.into()),
        ("mem_allocator", |s| s.allocator.name().into()),
        ("active_defrag_running", |_| 0u64.into()),
        ("lazyfree_pending_objects", |_| 0u64.into()),
        ("lazyfreed_objects", |s| s.totals.lazyfreed_objects.into()),
    ]},
    Section { title: "Persistence", shown: Shown::Always, lines: none, figures: &[
        ("loading", |_| false.into()),
        ("async_loading", |_| false.into()),
        ("current_cow_peak", |_| 0u64.into()),
        ("current_cow_size", |_| 0u64.into()),
        ("current_cow_size_age", |_| 0u64.into()),
        ("rdb_changes_since_last_save", |s| s.saves.changes.into()),
        ("rdb_bgsave_in_progress", |s| s.saves.in_background.into()),
        ("rdb_last_save_time", |s| s.saves.last_s.into()),
        ("rdb_last_bgsave_status", |s| if s.saves.last_failed { "err" } else { "ok" }.into()),
        ("rdb_last_bgsave_time_sec", |s| s.saves.last_took_s.map_or(-1, |s| s as i64).into()),
        ("rdb_current_bgsave_time_sec", |s| s.saves.running_s.map_or(-1, |s| s as i64).into()),
        ("rdb_saves", |s| s.saves.done.into()),
        ("rdb_last_cow_size", |_| 0u64.into()),
        ("current_save_keys_processed", |s| s.saves.keys.into()),
        ("aof_enabled", |_| true.into()),
        ("aof_rewrite_in_progress", |s| s.rewrites.running_s.is_some().into()),
        ("aof_rewrite_scheduled", |_| false.into()),
        ("aof_last_rewrite_time_sec", |s| s.rewrites.last_took_s.map_or(-1, |s| s as i64).into()),
        ("aof_current_rewrite_time_sec", |s| s.rewrites.running_s.map_or(-1, |s| s as i64).into()),
        ("aof_last_bgrewrite_status", |s| if s.rewrites.last_failed { "err" } else { "ok" }.into()),
        ("aof_last_cow_size", |_| 0u64.into()),
        ("aof_current_size", |s| s.storage.engine.log_bytes.into()),
        ("aof_pending_rewrite", |_| 0u64.into()),
        ("aof_buffer_length", |s| s.storage.log_appended.saturating_sub(s.storage.log_written).into()),
        ("module_fork_in_progress", |_| 0u64.into()),
        ("module_fork_last_cow_size", |_| 0u64.into()),
        ("aof_last_write_status", |s| if s.storage.log_failed { "err" } else { "ok" }.into()),
        ("wal_sync_mode", |s| s.config.wal_sync_mode.name().into()),
        ("wal_bytes", |s| s.storage.engine.log_bytes.into()),
        ("wal_position", |s| s.storage.log_appended.into()),
        ("wal_unwritten_bytes", |s| s.storage.log_appended.saturating_sub(s.storage.log_written).into()),
        ("wal_unsynced_bytes", |s| s.storage.log_appended.saturating_sub(s.storage.log_synced).into()),
        ("wal_failed", |s| s.storage.log_failed.into()),
    ]},
    Section { title: "Storage", shown: Shown::Always, lines: none, figures: &[
        ("tables", |s| s.storage.engine.tables.into()),
        ("table_bytes", |s| s.storage.engine.table_bytes.into()),
        ("level0_tables", |s| s.storage.engine.level0_tables.into()),
        ("flushes", |s| s.storage.engine.flushes.into()),
        ("flushed_bytes", |s| s.storage.engine.flushed_bytes.into()),
        ("compactions", |s| s.storage.engine.compactions.into()),
        ("compacted_bytes", |s| s.storage.engine.compacted_bytes.into()),
        ("background_errors", |s| s.storage.engine.background_errors.into()),
        ("write_delay_usec", |s| s.storage.write_delay_us.into()),
        ("low_on_space", |s| s.storage.low_on_space.into()),
        ("hot_records", |s| s.storage.engine.hot_records.into()),
        ("reads_hot", |s| s.storage.engine.reads.hot.into()),
        ("reads_filtered", |s| s.storage.engine.reads.filtered.into()),
        ("reads_block_cache", |s| s.storage.engine.reads.block.into()),
        ("reads_cold", |s| s.storage.engine.reads.cold.into()),
        ("cold_commands", |s| s.totals.cold_commands.into()),
        ("unsettled_keys", |s| s.storage.engine.unsettled.into()),
    ]},
    Section { title: "Stats", shown: Shown::Always, lines: none, figures: &[
        ("total_connections_received", |s| s.totals.connections_received.into()),
        ("total_commands_processed", |s| s.totals.commands_processed.into()),
        ("instantaneous_ops_per_sec", |s| (s.rates.commands.round() as u64).into()),
        ("total_net_input_bytes", |s| s.totals.net_input_bytes.into()),
        ("total_net_output_bytes", |s| s.totals.net_output_bytes.into()),
        ("total_net_repl_input_bytes", |_| 0u64.into()),
        ("total_net_repl_output_bytes", |_| 0u64.into()),
        ("instantaneous_input_kbps", |s| format!("{:.2}", s.rates.input_bytes / 1024.0).into()),
        ("instantaneous_output_kbps", |s| format!("{:.2}", s.rates.output_bytes / 1024.0).into()),
        ("instantaneous_input_repl_kbps", |_| "0.00".into()),
        ("instantaneous_output_repl_kbps", |_| "0.00".into()),
        ("rejected_connections", |s| s.totals.rejected_connections.into()),
        ("sync_full", |_| 0u64.into()),
        ("sync_partial_ok", |_| 0u64.into()),
        ("sync_partial_err", |_| 0u64.into()),
        ("expired_keys", |s| s.totals.expired_keys.into()),
        ("evicted_keys", |_| 0u64.into()),
        ("evicted_clients", |s| s.clients.evicted.into()),
        ("total_eviction_exceeded_time", |_| 0u64.into()),
        ("current_eviction_exceeded_time", |_| 0u64.into()),
        ("keyspace_hits", |s| s.totals.keyspace_hits.into()),
        ("keyspace_misses", |s| s.totals.keyspace_misses.into()),
        ("pubsub_channels", |s| s.clients.pubsub_channels.into()),
        ("pubsub_patterns", |s| s.clients.pubsub_patterns.into()),
        ("pubsubshard_channels", |s| s.clients.pubsub_shard_channels.into()),
        ("latest_fork_usec", |_| 0u64.into()),
        ("total_forks", |_| 0u64.into()),
        ("tracking_total_keys", |s| s.clients.tracking_keys.into()),
        ("tracking_total_items", |s| s.clients.tracking_items.into()),
        ("tracking_total_prefixes", |s| s.clients.tracking_prefixes.into()),
        ("migrate_cached_sockets", |_| 0u64.into()),
        ("slave_expires_tracked_keys", |_| 0u64.into()),
        ("active_defrag_hits", |_| 0u64.into()),
        ("active_defrag_misses", |_| 0u64.into()),
        ("active_defrag_key_hits", |_| 0u64.into()),
        ("active_defrag_key_misses", |_| 0u64.into()),
        ("unexpected_error_replies", |_| 0u64.into()),
        ("total_error_replies", |s| s.totals.error_replies.into()),
        ("total_reads_processed", |s| s.totals.reads_processed.into()),
        ("total_writes_processed", |s| s.totals.writes_processed.into()),
        ("acl_access_denied_auth", |s| s.denials.auth.into()),
        ("acl_access_denied_cmd", |s| s.denials.commands.into()),
        ("acl_access_denied_key", |s| s.denials.keys.into()),
        ("acl_access_denied_channel", |s| s.denials.channels.into()),
    ]},
    Section { title: "Replication", shown: Shown::Always, lines: none, figures: &[
        ("role", |_| "master".into()),
        ("connected_slaves", |_| 0u64.into()),
        ("master_failover_state", |_| "no-failover".into()),
        ("master_replid", |s| s.identity.replication_id.as_str().into()),
        ("master_replid2", |_| "0".repeat(40).into()),
        ("master_repl_offset", |s| s.storage.log_appended.into()),
        ("second_repl_offset", |_| (-1i64).into()),
        ("repl_backlog_active", |_| 0u64.into()),
        ("repl_backlog_size", |_| 0u64.into()),
        ("repl_backlog_first_byte_offset", |_| 0u64.into()),
        ("repl_backlog_histlen", |_| 0u64.into()),
    ]},
    Section { title: "CPU", shown: Shown::Always, lines: none, figures: &[
        ("used_cpu_sys", |_| seconds(process::cpu_times(false).system_us).into()),
        ("used_cpu_user", |_| seconds(process::cpu_times(false).user_us).into()),
        ("used_cpu_sys_children", |_| seconds(process::cpu_times(true).system_us).into()),
        ("used_cpu_user_children", |_| seconds(process::cpu_times(true).user_us).into()),
    ]},
    Section { title: "Modules", shown: Shown::Always, lines: none, figures: &[] },
    Section { title: "Commandstats", shown: Shown::All, lines: commandstats, figures: &[] },
    Section { title: "Errorstats", shown: Shown::Always, lines: errorstats, figures: &[] },
    Section { title: "Latencystats", shown: Shown::All, lines: latencystats, figures: &[] },
    Section { title: "Cluster", shown: Shown::Always, lines: none, figures: &[
        ("cluster_enabled", |_| false.into()),
    ]},
    Section { title: "Keyspace", shown: Shown::Always, lines: keyspace, figures: &[] },
];

fn commandstats(s: &Snapshot<'_>) -> Vec<Line> {
    let used = s.totals.commands.iter().enumerate();
    let used = used.filter(|(_, of)| of.calls + of.rejected + of.failed > 0);
    used.map(|(number, of)| {
        let usec = of.nanos / 1000;
        let each = ratio(of.nanos, of.calls) / 1000.0;
        (
            format!("cmdstat_{}", (s.command_name)(number)),
            format!(
                "calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                of.calls, of.rejected, of.failed
            ),
        )
    })
    .collect()
}

fn errorstats(s: &Snapshot<'_>) -> Vec<Line> {
    let errors = s.totals.errors.iter();
    errors.map(|(word, count)| (format!("errorstat_{word}"), format!("count={count}"))).collect()
}

fn latencystats(s: &Snapshot<'_>) -> Vec<Line> {
    if !s.config.latency_tracking {
        return Vec::new();
    }
    let used = s.totals.commands.iter().enumerate().filter(|(_, of)| of.latency.total() > 0);
    used.map(|(number, of)| {
        let percentiles = s.config.latency_tracking_info_percentiles.0.iter().map(|percent| {
            let mut text = b"p".to_vec();
            format_f64(*percent, &mut text);
            let usec = of.latency.percentile(*percent) as f64 / 1000.0;
            format!("{}={usec:.3}", String::from_utf8_lossy(&text))
        });
        (
            format!("latency_percentiles_usec_{}", (s.command_name)(number)),
            percentiles.collect::<Vec<_>>().join(","),
        )
    })
    .collect()
}

fn keyspace(s: &Snapshot<'_>) -> Vec<Line> {
    let databases = s.keyspace.iter().filter(|database| database.keys > 0);
    databases
        .map(|database| {
            let crate::info::Database { index, keys, expires, avg_ttl_ms } = database;
            (format!("db{index}"), format!("keys={keys},expires={expires},avg_ttl={avg_ttl_ms}"))
        })
        .collect()
}
