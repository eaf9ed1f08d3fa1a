"""Brokers by themselves, to be judged by the same tests: a node of ours, and RabbitMQ where it is installed."""

import base64
import contextlib
import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import pika

from cluster import LIBC, NODE_PORTS, PR_SET_PDEATHSIG, START_SECONDS, ask, binary, free_block, wait_for

RABBITMQ = (glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server") or [None])[0]
PLUGINS = "[rabbitmq_management,rabbitmq_recent_history_exchange,rabbitmq_consistent_hash_exchange,rabbitmq_random_exchange]."


class Broker:
    """Use as a context manager."""

    def __init__(self, name):
        self.name, self.process = name, None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"tercet-{name}-"))
        self.log = self.folder / "log.txt"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, args, **environment):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                args, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            )

    def stop(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait_until_up(self):
        def is_up():
            assert self.process.poll() is None, f"{self.name} has ended: {self.log.read_text()[-2000:]}"
            self.connect().close()
            return True

        wait_for(is_up, START_SECONDS, f"{self.name} takes AMQP connections")

    def connect(self, vhost="/", user="guest", password="guest", **options):
        login = pika.PlainCredentials(user, password)
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.amqp_port, vhost, login, heartbeat=0, **options))

    def api(self, method, path, body=None):
        """(status, body as JSON or None)"""
        headers = {"authorization": "Basic " + base64.b64encode(b"guest:guest").decode(), "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/api/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None


class Tercet(Broker):
    def __init__(self, *flags):
        super().__init__("tercet")
        self.flags = flags
        first = free_block(len(NODE_PORTS))
        self.ports = {kind: first + index for index, kind in enumerate(NODE_PORTS)}
        self.amqp_port, self.http_port, self.resp_port = (self.ports[kind] for kind in ("amqp", "http", "resp"))

    def start(self):
        args = [binary("tercet-node"), "--name", "n1", "--data", str(self.folder / "data"), "--bind", "127.0.0.1", *self.flags]
        for kind, port in self.ports.items():
            args += [f"--{kind}-port", str(port)]
        (self.folder / "data").mkdir(exist_ok=True)
        self.spawn(args)
        self.wait_until_up()

    def restart(self):
        """kill -9, and a start with what the disk has."""
        self.process.kill()
        self.process.wait()
        self.start()

    def redis(self, command):
        return ask(self.resp_port, command)


class RabbitMq(Broker):
    def __init__(self):
        super().__init__("rabbitmq")
        first = free_block(4)
        self.amqp_port, self.http_port, self.dist_port, self.epmd_port = range(first, first + 4)

    def start(self):
        (self.folder / "plugins").write_text(PLUGINS)
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = {self.amqp_port}\nmanagement.tcp.port = {self.http_port}\n")
        folder = lambda name: str(self.folder / name)  # noqa: E731
        # Erlang's name service would outlive us as a daemon of its own; here it ends with the rest of the group.
        self.spawn(
            ["sh", "-c", 'epmd & while ! epmd -names; do sleep 0.1; done; exec "$0"', RABBITMQ],
            HOME=str(self.folder),
            RABBITMQ_NODENAME=f"reference-{self.amqp_port}@localhost",
            RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_CONFIG_FILE=folder("rabbitmq.conf"),
            RABBITMQ_ENABLED_PLUGINS_FILE=folder("plugins"),
            RABBITMQ_MNESIA_BASE=folder("mnesia"),
            RABBITMQ_LOG_BASE=folder("log"),
            RABBITMQ_GENERATED_CONFIG_DIR=folder("generated"),
            RABBITMQ_FEATURE_FLAGS_FILE=folder("feature_flags"),
            RABBITMQ_PID_FILE=folder("pid"),
            RABBITMQ_DIST_PORT=str(self.dist_port),
            ERL_EPMD_PORT=str(self.epmd_port),
        )
        self.wait_until_up()
