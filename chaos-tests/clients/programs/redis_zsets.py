"""Sorted sets: ZRANGEBYSCORE, ZCARD, ZRANGE and ZREVRANGE with scores."""

import redis

server = redis.Redis(host="server1", password="hUN7e4_1")
print(server.zrangebyscore("rank", 1, 5))
print(server.zcard("rank"))
for best in (server.zrange, server.zrevrange):
    print(best("rank", 0, 2, withscores=True))
