#!/usr/bin/env python3
"""ForgeKV and redis-server, asked the same things at random.

Commands are drawn from the command table with few keys and values, some of them in transactions and scripts,
sent to both in pipelines, and replies and errors compared; every some thousand commands each value goes from each server to the other by DUMP and
RESTORE and is compared again. The same seed draws the same commands. What differs is made short and printed.

    differential.py [--commands N] [--seed N] [--only FAMILY]
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proofs"))
import commands  # noqa: E402
import known  # noqa: E402
import lib  # noqa: E402
from generate import Generator  # noqa: E402

BATCH = 500
# So many commands begin with nothing: what differs is found again from there.
EPOCH = 10_000
# More differing sequences than this need not be known at once.
MOST = 20


class Pair:
    """Both servers, and a connection to each."""

    def __init__(self):
        base = lib.work_dir()
        flags = {"loglevel": "warning"}
        self.servers = [
            lib.Server(os.path.join(base, "forgekv"), flags).must_be_up(),
            lib.Server(os.path.join(base, "redis"), {"save": "", **flags}, program="redis-server").must_be_up(),
        ]
        self.clients = [server.client() for server in self.servers]
        self.queued = []

    def clear(self):
        self.end()
        for client in self.clients:
            client.do("FLUSHALL")

    def end(self):
        """Ends what a sequence has left open."""
        self.queued = []
        for client in self.clients:
            client.ask("DISCARD")
            client.do("UNWATCH")

    def agrees(self, words, ours, theirs):
        if words[0] in (b"MULTI", b"DISCARD") and theirs == b"OK":
            self.queued = []
        if theirs == b"QUEUED":
            self.queued.append(words)
        return known.same(words, ours, theirs, self.queued)

    def run(self, batch):
        """The numbers of the commands whose replies differ, with the replies."""
        data = b"".join(lib.encode(*words) for words in batch)
        for client in self.clients:
            client.send(data)
        replies = [[client.reply() for _ in batch] for client in self.clients]
        return [
            (n, ours, theirs)
            for n, (words, ours, theirs) in enumerate(zip(batch, *replies))
            if not self.agrees(words, ours, theirs)
        ]


def content(client, key):
    """What a key holds, in a form that two servers agree on."""
    kind = client.do("TYPE", key)
    if kind == b"string":
        return kind, client.do("GET", key)
    if kind == b"hash":
        flat = client.do("HGETALL", key)
        return kind, sorted(zip(flat[::2], flat[1::2]))
    if kind == b"list":
        return kind, client.do("LRANGE", key, 0, -1)
    if kind == b"set":
        return kind, sorted(client.do("SMEMBERS", key))
    if kind == b"zset":
        return kind, client.do("ZRANGE", key, 0, -1, "WITHSCORES")
    if kind == b"stream":
        groups = [dict(zip(g[::2], g[1::2])) for g in client.do("XINFO", "GROUPS", key)]
        pending = [client.do("XPENDING", key, g[b"name"]) for g in groups]
        facts = client.do("XINFO", "STREAM", key)
        facts = {k: v for k, v in zip(facts[::2], facts[1::2]) if not k.startswith(b"radix")}
        return kind, client.do("XRANGE", key, "-", "+"), sorted(map(repr, groups)), pending, sorted(map(repr, facts.items()))
    return (kind,)


def exchange(pair):
    """Moves every value from each server to the other and back; says what changed on the way."""
    wrong = []
    for here, there in [(0, 1), (1, 0)]:
        here, there = pair.clients[here], pair.clients[there]
        for key in sorted(here.do("KEYS", "*")):
            before = content(here, key)
            payload = here.do("DUMP", key)
            got = there.ask("RESTORE", b"copy", 0, payload, "REPLACE")
            if got != b"OK":
                wrong.append((key, before[0], f"RESTORE: {got}"))
                continue
            back = here.ask("RESTORE", b"copy", 0, there.do("DUMP", b"copy"), "REPLACE")
            for name, client in [("there", there), ("and back", here)]:
                after = content(client, b"copy")
                if back != b"OK" or not known.alike(list(after), list(before)):
                    wrong.append((key, before[0], f"{name}: {after} after {before}, {back}"))
                client.do("DEL", b"copy")
    return wrong


def differs(pair, sequence):
    """Whether the last command of a sequence gets different replies, from nothing."""
    pair.clear()
    last = len(sequence) - 1
    for start in range(0, len(sequence), BATCH):
        if any(n + start == last for n, *_ in pair.run(sequence[start : start + BATCH])):
            return True
    return False


def shrink(pair, sequence):
    """A short sequence whose last command differs; not the shortest."""
    if not differs(pair, sequence):
        return None
    last, rest = sequence[-1], sequence[:-1]
    size = max(1, len(rest) // 2)
    while True:
        at = 0
        while at < len(rest):
            fewer = rest[:at] + rest[at + size :]
            if differs(pair, [*fewer, last]):
                rest = fewer
            else:
                at += size
        if size == 1:
            return [*rest, last]
        size = max(1, size // 2)


def printable(words):
    return " ".join(repr(word)[1:] if len(word) < 60 else f"{word[:20]!r}*{len(word)}" for word in words)


def report(pair, sequence):
    pair.clear()
    for words in sequence[:-1]:
        pair.run([words])
    print("    " + "\n    ".join(map(printable, sequence)))
    for _, ours, theirs in pair.run(sequence[-1:]):
        print(f"      ours:   {ours!r}\n      theirs: {theirs!r}", flush=True)


def main(tally):
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=None, help="one family")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    pair = Pair()
    table = commands.load(*pair.clients)
    if options.only:
        table = [c for c in table if c.group == options.only.encode()]
    names = {c.name for c in table}
    tally.figure(f"{len(table)} commands and subcommands, seed {options.seed}")
    sent, epoch, found, moved, parted, seen = 0, 0, 0, 0, 0, set()
    started = time.monotonic()
    while sent < options.commands and found < MOST:
        generator = Generator(random.Random(f"{options.seed} {epoch}"), table)
        pair.clear()
        sequence, wrong = [], []
        while len(sequence) < EPOCH and not wrong:
            batch = [generator.command() for _ in range(BATCH)]
            wrong = pair.run(batch)
            sequence += batch[: wrong[0][0] + 1] if wrong else batch
            sent += BATCH
        if wrong and known.parts(sequence[-1], wrong[0][1]):
            parted += 1
        elif wrong:
            _, ours, theirs = wrong[0]
            what = (sequence[-1][0], str(ours)[:20], str(theirs)[:20])
            if what not in seen:
                seen.add(what)
                found += 1
                short = shrink(pair, sequence)
                print(f"  epoch {epoch}, {'after' if short else 'not again after'} {len(sequence)} commands:")
                if short:
                    report(pair, short)
                else:
                    print(f"    {printable(sequence[-1])}\n      ours:   {ours!r}\n      theirs: {theirs!r}", flush=True)
        else:
            pair.end()
            for key, kind, what in exchange(pair):
                if (kind, what[:12]) not in seen:
                    seen.add((kind, what[:12]))
                    found += 1
                    print(f"  epoch {epoch}: {key!r}, a {kind.decode()}, moved: {what[:3000]}", flush=True)
            moved += 1
        epoch += 1
    seconds = time.monotonic() - started
    tally.figure(f"{sent} commands in {seconds:.0f} s; values were exchanged {moved} times, {parted} epochs cut short")
    tally.check(all(server.alive() for server in pair.servers), "both servers are alive")
    tally.check(len(names) > 100 or options.only, f"{len(names)} names were drawn from")
    tally.check(found == 0, f"replies, errors and exchanged values agree ({found} sequences differ)")


lib.main(main)
