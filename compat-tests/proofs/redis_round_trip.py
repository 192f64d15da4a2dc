"""A Redis moves in and moves out again, and nothing is lost on the way: every type, encoding, database and expiry.

    redis-server -> RDB file -> forgekv import -> served, compared key by key
                 -> BGSAVE -> redis-check-rdb, redis-server -> the same digest
                 -> forgekv export -> redis-server -> the same digest
    and single keys by DUMP and RESTORE, both ways

A million keys; --quick takes 20,000. Files of old forms are taken from Redis's own tests, if they are there.
"""

import glob
import os
import random
import shutil
import subprocess
import time

import lib

KEYS = 20_000 if lib.QUICK else 1_000_000
BATCH = 500
DATABASES = [0, 5, 9]
ASSETS = os.environ.get("COMPAT_WORK", os.path.join(lib.ROOT, "target", "compat"))
NEVER_SAVES = {"save": "", "appendonly": "no", "enable-debug-command": "yes"}


def text(rng):
    return rng.choice(
        [
            str(rng.randrange(-(10 ** rng.randrange(1, 19)), 10**9)),
            "word" * rng.randrange(0, 40),
            rng.randbytes(rng.randrange(0, 90)),
            f"value {rng.randrange(1000)}",
        ]
    )


def score(rng):
    return rng.choice(["-inf", "+inf", 0, rng.randrange(1000), rng.random() * 1e6, -1e-300, 2**53])


def some(rng, most):
    """A number of elements: mostly few, sometimes beyond every limit of packed forms."""
    return rng.randrange(1, 8) if rng.random() < 0.98 else rng.randrange(100, most)


def made(n):
    """The commands that make key n, and its database. The same each time."""
    rng = random.Random(n)
    key = f"key:{n}"
    kind = n % 8
    if kind in (0, 1):
        commands = [("SET", key, text(rng))]
        if n % 5000 == 0:
            commands = [("SET", key, rng.randbytes(300_000))]
    elif kind == 2:
        fields = [w for i in range(some(rng, 700)) for w in (f"field{i}", text(rng))]
        commands = [("HSET", key, *fields)]
    elif kind == 3:
        commands = [("RPUSH", key, *(text(rng) for _ in range(some(rng, 1500))))]
        if n % 4003 == 3:
            commands.append(("LPUSH", key, rng.randbytes(20_000)))
    elif kind == 4:
        commands = [("SADD", key, *(rng.randrange(-99999, 10**rng.randrange(2, 18)) for _ in range(some(rng, 900))))]
    elif kind == 5:
        commands = [("SADD", key, *(text(rng) for _ in range(some(rng, 900))))]
    elif kind == 6:
        pairs = [w for i in range(some(rng, 700)) for w in (score(rng), f"member {i} {rng.randrange(99)}")]
        commands = [("ZADD", key, *pairs)]
    else:
        commands = stream(rng, key)
    if n % 3 == 0:
        commands.append(("PEXPIREAT", key, 4_000_000_000_000 + n))
    return DATABASES[n * 7919 % len(DATABASES)], commands


def stream(rng, key):
    count = some(rng, 400)
    commands = []
    for i in range(count):
        fields = ["a", text(rng), "b", text(rng)] if rng.random() < 0.9 else ["other", text(rng)]
        commands.append(("XADD", key, f"{1000 + i // 3}-{i % 3 + 1}", *fields))
    if rng.random() < 0.3:
        commands.append(("XDEL", key, f"1000-{rng.randrange(1, 4)}"))
    if rng.random() < 0.3:
        commands += [
            ("XGROUP", "CREATE", key, "group", "0"),
            ("XREADGROUP", "GROUP", "group", "one", "COUNT", 2, "STREAMS", key, ">"),
            ("XREADGROUP", "GROUP", "group", "two", "COUNT", 9, "STREAMS", key, ">"),
            ("XGROUP", "CREATECONSUMER", key, "group", "idle"),
            ("XGROUP", "CREATE", key, "second", "$"),
        ]
    return commands


def numbers_by_database(numbers):
    by = {db: [] for db in DATABASES}
    for n in numbers:
        by[DATABASES[n * 7919 % len(DATABASES)]].append(n)
    return by.items()


def fill(client):
    for batch in lib.batches(range(KEYS), BATCH):
        for db, numbers in numbers_by_database(batch):
            commands = [("SELECT", db)]
            for n in numbers:
                commands += made(n)[1]
            for got, command in zip(client.pipeline(commands), commands):
                if isinstance(got, lib.ReplyError):
                    raise RuntimeError(f"{command[:2]}: {got}")


