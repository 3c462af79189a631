"""Reads single records of a log, beside the group: what the checks of continuity ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from broker import batches
from broker.admin import require_topics
from schemas.errors import UnavailableError
from schemas.message import Message
from sinks.lake.positions import Source

log = logging.getLogger(__name__)

_WAIT_SECS = 20.0


class LogReader:
    """Read the bounds of partitions and single records; opened by `open_log_reader`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bounds(self, sources: Iterable[Source]) -> dict[Source, tuple[int, int]]:
        """Return the offsets `[start, end)` of each partition's log."""
        partitions = [TopicPartition(*source) for source in sources]
        self._consumer.assign(partitions)
        starts = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {Source(*partition): (starts[partition], ends[partition]) for partition in partitions}

    async def record_from(self, source: Source, offset: int, end: int) -> Message | None:
        """Return the first record at or after `offset`, None where there is none before `end`.

        Raises UnavailableError where the broker gives none within 20 seconds.
        """
        if offset >= end:
            return None
        partition = TopicPartition(*source)
        # One partition at a time: with limits of one byte only the first of a fetch is sure to bring a batch.
        self._consumer.assign([partition])
        self._consumer.seek(partition, offset)
        try:
            async with asyncio.timeout(_WAIT_SECS):
                while await self._consumer.position(partition) < end:
                    found = await self._consumer.getmany(partition, timeout_ms=200, max_records=1)
                    for messages in found.values():
                        first: Message = messages[0]
                        return first
        except TimeoutError as error:
            raise UnavailableError(f"{source}: no record at offset {offset} came within {_WAIT_SECS:.0f} s") from error
        return None

    async def first_after(self, source: Source, milliseconds: int) -> int | None:
        """Return the offset of the first record that was appended after a time, None where there is none."""
        partition = TopicPartition(*source)
        found = (await self._consumer.offsets_for_times({partition: milliseconds + 1}))[partition]
        return None if found is None else int(found.offset)


@asynccontextmanager
async def open_log_reader(bootstrap: str) -> AsyncIterator[LogReader]:
    """Open a reader without a group; each fetch brings one batch of one partition."""
    batches.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=1,
        fetch_max_bytes=1,
    )
    await consumer.start()
    try:
        yield LogReader(consumer)
    finally:
        await stop_consumer(consumer)


async def stop_consumer(consumer: AIOKafkaConsumer, within_secs: float = 5.0) -> None:
    """Stop a consumer; a broker that is away keeps nobody from ending.

    Trap: with the broker away `stop` raises the CancelledError of a fetch that it cancelled itself, which looks as if
    whoever waits for it had been cancelled.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=within_secs)
    if not stopping.cancel() and not stopping.cancelled() and (error := stopping.exception()):
        log.info("lake: a consumer did not stop cleanly: %s", error)


async def read_ends(bootstrap: str, sources: Iterable[Source]) -> dict[Source, int]:
    """Return the end of each partition's log; raise UnavailableError where no broker answers or a topic is missing."""
    asked = list(sources)
    await require_topics(bootstrap, sorted({source.topic for source in asked}))
    async with open_log_reader(bootstrap) as reader:
        return {source: end for source, (_, end) in (await reader.bounds(asked)).items()}
