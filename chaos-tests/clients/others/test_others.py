"""Client libraries of other languages and frameworks, through failovers: one small program for each, in this folder.

What a program is told: SENTINELS and BROKERS ("host:port host:port ..."), SERVICE, and STOP, the path of a file.
What it does and prints, a line each:
1. The basics of its library; then `basics hold`.
2. One confirmed write or message after another, with new connections when one fails; `at N` after every fiftieth.
3. As soon as STOP exists: it reads everything back; `confirmed N lost N reconnects N`.
Meanwhile the mastership is handed over, and then the master is killed."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import pytest

from cluster import LIBC, PR_SET_PDEATHSIG, SERVICE, Cluster, wait_for

HERE = pathlib.Path(__file__).parent
GO = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-p=2"}
SIGKILL = 9
BUILD_SECONDS = 240
STEP_SECONDS = 120

# File, Debian's packages, what builds it, what runs it; {source}, {built} and {python} are filled in.
PYTHON = ["{python}", "{source}"]
PROGRAMS = [
    ("with_redis_py.py", [], [], PYTHON),
    ("with_django_redis.py", [], [], PYTHON),
    ("with_rq.py", [], [], PYTHON),
    ("with_celery.py", [], [], PYTHON),
    ("with_pika.py", [], [], PYTHON),
    ("with_aio_pika.py", [], [], PYTHON),
    ("with_kombu.py", [], [], PYTHON),
    ("with_hiredis.c", ["gcc", "libc6-dev", "libhiredis-dev"], ["gcc", "-Wall", "-o", "{built}", "{source}", "-lhiredis"], ["{built}"]),
    ("with_phpredis.php", ["php-cli", "php-redis"], [], ["php", "{source}"]),
    ("with_redis_rb.rb", ["ruby", "ruby-redis"], [], ["/usr/bin/ruby", "{source}"]),
    ("with_node_redis.js", ["nodejs", "node-redis"], [], ["/usr/bin/node", "{source}"]),
    ("with_redigo.go", ["golang-go", "golang-github-gomodule-redigo-dev"], ["/usr/bin/go", "build", "-o", "{built}", "{source}"], ["{built}"]),
    ("with_librabbitmq.c", ["gcc", "libc6-dev", "librabbitmq-dev"], ["gcc", "-Wall", "-o", "{built}", "{source}", "-lrabbitmq"], ["{built}"]),
    ("with_amqp_tools.sh", ["amqp-tools"], [], ["bash", "{source}"]),
    ("with_php_amqplib.php", ["php-cli", "php-amqplib"], [], ["php", "{source}"]),
    ("with_bunny.rb", ["ruby", "ruby-bunny"], [], ["/usr/bin/ruby", "{source}"]),
    ("with_amqp091.go", ["golang-go", "golang-github-rabbitmq-amqp091-go-dev"], ["/usr/bin/go", "build", "-o", "{built}", "{source}"], ["{built}"]),
]


def missing(packages):
    if not shutil.which("dpkg-query"):
        return packages
    known = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages], capture_output=True, text=True).stdout if packages else ""
    return [package for package in packages if f"{package} installed\n" not in known]


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


class Program:
    """A program that runs; use as a context manager. Its lines are read as they come."""

    def __init__(self, cluster, name, command, folder):
        self.name, self.lines, self.stop_file = name, [], folder / "stop"
        addresses = lambda members, port: " ".join(f"127.0.0.1:{member.ports[port]}" for member in members)  # noqa: E731
        told = {"SENTINELS": addresses(cluster.sentinels, "resp"), "BROKERS": addresses(cluster.nodes, "amqp"), "SERVICE": SERVICE, "STOP": str(self.stop_file)}
        environment = {**os.environ, **told, "NODE_PATH": "/usr/share/nodejs", "PYTHONUNBUFFERED": "1", "FOLDER": str(folder)}
        self.errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL))

    def __enter__(self):
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def said(self):
        self.errors.flush()
        return "\n".join(self.lines[-20:]) + "\n" + pathlib.Path(self.errors.name).read_text()[-4000:]

    def confirmed(self):
        """The last number that it printed, while it runs."""
        assert self.process.poll() is None, f"{self.name} has ended: {self.said()}"
        return max((int(line.split()[1]) for line in list(self.lines) if line.startswith("at ")), default=0)

    def goes_on(self, what):
        """A hundred confirmed writes more."""
        before = self.confirmed()
        try:
            wait_for(lambda: self.confirmed() >= before + 100, STEP_SECONDS, f"{self.name} writes {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def summary(self):
        self.stop_file.touch()
        try:
            status = self.process.wait(STEP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end: {self.said()}") from None
        self.reader.join(5)
        assert status == 0, f"{self.name} ended with {status}: {self.said()}"
        words = self.lines[-1].split()
        return dict(zip(words[::2], map(int, words[1::2])))


def whole(cluster):
    """The cluster, with whatever a program that failed has left dead."""
    for member in cluster.sentinels + cluster.nodes:
        if member.process.poll() is not None:
            cluster.start(member)
    return cluster.wait_until_whole()


@pytest.mark.parametrize("source, packages, build, run", PROGRAMS, ids=[row[0] for row in PROGRAMS])
def test_a_program_goes_through_failovers(cluster, source, packages, build, run):
    if absent := missing(packages):
        pytest.skip(f"not installed: {' '.join(absent)}")
    with tempfile.TemporaryDirectory(prefix="tercet-others-") as folder:
        folder = pathlib.Path(folder)
        names = {"source": str(HERE / source), "built": str(folder / "built"), "python": sys.executable}
        filled = lambda words: [word.format(**names) for word in words]  # noqa: E731
        if build:
            built = subprocess.run(filled(build), env={**os.environ, **GO, "GOCACHE": str(folder / "go")}, capture_output=True, text=True, timeout=BUILD_SECONDS)
            assert built.returncode == 0, built.stderr
        whole(cluster)
        with Program(cluster, source, filled(run), folder) as program:
            program.goes_on("before any fault")
            assert "basics hold" in program.lines
            master = cluster.fail_over()
            program.goes_on("after the hand-over")
            cluster.kill(master)
            wait_for(lambda: (now := cluster.master()) and now is not master, STEP_SECONDS, "another master after kill -9")
            program.goes_on("after the kill")
            cluster.start(master)
            cluster.wait_until_whole()
            summary = program.summary()
        assert summary["lost"] == 0, summary
        assert summary["confirmed"] >= 300, summary
        assert summary["reconnects"] >= 1, summary


def test_phpredis_scans_a_large_key_space(cluster):
    if absent := missing(["php-cli", "php-redis"]):
        pytest.skip(f"not installed: {' '.join(absent)}")
    whole(cluster)
    with tempfile.TemporaryDirectory(prefix="tercet-others-") as folder, Program(cluster, "scan", ["php", str(HERE / "with_phpredis.php"), "scan"], pathlib.Path(folder)) as program:
        assert program.process.wait(STEP_SECONDS) == 0, program.said()
