//! Values that are written and read again, values that Redis wrote, and bytes that nobody wrote.

use super::*;
use crate::types::Kind;
use forgekv_base::rng::Rng;

/// Payloads of DUMP as redis-server 7.0.15 makes them: a name and hexadecimal digits a line.
const GOLDEN: &str = include_str!("../testdata/payloads-7.0.15.txt");

/// Items as text, one a line.
fn shown(kind: Type, input: &mut Input<'_>) -> Result<Vec<String>, Bad> {
    let mut lines = Vec::new();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let read = read(kind, input, &mut |item| {
        lines.push(match item {
            Item::Text(t) => text(t),
            Item::Element(t) | Item::Member(t) => text(t),
            Item::Scored(t, score) => format!("{} {score:?}", text(t)),
            Item::Field(f, v, at) => format!("{}={} {at:?}", text(f), text(v)),
            Item::Entry(id, texts) => {
                let texts: Vec<String> = texts.iter().map(|t| text(t)).collect();
                format!("{id} {}", texts.join(" "))
            }
            Item::Group { name, last, read, .. } => format!("group {} {last} {read:?}", text(name)),
            Item::Consumer { name, seen_ms, active_ms } => {
                format!("consumer {} {seen_ms} {active_ms:?}", text(name))
            }
            other => format!("{other:?}"),
        });
        Ok::<(), ()>(())
    });
    match read {
        Ok(_) => Ok(lines),
        Err(Stop::Bad(bad)) => Err(bad),
        Err(Stop::Taker(())) => panic!("nobody stops"),
    }
}

fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, digits) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            (name, (0..digits.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

fn of_golden(name: &str) -> (Type, Vec<String>) {
    let (_, bytes) = golden().into_iter().find(|(n, _)| *n == name).unwrap();
    let (kind, mut input) = payload(&bytes).unwrap().unwrap();
    let lines = shown(kind, &mut input).unwrap();
    assert_eq!(input.offset() + 11, bytes.len() as u64, "{name}");
    (kind, lines)
}

#[test]
fn what_redis_writes_is_read() {
    assert_eq!(of_golden("int"), (Type::STRING, vec!["12345".into()]));
    assert_eq!(of_golden("text"), (Type::STRING, vec!["hello".into()]));
    assert_eq!(of_golden("packed"), (Type::STRING, vec!["ab".repeat(200)]));
    let (kind, lines) = of_golden("quicklist");
    assert_eq!((kind, lines.len()), (Type::QUICKLIST_2, 3000));
    assert_eq!((lines[0].as_str(), lines[2999].as_str()), ("0", "element-2999"));
    let (kind, lines) = of_golden("intset");
    assert_eq!((kind, lines), (Type::SET_INTSET, vec!["-70000".into(), "1".into(), "2".into()]));
    let (kind, mut lines) = of_golden("set");
    lines.sort();
    assert_eq!((kind, lines), (Type::SET, vec!["1".into(), "a".into(), "b".into()]));
    let (kind, lines) = of_golden("zset");
    let expected = ["a -inf", "b 1.5", "c 3.0", "d inf"].map(String::from).to_vec();
    assert_eq!((kind, lines), (Type::ZSET_LISTPACK, expected.clone()));
    let (kind, mut lines) = of_golden("skiplist");
    lines.sort();
    assert_eq!((kind, lines.len()), (Type::ZSET, 200));
    let (kind, lines) = of_golden("hash");
    assert_eq!((kind, lines), (Type::HASH_LISTPACK, vec!["f=v None".into(), "n=17 None".into()]));
    let (kind, lines) = of_golden("dict");
    assert_eq!((kind, lines.len()), (Type::HASH, 1));
    let (kind, lines) = of_golden("stream");
    let expected = [
        "1-1 a 1 b 2",
        "1-2 a x b y",
        "5-0 other field",
        "Stream { last: StreamId { ms: 7, seq: 3 }, max_deleted: StreamId { ms: 7, seq: 3 }, added: 4 }",
        "group g 1-2 None",
    ];
    assert_eq!(kind, Type::STREAM);
    assert_eq!(&lines[..5], expected);
    assert!(lines[5].starts_with("consumer one ") && lines[6].starts_with("Pending { id"));
    assert_eq!(lines.len(), 8);
}

/// A payload of each form that is written.
fn written() -> Vec<(Type, Vec<u8>, Vec<&'static str>)> {
    let mut all = Vec::new();
    let mut make = |kind: Type, lines: &[&'static str], f: &dyn Fn(&mut Encoder<'_>)| {
        let mut out = Encoder::memory(true);
        f(&mut out);
        all.push((kind, out.into_bytes(), lines.to_vec()));
    };
    make(Type::STRING, &["-129"], &|out| out.string(b"-129").unwrap());
    make(Type::STRING, &["007"], &|out| out.string(b"007").unwrap());
    make(Type::LIST, &["a", "70000", "a"], &|out| {
        out.len(3).unwrap();
        for text in [&b"a"[..], b"70000", b"a"] {
            out.string(text).unwrap();
        }
    });
    make(Type::SET, &["x"], &|out| {
        out.len(1).unwrap();
        out.string(b"x").unwrap();
    });
    make(Type::ZSET, &["m 0.1", "n -inf"], &|out| {
        out.len(2).unwrap();
        for (text, score) in [(&b"m"[..], 0.1), (b"n", f64::NEG_INFINITY)] {
            out.string(text).unwrap();
            out.score(score).unwrap();
        }
    });
    make(Type::HASH, &["f=v None"], &|out| {
        out.len(1).unwrap();
        out.string(b"f").unwrap();
        out.string(b"v").unwrap();
    });
    make(Type::TIMED_HASH, &["f=v Some(5000)", "g=w None", "h=x Some(5001)"], &|out| {
        out.ms(5000).unwrap();
        out.len(3).unwrap();
        for (ttl, field, value) in [(1, b"f", b"v"), (0, b"g", b"w"), (2, b"h", b"x")] {
            out.len(ttl).unwrap();
            out.string(field).unwrap();
            out.string(value).unwrap();
        }
    });
    all
}

#[test]
fn what_is_written_is_read() {
    for (kind, bytes, lines) in written() {
        for input in [&mut Input::slice(&bytes), &mut Input::stream(&mut bytes.as_slice())] {
            assert_eq!(shown(kind, input).unwrap(), lines);
            assert_eq!(input.offset(), bytes.len() as u64);
        }
    }
}

#[test]
fn streams_in_many_nodes() {
    let entries: Vec<(StreamId, Vec<Vec<u8>>)> = (1..700u64)
        .map(|n| {
            let id = StreamId {
                ms: n / 3,
                seq: if n % 3 == 0 { u64::MAX - n } else { u64::MAX - n + 1 },
            };
            let value = vec![b'v'; (n % 70 * n % 900) as usize];
            let field = if n % 5 == 0 { b"g" } else { b"f" };
            (id, vec![field.to_vec(), value, b"n".to_vec(), n.to_string().into_bytes()])
        })
        .collect();
    let mut entries = entries;
    entries.sort_by_key(|(id, _)| *id);
    entries.dedup_by_key(|(id, _)| *id);
    let mut count = NodesCount::default();
    let mut out = Encoder::memory(false);
    let mut nodes = Nodes::default();
    for (_, texts) in &entries {
        count.entry(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    assert!(count.nodes() > 20);
    out.len(count.nodes()).unwrap();
    for (id, texts) in &entries {
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        nodes.entry(*id, &texts, &mut out).unwrap();
    }
    nodes.finish(&mut out).unwrap();
    let last = entries.last().unwrap().0;
    out.len(entries.len() as u64).unwrap();
    out.id(last).unwrap();
    out.id(entries[0].0).unwrap();
    out.id(StreamId::default()).unwrap();
    out.len(1000).unwrap();
    out.len(0).unwrap();
    let bytes = out.into_bytes();
    let lines = shown(Type::STREAM, &mut Input::slice(&bytes)).unwrap();
    assert_eq!(lines.len(), entries.len() + 1);
    for ((id, texts), line) in entries.iter().zip(&lines) {
        let texts: Vec<_> = texts.iter().map(|t| String::from_utf8(t.clone()).unwrap()).collect();
        assert_eq!(*line, format!("{id} {}", texts.join(" ")));
    }
}

#[test]
fn files_round_trip() {
    for (checksum, compress) in [(true, true), (false, false)] {
        let mut body = Vec::new();
        let mut out = Encoder::file(&mut body, compress);
        out.fact("redis-ver", "7.2.5").unwrap();
        out.database(3).unwrap();
        out.key(b"plain", Type::STRING, None).unwrap();
        out.string(&b"text ".repeat(40_000)).unwrap();
        out.key(b"expires", Type::LIST, Some(77)).unwrap();
        out.len(1).unwrap();
        out.string(b"x").unwrap();
        let magic = out.finish_file(VERSION, checksum).unwrap();
        let bytes = [&magic[..], &body].concat();
        let mut stream = bytes.as_slice();
        let mut file = File::open(Input::stream(&mut stream)).unwrap();
        assert_eq!(file.version(), 10);
        assert_eq!(file.record().unwrap(), Record::Fact(b"redis-ver".into(), b"7.2.5".into()));
        assert_eq!(file.record().unwrap(), Record::Database(3));
        let key =
            |name: &[u8], kind, expire_ms| Record::Key(Key { name: name.into(), kind, expire_ms });
        assert_eq!(file.record().unwrap(), key(b"plain", Type::STRING, None));
        // Its value is passed over.
        assert_eq!(file.record().unwrap(), key(b"expires", Type::LIST, Some(77)));
        assert_eq!(
            file.value(&mut |item| {
                assert_eq!(item, Item::Element(b"x"));
                Ok::<(), ()>(())
            })
            .unwrap(),
            1
        );
        assert_eq!(file.record().unwrap(), Record::End(checksum));
        assert_eq!(file.offset(), bytes.len() as u64);
        // Any changed byte is found, where there is a checksum.
        for at in 0..if checksum { bytes.len() - 8 } else { 0 } {
            if bytes.len() > 1000 && at % 97 > 0 {
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let read_all = || -> Result<bool, Bad> {
                let mut file = File::open(Input::slice(&damaged))?;
                loop {
                    if let Record::End(checked) = file.record()? {
                        return Ok(checked);
                    }
                }
            };
            assert!(read_all().is_err(), "{at}");
        }
    }
}

#[test]
fn old_files_are_read() {
    let mut bytes = b"REDIS0003\xfe\0\xfd\x01\0\0\0\x04\x01h\x01\x01f\x01v\x03\x01z\x02\x01a\xfe\x01b\x031.5\xff".to_vec();
    let read_all = |bytes: &[u8]| -> Result<Vec<String>, Bad> {
        let mut file = File::open(Input::slice(bytes))?;
        let mut all = Vec::new();
        loop {
            match file.record()? {
                Record::End(_) => return Ok(all),
                Record::Key(key) => {
                    all.push(format!("{} {:?}", key.name.escape_ascii(), key.expire_ms));
                    file.value(&mut |item| {
                        all.push(format!("{item:?}"));
                        Ok::<(), ()>(())
                    })
                    .unwrap();
                }
                other => all.push(format!("{other:?}")),
            }
        }
    };
    let expected = [
        "Database(0)",
        "h Some(1000)",
        "Field([102], [118], None)",
        "z None",
        "Scored([97], inf)",
        "Scored([98], 1.5)",
    ];
    assert_eq!(read_all(&bytes).unwrap(), expected);
    bytes.push(0);
    assert!(read_all(&bytes).unwrap_err().what.contains("behind the end"));
    assert!(read_all(b"REDIS0013").unwrap_err().what.contains("version 13"));
    assert!(read_all(b"REDIS00x3").is_err() && read_all(b"RADIS0003").is_err());
}

#[test]
fn modules_are_passed_over() {
    let mut bytes = b"REDIS0009\x07\x01m\x81".to_vec();
    // Nine letters of six bits: "AAAAAAAAB", and the version of the encoding.
    bytes.extend_from_slice(&(1u64 << 10 | 3).to_be_bytes());
    bytes.extend_from_slice(b"\x02\x05\x05\x02hi\x04\0\0\0\0\0\0\0\0\x03\0\0\0\0\x01\x07\0");
    bytes.extend_from_slice(b"\0\x01k\x01v\xff\0\0\0\0\0\0\0\0");
    let mut file = File::open(Input::slice(&bytes)).unwrap();
    let Record::Key(key) = file.record().unwrap() else { panic!("a key") };
    assert_eq!(key.kind.kind(), Kind::Module);
    assert_eq!(file.skip_module().unwrap(), "AAAAAAAAB");
    assert!(matches!(file.record().unwrap(), Record::Key(key) if key.name == b"k"));
    assert_eq!(file.record().unwrap(), Record::End(false));
}

#[test]
fn payloads_are_checked() {
    let good = seal(b"\0\x01v".to_vec(), VERSION);
    let (kind, _) = payload(&good).unwrap().unwrap();
    assert_eq!(kind, Type::STRING);
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        assert!(payload(&damaged).is_none());
        assert!(payload(&good[..at]).is_none());
    }
    assert!(payload(&seal(b"\0\x01v".to_vec(), TIMED_VERSION + 1)).is_none());
    assert!(payload(&seal(b"\x08\x01v".to_vec(), VERSION)).unwrap().is_err());
    assert!(payload(&seal(Vec::new(), VERSION)).unwrap().is_err());
}

/// Any bytes at all, as any type: an answer or an error, and no memory beyond what the bytes explain.
#[test]
fn mutations_never_panic() {
    let mut seeds: Vec<(Type, Vec<u8>)> =
        written().into_iter().map(|(kind, bytes, _)| (kind, bytes)).collect();
    for (_, bytes) in golden() {
        let value = bytes[1..bytes.len() - 10].to_vec();
        seeds.push((Type::of(bytes[0]).unwrap(), value));
    }
    let mut rng = Rng::seeded(11);
    for round in 0..40_000u32 {
        let (kind, bytes) = &seeds[rng.below(seeds.len() as u64) as usize];
        let mut bytes = bytes.clone();
        for _ in 0..1 + rng.below(6) {
            let at = rng.below(bytes.len().max(1) as u64) as usize;
            match rng.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), rng.below(256) as u8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                // Where lengths and counts are.
                3 if bytes.len() > 20 => bytes[at % 20] = rng.below(256) as u8,
                4 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
                _ if at < bytes.len() => {
                    bytes[at] = [0, 0xff, 0x80, 0x81, 0xc3, 0x7f][rng.below(6) as usize]
                }
                _ => {}
            }
        }
        let kind =
            if round % 4 == 0 { Type::of(rng.below(26) as u8).unwrap_or(*kind) } else { *kind };
        let mut total = 0;
        let outcome = read(kind, &mut Input::slice(&bytes), &mut |item| {
            total += match item {
                Item::Text(t) | Item::Element(t) | Item::Member(t) | Item::Scored(t, _) => t.len(),
                Item::Field(f, v, _) => f.len() + v.len(),
                Item::Entry(_, texts) => texts.iter().map(|t| t.len()).sum(),
                _ => 0,
            };
            if total > 100 << 20 { Err(()) } else { Ok(()) }
        });
        assert!(
            !matches!(outcome, Err(Stop::Taker(()))),
            "{} bytes explain no such value",
            bytes.len()
        );
    }
}
