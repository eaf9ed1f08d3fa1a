"""Strings: SET NX, APPEND, GET, INCR and DECR."""

import redis

server = redis.Redis(host="server1", password="hUN7e4_1")
server.set("key", "value3", nx=True)
server.append("key", "value4")
text = server.get("key")
server.set("key2", "100")
for change in (server.incr, server.decr):
    print(change("key2"))
print(text.decode())
