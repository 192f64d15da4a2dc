"""redis-py's client-side cache, kept right by invalidations in RESP3. `python redis_cache.py PORT`"""
import threading
import time

import redis
from redis.cache import CacheConfig

from checks import check, eventually, port, result


def calls(r, command):
    """How often the server ran it."""
    return r.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


# The client wants to see version 7.4 here; what it needs has been there since 6.0.
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
r = redis.Redis(port=port, protocol=3, decode_responses=True)
cached = redis.Redis(port=port, protocol=3, decode_responses=True, cache_config=CacheConfig(max_size=1000))
r.flushall()

r.set("k", "one")
r.hset("h", "f", "one")
check("read", [cached.get("k") for _ in range(100)], ["one"] * 100)
before = calls(r, "get")
check("read again", [cached.get("k") for _ in range(100)], ["one"] * 100)
check("without the server", calls(r, "get"), before)
check("a hash", [cached.hget("h", "f") for _ in range(10)], ["one"] * 10)
r.hset("h", "f", "two")
eventually("its new field", lambda: cached.hget("h", "f") == "two", 2)

# After the writer's OK a reader that asks for the invalidation (PING) never sees the old value.
stale = 0
for i in range(1000):
    r.set("k", i)
    cached.ping()
    stale += cached.get("k") != str(i)
    cached.get("k")
check("stale", stale, 0)

# What else changes or ends a key.
for what, change in {
    "delete": lambda: r.delete("k"),
    "set": lambda: r.set("k", "back"),
    "a script": lambda: r.eval("return redis.call('APPEND', KEYS[1], '!')", 1, "k"),
    "a transaction": lambda: r.pipeline().set("k", "a").append("k", "b").execute(),
    "copy": lambda: r.set("other", "o") and r.copy("other", "k", replace=True),
    "expiry": lambda: r.pexpire("k", 20) and time.sleep(0.05),
    "a flush": lambda: r.set("k", "x") and cached.get("k") and r.flushall(),
}.items():
    cached.get("k")
    change()
    eventually(f"what {what} left", lambda: cached.get("k") == r.get("k"), 2)

# Readers in threads, each with a connection of its own, against a writer: values never go back, and all
# of them come to the last one.
last = 500
wrong = []


def read():
    mine = redis.Redis(port=port, protocol=3, decode_responses=True, cache_config=CacheConfig())
    seen = 0
    end = time.monotonic() + 30
    while seen < last and time.monotonic() < end:
        now = int(mine.get("counter") or 0)
        if now < seen:
            wrong.append(f"{now} after {seen}")
        seen = now
    if seen != last:
        wrong.append(f"stopped at {seen}")


readers = [threading.Thread(target=read) for _ in range(4)]
for one in readers:
    one.start()
for i in range(1, last + 1):
    r.set("counter", i)
for one in readers:
    one.join()
check("readers", wrong, [])
result("redis-py-cache")
