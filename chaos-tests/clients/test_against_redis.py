"""Random commands to a node and to Redis: every reply, every error text and the state behind them must agree.

Runs under pytest, or by itself against servers that are there:

    python3 test_against_redis.py --ours 127.0.0.1:6379 --reference 127.0.0.1:6380 --seed 1 --commands 20000

The reference is TERCET_REFERENCE=host:port, or an installed redis-server. Redis 7.2 is what the node promises; what 7.0
answers in another way is listed in `DIFFERENT_IN_7_0`. Both servers lose all their data.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time

COMMANDS = 20_000
CHECK_EVERY = 500
SECONDS_TO_START = 20
SECONDS_TO_EXPIRE = 10

# One line a shape. UPPER: the word itself; a|b: either; name+: one to three; [..]: half of the time; the rest: `Arguments`.
SHAPES = """
SET key value [NX|XX] [GET]
SET key value [EX|PX|EXAT|PXAT seconds]
SET key integer
SETNX key value
SETEX key seconds value
PSETEX key seconds value
GETSET key value
GETDEL key
GETEX key [PERSIST]
GET key
STRLEN key
GETRANGE key index index
SETRANGE key count value
APPEND key value
INCR|DECR key
INCRBY|DECRBY key integer
INCRBYFLOAT key float
MGET key+
MSET key value key value
MSETNX key value key value
LPUSH|RPUSH|LPUSHX|RPUSHX key value+
LPUSH|RPUSH key value+
LPOP|RPOP key [count]
LLEN key
LINDEX key index
LSET key index value
LINSERT key BEFORE|AFTER value value
LRANGE key index index
LREM key index value
LTRIM key index index
LPOS key value [RANK index] [COUNT count] [MAXLEN count]
LMOVE key key LEFT|RIGHT LEFT|RIGHT
RPOPLPUSH key key
LMPOP keys LEFT|RIGHT [COUNT count]
HSET|HMSET key field value
HSET|HMSET key field value field value
HSETNX key field value
HGET|HEXISTS|HSTRLEN key field
HMGET|HDEL key field+
HGETALL|HKEYS|HVALS|HLEN key
HSET key field integer
HINCRBY key field integer
HINCRBYFLOAT key field float
HRANDFIELD key [index] [WITHVALUES]
HSCAN key 0 [MATCH pattern] [COUNT count]
SADD key member+
SADD key member+
SREM key member+
SCARD|SMEMBERS key
SISMEMBER key member
SMISMEMBER key member+
SPOP key [count]
SRANDMEMBER key [index]
SMOVE key key member
SINTER|SUNION|SDIFF key+
SINTERSTORE|SUNIONSTORE|SDIFFSTORE key key+
SINTERCARD keys [LIMIT count]
SSCAN key 0 [MATCH pattern] [COUNT count]
ZADD key [NX|XX] [GT|LT] [CH] score member
ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member score member
ZADD key score member score member
ZADD key 0 member 0 member 0 member
ZINCRBY key score member
ZREM key member+
ZSCORE key member
ZMSCORE key member+
ZCARD key
ZCOUNT key bound bound
ZLEXCOUNT key lex lex
ZRANK|ZREVRANK key member [WITHSCORE]
ZRANGE key index index [REV] [WITHSCORES]
ZRANGE key bound bound BYSCORE [REV] [LIMIT index index] [WITHSCORES]
ZRANGE key lex lex BYLEX [REV] [LIMIT index index]
ZREVRANGE key index index [WITHSCORES]
ZRANGEBYSCORE|ZREVRANGEBYSCORE key bound bound [WITHSCORES] [LIMIT index index]
ZRANGEBYLEX|ZREVRANGEBYLEX key lex lex [LIMIT index index]
ZRANGESTORE key key index index [REV]
ZRANGESTORE key key bound bound BYSCORE [REV] [LIMIT index index]
ZREMRANGEBYRANK key index index
ZREMRANGEBYSCORE key bound bound
ZREMRANGEBYLEX key lex lex
ZPOPMIN|ZPOPMAX key [count]
ZMPOP keys MIN|MAX [COUNT count]
ZRANDMEMBER key [index] [WITHSCORES]
ZUNION|ZINTER keys [weights] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
ZDIFF keys [WITHSCORES]
ZUNIONSTORE|ZINTERSTORE key keys [weights] [AGGREGATE SUM|MIN|MAX]
ZDIFFSTORE key keys
ZINTERCARD keys [LIMIT count]
ZSCAN key 0 [MATCH pattern] [COUNT count]
DEL|UNLINK|EXISTS|TOUCH key+
TYPE key
KEYS pattern
SCAN 0 [MATCH pattern] [COUNT count] [TYPE type]
RANDOMKEY
RENAME|RENAMENX key key
COPY key key [DB database] [REPLACE]
MOVE key database
EXPIRE|PEXPIRE key seconds [NX|XX] [GT|LT]
EXPIREAT|PEXPIREAT key time [NX|XX|GT|LT]
TTL|PTTL|EXPIRETIME|PEXPIRETIME|PERSIST key
OBJECT ENCODING|REFCOUNT key
DBSIZE
SWAPDB database database
SORT|SORT_RO key [LIMIT index count] [ASC|DESC] [ALPHA]
SORT key [BY by] [LIMIT index count] [GET get] [GET get] [ASC|DESC] [ALPHA] [STORE key]
SORT_RO key BY by GET get
SETBIT key offset bit
GETBIT key offset
BITCOUNT key
BITCOUNT key index index [BYTE|BIT]
BITPOS key bit [index]
BITPOS key bit index index [BYTE|BIT]
BITOP AND|OR|XOR key key+
BITOP NOT key key
BITFIELD key [OVERFLOW WRAP|SAT|FAIL] SET|INCRBY width offset integer [GET width offset]
BITFIELD key GET width #1 [OVERFLOW WRAP|SAT|FAIL] INCRBY width #0 integer
BITFIELD_RO key GET width offset
LCS key key [LEN]
LCS key key IDX [MINMATCHLEN count] [WITHMATCHLEN]
PFADD key member+
PFADD key member+
PFCOUNT key+
PFMERGE key key+
GEOADD key [NX|XX] [CH] longitude latitude member
GEOADD key longitude latitude member longitude latitude member
GEODIST key member member [unit]
GEOPOS|GEOHASH key member+
GEOSEARCH key FROMLONLAT longitude latitude BYRADIUS radius unit ASC|DESC [COUNT count] [WITHCOORD] [WITHDIST] [WITHHASH]
GEOSEARCH key FROMMEMBER member BYBOX radius radius unit ASC|DESC [COUNT count] [WITHDIST]
GEORADIUS key longitude latitude radius unit [WITHDIST] [COUNT count] ASC|DESC
GEORADIUSBYMEMBER key member radius unit [WITHCOORD] [WITHHASH] ASC|DESC [STORE|STOREDIST key]
GEOSEARCHSTORE key key FROMLONLAT longitude latitude BYRADIUS radius unit [STOREDIST]
XADD key id field value
XADD key id field value field value
XADD key [NOMKSTREAM] [MAXLEN count] id field value
XADD key MINID id id field value
XLEN key
XRANGE|XREVRANGE key end end [COUNT count]
XDEL key id+
XTRIM key MAXLEN|MINID [=] count
XREAD [COUNT count] STREAMS key key id id
XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD count]
XGROUP SETID key group id|$
XGROUP DESTROY key group
XGROUP CREATECONSUMER|DELCONSUMER key group consumer
XREADGROUP GROUP group consumer [COUNT count] [NOACK] STREAMS key >|id
XREADGROUP GROUP group consumer STREAMS key >
XACK key group id+
XPENDING key group
XCLAIM key group consumer 0 id+ [JUSTID] [FORCE]
XAUTOCLAIM key group consumer 0 id [COUNT count] [JUSTID]
XINFO GROUPS key
XSETID key id
TYPE key
EVAL script 2 key key value integer
EVAL_RO script 1 key value
"""

SCRIPTS = [
    "return redis.call('INCRBY', KEYS[1], ARGV[2])",
    "return {redis.call('TYPE', KEYS[1]), redis.call('EXISTS', KEYS[1])}",
    "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)",
    "return redis.pcall('GET', KEYS[1])",
    "return {1, 2.7, 'three', false, true, {ok = 'four'}, {err = 'ERR five'}, nil, 6}",
    "redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('STRLEN', KEYS[1]), #ARGV, #KEYS}",
    "return redis.call('NOSUCH')",
    "return tostring(ARGV[1]) .. cjson.encode({a = {1, 2}, b = ARGV[1]})",
    "return redis.error_reply('MINE of my own')",
    "return {cmsgpack.unpack(cmsgpack.pack(ARGV[1]))}",
    "redis.setresp(3) return redis.call('HGETALL', KEYS[1])",
    "error('thrown')",
]

JUNK = ["", "abc", "-1", "0", "1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1.5", "nan",
        "inf", "-inf", "1e400", " 1", "1 ", "+1", "01", "0x10", "(", "(1", "[", "[a", "+", "-", "LIMIT", "WITHSCORES",
        "COUNT", "*", "\r\n", "a\x00b"]

# Shapes of commands and options that Redis 7.0 does not know, or answers with another text.
DIFFERENT_IN_7_0 = re.compile(r"^(ZRANK|ZREVRANK) .* |^OBJECT ENCODING|^HINCRBYFLOAT|^SPOP|^SORT|^COPY|^RESTORE|^XCLAIM|^XAUTOCLAIM", re.I | re.S)


class Error(str):
    """An error reply."""


class Status(str):
    """A simple string."""


class Tagged(tuple):
    """A set or map of RESP3, with its tag in front."""


class Client:
    """As little as shows every byte that matters."""

    def __init__(self, address, protocol):
        self.connection = socket.create_connection(address, timeout=20)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.connection.makefile("rb")
        if protocol == 3:
            self("HELLO", "3")

    def __call__(self, *args):
        parts = [a if isinstance(a, bytes) else str(a).encode("latin-1") for a in args]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        self.connection.sendall(request)
        return self.reply()

    def reply(self):
        line = self.input.readline()
        assert line.endswith(b"\r\n"), f"the connection was closed: {line!r}"
        kind, text = line[:1], line[1:-2].decode("latin-1")
        match kind:
            case b"+":
                return Status(text)
            case b"-":
                return Error(text)
            case b":":
                return int(text)
            case b"$":
                return None if text == "-1" else self.input.read(int(text) + 2)[:-2].decode("latin-1")
            case b"*":
                return "null array" if text == "-1" else [self.reply() for _ in range(int(text))]
            case b"~":
                return Tagged(["set"] + [self.reply() for _ in range(int(text))])
            case b"%":
                return Tagged(["map"] + [self.reply() for _ in range(2 * int(text))])
            case b",":
                return Tagged(["double", text])
            case b"_":
                return Tagged(["null"])
            case b"#":
                return Tagged(["boolean", text])
        raise AssertionError(f"no reply begins with {line!r}")


class Arguments:
    """What the names in `SHAPES` stand for."""

    def __init__(self, dice):
        self.dice = dice
        self.many = 0
        self.now = int(time.time())

    def make(self, token):
        if token.endswith("+"):
            return [self.make(token[:-1])[0] for _ in range(self.dice.randint(1, 3))]
        word = self.dice.choice(token.split("|"))
        if word.upper() == word:
            return [word if self.dice.random() < 0.7 else word.lower()]
        made = getattr(self, word)()
        return made if isinstance(made, list) else [made]

    def key(self):
        return f"k{self.dice.randrange(8)}"

    def keys(self):
        self.many = self.dice.randint(1, 3)
        return [str(self.many)] + [self.key() for _ in range(self.many)]

    def weights(self):
        return ["WEIGHTS"] + [self.score() for _ in range(self.many)]

    def value(self):
        return self.dice.choice(["a", "b", "c", "10", "-7", "3.25", "", "x" * 70, "longer than what fits in place", "\x00\xff"])

    def member(self):
        return self.dice.choice(["a", "b", "c", "d", "e", "1", "2", "3", "aa", "x" * 70, f"m{self.dice.randrange(150)}"])

    def field(self):
        return self.dice.choice(["f", "g", "1", f"f{self.dice.randrange(40)}"])

    def integer(self):
        return str(self.dice.choice([0, 1, -1, 5, 100, -100, self.dice.randrange(-1000, 1000), 2**62, -(2**62)]))

    def float(self):
        return self.dice.choice(["0.1", "-0.1", "3.0e3", "5", "1e-10", "12345.678", "-7.25", "1e17", "0.30000000000000004"])

    def index(self):
        return str(self.dice.choice([0, 1, 2, 3, -1, -2, -3, 100, -100, self.dice.randrange(-10, 10)]))

    def count(self):
        return str(self.dice.choice([0, 1, 2, 3, 5, 100]))

    def score(self):
        return self.dice.choice(["0", "1", "2", "-1", "0.5", "1.5", "-2.5", "inf", "-inf", "1e3", "100000", "1e-7", "1e20"])

    def bound(self):
        return self.dice.choice(["", "("]) + self.score()

    def lex(self):
        return self.dice.choice(["-", "+", "[a", "(a", "[b", "(c", "[m5", "(m9", "["])

    def pattern(self):
        return self.dice.choice(["*", "k*", "k[0-3]", "?1", "[^a]", "m*1*", "f?", "a*", "*a*", "k\\1", "[a", "", "**", "[c-a]"])

    def type(self):
        return self.dice.choice(["string", "list", "hash", "set", "zset", "ZSET", "stream"])

    def database(self):
        return self.dice.choice(["0", "1", "0", "1", "2", "16", "-1"])

    def seconds(self):
        return self.dice.choice(["1000", "2000", "3000000", "0", "-1", "9223372036854775807"])

    def time(self):
        return str(self.dice.choice([self.now + 10_000, (self.now + 10_000) * 1000, self.now - 10, 1, 0, -5]))

    def offset(self):
        return str(self.dice.choice([0, 1, 7, 8, 31, 100, self.dice.randrange(600)]))

    def bit(self):
        return self.dice.choice("0110102" if self.dice.random() < 0.1 else "01")

    def width(self):
        return self.dice.choice("iu") + str(self.dice.choice([1, 2, 5, 8, 16, 31, 32, 63, 64]))

    def longitude(self):
        return self.dice.choice(["13.361389", "15.087269", "-122.27652", "0", "179.99", "-180", "181", "2.349014"])

    def latitude(self):
        return self.dice.choice(["38.115556", "37.502669", "37.805186", "0", "85", "-85.05", "86", "48.864716"])

    def radius(self):
        return self.dice.choice(["0", "1", "100", "200.5", "5000", "20000", "1e7"])

    def unit(self):
        return self.dice.choice(["m", "km", "mi", "ft", "KM"])

    def id(self):
        return self.dice.choice([f"{self.dice.randrange(1, 60)}-{self.dice.randrange(4)}", str(self.dice.randrange(1, 60)),
                                 f"{self.dice.randrange(1, 60)}-*", "0", "0-1", "0-0"])

    def end(self):
        return self.dice.choice(["-", "+", "(5-1", "(9", "18446744073709551615"]) if self.dice.random() < 0.6 else self.id()

    def group(self):
        return self.dice.choice(["g", "h"])

    def consumer(self):
        return self.dice.choice(["alice", "bob"])

    def script(self):
        return self.dice.choice(SCRIPTS)

    def by(self):
        return self.dice.choice(["nosort", "k*", "*", "h*->f", "k*->1"])

    def get(self):
        return self.dice.choice(["#", "k*", "k*->f"])


class Generator:
    def __init__(self, seed, only):
        self.dice = random.Random(seed)
        self.arguments = Arguments(self.dice)
        lines = [line for line in SHAPES.strip().splitlines() if re.match(only, line)]
        self.shapes = [re.findall(r"\[[^]]*\]|\S+", line) for line in lines]

    def next(self):
        command = []
        for token in self.dice.choice(self.shapes):
            optional = token.startswith("[")
            if optional and self.dice.random() < 0.5:
                continue
            for part in token.strip("[]").split():
                command += self.arguments.make(part)
        if self.dice.random() < 0.06:
            self.spoil(command)
        return command

    def spoil(self, command):
        place = self.dice.randrange(1, len(command) + 1)
        junk = self.dice.choice(JUNK)
        match self.dice.randrange(4):
            case 0:
                command.insert(place, junk)
            case 1:
                command.append(junk)
            case 2 if len(command) > 1:
                command.pop(place - 1 or 1)
            case _ if place < len(command):
                command[place] = junk


def pairs(items):
    return sorted((items[i : i + 2] for i in range(0, len(items), 2)), key=repr)


def scored(reply):
    """Members and scores, flat in RESP2 and in pairs in RESP3."""
    return reply if reply and isinstance(reply[0], list) else pairs(reply)


def comparable(command, reply):
    """The reply, without the order that no server promises."""
    name = command[0].upper()
    tag, items = (reply[:1], list(reply[1:])) if isinstance(reply, Tagged) else ((), reply)
    if not isinstance(items, list):
        return reply
    if name == "HGETALL":
        return tag, pairs(items)
    if name in ("SMEMBERS", "SINTER", "SUNION", "SDIFF", "KEYS", "HKEYS", "HVALS"):
        return tag, sorted(items, key=repr)
    return reply


def numbers(reply):
    """With scores as numbers: Redis does not always find their shortest text."""
    if isinstance(reply, (list, tuple)):
        return [numbers(item) for item in reply]
    if isinstance(reply, str) and not isinstance(reply, Error) and re.fullmatch(r"-?[\d.]+(e[-+]\d+)?", reply):
        with contextlib.suppress(ValueError):
            return float(reply)
    return reply


def shape(reply):
    if isinstance(reply, (list, Tagged)):
        return type(reply).__name__, [shape(item) for item in reply]
    return reply if isinstance(reply, Error) or reply is None else type(reply).__name__


def flat(reply):
    return [leaf for item in reply for leaf in flat(item)] if isinstance(reply, (list, Tagged)) else [reply]


class Difference(AssertionError):
    pass


class Comparison:
    def __init__(self, ours, reference, seed, protocol, only):
        self.ours, self.reference = Client(ours, protocol), Client(reference, protocol)
        info = Client(reference, 2)("INFO", "server")
        self.is_7_0 = "redis_version:7.0" in info
        self.generator = Generator(seed, only)
        self.seed, self.protocol = seed, protocol
        self.log = []
        self.skipped = 0

    def both(self, *command):
        self.log.append(command)
        return self.ours(*command), self.reference(*command)

    def fail(self, command, ours, reference):
        tail = "\n".join("  " + " ".join(repr(arg) for arg in line) for line in self.log[-12:])
        raise Difference(
            f"seed {self.seed}, RESP{self.protocol}, after {len(self.log)} commands: {command!r}\n"
            f"ours:      {ours!r}\nreference: {reference!r}\nthe last commands:\n{tail}"
        )

    def check(self, command, ours, reference):
        if self.is_7_0 and isinstance(ours, Error) and isinstance(reference, Error):
            # 7.2 says which command it is that lacks an id.
            ours, reference = (re.sub(r"^ERR Unbalanced.*", "ERR Unbalanced", text) for text in (ours, reference))
        if ours != reference and not (command[0].upper().startswith("Z") and numbers(ours) == numbers(reference)):
            self.fail(command, ours, reference)

    def run(self, commands):
        self.check(["FLUSHALL"], *self.both("FLUSHALL"))
        for number in range(commands):
            command = self.generator.next()
            if self.is_7_0 and DIFFERENT_IN_7_0.search(" ".join(command)):
                self.skipped += 1
                continue
            if self.generator.dice.random() < 0.01:
                self.transaction()
            self.step(command)
            if number % CHECK_EVERY == 0:
                self.check_state()
            if self.generator.dice.random() < 0.002:
                self.both("FLUSHALL")
        self.check_state()

    def step(self, command):
        name = command[0].upper() if command else ""
        if "LEX" in " ".join(command).upper() and not self.has_one_score(command[2 if name == "ZRANGESTORE" else 1 :]):
            return
        if name.startswith("SORT") and self.has_ties(command):
            return
        if name.endswith("SCAN") and all(w.upper() in ("MATCH", "COUNT", "TYPE") for w in command[3 if name != "SCAN" else 2 :: 2]):
            return self.scan(command, 1 if name == "SCAN" else 2)
        if name == "SPOP":
            return self.spop(command)
        if name in ("SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY"):
            return self.random(command)
        ours, reference = self.both(*command)
        if name == "OBJECT":
            # Redis remembers what a value once was: transcripts have the encodings of fresh ones.
            return self.check(command, shape(ours), shape(reference))
        if name == "DBSIZE":
            return self.dbsize(command)
        if name in ("TTL", "PTTL") and isinstance(ours, int) and isinstance(reference, int) and ours > 0 and reference > 0:
            tolerance = 2 if name == "TTL" else 2000
            return self.check(command, abs(ours - reference) <= tolerance, True)
        if name in ("EXPIRETIME", "PEXPIRETIME") and isinstance(ours, int) and isinstance(reference, int):
            tolerance = 2 if name == "EXPIRETIME" else 2000
            # Redis rounds the last possible moment up to a negative one.
            is_last = name == "EXPIRETIME" and reference < -2
            return is_last or abs(ours - reference) <= tolerance or self.fail(command, ours, reference)
        self.check(command, comparable(command, ours), comparable(command, reference))

    def has_one_score(self, keys):
        """A range by members is not defined, nor the same in all of Redis's encodings, where scores differ."""
        reply = self.reference("ZRANGE", keys[0], "0", "-1", "WITHSCORES") if keys else []
        return isinstance(reply, Error) or len({repr(score) for _, score in scored(reply)}) <= 1

    def has_ties(self, command):
        """Elements that nothing puts in order come in the order of a sort, or of a table, that nobody promises."""
        words = [word.upper() for word in command]
        pattern = command[words.index("BY") + 1] if "BY" in words[:-1] else None
        is_set = len(command) > 1 and self.reference("TYPE", command[1]) == "set"
        return pattern is not None and ("ALPHA" in words or is_set and "*" not in pattern)

    def dbsize(self, command):
        """Both count keys that have expired until they get round to deleting them."""
        deadline = time.monotonic() + SECONDS_TO_EXPIRE
        while True:
            ours, reference = self.both(*command)
            if ours == reference or time.monotonic() > deadline:
                return self.check(command, ours, reference)

    def transaction(self):
        """Several commands between MULTI and EXEC."""
        commands = [self.generator.next() for _ in range(self.generator.dice.randint(1, 6))]
        commands = [c for c in commands if not self.is_loose(c)]
        self.check(["MULTI"], *self.both("MULTI"))
        for command in commands:
            self.check(command, *self.both(*command))
        ours, reference = self.both("EXEC")
        if isinstance(ours, list) and isinstance(reference, list) and len(ours) == len(reference) == len(commands):
            for command, our, their in zip(commands, ours, reference):
                self.check(command, comparable(command, our), comparable(command, their))
        else:
            self.check(["EXEC"], ours, reference)

    def is_loose(self, command):
        """Whether the reply is compared in a way of its own, or the order of elements hangs on the server."""
        words = " ".join(command).upper()
        loose = r"SCAN|SPOP|RAND|TTL|EXPIRETIME|DBSIZE|OBJECT|SORT|LEX|SELECT|SWAPDB|MOVE"
        return re.search(loose, words) is not None or (self.is_7_0 and DIFFERENT_IN_7_0.search(" ".join(command)))

    def scan(self, command, at):
        """All pages of both: the same elements, each once."""
        found = []
        if command[at : at + 1] not in (["0"], []):
            # Each server has cursors of its own.
            ours, reference = self.both(*command)
            return self.check(command, isinstance(ours, Error) and ours, isinstance(reference, Error) and reference)
        self.log.append(tuple(command))
        for client in (self.ours, self.reference):
            items, cursor = [], command[at] if len(command) > at else "0"
            for _ in range(10_000):
                reply = client(*command[:at], cursor, *command[at + 1 :])
                if isinstance(reply, Error):
                    items = reply
                    break
                cursor = reply[0]
                items += pairs(reply[1]) if command[0].upper() in ("HSCAN", "ZSCAN") else reply[1]
                if cursor == "0":
                    break
            found.append(items if isinstance(items, Error) else sorted(items, key=repr))
        self.check(command, found[0], found[1])

    def spop(self, command):
        """What the node has popped at random must have been in the other set too."""
        self.log.append(tuple(command))
        ours = self.ours(*command)
        members = [m for m in flat(ours) if m not in ("set", "null", None)] if not isinstance(ours, Error) else []
        if not members:
            return self.check(command, ours, self.reference(*command))
        before = self.reference("SCARD", command[1])
        count = min(before, int(command[2])) if len(command) > 2 else 1
        removed = self.reference("SREM", command[1], *members)
        self.check(command, (len(members), removed), (count, count))

    def random(self, command):
        """The same number of elements in the same shape, all of them from the collection."""
        ours, reference = self.both(*command)
        self.check(command, shape(ours), shape(reference))
        if isinstance(ours, Error) or ours is None or len(command) == 1:
            return
        everything = {"S": ("SMEMBERS",), "H": ("HGETALL",), "Z": ("ZRANGE", "0", "-1", "WITHSCORES")}[command[0][0].upper()]
        known = numbers(flat(self.reference(everything[0], command[1], *everything[1:])))
        self.check(command, [leaf for leaf in numbers(flat(ours)) if leaf not in known + ["double", "null array", "null"]], [])
        if len(command) == 3 and isinstance(ours, list) and not command[2].startswith("-"):
            self.check(command, len(set(map(repr, ours))), len(ours))

    def check_state(self):
        """The whole content of both databases."""
        for database in ("0", "1"):
            self.both("SELECT", database)
            keys = comparable(["KEYS"], self.check_same("KEYS", "*"))[1]
            self.dbsize(["DBSIZE"])
            for key in keys:
                kind = self.check_same("TYPE", key)
                read = {
                    "string": ("GET",),
                    "list": ("LRANGE", "0", "-1"),
                    "hash": ("HGETALL",),
                    "set": ("SMEMBERS",),
                    "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
                    "stream": ("XRANGE", "-", "+"),
                }[kind]
                self.check_same(read[0], key, *read[1:])
                times = self.both("PEXPIRETIME", key)
                self.check(["PEXPIRETIME", key], abs(times[0] - times[1]) <= 2000, True)
        self.both("SELECT", "0")

    def check_same(self, *command):
        ours, reference = self.both(*command)
        self.check(list(command), comparable(command, ours), comparable(command, reference))
        return ours


