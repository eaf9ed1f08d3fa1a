"""aio-pika: publishes with confirms, consumes with acknowledgements, from asyncio."""

import asyncio

import aio_pika

from common import BROKERS, STOP, fresh, summary

QUEUE = fresh("aio-pika")
FAULTS = (aio_pika.exceptions.AMQPError, aio_pika.exceptions.DeliveryError, OSError, asyncio.TimeoutError, RuntimeError)


async def connect():
    """A channel in confirm mode and its queue, on whichever node lets us in."""
    for _ in range(600):
        for host, port in BROKERS:
            try:
                connection = await aio_pika.connect(host=host, port=port, login="guest", password="guest", timeout=3)
                channel = await connection.channel(publisher_confirms=True)
                return connection, channel, await channel.declare_queue(QUEUE, durable=True, timeout=5)
            except FAULTS:
                continue
        await asyncio.sleep(0.05)
    raise AssertionError("no broker within its time")


async def publish(channel, number):
    message = aio_pika.Message(str(number).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, QUEUE, timeout=5)


async def missing(count):
    """Consumes and acknowledges until every number below `count` was seen; gives how many never came."""
    connection, channel, queue = await connect()
    await channel.set_qos(50)
    left = set(range(count))
    try:
        async with queue.iterator(timeout=3) as messages:
            async for message in messages:
                left.discard(int(message.body))
                await message.ack()
                if not left:
                    break
    except asyncio.TimeoutError:
        pass
    await connection.close()
    return len(left)


async def main():
    connection, channel, _ = await connect()
    await asyncio.gather(*(publish(channel, number) for number in range(10)))
    assert await missing(10) == 0
    print("basics hold")
    confirmed = reconnects = 0
    while not STOP.exists():
        try:
            await publish(channel, confirmed)
        except FAULTS:
            await connection.close()
            connection, channel, _ = await connect()
            reconnects += 1
            continue
        confirmed += 1
        if confirmed % 50 == 0:
            print(f"at {confirmed}")
    await connection.close()
    summary(confirmed, await missing(confirmed), reconnects)


asyncio.run(main())
