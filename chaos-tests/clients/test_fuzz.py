"""Half a minute and more of random input through every door at once: nobody ends, nobody waits, nobody grows without a bound."""

import multiprocessing
import queue
import random
import time

import pytest
import redis

import fuzz
from cluster import TOKEN, Cluster, wait_for

# All seeds together: a minute.
SECONDS = 24
# A node takes some 70 MB; journal, queues and buffers have bounds of their own.
MOST_MEMORY = 1 << 30
FIXED, FRESH = 1, random.randrange(1 << 32)


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def protocols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    fuzz.services(folder)
    return folder


def resident(member):
    """Bytes of memory, the most that it ever was."""
    with open(f"/proc/{member.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


@pytest.mark.parametrize("seed", [FIXED, FRESH], ids=["fixed", "fresh"])
def test_whatever_comes_through_the_doors_everybody_is_served_within_two_seconds(cluster, protocols, seed):
    print(f"seed {seed}")
    master = cluster.wait_until_whole()
    # SETRANGE and SETBIT make a text of half a gigabyte of a few bytes, as in Redis.
    for node in cluster.nodes:
        redis.Redis(port=node.resp_port).config_set("proto-max-bulk-len", 1 << 20)
    replicas = [node for node in cluster.nodes if node is not master]
    workers = [
        (fuzz.resp, master.resp_port),
        (fuzz.resp, replicas[0].resp_port),
        (fuzz.resp, replicas[1].resp_port),
        (fuzz.resp, cluster.sentinels[0].resp_port, 30),
        (fuzz.amqp, master.amqp_port),
        (fuzz.amqp, replicas[0].amqp_port),
        (fuzz.peers, protocols, TOKEN, [node.peer_port for node in cluster.nodes], [s.peer_port for s in cluster.sentinels]),
        (fuzz.http, [port for node in cluster.nodes for port in (node.http_port, node.metrics_port)]),
        (fuzz.gateway, replicas[1].gateway_port),
    ]
    # Not forked: gRPC has threads.
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    running = [spawn.Process(target=fuzz.work, args=(number, worker, seed, SECONDS, results, *where), daemon=True) for number, (worker, *where) in enumerate(workers)]
    for process in running:
        process.start()
    late = probe(master, SECONDS)
    found, counts = [], {}
    for _ in running:
        try:
            name, count, faults, words = results.get(timeout=30)
        except queue.Empty:
            found.append("a worker did not come back")
            break
        counts[name] = counts.get(name, 0) + count
        if faults:
            found.append(f"{name}: {faults} times, e.g. " + "\n    ".join(words))
    peaks = {member.name: resident(member) >> 20 for member in cluster.nodes + cluster.sentinels if member.process.poll() is None}
    print(f"steps: {counts}; the longest wait of a client beside them {late * 1000:.0f} ms; MiB at the peak: {peaks}")
    cluster.check_running()
    assert not found, f"seed {seed}:\n" + "\n".join(found)
    assert late < fuzz.LATE, f"seed {seed}: a client beside them waited {late:.1f} s"
    assert all(count > 20 for count in counts.values()), counts
    assert all(peak << 20 < MOST_MEMORY for peak in peaks.values()), f"seed {seed}: {peaks}"
    cluster.wait_until_whole(30)
    for member in cluster.nodes + cluster.sentinels:
        assert "panicked" not in cluster.log(member).read_text(errors="replace")


def probe(master, seconds):
    """The longest that an ordinary client waits for a write."""
    longest, until = 0.0, time.monotonic() + seconds
    client = redis.Redis(port=master.resp_port, socket_timeout=10, retry=None)
    wait_for(client.ping, 10, "an answer")
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            client.set("probe", began)
        except redis.exceptions.ResponseError:
            # Refused in words: it is an answer.
            pass
        except redis.exceptions.ConnectionError:
            client = redis.Redis(port=master.resp_port, socket_timeout=10, retry=None)
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    return longest
