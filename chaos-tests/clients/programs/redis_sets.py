"""Sets: SADD, and SINTER, SUNION and SDIFF of keys that are not there."""

import redis

server = redis.Redis(host="server1", password="hUN7e4_1")
print(server.sadd("redis_set_demo", "new_data"))
for combine in (server.sinter, server.sunion, server.sdiff):
    combine("set_a", "set_b")
