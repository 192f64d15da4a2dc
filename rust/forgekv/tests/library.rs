//! The library: what it writes a server reads, and the other way round; two owners are refused.

use forgekv::{Db, Error, Options, SyncMode, Ttl, Value};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn check(dir: &Path, flags: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_forgekv"))
        .arg("check")
        .arg(dir)
        .args(flags)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap()
        + std::str::from_utf8(&output.stderr).unwrap();
    (output, text)
}

#[test]
fn what_was_written_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    for sync in [SyncMode::Always, SyncMode::EverySecond, SyncMode::Never] {
        let open = || Db::open_with(Options { sync, ..Options::new(dir.path()) }).unwrap();
        let db = open();
        db.clear().unwrap();
        for i in 0..3000 {
            db.set(format!("key {i}"), format!("value {i}")).unwrap();
            db.hset("hash", format!("field {i}"), "x").unwrap();
        }
        db.set_with_ttl("soon gone", "x", Duration::from_millis(1)).unwrap();
        assert!(db.set_absent("once", "1").unwrap() && !db.set_absent("once", "2").unwrap());
        assert!(db.del("key 7").unwrap() && !db.del("key 7").unwrap());
        assert_eq!(db.incr("n", 5).unwrap(), 5);
        assert_eq!(db.incr("n", -7).unwrap(), -2);
        drop(db);

        let db = open();
        assert_eq!(db.get("key 2999").unwrap().unwrap(), b"value 2999");
        assert_eq!((db.get("key 7").unwrap(), db.exists("key 7").unwrap()), (None, false));
        assert_eq!(db.hlen("hash").unwrap(), 3000);
        assert_eq!(db.hgetall("hash").unwrap().len(), 3000);
        assert_eq!(db.hget("hash", "field 9").unwrap().unwrap(), b"x");
        assert!(db.hdel("hash", "field 9").unwrap() && !db.hdel("hash", "field 9").unwrap());
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(db.ttl("soon gone").unwrap(), Ttl::Missing);
        assert!(db.expire("n", Duration::from_secs(9)).unwrap() && db.persist("n").unwrap());
        let keys: Result<Vec<_>, _> = db.scan().collect();
        assert_eq!(keys.unwrap().len(), 3002);
        assert_eq!(db.count().unwrap(), 3002);
    }
}

#[test]
fn errors_are_redis_own() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.hset("hash", "f", "v").unwrap();
    let text = |result: forgekv::Result<Value>| match result {
        Err(Error::Refused(text)) => text,
        other => panic!("{other:?}"),
    };
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(text(db.command(&["GET", "hash"])), wrong_type);
    assert!(text(db.command(&["NOSUCH", "x"])).starts_with("ERR unknown command 'NOSUCH'"));
    assert!(text(db.command(&["GET"])).starts_with("ERR wrong number of arguments"));
    assert_eq!(text(db.command(&["SHUTDOWN"])), "ERR 'shutdown' needs a server");
    assert!(text(db.command::<&str>(&[])).starts_with("ERR unknown command"));
}

#[test]
fn threads_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let db = db.clone();
            scope.spawn(move || {
                for i in 0..500 {
                    db.incr("together", 1).unwrap();
                    db.set_all(&[
                        (format!("{thread}.{i}.a"), "x"),
                        (format!("{thread}.{i}.b"), "x"),
                    ])
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(db.get("together").unwrap().unwrap(), b"2000");
    assert_eq!(db.count().unwrap(), 4001);
}

#[test]
fn two_owners_are_refused_and_check_finds_damage() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert!(matches!(Db::open(dir.path()), Err(Error::Storage(forgekv_engine::Error::Locked(_)))));
    for i in 0..2000 {
        db.set(format!("key {i}"), "value").unwrap();
    }
    let (output, text) = check(dir.path(), &[]);
    assert!(!output.status.success() && text.contains("in use by another process"), "{text}");
    // Made to be in tables.
    let copy = dir.path().join("copy");
    db.backup(&copy).unwrap();
    drop(db);
    let (output, text) = check(&copy, &[]);
    assert!(output.status.success() && text.ends_with("no damage\n"), "{text}");

    let tables = std::fs::read_dir(copy.join("tables")).unwrap();
    let table = tables.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[30] ^= 1;
    std::fs::remove_file(&table).unwrap();
    std::fs::write(&table, &bytes).unwrap();
    let (output, text) = check(&copy, &[]);
    let name = table.file_name().unwrap().to_string_lossy();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(&*name) && text.contains("damaged at offset"), "{text}");
    let (output, text) = check(&copy, &["--repair"]);
    assert!(output.status.success() && text.contains("repaired"), "{text}");
    assert!(copy.join("quarantine").join(&*name).exists());
    let (output, text) = check(&copy, &[]);
    assert!(output.status.success(), "{text}");
    let db = Db::open(&copy).unwrap();
    let left = db.scan().count() as u64;
    assert!(left > 1800 && left < 2000, "{left}");
    assert_eq!(db.count().unwrap(), left);

    for wrong in [&["--fix"][..], &["more"]] {
        let (output, text) = check(&copy, wrong);
        assert!(!output.status.success() && text.starts_with("usage:"), "{text}");
    }
}
