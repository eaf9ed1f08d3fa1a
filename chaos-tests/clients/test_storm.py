"""A storm of connections takes no descriptor from the disk: who is served goes on, and nothing acknowledged is lost."""

import resource
import socket

import redis

from test_disk import Node

DESCRIPTORS = 1200


class NodeWithFewDescriptors(Node):
    prefix = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")


def test_a_storm_on_the_gateway_starves_neither_the_disk_nor_who_is_served(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with NodeWithFewDescriptors(tmp_path, "--fsync", "always") as node:
        client = node.redis()
        storm = []
        for _ in range(DESCRIPTORS + 200):
            connection = socket.create_connection(("127.0.0.1", node.ports["gateway"]), timeout=5)
            storm.append(connection)
        acknowledged = [key for key in range(500) if client.set(f"key:{key}", "x" * 1000)]
        assert len(acknowledged) == 500
        for connection in storm:
            connection.close()
        assert redis.Redis(port=node.ports["resp"], socket_timeout=5).ping()
        node.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with Node(tmp_path, data=node.data) as node:
        client = node.redis()
        assert all(client.exists(f"key:{key}") for key in acknowledged)
