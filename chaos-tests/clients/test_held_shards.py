"""Scripts and transactions that run for seconds hold shards; whatever others ask for meanwhile, the threads that serve them go on."""

import threading
import time

import pytest
import redis

from test_disk import Node

LOOPS = {
    # One shard: that of its key.
    "one shard": ("redis.call('SET', KEYS[1], '1'); while true do end", "1", "held"),
    # An undeclared key of another shard, then everything: the whole key space.
    "every shard": ("redis.call('GET', 'held'); redis.call('DBSIZE'); while true do end", "0"),
}
# They end the node, the script or the connection, or wait for the outside.
LEFT_OUT = {"shutdown", "failover", "debug", "migrate", "monitor", "quit", "reset", "psync", "sync"}
BOUND_S = 0.5


class Beat(threading.Thread):
    """A client of its own that asks for a PING again and again, and remembers its longest wait."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.client = redis.Redis(port=port, socket_timeout=30)
        self.client.ping()
        self.longest, self.ended = 0.0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            began = time.monotonic()
            self.client.execute_command("PING")
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.005)

    def take(self):
        longest, self.longest = self.longest, 0.0
        return longest


def every_command(client):
    """Each command of the table, its key in the place where its row has it."""
    for name, about in sorted(client.command().items()):
        first = max(about["first_key_pos"], 1)
        count = max(abs(about["arity"]) - 1, first)
        if name not in LEFT_OUT:
            yield [name.upper()] + ["held" if at + 1 == first else "1" for at in range(count)]
            yield [name.upper()] + ["held"] * count


@pytest.mark.parametrize("loop", LOOPS.values(), ids=list(LOOPS))
def test_nobody_waits_for_a_script_but_who_asks_for_what_it_holds(tmp_path, loop):
    # One thread, so that whoever stops it is seen; patience, so that no answer is BUSY.
    with Node(tmp_path, "--io-threads", "1") as node:
        client = node.redis()
        client.config_set("busy-reply-threshold", "600000")
        client.config_set("maxmemory-policy", "allkeys-random")
        client.mset({"held": "1", **{f"k{i}": "v" for i in range(5000)}})
        commands = [[part.split("|") for part in command] for command in every_command(client)]
        commands = [sum(command[:1], []) + [part for parts in command[1:] for part in parts] for command in commands]
        plans = [[command] for command in commands]
        plans += [[["MULTI"], command, ["EXEC"]] for command in commands]
        plans += [[["WATCH", "held"]], [["WATCH", "held"], ["MULTI"], ["SUBSCRIBE", "c"], ["GET", "held"], ["EXEC"]]]
        plans += [[["BLPOP", "list", "held", "0.01"]], [["BLMOVE", "held", "other", "LEFT", "LEFT", "0.01"]]]
        waiter = redis.Redis(port=node.ports["resp"], socket_timeout=30)
        waiter.execute_command("WATCH", "k1")
        popper = redis.Redis(port=node.ports["resp"])
        popper.connection = popper.connection_pool.get_connection()
        popper.connection.send_command("BLPOP", "empty", "0")

        def spin():
            holder = redis.Redis(port=node.ports["resp"], socket_timeout=600)
            with pytest.raises(redis.ResponseError, match="killed by user"):
                holder.eval(*loop)

        # The first run shows that it is not short; this one writes nothing, so that it can be killed.
        script = threading.Thread(target=spin, daemon=True)
        loop = (loop[0].replace("redis.call('SET', KEYS[1], '1')", "redis.call('GET', KEYS[1])"), *loop[1:])
        script.start()
        beat = Beat(node.ports["resp"])
        time.sleep(0.3)
        beat.start()
        slow, asked = [], 0
        connections = []
        for plan in plans:
            connection = redis.Connection(port=node.ports["resp"])
            connection.connect()
            for command in plan:
                connection.send_command(*command)
            connections.append(connection)
            asked += 1
            time.sleep(0.01)
            if beat.take() > BOUND_S:
                slow.append(plan)
            if len(connections) > 200:
                # Whoever waits, or has watched and blocked, goes in the middle of it.
                for old in connections:
                    old.disconnect()
                connections.clear()
        waiter.close()
        popper.connection.disconnect()
        # Keys that expire, and memory that is short.
        quick = redis.Redis(port=node.ports["resp"], socket_timeout=30)
        quick.config_set("maxmemory", "1")
        time.sleep(1)
        stalled = beat.take()
        quick.config_set("maxmemory", "0")
        beat.ended.set()
        assert script.is_alive(), "the script held on"
        assert quick.execute_command("SCRIPT", "KILL") == b"OK"
        script.join(10)
        beat.join(30)
        assert asked > 700 and not slow, slow
        assert stalled < BOUND_S and beat.longest < 5
        assert client.execute_command("ROLE")[0] == "master"


def test_a_transaction_that_takes_long_runs_where_scripts_run(tmp_path):
    with Node(tmp_path, "--io-threads", "1") as node:
        client = node.redis()
        pipe = client.pipeline(transaction=False)
        for first in range(0, 200_000, 20_000):
            pipe.rpush("list", *range(first, first + 20_000))
        pipe.execute()
        connection = redis.Connection(port=node.ports["resp"], socket_timeout=60)
        connection.connect()

        def ask(*command):
            connection.send_command(*command)
            try:
                return connection.read_response()
            except redis.ResponseError as error:
                return str(error)

        beat = Beat(node.ports["resp"])
        beat.start()
        ask("WATCH", "list", "other")
        ask("MULTI")
        for command in (["SORT", "list", "ALPHA", "DESC", "LIMIT", "0", "1"], ["SELECT", "3"], ["SET", "here", "1"], ["INCR", "here"]):
            assert ask(*command) == b"QUEUED"
        assert ask("EXEC") == [[b"99999"], b"OK", b"OK", 2]
        # The connection is in the database that it has selected, and watches nothing any more.
        assert ask("GET", "here") == b"2" and b" db=3 " in ask("CLIENT", "INFO")
        assert ask("EXEC") == "EXEC without MULTI"
        # What was watched has changed: nothing is executed.
        ask("SELECT", "0")
        ask("WATCH", "list")
        client.rpush("list", "x")
        ask("MULTI")
        ask("SORT", "list", "ALPHA")
        ask("SET", "here", "1")
        assert ask("EXEC") is None and client.get("here") is None
        # What changes the connection cannot run there.
        for command in (["MULTI"], ["SORT", "list", "ALPHA"], ["SUBSCRIBE", "c"]):
            ask(*command)
        assert ask("EXEC").startswith("Transaction discarded because of: commands that may take long")
        assert ask("EXEC") == "EXEC without MULTI"
        # Many that are short by themselves.
        client.rpush("shorter", *range(15_000))
        ask("MULTI")
        for _ in range(300):
            ask("LRANGE", "shorter", "0", "-1")
        assert len(ask("EXEC")) == 300
        # A script that loops, and very many commands.
        for command in (["MULTI"], ["EVAL", "for i = 1, 2e8 do end return 7", "0"]):
            ask(*command)
        assert ask("EXEC") == [7]
        ask("MULTI")
        for _ in range(30):
            connection.send_packed_command(connection.pack_commands([["INCR", "counted"]] * 1000))
            for _ in range(1000):
                connection.read_response()
        assert ask("EXEC")[-1] == 30_000
        beat.ended.set()
        beat.join(30)
        assert beat.longest < BOUND_S
