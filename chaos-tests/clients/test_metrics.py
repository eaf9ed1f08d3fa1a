"""What Prometheus scrapes: every line is of the text format, and the figures are those of the cluster."""

import json
import re
import shutil
import subprocess
import urllib.request

import pytest
import redis

from cluster import REPOSITORY, SERVICE, Cluster, wait_for

SAMPLE = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\]|\\.)*",?)+)\})? (?P<value>-?[0-9.e+]+)')


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def scrape(member):
    """{"name" or 'name{labels}': value}; fails on a line that is no sample of a metric that was announced."""
    with urllib.request.urlopen(f"http://127.0.0.1:{member.metrics_port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    found, announced = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            announced[name] = kind
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample and sample["name"] in announced, line
            found[line.rsplit(" ", 1)[0]] = float(sample["value"])
    return found


def test_a_master_tells_of_its_replicas_and_commands(cluster):
    master = cluster.wait_until_whole()
    before = scrape(master)
    client = redis.Redis(port=master.resp_port)
    for number in range(10):
        client.set(f"key:{number}", "value")
    after = scrape(master)
    assert after["tercet_commands_total"] - before["tercet_commands_total"] >= 10
    assert after["tercet_commit_offset"] - before["tercet_commit_offset"] == 10
    assert after['tercet_keys{db="db0"}'] == 10
    assert after['tercet_role{role="master"}'] == 1 and after["tercet_isr_members"] == 3
    assert 0 < after["tercet_lease_remaining_seconds"] <= 0.4
    for node in cluster.nodes:
        if node is not master:
            assert after[f'tercet_replica_in_sync{{replica="{node.name}"}}'] == 1
            wait_for(lambda: scrape(master)[f'tercet_replica_lag_records{{replica="{node.name}"}}'] == 0, 5, "no lag")
            wait_for(lambda: scrape(node)["tercet_applied_offset"] == after["tercet_journal_end_offset"], 5, "applied")


def test_sentinels_tell_who_leads_and_who_is_in_sync(cluster):
    cluster.wait_until_whole()
    scraped = [scrape(sentinel) for sentinel in cluster.sentinels]
    assert sum(one["tercet_sentinel_raft_leader"] for one in scraped) == 1
    for one in scraped:
        assert [one[f'tercet_sentinel_isr_member{{node="n{n}"}}'] for n in (1, 2, 3)] == [1, 1, 1]
        assert one['tercet_sentinel_master_down{view="objective"}'] == 0


def test_sentinels_have_the_names_of_redis_exporter(cluster):
    master = cluster.wait_until_whole()
    of = f'master_name="{SERVICE}",master_address="127.0.0.1:{master.resp_port}"'
    for one in [scrape(sentinel) for sentinel in cluster.sentinels]:
        assert one["redis_sentinel_masters"] == 1 and one["redis_sentinel_tilt"] in (0, 1)
        assert one[f'redis_sentinel_master_status{{{of},master_status="ok"}}'] == 1
        for name, value in [("slaves", 2), ("ok_slaves", 2), ("sentinels", 3), ("ok_sentinels", 3), ("setting_ckquorum", 2)]:
            assert one[f"redis_sentinel_master_{name}{{{of}}}"] == value, name
        assert [value for name, value in one.items() if name.startswith("redis_sentinel_master_ckquorum_status{")] == [1]


def test_commands_the_gateway_and_failovers_are_counted(cluster):
    master = cluster.wait_until_whole()
    client = redis.Redis(port=master.resp_port)
    before = scrape(master)
    for _ in range(7):
        client.execute_command("INCR", "counted")
    with pytest.raises(redis.ResponseError):
        client.execute_command("INCR", "counted", "too", "many")
    after = scrape(master)
    change = lambda name: after[name] - before.get(name, 0)  # noqa: E731
    assert change('redis_commands_total{cmd="incr"}') == 7 and change('redis_commands_rejected_calls_total{cmd="incr"}') == 1
    assert 0 < change('redis_commands_duration_seconds_total{cmd="incr"}') < 7
    assert after["redis_evicted_keys_total"] == 0 and after["tercet_gateway_streams"] == 0
    last = scrape(cluster.fail_over())
    phases = sum(value for name, value in last.items() if name.startswith("tercet_failover_phase_seconds{"))
    assert 0 < last["tercet_failover_seconds"] < 60 and phases == pytest.approx(last["tercet_failover_seconds"], abs=0.01)


def test_other_paths_are_not_there(cluster):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{cluster.nodes[0].metrics_port}/other", timeout=5)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_finds_nothing_wrong(cluster):
    cluster.wait_until_whole()
    for member, path in [(cluster.nodes[0], "metrics"), (cluster.nodes[0], "metrics/per-object"), (cluster.sentinels[0], "metrics")]:
        with urllib.request.urlopen(f"http://127.0.0.1:{member.metrics_port}/{path}", timeout=5) as answer:
            done = subprocess.run(["promtool", "check", "metrics"], input=answer.read(), capture_output=True, timeout=30)
        # The name is redis_exporter's.
        complaints = [line for line in done.stderr.splitlines() if b"redis_sentinel_master_setting_down_after_milliseconds" not in line]
        assert (done.stdout, complaints) == (b"", []), (path, done)
    for kind, file in [("rules", "alerts.yml"), ("config", "prometheus.yml")]:
        subprocess.run(["promtool", "check", kind, REPOSITORY / "deploy/prometheus" / file], check=True, capture_output=True, timeout=30)


def test_the_dashboard_asks_for_metrics_that_there_are(cluster):
    cluster.wait_until_whole()
    scraped = [scrape(member) for member in (*cluster.nodes, *cluster.sentinels)]
    known = {re.split("[{ ]", name)[0] for one in scraped for name in one}
    dashboard = json.loads((REPOSITORY / "deploy/grafana/tercet.json").read_text())
    asked = {name for panel in dashboard["panels"] for target in panel["targets"] for name in re.findall(r"(?:tercet|redis|rabbitmq)_[a-z_]+", target["expr"])}
    assert asked <= known, asked - known


def test_health_is_on_the_port_of_the_metrics(cluster):
    cluster.wait_until_whole()
    for path in ("livez", "readyz", "healthz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.nodes[0].metrics_port}/{path}", timeout=5) as answer:
            assert answer.read() == b"ok\n"
