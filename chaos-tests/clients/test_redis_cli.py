"""redis-cli's own tools say of our node what they say of a redis-server with the same keys."""

import contextlib
import itertools
import re
import shutil
import subprocess
import tempfile

import pytest
import redis

from cluster import NODE_PORTS, binary, free_block, wait_for

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server") or not shutil.which("redis-cli"), reason="redis-server or redis-cli is not installed"
)


@contextlib.contextmanager
def running(words, port):
    """A server, until the block ends."""
    folder = tempfile.mkdtemp()
    process = subprocess.Popen(words(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)

        def answers():
            with contextlib.suppress(redis.RedisError):
                return client.ping()

        wait_for(answers, 30, f"{words('')[0]} answers")
        yield client
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def clients():
    """Our node's, and that of the judge."""
    ports = dict(zip(NODE_PORTS, itertools.count(free_block(len(NODE_PORTS)))))
    flags = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    other = free_block(1)
    ours = running(lambda folder: [binary("tercet-node"), "--data", folder, *flags], ports["resp"])
    judge = running(lambda folder: ["redis-server", "--port", str(other), "--save", "", "--dir", folder], other)
    with ours as first, judge as second:
        for client in (first, second):
            fill(client)
        yield first, second


def fill(client):
    """One key of each type is the biggest by number and by bytes: who finds the first of equals finds it anywhere."""
    for number in range(200):
        client.set(f"text:{number}", "x" * (number % 7))
    client.set("text:big", "x" * 5000)
    for kind, add in {
        "list": lambda key, size: client.rpush(key, *[f"item {item}" for item in range(size)]),
        "set": lambda key, size: client.sadd(key, *[f"member {member}" for member in range(size)]),
        "hash": lambda key, size: client.hset(key, mapping={f"field {field}": "v" for field in range(size)}),
        "zset": lambda key, size: client.zadd(key, {f"member {member}": member for member in range(size)}),
    }.items():
        for size in (1, 3, 900):
            add(f"{kind}:{size}", size)
    for entry in range(50):
        client.xadd("stream:50", {"n": entry}, id=f"{entry + 1}-1")


def cli(client, *words, text=None):
    port = client.connection_pool.connection_kwargs["port"]
    answer = subprocess.run(["redis-cli", "-p", str(port), *words], input=text, capture_output=True, timeout=60)
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout.decode()


def lines_of(text, pattern):
    return sorted(set(re.findall(pattern, text, re.MULTILINE)))


def test_bigkeys_finds_the_same_keys(clients):
    ours, judge = (cli(client, "--bigkeys") for client in clients)
    summary = r"^Biggest .*|^\d+ \w+s? with .*|^Sampled .*|^Total key length.*"
    assert len(lines_of(judge, summary)) >= 13, judge
    assert lines_of(ours, summary) == lines_of(judge, summary)


def test_memkeys_finds_the_same_keys(clients):
    ours, judge = (cli(client, "--memkeys") for client in clients)
    biggest = r"^Biggest +(\w+) found '?\"?([^'\" ]+)"
    assert len(lines_of(judge, biggest)) == 6, judge
    assert lines_of(ours, biggest) == lines_of(judge, biggest)
    # What a key takes is each server's own affair.
    sizes = [int(size) for size in re.findall(r"has (\d+) bytes", ours)]
    assert len(sizes) >= 6 and min(sizes) > 0


def test_scan_lists_every_key_once(clients):
    for words in (["--scan"], ["--scan", "--pattern", "list:*"], ["--scan", "--pattern", "text:1?"]):
        ours, judge = (sorted(cli(client, *words).split("\n")) for client in clients)
        assert ours == judge and len(ours) > 3, words


def test_pipe_loads_what_it_is_given(clients):
    commands = b"".join(
        b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\nv\r\n" % (len(key), key)
        for key in (b"piped:%d" % number for number in range(20_000))
    ) + b"*2\r\n$4\r\nINCR\r\n$8\r\ntext:big\r\n"
    for client in clients:
        # One command is refused: redis-cli counts it and goes on.
        port = client.connection_pool.connection_kwargs["port"]
        answer = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], input=commands, capture_output=True, timeout=120)
        assert b"errors: 1, replies: 20001" in answer.stdout, answer.stdout + answer.stderr
        assert client.get("piped:19999") == b"v"
        client.delete(*[f"piped:{number}" for number in range(20_000)])


def test_hotkeys_are_those_that_are_read_most(clients):
    for client in clients:
        assert b"LFU maxmemory policy is not selected" in hot(client), "OBJECT FREQ needs a policy that counts"
        client.config_set("maxmemory-policy", "allkeys-lfu")
        try:
            with client.pipeline(transaction=False) as pipe:
                for _ in range(3000):
                    pipe.get("text:big").get("text:3")
                pipe.execute()
            found = hot(client)
            assert client.object("freq", "text:big") > client.object("freq", "text:100")
            summary = found.split(b"-------- summary -------")[1]
            first = re.findall(rb'keyname: "?([^"\n]+)"?', summary)[:2]
            assert sorted(first) == [b"text:3", b"text:big"], found.decode()
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def hot(client):
    port = client.connection_pool.connection_kwargs["port"]
    answer = subprocess.run(["redis-cli", "-p", str(port), "--hotkeys"], capture_output=True, timeout=60)
    return answer.stdout + answer.stderr
