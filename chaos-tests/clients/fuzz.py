"""Random input for every door of a cluster, drawn from a seed: a worker a door, each a process of its own.

A worker sends what it has drawn, waits for the answer, and takes down what came too late. An end of its connection is an
answer too: then it connects again. Whoever does not answer within LATE is at fault.
"""

import contextlib
import hmac
import importlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

import pika.frame
import pika.spec

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# No reply may take longer.
LATE = 2.0
MOST_REPORTED = 5

INTEGERS = [0, 1, 2, 3, -1, -2, 7, 10, 100, 1023, 4096, 65535, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64]
TEXTS = "0.5 -1.5 1e308 -1e308 inf -inf +inf nan 1e-320 0x10 (1 (inf [a [z + - * $ > 0-0 1-1 5-* 18446744073709551615-1 ? [0-9] a* \\ ".split() + ["", " ", "a", "b", "m1", "m2", "g1", "consumer", "mymaster"]
WORDS = (
    "EX PX EXAT PXAT NX XX GT LT CH INCR KEEPTTL GET LIMIT COUNT MATCH TYPE STORE STOREDIST WITHSCORES WITHVALUES WITHSCORE WITHCOORD "
    "WITHDIST WITHHASH BY ASC DESC ALPHA BYSCORE BYLEX REV WEIGHTS AGGREGATE SUM MIN MAX BEFORE AFTER LEFT RIGHT RANK MAXLEN MINID = ~ "
    "NOMKSTREAM STREAMS GROUP NOACK IDLE TIME RETRYCOUNT FORCE JUSTID LASTID FROMMEMBER FROMLONLAT BYRADIUS BYBOX km m AND OR XOR NOT "
    "u8 i16 u63 OVERFLOW WRAP SAT FAIL SET INCRBY REPLACE ABSTTL DB FREQ IDLETIME ASYNC SYNC SAMPLES ENTRIESREAD CREATE MKSTREAM DESTROY "
    "IDX LEN MINMATCHLEN WITHMATCHLEN PERSISTENT ID LEASE TTL HEADER QUEUE TEMPORARY direct fanout topic headers ACK REQUEUE"
).split()
KEYS = [f"k{n}" for n in range(12)]
SCRIPTS = [
    "return 1",
    "return redis.call('GET', KEYS[1])",
    "return redis.call(unpack(ARGV))",
    "local t = {} for i = 1, 1000 do t[i] = i end return t",
    "redis.call('SET', KEYS[1], ARGV[1]) return redis.pcall('LPUSH', KEYS[1], 'x')",
    "return {err = ARGV[1]}",
    "error(ARGV[1])",
    "return cjson.decode(ARGV[1])",
    "return cmsgpack.unpack(ARGV[1])",
    "return string.rep(ARGV[1], 1000)",
    "#!lua name=lib\nredis.register_function('f', function(keys, args) return redis.call('INCR', keys[1]) end)",
]

# What ends a node or shuts its clients out on purpose, or turns the connection into one without replies.
LEFT_OUT = set(
    "shutdown debug monitor subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe sync psync replconf failover migrate "
    "config|set config|rewrite acl|setuser acl|deluser acl|load acl|save client|pause client|reply client|kill auth module|load module|loadex "
    "tercet.carry backup multi exec discard "
    "sentinel|failover sentinel|remove sentinel|remove-sentinel sentinel|remove-node sentinel|recover sentinel|set sentinel|simulate-failure".split()
)
# These wait for as long as their client says.
WAITING = {"wait", "waitaof"}


class Fault(Exception):
    pass


class Faults:
    """What a worker found, the first of it in words."""

    def __init__(self):
        self.count, self.words = 0, []

    def add(self, what):
        self.count += 1
        if len(self.words) < MOST_REPORTED:
            self.words.append(what)


