#!/usr/bin/env python3
"""What must not grow with the data: DBSIZE, FLUSHALL, DEL of a huge hash, a SCAN call.

Times are those of a round trip from one client, less what client and server waited for a core
meanwhile (schedstat), which is the machine's other work and not the server's.
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


def own_wait():
    with open("/proc/self/schedstat") as f:
        return int(f.read().split()[1]) / 1e9


def timed(server, client, *words):
    """Reply, round trip, and round trip without waits for a core."""
    wait, queues = own_wait(), server.run_queue_seconds()
    started = time.perf_counter()
    got = client.do(*words)
    took = time.perf_counter() - started
    waited = own_wait() - wait
    after = server.run_queue_seconds()
    workers = max((after[t] - queues.get(t, 0) for t in after), default=0)
    return got, took, max(0.0, took - waited - min(workers, took))


def ms(seconds):
    return f"{1000 * seconds:.3f} ms"


def idle(server):
    """Waits until flushes and compactions have settled: the process takes next to no CPU."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        cpu = server.cpu()
        time.sleep(1)
        if server.cpu() - cpu < 0.05:
            return


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
    server = Server(data, {"maxmemory": "4gb", "memtable_size_mb": 256, "wal_size_mb": 256}).must_be_up()
    client = server.client()
    pings = []
    costs, first = {}, 0
    for keys in LADDER:
        started = time.monotonic()
        side_by_side(2, load, server.port, first, keys)
        tally.figure(f"loaded {keys - first} keys in {time.monotonic() - started:.1f} s")
        first = keys
        size, took, _ = timed(server, client, "DBSIZE")
        tally.check(size == keys, f"DBSIZE at once after the load is exact: {size} ({ms(took)})")
        idle(server)
        client.do("PING")
        times = sorted(timed(server, client, "DBSIZE")[1] for _ in range(50))
        tally.figure(f"DBSIZE of {keys} keys, idle: {ms(times[25])}")
        costs[keys] = scan_cost(server, client, tally, keys)
        pings = sorted(timed(server, client, "PING")[1] for _ in range(200))
        tally.figure(f"PING beside it: {ms(pings[100])}, p99 {ms(pings[198])}")
    small, large = costs[LADDER[0]], costs[LADDER[-1]]
    for what, a, b in zip(("in order", "at random places"), small, large):
        tally.check(b < 4 * a + 0.2e-3, f"SCAN {what}: {LADDER[-1]} keys cost {b / a:.2f} times {LADDER[0]}")
    tally.check(times[25] < LIMIT, f"DBSIZE is O(1): {ms(times[25])}")

    before = disk_usage(data)
    got, took, server_took = timed(server, client, "FLUSHALL")
    tally.check(got == b"OK" and server_took < LIMIT,
                f"FLUSHALL of {TOP} keys: {ms(took)} round trip, {ms(server_took)} without waits for a core")
    size, took, _ = timed(server, client, "DBSIZE")
    tally.check(size == 0, f"DBSIZE is 0 after it ({ms(took)})")
    got, took, _ = timed(server, client, "SCAN", 0)
    tally.check(got == [b"0", []], f"SCAN finds nothing at once ({ms(took)})")
    started, last = time.monotonic(), 60 if QUICK else 240
    goal = max(before // 10, 16 * MIB)
    while time.monotonic() - started < last and disk_usage(data) > goal:
        time.sleep(0.5)
    after = disk_usage(data)
    tally.figure(f"disk: {before >> 20} MiB before FLUSHALL, {after >> 20} MiB after"
                 f" {time.monotonic() - started:.1f} s idle, of which log {disk_usage(data + '/log') >> 20} MiB,"
                 f" tables {disk_usage(data + '/tables') >> 20} MiB")
    tables = disk_usage(os.path.join(data, "tables"))
    tally.check(tables <= goal, "the tables' disk is given back while idle")

    side_by_side(2, load_hash, server.port)
    size = client.do("HLEN", "huge")
    tally.check(size == FIELDS, f"HLEN of the huge hash: {size}")
    idle(server)
    client.do("PING")
    got, took, server_took = timed(server, client, "DEL", "huge")
    tally.check(got == 1 and server_took < LIMIT,
                f"DEL of {FIELDS} fields: {ms(took)} round trip, {ms(server_took)} without waits for a core")
    tally.check(client.do("EXISTS", "huge") == 0 and client.do("DBSIZE") == 0, "it is gone")
    side_by_side(2, load_hash, server.port)
    got, took, server_took = timed(server, client, "DEL", "huge")
    tally.check(got == 1 and server_took < LIMIT,
                f"the same straight after the load: {ms(took)}, {ms(server_took)} without waits for a core")
    log = client.ask("SLOWLOG", "GET", "10")
    if isinstance(log, list):
        for entry in log:
            tally.figure(f"SLOWLOG: {entry[2]} us {entry[3][:2]}")
    else:
        tally.figure("there is no SLOWLOG to ask")
    server.stop()


main(proof)
