//! Out and in again: by DUMP and RESTORE, and by files.

use super::*;
use crate::expire::{self, Expires};
use crate::hash;
use crate::limits::Limits;
use crate::list;
use crate::set;
use crate::string;
use crate::testing::{Db, NOW};
use crate::zset;
use crate::{dbmap, digest, scan};
use forgekv_base::rng::Rng;
use forgekv_engine::disk::{Disk, SimDisk};
use forgekv_rdb::Input;
use std::ops::ControlFlow;
use std::path::Path;

/// A key of each kind and size.
fn fill(db: &mut Db) {
    db.set("int", "12345", None);
    db.set("expires", "value", Some(NOW + 5_000));
    db.set("expired", "value", Some(NOW - 1));
    for (name, len) in
        [("raw", 100usize), ("whole", 100_000), ("chunks", 300_000), ("huge", 5 << 20)]
    {
        let value: Vec<u8> = (0..len).map(|i| ((i * i) >> 7) as u8).collect();
        let key = db.key(name);
        db.run(|w| string::set(w, key, &value, None)).unwrap();
    }
    let key = db.key("holes");
    db.run(|w| string::set_range(w, key, 1_000_000, b"end")).unwrap();
    for (name, fields, timed) in [
        ("small", 3u32, false),
        ("timed", 5, true),
        ("large", 2_000, false),
        ("large timed", 2_000, true),
    ] {
        let key = db.key(name);
        db.run(|w| {
            for n in 0..fields {
                let field = format!("f{n}");
                hash::set(w, key, &[field.as_bytes(), format!("value {n}").as_bytes()])?;
                if timed && n % 2 == 0 {
                    let (at, when) = (NOW + 1_000 + u64::from(n), hash::When::Always);
                    hash::expire(w, key, at, when, &[field.as_bytes()], &mut |_| {})?;
                }
            }
            Ok(())
        })
        .unwrap();
    }
    fill_sets(db);
    fill_streams(db);
    fill_zsets(db);
    fill_lists(db);
}

/// Sets of each encoding.
fn fill_sets(db: &mut Db) {
    let many: Vec<String> = (0..3_000).map(|n| format!("member {n}")).collect();
    let ints: Vec<String> = (0..900).map(|n| (n * n * 77 - 5_000).to_string()).collect();
    for (name, members) in [
        ("set", &many[..5]),
        ("large set", &many[..]),
        ("ints", &ints[..20]),
        ("many ints", &ints[..]),
    ] {
        let members: Vec<&[u8]> = members.iter().map(String::as_bytes).collect();
        let key = db.key(name);
        db.run(|w| set::add(w, key, &members)).unwrap();
    }
}

/// Lists of each encoding.
fn fill_lists(db: &mut Db) {
    let many: Vec<String> = (0..5_000).map(|n| format!("item {}", n * n % 977)).collect();
    for (name, count) in [("list", 5), ("long list", 300), ("large list", 5_000)] {
        let key = db.key(name);
        for (n, items) in many[..count].chunks(400).enumerate() {
            let items: Vec<&[u8]> = items.iter().map(String::as_bytes).collect();
            let end = if n % 2 == 0 { list::End::Left } else { list::End::Right };
            db.run(|w| list::push(w, key, end, &items, false)).unwrap();
        }
    }
}

/// Sorted sets of each encoding.
fn fill_zsets(db: &mut Db) {
    let many: Vec<String> = (0..3_000).map(|n| format!("member {n}")).collect();
    for (name, count) in [("zset", 5), ("large zset", 3_000)] {
        let scores = [f64::NEG_INFINITY, f64::INFINITY, 0.1, -7.25, 1e300].into_iter();
        let scores = scores.chain((0..).map(|n| f64::from(n % 700) / 8.0 - 20.0));
        let key = db.key(name);
        let pairs = scores.zip(many.iter().map(String::as_bytes)).take(count);
        db.run(|w| zset::add(w, key, zset::Conditions::default(), pairs)).unwrap();
    }
}

