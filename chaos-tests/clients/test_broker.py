"""Exchanges, streams, limits and permissions of the broker, as pika and RabbitMQ's HTTP API see them. The same tests judge
RabbitMQ itself where it is installed and has the feature; texts that newer versions changed are compared without the change."""

import re
import shutil
import time
import urllib.parse
import urllib.request
import uuid

import pika
import pytest

from brokers import RABBITMQ, RabbitMq, Tercet
from cluster import Cluster, wait_for

CLOSED = (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker)


@pytest.fixture(scope="module")
def tercet():
    with Tercet() as broker:
        yield broker


@pytest.fixture(scope="module")
def rabbitmq():
    if RABBITMQ is None:
        pytest.skip("rabbitmq-server is not installed (apt-get install rabbitmq-server)")
    with RabbitMq() as broker:
        yield broker


@pytest.fixture(params=["tercet", "rabbitmq"])
def broker(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def channel(broker):
    connection = broker.connect()
    yield connection.channel()
    if connection.is_open:
        connection.close()


@pytest.fixture
def ours(tercet):
    connection = tercet.connect()
    yield connection.channel()
    if connection.is_open:
        connection.close()


def name():
    return uuid.uuid4().hex[:12]


def drained(channel, queue):
    bodies = []
    while (got := channel.basic_get(queue, auto_ack=True))[0]:
        bodies.append(got[2].decode())
    return bodies


def told(broker, call, **login):
    """What the broker says when it closes the channel or the connection for a call: code and text."""
    connection = broker.connect(**login)
    channel = connection.channel()
    with pytest.raises(CLOSED) as closed:
        call(channel)
        channel.queue_declare("", exclusive=True)
    if connection.is_open:
        connection.close()
    return closed.value.reply_code, closed.value.reply_text


# x-delayed-message. RabbitMQ's plugin is in no package, so only ours is judged.


def declare_delayed(channel, kind="direct"):
    exchange, queue = name(), name()
    channel.exchange_declare(exchange, "x-delayed-message", durable=True, arguments={"x-delayed-type": kind})
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, exchange, "k")
    return exchange, queue


def delayed(milliseconds):
    return pika.BasicProperties(headers={"x-delay": milliseconds}, delivery_mode=2)


def test_a_delayed_message_comes_when_it_is_due(ours):
    exchange, queue = declare_delayed(ours)
    ours.confirm_delivery()
    begin = time.monotonic()
    for body, delay in (("400", 400), ("200", 200)):
        ours.basic_publish(exchange, "k", body, delayed(delay), mandatory=True)
    ours.basic_publish(exchange, "k", "now", pika.BasicProperties(headers={"x-delay": 0}))
    assert drained(ours, queue) == ["now"]
    came = []
    for method, properties, body in ours.consume(queue, inactivity_timeout=5):
        assert method, f"nothing after {came}"
        came.append((body.decode(), properties.headers["x-delay"], time.monotonic() - begin))
        ours.basic_ack(method.delivery_tag)
        if len(came) == 2:
            break
    assert [(body, delay) for body, delay, _ in came] == [("200", -200), ("400", -400)]
    assert all(after >= int(body) / 1000 for body, _, after in came), came


