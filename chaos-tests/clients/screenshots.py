#!/usr/bin/env python3
"""Pictures of every page, light and dark, of a cluster with data in it: screenshots.py FOLDER (docs/page).

A picture is made in a real browser, and has 128 colours, so that it stays small. The load runs on while it is taken.
"""

import importlib.util
import pathlib
import random
import sys
import threading
import time

import grpc
import pika
import redis

import browser
from browser import Browser
from cluster import REPOSITORY, Cluster, wait_for

PAGES = {
    "overview": "overview", "cluster": "cluster", "cache": "cache", "key": None, "queues": "queues", "queue": "queue/%2F/orders",
    "exchanges": "exchanges", "exchange": "exchange/%2F/events", "connections": "connections", "channels": "channels", "streams": "streams",
    "admin": "admin",
}
SIZE = (1280, 1080)
MOST_BYTES = 100_000
LOAD_SECONDS = 75


def fill(node):
    client = redis.Redis(port=node.resp_port)
    dice = random.Random(4)
    with client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.set(f"page:{number}", "x" * dice.randrange(20, 900), ex=dice.choice([None, 3600, 86_400]))
        for number in range(300):
            name = dice.choice(["Ada", "Grace", "Edsger", "Barbara", "Leslie"])
            pipe.hset(f"user:{number}", mapping={"name": name, "plan": dice.choice(["free", "pro"]), "visits": dice.randrange(1000), "city": dice.choice(["Köln", "Turin", "Lyon"])})
            pipe.expire(f"user:{number}", 86_400 * 30)
        for number in range(200):
            pipe.zadd("leaderboard", {f"player-{number}": dice.randrange(100_000)})
            pipe.rpush("recent:orders", f"order-{number}")
            pipe.sadd("tags", dice.choice(["new", "sale", "eu", "us", "gift", "fragile"]))
            pipe.xadd("audit", {"actor": f"user:{number}", "action": dice.choice(["login", "order", "logout"])})
        pipe.execute()
    client.config_set("slowlog-log-slower-than", 2000)
    client.eval("local sum = 0; for i = 1, 1000000 do sum = sum + i end; return sum", 0)
    client.keys("page:1*")
    channel = connect(node)
    channel.exchange_declare("events", "topic", durable=True)
    for name, arguments in [("orders", {}), ("emails", {"x-max-priority": 5}), ("invoices", {"x-dead-letter-exchange": "events"}), ("audit.log", {"x-message-ttl": 600_000}), ("images.resize", {"x-max-length": 10_000})]:
        channel.queue_declare(name, durable=True, arguments=arguments)
        channel.queue_bind(name, "events", f"{name.split('.')[0]}.#")
    channel.connection.close()


def connect(node, name="orders-service"):
    parameters = pika.ConnectionParameters("127.0.0.1", node.amqp_port, client_properties={"connection_name": name})
    return pika.BlockingConnection(parameters).channel()


class Load:
    """Redis commands, messages and a stream of the gateway, with ups and downs, until it is stopped."""

    def __init__(self, node):
        self.node, self.is_over, self.began = node, threading.Event(), time.monotonic()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.commands, self.publish, self.consume, self.stream)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join(10)

    def pause(self, usual):
        # Busier and calmer within a minute.
        wave = abs((time.monotonic() - self.began) % 40 - 20) / 20
        time.sleep(usual * (0.3 + wave))

    def commands(self):
        while not self.is_over.is_set():
            try:
                self.ask()
            except redis.RedisError as error:
                # A machine that is busy otherwise lets replicas fall out for a moment.
                print(f"commands begin again: {error}")

    def ask(self):
        client, dice = redis.Redis(port=self.node.resp_port, client_name="web-1"), random.Random(1)
        while not self.is_over.is_set():
            with client.pipeline(transaction=False) as pipe:
                for _ in range(20):
                    pipe.get(f"page:{dice.randrange(22_000)}")
                    pipe.hincrby(f"user:{dice.randrange(300)}", "visits", 1)
                pipe.zincrby("leaderboard", 10, f"player-{dice.randrange(200)}")
                pipe.lpush("recent:orders", "order-new")
                pipe.ltrim("recent:orders", 0, 199)
                pipe.execute()
            self.pause(0.03)

    def publish(self):
        channel, dice = connect(self.node, "shop"), random.Random(2)
        channel.confirm_delivery()
        while not self.is_over.is_set():
            for _ in range(10):
                channel.basic_publish("events", dice.choice(["orders.new", "orders.paid", "emails.welcome", "audit.login"]), b'{"order": 4711, "total": 25.50}', pika.BasicProperties(delivery_mode=2, content_type="application/json"))
            channel.connection.process_data_events()
            self.pause(0.05)

    def consume(self):
        channel = connect(self.node, "worker-1")
        channel.basic_qos(prefetch_count=20)
        for method, _, _ in channel.consume("orders", inactivity_timeout=0.2):
            if self.is_over.is_set():
                return
            if method:
                channel.basic_ack(method.delivery_tag)
                time.sleep(0.004)

    def stream(self):
        call = grpc.insecure_channel(f"127.0.0.1:{self.node.gateway_port}").stream_stream(
            "/schema.Gateway/Call", request_serializer=lambda number: b"\x08" + bytes([number % 127]), response_deserializer=bytes)

        def requests():
            number = 0
            while not self.is_over.is_set():
                number += 1
                yield number
                self.pause(0.02)

        for _ in call(requests()):
            pass


def take(page, address, path, theme, file):
    page.run("document.documentElement.dataset.theme = arguments[0]; localStorage.setItem('tercet-theme', arguments[0]); document.querySelector('.who select').value = arguments[0]", theme)
    page.run("location.hash = '#/' + arguments[0]", path)
    page.find("main h1")
    wait_for(lambda: page.run("return document.querySelectorAll('main .card').length > 0"), 10, path)
    time.sleep(2.5)
    page.run("window.scrollTo(0, 0)")
    page.picture(file)


def main():
    if reason := browser.missing():
        sys.exit(f"no pictures: {reason}")
    if importlib.util.find_spec("PIL") is None:
        sys.exit("no pictures: pillow is not installed (.venv/bin/pip install pillow)")
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "docs" / "page")
    folder.mkdir(parents=True, exist_ok=True)
    with Cluster() as cluster:
        cluster.fail_over()
        victim = cluster.wait_until_whole()
        cluster.kill(victim)
        cluster.start(victim)
        master = cluster.wait_until_whole()
        fill(master)
        address = f"http://127.0.0.1:{master.http_port}"
        paths = PAGES | {"key": "key/0/bGVhZGVyYm9hcmQ"}
        with Load(master), Browser(*SIZE) as page:
            page.go(address)
            page.log_in("guest", "guest")
            page.find("nav")
            time.sleep(LOAD_SECONDS)
            for theme in ("light", "dark"):
                for name, path in paths.items():
                    file = folder / f"{name}-{theme}.png"
                    take(page, address, path, theme, file)
                    shrink(file)
                    print(f"{file.relative_to(folder)}: {file.stat().st_size} bytes")
            assert not (errors := page.errors()), errors
    large = [file for file in folder.glob("*.png") if file.stat().st_size > MOST_BYTES]
    if large:
        sys.exit(f"larger than {MOST_BYTES} bytes: {', '.join(str(file) for file in large)}")


def shrink(file):
    """Fewer colours: a picture of a page has few."""
    from PIL import Image

    with Image.open(file) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
