use super::*;
use crate::config::{LogLevel, Supervised, WalSyncMode};

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("forgekv-file-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn load(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
    let mut loader = Loader::default();
    loader.file(path)?;
    loader.finish()
}

fn read(text: &str) -> Result<(Config, Vec<String>), ConfigError> {
    let mut loader = Loader::default();
    loader.text(text.as_bytes(), &|line| Place::File(Path::new("/etc/a.conf"), line))?;
    loader.finish()
}

/// What a distribution ships: everything that Redis has by default, written out.
const SHIPPED: &str = r#"
# A comment; then values as a package sets them.
bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize yes
supervised no
pidfile /run/redis/redis-server.pid
loglevel notice
logfile /var/log/redis/redis-server.log
databases 16
always-show-logo no
proc-title-template "{title} {listen-addr} {server-mode}"
stop-writes-on-bgsave-error yes
rdbcompression yes
dbfilename dump.rdb
dir /var/lib/redis
replica-serve-stale-data yes
repl-diskless-sync yes
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appendfsync everysec
no-appendfsync-on-rewrite no
aof-use-rdb-preamble yes
slowlog-log-slower-than 10000
notify-keyspace-events ""
hash-max-listpack-entries 512
list-max-listpack-size -2
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"#;

#[test]
fn a_shipped_file_starts_the_server() {
    let (config, warnings) = read(SHIPPED).unwrap();
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(config.dir, "/var/lib/redis");
    assert_eq!(config.logfile, "/var/log/redis/redis-server.log");
    assert_eq!(config.pidfile, "/run/redis/redis-server.pid");
    assert_eq!(config.wal_sync_mode, WalSyncMode::EverySecond);
    assert!(!config.daemonize);
    // Two directives say something else than what happens; the rest is named together.
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[0].contains("'appendonly no' has no effect: the log is"));
    assert!(warnings[1].starts_with("/etc/a.conf:9: 'daemonize yes' has no effect: the server"));
    for name in ["stop-writes-on-bgsave-error", "lazyfree-lazy-eviction", "dynamic-hz"] {
        assert!(warnings[2].contains(name), "{name}");
    }
}

#[test]
fn debians_own_file_starts_the_server() {
    let path = Path::new("/etc/redis/redis.conf");
    if fs::read(path).is_err() {
        return;
    }
    let (config, warnings) = load(path).unwrap();
    assert_eq!((config.port, config.supervised), (6379, Supervised::No));
    assert_eq!(config.dir, "/var/lib/redis");
    assert!(warnings.iter().any(|line| line.contains("daemonize yes")), "{warnings:#?}");
}

#[test]
fn the_projects_own_files_have_no_warnings() {
    for name in ["forgekv.conf", "docker/forgekv.conf"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        let (config, warnings) = load(&path).unwrap();
        assert_eq!(warnings, Vec::<String>::new(), "{name}");
        assert_eq!(config.advice(), Vec::<String>::new(), "{name}");
        assert_eq!(config.port, 6379);
    }
}

#[test]
fn later_lines_win_and_save_points_add_up() {
    let (config, warnings) = read(
        "PORT 1\r\nport 2\nsave 3600 1\nsave 300 100 60 10000\nwal-sync-mode always\n\
         loglevel \"verbose\"\nrequirepass 'a \"b\" \\'c'\nrename-command FLUSHALL \"\"\n\
         client-output-buffer-limit pubsub 1mb 2mb 3",
    )
    .unwrap();
    assert_eq!(config.port, 2);
    assert_eq!(table::find(b"save").unwrap().get(&config), b"3600 1 300 100 60 10000");
    assert_eq!(config.wal_sync_mode, WalSyncMode::Always);
    assert_eq!(config.loglevel, LogLevel::Verbose);
    assert_eq!(config.requirepass, b"a \"b\" 'c");
    assert_eq!(config.rename_commands, [(b"flushall".to_vec(), Vec::new())]);
    assert_eq!(config.client_output_buffer_limit.pubsub.soft_seconds, 3);
    assert_eq!(warnings.len(), 1, "one line a directive: {warnings:#?}");
    let (config, _) = read("save 3600 1\nsave \"\"\nsave \"10 1\"").unwrap();
    assert_eq!(table::find(b"save").unwrap().get(&config), b"10 1");
    assert_eq!(
        read("appendfsync always\nwal_sync_mode Never").unwrap().0.wal_sync_mode,
        WalSyncMode::Never
    );
    assert_eq!(
        read("wal_sync_mode Never\nappendfsync always").unwrap().0.wal_sync_mode,
        WalSyncMode::Always
    );
}

