"""`tercet-node import` from rediss:// and amqps://, whose servers show certificates and ask for one, into a node that has
ports under TLS alone."""

import shutil
import subprocess

import pika
import pytest
import redis

import certificates
from certificates import Authority
from cluster import NODE_PORTS, binary, free_block, wait_for
from test_http_api import call, get
from test_import_rabbitmq import SERVER, Rabbit, channel_of

pytestmark = pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)
SECURED = ("resp", "amqp", "http")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def theirs(folder):
    return Authority(folder, "theirs")


@pytest.fixture
def node(folder, tmp_path):
    """One that has no plain port for clients, with certificates of its own; gives its flags and how redis-py reaches it."""
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.signed("node")
    ports = dict(zip(NODE_PORTS, range(first := free_block(6), first + 6)))
    flags = [f"--{name}-tls-port={port}" if name in SECURED else f"--{name}-port={port}" for name, port in ports.items()]
    flags += [f"--{name}-port=0" for name in SECURED]
    flags += [f"--tls-cert-file={certificate}", f"--tls-key-file={key}", f"--tls-ca-file={ours.certificate}"]
    process = subprocess.Popen([binary("tercet-node"), "--data", str(tmp_path / "data"), *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=ports["resp"], ssl=True, ssl_ca_certs=str(ours.certificate))
    try:
        wait_for(client.ping, 20, "the node answers under TLS")
        yield flags, client
    finally:
        process.kill()
        process.wait()


def copy(flags, *more):
    return subprocess.run([binary("tercet-node"), "import", *flags, *map(str, more)], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_keys_come_over_rediss(folder, theirs, node, tmp_path):
    flags, ours = node
    (server_certificate, server_key), (certificate, key) = theirs.signed("redis"), theirs.signed("operator")
    port = free_block(1)
    # Redis asks every client for a certificate, unless told otherwise.
    command = ["redis-server", "--port", "0", "--tls-port", port, "--save", "", "--dir", tmp_path, "--requirepass", "pw", "--tls-cert-file", server_certificate, "--tls-key-file", server_key, "--tls-ca-cert-file", theirs.certificate]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    source = redis.Redis(port=port, password="pw", ssl=True, ssl_ca_certs=str(theirs.certificate), ssl_certfile=str(certificate), ssl_keyfile=str(key))
    try:
        wait_for(source.ping, 20, "redis-server answers")
        source.mset({f"key:{number}": "x" * number for number in range(3000)})
        source.set("large", b"\0\r\n" * 1_000_000)
        url = f"rediss://:pw@127.0.0.1:{port}"
        shown = ("--source-cert-file", certificate, "--source-key-file", key)
        for given, reason in [
            ((), "not signed by"),
            (("--source-ca-file", theirs.certificate), "asks for a certificate"),
            (("--source-ca-file", theirs.certificate, *shown[:2]), "go together"),
            (("--source-ca-file", tmp_path / "none.crt"), "none.crt"),
        ]:
            refused = copy(flags, "--from", url, *given)
            assert refused.returncode != 0 and reason in refused.stderr, (given, refused)
        assert ours.dbsize() == 0
        done = copy(flags, "--from", url, "--source-ca-file", theirs.certificate, *shown)
        assert done.returncode == 0 and "3001 keys" in done.stdout, done
        assert ours.dbsize() == 3001 and ours.get("large") == source.get("large") and ours.get("key:2999") == b"x" * 2999
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(SERVER is None, reason="rabbitmq-server is not installed (apt-get install rabbitmq-server)")
def test_messages_come_over_amqps(theirs, node):
    flags, _ = node
    certificate, key = theirs.signed("rabbit")
    rabbit = Rabbit((theirs.certificate, certificate, key))
    try:
        wait_for(lambda: get(rabbit, "overview") and channel_of(rabbit).connection.close() is None, 90, "rabbitmq-server answers")
        channel = channel_of(rabbit)
        channel.confirm_delivery()
        channel.queue_declare("moved", durable=True)
        for number in range(600):
            channel.basic_publish("", "moved", str(number).encode() * 500, pika.BasicProperties(delivery_mode=2))
        channel.connection.close()
        url, trusted = f"amqps://guest:guest@127.0.0.1:{rabbit.amqps_port}", ("--source-ca-file", theirs.certificate)
        asked = ("--management", f"https://127.0.0.1:{rabbit.https_port}")
        refused = copy(flags, "--from", url, *asked)
        assert refused.returncode == 1 and "not signed by" in refused.stderr, refused
        # Plain AMQP to that port: the broker ends it.
        refused = copy(flags, "--from", url.replace("amqps", "amqp"), *asked, *trusted)
        assert refused.returncode == 1, refused
        done = copy(flags, "--from", url, *asked, *trusted)
        assert done.returncode == 0 and "600 messages moved" in done.stdout, done
        assert call(rabbit, "GET", "queues/%2F/moved")[0] == 200
        channel = channel_of(rabbit)
        assert channel.queue_declare("moved", passive=True).method.message_count == 0
        channel.connection.close()
    finally:
        rabbit.close()
