"""django-redis: Django's cache, through the sentinels."""

import django
import redis
from django.conf import settings

from common import SENTINELS, SERVICE, at_last, fresh, summary, through_failovers

settings.configure(
    DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            # A list, so that nothing is read from replicas, which may not have what was just written.
            "LOCATION": [f"redis://{SERVICE}/0?is_master=1"],
            "KEY_PREFIX": fresh("django").replace(":", "-"),
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "SENTINELS": SENTINELS,
                "SENTINEL_KWARGS": {"socket_timeout": 1},
                "CONNECTION_POOL_KWARGS": {"socket_timeout": 2},
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            },
        }
    },
)
django.setup()
from django.core.cache import cache  # noqa: E402 - the settings come first
from django_redis.exceptions import ConnectionInterrupted  # noqa: E402


def basics():
    cache.set("a", {"b": [1, 2.5, None]}, timeout=60)
    assert cache.get("a") == {"b": [1, 2.5, None]}
    assert 0 < cache.ttl("a") <= 60
    assert cache.add("a", 1) is False and cache.add("once", 1) is True
    cache.set("n", 5)
    assert cache.incr("n", 7) == 12 and cache.decr("n") == 11
    assert cache.get_or_set("made", lambda: "value") == "value"
    cache.set_many({"one": 1, "two": 2, "three": 3})
    assert cache.get_many(["one", "two", "none"]) == {"one": 1, "two": 2}
    assert cache.touch("one", 100) and cache.expire("two", 100) and cache.persist("two") and cache.ttl("two") is None
    assert sorted(cache.keys("t*")) == ["three", "two"]
    assert sorted(cache.iter_keys("t*")) == ["three", "two"]
    cache.set("n", 1, version=2)
    assert cache.get("n", version=2) == 1 and cache.incr_version("n") == 2
    with cache.lock("lock", timeout=10):
        assert not cache.lock("lock").acquire(blocking=False)
    assert cache.delete_pattern("t*") == 2
    assert cache.delete("one") and not cache.has_key("one")
    cache.clear()
    assert cache.get("a") is None
    print("basics hold")


basics()
FAULTS = (ConnectionInterrupted, redis.RedisError)
confirmed, reconnects = through_failovers(lambda number: cache.set(f"load:{number}", number, timeout=None), FAULTS)
read = [at_last(lambda: cache.get(f"load:{number}"), FAULTS) for number in range(confirmed)]
summary(confirmed, sum(value != number for number, value in enumerate(read)), reconnects)
