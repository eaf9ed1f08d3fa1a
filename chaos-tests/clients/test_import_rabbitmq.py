"""`tercet-node import --from amqp://...`: definitions and messages of a real rabbitmq-server, moved with confirms."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pika
import pytest

from cluster import NODE_PORTS, binary, free_block, wait_for
from test_http_api import call, get

SERVER = shutil.which("rabbitmq-server") or ("/usr/sbin/rabbitmq-server" if os.path.exists("/usr/sbin/rabbitmq-server") else None)
pytestmark = pytest.mark.skipif(SERVER is None, reason="rabbitmq-server is not installed (apt-get install rabbitmq-server)")
MESSAGES = 1500


class Rabbit:
    """A broker of its own, with its management API; with `tls` (authority, certificate, key) also under TLS."""

    def __init__(self, tls=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tercet-rabbit-"))
        self.amqp_port, self.http_port, distribution, self.amqps_port, self.https_port = range(first := free_block(5), first + 5)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        settings = [f"management.tcp.port = {self.http_port}", "management.tcp.ip = 127.0.0.1", f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}"]
        if tls:
            settings += [f"listeners.ssl.1 = 127.0.0.1:{self.amqps_port}", f"management.ssl.port = {self.https_port}"]
            settings += [f"{place}.{kind} = {path}" for place in ("ssl_options", "management.ssl") for kind, path in zip(("cacertfile", "certfile", "keyfile"), tls)]
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        # Not the wrapper, which wants to be a user of its own; no epmd that would outlive the test.
        script = next(iter(sorted(pathlib.Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))), SERVER)
        environment = {
            **os.environ, "HOME": str(self.folder), "RABBITMQ_NODENAME": f"rabbit{self.amqp_port}@localhost", "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"), "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(distribution), "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"), "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }
        self.process = subprocess.Popen([str(script)], env=environment, stdin=subprocess.DEVNULL, stdout=open(self.folder / "out", "w"), stderr=subprocess.STDOUT, start_new_session=True)

    def close(self):
        os.killpg(self.process.pid, 15)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def rabbit():
    rabbit = Rabbit()
    try:
        wait_for(lambda: get(rabbit, "overview") and channel_of(rabbit).connection.close() is None, 90, "rabbitmq-server answers")
        fill(rabbit)
        yield rabbit
    finally:
        rabbit.close()


def channel_of(server, vhost="/", user="guest"):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp_port, vhost, credentials=pika.PlainCredentials(user, user))).channel()


def fill(rabbit):
    for path, body in [
        ("vhosts/shop", {}), ("users/ann", {"password": "ann", "tags": "monitoring"}), ("permissions/shop/ann", {"configure": ".*", "write": ".*", "read": ".*"}),
        ("permissions/shop/guest", {"configure": ".*", "write": ".*", "read": ".*"}),
        ("policies/shop/short", {"pattern": "^tmp", "definition": {"max-length": 5}, "apply-to": "queues"}),
    ]:
        assert call(rabbit, "PUT", path, body)[0] in (201, 204), path
    channel = channel_of(rabbit)
    channel.confirm_delivery()
    channel.queue_declare("many", durable=True, arguments={"x-max-priority": 3})
    channel.queue_declare("empty", durable=True)
    for number in range(MESSAGES):
        channel.basic_publish("", "many", str(number).encode(), pika.BasicProperties(delivery_mode=2, message_id=str(number), headers={"n": number, "nested": {"list": [1, "x"]}}, user_id="guest"))
    channel.connection.close()
    channel = channel_of(rabbit, "shop", "ann")
    channel.confirm_delivery()
    channel.exchange_declare("events", "topic", durable=True)
    channel.queue_declare("orders", durable=True)
    channel.queue_bind("orders", "events", "order.#")
    channel.basic_publish("events", "order.new", b"x" * 3_000_000, pika.BasicProperties(delivery_mode=2))
    channel.basic_publish("events", "order.paid", b"", pika.BasicProperties(delivery_mode=2, user_id="ann", content_type="text/plain"))
    channel.connection.close()


class Node:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="tercet-import-")
        self.ports = dict(zip(NODE_PORTS, range(first := free_block(6), first + 6)))
        self.amqp_port, self.http_port = self.ports["amqp"], self.ports["http"]
        self.process = subprocess.Popen([binary("tercet-node"), "--data", self.folder, *self.flags()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda: get(self, "overview"), 20, "a node")

    def flags(self):
        return [f"--{name}-port={port}" for name, port in self.ports.items()]

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


def import_from(node, rabbit, *args, vhost=""):
    command = [binary("tercet-node"), "import", "--from", f"amqp://guest:guest@127.0.0.1:{rabbit.amqp_port}{vhost}", *args, *node.flags()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_definitions_and_messages_move_and_none_is_left_or_lost(rabbit, node, tmp_path):
    # Only one virtual host, out of a file.
    file = tmp_path / "definitions.json"
    file.write_text(json.dumps(get(rabbit, "definitions")))
    done = import_from(node, rabbit, "--definitions", str(file), vhost="/shop")
    assert done.returncode == 0, done.stderr
    assert "2 messages moved" in done.stdout and "1 had a user_id, which is left out" in done.stdout, done.stdout
    assert {queue["name"] for queue in get(node, "queues")} == {"orders"}
    channel = channel_of(node, "shop", "ann")
    first, second = channel.basic_get("orders", auto_ack=True), channel.basic_get("orders", auto_ack=True)
    assert len(first[2]) == 3_000_000 and (second[2], second[1].content_type, second[1].user_id) == (b"", "text/plain", None)
    assert get(node, "policies/shop/short")["definition"] == {"max-length": 5}
    assert call(node, "GET", "permissions/shop/guest")[0] == (200 if "guest" in {row["user"] for row in get(rabbit, "permissions") if row["vhost"] == "shop"} else 404)
    channel.basic_publish("events", "order.x", b"routed")
    assert wait_for(lambda: channel.basic_get("orders", auto_ack=True)[2], 5, "a binding") == b"routed"
    channel.connection.close()
    # Then everything, over the management API.
    done = import_from(node, rabbit, "--management", f"http://127.0.0.1:{rabbit.http_port}")
    assert done.returncode == 0, done.stderr
    assert f"{MESSAGES} messages moved" in done.stdout, done.stdout
    assert get(node, "queues/%2F/many")["arguments"] == {"x-max-priority": 3}
    channel = channel_of(node)
    for number in range(MESSAGES):
        method, properties, body = channel.basic_get("many", auto_ack=True)
        assert (body, properties.message_id, properties.headers, properties.delivery_mode) == (str(number).encode(), str(number), {"n": number, "nested": {"list": [1, "x"]}}, 2)
    assert channel.basic_get("many")[0] is None
    left = {queue["name"]: queue for queue in get(rabbit, "queues")}
    assert set(left) == {"many", "empty", "orders"}, "the source keeps its queues"
    source = channel_of(rabbit)
    assert source.queue_declare("many", passive=True).method.message_count == 0
    source.connection.close()
    assert get(node, "whoami")["name"] == "guest", "the node's own guest is as it was"


def test_a_message_that_is_not_taken_stays_at_the_source(rabbit, node):
    source = channel_of(rabbit)
    source.queue_declare("full", durable=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    for number in range(3):
        source.basic_publish("", "full", str(number).encode())
    wait_for(lambda: source.queue_declare("full", passive=True).method.message_count == 3, 10, "messages")
    assert call(node, "PUT", "queues/%2F/full", {"durable": True, "arguments": {"x-max-length": 3, "x-overflow": "reject-publish"}})[0] == 201
    channel = channel_of(node)
    channel.basic_publish("", "full", b"here before")
    channel.connection.close()
    done = import_from(node, rabbit, "--management", f"http://127.0.0.1:{rabbit.http_port}")
    assert done.returncode == 1 and "does not take a message" in done.stderr, (done.stdout, done.stderr)
    wait_for(lambda: source.queue_declare("full", passive=True).method.message_count == 3, 10, "the messages at the source")
    source.queue_delete("full")
    source.connection.close()


def test_what_is_wrong_is_said(rabbit, node):
    done = import_from(node, rabbit, "--management", "http://127.0.0.1:1")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr
    done = subprocess.run([binary("tercet-node"), "import", "--from", f"amqp://guest:wrong@127.0.0.1:{rabbit.amqp_port}", "--management", f"http://127.0.0.1:{rabbit.http_port}", *node.flags()], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "wrong user or password" in done.stderr
