"""KEYS, as a list and one by one."""

import redis

server = redis.Redis(host="server1", password="hUN7e4_1")
names = server.keys()
print(names)
for name in names:
    print(name.decode())
