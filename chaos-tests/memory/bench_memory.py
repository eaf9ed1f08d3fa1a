#!/usr/bin/env python3
"""Resident memory of our node beside redis-server, for keys of several shapes: the table of the README.

    bench_memory.py NODE [--keys 1000000] [--port 35100] [--only NAME]

Each shape goes to a fresh process of each server, both in the same run. What is told is the growth of the resident memory
for each key, after MEMORY PURGE.
"""

import argparse
import random

from servers import Server, command


def key(number, length):
    return b"key:" + str(number).zfill(length - 4).encode()


def text(length):
    return b"v" * length


def strings(key_length, value_length, expires=False):
    def make(keys):
        tail = ("ex", 3_000_000) if expires else ()
        for number in range(keys):
            yield command("set", key(number, key_length), text(value_length), *tail)

    return make


def churn(keys):
    """Values of 1 to 60 bytes, overwritten five times, then half of the keys is deleted."""
    generator = random.Random(7)
    keys //= 2
    for _ in range(6):
        for number in range(keys):
            yield command("set", key(number, 16), text(generator.randint(1, 60)))
    for number in range(0, keys, 2):
        yield command("del", key(number, 16))


def collections(name, size, element):
    def make(keys):
        for number in range(max(keys // size, 1)):
            words = [word for index in range(size) for word in element(index)]
            for first in range(0, len(words), 512):
                yield command(name, key(number, 16), *words[first : first + 512])

    return make


def hashes(size):
    return collections("hset", size, lambda index: (b"field:%04d" % index, b"value:%06d" % index))


def sorted_sets(size):
    return collections("zadd", size, lambda index: (index * 7 % size, b"member:%04d" % index))


def lists(size):
    return collections("rpush", size, lambda index: (b"item:%08d" % index,))


def sets(size):
    return collections("sadd", size, lambda index: (b"member:%04d" % index,))


def integers(size):
    return collections("sadd", size, lambda index: (index * 37,))


# Name, commands, keys that are left of so many that were asked for.
SHAPES = [
    ("key 12, value 64", strings(12, 64), lambda keys: keys),
    ("key 16, value 64", strings(16, 64), lambda keys: keys),
    ("key 16, value 3", strings(16, 3), lambda keys: keys),
    ("key 40, value 200", strings(40, 200), lambda keys: keys),
    ("key 16, value 3, expiring", strings(16, 3, True), lambda keys: keys),
    ("key 12, value 64, expiring", strings(12, 64, True), lambda keys: keys),
    ("after churn, half deleted", churn, lambda keys: keys // 4),
]
for size in (10, 100, 1000):
    SHAPES.append((f"hash of {size}", hashes(size), lambda keys, size=size: keys // size))
for size in (10, 100, 1000):
    SHAPES.append((f"sorted set of {size}", sorted_sets(size), lambda keys, size=size: keys // size))
for size in (10, 1000):
    SHAPES.append((f"list of {size}", lists(size), lambda keys, size=size: keys // size))
for size in (10, 200):
    SHAPES.append((f"set of {size} integers", integers(size), lambda keys, size=size: keys // size))
for size in (10, 100):
    SHAPES.append((f"set of {size} strings", sets(size), lambda keys, size=size: keys // size))


def growth(server, commands, keys):
    with server as running:
        before = running.resident()
        batch = []
        for one in commands:
            batch.append(one)
            if len(batch) == 20_000:
                running.client.pipeline(batch)
                batch = []
        running.client.pipeline(batch)
        return (running.resident() - before) / keys, before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("node")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, default=35100)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    print("| shape | tercet, B/key | redis, B/key | ratio |\n|---|---|---|---|")
    rest = (0, 0)
    for name, make, left in SHAPES:
        if arguments.only not in name:
            continue
        keys = left(arguments.keys)
        ours, our_rest = growth(Server("tercet", arguments.port, arguments.node), make(arguments.keys), keys)
        theirs, their_rest = growth(Server("redis", arguments.port + 50), make(arguments.keys), keys)
        rest = (our_rest, their_rest)
        print(f"| {name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |", flush=True)
    print(f"| at rest, MB | {rest[0] / 1e6:.1f} | {rest[1] / 1e6:.1f} | {rest[0] / max(rest[1], 1):.2f} |")


if __name__ == "__main__":
    main()
