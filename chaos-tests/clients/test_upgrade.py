"""A rolling upgrade from older programs, under load: no error that a client sees, and nothing lost. Where the older programs
are is said by TERCET_OLD_NODE_BINARY and TERCET_OLD_SENTINEL_BINARY."""

import os
import pathlib
import signal
import threading
import time

import pika
import pytest
import redis
from redis.sentinel import Sentinel

from cluster import SERVICE, Cluster, wait_for
from test_http_api import get

OLD = {kind: os.environ.get(f"TERCET_OLD_{kind.upper()}_BINARY") for kind in ("node", "sentinel")}
pytestmark = pytest.mark.skipif(not all(OLD.values()), reason="no older programs: TERCET_OLD_NODE_BINARY and TERCET_OLD_SENTINEL_BINARY name none")


class OfOldPrograms(Cluster):
    def start(self, member, data=None):
        if member.process is None:
            member.program = OLD[member.kind]
        super().start(member, data)


class Writer:
    """Counts up through clients that ask the sentinels, with their default settings: each acknowledged number has to stay."""

    def __init__(self, cluster):
        self.is_over, self.acknowledged, self.errors = threading.Event(), {}, []
        sentinels = [("127.0.0.1", sentinel.resp_port) for sentinel in cluster.sentinels]
        self.threads = [threading.Thread(target=self.write, args=(f"writer-{number}", sentinels), daemon=True) for number in range(3)]
        self.threads.append(threading.Thread(target=self.publish, args=(cluster.nodes,), daemon=True))
        self.published = []

    def write(self, name, sentinels):
        number = 0
        client = Sentinel(sentinels).master_for(SERVICE)
        while not self.is_over.is_set():
            number += 1
            try:
                client.set(f"{name}:{number}", number)
                self.acknowledged[name] = number
            except redis.RedisError as error:
                # An answer, and not a connection that is made again.
                self.errors.append(f"{name}: {error!r}")
            time.sleep(0.002)

    def publish(self, nodes):
        """A publisher with confirms that goes to the next node when its connection ends, as pika's example does."""
        number, at = 0, 0
        while not self.is_over.is_set():
            try:
                node = nodes[at % len(nodes)]
                channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port, blocked_connection_timeout=10)).channel()
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


def program_of(member):
    return pathlib.Path(f"/proc/{member.process.pid}/exe").resolve()


def test_everything_is_replaced_under_load_and_nothing_is_lost():
    with OfOldPrograms() as cluster:
        assert all(program_of(m) == pathlib.Path(OLD[m.kind]).resolve() for m in cluster.nodes + cluster.sentinels)
        with Writer(cluster) as writer:
            wait_for(lambda: len(writer.published) > 100, 30, "a load")
            for sentinel in cluster.sentinels:
                replace(cluster, sentinel)
            # Replicas first, then the master, which hands over to one of them.
            master = cluster.wait_until_whole()
            for node in [*(node for node in cluster.nodes if node is not master), master]:
                replace(cluster, node)
            before = dict(writer.acknowledged)
            wait_for(lambda: writer.is_ahead(before, 50), 30, "writes after the upgrade")
        assert not any(program_of(m) == pathlib.Path(OLD[m.kind]).resolve() for m in cluster.nodes + cluster.sentinels)
        assert writer.errors == []
        master = cluster.wait_until_whole()
        client = redis.Redis(port=master.resp_port)
        for name, count in writer.acknowledged.items():
            with client.pipeline(transaction=False) as pipe:
                for number in range(1, count + 1):
                    pipe.get(f"{name}:{number}")
                assert pipe.execute() == [str(number).encode() for number in range(1, count + 1)], name
        channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", master.amqp_port)).channel()
        found = set()
        while (message := channel.basic_get("upgraded", auto_ack=True))[0]:
            found.add(int(message[2]))
        assert set(writer.published) <= found, sorted(set(writer.published) - found)[:10]
        state = get(master, "cluster")
        assert {member["version"] for member in state["members"]} == {state["version"]}
        print(f"{sum(writer.acknowledged.values())} writes, {len(writer.published)} messages")
