"""Hashes: HKEYS, HGET and HGETALL."""

import redis

server = redis.Redis(host="server1", password="hUN7e4_1")
for answer in (server.hkeys("vip_user"), server.hget("vip_user", "1001"), server.hgetall("vip_user")):
    print(answer)
