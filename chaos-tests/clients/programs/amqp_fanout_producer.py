"""One message to all queues that are bound to a fanout exchange."""

import pika

login = pika.PlainCredentials("guest", "hUN7e4_1")
connection = pika.BlockingConnection(pika.ConnectionParameters("server1", 5672, "/", login))
channel = connection.channel()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
channel.basic_publish(exchange="logs", routing_key="", body="send message to fanout")
connection.close()
