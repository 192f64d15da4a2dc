"""redis-py's Lock: one holder at a time, also when holders die. `python redis_lock.py PORT`"""
import multiprocessing
import os
import signal
import threading
import time

import redis
from redis.exceptions import LockError, LockNotOwnedError

from checks import check, eventually, port, refuses, result

workers, rounds = 4, 25


def connect():
    return redis.Redis(port=port, decode_responses=True)


def count():
    """Reads, thinks and writes: loses increments unless the lock keeps the others out."""
    r = connect()
    for _ in range(rounds):
        with r.lock("lock", timeout=30, sleep=0.002):
            assert r.incr("inside") == 1, "two are inside"
            value = int(r.get("counter") or 0)
            time.sleep(0.0005)
            r.set("counter", value + 1)
            r.decr("inside")


def hold(told):
    r = connect()
    r.lock("dead man's", timeout=1).acquire()
    told.set()
    time.sleep(60)


if __name__ == "__main__":
    r = connect()
    r.flushall()

    # Processes, and threads of this one, all for the same lock.
    processes = [multiprocessing.Process(target=count) for _ in range(workers)]
    threads = [threading.Thread(target=count) for _ in range(workers)]
    for one in processes + threads:
        one.start()
    for one in processes + threads:
        one.join()
    check("all processes ended well", [p.exitcode for p in processes], [0] * workers)
    check("no increment is lost", r.get("counter"), str(2 * workers * rounds))
    check("the lock is free", r.exists("lock"), 0)

    # The holder is killed: nobody has the lock before its time has run out, and somebody has it then.
    told = multiprocessing.Event()
    holder = multiprocessing.Process(target=hold, args=(told,))
    holder.start()
    told.wait(20)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    left = r.pttl("dead man's") / 1000
    check("it is still held", r.lock("dead man's").acquire(blocking=False), False)
    since = time.monotonic()
    with r.lock("dead man's", timeout=5, sleep=0.005):
        waited = time.monotonic() - since
        check("not before its time", waited >= left - 0.05, True)
        check("soon after", waited < left + 2, True)

    first, second = r.lock("mine", timeout=10), r.lock("mine", timeout=10)
    check("acquired", first.acquire(), True)
    check("not twice", second.acquire(blocking_timeout=0.05), False)
    refuses("released by another", LockError, second.release)
    check("whose", [first.owned(), second.owned(), first.locked()], [True, False, True])
    check("extended", first.extend(20) and 20000 < r.pttl("mine") <= 30000, True)
    check("its time begins anew", first.reacquire() and r.pttl("mine") <= 10000, True)
    first.release()
    refuses("released twice", LockError, first.release)

    short = r.lock("short", timeout=0.05)
    short.acquire()
    eventually("run out", lambda: second.redis.lock("short", timeout=10).acquire(blocking=False))
    refuses("released too late", LockNotOwnedError, short.release)
    check("the next holder keeps it", r.exists("short"), 1)
    result("redis-py-lock")
