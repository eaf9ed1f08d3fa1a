"""The Debian package in a Debian of its own: it installs, its programs start as its user, it upgrades with the settings that
were changed, and goes without a trace. Once with a systemd that runs, and once without, as in a container: there the units are
started as they say, by hand."""

import os
import re
import shutil
import subprocess

import pytest

from cluster import free_block, wait_for
from debian import Machine, build_packages, copied, depends_of, missing, within

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Two versions of the package, of the programs under test."""
    return build_packages(tmp_path_factory.mktemp("packages"), ("0.1.0", "0.1.1"))


@pytest.fixture
def debian(tmp_path):
    yield copied(tmp_path)


def install(root, package):
    shutil.copy(package, root / "tmp")
    return within(root, "dpkg", "--force-confold", "-i", f"/tmp/{package.name}", timeout=120)


def owner(root, path):
    return within(root, "stat", "-c", "%U:%G %a", path).stdout.strip()


def test_the_package_says_what_it_needs_and_holds_what_it_should(packages):
    depends = depends_of(packages[0])
    for need in ("librocksdb7.8", "adduser", "libc6 (>= 2."):
        assert need in depends, depends
    listed = subprocess.run(["dpkg-deb", "--contents", str(packages[0])], capture_output=True, text=True, check=True).stdout
    for path in ("usr/bin/tercet-node", "usr/bin/tercet-sentinel", "usr/lib/systemd/system/tercet-node.service", "usr/lib/systemd/system/tercet-sentinel.service", "etc/tercet/node.toml", "usr/share/doc/tercet/copyright"):
        assert f"./{path}\n" in listed, path
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())


def test_it_installs_starts_upgrades_and_is_purged_without_systemd(packages, debian):
    install(debian, packages[0])
    assert within(debian, "dpkg-query", "-W", "-f", "${Status} ${Version}", "tercet").stdout == "install ok installed 0.1.0"
    assert within(debian, "dpkg", "--verify", "tercet").stdout.replace("??5?????? c", "") == ""
    for path in ("/etc/tercet", "/var/lib/tercet"):
        assert owner(debian, path) == "tercet:tercet 750"
    for file in ("node", "sentinel"):
        assert owner(debian, f"/etc/tercet/{file}.toml") == "tercet:tercet 640"
    # What `systemctl enable` would have done.
    assert (debian / "etc/systemd/system/multi-user.target.wants/tercet-node.service").is_symlink()
    assert not os.path.lexists(debian / "etc/systemd/system/multi-user.target.wants/tercet-sentinel.service")

    def starts():
        """The node as its unit starts it: checked, served, stopped; says which version."""
        unit = (debian / "usr/lib/systemd/system/tercet-node.service").read_text()
        check, start = (re.search(rf"^{line}=(.*)$", unit, re.M)[1] for line in ("ExecStartPre", "ExecStart"))
        script = f"""
            {check} >/dev/null || exit 1
            {start} & node=$!
            for turn in $(seq 100); do /usr/bin/tercet-node healthcheck 2>/dev/null && break; sleep 0.1; done
            /usr/bin/tercet-node status || exit 1
            kill $node; wait $node"""
        done = within(debian, "sh", "-c", script, user="tercet", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "master, epoch" in starts()
    assert (debian / "var/lib/tercet/node").is_dir()

    # A setting of the operator stays through an upgrade, and so do the data.
    settings = debian / "etc/tercet/node.toml"
    settings.write_text(settings.read_text() + f'resp-port = {free_block(1)}\nname = "renamed"\n')
    install(debian, packages[1])
    assert within(debian, "dpkg-query", "-W", "-f", "${Version}", "tercet").stdout == "0.1.1"
    assert 'name = "renamed"' in settings.read_text() and owner(debian, "/etc/tercet/node.toml") == "tercet:tercet 640"
    assert (debian / "var/lib/tercet/node").is_dir()

    within(debian, "dpkg", "--remove", "tercet")
    assert not (debian / "usr/bin/tercet-node").exists() and settings.exists() and (debian / "var/lib/tercet/node").is_dir()
    within(debian, "dpkg", "--purge", "tercet")
    left = within(debian, "find", "/etc", "/usr", "/var", "/lib", "-name", "*tercet*", "-not", "-path", "/var/cache/*").stdout.split()
    assert left == [], left
    assert within(debian, "getent", "passwd", "tercet").stdout.startswith("tercet:"), "the user stays"


# A unit that could not be hardened as it says would say so there.
COMPLAINTS = re.compile(r"Operation not permitted|Failed to set up|status=226|status=228|Bad system call")


def test_systemd_runs_it_restarts_it_upgrades_it_and_stops_it(packages, debian):
    node, sentinel = "tercet-node.service", "tercet-sentinel.service"
    with Machine(debian) as machine:
        ask = lambda *words: machine.run("bash", "-c", 'exec 3<>/dev/tcp/127.0.0.1/6379; printf "%s\\r\\n" "$@" QUIT >&3; timeout 5 cat <&3', "bash", *words).stdout  # noqa: E731
        machine.install(packages[0])
        # Type=notify: whoever waited for the start can use it.
        assert machine.property(node, "ActiveState") == "active" and machine.property(sentinel, "ActiveState") == "inactive"
        assert "+OK" in ask("SET kept 1")
        assert "master, epoch" in machine.run("tercet-node", "status").stdout
        first = machine.property(node, "MainPID")
        status = (debian / "etc/passwd").read_text()
        user = next(line.split(":")[2] for line in status.splitlines() if line.startswith("tercet:"))
        process = machine.run("cat", f"/proc/{first}/status").stdout
        assert re.search(rf"^Uid:\t{user}\t{user}\t{user}", process, re.M), process
        assert re.search(r"^CapEff:\t0+$", process, re.M) and re.search(r"^NoNewPrivs:\t1$", process, re.M) and re.search(r"^Seccomp:\t2$", process, re.M), process
        # Its settings can be written by it within what the unit allows, and read again by a reload.
        assert "+OK" in ask("CONFIG SET slowlog-max-len 77", "CONFIG REWRITE")
        settings = debian / "etc/tercet/node.toml"
        assert "slowlog-max-len = 77" in settings.read_text().replace('"', ""), settings.read_text()
        settings.write_text(settings.read_text().replace("77", "78"))
        machine.run("systemctl", "reload", node)
        wait_for(lambda: "78" in ask("CONFIG GET slowlog-max-len"), 10, "a reload")
        assert machine.property(node, "MainPID") == first

        # A process that is killed comes back, with its data.
        machine.run("sh", "-c", f"kill -9 {first}")
        wait_for(lambda: machine.property(node, "MainPID") not in ("0", first) and machine.property(node, "ActiveState") == "active", 30, "a restart after kill -9")
        assert "$1\n1\n" in ask("GET kept")
        assert machine.property(node, "NRestarts") == "1"

        # An upgrade restarts what runs, and leaves alone what does not.
        before = machine.property(node, "MainPID")
        machine.install(packages[1])
        assert machine.property(node, "ActiveState") == "active" and machine.property(node, "MainPID") != before
        assert machine.property(sentinel, "ActiveState") == "inactive"
        assert "$1\n1\n" in ask("GET kept") and "78" in ask("CONFIG GET slowlog-max-len")

        # The sentinel, once it has been told whom to watch.
        told = debian / "etc/tercet/sentinel.toml"
        told.write_text(told.read_text() + 'name = "s1"\nnodes = "127.0.0.1:7379"\nsentinels = "127.0.0.1:27379"\n')
        machine.run("systemctl", "enable", "--now", sentinel)
        assert machine.property(sentinel, "ActiveState") == "active"
        # Settings that are wrong start nothing, and say so.
        told.write_text(told.read_text() + "resp-port = 99999999\n")
        assert machine.run("systemctl", "restart", sentinel, check=False).returncode != 0
        assert "resp-port" in machine.journal(sentinel)

        # A stop is a drain and not a kill.
        machine.run("systemctl", "stop", node)
        assert (machine.property(node, "ActiveState"), machine.property(node, "Result"), machine.property(node, "ExecMainStatus")) == ("inactive", "success", "0")
        assert not COMPLAINTS.search(machine.journal(node)), machine.journal(node)
        # After a boot it is there by itself.
        assert machine.run("systemctl", "is-enabled", node).stdout.strip() == "enabled"
        machine.run("systemctl", "start", node)
        assert "$1\n1\n" in ask("GET kept")

        machine.run("dpkg", "--remove", "tercet")
        assert machine.run("systemctl", "is-active", node, check=False).stdout.strip() in ("inactive", "unknown")
        assert "tercet-node" not in machine.run("sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
        machine.run("dpkg", "--purge", "tercet")
        assert not (debian / "var/lib/tercet").exists() and not (debian / "etc/tercet").exists()
        assert "tercet" not in machine.run("systemctl", "list-unit-files", "--no-legend").stdout
