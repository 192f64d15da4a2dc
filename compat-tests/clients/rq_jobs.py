"""RQ: jobs that are queued, retried, planned, that depend on each other, and a worker that dies.

`python rq_jobs.py PORT`; workers are processes of their own: `python rq_jobs.py PORT work [registries]`.
"""
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import redis
from rq import Callback, Queue, Repeat, Retry, Worker
from rq.job import Job
from rq.registry import ScheduledJobRegistry, StartedJobRegistry

from checks import check, eventually, port, result

connection = redis.Redis(port=port)


def add(a, b):
    return a + b


def fail_until(name, times):
    if connection.incr(f"tries:{name}") <= times:
        raise ValueError(f"{name}: not yet")
    return "at last"


def last_of(job_id):
    return Job.fetch(job_id, connection=connection).return_value()


def note(job, connection, result, *_):
    connection.rpush("noted", job.id)


def die():
    os.kill(os.getppid(), signal.SIGKILL)  # the worker, whose work horse this is
    os.kill(os.getpid(), signal.SIGKILL)


def worker(*more):
    return subprocess.Popen([sys.executable, __file__, str(port), "work", *more],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def work(*more):
    """Runs a worker until the queues are empty."""
    return worker(*more).wait(60)


def main():
    connection.flushall()
    q = Queue("default", connection=connection)
    high = Queue("high", connection=connection)

    order = [q.enqueue("rq_jobs.add", 1, i) for i in range(10)]
    first = high.enqueue("rq_jobs.add", 40, 2)
    waiting = q.enqueue("rq_jobs.last_of", order[-1].id, depends_on=order[-1])
    noted = q.enqueue("rq_jobs.add", 0, 0, on_success=Callback(note))
    many = q.enqueue_many([Queue.prepare_data("rq_jobs.add", (i, i)) for i in range(20)])
    check("queued", [len(q), len(high), waiting.get_status()], [31, 1, "deferred"])
    check("worked", work(), 0)
    check("results", [j.return_value() for j in order], list(range(1, 11)))
    check("the other queue", first.return_value(), 42)
    check("the dependent", waiting.return_value(), 10)
    check("the callback", connection.lrange("noted", 0, -1), [noted.id.encode()])
    check("all at once", [j.return_value() for j in many], [2 * i for i in range(20)])
    check("finished", [len(q), q.finished_job_registry.count], [0, 32])
    ended = [Job.fetch(j.id, connection=connection).ended_at for j in (first, order[0])]
    check("high first", ended[0] < ended[1], True)

    failed = q.enqueue("rq_jobs.fail_until", "once", 1)
    retried = q.enqueue("rq_jobs.fail_until", "twice", 2, retry=Retry(max=3))
    work()
    check("failed", [failed.get_status(refresh=True), q.failed_job_registry.get_job_ids()], ["failed", [failed.id]])
    check("its trace", "not yet" in failed.latest_result().exc_string, True)
    check("retried", [retried.get_status(refresh=True), retried.return_value(), connection.get("tries:twice")],
          ["finished", "at last", b"3"])
    q.failed_job_registry.requeue(failed)
    check("queued again", [failed.get_status(refresh=True), q.failed_job_registry.count], ["queued", 0])
    work()
    check("at last", failed.return_value(), "at last")

    # Planned jobs are put into the queue by whoever schedules.
    planned = q.enqueue_in(timedelta(seconds=1), "rq_jobs.add", 3, 4)
    later = q.enqueue_in(timedelta(hours=1), "rq_jobs.add", 5, 6)
    check("planned", sorted(ScheduledJobRegistry(queue=q).get_job_ids()), sorted([planned.id, later.id]))
    scheduling = worker("schedule")
    eventually("the planned job", lambda: planned.return_value() == 7, 20)
    scheduling.send_signal(signal.SIGTERM)
    scheduling.wait(20)
    check("the later one waits", [later.get_status(refresh=True), len(ScheduledJobRegistry(queue=q))], ["scheduled", 1])
    repeated = q.enqueue("rq_jobs.fail_until", "again and again", 0, repeat=Repeat(times=2))
    work()
    check("repeated", [connection.get("tries:again and again"), repeated.get_status(refresh=True)], [b"3", "finished"])

    # A worker that is killed leaves its job in the registry of started ones, where the next finds it.
    lost = q.enqueue("rq_jobs.die", job_timeout=1)
    check("killed", work(), -signal.SIGKILL)
    check("left behind", [lost.get_status(refresh=True), lost in StartedJobRegistry(queue=q)], ["started", True])
    StartedJobRegistry(queue=q).cleanup(timestamp=time.time() + 3600)
    check("found", [lost.get_status(refresh=True), lost.id in q.failed_job_registry], ["failed", True])
    gone = q.enqueue("rq_jobs.add", 1, 1)
    gone.cancel()
    work()
    check("cancelled", [gone.get_status(refresh=True), gone.return_value()], ["canceled", None])
    check("emptied", [later.delete(), q.empty(), len(q)], [None, 0, 0])
    result("rq")


if __name__ == "__main__":
    if sys.argv[2:3] == ["work"]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        schedule = sys.argv[3:] == ["schedule"]
        Worker(["high", "default"], connection=connection).work(burst=not schedule, with_scheduler=schedule)
    else:
        main()
