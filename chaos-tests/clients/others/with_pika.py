"""pika: publishes with confirms, consumes with acknowledgements."""

import pika

from common import BROKERS, fresh, summary, through_failovers

QUEUE = fresh("pika")
FAULTS = (pika.exceptions.AMQPError, OSError)


class Broker:
    def connect(self):
        """A channel in confirm mode, on whichever node lets us in."""
        login = pika.PlainCredentials("guest", "guest")
        nodes = [pika.ConnectionParameters(host, port, "/", login, socket_timeout=2, blocked_connection_timeout=5, heartbeat=4) for host, port in BROKERS]
        self.connection = pika.BlockingConnection(nodes)
        self.channel = self.connection.channel()
        self.channel.queue_declare(QUEUE, durable=True)
        self.channel.confirm_delivery()

    def publish(self, number):
        self.channel.basic_publish("", QUEUE, str(number).encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)

    def missing(self, count):
        """Consumes and acknowledges until every number below `count` was seen; gives how many never came."""
        self.connect()
        self.channel.basic_qos(prefetch_count=50)
        left = set(range(count))
        for method, _, body in self.channel.consume(QUEUE, inactivity_timeout=3):
            if method is None:
                break
            left.discard(int(body))
            self.channel.basic_ack(method.delivery_tag)
            if not left:
                break
        self.connection.close()
        return len(left)


broker = Broker()
broker.connect()
[broker.publish(number) for number in range(10)]
assert broker.missing(10) == 0
print("basics hold")
broker.connect()
confirmed, reconnects = through_failovers(broker.publish, FAULTS, broker.connect)
summary(confirmed, broker.missing(confirmed), reconnects)
