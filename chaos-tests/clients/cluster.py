"""Three nodes and three sentinels as real processes, for tests that look at them through other people's clients."""

import contextlib
import ctypes
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# What the members of a cluster know each other by.
TOKEN = "the-token-of-these-tests"
SERVICE = "mymaster"
NODE_PORTS = ("resp", "amqp", "gateway", "http", "metrics", "peer")
SENTINEL_PORTS = ("resp", "peer", "metrics")
# Those of README.md; the second and third process of a kind have the next ones.
DEFAULT_NODE_PORTS = (6379, 5672, 50051, 15672, 15692, 7379)
DEFAULT_SENTINEL_PORTS = (26379, 27379, 28379)
START_SECONDS = 60
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def binary(name):
    """What TERCET_NODE_BINARY and TERCET_SENTINEL_BINARY say, else the release build in the target directory of cargo."""
    if path := os.environ.get(f"{name.upper().replace('-', '_')}_BINARY"):
        return path
    target = os.environ.get("CARGO_TARGET_DIR")
    if not target:
        command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
        target = json.loads(subprocess.check_output(command, cwd=REPOSITORY))["target_directory"]
    path = REPOSITORY / target / "release" / name
    assert path.exists(), f"{path} is not built: cargo build --release --workspace"
    return str(path)


