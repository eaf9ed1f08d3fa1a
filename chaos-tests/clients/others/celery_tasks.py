"""The tasks of with_celery.py, and the application: broker over AMQP on any node, results behind the sentinels."""

import os
import time

from celery import Celery

from common import BROKERS, SENTINELS, SERVICE, patient_master

app = Celery(
    "celery_tasks",
    broker=";".join(f"amqp://guest:guest@{host}:{port}//" for host, port in BROKERS),
    backend=";".join(f"sentinel://{host}:{port}/0" for host, port in SENTINELS),
)
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=2,
    result_backend_transport_options={"master_name": SERVICE, "socket_timeout": 2, "sentinel_kwargs": {"socket_timeout": 1}},
    redis_socket_timeout=2,
    result_expires=3600,
    worker_prefetch_multiplier=4,
    task_default_queue=os.environ.get("CELERY_QUEUE", "celery"),
)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=ValueError("not yet"))
    return self.request.retries


@app.task
def now():
    return time.time()


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def survives(self, key):
    """Blocks at its first attempt, until its worker is killed."""
    if patient_master().incr(key) == 1:
        time.sleep(600)
    return self.request.delivery_info["redelivered"]
