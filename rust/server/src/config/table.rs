//! The directives: one row each. The configuration file, the flags, CONFIG GET, SET and REWRITE
//! are derived from these rows and know no directive by name.
//!
//! What a row is, and the three sorts there are, is said in [`directive`](super::directive).

use super::choice::{
    ChannelsByDefault, ClientCertificates, LogLevel, OomScoreAdj, Policy, Protection, Supervised,
    WalSyncMode,
};
use super::directive::{Change, Directive, Inert, Part, Role};
use super::share::Share;
use super::tls::{CipherSuites, TlsProtocols};
use super::value::{Events, Kind, OomScores, OutputLimits, Percentiles, Value};

/// Whether two spellings name one directive: case does not matter, nor `_` for `-`.
pub(crate) fn same_name(a: &[u8], b: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(fold).eq(b.iter().map(fold))
}

/// Every row.
pub(crate) fn rows() -> impl Iterator<Item = &'static Directive> {
    LIVE.iter().chain(OTHERS)
}

/// The row that `name` names.
pub(crate) fn find(name: &[u8]) -> Option<&'static Directive> {
    rows().find(|row| row.names().any(|known| same_name(known.as_bytes(), name)))
}

macro_rules! directives {
    ($(
        $(#[$doc:meta])*
        $name:literal $(| $alias:literal)* => $field:ident: $ty:ty = $default:expr,
            $kind:expr, $change:expr;
    )*) => {
        /// Everything the server is told from outside, as one value. A running server replaces it
        /// whole; see [`Handle`](super::Handle).
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[$doc])* pub $field: $ty,)*
            /// `rename-command`: the name in lower case, and the new one (empty: no name at all).
            pub rename_commands: Vec<(Vec<u8>, Vec<u8>)>,
            /// `user`: the words of each line, the user's name first.
            pub users: Vec<Vec<Vec<u8>>>,
            /// What was said to directives without effect.
            pub inert: Inert,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    rename_commands: Vec::new(),
                    users: Vec::new(),
                    inert: Inert::default(),
                }
            }
        }

        const LIVE: &[Directive] = &[
            $(Directive {
                name: $name,
                aliases: &[$($alias),*],
                kind: $kind,
                change: $change,
                role: Role::Live {
                    get: |config| config.$field.get(&$kind),
                    set: |config, args| config.$field.set(args, &$kind),
                },
            },)*
        ];
    };
}

use Change::{Fixed, FixedProtected, Free, Protected, Tell};
use Kind::{
    Bool, Bytes, BytesOrPercent, Choice, Clamped, Flags, Int, Ints, Octal, Save, Secret, Text,
    Words,
};

const MIB: u64 = 1 << 20;
const MAX: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;
const SIZE: Kind = Bytes(0, MAX as u64);

