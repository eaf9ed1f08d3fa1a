"""redis-py: its Lock, and its client-side cache over RESP3."""

import threading
import time

import redis
from redis.cache import CacheConfig

from common import fresh, master, patient_master, summary, through_failovers

INVALIDATIONS = 500
WRITERS = 4
TURNS = 25


def locks_exclude_each_other():
    name, counter = fresh("lock"), fresh("counter")
    client = master()

    def work():
        own = patient_master()
        for _ in range(TURNS):
            with own.lock(name, timeout=20, blocking_timeout=60, sleep=0.005):
                # Read and written apart: an overlap would lose an increment.
                own.set(counter, int(own.get(counter) or 0) + 1)

    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert client.get(counter) == str(WRITERS * TURNS), client.get(counter)

    lock = client.lock(name, timeout=1)
    assert lock.acquire(blocking=False)
    assert not client.lock(name, timeout=1).acquire(blocking=False)
    assert lock.extend(5) and 5 < client.ttl(name) <= 6, client.ttl(name)
    assert lock.reacquire() and client.pttl(name) <= 1000
    assert lock.owned()
    lock.release()
    assert not lock.locked()
    lock = client.lock(name, timeout=0.05)
    lock.acquire()
    time.sleep(0.1)
    try:
        lock.release()
        raise AssertionError("a lock that has expired was released")
    except redis.exceptions.LockNotOwnedError:
        pass


def a_cache_never_shows_what_was_overwritten():
    """As soon as a writer has its reply, every reader with a cache sees the new value."""
    host, port = master().connection_pool.get_master_address()
    reader = redis.Redis(host, port, protocol=3, cache_config=CacheConfig(max_size=100), decode_responses=True)
    writer = redis.Redis(host, port, decode_responses=True)
    cache, key = reader.get_cache(), fresh("cached")
    writer.set(key, "first")
    assert reader.get(key) == "first" and cache.size == 1
    before = writer.info("commandstats")["cmdstat_get"]["calls"]
    assert [reader.get(key) for _ in range(50)] == ["first"] * 50
    assert writer.info("commandstats")["cmdstat_get"]["calls"] == before, "a cached key was asked for again"
    stale = 0
    for number in range(INVALIDATIONS):
        writer.set(key, number)
        stale += reader.get(key) != str(number)
    assert stale == 0, f"{stale} of {INVALIDATIONS} values were read after they had been overwritten"
    for change in (lambda: writer.delete(key), lambda: writer.rename(fresh_copy(writer), key), lambda: writer.pexpire(key, 1), writer.flushdb):
        writer.set(key, "there")
        assert reader.get(key) == "there"
        change()
        time.sleep(0.05)
        assert reader.get(key) == writer.get(key) != "there"
    reader.close()


def fresh_copy(client):
    name = fresh("copy")
    client.set(name, "copied")
    return name


client = master()
locks_exclude_each_other()
a_cache_never_shows_what_was_overwritten()
print("basics hold")
prefix = fresh("redis-py")
confirmed, reconnects = through_failovers(lambda number: client.set(f"{prefix}:{number}", number), redis.RedisError)
client = patient_master()
lost = sum(client.get(f"{prefix}:{number}") != str(number) for number in range(confirmed))
summary(confirmed, lost, reconnects)
