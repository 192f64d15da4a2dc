use super::*;
use std::cell::RefCell;

/// A server that notes what it is told and refuses one part.
#[derive(Default)]
struct Recorder {
    refuses: Option<Part>,
    told: RefCell<Vec<(Part, u16, u32)>>,
}

impl Apply for Recorder {
    fn apply(&self, part: Part, _: &Config, new: &Config) -> Result<(), String> {
        if self.refuses == Some(part) {
            return Err("Refused.".into());
        }
        self.told.borrow_mut().push((part, new.port, new.maxclients));
        Ok(())
    }
}

fn set(handle: &Handle, server: &Recorder, words: &[&str]) -> Result<(), String> {
    let pairs: Vec<(&[u8], &[u8])> =
        words.chunks(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes())).collect();
    handle.set(&pairs, true, server)
}

fn get(handle: &Handle, patterns: &[&str]) -> Vec<(String, String)> {
    let patterns: Vec<&[u8]> = patterns.iter().map(|p| p.as_bytes()).collect();
    let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
    handle.get(&patterns).into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn one(handle: &Handle, name: &str) -> String {
    get(handle, &[name]).pop().unwrap().1
}

#[test]
fn errors_are_those_of_redis() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder::default();
    let related = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    for (words, error) in [
        (
            &["nope", "1"][..],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nope'".into(),
        ),
        (
            &["maxclients", "100", "nope", "1"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nope'".into(),
        ),
        (
            &["include", "x"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'include'".into(),
        ),
        (
            &["user", "x"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'user'".into(),
        ),
        (
            &["rename-command", "a b"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'rename-command'".into(),
        ),
        (&["databases", "4"], related("databases", "can't set immutable config")),
        (&["daemonize", "yes", "nope", "3"], related("daemonize", "can't set immutable config")),
        (&["timeout", "1", "TIMEOUT", "2"], related("TIMEOUT", "duplicate parameter")),
        (
            &["timeout", "10000000000"],
            related("timeout", "argument must be between 0 and 2147483647 inclusive"),
        ),
        (
            &["maxclients", "9", "maxmemory", "-1"],
            related("maxmemory", "argument must be a memory value"),
        ),
        (&["save", "10"], related("save", "Invalid save parameters")),
        (
            &["appendfsync", "foo"],
            related(
                "appendfsync",
                "argument(s) must be one of the following: everysec, always, no",
            ),
        ),
    ] {
        assert_eq!(set(&handle, &server, words).unwrap_err(), error);
    }
    assert_eq!(*handle.current(), Config::default());
    assert!(server.told.borrow().is_empty());
    let refusal = handle.rewrite(None, false).unwrap_err();
    assert_eq!(refusal, "ERR The server is running without a config file");
}

#[test]
fn several_directives_are_set_at_once_and_parts_told_once() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder::default();
    let words = ["bind", "127.0.0.1 -::1", "port", "7000", "maxclients", "5", "timeout", "3"];
    set(&handle, &server, &words).unwrap();
    assert_eq!(*server.told.borrow(), [(Part::Listeners, 7000, 5), (Part::Clients, 7000, 5)]);
    assert_eq!(handle.current().bind, ["127.0.0.1", "-::1"]);
    // What does not change needs nobody to be told.
    set(&handle, &server, &["port", "7000"]).unwrap();
    assert_eq!(server.told.borrow().len(), 2);
}

#[test]
fn a_refusal_takes_everything_back() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder { refuses: Some(Part::Clients), ..Recorder::default() };
    let words = ["port", "7000", "requirepass", "x", "maxclients", "5", "loglevel", "debug"];
    assert_eq!(
        set(&handle, &server, &words).unwrap_err(),
        "ERR CONFIG SET failed (possibly related to argument 'maxclients') - Refused."
    );
    assert_eq!(
        *server.told.borrow(),
        [
            (Part::Listeners, 7000, 5),
            (Part::Users, 7000, 5),
            (Part::Users, 6379, 10_000),
            (Part::Listeners, 6379, 10_000)
        ]
    );
    assert_eq!(*handle.current(), Config::default());
}

#[test]
fn get_takes_patterns_spellings_and_aliases() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder::default();
    let words = ["hash-max-ziplist-entries", "10", "hash_max_listpack_entries", "20"];
    set(&handle, &server, &words).unwrap();
    assert_eq!(
        get(&handle, &["hash-max-*-entries", "HASH_max_listpack_entries", "port", "p?rt"]),
        [
            ("hash-max-listpack-entries", "20"),
            ("hash-max-ziplist-entries", "20"),
            ("hash_max_listpack_entries", "20"),
            ("port", "6379"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(get(&handle, &["nope", "user", "include", "rename-command"]), []);
    let all = get(&handle, &["*"]);
    assert!(all.len() > 150, "{}", all.len());
    assert!(all.iter().any(|(name, _)| name == "wal_sync_mode"));
    assert_eq!(
        one(&handle, "client-output-buffer-limit"),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
    );
}

#[test]
fn directives_without_effect_are_remembered() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder::default();
    set(&handle, &server, &["save", "10 1 20 2", "list-compress-depth", "3"]).unwrap();
    assert_eq!(
        (one(&handle, "save"), one(&handle, "list-compress-depth")),
        ("10 1 20 2".into(), "3".into())
    );
    set(&handle, &server, &["save", "", "list-compress-depth", "0"]).unwrap();
    assert_eq!(*handle.current(), Config::default());
    let refused = set(&handle, &server, &["tls-replication", "yes"]).unwrap_err();
    assert!(refused.contains("replication and cluster are not supported"), "{refused}");
    set(&handle, &server, &["tls-replication", "no", "masterauth", ""]).unwrap();
}

#[test]
fn a_whole_dump_can_be_set_again() {
    let handle = Handle::new(Config::default(), None);
    let server = Recorder::default();
    for (name, value) in get(&handle, &["*"]) {
        match set(&handle, &server, &[&name, &value]) {
            Ok(()) => {}
            Err(error) => {
                let is_known = error.contains("immutable") || error.contains("protected");
                assert!(is_known, "{name}: {error}");
            }
        }
    }
    assert_eq!(*handle.current(), Config::default());
}

#[test]
fn a_reader_sees_what_was_published() {
    let handle = Handle::new(Config::default(), None);
    let mut reader = handle.reader();
    let server = Recorder::default();
    assert_eq!(reader.get().timeout, 0);
    let before = reader.version();
    set(&handle, &server, &["timeout", "5"]).unwrap();
    assert_eq!(reader.version(), before);
    assert_eq!(reader.get().timeout, 5);
    assert_ne!(reader.version(), before);
}

#[test]
fn effective_values_follow_the_budget() {
    let config = Config { maxmemory: 100 << 20, ..Config::default() };
    assert_eq!(config.memory_budget(), 100 << 20);
    assert_eq!(config.memtable_bytes(), 25 << 20);
    let automatic = Config::default();
    assert!(automatic.memory_budget() > 0);
    assert!(automatic.memory_budget() < machine::memory_bytes());
    let small = Config { memtable_size_mb: 1, ..config.clone() };
    assert_eq!(small.memtable_bytes(), 1 << 20);
    assert_eq!(config.engine_options().memory_bytes, 100 << 20);
    assert_eq!(Config { threads: 3, ..config.clone() }.workers(), 3);
    assert!(config.workers() >= 1);
    let config = Config { dir: "/data".into(), ..config };
    assert_eq!(config.path("x.log"), PathBuf::from("/data/x.log"));
    assert_eq!(config.path("/var/x.log"), PathBuf::from("/var/x.log"));
}