READ = {
    b"string": lambda key: [("GET", key)],
    b"hash": lambda key: [("HGETALL", key)],
    b"list": lambda key: [("LRANGE", key, 0, -1)],
    b"set": lambda key: [("SMEMBERS", key)],
    b"zset": lambda key: [("ZRANGE", key, 0, -1, "WITHSCORES")],
    b"stream": lambda key: [("XRANGE", key, "-", "+"), ("XINFO", "STREAM", key, "FULL", "COUNT", 0)],
}


def plain(kind, replies):
    """What a type's read commands answer, without what may differ."""
    if kind == b"hash":
        words = replies[0]
        return sorted(zip(words[::2], words[1::2]))
    if kind == b"set":
        return sorted(replies[0])
    if kind == b"stream":
        about = dict(zip(replies[1][::2], replies[1][1::2]))
        groups = [dict(zip(g[::2], g[1::2])) for g in about[b"groups"]]
        kept = [b"length", b"last-generated-id", b"max-deleted-entry-id", b"entries-added"]
        shown = []
        for group in groups:
            consumers = [dict(zip(c[::2], c[1::2])) for c in group[b"consumers"]]
            consumers = sorted((c[b"name"], c[b"seen-time"], c[b"pending"]) for c in consumers)
            shown.append((group[b"name"], group[b"last-delivered-id"], group[b"entries-read"], group[b"pending"], consumers))
        return [replies[0], [about[name] for name in kept], sorted(shown)]
    return replies


def values(client, keys):
    kinds = client.pipeline([("TYPE", key) for key in keys])
    commands = [READ[kind](key) if kind in READ else [] for kind, key in zip(kinds, keys)]
    replies = iter(client.pipeline([c for some in commands for c in some]))
    expires = client.pipeline([("PEXPIRETIME", key) for key in keys])
    return [
        (kind, expire, plain(kind, [next(replies) for _ in some]) if some else None)
        for kind, expire, some in zip(kinds, expires, commands)
    ]


def compare(tally, ours, theirs, what):
    """Every key of the proof; both clients select."""
    wrong = []
    for batch in lib.batches(range(KEYS), BATCH):
        for db, numbers in numbers_by_database(batch):
            keys = [f"key:{n}" for n in numbers]
            ours.do("SELECT", db)
            theirs.do("SELECT", db)
            for key, a, b in zip(keys, values(ours, keys), values(theirs, keys)):
                if a != b:
                    wrong.append((db, key, a, b))
    for db, key, a, b in wrong[:3]:
        print(f"    {db} {key}: {str(a)[:300]} != {str(b)[:300]}")
    tally.check(not wrong, f"{what}: all of {KEYS} keys are equal" + (f", but {len(wrong)}" if wrong else ""))


def run(tally, *words):
    started = time.monotonic()
    done = subprocess.run([lib.BINARY, *words], capture_output=True, text=True)
    tally.figure(f"{' '.join(words[:1])}: {done.stdout.strip()} {done.stderr.strip()} ({time.monotonic() - started:.1f} s)")
    return done


def redis_on(file, dir):
    os.makedirs(dir, exist_ok=True)
    shutil.copy(file, os.path.join(dir, "dump.rdb"))
    flags = {**NEVER_SAVES, "dbfilename": "dump.rdb"}
    return lib.Server(dir, flags, program="redis-server", wait=600.0).must_be_up()


