"""Celery with the server as broker and as the place of results: chains, groups, chords, retries, times,
broadcasts, and a worker that dies. `python celery_tasks.py PORT`; workers import this file."""
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import redis
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

port = int(os.environ.get("CELERY_TASKS_PORT") or sys.argv[1])
url = f"redis://127.0.0.1:{port}"
app = Celery("celery_tasks", broker=f"{url}/1", backend=f"{url}/2", set_as_current=True)
app.conf.update(
    # Tasks of dead workers are looked for every second, and a worker that dies while it looks (it holds a lock,
    # by default for five minutes) does not keep the others from it for long.
    broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
                              "unacked_mutex_expire": 5, "priority_steps": [0, 5, 9], "queue_order_strategy": "priority"},
    broker_connection_retry_on_startup=True,
    result_expires=60,
    task_acks_late=True,
    task_default_queue="work",
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
r = redis.Redis(port=port, decode_responses=True)


@app.task(name="add")
def add(a, b):
    return a + b


@app.task(name="total")
def total(numbers):
    return sum(numbers)


@app.task(name="third_time", bind=True, max_retries=5)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(name="fail")
def fail():
    raise ValueError("on purpose")


@app.task(name="when")
def when():
    return time.time()


@app.task(name="once_killed")
def once_killed():
    """Takes its worker with it the first time."""
    if r.incr("killed") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(name="note")
def note(name):
    r.rpush("noted", name)


def worker(name, queue):
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "threads", "--concurrency", "4",
               "--loglevel", "CRITICAL", "--hostname", f"{name}@localhost", "--queues", queue, "--without-mingle"]
    return subprocess.Popen(command, env={**os.environ, "CELERY_TASKS_PORT": str(port)},
                            cwd=os.path.dirname(os.path.abspath(__file__)),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(workers):
    from checks import check, eventually, refuses, result

    r.flushall()

    # A worker that dies with a task: the next has it when the time of visibility is over. Meanwhile the rest.
    lost = once_killed.apply_async(queue="dying")
    workers += [worker("dying", "dying"), worker("one", "work")]
    dying = workers[0]

    check("a result", add.delay(2, 3).get(timeout=30), 5)
    many = [add.delay(i, i) for i in range(100)]
    check("100 results", [m.get(timeout=30) for m in many], [2 * i for i in range(100)])
    check("a chain", chain(add.s(1, 2), add.s(3), add.s(4)).delay().get(timeout=30), 10)
    check("a group", group(add.s(i, 1) for i in range(20)).delay().get(timeout=30), list(range(1, 21)))
    check("a chord", chord((add.s(i, i) for i in range(20)), total.s()).delay().get(timeout=30), 380)
    check("a chord in a chain", (group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(10)).delay().get(timeout=30), 16)
    check("retries", third_time.delay().get(timeout=30), 2)
    refuses("a failure", ValueError, lambda: fail.delay().get(timeout=30))
    asked = time.time()
    soon, late = when.apply_async(countdown=0.3), when.apply_async(eta=app.now() + timedelta(seconds=1))
    times = [soon.get(timeout=30) - asked, late.get(timeout=30) - asked]
    check(f"times: {times}", times[0] >= 0.3 and times[1] >= 0.99, True)

    eventually("the worker's death", lambda: dying.poll() is not None, 30)
    check("unacknowledged", r.get("killed"), "1")
    workers.append(worker("heir", "dying"))
    check("the answer to ping", [list(x.values()) for x in app.control.ping(timeout=5, limit=1, destination=["one@localhost"])],
          [[{"ok": "pong"}]])
    revoked = add.apply_async((1, 1), countdown=2)
    app.control.revoke(revoked.id)
    refuses("revoked", TaskRevokedError, lambda: revoked.get(timeout=30))

    # Priorities are queues of their own, from all of which a worker takes.
    for name, priority in [("low", 9), ("middle", 5), ("high", 0), ("low too", 9)]:
        note.apply_async((name,), queue="sorted", priority=priority)
    workers.append(worker("sorted", "sorted"))
    eventually("all four", lambda: r.llen("noted") == 4, 30)
    noted = r.lrange("noted", 0, -1)
    check("all of them, each once", sorted(noted), ["high", "low", "low too", "middle"])
    check("done by the next worker", lost.get(timeout=60), "survived")
    check("twice in all", r.get("killed"), "2")
    forgotten = add.delay(1, 1)
    forgotten.get(timeout=30)
    forgotten.forget()
    check("forgotten", redis.Redis(port=port, db=2).exists(f"celery-task-meta-{forgotten.id}"), 0)
    for one in workers:
        one.send_signal(signal.SIGTERM)
    for one in workers:
        one.wait(30)
    check("nothing is unacknowledged", redis.Redis(port=port, db=1).exists("unacked", "unacked_index", "dying"), 0)
    result("celery")


if __name__ == "__main__":
    started = []
    try:
        main(started)
    finally:
        for process in started:
            process.kill()