def work(draw, worker, seed, seconds, results, *where):
    """Runs `worker` with a generator of its own for so long, in a process of its own."""
    # The processes under test come first: it is their delays that are looked for, not those of a machine without a core.
    os.nice(10)
    faults, count = Faults(), 0
    # Of its seed and its name: another worker draws something else.
    draw = random.Random(f"{seed} {draw}")
    until = time.monotonic() + seconds
    try:
        with contextlib.closing(worker(draw, faults, *where)) as steps:
            for _ in steps:
                count += 1
                if time.monotonic() > until:
                    break
    except Exception as error:  # noqa: BLE001 - a worker that breaks is a failure of the test
        faults.add(f"the worker itself: {error!r}")
    results.put((worker.__name__, count, faults.count, faults.words))


# ---- RESP ----


class Resp:
    def __init__(self, port):
        self.port, self.socket, self.buffer = port, None, b""

    def connect(self):
        self.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=LATE)
        self.buffer = b""

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def more(self):
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("closed")
        self.buffer += chunk

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def bulk(self, length):
        while len(self.buffer) < length + 2:
            self.more()
        value, self.buffer = self.buffer[:length], self.buffer[length + 2 :]
        return value

    def reply(self):
        """The next reply; what is pushed in between is read over."""
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind in b"+-:,#(_":
            return line
        if kind in b"$=!":
            return None if rest == b"-1" else self.bulk(int(rest))
        if kind in b"*~>%|":
            count = int(rest) * (2 if kind in b"%|" else 1)
            elements = [self.reply() for _ in range(max(count, 0))]
            return self.reply() if kind in b">|" else elements
        raise Fault(f"not RESP: {line[:50]!r}")

    def command(self, *args):
        self.socket.sendall(encode(args))
        return self.reply()


def encode(args):
    words = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def table(connection):
    """Rows of COMMAND with their subcommands: words, arity, first and last key, and whether it may wait."""
    rows = []

    def add(entry, parents=()):
        name, arity, flags = entry[0].decode(), int(entry[1][1:]), {flag.lstrip(b"+") for flag in entry[2]}
        words = (*parents, name.split("|")[-1])
        subcommands = entry[9] if len(entry) > 9 else []
        for subcommand in subcommands:
            add(subcommand, words)
        if not subcommands and name not in LEFT_OUT and words[0] not in LEFT_OUT:
            first, last = int(entry[3][1:]), int(entry[4][1:])
            rows.append((words, arity, first, last, b"blocking" in flags or name in WAITING))

    for entry in connection.command("COMMAND"):
        add(entry)
    return rows


def argument(draw):
    kind = draw.random()
    if kind < 0.35:
        return draw.choice(KEYS)
    if kind < 0.55:
        return draw.choice(INTEGERS)
    if kind < 0.70:
        return draw.choice(TEXTS)
    if kind < 0.88:
        return draw.choice(WORDS)
    if kind < 0.93:
        return draw.choice(SCRIPTS)
    if kind < 0.995:
        return draw.randbytes(draw.randrange(40))
    return draw.randbytes(draw.choice([1000, 70_000]))


def drawn_command(draw, rows, may_wait):
    words, arity, first, last, waits = draw.choice(rows)
    while waits and not may_wait:
        words, arity, first, last, waits = draw.choice(rows)
    count = abs(arity) - len(words) + (draw.randrange(5) if arity < 0 else 0)
    if draw.random() < 0.05:
        count += draw.choice([-1, 1, 2, 50])
    args = [argument(draw) for _ in range(max(count, 0))]
    # Keys where keys belong, mostly, or nothing is ever found.
    last = last if last > 0 else len(words) + len(args) - 1
    for place in range(first, last + 1):
        at = place - len(words)
        if first and 0 <= at < len(args) and draw.random() < 0.9:
            args[at] = draw.choice(KEYS)
    return [word.upper() if draw.random() < 0.5 else word for word in words] + args


