"""Whatever comes in on any port, the rest goes on unharmed, and the answer is in the protocol's own words."""

import contextlib
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import time

import grpc
import pika
import pytest
import redis
from redis.sentinel import Sentinel

from cluster import SERVICE, Cluster, ask, binary, free_block, is_free, wait_for

PASSWORD = "the right one"
IDLE = 10_000
CLUSTER_ID = re.compile(r'"cluster":"([0-9a-f]{40})"')
SEED = random.randrange(1 << 32)

GARBAGE = {
    "random bytes": random.Random(SEED).randbytes(4096),
    "zeroes": bytes(4096),
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "half an array": b"*2\r\n$3\r\nGET\r\n$5\r\nab",
    "half an AMQP frame": b"AMQP\x00\x00\x09\x01" + b"\x01\x00\x00\x00\x00\x10\x00\x00\x0a",
    "half an HTTP/2 frame": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\xff\xff\x04\x00",
    "a line without an end": b"x" * 100_000,
}


@pytest.fixture(scope="module")
def cluster():
    with Cluster(password=PASSWORD) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def serves_afterwards(cluster):
    """Every test here is followed by this check: nobody has ended, everybody serves."""
    yield
    cluster.check_running()
    serve(cluster)


def serve(cluster):
    master = cluster.wait_until_whole(20)
    sentinels = Sentinel([("127.0.0.1", s.resp_port) for s in cluster.sentinels], socket_timeout=2)
    client = sentinels.master_for(SERVICE, password=PASSWORD, socket_timeout=2)
    stamp = str(time.monotonic_ns())
    assert client.set("still", stamp) and client.get("still") == stamp.encode()
    for node in cluster.nodes:
        with amqp(node, PASSWORD) as connection:
            channel = connection.channel()
            name = channel.queue_declare("", exclusive=True).method.queue
            channel.confirm_delivery()
            channel.basic_publish("", name, stamp.encode())
            assert wait_for(lambda: channel.basic_get(name, auto_ack=True)[2], 2, "the message") == stamp.encode()
        assert count_to(node, 3) == [1, 2, 3]
    return master


@contextlib.contextmanager
def amqp(node, password):
    parameters = pika.ConnectionParameters(
        "127.0.0.1", node.amqp_port, "/", pika.PlainCredentials("guest", password), socket_timeout=5, blocked_connection_timeout=5
    )
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection
    finally:
        connection.close()


def count_to(node, last):
    """schema.Gateway/Call without generated code: field 1 is a varint."""
    with grpc.insecure_channel(f"127.0.0.1:{node.gateway_port}") as channel:
        call = channel.stream_stream("/schema.Gateway/Call", request_serializer=bytes, response_deserializer=bytes)
        requests = [b"\x08" + bytes([number]) if number else b"" for number in range(last)]
        return [reply[1] for reply in call(iter(requests), timeout=10)]


def every_port(cluster):
    """Every port on which somebody listens; those of the protocols must."""
    for member in cluster.nodes + cluster.sentinels:
        for kind, port in member.ports.items():
            if kind in ("resp", "amqp", "gateway", "peer") or not is_free(port):
                yield f"{member.name} {kind}", port


def send(port, data, seconds=0.2):
    """What comes back until the other end closes or is silent."""
    reply = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            connection.sendall(data)
            while chunk := connection.recv(65536):
                reply += chunk
    return reply


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_on_every_port(cluster, name):
    for where, port in every_port(cluster):
        print(f"{name} to {where} (seed {SEED})")
        send(port, GARBAGE[name])


def test_half_a_request_waits_without_holding_up_others(cluster):
    with contextlib.ExitStack() as stack:
        for where, port in every_port(cluster):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            connection.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nab" if "resp" in where else b"\x01")
        serve(cluster)