def test_a_delayed_exchange_is_like_its_type_and_its_queue_is_nobodys(tercet, ours):
    exchange, queue = declare_delayed(ours, "topic")
    ours.queue_bind(queue, exchange, "a.#")
    ours.basic_publish(exchange, "a.b", b"now")
    assert wait_for(lambda: drained(ours, queue), 5, "the message") == ["now"]
    ours.basic_publish(exchange, "a.b", b"later", delayed(60_000))
    own = f"amq.delayed.{exchange}"
    show = lambda path: tercet.api("GET", path)[1]  # noqa: E731
    wait_for(lambda: show(f"exchanges/%2F/{exchange}")["messages_delayed"] == 1, 5, "the message is shown")
    assert show(f"queues/%2F/{own}")["internal"] is True
    assert own not in [q["name"] for q in show("definitions")["queues"]]
    assert exchange in [x["name"] for x in show("definitions")["exchanges"]]
    locked = (405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue")
    for call in (lambda c: c.basic_get(own), lambda c: c.queue_delete(own), lambda c: c.queue_bind(own, "amq.direct", "k")):
        code, text = told(tercet, call)
        assert (code, text[: len(locked[1])]) == locked
    assert tercet.api("DELETE", f"queues/%2F/{own}")[0] == 400
    ours.exchange_delete(exchange)
    assert tercet.api("GET", f"queues/%2F/{own}")[0] == 404


def test_an_unknown_delayed_type_is_refused(tercet):
    text = "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type"
    for arguments in ({}, {"x-delayed-type": "unheard-of"}):
        assert told(tercet, lambda c: c.exchange_declare(name(), "x-delayed-message", arguments=arguments)) == (406, text)


def test_delayed_messages_survive_a_restart(tercet):
    with_channel = lambda: tercet.connect().channel()  # noqa: E731
    channel = with_channel()
    exchange, queue = declare_delayed(channel)
    channel.confirm_delivery()
    for body, delay in (("soon", 50), ("late", 3_000)):
        channel.basic_publish(exchange, "k", body, delayed(delay))
    tercet.restart()
    channel = with_channel()
    got = wait_for(lambda: (bodies := drained(channel, queue)) and bodies, 10, "what was due")
    assert got == ["soon"]
    assert wait_for(lambda: (bodies := drained(channel, queue)) and bodies, 10, "the later one") == ["late"]
    channel.connection.close()


def test_delayed_messages_and_streams_survive_the_death_of_the_master():
    with Cluster() as cluster:
        connect = lambda node: pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port)).channel()  # noqa: E731
        master = cluster.wait_until_whole()
        channel = connect(master)
        exchange, queue = declare_delayed(channel)
        channel.queue_declare("stream", durable=True, arguments={"x-queue-type": "stream"})
        channel.confirm_delivery()
        for number in range(50):
            channel.basic_publish(exchange, "k", str(number), delayed(4_000 + number))
            channel.basic_publish("", "stream", str(number))
        cluster.kill(master)
        survivor = wait_for(lambda: (m := cluster.master()) and m is not master and m, 20, "another master")
        channel = connect(survivor)
        assert [offset for offset, _ in read(channel, "stream", "first", 50)] == list(range(50))
        bodies = []
        wait_for(lambda: bodies.extend(drained(channel, queue)) or len(bodies) >= 50, 20, "every delayed message")
        time.sleep(0.3)
        assert bodies + drained(channel, queue) == [str(number) for number in range(50)], "each once, in order"


# x-recent-history


def test_a_queue_that_is_bound_late_gets_what_came_last(channel):
    exchange, early, late = name(), name(), name()
    channel.exchange_declare(exchange, "x-recent-history", arguments={"x-recent-history-length": 2})
    channel.queue_declare(early, exclusive=True)
    channel.queue_bind(early, exchange)
    for body in "abc":
        channel.basic_publish(exchange, "k", body)
    channel.basic_publish(exchange, "k", "secret", pika.BasicProperties(headers={"x-recent-history-no-store": True}))
    wait_for(lambda: channel.queue_declare(early, passive=True).method.message_count == 4, 5, "four messages")
    assert drained(channel, early) == ["a", "b", "c", "secret"]
    channel.queue_declare(late, exclusive=True)
    channel.queue_bind(late, exchange, "whatever")
    wait_for(lambda: channel.queue_declare(late, passive=True).method.message_count == 2, 5, "two messages")
    method, _, body = channel.basic_get(late, auto_ack=True)
    assert (method.exchange, method.routing_key, body) == (exchange, "k", b"b")
    channel.exchange_delete(exchange)


def test_a_length_that_is_no_positive_number_is_refused(broker):
    for length, shown in ((0, "0"), ("a", '<<"a">>')):
        call = lambda c: c.exchange_declare(name(), "x-recent-history", arguments={"x-recent-history-length": length})  # noqa: E731
        text = f"PRECONDITION_FAILED - Invalid argument {shown}, 'x-recent-history-length' must be a positive integer"
        assert told(broker, call) == (406, text)


# Streams


def declare_stream(channel, **arguments):
    queue = name()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "stream", **arguments})
    return queue


def fill(channel, queue, bodies):
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(headers={"h": "x"}))


def read(channel, queue, offset, count, prefetch=10):
    """Offset and body of so many messages, or of fewer if no more come."""
    channel.basic_qos(prefetch_count=prefetch)
    got = []
    arguments = None if offset is None else {"x-stream-offset": offset}
    for method, properties, body in channel.consume(queue, arguments=arguments, inactivity_timeout=1):
        if method is None:
            break
        assert method.redelivered is False
        got.append((properties.headers["x-stream-offset"], body.decode()))
        channel.basic_ack(method.delivery_tag)
        if len(got) == count:
            break
    channel.cancel()
    return got


