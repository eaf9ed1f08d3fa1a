"""A node by itself whose disk has no room, is damaged, or is somebody else's: what clients and operators are told."""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import threading

import pika
import pytest
import redis

from cluster import LIBC, NODE_PORTS, PR_SET_PDEATHSIG, binary, free_block, wait_for

MISCONF = "Errors writing to the AOF file: No space left on device"


class Node:
    """A process; nothing outlives the block that uses it."""

    # A command that runs the node, e.g. with fewer descriptors.
    prefix = ()

    def __init__(self, folder, *flags, data=None):
        first = free_block(len(NODE_PORTS))
        self.ports = {kind: first + index for index, kind in enumerate(NODE_PORTS)}
        self.data = data or folder / "data"
        self.log = folder / "node.log"
        self.flags = flags

    def __enter__(self):
        args = [*self.prefix, binary("tercet-node"), "--data", str(self.data), *self.flags]
        for kind, port in self.ports.items():
            args += [f"--{kind}-port", str(port)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            )
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def redis(self):
        client = redis.Redis(port=self.ports["resp"], socket_timeout=3, decode_responses=True)
        wait_for(client.ping, 20, "an answer")
        return client

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()[-2000:]


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own, or a skip that is seen."""
    flags = ctypes.c_ulong(0)
    folder.mkdir()
    options = f"size={size}".encode()
    if LIBC.mount(b"tmpfs", str(folder).encode(), b"tmpfs", flags, options) != 0:
        pytest.skip("mounting a small file system takes root")
    try:
        yield folder
    finally:
        LIBC.umount2(str(folder).encode(), 2)


def test_a_full_disk_refuses_writes_answers_reads_and_mends_by_itself(tmp_path):
    with small_disk(tmp_path / "disk", "400m") as disk, Node(tmp_path, data=disk / "data") as node:
        client = node.redis()
        for number in range(100):
            client.set(f"before:{number}", number)
        ballast = disk / "ballast"
        with open(ballast, "wb") as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 20)):
                file.flush()
        # The write that finds the disk full waits for room, and nothing else does.
        writer, acknowledged = node.redis(), []

        def write():
            with contextlib.suppress(redis.exceptions.RedisError):
                for number in range(10_000):
                    writer.set(f"filler:{number}", "v" * 10_000)
                    acknowledged.append(number)

        writing = threading.Thread(target=write, daemon=True)
        writer.connection_pool.connection_kwargs["socket_timeout"] = 60
        writer.connection_pool.disconnect()
        writing.start()
        wait_for(lambda: client.info("persistence")["aof_last_write_status"] == "err", 20, "a refusal")
        waits = len(acknowledged)
        with pytest.raises(redis.exceptions.ResponseError, match=MISCONF):
            client.set("refused", "1")
        assert client.get("before:7") == "7"
        assert client.get(f"filler:{waits}") == "v" * 10_000, "it will be written, and is seen"
        with client.pipeline(transaction=True) as both:
            assert both.strlen(f"filler:{waits}").exists("refused").execute() == [10_000, 0]
        assert client.eval("return redis.call('strlen', KEYS[1])", 1, f"filler:{waits}") == 10_000
        assert client.dbsize() == 101 + waits and len(acknowledged) == waits
        assert len(client.keys("before:*")) == 100
        assert client.info("persistence")["aof_last_write_status"] == "err"
        with pytest.raises(redis.exceptions.ResponseError, match="MISCONF"):
            client.execute_command("LPUSH", "list", "x")
        with pytest.raises(redis.exceptions.ResponseError, match="MISCONF"):
            client.pipeline().set("a", 1).execute()
        ballast.unlink()
        wait_for(lambda: len(acknowledged) > waits, 10, "the answer to the write that waited")
        wait_for(lambda: client.set("after", "1"), 10, "a write after there is room again")
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
        node.process.kill()
        node.process.wait()
        with node:
            client = node.redis()
            wait_for(lambda: client.get("after") == "1", 20, "what was acknowledged")
            assert client.dbsize() >= 101 + waits
            assert client.get("before:99") == "99" and client.get(f"filler:{waits}") == "v" * 10_000


def fill_up(disk):
    """Not one more byte can be written. What is returned gives the room back when it is removed."""
    ballast = disk / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def test_a_node_stops_in_order_on_a_full_disk_and_starts_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", "200m") as disk, Node(tmp_path, data=disk / "data") as node:
        client = node.redis()
        for number in range(1000):
            client.set(f"key:{number}", number)
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
        fill_up(disk)
        node.stop()
        node.log.unlink()
        ballast = fill_up(disk)
        with node:
            assert node.process.wait(20) == 2
        errors = [line for line in node.log.read_text().splitlines() if "error" in line.lower()]
        assert len(errors) == 1, errors
        for words in [f"data directory {node.data}", "No space left on device", "make room"]:
            assert words in errors[0], errors
        ballast.unlink()
        with node:
            client = node.redis()
            wait_for(lambda: client.dbsize() == 1000, 20, "everything that was acknowledged")
            assert client.get("key:999") == "999"


def test_nothing_is_written_to_the_diary_of_rocksdb_while_the_node_runs(tmp_path):
    # On a full disk a second line would end the process.
    with Node(tmp_path) as node:
        client = node.redis()
        client.set("key", "value")
        client.save()
        before = (node.data / "LOG").stat().st_size
        for number in range(30_000):
            client.set(f"key:{number % 100}", "v" * 1000) if number % 100 == 0 else client.incr("counter")
        client.save()
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
        node.stop()
        assert (node.data / "LOG").stat().st_size == before


def test_publishers_are_blocked_while_there_is_no_room(tmp_path):
    with Node(tmp_path, "--disk-free-limit", "1000000gb") as node:
        client, writer = node.redis(), node.redis()
        # It waits for room; what it has written is seen by others all the same.
        writer.connection_pool.connection_kwargs["socket_timeout"] = 60
        writer.connection_pool.disconnect()
        threading.Thread(target=writer.set, args=("key", "value"), daemon=True).start()
        wait_for(lambda: client.info("persistence")["aof_last_write_status"] == "err", 10, "a refusal")
        with pytest.raises(redis.exceptions.ResponseError, match=MISCONF):
            client.set("key", "value")
        assert client.get("key") == "value"
        parameters = pika.ConnectionParameters("127.0.0.1", node.ports["amqp"], blocked_connection_timeout=1)
        connection = pika.BlockingConnection(parameters)
        # Raised only if the node has said that the connection is blocked.
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
            channel.basic_publish("", "q", b"message")


def started_with(folder, *flags):
    """Exit code and the lines of a node that should refuse to start."""
    with Node(folder, *flags) as node:
        code = node.process.wait(20)
    return code, node.log.read_text().strip().splitlines()


def fill(folder):
    with Node(folder) as node:
        client = node.redis()
        for number in range(2000):
            client.set(f"key:{number}", "v" * 100)
        node.stop()


@pytest.mark.parametrize("victim", ["CURRENT", "MANIFEST", "sst"])
def test_a_data_directory_that_lost_a_file_is_refused_in_one_line_that_says_what_mends_it(tmp_path, victim):
    fill(tmp_path)
    lost = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and victim in path.name]
    assert lost, sorted(path.name for path in (tmp_path / "data").iterdir())
    for path in lost:
        path.unlink()
    (tmp_path / "node.log").unlink()
    code, lines = started_with(tmp_path)
    assert code not in (0, None) and code > 0
    errors = [line for line in lines if "error" in line.lower()]
    assert len(errors) == 1, lines
    assert "restore" in errors[0] and str(tmp_path / "data") in errors[0], errors


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    fill(tmp_path)
    tables = sorted((tmp_path / "data").rglob("*.sst"), key=lambda path: path.stat().st_size)
    table = tables[-1]
    size = table.stat().st_size
    with open(table, "r+b") as file:
        for at in range(0, size, 512):
            file.seek(at)
            file.write(os.urandom(64))
    (tmp_path / "node.log").unlink()
    code, lines = started_with(tmp_path)
    assert code > 0, lines
    errors = [line for line in lines if "error" in line.lower()]
    assert len(errors) == 1 and "restore" in errors[0], lines


def test_a_damaged_byte_of_what_was_synced_is_refused_in_one_line_and_not_taken_for_a_torn_tail(tmp_path):
    with Node(tmp_path, "--fsync", "always") as node:
        client = node.redis()
        for number in range(200):
            client.set(f"key:{number}", "v" * 100)
        node.process.kill()
        node.process.wait()
    data = tmp_path / "data"
    log = max(data.glob("*.log"), key=lambda path: int(path.stem))
    with open(log, "r+b") as file:
        middle = log.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)[0]
        file.seek(middle)
        file.write(bytes([byte ^ 0x55]))
    for _ in range(2):
        (tmp_path / "node.log").unlink()
        code, lines = started_with(tmp_path)
        assert code == 2, lines
        errors = [line for line in lines if "error" in line.lower()]
        assert len(errors) == 1, lines
        for words in [f"data directory {data} is damaged", "had been synced", "tercet-node restore", f"if {data}/synced is removed"]:
            assert words in errors[0], errors
    (data / "synced").unlink()
    with Node(tmp_path) as node:
        client = node.redis()
        wait_for(lambda: 0 < client.dbsize() < 200, 20, "what lies before the damage")
        assert client.get("key:0") == "v" * 100


def test_two_nodes_do_not_share_a_directory(tmp_path):
    with Node(tmp_path) as node:
        node.redis()
        other = pathlib.Path(tmp_path / "other")
        other.mkdir()
        (other / "data").symlink_to(node.data)
        code, lines = started_with(other)
        assert code > 0 and any("in use" in line for line in lines), lines
        assert node.redis().ping()


def run(*args):
    return subprocess.run([binary("tercet-node"), *args], capture_output=True, text=True, timeout=60, check=False)


def test_a_backup_of_a_node_under_load_is_restored_as_of_one_moment(tmp_path):
    copy = tmp_path / "copy"
    with Node(tmp_path, "--requirepass", "secret") as node:
        client = redis.Redis(port=node.ports["resp"], password="secret", decode_responses=True)
        wait_for(client.ping, 20, "an answer")
        for number in range(3000):
            client.set(f"key:{number}", number)
        stop, counted = threading.Event(), []

        def load():
            own = redis.Redis(port=node.ports["resp"], password="secret", decode_responses=True)
            while not stop.is_set():
                with own.pipeline() as both:
                    counted.append(both.incr("left").incr("right").execute()[0])

        loader = threading.Thread(target=load)
        loader.start()
        wait_for(lambda: len(counted) > 100, 20, "load")
        before = counted[-1]
        port = str(node.ports["resp"])
        refused = run("backup", str(copy), "--resp-port", port, "--requirepass", "wrong")
        assert refused.returncode == 1 and "WRONGPASS" in refused.stderr, refused
        done = run("backup", str(copy), "--resp-port", port, "--requirepass", "secret")
        assert done.returncode == 0, done
        after = counted[-1]
        again = run("backup", str(copy), "--resp-port", port, "--requirepass", "secret")
        assert again.returncode == 1 and "is there already" in again.stderr, again
        stop.set()
        loader.join()
        assert client.lastsave() is not None and client.info("persistence")["rdb_saves"] >= 1
        client.flushall()
        node.stop()
    refused = run("restore", str(copy), "--data", str(node.data))
    assert refused.returncode == 1 and "not empty" in refused.stderr, refused
    done = run("restore", str(copy), "--data", str(node.data), "--force")
    assert done.returncode == 0, done
    with Node(tmp_path) as node:
        client = node.redis()
        wait_for(lambda: client.dbsize() == 3002, 20, "the data of the backup")
        assert client.get("key:2999") == "2999"
        left, right = int(client.get("left")), int(client.get("right"))
        assert left == right and before <= left <= after + 1


def test_save_and_its_kin_answer_as_redis(tmp_path):
    with Node(tmp_path) as node:
        client = node.redis()
        client.set("a", 1)
        assert client.save() is True
        assert client.info("persistence")["rdb_changes_since_last_save"] == 0
        wait_for(lambda: client.execute_command("BGSAVE") in (True, "Background saving started"), 5, "BGSAVE")
        wait_for(lambda: client.info("persistence")["rdb_bgsave_in_progress"] == 0, 10, "its end")
        wait_for(lambda: client.execute_command("BGREWRITEAOF"), 5, "BGREWRITEAOF")
        assert {"appendonly": "yes", "appendfsync": "everysec"}.items() <= client.config_get("append*").items()
    with Node(tmp_path / "..", "--persistence", "off", data=tmp_path / "none") as node:
        client = node.redis()
        with pytest.raises(redis.exceptions.ResponseError, match="keeps nothing on disk"):
            client.save()
        assert client.info("persistence")["aof_enabled"] == 0
