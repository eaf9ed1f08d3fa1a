"""Takes one message of a durable queue at a time, and acknowledges it after a second of work."""

import time

import pika


def received(channel, method, _properties, body):
    time.sleep(1)
    print(body.decode())
    channel.basic_ack(delivery_tag=method.delivery_tag)


login = pika.PlainCredentials("guest", "hUN7e4_1")
channel = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login)).channel()
channel.queue_declare(queue="task_queue", durable=True)
channel.basic_qos(prefetch_count=1)
channel.basic_consume("task_queue", received)
channel.start_consuming()