# Without values of every type there is little to do.
def planted(draw):
    key = draw.choice(KEYS)
    return draw.choice(
        [
            ["SET", key, draw.choice(INTEGERS)],
            ["SET", key, "text"],
            ["RPUSH", key, *"abcab"],
            ["SADD", key, 1, 2, 3],
            ["SADD", key, *"abc"],
            ["HSET", key, "a", 1, "b", "text"],
            ["ZADD", key, 1, "a", 2, "b", "inf", "c"],
            ["XADD", key, "*", "a", 1],
            ["XGROUP", "CREATE", key, "g1", "0"],
            ["GEOADD", key, 13.3, 38.1, "a", 15.0, 37.5, "b"],
            ["PFADD", key, *"abc"],
            ["SETBIT", key, 1000, 1],
            ["MQ.DECLARE", draw.choice(["q1", "q2"])],
            ["DEL", key],
            ["FLUSHALL"],
        ]
    )


def resp(draw, faults, port, least_rows=200):
    """Commands of the whole table, by themselves, in pipelines and within MULTI."""
    client = Resp(port)
    client.connect()
    rows = table(client)
    assert len(rows) >= least_rows, len(rows)
    while True:
        kind = draw.random()
        if kind < 0.25:
            commands = [planted(draw)]
        elif kind < 0.5:
            body = [drawn_command(draw, rows, True) if draw.random() < 0.7 else planted(draw) for _ in range(draw.randrange(1, 8))]
            commands = [["MULTI"], *body, [draw.choice(["EXEC", "EXEC", "EXEC", "DISCARD"])]]
        elif kind < 0.6:
            commands = [drawn_command(draw, rows, False) for _ in range(draw.randrange(2, 40))]
        else:
            commands = [drawn_command(draw, rows, False)]
        began = time.monotonic()
        done = 0
        try:
            if not client.socket:
                client.connect()
            client.socket.sendall(b"".join(map(encode, commands)))
            for done in range(len(commands)):
                client.reply()
        except TimeoutError:
            took = time.monotonic() - began
            faults.add(f"port {port}: no reply after {took:.1f} s to {commands[done]!r:.300} of {commands!r:.1000}")
            client.close()
        except (OSError, ConnectionError):
            client.close()
        yield


# ---- AMQP ----


def drawn_field(draw):
    kind = draw.randrange(6)
    return [draw.choice(INTEGERS[:16]), draw.random() < 0.5, draw.choice(WORDS), None, {"x": draw.randrange(9)}, [1, "a"]][kind]


ARGUMENTS = "x-max-length x-message-ttl x-expires x-dead-letter-exchange x-dead-letter-routing-key x-max-priority x-overflow x-queue-type x-delivery-limit x-single-active-consumer CC BCC alternate-exchange x-delay x-delayed-type x-recent-history-length x-recent-history-no-store x-stream-offset x-max-age x-max-length-bytes x-consumer-timeout x-producer x-sequence x-deduplication-header x-message-deduplication x-match".split()
# What an argument may be, so that what it asks for is met too.
VALID = {"x-queue-type": "stream", "x-delayed-type": "topic", "x-delay": 5, "x-stream-offset": "first", "x-max-age": "1s", "x-max-length-bytes": 1000, "x-consumer-timeout": 100, "x-producer": "p", "x-sequence": 7}
NAMES = ["", "fq1", "fq2", "fq3", "fe1", "fe2", "amq.direct", "amq.topic", "amq.fanout", "no such", "a.b.#", "x" * 255]


def drawn_table(draw, most):
    names = [draw.choice(ARGUMENTS) for _ in range(draw.randrange(most + 1))]
    return {name: VALID[name] if name in VALID and draw.random() < 0.5 else drawn_field(draw) for name in names}


def drawn_method(draw):
    method = draw.choice(list(pika.spec.methods.values()))()
    for name, value in list(vars(method).items()):
        if isinstance(value, bool):
            new = draw.random() < 0.3
        elif name in ("arguments", "client_properties", "server_properties"):
            new = drawn_table(draw, 2)
        elif name in ("delivery_tag", "channel_max", "frame_max", "heartbeat", "prefetch_size", "prefetch_count", "ticket", "reply_code", "message_count", "consumer_count", "class_id", "method_id", "version_major", "version_minor"):
            new = draw.choice([0, 1, 2, 3, 100, 65535]) if name != "delivery_tag" else draw.choice([0, 1, 2, 2**63])
        elif name == "type":
            new = draw.choice(["direct", "topic", "fanout", "headers", "x-consistent-hash", "x-delayed-message", "x-recent-history", "none"])
        else:
            new = draw.choice(NAMES)
        setattr(method, name, new)
    return method


