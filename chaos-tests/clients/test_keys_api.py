"""The key browser's API: what it shows of each type, in pages and cut, and that Redis's rules count for it as for RESP."""

import base64

import pytest
import redis

from cluster import Cluster, wait_for
from test_http_api import call, get


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    client = redis.Redis(port=cluster.wait_until_whole().resp_port)
    client.set("text", "ä" * 50_000)
    client.set(b"\xff\x00raw", b"\xfe")
    client.set("soon", "x", ex=1000)
    client.set("", "nameless")
    client.rpush("list", *range(250))
    client.hset("hash", mapping={f"f{n}": "v" * (5000 if n == 7 else 5) for n in range(1000)})
    client.sadd("set", *[f"m{n}" for n in range(300)])
    client.zadd("zset", {f"m{n}": n for n in range(300)} | {"top": float("inf")})
    for n in range(120):
        client.xadd("stream", {"n": n, "bytes": b"\xff"}, id=f"{n + 1}-0")
    client.xgroup_create("stream", "group", id="0")
    client.select(3)
    client.set("elsewhere", 1)
    client.select(0)
    return client


@pytest.fixture(params=["master", "replica"])
def node(cluster, client, request):
    master = cluster.wait_until_whole()
    return master if request.param == "master" else next(n for n in cluster.nodes if n is not master)


def id_of(key):
    key = key.encode() if isinstance(key, str) else key
    return base64.urlsafe_b64encode(key).decode().rstrip("=") or "-"


def listed(node, query="", **options):
    """All pages of a list of keys."""
    rows, cursor = [], "0"
    while cursor is not None:
        answer = get(node, f"keys?{query}&cursor={cursor}", **options)
        rows, cursor = rows + answer["keys"], answer["cursor"]
    return rows


def value(node, key, count=100, database=0, **options):
    """The first page, and all items of all pages."""
    first = page = get(node, f"keys/{database}/{id_of(key)}?count={count}", **options)
    items = list(first["items"])
    while page["cursor"] is not None:
        page = get(node, f"keys/{database}/{id_of(key)}?count={count}&cursor={page['cursor']}", **options)
        items += page["items"]
    return first, items


def names(rows):
    return {row["key"].get("text", row["key"].get("base64")) for row in rows}


def test_keys_are_listed_by_pattern_type_and_database(node):
    rows = listed(node, "count=3")
    assert names(rows) == {"text", "/wByYXc=", "soon", "", "list", "hash", "set", "zset", "stream"}
    assert {row["type"] for row in rows} == {"string", "list", "hash", "set", "zset", "stream"}
    assert names(listed(node, "match=*set&count=2")) == {"set", "zset"}
    assert names(listed(node, "type=hash")) == {"hash"}
    assert names(listed(node, "db=3")) == {"elsewhere"}
    soon = next(row for row in rows if row["id"] == id_of("soon"))
    assert 900_000 < soon["ttl_ms"] <= 1_000_000
    assert call(node, "GET", "keys?db=16")[0] == 400
    assert call(node, "GET", "keys?count=100000")[0] == 400


def test_each_type_is_shown_in_pages(node):
    first, items = value(node, "text")
    assert (first["type"], first["length"]) == ("string", 100_000)
    assert "".join(item["text"] for item in items) == "ä" * 50_000
    assert value(node, b"\xff\x00raw")[1] == [{"base64": "/g=="}]
    assert value(node, "")[1] == [{"text": "nameless"}]
    first, items = value(node, "list")
    assert (first["length"], len(first["items"])) == (250, 100)
    assert [item["value"]["text"] for item in items] == [str(n) for n in range(250)]
    first, items = value(node, "hash")
    assert first["encoding"] == "hashtable" and {item["field"]["text"] for item in items} == {f"f{n}" for n in range(1000)}
    cut = next(item for item in items if item["field"]["text"] == "f7")["value"]
    assert cut["cut_from"] == 5000 and len(cut["text"]) == 1024
    assert {item["member"]["text"] for item in value(node, "set")[1]} == {f"m{n}" for n in range(300)}
    first, items = value(node, "zset")
    assert [item["score"] for item in items] == [str(n) for n in range(300)] + ["inf"]
    first, items = value(node, "stream")
    assert [item["id"] for item in items] == [f"{n + 1}-0" for n in range(120)]
    assert items[4]["fields"] == [[{"text": "n"}, {"text": "4"}], [{"text": "bytes"}, {"base64": "/w=="}]]
    assert first["groups"] == [{"name": {"text": "group"}, "consumers": 0, "pending": 0, "lag": 120}]
    assert call(node, "GET", f"keys/0/{id_of('absent')}")[0] == 404


