"""A rolling upgrade from older programs, under load: no error that a client sees, and nothing lost. Where the older programs
are is said by TERCET_OLD_NODE_BINARY and TERCET_OLD_SENTINEL_BINARY."""

import os
import pathlib

import pytest

from cluster import Cluster, wait_for
from rolling import Writer, check_nothing_is_lost, replace
from test_http_api import get

OLD = {kind: os.environ.get(f"TERCET_OLD_{kind.upper()}_BINARY") for kind in ("node", "sentinel")}
pytestmark = pytest.mark.skipif(not all(OLD.values()), reason="no older programs: TERCET_OLD_NODE_BINARY and TERCET_OLD_SENTINEL_BINARY name none")


class OfOldPrograms(Cluster):
    def start(self, member, data=None):
        if member.process is None:
            member.program = OLD[member.kind]
        super().start(member, data)


def program_of(member):
    return pathlib.Path(f"/proc/{member.process.pid}/exe").resolve()


def test_everything_is_replaced_under_load_and_nothing_is_lost():
    with OfOldPrograms() as cluster:
        assert all(program_of(m) == pathlib.Path(OLD[m.kind]).resolve() for m in cluster.nodes + cluster.sentinels)
        with Writer(cluster) as writer:
            wait_for(lambda: len(writer.published) > 100, 30, "a load")
            for sentinel in cluster.sentinels:
                replace(cluster, sentinel)
            # Replicas first, then the master, which hands over to one of them.
            master = cluster.wait_until_whole()
            for node in [*(node for node in cluster.nodes if node is not master), master]:
                replace(cluster, node)
            before = dict(writer.acknowledged)
            wait_for(lambda: writer.is_ahead(before, 50), 30, "writes after the upgrade")
        assert not any(program_of(m) == pathlib.Path(OLD[m.kind]).resolve() for m in cluster.nodes + cluster.sentinels)
        assert writer.errors == []
        master = cluster.wait_until_whole()
        check_nothing_is_lost(writer, master)
        state = get(master, "cluster")
        assert {member["version"] for member in state["members"]} == {state["version"]}
        print(f"{sum(writer.acknowledged.values())} writes, {len(writer.published)} messages")
