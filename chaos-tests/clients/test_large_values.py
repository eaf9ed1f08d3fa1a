"""Large texts are kept as they came: what they take of memory, that they stay what they were, and that others are served."""

import contextlib
import hashlib
import socket
import subprocess
import sys
import threading
import time

import pytest
import redis

from cluster import wait_for
from test_disk import Node

SIZE = 200 << 20


def peak(node):
    with open(f"/proc/{node.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def connect(node):
    client = redis.Redis(port=node.ports["resp"], socket_timeout=120)
    for _ in range(200):
        try:
            client.ping()
            return client
        except redis.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(node.log.read_text()[-2000:])


def text():
    return hashlib.shake_128(b"large").digest(1 << 20) * (SIZE >> 20)


def same(value, expected):
    # Not `==` in an assert: the difference would be printed.
    return len(value) == len(expected) and hashlib.sha1(value).digest() == hashlib.sha1(expected).digest()


def test_a_large_text_is_not_copied(tmp_path):
    value = text()
    with Node(tmp_path) as node:
        client = connect(node)
        before = peak(node)
        client.set("big", value)
        assert client.object("encoding", "big") == b"raw"
        assert client.rename("big", "other") and client.copy("other", "third") and client.move("third", 1)
        assert same(client.get("other"), value)
        pipe = client.pipeline()
        for name in ("a", "b", "c"):
            pipe.copy("other", name)
        pipe.get("a")
        assert same(pipe.execute()[-1], value)
        # Six keys share one text; the rest is on its way to the disk.
        assert peak(node) < before + 2 * SIZE
        # A change of one leaves the others as they were.
        assert client.append("a", "!") == SIZE + 1
        client.setrange("b", 0, "?")
        assert client.getrange("a", -2, -1) == value[-1:] + b"!" and client.getrange("b", 0, 1) == b"?" + value[1:2]
        client.delete("a", "b")
        assert same(client.get("c"), value) and same(client.get("other"), value)


def test_large_texts_come_back_after_a_restart(tmp_path):
    value = text()
    with Node(tmp_path) as node:
        client = connect(node)
        pipe = client.pipeline(transaction=True)
        pipe.set("big", value).set("small", "1").rename("big", "renamed").copy("renamed", "copied")
        pipe.execute()
        node.stop()
    with Node(tmp_path) as node:
        client = connect(node)
        assert same(client.get("renamed"), value) and same(client.get("copied"), value) and client.get("small") == b"1"


def test_others_read_while_a_large_text_comes_and_goes(tmp_path):
    value = text()
    with Node(tmp_path) as node:
        client = connect(node)
        client.set("k", "v")
        longest, stop = [0.0], threading.Event()

        def read():
            reader = connect(node)
            while not stop.is_set():
                began = time.monotonic()
                assert reader.get("k") == b"v"
                longest[0] = max(longest[0], time.monotonic() - began)
                time.sleep(0.001)

        thread = threading.Thread(target=read)
        thread.start()
        client.set("big", value)
        client.rename("big", "other")
        client.delete("other")
        stop.set()
        thread.join()
        # No figure of speed: copying it once under a lock would be seen on an idle machine, a hang on any.
        assert longest[0] < 2.0


def test_the_largest_clients_are_closed_beyond_maxmemory_clients(tmp_path):
    with Node(tmp_path) as node:
        client, large, spared = connect(node), socket.create_connection(("127.0.0.1", node.ports["resp"])), connect(node)
        assert client.config_set("maxmemory-clients", "32mb")
        spared.client_no_evict("on")
        # A request that does not end.
        large.settimeout(20)
        with contextlib.suppress(ConnectionError):
            large.sendall(b"*2\r\n$4\r\nPING\r\n$100000000\r\n" + b"x" * (48 << 20))
            assert large.recv(100) == b""
        wait_for(lambda: client.info("stats")["evicted_clients"] == 1, 10, "one client that was closed")
        assert client.ping() and spared.ping()


@pytest.mark.parametrize("command", ["SUNIONSTORE to big", "SMEMBERS big", "COPY big to REPLACE", "SORT big ALPHA STORE to", "RENAME big to"])
def test_others_are_served_while_a_command_walks_over_a_large_value(tmp_path, command):
    with Node(tmp_path) as node:
        client = connect(node)
        pipe = client.pipeline(transaction=False)
        for first in range(0, 600_000, 10_000):
            pipe.sadd("big", *(f"member:{number}" for number in range(first, first + 10_000)))
        pipe.execute()
        waits, stop = [], threading.Event()

        def read():
            reader = connect(node)
            while not stop.is_set():
                began = time.monotonic()
                reader.get("k")
                waits.append(time.monotonic() - began)

        # Its reply is read by a process of its own: the large ones would keep this one from reading anything else.
        asking = subprocess.Popen(
            [sys.executable, "-c", ASK, str(node.ports["resp"]), *command.split()], stdout=subprocess.PIPE, text=True
        )
        thread = threading.Thread(target=read)
        thread.start()
        took = float(asking.communicate(timeout=120)[0])
        stop.set()
        thread.join()
        # On an idle machine the longest wait is some milliseconds.
        assert max(waits) < max(took / 3, 0.5), (took, max(waits))
        assert client.get("k") is None and client.ping()


ASK = """
import sys, time, redis
connection = redis.Connection(port=int(sys.argv[1]), socket_timeout=100)
connection.connect()
began = time.monotonic()
connection.send_command(*sys.argv[2:])
assert connection.can_read(100)
print(time.monotonic() - began)
"""
