"""What happens to the cluster of deploy/kubernetes when Kubernetes does what it does: a rolling restart of everything under
load, pods that come back with another address, a volume that is lost."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pika
import pytest
import redis

import statefulset

pytestmark = [
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
    pytest.mark.skipif(os.geteuid() != 0 or not statefulset.namespaces_can_be_made(), reason="network namespaces need root"),
]
PASSWORD = "tercet"
QUEUE = "jobs"


@pytest.fixture(scope="module")
def sets():
    with statefulset.StatefulSets() as running:
        yield running


@contextlib.contextmanager
def load(sets, errors=0):
    """Writes keys and publishes as long as it lasts; then what was acknowledged must be there, and no more than `errors`
    commands failed."""
    stop, result = sets.folder / "stop", sets.folder / "result.json"
    stop.unlink(missing_ok=True)
    address = sets.network.add("client-0")
    script = Path(__file__).with_name("statefulset_load.py")
    words = [sys.executable, str(script), str(sets.endpoints), str(stop), str(result)]
    process = subprocess.Popen(sets.network.inside("client-0", *words), stdin=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield
        time.sleep(0.5)
        stop.touch()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        sets.network.remove("client-0")
        del sets.network.hosts["client-0"]
    assert address
    check(sets, json.loads(result.read_text()), errors)


def check(sets, result, errors):
    assert result["keys"] > 30 and result["messages"] > 30, result
    assert len(result["errors"]) <= errors, result["errors"]
    # A publisher meets each node at most once as it ends, and once more if it is sent to one that is about to.
    assert len(result["reconnections"]) <= 12, result["reconnections"]
    for pod in sets.of("node"):
        with redis.Redis(pod.address, password=PASSWORD) as client:
            failed = {int(error.split(":")[1]) for error in result["errors"]}
            keys = [f"key:{number}" for number in range(1, result["keys"] + 1) if number not in failed]
            lost = [key for key, value in zip(keys, client.mget(keys)) if value is None]
            assert not lost, f"{pod.name} lost {len(lost)} of {len(keys)} keys: {lost[:5]}"
    kept = drain(sets.of("node")[0].address)
    lost = set(range(1, result["messages"] + 1)) - kept
    assert not lost, f"lost {len(lost)} of {result['messages']} messages: {sorted(lost)[:5]}"


def drain(address):
    """All that is in the queue."""
    kept = set()
    with pika.BlockingConnection(pika.ConnectionParameters(address, credentials=pika.PlainCredentials("guest", PASSWORD))) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1000)
        for method, _, body in channel.consume(QUEUE, inactivity_timeout=1):
            if method is None:
                break
            kept.add(int(body))
            channel.basic_ack(method.delivery_tag)
        channel.cancel()
    return kept


def master(sets):
    def look():
        for pod in sets.of("node"):
            with redis.Redis(pod.address, password=PASSWORD, socket_timeout=1) as client:
                if client.info("replication")["role"] == "master":
                    return pod
        return None

    return statefulset.wait_for(look, 20, "a master")


@pytest.mark.parametrize("kind", ["node", "sentinel"])
def test_a_rolling_restart_under_load_loses_nothing_and_shows_no_error(sets, kind):
    with load(sets):
        sets.rolling_restart(kind)


def test_a_pod_whose_volume_is_lost_is_filled_again(sets):
    # A kill -9 is no hand-over: three retries of redis-py may all come before there is another master.
    with load(sets, errors=5):
        pod = master(sets)
        pod.kill()
        sets.publish()
        pod.lose_volume()
        pod.start()
        sets.wait_until_ready(pod)
        assert master(sets) is not pod
