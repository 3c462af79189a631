"""The peer of the streams: aiokafka and the decoder alone, over the same log, in a process of its own.

`python -m benchmarks.streams.bare BOOTSTRAP ROWS` reads telemetry.gpu.v1 from its start until it has seen so many
rows, and prints the CPU seconds from the first message to the last.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas import arrow
from schemas.gpu import GPU
from schemas.message import Message
from schemas.topics import BY_NAME

TOPIC = "telemetry.gpu.v1"
WAIT_MS = 100


async def read(bootstrap: str, rows: int) -> float:
    """Return the CPU seconds of reading and decoding `rows` rows."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_min_bytes=1_000_000,
        fetch_max_wait_ms=WAIT_MS,
        max_poll_records=500,
    )
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, number) for number in range(BY_NAME[TOPIC].partitions)])
    seen, began = 0, None
    while seen < rows:
        fetched = await consumer.getmany(timeout_ms=WAIT_MS)
        began = began or time.process_time()
        messages = [_message(record) for records in fetched.values() for record in records]
        seen += len(arrow.decode(GPU, messages).frame)
    spent = time.process_time() - (began or 0.0)
    await consumer.stop()
    return spent


def _message(record: ConsumerRecord) -> Message:
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp * 1000,
        record.key,
        record.value,
        tuple(record.headers),
    )


if __name__ == "__main__":
    uvloop.install()
    print(asyncio.run(read(sys.argv[1], int(sys.argv[2]))))