def test_a_stream_is_read_from_anywhere_again_and_again(channel):
    queue = declare_stream(channel)
    fill(channel, queue, map(str, range(20)))
    everything = [(number, str(number)) for number in range(20)]
    for _ in range(2):
        assert read(channel, queue, "first", 20) == everything
    assert read(channel, queue, 5, 15) == everything[5:]
    assert read(channel, queue, "1h", 20) == everything
    assert read(channel, queue, "next", 1) == []
    assert read(channel, queue, None, 1) == []
    assert read(channel, queue, "last", 20)[-1] == (19, "19")
    wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count == 20, 20, "the number is shown")
    assert channel.queue_delete(queue).method.message_count == 0


def test_readers_of_a_stream_do_not_disturb_each_other(broker, channel):
    queue = declare_stream(channel)
    fill(channel, queue, map(str, range(10)))
    other = broker.connect().channel()
    other.basic_qos(prefetch_count=1)
    seen = []
    other.basic_consume(queue, lambda c, m, p, b: seen.append(p.headers["x-stream-offset"]), arguments={"x-stream-offset": 3})
    assert len(read(channel, queue, "first", 10)) == 10
    wait_for(lambda: other.connection.process_data_events(0.05) or seen, 5, "a delivery")
    assert seen == [3], "it has acknowledged nothing, so there is no more for it"
    other.connection.close()
    channel.queue_delete(queue)


def test_what_a_stream_cannot_be_is_told(broker):
    stream = {"x-queue-type": "stream"}
    declare = lambda **options: lambda c: c.queue_declare("s", **{"durable": True, "arguments": stream, **options})  # noqa: E731
    failed = lambda text: (406, f"PRECONDITION_FAILED - {text}")  # noqa: E731
    assert told(broker, declare(durable=False)) == failed("invalid property 'non-durable' for queue 's' in vhost '/'")
    assert told(broker, declare(exclusive=True)) == failed("invalid property 'exclusive-owner' for queue 's' in vhost '/'")
    assert told(broker, declare(auto_delete=True)) == failed("invalid property 'auto-delete' for queue 's' in vhost '/'")
    assert told(broker, lambda c: c.queue_declare("", durable=True, arguments=stream)) == failed(
        "Cannot declare a server-named queue for type rabbit_stream_queue"
    )
    for argument in ("x-message-ttl", "x-expires", "x-max-length", "x-max-priority", "x-delivery-limit"):
        refused = failed(f"invalid arg '{argument}' for queue 's' in vhost '/' of queue type rabbit_stream_queue")
        assert told(broker, declare(arguments={**stream, argument: 5})) == refused
    assert told(broker, declare(arguments={**stream, "x-max-age": "5x"})) == failed("invalid arg 'x-max-age' for queue 's' in vhost '/': invalid_max_age")
    assert told(broker, declare(arguments={"x-max-age": "5D"})) == failed("invalid arg 'x-max-age' for queue 's' in vhost '/' of queue type rabbit_classic_queue")


