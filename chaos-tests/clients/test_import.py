"""`tercet-node import`: the keys of a real redis-server, and of the file that it saves, with every type and expiry."""

import pathlib
import random
import shutil
import subprocess
import tempfile

import pytest
import redis

from cluster import NODE_PORTS, binary, free_block, wait_for

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
KEYS = 700


@pytest.fixture(scope="module")
def source():
    folder, port = tempfile.mkdtemp(), free_block(1)
    flags = ["--port", str(port), "--save", "", "--appendonly", "no", "--requirepass", "p@ss", "--dir", folder]
    process = subprocess.Popen(["redis-server", *flags], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, password="p@ss")
    try:
        wait_for(client.ping, 20, "redis-server answers")
        fill(client)
        client.save()
        yield client, f"redis://:p%40ss@127.0.0.1:{port}", pathlib.Path(folder) / "dump.rdb"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def fill(client):
    """Each type small and large, so that every encoding of Redis's is met."""
    dice = random.Random(7)
    text = lambda: dice.choice(["a", "12", "-7", "x" * 300, "\u00e9" * 20, "3.5"])  # noqa: E731
    with client.pipeline(transaction=False) as pipe:
        for number in range(KEYS):
            key, size = f"key:{number}", dice.choice([1, 5, 700])
            match number % 7:
                case 0:
                    pipe.set(key, dice.choice(["", "12345", "x" * 5_000, "abc" * 100]))
                case 1:
                    pipe.rpush(key, *[text() for _ in range(size)])
                case 2:
                    pipe.sadd(key, *range(size))
                case 3:
                    pipe.sadd(key, *[f"m{member}" for member in range(size)])
                case 4:
                    pipe.hset(key, mapping={f"f{field}": text() for field in range(size)})
                case 5:
                    pipe.zadd(key, {f"m{member}": dice.choice([1, -2.5, 1e20]) * member for member in range(size)})
                case 6:
                    for entry in range(min(size, 150)):
                        pipe.xadd(key, {"n": entry, "text": text()}, id=f"{entry + 1}-1")
                    pipe.xgroup_create(key, "group", id="0")
                    pipe.xreadgroup("group", "consumer", {key: ">"}, count=3)
            if number % 10 == 0:
                pipe.expire(key, 10_000)
        pipe.select(5).set("in another database", 1)
        pipe.select(0)
        pipe.function_load("#!lua name=mine\nredis.register_function('f', function() return 42 end)", replace=True)
        pipe.execute()


@pytest.fixture
def node(tmp_path):
    first = free_block(len(NODE_PORTS))
    ports = {name: first + index for index, name in enumerate(NODE_PORTS)}
    flags = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    process = subprocess.Popen([binary("tercet-node"), "--data", str(tmp_path / "data"), *flags], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=ports["resp"])
    try:
        wait_for(client.ping, 20, "the node answers")
        yield client, ports["resp"]
    finally:
        process.kill()
        process.wait()


def copy(port, source, *more):
    words = [binary("tercet-node"), "import", "--resp-port", str(port), "--from", str(source), *more]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def content(client, key):
    kind = client.type(key).decode()
    reads = {
        "string": lambda: client.get(key),
        "list": lambda: client.lrange(key, 0, -1),
        "set": lambda: client.smembers(key),
        "hash": lambda: client.hgetall(key),
        "zset": lambda: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda: (client.xrange(key), client.xpending(key, "group")),
    }
    return kind, reads[kind]()


def check(theirs, ours):
    assert ours.dbsize() == theirs.dbsize() == KEYS
    for key in theirs.scan_iter(count=1000):
        assert content(ours, key) == content(theirs, key), key
        assert abs(ours.pttl(key) - theirs.pttl(key)) < 5_000, key
    assert ours.fcall("f", 0) == 42
    ours.select(5)
    assert ours.get("in another database") == b"1"
    ours.select(0)


@pytest.mark.parametrize("kind", ["url", "file"])
def test_every_key_is_copied_as_it_is(source, node, kind):
    theirs, url, file = source
    ours, port = node
    done = copy(port, url if kind == "url" else file)
    assert done.returncode == 0, done.stderr
    assert f"{KEYS + 1} keys and 1 libraries" in done.stdout
    check(theirs, ours)


def test_what_is_there_is_left_alone_unless_told_otherwise(source, node):
    _, url, _ = source
    ours, port = node
    ours.set("key:0", "ours")
    refused = copy(port, url)
    assert refused.returncode == 1 and "--replace" in refused.stderr, refused.stderr
    assert ours.get("key:0") == b"ours"
    assert copy(port, url, "--replace").returncode == 0
    assert ours.get("key:0") != b"ours"


def test_a_damaged_file_and_a_wrong_password_are_named(source, node, tmp_path):
    _, url, file = source
    _, port = node
    bytes = bytearray(file.read_bytes())
    bytes[len(bytes) // 2] ^= 1
    damaged = tmp_path / "damaged.rdb"
    damaged.write_bytes(bytes)
    refused = copy(port, damaged)
    assert refused.returncode == 1 and "checksum" in refused.stderr, refused.stderr
    refused = copy(port, url.replace("p%40ss", "wrong"))
    assert refused.returncode == 1 and "WRONGPASS" in refused.stderr, refused.stderr
    refused = copy(port, tmp_path / "none.rdb")
    assert refused.returncode == 1 and "neither" in refused.stderr, refused.stderr
