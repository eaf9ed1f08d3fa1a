"""Lists: LLEN, RPOP until nothing is left, LRANGE."""

import redis

NAME = "list_redis_demo"
server = redis.Redis(host="server1", password="hUN7e4_1")
print(server.llen(NAME))
while server.rpop(NAME):
    pass
print("发送完毕")
print(server.lrange(NAME, 0, -1))
