"""A Debian of its own, to install the package in: a tree made by debootstrap, commands within it, and a boot of its systemd."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from cluster import LIBC, PR_SET_PDEATHSIG, REPOSITORY, binary, wait_for

SUITE = "bookworm"
SIGKILL = 9
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
# What systemd finds as it boots: its own view of processes, of /sys and of its cgroups; nothing of the machine around it.
BOOT = """
mount --make-rprivate / && mount --bind "$1" "$1" || exit 1
mount -t proc proc "$1/proc" && mount -t sysfs -o ro sysfs "$1/sys" && mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup" || exit 1
mount -t tmpfs tmpfs "$1/run" && mount -t tmpfs tmpfs "$1/tmp" && ip link set lo up || exit 1
exec env -i container=tercet PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$1" /lib/systemd/systemd
"""


def missing():
    """Why this cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for a chroot"
    absent = [name for name in ("debootstrap", "dpkg-deb", "unshare", "nsenter") if not shutil.which(name)]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install debootstrap)"
    if f"VERSION_CODENAME={SUITE}" not in pathlib.Path("/etc/os-release").read_text():
        return f"the programs are built on another Debian than {SUITE}"
    return ""


def base(folder):
    """A minimal Debian with systemd and the library that the programs need: made once, and kept beside what is built."""
    if ready := os.environ.get("TERCET_DEBIAN_BASE"):
        return pathlib.Path(ready)
    kept = pathlib.Path(binary("tercet-node")).parent.parent / f"debian-{SUITE}-systemd"
    if not (kept / "etc/debian_version").exists():
        target = subprocess.run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"], capture_output=True, text=True)
        mirrors = [line.split()[1] for line in target.stdout.splitlines() if line.startswith(SUITE + " ")]
        if not mirrors:
            pytest.skip(f"apt knows no mirror of {SUITE}")
        making = folder / "making"
        include = "librocksdb7.8,adduser,systemd,systemd-sysv,dbus"
        made = subprocess.run(["debootstrap", "--variant=minbase", f"--include={include}", SUITE, str(making), mirrors[0]], capture_output=True, text=True, timeout=500)
        if made.returncode != 0:
            pytest.skip(f"debootstrap failed: {made.stdout[-300:]}")
        # Not copytree: it would read /dev/zero to its end. What is kept is whole: it gets its name at the end.
        half = kept.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run(["cp", "-a", str(making), str(half)], check=True)
        half.rename(kept)
    return kept


def copied(folder):
    """A copy of the base, to be changed."""
    root = folder / "debian"
    # Not the file system of /proc or /dev: the base has none mounted.
    subprocess.run(["cp", "-a", "--reflink=auto", str(base(folder)), str(root)], check=True)
    return root


def build_packages(folder, versions):
    """Packages of the programs under test, as so many versions."""
    programs = folder / "target" / "debug"
    programs.mkdir(parents=True)
    for name in ("tercet-node", "tercet-sentinel"):
        os.symlink(binary(name), programs / name)
    found = []
    for version in versions:
        environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target"), "PROFILE": "debug", "VERSION": version, "COMPRESS": "none"}
        done = subprocess.run(["bash", str(REPOSITORY / "deploy/debian/package.sh"), str(folder)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(pathlib.Path(done.stdout.splitlines()[-1]))
    return found


def within(root, *command, user=None, check=True, timeout=60):
    """Runs a command in that Debian, in namespaces of its own: what it has started dies with it."""
    inner = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", *command] if user else list(command)
    script = 'ip link set lo up; mount -t proc proc "$1/proc" && root=$1 && shift && exec chroot "$root" "$@"'
    # No systemd is there to be asked: policy-rc.d and deb-systemd-invoke see that.
    full = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "sh", "-c", script, "sh", str(root), *inner]
    done = subprocess.run(full, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


class Machine:
    """A Debian whose systemd runs, as process 1 of namespaces of its own. Use as a context manager."""

    def __init__(self, root):
        self.root = root

    def __enter__(self):
        self.log = open(self.root.parent / "boot.log", "w+")
        namespaces = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        # In front of systemd there is nobody who would read its console.
        self.process = subprocess.Popen([*namespaces, "sh", "-c", BOOT, "sh", str(self.root)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL))
        try:
            wait_for(self.is_up, 30, "systemd has booted")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Its process 1 dies with it, and with that every process within.
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def is_up(self):
        if self.process.poll() is not None:
            self.log.flush()
            pytest.skip(f"systemd does not boot on this machine: {pathlib.Path(self.log.name).read_text()[-500:]}")
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def first(self):
        """Its process 1, as it is called outside."""
        return pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0]

    def run(self, *command, check=True, timeout=120):
        full = ["nsenter", "-t", self.first(), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", *command]
        done = subprocess.run(full, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.journal() if command[0] != 'journalctl' else ''}"
        return done

    def journal(self, unit="tercet-*"):
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager", "-n", "40", check=False).stdout

    def property(self, unit, name):
        return self.run("systemctl", "show", unit, "-P", name).stdout.strip()

    def install(self, package, *flags):
        # Its /tmp is not that of the tree.
        shutil.copy(package, self.root / "srv")
        return self.run("dpkg", "--force-confold", *flags, "-i", f"/srv/{package.name}")


def depends_of(package):
    fields = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True).stdout
    return re.search(r"^Depends: (.*)$", fields, re.M)[1]
