"""The jobs of with_rq.py, and their worker. RQ takes no functions of a main module."""

import sys

import rq

from common import patient_master


def connection():
    return patient_master(decode_responses=False, socket_timeout=None)


def add(a, b):
    return a + b


def fails_twice(key):
    if connection().incr(key) < 3:
        raise ValueError("not yet")
    return "at last"


def work(name, burst):
    """A worker that runs jobs in its own process."""
    client = connection()
    rq.SimpleWorker([rq.Queue(name, connection=client)], connection=client).work(burst=burst, with_scheduler=not burst, logging_level="ERROR")


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2] == "burst")
