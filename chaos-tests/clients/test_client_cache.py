"""Client-side caches: what is evicted is told to who has read it, before the reply of the command that it made room for."""

import socket

from test_disk import Node

INVALIDATION = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\nvolatile\r\n"


def test_an_evicted_key_is_told_before_the_reply(tmp_path):
    with Node(tmp_path) as node:
        client = node.redis()
        reader = socket.create_connection(("127.0.0.1", node.ports["resp"]), timeout=10)
        replies = reader.makefile("rb")

        def ask(line, *expected):
            reader.sendall(line.encode() + b"\r\n")
            for text in expected:
                assert replies.read(len(text)) == text

        reader.sendall(b"HELLO 3\r\n")
        while replies.readline() != b"$7\r\n" or replies.readline() != b"modules\r\n":
            pass
        assert replies.readline() == b"*0\r\n"
        ask("CLIENT TRACKING ON", b"+OK\r\n")
        ask("SETEX volatile 1000 x", b"+OK\r\n")
        ask("GET volatile", b"$1\r\nx\r\n")
        client.config_set("maxmemory-policy", "volatile-random")
        client.config_set("maxmemory", "1")
        ask("GET other", INVALIDATION, b"_\r\n")
        client.config_set("maxmemory", "0")
        # By the sweep too, when no command comes.
        ask("SETEX volatile 1000 x", b"+OK\r\n")
        ask("GET volatile", b"$1\r\nx\r\n")
        client.config_set("maxmemory", "1")
        assert replies.read(len(INVALIDATION)) == INVALIDATION
