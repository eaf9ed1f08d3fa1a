"""Acknowledges and prints each message of a queue, for ever."""

import pika


def received(channel, method, _properties, body):
    channel.basic_ack(delivery_tag=method.delivery_tag)
    print(body.decode())


login = pika.PlainCredentials("guest", "hUN7e4_1")
channel = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login)).channel()
channel.queue_declare(queue="direct_demo", durable=False)
channel.basic_consume("direct_demo", on_message_callback=received)
channel.start_consuming()
