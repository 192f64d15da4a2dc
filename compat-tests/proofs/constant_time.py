#!/usr/bin/env python3
"""What must not grow with the data: DBSIZE, FLUSHALL, DEL of a huge hash, a SCAN call.

Times are those of a round trip from one client. On a machine that is busy with other things (the
kernel's pressure figures tell) a round trip is mostly waiting for a core; there, and said so, the
judgement is by the time that the server's one worker ran meanwhile.
"""

import os
import random
import statistics
import time

from lib import MIB, QUICK, Client, Server, disk_usage, main, side_by_side, work_dir

TOP = 1_000_000 if QUICK else 10_000_000
LADDER = [10_000, 100_000, 1_000_000] if QUICK else [10_000, 1_000_000, 10_000_000]
FIELDS = 1_000_000
CALLS = 500
LIMIT = 1e-3


def load(n, count, port, first, last):
    """MSETs of the keys from `first` to `last` that are client `n`'s, 100 keys each."""
    client = Client(port, timeout=600)
    waiting = 0
    step = 100
    for at in range(first + n * step, last, step * count):
        parts = [b"*%d\r\n$4\r\nMSET\r\n" % (1 + 2 * (min(at + step, last) - at))]
        parts += [b"$12\r\nkey:%08d\r\n$16\r\nvalue::%09d\r\n" % (i, i) for i in range(at, min(at + step, last))]
        client.send(b"".join(parts))
        waiting += 1
        if waiting == 8:
            waiting -= 1
            if client.reply() != b"OK":
                raise RuntimeError("MSET failed")
    for _ in range(waiting):
        if client.reply() != b"OK":
            raise RuntimeError("MSET failed")


def load_hash(n, count, port):
    client = Client(port, timeout=600)
    step = 100
    for at in range(n * step, FIELDS, step * count):
        words = [b"HSET", b"huge"]
        for i in range(at, at + step):
            words += [b"field:%08d" % i, b"value:%08d" % i]
        client.do(*words)


def is_busy():
    """Whether processes wait for a core more than a fifth of the time."""
    try:
        with open("/proc/pressure/cpu") as f:
            return float(f.readline().split("avg10=")[1].split()[0]) > 20
    except OSError:
        return os.getloadavg()[0] > os.cpu_count()


class Timed:
    """One command: its reply, its round trip, and how long the server's worker ran for it."""

    def __init__(self, server, client, *words):
        ran = server.ran_seconds("forgekv-0")
        started = time.perf_counter()
        self.reply = client.do(*words)
        self.took = time.perf_counter() - started
        self.ran = server.ran_seconds("forgekv-0") - ran

    def __str__(self):
        return f"{ms(self.took)} round trip, the worker ran {ms(self.ran)}"

    def judge(self, tally, ok, what):
        if is_busy():
            tally.check(ok and self.ran < LIMIT, f"{what}: {self}; judged by the latter: the machine is busy")
        else:
            tally.check(ok and self.took < LIMIT, f"{what}: {self}")


def ms(seconds):
    return f"{1000 * seconds:.3f} ms"


