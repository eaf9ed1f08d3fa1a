"""Keyspace notifications of random commands: the node publishes what Redis publishes, in the same order.

Runs under pytest, or by itself as `test_against_redis.py` does.
"""

import argparse
import os
import random
import re

from test_against_redis import DIFFERENT_IN_7_0, Client, Difference, Error, Generator, address, servers

COMMANDS = 6_000

# Which member goes is chance; SCAN and its like meet expired keys at times of their own.
LEFT_OUT = re.compile(r"^(SPOP|SRANDMEMBER|HRANDFIELD|ZRANDMEMBER|RANDOMKEY|\w*SCAN|KEYS|DBSIZE|FLUSHALL|SELECT|SWAPDB|OBJECT) ?", re.I)
# Ranges of members are defined where all scores are equal.
LEX = re.compile(r"LEX", re.I)
# Redis 7.0 makes consumers later than 7.2 does.
CONSUMERS = re.compile(r"^(XCLAIM|XAUTOCLAIM|XREADGROUP)", re.I)
# Redis looks the keys of XREAD up twice, and so tells of a miss twice; the node once. Of LCS it does not tell the second.
MISSES = re.compile(r"^(XREAD|LCS) ", re.I)
# Times that pass during the test are met by either server when it comes to them.
TIMES = re.compile(r"EXPIRE|\b(EX|PX|EXAT|PXAT)\b|SETEX", re.I)


class Listener:
    """One server: a client that asks, and one that is told."""

    def __init__(self, server, classes):
        self.client, self.subscriber = Client(server, 2), Client(server, 2)
        reply = self.client("CONFIG", "SET", "notify-keyspace-events", classes)
        assert not isinstance(reply, Error), reply
        self.subscriber("PSUBSCRIBE", "__key*__:*")
        self.subscriber("SUBSCRIBE", "end")

    def __call__(self, *command):
        """The reply, and what was published."""
        reply, events = self.client(*command), []
        self.client("PUBLISH", "end", "")
        while True:
            message = self.subscriber.reply()
            if message[0] == "message":
                return reply, events
            events.append(tuple(message[2:]))


def compare(ours, reference, seed, commands, classes, only=""):
    print(f"seed {seed}, notify-keyspace-events {classes}: {commands} commands")
    generator = Generator(seed, only)
    listeners = [Listener(server, classes) for server in (ours, reference)]
    is_7_0 = "redis_version:7.0" in listeners[1].client("INFO", "server")
    log = []
    for listener in listeners:
        listener("FLUSHALL")
    seen = set()
    for _ in range(commands):
        command = generator.next()
        text = " ".join(command)
        if LEFT_OUT.search(text) or TIMES.search(text) or LEX.search(text):
            continue
        if is_7_0 and (DIFFERENT_IN_7_0.search(text) or CONSUMERS.search(text)):
            continue
        if "m" in classes and MISSES.search(text):
            continue
        log.append(command)
        (_, our_events), (_, their_events) = [listener(*command) for listener in listeners]
        seen.update(event[0].split(":", 1)[1] for event in their_events if event[0].startswith("__keyevent"))
        if text.upper().startswith("SORT"):
            # Keys that BY and GET miss are looked for in an order of their own.
            our_events, their_events = sorted(our_events), sorted(their_events)
        if our_events != their_events:
            tail = "\n".join("  " + repr(line) for line in log[-8:])
            raise Difference(f"seed {seed}: {command!r}\nours:      {our_events}\nreference: {their_events}\n{tail}")
    for listener in listeners:
        listener.client("CONFIG", "SET", "notify-keyspace-events", "")
    return seen


def test_random_commands_raise_the_events_that_redis_raises():
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    with servers(address(os.environ.get("TERCET_OURS")), address(os.environ.get("TERCET_REFERENCE"))) as both:
        seen = compare(*both, seed, COMMANDS, "KEA")
        compare(*both, seed + 1, COMMANDS // 4, "Enm")
    assert len(seen) > 15, f"only {sorted(seen)} were seen"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours")
    parser.add_argument("--reference")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--commands", type=int, default=COMMANDS)
    parser.add_argument("--classes", default="KEA")
    parser.add_argument("--only", default="", help="a regular expression that chooses among the shapes")
    options = parser.parse_args()
    with servers(address(options.ours), address(options.reference)) as both:
        print(sorted(compare(*both, options.seed, options.commands, options.classes, options.only)))


if __name__ == "__main__":
    main()
