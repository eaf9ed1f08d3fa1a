"""RQ: jobs that succeed, fail and are tried again, wait for others, come later; a worker that lives through failovers."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from datetime import timedelta

import redis
import rq

from common import dies_with_us, fresh, master, summary, through_failovers, within
from rq_tasks import add, connection, fails_twice

SAMPLE = 20


def name(kind):
    return fresh(kind).replace(":", "-")


def started(queue, how="for-ever"):
    """A worker in a process group of its own."""
    return subprocess.Popen([sys.executable, pathlib.Path(__file__).with_name("rq_tasks.py"), queue.name, how], start_new_session=True, preexec_fn=dies_with_us)


def kill(worker):
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def result_of(job):
    within(60, lambda: job.get_status() in ("finished", "failed"), f"job {job.id}")
    return job.latest_result().return_value


def basics(queue):
    assert result_of(queue.enqueue(add, 2, 3)) == 5
    assert result_of(queue.enqueue(fails_twice, fresh("tries"), retry=rq.Retry(max=3))) == "at last"
    failed = queue.enqueue(add, 1, "x")
    within(60, lambda: failed.get_status() == "failed", "a failed job")
    assert failed.id in queue.failed_job_registry and "TypeError" in failed.latest_result().exc_string
    first = queue.enqueue(add, 1, 1)
    assert result_of(queue.enqueue(add, 2, 2, depends_on=first)) == 4 and first.get_status() == "finished"
    begin = time.time()
    # RQ leaves out fractions of a second.
    later = queue.enqueue_in(timedelta(seconds=3), add, 3, 3)
    assert later.get_status() == "scheduled"
    assert result_of(later) == 6 and time.time() - begin >= 2
    print("basics hold")


client = connection()
queue, load = rq.Queue(name("rq"), connection=client), rq.Queue(name("rq-load"), connection=client)
# One that does not try again by itself.
source = rq.Queue(load.name, connection=master(decode_responses=False))
workers = [started(queue)]
try:
    basics(queue)
    jobs = []
    confirmed, reconnects = through_failovers(lambda number: jobs.append(source.enqueue(add, number, 1, result_ttl=3600).id), redis.RedisError)
    # A job of which we do not know whether it was taken may stand in the queue as well.
    lost = len(set(jobs) - set(load.job_ids))
    assert workers[0].poll() is None and result_of(queue.enqueue(add, 4, 4)) == 8, "the worker has not come through"
    workers.append(started(load, "burst"))
    for number in list(range(confirmed))[:: max(1, confirmed // SAMPLE)]:
        assert result_of(rq.job.Job.fetch(jobs[number], connection=client)) == number + 1
    summary(confirmed, lost, reconnects)
finally:
    for worker in workers:
        if worker.poll() is None:
            kill(worker)
