#!/usr/bin/env python3
"""Hit ratios of our eviction policies beside those of redis-server, on the same traces.

    hit_ratio.py NODE [--keys 400000] [--requests 2000000] [--port 35200]

A cache in front of something slow: what is not there is set. A tenth of the keys fits. Traces: a Zipf distribution of 0.99,
the same with a scan of keys that come once for a quarter of the requests, and the same whose popular keys change four times.
"""

import argparse
import itertools
import random

from servers import Server, command

# So long that what is there besides the keys does not matter.
VALUE = b"v" * 500
POLICIES = ["allkeys-random", "allkeys-lru", "allkeys-lfu", "allkeys-s3fifo"]


def zipf(keys, requests, generator):
    weights = list(itertools.accumulate(1 / rank**0.99 for rank in range(1, keys + 1)))
    names = list(range(keys))
    generator.shuffle(names)
    return generator.choices(names, cum_weights=weights, k=requests)


def scanned(trace, keys):
    """Three requests of the trace, then one of a key that never comes again, in runs of 1000."""
    scan = itertools.count(keys)
    for first in range(0, len(trace) * 3 // 4, 3000):
        yield from trace[first : first + 3000]
        yield from itertools.islice(scan, 1000)


def shifted(trace, keys):
    part = len(trace) // 5
    for index, name in enumerate(trace):
        yield (name + index // part * (keys // 5)) % keys


def key(name):
    return b"key:%012d" % name


def fill(client, keys):
    client.pipeline([command("set", key(name), VALUE) for name in range(keys)])
    return int(client.info("memory", "used_memory"))


def replay(client, trace):
    """The part of the requests that hit, without the first fifth."""
    hits = counted = 0
    start = len(trace) // 5
    gets, sets = {}, {}
    for first in range(0, len(trace), 100):
        names = trace[first : first + 100]
        for name in names:
            if name not in gets:
                gets[name], sets[name] = command("get", key(name)), command("set", key(name), VALUE)
        client.socket.sendall(b"".join(gets[name] for name in names))
        missed = []
        for name in names:
            if client.lines(1)[0] == b"$-1":
                missed.append(name)
            else:
                client.lines(1)
        client.pipeline([sets[name] for name in missed])
        if first >= start:
            hits += len(names) - len(missed)
            counted += len(names)
    return hits / counted * 100


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("node")
    parser.add_argument("--keys", type=int, default=400_000)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--port", type=int, default=35200)
    arguments = parser.parse_args()
    generator = random.Random(1)
    trace = zipf(arguments.keys, arguments.requests, generator)
    traces = [
        ("Zipf 0.99", trace),
        ("with scans", list(scanned(trace, arguments.keys))),
        ("shifting", list(shifted(trace, arguments.keys))),
    ]
    print("| policy | " + " | ".join(f"{name}: tercet | redis" for name, _ in traces) + " |")
    print("|---" * (1 + 2 * len(traces)) + "|")
    for policy in POLICIES:
        cells = []
        for _, trace in traces:
            servers = [Server("tercet", arguments.port, arguments.node)]
            if policy != "allkeys-s3fifo":
                servers.append(Server("redis", arguments.port + 50))
            for server in servers:
                with server as running:
                    limit = fill(running.client, arguments.keys // 10)
                    running.client.ask("flushall")
                    running.client.ask("config", "set", "maxmemory-policy", policy)
                    running.client.ask("config", "set", "maxmemory", limit)
                    cells.append(f"{replay(running.client, trace):.2f}")
            cells += [""] * (2 - len(servers))
        print(f"| {policy} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
