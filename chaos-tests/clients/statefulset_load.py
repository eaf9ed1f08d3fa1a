"""Load on a cluster, run in a namespace of its own: statefulset_load.py ENDPOINTS STOP RESULT.

Redis clients ask the sentinels; every AMQP connection goes to one of the addresses in the file ENDPOINTS, as kube-proxy
would send it. Ends when the file STOP is there, and writes what was acknowledged and what failed to RESULT as JSON.
"""

import json
import pathlib
import random
import sys
import threading
import time

import pika
import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

PASSWORD = "tercet"
QUEUE = "jobs"


def endpoint(path):
    while not (addresses := json.loads(path.read_text())):
        time.sleep(0.05)
    return random.choice(addresses)


def write_keys(stop, result):
    """Asks the sentinels who is master, as a Redis client that writes does, with twice the retries that redis-py gives
    by default to clients that know an address."""
    addresses = [(f"sentinel-{number}.sentinels", 26379) for number in range(3)]
    sentinel = redis.Sentinel(addresses, sentinel_kwargs={"password": PASSWORD})
    retry = Retry(ExponentialWithJitterBackoff(base=1, cap=10), 6)
    client = sentinel.master_for("mymaster", password=PASSWORD, retry=retry)
    number = 0
    while not stop.exists():
        number += 1
        try:
            client.set(f"key:{number}", number)
            result["keys"] = number
        except redis.RedisError as error:
            result["errors"].append(f"SET key:{number}: {type(error).__name__}: {error}")
        time.sleep(0.002)


def publish(stop, result, endpoints):
    """With confirms; pika hides no reconnection, so that is its user's part: a message is sent again until confirmed."""
    number = 0
    while not stop.exists():
        try:
            parameters = pika.ConnectionParameters(
                endpoint(endpoints), 5672, credentials=pika.PlainCredentials("guest", PASSWORD),
                heartbeat=5, blocked_connection_timeout=30, socket_timeout=2, stack_timeout=10)  # fmt: skip
            with pika.BlockingConnection(parameters) as connection:
                channel = connection.channel()
                channel.queue_declare(QUEUE, durable=True)
                channel.confirm_delivery()
                while not stop.exists():
                    properties = pika.BasicProperties(delivery_mode=2)
                    channel.basic_publish("", QUEUE, str(number + 1).encode(), properties, mandatory=True)
                    number += 1
                    result["messages"] = number
                    time.sleep(0.002)
        except (pika.exceptions.AMQPError, OSError) as error:
            result["reconnections"].append(repr(error))
            time.sleep(0.05)


def main():
    endpoints, stop, target = (pathlib.Path(argument) for argument in sys.argv[1:4])
    result = {"keys": 0, "messages": 0, "errors": [], "reconnections": []}
    threads = [threading.Thread(target=write_keys, args=(stop, result)), threading.Thread(target=publish, args=(stop, result, endpoints))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    target.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
