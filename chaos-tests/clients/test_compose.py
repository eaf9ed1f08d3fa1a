"""deploy/docker-compose.yml on a real engine: does a cluster of containers keep what it acknowledged when one is killed,
stopped, cut off, and when all are restarted?

It takes the ports that the file publishes, and runs beside nothing else that has them.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from cluster import is_free

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"n1": 6379, "n2": 6380, "n3": 6381}
PROJECT = "tercettest"
PASSWORD = "of-the-test"
BOUND_S = 60


def engine_answers():
    if shutil.which("docker-compose") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0


pytestmark = [
    pytest.mark.skipif(os.environ.get("TERCET_COMPOSE") != "1", reason="the compose drills run with TERCET_COMPOSE=1"),
    pytest.mark.skipif(not engine_answers(), reason="no Docker engine with docker-compose answers"),
    pytest.mark.skipif(not all(map(is_free, PORTS.values())), reason="the ports of docker-compose.yml are taken (make down?)"),
]


def compose(*arguments, check=True):
    command = ["docker-compose", "-p", PROJECT, "-f", str(ROOT / "deploy" / "docker-compose.yml"), *arguments]
    environment = os.environ | {"PASSWORD": PASSWORD, "IMAGE": os.environ.get("IMAGE", "tercet:test")}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert not check or run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def docker(*arguments):
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def container(name):
    return docker("ps", "-a", "-q", "-f", f"label=com.docker.compose.project={PROJECT}", "-f",
                  f"label=com.docker.compose.service={name}")


def until(what, look):
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except redis.RedisError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not within {BOUND_S} s: {what}\n{compose('logs', '--tail=15', check=False)[-6000:]}")


def client(name):
    return redis.Redis(port=PORTS[name], password=PASSWORD, socket_timeout=2, socket_connect_timeout=2)


def master(but=None):
    for name in PORTS:
        if name == but:
            continue
        try:
            with client(name) as asked:
                if asked.info("replication")["role"] == "master" and asked.set("probe", name):
                    return name
        except redis.RedisError:
            continue
    return None


def is_whole():
    """All three nodes are in the ISR of one that takes writes."""
    name = master()
    if name is None:
        return None
    with client(name) as asked:
        members = asked.info("replication")["tercet_isr_members"]
    return name if len(members.split(",") if isinstance(members, str) else members) == 3 else None


@pytest.fixture(scope="module")
def cluster():
    compose("down", "-v", "--remove-orphans", check=False)
    try:
        compose("up", "-d")
        until("the cluster is whole", is_whole)
        yield
    finally:
        compose("down", "-v", "--remove-orphans", check=False)


class Writes:
    """Numbers that were acknowledged, whoever the master was."""

    def __init__(self, key):
        self.key, self.acknowledged, self.next = key, [], 0

    def write(self, name, count):
        with client(name) as asked:
            for _ in range(count):
                self.next += 1
                asked.rpush(self.key, self.next)
                self.acknowledged.append(self.next)

    def check(self, name):
        with client(name) as asked:
            kept = {int(number) for number in asked.lrange(self.key, 0, -1)}
        assert kept.issuperset(self.acknowledged), f"lost: {sorted(set(self.acknowledged) - kept)[:10]}"


def kill(name):
    os.kill(int(docker("inspect", "-f", "{{.State.Pid}}", container(name))), signal.SIGKILL)


FAULTS = {
    # The engine starts it again by itself.
    "kill": (kill, lambda name: None),
    "pause": (lambda name: docker("pause", container(name)), lambda name: docker("unpause", container(name))),
    "disconnect": (
        lambda name: docker("network", "disconnect", f"{PROJECT}_default", container(name)),
        lambda name: docker("network", "connect", "--alias", name, f"{PROJECT}_default", container(name)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_node_serves_and_nothing_is_lost(cluster, fault):
    strike, mend = FAULTS[fault]
    before = until("the cluster is whole", is_whole)
    writes = Writes(f"writes:{fault}")
    writes.write(before, 500)
    strike(before)
    try:
        after = until("another node is master", lambda: master(but=before))
        writes.write(after, 500)
        writes.check(after)
    finally:
        mend(before)
    whole = until("the cluster is whole again", is_whole)
    writes.check(whole)


def test_a_restart_of_everything_keeps_the_data(cluster):
    writes = Writes("writes:restart")
    writes.write(until("the cluster is whole", is_whole), 500)
    compose("restart", "-t", "10")
    writes.check(until("the cluster is whole again", is_whole))


def test_images_run_without_root_and_are_small(cluster):
    assert docker("inspect", "-f", "{{.Config.User}}", container("n1")) == "65532:65532"
    assert docker("inspect", "-f", "{{.HostConfig.ReadonlyRootfs}}", container("n1")) == "true"
