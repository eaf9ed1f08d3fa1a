"""RabbitMQ's management API as its own tools use it: rabbitmqadmin, and definitions as RabbitMQ exports them."""

import base64
import glob
import hashlib
import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pika
import pytest
import redis

from cluster import Cluster, wait_for

# Of the package, or where rabbitmqadmin.sh has put it.
ADMIN = (glob.glob("/usr/lib/rabbitmq/lib/*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin") + glob.glob(f"{sys.prefix}/bin/rabbitmqadmin") or [None])[0]
needs_admin = pytest.mark.skipif(ADMIN is None, reason="rabbitmqadmin is not installed (chaos-tests/clients/rabbitmqadmin.sh)")


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["master", "replica"])
def node(cluster, request):
    """Any node answers."""
    master = cluster.wait_until_whole()
    return master if request.param == "master" else next(n for n in cluster.nodes if n is not master)


def call(node, method, path, body=None, user="guest", password="guest", headers=None):
    """(status, body as JSON or None)"""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Basic {login}", "content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"http://127.0.0.1:{node.http_port}/api/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def get(node, path, **options):
    status, body = call(node, "GET", path, **options)
    assert status == 200, (path, status, body)
    return body


def admin(node, *args):
    command = [sys.executable, ADMIN, "-H", "127.0.0.1", "-P", str(node.http_port), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


def rows(node, *args):
    return [line.split("\t") for line in admin(node, "-f", "tsv", *args).splitlines()[1:]]


@needs_admin
def test_rabbitmqadmin_declares_publishes_gets_and_deletes(node):
    assert "queue declared" in admin(node, "declare", "queue", "name=tool", "durable=true")
    admin(node, "declare", "exchange", "name=tool-x", "type=topic")
    admin(node, "declare", "binding", "source=tool-x", "destination=tool", "routing_key=a.#")
    assert ["tool", "0"] in rows(node, "list", "queues", "name", "messages")
    assert ["tool-x", "topic"] in rows(node, "list", "exchanges", "name", "type")
    assert ["tool-x", "tool", "a.#"] in rows(node, "list", "bindings", "source", "destination", "routing_key")
    assert "Message published" in admin(node, "publish", "exchange=tool-x", "routing_key=a.b", "payload=hello")
    assert "NOT routed" in admin(node, "publish", "exchange=tool-x", "routing_key=z", "payload=lost")
    assert "hello" in admin(node, "get", "queue=tool", "ackmode=ack_requeue_true")
    assert "hello" in admin(node, "get", "queue=tool", "ackmode=ack_requeue_false")
    assert "hello" not in admin(node, "get", "queue=tool", "ackmode=ack_requeue_false")
    admin(node, "publish", "routing_key=tool", "payload=more")
    admin(node, "purge", "queue", "name=tool")
    for what in ("overview", "connections", "channels", "consumers", "nodes", "vhosts", "users", "permissions", "policies", "parameters"):
        admin(node, "show" if what == "overview" else "list", what)
    admin(node, "delete", "binding", "source=tool-x", "destination=tool", "destination_type=queue", "properties_key=a.#")
    admin(node, "delete", "exchange", "name=tool-x")
    admin(node, "delete", "queue", "name=tool")
    assert "tool" not in admin(node, "list", "queues")


@needs_admin
def test_rabbitmqadmin_manages_users_hosts_and_policies(node):
    admin(node, "declare", "user", "name=eve", "password=pw", "tags=monitoring")
    admin(node, "declare", "vhost", "name=other")
    admin(node, "declare", "permission", "user=eve", "vhost=other", "configure=^e", "write=", "read=.*")
    admin(node, "declare", "policy", "name=short", "pattern=^s", 'definition={"max-length":5}', "apply-to=queues")
    assert ["eve", "monitoring"] in rows(node, "list", "users", "name", "tags")
    assert ["other", "eve", "^e", ""] in [row[:4] for row in rows(node, "list", "permissions", "vhost", "user", "configure", "write")]
    assert get(node, "whoami", user="eve", password="pw")["tags"] == ["monitoring"]
    admin(node, "delete", "policy", "name=short")
    admin(node, "delete", "permission", "user=eve", "vhost=other")
    admin(node, "delete", "vhost", "name=other")
    admin(node, "delete", "user", "name=eve")
    assert call(node, "GET", "users/eve")[0] == 404


@pytest.mark.skipif(not glob.glob("/usr/bin/check_rabbitmq_overview"), reason="nagios-plugins-rabbitmq is not installed (apt-get install nagios-plugins-rabbitmq)")
def test_the_checks_of_nagios_find_all_well(node):
    call(node, "PUT", "queues/%2F/watched", {"durable": True})
    name = get(node, "overview")["node"].removeprefix("rabbit@")
    checks = {
        "aliveness": [], "connections": [], "objects": [], "overview": [], "partition": ["-n", name], "server": ["-n", name], "watermark": ["-n", name],
        "queue": ["--vhost", "/", "--queue", "watched", "-w", "10", "-c", "20"],
    }
    for check, args in checks.items():
        command = [f"/usr/bin/check_rabbitmq_{check}", "-H", "127.0.0.1", "--port", str(node.http_port), "-u", "guest", "-p", "guest", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, " OK " in done.stdout) == (0, True), (check, done.stdout, done.stderr)
    call(node, "DELETE", "queues/%2F/watched")


@needs_admin
def test_an_export_is_an_import(node, tmp_path):
    admin(node, "declare", "queue", "name=kept", "durable=true", 'arguments={"x-max-length":10}')
    admin(node, "declare", "binding", "source=amq.direct", "destination=kept", "routing_key=k")
    file = tmp_path / "definitions.json"
    admin(node, "export", str(file))
    admin(node, "delete", "queue", "name=kept")
    admin(node, "import", str(file))
    assert get(node, "queues/%2F/kept")["arguments"] == {"x-max-length": 10}
    assert [b["routing_key"] for b in get(node, "queues/%2F/kept/bindings")] == ["kept", "k"]
    admin(node, "import", str(file))
    admin(node, "delete", "queue", "name=kept")


def test_a_file_that_rabbitmq_exported_is_imported(cluster):
    node = cluster.wait_until_whole()
    salt = bytes([1, 2, 3, 4])
    password_hash = base64.b64encode(salt + hashlib.sha256(salt + b"theirs").digest()).decode()
    status, body = call(node, "POST", "definitions", {
        "rabbit_version": "3.10.8", "rabbitmq_version": "3.10.8", "product_name": "RabbitMQ", "product_version": "3.10.8",
        "users": [{"name": "theirs", "password_hash": password_hash, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"], "limits": {}}],
        "vhosts": [{"name": "/"}], "topic_permissions": [],
        "permissions": [{"user": "theirs", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        "parameters": [{"value": {"max-queues": 100}, "vhost": "/", "component": "vhost-limits", "name": "limits"}],
        "global_parameters": [{"name": "internal_cluster_id", "value": "rabbitmq-cluster-id-x"}],
        "policies": [{"vhost": "/", "name": "p", "pattern": "^theirs", "apply-to": "queues", "definition": {"max-length": 100}, "priority": 3}],
        "queues": [{"name": "theirs.q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"x-message-ttl": 60000}}],
        "exchanges": [{"name": "theirs.x", "vhost": "/", "type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}],
        "bindings": [{"source": "theirs.x", "vhost": "/", "destination": "theirs.q", "destination_type": "queue", "routing_key": "a.#", "arguments": {}}],
    })
    assert status in (200, 201, 204), body
    assert get(node, "queues/%2F/theirs.q")["policy"] == "p"
    parameters = pika.ConnectionParameters("127.0.0.1", node.amqp_port, credentials=pika.PlainCredentials("theirs", "theirs"))
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.basic_publish("theirs.x", "a.b", b"m")
    assert wait_for(lambda: channel.basic_get("theirs.q", auto_ack=True)[2], 5, "the message") == b"m"
    connection.close()


def test_limits_of_virtual_hosts_are_exported_and_imported(node):
    limits = {"max-connections": 10, "max-queues": 5}
    status, body = call(node, "POST", "definitions", {"vhosts": [{"name": "limited", "limits": limits}, {"name": "unlimited", "limits": []}]})
    assert status in (200, 201, 204), body
    assert get(node, "vhost-limits/limited") == [{"vhost": "limited", "value": limits}]
    assert get(node, "vhost-limits/unlimited") == []
    exported = {vhost["name"]: vhost["limits"] for vhost in get(node, "definitions")["vhosts"]}
    assert (exported["limited"], exported["unlimited"]) == (limits, [])
    for vhost in ("limited", "unlimited"):
        assert call(node, "DELETE", f"vhosts/{vhost}")[0] == 204


def test_accounts_are_on_every_node_and_survive_a_failover(cluster):
    node = cluster.wait_until_whole()
    assert call(node, "PUT", "users/kept", {"password": "pw", "tags": "management"})[0] == 201
    assert call(node, "PUT", "permissions/%2F/kept", {"configure": "", "write": "^ok", "read": ""})[0] == 201
    master = cluster.fail_over()
    for other in cluster.nodes:
        assert get(other, "whoami", user="kept", password="pw")["name"] == "kept"
    assert get(master, "permissions/%2F/kept")["write"] == "^ok"
    assert call(master, "POST", "exchanges/%2F/amq.default/publish", {"properties": {}, "routing_key": "x", "payload": "", "payload_encoding": "string"}, user="kept", password="pw")[0] == 401
    assert call(master, "DELETE", "users/kept")[0] == 204


def test_tags_say_who_may_do_what(node):
    for name, tags in [("m", "management"), ("o", "monitoring"), ("p", "policymaker"), ("n", "")]:
        call(node, "PUT", f"users/{name}", {"password": "pw", "tags": tags})
    table = {
        "overview": "mop", "whoami": "mop", "nodes": "o", "users": "", "parameters": "p", "definitions": "", "queues": "mop", "keyspace": "o",
    }
    for path, allowed in table.items():
        for name in "mopn":
            status, body = call(node, "GET", path, user=name, password="pw")
            assert (status == 200) == (name in allowed), (path, name, status, body)
    assert call(node, "GET", "overview", password="wrong") == (401, {"error": "not_authorized", "reason": "Login failed"})


def test_errors_are_rabbitmqs(node):
    call(node, "PUT", "queues/%2F/e1", {"durable": True})
    expected = [
        ("PUT", "queues/%2F/e1", {}, 400, "inequivalent arg 'durable' for queue 'e1' in vhost '/': received 'false' but current is 'true'"),
        ("DELETE", "queues/%2F/absent", None, 404, "Not Found"),
        ("GET", "queues/absent/e1", None, 404, "Not Found"),
        ("POST", "queues/%2F/e1/get", {"count": 1}, 400, "[{key_missing,ackmode},{key_missing,encoding}]"),
        ("PUT", "users/bob", {"password": "x"}, 400, "tags_not_present"),
        ("PUT", "exchanges/%2F/e5", {"type": "blah"}, 400, "unknown exchange type 'blah'"),
        ("DELETE", "exchanges/%2F/amq.direct", None, 401, "Access refused."),
        ("GET", "nothing", None, 404, "Not Found"),
    ]
    for method, path, body, status, reason in expected:
        found, answer = call(node, method, path, body)
        assert (found, answer["reason"]) == (status, reason), (method, path)
    assert call(node, "PATCH", "whoami")[0] == 405
    assert call(node, "DELETE", "queues/%2F/e1") == (204, None)


def test_a_page_of_another_site_changes_nothing(node):
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert call(node, "PUT", "queues/%2F/forged", {}, headers=headers)[0] == 403
    assert call(node, "GET", "queues/%2F/forged")[0] == 404


def test_lists_are_cut_into_pages_and_sorted(node):
    for number in range(25):
        call(node, "PUT", f"queues/%2F/page{number:02}", {})
    page = get(node, "queues?page=2&page_size=10&name=%5Epage&use_regex=true&sort=name&sort_reverse=true&columns=name")
    assert (page["filtered_count"], page["page_count"], page["item_count"]) == (25, 3, 10)
    assert [item["name"] for item in page["items"]] == [f"page{number:02}" for number in range(14, 4, -1)]
    assert all(list(item) == ["name"] for item in page["items"])
    assert call(node, "GET", "queues?page=99&page_size=10")[0] == 400
    for number in range(25):
        call(node, "DELETE", f"queues/%2F/page{number:02}")


def test_numbers_follow_what_clients_do(cluster):
    node = cluster.wait_until_whole()
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port, client_properties={"connection_name": "counted"}))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("counted")
    channel.basic_qos(prefetch_count=3)
    for _ in range(10):
        channel.basic_publish("", "counted", b"x")
    channel.basic_consume("counted", lambda *_: None)
    connection.process_data_events(time_limit=0.2)
    queue = wait_for(lambda: (q := get(node, "queues/%2F/counted"))["messages_unacknowledged"] == 3 and q, 10, "three unacknowledged")
    assert (queue["messages_ready"], queue["messages"], queue["consumers"]) == (7, 10, 1)
    assert queue["message_stats"]["publish"] == 10 and queue["message_stats"]["deliver"] == 3
    assert queue["consumer_details"][0]["prefetch_count"] == 3
    mine = next(one for one in get(node, "connections") if one["user_provided_name"] == "counted")
    assert (mine["user"], mine["channels"], mine["protocol"]) == ("guest", 1, "AMQP 0-9-1")
    shown = get(node, f"connections/{urllib.parse.quote(mine['name'], safe='')}/channels")[0]
    assert (shown["confirm"], shown["consumer_count"], shown["prefetch_count"], shown["messages_unacknowledged"]) == (True, 1, 3, 3)
    overview = get(node, "overview")
    assert overview["queue_totals"]["messages_unacknowledged"] >= 3 and overview["message_stats"]["publish"] >= 10
    assert overview["message_stats"]["confirm"] >= 10
    history = get(node, "history?series=messages_ready,publish&seconds=60")
    assert set(history["series"]) == {"messages_ready", "publish"}
    assert call(node, "DELETE", f"connections/{urllib.parse.quote(mine['name'], safe='')}")[0] == 204
    with pytest.raises(pika.exceptions.AMQPError):
        connection.process_data_events(time_limit=5)
        channel.queue_declare("counted")


def test_health_is_said_by_the_node_that_was_asked(node):
    for path in ("livez", "readyz", "healthz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/{path}", timeout=5) as answer:
            assert json.load(answer) == {"status": "ok"}
    assert get(node, f"health/checks/port-listener/{node.amqp_port}") == {"status": "ok", "port": node.amqp_port}
    status, body = call(node, "GET", "health/checks/port-listener/5")
    assert (status, body["reason"], body["missing"]) == (503, "No active listener", 5)
    for check in ("alarms", "local-alarms", "virtual-hosts", "protocol-listener/amqp", "is-in-service"):
        assert get(node, f"health/checks/{check}")["status"] == "ok"
    assert get(node, "aliveness-test/%2F") == {"status": "ok"}


def test_the_cluster_and_its_failovers_are_shown(cluster, node):
    shown = get(node, "cluster")
    assert shown["master"] == cluster.wait_until_whole().name
    assert {m["name"]: m["in_sync"] for m in shown["members"]} == {"n1": True, "n2": True, "n3": True}
    assert len(shown["sentinels"]) == 3 and shown["min_isr"] == 2
    before = len(get(node, "failovers"))
    cluster.fail_over()
    newest = wait_for(lambda: len(f := get(node, "failovers")) > before and f[0], 10, "the hand-over among the failovers")
    assert newest["kind"] == "hand-over" and [p["name"] for p in newest["phases"]] == ["held", "committed", "activated"]


def test_keys_are_counted(cluster):
    node = cluster.wait_until_whole()
    redis.Redis(port=node.resp_port).set("k", "v", ex=100)
    shown = get(node, "keyspace")
    assert shown["databases"][0] == {"db": 0, "keys": 1, "expiring": 1}


def test_bodies_are_bounded(node):
    login = base64.b64encode(b"guest:guest").decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{node.http_port}/api/definitions", b"x" * (25 << 20), {"authorization": f"Basic {login}"}, method="POST"
    )
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)):
        urllib.request.urlopen(request, timeout=15)
    assert get(node, "whoami")["name"] == "guest"