def drawn_frame(draw):
    channel = draw.choice([0, 1, 1, 1, 1, 1, 2, 3, 2047, 65535])
    kind = draw.random()
    with contextlib.suppress(Exception):
        if kind < 0.45:
            return pika.frame.Method(channel, drawn_method(draw)).marshal()
        if kind < 0.75:
            body = draw.randbytes(draw.choice([0, 1, 100, 10_000]))
            headers = drawn_table(draw, 2)
            properties = pika.spec.BasicProperties(headers=headers, expiration=str(draw.choice(INTEGERS)) if draw.random() < 0.3 else None, delivery_mode=draw.choice([None, 1, 2]))
            publish = pika.spec.Basic.Publish(exchange=draw.choice(NAMES), routing_key=draw.choice(NAMES))
            frames = [pika.frame.Method(1, publish), pika.frame.Header(1, len(body) + draw.choice([0, 0, 0, 0, 1, 2**40]), properties)]
            return b"".join(frame.marshal() for frame in frames + ([pika.frame.Body(1, body)] if body else []))
        if kind < 0.85:
            return pika.frame.Heartbeat().marshal()
    payload = draw.randbytes(draw.randrange(60))
    length = len(payload) if draw.random() < 0.8 else draw.choice([0, 1, 131_073, 2**32 - 1])
    return bytes([draw.choice([1, 2, 3, 8, 65])]) + channel.to_bytes(2, "big") + length.to_bytes(4, "big") + payload + draw.choice([b"\xce", b"\xce", b"\x00"])


class Amqp:
    """A connection with channel 1 open, by hand."""

    def __init__(self, port):
        self.buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LATE)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.until(pika.spec.Connection.Start)
        self.send(0, pika.spec.Connection.StartOk(client_properties={}, response="\0guest\0guest"))
        self.until(pika.spec.Connection.Tune)
        self.send(0, pika.spec.Connection.TuneOk(channel_max=2047, frame_max=131_072, heartbeat=0))
        self.send(0, pika.spec.Connection.Open())
        self.until(pika.spec.Connection.OpenOk)
        self.send(1, pika.spec.Channel.Open())
        self.until(pika.spec.Channel.OpenOk)

    def send(self, channel, method):
        self.socket.sendall(pika.frame.Method(channel, method).marshal())

    def until(self, method):
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline:
            used, frame = pika.frame.decode_frame(self.buffer)
            if not frame:
                chunk = self.socket.recv(1 << 16)
                if not chunk:
                    raise ConnectionError("closed")
                self.buffer += chunk
                continue
            self.buffer = self.buffer[used:]
            if isinstance(frame, pika.frame.Method) and isinstance(frame.method, method):
                return frame.method
        raise TimeoutError(method.NAME)


def amqp(draw, faults, port):
    """Methods in any order, contents that do not fit, and frames that are none."""
    while True:
        began = time.monotonic()
        sent, connection = [], None
        try:
            connection = Amqp(port)
            sent = [drawn_frame(draw) for _ in range(draw.randrange(1, 30))]
            with contextlib.suppress(ConnectionError):
                for frame in sent:
                    connection.socket.sendall(frame)
                # Answered as long as nothing that came before has ended the channel.
                connection.send(2, pika.spec.Channel.Open())
                connection.socket.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    while connection.socket.recv(1 << 16):
                        pass
        except TimeoutError as error:
            faults.add(f"port {port}: {'a connection' if not sent else 'frames'} not taken within {time.monotonic() - began:.1f} s: {error} {sent!r:.500}")
        except (OSError, ConnectionError):
            # A mastership has ended: wait for the next.
            time.sleep(0.05)
        finally:
            if connection:
                connection.socket.close()
        yield


# ---- gRPC: nodes and sentinels ----