/// Streams, one empty, one with groups.
fn fill_streams(db: &mut Db) {
    use crate::stream::{self, Id, Start};
    for (name, count) in [("stream", 3u64), ("large stream", 2_000)] {
        let key = db.key(name);
        db.run(|w| {
            for n in 1..=count {
                let value = format!("value {n}");
                let texts: [&[u8]; 4] = [b"a", value.as_bytes(), b"b", b"7"];
                let texts = if n % 9 == 0 { &texts[..2] } else { &texts[..] };
                stream::load_entries(w, key, &[(Id::new(n / 3, n % 3 + 1), texts)])?;
            }
            Ok(())
        })
        .unwrap();
        let last = Id::new(count, 9);
        db.run(|w| stream::load_about(w, key, last, Id::new(1, 1), count + 5)).unwrap();
        for (group, read) in [(&b"g"[..], Some(2)), (b"h", None)] {
            db.run(|w| {
                stream::create_group(w, key, group, Start::After(Id::new(1, 1)), read, false)
            })
            .unwrap();
        }
        db.run(|w| {
            stream::load_consumer(w, key, b"g", b"one", NOW, Some(NOW))?;
            stream::load_consumer(w, key, b"g", b"two", NOW - 7, Some(NOW - 7))?;
            let owed: Vec<_> =
                (1..count).map(|n| (Id::new(n / 3, n % 3 + 1), NOW - n, n)).collect();
            stream::load_pending(w, key, b"g", b"two", &owed)
        })
        .unwrap();
    }
    let key = db.key("empty stream");
    db.run(|w| stream::load_about(w, key, Id::new(5, 5), Id::new(5, 5), 9)).unwrap();
}

fn names(db: &mut Db) -> Vec<String> {
    db.run(|w| {
        let mut names = Vec::new();
        scan::all(w, &mut |found| {
            names.push(crate::testing::text(found.key.name));
            Ok(())
        })?;
        names.sort();
        Ok(names)
    })
    .unwrap()
}

fn digest_of(db: &mut Db, name: &str) -> String {
    let key = db.key(name);
    db.run(|w| digest::value(w, key)).unwrap().to_hex()
}

/// What OBJECT ENCODING, the expiries and the digest say of a key.
fn described(db: &mut Db, name: &str) -> String {
    let key = db.key(name);
    let (encoding, expires) =
        db.run(|w| Ok((keys::encoding_name(w, key)?, expire::get(w, key)?))).unwrap();
    let mut fields = Vec::new();
    if db.run(|w| keys::kind(w, key)).unwrap() == Some(Kind::Hash) {
        db.run(|w| hash::expiries(w, key, &[b"f0", b"f1", b"f2"], &mut |at| fields.push(at)))
            .unwrap();
    }
    format!("{encoding:?} {expires:?} {fields:?} {}", digest_of(db, name))
}

#[test]
fn dump_and_restore() {
    let mut db = Db::new();
    fill(&mut db);
    for cold in [false, true] {
        if cold {
            db.compact();
            db.reopen();
        }
        for name in names(&mut db) {
            let (from, to) = (db.key(&name), "restored");
            let (payload, _) = db.run_cold(|w| dump(w, from));
            let payload = payload.unwrap();
            let at = match db.expires(&name) {
                Expires::At(ms) => Some(ms),
                _ => None,
            };
            let key = db.key(to);
            db.run_cold(|w| restore(w, key, &payload, at));
            assert_eq!(db.events, Vec::<String>::new(), "run_cold tells nothing");
            let (mut before, mut after) = (described(&mut db, &name), described(&mut db, to));
            if name == "raw" || name == "holes" {
                // What was changed in place is not known any more.
                before = before.replace("raw", "");
                after = after.replace("raw", "").replace("embstr", "");
            }
            assert_eq!(after, before, "{name}");
            // The version is what the value needs.
            let version = payload[payload.len() - 10];
            assert_eq!(version, if name.contains("timed") { 12 } else { 10 }, "{name}");
        }
    }
    let key = db.key("int");
    let payload = db.run(|w| dump(w, key)).unwrap().unwrap();
    db.run(|w| restore(w, key, &payload, None)).unwrap();
    assert_eq!(db.events, ["restore:int@0"]);
    db.run(|w| restore(w, key, &payload, Some(NOW))).unwrap();
    assert_eq!(db.events, ["del:int@0"]);
    assert_eq!(db.run(|w| dump(w, key)).unwrap(), None);
    db.run(|w| restore(w, key, &payload, Some(NOW - 5))).unwrap();
    assert_eq!((db.events.len(), db.get("int")), (0, None));
}

/// A damaged payload is refused and changes nothing, whatever is in it.
#[test]
fn mutations_of_payloads() {
    let mut db = Db::new();
    db.limits.hash_max_listpack_entries = 8;
    fill(&mut db);
    let mut payloads = Vec::new();
    for name in names(&mut db) {
        let key = db.key(&name);
        let payload = db.run(|w| dump(w, key)).unwrap().unwrap();
        if payload.len() < 20_000 {
            payloads.push(payload[..payload.len() - 10].to_vec());
        }
    }
    let mut rng = Rng::seeded(3);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..3_000 {
        let mut value = payloads[rng.below(payloads.len() as u64) as usize].clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(value.len() as u64) as usize;
            match rng.below(3) {
                0 if at > 0 => value.truncate(at),
                1 => value[at] = rng.below(256) as u8,
                _ => value[at] ^= 1 << rng.below(8),
            }
        }
        let payload = seal(value, VERSION);
        let key = db.key("int");
        let before = digest_of(&mut db, "int");
        match db.run(|w| restore(w, key, &payload, None)) {
            Ok(()) => taken += 1,
            Err(e) => {
                refused += 1;
                assert_eq!(e.to_string(), BAD_FORMAT);
                assert_eq!(digest_of(&mut db, "int"), before);
            }
        }
    }
    assert!(refused > 500 && taken > 100, "{refused} {taken}");
}

