#!/usr/bin/env python3
"""ForgeKV and redis-server, with clients that wait.

Some clients send commands that wait, others push, rename, run transactions and scripts, all at random and
the same on both servers. After each step the same clients must have been answered, with the same answers, and
the others still wait. The same seed draws the same steps.

    waiting.py [--steps N] [--seed N]
"""

import argparse
import os
import random
import select
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proofs"))
import known  # noqa: E402
import lib  # noqa: E402
from generate import CALLS, script  # noqa: E402

WAITERS = 8
# So many steps begin with nothing.
EPOCH = 400
# An answer that one server has given comes from the other within this many seconds.
PATIENCE = 5.0


def words(line):
    return line.encode().split()


class Steps:
    """Draws steps, the same for the same `rng`."""

    def __init__(self, rng):
        self.rng, self.next_id, self.next_value = rng, 1, 0

    def key(self, family):
        return f"{family}{self.rng.randrange(3)}"

    def other(self, family):
        """Where only values of this family come: 7.2 looks at all keys of a command again, 7.0 only at the
        one at which something came, so those of several keys are never of the wrong type."""
        return f"{family}{self.rng.randrange(1, 3)}"

    def pair(self, family):
        first, second = self.rng.sample((1, 2), 2)
        return f"{family}{first} {family}{second}"

    def any(self):
        """A key where anything may come."""
        return self.rng.choice(["l0", "l0", "z0", "x0"])

    def same(self):
        """From one key to another of its family."""
        family = self.rng.choice("lllzzx")
        return f"{self.other(family)} {self.other(family)}"

    def value(self):
        self.next_value += 1
        return f"v{self.next_value}"

    def end(self):
        return self.rng.choice(["LEFT", "RIGHT"])

    def waits(self):
        rng, key = self.rng, self.key
        what = rng.randrange(13)
        if what < 3:
            keys = key("l") if rng.random() < 0.6 else self.pair("l")
            return words(f"{rng.choice(['BLPOP', 'BRPOP'])} {keys} 0")
        if what < 5:
            # To where nobody waits: who comes first in a chain is Redis's own affair.
            return words(f"BLMOVE {key('l')} l3 {self.end()} {self.end()} 0")
        if what == 5:
            return words(f"BRPOPLPUSH {key('l')} l3 0")
        if what == 6:
            return words(f"BLMPOP 0 2 {self.pair('l')} {self.end()} COUNT {rng.choice([1, 2, 10])}")
        if what < 9:
            return words(f"{rng.choice(['BZPOPMIN', 'BZPOPMAX'])} {key('z') if rng.random() < 0.6 else self.pair('z')} 0")
        if what == 9:
            return words(f"BZMPOP 0 2 {self.pair('z')} {rng.choice(['MIN', 'MAX'])} COUNT {rng.choice([1, 3])}")
        if what < 12:
            if rng.random() < 0.5:
                return words(f"XREAD BLOCK 0 STREAMS {key('x')} {rng.choice(['$', '0'])}")
            return words(f"XREAD BLOCK 0 STREAMS {self.pair('x')} $ $")
        return words(f"XREADGROUP GROUP g c{rng.randrange(2)} BLOCK 0 STREAMS {key('x')} >")

    def write(self):
        rng, key = self.rng, self.key
        what = rng.randrange(26)
        values = " ".join(self.value() for _ in range(rng.choice([1, 1, 2, 5])))
        if what < 7:
            return words(f"{rng.choice(['RPUSH', 'LPUSH'])} {key('l')} {values}")
        if what < 10:
            return words(f"ZADD {key('z')} {rng.randrange(9)} {self.value()} {rng.randrange(9)} {self.value()}")
        if what < 13:
            self.next_id += 1
            return words(f"XADD {key('x')} {self.next_id}-1 f {self.value()}")
        if what == 13:
            return words(f"XGROUP CREATE {key('x')} g $ MKSTREAM")
        if what < 16:
            return words(f"DEL {key(rng.choice('lllzzx'))}")
        if what == 16:
            return words(f"RENAME {self.same() if rng.random() < 0.6 else ' '.join([key(rng.choice('lzx')), self.any()])}")
        if what == 17:
            return words(f"COPY {self.same() if rng.random() < 0.6 else ' '.join([key(rng.choice('lzx')), self.any()])} REPLACE")
        if what == 18:
            return words(f"SET {self.any()} text")
        if what == 19:
            return words(f"LMOVE {key('l')} {key('l')} {self.end()} {self.end()}")
        if what == 20:
            return words(f"SORT {key('l')} ALPHA STORE {self.other('l')}")
        if what == 21:
            return words(f"ZUNIONSTORE {self.other('z')} 2 {self.pair('z')}")
        if what == 22:
            return words(f"LPOP {key('l')} 2")
        if what == 23:
            return words(f"LINSERT {key('l')} BEFORE v1 {self.value()}")
        if what == 24 and rng.random() < 0.2:
            return words("FLUSHALL")
        return words(f"RPUSHX {key('l')} {self.value()}")

    def several(self):
        """What becomes visible only as a whole: a transaction, or a script."""
        commands = [self.write() for _ in range(self.rng.choice([1, 2, 3, 5]))]
        # Where something comes at two keys at once, 7.2 takes the first that was named, 7.0 the first that came.
        second = {b"l2", b"z2", b"x2"}
        commands = [c for c in commands if c[0] != b"FLUSHALL" and not second & set(c)]
        if self.rng.random() < 0.2:
            commands.append(self.waits())
        if self.rng.random() < 0.4:
            # A script may not ask a stream to wait.
            return [script([c for c in commands if b"BLOCK" not in c])]
        return [[b"MULTI"], *commands, [b"EXEC"]]