@contextlib.contextmanager
def running(command, port, directory):
    """A server of our own, for as long as it is needed."""
    with open(pathlib.Path(directory) / f"{port}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while True:
                with contextlib.suppress(OSError, AssertionError):
                    if Client(("127.0.0.1", port), 2)("PING") == "PONG":
                        break
                assert process.poll() is None, f"{command[0]} has ended: {pathlib.Path(log.name).read_text()}"
                assert time.monotonic() < deadline, f"{command[0]} does not answer"
                time.sleep(0.02)
            yield "127.0.0.1", port
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def servers(ours, reference):
    """The addresses of both, started where none is given."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        if not ours:
            from cluster import NODE_PORTS, binary, free_block

            ports = dict(zip(NODE_PORTS, itertools.count(free_block(len(NODE_PORTS)))))
            flags = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
            ours = stack.enter_context(running([binary("tercet-node"), "--data", f"{directory}/data", *flags], ports["resp"], directory))
        if not reference:
            server = shutil.which("redis-server")
            assert server, "redis-server is not installed: make setup, or set TERCET_REFERENCE=host:port"
            from cluster import free_block

            port = free_block(1)
            flags = ["--port", str(port), "--save", "", "--appendonly", "no"]
            reference = stack.enter_context(running([server, *flags], port, directory))
        yield ours, reference


def address(text):
    return (text.rsplit(":", 1)[0], int(text.rsplit(":", 1)[1])) if text else None


def compare(ours, reference, seed, commands, protocol, only=""):
    print(f"seed {seed}, RESP{protocol}: {commands} commands")
    comparison = Comparison(ours, reference, seed, protocol, only)
    comparison.run(commands)
    print(f"  no difference; {comparison.skipped} skipped, for this reference is of 7.0")


def test_random_commands_are_answered_as_redis_answers_them():
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    with servers(address(os.environ.get("TERCET_OURS")), address(os.environ.get("TERCET_REFERENCE"))) as (ours, reference):
        for protocol in (2, 3):
            compare(ours, reference, seed, COMMANDS // 2, protocol)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours")
    parser.add_argument("--reference", default=os.environ.get("TERCET_REFERENCE"))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--commands", type=int, default=COMMANDS)
    parser.add_argument("--protocol", type=int, choices=(2, 3))
    parser.add_argument("--only", default="", help="a regular expression that chooses among the shapes")
    options = parser.parse_args()
    with servers(address(options.ours), address(options.reference)) as (ours, reference):
        for protocol in [options.protocol] if options.protocol else (2, 3):
            compare(ours, reference, options.seed, options.commands, protocol, options.only)


if __name__ == "__main__":
    main()
