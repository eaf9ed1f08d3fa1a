"""Programs with redis-py, pika and grpcio against a cluster on the default ports, the AMQP and gateway ones also while the
port that they name belongs to a replica: our own in programs/, and those that the project was created from, unchanged, where
they are. Both have the same names, make the same calls and print the same."""

import ast
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import redis

from cluster import REPOSITORY, Cluster

PASSWORD = "hUN7e4_1"
HOST = "server1"
SEEDS = pathlib.Path(os.environ.get("SEEDS", REPOSITORY.parent / "shared" / "seeds"))
OURS = pathlib.Path(__file__).parent / "programs"
FOLDERS = {"ours": OURS, **({"seeds": SEEDS} if SEEDS.is_dir() else {})}
PROGRAM_SECONDS = 20


@pytest.fixture(scope="module")
def server1():
    """The programs connect to `server1`: an entry in /etc/hosts, removed again if it was ours."""
    try:
        socket.gethostbyname(HOST)
        yield
        return
    except OSError:
        pass
    hosts = pathlib.Path("/etc/hosts")
    line = f"127.0.0.1 {HOST} # added by a test of Tercet\n"
    try:
        with hosts.open("a") as file:
            file.write(line)
    except OSError as error:
        pytest.skip(f"{HOST} does not resolve and /etc/hosts cannot be written ({error}): add '127.0.0.1 {HOST}' to it")
    print(f"added {HOST} to /etc/hosts for this test")
    try:
        yield
    finally:
        # In place: containers mount this file, so it cannot be replaced.
        hosts.write_text(hosts.read_text().replace(line, ""))


@pytest.fixture(scope="module")
def cluster(server1):
    with Cluster(password=PASSWORD, default_ports=True) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request):
    return FOLDERS[request.param]


@pytest.fixture
def on_master(cluster):
    """The default ports are the master's."""
    cluster.make_master(lambda master: master is cluster.nodes[0], "n1 master")
    client = redis.Redis(host=HOST, password=PASSWORD)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(params=["the master's port", "a replica's port"])
def either_port(request, cluster):
    wants_master = request.param == "the master's port"
    cluster.make_master(lambda master: (master is cluster.nodes[0]) == wants_master, f"n1 fit for {request.param}")


@pytest.fixture(scope="module")
def generated(tmp_path_factory, folder):
    """schema_pb2 and schema_pb2_grpc, made of the schema that the programs came with, or of the node's own."""
    schemas = folder if (folder / "schema.proto").exists() else REPOSITORY / "proto" / "proto"
    made = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{schemas}", f"--python_out={made}", f"--grpc_python_out={made}"]
    subprocess.run([*command, "schema.proto"], check=True)
    return made


def run(program):
    """Runs a program that ends by itself; gives what it printed."""
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False)
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout.splitlines()


class Running:
    """A program that runs until it is stopped."""

    def __init__(self, program, modules=None):
        environment = dict(os.environ, PYTHONUNBUFFERED="1", **({"PYTHONPATH": str(modules)} if modules else {}))
        command = [sys.executable, str(program)]
        self.program = program
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def line(self, seconds=PROGRAM_SECONDS):
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            state = self.process.poll()
            error = self.process.stderr.read() if state is not None else "(it still runs)"
            raise AssertionError(f"{self.program.name} printed nothing within {seconds} s: {error}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def values(lines):
    """Printed values; the client library decides between tuples and lists."""
    def plain(value):
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return [plain(ast.literal_eval(line)) for line in lines]


def test_redis_strings(on_master, folder):
    assert run(folder / "redis_strings.py") == ["101", "100", "value3value4"]


def test_redis_lists(on_master, folder):
    on_master.lpush("list_redis_demo", "python")
    on_master.rpush("list_redis_demo", "java")
    assert run(folder / "redis_lists.py") == ["2", "发送完毕", "[]"]


def test_redis_hashes(on_master, folder):
    on_master.hset("vip_user", "1001", 1)
    assert values(run(folder / "redis_hashes.py")) == [[b"1001"], b"1", {b"1001": b"1"}]


def test_redis_sets(on_master, folder):
    assert run(folder / "redis_sets.py") == ["1"]
    assert run(folder / "redis_sets.py") == ["0"]
    assert on_master.smembers("redis_set_demo") == {b"new_data"}


def test_redis_zsets(on_master, folder):
    on_master.zadd("rank", {"a": 4, "b": 3, "c": 1, "d": 2, "e": 5})
    by_score, cardinality, lowest, highest = values(run(folder / "redis_zsets.py"))
    assert by_score == [b"c", b"d", b"b", b"a", b"e"]
    assert cardinality == 5
    assert lowest == [[b"c", 1.0], [b"d", 2.0], [b"b", 3.0]]
    assert highest == [[b"e", 5.0], [b"a", 4.0], [b"b", 3.0]]


def test_redis_keys(on_master, folder):
    on_master.set("the only one", "1")
    assert run(folder / "redis_keys.py") == ["[b'the only one']", "the only one"]


def test_a_wrong_password_is_refused(cluster):
    with pytest.raises(redis.exceptions.AuthenticationError, match="invalid username-password pair"):
        redis.Redis(host=HOST, password="wrong").ping()


def test_amqp_queue(either_port, folder):
    run(folder / "amqp_queue_producer.py")
    with Running(folder / "amqp_queue_consumer.py") as consumer:
        assert consumer.line() == "send message to rabbitmq"
        run(folder / "amqp_queue_producer.py")
        assert consumer.line() == "send message to rabbitmq"


def test_amqp_durable(either_port, folder):
    run(folder / "amqp_durable_producer.py")
    run(folder / "amqp_durable_producer.py")
    with Running(folder / "amqp_durable_consumer.py") as consumer:
        assert consumer.line() == "send message to taskqueue"
        assert consumer.line() == "send message to taskqueue"


def test_amqp_fanout(either_port, folder):
    with Running(folder / "amqp_fanout_consumer.py") as one, Running(folder / "amqp_fanout_consumer.py") as two:
        # A fanout reaches who is bound at that moment: publish until both are.
        for consumer in (one, two):
            deadline = time.monotonic() + PROGRAM_SECONDS
            while consumer.lines.empty():
                assert time.monotonic() < deadline, f"nothing reached a consumer: {consumer.process.poll()}"
                run(folder / "amqp_fanout_producer.py")
            assert consumer.line() == "send message to fanout"


def test_gateway_client(either_port, folder, generated):
    with Running(folder / "gateway_client.py", generated) as client:
        assert [client.line() for _ in range(300)] == [str(number) for number in range(1, 301)]


def test_every_program_is_run(folder):
    tested = pathlib.Path(__file__).read_text()
    # gateway_server.py is what our gateway replaces.
    programs = {path.name for path in folder.glob("*.py")} - {"gateway_server.py"}
    assert [name for name in sorted(programs) if f'"{name}"' not in tested] == []
    assert programs <= {path.name for path in OURS.glob("*.py")}, "each has one of ours beside it"
