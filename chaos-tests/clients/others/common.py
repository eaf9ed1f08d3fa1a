"""What the Python programs share: whom to ask, and the loop through the failovers. The contract is in test_others.py."""

import ctypes
import os
import pathlib
import signal
import time
import uuid

import redis
import redis.sentinel
from redis.backoff import ConstantBackoff
from redis.retry import Retry

SERVICE = os.environ["SERVICE"]
SENTINELS = [(host, int(port)) for host, port in (address.split(":") for address in os.environ["SENTINELS"].split())]
BROKERS = [(host, int(port)) for host, port in (address.split(":") for address in os.environ["BROKERS"].split())]
FOLDER = pathlib.Path(os.environ["FOLDER"])
STOP = pathlib.Path(os.environ["STOP"])


def master(**options):
    """A client of redis-py that follows the sentinels."""
    sentinel = redis.sentinel.Sentinel(SENTINELS, socket_timeout=1)
    return sentinel.master_for(SERVICE, **{"socket_timeout": 2, "decode_responses": True, **options})


def patient_master(**options):
    """One that goes through failovers by itself: what is read may be read again."""
    return master(retry=Retry(ConstantBackoff(0.1), 300), **options)


def dies_with_us():
    """For `preexec_fn`: a worker does not outlive the program, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def fresh(name):
    """A name that no program before has used."""
    return f"{name}:{uuid.uuid4().hex[:8]}"


def within(seconds, condition, what):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return value


def through_failovers(write, faults, reconnect=lambda: None):
    """Calls `write(number)` with 0, 1, 2, ... until the end; one that fails with one of `faults` is repeated. Gives how many
    succeeded and how often it reconnected."""
    confirmed = reconnects = 0
    while not STOP.exists():
        try:
            write(confirmed)
        except faults:
            reconnects += 1
            time.sleep(0.05)
            within(30, lambda: again(reconnect, faults), "a new connection")
            continue
        confirmed += 1
        if confirmed % 50 == 0:
            print(f"at {confirmed}")
    return confirmed, reconnects


def at_last(read, faults):
    """What `read()` gives as soon as it does not fail: on a loaded machine there may be a failover that nobody asked for."""
    answers = []

    def attempt():
        answers.append(read())

    within(30, lambda: again(attempt, faults), "an answer")
    return answers[0]


def again(reconnect, faults):
    try:
        reconnect()
        return True
    except faults:
        return False


def summary(confirmed, lost, reconnects):
    print(f"confirmed {confirmed} lost {lost} reconnects {reconnects}")
