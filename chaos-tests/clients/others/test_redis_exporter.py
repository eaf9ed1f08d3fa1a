"""Debian's prometheus-redis-exporter: it reads of a node what it reads of a redis-server."""

import re
import shutil
import signal
import subprocess
import urllib.request

import pytest

from cluster import LIBC, PR_SET_PDEATHSIG, Cluster, ask, free_block, wait_for

EXPORTER, REDIS = shutil.which("prometheus-redis-exporter"), shutil.which("redis-server")
# The node has no main thread: its I/O threads are all alike.
INTENDED = {"redis_cpu_sys_main_thread_seconds_total", "redis_cpu_user_main_thread_seconds_total"}
# What the panels of its Grafana dashboard (763) show.
DASHBOARD = [
    "redis_uptime_in_seconds",
    "redis_start_time_seconds",
    "redis_connected_clients",
    "redis_blocked_clients",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_commands_total",
    "redis_commands_duration_seconds_total",
    "redis_commands_processed_total",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total",
    "redis_net_input_bytes_total",
    "redis_net_output_bytes_total",
    "redis_db_keys",
    "redis_db_keys_expiring",
    "redis_expired_keys_total",
    "redis_evicted_keys_total",
    "redis_connected_slaves",
]
LOAD = ["SET a 1 EX 1000", "SET b 1", "SET c 1 PX 1", "GET a", "GET b", "GET none", "FOO", "EVAL 'return 1' 0"]

pytestmark = pytest.mark.skipif(not EXPORTER or not REDIS, reason="prometheus-redis-exporter or redis-server is not installed")


def spawned(command):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def scraped(port):
    """Name -> {labels: value} of every series that begins with redis_, after some commands."""
    ask(port, *LOAD)
    web = free_block(1)
    exporter = spawned([EXPORTER, "--redis.addr", f"redis://127.0.0.1:{port}", "--web.listen-address", f"127.0.0.1:{web}"])
    try:
        text = wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{web}/metrics", timeout=20).read().decode(), 30, "the exporter answers")
    finally:
        exporter.kill()
        exporter.wait()
    series = {}
    for name, labels, value in re.findall(r"^(redis_\w+)(\{.*\})? (\S+)$", text, re.MULTILINE):
        series.setdefault(name, {})[labels] = float(value)
    return series


@pytest.fixture(scope="module")
def ours():
    with Cluster() as cluster:
        yield scraped(cluster.wait_until_whole().resp_port)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    port = free_block(1)
    server = spawned([REDIS, "--port", str(port), "--save", "", "--dir", str(tmp_path_factory.mktemp("redis"))])
    try:
        wait_for(lambda: ask(port, "PING").startswith("+PONG"), 20, "redis-server")
        yield scraped(port)
    finally:
        server.kill()
        server.wait()


def test_no_metric_of_redis_is_missing(ours, reference):
    assert set(reference) - set(ours) == INTENDED


def test_the_dashboard_has_everything_it_shows(ours):
    assert [name for name in DASHBOARD if name not in ours] == []
    assert ours["redis_up"] == {"": 1} and set(ours["redis_exporter_last_scrape_error"].values()) == {0}


def test_values_say_what_happened(ours):
    assert ours["redis_commands_total"]['{cmd="set"}'] == 3
    assert ours["redis_commands_duration_seconds_total"]['{cmd="set"}'] > 0
    assert ours["redis_keyspace_hits_total"][""] == 2 and ours["redis_keyspace_misses_total"][""] == 1
    assert ours["redis_db_keys"]['{db="db0"}'] in (2, 3) and ours["redis_db_keys_expiring"]['{db="db0"}'] in (1, 2)
    assert ours["redis_connected_slaves"][""] == 2
    assert ours["redis_memory_used_bytes"][""] > 0 and ours["redis_net_input_bytes_total"][""] > 0
