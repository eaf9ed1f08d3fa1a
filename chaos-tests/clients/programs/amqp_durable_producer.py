"""One persistent message to a durable queue."""

import pika

login = pika.PlainCredentials("guest", "hUN7e4_1")
connection = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login))
channel = connection.channel()
channel.queue_declare(queue="task_queue", durable=True)
persistent = pika.BasicProperties(delivery_mode=2)
channel.basic_publish(exchange="", routing_key="task_queue", body="send message to taskqueue", properties=persistent)
connection.close()
