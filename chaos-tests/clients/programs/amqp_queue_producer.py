"""One message to a queue that a restart forgets."""

import pika

login = pika.PlainCredentials("guest", "hUN7e4_1")
connection = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login))
channel = connection.channel()
channel.queue_declare(queue="direct_demo", durable=False)
channel.basic_publish(exchange="", routing_key="direct_demo", body="send message to rabbitmq")
connection.close()