def idle(server):
    """Waits until flushes and compactions have settled: the process takes next to no CPU."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        cpu = server.cpu()
        time.sleep(1)
        if server.cpu() - cpu < 0.05:
            return True
    return False


def scan_cost(server, client, tally, keys):
    """Median round trip, and server CPU, of SCAN calls with COUNT 10 at random cursors and in order."""
    rng = random.Random(keys)
    found, cursor, times = 0, b"0", []
    cpu = server.cpu()
    for n in range(CALLS):
        started = time.perf_counter()
        got = client.do("SCAN", cursor, "COUNT", 10)
        times.append(time.perf_counter() - started)
        cursor = got[0]
        found += len(got[1])
        if cursor == b"0":
            break
    in_order = statistics.median(times)
    times = []
    for n in range(CALLS):
        # Cursors of the server's own making stay valid for ever; those near them are as good.
        near = max(1, rng.randrange(1 << 53))
        started = time.perf_counter()
        got = client.do("SCAN", near, "COUNT", 10)
        times.append(time.perf_counter() - started)
        found += len(got[1])
    cpu = (server.cpu() - cpu) / (2 * CALLS)
    anywhere = statistics.median(times)
    tally.figure(f"{keys} keys: SCAN COUNT 10 in order {ms(in_order)}, at random places {ms(anywhere)},"
                 f" p99 {ms(sorted(times)[int(0.99 * len(times))])}; {1e6 * cpu:.0f} us of server CPU;"
                 f" {found / 2 / CALLS:.1f} keys a call")
    return in_order, anywhere


def proof(tally):
    data = os.path.join(work_dir(), "data")
    server = Server(data, {"threads": 1, "maxmemory": "4gb", "memtable_size_mb": 256, "wal_size_mb": 256}).must_be_up()
    client = server.client()
    pings = []
    costs, first = {}, 0
    for keys in LADDER:
        started = time.monotonic()
        side_by_side(2, load, server.port, first, keys)
        tally.figure(f"loaded {keys - first} keys in {time.monotonic() - started:.1f} s")
        first = keys
        size = Timed(server, client, "DBSIZE")
        tally.check(size.reply == keys, f"DBSIZE at once after the load is exact: {size.reply} ({size})")
        if not idle(server):
            tally.figure("flushes and compactions have not settled in two minutes")
        client.do("PING")
        sizes = sorted((Timed(server, client, "DBSIZE") for _ in range(51)), key=lambda t: t.took)
        tally.figure(f"DBSIZE of {keys} keys, idle, the median of 51: {sizes[25]}")
        costs[keys] = scan_cost(server, client, tally, keys)
        pings = sorted(Timed(server, client, "PING").took for _ in range(200))
        tally.figure(f"PING beside it: {ms(pings[100])}, p99 {ms(pings[198])}")
    small, large = costs[LADDER[0]], costs[LADDER[-1]]
    for what, a, b in zip(("in order", "at random places"), small, large):
        tally.check(b < 4 * a + 0.2e-3, f"SCAN {what}: {LADDER[-1]} keys cost {b / a:.2f} times {LADDER[0]}")
    sizes[25].judge(tally, True, "DBSIZE is O(1)")

    tables = os.path.join(data, "tables")
    before = disk_usage(tables)
    flush = Timed(server, client, "FLUSHALL")
    flush.judge(tally, flush.reply == b"OK", f"FLUSHALL of {TOP} keys")
    size = Timed(server, client, "DBSIZE")
    tally.check(size.reply == 0, f"DBSIZE is 0 after it ({size})")
    scan = Timed(server, client, "SCAN", 0)
    tally.check(scan.reply == [b"0", []], f"SCAN finds nothing at once ({scan})")
    started, last = time.monotonic(), 90 if QUICK else 240
    goal, most, after = MIB, before, before
    while time.monotonic() - started < last and after > goal:
        time.sleep(0.5)
        after = disk_usage(tables)
        most = max(most, after)
    tally.figure(f"tables: {before / MIB:.1f} MiB before FLUSHALL, {most / MIB:.1f} at most, {after / MIB:.1f}"
                 f" after {time.monotonic() - started:.1f} s idle; log {disk_usage(data + '/log') >> 20} MiB")
    tally.check(after <= goal, "the tables' disk is given back while idle")

    side_by_side(2, load_hash, server.port)
    size = client.do("HLEN", "huge")
    tally.check(size == FIELDS, f"HLEN of the huge hash: {size}")
    idle(server)
    client.do("PING")
    gone = Timed(server, client, "DEL", "huge")
    gone.judge(tally, gone.reply == 1, f"DEL of {FIELDS} fields")
    tally.check(client.do("EXISTS", "huge") == 0 and client.do("DBSIZE") == 0, "it is gone")
    side_by_side(2, load_hash, server.port)
    gone = Timed(server, client, "DEL", "huge")
    gone.judge(tally, gone.reply == 1, "the same straight after the load")
    log = client.ask("SLOWLOG", "GET", "10")
    if isinstance(log, list):
        for entry in log:
            tally.figure(f"SLOWLOG: {entry[2]} us {entry[3][:2]}")
    else:
        tally.figure("there is no SLOWLOG to ask")
    server.stop()


main(proof)
