#!/usr/bin/env python3
"""A cold read never delays a hot one on the same worker.

One worker (threads 1), data ten times `maxmemory` (--quick: five times) in a memory cgroup that
keeps the page cache small. One client reads a hundred hot keys; sixteen others read cold keys,
first from the disk as it is, then with the disk slowed by the block controller until a cold read
takes many milliseconds. A hot read that waited behind a cold one would take as long.
"""

import os
import random
import time

from lib import MIB, QUICK, Client, MemoryCgroup, Server, Task, batches, later, main
from lib import quantiles, side_by_side, value, work_dir

BUDGET = 64 * MIB
SIZE = 1000
KEYS = (5 if QUICK else 10) * BUDGET // (SIZE + 12)
HOT = 100
SECONDS = 5 if QUICK else 15
COLD_CLIENTS = 16
SLOW_READS = 100  # reads a second of the slowed disk


def name(i):
    return b"key:%08d" % i


def load(n, count, port):
    client = Client(port, timeout=300)
    for part in batches(range(n, KEYS, count), 16):
        for got in client.pipeline((b"SET", name(i), value(name(i), 0, SIZE)) for i in part):
            if got != b"OK":
                raise RuntimeError(str(got))


def reads(port, seed, seconds, first, last):
    """Round trips of GETs of keys in `first..last`, one at a time; every value is compared."""
    client, rng, times = Client(port, timeout=300), random.Random(seed), []
    words = b"*2\r\n$3\r\nGET\r\n$12\r\n%b\r\n"
    end = time.perf_counter() + seconds
    while True:
        i = rng.randrange(first, last)
        started = time.perf_counter()
        if started >= end:
            return times
        client.send(words % name(i))
        got = client.reply()
        times.append(time.perf_counter() - started)
        if got != value(name(i), 0, SIZE):
            raise RuntimeError(f"{name(i)}: {str(got)[:100]}")


class BlockCgroup:
    """Slows reads of the disk below `path` for the processes that enter it; v1 or v2."""

    @staticmethod
    def make(tally, path):
        device = os.stat(path).st_dev
        major, minor = os.major(device), os.minor(device)
        at = f"/sys/dev/block/{major}:{minor}"
        if major == 0 or not os.path.exists(at):
            tally.skip(f"{path} is on no block device of its own: it can't be slowed")
            return None
        if os.path.exists(os.path.join(at, "partition")):
            with open(os.path.join(at, "..", "dev")) as f:
                major, minor = map(int, f.read().strip().split(":"))
        group = BlockCgroup()
        group.device, why = f"{major}:{minor}", "there is no block controller"
        for base, knob in (("/sys/fs/cgroup/blkio", "blkio.throttle.read_iops_device"),
                           ("/sys/fs/cgroup", "io.max")):
            if not os.path.isdir(base) or (knob == "io.max" and not os.path.exists(base + "/cgroup.controllers")):
                continue
            try:
                if knob == "io.max":
                    with open(base + "/cgroup.subtree_control", "w") as f:
                        f.write("+io")
                group.path = os.path.join(base, f"forgekv-proof-{os.getpid()}-block")
                os.mkdir(group.path)
                group.knob = knob
                later(lambda: MemoryCgroup.remove(group))
                group.limit(None)
                return group
            except OSError as e:
                why = str(e)
        tally.skip(f"the disk can't be slowed here: {why}")
        return None

    def enter(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def limit(self, iops):
        with open(os.path.join(self.path, self.knob), "w") as f:
            if self.knob == "io.max":
                f.write(f"{self.device} riops={iops or 'max'}")
            else:
                f.write(f"{self.device} {iops or 0}")


def round_(port, cold, seed=0):
    """Round trips of the hot client and of all the cold ones, at the same time."""
    tasks = [Task(reads, port, seed + n, SECONDS, HOT, KEYS) for n in range(cold)]
    hot = Task(reads, port, 999, SECONDS, 0, HOT).result()
    return hot, [t for task in tasks for t in task.result()]


def show(tally, what, times):
    median, p99, p999, most = quantiles(times)
    tally.figure(f"{what}: {len(times) / SECONDS:.0f}/s, median {median:.3f} ms, p99 {p99:.3f},"
                 f" p99.9 {p999:.3f}, most {most:.3f}")
    return median, p99, p999


def proof(tally):
    data = os.path.join(work_dir(), "data")
    os.makedirs(data)
    memory = MemoryCgroup.make(tally, BUDGET * 3 // 2)
    block = BlockCgroup.make(tally, data)
    groups = [g for g in (memory, block) if g]
    flags = {"threads": 1, "maxmemory": BUDGET, "memtable_size_mb": 16}
    server = Server(data, flags, cgroups=groups).must_be_up()
    started = time.monotonic()
    side_by_side(2, load, server.port)
    tally.figure(f"loaded {KEYS} keys in {time.monotonic() - started:.1f} s")
    time.sleep(3)
    reads(server.port, 1, 1, 0, HOT)

    alone, _ = round_(server.port, 0)
    a = show(tally, "hot alone", alone)
    busy = [Task(reads, server.port, n, SECONDS, 0, HOT) for n in range(COLD_CLIENTS)]
    same = Task(reads, server.port, 999, SECONDS, 0, HOT).result()
    for task in busy:
        task.result()
    show(tally, f"hot beside {COLD_CLIENTS} hot clients", same)
    hot, cold = round_(server.port, COLD_CLIENTS)
    h = show(tally, f"hot beside {COLD_CLIENTS} cold clients", hot)
    show(tally, "cold", cold)
    tally.figure(f"hot p99 {h[1] / a[1]:.1f} times, p99.9 {h[2] / a[2]:.1f} times that alone")
    before = server.client().info()
    if block:
        block.limit(SLOW_READS)
        hot, cold = round_(server.port, COLD_CLIENTS, 5000)
        block.limit(None)
        h = show(tally, f"disk slowed to {SLOW_READS} reads/s: hot", hot)
        c = show(tally, "cold", cold)
        after = server.client().info()
        tally.figure(f"cold_commands {int(after['cold_commands']) - int(before['cold_commands'])},"
                     f" reads_cold {int(after['reads_cold']) - int(before['reads_cold'])}")
        if c[0] < 10 * a[0] or c[0] < 10:
            tally.skip(f"the disk was not slowed enough to tell: a cold read took {c[0]:.1f} ms")
        else:
            tally.check(h[1] < c[0] / 10, f"hot p99 {h[1]:.2f} ms, far below a cold read's {c[0]:.1f} ms")
            tally.check(h[2] < c[0] / 2, f"hot p99.9 {h[2]:.2f} ms, no wait for the disk")
            # The rate itself also tells of the machine's cores, which sixteen more clients share.
            tally.check(len(hot) > len(alone) / 10,
                        f"the hot client goes on at {len(hot) / len(alone):.2f} times its rate alone")
    tally.check(server.alive(), "the server lives")
    tally.check("panicked" not in server.log(), "no panic")
    server.stop()


main(proof)
