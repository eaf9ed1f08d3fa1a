"""Celery with its broker and its results on Tercet: retries, chords, ETA, late acknowledgements."""

import os
import signal
import subprocess
import sys
import time

from common import FOLDER, at_last, dies_with_us, fresh, patient_master, summary, through_failovers, within

os.environ["CELERY_QUEUE"] = fresh("celery")
import kombu  # noqa: E402 - the name of the queue comes first
import redis  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from celery_tasks import add, app, fails_twice, now, survives, total  # noqa: E402

FAULTS = (kombu.exceptions.OperationalError, redis.RedisError, OSError)
PATIENCE = 60


def started():
    """A worker in a process group of its own."""
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "-l", "WARNING", "-n", fresh("worker")]
    log = (FOLDER / "worker.log").open("a")
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.Popen(command, cwd=here, stdout=log, stderr=log, start_new_session=True, preexec_fn=dies_with_us)


def kill(worker):
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def basics(worker):
    assert add.delay(2, 3).get(PATIENCE) == 5
    assert fails_twice.delay().get(PATIENCE) == 2
    failed = add.delay(1, "x")
    assert isinstance(failed.get(PATIENCE, propagate=False), TypeError) and failed.state == "FAILURE"
    assert chain(add.s(1, 2), add.s(4), add.s(8))().get(PATIENCE) == 15
    assert group(add.s(n, n) for n in range(5))().get(PATIENCE) == [0, 2, 4, 6, 8]
    assert chord((add.s(n, n) for n in range(10)), total.s())().get(PATIENCE) == 90
    begin = time.time()
    assert now.apply_async(countdown=1.5).get(PATIENCE) - begin >= 1.5
    revoked = now.apply_async(countdown=600)
    revoked.revoke()
    assert add.apply_async((1, 1), expires=-1).id
    key = fresh("survives")
    result = survives.delay(key)
    within(PATIENCE, lambda: patient_master().get(key) == "1", "a task that has begun")
    kill(worker)
    worker = started()
    assert result.get(PATIENCE) is True, "the task of a killed worker was not redelivered"
    assert patient_master().get(key) == "2"
    print("basics hold")
    return worker


worker = started()
try:
    worker = basics(worker)
    sent = []
    has_failed = False

    def send(number):
        """A first attempt says what went wrong; the next has Celery's own retries, which go from one broker to the next."""
        global has_failed
        retries, has_failed = (5 if has_failed else 0), True
        sent.append(add.apply_async((number, 1), ignore_result=False, retry_policy={"max_retries": retries, "interval_start": 0}))
        has_failed = False

    confirmed, reconnects = through_failovers(send, FAULTS)
    print(f"sent {len(sent)}", file=sys.stderr)
    values = {}

    def finished():
        for number, result in enumerate(sent):
            if number not in values:
                meta = at_last(lambda: app.backend.get_task_meta(result.id, cache=False), FAULTS)
                if meta["status"] != "SUCCESS":
                    return False
                values[number] = meta["result"]
        return True

    try:
        within(PATIENCE - 10, finished, "every result")
    except AssertionError as error:
        print(error, file=sys.stderr)
    assert all(value == number + 1 for number, value in values.items())
    summary(confirmed, confirmed - len(values), reconnects)
except BaseException:
    print((FOLDER / "worker.log").read_text()[-3000:], file=sys.stderr)
    raise
finally:
    if worker.poll() is None:
        kill(worker)
