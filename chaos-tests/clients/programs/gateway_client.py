"""Counts with the gateway: each answer is the next request, for ever."""

import queue

import grpc
import schema_pb2
import schema_pb2_grpc

answers = queue.SimpleQueue()
answers.put(1)


def requests():
    while True:
        number = answers.get()
        print(number)
        yield schema_pb2.Request(num=number)


with grpc.insecure_channel("localhost:50051") as channel:
    for response in schema_pb2_grpc.GatewayStub(channel).Call(requests()):
        answers.put(response.num)