@pytest.mark.parametrize(
    ("request_bytes", "error"),
    [
        (b"*1\r\n$1073741824\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*abc\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nx\r\n", b"-ERR Protocol error: expected '$', got 'x'\r\n"),
        (b'SET "a b\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"x" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
    ],
    ids=["1 GB bulk", "negative bulk", "two billion arguments", "no number", "no bulk", "open quote", "endless line"],
)
def test_a_resp_protocol_error_is_told_in_redis_words_and_closes(cluster, request_bytes, error):
    login = f"*2\r\n$4\r\nAUTH\r\n${len(PASSWORD)}\r\n{PASSWORD}\r\n".encode()
    for node in cluster.nodes:
        started = time.monotonic()
        assert send(node.resp_port, login + request_bytes, seconds=5) == b"+OK\r\n" + error
        assert time.monotonic() - started < 4, "it did not close"
    for sentinel in cluster.sentinels:
        assert send(sentinel.resp_port, request_bytes, seconds=5) == error


def test_before_authentication_a_client_may_send_little(cluster):
    reply = send(cluster.nodes[0].resp_port, b"*1\r\n$1048576\r\n", seconds=5)
    assert reply == b"-ERR Protocol error: unauthenticated bulk length\r\n"
    reply = send(cluster.nodes[0].resp_port, b"*1000\r\n", seconds=5)
    assert reply == b"-ERR Protocol error: unauthenticated multibulk length\r\n"


def test_a_wrong_amqp_version_is_answered_with_ours(cluster):
    for node in cluster.nodes:
        assert send(node.amqp_port, b"AMQP\x00\x01\x00\x00", seconds=5) == b"AMQP\x00\x00\x09\x01"


def test_an_amqp_frame_of_a_gigabyte_closes_the_connection(cluster):
    for node in cluster.nodes:
        huge = b"AMQP\x00\x00\x09\x01" + struct.pack(">BHI", 1, 0, 1 << 30) + bytes(1000)
        started = time.monotonic()
        send(node.amqp_port, huge, seconds=5)
        assert time.monotonic() - started < 4, "it did not close"


def test_a_wrong_password_is_refused(cluster):
    for node in cluster.nodes:
        with pytest.raises(redis.exceptions.AuthenticationError, match="invalid username-password pair or user is disabled"):
            redis.Redis(port=node.resp_port, password="wrong", retry=None).ping()
        assert ask(node.resp_port, "GET still").startswith("-NOAUTH Authentication required.\r\n")
        with pytest.raises(pika.exceptions.ProbableAuthenticationError, match="403"), amqp(node, "wrong"):
            pass


def test_a_number_that_cannot_be_incremented_is_an_argument_error(cluster):
    largest = b"\x08" + b"\xff" * 8 + b"\x7f"
    with grpc.insecure_channel(f"127.0.0.1:{cluster.nodes[0].gateway_port}") as channel:
        call = channel.stream_stream("/schema.Gateway/Call", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as failure:
            list(call(iter([largest]), timeout=10))
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_ten_thousand_idle_connections(cluster):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 500:
        pytest.skip(f"{IDLE} idle connections need a limit of open files above {IDLE + 500}, and it is {hard}")
    node = cluster.wait_until_whole()
    earlier = redis.Redis(port=node.resp_port, password=PASSWORD, socket_timeout=5)
    earlier.ping()
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            # From another address: what they leave in TIME_WAIT would keep ports above 32768 from later listeners.
            stack.enter_context(socket.create_connection(("127.0.0.1", node.resp_port), timeout=10, source_address=("127.0.0.2", 0)))
        started = time.monotonic()
        for number in range(100):
            earlier.set("idle", number)
        took = time.monotonic() - started
        print(f"100 writes beside {IDLE} idle connections: {took * 1000:.0f} ms")
        assert took < 5
    wait_for(lambda: int(earlier.info("clients")["connected_clients"]) < 100, 20, "the closed connections forgotten")


def test_a_sentinel_that_lost_its_disk_takes_its_own_place_anew(cluster):
    wiped, others = cluster.sentinels[2], cluster.sentinels[:2]
    master = cluster.wait_until_whole()
    before = redis.Redis(port=wiped.resp_port).execute_command("SENTINEL", "MYID")
    cluster.kill(wiped)
    shutil.rmtree(cluster.folder / wiped.name)
    cluster.start(wiped)
    # It might have voted already and not know: so it votes under another id.
    asked = redis.Redis(port=others[0].resp_port)
    known = lambda: {sentinel["runid"] for sentinel in asked.sentinel_sentinels(SERVICE)}
    wait_for(lambda: len(ids := known()) == 2 and before.decode() not in ids, 20, "the new one in place of the old one")
    # Changes of the set take turns: an order that comes after this one is answered when it is over.
    order = f"SENTINEL REMOVE-SENTINEL {SERVICE} nobody"
    wait_for(lambda: "nobody is no sentinel" in ask(others[0].resp_port, order), 20, "the end of the change")
    # With another one gone it is needed for the majority that moves the mastership.
    cluster.kill(others[0])
    cluster.kill(master)
    wait_for(
        lambda: (views := {cluster.sentinel_view(s) for s in (others[1], wiped)}) and len(views) == 1 and (views - {master.resp_port}),
        20,
        "another master in the view of the other two",
    )
    cluster.start(others[0])
    cluster.start(master)
    assert cluster.wait_until_whole() is not master


@pytest.fixture(scope="module")
def foreign_data(tmp_path_factory):
    """The data folder of a node that belongs to another cluster, and that cluster's id."""
    with Cluster(size=1) as other:
        (node,) = other.nodes
        cluster_id = wait_for(lambda: CLUSTER_ID.search(other.log(other.sentinels[0]).read_text()), 5, "a cluster id in the log")[1]
        other.kill(node)
        kept = tmp_path_factory.mktemp("foreign") / "data"
        shutil.copytree(other.folder / node.name, kept)
    return kept, cluster_id


def test_a_node_of_another_cluster_is_refused_and_the_rest_goes_on(cluster, foreign_data):
    data, theirs = foreign_data
    master = cluster.wait_until_whole()
    replica, other = (node for node in cluster.nodes if node is not master)
    cluster.kill(replica)
    already_logged = len(cluster.log(replica).read_text())
    cluster.start(replica, data=data)
    try:
        said = re.compile(f"a call from another cluster was refused.*{theirs}")
        wait_for(lambda: said.search(cluster.log(replica).read_text()[already_logged:]), 10, "the reason in the node's log")
        wait_for(lambda: any(theirs in cluster.log(s).read_text() for s in cluster.sentinels), 10, "the reason in a sentinel's log")
        assert cluster.info(replica).get("role") != "master"
        # The other two go on, with the same master.
        client = redis.Redis(port=master.resp_port, password=PASSWORD, socket_timeout=5)
        assert client.set("beside a stranger", "1")
        assert cluster.info(other)["master_link_status"] == "up"
        assert cluster.master() is master
        with pytest.raises(redis.exceptions.RedisError):
            redis.Redis(port=replica.resp_port, password=PASSWORD, socket_timeout=1, retry=None).set("beside a stranger", "2")
    finally:
        cluster.kill(replica)
        cluster.start(replica)


@pytest.mark.parametrize("program", ["tercet-node", "tercet-sentinel"])
@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--resp-port", "many"], "--resp-port"),
        (["--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (["--requirepass-file", "/no/such/secret"], "/no/such/secret"),
        (["--data", "/dev/null/data", "--peer-port", "FREE", "--resp-port", "ALSO_FREE"], "/dev/null/data"),
        (["--peer-port", "FREE", "--resp-port", "TAKEN"], "TAKEN"),
    ],
)
def test_a_wrong_flag_or_file_is_one_line_and_exit_2(cluster, tmp_path, program, args, named):
    """A port that somebody has is one too."""
    taken = str(cluster.nodes[0].resp_port)
    free = free_block(2)
    ports = {"TAKEN": taken, "FREE": str(free), "ALSO_FREE": str(free + 1)}
    args, named = [ports.get(arg, arg) for arg in args], ports.get(named, named)
    done = subprocess.run([binary(program), *args], capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path)
    assert done.returncode == 2, done
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    # Where few files may be open it says so before it looks at its ports.
    assert [line for line in done.stdout.splitlines() if "ulimit -n" not in line] == []
