"""Dramatiq: actors, retries, delays, pipelines, groups, results, and a worker that dies. `python dramatiq_actors.py PORT`

Each broker that is made here is to the others a process of its own: it has its own heartbeat.
"""
import logging
import threading
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend as LimitsBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from checks import check, eventually, port, refuses, result

logging.getLogger("dramatiq").setLevel(logging.CRITICAL)  # actors fail here on purpose
r = redis.Redis(port=port, decode_responses=True)
r.flushall()


def make_broker():
    made = RedisBroker(port=port, heartbeat_timeout=1000, maintenance_chance=1_000_000)
    made.add_middleware(GroupCallbacks(LimitsBackend(client=r)))
    made.add_middleware(Results(backend=RedisBackend(port=port)))
    return made


broker = make_broker()
dramatiq.set_broker(broker)
tries = {}
inside = [0, 0]
limit = ConcurrentRateLimiter(LimitsBackend(client=r), "limit", limit=2)


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor(store_results=True)
def total(numbers):
    return sum(numbers)


@dramatiq.actor(store_results=True, max_retries=5, min_backoff=20, max_backoff=50)
def third_time(name):
    tries[name] = tries.get(name, 0) + 1
    if tries[name] < 3:
        raise ValueError("not yet")
    return tries[name]


@dramatiq.actor(max_retries=1, min_backoff=10, max_backoff=20)
def never():
    tries["never"] = tries.get("never", 0) + 1
    raise ValueError("never")


@dramatiq.actor(store_results=True)
def when():
    return time.time()


@dramatiq.actor(max_retries=1000, min_backoff=5, max_backoff=20)
def two_at_a_time():
    with limit.acquire():
        inside[0] += 1
        inside[1] = max(inside)
        time.sleep(0.01)
        inside[0] -= 1
        r.incr("limited")


@dramatiq.actor(queue_name="dying", store_results=True)
def survive(n):
    return n * n


worker = dramatiq.Worker(broker, queues={"default"}, worker_threads=4, worker_timeout=50)
worker.start()

messages = [add.send(i, i) for i in range(200)]
check("200 results", [m.get_result(block=True, timeout=20000) for m in messages], [2 * i for i in range(200)])
check("retried", third_time.send("a").get_result(block=True, timeout=20000), 3)
never.send()
eventually("failed for good", lambda: r.zcard("dramatiq:default.XQ") == 1)
check("tried twice", tries["never"], 2)

asked = time.time()
late = when.send_with_options(delay=600)
soon = when.send_with_options(delay=200)
times = [m.get_result(block=True, timeout=20000) - asked for m in (soon, late)]
check(f"delays: {times}", times[0] >= 0.2 and times[1] >= 0.6, True)
check("a pipeline", (add.message(1, 2) | add.message(3) | add.message(4)).run().get_result(block=True, timeout=20000), 10)
group = dramatiq.group([add.message(i, 1) for i in range(20)]).run()
check("a group", sorted(group.get_results(block=True, timeout=20000)), list(range(1, 21)))
done = threading.Event()


@dramatiq.actor
def finished():
    done.set()


group = dramatiq.group([add.message(i, 1) for i in range(10)])
group.add_completion_callback(finished.message())
group.run()
check("after the group", done.wait(20), True)
for _ in range(10):
    two_at_a_time.send()
eventually("all of them", lambda: r.get("limited") == "10", 30)
check("at most two at a time", inside[1] <= 2, True)

# A broker takes messages and is heard of no more: after its heartbeat has run out the next one has them.
lost = [survive.send(n) for n in range(5)]
dead = make_broker().consume("dying", prefetch=5, timeout=100)
taken = [next(dead) for _ in range(5)]
check("taken", sorted(m.args[0] for m in taken), list(range(5)))
check("not there", r.llen("dramatiq:dying"), 0)
refuses("no result yet", dramatiq.results.ResultMissing, lost[0].get_result)
second = make_broker()
second.declare_actor(survive)
heir = dramatiq.Worker(second, queues={"dying"}, worker_threads=2, worker_timeout=50)
heir.start()
check("done by another", [m.get_result(block=True, timeout=30000) for m in lost], [n * n for n in range(5)])
heir.stop()
worker.stop()
check("queues are empty", [r.llen("dramatiq:default"), r.llen("dramatiq:dying")], [0, 0])
result("dramatiq")
