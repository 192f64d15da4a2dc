#!/usr/bin/env python3
"""Starting: after kill -9 in the middle of a load, with a large log, beside another owner, on damage."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time

from lib import BINARY, MIB, QUICK, Client, ReplyError, Server, Task, disk_usage, main, value, work_dir

LOG = (256 if QUICK else 1024) * MIB
TRIALS = 4 if QUICK else 20
KEYS = 20_000


def name(n, i):
    return b"%02d:%08d" % (n, i)


# ---- kill -9 in the middle of a load ----


def writer(n, port):
    """SETs until the connection breaks: how many were acknowledged, and how many were sent."""
    acknowledged = sent = 0
    try:
        client = Client(port)
        while True:
            words = [(b"SET", name(n, i), value(name(n, i), 0, 200)) for i in range(sent, sent + 8)]
            sent += 8
            for got in client.pipeline(words):
                if got != b"OK":
                    raise RuntimeError(f"writer {n}: {got}")
                acknowledged += 1
    except (ConnectionError, OSError, socket.timeout):
        pass
    return acknowledged, sent


def crash(tally, mode):
    data = os.path.join(work_dir(), "data")
    flags = {"wal_sync_mode": mode, "memtable_size_mb": 4, "maxmemory": "128mb",
             "wal_segment_size_mb": 4, "wal_size_mb": 32}
    acknowledged, sent = {}, {}
    for round_ in range(2 if QUICK else 5):
        server = Server(data, flags).must_be_up()
        tasks = [Task(writer, n + 10 * round_, server.port) for n in range(8)]
        time.sleep(random.uniform(0.5, 2.5))
        server.kill()
        for n, task in enumerate(tasks):
            acknowledged[n + 10 * round_], sent[n + 10 * round_] = task.result()
    server = Server(data, flags).must_be_up()
    client = server.client()
    lost = wrong = holes = 0
    for n in acknowledged:
        missing = False
        for at in range(0, sent[n], 256):
            part = range(at, min(at + 256, sent[n]))
            for i, got in zip(part, client.pipeline((b"GET", name(n, i)) for i in part)):
                if got is None:
                    lost += i < acknowledged[n]
                    missing = True
                else:
                    wrong += got != value(name(n, i), 0, 200)
                    holes += missing
    size = client.do("DBSIZE")
    total = sum(acknowledged.values())
    tally.check(lost + wrong + holes == 0 and total > 0,
                f"kill -9 under load, {mode}: {total} acknowledged, {lost} lost, {wrong} wrong,"
                f" {holes} out of order, DBSIZE {size}")
    server.stop()


# ---- A large log ----


def log_in_use(data):
    return sum(e.stat().st_blocks * 512 for e in os.scandir(os.path.join(data, "log"))
               if e.name.endswith(".log"))


def bulk(n, port, keys):
    client = Client(port, timeout=300)
    for at in range(0, keys, 64):
        for got in client.pipeline((b"SET", name(n, i), value(name(n, i))) for i in range(at, at + 64)):
            if got != b"OK":
                raise RuntimeError(str(got))


def large_log(tally):
    data = os.path.join(work_dir(), "data")
    flags = {"maxmemory": "12gb", "memtable_size_mb": 3000, "wal_size_mb": 3000}
    server = Server(data, flags).must_be_up()
    keys = LOG // 1016 // 2 // 64 * 64
    for task in [Task(bulk, n, server.port, keys) for n in range(2)]:
        task.result()
    position = server.client().info().get("wal_bytes")
    server.kill()
    server = Server(data, flags, wait=300)
    if not tally.check(server.up, "starts after kill -9 with a large log"):
        tally.figure(server.log()[-2000:])
        return
    size = server.client().do("DBSIZE")
    tally.check(size == 2 * keys, f"all {2 * keys} keys are there ({size})")
    seconds = server.start_seconds
    tally.figure(f"{int(position) / 1e6:.0f} MB of log replayed: {seconds:.2f} s to the first PONG,"
                 f" {int(position) / 1e6 / seconds:.0f} MB/s; RssAnon {server.memory() >> 20} MiB")
    client = server.client()
    picks = [random.randrange(keys) for _ in range(2000)]
    got = client.pipeline((b"GET", name(1, i)) for i in picks)
    tally.check(all(g == value(name(1, i)) for i, g in zip(picks, got)), "2000 of them compared")
    started = time.monotonic()
    code = server.stop(300)
    tally.check(code == 0, f"SIGTERM ends it with 0 ({code}, {time.monotonic() - started:.1f} s)")
    server = Server(data, flags, wait=300)
    tally.check(server.up, f"start after a clean end: {server.start_seconds:.2f} s")
    server.stop()


# ---- Two owners ----


def second_owner(tally):
    data = os.path.join(work_dir(), "data")
    first = Server(data).must_be_up()
    first.client().do("SET", "a", "1")
    second = Server(data, wait=5)
    code = second.wait_exit(10)
    last = second.log().strip().splitlines()[-1]
    tally.check(code not in (0, None) and "in use" in last, f"a second server is refused ({code}): {last}")
    tally.check(first.client().do("GET", "a") == b"1", "the first goes on")
    first.process.send_signal(signal.SIGTERM)
    tally.check(first.wait_exit(30) == 0, "and ends cleanly")


# ---- Damage ----


def filled(mode_of_end):
    """A directory with tables, a log and a manifest, and what it holds."""
    data = os.path.join(work_dir(), "data")
    server = Server(data, DAMAGE_FLAGS).must_be_up()
    client = server.client()
    for at in range(0, KEYS, 64):
        client.pipeline((b"SET", name(0, i), value(name(0, i), 0, 400)) for i in range(at, min(at + 64, KEYS)))
    time.sleep(2.5)
    client.do("SET", "last", "1")
    time.sleep(1.5)
    client.do("SET", "last", "2")
    if mode_of_end == "kill":
        server.kill()
    else:
        server.stop()
    return data


DAMAGE_FLAGS = {"memtable_size_mb": 2, "maxmemory": "64mb", "wal_segment_size_mb": 4, "wal_size_mb": 8}


def used(path):
    """How far a file is filled: where its last byte that is not zero lies."""
    with open(path, "rb") as f:
        return len(f.read().rstrip(b"\0"))


def targets(data, kind):
    if kind == "manifest":
        found = [e.path for e in os.scandir(data) if e.name.startswith("MANIFEST")]
    else:
        at, end = {"log": ("log", ".log"), "table": ("tables", "")}[kind]
        found = [os.path.join(base, n) for base, _, names in os.walk(os.path.join(data, at))
                 for n in names if n.endswith(end)]
    return sorted(p for p in found if used(p) > 0)


def outcome(data, path):
    """How a server fares on damaged data: (class, what it said)."""
    server = Server(data, DAMAGE_FLAGS, wait=30)
    base = os.path.basename(path)
    try:
        if not server.up:
            code = server.wait_exit(1)
            text = server.log()
            if "panicked" in text or code is None or code < 0:
                return "PANIC", text.strip()[-300:]
            said = text.strip().splitlines()[-1]
            clear = base in said and "offset" in said
            return ("refused, file and offset named" if clear else "refused UNCLEARLY"), said
        client = server.client()
        missing = wrong = errors = 0
        example = ""
        for at in range(0, KEYS, 64):
            part = range(at, min(at + 64, KEYS))
            for i, got in zip(part, client.pipeline((b"GET", name(0, i)) for i in part)):
                if isinstance(got, ReplyError):
                    errors += 1
                    example = str(got)
                elif got is None:
                    missing += 1
                elif got != value(name(0, i), 0, 400):
                    wrong += 1
        if "panicked" in server.log() or not server.alive():
            return "PANIC", server.log()[-300:]
        if wrong or missing:
            return "WRONG DATA", f"{wrong} wrong, {missing} missing, {errors} errors {example}"
        if errors:
            clear = base in example and "offset" in example
            return ("read error, file and offset named" if clear else "read error UNCLEAR"), example
        return "all data right", ""
    finally:
        server.kill()


def check(data):
    """What `forgekv check DIR` says: its exit code and its words; None where there is no such command."""
    done = subprocess.run([BINARY, "check", data], capture_output=True, text=True, timeout=120)
    text = done.stdout + done.stderr
    return None if "no such command" in text else (done.returncode, text)


def damage(tally):
    rng = random.Random(5)
    clean, crashed = filled("stop"), filled("kill")
    whole = check(clean)
    if whole is None:
        tally.skip("this program has no subcommand check")
    else:
        tally.check(whole[0] == 0, f"forgekv check finds nothing in a whole directory ({whole[0]})")
    for kind, source in (("table", clean), ("manifest", clean), ("log", crashed)):
        paths = targets(source, kind)
        if not paths:
            tally.skip(f"there is no {kind} to damage")
            continue
        results, examples, unseen = {}, {}, []
        for trial in range(TRIALS):
            at = os.path.join(work_dir(), "data")
            shutil.copytree(source, at)
            path = os.path.join(at, os.path.relpath(rng.choice(paths), source))
            end = used(path)
            if kind == "log":
                # Below what was known to be synced when the newest frames were written.
                path = os.path.join(at, os.path.relpath(paths[0], source))
                end = used(path) * 8 // 10 if len(paths) == 1 else used(path)
            cut = kind != "log" and trial % 4 == 3
            offset = rng.randrange(end * 8 // 10 if cut else end)
            with open(path, "r+b") as f:
                if cut:
                    f.truncate(offset)
                else:
                    f.seek(offset)
                    byte = f.read(1)[0]
                    f.seek(offset)
                    f.write(bytes([byte ^ (1 << rng.randrange(8))]))
            found = check(at) if whole else None
            what, said = outcome(at, path)
            if found and (found[0] == 0 or os.path.basename(path) not in found[1]):
                if what != "all data right":
                    unseen.append(f"{os.path.relpath(path, at)} at {offset}: {found[0]} {found[1][-200:].strip()}")
            if cut:
                what = "cut: " + what
            results[what] = results.get(what, 0) + 1
            examples.setdefault(what, f"{os.path.relpath(path, at)} at {offset} of {used(source + path[len(at):])}: {said}")
            shutil.rmtree(at)
        bad = [w for w in results if any(x in w for x in ("WRONG", "PANIC", "UNCLEAR"))]
        tally.check(not bad, f"{kind}, {TRIALS} times one byte flipped or cut: "
                    + ", ".join(f"{n} {w}" for w, n in results.items()))
        if whole:
            tally.check(not unseen, f"forgekv check names the damaged file each time {unseen[:2] or ''}")
        for what in results:
            if what in bad or "named" in what:
                tally.figure(f"{what}: {examples[what]}")


def proof(tally):
    second_owner(tally)
    for mode in ("EverySecond", "Always", "Never"):
        crash(tally, mode)
    damage(tally)
    large_log(tally)


main(proof)