def wait_for(condition, seconds, what):
    """Waits until `condition()` is true; its last exception or value is part of the failure."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            last = condition()
            if last:
                return last
        except Exception as error:  # noqa: BLE001 - whatever is not there yet
            last = repr(error)
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s (last: {last})"
        time.sleep(0.02)


def ask(port, *commands, password=None, seconds=2.0, tls=None):
    """The raw reply to inline commands: a client that shares nothing with the libraries under test. `tls`: an ssl.SSLContext."""
    lines = ([f'AUTH "{password}"'] if password else []) + list(commands) + ["QUIT"]
    with contextlib.ExitStack() as open_ones:
        connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=seconds))
        if tls:
            connection = open_ones.enter_context(tls.wrap_socket(connection, server_hostname="127.0.0.1"))
        connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
        reply = b""
        try:
            while chunk := connection.recv(65536):
                reply += chunk
        except TimeoutError:
            pass
    return reply.decode(errors="replace")


def is_free(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_block(count):
    """Consecutive ports, above those of the Rust drills and below the ephemeral ones."""
    for _ in range(200):
        first = random.randrange(29_000, 32_700 - count)
        if all(is_free(first + index) for index in range(count)):
            return first
    raise AssertionError("no free ports")


class Member:
    def __init__(self, name, kind, ports):
        self.name, self.kind, self.ports, self.process = name, kind, ports, None
        # Another program than the one under test: an older one.
        self.program = None

    def __getattr__(self, port):
        try:
            return self.ports[port.removesuffix("_port")]
        except KeyError:
            raise AttributeError(port) from None


class Cluster:
    """Use as a context manager: nothing outlives it but, after a failed test, the logs."""

    # Set by conftest.py.
    a_test_has_failed = False
    # Of one whose ports are all under TLS.
    tls = None

    def __init__(self, password=None, default_ports=False, size=3):
        self.password = password
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tercet-clients-"))
        if default_ports:
            node = [{k: p + n for k, p in zip(NODE_PORTS, DEFAULT_NODE_PORTS)} for n in range(size)]
            sentinel = [{k: p + n for k, p in zip(SENTINEL_PORTS, DEFAULT_SENTINEL_PORTS)} for n in range(size)]
            taken = [port for ports in node + sentinel for port in ports.values() if not is_free(port)]
            assert not taken, f"default ports {taken} are taken: stop what holds them (make down?) and run this again"
        else:
            first = free_block(9 * size)
            node = [{k: first + 6 * n + i for i, k in enumerate(NODE_PORTS)} for n in range(size)]
            sentinel = [{k: first + 6 * size + 3 * n + i for i, k in enumerate(SENTINEL_PORTS)} for n in range(size)]
        self.nodes = [Member(f"n{n + 1}", "node", ports) for n, ports in enumerate(node)]
        self.sentinels = [Member(f"s{n + 1}", "sentinel", ports) for n, ports in enumerate(sentinel)]

    def __enter__(self):
        try:
            for member in self.sentinels + self.nodes:
                self.start(member)
            self.wait_until_whole()
        except BaseException as error:
            self.close(failed=True)
            raise error
        return self

    def __exit__(self, kind, *_):
        self.close(failed=kind is not None)

    def close(self, failed=False):
        for member in self.sentinels + self.nodes:
            if member.process and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
        if failed or Cluster.a_test_has_failed:
            print(f"logs stay in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, member, data=None):
        assert member.process is None or member.process.poll() is not None, f"{member.name} runs already"
        data = data or self.folder / member.name
        data.mkdir(exist_ok=True)
        sentinels = ",".join(f"127.0.0.1:{s.peer_port}" for s in self.sentinels)
        args = [member.program or binary(f"tercet-{member.kind}"), "--name", member.name, "--data", str(data), "--bind", "127.0.0.1"]
        args += self.ports_of(member) + ["--sentinels", sentinels]
        if member.kind == "sentinel":
            args += ["--nodes", ",".join(f"127.0.0.1:{n.peer_port}" for n in self.nodes), "--service", SERVICE]
        elif self.password:
            args += ["--requirepass", self.password]
        with open(self.log(member), "ab") as log:
            member.process = subprocess.Popen(
                args, env={**os.environ, "TERCET_CLUSTER_TOKEN": TOKEN}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            )

    def ports_of(self, member):
        return [word for kind, port in member.ports.items() for word in (f"--{kind}-port", str(port))]

    def kill(self, member):
        """kill -9; the fault must happen."""
        assert member.process.poll() is None, f"{member.name} had ended before"
        member.process.kill()
        member.process.wait()

    def log(self, member):
        return self.folder / f"{member.name}.log"

    def check_running(self):
        for member in self.sentinels + self.nodes:
            status = member.process.poll()
            assert status is None, f"{member.name} ended with {status}; log:\n{self.log(member).read_text()[-2000:]}"

    def info(self, node):
        text = ask(node.resp_port, "INFO replication", password=self.password, tls=self.tls)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def master(self):
        """The one node that says that it is master and that every sentinel names."""
        masters = [n for n in self.nodes if n.process.poll() is None and self.info(n).get("role") == "master"]
        if len(masters) != 1:
            return None
        named = {self.sentinel_view(s) for s in self.sentinels if s.process.poll() is None}
        return masters[0] if named == {masters[0].resp_port} else None

    def sentinel_view(self, sentinel):
        lines = ask(sentinel.resp_port, f"SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}", tls=self.tls).splitlines()
        return next((int(line) for line in lines[1:] if line.isdigit()), None)

    def is_whole(self):
        """The master, if everybody is in sync with it."""
        master = self.master()
        if not master:
            return None
        view, others = self.info(master), [node for node in self.nodes if node is not master]
        if (view.get("connected_slaves"), view.get("tercet_isr")) != (str(len(others)), str(len(self.nodes))):
            return None
        return master if all(self.info(node).get("master_link_status") == "up" for node in others) else None

    def wait_until_whole(self, seconds=START_SECONDS):
        self.check_running()
        return wait_for(self.is_whole, seconds, "a master, replicas in sync with it, sentinels that agree")

    def fail_over(self):
        """A planned hand-over; gives the new master."""
        old = self.wait_until_whole()
        reply = ask(self.sentinels[0].resp_port, f"SENTINEL FAILOVER {SERVICE}", tls=self.tls)
        assert reply.startswith("+OK"), reply
        wait_for(lambda: (m := self.master()) and m is not old, 20, "another master after SENTINEL FAILOVER")
        return self.wait_until_whole()

    def make_master(self, condition, what):
        """Hands the mastership over until `condition(master)`."""
        for _ in range(12):
            master = self.wait_until_whole()
            if condition(master):
                return master
            self.fail_over()
        raise AssertionError(f"no hand-over made {what}")