directives! {
    // ---- Network ----
    /// The addresses to listen on; `-` before one: no error if it is not there. `*` is all of IPv4,
    /// `::*` all of IPv6.
    "bind" => bind: Vec<String> = vec!["*".into(), "-::*".into()], Words, Tell(Part::Listeners);
    /// The TCP port; 0: none.
    "port" => port: u16 = 6379, Int(0, 65535), Tell(Part::Listeners);
    /// The path of a unix socket; empty: none.
    "unixsocket" => unixsocket: String = String::new(), Text, Fixed;
    /// The permissions of the unix socket; 0: as the umask says.
    "unixsocketperm" => unixsocketperm: u32 = 0, Octal(0o777), Fixed;
    /// How many connections may wait to be accepted.
    "tcp-backlog" => tcp_backlog: u32 = 511, Int(0, INT), Fixed;
    /// Seconds between keepalive probes; 0: none.
    "tcp-keepalive" => tcp_keepalive: u32 = 300, Int(0, INT), Free;
    /// Seconds after which an idle client is closed; 0: never.
    "timeout" => timeout: u32 = 0, Int(0, INT), Free;
    /// How many clients there may be at once.
    "maxclients" => maxclients: u32 = 10_000, Int(1, u32::MAX as i64), Tell(Part::Clients);
    /// Whether a server without a password refuses other machines.
    "protected-mode" => protected_mode: bool = true, Bool, Free;
    /// The password of the default user; empty: none.
    "requirepass" => requirepass: Vec<u8> = Vec::new(), Secret, Tell(Part::Users);
    /// The file of the users; empty: they are in the configuration.
    "aclfile" => aclfile: String = String::new(), Text, Fixed;
    /// The channels of a new user.
    "acl-pubsub-default" => acl_pubsub_default: ChannelsByDefault = ChannelsByDefault::Resetchannels,
        Choice(ChannelsByDefault::NAMES), Free;
    /// How many refusals ACL LOG holds.
    "acllog-max-len" => acllog_max_len: u64 = 128, Int(0, MAX), Free;

    // ---- TLS ----
    /// The port of encrypted connections; 0: none.
    "tls-port" => tls_port: u16 = 0, Int(0, 65535), Tell(Part::Listeners);
    /// The file of the server's certificate, and of those between it and its authority.
    "tls-cert-file" => tls_cert_file: String = String::new(), Text, Tell(Part::Tls);
    /// The file of its key.
    "tls-key-file" => tls_key_file: String = String::new(), Text, Tell(Part::Tls);
    /// The file of the authorities from which certificates of clients come.
    "tls-ca-cert-file" => tls_ca_cert_file: String = String::new(), Text, Tell(Part::Tls);
    /// A directory of such files.
    "tls-ca-cert-dir" => tls_ca_cert_dir: String = String::new(), Text, Tell(Part::Tls);
    /// Whether clients have to show a certificate.
    "tls-auth-clients" => tls_auth_clients: ClientCertificates = ClientCertificates::Yes,
        Choice(ClientCertificates::NAMES), Tell(Part::Tls);
    /// Which versions of TLS are offered; empty: all that are safe.
    "tls-protocols" => tls_protocols: TlsProtocols = TlsProtocols::default(), Words, Tell(Part::Tls);
    /// Cipher suites of TLS 1.2.
    "tls-ciphers" => tls_ciphers: CipherSuites = CipherSuites::default(),
        Kind::Ciphers(crate::tls::SUITES_12), Tell(Part::Tls);
    /// Cipher suites of TLS 1.3.
    "tls-ciphersuites" => tls_ciphersuites: CipherSuites = CipherSuites::default(),
        Kind::Ciphers(crate::tls::SUITES_13), Tell(Part::Tls);
    /// Whether the order of the server's suites counts, not of the client's.
    "tls-prefer-server-ciphers" => tls_prefer_server_ciphers: bool = false, Bool, Tell(Part::Tls);
    /// Whether a client that comes again can go on with its session.
    "tls-session-caching" => tls_session_caching: bool = true, Bool, Tell(Part::Tls);
    /// How many sessions are remembered for that.
    "tls-session-cache-size" => tls_session_cache_size: u32 = 20_480, Int(0, INT), Tell(Part::Tls);

    // ---- Limits of the protocol ----
    /// The longest string, in bytes.
    "proto-max-bulk-len" => proto_max_bulk_len: u64 = 512 * MIB, Bytes(MIB, MAX as u64), Free;
    /// How many bytes of commands a client may have waiting.
    "client-query-buffer-limit" => client_query_buffer_limit: u64 = 1024 * MIB, Bytes(MIB, MAX as u64), Free;
    /// How many bytes of replies a client may leave unread.
    "client-output-buffer-limit" => client_output_buffer_limit: OutputLimits = OutputLimits::default(),
        Kind::OutputLimits, Free;

    // ---- Storage ----
    /// The directory that holds everything.
    "dir" => dir: String = "./data".into(), Text, FixedProtected;
    /// How many databases SELECT can choose from.
    "databases" => databases: u32 = 16, Int(1, INT), Fixed;
    /// When a write is on stable storage.
    "wal_sync_mode" => wal_sync_mode: WalSyncMode = WalSyncMode::EverySecond,
        Choice(WalSyncMode::NAMES), Tell(Part::Durability);
    /// Fresh writes kept in memory, over all shards, in MiB; a part of `maxmemory`.
    "memtable_size_mb" => memtable_size_mb: u64 = 512, Int(1, 1 << 30), Tell(Part::Memory);
    /// All memory together, in bytes; 0: a share of what the machine or container has.
    "maxmemory" => maxmemory: u64 = 0, SIZE, Tell(Part::Memory);
    /// What all clients may take together, in bytes or as a part of `maxmemory`; 0: no bound.
    "maxmemory-clients" => maxmemory_clients: Share = Share::Bytes(0), BytesOrPercent, Tell(Part::ClientMemory);
    /// What may be evicted.
    "maxmemory-policy" => maxmemory_policy: Policy = Policy::NoEviction, Choice(Policy::NAMES), Free;
    /// For OBJECT FREQ under a policy that counts uses: how fast counts stop to rise.
    "lfu-log-factor" => lfu_log_factor: u32 = 10, Int(0, INT), Free;
    /// The same: after how many minutes without use they fall by one.
    "lfu-decay-time" => lfu_decay_time: u32 = 1, Int(0, INT), Free;
    /// The uncompressed size of a block of a table, in bytes.
    "block_size" => block_size: u32 = 4096, Bytes(1024, 65536), Fixed;
    /// The size of one segment of the log, in MiB.
    "wal_segment_size_mb" => wal_segment_size_mb: u64 = 64, Int(1, 1024), Fixed;
    /// The size that the log is kept under, in MiB.
    "wal_size_mb" => wal_size_mb: u64 = 1024, Int(2, 1 << 30), Fixed;
    /// Free disk that only deletes and compactions may use, in MiB.
    "disk_reserve_mb" => disk_reserve_mb: u64 = 64, Int(0, 1 << 30), Fixed;
    /// Whether io_uring is tried for cold reads.
    "io_uring" => io_uring: bool = true, Bool, Fixed;
    /// The file that SAVE and BGSAVE write, in `dir`.
    "dbfilename" => dbfilename: String = "dump.rdb".into(), Kind::FileName, Protected;
    /// Whether strings in it are compressed.
    "rdbcompression" => rdbcompression: bool = true, Bool, Free;
    /// Whether it ends with a checksum.
    "rdbchecksum" => rdbchecksum: bool = true, Bool, Fixed;
    /// Workers that serve clients; 0: one a core.
    "threads" => threads: usize = 0, Int(0, 1024), Fixed;
    /// Threads for flushes and compactions.
    "background_threads" => background_threads: usize = 2, Int(1, 256), Fixed;

    // ---- Process ----
    /// The least important thing that is logged.
    "loglevel" => loglevel: LogLevel = LogLevel::Notice, Choice(LogLevel::NAMES), Tell(Part::Logging);
    /// The file that is logged to; empty: standard output.
    "logfile" => logfile: String = String::new(), Text, Fixed;
    /// Whether Redis would go to the background; here it stays.
    "daemonize" => daemonize: bool = false, Bool, Fixed;
    /// The file that holds the process id; empty: none.
    "pidfile" => pidfile: String = String::new(), Text, Fixed;
    /// Who is told that the server is ready.
    "supervised" => supervised: Supervised = Supervised::No, Choice(Supervised::NAMES), Fixed;
    /// Who may use DEBUG.
    "enable-debug-command" => enable_debug_command: Protection = Protection::No,
        Choice(Protection::NAMES), Fixed;
    /// Who may change `dir` and `dbfilename` while the server runs.
    "enable-protected-configs" => enable_protected_configs: Protection = Protection::No,
        Choice(Protection::NAMES), Fixed;
    /// Whether the system's score of processes that are ended when memory is short is changed.
    "oom-score-adj" => oom_score_adj: OomScoreAdj = OomScoreAdj::No,
        Choice(OomScoreAdj::NAMES), Tell(Part::OomScore);
    /// By how much, or to what: of a server, a replica, a child process.
    "oom-score-adj-values" => oom_score_adj_values: OomScores = OomScores([0, 200, 800]),
        Ints(3, -2000, 2000), Tell(Part::OomScore);
    /// How often a second the server looks after itself.
    "hz" => hz: u32 = 10, Clamped(1, 500), Free;
    /// Milliseconds after which a script may be told to stop.
    "busy-reply-threshold" | "lua-time-limit" => busy_reply_threshold: u64 = 5000, Int(0, MAX), Free;

    // ---- Up to which size a collection is packed into one record ----
    /// Fields of a hash.
    "hash-max-listpack-entries" | "hash-max-ziplist-entries" => hash_max_listpack_entries: u64 = 512, Int(0, MAX), Free;
    /// Bytes of a field or value.
    "hash-max-listpack-value" | "hash-max-ziplist-value" => hash_max_listpack_value: u64 = 64, SIZE, Free;
    /// Elements of a list node, or a size class when negative.
    "list-max-listpack-size" | "list-max-ziplist-size" => list_max_listpack_size: i64 = -2, Int(i32::MIN as i64, INT), Free;
    /// Members of a set of integers.
    "set-max-intset-entries" => set_max_intset_entries: u64 = 512, Int(0, MAX), Free;
    /// Members of a set.
    "set-max-listpack-entries" => set_max_listpack_entries: u64 = 128, Int(0, MAX), Free;
    /// Bytes of a member of a set.
    "set-max-listpack-value" => set_max_listpack_value: u64 = 64, SIZE, Free;
    /// Members of a sorted set.
    "zset-max-listpack-entries" | "zset-max-ziplist-entries" => zset_max_listpack_entries: u64 = 128, Int(0, MAX), Free;
    /// Bytes of a member of a sorted set.
    "zset-max-listpack-value" | "zset-max-ziplist-value" => zset_max_listpack_value: u64 = 64, SIZE, Free;
    /// Bytes of a node of a stream.
    "stream-node-max-bytes" => stream_node_max_bytes: u64 = 4096, SIZE, Free;
    /// Entries of a node of a stream.
    "stream-node-max-entries" => stream_node_max_entries: u64 = 100, Int(0, MAX), Free;
    /// Bytes of a sparse HyperLogLog.
    "hll-sparse-max-bytes" => hll_sparse_max_bytes: u64 = 3000, SIZE, Free;

    // ---- Watching ----
    /// Which keyspace events are published.
    "notify-keyspace-events" => notify_keyspace_events: Events = Events(0), Kind::Events, Free;
    /// How many keys are remembered for clients that are told when they change; 0: no limit.
    "tracking-table-max-keys" => tracking_table_max_keys: u64 = 1_000_000, Int(0, MAX), Tell(Part::Tracking);
    /// Microseconds from which a command is in the slow log; 0: all, -1: none.
    "slowlog-log-slower-than" | "commandlog-execution-slower-than" => slowlog_log_slower_than: i64 = 10_000, Int(-1, MAX), Free;
    /// How many commands the slow log holds.
    "slowlog-max-len" | "commandlog-slow-execution-max-len" => slowlog_max_len: u64 = 128, Int(0, MAX), Free;
    /// Bytes from which a command is in the log of large requests; 0: all, -1: none.
    "commandlog-request-larger-than" => commandlog_request_larger_than: i64 = 1 << 20, Int(-1, MAX), Free;
    /// How many commands the log of large requests holds.
    "commandlog-large-request-max-len" => commandlog_large_request_max_len: u64 = 128, Int(0, MAX), Free;
    /// Bytes of reply from which a command is in the log of large replies; 0: all, -1: none.
    "commandlog-reply-larger-than" => commandlog_reply_larger_than: i64 = 1 << 20, Int(-1, MAX), Free;
    /// How many commands the log of large replies holds.
    "commandlog-large-reply-max-len" => commandlog_large_reply_max_len: u64 = 128, Int(0, MAX), Free;
    /// Milliseconds from which an event is in the latency log; 0: none.
    "latency-monitor-threshold" => latency_monitor_threshold: u64 = 0, Int(0, MAX), Free;
    /// Whether the time of each command is counted by size.
    "latency-tracking" => latency_tracking: bool = true, Bool, Free;
    /// What INFO shows of it.
    "latency-tracking-info-percentiles" => latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]),
        Kind::Percentiles, Free;
}