def is_answered(client, seconds):
    return bool(select.select([client.socket], [], [], seconds)[0])


def same(words, ours, theirs, queued):
    if known.same(words, ours, theirs, queued):
        return True
    # 7.2 runs the command again, and says all that it then finds.
    if words[0] == b"XREAD" and isinstance(ours, list) and isinstance(theirs, list):
        return bool(theirs) and all(stream in ours for stream in theirs)
    gone = isinstance(theirs, Exception) and isinstance(ours, Exception)
    return gone and words[0] == b"XREADGROUP" and str(theirs).startswith(("UNBLOCKED", "NOGROUP", "WRONGTYPE"))


class Play:
    """One epoch on both servers."""

    def __init__(self, servers, rng):
        self.servers, self.steps, self.rng = servers, Steps(rng), rng
        self.writers = [server.client() for server in servers]
        self.waiters = [[server.client() for server in servers] for _ in range(WAITERS)]
        self.waits = [None] * WAITERS
        self.history, self.answers = [], 0
        for writer in self.writers:
            writer.do("FLUSHALL")

    def close(self):
        for client in [*self.writers, *(c for pair in self.waiters for c in pair)]:
            client.close()

    def send(self, clients, words):
        for client in clients:
            client.send(lib.encode(*words))

    def write(self, words, queued=None):
        self.history.append(("writer", words))
        self.send(self.writers, words)
        ours, theirs = (client.reply() for client in self.writers)
        return None if same(words, ours, theirs, queued) else (words, ours, theirs)

    def step(self):
        """One step; a difference, if there is one."""
        what, wrong = self.rng.random(), None
        free = [n for n, waits in enumerate(self.waits) if waits is None]
        if what < 0.5 and free:
            n = self.rng.choice(free)
            self.waits[n] = self.steps.waits()
            self.history.append((n, self.waits[n]))
            self.send(self.waiters[n], self.waits[n])
            self.begin(n)
        elif what < 0.85:
            wrong = self.write(self.steps.write())
        else:
            commands = self.steps.several()
            for words in commands:
                wrong = wrong or self.write(words, commands[1:-1])
        return wrong or self.settle()

    def begin(self, n):
        """Until the client waits, or has its answer: what others do next must come after that."""
        waiting = b"blocked_clients:%d\r" % sum(waits is not None for waits in self.waits)
        for writer, waiter in zip(self.writers, self.waiters[n]):
            until = time.monotonic() + PATIENCE
            while not is_answered(waiter, 0) and waiting not in writer.do("INFO", "clients"):
                if time.monotonic() > until:
                    raise SystemExit(f"{self.waits[n]} neither waits nor is answered")

    def settle(self):
        for writer in self.writers:
            writer.do("PING")
        early = []
        for n, waits in enumerate(self.waits):
            if waits is None:
                continue
            ours, theirs = self.waiters[n]
            if is_answered(theirs, 0.001):
                answer = theirs.reply()
                if not is_answered(ours, PATIENCE):
                    return (waits, "no answer", answer)
                told = ours.reply()
                self.waits[n] = None
                self.answers += 1
                if not same(waits, told, answer, None):
                    return (waits, told, answer)
            elif is_answered(ours, 0):
                early.append(n)
        for n in early:
            # The other may only be slow.
            ours, theirs = self.waiters[n]
            waits, self.waits[n] = self.waits[n], None
            told = ours.reply()
            if not is_answered(theirs, 0.5):
                return (waits, told, "no answer")
            answer = theirs.reply()
            if not same(waits, told, answer, None):
                return (waits, told, answer)
        return None


def main(tally):
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    base = lib.work_dir()
    flags = {"loglevel": "warning"}
    servers = [
        lib.Server(os.path.join(base, "forgekv"), flags).must_be_up(),
        lib.Server(os.path.join(base, "redis"), {"save": "", **flags}, program="redis-server").must_be_up(),
    ]
    taken, epoch, found, answers = 0, 0, 0, 0
    started = time.monotonic()
    while taken < options.steps and found < 10:
        play = Play(servers, random.Random(f"{options.seed} {epoch}"))
        for _ in range(EPOCH):
            taken += 1
            wrong = play.step()
            if wrong:
                found += 1
                print(f"  epoch {epoch}, after {len(play.history)} commands, the last of them:")
                for who, line in play.history[-12:]:
                    print(f"    {who}: {b' '.join(line).replace(CALLS, b'CALLS')[:250]!r}")
                print(f"    waiting: {[b' '.join(w) for w in play.waits if w]}")
                print(f"      {wrong[0]}\n      ours:   {wrong[1]!r}\n      theirs: {wrong[2]!r}", flush=True)
                break
        answers += play.answers
        play.close()
        epoch += 1
    seconds = time.monotonic() - started
    tally.figure(f"{taken} steps in {seconds:.0f} s, {answers} clients were waited for, seed {options.seed}")
    tally.check(all(server.alive() for server in servers), "both servers are alive")
    tally.check(answers > taken / 20, f"{answers} clients that waited were answered")
    tally.check(found == 0, f"who is answered, and with what, agrees ({found} sequences differ)")


lib.main(main)
