#!/usr/bin/env python3
"""Collections far larger than memory are looked into at any place, and those of fixed size do not slow down.

A sorted set, a list, a set and a stream of ten million members each (--quick: half a million) with
`maxmemory 256mb` (--quick: 64mb), made one after the other; then reads at uniform positions, one at a time,
every reply compared, beside reads of 4 KiB of the device itself. Then a leaderboard and a queue, which grow
at one end and lose at the other: what a command costs at the end is compared with the start.
"""

import mmap
import os
import random
import time

from lib import MIB, QUICK, MemoryCgroup, Sampler, Server, disk_usage, main, quantiles, work_dir

N = 500_000 if QUICK else 10_000_000
BUDGET = (64 if QUICK else 256) * MIB
READS = 1000 if QUICK else 5000
# Members are added in another order than that of their scores.
STEP = 7_368_787
PART = 500
SECONDS = 24 if QUICK else 300
BOARD = 100_000
DEPTH = 32


def member(i):
    return b"member:%08d" % i


def text(i):
    return b"%08d:" % i + b"abcdefghijklmnopqrstuvwxyz" * 4


def load(client, commands):
    """Sends commands, a few on their way at a time."""
    waiting = 0
    for words in commands:
        client.send(encode(words))
        waiting += 1
        if waiting == 8:
            for _ in range(waiting):
                expect(client.reply())
            waiting = 0
    for _ in range(waiting):
        expect(client.reply())


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def expect(got):
    if isinstance(got, Exception):
        raise got


def made(name):
    """The commands that make a collection."""
    for start in range(0, N, PART):
        part = range(start, min(start + PART, N))
        if name == b"zset":
            order = [i * STEP % N for i in part]
            yield [b"ZADD", name, *(word for i in order for word in (b"%d" % i, member(i)))]
        elif name == b"list":
            yield [b"RPUSH", name, *map(text, part)]
        elif name == b"set":
            yield [b"SADD", name, *(member(i * STEP % N) for i in part)]
    if name == b"stream":
        for i in range(N):
            yield [b"XADD", name, b"%d-0" % (i + 1), b"f", text(i)]


def questions(rng):
    """What is asked of each collection: name, words and the right reply, at a uniform position."""
    i = rng.randrange(N - 10)
    yield "ZRANK", [b"ZRANK", b"zset", member(i)], i
    yield "ZRANGE of 10", [b"ZRANGE", b"zset", b"%d" % i, b"%d" % (i + 9)], [member(i + n) for n in range(10)]
    yield "LINDEX", [b"LINDEX", b"list", b"%d" % i], text(i)
    yield "SISMEMBER, there", [b"SISMEMBER", b"set", member(i)], 1
    yield "SISMEMBER, not there", [b"SISMEMBER", b"set", member(N + i)], 0
    right = [[b"%d-0" % (i + n + 1), [b"f", text(i + n)]] for n in range(10)]
    yield "XRANGE of 10", [b"XRANGE", b"stream", b"%d" % (i + 1), b"+", b"COUNT", b"10"], right


