"""The bare echo: what Kafka alone takes from append to append, with the settings of any client.

`python -m benchmarks.streams.echo BOOTSTRAP` sends ten messages a second and answers each as it is read.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import Topic

SENT_TOPIC, ECHO_TOPIC = "bench.sent", "bench.echo"
TOPICS = tuple(Topic(name, 1, "none", "delete", "the bare echo") for name in (SENT_TOPIC, ECHO_TOPIC))
EVERY_SECS = 0.1


async def echo(bootstrap: str) -> None:
    """Send and answer until stopped."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(SENT_TOPIC, 0)])
    await consumer.seek_to_end()
    sending = asyncio.create_task(_send(producer))
    async for record in consumer:
        await producer.send_and_wait(ECHO_TOPIC, str(record.offset).encode())
    await sending


async def _send(producer: AIOKafkaProducer) -> None:
    while True:
        await producer.send_and_wait(SENT_TOPIC, b"x")
        await asyncio.sleep(EVERY_SECS)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(echo(sys.argv[1]))