/// The bytes of a file of everything.
fn saved(db: &Db) -> (Vec<u8>, Saved) {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/out")).unwrap();
    let form = Form { compress: true, checksum: true, facts: vec![("redis-ver", "7.2.5".into())] };
    let (path, temporary) = (Path::new("/out/dump.rdb"), Path::new("/out/temp.rdb"));
    let save = Save::new(db.store(), db.now_ms).unwrap();
    let saved =
        save.to_file(&disk, path, temporary, &form, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(disk.list(Path::new("/out")).unwrap(), ["dump.rdb"]);
    let file = disk.open(path, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    // Given up, nothing is left and the old file stays.
    let given_up = save.to_file(&disk, path, temporary, &form, &mut |_| ControlFlow::Break(()));
    assert!(given_up.is_err());
    assert_eq!(disk.list(Path::new("/out")).unwrap(), ["dump.rdb"]);
    (bytes, saved)
}

fn load(db: &Db, bytes: &[u8], replace: bool) -> std::result::Result<Imported, ImportError> {
    let mut stream = bytes;
    let input = Input::stream(&mut stream);
    Import::run(db.store(), Limits::default(), db.now_ms, input, replace, &mut |_| {})
}

#[test]
fn save_and_import() {
    let mut db = Db::new();
    fill(&mut db);
    db.db = 9;
    db.set("elsewhere", "nine", None);
    db.db = 0;
    for cold in [false, true] {
        if cold {
            db.compact();
            db.reopen();
        }
        let (bytes, saved) = saved(&db);
        let mut other = Db::new();
        let imported = load(&other, &bytes, false).unwrap();
        assert!(imported.checked);
        assert_eq!((imported.keys, imported.bytes), (saved.keys, saved.bytes));
        assert_eq!((imported.databases, imported.expires), (10, 1));
        let names = names(&mut db);
        assert_eq!(self::names(&mut other), names);
        for name in &names {
            assert_eq!(digest_of(&mut other, name), digest_of(&mut db, name), "{name}");
        }
        other.db = 9;
        assert_eq!(other.get("elsewhere").unwrap(), "nine");
        other.db = 0;
        assert!(matches!(load(&other, &bytes, false), Err(ImportError::NotEmpty)));
        // All is replaced, also what the file does not have; it survives, and so do its expiries.
        other.db = 5;
        other.set("gone", "x", None);
        load(&other, &bytes, true).unwrap();
        assert_eq!(other.get("gone"), None);
        other.db = 0;
        other.compact();
        other.reopen();
        assert_eq!(other.digest(), {
            let expired = db.key("expired");
            db.run(|w| keys::exists(w, expired)).unwrap();
            db.digest()
        });
        other.now_ms += 10_000;
        assert!(other.reap(100).0 >= 1);
        assert_eq!(other.get("expires"), None);
    }
}

/// A file that is damaged anywhere leaves the directory as it was, and its disk comes back.
#[test]
fn a_damaged_file_changes_nothing() {
    let mut db = Db::new();
    fill(&mut db);
    let (bytes, _) = saved(&db);
    let mut other = Db::new();
    other.set("mine", "stays", Some(NOW + 1));
    let before = other.digest();
    let mut rng = Rng::seeded(1);
    for _ in 0..12 {
        let mut damaged = bytes.clone();
        let at = rng.below(bytes.len() as u64) as usize;
        if rng.below(2) == 0 {
            damaged.truncate(at)
        } else {
            damaged[at] ^= 0x10
        }
        let Err(ImportError::Bad(bad)) = load(&other, &damaged, true) else { panic!("{at}") };
        assert!(bad.offset <= bytes.len() as u64, "{bad}");
        assert_eq!(other.digest(), before);
    }
    other.compact();
    other.compact();
    assert_eq!(other.digest(), before);
    assert_eq!(other.records(crate::record::SPACE_HEADER), 1, "what was loaded is dropped");
    other.reopen();
    assert_eq!(other.digest(), before);
    assert!(dbmap::holds_keys(other.store()).unwrap());
}