def test_values_are_changed_by_commands(node, client):
    def change(key, command, *arguments):
        return call(node, "POST", f"keys/0/{id_of(key)}", {"command": command, "arguments": list(arguments)})

    assert change("made", "set", "1") == (200, {"reply": "OK"})
    assert change("made", "pexpire", 100_000) == (200, {"reply": 1}) and client.pttl("made") > 50_000
    assert change("made", "set", {"base64": "/w=="}, "KEEPTTL")[0] == 200 and client.get("made") == b"\xff" and client.pttl("made") > 0
    assert change("made", "persist")[0] == 200 and client.pttl("made") == -1
    assert change("made", "rpush", "x") == (400, {"error": "bad_request", "reason": "WRONGTYPE Operation against a key holding the wrong kind of value"})
    assert change("made", "rename", "moved")[0] == 200 and client.exists("made") == 0
    assert change("more", "zadd", "1.5", "m")[0] == 200 and client.zscore("more", "m") == 1.5
    assert change("made", "flushall")[0] == 400 and change("made", "blpop", "0")[0] == 400
    assert call(node, "DELETE", f"keys/0/{id_of('moved')}") == (204, None)
    assert call(node, "DELETE", f"keys/0/{id_of('moved')}")[0] == 404
    assert call(node, "DELETE", f"keys/0/{id_of('more')}") == (204, None)


def test_redis_rules_say_who_sees_and_changes_what(cluster, client, node):
    for name, rules in [("reader", ["~l*", "%R~h*", "+@read", "+@write"]), ("shut", ["off", "~*", "+@all"]), ("strings", ["~*", "+get", "+scan"])]:
        client.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules)
        assert call(node, "PUT", f"users/{name}", {"password": "pw", "tags": "management"})[0] == 204
    who = {"user": "reader", "password": "pw"}
    assert names(listed(node, **who)) == {"list", "hash"}
    assert value(node, "list", **who)[0]["may_change"] and not value(node, "hash", **who)[0]["may_change"]
    assert call(node, "GET", f"keys/0/{id_of('set')}", **who)[0] == 401
    assert call(node, "GET", f"keys/0/{id_of('absent')}", **who)[0] == 401, "whether it is there is not said"
    assert call(node, "POST", f"keys/0/{id_of('list')}", {"command": "lset", "arguments": ["0", "0"]}, **who)[0] == 200
    assert call(node, "POST", f"keys/0/{id_of('hash')}", {"command": "hset", "arguments": ["f0", "x"]}, **who)[0] == 401
    assert call(node, "DELETE", f"keys/0/{id_of('set')}", **who)[0] == 401 and client.exists("set")
    assert names(listed(node, user="strings", password="pw")) == {"text", "/wByYXc=", "soon", ""}
    assert call(node, "GET", "keys", user="shut", password="pw")[0] == 401
    # A user that RabbitMQ's API has made has no rules of Redis: it sees no key, unless it administers.
    call(node, "PUT", "users/broker", {"password": "pw", "tags": "monitoring"})
    assert call(node, "GET", "keys", user="broker", password="pw")[0] == 401
    call(node, "PUT", "users/broker", {"password": "pw", "tags": "administrator"})
    assert get(node, "keys?count=1", user="broker", password="pw")["user"] == "default"
    for name in ("reader", "shut", "strings", "broker"):
        call(node, "DELETE", f"users/{name}")


def test_slow_commands_families_and_counts_are_told(cluster, client):
    node = cluster.wait_until_whole()
    client.config_set("slowlog-log-slower-than", 0)
    client.set("slow", "x" * 200)
    client.config_set("slowlog-log-slower-than", 10_000)
    entry = next(entry for entry in get(node, "slowlog") if entry["command"]["text"].startswith("SET slow"))
    assert entry["command"]["text"].endswith("(72 more bytes)") and entry["microseconds"] >= 0 and ":" in entry["client"]
    rows = {row["name"]: row for row in get(node, "commands")}
    assert rows["xadd"]["calls"] >= 120 and rows["xadd"]["family"] == "stream"
    keyspace = get(node, "keyspace")
    assert keyspace["family_calls"]["stream"] >= 120 and keyspace["evicted"] == 0

    def moves():
        client.ping()
        return get(node, "keyspace")["families"].get("connection", 0) > 0 and "family.connection" in get(node, "history?series=families")["series"]

    wait_for(moves, 20, "commands a second of a family")
    client.execute_command("ACL", "SETUSER", "quiet", "reset", "on", ">pw", "~*", "+@all", "-slowlog")
    call(node, "PUT", "users/quiet", {"password": "pw", "tags": "monitoring"})
    assert call(node, "GET", "slowlog", user="quiet", password="pw")[0] == 401
    call(node, "DELETE", "users/quiet")
