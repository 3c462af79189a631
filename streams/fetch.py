"""How the streams read: Faust's consumer with large fetches, places of its own, and notes on its commits.

Faust reads one small fetch a message at a trickle, which costs three times the CPU (traps.md 13); it takes each
message alone through its queues, 60 to 100 µs each; it always returns to Kafka's committed offsets after a
rebalance (19a); and it commits without metadata. Each is mended here by overriding the one method concerned.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

from broker import batches
from schemas.errors import UnavailableError
from schemas.message import Message
from streams.reading import Partition
from streams.stage import Place

logger = logging.getLogger("wattline.streams")

PLACED_WITHIN_SECS = 60.0
COMMITTED_WITHIN_SECS = 5.0
FRESH_SECS = 1.5
"""A fetch of an idle partition is answered within 500 ms, and asked again when the one before is taken in."""


class Fetching:
    """Say how large a fetch is and how long the broker waits for it to fill, in ms, as each request is written.

    That is until `due_at` (UTC s), where the stage expects something to tell, but not longer than `longest_ms`; from
    then on `wait_ms` at a time.
    """

    min_bytes = 1_000_000

    def __init__(self, wait_ms: int, longest_ms: int) -> None:
        self._wait_ms, self._longest_ms = wait_ms, longest_ms
        self.due_at = 0.0

    def __index__(self) -> int:
        until_due = int((self.due_at - time.time()) * 1000)
        return min(until_due, self._longest_ms) if until_due > 0 else self._wait_ms


class Fetched(NamedTuple):
    """The messages that one fetch brought of one topic, those of a partition in the order of its log; at least one.

    `placing` numbers the seek of all partitions before it: what was fetched before the newest one is to be dropped.
    """

    messages: Sequence[Message]
    placing: int


class Placing(NamedTuple):
    """Say where to read each partition from now on, and the number of this placing."""

    places: Mapping[Partition, int]
    number: int


class FetchThread(AIOKafkaConsumerThread):
    """Read with large fetches; commit with notes; a commit that fails is advice lost and never a crash."""

    placing = 0
    """The number of the placing from which is read."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        batches.install()
        consumer = super()._create_worker_consumer(transport)
        fetching: Fetching = self.app.fetching
        consumer._fetch_min_bytes = fetching.min_bytes
        consumer._fetch_max_wait_ms = fetching  # aiokafka asks it for a number as it writes each request
        return consumer

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> dict[TopicPartition, list[Fetched]]:
        """Return what one fetch brought of each topic as one record, of one of its partitions.

        An event of Faust's costs some 0.4 ms, whatever it carries. Nobody needs to know its partition: the engine
        looks at that of each message, and Faust gives away or takes back all of a fetch by its generation.
        """
        found = await super()._fetch_records(*args, **kwargs)
        topics: dict[str, TopicPartition] = {}
        came: dict[TopicPartition, list[Message]] = defaultdict(list)
        for at, messages in found.items():
            came[topics.setdefault(at.topic, at)].extend(messages)
        return {at: [Fetched(messages, self.placing)] for at, messages in came.items() if messages}

    async def place(self, placing: Placing) -> None:
        """Read on from other places."""
        await self.call_thread(self._place, placing)

    async def _place(self, placing: Placing) -> None:
        # No await between the seeks and the number: what a fetch brings is of the places that its number names.
        consumer = self._ensure_consumer()
        for at, offset in placing.places.items():
            consumer.seek(TopicPartition(*at), offset)
        self.placing = placing.number

    async def _commit(self, offsets: Mapping[Any, Any]) -> bool:
        mine = self.assignment()
        places = {TopicPartition(*at): _with_note(place) for at, place in offsets.items() if at in mine}
        if not places:
            return False
        try:
            # Trap: aiokafka tries for ever where a partition is no more, and the drain waits with it.
            await asyncio.wait_for(self._ensure_consumer().commit(places), COMMITTED_WITHIN_SECS)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            logger.info("commit refused, the next one stands for it: %r", error)
            return False
        return True

    async def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Place]:
        """Return the committed place of each partition that has one."""
        return await self.call_thread(self._committed, [TopicPartition(*at) for at in partitions])

    async def _committed(self, partitions: list[TopicPartition]) -> dict[Partition, Place]:
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(partitions)
        return {
            (at.topic, at.partition): Place(place.offset, place.metadata or "")
            for at, place in found.items()
            if place.offset >= 0
        }

    async def until_deaf(self, every_secs: float, within_secs: float) -> None:
        """Return once the loop of this thread has not turned for so long; called on another thread's.

        A question to Kafka is none to ask: where the broker is away its answer takes as long.
        """
        while True:
            await asyncio.sleep(every_secs)
            turn = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.thread_loop)
            try:
                await asyncio.wait_for(asyncio.wrap_future(turn), within_secs)
            except TimeoutError:
                return

    async def log_starts(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Ask the broker where logs begin."""
        found = await self.earliest_offsets(*(TP(*at) for at in partitions)) if partitions else {}
        return {(at.topic, at.partition): offset for at, offset in found.items()}

    def join_again(self) -> None:
        """Ask the group to deal the partitions anew, where this member leads it."""
        if self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._coordinator.request_rejoin)

    def at_log_end(self, partition: Partition) -> bool:
        """Tell whether all that the broker says it has of a partition was fetched."""
        state = self._state(partition)
        return state is not None and state.highwater is not None and state.position >= state.highwater

    def is_fresh(self, partition: Partition) -> bool:
        """Tell whether the broker answered a fetch of the partition a moment ago."""
        state = self._state(partition)
        return state is not None and state.timestamp is not None and time.time() - state.timestamp / 1000 < FRESH_SECS

    def log_end(self, partition: Partition) -> int | None:
        """Return the end of the log by the newest fetch; None before the first."""
        state = self._state(partition)
        return None if state is None else state.highwater

    def _state(self, partition: Partition) -> Any:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        at = TopicPartition(*partition)
        if assignment is None or at not in assignment.tps:
            return None
        state = assignment.state_value(at)
        return state if state.has_valid_position else None


def _with_note(place: Any) -> OffsetAndMetadata:
    if isinstance(place, Place):
        return OffsetAndMetadata(place.offset, place.note)
    return OffsetAndMetadata(place, "")


class PlacedConsumer(Consumer):
    """Return after each assignment to the places that the app names, not to what Kafka has committed."""

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Fetched) -> ConsumerMessage:
        last = record.messages[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            # Faust drops what lies before its place; the engine looks at the offset of each message, and says so.
            self._read_offset[tp] or 0,
            last.appended / 1e6,
            0,
            (),
            None,
            record,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Seek as Faust does, then to the app's own places: a seek made earlier would be undone here.

        Trap: Faust waits 90 s for this, then reads on, wherever that is.
        """
        try:
            async with asyncio.timeout(PLACED_WITHIN_SECS):
                await self._perform_seek()
        except TimeoutError:
            self.app.engine.fail(
                UnavailableError(f"no place to read from within {PLACED_WITHIN_SECS:.0f} s: is the broker away?")
            )

    async def _perform_seek(self) -> None:
        await super().perform_seek()
        assigned = {(at.topic, at.partition) for at in self.assignment()}
        placing = await self.app.place(assigned)
        await self._thread.place(placing)
        self._read_offset.update({TP(*at): offset for at, offset in placing.places.items()})


class PlacedTransport(Transport):
    """Make consumers of ours."""

    Consumer = PlacedConsumer
