"""What rolling restarts and rolling upgrades have between them: a load of clients with their default settings, the replacement
of one process after another, and what must be there at the end."""

import signal
import threading
import time

import pika
import redis
from redis.sentinel import Sentinel

from cluster import SERVICE


def options_of_redis(cluster):
    tls = {"ssl": True, "ssl_ca_certs": cluster.authority} if cluster.tls else {}
    return {**tls, "sentinel_kwargs": tls} if tls else {}


def connected(cluster, node):
    tls = pika.SSLOptions(cluster.tls, "127.0.0.1") if cluster.tls else None
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port, blocked_connection_timeout=10, ssl_options=tls))


class Writer:
    """Counts up through clients that ask the sentinels, with their default settings: each acknowledged number has to stay."""

    def __init__(self, cluster):
        self.is_over, self.acknowledged, self.errors = threading.Event(), {}, []
        self.cluster = cluster
        sentinels = [("127.0.0.1", sentinel.resp_port) for sentinel in cluster.sentinels]
        self.threads = [threading.Thread(target=self.write, args=(f"writer-{number}", sentinels), daemon=True) for number in range(3)]
        self.threads.append(threading.Thread(target=self.publish, args=(cluster.nodes,), daemon=True))
        self.published = []

    def write(self, name, sentinels):
        number = 0
        client = Sentinel(sentinels, **options_of_redis(self.cluster)).master_for(SERVICE)
        while not self.is_over.is_set():
            number += 1
            try:
                client.set(f"{name}:{number}", number)
                self.acknowledged[name] = number
            except redis.RedisError as error:
                # An answer, and not a connection that is made again.
                self.errors.append(f"{name}: {error!r} {error}")
                number -= 1
            time.sleep(0.002)

    def publish(self, nodes):
        """A publisher with confirms that goes to the next node when its connection ends, as pika's example does."""
        number, at = 0, 0
        while not self.is_over.is_set():
            try:
                node = nodes[at % len(nodes)]
                channel = connected(self.cluster, node).channel()
                channel.queue_declare("upgraded", durable=True)
                channel.confirm_delivery()
                while not self.is_over.is_set():
                    channel.basic_publish("", "upgraded", str(number + 1).encode(), pika.BasicProperties(delivery_mode=2))
                    number += 1
                    self.published.append(number)
                    time.sleep(0.003)
            except (pika.exceptions.AMQPError, OSError):
                at += 1
                time.sleep(0.1)

    def is_ahead(self, before, by):
        assert all(self.acknowledged[name] > count + by for name, count in before.items()), f"{before} then, {self.acknowledged} now; {self.errors[:3]}"
        return True

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join(30)


def replace(cluster, member):
    """Stops a process as an orchestrator does, and starts the new program in its place."""
    member.process.send_signal(signal.SIGTERM)
    member.process.wait(60)
    member.program = None
    cluster.start(member)
    cluster.wait_until_whole()


def check_nothing_is_lost(writer, master):
    """Every write that was acknowledged is in its key, every message that was confirmed in its queue."""
    options = options_of_redis(writer.cluster)
    options.pop("sentinel_kwargs", None)
    client = redis.Redis(port=master.resp_port, **options)
    for name, count in writer.acknowledged.items():
        with client.pipeline(transaction=False) as pipe:
            for number in range(1, count + 1):
                pipe.get(f"{name}:{number}")
            assert pipe.execute() == [str(number).encode() for number in range(1, count + 1)], name
    channel = connected(writer.cluster, master).channel()
    found = set()
    while (message := channel.basic_get("upgraded", auto_ack=True))[0]:
        found.add(int(message[2]))
    channel.connection.close()
    assert set(writer.published) <= found, sorted(set(writer.published) - found)[:10]
