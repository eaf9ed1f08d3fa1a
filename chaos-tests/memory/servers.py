"""Our node and redis-server on loopback, and a client that sends pipelines: for the measurements of memory."""

import os
import shutil
import socket
import subprocess
import tempfile
import time


def command(*words):
    """One command as bytes."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Client:
    """A connection. Replies to a pipeline are counted by lines, so whoever sends one knows how many lines come."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.buffer = b""

    def ask(self, *words):
        """The reply to one command that has a simple one: a line, a number or a text."""
        self.socket.sendall(command(*words))
        head = self.lines(1)[0]
        if head.startswith(b"-"):
            raise RuntimeError(head.decode())
        if not head.startswith(b"$") or head == b"$-1":
            return head[1:].decode()
        length = int(head[1:]) + 2
        while len(self.buffer) < length:
            self.buffer += self.socket.recv(1 << 20)
        text, self.buffer = self.buffer[: length - 2], self.buffer[length:]
        return text.decode()

    def lines(self, count):
        while True:
            parts = self.buffer.split(b"\r\n", count)
            if len(parts) > count:
                self.buffer = parts[count]
                return parts[:count]
            self.buffer += self.socket.recv(1 << 20)

    def pipeline(self, commands):
        """Sends commands that are answered by one line each."""
        for first in range(0, len(commands), 1000):
            part = commands[first : first + 1000]
            self.socket.sendall(b"".join(part))
            for line in self.lines(len(part)):
                if line.startswith(b"-"):
                    raise RuntimeError(line.decode())

    def info(self, section, name):
        for line in self.ask("info", section).splitlines():
            if line.startswith(name + ":"):
                return line.split(":", 1)[1]
        raise KeyError(name)


class Server:
    """A process that ends with the block."""

    def __init__(self, name, port, node=None):
        self.name, self.port, self.node = name, port, node

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="tercet-memory-")
        if self.node:
            ports = ["resp", "amqp", "gateway", "http", "metrics", "peer"]
            words = [self.node, "--data", self.directory, "--persistence", "off"]
            for index, kind in enumerate(ports):
                words += [f"--{kind}-port", str(self.port + index)]
        else:
            words = ["redis-server", "--port", str(self.port), "--save", "", "--dir", self.directory]
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        for _ in range(200):
            try:
                self.client = Client(self.port)
                self.client.ask("ping")
                return self
            except (OSError, RuntimeError):
                time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not answer")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def resident(self):
        """Bytes of physical memory, once what is free has been given back."""
        self.client.ask("memory", "purge")
        time.sleep(1.5)
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")