const fn inert(
    name: &'static str,
    kind: Kind,
    change: Change,
    default: &'static str,
    why: &'static str,
) -> Directive {
    Directive { name, aliases: &[], kind, change, role: Role::Inert { default, why } }
}

/// For tests of Redis itself: it slows down what is not done here.
const fn hidden(name: &'static str, kind: Kind, default: &'static str) -> Directive {
    Directive { name, aliases: &[], kind, change: Free, role: Role::Hidden { default } }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    change: Change,
    harmless: Option<&'static str>,
    why: &'static str,
) -> Directive {
    Directive { name, aliases: &[], kind, change, role: Role::Refused { harmless, why } }
}

impl Directive {
    const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

const RDB: &str = "RDB files are written on request only: every write is in the log";
const AOF: &str = "the log is always kept and compacted; see wal_sync_mode";
const REPLICATION: &str = "there is no replication";
const CLUSTER: &str = "cluster mode does not exist here";
const TLS_OUT: &str = "there is no replication, so no connection is made from here";
const TLS_KEYS: &str = "keys are agreed on with elliptic curves only";
const TLS_AGE: &str = "TLS sessions are forgotten by their number, not by their age";
const TLS_PASS: &str = "encrypted keys are not supported: decrypt the key file (openssl pkey -in OLD \
                        -out NEW) and remove the line";
const ALLOCATOR: &str = "memory is laid out differently";
const LAZY: &str = "deleting is always cheap and always lazy";
const EVICTION: &str = "nothing is evicted: data that is not in memory is on disk";
const SYSTEM: &str = "leave it to the service manager";
const SYSLOG: &str = "logs go to standard output or to logfile";
const DECORATION: &str = "it only changes how Redis looks";
const CRASH: &str = "a crash prints its own report";
const EXPIRY: &str = "expired keys are found by an index, not by sampling";
const THREADS: &str = "`threads` is the number of workers";

const REPLICA_OF: &str = "replication is not supported: remove the line, or the data would not \
                          be the copy that it asks for";
const MASTER_AUTH: &str = "replication is not supported, so there is no primary to log in to: \
                           remove the line";
const MIN_REPLICAS: &str = "replication is not supported, so no write could ever be accepted: set \
                            it to 0";
const TLS_NEEDED: &str = "replication and cluster are not supported: remove the line";
const CLUSTER_NEEDED: &str = "cluster mode is not supported: set it to no";
const LUA_NEEDED: &str = "setfenv, getfenv and newproxy lead out of the fence of scripts and are not \
                          supported: set it to no";
const MODULE_NEEDED: &str = "modules are not supported: commands that they add would be missing; \
                             remove the line";

// One line a row, however long.
#[rustfmt::skip]
const OTHERS: &[Directive] = &[
    Directive {
        name: "include",
        aliases: &[],
        kind: Text,
        change: Fixed,
        role: Role::Include,
    },
    Directive {
        name: "rename-command",
        aliases: &[],
        kind: Words,
        change: Fixed,
        role: Role::RenameCommand,
    },
    Directive {
        name: "user",
        aliases: &[],
        kind: Words,
        change: Fixed,
        role: Role::User,
    },
    Directive {
        name: "appendfsync",
        aliases: &[],
        kind: Choice(APPENDFSYNC),
        change: Tell(Part::Durability),
        role: Role::Derived { get: get_appendfsync, set: set_appendfsync },
    },
    // ---- Refused ----
    refused("tls-key-file-pass", Secret, Free, Some(""), TLS_PASS),
    refused("tls-replication", Bool, Free, Some("no"), TLS_NEEDED),
    refused("tls-cluster", Bool, Free, Some("no"), TLS_NEEDED),
    refused("replicaof", Kind::HostPort, Fixed, Some("no one"), REPLICA_OF).or(&["slaveof"]),
    refused("masterauth", Secret, Free, Some(""), MASTER_AUTH),
    refused("masteruser", Text, Free, Some(""), MASTER_AUTH),
    refused("min-replicas-to-write", Int(0, INT), Free, Some("0"), MIN_REPLICAS)
        .or(&["min-slaves-to-write"]),
    refused("cluster-enabled", Bool, Fixed, Some("no"), CLUSTER_NEEDED),
    refused("lua-enable-deprecated-api", Bool, Free, Some("no"), LUA_NEEDED),
    refused("loadmodule", Words, Fixed, None, MODULE_NEEDED),
    refused("loadmodule-ex", Words, Fixed, None, MODULE_NEEDED),
    // ---- Inert: snapshots and the append-only file ----
    inert("save", Save, Free, "", RDB),
    inert("stop-writes-on-bgsave-error", Bool, Free, "yes", RDB),
    inert("rdb-del-sync-files", Bool, Free, "no", RDB),
    inert("rdb-save-incremental-fsync", Bool, Free, "yes", RDB),
    inert("sanitize-dump-payload", Choice(&["no", "yes", "clients"]), Free, "no", "payloads are always checked"),
    inert("appendonly", Bool, Free, "yes", AOF),
    inert("appendfilename", Text, Fixed, "appendonly.aof", AOF),
    inert("appenddirname", Text, Fixed, "appendonlydir", AOF),
    inert("no-appendfsync-on-rewrite", Bool, Free, "no", AOF),
    inert("auto-aof-rewrite-percentage", Int(0, INT), Free, "100", AOF),
    inert("auto-aof-rewrite-min-size", SIZE, Free, "67108864", AOF),
    inert("aof-load-truncated", Bool, Free, "yes", "a torn end of the log, which nothing acknowledged is in, is always cut; damage before it always stops the start"),
    inert("aof-use-rdb-preamble", Bool, Free, "yes", AOF),
    inert("aof-timestamp-enabled", Bool, Free, "no", AOF),
    inert("aof-rewrite-incremental-fsync", Bool, Free, "yes", AOF),
    inert("aof-load-corrupt-tail-max-size", SIZE, Free, "0", AOF),
    inert("aof-disable-auto-gc", Bool, Free, "no", AOF),
    inert("shutdown-timeout", Int(0, INT), Free, "10", REPLICATION),
    inert("shutdown-on-sigint", SHUTDOWN, Free, "default", RDB),
    inert("shutdown-on-sigterm", SHUTDOWN, Free, "default", RDB),
    hidden("rdb-key-save-delay", Int(i32::MIN as i64, INT), "0"),
    hidden("key-load-delay", Int(i32::MIN as i64, INT), "0"),
    // ---- Inert: memory ----
    inert("maxmemory-samples", Int(1, INT), Free, "5", EVICTION),
    inert("maxmemory-eviction-tenacity", Int(0, 100), Free, "10", EVICTION),
    inert("lazyfree-lazy-eviction", Bool, Free, "no", LAZY),
    inert("lazyfree-lazy-expire", Bool, Free, "no", LAZY),
    inert("lazyfree-lazy-server-del", Bool, Free, "no", LAZY),
    inert("lazyfree-lazy-user-del", Bool, Free, "no", LAZY),
    inert("lazyfree-lazy-user-flush", Bool, Free, "no", LAZY),
    inert("replica-lazy-flush", Bool, Free, "no", LAZY).or(&["slave-lazy-flush"]),
    inert("active-expire-effort", Int(1, 10), Free, "1", EXPIRY),
    inert("dynamic-hz", Bool, Free, "yes", "the server's own work does not grow with its clients"),
    inert("activerehashing", Bool, Free, "yes", ALLOCATOR),
    inert("activedefrag", Bool, Free, "no", ALLOCATOR),
    inert("active-defrag-ignore-bytes", Bytes(1, MAX as u64), Free, "104857600", ALLOCATOR),
    inert("active-defrag-threshold-lower", Int(0, 1000), Free, "10", ALLOCATOR),
    inert("active-defrag-threshold-upper", Int(0, 1000), Free, "100", ALLOCATOR),
    inert("active-defrag-cycle-min", Int(1, 99), Free, "1", ALLOCATOR),
    inert("active-defrag-cycle-max", Int(1, 99), Free, "25", ALLOCATOR),
    inert("active-defrag-max-scan-fields", Int(1, MAX), Free, "1000", ALLOCATOR),
    inert("jemalloc-bg-thread", Bool, Free, "yes", ALLOCATOR),
    inert("list-max-ziplist-entries", Int(0, MAX), Free, "512", "list-max-listpack-size took its place"),
    inert("list-max-ziplist-value", SIZE, Free, "64", "list-max-listpack-size took its place"),
    inert("list-compress-depth", Int(0, INT), Free, "0", "blocks on disk are always compressed"),
    // ---- Inert: the process and its system ----
    inert("io-threads", Int(1, 128), Fixed, "1", THREADS),
    inert("io-threads-do-reads", Bool, Fixed, "no", THREADS),
    inert("server_cpulist", Text, Fixed, "", SYSTEM),
    inert("bio_cpulist", Text, Fixed, "", SYSTEM),
    inert("aof_rewrite_cpulist", Text, Fixed, "", SYSTEM),
    inert("bgsave_cpulist", Text, Fixed, "", SYSTEM),
    inert("disable-thp", Bool, Fixed, "yes", SYSTEM),
    inert("socket-mark-id", Int(0, u32::MAX as i64), Fixed, "0", SYSTEM),
    inert("bind-source-addr", Text, Free, "", REPLICATION),
    inert("syslog-enabled", Bool, Fixed, "no", SYSLOG),
    inert("syslog-ident", Text, Fixed, "redis", SYSLOG),
    inert("syslog-facility", Text, Fixed, "local0", SYSLOG),
    inert("always-show-logo", Bool, Fixed, "no", DECORATION),
    inert("set-proc-title", Bool, Fixed, "yes", DECORATION),
    inert("proc-title-template", Text, Free, "{title} {listen-addr} {server-mode}", DECORATION),
    inert("locale-collate", Text, Free, "", "bytes are compared as bytes"),
    inert("crash-log-enabled", Bool, Free, "yes", CRASH),
    inert("crash-memcheck-enabled", Bool, Free, "yes", CRASH),
    inert("use-exit-on-panic", Bool, Free, "no", CRASH),
    inert("ignore-warnings", Text, Free, "", CRASH),
    inert("propagation-error-behavior", Choice(&["ignore", "panic", "panic-on-replicas"]), Free, "ignore", REPLICATION),
    inert("enable-module-command", Choice(Protection::NAMES), Fixed, "no", "modules do not exist here"),
    inert("hide-user-data-from-log", Bool, Free, "no", "values of clients are never logged"),
    inert("max-new-connections-per-cycle", Int(1, INT), Free, "10", "each worker accepts what waits"),
    inert("lookahead", Int(1, INT), Free, "16", "all commands that have arrived are looked at together"),
    // ---- Inert: replication ----
    inert("replica-serve-stale-data", Bool, Free, "yes", REPLICATION).or(&["slave-serve-stale-data"]),
    inert("replica-read-only", Bool, Free, "yes", REPLICATION).or(&["slave-read-only"]),
    inert("replica-ignore-maxmemory", Bool, Free, "yes", REPLICATION).or(&["slave-ignore-maxmemory"]),
    inert("replica-ignore-disk-write-errors", Bool, Free, "no", REPLICATION),
    inert("replica-priority", Int(0, INT), Free, "100", REPLICATION).or(&["slave-priority"]),
    inert("replica-announced", Bool, Free, "yes", REPLICATION),
    inert("replica-announce-ip", Text, Free, "", REPLICATION).or(&["slave-announce-ip"]),
    inert("replica-announce-port", Int(0, 65535), Free, "0", REPLICATION).or(&["slave-announce-port"]),
    inert("repl-diskless-sync", Bool, Free, "yes", REPLICATION),
    inert("repl-diskless-sync-delay", Int(0, INT), Free, "5", REPLICATION),
    inert("repl-diskless-sync-max-replicas", Int(0, INT), Free, "0", REPLICATION),
    inert("repl-diskless-load", Choice(&["disabled", "on-empty-db", "swapdb"]), Free, "disabled", REPLICATION),
    inert("repl-disable-tcp-nodelay", Bool, Free, "no", REPLICATION),
    inert("repl-ping-replica-period", Int(1, INT), Free, "10", REPLICATION).or(&["repl-ping-slave-period"]),
    inert("repl-timeout", Int(1, INT), Free, "60", REPLICATION),
    inert("repl-backlog-size", SIZE, Free, "1048576", REPLICATION),
    inert("repl-backlog-ttl", Int(0, MAX), Free, "3600", REPLICATION),
    inert("min-replicas-max-lag", Int(0, INT), Free, "10", REPLICATION).or(&["min-slaves-max-lag"]),
    inert("repl-rdb-channel", Bool, Free, "no", REPLICATION),
    inert("replica-full-sync-buffer-limit", SIZE, Free, "0", REPLICATION),
    // ---- Inert: cluster ----
    inert("cluster-config-file", Text, Fixed, "nodes.conf", CLUSTER),
    inert("cluster-node-timeout", Int(0, MAX), Free, "15000", CLUSTER),
    inert("cluster-port", Int(0, 65535), Fixed, "0", CLUSTER),
    inert("cluster-replica-validity-factor", Int(0, INT), Free, "10", CLUSTER).or(&["cluster-slave-validity-factor"]),
    inert("cluster-migration-barrier", Int(0, INT), Free, "1", CLUSTER),
    inert("cluster-allow-replica-migration", Bool, Free, "yes", CLUSTER),
    inert("cluster-require-full-coverage", Bool, Free, "yes", CLUSTER),
    inert("cluster-replica-no-failover", Bool, Free, "no", CLUSTER).or(&["cluster-slave-no-failover"]),
    inert("cluster-allow-reads-when-down", Bool, Free, "no", CLUSTER),
    inert("cluster-allow-pubsubshard-when-down", Bool, Free, "yes", CLUSTER),
    inert("cluster-link-sendbuf-limit", SIZE, Free, "0", CLUSTER),
    inert("cluster-announce-ip", Text, Free, "", CLUSTER),
    inert("cluster-announce-port", Int(0, 65535), Free, "0", CLUSTER),
    inert("cluster-announce-tls-port", Int(0, 65535), Free, "0", CLUSTER),
    inert("cluster-announce-bus-port", Int(0, 65535), Free, "0", CLUSTER),
    inert("cluster-announce-hostname", Text, Free, "", CLUSTER),
    inert("cluster-slot-stats-enabled", Bool, Free, "no", CLUSTER),
    inert("cluster-announce-human-nodename", Text, Free, "", CLUSTER),
    inert("cluster-preferred-endpoint-type", Choice(&["ip", "hostname", "unknown-endpoint"]), Free, "ip", CLUSTER),
    // ---- Inert: TLS ----
    inert("tls-client-cert-file", Text, Free, "", TLS_OUT),
    inert("tls-client-key-file", Text, Free, "", TLS_OUT),
    inert("tls-client-key-file-pass", Secret, Free, "", TLS_OUT),
    inert("tls-dh-params-file", Text, Free, "", TLS_KEYS),
    inert("max-new-tls-connections-per-cycle", Int(1, INT), Free, "1", "each worker accepts what waits"),
    inert("tls-session-cache-timeout", Int(0, INT), Free, "300", TLS_AGE),
];

const SHUTDOWN: Kind = Flags(&["default", "save", "nosave", "now", "force"]);

const APPENDFSYNC: &[&str] = &["everysec", "always", "no"];

fn get_appendfsync(config: &Config) -> Vec<u8> {
    match config.wal_sync_mode {
        WalSyncMode::Always => b"always".to_vec(),
        WalSyncMode::EverySecond => b"everysec".to_vec(),
        WalSyncMode::Never => b"no".to_vec(),
    }
}

fn set_appendfsync(config: &mut Config, args: &[&[u8]]) -> Result<(), String> {
    config.wal_sync_mode = match Choice(APPENDFSYNC).canonical(args)?.as_slice() {
        b"always" => WalSyncMode::Always,
        b"everysec" => WalSyncMode::EverySecond,
        _ => WalSyncMode::Never,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_in_any_spelling() {
        let mut seen = HashSet::new();
        for row in rows() {
            for name in row.names() {
                assert!(seen.insert(name.replace('_', "-")), "{name} is twice in the table");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
        assert!(find(b"WAL-SYNC-MODE").is_some_and(|row| row.name == "wal_sync_mode"));
        assert!(
            find(b"hash_max_ziplist_value")
                .is_some_and(|row| row.name == "hash-max-listpack-value")
        );
        assert!(find(b"por").is_none());
    }

    #[test]
    fn every_default_is_a_value_of_its_own_directive() {
        let defaults = Config::default();
        for row in rows().filter(|row| row.is_visible()) {
            let text = row.get(&defaults);
            let mut config = defaults.clone();
            let args: Vec<&[u8]> = if row.kind.takes_words() && !text.is_empty() {
                text.split(|b| *b == b' ').collect()
            } else {
                vec![&text]
            };
            row.set(&mut config, &args).unwrap_or_else(|wrong| panic!("{}: {wrong}", row.name));
            assert_eq!(config, defaults, "{}", row.name);
        }
    }

    #[test]
    fn appendfsync_is_another_name_for_the_sync_mode() {
        let mut config = Config::default();
        let row = find(b"appendfsync").unwrap();
        for (word, mode) in [
            ("always", WalSyncMode::Always),
            ("no", WalSyncMode::Never),
            ("EVERYSEC", WalSyncMode::EverySecond),
        ] {
            row.set(&mut config, &[word.as_bytes()]).unwrap();
            assert_eq!(config.wal_sync_mode, mode);
            assert_eq!(row.get(&config), word.to_ascii_lowercase().as_bytes());
        }
        assert!(row.set(&mut config, &[b"sometimes"]).is_err());
    }

    #[test]
    fn refused_rows_take_the_harmless_value_only() {
        let mut config = Config::default();
        for (name, args, fine) in [
            ("tls-replication", &["no"][..], true),
            ("tls-cluster", &["yes"], false),
            ("tls-key-file-pass", &["secret"], false),
            ("replicaof", &["NO", "ONE"], true),
            ("slaveof", &["127.0.0.1", "6379"], false),
            ("cluster-enabled", &["yes"], false),
            ("min-slaves-to-write", &["1"], false),
        ] {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let row = find(name.as_bytes()).unwrap();
            assert_eq!(row.set(&mut config, &args).is_ok(), fine, "{name}");
        }
        assert_eq!(config, Config::default());
    }
}
