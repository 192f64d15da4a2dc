#!/usr/bin/env python3
"""Data ten times `maxmemory` (--quick: five times), in a memory cgroup of one and a half times `maxmemory`.

The cgroup's limit includes the page cache. What is read is compared byte for byte, while the
server's anonymous memory is sampled every 50 ms.
"""

import os
import random
import time

from lib import MIB, QUICK, Client, MemoryCgroup, Sampler, Server, batches, disk_usage, later, main
from lib import side_by_side, value, work_dir

BUDGET = 64 * MIB
SIZE = 1000
KEYS = (5 if QUICK else 10) * BUDGET // (SIZE + 12)
CLIENTS = 4
DEPTH = 16


def name(i):
    return b"key:%08d" % i


def fate(i, phase):
    """The version of key `i` after a phase: 0 loaded, 1 overwritten, None deleted."""
    if phase >= 2 and i % 5 == 0:
        return None
    return 1 if phase >= 1 and i % 3 == 0 else 0


def expected(i, phase):
    version = fate(i, phase)
    return None if version is None else value(name(i), version, SIZE)


def work(n, count, port, phase, commands):
    """Client `n`'s part of `commands`, a function that yields (words, expected reply)."""
    client = Client(port, timeout=300)
    done = wrong = 0
    example = None
    for part in commands(n, count, phase):
        replies = client.pipeline(words for words, _ in part)
        for (words, right), got in zip(part, replies):
            done += 1
            if got != right:
                wrong += 1
                example = example or f"{words[:2]}: {str(got)[:80]}"
    return done, wrong, example


def load(n, count, phase):
    for part in batches(range(n, KEYS, count), DEPTH):
        yield [((b"SET", name(i), value(name(i), 0, SIZE)), b"OK") for i in part]


def uniform(n, count, phase):
    rng = random.Random(n + 100 * phase)
    for _ in range(KEYS // count // DEPTH // 3):
        part = [rng.randrange(KEYS) for _ in range(DEPTH)]
        yield [((b"GET", name(i)), expected(i, phase)) for i in part]


def single(n, count, phase):
    rng = random.Random(n + 1000)
    for _ in range(2000 if QUICK else 5000):
        i = rng.randrange(KEYS)
        yield [((b"GET", name(i)), expected(i, phase))]


def overwrite(n, count, phase):
    numbers = [i for i in range(n, KEYS, count) if i % 3 == 0]
    random.Random(n).shuffle(numbers)
    for part in batches(numbers, DEPTH):
        yield [((b"SET", name(i), value(name(i), 1, SIZE)), b"OK") for i in part]


def delete(n, count, phase):
    numbers = [i for i in range(n, KEYS, count) if i % 5 == 0]
    random.Random(n).shuffle(numbers)
    for part in batches(numbers, DEPTH):
        yield [((b"DEL", name(i)), 1) for i in part]


def everything(n, count, phase):
    for part in batches(range(n, KEYS, count), DEPTH):
        yield [((b"GET", name(i)), expected(i, phase)) for i in part]


def proof(tally):
    group = MemoryCgroup.make(tally, BUDGET * 3 // 2)
    if group is None:
        tally.figure("the rest is shown without a cgroup")
    data = os.path.join(work_dir(), "data")
    flags = {"maxmemory": BUDGET, "memtable_size_mb": BUDGET // MIB // 4}
    server = Server(data, flags, cgroups=[group] if group else []).must_be_up()
    sampler = Sampler(server, group)
    tally.figure(f"{KEYS} keys of {SIZE} bytes, maxmemory {BUDGET // MIB} MiB,"
                 f" {CLIENTS} clients, pipeline {DEPTH}")
    phases = [
        ("load", load, 0),
        ("uniform reads", uniform, 0),
        ("uniform reads, pipeline 1", single, 0),
        ("overwrites", overwrite, 1),
        ("uniform reads", uniform, 1),
        ("deletes", delete, 2),
        ("all read again", everything, 2),
    ]
    for what, commands, phase in phases:
        sampler.phase = what
        started, cpu = time.monotonic(), server.cpu()
        try:
            results = side_by_side(CLIENTS, work, server.port, phase, commands)
        except RuntimeError as e:
            tally.check(False, f"{what}: {e}; server alive: {server.alive()}")
            tally.figure(server.log()[-2000:])
            if group:
                tally.figure(f"the cgroup's last sample: {sampler.last_group}")
            break
        took = time.monotonic() - started
        done, wrong = sum(r[0] for r in results), sum(r[1] for r in results)
        example = next((r[2] for r in results if r[2]), "")
        tally.check(wrong == 0, f"{what}: {done} commands, {wrong} wrong {example}")
        tally.figure(f"{done / took:.0f}/s, {1e6 * (server.cpu() - cpu) / done:.1f} us of server CPU each,"
                     f" RssAnon at most {sampler.peaks.get(what, 0) / MIB:.1f} MiB")
    alive = server.alive()
    if alive:
        client = server.client()
        left = sum(fate(i, 2) is not None for i in range(KEYS))
        size = client.do("DBSIZE")
        tally.check(size == left, f"DBSIZE is exact: {size}, expected {left}")
        info = client.info()
        for at in ("mem_memtables", "mem_hot_records", "mem_block_cache", "mem_filters_and_indexes",
                   "used_memory_peak", "allocator_resident", "table_bytes", "cold_commands"):
            tally.figure(f"{at}:{info.get(at)}")
        tally.figure(f"disk in use {disk_usage(data) >> 20} MiB")
    highest = sampler.stop()
    tally.figure(f"RssAnon at most {highest / MIB:.1f} MiB = {100 * highest / BUDGET:.1f} % of maxmemory"
                 f" in {sampler.samples} samples")
    tally.check(highest <= BUDGET * 1.1, "RssAnon stays within maxmemory + 10 %")
    if group:
        kills = group.oom_kills()
        tally.figure(f"cgroup: limit {BUDGET * 3 // 2 // MIB} MiB, at most {group.peak() / MIB:.1f} MiB")
        tally.check(alive and kills == 0, f"never killed ({kills} kills)")
    else:
        tally.check(alive, "still alive")
    started = time.monotonic()
    code = server.stop(120)
    tally.check(code == 0, f"SIGTERM ends it with 0 ({code}, {time.monotonic() - started:.1f} s)")


main(proof)
