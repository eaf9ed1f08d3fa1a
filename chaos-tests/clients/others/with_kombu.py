"""kombu: a Producer with confirms and a Consumer, on a connection that knows every node."""

import socket

import kombu

from common import BROKERS, fresh, summary, through_failovers

NAME = fresh("kombu")
EXCHANGE = kombu.Exchange(NAME, "topic", durable=True)
QUEUE = kombu.Queue(NAME, EXCHANGE, routing_key="load.#", durable=True)


class Broker:
    def connect(self):
        urls = [f"amqp://guest:guest@{host}:{port}//" for host, port in BROKERS]
        self.connection = kombu.Connection(urls, transport_options={"confirm_publish": True}, connect_timeout=2, failover_strategy="round-robin")
        self.connection.ensure_connection(max_retries=200, interval_start=0.05, interval_step=0, interval_max=0.05)
        self.producer = self.connection.Producer(exchange=EXCHANGE, serializer="json")

    def publish(self, number):
        self.producer.publish({"number": number}, routing_key="load.one", declare=[QUEUE], delivery_mode=2, mandatory=True, timeout=5, confirm_timeout=5)

    def missing(self, count):
        """Consumes and acknowledges until every number below `count` was seen; gives how many never came."""
        self.connect()
        left = set(range(count))

        def take(body, message):
            left.discard(body["number"])
            message.ack()

        with self.connection.Consumer(QUEUE, callbacks=[take], prefetch_count=50):
            try:
                while left:
                    self.connection.drain_events(timeout=3)
            except socket.timeout:
                pass
        self.connection.release()
        return len(left)


broker = Broker()
broker.connect()
[broker.publish(number) for number in range(10)]
assert broker.missing(10) == 0
broker.connect()
simple = broker.connection.SimpleQueue(fresh("simple"))
simple.put({"a": 1})
message = simple.get(timeout=10)
assert message.payload == {"a": 1}
message.ack()
simple.close()
print("basics hold")
faults = broker.connection.recoverable_connection_errors + broker.connection.recoverable_channel_errors + (kombu.exceptions.KombuError,)
confirmed, reconnects = through_failovers(broker.publish, faults, broker.connect)
summary(confirmed, broker.missing(confirmed), reconnects)
