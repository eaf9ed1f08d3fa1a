"""Prints what a fanout exchange sends to an exclusive queue that the broker names."""

import pika

login = pika.PlainCredentials("guest", "hUN7e4_1")
channel = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login)).channel()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
name = channel.queue_declare(queue="", exclusive=True).method.queue
channel.queue_bind(exchange="logs", queue=name)
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue=name, on_message_callback=lambda *message: print(message[-1].decode()), auto_ack=True)
channel.start_consuming()
