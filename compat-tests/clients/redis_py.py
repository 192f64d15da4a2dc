"""redis-py against a server: what an application does on its first day. `python redis_py.py PORT`"""
import sys
import threading

import redis

port = int(sys.argv[1])
passed = 0


def check(what, got, want):
    global passed
    if got != want:
        sys.exit(f"redis-py: {what}: wanted {want!r}, got {got!r}")
    passed += 1


for protocol in (2, 3):
    r = redis.Redis(port=port, protocol=protocol, decode_responses=True, client_name=f"py{protocol}")
    r.flushall()
    check("ping", r.ping(), True)
    check("client name", r.client_getname(), f"py{protocol}")
    check("set", r.set("k", "v", ex=100), True)
    check("get", r.get("k"), "v")
    check("ttl", 98 <= r.ttl("k") <= 100, True)
    check("set nx", r.set("k", "w", nx=True), None)
    check("set get", r.set("k", "w", get=True), "v")
    check("getdel", r.getdel("k"), "w")
    check("mset", r.mset({"a": 1, "b": 2}), True)
    check("mget", r.mget("a", "b", "c"), ["1", "2", None])
    check("incr", [r.incr("n"), r.incrby("n", 9), r.decr("n")], [1, 10, 9])
    check("incrbyfloat", r.incrbyfloat("f", 1.5), 1.5)
    check("hset", r.hset("h", mapping={"x": 1, "y": 2}), 2)
    check("hgetall", r.hgetall("h"), {"x": "1", "y": "2"})
    check("hmget", r.hmget("h", "x", "z"), ["1", None])
    check("hincrby", r.hincrby("h", "x", 4), 5)
    check("hrandfield", sorted(r.hrandfield("h", 5)), ["x", "y"])
    check("rename", r.rename("a", "c"), True)
    check("exists", r.exists("a", "b", "c"), 2)
    check("type", r.type("h"), "hash")
    check("expire", r.expire("h", 100, nx=True), True)
    check("persist", r.persist("h"), True)
    for i in range(500):
        r.set(f"scan:{i}", i)
    check("scan", len(set(r.scan_iter("scan:*", count=50))), 500)
    r.hset("big", mapping={f"f{i}": i for i in range(1000)})
    check("hscan", len(dict(r.hscan_iter("big", count=100))), 1000)
    check("dbsize", r.dbsize(), 506)
    pipe = r.pipeline(transaction=False)
    for i in range(100):
        pipe.incr("p")
    check("pipeline", pipe.execute(), list(range(1, 101)))
    try:
        r.hget("n", "x")
        sys.exit("redis-py: no WRONGTYPE")
    except redis.ResponseError as e:
        check("wrong type", str(e).startswith("WRONGTYPE"), True)
    binary = redis.Redis(port=port, protocol=protocol)
    value = bytes(range(256)) * 5000
    binary.set(b"\x00\xff", value)
    check("bytes", binary.get(b"\x00\xff"), value)
    check("info", r.info()["redis_version"][:1], "7")
    check("config", r.config_get("databases"), {"databases": "16"})
    check("client list", any(c["name"] == f"py{protocol}" for c in r.client_list()), True)
    check("command count", r.command_count() > 50, True)
    check("select", redis.Redis(port=port, db=5).dbsize(), 0)

    def work():
        mine = redis.Redis(port=port, protocol=protocol)
        for _ in range(200):
            mine.incr("threads")

    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check("threads", r.get("threads"), "1600")

print(f"RESULT clients/redis-py passed={passed} failed=0 skipped=0")
