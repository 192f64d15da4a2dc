#!/usr/bin/env python3
"""`wal_sync_mode Always`: the log is synced before a reply leaves, and it is fast enough.

The order is shown by strace: for each SET, the write that carried its value into the log, an
fdatasync of that file that began after it and returned, and only then the bytes to the client.
The throughput of 50 clients is compared with redis-server's `appendfsync always`.
"""

import os
import re
import shutil
import statistics
import subprocess
import time

from lib import QUICK, Server, Task, main, work_dir

CLIENTS = 20
EACH = 10 if QUICK else 30
ROUNDS = 3
REQUESTS = 10_000 if QUICK else 40_000
CALLS = "fdatasync,fsync,pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,io_uring_enter"

START = re.compile(r"^(\d+)\s+(\d+\.\d+) (\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+)\s+(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)$")
SPENT = re.compile(r"<(\d+\.\d+)>$")
PEER = re.compile(r"^\d+<TCP:\[127\.0\.0\.1:\d+->127\.0\.0\.1:(\d+)\]>")
FILE = re.compile(r"^\d+<([^>]*)>")


def calls(path):
    """(name, arguments, begin, end) of every finished call in strace's output, by their begin."""
    open_calls, found = {}, []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            line = line.rstrip("\n")
            match = START.match(line)
            if match:
                thread, at, name, rest = match.groups()
                if rest.endswith("<unfinished ...>"):
                    open_calls[thread] = (name, rest[: -len("<unfinished ...>")], float(at))
                    continue
                begun = (name, rest, float(at))
            else:
                match = RESUMED.match(line)
                if not match or match.group(1) not in open_calls:
                    continue
                begun = open_calls.pop(match.group(1))
            spent = SPENT.search(line)
            if spent and ") = -1" not in line:
                name, rest, at = begun
                found.append((name, rest, at, at + float(spent.group(1))))
    # A call that never came back still began: a reply that had begun must not be overlooked.
    found += [(name, rest, at, float("inf")) for name, rest, at in open_calls.values()]
    return sorted(found, key=lambda c: c[2])


def judge(trace, values):
    """Counts of SETs whose reply came after the sync, before it, and that could not be followed.

    `values` maps a client's port to the values it set, in order; each had one SET on its way.
    """
    owner = {v: (port, n) for port, them in values.items() for n, v in enumerate(them)}
    logged, syncs, replies = {}, [], {port: [] for port in values}
    for name, rest, begin, end in trace:
        peer = PEER.match(rest)
        if peer:
            port = int(peer.group(1))
            if port in replies and "+OK" in rest:
                replies[port].append(begin)
            continue
        file = FILE.match(rest)
        if not file or "/log/" not in file.group(1):
            continue
        if name in ("fdatasync", "fsync"):
            syncs.append((begin, end, file.group(1)))
        else:
            for mark in re.findall(r"proof-\d{2}-\d{5}", rest):
                logged.setdefault(mark, (end, file.group(1)))
    after = before = unknown = 0
    for mark, (port, n) in owner.items():
        if mark not in logged or n >= len(replies[port]):
            unknown += 1
            continue
        written, file = logged[mark]
        reply = replies[port][n]
        synced = any(b >= written and e <= reply and f == file for b, e, f in syncs)
        after, before = after + synced, before + (not synced)
    return after, before, unknown, len(syncs)


def order(tally, clients):
    what = "one client" if clients == 1 else f"{clients} clients"
    trace = os.path.join(work_dir(), "trace")
    server = Server(os.path.join(work_dir(), "data"), {"wal_sync_mode": "Always"}).must_be_up()
    strace = subprocess.Popen(
        ["strace", "-f", "-ttt", "-T", "-yy", "-s", "1000000", "-e", "trace=" + CALLS,
         "-o", trace, "-p", str(server.pid)],
        stderr=subprocess.PIPE, text=True,
    )
    try:
        said = strace.stderr.readline()
        if "attached" not in said:
            tally.skip(f"strace can't attach here: {said.strip()}")
            return
        time.sleep(0.5)

        def work(n):
            client = server.client()
            port = client.socket.getsockname()[1]
            marks = [f"proof-{n:02}-{i:05}" for i in range(EACH)]
            for mark in marks:
                if client.do("SET", f"key-{mark[6:]}", mark) != b"OK":
                    raise RuntimeError("no OK")
            return port, marks

        tasks = [Task(work, n) for n in range(clients)]
        values = dict(task.result() for task in tasks)
        time.sleep(0.5)
    finally:
        strace.terminate()
        strace.wait()
    after, before, unknown, syncs = judge(calls(trace), values)
    tally.check(
        after == clients * EACH,
        f"{what}: {after} of {clients * EACH} replies after the sync of their record,"
        f" {before} before it, {unknown} not followed",
    )
    tally.figure(f"{syncs} syncs for {clients * EACH} commands")
    server.stop()


def benchmark(port):
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-c", "50", "-t", "set", "-n", str(REQUESTS),
         "-r", "100000", "-d", "64", "--csv"],
        capture_output=True, text=True, timeout=300,
    )
    for line in done.stdout.splitlines():
        if line.startswith('"SET"'):
            return float(line.split(",")[1].strip('"'))
    raise RuntimeError(f"redis-benchmark: {done.stdout} {done.stderr}")


def throughput(tally):
    if not shutil.which("redis-benchmark") or not shutil.which("redis-server"):
        tally.skip("redis-server or redis-benchmark is not installed")
        return
    at = work_dir()
    ours = Server(os.path.join(at, "ours"), {"wal_sync_mode": "Always"}).must_be_up()
    redis = Server(
        os.path.join(at, "redis"),
        {"appendonly": "yes", "appendfsync": "always", "save": ""},
        program="redis-server",
    ).must_be_up()
    ratios = []
    for n in range(ROUNDS):
        a, b = benchmark(ours.port), benchmark(redis.port)
        ratios.append(a / b)
        tally.figure(f"round {n + 1}: {a:.0f}/s, redis-server {b:.0f}/s, ratio {a / b:.2f}")
    ratio = statistics.median(ratios)
    text = f"50 connections, Always: {ratio:.2f} times redis-server's throughput"
    # Three short rounds move with the disk: shown, not judged.
    if QUICK:
        tally.figure(text)
    else:
        tally.check(ratio >= 1, text)
    ours.stop()
    redis.stop()


def proof(tally):
    if shutil.which("strace"):
        order(tally, 1)
        order(tally, CLIENTS)
    else:
        tally.skip("strace is not installed")
    throughput(tally)


main(proof)
