"""The Debian package in a Debian of its own: it installs, its programs start as its user, it upgrades with the settings that
were changed, and goes without a trace. There is no systemd within: the units are started as they say, by hand."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from cluster import REPOSITORY, binary, free_block

DEBIAN = REPOSITORY / "deploy" / "debian"
SUITE = "bookworm"


def missing():
    """Why this cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for a chroot"
    absent = [name for name in ("debootstrap", "dpkg-deb", "unshare") if not shutil.which(name)]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install debootstrap)"
    if f"VERSION_CODENAME={SUITE}" not in pathlib.Path("/etc/os-release").read_text():
        return f"the programs are built on another Debian than {SUITE}"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def base(folder):
    """A minimal Debian with the library that the programs need: made once, and kept beside what is built."""
    if ready := os.environ.get("TERCET_DEBIAN_BASE"):
        return pathlib.Path(ready)
    kept = pathlib.Path(binary("tercet-node")).parent.parent / f"debian-{SUITE}"
    if not (kept / "etc/debian_version").exists():
        target = subprocess.run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"], capture_output=True, text=True)
        mirrors = [line.split()[1] for line in target.stdout.splitlines() if line.startswith(SUITE + " ")]
        if not mirrors:
            pytest.skip(f"apt knows no mirror of {SUITE}")
        making = folder / "making"
        made = subprocess.run(["debootstrap", "--variant=minbase", "--include=librocksdb7.8,adduser", SUITE, str(making), mirrors[0]], capture_output=True, text=True, timeout=400)
        if made.returncode != 0:
            pytest.skip(f"debootstrap failed: {made.stdout[-300:]}")
        # Not copytree: it would read /dev/zero to its end.
        subprocess.run(["cp", "-a", str(making), str(kept)], check=True)
    return kept


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Two versions of the package, of the programs under test."""
    folder = tmp_path_factory.mktemp("packages")
    programs = folder / "target" / "debug"
    programs.mkdir(parents=True)
    for name in ("tercet-node", "tercet-sentinel"):
        os.symlink(binary(name), programs / name)
    found = []
    for version in ("0.1.0", "0.1.1"):
        environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target"), "PROFILE": "debug", "VERSION": version, "COMPRESS": "none"}
        done = subprocess.run(["bash", str(DEBIAN / "package.sh"), str(folder)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(pathlib.Path(done.stdout.splitlines()[-1]))
    return found


@pytest.fixture
def debian(tmp_path):
    root = tmp_path / "debian"
    # Not the file system of /proc or /dev: the base has none mounted.
    subprocess.run(["cp", "-a", "--reflink=auto", str(base(tmp_path)), str(root)], check=True)
    yield root


def within(root, *command, user=None, check=True, timeout=60):
    """Runs a command in that Debian, in namespaces of its own: what it has started dies with it."""
    inner = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", *command] if user else list(command)
    script = 'ip link set lo up; mount -t proc proc "$1/proc" && root=$1 && shift && exec chroot "$root" "$@"'
    # No systemd is there to be asked: policy-rc.d and deb-systemd-invoke see that.
    full = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "sh", "-c", script, "sh", str(root), *inner]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(full, env=environment, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def install(root, package):
    shutil.copy(package, root / "tmp")
    return within(root, "dpkg", "--force-confold", "-i", f"/tmp/{package.name}", timeout=120)


def owner(root, path):
    return within(root, "stat", "-c", "%U:%G %a", path).stdout.strip()


def test_the_package_says_what_it_needs_and_holds_what_it_should(packages):
    fields = subprocess.run(["dpkg-deb", "--field", str(packages[0])], capture_output=True, text=True, check=True).stdout
    depends = re.search(r"^Depends: (.*)$", fields, re.M)[1]
    for need in ("librocksdb7.8", "adduser", "libc6 (>= 2."):
        assert need in depends, depends
    listed = subprocess.run(["dpkg-deb", "--contents", str(packages[0])], capture_output=True, text=True, check=True).stdout
    for path in ("usr/bin/tercet-node", "usr/bin/tercet-sentinel", "usr/lib/systemd/system/tercet-node.service", "usr/lib/systemd/system/tercet-sentinel.service", "etc/tercet/node.toml", "usr/share/doc/tercet/copyright"):
        assert f"./{path}\n" in listed, path
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())


def test_it_installs_starts_upgrades_and_is_purged(packages, debian):
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
