"""Failover as other people's clients see it: redis-py's Sentinel and redis-cli."""

import queue
import shutil
import subprocess
import threading
import time

import pytest
import redis
from redis.sentinel import Sentinel

from cluster import SERVICE, Cluster, wait_for


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def discovery(cluster):
    addresses = [("127.0.0.1", sentinel.resp_port) for sentinel in cluster.sentinels]
    return Sentinel(addresses, socket_timeout=1)


def redis_cli(port, *args):
    assert shutil.which("redis-cli"), "redis-cli is missing: apt-get install redis-tools"
    return subprocess.run(["redis-cli", "-p", str(port), *args], capture_output=True, text=True, timeout=10, check=True).stdout


def test_master_for_follows_a_failover_without_being_told(cluster):
    old = cluster.wait_until_whole()
    client = discovery(cluster).master_for(SERVICE, socket_timeout=0.3)
    client.set("before", "1")
    cluster.kill(old)
    killed_at = time.monotonic()

    def written():
        try:
            return client.set("after", "2")
        except redis.exceptions.RedisError:
            return None

    wait_for(written, 30, "a write through the same client")
    took = time.monotonic() - killed_at
    assert client.get("before") == b"1"
    cluster.start(old)
    assert cluster.wait_until_whole() is not old
    print(f"redis-py wrote again {took * 1000:.0f} ms after the kill")


def test_discovery_names_master_and_replicas(cluster):
    master = cluster.wait_until_whole()
    sentinel = discovery(cluster)
    assert sentinel.discover_master(SERVICE) == ("127.0.0.1", master.resp_port)
    replicas = {("127.0.0.1", node.resp_port) for node in cluster.nodes if node is not master}
    wait_for(lambda: set(sentinel.discover_slaves(SERVICE)) == replicas, 10, "both replicas in discover_slaves")


def test_a_replica_answers_reads_and_refuses_writes(cluster):
    cluster.wait_until_whole()
    sentinel = discovery(cluster)
    sentinel.master_for(SERVICE).set("seen", "by replicas")
    replica = sentinel.slave_for(SERVICE, socket_timeout=1)
    wait_for(lambda: replica.get("seen") == b"by replicas", 5, "the value on a replica")
    with pytest.raises(redis.exceptions.ReadOnlyError):
        replica.set("seen", "no")


def test_redis_cli_lists_the_masters(cluster):
    master = cluster.wait_until_whole()
    words = redis_cli(cluster.sentinels[0].resp_port, "sentinel", "masters").splitlines()
    fields = dict(zip(words[::2], words[1::2]))
    assert fields["name"] == SERVICE
    assert fields["ip"] == "127.0.0.1"
    assert fields["port"] == str(master.resp_port)
    assert fields["flags"] == "master"
    assert fields["num-slaves"] == "2"
    assert fields["num-other-sentinels"] == "2"


def test_redis_cli_sees_the_switch_on_every_sentinel(cluster):
    old = cluster.wait_until_whole()
    seen = [queue.Queue() for _ in cluster.sentinels]

    def read(process, lines):
        for line in process.stdout:
            lines.put(line.strip())

    watchers = []
    for sentinel, lines in zip(cluster.sentinels, seen):
        command = ["redis-cli", "-p", str(sentinel.resp_port), "subscribe", "+switch-master"]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watchers.append(watcher)
        threading.Thread(target=read, args=(watcher, lines), daemon=True).start()
    try:
        for lines in seen:
            assert [lines.get(timeout=20) for _ in range(3)] == ["subscribe", "+switch-master", "1"]
        cluster.kill(old)
        messages = []
        for lines in seen:
            assert [lines.get(timeout=30) for _ in range(2)] == ["message", "+switch-master"]
            messages.append(lines.get(timeout=5))
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
        cluster.start(old)
    new = cluster.wait_until_whole()
    assert new is not old
    assert set(messages) == {f"{SERVICE} 127.0.0.1 {old.resp_port} 127.0.0.1 {new.resp_port}"}


def test_over_a_planned_failover_a_client_goes_on_by_itself(cluster):
    old = cluster.wait_until_whole()
    client = discovery(cluster).master_for(SERVICE, socket_timeout=2)
    numbers, times, errors, stop = [], [], [], threading.Event()

    def write():
        while not stop.is_set():
            try:
                numbers.append(client.incr("planned"))
                times.append(time.monotonic())
            # What says "connect again": the old master has closed, or is a replica by now.
            except redis.exceptions.ConnectionError as error:
                errors.append(str(error))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: len(numbers) > 50, 20, "load")
        new = cluster.fail_over()
        count = len(numbers)
        wait_for(lambda: len(numbers) > count + 50, 20, "load after the hand-over")
    finally:
        stop.set()
        writer.join()
    assert new is not old
    # A connection that closes may have cost an answer, so a number may be skipped; none may come twice or be lost.
    assert numbers == sorted(set(numbers))
    assert int(client.get("planned")) >= numbers[-1]
    gap = max(later - earlier for earlier, later in zip(times, times[1:]))
    print(f"longest time between two writes over a hand-over: {gap * 1000:.0f} ms, {len(errors)} errors: {set(errors)}")


def test_what_was_set_outlives_a_kill_of_the_sentinel(cluster):
    cluster.wait_until_whole()
    sentinel = cluster.sentinels[2]
    down_after = lambda: int(redis.Redis(port=sentinel.resp_port).sentinel_master(SERVICE)["down-after-milliseconds"])
    before = down_after()
    for kept in (before + 1500, before):
        client = redis.Redis(port=sentinel.resp_port)
        assert client.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", kept)
        assert client.execute_command("SENTINEL FLUSHCONFIG")
        cluster.kill(sentinel)
        cluster.start(sentinel)
        wait_for(lambda: down_after() == kept, 20, f"{kept} ms after the restart")
    cluster.wait_until_whole()