#[test]
fn errors_name_file_line_and_remedy() {
    for (text, place, why) in [
        ("port 1\n\nporrt 2", "'/etc/a.conf', at line 3\n>>> 'porrt 2'", "did you mean 'port'?"),
        ("nonsense 1", "at line 1\n>>> 'nonsense 1'", "correct the name or remove the line"),
        ("port 1 2", ">>> 'port 1 2'", "wrong number of arguments"),
        ("port \"1", ">>> 'port'", "Unbalanced quotes in configuration line"),
        ("requirepass \"secret", ">>> 'requirepass'", "Unbalanced quotes"),
        ("requirepass se cret", ">>> 'requirepass (redacted)'", "wrong number of arguments"),
        ("maxmemory 1zz", ">>> 'maxmemory 1zz'", "argument must be a memory value"),
        ("daemonize maybe", ">>> 'daemonize maybe'", "argument must be 'yes' or 'no'"),
        ("include /nowhere/x.conf", ">>> 'include /nowhere/x.conf'", "no such file"),
        ("save 1", ">>> 'save 1'", "Invalid save parameters"),
        ("rename-command FLUSHALL", ">>> 'rename-command FLUSHALL'", "wrong number of arguments"),
        // What must not be ignored.
        ("tls-key-file-pass hidden", ">>> 'tls-key-file-pass (redacted)'", "decrypt the key file"),
        ("tls-protocols \"TLSv1.1 TLSv1.2\"", "at line 1", "'TLSv1.1' can't be offered"),
        ("tls-ciphers HIGH", "at line 1", "'HIGH' can't be offered: name some of ECDHE"),
        ("tls-ciphersuites TLS_AES_128_CCM_SHA256", "at line 1", "can't be offered"),
        ("tls-replication yes", "at line 1", "remove the line"),
        ("user bob on +nosuch", ">>> 'user (redacted)'", "'+nosuch': Unknown command"),
        ("user bob on >secret <hidden", "at line 1", "'(redacted)': The password"),
        ("user bob\nuser bob", "at line 2", "Duplicate user"),
        ("user \"a b\" on x", "at line 1", "Spaces not allowed"),
        ("replicaof 10.0.0.1 6379", "at line 1", "replication is not supported"),
        ("slaveof 10.0.0.1 6379", "at line 1", "remove the line"),
        ("masterauth hidden", ">>> 'masterauth (redacted)'", "remove the line"),
        ("cluster-enabled yes", "at line 1", "cluster mode is not supported: set it to no"),
        ("loadmodule /x.so", "at line 1", "modules are not supported"),
        ("min-replicas-to-write 1", "at line 1", "set it to 0"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("\n*** FATAL CONFIG FILE ERROR (ForgeKV "), "{error}");
        assert!(error.contains(place) && error.contains(why), "{text}:{error}");
        assert!(!error.contains("cret") && !error.contains("hidden"), "{error}");
    }
    let missing = load(Path::new("/nowhere/a.conf")).unwrap_err().to_string();
    assert!(missing.contains("can't open config file '/nowhere/a.conf'"), "{missing}");
    for harmless in ["tls-port 0", "replicaof no one", "cluster-enabled no"] {
        assert_eq!(read(harmless).unwrap().1, Vec::<String>::new());
    }
}

#[test]
fn includes_are_read_in_place() {
    let dir = Dir::new("include");
    dir.write("conf.d/20.conf", "port 20\nmaxclients 20\n");
    dir.write("conf.d/10.conf", "port 10\ntimeout 10\n");
    dir.write("conf.d/.hidden.conf", "port 99\n");
    dir.write("conf.d/other.txt", "port 98\n");
    let main = dir.write(
        "main.conf",
        &format!(
            "include {0}/conf.d/*.conf\nmaxclients 7\ninclude {0}/none/*.conf\n",
            dir.0.display()
        ),
    );
    let (config, _) = load(&main).unwrap();
    assert_eq!((config.port, config.timeout, config.maxclients), (20, 10, 7));

    let beside = dir.write("beside.conf", "include conf.d/10.conf\n");
    assert_eq!(load(&beside).unwrap().0.port, 10);

    let inner = dir.write("conf.d/wrong.conf", "port 1\nport x\n");
    let outer = dir.write("outer.conf", &format!("include {}\n", inner.display()));
    let error = load(&outer).unwrap_err().to_string();
    assert!(error.contains(&format!("'{}', at line 2", inner.display())), "{error}");

    let own = dir.0.join("own.conf");
    fs::write(&own, format!("include {}\n", own.display())).unwrap();
    let error = load(&own).unwrap_err().to_string();
    assert!(error.contains("does one include itself?"), "{error}");
}

#[test]
fn distances_count_letters() {
    for (a, b, far) in [
        ("port", "port", 0),
        ("porrt", "port", 1),
        ("prot", "port", 1),
        ("", "abc", 3),
        ("bind", "find", 1),
    ] {
        assert_eq!(distance(a, b), far, "{a} {b}");
    }
}
