"""The log of facility versions, heard in time: before what is counted by a version, the version is known.

A version that counts from a second is appended before the readings of that second (schemas/timeline.py).
So who is about to take readings asks first for versions appended up to then, and not one second is told by
an older one, however late this worker is, and however long it slept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.consumer import assigned
from broker.facility import TOPIC, nothing_published, published
from schemas.admission import Clock
from schemas.admission_rules import CLOCK_AHEAD_SECS
from schemas.errors import ConfigurationError, UnavailableError
from schemas.timeline import EVER, LEAD_SECS, Published, Timeline

ANSWER_WITHIN_SECS = 30.0
TRY_AGAIN_SECS = 0.2
WAIT_MS = 200

logger = logging.getLogger(__name__)


class FacilityLog:
    """Hold the timeline as far as the log was read; `hear` reads on."""

    def __init__(self, consumer: AIOKafkaConsumer, clock: Clock) -> None:
        self._consumer = consumer
        self._partition = TopicPartition(TOPIC, 0)
        consumer.pause(self._partition)
        self._known_for = (LEAD_SECS - CLOCK_AHEAD_SECS) * 1_000_000 if clock == "wall" else 0
        self._heard_through = EVER
        self.timeline = Timeline((), clock)

    async def hear(self, appended: int) -> bool:
        """Hear of every version that readings appended until `appended`, UTC µs, can be counted by.

        Returns whether one was new. Mostly asks nobody: what counts soon was appended seconds ago.
        Raises UnavailableError where Kafka does not answer within ANSWER_WITHIN_SECS.
        """
        if appended <= self._heard_through + self._known_for:
            return False
        is_new = await self.catch_up()
        self._heard_through = appended
        return is_new

    async def catch_up(self) -> bool:
        """Hear of every version that there is now, as before a snapshot is read; return whether one was new."""
        before, deadline = self.timeline, monotonic() + ANSWER_WITHIN_SECS
        while True:
            try:
                await self._read_to_end()
            except KafkaError as error:
                if monotonic() > deadline:
                    raise UnavailableError(f"{TOPIC} cannot be read: {error}; is the broker away?") from error
                await asyncio.sleep(TRY_AGAIN_SECS)
                continue
            return self.timeline is not before

    async def _read_to_end(self) -> None:
        """Read up to the present end; paused between, so that no fetch is under way.

        Trap: a broker answers one connection in order. A fetch that waits for a new version, 500 ms, holds up the
        question where the log ends, and with it the drain that asks.
        """
        end = (await self._consumer.end_offsets([self._partition]))[self._partition]
        while await self._consumer.position(self._partition) < end:
            self._consumer.resume(self._partition)
            for messages in (await self._consumer.getmany(self._partition, timeout_ms=WAIT_MS)).values():
                for version in published(messages):
                    self._take(version)
        self._consumer.pause(self._partition)

    def _take(self, version: Published) -> None:
        try:
            self.timeline = self.timeline.with_(version)
        except ConfigurationError as error:  # who publishes it is told, too, and publishes it again
            number, site = version.part.version, version.part.site
            logger.error("version %s of site %s is not in force, what was before it stays: %s", number, site, error)


@asynccontextmanager
async def facility_log(bootstrap: str, clock: Clock) -> AsyncIterator[FacilityLog]:
    """Give the block the log of `facility.v1`, read to its present end.

    Raises ConfigurationError where no site was ever published, UnavailableError where Kafka is away.
    """
    async with assigned(bootstrap, TOPIC, "earliest") as consumer:
        log = FacilityLog(consumer, clock)
        await log.catch_up()
        if not log.timeline.versions:
            raise nothing_published(bootstrap)
        yield log
