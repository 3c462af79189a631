"""The log of jobs, `telemetry.jobs.v1`, heard beside the readings: every worker of a stage hears all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.consumer import assigned
from schemas.errors import UnavailableError
from schemas.message import Message

TOPIC = "telemetry.jobs.v1"
ANSWER_WITHIN_SECS = 30.0
TRY_AGAIN_SECS = 0.2
WAIT_MS = 200


class JobLog:
    """Read the log from its start; `next_offset` is the offset after the last message that was heard."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._partition = TopicPartition(TOPIC, 0)
        self.next_offset = 0

    async def hear(self) -> list[Message]:
        """Return what has come meanwhile; asks nobody and waits for nothing, since fetches run beside.

        Where Kafka is away nothing comes, and is asked for again the next time.
        """
        with suppress(KafkaError):
            return await self._fetched(0)
        return []

    async def hear_through(self, offset: int) -> list[Message]:
        """Return what comes until `offset` is the next one, or the log's end is reached where that lies before it.

        Raises UnavailableError where Kafka does not answer within ANSWER_WITHIN_SECS.
        """
        heard: list[Message] = []
        deadline = monotonic() + ANSWER_WITHIN_SECS
        while self.next_offset < offset:
            try:
                came = await self._fetched(WAIT_MS)
                heard += came
                # Trap: the question waits behind the fetch that is under way, up to 500 ms (broker/facility_log.py).
                if not came and await self._is_at_end():
                    break
            except KafkaError as error:
                if monotonic() > deadline:
                    raise UnavailableError(f"{TOPIC} cannot be read: {error}; is the broker away?") from error
                await asyncio.sleep(TRY_AGAIN_SECS)
        return heard

    async def catch_up(self) -> list[Message]:
        """Return all messages up to the present end; raises as hear_through does."""
        return await self.hear_through(1 << 62)

    async def _fetched(self, wait_ms: int) -> list[Message]:
        found = await self._consumer.getmany(self._partition, timeout_ms=wait_ms)
        heard = [message for messages in found.values() for message in messages]
        if heard:
            self.next_offset = heard[-1].offset + 1
        return heard

    async def _is_at_end(self) -> bool:
        # Compaction leaves holes, so it is the place that tells, not the last offset heard.
        end = (await self._consumer.end_offsets([self._partition]))[self._partition]
        self.next_offset = max(self.next_offset, await self._consumer.position(self._partition))
        return self.next_offset >= end


@asynccontextmanager
async def job_log(bootstrap: str) -> AsyncIterator[JobLog]:
    """Give the block the log of jobs, nothing of it heard yet; raises UnavailableError where Kafka is away."""
    async with assigned(bootstrap, TOPIC, "earliest") as consumer:
        yield JobLog(consumer)
