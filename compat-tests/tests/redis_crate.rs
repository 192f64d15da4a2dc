//! The `redis` crate against our server, in both protocols.

use std::collections::{HashMap, HashSet};

use forgekv_compat_tests::Result;
use forgekv_compat_tests::server::Start;
use redis::{Commands, Connection};

#[test]
fn the_redis_crate_works() -> Result<()> {
    let server = Start::forgekv()?.run()?;
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", server.port());
        let mut connection = redis::Client::open(url)?.get_connection()?;
        redis::cmd("FLUSHALL").exec(&mut connection)?;
        strings(&mut connection)?;
        hashes(&mut connection)?;
        keys(&mut connection)?;
        pipelines(&mut connection)?;
    }
    println!("RESULT clients/redis-rs passed=8 failed=0 skipped=0");
    Ok(())
}

fn strings(c: &mut Connection) -> Result<()> {
    c.set::<_, _, ()>("k", "v")?;
    assert_eq!(c.get::<_, String>("k")?, "v");
    assert_eq!(c.get::<_, Option<String>>("nokey")?, None);
    assert_eq!(c.incr::<_, _, i64>("n", 5)?, 5);
    c.set::<_, _, ()>("bin", vec![0_u8, 255, 10, 13])?;
    assert_eq!(c.get::<_, Vec<u8>>("bin")?, [0, 255, 10, 13]);
    c.mset::<_, _, ()>(&[("a", 1), ("b", 2)])?;
    assert_eq!(c.mget::<_, Vec<Option<i64>>>(&["a", "b", "c"])?, [Some(1), Some(2), None]);
    let wrong = c.hget::<_, _, Option<String>>("k", "f").err();
    assert_eq!(wrong.as_ref().and_then(redis::RedisError::code), Some("WRONGTYPE"));
    Ok(())
}

fn hashes(c: &mut Connection) -> Result<()> {
    c.hset_multiple::<_, _, _, ()>("h", &[("x", 1), ("y", 2)])?;
    let all: HashMap<String, i64> = c.hgetall("h")?;
    assert_eq!(all, HashMap::from([("x".into(), 1), ("y".into(), 2)]));
    let pairs =
        c.hscan::<_, (String, i64)>("h")?.collect::<std::result::Result<HashSet<_>, _>>()?;
    assert_eq!(pairs.len(), 2);
    Ok(())
}

fn keys(c: &mut Connection) -> Result<()> {
    for i in 0..500 {
        c.set::<_, _, ()>(format!("scan:{i}"), i)?;
    }
    let found =
        c.scan_match::<_, String>("scan:*")?.collect::<std::result::Result<HashSet<_>, _>>()?;
    assert_eq!(found.len(), 500);
    assert!(c.expire::<_, bool>("h", 100)?);
    assert!((99..=100).contains(&c.ttl::<_, i64>("h")?));
    c.rename::<_, _, ()>("h", "h2")?;
    assert_eq!(c.exists::<_, i64>(&["h", "h2"])?, 1);
    assert_eq!(c.del::<_, i64>(&["h", "h2"])?, 1);
    Ok(())
}

fn pipelines(c: &mut Connection) -> Result<()> {
    let mut pipeline = redis::pipe();
    for _ in 0..1000 {
        pipeline.incr("p", 1);
    }
    let replies: Vec<i64> = pipeline.query(c)?;
    assert_eq!(replies, (1..=1000).collect::<Vec<_>>());
    Ok(())
}
