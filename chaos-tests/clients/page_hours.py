#!/usr/bin/env python3
"""The page open for a long time beside a node under load: page_hours.py [MINUTES]. One browser stays on the overview, another
walks through all pages; once a minute a line says what both hold and how large the node is."""

import os
import random
import sys
import threading
import time

import pika
import redis

import browser
from browser import Browser
from brokers import Tercet

VIEWS = ("overview", "cluster", "cache", "queues", "queue/%2F/load-1", "exchanges", "connections", "channels", "streams", "admin")
QUEUES = 100
PACE_SECONDS = 0.01


class Load:
    """Keys that are written, read and expire, messages through a hundred queues: what is there stays about as much."""

    def __init__(self, node):
        self.node, self.is_over, self.errors = node, threading.Event(), []
        self.threads = [threading.Thread(target=self.guarded, args=(work,), daemon=True) for work in (self.keys, self.publish, self.consume)]

    def guarded(self, work):
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told at the end
            self.errors.append(repr(error))

    def keys(self):
        client, dice = redis.Redis(port=self.node.resp_port), random.Random(1)
        while not self.is_over.wait(PACE_SECONDS):
            with client.pipeline(transaction=False) as pipe:
                for _ in range(5):
                    key = f"key:{dice.randrange(20_000)}"
                    pipe.set(key, "x" * 100, ex=600)
                    pipe.get(key)
                pipe.execute()

    def publish(self):
        connection = self.node.connect()
        channel, number = connection.channel(), 0
        for queue in range(QUEUES):
            channel.queue_declare(f"load-{queue}", durable=True)
        while not self.is_over.is_set():
            channel.basic_publish("", f"load-{number % QUEUES}", b"x" * 200, pika.BasicProperties(delivery_mode=2))
            number += 1
            connection.process_data_events(PACE_SECONDS)

    def consume(self):
        connection = self.node.connect()
        channel = connection.channel()
        while not self.is_over.is_set():
            for queue in range(QUEUES):
                try:
                    while (message := channel.basic_get(f"load-{queue}", auto_ack=True))[0]:
                        pass
                except pika.exceptions.ChannelClosed:
                    channel = connection.channel()
                connection.process_data_events(PACE_SECONDS)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join(10)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def logged_in(page, node):
    page.go(f"http://127.0.0.1:{node.http_port}/")
    page.log_in("guest", "guest")
    page.find("nav")


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    if reason := browser.missing():
        sys.exit(reason)
    with Tercet() as node, Load(node) as load, Browser() as still, Browser() as walker:
        logged_in(still, node)
        logged_in(walker, node)
        began, line = time.monotonic(), 0
        print("minute | overview: KiB of JavaScript, nodes, listeners | all pages: the same | node: KiB resident", flush=True)
        while time.monotonic() < began + minutes * 60:
            for number, view in enumerate(VIEWS, 1):
                walker.run("location.hash = '#/' + arguments[0]", view)
                time.sleep(max(0.0, began + (line + number / len(VIEWS)) * 60 - time.monotonic()))
            line += 1
            walker.run("location.hash = '#/overview'")
            time.sleep(1)
            held = [page.memory() for page in (still, walker)]
            shown = " | ".join(f"{one['heap'] // 1024} {one['nodes']} {one['listeners']}" for one in held)
            print(f"{line} | {shown} | {resident_kib(node.process.pid)}", flush=True)
        print("errors:", load.errors, still.errors(), walker.errors())


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