def test_what_cannot_be_done_with_a_stream_is_told(broker, channel):
    queue = declare_stream(channel, **{"x-max-age": "7D", "x-stream-max-segment-size-bytes": 1 << 20})
    resource = f"queue '{queue}' in vhost '/'"
    assert told(broker, lambda c: c.basic_get(queue)) == (540, f"NOT_IMPLEMENTED - basic.get not supported by stream queues {resource}")
    assert told(broker, lambda c: c.queue_purge(queue)) == (540, f"NOT_IMPLEMENTED - queue.purge not supported by stream queues {resource}")

    def consume(prefetch, **options):
        def call(channel):
            if prefetch:
                channel.basic_qos(prefetch_count=prefetch)
            channel.basic_consume(queue, lambda *_: None, **options)

        return call

    assert told(broker, consume(0)) == (406, f"PRECONDITION_FAILED - consumer prefetch count is not set for '{resource}'")
    automatic = f"NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues {resource}"
    assert told(broker, consume(10, auto_ack=True)) == (540, automatic)
    wrong = f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {resource}: {{invalid_stream_offset_arg,{{longstr,<<\"1x\">>}}}}"
    assert told(broker, consume(10, arguments={"x-stream-offset": "1x"})) == (406, wrong)
    other = {"x-queue-type": "stream", "x-max-age": "8D", "x-stream-max-segment-size-bytes": 1 << 20}
    age = f"PRECONDITION_FAILED - inequivalent arg 'x-max-age' for {resource}: received '8D' but current is '7D'"
    assert told(broker, lambda c: c.queue_declare(queue, durable=True, arguments=other)) == (406, age)
    kind = f"inequivalent arg 'x-queue-type' for {resource}: received none but current is the value 'stream' of type 'longstr'"
    assert told(broker, lambda c: c.queue_declare(queue, durable=True)) == (406, f"PRECONDITION_FAILED - {kind}")
    channel.queue_delete(queue)


def test_a_stream_keeps_what_its_policy_says_and_survives_a_restart(tercet):
    channel = tercet.connect().channel()
    queue = declare_stream(channel)
    fill(channel, queue, (f"{number:0100}" for number in range(50)))
    policy = {"pattern": f"^{queue}$", "definition": {"max-length-bytes": 1000}, "apply-to": "streams"}
    assert tercet.api("PUT", f"policies/%2F/{queue}", policy)[0] == 201
    wait_for(lambda: tercet.api("GET", f"queues/%2F/{queue}")[1]["policy"] == queue, 5, "the policy is shown")
    time.sleep(0.2)
    fill(channel, queue, ["x" * 100])
    assert [offset for offset, _ in read(channel, queue, "first", 99)] == list(range(41, 51))
    tercet.restart()
    channel = tercet.connect().channel()
    assert [offset for offset, _ in read(channel, queue, 0, 99)] == list(range(41, 51))
    fill(channel, queue, ["last"])
    assert read(channel, queue, "last", 1) == [(51, "last")]
    tercet.api("DELETE", f"policies/%2F/{queue}")
    channel.queue_delete(queue)
    channel.connection.close()


# Limits and permissions


@pytest.fixture
def user(broker):
    """A user with all permissions in a virtual host of its own and in `/`."""
    user = name()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    assert broker.api("PUT", f"users/{user}", {"password": "pw", "tags": ""})[0] == 201
    assert broker.api("PUT", f"vhosts/{user}", {})[0] == 201
    for vhost in (user, "/"):
        assert broker.api("PUT", f"permissions/{urllib.parse.quote(vhost, safe='')}/{user}", everything)[0] == 201
    yield {"user": user, "password": "pw"}
    broker.api("DELETE", f"users/{user}")
    broker.api("DELETE", f"vhosts/{user}")


def test_topic_permissions_hold_for_messages_and_bindings(broker, user):
    permissions = {"exchange": "amq.topic", "write": "^{username}-", "read": "^open"}
    assert broker.api("PUT", f"topic-permissions/%2F/{user['user']}", permissions)[0] == 201

    def refused(kind, call):
        code, text = told(broker, call, **user)
        # RabbitMQ names the kind of access since 3.11.
        assert (code, text.replace(f"- {kind} access", "- access")) == (
            403,
            f"ACCESS_REFUSED - access to topic 'shut.k' in exchange 'amq.topic' in vhost '/' refused for user '{user['user']}'",
        )

    connection = broker.connect(**user)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("", exclusive=True)
    channel.queue_bind("", "amq.topic", "open.#")
    channel.basic_publish("amq.topic", f"{user['user']}-1", b"")
    # Other exchanges are not concerned.
    channel.basic_publish("amq.direct", "shut.k", b"")
    refused("write", lambda c: c.basic_publish("amq.topic", "shut.k", b""))

    def bind(channel):
        channel.queue_declare("", exclusive=True)
        channel.queue_bind("", "amq.topic", "shut.k")

    refused("read", bind)
    # A change counts for connections that are open.
    assert broker.api("DELETE", f"topic-permissions/%2F/{user['user']}")[0] == 204
    channel.basic_publish("amq.topic", "shut.k", b"")
    connection.close()


def test_connections_queues_and_channels_are_limited(broker, user):
    login, vhost = user["user"], user["user"]
    limit = lambda kind, value: broker.api("PUT", f"vhost-limits/{vhost}/{kind}", {"value": value})[0]  # noqa: E731

    def refused(**options):
        with pytest.raises(pika.exceptions.AMQPConnectionError) as closed:
            broker.connect(vhost, **user, **options)
        return str(closed.value)

    assert limit("max-queues", 1) == 204
    time.sleep(0.3)
    connection = broker.connect(vhost, **user)
    channel = connection.channel()
    for _ in range(2):
        channel.queue_declare("a")
    text = f"PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '{vhost}' (1) is reached"
    assert told(broker, lambda c: c.queue_declare("b"), vhost=vhost, **user) == (406, text)
    channel.queue_delete("a")
    channel.queue_declare("b")
    assert limit("max-connections", 1) == 204
    expected = f"NOT_ALLOWED - access to vhost '{vhost}' refused for user '{login}': connection limit (1) is reached"
    assert expected in refused()
    assert limit("max-connections", -1) == 204
    of_user = lambda kind, value: broker.api("PUT", f"user-limits/{login}/{kind}", {"value": value})[0]  # noqa: E731
    assert of_user("max-connections", 1) == 204
    assert f"NOT_ALLOWED - connection refused for user '{login}': user connection limit (1) is reached" in refused()
    assert of_user("max-connections", -1) == 204
    broker.connect(vhost, **user).close()
    connection.close()
    assert of_user("max-channels", 2) == 204
    connection = broker.connect(vhost, **user)
    wait_for(lambda: connection.channel(), 5, "the channels of the connection before are gone")
    connection.channel()
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        connection.channel()
    expected = f"NOT_ALLOWED - number of channels opened for user '{login}' has reached the maximum allowed user limit of (2)"
    assert closed.value.reply_text == expected


def test_a_delivery_that_is_kept_too_long_closes_its_channel_and_goes_to_others(tercet):
    connection = tercet.connect()
    channel, other = connection.channel(), connection.channel()
    queue = name()
    channel.queue_declare(queue, arguments={"x-consumer-timeout": 60_000})
    channel.basic_publish("", queue, b"m")
    channel.basic_consume(queue, lambda *_: None, arguments={"x-consumer-timeout": 300})
    begin, closed = time.monotonic(), []
    channel._impl.add_on_close_callback(lambda _, reason: closed.append(reason))
    wait_for(lambda: connection.process_data_events(0.05) or closed, 10, "the channel is closed")
    assert time.monotonic() - begin >= 0.3
    number = channel.channel_number
    assert (closed[0].reply_code, closed[0].reply_text) == (
        406,
        f"PRECONDITION_FAILED - delivery acknowledgement on channel {number} timed out. Timeout value used: 300 ms. This timeout value can be configured, see consumers doc guide to learn more",
    )
    method, _, body = other.basic_get(queue)
    assert (method.redelivered, body) == (True, b"m")
    connection.close()


def test_the_setting_holds_where_nobody_says_otherwise(tercet):
    assert "OK" in tercet.redis("CONFIG SET consumer-timeout-ms 300")
    try:
        connection = tercet.connect()
        channel, patient = connection.channel(), connection.channel()
        queue = name()
        channel.queue_declare(queue)
        for number in range(2):
            channel.basic_publish("", queue, str(number))
        patient.basic_qos(prefetch_count=1)
        patient.basic_consume(queue, lambda *_: None, arguments={"x-consumer-timeout": 0})
        wait_for(lambda: channel.basic_get(queue)[0], 5, "a message")
        wait_for(lambda: connection.process_data_events(0.05) or channel.is_closed, 10, "the channel is closed")
        assert patient.is_open
        connection.close()
    finally:
        tercet.redis("CONFIG SET consumer-timeout-ms 1800000")


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("x-queue-mode", "bad", "\"unsupported queue mode 'bad'\""),
        ("x-queue-version", 9, "\"unsupported queue version '9'\""),
        ("x-message-ttl", 1 << 40, "{value_too_large,1099511627776}"),
        ("x-expires", 1 << 40, "{value_too_large,1099511627776}"),
        ("x-max-priority", 256, "{max_value_exceeded,256}"),
        ("x-max-length", -1, "{value_negative,-1}"),
    ],
)
def test_wrong_values_are_told(broker, argument, value, reason):
    text = f"PRECONDITION_FAILED - invalid arg '{argument}' for queue 'wrong' in vhost '/': {reason}"
    assert told(broker, lambda c: c.queue_declare("wrong", arguments={argument: value})) == (406, text)


def test_quorum_queues_refuse_what_they_are_not(broker):
    quorum = {"x-queue-type": "quorum"}
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    assert told(broker, lambda c: c.queue_declare("", durable=True, arguments=quorum)) == (406, text)
    text = "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue"
    assert told(broker, lambda c: c.queue_declare("q", durable=True, arguments={**quorum, "x-max-priority": 3})) == (406, text)
    text = "PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/': invalid_dlx_strategy"
    assert told(broker, lambda c: c.queue_declare("q", durable=True, arguments={**quorum, "x-dead-letter-strategy": "bad"})) == (406, text)


def test_numbers_that_a_producer_left_out_or_repeated_are_counted(tercet, ours):
    queue = name()
    ours.queue_declare(queue, durable=True)
    ours.confirm_delivery()
    for producer, numbers in (("a", (1, 2, 5, 5)), ("b", (7, 8, 6))):
        for number in numbers:
            headers = {"x-producer": producer, "x-sequence": number}
            ours.basic_publish("", queue, b"", pika.BasicProperties(headers=headers, delivery_mode=2))
    shown = lambda: tercet.api("GET", f"queues/%2F/{queue}")[1]["sequence"]  # noqa: E731
    assert shown() == {"gaps": 2, "repeats": 2}
    tercet.redis(f'MQ.PUBLISH "" {queue} body HEADERS 2 x-producer a x-sequence 7')
    assert shown() == {"gaps": 3, "repeats": 2}
    assert ours.queue_delete(queue).method.message_count == 8


# How messages come back


def test_headers_exchanges_match_in_four_ways(channel):
    exchange, queue = name(), name()
    channel.exchange_declare(exchange, "headers")
    channel.queue_declare(queue, exclusive=True)
    sent = {"a": {"a": 1}, "x-b": {"x-b": 2}, "both": {"a": 1, "x-b": 2}, "none": {}, "other": {"a": 2, "x-b": 3}}
    expected = {"all": ["a", "both"], "any": ["a", "both"], "all-with-x": ["both"], "any-with-x": ["a", "x-b", "both"]}
    for mode, bodies in expected.items():
        arguments = {"x-match": mode, "a": 1, "x-b": 2}
        channel.queue_bind(queue, exchange, arguments=arguments)
        for body, headers in sent.items():
            channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
        wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count >= len(bodies), 5, mode)
        assert drained(channel, queue) == bodies, mode
        channel.queue_unbind(queue, exchange, arguments=arguments)
    channel.exchange_delete(exchange)


def test_a_successor_of_a_single_active_consumer_gets_everything_in_order(broker):
    connection = broker.connect()
    channel = connection.channel()
    queue = name()
    channel.queue_declare(queue, arguments={"x-single-active-consumer": True})
    for number in range(8):
        channel.basic_publish("", queue, str(number))
    first, second = connection.channel(), connection.channel()
    got = {first: [], second: []}
    for consumer in (first, second):
        consumer.basic_qos(prefetch_count=3 if consumer is first else 20)
        consumer.basic_consume(queue, lambda c, m, p, b: got[c].append((b.decode(), m.redelivered)))
    wait_for(lambda: connection.process_data_events(0.05) or len(got[first]) == 3, 5, "three in hand")
    assert got[second] == []
    first.close()
    wait_for(lambda: connection.process_data_events(0.05) or len(got[second]) == 8, 5, "the successor's")
    assert got[second] == [(str(number), number < 3) for number in range(8)]
    channel.queue_delete(queue)
    connection.close()


def test_dead_letters_tell_their_way(channel):
    source, target, exchange = name(), name(), name()
    channel.exchange_declare(exchange, "direct")
    channel.queue_declare(target, exclusive=True)
    for key in ("key", "copy", "hidden"):
        channel.queue_bind(target, exchange, key)
    arguments = {"x-dead-letter-exchange": exchange, "x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    channel.queue_declare(source, exclusive=True, arguments=arguments)
    channel.queue_bind(source, "amq.direct", "key")
    for number in range(2):
        channel.basic_publish("amq.direct", "key", str(number), pika.BasicProperties(headers={"CC": ["copy"], "BCC": ["hidden"]}))
    wait_for(lambda: channel.queue_declare(target, passive=True).method.message_count == 1, 5, "the one that had no room")
    _, properties, body = channel.basic_get(target, auto_ack=True)
    death = properties.headers["x-death"][0]
    assert (body, death["reason"], death["queue"], death["exchange"], death["count"]) == (b"1", "maxlen", source, "amq.direct", 1)
    assert (death["routing-keys"], properties.headers["CC"], "BCC" in properties.headers) == (["key", "copy"], ["copy"], False)
    method, _, _ = channel.basic_get(source)
    channel.basic_reject(method.delivery_tag, requeue=False)
    wait_for(lambda: channel.queue_declare(target, passive=True).method.message_count == 1, 5, "the one that was rejected")
    _, properties, body = channel.basic_get(target, auto_ack=True)
    assert (body, properties.headers["x-death"][0]["reason"], properties.headers["x-first-death-reason"]) == (b"0", "rejected", "rejected")
    channel.exchange_delete(exchange)


def test_a_limit_of_length_holds_when_messages_come_back(channel):
    queue = name()
    channel.queue_declare(queue, exclusive=True, arguments={"x-max-length": 2})
    for number in range(2):
        channel.basic_publish("", queue, str(number))
    wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count == 2, 5, "two messages")
    for _ in range(2):
        method, _, _ = channel.basic_get(queue)
    for number in range(2, 4):
        channel.basic_publish("", queue, str(number))
    wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count == 2, 5, "two more")
    channel.basic_nack(method.delivery_tag, multiple=True, requeue=True)
    wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count == 2, 5, "the limit")
    assert drained(channel, queue) == ["2", "3"]


