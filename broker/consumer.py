"""Reading topics without a group: to their present end, or on and on.

Streams and the lake have consumers of their own; these serve tests, `tap`, `alerts`, `top` and the like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition

from broker import batches, client_logs
from broker.admin import require_topics
from schemas.message import Message

FETCH_BYTES = 1_048_576
LARGEST_FETCH_BYTES = 67_108_864
WAIT_MS = 1_000
From = Literal["earliest", "latest"] | int
"""Where to begin: the log's start, its end, or the first message appended at or after a time in UTC µs."""


async def read_to_end(bootstrap: str, topic: str, from_: From = "earliest") -> list[Message]:
    """Return the messages from `from_` to the end of every partition as it is now, by partition and offset.

    Raises UnavailableError for a missing topic or where no broker answers.
    """
    messages: list[Message] = []
    async with assigned(bootstrap, topic, from_) as consumer:
        unread = await consumer.end_offsets(list(consumer.assignment()))
        while unread := {part: end for part, end in unread.items() if await consumer.position(part) < end}:
            fetched = await consumer.getmany(*unread, timeout_ms=200)
            messages += (each for part, found in fetched.items() for each in found if each.offset < unread[part])
    return sorted(messages, key=lambda message: (message.partition, message.offset))


async def follow(bootstrap: str, topic: str, from_: From = "latest") -> AsyncIterator[Message]:
    """Yield messages as they come, from `from_` on; wait through a broker's absence.

    "latest" is the end of the log when the first message is asked for.
    Raises UnavailableError for a missing topic or where no broker answers at the start.
    """
    async with assigned(bootstrap, topic, from_) as consumer:
        async for message in consumer:
            yield message


async def follow_together(bootstrap: str, topic: str, from_: From = "latest") -> AsyncIterator[list[Message]]:
    """Yield what has come meanwhile, all of it at once, as `follow` does one by one."""
    async with assigned(bootstrap, topic, from_) as consumer:
        while True:
            found = await consumer.getmany(timeout_ms=WAIT_MS)
            if messages := [message for came in found.values() for message in came]:
                yield messages


@asynccontextmanager
async def assigned(bootstrap: str, topic: str, from_: From) -> AsyncIterator[AIOKafkaConsumer]:
    """Give the block a consumer without a group that has every partition of a topic and begins at `from_`.

    What it gives out are Messages (broker.batches).

    Raises UnavailableError for a missing topic or where no broker answers.
    """
    # Asked first: a consumer's own start on a missing topic does not return (traps.md 17).
    count = (await require_topics(bootstrap, [topic]))[topic]
    client_logs.limit_rate()
    batches.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=LARGEST_FETCH_BYTES,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(count)])
        await _seek(consumer, from_)
        yield consumer
    finally:
        await asyncio.shield(consumer.stop())


async def _seek(consumer: AIOKafkaConsumer, from_: From) -> None:
    parts = list(consumer.assignment())
    if from_ == "earliest":
        offsets = await consumer.beginning_offsets(parts)
    else:
        offsets = await consumer.end_offsets(parts)
    if isinstance(from_, int):
        found = await consumer.offsets_for_times(dict.fromkeys(parts, from_ // 1000))
        offsets |= {part: place.offset for part, place in found.items() if place is not None}
    for part, offset in offsets.items():
        consumer.seek(part, offset)
