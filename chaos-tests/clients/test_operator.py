"""What an operator types: status of nodes and sentinels, top, levels of the log."""

import subprocess
import time

import pytest
import redis

from cluster import SERVICE, TOKEN, Cluster, ask, binary, wait_for


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def run(member, *command):
    """A command of the program, with the ports of a running one."""
    ports = [f"--{name}-port={port}" for name, port in member.ports.items()]
    further = []
    if member.kind == "sentinel":
        further = ["--service", SERVICE, "--sentinels", f"127.0.0.1:{member.ports['peer']}", "--nodes", "127.0.0.1:1", "--cluster-token", TOKEN]
    done = subprocess.run([binary(f"tercet-{member.kind}"), *command, *ports, *further], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def test_a_node_shows_the_cluster_in_ten_lines(cluster):
    master = cluster.wait_until_whole()
    for node in cluster.nodes:
        code, out, err = run(node, "status")
        assert code == 0, err
        lines = out.splitlines()
        assert len(lines) <= 10 and lines[0].startswith(f"{master.name}: master"), out
        assert out.count("in sync") >= 3 and all(name in out.split("sentinels: ")[1] for name in ("s1", "s2", "s3"))


def test_a_sentinel_shows_the_cluster_in_ten_lines(cluster):
    master = cluster.wait_until_whole()
    for sentinel in cluster.sentinels:
        code, out, err = run(sentinel, "status")
        assert code == 0, err
        lines = out.splitlines()
        assert len(lines) <= 10 and f"watches {SERVICE}; OK 3 usable Sentinels" in lines[0], out
        assert [line for line in lines if " master " in line][0].split()[0] == master.name
        assert sum(" replica " in line and "in sync" in line for line in lines) == 2, out
    down = cluster.sentinels[2]
    cluster.kill(down)
    wait_for(lambda: "down, heard" in run(cluster.sentinels[0], "status")[1], 20, "a sentinel that is down")
    code, _, err = run(down, "status")
    assert code == 1 and str(down.ports["resp"]) in err
    cluster.start(down)
    cluster.wait_until_whole()


def test_top_shows_the_busiest_commands_and_queues(cluster):
    node = cluster.wait_until_whole()
    client = redis.Redis(port=node.resp_port)
    looking = subprocess.Popen(
        [binary("tercet-node"), "top", "--once", "--interval", "2", f"--http-port={node.http_port}"], stdout=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 2.5
    while time.monotonic() < end and looking.poll() is None:
        for _ in range(50):
            client.incr("counter")
    out, _ = looking.communicate(timeout=20)
    assert looking.returncode == 0
    row = next(line.split() for line in out.splitlines() if line.startswith("incr"))
    assert row[1] == "string" and float(row[2].replace(",", "")) > 10, out
    assert f"master {node.name}" in out and "QUEUE" in out


def test_the_level_of_the_log_changes_at_run_time(cluster):
    node = cluster.wait_until_whole()
    client = redis.Redis(port=node.resp_port)
    log = cluster.folder / f"{node.name}.log"
    assert client.config_get("loglevel") == {"loglevel": "notice"}
    assert "DEBUG" not in log.read_text()
    client.config_set("loglevel", "debug")

    def says_more():
        redis.Redis(port=node.resp_port).ping()
        return '"DEBUG"' in log.read_text() or " DEBUG " in log.read_text()

    wait_for(says_more, 20, "a line of the level debug")
    client.config_set("loglevel", "notice")
    with pytest.raises(redis.ResponseError):
        client.config_set("loglevel", "loud")
    sentinel = cluster.sentinels[0].resp_port
    assert ask(sentinel, "SENTINEL CONFIG SET loglevel verbose").startswith("+OK")
    assert "verbose" in ask(sentinel, "SENTINEL CONFIG GET loglevel")
    assert "-ERR Invalid value" in ask(sentinel, "SENTINEL CONFIG SET loglevel loud")
    assert ask(sentinel, "SENTINEL CONFIG SET loglevel notice").startswith("+OK")
