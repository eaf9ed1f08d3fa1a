#!/usr/bin/env python3
"""How fast an import is: import_pace.py [KEYS]. A redis-server with so many keys of all types is copied to a node of ours, and the
DUMP of every key compared. TERCET_NODE_BINARY names a release build."""

import random
import re
import subprocess
import sys
import tempfile
import time

import redis

from cluster import NODE_PORTS, binary, free_block, wait_for

BATCH = 2000


def fill(client, keys):
    dice = random.Random(3)
    for first in range(0, keys, BATCH):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + BATCH, keys)):
                key = f"key:{number:012}"
                match number % 8:
                    case 0 | 1 | 2:
                        pipe.set(key, "x" * dice.choice([3, 64, 200]))
                    case 3:
                        pipe.rpush(key, *[str(dice.randrange(1000)) for _ in range(10)])
                    case 4:
                        pipe.sadd(key, *[f"member{dice.randrange(1000)}" for _ in range(10)])
                    case 5:
                        pipe.hset(key, mapping={f"field{n}": "value" for n in range(10)})
                    case 6:
                        pipe.zadd(key, {f"member{n}": dice.random() for n in range(10)})
                    case 7:
                        for n in range(3):
                            pipe.xadd(key, {"a": n}, id=f"{n + 1}-1")
                if number % 16 == 0:
                    pipe.expire(key, 100_000)
            # Some beyond every threshold.
            pipe.hset(f"large:{first}", mapping={f"f{n}": "x" * 30 for n in range(700)})
            pipe.zadd(f"sorted:{first}", {f"m{n}": n for n in range(700)})
            pipe.execute()


def differences(theirs, ours):
    """Keys whose DUMP is another one, by type; and of those, how many are equal once Redis has restored ours."""
    other, unequal, all_keys = {}, [], 0
    cursor = None
    while cursor != 0:
        cursor, keys = theirs.scan(cursor or 0, count=BATCH)
        dumps = []
        for client in (theirs, ours):
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.dump(key)
                dumps.append(pipe.execute())
        all_keys += len(keys)
        for key, expected, found in zip(keys, *dumps):
            if expected == found:
                continue
            kind = theirs.type(key).decode()
            other[kind] = other.get(kind, 0) + 1
            theirs.execute_command("SELECT", 9)
            theirs.restore("ours", 0, found, replace=True)
            theirs.restore("theirs", 0, expected, replace=True)
            digests = [theirs.execute_command("DEBUG", "DIGEST-VALUE", name)[0] for name in ("ours", "theirs")]
            theirs.execute_command("SELECT", 0)
            if digests[0] != digests[1]:
                unequal.append(key)
    return all_keys, other, unequal


def main():
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        port, first = free_block(1), free_block(len(NODE_PORTS))
        flags = [f"--{name}-port={first + index}" for index, name in enumerate(NODE_PORTS)]
        source = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--dir", folder, "--enable-debug-command", "yes"], stdout=subprocess.DEVNULL)
        node = subprocess.Popen([binary("tercet-node"), "--data", f"{folder}/data", *flags], stdout=subprocess.DEVNULL)
        try:
            theirs, ours = redis.Redis(port=port, single_connection_client=True), redis.Redis(port=first)
            wait_for(theirs.ping, 20, "redis-server answers")
            wait_for(ours.ping, 20, "the node answers")
            fill(theirs, keys)
            began = time.monotonic()
            done = subprocess.run([binary("tercet-node"), "import", "--from", f"redis://127.0.0.1:{port}", *flags], capture_output=True, text=True)
            took = time.monotonic() - began
            print(done.stdout.strip(), done.stderr.strip())
            assert done.returncode == 0
            copied = int(re.search(r"(\d+) keys", done.stdout)[1])
            assert copied == theirs.dbsize() == ours.dbsize()
            print(f"{copied / took:.0f} keys/s, the start of the program included")
            compared, other, unequal = differences(theirs, ours)
            print(f"{compared} keys compared; DUMP of other bytes: {other or 'none'}; unequal once restored: {len(unequal)} {unequal[:5]}")
        finally:
            for process in (source, node):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
