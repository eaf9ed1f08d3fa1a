"""The StatefulSets of deploy/kubernetes as processes in network namespaces: a pod is a namespace with an address of its
own on one bridge, its arguments are those of the manifest, and names are resolved by a hosts file that every pod sees.

What the machinery of Kubernetes does is done here as its documentation says: a pod that ends leaves the Service, its
preStop hook runs, it gets SIGTERM and its grace period, comes back under the same name with another address, and is in the
Service again when its readiness probe says so.
"""

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

from cluster import LIBC, PR_SET_PDEATHSIG, REPOSITORY, Cluster, binary, wait_for

READY_SECONDS = 60


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def manifests(overlay="dev"):
    import yaml

    text = run("kubectl", "kustomize", str(REPOSITORY / "deploy" / "kubernetes" / "overlays" / overlay))
    found = [document for document in yaml.safe_load_all(text) if document and document["kind"] == "StatefulSet"]
    return {document["metadata"]["name"]: document["spec"] for document in found}


def namespaces_can_be_made():
    probe = f"tct{os.getpid()}p"
    try:
        run("ip", "netns", "add", probe)
        run("ip", "netns", "delete", probe)
        return True
    except (AssertionError, OSError):
        return False


class Network:
    """One bridge; every namespace on it has a hosts file of its own, written anew when a pod has another address."""

    _numbers = itertools.count(10)

    def __init__(self):
        self.tag = f"tct{os.getpid()}"
        self.bridge = f"{self.tag}br"[:15]
        self.names, self.hosts = [], {}

    def __enter__(self):
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", "10.77.0.1/16", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_):
        for name in list(self.names):
            self.remove(name)
        run("ip", "link", "delete", self.bridge, check=False)

    def add(self, name):
        """A namespace with the next address, which nobody had before."""
        number = next(self._numbers)
        address, space, link = f"10.77.{number // 250}.{number % 250 + 2}", f"{self.tag}-{name}", f"{self.tag}v{number}"[-15:]
        run("ip", "netns", "add", space)
        self.names.append(name)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", link, "master", self.bridge, "up")
        for command in (f"address add {address}/16 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", space, *command.split())
        self._hosts_file(name).parent.mkdir(parents=True, exist_ok=True)
        self.publish(name, address)
        return address

    def remove(self, name):
        run("ip", "netns", "delete", f"{self.tag}-{name}", check=False)
        shutil.rmtree(self._hosts_file(name).parent, ignore_errors=True)
        self.names.remove(name)

    def _hosts_file(self, name):
        return pathlib.Path("/etc/netns") / f"{self.tag}-{name}" / "hosts"

    def publish(self, name, address):
        """`node-0` is known as node-0.nodes, as its headless Service says."""
        self.hosts[name] = address
        lines = ["127.0.0.1 localhost"] + [f"{a} {n}.{n.rsplit('-', 1)[0]}s {n}" for n, a in self.hosts.items()]
        for known in self.names:
            # In place: a file that is bound into a running process is that file and no later one of its name.
            self._hosts_file(known).write_text("\n".join(lines) + "\n")

    def inside(self, name, *command):
        return ["ip", "netns", "exec", f"{self.tag}-{name}", *command]


class Pod:
    def __init__(self, name, spec, network, folder):
        self.name, self.network, self.folder = name, network, folder
        self.pod = spec["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.kind = self.container["name"]
        self.process, self.address = None, None

    def command(self, *words):
        """Of the program, as its container would see it."""
        here = [("$(POD_NAME)", self.name), ("/secrets/", f"{self.folder}/secrets/"), ("=/data", f"={self.data}")]
        for there, place in here:
            words = [word.replace(there, str(place)) for word in words]
        return [binary(f"tercet-{self.kind}"), *words]

    @property
    def data(self):
        return self.folder / self.name

    @property
    def log(self):
        return self.folder / f"{self.name}.log"

    def start(self):
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.address = self.network.add(self.name)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.network.inside(self.name, *self.command(*self.container["args"])), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )  # fmt: skip

    def is_ready(self):
        probe = self.container["readinessProbe"]
        if self.process is None or self.process.poll() is not None:
            return False
        if "httpGet" in probe:
            wanted = probe["httpGet"]["port"]
            port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == wanted)
            try:
                url = f"http://{self.address}:{port}{probe['httpGet']['path']}"
                return urllib.request.urlopen(url, timeout=1).status == 200
            except OSError:
                return False
        words = self.command(*probe["exec"]["command"][1:])
        return subprocess.run(self.network.inside(self.name, *words), capture_output=True, timeout=20).returncode == 0

    def terminate(self):
        """The hook, SIGTERM, the grace period; a pod that needs SIGKILL has failed."""
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if hook:
            subprocess.run(hook, check=True, timeout=60)
        self.process.terminate()
        try:
            status = self.process.wait(self.pod["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within its grace period") from None
        finally:
            self.kill()
        assert status == 0, f"{self.name} ended with {status}: {self.log.read_text()[-2000:]}"

    def kill(self):
        """kill -9, and its network goes."""
        self.process.kill()
        self.process.wait()
        if self.name in self.network.names:
            self.network.remove(self.name)

    def lose_volume(self):
        shutil.rmtree(self.data)


class StatefulSets:
    """All pods of the dev overlay; `endpoints` is the file in which a client finds who is in the Service."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tercet-pods-"))
        self.endpoints = self.folder / "endpoints.json"
        self.network = Network()
        secrets = self.folder / "secrets"
        secrets.mkdir(mode=0o700)
        for name, text in (("password", "tercet"), ("cluster-token", "for-these-tests-only")):
            (secrets / name).write_text(text)
            (secrets / name).chmod(0o400)
        self.pods = {}
        for name, spec in sorted(manifests().items(), reverse=True):
            for number in range(spec["replicas"]):
                pod = Pod(f"{name}-{number}", spec, self.network, self.folder)
                self.pods[pod.name] = pod

    def __enter__(self):
        try:
            self.network.__enter__()
            for pod in self.pods.values():
                pod.start()
            for pod in self.pods.values():
                self.wait_until_ready(pod)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind, *_):
        for pod in self.pods.values():
            if pod.process:
                pod.kill()
        self.network.__exit__()
        if kind is None and not Cluster.a_test_has_failed:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"logs stay in {self.folder}")

    def of(self, kind):
        return [pod for pod in self.pods.values() if pod.kind == kind]

    def publish(self, without=None):
        """Who is in the client Service: the nodes that are ready."""
        ready = [pod.address for pod in self.of("node") if pod is not without and pod.is_ready()]
        staged = self.endpoints.with_suffix(".new")
        staged.write_text(json.dumps(ready))
        staged.rename(self.endpoints)

    def wait_until_ready(self, pod):
        wait_for(pod.is_ready, READY_SECONDS, f"{pod.name} is ready; see {pod.log}")
        self.publish()

    def restart(self, pod):
        before = pod.address
        self.publish(without=pod)
        pod.terminate()
        pod.start()
        assert pod.address != before
        self.wait_until_ready(pod)

    def rolling_restart(self, kind):
        """From the highest ordinal down, the next one when the last is ready."""
        for pod in reversed(self.of(kind)):
            self.restart(pod)
            # As long as an endpoint controller takes to notice.
            time.sleep(0.5)