def services(folder):
    """The protocols of peers, compiled into `folder`."""
    source = REPOSITORY / "proto" / "proto"
    names = ["cluster.proto", "peer.proto", "sentinel.proto"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--python_out={folder}", *names]
    subprocess.run(command, check=True, timeout=60)


def drawn_message(draw, descriptor, factory, depth=0):
    message = factory(descriptor)()
    for field in descriptor.fields:
        if draw.random() < 0.3 or depth > 4:
            continue
        values = [drawn_value(draw, field, factory, depth) for _ in range(draw.choice([1, 2, 300]) if field.is_repeated and depth < 2 else 1)]
        if field.is_repeated:
            add = getattr(message, field.name)
            add.extend(values)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(values[0])
        else:
            setattr(message, field.name, values[0])
    return message


def drawn_value(draw, field, factory, depth):
    if field.message_type:
        return drawn_message(draw, field.message_type, factory, depth + 1)
    kinds = {field.TYPE_STRING: "text", field.TYPE_BYTES: "bytes", field.TYPE_BOOL: "bool", field.TYPE_UINT32: 32, field.TYPE_ENUM: 2}
    kind = kinds.get(field.type, 64)
    if kind == "text":
        return draw.choice(["", "n1", "s1", "forger", "0" * 40, "f" * 40, "a b\n", "x" * 5000])
    if kind == "bytes":
        return draw.choice([b"", draw.randbytes(30), json.dumps(drawn_raft(draw)).encode()])
    if kind == "bool":
        return draw.random() < 0.5
    return draw.choice([0, 1, 2, 5, 2**16, 2**kind - 1, 2 ** (kind - 1)])


def drawn_raft(draw):
    vote = {"leader_id": {"term": draw.choice([0, 1, 5, 2**63, 2**64 - 1]), "node_id": draw.randrange(5)}, "committed": draw.random() < 0.5}
    log_id = {"leader_id": vote["leader_id"], "index": draw.choice([0, 1, 2**64 - 1])}
    return draw.choice([{"vote": vote, "last_log_id": None}, {"vote": vote, "prev_log_id": log_id, "entries": [], "leader_commit": log_id}, {"vote": vote}, []])


def proof(token, path, draw):
    """As edge/src/token.rs makes it."""
    nonce = draw.randbytes(16)
    parts = b"".join(len(part).to_bytes(8, "big") + part for part in (path.encode(), nonce))
    return f"{nonce.hex()}.{hmac.digest(token.encode(), b'tercet call' + bytes(1) + parts, 'sha256').hex()}"


def peers(draw, faults, folder, token, node_ports, sentinel_ports):
    """Messages to nodes and sentinels: of strangers, who are refused; and with the token, of another cluster."""
    import grpc

    sys.path.insert(0, str(folder))
    modules = {"Peer": importlib.import_module("peer_pb2"), "Sentinel": importlib.import_module("sentinel_pb2")}
    from google.protobuf import message_factory

    factory = message_factory.GetMessageClass
    channels = {port: grpc.insecure_channel(f"127.0.0.1:{port}") for port in node_ports + sentinel_ports}
    while True:
        name = draw.choice(list(modules))
        service = modules[name].DESCRIPTOR.services_by_name[name]
        method = draw.choice(service.methods)
        port = draw.choice(node_ports if name == "Peer" else sentinel_ports)
        path = f"/{service.full_name}/{method.name}"
        message = drawn_message(draw, method.input_type, factory)
        is_stranger = draw.random() < 0.5
        if not is_stranger:
            claim_another_cluster(draw, message, method)
        data = message.SerializeToString() if draw.random() < 0.9 else draw.randbytes(draw.randrange(200))
        metadata = [] if is_stranger else [("tercet-proof", proof(token, path, draw))]
        is_stream = method.client_streaming or method.server_streaming
        began = time.monotonic()
        call = channels[port].stream_stream(path) if is_stream else channels[port].unary_unary(path)
        try:
            if is_stream:
                replies = call(iter([data] * draw.choice([1, 1, 20])), metadata=metadata, timeout=LATE if is_stranger else 0.1)
                next(iter(replies), None)
                replies.cancel()
            else:
                call(data, metadata=metadata, timeout=LATE)
            outcome = None
        except grpc.RpcError as error:
            outcome = error.code()
        except StopIteration:
            outcome = None
        took = time.monotonic() - began
        if is_stranger and outcome != grpc.StatusCode.UNAUTHENTICATED:
            faults.add(f"a stranger's {path} on {port}: {outcome} after {took:.1f} s: {message!r:.300}")
        elif outcome == grpc.StatusCode.DEADLINE_EXCEEDED and not is_stream:
            faults.add(f"{path} on {port} was not answered within {took:.1f} s: {message!r:.300}")
        yield


def claim_another_cluster(draw, message, method):
    """With the token everything is believed that comes from the own cluster: so it comes from another one."""
    another = draw.choice(["0123456789" * 4, "f" * 40, "not hex"])
    fields = {field.name for field in method.input_type.fields}
    if "cluster_id" in fields:
        message.cluster_id = another
    if "state" in fields:
        message.state.cluster_id = another
    if "hello" in fields:
        message.hello.cluster_id = another


# ---- HTTP ----

SEGMENTS = "api overview nodes queues exchanges bindings connections channels consumers users permissions policies parameters definitions vhosts cluster-name whoami healthchecks aliveness-test health checks metrics metrics/per-object livez readyz cache cluster failovers history %2F fq1 fe1 e q s d .. %00 %ff %c3%28 static app.js get publish contents".split()


def http(draw, faults, ports):
    """Requests to the page, the API and the metrics: any path, any body, and heads that are none."""
    while True:
        port = draw.choice(ports)
        path = "/" + "/".join(["api", *(draw.choice(SEGMENTS) for _ in range(draw.randrange(1, 5)))] if draw.random() < 0.8 else [draw.choice(SEGMENTS)])
        if draw.random() < 0.3:
            path += "?" + draw.choice(["page=1&page_size=0", "page=99999999999999999999", "sort=x&sort_reverse=1", "name=(((", "columns=", "lengths_age=60&lengths_incr=0", "%"])
        # Not DELETE of an account or a virtual host: that shuts the others out.
        verb = draw.choice(["GET", "GET", "GET", "HEAD", "PUT", "POST", "OPTIONS", "PATCH", "X" * 40])
        body = draw.choice(["", "{}", "[]", "{", '{"auto_delete":1}', '{"count":1e99,"ackmode":"x","encoding":"auto"}', '{"arguments":{"x-max-length":-1}}', '{"properties":{},"routing_key":"fq1","payload":"x","payload_encoding":"base64"}', "[" * 5000, draw.randbytes(50).hex()]).encode()
        if "users" in path or "vhosts" in path or "permissions" in path:
            verb = "GET"
        head = f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nContent-Length: {len(body)}\r\n"
        for _ in range(draw.randrange(3)):
            head += draw.choice(["Accept: */*", "Origin: http://x", "Range: bytes=0-", "Content-Type: application/json", "X: " + "y" * 9000, "Transfer-Encoding: chunked", "Expect: 100-continue"]) + "\r\n"
        is_whole = draw.random() < 0.9 and "Transfer-Encoding" not in head
        data = head.encode() + b"\r\n" + body if is_whole else draw.randbytes(300) + head.encode()
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=LATE) as connection:
                connection.sendall(data)
                if not is_whole:
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
        except TimeoutError:
            faults.add(f"port {port}: no answer after {time.monotonic() - began:.1f} s to {data!r:.300}")
        except OSError:
            pass
        yield


# ---- the gateway ----


def gateway(draw, faults, port):
    """Streams of requests that are none, too many, too large, or given up."""
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.stream_stream("/schema.Gateway/Call")
    while True:
        requests = [draw.choice([b"", b"\x08\x01", draw.randbytes(20), b"\x08" + b"\xff" * 9 + b"\x01", b"\x12" + b"\x80" * 4 + b"\x01"]) for _ in range(draw.randrange(50))]
        try:
            replies = call(iter(requests), timeout=LATE)
            for _ in zip(replies, range(draw.randrange(60))):
                pass
            replies.cancel()
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                faults.add(f"the gateway on {port} did not answer {requests!r:.300} within {LATE} s")
        yield
