"""A cluster that has ports under TLS alone, through other people's clients: it serves all three protocols, everything in it is
restarted under load with nothing lost, and a killed master costs no acknowledged write."""

import pathlib
import ssl
import subprocess
import sys

import grpc
import pytest

import certificates
from certificates import Authority
from cluster import REPOSITORY, Cluster, ask, wait_for
from rolling import Writer, check_nothing_is_lost, replace

pytestmark = pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)
OF_CLIENTS = ("resp", "amqp", "gateway", "http", "metrics")


class Secured(Cluster):
    def __init__(self, folder):
        super().__init__()
        signed = Authority(folder)
        self.authority = str(signed.certificate)
        self.files = {member.name: signed.signed(member.name) for member in self.nodes + self.sentinels}
        self.tls = ssl.create_default_context(cafile=self.authority)

    def ports_of(self, member):
        secured = ("resp",) if member.kind == "sentinel" else OF_CLIENTS
        certificate, key = self.files[member.name]
        words = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-file", self.authority, "--tls-peers", "yes"]
        for kind, port in member.ports.items():
            words += [f"--{kind}-tls-port", str(port), f"--{kind}-port", "0"] if kind in secured else [f"--{kind}-port", str(port)]
        return words


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Secured(tmp_path_factory.mktemp("certificates")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    proto = REPOSITORY / "proto" / "proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", str(proto / "schema.proto")], check=True)
    sys.path.insert(0, str(folder))
    import schema_pb2
    import schema_pb2_grpc

    return schema_pb2, schema_pb2_grpc


def count(cluster, node, schema):
    messages, services = schema
    trusted = grpc.ssl_channel_credentials(pathlib.Path(cluster.authority).read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{node.gateway_port}", trusted) as channel:
        numbers = services.GatewayStub(channel).Call(iter([messages.Request(num=number) for number in (1, 41)]), timeout=10)
        return [answer.num for answer in numbers]


def test_every_node_serves_and_plain_bytes_get_nowhere(cluster, schema):
    cluster.wait_until_whole()
    for node in cluster.nodes:
        assert count(cluster, node, schema) == [2, 42]
        for port in (node.resp_port, node.amqp_port, node.http_port):
            try:
                answer = ask(port, "PING", seconds=1)
            except OSError:
                answer = ""
            assert "PONG" not in answer
        wait_for(lambda: "what came is not TLS: plain bytes on a TLS port?" in cluster.log(node).read_text(), 10, "a line in the log")


def test_everything_is_restarted_under_load_and_a_killed_master_loses_nothing(cluster, schema):
    with Writer(cluster) as writer:
        wait_for(lambda: len(writer.published) > 50, 30, "a load")
        for sentinel in cluster.sentinels:
            replace(cluster, sentinel)
        master = cluster.wait_until_whole()
        for node in [*(node for node in cluster.nodes if node is not master), master]:
            replace(cluster, node)
        before = dict(writer.acknowledged)
        wait_for(lambda: writer.is_ahead(before, 30), 30, "writes after the restart of everything")
        # A client that is carried to the master may speak within the round trip in which the node that carried it ends: then its
        # connection is closed, once, and its next attempt goes on. Without TLS that time is too short to be seen. No command is
        # answered with an error.
        assert len(writer.errors) <= len(cluster.nodes) * len(writer.acknowledged) and all("ConnectionError" in error for error in writer.errors), writer.errors
        master = cluster.wait_until_whole()
        cluster.kill(master)
        wait_for(lambda: (now := cluster.master()) and now is not master, 30, "another master after kill -9")
        before = dict(writer.acknowledged)
        wait_for(lambda: writer.is_ahead(before, 30), 30, "writes after the kill")
        cluster.start(master)
    check_nothing_is_lost(writer, cluster.wait_until_whole())
    for node in cluster.nodes:
        assert count(cluster, node, schema) == [2, 42]