def single_keys(tally, ours, theirs):
    """DUMP here, RESTORE there."""
    wrong, count = [], 0
    for db, numbers in numbers_by_database(range(0, KEYS, max(1, KEYS // 4000))):
        keys = [f"key:{n}" for n in numbers]
        for source, target, there in ((ours, theirs, "redis"), (theirs, ours, "forgekv")):
            source.do("SELECT", db)
            target.do("SELECT", db)
            payloads = source.pipeline([("DUMP", key) for key in keys])
            restored = target.pipeline([("RESTORE", "copy:" + key, 0, p) for key, p in zip(keys, payloads)])
            here = values(source, keys)
            copies = values(target, ["copy:" + key for key in keys])
            target.pipeline([("DEL", "copy:" + key) for key in keys])
            for key, answer, a, b in zip(keys, restored, here, copies):
                count += 1
                if answer != b"OK" or (a[0], a[2]) != (b[0], b[2]):
                    wrong.append((there, key, answer, a, b))
    for there, key, answer, a, b in wrong[:3]:
        print(f"    {key} into {there}: {answer} {str(a)[:200]} != {str(b)[:200]}")
    tally.check(not wrong, f"DUMP and RESTORE, both ways: {count} values are equal")


def old_files(tally, work):
    files = sorted(glob.glob(os.path.join(ASSETS, "redis-source", "redis-7.0.15", "tests", "assets", "*.rdb")))
    if not files:
        tally.skip("files of old forms: Redis's tests are not there")
    for file in files:
        name = os.path.basename(file)
        redis = lib.Server(
            os.path.join(work, "old-" + name),
            {**NEVER_SAVES, "dbfilename": "none.rdb"},
            program="redis-server",
        ).must_be_up()
        redis.stop()
        dir = os.path.join(work, "old-" + name)
        shutil.copy(file, os.path.join(dir, "old.rdb"))
        flags = {**NEVER_SAVES, "dbfilename": "old.rdb", "sanitize-dump-payload": "yes"}
        redis = lib.Server(dir, flags, program="redis-server", wait=10.0)
        done = run(tally, "import", file, os.path.join(work, "import-" + name))
        if not redis.up:
            tally.check(done.returncode == 1, f"{name}: redis-server refuses it, and so do we")
            continue
        if done.returncode != 0:
            tally.check(False, f"{name}: redis-server takes it, we do not")
            continue
        server = lib.Server(os.path.join(work, "import-" + name)).must_be_up()
        ours, theirs = server.client(), redis.client()
        keys = sorted(theirs.do("KEYS", "*"))
        equal = sorted(ours.do("KEYS", "*")) == keys and values(ours, keys) == values(theirs, keys)
        tally.check(equal, f"{name}: its {len(keys)} keys are those that redis-server sees")
        server.stop()
        redis.stop()


def proof(tally):
    if not shutil.which("redis-server"):
        tally.skip("there is no redis-server")
        return
    work = lib.work_dir()
    redis = lib.Server(os.path.join(work, "redis"), NEVER_SAVES, program="redis-server").must_be_up()
    theirs = redis.client()
    fill(theirs)
    digest = theirs.do("DEBUG", "DIGEST")
    theirs.do("SAVE")
    dump = os.path.join(work, "redis", "dump.rdb")
    tally.figure(f"redis-server's file: {os.path.getsize(dump) / 1e6:.1f} MB")

    data = os.path.join(work, "forgekv")
    tally.check(run(tally, "import", dump, data).returncode == 0, "the file is imported")
    again = run(tally, "import", dump, data)
    tally.check(again.returncode == 1 and "--replace" in again.stderr, "not a second time")
    server = lib.Server(data, {"dbfilename": "ours.rdb"}).must_be_up()
    refused = run(tally, "import", dump, data)
    tally.check(refused.returncode == 1, "not while the directory is served")
    ours = server.client()
    compare(tally, ours, theirs, "imported")
    single_keys(tally, ours, theirs)

    started = time.monotonic()
    ours.do("BGSAVE")
    slowest = 0.0
    while ours.info()["rdb_bgsave_in_progress"] == "1":
        before = time.monotonic()
        ours.do("SET", "beside", "x")
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.001)
    tally.figure(f"BGSAVE: {time.monotonic() - started:.1f} s; the slowest SET beside it {slowest * 1e3:.1f} ms")
    tally.check(ours.info()["rdb_last_bgsave_status"] == "ok", "BGSAVE succeeds")
    ours.do("DEL", "beside")
    saved = os.path.join(data, "ours.rdb")
    checked = subprocess.run(["redis-check-rdb", saved], capture_output=True, text=True)
    tally.check(checked.returncode == 0, "redis-check-rdb finds nothing wrong")
    ours.do("SAVE")
    second = redis_on(saved, os.path.join(work, "second"))
    tally.check(second.client().do("DEBUG", "DIGEST") == digest, "what redis-server loads of it has the same digest")
    if KEYS <= 50_000:
        compare(tally, second.client(), theirs, "saved")
    second.stop()
    server.stop()

    exported = os.path.join(work, "export.rdb")
    tally.check(run(tally, "export", exported, data).returncode == 0, "the directory is exported")
    third = redis_on(exported, os.path.join(work, "third"))
    tally.check(third.client().do("DEBUG", "DIGEST") == digest, "what redis-server loads of it has the same digest")
    third.stop()

    with open(exported, "r+b") as file:
        file.seek(os.path.getsize(exported) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x20]))
    damaged = run(tally, "import", exported, data, "--replace")
    tally.check(damaged.returncode == 1 and "offset" in damaged.stderr, "a damaged file is refused, with its offset")
    server = lib.Server(data).must_be_up()
    compare(tally, server.client(), theirs, "after that")
    server.stop()
    redis.stop()
    old_files(tally, work)


lib.main(proof)