def test_a_transaction_that_a_full_queue_refuses_does_nothing(broker):
    queue, other = name(), name()
    connection = broker.connect()
    channel = connection.channel()
    channel.queue_declare(queue, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.queue_declare(other)
    connection.channel().basic_publish("", queue, b"full")
    wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count == 1, 5, "a full queue")

    def commit(channel):
        channel.tx_select()
        channel.basic_publish("", queue, b"refused")
        channel.tx_commit()

    assert told(broker, commit) == (406, "PRECONDITION_FAILED - partial tx completion")
    assert drained(channel, queue) == ["full"]
    for gone in (queue, other):
        channel.queue_delete(gone)
    connection.close()


# Queues that are larger than the memory.

PAGED_MESSAGES, PAGED_BYTES = 40_000, 1_000


def paged(node):
    """Messages of each queue that wait on the disk, as this node says, whatever its role."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.metrics_port}/metrics/per-object", timeout=5) as reply:
        lines = [line for line in reply.read().decode().splitlines() if "queue_messages_paged_out{" in line]
    return {re.search('queue="([^"]*)"', line)[1]: int(float(line.split()[-1])) for line in lines}


def numbered(number):
    return f"{number:08}".encode().ljust(PAGED_BYTES, b"x")


def publish_numbered(channel, queue, numbers):
    """Returns when all of them are confirmed: by a transaction for each thousand."""
    channel.tx_select()
    for number in numbers:
        channel.basic_publish("", queue, numbered(number), pika.BasicProperties(delivery_mode=2))
        if number % 1000 == 999:
            channel.tx_commit()
    channel.tx_commit()


def consume_numbered(channel, queue, numbers):
    """Takes so many messages, and fails if they are not these in this order."""
    channel.basic_qos(prefetch_count=500)
    expected = iter(numbers)
    last = numbers[-1]
    for method, _, body in channel.consume(queue, inactivity_timeout=20):
        assert method, "nothing comes any more"
        assert body == numbered(next(expected)), body[:8]
        channel.basic_ack(method.delivery_tag)
        if body == numbered(last):
            break
    channel.cancel()


def test_a_queue_larger_than_the_memory_survives_a_failover_and_a_restart_of_all(monkeypatch):
    monkeypatch.setenv("TERCET_QUEUE_MEMORY", "5mb")
    monkeypatch.setenv("TERCET_MEMORY_HIGH_WATERMARK", "33554432")
    with Cluster() as cluster:
        connect = lambda master: pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", master.amqp_port))  # noqa: E731
        connection = connect(cluster.master())
        channel = connection.channel()
        channel.queue_declare("long", durable=True)
        channel.queue_declare("events", durable=True, arguments={"x-queue-type": "stream"})
        publish_numbered(channel, "long", range(PAGED_MESSAGES))
        publish_numbered(channel, "events", range(PAGED_MESSAGES))
        connection.close()
        for node in cluster.nodes:
            most = PAGED_MESSAGES * 3 // 4
            wait_for(lambda: all(paged(node).get(q, 0) > most for q in ("long", "events")), 60, f"{node.name} has the queues on disk")
        # A node that has lost everything is sent what is on the master's disk, and keeps it on its own.
        master = cluster.master()
        wiped, other = (node for node in cluster.nodes if node is not master)
        cluster.kill(wiped)
        shutil.rmtree(cluster.folder / wiped.name)
        cluster.start(wiped)
        wait_for(cluster.is_whole, 60, "the node that was wiped is in sync")
        wait_for(lambda: all(paged(wiped).get(q, 0) > most for q in ("long", "events")), 60, "it has the queues on disk")
        cluster.kill(other)
        wait_for(lambda: cluster.info(master).get("tercet_isr") == "2", 20, "the master and the wiped one are left")
        cluster.kill(master)
        cluster.start(other)
        master = wait_for(cluster.master, 40, "a new master")
        assert master is wiped
        connection = connect(master)
        channel = connection.channel()
        assert channel.queue_declare("long", passive=True).method.message_count == PAGED_MESSAGES
        consume_numbered(channel, "long", range(10_000))
        method, _, body = channel.basic_get("long")
        assert body == numbered(10_000) and method.message_count == PAGED_MESSAGES - 10_001
        channel.basic_nack(method.delivery_tag, requeue=True)
        offset = lambda number: {"x-stream-offset": number}  # noqa: E731
        connection.close()
        for node in cluster.nodes:
            if node.process.poll() is None:
                cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        connection = connect(wait_for(cluster.is_whole, 60, "the cluster is whole again"))
        channel = connection.channel()
        consume_numbered(channel, "long", range(10_000, PAGED_MESSAGES))
        assert channel.queue_declare("long", passive=True).method.message_count == 0
        # Readers of a stream begin where they like.
        for start in (0, 17_000, PAGED_MESSAGES - 10):
            reader = connection.channel()
            reader.basic_qos(prefetch_count=200)
            came = []
            for method, _, body in reader.consume("events", arguments=offset(start), inactivity_timeout=20):
                assert method, f"nothing behind {len(came)} of {start}"
                came.append(body)
                reader.basic_ack(method.delivery_tag)
                if len(came) == min(6_000, PAGED_MESSAGES - start):
                    break
            assert came == [numbered(number) for number in range(start, start + len(came))]
            reader.close()
        connection.close()


def test_what_waits_on_the_disk_is_purged_expires_and_is_buried(monkeypatch):
    monkeypatch.setenv("TERCET_QUEUE_MEMORY", "5mb")
    monkeypatch.setenv("TERCET_MEMORY_HIGH_WATERMARK", "33554432")
    with Tercet() as broker:
        connection = broker.connect()
        channel = connection.channel()
        channel.queue_declare("grave", durable=True)
        bury = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "grave"}
        for queue, arguments in (("lazy", {"x-queue-mode": "lazy"}), ("short", {"x-message-ttl": 15_000, "x-queue-mode": "lazy"}), ("buried", bury)):
            channel.queue_declare(queue, durable=True, arguments=arguments)
        looking = connection.channel()
        count = lambda queue: looking.queue_declare(queue, passive=True).method.message_count  # noqa: E731
        publish_numbered(channel, "lazy", range(PAGED_MESSAGES))
        show = lambda queue: broker.api("GET", f"queues/%2F/{queue}")[1]  # noqa: E731
        wait_for(lambda: show("lazy")["messages_paged_out"] > 20_000, 20, "they are on the disk")
        assert show("lazy")["message_bytes_ram"] < 12 << 20
        purge = connection.channel()
        assert purge.queue_purge("lazy").method.message_count == PAGED_MESSAGES
        assert count("lazy") == 0
        # A limit that comes later buries what is on the disk.
        publish_numbered(channel, "buried", range(PAGED_MESSAGES))
        wait_for(lambda: show("buried")["messages_paged_out"] > 20_000, 20, "they are on the disk")
        broker.api("PUT", "policies/%2F/few", {"pattern": "^buried$", "definition": {"max-length": 100}, "apply-to": "queues"})
        wait_for(lambda: (count("buried"), count("grave")) == (100, PAGED_MESSAGES - 100), 60, "all but the last are buried")
        # Dead letters of several turns come in no particular order.
        grave = connection.channel()
        grave.basic_qos(prefetch_count=500)
        buried = []
        for method, _, body in grave.consume("grave", inactivity_timeout=20):
            assert method, f"nothing behind {len(buried)}"
            buried.append(body)
            grave.basic_ack(method.delivery_tag)
            if len(buried) == PAGED_MESSAGES - 100:
                break
        assert sorted(buried) == [numbered(number) for number in range(PAGED_MESSAGES - 100)]
        grave.close()
        publish_numbered(channel, "short", range(PAGED_MESSAGES // 2))
        wait_for(lambda: show("short")["messages_paged_out"] > 5_000, 10, "they are on the disk")
        wait_for(lambda: count("short") == 0, 30, "they expire")
        connection.close()
