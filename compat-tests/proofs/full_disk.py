#!/usr/bin/env python3
"""A full disk: writes get an error, reads go on, what frees space still works, and writing resumes.

The data lies on a small tmpfs beside a ballast file, whose removal gives space back.
"""

import os
import time

from lib import MIB, ReplyError, Server, disk_usage, later, main, tmpfs, value

FLAGS = {
    "memtable_size_mb": 8,
    "maxmemory": "128mb",
    "wal_segment_size_mb": 4,
    "wal_size_mb": 24,
    "disk_reserve_mb": 16,
}


def name(i):
    return b"key:%08d" % i


class Keys:
    """What was acknowledged: numbers of keys that are there, and of those that are not."""

    def __init__(self):
        self.present, self.absent, self.next = set(), set(), 0


def fill(client, keys, limit):
    """Writes until five batches in a row bring only errors. The errors, and the bytes taken."""
    errors, barren, taken = {}, 0, 0
    while barren < 5 and taken < limit:
        numbers = range(keys.next, keys.next + 64)
        keys.next += 64
        fine = 0
        replies = client.pipeline((b"SET", name(i), value(name(i))) for i in numbers)
        for i, got in zip(numbers, replies):
            if got == b"OK":
                keys.present.add(i)
                fine += 1
            else:
                keys.absent.add(i)
                errors[str(got)] = errors.get(str(got), 0) + 1
        taken += fine * 1000
        barren = 0 if fine else barren + 1
        if not fine:
            time.sleep(0.1)
    return errors, taken


def verify(client, keys):
    """How many of the acknowledged are wrong, and how many of the refused are there."""
    wrong = there = 0
    numbers = sorted(keys.present) + sorted(keys.absent)
    for at in range(0, len(numbers), 256):
        part = numbers[at : at + 256]
        for i, got in zip(part, client.pipeline((b"GET", name(i)) for i in part)):
            if i in keys.present:
                wrong += got != value(name(i))
            else:
                there += got is not None
    return wrong, there


def resumes(client, keys, seconds):
    """Seconds until a SET succeeds and a hundred after it do too; None when they don't."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        i = keys.next
        keys.next += 1
        if client.ask("SET", name(i), value(name(i))) == b"OK":
            keys.present.add(i)
            took = time.monotonic() - started
            errors, _ = fill(client, keys, 100 * 1000)
            return took if not errors else None
        keys.absent.add(i)
        time.sleep(0.05)
    return None


def describe(errors):
    return "; ".join(f"{count} x {text}" for text, count in list(errors.items())[:3])


def proof(tally):
    disk = tmpfs(tally, 200)
    if disk is None:
        return
    ballast = os.path.join(disk, "ballast")
    with open(ballast, "wb") as f:
        f.write(bytes(60 * MIB))
    data = os.path.join(disk, "data")
    server = Server(data, FLAGS).must_be_up()
    later(server.kill)
    client, keys = server.client(), Keys()

    errors, taken = fill(client, keys, 400 * MIB)
    tally.figure(f"{taken / 1e6:.1f} MB taken before the disk was full; {describe(errors)}")
    if not tally.check(bool(errors) and server.alive(), "writes get errors, the server lives"):
        tally.figure(server.log()[-2000:])
        return
    fair = all(text.startswith(("MISCONF ", "OOM ")) for text in errors)
    tally.check(fair, "the errors begin with MISCONF or OOM, as Redis's do")
    info = client.info()
    tally.figure(
        f"low_on_space:{info.get('low_on_space')} wal_failed:{info.get('wal_failed')}"
        f" background_errors:{info.get('background_errors')} disk in use {disk_usage(disk) >> 20} MiB"
    )

    wrong, there = verify(client, keys)
    tally.check(wrong == 0, f"reads of all {len(keys.present)} acknowledged keys go on ({wrong} wrong)")
    tally.check(there == 0, f"nothing that was refused is there ({there} of {len(keys.absent)})")

    time.sleep(1)
    cpu, anonymous, errors_before = server.cpu(), server.memory(), int(info.get("background_errors", 0))
    time.sleep(5)
    idle = (server.cpu() - cpu) / 5
    tally.figure(f"idle on a full disk: {100 * idle:.1f} % of a core, log {len(server.log())} bytes")
    tally.check(idle < 0.2, "the server does not spin")
    end = time.monotonic() + 5
    refused = 0
    while time.monotonic() < end:
        i = keys.next
        keys.next += 64
        for n, got in enumerate(client.pipeline((b"SET", name(i + n), b"x" * 1000) for n in range(64))):
            if got == b"OK":
                client.do("DEL", name(i + n))
            keys.absent.add(i + n)
            refused += got != b"OK"
    grown = server.memory() - anonymous
    tally.figure(f"{refused} more writes refused in 5 s; RssAnon {grown / MIB:+.1f} MiB, errors in the")
    tally.figure(f"background before {errors_before}, now {client.info().get('background_errors')}")
    tally.check(grown < 32 * MIB, "refused writes take no memory")

    victims = sorted(keys.present)[:1000]
    gone = client.pipeline((b"DEL", name(i)) for i in victims)
    failed = next((str(got) for got in gone if got != 1), None)
    tally.check(failed is None, f"DEL works on a full disk ({failed or '1000 keys'})")
    for i, got in zip(victims, gone):
        if got == 1:
            keys.present.discard(i)
            keys.absent.add(i)

    os.unlink(ballast)
    took = resumes(client, keys, 60)
    tally.check(took is not None, "writing resumes by itself when space is back")
    if took is not None:
        tally.figure(f"{took:.2f} s after the ballast went")

    errors, taken = fill(client, keys, 400 * MIB)
    tally.figure(f"full again after {taken / 1e6:.1f} MB more; {describe(errors)}")
    wrong, there = verify(client, keys)
    tally.check(wrong + there == 0, f"full again: {wrong} wrong, {there} refused ones there")

    server.kill()
    server = Server(data, FLAGS)
    later(server.kill)
    if not tally.check(server.up, f"kill -9, and it starts on the full disk ({server.start_seconds:.2f} s)"):
        tally.figure(server.log()[-2000:])
        return
    client = server.client()
    wrong, there = verify(client, keys)
    tally.check(wrong == 0, f"all {len(keys.present)} acknowledged keys are there ({wrong} wrong)")
    tally.check(there == 0, f"nothing refused or deleted came back ({there})")

    fill(client, keys, 400 * MIB)
    got = client.ask("FLUSHALL")
    tally.check(got == b"OK", f"FLUSHALL works on a full disk ({got})")
    keys.absent |= keys.present
    keys.present = set()
    took = resumes(client, keys, 120)
    tally.check(took is not None, "and its space can be written again")
    if took is not None:
        tally.figure(f"{took:.2f} s after FLUSHALL; disk in use {disk_usage(disk) >> 20} MiB")
    tally.check(server.alive() and "panicked" not in server.log(), "no panic")
    tally.check(not isinstance(client.ask("PING"), ReplyError), "still answers")


main(proof)