def device_reads(directory):
    """Milliseconds of reads of 4 KiB at uniform positions, past the page cache."""
    path, size = os.path.join(directory, "device"), 1 << 30
    block = os.urandom(MIB)
    with open(path, "wb") as f:
        for _ in range(size // MIB):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())
    file, buffer, rng, times = os.open(path, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096), random.Random(3), []
    for _ in range(READS):
        started = time.perf_counter()
        os.preadv(file, [buffer], rng.randrange(size // 4096) * 4096)
        times.append(time.perf_counter() - started)
    os.close(file)
    os.unlink(path)
    return times


def look(tally, client):
    times, wrong, rng = {}, 0, random.Random(11)
    for _ in range(READS):
        for what, words, right in questions(rng):
            started = time.perf_counter()
            client.send(encode(words))
            got = client.reply()
            times.setdefault(what, []).append(time.perf_counter() - started)
            wrong += got != right
    for what, each in times.items():
        median, p99, _, most = quantiles(each)
        tally.figure(f"{what}: median {median:.3f} ms, p99 {p99:.3f}, most {most:.3f}")
    tally.check(wrong == 0, f"{sum(map(len, times.values()))} replies, {wrong} wrong")
    return max(quantiles(each)[1] for each in times.values())


def decay(tally, server, name, commands):
    """Runs commands for a while; what they cost the server at the end, as a part of the start."""
    client = server.client()
    window, parts = SECONDS / 8, []
    began, n = time.monotonic(), 0
    while len(parts) < 8:
        started, cpu, done = time.monotonic(), server.cpu(), 0
        while time.monotonic() - started < window:
            batch = [words for i in range(n, n + DEPTH) for words in commands(i)]
            n += DEPTH
            for got in client.pipeline(batch):
                expect(got)
            done += len(batch)
        parts.append((done / (time.monotonic() - started), done / max(server.cpu() - cpu, 0.01)))
    # The first window warms up; the second and third are the start.
    start = [sum(part[i] for part in parts[1:3]) / 2 for i in (0, 1)]
    end = [sum(part[i] for part in parts[-2:]) / 2 for i in (0, 1)]
    tally.figure(
        f"{name}: {start[0]:.0f} commands/s at first, {end[0]:.0f} after {time.monotonic() - began:.0f} s;"
        f" {start[1]:.0f} and {end[1]:.0f} for each second of the server's processor time, background included"
    )
    kept = max(end[0] / start[0], end[1] / start[1])
    tally.check(kept >= 0.9, f"{name}: {100 * kept:.0f} % of what it did at first")


def proof(tally):
    base = work_dir()
    device = quantiles(device_reads(base))
    tally.figure(f"the device's own read of 4 KiB: median {device[0]:.3f} ms, p99 {device[1]:.3f}")
    data = os.path.join(base, "data")
    # With room for half as much again, page cache included: what is cold comes from the device.
    group = MemoryCgroup.make(tally, BUDGET * 3 // 2)
    flags = {"maxmemory": BUDGET, "memtable_size_mb": BUDGET // MIB // 4}
    server = Server(data, flags, cgroups=[group] if group else []).must_be_up()
    client = server.client()
    sampler = Sampler(server)
    for name in (b"zset", b"list", b"set", b"stream"):
        started = time.monotonic()
        sampler.phase = name.decode()
        load(client, made(name))
        seconds = time.monotonic() - started
        tally.figure(f"{name.decode()}: {N} members in {seconds:.0f} s, {disk_usage(data) / MIB:.0f} MiB on disk")
    sampler.phase = "reads"
    p99 = look(tally, client)
    most = sampler.stop()
    peaks = ", ".join(f"{phase} {peak / MIB:.0f}" for phase, peak in sampler.peaks.items())
    tally.figure(f"RssAnon at most, in MiB: {peaks}")
    tally.figure(f"the largest p99 is {p99 / device[1]:.1f} times that of the device's own read")
    tally.check(most <= BUDGET * 1.1, f"RssAnon at most {most / MIB:.0f} MiB of {BUDGET // MIB} ({100 * most / BUDGET:.0f} %)")
    client.do("FLUSHALL")

    rng = random.Random(5)
    load(client, ([b"ZADD", b"board", *(w for i in range(n, n + PART) for w in (b"%d" % rng.randrange(1 << 30), member(i)))] for n in range(0, BOARD, PART)))
    decay(
        tally,
        server,
        "leaderboard",
        lambda n: [
            (b"ZADD", b"board", b"%d" % (n + rng.randrange(1 << 30)), member(rng.randrange(1 << 40))),
            (b"ZREMRANGEBYRANK", b"board", b"0", b"%d" % (-BOARD - 1)),
        ],
    )
    tally.check(client.do("ZCARD", "board") == BOARD, "the leaderboard has its size")
    load(client, ([b"RPUSH", b"queue", *map(text, range(n, n + PART))] for n in range(0, 10_000, PART)))
    decay(tally, server, "queue", lambda n: [(b"RPUSH", b"queue", text(n)), (b"LPOP", b"queue")])
    tally.check(client.do("LLEN", "queue") == 10_000, "the queue has its length")
    tally.figure(f"{disk_usage(data) / MIB:.0f} MiB on disk at the end")
    tally.check(server.alive() and "panicked" not in server.log(), "the server lives, without a panic")
    server.stop()


main(proof)
